-- A snapshot written in steps while the tree changes has the bytes of its beginning; bytes in any pieces become that
-- tree.
local state = require "moonclave.state"
local base = require "moonclave.base"

local function chance(percent) return math.random(100) <= percent end

local function random_key(few)
  local kind = math.random(5)
  if kind == 1 then return math.random(-3, 12) end
  if kind == 2 then return math.random(few) end
  if kind == 3 then return math.random(few) * 1000003 end
  if kind == 4 then return ("user/%05d"):format(math.random(few)) end
  return string.char(math.random(97, 122)):rep(math.random(0, 3)) .. (chance(30) and "\0" or "")
end

local function random_value(few, depth)
  local kind = math.random(8)
  if kind == 1 and depth < 5 then
    local made = {}
    for _ = 1, math.random(0, 6) do made[random_key(few)] = random_value(few, depth + 1) end
    if next(made) == nil and chance(50) then return state.object {} end
    return made
  end
  if kind == 2 and depth < 5 then
    local list = {}
    for i = 1, math.random(0, 8) do list[i] = random_value(few, depth + 1) end
    return list
  end
  if kind == 3 then return math.random() end
  if kind == 4 then return chance(50) end
  if kind == 5 then return ("\xff"):rep(math.random(0, 3)) end
  if kind == 6 then return math.random(0) end
  return ("v"):rep(math.random(0, 40))
end

