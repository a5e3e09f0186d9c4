-- Handing leadership over (Ongaro §3.10), and preference. The bugs have bugs/transfer.lua.
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function led(options)
  options = options or {}
  options.ids = options.ids or { "a", "b", "c" }
  local c = Cluster.new(options)
  c:elect "a"
  c:advance(2 * HEARTBEAT)
  return c
end

describe("a transfer of leadership", function()
  it("is done in one round trip, without anybody's timeout", function()
    local c = led()
    assert.equal("ok", (c.a:transfer "c"))
    c:settle()
    assert.same({ "follower", "leader", 2 }, { c.a:role(), c.c:role(), c.c:status().term })
    assert.same({ "c", "" }, { c.a.role_told.leader, c.a:status().transfer_target })
    assert.is_nil(c.a.transfer_failed)
  end)

  it("waits until the target has everything, and tells it then", function()
    local c = led()
    c.b.stuck = true
    c.a:propose("x", "y")
    c:settle()
    assert.equal("ok", (c.a:transfer "b"))
    assert.equal("b", c.a:status().transfer_target)
    c:advance(2 * HEARTBEAT)
    assert.equal("leader", c.a:role())
    c.b.stuck = false
    c:advance(HEARTBEAT)
    assert.same({ "leader", 2 }, { c.b:role(), c.b:status().term })
    assert.equal("y", c.b.disk.log[3].payload)
  end)

  it("is given up after an election timeout, and proposals are taken again", function()
    local c = led()
    c:isolate "b"
    c.a:propose "x"
    assert.equal("ok", (c.a:transfer "b"))
    local code, _, text = c.a:propose "y"
    assert.equal("unavailable", code)
    assert.matches("being handed to b", text, 1, true)
    c:advance(T - HEARTBEAT)
    assert.is_nil(c.a.transfer_failed)
    c:advance(2 * HEARTBEAT)
    assert.same({ "b", "", "leader", 1 }, { c.a.transfer_failed, c.a:status().transfer_target, c.a:role(),
      c.a:status().term })
    assert.equal("ok", (c.a:propose "y"))
  end)

  it("tells the target again when the order is lost", function()
    local c = led()
    assert.equal("ok", (c.a:transfer "b"))
    assert.equal(1, c:drop(function(message) return message.type == "timeout_now" end))
    c:advance(2 * HEARTBEAT)
    assert.equal("leader", c.b:role())
  end)

  it("costs no rest: a target that was told and has to catch up again is waited for", function()
    local c = led()
    assert.equal("ok", (c.a:transfer "b"))
    c:drop()
    c.b.stuck = true
    local before = c.a.steps
    c:advance(T // 2)
    assert.is_true(c.a.steps - before < 60, c.a.steps - before)
  end)

  it("without a target goes to one who keeps up, before one who is preferred and does not", function()
    local c = led { members = { voters = { "a", "b", "c" }, priorities = { a = 1, b = 1 } } }
    c.b.stuck = true
    c.a:propose "x"
    c:advance(T + T // 2)
    assert.equal("ok", (c.a:transfer()))
    assert.equal("c", c.a:status().transfer_target)
    c:settle()
    assert.equal("leader", c.c:role())
  end)

  it("is refused by one who does not lead, a second time, and when nobody is there", function()
    local c = led()
    assert.equal("not_leader", (c.b:transfer "c"))
    c.b.stuck = true
    c.a:propose "x"
    c:settle()
    assert.equal("ok", (c.a:transfer "b"))
    local code, text = c.a:transfer "c"
    assert.same({ "unavailable", "leadership is being handed to b" }, { code, text })
    local changed, refusal = c.a:configure { "a", "b" }
    assert.same({ "unavailable", "transfer" }, { changed, refusal })
    local lone = Cluster.new { ids = { "a" } }
    lone:settle()
    assert.equal("unavailable", (lone.a:transfer()))
  end)

  it("is heeded by voters that hear their leader: the request says so", function()
    local c = led()
    assert.equal("ok", (c.a:transfer "b"))
    c:deliver()
    c.b:persist()
    local request = c.messages[1]
    assert.same({ "request_vote", false, true }, { request.type, request.pre, request.transfer })
    c:settle()
    assert.equal("leader", c.b:role())
  end)

  it("loses nothing: what was proposed before is there after", function()
    local c = led()
    local code, entries = c.a:propose("x", "y", "z")
    assert.equal("ok", code)
    assert.equal("ok", (c.a:transfer "b"))
    c:settle()
    c:advance(HEARTBEAT)
    for _, id in ipairs { "a", "b", "c" } do
      assert.equal(entries[3].chain, c[id].disk.log[4].chain)
      assert.is_true(c[id].applied >= 4)
    end
  end)
end)

describe("preference", function()
  it("lets the preferred campaign first, and anyone else when they are gone", function()
    local first = 0
    for seed = 1, 20 do
      local c = Cluster.new { ids = { "a", "b", "c" }, seed = seed * 100,
        members = { voters = { "a", "b", "c" }, priorities = { c = 5 } } }
      c:advance(3 * T)
      if c.leaders[1] == "c" then first = first + 1 end
      c.c:crash()
      c:advance(7 * T)
      assert.truthy(c:leader() and c:leader().id:match "[ab]", "nobody leads without c")
      c:close()
    end
    assert.equal(20, first)
  end)

  it("has a leader hand over to whoever is preferred, has caught up and stays", function()
    local c = led()
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, priorities = { b = 1 } }))
    c:advance(3 * T)
    assert.equal("leader", c.a:role()) -- not at once
    c:advance(3 * T)
    assert.equal("leader", c.b:role())
    local term = c.b:status().term
    c:advance(20 * T)
    assert.same({ "leader", term }, { c.b:role(), c.b:status().term }) -- and it rests there
  end)

  it("never costs the leader we have, when the preferred one cannot take over", function()
    local c = led()
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, priorities = { b = 1 } }))
    c:settle()
    c.b.full = true
    for i = 1, 12 do
      c.a:propose("x" .. i)
      c:advance(T)
    end
    assert.equal("leader", c.a:role())
    assert.is_true(c.a.applied >= 8, c.a.applied)
  end)
end)
