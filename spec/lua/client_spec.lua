-- The client against real clusters: exactly once through kill -9 of leaders, nodes that are not there, values as they
-- were given; in coroutines on luv's loop, and blocking, in a stock lua5.4.
local cluster = require "support.cluster"
local lua = require("support.fake_nodes").lua
local moonclave = require "moonclave"
local uv = require "luv"

local FLAGS = { "--election-timeout-ms=600", "--heartbeat-ms=100" }

local APP = [[
local fsm = { version = 1, commands = {}, queries = {} }
function fsm.init() return { total = 0 } end
function fsm.commands.add(state, command)
  state.total = state.total + (command.by or 1)
  return state.total
end
function fsm.commands.refuse(_, command) return nil, { code = command.code, message = "no", more = { 1, 2 } } end
function fsm.commands.partly() return nil, { code = "partly", rejected = { "b" } } end
function fsm.commands.fail() error "on purpose" end
function fsm.commands.echo(state, value)
  state.value = value
  return value
end
function fsm.commands.nothing() end
function fsm.queries.get(state) return state.total end
function fsm.queries.value(state) return state.value end
function fsm.queries.repeated(_, query) return query.text:rep(query.times) end
return fsm
]]

-- body(c, addresses, folder) with a cluster that runs the app above.
local function with_cluster(body)
  cluster.run(function()
    local folder = cluster.folder()
    cluster.write_file(folder .. "/fsm.lua", APP)
    local c <close> = cluster.new { app = folder, flags = FLAGS }
    local addresses = {}
    for i, name in ipairs(c.names) do addresses[i] = "127.0.0.1:" .. c.nodes[name].port end
    c:start()
    body(c, addresses, folder)
    cluster.remove(folder)
  end)
end

local function connect(addresses, options)
  options = options or {}
  options.addresses, options.loop = addresses, "luv"
  local client, err = moonclave.connect(options)
  return assert(client, tostring(err))
end

local function seconds() return uv.hrtime() / 1e9 end

