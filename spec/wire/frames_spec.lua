-- Frames between nodes: frozen bytes, and nothing but exactly those bytes is believed.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local wire = require "moonclave.wire"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local function entry(index, payload)
  return { type = payload and 4 or 0, flags = 0, term = 5, index = index, time_ms = 1000 + index, seed = -index,
    session = 0, sequence = 0, chain = index * 3, payload = payload or "" }
end

local function append(entries, more)
  local made = { type = "append", from = "n1", to = "n2", term = 5, prev_index = 10, prev_term = 4, commit = 9,
    round = 300, state_index = 64, state_chain = -1, entries = entries }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

local function install_snapshot(offset, chunk, more)
  local made = { type = "install_snapshot", from = "n1", to = "n2", term = 9, attempt = 3, offset = offset,
    chunk = chunk, checksum = base.hash(chunk, offset), last = offset + #chunk == 300, meta = { index = 1000, term = 8,
      chain = -5, format_level = 1, system_hash = 11, state_hash = -12, size = 300, configuration_index = 7,
      configuration = "CONFIG" } }
  for key, value in pairs(more or {}) do made[key] = value end
  return made
end

-- name, frame, bytes: size, type, 0, covered, checksum | body
local golden = {
  { "hello", { type = "hello", id = "n1", incarnation = -1, cluster = 0x1122334455667788, address = "127.0.0.1:5001",
    protocol_min = 1, protocol_max = 1, format_level = 1, lua_release = "5.4.4", peers_hash = 7,
    joining = false, member_until = 12,
    configuration = "CONFIG" },
    [[37000000 40 00 0000 d7e8cda96dc51f4f
      9ba26e31cfffffffffffffffffcf1122334455667788ae3132372e302e302e313a35303031010101a5352e342e3407c20c434f4e
      464947]] },
  { "hello of a blank node", { type = "hello", id = "n1", incarnation = 1, cluster = 0, address = "[::1]:1",
    protocol_min = 1, protocol_max = 3, format_level = 2, lua_release = "5.4.6", peers_hash = 0, joining = true,
    member_until = 0, configuration = "" },
    [[1a000000 40 00 0000 f09369651c703dd4
      9ba26e310100a75b3a3a315d3a31010302a5352e342e3600c300]] },
  { "hello_refused", { type = "hello_refused", code = 17, text = "another cluster" },
    [[12000000 41 00 0000 74db54c139503386
      9211af616e6f7468657220636c7573746572]] },
  { "forward of a command", { type = "forward", ticket = 77, kind = 0, consistency = 0, session = 8, sequence = 9,
    timeout_ms = 5000, body = "\x92\xa3put\x92\x01\x02" },
    [[11000000 42 00 0000 22b1a3374c1d7449
      964d00000809cd138892a3707574920102]] },
  { "forward of a query", { type = "forward", ticket = -1, kind = 1, consistency = 2, session = 0, sequence = 0,
    timeout_ms = 0, body = "\x92\xa3get\x90" },
    [[15000000 42 00 0000 771ca743e53c8197
      96cfffffffffffffffff010200000092a367657490]] },
  { "forward_reply", { type = "forward_reply", ticket = 77, code = 0, body = "\x81\xa1v\x05" },
    [[07000000 43 00 0000 f55e35f7a882e607
      924d0081a17605]] },
  { "forward_reply with an error", { type = "forward_reply", ticket = 78, code = 2,
    body = base.reply_error(2, "ask n3") },
    [[23000000 43 00 0000 133527497db9d8c7
      924e0282a4636f6465aa6e6f745f6c6561646572a76d657373616765a661736b206e33]] },
  { "request_vote", { type = "request_vote", from = "n1", to = "n2", term = 6, pre = true, transfer = false,
    last_index = 300, last_term = 5 },
    [[0e000000 01 00 0000 f592f03fb6b4f571
      97a26e31a26e3206c3c2cd012c05]] },
  { "vote", { type = "vote", from = "n2", to = "n1", term = 6, pre = false, granted = true },
    [[0a000000 02 00 0000 4953ac0dc3093e58
      95a26e32a26e3106c2c3]] },
  { "append without entries: a heartbeat", append {},
    [[19000000 03 00 1900 26e9b65b012e2007
      9aa26e31a26e32050a0409cd012c40cfffffffffffffffff00]] },
  { "append with entries", append { entry(11), entry(12, "\x92\xa1a\x90"), entry(13, "\x92\xa1b\x90") },
    [[f9000000 03 00 1900 103a34737d3e3b8a
      9aa26e31a26e32050a0409cd012c40cfffffffffffffffff03010000000000000005000000000000000b00000000000000f30300
      0000000000f5ffffffffffffff000000000000000000000000000000002100000000000000304fee5d5a647fd301040000040000
      0005000000000000000c00000000000000f403000000000000f4ffffffffffffff00000000000000000000000000000000240000
      00000000006fb8449c90f7d4a392a16190010400000400000005000000000000000d00000000000000f503000000000000f3ffff
      ffffffffff00000000000000000000000000000000270000000000000054def27fc65f19b892a16290]] },
  { "append_result", { type = "append_result", from = "n2", to = "n1", term = 5, success = false, prev_index = 10,
    match = 0, last_index = 8, conflict_term = 3, conflict_index = 6, round = 300, state_index = 64, state_chain = -2 },
    [[1b000000 04 00 0000 d4ec7673c67c1e61
      9ca26e32a26e3105c20a00080306cd012c40cffffffffffffffffe]] },
  { "timeout_now", { type = "timeout_now", from = "n1", to = "n2", term = 6 },
    [[08000000 08 00 0000 04357e4c19504f3c
      93a26e31a26e3206]] },
  { "read_index", { type = "read_index", from = "n2", to = "n1", term = 6, identity = -3, lease = true },
    [[12000000 0b 00 0000 fa15909d0d7afa5e
      95a26e32a26e3106cffffffffffffffffdc3]] },
  { "read_index_result", { type = "read_index_result", from = "n1", to = "n2", term = 6, identity = -3,
    success = true, index = 300 },
    [[15000000 0c 00 0000 b26720f5f2724b02
      96a26e31a26e3206cffffffffffffffffdc3cd012c]] },
  { "install_snapshot, an offer", install_snapshot(0, ""),
    [[6c000000 09 00 0000 d4668c747eccd369
      98a26e31a26e32090300cf2d06800538d394c2c2c4560100000001000000e8030000000000000800000000000000fbffffffffff
      ffff0b00000000000000f4ffffffffffffff2c01000000000000070000000000000006000000000000000438572766d80462434f
      4e464947]] },
  { "install_snapshot, the last chunk", install_snapshot(292, "the end\0"),
    [[76000000 09 00 0000 83b6b9f6899fc9cf
      98a26e31a26e320903cd0124cf973e2ea79a8c340cc3c4560100000001000000e8030000000000000800000000000000fbffffff
      ffffffff0b00000000000000f4ffffffffffffff2c01000000000000070000000000000006000000000000000438572766d80462
      434f4e46494774686520656e6400]] },
  { "snapshot_result", { type = "snapshot_result", from = "n2", to = "n1", term = 9, index = 1000, snapshot_term = 8,
    attempt = 3, status = 0, offset = 292, match = 0 },
    [[12000000 0a 00 0000 954cd59b7bdc3990
      99a26e32a26e3109cd03e8080300cd012400]] },
  { "snapshot_result, installed", { type = "snapshot_result", from = "n2", to = "n1", term = 9, index = 1000,
    snapshot_term = 8, attempt = 3, status = 1, offset = 0, match = 1002 },
    [[12000000 0a 00 0000 f9626a7663d1f059
      99a26e32a26e3109cd03e808030100cd03ea]] },
}

