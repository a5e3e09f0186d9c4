-- Values as people read them: pretty Lua, tables with aligned columns, and JSON for programs. Always in the same order:
-- whole numbers ascending, then strings; so the same value is the same text.
local M = {}

M.formats = { "table", "lua", "json" }

local DEPTH, ITEMS = 8, 200 -- of what is shown of a table; JSON leaves nothing out
local COLUMNS = 14
local CELL = 60

-- Keys that come first in a table of records.
local FIRST = { "id", "key", "name", "index", "address", "role", "state", "value" }
local RANK = {}
for rank, name in ipairs(FIRST) do RANK[name] = rank end

local KEYWORDS = {}
for word in ("and break do else elseif end false for function goto if in local nil not or repeat return then true " ..
  "until while"):gmatch "%a+" do
  KEYWORDS[word] = true
end

-- ---- colours ----

local COLOURS = { string = "32", number = "36", boolean = "35", nothing = "35", dim = "2", error = "1;31", head = "1" }

-- What paints text of a kind ("string", "dim", ...): with colours on, or not at all.
function M.painter(colours)
  if not colours then return function(text) return text end end
  return function(text, kind) return "\27[" .. COLOURS[kind] .. "m" .. text .. "\27[0m" end
end

-- ---- keys and scalars ----

local function key_before(a, b)
  local ta, tb = math.type(a) or type(a), math.type(b) or type(b)
  if ta == tb and (ta == "integer" or ta == "string" or ta == "float") then return a < b end
  if type(a) == "number" and type(b) == "number" then return a < b end
  if ta ~= tb then return ta < tb end
  return tostring(a) < tostring(b)
end

