-- What a node watches: its disk, applying, those it leads; what it says of it; and what it does when its disk does not
-- answer.
local base = require "moonclave.base"
local world = require "host.world"

local ELECTION_MS = 1000

local function names(events)
  local list = {}
  for i, event in ipairs(events) do list[i] = event.type end
  return table.concat(list, " ")
end

-- n1's writes wait from now on; a command is on its way.
local function stalled()
  local w = world.cluster()
  w.n1.events = {}
  w.n1.held = true
  local ticket = w.n1:submit("x", { timeout_ms = 60000 })
  w:settle()
  return w, ticket
end

describe("a leader whose disk does not answer", function()
  it("hands leadership over after an election timeout, and what it had proposed is done", function()
    local w <close>, ticket = stalled()
    w:advance(ELECTION_MS - 10)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(0, w.n1:counters().handovers)
    w:advance(100)
    assert.is_false(w.n1.host:is_leader())
    local leader = w.n2.host:is_leader() and w.n2 or w.n3
    assert.is_true(leader.host:is_leader())
    assert.same({ { reason = "slow_disk" } }, w.n1:told_of "handover")
    assert.equal(1, w.n1:counters().handovers)
    assert.equal(1, w.n1:logged "warn its disk has not answered for 1%d%d%d ms: hands leadership over")
    assert.equal(1, #leader.machine.commands) -- the entry was sent beside the write that stands
    local other = w.n1:submit("y", { timeout_ms = 60000 }) -- goes to whoever leads
    w:advance(200)
    assert.equal("ok done 2 y", w.n1:answer(other))
    assert.is_nil(w.n1:answer(ticket))
    w.n1.held = nil
    w:advance(200)
    assert.equal("ok done 1 x", w.n1:answer(ticket))
    assert.equal(leader.host:applied(), w.n1.host:applied())
  end)

  it("leads on while nobody can take it, and tries again", function()
    local w <close> = stalled()
    for _, name in ipairs { "n2", "n3" } do w[name].held = true end
    w:advance(2 * ELECTION_MS) -- who takes over would have to write its vote
    assert.equal(1, w.n1:counters().handovers)
    local leaders = 0
    for _, node in ipairs(w.nodes) do if node.host:is_leader() then leaders = leaders + 1 end end
    assert.is_true(leaders <= 1)
    for _, node in ipairs(w.nodes) do node.held = nil end
    w:advance(5 * ELECTION_MS)
    local ticket = w.n1:submit("z", { timeout_ms = 60000 })
    w:advance(500)
    assert.is_truthy(w.n1:answer(ticket):match "^ok")
  end)

  it("says within slow_disk_ms that the disk is slow, and later that it is quick again: two events", function()
    local w <close> = stalled()
    w:advance(200)
    assert.same({}, w.n1:told_of "slow_disk")
    w:advance(100)
    local slow = w.n1:told_of "slow_disk"
    assert.equal(1, #slow)
    assert.is_true(slow[1].slow)
    assert.equal(1, slow[1].count)
    w:advance(100)
    w.n1.held = nil
    w:advance(9000)
    assert.equal(1, #w.n1:told_of "slow_disk")
    w:advance(3000)
    slow = w.n1:told_of "slow_disk"
    assert.equal(2, #slow)
    assert.is_false(slow[2].slow)
    assert.equal(1, slow[2].count) -- what is told while it waits is not counted twice
    assert.is_true(slow[2].longest_ms >= 400 and slow[2].longest_ms < 600, slow[2].longest_ms)
    assert.equal(1, w.n1:counters().slow_writes)
  end)

  it("does not hand over for a disk with a long queue that moves", function()
    local w <close> = world.cluster()
    w.n1.held = true
    for i = 1, 30 do
      w.n1:submit("c" .. i, { timeout_ms = 600000 })
      w:settle()
      if i % 3 == 0 then w.n1:flush(1) end
      w:advance(200)
    end
    assert.is_true(#w.n1.writes > 10, #w.n1.writes) -- the oldest has waited for seconds
    assert.is_true(w.n1.host:is_leader())
    assert.equal(0, w.n1:counters().handovers)
  end)

  it("does not when it is the only one", function()
    local w <close> = world.lone()
    w.n1.held = true
    w.n1:submit("x", { timeout_ms = 60000 })
    w:advance(5 * ELECTION_MS)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(0, w.n1:counters().handovers)
  end)
end)

describe("a server whose disk does not answer", function()
  it("does not follow an order to campaign, which would depose whoever leads by the time it does", function()
    local w <close> = world.cluster()
    w.n2.held = true
    w.n1:submit "x"
    w:advance(ELECTION_MS + 200) -- n2 has had a write for so long
    local term = w.n1.term
    local ticket = w.n1:admin("transfer", { id = "n2" })
    w:settle()
    w.n2.held = nil
    w:advance(3 * ELECTION_MS)
    assert.equal("unavailable", w.n1:answer(ticket))
    assert.is_true(w.n1.host:is_leader())
    assert.equal(term, w.n1.term)
  end)
end)

describe("a full disk", function()
  it("is handed over at once, and told when it begins and when it ends", function()
    local w <close> = world.cluster()
    w.n1.events = {}
    local ticket = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    local now_us = w.now
    w.n1:refuse()
    w.n1.held = true
    w.n1:turn()
    w:settle()
    w:advance(50) -- less than a heartbeat
    assert.is_true(w.n2.host:is_leader() or w.n3.host:is_leader())
    assert.is_true(w.now - now_us < 100000)
    assert.same({ {} }, w.n1:told_of "disk_full")
    w.n1.held = nil
    w:advance(2000)
    assert.same({ {} }, w.n1:told_of "disk_room")
    assert.is_truthy(w.n1:answer(ticket))
    assert.equal(w.n2.host:applied(), w.n1.host:applied())
  end)
end)

describe("applying", function()
  it("that takes longer than slow_apply_ms is told with the entry", function()
    local w <close> = world.new { nodes = 1, settings = { slow_apply_ms = 50 } }
    w.n1:start { apply_slice_us = 1000 }
    w:settle()
    w.n1.on_apply = function(_, body) w.now = w.now + (body == "slow" and 70000 or 10) end
    w.n1.events = {}
    w.n1:submit "quick"
    w.n1:submit "slow"
    w.n1:submit "quick too"
    w:settle()
    local told = w.n1:told_of "slow_apply"
    assert.equal(1, #told)
    assert.same({ 70, true, 1 }, { told[1].longest_ms, told[1].slow, told[1].count })
    assert.equal("slow", w.n1.machine.commands[2].body)
    assert.equal(w.n1.machine.commands[2].entry.index, told[1].index)
    assert.equal(1, w.n1:counters().slow_applies)
    w:advance(11000)
    assert.is_false(w.n1:told_of "slow_apply" [2].slow)
  end)
end)

describe("a leader", function()
  it("tells of a server that is silent for two election timeouts, and when it is heard again", function()
    local w <close> = world.cluster()
    w.n1.events = {}
    w:isolate "n3"
    w:advance(2 * ELECTION_MS - 100)
    assert.same({}, w.n1:told_of "peer_lost")
    w:advance(500)
    local lost = w.n1:told_of "peer_lost"
    assert.equal(1, #lost)
    assert.equal("n3", lost[1].id)
    assert.is_true(lost[1].silent_ms >= 2 * ELECTION_MS and lost[1].silent_ms < 3 * ELECTION_MS)
    w:heal "n3"
    w:advance(1000)
    local leader = w.n1.host:is_leader() and w.n1
    if leader then assert.equal("n3", w.n1:told_of "peer_regained" [1].id) end
    assert.equal(1, #w.n1:told_of "peer_lost")
  end)

  it("watches anew in each term: what it knew of a former one is no silence", function()
    local w <close> = world.cluster()
    w:isolate "n1"
    w:advance(20 * ELECTION_MS)
    w:heal "n1"
    w:advance(3 * ELECTION_MS)
    w.n1.events = {}
    if not w.n1.host:is_leader() then w:elect "n1" end
    w:advance(ELECTION_MS)
    assert.same({}, w.n1:told_of "peer_lost")
  end)
end)

describe("events", function()
  it("tell of roles, terms, leaders, members and readiness, in this order", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    assert.equal("configuration role role term role leader ready", names(w.n1.events))
    assert.same({ leader = "n1", role = "leader", term = 1 }, w.n1:told_of "leader" [1])
    assert.same({ index = 0, learners = {}, voters = { "n1", "n2", "n3" } }, w.n1:told_of "configuration" [1])
    assert.same({ { ready = true } }, w.n1:told_of "ready")
    assert.equal("configuration term leader ready", names(w.n2.events))
    w.n2.host:stop()
    w:settle()
    assert.equal("stopping ready", names { table.unpack(w.n2.events, 5) })
    assert.same({ ready = false }, w.n2.events[6].data)
  end)

  it("tell of snapshots: taken, and installed at one that was away", function()
    local w <close> = world.cluster { settings = { trailing_entries = 0 } }
    w:isolate "n3"
    for i = 1, 20 do w.n1:submit("c" .. i) end
    w:settle()
    w.n1:admin "snapshot"
    w:advance(500)
    local taken = w.n1:told_of "snapshot_taken"
    assert.equal(1, #taken)
    assert.is_true(taken[1].index >= 20 and taken[1].size > 0)
    w.n3.events = {}
    w:heal "n3"
    w:advance(3000)
    assert.equal(taken[1].index, w.n3:told_of "snapshot_installing" [1].index)
    assert.equal(taken[1].index, w.n3:told_of "snapshot_installed" [1].index)
  end)
end)

describe("the status", function()
  it("has what Stats of hashicorp/raft has, under its names", function()
    local w <close> = world.cluster()
    w.n1:submit "x"
    w:advance(300)
    for _, node in ipairs { w.n1, w.n2 } do
      local s = node.host:status()
      local raft = s.raft
      assert.same({ s.applied_index, s.commit_index, s.fsm_pending, s.last_index, s.last_term, s.snapshot.index,
        s.snapshot.term, s.configuration_index, s.num_peers, s.term },
        { raft.applied_index, raft.commit_index, raft.fsm_pending, raft.last_log_index, raft.last_log_term,
          raft.last_snapshot_index, raft.last_snapshot_term, raft.latest_configuration_index, raft.num_peers,
          raft.term })
      assert.equal(2, s.num_peers)
      assert.same(s.configuration, raft.latest_configuration)
      assert.same({ "n1", "n2", "n3" }, { s.configuration[1].id, s.configuration[2].id, s.configuration[3].id })
      assert.equal("voter", s.configuration[1].role)
      for _, key in ipairs { "protocol_version", "protocol_version_min", "protocol_version_max",
        "snapshot_version_min", "snapshot_version_max" } do
        assert.equal(1, raft[key], key)
      end
    end
    local leader, follower = w.n1.host:status(), w.n2.host:status()
    assert.same({ "Leader", "0", 0 }, { leader.raft.state, leader.raft.last_contact, leader.last_contact_ms })
    assert.equal("Follower", follower.raft.state)
    assert.equal(follower.last_contact_ms .. "ms", follower.raft.last_contact)
    assert.is_true(follower.last_contact_ms <= 100)
    local lonely <close> = world.new { nodes = 3 }
    lonely.n1:start()
    local blank = lonely.n1.host:status()
    assert.same({ "never", 0 }, { blank.raft.last_contact, blank.num_peers })
    assert.equal(base.null, blank.last_contact_ms)
  end)
end)
