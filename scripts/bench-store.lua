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

-- How long a vote waits while a log is trimmed behind a snapshot: writes of one entry, each followed by store_tidy.
local function trim(rows)
  local s = assert(store.open{folder = folder .. "/trim", id = "n1", incarnation = 1})
  local index, chain = 0, 0
  local function persist(count)
    local entries = {}
    for i = 1, count do
      index = index + 1
      entries[i] = {type = 4, term = 1, index = index, time_ms = index, payload = payload}
      entries[i].chain = formats.entry_chain(entries[i], chain)
      chain = entries[i].chain
    end
    local began = store.now_us()
    assert(s:persist{{entries = entries}})
    return store.now_us() - began
  end
  for _ = 1, rows, 1000 do
    persist(1000)
    assert(s:tidy())
  end
  local function measure(what, count)
    local writes, waits = {}, {}
    for i = 1, count do
      writes[i] = persist(1)
      local began = store.now_us()
      assert(s:tidy())
      waits[i] = store.now_us() - began
    end
    table.sort(writes)
    table.sort(waits)
    local form = "%-28s %5d writes: p50 %5d us, p99 %6d us, most %6d us; tidy p50 %5d us, p99 %6d us, most %6d us"
    print(string.format(form, what, count, writes[count // 2], writes[count * 99 // 100], writes[count],
      waits[count // 2], waits[count * 99 // 100], waits[count]))
  end
  measure("before a snapshot", 1000)
  local meta = {index = index - 100, term = 1, chain = s:read(index - 100, index - 100)[1].chain, configuration = ""}
  assert(s:snapshot_begin(meta))
  for _ = 1, 256 do assert(s:snapshot_write(payload:rep(256))) end
  local began = store.now_us()
  meta = assert(s:snapshot_finish(meta))
  local finished = store.now_us()
  assert(s:adopt(meta))
  local adopted = store.now_us()
  assert(s:compact(meta.index))
  print(string.format("snapshot of 16 MiB: finish %d us; adopt %d us; compact %d rows at once %d us", finished - began,
    adopted - finished, meta.index, store.now_us() - adopted))
  measure(string.format("while %d rows are trimmed", rows), rows // 500)
  print(s:counters().trimmed .. " rows trimmed")
  s:close()
end
trim(100000)
os.execute("rm -rf '" .. folder .. "'")
