-- What a node tells of itself while it runs: events by msgpack-RPC and as a stream over HTTP, log lines as JSON.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local http = require "moonclave.http"
local uv = require "luv"

local function connect(port)
  local socket = uv.new_tcp()
  cluster.await(function(resume) socket:connect("127.0.0.1", port, resume) end)
  return socket
end

-- A stock client: call(method, params) answers error, result.
local function rpc(c, name)
  local client = { id = 0, rest = "", socket = connect(c.nodes[name].port), waiting = {} }
  client.socket:read_start(function(_, chunk)
    client.rest = client.rest .. (chunk or "")
    while #client.rest > 0 do
      local ok, message, taken = pcall(base.unpack, client.rest)
      if not ok or not taken then return end
      client.rest = client.rest:sub(taken + 1)
      client.waiting[message[2]](message[3], message[4])
    end
  end)
  function client:begin(method, params, done)
    self.id = self.id + 1
    self.waiting[self.id] = done
    self.socket:write(base.pack { 0, self.id, method, params })
  end
  function client:call(method, params)
    return cluster.await(function(resume) self:begin(method, params, resume) end)
  end
  function client:events(ask)
    local problem, result = self:call("events", { base.object(ask or {}) })
    assert.equal(base.null, problem)
    return result
  end
  return client
end

local function types(events)
  local list = {}
  for i, event in ipairs(events) do list[i] = event.type end
  return table.concat(list, " ")
end

