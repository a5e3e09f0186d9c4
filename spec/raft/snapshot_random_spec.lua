-- Servers that take a snapshot at every third entry and send it byte by byte, under a network that loses, doubles and
-- shuffles, with disks that are slow, fail and forget, and crashes between any two effects: what a snapshot carries is
-- what was committed, nothing acknowledged is lost, and in the end all agree (raft_cluster.lua checks each step).
local Cluster = require "support.raft_cluster"
local random = require "support.raft_random"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT
local chance = random.chance

-- Each effect that waits is carried out, or not yet; some fail.
local function snapshot_work(c, server)
  if #server.chunk_reads > 0 and chance(70) then server:answer_chunk_read(chance(2) and "" or nil) end
  while #server.chunk_writes > 0 and chance(70) do
    if chance(2) then server:fail_chunk() else server:write_chunk() end
  end
  if #server.installs > 0 and chance(40) then
    if chance(10) then
      server:fail_install()
    else
      server:install()
      c.installs = c.installs + 1
    end
  end
  if #server.compactions > 0 and chance(40) then server:compact() end
  local taken = server.disk.snapshot and server.disk.snapshot.meta.index or 0
  if server.applied >= taken + 3 and not server.apply_due and chance(50) then server:take_snapshot() end
end

local function run(seed)
  math.randomseed(seed)
  local sizes = { 3, 3, 5, 4 }
  local ids, size = {}, sizes[seed % #sizes + 1]
  for i = 1, size do ids[i] = "n" .. i end
  local c = Cluster.new { ids = ids, seed = seed * 1000, settings = { append_window = 1 + seed % 4,
    append_bytes_max = 100 + 100 * (seed % 3), tail_bytes_max = 300 * (seed % 2),
    snapshot_chunk_bytes = 1 + 7 * (seed % 5), snapshot_window = 1 + seed % 3, trailing_entries = seed % 4 } }
  c.proposed, c.installs, c.loss, c.delay = 0, 0, seed % 2 == 0 and 10 or 2, 30
  for step = 1, 600 do
    c.now_us = c.now_us + math.random(20000)
    for _, server in ipairs(c.servers) do
      if not server.core then
        if chance(10) then server:start() end
      elseif chance(1) and chance(50) then
        server:crash()
      else
        random.disk_work(server, 3)
        snapshot_work(c, server)
        random.core_work(c, server)
      end
    end
    if chance(2) then c:isolate(ids[math.random(size)]) end
    if chance(2) then c:heal() end
    random.shuffle_network(c, c.delay, c.loss, 5)
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
  c:advance(12 * HEARTBEAT)
  random.logs_match(c)
  for _, server in ipairs(c.servers) do
    local behind = ("%s is at %d, the leader at %d"):format(server.id, server.applied, leader.applied)
    assert(server.applied == leader.applied, behind)
    assert(server.disk.log[server.applied].chain == leader.disk.log[leader.applied].chain, "not the same log")
  end
  local compacted = leader:status().first_index - 1
  local applied = leader.applied
  c:close()
  return applied, c.installs, compacted
end

describe("under a shuffled network, crashes and failing disks", function()
  it("snapshots carry what was committed, logs stay short, and all agree in the end", function()
    local entries, installs, gone = 0, 0, 0
    local from, to = 1, tonumber(os.getenv "MOONCLAVE_RAFT_SEEDS") or 80
    for seed = from, to do
      local ok, applied, installed, compacted = xpcall(run, debug.traceback, seed)
      if not ok then error(("seed %d: %s"):format(seed, applied)) end
      entries, installs, gone = entries + applied, installs + installed, gone + compacted
    end
    if os.getenv "MOONCLAVE_RAFT_SEEDS" then print(entries, installs, gone) end
    assert(entries > 30 * (to - from), entries)
    assert(gone > entries // 2, gone)
    assert(installs > (to - from) // 2, installs) -- it was not their absence that kept the rules
  end)
end)
