-- Edges of what comes from outside: hellos, refusals, what a leader says; and when a node is ready. Each was a guard
-- that nothing else missed (scripts/mutants).
local world = require "host.world"
local cluster = world.cluster

local function newcomer(w, id, join)
  return w:add(id, { address = "127.0.0.1:500" .. id:sub(2), join = join or { w.peers[1] } }):start()
end

local function calls(node)
  local list = {}
  for i, peer in ipairs(node.peers) do list[i] = peer.id .. " " .. peer.address:match "%d*$" end
  table.sort(list)
  return table.concat(list, ", ")
end

-- The hello of a later member of the cluster of `node`, of which nothing else is there.
local function later_member(node, id)
  local said = node.host:hello()
  said.id, said.incarnation, said.address, said.member_until = id, 7, "127.0.0.1:6001", 1000
  return said
end

describe("a node's hello", function()
  it("asks to join while it is blank and was started with --join, only", function()
    local w <close> = world.new { nodes = 1 }
    local other = w:add("n2", { address = "127.0.0.1:5002", peers = { "127.0.0.1:5001", "127.0.0.1:5002" } })
    other:start() -- blank: the other one of its list is not there
    assert.is_false(other.host:hello().joining)
    w.n1:start()
    w:elect "n1"
    newcomer(w, "n3")
    assert.is_true(w.n3.host:hello().joining)
    assert(w:connect("n1", "n3"))
    w:advance(1000)
    assert.not_equal(0, w.n3.disk.cluster)
    assert.is_false(w.n3.host:hello().joining)
  end)
end)

