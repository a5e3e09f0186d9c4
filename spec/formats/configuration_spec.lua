-- Configurations: their bytes (frozen, canonical), their building, and the majorities that fall out of them.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local VOTER, LEARNER, LEAVING = 0, 1, 2

local function server(id, role, more)
  local made = { id = id, incarnation = 1, role = role or VOTER, priority = 0, labels = {},
    addresses = { { kind = "node", host = "h", port = 5001 } } }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local empty = { previous = 0, servers = {}, outgoing = {} }

-- Everything a configuration can hold: several addresses, labels, a priority, a learner, outgoing voters.
local full = {
  previous = 300,
  outgoing = { "n1", "n9" },
  servers = {
    server("n1", VOTER, { incarnation = 2, priority = 5, labels = { { "rack", "a1" }, { "zone", "eu" } },
      addresses = { { kind = "node", host = "::1", port = 5001 },
        { kind = "http", host = "n1.example.org", port = 65535 } } }),
    server("n2", LEARNER, { incarnation = 0x1234567890 }),
  },
}

local FULL = [[
  84 a8 6f7574676f696e67  92 a26e31 a26e39
     a8 70726576696f7573  cd012c
     a7 73657276657273    92
       86 a9 616464726573736573      92 93 a46e6f6465 a33a3a31 cd1389
                                        93 a468747470 ae6e312e6578616d706c652e6f7267 cdffff
          a2 6964                    a26e31
          ab 696e6361726e6174696f6e  02
          a6 6c6162656c73            82 a47261636b a26131  a47a6f6e65 a26575
          a8 7072696f72697479        05
          a4 726f6c65                00
       86 a9 616464726573736573      91 93 a46e6f6465 a168 cd1389
          a2 6964                    a26e32
          ab 696e6361726e6174696f6e  cf0000001234567890
          a6 6c6162656c73            80
          a8 7072696f72697479        00
          a4 726f6c65                01
     a7 76657273696f6e    01]]

local EMPTY = "84 a8 6f7574676f696e67 90 a8 70726576696f7573 00 a7 73657276657273 90 a7 76657273696f6e 01"

describe("a configuration's bytes", function()
  it("are frozen", function()
    assert.equal(hex(unhex(FULL)), hex(formats.configuration_encode(full)))
    assert.equal(hex(unhex(EMPTY)), hex(formats.configuration_encode(empty)))
  end)

  it("come back as they went", function()
    assert.same(full, formats.configuration_decode(unhex(FULL)))
    assert.same(empty, formats.configuration_decode(unhex(EMPTY)))
  end)

  it("hold a server on its way out, by its own role, while its vote is needed", function()
    local joint = { previous = 1, outgoing = { "n1", "n2" }, servers = { server("n1", LEAVING), server("n2") } }
    local encoded = formats.configuration_encode(joint)
    assert.same(joint, formats.configuration_decode(encoded))
    assert.matches("a4726f6c6502", hex(encoded), 1, true)
    assert.is_true(formats.configuration_is_voter(joint, "n1"))
    assert.is_false(formats.quorum_has(joint, { n1 = true }))
  end)

  it("are the canonical form of the same map of values", function()
    assert.equal(hex(unhex(FULL)), hex(base.pack((base.unpack(unhex(FULL))))))
  end)

  it("an incarnation may be any 64 bits", function()
    for _, incarnation in ipairs { 1, 0xffffffff, math.maxinteger, math.mininteger, -1 } do
      local one = { previous = -1, servers = { server("n1", VOTER, { incarnation = incarnation }) }, outgoing = {} }
      assert.same(one, formats.configuration_decode(formats.configuration_encode(one)))
    end
  end)

  it("cut short anywhere are refused", function()
    for size, prefix in bytes.prefixes(unhex(FULL)) do
      local decoded, code, text = formats.configuration_decode(prefix)
      assert.is_nil(decoded, "cut at " .. size)
      assert.equal("corrupt", code)
      assert.matches("^configuration: ", text)
    end
  end)

  it("with one bit turned are refused, or mean exactly what they say", function()
    local understood = 0
    for _, changed in bytes.flips(unhex(FULL)) do
      local decoded, code, text = formats.configuration_decode(changed)
      if decoded then
        understood = understood + 1
        assert.equal(hex(changed), hex(formats.configuration_encode(decoded)))
      else
        assert.is_true(code == "corrupt" or code == "version", code)
        assert.matches("^configuration: ", text)
      end
    end
    assert.is_true(understood > 20, "a turned bit in a host is another host")
  end)

  it("with bytes behind them are refused", function()
    assert.is_nil((formats.configuration_decode(unhex(FULL) .. "\0")))
  end)

  it("claiming four billion servers are refused by what is there", function()
    for _, key in ipairs { "servers", "outgoing" } do
      local bomb = "\x82" .. base.pack(key) .. "\xdd\xff\xff\xff\xff" .. base.pack "version" .. "\1"
      local decoded, code = formats.configuration_decode(bomb)
      assert.is_nil(decoded)
      assert.equal("corrupt", code)
    end
  end)
end)

