-- Edges of what operators ask for: bytes that are no order, arguments that cannot be read, servers in a state that the
-- order did not expect. Most were a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local members = require "host.members_support"
local world = require "host.world"
local done = members.done
local cluster = world.cluster

local CONFIGURATION = 1 -- a type of entries

local function order(w, action, arguments)
  return done(w, w.n1, w.n1:admin(action, arguments))
end

-- The configuration that a node's disk ends with, its servers by id, and its index.
local function configuration(node)
  for i = #node.disk.entries, 1, -1 do
    local entry = formats.entry_decode(node.disk.entries[i])
    if entry.type == CONFIGURATION then return formats.configuration_decode(entry.payload), i end
  end
  return formats.configuration_decode(node.disk.configuration), 0
end

local function server(node, id)
  for _, found in ipairs(configuration(node).servers) do
    if found.id == id then return found end
  end
end

local function labels(node, id)
  local found = {}
  for _, label in ipairs(server(node, id).labels) do found[label[1]] = label[2] end
  return found
end

local function role(node, id)
  for _, member in ipairs(node.host:members()) do if member.id == id then return member.role end end
end

local function address(id) return "127.0.0.1:" .. 5000 + tonumber(id:match "%d+") end

-- A blank node that is started with --join, and knows nobody yet.
local function newcomer(w, id)
  local node = w:add(id, { address = address(id), join = { w.peers[1] } })
  return node:start()
end

-- ... and that is a learner before long; `arguments` of its order beside.
local function learner(w, id, arguments)
  local asked = { id = id, address = address(id), learner = true }
  for k, v in pairs(arguments or {}) do asked[k] = v end
  local t = w.n1:admin("add", asked)
  w:settle()
  newcomer(w, id)
  w:connect("n1", id)
  assert.equal("ok", (done(w, w.n1, t)))
  w:connect_all()
  w:advance(1000)
  w:connect_all()
end

