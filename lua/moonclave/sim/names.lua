-- Mistyped names: which of the known ones was meant?
local M = {}

-- Levenshtein's, and two neighbours exchanged are one mistake; `_` and `-` are alike.
local function distance(a, b)
  a, b = a:gsub("_", "-"), b:gsub("_", "-")
  local rows = { [0] = {} }
  for j = 0, #b do rows[0][j] = j end
  for i = 1, #a do
    local row, above = { [0] = i }, rows[i - 1]
    for j = 1, #b do
      local change = above[j - 1] + (a:byte(i) == b:byte(j) and 0 or 1)
      row[j] = math.min(row[j - 1] + 1, above[j] + 1, change)
      local exchanged = i > 1 and j > 1 and a:byte(i) == b:byte(j - 1) and a:byte(i - 1) == b:byte(j)
      if exchanged then row[j] = math.min(row[j], rows[i - 2][j - 2] + 1) end
    end
    rows[i] = row
  end
  return rows[#a][#b]
end

---@param wrong string
---@param names string[]
---@return string? best  nil: none is near
function M.nearest(wrong, names)
  local best, least = nil, nil
  for _, name in ipairs(names) do
    local far = #wrong >= 3 and name:sub(1, #wrong) == wrong and 1 or distance(wrong, name)
    if far <= (#wrong + 1) // 3 + 1 and far < #wrong and (not least or far < least) then best, least = name, far end
  end
  return best
end

---": did you mean put?", or what there is.
---@param wrong any
---@param names string[]
function M.hint(wrong, names)
  local best = M.nearest(tostring(wrong), names)
  if best then return ": did you mean " .. best .. "?" end
  return #names > 0 and ": there are " .. table.concat(names, ", ") or ": there are none"
end

---A table's string keys, sorted.
---@param t table
function M.of(t)
  local names = {}
  for name in pairs(t) do
    if type(name) == "string" then names[#names + 1] = name end
  end
  table.sort(names)
  return names
end

return M
