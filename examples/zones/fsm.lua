-- What is replicated is beside the point here: a few settings, each with the index it was set at.
local fsm = { version = 1, commands = {}, queries = {} }

function fsm.init() return { settings = {} } end

function fsm.commands.set(state, command, ctx)
  if type(command.name) ~= "string" then return nil, "bad_request" end
  state.settings[command.name] = { value = command.value, index = ctx.index }
  return { index = ctx.index }
end

function fsm.queries.get(state, query) return state.settings[query.name] end

return fsm
