-- Servers under a network that loses, doubles and shuffles, with disks that are slow or full, and crashes: every step
-- is checked (support/raft_cluster.lua), and in the end all agree. The simulator does this at length (spec/sim); here
-- the core stands alone.
local Cluster = require "support.raft_cluster"
local random = require "support.raft_random"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local chance = random.chance

local function run(seed)
  math.randomseed(seed)
  local sizes = { 1, 3, 3, 5, 5, 4 }
  local ids, size = {}, sizes[seed % #sizes + 1]
  for i = 1, size do ids[i] = "n" .. i end
  local c = Cluster.new { ids = ids, seed = seed * 1000,
    settings = { append_window = 1 + seed % 4, append_bytes_max = 100 + 100 * (seed % 3), tail_bytes_max = 300 } }
  c.proposed = 0
  for step = 1, 400 do
    c.now_us = c.now_us + math.random(20000)
    for _, server in ipairs(c.servers) do
      if not server.core then
        if chance(10) then server:start() end
      elseif chance(1) and chance(50) then
        server:crash()
      else
        random.disk_work(server, 3)
        random.core_work(c, server)
      end
    end
    if chance(1) and chance(30) then c:isolate(ids[math.random(size)]) end
    if chance(3) then c:heal() end
    random.shuffle_network(c, 30, 10, 5)
    if step % 40 == 0 then random.logs_match(c) end
  end
  c:heal()
  for _, server in ipairs(c.servers) do
    if not server.core then server:start() end
  end
  c:advance(12 * T)
  local leader = assert(c:leader(), "no leader in the end")
  leader:propose "last"
  c:settle()
  c:advance(2 * HEARTBEAT)
  random.logs_match(c)
  for _, server in ipairs(c.servers) do
    assert.equal("last", server.disk.log[server.applied].payload)
    assert.equal(leader.disk.log[leader.applied].chain, server.disk.log[server.applied].chain)
  end
  local applied = leader.applied
  c:close()
  return applied
end

describe("under a shuffled network, crashes and full disks", function()
  it("no step breaks a rule, and all agree in the end", function()
    local entries = 0
    for seed = 1, 120 do
      local ok, result = xpcall(run, debug.traceback, seed)
      if not ok then error(("seed %d: %s"):format(seed, result)) end
      entries = entries + result
    end
    assert(entries > 5000, entries) -- it was not silence that kept the rules
  end)
end)
