-- Requests out of bytes: however the bytes are cut, the same requests come out, or the same refusal.
local http = require "moonclave.http"

local LIMITS = { head_bytes_max = 4096, body_bytes_max = 1000 }

-- Feeds the pieces one after the other, taking requests as they become whole. Returns them and the failure, if any.
local function feed_all(pieces, limits)
  local connection = http.connection(limits or LIMITS)
  local requests, rest = {}, ""
  for _, piece in ipairs(pieces) do
    rest = rest .. piece
    while true do
      local consumed, request, failure = connection:feed(rest)
      rest = rest:sub(consumed + 1)
      if failure then return requests, failure end
      if not request then break end
      requests[#requests + 1] = request
    end
    assert.equal("", rest, "bytes were left though no request was reported")
  end
  return requests, nil, connection
end

local function bytes_of(text)
  local pieces = {}
  for i = 1, #text do pieces[i] = text:sub(i, i) end
  return pieces
end

local function one(text, limits)
  local requests, failure = feed_all({ text }, limits)
  assert.is_nil(failure)
  assert.equal(1, #requests)
  return requests[1]
end

local function refused(text, limits)
  local requests, failure = feed_all({ text }, limits)
  assert.is_not_nil(failure, "not refused: " .. text)
  assert.equal(0, #requests)
  local same_requests, same = feed_all(bytes_of(text), limits)
  assert.equal(0, #same_requests)
  assert.equal(failure.code, same.code)
  assert.equal(failure.status, same.status)
  return failure
end

describe("a request", function()
  it("has a method, a path, a query, lower-case headers and a body", function()
    local request = one("PUT /kv/a%20b?x=1&y=%2F HTTP/1.1\r\nHost: here\r\nX-Thing:  two words \t\r\nEmpty:\r\n"
      .. "Content-Length: 5\r\n\r\nhello")
    assert.equal("PUT", request.method)
    assert.equal("/kv/a%20b", request.path)
    assert.equal("x=1&y=%2F", request.query)
    assert.equal("hello", request.body)
    assert.same({
      { name = "host", value = "here" }, { name = "x-thing", value = "two words" }, { name = "empty", value = "" },
      { name = "content-length", value = "5" },
    }, request.headers)
    assert.is_true(request.keep_alive)
  end)

  it("may name its target in any form of RFC 9112", function()
    local function target(text)
      local request = one("GET " .. text .. " HTTP/1.1\r\nHost: h\r\n\r\n")
      return request.path, request.query
    end
    assert.same({ "/a", "b?c" }, { target "/a?b?c" })
    assert.same({ "/a", "" }, { target "/a?" })
    assert.same({ "/a", "" }, { target "/a#frag?no" })
    assert.same({ "/a/b", "q=1" }, { target "http://host:80/a/b?q=1" })
    assert.same({ "/", "" }, { target "http://host" })
    assert.same({ "/", "q" }, { target "http://host?q" })
    assert.same({ "//double//", "" }, { target "//double//" })
    assert.equal("*", (one "OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n").path)
  end)

  it("says whether the connection stays open", function()
    local function stays(version, header)
      return one(("GET / HTTP/%s\r\nHost: h\r\n%s\r\n"):format(version, header)).keep_alive
    end
    assert.is_true(stays("1.1", ""))
    assert.is_false(stays("1.1", "Connection: close\r\n"))
    assert.is_false(stays("1.0", ""))
    assert.is_true(stays("1.0", "Connection: Keep-Alive\r\n"))
  end)

  it("with an offer to upgrade is served as it is, and so is the next one", function()
    local upgrade = "GET /chat HTTP/1.1\r\nHost: h\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    local requests, failure = feed_all { upgrade .. upgrade }
    assert.is_nil(failure)
    assert.equal(2, #requests)
    assert.equal("/chat", requests[2].path)
  end)

  it("that is a HEAD says so", function()
    assert.is_true(one("HEAD / HTTP/1.1\r\nHost: h\r\n\r\n").head_only)
    assert.is_false(one("GET / HTTP/1.1\r\nHost: h\r\n\r\n").head_only)
  end)

  it("in chunks has its body put together, without its trailers", function()
    local request = one("POST / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
      .. "3\r\nabc\r\nA;ext=1\r\n0123456789\r\n0\r\nX-Trailer: t\r\n\r\n")
    assert.equal("abc0123456789", request.body)
    assert.equal(2, #request.headers)
  end)
end)

describe("cutting the bytes", function()
  local stream = "\r\nPUT /kv/k?a=b HTTP/1.1\r\nHost: h\r\nEmpty:\r\nContent-Length: 4\r\n\r\nbody"
    .. "POST /c HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n1\r\n!\r\n0\r\n\r\n"
    .. "HEAD /h HTTP/1.1\r\nHost: h\r\n\r\n"
    .. "GET http://h/last?x HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"
  local whole = feed_all { stream }

  it("finds four requests in one piece", function()
    assert.equal(4, #whole)
    assert.same({ "body", "hi!", "", "" },
      { whole[1].body, whole[2].body, whole[3].body, whole[4].body })
  end)

  it("byte by byte gives the same", function() assert.same(whole, (feed_all(bytes_of(stream)))) end)

  it("in two pieces at every place gives the same", function()
    for cut = 1, #stream - 1 do
      assert.same(whole, (feed_all { stream:sub(1, cut), stream:sub(cut + 1) }), "cut at " .. cut)
    end
  end)

  it("in three pieces at many places gives the same", function()
    for first = 1, #stream - 2, 7 do
      for second = first + 1, #stream - 1, 5 do
        assert.same(whole, (feed_all { stream:sub(1, first), stream:sub(first + 1, second), stream:sub(second + 1) }))
      end
    end
  end)

  it("leaves pipelined bytes with the caller", function()
    local connection = http.connection(LIMITS)
    local first = "GET /1 HTTP/1.1\r\nHost: h\r\n\r\n"
    local consumed, request = connection:feed(first .. "GET /2 HTTP/1.1\r\n")
    assert.equal(#first, consumed)
    assert.equal("/1", request.path)
    assert.is_false(connection:mid_request())
    consumed, request = connection:feed "GET /2 HTTP/1.1\r\n"
    assert.equal(17, consumed)
    assert.is_nil(request)
    assert.is_true(connection:mid_request())
  end)
end)

describe("limits", function()
  it("refuse a body by its Content-Length, before it comes", function()
    local failure = refused "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1001\r\n\r\n"
    assert.equal("too_large", failure.code)
    assert.equal(413, failure.status)
    assert.equal(1000, #one("PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 1000\r\n\r\n" .. ("x"):rep(1000)).body)
  end)

  it("refuse a body in chunks at the chunk that is too much, before it comes", function()
    local head = "PUT / HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n"
    local body = ("1f4\r\n%s\r\n"):format(("x"):rep(500))
    assert.equal(413, refused(head .. body .. body .. "1\r\n").status)
    assert.equal(1000, #one(head .. body .. body .. "0\r\n\r\n").body)
    assert.equal(413, refused(head .. "fffffffffffffff\r\n").status)
  end)

  it("refuse a head that is too long, wherever it is long", function()
    for _, text in ipairs {
      "GET /" .. ("a"):rep(5000),
      "GET / HTTP/1.1\r\n" .. ("n"):rep(5000),
      "GET / HTTP/1.1\r\nname: " .. ("v"):rep(5000),
      "GET / HTTP/1.1\r\n" .. ("n: v\r\n"):rep(90) .. ("name: value of some length................\r\n"):rep(90),
    } do
      local failure = refused(text)
      assert.equal("too_large", failure.code)
      assert.equal(431, failure.status)
    end
  end)

  it("refuse more headers than anybody needs", function()
    local head = "GET / HTTP/1.1\r\nhost: h\r\n"
    assert.equal(100, #one(head .. ("a: b\r\n"):rep(99) .. "\r\n").headers)
    assert.equal(431, refused(head .. ("a: b\r\n"):rep(100) .. "\r\n").status)
  end)

  it("count per request, not per connection", function()
    local request = "PUT / HTTP/1.1\r\nHost: h\r\nContent-Length: 900\r\n\r\n" .. ("x"):rep(900)
    assert.equal(20, #feed_all { request:rep(20) })
  end)
end)

describe("two readings of where a request ends", function()
  local function with(headers, body) return "POST / HTTP/1.1\r\nHost: h\r\n" .. headers .. "\r\n" .. (body or "") end

  local shapes = {
    ["both lengths"] = with("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ["both lengths, the other way round"] = with("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", "0\r\n\r\n"),
    ["two different lengths"] = with("Content-Length: 5\r\nContent-Length: 6\r\n", "hello!"),
    ["two equal lengths"] = with("Content-Length: 5\r\nContent-Length: 5\r\n", "hello"),
    ["a list of lengths"] = with("Content-Length: 5, 5\r\n", "hello"),
    ["a negative length"] = with("Content-Length: -1\r\n"),
    ["a length with a sign"] = with("Content-Length: +5\r\n", "hello"),
    ["a hexadecimal length"] = with("Content-Length: 0x5\r\n", "hello"),
    ["no length at all in it"] = with("Content-Length: \r\n", "hello"),
    ["a length beyond 64 bits"] = with("Content-Length: 99999999999999999999\r\n"),
    ["another encoding"] = with("Transfer-Encoding: gzip\r\n", "hello"),
    ["an encoding before chunked"] = with("Transfer-Encoding: gzip, chunked\r\n", "0\r\n\r\n"),
    ["an encoding after chunked"] = with("Transfer-Encoding: chunked, identity\r\n", "0\r\n\r\n"),
    ["chunked twice"] = with("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", "0\r\n\r\n"),
    ["almost chunked"] = with("Transfer-Encoding: xchunked\r\n", "0\r\n\r\n"),
    ["chunked with a control character"] = with("Transfer-Encoding: \vchunked\r\n", "0\r\n\r\n"),
    ["white space before the colon"] = with("Transfer-Encoding : chunked\r\n", "0\r\n\r\n"),
    ["a chunk size with junk"] = with("Transfer-Encoding: chunked\r\n", "5x\r\nhello\r\n0\r\n\r\n"),
    ["a negative chunk size"] = with("Transfer-Encoding: chunked\r\n", "-5\r\nhello\r\n0\r\n\r\n"),
    ["chunked in HTTP/1.0"] = "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    ["two hosts"] = with("Host: other\r\n"),
  }
  for name, text in pairs(shapes) do
    it("is refused: " .. name, function()
      local failure = refused(text)
      assert.equal("bad_request", failure.code)
      assert.equal(400, failure.status)
    end)
  end
end)

describe("what is no request", function()
  local texts = {
    "\x16\x03\x01\x02\x00", "hello\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "get / HTTP/1.1\r\n\r\n", "GET / HTTP/2.0\r\n\r\n", "GET / HTTP/0.9\r\n\r\n", "GET /\r\n\r\n",
    "GET / FTP/1.1\r\n\r\n", "CONNECT h:80 HTTP/1.1\r\nHost: h\r\n\r\n", "GET nowhere HTTP/1.1\r\n\r\n",
    "GET / HTTP/1.1\r\nna me: v\r\n\r\n", "GET / HTTP/1.1\r\n: v\r\n\r\n", "GET / HTTP/1.1\r\nname\r\n\r\n",
    "GET / HTTP/1.1\r\nname: a\0b\r\n\r\n", "GET / HTTP/1.1\r\nname: a\1b\r\n\r\n",
    "GET / HTTP/1.1\r\nn\0me: v\r\n\r\n", "GET /a\0b HTTP/1.1\r\nHost: h\r\n\r\n",
  }
  for _, text in ipairs(texts) do
    it(("is refused with a text: %q"):format(text):gsub("[\n\r]+", " "), function()
      local failure = refused(text)
      assert.equal("bad_request", failure.code)
      assert.equal(400, failure.status)
      assert.truthy(#failure.message > 10)
    end)
  end

  it("ends the connection: what follows is refused too", function()
    local connection = http.connection(LIMITS)
    local _, _, failure = connection:feed "nonsense\r\n\r\n"
    assert.equal(400, failure.status)
    local consumed, request, again = connection:feed "GET / HTTP/1.1\r\nHost: h\r\n\r\n"
    assert.equal(0, consumed)
    assert.is_nil(request)
    assert.equal(400, again.status)
  end)

  it("does not bring the parser down, whatever byte is changed", function()
    local text = "PUT /kv/k?a=b HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    local answers = { whole = 0, refused = 0, waiting = 0 }
    for at = 1, #text do
      for byte = 0, 255, 3 do
        local changed = text:sub(1, at - 1) .. string.char(byte) .. text:sub(at + 1)
        local connection = http.connection(LIMITS)
        local consumed, request, failure = connection:feed(changed)
        assert.truthy(consumed <= #changed)
        local answer = failure and "refused" or request and "whole" or "waiting"
        answers[answer] = answers[answer] + 1
      end
    end
    assert.truthy(answers.whole > 100 and answers.refused > 100 and answers.waiting > 10)
  end)
end)

describe("Expect: 100-continue", function()
  local head = "PUT / HTTP/1.1\r\nHost: h\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n"

  it("is reported once, when the head is whole and the body is not there", function()
    local connection = http.connection(LIMITS)
    connection:feed(head:sub(1, -2))
    assert.is_false(connection:expects_continue())
    connection:feed(head:sub(-1))
    assert.is_true(connection:expects_continue())
    connection:feed "he"
    assert.is_false(connection:expects_continue())
    local _, request = connection:feed "llo"
    assert.equal("hello", request.body)
    assert.is_false(connection:expects_continue())
  end)

  it("is needless when the body came along, when there is none, and unknown to HTTP/1.0", function()
    for _, text in ipairs {
      head .. "h", (head:gsub("Length: 5", "Length: 0")), (head:gsub("HTTP/1.1", "HTTP/1.0")),
    } do
      local connection = http.connection(LIMITS)
      connection:feed(text)
      assert.is_false(connection:expects_continue())
    end
  end)

  it("does not ask for a body that is too large", function()
    local connection = http.connection(LIMITS)
    local _, _, failure = connection:feed((head:gsub("Length: 5", "Length: 5000")))
    assert.equal(413, failure.status)
    assert.is_false(connection:expects_continue())
  end)
end)
