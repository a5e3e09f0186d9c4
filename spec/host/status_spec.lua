-- What a node says of itself, in Raft's names.
local base = require "moonclave.base"
local world = require "host.world"

describe("status", function()
  it("of a blank node says that it is one", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    local s = w.n1.host:status()
    assert.are.same({ "blank", 0, "", "n1", false }, { s.role, s.term, s.leader, s.id, s.ready })
    assert.are.equal("0000000000000000", s.cluster)
    assert.are.equal(0, #w.n1.host:members())
  end)

  it("names roles, indexes, the app and the leader", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n1:submit "x"
    w:advance(150)
    local leader, follower = w.n1.host:status(), w.n2.host:status()
    assert.are.same({ "leader", "n1", "n1" }, { leader.role, leader.leader, leader.voted_for })
    assert.are.same({ "follower", "n1", w.peers[1] }, { follower.role, follower.leader, follower.leader_address })
    for _, key in ipairs {
      "commit_index", "applied_index", "last_index", "last_term", "durable_index", "first_index", "term", "cluster",
      "chain", "state_hash", "configuration_index", "format_level", "time_ms",
    } do
      assert.are.equal(leader[key], follower[key], key)
    end
    assert.are.same({ 3, 3 }, { leader.commit_index, leader.applied_index })
    assert.are.same({ 1, 3 }, { leader.first_index, leader.last_index })
    assert.are.same({ true, 2 }, { leader.app.loaded, leader.app.version })
    assert.are.equal(16, #leader.app.hash)
    assert.are.equal(2, #leader.peers)
    assert.are.same({ "n2", 3, "replicate" }, { leader.peers[1].id, leader.peers[1].match, leader.peers[1].progress })
    assert.are.equal(0, #follower.peers)
    assert.is_false(leader.disk_full)
    assert.same({ count = 2, p50_us = 0, p99_us = 0 }, leader.commit_latency) -- nothing takes time in this world
    assert.equal(base.null, follower.commit_latency)
    w:advance(10000) -- only of the last seconds
    assert.equal(base.null, w.n1.host:status().commit_latency)
    assert.is_true(leader.ready)
    assert.are.equal(w.n1.host:hello().incarnation, tonumber(leader.incarnation, 16))
  end)
end)

describe("members", function()
  it("are the configuration's, with what the leader knows of each", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n2"
    w:isolate "n3"
    w.n2:submit "x"
    w:advance(250)
    local members = w.n2.host:members()
    local function pick(m) return { m.id, m.address, m.role, m.state, m.match, m.lag } end
    assert.are.same({ "n1", w.peers[1], "voter", "follower", 3, 0 }, pick(members[1]))
    assert.are.same({ "n2", w.peers[2], "voter", "leader", 3, 0 }, pick(members[2]))
    assert.are.same({ "n3", w.peers[3], "voter", "follower", 2, 1 }, pick(members[3]))
    assert.is_true(members[1].contact_ms < members[3].contact_ms)
    local elsewhere = w.n1.host:members()
    assert.are.equal("leader", elsewhere[2].state)
    assert.are.equal("userdata", type(elsewhere[2].match)) -- null: only the leader knows
  end)
end)

describe("a port", function()
  it("that raises, raises in the call it was in", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    w.n1.on_query = function() error "here" end
    w.n1:query "q"
    assert.has_error(function() w.n1.host:turn() end)
  end)
end)
