-- Bugs whose guard is the store's, on a disk that loses what was not synced, and lies (see all.lua).
local assert = require "luassert"
local store = require "moonclave.store"
local support = require "store.support"

store.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "")

local function bytes_of(index, size) return ("%d "):format(index):rep(size):sub(1, size) end

local function meta_of(index, term, chain, size)
  return { index = index, term = term, chain = chain, format_level = 1, system_hash = index, state_hash = index,
    size = size, configuration_index = 0, configuration = "the configuration" }
end

-- Four entries; a snapshot of the third is taken; one of entry 20 comes in from a leader, and is installed. Each step
-- with what must be there once it is acknowledged: the snapshot's index, and the log's last.
local function install_story()
  local entries = support.entries(support.blank(), 1, { 10, 20, 30, 400 })
  local own, theirs = meta_of(3, 1, entries[3].chain, 170), meta_of(20, 9, 1020, 200)
  local steps = {}
  local function step(snapshot, last, act) steps[#steps + 1] = { act = act, snapshot = snapshot, last = last } end
  step(0, 0, function(s) return s:bootstrap(support.CONFIGURATION_BYTES, 4711) end)
  step(0, 4, function(s) return s:persist { { entries = entries, hard_state = { term = 1, vote = "n1" } } } end)
  step(0, 4, function(s) return s:snapshot_begin(own) end)
  step(0, 4, function(s) return s:snapshot_write(bytes_of(3, 100)) end)
  step(0, 4, function(s) return s:snapshot_write(bytes_of(3, 170):sub(101)) end)
  step(0, 4, function(s) return s:snapshot_finish(own) end)
  step(3, 4, function(s) return s:adopt(own) end)
  step(3, 4, function(s) return s:incoming_begin(theirs) end)
  step(3, 4, function(s) return s:incoming_write(0, bytes_of(20, 150)) end)
  step(3, 4, function(s) return s:incoming_write(150, bytes_of(20, 200):sub(151)) end)
  step(3, 4, function(s) return s:incoming_finish() end)
  step(20, 20, function(s) return s:install(theirs) end)
  return steps
end

-- How many steps are acknowledged on a disk, and the store, which may be gone.
local function play(disk, steps)
  local s = support.open(disk, { snapshot_block = 64 })
  if not s then return 0 end
  for done, step in ipairs(steps) do
    if not step.act(s) then return done - 1, s end
  end
  return #steps, s
end

-- Of one step or the next: whole, with all of the snapshot's bytes.
local function check(disk, steps, done, context)
  local s, code, text = support.open(disk, { snapshot_block = 64 })
  assert(s, ("%s: %s %s"):format(context, tostring(code), tostring(text)))
  local durable = s:durable()
  local sure = steps[done] or { snapshot = 0, last = 0 }
  local index, next_one = durable.snapshot.index, steps[done + 1] or sure
  local as_before = index == sure.snapshot and durable.last_index == sure.last
  local either = as_before and sure or next_one
  assert.same({ either.snapshot, either.last }, { index, durable.last_index }, context)
  if index > 0 then
    local size = index == 3 and 170 or 200
    assert.equal(bytes_of(index, size), (s:snapshot_read(index, 0)), context)
    assert(durable.last_index >= index, context)
  end
  assert(s:read(durable.base.index + 1, math.maxinteger), context)
  s:close()
end

return function(bug)
  bug(29, "the power went between two steps of a snapshot, and what it points to was not all there (at the store)",
    { "unsynced_snapshot" }, function()
    local steps, call, all = install_story(), 0
    repeat
      call = call + 1
      local disk = support.disk(call)
      disk:fail("crash", call)
      local done, s = play(disk, steps)
      all = done == #steps and disk:counts() < call
      local context = ("cut at call %d, after %d steps"):format(call, done)
      disk:power_cut "all"
      if s then s:close() end
      check(disk, steps, done, context)
      disk:power_cut "all" -- and what was found is not forgotten by the next one
      check(disk, steps, done, context .. ", then another")
    until all
    assert(call > 50, "it crashes between any two")
  end)

  bug(39, "the end of the WAL is gone, with what was acknowledged, and the node went on without (at the store)",
    { "store_unmarked" }, function()
    local disk = support.disk(1)
    local s, state = assert(support.open(disk)), support.blank()
    assert(s:bootstrap(support.CONFIGURATION_BYTES, 4711))
    local sizes
    for _ = 1, 3 do
      sizes = { before = #disk:image()[support.WAL] }
      local writes = { { hard_state = { term = 1, vote = "n1" }, entries = support.entries(state, 1, { 20 }) } }
      assert(s:persist(writes))
      state = support.after(state, writes)
    end
    disk:kill()
    s:close()
    local image = disk:image()
    image[support.WAL] = image[support.WAL]:sub(1, sizes.before)
    disk:restore(image)
    local again, code, text = support.open(disk)
    assert.same({ nil, "corrupt" }, { again, code })
    assert.truthy(text:find("was acknowledged", 1, true))
  end)
end
