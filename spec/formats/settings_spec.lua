-- What a SETTINGS entry says: frozen, as is what of it may be said (base/settings.h).
local base = require "moonclave.base"
local formats = require "moonclave.formats"

describe("the payload of a SETTINGS entry", function()
  it("has these bytes: the names in order, each with its value", function()
    for bytes, values in pairs {
      ["\x81\xAEsession_window\x07"] = { session_window = 7 },
      ["\x83\xAFblock_bytes_max\xCE\x00\x10\x00\x00\xB1command_steps_max\xCF\x00\x00\x00\x17\x48\x76\xE8\x00"
        .. "\xACsessions_max\xCD\x03\xE8"] = { sessions_max = 1000, command_steps_max = 100000000000,
        block_bytes_max = 1048576 },
    } do
      assert.equal(bytes, formats.settings_encode(values))
      assert.same(values, formats.settings_decode(bytes))
    end
  end)

  it("of every one of the cluster's comes back, at both of its limits", function()
    for _, limit in ipairs { "least", "most" } do
      local values = {}
      for _, row in ipairs(base.settings_table()) do
        if row.scope == "replicated" then values[row.name] = row[limit] end
      end
      local bytes = formats.settings_encode(values)
      assert.same(values, formats.settings_decode(bytes))
      assert.same(values, (base.unpack(bytes)))
    end
  end)

  it("of a newer program is told apart from what is damaged", function()
    for bytes, code in pairs { ["\x81\xA3odd\x01"] = "version", ["\x81\xAEsession_window\xCD\x10\x01"] = "version",
      ["\x81\xABwaiting_max\x05"] = "version", ["\x81\xAEsession_window\xFF"] = "corrupt", ["\x81"] = "corrupt",
      ["\x81\xAEsession_window\x07\x00"] = "corrupt", ["\x91\x07"] = "corrupt", [""] = "corrupt" } do
      local found, why = formats.settings_decode(bytes)
      assert.is_nil(found)
      assert.equal(code, why, bytes)
    end
  end)
end)
