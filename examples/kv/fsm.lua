-- A key-value store: what is replicated. Every node runs these functions over the same log and so holds the same.
local fsm = { version = 1, commands = {}, queries = {} }

local PAGE_BYTES = 4 * 1024 * 1024 -- a list ends after this much, whatever its limit

function fsm.init(config)
  return { items = moonclave.object {}, value_bytes_max = config.value_bytes_max or 1024 * 1024 }
end

local function refuse(code, message) return nil, { code = code, message = message } end

-- ctx.index, the command's place in the log, is the item's revision.
local function write(state, key, value, ctx)
  if type(key) ~= "string" or key == "" then return refuse("bad_request", "a key is a string that is not empty") end
  if type(value) ~= "string" then return refuse("bad_request", "a value is a string") end
  local most = state.value_bytes_max
  if #value > most then return refuse("too_large", ("a value has at most %d bytes, not %d"):format(most, #value)) end
  state.items[key] = { value = value, revision = ctx.index }
  return { revision = ctx.index }
end

function fsm.commands.put(state, command, ctx)
  return write(state, command.key, command.value, ctx)
end

function fsm.commands.append(state, command, ctx)
  local item = state.items[command.key]
  return write(state, command.key, (item and item.value or "") .. command.value, ctx)
end

-- Writes only where the value is `expected`; where that is nil, only where there is none.
function fsm.commands.cas(state, command, ctx)
  local item = state.items[command.key]
  local value = item and item.value
  if value ~= command.expected then
    local revision = item and item.revision
    return nil, { code = "conflict", message = "the value is another", value = value, revision = revision }
  end
  return write(state, command.key, command.value, ctx)
end

function fsm.commands.delete(state, command, ctx)
  if not state.items[command.key] then return refuse("not_found", "there is no such key") end
  state.items[command.key] = nil
  return { revision = ctx.index }
end

function fsm.queries.get(state, query) return state.items[query.key] end

-- Up to `limit` items in the order of their keys, of those that begin with `prefix` and come after `after`.
function fsm.queries.list(state, query)
  local list, bytes = {}, 0
  local range = { prefix = query.prefix, from = query.after and query.after .. "\0", limit = query.limit or 100 }
  for key, item in scan(state.items, range) do
    bytes = bytes + #item.value
    if bytes > PAGE_BYTES and #list > 0 then break end
    list[#list + 1] = { key = key, value = item.value, revision = item.revision }
  end
  return list
end

return fsm
