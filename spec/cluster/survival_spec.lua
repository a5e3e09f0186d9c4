-- Nothing acknowledged is lost: real processes, killed without warning.
local cluster = require "support.cluster"

-- Writes key-FROM ... key-TO round-robin over the nodes named; each must be acknowledged.
local function write_all(c, names, from, to)
  for i = from, to do
    local name = names[i % #names + 1]
    local answer, why = c:http(name, "PUT", "/kv/key-" .. i, "value " .. i)
    assert(answer and answer.status == 200, ("%s: key-%d: %s"):format(name, i, answer and answer.body or why))
  end
end

local function read_all(c, names, from, to)
  for _, name in ipairs(names) do
    for i = from, to do
      local answer = cluster.eventually("an answer from " .. name, function()
        local a = c:http(name, "GET", "/kv/key-" .. i)
        return a and (a.status == 200 or a.status == 404) and a, a and a.body
      end)
      assert.are.equal("value " .. i, answer.body, name .. " lost key-" .. i)
    end
  end
end

local function others(c, except)
  local names = {}
  for _, name in ipairs(c.names) do
    if name ~= except then names[#names + 1] = name end
  end
  return names
end

describe("a cluster of three real processes", function()
  it("keeps every acknowledged write when its leader is killed, and the killed one catches up", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      write_all(c, c.names, 1, 30)
      c:kill(leader)
      local survivors = others(c, leader)
      local new = c:leader(leader)
      assert.are_not.equal(leader, new)
      read_all(c, survivors, 1, 30)
      cluster.eventually("writes are taken again", function()
        local answer = c:http(new, "PUT", "/kv/key-31", "value 31")
        return answer and answer.status == 200
      end)
      c:start(leader)
      read_all(c, { leader }, 1, 31)
      local stale = cluster.eventually("the restarted node has it itself", function()
        local answer = c:http(leader, "GET", "/kv/key-31?consistency=stale")
        return answer and answer.status == 200 and answer
      end)
      assert.are.equal("value 31", stale.body)
    end)
  end)

  it("goes on without a killed follower, which catches up from the log", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      local leader = c:leader()
      local follower = others(c, leader)[1]
      write_all(c, c.names, 1, 10)
      c:kill(follower)
      write_all(c, others(c, follower), 11, 60)
      c:start(follower)
      for i = 1, 60 do
        local answer = c:http(follower, "GET", "/kv/key-" .. i)
        assert.are.equal("value " .. i, answer and answer.body)
      end
    end)
  end)

  it("keeps every acknowledged write when all three are killed at once", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      write_all(c, c.names, 1, 40)
      c:kill("n1", "n2", "n3")
      c:start()
      read_all(c, c.names, 1, 40)
      write_all(c, c.names, 41, 50)
      c:kill("n1", "n2", "n3")
      c:start()
      read_all(c, c.names, 1, 50)
    end)
  end)

  it("answers 503 or 504 without a majority, never 200, and goes on when one is back", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--request-timeout-ms=1500" } }
      c:start()
      write_all(c, c.names, 1, 3)
      local leader = c:leader()
      local rest = others(c, leader)
      c:kill(rest[1], rest[2])
      for i = 1, 3 do
        local answer = assert(c:http(leader, "PUT", "/kv/lonely-" .. i, "x"))
        assert.is_true(answer.status == 503 or answer.status == 504, "status " .. answer.status)
        local read = assert(c:http(leader, "GET", "/kv/key-1"))
        assert.is_true(read.status == 503 or read.status == 504, "a read without a majority: " .. read.status)
      end
      local health = assert(c:http(leader, "GET", "/healthz"))
      assert.are.equal(200, health.status)
      local stale = assert(c:http(leader, "GET", "/kv/key-1?consistency=stale"))
      assert.are.equal("value 1", stale.body)
      c:start(rest[1])
      read_all(c, { leader, rest[1] }, 1, 3)
    end)
  end)

  it("serves alone as a single node, across a kill", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      write_all(c, c.names, 1, 20)
      c:kill("n1")
      c:start()
      read_all(c, c.names, 1, 20)
    end)
  end)

  it("ends by itself on SIGTERM, with what it acknowledged kept", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      write_all(c, c.names, 1, 9)
      for _, name in ipairs(c.names) do c:signal(name, "sigterm") end
      for _, name in ipairs(c.names) do
        local code, signal = cluster.wait(c.nodes[name].process)
        assert.are.same({ 0, 0 }, { code, signal }, c:log(name))
      end
      c:start()
      read_all(c, c.names, 1, 9)
    end)
  end)
end)
