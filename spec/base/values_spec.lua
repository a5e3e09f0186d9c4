-- Values between folders are msgpack in canonical form: equal values give equal bytes, and foreign bytes are walked
-- against limits before anyone believes them.
local base = require "moonclave.base"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local function packed(value) return hex(base.pack(value)) end

describe("writing values", function()
  -- name, value, bytes: frozen. They are on disks and in chains of hashes.
  local golden = {
    { "nil", base.null, "c0" },
    { "false", false, "c2" },
    { "true", true, "c3" },
    { "0", 0, "00" },
    { "127", 127, "7f" },
    { "128", 128, "cc80" },
    { "255", 255, "ccff" },
    { "256", 256, "cd0100" },
    { "65535", 65535, "cdffff" },
    { "65536", 65536, "ce00010000" },
    { "2^32 - 1", 0xffffffff, "ceffffffff" },
    { "2^32", 0x100000000, "cf0000000100000000" },
    { "the greatest integer", math.maxinteger, "cf7fffffffffffffff" },
    { "-1", -1, "ff" },
    { "-32", -32, "e0" },
    { "-33", -33, "d0df" },
    { "-128", -128, "d080" },
    { "-129", -129, "d1ff7f" },
    { "-32768", -32768, "d18000" },
    { "-32769", -32769, "d2ffff7fff" },
    { "-2^31", -0x80000000, "d280000000" },
    { "-2^31 - 1", -0x80000001, "d3ffffffff7fffffff" },
    { "the least integer", math.mininteger, "d38000000000000000" },
    { "1.0 stays a float", 1.0, "cb3ff0000000000000" },
    { "0.1", 0.1, "cb3fb999999999999a" },
    { "-0.0", -0.0, "cb8000000000000000" },
    { "infinity", math.huge, "cb7ff0000000000000" },
    { "not a number", 0 / 0, "cb7ff8000000000000" },
    { "the other not a number", -(0 / 0), "cb7ff8000000000000" },
    { "an empty string", "", "a0" },
    { "a string", "kv", "a26b76" },
    { "a string of 31", ("a"):rep(31), "bf" .. ("61"):rep(31) },
    { "a string of 32", ("a"):rep(32), "d920" .. ("61"):rep(32) },
    { "a string of 256", ("a"):rep(256), "da0100" .. ("61"):rep(256) },
    { "UTF-8", "é€😀", "a9c3a9e282acf09f9880" },
    { "bytes that are no UTF-8", "\xff\x00", "c402ff00" },
    { "256 of them", ("\xff"):rep(256), "c50100" .. ("ff"):rep(256) },
    { "an empty table", {}, "90" },
    { "an empty object", base.object {}, "80" },
    { "an array", { 1, "a", false }, "9301a161c2" },
    { "an array with nil within", { 1, base.null, 2 }, "9301c002" },
    { "a map: integers ascending, then strings bytewise", { b = 1, a = 2, [10] = 3, [-1] = 4, aa = 5 },
      "85ff040a03a16102a2616105a16201" },
    { "an object with the keys of an array", base.object { "x" }, "8101a178" },
    { "nested", { { {} }, { k = { 1 } } }, "929190" .. "81a16b9101" },
  }
  for _, row in ipairs(golden) do
    it(row[1], function() assert.equal(row[3], packed(row[2])) end)
  end

  it("containers of 15, 16 and 65536 have longer and longer heads", function()
    local list = {}
    for i = 1, 65536 do list[i] = 0 end
    assert.equal("9f00", packed({ table.unpack(list, 1, 15) }):sub(1, 4))
    assert.equal("dc001000", packed({ table.unpack(list, 1, 16) }):sub(1, 8))
    assert.equal("dd0001000000", packed(list):sub(1, 12))
    assert.equal("8f0100", packed(base.object { table.unpack(list, 1, 15) }):sub(1, 6))
    assert.equal("de00100100", packed(base.object { table.unpack(list, 1, 16) }):sub(1, 10))
    assert.equal("df000100000100", packed(base.object(list)):sub(1, 14))
  end)

  it("a number above the greatest integer is written as unsigned, and read as such only", function()
    assert.equal("cfffffffffffffffff", hex(base.pack_u64(-1)))
    assert.equal("unsigned -1", base.unpack(base.pack_u64(-1)))
    assert.equal(-1, base.read_u64(base.pack_u64(-1)))
    assert.equal(5, base.read_u64(base.pack(5)))
    assert.is_nil(base.read_u64(base.pack(-5)))
    assert.is_nil(base.read_u64(base.pack("5")))
  end)
end)

