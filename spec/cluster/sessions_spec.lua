-- Exactly once, with real processes: clients that send again through kill -9 of leaders, and keys at every node.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local uv = require "luv"

local FLAGS = { "--election-timeout-ms=600", "--heartbeat-ms=100", "--request-timeout-ms=2000" }
local COUNTER = uv.cwd() .. "/examples/counter.lua"
local KILLS = 5

local function counter(flags)
  local all = { table.unpack(FLAGS) }
  for _, flag in ipairs(flags or {}) do all[#all + 1] = flag end
  return cluster.new { app = COUNTER, flags = all }
end

-- Whether an answer is an outcome: everything that says "not now" or "unknown" is sent again.
local function is_outcome(answer)
  return answer and answer.status ~= 503 and answer.status ~= 504 and answer.status ~= 429
end

-- Sends a request to one node after the other until there is an outcome. The answer, and how often it was sent.
local function until_done(c, connections, method, path, body, headers)
  local sent = 0
  local answer = cluster.eventually("an outcome of " .. path, function()
    local name = c.names[math.random(#c.names)]
    connections[name] = connections[name] or c:client(name)
    sent = sent + 1
    local answer, why = connections[name]:request(method, path, body, { headers = headers, limit_ms = 4000 })
    if not answer then connections[name]:close() end
    return is_outcome(answer) and answer, answer and answer.body or why
  end)
  return answer, sent
end

local function close_all(connections)
  for _, connection in pairs(connections) do connection:close() end
end

local function open(c, connections)
  local answer = until_done(c, connections, "POST", "/v1/sessions")
  assert.are.equal(200, answer.status, answer.body)
  return answer.body:match '"session":(%d+)'
end

-- Runs the clients while leaders are killed and started again; each client(done) works until done() is true.
local function through_kills(c, clients)
  local kills, finished = 0, false
  local bodies = {
    function()
      while kills < KILLS do
        cluster.sleep(700)
        local leader = c:leader()
        c:kill(leader)
        kills = kills + 1
        cluster.sleep(300)
        c:start(leader)
      end
      finished = true
    end,
  }
  for i, client in ipairs(clients) do
    bodies[i + 1] = function() client(function() return finished end) end
  end
  cluster.all(bodies)
  return kills
end

-- The replies of `add` to one counter, each command done once: 1 to n, each of them once.
local function each_once(replies)
  table.sort(replies)
  for i, reply in ipairs(replies) do
    assert.are.equal(i, reply, ("command %d of %d: done twice, or lost"):format(i, #replies))
  end
end

local function total(c)
  local answer = until_done(c, {}, "GET", "/v1/query/get?name=total")
  return tonumber(answer.body)
end

describe("clients that send again through kill -9 of leaders", function()
  for name, headers_of in pairs {
    ["in sessions"] = function(session, sequence)
      return { ["moonclave-session"] = session, ["moonclave-sequence"] = sequence }
    end,
    ["with idempotency keys"] = function(session, sequence)
      return { ["idempotency-key"] = ('"%s/%d"'):format(session, sequence) }
    end,
  } do
    it("have each command done once, " .. name, function()
      cluster.run(function()
        local c <close> = counter()
        c:start()
        local replies, resent, clients = {}, 0, {}
        for i = 1, 6 do
          clients[i] = function(done)
            local connections, sequence = {}, 0
            local session = open(c, connections)
            while not done() or sequence < 20 do
              sequence = sequence + 1
              local answer, sent = until_done(c, connections, "POST", "/v1/command/add", '{"name":"total"}',
                headers_of(session, sequence))
              assert.are.equal(200, answer.status, answer.body)
              replies[#replies + 1] = assert(math.tointeger(tonumber(answer.body)), answer.body)
              if sent > 1 then resent = resent + 1 end
              if sequence % 16 == 0 then -- a late retry: the first reply
                local again = until_done(c, connections, "POST", "/v1/command/add", '{"name":"total"}',
                  headers_of(session, sequence))
                assert.are.equal(answer.body, again.body)
              end
            end
            close_all(connections)
          end
        end
        assert.are.equal(KILLS, through_kills(c, clients))
        assert.is_true(#replies >= 120 and resent > 0, #replies .. " commands, sent again: " .. resent)
        each_once(replies)
        assert.are.equal(#replies, total(c))
      end)
    end)
  end
end)

describe("an Idempotency-Key", function()
  it("is the same at every node, at once and one after the other, across restarts of all", function()
    cluster.run(function()
      local c <close> = counter()
      c:start()
      local answers, bodies = {}, {}
      for i = 1, 12 do
        bodies[i] = function()
          answers[i] = c:http(c.names[i % 3 + 1], "POST", "/v1/command/add", '{"name":"total"}',
            { headers = { ["idempotency-key"] = "k-1" } })
        end
      end
      cluster.all(bodies)
      for i = 1, 12 do assert.are.same({ 200, "1" }, { answers[i].status, answers[i].body }) end
      c:kill("n1", "n2", "n3")
      c:start()
      local again = until_done(c, {}, "POST", "/v1/command/add", '{"name":"total"}', { ["idempotency-key"] = '"k-1"' })
      assert.are.same({ 200, "1" }, { again.status, again.body })
      local other = until_done(c, {}, "POST", "/v1/command/add", '{"name":"total","by":2}',
        { ["idempotency-key"] = "k-1" })
      assert.are.equal(409, other.status)
      assert.are.equal("reused", other.body:match '"code":"([^"]+)"')
      assert.are.equal(1, total(c))
    end)
  end)

  it("covers the commands of a handler of api.lua, and cluster.session counts its own", function()
    cluster.run(function()
      local folder = cluster.folder()
      cluster.write_file(folder .. "/fsm.lua", cluster.read_file(COUNTER))
      cluster.write_file(folder .. "/api.lua", [[
        local cluster = require "moonclave.cluster"
        local session
        local function told(...)
          local result, err = ...
          if err then return cluster.http_status(err), { error = err } end
          return 200, result
        end
        return { routes = {
          ["POST /both"] = function()
            local a, err = cluster.propose("add", { name = "a" })
            if not a then return told(nil, err) end
            local b
            b, err = cluster.propose("add", { name = "b" })
            if not b then return told(nil, err) end
            return 200, { a, b }
          end,
          ["POST /counted"] = function()
            if not session then
              local err
              session, err = cluster.session()
              if not session then return told(nil, err) end
            end
            return told(session:propose("add", { name = "total" }))
          end,
        } }
      ]])
      local c <close> = cluster.new { app = folder, flags = FLAGS }
      c:start()
      for _ = 1, 4 do
        local answer = until_done(c, {}, "POST", "/both", "", { ["idempotency-key"] = "k" })
        assert.are.same({ 200, "[1,1]" }, { answer.status, answer.body })
      end
      assert.are.equal("[2,2]", until_done(c, {}, "POST", "/both", "").body)
      for i = 1, 5 do
        local answer = c:http("n1", "POST", "/counted", "")
        assert.are.same({ 200, tostring(i) }, { answer.status, answer.body })
      end
      local sessions = assert(c:status "n1"):match '"sessions":(%b{})'
      assert.are.equal("1", sessions:match '"open":(%d+)')
      cluster.remove(folder)
    end)
  end)
end)

describe("sessions over HTTP", function()
  it("are opened, renewed and closed at any node, and refused where they are none", function()
    cluster.run(function()
      local c <close> = counter { "--session-timeout-ms=60000", "--session-window=4" }
      c:start()
      local opened = c:http("n2", "POST", "/v1/sessions")
      assert.are.equal(200, opened.status, opened.body)
      local id = opened.body:match '^{"expires_ms":%d+,"session":(%d+),"timeout_ms":60000,"window":4}$'
      assert.is_truthy(id, opened.body)
      local function add(node, sequence, by)
        local answer = c:http(node, "POST", "/v1/command/add", ('{"by":%d}'):format(by or 1),
          { headers = { ["Moonclave-Session"] = id, ["Moonclave-Sequence"] = sequence } })
        return answer.status == 200 and answer.body or answer.body:match '"code":"([^"]+)"'
      end
      assert.are.equal("1", add("n1", 1))
      assert.are.equal("1", add("n3", 1))
      assert.are.equal("reused", add("n3", 1, 5))
      assert.are.equal("2", add("n3", 9))
      assert.are.equal("forgotten", add("n2", 5))
      local renewed = c:http("n3", "POST", "/v1/sessions/" .. id, '{"acknowledged":9}')
      assert.are.equal(200, renewed.status, renewed.body)
      assert.are.equal("forgotten", add("n2", 9))
      for _, name in ipairs(c.names) do
        cluster.eventually("the figures of " .. name, function()
          local status = assert(c:status(name))
          return status:find('"sessions":{"bytes":256,"key_bytes":0,"keys":0,"open":1}', 1, true), status
        end)
      end
      for path, body in pairs { ["/v1/sessions/0"] = "", ["/v1/sessions/x"] = "", ["/v1/sessions/-1"] = "",
        ["/v1/sessions/" .. id] = '{"acknowledged":-1}', ["/v1/sessions/99999999999999999999"] = "" } do
        assert.are.equal(400, c:http("n1", "POST", path, body).status, path)
      end
      assert.are.equal(405, c:http("n1", "GET", "/v1/sessions/" .. id).status)
      local closed = c:http("n1", "DELETE", "/v1/sessions/" .. id)
      assert.are.same({ 200, '{"closed":true}' }, { closed.status, closed.body })
      assert.are.equal("session_expired", add("n2", 10))
      assert.are.equal(409, c:http("n3", "POST", "/v1/sessions/" .. id).status)
      for _, headers in ipairs {
        { ["moonclave-session"] = id }, { ["moonclave-sequence"] = 1 },
        { ["moonclave-session"] = "x", ["moonclave-sequence"] = 1 },
        { ["moonclave-session"] = id, ["moonclave-sequence"] = 1, ["idempotency-key"] = "k" },
        { ["idempotency-key"] = ("x"):rep(256) }, { ["idempotency-key"] = '""' },
      } do
        local answer = c:http("n1", "POST", "/v1/command/add", "{}", { headers = headers })
        assert.are.same({ 400, "bad_request" }, { answer.status, answer.body:match '"code":"([^"]+)"' })
      end
      assert.are.equal("2", c:http("n1", "GET", "/v1/query/get").body)
    end)
  end)
end)

-- ---- msgpack-RPC, as any stock client speaks it ----

local function rpc(port)
  local self = { socket = uv.new_tcp(), buffer = "", id = 0 }
  cluster.await(function(resume) self.socket:connect("127.0.0.1", port, resume) end)
  -- error, result
  function self.call(method, ...)
    self.id = self.id + 1
    local params = { ... }
    return cluster.await(function(resume)
      self.socket:read_start(function(_, chunk)
        self.buffer = self.buffer .. (chunk or "")
        local response = base.unpack(self.buffer)
        if not response and chunk then return end
        self.socket:read_stop()
        self.buffer = ""
        resume(response and response[3], response and response[4])
      end)
      self.socket:write("\x94\x00" .. base.pack(self.id) .. base.pack(method) .. base.pack(params))
    end)
  end
  return self
end

describe("sessions over msgpack-RPC", function()
  it("are opened, used, renewed and closed by a stock client", function()
    cluster.run(function()
      local c <close> = counter()
      c:start()
      local one, two = rpc(c.nodes.n1.port), rpc(c.nodes.n2.port)
      local function code(err) return err and err.code end
      local _, opened = one.call "session/open"
      assert.are.same({ 128, 3600000 }, { opened.window, opened.timeout_ms })
      local once = { session = opened.session, sequence = 1 }
      local _, first = one.call("add", { by = 5 }, once)
      local _, again = two.call("add", { by = 5 }, once)
      assert.are.same({ 5, 5 }, { first, again })
      local err = two.call("add", { by = 6 }, once)
      assert.are.equal("reused", code(err))
      _, first = one.call("command/add", { by = 1 }, { key = "k" })
      _, again = two.call("add", { by = 1 }, { key = "k" })
      assert.are.same({ 6, 6 }, { first, again })
      local _, renewed = two.call("session/renew", { session = opened.session, acknowledged = 1 })
      assert.are.equal(opened.session, renewed.session)
      assert.are.equal("forgotten", code(one.call("add", { by = 5 }, once)))
      for _, bad in ipairs {
        { "add", {}, { session = 3 } }, { "add", {}, { sequence = 3 } }, { "add", {}, { session = "x", sequence = 1 } },
        { "add", {}, { key = 7 } }, { "add", {}, { key = "" } },
        { "add", {}, { key = "k", session = 3, sequence = 1 } },
        { "session/renew" }, { "session/close", { session = -1 } }, { "session/close", {} },
      } do
        assert.are.equal("bad_request", code(one.call(table.unpack(bad))), bad[1])
      end
      local _, closed = two.call("session/close", { session = opened.session })
      assert.are.same({ closed = true }, closed)
      assert.are.equal("session_expired", code(one.call("add", { by = 5 }, { session = opened.session, sequence = 2 })))
      one.socket:close()
      two.socket:close()
    end)
  end)
end)
