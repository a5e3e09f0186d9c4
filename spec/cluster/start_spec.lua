-- How a cluster begins, from the command lines that people type.
local cluster = require "support.cluster"

describe("the seed's three command lines", function()
  it("make a cluster, with nothing but addresses in --peers and no app named", function()
    cluster.run(function()
      local c <close> = cluster.new { app = false }
      local ids = { n1 = "node-aws-0", n2 = "node-aws-1", n3 = "node-aws-2" }
      function c:arguments(name)
        local node, peers = self.nodes[name], {}
        for _, peer in ipairs(self.names) do peers[#peers + 1] = "127.0.0.1:" .. self.nodes[peer].port end
        return { "start", "--addr=127.0.0.1:" .. node.port, "--peers=" .. table.concat(peers, ","),
          "--id=" .. ids[name], "--http-port=" .. node.http_port }
      end
      local start = c.launch
      function c:launch(...) -- in a folder of its own: the default data folder is ./data/ID
        local here = require "luv".cwd()
        require "luv".chdir(self.folder)
        start(self, ...)
        require "luv".chdir(here)
      end
      c:start()
      assert.are.equal(200, assert(c:http("n2", "PUT", "/kv/a", "1")).status)
      assert.are.equal("1", assert(c:http("n3", "GET", "/kv/a")).body)
      assert.are.equal(200, assert(c:http("n1", "POST", "/store", '{"key":"b","value":"<2>"}')).status)
      local page = assert(c:http("n2", "GET", "/inspect"))
      assert.are.equal(200, page.status)
      assert.is_truthy(page.body:find("&lt;2&gt;", 1, true), page.body)
      assert.is_truthy(page.headers["content-type"]:find("text/html", 1, true))
      local members = assert(c:http("n1", "GET", "/v1/members")).body
      for _, id in pairs(ids) do assert.is_truthy(members:find('"' .. id .. '"', 1, true), members) end
    end)
  end)
end)

describe("a blank cluster", function()
  it("waits until every listed peer has answered", function()
    cluster.run(function()
      local c <close> = cluster.new()
      c:launch("n1", "n2")
      cluster.eventually("both are up", function()
        local a, b = c:http("n1", "GET", "/healthz"), c:http("n2", "GET", "/healthz")
        return a and b and a.status == 200 and b.status == 200
      end)
      cluster.sleep(1500) -- longer than an election takes: there is nothing to elect for yet
      for _, name in ipairs { "n1", "n2" } do
        assert.are.equal(503, assert(c:http(name, "GET", "/readyz")).status)
        local status = assert(c:status(name))
        assert.is_truthy(status:find('"term":0', 1, true), status)
      end
      c:start("n3")
      for _, name in ipairs(c.names) do
        cluster.eventually(name .. " is ready", function() return c:ready(name) end)
      end
      assert.are.equal(200, assert(c:http("n3", "PUT", "/kv/a", "1")).status)
    end)
  end)

  it("does not begin with differing lists of peers, and says which", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 2 }
      local arguments = c.arguments
      function c:arguments(name)
        local list = arguments(self, name)
        if name == "n2" then
          for i, flag in ipairs(list) do
            if flag:match "^%-%-peers=" then list[i] = flag .. ",n3=127.0.0.1:" .. cluster.free_port() end
          end
        end
        return list
      end
      c:launch()
      cluster.eventually("it is said", function()
        return c:log("n1"):find("peers", 1, true) and c:log("n1"):find("differ", 1, true)
          or c:log("n2"):find("differ", 1, true)
      end)
      assert.are.equal(503, assert(c:http("n1", "GET", "/readyz")).status)
    end)
  end)

  it("of one node needs nobody", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      assert.are.equal(200, assert(c:http("n1", "PUT", "/kv/a", "1")).status)
    end)
  end)
end)

describe("the app", function()
  it("is the one in the log: a node started later with another is warned and runs the replicated one", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      c:start()
      assert.are.equal(200, assert(c:http("n1", "PUT", "/kv/a", "1")).status)
      c:kill("n1")
      local other = c.folder .. "/other.lua"
      cluster.write_file(other, "return { version = 1, commands = {}, queries = {}, init = function() return {} end }")
      c.app = other
      c:start("n1")
      assert.are.equal("1", assert(c:http("n1", "GET", "/kv/a")).body)
      assert.is_truthy(c:log("n1"):find("differs", 1, true), c:log("n1"))
    end)
  end)

  it("serves its commands and queries without an API of its own", function()
    cluster.run(function()
      local c <close> = cluster.new { app = require "luv".cwd() .. "/examples/counter.lua" }
      c:start()
      for i = 1, 6 do
        local answer = assert(c:http("n" .. (i % 3 + 1), "POST", "/v1/command/add", '{"name":"apples","by":2}'))
        assert.are.same({ 200, tostring(2 * i) }, { answer.status, answer.body })
      end
      local read = assert(c:http("n2", "GET", "/v1/query/get?name=apples"))
      assert.are.same({ 200, "12" }, { read.status, read.body })
      assert.are.equal(404, assert(c:http("n1", "POST", "/v1/command/none", "{}")).status)
    end)
  end)
end)
