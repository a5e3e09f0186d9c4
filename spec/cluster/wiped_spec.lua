-- A node that lost its disk has forgotten what it promised.
local cluster = require "support.cluster"

describe("a node whose data folder was wiped", function()
  it("is refused under its old id, says so, and the rest go on", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:start()
      assert.are.equal(200, assert(c:http("n1", "PUT", "/kv/a", "1")).status)
      c:kill("n3")
      cluster.remove(c.nodes.n3.data)
      c:launch("n3")
      cluster.eventually("n3 says that it was wiped", function()
        return c:log("n3"):lower():find("lost its data", 1, true)
      end)
      -- It serves nobody as a member, and never becomes ready.
      local ready = c.nodes.n3.process.exited or c:http("n3", "GET", "/readyz", nil, { limit_ms = 5000 })
      assert.is_true(ready == true or ready == nil or ready.status == 503)
      for i = 1, 5 do
        assert.are.equal(200, assert(c:http(i % 2 == 0 and "n1" or "n2", "PUT", "/kv/b" .. i, "2")).status)
      end
      -- With n3's vote worth nothing, the death of one more stops writes: it must not be counted.
      local leader = c:leader()
      local follower = leader == "n1" and "n2" or "n1"
      c:kill(follower)
      local answer = c:http(leader, "PUT", "/kv/c", "3", { limit_ms = 20000 })
      assert.is_true(not answer or answer.status ~= 200, "acknowledged by a wiped node")
      c:start(follower)
      assert.are.equal("1", assert(c:http(follower, "GET", "/kv/a")).body)
    end)
  end)

  it("is not mistaken for another cluster's: a foreign node is refused too", function()
    cluster.run(function()
      local a <close> = cluster.new { nodes = 1 }
      local b <close> = cluster.new { nodes = 1 }
      a:start()
      b:start()
      -- b's node comes back under a's address list: its folder says which cluster it belongs to.
      b:kill("n1")
      local node = b.nodes.n1
      local code, text = cluster.execute(cluster.program, {
        "start", b.app, "--id=n9", "--addr=127.0.0.1:" .. node.port, "--http-port=" .. node.http_port,
        "--peers=127.0.0.1:" .. node.port, "--data=" .. node.data,
      })
      assert.are_not.equal(0, code)
      assert.is_truthy(text:find("n1", 1, true) and text:find("n9", 1, true), text)
      assert.are.equal(200, assert(a:http("n1", "PUT", "/kv/a", "1")).status)
    end)
  end)
end)
