-- The REPL without a terminal: expressions of the command line, or a file by a pipe. Results to standard output,
-- errors to standard error; it ends at the first that fails.
local commands = require "moonclave.repl.commands"
local reader = require "moonclave.repl.reader"

local M = {}

local function write(text) io.stdout:write(text, "\n") end

-- What went wrong, on standard error.
function M.complain(session, problem)
  io.stdout:flush()
  if session.look.format == "json" then
    local json = require "moonclave.repl.printer".json
    io.stderr:write(json({ error = session:error_fields(problem) }), "\n")
    return
  end
  local message, place = session:explain(problem)
  io.stderr:write("moonclave: repl: ", message, "\n")
  if place then io.stderr:write(("  %d | %s\n"):format(place.number, place.text)) end
end

local function show(session, results)
  if session.look.format == "json" and results.n > 1 then
    local list = {}
    for i = 1, results.n do list[i] = session:render(results[i]) end
    return write("[" .. table.concat(list, ",") .. "]")
  end
  for i = 1, results.n do
    local value = results[i]
    local as_is = type(value) == "string" and session.look.format ~= "json" and session.look.format ~= "lua"
    write(as_is and value or session:render(value))
  end
end

local function new_console(session)
  local console = { session = session, print = write, inputs = {} }
  function console.aim() end
  function console.run(text) return M.run(console, text) end
  local function terminal_only(what)
    return function()
      error(setmetatable({ code = "usage", message = what .. " needs a terminal" }, {
        __tostring = function(err) return err.code .. ": " .. err.message end,
      }), 0)
    end
  end
  function console.detach() session.is_inside = false end
  console.watch, console.attach = terminal_only "\\watch", terminal_only "\\attach"
  return console
end

-- Runs one input. false: it has failed, and has been told.
function M.run(console, text)
  local session = console.session
  if reader.is_empty(text) then return true end
  console.inputs[#console.inputs + 1] = text
  local name, rest = reader.command(text)
  if name then
    local ok, err = pcall(commands.run, console, name, rest)
    if not ok then M.complain(session, { err = err }) end
    return ok and not console.failed
  end
  if session.every then text = "all(" .. require "moonclave.repl.printer".quote(text) .. ")" end
  local ok, results = session:evaluate(text)
  local problem = results
  if ok then ok, problem = pcall(show, session, results) end
  if ok then return true end
  M.complain(session, type(problem) == "table" and problem.err ~= nil and problem or { err = problem })
  console.failed = true
  return false
end

-- The texts of the command line. The exit code.
function M.expressions(session, texts)
  local console = new_console(session)
  for _, text in ipairs(texts) do
    if not M.run(console, text) then return 1 end
    if console.over then break end
  end
  return 0
end

-- What comes by a pipe, each input as soon as it is complete. The exit code.
function M.lines(session, file)
  local console, pending = new_console(session), nil
  for line in file:lines() do
    pending = pending and pending .. "\n" .. line or line
    if reader.finished(pending, true) then
      local text = pending
      pending = nil
      if not M.run(console, text) then return 1 end
      io.stdout:flush()
      if console.over then return 0 end
    end
  end
  if pending and not M.run(console, pending) then return 1 end
  return 0
end

return M
