-- The client against nodes that the spec plays: connections that break at every byte, silence, garbage, refusals. What
-- must never be: a wrong answer, a command done twice, a call that goes on past its time.
local cluster = require "support.cluster"
local fake = require "support.fake_nodes"
local moonclave = require "moonclave"
local uv = require "luv"

local function connect(nodes, options)
  options = options or {}
  options.addresses, options.loop = options.addresses or nodes.addresses(), "luv"
  return assert(moonclave.connect(options))
end

local function seconds() return uv.hrtime() / 1e9 end

-- Runs body(client, nodes) over so many fake nodes.
local function with(count, options, body)
  cluster.run(function()
    local nodes <close> = fake.nodes(count, fake.machine(options.window))
    options.window = nil
    local client <close> = connect(nodes, options)
    body(client, nodes)
  end)
end

-- A fault that strikes the first request of this method, once.
local function strike_once(node, method, fault)
  node.fault = function(request)
    if request.method ~= method then return nil end
    node.fault = nil
    return fault
  end
end

-- How many bytes the answer to a command has, measured with the fakes themselves.
local ANSWER_BYTES = #"\x94\x01\x01\xc0\x01"

describe("a connection that breaks within an answer", function()
  for how, outcome in pairs { close = "closed the connection", reset = "reset" } do
    it("at every byte, with a session: the command is done once, and its answer is right (" .. how .. ")", function()
      with(2, {}, function(client, nodes)
        local expected = 0
        for cut = 0, ANSWER_BYTES do
          for _, node in ipairs(nodes) do
            strike_once(node, "command/add", { first = cut, after = how })
            expected = expected + 1
            local result, err = client:propose("add", { by = 1 })
            assert.are.equal(expected, result, tostring(err))
          end
        end
        assert.are.same({ expected, expected }, { nodes.machine.total, nodes.machine.done })
      end)
    end)

    it("at every byte, without one: it is not sent again, and nobody says that it was or was not done (" .. how .. ")",
      function()
        with(1, {}, function(client, nodes)
          local done = 0
          for cut = 0, ANSWER_BYTES - 1 do
            strike_once(nodes[1], "command/add", { first = cut, after = how })
            local result, err = client:propose("add", {}, { session = false })
            done = done + 1
            assert.is_nil(result)
            assert.are.equal("timeout", err.code)
            assert.is_truthy(err.message:find(outcome, 1, true), err.message)
            assert.are.equal(done, nodes.machine.done)
          end
          strike_once(nodes[1], "command/add", { first = ANSWER_BYTES, after = "close" })
          assert.are.equal(done + 1, client:propose("add", {}, { session = false }))
        end)
      end)

    it("at every byte of a query's: it is asked again (" .. how .. ")", function()
      with(2, {}, function(client, nodes)
        nodes.machine.total = 77
        for cut = 0, ANSWER_BYTES do
          strike_once(nodes[1], "query/get", { first = cut, after = how })
          assert.are.equal(77, client:query "get")
        end
      end)
    end)
  end

  it("while many wait on it: each gets its own answer", function()
    with(2, { timeout = 20 }, function(client, nodes)
      local strikes, bodies, results = 0, {}, {}
      for _, node in ipairs(nodes) do
        node.fault = function(request)
          if request.method ~= "command/add" or strikes == 40 or math.random() > 0.3 then return nil end
          strikes = strikes + 1
          return { first = math.random(0, ANSWER_BYTES), after = math.random() < 0.5 and "close" or "reset",
            lose = math.random() < 0.3 or nil }
        end
      end
      for i = 1, 100 do
        bodies[i] = function()
          local result, err = client:propose("add", { by = 1 })
          assert.is_truthy(result, tostring(err))
          results[i] = result
        end
      end
      cluster.all(bodies)
      table.sort(results)
      for i = 1, 100 do assert.are.equal(i, results[i]) end
      assert.is_true(strikes > 10, strikes .. " connections were cut")
      assert.are.equal(100, nodes.machine.done)
    end)
  end)
end)

describe("a request that never left whole", function()
  it("is sent elsewhere, though it is a plain command", function()
    with(2, { timeout = 10 }, function(client, nodes)
      client:members { node = "n1" }
      nodes[1].deaf = true
      client.lines[nodes[1].address]:close "for the spec"
      local big = ("x"):rep(8 * 1024 * 1024)
      cluster.spawn(function()
        cluster.eventually("a deaf connection", function() return next(nodes[1].connections) end)
        cluster.sleep(50)
        nodes[1]:close()
      end)
      assert.are.equal(1, client:propose("add", { pad = big }, { session = false }))
      assert.are.equal(1, nodes.machine.done)
    end)
  end)

  it("is sent where somebody listens, when the leader's port is dead", function()
    with(3, {}, function(client, nodes)
      nodes[1]:close()
      for i = 1, 5 do assert.are.equal(i, client:propose("add", {}, { session = false })) end
      assert.are.equal(5, nodes.machine.done)
      nodes[2]:close()
      for i = 6, 8 do assert.are.equal(i, client:propose("add", {}, { session = false })) end
    end)
  end)
end)