-- A stream of events: s.events holds what came, as { id =, event =, data = }; s.text the bytes.
local function stream(c, name, path, headers)
  local s = { text = "", events = {}, socket = connect(c.nodes[name].http_port) }
  s.socket:read_start(function(_, chunk)
    if not chunk then s.ended = true return end
    s.text = s.text .. chunk
    local head, body = s.text:match "^(.-\r\n\r\n)(.*)$"
    s.head, s.events = head, {}
    for block in (body or ""):gmatch "(.-)\n\n" do
      local event = {}
      for key, value in block:gmatch "(%w+): ([^\n]*)" do event[key] = value end
      if event.data then
        event.data = base.unpack(assert(http.json_to_value(event.data)))
        s.events[#s.events + 1] = event
      end
    end
  end)
  s.socket:write("GET " .. path .. " HTTP/1.1\r\nhost: x\r\n" .. (headers or "") .. "\r\n")
  function s:wait(count)
    cluster.eventually(count .. " events", function() return #self.events >= count, self.text end)
    return self.events
  end
  function s:close() if not self.socket:is_closing() then self.socket:close() end end
  return s
end

-- One more event of n1, and no other.
local function snapshot(c, i)
  assert.equal(200, c:http("n1", "PUT", "/kv/s", tostring(i)).status)
  assert.equal(200, c:http("n1", "POST", "/v1/snapshot").status)
end

describe("a node's events", function()
  it("are given by number to RPC clients, who wait for the next, and are told what they have missed", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = { "--events-max=16" } }
      c:start()
      local client = rpc(c, "n1")
      local all = client:events { after = 0 }
      assert.matches("^started configuration .*role.* leader.* ready$", types(all.events))
      assert.same({ 0, false, #all.events }, { all.lost, all.restarted, all.next })
      for i, event in ipairs(all.events) do
        assert.equal(i, event.id)
        assert.equal("n1", event.node)
        assert.is_true(math.abs(event.time_ms / 1000 - os.time()) < 60)
      end
      assert.equal("n1", all.events[1].data.id)
      assert.equal("leader ready", types(client:events { after = 0, types = "leader,ready" }.events))
      assert.equal("leader ready", types(client:events { after = 0, types = { "ready", "leader" } }.events))
      assert.equal("started", types(client:events { after = 0, max = 1 }.events))
      -- From now on, without waiting: nothing, and where now is.
      local now = client:events()
      assert.same({}, now.events)
      assert.equal(all.next, now.next)
      -- One waits; it is answered by what happens, not by its time.
      local got
      client:begin("events", { base.object { after = now.next, life = now.life, wait_ms = 60000 } },
        function(_, result) got = result end)
      snapshot(c, 1)
      cluster.eventually("it is told", function() return got end)
      assert.equal("snapshot_taken", types(got.events))
      assert.is_true(got.events[1].data.index > 0 and got.events[1].data.size > 0)
      -- And one whose time is over.
      local began = uv.hrtime()
      assert.same({}, client:events { after = got.next, wait_ms = 200 }.events)
      assert.is_true(uv.hrtime() - began >= 150000000)
      -- The ring keeps sixteen.
      for i = 1, 20 do snapshot(c, i) end
      local late = client:events { after = got.next }
      assert.equal(16, #late.events)
      assert.equal(4, late.lost)
      assert.equal(got.next + 20, late.next)
      assert.equal(got.next + 5, late.events[1].id)
      assert.equal(0, client:events { after = late.next - 3 }.lost)
      client.socket:close()
    end)
  end)

  it("tell a client that the node has started anew", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      local client = rpc(c, "n1")
      local before = client:events { after = 0 }
      client.socket:close()
      c:kill "n1"
      c:start()
      client = rpc(c, "n1")
      local after = client:events { after = before.next, life = before.life }
      assert.is_true(after.restarted)
      assert.not_equal(before.life, after.life)
      assert.equal(1, after.events[1].id)
      assert.is_true(client:events { after = 100000 }.restarted)
      client.socket:close()
    end)
  end)

  it("stream over HTTP, go on where a client was, and say what it has lost", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = { "--events-max=16" } }
      c:start()
      local new, old = stream(c, "n1", "/v1/events?types=snapshot_taken"), stream(c, "n1", "/v1/events?after=0")
      cluster.eventually("heads", function() return new.head and old.head end)
      assert.matches("^HTTP/1.1 200 OK\r\n.*content%-type: text/event%-stream\r\n", new.head)
      assert.equal("started", old:wait(1)[1].event)
      snapshot(c, 1)
      local first = new:wait(1)[1]
      assert.equal("snapshot_taken", first.event)
      assert.equal("snapshot_taken", first.data.type)
      assert.matches("^%d+%." .. first.data.id .. "$", first.id)
      new:close()
      snapshot(c, 2)
      snapshot(c, 3)
      local again = stream(c, "n1", "/v1/events?types=snapshot_taken", "last-event-id: " .. first.id .. "\r\n")
      again:wait(2)
      assert.same({ first.data.id + 1, first.data.id + 2 }, { again.events[1].data.id, again.events[2].data.id })
      again:close()
      for i = 1, 20 do snapshot(c, i) end
      again = stream(c, "n1", "/v1/events", "last-event-id: " .. first.id .. "\r\n")
      again:wait(17)
      assert.same({ event = "lost", data = { lost = 6, restarted = false } }, again.events[1])
      assert.equal(first.data.id + 7, again.events[2].data.id)
      again:close()
      again = stream(c, "n1", "/v1/events", "last-event-id: 12345.1\r\n")
      assert.is_true(again:wait(1)[1].data.restarted)
      again:close()
      -- The stream that was open all the time has missed nothing.
      local last
      cluster.eventually("all of them", function()
        last = old.events[#old.events]
        return last.data.type == "snapshot_taken" and last.data.id == first.data.id + 22, old.text
      end)
      for i, event in ipairs(old.events) do assert.equal(i, event.data.id) end
      -- A graceful stop is told, then the stream ends.
      c:signal("n1", "sigterm")
      cluster.eventually("the end", function() return old.ended end)
      local told = {}
      for _, event in ipairs(old.events) do told[event.event] = true end
      assert.is_true(told.stopping)
      old:close()
    end)
  end)

  it("refuse what they do not understand, and many clients that leave cost nothing", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      for _, row in ipairs {
        { "?types=leader,nothing", 'there is no type of event \\"nothing\\"' }, { "?after=x", "takes ?types=A,B" },
        { "?what=1", "takes ?types=A,B" },
      } do
        local answer = c:http("n1", "GET", "/v1/events" .. row[1])
        assert.equal(400, answer.status)
        assert.matches(row[2], answer.body, 1, true)
      end
      assert.equal(400, c:http("n1", "GET", "/v1/events", nil, { headers = { ["last-event-id"] = "7" } }).status)
      assert.equal(405, c:http("n1", "POST", "/v1/events", "").status)
      local client = rpc(c, "n1")
      for _, ask in ipairs { { types = 7 }, { types = { "leader", "nothing" } }, { after = "x" }, { wait_ms = -1 } } do
        local problem = client:call("events", { base.object(ask) })
        assert.equal("bad_request", problem.code)
      end
      client.socket:close()
      local before = tonumber(c:status "n1":match '"tickets":(%d+)')
      for _ = 1, 5 do
        local leaver = rpc(c, "n1")
        for _ = 1, 100 do leaver:begin("events", { base.object { wait_ms = 60000 } }, function() end) end
        leaver:call("status", {})
        assert.is_true(tonumber(c:status "n1":match '"tickets":(%d+)') >= before + 100)
        leaver.socket:close()
        local s = stream(c, "n1", "/v1/events")
        cluster.eventually("its head", function() return s.head end)
        s:close()
      end
      cluster.eventually("all are forgotten", function()
        local status = c:status "n1"
        return tonumber(status:match '"tickets":(%d+)') == before, status
      end)
    end)
  end)
end)

