-- The program as a person meets it: help, mistakes in the command line, and the commands that talk to a node, against a
-- node that the spec plays itself.
local uv = require "luv"
local base = require "moonclave.base"
local wire = require "moonclave.wire"
local cluster = require "support.cluster"

-- Runs the program; its exit code and all it printed.
local function run(...)
  return cluster.execute(cluster.program, { ... })
end

-- A node that answers each RPC request with what `answer(method, params, number)` gives: a result, or nil and the
-- number of an error; "close" closes the connection. `raw` answers with bytes of its own instead.
local function fake_node(answer, raw)
  local server, open, number = uv.new_tcp(), {}, 0
  assert(server:bind("127.0.0.1", 0))
  assert(server:listen(128, function()
    local client, input = uv.new_tcp(), ""
    server:accept(client)
    open[client] = true
    client:read_start(function(problem, chunk)
      if client:is_closing() then return end
      if problem or not chunk then
        open[client] = nil
        return client:close()
      end
      if raw then return client:write(raw) end
      local found, left = wire.rpc_parse(input .. chunk, #input + #chunk)
      input = left > 0 and (input .. chunk):sub(-left) or ""
      local out = {}
      for _, request in ipairs(found) do
        number = number + 1
        local result, code = answer(request.method, base.unpack(request.params), number)
        if result == "close" then
          open[client] = nil
          return client:close()
        end
        out[#out + 1] = code and wire.rpc_error_code(request.id, code) or wire.rpc_result(request.id, base.pack(result))
      end
      client:write(out)
    end)
  end))
  return setmetatable({ address = "127.0.0.1:" .. server:getsockname().port }, {
    __close = function()
      for client in pairs(open) do
        if not client:is_closing() then client:close() end
      end
      server:close()
    end,
  })
end

describe("the command line", function()
  it("says what an order about members lacks, and where nobody answers", function()
    cluster.run(function()
      for name, missing in pairs { add = "ID", remove = "ID", promote = "ID", demote = "ID", priority = "ID",
        address = "ID" } do
        local code, text = run(name)
        assert.are.equal(2, code)
        assert.is_truthy(text:find(name .. ": " .. missing .. " is missing", 1, true), text)
      end
      local code, text = run("members", "sett", "n1")
      assert.are_not.equal(0, code)
      assert.is_truthy(text:find("members", 1, true), text)
      code, text = run("transfer", "n2", "--addr", "127.0.0.1:1")
      assert.are.equal(1, code)
      assert.is_truthy(text:find("transfer: ", 1, true), text)
    end)
  end)

  it("explains itself", function()
    cluster.run(function()
      local code, text = run "help"
      assert.are.equal(0, code)
      for _, name in ipairs {
        "start", "cluster", "status", "snapshot", "bench", "log", "doctor", "recover", "skip",
      } do
        assert.is_truthy(text:find("\n  " .. name .. " ", 1, true), text)
        local help_code, help = run("help", name)
        assert.are.equal(0, help_code)
        assert.is_truthy(help:find("usage: moonclave " .. name, 1, true), help)
        local flag_code, flag_help = run(name, "--help")
        assert.are.same({ 0, help }, { flag_code, flag_help })
      end
      code, text = run "--version"
      assert.are.equal(0, code)
      assert.is_truthy(text:match "^moonclave %d+%.%d+%.%d+\n$", text)
    end)
  end)

  -- what is typed, what is said
  local mistakes = {
    { {}, "usage: moonclave COMMAND" },
    { { "benhc" }, 'there is no command "benhc": did you mean bench?' },
    { { "zzzzzzzz" }, 'there is no command "zzzzzzzz": `PROGRAM help` lists them' },
    { { "bench", "--sise", "3" }, "bench: there is no flag --sise: did you mean --size?" },
    { { "bench", "--qqqqqqqq" }, "bench: there is no flag --qqqqqqqq: see `PROGRAM help bench`" },
    { { "bench", "-c", "3" }, "bench: there is no flag -c: see `PROGRAM help bench`" },
    { { "bench", "--clients" }, "bench: --clients needs a value: --clients N" },
    { { "bench", "--clients", "many" }, "bench: --clients many: not a whole number" },
    { { "bench", "--clients", "-1" }, "bench: --clients -1: not a whole number" },
    { { "bench", "--clients=0" }, "bench: --clients 0: it must be 1 to 20000" },
    { { "bench", "--clients=99999999999999999999" }, "not a whole number" },
    { { "bench", "--json=perhaps" }, "bench: --json=perhaps: it is true or false, or given without a value" },
    { { "bench", "extra" }, 'bench: unexpected argument "extra": see `PROGRAM help bench`' },
    { { "bench", "--addr", "nowhere" }, "bench: --addr nowhere: an address is HOST:PORT" },
    { { "bench", "--addr", "," }, "bench: --addr: no address given" },
    { { "start", "--id", "n1", "--addr", "127.0.0.1:1", "--label", "zone=a" }, "start: --label goes with --join" },
    { { "start", "--id", "n1", "--addr", "127.0.0.1:1", "--join", "127.0.0.1:2", "--label", "zone" },
      "start: --label zone: labels are NAME=TEXT" },
    { { "status", "--addr", "nowhere" }, "status: nowhere: not an address" },
    { { "cluster", "--nods", "3" }, "cluster: there is no flag --nods: did you mean --nodes?" },
    { { "cluster", "--election-timeut-ms", "3" }, "did you mean --election-timeout-ms?" },
    { { "cluster", "--heartbeat-ms", "900" }, "a heartbeat may take at most a third" },
  }
  for _, mistake in ipairs(mistakes) do
    it("answers to: moonclave " .. table.concat(mistake[1], " "), function()
      cluster.run(function()
        local code, text = run(table.unpack(mistake[1]))
        assert.are.equal(2, code, text)
        local said = mistake[2]:gsub("PROGRAM", (cluster.program:gsub("%%", "%%%%"))) -- as it was called
        assert.is_truthy(text:find(said, 1, true), text)
        if #mistake[1] > 0 then assert.is_truthy(text:match "^moonclave: [^\n]+\n$", text) end
      end)
    end)
  end
end)

describe("the program's name", function()
  it("is as it was called, wherever a line is to be typed next", function()
    local shell = require "support.shell"
    local folder <close> = shell.folder()
    local path = folder.path .. "/a place"
    shell.must("mkdir '%s' && ln -s '%s' '%s/moonclave'", path, cluster.program, path)
    for _, row in ipairs {
      { "'%s/moonclave' bench extra", { path }, ": see `'" .. path .. "/moonclave' help bench`\n" },
      { "cd '%s' && ./moonclave bench extra", { path }, ": see `./moonclave help bench`\n" },
      { "PATH='%s':$PATH; moonclave bench extra", { path }, ": see `moonclave help bench`\n" },
      { "cd '%s' && ./moonclave new shop", { path }, "\nNext: ./moonclave cluster shop    (its README" },
      { "cd '%s' && ./moonclave sim", { path }, "which app? `./moonclave sim APP`" },
    } do
      local _, text = shell.run(row[1], table.unpack(row[2]))
      assert.matches(row[3], text, 1, true)
    end
  end)
end)

describe("snapshot", function()
  it("asks the node for one and says where it is and how large", function()
    cluster.run(function()
      local asked
      local node <close> = fake_node(function(method, params)
        asked = { method, params }
        return { index = 1234, size = 56789 }
      end)
      local code, text = run("snapshot", "--addr", node.address, "--timeout", "3")
      assert.are.same({ 0, "snapshot at index 1234, 56789 bytes\n" }, { code, text })
      assert.are.equal("admin/snapshot", asked[1])
      assert.are.equal(0, #asked[2][1])
      assert.is_nil(next(asked[2][1]))
      assert.is_true(asked[2][2].timeout > 0 and asked[2][2].timeout <= 3)
      code, text = run("snapshot", "--addr", node.address, "--json")
      assert.are.same({ 0, '{"index":1234,"size":56789}\n' }, { code, text })
    end)
  end)

  it("says why not, and takes no arguments", function()
    cluster.run(function()
      local node <close> = fake_node(function() return nil, 4 end)
      local code, text = run("snapshot", "--addr", node.address)
      assert.are.equal(1, code)
      assert.is_truthy(text:match "^moonclave: snapshot: [^\n]+\n$", text)
      code, text = run("snapshot", "n2")
      assert.are.equal(2, code)
      assert.is_truthy(text:find('unexpected argument "n2"', 1, true), text)
    end)
  end)
end)

describe("status", function()
  local members = {
    { id = "n1", address = "127.0.0.1:5001", role = "voter", state = "leader", match = 42, lag = 0 },
    { id = "node-2", address = "127.0.0.1:15002", role = "voter", state = "follower", match = 39, lag = 3,
      contact_ms = 12 },
  }
  local function answer(method)
    if method == "members" then return members end
    return { id = "n1", leader = "n1", leader_address = "127.0.0.1:5001", term = 7, commit_index = 42, cluster = "00ab",
      role = "leader" }
  end

  it("is a line about the cluster and an aligned row for each member", function()
    cluster.run(function()
      local node <close> = fake_node(answer)
      local code, text = run("status", "--addr", node.address)
      assert.are.equal(0, code)
      assert.are.equal([[
cluster 00ab: leader n1 (127.0.0.1:5001), term 7, commit 42
id      address          role   state     match  lag  contact
n1      127.0.0.1:5001   voter  leader       42    0        -
node-2  127.0.0.1:15002  voter  follower     39    3    12 ms
]], text)
    end)
  end)

  it("says how long commits take, as the leader knows it", function()
    cluster.run(function()
      local latency = { count = 9, p50_us = 1234, p99_us = 45678 }
      local leader <close> = fake_node(function(method)
        if method == "members" then return {} end
        local status = answer(method)
        status.commit_latency = latency
        return status
      end)
      local node <close> = fake_node(function(method)
        if method == "members" then return {} end
        return { id = "node-2", leader = "n1", leader_address = leader.address, term = 7, commit_index = 42,
          commit_latency = { count = 1, p50_us = 1, p99_us = 1 } } -- of when it led itself
      end)
      for _, address in ipairs { leader.address, node.address } do
        local code, text = run("status", "--addr", address)
        assert.are.equal(0, code)
        assert.are.equal("commits of the last seconds: p50 1.2 ms, p99 46 ms\n", text:match "\n(.*)$")
      end
      latency = nil
      local _, text = run("status", "--addr", leader.address)
      assert.is_nil(text:find "commits of")
    end)
  end)

  it("says what the node would start from, and whether it takes a snapshot", function()
    cluster.run(function()
      local snapshot
      local node <close> = fake_node(function(method)
        if method == "members" then return {} end
        local status = answer(method)
        status.snapshot, status.first_index = snapshot, 31
        return status
      end)
      for _, row in ipairs {
        { { index = 40, term = 7, size = 1234, taken_ms = 3, taking = false },
          "n1: snapshot at index 40, 1234 bytes; its log begins at 31\n" },
        { { index = 40, term = 7, size = 1234, taken_ms = 3, taking = true },
          "n1: snapshot at index 40, 1234 bytes; its log begins at 31; takes a new snapshot now\n" },
        { { index = 0, term = 0, size = 0, taken_ms = 0, taking = true }, "n1 takes a snapshot now\n" },
        { { index = 0, term = 0, size = 0, taken_ms = 0, taking = false }, "" },
      } do
        snapshot = row[1]
        local code, text = run("status", "--addr", node.address)
        assert.are.equal(0, code)
        assert.are.equal("cluster 00ab: leader n1 (127.0.0.1:5001), term 7, commit 42\n" .. row[2], text)
      end
    end)
  end)

  it("asks the leader how far the members are, when another node was asked", function()
    cluster.run(function()
      local leader <close> = fake_node(answer)
      local node <close> = fake_node(function(method)
        if method == "members" then return { { id = "n1", address = "a:1", role = "voter", state = "leader" } } end
        return { id = "node-2", leader = "n1", leader_address = leader.address, term = 7, commit_index = 42 }
      end)
      local code, text = run("status", "--addr=" .. node.address)
      assert.are.equal(0, code)
      assert.is_truthy(text:find("node-2  127.0.0.1:15002  voter  follower     39    3    12 ms", 1, true), text)
    end)
  end)

  it("says that there is no leader", function()
    cluster.run(function()
      local node <close> = fake_node(function(method)
        return method == "members" and {}
          or { id = "n3", leader = "", term = 0, commit_index = 0, cluster = "", role = "blank" }
      end)
      local code, text = run("status", "--addr", node.address)
      assert.are.equal(0, code)
      assert.is_truthy(text:find("no leader is known to n3", 1, true), text)
      assert.is_truthy(text:find("n3 waits until every node of its --peers has answered", 1, true), text)
    end)
  end)

  it("is JSON with --json", function()
    cluster.run(function()
      local node <close> = fake_node(answer)
      local code, text = run("status", "--json", "--addr", node.address)
      assert.are.equal(0, code)
      assert.is_truthy(text:match '^{"members":%[{.*"match":42.*"contact_ms":12.*%],"status":{.*"term":7.*}}\n$', text)
    end)
  end)

  it("fails in one line where nobody answers, and where no node does", function()
    cluster.run(function()
      local code, text = run("status", "--addr", "127.0.0.1:" .. cluster.free_port())
      assert.are.equal(1, code)
      assert.is_truthy(text:find("nobody answers (Connection refused)", 1, true), text)
      local web <close> = fake_node(nil, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
      code, text = run("status", "--addr", web.address)
      assert.is_true(code ~= 0)
      assert.is_truthy(text:find("does not speak msgpack-RPC", 1, true), text)
      local rude <close> = fake_node(function() return "close" end)
      code, text = run("status", "--addr", rude.address)
      assert.are.equal(1, code)
      assert.is_truthy(text:find("the connection was lost: it closed the connection", 1, true), text)
    end)
  end)
end)

describe("bench", function()
  local function bench(node, ...)
    return run("bench", "--addr", node.address, "--seconds=1", "--warmup=0", "--clients=4", "--keys=50", ...)
  end

  it("puts values of the size asked for under the number of keys asked for", function()
    cluster.run(function()
      local seen, keys, wrong = 0, {}, 0
      local node <close> = fake_node(function(method, params)
        if method ~= "put" or #params[1].value ~= 100 then wrong = wrong + 1 end
        if not keys[params[1].key] then
          keys[params[1].key] = true
          seen = seen + 1
        end
        return { revision = 1 }
      end)
      local code, text = bench(node, "--size=100", "--pipeline", "3")
      assert.are.equal(0, code, text)
      assert.are.same({ 0, 50 }, { wrong, seen })
      local row = text:match "\n(put [^\n]+)\n$"
      local clients, pipeline, size, throughput, _, _, _, _, errors = row:match("put" .. ("%s+([%d.]+)"):rep(9))
      assert.are.same({ "4", "3", "100", "0" }, { clients, pipeline, size, errors })
      assert.is_true(tonumber(throughput) > 10, row)
    end)
  end)

  it("writes every key before it reads any, and tells reads and writes apart", function()
    cluster.run(function()
      local written, early = {}, 0
      local node <close> = fake_node(function(method, params)
        local key = params[1].key
        if method == "put" then
          written[key] = params[1].value
          return { revision = 1 }
        end
        if not written[key] then early = early + 1 end
        return written[key]
      end)
      local code, text = bench(node, "--reads=50", "--json")
      assert.are.equal(0, code, text)
      assert.are.equal(0, early)
      assert.is_truthy(text:match '"operation":"put".*\n.*"operation":"get".*\n$', text)
      assert.is_truthy(text:match '"errors":0', text)
    end)
  end)

  it("counts errors by their code and fails", function()
    cluster.run(function()
      local node <close> = fake_node(function(_, _, number)
        if number % 10 == 0 then return nil, 3 end
        if number % 35 == 0 then return "close" end
        return { revision = 1 }
      end)
      local code, text = bench(node)
      assert.are.equal(1, code, text)
      assert.is_truthy(text:match "errors: .*timeout: %d+", text)
      assert.is_truthy(text:match "connection_lost: %d+", text)
    end)
  end)

  it("takes an absent key for an error: all were written", function()
    cluster.run(function()
      local node <close> = fake_node(function(method)
        return method == "put" and { revision = 1 } or base.null
      end)
      local code, text = bench(node, "--reads", "100")
      assert.are.equal(1, code)
      assert.is_truthy(text:match "errors: not_found: %d+", text)
      assert.is_truthy(text:find("nothing succeeded", 1, true), text)
    end)
  end)

  it("says when nobody answers, or somebody else", function()
    cluster.run(function()
      local code, text = bench { address = "127.0.0.1:" .. cluster.free_port() }
      assert.are.equal(1, code)
      assert.is_truthy(text:find("nobody answers (connection refused)", 1, true), text)
      local web <close> = fake_node(nil, "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n")
      code, text = bench(web)
      assert.is_true(code ~= 0)
      assert.is_truthy(text:find("does not speak msgpack-RPC: HTTP addresses need --http", 1, true), text)
    end)
  end)
end)
