-- Snapshots of the state tree: lua5.4 scripts/bench-state.lua [ITEMS] (with LUA_CPATH="build/lua/?.so;;"). How fast a
-- tree of small items is written and read back, how long the longest step is, and what a write costs beside it.
local state = require "moonclave.state"

local items = tonumber(arg[1] or "1000000")
local WORK, PIECE = 32768, 1 << 20

local function resident_kib()
  for line in io.lines "/proc/self/status" do
    local kib = line:match "^VmRSS:%s+(%d+)"
    if kib then return tonumber(kib) end
  end
end

local now = state.process_us

local function key_of(i) return ("user/%08d"):format(i * 7919 % 100000007) end

local before = resident_kib()
local tree = state.new()
local longest_put = 0
for first = 1, items, 10000 do
  tree:begin()
  local root = tree:root()
  for i = first, math.min(first + 9999, items) do
    local key, began = key_of(i), now()
    root:put(key, i)
    longest_put = math.max(longest_put, now() - began)
  end
  tree:commit()
end
local built = resident_kib()
print(("%d items: %.1f MiB, %.1f bytes each; the longest put took %d us"):format(items, (built - before) / 1024,
  (built - before) * 1024 / items, longest_put))

-- One write in a transaction of its own, at keys in no order.
local function writes(count, offset)
  local started = now()
  local root = tree:root()
  for i = 1, count do
    tree:begin()
    root:put(key_of((i * 104729 + offset) % items + 1), -i)
    tree:commit()
  end
  return (now() - started) * 1000 / count
end

local function write_all(meanwhile)
  local snapshot, more = tree:snapshot(), true
  local pieces, times, total = {}, {}, 0
  collectgarbage "stop"
  while more do
    local started = now()
    pieces[#pieces + 1], more = snapshot:step(WORK)
    local took = now() - started
    times[#times + 1], total = took, total + took
    if meanwhile then meanwhile(snapshot) end
  end
  collectgarbage "restart"
  local hash = snapshot:hash()
  snapshot:finish()
  local encoded = table.concat(pieces)
  table.sort(times)
  local form = "written: %.1f MiB in %.0f ms (%.0f MiB/s), %d steps: p50 %d us, p99 %d us, the longest %d us"
  print(form:format(#encoded / 1048576, total / 1000, #encoded / 1.048576 / total, #times, times[#times // 2],
    times[#times * 99 // 100], times[#times]))
  return encoded, hash
end

print(("a write without a snapshot: %.0f ns"):format(writes(200000, 0)))
local encoded, hash = write_all()
local spent, count, most, grown = 0, 0, 0, 0
print "the same with 100 writes between two steps:"
write_all(function(snapshot)
  spent, count = spent + writes(100, count), count + 100
  most = math.max(most, snapshot:saved())
  if most == snapshot:saved() then grown = resident_kib() end
end)
print(("a write beside it: %.0f ns; at most %d keys saved, %.1f MiB more in use"):format(spent / (count / 100), most,
  (grown - built) / 1024))

for round = 1, 3 do
  collectgarbage()
  local restore, fresh, longest = state.restore(), state.new(), 0
  local pieces = {}
  for at = 1, #encoded, PIECE do pieces[#pieces + 1] = encoded:sub(at, at + PIECE - 1) end
  local started = now()
  for _, piece in ipairs(pieces) do
    local begun = now()
    assert(restore:feed(piece))
    longest = math.max(longest, now() - begun)
  end
  assert(restore:finish(hash, fresh))
  local took = now() - started
  print(("read back in pieces of 1 MiB, round %d: %.0f ms (%.0f MiB/s), the longest piece %d us"):format(round,
    took / 1000, #encoded / 1.048576 / took, longest))
end
