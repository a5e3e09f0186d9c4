-- Arguments for an app without a sim.lua: which fields do its commands and queries read? Found in the source as
-- `command.NAME`, whatever the parameter is called; a guess, and a wrong one costs nothing: what an app refuses is an
-- answer too.
local M = {}

local HEADS = {
  "function%s+[%w_.]-%f[%w_](commands)[.:]([%a_][%w_]*)%s*(%b())",
  "function%s+[%w_.]-%f[%w_](queries)[.:]([%a_][%w_]*)%s*(%b())",
  "%f[%w_](commands)%.([%a_][%w_]*)%s*=%s*function%s*(%b())",
  "%f[%w_](queries)%.([%a_][%w_]*)%s*=%s*function%s*(%b())",
}
local LIBRARY = { sub = true, len = true, byte = true, upper = true, lower = true, find = true, match = true,
  format = true, rep = true, gsub = true, gmatch = true }

local function second(parameters) return parameters:match "^%(%s*[%a_][%w_]*%s*,%s*([%a_][%w_]*)" end

-- Those within `commands = { name = function(state, command) ... }`.
local function literal_heads(text, kind, list)
  for at, literal in text:gmatch("%f[%w_]" .. kind .. "%s*=%s*()(%b{})") do
    local from = 1
    while true do
      local first, after, name, parameters = literal:find("([%a_][%w_]*)%s*=%s*function%s*(%b())", from)
      if not first then break end
      list[#list + 1] = { at = at + first - 1, after = at + after - 1, kind = kind, name = name,
        parameter = second(parameters) }
      from = after + 1
    end
  end
end

-- Where the functions of commands and queries begin: { at, kind, name, parameter }, in the order of the text.
local function heads(text)
  local list = {}
  for _, pattern in ipairs(HEADS) do
    local from = 1
    while true do
      local at, after, kind, name, parameters = text:find(pattern, from)
      if not at then break end
      list[#list + 1] = { at = at, after = after, kind = kind, name = name, parameter = second(parameters) }
      from = after + 1
    end
  end
  literal_heads(text, "commands", list)
  literal_heads(text, "queries", list)
  table.sort(list, function(a, b) return a.at < b.at end)
  return list
end

local function add(set, list, name)
  if set[name] or LIBRARY[name] then return end
  set[name] = true
  list[#list + 1] = name
end

---@param files table<string, string>  the app's files
---@return { commands: table<string, string[]>, queries: table<string, string[]> }  name -> fields; absent: takes none
function M.of(files)
  local found = { commands = {}, queries = {} }
  local all, every = {}, {}
  local paths = {}
  for path in pairs(files) do paths[#paths + 1] = path end
  table.sort(paths)
  for _, path in ipairs(paths) do
    local text = files[path]:gsub("%-%-[^\n]*", "")
    local list = heads(text)
    for i, head in ipairs(list) do
      local body = text:sub(head.after + 1, (list[i + 1] and list[i + 1].at or #text + 1) - 1)
      local fields, set = {}, {}
      if head.parameter then
        for name in body:gmatch("%f[%w_]" .. head.parameter .. "%.([%a_][%w_]*)") do
          add(set, fields, name)
          add(all, every, name)
        end
        -- Handed on as a whole: what others read of it may be read of this one too.
        fields.unknown = #fields == 0 and body:find("%f[%w_]" .. head.parameter .. "%f[^%w_]") ~= nil
      end
      found[head.kind][head.name] = fields
    end
  end
  for _, kind in pairs(found) do
    for name, fields in pairs(kind) do
      if fields.unknown then kind[name] = every end
      fields.unknown = nil
    end
  end
  return found
end

-- A plausible value; sometimes none.
local function value(random)
  local kind = random(20)
  if kind <= 9 then return random:key() end
  if kind <= 12 then return random:unique() end
  if kind <= 16 then return random(0, 10) end
  if kind == 17 then return random:boolean() end
  if kind == 18 then return random:string() end
  return nil
end

---A function that draws arguments with these fields.
---@param fields? string[]
---@return fun(random: moonclave.sim.random): table
function M.generator(fields)
  fields = fields or {}
  return function(random)
    local arguments = {}
    for _, name in ipairs(fields) do arguments[name] = value(random) end
    return arguments
  end
end

return M
