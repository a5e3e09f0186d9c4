-- Edges of who is who: whom the transport is told of, what a hello is worth, and when a node believes that it was
-- removed. Most were a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local wire = require "moonclave.wire"
local world = require "host.world"
local cluster = world.cluster

local NOOP, CONFIGURATION = 0, 1 -- types of entries
local VOTER, LEARNER = 0, 1

local function order(w, action, arguments)
  local ticket = w.n1:admin(action, arguments)
  for _ = 1, 100 do
    if w.n1:told(ticket) then return w.n1:told(ticket) end
    w:advance(50)
  end
  error("no answer", 2)
end

local function server(node, role, more)
  local made = { id = node.id, incarnation = node.disk.incarnation, role = role, priority = 0, labels = {},
    addresses = { { kind = "node", host = "127.0.0.1", port = 5000 + tonumber(node.id:match "%d+") } } }
  for k, v in pairs(more or {}) do made[k] = v end
  return made
end

-- The nodes have stored that these are the first servers.
local function store(w, servers)
  local bytes = formats.configuration_encode { previous = 0, outgoing = {}, servers = servers }
  for _, node in ipairs(w.nodes) do node.disk.configuration, node.disk.cluster = bytes, base.hash(bytes) end
end

-- Entries as they follow each other in a log.
local function chained(list)
  local chain = 0
  for i, entry in ipairs(list) do
    for key, value in pairs { flags = 0, time_ms = 1, seed = 0, session = 0, sequence = 0, payload = "" } do
      entry[key] = entry[key] or value
    end
    entry.index = i
    entry.chain = formats.entry_chain(entry, chain)
    chain = entry.chain
  end
  return list
end

local function append(from, to, fields)
  local frame = { type = "append", from = from, to = to, prev_index = 0, prev_term = 0, commit = 0, round = 0,
    state_index = 0, state_chain = 0, entries = {} }
  for k, v in pairs(fields) do frame[k] = v end
  return wire.encode(frame)
end

describe("the transport", function()
  it("is told when somebody comes, moves or goes, and of nothing else", function()
    local w <close> = cluster()
    w.n3:crash()
    local told = w.n1.peers_told
    assert.equal("ok", (order(w, "priority", { id = "n2", priority = 5 })))
    assert.equal(told, w.n1.peers_told)
    assert.equal("ok", (order(w, "address", { id = "n2", address = "127.0.0.1:5222" })))
    assert.equal(told + 1, w.n1.peers_told)
    assert.same({ { id = "n2", address = "127.0.0.1:5222" }, { id = "n3", address = w.peers[3] } }, w.n1.peers)
    assert.equal("ok", (order(w, "remove", { id = "n3" })))
    assert.equal(told + 2, w.n1.peers_told)
    assert.same({ id = "n3", address = w.peers[3] }, w.n1.peers[2]) -- who has to hear of it
    assert.equal("ok", (order(w, "priority", { id = "n2", priority = 6 })))
    assert.equal(told + 2, w.n1.peers_told)
    w:advance(6000)
    assert.equal("ok", (order(w, "priority", { id = "n2", priority = 7 })))
    assert.equal(told + 3, w.n1.peers_told)
    assert.same({ { id = "n2", address = "127.0.0.1:5222" } }, w.n1.peers) -- ... but not for ever
  end)

  it("is to call whom an operator wants to add", function()
    local w <close> = cluster()
    w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005" })
    w:settle()
    assert.same({ id = "n5", address = "127.0.0.1:5005" }, w.n1.peers[3])
  end)

  it("calls nobody whose address is not known, or is longer than an address can be", function()
    for _, addresses in ipairs {
      { { kind = "http", host = "127.0.0.1", port = 80 } }, { { kind = "node", host = ("h"):rep(300), port = 5002 } },
    } do
      local w <close> = world.new { nodes = 3 }
      store(w, { server(w.n1, VOTER), server(w.n2, VOTER, { addresses = addresses }), server(w.n3, VOTER) })
      w.n1:start()
      assert.same({ { id = "n3", address = w.peers[3] } }, w.n1.peers)
    end
  end)

  it("calls the successor where a former self is still known as the member", function()
    local w <close> = cluster()
    local said = w.n3.host:hello()
    said.incarnation, said.address, said.member_until = said.incarnation + 1000, "127.0.0.1:5333", 1000
    assert(w.n1.host:receive_hello(said))
    assert.same({ { id = "n2", address = w.peers[2] }, { id = "n3", address = "127.0.0.1:5333" } }, w.n1.peers)
  end)
end)

