-- Snapshots of real nodes: the log stays short, restarts are quick, one that was away too long comes back by a
-- snapshot, one can be asked for, and a kill in the middle of any of it loses nothing.
local cluster = require "support.cluster"
local uv = require "luv"

local FAST = { "--election-timeout-ms=400", "--heartbeat-ms=60", "--request-timeout-ms=3000", "--log-level=warn" }

local function flags(...)
  local list = { table.unpack(FAST) }
  for _, flag in ipairs { ... } do list[#list + 1] = flag end
  return list
end

-- A number of a node's status; nil while it does not answer.
local function number(c, name, key)
  local status = c:status(name)
  return status and tonumber(status:match('"' .. key .. '":(%d+)'))
end

-- The map about its snapshot, by the names of its fields.
local function snapshot_of(c, name)
  local status = c:status(name)
  local map = status and status:match '"snapshot":(%b{})'
  return map and { index = tonumber(map:match '"index":(%d+)'), size = tonumber(map:match '"size":(%d+)') }
end

-- Writes of `clients` at once until `count` are acknowledged, over the nodes that are up. Each goes to key(n, client,
-- doubts): n ascends, `doubts` are the client's writes that were not acknowledged. Returns what was, key -> n.
local function write(c, options)
  local acknowledged, count, number_of = {}, 0, options.from or 0
  local bodies = {}
  for i = 1, options.clients or 16 do
    bodies[i] = function()
      local at, doubts = i, 0
      local connection, node
      while not (options.enough and options.enough() or count >= (options.count or math.huge)) do
        if not connection then
          node = c.names[at % #c.names + 1]
          at = at + 1
          local process = c.nodes[node].process
          if process and not process.exited then connection = c:client(node) else cluster.sleep(5) end
        end
        if connection then
          number_of = number_of + 1
          local n = number_of
          local key, value = options.key(n, i, doubts), ("%d:"):format(n) .. ("v"):rep(options.size or 20)
          local answer = connection:request("PUT", "/kv/" .. key, value, { limit_ms = 6000 })
          if answer and answer.status == 200 then
            count = count + 1
            acknowledged[key] = n
          else
            connection:close()
            connection = nil
            doubts = doubts + 1
            cluster.sleep(10)
          end
        end
      end
      if connection then connection:close() end
    end
  end
  if options.meanwhile then bodies[#bodies + 1] = options.meanwhile end
  cluster.all(bodies)
  return acknowledged
end

-- Waits until all nodes have applied the same index, and asserts that they hold the same.
local function agree(c)
  return cluster.eventually("all nodes are at the same index", function()
    local indexes, hashes = {}, {}
    for i, name in ipairs(c.names) do
      local status = c:status(name)
      if not status then return nil, name .. " does not answer" end
      indexes[i] = status:match '"applied_index":(%d+)'
      hashes[i] = status:match '"state_hash":"(%x+)"'
    end
    for i = 2, #indexes do
      if indexes[i] ~= indexes[1] then return nil, table.concat(indexes, " ") end
    end
    for i = 2, #hashes do
      assert.are.equal(hashes[1], hashes[i], c.names[i] .. " holds another state at index " .. indexes[1])
    end
    return tonumber(indexes[1])
  end)
end

local function size_of(path)
  local stat = uv.fs_stat(path)
  return stat and stat.size or 0
end

local function other_than(leader)
  return leader == "n1" and "n2" or "n1"
end

describe("snapshots of real nodes", function()
  it("keep log and files short under load, and restarts quick", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags("--snapshot-log-bytes=65536", "--trailing-entries=100") }
      c:start()
      local function key(n) return "k" .. n % 40 end
      write(c, { count = 4000, size = 1000, key = key }) -- more than four megabytes of log
      local last = agree(c)
      assert.is_true(last >= 4000)
      for _, name in ipairs(c.names) do
        cluster.eventually(name .. " let the log go", function()
          local first = number(c, name, "first_index")
          return first and last - first < 1000, first
        end)
        cluster.eventually(name .. " removed what it let go", function()
          local trimmed = number(c, name, "disk_rows_trimmed")
          return trimmed and trimmed > last - 1000, trimmed
        end)
        assert.is_true(number(c, name, "snapshots_taken") >= 10)
        local database = size_of(c.nodes[name].data .. "/moonclave.db")
        assert.is_true(database < 2 * 1024 * 1024, name .. "'s log has " .. database .. " bytes")
        local files = 0
        for slot = 0, 7 do
          if size_of(c.nodes[name].data .. "/snapshot-" .. slot) > 0 then files = files + 1 end
        end
        assert.is_true(files >= 1 and files <= 3, files .. " snapshots are kept")
      end
      for _, name in ipairs(c.names) do
        c:kill(name)
        c:start(name)
        agree(c)
        local applied = number(c, name, "applied")
        assert.is_true(applied < 1000, name .. " applied " .. applied .. " entries again")
        local snapshot = snapshot_of(c, name)
        assert.is_true(snapshot.index > last - 1000 and snapshot.size > 30000, snapshot.index .. " " .. snapshot.size)
      end
      write(c, { count = 50, size = 1000, key = key, from = 100000 })
      agree(c)
    end)
  end)

  it("bring back a follower that was away for longer than the log is kept, while writes go on", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags("--snapshot-log-bytes=30000", "--trailing-entries=50",
        "--snapshot-chunk-bytes=4096", "--snapshot-window=2") }
      c:start()
      write(c, { count = 100, key = function(n) return "a" .. n end })
      agree(c)
      local leader = c:leader()
      local follower = other_than(leader)
      local had = number(c, follower, "last_index")
      c:kill(follower)
      local back = false
      local all = write(c, {
        clients = 4, size = 200, key = function(n) return "b" .. n % 3000 end,
        enough = function() return back end,
        meanwhile = function()
          local ok, problem = xpcall(function()
            cluster.eventually("the log of what it lacks is gone", function()
              for _, name in ipairs(c.names) do
                local first = name ~= follower and number(c, name, "first_index")
                if name ~= follower and not (first and first > had + 1) then return nil, first end
              end
              return true
            end)
            c:start(follower)
            cluster.eventually("it has installed a snapshot", function()
              return (number(c, follower, "snapshots_installed") or 0) >= 1
            end)
            local from = number(c, follower, "applied_index")
            cluster.eventually("it follows", function()
              return (number(c, follower, "applied_index") or 0) > from + 50
            end)
          end, debug.traceback)
          back = true
          if not ok then error(problem, 0) end
        end,
      })
      agree(c)
      local checked = 0
      for key in pairs(all) do
        local answer = c:http(follower, "GET", "/kv/" .. key .. "?consistency=stale")
        assert.is_true(answer ~= nil and answer.status == 200, key)
        checked = checked + 1
        if checked == 200 then break end
      end
      assert.is_true(checked > 50, checked)
      c:kill(follower)
      c:start(follower)
      agree(c)
    end)
  end)

  it("are taken when asked for, by the node that is asked", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = FAST }
      c:start()
      write(c, { count = 60, key = function(n) return "k" .. n end })
      local last = agree(c)
      local leader = c:leader()
      local follower = other_than(leader)
      local address = "127.0.0.1:" .. c.nodes[follower].port
      local code, text = cluster.execute(cluster.program, { "snapshot", "--addr", address })
      assert.are.equal(0, code, text)
      local index, size = text:match "^snapshot at index (%d+), (%d+) bytes\n$"
      assert.is_true(tonumber(index) >= last and tonumber(size) > 60 * 20, text)
      assert.are.same({ index = tonumber(index), size = tonumber(size) }, snapshot_of(c, follower))
      assert.are.equal(0, snapshot_of(c, leader).index, "the leader was not asked")

      local answer = c:http(leader, "POST", "/v1/snapshot")
      assert.are.equal(200, answer.status, answer.body)
      local taken = tonumber(answer.body:match '"index":(%d+)')
      assert.is_true(taken >= last, answer.body)
      assert.are.equal(taken, snapshot_of(c, leader).index)
      assert.are.equal(405, c:http(leader, "GET", "/v1/snapshot").status)

      write(c, { count = 10, key = function(n) return "l" .. n end })
      code, text = cluster.execute(cluster.program, { "snapshot", "--addr", address, "--json" })
      assert.are.equal(0, code, text)
      assert.is_true(tonumber(text:match '"index":(%d+)') > tonumber(index), text)
      code, text = cluster.execute(cluster.program, { "status", "--addr", address })
      assert.are.equal(0, code, text)
      assert.matches(follower .. ": snapshot at index %d+, %d+ bytes; its log begins at %d+", text)

      c:kill("n1", "n2", "n3")
      c:start()
      agree(c)
      for i = 1, 60 do assert.are.equal(200, c:http(follower, "GET", "/kv/k" .. i).status) end
    end)
  end)

  it("are taken when the app's own api.lua asks for one", function()
    cluster.run(function()
      local app = cluster.folder()
      cluster.write_file(app .. "/fsm.lua", cluster.read_file "examples/counter.lua")
      cluster.write_file(app .. "/api.lua", [[
        local cluster = require "moonclave.cluster"
        return { routes = { ["POST /keep"] = function()
          local taken, err = cluster.admin "snapshot"
          if err then return cluster.http_status(err), { error = err } end
          return 200, taken
        end } }
      ]])
      local c <close> = cluster.new { nodes = 1, app = app, flags = FAST }
      c:start()
      cluster.remove(app)
      local added = c:http("n1", "POST", "/v1/command/add", '{"name":"apples","by":3}')
      assert.are.equal(200, added.status)
      local answer = c:http("n1", "POST", "/keep")
      assert.are.equal(200, answer.status, answer.body)
      assert.are.equal(snapshot_of(c, "n1").index, tonumber(answer.body:match '"index":(%d+)'))
      c:kill "n1"
      c.app = false -- it comes from the snapshot
      c:start()
      assert.are.equal("3", c:http("n1", "GET", "/v1/query/get?name=apples").body)
    end)
  end)

  it("lose nothing that was acknowledged when nodes are killed in the middle of them, again and again", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags("--snapshot-log-bytes=2000", "--trailing-entries=5",
        "--snapshot-chunk-bytes=512", "--snapshot-window=2") }
      c:start()
      local over = false
      local all = write(c, {
        clients = 8, -- a key in doubt is not written again: its last acknowledged value stays, or the one in doubt
        key = function(n, client, doubts) return ("%d-%d-%d"):format(client, doubts, n % 3) end,
        enough = function() return over end,
        meanwhile = function()
          local ok, problem = xpcall(function()
            for round = 1, 12 do
              local victim = c.names[round % 3 + 1]
              cluster.eventually(victim .. " takes snapshots", function()
                local taken = number(c, victim, "snapshots_taken")
                return taken and taken >= 3, taken
              end)
              cluster.sleep(math.random(0, 60))
              c:kill(victim)
              cluster.sleep(math.random(0, 300))
              if round % 4 == 0 then -- and all of them
                c:kill(c.names[(round + 1) % 3 + 1], c.names[(round + 2) % 3 + 1])
                c:start()
              else
                c:start(victim)
              end
            end
          end, debug.traceback)
          over = true
          if not ok then error(problem, 0) end
        end,
      })
      agree(c)
      local count = 0
      local connection = c:client "n2"
      for key, n in pairs(all) do
        local answer = assert(connection:request("GET", "/kv/" .. key))
        assert.are.equal(200, answer.status, key)
        local is = tonumber(answer.body:match "^%d+")
        assert.is_true(is >= n, ("%s is %d, and %d was acknowledged"):format(key, is, n))
        count = count + 1
      end
      connection:close()
      assert.is_true(count > 30, "only " .. count .. " keys were written")
    end)
  end)
end)
