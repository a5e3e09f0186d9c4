-- Snapshots' files, the switch to one, and the log behind it: crashes between any two steps, damage, a full disk.
local support = require "store.support"
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local store = require "moonclave.store"
store.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "") -- raft/mutants_spec.lua tells a story to a build without its guard

local BLOCK = 64

local function open(disk, changes)
  local options = { snapshot_block = BLOCK }
  for name, value in pairs(changes or {}) do options[name] = value end
  return support.open(disk, options)
end

local function bytes_of(index, size)
  local out, at = {}, index
  for i = 1, size do
    at = (at * 1103515245 + 12345) & 0x7fffffff
    out[i] = string.char(at >> 16 & 255)
  end
  return table.concat(out)
end

local function meta_of(model, index, size)
  local entry = model.log[index]
  return { index = index, term = entry.term, chain = entry.chain, format_level = 1, system_hash = index,
    state_hash = -index, size = size or 0, configuration_index = 0, configuration = "the configuration" }
end

-- ---- a story ----

local function new_model() return { log = {}, base = 0, last = 0 } end

local function copy(model)
  local new = { base = model.base, last = model.last, snapshot = model.snapshot, log = {} }
  for index, entry in pairs(model.log) do new.log[index] = entry end
  return new
end

local function append(model, term, sizes)
  local chain = model.last > 0 and (model.log[model.last] or { chain = model.snapshot.meta.chain }).chain or 0
  local entries = {}
  for i, size in ipairs(sizes) do
    local entry = { type = 4, flags = 0, term = term, index = model.last + 1, time_ms = 5, seed = 0, session = 0,
      sequence = 0, payload = ("e"):rep(size) }
    entry.chain = formats.entry_chain(entry, chain)
    chain = entry.chain
    model.log[entry.index], model.last, entries[i] = entry, entry.index, entry
  end
  return entries
end

