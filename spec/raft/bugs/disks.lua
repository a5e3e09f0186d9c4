-- Bugs of disks that fail, lag or forget (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played, leader = scenes.played, scenes.leader

local function refusal(c, from, fields)
  local message = { type = "append_result", from = from, term = c.a:status().term, success = false, prev_index = 0,
    last_index = 0, conflict_index = 1, conflict_term = 0 }
  for name, value in pairs(fields) do message[name] = value end
  c.a:receive(message)
end

return function(bug)
  bug(26, "a write that had failed vouched for what a peer still held", { "full_disk_leads" }, function()
    local c = leader()
    c.a:propose "x"
    c.a:refuse() -- rolled back
    c:ack("b", "a", 2)
    assert.same({ "follower", 1, 1 }, { c.a:role(), c.a:status().commit_index, c.a:status().durable_index })
    c.a:restart()
    assert.same({ 1, 1 }, { c.a:status().last_index, #c.a.disk.log })
  end)

  bug(26, "the report of an old write vouched for the entry that had replaced its own",
    { "old_write_vouches" }, function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    c:append("c", "a", 2, Cluster.log { 1, 2, 2 }, 1, 2)
    c.a:persist(1)
    assert.equal(1, c.a:status().durable_index)
    for _, answer in ipairs(c:take("c", "append_result")) do assert(answer.match <= 1) end
  end)

  bug(39, "a follower acknowledged what the end of its log then lost", { "ack_not_durable" }, function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:append("b", "a", 1, log, 1, 2)
    c:append("b", "a", 1, log, 3, 0) -- a heartbeat, answered at once
    local acknowledged = 0
    for _, answer in ipairs(c:take("b", "append_result")) do acknowledged = math.max(acknowledged, answer.match) end
    c.a:restart()
    assert.same({ 1, 1 }, { acknowledged, c.a:status().last_index })
  end)

  bug(39, "a follower lost what it had acknowledged, and the leader counted on it; here it says so, and does not",
    { "forgetting_believed" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:isolate "c"
    c:advance(8 * HEARTBEAT)
    c.a:propose "x"
    c:settle()
    assert.equal(2, c.a:status().commit_index) -- a and b have it
    c.b:crash()
    c.b.disk.log[2] = nil
    c.b:restart()
    c:advance(3 * HEARTBEAT)
    assert.same({ { type = "forgot", peer = "b", acknowledged = 2, last = 1 } }, c.a.forgotten)
    assert.same({ true, false }, { c.a:status().peers.b.forgot, c.a:status().peers.b.caught_up })
    assert.equal(2, c.b:status().durable_index) -- others count on its being there: it is sent again
    c.a:propose "y"
    c.a:read(1)
    c:settle()
    assert.same({ 3, 2 }, { c.b:status().durable_index, c.a:status().commit_index })
    assert.is_nil(c.a.reads[1]) -- for b may have forgotten a vote, too
    assert.equal("unavailable", (c.a:transfer "b"))
    local term = c.a:status().term
    c:advance(5 * HEARTBEAT)
    assert.same({ "leader", term }, { c.a:role(), c.a:status().term }) -- there is time to send what was lost
    c:advance(6 * T) -- nobody can do without b: another term begins, with what the disks hold
    local leader_now = assert(c:leader())
    assert(leader_now:status().term > term and leader_now:status().commit_index > 3)
    assert.equal(1, #c.a.forgotten)
  end)

  bug(39, "one that forgot counts again when it was removed, and has joined again",
    { "forgetting_believed" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c.a:propose "x"
    c:settle()
    c.b:crash()
    c.b.disk.log[2] = nil
    c.b:restart()
    c:advance(20 * HEARTBEAT)
    assert.same({ "leader", 1, true, 2 }, { c.a:role(), c.a:status().term, c.a:status().peers.b.forgot,
      c.a:status().peers.b.match }) -- c is enough to lead, and b is still not counted
    c:isolate "c"
    c.a:propose "y"
    c:settle()
    assert.same({ 3, 2 }, { c.a:status().peers.b.match, c.a:status().commit_index })
    c:heal()
    c:advance(2 * HEARTBEAT)
    assert.equal(3, c.a:status().commit_index)
    assert.equal("ok", (c.a:configure { "a", "c" }))
    c:settle()
    assert.equal("ok", (c.a:configure { voters = { "a", "c" }, learners = { "b" } }))
    c:settle()
    assert.is_false(c.a:status().peers.b.forgot)
    assert.equal("ok", (c.a:configure { "a", "b", "c" }))
    c:isolate "c"
    c:settle()
    assert.same({ 1, c.a:status().last_index }, { c.a:status().term, c.a:status().commit_index })
    assert.equal(1, #c.a.forgotten)
  end)

  bug(39, "what one that was removed has lost is nobody's business", {}, function()
    local c = leader()
    assert.equal("ok", (c.a:configure { "a", "c" }))
    c.a:persist()
    c:ack("c", "a", 2)
    assert.same({ "departed", 1 }, { c.a:status().peers.b.standing, c.a:status().peers.b.match })
    for round = 0, 1 do
      c.a:read(round)
      refusal(c, "b", { prev_index = 2, round = round })
    end
    assert.same({ {}, false }, { c.a.forgotten, c.a:status().peers.b.forgot })
  end)

  bug(39, "one that needs a snapshot to have again what it lost is sent one", { "forgetting_believed" }, function()
    local c = leader()
    for i = 1, 4 do c.a:propose("x" .. i) end
    c.a:persist()
    c:ack("b", "a", 5)
    c.a:event { type = "applied", index = c.a.applied }
    c.a:take_snapshot()
    c:take "b"
    refusal(c, "b", { prev_index = 5, last_index = 2, conflict_index = 3, conflict_term = 1 })
    assert.is_false(c.a:status().peers.b.forgot) -- it may have said so long ago
    local round = c:take "b" [1].round
    refusal(c, "b", { prev_index = 5, last_index = 2, conflict_index = 3, conflict_term = 1, round = round })
    assert.same({ true, "snapshot" }, { c.a:status().peers.b.forgot, c.a:status().peers.b.progress })
    assert.equal(5, c:take("b", "install_snapshot")[1].meta.index)
    c.a:receive { type = "snapshot_result", from = "b", term = 1, status = Cluster.INSTALLED, index = 5, match = 5 }
    assert.same({ true, 5, "replicate" }, { c.a:status().peers.b.forgot, c.a:status().peers.b.match,
      c.a:status().peers.b.progress })
  end)

  bug(39, "what is only old proves no loss, in whatever order it comes", { "forgetting_believed" }, function()
    local c = leader()
    c.a:propose("x", "y", "z")
    c.a:persist()
    c:ack("b", "a", 4)
    c:take "b"
    c:ack("b", "a", 2) -- it was said before
    refusal(c, "b", { prev_index = 3, last_index = 1, conflict_index = 2, conflict_term = 1 })
    local sent = c:take "b"
    assert.same({ 1, 1, 0 }, { #sent, sent[1].round, #sent[1].entries }) -- a round that will tell, one for all
    c:ack("b", "a", 3)
    c:ack("b", "a", 4, { round = 1 }) -- all is well
    c.a:propose "more"
    c.a:persist()
    c:ack("b", "a", 5, { round = 1 })
    c:ack("b", "a", 4, { round = 1 }) -- the same round, and older
    assert.same({ false, 5, 2 }, { c.a:status().peers.b.forgot, c.a:status().peers.b.match, c:take "b" [2].round })
    assert.same({}, c.a.forgotten)
    assert.equal("ok", (c.a:transfer "b"))
    c:ack("b", "a", 4, { round = 2 })
    assert.same({ true, "b" }, { c.a:status().peers.b.forgot, c.a.transfer_failed })
    c:ack("b", "a", 5, { round = 1 }) -- from before the loss
    assert.same({ 5, 5 }, { c.a:status().commit_index, c.a:status().peers.b.match })
    refusal(c, "b", { prev_index = 5, last_index = 4, conflict_index = 5, conflict_term = 1, round = 2 })
    refusal(c, "b", { prev_index = 5, last_index = 4, conflict_index = 5, conflict_term = 1, round = 3 })
    assert.same({ true, 0, 5 }, { c.a:status().peers.b.forgot, c.a:status().peers.b.match, c.a:status().peers.b.next })
    assert.equal(1, #c.a.forgotten)
    c.now_us = c.now_us + T -- of c nothing is heard
    c:ack("b", "a", 5, { round = 3 })
    assert.equal("unavailable", (c.a:transfer()))
  end)

  bug(39, "a leader goes on with a follower that asks again for what it had acknowledged", {}, function()
    local c = leader()
    c.a:propose "x"
    c.a:persist()
    c:ack("b", "a", 2)
    refusal(c, "b", { prev_index = 2 })
    assert.same({ 2, 2 }, { c.a:status().peers.b.match, c.a:status().commit_index })
  end)
end