describe("an order", function()
  it("is [action, arguments] and nothing else: what is not is refused, and nothing is done", function()
    local w <close> = cluster()
    local transfer = base.pack { "transfer", base.object {} }
    for _, body in ipairs {
      base.pack "transfer", base.pack { "transfer" }, base.pack { "transfer", base.object {}, base.object {} },
      base.pack { 5, base.object {} }, transfer:sub(1, -2), "",
    } do
      local t = w.n1:submit(body, { kind = "admin", timeout_ms = 60000 })
      local code, answer = done(w, w.n1, t)
      assert.equal("bad_request", code)
      assert.matches("an action is %[name, arguments%]", answer.message)
    end
    w:advance(500)
    assert.is_true(w.n1.host:is_leader())
    local code, answer = order(w, "transfers")
    assert.equal("no_such_command", code)
    assert.matches("no such action", answer.message)
  end)

  it("that names what cannot be a server is refused, also where it need not name one", function()
    local w <close> = cluster()
    for _, id in ipairs { 5, true, "", "a b", "n3\0", ("i"):rep(65), ("i"):rep(9000) } do
      for _, action in ipairs { "remove", "promote", "transfer" } do
        local code, answer = order(w, action, { id = id })
        assert.equal("bad_request", code)
        assert.matches("`id` must name a server", answer.message)
      end
    end
    assert.equal("bad_request", (order(w, "remove", { id = base.null })))
    w:advance(500)
    assert.is_true(w.n1.host:is_leader())
    assert.equal(0, w.n1.host:status().configuration_index)
    assert.equal("not_found", (order(w, "remove", { id = ("i"):rep(64) })))
    assert.equal("ok", (order(w, "transfer", { id = base.null }))) -- not given: whoever is fit
    assert.is_false(w.n1.host:is_leader())
  end)

  it("with an argument of the wrong kind is refused, and not carried out as if it had none", function()
    local w <close> = cluster()
    for key, values in pairs {
      expected = { "3", -1, 1.5, true }, incarnation = { "abc", -1 }, force = { "yes", 1 }, learner = { "no", 0 },
    } do
      for _, value in ipairs(values) do
        local code, answer = order(w, "demote", { id = "n3", [key] = value })
        assert.equal("bad_request", code)
        assert.matches("`" .. key .. "` is", answer.message)
      end
    end
    assert.equal("voter", role(w.n1, "n3"))
    assert.equal("ok", (order(w, "demote", { id = "n3", expected = base.null, force = base.null })))
    assert.equal("learner", role(w.n1, "n3"))
  end)

  it("is carried out where the configuration is the expected one, and only there", function()
    local w <close> = cluster()
    local code, answer = order(w, "priority", { id = "n2", priority = 7, expected = 0 })
    assert.equal("ok", code)
    assert.equal(7, server(w.n1, "n2").priority)
    assert.equal(answer.index, select(2, configuration(w.n1)))
    code = order(w, "priority", { id = "n2", priority = 8, expected = 0 })
    assert.equal("conflict", code)
    assert.equal("ok", (order(w, "priority", { id = "n2", priority = 9, expected = answer.index })))
    assert.equal(9, server(w.n1, "n2").priority)
  end)

  it("that changes nothing is done already: it is told the configuration there is, at once", function()
    local w <close> = cluster()
    assert.equal("ok", (order(w, "priority", { id = "n2", priority = 7 })))
    local index = w.n1.host:status().configuration_index
    local t = w.n1:admin("priority", { id = "n2", priority = 7 })
    w.n1:turn()
    local code, answer = w.n1:told(t)
    assert.same({ "ok", index }, { code, answer and answer.index })
    assert.equal(index, w.n1.host:status().configuration_index)
  end)

  it("takes an address that others can reach, and no other", function()
    local w <close> = cluster()
    for _, bad in ipairs { 5, "", "nowhere", "127.0.0.1:0", "127.0.0.1:5009\0x", ("h"):rep(400) .. ":5009" } do
      for _, action in ipairs { "add", "join", "address" } do
        local code, answer = order(w, action, { id = "n3", address = bad, incarnation = 5 })
        assert.equal("bad_request", code)
        assert.matches("`address` is where", answer.message)
      end
    end
    assert.equal("bad_request", (order(w, "address", { id = "n3" })))
    assert.equal("not_found", (order(w, "address", { id = "n9", address = address "n9" })))
    assert.equal("ok", (order(w, "address", { id = "n3", address = "127.0.0.1:5333" })))
    assert.equal(5333, server(w.n1, "n3").addresses[1].port)
    assert.same({ id = "n3", address = "127.0.0.1:5333" }, w.n1.peers[2])
  end)

  it("takes every priority that fits, and no other", function()
    local w <close> = cluster()
    for _, bad in ipairs { "high", -1, 1.5, 0x100000000, base.null } do
      local code, answer = order(w, "priority", { id = "n3", priority = bad })
      assert.equal("bad_request", code)
      assert.matches("`priority` is a number", answer.message)
    end
    assert.equal("not_found", (order(w, "priority", { id = "n9", priority = 1 })))
    assert.equal("ok", (order(w, "priority", { id = "n3", priority = 0xffffffff })))
    assert.equal(0xffffffff, server(w.n1, "n3").priority)
  end)

  it("to a leader that is new waits until that may change something", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    while not w.n1.host:is_leader() do
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w.n1:turn()
      w.n1:flush()
      w.n1:turn()
      w:deliver_all()
      w.n2:turn()
      w.n2:flush()
      w.n2:turn()
      w:deliver_all(function(p) return p.to == "n1" end)
      w.n1:turn()
    end
    local t = w.n1:admin("priority", { id = "n2", priority = 3 })
    w.n1:turn()
    assert.is_nil(w.n1:told(t)) -- its own first entry is not committed
    assert.equal("ok", (done(w, w.n1, t)))
    assert.equal(3, server(w.n1, "n2").priority)
  end)

  it("that waits at a leader goes to the next one", function()
    local w <close> = cluster()
    local t = w.n1:admin("add", { id = "n5", address = address "n5", learner = true })
    w:advance(100)
    w:isolate "n1"
    w:elect "n2"
    w:heal "n1"
    w:advance(500)
    assert.same({ false, "n2" }, { w.n1.host:is_leader(), w.n1.leader })
    assert.is_nil(w.n1:told(t))
    newcomer(w, "n5")
    w:connect("n2", "n5")
    assert.equal("ok", (done(w, w.n1, t)))
    assert.equal("learner", role(w.n2, "n5"))
  end)

  it("that waits at a leader which stops is refused: it was not done", function()
    local w <close> = cluster()
    local t = w.n1:admin("add", { id = "n5", address = address "n5" })
    w:advance(100)
    for _, id in ipairs { "n2", "n3" } do w:isolate(id) end
    w.n1.host:stop()
    w:advance(20000)
    assert.equal(1, w.n1.stopped)
    assert.equal("shutting_down", (w.n1:told(t)))
  end)
end)

