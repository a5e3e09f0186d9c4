-- A snapshot meta's bytes: frozen.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local meta = { index = 1000, term = 7, chain = 0x1122334455667788, format_level = 1, system_hash = -2,
  state_hash = 0x0102030405060708, size = 123456789, configuration_index = 900, configuration = "CONFIG" }

local blank = { index = 0, term = 0, chain = 0, format_level = 0, system_hash = 0, state_hash = 0, size = 0,
  configuration_index = 0, configuration = "" }

-- version, zero, format level | index | term | chain | system | state | size | configuration's index | its size, zero |
-- checksum | configuration
local META = [[01000000 01000000 e803000000000000 0700000000000000 8877665544332211 feffffffffffffff 0807060504030201
  15cd5b0700000000 8403000000000000 06000000 00000000 b46aa4aa29eeb581 434f4e464947]]

describe("a snapshot meta's bytes", function()
  it("are frozen, and come back as they went", function()
    assert.equal(hex(unhex(META)), hex(formats.meta_encode(meta)))
    assert.same(meta, formats.meta_decode(unhex(META)))
    assert.same(blank, formats.meta_decode(formats.meta_encode(blank)))
    assert.equal(80, #formats.meta_encode(blank))
  end)

  it("are what the page in snapshot_meta.h says", function()
    local head = string.pack("<I4I4i8i8i8i8i8i8i8I4I4", 1, meta.format_level, meta.index, meta.term, meta.chain,
      meta.system_hash, meta.state_hash, meta.size, meta.configuration_index, #meta.configuration, 0)
    local checksum = base.hash(head .. string.pack("<i8", base.hash(meta.configuration)))
    assert.equal(hex(head .. string.pack("<i8", checksum) .. meta.configuration), hex(formats.meta_encode(meta)))
  end)

  it("cut short anywhere, or longer, they are refused", function()
    for size, prefix in bytes.prefixes(formats.meta_encode(meta)) do
      local decoded, code, text = formats.meta_decode(prefix)
      assert.is_nil(decoded, "cut at " .. size)
      assert.equal("corrupt", code)
      assert.matches("^snapshot meta: ", text)
    end
    assert.is_nil((formats.meta_decode(formats.meta_encode(meta) .. "\0")))
  end)

  it("every single turned bit is noticed", function()
    for bit, changed in bytes.flips(formats.meta_encode(meta)) do
      local decoded, code = formats.meta_decode(changed)
      assert.is_nil(decoded, "bit " .. bit)
      assert.equal(bit < 8 and "version" or "corrupt", code)
    end
  end)

  it("of a newer version or format level are called newer", function()
    local _, code, text = formats.meta_decode("\2" .. formats.meta_encode(meta):sub(2))
    assert.equal("version", code)
    assert.matches("snapshot meta: version 2; this program (moonclave, format level 1) knows version 1", text, 1, true)
    local newer = {}
    for key, value in pairs(meta) do newer[key] = value end
    newer.format_level = 2
    local decoded
    decoded, code, text = formats.meta_decode(formats.meta_encode(newer))
    assert.is_nil(decoded)
    assert.equal("version", code)
    assert.matches("format level 2;", text, 1, true)
  end)
end)
