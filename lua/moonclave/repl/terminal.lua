-- The REPL at a terminal: reads, runs, shows; the prompt follows the leader meanwhile.
local commands = require "moonclave.repl.commands"
local completer = require "moonclave.repl.completer"
local editor = require "moonclave.editor"
local errors = require "moonclave.client.errors"
local help = require "moonclave.repl.help"
local history = require "moonclave.repl.history"
local printer = require "moonclave.repl.printer"
local reader = require "moonclave.repl.reader"

local M = {}

local FIRST_S, AFTER_S = 1.5, 0.3 -- how long a prompt waits for the newest word of the cluster

local IDS_S = 0.5              -- Tab asks who is a member for so long, else offers who was
local TIME_COLUMN = 66         -- of the time behind a result of one line

local function write(text) io.stdout:write(text, "\n") end

-- ---- the prompt ----

local PROMPT_COLOURS = { leader = "32", follower = "33", learner = "33", candidate = "33", ["no leader"] = "1;31" }

-- Escapes take no room: \1 says so to the editor.
local function painted(console, text, colour)
  if not console.colours or not colour then return text end
  return ("\1\27[%sm\1%s\1\27[0m\1"):format(colour, text)
end

local function prompt(console)
  local id, what, term, index = console.follower:view()
  if not id then return painted(console, "no node answers", "1;31") .. "> " end
  local inside = console.session.is_inside and " inside" or console.session.every and " all" or ""
  return ("%s%s %s t%d #%d> "):format(painted(console, id, "1"), inside, painted(console, what, PROMPT_COLOURS[what]),
    term or 0, index or 0)
end

-- ---- showing ----

local function duration(seconds)
  if seconds < 1 then return ("%.1f ms"):format(seconds * 1000) end
  return ("%.2f s"):format(seconds)
end

local function timing(console, seconds)
  local paint = printer.painter(console.colours)
  return paint("-- " .. duration(seconds) .. (console.session.was_cut and ", cut" or ""), "dim")
end

