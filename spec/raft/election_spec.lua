-- Elections: who may campaign, who is heard, whose vote counts, and what must be durable before a word leaves.
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played = scenes.played

local function ask(c, from, term, fields)
  local message = { type = "request_vote", from = from, term = term, last_index = 0, last_term = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  c.a:receive(message)
end

local function terms_of(c)
  local terms = {}
  for i, server in ipairs(c.servers) do terms[i] = server:status().term end
  return terms
end

describe("an election", function()
  it("comes by itself, in every cluster size, and everyone knows who won", function()
    for size = 1, 7 do
      local ids = {}
      for i = 1, size do ids[i] = "n" .. i end
      local c = Cluster.new { ids = ids, seed = size }
      c:advance(6 * T)
      local leader = c:leader()
      assert(leader, size .. " servers elect nobody")
      for _, server in ipairs(c.servers) do
        assert.equal(leader.id, server:status().leader)
        assert.equal(leader.id, server.role_told.leader)
        assert.equal(leader:status().last_index, server.applied)
      end
      c:close()
    end
  end)

  it("follows the loss of a leader, and the old one joins in as a follower", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c.a:crash()
    c:advance(4 * T)
    local leader = c:leader()
    assert(leader and leader.id ~= "a")
    c.a:restart()
    c:advance(2 * HEARTBEAT)
    assert.same({ "follower", leader.id }, { c.a:role(), c.a:status().leader })
  end)

  it("timeouts are drawn afresh, between the least and twice that", function()
    local seen, distinct = {}, 0
    for seed = 1, 50 do
      local c = played { seed = seed }
      local timeout = c.a.deadline_us - c.now_us
      assert(timeout >= T and timeout < 2 * T, timeout)
      if not seen[timeout] then distinct = distinct + 1 end
      seen[timeout] = true
      c:close()
    end
    assert(distinct > 40, distinct)
  end)

  it("asks again while no answer comes, and is granted again by the same voter", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:timeout "a"
    assert.equal(2, c:drop())
    local function again()
      c.now_us = c.now_us + HEARTBEAT
      c.a:timer()
    end
    again()
    assert.equal(2, #c.messages)
    c:deliver() -- pre-votes
    c:deliver()
    assert.equal("candidate", c.a:role())
    c.a:persist()
    assert.equal(2, c:drop())
    again()
    c:settle()
    assert.equal("leader", c.a:role())
    c.b:receive { type = "request_vote", from = "a", term = 1, last_index = 0, last_term = 0 }
    assert.equal("a", c.b:status().vote)
  end)

  it("is lost by a candidate that hears the winner", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:timeout "a"
    c:timeout "b"
    c:settle()
    local leader = c:leader()
    assert(leader)
    for _, server in ipairs(c.servers) do assert.equal(leader.id, server:status().leader) end
  end)

  it("is won by no one but a voter: a learner and a server without configuration stay passive", function()
    local c = Cluster.new { ids = { "a", "b" }, members = { voters = { "a" }, learners = { "b" } } }
    assert.is_nil(c.b.deadline_us)
    c:timeout "b"
    assert.equal("follower", c.b:role())
    local blank = Cluster.new { ids = { "x" }, members = false }
    assert.is_nil(blank.x.deadline_us)
    blank:timeout "x"
    assert.same({ "follower", 0 }, { blank.x:role(), blank.x:status().term })
  end)

  it("counts voters only: a learner's vote, and a stranger's, make no majority (bug 37)", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" },
      members = { voters = { "a", "b", "c" }, learners = { "d", "e" } } }
    c:timeout "a"
    assert.equal(0, #c:take "d")
    for _, id in ipairs { "d", "e", "z" } do
      c.a:receive { type = "vote", from = id, term = 1, pre = true, granted = true }
    end
    assert.equal("pre-candidate", c.a:role())
    c.a:receive { type = "vote", from = "b", term = 1, pre = true, granted = true }
    c.a:persist()
    for _, id in ipairs { "d", "e", "z" } do
      c.a:receive { type = "vote", from = id, term = 1, granted = true }
    end
    assert.equal("candidate", c.a:role())
  end)
end)

describe("a vote", function()
  it("is given by whoever is asked, in the asker's configuration or not, learner or not (bug 17)", function()
    local c = Cluster.new { ids = { "a", "b" }, run = { "a" }, members = { voters = { "b" }, learners = { "a" } } }
    ask(c, "z", 1)
    c.a:persist()
    assert.is_true(c:take "z" [1].granted)
    local blank = Cluster.new { ids = { "a" }, members = false }
    ask(blank, "z", 1)
    blank.a:persist()
    assert.is_true(blank:take "z" [1].granted)
  end)

  it("waits until it is durable, term and vote in one write (bug 33)", function()
    local c = played { disks = { a = { term = 3 } } }
    ask(c, "b", 4)
    assert.equal(0, #c:take "b")
    assert.same({ 1, 4, "b" }, { #c.a.writes, c.a.writes[1].term, c.a.writes[1].vote })
    c.a:persist()
    assert.is_true(c:take "b" [1].granted)
  end)

  it("survives a restart: none is given twice in a term (bug 35)", function()
    local c = played()
    ask(c, "b", 4)
    c.a:persist()
    c.a:restart()
    ask(c, "c", 4)
    assert.is_false(c:take "c" [1].granted)
    ask(c, "b", 4)
    assert.is_true(c:take "b" [2].granted)
  end)

  it("that was never durable was never given: the crash comes first, then another candidate", function()
    local c = played()
    ask(c, "b", 4)
    c.a:restart()
    ask(c, "c", 4)
    c.a:persist()
    assert.equal(0, #c:take "b")
    assert.is_true(c:take "c" [1].granted)
  end)

  it("is not forgotten on learning who leads (bug 21)", function()
    local c = played()
    ask(c, "b", 1)
    c:append("c", "a", 1, Cluster.log { 1 }, 0, 1)
    assert.equal("b", c.a:status().vote)
    c.now_us = c.now_us + 3 * T
    ask(c, "z", 1)
    c.a:persist()
    assert.is_false(c:take "z" [1].granted)
  end)

  it("is not to be had once the term has a leader, whoever that has it from", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:persist()
    c:take "b"
    c.now_us = c.now_us + 3 * T
    ask(c, "c", 1, { last_index = 5, last_term = 1 })
    assert.is_false(c:take "c" [1].granted)
    assert.equal("", c.a:status().vote)
  end)

  it("given by a pre-candidate ends its own campaign", function()
    local c = played { disks = { a = { term = 3 } } }
    c:timeout "a"
    ask(c, "b", 3)
    assert.same({ "follower", "b" }, { c.a:role(), c.a:status().vote })
  end)

  it("of a term that is over is not sent any more", function()
    local c = played()
    ask(c, "b", 4)
    ask(c, "c", 5)
    c.a:persist()
    assert.same({ 0, 1 }, { #c:take "b", #c:take "c" })
  end)

  it("meant for another is not ours to give", function()
    local c = played()
    ask(c, "b", 4, { to = "c" })
    ask(c, "a", 4)
    assert.same({ 0, "" }, { c.a:status().term, c.a:status().vote })
  end)

  it("is weighed against the log as it is when it is given, written or not (bug 27)", function()
    local c = played { disks = { a = { log = Cluster.log { 1 } } } }
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 1, 2)
    c.now_us = c.now_us + 3 * T
    ask(c, "c", 2, { last_index = 2, last_term = 1 })
    c.a:persist()
    assert.is_false(c:take("c", "vote")[1].granted)
  end)

  it("restarts the timeout; a refusal does not, and a higher term does not", function()
    local c = played { disks = { a = { term = 1, log = Cluster.log { 1 } } } }
    local deadline = c.a.deadline_us
    c.now_us = deadline - 1
    ask(c, "b", 2)
    c.a:persist()
    assert.is_false(c:take "b" [1].granted)
    c.now_us = deadline
    c.a:timer()
    assert.equal("pre-candidate", c.a:role())
    local d = played()
    d.now_us = d.a.deadline_us - 1
    ask(d, "b", 2)
    d.now_us = d.now_us + 1
    d.a:timer()
    assert.equal("follower", d.a:role())
    assert(d.a.deadline_us >= d.now_us + T - 1)
  end)
end)

describe("a vote request", function()
  local function candidate(disk)
    local c = played { disks = { a = disk } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = c.a:status().term + 1, pre = true, granted = true }
    assert.equal("candidate", c.a:role())
    c:take "b"
    c:take "c"
    return c
  end

  it("waits until term and vote are durable (bug 34)", function()
    local c = candidate { term = 3 }
    assert.same({ 0, 0 }, { #c:take "b", #c:take "c" })
    c.a:persist()
    assert.same({ 4, false }, { c:take "b" [1].term, c:take "c" [1].pre })
  end)

  it("waits for the log that it claims, too", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1, 1, 1 }, 0, 3)
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = true }
    assert.equal(2, #c.a.writes)
    c:take "c"
    c.a:persist(1) -- the entries and term 1; term 2 is not there yet
    assert.equal(0, #c:take("c", "request_vote"))
    c.a:persist(1)
    assert.equal(3, c:take("c", "request_vote")[1].last_index)
  end)

  it("of a campaign that is over is never sent", function()
    local c = candidate { term = 3 }
    c:append("b", "a", 9, Cluster.log { 9 }, 0, 1)
    c.a:persist()
    assert.equal(0, #c:take("c", "request_vote"))
    local d = candidate { term = 3 }
    d:append("b", "a", 4, Cluster.log { 4 }, 0, 1)
    d.a:persist()
    assert.equal(0, #d:take("c", "request_vote"))
  end)

  it("does not count the candidate's own vote before it is durable", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" } }
    c:timeout "a"
    for _, id in ipairs { "b", "c" } do
      c.a:receive { type = "vote", from = id, term = 1, pre = true, granted = true }
    end
    for _, id in ipairs { "b", "c" } do -- grants from a life before: such are why requests are gated
      c.a:receive { type = "vote", from = id, term = 1, granted = true }
    end
    assert.equal("candidate", c.a:role())
    c.a:persist()
    assert.equal("leader", c.a:role())
  end)
end)

describe("pre-vote", function()
  it("keeps the partitioned from raising their term, and their return from deposing anyone", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:isolate "c"
    c:advance(20 * T)
    assert.same({ 1, 1, 1 }, terms_of(c))
    c:heal()
    c:advance(5 * HEARTBEAT)
    assert.same({ 1, 1, 1 }, terms_of(c))
    assert.same({ "leader", "follower" }, { c.a:role(), c.c:role() })
  end)

  it("changes nothing at the one who grants it: no term, no vote, no timeout (bug 19)", function()
    local c = played { disks = { a = { term = 3 } } }
    local deadline = c.a.deadline_us
    c.now_us = deadline - 1
    ask(c, "b", 4, { pre = true })
    local answer = c:take "b" [1]
    assert.same({ true, 4 }, { answer.granted, answer.term })
    assert.same({ 3, "", 0 }, { c.a:status().term, c.a:status().vote, #c.a.writes })
    c.now_us = deadline
    c.a:timer()
    assert.equal("pre-candidate", c.a:role())
  end)

  it("is granted to one's own leader: if it asks, it leads no more (bug 19)", function()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:persist()
    c:take "b"
    ask(c, "c", 2, { pre = true, last_index = 1, last_term = 1 })
    assert.equal(0, #c:take "c")
    ask(c, "b", 2, { pre = true, last_index = 1, last_term = 1 })
    assert.is_true(c:take "b" [1].granted)
  end)

  it("does not deadlock between a long log of an old term and a short one of a new term (bug 18)", function()
    for _, first in ipairs { "a", "b" } do
      local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a", "b", "c" }, disks = {
        a = { term = 1, log = Cluster.log { 1, 1, 1 } }, b = { term = 5, log = Cluster.log { 1 } },
      } }
      c.c:crash()
      c:timeout(first)
      c:settle()
      for _ = 1, 3 do
        if not c:leader() then
          c:timeout "a"
          c:settle()
        end
      end
      assert.equal("a", c:leader().id)
      c:advance(2 * HEARTBEAT)
      assert.same(Cluster.terms(c.a.disk.log), Cluster.terms(c.b.disk.log))
      c:close()
    end
  end)

  it("refusals of an older term do no harm, those of a higher one are learnt from (bug 18)", function()
    local c = played { disks = { a = { term = 5 } } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 2, pre = true, granted = false }
    assert.equal("pre-candidate", c.a:role())
    c.a:receive { type = "vote", from = "c", term = 6, pre = true, granted = true }
    assert.same({ "candidate", 6 }, { c.a:role(), c.a:status().term })
    local d = played { disks = { a = { term = 5 } } }
    d:timeout "a"
    d.a:receive { type = "vote", from = "b", term = 9, pre = true, granted = false }
    assert.same({ "follower", 9 }, { d.a:role(), d.a:status().term })
  end)

  it("a grant for another term is no grant", function()
    local c = played { disks = { a = { term = 5 } } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "b", term = 5, pre = true, granted = true }
    c.a:receive { type = "vote", from = "b", term = 7, pre = true, granted = true }
    c.a:receive { type = "vote", from = "b", term = 5, granted = true }
    assert.same({ "pre-candidate", 5 }, { c.a:role(), c.a:status().term })
  end)
end)

describe("stickiness", function()
  local function follower()
    local c = played()
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:persist()
    c:take "b"
    return c
  end

  it("ignores who asks within the least timeout of a leader's word, term and all", function()
    for _, pre in ipairs { true, false } do
      local c = follower()
      c.now_us = c.now_us + T - 1
      ask(c, "c", 9, { pre = pre, last_index = 5, last_term = 8 })
      assert.same({ 0, 1 }, { #c:take "c", c.a:status().term })
      c.now_us = c.now_us + 1
      ask(c, "c", 9, { pre = pre, last_index = 5, last_term = 8 })
      c.a:persist()
      assert.is_true(c:take "c" [1].granted)
      c:close()
    end
  end)

  it("yields to a transfer of leadership", function()
    local c = follower()
    ask(c, "c", 9, { transfer = true, last_index = 5, last_term = 8 })
    c.a:persist()
    assert.is_true(c:take "c" [1].granted)
  end)

  it("holds for the leader itself", function()
    local c = played()
    c:crown "a"
    ask(c, "c", 9, { last_index = 5, last_term = 8 })
    assert.same({ "leader", 1 }, { c.a:role(), c.a:status().term })
  end)

  it("never strands a server whose term is higher: its refusals reach the leader", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, disks = { c = { term = 7 } } }
    c:isolate "c"
    c:elect "a"
    c:heal()
    c:advance(6 * T)
    local leader = c:leader()
    for _, server in ipairs(c.servers) do assert.equal(leader.id, server:status().leader) end
    assert(leader:status().term > 7)
  end)
end)

describe("check-quorum", function()
  it("a leader without a quorum steps down within an election timeout, and no sooner", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(3 * HEARTBEAT)
    local heard = math.max(c.a:status().peers.b.contact_us, c.a:status().peers.c.contact_us)
    c:isolate "a"
    c:advance(heard + T - 1 - c.now_us)
    assert.equal("leader", c.a:role())
    c:advance(1)
    assert.same({ "follower", "" }, { c.a:role(), c.a:status().leader })
  end)

  it("and who stepped down waits as long as any follower before it campaigns again", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:isolate "a"
    while c.a:role() == "leader" do c:advance(HEARTBEAT, false) end
    assert.equal("follower", c.a:role())
    assert(c.a.deadline_us > c.now_us + T - HEARTBEAT)
    local d = played()
    d:crown "a"
    d.now_us = d.now_us + 10 * T
    d.a:receive { type = "append_result", from = "b", term = 9, success = false, prev_index = 0 }
    d.a:timer()
    assert.equal("follower", d.a:role())
    assert(d.a.deadline_us >= d.now_us + T)
  end)

  it("one of two followers is enough", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:isolate "c"
    c:advance(5 * T)
    assert.equal("leader", c.a:role())
  end)

  it("learners do not count, and a cluster of one needs nobody", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, members = { voters = { "a", "b" }, learners = { "c" } } }
    c:elect "a"
    c:cut("b", "a")
    c:advance(2 * T)
    assert.not_equal("leader", c.a:role())
    local one = Cluster.new { ids = { "a" } }
    one:settle()
    one:advance(10 * T)
    assert.equal("leader", one.a:role())
  end)
end)

describe("waking up", function()
  it("an idle follower is woken about once in an election timeout, not for each heartbeat", function()
    local c = Cluster.new { ids = { "a", "b", "c" } }
    c:elect "a"
    c:advance(T)
    local timers, timer = 0, c.b.timer
    c.b.timer = function(server)
      timers = timers + 1
      return timer(server)
    end
    c:advance(20 * T)
    assert(timers <= 21, timers)
  end)

  it("a lone server, a learner and a blank one are never woken", function()
    local one = Cluster.new { ids = { "a" } }
    one:settle()
    one:advance(5 * T)
    assert.is_nil(one.a.deadline_us)
  end)

  it("an early TIMER is harmless, and gets its deadline again", function()
    local c = played()
    local deadline = c.a.deadline_us
    c.a:timer()
    assert.equal(deadline, c.a.deadline_us)
    assert.equal("follower", c.a:role())
  end)
end)
