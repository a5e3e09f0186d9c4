-- Clients at work on every node while nodes are killed and stopped: what they saw is checked for linearizability.
local cluster = require "support.cluster"
local linearizable = require "moonclave.linearizable"
local uv = require "luv"

local KEYS = { "a", "b", "c" }

-- A seeded generator of our own: what the clients ask does not depend on who else draws random numbers.
local function generator(seed)
  local state = seed
  return function(limit)
    state = (state * 6364136223846793005 + 1442695040888963407)
    return ((state >> 33) % limit) + 1
  end
end

local function outcome_of(answer, why)
  if not answer then return why == "refused" and "failed" or "unknown" end
  if answer.status == 503 or answer.status == 429 then return "failed" end
  if answer.status == 504 or answer.status == 500 then return "unknown" end
  return "ok"
end

-- Asks until `going()` is false, one request after another, of a node drawn for each; notes each operation.
local function client(c, name, seed, history, going)
  local random, count = generator(seed), 0
  while going() do
    local node = c.names[random(#c.names)]
    local key, draw = KEYS[random(#KEYS)], random(10)
    count = count + 1
    local unique = name .. "-" .. count .. ";"
    local op = { client = name, key = key, invoked = uv.hrtime() }
    local answer, why
    if draw <= 4 then
      op.kind = "read"
      answer, why = c:http(node, "GET", "/kv/" .. key, nil, { limit_ms = 1000 })
      if answer and answer.status == 200 then op.result = answer.body end
    elseif draw <= 7 then
      op.kind, op.value = "write", unique
      answer, why = c:http(node, "PUT", "/kv/" .. key, unique, { limit_ms = 1000 })
    elseif draw <= 9 then
      op.kind, op.value = "append", unique
      answer, why = c:http(node, "POST", "/kv/" .. key .. "/append", unique, { limit_ms = 1000 })
    else
      op.kind, op.value, op.expected = "cas", unique, nil
      answer, why = c:http(node, "POST", "/kv/" .. key .. "/cas", '{"expected":null,"value":"' .. unique .. '"}',
        { limit_ms = 1000 })
      op.result = answer and answer.status == 200
    end
    op.outcome = outcome_of(answer, why)
    if op.outcome == "ok" then op.returned = uv.hrtime() end
    if op.kind ~= "read" or op.outcome == "ok" then history[#history + 1] = op end
    if why == "refused" then cluster.sleep(20) end
  end
end

-- One fault after another, each undone before the next.
local function faults(c, random, rounds, enough)
  for _ = 1, rounds do
    enough()
    local victim = random(2) == 1 and c:leader() or c.names[random(#c.names)]
    if random(3) == 1 then
      c:signal(victim, "sigstop")
      c.nodes[victim].stopped = true
      c:leader(victim)
      enough()
      c:signal(victim, "sigcont")
      c.nodes[victim].stopped = nil
    else
      c:kill(victim)
      c:leader(victim)
      enough()
      c:start(victim)
    end
  end
end

describe("what clients saw while nodes were killed and stopped", function()
  for _, seed in ipairs { 1, 2 } do
    it("is linearizable (seed " .. seed .. ")", function()
      cluster.run(function()
        local c <close> = cluster.new { flags = { "--election-timeout-ms=400", "--heartbeat-ms=60",
          "--request-timeout-ms=2000", "--log-level=warn" } }
        c:start()
        local history, over = {}, false
        local bodies = {}
        for i = 1, 5 do
          bodies[i] = function()
            client(c, "c" .. i, seed * 1000 + i, history, function() return not over end)
          end
        end
        bodies[#bodies + 1] = function()
          local function acknowledged()
            local n = 0
            for _, op in ipairs(history) do if op.outcome == "ok" then n = n + 1 end end
            return n
          end
          local ok, problem = xpcall(faults, debug.traceback, c, generator(seed * 7919), 5, function()
            local from = acknowledged()
            cluster.eventually("clients are answered", function() return acknowledged() >= from + 40 end)
          end)
          over = true
          if not ok then error(problem, 0) end
        end
        cluster.all(bodies)

        local counts = { ok = 0, failed = 0, unknown = 0 }
        for _, op in ipairs(history) do counts[op.outcome] = counts[op.outcome] + 1 end
        assert.is_true(counts.ok >= 400, "only " .. counts.ok .. " operations succeeded")
        local verdict, explanation = linearizable.check(history)
        assert.is_true(verdict, tostring(explanation))
        -- Every node holds the same in the end.
        for _, key in ipairs(KEYS) do
          local seen = {}
          for i, name in ipairs(c.names) do
            local answer = assert(c:http(name, "GET", "/kv/" .. key))
            seen[i] = answer.status .. " " .. answer.body
          end
          assert.are.same({ seen[1], seen[1], seen[1] }, seen)
        end
      end)
    end)
  end
end)
