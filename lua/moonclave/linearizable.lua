-- Is this history linearizable? Takes what clients saw of a key-value store and looks, for each key, for one order of
-- the operations that explains every answer and keeps real time: what ended before another began comes before it.
--
-- The search is Wing and Gong's, with Lowe's memory of configurations (the operations done so far, and the value) that
-- were tried in vain. Shortcuts keep it fast where many outcomes are unknown; none of them loses a solution:
--   * what observes and changes nothing, and fits, is taken at once: later it could not fit better;
--   * values that nobody saw, nor anything that begins with them, are all alike;
--   * a value that is still to be seen, and that nothing left can make again, is not overwritten;
--   * what may or may not have happened is only taken where something depends on it: a write that is overwritten unseen
--     might as well not have happened. So no write follows it at once, and either the value it leaves is the beginning
--     of one that was seen, or the value it takes away is the beginning of one that surely was not there.
--
-- References: Wing, Gong: Testing and Verifying Concurrent Objects (1993); Lowe: Testing for Linearizability (2017).
local M = {}

local WORD_BITS = 60
local UNSEEN = {} -- stands for every value that nobody saw

---@class moonclave.operation
---@field kind "write"|"read"|"cas"|"append"|"delete"
---@field key? string          keys are independent of each other; default ""
---@field value? string        write, append: what; cas: what to set
---@field expected? string     cas: the value it was to have; nil: none
---@field result? any          read: the value seen, nil: none; cas, delete: true where done, false where not applicable
---@field outcome? "ok"|"failed"|"unknown"  default: "ok" with a `returned`, else "unknown"; "failed": surely not done
---@field invoked number       when it was begun, on one clock for all clients
---@field returned? number     when the answer came
---@field client? any          for the explanation

-- kind -> function(op, value): whether it can come next, and the value after it. Of an unknown outcome only the effect
-- counts: without one it need not have happened.
local steps = {}

function steps.write(op) return true, op.value end

function steps.append(op, value) return true, value == UNSEEN and UNSEEN or (value or "") .. op.value end

function steps.read(op, value) return value == op.result, value end

function steps.cas(op, value)
  if op.unknown or op.result then return value == op.expected, op.value end
  return value ~= op.expected, value
end

function steps.delete(op, value)
  if op.unknown or op.result ~= false then return value ~= nil, nil end
  return value == nil, nil
end

-- Does it change nothing, whatever the value?
local function only_observes(op)
  return op.kind == "read" or ((op.kind == "cas" or op.kind == "delete") and op.result == false)
end

local function show(value)
  if value == UNSEEN then return "one that nobody saw" end
  return value == nil and "nothing" or ("%q"):format(value)
end

