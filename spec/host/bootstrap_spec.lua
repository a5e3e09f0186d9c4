-- How a cluster begins, and whom it lets in (design/README.md).
local world = require "host.world"

describe("a blank cluster", function()
  it("begins once every listed node has said hello, with one configuration and one name", function()
    local w <close> = world.new { nodes = 3 }
    for _, node in ipairs(w.nodes) do node:start() end
    assert.are.same({ { id = "", address = w.peers[2] }, { id = "", address = w.peers[3] } }, w.n1.peers)
    assert(w:connect("n1", "n2"))
    w:settle()
    assert.are.equal(0, w.n1.disk.cluster)
    assert.are.equal(0, w.n2.disk.cluster)
    assert(w:connect("n2", "n3"))
    w:settle()
    assert.are_not.equal(0, w.n2.disk.cluster) -- it has heard both
    assert(w:connect("n1", "n3"))
    w:settle()
    for _, node in ipairs(w.nodes) do
      assert.are_not.equal(0, node.disk.cluster)
      assert.are.equal(w.n1.disk.cluster, node.disk.cluster)
      assert.are.equal(w.n1.disk.configuration, node.disk.configuration)
    end
    assert.are.same({ "n2", "n3" }, { w.n1.peers[1].id, w.n1.peers[2].id })
    w:elect "n2"
    assert.are.equal("n2", w.n1.leader)
    assert.are.equal("n2", w.n3.leader)
  end)

  it("does not begin while one is missing, however long it takes", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    w.n2:start()
    w:connect_all()
    w:advance(60000)
    assert.are.equal(0, w.n1.disk.cluster)
    assert.is_nil(w.n1.host:status().voted_for:match "%w")
    assert.is_false(w.n1.host:ready())
  end)

  it("of one node needs nobody", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w:settle()
    assert.is_true(w.n1.host:is_leader())
    assert.is_true(w.n1.host:ready())
    local t = w.n1:submit "x"
    w:settle()
    assert.are.equal("ok done 1 x", w.n1:answer(t))
  end)

  it("takes lists with ids and without for the same", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start { peers = { "n1=" .. w.peers[1], "n2=" .. w.peers[2] } }
    w.n2:start { peers = { w.peers[2], w.peers[1] } }
    assert(w:connect("n1", "n2"))
    w:settle()
    assert.are_not.equal(0, w.n1.disk.cluster)
    assert.are.equal(w.n1.disk.cluster, w.n2.disk.cluster)
  end)

  it("does not begin with differing lists, and says whose differ", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    w.n2:start { peers = { w.peers[1], w.peers[2], "127.0.0.1:5003" } }
    for _ = 1, 3 do
      local ok, code = w:connect("n1", "n2")
      assert.is_nil(ok)
      assert.are.equal("foreign", code)
      w:settle()
    end
    assert.are.equal(0, w.n1.disk.cluster)
    assert.are.equal(0, w.n2.disk.cluster)
    assert.are.equal(1, w.n2:logged "n1 at 127.0.0.1:5001 and n2 at 127.0.0.1:5002 .* differ") -- once
    w.n2:crash()
    w.n2:start()
    assert(w:connect("n1", "n2"))
    w:settle()
    assert.are_not.equal(0, w.n1.disk.cluster)
    assert.are.equal(w.n1.disk.cluster, w.n2.disk.cluster)
  end)

  it("counts the newest hello of a peer that was wiped before anybody had stored anything", function()
    local w <close> = world.new { nodes = 3 }
    for _, node in ipairs(w.nodes) do node:start() end
    w:connect("n1", "n2")
    w.n2:crash()
    w.n2:wipe()
    w.n2:start()
    w:connect_all()
    w:settle()
    for _, node in ipairs(w.nodes) do
      assert.are_not.equal(0, node.disk.cluster)
      assert.are.equal(w.n1.disk.cluster, node.disk.cluster)
    end
    w:elect "n2"
  end)

  it("survives a crash between one node's storing and the next's", function()
    local w <close> = world.new { nodes = 3 }
    for _, node in ipairs(w.nodes) do node:start() end
    w:connect_all()
    w.n1:flush() -- n1 has stored; n2 and n3 have not
    assert.are_not.equal(0, w.n1.disk.cluster)
    w.n2:crash()
    w.n3:crash()
    assert.are.equal(0, w.n2.disk.cluster)
    w.n2:start() -- blank, and hears only of n1, a member
    assert(w:connect("n2", "n1"))
    w:settle()
    assert.are.equal(w.n1.disk.configuration, w.n2.disk.configuration)
    assert.are.equal(w.n1.disk.cluster, w.n2.disk.cluster)
    w:elect "n1" -- two of three are a majority
    w.n3:start()
    w:connect_all()
    w:advance(1000)
    assert.are.equal(w.n1.disk.cluster, w.n3.disk.cluster)
    assert.are.equal("n1", w.n3.leader)
  end)

  it("counts messages only of those whose hello named the cluster", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    w.n2:start()
    w:connect_all()
    w.n1:flush()
    w.n2:flush()
    w.n1.says_hello_again = false
    w.n2.says_hello_again = false -- what n1 knows of n2 is that it was blank
    for _ = 1, 20 do
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w:settle()
    end
    assert.is_false(w.n1.host:is_leader())
    assert(w:hello("n2", "n1"))
    assert(w:hello("n1", "n2"))
    w:elect "n1"
  end)

  it("tries again when the disk was full", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start()
    w.n2:start()
    w:connect_all()
    w.n1:refuse()
    w.n1:turn()
    assert.are.equal(1, w.n1:logged "warn .*disk is full")
    assert.is_nil(w.n1.fatal)
    w:advance(600)
    assert.are_not.equal(0, w.n1.disk.cluster)
    assert.are.equal(w.n2.disk.cluster, w.n1.disk.cluster)
  end)

  it("stops when the disk fails", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    w.n1.host:bootstrapped("io_error", "the sync failed")
    assert.are.same({ code = "io_error", text = "the sync failed" }, w.n1.fatal)
  end)
end)