-- Steps as { act = function(s) -> ok, code, text; model = what holds once it is acknowledged }.
local function make_story()
  local steps, model = {}, new_model()
  local function step(act, change)
    model = copy(model)
    if change then change(model) end
    steps[#steps + 1] = { act = act, model = model }
  end
  local function persist(term, sizes, hard_state)
    local entries
    step(function(s) return s:persist { { entries = entries, hard_state = hard_state } } end,
      function(new) entries = append(new, term, sizes) end)
  end
  local function tidy() step(function(s) return s:tidy() end) end
  local function take(size)
    local index = model.last
    local meta, bytes = meta_of(model, index), bytes_of(index, size)
    local full = meta_of(model, index, size)
    step(function(s)
      s:snapshot_abort()
      return s:snapshot_begin(meta)
    end)
    for at = 1, size, 50 do step(function(s) return s:snapshot_write(bytes:sub(at, at + 49)) end) end
    step(function(s) return s:snapshot_finish(meta) end)
    step(function(s) return s:adopt(full) end, function(new) new.snapshot = { meta = full, bytes = bytes } end)
  end
  local function compact(index)
    step(function(s) return s:compact(index) end, function(new)
      for gone = new.base + 1, index do new.log[gone] = nil end
      new.base = index
    end)
    local from = model.snapshot.meta.index
    step(function(s) return s:snapshots_forget(from) end)
  end
  local function receive(index, size)
    local theirs = { log = { [index] = { term = 9, chain = 1000 + index } } }
    local meta, bytes = meta_of(theirs, index, size), bytes_of(index, size)
    step(function(s) return s:incoming_begin(meta) end)
    for at = 0, size - 1, 40 do
      step(function(s)
        local have, code, text = s:incoming_begin(meta)
        if not have then return nil, code, text end
        return s:incoming_write(have, bytes:sub(have + 1, at + 40))
      end)
    end
    step(function(s)
      local have, code, text = s:incoming_begin(meta)
      if have and have < size then have, code, text = s:incoming_write(have, bytes:sub(have + 1)) end
      if not have then return nil, code, text end
      return s:incoming_finish()
    end)
    step(function(s) return s:install(meta) end, function(new)
      new.log, new.base, new.last, new.snapshot = {}, index, index, { meta = meta, bytes = bytes }
    end)
  end
  step(function(s) return s:bootstrap(support.CONFIGURATION_BYTES, 4711) end)
  persist(1, { 10, 20, 30, 400 }, { term = 1, vote = "n1" })
  take(170)
  compact(2)
  tidy()
  persist(1, { 10, 10, 10 })
  take(BLOCK * 2) -- ends with a block
  compact(7)
  tidy()
  persist(1, { 600, 5 })
  receive(20, 200)
  tidy()
  persist(9, { 3, 300 }, { term = 9, vote = "" })
  take(0) -- of an empty state
  persist(9, { 1 })
  compact(22)
  receive(23, 300) -- ends where the log does, and replaces it
  tidy()
  persist(9, { 1, 2, 3 })
  return steps
end

-- What a store holds, read back in full; nil, code, text when it may not be read.
local function found_in(s)
  local durable = s:durable()
  local model = { base = durable.base.index, last = durable.last_index, log = {} }
  local entries, code, text = s:read(model.base + 1, math.maxinteger)
  if not entries then return nil, code, text end
  for i, entry in ipairs(entries) do model.log[model.base + i] = entry end
  if #entries ~= model.last - model.base then return nil, "inconsistent", "entries" end
  local first = s:identity().cluster ~= 0 and support.CONFIGURATION_BYTES or ""
  if durable.first_configuration ~= first then return nil, "inconsistent", "the first configuration" end
  if durable.snapshot.index > 0 then
    local bytes
    bytes, code, text = s:snapshot_read(durable.snapshot.index, 0)
    if not bytes then return nil, code, text end
    model.snapshot = { meta = durable.snapshot, bytes = bytes }
  end
  return model
end

local function difference(found, wanted)
  if found.base ~= wanted.base or found.last ~= wanted.last then
    return ("%d..%d, not %d..%d"):format(found.base, found.last, wanted.base, wanted.last)
  end
  local one, other = found.snapshot, wanted.snapshot
  if (one and one.meta.index) ~= (other and other.meta.index) then return "another snapshot" end
  if one and one.bytes ~= other.bytes then return "other bytes of the snapshot" end
  for index = wanted.base + 1, wanted.last do
    if found.log[index].chain ~= wanted.log[index].chain then return "entry " .. index end
  end
end

local function assert_one_of(s, context, ...)
  local found, code, text = found_in(s)
  assert(found, ("%s: %s: %s"):format(context, code, text))
  local differences = {}
  for _, wanted in ipairs { ... } do
    local how = difference(found, wanted)
    if not how then return found end
    differences[#differences + 1] = how
  end
  error(context .. ": " .. table.concat(differences, "; or "))
end

local function play(disk, story, from)
  local s, code, text = open(disk)
  if not s then return (from or 1) - 1, nil, code, text end
  for number = from or 1, #story do
    local ok
    ok, code, text = story[number].act(s)
    if not ok then return number - 1, s, code, text end
  end
  return #story, s
end

local function states(story, done)
  local sure = done > 0 and story[done].model or new_model()
  return sure, story[done + 1] and story[done + 1].model or sure
end

local function snapshot_files(disk)
  local count = 0
  for name in pairs(disk:image()) do count = count + (name:find "/snapshot%-%d$" and 1 or 0) end
  return count
end

local function at_every_call(kind, seed, after)
  local story = make_story()
  local call = 0
  repeat
    call = call + 1
    local disk = support.disk(seed * 100000 + call)
    disk:fail(kind, call)
    local done, s, code = play(disk, story)
    after(disk, story, done, s, ("seed %d, %s at call %d, %d steps"):format(seed, kind, call, done), code)
  until done == #story and disk:counts() < call
  return call
end

describe("a story of snapshots", function()
  it("is told as it should be", function()
    local disk, story = support.disk(1), make_story()
    local s = assert(open(disk))
    for number, step in ipairs(story) do
      local ok, code, text = step.act(s)
      assert(ok, ("step %d: %s %s"):format(number, tostring(code), tostring(text)))
    end
    assert.is_true(s:is_tidy())
    assert.equal(12, s:counters().trimmed) -- 1 to 9, and 21 to 23: every row that was there
    s:close()
    s = assert(open(disk))
    assert_one_of(s, "reopened", story[#story].model)
    assert.equal(1, snapshot_files(disk))
    s:close()
  end)

  it("29: survives a power cut at every call, and what it finds is durable", function()
    local function check(loss)
      return function(disk, story, done, s, context)
        disk:power_cut(loss)
        if s then s:close() end
        local again, code, text = open(disk)
        assert(again, ("%s: %s %s"):format(context, tostring(code), tostring(text)))
        local found = assert_one_of(again, context, states(story, done))
        assert(snapshot_files(disk) <= 2, context) -- its own, and one that comes in
        disk:power_cut "all"
        again:close()
        local third = assert(open(disk))
        assert_one_of(third, context .. ", second cut", found)
        third:close()
      end
    end
    assert.is_true(at_every_call("crash", 1, check "all") > 150)
    for seed = 2, 6 do at_every_call("crash", seed, check "some") end
  end)

  it("29: survives a killed process at every call", function()
    at_every_call("crash", 7, function(disk, story, done, s, context)
      disk:kill()
      if s then s:close() end
      local again = assert(open(disk))
      local found = assert_one_of(again, context, states(story, done))
      disk:power_cut "all"
      again:close()
      local third = assert(open(disk))
      assert_one_of(third, context .. ", then a cut", found)
      third:close()
    end)
  end)

  it("stops at an I/O error at every call, and has all that was acknowledged after it", function()
    at_every_call("error", 8, function(disk, story, done, s, context, code)
      if s and code then
        assert.equal("io_error", code, context)
        s:close()
      elseif s then
        s:close()
      end
      disk:power_cut "some"
      local again, why, text = open(disk)
      assert(again, ("%s: %s %s"):format(context, tostring(why), tostring(text)))
      assert_one_of(again, context, states(story, done))
      again:close()
    end)
  end)

  it("has done nothing of what a full disk refused, at any call", function()
    local story, call, refused = make_story(), 0, 0
    repeat
      call = call + 1
      local disk = support.disk(call)
      disk:fail("full", call)
      local done, s, code, text = play(disk, story)
      local context = ("full at call %d, %d steps: %s %s"):format(call, done, tostring(code), tostring(text))
      if code then
        assert.equal("disk_full", code, context)
        refused = refused + 1
      end
      if s then s:close() end
      disk:kill()
      local again = assert(open(disk))
      assert_one_of(again, context, (states(story, done)))
      again:close()
    until done == #story and disk:counts() < call
    assert.is_true(refused > 60, refused)
  end)
end)

describe("a snapshot taken", function()
  local function with_log(disk, count)
    local s, model, sizes = assert(open(disk)), new_model(), {}
    for i = 1, count do sizes[i] = i end
    assert(s:persist { { entries = append(model, 1, sizes) } })
    return s, model
  end

  local function take(s, model, index, size)
    local meta, bytes = meta_of(model, index), bytes_of(index, size)
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_write(bytes))
    local full = assert(s:snapshot_finish(meta))
    assert.equal(size, full.size)
    assert(s:adopt(full))
    return full, bytes
  end

  it("has frozen bytes", function()
    local disk = support.disk(1)
    local s, model = with_log(disk, 3)
    model.log[3] = { term = 1, chain = s:durable().last_chain }
    take(s, model, 3, 100)
    local image = disk:image()[support.FOLDER .. "/snapshot-0"]
    local meta = formats.meta_encode(meta_of(model, 3, 100))
    local head = string.pack("<I4BBI2I4I4", 0x3153636d, 1, 0, 0, BLOCK, #meta)
    head = head .. string.pack("<i8", base.hash(meta, base.hash(head))) .. meta
    local bytes = bytes_of(3, 100)
    local blocks = string.pack("<i8", base.hash(bytes:sub(1, 64), 0)) .. bytes:sub(1, 64)
      .. string.pack("<i8", base.hash(bytes:sub(65), 64)) .. bytes:sub(65)
    assert.equal(head .. blocks, image)
    s:close()
  end)

  it("is read from any offset, in any size, and is gone once forgotten", function()
    local disk = support.disk(2)
    local s, model = with_log(disk, 9)
    local _, bytes = take(s, model, 5, 300)
    for offset = 0, 301, 7 do
      for _, size in ipairs { 1, 63, 64, 65, 1000 } do
        assert.equal(bytes:sub(offset + 1, offset + size), s:snapshot_read(5, offset, size))
      end
    end
    take(s, model, 9, 10)
    assert.equal(bytes, s:snapshot_read(5, 0)) -- it may be on its way to someone
    assert(s:snapshots_forget(9))
    local none, code = s:snapshot_read(5, 0)
    assert.is_nil(none)
    assert.equal("not_found", code)
    assert.equal(10, #s:snapshot_read(9, 0))
    s:close()
  end)

  it("finds no room when many are kept, and does when one is forgotten", function()
    local disk = support.disk(3)
    local s, model = with_log(disk, 20)
    for index = 1, 8 do take(s, model, index, 10) end
    local ok, code, text = s:snapshot_begin(meta_of(model, 9))
    assert.is_nil(ok)
    assert.equal("unavailable", code)
    assert.matches("8 snapshots are kept", text, 1, true)
    assert(s:snapshots_forget(8))
    take(s, model, 9, 10)
    s:close()
    assert.equal(2, snapshot_files(disk))
    assert(open(disk)):close()
    assert.equal(1, snapshot_files(disk))
  end)

  it("that the log could not name is discarded, and no other", function()
    local disk = support.disk(4)
    local s, model = with_log(disk, 20)
    local _, bytes = take(s, model, 4, 100)
    local meta = meta_of(model, 9, 10)
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_write(bytes_of(9, 10)))
    assert(s:snapshot_finish(meta))
    assert.equal(2, snapshot_files(disk))
    assert(s:snapshot_discard(9))
    assert.equal(1, snapshot_files(disk))
    local none, code = s:snapshot_read(9, 0)
    assert.is_nil(none)
    assert.equal("not_found", code)
    assert.equal(bytes, s:snapshot_read(4, 0))
    assert(s:snapshot_discard(9)) -- harmless where there is none
    take(s, model, 9, 10)
    s:close()
  end)

  it("is given up on a full disk, its file deleted, and taken again when there is room", function()
    local disk = support.disk(4)
    local s, model = with_log(disk, 5)
    disk:fail("full", 3)
    assert(s:snapshot_begin(meta_of(model, 5)))
    local ok, code = s:snapshot_write(bytes_of(5, 1000))
    assert.is_nil(ok)
    assert.equal("disk_full", code)
    assert.equal(0, snapshot_files(disk))
    take(s, model, 5, 1000)
    s:close()
  end)

  it("shows every damaged bit, at open or where it is read", function()
    local disk = support.disk(5)
    local s, model = with_log(disk, 5)
    local _, bytes = take(s, model, 5, 150)
    assert(s:compact(5))
    s:close()
    local image = disk:image()
    local name = support.FOLDER .. "/snapshot-0"
    local refused_at_open, refused_at_reading = 0, 0
    for bit, changed in require "support.bytes".flips(image[name]) do
      disk:restore(image)
      disk:write(name, changed)
      local again, code = open(disk)
      if not again then
        assert(code == "corrupt" or code == "version", code)
        refused_at_open = refused_at_open + 1
      else
        local read, why, text = again:snapshot_read(5, 0)
        assert(read == nil or read == bytes, "bit " .. bit)
        if not read then
          refused_at_reading = refused_at_reading + 1
          assert.equal("corrupt", why)
          assert.matches("snapshot-0: offset", text, 1, true)
          assert.is_nil((again:snapshot_read(5, 0)), "it stays broken")
        end
        again:close()
      end
    end
    assert.equal(#image[name] * 8, refused_at_open + refused_at_reading)
  end)

  it("that is missing, or cut short, is refused at open", function()
    local disk = support.disk(6)
    local s, model = with_log(disk, 5)
    take(s, model, 5, 150)
    s:close()
    local image = disk:image()
    local name = support.FOLDER .. "/snapshot-0"
    for size = 0, #image[name] - 1, 11 do
      disk:restore(image)
      if size == 0 then disk:remove(name) else disk:write(name, image[name]:sub(1, size)) end
      local again, code, text = open(disk)
      assert.is_nil(again)
      assert.equal("corrupt", code)
      assert.matches("the snapshot at 5 is missing or cut short", text, 1, true)
    end
    disk:restore(image)
    assert(open(disk)):close()
  end)
end)

describe("a snapshot that comes in", function()
  local meta = meta_of({ log = { [50] = { term = 3, chain = 77 } } }, 50, 1000)
  local bytes = bytes_of(50, 1000)

  it("goes on after a crash at every call, from what is whole", function()
    local resumed = 0
    for call = 1, 60 do
      local disk = support.disk(call)
      local s = assert(open(disk))
      disk:fail("crash", call)
      local have = s:incoming_begin(meta) or 0
      while have < 1000 do
        have = s:incoming_write(have, bytes:sub(have + 1, have + 37))
        if not have then break end
      end
      if have then s:incoming_finish() end
      if call % 2 == 0 then disk:power_cut "some" else disk:kill() end
      s:close()
      s = assert(open(disk))
      have = assert(s:incoming_begin(meta))
      assert(have % BLOCK == 0 or have == 1000)
      if have > 0 then resumed = resumed + 1 end
      while have < 1000 do have = assert(s:incoming_write(have, bytes:sub(have + 1, have + 100))) end
      assert(s:incoming_finish())
      disk:power_cut "all"
      s:close()
      s = assert(open(disk))
      assert.equal(1000, s:incoming_begin(meta)) -- not yet this node's own
      assert(s:incoming_finish())
      assert(s:install(meta))
      disk:power_cut "all"
      s:close()
      s = assert(open(disk))
      assert.equal(bytes, s:snapshot_read(50, 0))
      assert.same({ 50, 50 }, { s:durable().last_index, s:durable().base.index })
      s:close()
    end
    assert(resumed > 20, resumed)
  end)

  it("drops what does not continue it, and says what is there", function()
    local s = assert(open(support.disk(1)))
    assert.equal(0, s:incoming_write(0, "x")) -- nothing has begun
    assert.equal(0, s:incoming_begin(meta))
    assert.equal(0, s:incoming_write(5, "x"))
    assert.equal(70, s:incoming_write(0, bytes:sub(1, 70)))
    assert.equal(70, s:incoming_write(0, bytes:sub(1, 70)))
    assert.equal(70, s:incoming_write(70, ("x"):rep(931)))
    assert.equal(70, s:incoming_begin(meta))
    s:close()
  end)

  it("gives way to another, and is not taken for it", function()
    local disk = support.disk(2)
    local s = assert(open(disk))
    for name, value in pairs { index = 51, term = 4, chain = 1, state_hash = 9, size = 999, configuration = "x" } do
      s:incoming_begin(meta)
      s:incoming_write(0, bytes)
      local other = {}
      for key, one in pairs(meta) do other[key] = one end
      other[name] = value
      assert.equal(0, s:incoming_begin(other), name)
    end
    assert.equal(1, snapshot_files(disk))
    s:incoming_abort()
    assert.equal(0, snapshot_files(disk))
    s:close()
  end)

  it("that came in whole, and was not installed, is still whole", function()
    local disk = support.disk(4)
    local s = assert(open(disk))
    assert(s:incoming_begin(meta))
    assert.equal(1000, s:incoming_write(0, bytes))
    assert(s:incoming_finish())
    assert.equal(1000, s:incoming_begin(meta))
    assert(s:incoming_finish())
    assert.equal(1, snapshot_files(disk))
    assert(s:install(meta))
    assert.equal(bytes, s:snapshot_read(50, 0))
    s:close()
  end)

  it("stays as far as it came on a full disk", function()
    local disk = support.disk(3)
    local s = assert(open(disk))
    assert(s:incoming_begin(meta))
    assert.equal(200, s:incoming_write(0, bytes:sub(1, 200)))
    disk:fail("full", 2)
    local have, code = s:incoming_write(200, bytes:sub(201, 600))
    assert.is_nil(have)
    assert.equal("disk_full", code)
    have = s:incoming_begin(meta)
    assert(have >= 192 and have < 600, have)
    assert.equal(1000, s:incoming_write(have, bytes:sub(have + 1)))
    assert(s:incoming_finish())
    assert.equal(bytes, s:snapshot_read(50, 0))
    s:close()
  end)
end)

describe("the log behind a snapshot", function()
  it("is trimmed in slices while it goes on, and reads as if it were gone at once", function()
    local disk = support.disk(1)
    local s, model = assert(open(disk, { page_size = 4096, checkpoint_pages = 200 })), new_model()
    for _ = 1, 30 do
      local sizes = {}
      for i = 1, 100 do sizes[i] = 50 end
      assert(s:persist { { entries = append(model, 1, sizes) } })
      assert(s:tidy())
    end
    local meta = meta_of(model, 2900)
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_finish(meta))
    assert(s:adopt(meta))
    assert(s:compact(2700))
    assert.equal(0, #s:read(2700, 2800))
    assert.equal(2701, s:read(2701, 2701)[1].index)
    local slices = 0
    while not s:is_tidy() do
      if slices == 2 then -- a restart in the middle goes on
        disk:power_cut "all"
        s:close()
        s = assert(open(disk, { page_size = 4096, checkpoint_pages = 200 }))
        assert.is_false(s:is_tidy())
      end
      local before = s:counters().trimmed
      assert(s:tidy())
      assert(s:counters().trimmed - before <= 500)
      assert(s:persist { { entries = append(model, 1, { 50 }) } })
      slices = slices + 1
    end
    assert(slices >= 6, slices)
    assert.equal(300 + slices, #s:read(2701, math.maxinteger))
    s:close()
  end)

  it("keeps the database and its WAL at one size under endless load", function()
    local disk = support.disk(2)
    local s, model = assert(open(disk, { page_size = 4096, checkpoint_pages = 50 })), new_model()
    local largest_database, largest_wal, early = 0, 0, nil
    for round = 1, 60 do
      for _ = 1, 10 do
        local sizes = {}
        for i = 1, 20 do sizes[i] = 200 end
        assert(s:persist { { entries = append(model, 1, sizes) } })
        assert(s:tidy())
      end
      local meta = meta_of(model, model.last)
      assert(s:snapshot_begin(meta))
      assert(s:snapshot_write(bytes_of(round, 500)))
      meta = assert(s:snapshot_finish(meta))
      assert(s:adopt(meta))
      assert(s:compact(model.last - 20))
      assert(s:snapshots_forget(meta.index))
      local image = disk:image()
      largest_database = math.max(largest_database, #image[support.DATABASE])
      largest_wal = math.max(largest_wal, #image[support.WAL])
      if round == 10 then early = largest_database end
    end
    assert(largest_database <= early * 1.3, largest_database .. " after " .. early)
    assert(largest_wal < 300 * 4096, largest_wal)
    assert.equal(1, snapshot_files(disk))
    s:close()
  end)

  it("may be truncated down to the snapshot, not below it", function()
    local disk = support.disk(3)
    local s, model = assert(open(disk)), new_model()
    assert(s:persist { { entries = append(model, 1, { 5, 5, 5, 5, 5 }) } })
    local meta = meta_of(model, 3)
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_finish(meta))
    assert(s:adopt(meta))
    assert(s:compact(3))
    model.last = 3
    assert(s:persist { { truncate_from = 4, entries = append(model, 2, { 7 }) } })
    local ok, code = s:persist { { truncate_from = 3 } }
    assert.is_nil(ok)
    assert.equal("internal", code)
    s:close()
    s = assert(open(disk))
    assert.same({ 4, 2 }, { s:durable().last_index, s:read(4, 4)[1].term })
    s:close()
  end)

  it("must hold the entry that the snapshot ends with", function()
    local disk = support.disk(4)
    local s, model = assert(open(disk)), new_model()
    assert(s:persist { { entries = append(model, 1, { 5, 5, 5 }) } })
    local meta = meta_of(model, 2)
    meta.chain = meta.chain + 1
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_finish(meta))
    assert(s:adopt(meta))
    s:close()
    local again, code, text = open(disk)
    assert.is_nil(again)
    assert.equal("corrupt", code)
    assert.matches("not the one that the snapshot ends with", text, 1, true)
  end)

  it("has a base with frozen bytes", function()
    local row = store.meta_bytes("base", { index = 5, term = 2, chain = -1 })
    local body = "\1\0" .. string.pack("<I8I8i8", 5, 2, -1)
    assert.equal(body .. string.pack("<i8", base.hash(body, 4)), row)
  end)
end)
