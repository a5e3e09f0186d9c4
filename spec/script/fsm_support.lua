-- State machines from source text, for the specs of this folder.
local fsm = require "moonclave.fsm"

local support = {}

-- A machine over an app that is one chunk, or a table of files.
function support.machine(source, options)
  options = options or {}
  local files = type(source) == "table" and source or { ["fsm.lua"] = source }
  local machine = fsm.new(options.settings)
  local code, text = machine:load(fsm.bundle(files), options.config, options.entry)
  if code ~= "ok" then error(code .. ": " .. text, 2) end
  return machine
end

-- An app whose command `run` is the body given, with state, command and ctx in reach; query `run` too.
function support.app(body, before)
  return ([[
%s
local function run(state, command, ctx)
  %s
end
return { commands = { run = run }, queries = { run = run } }]]):format(before or "", body)
end

-- Runs the body as a command of a fresh machine: code, reply, the machine.
function support.run(body, options)
  options = options or {}
  local machine = support.machine(support.app(body, options.before), options)
  local code, reply = machine:apply(options.entry or { index = 2, term = 1 }, "run", options.arguments)
  return code, reply, machine
end

-- What the body returns; raises when it fails.
function support.value(body, options)
  local code, reply = support.run(body, options)
  if code ~= "ok" then error(code .. ": " .. tostring(reply.message), 2) end
  return reply
end

-- The message the body fails with.
function support.failure(body, options)
  local code, reply, machine = support.run(body, options)
  if code ~= "command_failed" then error("expected a failure, got " .. code, 2) end
  return reply.message, reply, machine
end

return support