describe("a server that is added", function()
  it("is the one that the operator means, whoever else asks under that id", function()
    local w <close> = cluster()
    local guest = w.n2.host:hello()
    guest.id, guest.incarnation, guest.address = "n9", 99, address "n9"
    guest.cluster, guest.member_until, guest.joining = 0, 0, true
    assert(w.n1.host:receive_hello(guest))
    assert.equal("ok", (order(w, "add", { id = "n9", address = address "n9", incarnation = 77, learner = true })))
    assert.equal(77, server(w.n1, "n9").incarnation)
  end)

  it("is not taken for its former self: it has to say who it is now", function()
    local w <close> = cluster()
    assert.equal("ok", (order(w, "remove", { id = "n3" })))
    local t = w.n1:admin("add", { id = "n3", address = address "n3" })
    w:advance(300)
    assert.is_nil(w.n1:told(t))
    assert.is_nil(role(w.n1, "n3"))
    w.n3:crash()
    w.n3:wipe()
    w.n3:start { join = { w.peers[1] } }
    w:connect("n1", "n3")
    assert.equal("ok", (done(w, w.n1, t)))
    assert.equal(w.n3.disk.incarnation, server(w.n1, "n3").incarnation)
  end)

  it("stays a learner where that is asked for, whatever its labels say", function()
    local w <close> = cluster()
    learner(w, "n5", { labels = { zone = "voter", ["a.name"] = "x" } })
    w:advance(5000)
    assert.equal("learner", role(w.n1, "n5"))
    assert.same({ zone = "voter", ["a.name"] = "x" }, labels(w.n1, "n5"))
    local code, answer = order(w, "add", {
      id = "n6", address = address "n6", incarnation = 6, learner = true, labels = { ["moonclave.wants"] = "voter" },
    })
    assert.equal("bad_request", code)
    assert.matches("moonclave%.", answer.message)
  end)

  it("becomes a voter where that is not asked for, beside its labels", function()
    local w <close> = cluster()
    learner(w, "n5", { learner = false, labels = { a = "1", zone = "x" } })
    w:advance(2000)
    assert.equal("voter", role(w.n1, "n5"))
    assert.same({ a = "1", zone = "x" }, labels(w.n1, "n5"))
    assert.equal(1, w.n1:logged "n5 has caught up")
  end)

  it("has labels that are names and texts, each shorter than 128 bytes, or is not added", function()
    local w <close> = cluster()
    local function add(wanted)
      return order(w, "add", { id = "n5", address = address "n5", incarnation = 5, labels = wanted })
    end
    local long, longest, far = ("l"):rep(127), ("l"):rep(128), ("l"):rep(9000)
    for _, bad in ipairs {
      5, "zone", { "x" }, { a = 5, b = "x" }, { a = base.object {} }, { ["a\0b"] = "x" }, { a = "x\0" },
      base.object { [1] = "x" }, { [longest] = "x" }, { a = longest }, { [far] = "x" }, { a = far },
    } do
      local code, answer = add(bad)
      assert.equal("bad_request", code)
      assert.matches("`labels` is a map", answer.message)
    end
    local code, answer = add { [""] = "x" }
    assert.equal("bad_request", code)
    assert.matches("a label has a name", answer.message)
    assert.is_nil(role(w.n1, "n5"))
    assert.equal("ok", (add { [long] = long, empty = "" }))
    assert.same({ [long] = long, empty = "", ["moonclave.wants"] = "voter" }, labels(w.n1, "n5"))
  end)

  it("is added once: a second time is a conflict", function()
    local w <close> = cluster()
    local code, answer = order(w, "add", { id = "n3", address = address "n3", incarnation = 5 })
    assert.equal("conflict", code)
    assert.matches("n3 is a member already", answer.message)
  end)
end)

