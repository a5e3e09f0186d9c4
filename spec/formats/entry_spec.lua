-- An entry's bytes are the same on disk, on the wire and for the hash chain: frozen. What fails here fails on people's
-- disks.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local TYPES = { [0] = "noop", "configuration", "init", "deploy", "command", "session", "settings", "skip", "restore" }

local function entry_of(type, payload, session, sequence)
  return { type = type, flags = 0, term = 3, index = 41 + type, time_ms = 1700000000000 + type,
    seed = 0x0123456789abcdef, session = session or 0, sequence = sequence or 0, chain = 0x1122334455667788,
    payload = payload or "" }
end

-- version, type, flags, payload size | term | index | time_ms | seed | session | sequence | chain | checksum | payload
local golden = {
  { entry_of(0), [[01 00 0000 00000000 0300000000000000 2900000000000000 0068e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 465ad2d409c16cbe]] },
  { entry_of(1, "cfg"), [[01 01 0000 03000000 0300000000000000 2a00000000000000 0168e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 c5ea5fffed29c663 636667]] },
  { entry_of(2, "init"), [[01 02 0000 04000000 0300000000000000 2b00000000000000 0268e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 0e738c007ea91d1f 696e6974]] },
  { entry_of(3), [[01 03 0000 00000000 0300000000000000 2c00000000000000 0368e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 3151df9cc73d685c]] },
  { entry_of(4, "\x92\xa3put\x92\x01\x02", 7, 9), [[01 04 0000 08000000 0300000000000000 2d00000000000000
    0468e5cf8b010000 efcdab8967452301 0700000000000000 0900000000000000 8877665544332211 55b91e888902527c
    92a3707574920102]] },
  { entry_of(5), [[01 05 0000 00000000 0300000000000000 2e00000000000000 0568e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 acd226c02a4a4e05]] },
  { entry_of(6), [[01 06 0000 00000000 0300000000000000 2f00000000000000 0668e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 fbaafa0f196b7460]] },
  { entry_of(7), [[01 07 0000 00000000 0300000000000000 3000000000000000 0768e5cf8b010000 efcdab8967452301
    0000000000000000 0000000000000000 8877665544332211 3612101c1dc193ea]] },
  { { type = 4, flags = 0x8001, term = -1, index = -1, time_ms = -1, seed = -1, session = -1, sequence = -1, chain = -1,
    payload = "\0" }, "01 04 0180 01000000" .. ("ff"):rep(56) .. "19c110f1322524db 00" },
}

-- The page in entry.h, followed by hand.
local function by_the_page(entry)
  local fields = string.pack("<BBI2I4i8i8i8i8i8i8", 1, entry.type, entry.flags, #entry.payload, entry.term, entry.index,
    entry.time_ms, entry.seed, entry.session, entry.sequence)
  local covered = fields .. string.pack("<i8", entry.chain)
  local digest = string.pack("<i8", base.hash(entry.payload))
  return covered .. string.pack("<i8", base.hash(covered .. digest)) .. entry.payload, fields, digest
end

