-- Strangers at the door: bytes that are no request, requests that are too much, clients that do nothing. Each
-- gets one clear answer or a closed connection, and the node lives on.
local cluster = require "support.cluster"
local uv = require "luv"

-- Sends bytes to a port and reads until the other side closes, or for `limit_ms`. Returns what came, and whether
-- it was closed.
local function talk(port, bytes, limit_ms)
  local answer, closed = {}, false
  cluster.await(function(resume)
    local socket, timer = uv.new_tcp(), uv.new_timer()
    local function finish()
      if not timer:is_closing() then timer:close() end
      if not socket:is_closing() then socket:close() end
      resume()
    end
    timer:start(limit_ms or 10000, 0, finish)
    socket:connect("127.0.0.1", port, function(problem)
      assert(not problem, problem)
      socket:read_start(function(trouble, chunk)
        if trouble or not chunk then
          closed = true
          finish()
        else
          answer[#answer + 1] = chunk
        end
      end)
      for _, part in ipairs(type(bytes) == "table" and bytes or { bytes }) do socket:write(part) end
    end)
  end)
  return table.concat(answer), closed
end

local function alone(flags, body)
  cluster.run(function()
    local c <close> = cluster.new { nodes = 1, flags = flags }
    c:start()
    body(c, c.nodes.n1)
    assert.is_false(c.nodes.n1.process.exited or false, c:log "n1")
    assert.are.equal(200, assert(c:http("n1", "POST", "/v1/command/put", '{"key":"alive","value":"yes"}')).status)
  end)
end

describe("the node's address", function()
  it("closes whoever speaks no language of its own, and says so in the log", function()
    alone({}, function(c, node)
      for _, bytes in ipairs { "GET / HTTP/1.1\r\n\r\n", "\22\3\1\0\5hello", "\0\0\0\0", "\255", "SSH-2.0-x\r\n" } do
        local answer, closed = talk(node.port, bytes)
        assert.are.same({ "", true }, { answer, closed })
      end
      assert.is_truthy(c:log("n1"):find("HTTP has a port of its own", 1, true), c:log "n1")
    end)
  end)

  it("closes msgpack-RPC that announces gigabytes in five bytes, before it reserves them", function()
    alone({}, function(c, node)
      local before = tonumber(assert(c:status "n1"):match '"resident_bytes":(%d+)')
      for _, bomb in ipairs {
        "\x94\x00\x01\xdb\xff\xff\xff\xff",
        "\x94\x00\x01\xa3put\xdd\xff\xff\xff\xff",
        "\x94\x00\x01\xa3put\xdf\xff\xff\xff\xff",
        "\x94\x00\x01\xa3put\x91\xc6\xff\xff\xff\xff",
        "\x94\x00\x01\xa3put" .. ("\x91"):rep(100),
        "\x94\xc1",
        "\x93\x05\x01\x01",
      } do
        local _, closed = talk(node.port, bomb)
        assert.is_true(closed, ("%q"):format(bomb))
      end
      local after = tonumber(assert(c:status "n1"):match '"resident_bytes":(%d+)')
      assert.is_true(after - before < 16 * 1024 * 1024, ("grew from %d to %d"):format(before, after))
    end)
  end)

  it("closes a node that garbles its frames, or speaks before it has said who it is", function()
    alone({}, function(c, node)
      local vote = ("<I4BBI2I8"):pack(1, 1, 0, 0, 12345) .. "\x90"
      for _, bytes in ipairs {
        "MCN0" .. vote, "MCN1" .. vote, "MCN1" .. ("\255"):rep(64), "MCN1" .. ("\0"):rep(64),
        "MCN1" .. ("<I4BBI2I8"):pack(0xfffffff0, 3, 0, 0, 0),
      } do
        local answer, closed = talk(node.port, bytes)
        assert.are.same({ "", true }, { answer, closed }, ("%q"):format(bytes))
      end
      assert.is_truthy(c:log("n1"):find("closed the connection of a node", 1, true), c:log "n1")
    end)
  end)

  it("answers pipelined requests, each once, by its id", function()
    alone({}, function(_, node)
      local requests = {}
      for id = 1, 100 do
        local key = string.char(65 + id % 26)
        requests[id] = "\x94\x00" .. string.char(id) .. "\xa3put\x91\x82\xa3key\xa1" .. key .. "\xa5value\xa1x"
      end
      requests[101] = "\x94\x00\x65\xa6absent\x90"
      requests[102] = "\x94\x00\x66\xa9query/get\x91\x81\xa3key\xa1A"
      local answers = talk(node.port, table.concat(requests), 1500)
      local seen = 0
      for id = 1, 102 do
        local at = answers:find("\x94\x01" .. string.char(id), 1, true)
        if at then seen = seen + 1 end
      end
      assert.are.equal(102, seen)
      assert.is_truthy(answers:find("no_such_command", 1, true))
    end)
  end)
end)

describe("the HTTP port", function()
  it("answers 400 to what is no HTTP, and closes", function()
    alone({}, function(_, node)
      local length = "PUT / HTTP/1.1\r\ncontent-length: x\r\n\r\n"
      for _, bytes in ipairs { "hello\r\n\r\n", "\x94\x00\x01\xa3put\x90", length } do
        local answer, closed = talk(node.http_port, bytes)
        assert.are.same({ "HTTP/1.1 400", true }, { answer:sub(1, 12), closed }, bytes)
      end
    end)
  end)

  it("answers 413 and 431 to what is larger than the limits, also while it is still being sent", function()
    alone({ "--http-body-bytes-max=10000", "--http-head-bytes-max=2000" }, function(_, node)
      local head = "PUT /kv/a HTTP/1.1\r\ncontent-length: 5000000\r\n\r\n"
      local answer, closed = talk(node.http_port, { head, ("x"):rep(5000000) })
      assert.are.same({ "HTTP/1.1 413", true }, { answer:sub(1, 12), closed })
      local chunks = ("1000\r\n" .. ("y"):rep(4096) .. "\r\n"):rep(4)
      local chunked = "PUT /kv/a HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n" .. chunks
      assert.are.equal("HTTP/1.1 413", talk(node.http_port, chunked):sub(1, 12))
      answer = talk(node.http_port, "GET / HTTP/1.1\r\nlong: " .. ("z"):rep(3000) .. "\r\n\r\n")
      assert.are.equal("HTTP/1.1 431", answer:sub(1, 12))
    end)
  end)

  it("answers in JSON what is wrong with a request: the body, the path, the method, the options", function()
    alone({}, function(c)
      local cases = {
        { "POST", "/v1/command/put", "{", 400, "line 1" },
        { "POST", "/v1/command/put", "[1,2", 400, "bad_request" },
        { "POST", "/v1/command/put", '{"key":' .. ("["):rep(200), 400, "bad_request" },
        { "POST", "/v1/command/absent", "{}", 404, "no_such_command" },
        { "POST", "/v1/command/%zz", "{}", 400, "bad_request" },
        { "GET", "/v1/command/put", nil, 405, "POST" },
        { "DELETE", "/v1/status", nil, 405, "GET" },
        { "GET", "/v1/query/get?key=a&consistency=sometimes", nil, 400, "linearizable" },
        { "GET", "/v1/query/get?key=a&timeout=-1", nil, 400, "timeout" },
        { "GET", "/v1/query/absent", nil, 404, "no_such_command" },
        { "GET", "/v1/nothing", nil, 404, "not_found" },
      }
      for _, case in ipairs(cases) do
        local answer = assert(c:http("n1", case[1], case[2], case[3]))
        local shown = { answer.status, answer.headers["content-type"] }
        assert.are.same({ case[4], "application/json" }, shown, answer.body)
        assert.is_truthy(answer.body:find(case[5], 1, true), answer.body)
      end
      assert.are.equal("POST", assert(c:http("n1", "GET", "/v1/command/put")).headers.allow)
    end)
  end)

  it("keeps the order of pipelined requests, and a connection for many", function()
    alone({}, function(_, node)
      local requests = {}
      for i = 1, 50 do
        local body = ('{"key":"k%d","value":"%d"}'):format(i, i)
        local put = "POST /v1/command/put HTTP/1.1\r\ncontent-length: %d\r\n\r\n%s"
        requests[#requests + 1] = put:format(#body, body)
        local last = i == 50 and "connection: close\r\n" or ""
        requests[#requests + 1] = ("GET /v1/query/get?key=k%d HTTP/1.1\r\n%s\r\n"):format(i, last)
      end
      local answer, closed = talk(node.http_port, table.concat(requests))
      assert.is_true(closed)
      local expected = 0
      for value in answer:gmatch '"value":"(%d+)"' do
        expected = expected + 1
        assert.are.equal(expected, tonumber(value))
      end
      assert.are.equal(50, expected, answer)
    end)
  end)

  it("answers a client that has finished sending before it reads", function()
    alone({}, function(_, node)
      local text, closed = "", false
      cluster.await(function(resume)
        local socket = uv.new_tcp()
        socket:connect("127.0.0.1", node.http_port, function()
          socket:read_start(function(_, chunk)
            if chunk then
              text = text .. chunk
            else
              closed = true
              socket:close()
              resume()
            end
          end)
          socket:write "GET /v1/query/get?key=none HTTP/1.1\r\n\r\n"
          socket:shutdown()
        end)
      end)
      assert.are.same({ "HTTP/1.1 200", true }, { text:sub(1, 12), closed })
    end)
  end)

  it("closes those who bring no request in time, byte by byte as well, and answers the others", function()
    alone({ "--http-idle-ms=400" }, function(c, node)
      local sockets, closed = {}, 0
      for i = 1, 60 do
        local socket = uv.new_tcp()
        sockets[i] = socket
        socket:connect("127.0.0.1", node.http_port, function()
          socket:read_start(function(problem, chunk)
            if not problem and chunk or socket:is_closing() then return end
            closed = closed + 1
            socket:close()
          end)
          if i % 2 == 0 then return end
          socket:write "GET / HTTP/1.1\r\nx: "
          local drip = uv.new_timer()
          drip:start(50, 50, function()
            if socket:is_closing() then drip:close() else socket:write "a" end
          end)
        end)
      end
      cluster.eventually("all are closed", function()
        assert.are.equal(200, assert(c:http("n1", "GET", "/healthz")).status)
        return closed == #sockets
      end)
    end)
  end)

  it("does not gather answers for clients that take none", function()
    alone({ "--http-idle-ms=60000" }, function(c, node)
      local body = ('{"key":"big","value":"%s"}'):format(("v"):rep(500000))
      assert.are.equal(200, assert(c:http("n1", "POST", "/v1/command/put", body)).status)
      local before = tonumber(assert(c:status "n1"):match '"resident_bytes":(%d+)')
      local sockets = {}
      for i = 1, 20 do
        local socket = uv.new_tcp()
        sockets[i] = socket
        socket:connect("127.0.0.1", node.http_port, function()
          -- 2 GB of answers in all, and nobody reads
          socket:write(("GET /v1/query/get?key=big HTTP/1.1\r\n\r\n"):rep(200))
        end)
      end
      cluster.sleep(1500)
      local after = tonumber(assert(c:status "n1"):match '"resident_bytes":(%d+)')
      for _, socket in ipairs(sockets) do socket:close() end
      if os.getenv "LD_PRELOAD" then return end -- AddressSanitizer keeps what was freed
      assert.is_true(after - before < 64 * 1024 * 1024, ("grew from %d to %d"):format(before, after))
    end)
  end)

  it("closes clients beyond the limit, and has room again when others leave", function()
    alone({ "--clients-max=8" }, function(c, node)
      local sockets, open = {}, 0
      for i = 1, 20 do
        local socket = uv.new_tcp()
        sockets[i] = socket
        open = open + 1
        socket:connect("127.0.0.1", node.http_port, function()
          socket:read_start(function(problem, chunk)
            if (problem or not chunk) and not socket:is_closing() then
              open = open - 1
              socket:close()
            end
          end)
        end)
      end
      cluster.eventually("only 8 are left", function() return open == 8 end)
      for _, socket in ipairs(sockets) do
        if not socket:is_closing() then socket:close() end
      end
      cluster.eventually("it answers again", function() return c:http("n1", "GET", "/healthz") end)
    end)
  end)
end)

describe("a node that runs out of descriptors", function()
  it("goes on, and accepts again when there are some", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, wrap = function(_, _, program, arguments)
        return "/bin/sh", { "-c", 'ulimit -n 100; exec "$0" "$@"', program, table.unpack(arguments) }
      end }
      c:start()
      local sockets = {}
      for i = 1, 300 do
        sockets[i] = uv.new_tcp()
        sockets[i]:connect("127.0.0.1", c.nodes.n1.port, function() end)
      end
      cluster.sleep(300)
      for _, socket in ipairs(sockets) do socket:close() end
      cluster.eventually("it answers", function() return c:http("n1", "GET", "/healthz") end)
      assert.are.equal(200, assert(c:http("n1", "POST", "/v1/command/put", '{"key":"a","value":"1"}')).status)
    end)
  end)
end)
