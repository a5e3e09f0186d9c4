-- How a node ends: gracefully when told once, at once when told twice, with its starter when it was asked to.
local cluster = require "support.cluster"
local uv = require "luv"

describe("a node told to stop", function()
  it("ends with 0, and its address is free for the next", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      for _ = 1, 3 do
        c:start()
        assert.are.equal(200, assert(c:http("n1", "POST", "/v1/command/put", '{"key":"a","value":"1"}')).status)
        c:signal("n1", "sigterm")
        assert.are.same({ 0, 0 }, { cluster.wait(c.nodes.n1.process) })
      end
    end)
  end)

  it("ends while it still waits for the others of a blank cluster", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:launch "n1"
      cluster.eventually("it is up", function() return c:http("n1", "GET", "/healthz") end)
      c:signal("n1", "sigint")
      assert.are.same({ 0, 0 }, { cluster.wait(c.nodes.n1.process) })
    end)
  end)

  it("answers every request it took, definitely or not, and takes no more", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      local answered, bodies = 0, {}
      for i = 1, 20 do
        bodies[i] = function()
          local client = c:client "n1"
          local body = ('{"key":"k%d","value":"1"}'):format(i)
          while true do
            local answer, why = client:request("POST", "/v1/command/put", body)
            if not answer then
              assert.is_true(why == "lost" or why == "refused", why)
              break
            end
            assert.is_true(answer.status == 200 or answer.status == 503, answer.body)
            answered = answered + 1
          end
          client:close()
        end
      end
      bodies[21] = function()
        cluster.eventually("work is under way", function() return answered > 200 end)
        c:signal("n1", "sigterm")
      end
      cluster.all(bodies)
      assert.are.same({ 0, 0 }, { cluster.wait(c.nodes.n1.process) })
    end)
  end)

  it("ends with its standard input where --stop-with-stdin says so", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      local input = uv.new_pipe()
      local code
      local handle
      handle = uv.spawn(cluster.program, {
        args = c:arguments("n1", { "--stop-with-stdin" }), stdio = { input, nil, nil },
      }, function(status)
        code = status
        handle:close()
      end)
      cluster.eventually("it is ready", function()
        local answer = c:http("n1", "GET", "/readyz")
        return answer and answer.status == 200
      end)
      input:close()
      cluster.eventually("it has ended", function() return code end)
      assert.are.equal(0, code)
    end)
  end)
end)

describe("a node whose port or folder is taken", function()
  it("says so in one line and ends with 1", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      local other = "127.0.0.1:" .. cluster.free_port()
      local taken = "127.0.0.1:" .. c.nodes.n1.port
      local cases = {
        { "start", c.app, "--id=n2", "--addr=" .. taken, "--peers=" .. taken, "--data=" .. c.folder .. "/n2" },
        { "start", c.app, "--id=n2", "--addr=" .. other, "--peers=" .. other, "--data=" .. c.folder .. "/n2",
          "--http=" .. taken },
        { "start", c.app, "--id=n1", "--addr=" .. other, "--peers=" .. other, "--data=" .. c.folder .. "/n1" },
      }
      for _, arguments in ipairs(cases) do
        local code, text = cluster.execute(cluster.program, arguments)
        assert.are.equal(1, code, text)
        assert.is_truthy(text:match "^moonclave: [^\n]+\n$", text)
        assert.is_truthy(text:find("use", 1, true), text)
      end
    end)
  end)
end)