describe("a change of members", function()
  it("leaves a broken connection as broken as it was", function()
    local w <close> = cluster()
    w.n1:admin("priority", { id = "n3", priority = 1 })
    w.n1:turn()
    local packet = w:take(function(p) return p.to == "n2" end)[1]
    w.n2.host:peer_lost "n1"
    w.n2.host:receive(w.n1:identity(), packet.frame) -- what had arrived on it
    assert.equal(3, w.n2.host:status().configuration_index)
    w.n2:submit "x"
    w.n2:turn()
    assert.same({}, w:take(function(p) return p.kind == "forward" end))
    assert(w:hello("n1", "n2"))
    w.n2:turn()
    assert.equal(1, #w:take(function(p) return p.kind == "forward" end))
  end)

  it("does not make one say again what has been said of another's program", function()
    local w <close> = cluster()
    assert(w:hello("n2", "n1", { lua_release = "5.4.6" }))
    assert.equal("ok", (order(w, "priority", { id = "n3", priority = 1 })))
    assert(w:hello("n2", "n1", { lua_release = "5.4.6" }))
    assert.equal(1, w.n1:logged "n2 runs Lua 5.4.6")
  end)
end)

describe("a member that hears no leader", function()
  it("says hello again to all after eight election timeouts, and not before", function()
    local w <close> = cluster()
    w:advance(20000)
    w:isolate "n2"
    local told = w.n2.peers_told
    w:advance(7800)
    assert.equal(told, w.n2.peers_told)
    w:advance(400)
    assert.equal(told + 1, w.n2.peers_told)
    w:advance(7600)
    assert.equal(told + 1, w.n2.peers_told)
    w:advance(400)
    assert.equal(told + 2, w.n2.peers_told)
  end)

  it("counts from its start, if it never heard one", function()
    local w <close> = cluster()
    w:advance(20000)
    for _, node in ipairs(w.nodes) do node:crash() end
    w.n2:start()
    w:advance(7900)
    assert.equal(1, w.n2.peers_told)
    w:advance(200)
    assert.equal(2, w.n2.peers_told)
  end)

  it("is neither who leads nor who follows", function()
    local w <close> = cluster()
    local told = { w.n1.peers_told, w.n2.peers_told, w.n3.peers_told }
    w:advance(60000)
    assert.same(told, { w.n1.peers_told, w.n2.peers_told, w.n3.peers_told })
  end)

  it("bothers nobody while it stops", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 60000 } }
    w:isolate "n2"
    w.n2:submit("x", { timeout_ms = 100000 })
    w.n2:turn()
    w.n2.host:stop()
    local told = w.n2.peers_told
    w:advance(25000)
    assert.same({ 0, told }, { w.n2.stopped, w.n2.peers_told })
  end)

  it("is none while it is blank: it calls those that it was started with", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    for _ = 1, 3 do
      w.n1:turn()
      w.now = w.now + 20000000
    end
    w.n1:turn()
    assert.equal(1, w.n1.peers_told)
    assert.same({ { id = "", address = w.peers[2] }, { id = "", address = w.peers[3] } }, w.n1.peers)
  end)
end)