describe("a list of peers", function()
  local function start(options)
    local w <close> = world.new { nodes = 2 }
    w.n1:start(options)
    return w.n1.fatal
  end

  it("has to name this node", function()
    local fatal = start { peers = { "127.0.0.1:5002" } }
    assert.are.equal("usage", fatal.code)
    assert.is_truthy(fatal.text:find("127.0.0.1:5001", 1, true))
  end)

  it("has to be there", function()
    assert.are.equal("usage", start({ peers = {} }).code)
  end)

  it("names nobody twice", function()
    local fatal = start { peers = { "127.0.0.1:5001", "127.0.0.1:5002", "n3=127.0.0.1:5002" } }
    assert.are.equal("usage", fatal.code)
    assert.is_truthy(fatal.text:find("127.0.0.1:5002", 1, true))
  end)

  it("consists of addresses, with valid ids or none", function()
    for _, bad in ipairs { "127.0.0.1", "127.0.0.1:0", "a b=127.0.0.1:5002", "=127.0.0.1:5002", "n2=", "" } do
      assert.are.equal("usage", start({ peers = { "127.0.0.1:5001", bad } }).code, bad)
    end
  end)

  it("calls this node by its name", function()
    local fatal = start { peers = { "nx=127.0.0.1:5001", "127.0.0.1:5002" } }
    assert.are.equal("usage", fatal.code)
    assert.is_truthy(fatal.text:find("nx", 1, true) and fatal.text:find("n1", 1, true))
  end)

  it("calls the others by theirs, or says so and waits", function()
    local w <close> = world.new { nodes = 2 }
    w.n1:start { peers = { w.peers[1], "nx=" .. w.peers[2] } }
    w.n2:start()
    local _, code, text = w:connect("n2", "n1")
    assert.are.equal("foreign", code)
    assert.is_truthy(text:find("nx", 1, true) and text:find("n2", 1, true))
    assert.are.equal(1, w.n1:logged "nx")
    w:settle()
    assert.are.equal(0, w.n1.disk.cluster)
  end)

  it("does not matter to a node that is a member already", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    w.n1:crash()
    w.n1:start { peers = { "127.0.0.1:7777" } }
    assert.is_nil(w.n1.fatal)
    assert.are.same({ { id = "n2", address = w.peers[2] } }, w.n1.peers)
    w:connect_all()
    w:elect "n1"
  end)
end)

describe("two nodes with one id", function()
  it("do not become a cluster", function()
    local w <close> = world.new { nodes = 3 }
    w.n1:start()
    w.n2:start()
    w.n3:start()
    assert(w:hello("n2", "n1"))
    local _, code, text = w:hello("n3", "n1", { id = "n2" })
    assert.are.equal("foreign", code)
    assert.is_truthy(text:find("n2", 1, true) and text:find("5002", 1, true) and text:find("5003", 1, true))
    local _, own = w:hello("n3", "n1", { id = "n1" })
    assert.are.equal("foreign", own)
    w:settle()
    assert.are.equal(0, w.n1.disk.cluster)
  end)
end)

