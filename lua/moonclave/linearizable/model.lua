-- Is this history linearizable, by the user's own model? Takes what clients saw of any service and looks for one order
-- of the operations in which the model gives every answer, and which keeps real time: what ended before another began
-- comes before it.
--
-- Two ways. Where operations carry the `index` at which the service says they took effect, that order is tried first:
-- it is checked like any other (real time included), costs one step for each operation, and for a sound service it is
-- the answer. Else, and where it fails, all orders are searched as Wing and Gong do, with Lowe's memory of
-- configurations (the operations done so far, and the state) that were tried in vain. What keeps the search short, and
-- loses no solution: queries and refusals change nothing, so one that fits is taken at once; an operation of unknown
-- outcome is taken last, only where it changes something, and only the oldest of those that are alike.
local timeline = require "moonclave.linearizable.timeline"
local values = require "moonclave.linearizable.values"

local M = {}

---A sequential service: what it would answer if it were asked one thing after another.
---@class moonclave.model
---@field init? fun(): any  the first state: plain data; default nil
---Does this answer follow from the state? And the state after it. The state given is step's own: it may be changed in
---place. With one result the state is the one given; with two it is the second, also where that is nil. Of queries, and
---of commands that the service answered with an error, only the first result counts. An operation with `unknown` has
---neither result nor error: return the state after it, or false where it could not have had an effect.
---@field step fun(state: any, operation: moonclave.model.operation): boolean, any
---@field partition? fun(operation: moonclave.model.operation): any  its key: keys are independent; false: not judged
---@field equal? fun(a: any, b: any): boolean  default: deeply equal
---@field hash? fun(state: any): string|number  the same for equal states; default: all of the state as text
---@field describe? fun(operation: moonclave.model.operation): string

---@class moonclave.model.operation
---@field kind? "command"|"query"   default "command"; a query changes nothing
---@field name? string
---@field arguments? any
---@field result? any
---@field error? any                the service's own answer that it refuses: it changed nothing
---@field outcome? "ok"|"failed"|"unknown"  default: "ok" with a `returned`, else "unknown"; "failed": surely not done
---@field unknown? true             set by the checker
---@field invoked number            when it was begun, on one clock for all clients
---@field returned? number          when the answer came
---@field index? integer            a command: where it took effect; a query: the command whose state it saw
---@field consistency? string       of a query; "stale" ones need not be linearizable: they are judged by `index` only
---@field client? any

local SECOND_LOOK = 200000 -- steps
local LISTED = 8 -- operations shown before the one that does not fit

local function describe(model, op)
  local text
  if model.describe then
    text = tostring(model.describe(op))
  else
    text = ("%s %s"):format(op.name or op.kind, values.show(op.arguments == nil and {} or op.arguments, 60))
  end
  local answer = op.unknown and "unknown" or op.error ~= nil and "error " .. values.show(op.error, 60)
    or values.show(op.result, 60)
  local place = op.index and op.index > 0 and (", index %d"):format(op.index) or ""
  return ("%s -> %s  (client %s, %s to %s%s)"):format(text, answer, tostring(op.client or "?"), tostring(op.invoked),
    op.unknown and "" or tostring(op.returned), place)
end

local function observes(op) return op.kind == "query" or op.error ~= nil end

-- A model that raises is no verdict on the history: its error goes to whoever called, with the operation.
local function outcome_of(model, state, op, completed, ok, ...)
  if not completed then
    local why = type(ok) == "string" and ok or values.show(ok)
    error(("%s\n  in the model's step for %s"):format(why, describe(model, op)), 0)
  end
  if observes(op) or select("#", ...) == 0 then return ok, state end
  return ok, (...)
end

-- ok, state after it.
local function step(model, state, op)
  return outcome_of(model, state, op, pcall(model.step, state, op))
end

-- A copy of each, its outcome plain; left out is what says nothing: surely not done, or a query without an answer.
local function normal(op)
  if type(op.invoked) ~= "number" then error("an operation has a time at which it was invoked", 0) end
  local outcome = op.outcome or (op.returned and "ok" or "unknown")
  local kind = op.kind or "command"
  if kind ~= "command" and kind ~= "query" then error("an operation is a command or a query: " .. tostring(kind), 0) end
  if outcome == "failed" or (outcome == "unknown" and kind == "query") then return nil end
  if outcome ~= "ok" and outcome ~= "unknown" then error("no such outcome: " .. tostring(outcome), 0) end
  if outcome == "ok" and not (op.returned and op.returned >= op.invoked) then
    error("an operation that is done returned after it was invoked", 0)
  end
  local copy = {}
  for name, value in pairs(op) do copy[name] = value end
  copy.kind, copy.outcome = kind, outcome
  if outcome == "unknown" then copy.unknown, copy.returned, copy.result, copy.error = true, nil, nil, nil end
  return copy
end

