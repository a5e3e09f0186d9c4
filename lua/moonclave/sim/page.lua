-- A simulated run as one HTML page that needs nothing else: no network, no other file, any browser.
--
--   local page = require "moonclave.sim.page"
--   local text = page.html(sim.run { seed = 7, record = true }, { title = "kv", replay = "moonclave sim ..." })
--
-- What the run says (keys, errors, log lines) is text of strangers: it gets into the page escaped, as HTML or within
-- JSON, and the script there only ever sets it as text.
local M = {}

---@class moonclave.sim.page.options
---@field title? string     what was run, for the heading; "simulated run"
---@field replay? string    the command that runs it again
---@field schedule? (string|{ text: string, step: integer?, time_us: integer? })[]  what a shrinker has left of the run,
---                          in words; an item with a step or a time leads there

-- ---- text ----

-- Valid UTF-8: any other byte as \xNN.
local function clean(text)
  text = tostring(text)
  local parts, at = {}, 1
  while true do
    local length, bad = utf8.len(text, at)
    if length then break end
    parts[#parts + 1] = text:sub(at, bad - 1) .. ("\\x%02x"):format(text:byte(bad))
    at = bad + 1
  end
  return table.concat(parts) .. text:sub(at)
end

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }

local function escape(text)
  return (clean(text):gsub("[&<>\"']", entities):gsub("[\0-\8\11\12\14-\31\127]", "\u{fffd}"))
end

-- A JSON string that no script element ends in.
local function json_string(text)
  text = clean(text):gsub("[\0-\31\127\"\\<>&']", function(byte) return ("\\u%04x"):format(byte:byte()) end)
  return '"' .. text:gsub("\u{2028}", "\\u2028"):gsub("\u{2029}", "\\u2029") .. '"'
end

local function json(value)
  local kind = type(value)
  if kind == "string" then return json_string(value) end
  if kind == "number" then return ("%.17g"):format(value) end
  if kind == "boolean" then return tostring(value) end
  if kind ~= "table" then return "null" end
  local parts = {}
  if value[1] ~= nil then
    for i, item in ipairs(value) do parts[i] = json(item) end
    return "[" .. table.concat(parts, ",") .. "]"
  end
  local names = {}
  for name in pairs(value) do names[#names + 1] = name end
  table.sort(names)
  for i, name in ipairs(names) do parts[i] = json_string(name) .. ":" .. json(value[name]) end
  return "{" .. table.concat(parts, ",") .. "}"
end

-- 12345678 -> "12,345,678"
local function grouped(number)
  local text = ("%d"):format(number):reverse():gsub("%d%d%d", "%0,"):reverse()
  return (text:gsub("^,", ""))
end

-- ---- the page ----

local function verdict(result)
  local violation = result.violation
  if not violation then
    local word = result.cut and "cut, no violation" or "holds"
    return ('<span class="pill good">%s</span>'):format(word)
  end
  return ('<span class="pill bad">%s</span> <span class="detail">%s</span>'):format(escape(violation.invariant),
    escape(violation.detail))
end

local function facts(result)
  local list = {
    { "seed", ("%d"):format(result.seed) },
    { "nodes", ("%d"):format(result.nodes) },
    { "virtual time", ("%.3f s"):format(result.virtual_us / 1e6) },
    { "steps", grouped(result.steps) },
    { "election timeout", ("%d ms"):format(result.election_us // 1000) },
    { "trace", result.trace_hash },
  }
  local parts = {}
  for i, fact in ipairs(list) do
    parts[i] = ("<div><dt>%s</dt><dd>%s</dd></div>"):format(fact[1], escape(fact[2]))
  end
  return table.concat(parts)
end

local function failing_step(result)
  local violation = result.violation
  if not violation then return "" end
  return ('<a class="button bad" id="failing" href="#step=%d">failing step %s, %.6f s</a>'):format(violation.step,
    grouped(violation.step), violation.time_us / 1e6)
end

local function replay(options)
  if not options.replay then return "" end
  return ('<div class="replay"><code id="replay">%s</code><button id="copy" type="button">copy</button></div>'):format(
    escape(options.replay))
end

local function about(result, options)
  local violation, schedule = result.violation, {}
  for i, item in ipairs(options.schedule or {}) do
    schedule[i] = type(item) == "table" and { text = item.text, step = item.step, time_us = item.time_us }
      or { text = item }
  end
  return json {
    ok = result.ok,
    election_us = result.election_us,
    virtual_us = result.virtual_us,
    violation = violation and { invariant = violation.invariant, detail = violation.detail, step = violation.step,
      time_us = violation.time_us } or false,
    schedule = #schedule > 0 and schedule or false,
  }
end

-- The page. `result` comes from sim.run { record = true }.
---@param result moonclave.sim.result
---@param options? moonclave.sim.page.options
---@return string
function M.html(result, options)
  options = options or {}
  if type(result.record) ~= "string" then
    error("the result has no record: run it with sim.run { record = true }", 2)
  end
  local title = options.title or "simulated run"
  local parts = {
    TITLE = escape(title),
    NAME = escape(("%s, seed %d: %s"):format(title, result.seed,
      result.violation and result.violation.invariant or "holds")),
    STYLE = (require "moonclave.sim.page.style"),
    VERDICT = verdict(result),
    FACTS = facts(result),
    FAILING = failing_step(result),
    REPLAY = replay(options),
    ABOUT = about(result, options),
    RECORD = result.record,
    SCRIPT = table.concat({
      require "moonclave.sim.page.model",
      require "moonclave.sim.page.words",
      require "moonclave.sim.page.lanes",
      require "moonclave.sim.page.strips",
      require "moonclave.sim.page.panel",
      (require "moonclave.sim.page.control"),
    }, "\n"),
  }
  return (require("moonclave.sim.page.body"):gsub("{{(%u+)}}", parts))
end

-- The same into a file.
---@param path string
---@param result moonclave.sim.result
---@param options? moonclave.sim.page.options
function M.write(path, result, options)
  local text = M.html(result, options)
  local file, why = io.open(path, "wb")
  if not file then error("cannot write the page: " .. why, 2) end
  local ok, trouble = file:write(text)
  ok = file:close() and ok
  if not ok then error(("cannot write the page to %s: %s"):format(path, trouble or "the disk may be full"), 2) end
end

return M