describe("a wiped node", function()
  local function wiped()
    local w = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n3:crash()
    w.n3:wipe()
    w.n3:start()
    return w
  end

  it("is refused under its old id and told to join again", function()
    local w <close> = wiped()
    local ok, code, text = w:connect("n3", "n1")
    assert.is_nil(ok)
    assert.are.equal("wiped", code)
    assert.is_truthy(text:find "lost its data")
    assert.are.equal(1, w.n3:logged "error .*n3, lost its data.* Remove n3 .* join again")
    w:connect("n3", "n2")
    assert.are.equal(1, w.n3:logged "lost its data") -- once
  end)

  it("finds out by itself from a member's hello", function()
    local w <close> = wiped()
    local ok, code, text = w:hello("n1", "n3")
    assert.is_nil(ok)
    assert.are.equal("foreign", code) -- not "wiped": that would mean n1
    assert.is_truthy(text:find("n3 lost its data", 1, true))
    assert.are.equal(1, w.n3:logged "lost its data")
    assert.is_true(w.n3.host:status().wiped)
  end)

  it("that learns of it while it stores, or waits for room to store, still takes no part", function()
    for _, full in ipairs { true, false } do
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
      assert.are.equal(1, #w.n1.writes)
      local t = w.n1:submit("x", { timeout_ms = 2000 })
      if full then w.n1:refuse() end
      assert.is_nil(w.n1.host:receive_hello(w.n2.host:hello()))
      assert.are.equal(1, w.n1:logged "lost its data")
      w:advance(10000)
      assert.is_nil(w.n1.fatal)
      assert.are.equal("unavailable", w.n1:answer(t))
      assert.are.equal("blank", w.n1.host:status().role)
      assert.are.equal(full, w.n1.disk.cluster == 0)
    end
  end)

  it("takes nobody with it: a member that is called wiped goes on", function()
    local w <close> = wiped()
    w:connect("n3", "n1")
    w:connect("n3", "n2")
    w.n1.host:refused("n3", "wiped", "a lie")
    w.n2.host:refused("n3", "wiped", "a lie")
    local t = w.n2:submit "x"
    w:settle()
    assert.are.equal("ok done 1 x", w.n2:answer(t))
    assert.are.equal(0, w.n1:logged "lost its data")
    assert.is_false(w.n2.host:status().wiped)
  end)

  it("never campaigns, is never ready, and refuses requests", function()
    local w <close> = wiped()
    w:connect("n3", "n1")
    local t = w.n3:submit "x"
    w:advance(10000)
    assert.are.equal("unavailable", w.n3:answer(t))
    assert.is_false(w.n3.host:ready())
    assert.are.equal(0, w.n3.disk.term)
    assert.are.equal(0, w.n3.disk.cluster)
  end)

  it("has votes and acknowledgements that do not count", function()
    local w <close> = wiped()
    w.n2:crash()
    w:lose("n1", "n2")
    -- n3 speaks Raft all the same, as a faulty one might, and n1 hears it: with the incarnation of its new disk.
    w.n3:crash()
    w.n3.disk.cluster, w.n3.disk.configuration = w.n1.disk.cluster, w.n1.disk.configuration
    w.n3:start()
    w.links["n1-n3"] = true
    w.n1.heard.n3 = w.n3:identity()
    w.n3.heard.n1 = w.n1:identity()
    local t = w.n1:submit "lost"
    w:settle()
    w:advance(20000)
    assert.are.equal("timeout", w.n1:answer(t))
    assert.is_false(w.n1.host:is_leader())
    -- The same with the incarnation that is known shows that it was this and nothing else.
    w.n1.heard.n3.incarnation = w.n1.heard.n3.incarnation - 1
    w:elect "n1"
  end)
end)

describe("a stranger", function()
  it("of another cluster is refused, by members and by the blank", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    local other <close> = world.new { nodes = 2 }
    other:bootstrap()
    local said = other.n2.host:hello()
    local ok, code, text = w.n1.host:receive_hello(said)
    assert.is_nil(ok)
    assert.are.equal("foreign", code)
    assert.is_truthy(text:find("cluster", 1, true))
    local blank <close> = world.new { nodes = 2 }
    blank:add("n7", { address = "127.0.0.1:5007", peers = { "127.0.0.1:5007", w.peers[1] } }):start()
    ok, code = blank.n7.host:receive_hello(w.n1.host:hello())
    assert.is_nil(ok)
    assert.are.equal("foreign", code)
    assert.are.equal(0, #blank.n7.writes)
  end)

  it("that is blank and not a member is refused by a member", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    w:add("n9", { address = "127.0.0.1:5009", peers = { "127.0.0.1:5009", w.peers[1] } }):start()
    local ok, code = w:connect("n9", "n1")
    assert.is_nil(ok)
    assert.are.equal("foreign", code)
  end)

  it("with a first configuration that is not what it says is not believed", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    w.n2:crash()
    w.n2.disk.cluster, w.n2.disk.configuration = 0, ""
    w.n2:start()
    local ok, code = w:hello("n1", "n2", { configuration = w.n1.host:hello().configuration .. "x" })
    assert.is_nil(ok)
    assert.are.equal("bad_request", code)
    assert.are.equal(0, #w.n2.writes)
    assert(w:hello("n1", "n2"))
    assert.are.equal(1, #w.n2.writes)
  end)

  it("whose program differs too much is refused, and a little is said", function()
    local w <close> = world.new { nodes = 2 }
    w:bootstrap()
    local function say(change) return select(2, w:hello("n2", "n1", change)) end
    assert.are.equal("version", say { lua_release = "5.3.6" })
    assert.are.equal("version", say { lua_release = "5.40.1" })
    assert.are.equal("version", say { protocol_min = 2, protocol_max = 3 })
    assert.are.equal("version", say { format_level = 2 })
    assert.are.equal("bad_request", say { incarnation = 0 })
    assert.are.equal("bad_request", say { id = "a b" })
    assert.is_nil(say { protocol_max = 3 })
    assert.are.equal(0, w.n1:logged "Lua")
    assert.is_nil(say { lua_release = "5.4.6" })
    assert.is_nil(say { lua_release = "5.4.6" })
    assert.are.equal(1, w.n1:logged "warn n2 runs Lua 5.4.6")
  end)
end)
