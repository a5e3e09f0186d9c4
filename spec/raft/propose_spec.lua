-- Proposals: what is assigned, what is refused, and a cluster of one.
local Cluster = require "support.raft_cluster"

local function leader(settings)
  local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, settings = settings }
  c:crown "a"
  c.a:persist()
  c:ack("b", "a", 1)
  return c
end

describe("a proposal", function()
  it("is given term, index and chain", function()
    local c = leader()
    local code, entries = c.a:propose("x", "y")
    assert.equal("ok", code)
    assert.same({ 1, 2, 3 }, { entries[1].term, entries[1].index, entries[2].index })
    local stored = c.a.core:entry(3)
    assert.same({ "y", entries[2].chain }, { stored.payload, stored.chain })
  end)

  it("never goes back in time", function()
    local c = leader()
    local function stamp(time_ms)
      local entries = { { type = Cluster.TYPE.command, time_ms = time_ms, payload = "x" } }
      c.a:event { type = "propose", entries = entries }
      return entries[1].time_ms
    end
    assert.equal(5000, stamp(5000))
    assert.equal(5000, stamp(4000))
    assert.equal(5001, stamp(5001))
    c.a:persist()
    c:append("b", "a", 2, c.a.disk.log, 4, 0)
    c:crown "a"
    assert.equal(5001, c.a.core:entry(5).time_ms) -- its NOOP
    assert.equal(5001, stamp(1))
  end)

  it("goes on from the stamp of a restarted log", function()
    local c = Cluster.new { ids = { "a" }, disks = { a = { log = Cluster.log({ 1 }, { { time_ms = 7000 } }) } } }
    c:settle()
    assert.equal(7000, c.a.disk.log[2].time_ms)
  end)

  it("is refused by one who does not lead, with the name of who does", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    local code, _, text = c.b:propose "x"
    assert.same({ "not_leader", "no leader is known" }, { code, text })
    c:elect "a"
    code, _, text = c.b:propose "x"
    assert.same({ "not_leader", "a leads" }, { code, text })
    assert.equal(1, c.b:status().last_index)
  end)

  it("is refused past the limit of uncommitted bytes, the whole batch, and taken again after a commit", function()
    local c = leader { uncommitted_bytes_max = 1000 }
    assert.equal("ok", (c.a:propose(("x"):rep(400), ("x"):rep(400))))
    local before = c.a:status()
    local code, _, text = c.a:propose("y", ("x"):rep(400))
    assert.equal("overloaded", code)
    assert(text:find "1000", text)
    local after = c.a:status()
    assert.same({ before.last_index, before.uncommitted_bytes }, { after.last_index, after.uncommitted_bytes })
    assert.equal(944, before.uncommitted_bytes)
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().uncommitted_bytes)
    assert.equal("ok", (c.a:propose "y"))
  end)

  it("of any size is taken alone when nothing else waits", function()
    local c = leader { uncommitted_bytes_max = 100 }
    assert.equal("overloaded", (c.a:propose(("x"):rep(5000), "y")))
    assert.equal("ok", (c.a:propose(("x"):rep(5000))))
    assert.equal("overloaded", (c.a:propose "y"))
  end)

  it("weighs until it is durable here too: a slow disk is no reason to pile up", function()
    local c = leader { uncommitted_bytes_max = 1000 }
    c.a:propose(("x"):rep(900))
    c:ack("b", "a", 2)
    c:ack("c", "a", 2)
    assert.equal(2, c.a:status().commit_index)
    assert.equal("overloaded", (c.a:propose(("x"):rep(900))))
    c.a:persist()
    assert.equal("ok", (c.a:propose(("x"):rep(900))))
  end)

  it("inherited uncommitted by a new leader weighs too", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, settings = { uncommitted_bytes_max = 1000 } }
    c:append("b", "a", 1, Cluster.log({ 1 }, { { payload = ("x"):rep(900) } }), 0, 1)
    c.a:persist()
    c:crown "a"
    assert.equal(972 + 72, c.a:status().uncommitted_bytes)
    assert.equal("overloaded", (c.a:propose "y"))
    c.a:persist()
    c:ack("b", "a", 2)
    assert.equal("ok", (c.a:propose "y"))
    c.a:persist()
    c:append("c", "a", 9, c.a.disk.log, 3, 0)
    assert.equal(0, c.a:status().uncommitted_bytes)
  end)

  it("an empty one changes nothing", function()
    local c = leader()
    assert.equal("ok", (c.a:propose()))
    assert.equal(1, c.a:status().last_index)
  end)
end)

describe("a cluster of one", function()
  it("elects itself without waiting, and commits what its disk has", function()
    local c = Cluster.new { ids = { "a" } }
    assert.same({ "candidate", 1, "a" }, { c.a:role(), c.a.writes[1].term, c.a.writes[1].vote })
    c.a:persist()
    assert.equal("leader", c.a:role())
    c.a:persist()
    assert.equal(1, c.a.applied)
    c.a:propose("x", "y")
    assert.equal(1, c.a:status().commit_index)
    c.a:persist()
    assert.equal(3, c.a.applied)
  end)

  it("comes back after a restart with all it had committed", function()
    local c = Cluster.new { ids = { "a" } }
    c:settle()
    c.a:propose("x", "y")
    c:settle()
    c.a:restart()
    c:settle()
    assert.same({ "leader", 2, 4 }, { c.a:role(), c.a:status().term, c.a.applied })
  end)

  it("brings its learners along", function()
    local c = Cluster.new { ids = { "a", "b" }, members = { voters = { "a" }, learners = { "b" } } }
    c:elect "a"
    c.a:propose "x"
    c:settle()
    c:advance(Cluster.HEARTBEAT)
    assert.same({ 2, 2 }, { c.a.applied, c.b.applied })
  end)
end)
