-- `moonclave repl`: connects, and is a terminal's REPL, or runs what the command line or a pipe gives.
local batch = require "moonclave.repl.batch"
local editor = require "moonclave.editor"
local follower = require "moonclave.repl.follower"
local moonclave = require "moonclave"
local sessions = require "moonclave.repl.session"

local M = {}

local TIMEOUT_S = 5.0
local SOCKET = "control.sock"

-- Where to: addresses, and the control socket where it is a path (a node's data folder, or the socket itself).
local function places(where)
  if not where:find "/" and where:find ":%d+$" then
    local list = {}
    for address in where:gmatch "[^,%s]+" do list[#list + 1] = address end
    return list
  end
  local path = where:gsub("^unix:", "")
  if not path:find "%.sock$" then path = path:gsub("/+$", "") .. "/" .. SOCKET end
  local socket = "unix:" .. path
  return { socket }, socket
end

local function open_client(addresses)
  return moonclave.connect { addresses = addresses, timeout = TIMEOUT_S, session = false }
end

local function connect(where)
  local addresses, socket = places(where)
  local client, err = open_client(addresses)
  if not client then
    if socket then
      err.message = ("%s: is the node running, and is this its data folder? (%s)"):format(where, err.message)
    end
    return nil, err
  end
  return { client = client, addresses = addresses, socket = socket, follower = follower.new(addresses, socket) }
end

-- What a terminal needs to change its mind about where it is connected.
local function connection_of(session, made)
  local connection = { session = session, follower = made.follower, connect = connect }
  function connection.adopt(other)
    pcall(session.client.close, session.client)
    session.client, session.addresses, session.socket = other.client, other.addresses, other.socket
    session.is_inside, session.target, session.every = other.socket ~= nil, nil, false
    session.app_at, session.app_known = nil, nil
  end
  -- The same place, by a client that has nothing under way.
  function connection.reconnect()
    local list, known = {}, {}
    for _, node in ipairs(session.client:nodes()) do
      list[#list + 1], known[node.address] = node.address, true
    end
    for _, address in ipairs(session.addresses) do
      if not known[address] then list[#list + 1] = address end
    end
    pcall(session.client.close, session.client)
    local client = open_client(session.socket and { session.socket } or list)
    if client then session.client = client end
  end
  return connection
end

local function say(err, json)
  local printer = require "moonclave.repl.printer"
  if json then
    io.stderr:write(printer.json { error = { code = err.code, message = err.message } }, "\n")
  else
    io.stderr:write("moonclave: repl: ", err.message or tostring(err), "\n")
  end
end

-- options: { address, expressions = list, json, yes }, each where it is given. The exit code.
function M.main(options)
  local interactive = not options.expressions and not options.json and editor.terminal(0) and editor.terminal(1)
  local no_colour = os.getenv "NO_COLOR"
  local colours = interactive and not (no_colour and no_colour ~= "") and os.getenv "TERM" ~= "dumb"
  local made, err = connect(options.address or "127.0.0.1:5001")
  if not made then
    say(err, options.json)
    return 1
  end
  local session = sessions.new {
    client = made.client, addresses = made.addresses, yes = options.yes, program = arg and arg[0],
    print = function(text) io.stdout:write(text, "\n") end,
    look = { format = options.json and "json" or "table", colours = colours },
  }
  session.socket, session.is_inside = made.socket, made.socket ~= nil
  local status
  if options.expressions then
    status = batch.expressions(session, options.expressions)
  elseif interactive then
    local version = moonclave._VERSION:match "%S+$"
    status = require "moonclave.repl.terminal".run(connection_of(session, made),
      { colours = colours, version = version })
  else
    status = batch.lines(session, io.stdin)
  end
  io.stdout:flush()
  made.follower:close()
  pcall(session.client.close, session.client)
  return status
end

M.places = places -- for the spec

return M
