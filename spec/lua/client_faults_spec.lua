-- The client against nodes that the spec plays: connections that break at every byte, silence, garbage, refusals. What
-- must never be: a wrong answer, a command done twice, a call that goes on past its time.
local cluster = require "support.cluster"
local fake = require "support.fake_nodes"
local moonclave = require "moonclave"
local uv = require "luv"

local connect, with, strike_once, ANSWER_BYTES = fake.connect, fake.with, fake.strike_once, fake.ANSWER_BYTES

local function seconds() return uv.hrtime() / 1e9 end

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
