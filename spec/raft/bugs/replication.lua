-- Bugs of replication and commit (see all.lua). 24 and 25 speak of compacted logs: here the commit index stands where
-- the snapshot would; snapshots.lua has one.
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local HEARTBEAT = Cluster.HEARTBEAT
local played, leader = scenes.played, scenes.leader

return function(bug)
  bug(1, "an entry of a prior term on a majority was committed by counting, and then replaced",
    { "counted_prior_term" }, function()
    local c = played { disks = { a = { term = 3, log = Cluster.log { 1, 2 } } } }
    c:crown "a"
    assert.equal(4, c.a:status().term)
    for _, peer in ipairs { "b", "c" } do c:ack(peer, "a", 2) end
    assert.same({ 0, 0 }, { c.a:status().commit_index, c.a.applied })
    c.a:persist()
    c:ack("b", "a", 3) -- its own entry commits all before it
    assert.same({ 3, 3 }, { c.a:status().commit_index, c.a.applied })
  end)

  bug(22, "a follower committed what an append had not let it verify", { "commit_past_append" }, function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    local log = Cluster.log { 1, 1, 2, 2 }
    c:append("b", "a", 2, log, 1, 1, { commit = 4 })
    assert.equal(2, c.a:status().commit_index) -- its own third entry is another one
    local d = played { disks = { a = { term = 1, log = Cluster.log { 1, 1 } } } }
    d:append("b", "a", 2, log, 2, 1)
    d.a:refuse() -- a full disk takes nothing, and so verifies nothing
    d:append("b", "a", 2, Cluster.log { 1, 1, 2, 2 }, 3, 1, { commit = 4 })
    assert.equal(3, d.a:status().commit_index)
  end)

  bug(23, "a late, shorter append cut off a suffix that had been acknowledged",
    { "truncate_without_conflict" }, function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 4)
    c.a:persist()
    c:append("b", "a", 1, log, 0, 2)
    assert.same({ 4, 0 }, { c.a:status().last_index, #c.a.writes })
  end)

  bug(24, "an append from index 0 brought back what was there already", {}, function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 3, { commit = 3 })
    c.a:persist()
    c:append("b", "a", 1, log, 0, 3)
    assert.same({ 3, 0, 3 }, { c.a:status().last_index, #c.a.writes, c.a.applied })
  end)

  bug(25, "an append below what is committed was refused, and the refusal thought stray", {}, function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 3, { commit = 3 })
    c.a:persist()
    c:take "b"
    c:append("b", "a", 1, log, 1, 1)
    local answer = c:take "b" [1]
    assert.same({ true, 3 }, { answer.success, answer.match })
  end)

  bug(30, "a whole window of appends was lost, and replication stood still", { "heartbeat_at_match" }, function()
    local c = played { run = { "a", "b", "c" }, settings = { append_window = 2 } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c.a:propose "x"
    c.a:propose "y"
    c.a:propose "z"
    c:drop()
    c:advance(3 * HEARTBEAT)
    assert.same({ 4, 4, 4 }, { c.a.applied, c.b.applied, c.c.applied })
  end)

  bug(36, "a heartbeat carried a commit index past what its follower had", { "commit_past_match" }, function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("c", "a", 2)
    c:take "b"
    c.a:unreachable "b"
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    assert.same({ 2, 1 }, { c.a:status().commit_index, c:take "b" [1].commit })
  end)
end
