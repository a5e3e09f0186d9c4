-- Responses as bytes: exactly one, whatever a script put into it.
local base = require "moonclave.base"
local http = require "moonclave.http"

-- Status line, headers by name, and the rest.
local function read(bytes)
  local head, body = bytes:match "^(.-\r\n)\r\n(.*)$"
  local status, headers = head:match "^HTTP/1.1 ([^\r\n]*)\r\n", {}
  for name, value in head:gmatch "\n([^:\r\n]+): ([^\r\n]*)" do
    assert.is_nil(headers[name], "twice: " .. name)
    headers[name] = value
  end
  return status, headers, body
end

describe("a response", function()
  it("with bytes says their length and is bytes by default", function()
    local status, headers, body = read(http.response { status = 200, bytes = "a\r\n\0b" })
    assert.equal("200 OK", status)
    assert.same({ ["content-length"] = "5", ["content-type"] = "application/octet-stream" }, headers)
    assert.equal("a\r\n\0b", body)
  end)

  it("with a value is JSON", function()
    local status, headers, body = read(http.response { status = 409, value = base.pack { a = { 1, 2 } } })
    assert.equal("409 Conflict", status)
    assert.same({ ["content-length"] = "11", ["content-type"] = "application/json" }, headers)
    assert.equal('{"a":[1,2]}', body)
  end)

  it("with nothing has length 0", function()
    local _, headers, body = read(http.response { status = 200 })
    assert.same({ ["content-length"] = "0" }, headers)
    assert.equal("", body)
  end)

  it("to a HEAD has the headers of the GET and no body", function()
    for _, given in ipairs { { bytes = "hello" }, { value = base.pack "hel" } } do
      given.status, given.head_only = 200, true
      local _, headers, body = read(http.response(given))
      assert.equal("5", headers["content-length"])
      assert.equal("", body)
    end
  end)

  it("of a status without a body has none, and no length", function()
    for _, status in ipairs { 204, 304 } do
      local _, headers, body = read(http.response { status = status, bytes = "ignored" })
      assert.is_nil(headers["content-length"])
      assert.equal("", body)
    end
  end)

  it("says so when the connection ends", function()
    local _, headers = read(http.response { status = 200, close = true })
    assert.equal("close", headers["connection"])
  end)

  it("takes the script's headers, its content type first of all", function()
    local _, headers = read(http.response {
      status = 200, bytes = "<p>",
      headers = { { name = "Content-Type", value = "text/html" }, { name = "x-a", value = "1\t2" } },
    })
    assert.same({ ["Content-Type"] = "text/html", ["x-a"] = "1\t2", ["content-length"] = "3" }, headers)
  end)

  it("drops headers that would be more than one line, or none", function()
    local _, headers, body = read(http.response {
      status = 200, bytes = "b",
      headers = {
        { name = "x-a", value = "1\r\nx-b: 2" }, { name = "x-c\r\nx-d", value = "1" }, { name = "x e", value = "1" },
        { name = "", value = "1" }, { name = "x:y", value = "1" }, { name = "x-z", value = "a\0b" },
        { name = "x-ok", value = "fine" },
      },
    })
    assert.same({ ["x-ok"] = "fine", ["content-length"] = "1", ["content-type"] = "application/octet-stream" }, headers)
    assert.equal("b", body)
  end)

  it("never lets a script say where the body ends", function()
    local _, headers, body = read(http.response {
      status = 200, bytes = "b",
      headers = {
        { name = "Content-Length", value = "100" }, { name = "transfer-encoding", value = "chunked" },
        { name = "Connection", value = "close" },
      },
    })
    assert.same({ ["content-length"] = "1", ["content-type"] = "application/octet-stream" }, headers)
    assert.equal("b", body)
  end)

  it("whose value is no value is an error, not half a response", function()
    local status, _, body = read(http.response { status = 200, value = "\x91" })
    assert.equal("500 Internal Server Error", status)
    assert.truthy(body:find('"code":"internal"', 1, true))
    status, _, body = read(http.response { status = 200, value = "\x91", head_only = true })
    assert.equal("500 Internal Server Error", status)
    assert.equal("", body)
  end)

  it("for an error has its code and message", function()
    local status, headers, body = read(http.error("too_large", 431, "too long", true))
    assert.equal("431 Request Header Fields Too Large", status)
    assert.equal("close", headers["connection"])
    assert.equal('{"error":{"code":"too_large","message":"too long"}}', body)
    assert.truthy(http.error("timeout", 504):find("may or may not", 1, true), "no message: the table's")
  end)
end)
