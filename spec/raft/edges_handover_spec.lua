-- Edges of handing leadership over: who is chosen, when the order goes out, who follows it, when it is offered. Each
-- was a guard that nothing else missed (scripts/mutants).
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

-- a leads played peers that have its NOOP.
local function leader(members, options)
  options = options or {}
  local ids = options.ids or { "a", "b", "c", "d" }
  local c = Cluster.new { ids = ids, run = { "a" }, members = members, settings = options.settings }
  c.now_us = c.now_us + 2 * T -- others may be preferred
  c:crown "a"
  c.since_us = c.now_us
  c.a:persist()
  for _, id in ipairs(ids) do
    if id ~= "a" then c:ack(id, "a", 1) end
    c:take(id)
  end
  return c
end

local function target(c) return c.a:status().transfer_target end
local function orders(c, id) return #c:take(id, "timeout_now") end

-- Heartbeats that the peers named answer, until a time.
local function live(c, until_us, ids)
  while c.now_us < until_us do
    c.now_us = math.min(until_us, c.now_us + HEARTBEAT)
    for _, id in ipairs(ids) do c:ack(id, "a", c.a:status().peers[id].match) end
    c.a:timer()
  end
end

describe("the best one to lead", function()
  local function chosen(c)
    local code = c.a:transfer()
    return code == "ok" and target(c) or code
  end

  it("is the preferred one of those that keep up, wherever it stands", function()
    for _, preferred in ipairs { "b", "c", "d" } do
      local c = leader { voters = { "a", "b", "c", "d" }, priorities = { [preferred] = 2, a = 1 } }
      assert.equal(preferred, chosen(c))
      c:close()
    end
  end)

  it("is of those equally preferred the one with the most of the log, and of equals the first", function()
    for _, most in ipairs { "b", "c", "d" } do
      local c = leader()
      c.a:propose("x", "y")
      c.a:persist()
      c:ack(most, "a", 2)
      assert.equal(most, chosen(c))
      c:close()
    end
    assert.equal("b", chosen(leader()))
  end)

  it("is none that may not lead, however much it has", function()
    local c = leader { voters = { "a", "c", "d" }, learners = { "b" }, priorities = { b = 9 } }
    c.a:propose "x"
    c:ack("b", "a", 2)
    assert.equal("c", chosen(c))
  end)

  it("is none that has not answered for an election timeout", function()
    for _, silent_us in ipairs { T - 1, T } do
      local c = leader { voters = { "a", "b", "c", "d" }, priorities = { b = 9 } }
      local heard_us = c.now_us
      live(c, heard_us + silent_us, { "c", "d" })
      assert.equal(silent_us < T and "b" or "c", chosen(c))
      c:close()
    end
  end)

  it("is nobody when the only other voter has not answered for that long", function()
    for _, silent_us in ipairs { T - 1, T } do
      local c = leader(nil, { ids = { "a", "b" } })
      c.now_us = c.now_us + silent_us
      assert.equal(silent_us < T and "b" or "unavailable", chosen(c))
      c:close()
    end
  end)

  it("is none that has never answered, however young the clock is", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, settings = { election_timeout_us = 100 * T } }
    c.a:receive { type = "timeout_now", from = "b", term = 0 }
    c.a:persist()
    c.a:receive { type = "vote", from = "b", term = 1, granted = true }
    assert.equal("leader", c.a:role())
    assert.is_true(c.now_us < 100 * T)
    assert.equal("unavailable", chosen(c))
    c:ack("b", "a", 0)
    assert.equal("b", chosen(c))
  end)
end)