describe("an app's api.on_event", function()
  it("hears what happens once it is loaded; what it raises is logged, and nothing else comes of it", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, app = false }
      c.app = c.folder .. "/app"
      assert(uv.fs_mkdir(c.app, 493))
      cluster.write_file(c.app .. "/fsm.lua", [[
        return { init = function() return { items = {} } end, commands = {
          put = function(state, command) state.items[command.key] = command.value end } }
      ]])
      cluster.write_file(c.app .. "/api.lua", [[
        local cluster = require "moonclave.cluster"
        local heard = {}
        return {
          routes = { ["GET /heard"] = function() return 200, heard end },
          on_event = function(event)
            heard[#heard + 1] = { type = event.type, id = event.id, index = event.data.index }
            if event.type == "snapshot_taken" then cluster.propose("put", { key = "x", value = 1 }) end
          end,
        }
      ]])
      c:start()
      assert.equal(200, c:http("n1", "POST", "/v1/command/put", '{"key":"s","value":1}').status)
      assert.equal(200, c:http("n1", "POST", "/v1/snapshot").status)
      local heard = cluster.eventually("it has heard", function()
        local list = base.unpack(assert(http.json_to_value(c:http("n1", "GET", "/heard").body)))
        return list[#list] and list[#list].type == "snapshot_taken" and list
      end)
      for i = 2, #heard do assert.equal(heard[i - 1].id + 1, heard[i].id) end
      assert.is_true(heard[#heard].index > 0)
      assert.matches("ERROR app +api.on_event%(%) failed: api.lua:%d+: .*propose", c:log "n1")
      assert.equal(200, c:http("n1", "POST", "/v1/command/put", '{"key":"s","value":2}').status)
    end)
  end)
end)

describe("--log-json", function()
  it("makes each line of the log an object, with role and term, and events with their data", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = { "--log-json", "--log-level=debug" } }
      c:start()
      snapshot(c, 1)
      local rooms, event = {}, nil
      for line in c:log "n1":gmatch "[^\n]+" do
        local object = base.unpack(assert(http.json_to_value(line)))
        assert.equal("n1", object.node)
        assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ$", object.time)
        assert.is_truthy(({ debug = true, info = true, warn = true, error = true })[object.level])
        assert.is_string(object.text)
        rooms[object.room] = true
        if object.event == "snapshot_taken" then event = object end
      end
      assert.is_true(rooms.node and rooms.host and rooms.raft and rooms.event)
      assert.same({ "leader", 1 }, { event.role, event.term })
      assert.is_true(event.data.index > 0)
    end)
  end)

  it("leaves quotes and bytes that are no text in a sound object", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, app = false, flags = { "--log-json" } }
      cluster.write_file(c.folder .. "/app.lua", [[
        return { init = function() return {} end, commands = { say = function(_, command) log(command.text) end } }
      ]])
      c.app = c.folder .. "/app.lua"
      c:start()
      assert.equal(200, c:http("n1", "POST", "/v1/command/say", '{"text":"a \\"b\\" \\\\ \\n c \\u00e9"}').status)
      assert.equal(200, c:http("n1", "POST", "/v1/command/say", '{"text":{"$bytes":"/w=="}}').status)
      local said = {}
      for line in c:log "n1":gmatch "[^\n]+" do
        local object = base.unpack(assert(http.json_to_value(line)))
        if object.room == "fsm" then said[#said + 1] = object.text end
      end
      assert.equal('a "b" \\   c é', said[1])
      assert.is_not_nil(said[2])
    end)
  end)
end)
