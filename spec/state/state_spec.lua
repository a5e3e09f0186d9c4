local state = require "moonclave.state"
local model = require "state.model"

local function in_transaction(tree, change)
  tree:begin()
  change(tree:root())
  tree:commit()
end

local function tree_of(plain)
  local tree = state.new()
  tree:begin()
  assert(tree:put_root(plain))
  tree:commit()
  return tree
end

local function keys_of(table, range)
  local keys = {}
  for key in table:scan(range) do keys[#keys + 1] = key end
  return keys
end

local function walk(table, path)
  for _, key in ipairs(path) do table = table:get(key) end
  return table
end

local function same_scalar(expected, value)
  if expected ~= expected then return value ~= value end
  return expected == value and math.type(expected) == math.type(value)
end

-- The tree against the model: order, count, length, every value.
local function assert_same(table, node)
  local keys = model.keys(node)
  assert.equal(#keys, table:count())
  assert.equal(model.length(node), table:length())
  local at = 0
  for key, value in table:scan() do
    at = at + 1
    local expected = node.values[key]
    if keys[at] ~= key then error(("key %d is %s, not %s"):format(at, key, keys[at])) end
    if model.is_node(expected) then
      assert_same(value, expected)
    elseif not same_scalar(expected, value) then
      error(("%s is %s, not %s"):format(key, value, expected))
    end
  end
  assert.equal(#keys, at)
end

describe("the state tree", function()
  it("keeps every plain value as it was put", function()
    local tree = state.new()
    local values = { true, false, 0, -1, math.maxinteger, math.mininteger, 1.0, -0.0, 1e300, "", "text", "\0\255",
      ("x"):rep(70000) }
    in_transaction(tree, function(root)
      for i, value in ipairs(values) do root:put("k" .. i, value) end
    end)
    for i, value in ipairs(values) do
      local got = tree:root():get("k" .. i)
      assert.equal(value, got)
      assert.equal(math.type(value), math.type(got))
    end
    assert.equal("-0.0", tostring(tree:root():get "k8"))
    assert.is_nil(tree:root():get "k0")
  end)

  it("orders integers ascending, then strings bytewise", function()
    local tree = state.new()
    local keys = { math.mininteger, -5, 0, 1, 2, 3, 7, math.maxinteger, "", "\0", "A", "a", "a\0", "aa", "b", "\255" }
    in_transaction(tree, function(root)
      for i = #keys, 1, -1 do root:put(keys[i], i) end
    end)
    assert.same(keys, keys_of(tree:root()))
    local backward = {}
    for i = #keys, 1, -1 do backward[#backward + 1] = keys[i] end
    assert.same(backward, keys_of(tree:root(), { reverse = true }))
  end)

  it("counts 1..n without gaps, whatever the history", function()
    local tree = state.new()
    in_transaction(tree, function(root)
      for _, key in ipairs { 3, 2, 5, 4, 10 } do root:put(key, true) end
      assert.equal(0, root:length())
      root:put(1, true)
      assert.equal(5, root:length())
      root:put(3, nil)
      assert.equal(2, root:length())
      assert.equal(5, root:count())
      root:put(3, true)
      assert.equal(5, root:length())
      root:put(5, nil)
      assert.equal(4, root:length())
    end)
  end)

  it("scans ranges and prefixes, both ways, both ends included", function()
    local tree = state.new()
    in_transaction(tree, function(root)
      for i = -2, 4 do root:put(i, true) end
      for _, key in ipairs { "a", "ab", "ab\255", "abc", "ac", "b", "\255", "\255\255",
        "\255\255x" } do root:put(key, true) end
    end)
    local root = tree:root()
    assert.same({ 0, 1, 2 }, keys_of(root, { from = 0, to = 2 }))
    assert.same({ 2, 1, 0 }, keys_of(root, { from = 0, to = 2, reverse = true }))
    assert.same({ 4, "a", "ab" }, keys_of(root, { from = 4, to = "ab" }))
    assert.same({ "ab", "abc", "ab\255" }, keys_of(root, { prefix = "ab" }))
    assert.same({ "ab\255", "abc", "ab" }, keys_of(root, { prefix = "ab", reverse = true }))
    assert.same({ "abc", "ab\255" }, keys_of(root, { prefix = "ab", from = "abb" }))
    assert.same({ "abc", "ab" }, keys_of(root, { prefix = "ab", to = "abc", reverse = true }))
    assert.same({ "\255", "\255\255", "\255\255x" }, keys_of(root, { prefix = "\255" }))
    assert.same({ "\255\255x", "\255\255" }, keys_of(root, { prefix = "\255\255", reverse = true }))
    assert.same({}, keys_of(root, { prefix = "abd" }))
    assert.same({}, keys_of(root, { from = "x", to = "y" }))
    assert.same({ "a" }, keys_of(root, { from = 5, to = "a", reverse = true }))
    assert.same({ -2 }, keys_of(root, { to = -2 }))
  end)

  it("lets a table change under a cursor: what is ahead is seen as it then is", function()
    local tree = state.new()
    local seen = {}
    in_transaction(tree, function(root)
      for i = 1, 200 do root:put(("k%03d"):format(i), i) end
      for key, value in root:scan() do
        seen[#seen + 1] = value
        root:put(key, nil)
        if value % 10 == 0 then root:put(("k%03d"):format(value + 1), nil) end
        if value == 100 then root:put("k150x", 1000) end
      end
      assert.equal(0, root:count())
    end)
    local expected = {}
    for i = 1, 200 do
      if i == 1 or (i - 1) % 10 ~= 0 then expected[#expected + 1] = i end
      if i == 150 then expected[#expected + 1] = 1000 end
    end
    assert.same(expected, seen)
  end)

  it("holds a handle to a deleted table to be dead, and those within it", function()
    local tree = tree_of { a = { b = { c = 1 } }, d = { 1 } }
    local a = tree:root():get "a"
    local b = a:get "b"
    tree:begin()
    tree:root():put("a", 1)
    assert.is_false(a:alive())
    assert.is_false(b:alive())
    assert.is_true(tree:root():get("d"):alive())
    tree:rollback()
    assert.is_true(a:alive())
    assert.is_true(b:alive())
    assert.equal(1, b:get "c")
    in_transaction(tree, function(root) root:put("a", nil) end)
    assert.is_false(a:alive())
    assert.is_false(b:alive())
    assert.equal(0, b:count())
    assert.has_error(function() b:put("c", 1) end)
  end)

  it("does not confuse a table with another put in its place", function()
    local tree = tree_of { a = { n = 1 } }
    local old = tree:root():get "a"
    in_transaction(tree, function(root) root:put("a", { n = 2 }) end)
    assert.is_false(old:alive())
    assert.equal(2, tree:root():get("a"):get "n")
  end)

  it("refuses to nest deeper than the limit, where it is assigned", function()
    local function nest(levels)
      local value = {}
      for _ = 2, levels do value = { value } end
      return value
    end
    local tree = state.new()
    tree:begin()
    assert.is_true(tree:root():put("x", nest(state.depth_max - 1)))
    local hash = tree:hash()
    assert.is_false(tree:root():put("y", nest(state.depth_max)))
    assert.is_nil(tree:root():get "y")
    assert.equal(hash, tree:hash())
    local deep = tree:root():get "x"
    while deep:get(1) do deep = deep:get(1) end
    assert.equal(state.depth_max, deep:depth())
    assert.is_false(deep:put(1, {}))
    assert.is_nil(deep:make(1))
    assert.is_true(deep:put(1, "a scalar"))
    tree:commit()
  end)

  it("encodes canonically: arrays, maps, kinds of empty tables", function()
    local function bytes(plain)
      return tree_of(plain):encode()
    end
    assert.equal("\x90", bytes {})
    assert.equal("\x80", bytes(state.object {}))
    assert.equal("\x93\x01\x02\x03", bytes { 1, 2, 3 })
    assert.equal("\x82\x01\xc3\x03\xc2", bytes { [1] = true, [3] = false })
    assert.equal("\x83\xff\x01\x05\x02\xa1a\x03", bytes { [-1] = 1, [5] = 2, a = 3 })
    assert.equal("\x81\xa1f\xcb\x3f\xf0\0\0\0\0\0\0", bytes { f = 1.0 })
    assert.equal("\x81\xa1n\xcb\x7f\xf8\0\0\0\0\0\0", bytes { n = -(0 / 0) })
    assert.equal("\x81\xa1b\xc4\x01\xff", bytes { b = "\255" })
  end)

  it("lets an emptied table keep the kind it had", function()
    local tree = tree_of { map = { a = 1 }, list = { 1 } }
    in_transaction(tree, function(root)
      root:get("map"):put("a", nil)
      root:get("list"):put(1, nil)
    end)
    assert.equal("\x82\xa4list\x90\xa3map\x80", tree:encode())
    local again = state.new()
    again:begin()
    again:decode(tree:encode())
    again:commit()
    assert.equal(tree:hash(), again:hash())
  end)

  it("gives a rolled back empty table its kind again", function()
    local tree = tree_of { map = {} }
    local hash, bytes = tree:hash(), tree:encode()
    tree:begin()
    tree:root():get("map"):put("a", 1)
    tree:rollback()
    assert.equal(bytes, tree:encode())
    assert.equal(hash, tree:hash())
  end)

  it("hashes what is there: different trees differ, equal trees are equal", function()
    local seen = {}
    local different = {
      {}, state.object {}, { 1 }, { 1.0 }, { "1" }, { true }, { false }, { a = 1 }, { b = 1 }, { a = { 1 } },
      { a = {} },
      { a = state.object {} }, { a = { a = 1 } }, { a = 1, b = 2 }, { a = 2, b = 1 }, { [0] = 1 }, { [-1] = 1 },
      { ["1"] = 1 },
      { { 1 }, { 2 } }, { { 2 }, { 1 } }, { "" }, { a = { b = { c = 1 } } }, { a = { c = { b = 1 } } }, { 0.0 },
      { -0.0 },
    }
    for i, plain in ipairs(different) do
      local hash = tree_of(plain):hash()
      assert.is_nil(seen[hash], ("%d and %d hash alike"):format(i, seen[hash] or 0))
      seen[hash] = i
    end
    assert.equal(tree_of({ 0 / 0 }):hash(), tree_of({ -(0 / 0) }):hash())
  end)

  it("counts work as bytes written, the same for the same change", function()
    local tree = state.new()
    tree:begin()
    tree:root():put("key", "value")
    assert.equal(32 + 3 + 5, tree:written())
    tree:root():put("t", { a = "bc" })
    assert.equal(40 + 32 + 1 + 32 + 1 + 2, tree:written())
    tree:commit()
    tree:begin()
    assert.equal(0, tree:written())
    tree:commit()
  end)

  it("permutes a list and its tables keep their identity", function()
    local tree = tree_of { list = { { n = 1 }, { n = 2 }, { n = 3 }, "x" } }
    local hash = tree:hash()
    local second = tree:root():get("list"):get(2)
    tree:begin()
    tree:root():get("list"):permute { 2, 3, 1 }
    assert.is_true(second:alive())
    assert.equal(2, tree:root():get("list"):get(1):get "n")
    assert.equal(tree_of({ list = { { n = 2 }, { n = 3 }, { n = 1 }, "x" } }):hash(), tree:hash())
    second:put("n", 20)
    tree:rollback()
    assert.equal(hash, tree:hash())
    assert.equal(2, second:get "n")
    in_transaction(tree, function(root) root:get("list"):permute { 2, 3, 1 } end)
    assert.equal(tree_of({ list = { { n = 2 }, { n = 3 }, { n = 1 }, "x" } }):hash(), tree:hash())
  end)

  it("refuses bytes that are no plain table", function()
    local tree = state.new()
    tree:begin()
    for bytes, reason in pairs {
      ["\x01"] = "bad_request: not a msgpack array or map",
      ["\x91"] = "bad_request: malformed msgpack",
      ["\x90\x90"] = "bad_request: bytes behind the value",
      ["\x81\x90\x01"] = "bad_request: a key is neither a string nor an integer",
      ["\x91\xcf\xff\xff\xff\xff\xff\xff\xff\xff"] = "bad_request: an integer above 2^63 - 1",
      [("\x91"):rep(25) .. "\x01"] = "too_large: tables within tables deeper than 24",
      ["\xdd\xff\xff\xff\xff"] = "bad_request: malformed msgpack",
    } do
      local done, why = tree:decode(bytes)
      assert.is_nil(done)
      assert.equal(reason, why)
    end
    assert.is_true(tree:decode(("\x91"):rep(24) .. "\x01"))
    tree:rollback()
    assert.equal("\x90", tree:encode())
  end)
end)

describe("against the model", function()
  local function random_key(few)
    local kind = math.random(4)
    if kind == 1 then return math.random(-3, 12) end
    if kind == 2 then return math.random(few) end
    if kind == 3 then return ("user/%05d"):format(math.random(few)) end
    return string.char(math.random(97, 122)):rep(math.random(0, 3)) .. (math.random(3) == 1 and "\0" or "")
  end

  local scalars = {
    function() return math.random(1000) end,
    function() return math.random() end,
    function() return ("v"):rep(math.random(0, 40)) end,
    function() return math.random(2) == 1 end,
    function() return 0 / 0 end,
    function() return math.random(0) end,
  }

  local function random_value(depth)
    if depth < 4 and math.random(6) == 1 then
      local node = model.node(math.random(2) == 1)
      for _ = 1, math.random(0, 5) do node.values[random_key(20)] = random_value(depth + 1) end
      if next(node.values) then node.object = false end
      return node
    end
    return scalars[math.random(#scalars)]()
  end

  local function random_change(tree, world, few)
    local places = model.nodes(world)
    local place = places[math.random(#places)]
    local table = walk(tree:root(), place.path)
    local length = model.length(place.node)
    if length > 1 and math.random(8) == 1 then
      local from, moved = {}, {}
      for i = 1, length do from[i] = i end
      for i = length, 2, -1 do
        local j = math.random(i)
        from[i], from[j] = from[j], from[i]
      end
      for i = 1, length do moved[i] = place.node.values[from[i]] end
      for i = 1, length do place.node.values[i] = moved[i] end
      table:permute(from)
      return
    end
    local key = random_key(few)
    if math.random(3) == 1 then
      table:put(key, nil)
      model.put(place.node, key, nil)
      return
    end
    local value = random_value(#place.path + 1)
    if model.is_node(value) then
      assert(table:put(key, model.plain(value, state.object)))
    else
      table:put(key, value)
    end
    model.put(place.node, key, value)
  end

  local function check(tree, world)
    assert_same(tree:root(), world)
    local fresh = tree_of(model.plain(world, state.object))
    assert.equal(fresh:encode(), tree:encode())
    assert.equal(fresh:hash(), tree:hash())
    local restored = state.new()
    restored:begin()
    assert(restored:decode(tree:encode()))
    restored:commit()
    assert.equal(tree:hash(), restored:hash())
    assert.equal(tree:encode(), restored:encode())
  end

  it("does what the model does, through commits and rollbacks", function()
    for seed = 1, 40 do
      math.randomseed(seed)
      local few = ({ 5, 30, 300 })[seed % 3 + 1]
      local tree, world = state.new(), model.node()
      for _ = 1, 30 do
        local before, bytes, hash = model.copy(world), tree:encode(), tree:hash()
        tree:begin()
        for _ = 1, math.random(1, 20) do random_change(tree, world, few) end
        if math.random(3) == 1 then
          tree:rollback()
          world = before
          assert.equal(bytes, tree:encode())
          assert.equal(hash, tree:hash())
        else
          tree:commit()
        end
      end
      check(tree, world)
    end
  end)

  it("stays in order while a large table grows and shrinks", function()
    for seed, shape in ipairs { "user/account/%06d", "%06d", "%d" } do
      math.randomseed(seed)
      local tree, world = state.new(), model.node()
      for round = 1, 6 do
        tree:begin()
        local root = tree:root()
        for _ = 1, 3000 do
          local key = shape:format(math.random(4000))
          if shape == "%d" then key = math.tointeger(key) * 1000003 end
          local value = round % 2 == 0 and math.random(4) > 1 and nil or math.random(100)
          if round % 2 == 0 and math.random(4) > 1 then value = nil end
          root:put(key, value)
          model.put(world, key, value)
        end
        tree:commit()
        check(tree, world)
      end
      in_transaction(tree, function(root)
        for _, key in ipairs(model.keys(world)) do root:put(key, nil) end
        assert.equal(0, root:count())
      end)
      assert.equal("\x80", tree:encode())
    end
  end)

  it("finds every string of a large table at every moment of its growth, removed ones never", function()
    math.randomseed(5)
    local tree, there, names = state.new(), {}, {}
    tree:begin()
    local root = tree:root()
    for i = 1, 20000 do
      local name = "key " .. i
      root:put(name, i)
      there[name], names[#names + 1] = i, name
      if i % 3 == 0 then -- also among those that growth has not come to yet
        local at = math.random(#names)
        local gone = names[at]
        names[at], names[#names] = names[#names], nil
        root:put(gone, nil)
        there[gone] = nil
        if root:get(gone) ~= nil then error(gone .. " is still there") end
        if math.random(4) == 1 then
          root:put(gone, -i)
          there[gone], names[#names + 1] = -i, gone
        end
      end
      for _ = 1, 2 do
        local name_now = "key " .. math.random(i)
        if root:get(name_now) ~= there[name_now] then error(name_now .. " is not as it was put") end
      end
    end
    for i = 1, 20000 do assert.equal(there["key " .. i], root:get("key " .. i)) end
    tree:commit()
  end)

  it("has the same hash whatever the order of the changes", function()
    local keys = {}
    for i = 1, 500 do keys[i] = i % 2 == 0 and i or "k" .. i end
    local hash
    for seed = 1, 5 do
      math.randomseed(seed)
      for i = #keys, 2, -1 do
        local j = math.random(i)
        keys[i], keys[j] = keys[j], keys[i]
      end
      local tree = state.new()
      in_transaction(tree, function(root)
        for _, key in ipairs(keys) do
          root:put(key, "first")
          root:put(key, { key })
        end
        root:put("gone", 1)
        root:put("gone", nil)
      end)
      hash = hash or tree:hash()
      assert.equal(hash, tree:hash())
    end
  end)
end)
