-- Edges of the beginning: lists of peers, hellos, data folders. Each was a guard that nothing else missed
-- (scripts/mutants).
local base = require "moonclave.base"
local world = require "host.world"
local cluster, lone = world.cluster, world.lone

describe("a list of peers", function()
  local function fatal(options)
    local w <close> = world.new { nodes = 2 }
    w.n1:start(options)
    return w.n1.fatal
  end

  it("that is wrong is said to be wrong where it is", function()
    assert.truthy(fatal { peers = {} }.text:find("data folder is blank", 1, true))
    assert.truthy(fatal { peers = { "x", "y", "127.0.0.1:5001" } }.text:find("'x' is not host:port", 1, true))
    assert.truthy(fatal { peers = { "a b=127.0.0.1:5002" } }.text:find("'a b' is not an id", 1, true))
  end)

  it("takes ids and addresses as long as they may be", function()
    local id, host = ("i"):rep(64), ("h"):rep(200)
    while #id > 1 and fatal { peers = { "127.0.0.1:5001", id .. "=127.0.0.1:5002" } } do id = id:sub(2) end
    local long = fatal { peers = { "127.0.0.1:5001", id .. "i=127.0.0.1:5002" } }
    assert.truthy(long and long.text:find("1 to " .. #id .. " of", 1, true), "an id of the greatest length is refused")
    assert.is_nil(fatal { peers = { "127.0.0.1:5001", host .. ":5002" } })
    assert.truthy(fatal { peers = { "127.0.0.1:5001", ("h"):rep(2000) .. ":5002" } })
  end)
end)

describe("a blank node", function()
  local function two()
    local w = world.new { nodes = 3 }
    w.n1:start()
    w.n2:start()
    return w
  end

  it("names both lists where they differ, with commas, and says it once for each who has another", function()
    local w <close> = two()
    local said = w.n2.host:hello()
    said.peers_hash = said.peers_hash + 1
    for _ = 1, 2 do
      local _, code, text = w.n1.host:receive_hello(said)
      assert.equal("foreign", code)
      assert.truthy(text:find("n1 has 127.0.0.1:5001,127.0.0.1:5002,127.0.0.1:5003)", 1, true), text)
    end
    assert.equal(1, w.n1:logged "differ")
    said.address = "127.0.0.1:5999"
    for _ = 1, 2 do assert.is_nil(w.n1.host:receive_hello(said)) end
    assert.equal(2, w.n1:logged "differ")
    said.id = "n1x"
    said.address = "127.0.0.1:5002"
    assert.is_nil(w.n1.host:receive_hello(said))
    assert.equal(3, w.n1:logged "differ")
  end)

  it("does not take in an address that is not on the list, whatever list that has", function()
    local w <close> = two()
    local said = w.n2.host:hello()
    said.address = "127.0.0.1:5999"
    local _, code, text = w.n1.host:receive_hello(said)
    assert.equal("foreign", code)
    assert.truthy(text:find("differ", 1, true))
  end)

  it("complains of the list before it complains of an id", function()
    local w <close> = two()
    assert(w:hello("n2", "n1"))
    local said = w.n2.host:hello()
    said.address, said.peers_hash = w.peers[3], said.peers_hash + 1
    local _, _, text = w.n1.host:receive_hello(said)
    assert.truthy(text:find("--peers that differ", 1, true))
  end)

  it("says once that another is there", function()
    local w <close> = two()
    for _ = 1, 3 do assert(w:hello("n2", "n1")) end
    assert.equal(1, w.n1:logged "n2 at 127.0.0.1:5002 is there, blank too")
    assert.equal(1, w.n1:logged "blank: waits for the 2 other nodes")
    local alone <close> = lone()
    assert.equal(0, alone.n1:logged "waits")
  end)

  it("that was told it is wiped stores nothing any more, whoever says hello", function()
    local w <close> = two()
    w.n3:start()
    w.n1.host:refused("n2", "wiped", "it lost its data")
    assert.is_true(w.n1.host:status().wiped)
    assert.equal(1, w.n1:logged "n2 knows it with another incarnation")
    assert(w:hello("n2", "n1"))
    assert(w:hello("n3", "n1"))
    assert.equal(0, #w.n1.writes)
    w:connect("n2", "n3")
    assert(w:hello("n1", "n2"))
    assert(w:hello("n1", "n3"))
    w.n2:flush() -- n2 and n3 begin with n1 among them
    assert(w:hello("n2", "n1"))
    assert.equal(0, #w.n1.writes)
  end)

  it("that is wiped refuses requests at once", function()
    local w <close> = two()
    w.n1.host:refused("n2", "wiped", "it lost its data")
    local t = w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    assert.equal("unavailable", w.n1:answer(t))
  end)

  it("believes a member's first configuration only under the name that it has", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    w.n2:crash()
    w.n2.disk.cluster, w.n2.disk.configuration = 0, ""
    w.n2:start()
    local said = w.n1.host:hello()
    local function refused(change)
      local hello = {}
      for k, v in pairs(said) do hello[k] = v end
      for k, v in pairs(change) do hello[k] = v end
      local _, code = w.n2.host:receive_hello(hello)
      return code
    end
    assert.equal("bad_request", refused { cluster = said.cluster + 1 })
    assert.equal("bad_request", refused { configuration = "" })
    local text = "no configuration"
    assert.equal("bad_request", refused { configuration = text, cluster = base.hash(text) })
    assert.same({ 0, false }, { #w.n2.writes, w.n2.host:status().wiped })
  end)

  it("asks as much of another's program as a member does", function()
    local w <close> = two()
    local function say(change) return select(2, w:hello("n2", "n1", change)) end
    assert.equal("version", say { lua_release = "5.3.6" })
    assert.equal("version", say { format_level = 2 })
    assert.equal("bad_request", say { incarnation = 0 })
    w.n3:start()
    assert(w:hello("n3", "n1"))
    assert.equal(0, #w.n1.writes) -- n2 does not count
    assert.is_nil(say { lua_release = "5.4.6" })
    assert.equal(1, #w.n1.writes)
  end)

  it("takes no requests from another", function()
    local w <close> = two()
    assert(w:hello("n2", "n1"))
    w.n1.host:forwarded(w.n2:identity(), 1, { kind = "command", body = "x" })
    assert.equal(0, w.n1.host:status().waiting)
  end)

  it("that is a stranger to a cluster has not lost anything", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    w:add("n9", { address = "127.0.0.1:5009", peers = { "127.0.0.1:5009", w.peers[1] } }):start()
    local ok, code = w:hello("n1", "n9")
    assert.same({ nil, "foreign" }, { ok, code })
    assert.is_false(w.n9.host:status().wiped)
  end)
end)

describe("a member", function()
  it("does not take another for itself", function()
    local w <close> = cluster()
    local said = w.n2.host:hello()
    said.id = "n1"
    local _, code = w.n1.host:receive_hello(said)
    assert.equal("foreign", code)
  end)

  it("begins to probe whose connection broke", function()
    local w <close> = cluster()
    assert.equal("replicate", w.n1.host:status().peers[1].progress)
    w.n1.host:peer_lost "n2"
    assert.equal("probe", w.n1.host:status().peers[1].progress)
  end)
end)

describe("a server that the configuration does not name yet", function()
  it("may say hello and speak, if it is of the cluster", function()
    local w <close> = cluster()
    local said = w.n2.host:hello()
    said.id, said.incarnation, said.address = "n9", 99, "127.0.0.1:5009"
    local _, was = w.n1.host:receive_hello(said)
    assert.equal("removed", was) -- it says that it was a member once
    said.member_until = 0
    assert(w.n1.host:receive_hello(said))
    w.n1.host:forwarded({ id = "n9", incarnation = 99, cluster = said.cluster }, 7, { kind = "command", body = "x" })
    assert.equal(1, w.n1.host:status().waiting)
    said.cluster, said.lua_release = 0, "5.4.6"
    local _, code = w.n1.host:receive_hello(said)
    assert.equal("foreign", code)
    said.protocol_min, said.protocol_max = 0, 0
    _, code = w.n1.host:receive_hello(said)
    assert.equal("version", code)
  end)
end)

describe("a data folder", function()
  it("of a newer program, or of another cluster, ends the node", function()
    local w <close> = lone()
    w.n1:crash()
    local function fatal(durable)
      w.n1:start { durable = durable }
      local code = w.n1.fatal and w.n1.fatal.code
      w.n1:crash()
      return code
    end
    assert.equal("version", fatal { format_level = 2 })
    assert.is_nil(fatal { format_level = 1 })
    w.n1.disk.cluster = w.n1.disk.cluster + 1
    assert.equal("corrupt", fatal())
  end)
end)
