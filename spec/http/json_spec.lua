-- JSON to values and back: nothing is rounded, nothing is guessed, and an error says where.
local base = require "moonclave.base"
local http = require "moonclave.http"

local function value_of(json) return (base.unpack((assert(http.json_to_value(json))))) end
local function json_of(value) return assert(http.json_from_value(base.pack(value))) end
local function again(json) return assert(http.json_from_value(assert(http.json_to_value(json)))) end

local function refused(json)
  local value, code, text = http.json_to_value(json)
  assert.is_nil(value, "not refused: " .. json)
  assert.equal("bad_request", code)
  return text
end

describe("JSON", function()
  it("comes back as it went in, compact and with its keys in order", function()
    for given, expected in pairs {
      ["true"] = "true", ["false"] = "false", ["null"] = "null", ['""'] = '""', ["[]"] = "[]", ["{}"] = "{}",
      [' { "b" : [ 1 , 2.5 , "x" ] , "a" : { } } '] = '{"a":{},"b":[1,2.5,"x"]}',
      ['{"é":"\\u00e9\\ud83d\\ude00"}'] = '{"é":"é😀"}',
      ['"\\"\\\\\\/\\b\\f\\n\\r\\t\\u0001\\u000b\\u001f"'] = '"\\"\\\\/\\b\\f\\n\\r\\t\\u0001\\u000b\\u001f"',
      ['"a\\u0000b"'] = '"a\\u0000b"',
      ['{"bb":1,"a":2,"b":3,"ab":4,"":5}'] = '{"":5,"a":2,"ab":4,"b":3,"bb":1}',
    } do
      assert.equal(expected, again(given))
      assert.equal(expected, again(expected))
    end
  end)

  it("keeps integers exact, to the last of 64 bits", function()
    for _, text in ipairs { "0", "-1", "9007199254740993", "9223372036854775807", "-9223372036854775808" } do
      assert.equal(text, again(text))
      assert.equal("integer", math.type(value_of(text)))
    end
    assert.truthy(refused("9223372036854775808"):find("line 1 column", 1, true))
    refused "-9223372036854775809"
    refused "123456789012345678901234567890"
  end)

  it("keeps integers and floats apart", function()
    assert.equal("1.0", again "1.0")
    assert.equal("float", math.type(value_of "1.0"))
    assert.equal("100.0", again "1e2")
    assert.equal("-0.0", again "-0.0")
    assert.equal("0.1", again "0.1")
    assert.equal("1e+300", again "1e300")
    assert.equal("0.30000000000000004", json_of(0.1 + 0.2))
    for _, number in ipairs { 5e-324, 1 / 3, 1.7976931348623157e308, 123456789.123456789, 2 ^ 53 + 2.0 } do
      assert.equal(number, value_of(json_of(number)))
    end
    refused "1e400"
  end)

  it("has no word for what is no number: null", function()
    assert.equal("[null,null,null]", json_of { 0 / 0, 1 / 0, -1 / 0 })
  end)

  it("null is absent in a map, nil in an array and at the top", function()
    assert.equal('{"b":1}', again '{"a":null,"b":1,"c":null}')
    assert.equal("[1,null,2]", again "[1,null,2]")
    assert.equal("\xc0", http.json_to_value "null")
  end)

  it("carries bytes that are no UTF-8 as base64, both ways", function()
    for bytes, json in pairs {
      ["\xff"] = '{"$bytes":"/w=="}', ["\xff\xfe"] = '{"$bytes":"//4="}', ["\xff\xfe\xfd"] = '{"$bytes":"//79"}',
      ["\0\x80\0\x01"] = '{"$bytes":"AIAAAQ=="}', ["\xed\xa0\x80"] = '{"$bytes":"7aCA"}',
    } do
      assert.equal(json, json_of(bytes))
      assert.equal(bytes, value_of(json))
    end
    local all = {}
    for byte = 0, 255 do all[#all + 1] = string.char(byte) end
    all = table.concat(all)
    assert.equal(all, value_of(json_of(all)))
    assert.equal("plain", value_of '{"$bytes":"cGxhaW4="}')
    assert.equal('{"a":{"$bytes":"/w=="}}', json_of { a = "\xff" })
  end)

  it("refuses base64 that is none, and leaves other maps with that key alone", function()
    for _, text in ipairs { "/w=", "/w", "/x==", "/w==\\n", "=w==", "/===", "====", "//9=", "_w==", "/w==/w==" } do
      assert.truthy(refused('{"$bytes":"' .. text .. '"}'):find("base64", 1, true), text)
    end
    assert.equal("", value_of '{"$bytes":""}')
    assert.equal('{"$bytes":1}', again '{"$bytes":1}')
    assert.equal('{"$bytes":"x","a":1}', again '{"a":1,"$bytes":"x"}')
  end)

  it("writes keys that are integers as strings, and keys that are bytes as base64", function()
    assert.equal('{"-1":true,"7":true,"a":true}', json_of { [-1] = true, [7] = true, a = true })
    assert.equal('{"$bytes:/w==":1}', json_of { ["\xff"] = 1 })
  end)

  it("gives equal bytes for equal values, whatever the order and the white space", function()
    local one = http.json_to_value '{"a":1,"b":{"x":[],"y":"z"}}'
    assert.equal(one, http.json_to_value '\t{"b" : {"y":"\\u007a", "x":[ ], "n":null},\r\n "a":1}')
    local keys, shuffled = {}, {}
    for i = 1, 500 do
      keys[i] = ('"%d":%d'):format(i, i)
      shuffled[i * 7 % 501] = keys[i]
    end
    assert.equal(http.json_to_value("{" .. table.concat(keys, ",") .. "}"),
      http.json_to_value("{" .. table.concat(shuffled, ",") .. "}"))
  end)

  it("says line and column of what is wrong", function()
    for json, place in pairs {
      ['{"a":1,\n "b":2,\n  oops}'] = "line 3 column 6", ["[1,2"] = "line 1 column 4", [""] = "line 1 column 0",
      ['{"a":1}x'] = "line 1 column 8", ['["\\q"]'] = "line 1 column 4", ['{"a":1,"a":2}'] = "line 1 column 10",
      ['\n\n"a\n"'] = "line 3 column", ["nul"] = "line 1 column 3", ["[1,]"] = "line 1 column 4",
      ['{"a\\u0000b":1}'] = "line 1 column", ['"\xff"'] = "line 1 column", ["'a'"] = "line 1 column",
      ["[01]"] = "line 1 column", ['"\\ud800"'] = "line 1 column",
    } do
      local text = refused(json)
      assert.truthy(text:find(place, 1, true), ("%s: %s"):format(json, text))
      assert.is_nil(text:find("[\x80-\xff]"), "the text quotes foreign bytes")
    end
  end)

  it("is limited in depth, before any of it costs memory", function()
    local function nested(depth) return ("["):rep(depth) .. ("]"):rep(depth) end
    assert.equal(nested(24), again(nested(24)))
    assert.truthy(refused(nested(25)):find("line 1 column 25: nested too deep", 1, true))
    assert.truthy(refused("\n" .. ('{"a":'):rep(100000)):find("line 2 column 121: nested too deep", 1, true))
    assert.equal('"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["', again '"[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["')
    assert.truthy(refused("[" .. ("[],"):rep(300000) .. "1]"):find("too many arrays", 1, true))
  end)

  it("is not written from bytes that are no value", function()
    for _, bytes in ipairs {
      "", "\xc1", "\x91", "\x81\x01", "\xa5abc", "\x01\x01", "\x81\xc0\x01", ("\x91"):rep(30) .. "\x01",
    } do
      local json, code = http.json_from_value(bytes)
      assert.is_nil(json)
      assert.equal("bad_request", code)
    end
  end)
end)
