-- What scripts give: checked before anything is sent. Misuse raises at the script's line; a name that is mistyped is
-- told which ones there are.
local channel = require "moonclave.channel"

local M = {}

local LEVEL = 3 -- the check, the client's method, the script

local function seconds(value) return type(value) == "number" and value > 0 and value <= 86400 end
local SECONDS = { seconds, "a number of seconds, more than 0 and at most a day (86400)" }
local TEXT = { function(value) return type(value) == "string" and value ~= "" end, "a string that is not empty" }
local FLAG = { function(value) return type(value) == "boolean" end, "true or false" }
local KEY = { function(value) return type(value) == "string" and #value >= 1 and #value <= 255 end,
  "a string of 1 to 255 bytes" }
local LEVELS = { linearizable = true, lease = true, stale = true }
local CONSISTENCY = { function(value) return LEVELS[value] end, '"linearizable", "lease" or "stale"' }

local function is_addresses(value)
  if type(value) ~= "table" or #value == 0 then return false end
  for _, address in ipairs(value) do
    if type(address) ~= "string" then return false end
  end
  return true
end

---@class moonclave.client.connect_options
---@field addresses string[]   HOST:PORT of nodes, or paths of unix sockets: one that answers is enough
---@field timeout? number      seconds for each call, unless it says otherwise; default 5
---@field session? boolean     commands are done once, in a session that is opened when the first needs it; default true
---@field loop? "luv"          within coroutines calls yield on luv's loop instead of blocking
M.CONNECT = { addresses = { is_addresses, 'a list of texts, as in { "127.0.0.1:5001" }' }, timeout = SECONDS,
  session = FLAG, loop = { function(value) return value == "luv" end, '"luv"' } }

---@class moonclave.client.propose_options
---@field timeout? number      seconds, for the whole call
---@field key? string          done once under this key, whoever sends it again (kept for idempotency_timeout_ms)
---@field session? boolean     false: neither; it is sent again only while it has certainly not been done
M.PROPOSE = { timeout = SECONDS, key = KEY, session = FLAG }

---@class moonclave.client.query_options
---@field timeout? number
---@field consistency? "linearizable"|"lease"|"stale"  default "linearizable"
---@field node? string         the id of the only node to ask
---@field address? string
M.QUERY = { timeout = SECONDS, consistency = CONSISTENCY, node = TEXT, address = TEXT }

---@class moonclave.client.call_options
---@field timeout? number
---@field node? string         the id of the only node to ask
---@field address? string
---@field again? boolean       it does no harm when it is done twice
M.CALL = { timeout = SECONDS, node = TEXT, address = TEXT, again = FLAG }

local TYPES = { function(value)
  if type(value) ~= "table" then return false end
  for _, name in ipairs(value) do
    if type(name) ~= "string" then return false end
  end
  return true
end, 'a list of names, as in { "role", "leader" }' }
local NUMBER = { function(value) return math.type(value) == "integer" and value >= 0 end, "a whole number from 0" }
M.EVENTS = { types = TYPES, node = TEXT, address = TEXT, after = NUMBER, life = NUMBER, timeout = SECONDS }

local function names_of(rows)
  local list = {}
  for name in pairs(rows) do list[#list + 1] = name end
  table.sort(list)
  return table.concat(list, ", ")
end

-- The options themselves, or an empty table. `what` is the function's name.
function M.options(what, options, rows, level)
  level = level or LEVEL
  if options == nil then return {} end
  if type(options) ~= "table" then
    error(("%s: options are a table, not a %s"):format(what, type(options)), level)
  end
  for name, value in pairs(options) do
    local row = rows[name]
    if not row then
      error(("%s: there is no option %s; there are %s"):format(what, tostring(name), names_of(rows)), level)
    end
    if not row[1](value) then error(("%s: %s is %s"):format(what, name, row[2]), level) end
  end
  return options
end

function M.name(what, name)
  if type(name) == "string" and name ~= "" then return end
  error(("%s: the first argument is a name, as in client:%s(\"name\"), not a %s"):format(what, what, type(name)),
    LEVEL)
end

-- Arguments as bytes; what is no plain data is said with its place in them.
function M.pack(what, arguments)
  local ok, packed = pcall(channel.pack, arguments)
  if ok then return packed end
  error(("%s: the arguments%s%s"):format(what, packed:find "^[.%[]" and "" or ": ", packed), LEVEL)
end

function M.open(client)
  if client.closed then error("the client is closed", LEVEL) end
end

-- The module luv, which is loaded only where it is asked for.
function M.luv(what, level)
  local ok, found = pcall(require, "luv")
  if ok then return found end
  error(what .. ": there is no module luv here (Debian and Ubuntu: lua-luv): " .. found:match "[^\n]*", level or LEVEL)
end

-- connect's options, with defaults and luv itself.
function M.connect(options)
  if type(options) ~= "table" then
    error('connect takes a table, as in connect { addresses = { "127.0.0.1:5001" } }', LEVEL)
  end
  M.options("connect", options, M.CONNECT, LEVEL + 1)
  if not options.addresses then error('connect: addresses are missing, as in { "127.0.0.1:5001" }', LEVEL) end
  local uv = options.loop and M.luv("connect", LEVEL + 1)
  local session = options.session
  if session == nil then session = true end
  return { addresses = options.addresses, timeout = options.timeout or 5.0, session = session, uv = uv }
end

return M
