-- Flow control with real processes: followers that stand still, a full window, large values, thousands of proposals
-- that wait. Memory stays bounded, what does not fit is refused at once and definitely, and everything recovers.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local uv = require "luv"

local MIB = 1048576

-- Resident memory of a node, in bytes; under the sanitizers it says nothing.
local function memory(c, name)
  local text = cluster.read_file("/proc/" .. c.nodes[name].process.pid .. "/status")
  return tonumber(text:match "VmRSS:%s*(%d+) kB") * 1024
end

local sanitized = (os.getenv "MOONCLAVE_BUILD" or ""):match "asan" ~= nil

local function assert_grew_less(limit, before, after)
  if sanitized then return end
  assert.is_true(after - before < limit, ("memory grew by %.1f MiB"):format((after - before) / MIB))
end

local function number(status, key) return tonumber(status:match('"' .. key .. '":(%d+)')) end

local function stand(c, name) c:signal(name, "sigstop") end
local function go_on(c, name) c:signal(name, "sigcont") end

local function followers(c, leader)
  local list = {}
  for _, name in ipairs(c.names) do if name ~= leader then list[#list + 1] = name end end
  return list
end

-- Many commands at once over msgpack-RPC, without waiting: conn.answers[code] counts what came back.
local function rpc(c, name)
  local connection = { answers = {}, told = 0, rest = "" }
  connection.socket = uv.new_tcp()
  cluster.await(function(resume)
    connection.socket:connect("127.0.0.1", c.nodes[name].port, function(problem) resume(not problem) end)
  end)
  connection.socket:read_start(function(_, chunk)
    if not chunk then return end
    connection.rest = connection.rest .. chunk
    local at = 1
    while at <= #connection.rest do
      local ok, message, next = pcall(base.unpack, connection.rest:sub(at))
      if not ok or message == nil or not next then break end
      at = at + next
      local code = type(message[3]) == "table" and message[3].code or "ok"
      connection.answers[code] = (connection.answers[code] or 0) + 1
      connection.told = connection.told + 1
    end
    connection.rest = connection.rest:sub(at)
  end)
  function connection:put(first, count, value, timeout)
    local parts = {}
    for id = first, first + count - 1 do
      parts[#parts + 1] = base.pack { 0, id, "put", { base.object { key = "k" .. id % 100, value = value },
        base.object { timeout = timeout } } }
    end
    self.socket:write(table.concat(parts))
  end
  return connection
end

local function told(connections)
  local total, answers = 0, {}
  for _, connection in ipairs(connections) do
    total = total + connection.told
    for code, count in pairs(connection.answers) do answers[code] = (answers[code] or 0) + count end
  end
  return total, answers
end

