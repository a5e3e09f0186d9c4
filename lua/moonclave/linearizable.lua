-- Is this history linearizable? Takes what clients saw of a key-value store and looks, for each key, for one order of
-- the operations that explains every answer and keeps real time: what ended before another began comes before it.
--
-- The search is Wing and Gong's, with Lowe's memory of configurations (the operations done so far, and the value) that
-- were tried in vain. Shortcuts keep it fast where many outcomes are unknown; none of them loses a solution:
--   * what observes and changes nothing, and fits, is taken at once: later it could not fit better;
--   * values that nothing to come can tell apart are one (linearizable/expectations.lua);
--   * a value that is still to be seen, and that nothing left can make again, is not overwritten;
--   * what may or may not have happened is only taken where something depends on it: a write that is overwritten unseen
--     might as well not have happened.
--
-- References: Wing, Gong: Testing and Verifying Concurrent Objects (1993); Lowe: Testing for Linearizability (2017).
-- Histories of a machine of one's own, by a model of it: linearizable/model.lua.
local expectations = require "moonclave.linearizable.expectations"
local timeline = require "moonclave.linearizable.timeline"

local M = {}

local UNSEEN = expectations.UNSEEN -- stands for every value that nobody will see

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
  if value == UNSEEN then return "one that nobody sees" end
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
  if best.seer then
    lines[#lines + 1] = "but this was still to see it, and nothing else could make it again:"
    lines[#lines + 1] = "  " .. describe(best.seer)
  end
  return table.concat(lines, "\n")
end

-- true; false, explanation; nil, text when it took too long.
local function search(key, completed, unknown, initial, steps_max)
  local head = timeline.new(completed)
  local done, done_unknown = timeline.set(#completed), timeline.set(#unknown)
  local taken, seen, stack = {}, {}, {}
  local left, used = #completed, 0
  local best = { depth = -1 }
  local to_come = expectations.new(completed, unknown)

  -- The present configuration: `value`; `fresh`: the last operation taken was one of unknown outcome.
  local value, fresh = to_come.settle(initial), false
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
    while node and not best.seer do
      if node.op and to_come.waits_for(node.op, value) then best.seer = node.op end
      node = node.next
    end
  end

  local function take(op, after)
    stack[#stack + 1] =
      { op = op, node = at, guess = guess, value = value, fresh = fresh, certain = guess == 0 and only_observes(op) }
    if guess > 0 then
      taken[guess] = true
    else
      timeline.take(at)
      left = left - 1
    end
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
        timeline.put_back(at)
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

  -- Takes the operation if it can come next and that was not tried. Else says whether it was: "unfit" or "again".
  local function attempt(op)
    local fits, after = steps[op.kind](op, value)
    if not fits then return "unfit" end
    to_come.take(op, -1)
    after = to_come.settle(after)
    if (fresh and op.kind == "write") or (after ~= value and to_come.needed(value)) then fits = false end
    if guess > 0 and (after == value or not to_come.matters(value, after)) then fits = false end
    if fits and not tried(after) then
      take(op, after)
      return "taken"
    end
    to_come.take(op, 1)
    return fits and "again" or "unfit"
  end

  while left > 0 do
    used = used + 1
    if used > steps_max then return nil, ("key %q: undecided after %d steps"):format(key, steps_max) end
    if guess == 0 and at.is_end then guess = 1 end
    while taken[guess] do guess = guess + 1 end
    local op = at.op
    if guess > 0 then op = unknown[guess] end
    local dead = not op or (guess > 0 and op.invoked > at.time)
    if not dead then
      local answer = attempt(op)
      if answer ~= "taken" then
        dead = answer == "again" and guess == 0 and only_observes(op)
        if guess > 0 then guess = guess + 1 else at = at.next end
      end
    end
    if dead and not back() then return false, explain(key, best) end
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
