-- Changing the membership: section 4 of Ongaro's thesis, promise by promise. The bugs have bugs/membership.lua.
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function led(members, options)
  options = options or {}
  options.ids = options.ids or { "a", "b", "c", "d", "e" }
  options.members, options.blank = members, {}
  local known = {}
  for _, list in pairs(members.voters and members or { members }) do
    for _, id in ipairs(list) do known[id] = true end
  end
  for _, id in ipairs(options.ids) do options.blank[id] = not known[id] end
  local c = Cluster.new(options)
  c.watch_configurations = true
  c:elect "a"
  c:advance(2 * HEARTBEAT)
  return c
end

local function refused(server, members, options)
  local before = server:status().last_index
  local code, refusal = server:configure(members, options)
  assert.equal(before, server:status().last_index)
  return { code, refusal }
end

describe("a change of membership (§4.1)", function()
  it("takes effect at the leader when it is appended, at others when they have it", function()
    local c = led { "a", "b", "c" }
    local code, _, change = c.a:configure({ "a", "b", "c", "d" }, { forced = true })
    assert.same({ "ok", 2, 1 }, { code, change.index, change.term })
    assert.same({ "a", "b", "c", "d" }, c.a:status().configuration.voters)
    assert.is_true(c.a:status().configuration_pending)
    assert.same({ "a", "b", "c" }, c.b:status().configuration.voters)
    c:settle()
    assert.is_false(c.a:status().configuration_pending)
    for _, id in ipairs { "b", "c", "d" } do
      assert.same({ "a", "b", "c", "d" }, c[id]:status().configuration.voters)
    end
    assert.equal(2, c.d.applied)
  end)

  it("names the configuration it replaces: in the request, and in the entry", function()
    local c = led { "a", "b", "c" }
    assert.same({ "conflict", "stale" }, refused(c.a, { "a", "b" }, { expected = 1 }))
    assert.equal("ok", (c.a:configure({ "a", "b" }, { expected = 0 })))
    c:settle()
    assert.same({ "conflict", "stale" }, refused(c.a, { "a", "b", "c" }, { expected = 0, forced = true }))
    assert.equal("ok", (c.a:configure({ voters = { "a", "b" }, learners = { "c" } }, { expected = 2 })))
    assert.same({ 3, 2 }, { c.a:status().configuration_index, c.a:status().configuration.previous })
  end)

  it("is certainly not done when another leader's entry takes its place", function()
    local c = led { "a", "b", "c" }
    c:isolate "a"
    local code, _, change = c.a:configure { "a", "b" }
    assert.equal("ok", code)
    c:elect "b"
    c:heal()
    c:advance(2 * HEARTBEAT)
    assert.same({ "a", "b", "c" }, c.a:status().configuration.voters)
    assert.not_equal(change.term, c.a.disk.log[change.index].term) -- how its owner knows
  end)

  it("is refused by one who does not lead, or whose disk is full", function()
    local c = led { "a", "b", "c" }
    assert.same({ "not_leader", "not_leader" }, refused(c.b, { "a", "b" }))
    c.a:propose "x"
    c.a:refuse()
    assert.same({ "disk_full", "disk_full" }, refused(c.a, { "a", "b" }))
  end)

  it("is refused where it makes no sense, and nothing is changed", function()
    local c = led { "a", "b", "c" }
    assert.same({ "bad_request", "no_voters" }, refused(c.a, { voters = {}, learners = { "a", "b", "c" } }))
    assert.same({ "bad_request", "no_voters" }, refused(c.a, { voters = {} }))
    assert.same({ "bad_request", "no_change" }, refused(c.a, { "a", "b", "c" }))
    assert.same({ "bad_request", "malformed" }, refused(c.a, { voters = { "a", "b", "c" }, leaving = { "d" } }))
    assert.same({ "bad_request", "malformed" }, refused(c.a, { voters = { "a", "b" }, incarnations = { b = 0 } }))
    assert.same({ "bad_request", "incarnation" },
      refused(c.a, { voters = { "a", "b", "c" }, incarnations = { b = 5 } }))
  end)

  it("may be to where a server is to be found, and how much it is preferred", function()
    local c = led { "a", "b", "c" }
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, ports = { b = 7777 }, priorities = { c = 3 } }))
    c:settle()
    assert.equal("127.0.0.1:7777", c.c:status().configuration.addresses.b)
    assert.same({ "leader", 3 }, { c.a:role(), #c.a:status().configuration.voters })
  end)

  it("grows a cluster from one to five, and shrinks it again to one that is none of the first", function()
    local c = led { "a" }
    local members = { "a" }
    for _, id in ipairs { "b", "c", "d", "e" } do
      assert.equal("ok", (c:leader():configure { voters = members, learners = { id } }))
      c:advance(3 * HEARTBEAT)
      table.insert(members, id)
      assert.equal("ok", (c:leader():configure(members)))
      c:advance(3 * HEARTBEAT)
      c:leader():propose("with " .. id)
    end
    for _ = 1, 4 do
      c:advance(3 * HEARTBEAT)
      table.remove(members, 1)
      assert.equal("ok", (c:leader():configure(members)))
      c:advance(6 * T)
    end
    assert.same({ "e", { "e" } }, { c:leader().id, c.e:status().configuration.voters })
    assert.equal(c.e:status().commit_index, c.e.applied)
    for _, id in ipairs { "a", "b", "c", "d" } do assert.not_equal("leader", c[id]:role()) end
  end)
end)

