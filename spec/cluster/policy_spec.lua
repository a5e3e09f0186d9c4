-- The membership policy among real processes: a cluster that heals by its app's policy.lua alone, under load.
local cluster = require "support.cluster"

local FLAGS = { "--election-timeout-ms=500", "--heartbeat-ms=80", "--policy-interval-ms=200",
  "--request-timeout-ms=3000", "--log-level=info" }

local POLICY = [[
local policy = {}

function policy.admit(server, view)
  if server.id:match "^x" then return nil, "names that begin with x are not for the cluster of " .. view.leader end
  return server.zone == "b" and server.labels.rack == "7" and "learner" or nil, "its zone is not b"
end

function policy.promote(server) return server.healthy and server.stable_for > 0.5 end

function policy.evict(server, view) return server.silent_for > 1.5 and #view.voters > 3 end

return policy
]]

-- The key-value example with a policy of its own.
local function app(policy)
  local folder = cluster.folder()
  for _, name in ipairs { "fsm.lua", "api.lua", "page.lua" } do
    cluster.write_file(folder .. "/" .. name, cluster.read_file("examples/kv/" .. name))
  end
  cluster.write_file(folder .. "/policy.lua", policy)
  return setmetatable({ path = folder }, { __close = function() cluster.remove(folder) end })
end

