-- @NAME@: what is replicated.
-- Every node runs these functions over the same log, and so holds the same state.
-- `version` is raised with each new version that keeps its state otherwise: `moonclave deploy` then calls
-- fsm.migrate(state, from_version), where there is one, which returns the state made over.
local fsm = { version = 1, commands = {}, queries = {} }

-- The first state. `config` is the app_config of the node that began the cluster.
function fsm.init(config)
  return { items = {}, most = config.most or 1000000 }
end

local function refuse(code, message) return nil, { code = code, message = message } end

-- Plain data comes in from anywhere: what is not as it should be is refused, and nothing is left behind.
local function objection(command)
  if type(command.name) ~= "string" or command.name == "" then return "a name is a string that is not empty" end
  if math.type(command.count) ~= "integer" or command.count < 1 then return "a count is a whole number from 1" end
end

-- Commands change the state, through the log. What they return is the answer; nil and an error refuses.
function fsm.commands.add(state, command)
  local wrong = objection(command)
  if wrong then return refuse("bad_request", wrong) end
  local count = (state.items[command.name] or 0) + command.count
  if count > state.most then return refuse("too_many", ("at most %d of an item"):format(state.most)) end
  state.items[command.name] = count
  return { name = command.name, count = count }
end

function fsm.commands.take(state, command)
  local wrong = objection(command)
  if wrong then return refuse("bad_request", wrong) end
  local count = (state.items[command.name] or 0) - command.count
  if count < 0 then return refuse("not_enough", ("there are %d"):format(count + command.count)) end
  state.items[command.name] = count > 0 and count or nil
  return { name = command.name, count = count }
end

-- Queries read it.
function fsm.queries.get(state, query)
  return { name = query.name, count = state.items[query.name] or 0 }
end

-- Up to `limit` items, in the order of their names, behind the name `after`.
function fsm.queries.list(state, query)
  local list = {}
  local range = { from = query.after and query.after .. "\0", limit = query.limit or 100 }
  for name, count in scan(state.items, range) do list[#list + 1] = { name = name, count = count } end
  return list
end

return fsm
