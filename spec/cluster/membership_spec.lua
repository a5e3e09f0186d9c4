-- Members come and go under load: real processes; what clients saw meanwhile is linearizable and nothing is lost.
local cluster = require "support.cluster"
local linearizable = require "moonclave.linearizable"
local uv = require "luv"

local FLAGS = { "--election-timeout-ms=400", "--heartbeat-ms=60", "--request-timeout-ms=3000", "--log-level=warn" }

-- The voters and learners as a node sees them: "n1 voter, n4 learner".
local function roles(c, name)
  local answer = c:http(name, "GET", "/v1/members", nil, { limit_ms = 3000 })
  if not answer or answer.status ~= 200 then return nil end
  local list = {}
  for id, role in answer.body:gmatch '"id":"([^"]+)".-"role":"([^"]+)"' do list[#list + 1] = id .. " " .. role end
  return table.concat(list, ", ")
end

local function wait_for_roles(c, name, wanted)
  cluster.eventually(name .. " sees " .. wanted, function() return roles(c, name) == wanted, roles(c, name) end)
end

local function remove(c, name, victim)
  cluster.eventually(victim .. " is removed", function()
    local answer = c:http(name, "DELETE", "/v1/members/" .. victim, nil, { limit_ms = 10000 })
    if answer and answer.status == 200 then return true end
    local now = roles(c, name)
    return now and not now:find(victim, 1, true), answer and answer.body
  end)
end

local function stopped_by_itself(c, name)
  local code, signal = cluster.wait(c.nodes[name].process)
  assert.are.same({ 0, 0 }, { code, signal }, c:log(name))
  assert.is_truthy(c:log(name):find("was removed from the cluster", 1, true), c:log(name))
end

-- A client that writes and reads keys of its own and shared ones, on whatever node is up; notes what it saw.
local function client(c, number, history, going)
  local count = 0
  while going() do
    local live = {}
    for _, name in ipairs(c.names) do
      local node = c.nodes[name]
      if node.process and not node.process.exited then live[#live + 1] = name end
    end
    local node = live[(count + number) % #live + 1]
    count = count + 1
    local key = "k" .. (count * 7 + number) % 4
    local op = { client = number, key = key, invoked = uv.hrtime() }
    local answer, why
    if count % 2 == 0 then
      op.kind = "read"
      answer, why = c:http(node, "GET", "/kv/" .. key, nil, { limit_ms = 4000 })
      if answer and answer.status == 200 then op.result = answer.body end
    else
      op.kind, op.value = "append", number .. "-" .. count .. ";"
      answer, why = c:http(node, "POST", "/kv/" .. key .. "/append", op.value, { limit_ms = 4000 })
    end
    local ok = answer and (answer.status == 200 or (op.kind == "read" and answer.status == 404))
    if ok then
      op.outcome, op.returned = "ok", uv.hrtime()
    elseif why == "refused" or (answer and (answer.status == 503 or answer.status == 429)) then
      op.outcome = "failed"
      cluster.sleep(20)
    else
      op.outcome = "unknown"
    end
    if op.kind ~= "read" or op.outcome == "ok" then history[#history + 1] = op end
  end
end

-- Runs `change` while four clients are at work, then judges what they saw.
local function under_load(c, change)
  local history, over = {}, false
  local bodies = {}
  for i = 1, 4 do bodies[i] = function() client(c, i, history, function() return not over end) end end
  bodies[#bodies + 1] = function()
    local ok, problem = xpcall(change, debug.traceback)
    over = true
    if not ok then error(problem, 0) end
  end
  cluster.all(bodies)
  local done = 0
  for _, op in ipairs(history) do if op.outcome == "ok" then done = done + 1 end end
  assert.is_true(done > 100, "only " .. done .. " operations succeeded")
  local verdict, explanation = linearizable.check(history)
  assert.is_true(verdict, tostring(explanation))
end

describe("a cluster of real processes", function()
  it("grows from one to three to five and shrinks to one, under load, with nothing lost", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = FLAGS }
      c:start()
      under_load(c, function()
        for number = 2, 5 do
          c:join("n" .. number, "n1")
          local all = {}
          for i = 1, number do all[i] = "n" .. i .. " voter" end
          wait_for_roles(c, "n1", table.concat(all, ", "))
        end
        for number = 1, 4 do -- the leader among them
          local victim = "n" .. number
          remove(c, "n5", victim)
          stopped_by_itself(c, victim)
        end
        wait_for_roles(c, "n5", "n5 voter")
      end)
      local answer = cluster.eventually("the last one answers", function()
        local a = c:http("n5", "GET", "/kv/k0")
        return a and a.status == 200 and a
      end)
      assert.is_true(#answer.body > 0)
    end)
  end)

  it("has every server replaced, one after another, under load", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = FLAGS }
      c:start()
      under_load(c, function()
        for number = 1, 3 do
          local old, new = "n" .. number, "n" .. number + 3
          local other = "n" .. number + 1
          c:join(new, other)
          cluster.eventually(new .. " votes", function()
            local now = roles(c, other)
            return now and now:find(new .. " voter", 1, true), now
          end)
          remove(c, other, old)
          stopped_by_itself(c, old)
        end
        wait_for_roles(c, "n4", "n4 voter, n5 voter, n6 voter")
      end)
    end)
  end)

  it("lets a wiped server come back once it was removed", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = FLAGS }
      c:start()
      assert.are.equal(200, c:http("n1", "PUT", "/kv/a", "1").status)
      c:kill "n3"
      cluster.remove(c.nodes.n3.data)
      local survivor = c:leader "n3"
      c:join("n3", survivor)
      cluster.eventually("n3 is told", function() return c:log("n3"):find("lost its data", 1, true) end)
      remove(c, survivor, "n3")
      c:kill "n3"
      c:join("n3", survivor)
      wait_for_roles(c, survivor, "n1 voter, n2 voter, n3 voter")
      local answer = cluster.eventually("it has the data", function()
        local a = c:http("n3", "GET", "/kv/a?consistency=stale")
        return a and a.status == 200 and a
      end)
      assert.are.equal("1", answer.body)
    end)
  end)

  it("hands leadership over on request and when its leader is told to stop, without an election's wait", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = { "--election-timeout-ms=5000", "--heartbeat-ms=100" } }
      c:start()
      local first = c:leader()
      local second = first == "n1" and "n2" or "n1"
      local answer = c:http(first, "POST", "/v1/leader/transfer", '{"id":"' .. second .. '"}', { limit_ms = 8000 })
      assert.are.equal(200, answer.status, answer.body)
      assert.are.equal('{"leader":"' .. second .. '"}', answer.body)
      local began = uv.hrtime()
      c:signal(second, "sigterm")
      local third = c:leader(second)
      assert.is_true((uv.hrtime() - began) / 1e6 < 4900, "it took an election timeout")
      assert.are.equal(200, c:http(third, "PUT", "/kv/b", "2").status)
    end)
  end)

  it("finds a server again under its new address", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = FLAGS }
      c:start()
      local leader = c:leader()
      local mover = leader == "n3" and "n2" or "n3"
      c:signal(mover, "sigterm")
      cluster.wait(c.nodes[mover].process)
      local port = cluster.free_port(c.claims)
      local at = "127.0.0.1:" .. c.nodes[c:leader()].port
      local code, text = cluster.execute(cluster.program, { "address", mover, "127.0.0.1:" .. port, "--addr", at })
      assert.are.same({ 0, mover .. " is reached at 127.0.0.1:" .. port .. "\n" }, { code, text })
      c.nodes[mover].port = port
      c:start(mover)
      assert.are.equal(200, c:http(mover, "PUT", "/kv/moved", "1").status)
      local members = c:http(c:leader(), "GET", "/v1/members").body
      assert.is_truthy(members:find("127.0.0.1:" .. port, 1, true), members)
      c:kill(mover == "n1" and "n2" or "n1") -- the one that moved is needed now
      local answer = cluster.eventually("a majority with the one that moved", function()
        local a = c:http(mover, "PUT", "/kv/moved", "2", { limit_ms = 4000 })
        return a and a.status == 200 and a
      end)
      assert.are.equal(200, answer.status)
    end)
  end)

  it("lets the one lead that has the highest priority", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = FLAGS }
      c:start()
      local preferred = c:leader() == "n1" and "n2" or "n1"
      local at = "127.0.0.1:" .. c.nodes.n3.port
      local code, text = cluster.execute(cluster.program, { "priority", preferred, "10", "--addr", at })
      assert.are.same({ 0, preferred .. " has priority 10\n" }, { code, text })
      cluster.eventually(preferred .. " to lead", function() return c:leader() == preferred end)
      assert.is_truthy(c:http(preferred, "GET", "/v1/members").body:find('"id":"' .. preferred ..
        '","lag":0,"match":%d+,"priority":10,'))
      code, text = cluster.execute(cluster.program, { "priority", preferred, "first", "--addr", at })
      assert.are.equal(2, code)
      assert.is_truthy(text:find('priority: "first" is not a number from 0 to 4294967295', 1, true), text)
    end)
  end)

  it("takes the key-value example's POST /config", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 3, flags = FLAGS }
      c:start()
      local leader = c:leader()
      local victim = leader == "n3" and "n2" or "n3"
      local answer = c:http(leader, "POST", "/config", '{"id":"' .. victim .. '","action":"REMOVE"}')
      assert.are.equal(200, answer.status, answer.body)
      stopped_by_itself(c, victim)
      answer = c:http(leader, "POST", "/config", '{"id":"n9","action":"DANCE"}')
      assert.are.equal(400, answer.status)
    end)
  end)
end)
