-- What the operations that are still to come expect: which values must yet be found, which must yet be missed, and
-- which can still be made. From it the search of linearizable.lua knows what it need not try.
local M = {}

local NOTHING = {} -- stands for nil where a table's key is needed
local LONG = 256   -- of longer values not every beginning is counted: then they are always told apart

---Stands for every value that nothing to come can tell from others.
M.UNSEEN = {}
local UNSEEN = M.UNSEEN

local function key_of(value) return value == nil and NOTHING or value end

local function add(counts, key, n) counts[key] = (counts[key] or 0) + n end

-- What an operation must find, and what it must not find. Of an unknown outcome nothing is certain.
local function expectation(op)
  if op.unknown or op.kind == "write" or op.kind == "append" then return nil, nil end
  if op.kind == "read" then return key_of(op.result) end
  if op.kind == "cas" then
    if op.result then return key_of(op.expected) end
    return nil, key_of(op.expected)
  end
  if op.result == false then return NOTHING end
  return nil, NOTHING
end

-- All beginnings of a text, itself the last.
local function beginnings(text)
  local list = {}
  for length = #text > LONG and #text or 0, #text do list[#list + 1] = text:sub(1, length) end
  return list
end

-- op -> the values it may leave behind. Of appends only those are known that somebody finds or misses.
local function makers_of(ops, expected)
  local makes, appends, lengths = {}, {}, {}
  for _, op in ipairs(ops) do
    makes[op] = {}
    if op.kind == "write" or op.kind == "cas" then makes[op][1] = op.value end
    if op.kind == "delete" then makes[op][1] = NOTHING end
    if op.kind == "append" then
      appends[op.value], lengths[#op.value] = appends[op.value] or {}, true
      table.insert(appends[op.value], op)
    end
  end
  for value in pairs(expected) do
    for length in pairs(value == NOTHING and {} or lengths) do
      local ending = length <= #value and appends[value:sub(#value - length + 1)]
      for _, op in ipairs(ending or {}) do table.insert(makes[op], value) end
    end
  end
  return makes
end

---@param completed moonclave.operation[]
---@param unknown moonclave.operation[]  of unknown outcome
function M.new(completed, unknown)
  local ops = table.move(completed, 1, #completed, 1, {})
  table.move(unknown, 1, #unknown, #ops + 1, ops)

  local finds, misses = {}, {} -- of each operation: the value it must find, or must not
  local begins = {}            -- of each value: its beginnings
  -- How many are still to come: that find or make this very value; that find or miss, or only miss, one that begins so.
  local seers, makers, wanted, avoided = {}, {}, {}, {}
  local guessed, has_long = {}, false
  local has_appends, has_misses = false, false

  local function count(op, n)
    local found, missed = finds[op], misses[op]
    if found then add(seers, found, n) end
    for _, beginning in ipairs(begins[found or missed] or {}) do
      add(wanted, beginning, n)
      if missed then add(avoided, beginning, n) end
    end
  end

  local expected = {}
  for _, op in ipairs(ops) do
    finds[op], misses[op] = expectation(op)
    has_appends = has_appends or op.kind == "append"
    has_misses = has_misses or misses[op] ~= nil or op.kind == "delete"
    if op.unknown and op.kind == "cas" then guessed[#guessed + 1] = key_of(op.expected) end
    local value = finds[op] or misses[op]
    if value then
      expected[value] = true
      has_long = has_long or (value ~= NOTHING and #value > LONG)
      begins[value] = begins[value] or (value == NOTHING and {} or beginnings(value))
    end
    count(op, 1)
  end
  local guessed_begins = {}
  for _, value in ipairs(guessed) do
    has_long = has_long or (value ~= NOTHING and #value > LONG)
    for _, beginning in ipairs(value == NOTHING and {} or beginnings(value)) do guessed_begins[beginning] = true end
  end
  local makes = makers_of(ops, expected)
  for _, values in pairs(makes) do
    for _, value in ipairs(values) do add(makers, value, 1) end
  end

  local self = {}

  ---The operation is taken (n = -1), or given back (n = 1).
  function self.take(op, n)
    count(op, n)
    for _, value in ipairs(makes[op]) do add(makers, value, n) end
  end

  ---The value, or UNSEEN where nothing to come can tell it from others, nor what appends make of it.
  function self.settle(value)
    if value == nil or value == UNSEEN or has_long then return value end
    return ((wanted[value] or 0) > 0 or guessed_begins[value]) and value or UNSEEN
  end

  ---Must it still be found, though nothing left can make it again?
  function self.needed(value)
    local key = key_of(value)
    return (seers[key] or 0) > 0 and (makers[key] or 0) == 0
  end

  ---Is this an operation for whose sake the value is needed?
  function self.waits_for(op, value) return self.needed(value) and finds[op] == key_of(value) end

  ---Could an operation of unknown outcome that makes `before` into `after` (settled) matter to anything to come?
  ---Between it and what depends on it there are only appends: else it might as well not have happened.
  function self.matters(before, after)
    if has_long then return true end
    if after == nil then
      if has_appends or (seers[NOTHING] or 0) > 0 or #guessed > 0 then return true end
    elseif after ~= UNSEEN then
      return true
    end
    if before == nil then return has_misses end
    return before ~= UNSEEN and (avoided[before] or 0) > 0
  end

  return self
end

return M
