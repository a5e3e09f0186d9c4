-- A node told everything by its Lua config file, and by the command line where both speak.
local cluster = require "support.cluster"
local uv = require "luv"

-- Writes the file and makes it all that `start` is given, but for `extra`.
local function configured(c, text, extra)
  local path = c.folder .. "/node.lua"
  cluster.write_file(path, text)
  function c.arguments()
    return { "start", "--config=" .. path, table.unpack(extra or {}) }
  end
end

local FILE = [[
local port = %d
return {
  id = "n1", addr = "127.0.0.1:" .. port, http_port = %d, peers = { "n1=127.0.0.1:" .. port }, data = %q,
  app = %q, app_config = { value_bytes_max = 10 }, election_timeout_ms = 200, heartbeat_ms = 50,
}
]]

local function file_of(c, http_port)
  local node = c.nodes.n1
  return FILE:format(node.port, http_port or node.http_port, node.data, uv.cwd() .. "/examples/kv")
end

describe("a config file", function()
  it("tells a node everything, the app's config too", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      configured(c, file_of(c))
      c:start()
      assert.are.equal(200, assert(c:http("n1", "PUT", "/kv/a", "ten bytes!")).status)
      assert.are.equal(413, assert(c:http("n1", "PUT", "/kv/a", "more than ten")).status)
    end)
  end)

  it("gives way to the command line", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      configured(c, file_of(c, cluster.free_port()), { "--http-port=" .. c.nodes.n1.http_port })
      c:start()
    end)
  end)

  it("is refused with the name that means nothing, or the value that cannot be", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1 }
      for text, part in pairs {
        ['return { id = "n1", frob = 3 }'] = "frob",
        ['return { id = "n1", peers = { {} } }'] = "peers",
        ["return 5"] = "table",
        ["return {"] = "node.lua:1",
      } do
        configured(c, text)
        local code, out = cluster.execute(cluster.program, c:arguments())
        assert.is_true(code == 1 or code == 2, out)
        assert.is_truthy(out:find("node.lua", 1, true) and out:find(part, 1, true), out)
      end
    end)
  end)
end)
