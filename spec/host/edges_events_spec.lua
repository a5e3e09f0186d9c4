-- Edges of what a node tells and measures: servers that fall silent, roles, members, snapshots, how long commits take
-- and how long nobody leads; and of the status under hashicorp/raft's names. Most were a guard that nothing else missed
-- (scripts/mutants).
local base = require "moonclave.base"
local world = require "host.world"

local ELECTION_US = 1000000

-- n1 has heard everybody this moment: answers it.
local function all_heard(w)
  local ticket = w.n1:query "q"
  w:settle()
  assert(w.n1:answer(ticket):match "^ok")
  return w.now
end

local function turn_at(w, us)
  w.now = us
  w.n1:turn()
  return #w.n1:told_of "peer_lost"
end

describe("a silent server", function()
  it("is told of at two election timeouts to the microsecond, and once", function()
    local w <close> = world.cluster()
    local heard = all_heard(w)
    w:isolate "n1" -- and n1's timer does not fire, or it would lead no more
    assert.equal(0, turn_at(w, heard + ELECTION_US))
    assert.equal(2, turn_at(w, heard + 2 * ELECTION_US))
    assert.same({ { id = "n2", silent_ms = 2000 }, { id = "n3", silent_ms = 2000 } }, w.n1:told_of "peer_lost")
    assert.equal(2, turn_at(w, heard + 3 * ELECTION_US))
    assert.equal(1, w.n1:logged "warn has lost n2 after 2000 ms of silence")
  end)

  it("is looked for four times in an election timeout", function()
    local w <close> = world.cluster()
    local heard = all_heard(w)
    w:isolate "n1"
    assert.equal(0, turn_at(w, heard + ELECTION_US))
    local looked = heard + 2 * ELECTION_US - 1
    assert.equal(0, turn_at(w, looked))
    assert.equal(0, turn_at(w, looked + 249999))
    assert.equal(2, turn_at(w, looked + 250000))
  end)

  it("is heard again, once, and lost again", function()
    local w <close> = world.cluster()
    w.n1.events, w.n1.log = {}, {}
    for round = 1, 2 do
      w:isolate "n3"
      w:advance(2500)
      assert.same({ round, round - 1 }, { #w.n1:told_of "peer_lost", #w.n1:told_of "peer_regained" })
      w:heal "n3"
      w:advance(1000)
      assert.same({ round, round }, { #w.n1:told_of "peer_lost", #w.n1:told_of "peer_regained" })
      local again = w.n1:told_of "peer_regained" [round]
      assert.equal("n3", again.id)
      assert.is_true(again.silent_ms >= 2500 and again.silent_ms <= 2700, again.silent_ms)
      w:advance(1000)
    end
    assert.is_true(w.n1.host:is_leader())
    assert.equal(2, w.n1:logged "info hears again from n3 after 2%d%d%d ms of silence")
    assert.equal(2, w.n1:logged "warn has lost n3 after 2%d%d%d ms of silence")
  end)

  it("that is a member no more is missed by nobody", function()
    local w <close> = world.cluster()
    w.n1.events = {}
    w:isolate "n3"
    local ticket = w.n1:admin("remove", { id = "n3" })
    w:settle()
    assert.equal("ok", (w.n1:told(ticket)))
    w:advance(5000)
    assert.same({}, w.n1:told_of "peer_lost")
  end)

  it("is not looked for by a leader that stops and has left its core alone", function()
    local w <close> = world.cluster { settings = { stop_timeout_ms = 10000 } }
    for _, id in ipairs { "n2", "n3" } do -- then nobody can take its place
      w.n1:admin("demote", { id = id, force = true })
      w:advance(500)
    end
    w.n1.events = {}
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 60000 })
    w:settle()
    w.n1.host:stop()
    w:advance(5100)
    assert.same({ "Shutdown", 0 }, { w.n1.host:status().raft.state, w.n1.stopped })
    w:isolate "n1"
    assert.equal(0, turn_at(w, w.now + ELECTION_US))
    assert.equal(0, turn_at(w, w.now + 3 * ELECTION_US))
    assert.equal(0, w.n1.stopped)
  end)
end)

describe("how long nobody leads", function()
  it("is counted from the loss of the last leader, whatever is tried meanwhile", function()
    local w <close> = world.cluster()
    assert.equal(0, w.n2.host:load().leaderless_us)
    w.n1:crash()
    w:lose("n1", "n2")
    w:isolate "n3"
    while w.n2.leader ~= "" do w:advance(1) end
    local since = w.now - w.n2.host:load().leaderless_us
    assert.is_true(w.now - since <= 1000)
    w:advance(7000)
    assert.equal(w.now - since, w.n2.host:load().leaderless_us)
    local now = w.now
    w.now = since - 5 -- a clock that goes back
    assert.equal(0, w.n2.host:load().leaderless_us)
    w.now = now
    local term, deliver = w.n2.term, w.deliver
    w.deliver = function(self, p)
      return not (p.name == "vote" and self[p.to].role == "candidate") and deliver(self, p)
    end
    w:heal "n3"
    w:advance(7000) -- now it becomes a candidate again and again
    assert.is_true(w.n2.term > term)
    assert.equal(w.now - since, w.n2.host:load().leaderless_us)
    w.deliver = deliver
    w:elect "n2"
    assert.equal(0, w.n2.host:load().leaderless_us)
    w:advance(300)
    assert.same({ 0, 0 }, { w.n2.host:load().leaderless_us, w.n3.host:load().leaderless_us })
  end)
end)

describe("how long the disk has been asked", function()
  it("is nothing where the clock goes back", function()
    local w <close> = world.lone()
    w.n1.held = true
    w.n1:submit "x"
    w:settle()
    local now = w.now
    w.now = now - 5
    assert.equal(0, w.n1.host:load().disk_waits_us)
    w.now = now + 5
    assert.equal(5, w.n1.host:load().disk_waits_us)
  end)
end)

describe("how long a commit takes", function()
  local function commits(node) return node.host:timings().commit end

  it("is measured for each batch, from its proposal until it is committed here", function()
    local w <close> = world.lone()
    local before = commits(w.n1)
    local function took()
      local now = commits(w.n1)
      return { now.count - before.count, now.sum_us - before.sum_us }
    end
    w.n1:submit "x"
    w.n1:submit "y"
    w.n1:turn()
    w.now = w.now + 1000
    w.n1:submit "z"
    w.n1:turn()
    assert.same({ 0, 0 }, took())
    w.now = w.now + 4000
    w.n1:flush(1)
    w.n1:turn()
    assert.same({ 1, 5000 }, took())
    w.now = w.now + 2000
    w.n1:flush()
    w.n1:turn()
    assert.same({ 2, 5000 + 6000 }, took())
    w.now = w.now + 2000
    w.n1:turn()
    assert.same({ 2, 11000 }, took())
  end)

  it("is right also where more batches are under way than it keeps count of", function()
    local w <close> = world.lone()
    local before = commits(w.n1)
    for i = 1, 70 do
      w.n1:submit("c" .. i)
      w.n1:turn()
    end
    w.now = w.now + 3000
    w.n1:flush(1)
    w.n1:turn()
    assert.same({ 1, 3000 }, { commits(w.n1).count - before.count, commits(w.n1).sum_us - before.sum_us })
    w.n1:flush()
    w.n1:turn()
    local count = commits(w.n1).count - before.count
    assert.is_true(count > 1 and count <= 70, count)
    assert.equal(count * 3000, commits(w.n1).sum_us - before.sum_us)
  end)

  it("is the measure of a reign: what another leader committed was nobody's proposal here", function()
    local w <close> = world.cluster()
    local before = commits(w.n1)
    w:isolate "n1"
    w.n1:submit("lost", { timeout_ms = 60000 })
    w.n1:turn()
    w:elect "n2"
    for i = 1, 3 do w.n2:submit("c" .. i) end
    w:settle()
    w:heal "n1"
    while w.n1.host:applied() < w.n2.host:applied() do -- n1's own timer does not fire: it learns all at once
      w.now = w.n2.timer
      w.n2.timer = 0
      w.n2.host:timer()
      w:settle()
    end
    assert.is_false(w.n1.host:is_leader())
    assert.same(before, commits(w.n1))
    w:elect "n1"
    w.n1:submit "x"
    w.n1:turn()
    w.now = w.now + 7000
    w:settle()
    assert.same({ 1, 7000 }, { commits(w.n1).count - before.count, commits(w.n1).sum_us - before.sum_us })
  end)
end)

describe("events", function()
  it("of a node that has given up: none", function()
    local w <close> = world.lone()
    w.n1.events = {}
    w.n1:submit "exhaust"
    w:settle()
    assert.is_not_nil(w.n1.fatal)
    assert.same({}, w.n1.events)
    assert.equal("Shutdown", w.n1.host:status().raft.state)
  end)

  it("name voters and learners apart", function()
    local w <close> = world.cluster()
    w.n1.events = {}
    w.n1:admin("demote", { id = "n2", force = true })
    w:advance(500)
    for _, node in ipairs(w.nodes) do
      local told = node:told_of "configuration"
      assert.same({ { "n2" }, { "n1", "n3" } }, { told[#told].learners, told[#told].voters })
      assert.equal(node.host:status().configuration_index, told[#told].index)
    end
  end)

  it("of snapshots have the size only where it is known", function()
    local w <close> = world.cluster { settings = { trailing_entries = 0 } }
    w:isolate "n3"
    for i = 1, 20 do w.n1:submit("c" .. i) end
    w:settle()
    assert.is_false(w.n1.host:load().snapshot_taking)
    w.n1:admin "snapshot"
    w.n1:turn()
    assert.is_true(w.n1.host:load().snapshot_taking)
    w:settle()
    assert.is_false(w.n1.host:load().snapshot_taking)
    w.n3.events = {}
    w:heal "n3"
    w:advance(3000)
    local status = w.n1.host:status().snapshot
    local whole = { index = status.index, size = status.size }
    assert.is_true(status.size > 0)
    assert.same({ { whole }, { whole }, { { index = status.index } } }, { w.n1:told_of "snapshot_taken",
      w.n3:told_of "snapshot_installing", w.n3:told_of "snapshot_installed" })
  end)

  it("of a role, a term and a leader come with each of them, and not without", function()
    local w <close> = world.cluster()
    for _, node in ipairs(w.nodes) do node.events = {} end
    w:advance(2000)
    for _, node in ipairs(w.nodes) do assert.same({}, node.events) end
    w.n1:crash()
    w:lose("n1", "n2")
    w:lose("n1", "n3")
    w:elect "n2"
    w:advance(150)
    assert.equal("n2", w.n3.leader)
    assert.same({ { leader = "n2", role = "follower", term = w.n2.term } },
      { table.unpack(w.n3:told_of "leader", #w.n3:told_of "leader") })
    assert.equal(1, #w.n3:told_of "term")
    assert.same({}, w.n3:told_of "role")
  end)
end)

describe("the status in hashicorp/raft's names", function()
  it("says when the leader was heard last, in milliseconds from 1 on", function()
    local w <close> = world.cluster()
    w.n1:submit "x"
    w:settle()
    local heard = w.now
    local function contact(us)
      w.now = heard + us
      local status = w.n2.host:status()
      assert.equal(status.last_contact_ms .. "ms", status.raft.last_contact)
      return status.last_contact_ms
    end
    assert.same({ 1, 1, 1, 2, 45 }, { contact(0), contact(999), contact(1999), contact(2000), contact(45678) })
    assert.equal(1, contact(-5)) -- a clock that goes back
    assert.same({ 0, "0" }, { w.n1.host:status().last_contact_ms, w.n1.host:status().raft.last_contact })
  end)

  it("counts the other voters, of one that votes", function()
    local w <close> = world.cluster { nodes = 4 }
    assert.equal(3, w.n1.host:status().num_peers)
    w.n1:admin("demote", { id = "n2", force = true })
    w:advance(500)
    local peers, roles = {}, {}
    for i, node in ipairs(w.nodes) do
      local status = node.host:status()
      peers[i], roles[i] = status.num_peers, status.configuration[i].role
      assert.equal(status.num_peers, status.raft.num_peers)
      assert.same({ 4, "127.0.0.1:" .. 5000 + i }, { #status.configuration, status.configuration[i].address })
      assert.same(status.configuration, status.raft.latest_configuration)
    end
    assert.same({ 2, 0, 2, 2 }, peers)
    assert.same({ "voter", "learner", "voter", "voter" }, roles)
  end)

  it("calls whoever asks for votes a candidate, and one that has stopped shut down", function()
    local w <close> = world.cluster()
    assert.same({ "Leader", "Follower" }, { w.n1.host:status().raft.state, w.n2.host:status().raft.state })
    w:isolate "n2"
    w:advance(5000)
    assert.equal("Candidate", w.n2.host:status().raft.state)
    w.n3.host:stop()
    w:settle()
    assert.same({ 1, "Shutdown" }, { w.n3.stopped, w.n3.host:status().raft.state })
  end)

  it("is that of nobody where there is no cluster yet", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    local status = w.n1.host:status()
    assert.same({ {}, {}, 0, base.null, "never", "Follower" }, { status.configuration, status.raft.latest_configuration,
      status.num_peers, status.last_contact_ms, status.raft.last_contact, status.raft.state })
  end)
end)