local function frame_of(name)
  for _, row in ipairs(golden) do
    if row[1] == name then return row[2] end
  end
end

local NUMBERS = { request_vote = 1, vote = 2, append = 3, append_result = 4, timeout_now = 8, install_snapshot = 9,
  snapshot_result = 10, read_index = 11, read_index_result = 12, hello = 64, hello_refused = 65,
  forward = 66, forward_reply = 67 }

-- A frame around a body, by the page in wire.h.
local function framed(type, body, covered)
  local head = string.pack("<I4BBI2", #body, type, 0, covered or 0)
  local digest = base.hash(covered and body:sub(1, covered) or body)
  return head .. string.pack("<i8", base.hash(head .. string.pack("<i8", digest))) .. body
end

local function body_of(frame) return wire.encode(frame):sub(17) end

-- The bytes of each element of a body's array, and the bytes behind it.
local function elements(body)
  local list, at = {}, 2
  for i = 1, body:byte() - 0x90 do
    list[i] = base.skip(body:sub(at))
    at = at + #list[i]
  end
  return list, body:sub(at)
end

local function array(list) return string.char(0x90 + #list) .. table.concat(list) end

describe("a frame", function()
  for _, row in ipairs(golden) do
    local name, frame, golden_bytes = row[1], row[2], row[3]

    it("is frozen: " .. name, function()
      assert.equal(hex(unhex(golden_bytes)), hex(wire.encode(frame)))
    end)

    it("comes back as it went: " .. name, function()
      assert.same(frame, (wire.decode(wire.encode(frame))))
      assert.same(frame, (wire.decode(wire.encode(frame), 1000)))
      assert.same(frame, (wire.decode(wire.encode(frame, "before"):sub(7))))
    end)

    it("says its size as soon as its header is there: " .. name, function()
      local encoded = wire.encode(frame)
      for size, prefix in bytes.prefixes(encoded) do
        assert.equal(size < 16 and 0 or #encoded, wire.frame_size(prefix, 1 << 20))
      end
      assert.equal(#encoded, wire.frame_size(encoded .. encoded, #encoded))
    end)

    it("cut short anywhere, or longer, is refused: " .. name, function()
      local encoded = wire.encode(frame)
      for size, prefix in bytes.prefixes(encoded) do
        local decoded, code, text = wire.decode(prefix)
        assert.is_nil(decoded, "cut at " .. size)
        assert.equal("bad_request", code)
        assert.matches("are not the size it says", text, 1, true)
      end
      assert.is_nil((wire.decode(encoded .. "\0")))
    end)

    it("with any single bit turned is refused: " .. name, function()
      for bit, changed in bytes.flips(wire.encode(frame)) do
        local decoded, code, text = wire.decode(changed)
        assert.is_nil(decoded, "bit " .. bit)
        assert.is_not_nil(base.error_named(code))
        assert.is_true(#text > 10)
      end
    end)
  end

  it("has the bytes that the page in wire.h says", function()
    for _, row in ipairs(golden) do
      local encoded = wire.encode(row[2])
      local body = encoded:sub(17)
      local covered = row[2].type == "append" and base.measure(body) or nil
      assert.equal(hex(framed(NUMBERS[row[2].type], body, covered)), hex(encoded))
    end
  end)

  it("has a number and a name in one table, and knows which are Raft's", function()
    local found = {}
    for number = 0, 255 do
      local name, is_message = wire.type_name(number)
      if name ~= "?" then
        found[name] = number
        assert.equal(number < 32, is_message)
      end
    end
    assert.same(NUMBERS, found)
  end)

  it("begins a connection with a magic that no other language begins with", function()
    assert.equal("MCN1", wire.magic)
    assert.equal("node", wire.language(wire.magic:byte()))
    assert.equal("rpc", wire.language(0x93))
    assert.equal("rpc", wire.language(0x94))
    assert.equal("tls", wire.language(0x16))
    for _, other in ipairs { 0, 0x47, 0x50, 0x92, 0x95, 0xdc, 0xff } do
      assert.equal("unknown", wire.language(other))
    end
  end)
end)

describe("a frame's limits", function()
  it("a size beyond frame_bytes_max is refused by its header alone", function()
    local head = string.pack("<I4BBI2I8", 0xffffffff, 3, 0, 0, 0)
    local size, code, text = wire.frame_size(head, 16777216)
    assert.is_nil(size)
    assert.equal("too_large", code)
    assert.equal("append frame: 4294967311 bytes; the limit (frame_bytes_max) is 16777216", text)
    assert.equal(116, wire.frame_size(string.pack("<I4BBI2I8", 100, 3, 0, 0, 0), 116))
    assert.is_nil((wire.frame_size(string.pack("<I4BBI2I8", 100, 3, 0, 0, 0), 115)))
  end)

  it("an unknown type is refused by its number", function()
    for _, number in ipairs { 0, 5, 7, 13, 31, 63, 68, 255 } do
      local size, code, text = wire.frame_size(string.pack("<I4BBI2I8", 1, number, 0, 0, 0), 1000)
      assert.is_nil(size)
      assert.equal("version", code)
      assert.matches("type " .. number .. " is not known", text, 1, true)
      assert.is_nil((wire.decode(framed(number, "\x90"))))
    end
  end)
end)

describe("a body", function()
  it("with elements that a newer writer added at its end is read as before", function()
    for _, row in ipairs(golden) do
      local values, behind = elements(body_of(row[2]))
      table.insert(values, base.pack { x = { 1, 2 } })
      table.insert(values, base.pack "new")
      local longer = array(values)
      local frame = framed(NUMBERS[row[2].type], longer .. behind, row[2].type == "append" and #longer or nil)
      assert.same(row[2], (wire.decode(frame)), row[1])
    end
  end)

  it("with an element missing is refused", function()
    for _, row in ipairs(golden) do
      local values = elements(body_of(row[2]))
      for count = 0, #values - 1 do
        local shorter = array { table.unpack(values, 1, count) }
        local covered = row[2].type == "append" and #shorter or nil
        local decoded, code, text = wire.decode(framed(NUMBERS[row[2].type], shorter, covered))
        assert.is_nil(decoded, row[1])
        assert.equal("bad_request", code)
        assert.matches(row[2].type .. " frame: malformed (element " .. count + 1 .. ")", text, 1, true)
      end
    end
  end)

  it("with an element behind its array instead of within is refused", function()
    for _, row in ipairs(golden) do
      local values, behind = elements(body_of(row[2]))
      local body = string.char(0x90 + #values - 1) .. table.concat(values) .. behind
      local covered = row[2].type == "append" and #table.concat(values) + 1 or nil
      assert.is_nil((wire.decode(framed(NUMBERS[row[2].type], body, covered))), row[1])
    end
  end)

  it("with an element of another kind is refused", function()
    for _, row in ipairs(golden) do
      local values = elements(body_of(row[2]))
      for i = 1, #values do
        local changed = { table.unpack(values) }
        changed[i] = base.pack { "no" }
        local body = array(changed)
        local decoded, code = wire.decode(framed(NUMBERS[row[2].type], body, row[2].type == "append" and #body or nil))
        assert.is_nil(decoded, row[1] .. " element " .. i)
        assert.equal("bad_request", code)
      end
    end
  end)

  it("that is no array, or hostile, is refused without a crash", function()
    for _, body in ipairs { "", "\xc0", "\x80", "\xdd\xff\xff\xff\xff", ("\x91"):rep(100000), "\xdb\xff\xff\xff\xff",
      "\xc1",
      "\x9a" .. ("\xdd\xff\xff\xff\xff"):rep(10) } do
      for _, number in pairs(NUMBERS) do
        local covered = number == 3 and math.min(#body, 65535) or nil
        local decoded, code = wire.decode(framed(number, body, covered))
        assert.is_nil(decoded)
        assert.equal("bad_request", code)
      end
    end
  end)

  it("that is random, but well framed, is refused or means something", function()
    for seed = 1, 3000 do
      local random = base.random(seed, 40, 256)
      local body = string.char(0x90 + random[1] % 14, table.unpack(random, 2, 3 + random[40] % 36))
      for _, number in pairs(NUMBERS) do
        local decoded = wire.decode(framed(number, body, number == 3 and #body or nil))
        if decoded then assert.is_string(wire.encode(decoded)) end
      end
    end
  end)
end)

describe("fields that are out of their range", function()
  local function refused(frame, index, value)
    local values, behind = elements(body_of(frame))
    values[index] = base.pack(value)
    local decoded, code = wire.decode(framed(NUMBERS[frame.type], array(values) .. behind))
    assert.is_nil(decoded)
    assert.equal("bad_request", code)
  end
  local hello, forward, vote = golden[2][2], golden[4][2], golden[9][2]

  it("of a hello: id, incarnation 0, address, protocols the wrong way round, Lua's release", function()
    refused(hello, 1, "")
    refused(hello, 1, "a b")
    refused(hello, 1, ("n"):rep(65))
    refused(hello, 1, "n\0")
    refused(hello, 2, 0)
    refused(hello, 4, ("a"):rep(272))
    refused(hello, 4, "a\0:1")
    refused(hello, 5, 4)
    refused(hello, 6, 1 << 32)
    refused(hello, 8, ("5"):rep(16))
  end)

  it("of a forwarded request: kind, consistency, timeout", function()
    refused(forward, 2, 5)
    refused(forward, 3, 3)
    refused(forward, 6, 1 << 32)
  end)

  it("of a message: from, to, a negative term", function()
    refused(vote, 1, "")
    refused(vote, 2, "no id")
    refused(vote, 3, -1)
    refused(vote, 4, 1)
  end)

  it("a forwarded body that is not exactly one value of bearable depth", function()
    local head = body_of(forward):sub(1, -9)
    for _, body in ipairs { "", "\x92\x01", "\x01\x02", "\xc1", ("\x91"):rep(33) .. "\1", "\xdd\xff\xff\xff\xff" } do
      local decoded, code = wire.decode(framed(66, head .. body))
      assert.is_nil(decoded, hex(body):sub(1, 20))
      assert.equal("bad_request", code)
      if #body > 0 then assert.is_nil((wire.decode(framed(67, "\x92\1\0" .. body)))) end
    end
    assert.is_not_nil((wire.decode(framed(66, head .. ("\x91"):rep(26) .. "\1"))))
    assert.equal("", wire.decode(framed(67, "\x92\1\0")).body)
  end)

  it("an error number of a newer peer is internal to us: outcome unknown", function()
    assert.equal(22, wire.decode(framed(67, base.pack { 1, 999 } .. "\xc0")).code)
    assert.equal(22, wire.decode(framed(65, base.pack { 999, "text" })).code)
  end)

  it("bytes behind what has no bytes behind it", function()
    for _, row in ipairs(golden) do
      local type = row[2].type
      local behind = { install_snapshot = true, append = true, forward = true, forward_reply = true, hello = true }
      if not behind[type] then
        assert.is_nil((wire.decode(framed(NUMBERS[type], body_of(row[2]) .. "\0"))), type)
      end
    end
  end)
end)

describe("a snapshot's chunk", function()
  local frame = frame_of "install_snapshot, the last chunk"
  local values, chunk = elements(body_of(frame))

  local function with(changes, other)
    local changed = { table.unpack(values) }
    for index, value in pairs(changes) do changed[index] = value end
    return wire.decode(framed(9, array(changed) .. (other or chunk)))
  end

  it("answers for itself, behind a meta that answers for itself", function()
    assert.equal("the end\0", with({}).chunk)
    local _, code, text = with({}, "the end!")
    assert.same({ "corrupt", "install_snapshot frame: the chunk's checksum does not match" }, { code, text })
    local meta = formats.meta_encode(frame.meta)
    for bit, changed in bytes.flips(meta) do
      assert.is_nil((with { [8] = base.pack(changed) }), "bit " .. bit)
    end
    _, code = with { [8] = base.pack("\2" .. meta:sub(2)) }
    assert.equal("version", code)
    for size = 0, #meta - 1 do
      _, code = with { [8] = base.pack(meta:sub(1, size)) }
      assert.equal("corrupt", code)
    end
  end)

  it("lies within the snapshot, and says truly whether it ends it", function()
    for _, changes in ipairs { { [5] = base.pack(293) }, { [5] = base.pack(1 << 62) }, { [5] = base.pack(301) },
      { [7] = base.pack(false) }, { [5] = base.pack(291), [7] = base.pack(true) } } do
      local decoded, code, text = with(changes)
      assert.is_nil(decoded)
      assert.equal("bad_request", code)
      assert.matches("are no chunk of 300", text, 1, true)
    end
    assert.is_nil((wire.decode(framed(10, body_of(frame_of "snapshot_result"):gsub("\3\0\xcd", "\3\3\xcd")))))
  end)

  it("may be large", function()
    local large = install_snapshot(0, ("\xff\0z"):rep(1 << 20))
    large.meta.size = #large.chunk
    large.last = true
    assert.same(large, (wire.decode(wire.encode(large))))
    assert.equal(0, wire.blobs())
  end)
end)

describe("an append's entries", function()
  local frame = golden[11][2]
  local body = body_of(frame)
  local covered = base.measure(body)
  local entries = body:sub(covered + 1)

  -- The same message with other entries behind it.
  local function with(array_bytes, entry_bytes)
    return wire.decode(framed(3, array_bytes .. entry_bytes, #array_bytes))
  end
  local function counted(count)
    local values = elements(body)
    values[10] = base.pack(count)
    return array(values)
  end

  it("are the entries' own bytes, one behind the other", function()
    local expected = {}
    for i, one in ipairs(frame.entries) do expected[i] = formats.entry_encode(one) end
    assert.equal(hex(table.concat(expected)), hex(entries))
    assert.equal(3, #with(counted(3), entries).entries)
  end)

  it("each answer for themselves: damage names the entry", function()
    local _, code, text = with(counted(3), entries:sub(1, -2) .. "\0")
    assert.equal("corrupt", code)
    assert.equal("entry 13: its checksum does not match", text)
  end)

  it("of a newer program are refused as such", function()
    local newer = entry(11)
    newer.type = 9
    local _, code, text = with(counted(1), formats.entry_encode(newer))
    assert.equal("version", code)
    assert.matches("type 9 is not known", text, 1, true)
  end)

  it("must stand at the indexes that follow prev_index", function()
    for _, wrong in ipairs { { entry(12) }, { entry(10) }, { entry(11), entry(13) }, { entry(11), entry(11) } } do
      local list = {}
      for i, one in ipairs(wrong) do list[i] = formats.entry_encode(one) end
      local decoded, code, text = with(counted(#wrong), table.concat(list))
      assert.is_nil(decoded)
      assert.equal("bad_request", code)
      assert.matches("stands where", text, 1, true)
    end
  end)

  it("must be as many as were announced", function()
    local decoded, code, text = with(counted(2), entries)
    assert.is_nil(decoded)
    assert.equal("bad_request", code)
    assert.matches("bytes behind its entries", text, 1, true)
    decoded, code = with(counted(4), entries)
    assert.is_nil(decoded)
    assert.is_true(code == "bad_request" or code == "corrupt")
  end)

  it("announced by the billion get no memory", function()
    for _, count in ipairs { 4, 1000, 0xffffffff } do
      local decoded, code, text, room = with(counted(count), entries:sub(1, 200))
      assert.is_nil(decoded)
      assert.equal("bad_request", code)
      assert.matches("200 bytes cannot hold " .. count .. " entries", text, 1, true)
      assert.equal(0, room)
    end
    local _, room = wire.decode(wire.encode(frame))
    assert.equal(3, room)
  end)

  it("must begin where the header says, and only an append may say so", function()
    for _, wrong in ipairs { 0, covered - 1, covered + 1, covered + 72, #body + 1 } do
      local head = string.pack("<I4BBI2", #body, 3, 0, wrong)
      local digest = string.pack("<i8", base.hash(wrong == 0 and body or body:sub(1, wrong)))
      local decoded, code = wire.decode(head .. string.pack("<i8", base.hash(head .. digest)) .. body)
      assert.is_nil(decoded, wrong)
      assert.equal("bad_request", code)
    end
    local vote = body_of(golden[9][2])
    assert.is_nil((wire.decode(framed(2, vote, #vote))))
  end)

  it("many and large come back as they went", function()
    local many = {}
    for i = 1, 2000 do many[i] = entry(10 + i, ("x"):rep(i % 97)) end
    local large = append(many)
    local encoded = wire.encode(large)
    assert.same(large, (wire.decode(encoded)))
    large = append { entry(11, ("y"):rep(2097152)) }
    assert.same(large, (wire.decode(wire.encode(large))))
    assert.is_nil((wire.decode(wire.encode(large):sub(1, -2) .. "z")))
  end)

  it("leave no blob behind", function()
    for _, changed in bytes.flips(wire.encode(frame)) do wire.decode(changed) end
    assert.same(frame, (wire.decode(wire.encode(frame))))
    assert.equal(0, wire.blobs())
  end)
end)
