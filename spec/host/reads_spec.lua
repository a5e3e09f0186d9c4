-- Queries: one round for all of a turn, and never an answer older than what was acknowledged before.
local world = require "host.world"

local function cluster(options)
  options = options or {}
  options.nodes = 3
  local w = world.new(options)
  w:bootstrap()
  w:elect "n1"
  return w
end

describe("queries of one turn", function()
  it("share one round", function()
    local w <close> = cluster()
    local before, tickets = w.n1:counters(), {}
    for i = 1, 64 do tickets[i] = w.n1:query("q" .. i) end
    w:settle()
    local after = w.n1:counters()
    assert.are.equal(64, after.reads - before.reads)
    assert.are.equal(1, after.read_rounds - before.read_rounds)
    for i = 1, 64 do assert.are.equal("ok answer 0 q" .. i, w.n1:answer(tickets[i])) end
  end)

  it("are not answered before a majority has confirmed the leader", function()
    local w <close> = cluster()
    local t = w.n1:query "q"
    w.n1:turn()
    assert.is_nil(w.n1:answer(t))
    w:settle()
    assert.are.equal("ok answer 0 q", w.n1:answer(t))
  end)

  it("see every command that was acknowledged before", function()
    local w <close> = cluster()
    for i = 1, 5 do
      local t = w.n1:submit("c" .. i)
      w:settle()
      assert.is_truthy(w.n1:answer(t):match "^ok")
      local q = w.n2:query "q"
      w:settle()
      assert.are.equal(("ok answer %d q"):format(i), w.n2:answer(q))
    end
  end)

  it("wait until the state has applied what was committed when they were asked", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start { apply_slice_us = 100 }
    w:settle()
    w.n1.on_apply = function() w.now = w.now + 30 end
    for i = 1, 10 do w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    local q = w.n1:query "q"
    assert.is_true(w.n1.host:turn()) -- all ten are committed, a slice of four is applied
    assert.are.equal(4, #w.n1.machine.commands)
    assert.is_nil(w.n1:answer(q))
    assert.is_true(w.n1.host:turn())
    assert.is_nil(w.n1:answer(q))
    w.n1.host:turn()
    assert.are.equal("ok answer 10 q", w.n1:answer(q))
  end)
end)

describe("a leader of old", function()
  it("does not answer a query from its state, however the query got there", function()
    local w <close> = cluster()
    local old = w.n1:submit "old"
    w:settle()
    assert.is_truthy(w.n1:answer(old))
    w:isolate "n1"
    w:elect "n2"
    local new = w.n2:submit "new"
    w:settle()
    assert.is_truthy(w.n2:answer(new):match "^ok")
    local q = w.n1:query("q", { timeout_ms = 60000 })
    w:settle()
    assert.is_nil(w.n1:answer(q))
    w:advance(2500)
    assert.is_nil(w.n1:answer(q))
    w:heal "n1"
    w:advance(3000)
    assert.are.equal("ok answer 2 q", w.n1:answer(q))
  end)

  it("says that no majority confirmed when the time is over", function()
    local w <close> = cluster()
    w:isolate "n1"
    local q = w.n1:query("q", { timeout_ms = 100 })
    w:advance(150)
    assert.are.equal("timeout", w.n1:answer(q))
  end)
end)

describe("a stale query", function()
  it("is answered at once, anywhere, from the state as it is", function()
    local w <close> = cluster()
    local t = w.n1:submit "x"
    w:settle()
    assert.is_truthy(w.n1:answer(t))
    w:isolate "n3"
    w:advance(5000)
    local before = w.n3:counters()
    local q = w.n3:query("q", { stale = true })
    w.n3:turn()
    assert.is_truthy(w.n3:answer(q):match "^ok answer %d q")
    assert.are.equal(before.read_rounds, w.n3:counters().read_rounds)
    assert.are.equal(before.forwards, w.n3:counters().forwards)
  end)

  it("waits for the app where it is not loaded yet", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local q = w.n2:query("q", { stale = true })
    local late = w.n3:query("q", { stale = true, timeout_ms = 50 })
    w.n2:turn()
    w.n3:turn()
    assert.is_nil(w.n2:answer(q))
    w:elect "n1"
    w:advance(150)
    assert.are.equal("ok answer 0 q", w.n2:answer(q))
    assert.is_truthy(w.n3:answer(late))
  end)
end)

describe("many queries", function()
  it("are run in slices of a turn", function()
    local w <close> = cluster()
    w.n1:crash()
    w:lose("n1", "n2")
    w:lose("n1", "n3")
    w.n1:start { apply_slice_us = 100 }
    w:connect_all()
    w:elect "n1"
    local ran = 0
    w.n1.on_query = function()
      ran = ran + 1
      w.now = w.now + 30
    end
    local tickets = {}
    for i = 1, 20 do tickets[i] = w.n1:query("q" .. i) end
    w.n1:turn()
    w:deliver_all(function(p) return p.from == "n1" end)
    w.n2:turn()
    w:deliver_all(function(p) return p.from == "n2" end)
    assert.is_true(w.n1.host:turn())
    assert.are.equal(4, ran) -- 120 us
    w:settle()
    assert.are.equal(20, ran)
    for i = 1, 20 do assert.is_truthy(w.n1:answer(tickets[i]):match("q" .. i .. "$")) end
  end)
end)