describe("a removed server (§4.2.3)", function()
  it("is told, and is quiet", function()
    local c = led { "a", "b", "c" }
    assert.equal("ok", (c.a:configure { "a", "b" }))
    c:settle()
    assert.equal("departed", c.a:status().peers.c.standing)
    c:advance(2 * HEARTBEAT)
    assert.same({ { "a", "b" }, 2 }, { c.c:status().configuration.voters, c.c:status().commit_index })
    assert.is_nil(c.c.deadline_us and c.c:timer() and c.c.deadline_us)
    c:advance(8 * T)
    assert.same({ "follower", 1 }, { c.c:role(), c.c:status().term })
    assert.is_nil(c.a:status().peers.c) -- and not spoken to for ever
  end)

  it("that was not there to be told asks before it campaigns, and nobody says yes", function()
    local c = led { "a", "b", "c", "d" }
    c:isolate "d"
    assert.equal("ok", (c.a:configure { "a", "b", "c" }))
    c:settle()
    c:advance(6 * T) -- longer than it would have been told
    c:heal()
    c:advance(10 * T)
    assert.same({ "leader", 1 }, { c.a:role(), c.a:status().term })
    assert.same({ "pre-candidate", 1 }, { c.d:role(), c.d:status().term })
  end)

  it("whose removal is only in its own log leads once more, to commit it: nobody else could", function()
    local c = led { "a", "b" }
    assert.equal("ok", (c.a:configure { "b" }))
    c.a:persist()
    c:drop()
    c.a:restart()
    c:advance(8 * T)
    assert.same({ "leader", { "b" } }, { c.b:role(), c.b:status().configuration.voters })
    assert.equal("a", c.leaders[2])
    assert.not_equal("leader", c.a:role())
  end)
end)

describe("learners and their rounds (§4.2.1)", function()
  it("catch up before they vote: until then promotion is refused, unless it is forced", function()
    local c = led { "a", "b", "c" }
    for i = 1, 20 do c.a:propose("entry " .. i) end
    c:settle()
    assert.same({ "unavailable", "not_caught_up" }, refused(c.a, { "a", "b", "c", "d" })) -- not even a learner
    c:cut("d", "a")
    assert.equal("ok", (c.a:configure { voters = { "a", "b", "c" }, learners = { "d" } }))
    c:settle()
    assert.same({ "unavailable", "not_caught_up" }, refused(c.a, { "a", "b", "c", "d" }))
    c:heal()
    c:advance(2 * HEARTBEAT)
    local d = c.a:status().peers.d
    assert.same({ "learner", true, false, 22 }, { d.standing, d.caught_up, d.stuck, d.match })
    assert.is_true(d.rounds >= 1 and d.round_us < T)
    assert.equal("ok", (c.a:configure { "a", "b", "c", "d" }))
    c:settle()
    assert.equal("voter", c.a:status().peers.d.standing)
  end)

  it("a round brings what there was when it began; a long one does not count as caught up", function()
    local c = Cluster.new { ids = { "a", "b" }, run = { "a" }, members = { voters = { "a" }, learners = { "b" } } }
    c:crown "a"
    c.a:persist()
    c.a:propose("x", "y")
    c.a:persist()
    local function b() return c.a:status().peers.b end
    local function later(us, match)
      c.now_us = c.now_us + us
      c:ack("b", "a", match)
    end
    later(2 * T, 1) -- the first round was for the one entry there was
    assert.same({ 1, 2 * T, false }, { b().rounds, b().round_us, b().caught_up })
    c.a:propose "z"
    later(HEARTBEAT, 2)
    assert.equal(1, b().rounds)
    later(HEARTBEAT, 3) -- what was there when the second began
    assert.same({ 2, 2 * HEARTBEAT, true }, { b().rounds, b().round_us, b().caught_up })
    later(HEARTBEAT, 4)
    assert.same({ 3, true }, { b().rounds, b().caught_up })
    c.now_us = c.now_us + T
    c.a:timer()
    assert.is_false(b().caught_up) -- silent for an election timeout
  end)

  it("one that takes nothing is reported, and holds nothing up", function()
    local c = led({ voters = { "a", "b", "c" }, learners = { "d" } })
    c.d.stuck = true
    c.a:propose "x"
    c:advance(2 * T)
    assert.same({ false, false }, { c.a:status().peers.d.stuck, c.a:status().peers.d.caught_up })
    c:advance(3 * T)
    assert.same({ true, 2 }, { c.a:status().peers.d.stuck, c.a:status().commit_index })
    assert.same({ "unavailable", "not_caught_up" }, refused(c.a, { "a", "b", "c", "d" }))
    assert.equal("ok", (c.a:configure { "a", "b", "c" })) -- it may go
    c:settle()
    assert.is_false(c.a:status().configuration_pending)
  end)

  it("are replicated to, vote when asked, and neither campaign nor count", function()
    local c = led { voters = { "a", "b" }, learners = { "c" } }
    c:isolate "b"
    c.a:propose "x"
    c:settle()
    assert.same({ 1, 2 }, { c.a:status().commit_index, c.c:status().last_index })
    c:advance(3 * T)
    assert.not_equal("leader", c.a:role())
    assert.same({ "follower", 1 }, { c.c:role(), c.c:status().term })
  end)

  it("a demoted leader steps down once it is committed, and follows", function()
    local c = led { "a", "b", "c" }
    assert.equal("ok", (c.a:configure { voters = { "b", "c" }, learners = { "a" } }))
    c:settle()
    assert.equal("follower", c.a:role())
    local leader = c:leader()
    leader:propose "x"
    c:advance(2 * HEARTBEAT)
    assert.same({ leader.id, leader.applied }, { c.a:status().leader, c.a.applied })
    assert.equal("learner", leader:status().peers.a.standing)
  end)
end)

