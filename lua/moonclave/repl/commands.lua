-- The commands that begin with a backslash. Each gets the console (main.lua's terminal or batch) and the rest of
-- its line; it raises { code = "usage", message } for what it does not understand.
local errors = require "moonclave.client.errors"
local help = require "moonclave.repl.help"
local printer = require "moonclave.repl.printer"

local M = {}

local commands = {}

local function usage(text, ...) error(errors.of { code = "usage", message = text:format(...) }, 0) end

function commands.help(console, rest)
  local app = console.session:app()
  if rest == "" then return console.print(help.overview(app, console.session.look.width)) end
  local text = help.topic(rest, app, console.session.look.width)
  if not text then usage('there is no help about "%s": \\help lists what there is', rest) end
  console.print(text)
end

function commands.quit(console) console.over = true end

function commands.time(console)
  console.shows_time = not console.shows_time
  console.print(console.shows_time and "times are shown" or "times are not shown")
end

function commands.format(console, rest)
  for _, name in ipairs(printer.formats) do
    if name == rest then
      console.session.look.format = name
      return
    end
  end
  usage("\\format is table, lua or json, not %q", rest)
end

function commands.history(console, rest)
  local count = rest == "" and 20 or math.tointeger(tonumber(rest))
  if not count or count < 1 then usage("\\history takes a number of inputs, as in \\history 50") end
  local list = console.inputs
  for i = math.max(1, #list - count + 1), #list do
    console.print(("%4d  %s"):format(i, (list[i]:gsub("\n", "\n      "))))
  end
end

function commands.use(console, rest)
  local session = console.session
  if rest == "" then
    session.target, session.every = nil, false
    console.aim(nil)
    return console.print "everything goes to the leader"
  end
  local ids = {}
  for _, member in ipairs(session.client:members() or {}) do
    ids[#ids + 1] = member.id
    if member.id == rest then
      session.target, session.every = rest, false
      console.aim(rest)
      return console.print("everything goes to " .. rest)
    end
  end
  usage("\\use: there is no server %s; the members are %s", rest, table.concat(ids, ", "))
end

function commands.all(console, rest)
  if rest == "" then
    console.session.every = true
    return console.print "everything is done on every member; \\use ends that"
  end
  console.run("all(" .. printer.quote(rest) .. ")")
end

function commands.attach(console, rest)
  if rest == "" then usage("\\attach takes an address or a data folder, as in \\attach 127.0.0.1:5001") end
  console.attach(rest)
end

function commands.detach(console)
  local session = console.session
  if not session.is_inside then usage("\\detach: no control socket is attached") end
  console.detach()
  console.print "Lua runs here again"
end

function commands.watch(console, rest)
  local seconds, text = rest:match "^(%d+%.?%d*)%s+(.+)$"
  text = text or rest
  seconds = tonumber(seconds) or 2
  if text == "" then usage("\\watch takes seconds and an expression, as in \\watch 1 members()") end
  if seconds < 0.05 then usage("\\watch: at least 0.05 seconds") end
  console.watch(seconds, text)
end

M.names = {}
for name in pairs(commands) do M.names[#M.names + 1] = name end
table.sort(M.names)

function M.run(console, name, rest)
  local command = commands[name]
  if not command then
    local near = {}
    for _, one in ipairs(M.names) do
      if name ~= "" and one:sub(1, #name) == name then near[#near + 1] = one end
    end
    if #near ~= 1 then
      usage("there is no command \\%s: there are \\%s", name, table.concat(M.names, ", \\"))
    end
    command = commands[near[1]]
  end
  command(console, rest)
end

return M
