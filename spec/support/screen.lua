-- A terminal of the spec's own: a program in tmux, keys sent to it, its screen as text. Each has a tmux server of
-- its own, ended by its socket when it is closed. Nothing sleeps: what is waited for is text on the screen.
--
--   local screen <close> = M.open({ "moonclave", "repl" }, { columns = 80, rows = 24 })
--   screen:type "members()\n"          as text; "\n" is Enter
--   screen:keys("Tab", "C-c")          by tmux's names
--   screen:expect "a pattern"          waits until the screen has it; returns the screen
local cluster = require "support.cluster"
local uv = require "luv"

local M = {}

local LIMIT_MS = 20000
local opened = 0

local screen = {}
screen.__index = screen

local function quoted(text) return "'" .. text:gsub("'", "'\\''") .. "'" end

function screen:tmux(...)
  local words = {}
  for i, word in ipairs { ... } do words[i] = quoted(word) end
  local pipe = assert(io.popen(("env -u LD_PRELOAD -u TMUX tmux -L %s -f %s %s 2>&1"):format(self.name,
    self.configuration, table.concat(words, " "))))
  local text = pipe:read "a"
  return text, pipe:close()
end

-- command: words. options: columns (80), rows (24), environment = { NAME = value }.
function M.open(command, options)
  options = options or {}
  opened = opened + 1
  local self = setmetatable({ name = ("moonclave-%d-%d"):format(uv.os_getpid(), opened), configuration = os.tmpname(),
    status = os.tmpname() }, screen)
  cluster.write_file(self.configuration, "set-option -g remain-on-exit on\n") -- so that its last words can be read
  local words = { "env", "-u", "NO_COLOR", "TERM=screen-256color", "LC_ALL=C.UTF-8" }
  for name, value in pairs(options.environment or {}) do words[#words + 1] = name .. "=" .. value end
  for _, word in ipairs(command) do words[#words + 1] = word end
  for i = 1, #words do words[i] = quoted(words[i]) end
  -- The exit code by a file: tmux itself may not tell it for a long time. Ctrl-C is the program's, not the shell's.
  local line = ("trap : INT; %s; echo $? >%s"):format(table.concat(words, " "), self.status)
  local text, ok = self:tmux("new-session", "-d", "-s", "main", "-x", tostring(options.columns or 80), "-y",
    tostring(options.rows or 24), line)
  assert(ok, text)
  return self
end

function screen:type(text)
  for line, ending in text:gmatch "([^\n]*)(\n?)" do
    if line ~= "" then self:tmux("send-keys", "-t", "main", "-l", line) end
    if ending ~= "" then self:tmux("send-keys", "-t", "main", "Enter") end
  end
end

function screen:keys(...) self:tmux("send-keys", "-t", "main", ...) end

-- As a terminal pastes: between marks, where the program has asked for them.
function screen:paste(text)
  local name = os.tmpname()
  cluster.write_file(name, text)
  self:tmux("load-buffer", name)
  self:tmux("paste-buffer", "-p", "-t", "main")
  os.remove(name)
end

function screen:resize(columns, rows)
  self:tmux("resize-window", "-t", "main", "-x", tostring(columns), "-y", tostring(rows))
end

-- The screen, without blanks at the ends of lines and empty lines at its end. `escapes`: with colours.
function screen:text(escapes)
  local text = self:tmux("capture-pane", "-p", "-t", "main", table.unpack(escapes and { "-e" } or {}))
  return (text:gsub("[ \t]+\n", "\n"):gsub("\n+$", ""))
end

-- The last `count` lines of it.
function screen:tail(count)
  local lines = {}
  for line in (self:text() .. "\n"):gmatch "(.-)\n" do lines[#lines + 1] = line end
  return table.concat(lines, "\n", math.max(1, #lines - count + 1))
end

function screen:expect(pattern, limit_ms)
  local last
  local ok, problem = pcall(cluster.eventually, pattern .. " on the screen", function()
    last = self:text()
    return last:find(pattern) ~= nil
  end, limit_ms or LIMIT_MS)
  if not ok then error(tostring(problem) .. "\nthe screen:\n" .. tostring(last), 2) end
  return last
end

-- Waits until the program has ended: its exit code.
function screen:ended()
  return cluster.eventually("the program ends", function()
    return math.tointeger(tonumber(cluster.read_file(self.status))), self:text()
  end, LIMIT_MS)
end

function screen:close()
  local socket = self:tmux("display-message", "-p", "#{socket_path}"):match "^(/[^\n]+)\n"
  self:tmux "kill-server"
  if socket then os.remove(socket) end -- tmux itself leaves it
  os.remove(self.configuration)
  os.remove(self.status)
end
screen.__close = screen.close

return M
