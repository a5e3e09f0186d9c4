-- What `moonclave sim examples/kv` asks of the store, and what it holds the answers against. Not part of the app.

-- Values of one key. What is compared is what clients depend on; revisions are the log's indexes and checked below.
local function same_item(item, value)
  if value == nil then return item == nil end
  return item ~= nil and item.value == value
end

-- What each command answers and leaves behind, given the value before it.
local step = {}

function step.put(_, arguments) return true, arguments.value end

function step.append(value, arguments) return true, (value or "") .. arguments.value end

function step.cas(value, arguments, operation)
  local fits = value == arguments.expected
  local err = operation.error
  if operation.unknown then return fits, arguments.value end
  if fits then return err == nil, arguments.value end
  return err ~= nil and err.code == "conflict" and err.value == value, value
end

function step.delete(value, _, operation)
  local err = operation.error
  if value == nil and not operation.unknown then return err ~= nil and err.code == "not_found", nil end
  return err == nil, nil
end

function step.get(value, _, operation) return same_item(operation.result, value) end

-- What was last put under a key, for cas to expect. This file is run anew for each seed.
local put_last = {}

local function put(random)
  local key, value = random:key(), random:unique()
  put_last[key] = value
  return { key = key, value = value }
end

return {
  commands = {
    put = put,
    append = function(random) return { key = random:key(), value = random:string(4) } end,
    cas = function(random)
      local key = random:key()
      return { key = key, expected = random:boolean(0.8) and put_last[key] or nil, value = random:unique() }
    end,
    delete = function(random) return { key = random:key() } end,
  },
  queries = {
    get = function(random) return { key = random:key() } end,
    list = function(random) return { prefix = random:choice { "", "a", "b" }, limit = random(10) } end,
  },
  weights = { put = 4, get = 6, append = 2, cas = 2, delete = 1, list = 1 },

  -- A map of one key at a time: keys do not know of each other.
  model = {
    init = function() return nil end,
    partition = function(operation) return operation.name ~= "list" and operation.arguments.key end,
    step = function(value, operation)
      return step[operation.name](value, operation.arguments, operation)
    end,
  },

  invariants = {
    revisions = function(state)
      local seen = {}
      for key, item in pairs(state.items) do
        if seen[item.revision] then
          return false, ("%s and %s both have revision %d"):format(seen[item.revision], key, item.revision)
        end
        seen[item.revision] = key
      end
      return true
    end,
  },
}
