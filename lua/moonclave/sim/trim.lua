-- What is left out of a seed, as a table, as a text that fits into a command line, and as the simulator's options.
--
--   nodes=3 clients=1 us=350000 kinds=wipe,stop calm=drops,late faults=3,9 asks=1-100,104
--
-- nodes: the cluster's size; clients: how many ask; us: the length of the time under faults in virtual microseconds;
-- kinds: faults of these kinds do not strike; calm: these parts of the world are as in a calm one; faults, asks: only
-- these strikes happen, only these requests are made under faults. `all` and `none` may stand for a list.
local core = require "moonclave.simcore"
local names = require "moonclave.sim.names"

local M = {}

---@class moonclave.sim.trim
---@field nodes? integer
---@field clients? integer
---@field us? integer
---@field kinds? table<string, true>   left out
---@field calm? table<string, true>
---@field faults? integer[]            ascending: only these; nil: all
---@field asks? integer[]

M.fault_names, M.calm_names = core.faults(), core.calms()

---@param trim moonclave.sim.trim
function M.copy(trim)
  local copy = {}
  for name, value in pairs(trim) do
    if type(value) == "table" then
      local inner = {}
      for key, one in pairs(value) do inner[key] = one end
      value = inner
    end
    copy[name] = value
  end
  return copy
end

local function mask(set, list)
  local bits = 0
  for i, name in ipairs(list) do
    if set and set[name] then bits = bits | 1 << (i - 1) end
  end
  return bits
end

---Into the options of simcore.
---@param trim moonclave.sim.trim
---@param options table
function M.apply(trim, options)
  options.nodes = trim.nodes or options.nodes
  options.clients = trim.clients or options.clients
  options.duration_us = trim.us or options.duration_us
  options.kinds = mask(trim.kinds, M.fault_names)
  options.calm = mask(trim.calm, M.calm_names)
  options.faults, options.only_faults = trim.faults, trim.faults ~= nil
  options.asks, options.only_asks = trim.asks, trim.asks ~= nil
end

-- ---- as text ----

local function numbers_text(list)
  local parts, i = {}, 1
  while i <= #list do
    local last = i
    while list[last + 1] == list[last] + 1 do last = last + 1 end
    parts[#parts + 1] = last > i and list[i] .. "-" .. list[last] or tostring(list[i])
    i = last + 1
  end
  return #parts > 0 and table.concat(parts, ",") or "none"
end

local function set_text(set, list)
  local parts = {}
  for _, name in ipairs(list) do
    if set[name] then parts[#parts + 1] = name end
  end
  if #parts == #list then return "all" end
  return table.concat(parts, ",")
end

---@param trim moonclave.sim.trim
---@return string  "": nothing is left out
function M.text(trim)
  local parts = {}
  if trim.nodes then parts[#parts + 1] = "nodes=" .. trim.nodes end
  if trim.clients then parts[#parts + 1] = "clients=" .. trim.clients end
  if trim.us then parts[#parts + 1] = "us=" .. trim.us end
  if trim.kinds and next(trim.kinds) then parts[#parts + 1] = "kinds=" .. set_text(trim.kinds, M.fault_names) end
  if trim.calm and next(trim.calm) then parts[#parts + 1] = "calm=" .. set_text(trim.calm, M.calm_names) end
  if trim.faults then parts[#parts + 1] = "faults=" .. numbers_text(trim.faults) end
  if trim.asks then parts[#parts + 1] = "asks=" .. numbers_text(trim.asks) end
  return table.concat(parts, " ")
end

local function parse_integer(text, least, most, field)
  local value = math.tointeger(tonumber(text:match "^%d+$"))
  if not value or value < least or value > most then
    error(("%s=%s: a whole number from %d to %d"):format(field, text, least, most), 0)
  end
  return value
end

local NUMBERS_MAX = 10000000

local function parse_numbers(text, field)
  local list, last = {}, 0
  if text == "none" then return list end
  for part in (text .. ","):gmatch "([^,]*)," do
    local first, final = part:match "^(%d+)%-?(%d*)$"
    if not first then error(("%s=%s: numbers and ranges, like 3,7-9, or none"):format(field, text), 0) end
    first = parse_integer(first, 1, NUMBERS_MAX, field)
    final = final ~= "" and parse_integer(final, 1, NUMBERS_MAX, field) or first
    if first <= last or final < first then error(("%s=%s: the numbers ascend"):format(field, text), 0) end
    for number = first, final do list[#list + 1] = number end
    last = final
  end
  return list
end

local function parse_set(text, known, field)
  local set, is_known = {}, {}
  for _, name in ipairs(known) do is_known[name] = true end
  if text == "all" then return is_known end
  for name in text:gmatch "[^,]+" do
    if not is_known[name] then error(("%s: there is no %s%s"):format(field, name, names.hint(name, known)), 0) end
    set[name] = true
  end
  return set
end

local parsers = {
  nodes = function(text) return parse_integer(text, 1, 7, "nodes") end,
  clients = function(text) return parse_integer(text, 1, 28, "clients") end,
  us = function(text) return parse_integer(text, 1, 1 << 50, "us") end,
  kinds = function(text) return parse_set(text, M.fault_names, "kinds") end,
  calm = function(text) return parse_set(text, M.calm_names, "calm") end,
  faults = function(text) return parse_numbers(text, "faults") end,
  asks = function(text) return parse_numbers(text, "asks") end,
}

---Raises a text for people where it is no trim.
---@param text string
---@return moonclave.sim.trim
function M.parse(text)
  local trim = {}
  for part in text:gmatch "%S+" do
    local field, value = part:match "^(%w+)=(.+)$"
    if not parsers[field] then
      error(("there is no %s in a replay%s"):format(part, names.hint(field or part, names.of(parsers))), 0)
    end
    trim[field] = parsers[field](value)
  end
  return trim
end

---The kinds of faults that a --faults LIST leaves out: "crash,partition" are the only ones, "-wipe" all but one.
---@param list string
---@return table<string, true>
function M.kinds_left_out(list)
  local known, chosen, left_out, positive = {}, {}, {}, false
  for _, name in ipairs(M.fault_names) do known[name] = true end
  for word in list:gmatch "[^,%s]+" do
    local minus, name = word:match "^(%-?)(.*)$"
    name = name:gsub("-", "_")
    if name ~= "all" and name ~= "none" and not known[name] then
      error(("there is no fault %s%s"):format(name, names.hint(name, M.fault_names)), 0)
    end
    if minus == "-" then
      left_out[name] = true
    else
      positive = true
      if known[name] then chosen[name] = true end
      if name == "all" then chosen = known end
    end
  end
  for _, name in ipairs(M.fault_names) do
    if positive and not chosen[name] then left_out[name] = true end
  end
  left_out.all, left_out.none = nil, nil
  return left_out
end

return M