local function summary(answers)
  local words = {}
  for code, count in pairs(answers) do words[#words + 1] = count .. " " .. code end
  table.sort(words)
  return table.concat(words, ", ")
end

-- Every node has applied the same, and the cluster takes writes.
local function recovers(c)
  cluster.eventually("a write", function()
    local answer = c:http(c:leader(), "PUT", "/kv/after", "1", { limit_ms = 5000 })
    return answer and answer.status == 200
  end)
  cluster.eventually("all agree", function()
    local seen
    for _, name in ipairs(c.names) do
      local status = c:status(name)
      local applied = status and number(status, "applied_index")
      local hash = status and status:match '"state_hash":"(%x+)"'
      if not applied or (seen and seen ~= applied .. hash) then return false, status end
      seen = applied .. hash
    end
    return true
  end)
end

describe("a cluster", function()
  it("without a majority lets 10,000 commands wait and refuses the next at once", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--waiting-max=10000", "--request-timeout-ms=60000" } }
      c:start()
      local leader = c:leader()
      local connections = { rpc(c, leader), rpc(c, leader) }
      local before = memory(c, leader)
      for _, name in ipairs(followers(c, leader)) do stand(c, name) end
      for i, connection in ipairs(connections) do connection:put(i * 10000, 6000, ("x"):rep(256), 60) end
      cluster.eventually("refusals", function()
        local total, answers = told(connections)
        return (answers.overloaded or 0) >= 2000, total .. " told"
      end)
      local _, answers = told(connections)
      assert.equal(2000, answers.overloaded)
      assert.equal(10000, number(c:status(leader), "waiting"))
      assert_grew_less(128 * MIB, before, memory(c, leader))
      for _, name in ipairs(followers(c, leader)) do go_on(c, name) end
      cluster.eventually("every answer", function()
        local total, codes = told(connections)
        return total == 12000, summary(codes)
      end)
      _, answers = told(connections)
      answers.overloaded = nil
      for code in pairs(answers) do -- done, or said to be unknown, or said not to be done
        assert.is_true(code == "ok" or code == "timeout" or code == "unavailable", summary(answers))
      end
      recovers(c)
      assert.equal(0, number(c:status(leader), "waiting"))
      for _, connection in ipairs(connections) do connection.socket:close() end
    end)
  end)

  it("with a follower that stands still takes large values, in bounded memory, and brings it up", function()
    cluster.run(function()
      local limits = { "--tail-bytes-max=16777216", "--peer-queue-bytes-max=16777216", "--append-window=64",
        "--snapshot-log-bytes=33554432", "--trailing-entries=10" }
      local c <close> = cluster.new { flags = limits }
      c:start()
      local leader = c:leader()
      local still = followers(c, leader)[1]
      local value = ("v"):rep(MIB)
      local connection = c:client(leader)
      local function put(i)
        local answer, why = connection:request("PUT", "/kv/big" .. i % 8, value)
        assert.equal(200, answer and answer.status or why)
      end
      for i = 1, 20 do put(i) end
      local before = memory(c, leader)
      stand(c, still)
      for i = 1, 120 do put(i) end
      assert_grew_less(160 * MIB, before, memory(c, leader))
      go_on(c, still)
      recovers(c)
      connection:close()
    end)
  end)

  it("refuses large proposals that would not fit, definitely, and takes them again afterwards", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--waiting-bytes-max=33554432", "--uncommitted-bytes-max=16777216",
        "--request-timeout-ms=60000" } }
      c:start()
      local leader = c:leader()
      local connection = rpc(c, leader)
      for _, name in ipairs(followers(c, leader)) do stand(c, name) end
      local before = memory(c, leader)
      connection:put(1, 60, ("v"):rep(MIB), 60)
      cluster.eventually("refusals", function()
        return (connection.answers.overloaded or 0) >= 28, summary(connection.answers)
      end)
      assert_grew_less(200 * MIB, before, memory(c, leader))
      for _, name in ipairs(followers(c, leader)) do go_on(c, name) end
      cluster.eventually("every answer", function() return connection.told == 60, summary(connection.answers) end)
      recovers(c)
      connection.answers, connection.told = {}, 0
      connection:put(100, 10, ("w"):rep(MIB), 60)
      cluster.eventually("answers", function() return connection.told == 10, summary(connection.answers) end)
      assert.same({ ok = 10 }, connection.answers)
      connection.socket:close()
    end)
  end)

  it("with a follower that stops and goes stays in order and loses nothing", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--append-window=2", "--append-bytes-max=4096",
        "--snapshot-log-bytes=65536", "--trailing-entries=20", "--snapshot-chunk-bytes=1024", "--snapshot-window=2" } }
      c:start()
      local leader = c:leader()
      local slow = followers(c, leader)[1]
      local over, written = false, {}
      local bodies = { function()
        for _ = 1, 12 do
          stand(c, slow)
          cluster.sleep(150)
          go_on(c, slow)
          cluster.sleep(100)
        end
        over = true
      end }
      for i = 1, 8 do
        bodies[#bodies + 1] = function()
          local connection, n = c:client(leader), 0
          while not over do
            n = n + 1
            local answer, why = connection:request("PUT", "/kv/s" .. i, tostring(n) .. ("x"):rep(200))
            assert.equal(200, answer and answer.status or why)
            written[i] = n
          end
          connection:close()
        end
      end
      cluster.all(bodies)
      recovers(c)
      for i = 1, 8 do
        local answer = c:http(slow, "GET", "/kv/s" .. i)
        assert.equal(tostring(written[i]) .. ("x"):rep(200), answer.body:match "^%d+x+" or answer.body)
      end
    end)
  end)
end)