function M.sorted_keys(t)
  local keys = {}
  for key in next, t do keys[#keys + 1] = key end
  table.sort(keys, key_before)
  return keys
end

local ESCAPES = { ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t", ['"'] = '\\"', ["\\"] = "\\\\", ["\27"] = "\\27" }

local function escape_byte(byte) return ESCAPES[byte] or ("\\%d"):format(byte:byte()) end

-- A Lua string literal on one line; control bytes, and all above 127 where it is no UTF-8, as escapes.
function M.quote(text)
  local escaped = text:gsub('[%c"\\]%d?', function(found)
    local byte, digit = found:sub(1, 1), found:sub(2)
    if digit == "" or ESCAPES[byte] and byte ~= "\27" then return escape_byte(byte) .. digit end
    return ("\\%03d"):format(byte:byte()) .. digit
  end)
  if not utf8.len(text) then
    escaped = escaped:gsub("[\128-\255]", function(byte) return ("\\x%02x"):format(byte:byte()) end)
  end
  return '"' .. escaped .. '"'
end

function M.number(value)
  if math.type(value) == "integer" then return tostring(value) end
  if value ~= value then return "0/0" end
  if value == math.huge then return "math.huge" end
  if value == -math.huge then return "-math.huge" end
  local text = ("%.14g"):format(value)
  if tonumber(text) ~= value then text = ("%.17g"):format(value) end
  return text:find "[%.en]" and text or text .. ".0"
end

local function kind_of(value)
  local kind = type(value)
  if kind == "string" or kind == "number" or kind == "boolean" then return kind end
  return kind == "nil" and "nothing" or "dim"
end

local function scalar(value)
  local kind = type(value)
  if kind == "string" then return M.quote(value) end
  if kind == "number" then return M.number(value) end
  if kind == "function" then return "function" end
  if kind == "userdata" or kind == "thread" then return (tostring(value):gsub(": 0x%x+$", "")) end
  return tostring(value)
end

local function key_text(key)
  if type(key) ~= "string" then return "[" .. scalar(key) .. "]" end
  if key:find "^[%a_][%w_]*$" and not KEYWORDS[key] then return key end
  return "[" .. M.quote(key) .. "]"
end

-- ---- pretty Lua ----

local function shows_itself(value)
  local meta = getmetatable(value)
  return type(meta) == "table" and meta.__tostring ~= nil
end

-- The parts of a table: { key text or nil, value }, and how many are not shown.
local function parts_of(t)
  local parts, length = {}, #t
  for i = 1, math.min(length, ITEMS) do parts[#parts + 1] = { nil, t[i] } end
  local more = math.max(length - ITEMS, 0)
  for _, key in ipairs(M.sorted_keys(t)) do
    if math.type(key) ~= "integer" or key < 1 or key > length then
      if #parts < ITEMS then parts[#parts + 1] = { key_text(key), t[key] } else more = more + 1 end
    end
  end
  return parts, more
end

-- The text, and how wide it is on one line (nil: it has several).
local function pretty(value, look, indent, depth, seen)
  if type(value) ~= "table" then
    local text = scalar(value)
    return look.paint(text, kind_of(value)), utf8.len(text) or #text
  end
  if shows_itself(value) then return tostring(value), #tostring(value) end
  if seen[value] then return "{ a cycle }", 11 end
  if next(value) == nil then return "{}", 2 end
  if depth > look.depth then return "{ ... }", 7 end
  seen[value] = true
  local parts, more = parts_of(value)
  local texts, width = {}, 4
  for i, part in ipairs(parts) do
    local text, size = pretty(part[2], look, indent + 2, depth + 1, seen)
    local key = part[1] and part[1] .. " = " or ""
    texts[i] = key .. text
    width = width and size and width + #key + size + 2
  end
  seen[value] = nil
  if more > 0 then
    texts[#texts + 1] = look.paint(("-- %d more"):format(more), "dim")
    width = nil
  end
  if width and width - 2 + indent <= look.width then return "{ " .. table.concat(texts, ", ") .. " }", width - 2 end
  local margin = (" "):rep(indent)
  for i, text in ipairs(texts) do texts[i] = margin .. "  " .. text .. ((i < #texts or more == 0) and "," or "") end
  return "{\n" .. table.concat(texts, "\n") .. "\n" .. margin .. "}"
end

-- look: { colours, width (100), depth (8) }, all optional.
function M.lua(value, look)
  look = look or {}
  return (pretty(value, {
    paint = M.painter(look.colours), width = look.width or 100, depth = look.depth or DEPTH,
  }, 0, 1, {}))
end

-- ---- tables ----

local function is_list(t)
  local count = 0
  for key in next, t do
    if math.type(key) ~= "integer" then return false end
    count = count + 1
  end
  return count == #t
end

-- The columns of a list of records; nil where it is not one.
local function columns_of(list)
  if type(list) ~= "table" or #list == 0 or not is_list(list) or shows_itself(list) then return nil end
  local known, columns = {}, {}
  for _, record in ipairs(list) do
    if type(record) ~= "table" or next(record) == nil or is_list(record) or shows_itself(record) then return nil end
    for key in next, record do
      if type(key) ~= "string" then return nil end
      if not known[key] then columns[#columns + 1] = key end
      known[key] = true
    end
  end
  if #columns > COLUMNS then return nil end
  table.sort(columns, function(a, b)
    local ra, rb = RANK[a] or 1000, RANK[b] or 1000
    if ra ~= rb then return ra < rb end
    return a < b
  end)
  return columns
end

local function cell(value)
  if value == nil then return "-", "nothing" end
  if type(value) == "table" then return M.lua(value, { width = math.huge, depth = 2 }), "dim" end
  if type(value) == "string" then
    return utf8.len(value) and not value:find "%c" and value or M.quote(value):sub(2, -2), "string"
  end
  return scalar(value), kind_of(value)
end

local function width_of(text) return utf8.len(text) or #text end

local function cut(text, width)
  if width_of(text) <= width then return text end
  return text:sub(1, (utf8.offset(text, width - 1) or width) - 1) .. ".."
end

-- Columns that are too wide together give way, the widest first.
local function fit(widths, width)
  local function total()
    local sum = -2
    for _, one in ipairs(widths) do sum = sum + one + 2 end
    return sum
  end
  while total() > width do
    local widest = 1
    for i, one in ipairs(widths) do
      if one > widths[widest] then widest = i end
    end
    if widths[widest] <= 5 then return end
    widths[widest] = widths[widest] - 1
  end
end

-- A list of records with aligned columns, or nil. look: { colours, width (no limit), columns (names, in order) }.
function M.columns(list, look)
  look = look or {}
  local columns = look.columns or columns_of(list)
  if not columns or type(list) ~= "table" or #list == 0 then return nil end
  local paint = M.painter(look.colours)
  local rows, widths, right = {}, {}, {}
  for c, name in ipairs(columns) do widths[c], right[c] = width_of(name), true end
  for r, record in ipairs(list) do
    rows[r] = {}
    for c, name in ipairs(columns) do
      local text = cut(cell(record[name]), CELL)
      rows[r][c] = text
      widths[c] = math.max(widths[c], width_of(text))
      right[c] = right[c] and (type(record[name]) == "number" or text == "-" or text:find "^%d+ ms$" ~= nil)
    end
  end
  if look.width then fit(widths, look.width) end
  local function line(cells, kind)
    local out = {}
    for c, text in ipairs(cells) do
      text = cut(text, widths[c])
      local blanks = (" "):rep(widths[c] - width_of(text))
      out[c] = right[c] and blanks .. text or c < #cells and text .. blanks or text
    end
    local whole = table.concat(out, "  ")
    return kind and paint(whole, kind) or whole
  end
  local lines = { line(columns, "head") }
  for r, cells in ipairs(rows) do lines[r + 1] = line(cells) end
  return table.concat(lines, "\n")
end

-- ---- JSON ----

local JSON_ESCAPES = {
  ['"'] = '\\"', ["\\"] = "\\\\", ["\b"] = "\\b", ["\f"] = "\\f", ["\n"] = "\\n", ["\r"] = "\\r", ["\t"] = "\\t",
}

local function json_string(text)
  local escaped = text:gsub('[%c"\\\127]', function(byte)
    return JSON_ESCAPES[byte] or ("\\u%04x"):format(byte:byte())
  end)
  if not utf8.len(text) then -- bytes that are no text: each as the character of its number
    escaped = escaped:gsub("[\128-\255]", function(byte) return ("\\u%04x"):format(byte:byte()) end)
  end
  return '"' .. escaped .. '"'
end

local function json_key(key)
  if type(key) == "string" then return json_string(key) end
  return json_string(scalar(key))
end

local function json(value, is_object, seen)
  local kind = type(value)
  if kind == "nil" then return "null" end
  if kind == "boolean" then return tostring(value) end
  if kind == "string" then return json_string(value) end
  if kind == "number" then
    if value ~= value or value == math.huge or value == -math.huge then return "null" end
    return M.number(value)
  end
  if kind ~= "table" then return json_string(scalar(value)) end
  if seen[value] then error("a table that contains itself cannot be shown as JSON", 0) end
  seen[value] = true
  local parts = {}
  local as_list = is_list(value) and not (next(value) == nil and is_object and is_object(value))
  if as_list then
    for i, item in ipairs(value) do parts[i] = json(item, is_object, seen) end
  else
    for i, key in ipairs(M.sorted_keys(value)) do
      parts[i] = json_key(key) .. ":" .. json(value[key], is_object, seen)
    end
  end
  seen[value] = nil
  local text = table.concat(parts, ",")
  return as_list and "[" .. text .. "]" or "{" .. text .. "}"
end

-- One line. look: { is_object = function that knows an empty table that is a map }.
function M.json(value, look) return json(value, look and look.is_object, {}) end

-- ---- in a format ----

-- look: as above, with format = "table" (the default: columns where they fit, else Lua), "lua" or "json".
function M.show(value, look)
  look = look or {}
  if look.format == "json" then return M.json(value, look) end
  if look.format ~= "lua" then
    local text = M.columns(value, look)
    if text then return text end
  end
  return M.lua(value, look)
end

return M
