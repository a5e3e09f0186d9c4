-- Membership as the log has it: effective when appended, undone when truncated, found again after a restart.
local Cluster = require "support.raft_cluster"
local HEARTBEAT = Cluster.HEARTBEAT

local function log_with(terms, index, members)
  return Cluster.log(terms, { [index] = Cluster.configuration_entry(terms[index], members) })
end

local function played(disk, members)
  return Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, members = members, disks = { a = disk } }
end

describe("a configuration entry", function()
  it("is effective when it is appended, durable or not, and announced", function()
    local c = played()
    local log = log_with({ 1, 1, 1 }, 2, { voters = { "a", "b", "c", "d" }, learners = { "e" } })
    c:append("b", "a", 1, log, 0, 3)
    local status = c.a:status()
    assert.same({ 2, 3, 0 }, { status.configuration_index, status.last_index, status.commit_index })
    assert.same({ { "a", "b", "c", "d" }, { "e" } }, { status.configuration.voters, status.configuration.learners })
    assert.same({ 2, { "e" } }, { c.a.configuration_told.index, c.a.configuration_told.configuration.learners })
  end)

  it("is undone when it is truncated, back to the one before it", function()
    local c = played()
    c:append("b", "a", 1, log_with({ 1, 1, 1 }, 2, { "a" }), 0, 3)
    assert.same({ "a" }, c.a:status().configuration.voters)
    c:append("b", "a", 2, Cluster.log { 1, 2 }, 1, 1)
    assert.same({ { "a", "b", "c" }, 0 }, { c.a:status().configuration.voters, c.a:status().configuration_index })
    assert.equal(0, c.a.configuration_told.index)
  end)

  it("is not forgotten by a restart, committed or not (bug 13)", function()
    local c = played { log = log_with({ 1, 1, 1 }, 2, { "a", "b" }) }
    assert.same({ { "a", "b" }, 2 }, { c.a:status().configuration.voters, c.a:status().configuration_index })
    assert.equal(2, c.a.configuration_told.index)
    c:append("b", "a", 2, Cluster.log { 1, 2 }, 1, 1) -- nor is the one before it
    assert.same({ "a", "b", "c" }, c.a:status().configuration.voters)
  end)

  it("counts in an election before it is committed or applied (bugs 14, 16)", function()
    local log = log_with({ 1, 1 }, 2, { "a", "b", "c", "d", "e" })
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, members = { "a", "b", "c" },
      disks = { a = { log = log } } }
    c:timeout "a"
    assert.equal(1, #c:take("d", "request_vote"))
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
    assert.equal("pre-candidate", c.a:role())
    c.a:receive { type = "vote", from = "d", term = 2, pre = true, granted = true }
    c.a:persist()
    c.a:receive { type = "vote", from = "b", term = 2, granted = true }
    c.a:receive { type = "vote", from = "e", term = 2, granted = true }
    assert.equal("leader", c.a:role())
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().commit_index)
    c:ack("e", "a", 3)
    assert.equal(3, c.a:status().commit_index)
  end)

  it("that takes a server's vote away keeps it from campaigning once it is committed, and not before", function()
    for _, members in ipairs { { "b", "c" }, { voters = { "b", "c" }, learners = { "a" } } } do
      local c = played()
      local log = log_with({ 1 }, 1, members)
      c:append("b", "a", 1, log, 0, 1)
      c.a:persist()
      c:timeout "a" -- it may be the only one that has the entry: nobody else could be elected against its log
      assert.equal("pre-candidate", c.a:role())
      c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
      assert.equal("pre-candidate", c.a:role()) -- but its own vote does not count
      c:append("b", "a", 1, log, 1, 0, { commit = 1 })
      c:timeout "a"
      assert.equal("follower", c.a:role())
    end
  end)

  it("that means a former server of its id does not let the present one campaign", function()
    for incarnation, role in pairs { [1] = "leader", [2] = "follower" } do
      local c = played { log = log_with({ 1, 1 }, 2, { "a" }), incarnation = incarnation } -- it names a as 1
      if incarnation == 2 then c:timeout "a" end
      c.a:persist()
      assert.equal(role, c.a:role())
    end
  end)

  it("lets a learner vote that lacks nothing, however long its last round took, where nothing is proposed", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, members = { voters = { "a" }, learners = { "c" } } }
    local function caught_up() return c.a:status().peers.c.caught_up end
    c:elect "a"
    assert.is_false(caught_up())
    c:advance(3 * Cluster.T, false)
    c:ack("c", "a", 1)
    assert.is_true(c.a:status().peers.c.round_us > Cluster.T)
    assert.is_true(caught_up())
    c.a:propose "x" -- from here on it is to be seen
    assert.is_false(caught_up())
  end)

  it("gives a blank server its place, and its timeout", function()
    local c = played(nil, false)
    assert.is_nil(c.a.deadline_us)
    c:append("b", "a", 1, log_with({ 1 }, 1, { "a", "b", "c" }), 0, 1)
    c.a:persist()
    assert(c.a.deadline_us)
    c:timeout "a"
    assert.equal("pre-candidate", c.a:role())
  end)

  it("that cannot be read stops the server", function()
    local c = played()
    local log = Cluster.log({ 1 }, { { type = Cluster.TYPE.configuration, payload = "no configuration" } })
    local code, text = c:append("b", "a", 1, log, 0, 1)
    assert.equal("corrupt", code)
    assert(text:find("configuration entry 1", 1, true), text)
  end)
