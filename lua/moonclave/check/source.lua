-- What an app's source says without being run: each file compiled, and looked at by the rules. For `moonclave check`,
-- and for `moonclave deploy`, which runs main with the bundle it is about to send (src/cli/deploy_try.c).
local fsm = require "moonclave.fsm"
local names = require "moonclave.sim.names"
local rules = require "moonclave.check.rules"

local M = {}

-- ---- the sandbox, asked ----

local PROBE = [[
local function ask(_, path)
  local fine, value = pcall(load("return " .. path))
  if not fine then return { problem = value } end
  return { is_there = value ~= nil }
end
return { commands = {}, queries = { ask = ask } }]]

-- What it says about a global, or one's member; nil: it is there.
local function sandbox()
  local machine = fsm.new()
  local code, text = machine:load(fsm.bundle { ["fsm.lua"] = PROBE }, {}, { index = 1, term = 1 })
  assert(code == "ok", text)
  local answers = {}
  return function(path)
    if answers[path] == nil then
      local _, answer = machine:query("ask", path)
      local said = answer.problem and tostring(answer.problem):gsub("^.-:%d+: ", "")
      if not said and not answer.is_there then said = path .. " is not there in a state machine" end
      answers[path] = said or false
    end
    return answers[path] or nil
  end
end

-- ---- the files ----

-- Those that fsm.lua consists of: itself and what is required from there on.
local function replicated(files)
  local set, rest = {}, { "fsm.lua" }
  while #rest > 0 do
    local path = table.remove(rest)
    if files[path] and not set[path] then
      set[path] = true
      for _, name in ipairs(load(files[path], "=", "t") and rules.requires(files[path]) or {}) do
        local base = name:gsub("%.", "/")
        rest[#rest + 1] = base .. ".lua"
        rest[#rest + 1] = base .. "/init.lua"
      end
    end
  end
  return set
end

-- "fsm.lua:3: what is wrong" of Lua and of the hosts, as a finding.
function M.finding_of(file, rule, text)
  local at, line, what = tostring(text):match "^(.-%.lua):(%d+): (.*)$"
  return { file = at or file, line = math.tointeger(line) or 0, rule = rule, text = what or tostring(text) }
end

-- files: contents by path. Adds to the findings; false: something does not compile.
function M.check(files, findings)
  local ask, set, compiles = sandbox(), replicated(files), true
  for _, path in ipairs(names.of(files)) do
    local chunk, problem = load(files[path], "@" .. path, "t")
    if not chunk then
      findings[#findings + 1] = M.finding_of(path, "syntax", problem)
      compiles = false
    else
      local found = rules.check(path, files[path], set[path] and ask or nil)
      table.move(found, 1, #found, #findings + 1, findings)
    end
  end
  return compiles
end

---@param options table  { bundle = bytes }
---@return integer status  the number of findings
---@return string text     a line for each: "fsm.lua:3: what is wrong [rule]"
function M.main(options)
  local findings, lines = {}, {}
  M.check(fsm.files(options.bundle), findings)
  for i, one in ipairs(findings) do
    local place = one.line > 0 and ("%s:%d"):format(one.file, one.line) or one.file
    lines[i] = ("%s: %s [%s]\n"):format(place, one.text:gsub("\n", " "), one.rule)
  end
  return #findings, table.concat(lines)
end

return M
