-- A full disk is a refusal, a failed one the end.
local world = require "host.world"

local function cluster()
  local w = world.new { nodes = 3 }
  w:bootstrap()
  w:elect "n1"
  w:advance(150)
  return w
end

describe("a full disk", function()
  it("ends a leader's office; the others go on, and the command's outcome is found out", function()
    local w <close> = cluster()
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1:refuse()
    w.n1:turn()
    assert.is_false(w.n1.host:is_leader())
    assert.is_true(w.n1.host:status().disk_full)
    assert.are.equal(1, w.n1:logged "warn .*disk is full")
    assert.is_nil(w.n1.fatal)
    assert.is_nil(w.n1:answer(t)) -- the others may have it
    w.n1.held = true
    w:advance(5000)
    local leader = w.n2.host:is_leader() and w.n2 or w.n3
    assert.is_true(leader.host:is_leader())
    local u = leader:submit "y"
    w:settle()
    assert.is_truthy(leader:answer(u):match "^ok")
    w.n1.held = nil
    w:advance(2000)
    assert.are.equal(1, w.n1:logged "info there is room on the disk again")
    assert.is_false(w.n1.host:status().disk_full)
    assert.is_not_nil(w.n1:answer(t))
    assert.is_true(w.n1:answer(t) == "unavailable" or w.n1:answer(t):match "^ok" ~= nil)
    assert.are.equal(w.n2.host:applied(), w.n1.host:applied())
  end)

  it("is said once, however often the disk refuses", function()
    local w <close> = cluster()
    w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1:refuse()
    w.n1:turn()
    w:isolate "n1"
    local refusals = 0
    for _ = 1, 20 do
      if w.n1.timer > 0 then
        w.now = math.max(w.now, w.n1.timer)
        w.n1.timer = 0
        w.n1.host:timer()
        w.n1:turn()
      end
      if #w.n1.writes > 0 then
        w.n1:refuse()
        w.n1:turn()
        refusals = refusals + 1
      end
    end
    assert.is_true(refusals >= 3, refusals)
    assert.are.equal(1, w.n1:logged "warn .*disk is full")
  end)

  it("takes later writes with it, and what was reported before counts", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    local first = w.n1:submit("first", { timeout_ms = 60000 })
    w.n1.host:turn()
    local second = w.n1:submit("second", { timeout_ms = 60000 })
    w.n1.host:turn()
    assert.are.equal(2, #w.n1.writes)
    w.n1:flush(1)
    w.n1:refuse() -- before the turn that would have told of the first
    w.n1:turn()
    w:advance(5000)
    assert.are.equal("ok done 1 first", w.n1:answer(first))
    assert.are.equal("ok done 2 second", w.n1:answer(second)) -- the lone voter keeps what it has in memory
    assert.are.equal(2, #w.n1.machine.commands)
  end)
end)

describe("a disk that fails", function()
  it("stops the node at once: nothing is called after that", function()
    local w <close> = cluster()
    w.n1:submit "x"
    w.n1:turn()
    w:take()
    w.n1.host:persisted(w.n1.writes[1].sequence, "io_error", "the sync failed")
    assert.are.same({ code = "io_error", text = "the sync failed" }, w.n1.fatal)
    w.n1.writes = {}
    w.n1:submit "y"
    w.n1.host:timer()
    assert.is_false(w.n1.host:turn())
    w.n1.host:stop()
    w.n1.host:turn()
    assert.are.same({}, w.n1.writes)
    assert.are.same({}, w:take())
    assert.are.same({}, w.n1.replies)
    assert.are.equal(0, w.n1.stopped)
  end)
end)

describe("many writes reported in one turn", function()
  it("are told to the core in one step", function()
    local w <close> = cluster()
    for i = 1, 8 do
      w.n1:submit("c" .. i)
      w.n1.host:turn()
    end
    w:deliver_all()
    w.n2.host:turn()
    assert.is_true(#w.n2.writes >= 2, #w.n2.writes)
    local before = w.n2.host:status().counters.steps
    w.n2:flush()
    assert.are.equal(before, w.n2.host:status().counters.steps)
    w.n2.host:turn()
    assert.are.equal(1, #w:take(function(p) return p.from == "n2" end)) -- one acknowledgement for all
  end)
end)