local function lines_of(text)
  local list = {}
  for line in text:gmatch "[^\n]+" do list[#list + 1] = line end
  return list
end

-- Adds one by one, a number a line, until the file it is given is there. Blocking, as plain scripts are.
local INCREMENTS = [[
local moonclave = require "moonclave"
local stop = table.remove(arg, 1)
local client <close> = assert(moonclave.connect { addresses = { table.unpack(arg) }, timeout = 30 })
io.stdout:setvbuf "line"
repeat
  print((assert(client:propose "add")))
  local file = io.open(stop)
until file
]]

describe("a counter while its leader is killed -9, twice, and a follower", function()
  it("has each acknowledged increment once, and none is lost", function()
    with_cluster(function(c, addresses, folder)
      cluster.write_file(folder .. "/increments", INCREMENTS)
      local program, arguments = lua { folder .. "/increments", folder .. "/stop", table.unpack(addresses) }
      local script = cluster.process(program, arguments, { log = folder .. "/script.log" })
      local client <close> = connect(addresses, { timeout = 30 })
      local acknowledged, stopping = {}, false
      local function grows(what)
        local before, printed = #acknowledged, #lines_of(cluster.read_file(script.log))
        cluster.eventually(what, function()
          assert.is_falsy(script.exited, cluster.read_file(script.log))
          return #acknowledged > before + 20 and #lines_of(cluster.read_file(script.log)) > printed + 5
        end)
      end
      local bodies = {
        function()
          grows "increments at first"
          for _ = 1, 2 do
            local leader = c:leader()
            c:kill(leader)
            grows "increments without the old leader"
            c:start(leader)
            grows "increments with it again"
          end
          local leader = c:leader()
          local follower = leader == "n1" and "n2" or "n1"
          c:kill(follower)
          grows "increments without a follower"
          stopping = true
          cluster.write_file(folder .. "/stop", "")
        end,
      }
      for _ = 1, 4 do
        bodies[#bodies + 1] = function()
          while not stopping do
            local result, err = client:propose("add")
            assert.is_truthy(result, tostring(err))
            acknowledged[#acknowledged + 1] = result
          end
        end
      end
      cluster.all(bodies)
      assert.are.equal(0, cluster.wait(script), cluster.read_file(script.log))
      local total = assert(client:query "get")
      for _, line in ipairs(lines_of(cluster.read_file(script.log))) do
        acknowledged[#acknowledged + 1] = assert(math.tointeger(line), line)
      end
      table.sort(acknowledged)
      for i, value in ipairs(acknowledged) do
        assert.are.equal(i, value, ("increment %d of %d: done twice, or lost"):format(i, #acknowledged))
      end
      assert.are.equal(#acknowledged, total)
    end)
  end)
end)

describe("a client of three nodes", function()
  it("finds all of them from one address, follows the leader, and gets values as they were given", function()
    with_cluster(function(c, addresses)
      local client <close> = connect { addresses[1] }
      cluster.eventually("it knows all members", function()
        client:members()
        return #client:nodes() == 3
      end)
      local leader = c:leader()
      assert.are.same({ leader, "127.0.0.1:" .. c.nodes[leader].port }, { client:leader() })
      for _, name in ipairs(c.names) do assert.are.equal(name, assert(client:status { node = name }).id) end
      assert.are.equal("n2", assert(client:status { address = addresses[2] }).id)

      local values = { 0, -1, 1 << 62, math.mininteger, 0.5, 1.0, -0.0, 1e300, "text", "", "\xff\x00\xfe", true, false,
        { 1, 2, { 3 } }, { a = 1, b = { c = "d" } }, { [5] = "five", x = "ex" }, ("x"):rep(100000), {} }
      for _, value in ipairs(values) do
        local got, err = client:propose("echo", value)
        assert.is_nil(err)
        assert.are.same(value, got)
        assert.are.equal(math.type(value), math.type(got))
        local read
        read, err = client:query "value"
        assert.is_nil(err)
        assert.are.same(value, read)
      end
      local object = client:propose("echo", moonclave.object {})
      assert.are.equal("moonclave.object", getmetatable(object))
      assert.are.same({ n = 2 }, table.pack(client:propose "nothing")) -- no result, and no error
      local text = ("0123456789"):rep(200000)
      assert.is_true(text:rep(5) == client:query("repeated", { text = text, times = 5 }, { timeout = 20 }))

      assert.are.equal(1, client:propose("add", {}, { key = "once" }))
      assert.are.equal(1, client:propose("add", {}, { key = "once" }))
      assert.are.equal(2, client:propose("add", {}, { session = false }))
      for _, consistency in ipairs { "linearizable", "lease", "stale" } do
        cluster.eventually(consistency, function()
          return client:query("get", nil, { consistency = consistency, node = "n3" }) == 2
        end)
      end

      local _, err = client:propose "fail"
      assert.are.equal("command_failed", err.code)
      assert.is_truthy(err.message:find("on purpose", 1, true) and err.traceback)
      _, err = client:propose "missing"
      assert.are.equal("no_such_command", err.code)
      _, err = client:query "missing"
      assert.are.equal("no_such_command", err.code)
      for _, code in ipairs { "unavailable", "timeout", "not_leader", "conflict", "session_expired" } do
        local began = seconds()
        local result
        result, err = client:propose("refuse", { code = code })
        assert.are.same({ code, "no", { 1, 2 } }, { err.code, err.message, err.more })
        assert.is_nil(result)
        assert.is_true(err.rejected)
        assert.is_true(seconds() - began < 4)
      end
      _, err = client:propose "partly" -- what an app calls by that name is left alone
      assert.are.same({ "partly", { "b" } }, { err.code, err.rejected })
      _, err = client:status { node = "n9" }
      assert.are.equal("not_found: there is no node n9: the members are n1, n2, n3", tostring(err))

      local other = leader == "n1" and "n2" or "n1"
      assert.are.equal(other, assert(client:admin("transfer", { id = other })).leader)
      cluster.eventually("it knows the new leader", function() return client:leader() == other end)
      assert.are.equal(3, client:propose "add")
      assert.is_number(assert(client:admin("snapshot", nil, { node = "n2" })).index)
      local _, refused = client:admin("remove", { id = "n9" })
      assert.is_string(refused.code)
      assert.are.equal(3, #assert(client:call "members"))
      assert.are.equal("voter", assert(client:call("members", {}, { node = "n2" }))[1].role)

      c:signal(other, "sigstop") -- it leads, takes what is sent, and says nothing
      local result, silent = client:propose("add", {}, { timeout = 15 })
      c:signal(other, "sigcont")
      assert.are.equal(4, result, tostring(silent))
    end)
  end)

  it("says unavailable within the time when all are down, and goes on when they are back", function()
    with_cluster(function(c, addresses)
      local client <close> = connect(addresses)
      assert.are.equal(1, client:propose "add")
      c:kill(table.unpack(c.names))
      for _, call in ipairs {
        function(options) return client:propose("add", {}, options) end,
        function(options)
          options.session = false
          return client:propose("add", {}, options)
        end,
        function(options) return client:query("get", {}, options) end,
        function(options) return client:members(options) end,
        function(options)
          options.node = "n2"
          return client:status(options)
        end,
      } do
        local began = seconds()
        local result, err = call { timeout = 0.4 }
        assert.are.same({ nil, "unavailable" }, { result, err.code })
        assert.is_truthy(err.message:find("Connection refused", 1, true), err.message)
        assert.is_true(seconds() - began < 3)
      end
      local nobody, why = moonclave.connect { addresses = addresses, timeout = 2 }
      assert.are.same({ nil, "unavailable" }, { nobody, why.code })
      c:launch()
      assert.are.equal(2, client:propose("add", {}, { timeout = 30 }))
      assert.are.equal(2, client:query "get")
    end)
  end)

  it("is told what happens, also when the node that tells it is gone", function()
    with_cluster(function(c, addresses)
      local client <close> = connect(addresses)
      local told = {}
      cluster.spawn(function()
        for event in client:events { timeout = 20, types = { "role", "leader", "term" } } do told[#told + 1] = event end
      end)
      local leader = c:leader()
      cluster.sleep(100)
      c:kill(leader)
      cluster.eventually("another leader is told of", function()
        for _, event in ipairs(told) do
          local data = event.data or {}
          if data.leader ~= leader and data.leader ~= "" and data.leader then return true end
          assert.is_truthy(({ role = 1, leader = 1, term = 1, lost = 1 })[event.type], event.type)
        end
      end)
    end)
  end)
end)

-- Many coroutines on luv's loop, some of them on a client that nobody closes.
local COROUTINES = [[
local moonclave, uv = require "moonclave", require "luv"
local client = assert(moonclave.connect { addresses = { table.unpack(arg) }, loop = "luv" })
local other = moonclave.luv(assert(moonclave.connect { addresses = { table.unpack(arg) } }))
local done = 0
for i = 1, 100 do
  coroutine.wrap(function()
    local one = i % 10 == 0 and other or client
    assert(one:propose("append", { key = "log", value = "." }))
    assert(#assert(one:query("get", { key = "log" })).value > 0)
    done = done + 1
  end)()
end
uv.run()
assert(#client:query("get", { key = "log" }).value == 100) -- blocks
client:close()
print(done)
]]

describe("a stock lua5.4", function()
  it("runs examples/client.lua, coroutines on luv's loop, and is told when nobody is there", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = FLAGS }
      c:start()
      local addresses = {}
      for i, name in ipairs(c.names) do addresses[i] = "127.0.0.1:" .. c.nodes[name].port end
      local leader = c:leader()
      local program, arguments = lua { "examples/client.lua", table.unpack(addresses) }
      local code, text = cluster.execute(program, arguments)
      assert.are.equal(0, code, text)
      local expected = { "^written at revision %d+$", "^refused: conflict, it is hello$", "^read: hello$",
        "^the leader is " .. leader .. "$" }
      for i, name in ipairs(c.names) do expected[4 + i] = "^" .. name .. " at 127.0.0.1:%d+: voter$" end
      local lines = lines_of(text)
      assert.are.equal(#expected, #lines, text)
      for i, pattern in ipairs(expected) do assert.is_truthy(lines[i]:match(pattern), lines[i]) end
      cluster.write_file(c.folder .. "/coroutines.lua", COROUTINES)
      code, text = cluster.execute(lua { c.folder .. "/coroutines.lua", table.unpack(addresses) })
      assert.are.same({ 0, "100\n" }, { code, text })
      c:kill(table.unpack(c.names))
      code, text = cluster.execute(program, arguments)
      assert.are.equal(1, code)
      assert.is_truthy(text:find("unavailable: nobody answers", 1, true), text)
    end)
  end)

  it("loads the library without any side effect, and it is linked into the program", function()
    cluster.run(function()
      local code, text = cluster.execute(lua { "-e", [[
        local before = {}
        for name in pairs(_G) do before[name] = true end
        local moonclave = require "moonclave"
        for name in pairs(_G) do assert(before[name], name) end
        print(moonclave._VERSION, getmetatable(moonclave.object {}), package.loaded.luv)
      ]] })
      assert.are.equal(0, code, text)
      assert.is_truthy(text:match "^moonclave %d+%.%d+%.%d+\tmoonclave%.object\tnil\n$", text)
      local count = "nm '" .. cluster.program .. "' | grep -c ' T luaopen_moonclave_channel'"
      code, text = cluster.execute("sh", { "-c", count })
      assert.are.same({ 0, "1\n" }, { code, text })
    end)
  end)
end)