end)

describe("learners", function()
  it("are replicated to, and count for nothing", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" },
      members = { voters = { "a", "b" }, learners = { "c", "d" } } }
    c:crown "a"
    c.a:persist()
    assert.equal(1, #c:take("c", "append"))
    c:ack("c", "a", 1)
    c:ack("d", "a", 1)
    assert.equal(0, c.a:status().commit_index)
    c:ack("b", "a", 1)
    assert.equal(1, c.a:status().commit_index)
  end)
end)

describe("while two majorities are needed", function()
  local members = { voters = { "a", "d", "e" }, outgoing = { "a", "b", "c" } }

  it("a candidate needs both, and asks the servers of both", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, members = members }
    c:timeout "a"
    for _, id in ipairs { "b", "c", "d", "e" } do assert.equal(1, #c:take(id, "request_vote"), id) end
    local function grant(from, pre)
      c.a:receive { type = "vote", from = from, term = 1, pre = pre, granted = true }
    end
    grant("d", true)
    grant("e", true)
    assert.equal("pre-candidate", c.a:role())
    grant("b", true)
    assert.equal("candidate", c.a:role())
    c.a:persist()
    grant("b")
    grant("c")
    assert.equal("candidate", c.a:role())
    grant("e")
    assert.equal("leader", c.a:role())
    c.a:persist()
    c:ack("d", "a", 1)
    c:ack("e", "a", 1)
    assert.equal(0, c.a:status().commit_index)
    c:ack("c", "a", 1)
    assert.equal(1, c.a:status().commit_index)
    assert.same({ 2, {} }, { c.a:status().last_index, c.a:status().configuration.outgoing }) -- needed no more
  end)

  it("a leader that hears only one of them steps down", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, members = members }
    c:crown "a"
    c.a:persist()
    for _ = 1, 25 do -- the outgoing b and c are silent
      c.now_us = c.now_us + HEARTBEAT
      c.a:timer()
      if c.a:role() == "leader" then
        c:ack("d", "a", 1)
        c:ack("e", "a", 1)
      end
    end
    assert.not_equal("leader", c.a:role())
    assert.equal(0, c.a:status().commit_index)
  end)

  it("a server that is only among the outgoing votes, campaigns and leads still, until they are needed no more",
    function()
      local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, members = members }
      c:timeout "b"
      c:settle()
      assert.equal("b", c.leaders[1])
      assert.same({ "a", "d", "e" }, c.d:status().configuration.voters)
      assert.same({}, c.d:status().configuration.outgoing)
      assert.not_equal("leader", c.b:role())
      c:advance(6 * Cluster.T)
      assert.truthy(c:leader().id:match "[ade]")
    end)
end)
