-- Commits a second of the store on a real disk: lua5.4 scripts/bench-store.lua [FOLDER [SECONDS]]
-- (with LUA_CPATH="build/lua/?.so;;"). Entries of 256 bytes; beside it, the time an open takes for what was written.
local store = require "moonclave.store"
local formats = require "moonclave.formats"

local folder = arg[1] or os.tmpname() .. ".d"
local seconds = tonumber(arg[2] or "2")
local payload = string.rep("x", 256)

-- os.clock counts processor time: the wall clock is in /proc, to the hundredth of a second.
local function now()
  local file = assert(io.open("/proc/uptime"))
  local text = file:read("l")
  file:close()
  return tonumber(text:match("^%S+"))
end

local function run(per_commit)
  local path = folder .. "/" .. per_commit
  local options = {folder = path, id = "n1", incarnation = 1}
  local s = assert(store.open(options))
  local index, chain, commits = 0, 0, 0
  local before = os.clock()
  local started = now()
  local preparing = 0
  repeat
    for _ = 1, 50 do
      local prepared = os.clock()
      local entries = {}
      for i = 1, per_commit do
        index = index + 1
        local entry = {type = 4, term = 1, index = index, time_ms = index, payload = payload}
        entry.chain = formats.entry_chain(entry, chain)
        chain = entry.chain
        entries[i] = entry
      end
      preparing = preparing + os.clock() - prepared
      assert(s:persist{{entries = entries}})
      assert(s:tidy())
      commits = commits + 1
    end
  until now() - started >= seconds
  local elapsed = now() - started - preparing
  local processor = os.clock() - before - preparing
  s:close()
  local opening = now()
  s = assert(store.open(options))
  opening = now() - opening
  s:close()
  print(string.format("%6d %12.0f %12.0f %12.3f %14.2f %10.2f (%d entries)", per_commit, commits / elapsed,
    index / elapsed, elapsed / commits * 1000, processor / index * 1e6, opening, index))
end

print("   per    commits/s    entries/s    ms/commit   CPU us/entry   open s")
for _, per_commit in ipairs{1, 10, 100, 1000} do run(per_commit) end
os.execute("rm -rf '" .. folder .. "'")
