-- `moonclave config` and /v1/config, against real nodes: what people type and see, what lasts and what does not.
local base = require "moonclave.base"
local http = require "moonclave.http"
local cluster = require "support.cluster"

local FAST = { "--election-timeout-ms=400", "--heartbeat-ms=60", "--log-level=info" }

-- The program asked at one node of the cluster; its exit code and all it printed.
local function config(c, name, ...)
  local words = { "config", ... }
  words[#words + 1] = "--addr=127.0.0.1:" .. c.nodes[name].port
  return cluster.execute(cluster.program, words)
end

local function done(c, name, ...)
  local code, text = config(c, name, ...)
  assert.are.equal(0, code, text)
  return text
end

local function json(text) return (base.unpack(assert(http.json_to_value(text)))) end

local function value(c, node, name)
  return json(done(c, node, "get", name, "--json")).value
end

local function everywhere(c, name, wanted)
  for _, node in ipairs(c.names) do
    cluster.eventually(node .. " has " .. name, function()
      local is = value(c, node, name)
      return is == wanted, is
    end)
  end
end

describe("moonclave config", function()
  it("without a node, or with what cannot be, says so in a line", function()
    cluster.run(function()
      for words, part in pairs { ["frob"] = '"frob" is none of list, get, set', ["get"] = "name the settings",
        ["set"] = "name the settings", ["list x"] = "list takes no names", ["set x"] = "set x: NAME=VALUE is wanted",
        ["set =5"] = "NAME=VALUE is wanted", ["set waiting_max="] = "NAME=VALUE is wanted",
        ["--frob"] = "no flag --frob" } do
        local list = { "config" }
        for word in words:gmatch "%S+" do list[#list + 1] = word end
        local code, text = cluster.execute(cluster.program, list)
        assert.are.equal(2, code, text)
        assert.is_truthy(text:find(part, 1, true), text)
        assert.are.equal(1, select(2, text:gsub("\n", "")))
      end
      local code, text = cluster.execute(cluster.program, { "config", "--addr=127.0.0.1:1" })
      assert.are.equal(1, code)
      assert.is_truthy(text:find("config: 127.0.0.1:1: nobody answers", 1, true), text)
      code, text = cluster.execute(cluster.program, { "help", "config" })
      assert.are.equal(0, code)
      assert.is_truthy(text:find("moonclave config set command_steps_max=1000000", 1, true), text)
    end)
  end)

  it("changes the cluster's through any node for all of them, for good; and a node's own there, for now", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = FAST }
      c:launch("n1", "n3")
      local file = c.folder .. "/n2.lua"
      cluster.write_file(file, 'return { http_idle_ms = "30s", waiting_bytes_max = "1GiB", session_window = 99 }')
      local ordinary = c.arguments
      function c:arguments(name, extra) -- n2 alone has a file, and a flag that is the cluster's
        if name ~= "n2" then return ordinary(self, name, extra) end
        return ordinary(self, name, { "--config=" .. file, "--request-timeout-ms", "3s", "--command-steps-max=77000" })
      end
      c:launch "n2"
      for _, name in ipairs(c.names) do
        cluster.eventually(name .. " is ready", function() return c:ready(name) end)
      end
      local cluster_has = value(c, "n1", "command_steps_max") -- whoever led first has said so

      -- what it looks like
      local text = done(c, "n2", "list")
      for line in text:gmatch "[^\n]+" do
        assert.is_true(#line <= 80 or line:find("no effect", 1, true) ~= nil, line)
        assert.is_nil(line:find " $", line)
      end
      assert.is_truthy(text:find "settings of the cluster, as n2 has them at index %d+\n")
      assert.is_truthy(text:find "\nname +value +default +limits +from\n")
      assert.is_truthy(text:find "\nblock_bytes_max +16MiB +16MiB +64KiB%.%.1GiB +cluster\n")
      assert.is_truthy(text:find "\nheartbeat_ms +60ms +100ms +1ms%.%.1min +flag +restart\n")
      assert.is_truthy(text:find "\nrequest_timeout_ms +3s +5s +1ms%.%.10min +flag\n")
      assert.is_truthy(text:find "\nhttp_idle_ms +30s +1min +100ms%.%.1h +file\n")
      assert.is_truthy(text:find "\nclients_max +10000 +10000 +1%.%.1000000 +default\n")
      local changed = done(c, "n2", "list", "--changed")
      assert.is_truthy(changed:find "\nwaiting_bytes_max +1GiB +256MiB")
      assert.is_nil(changed:find("clients_max", 1, true))
      local all = json(done(c, "n1", "list", "--json"))
      assert.are.equal("n1", all.id)
      assert.are.same({ "cluster", "node" }, { all.settings.session_window.scope, all.settings.waiting_max.scope })

      -- the cluster's, by a node that follows or leads, as the case may be
      local told = done(c, "n3", "set", "command_steps_max=1000000", "command-memory-max=64MiB")
      local index = tonumber(told:match "^command_steps_max is 1000000 in the cluster, from index (%d+) on\n")
      assert.is_truthy(index, told)
      assert.is_truthy(told:find("command_memory_max is 64MiB in the cluster, from index " .. index, 1, true), told)
      everywhere(c, "command_steps_max", 1000000)
      text = done(c, "n2", "get", "command_steps_max")
      assert.is_truthy(text:find("command_steps_max = 1000000 (VM instructions)", 1, true), text)
      assert.is_truthy(text:find("the cluster's, changed at index " .. index, 1, true), text)
      assert.is_truthy(text:find("n2 was started with 77000, which is of no effect", 1, true), text)
      assert.is_truthy(done(c, "n2", "list"):find("n2 was started with command_steps_max = 77000", 1, true))
      if cluster_has ~= 77000 then
        assert.is_truthy(c:log("n2"):find("started with command_steps_max=77000, the cluster has", 1, true))
      end
      assert.is_truthy(c:log("n1"):find("command_steps_max is 1000000, was ", 1, true))

      -- a node's own
      told = done(c, "n2", "set", "http_body_bytes_max=2000", "follower_reads=on")
      assert.is_truthy(told:find("http_body_bytes_max is 2000 on n2 until it is restarted; to keep it", 1, true), told)
      assert.is_truthy(told:find("\n  follower_reads = 1\n", 1, true), told)
      assert.are.equal(413, assert(c:http("n2", "PUT", "/kv/a", ("x"):rep(2500))).status)
      assert.are.equal(200, assert(c:http("n1", "PUT", "/kv/a", ("x"):rep(2500))).status)

      -- refused: a line, nothing done
      local before = done(c, "n1", "list", "--json")
      for words, part in pairs { ["comand_steps_max=5"] = "did you mean command_steps_max?",
        ["heartbeat_ms=50"] = "start with --heartbeat-ms=50", ["waiting_max=5k"] = 'waiting_max is "5k"',
        ["command_memory_max=1MiB"] = "it must be at least 16777216", ["idempotency_timeout_ms=1h"] = "can only grow",
        ["request_timeout_ms=9min,session_timeout_ms=1min"] = "one after the other" } do
        local list = { "set" }
        for word in words:gmatch "[^,]+" do list[#list + 1] = word end
        local code, out = config(c, "n1", table.unpack(list))
        assert.are.equal(1, code, out)
        assert.is_truthy(out:find(part, 1, true), out)
        assert.are.equal(1, select(2, out:gsub("\n", "")))
      end
      local code, out = config(c, "n1", "get", "waiting_mx")
      assert.are.equal(2, code)
      assert.is_truthy(out:find("did you mean waiting_max?", 1, true), out)
      assert.are.equal(before, done(c, "n1", "list", "--json"))

      -- HTTP
      local answer = c:http("n2", "PATCH", "/v1/config", '{"session_window": 7}')
      assert.are.equal(200, answer.status)
      assert.is_truthy(json(answer.body).index > index)
      everywhere(c, "session_window", 7)
      answer = c:http("n3", "PUT", "/v1/config", '{"waiting_max": "77"}')
      assert.are.same({ 200, { id = "n3" } }, { answer.status, json(answer.body) })
      assert.are.equal(77, json(c:http("n3", "GET", "/v1/config").body).settings.waiting_max.value)
      answer = c:http("n3", "PUT", "/v1/config", '{"waiting_max": 0}')
      assert.are.same({ 400, "bad_request" }, { answer.status, json(answer.body).error.code })
      answer = c:http("n3", "DELETE", "/v1/config")
      assert.are.same({ 405, "GET, HEAD, PATCH, PUT" }, { answer.status, answer.headers.allow })

      -- who is restarted has the cluster's again, and its own as it is started; so has who starts from a snapshot
      assert.are.equal(0, (cluster.execute(cluster.program, { "snapshot", "--addr=127.0.0.1:" .. c.nodes.n2.port })))
      c:kill "n2"
      c:launch "n2"
      cluster.eventually("n2 is ready", function() return c:ready "n2" end)
      assert.are.same({ 1000000, 7, 64 << 20, 0, 3000 }, { value(c, "n2", "command_steps_max"),
        value(c, "n2", "session_window"), value(c, "n2", "command_memory_max"), value(c, "n2", "follower_reads"),
        value(c, "n2", "request_timeout_ms") })
      assert.are.equal("changed", json(done(c, "n2", "get", "session_window", "--json")).source)
    end)
  end)

  it("is there for control scripts", function()
    cluster.run(function()
      local removed = { __close = function(f) cluster.remove(f.path) end }
      local folder <close> = setmetatable({ path = cluster.folder() }, removed)
      cluster.write_file(folder.path .. "/fsm.lua", "return { commands = {} }")
      cluster.write_file(folder.path .. "/api.lua", [[
        local cluster = require "moonclave.cluster"
        local api = { routes = {} }
        api.routes["PUT /window/:n"] = function(request)
          local told, err = cluster.admin("config", { session_window = tonumber(request.params.n) })
          if not told then return cluster.http_status(err), { error = err } end
          return 200, { index = told.index, value = cluster.config().settings.session_window.value }
        end
        return api]])
      local c <close> = cluster.new { nodes = 1, app = folder.path, flags = FAST }
      c:start()
      local answer = c:http("n1", "PUT", "/window/5")
      assert.are.equal(200, answer.status, answer.body)
      assert.are.equal(5, json(answer.body).value)
      answer = c:http("n1", "PUT", "/window/5000")
      assert.are.same({ 400, "bad_request" }, { answer.status, json(answer.body).error.code })
      assert.are.equal(5, value(c, "n1", "session_window"))
    end)
  end)
end)

describe("flags and files", function()
  it("take values with a unit, and refuse what could be two things", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = { "--election-timeout-ms=400ms", "--heartbeat-ms=60ms",
        "--http-body-bytes-max=1KiB", "--follower-reads=on", "--snapshot-log-bytes=default" } }
      c:start()
      assert.are.equal(413, assert(c:http("n1", "PUT", "/kv/a", ("x"):rep(1025))).status)
      assert.are.same({ 400, 1024, 1 }, { value(c, "n1", "election_timeout_ms"), value(c, "n1", "http_body_bytes_max"),
        value(c, "n1", "follower_reads") })
      assert.are.equal("flag", json(done(c, "n1", "get", "snapshot_log_bytes", "--json")).source)
      local code, text = cluster.execute(cluster.program, { "start", "--id=n1", "--waiting-bytes-max=64MB" })
      assert.are.equal(2, code)
      assert.is_truthy(text:find("or with a unit: B, KiB, MiB, GiB, TiB", 1, true), text)
    end)
  end)
end)
