-- Edges of stopping: handing over where nobody can take over, times that are up, and what those who wait are told. Most
-- were a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local wire = require "moonclave.wire"
local world = require "host.world"
local cluster = world.cluster

-- n1 is the only voter, n2 a learner: there is another server, and nobody to hand over to.
local function with_a_learner(settings)
  local w = world.new { nodes = 2, settings = settings }
  local made = { previous = 0, outgoing = {}, servers = {} }
  for i, node in ipairs(w.nodes) do
    made.servers[i] = { id = node.id, incarnation = node.disk.incarnation, role = i - 1, priority = 0, labels = {},
      addresses = { { kind = "node", host = "127.0.0.1", port = 5000 + i } } }
  end
  local bytes = formats.configuration_encode(made)
  for _, node in ipairs(w.nodes) do node.disk.configuration, node.disk.cluster = bytes, base.hash(bytes) end
  w:bootstrap()
  w:elect "n1"
  w:advance(150)
  return w
end

-- Milliseconds from now until the node has stopped, which is less than `most`.
local function stops_after(w, node, most)
  for ms = 0, most do
    if node.stopped > 0 then return ms end
    w:advance(1)
  end
  error("it does not stop", 2)
end

describe("a leader that stops", function()
  it("looks for a successor for an election timeout, once a heartbeat, and goes without one then", function()
    local w <close> = with_a_learner { stop_timeout_ms = 10000 }
    local began, steps = w.now, w.n1:counters().steps
    local function turn_at(ms)
      w.now = began + ms * 1000
      w.n1:turn()
      return w.n1:counters().steps - steps
    end
    w.n1.host:stop()
    assert.same({ 1, 1, 1, 2, 2, 3 },
      { turn_at(0), turn_at(1), turn_at(99), turn_at(100), turn_at(199), turn_at(200) })
    turn_at(999)
    assert.equal(0, w.n1.stopped)
    turn_at(1000)
    assert.equal(1, w.n1.stopped)
  end)

  it("wakes for that by itself", function()
    local w <close> = with_a_learner { stop_timeout_ms = 10000 }
    w.n1.host:stop()
    local ms = stops_after(w, w.n1, 2000)
    assert.is_true(ms >= 1000 and ms <= 1100, ms .. " ms")
  end)

  it("hands over as soon as somebody is fit, though nobody was at first", function()
    local w <close> = cluster()
    for _, id in ipairs { "n2", "n3" } do w:isolate(id) end
    w:advance(999)
    w.n1.host:stop()
    w:advance(1)
    for _, id in ipairs { "n2", "n3" } do w:heal(id) end
    w:advance(600)
    assert.equal(1, w.n1.stopped)
    assert.is_true(w.n2.host:is_leader() or w.n3.host:is_leader())
  end)

  it("has half of its time to answer and to hand over, and the rest for its disk", function()
    local w <close> = with_a_learner { stop_timeout_ms = 500 }
    w.n1.held = true
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:stop()
    w:advance(249)
    assert.is_nil(w.n1:answer(t))
    assert.is_true(w.n1.host:is_leader())
    w:advance(1)
    assert.is_false(w.n1.host:is_leader())
    w:advance(249)
    assert.equal(0, w.n1.stopped)
    w:advance(1)
    assert.equal(1, w.n1.stopped)
    assert.equal("timeout", w.n1:answer(t))
  end)

  it("leaves its core alone while its disk is busy, also if it was still looking for a successor", function()
    local w <close> = with_a_learner { stop_timeout_ms = 500 }
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:stop()
    w:advance(250)
    local steps = w.n1:counters().steps
    w:advance(200)
    w.n1:turn()
    assert.equal(steps, w.n1:counters().steps)
    w.n1:flush()
    w.n1:turn()
    assert.equal(1, w.n1.stopped)
  end)

  it("cannot say how a transfer ends that an operator asked for before", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    w:isolate "n3"
    local t = w.n1:admin("transfer", { id = "n3" })
    w.n1:turn()
    w.n1.host:stop()
    w:advance(600)
    assert.equal(1, w.n1.stopped)
    assert.equal("timeout", (w.n1:told(t)))
  end)

  it("tells the operator who leads now, if that is known by then", function()
    local w <close> = cluster()
    local t = w.n1:admin("transfer", { id = "n3" })
    w.n1:turn()
    w.n1.host:stop()
    w:advance(500)
    local code, answer = w.n1:told(t)
    assert.same({ "ok", "n3" }, { code, answer.leader })
    assert.equal(1, w.n1.stopped)
  end)

  it("and gives up in the same turn has given up: it has not stopped, and hands nothing over", function()
    local w <close> = cluster()
    w.n1:submit "exhausts"
    w.n1:turn()
    w:deliver_all()
    w.n2:turn()
    w.n2:flush()
    w.n2:turn()
    w.n1:flush()
    w:deliver_all(function(p) return p.from == "n2" end)
    w.n1.host:stop()
    local steps = w.n1:counters().steps
    w.n1.host:turn()
    assert.equal("internal", w.n1.fatal and w.n1.fatal.code)
    assert.same({ 0, 0 }, { w.n1.stopped, #w:take(function(p) return p.name == "timeout_now" end) })
    assert.is_true(w.n1:counters().steps <= steps + 2) -- what became durable, what was applied
  end)
end)

describe("a follower that stops", function()
  it("waits for the answers that are on their way, and only for those", function()
    local w <close> = cluster()
    local t = w.n2:submit("x", { timeout_ms = 60000 })
    w.n2:turn()
    w.n2.host:stop()
    w.n2:turn()
    assert.equal(0, w.n2.stopped)
    w:settle()
    assert.equal("ok done 1 x", w.n2:answer(t))
    assert.equal(1, w.n2.stopped)
    w.n3.host:stop()
    w.n3:turn()
    assert.equal(1, w.n3.stopped) -- at once: there is nothing to hand over and nobody to answer
  end)

  it("and gives up in the same turn has given up", function()
    local w <close> = cluster()
    w.n1:submit "exhausts"
    w.n1:turn()
    w:deliver_all(function(p) return p.to == "n2" end)
    w.n2:turn()
    w.n2:flush()
    w.n2:turn()
    local status = w.n2.host:status()
    w.n2.host:receive(w.n1:identity(), wire.encode { type = "append", from = "n1", to = "n2", term = status.term,
      prev_index = status.last_index, prev_term = status.term, commit = status.last_index, round = 0, state_index = 0,
      state_chain = 0, entries = {} })
    w.n2.host:stop()
    w.n2.host:turn()
    assert.same({ "internal", 0 }, { w.n2.fatal and w.n2.fatal.code, w.n2.stopped })
  end)
end)