-- A result of one line has its time behind it, at the right.
local function show(console, results, seconds)
  local session, texts = console.session, {}
  for i = 1, results.n do texts[i] = session:render(results[i]) end
  local text = table.concat(texts, "\n")
  if not console.shows_time then
    if results.n > 0 then write(text) end
    return
  end
  local plain = text:gsub("\27%[[%d;]*m", "")
  local room = math.min(session.look.width - 14, TIME_COLUMN) - (utf8.len(plain) or #plain)
  if results.n == 1 and not text:find "\n" and room >= 2 then
    write(text .. (" "):rep(room) .. timing(console, seconds))
  else
    if results.n > 0 then write(text) end
    if results.n > 0 or seconds > 0.1 then write(timing(console, seconds)) end
  end
end

local function complain(console, problem)
  local paint = printer.painter(console.colours)
  if type(problem.err) == "table" and problem.err.code == "unconfirmed" then return write "not done" end
  local message, place = console.session:explain(problem)
  write(paint("error: ", "error") .. message)
  if not place or #place.text > 200 then return end
  local where = place.current and "" or "an earlier input, line "
  write(paint(("  %s%d | "):format(where, place.number), "dim") .. place.text)
end

-- ---- running ----

-- After a cancelled call nobody knows what the client was in the middle of: it is replaced.
local function cancelled(console)
  write "\ncancelled" -- behind the terminal's own ^C
  console.reconnect()
end

local function run_lua(console, text)
  local session = console.session
  if session.client.closed then console.reconnect() end -- nobody answered when it was to be replaced
  local began = editor.clock()
  local whole, ok, results = editor.guard(session.evaluate, session, text)
  local seconds = editor.clock() - began
  if not whole then
    if ok == editor.interrupted then return cancelled(console) end
    return complain(console, { err = ok })
  end
  if ok then
    local shown, problem = editor.guard(show, console, results, seconds)
    if not shown and problem ~= editor.interrupted then complain(console, { err = problem }) end
  elseif results.err == editor.interrupted then
    cancelled(console)
  else
    complain(console, results)
  end
end

local function run(console, text)
  local name, rest = reader.command(text)
  if name then
    local ok, err = editor.guard(commands.run, console, name, rest)
    if not ok and err == editor.interrupted then return cancelled(console) end
    if not ok then complain(console, { err = err }) end
    return
  end
  if reader.is_empty(text) then return end
  if console.session.every then text = "all(" .. printer.quote(text) .. ")" end
  run_lua(console, text)
end

-- The same expression again and again, each time from the top of the screen.
local function watch(console, seconds, text)
  local session = console.session
  if not reader.compile(text, session.environment) then return run_lua(console, text) end
  repeat
    local columns, rows = editor.size()
    session.look.width = columns
    local ok, results = session:evaluate(text)
    local head = ("every %s s (Enter or Ctrl-C ends it): %s"):format(seconds, (text:gsub("%s+", " ")))
    local lines = { head:sub(1, columns), "" }
    if ok then
      for i = 1, results.n do
        for line in (session:render(results[i]) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
      end
    else
      if results.err == editor.interrupted then error(results.err, 0) end
      for line in ("error: " .. session:explain(results) .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
    end
    for i = #lines, rows, -1 do lines[i] = nil end
    -- Erased first: behind a line as wide as the window that would take its last character, on some terminals.
    io.stdout:write("\27[H\27[K", table.concat(lines, "\n\27[K"), "\n\27[J")
    io.stdout:flush()
  until editor.wait(seconds)
end

-- Asks a person; the terminal is cooked here.
local function ask(question)
  io.stdout:write(help.wrap(question, (editor.size())), "\nDo it? [y/N] ")
  io.stdout:flush()
  local answer = io.stdin:read "l"
  if not answer then
    io.stdout:write "\n"
    return false
  end
  return answer:find "^%s*[yY]" ~= nil
end

-- ---- the whole ----

-- Names of the console on a node (src/script/console.h).
local INSIDE = { "state", "count", "scan", "status", "members", "print", "assert", "error", "getmetatable", "ipairs",
  "load", "next", "pairs", "pcall", "rawequal", "rawget", "rawlen", "rawset", "select", "setmetatable", "tonumber",
  "tostring", "type", "xpcall", "string", "table", "math", "utf8", "coroutine", "os" }

local function inside_context(session)
  local environment = {}
  for _, name in ipairs(INSIDE) do environment[name] = _G[name] or function() end end
  environment.state, environment.os = {}, { time = os.time, clock = os.clock, date = os.date, difftime = os.difftime }
  return {
    environment = environment, arguments = {}, takes_table = {}, commands = commands.names, width = session.look.width,
    ids = function() return {} end, topics = function() return {} end,
    keys_of = function(path, prefix)
      local list = {}
      local text = ("local keys = {} for k in scan(%s, { prefix = %q, limit = 200 }) do keys[#keys + 1] = k end " ..
        "return keys"):format(path, prefix)
      local result = session.client:call("console/eval", { text }, { address = session.socket, timeout = 0.5 })
      for _, key in ipairs(result and result.values[1] or {}) do
        if key:find "^[%a_][%w_]*$" then list[#list + 1] = key end
      end
      return list
    end,
  }
end

local function context_of(console)
  local session = console.session
  if session.is_inside then return inside_context(session) end
  local app = session:app()
  local arguments, takes_table = {}, { add = true, voters = true, config = true }
  for _, kind in ipairs { "query", "command" } do
    for _, name in ipairs(app and (kind == "query" and app.queries or app.commands) or {}) do
      arguments[name] = app.arguments and app.arguments[kind] and app.arguments[kind][name] or {}
    end
  end
  arguments.add = arguments.add or { "id", "address", "learner", "labels" }
  return {
    environment = session.environment, arguments = arguments, takes_table = takes_table, commands = commands.names,
    width = session.look.width, topics = function() return help.topics(app) end,
    ids = function()
      local members, ids = session.client:members { timeout = IDS_S } or console.follower.members, {}
      for i, member in ipairs(members) do ids[i] = member.id end
      return ids
    end,
  }
end

local function open_editor(console)
  local shown
  return editor.open {
    prompt = function()
      shown = prompt(console)
      return shown
    end,
    finished = function(text) return reader.finished(text) end,
    complete = function(text, cursor) return completer.complete(context_of(console), text, cursor) end,
    idle = function()
      local seconds = console.follower:tick()
      return shown ~= prompt(console), seconds, console.follower:descriptor()
    end,
  }
end

local function greet(console)
  local session = console.session
  local members, leader = session.client:members() or {}, "nobody"
  for _, member in ipairs(members) do
    if member.state == "leader" then leader = member.id end
  end
  write(("moonclave %s: %d member%s, %s leads. help() tells more, Ctrl-D ends it."):format(
    console.version, #members, #members == 1 and "" or "s", leader))
end

-- connection: what main.lua makes: { session, follower, connect(where) -> connection | nil, err }. The exit code.
function M.run(connection, options)
  local console = { session = connection.session, follower = connection.follower, print = write, inputs = {},
    shows_time = true, colours = options.colours, version = options.version }
  local file = history.path()
  function console.run(text) return run_lua(console, text) end
  function console.aim(id) console.follower:aim(id) end
  function console.watch(seconds, text) return watch(console, seconds, text) end
  function console.reconnect() connection.reconnect() end
  function console.attach(where)
    local made, err = connection.connect(where)
    if not made then error(errors.of(err), 0) end
    console.follower:close()
    connection.adopt(made)
    console.follower = made.follower
    console.follower:refresh(FIRST_S)
  end
  function console.detach()
    console.session.is_inside, console.follower.fixed = false, nil
    console.follower:refresh(FIRST_S)
  end
  console.session.ask_person = ask
  console.session.is_interrupt = function(value) return value == editor.interrupted end
  local line = open_editor(console)
  console.inputs = history.load(file)
  for _, text in ipairs(console.inputs) do line:add(text) end
  console.follower:refresh(FIRST_S)
  greet(console)
  while not console.over do
    console.session.look.width = editor.size()
    local text, why = line:read()
    if text then
      if text:find "%S" then
        text = text:gsub("%s+$", "")
        console.session.look.width = editor.size() -- it may have become another while it was typed
        line:add(text)
        if console.inputs[#console.inputs] ~= text then
          console.inputs[#console.inputs + 1] = text
          history.append(file, text)
        end
        run(console, text)
        io.stdout:flush()
        console.follower:refresh(AFTER_S)
      end
    elseif why ~= "cancelled" then
      write ""
      break
    end
  end
  line:close()
  return 0
end

return M
