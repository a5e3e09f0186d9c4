-- The figures of the paper (Ongaro and Ousterhout, "In Search of an Understandable Consensus Algorithm"), as scenarios.
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local played = scenes.played

describe("Figure 2, AppendEntries", function()
  it("1: is refused in an old term, and the answer tells the new one", function()
    local c = played { disks = { a = { term = 5 } } }
    c:append("b", "a", 4, Cluster.log { 4 }, 0, 1)
    local answer = c:take "b" [1]
    assert.is_false(answer.success)
    assert.equal(5, answer.term)
    assert.equal(0, c.a:status().last_index)
    assert.equal("", c.a:status().leader)
  end)

  it("2: is refused where the log has no entry at prev_index, or one of another term", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1 } } } }
    local leaders = Cluster.log { 1, 2, 2, 2 }
    c:append("b", "a", 2, leaders, 3, 1)
    c.a:persist()
    c:append("b", "a", 2, leaders, 2, 1)
    local answers = c:take "b"
    assert.is_false(answers[1].success)
    assert.is_false(answers[2].success)
    assert.equal(2, c.a:status().last_index)
    c:append("b", "a", 2, leaders, 1, 3)
    c.a:persist()
    assert.is_true(c:take "b" [1].success)
  end)

  it("3: a conflicting entry goes, with all that follow it", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1, 1 } } } }
    c:append("b", "a", 2, Cluster.log { 1, 1, 2 }, 2, 1)
    c.a:persist()
    assert.same({ 1, 1, 2 }, Cluster.terms(c.a.disk.log))
  end)

  it("4: only what is not there yet is appended", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 3)
    c:append("b", "a", 1, log, 1, 3)
    assert.same({ 4 }, { #c.a.writes[2].entries == 1 and c.a.writes[2].entries[1].index })
    assert.is_nil(c.a.writes[2].truncate_from)
  end)

  it("5: the commit index is the leader's, but no further than the last new entry", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1, 1 } } } }
    local log = Cluster.log { 1, 1, 1, 1, 2 }
    c:append("b", "a", 2, log, 1, 1, { commit = 5 })
    assert.equal(2, c.a:status().commit_index)
    c:append("b", "a", 2, log, 3, 0, { commit = 5 })
    assert.equal(3, c.a:status().commit_index)
    c:append("b", "a", 2, log, 4, 1, { commit = 4 })
    assert.equal(4, c.a:status().commit_index)
  end)
end)

describe("Figure 2, RequestVote", function()
  local function ask(c, term, last_index, last_term, from)
    c.a:receive { type = "request_vote", from = from or "b", term = term, last_index = last_index,
      last_term = last_term }
    c.a:persist()
    return c:take(from or "b", "vote")[1]
  end

  it("1: is refused in an old term", function()
    local c = played { disks = { a = { term = 5 } } }
    local vote = ask(c, 4, 9, 4)
    assert.is_false(vote.granted)
    assert.equal(5, vote.term)
  end)

  it("2: is granted once in a term, to a log at least as up to date", function()
    local function voter() return played { disks = { a = { term = 3, log = Cluster.log { 1, 2, 2 } } } } end
    assert.is_false(ask(voter(), 4, 2, 2).granted)      -- shorter
    assert.is_false(ask(voter(), 4, 9, 1).granted)      -- longer, of an older term
    assert.is_true(ask(voter(), 4, 3, 2).granted)       -- equal
    assert.is_true(ask(voter(), 4, 1, 3).granted)       -- shorter, of a newer term
    local c = voter()
    assert.is_true(ask(c, 4, 3, 2, "b").granted)
    assert.is_false(ask(c, 4, 3, 2, "c").granted)
    assert.is_true(ask(c, 4, 3, 2, "b").granted)        -- again, to the same candidate
    assert.is_true(ask(c, 5, 3, 2, "c").granted)        -- a new term, a new vote
  end)
end)

