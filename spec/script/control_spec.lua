-- Handlers: what they see, how they wait, what they answer, and what happens to those that misbehave.
local node_of = require "script.control_support"

local PRELUDE = [[
local cluster = require "moonclave.cluster"
local api = { routes = {} }
local routes = api.routes
]]

local nodes = {}
local function serving(text, config)
  nodes[#nodes + 1] = node_of.new(PRELUDE .. text .. "\nreturn api", config)
  return nodes[#nodes]
end

-- An app with one route, whose handler's body this is.
local function handling(body) return serving('routes["POST /x"] = function(request) ' .. body .. "\nend") end

local function value_of(body) return handling(body):answer("POST /x").value end

after_each(function()
  while #nodes > 0 do table.remove(nodes):close() end
end)

describe("a handler", function()
  it("sees the request decoded", function()
    local node = serving [[
      routes["PUT /kv/:key"] = function(r)
        return 200, { method = r.method, path = r.path, params = r.params, query = r.query, headers = r.headers,
          body = r.body, sum = r.headers["x-n"] + 1 }
      end]]
    local answer = node:answer("PUT /kv/a%20b?x=1&y=%2F&x=2", "raw\0bytes\xff", { ["x-n"] = "41", host = "h" })
    assert.same({
      method = "PUT", path = "/kv/a%20b", params = { key = "a b" }, query = { x = "2", y = "/" },
      headers = { ["x-n"] = "41", host = "h" }, body = "raw\0bytes\xff", sum = 42.0,
    }, answer.value)
  end)

  it("sees headers of one name as one list", function()
    local node = handling "return 200, request.headers.accept"
    local answer
    node.exchange = 1
    node.control:serve(1, { method = "POST", path = "/x", query = "", body = "", headers = {
      { name = "accept", value = "a" }, { name = "other", value = "x" }, { name = "accept", value = "b" },
    } })
    answer = node.answers[1]
    assert.equal("a, b", answer.body)
  end)

  it("reads JSON by request:json(), or gets an error with the place", function()
    local node = handling [[
      local value, err = request:json()
      if not value then return 400, { error = err, text = tostring(err) } end
      return 200, { got = value, integer = math.type(value.n) == "integer" }]]
    assert.same({ got = { n = 1, s = "é", list = { 1, 2 } }, integer = true },
      node:answer("POST /x", '{"n":1,"s":"é","none":null,"list":[1,2]}').value)
    for _, body in ipairs { "", "{", '{"a":}', "null" } do
      local answer = node:answer("POST /x", body)
      assert.equal(400, answer.status, body)
      assert.equal("bad_request", answer.value.error.code)
      assert.equal("bad_request: " .. answer.value.error.message, answer.value.text)
    end
    assert.truthy(node:answer("POST /x", '{\n"a":}').value.error.message:find("line 2 column 5", 1, true))
  end)

  it("answers bytes, a value, or nothing", function()
    local function answer(returned) return handling("return " .. returned):answer("POST /x") end
    assert.same({ "bytes", "text\0" }, { answer('200, "text\\0"').kind, answer('200, "text\\0"').body })
    assert.same({ "none", 204 }, { answer("204").kind, answer("204").status })
    assert.same({ "value", 42 }, { answer("200, 42").kind, answer("200, 42").value })
    assert.is_false(answer("200, false").value)
    assert.same({ 1, 2, { a = true } }, answer("201, { 1, 2, { a = true } }").value)
    assert.equal("\x90", answer("200, {}").body, "an empty table is an array")
    assert.equal("\x80", answer("200, moonclave.object{}").body, "unless it is said to be an object")
  end)

  it("keeps an empty object one, from JSON to JSON", function()
    local node = handling "return 200, (request:json())"
    assert.equal("\x81\xa1a\x80", node:answer("POST /x", '{"a":{}}').body)
    assert.equal("\x81\xa1a\x90", node:answer("POST /x", '{"a":[]}').body)
  end)

  it("gives headers, one or several of a name", function()
    local answer = handling [[return 200, "<p>", { ["content-type"] = "text/html", ["x-n"] = 7,
      ["set-cookie"] = { "a=1", "b=2" } }]]:answer("POST /x")
    assert.equal("text/html", answer.headers["content-type"])
    assert.equal("7", answer.headers["x-n"])
    local cookies = {}
    for _, header in ipairs(answer.headers) do
      if header.name == "set-cookie" then cookies[#cookies + 1] = header.value end
    end
    assert.same({ "a=1", "b=2" }, cookies)
  end)
end)

describe("propose and query", function()
  it("look like calls: the handler waits, others run meanwhile", function()
    local node = serving [[
      routes["POST /add/:name"] = function(r)
        local one = cluster.propose("add", { name = r.params.name, by = 1 })
        local two = cluster.propose("add", { name = r.params.name, by = one })
        local three = cluster.query("get", { name = r.params.name })
        return 200, { one, two, three }
      end]]
    local a, b = node:request("POST /add/a"), node:request("POST /add/b")
    assert.equal(2, #node.waiting)
    assert.same({ name = "a", by = 1 }, node.waiting[1].arguments)
    node:reply(10)
    node:reply(20)
    assert.same({ name = "b", by = 20 }, node.waiting[2].arguments)
    node:reply(11)
    node:reply(21)
    assert.equal("query", node.waiting[1].kind)
    assert.is_nil(node.answers[a])
    node:reply(12)
    node:reply(22)
    assert.same({ 10, 11, 12 }, node.answers[a].value)
    assert.same({ 20, 21, 22 }, node.answers[b].value)
    assert.equal(0, #node.waiting)
  end)

  it("hand on name, arguments and options", function()
    local node = serving [[
      routes["POST /p"] = function()
        cluster.propose("put", { 1, "\xff", { x = 1.5 } }, { timeout = 1.25, session = 7, sequence = 8 })
        cluster.propose("touch")
        cluster.query("get", "key", { consistency = "stale", timeout = 1 })
        cluster.query("get", false, { consistency = "lease" })
        cluster.query("get", 1, {})
        return 200
      end]]
    node:request("POST /p")
    local first = node:reply(true)
    assert.same({ "command", "put", { 1, "\xff", { x = 1.5 } }, 1250, 7, 8 },
      { first.kind, first.name, first.arguments, first.timeout_ms, first.session, first.sequence })
    assert.same({}, node:reply(true).arguments)
    local stale, lease, plain = node:reply(1), node:reply(1), node:reply(1)
    assert.same({ "query", "get", "key", "stale", 1000 },
      { stale.kind, stale.name, stale.arguments, stale.consistency, stale.timeout_ms })
    assert.same({ "lease", false }, { lease.consistency, lease.arguments })
    assert.same({ "linearizable", 1, 0 }, { plain.consistency, plain.arguments, plain.timeout_ms })
  end)

  it("encode arguments canonically: the log's payload is the same for the same table", function()
    local node = serving [[
      routes["POST /p"] = function(r)
        local t = {}
        for name in r.query.order:gmatch "%w+" do t[name] = #name end
        t[3], t[-1] = "three", "minus"
        return 200, cluster.propose("put", t)
      end]]
    node:request("POST /p?order=a+bb+c+dd")
    node:request("POST /p?order=dd+c+bb+a")
    assert.equal(node.waiting[1].body, node.waiting[2].body)
    assert.equal("\x92\xa3put\x86\xff\xa5minus\x03\xa5three\xa1a\x01\xa2bb\x02\xa1c\x01\xa2dd\x02",
      node.waiting[1].body)
  end)

  it("give nil for a result that is nil, without an error", function()
    local node = handling 'return 200, { select("#", cluster.query("get")), (cluster.query("get")) == nil }'
    local exchange = node:request("POST /x")
    node:reply(nil)
    node:reply(nil)
    assert.same({ 1, true }, node.answers[exchange].value)
  end)

  it("give nil and an error value when something went wrong", function()
    local node = handling [[
      local result, err = cluster.propose("put")
      return cluster.http_status(err), { none = result == nil, err = err, text = tostring(err) }]]
    local function failed(code, body)
      local exchange = node:request("POST /x")
      node:reply(body, code)
      return node.answers[exchange]
    end
    local answer = failed("not_leader", { code = "not_leader", message = "who leads?", leader = "n2" })
    assert.equal(503, answer.status)
    assert.same({ none = true, err = { code = "not_leader", message = "who leads?", leader = "n2" },
      text = "not_leader: who leads?" }, answer.value)
    assert.equal(504, failed("timeout", { code = "timeout", message = "m" }).status)
    assert.equal(409, failed("rejected", { code = "conflict", message = "m", revision = 7 }).status)
    assert.equal(404, failed("rejected", { code = "not_found", message = "m" }).status)
    assert.equal(404, failed("no_such_command", { code = "no_such_command", message = "m" }).status)
    assert.equal(409, failed("rejected", { code = "timeout", message = "m" }).status, "the app's, not ours: definite")
    assert.equal(409, failed("rejected", { code = "ok" }).status)
    assert.equal(500, failed("command_failed", { code = "command_failed", message = "m" }).status)
    assert.equal("overloaded", failed("overloaded", "not a table").value.err.code)
  end)

  it("refuse an unknown consistency as the client's mistake, other misuse as the handler's", function()
    local node = handling [[
      local result, err = cluster.query("get", nil, { consistency = request.query.consistency })
      return cluster.http_status(err), { err }]]
    local answer = node:answer("POST /x?consistency=wild")
    assert.same({ 400, "bad_request" }, { answer.status, answer.value[1].code })
    for _, call in ipairs {
      "cluster.propose()", "cluster.propose({})", 'cluster.propose("x", nil, 1)', 'cluster.propose("x", print)',
      'cluster.propose("x", { a = { b = function() end } })', 'cluster.propose("x", nil, { timeout = -1 })',
      'cluster.propose("x", nil, { timeout = "soon" })', 'cluster.propose("x", nil, { session = 1.5 })',
      'cluster.propose("x", { [1.5] = 1 })', 'local t = {} t.t = t cluster.propose("x", t)',
    } do
      local misuse = handling(call .. " return 200")
      assert.equal(500, misuse:answer("POST /x").status, call)
      assert.equal(0, #misuse.waiting, call)
      assert.truthy(misuse:logged("api.lua:4:"), "the log names the line: " .. tostring(misuse.lines[1]))
    end
    assert.truthy(nodes[#nodes - 5]:logged(".a.b: a function is not plain data"), nodes[#nodes - 5].lines[1])
  end)

  it("may be called within pcall and within the script's own coroutines", function()
    local node = handling [[
      local function pages()
        return coroutine.wrap(function()
          for page = 1, 3 do
            local items = cluster.query("page", page)
            for _, item in ipairs(items) do coroutine.yield(item) end
          end
        end)
      end
      local all = {}
      for item in pages() do all[#all + 1] = item end
      local inner = coroutine.create(function(a)
        local b = coroutine.yield(a + 1)
        return (select(2, pcall(cluster.query, "last", b)))
      end)
      local _, first = coroutine.resume(inner, 1)
      local _, last = coroutine.resume(inner, 5)
      return 200, { all, first, last, coroutine.status(inner) }]]
    local exchange = node:request("POST /x")
    node:reply { "a", "b" }
    node:reply {}
    assert.equal(3, node.waiting[1].arguments)
    node:reply { "c" }
    assert.equal(5, node:reply("end").arguments)
    assert.same({ { "a", "b", "c" }, 2, "end", "dead" }, node.answers[exchange].value)
  end)

  it("cannot wait where nothing can: while loading, in start, in a sort", function()
    local node = handling 'table.sort({ 1, 2, 3 }, function() return cluster.query("x") end) return 200'
    assert.equal(500, node:answer("POST /x").status)
    local ok, _, text = node_of.new():load 'require "moonclave.cluster".propose("x")'
    assert.is_nil(ok)
    assert.truthy(text:find("while a request is handled", 1, true), text)
    ok, _, text = node_of.new():load 'return { start = function() require "moonclave.cluster".query("x") end }'
    assert.is_nil(ok)
    assert.truthy(text:find("while a request is handled", 1, true), text)
  end)

  it("know the cluster besides", function()
    assert.same({ { role = "leader", term = 7 }, { { id = "n1" }, { id = "n2" } } },
      value_of "return 200, { cluster.status(), cluster.members() }")
    assert.same({ 404, 429, 409, 400, 504 }, value_of [[
      local s = cluster.http_status
      return 200, { s { code = "not_found" }, s { code = "overloaded" }, s { code = "mine" },
        s "bad_request", s "timeout" }]])
    local node = handling 'cluster.log("warn", "it is", 7, nil, true) print("hello", 1) return 200'
    node:answer("POST /x")
    assert.same({ "warn: it is 7 nil true", "info: hello 1" }, node.lines)
  end)
end)

describe("a handler that misbehaves", function()
  it("by raising answers 500 without a word about where; the log has the traceback", function()
    local node = serving [[
      local function deep() error "secret reason" end
      routes["POST /x"] = function() deep() end]]
    local answer = node:answer("POST /x")
    assert.equal(500, answer.status)
    assert.same("internal", answer.value.error.code)
    assert.is_nil(answer.body:find("secret", 1, true))
    assert.is_nil(answer.body:find("lua", 1, true))
    local line = node:logged "secret reason"
    assert.truthy(line:find("error: POST /x failed: api.lua:4: secret reason | stack traceback:", 1, true), line)
    assert.truthy(line:find("api.lua:5: in", 1, true), line)
  end)

  it("after waiting, or with any value, is the same", function()
    for body, logged in pairs {
      ['cluster.propose("x") error { code = "odd", message = "thing" }'] = "odd: thing",
      ['cluster.propose("x") error()'] = "nil",
      ['cluster.propose("x") error(setmetatable({}, { __tostring = function() error "again" end }))'] = "raises when",
      [ [[cluster.propose("x")
          local x <close> = setmetatable({}, { __close = function() error "closing" end })
          error "first"]] ] = "first",
    } do
      local node = handling(body)
      local exchange = node:request("POST /x")
      node:reply(1)
      assert.equal(500, node.answers[exchange].status)
      assert.truthy(node:logged(logged), logged)
    end
  end)

  it("by returning what is no response answers 500", function()
    for returned, logged in pairs {
      ["nil"] = "not nil", ["'200'"] = "not 200", ["99"] = "not 99", ["600"] = "not 600", ["{}"] = "its status",
      ["200, print"] = "a function is not plain data", ["200, { x = { print } }"] = ".x[1]: a function",
      ["200, 'b', 'h'"] = "headers are a table", ["200, 'b', { a = print }"] = "header a is a string",
      ["200, 'b', { 'x' }"] = "name is a string",
    } do
      local node = handling("return " .. returned)
      assert.equal(500, node:answer("POST /x").status, returned)
      assert.truthy(node:logged(logged), returned .. ": " .. tostring(node.lines[1]))
      assert.truthy(node:logged("POST /x failed"))
    end
  end)

  it("by yielding on its own answers 500", function()
    local node = handling "coroutine.yield(1, 2, 3) return 200"
    assert.equal(500, node:answer("POST /x").status)
    assert.truthy(node:logged("not by yielding"))
  end)

  local endless = {
    ["a loop"] = "while true do end",
    ["a loop in pcall"] = "while true do pcall(function() while true do end end) end",
    ["a loop in xpcall with a loop for a handler"] =
      "local function f() while true do end end while true do xpcall(f, f) end",
    ["a loop in a coroutine"] = "while true do coroutine.wrap(function() while true do end end)() end",
    ["a loop in a coroutine in pcall"] =
      "while true do pcall(coroutine.wrap(function() pcall(function() while true do end end) end)) end",
    ["a loop that closes with a loop"] =
      "local x <close> = setmetatable({}, { __close = function() while true do end end }) while true do end",
    ["recursion through pcall"] = "local function f() pcall(f) pcall(f) end f()",
  }
  for name, body in pairs(endless) do
    it("by computing without end is interrupted: " .. name, function()
      local node = handling(body)
      local started = os.clock()
      assert.equal(500, node:answer("POST /x").status)
      assert.truthy(os.clock() - started < 5, "it took long")
      assert.truthy(#node.lines == 1)
      assert.equal(500, node:answer("POST /x").status, "and again, as if nothing had happened")
    end)
  end

  it("says in the log that it was interrupted, and where", function()
    local node = handling "while true do pcall(function() while true do end end) end"
    node:answer("POST /x")
    assert.truthy(node:logged("interrupted: it computed for more than 50 ms without waiting | stack"), node.lines[1])
    assert.truthy(node:logged("api.lua:4: in"), node.lines[1])
  end)

  it("counts its time between waits, not in all", function()
    local node = handling [[
      local n = 0
      for i = 1, 6 do
        for j = 1, 600000 do n = n + j % 7 end
        cluster.query("x")
      end
      return 200, n]]
    local exchange = node:request("POST /x")
    for _ = 1, 6 do node:reply(1) end
    assert.equal(200, node.answers[exchange].status, node.lines[1])
  end)

  it("by taking all memory fails alone", function()
    local node = serving [[
      routes["POST /x"] = function() local s = ("x"):rep(1 << 20) while true do s = s .. s end end
      routes["GET /fine"] = function() return 200, "fine" end]]
    assert.equal(500, node:answer("POST /x").status)
    assert.truthy(node:logged("not enough memory"), node.lines[1])
    assert.equal("fine", node:answer("GET /fine").body)
  end)

  it("cannot end the process or change its locale", function()
    assert.same({ true, true }, value_of "return 200, { os.exit == nil, os.setlocale == nil }")
  end)
end)

describe("a client that has gone", function()
  it("is not answered, and its handler ends where it waits", function()
    local node = serving [[
      routes["POST /x"] = function()
        local guard <close> = setmetatable({}, { __close = function() cluster.log("info", "closed") end })
        cluster.propose("one")
        cluster.propose("two")
        return 200
      end]]
    local gone, stays = node:request("POST /x"), node:request("POST /x")
    node.control:cancel(gone)
    assert.same({ "info: closed" }, node.lines)
    node:reply(1)
    assert.equal(1, #node.waiting, "the reply came for nobody")
    assert.equal("one", node.waiting[1].name)
    node.control:cancel(gone)
    node:reply(1)
    node:reply(2)
    assert.equal(200, node.answers[stays].status)
    assert.is_nil(node.answers[gone])
  end)

  it("leaves nothing to those who come after: ten thousand come, and go in any order", function()
    local node = serving 'routes["POST /x/:n"] = function(r) return 200, (cluster.propose("p", r.params.n)) end'
    local begun = {}
    for i = 1, 10000 do begun[i] = node:request("POST /x/" .. i) end
    for i = 1, 10000 do
      if i % 3 == 0 then node.control:cancel(begun[i]) end
    end
    local waiting = node.waiting
    node.waiting = {}
    for i = #waiting, 1, -1 do
      node.waiting[1] = waiting[i]
      node:reply(waiting[i].arguments)
    end
    for i = 1, 10000 do
      if i % 3 == 0 then
        assert.is_nil(node.answers[begun[i]])
      else
        assert.equal(tostring(i), node.answers[begun[i]].body)
      end
    end
  end)

  it("may go while everything is closed", function()
    local node = handling 'cluster.propose("x") return 200'
    node:request("POST /x")
    node:request("POST /x")
    node:close()
    assert.same({}, node.answers)
  end)
end)

describe("an app", function()
  it("may be without an api.lua", function()
    local node = node_of.new { ["fsm.lua"] = "return {}" }
    assert.is_nil((node:request("GET /")))
    node:close()
  end)

  it("requires its own modules, installed ones and the library", function()
    local node = node_of.new {
      ["api.lua"] = [[
        local util, deep, lib = require "util", require "lib.deep", require "lib"
        assert(require "util" == util and require "moonclave.cluster" and require "string")
        local found, why = pcall(require, "absent.module")
        return { routes = { ["GET /"] = function() return 200, { util.name, deep, lib, found, why } end } }]],
      ["util.lua"] = "return { name = ... }", ["lib/deep.lua"] = "return 'deep'", ["lib/init.lua"] = "return 'lib'",
    }
    local value = node:answer("GET /").value
    assert.same({ "util", "deep", "lib", false }, { value[1], value[2], value[3], value[4] })
    assert.truthy(value[5]:find("no file 'absent/module.lua' in the app", 1, true))
    node:close()
  end)

  it("is told to start, with its config, and to stop", function()
    local text = [[
      local log = require "moonclave.cluster".log
      return {
        start = function(config) log("info", "start", config.name) end,
        stop = function() log("info", "stop") end,
      }]]
    local node = node_of.new(text, { name = "n1" })
    assert.same({ "info: start n1" }, node.lines)
    node:close()
    assert.same({ "info: start n1", "info: stop" }, node.lines)
  end)

  it("that does not load leaves the one before in place, and says where it is wrong", function()
    local node = node_of.new 'return { routes = { ["GET /"] = function() return 200, "old" end } }'
    for text, reason in pairs {
      ["return {"] = "api.lua:1:", ["\n\nerror 'no'"] = "api.lua:3: no",
      ["error { code = 'c', message = 'm' }"] = "c: m",
      ["return { start = function() error 'bad start' end }"] = "api.lua:1: bad start",
      ["return { start = 1 }"] = "api.start is not", ["return { stop = 1 }"] = "api.stop is not",
      ["while true do end"] = "interrupted",
      ["while true do pcall(function() while true do end end) end"] = "interrupted",
      ["\27Lua"] = "binary", ["return require 'absent'"] = "module 'absent' not found",
    } do
      local ok, code, message = node:load(text)
      assert.is_nil(ok, text)
      assert.equal("script_error", code)
      assert.truthy(message:find(reason, 1, true), message)
      assert.equal("old", node:answer("GET /").body)
    end
    node:close()
  end)

  it("is replaced at once: new requests go to the new one, handlers under way end in the old", function()
    local function version(n)
      return ([[
        local cluster = require "moonclave.cluster"
        n = (n or 0) + %d
        return {
          routes = { ["GET /%d"] = function() return 200, n end,
                     ["GET /"] = function() cluster.query("x") return 200, { n, (require "util") } end },
          stop = function() cluster.log("info", "stop %d") end,
        }]]):format(n, n, n)
    end
    local node = node_of.new { ["api.lua"] = version(1), ["util.lua"] = "return 'one'" }
    local under_way = node:request("GET /")
    assert(node:load { ["api.lua"] = version(2), ["util.lua"] = "return 'two'" })
    assert.same({ "info: stop 1" }, node.lines)
    local new = node:request("GET /")
    assert.is_nil((node:request("GET /1")))
    assert.equal(2, node:answer("GET /2").value)
    assert(node:load { ["api.lua"] = version(3), ["util.lua"] = "return 'three'" })
    node:reply(0)
    node:reply(0)
    assert.same({ 1, "one" }, node.answers[under_way].value)
    assert.same({ 2, "two" }, node.answers[new].value)
    assert(node:load {})
    assert.is_nil((node:request("GET /3")))
    node:close()
    assert.same({ "info: stop 1", "info: stop 2", "info: stop 3" }, node.lines)
  end)
end)