describe("the order to campaign", function()
  it("does not go out before the target has everything", function()
    local c = leader()
    c.a:propose "x"
    assert.equal("ok", (c.a:transfer "b"))
    c.a:timer()
    assert.equal(0, orders(c, "b"))
    c:ack("b", "a", 2)
    assert.equal(1, orders(c, "b"))
    c:ack("b", "a", 2)
    assert.equal(0, orders(c, "b")) -- once, for a heartbeat
  end)

  it("is repeated a heartbeat after it was given, neither earlier nor with the next heartbeat", function()
    local c = leader()
    c:advance(HEARTBEAT // 2)
    assert.equal("ok", (c.a:transfer "b"))
    assert.equal(1, orders(c, "b"))
    c:advance(HEARTBEAT - 1)
    assert.equal(0, orders(c, "b"))
    c:advance(1)
    assert.equal(1, orders(c, "b"))
  end)

  it("is over on time, however rare heartbeats are", function()
    local c = leader(nil, { settings = { heartbeat_us = 5 * T } })
    c:advance(T // 4)
    c.a:propose "x"
    assert.equal("ok", (c.a:transfer "b"))
    c:advance(T // 4)
    for _, id in ipairs { "b", "c", "d" } do c:ack(id, "a", 1) end
    c:advance(3 * T // 4 - 1)
    assert.is_nil(c.a.transfer_failed)
    c:advance(1)
    assert.same({ "b", "" }, { c.a.transfer_failed, target(c) })
  end)

  it("makes nobody restless when the target has to catch up again", function()
    local c = leader({ voters = { "a", "b", "c" }, learners = { "d" } })
    assert.equal("ok", (c.a:configure({ "a", "b", "d" }, { forced = true })))
    c:ack("b", "a", 2)
    assert.equal("ok", (c.a:transfer "b"))
    assert.equal(1, orders(c, "b"))
    c.a:persist() -- the joint configuration is committed, and another entry follows
    assert.equal(3, c.a:status().last_index)
    local before = c.a.steps
    for _ = 1, 4 do
      for _, id in ipairs { "b", "c", "d" } do c:ack(id, "a", 2) end
      c:advance(HEARTBEAT)
    end
    assert.is_true(c.a.steps - before < 30, c.a.steps - before)
    assert.same({ "b", 0 }, { target(c), orders(c, "b") })
    c:ack("b", "a", 3)
    assert.equal(1, orders(c, "b"))
  end)

  it("is followed by one that has not heard of its leader yet", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    c.a:receive { type = "request_vote", from = "b", term = 2, last_index = 0, last_term = 0 }
    c.a:persist()
    assert.same({ "", 2 }, { c.a:status().leader, c.a:status().term })
    c.a:receive { type = "timeout_now", from = "b", term = 2 }
    assert.same({ "candidate", 3 }, { c.a:role(), c.a:status().term })
  end)

  it("is nothing to one that campaigns already", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    c:timeout "a"
    c.a:receive { type = "vote", from = "c", term = 1, pre = true, granted = true }
    c.a:persist()
    assert.same({ "candidate", 1 }, { c.a:role(), c.a:status().term })
    c.a:receive { type = "timeout_now", from = "b", term = 1 } -- it has won, and it goes
    assert.same({ "candidate", 1 }, { c.a:role(), c.a:status().term })
  end)

  it("is nothing to one that has no vote, or a full disk", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" },
      members = { voters = { "b", "c" }, learners = { "a" } } }
    c:append("b", "a", 1, {}, 0, 0)
    c.a:receive { type = "timeout_now", from = "b", term = 1 }
    assert.same({ "follower", 1 }, { c.a:role(), c.a:status().term })
    local full = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, settings = { disk_retry_us = T } }
    full:append("b", "a", 1, Cluster.log { 1 }, 0, 1)
    full.a:refuse()
    full.a:receive { type = "timeout_now", from = "b", term = 1 }
    assert.same({ "follower", 1 }, { full.a:role(), full.a:status().term })
  end)
end)

describe("a leader that is removed", function()
  it("tells one that has everything, before one that is preferred and has not", function()
    local c = leader { voters = { "a", "b", "c", "d" }, priorities = { d = 9 } }
    local priorities = { d = 9 }
    assert.equal("ok", (c.a:configure { voters = { "b", "c", "d" }, priorities = priorities }))
    c.a:persist()
    c:ack("d", "a", 1)
    c:ack("c", "a", 2)
    c:ack("b", "a", 2)
    assert.equal("follower", c.a:role())
    assert.same({ 1, 0, 0 }, { orders(c, "b") + orders(c, "c"), orders(c, "d"), orders(c, "a") })
  end)
end)

describe("an offer to one that is preferred", function()
  local PREFERS_C = { voters = { "a", "b", "c" }, priorities = { c = 1 } }
  local THREE = { "a", "b", "c" }

  it("comes when four election timeouts have been led, though nothing but the NOOP was committed", function()
    local c = leader(PREFERS_C, { ids = THREE })
    live(c, c.since_us + 4 * T - 1, { "b", "c" })
    assert.equal("", target(c))
    live(c, c.since_us + 4 * T, { "b", "c" })
    assert.same({ "c", 1 }, { target(c), orders(c, "c") })
  end)

  it("does not come before this term has committed an entry", function()
    local c = Cluster.new { ids = THREE, run = { "a" }, members = PREFERS_C }
    c.now_us = c.now_us + 2 * T
    c:crown "a" -- and its disk is slow from now on, b's is full
    c.since_us = c.now_us
    c:ack("c", "a", 1)
    live(c, c.since_us + 4 * T + HEARTBEAT, { "b", "c" })
    assert.same({ "leader", 0, true }, { c.a:role(), c.a:status().commit_index, c.a:status().peers.c.caught_up })
    assert.same({ "", 0 }, { target(c), orders(c, "c") })
  end)

  it("does not come while a change of membership is under way", function()
    local c = leader(PREFERS_C, { ids = THREE })
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, priorities = { c = 2 } }))
    c:ack("c", "a", 2)
    live(c, c.since_us + 4 * T + HEARTBEAT, { "b", "c" })
    assert.same({ "leader", 1, true }, { c.a:role(), c.a:status().commit_index, c.a:status().peers.c.caught_up })
    assert.same({ "", 0 }, { target(c), orders(c, "c") })
  end)
end)

describe("a voter", function()
  it("waits for those that are preferred: a least timeout for one, two for more", function()
    for count = 0, 3 do
      local priorities = {}
      for _, id in ipairs({ table.unpack({ "b", "c", "d" }, 1, count) }) do priorities[id] = 1 end
      local waits = math.min(count, 2)
      for seed = 1, 5 do
        local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" }, seed = 10 * seed,
          members = { voters = { "a", "b", "c", "d" }, priorities = priorities } }
        local began_us = c.now_us
        c.now_us = began_us + (1 + waits) * T - 1
        c.a:timer()
        assert.same({ count, "follower" }, { count, c.a:role() })
        c.now_us = began_us + (2 + waits) * T
        c.a:timer()
        assert.same({ count, "pre-candidate" }, { count, c.a:role() })
        assert.equal(c.now_us + HEARTBEAT, c.a.deadline_us) -- when it asks again
        c:close()
      end
    end
  end)
end)