describe("a node that asks to join", function()
  it("says who it is", function()
    local w <close> = cluster()
    for _, wrong in ipairs { 0, base.null } do
      local code, answer = order(w, "join", { id = "n5", address = address "n5", incarnation = wrong })
      assert.equal("bad_request", code)
      assert.matches("it has no incarnation", answer.message)
    end
  end)

  it("under the id of a member is that one, perhaps at another address, or is told to wait for its removal", function()
    local w <close> = cluster()
    local code, answer = order(w, "join", { id = "n3", address = address "n3", incarnation = 5 })
    assert.equal("wiped", code)
    assert.matches("another n3: remove it first", answer.message)
    code = order(w, "join", { id = "n3", address = "127.0.0.1:5333", incarnation = w.n3.disk.incarnation })
    assert.equal("ok", code)
    assert.equal(5333, server(w.n1, "n3").addresses[1].port)
    assert.equal("voter", role(w.n1, "n3"))
  end)
end)

describe("a learner", function()
  it("that has caught up is promoted at once, by one change", function()
    local w <close> = cluster()
    learner(w, "n5")
    local before = w.n1.host:status().configuration_index
    local code, answer = order(w, "promote", { id = "n5" })
    assert.equal("ok", code)
    assert.equal("voter", role(w.n1, "n5"))
    assert.equal(answer.index, w.n1.host:status().configuration_index)
    assert.equal(before, configuration(w.n1).previous)
    assert.equal(0, w.n1:logged "has caught up")
  end)

  it("that is away is promoted once it is back and has caught up", function()
    local w <close> = cluster()
    learner(w, "n5")
    w:isolate "n5"
    for i = 1, 5 do w.n1:submit("x" .. i) end
    w:advance(2000)
    assert.equal("ok", (order(w, "promote", { id = "n5" })))
    w:advance(3000)
    assert.equal("learner", role(w.n1, "n5"))
    w:heal "n5"
    w:advance(3000)
    assert.equal("voter", role(w.n1, "n5"))
    assert.same({}, labels(w.n1, "n5"))
    assert.equal(1, w.n1:logged "n5 has caught up")
  end)

  it("that is away is promoted all the same by force, and wants nothing more", function()
    local w <close> = cluster()
    learner(w, "n5")
    w:isolate "n5"
    w:advance(2000)
    assert.equal("ok", (order(w, "promote", { id = "n5", force = false })))
    assert.equal("learner", role(w.n1, "n5"))
    assert.equal("ok", (order(w, "promote", { id = "n5", force = true })))
    assert.equal("voter", role(w.n1, "n5"))
    assert.same({}, labels(w.n1, "n5"))
  end)

  it("that was to become a voter stays a learner once it is demoted", function()
    local w <close> = cluster()
    learner(w, "n5")
    w:isolate "n5"
    w:advance(2000)
    assert.equal("ok", (order(w, "promote", { id = "n5" })))
    assert.same({ ["moonclave.wants"] = "voter" }, labels(w.n1, "n5"))
    assert.equal("ok", (order(w, "demote", { id = "n5" })))
    w:heal "n5"
    w:advance(3000)
    assert.equal("learner", role(w.n1, "n5"))
    assert.same({}, labels(w.n1, "n5"))
  end)

  it("is one that is there: nobody else is promoted or demoted", function()
    local w <close> = cluster()
    for _, action in ipairs { "promote", "demote" } do
      local code, answer = order(w, action, { id = "n9" })
      assert.equal("not_found", code)
      assert.matches("n9", answer.message)
    end
  end)

  it("that is a voter already is left as it is, also while it is away", function()
    local w <close> = cluster()
    w:isolate "n3"
    w:advance(2000)
    local before = w.n1.host:status().configuration_index
    local code, answer = order(w, "promote", { id = "n3" })
    assert.same({ "ok", before }, { code, answer.index })
    assert.equal(before, w.n1.host:status().configuration_index)
    assert.same({}, labels(w.n1, "n3"))
  end)

  it("with a wish of a later program is left a learner", function()
    local w = world.new { nodes = 2 }
    local made = { previous = 0, outgoing = {}, servers = {} }
    for i, node in ipairs(w.nodes) do
      made.servers[i] = {
        id = node.id, incarnation = node.disk.incarnation, role = i == 1 and 0 or 1, priority = 0,
        labels = i == 2 and { { "moonclave.wants", "witness" } } or {},
        addresses = { { kind = "node", host = "127.0.0.1", port = 5000 + i } },
      }
    end
    local bytes = formats.configuration_encode(made)
    for _, node in ipairs(w.nodes) do node.disk.configuration, node.disk.cluster = bytes, base.hash(bytes) end
    w:bootstrap()
    w:elect "n1"
    w:advance(5000)
    assert.equal("learner", role(w.n1, "n2"))
    assert.same({ ["moonclave.wants"] = "witness" }, labels(w.n1, "n2"))
    assert.equal("ok", (order(w, "promote", { id = "n2" })))
    assert.equal("voter", role(w.n1, "n2"))
    w:__close()
  end)
end)