local function members(c, name)
  local answer = c:http(name, "GET", "/v1/members", nil, { limit_ms = 3000 })
  if not answer or answer.status ~= 200 then return nil end
  local list = {}
  for id, role in answer.body:gmatch '"id":"([^"]+)".-"role":"([^"]+)"' do list[#list + 1] = id .. " " .. role end
  return table.concat(list, ", ")
end

local function wait_for(c, name, wanted)
  cluster.eventually(name .. " sees " .. wanted, function()
    local now = members(c, name)
    return now == wanted, now
  end)
end

local function logs(c)
  local list = {}
  for _, name in ipairs(c.names) do list[#list + 1] = c:log(name) end
  return table.concat(list, "\n")
end

-- Writes keys of its own to whoever is up until it is over; notes those that are acknowledged.
local function writer(c, number, acknowledged, going)
  local count = 0
  while going() do
    count = count + 1
    local name = c.names[(count + number) % #c.names + 1]
    local process = c.nodes[name].process
    if process and not process.exited then
      local key = number .. "-" .. count
      local answer = c:http(name, "PUT", "/kv/" .. key, "v" .. count, { limit_ms = 4000 })
      if answer and answer.status == 200 then acknowledged[#acknowledged + 1] = { key = key, value = "v" .. count } end
    end
    cluster.sleep(5)
  end
end

local function under_load(c, change)
  local acknowledged, over, bodies = {}, false, {}
  for i = 1, 2 do bodies[i] = function() writer(c, i, acknowledged, function() return not over end) end end
  bodies[#bodies + 1] = function()
    local ok, problem = xpcall(change, debug.traceback)
    over = true
    if not ok then error(problem, 0) end
  end
  cluster.all(bodies)
  return acknowledged
end

describe("a cluster with a policy of its own", function()
  it("takes a server in, replaces one that died, and says no and why, with no acknowledged write lost", function()
    cluster.run(function()
      local own <close> = app(POLICY)
      local c <close> = cluster.new { nodes = 3, app = own.path, flags = FLAGS, label = "zone=b,rack=7" }
      c:start()
      local acknowledged = under_load(c, function()
        c:join("n4", "n1")
        wait_for(c, "n1", "n1 voter, n2 voter, n3 voter, n4 voter")
        assert.is_truthy(logs(c):find("the policy makes n4 a voter", 1, true))
        local victim = c:leader()
        if victim == "n1" or victim == "n4" then victim = "n2" end
        c:kill(victim)
        wait_for(c, "n1", victim == "n2" and "n1 voter, n3 voter, n4 voter" or "n1 voter, n2 voter, n4 voter")
        assert.is_truthy(logs(c):find("the policy removes " .. victim, 1, true))
      end)
      assert.is_true(#acknowledged > 20, "only " .. #acknowledged .. " writes were acknowledged")
      for _, write in ipairs(acknowledged) do
        local answer = cluster.eventually("n4 answers", function()
          local a = c:http("n4", "GET", "/kv/" .. write.key)
          return a and a.status ~= 503 and a
        end)
        assert.are.same({ 200, write.value }, { answer.status, answer.body }, write.key)
      end

      local reason = "the membership policy refuses x5: names that begin with x are not for the cluster of "
      c:join("x5", "n1")
      local code = cluster.wait(c.nodes.x5.process)
      assert.are.equal(1, code)
      assert.is_truthy(c:log("x5"):find("the cluster does not let x5 in: " .. reason, 1, true), c:log("x5"))
      local order = '{"id":"x5","address":"127.0.0.1:' .. c.nodes.x5.port .. '","incarnation":7}'
      local answer = c:http("n4", "POST", "/v1/members", order, { limit_ms = 8000 })
      assert.are.equal(403, answer.status, answer.body)
      assert.is_truthy(answer.body:find(reason, 1, true), answer.body)

      local status = c:status(c:leader())
      local done = status:match '"policy":{"active":true,"asked":%d+,"done":(%d+),"done_last":"[^"]*","failed":0'
      assert.is_true(tonumber(done) >= 1, status)
    end)
  end)

  it("is told when the policy fails, and changes nothing", function()
    cluster.run(function()
      local own <close> = app [[return { admit = function() while true do end end,
        evict = function() return "all of them" end }]]
      local c <close> = cluster.new { nodes = 1, app = own.path, flags = FLAGS }
      c:start()
      local failed = "the membership policy has failed, and nothing is changed: policy.lua:1: "
      c:join("n2", "n1")
      cluster.eventually("the policy is ended", function()
        return c:log("n1"):find(failed .. "more than 500000 steps: is there an endless loop?", 1, true)
      end)
      cluster.eventually("n2 hears of it", function() return c:log("n2"):find("asks again", 1, true), c:log("n2") end)
      assert.are.equal("n1 voter", members(c, "n1"))
      local reply = cluster.eventually("an operator who adds it is told", function()
        local order = '{"id":"n2","address":"127.0.0.1:' .. c.nodes.n2.port .. '"}'
        local a = c:http("n1", "POST", "/v1/members", order, { limit_ms = 8000 })
        return a and a.body:find("the membership policy has failed, so nobody is let in", 1, true) and a, a and a.body
      end)
      assert.are.equal(503, reply.status)
      local forced = '{"id":"n2","address":"127.0.0.1:' .. c.nodes.n2.port .. '","force":true}'
      local answer = c:http("n1", "POST", "/v1/members", forced, { limit_ms = 8000 })
      assert.are.equal(200, answer.status, answer.body)
      wait_for(c, "n1", "n1 voter, n2 voter")
      cluster.eventually("its other word is nonsense, too", function()
        local text = "policy.lua:2: evict must return true or false; it returned \"all of them\""
        return c:log("n1"):find(text, 1, true)
      end)
      cluster.eventually("and so says health", function()
        local code, text = cluster.execute(cluster.program, { "health", "--addr", "127.0.0.1:" .. c.nodes.n1.port })
        assert.are.equal(1, code)
        return text:find("the membership policy fails: policy.lua:2: evict must return true or false", 1, true), text
      end)
    end)
  end)
end)

describe("moonclave start", function()
  it("refuses an app whose policy.lua is none, with file and line", function()
    cluster.run(function()
      for source, text in pairs {
        ["local p = {}\nfunction p.admit(\nreturn p"] = "policy.lua:3: ",
        ["local p = {}\n\nfunction p.promot() end\nreturn p"] = "policy.lua:3: a policy has no `promot`",
        ["return { voters = 3 }"] = "policy.lua:1: a policy has no `voters`: it has admit, promote, demote, evict",
      } do
        local own <close> = app(source)
        local code, output = cluster.execute(cluster.program, {
          "start", own.path, "--id=n1", "--addr=127.0.0.1:" .. cluster.free_port(), "--data=" .. own.path .. "/data" })
        assert.are.equal(1, code)
        assert.is_truthy(output:find(own.path .. ": " .. text, 1, true), output)
      end
    end)
  end)
end)
