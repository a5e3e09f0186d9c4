-- What the client library costs: the same requests by `moonclave bench` and from Lua, by turns, against three local
-- nodes that run examples/kv.
--   make bench-client BENCH="[SECONDS]"
-- Puts are in a session from Lua and plain from `moonclave bench`, and wait for two disks; stale gets wait for nothing
-- but the way there and back. The rows below them keep 64 requests under way, from coroutines on luv's loop. Processor
-- time is this process's own, for each call.
local cluster = require "support.cluster"
local moonclave = require "moonclave"
local uv = require "luv"

local SECONDS = tonumber(arg[1]) or 3
local VALUE = ("x"):rep(256)
local COROUTINES, KEYS = 64, 100

local function bench(address, ...)
  local code, text = cluster.execute(cluster.program, { "bench", "--addr", address, "--size=256", "--json",
    "--warmup=1", "--seconds=" .. SECONDS, ... }, { limit_ms = 600000 })
  assert(code == 0, text)
  local get = text:match '"operation":"get".*'
  return tonumber((get or text):match '"throughput":([%d.]+)'), tonumber((get or text):match '"p50_ms":([%d.]+)') * 1000
end

-- Calls a second; how long the middle one took, and how much of the processor each has cost, in microseconds.
local function measure(call)
  local took, began, clock = {}, uv.hrtime(), os.clock()
  repeat
    local before = uv.hrtime()
    local result, err = call(#took)
    if not result then error(tostring(err)) end
    took[#took + 1] = (uv.hrtime() - before) / 1e3
  until uv.hrtime() - began > SECONDS * 1e9
  local rate, cost = #took / ((uv.hrtime() - began) / 1e9), (os.clock() - clock) / #took * 1e6
  table.sort(took)
  return rate, took[#took // 2 + 1], cost
end

local function together(call)
  local count, bodies, began, clock = 0, {}, uv.hrtime(), os.clock()
  for i = 1, COROUTINES do
    bodies[i] = function()
      repeat
        local result, err = call(count)
        if not result then error(tostring(err)) end
        count = count + 1
      until uv.hrtime() - began > SECONDS * 1e9
    end
  end
  cluster.all(bodies)
  return count / ((uv.hrtime() - began) / 1e9), nil, (os.clock() - clock) / count * 1e6
end

local function put(client)
  return function(i) return client:propose("put", { key = "key-" .. i % KEYS, value = VALUE }) end
end

local function get(client, consistency)
  return function(i) return client:query("get", { key = "key-" .. i % KEYS }, { consistency = consistency }) end
end

local function row(what, rate, middle, cost)
  local us = function(title, value) return value and ("   %s %.0f us"):format(title, value) or "" end
  print(("%-44s %9.0f /s%s%s"):format(what, rate, us("middle", middle), us("processor", cost)))
end

cluster.run(function()
  local c <close> = cluster.new { flags = { "--log-level=warn" } }
  c:start()
  local leader = "127.0.0.1:" .. c.nodes[c:leader()].port
  local plain <close> = assert(moonclave.connect { addresses = { leader }, timeout = 30 })
  local yielding <close> = assert(moonclave.connect { addresses = { leader }, timeout = 30, loop = "luv" })
  for i = 0, KEYS - 1 do assert(put(plain)(i)) end
  row("put, one after the other: moonclave bench", bench(leader, "--clients=1"))
  row("put, one after the other: Lua", measure(put(plain)))
  row("get, linearizable: moonclave bench", bench(leader, "--clients=1", "--reads=100", "--keys=" .. KEYS))
  row("get, linearizable: Lua", measure(get(plain)))
  row("get, stale: Lua", measure(get(plain, "stale")))
  row("put, 64 under way: moonclave bench", (bench(leader, "--clients=1", "--pipeline=" .. COROUTINES)))
  row("put, 64 under way: Lua", together(put(yielding)))
  row("get, 64 under way: moonclave bench", (bench(leader, "--clients=1", "--pipeline=" .. COROUTINES, "--reads=100",
    "--keys=" .. KEYS)))
  row("get, 64 under way: Lua", together(get(yielding)))
  row("get, stale, 64 under way: Lua", together(get(yielding, "stale")))
end)
