-- A disk that lies: damage is found before anything is believed, and nothing acknowledged is ever silently gone.
local support = require "store.support"

-- The frames of a WAL: where each is, whether it ends a commit, whether it is of the header's generation.
local function frames_of(wal)
  local page_size = string.unpack(">I4", wal, 9)
  local salts = wal:sub(17, 24)
  local frames, at = {}, 32
  while at + 24 + page_size <= #wal do
    local _, commit = string.unpack(">I4I4", wal, at + 1)
    local frame = {at = at, stop = at + 24 + page_size, commit = commit ~= 0}
    frame.ours = wal:sub(at + 9, at + 16) == salts
    frames[#frames + 1] = frame
    at = frame.stop
  end
  return frames
end

local function flip(bytes, at, mask)
  return bytes:sub(1, at) .. string.char(bytes:byte(at + 1) ~ mask) .. bytes:sub(at + 2)
end

-- A disk whose WAL holds some commits of the newest generation and, behind them, frames of an older one.
-- Returns its image, the states after each acknowledged commit, and where the newest generation ends.
local function recycled_wal()
  local disk = support.disk(7)
  local s = assert(support.open(disk, {checkpoint_pages = 30}))
  local state, states = support.blank(), {}
  local function persist(...)
    local writes = {...}
    assert(s:persist(writes))
    state = support.after(state, writes)
    states[#states + 1] = state
  end
  assert(s:bootstrap(support.CONFIGURATION_BYTES, 4711))
  state.cluster = 4711
  repeat
    persist{entries = support.entries(state, 1, {90, 300})}
    assert(s:tidy())
  until s:counters().checkpoints == 1
  states = {}
  persist{hard_state = {term = 2, vote = "n2"}, entries = support.entries(state, 2, {30})}
  persist{entries = support.entries(state, 2, {60})}
  persist{hard_state = {term = 3, vote = "n3"}}
  local cut = #state.log
  persist{truncate_from = cut, entries = support.entries(support.after(state, {{truncate_from = cut}}), 3, {900, 5})}
  persist{entries = support.entries(state, 3, {20})}
  disk:kill()
  s:close()
  return disk:image(), states
end

-- Opens a disk of these files, and gives the state it holds or the error.
local function look(disk, image)
  disk:restore(image)
  local s, code, text = support.open(disk)
  if not s then return nil, code, text end
  local found, why, what = support.found(s)
  disk:kill()
  s:close()
  assert(found, tostring(why) .. ": " .. tostring(what))
  return found
end

local function with(image, name, content)
  local changed = {}
  for file, bytes in pairs(image) do changed[file] = bytes end
  changed[name] = content
  return changed
end

describe("a damaged WAL", function()
  local image, states = recycled_wal()
  local wal = image[support.WAL]
  local frames = frames_of(wal)
  local newest, commits = 0, {}
  for i, frame in ipairs(frames) do
    if frame.ours then newest = i end
    if frame.ours and frame.commit then commits[#commits + 1] = frame.stop end
  end
  local last = states[#states]

  it("is one of several commits with an older generation behind it (the case that is tested here)", function()
    assert.are.equal(#states, #commits)
    assert.is_true(newest < #frames)
    assert.is_nil(support.difference(look(support.disk(1), image), last))
  end)

  it("is refused for a flip of any byte of what was acknowledged, and for no other", function()
    local disk = support.disk(1)
    local refused, intact = 0, 0
    for at = 0, #wal - 1 do
      for _, mask in ipairs{1 << at % 8, 0xff} do
        local found, code, text = look(disk, with(image, support.WAL, flip(wal, at, mask)))
        local context = string.format("byte %d, mask %02x: %s %s", at, mask, tostring(code), tostring(text))
        if at < frames[newest].stop then
          assert.are.equal("corrupt", code, context)
          assert.is_truthy(text:find(support.WAL, 1, true) and text:find("offset %d+"), context)
          refused = refused + 1
        else
          assert(found, context)
          assert.is_nil(support.difference(found, last), context)
          intact = intact + 1
        end
      end
    end
    assert.is_true(refused > 5000 and intact > 5000)
  end)

  it("names the frame that is damaged", function()
    local _, code, text = look(support.disk(1), with(image, support.WAL, flip(wal, frames[3].at + 100, 1)))
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find("offset " .. frames[3].at .. ":", 1, true), text)
  end)

  -- After a power cut the mark may be old. Then what no later commit continues cannot be told from a torn write.
  it("is refused without a mark too, except in its last transaction", function()
    local disk = support.disk(1)
    local unmarked = with(image, support.MARK, nil)
    local torn = 0
    for at = 0, frames[newest].stop - 1 do
      for bit = 0, 7 do
        local found, code = look(disk, with(unmarked, support.WAL, flip(wal, at, 1 << bit)))
        local context = string.format("byte %d, bit %d: %s", at, bit, tostring(code))
        if found then
          assert.is_true(at >= commits[#commits - 1], context)
          assert.is_nil(support.difference(found, states[#states - 1]), context)
          torn = torn + 1
        else
          assert.are.equal("corrupt", code, context)
        end
      end
    end
    assert.is_true(torn > 0)
  end)

  it("is refused for any hole or cut in what was acknowledged", function()
    local disk = support.disk(1)
    local edge = frames[newest].stop
    for at = 0, edge - 1, 61 do
      for _, size in ipairs{2, 24, 512, 1500, edge} do
        local stop = math.min(at + size, #wal)
        local hole = wal:sub(1, at) .. string.rep("\0", stop - at) .. wal:sub(stop + 1)
        if hole ~= wal then
          local found, code = look(disk, with(image, support.WAL, hole))
          local context = string.format("%d zeros at %d", size, at)
          if found then
            -- The zeros fell on zeros within what was acknowledged.
            assert.are.equal(wal:sub(1, edge), hole:sub(1, edge), context)
          else
            assert.are.equal("corrupt", code, context)
          end
        end
      end
      local _, code = look(disk, with(image, support.WAL, wal:sub(1, at)))
      assert.are.equal("corrupt", code, "cut at " .. at)
    end
  end)

  it("is refused when it is missing, or older than what was acknowledged", function()
    local disk = support.disk(3)
    local _, code, text = look(disk, with(image, support.WAL, nil))
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find("missing", 1, true))
    _, code, text = look(disk, with(image, support.DATABASE, nil))
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find(support.DATABASE, 1, true))
    _, code = look(disk, with(image, support.DATABASE, ""))
    assert.are.equal("corrupt", code)

    local s = assert(support.open(disk, {folder = "/data/n2"}))
    assert(s:persist{{hard_state = {term = 1, vote = ""}}})
    s:close()
    local another = disk:image()["/data/n2/moonclave.db-wal"]
    _, code, text = look(disk, with(image, support.WAL, another))
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find("older", 1, true))
  end)

  it("with a damaged mark is believed as far as its own checksums go", function()
    local disk = support.disk(1)
    local mark = image[support.MARK]
    for at = 0, #mark - 1 do
      local found, code = look(disk, with(image, support.MARK, flip(mark, at, 1 << at % 8)))
      assert(found, tostring(code))
      assert.is_nil(support.difference(found, last))
    end
  end)
end)

describe("a damaged database file", function()
  -- Everything is in the database file after a clean close; the WAL may then go.
  local function checkpointed()
    local disk = support.disk(11)
    local done, s = support.play(disk, support.story())
    local state = support.story()[done].state
    for _, size in ipairs{400, 10, 30, 1200, 50} do
      local writes = {{entries = support.entries(state, 5, {size, 7})}}
      assert(s:persist(writes))
      state = support.after(state, writes)
    end
    s:close()
    local image = disk:image()
    image[support.WAL] = nil
    return image, state
  end

  it("is refused, or has everything and goes on, for a flip of any byte", function()
    local image, state = checkpointed()
    local bytes = image[support.DATABASE]
    local disk = support.disk(1)
    local refused, intact = {}, 0
    local writes = {{hard_state = {term = 8, vote = "n1"}, entries = support.entries(state, 8, {2500, 600, 1})}}
    local after = support.after(state, writes)
    for at = 0, #bytes - 1 do
      disk:restore(with(image, support.DATABASE, flip(bytes, at, 1 << at % 8)))
      local context = "byte " .. at
      local s, code, text = support.open(disk)
      if s then
        support.assert_one_of(s, context, state)
        local ok, why, what = s:persist(writes)
        assert(ok, context .. ": " .. tostring(why) .. " " .. tostring(what))
        s:close()
        s, code, text = support.open(disk)
        assert(s, context .. ", later: " .. tostring(code) .. " " .. tostring(text))
        support.assert_one_of(s, context, after)
        s:close()
        intact = intact + 1
      else
        assert.is_true(code == "corrupt" or code == "version", context .. ": " .. code .. " " .. text)
        assert.is_truthy(text:find(support.DATABASE, 1, true), text)
        assert.is_nil(text:find("\n", 1, true), text)
        refused[code] = (refused[code] or 0) + 1
      end
    end
    assert.is_true(refused.corrupt > 1000 and intact > 100)
    -- An entry's version byte, the file's format and its magic say "another version", which damage may imitate.
    assert.is_true(refused.version < refused.corrupt / 10)
  end)

  it("names the entry", function()
    local image, state = checkpointed()
    local chain = string.pack("<i8", state.log[3].chain)
    local bytes, at = image[support.DATABASE], 0
    while true do -- copies in pages that are free by now too
      at = bytes:find(chain, at + 1, true)
      if not at then break end
      bytes = flip(bytes, at, 4)
    end
    local _, code, text = look(support.disk(1), with(image, support.DATABASE, bytes))
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find("entry 3", 1, true), text)
  end)

  it("is found when an entry is read later, and the store stops", function()
    local disk = support.disk(4)
    local s = assert(support.open(disk))
    local state = support.blank()
    for _ = 1, 100 do -- 4 MB: more than SQLite keeps in memory
      local writes = {{entries = support.entries(state, 1, {40000})}}
      assert(s:persist(writes))
      state = support.after(state, writes)
      assert(s:tidy())
    end
    assert.are.equal(100, #assert(s:read(1, 100)))
    local bytes = disk:image()[support.DATABASE]
    local at = bytes:find(string.pack("<i8", state.log[5].chain), 1, true)
    disk:write(support.DATABASE, flip(bytes, at, 4))
    local entries, code, text = s:read(1, 100)
    assert.is_nil(entries)
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find("entry 5", 1, true), text)
    local ok, again = s:persist{{hard_state = {term = 2, vote = ""}}}
    assert.is_nil(ok)
    assert.are.equal("corrupt", again)
    s:close()
  end)
end)