describe("silence", function()
  it("of one node costs a part of the time, and not the answer", function()
    with(2, { timeout = 4 }, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      nodes[1].fault = function(request) return request.method:find "/" and { lose = true } or nil end
      local began = seconds()
      assert.are.equal(2, client:propose "add")
      assert.are.equal(2, client:query "get")
      assert.is_true(seconds() - began < 3.5)
      assert.are.equal(2, nodes.machine.done)
    end)
  end)

  it("of all ends at the deadline: unknown for a command, also for one that is asked again", function()
    with(2, {}, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      for _, node in ipairs(nodes) do node.fault = function() return { lose = true } end end
      for _, options in ipairs { {}, { session = false }, { key = "k" } } do
        options.timeout = 0.3
        local began = seconds()
        local result, err = client:propose("add", {}, options)
        local took = seconds() - began
        assert.are.same({ nil, "timeout" }, { result, err.code })
        assert.is_true(took > 0.25 and took < 2, took .. " s")
      end
      local _, err = client:query("get", nil, { timeout = 0.2 })
      assert.are.equal("timeout", err.code)
      assert.is_truthy(tostring(err):find("get has no answer in time", 1, true), tostring(err))
    end)
  end)

  it("before connecting is no silence after: what was held back is taken back", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(1)
      -- A listener whose queue is full: to connect there takes for ever.
      local full, fillers = uv.new_tcp(), {}
      full:bind("127.0.0.1", 0)
      full:listen(1, function() end)
      local port = full:getsockname().port
      local client <close> = connect(nodes, { addresses = { nodes[1].address, "127.0.0.1:" .. port }, timeout = 3 })
      uv.sleep(0)
      for i = 1, 8 do
        fillers[i] = uv.new_tcp()
        fillers[i]:connect("127.0.0.1", port, function() end)
      end
      local _, err = client:call("command/add", {}, { address = "127.0.0.1:" .. port, timeout = 0.3 })
      full:close()
      for _, filler in ipairs(fillers) do filler:close() end
      assert.is_truthy(err.code == "unavailable" or err.code == "timeout", tostring(err))
      assert.are.equal(1, client:propose("add", {}, { session = false }))
      assert.are.equal(1, nodes.machine.done)
    end)
  end)
end)

describe("answers in pieces", function()
  it("of one byte are whole ones", function()
    with(1, {}, function(client, nodes)
      nodes[1].fault = function() return { by_byte = true } end
      for i = 1, 5 do assert.are.equal(i, client:propose "add") end
      assert.are.equal(5, client:query "get")
      local _, err = client:propose("add", { refuse = "conflict" })
      assert.are.same({ "conflict", "as asked" }, { err.code, err.message })
    end)
  end)
end)

describe("garbage", function()
  local HTTP = "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n"
  local strangers = {
    HTTP, "\x00", "\xff\xff\xff\xff", "SSH-2.0-x\r\n", "\x16\x03\x01\x00\x05",
    "\x94\x01\xce\xff\xff\xff\xff\xc0\x01",         -- an answer to what was not asked yet
    "\x94\x00\x01\xa3put\x90", "\x93\x02\xa3put\x90", -- a request, a notification
    "\x93\x01\x01\x01", "\x94\x05\x01\xc0\xc0", "\x94\x01\xa1x\xc0\xc0",
    "\x94\x01\x01\xdd\xff\xff\xff\xff", "\x94\x01\x01\xc0\xdf\xff\xff\xff\xff", "\x94\x01\x01\xc0\xc6\xff\xff\xff\xff",
    "\x94\x01\x01\xc0" .. ("\x91"):rep(60) .. "\xc0", "\x94\x01\x01\xc0\xc1", "\x94\x01\x01\xc0\xd4\x05\x00",
    "\x94\x01\x01\xc0\x81\xc3\x01",                 -- a key that is neither string nor integer
  }

  it("from the only node is no answer, and says what to look at", function()
    cluster.run(function()
      local nodes <close> = fake.nodes(1)
      for _, bytes in ipairs(strangers) do
        nodes[1].fault = function() return { bytes = bytes } end
        local began = seconds()
        local client, err = moonclave.connect { addresses = nodes.addresses(), loop = "luv", timeout = 2 }
        assert.is_nil(client, ("%q"):format(bytes))
        assert.are.equal("unavailable", err.code)
        assert.is_true(seconds() - began < 1.9, ("%q: %s"):format(bytes, err))
      end
      local _, err = moonclave.connect { addresses = nodes.addresses(), loop = "luv" }
      assert.is_truthy(err.message:find("does not speak msgpack-RPC", 1, true), err.message)
    end)
  end)

  it("from one node is asked about elsewhere; a plain command's outcome is unknown then", function()
    with(2, {}, function(client, nodes)
      local expected = 0
      for _, bytes in ipairs(strangers) do
        strike_once(nodes[1], "command/add", { bytes = bytes })
        expected = expected + 1
        assert.are.equal(expected, client:propose "add")
        strike_once(nodes[1], "query/get", { bytes = bytes })
        assert.are.equal(expected, client:query "get")
      end
      assert.are.equal(expected, nodes.machine.done)
      client:leader()
      nodes[2]:close()
      nodes[1].fault = function(request) return request.method == "command/add" and { bytes = HTTP } or nil end
      local result, err = client:propose("add", {}, { session = false })
      assert.are.same({ nil, "timeout" }, { result, err.code })
    end)
  end)
end)

