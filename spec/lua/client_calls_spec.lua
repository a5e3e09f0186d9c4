-- The client against nodes that the spec plays: its session, members, addresses and events, how it ends, what a plain
-- script makes of it, and misuse.
local cluster = require "support.cluster"
local fake = require "support.fake_nodes"
local moonclave = require "moonclave"

local connect, with, strike_once, ANSWER_BYTES = fake.connect, fake.with, fake.strike_once, fake.ANSWER_BYTES

describe("a session", function()
  it("that has expired is opened anew where the command was certainly not done", function()
    with(1, {}, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      nodes.machine.sessions = {}
      assert.are.equal(2, client:propose "add")
      assert.are.equal(2, nodes.machine.done)
    end)
  end)

  it("that has expired behind an unknown outcome is an error, never a second execution", function()
    with(1, {}, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      strike_once(nodes[1], "command/add", { first = 0, after = "close" })
      local opened = nodes[1]
      local real = nodes.machine.command
      nodes.machine.command = function(self, arguments, options) -- done, and then the session is gone
        local result = real(self, arguments, options)
        self.sessions, self.command = {}, nil
        return result
      end
      local result, err = client:propose "add"
      assert.are.same({ nil, "timeout" }, { result, err.code })
      assert.is_truthy(err.message:find("session_expired", 1, true), err.message)
      assert.are.equal(2, nodes.machine.done)
      assert.are.equal(3, client:propose "add") -- in another session
      assert.is_nil(opened.fault)
    end)
  end)

  it("is opened once, by whoever comes first", function()
    with(2, {}, function(client, nodes)
      local bodies = {}
      for i = 1, 20 do bodies[i] = function() assert(client:propose "add") end end
      cluster.all(bodies)
      assert.are.equal(101, nodes.machine.next_session)
      assert.are.equal(20, nodes.machine.done)
    end)
  end)

  it("has no more under way than the cluster keeps replies for", function()
    with(1, { window = 4 }, function(client, nodes)
      local bodies, now, most = {}, 0, 0
      local real = nodes.machine.command
      nodes.machine.command = function(self, ...)
        now = now + 1
        most = math.max(most, now)
        cluster.sleep(2)
        now = now - 1
        return real(self, ...)
      end
      for i = 1, 40 do bodies[i] = function() assert(client:propose "add") end end
      cluster.all(bodies)
      assert.are.equal(40, nodes.machine.done)
      assert.is_true(most >= 2 and most <= 4, most .. " at once")
      local _, err = nil, nil
      nodes[1].fault = function(request) return request.method == "command/add" and { lose = true } or nil end
      for i = 1, 4 do bodies[i] = function() client:propose("add", {}, { timeout = 0.4 }) end end
      for i = 5, 40 do bodies[i] = nil end
      bodies[5] = function() _, err = client:propose("add", {}, { timeout = 0.2 }) end
      cluster.all(bodies)
      assert.are.equal("overloaded", err.code)
    end)
  end)

  it("is closed with the client, and by the collector where nobody does that", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(1)
      do
        local client <close> = connect(nodes)
        assert(client:propose "add")
        assert.is_truthy(next(nodes.machine.sessions))
      end
      assert.is_nil(next(nodes.machine.sessions))
      local function forget() assert(connect(nodes):propose "add") end
      forget()
      assert.is_truthy(next(nodes.machine.sessions))
      cluster.eventually("the session is closed", function()
        collectgarbage()
        return not next(nodes.machine.sessions)
      end)
      cluster.eventually("the connections are closed", function() return not next(nodes[1].connections) end)
    end)
  end)
end)