describe("many at once (§4.3)", function()
  it("goes through both majorities, and the leader ends it by itself", function()
    local c = led { "a", "b", "c" }
    assert.equal("ok", (c.a:configure({ "a", "d", "e" }, { forced = true })))
    local joint = c.a:status().configuration
    assert.same({ { "a", "d", "e" }, { "a", "b", "c" }, { "b", "c" } }, { joint.voters, joint.outgoing, joint.leaving })
    assert.equal("127.0.0.1:" .. 5000 + ("b"):byte(), joint.addresses.b)
    assert.same({ "unavailable", "pending" }, refused(c.a, { "a", "d" }))
    c:settle()
    local status = c.a:status()
    assert.same({ { "a", "d", "e" }, {}, {}, 3 },
      { status.configuration.voters, status.configuration.outgoing, status.configuration.leaving,
        status.configuration_index })
    assert.is_false(status.configuration_pending)
    c:advance(2 * HEARTBEAT)
    for _, id in ipairs { "b", "c" } do -- they know that they are gone
      assert.same({ { "a", "d", "e" }, 3 }, { c[id]:status().configuration.voters, c[id]:status().commit_index })
    end
  end)

  it("commits nothing, reads nothing and elects nobody without either majority", function()
    for _, lost in ipairs { { "b", "c" }, { "d", "e" } } do
      local c = led { "a", "b", "c" }
      for _, id in ipairs(lost) do c:isolate(id) end
      assert.equal("ok", (c.a:configure({ "a", "d", "e" }, { forced = true })))
      c:settle()
      c.a:read(1)
      c:settle()
      assert.same({ 1, 2 }, { c.a:status().commit_index, c.a:status().last_index })
      assert.is_nil(c.a.reads[1])
      c:advance(6 * T)
      assert.is_nil(c:leader())
      assert.equal("failed", c.a.reads[1])
      c:heal()
      c:advance(6 * T)
      assert.same({ "a", "d", "e" }, c:leader():status().configuration.voters) -- whoever leads, ends it
      assert.same({}, c:leader():status().configuration.outgoing)
    end
  end)

  it("is ended by the next leader, when the one that began it is gone", function()
    local c = led { "a", "b", "c" }
    assert.equal("ok", (c.a:configure({ "b", "c", "d", "e" }, { forced = true })))
    for _ = 1, 2 do
      c:deliver(function(message) return message.type == "append" end)
      for _, id in ipairs { "a", "b", "c", "d", "e" } do
        if #c[id].writes > 0 then c[id]:persist() end
      end
    end
    c.a:crash()
    c:drop()
    c:advance(6 * T)
    local configuration = c:leader():status().configuration
    assert.same({ { "b", "c", "d", "e" }, {} }, { configuration.voters, configuration.outgoing })
    assert.not_equal("a", c:leader().id)
  end)

  it("is undone as a whole when its joint entry is overwritten", function()
    local c = led { "a", "b", "c" }
    c:isolate "a"
    assert.equal("ok", (c.a:configure({ "a", "d", "e" }, { forced = true })))
    c:elect "b"
    c:heal()
    c:advance(2 * HEARTBEAT)
    assert.same({ { "a", "b", "c" }, {}, {} }, { c.a:status().configuration.voters,
      c.a:status().configuration.outgoing, c.a:status().configuration.leaving })
  end)

  it("replaces every server by another, the leader too", function()
    local c = led({ "a", "b" }, { ids = { "a", "b", "c", "d" } })
    assert.equal("ok", (c.a:configure({ "c", "d" }, { forced = true })))
    c:settle()
    assert.truthy(c:leader() and c:leader().id:match "[cd]", "it hands over to one of them at once")
    local leader, term = c:leader(), c:leader():status().term
    leader:propose "x"
    c:advance(8 * T)
    assert.same({ leader.id, term }, { c:leader().id, c:leader():status().term }) -- undisturbed
    assert.same({ "follower", term }, { c.a:role(), c[leader.id == "c" and "d" or "c"]:status().term })
  end)
end)
