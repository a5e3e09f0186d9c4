-- How long nobody's write is acknowledged: when leadership is handed over on request, when the leader is told to stop
-- (SIGTERM), and when it is killed. Three local nodes, clients that write without a pause through the nodes that stay.
--   make bench-failover BENCH="[TRIALS] [FLAGS]"
-- Every write has an idempotency key: a node that loses its leader sends it to the next one. (Without a key nobody may
-- send it again, and it waits for its own time to be over.)
-- Prints the longest gap between two acknowledged writes of each trial, sorted: least, median, most. 30 trials of each
-- by default, with the default settings; FLAGS go to every node, as --election-timeout-ms=300.
local cluster = require "support.cluster"
local uv = require "luv"

local trials = tonumber(arg[1]) or 30
local flags = { "--log-level=warn", table.unpack(arg, arg[1] and 2 or 1) }
local WRITERS = 4
local run, serial = ("%x"):format(uv.hrtime()), 0

local function now_ms() return uv.hrtime() / 1e6 end

-- Writers on every node but one; `acknowledged` is told the time of each success.
local function write(c, state, acknowledged)
  local bodies = {}
  for _, name in ipairs(c.names) do
    for i = 1, WRITERS do
      bodies[#bodies + 1] = function()
        local connection = c:client(name)
        while not state.over do
          if state.avoid == name then
            connection:close()
            cluster.sleep(5)
          else
            serial = serial + 1
            local key = { ["Idempotency-Key"] = run .. "-" .. serial }
            local answer = connection:request("PUT", ("/kv/%s-%d"):format(name, i), tostring(serial),
              { limit_ms = 10000, headers = key })
            if answer and answer.status == 200 then acknowledged(now_ms()) end
            if not answer or answer.status ~= 200 then cluster.sleep(2) end
          end
        end
        connection:close()
      end
    end
  end
  cluster.all(bodies)
end

local events = {
  { "handed over on request", function(c, leader)
    local answer = c:http(leader, "POST", "/v1/leader/transfer", "{}")
    assert(answer and answer.status == 200, answer and answer.body)
  end },
  { "leader told to stop", function(c, leader) c:signal(leader, "sigterm") end, true },
  { "leader killed", function(c, leader) c:signal(leader, "sigkill") end, true },
}

local function trial(c, act, ends)
  local leader = c:leader()
  local state = { avoid = ends and leader or nil }
  local longest, last, since
  local function acknowledged(at)
    if since and last and at - last > longest then longest = at - last end
    last = at
    state.count = (state.count or 0) + 1
  end
  cluster.all {
    function() write(c, state, acknowledged) end,
    function()
      cluster.sleep(300)
      cluster.eventually("writes", function() return (state.count or 0) > 50 end)
      longest, since = 0, now_ms()
      act(c, leader)
      c:leader(leader) -- another one leads
      local before = state.count
      cluster.eventually("writes go on", function() return state.count > before + 50 end)
      state.over = true
    end,
  }
  if ends then
    cluster.wait(c.nodes[leader].process)
    c:start(leader)
  end
  return longest
end

cluster.run(function()
  for _, event in ipairs(events) do
    local c <close> = cluster.new { nodes = 3, flags = flags }
    c:start()
    local gaps = {}
    for i = 1, trials do gaps[i] = trial(c, event[2], event[3]) end
    table.sort(gaps)
    print(("%-24s %d trials: %6.1f ms least, %6.1f median, %6.1f most"):format(event[1], trials, gaps[1],
      gaps[(trials + 1) // 2], gaps[trials]))
  end
end)
