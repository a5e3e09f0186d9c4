-- What Tab offers. It looks at tables as they are, and never calls a function: not even one behind a metatable.
local M = {}

local KEYWORDS = { "and", "break", "do", "else", "elseif", "end", "false", "for", "function", "if", "in", "local",
  "nil", "not", "or", "repeat", "return", "then", "true", "until", "while" }

-- Functions whose first string is a server's id; those whose is a topic of the help.
local TAKES_ID = { remove = true, promote = true, demote = true, transfer = true, on = true, priority = true }

-- ---- where the cursor is ----

-- Goes through the text as Lua reads it: what is open at its end. stack: the calls and tables around it, the innermost
-- last, each { open = "{" or "(" or "[", name = what stands before it, field = is a name expected here }.
-- quote: the string that is not closed, and where its text begins.
local function scan(text)
  local stack, at, size = {}, 1, #text
  local name
  while at <= size do
    local char = text:sub(at, at)
    local word = text:match("^[%a_][%w_%.:]*", at)
    if word then
      name, at = word, at + #word
    elseif text:find("^%-%-%[=*%[", at) or text:find("^%[=*%[", at) then
      local level = text:match("^%-*%[(=*)%[", at)
      local _, stop = text:find("]" .. level .. "]", at, true)
      if not stop then return stack, "long" end
      at, name = stop + 1, nil
    elseif text:find("^%-%-", at) then
      local stop = text:find("\n", at, true)
      if not stop then return stack, "comment" end
      at = stop
    elseif char == '"' or char == "'" then
      local from, stop = at + 1, nil
      local look = from
      while look <= size do
        local c = text:sub(look, look)
        if c == "\\" then look = look + 1
        elseif c == char then stop = look break end
        look = look + 1
      end
      if not stop then return stack, "string", text:sub(from), name end
      at, name = stop + 1, nil
    elseif char == "{" or char == "(" or char == "[" then
      local above = stack[#stack]
      if char == "{" and not name and above and above.open == "(" then name = above.name end
      stack[#stack + 1] = { open = char, name = name, field = char == "{", seen = {} }
      at, name = at + 1, nil
    elseif char == "}" or char == ")" or char == "]" then
      stack[#stack] = nil
      at, name = at + 1, nil
    elseif char:find "%s" then
      at = at + 1
    else
      local inner = stack[#stack]
      if inner and inner.open == "{" then
        if char == "," or char == ";" then inner.field = true end
        if char == "=" then
          inner.field = false
          if name then inner.seen[name] = true end
        end
      end
      at, name = at + 1, nil
    end
  end
  return stack
end

-- ---- looking at values without running anything ----

local function raw(t, key)
  for _ = 1, 8 do
    if type(t) ~= "table" then
      if type(t) ~= "string" then return nil end
      t = string
    end
    local value = rawget(t, key)
    if value ~= nil then return value end
    local meta = debug.getmetatable(t)
    t = type(meta) == "table" and rawget(meta, "__index") or nil
  end
end

local function keys_into(found, t, only_functions)
  for _ = 1, 8 do
    if type(t) == "string" then t = string end
    if type(t) ~= "table" then return end
    for key, value in next, t do
      if type(key) == "string" and key:find "^[%a_][%w_]*$" and (not only_functions or type(value) == "function") then
        found[key] = value
      end
    end
    local meta = debug.getmetatable(t)
    t = type(meta) == "table" and rawget(meta, "__index") or nil
  end
end

-- "a.b.c" as a value; nil where a part of it is none.
local function value_of(environment, path)
  local value = environment
  for part in path:gmatch "[^%.:]+" do
    if value == nil then return nil end
    value = raw(value, part)
  end
  return value
end

-- ---- offers ----

local function matching(names, prefix)
  local list, known = {}, {}
  for _, name in ipairs(names) do
    if name:sub(1, #prefix) == prefix and not known[name] then
      known[name] = true
      list[#list + 1] = name
    end
  end
  table.sort(list)
  return list
end

local function names_in(map)
  local list = {}
  for name in next, map do list[#list + 1] = name end
  return list
end

local function common_prefix(list)
  local common = list[1] or ""
  for _, one in ipairs(list) do
    while one:sub(1, #common) ~= common do common = common:sub(1, -2) end
  end
  return common
end

-- What is put behind a name that is the only one.
local function ending_of(context, name, value)
  if context.arguments[name] or context.takes_table[name] then return "{" end
  if type(value) == "function" then return "(" end
  return ""
end

local function offer_fields(context, word)
  local path, mark, prefix = word:match "^(.*)([%.:])([%w_]*)$"
  local found = {}
  if context.keys_of and path:find "^state" and mark == "." then
    return prefix, matching(context.keys_of(path, prefix), prefix), function() return "" end
  end
  keys_into(found, value_of(context.environment, path), mark == ":")
  local list = matching(names_in(found), prefix)
  local callable = path == "command" or path == "query"
  return prefix, list, function(name)
    if callable then return "{" end
    return type(found[name]) == "function" and "(" or ""
  end
end

-- Fields of what is no name: behind a colon that can be a text's methods, ("x"):re; else there is nothing to say.
local function offer_methods(mark, prefix)
  local found = {}
  if mark == ":" then keys_into(found, "", true) end
  return prefix, matching(names_in(found), prefix), function() return "(" end
end

local function offer_globals(context, word)
  local found = {}
  keys_into(found, context.environment)
  local names = names_in(found)
  for _, keyword in ipairs(KEYWORDS) do names[#names + 1] = keyword end
  return word, matching(names, word), function(name) return ending_of(context, name, found[name]) end
end

local function offer_command(context, text)
  local name, rest = text:match "^%s*\\(%a*)(.*)$"
  if rest == "" then
    return name, matching(context.commands, name), function() return " " end
  end
  local word = rest:match "%s([^%s]*)$" or ""
  if name == "use" then return word, matching(context.ids(), word) end
  if name == "format" then return word, matching({ "table", "lua", "json" }, word) end
end

local function offer_arguments(context, inner, word)
  local rest = {}
  for _, argument in ipairs(context.arguments[inner.name:match "[^%.:]+$"] or {}) do
    if not inner.seen[argument] then rest[#rest + 1] = argument end
  end
  return word, matching(rest, word), function() return " = " end
end

local function offer(context, text)
  if text:find "^%s*\\" then
    local prefix, list, ending = offer_command(context, text)
    if prefix then return prefix, list, ending end
    text = text:gsub("^%s*\\%a*%s*%d*%.?%d*", "")
  end
  local stack, within, quoted, callee = scan(text)
  local inner = stack[#stack]
  if within == "string" then
    callee = callee or inner and inner.name
    local names = TAKES_ID[callee] and context.ids() or callee == "help" and context.topics() or {}
    return quoted, matching(names, quoted), function() return '"' end
  elseif within then
    return "", {}
  end
  local word = text:match "[%a_][%w_%.:]*$" or ""
  local mark, field = text:match "[%)%]\"'%}]%s*([%.:])([%w_]*)$"
  if mark then return offer_methods(mark, field) end
  if word:find "[%.:]" then return offer_fields(context, word) end
  if inner and inner.open == "{" and inner.field and inner.name and
    context.arguments[inner.name:match "[^%.:]+$"] then
    local prefix, list, ending = offer_arguments(context, inner, word)
    if #list > 0 then return prefix, list, ending end
  end
  if word == "" and not text:find "[%s%(%{%[,=%.:]$" and text ~= "" then return "", {} end
  return offer_globals(context, word)
end

-- Names in columns, as wide as the terminal, every line ended.
function M.list(names, width)
  local widest = 0
  for _, name in ipairs(names) do widest = math.max(widest, #name) end
  local across = math.max(1, (width + 2) // (widest + 2))
  local down = (#names + across - 1) // across
  local lines = {}
  for row = 1, down do
    local cells = {}
    for column = 0, across - 1 do
      local name = names[column * down + row]
      if name then cells[#cells + 1] = name .. (" "):rep(widest - #name) end
    end
    lines[row] = table.concat(cells, "  "):gsub("%s+$", "") .. "\n"
  end
  return table.concat(lines)
end

-- context: { environment, arguments = { NAME = list of names }, takes_table = set of functions that take one table,
-- commands = list, ids = function() -> list, topics = function() -> list, width; keys_of(path, prefix) -> list, for
-- what begins with `state`, or nil }. How many bytes before the cursor go, what comes instead, and a text that
-- lists what there is.
function M.complete(context, text, cursor)
  local before = text:sub(1, cursor)
  local prefix, list, ending = offer(context, before)
  if #list == 0 then return 0, "", nil end
  if #list == 1 then
    local name = list[1]
    local tail = ending and ending(name) or ""
    if text:sub(cursor + 1, cursor + #tail) == tail then tail = "" end
    return #prefix, name .. tail, nil
  end
  local common = common_prefix(list)
  if #common > #prefix then return #prefix, common, nil end
  return 0, "", M.list(list, context.width or 80)
end

return M
