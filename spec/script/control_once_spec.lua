-- api.lua's ways of having a command done once: the request's Idempotency-Key, keys of its own, sessions.
local base = require "moonclave.base"
local sessions = require "moonclave.sessions"
local support = require "script.control_support"

local HEAD = [[
local cluster = require "moonclave.cluster"
local function told(result, err)
  return 200, { result = result, code = err and err.code, message = err and err.message }
end
]]

local nodes = {}
local function node_with(body)
  nodes[#nodes + 1] = support.new(HEAD .. "return { routes = {" .. body .. "} }")
  return nodes[#nodes]
end

after_each(function()
  while #nodes > 0 do table.remove(nodes):close() end
end)

-- The kind, session and sequence of the request that waits longest, which is answered.
local function step(node, value, code)
  local request = node:reply(value, code)
  return { request.kind, request.session, request.sequence, request.name }
end

local function error_of(code) return { code = code, message = "as told" } end

local function key(text, nth) return { "keyed", sessions.key(text, nth) } end

describe("a request with an Idempotency-Key", function()
  local api = [[
    ["POST /two"] = function()
      local a = cluster.propose("a", {})
      local q = cluster.query("q")
      local b = cluster.propose("b", {}, { timeout = 2 })
      return 200, { a, b }
    end,
    ["POST /own"] = function(request)
      cluster.propose("a", {}, { key = "mine" })
      cluster.propose("b", {}, { key = false })
      cluster.propose("c", {}, { session = 7, sequence = 8 })
      return 200, { (cluster.propose("d", {})) }
    end,
    ["POST /bad"] = function(request) return told(cluster.propose("a", {}, { key = request.body })) end,
    ["POST /both"] = function() cluster.propose("a", {}, { key = "k", session = 1, sequence = 1 }) end,
    ["POST /type"] = function() cluster.propose("a", {}, { key = 7 }) end,
  ]]

  it("has each of its commands done once: the first under the key, the others by their number", function()
    local node = node_with(api)
    local request = node:request("POST /two", "", { ["idempotency-key"] = "abc" })
    local first = node:reply(1)
    assert.are.same(key("abc"), { first.kind, first.session, first.sequence })
    local query = node:reply(2)
    assert.are.same({ "query", 0, 0 }, { query.kind, query.session, query.sequence })
    local second = node:reply(3)
    assert.are.same(key("abc", 1), { second.kind, second.session, second.sequence })
    assert.are.equal(2000, second.timeout_ms)
    assert.are.same({ 1, 3 }, node.answers[request].value)
  end)

  it("means the same with quotes around it, and nothing to a request without one", function()
    local node = node_with(api)
    for _, text in ipairs { "abc", '"abc"', "  abc\t", ' "abc" ' } do
      node:request("POST /two", "", { ["idempotency-key"] = text })
      local first = node:reply(1)
      assert.are.same(key "abc", { first.kind, first.session, first.sequence })
      node:reply(2)
      node:reply(3)
    end
    node:request("POST /two", "")
    assert.are.same({ "command", 0, 0, "a" }, step(node, 1))
  end)

  it("leaves a command alone that says otherwise", function()
    local node = node_with(api)
    node:request("POST /own", "", { ["idempotency-key"] = "abc" })
    local own = node:reply(1)
    assert.are.same(key "mine", { own.kind, own.session, own.sequence })
    assert.are.same({ "command", 0, 0, "b" }, step(node, 1))
    assert.are.same({ "command", 7, 8, "c" }, step(node, 1))
    local default = node:reply(1)
    assert.are.same(key "abc", { default.kind, default.session, default.sequence })
  end)

  it("is refused where the key is none", function()
    local node = node_with(api)
    for _, text in ipairs { "", '""', ("x"):rep(256) } do
      local answer = node:answer("POST /two", "", { ["idempotency-key"] = text })
      assert.are.same({ 400, "bad_request" }, { answer.status, answer.value.error.code })
    end
    assert.are.equal(0, #node.waiting)
    assert.are.equal("bad_request", node:answer("POST /bad", "").value.code)
    assert.are.equal("bad_request", node:answer("POST /bad", ("x"):rep(256)).value.code)
    assert.are.equal(500, node:answer("POST /both").status)
    assert.is_truthy(node:logged "not both")
    assert.are.equal(500, node:answer("POST /type").status)
    assert.is_truthy(node:logged "key is a string, or false")
  end)
end)

describe("cluster.session", function()
  local OPENED = { session = 42, window = 3, timeout_ms = 60000, expires_ms = 1 }
  local api = [[
    ["POST /one"] = function(request)
      local session, err = cluster.session { attempts = tonumber(request.query.attempts) }
      if not session then return told(nil, err) end
      return told(session:propose("add", { by = 1 }, { timeout = 1.5 }))
    end,
    ["POST /shared"] = function()
      if not shared then shared = assert(cluster.session()) end
      return told(shared:propose("add", {}))
    end,
    ["POST /renew"] = function() return told(shared:renew()) end,
    ["POST /close"] = function()
      local closed, err = shared:close()
      local _, after = shared:propose("add", {})
      return 200, { closed = closed, code = after.code }
    end,
    ["POST /bad"] = function() cluster.session { attempts = 0 } end,
  ]]

  it("opens one, and numbers its commands", function()
    local node = node_with(api)
    local request = node:request "POST /one"
    local opened = node:reply(OPENED)
    assert.are.same({ "session", 0, 0 }, { opened.kind, opened.session, opened.sequence })
    assert.are.equal(sessions.body "open", base.pack { opened.name })
    local first = node:reply(5)
    assert.are.same({ "command", 42, 1, "add", 1500 },
      { first.kind, first.session, first.sequence, first.name, first.timeout_ms })
    assert.are.same({ result = 5 }, node.answers[request].value)
  end)

  it("sends a command again, under its number, until there is an outcome", function()
    local node = node_with(api)
    local request = node:request "POST /one?attempts=5"
    node:reply(OPENED)
    for _, code in ipairs { "timeout", "unavailable", "timeout", "not_leader" } do
      assert.are.same({ "command", 42, 1, "add" }, step(node, error_of(code), code))
      assert.is_nil(node.answers[request])
    end
    assert.are.same({ "command", 42, 1, "add" }, step(node, 9))
    assert.are.same({ result = 9 }, node.answers[request].value)
  end)

  it("gives up after its attempts, and tells what is known", function()
    for _, case in ipairs {
      { { "unavailable", "unavailable", "unavailable" }, "unavailable" },
      { { "unavailable", "timeout", "unavailable" }, "timeout" },
      { { "timeout", "session_expired" }, "timeout" },
      { { "timeout", "overloaded" }, "timeout" },
      { { "timeout", "forgotten" }, "timeout" },
      { { "session_expired" }, "session_expired" },
      { { "overloaded" }, "overloaded" },
      { { "timeout", "command_failed" }, "command_failed" },
      { { "timeout", "timeout", "timeout" }, "timeout" },
    } do
      local node = node_with(api)
      local request = node:request "POST /one"
      node:reply(OPENED)
      for i, code in ipairs(case[1]) do
        assert.is_nil(node.answers[request], "answered before attempt " .. i)
        step(node, error_of(code), code)
      end
      assert.are.equal(case[2], node.answers[request].value.code)
      assert.are.equal(0, #node.waiting)
    end
  end)

  it("takes what the app says for the outcome, whatever it calls it", function()
    local node = node_with(api)
    local request = node:request "POST /one"
    node:reply(OPENED)
    step(node, error_of "timeout", "rejected")
    assert.are.same({ code = "timeout", message = "as told" }, node.answers[request].value)
  end)

  it("that cannot be opened says why", function()
    local node = node_with(api)
    local request = node:request "POST /one"
    step(node, error_of "overloaded", "overloaded")
    assert.are.equal("overloaded", node.answers[request].value.code)
    assert.are.equal(500, node:answer("POST /bad").status)
    assert.is_truthy(node:logged "attempts is a whole number from 1")
  end)

  it("has no more commands under way than replies are kept", function()
    local node = node_with(api)
    local requests = { node:request "POST /shared" }
    node:reply(OPENED)
    for i = 2, 4 do requests[i] = node:request "POST /shared" end
    assert.are.equal(3, #node.waiting)
    assert.are.equal("overloaded", node.answers[requests[4]].value.code)
    local second = table.remove(node.waiting, 2)
    node.control:reply(second.ticket, "ok", base.pack(2))
    local more = node:request "POST /shared" -- 1 is still under way: 4 would push its reply out
    assert.are.equal("overloaded", node.answers[more].value.code)
    assert.are.same({ "command", 42, 1, "add" }, step(node, 1))
    more = node:request "POST /shared"
    assert.are.same({ "command", 42, 3, "add" }, step(node, 3))
    assert.are.same({ "command", 42, 4, "add" }, step(node, 4))
    assert.are.same({ result = 4 }, node.answers[more].value)
  end)

  it("forgets those whose client went away", function()
    local node = node_with(api)
    node:request "POST /shared"
    node:reply(OPENED)
    node:reply(1)
    for _ = 1, 10 do
      local request = node:request "POST /shared"
      assert.is_nil(node.answers[request])
      node.control:cancel(request)
    end
    node:request "POST /shared"
    local last = node.waiting[#node.waiting]
    assert.are.same({ "command", 42, 12 }, { last.kind, last.session, last.sequence })
  end)

  it("renews with what it has, and closes", function()
    local node = node_with(api)
    node:request "POST /shared"
    node:reply(OPENED)
    node:reply(1)
    node:request "POST /shared"
    node:reply(2)
    node:request "POST /renew"
    local renewed = node:reply(OPENED)
    assert.are.same({ "session", 42, "renew", 2 }, { renewed.kind, renewed.session, renewed.name, renewed.arguments })
    local request = node:request "POST /close"
    local closed = node:reply { closed = true }
    assert.are.same({ "session", 42, "close" }, { closed.kind, closed.session, closed.name })
    assert.are.same({ closed = { closed = true }, code = "session_expired" }, node.answers[request].value)
  end)
end)