describe("members", function()
  local function ids(client)
    local list = {}
    for i, node in ipairs(client:nodes()) do list[i] = (node.id or "-") .. (node.leader and "*" or "") end
    return table.concat(list, " ")
  end

  it("are learnt, followed where they move, and forgotten when they are none any more", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(3)
      local client <close> = connect(nodes, { addresses = { nodes[2].address } })
      assert.are.equal("n1* n2 n3", ids(client))
      assert.are.equal(1, client:propose "add")
      assert.are.equal("command/add", nodes[1].seen[#nodes[1].seen]) -- it leads
      nodes[1].leads, nodes[3].leads = false, true
      assert.are.equal("n3", select(2, client:members(), client:leader()))
      assert.are.equal(2, client:propose "add")
      assert.are.equal("command/add", nodes[3].seen[#nodes[3].seen])
      nodes[3]:close() -- and comes back elsewhere
      nodes[3].port = nil
      nodes[3]:listen()
      assert.are.equal(3, client:propose "add")
      cluster.eventually("the new place of n3", function()
        client:query "get"
        return nodes[3].seen[#nodes[3].seen] == "query/get"
      end)
      nodes[1].removed, nodes[2].removed = true, true
      client:members()
      assert.are.equal("n3* -", ids(client)) -- the address that was given stays
      cluster.eventually("no connection to n1", function() return not next(nodes[1].connections) end)
      nodes[1]:close()
      nodes[2]:close()
      assert.are.equal(4, client:propose("add", {}, { session = false }))
      nodes[3].removed = true -- a node without a cluster: what was known stays
      client:members()
      assert.are.equal("n3* -", ids(client))
    end)
  end)
end)

describe("an address", function()
  it("may be the path of a unix socket, or a name, which is resolved while the loop goes on", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(1)
      local folder = cluster.folder()
      local port = nodes[1].port
      local named <close> = connect(nodes, { addresses = { "localhost:" .. port } })
      assert.are.equal(1, named:propose "add")
      nodes[1]:close()
      nodes[1]:listen(folder .. "/socket")
      for i, address in ipairs { folder .. "/socket", "unix:" .. folder .. "/socket" } do
        local client <close> = connect(nodes, { addresses = { address } })
        assert.are.equal(1 + i, client:propose "add")
      end
      cluster.remove(folder)
    end)
  end)

  it("that is none, or where nobody is, is told with its reason, in coroutines and blocking", function()
    cluster.run(function()
      for _, loop in ipairs { "luv", false } do
        for address, reason in pairs {
          ["127.0.0.1"] = "not an address: it is HOST:PORT", ["127.0.0.1:0"] = "not an address",
          ["127.0.0.1:99999"] = "not an address", [":5001"] = "not an address", [""] = "not an address",
          ["/" .. ("x"):rep(200)] = "at most 107 bytes", ["unix:/nowhere/at/all"] = "No such file or directory",
          ["127.0.0.1:1"] = "Connection refused", ["[::1]:1"] = "",
          ["no-such-host.invalid:5001"] = "the host is not known",
        } do
          local client, err = moonclave.connect { addresses = { address }, loop = loop or nil, timeout = 5 }
          assert.are.same({ nil, "unavailable" }, { client, err.code }, address)
          assert.is_truthy(err.message:find(address, 1, true), err.message)
          assert.is_truthy(err.message:find(reason, 1, true), err.message)
        end
      end
    end)
  end)
end)

describe("events", function()
  -- Reads so many events: "n1/2" for the second of n1, "lost 3" ...
  local function read(next_event, count)
    local list = {}
    for i = 1, count do
      local event, err = next_event()
      if not event then
        list[i] = err.code
      elseif event.type == "lost" then
        local data = event.data
        list[i] = data.moved and "moved" or "lost " .. data.lost .. (data.restarted and " restarted" or "")
      else
        list[i] = event.node .. "/" .. event.id
      end
    end
    return list
  end

  it("come one after the other, with what is missed, restarts, and another node in place of a dead one", function()
    with(2, {}, function(client, nodes)
      local one, two = nodes[1], nodes[2]
      local next_event = client:events { timeout = 5 }
      local got = {}
      cluster.spawn(function() got = read(next_event, 2) end)
      cluster.eventually("it listens", function() return one.seen[#one.seen] == "events" end)
      one.happened = 2
      cluster.eventually("two events", function() return #got == 2 end)
      assert.are.same({ "n1/1", "n1/2" }, got)
      one.happened = 12
      assert.are.same({ "lost 6", "n1/9", "n1/10", "n1/11", "n1/12" }, read(next_event, 5))
      one.life, one.happened = 77, 1
      assert.are.same({ "lost 0 restarted", "n1/1" }, read(next_event, 2))
      one:close()
      cluster.spawn(function()
        cluster.eventually("it listens to the other", function() return two.seen[#two.seen] == "events" end)
        two.happened = 1
      end)
      assert.are.same({ "moved", "n2/1" }, read(next_event, 2))
    end)
  end)

  it("of one node only, from a number on, and for a time", function()
    with(2, {}, function(client, nodes)
      nodes[2].happened = 3
      local next_event = client:events { node = "n2", after = 1, life = 2, types = { "role" }, timeout = 0.1 }
      assert.are.same({ "n2/2", "n2/3", "timeout", "timeout" }, read(next_event, 4))
      nodes[2].happened = 4
      assert.are.same({ "n2/4" }, read(next_event, 1))
      assert.are.same({ "not_found" }, read(client:events { node = "n3" }, 1))
      nodes[2].fault = function() return { err = "bad_request" } end
      assert.are.same({ "bad_request" }, read(next_event, 1))
      local for_ever = client:events { node = "n1" }
      local got
      cluster.spawn(function() got = read(for_ever, 1) end)
      cluster.eventually("it listens", function() return nodes[1].seen[#nodes[1].seen] == "events" end)
      client:close()
      assert.are.same({ "unavailable" }, got)
    end)
  end)
end)

describe("closing", function()
  it("ends what is under way with an error, and what comes later raises", function()
    with(1, {}, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      nodes[1].fault = function() return { lose = true } end
      local ended = {}
      for i, call in ipairs {
        function() return client:propose("add") end,
        function() return client:propose("add", {}, { session = false }) end,
        function() return client:query("get") end,
      } do
        cluster.spawn(function()
          local _, err = call()
          ended[i] = err.code
        end)
      end
      client:close()
      client:close()
      assert.are.same({ "timeout", "timeout", "timeout" }, ended)
      assert.has_error(function() client:propose "add" end, "the client is closed")
    end)
  end)

  it("of a coroutine that waits leaves nothing behind", function()
    with(1, { window = 2 }, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      nodes[1].fault = function(request) return request.method == "command/add" and { lose = true } or nil end
      for _ = 1, 5 do
        local seen = #nodes[1].seen
        local thread = cluster.spawn(function() client:propose "add" end)
        cluster.eventually("it has arrived", function() return #nodes[1].seen > seen end)
        assert.is_true(coroutine.close(thread))
      end
      nodes[1].fault = nil
      for i = 2, 6 do assert.are.equal(i, client:propose "add") end
    end)
  end)
end)

describe("a plain script, which blocks", function()
  -- Runs Lua text with the nodes' addresses as its arguments; all it printed.
  local function script(nodes, text, begun)
    local path = os.tmpname()
    cluster.write_file(path, text)
    local process = cluster.process(fake.lua { path, table.unpack(nodes.addresses()) })
    if begun then begun(process) end
    local code = cluster.wait(process)
    local printed = cluster.read_file(process.log)
    os.remove(process.log)
    os.remove(path)
    assert.are.equal(0, code, printed)
    return printed
  end

  local CONNECT = [[
    local moonclave = require "moonclave"
    local client <close> = assert(moonclave.connect { addresses = { table.unpack(arg) }, timeout = 20 })
  ]]

  it("gets right answers over connections that break at every byte, each command done once", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(2)
      local struck = 0
      for _, node in ipairs(nodes) do
        node.fault = function(request)
          if request.method ~= "command/add" or struck == 2 * (ANSWER_BYTES + 1) then return nil end
          struck = struck + 1
          return { first = struck // 2 % (ANSWER_BYTES + 1), after = struck % 2 == 0 and "close" or "reset" }
        end
      end
      local printed = script(nodes, CONNECT .. [[
        for i = 1, 30 do assert(client:propose "add" == i) end
        for i = 31, 40 do assert(client:propose("add", {}, { session = false }) == i) end
        print(client:query "get")
      ]])
      assert.are.equal("40\tnil\n", printed)
      assert.are.same({ 40, 2 * (ANSWER_BYTES + 1) }, { nodes.machine.done, struck })
    end)
  end)

  it("that never closes its client leaves no session behind", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(2)
      script(nodes, [[
        local moonclave = require "moonclave"
        client = assert(moonclave.connect { addresses = { table.unpack(arg) } })
        assert(client:propose "add")
      ]])
      cluster.eventually("its session is closed", function() return not next(nodes.machine.sessions) end)
      assert.are.equal(101, nodes.machine.next_session)
    end)
  end)

  it("can be interrupted, and goes on to use the client", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(1)
      assert.are.equal(1, nodes.machine:add())
      nodes[1].fault = function(request) return request.method == "query/slow" and { lose = true } or nil end
      local printed = script(nodes, CONNECT .. [[
        local ok, problem = pcall(client.query, client, "slow")
        print(ok, (problem:gsub("^.*: ", "")))
        print(client:propose("add"))
        print(client:query "get")
      ]], function(process)
        cluster.eventually("it waits", function() return nodes[1].seen[#nodes[1].seen] == "query/slow" end)
        cluster.signal(process, "sigint")
      end)
      assert.are.equal("false\tinterrupted!\n2\tnil\n2\tnil\n", printed)
    end)
  end)
end)

describe("misuse", function()
  it("raises at the script's line, and says what is meant", function()
    with(1, {}, function(client)
      local function raises(text, call)
        local ok, message = pcall(call)
        assert.is_false(ok)
        assert.is_truthy(message:find(text, 1, true), message)
        assert.is_truthy(message:find("client_calls_spec.lua:", 1, true), message)
      end
      raises("propose: the first argument is a name", function() client:propose(nil) end)
      raises("query: the first argument is a name", function() client:query {} end)
      raises("propose: there is no option tiemout; there are key, session, timeout",
        function() client:propose("add", {}, { tiemout = 1 }) end)
      raises("propose: timeout is a number of seconds", function() client:propose("add", {}, { timeout = 0 }) end)
      raises("propose: key is a string of 1 to 255 bytes", function() client:propose("add", {}, { key = "" }) end)
      raises('query: consistency is "linearizable", "lease" or "stale"',
        function() client:query("get", {}, { consistency = "strong" }) end)
      raises("propose: options are a table, not a number", function() client:propose("add", {}, 5) end)
      raises("propose: the arguments.a[2]: a function is not plain data",
        function() client:propose("add", { a = { 1, print } }) end)
      raises("propose: the arguments: a table with a metatable is not plain data",
        function() client:propose("add", setmetatable({}, {})) end)
      raises("members: there is no option id", function() client:members { id = 3 } end)
      raises("call: there is no option tiemout", function() client:status { tiemout = 3 } end)
      raises("events: types is a list of names", function() client:events { types = "role" } end)
      raises("admin: the arguments.a: a function is not plain data", function() client:admin("add", { a = print }) end)
      raises("call: the first argument is a name", function() client:call() end)
      raises("connect: addresses are missing", function() moonclave.connect {} end)
      raises("connect: there is no option adresses", function() moonclave.connect { adresses = {} } end)
      raises("connect: loop is \"luv\"", function() moonclave.connect { addresses = { "a" }, loop = "ev" } end)
      local cyclic = {}
      cyclic.self = cyclic
      raises("nested too deep, or within itself", function() client:propose("add", cyclic) end)
      assert.are.equal(1, client:propose "add")
    end)
  end)
end)
