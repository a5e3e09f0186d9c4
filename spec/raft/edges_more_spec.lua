-- More edges of the core: what is done once, what is left alone, what is early. Each was a guard that nothing else
-- missed (scripts/mutants).
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played, leader = scenes.played, scenes.leader

local function configuration_log(terms, entries)
  local special = {}
  for index, members in pairs(entries) do special[index] = Cluster.configuration_entry(terms[index], members) end
  return Cluster.log(terms, special)
end

describe("an append", function()
  it("that claims no term where there is none here is refused", function()
    local c = played()
    c:append("b", "a", 1, {}, 0, 0)
    c.a:persist()
    c:take "b"
    c.a:receive { type = "append", from = "b", term = 1, prev_index = 5, prev_term = 0, commit = 5, entries = {} }
    assert.is_false(c:take "b" [1].success)
    assert.equal(0, c.a:status().commit_index)
  end)
end)

describe("a truncation", function()
  it("leaves in memory what was before it, and the configurations", function()
    local c = played()
    local log = configuration_log({ 1, 1, 1, 1, 1 }, { [2] = { "a", "b" }, [4] = { "a" } })
    c:append("b", "a", 1, log, 0, 5)
    assert.same({ "a" }, c.a:status().configuration.voters)
    c:append("b", "a", 2, configuration_log({ 1, 1, 1, 2 }, { [2] = { "a", "b" } }), 3, 1)
    assert.same({ { "a", "b" }, 2 }, { c.a:status().configuration.voters, c.a:status().configuration_index })
    for index = 1, 4 do assert.equal(index, c.a.core:entry(index).index) end
    assert.is_nil(c.a.core:entry(5))
    c.a:persist()
    assert.same({ 1, 1, 1, 2 }, Cluster.terms(c.a.disk.log))
  end)
end)