describe("a server that was let in anew under an old id", function()
  -- n3 has lost its disk and joined again; n1 and n2 know its former self. n2 is away.
  local function anew()
    local w = cluster()
    w.n2:crash()
    w.n3:crash()
    w.n3:wipe()
    w.n3.disk.cluster, w.n3.disk.configuration = w.n1.disk.cluster, w.n1.disk.configuration
    w.n3:start()
    return w
  end

  local function meets(w)
    assert(w:hello("n3", "n1", { member_until = 1000 })) -- as in a configuration that has not arrived here
    w.n3.heard.n1 = w.n1:identity()
    w.links["n1-n3"] = true
  end

  it("has no vote and no acknowledgement that counts for its former self", function()
    local w <close> = anew()
    meets(w)
    local t = w.n1:submit "lost"
    w:advance(20000)
    assert.equal("timeout", w.n1:answer(t))
    assert.is_false(w.n1.host:is_leader())
    assert.equal(w.n3.term, w.n1.term) -- they do speak
  end)

  it("is heard as the leader, if it is the one that said hello, and of this cluster", function()
    local w <close> = anew()
    local frame = append("n3", "n1", { term = 77 })
    local it = w.n3:identity()
    w.n1.host:receive(it, frame)
    assert.equal("n1", w.n1.leader) -- nobody has said that it is n3
    meets(w)
    w.n1.host:receive({ id = "n3", incarnation = it.incarnation, cluster = 0 }, frame)
    w.n1.host:receive({ id = "n3", incarnation = it.incarnation + 1, cluster = it.cluster }, frame)
    assert.equal("n1", w.n1.leader)
    w.n1.host:receive(it, frame)
    assert.same({ "n3", 77 }, { w.n1.leader, w.n1.term })
  end)

  it("finds itself in a configuration that is not known to be committed here, or has lost its data", function()
    local w <close> = anew()
    local commit = w.n1.host:status().commit_index
    local function says(change) return select(2, w:hello("n3", "n1", change)) end
    assert.equal("wiped", says { member_until = commit + 1 })
    assert.equal("wiped", says { member_until = commit + 100, cluster = 0, joining = true }) -- it is blank
    assert.is_nil(says { member_until = commit + 2 })
  end)
end)

