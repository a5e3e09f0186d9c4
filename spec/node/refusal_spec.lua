-- What cannot be started is refused with one line that says what, where and what to do, and an exit code that is not 0.
local cluster = require "support.cluster"
local uv = require "luv"

-- Starts with the arguments behind "start"; the exit code and everything it printed.
local function start(folder, ...)
  return cluster.execute(cluster.program, { "start", ... }, { log = folder .. "/out", limit_ms = 20000 })
end

local function in_folder(body)
  cluster.run(function()
    local folder = cluster.folder()
    local ok, problem = xpcall(body, debug.traceback, folder)
    cluster.remove(folder)
    if not ok then error(problem, 0) end
  end)
end

local function lines(text)
  return select(2, text:gsub("\n", "\n"))
end

describe("start refuses", function()
  local app = uv.cwd() .. "/examples/counter.lua"
  local rows = {
    { "an unknown flag, and names the nearest", 2,
      { "--election-timout-ms=5" }, { "timout", "--election-timeout-ms" } },
    { "a missing id", 2, { app, "--addr=127.0.0.1:1" }, { "--id" } },
    { "an id with a blank", 2, { app, "--id=a b", "--addr=127.0.0.1:1" }, { "a b", "letters" } },
    { "an address without a port", 2, { app, "--id=n1", "--addr=localhost" }, { "--addr", "HOST:PORT" } },
    { "a heartbeat too slow for the election timeout", 2,
      { app, "--id=n1", "--addr=127.0.0.1:1", "--heartbeat-ms=900" }, { "heartbeat_ms", "third" } },
    { "a setting out of its limits", 2,
      { app, "--id=n1", "--addr=127.0.0.1:1", "--append-window=0" }, { "append", "4096" } },
    { "an app that is not there", 1, { "/nowhere/app", "--id=n1", "--addr=127.0.0.1:1" }, { "/nowhere/app" } },
    { "a config file that is not there", 1, { "--config=/nowhere/node.lua" }, { "/nowhere/node.lua" } },
  }
  for _, row in ipairs(rows) do
    it(row[1], function()
      in_folder(function(folder)
        local code, text = start(folder, table.unpack(row[3]))
        assert.are.equal(row[2], code, text)
        assert.are.equal(1, lines(text), text)
        assert.is_truthy(text:find("^moonclave: "), text)
        for _, part in ipairs(row[4]) do assert.is_truthy(text:find(part, 1, true), text) end
      end)
    end)
  end

  it("a script with a syntax error, with file and line", function()
    in_folder(function(folder)
      cluster.write_file(folder .. "/bad.lua", "local fsm = {}\nfunction fsm.init( return {} end\nreturn fsm\n")
      local code, text = start(folder, folder .. "/bad.lua", "--id=n1", "--addr=127.0.0.1:1",
        "--data=" .. folder .. "/d")
      assert.are.equal(1, code)
      assert.is_truthy(text:find(folder .. "/bad.lua", 1, true) and text:find(":2:", 1, true), text)
      assert.are.equal(1, lines(text), text)
      assert.is_nil(uv.fs_stat(folder .. "/d"), "a data folder was made for an app that cannot run")
    end)
  end)

  it("a folder without fsm.lua", function()
    in_folder(function(folder)
      uv.fs_mkdir(folder .. "/app", 448)
      local code, text = start(folder, folder .. "/app", "--id=n1", "--addr=127.0.0.1:1")
      assert.are.equal(1, code)
      assert.is_truthy(text:find(folder .. "/app", 1, true) and text:find("fsm.lua", 1, true), text)
    end)
  end)

  it("a port in use", function()
    in_folder(function(folder)
      local taken = uv.new_tcp()
      assert(taken:bind("127.0.0.1", 0))
      assert(taken:listen(1, function() end))
      local address = "127.0.0.1:" .. taken:getsockname().port
      local code, text = start(folder, app, "--id=n1", "--addr=" .. address, "--peers=" .. address,
        "--data=" .. folder .. "/d")
      taken:close()
      assert.are.equal(1, code, text)
      assert.is_truthy(text:find(address, 1, true) and text:find("in use", 1, true), text)
    end)
  end)

  it("a data folder that another process uses, and one of another node", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, app = app }
      c:start()
      local data = c.nodes.n1.data
      local address = "127.0.0.1:" .. cluster.free_port()
      local code, text = start(c.folder, app, "--id=n1", "--addr=" .. address, "--data=" .. data)
      assert.are_not.equal(0, code)
      assert.is_truthy(text:find(data, 1, true) and text:find("use", 1, true), text)
      c:kill("n1")
      os.remove(c.folder .. "/out")
      code, text = start(c.folder, app, "--id=n2", "--addr=" .. address, "--data=" .. data)
      assert.are_not.equal(0, code)
      assert.is_truthy(text:find("n1", 1, true) and text:find("n2", 1, true), text)
      c:start()
    end)
  end)

  it("a damaged log: it says which file, and does not serve", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, app = app }
      c:start()
      for _ = 1, 20 do assert.are.equal(200, assert(c:http("n1", "POST", "/v1/command/add", '{"name":"x"}')).status) end
      c:kill("n1")
      local wal = c.nodes.n1.data .. "/moonclave.db-wal"
      local bytes = cluster.read_file(wal)
      assert.is_true(#bytes > 20000, "the log is not where it is damaged")
      local middle = #bytes // 2
      local flipped = string.char(bytes:byte(middle) ~ 16)
      cluster.write_file(wal, bytes:sub(1, middle - 1) .. flipped .. bytes:sub(middle + 1))
      local node = c.nodes.n1
      local code, text = start(c.folder, app, "--id=n1", "--addr=127.0.0.1:" .. node.port, "--data=" .. node.data)
      assert.are.equal(70, code, text)
      assert.is_truthy(text:find("moonclave.db-wal", 1, true), text)
    end)
  end)
end)
