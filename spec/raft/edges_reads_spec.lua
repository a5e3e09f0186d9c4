-- Edges of reads, of leases, and of the word that voters give: what is too old, what is on time, what is not asked.
-- Each was a guard that nothing else missed (scripts/mutants).
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local MEMBERS = { "a", "b", "c" }
local ROUNDS_KEPT = 32

-- a leads played peers, which have its NOOP.
local function leader(settings)
  local c = Cluster.new { ids = MEMBERS, run = { "a" }, settings = settings }
  c:crown "a"
  c.a:persist()
  for _, id in ipairs { "b", "c" } do
    c:ack(id, "a", 1)
    c:take(id)
  end
  return c
end

-- A heartbeat; the round that it carries, and when.
local function heartbeat(c, us)
  c.now_us = c.now_us + (us or HEARTBEAT)
  c.a:timer()
  local sent = c:take("b", "append")
  return sent[#sent].round, c.now_us
end

-- a follows b, which is played, in term 1.
local function follower(settings, options)
  options = options or {}
  options.ids, options.run, options.settings = MEMBERS, { "a" }, settings
  local c = Cluster.new(options)
  c:append("b", "a", 1, {}, 0, 0)
  c.a:persist()
  c:take "b"
  return c
end

local function questions(c) return c:take("b", "read_index") end

local function reply(c, question, fields)
  local message = { type = "read_index_result", from = "b", term = 1, identity = question.identity, success = true,
    index = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  return c.a:receive(message)
end

describe("a lease", function()
  it("is not had of a round so old that it is not known any more when it was sent", function()
    for _, late in ipairs { ROUNDS_KEPT - 1, ROUNDS_KEPT, ROUNDS_KEPT + 7 } do
      local often_us = T // 100
      local c = leader { leases = true, heartbeat_us = often_us }
      local first, sent_us = heartbeat(c, often_us)
      for _ = 1, late do heartbeat(c, often_us) end
      c:ack("b", "a", 1, { round = first })
      local wanted = late < ROUNDS_KEPT and sent_us + T or 0
      assert.same({ late, wanted }, { late, c.a:status().lease_until_us })
      c:close()
    end
  end)

  it("is not had where leases are off, though a quorum has just confirmed a round", function()
    local c = leader()
    c.a:read(1)
    c:ack("b", "a", 1, { round = 1 })
    assert.equal(1, c.a.reads[1])
    assert.equal(0, c.a:status().lease_until_us)
    c.a:read(2, "lease")
    assert.is_nil(c.a.reads[2])
  end)

  it("ends with leadership", function()
    local c = leader { leases = true }
    local round = heartbeat(c)
    c:ack("b", "a", 1, { round = round })
    assert.is_true(c.a:status().lease_until_us > c.now_us)
    c:append("c", "a", 2, c.a.disk.log, 1, 0)
    assert.same({ "follower", 0 }, { c.a:role(), c.a:status().lease_until_us })
  end)

  it("answers another server to its last moment, and no longer", function()
    local c = leader { leases = true }
    local round, sent_us = heartbeat(c)
    c:ack("b", "a", 1, { round = round })
    c:take "b"
    assert.equal(sent_us + T, c.a:status().lease_until_us)
    for _, left_us in ipairs { 1, 0 } do
      c.now_us = sent_us + T - left_us
      c.a:receive { type = "read_index", from = "b", term = 1, identity = 70 + left_us, lease = true }
      assert.equal(left_us, #c:take("b", "read_index_result"))
    end
    c:ack("c", "a", 1, { round = round + 1 }) -- the round that it has begun instead
    assert.equal(70, c:take("b", "read_index_result")[1].identity)
  end)
end)

describe("a leader that is asked for an index", function()
  it("refuses one who is behind in its term", function()
    local c = leader()
    c.a:receive { type = "append_result", from = "b", term = 4, success = false, prev_index = 1 }
    c.a:persist()
    c:crown "a"
    c.a:persist()
    c:ack("b", "a", 2)
    c.a:receive { type = "read_index", from = "c", term = 4, identity = 5 }
    local answer = c:take("c", "read_index_result")[1]
    assert.same({ 5, false, 5 }, { answer.identity, answer.success, answer.term })
  end)
end)

describe("a later term", function()
  it("makes a follower, whatever else is in the message that bears it", function()
    for _, type in ipairs { "read_index", "read_index_result" } do
      local c = leader()
      c.a:receive { type = type, from = "b", term = 9, identity = 0x0101010101010101, success = true, index = 1 }
      assert.same({ "follower", 9 }, { c.a:role(), c.a:status().term })
      c:close()
    end
  end)
end)

describe("a follower that asks for an index", function()
  it("fails its read when the leader refuses", function()
    local c = follower()
    c.a:read(1, "round", true)
    reply(c, questions(c)[1], { success = false })
    assert.equal("failed", c.a.reads[1])
  end)

  it("asks nothing when nothing waits, however its timer runs", function()
    local c = follower()
    c.a:read(1, "round", true)
    reply(c, questions(c)[1], { index = 0 })
    assert.equal(0, c.a.reads[1])
    for _ = 1, 3 do
      c.now_us = c.now_us + HEARTBEAT + 1
      c:append("b", "a", 1, {}, 0, 0)
      c.a:timer()
    end
    assert.equal(0, #questions(c))
  end)

  it("does not wait for longer because others have come to wait", function()
    local c = follower()
    local began_us = c.now_us
    c.a:read(1, "round", true)
    for context = 2, 10 do
      c.now_us = c.now_us + HEARTBEAT
      c:append("b", "a", 1, {}, 0, 0)
      c.a:read(context, "round", true)
      c.a:timer()
    end
    c.now_us = began_us + T - 1
    c.a:timer()
    assert.is_nil(c.a.reads[1])
    c.now_us = began_us + T
    c.a:timer()
    assert.equal("failed", c.a.reads[1])
  end)

  it("takes no answer twice, nor one to a question of a former term", function()
    local c = follower()
    c.a:read(1, "round", true)
    local first = questions(c)[1]
    reply(c, first, { index = 0 })
    reply(c, first, { index = 0 })
    reply(c, first, { success = false })
    c.a:read(2, "round", true)
    local second = questions(c)[1]
    c:append("b", "a", 3, {}, 0, 0)
    assert.equal("failed", c.a.reads[2])
    c.a:persist()
    c.a:read(3, "round", true)
    reply(c, second, { term = 3 })
    assert.is_nil(c.a.reads[3])
    reply(c, questions(c)[1], { term = 3 })
    assert.equal(0, c.a.reads[3])
  end)

  it("gives up on time while its disk is full and is tried again", function()
    local c = follower { disk_retry_us = HEARTBEAT }
    c:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    c.a:refuse()
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    assert.equal(1, #c.a.writes) -- the retry, which takes long
    c.a:read(1, "round", true)
    c:advance(T - 1, false)
    assert.is_nil(c.a.reads[1])
    c:advance(1, false)
    assert.equal("failed", c.a.reads[1])
  end)
end)

describe("a voter's word", function()
  it("that it may have given before its restart binds it for an election timeout, and no longer", function()
    for _, early_us in ipairs { 1, 0 } do
      local c = Cluster.new { ids = MEMBERS, run = { "a" }, settings = { leases = true } }
      c.now_us = c.now_us + T - early_us
      c.a:receive { type = "request_vote", from = "b", term = 4, last_index = 0, last_term = 0 }
      c.a:persist()
      local votes = c:take("b", "vote")
      assert.equal(1 - early_us, #votes)
      if votes[1] then assert.is_true(votes[1].granted) end
      c:close()
    end
  end)

  it("goes with its leader's term where there are no leases, and stays where there are", function()
    for _, leases in ipairs { false, true } do
      local c = follower { leases = leases }
      c.now_us = c.now_us + 2 * T
      c:append("b", "a", 1, {}, 0, 0)
      c.a:receive { type = "append_result", from = "c", term = 5, success = false, prev_index = 0 }
      c.a:persist()
      assert.same({ "", 5 }, { c.a:status().leader, c.a:status().term })
      c.a:receive { type = "request_vote", from = "c", term = 5, last_index = 0, last_term = 0 }
      c.a:persist()
      assert.equal(leases and 0 or 1, #c:take("c", "vote"))
      c:close()
    end
  end)
end)