describe("a node that is removed", function()
  it("goes by the entry that says so, also where that follows on one that named it", function()
    local w <close> = cluster()
    local _, first = order(w, "priority", { id = "n3", priority = 1 })
    local _, second = order(w, "remove", { id = "n3" })
    assert.equal(first.index + 1, second.index)
    w:advance(300)
    assert.equal(1, w.n3.stopped)
    assert.equal(1, w.n3:logged "removed from the cluster %(the configuration says so%)")
  end)

  it("goes once that is committed, and not before", function()
    local w <close> = world.new { nodes = 3 }
    local first = { server(w.n1, VOTER), server(w.n2, VOTER), server(w.n3, VOTER) }
    store(w, first)
    w.n3:start()
    local n1 = { id = "n1", incarnation = w.n1.disk.incarnation, cluster = w.n1.disk.cluster }
    local bytes = formats.configuration_encode { previous = 0, outgoing = {}, servers = { first[1], first[2] } }
    local log = chained { { type = NOOP, term = 1 }, { type = CONFIGURATION, term = 1, payload = bytes } }
    w.n3.host:receive(n1, append("n1", "n3", { term = 1, commit = 1, entries = log }))
    w:settle()
    assert.same({ 1, 2, 0 },
      { w.n3.host:status().applied_index, w.n3.host:status().configuration_index, w.n3.stopped })
    w.n3.host:receive(n1, append("n1", "n3", { term = 1, prev_index = 2, prev_term = 1, commit = 2 }))
    w:settle()
    assert.equal(1, w.n3.stopped)
  end)

  it("says until when it was one, also after a restart, and not what its former self was", function()
    local w <close> = world.new { nodes = 3 }
    local first = { server(w.n1, VOTER), server(w.n2, VOTER), server(w.n3, VOTER) }
    store(w, first)
    local function bytes(previous, servers)
      return formats.configuration_encode { previous = previous, outgoing = {}, servers = servers }
    end
    for i, entry in ipairs(chained {
      { type = NOOP, term = 1 }, { type = CONFIGURATION, term = 1, payload = bytes(0, first) },
      { type = NOOP, term = 1 }, { type = CONFIGURATION, term = 1, payload = bytes(2, { first[1], first[2] }) },
    }) do w.n3.disk.entries[i] = formats.entry_encode(entry) end
    w.n3.disk.term = 1
    assert.equal(3, w.n3:start().host:hello().member_until)
    w.n3:crash()
    w.n3.disk.incarnation = w.n3.disk.incarnation + 1000
    assert.equal(0, w.n3:start().host:hello().member_until)
    w.n3:crash()
    w.n3.disk.entries[4] = nil
    assert.equal(0, w.n3:start().host:hello().member_until) -- that names an n3, but not this one
  end)

  it("is told so by whoever knows a later configuration than it does, and by nobody else", function()
    local w <close> = cluster()
    local _, answer = order(w, "remove", { id = "n3" })
    local function says(until_index)
      return select(2, w:hello("n3", "n1", { member_until = until_index + 1 }))
    end
    assert.equal("removed", says(0))
    assert.equal("removed", says(answer.index))
    assert.is_nil(says(answer.index + 1))
  end)

  it("is not one that was let in by an entry which was taken back", function()
    local w <close> = world.new { nodes = 3 }
    local n4 = w:add("n4", { address = "127.0.0.1:5004" })
    local first = { server(w.n1, VOTER), server(w.n2, VOTER), server(w.n3, VOTER) }
    store(w, first)
    local function with_n4(previous)
      local servers = { first[1], first[2], first[3], server(n4, LEARNER) }
      return formats.configuration_encode { previous = previous, outgoing = {}, servers = servers }
    end
    local had = chained {
      { type = NOOP, term = 1 }, { type = NOOP, term = 1 }, { type = CONFIGURATION, term = 1, payload = with_n4(0) },
    }
    for i, entry in ipairs(had) do n4.disk.entries[i] = formats.entry_encode(entry) end
    n4.disk.term = 2
    n4:start()
    assert.equal(3, n4.host:status().configuration_index)
    -- The next leader had not got that, and lets it in once more; its entries come one by one.
    local has = chained {
      { type = NOOP, term = 1 }, { type = NOOP, term = 1 }, { type = NOOP, term = 2 },
      { type = CONFIGURATION, term = 2, payload = with_n4(0) },
    }
    local n2 = { id = "n2", incarnation = w.n2.disk.incarnation, cluster = w.n2.disk.cluster }
    for i = 3, 4 do
      n4.host:receive(n2, append("n2", "n4", {
        term = 2, prev_index = i - 1, prev_term = has[i - 1].term, commit = i - 1, entries = { has[i] },
      }))
      w:settle()
      assert.same({ 0, i == 3 and 0 or 4, i - 1 },
        { n4.stopped, n4.host:status().configuration_index, n4.host:status().applied_index })
    end
    assert.equal(0, n4:logged "removed")
    assert.is_false(n4.host:status().stopping)
  end)

  it("is none that has stored its first configuration and does not begin: it knows of no other yet", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    w.n2:start()
    local blank = w.n2.host:hello()
    w:connect_all()
    w:settle()
    w.n1:crash()
    w.n1:wipe()
    w.n1:start()
    assert(w.n1.host:receive_hello(blank)) -- late: it is from before n2 became a member
    assert.is_nil(w.n1.host:receive_hello(w.n2.host:hello()))
    w.n1:flush() -- it stores what it began with, and takes no part: it is wiped
    assert.equal("blank", w.n1.host:status().role)
    local said = w.n2.host:hello()
    said.cluster = w.n1:identity().cluster
    assert.is_true(said.member_until > 0)
    assert(w.n1.host:receive_hello(said))
  end)
end)
