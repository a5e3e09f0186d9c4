-- Who else is spoken with: guests, servers that an operator expects, those who were removed. Each was a guard that
-- nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local world = require "host.world"

local MINUTE = 60000

local function cluster(nodes) return world.cluster { nodes = nodes } end

-- Whom a node's transport is to be connected with, in order; each once.
local function calls(node)
  local list, seen = {}, {}
  for _, peer in ipairs(node.peers) do
    assert(not seen[peer.id], peer.id .. " is called twice")
    assert(peer.id ~= node.id, "it calls itself")
    seen[peer.id] = true
    list[#list + 1] = peer.id .. " " .. peer.address:match "%d*$"
  end
  table.sort(list)
  return table.concat(list, ", ")
end

-- A blank node that is to join says hello to `node`: nothing of it is there but what it says.
local function greets(node, id, fields)
  local said = node.host:hello()
  said.id, said.incarnation, said.cluster, said.joining = id, 7, 0, true
  said.address, said.member_until, said.configuration = "127.0.0.1:6001", 0, ""
  for k, v in pairs(fields or {}) do said[k] = v end
  return node.host:receive_hello(said)
end

-- What `node` answers to a request of somebody outside; nil: nothing.
local function asks(node, identity, kind)
  local w = node.world
  w.ticket = w.ticket + 1
  local ticket = w.ticket
  local body = base.pack { "join", base.object { id = identity.id, address = "127.0.0.1:6001", incarnation = 7 } }
  node.host:forwarded({ id = identity.id, incarnation = identity.incarnation or 7, cluster = identity.cluster or 0 },
    ticket, { kind = kind or "admin", timeout_ms = 1000, body = body })
  node:turn()
  local answers = w:take(function(p) return p.kind == "forward_reply" and p.ticket == ticket end)
  return answers[1] and answers[1].code
end

-- A change of membership that changes nobody's address.
local function change(w)
  w.changes = (w.changes or 0) + 1
  local t = w.n1:admin("priority", { id = "n1", priority = w.changes })
  w:settle()
  assert.equal("ok", (w.n1:told(t)))
end

local function remove(w, id)
  local t = w.n1:admin("remove", { id = id })
  w:settle()
  assert.equal("ok", (w.n1:told(t)))
end

describe("a node that was let in and removed before it heard of either", function()
  it("asks on over the same connection, and is let in again", function()
    local w <close> = world.cluster { nodes = 3 }
    local n4 = w:add("n4", { address = "127.0.0.1:5004", join = { w.peers[1] } })
    n4:start()
    w:connect("n4", "n1")
    for _ = 1, 20 do -- everything but the answer
      w:take(function(p) return p.kind == "forward_reply" and p.to == "n4" end)
      for _, node in ipairs(w.nodes) do
        node:turn()
        node:flush()
        node:turn()
      end
      w:take(function(p) return p.kind == "forward_reply" and p.to == "n4" end)
      w:deliver_all()
    end
    assert.are.equal(4, #w.n1.host:members())
    assert.are.equal(0, n4.disk.cluster)
    local ticket = w.n1:admin("remove", { id = "n4" })
    w:advance(500)
    assert.are.equal("ok", (w.n1:told(ticket)))
    assert.are.equal(3, #w.n1.host:members())
    w:advance(5000) -- four election timeouts, and it asks again
    assert.are.equal(w.n1.disk.cluster, n4.disk.cluster)
    assert.are.equal(4, #w.n1.host:members())
  end)
end)

describe("a guest", function()
  it("is called at the address it says: told to the transport once, and anew when that or its data change", function()
    local w <close> = cluster()
    local told = w.n2.peers_told
    local function after(fields, count, expected)
      assert.is_true(greets(w.n2, "n4", fields))
      assert.same({ count, expected }, { w.n2.peers_told - told, calls(w.n2) })
    end
    after({}, 1, "n1 5001, n3 5003, n4 6001")
    after({}, 1, "n1 5001, n3 5003, n4 6001")
    after({ address = "127.0.0.1:6002" }, 2, "n1 5001, n3 5003, n4 6002")
    after({ address = "127.0.0.1:6002", incarnation = 8 }, 3, "n1 5001, n3 5003, n4 6002")
    after({ address = "127.0.0.1:6002", incarnation = 8 }, 3, "n1 5001, n3 5003, n4 6002")
  end)

  it("may ask to be let in, and nothing else, and nobody may in its name", function()
    local w <close> = cluster()
    assert.is_nil(asks(w.n2, { id = "n4" })) -- it has not said hello
    greets(w.n2, "n4")
    assert.equal("not_leader", asks(w.n2, { id = "n4" }))
    for _, kind in ipairs { "command", "query", "session", "keyed" } do
      assert.is_nil(asks(w.n2, { id = "n4" }, kind), kind)
    end
    assert.is_nil(asks(w.n2, { id = "n4", incarnation = 8 }))
    assert.is_nil(asks(w.n2, { id = "n4", cluster = 12345 }))
    assert.is_nil(asks(w.n2, { id = "n5" }))
  end)

  it("that was let in and has not heard of it may ask again; one with other data under its id may not", function()
    local w <close> = cluster()
    local t = w.n1:admin("add", { id = "n4", address = "127.0.0.1:6001", incarnation = 7, learner = true })
    w:settle()
    assert.equal("ok", (w.n1:told(t)))
    assert.equal("not_leader", asks(w.n2, { id = "n4" }))
    assert.is_nil(asks(w.n2, { id = "n4", incarnation = 8 }))
  end)

  it("that is silent for a minute is forgotten at the next change of membership; one that asks on is not", function()
    local w <close> = cluster()
    greets(w.n2, "n5", { address = "127.0.0.1:6005" })
    greets(w.n2, "n4")
    for _ = 1, 6 do
      w:advance(MINUTE // 6)
      assert.equal("not_leader", asks(w.n2, { id = "n5" }))
    end
    change(w)
    assert.equal("n1 5001, n3 5003, n5 6005", calls(w.n2))
    assert.is_nil(asks(w.n2, { id = "n4" }))
    assert.equal("not_leader", asks(w.n2, { id = "n5" }))
  end)

  it("is kept to the last microsecond of that minute", function()
    local w <close> = cluster()
    greets(w.n2, "n4")
    w:advance(MINUTE - 1)
    w.now = w.now + 999
    change(w)
    assert.equal("n1 5001, n3 5003, n4 6001", calls(w.n2))
  end)

  it("has one of sixteen places: whoever was silent longest makes room", function()
    local w <close> = cluster()
    local function name(i) return ("g%02d"):format(i) end
    local function there(gone)
      local list = {}
      for i = 1, 18 do if not gone[i] then list[#list + 1] = name(i) .. " 6001" end end
      return table.concat(list, ", ") .. ", n1 5001, n3 5003"
    end
    for i = 1, 16 do
      if i ~= 4 then w.now = w.now + 1 end -- 3 and 4 come at the same moment
      greets(w.n2, name(i))
    end
    w.now = w.now + 1
    greets(w.n2, name(1))
    assert.equal(there { [17] = true, [18] = true }, calls(w.n2))
    greets(w.n2, name(17))
    assert.equal(there { [2] = true, [18] = true }, calls(w.n2))
    greets(w.n2, name(18))
    assert.equal(there { [2] = true, [3] = true }, calls(w.n2)) -- of two, the one that came first
  end)

  it("that has become a member is called as one, and as nothing else when it is removed again", function()
    local w <close> = cluster()
    for _, id in ipairs { "n4", "n5" } do
      w:add(id, { address = "127.0.0.1:500" .. id:sub(2), join = { w.peers[1] } }):start()
      assert(w:connect(id, "n1"))
    end
    w:advance(1000)
    w:connect_all()
    w:advance(5000)
    assert.equal("n2 5002, n3 5003, n4 5004, n5 5005", calls(w.n1))
    remove(w, "n5")
    assert.equal("n2 5002, n3 5003, n4 5004, n5 5005", calls(w.n1)) -- to be told so
    local t = w.n1:admin("address", { id = "n4", address = "127.0.0.1:6004" })
    w:settle()
    assert.equal("ok", (w.n1:told(t)))
    assert.equal("n2 5002, n3 5003, n4 6004, n5 5005", calls(w.n1))
  end)
end)

describe("a blank node that is to join", function()
  it("goes on calling those of --join, whoever answers", function()
    local w <close> = cluster()
    w:add("n4", { address = "127.0.0.1:5004", join = { w.peers[1], w.peers[2] } }):start()
    local before = w.n4.peers
    assert(w:hello("n1", "n4"))
    assert(w:hello("n2", "n4"))
    assert.same({ 1, before }, { w.n4.peers_told, w.n4.peers })
    assert.same({ "", w.peers[1] }, { before[1].id, before[1].address })
  end)
end)

describe("a server that an operator wants to add", function()
  it("is called at the address he says, told to the transport once, and at another when he says another", function()
    local w <close> = cluster()
    local told = w.n1.peers_told
    w.n1:admin("add", { id = "n5", address = "127.0.0.1:6005" }, { timeout_ms = 1000 })
    w:advance(1500)
    assert.same({ 1, "n2 5002, n3 5003, n5 6005" }, { w.n1.peers_told - told, calls(w.n1) })
    w.n1:admin("add", { id = "n5", address = "127.0.0.1:6006" }, { timeout_ms = 1000 })
    w:advance(1500)
    assert.same({ 2, "n2 5002, n3 5003, n5 6006" }, { w.n1.peers_told - told, calls(w.n1) })
  end)

  it("and who is called already, being one that was removed, is not told to the transport again", function()
    local w <close> = cluster()
    w:isolate "n3"
    remove(w, "n3")
    local told = w.n1.peers_told
    w.n1:admin("add", { id = "n3", address = "127.0.0.1:5003" }, { timeout_ms = 1000 })
    w:advance(1500)
    assert.same({ 0, "n2 5002, n3 5003" }, { w.n1.peers_told - told, calls(w.n1) })
  end)

  it("and who has become a member otherwise is called where the configuration says", function()
    local w <close> = cluster()
    w.n1:admin("add", { id = "n5", address = "127.0.0.1:6005" }, { timeout_ms = 1000 })
    w:advance(1500)
    local t = w.n1:admin("add", { id = "n5", address = "127.0.0.1:5005", incarnation = 7, learner = true })
    w:settle()
    assert.equal("ok", (w.n1:told(t)))
    assert.equal("n2 5002, n3 5003, n5 5005", calls(w.n1))
  end)
end)

describe("a server that was removed", function()
  it("is called for a while, to be told so, and no longer", function()
    for ms, expected in pairs { [5999] = "n2 5002, n3 5003", [6000] = "n2 5002" } do
      local w <close> = cluster()
      w:isolate "n3"
      remove(w, "n3")
      assert.equal("n2 5002, n3 5003", calls(w.n1))
      assert.equal("n1 5001, n3 5003", calls(w.n2))
      w:advance(ms)
      change(w)
      assert.equal(expected, calls(w.n1))
    end
  end)

  it("is no guest until it says hello as one", function()
    local w <close> = cluster()
    local incarnation = w.n3.disk.incarnation
    remove(w, "n3")
    assert.is_nil(asks(w.n2, { id = "n3", incarnation = incarnation }))
    w.n3:crash()
    assert.is_true(greets(w.n2, "n3"))
    assert.equal("not_leader", asks(w.n2, { id = "n3" }))
  end)

  it("by itself does not call itself", function()
    local w <close> = cluster()
    local t = w.n1:admin("remove", { id = "n1" })
    w.n1:turn()
    assert.is_nil(w.n1:told(t)) -- it leads until that is committed
    assert.equal("n2 5002, n3 5003", calls(w.n1))
  end)

  it("and has a successor that was met before: that one is called, where it is", function()
    local w <close> = cluster()
    w:isolate "n3"
    local successor = { cluster = w.n2.host:hello().cluster, joining = false, member_until = 1000,
      address = "127.0.0.1:6003", incarnation = 7 }
    assert.is_true(greets(w.n2, "n3", successor))
    assert.equal("n1 5001, n3 6003", calls(w.n2))
    change(w)
    assert.equal("n1 5001, n3 6003", calls(w.n2))
    remove(w, "n3")
    assert.equal("n1 5001, n3 6003", calls(w.n2))
    assert.equal("n2 5002, n3 5003", calls(w.n1))
  end)

  it("and had no address that is one, is not called: nobody was", function()
    for _, third in ipairs { { kind = "other", host = "127.0.0.1" }, { kind = "node", host = ("h"):rep(300) } } do
      local w <close> = world.new { nodes = 3 }
      local servers = {}
      for i, node in ipairs(w.nodes) do
        local address = i < 3 and { kind = "node", host = "127.0.0.1" } or third
        address.port = 5000 + i
        servers[i] = { id = node.id, incarnation = node.disk.incarnation, role = 0, addresses = { address } }
      end
      local bytes = formats.configuration_encode { servers = servers }
      for _, node in ipairs(w.nodes) do
        node.disk.configuration, node.disk.cluster = bytes, base.hash(bytes)
        if node ~= w.n3 then node:start() end
      end
      w:connect_all()
      w:elect "n1"
      assert.equal("n2 5002", calls(w.n1))
      remove(w, "n3")
      assert.equal("n2 5002", calls(w.n1))
    end
  end)
end)

describe("a change of membership that changes nobody's address", function()
  it("is not told to the transport", function()
    local w <close> = cluster()
    local told = { w.n1.peers_told, w.n2.peers_told }
    change(w)
    change(w)
    assert.same(told, { w.n1.peers_told, w.n2.peers_told })
  end)
end)
