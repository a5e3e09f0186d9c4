-- Bugs of votes and pre-votes (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T = Cluster.T
local played = scenes.played

local function ask(c, from, term, fields)
  local message = { type = "request_vote", from = from, term = term, last_index = 0, last_term = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  c.a:receive(message)
end

return function(bug)
  bug(18, "a pre-candidate whose term was behind was never told so", { "silent_refusal" }, function()
    local c = played { disks = { a = { term = 7 } } }
    ask(c, "b", 3, { pre = true, last_index = 9, last_term = 2 })
    local answer = c:take "b" [1]
    assert.same({ false, 7 }, { answer.granted, answer.term })
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 9, pre = true, granted = false }
    assert.same({ "follower", 9 }, { c.a:role(), c.a:status().term }) -- and whoever is told learns it
  end)

  bug(18, "a long log of an old term and a short one of a new term held each other off for ever",
    { "silent_refusal" }, function()
    for _, first in ipairs { "a", "b" } do
      local c = played { run = { "a", "b", "c" }, disks = {
        a = { term = 1, log = Cluster.log { 1, 1, 1 } }, b = { term = 5, log = Cluster.log { 1 } } } }
      c.c:crash()
      for _, id in ipairs { first, "a", "a", "a" } do
        if not c:leader() then
          c:timeout(id)
          c:settle()
        end
      end
      assert.equal("a", c:leader().id)
      c:close()
    end
  end)

  bug(19, "followers refused the pre-vote of their own leader", { "own_leader_refused" }, function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:persist()
    c:take "b"
    ask(c, "b", 2, { pre = true, last_index = 1, last_term = 1 })
    assert.is_true(c:take "b" [1].granted)
  end)

  bug(19, "a granted pre-vote put the voter's own campaign off", { "pre_vote_restarts" }, function()
    local c = played()
    local deadline = c.a.deadline_us
    c.now_us = deadline - 1
    ask(c, "b", 1, { pre = true })
    assert.is_true(c:take "b" [1].granted)
    c.now_us = deadline
    c.a:timer()
    assert.equal("pre-candidate", c.a:role())
  end)

  bug(21, "a vote was cleared on learning who leads, and given again", { "vote_forgotten" }, function()
    local c = played { ids = { "a", "b", "c", "d", "e" } }
    ask(c, "b", 1)
    c.a:persist()
    c:append("c", "a", 1, Cluster.log { 1 }, 0, 1)
    assert.equal("b", c.a:status().vote)
    c.a:persist()
    c.a:restart() -- knows no leader any more, and has still voted
    ask(c, "d", 1, { last_index = 1, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("d", "vote")[1].granted)
  end)

  bug(21, "who has voted keeps its vote when it learns who leads, and so when it is restarted",
    { "vote_forgotten" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    ask(c, "b", 2, { last_index = 9, last_term = 1 })
    c.a:persist()
    assert.is_true(c:take("b", "vote")[1].granted)
    c:append("b", "a", 2, Cluster.log { 2 }, 0, 1)
    c.a:persist()
    assert.equal("b", c.a:status().vote)
    c.a:restart()
    ask(c, "c", 2, { last_index = 9, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("c", "vote")[1].granted)
  end)

  bug(27, "the log grew between being compared and the vote; here it is looked at as it is",
    { "log_not_compared" }, function()
    local c = played { disks = { a = { log = Cluster.log { 1 } } } }
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 1, 2) -- not written yet
    c.now_us = c.now_us + 3 * T
    ask(c, "c", 2, { last_index = 2, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("c", "vote")[1].granted)
  end)

  bug(27, "a vote is judged by the whole log, as it is when it is granted", { "log_not_compared" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3, { commit = 1 })
    c.a:persist() -- a majority may have them by now: they may be committed
    c.now_us = c.now_us + 2 * T
    ask(c, "c", 2, { last_index = 2, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("c", "vote")[1].granted)
    ask(c, "c", 3, { last_index = 3, last_term = 1 })
    c.a:persist()
    assert.is_true(c:take("c", "vote")[1].granted)
  end)

  bug(33, "a vote was sent before it was on the disk", { "ungated_vote" }, function()
    local c = played { disks = { a = { term = 3 } } }
    ask(c, "b", 4)
    assert.equal(0, #c:take "b")
    c.a:persist()
    assert.is_true(c:take "b" [1].granted)
  end)

  bug(34, "a candidate asked for votes before its term was on the disk", { "ungated_vote_request" }, function()
    local c = played { disks = { a = { term = 3 } } }
    c:timeout "a"
    c:take "b"
    c.a:receive { type = "vote", from = "b", term = 4, pre = true, granted = true }
    assert.equal(0, #c:take("b", "request_vote"))
    c.a:persist()
    assert.equal(4, c:take("b", "request_vote")[1].term)
  end)

  bug(35, "a restarted server voted a second time in its term", { "double_vote" }, function()
    local c = played()
    ask(c, "b", 4)
    c.a:persist()
    c.a:restart()
    ask(c, "c", 4)
    c.a:persist()
    assert.is_false(c:take "c" [1].granted)
  end)
end
