-- A leader that was stopped while others went on must not answer from the past.
local cluster = require "support.cluster"

describe("a read waiting in a stopped leader's socket", function()
  it("gets the newer value or an error when the process goes on", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--election-timeout-ms=300", "--heartbeat-ms=50" } }
      c:start()
      local old = c:leader()
      assert.are.equal(200, assert(c:http(old, "PUT", "/kv/x", "old")).status)

      -- A connection that is established and warm, so that the read waits in the socket's buffer.
      local warm = c:client(old)
      assert.are.equal("old", assert(warm:request("GET", "/kv/x")).body)
      c:signal(old, "sigstop")
      c.nodes[old].stopped = true

      local answer, why
      local answered = false
      cluster.spawn(function()
        answer, why = warm:request("GET", "/kv/x")
        answered = true
      end)

      local new = c:leader(old)
      local wrote = cluster.eventually("a newer value is acknowledged", function()
        local a = c:http(new, "PUT", "/kv/x", "new")
        return a and a.status == 200
      end)
      assert.is_true(wrote)
      assert.is_false(answered)
      c:signal(old, "sigcont")
      c.nodes[old].stopped = nil
      cluster.eventually("the waiting read is answered", function() return answered end)
      warm:close()
      if answer and answer.status == 200 then
        assert.are.equal("new", answer.body)
      else
        assert.is_true(why == "lost" or answer.status == 503 or answer.status == 504,
          answer and answer.status .. " " .. answer.body or why)
      end
      cluster.eventually("the old leader follows", function()
        local a = c:http(old, "GET", "/kv/x")
        return a and a.status == 200 and a.body == "new"
      end)
    end)
  end)
end)

describe("a write waiting in a stopped leader's socket", function()
  it("is done, or said not to be done, or unknown: and what it says is true", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = { "--election-timeout-ms=300", "--heartbeat-ms=50",
        "--request-timeout-ms=3000" } }
      c:start()
      local old = c:leader()
      assert.are.equal(200, assert(c:http(old, "PUT", "/kv/x", "first")).status)
      local warm = c:client(old)
      assert.are.equal(200, assert(warm:request("GET", "/kv/x")).status)
      c:signal(old, "sigstop")
      c.nodes[old].stopped = true
      local answer, why
      local answered = false
      cluster.spawn(function()
        answer, why = warm:request("POST", "/kv/x/append", "+late")
        answered = true
      end)
      local new = c:leader(old)
      cluster.eventually("a newer value is acknowledged", function()
        local a = c:http(new, "PUT", "/kv/x", "second")
        return a and a.status == 200
      end)
      c:signal(old, "sigcont")
      c.nodes[old].stopped = nil
      cluster.eventually("the waiting write is answered", function() return answered end)
      warm:close()
      local value = cluster.eventually("the value can be read", function()
        local a = c:http(new, "GET", "/kv/x")
        return a and a.status == 200 and a.body
      end)
      if answer and answer.status == 200 then
        assert.are.equal("second+late", value)
      elseif answer and answer.status == 503 then
        assert.are.equal("second", value)
      else
        assert.is_true(why == "lost" or answer.status == 504, answer and answer.body or why)
        assert.is_true(value == "second" or value == "second+late", value)
      end
    end)
  end)
end)
