-- msgpack-RPC, as its specification has it: https://github.com/msgpack-rpc/msgpack-rpc/blob/master/spec.md
local base = require "moonclave.base"
local wire = require "moonclave.wire"
local bytes = require "support.bytes"
local hex, unhex = bytes.hex, bytes.unhex

local pack = base.pack

describe("msgpack-RPC messages", function()
  it("are the bytes of the specification", function()
    assert.equal("9400ccc8a3707574" .. "9201a178", hex(wire.rpc_request(200, "put", pack { 1, "x" })))
    assert.equal("9302a4676f6e6590", hex(wire.rpc_notification("gone", pack {})))
    assert.equal("940107c005", hex(wire.rpc_result(7, pack(5))))
    assert.equal("940107a26e6fc0", hex(wire.rpc_error(7, pack "no")))
    assert.equal("9401ceffffffffc0c0", hex(wire.rpc_result(0xffffffff, "\xc0")))
    assert.same({ 1, 7, { code = "timeout", message = "late" }, base.null },
      (base.unpack(wire.rpc_error_code(7, 3, "late"))))
    assert.equal("no outcome in time: it may or may not have been done",
      base.unpack(wire.rpc_error_code(7, 3))[3].message)
  end)

  local request = { type = "request", id = 200, method = "put", params = pack { 1, "x" }, error = "", result = "" }
  local notification = { type = "notification", id = 0, method = "gone", params = pack { { a = 1 } }, error = "",
    result = "" }
  local result = { type = "response", id = 7, method = "", params = "", error = "\xc0", result = pack { 1, 2 } }
  local failure = { type = "response", id = 8, method = "", params = "", error = pack "no", result = "\xc0" }
  local stream = wire.rpc_request(200, "put", request.params) .. wire.rpc_notification("gone", notification.params) ..
    wire.rpc_result(7, result.result) .. wire.rpc_error(8, failure.error)
  local all = { request, notification, result, failure }

  it("are found in a stream, in pieces of any size", function()
    for step = 1, #stream do
      local found, left = wire.rpc_parse(stream, step)
      assert.same(all, found)
      assert.equal(0, left)
    end
  end)

  it("are waited for until they are whole", function()
    for size, prefix in bytes.prefixes(stream) do
      local found, left = wire.rpc_parse(prefix, 1)
      assert.is_true(#found < 4)
      assert.same({ table.unpack(all, 1, #found) }, found)
      local consumed = size - left
      assert.is_true(consumed >= 0 and left < 20)
    end
  end)

  it("may be written by anyone: longer forms of numbers, a method as bin", function()
    assert.same({ { type = "request", id = 5, method = "put", params = "\xdc\x00\x01\xc0", error = "", result = "" } },
      (wire.rpc_parse(unhex "94 cc00 ce00000005 c403707574 dc0001c0", 100)))
  end)
end)

describe("what is not msgpack-RPC", function()
  -- what, bytes, what the log says, the code
  local strangers = {
    { "an HTTP request", "GET / HTTP/1.1\r\n", "0x47 does not begin a msgpack-RPC message" },
    { "a map", pack { a = 1 }, "0x81 does not begin" },
    { "a TLS hello", "\x16\x03\x01", "0x16 does not begin" },
    { "a type of 3", pack { 3, 1, "m", {} }, "neither [0, msgid, method, params]" },
    { "a type below 0", pack { -1, 1, "m", {} }, "neither" },
    { "a type that is text", pack { "0", 1, "m", {} }, "neither" },
    { "a request of three", pack { 0, 1, "m" }, "neither" },
    { "a notification of four", pack { 2, 1, "m", {} }, "neither" },
    { "a response of three", pack { 1, 1, base.null }, "neither" },
    { "a number beyond 32 bits", pack { 0, 1 << 32, "m", {} }, "neither" },
    { "a number below 0", pack { 0, -1, "m", {} }, "neither" },
    { "a method that is a number", pack { 0, 1, 5, {} }, "neither" },
    { "params that are a map", pack { 0, 1, "m", { a = 1 } }, "neither" },
    { "params that are nil", pack { 2, "m", base.null }, "neither" },
    { "an ext", "\x94\x00\x01\xa1m\xd4\x00\x00", "no value begins with 0xd4" },
    { "0xc1", "\x94\x00\x01\xc1", "no value begins with 0xc1" },
  }
  for _, row in ipairs(strangers) do
    it("is refused with a text for the log: " .. row[1], function()
      for _, step in ipairs { 1, 1000 } do
        local found, code, text, before = wire.rpc_parse(wire.rpc_result(1, "\xc0") .. row[2], step)
        assert.is_nil(found)
        assert.equal("bad_request", code)
        assert.matches(row[3], text, 1, true)
        assert.equal(1, #before)
      end
    end)
  end

  it("a bomb is refused when it is announced, not when it has arrived", function()
    for _, bomb in ipairs { "\x94\x00\x01\xdb\xff\xff\xff\xff", "\x94\x00\x01\xa1m\xdd\xff\xff\xff\xff",
      "\x94\x00\x01\xa1m\xdf\x00\x10\x00\x00", "\x94\x00\x01\xa1m\x91\xc6\x00\x10\x00\x00" } do
      local found, code, text = wire.rpc_parse(bomb, 1, 1 << 20)
      assert.is_nil(found)
      assert.equal("too_large", code)
      assert.matches("more than", text, 1, true)
    end
  end)

  it("values nested as deep as ours may be are let through, deeper ones are not", function()
    local function deep(depth) return "\x94\x00\x01\xa1m\x91" .. ("\x91"):rep(depth) .. "\x01" end
    assert.equal(1, #wire.rpc_parse(deep(24), 1))
    local found, code = wire.rpc_parse(deep(25), 1)
    assert.is_nil(found)
    assert.equal("too_large", code)
  end)

  it("random bytes behind a good beginning never do harm", function()
    for seed = 1, 2000 do
      local random = base.random(seed, 60, 256)
      local stream = string.char(0x93 + random[1] % 2, random[2] % 3, table.unpack(random, 3, 60))
      local found, code, text = wire.rpc_parse(stream, 1 + seed % 7)
      if not found then
        assert.is_not_nil(base.error_named(code))
        assert.is_true(#text > 10)
      end
    end
  end)

  it("a turned bit anywhere is read or refused, never run past", function()
    local stream = wire.rpc_request(200, "put", pack { "key", { a = { 1, 2.5, "\xff" } } })
    for _, changed in bytes.flips(stream) do
      local found, left = wire.rpc_parse(changed, 3)
      if found then assert.is_true(left >= 0 and left <= #changed) end
    end
  end)
end)

describe("a long message in small pieces", function()
  -- 300 000 elements one byte at a time: walked from the start each time this would be 45 billion steps.
  it("is walked once", function()
    local big = wire.rpc_request(1, "m", "\xdd" .. string.pack(">I4", 300000) .. ("\1"):rep(300000))
    local found = wire.rpc_parse(big, 1)
    assert.equal(1, #found)
    assert.equal(300005, #found[1].params)
  end)
end)
