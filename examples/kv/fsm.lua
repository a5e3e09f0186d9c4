-- A key-value store: what is replicated. Plain Lua over plain data.
local fsm = { version = 1, commands = {}, queries = {} }

local function check_key(key)
  if type(key) ~= "string" or key == "" then error("a key is a string that is not empty", 0) end
end

local function store(state, key, value, ctx)
  if type(value) ~= "string" then error("a value is a string", 0) end
  if #value > state.value_bytes_max then
    return nil, { code = "too_large", message = "a value is at most " .. state.value_bytes_max .. " bytes" }
  end
  state.items[key] = { value = value, revision = ctx.index }
  return { revision = ctx.index }
end

function fsm.init(config)
  return { items = moonclave.object {}, value_bytes_max = config.value_bytes_max or 1024 * 1024 }
end

function fsm.commands.put(state, command, ctx)
  check_key(command.key)
  return store(state, command.key, command.value, ctx)
end

function fsm.commands.delete(state, command, ctx)
  check_key(command.key)
  if not state.items[command.key] then return nil, "not_found" end
  state.items[command.key] = nil
  return { revision = ctx.index }
end

-- Sets `value` where the present one is `expected` (nil: absent); else says what is there.
function fsm.commands.cas(state, command, ctx)
  check_key(command.key)
  local item = state.items[command.key]
  local present = item and item.value
  if present ~= command.expected then return nil, { code = "conflict", value = present } end
  return store(state, command.key, command.value, ctx)
end

function fsm.commands.append(state, command, ctx)
  check_key(command.key)
  if type(command.value) ~= "string" then error("a value is a string", 0) end
  local item = state.items[command.key]
  return store(state, command.key, (item and item.value or "") .. command.value, ctx)
end

function fsm.queries.get(state, query) return state.items[query.key] end

function fsm.queries.list(state, query)
  local list = {}
  for key, item in scan(state.items, { prefix = query.prefix, limit = query.limit or 100 }) do
    list[#list + 1] = { key = key, value = item.value, revision = item.revision }
  end
  return list
end

return fsm
