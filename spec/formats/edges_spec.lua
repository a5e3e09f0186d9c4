-- Edges of the formats: the longest, the equal, the last byte that is not allowed. Each was a guard that nothing else
-- missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"

local ID_MAX, ADDRESS_MAX = 64, 271

local function server(id, more)
  local made = { id = id, incarnation = 1, role = 0, priority = 0, labels = {},
    addresses = { { kind = "node", host = "h", port = 5001 } } }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local function configuration(...) return { previous = 0, servers = { ... }, outgoing = {} } end

describe("a configuration", function()
  it("holds an id of the greatest length, and none longer", function()
    local longest = ("i"):rep(ID_MAX)
    local bytes = formats.configuration_encode(configuration(server(longest)))
    assert.equal(longest, formats.configuration_decode(bytes).servers[1].id)
    assert.truthy(formats.configuration_make { { id = longest, address = "h:1" } })
    assert.is_nil((formats.configuration_make { { id = longest .. "i", address = "h:1" } }))
  end)

  it("names nobody twice among its outgoing voters, and no label twice", function()
    local map = base.unpack(formats.configuration_encode(configuration(server "n1")))
    map.outgoing = { "n1", "n1" }
    local decoded, code, text = formats.configuration_decode(base.pack(map))
    assert.same({ nil, "corrupt" }, { decoded, code })
    assert.truthy(text:find("outgoing ids are not in order", 1, true))
    local labelled = server("n1", { labels = { { "ra", "1" }, { "rb", "2" } } })
    local bytes = formats.configuration_encode(configuration(labelled))
    local twice, count = bytes:gsub("\xA2rb", "\xA2ra")
    assert.equal(1, count)
    decoded, code = formats.configuration_decode(twice)
    assert.same({ nil, "corrupt" }, { decoded, code })
  end)
end)

describe("an address", function()
  it("is as long as it may be, and no longer", function()
    local host = ("h"):rep(ADDRESS_MAX - #":5001")
    assert.equal(host, (formats.address_split(host .. ":5001")))
    assert.is_nil((formats.address_split(host .. "h:5001")))
    local made = formats.configuration_make { { id = "n1", address = host .. ":5001" } }
    assert.equal(host .. ":5001", formats.configuration_address(made, "n1", "node"))
  end)

  it("has no byte that is not printed, up to the last of them", function()
    for _, byte in ipairs { "\0", "\x1f", " ", "\x7f", "\x80", "\xff" } do
      assert.is_nil((formats.address_split("a" .. byte .. "b:5001")), ("%02x"):format(byte:byte()))
    end
    assert.truthy((formats.address_split "!~:5001"))
  end)
end)
