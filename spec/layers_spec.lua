-- The layers, held: who may include whom, one door per library, a core that links with nothing, and the house rules for
-- files. The tables here are src/README.md's.
local BUILD = os.getenv "MOONCLAVE_BUILD" or "build"

-- ---- the rules ----

local RAFT_TYPES = { "raft/types.h", "raft/entry.h", "raft/configuration.h", "raft/snapshot_meta.h" }
local BELOW = { "base", "raft", "state", "wire", "store", "http", "net", "script", "host" }

-- What a folder includes besides itself: folders, or single headers.
local MAY_INCLUDE = {
  base = {},
  raft = { "base" },
  state = { "base" },
  wire = { "base", table.unpack(RAFT_TYPES) },
  store = { "base", table.unpack(RAFT_TYPES) },
  net = { "base" },
  http = { "base" },
  script = { "state", "base" },
  host = { "raft", "state", "base" },
  sim = { "host", "store", "script", "raft", "state", "base" },
  node = BELOW,
  module = { "sim", "node/disk.h", "node/files.h", table.unpack(BELOW) },
  cli = { "node", "module", "sim", table.unpack(BELOW) },
  ["main.c"] = { "cli", "base" },
}

-- Who may open which library: files by their names' beginnings.
local DOORS = {
  ["sqlite3.h"] = { "store/", "sim/vfs" },
  ["lua.h"] = { "script/", "module/", "node/luv.c" },
  ["lauxlib.h"] = { "script/", "module/", "node/luv.c" },
  ["lualib.h"] = { "script/", "module/", "node/luv.c" },
  ["luaconf.h"] = { "script/", "module/", "node/luv.c" },
  ["uv.h"] = { "net/", "node/", "cli/" },
  ["msgpack.h"] = { "base/mp.c" },
  ["xxhash.h"] = { "base/hash.c" },
  ["jansson.h"] = { "http/json.c" },
  ["http_parser.h"] = { "http/parser.c" },
  ["llhttp.h"] = { "http/parser.c" },
  ["histedit.h"] = { "module/editor" },
}
local DOOR_FOLDERS = {
  ["openssl/"] = { "net/" }, ["msgpack/"] = { "base/mp.c" }, ["editline/"] = { "module/editor" },
}

-- The C library, as far as it neither waits nor touches the world.
local PLAIN = {}
for name in ("assert ctype errno float inttypes limits math stdalign stdarg stdbool stddef stdint stdio stdlib " ..
  "string strings"):gmatch "%S+" do
  PLAIN[name .. ".h"] = true
end
-- Those who do all their I/O through others: they include nothing else of the system.
local PURE = { raft = true, state = true, wire = true, host = true }
-- And the rest of the system, for everyone else.
local SYSTEM = {}
for name in ("arpa/inet dirent dlfcn fcntl fnmatch getopt glob libgen locale malloc netdb netinet/in netinet/tcp " ..
  "poll pthread pwd setjmp signal spawn stdatomic sys/epoll sys/file sys/ioctl sys/mman sys/random sys/resource " ..
  "sys/socket sys/stat sys/statvfs sys/time sys/types sys/uio sys/un sys/utsname sys/wait termios threads time " ..
  "unistd wchar"):gmatch "%S+" do
  SYSTEM[name .. ".h"] = true
end

local LINES_MAX, COLUMNS_MAX = 700, 120
local UNFINISHED = { "TO" .. "DO", "FIX" .. "ME", "XX" .. "X", "HA" .. "CK" }

-- ---- reading ----

local function lines_of(command)
  local pipe = assert(io.popen(command))
  local list = {}
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

