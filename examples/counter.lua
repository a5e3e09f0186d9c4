-- Named counters: a whole fault-tolerant service.
local fsm = { version = 1, commands = {}, queries = {} }

function fsm.init() return { counters = {} } end

function fsm.commands.add(state, command)
  local name = command.name or "default"
  state.counters[name] = (state.counters[name] or 0) + (command.by or 1)
  return state.counters[name]
end

function fsm.queries.get(state, query) return state.counters[query.name or "default"] or 0 end

return fsm
