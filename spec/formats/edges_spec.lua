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

  it("holds no id longer than that, however long", function()
    for _, size in ipairs { ID_MAX + 1, ID_MAX + 2, 300, 5000 } do
      local map = base.unpack(formats.configuration_encode(configuration(server "n1")))
      map.servers[1].id = ("i"):rep(size)
      assert.is_nil((formats.configuration_decode(base.pack(map))))
      map.servers[1].id, map.outgoing = "n1", { ("i"):rep(size) }
      assert.is_nil((formats.configuration_decode(base.pack(map))))
    end
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

describe("a configuration's parts", function()
  local plain = formats.configuration_encode(configuration(server "n1"))
  local function refusal(bytes)
    local decoded, code, text = formats.configuration_decode(bytes)
    assert.is_nil(decoded)
    return code .. ": " .. text
  end
  -- A configuration of one server, made of these fields, each { key, packed value }.
  local function of_fields(fields)
    local parts = { string.char(0x80 + #fields) }
    for _, field in ipairs(fields) do parts[#parts + 1] = base.pack(field[1]) .. field[2] end
    return "\x84" .. base.pack "outgoing" .. "\x90" .. base.pack "previous" .. "\0" .. base.pack "servers" .. "\x91" ..
      table.concat(parts) .. base.pack "version" .. "\1"
  end
  local function fields(change)
    local list = { { "addresses", base.pack { { "node", "h", 1 } } }, { "id", base.pack "n1" }, { "incarnation", "\1" },
      { "labels", "\x80" }, { "priority", "\0" }, { "role", "\0" } }
    for _, field in ipairs(list) do field[2] = change[field[1]] or field[2] end
    return of_fields(list)
  end

  it("are each there once", function()
    assert.truthy(formats.configuration_decode(fields {}))
    local joint = formats.configuration_encode { previous = 0, servers = { server "n1" }, outgoing = { "n1" } }
    for _, key in ipairs { "outgoing", "servers" } do
      local twice = "\x85" .. joint:sub(2) .. base.pack(key) .. "\x91" .. base.pack "n1"
      assert.matches("corrupt: configuration: " .. key .. " is no list", refusal(twice), 1, true)
    end
    for key, what in pairs { addresses = "addresses is no list", labels = "labels is no map" } do
      local value = key == "labels" and base.pack { a = "b" } or base.pack { { "node", "h", 1 } }
      assert.matches(what, refusal(of_fields { { "id", base.pack "n1" }, { key, value }, { key, value } }), 1, true)
    end
  end)

  it("have names that are text", function()
    assert.matches("a key is no string", refusal("\x85\5\5" .. plain:sub(2)), 1, true)
    assert.matches("a server's key is no string", refusal(of_fields { { "id", base.pack "n1" }, { 5, "\5" } }), 1, true)
    for size = 1, #plain - 1 do assert.is_nil((formats.configuration_decode(plain:sub(1, size))), size) end
  end)

  it("are what they are to be", function()
    for key, what in pairs { addresses = "addresses is no list", labels = "labels is no map", id = "an id is not valid",
      incarnation = "an incarnation is no number", priority = "a priority is no number",
      role = "a role is no number" } do
      assert.matches(what, refusal(fields { [key] = key == "id" and "\5" or base.pack "x" }), 1, true)
      assert.matches(what, refusal(fields { [key] = "\xC0" }), 1, true)
    end
    for _, address in ipairs { { 5 }, { { 5, "h", 1 } }, { { "node", 5, 1 } }, { { "node", "h", "1" } }, { "node" },
      { { "node", "h" } }, { { "node", "h", 1, 2 } } } do
      local text = refusal(fields { addresses = base.pack(address) })
      assert.matches("an address is not [kind, host, port]", text, 1, true)
    end
    assert.matches("previous is no index", refusal((plain:gsub("previous%z", "previous\xC0"))), 1, true)
  end)
end)

describe("a snapshot meta", function()
  it("is as long as it says, though its checksum were right", function()
    local function made(size)
      local head = string.pack("<I4I4i8i8i8i8i8i8i8I4I4", 1, 1, 9, 2, 3, 4, 5, 6, 7, size, 0)
      return head .. string.pack("<i8", base.hash(head .. string.pack("<i8", base.hash "CONFIG"))) .. "CONFIG"
    end
    assert.equal("CONFIG", formats.meta_decode(made(6)).configuration)
    for _, size in ipairs { 0, 5, 7 } do assert.is_nil((formats.meta_decode(made(size))), size) end
  end)
end)

describe("a majority", function()
  it("is of voters, wherever learners stand among them", function()
    local learner = { role = 1 }
    local mixed = configuration(server("a", learner), server "b", server("c", learner), server "d", server "e",
      server("f", learner))
    local reached = { a = 9, b = 1, c = 9, d = 2, e = 3, f = 9 }
    assert.equal(2, formats.quorum_index(mixed, reached))
    assert.is_false(formats.quorum_has(mixed, { a = true, c = true, f = true, b = true }))
    assert.is_true(formats.quorum_has(mixed, { d = true, e = true }))
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
    for _, port in ipairs { "1/", "1:", "/1", ":1", "1 ", "\xFF" } do
      assert.is_nil((formats.address_split("h:" .. port)), port)
    end
  end)
end)