-- keys in the order of their first operation, key -> operations; one key where the model does not divide them.
local function partition(history, model)
  local keys, by_key = {}, {}
  for _, op in ipairs(history) do
    local plain = normal(op)
    local key = plain and true
    if plain and model.partition then
      key = model.partition(plain)
      if key == nil then
        error("the model's partition gives no key (nor false, to leave it out) for " .. describe(model, plain), 0)
      end
    end
    if key then
      if not by_key[key] then
        by_key[key] = {}
        keys[#keys + 1] = key
      end
      table.insert(by_key[key], plain)
    end
  end
  return keys, by_key
end

local function heading(model, key)
  return model.partition and ("key %s: "):format(values.show(key)) or ""
end

-- ---- in the order of the indexes ----

-- Commands before the queries that saw their state; queries of one state as they were asked.
local function by_index(a, b)
  if a.index ~= b.index then return a.index < b.index end
  if a.kind ~= b.kind then return a.kind == "command" end
  if a.invoked ~= b.invoked then return a.invoked < b.invoked end
  return a.order < b.order
end

-- The operations in the order they name; nil where one does not say. Unknown ones without an index did not happen.
local function named_order(ops)
  local list = {}
  for i, op in ipairs(ops) do
    local placed = op.index and (op.index > 0 or op.kind == "query")
    if placed then
      op.order = i
      list[#list + 1] = op
    elseif not op.unknown and op.consistency ~= "stale" then
      return nil
    end
  end
  table.sort(list, by_index)
  return list
end

-- Nothing may come before what ended earlier; stale queries are free to.
local function keeps_real_time(list)
  local first_end = math.huge
  for i = #list, 1, -1 do
    local op = list[i]
    if op.consistency ~= "stale" then
      if op.invoked > first_end then return false end
      first_end = math.min(first_end, op.returned or math.huge)
    end
  end
  return true
end

local function explain_order(model, key, list, at, state)
  local lines = { heading(model, key) .. "the model gives another answer in the order in which the service did these:" }
  for i = math.max(1, at - LISTED), at - 1 do lines[#lines + 1] = "  " .. describe(model, list[i]) end
  lines[#lines + 1] = ("the model's state is %s, and from it does not follow:"):format(values.show(state, 200))
  lines[#lines + 1] = "  " .. describe(model, list[at])
  return table.concat(lines, "\n")
end

-- true; false, explanation, operation; nil: the operations name no order, or one that real time forbids.
local function in_order(model, key, ops)
  local list = named_order(ops)
  if not list or not keeps_real_time(list) then return nil end
  local state = nil
  if model.init then state = model.init() end
  for at, op in ipairs(list) do
    local before = op.unknown and values.copy(state) or state
    local ok, after = step(model, state, op)
    if ok then
      state = after
    elseif op.unknown then
      state = before
    else
      return false, explain_order(model, key, list, at, state), op
    end
  end
  return true
end

-- ---- in any order ----

local function explain_search(model, key, best)
  local lines = { heading(model, key) .. "no order of its operations explains what the clients saw" }
  lines[#lines + 1] = best.left_out > 0 and ("after %d operations and then:"):format(best.left_out) or "after these:"
  for _, op in ipairs(best.done) do lines[#lines + 1] = "  " .. describe(model, op) end
  lines[#lines + 1] = ("the model's state is %s, and one of these would have to come next:"):format(
    values.show(best.state, 200))
  for _, op in ipairs(best.next) do lines[#lines + 1] = "  " .. describe(model, op) end
  return table.concat(lines, "\n")
end

-- Remembers configurations: has this one been tried before? By text, or by the model's hash and equal.
local function memory(model)
  local seen = {}
  local equal = model.equal or values.equal
  return function(done, state)
    if not model.hash and not model.equal then
      local text = done .. "|" .. values.text(state)
      if seen[text] then return true end
      seen[text] = true
      return false
    end
    local text = done .. "|" .. (model.hash and values.text(model.hash(state)) or "")
    local bucket = seen[text] or {}
    seen[text] = bucket
    for _, other in ipairs(bucket) do
      if equal(other, state) then return true end
    end
    bucket[#bucket + 1] = values.copy(state)
    return false
  end
end

-- unknown[i] -> the number of an older one that is just like it, which goes first.
local function elder_twins(unknown)
  local last, elder = {}, {}
  for i, op in ipairs(unknown) do
    local text = tostring(op.name) .. values.text(op.arguments)
    elder[i], last[text] = last[text], i
  end
  return elder
end

-- true; false, explanation; nil, text when it took too long.
local function search(model, key, completed, unknown, steps_max)
  local head = timeline.new(completed)
  local done, done_unknown = timeline.set(#completed), timeline.set(#unknown)
  local elder, taken, tried = elder_twins(unknown), {}, memory(model)
  local equal = model.equal or values.equal
  local stack, left, used = {}, #completed, 0
  local best = { depth = -1 }
  local state = nil
  if model.init then state = model.init() end
  -- The next choice: the node `at`, or where no node is left before an end, unknown[guess].
  local at, guess = head.next, 0

  local function remember()
    if #stack <= best.depth then return end
    local left_out = math.max(0, #stack - LISTED)
    best = { depth = #stack, state = values.copy(state), done = {}, next = {}, left_out = left_out }
    for i = left_out + 1, #stack do best.done[#best.done + 1] = stack[i].op end
    local node = head.next
    while not node.is_end do
      best.next[#best.next + 1] = node.op
      node = node.next
    end
  end

  local function flip()
    if guess > 0 then done_unknown.flip(guess) else done.flip(at.id) end
  end

  local function take(op, after)
    stack[#stack + 1] = { op = op, node = at, guess = guess, state = state, certain = guess == 0 and observes(op) }
    if guess > 0 then
      taken[guess] = true
    else
      timeline.take(at)
      left = left - 1
    end
    state = after
    at, guess = head.next, 0
  end

  -- Undoes choices until there is another to be made. false: there is none.
  local function back()
    remember()
    while #stack > 0 do
      local frame = table.remove(stack)
      at, guess, state = frame.node, frame.guess, frame.state
      flip()
      if guess > 0 then
        taken[guess] = nil
        guess = guess + 1
      else
        timeline.put_back(at)
        left = left + 1
        at = at.next
      end
      if not frame.certain then return true end
    end
    return false
  end

  -- Takes the operation if it can come next and that was not tried. Else says whether it was: "unfit" or "again".
  local function attempt(op)
    local ok, after = step(model, values.copy(state), op)
    if not ok or (guess > 0 and equal(state, after)) then return "unfit" end
    flip()
    if not tried(done.text() .. "|" .. done_unknown.text(), after) then
      take(op, after)
      return "taken"
    end
    flip()
    return "again"
  end

  while left > 0 do
    used = used + 1
    if used > steps_max then return nil, ("%sundecided after %d steps"):format(heading(model, key), steps_max) end
    if guess == 0 and at.is_end then guess = 1 end
    while taken[guess] or (elder[guess] and not taken[elder[guess]]) do guess = guess + 1 end
    local op = at.op
    if guess > 0 then op = unknown[guess] end
    local dead = not op or (guess > 0 and op.invoked > at.time)
    if not dead then
      local answer = attempt(op)
      if answer ~= "taken" then
        dead = answer == "again" and guess == 0 and observes(op)
        if guess > 0 then guess = guess + 1 else at = at.next end
      end
    end
    if dead and not back() then return false, explain_search(model, key, best) end
  end
  return true
end

local function by_invocation(a, b)
  if a.invoked ~= b.invoked then return a.invoked < b.invoked end
  return a.position < b.position
end

local function search_all(model, key, ops, steps_max)
  local completed, unknown = {}, {}
  for i, op in ipairs(ops) do
    op.position = i
    if op.consistency ~= "stale" then table.insert(op.unknown and unknown or completed, op) end
  end
  table.sort(completed, by_invocation)
  table.sort(unknown, by_invocation)
  return search(model, key, completed, unknown, steps_max)
end

local FIELDS = { init = "function", step = "function", partition = "function", equal = "function", hash = "function",
  describe = "function" }

---What is wrong with a model: nil, or a text for people.
---@param model any
---@return string?
function M.objection(model)
  if type(model) ~= "table" then return "a model is a table with init and step, not a " .. type(model) end
  for name, value in pairs(model) do
    if not FIELDS[name] then
      return ("a model has no field %s: it has init, step, partition, equal, hash, describe"):format(values.show(name))
    end
    if type(value) ~= "function" then return ("the model's %s is a function, not a %s"):format(name, type(value)) end
  end
  if not model.step then return "the model has no step(state, operation)" end
  return nil
end

---Is the history linearizable by this model?
---@param history moonclave.model.operation[]  in any order
---@param model moonclave.model
---@param options? { steps_max?: integer }  effort for each key; default 10,000,000 steps
---@return boolean|nil answer   nil: undecided within steps_max
---@return string? explanation  of false and nil
---@return moonclave.model.operation? operation  the one that does not fit, where the operations name their order
function M.check(history, model, options)
  local objection = M.objection(model)
  if objection then error(objection, 2) end
  local steps_max = options and options.steps_max or 10000000
  local keys, by_key = partition(history, model)
  for _, key in ipairs(keys) do
    local answer, text, misfit = in_order(model, key, by_key[key])
    if not answer then
      -- A sound service names a good order. Where it is not, another is unlikely, and not looked for long.
      local effort = answer == false and math.min(steps_max, SECOND_LOOK) or steps_max
      local found, explanation = search_all(model, key, by_key[key], effort)
      if not found then
        -- Where the service named the order, that says best what is wrong.
        if answer == false then explanation = text .. (found == nil and "\n(" .. explanation .. ")" or "") end
        return found, explanation, misfit
      end
    end
  end
  return true
end

return M