describe("large answers", function()
  it("come whole", function()
    with(1, { timeout = 30 }, function(client, nodes)
      local text, list = ("0123456789abcdef"):rep(768 * 1024), {}
      for i = 1, 300000 do list[i] = i end
      local served = nodes.machine.serve
      nodes.machine.serve = function(self, method, params)
        if method == "query/text" then return text end
        if method == "query/list" then return list end
        return served(self, method, params)
      end
      assert.is_true(text == client:query "text")
      local got = client:query "list"
      assert.are.same({ 300000, 1, 150000, 300000 }, { #got, got[1], got[150000], got[300000] })
      assert.are.equal(1, client:propose "add")
    end)
  end)
end)

describe("refusals", function()
  local AGAIN = { "not_leader", "unavailable", "shutting_down", "overloaded", "disk_full", "wiped", "removed" }

  it("that are definite are asked about elsewhere, or later, also for a plain command", function()
    with(2, {}, function(client, nodes)
      local expected = 0
      for _, code in ipairs(AGAIN) do
        for _, options in ipairs { { session = false }, {}, { key = code } } do
          for _, node in ipairs(nodes) do strike_once(node, "command/add", { err = code }) end
          expected = expected + 1
          assert.are.equal(expected, client:propose("add", {}, options), code)
        end
      end
      assert.are.equal(expected, nodes.machine.done)
    end)
  end)

  it("that last are told at the deadline", function()
    with(2, {}, function(client, nodes)
      for _, code in ipairs(AGAIN) do
        for _, node in ipairs(nodes) do node.fault = function() return { err = code } end end
        cluster.eventually("it is told " .. code, function() -- unless the last attempt was overtaken by the deadline
          local result, err = client:propose("add", {}, { session = false, timeout = 0.15 })
          assert.is_nil(result)
          return err.code == code, err.code
        end)
      end
      assert.are.equal(0, nodes.machine.done)
    end)
  end)

  it("that leave it unknown are asked about again only where it is done once", function()
    with(2, {}, function(client, nodes)
      local expected = 0
      for _, code in ipairs { "timeout", "io_error", "corrupt", "internal" } do
        for _, node in ipairs(nodes) do strike_once(node, "command/add", { err = code }) end
        expected = expected + 1
        assert.are.equal(expected, client:propose "add")
        for _, node in ipairs(nodes) do node.fault = function() return { err = code } end end
        local _, err = client:propose("add", {}, { session = false })
        assert.are.equal(code, err.code)
        for _, node in ipairs(nodes) do node.fault = nil end
      end
      assert.are.equal(expected, nodes.machine.done)
    end)
  end)

  it("after an attempt that may have been done are no outcome", function()
    with(1, {}, function(client, nodes)
      assert.are.equal(1, client:propose "add")
      for _, code in ipairs { "too_large", "forgotten", "session_expired", "unauthorized" } do
        local first = true
        nodes[1].fault = function(request)
          if request.method ~= "command/add" then return nil end
          if not first then return { err = code } end
          first = false
          return { first = 0, after = "close" } -- done, and not answered
        end
        local result, err = client:propose "add"
        assert.are.same({ nil, "timeout" }, { result, err.code }, code)
        assert.is_truthy(err.message:find(code, 1, true), err.message)
        nodes[1].fault = nil
      end
    end)
  end)

  it("of the app are its own, whatever they are called, and the first reply stays", function()
    with(2, {}, function(client, nodes)
      for _, code in ipairs { "unavailable", "timeout", "not_leader", "session_expired", "overloaded", "mine" } do
        for _, options in ipairs { {}, { session = false } } do
          local before = #nodes[1].seen + #nodes[2].seen
          local result, err = client:propose("add", { refuse = code }, options)
          assert.are.same({ nil, code, "as asked" }, { result, err.code, err.message })
          assert.are.equal(code .. ": as asked", tostring(err))
          assert.is_true(#nodes[1].seen + #nodes[2].seen - before <= 3, "asked again: " .. code)
        end
      end
    end)
  end)
end)

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
        assert.is_truthy(message:find("client_faults_spec.lua:", 1, true), message)
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
