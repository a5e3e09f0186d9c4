-- Stopping: new requests are refused, waiting ones answered with what is known, the disk drained.
local world = require "host.world"

local function cluster(options)
  options = options or {}
  options.nodes = 3
  local w = world.new(options)
  w:bootstrap()
  w:elect "n1"
  w:advance(150)
  return w
end

describe("stopping", function()
  it("answers what is under way, refuses what is new, and ends once", function()
    local w <close> = cluster()
    local t = w.n1:submit "x"
    w.n1:turn()
    w.n1.host:stop()
    w.n1.host:stop()
    assert.is_false(w.n1.host:ready())
    local new, query = w.n1:submit "y", w.n1:query "q"
    w.n1:turn()
    assert.are.equal("shutting_down", w.n1:answer(new))
    assert.are.equal("shutting_down", w.n1:answer(query))
    assert.are.equal(0, w.n1.stopped)
    w:settle()
    assert.are.equal("ok done 1 x", w.n1:answer(t))
    assert.are.equal(1, w.n1.stopped)
    w:settle()
    assert.are.equal(1, w.n1.stopped)
    assert.are.equal(1, w.n1:logged "stopping")
  end)

  it("waits for the disk, and only for so long", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    w.n2.held = true
    w.n1:submit "x"
    w.n1:turn()
    w:deliver_all()
    w.n2:turn()
    assert.is_true(#w.n2.writes > 0)
    w.n2.host:stop()
    w.n2:turn()
    w:advance(900)
    assert.are.equal(0, w.n2.stopped)
    w.n2:flush()
    w.n2:turn()
    assert.are.equal(1, w.n2.stopped)
    w.n3.held = true
    w.n1:submit "y"
    w.n1:turn()
    w:deliver_all()
    w.n3:turn()
    w.n3.host:stop()
    w.n3:turn()
    w:advance(1100)
    assert.are.equal(1, w.n3.stopped)
  end)

  it("tells those whose command may be in the log that the outcome is unknown", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 2000 } }
    w:isolate "n1"
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    local q = w.n1:query("q", { timeout_ms = 60000 })
    local gone = w.n1:submit("gone", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:cancel(gone)
    w.n1.host:stop()
    w:advance(900)
    assert.is_nil(w.n1:answer(t))
    w:advance(200)
    assert.are.equal("timeout", w.n1:answer(t))
    assert.are.equal("shutting_down", w.n1:answer(q))
    assert.is_nil(w.n1.replies[gone])
    assert.are.equal(1, w.n1.stopped)
  end)

  it("tells a follower's clients the same of what the leader has", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 2000 } }
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    local q = w.n2:query("q", { timeout_ms = 60000 })
    w.n2:turn()
    w:isolate "n2"
    w.n2.host:stop()
    w:advance(1100)
    assert.are.equal("timeout", w.n2:answer(t))
    assert.are.equal("shutting_down", w.n2:answer(q))
    assert.are.equal(1, w.n2.stopped)
  end)

  it("refuses at once what was never proposed", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:stop()
    w.n1:turn()
    assert.are.equal("shutting_down", w.n1:answer(t))
    assert.are.equal(1, w.n1.stopped)
  end)

  it("of a blank node is at once; while it stores its first configuration, after that", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    w.n1.host:stop()
    w.n1:turn()
    assert.are.equal(1, w.n1.stopped)
    w.n1:crash()
    w.n1:start()
    w.n2:start()
    w:connect_all()
    w.n1.host:stop()
    w.n1:turn()
    assert.are.equal(0, w.n1.stopped)
    w.n1:flush()
    w.n1:turn()
    assert.are.equal(1, w.n1.stopped)
    assert.are_not.equal(0, w.n1.disk.cluster)
  end)

  it("leaves a node that takes no part: it neither votes nor campaigns", function()
    local w <close> = cluster()
    w.n1.host:stop()
    w:settle()
    assert.are.equal(1, w.n1.stopped)
    w:advance(5000)
    assert.are.same({}, w:take(function(p) return p.from == "n1" end))
    assert.is_true(w.n2.host:is_leader() or w.n3.host:is_leader())
  end)

  it("gives every request's memory back", function()
    local before = world.host.blobs()
    do
      local w <close> = cluster()
      for i = 1, 10 do w.n1:submit("x" .. i) end
      w.n1.host:stop()
      w:settle()
    end
    assert.are.equal(before, world.host.blobs())
  end)
end)
