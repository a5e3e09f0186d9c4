-- Clients at work on the key-value example, and what they saw: for specs that check it for linearizability.
--
--   local load <close> = history.start(c, { clients = 4, seed = 7 })  -- within cluster.run
--   load:enough(40)                          -- returns once so many more operations were acknowledged
--   load:finish()                            -- all have ended; raises unless what they saw is linearizable
local cluster = require "support.cluster"
local linearizable = require "moonclave.linearizable"
local uv = require "luv"

local KEYS = { "a", "b", "c" }
local M = {}
local Load = {}
Load.__index = Load

-- A seeded generator of our own: what clients ask does not depend on who else draws random numbers.
local function generator(seed)
  local state = seed
  return function(limit)
    state = state * 6364136223846793005 + 1442695040888963407
    return ((state >> 33) % limit) + 1
  end
end

local function outcome_of(answer, why)
  if not answer then return why == "refused" and "failed" or "unknown" end
  if answer.status == 503 or answer.status == 429 then return "failed" end
  if answer.status == 504 or answer.status == 500 then return "unknown" end
  return "ok"
end

local function one(load, random, name, count)
  local key, draw = KEYS[random(#KEYS)], random(10)
  local node = load.c.names[random(#load.c.names)]
  local op = { client = name, key = key, invoked = uv.hrtime() }
  local answer, why
  if draw <= 4 then
    op.kind = "read"
    answer, why = load.c:http(node, "GET", "/kv/" .. key, nil, { limit_ms = 3000 })
    if answer and answer.status == 200 then op.result = answer.body end
  else
    op.kind, op.value = draw <= 7 and "write" or "append", name .. "-" .. count .. ";"
    local method, path = draw <= 7 and "PUT" or "POST", "/kv/" .. key .. (draw <= 7 and "" or "/append")
    answer, why = load.c:http(node, method, path, op.value, { limit_ms = 3000 })
  end
  op.outcome = outcome_of(answer, why)
  if op.outcome == "ok" then
    op.returned = uv.hrtime()
    load.acknowledged = load.acknowledged + 1
    load.longest_ms = math.max(load.longest_ms, (op.returned - load.last_ok) // 1000000)
    load.last_ok = op.returned
  end
  if op.kind ~= "read" or op.outcome == "ok" then load.history[#load.history + 1] = op end
  if op.outcome ~= "ok" then cluster.sleep(20) end
end

function M.start(c, options)
  local load = setmetatable({ c = c, history = {}, acknowledged = 0, over = false, running = options.clients,
    longest_ms = 0, last_ok = uv.hrtime() }, Load)
  for i = 1, options.clients do
    cluster.spawn(function()
      local random, count = generator(options.seed * 1000 + i), 0
      while not load.over do
        count = count + 1
        local ok, problem = xpcall(one, debug.traceback, load, random, "c" .. i, count)
        if not ok then load.problem = load.problem or problem break end
      end
      load.running = load.running - 1
    end)
  end
  return load
end

Load.__close = function(self) self.over = true end

-- Waits until so many more operations were acknowledged.
function Load:enough(count)
  local from = self.acknowledged
  cluster.eventually("clients are answered", function() return self.acknowledged >= from + count end)
end

-- The longest time without an acknowledgement since it was last asked.
function Load:longest_gap_ms()
  local longest = math.max(self.longest_ms, (uv.hrtime() - self.last_ok) // 1000000)
  self.longest_ms = 0
  return longest
end

function Load:finish()
  self.over = true
  cluster.eventually("clients have ended", function() return self.running == 0 end)
  if self.problem then error(self.problem, 0) end
  local verdict, explanation = linearizable.check(self.history)
  if not verdict then error(tostring(explanation), 0) end
  -- Every node holds the same in the end.
  for _, key in ipairs(KEYS) do
    local first
    for _, name in ipairs(self.c.names) do
      local seen = cluster.eventually("an answer from " .. name, function()
        local answer = self.c:http(name, "GET", "/kv/" .. key)
        return answer and (answer.status == 200 or answer.status == 404) and answer.status .. " " .. answer.body
      end)
      first = first or seen
      assert(seen == first, name .. " holds " .. seen .. ", another " .. first)
    end
  end
  return #self.history
end

return M