describe("a blank node", function()
  it("that hears from members while its first configuration is being stored will call them", function()
    local w <close> = cluster()
    newcomer(w, "n4").held = true
    assert(w:connect("n4", "n1"))
    w:settle()
    assert.equal(1, #w.n4.writes)
    assert.is_true(w.n4.host:receive_hello(later_member(w.n1, "n9")))
    w.n4.held = false
    w.n4:flush()
    assert.matches("n9 6001", calls(w.n4))
  end)

  it("of the first members does so, too, though whom it hears from came later", function()
    local w <close> = world.new { nodes = 3 }
    for _, node in ipairs(w.nodes) do node:start() end
    w.n3.held = true -- it has said hello, and stores nothing
    w:connect_all()
    w:settle()
    w.n3:crash()
    w.n3.held = false
    w.n3:start()
    assert.is_true(w.n3.host:receive_hello(later_member(w.n1, "n9")))
    w.n3:flush()
    assert.equal("n1 5001, n2 5002, n9 6001", calls(w.n3))
  end)

  it("does not keep in mind another that is blank", function()
    local w <close> = cluster()
    newcomer(w, "n4").held = true
    newcomer(w, "n5")
    assert(w:hello("n5", "n4"))
    assert(w:connect("n4", "n1"))
    w:settle()
    w.n4:flush()
    assert.equal("n1 5001, n2 5002, n3 5003", calls(w.n4))
  end)

  it("has not been removed from anything, whoever says so", function()
    local w <close> = cluster()
    newcomer(w, "n4")
    w.n4.host:refused("n2", "removed", "it was removed")
    w.n4:turn()
    assert.same({ false, 0 }, { w.n4.host:status().stopping, w.n4.stopped })
    assert(w:connect("n4", "n1"))
    w:advance(1000)
    assert.not_equal(0, w.n4.disk.cluster)
  end)

  it("calls those of its list for as long as it takes, and tells its transport once", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    w:advance(60000)
    assert.equal(1, w.n1.peers_told)
    newcomer(w, "n4")
    w:advance(60000)
    assert.equal(1, w.n4.peers_told)
  end)
end)

describe("a node that is to join", function()
  it("asks again by its own timer, whoever is silent", function()
    local w <close> = cluster()
    newcomer(w, "n4")
    assert.equal(0, w.n4.timer) -- it knows nobody to ask
    assert(w:hello("n1", "n4"))
    w.n4:turn()
    assert.equal(w.now + 4000000, w.n4.timer) -- four election timeouts
    w:take()
    w.now = w.n4.timer
    w.n4.host:timer()
    w.n4:turn()
    assert.equal(1, #w:take(function(p) return p.kind == "forward" end))
  end)
end)

describe("a follower", function()
  it("that hears its leader has no need to say hello again; one that hears none has, and a leader never", function()
    local w <close> = cluster()
    local told = { w.n1.peers_told, w.n2.peers_told, w.n3.peers_told }
    w:advance(40000)
    assert.same(told, { w.n1.peers_told, w.n2.peers_told, w.n3.peers_told })
    w:isolate "n3" -- it asks for votes, and hears nothing
    w:advance(20000)
    assert.same({ told[1], told[2] }, { w.n1.peers_told, w.n2.peers_told })
    assert.is_true(w.n3.peers_told > told[3])
  end)
end)

describe("a learner", function()
  it("that hears no leader wakes by itself to say hello again: it has no vote to ask for", function()
    local w <close> = cluster()
    newcomer(w, "n4")
    assert(w:connect("n1", "n4"))
    local t = w.n1:admin("add", { id = "n4", address = "127.0.0.1:5004", learner = true })
    w:advance(1000)
    assert.equal("ok", (w.n1:told(t)))
    w:isolate "n4"
    local told, now = w.n4.peers_told, w.now
    while w.n4.peers_told == told do
      assert.is_true(w.n4.timer > 0 and w.n4.timer <= now + 16000000)
      w.now = math.max(w.now, w.n4.timer)
      w.n4.timer = 0
      w.n4.host:timer()
      w.n4:turn()
    end
    assert.is_true(w.now - now >= 7000000) -- eight election timeouts after what it heard last
  end)
end)

describe("a leader that leads no more", function()
  it("passes on what an operator asked of it, at once", function()
    local w <close> = cluster()
    local t = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005" }) -- waits for n5
    w.n1:turn()
    w:isolate "n1"
    w:elect "n2"
    w:heal "n1"
    repeat -- until n2 speaks to it
      w.now = w.n2.timer
      w.n2.host:timer()
      w.n2:turn()
      w.n1:turn() -- it believes that it leads, and has asked for n5 just now
    until w:deliver_all(function(p) return p.to == "n1" end)
    assert.equal("n2", w.n1.leader)
    assert.is_true(w.n1.host:turn())
    assert.is_false(w.n1.host:turn())
    local passed = w:take(function(p) return p.kind == "forward" end)
    assert.same({ 1, "n2" }, { #passed, passed[1].to })
    assert.is_nil(w.n1:told(t))
  end)
end)

describe("a node is ready", function()
  it("only while it is a member as far as it knows", function()
    local w <close> = cluster()
    assert.is_true(w.n1.host:ready())
    w:isolate "n1"
    w.n1:admin("remove", { id = "n1" }) -- nobody hears of it, and it leads on
    w.n1:turn()
    assert.same({ true, false, false }, { w.n1.host:is_leader(), w.n1.host:ready(), w.n1.host:status().stopping })
  end)

  it("when it has applied what was committed as it first knew the leader and the app", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    for i = 1, 5 do w.n1:submit("c" .. i) end
    w:settle()
    w.n1:crash()
    w.n1.on_apply = function() w.now = w.now + 10 end
    w.n1.on_load = w.n1.on_apply
    w.n1:start { apply_slice_us = 10 }
    local ready_at
    for _ = 1, 100 do
      w.n1.host:turn()
      w.n1:flush()
      w.n1:read_log()
      if w.n1.host:ready() then ready_at = ready_at or #w.n1.machine.commands end
    end
    assert.equal(5, ready_at)
  end)

  it("again when it has applied what it missed, though it hears of leader and commands in one turn", function()
    local w <close> = world.new { nodes = 3 }
    w.n3.options.apply_slice_us = 10
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    w.n3.on_apply = function() w.now = w.now + 10 end
    w:isolate "n3"
    while w.n3.leader ~= "" do
      w.now = math.max(w.now, w.n3.timer)
      w.n3.host:timer()
      w.n3:turn()
    end
    assert.is_false(w.n3.host:ready())
    for i = 1, 5 do w.n1:submit("c" .. i) end
    w:settle()
    w:heal "n3"
    repeat
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w.n1:turn()
      w:deliver_all()
      w.n2:turn()
    until #w.n3.writes > 0
    w:deliver_all()
    w.n3:flush()
    for applied = 1, 5 do
      w.n3.host:turn()
      assert.same({ "n1", applied, applied == 5 }, { w.n3.leader, #w.n3.machine.commands, w.n3.host:ready() })
    end
  end)
end)
