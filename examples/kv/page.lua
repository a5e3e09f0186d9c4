-- The page that GET /inspect shows: all items in a table. Whatever a key or value holds, it is shown and never obeyed.
local SHOWN_MAX = 200 -- characters of a value

local head = [[
<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>%s</title><style>
body { font: 16px/1.5 system-ui, sans-serif; margin: 3rem auto; max-width: 60rem; padding: 0 1rem; color: #223 }
table { border-collapse: collapse; width: 100%% }
th { text-align: left; color: #667; font-weight: 500; border-bottom: 2px solid #dde }
th, td { padding: .4rem .8rem .4rem 0; vertical-align: top }
td { border-bottom: 1px solid #eef; font-family: ui-monospace, monospace; overflow-wrap: anywhere }
td:last-child, th:last-child { text-align: right } p, i { color: #667 }
</style></head><body><h1>%s</h1><p>%s</p>
<table><tr><th>key</th><th>value</th><th>revision</th></tr>
]]

local entities = { ["&"] = "&amp;", ["<"] = "&lt;", [">"] = "&gt;", ['"'] = "&quot;", ["'"] = "&#39;" }
local function escape(text) return (text:gsub("[&<>\"']", entities)) end

local function show(bytes)
  local length = utf8.len(bytes)
  if not length then return ("<i>%d bytes that are no text</i>"):format(#bytes) end
  if length <= SHOWN_MAX then return escape(bytes) end
  local cut = bytes:sub(1, utf8.offset(bytes, SHOWN_MAX + 1) - 1)
  return ("%s… <i>(%d characters)</i>"):format(escape(cut), length)
end

return function(items, status)
  local id = escape(tostring(status.id or "kv"))
  local about = ("%d keys, read through %s (%s, term %s)"):format(
    #items, id, escape(tostring(status.role)), escape(tostring(status.term)))
  local parts = { head:format("kv on " .. id, "Key-value store", about) }
  for _, item in ipairs(items) do
    parts[#parts + 1] = ("<tr><td>%s</td><td>%s</td><td>%d</td></tr>\n"):format(
      show(item.key), show(item.value), item.revision)
  end
  parts[#parts + 1] = "</table></body></html>\n"
  return table.concat(parts)
end