describe("an entry's bytes", function()
  for _, row in ipairs(golden) do
    it("are frozen: " .. TYPES[row[1].type] .. " of index " .. row[1].index, function()
      local encoded = formats.entry_encode(row[1])
      assert.equal(hex(unhex(row[2])), hex(encoded))
      assert.equal(hex(by_the_page(row[1])), hex(encoded))
      local decoded, size = formats.entry_decode(encoded)
      assert.same(row[1], decoded)
      assert.equal(#encoded, size)
    end)
  end

  it("every type has a name", function()
    for number = 0, 8 do assert.equal(TYPES[number], formats.entry_type_name(number)) end
    assert.equal("?", formats.entry_type_name(9))
    assert.equal("?", formats.entry_type_name(255))
  end)

  it("one is read from the start of many", function()
    local stream, expected = {}, {}
    for i, row in ipairs(golden) do stream[i], expected[i] = formats.entry_encode(row[1]), row[1] end
    local rest, read = table.concat(stream), {}
    while #rest > 0 do
      local entry, size = formats.entry_decode(rest)
      read[#read + 1], rest = entry, rest:sub(size + 1)
    end
    assert.same(expected, read)
  end)

  it("any payload comes back, up to megabytes", function()
    for _, size in ipairs { 1, 15, 16, 17, 128, 129, 240, 241, 1000, 70000, 3000000 } do
      local entry = entry_of(4, ("\1\255"):rep(size):sub(1, size))
      assert.same(entry, (formats.entry_decode(formats.entry_encode(entry))))
    end
  end)
end)

describe("damage to an entry", function()
  it("cut short anywhere it is refused", function()
    for _, row in ipairs(golden) do
      for size, prefix in bytes.prefixes(formats.entry_encode(row[1])) do
        local entry, code, text = formats.entry_decode(prefix)
        assert.is_nil(entry, "cut at " .. size)
        assert.equal("corrupt", code)
        assert.matches("^entry", text)
      end
    end
  end)

  it("every single turned bit is noticed", function()
    for _, row in ipairs(golden) do
      for bit, changed in bytes.flips(formats.entry_encode(row[1])) do
        local entry, code = formats.entry_decode(changed .. "more bytes behind")
        assert.is_nil(entry, "bit " .. bit)
        assert.equal(bit < 8 and "version" or "corrupt", code)
      end
    end
  end)

  it("the text says which entry and what is wrong with it", function()
    local encoded = formats.entry_encode(golden[5][1])
    local _, _, text = formats.entry_decode(encoded:sub(1, -2) .. "\3")
    assert.equal("entry 45: its checksum does not match", text)
    _, _, text = formats.entry_decode(encoded:sub(1, -2))
    assert.equal("entry 45: cut short: 7 bytes of a payload of 8", text)
    _, _, text = formats.entry_decode(encoded:sub(1, 71))
    assert.equal("entry: cut short: 71 bytes of a header of 72", text)
    _, _, text = formats.entry_decode ""
    assert.equal("entry: no bytes", text)
  end)

  it("a length of 4 GB is held against what is there", function()
    local encoded = formats.entry_encode(golden[5][1])
    local entry, code, text = formats.entry_decode(encoded:sub(1, 4) .. "\xff\xff\xff\xff" .. encoded:sub(9))
    assert.is_nil(entry)
    assert.equal("corrupt", code)
    assert.matches("4294967295", text, 1, true)
  end)
end)

describe("an entry of a newer program", function()
  it("of another version is refused by its version, whatever follows", function()
    for _, version in ipairs { 0, 2, 255 } do
      local entry, code, text = formats.entry_decode(string.char(version) .. "whatever")
      assert.is_nil(entry)
      assert.equal("version", code)
      assert.matches("version " .. version .. ";", text, 1, true)
      assert.matches("knows version 1", text, 1, true)
      assert.matches("moonclave", text, 1, true)
    end
  end)

  it("of an unknown type, but intact, is refused by its type", function()
    for _, number in ipairs { 9, 100, 255 } do
      local entry = entry_of(4, "x")
      entry.type = number
      local decoded, code, text = formats.entry_decode(formats.entry_encode(entry))
      assert.is_nil(decoded)
      assert.equal("version", code)
      assert.matches("type " .. number .. " is not known", text, 1, true)
      assert.matches("a newer one wrote it", text, 1, true)
    end
  end)
end)

describe("the chain", function()
  it("is what the page says: the chain before, the fields, the payload's digest", function()
    for _, row in ipairs(golden) do
      local _, fields, digest = by_the_page(row[1])
      for _, previous in ipairs { 0, 1, -1, 0x1122334455667788 } do
        assert.equal(base.hash(string.pack("<i8", previous) .. fields .. digest), formats.entry_chain(row[1], previous))
      end
    end
  end)

  it("is frozen", function()
    assert.equal("e53033f138b0727e", string.format("%016x", formats.entry_chain(golden[1][1], 0)))
    assert.equal("3d343f86811f92a9", string.format("%016x", formats.entry_chain(golden[5][1], -1)))
  end)

  it("does not depend on the chain field, and depends on everything else", function()
    local entry = entry_of(4, "payload", 1, 2)
    local chain = formats.entry_chain(entry, 5)
    entry.chain = 99
    assert.equal(chain, formats.entry_chain(entry, 5))
    assert.are_not.equal(chain, formats.entry_chain(entry, 6))
    for _, field in ipairs { "type", "flags", "term", "index", "time_ms", "seed", "session", "sequence" } do
      local other = entry_of(4, "payload", 1, 2)
      other[field] = other[field] + 1
      assert.are_not.equal(chain, formats.entry_chain(other, 5), field)
    end
    assert.are_not.equal(chain, formats.entry_chain(entry_of(4, "payloae", 1, 2), 5))
  end)
end)
