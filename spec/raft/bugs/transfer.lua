-- Bugs of leadership transfer, and of leases in it (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scenes = require "support.raft_scenes"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local leader = scenes.leader

local function led(settings)
  local c = Cluster.new { ids = { "a", "b", "c" }, settings = settings }
  c:elect "a"
  c:advance(2 * HEARTBEAT)
  return c
end

local function is_order(message) return message.type == "timeout_now" end

-- b takes over in a term that a does not hear of, and acknowledges a write.
local function overtake(c)
  c:cut("b", "a")
  c:cut("c", "a")
  c:settle_among { "b", "c" }
  assert.equal("leader", c.b:role())
  c.b:propose "newer"
  c:settle_among { "b", "c" }
  assert(c.acknowledged > c.a:status().commit_index)
  assert.equal("leader", c.a:role())
end

return function(bug)
  bug(5, "the order to campaign may come after the transfer was given up, so there is no lease in that term",
    { "lease_after_transfer" }, function()
    local c = led { leases = true }
    c.a:read(1, "lease")
    assert.equal(1, c.a.reads[1])
    assert.equal("ok", (c.a:transfer "b"))
    local late = {}
    for _ = 1, 12 do -- the network keeps the order, and lets everything else pass
      for i = #c.messages, 1, -1 do
        if is_order(c.messages[i]) then late[#late + 1] = table.remove(c.messages, i) end
      end
      c.now_us = c.now_us + HEARTBEAT
      c.a:timer()
      for i = #c.messages, 1, -1 do
        if is_order(c.messages[i]) then late[#late + 1] = table.remove(c.messages, i) end
      end
      c:settle()
    end
    assert.same({ "b", "" }, { c.a.transfer_failed, c.a:status().transfer_target })
    c.b:receive(late[1])
    overtake(c)
    c.a:read(2, "lease")
    assert.is_nil(c.a.reads[2])
    assert.equal(0, c.a:status().lease_until_us)
  end)

  bug(5, "an order to campaign of an older term is not followed", { "old_timeout_now" }, function()
    local c = led()
    c.b:receive { type = "timeout_now", from = "a", term = 0 }
    assert.same({ "follower", 1 }, { c.b:role(), c.b:status().term })
    c.b:receive { type = "timeout_now", from = "c", term = 1 } -- nor one by somebody who does not lead
    assert.same({ "follower", 1 }, { c.b:role(), c.b:status().term })
  end)

  bug(6, "while leadership is handed over no lease answers", { "lease_in_transfer" }, function()
    local c = led { leases = true }
    assert.equal("ok", (c.a:transfer "b"))
    c:deliver(is_order)
    overtake(c)
    c.a:read(1, "lease")
    assert.is_nil(c.a.reads[1])
  end)

  bug(7, "the term moved on between reading it and appending; here a step is whole",
    { "proposed_too_late" }, function()
    local c = leader()
    c:append("b", "a", 2, c.a.disk.log, 1, 0) -- the term is b's now
    local code = c.a:propose "x"
    assert.same({ "not_leader", 1 }, { code, c.a:status().last_index })
    c:crown "a"
    local entries
    code, entries = c.a:propose "y"
    assert.same({ "ok", 3, 3 }, { code, entries[1].index, entries[1].term })
    assert.same({ 1, 3, 3 }, { c.a.core:entry(1).term, c.a.core:entry(2).term, c.a.core:entry(3).term })
  end)

  bug(7, "what is proposed to one who leads no more is refused, in whatever term",
    { "proposed_too_late" }, function()
    local c = led()
    c.a:receive { type = "append_result", from = "b", term = 5, success = false, prev_index = 1 }
    local code = c.a:propose "in which term would this be?"
    assert.same({ "not_leader", 1, 5 }, { code, c.a:status().last_index, c.a:status().term })
  end)

  bug(8, "a transfer ends with leadership: its leader, elected again, takes proposals at once",
    { "transfer_outlives" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" } }
    c:crown "a"
    assert.equal("ok", (c.a:transfer "b"))
    assert.equal("b", c.a:status().transfer_target)
    c.a:receive { type = "append_result", from = "c", term = 5, success = false, prev_index = 0 }
    assert.equal("", c.a:status().transfer_target)
    c:crown "a"
    assert.equal("ok", (c.a:propose "x"))
    assert.is_nil(c.a.transfer_failed) -- somebody else led meanwhile: it is ROLE that tells
  end)

  bug(32, "a transfer under load ends: proposals are refused, definitely, until it has",
    { "transfer_under_load" }, function()
    local c = led()
    local codes = {}
    c.a:propose "x"
    assert.equal("ok", (c.a:transfer "b"))
    for _ = 1, 10 do
      local code = c.a:propose "and another"
      codes[code] = (codes[code] or 0) + 1
      c:deliver()
      for _, id in ipairs { "a", "b", "c" } do c[id]:persist() end
    end
    assert.equal("leader", c.b:role())
    assert(codes.unavailable and codes.unavailable > 0)
    assert.is_nil(codes.ok)
  end)

  bug(nil, "learner: leadership is never handed to one who cannot lead", { "transfer_to_learner" }, function()
    local c = Cluster.new { ids = { "a", "b", "c" }, members = { voters = { "a", "b" }, learners = { "c" } } }
    c:elect "a"
    for _, target in ipairs { "c", "z", "a" } do
      assert.equal("not_found", (c.a:transfer(target)))
    end
    assert.equal("ok", (c.a:transfer "b"))
    c:settle()
    assert.equal("leader", c.b:role())
    assert.equal(2, c.b:status().term)
    c:advance(T)
    assert.equal("leader", c.b:role())
  end)
end
