-- `moonclave check`: what is wrong with an app, before a cluster finds out. The program runs main with what its flags
-- say (src/cli/check.c).
local apps = require "moonclave.sim.app"
local control = require "moonclave.control"
local core = require "moonclave.simcore"
local fsm = require "moonclave.fsm"
local names = require "moonclave.sim.names"
local policyvm = require "moonclave.policyvm"
local replay = require "moonclave.check.replay"
local source = require "moonclave.check.source"

local M = {}

local DONE, FOUND = 0, 1
local EMPTY_MAP = "\x80"
local finding_of = source.finding_of

local function fail(text)
  io.stderr:write("moonclave: check: ", text, "\n")
  return FOUND
end

-- ---- the parts ----

-- Each in the VM that runs it on a node.
local function check_loading(bundle, files, findings)
  local code, text = fsm.new():load(bundle, {}, { index = 1, term = 1 })
  if code ~= "ok" then findings[#findings + 1] = finding_of("fsm.lua", "loading", text) end
  if files["api.lua"] then
    local ignored = function() end
    local host = control.new { submit = ignored, respond = ignored, status = ignored, members = ignored, log = ignored }
    local fine, _, why = host:load(bundle, EMPTY_MAP)
    if not fine then findings[#findings + 1] = finding_of("api.lua", "loading", why) end
    host:close()
  end
  if files["policy.lua"] then
    local fine, _, why = policyvm.check(bundle)
    if not fine then findings[#findings + 1] = finding_of("policy.lua", "loading", why) end
  end
  return code == "ok"
end

local function check_replay(path, options, findings)
  local app, problem = apps.load(path)
  if not app then
    findings[#findings + 1] = finding_of("sim.lua", "sim.lua", problem)
    return 0
  end
  local fine, differs, failures = pcall(replay.run, app, options.entries, options.seed)
  if not fine then
    findings[#findings + 1] = finding_of("fsm.lua", "replay", differs)
    return 0
  end
  if differs then findings[#findings + 1] = { file = "fsm.lua", line = 0, rule = "diverges", text = differs } end
  -- Without a sim.lua arguments are guessed, and what raises may well be right to.
  for _, name in ipairs(app.scenario_path and names.of(failures) or {}) do
    findings[#findings + 1] = finding_of("fsm.lua", "raises", failures[name])
  end
  return options.entries
end

-- ---- what is said ----

local function place(path, one)
  local is_file = path:match "%.lua$" or not one.file:match "%.lua$"
  local file = is_file and one.file == "fsm.lua" and path or path:gsub("/+$", "") .. "/" .. one.file
  if one.file:sub(1, #path) == path then file = one.file end
  file = file:gsub("^%./", "")
  return one.line > 0 and ("%s:%d"):format(file, one.line) or file
end

local function report(path, options, findings, files, entries)
  local count = #names.of(files)
  if options.json then
    local list = {}
    for i, one in ipairs(findings) do
      list[i] = core.object { file = one.file, line = one.line, rule = one.rule, text = one.text }
    end
    print(core.json(core.object { files = count, entries = entries, findings = list }))
  else
    for _, one in ipairs(findings) do print(("%s: %s [%s]"):format(place(path, one), one.text, one.rule)) end
    local applied = entries > 0 and ("; %d entries applied alike by three machines"):format(entries) or ""
    for _, one in ipairs(findings) do
      if one.rule == "diverges" then applied = "; machines differ" end
    end
    print(("check: %d file%s, %d finding%s%s"):format(count, count == 1 and "" or "s", #findings,
      #findings == 1 and "" or "s", applied))
  end
  return #findings == 0 and DONE or FOUND
end

---@param options table  the flags
---@return integer status  the program's exit code
function M.main(options)
  local bundle, _, problem = fsm.bundle(options.app)
  if not bundle then return fail(problem) end
  local files = fsm.files(bundle)
  local findings, entries = {}, 0
  if source.check(files, findings) and check_loading(bundle, files, findings) and options.entries > 0 then
    entries = check_replay(options.app, options, findings)
  end
  return report(options.app, options, findings, files, entries)
end

return M
