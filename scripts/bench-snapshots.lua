-- What snapshots cost while clients write, and what they save at a start. Three local nodes with many keys.
--   make bench-snapshots BENCH="[KEYS] [FLAGS]"
-- 1,000,000 keys by default; FLAGS go to every node. Prints, for the same load with no snapshot, with one at a
-- time (the nodes take turns) and with one after the other on every node: throughput, latencies and the longest turn
-- of any node's loop (from nothing handled to all that waited handled); then how long a node takes from its start
-- until it is ready, from a snapshot and from the log alone.
local cluster = require "support.cluster"
local uv = require "luv"

local keys = tonumber(arg[1]) or 1000000
local flags = { "--log-level=warn", table.unpack(arg, arg[1] and 2 or 1) }
local SECONDS = 25 -- past the window of turn_us_max

local function number(status, key) return tonumber(status:match('"' .. key .. '":(%d+)')) end

local function bench(c, ...)
  local addresses = {}
  for i, name in ipairs(c.names) do addresses[i] = "127.0.0.1:" .. c.nodes[name].port end
  local code, text = cluster.execute(cluster.program, { "bench", "--addr", table.concat(addresses, ","),
    "--size=64", "--keys=" .. keys, "--json", ... }, { limit_ms = 3600000 })
  assert(code == 0, text)
  return text
end

-- The longest turns, the leader's first, and the snapshots that all have taken.
local function turns(c)
  local longest, taken = {}, 0
  for _, name in ipairs(c.names) do
    local status = c:status(name)
    local turn = ("%.1f"):format(number(status, "turn_us_max") / 1000)
    table.insert(longest, status:find('"role":"leader"', 1, true) and 1 or #longest + 1, turn)
    taken = taken + number(status, "snapshots_taken")
  end
  return table.concat(longest, ", ") .. " ms", taken
end

local function snapshot(c, name)
  local answer, why = c:http(name, "POST", "/v1/snapshot", "{}", { limit_ms = 120000 })
  -- 504: it takes longer than a request may wait, and goes on
  assert(answer and (answer.status == 200 or answer.status == 504), answer and answer.body or why)
end

-- `ways`: lists of nodes; each list takes snapshots all the time, its nodes in turn.
local function load(c, title, ways)
  local over, text = false, nil
  local _, before = turns(c)
  local bodies = { function()
    text = bench(c, "--clients=16", "--pipeline=4", "--seconds=" .. SECONDS)
    over = true
  end }
  for _, names in ipairs(ways) do
    bodies[#bodies + 1] = function()
      local at = 0
      while not over do
        snapshot(c, names[at % #names + 1])
        at = at + 1
      end
    end
  end
  cluster.all(bodies)
  local longest, after = turns(c)
  print(("%-22s longest turns %s; %d snapshots; load: %s"):format(title, longest, after - before,
    text:gsub("%s+$", "")))
end

local function restart(c, title)
  local name = c.names[1] == c:leader() and c.names[2] or c.names[1]
  c:signal(name, "sigterm")
  cluster.wait(c.nodes[name].process)
  local from = uv.hrtime()
  c:start(name)
  local status = c:status(name)
  print(("%-22s %.2f s until ready; %d entries applied, snapshot of %d bytes"):format(title,
    (uv.hrtime() - from) / 1e9, number(status, "applied"), number(status, "size") or 0))
end

cluster.run(function()
  local c <close> = cluster.new { nodes = 3, flags = { "--snapshot-log-bytes=1099511627776", table.unpack(flags) } }
  c:start()
  bench(c, "--clients=16", "--pipeline=64", "--reads=1", "--seconds=1", "--warmup=0") -- writes every key
  restart(c, "start from the log")
  cluster.sleep(21000) -- what the loop's window remembers is over
  load(c, "no snapshot", {})
  load(c, "one at a time", { c.names })
  load(c, "all nodes at once", { { c.names[1] }, { c.names[2] }, { c.names[3] } })
  restart(c, "start from a snapshot")
end)
