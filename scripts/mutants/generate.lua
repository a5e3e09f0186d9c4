-- Makes the copy of the sources in which every guard of src/raft and src/host can be switched at run time.
--   lua5.4 scripts/mutants/generate.lua OUT
-- OUT/src and OUT/Makefile can be built as they are; OUT/mutants.lua is the list of what can be switched.
local here = debug.getinfo(1, "S").source:match "^@(.*/)" or "./"
package.path = here .. "?.lua;" .. package.path
local c = require "c"

local out = assert(arg[1], "usage: generate.lua OUT")

local function lines_of(command)
  local pipe, list = assert(io.popen(command)), {}
  for line in pipe:lines() do list[#list + 1] = line end
  pipe:close()
  return list
end

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

-- Leaves a file alone that has the same bytes already: nothing is built anew without need.
local function write(path, text)
  local file = io.open(path, "rb")
  local before = file and file:read "a"
  if file then file:close() end
  if before == text then return end
  file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function copy_tree()
  local texts = {}
  for _, path in ipairs(lines_of "find src -name '*.[ch]' | sort") do texts[path] = read(path) end
  texts["Makefile"] = read "Makefile"
  texts["src/base/mutant_points.h"] = read(here .. "points.h")
  return texts
end

local texts, mutants = copy_tree(), {}
for _, path in ipairs(lines_of "find src/raft src/host -name '*.c' | sort") do
  local text, found = c.mutate(texts[path], path:sub(5), #mutants + 1)
  texts[path] = text
  table.move(found, 1, #found, #mutants + 1, mutants)
end
texts["src/base/mutant_points.c"] = ("#define MUTANT_POINTS %d\n"):format(#mutants + 1) .. read(here .. "points.c")

for _, folder in ipairs(lines_of "find src -type d") do os.execute(("mkdir -p '%s/%s'"):format(out, folder)) end
for path, text in pairs(texts) do write(out .. "/" .. path, text) end

local list = { "return {\n" }
for _, m in ipairs(mutants) do
  list[#list + 1] = ("  { number = %d, file = %q, line = %d, func = %q, kind = %q, text = %q, change = %q },\n"):format(
    m.number, m.file, m.line, m.func, m.kind, m.text, m.change)
end
list[#list + 1] = "}\n"
write(out .. "/mutants.lua", table.concat(list))
