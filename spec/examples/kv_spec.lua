-- The key-value store as its clients see it.
local app_of = require "examples.app_support"

describe("the kv example", function()
  local kv
  before_each(function() kv = app_of.new "examples/kv" end)
  after_each(function() kv:close() end)

  it("puts, gets and deletes", function()
    assert.same({ 200, '{"revision":2}' }, kv:pair("PUT /kv/greeting", "hello"))
    local status, body, headers = kv:request "GET /kv/greeting"
    assert.same({ 200, "hello", "2" }, { status, body, headers["x-revision"] })
    assert.same({ 200, '{"revision":3}' }, kv:pair("PUT /kv/greeting", "again"))
    assert.equal("again", select(2, kv:request "GET /kv/greeting"))
    assert.same({ 200, '{"revision":4}' }, kv:pair "DELETE /kv/greeting")
    assert.equal(404, (kv:request "GET /kv/greeting"))
  end)

  it("says 404 with a reason for what is not there", function()
    for _, line in ipairs { "GET /kv/none", "DELETE /kv/none" } do
      local status, body = kv:request(line)
      assert.equal(404, status)
      assert.equal('{"error":{"code":"not_found","message":"there is no such key"}}', body)
    end
  end)

  it("takes any bytes for a value, none at all too, and any for a key", function()
    local bytes = {}
    for byte = 0, 255 do bytes[#bytes + 1] = string.char(byte) end
    bytes = table.concat(bytes)
    assert.equal(200, (kv:request("PUT /kv/all", bytes)))
    assert.equal(bytes, select(2, kv:request "GET /kv/all"))
    assert.equal(200, (kv:request("PUT /kv/empty", "")))
    local status, body = kv:request "GET /kv/empty"
    assert.same({ 200, "" }, { status, body })
    assert.equal(200, (kv:request("PUT /kv/a%2Fb%20%ff%00", "odd key")))
    assert.equal("odd key", select(2, kv:request "GET /kv/a%2fb%20%FF%00"))
    assert.equal(404, (kv:request "GET /kv/a"))
    assert.equal(400, (kv:request "GET /kv/a%2"))
  end)

  it("refuses values over the limit, 1 MiB by default, and leaves the old one", function()
    local most = ("x"):rep(1024 * 1024)
    assert.equal(200, (kv:request("PUT /kv/big", most)))
    local status, body = kv:request("PUT /kv/big", most .. "y")
    assert.equal(413, status)
    assert.truthy(body:find('"code":"too_large"', 1, true))
    assert.equal(413, (kv:request("POST /kv/big/append", "y")))
    assert.equal(most, select(2, kv:request "GET /kv/big"))
    local small = app_of.new("examples/kv", { value_bytes_max = 3 })
    assert.equal(200, (small:request("PUT /kv/a", "abc")))
    assert.equal(413, (small:request("PUT /kv/a", "abcd")))
    small:close()
  end)

  it("appends, to nothing too", function()
    assert.equal(200, (kv:request("POST /kv/log/append", "a")))
    assert.same({ 200, '{"revision":3}' }, kv:pair("POST /kv/log/append", "b\0"))
    assert.equal("ab\0", select(2, kv:request "GET /kv/log"))
  end)

  it("compares and sets, and tells the present value when it is another", function()
    local function cas(json)
      local status, body = kv:request("POST /kv/k/cas", json)
      return status, body
    end
    local status, body = cas '{"expected":"a","value":"b"}'
    assert.same({ 409, '{"error":{"code":"conflict","message":"the value is another"}}' }, { status, body })
    assert.same({ 200, '{"revision":3}' }, { cas '{"expected":null,"value":"a"}' })
    status, body = cas '{"value":"again"}'
    assert.equal(409, status)
    assert.equal('{"error":{"code":"conflict","message":"the value is another","revision":3,"value":"a"}}', body)
    assert.equal(200, (cas '{"expected":"a","value":"b"}'))
    assert.equal(409, (cas '{"expected":"a","value":"c"}'))
    assert.equal("b", select(2, kv:request "GET /kv/k"))
    assert.equal(200, (cas '{"expected":"b","value":{"$bytes":"/w=="}}'))
    assert.equal("\xff", select(2, kv:request "GET /kv/k"))
    assert.equal(200, (cas '{"expected":{"$bytes":"/w=="},"value":""}'))
    for _, json in ipairs { "", "{", "[", "5", "null", '"text"', '{"expected":""}', '{"expected":"","value":7}' } do
      status, body = cas(json)
      assert.equal(400, status, json)
      assert.truthy(body:find('"code":"bad_request"', 1, true), body)
    end
    assert.equal("", select(2, kv:request "GET /kv/k"))
  end)

  it("lists by prefix, in the order of keys, page by page", function()
    assert.same({ 200, "[]" }, kv:pair "GET /kv")
    for _, key in ipairs { "b", "a2", "a10", "a1", "c%2F", "B" } do kv:request("PUT /kv/" .. key, "v" .. key) end
    local status, body = kv:request "GET /kv?prefix=a"
    assert.equal(200, status)
    assert.equal('[{"key":"a1","revision":5,"value":"va1"},{"key":"a10","revision":4,"value":"va10"},'
      .. '{"key":"a2","revision":3,"value":"va2"}]', body)
    local function keys(line)
      local list = {}
      for key in select(2, kv:request(line)):gmatch '"key":"(.-)"' do list[#list + 1] = key end
      return list
    end
    assert.same({ "B", "a1", "a10", "a2", "b", "c/" }, keys "GET /kv")
    assert.same({ "B", "a1" }, keys "GET /kv?limit=2")
    assert.same({ "a10", "a2" }, keys "GET /kv?limit=2&after=a1")
    assert.same({ "a2" }, keys "GET /kv?prefix=a&after=a10")
    assert.same({ "c/" }, keys "GET /kv?prefix=c%2F")
    assert.same({}, keys "GET /kv?prefix=x")
    for _, limit in ipairs { "0", "-1", "x", "1.5", "" } do
      assert.equal(400, (kv:request("GET /kv?limit=" .. limit)), limit)
    end
    assert.equal(200, (kv:request "GET /kv?limit=1000000"))
  end)

  it("ends a page of large values early, and goes on after it", function()
    for i = 1, 6 do kv:request("PUT /kv/k" .. i, ("x"):rep(1000000)) end
    local pages, after = 0, ""
    repeat
      local _, body = kv:request("GET /kv?after=" .. after)
      assert.truthy(#body < 5000000)
      local last
      for key in body:gmatch '"key":"(.-)"' do last = key end
      pages, after = pages + 1, last or after
    until not last
    assert.same({ 3, "k6" }, { pages, after })
  end)

  it("shows all of it on a page, escaped", function()
    kv:request("PUT /kv/%3Cscript%3E", "<b>\"&'</b>")
    kv:request("PUT /kv/bytes", "\xff\xfe")
    kv:request("PUT /kv/long", ("é"):rep(300))
    local status, body, headers = kv:request "GET /inspect"
    assert.equal(200, status)
    assert.equal("text/html; charset=utf-8", headers["content-type"])
    assert.truthy(body:find("<td>&lt;script&gt;</td><td>&lt;b&gt;&quot;&amp;&#39;&lt;/b&gt;</td><td>2</td>", 1, true))
    assert.truthy(body:find("<i>2 bytes that are no text</i>", 1, true))
    assert.truthy(body:find("<td>" .. ("é"):rep(200) .. "… <i>(300 characters)</i></td>", 1, true))
    assert.is_nil(body:find("<script", 1, true))
    assert.truthy(utf8.len(body))
  end)

  it("serves the seed's routes", function()
    assert.same({ 200, '{"revision":2}' }, kv:pair("POST /store", '{"key":"a","value":"1"}'))
    assert.equal("1", select(2, kv:request "GET /kv/a"))
    assert.equal(200, (kv:request("DELETE /delete", '{"key":"a"}')))
    assert.equal(404, (kv:request("DELETE /delete", '{"key":"a"}')))
    for _, json in ipairs {
      "", "7", "{}", '{"key":"","value":"1"}', '{"key":7,"value":"1"}', '{"key":"a","value":{}}',
    } do
      assert.equal(400, (kv:request("POST /store", json)), json)
    end
    assert.equal(400, (kv:request("DELETE /delete", "nonsense")))
    assert.equal(404, (kv:request("DELETE /delete", '{"key":"none"}')))
  end)

  it("tells what is certain: 503 was not done, 504 is unknown", function()
    for code, expected in pairs {
      not_leader = 503, unavailable = 503, shutting_down = 503, disk_full = 503, overloaded = 429, timeout = 504,
    } do
      for _, line in ipairs {
        "PUT /kv/k", "GET /kv/k", "DELETE /kv/k", "POST /kv/k/append", "GET /kv", "GET /inspect",
      } do
        kv:fail_next(code)
        local status, body = kv:request(line, "v")
        assert.equal(expected, status, line)
        assert.truthy(body:find('"code":"' .. code .. '"', 1, true), body)
      end
    end
    assert.equal(404, (kv:request "GET /kv/k"))
  end)

  it("reads linearizably, or as the client asks", function()
    kv:request "GET /kv/k"
    assert.equal("linearizable", kv.consistency)
    for _, line in ipairs { "GET /kv/k", "GET /kv", "GET /inspect" } do
      kv.consistency = nil
      kv:request(line .. "?consistency=stale")
      assert.equal("stale", kv.consistency)
      assert.equal(400, (kv:request(line .. "?consistency=maybe")))
    end
  end)

  it("gives the same state for the same commands, whatever way they came", function()
    local other = app_of.new "examples/kv"
    kv:request("PUT /kv/a", "1")
    kv:request("POST /kv/a/append", "2")
    kv:request("PUT /kv/b", "x")
    kv:request("DELETE /kv/b", "x")
    other:request("POST /store", '{"key":"a","value":"0"}')
    assert.not_equal(kv.machine:hash(), other.machine:hash())
    other:request("POST /kv/a/cas", '{"expected":"0","value":"12"}')
    assert.equal(kv.machine:hash(), other.machine:hash())
    assert.equal(kv.machine:encode(), other.machine:encode())
    other:close()
  end)

  it("can be followed by the second version of its README, which takes every item along", function()
    local fsm = require "moonclave.fsm"
    local function read(path)
      local file = assert(io.open(path))
      local text = file:read "a"
      file:close()
      return text
    end
    local block = read "examples/kv/README.md":match "```lua\n(local fsm = .-)```"
    local first, rest = block:match "^([^\n]*)\n%-%- %.%.%.\n(.*)$"
    local source, changed = read "examples/kv/fsm.lua":gsub("local fsm = [^\n]*", (first:gsub("%%", "%%%%")))
    assert.equal(1, changed)
    source = source:gsub("return fsm%s*$", function() return rest .. "return fsm\n" end)
    kv:request("PUT /kv/a", "1")
    kv:request("PUT /kv/b", "2")
    local code, text, from, to = kv.machine:upgrade(fsm.bundle { ["fsm.lua"] = source },
      { index = 50, term = 1, time = 1, seed = 1 })
    assert.same({ "ok", nil, 1, 2 }, { code, text, from, to })
    local items = kv.machine:state().items
    assert.same({ { value = "1", revision = items.a.revision, ttl = 0 }, 0 }, { items.a, items.b.ttl })
  end)
end)
