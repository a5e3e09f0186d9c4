-- Linearizable reads: which round confirms them, and when nothing does.
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function leader(options)
  options = options or {}
  options.ids, options.run = options.ids or { "a", "b", "c" }, { "a" }
  local c = Cluster.new(options)
  c:crown "a"
  c.a:persist()
  c:ack("b", "a", 1)
  for _, id in ipairs(options.ids) do c:take(id) end
  return c
end

describe("a read", function()
  it("is confirmed by a quorum of answers to a round that is sent at once", function()
    local c = leader()
    c.a:read(7)
    local heartbeat = c:take "b" [1]
    assert.same({ 1, 0 }, { heartbeat.round, #heartbeat.entries })
    assert.is_nil(c.a.reads[7])
    c:ack("c", "a", 0, { round = 1 })
    assert.equal(1, c.a.reads[7])
  end)

  it("is confirmed by a refusal just as well: it too acknowledges the leader", function()
    local c = leader()
    c.a:read(7)
    c.a:receive { type = "append_result", from = "c", term = 1, success = false, prev_index = 0, last_index = 0,
      round = 1 }
    assert.equal(1, c.a.reads[7])
  end)

  it("is not confirmed by an answer to an older round (bug 4)", function()
    local c = leader()
    c.a:read(1)
    c:ack("b", "a", 1, { round = 1 })
    c.a:read(2)
    c:ack("b", "a", 1, { round = 1 }) -- again, late
    c:ack("c", "a", 1, { round = 1 })
    c:ack("c", "a", 1, { round = 99 }) -- nor by one to a round that never was
    assert.is_nil(c.a.reads[2])
    c:ack("c", "a", 1, { round = 2 })
    assert.equal(1, c.a.reads[2])
  end)

  it("that comes while a round is under way waits for the next, with all others", function()
    local c = leader()
    c.a:read(1)
    c:take "b"
    for context = 2, 50 do c.a:read(context) end
    assert.equal(0, #c:take "b")
    c:ack("b", "a", 1, { round = 1 })
    assert.equal(1, c.a.reads[1])
    assert.is_nil(c.a.reads[2])
    local heartbeats = c:take "b"
    assert.same({ 1, 2 }, { #heartbeats, heartbeats[1].round })
    c:ack("b", "a", 1, { round = 2 })
    for context = 2, 50 do assert.equal(1, c.a.reads[context]) end
  end)

  it("sees every write acknowledged before it", function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    c.a:read(1)
    c:ack("b", "a", 2, { round = 1 })
    assert.equal(2, c.a.reads[1])
  end)

  it("whose round is lost is confirmed by the heartbeats after it", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.a:read(1)
    c:drop()
    c:settle()
    assert.is_nil(c.a.reads[1])
    c:advance(HEARTBEAT)
    assert.equal(1, c.a.reads[1])
  end)

  it("waits for this term's first commit (bug 2)", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, disks = { a = { log = Cluster.log { 1, 1 } } } }
    c:crown "a"
    c.a:read(1)
    c:ack("b", "a", 2, { round = 0 })
    assert.is_nil(c.a.reads[1])
    c.a:persist()
    c:ack("b", "a", 3)
    assert.is_nil(c.a.reads[1]) -- committed, but no round yet
    c:ack("b", "a", 3, { round = 1 })
    assert.equal(3, c.a.reads[1])
  end)

  it("at one who does not lead fails at once", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c.b:read(1)
    assert.equal("failed", c.b.reads[1])
  end)

  it("fails when its leader steps down, asked or waiting", function()
    local c = leader()
    c.a:read(1)
    c.a:read(2)
    c.a:receive { type = "append_result", from = "b", term = 9, success = false, prev_index = 0, round = 2 }
    assert.same({ "failed", "failed" }, { c.a.reads[1], c.a.reads[2] })
  end)

  it("fails at a leader that was cut off, while a newer value is acknowledged elsewhere", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c:isolate "a"
    c:elect "b":propose "newer"
    c:settle()
    assert.equal("leader", c.a:role()) -- it does not know yet
    c.a:read(1)
    c:settle()
    assert.is_nil(c.a.reads[1])
    c:heal()
    c:advance(2 * T)
    assert.equal("failed", c.a.reads[1])
  end)

  it("of a former term is not confirmed in a new one: rounds are never numbered twice", function()
    local c = leader()
    c.a:read(1)
    c:append("b", "a", 2, c.a.disk.log, 1, 0)
    assert.equal("failed", c.a.reads[1])
    c:crown "a"
    c.a:persist()
    c:ack("b", "a", 2)
    c:take "b"
    c.a:read(2)
    assert.equal(2, c:take "b" [1].round)
    c:ack("b", "a", 2, { round = 1 })
    assert.is_nil(c.a.reads[2])
    c:ack("b", "a", 2, { round = 2 })
    assert.equal(2, c.a.reads[2])
  end)

  it("is not held up by entries on their way to the followers' disks", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.b.stuck, c.c.stuck = true, true
    c.a:propose "x"
    c.a:read(1)
    c:settle()
    assert.equal(1, c.a.reads[1])
  end)

  it("needs voters: learners confirm nothing (bug 37)", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" },
      members = { voters = { "a", "b" }, learners = { "c" } } }
    c:crown "a"
    c.a:persist()
    c:ack("b", "a", 1)
    c.a:read(1)
    c:ack("c", "a", 1, { round = 1 })
    assert.is_nil(c.a.reads[1])
    c:ack("b", "a", 1, { round = 1 })
    assert.equal(1, c.a.reads[1])
  end)
end)

describe("a lone server's read", function()
  it("waits until its own term has committed, and is durable (bug 3)", function()
    local c = Cluster.new { ids = { "a" }, disks = { a = { log = Cluster.log { 1, 1 } } } }
    c.a:persist() -- its term and its vote
    assert.equal("leader", c.a:role())
    c.a:read(1)
    assert.is_nil(c.a.reads[1])
    c.a:persist() -- its NOOP
    assert.equal(3, c.a.reads[1])
    c.a:propose "x"
    c.a:read(2)
    assert.equal(3, c.a.reads[2]) -- what a crash could still forget is not there to be read
    c.a:persist()
    c.a:read(3)
    assert.equal(4, c.a.reads[3])
  end)
end)
