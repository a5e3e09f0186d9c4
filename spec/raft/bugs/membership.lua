-- Bugs of membership: what a leader may propose, who counts, who may be heard (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played = scenes.played

local function ask(server, from, term, fields)
  local message = { type = "request_vote", from = from, term = term, last_index = 9, last_term = term - 1 }
  for name, value in pairs(fields or {}) do message[name] = value end
  return server:receive(message)
end

local function log_with(terms, index, members)
  return Cluster.log(terms, { [index] = Cluster.configuration_entry(terms[index], members) })
end

return function(bug)
  bug(12, "a rolled-back configuration gives way to the one before it, though that is in the snapshot only",
    { "configuration_kept" }, function()
    local log = Cluster.log({ 1, 1, 1, 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b", "c", "d" }),
      [5] = Cluster.configuration_entry(1, { "a", "b", "c" }) })
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" }, members = { "a" },
      disks = { a = { log = log, compacted = 3 } } }
    assert.same({ 5, { "a", "b", "c" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    c:append("b", "a", 2, Cluster.log({ 1, 1, 1, 1, 2 }, { [2] = Cluster.configuration_entry(1,
      { "a", "b", "c", "d" }) }), 4, 1)
    assert.same({ 2, { "a", "b", "c", "d" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    assert.equal(2, c.a.configuration_told.index)
  end)

  bug(13, "a restart forgot a configuration that was appended and not committed",
    { "configuration_forgotten" }, function()
    local log = Cluster.log({ 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }) })
    local c = played()
    c:append("b", "a", 1, log, 0, 2)
    c.a:persist()
    c.a:restart()
    assert.same({ { "a", "b" }, 2 }, { c.a:status().configuration.voters, c.a:status().configuration_index })
  end)

  bug(13, "a restart finds a configuration that was appended and not committed",
    { "configuration_forgotten" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" }, members = { "a", "b", "c" } }
    c:append("b", "a", 1, log_with({ 1, 1 }, 2, { "a", "b", "c", "d" }), 0, 2)
    c.a:persist()
    c.a:restart()
    assert.same({ 2, { "a", "b", "c", "d" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    c:timeout "a"
    assert.equal(1, #c:take("d", "request_vote"))
  end)

  bug(14, "a new leader ignored an uncommitted configuration that it had inherited",
    { "inherited_ignored" }, function()
    local log = Cluster.log({ 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b", "c", "d", "e" }) })
    local c = played { ids = { "a", "b", "c", "d", "e" }, members = { "a", "b", "c" }, disks = { a = { log = log } } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
    assert.equal("pre-candidate", c.a:role()) -- two of three, not of five
    c.a:receive { type = "vote", from = "d", term = 2, pre = true, granted = true }
    c.a:persist()
    for _, id in ipairs { "b", "d" } do c.a:receive { type = "vote", from = id, term = 2, granted = true } end
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().commit_index)
    c:ack("d", "a", 3)
    assert.equal(3, c.a:status().commit_index)
  end)

  bug(14, "a new leader counts by the uncommitted configuration it inherits", { "inherited_ignored" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, members = { "a", "b", "c" },
      disks = { a = { log = log_with({ 1, 1 }, 2, { "a", "b", "c", "d", "e" }) } } }
    c:crown "a"
    c.a:persist()
    c:ack("b", "a", 3)
    assert.equal(0, c.a:status().commit_index) -- two of five
    c:ack("d", "a", 3)
    assert.equal(3, c.a:status().commit_index)
  end)

  -- Two changes, each by a leader that knows nothing of the other's, would make majorities that do not overlap:
  -- {a, d, e} of five and {b, c} of three.
  bug(15, "a leader changes nothing before it has committed an entry of its term",
    { "changed_too_early" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, members = { "a", "b", "c", "d" }, blank = { e = true } }
    c:elect "a"
    c:advance(HEARTBEAT)
    c:isolate "a"
    assert.equal("ok", (c.a:configure({ "a", "b", "c", "d", "e" }, { forced = true }))) -- on a alone
    c:timeout "b"
    for _ = 1, 4 do
      c:deliver(function(message) return message.type ~= "append" end)
      for _, id in ipairs { "b", "c", "d" } do c[id]:persist() end
    end
    assert.same({ "leader", 1 }, { c.b:role(), c.b:status().commit_index })
    local code, refusal = c.b:configure { "b", "c", "d" }
    if code == "ok" then -- what would come of it: c's ack commits it, and a is elected without it
      c:settle_among { "b", "c" }
      c:heal()
      c:isolate "b"
      c:isolate "c"
      c:timeout "a"
      c:settle()
      c.a:propose "what b has committed is overwritten"
      c:heal()
      c:settle()
    end
    assert.same({ "unavailable", "too_early" }, { code, refusal })
    c:settle()
    assert.equal("ok", (c.b:configure { "b", "c", "d" }))
  end)

  bug(16, "a server campaigned by a configuration it had not applied; here it need not be applied",
    { "unapplied_ignored" }, function()
    local log = Cluster.log({ 1 }, { Cluster.configuration_entry(1, { voters = { "b", "c" }, learners = { "a" } }) })
    local c = played()
    c:append("b", "a", 1, log, 0, 1)
    c.a:persist()
    c:timeout "a" -- it may be the only one that has the entry: until that is known to be committed it campaigns
    assert.equal("pre-candidate", c.a:role())
    c:append("b", "a", 1, log, 1, 0, { commit = 1 })
    assert.equal(0, c.a:status().applied_index)
    c:timeout "a" -- its vote is gone, applied or not
    assert.equal("follower", c.a:role())
  end)

  bug(16, "a campaign counts by the configuration in the log, applied or not", { "unapplied_ignored" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, members = { "a", "b", "c" },
      disks = { a = { log = log_with({ 1, 1 }, 2, { "a", "b", "c", "d", "e" }) } } }
    c:timeout "a"
    assert.same({ 1, 1 }, { #c:take("d", "request_vote"), #c:take("e", "request_vote") })
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
    assert.equal("pre-candidate", c.a:role())
    c.a:receive { type = "vote", from = "d", term = 2, pre = true, granted = true }
    assert.equal("candidate", c.a:role())
  end)

  bug(17, "a promoted learner that did not know it yet refused to vote", { "learner_refuses" }, function()
    local c = played { members = { voters = { "b", "c" }, learners = { "a" } } }
    ask(c.a, "b", 1, { last_index = 0, last_term = 0 })
    c.a:persist()
    assert.is_true(c:take("b", "vote")[1].granted)
  end)

  bug(17, "a promoted learner that does not know it yet votes", { "learner_refuses" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, members = { voters = { "a", "b" }, learners = { "c" } } }
    c:elect "a"
    c:advance(2 * HEARTBEAT)
    assert.equal("ok", (c.a:configure { "a", "b", "c" }))
    c:settle_among { "a", "b" } -- two of three have it, so it is committed
    assert.equal(2, c.a:status().commit_index)
    c:drop()
    c.a:crash()
    assert.same({ "c" }, c.c:status().configuration.learners)
    c:advance(4 * T)
    assert.equal("leader", c.b:role()) -- with the vote of one who thinks it has none
    assert.same({ "a", "b", "c" }, c.c:status().configuration.voters)
  end)

  bug(20, "a demoted server that asks in a higher term is not heard while there is a leader",
    { "no_stickiness" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a", "b", "c" } }
    c:elect "a"
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, learners = { "d" } }))
    c:settle()
    for _, id in ipairs { "a", "b", "c" } do
      ask(c[id], "d", 9) -- it was a candidate when it was cut off, and does not know
      ask(c[id], "d", 9, { pre = true })
    end
    c:settle()
    assert.same({ "leader", 1, 1, 1 }, { c.a:role(), c.a:status().term, c.b:status().term, c.c:status().term })
  end)

  bug(20, "a removed server's answer in a higher term deposes nobody", { "stranger_heeded" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a", "b", "c" } }
    c:elect "a"
    assert.equal("ok", (c.a:configure { "a", "b", "c" }))
    c:settle()
    c.a:receive { type = "append_result", from = "d", term = 9, success = false, prev_index = 2, conflict_index = 1 }
    assert.same({ "leader", 1 }, { c.a:role(), c.a:status().term })
  end)

  bug(20, "a learner in a higher term is led again by the same leader, at once", {}, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, members = { voters = { "a", "b", "c" }, learners = { "d" } },
      disks = { d = { term = 9 } } }
    c:elect "a" -- in term 1; d hears of it, and answers
    assert.same({ "leader", 10 }, { c.a:role(), c.a:status().term })
    c:advance(2 * HEARTBEAT)
    assert.equal(c.a.applied, c.d.applied)
    assert.same({ "follower", "follower" }, { c.b:role(), c.c:role() })
  end)

  bug(37, "those who have no vote were counted in the quorum", { "small_quorum", "non_voters_counted" }, function()
    local c = played { ids = { "a", "b", "c", "d", "e" },
      members = { voters = { "a", "b", "c" }, learners = { "d", "e" } } }
    c:crown "a"
    c.a:persist()
    for _, id in ipairs { "d", "e" } do c:ack(id, "a", 1, { round = 1 }) end
    c.a:read(1)
    assert.same({ 0, nil }, { c.a:status().commit_index, c.a.reads[1] })
    c:ack("b", "a", 1)
    assert.equal(1, c.a:status().commit_index)
    local even = played { ids = { "a", "b", "c", "d" } } -- nor is half of an even number one
    even:timeout "a"
    even.a:receive { type = "vote", from = "b", term = 1, pre = true, granted = true }
    assert.equal("pre-candidate", even.a:role())
  end)

  bug(37, "learners count in no quorum: of votes, of acknowledgements, of contact",
    { "non_voters_counted" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" },
      members = { voters = { "a", "b" }, learners = { "c", "d", "e" } } }
    c:timeout "a"
    for _, id in ipairs { "c", "d", "e" } do
      c.a:receive { type = "vote", from = id, term = 1, pre = true, granted = true }
    end
    assert.equal("pre-candidate", c.a:role())
    c:crown "a"
    c.a:persist()
    for _, id in ipairs { "c", "d", "e" } do c:ack(id, "a", 1) end
    assert.equal(0, c.a:status().commit_index)
    for _ = 1, 12 do
      c.now_us = c.now_us + HEARTBEAT
      for _, id in ipairs { "c", "d", "e" } do c:ack(id, "a", 1) end
      c.a:timer()
    end
    assert.equal("follower", c.a:role())
  end)

  bug(38, "a server that was removed, lost its disk and joins again is not trusted with what its former self had",
    { "rejoined_trusted" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a", "b" } }
    c:elect "a"
    c.a:propose("x", "y")
    c:settle()
    c:ack("c", "a", 3)
    assert.equal(3, c.a:status().peers.c.match)
    local code, refusal = c.a:configure { voters = { "a", "b", "c" }, incarnations = { c = 2 } }
    assert.same({ "bad_request", "incarnation" }, { code, refusal })
    assert.equal("ok", (c.a:configure { "a", "b" }))
    c:settle()
    assert.equal("ok", (c.a:configure { voters = { "a", "b" }, learners = { "c" }, incarnations = { c = 2 } }))
    assert.same({ 0, "learner" }, { c.a:status().peers.c.match, c.a:status().peers.c.standing })
    assert.is_false(c.a:status().peers.c.caught_up)
  end)

  bug(nil, "two changes: nothing is changed while the change before it is not committed, or joint",
    { "two_changes" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c.watch_configurations = true
    c:elect "a"
    assert.equal("ok", (c.a:configure { "a", "b" }))
    local code, refusal = c.a:configure { "a" }
    assert.same({ "unavailable", "pending" }, { code, refusal })
    c:settle()
    assert.equal("ok", (c.a:configure { "a" }))
  end)

  bug(nil, "removed leader: it leads until its removal is committed, without counting itself, and no longer",
    { "removed_leads_on" }, function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" } }
    c:elect "a"
    assert.equal("ok", (c.a:configure { "b", "c", "d" }))
    c:settle_among { "a", "b" }
    assert.same({ "leader", 1 }, { c.a:role(), c.a:status().commit_index }) -- a and b are no majority of b, c, d
    c:settle()
    assert.equal("follower", c.a:role())
    local leader = c:leader()
    assert(leader and leader.id ~= "a", "it hands over as it goes") -- no time has passed
    c:advance(10 * T)
    assert.same({ "follower", leader:status().term }, { c.a:role(), c:leader():status().term })
  end)
end
