-- Edges of membership: who has caught up, who is stuck, who is gone and for how long, which changes are one step. Each
-- was a guard that nothing else missed (scripts/mutants).
local Cluster = require "support.raft_cluster"
local formats = require "moonclave.formats"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local FIVE = { "a", "b", "c", "d", "e" }

local function peer(c, id) return c.a:status().peers[id] end

-- a leads played peers, which have its NOOP.
local function leader(members, ids)
  local c = Cluster.new { ids = ids or FIVE, run = { "a" }, members = members }
  c:crown "a"
  c.a:persist()
  for _, id in ipairs(ids or FIVE) do
    if peer(c, id) then c:ack(id, "a", 1) end
    c:take(id)
  end
  return c
end

-- a, the only voter, has just become leader; c learns.
local function teacher()
  local c = Cluster.new { ids = { "a", "c" }, run = { "a" }, members = { voters = { "a" }, learners = { "c" } } }
  c:crown "a"
  c.a:persist()
  c.since_us = c.now_us
  return c
end

local function change(c, members, by, options)
  local code, refusal = c.a:configure(members, options)
  assert.equal("ok", code, refusal)
  c.a:persist()
  for _, id in ipairs(by) do c:ack(id, "a", c.a:status().last_index) end
  assert.equal(c.a:status().last_index, c.a:status().commit_index)
end

