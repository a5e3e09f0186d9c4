-- One log, applied by three machines: one that only applies; one that is asked queries between the entries; one that is
-- restored from its snapshot every few entries. They must give the same replies and the same state: where they do not,
-- nodes of a cluster would not either.
local fsm = require "moonclave.fsm"
local randoms = require "moonclave.sim.random"
local values = require "moonclave.linearizable.values"

local M = {}

local RESTORE_EVERY, RESTORE_MOST = 3, 20 -- entries between two restores: drawn
local INIT = { index = 1, term = 1, time = 1700000000000, seed = 1 }

local function choose(list, random)
  local weights = 0
  for _, one in ipairs(list) do weights = weights + one.weight end
  local at = random() * weights
  for _, one in ipairs(list) do
    at = at - one.weight
    if at < 0 then return one end
  end
  return list[#list]
end

-- A machine that has run the app's files and made its first state.
local function loaded(app)
  local machine = fsm.new()
  local code, text = machine:load(app.bundle, {}, INIT)
  if code ~= "ok" then error(text, 0) end
  return machine
end

-- Another machine that holds what this one does, as a node has it from a snapshot.
local function restored(app, machine, last)
  local hash, parts, more = machine:snapshot_begin(), {}, true
  while more do parts[#parts + 1], more = machine:snapshot_step(100000) end
  machine:snapshot_end()
  local fresh = fsm.new()
  local code, text = fresh:restore_begin(app.bundle, INIT)
  if code == "ok" then code, text = fresh:restore_feed(table.concat(parts)) end
  if code == "ok" then code, text = fresh:restore_finish(last, hash) end
  if code ~= "ok" then error(("its snapshot cannot be restored: %s"):format(text), 0) end
  return fresh
end

local function apply(machine, entry, command)
  local code, reply, bytes = machine:apply(entry, command.name, command.arguments)
  return { code = code, reply = reply, bytes = bytes, hash = machine:hash() }
end

local function say(value) return values.show(value, 100) end

local function outcome(one)
  if one.code == "ok" then return say(one.reply) end
  local message = type(one.reply) == "table" and one.reply.message or one.reply
  return ("%s (%s)"):format(one.code, tostring(message))
end

-- nil, or in what two outcomes of an entry differ
local function difference(a, b)
  if a.code ~= b.code or a.bytes ~= b.bytes then
    return ("it answers %s, there %s"):format(outcome(a), outcome(b))
  end
  if a.hash ~= b.hash then return "it leaves another state" end
  return nil
end

local function found(index, command, what, where)
  return ("entry %d, %s %s: %s%s"):format(index, command.name, say(command.arguments), what, where)
end

---Applies `entries` drawn commands. nil, or what differs; and what commands raised, by name: an error is no refusal.
---@param app moonclave.sim.app
---@param entries integer
---@param seed integer
---@return string? divergence
---@return table<string, string> failures
function M.run(app, entries, seed)
  local list, failures = { command = {}, query = {} }, {}
  for _, one in ipairs(app:scenario().list) do table.insert(list[one.kind], one) end
  if #list.command == 0 then return nil, failures end
  local random = randoms.new(seed)
  local plain, asked, moved = loaded(app), loaded(app), loaded(app)
  local restore_at = RESTORE_EVERY
  for index = 2, entries + 1 do
    local chosen = choose(list.command, random)
    local command = { name = chosen.name, arguments = chosen.draw(random) }
    local time, dice = INIT.time + index * 7 + random(5), random(1 << 40)
    local entry = { index = index, term = 1 + index // 500, time = time, seed = dice }
    local first = apply(plain, entry, command)
    if type(first.reply) == "table" and first.reply.traceback then failures[command.name] = first.reply.message end
    local why = difference(apply(asked, entry, command), first)
    if why then
      return found(index, command, why, " on a node that is asked queries: a query changes something, or what it " ..
        "changes is not in the state"), failures
    end
    why = difference(apply(moved, entry, command), first)
    if why then
      return found(index, command, why, " on a node that was restored from a snapshot: something is kept that is " ..
        "not in the state"), failures
    end
    for _ = 1, math.min(#list.query, 2) do
      local query = choose(list.query, random)
      asked:query(query.name, query.draw(random))
    end
    if index >= restore_at then
      moved = restored(app, moved, entry)
      restore_at = index + random(RESTORE_EVERY, RESTORE_MOST)
    end
  end
  if plain:encode() ~= asked:encode() or plain:encode() ~= moved:encode() then
    return "after all entries the states differ", failures
  end
  return nil, failures
end

return M
