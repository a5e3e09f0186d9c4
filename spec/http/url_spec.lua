-- What URLs carry: escapes and queries.
local base = require "moonclave.base"
local http = require "moonclave.http"

describe("percent-decoding", function()
  it("gives any byte, and leaves the rest alone", function()
    assert.equal("a b/c%\0\xff+", http.percent_decode "a%20b%2Fc%25%00%fF+")
    assert.equal("a b c", http.percent_decode("a+b%20c", true))
    assert.equal("", http.percent_decode "")
    for byte = 0, 255 do
      assert.equal(string.char(byte), http.percent_decode(("%%%02x"):format(byte)))
      assert.equal(string.char(byte), http.percent_decode(("%%%02X"):format(byte)))
    end
  end)

  it("refuses broken escapes", function()
    for _, text in ipairs { "%", "%2", "a%", "a%2", "%g0", "%0g", "%%20", "%-1", "% 1" } do
      local decoded, code = http.percent_decode(text)
      assert.is_nil(decoded)
      assert.equal("bad_request", code)
    end
  end)
end)

describe("a query", function()
  local function query(text) return (base.unpack((assert(http.query(text))))) end

  it("is a map of strings", function()
    assert.same({}, query "")
    assert.same({ a = "1", b = "", c = "", ["d e"] = "f g", ["x=y"] = "z=z" },
      query "a=1&b=&c&d+e=f%20g&&x%3Dy=z=z&")
  end)

  it("keeps the last of equal names", function()
    assert.same({ a = "3", b = "2" }, query "a=1&b=2&%61=3")
  end)

  it("is canonical: the same pairs give the same bytes", function()
    assert.equal(http.query "a=1&b=2&c=3", http.query "c=3&a=0&b=2&a=1")
  end)

  it("is refused with a broken escape, or too many names", function()
    for _, text in ipairs { "a=%", "%zz=1", ("a=1&"):rep(129) } do assert.is_nil((http.query(text))) end
    assert.same({ a = "1" }, query(("a=1&"):rep(128)))
  end)
end)