-- Bytes of a changed map of values: what a newer or a broken writer would write.
local function encoded(change)
  local map = base.unpack(unhex(FULL))
  change(map)
  return base.pack(map)
end

-- Ids by kind, for the eye: "n1 n2 / n3 / n4": voters, learners, leaving; and the outgoing.
local function show(configuration)
  local kinds = { [VOTER] = {}, [LEARNER] = {}, [LEAVING] = {} }
  for _, one in ipairs(configuration.servers) do table.insert(kinds[one.role], one.id) end
  return ("%s / %s / %s"):format(table.concat(kinds[VOTER], " "), table.concat(kinds[LEARNER], " "),
    table.concat(kinds[LEAVING], " ")), table.concat(configuration.outgoing, " ")
end

local function of(voters, learners)
  local servers = {}
  for id in voters:gmatch "%S+" do servers[#servers + 1] = server(id) end
  for id in (learners or ""):gmatch "%S+" do servers[#servers + 1] = server(id, LEARNER) end
  table.sort(servers, function(a, b) return a.id < b.id end)
  return { previous = 0, servers = servers, outgoing = {} }
end

describe("the way from one configuration to another", function()
  -- from, wanted, what is appended, the outgoing: none where majorities overlap by themselves (Ongaro §4.1)
  local steps = {
    { of("n1 n2 n3"), of("n1 n2 n3 n4"), "n1 n2 n3 n4 /  / ", "" },
    { of("n1 n2 n3"), of("n1 n2"), "n1 n2 /  / ", "" },
    { of("n1 n2 n3"), of("n1 n2", "n3"), "n1 n2 / n3 / ", "" },
    { of("n1 n2 n3", "n4"), of("n1 n2 n3 n4"), "n1 n2 n3 n4 /  / ", "" },
    { of("n1 n2 n3"), of("n1 n2 n3", "n4 n5 n6"), "n1 n2 n3 / n4 n5 n6 / ", "" },
    { of("n1 n2 n3"), of("n1 n2 n4"), "n1 n2 n4 /  / n3", "n1 n2 n3" },
    { of("n1 n2 n3"), of("n4 n5 n6"), "n4 n5 n6 /  / n1 n2 n3", "n1 n2 n3" },
    { of("n1 n2 n3", "n4"), of("n1 n4", "n2"), "n1 n4 / n2 / n3", "n1 n2 n3" },
    { of("n1 n2 n3 n4 n5"), of("n1 n2 n3"), "n1 n2 n3 /  / n4 n5", "n1 n2 n3 n4 n5" },
  }

  it("is one step where at most one voter differs, else it goes through both majorities", function()
    for i, row in ipairs(steps) do
      local next_one = formats.configuration_next(row[1], 7, row[2])
      local servers, outgoing = show(next_one)
      assert.same({ i, row[3], row[4], 7 }, { i, servers, outgoing, next_one.previous })
    end
  end)

  it("ends, from both majorities, at what was wanted", function()
    for i, row in ipairs(steps) do
      local next_one = formats.configuration_next(row[1], 7, row[2])
      if next_one.outgoing[1] then
        local settled = formats.configuration_settled(next_one, 8)
        assert.same({ i, (show(row[2])), 8 }, { i, (show(settled)), settled.previous })
      end
    end
  end)

  it("keeps the address and the incarnation of who is leaving, for as long as its vote is needed", function()
    local from = of("n1 n2 n3")
    from.servers[3].incarnation, from.servers[3].addresses[1].port = 77, 7777
    local joint = formats.configuration_next(from, 1, of("n1 n4"))
    assert.same({ "n3", LEAVING, 77 }, { joint.servers[3].id, joint.servers[3].role, joint.servers[3].incarnation })
    assert.equal("h:7777", formats.configuration_address(joint, "n3", "node"))
  end)

  it("is asked for as a change of one server", function()
    local changed = assert(formats.configuration_change(of("n1 n2"), "role", "n2", LEARNER))
    assert.equal("n1 / n2 / ", (show(changed)))
    assert.equal("n2 /  / ", (show(assert(formats.configuration_change(of("n1 n2"), "remove", "n1")))))
    changed = assert(formats.configuration_change(of("n1 n2"), "priority", "n1", 9))
    assert.equal(9, changed.servers[1].priority)
    changed = assert(formats.configuration_change(of("n1"), "address", "n1", "[::1]:77", "node"))
    changed = assert(formats.configuration_change(changed, "address", "n1", "web:80", "http"))
    assert.same({ "[::1]:77", "web:80", 2 }, { formats.configuration_address(changed, "n1", "node"),
      formats.configuration_address(changed, "n1", "http"), #changed.servers[1].addresses })
  end)

  it("is not found for a server that is not there, nor to a place that is none", function()
    for _, what in ipairs { "remove", "role", "priority", "address" } do
      local value = what == "address" and "h:1" or 1
      local none, code, text = formats.configuration_change(of("n1"), what, "n9", value, "node")
      assert.same({ code = "not_found" }, { none, code = code })
      assert.matches("no server n9", text, 1, true)
    end
    local _, code = formats.configuration_change(of("n1"), "address", "n1", "nowhere", "node")
    assert.equal("bad_request", code)
  end)
end)

local function refusal(change)
  local decoded, code, text = formats.configuration_decode(encoded(change))
  assert.is_nil(decoded)
  return code .. ": " .. text
end

describe("a configuration that is not ours", function()
  it("of a newer version is called newer, whatever else is in it", function()
    local text = refusal(function(map) map.version, map.servers = 2, "elsewhere" end)
    assert.matches("version: configuration: version 2; this program (moonclave, format level 1) knows version 1", text,
      1, true)
  end)

  it("with an unknown key is called newer, and the key is named", function()
    assert.matches('version: configuration: the key "quorum" is not known',
      refusal(function(map) map.quorum = 3 end), 1, true)
    assert.matches('version: configuration: the server key "weight" is not known',
      refusal(function(map) map.servers[1].weight = 3 end), 1, true)
    assert.matches("version: configuration: server n1 has role 3",
      refusal(function(map) map.servers[1].role = 3 end), 1, true)
  end)

  -- what is wrong, how it comes about, what is said
  local broken = {
    { "no version", function(map) map.version = nil end, "it has no version" },
    { "a version that is no number", function(map) map.version = "1" end, "its version is no number" },
    { "servers that are no list", function(map) map.servers = 5 end, "servers is no list" },
    { "outgoing that is no list", function(map) map.outgoing = "n1" end, "outgoing is no list" },
    { "previous below 0", function(map) map.previous = -1 end, "previous is no index" },
    { "a server that is no map", function(map) map.servers[1] = 1 end, "a server is no map" },
    { "a server without id", function(map) map.servers[1].id = nil end, "a server has no id" },
    { "an id with a blank", function(map) map.servers[1].id = "n 1" end, "an id is not valid" },
    { "an id that is too long", function(map) map.servers[1].id = ("n"):rep(65) end, "an id is not valid" },
    { "an id with a zero byte", function(map) map.servers[1].id = "n1\0" end, "an id is not valid" },
    { "an empty id", function(map) map.outgoing[1] = "" end, "an id is not valid" },
    { "servers out of order", function(map) map.servers[1].id = "n3" end, "servers are not in the order of their ids" },
    { "a server twice", function(map) map.servers[1].id = "n2" end, "servers are not in the order of their ids" },
    { "outgoing out of order", function(map) map.outgoing[1] = "nz" end, "outgoing ids are not in order" },
    { "an address of two", function(map) map.servers[1].addresses[1] = { "node", "h" } end, "an address is not" },
    { "an address of four", function(map) map.servers[1].addresses[1][4] = 1 end, "an address is not" },
    { "a port beyond 65535", function(map) map.servers[1].addresses[1][3] = 65536 end, "an address is not" },
    { "a host with a zero byte", function(map) map.servers[1].addresses[1][2] = "a\0b" end, "an address is not" },
    { "a label that is a number", function(map) map.servers[1].labels.rack = 1 end, "a label is not a text" },
    { "a priority below 0", function(map) map.servers[1].priority = -1 end, "a priority is no number" },
    { "a priority beyond 32 bits", function(map) map.servers[1].priority = 1 << 32 end, "a priority is no number" },
    { "an incarnation of text", function(map) map.servers[1].incarnation = "x" end, "an incarnation is no number" },
    { "a missing key", function(map) map.previous = nil end, "its bytes are not in canonical form" },
    { "a missing key of a server", function(map) map.servers[1].role = nil end, "its bytes are not in canonical form" },
  }
  for _, row in ipairs(broken) do
    it("is damaged: " .. row[1], function()
      assert.matches("corrupt: configuration: " .. row[3], refusal(row[2]), 1, true)
    end)
  end

  it("is damaged: keys in another order, a key twice, a longer form of a number", function()
    for from, to in pairs {
      ["a87072696f7269747905" .. "a4726f6c6500"] = "a4726f6c6500" .. "a87072696f7269747905",
      ["86" .. "a9616464726573736573" .. "91"] = "87" .. "a4726f6c6500" .. "a9616464726573736573" .. "91",
      ["a87072696f7269747905"] = "a87072696f72697479cc05",
      ["a26e31ab"] = "d9026e31ab",
    } do
      local changed, count = hex(unhex(FULL)):gsub(from, to)
      assert.equal(1, count, from)
      local decoded, code, text = formats.configuration_decode(unhex(changed))
      assert.is_nil(decoded)
      assert.equal("corrupt", code)
      assert.matches("canonical", text, 1, true)
    end
  end)
end)

describe("building a configuration", function()
  it("servers stand in the order of their ids, whatever the order they came in", function()
    local made = formats.configuration_make {
      { id = "n3", incarnation = 3, address = "c.example:3" },
      { id = "n1", incarnation = 1, address = "127.0.0.1:1" },
      { id = "n2", incarnation = 2, address = "[fe80::1%eth0]:2", role = LEARNER },
    }
    local expected = { previous = 0, outgoing = {}, servers = {
      server("n1", VOTER, { addresses = { { kind = "node", host = "127.0.0.1", port = 1 } } }),
      server("n2", LEARNER, { incarnation = 2, addresses = { { kind = "node", host = "fe80::1%eth0", port = 2 } } }),
      server("n3", VOTER, { incarnation = 3, addresses = { { kind = "node", host = "c.example", port = 3 } } }),
    } }
    assert.same(expected, made)
    assert.equal("127.0.0.1:1", formats.configuration_address(made, "n1", "node"))
    assert.equal("[fe80::1%eth0]:2", formats.configuration_address(made, "n2", "node"))
    assert.is_nil(formats.configuration_address(made, "n1", "http"))
    assert.is_nil(formats.configuration_address(made, "n4", "node"))
    assert.equal("n1.example.org:65535", formats.configuration_address(full, "n1", "http"))
  end)

  it("an id taken, no id, and no address are refused, each by name", function()
    for _, row in ipairs {
      { { id = "n1", address = "h:1" }, "the id n1 is taken" },
      { { id = "a b", address = "h:1" }, '"a b" is no id' },
      { { id = "", address = "h:1" }, '"" is no id' },
      { { id = "n2", address = "h" }, '"h" is no address' },
      { { id = "n2", address = "h:0" }, '"h:0" is no address' },
    } do
      local made, code, text = formats.configuration_make { { id = "n1", address = "h:1" }, row[1] }
      assert.is_nil(made)
      assert.equal("bad_request", code)
      assert.matches(row[2], text, 1, true)
    end
  end)
end)

describe("an address", function()
  it("splits at its last colon, brackets around what has more", function()
    local good = {
      ["127.0.0.1:5001"] = { "127.0.0.1", 5001 }, ["n1.example.org:1"] = { "n1.example.org", 1 },
      ["h:65535"] = { "h", 65535 }, ["h:0"] = { "h", 0 }, ["[::1]:5001"] = { "::1", 5001 }, ["[::]:80"] = { "::", 80 },
      ["[fe80::1%lo]:9"] = { "fe80::1%lo", 9 }, ["localhost:00080"] = { "localhost", 80 },
    }
    for text, parts in pairs(good) do assert.same(parts, { formats.address_split(text) }, text) end
  end)

  it("malformed is refused", function()
    for _, text in ipairs { "", ":", ":80", "h", "h:", "h:x", "h:-1", "h:+1", "h: 1", "h:65536", "h:99999999999",
      "h:1 ",
      "a:b:1", "::1:80", "[::1]", "[::1]80", "[::1:80", "::1]:80", "[]:80", "[:80", "]:80", "h h:1", "h/x:1", "a,b:1",
      "u@h:1", "n1=h:1", "h\n:1", "é:1", ("h"):rep(270) .. ":1" } do
      assert.is_nil(formats.address_split(text), text)
    end
  end)
end)

describe("majorities", function()
  local function cluster(voters, outgoing, learners)
    local servers = {}
    for _, id in ipairs(voters) do table.insert(servers, server(id)) end
    for _, id in ipairs(learners or {}) do table.insert(servers, server(id, LEARNER)) end
    return { previous = 0, servers = servers, outgoing = outgoing or {} }
  end

  it("the index a majority has reached", function()
    local three = cluster { "a", "b", "c" }
    assert.equal(5, formats.quorum_index(three, { a = 9, b = 5, c = 1 }))
    assert.equal(1, formats.quorum_index(three, { a = 9, b = 1, c = 1 }))
    assert.equal(0, formats.quorum_index(three, { a = 9 }))
    assert.equal(9, formats.quorum_index(cluster { "a" }, { a = 9 }))
    assert.equal(1, formats.quorum_index(cluster { "a", "b" }, { a = 9, b = 1 }))
    assert.equal(4, formats.quorum_index(cluster { "a", "b", "c", "d" }, { a = 9, b = 8, c = 4, d = 1 }))
    assert.equal(0, formats.quorum_index(cluster {}, { a = 9 }))
    assert.equal(-1, formats.quorum_index(three, { a = -1, b = -1, c = 0 })) -- unsigned: 2^64 - 1
  end)

  it("learners do not count, wherever they are", function()
    assert.equal(1, formats.quorum_index(cluster({ "a", "b", "c" }, nil, { "d", "e" }),
      { a = 9, b = 1, c = 1, d = 9, e = 9 }))
    assert.is_false(formats.quorum_has(cluster({ "a", "b", "c" }, nil, { "d", "e" }), { a = true, d = true, e = true }))
    assert.is_false(formats.configuration_is_voter(cluster({ "a" }, nil, { "d" }), "d"))
  end)

  it("while joint, both halves must have it", function()
    local joint = cluster({ "a", "b", "c" }, { "c", "d", "e" })
    assert.equal(3, formats.quorum_index(joint, { a = 9, b = 9, c = 9, d = 3, e = 1 }))
    assert.equal(2, formats.quorum_index(joint, { a = 2, b = 1, c = 9, d = 9, e = 9 }))
    assert.is_false(formats.quorum_has(joint, { a = true, b = true, c = true }))
    assert.is_true(formats.quorum_has(joint, { a = true, c = true, d = true }))
    assert.is_true(formats.configuration_is_voter(joint, "e"))
    assert.is_true(formats.configuration_is_voter(joint, "a"))
    assert.is_false(formats.configuration_is_voter(joint, "f"))
    assert.is_false(formats.quorum_has(cluster({}, { "a" }), { a = true }))
  end)

  -- The definition, written out: the largest index that more than half of them have reached.
  local function by_definition(voters, reached)
    local best = 0
    for _, candidate in ipairs(voters) do
      local count = 0
      for _, id in ipairs(voters) do
        if reached[id] >= reached[candidate] then count = count + 1 end
      end
      if count > #voters // 2 and reached[candidate] > best then best = reached[candidate] end
    end
    return best
  end

  it("agree with their definition for every number of voters up to 40, joint or not", function()
    for size = 1, 40 do
      local random = base.random(size, size * 2, 10)
      local incoming, outgoing, reached, has = {}, {}, {}, {}
      for i = 1, size * 2 do
        local id = string.format("n%02d", i)
        reached[id], has[id] = random[i], random[i] > 4
        table.insert(i <= size and incoming or outgoing, id)
      end
      local function count(ids)
        local having = 0
        for _, id in ipairs(ids) do if has[id] then having = having + 1 end end
        return having
      end
      local one, other = by_definition(incoming, reached), by_definition(outgoing, reached)
      assert.equal(one, formats.quorum_index(cluster(incoming), reached))
      assert.equal(math.min(one, other), formats.quorum_index(cluster(incoming, outgoing), reached))
      local first, second = count(incoming) * 2 > size, count(outgoing) * 2 > size
      assert.equal(first, formats.quorum_has(cluster(incoming), has))
      assert.equal(first and second, formats.quorum_has(cluster(incoming, outgoing), has))
    end
  end)
end)
