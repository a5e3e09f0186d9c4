-- The simulator's workload as an app: src/sim/machine.c says what it must answer.
local fsm = { version = 1, commands = {}, queries = {} }

function fsm.init()
  return { registers = {}, version = 0 }
end

function fsm.commands.append(state, command, ctx)
  local name = "key" .. command.key
  local register = state.registers[name]
  local count = register and register.count or 0
  state.registers[name] = { count = count + 1, last = command.value }
  state.version = ctx.index
  return { count = count + 1, index = ctx.index }
end

function fsm.queries.get(state, query)
  local register = state.registers["key" .. query.key]
  return { count = register and register.count or 0, last = register and register.last or 0, version = state.version }
end

return fsm
