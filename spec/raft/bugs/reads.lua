-- Bugs of reads and leases (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local played, leader = scenes.played, scenes.leader

local function crowned(log)
  local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, disks = log and { a = { log = log } } }
  c:crown "a"
  return c
end

local function led(settings)
  local c = Cluster.new { ids = { "a", "b", "c" }, settings = settings }
  c:elect "a"
  c:advance(2 * HEARTBEAT)
  return c
end

return function(bug)
  bug(2, "a new leader answered reads before it had committed anything", { "read_before_commit" }, function()
    local c = played { disks = { a = { log = Cluster.log { 1, 1 } } } }
    c:crown "a"
    c.a:read(1)
    for round = 0, 1 do c:ack("b", "a", 2, { round = round }) end
    assert.is_nil(c.a.reads[1])
    c.a:persist()
    c:ack("b", "a", 3)
    c:ack("b", "a", 3, { round = 1 })
    assert.equal(3, c.a.reads[1])
  end)

  bug(2, "nothing is read before this term has committed an entry: the leader may not know what is committed",
    { "read_before_commit" }, function()
    local c = crowned(Cluster.log { 1, 1 })
    c.a:persist()
    c.a:read(1)
    c:ack("b", "a", 2, { round = 1 })
    assert.is_nil(c.a.reads[1])
    c:ack("b", "a", 3)
    c:ack("b", "a", 3, { round = 1 })
    assert.equal(3, c.a.reads[1])
  end)

  bug(3, "a lone server's read was given an index that a crash forgot", { "unwritten_counted" }, function()
    local c = Cluster.new { ids = { "a" } }
    c:settle()
    c.a:propose "x"
    c.a:propose "y"
    c.a:persist(1)
    c.a:read(1)
    assert.same({ 2, 2 }, { c.a:status().commit_index, c.a.reads[1] }) -- y is not on the disk yet
    c.a:restart()
    assert.equal(2, c.a:status().last_index) -- and nothing that was shown is gone
  end)

  bug(3, "a lone server's read sees nothing that a crash could still forget", { "unwritten_counted" }, function()
    local c = Cluster.new { ids = { "a" } }
    c.a:persist()
    c.a:persist()
    assert.equal(1, c.a:status().commit_index)
    c.a:propose "x"
    c.a:propose "y"
    c.a:persist(1)
    c.a:read(1)
    assert.equal(2, c.a.reads[1])
    c.a:restart()
    assert.equal(2, c.a:status().last_index)
  end)

  bug(4, "an old acknowledgement confirmed a newer read", { "read_joins_round", "stale_read" }, function()
    local c = leader()
    c.a:read(1)
    c.a:read(2) -- while round 1 is under way: b's word about that is older than this
    c:ack("b", "a", 1, { round = 1 })
    assert.same({ 1, nil }, { c.a.reads[1], c.a.reads[2] })
    c:ack("b", "a", 1, { round = 1 })
    assert.is_nil(c.a.reads[2])
    c:ack("c", "a", 1, { round = 2 })
    assert.equal(1, c.a.reads[2])
  end)

  bug(4, "an answer to an older round confirms no newer read", { "stale_read" }, function()
    local c = crowned()
    c.a:persist()
    c:ack("b", "a", 1)
    c.a:read(1)
    assert.is_nil(c.a.reads[1])
    c:ack("b", "a", 1, { round = 0 })
    assert.is_nil(c.a.reads[1])
    c:ack("b", "a", 1, { round = 1 })
    assert.equal(1, c.a.reads[1])
  end)

  bug(4, "a follower's read is not served by a late answer to what it asked before",
    { "old_read_index" }, function()
    local c = led()
    c.b:read(1, "round", true)
    c:settle_among { "a", "c" } -- nothing: b's question is on its way
    c:deliver(function(message) return message.from == "b" end)
    c:settle_among { "a", "c" }
    local late -- the answer stays in the network
    for i, message in ipairs(c.messages) do
      if message.type == "read_index_result" then late = table.remove(c.messages, i) end
    end
    assert.equal(1, assert(late).index)
    c.a:propose "newer"
    c:settle()
    assert.equal(2, c.acknowledged)
    c.b:read(2, "round", true)
    for _ = 1, 2 do -- b asks again for both, as another request, which is lost
      c.now_us = c.now_us + HEARTBEAT
      c.b:timer()
      c:drop()
    end
    c.b:receive(late)
    assert.same({}, c.b.reads)
    c:advance(2 * HEARTBEAT)
    assert.same({ 2, 2 }, { c.b.reads[1], c.b.reads[2] })
  end)

  bug(4, "a refusal echoes no round of a former term: its leader, restarted, counts from the beginning",
    { "old_round_echoed" }, function()
    local c = led()
    c.a:read(1)
    c:settle()
    c.a:read(2)
    local late -- an append of round 2 stays in the network
    for i, message in ipairs(c.messages) do
      if message.to == "b" and message.round == 2 then late = table.remove(c.messages, i) end
    end
    assert(late)
    c.a:restart()
    c:elect "a"
    c:advance(2 * HEARTBEAT)
    c.b:receive(late)
    local refused = table.remove(c.messages)
    assert.same({ "append_result", "a", 2, false }, { refused.type, refused.to, refused.term, refused.success })
    c.a:read(3)
    c:settle()
    assert.equal(2, c.a.reads[3]) -- round 1 of this life
    c:isolate "a"
    c:timeout "c"
    c:settle()
    c.c:propose "newer"
    c:settle()
    assert.same({ "leader", "leader" }, { c.a:role(), c.c:role() }) -- a does not know yet
    c.a:read(4)
    c.a:receive(refused)
    assert.is_nil(c.a.reads[4])
  end)

  bug(nil, "restarted voter: it keeps the word it gave before, on which a lease may rest",
    { "word_forgotten" }, function()
    local c = led { leases = true }
    c:cut("a", "c")
    c:cut("c", "a")
    c:advance(3 * T)
    assert.same({ "leader", "pre-candidate" }, { c.a:role(), c.c:role() })
    c.b:restart()
    c:cut("a", "b")
    c:cut("b", "a")
    c:drop()
    c.now_us = c.now_us + HEARTBEAT
    c.c:timer() -- asks b
    c:settle()
    if c.c:role() == "leader" then
      c.c:propose "newer"
      c:settle()
    end
    c.a:read(1, "lease")
    assert.is_true((c.a.reads[1] or 0) >= c.acknowledged)
    assert.not_equal("leader", c.c:role())
    c:advance(4 * T) -- but not for ever
    assert.equal("leader", (c.b:role() == "leader" and c.b or c.c):role())
  end)

  bug(nil, "higher term: a voter that hears of one keeps its word to the leader it has just heard",
    { "word_dies_with_term" }, function()
    local c = led { leases = true }
    c.b:receive { type = "vote", from = "c", term = 5, pre = true, granted = false } -- late, to a question of old
    assert.same({ 5, "" }, { c.b:status().term, c.b:status().leader })
    c.b:receive { type = "request_vote", from = "c", term = 6, last_index = 9, last_term = 5 }
    c.b:persist()
    assert.same({ 5, "" }, { c.b:status().term, c.b:status().vote })
    c.now_us = c.now_us + T
    c.b:receive { type = "request_vote", from = "c", term = 6, last_index = 9, last_term = 5 }
    assert.equal("c", c.b:status().vote)
  end)
end