describe("a learner that has caught up and is to vote", function()
  -- n5 is such a one, and `meanwhile` begins before the leader knows that it has caught up.
  local function caught_up_while(w, meanwhile)
    learner(w, "n5")
    w:isolate "n5"
    w:advance(2000)
    assert.equal("ok", (order(w, "promote", { id = "n5" })))
    meanwhile()
    w:heal "n5"
  end

  it("waits for the change that is under way", function()
    local w <close> = cluster()
    local t
    caught_up_while(w, function()
      w.n2.held, w.n3.held = true, true
      t = w.n1:admin("priority", { id = "n2", priority = 2 })
      w:settle()
    end)
    w:advance(500)
    assert.is_nil(w.n1:told(t))
    assert.equal(0, w.n1:logged "n5 has caught up")
    w.n2.held, w.n3.held = false, false
    w:advance(1000)
    assert.equal("ok", (w.n1:told(t)))
    assert.equal("voter", role(w.n1, "n5"))
    assert.equal(1, w.n1:logged "n5 has caught up")
  end)

  it("waits while leadership is handed over", function()
    local w <close> = cluster()
    local t
    caught_up_while(w, function()
      w:isolate "n3"
      t = w.n1:admin("transfer", { id = "n3" })
      w:settle()
    end)
    w:advance(700)
    assert.is_nil(w.n1:told(t))
    assert.equal(0, w.n1:logged "n5 has caught up")
    w:advance(2000)
    assert.equal("unavailable", (w.n1:told(t)))
    assert.equal("voter", role(w.n1, "n5"))
    assert.equal(1, w.n1:logged "n5 has caught up")
  end)

  it("is not made one by a leader that stops", function()
    local w <close> = cluster()
    caught_up_while(w, function()
      assert.equal("ok", (order(w, "set", { voters = { "n1" } })))
      w:advance(2000)
      w.n1:submit("waits", { timeout_ms = 60000 })
      w.n1.held = true
      w.n1.host:stop()
    end)
    w:advance(2000)
    assert.equal(0, w.n1:logged "n5 has caught up")
    assert.equal("learner", role(w.n1, "n5"))
  end)
end)