local function describe(op)
  local what = { op.kind }
  if op.kind == "cas" then what[#what + 1] = show(op.expected) .. " to" end
  if op.value ~= nil then what[#what + 1] = show(op.value) end
  if op.unknown then
    what[#what + 1] = "-> unknown"
  elseif op.kind == "read" then
    what[#what + 1] = "-> " .. show(op.result)
  elseif op.result ~= nil then
    what[#what + 1] = "-> " .. tostring(op.result)
  end
  local ended = op.unknown and "" or tostring(op.returned)
  local client, began = tostring(op.client or "?"), tostring(op.invoked)
  return ("%s  (client %s, %s to %s)"):format(table.concat(what, " "), client, began, ended)
end

local function explain(key, best)
  local lines = { ("key %q: no order of its operations explains what the clients saw"):format(key) }
  lines[#lines + 1] = best.left_out > 0 and ("after %d operations and then:"):format(best.left_out) or "after these:"
  for _, op in ipairs(best.done) do lines[#lines + 1] = "  " .. describe(op) end
  lines[#lines + 1] = ("the value is %s, and one of these would have to come next:"):format(show(best.value))
  for _, op in ipairs(best.next) do lines[#lines + 1] = "  " .. describe(op) end
  return table.concat(lines, "\n")
end

-- The completed operations as a list of their beginnings and ends in the order of time; equal times overlap.
local function timeline(completed)
  local nodes = {}
  for id, op in ipairs(completed) do
    local begin = { op = op, id = id, time = op.invoked }
    local finish = { is_end = true, time = op.returned }
    begin.finish = finish
    nodes[#nodes + 1], nodes[#nodes + 2] = begin, finish
    begin.order, finish.order = #nodes - 1, #nodes
  end
  table.sort(nodes, function(a, b)
    if a.time ~= b.time then return a.time < b.time end
    if a.is_end ~= b.is_end then return not a.is_end end
    return a.order < b.order
  end)
  local head = {}
  local last = head
  for _, node in ipairs(nodes) do
    last.next, node.previous = node, last
    last = node
  end
  return head
end

local function unlink(node)
  node.previous.next = node.next
  if node.next then node.next.previous = node.previous end
end

local function relink(node)
  node.previous.next = node
  if node.next then node.next.previous = node end
end

-- A set of numbers 1..n that can be written down as text: whole words that are full are only counted.
local function bits(n)
  local words, full = {}, (1 << WORD_BITS) - 1
  local count = (n + WORD_BITS - 1) // WORD_BITS
  for i = 1, count do words[i] = 0 end
  local set = {}

  function set.flip(id)
    local word = (id - 1) // WORD_BITS + 1
    words[word] = words[word] ~ (1 << (id - 1) % WORD_BITS)
  end

  local low = 1
  function set.text()
    while low <= count and words[low] == full do low = low + 1 end
    while low > 1 and words[low - 1] ~= full do low = low - 1 end
    local high = low
    for i = count, low, -1 do
      if words[i] ~= 0 then
        high = i
        break
      end
    end
    return count == 0 and "" or low .. ":" .. table.concat(words, ",", low, math.min(high, count))
  end

  return set
end

-- Texts, to be asked whether one of them begins with another.
local function beginnings(texts)
  table.sort(texts)
  return function(prefix)
    local low, high = 1, #texts + 1
    while low < high do
      local middle = (low + high) // 2
      if texts[middle] < prefix then low = middle + 1 else high = middle end
    end
    return texts[low] ~= nil and texts[low]:sub(1, #prefix) == prefix
  end
end

-- What the operations can tell apart. matters(before, after): could an operation of unknown outcome that makes a value
-- into another matter to anything later? (Between it and what depends on it there can only be appends.)
-- simplify(value): UNSEEN where no operation can tell this value from another.
local function observations(lists)
  local seen, missed, all = {}, {}, {} -- values that were there; values that were not; both
  local nothing_seen, something_seen, appends = false, false, false
  local function see(value)
    if value == nil then nothing_seen = true else seen[#seen + 1], all[#all + 1] = value, value end
  end
  local function miss(value)
    if value == nil then something_seen = true else missed[#missed + 1], all[#all + 1] = value, value end
  end
  local observe = {
    read = function(op) see(op.result) end,
    append = function() appends = true end,
    write = function() end,
    delete = function(op) if op.result == false and not op.unknown then see(nil) else miss(nil) end end,
    cas = function(op) if op.unknown or op.result then see(op.expected) else miss(op.expected) end end,
  }
  for _, list in ipairs(lists) do
    for _, op in ipairs(list) do observe[op.kind](op) end
  end

  local seen_begins, missed_begins, begins = beginnings(seen), beginnings(missed), beginnings(all)
  local function matters(before, after)
    if after == nil then
      if nothing_seen or appends then return true end
    elseif after ~= UNSEEN and seen_begins(after) then
      return true
    end
    if before == nil then return something_seen or #missed > 0 end
    return before ~= UNSEEN and missed_begins(before)
  end

  local simple = {}
  local function simplify(value)
    if value == nil or value == UNSEEN then return value end
    if simple[value] == nil then simple[value] = begins(value) and value or UNSEEN end
    return simple[value]
  end
  return matters, simplify
end

local NOTHING = {} -- stands for nil where a table's key is needed

-- What is still to come for each value: `seers` that must find it, `makers` that may leave it behind.
-- tally.overwrites(op, value): would `op` take away a value that is still needed and cannot come back?
local function tally(lists, simplify)
  local seers, makers, sees, makes, appends, lengths = {}, {}, {}, {}, {}, {}
  local function add(counts, key, n) counts[key] = (counts[key] or 0) + n end
  local function make(op, value)
    value = simplify(value)
    if value == UNSEEN then return end
    makes[op] = makes[op] or {}
    table.insert(makes[op], value == nil and NOTHING or value)
  end
  for _, list in ipairs(lists) do
    for _, op in ipairs(list) do
      if op.kind == "write" or op.kind == "cas" then make(op, op.value) end
      if op.kind == "delete" then make(op, nil) end
      if op.kind == "append" then
        appends[op.value], lengths[#op.value] = appends[op.value] or {}, true
        table.insert(appends[op.value], op)
      end
      if not op.unknown then
        if op.kind == "read" then sees[op] = op.result == nil and NOTHING or op.result end
        if op.kind == "cas" and op.result then sees[op] = op.expected == nil and NOTHING or op.expected end
        if op.kind == "delete" and op.result == false then sees[op] = NOTHING end
      end
      if sees[op] then add(seers, sees[op], 1) end
    end
  end
  for value in pairs(seers) do
    for length in pairs(value == NOTHING and {} or lengths) do
      local ending = length <= #value and appends[value:sub(#value - length + 1)]
      for _, op in ipairs(ending or {}) do make(op, value) end
    end
  end
  for _, values in pairs(makes) do
    for _, value in ipairs(values) do add(makers, value, 1) end
  end

  local self = {}
  function self.take(op, n)
    if sees[op] then add(seers, sees[op], n) end
    for _, value in ipairs(makes[op] or {}) do add(makers, value, n) end
  end
  function self.overwrites(op, value)
    if value == UNSEEN then return false end
    if value == nil then value = NOTHING end
    local needed, left = seers[value] or 0, makers[value] or 0
    if sees[op] == value then needed = needed - 1 end
    for _, made in ipairs(makes[op] or {}) do
      if made == value then left = left - 1 end
    end
    return needed > 0 and left == 0
  end
  return self
end

-- true; false, explanation; nil, text when it took too long.
local function search(key, completed, unknown, initial, steps_max)
  local head = timeline(completed)
  local done, done_unknown = bits(#completed), bits(#unknown)
  local taken, seen, stack = {}, {}, {}
  local left, used = #completed, 0
  local best = { depth = -1 }
  local matters, simplify = observations { completed, unknown }
  local to_come = tally({ completed, unknown }, simplify)

  -- The present configuration: `value`; `fresh`: the last operation taken was one of unknown outcome.
  local value, fresh = simplify(initial), false
  -- The next choice: the node `at`, or where no node is left before an end, unknown[guess].
  local at, guess = head.next, 0

  local function remember()
    if #stack <= best.depth then return end
    best = { depth = #stack, value = value, done = {}, next = {}, left_out = math.max(0, #stack - 8) }
    for i = best.left_out + 1, #stack do best.done[#best.done + 1] = stack[i].op end
    local node = head.next
    while not node.is_end do
      best.next[#best.next + 1] = node.op
      node = node.next
    end
  end

  local function take(op, after)
    stack[#stack + 1] =
      { op = op, node = at, guess = guess, value = value, fresh = fresh, certain = guess == 0 and only_observes(op) }
    if guess > 0 then
      taken[guess] = true
    else
      unlink(at)
      unlink(at.finish)
      left = left - 1
    end
    to_come.take(op, -1)
    value, fresh = after, guess > 0
    at, guess = head.next, 0
  end

  -- Undoes choices until there is another to be made. false: there is none.
  local function back()
    remember()
    while #stack > 0 do
      local frame = table.remove(stack)
      to_come.take(frame.op, 1)
      at, guess, value, fresh = frame.node, frame.guess, frame.value, frame.fresh
      if guess > 0 then
        taken[guess] = nil
        done_unknown.flip(guess)
        guess = guess + 1
      else
        relink(at.finish)
        relink(at)
        left = left + 1
        done.flip(at.id)
        at = at.next
      end
      if not frame.certain then return true end
    end
    return false
  end

  -- Has the configuration after this choice been tried before? Notes it.
  local function tried(after)
    if guess > 0 then done_unknown.flip(guess) else done.flip(at.id) end
    local mark = after == nil and "-" or after == UNSEEN and "*" or "=" .. after
    local text = done.text() .. "|" .. done_unknown.text() .. (guess > 0 and "?" or "|") .. mark
    if not seen[text] then
      seen[text] = true
      return false
    end
    if guess > 0 then done_unknown.flip(guess) else done.flip(at.id) end
    return true
  end

  while left > 0 do
    used = used + 1
    if used > steps_max then return nil, ("key %q: undecided after %d steps"):format(key, steps_max) end
    if guess == 0 and at.is_end then guess = 1 end
    local op
    if guess == 0 then
      op = at.op
    else
      while taken[guess] do guess = guess + 1 end
      op = unknown[guess]
    end
    if not op or (guess > 0 and op.invoked > at.time) then
      if not back() then return false, explain(key, best) end
    else
      local fits, after = steps[op.kind](op, value)
      after = simplify(after)
      if fits and fresh and op.kind == "write" then fits = false end
      if fits and guess > 0 then fits = after ~= value and matters(value, after) end
      if fits and after ~= value and to_come.overwrites(op, value) then fits = false end
      if fits and not tried(after) then
        take(op, after)
      elseif fits and guess == 0 and only_observes(op) then
        if not back() then return false, explain(key, best) end
      elseif guess > 0 then
        guess = guess + 1
      else
        at = at.next
      end
    end
  end
  return true
end

-- A copy with its outcome plain; nil where it says nothing: surely not done, or a read without an answer.
local function normal(op)
  if not steps[op.kind] then error("no such kind of operation: " .. tostring(op.kind), 4) end
  if type(op.invoked) ~= "number" then error("an operation has a time at which it was invoked", 4) end
  local outcome = op.outcome or (op.returned and "ok" or "unknown")
  if outcome == "failed" or (outcome == "unknown" and op.kind == "read") then return nil end
  if outcome == "ok" and not (op.returned and op.returned >= op.invoked) then
    error("an operation that is done returned after it was invoked", 4)
  end
  return {
    kind = op.kind, value = op.value, expected = op.expected, result = op.result, client = op.client,
    invoked = op.invoked, returned = op.returned, unknown = outcome == "unknown" or nil,
  }
end

local function by_invocation(a, b) return a.invoked < b.invoked end

local function partition(history)
  local keys, by_key = {}, {}
  for _, op in ipairs(history) do
    local plain, key = normal(op), op.key or ""
    if plain then
      if not by_key[key] then
        by_key[key] = { completed = {}, unknown = {} }
        keys[#keys + 1] = key
      end
      local list = plain.unknown and by_key[key].unknown or by_key[key].completed
      list[#list + 1] = plain
    end
  end
  table.sort(keys)
  for _, lists in pairs(by_key) do
    table.sort(lists.completed, by_invocation)
    table.sort(lists.unknown, by_invocation)
  end
  return keys, by_key
end

---Is the history linearizable?
---@param history moonclave.operation[]  in any order
---@param options? { initial?: table<string, string>, steps_max?: integer }  what keys held before; effort for each key
---@return boolean|nil answer  nil: undecided within steps_max
---@return string? explanation  of false and nil
function M.check(history, options)
  options = options or {}
  local keys, by_key = partition(history)
  for _, key in ipairs(keys) do
    local initial = options.initial and options.initial[key]
    local lists = by_key[key]
    local answer, text = search(key, lists.completed, lists.unknown, initial, options.steps_max or 10000000)
    if not answer then return answer, text end
  end
  return true
end

return M
