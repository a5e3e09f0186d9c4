-- Reads by lease (Ongaro §6.4.1), and reads at servers that do not lead (§6.4). The bugs have bugs/reads.lua.
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function led(settings, options)
  options = options or { ids = { "a", "b", "c" } }
  options.settings = settings
  local c = Cluster.new(options)
  c:elect "a"
  c:advance(2 * HEARTBEAT)
  return c
end

describe("a lease", function()
  it("answers at once, without a message, while it holds", function()
    local c = led { leases = true }
    assert.equal(0, #c.messages)
    c.a:read(1, "lease")
    assert.same({ 1, 0 }, { c.a.reads[1], #c.messages })
  end)

  it("is off unless it is set: the read takes a round", function()
    local c = led()
    c.a:read(1, "lease")
    assert.same({ 2, 0 }, { #c.messages, c.a:status().lease_until_us })
    assert.is_nil(c.a.reads[1])
    c:settle()
    assert.equal(1, c.a.reads[1])
  end)

  it("runs from when the word was sent that a quorum has answered, and is shortened by the clocks' drift", function()
    for _, drift in ipairs { 0, 100000 } do
      local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" },
        settings = { leases = true, clock_drift_ppm = drift } }
      c:crown "a"
      c.a:persist()
      c:ack("b", "a", 1)
      c.now_us = c.now_us + HEARTBEAT
      c.a:timer()
      local sent_us = c.now_us
      local round = c:take("b", "append")
      c.now_us = c.now_us + HEARTBEAT // 2
      c:ack("b", "a", 1, { round = round[#round].round })
      local length = drift == 0 and T or T * 900000 // 1100000
      assert.equal(sent_us + length, c.a:status().lease_until_us)
      c.now_us = sent_us + length - 1
      c.a:read(1, "lease")
      assert.equal(1, c.a.reads[1])
      c.now_us = sent_us + length
      c.a:read(2, "lease")
      assert.is_nil(c.a.reads[2])
    end
  end)

  it("needs a quorum of voters, of both halves while there are two", function()
    local c = Cluster.new { ids = { "a", "b", "c", "d", "e" }, run = { "a" }, settings = { leases = true },
      members = { voters = { "a", "b", "c" }, learners = { "d", "e" } } }
    c:crown "a"
    c.a:persist()
    for _, id in ipairs { "b", "c" } do c:ack(id, "a", 1) end
    assert.equal("ok", (c.a:configure({ "a", "d", "e" }, { forced = true })))
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    for _, id in ipairs { "d", "e" } do c:ack(id, "a", 1, { round = 1 }) end
    assert.equal(0, c.a:status().lease_until_us)
    c:ack("b", "a", 1, { round = 1 })
    assert.is_true(c.a:status().lease_until_us > c.now_us)
  end)

  it("is not there before this term's first commit", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, settings = { leases = true },
      disks = { a = { log = Cluster.log { 1, 1 } } } }
    c:crown "a"
    c.now_us = c.now_us + HEARTBEAT
    c.a:timer()
    c:ack("b", "a", 2, { round = 1 })
    c.a:read(1, "lease")
    assert.is_nil(c.a.reads[1])
    assert.equal(0, c.a:status().lease_until_us)
  end)

  it("is none of a read's concern that asks for a round", function()
    local c = led { leases = true }
    c.a:read(1, "round")
    assert.is_nil(c.a.reads[1])
    c:settle()
    assert.equal(1, c.a.reads[1])
  end)

  it("ends before anyone else can lead, however the clocks run within their bound", function()
    for seed = 1, 30 do
      local slow, fast = 0.95, 1.05
      local c = Cluster.new { ids = { "a", "b", "c" }, seed = seed * 10, rates = { a = slow, b = fast, c = fast },
        settings = { leases = true, clock_drift_ppm = 50000 } }
      c.now_us = c.now_us + 3 * T
      c.a:timer()
      c:settle()
      c:advance(3 * HEARTBEAT)
      assert.equal("leader", c.a:role())
      c:isolate "a"
      for read = 1, 400 do
        c:advance(T // 100)
        local leader = c:leader()
        if leader and leader.id ~= "a" then
          leader:propose "newer"
          c:settle()
        end
        if c.a:role() == "leader" then c.a:read(read, "lease") end -- on_read_ready compares with what was acknowledged
      end
      assert.not_equal("a", c:leader().id)
      assert.is_true(c.acknowledged > 2)
      c:close()
    end
  end)
end)

describe("a read at a follower", function()
  it("asks the leader for an index, which a quorum confirms", function()
    local c = led()
    c.b:read(1, "round", true)
    assert.same({ "read_index", "a" }, { c.messages[1].type, c.messages[1].to })
    assert.is_nil(c.b.reads[1])
    c:settle()
    assert.equal(1, c.b.reads[1])
  end)

  it("sees every write acknowledged before it, though the follower does not have it yet", function()
    local c = led()
    c:cut("a", "b")
    c.a:propose "x"
    c:settle()
    assert.same({ 2, 1 }, { c.acknowledged, c.b.applied })
    c:heal()
    c.b:read(1, "round", true)
    c:settle()
    assert.equal(2, c.b.reads[1])
  end)

  it("takes the lease's word where that will do, and a round where it is asked for", function()
    local c = led { leases = true }
    c.b:read(1, "lease", true)
    c:deliver()
    assert.same({ 1, "read_index_result" }, { #c.messages, c.messages[1].type })
    c:settle()
    assert.equal(1, c.b.reads[1])
    c.b:read(2, "round", true)
    c:deliver()
    assert.equal("append", c.messages[1].type)
    c:settle()
    assert.equal(1, c.b.reads[2])
  end)

  it("shares a question with all that wait, and asks a learner's leader too", function()
    local c = led({}, { ids = { "a", "b", "c" }, members = { voters = { "a", "b" }, learners = { "c" } } })
    for context = 1, 50 do c.c:read(context, "round", true) end
    assert.equal(1, #c.messages) -- for the first; the others go with the next
    c:settle()
    for context = 1, 50 do assert.equal(1, c.c.reads[context]) end
  end)

  it("asks again when nothing comes, each time as another question", function()
    local c = led()
    local seen = {}
    c.b:read(1, "round", true)
    for _ = 1, 4 do
      for _, message in ipairs(c.messages) do
        assert.is_nil(seen[message.read_index or message.identity])
        seen[message.identity] = true
      end
      c.messages = {}
      c.now_us = c.now_us + HEARTBEAT
      c.b:timer()
    end
    c:settle()
    assert.equal(1, c.b.reads[1])
  end)

  it("fails after an election timeout, or with its leader, and never twice", function()
    local c = led()
    c:cut("b", "a")
    c.b:read(1, "round", true)
    c.b:read(2, "round", true)
    c:advance(T + HEARTBEAT)
    assert.same({ "failed", "failed" }, { c.b.reads[1], c.b.reads[2] })
    c.b:read(3, "round", true)
    c:append("c", "b", 5, Cluster.log { 1 }, 1, 0)
    assert.equal("failed", c.b.reads[3])
  end)

  it("fails at once where nobody is known to lead, and unless it may be asked for", function()
    local c = led()
    c.b:read(1, "round", false)
    assert.equal("failed", c.b.reads[1])
    local alone = Cluster.new { ids = { "a", "b" }, run = { "a" } }
    alone.a:read(1, "round", true)
    assert.equal("failed", alone.a.reads[1])
  end)

  it("is refused by one who leads no more, and waits at one who has not committed in its term", function()
    local c = led()
    c.b:receive { type = "read_index", from = "c", term = 1, identity = 77 }
    c:settle()
    local played = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    played.a:receive { type = "read_index", from = "b", term = 0, identity = 78 }
    local answer = played:take("b", "read_index_result")[1]
    assert.same({ 78, false }, { answer.identity, answer.success })
    played:crown "a"
    played.a:receive { type = "read_index", from = "b", term = 1, identity = 79 }
    assert.equal(0, #played:take("b", "read_index_result"))
    played.a:persist()
    played:ack("c", "a", 1)
    played:ack("c", "a", 1, { round = 1 })
    answer = played:take("b", "read_index_result")[1]
    assert.same({ 79, true, 1 }, { answer.identity, answer.success, answer.index })
  end)

  it("does not pay for its lost answer with another's: one that leads by now serves itself", function()
    local c = led()
    c.b:read(1, "round", true)
    c:drop()
    assert.equal("ok", (c.a:transfer "b"))
    c:settle()
    assert.same({ "leader", "failed" }, { c.b:role(), c.b.reads[1] })
    c.b:read(2, "round", true)
    c:settle()
    assert.equal(c.b.applied, c.b.reads[2])
  end)
end)