describe("the voters that are set", function()
  it("are a list of ids of servers that are there", function()
    local w <close> = cluster()
    for _, bad in ipairs { 5, "n1", {}, { 5 }, { "n1", true }, { "n1\0" }, { ("i"):rep(65) }, { ("i"):rep(9000) } } do
      local code, answer = order(w, "set", { voters = bad })
      assert.equal("bad_request", code)
      assert.matches("`voters` is a list of ids", answer.message)
    end
    assert.equal("bad_request", (order(w, "set")))
    for _, unknown in ipairs { ("i"):rep(64), "n9", "" } do
      local code, answer = order(w, "set", { voters = { "n1", unknown } })
      assert.equal("not_found", code)
      assert.matches("joins as a learner first", answer.message)
    end
    assert.equal("voter", role(w.n1, "n3"))
  end)

  it("leave the other learners what they are, and the other voters outside", function()
    local w <close> = cluster()
    learner(w, "n5")
    learner(w, "n6")
    assert.equal("ok", (order(w, "set", { voters = { "n1", "n2", "n6" } })))
    w:advance(1000)
    assert.same({ "voter", "voter", "learner", "voter" },
      { role(w.n1, "n1"), role(w.n1, "n2"), role(w.n1, "n5"), role(w.n1, "n6") })
    assert.is_nil(role(w.n1, "n3"))
    assert.equal(1, w.n3.stopped)
  end)

  it("have caught up, or are set by force", function()
    local w <close> = cluster()
    learner(w, "n5")
    w:isolate "n5"
    w:advance(2000)
    local code, answer = order(w, "set", { voters = { "n1", "n2", "n3", "n5" } })
    assert.equal("unavailable", code)
    assert.matches("has not caught up", answer.message)
    assert.equal("learner", role(w.n1, "n5"))
    assert.equal("ok", (order(w, "set", { voters = { "n1", "n2", "n3", "n5" }, force = true })))
    assert.equal("voter", role(w.n1, "n5"))
  end)
end)

describe("leadership", function()
  it("is handed to exactly the one that is named, whoever else is fit", function()
    for _, id in ipairs { "n2", "n3" } do
      local w <close> = cluster()
      local code, answer = order(w, "transfer", { id = id })
      assert.same({ "ok", id }, { code, answer.leader })
      assert.is_true(w[id].host:is_leader())
    end
  end)

  it("that the named one has already is not handed over", function()
    local w <close> = cluster()
    local t = w.n1:admin("transfer", { id = "n1" })
    w.n1:turn()
    local code, answer = w.n1:told(t)
    assert.same({ "ok", "n1" }, { code, answer and answer.leader })
    w:advance(500)
    assert.is_true(w.n1.host:is_leader())
  end)

  it("is not handed to two at a time, nor to nobody", function()
    local w <close> = cluster()
    w:isolate "n3"
    local first = w.n1:admin("transfer", { id = "n3" })
    w.n1:turn()
    local second = w.n1:admin("transfer", { id = "n2" })
    w.n1:turn()
    local code, answer = w.n1:told(second)
    assert.equal("unavailable", code)
    assert.matches("nobody is fit to take over now, or a transfer is under way", answer.message)
    assert.is_nil(w.n1:told(first))
    local alone <close> = cluster { nodes = 1 }
    assert.equal("unavailable", (order(alone, "transfer")))
  end)
end)