local function begins_with_any(text, beginnings)
  for _, beginning in ipairs(beginnings) do
    if text:sub(1, #beginning) == beginning then return true end
  end
  return false
end

local function contains(list, value)
  for _, one in ipairs(list) do
    if one == value then return true end
  end
  return false
end

-- ---- checking ----

-- Why `file` (its path under src/) may not include `header`; nil when it may.
local function objection(file, bracket, header)
  local folder = file:match "^([^/]+)/" or file
  local own = header:match "^([^/]+)/"
  if bracket == '"' then
    if not own then return "does not name its folder" end
    if not MAY_INCLUDE[folder] then return "is in a folder that the table does not have" end
    if own == folder or contains(MAY_INCLUDE[folder], own) or contains(MAY_INCLUDE[folder], header) then return nil end
    return folder .. " may not include " .. own
  end
  local door = DOORS[header]
  for beginning, files in pairs(DOOR_FOLDERS) do
    if header:sub(1, #beginning) == beginning then door = files end
  end
  if door then
    return not begins_with_any(file, door) and "has another door: " .. table.concat(door, ", ") or nil
  end
  if PLAIN[header] or (SYSTEM[header] and not PURE[folder]) then return nil end
  if SYSTEM[header] then return folder .. " does no I/O" end
  return "is a library without a door in the table"
end

-- A list of what a file's includes do against the rules.
local function include_objections(file, text)
  local list, number = {}, 0
  for line in (text .. "\n"):gmatch "(.-)\n" do
    number = number + 1
    local bracket, header = line:match '^%s*#%s*include%s*([<"])([^>"]+)[>"]'
    local why = header and objection(file, bracket, header)
    if why then list[#list + 1] = string.format("src/%s:%d: %s: %s", file, number, header, why) end
  end
  return list
end

-- A list of what a file's text does against the house rules.
local function text_objections(path, text)
  local list, number = {}, 0
  local function object(what) list[#list + 1] = string.format("%s:%d: %s", path, number, what) end
  if #text > 0 and text:sub(-1) ~= "\n" then object "no newline at the end" end
  for line in text:gmatch "([^\n]*)\n" do
    number = number + 1
    if line:find "\t" then object "a tab" end
    if line:find "\r" then object "a carriage return" end
    if line:find "[ \t]$" then object "blanks at the end" end
    local columns = utf8.len(line)
    local is_row = line:find "^%s+X%(" -- a row of a table stays on its line
    if not columns or (columns > COLUMNS_MAX and not is_row) then object("more than " .. COLUMNS_MAX .. " columns") end
    for _, word in ipairs(UNFINISHED) do
      if line:find("%f[%w]" .. word .. "%f[%W]") then object("unfinished: " .. word) end
    end
  end
  if number > LINES_MAX then object("more than " .. LINES_MAX .. " lines") end
  return list
end

-- What C files also owe: a purpose at the top and, in headers, a guard named after the path.
local function c_objections(file, text)
  local list = {}
  if text:sub(1, 2) ~= "/*" then list[#list + 1] = "src/" .. file .. ": does not open with its purpose" end
  if file:match "%.h$" then
    local guard = "MOONCLAVE_" .. file:upper():gsub("[^%w]", "_")
    if not text:find("\n#ifndef " .. guard .. "\n#define " .. guard .. "\n", 1, true) then
      list[#list + 1] = "src/" .. file .. ": no include guard " .. guard
    end
  end
  return list
end

-- nm's "U" names that none of the defined ones nor the C library answers.
local LIBC = {}
for name in ("memcpy memmove memset memcmp memchr strlen strcmp strncmp strchr strrchr strnlen qsort snprintf " ..
  "vsnprintf abort __assert_fail __assert_rtn __stack_chk_fail __memcpy_chk __memmove_chk __memset_chk " ..
  "__snprintf_chk __vsnprintf_chk _GLOBAL_OFFSET_TABLE_"):gmatch "%S+" do
  LIBC[name] = true
end

local function foreign_symbols(undefined, defined)
  local list = {}
  for _, name in ipairs(undefined) do
    local instrument = begins_with_any(name, { "__asan_", "__ubsan_", "__sanitizer_", "__tsan_", "__gcov_" })
    if not defined[name] and not LIBC[name] and not instrument then list[#list + 1] = name end
  end
  return list
end

local function report(list) return "\n  " .. table.concat(list, "\n  ") end

local SOURCES = lines_of "find src -name '*.[ch]' | sort"

describe("the layers", function()
  it("include only what their line in the table names, and libraries only through their doors", function()
    assert.is_true(#SOURCES > 30, "no sources found: run from the top of the tree")
    local list = {}
    for _, path in ipairs(SOURCES) do
      for _, one in ipairs(include_objections(path:sub(5), read(path))) do list[#list + 1] = one end
    end
    assert(#list == 0, report(list))
  end)

  it("have each a door sign", function()
    local folders = {}
    for _, path in ipairs(SOURCES) do folders[path:match "^src/([^/]+)/" or ""] = true end
    folders[""] = nil
    local list = {}
    for folder in pairs(folders) do
      assert.is_not_nil(MAY_INCLUDE[folder], folder .. " is not in the table")
      local sign = io.open("src/" .. folder .. "/README.md")
      local text = sign and sign:read "a" or ""
      if sign then sign:close() end
      if #text < 200 then list[#list + 1] = "src/" .. folder .. "/README.md is missing or says nothing" end
    end
    assert(#list == 0, report(list))
  end)

  it("open every C file with its purpose, and guard every header", function()
    local list = {}
    for _, path in ipairs(SOURCES) do
      for _, one in ipairs(c_objections(path:sub(5), read(path))) do list[#list + 1] = one end
    end
    assert(#list == 0, report(list))
  end)
end)

describe("the core's objects", function()
  local objects = lines_of("ls " .. BUILD .. "/raft/*.o 2>/dev/null")
  local bases = lines_of("ls " .. BUILD .. "/base/*.o 2>/dev/null")

  it("are all built", function()
    assert(#objects > 0, "no objects in " .. BUILD .. "/raft: build first")
    for _, path in ipairs(SOURCES) do
      local name = path:match "^src/(raft/.*)%.c$" or path:match "^src/(base/.*)%.c$"
      if name then
        local file = io.open(BUILD .. "/" .. name .. ".o")
        assert(file, BUILD .. "/" .. name .. ".o is missing")
        file:close()
      end
    end
  end)

  it("need nothing but each other, base, and a few functions on memory", function()
    local defined = {}
    local all = table.concat(objects, " ") .. " " .. table.concat(bases, " ")
    for _, line in ipairs(lines_of("nm --defined-only " .. all)) do
      local name = line:match "^%x+ [A-Z] (%S+)"
      if name then defined[name] = true end
    end
    assert.is_true(defined.raft_entry_encode and defined.error_set and defined.hash_bytes)
    local list = {}
    for _, object in ipairs(objects) do
      local undefined = {}
      for _, line in ipairs(lines_of("nm -u " .. object)) do
        undefined[#undefined + 1] = line:match "^%s+[Uwv] (%S+)"
      end
      for _, name in ipairs(foreign_symbols(undefined, defined)) do list[#list + 1] = object .. ": " .. name end
    end
    assert(#list == 0, report(list))
  end)

  it("keep no variables of their own: everything is in struct raft", function()
    local list = {}
    for _, object in ipairs(objects) do
      local lines = lines_of("nm --format=sysv --defined-only " .. object)
      local instrumented = false
      for _, line in ipairs(lines) do instrumented = instrumented or line:find("__asan", 1, true) end
      for _, line in ipairs(lines) do
        local name, section = line:match "^(%S+)%s*|.*|(%S+)%s*$"
        if not instrumented and contains({ ".data", ".bss", ".tbss", ".tdata" }, section) then
          list[#list + 1] = object .. ": " .. name .. " in " .. section
        end
      end
    end
    assert(#list == 0, report(list))
  end)
end)

describe("the house rules", function()
  it("hold in every file: no tabs, no blanks at ends, no unfinished words, nothing endless", function()
    local list = {}
    local found = lines_of [[find src lua examples spec -type f \( -name '*.[ch]' -o -name '*.lua' \) | sort]]
    for _, path in ipairs(lines_of "find scripts .ci -type f ! -name '*.go' | sort") do found[#found + 1] = path end
    for _, path in ipairs(found) do
      for _, one in ipairs(text_objections(path, read(path))) do list[#list + 1] = one end
    end
    assert(#list == 0, report(list))
  end)
end)

-- A checker that finds nothing proves nothing: each rule is shown something made up that breaks it.
describe("the checker itself", function()
  local function objects_to(file, line) return include_objections(file, "/* x */\n" .. line .. "\n")[1] end

  it("objects to includes across the layers", function()
    for _, row in ipairs {
      { "raft/raft.c", '#include "store/store.h"', "src/raft/raft.c:2: store/store.h: raft may not include store" },
      { "raft/raft.c", '#include "host/host.h"', "raft may not include host" },
      { "base/mp.c", '#include "raft/types.h"', "base may not include raft" },
      { "wire/wire.c", '#include "raft/raft.h"', "wire may not include raft" },
      { "store/store.c", '  #  include "raft/raft.h"', "store may not include raft" },
      { "store/store.c", '#include "wire/wire.h"', "store may not include wire" },
      { "host/host.c", '#include "script/fsm.h"', "host may not include script" },
      { "script/fsm.c", '#include "raft/types.h"', "script may not include raft" },
      { "sim/sim.c", '#include "wire/wire.h"', "sim may not include wire" },
      { "node/node.c", '#include "sim/sim.h"', "node may not include sim" },
      { "module/x.c", '#include "node/node.h"', "module may not include node" },
      { "main.c", '#include "node/node.h"', "main.c may not include node" },
      { "base/mp.c", '#include "mp.h"', "does not name its folder" },
      { "attic/x.c", '#include "base/mp.h"', "is in a folder that the table does not have" },
    } do
      assert.matches(row[3], objects_to(row[1], row[2]) or "nothing", 1, true)
    end
  end)

  it("objects to libraries through the wrong door, and to libraries without one", function()
    for _, row in ipairs {
      { "host/host.c", "#include <sqlite3.h>" }, { "node/node.c", "#include <lua.h>" },
      { "store/store.c", "#include <uv.h>" }, { "base/request.c", "#include <msgpack.h>" },
      { "base/request.c", "#include <msgpack/pack.h>" }, { "raft/entry.c", "#include <xxhash.h>" },
      { "http/parser.c", "#include <jansson.h>" }, { "http/json.c", "#include <http_parser.h>" },
      { "node/node.c", "#include <openssl/ssl.h>" }, { "sim/world.c", "#include <sqlite3.h>" },
    } do
      assert.matches("has another door", objects_to(row[1], row[2]) or "nothing", 1, true)
    end
    assert.matches("without a door", objects_to("base/mp.c", "#include <curl/curl.h>"), 1, true)
    assert.matches("raft does no I/O", objects_to("raft/raft.c", "#include <unistd.h>"), 1, true)
    assert.matches("host does no I/O", objects_to("host/host.c", "#include <time.h>"), 1, true)
  end)

  it("does not object to what is allowed", function()
    for _, row in ipairs {
      { "raft/raft.c", '#include "base/error.h"' }, { "raft/raft.c", '#include "raft/types.h"' },
      { "wire/wire.c", '#include "raft/entry.h"' }, { "store/store.c", "#include <sqlite3.h>" },
      { "base/hash.c", "#include <xxhash.h>" }, { "base/log.c", "#include <time.h>" },
      { "node/luv.c", "#include <lua.h>" }, { "module/x.c", '#include "sim/sim.h"' },
      { "raft/raft.c", "#include <string.h>" }, { "raft/raft.c", '// "store/store.h"' },
      { "main.c", '#include "cli/cli.h"' },
    } do
      assert.is_nil(objects_to(row[1], row[2]))
    end
  end)

  it("objects to foreign symbols and not to the known ones", function()
    assert.same({ "malloc", "time" }, foreign_symbols({ "memcpy", "malloc", "raft_new", "time", "__asan_init" },
      { raft_new = true }))
  end)

  it("objects to untidy text, and says where", function()
    for _, row in ipairs {
      { "a\n\tb\n", "x:2: a tab" }, { "a \n", "x:1: blanks at the end" }, { "a\r\n", "x:1: a carriage return" },
      { "// " .. UNFINISHED[1] .. " later\n", "x:1: unfinished: TO" },
      { "/* " .. UNFINISHED[2] .. ": */\n", "x:1: unfinished: FIX" },
      { "a", "no newline at the end" }, { ("x"):rep(121) .. "\n", "x:1: more than 120 columns" },
      { ("x\n"):rep(701), "more than 700 lines" }, { "\xff\n", "columns" },
    } do
      assert.matches(row[2], report(text_objections("x", row[1])), 1, true)
    end
    assert.same({}, text_objections("x", "    X(" .. ("x"):rep(200) .. ")\n"))
    local longest = ("é"):rep(120) .. "\n" .. ("x\n"):rep(697)
    assert.same({}, text_objections("x", longest .. "mkstemp(\"aXXXXXX\")\n" .. UNFINISHED[1] .. "S\n"))
  end)

  it("objects to C files without purpose or guard", function()
    assert.matches("purpose", report(c_objections("base/x.c", "#include <a.h>\n")), 1, true)
    assert.matches("MOONCLAVE_BASE_X_H", report(c_objections("base/x.h", "/* x */\n#ifndef X\n#define X\n")), 1, true)
    assert.same({}, c_objections("base/x.h", "/* x */\n#ifndef MOONCLAVE_BASE_X_H\n#define MOONCLAVE_BASE_X_H\n"))
  end)
end)