describe("a candidate", function()
  it("asks again only those who have not granted", function()
    local c = played { ids = { "a", "b", "c", "d", "e" } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 1, pre = true, granted = true }
    for _, id in ipairs { "b", "c", "d", "e" } do c:take(id) end
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    assert.same({ 0, 1 }, { #c:take "b", #c:take "c" })
  end)

  it("is not hurried by a timer that is early", function()
    local c = played()
    c:timeout "a"
    c:take "b"
    c.now_us = c.now_us + HEARTBEAT // 2
    c.a:timer()
    assert.equal(0, #c:take "b")
  end)

  it("does not count its own vote for the completion of an older write", function()
    local c = played { ids = { "a", "b", "c", "d", "e" } }
    c:append("b", "a", 1, Cluster.log { 1, 1 }, 0, 2)
    c:timeout "a"
    for _, id in ipairs { "b", "c" } do
      c.a:receive { type = "vote", from = id, term = 2, pre = true, granted = true }
    end
    for _, id in ipairs { "b", "c" } do -- from a life before
      c.a:receive { type = "vote", from = id, term = 2, granted = true }
    end
    assert.same({ 2, "candidate" }, { #c.a.writes, c.a:role() })
    c.a:persist(1)
    assert.equal("candidate", c.a:role())
    c.a:persist(1)
    assert.equal("leader", c.a:role())
  end)
end)

describe("what is held for the disk", function()
  it("is one message of each kind for each peer: a vote does not take an answer's place", function()
    local c = played()
    c.a:receive { type = "request_vote", from = "b", term = 4, last_index = 0, last_term = 0 }
    c:append("b", "a", 4, {}, 0, 0, { round = 3 })
    assert.equal(0, #c:take "b")
    c.a:persist()
    local kinds = {}
    for _, message in ipairs(c:take "b") do kinds[message.type] = message end
    assert.is_true(kinds.vote.granted)
    assert.equal(3, kinds.append_result.round)
  end)
end)

describe("a full disk", function()
  it("is not over because a write before it was done, nor tried twice at once", function()
    local c = played { settings = { disk_retry_us = 1000 } }
    local log = Cluster.log { 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c:append("b", "a", 1, log, 1, 1)
    local first = table.remove(c.a.writes, 1)
    c.a:refuse() -- the second
    c.a.writes = { first }
    c.a:persist()
    assert.is_true(c.a:status().disk_full)
    c.now_us = c.now_us + 1000
    c.a:timer()
    assert.equal(1, #c.a.writes)
    c.now_us = c.now_us + 1000000
    c.a:timer()
    assert.equal(1, #c.a.writes) -- the retry is out
    c.a:persist()
    assert.is_false(c.a:status().disk_full)
  end)
end)

describe("old news of the disk", function()
  it("is none: nothing is sent, nobody steps down", function()
    local c = played()
    local log = Cluster.log { 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:append("b", "a", 1, log, 1, 1)
    c:take "b"
    c.a:event { type = "persisted", sequence = 1 }
    assert.equal(0, #c:take "b")
    local d = leader()
    d.a:event { type = "persist_refused", sequence = 1 }
    assert.same({ "leader", false }, { d.a:role(), d.a:status().disk_full })
  end)
end)

describe("a pre-vote", function()
  it("is not given to a log that could not win", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 2 } } } }
    c.a:receive { type = "request_vote", pre = true, from = "b", term = 3, last_index = 1, last_term = 2 }
    assert.is_false(c:take "b" [1].granted)
  end)
end)

describe("the owner", function()
  it("is told the role at the start, and every change of role or term", function()
    local blank = Cluster.new { ids = { "x" }, members = false }
    assert.same({ "follower", 0, "" }, { blank.x.role_told.role, blank.x.role_told.term, blank.x.role_told.leader })
    local c = played()
    c:timeout "a"
    assert.same({ "pre-candidate", 0 }, { c.a.role_told.role, c.a.role_told.term })
    c.a:receive { type = "vote", from = "b", term = 7, pre = true, granted = false }
    assert.same({ "follower", 7 }, { c.a.role_told.role, c.a.role_told.term })
    c.a:receive { type = "vote", from = "b", term = 9, pre = true, granted = false }
    assert.same({ "follower", 9 }, { c.a.role_told.role, c.a.role_told.term })
  end)

  it("gets nothing to do from a configuration of a newer program", function()
    local c = played()
    local bytes = Cluster.configuration { "a", "b", "c" }
    local newer, count = bytes:gsub("version\1", "version\2")
    assert.equal(1, count)
    local code = c:append("b", "a", 1, Cluster.log({ 1 }, { { type = 1, payload = newer } }), 0, 1)
    assert.same({ "version", 0 }, { code, #c.a.effects })
  end)
end)

describe("a server of both halves of a joint configuration", function()
  it("is one peer", function()
    local c = played { members = { voters = { "a", "b", "c" }, outgoing = { "a", "b" } } }
    c:timeout "a"
    assert.equal(1, #c:take("b", "request_vote"))
    assert.equal(1, #c:take("c", "request_vote"))
    c:crown "a"
    assert.same({ 1, 1 }, { #c:take("b", "append"), #c:take("c", "append") })
  end)
end)

describe("a leader", function()
  it("replicates to whoever has all there is, however it came to know", function()
    local c = leader()
    c.a:unreachable "b"
    assert.equal("probe", c.a:status().peers.b.progress)
    c:ack("b", "a", 1)
    assert.equal("replicate", c.a:status().peers.b.progress)
  end)

  it("makes nothing of a refusal without a hint, nor of a peer that it does not know", function()
    local c = leader()
    c.a:propose "x"
    c.a:receive { type = "append_result", from = "b", term = 1, success = false, prev_index = 2, last_index = 1,
      conflict_index = 0, conflict_term = 0 }
    assert.equal("replicate", c.a:status().peers.b.progress)
    c.a:unreachable "zz"
    assert.equal("leader", c.a:role())
  end)

  it("tells of a commit when it is time, and only those who are being replicated to", function()
    local c = played()
    c:crown "a"
    c.a:persist()
    c:take "b"
    c:take "c"
    c:ack("b", "a", 1)
    c:take "b"
    c.a:timer() -- early
    assert.equal(0, #c:take "b")
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer()
    assert.same({ 1, 0 }, { #c:take "b", #c:take "c" }) -- c has not answered yet
  end)

  it("does not believe a disk that leaves out an entry, nor takes what nobody asked for", function()
    local function reading()
      local c = played { disks = { a = { log = Cluster.log { 1, 1, 1, 1 } } } }
      c:crown "a"
      c:take "b"
      c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = 4, last_index = 1,
        conflict_index = 2, conflict_term = 1 }
      assert.same({ 1, 2 }, { #c.a.log_reads, c.a.log_reads[1].first })
      return c
    end
    local log = Cluster.log { 1, 1, 1, 1 }
    local c = reading()
    assert.equal("corrupt", (c.a:answer_log_read { log[2], log[4] }))
    c = reading()
    c.a:event { type = "log_read", token = 0, entries = { log[2], log[3] } }
    assert.equal(0, #c:take("b", "append"))
  end)
end)

describe("an early timer", function()
  it("sends nothing, whoever one is", function()
    local c = leader()
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer()
    c:take "b"
    c.now_us = c.now_us + HEARTBEAT // 4
    c.a:timer()
    assert.equal(0, #c:take "b")
    local d = played()
    d.now_us = d.now_us + T // 2
    d.a:timer()
    assert.same({ "follower", 0 }, { d.a:role(), #d:take "b" })
  end)
end)

