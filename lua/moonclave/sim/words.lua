-- What happened in a run, in words: faults and requests in the order of virtual time, like requests as one line.
local values = require "moonclave.linearizable.values"

local M = {}

local SHORT = 12 -- so many requests between two faults are told one by one, if each has a line of its own

local function seconds(us) return us and ("%.3f s"):format(us / 1e6) or "       " end

local function answer_of(ask)
  if ask.outcome == "unknown" then return " -> no answer" end
  if ask.outcome == "failed" then return " -> not done: " .. tostring(ask.error and ask.error.code) end
  if ask.error ~= nil then return " -> error " .. values.show(ask.error, 60) end
  if ask.outcome then return " -> " .. values.show(ask.result, 60) end
  return ""
end

local function describe(ask)
  local at = ask.node and " at n" .. ask.node + 1 or ""
  local stale = ask.consistency == "stale" and " (stale)" or ""
  return ("%s %s%s by client %d%s%s"):format(ask.name, values.show(ask.arguments, 60), stale, ask.client, at,
    answer_of(ask))
end

local function count_of(run)
  local first = run[1]
  return ("%d x %s by client %d"):format(#run, first.name, first.client)
end

-- Neighbours that ask the same by the same client.
local function runs_of(asks)
  local runs = {}
  for _, ask in ipairs(asks) do
    local last = runs[#runs]
    if last and last[1].name == ask.name and last[1].client == ask.client then
      last[#last + 1] = ask
    else
      runs[#runs + 1] = { ask }
    end
  end
  return runs
end

-- How often each is asked, and by how many clients: "43 x get, 12 x put by 3 clients".
local function sums_of(asks)
  local counts, list, clients, client_count = {}, {}, {}, 0
  for _, ask in ipairs(asks) do
    if not counts[ask.name] then list[#list + 1] = ask.name end
    counts[ask.name] = (counts[ask.name] or 0) + 1
    if not clients[ask.client] then clients[ask.client], client_count = true, client_count + 1 end
  end
  table.sort(list, function(a, b)
    if counts[a] ~= counts[b] then return counts[a] > counts[b] end
    return a < b
  end)
  for i, name in ipairs(list) do list[i] = ("%d x %s"):format(counts[name], name) end
  local by = client_count == 1 and "client " .. asks[1].client or client_count .. " clients"
  return table.concat(list, ", ") .. " by " .. by
end

-- Lines for the requests between two faults: { time_us, text }.
local function tell_asks(asks, lines)
  if #asks == 0 then return end
  local runs = runs_of(asks)
  if #runs > SHORT then
    lines[#lines + 1] = { asks[1].invoked_us, sums_of(asks) }
    return
  end
  for _, run in ipairs(runs) do
    lines[#lines + 1] = { run[1].invoked_us, #run == 1 and describe(run[1]) or count_of(run) }
  end
end

local function strike_text(strike)
  local what = strike.what ~= "" and " " .. strike.what or ""
  return ("fault %d: %s%s"):format(strike.number, (strike.kind:gsub("_", " ")), what)
end

-- Nodes that disagree do so at an index: which command is that?
local function culprit(result)
  local index = math.tointeger(tonumber(result.violation.detail:match "^n%d+: index (%d+) of term"))
  for _, ask in ipairs(result.asks or {}) do
    if index and ask.index == index and ask.kind == "command" then
      return (" (index %d is %s %s by client %d)"):format(index, ask.name, values.show(ask.arguments, 60), ask.client)
    end
  end
  return ""
end

---What led to the violation, step by step.
---@param result moonclave.sim.result  with strikes and asks
---@return { time_us: integer?, text: string }[]
function M.steps(result)
  local violation = result.violation
  local lines, waiting = {}, {}
  local until_us = violation.time_us and violation.time_us > 0 and violation.time_us or math.huge
  if result.nodes then
    lines[1] = { 0, ("%d node%s start%s, election timeout %d ms"):format(result.nodes, result.nodes == 1 and "" or "s",
      result.nodes == 1 and "s" or "", result.election_us // 1000) }
  end
  local events = {}
  for i, strike in ipairs(result.strikes or {}) do events[#events + 1] = { strike.time_us, i, strike = strike } end
  for i, ask in ipairs(result.asks or {}) do events[#events + 1] = { ask.invoked_us or 0, i, ask = ask } end
  for i, one in ipairs(result.deployed or {}) do events[#events + 1] = { one.time_us, i, text = one.text } end
  if result.safety_us and result.safety_us < until_us then
    events[#events + 1] = { result.safety_us, 0, text = "no more faults: first a majority is healed, then all" }
  end
  table.sort(events, function(a, b)
    if a[1] ~= b[1] then return a[1] < b[1] end
    return a[2] < b[2]
  end)
  for _, event in ipairs(events) do
    if event[1] > until_us then break end
    if event.ask then
      waiting[#waiting + 1] = event.ask
    else
      tell_asks(waiting, lines)
      waiting = {}
      lines[#lines + 1] = { event[1], event.text or strike_text(event.strike) }
    end
  end
  tell_asks(waiting, lines)
  local last = until_us < math.huge and until_us or nil
  lines[#lines + 1] = { last, violation.invariant .. " does not hold" .. culprit(result) }
  for i, line in ipairs(lines) do lines[i] = { time_us = line[1], text = line[2] } end
  return lines
end

---The same as numbered lines.
---@param result moonclave.sim.result
---@return string[]
function M.schedule(result)
  local texts = {}
  for i, step in ipairs(M.steps(result)) do
    texts[i] = ("%3d. %9s  %s"):format(i, seconds(step.time_us), step.text)
  end
  return texts
end

return M