-- A random value of everything there is, from a list of random numbers.
local function maker(seed)
  local numbers, at = base.random(seed, 4000), 0
  local function draw(limit)
    at = at % #numbers + 1
    return (numbers[at] & math.maxinteger) % limit
  end
  local function text()
    local parts = {}
    for i = 1, draw(12) do parts[i] = draw(4) > 0 and utf8.char(draw(0x3ff) + 1) or string.char(draw(256)) end
    return table.concat(parts)
  end
  local function value(depth)
    local kind = draw(depth > 3 and 6 or 8)
    if kind == 0 then return base.null end
    if kind == 1 then return draw(2) == 1 end
    if kind == 2 then return draw(1 << 62) >> draw(62) end
    if kind == 3 then return -(draw(1 << 62) >> draw(62)) end
    if kind == 4 then return draw(1 << 53) / (draw(1000) + 1) end
    if kind == 5 then return text() end
    local made = {}
    if kind == 6 then
      for i = 1, draw(6) do made[i] = value(depth + 1) end
    else
      base.object(made)
      for _ = 1, draw(6) do made[draw(2) == 1 and text() or draw(100) - 50] = value(depth + 1) end
    end
    return made
  end
  return value, draw
end

-- The same map with its keys put in in another order, so that Lua's own order of them differs.
local function shuffled(value, draw)
  if type(value) ~= "table" then return value end
  local keys, copy = {}, setmetatable({}, getmetatable(value))
  for key in pairs(value) do table.insert(keys, draw(#keys + 1) + 1, key) end
  for _, key in ipairs(keys) do copy[key .. "\0gone"] = true end
  for _, key in ipairs(keys) do copy[key] = shuffled(value[key], draw) end
  for _, key in ipairs(keys) do copy[key .. "\0gone"] = nil end
  return copy
end

describe("canonical form", function()
  it("values come back, and give the same bytes again, whatever the order their keys were put in", function()
    local distinct = {}
    for seed = 1, 300 do
      local value, draw = maker(seed)
      local made = { value(0), value(0), value(0) }
      local once = base.pack(made)
      local back, size = base.unpack(once)
      assert.equal(#once, size)
      assert.equal(hex(once), packed(back))
      assert.equal(hex(once), packed(shuffled(made, draw)))
      assert.is_true(base.check(once))
      distinct[once] = true
    end
    local count = 0
    for _ in pairs(distinct) do count = count + 1 end
    assert.is_true(count > 200, "the values were not various")
  end)

  it("every value ends where skip and measure say it ends, and no prefix of it is one", function()
    for seed = 400, 440 do
      local one = base.pack(maker(seed)(0))
      assert.equal(#one, base.measure(one .. "\x01\x02"))
      assert.equal(hex(one), hex(base.skip(one .. "\x01\x02")))
      for size, prefix in bytes.prefixes(one) do
        assert.equal(0, base.measure(prefix), "cut at " .. size)
        assert.is_nil(base.skip(prefix))
        local fine, code = base.check(prefix)
        assert.is_nil(fine)
        assert.equal("bad_request", code)
      end
    end
  end)

  it("a scan that gets the bytes in pieces finds the same end", function()
    for seed = 500, 560 do
      local one = base.pack(maker(seed)(0))
      for _, step in ipairs { 1, 2, 3, 7 } do
        local size, seen = base.scan(one .. ("\xc0"):rep(20), nil, step)
        assert.equal(#one, size)
        assert.is_true(seen < #one + step, "it waited for more than it needed")
      end
    end
  end)
end)

describe("reading foreign bytes", function()
  it("other forms of the same values are read too", function()
    local forms = { ["cc05"] = 5, ["cd0005"] = 5, ["d305ffffffffffffff"] = 0x05ffffffffffffff, ["d0ff"] = -1,
      ["d1ffff"] = -1, ["d2ffffffff"] = -1, ["d3ffffffffffffffff"] = -1, ["d90161"] = "a", ["da000161"] = "a",
      ["db0000000161"] = "a", ["c40161"] = "a", ["c6" .. "0000000161"] = "a", ["ca3fc00000"] = 1.5 }
    for form, value in pairs(forms) do assert.equal(value, (base.unpack(unhex(form))), form) end
    assert.same({ 1 }, (base.unpack(unhex "dd0000000101")))
    assert.same({ a = 1 }, (base.unpack(unhex "df00000001a16101")))
  end)

  it("ext types and the byte that begins nothing are refused", function()
    for _, head in ipairs { "c1", "c7", "c8", "c9", "d4", "d5", "d6", "d7", "d8" } do
      local fine, code, text = base.check(unhex(head .. ("00"):rep(20)))
      assert.is_nil(fine)
      assert.equal("bad_request", code)
      assert.matches("0x" .. head, text, 1, true)
    end
  end)

  it("bytes behind the value are refused", function()
    local fine, code, text = base.check(unhex "0101")
    assert.is_nil(fine)
    assert.equal("bad_request", code)
    assert.matches("1 bytes behind", text, 1, true)
  end)

  it("five hostile bytes are refused at their first head, whatever they claim", function()
    local limits = { elements = 1000, bytes = 10000 }
    for _, bomb in ipairs { "ddffffffff", "dfffffffff", "dbffffffff", "c6ffffffff", "dd00000400", "de0400",
      "da4000" } do
      for _, walk in ipairs { base.check, base.measure } do
        local fine, code, text = walk(unhex(bomb), limits)
        assert.is_nil(fine, bomb)
        assert.equal("too_large", code)
        assert.matches("more than", text, 1, true)
      end
      assert.is_nil(base.skip(unhex(bomb)))
    end
  end)

  it("many small containers add up against the limit on elements", function()
    local fine, code = base.check(base.pack { { 1, 2 }, { 3, 4 }, { 5 } }, { elements = 9 })
    assert.is_true(fine, code)
    fine, code = base.check(base.pack { { 1, 2 }, { 3, 4 }, { 5 } }, { elements = 8 })
    assert.is_nil(fine)
    assert.equal("too_large", code)
  end)

  it("depth is limited, and a deep bomb is not recursed into", function()
    local function nested(depth) return ("\x91"):rep(depth) .. "\x01" end
    assert.is_true(base.check(nested(24)))
    local fine, code, text = base.check(nested(25))
    assert.is_nil(fine)
    assert.equal("too_large", code)
    assert.matches("deeper than 24", text, 1, true)
    assert.is_true(base.check(nested(0), { depth = 0 }))
    assert.is_nil((base.check("\x90", { depth = 0 })))
    assert.is_nil((base.check(("\x81"):rep(3000000))))
    assert.is_nil(base.skip(("\x91"):rep(3000000)))
    assert.equal(3000001, #base.skip(("\x91"):rep(3000000) .. "\x01"))
  end)

  it("a map is asked for one key without being decoded", function()
    local map = base.pack { name = "n1", list = { 1, { 2 } }, [7] = "seven" }
    assert.equal("n1", (base.unpack(base.map_get(map, "name"))))
    assert.same({ 1, { 2 } }, (base.unpack(base.map_get(map, "list"))))
    assert.is_nil(base.map_get(map, "none"))
    assert.is_nil(base.map_get(base.pack { 1, 2 }, "name"))
    for _, prefix in bytes.prefixes(map) do assert.is_nil(base.map_get(prefix, "none")) end
  end)

  it("one turned bit anywhere is read or refused, never run past", function()
    for seed = 600, 620 do
      for _, changed in bytes.flips(base.pack(maker(seed)(0))) do
        local size = base.measure(changed)
        if size and size > 0 then
          assert.is_true(size <= #changed)
          assert.equal(size, #base.skip(changed))
        end
      end
    end
  end)

  it("the door for reading has nothing to allocate with", function()
    local build = os.getenv "MOONCLAVE_BUILD" or "build"
    local pipe = assert(io.popen("nm -u '" .. build .. "/base/mp_read.o'"))
    local symbols = pipe:read("a"):gsub("__[au][sb][%w_]+", "") -- a sanitizer's own
    pipe:close()
    assert.matches("error_set", symbols, 1, true)
    for _, name in ipairs { "alloc", "memory_", "buffer_", "msgpack" } do
      assert.is_nil(symbols:find(name, 1, true), name)
    end
  end)
end)

describe("UTF-8", function()
  local function valid(text) return base.utf8_valid(unhex(text)) end

  it("is what Unicode says it is", function()
    for _, good in ipairs { "", "00", "7f", "c280", "dfbf", "e0a080", "ed9fbf", "ee8080", "efbfbf", "f0908080",
      "f48fbfbf" } do
      assert.is_true(valid(good), good)
    end
    local bad = {
      lone = { "80", "bf" }, overlong = { "c080", "c1bf", "e08080", "e09fbf", "f0808080", "f08fbfbf" },
      surrogates = { "eda080", "edbfbf" }, beyond = { "f4908080", "f5808080", "ff" },
      cut = { "c3", "e282", "e2", "f09f98", "f09f", "f0" }, broken = { "c341", "e28241", "f09f9841", "e24182" },
    }
    for why, list in pairs(bad) do
      for _, text in ipairs(list) do assert.is_false(valid(text), why .. " " .. text) end
    end
  end)

  it("agrees with Lua on every code point, and at every place in a long string", function()
    for _, point in ipairs { 0, 0x7f, 0x80, 0x7ff, 0x800, 0xd7ff, 0xe000, 0xffff, 0x10000, 0x10ffff } do
      assert.is_true(base.utf8_valid(utf8.char(point)))
    end
    for at = 0, 40 do
      local ascii = ("a"):rep(at)
      assert.is_true(base.utf8_valid(ascii .. "é" .. ("b"):rep(40 - at)))
      assert.is_false(base.utf8_valid(ascii .. "\xff" .. ("b"):rep(40 - at)))
    end
    local random = base.random(7, 2000, 256)
    for i = 1, 2000 - 4 do
      local text = string.char(random[i], random[i + 1], random[i + 2])
      assert.equal(utf8.len(text) ~= nil, base.utf8_valid(text), hex(text))
    end
  end)
end)
