-- Edges of what is replicated beside the app's state, and of what a node keeps in mind of others while the
-- configuration changes. Each was a guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local world = require "host.world"

describe("a setting that the cluster's first entry does not have", function()
  it("is the table's, as on every node, whatever this one was started with", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    local initial = w.n1.machine.settings
    w.n1:crash()
    local init = formats.entry_decode(w.n1.disk.entries[2])
    init.payload = "\x84\xA6bundle\xA1B\xA6config\xC0\xACformat_level\x01\xA8settings\x81"
      .. base.pack "session_timeout_ms" .. base.pack(7000)
    init.chain = formats.entry_chain(init, formats.entry_decode(w.n1.disk.entries[1]).chain)
    w.n1.disk.entries[2] = formats.entry_encode(init)
    w.n1.disk.entries[3] = nil
    w.n1:start { settings = { session_window = 5, session_timeout_ms = 9000, request_timeout_ms = 777 } }
    w:settle()
    local now = w.n1.machine.settings
    assert.same({ 7000, initial.session_window, 777 },
      { now.session_timeout_ms, now.session_window, now.request_timeout_ms })
    assert.not_equal(5, initial.session_window)
  end)
end)

describe("an app whose bundle says no name", function()
  it("is named after all its bytes", function()
    for _, bundle in ipairs { "\x81\xA5files\x80", "\x80", "\x81\xA4hash\xC3" } do
      local w <close> = world.new { nodes = 1 }
      w.n1:start { bundle = bundle }
      w:settle()
      assert.equal(("%016x"):format(base.hash(bundle)), w.n1.host:status().app.hash)
    end
  end)
end)

-- A change of membership that leaves everybody as they are, as n2 hears of it.
local function change(w)
  w.changes = (w.changes or 0) + 1
  local t = w.n1:admin("priority", { id = "n1", priority = w.changes })
  w:settle()
  assert.equal("ok", (w.n1:told(t)))
end

describe("across a change of membership", function()
  local function cluster()
    local w = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    return w
  end

  it("a node knows whose connection is broken", function()
    local w <close> = cluster()
    w.n2.host:peer_lost "n1" -- one of two, say: what n1 sends does arrive
    change(w)
    w.n2:submit "x"
    w.n2:turn()
    assert.equal(0, w.n2:counters().forwards)
    assert(w.n2.host:receive_hello(w.n1.host:hello()))
    w.n2:turn()
    assert.equal(1, w.n2:counters().forwards)
  end)

  it("it has said once that another runs an older Lua, and does not say it again", function()
    local w <close> = cluster()
    for _ = 1, 3 do
      local said = w.n1.host:hello()
      said.lua_release = "5.4.3"
      assert.is_true(w.n2.host:receive_hello(said))
      change(w)
    end
    assert.equal(1, w.n2:logged "n1 runs Lua 5.4.3")
  end)

  it("its transport is told where a member is reached from now on", function()
    local w <close> = cluster()
    local told = w.n2.peers_told
    local t = w.n1:admin("address", { id = "n3", address = "127.0.0.1:6003" })
    w:settle()
    assert.equal("ok", (w.n1:told(t)))
    local found = {}
    for _, peer in ipairs(w.n2.peers) do found[peer.id] = peer.address end
    assert.same({ 1, { n1 = "127.0.0.1:5001", n3 = "127.0.0.1:6003" } }, { w.n2.peers_told - told, found })
  end)
end)
