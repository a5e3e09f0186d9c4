-- Which handler a request goes to.
local node_of = require "script.control_support"

-- An app whose handlers all answer with their own pattern and parameters.
local function serving(patterns)
  local lines = { "local api = { routes = {} }" }
  for _, pattern in ipairs(patterns) do
    lines[#lines + 1] = ("api.routes[%q] = function(r) return 200, { route = %q, params = r.params } end")
      :format(pattern, pattern)
  end
  lines[#lines + 1] = "return api"
  return node_of.new(table.concat(lines, "\n"))
end

local function shuffled(list, seed)
  local copy = { table.unpack(list) }
  for i = #copy, 2, -1 do
    seed = (seed * 1103515245 + 12345) % 2147483648
    local j = seed % i + 1
    copy[i], copy[j] = copy[j], copy[i]
  end
  return copy
end

describe("a route", function()
  local patterns = {
    "GET /", "GET /kv", "GET /kv/:key", "PUT /kv/:key", "GET /kv/special", "POST /kv/:key/cas", "GET /:what/list",
    "GET /files/*path", "GET /files/:owner/top", "HEAD /own", "GET /own", "DELETE /kv/:key/cas",
  }

  local cases = {
    { "GET /", "GET /" },
    { "GET /kv", "GET /kv" },
    { "GET /kv/one", "GET /kv/:key", key = "one" },
    { "GET /kv/special", "GET /kv/special" },
    { "GET /kv/speci%61l", "GET /kv/special" },
    { "GET /%6b%76/one", "GET /kv/:key", key = "one" },
    { "PUT /kv/special", "PUT /kv/:key", key = "special" },
    { "GET /kv/a%2Fb%20c%00%ff", "GET /kv/:key", key = "a/b c\0\xff" },
    { "GET /kv/a+b", "GET /kv/:key", key = "a+b" },
    { "POST /kv/one/cas", "POST /kv/:key/cas", key = "one" },
    { "GET /kv/list", "GET /kv/:key", key = "list" },
    { "GET /other/list", "GET /:what/list", what = "other" },
    { "GET /files/", "GET /files/*path", path = "" },
    { "GET /files/a", "GET /files/*path", path = "a" },
    { "GET /files/a/b%20c/", "GET /files/*path", path = "a/b c/" },
    { "GET /files/me/top", "GET /files/:owner/top", owner = "me" },
    { "GET /files/me/top/x", "GET /files/*path", path = "me/top/x" },
    { "HEAD /kv/one", "GET /kv/:key", key = "one" },
    { "HEAD /own", "HEAD /own" },
    { "GET /kv/one?key=two", "GET /kv/:key", key = "one" },
  }

  it("is found by its literals first, then by its parameters, in whatever order they were given", function()
    for seed = 1, 10 do
      local node = serving(shuffled(patterns, seed))
      for _, case in ipairs(cases) do
        local answer = node:answer(case[1])
        assert.equal(200, answer.status)
        assert.equal(case[2], answer.value.route, case[1])
        local params = {}
        for name, value in pairs(case) do
          if type(name) == "string" then params[name] = value end
        end
        assert.same(params, answer.value.params, case[1])
      end
      node:close()
    end
  end)

  it("that is not there is the caller's to answer: 404, or 405 where the path is known", function()
    local node = serving(patterns)
    for _, line in ipairs {
      "GET /nothing", "GET /kv/", "GET /kv/a/b", "GET /files", "GET /kv//cas", "GET //", "GET *",
    } do
      local exchange, path_known = node:request(line)
      assert.is_nil(exchange, line)
      assert.is_false(path_known, line)
    end
    for _, line in ipairs { "POST /kv", "DELETE /kv/one", "get /kv", "HEAD /kv/one/cas" } do
      local exchange, path_known = node:request(line)
      assert.is_nil(exchange, line)
      assert.is_true(path_known, line)
    end
    node:close()
  end)

  it("with a broken escape in a parameter or the query is a bad request", function()
    local node = serving(patterns)
    for _, line in ipairs { "GET /kv/%", "GET /kv/a%2", "GET /files/x/%zz", "GET /kv/a?b=%", "GET /?%f" } do
      local answer = node:answer(line)
      assert.equal(400, answer.status)
      assert.equal("bad_request", answer.value.error.code)
    end
    assert.equal(200, node:answer("GET /kv/fine").status)
    node:close()
  end)
end)

describe("loading routes", function()
  local function refused(patterns)
    local texts = {}
    for seed = 1, 6 do
      local lines = {}
      for i, pattern in ipairs(shuffled(patterns, seed)) do
        lines[i] = ("[%q] = function() return 200 end"):format(pattern)
      end
      local node = node_of.new()
      local ok, code, text = node:load("return { routes = { " .. table.concat(lines, ", ") .. " } }")
      assert.is_nil(ok)
      assert.equal("script_error", code)
      texts[text] = true
      node:close()
    end
    local text = next(texts)
    assert.is_nil(next(texts, text), "the error differs from time to time")
    return text
  end

  it("refuses two that match the same requests", function()
    local text = refused { "GET /kv/:key", "GET /kv/:name", "PUT /kv/:key" }
    assert.truthy(text:find('"GET /kv/:key" and "GET /kv/:name"', 1, true), text)
    refused { "GET /a", "GET  /a" }
    refused { "GET /a/*x", "GET /a/*y" }
  end)

  it("refuses what is malformed, and says why", function()
    for pattern, reason in pairs {
      ["/kv"] = "begins with a method", ["get /kv"] = "begins with a method", ["GET"] = "begins with a method",
      [""] = "begins with a method", ["GET kv"] = "path begins with", ["GET "] = "path begins with",
      ["GET /:"] = "has a name", ["GET /*"] = "has a name", ["GET /*rest/more"] = "nothing can follow",
      ["GET /:a/:a"] = "same name", ["GET /:a/*a"] = "same name", ["GET /:a-b"] = "letters", ["GET /:1a"] = "letters",
      ["GET /a?b"] = "holds none of", ["GET /a%20b"] = "holds none of", ["GET /a b/x"] = "holds none of",
      ["GET " .. ("/a"):rep(17)] = "16 segments",
    } do
      local text = refused { pattern, "GET /fine" }
      assert.truthy(text:find(reason, 1, true), pattern .. ": " .. text)
    end
  end)

  it("tells the same one of several mistakes each time", function()
    refused { "GET", "PUT x", "GET /:a/:a", "nonsense", "GET /fine" }
  end)

  it("refuses what is no function, and names that are no strings", function()
    for api, reason in pairs {
      ["return { routes = { ['GET /a'] = 1 } }"] = "is not a function",
      ["return { routes = { 1 } }"] = "named by a string",
      ["return { routes = 1 }"] = "must be a table", ["return 1"] = "must return a table", [""] = "must return a table",
    } do
      local node = node_of.new()
      local ok, code, text = node:load(api)
      assert.is_nil(ok)
      assert.equal("script_error", code)
      assert.truthy(text:find(reason, 1, true), text)
      node:close()
    end
  end)
end)
