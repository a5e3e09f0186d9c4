-- Servers under a network that loses, doubles and shuffles, with disks that are slow or full, and crashes: every step
-- is checked (support/raft_cluster.lua), and in the end all agree. The simulator does this at length (spec/sim); here
-- the core stands alone.
local Cluster = require "support.raft_cluster"
local T, HEARTBEAT = Cluster.T, Cluster.HEARTBEAT

local function chance(percent) return math.random(100) <= percent end

-- Delivers some of what waits, in any order, some of it twice; some of it is lost.
local function shuffle_network(c)
  local messages = c.messages
  c.messages = {}
  for i = #messages, 2, -1 do
    local j = math.random(i)
    messages[i], messages[j] = messages[j], messages[i]
  end
  for _, message in ipairs(messages) do
    if chance(30) then
      c.messages[#c.messages + 1] = message
    elseif chance(90) then
      if chance(5) then c.messages[#c.messages + 1] = message end
      if c[message.to].core then
        local code, text = c[message.to]:receive(message)
        assert(code == "ok", text)
      end
    end
  end
end

local function work_at(c, server)
  if #server.writes > 0 and chance(60) then
    if chance(3) then
      server:refuse()
    else
      server:persist(math.random(#server.writes))
    end
  end
  while #server.log_reads > 0 and chance(80) do server:answer_log_read() end
  if server.apply_due and chance(70) then
    server.apply_due = false
    server:event { type = "applied", index = server.applied }
  end
  if server.deadline_us and server.deadline_us <= c.now_us then server:timer() end
  if server:role() == "leader" and chance(30) then
    c.proposed = c.proposed + 1
    server:propose("command " .. c.proposed, "and another")
    server:read(c.proposed)
  end
  if chance(1) then server:unreachable(c.servers[math.random(#c.servers)].id) end
end

local function logs_match(c)
  for _, one in ipairs(c.servers) do
    for _, other in ipairs(c.servers) do
      local agreed = false -- from the end: where terms are equal, all before is too (§5.3, by the chain)
      for index = math.min(#one.disk.log, #other.disk.log), 1, -1 do
        local a, b = one.disk.log[index], other.disk.log[index]
        if a.term == b.term then agreed = true end
        local differ = "logs of %s and %s differ at %d"
        assert(not agreed or a.chain == b.chain, differ:format(one.id, other.id, index))
      end
    end
  end
end

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
        work_at(c, server)
      end
    end
    if chance(1) and chance(30) then c:isolate(ids[math.random(size)]) end
    if chance(3) then c:heal() end
    shuffle_network(c)
    if step % 40 == 0 then logs_match(c) end
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
  logs_match(c)
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