describe("a learner", function()
  it("that has answered, and has not done a round yet, has not caught up", function()
    local c = leader({ "a", "b", "c" })
    for i = 1, 5 do c.a:propose("x" .. i) end
    change(c, { voters = { "a", "b", "c" }, learners = { "d" } }, { "b", "c" })
    c.a:receive { type = "append_result", from = "d", term = 1, success = false, prev_index = peer(c, "d").next - 1,
      last_index = 0, conflict_index = 1 }
    assert.same({ 0, false }, { peer(c, "d").rounds, peer(c, "d").caught_up })
    local code, refusal = c.a:configure { "a", "b", "c", "d" }
    assert.same({ "unavailable", "not_caught_up" }, { code, refusal })
    c:ack("d", "a", 7)
    assert.same({ 1, true }, { peer(c, "d").rounds, peer(c, "d").caught_up })
    assert.equal("ok", (c.a:configure { "a", "b", "c", "d" }))
  end)

  it("keeps up where its last round took less than an election timeout", function()
    for _, took_us in ipairs { T - 1, T } do
      local c = teacher()
      c.now_us = c.since_us + took_us
      c:ack("c", "a", 1)
      assert.equal(took_us, peer(c, "c").round_us)
      c.a:propose "more"
      assert.equal(took_us < T, peer(c, "c").caught_up)
      c:close()
    end
  end)

  it("does not keep up any more when a round is under way for that long, though it answers", function()
    local c = teacher()
    c:ack("c", "a", 1)
    c.a:propose "more"
    local began_us = c.now_us
    for _, passed_us in ipairs { T - 1, T } do
      c.now_us = began_us + passed_us
      c:ack("c", "a", 1)
      assert.equal(passed_us < T, peer(c, "c").caught_up)
    end
  end)

  it("is stuck when it has lacked entries, and taken none, for four election timeouts", function()
    local c = teacher()
    c:ack("c", "a", 1)
    c.now_us = c.now_us + 9 * T
    c.a:timer()
    assert.is_false(peer(c, "c").stuck) -- it lacks nothing
    c.a:propose "more"
    local began_us = c.now_us
    for _, passed_us in ipairs { 4 * T - 1, 4 * T } do
      c.now_us = began_us + passed_us
      c:ack("c", "a", 1)
      assert.equal(passed_us == 4 * T, peer(c, "c").stuck)
    end
    c:ack("c", "a", 2)
    assert.is_false(peer(c, "c").stuck)
  end)

  it("is waited for by nobody who would campaign, however preferred it is", function()
    for seed = 1, 20 do
      local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" }, seed = seed,
        members = { voters = { "a", "b" }, learners = { "c" }, priorities = { c = 9 } } }
      c:timeout "a"
      assert.equal("pre-candidate", c.a:role())
      c:close()
    end
  end)

  it("that answers out of a later term makes nobody campaign who did not lead", function()
    local c = Cluster.new { ids = { "a", "b", "c" }, run = { "a" },
      members = { voters = { "a", "b" }, learners = { "c" } } }
    c:append("b", "a", 1, {}, 0, 0)
    c.a:receive { type = "append_result", from = "c", term = 7, success = false, prev_index = 0, last_index = 0 }
    c.a:persist()
    assert.same({ "follower", 7, 0 }, { c.a:role(), c.a:status().term, #c:take("b", "request_vote") })
  end)
end)

describe("a server that nobody could reach", function()
  it("is no member, for it has no address", function()
    local c = leader({ "a", "b", "c" })
    local with_d = { voters = { "a", "b", "c" }, learners = { "d" } }
    local wanted = formats.configuration_decode(Cluster.configuration(with_d))
    wanted.servers[4].addresses = {}
    local event = { type = "configure", wanted = formats.configuration_encode(wanted), expected = 0 }
    assert.same({ "bad_request", "malformed" }, { c.a:event(event), event.refusal })
    assert.equal(1, c.a:status().last_index)
    assert.equal("ok", (c.a:configure(with_d)))
  end)
end)

describe("servers that are removed one after another", function()
  it("are each told so for four election timeouts, and no longer", function()
    local c = leader()
    change(c, { "a", "b", "c", "d" }, { "b", "c" })
    local first_us = c.now_us
    local function live(until_us)
      while c.now_us < until_us do
        c.now_us = math.min(until_us, c.now_us + HEARTBEAT)
        for _, id in ipairs { "b", "c" } do c:ack(id, "a", c.a:status().last_index) end
        c.a:timer()
      end
    end
    live(first_us + T)
    change(c, { "a", "b", "c" }, { "b", "c" })
    local second_us = c.now_us
    assert.same({ "departed", "departed" }, { peer(c, "d").standing, peer(c, "e").standing })
    live(first_us + 4 * T - 1)
    assert.same({ "departed", "departed" }, { peer(c, "d").standing, peer(c, "e").standing })
    live(first_us + 4 * T)
    assert.equal("departed", peer(c, "d").standing)
    assert.is_nil(peer(c, "e"))
    c:take "d"
    c:take "e"
    live(second_us + 4 * T - 1)
    assert.is_true(#c:take "d" > 0)
    live(second_us + 4 * T)
    assert.is_nil(peer(c, "d"))
    c:take "d"
    live(second_us + 5 * T)
    assert.same({ 0, 0 }, { #c:take "d", #c:take "e" })
  end)

  it("are no voters again before they have learnt, though they answer and lack nothing", function()
    local c = leader()
    change(c, { "a", "b", "c", "d" }, { "b", "c", "e" })
    assert.same({ "departed", true }, { peer(c, "e").standing, peer(c, "e").caught_up })
    local code, refusal = c.a:configure(FIVE)
    assert.same({ "unavailable", "not_caught_up" }, { code, refusal })
  end)
end)

describe("one voter less", function()
  it("is one step, however many learn", function()
    local c = leader { voters = { "a", "b", "c" }, learners = { "d", "e" } }
    assert.equal("ok", (c.a:configure { voters = { "a", "b" }, learners = { "d", "e" } }))
    assert.same({ {}, { "a", "b" } }, { c.a:status().configuration.outgoing, c.a:status().configuration.voters })
  end)
end)

describe("a joint configuration", function()
  it("shows who is leaving, at the leader, until the next one", function()
    local c = leader({ voters = { "a", "b", "c" }, learners = { "d" } })
    assert.equal("ok", (c.a:configure({ voters = { "a", "b", "d" }, learners = { "e" } })))
    local standings = {}
    for id, status in pairs(c.a:status().peers) do standings[id] = status.standing end
    assert.same({ b = "voter", c = "leaving", d = "voter", e = "learner" }, standings)
    c.a:persist()
    for _, id in ipairs { "b", "c", "d" } do c:ack(id, "a", 2) end
    assert.equal("departed", peer(c, "c").standing)
  end)

  it("is pending at a follower too, committed or not, until the next one is committed", function()
    local log = Cluster.log({ 1, 1, 1 }, {
      [2] = Cluster.configuration_entry(1, { voters = { "a", "d" }, leaving = { "b", "c" },
        outgoing = { "a", "b", "c" } }),
      [3] = Cluster.configuration_entry(1, { "a", "d" }) })
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, members = { "a", "b", "c" }, run = { "a" } }
    c:append("b", "a", 1, log, 0, 2)
    c.a:persist()
    assert.is_true(c.a:status().configuration_pending)
    c:append("b", "a", 1, log, 2, 0, { commit = 2 })
    assert.same({ 2, true }, { c.a:status().commit_index, c.a:status().configuration_pending })
    c:append("b", "a", 1, log, 2, 1, { commit = 2 })
    c.a:persist()
    assert.is_true(c.a:status().configuration_pending)
    c:append("b", "a", 1, log, 3, 0, { commit = 3 })
    assert.is_false(c.a:status().configuration_pending)
  end)

  it("that names an outgoing voter by its id alone lets it vote, campaign, and be heeded", function()
    local members = { voters = { "b", "c" }, outgoing = { "a", "b", "d" } }
    local c = Cluster.new { ids = { "a", "b", "c", "d" }, run = { "a" }, members = members,
      disks = { a = { incarnation = 5 } } }
    c:timeout "a"
    assert.equal("pre-candidate", c.a:role())
    assert.equal(1, #c:take("d", "request_vote"))
    c.a:receive { type = "vote", from = "d", term = 6, granted = false }
    assert.same({ "follower", 6 }, { c.a:role(), c.a:status().term })
  end)
end)