-- Some table of the tree, and how deep it is.
local function random_table(tree)
  local at = tree:root()
  for _ = 1, math.random(0, 4) do
    local inner = {}
    for _, value in at:scan() do
      if type(value) == "userdata" then inner[#inner + 1] = value end
    end
    if #inner == 0 then return at end
    at = inner[math.random(#inner)]
  end
  return at
end

local function shuffle(table)
  local from = {}
  for i = 1, table:length() do from[i] = i end
  for i = #from, 2, -1 do
    local j = math.random(i)
    from[i], from[j] = from[j], from[i]
  end
  table:permute(from)
end

local function change(tree, few)
  local table = random_table(tree)
  if table:length() > 1 and chance(15) then return shuffle(table) end
  if chance(1) then
    tree:put_root { [random_key(few)] = random_value(few, 2), list = { 1, { 2 }, 3 } }
    return
  end
  if chance(30) then
    local keys = {}
    for key in table:scan() do keys[#keys + 1] = key end
    if #keys > 0 then table:put(keys[math.random(#keys)], nil) end
    return
  end
  table:put(random_key(few), random_value(few, table:depth()))
end

local function transaction(tree, few, most)
  tree:begin()
  for _ = 1, math.random(most) do change(tree, few) end
  if chance(25) then tree:rollback() else tree:commit() end
end

local function restored(bytes, hash, piece)
  local restore, tree, at = state.restore(), state.new(), 1
  while at <= #bytes do
    local size = piece()
    assert(restore:feed(bytes:sub(at, at + size - 1)))
    at = at + size
  end
  assert(restore:finish(hash, tree))
  return tree
end

describe("a snapshot", function()
  it("has the bytes of the tree at its beginning, whatever changes while it is written", function()
    local saved, most = 0, 0
    for seed = 1, tonumber(os.getenv "MOONCLAVE_STATE_SEEDS") or 300 do
      math.randomseed(seed)
      local few = ({ 5, 30, 200 })[seed % 3 + 1]
      local tree = state.new()
      for _ = 1, math.random(30) do transaction(tree, few, 20) end
      for _ = 1, 2 do
        local wanted, hash = tree:encode(), tree:hash()
        local snapshot, pieces, more = tree:snapshot(), {}, true
        assert.equal(hash, snapshot:hash())
        while more do
          local bytes
          if chance(70) then transaction(tree, few, 12) end
          bytes, more = snapshot:step(math.random(1, 200))
          pieces[#pieces + 1] = bytes
          saved, most = saved + snapshot:saved(), math.max(most, snapshot:saved())
        end
        assert.equal(0, snapshot:saved())
        local found = table.concat(pieces)
        assert(found == wanted, ("seed %d: %d bytes, not %d"):format(seed, #found, #wanted))
        snapshot:finish()
        -- The tree itself is as if nothing had been written.
        local copy = state.new()
        copy:begin()
        assert(copy:decode(tree:encode()))
        copy:commit()
        assert.equal(copy:hash(), tree:hash())
        copy = restored(found, hash, function() return math.random(50) end)
        assert.equal(wanted, copy:encode())
      end
    end
    assert(saved > 10000, saved)
  end)

  it("may be given up at any moment", function()
    for seed = 1, 60 do
      math.randomseed(seed)
      local tree = state.new()
      for _ = 1, 10 do transaction(tree, 30, 20) end
      local snapshot = tree:snapshot()
      for _ = 1, math.random(0, 8) do
        snapshot:step(math.random(50))
        transaction(tree, 30, 20)
      end
      if chance(20) then
        tree:begin()
        change(tree, 30)
      end
      if seed % 2 == 0 then snapshot:finish() end -- else with the tree, or after it
    end
    collectgarbage()
  end)

  it("writes long strings in pieces, though they change or go in the meantime", function()
    local good, bad = ("é€x"):rep(40000), ("é€x"):rep(40000) .. "\xff"
    local late = ("y"):rep(65535) .. "é" .. ("y"):rep(65536)
    for _, ending in ipairs { "keep", "replace", "delete", "delete table", "replace ahead", "rollback" } do
      local tree = state.new()
      tree:begin()
      tree:root():put("a", { good, bad, late, ("\x80"):rep(200000) })
      tree:root():put("b", bad)
      tree:commit()
      local wanted, snapshot, pieces, more, steps = tree:encode(), tree:snapshot(), {}, true, 0
      while more do
        pieces[#pieces + 1], more = snapshot:step(60000)
        steps = steps + 1
        assert(#pieces[#pieces] <= 65536 + 64, #pieces[#pieces])
        tree:begin()
        local a = tree:root():get "a"
        if a and ending == "replace" then a:put(steps % 4 + 1, "new") end
        if a and ending == "delete" then a:put(a:length(), nil) end
        if ending == "delete table" and steps == 5 then tree:root():put("a", nil) end
        if ending == "replace ahead" then tree:root():put("b", steps) end
        if a and ending == "rollback" then
          a:put(1, "new")
          tree:root():put("a", nil)
          tree:rollback()
        else
          tree:commit()
        end
      end
      assert(table.concat(pieces) == wanted, ending)
      assert(steps > 10)
      snapshot:finish()
    end
  end)

  it("holds a step to its work", function()
    local tree = state.new()
    tree:begin()
    for i = 1, 2000 do tree:root():put("key" .. i, { i, tostring(i) }) end
    tree:commit()
    local snapshot, more = tree:snapshot(), true
    while more do
      local bytes
      bytes, more = snapshot:step(1000)
      assert(#bytes <= 1100, #bytes)
      tree:begin()
      for i = 1, 20 do tree:root():put("key" .. math.random(3000), i) end
      tree:commit()
    end
    snapshot:finish()
  end)
end)

describe("a restore", function()
  local function refused(bytes, hash)
    for _, size in ipairs { 1, 3, #bytes + 1 } do
      local restore, tree, why = state.restore(), state.new(), nil
      local empty = tree:hash()
      for at = 1, #bytes, size do
        local ok, said = restore:feed(bytes:sub(at, at + size - 1))
        if not ok then
          why = said
          assert.same({ nil, why }, { restore:feed "\xc0" }) -- it stays refused
          break
        end
      end
      local ok, at_last = restore:finish(hash or 0, tree)
      assert.is_nil(ok)
      why = why or at_last
      assert.matches("^corrupt: the state's bytes: ", why)
      assert.equal(empty, tree:hash())
      if size > #bytes then return why end
    end
  end

  it("takes pieces of any size, and none that is empty amiss", function()
    local tree = state.new()
    tree:begin()
    tree:root():put("list", { 1, 2.5, "three", { true, false }, {} })
    tree:root():put(7, state.object {})
    tree:root():put(-5, ("long"):rep(100))
    tree:commit()
    local bytes = tree:encode()
    for size = 1, #bytes + 1 do
      local copy = restored(bytes, tree:hash(), function() return size end)
      assert.equal(bytes, copy:encode())
      -- and it goes on as the one that was written would
      for _, one in ipairs { copy, tree } do
        one:begin()
        one:root():put(7, 1)
        one:root():get "list":put(2, nil)
      end
      assert.equal(tree:hash(), copy:hash())
      tree:rollback()
      copy:commit()
    end
    local restore = state.restore()
    assert(restore:feed "")
    assert(restore:feed "\x90")
    assert(restore:feed "")
    assert(restore:finish(state.new():hash(), state.new()))
  end)

  it("replaces what was there; pointers into that are dead", function()
    local tree, other = state.new(), state.new()
    tree:begin()
    tree:root():put("old", { 1 })
    tree:commit()
    local old, root = tree:root():get "old", tree:root()
    other:begin()
    other:root():put("new", { 2 })
    other:commit()
    local restore = state.restore()
    assert(restore:feed(other:encode()))
    assert(restore:finish(other:hash(), tree))
    assert.equal(other:encode(), tree:encode())
    assert.is_true(tree:root():get "new":alive())
    assert.is_false(old:alive())
    assert.is_false(root:alive())
    restore:free()
    assert.is_false(old:alive())
    tree:begin()
    tree:root():get "new":put(2, "more")
    tree:commit()
  end)

  it("refuses what no tree has written", function()
    for what, cases in pairs {
      ["not a tree"] = { "\xc3", "\x01", "\xa1x" },
      ["malformed msgpack"] = { "\xc1", "\x91\xc1", "\xd4\1\2", "\x81\xa1a\xc7\0\0" },
      ["out of order"] = { "\x82\xa1b\1\xa1a\1", "\x82\xa1a\1\xa1a\1", "\x82\xa1a\1\1\1", "\x82\2\1\1\1",
        "\x82\2\1\2\1" },
      ["neither a string nor an integer"] = { "\x81\xc3\1", "\x81\xc0\1", "\x81\x90\1",
        "\x81\xcb\0\0\0\0\0\0\0\0\1", "\x81\xcf\xff\xff\xff\xff\xff\xff\xff\xff\1" },
      ["nil, or an integer above"] = { "\x91\xc0", "\x81\xa1a\xc0", "\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff" },
      ["too deep"] = { ("\x91"):rep(25), ("\x91"):rep(100000) },
      ["ends in the middle"] = { "", "\x91", "\x82\xa1a\1", "\x81\xa1a", "\x91\xa5abc", "\xdd\xff\xff\xff\xff",
        "\xdf\xff\xff\xff\xff", "\x91\xdb\xff\xff\xff\xff" },
      ["hash is another"] = { "\x90", "\x91\1", "\x80" },
    } do
      for _, bytes in ipairs(cases) do assert.matches(what, refused(bytes), 1, true) end
    end
  end)

  it("says where the tree ends, and leaves what is behind it", function()
    for bytes, own in pairs { ["\x90\1"] = 1, ["\x91\1\1"] = 2, ["\x90\x90"] = 1, ["\x91\xa3abc"] = 5 } do
      for size = 1, #bytes do
        local restore, taken = state.restore(), 0
        for at = 1, #bytes, size do
          local ok, used = restore:feed(bytes:sub(at, at + size - 1))
          assert.is_true(ok)
          taken = taken + used
        end
        assert.equal(own, taken)
      end
    end
  end)

  it("shows every damaged bit, and survives anything", function()
    math.randomseed(9)
    local tree = state.new()
    for _ = 1, 8 do transaction(tree, 20, 20) end
    local bytes, hash = tree:encode(), tree:hash()
    for _, changed in require "support.bytes".flips(bytes) do
      local restore = state.restore()
      if restore:feed(changed) then assert.is_nil((restore:finish(hash, state.new()))) end
    end
    for seed = 1, 3000 do
      local random = base.random(seed, 60, 256)
      local hostile = string.char(0x80 + random[1] % 32, table.unpack(random, 2, 60))
      local restore = state.restore()
      for at = 1, #hostile, 7 do
        if not restore:feed(hostile:sub(at, at + 6)) then break end
      end
      restore:finish(0, state.new())
    end
  end)
end)