describe("Figure 2, servers", function()
  it("all: a higher term in any request or answer makes a follower", function()
    for _, message in ipairs {
      { type = "request_vote", last_index = 0, last_term = 0, transfer = true },
      { type = "vote", granted = false },
      { type = "vote", pre = true, granted = false },
      { type = "append", prev_index = 0, prev_term = 0, entries = {} },
      { type = "append_result", success = false, prev_index = 0 },
    } do
      local c = played()
      c:crown "a"
      message.from, message.term = "b", 7
      c.a:receive(message)
      assert.equal("follower", c.a:role())
      assert.equal(7, c.a:status().term)
      c:close()
    end
  end)

  it("all: what is committed and durable is applied, in order, once", function()
    local c = played()
    local log = Cluster.log { 1, 1, 1 }
    c:append("b", "a", 1, log, 0, 2, { commit = 2 })
    assert.equal(0, c.a.applied)
    c.a:persist()
    assert.equal(2, c.a.applied)
    c:append("b", "a", 1, log, 2, 1, { commit = 2 })
    c.a:persist()
    assert.equal(2, c.a.applied)
    c:append("b", "a", 1, log, 3, 0, { commit = 3 })
    assert.equal(3, c.a.applied)
  end)

  it("followers: no word from a leader for an election timeout, and they campaign", function()
    local c = played()
    c.now_us = c.now_us + Cluster.T - 1
    c.a:timer()
    assert.equal("follower", c.a:role())
    c.now_us = c.now_us + Cluster.T + 1
    c.a:timer()
    assert.equal("pre-candidate", c.a:role())
  end)

  it("candidates: raise the term, vote for themselves, ask everyone; a quorum makes a leader", function()
    local c = played()
    c:timeout "a"
    c.a:receive { type = "vote", from = "c", term = 1, pre = true, granted = true }
    assert.equal("candidate", c.a:role())
    assert.same({ 1, "a" }, { c.a.writes[1].term, c.a.writes[1].vote })
    c.a:persist()
    for _, peer in ipairs { "b", "c" } do
      local requests = c:take(peer, "request_vote")
      assert.is_false(requests[#requests].pre)
    end
    c.a:receive { type = "vote", from = "b", term = 1, granted = true }
    assert.equal("leader", c.a:role())
  end)

  it("candidates: a leader's word makes them followers; a timeout makes them ask anew", function()
    local c = played()
    c:timeout "a"
    c.a:receive { type = "vote", from = "c", term = 1, pre = true, granted = true }
    c.a:persist()
    c:timeout "a"
    assert.equal("pre-candidate", c.a:role())
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    assert.equal("follower", c.a:role())
    assert.equal("b", c.a:status().leader)
  end)

  it("leaders: speak at once, send what is new, step back where they are refused", function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1, 1 } } } }
    c:crown "a"
    local first = c:take("b", "append")[1]
    assert.same({ 3, 1, 1 }, { first.prev_index, first.prev_term, #first.entries })
    c.a:receive { type = "append_result", from = "b", term = 2, success = false, prev_index = 3, last_index = 1,
      conflict_index = 2, conflict_term = 1 }
    c.a:answer_log_read()
    local second = c:take("b", "append")[1]
    assert.same({ 1, 1, 2 }, { second.prev_index, second.prev_term, #second.entries })
    c:ack("b", "a", 4)
    c.a:propose "x"
    local third = c:take("b", "append")[1]
    assert.same({ 4, 2, "x" }, { third.prev_index, third.prev_term, third.entries[1].payload })
  end)

  it("leaders: commit what a quorum has, of their own term", function()
    local c = played()
    c:crown "a"
    c.a:persist()
    assert.equal(0, c.a:status().commit_index)
    c:ack("b", "a", 1)
    assert.equal(1, c.a:status().commit_index)
  end)
end)

describe("Figure 7", function()
  local followers = {
    a = { 1, 1, 1, 4, 4, 5, 5, 6, 6 },
    b = { 1, 1, 1, 4 },
    c = { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 6 },
    d = { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 7, 7 },
    e = { 1, 1, 1, 4, 4, 4, 4 },
    f = { 1, 1, 1, 2, 2, 2, 3, 3, 3, 3, 3 },
  }
  local leaders = { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6 }

  it("a leader of term 8 brings every log into line with its own", function()
    local disks = { leader = { term = 7, log = Cluster.log(leaders) } }
    for id, terms in pairs(followers) do disks[id] = { term = 7, log = Cluster.log(terms) } end
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e", "f", "leader" }, disks = disks }
    c:elect "leader"
    c:advance(2 * Cluster.HEARTBEAT)
    local expected = { 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8 }
    for id in pairs(followers) do
      assert.same(expected, Cluster.terms(c[id].disk.log), id)
      assert.equal(c.leader.disk.log[11].chain, c[id].disk.log[11].chain)
      assert.equal(11, c[id].applied)
    end
  end)

  it("each by itself takes no more refusals than it has terms that differ", function()
    for id, terms in pairs(followers) do
      local c = Cluster.new { ids = { id, "leader", "other" }, disks = {
        leader = { term = 7, log = Cluster.log(leaders) },
        other = { term = 7, log = Cluster.log(leaders) },
        [id] = { term = 7, log = Cluster.log(terms) },
      } }
      c:isolate(id)
      c:elect "leader"
      c:heal()
      local refusals = 0
      local queue = c.queue
      c.queue = function(self, server, message)
        if server.id == id and message.type == "append_result" and not message.success then refusals = refusals + 1 end
        return queue(self, server, message)
      end
      c:advance(4 * Cluster.HEARTBEAT)
      assert.same({ 1, 1, 1, 4, 4, 5, 5, 6, 6, 6, 8 }, Cluster.terms(c[id].disk.log), id)
      assert(refusals <= 3, ("%s: %d refusals"):format(id, refusals))
      c:close()
    end
  end)
end)

-- s1 ... s5 at (c): s1 was leader in term 2 and gave its entry to s2 only; s5 was leader in term 3 and wrote an entry
-- nobody else has; s1 is elected again, in term 4, and its entry of term 2 reaches a majority.
describe("Figure 8", function()
  local function at_c()
    local c = Cluster.new { ids = { "s1", "s2", "s3", "s4", "s5" }, settings = { append_bytes_max = 1 }, disks = {
      s1 = { term = 3, log = Cluster.log { 1, 2 } }, s2 = { term = 3, log = Cluster.log { 1, 2 } },
      s3 = { term = 3, log = Cluster.log { 1 } }, s4 = { term = 3, log = Cluster.log { 1 } },
      s5 = { term = 3, log = Cluster.log { 1, 3 } },
    } }
    c:cut("s1", "s4")
    c:cut("s1", "s5")
    c:timeout "s1"
    for _ = 1, 20 do
      for _, server in ipairs(c.servers) do server:persist() end
      while #c.s1.log_reads > 0 do c.s1:answer_log_read() end
      c:deliver(function(message) -- the entry of term 4 gets nowhere
        if message.type == "append" and #message.entries > 0 and message.entries[1].term == 4 then
          message.entries = {}
        end
        return true
      end)
    end
    assert.equal("leader", c.s1:role())
    return c
  end

  it("(c): an entry of a prior term on a majority is not committed by counting", function()
    local c = at_c()
    for _, id in ipairs { "s2", "s3" } do
      assert(c.s1:status().peers[id].match >= 2, id)
      assert.equal(2, c[id].disk.log[2].term)
    end
    assert.equal(0, c.s1:status().commit_index)
    assert.equal(0, c.s1.applied)
  end)

  it("(d): so s5 may still be elected and replace it everywhere", function()
    local c = at_c()
    c.s1:crash()
    c:drop()
    c:timeout "s5" -- its first attempt tells it that there has been a term 4
    c:settle()
    c:elect "s5"
    c:advance(2 * Cluster.HEARTBEAT)
    for _, id in ipairs { "s2", "s3", "s4", "s5" } do
      assert.same({ 1, 3 }, { c[id].disk.log[1].term, c[id].disk.log[2].term }, id)
      assert(c[id].applied >= 2, id)
    end
    c.s1:restart()
    c:heal()
    c:advance(4 * Cluster.HEARTBEAT)
    assert.equal(3, c.s1.disk.log[2].term)
  end)

  it("(e): once its entry of term 4 is on a majority, all before it is committed and s5 cannot win", function()
    local c = at_c()
    assert.equal(0, c.s1:status().commit_index)
    c:advance(2 * Cluster.HEARTBEAT)
    assert.equal(3, c.s1:status().commit_index)
    assert.equal(3, c.s1.applied)
    c.s1:crash()
    for _ = 1, 2 do
      c:timeout "s5"
      c:settle()
      assert.not_equal("leader", c.s5:role())
    end
    c:elect "s3"
    c:heal()
    c:advance(4 * Cluster.HEARTBEAT)
    for _, id in ipairs { "s2", "s3", "s4", "s5" } do
      assert.same({ 1, 2, 4 }, { c[id].disk.log[1].term, c[id].disk.log[2].term, c[id].disk.log[3].term }, id)
    end
  end)
end)
