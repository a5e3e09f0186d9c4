-- `moonclave backup` and `restore`: the file to the byte, what is found wrong in it, and both in clusters of real
-- processes, while these are written to and while they are killed.
local base = require "moonclave.base"
local cluster = require "support.cluster"
local fake_nodes = require "support.fake_nodes"
local formats = require "moonclave.formats"
local uv = require "luv"
local wire = require "moonclave.wire"

local function base64(text)
  local letters, bits, count, out = {}, 0, 0, {}
  for c in ("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"):gmatch "." do
    letters[c], count = count, count + 1
  end
  count = 0
  for c in text:gmatch "[%w+/]" do
    bits, count = (bits << 6 | letters[c]) & 0xffffff, count + 6
    if count >= 8 then
      count = count - 8
      out[#out + 1] = string.char(bits >> count & 255)
    end
  end
  return table.concat(out)
end

-- Written by the first version of the format: a state of {a = 1, b = {true, "text"}}, a session, a key.
local GOLDEN = base64 [[
  bWNCMQEAAAAAAAEAyQAAAPzsEeshDbePL0tTFqIBAAA3iXoli4Yg+Zm5KWKype+5AQAAAAEAAAAFAAAAAAAAAAEAAAAAAAAAB5947pZVyQDp
  yvNNUdK5ZKje4Uin6FhTEQMAAAAAAAAAAAAAAAAAAHkAAAAAAAAA9kbpUrRyiHiEqG91dGdvaW5nkKhwcmV2aW91cwCnc2VydmVyc5GGqWFk
  ZHJlc3Nlc5GTpG5vZGWpMTI3LjAuMC4xzVa5omlkom4xq2luY2FybmF0aW9uzyl2K4uWCLxZpmxhYmVsc4CocHJpb3JpdHkApHJvbGUAp3Zl
  cnNpb24BCsm8TBkLf0WHo2FwcIWmYnVuZGxlxJ2DpWZpbGVzgadmc20ubHVh2XRsb2NhbCBmc20gPSB7IGNvbW1hbmRzID0ge30gfQpmdW5j
  dGlvbiBmc20uY29tbWFuZHMucHV0KHN0YXRlLCBjKSBzdGF0ZVtjLmtleV0gPSBjLnZhbHVlIHJldHVybiB0cnVlIGVuZApyZXR1cm4gZnNt
  CqRoYXNoz/kghosleok3p3ZlcnNpb24BpmNvbmZpZ8QBgKVlbnRyeYalaW5kZXgCpHNlZWTPYChRpv1dnMmoc2VxdWVuY2UAp3Nlc3Npb24A
  pHRlcm0Bp3RpbWVfbXPPAAABohZTQn2kaGFzaNP5IIaLJXqJN6VpbmRleAKlY2hhaW7PZv7JUJeF7LyoY2xvY2tfbXPPAAABohZTSy+lZW50
  cnmGpWluZGV4BaRzZWVk080W+mN3cFdLqHNlcXVlbmNlAKdzZXNzaW9uAKR0ZXJtAad0aW1lX21zzwAAAaIWU0svrGZvcm1hdF9sZXZlbAGo
  c2Vzc2lvbnPT41yzDxc5b4Koc2V0dGluZ3OKr2Jsb2NrX2J5dGVzX21heM4BAAAAsmNvbW1hbmRfbWVtb3J5X21heM4QAAAAsWNvbW1hbmRf
  c3RlcHNfbWF4zgL68IC1aWRlbXBvdGVuY3lfYnl0ZXNfbWF4zgQAAAC0aWRlbXBvdGVuY3lfa2V5c19tYXjOAAPQkLZpZGVtcG90ZW5jeV90
  aW1lb3V0X21zzgUmXACxc2Vzc2lvbl9ieXRlc19tYXjOEAAAALJzZXNzaW9uX3RpbWVvdXRfbXPOADbugK5zZXNzaW9uX3dpbmRvd8yArHNl
  c3Npb25zX21heM0nEIWmYWdlX21zzgBSZu2oY2xvY2tfbXPPAAABohZTSy+ka2V5c4HEEHfxcvGPgFdAObdfMqM0OPjEE6eQK5n/EPiz7WZS
  AAAAAAAAAMOkb3BlboEEg6ZhY3RpdmXPAAABohZTSp2lZmxvb3IAp3JlcGxpZXOQp3ZlcnNpb24BgqFhAaFiksOkdGV4dG1jQkUAAAAAcF1R
  RthgKvs=
]]

local function with_file(bytes, body)
  local folder = cluster.folder()
  local path = folder .. "/kv.backup"
  if bytes then cluster.write_file(path, bytes) end
  local ok, problem = xpcall(body, debug.traceback, path, folder)
  cluster.remove(folder)
  if not ok then error(problem, 0) end
end

local function moonclave(...) return cluster.execute(cluster.program, { ... }) end

local function verify(bytes, ...)
  local code, text
  local more = { ... }
  cluster.run(function()
    with_file(bytes, function(path) code, text = moonclave("backup", "--verify", path, table.unpack(more)) end)
  end)
  return code, text
end

-- The parts of a backup, by the page (src/store/backup.h) and nothing else.
local function by_the_page(file)
  local magic, version, block, meta_size, cluster_id, time_ms, app, checksum =
    string.unpack("<c4I1xxxI4I4i8i8i8i8", file)
  local meta = file:sub(49, 48 + meta_size)
  assert.equal("mcB1", magic)
  assert.equal(1, version)
  assert.equal(65536, block)
  assert.equal(base.hash(meta, base.hash(file:sub(1, 40))), checksum)
  local decoded = assert(formats.meta_decode(meta))
  local at, data, sum = 49 + meta_size, {}, checksum
  local offset = 0
  while offset < decoded.size do
    local size = math.min(block, decoded.size - offset)
    local told, bytes = string.unpack("<i8", file, at), file:sub(at + 8, at + 7 + size)
    assert.equal(base.hash(bytes, offset), told)
    data[#data + 1], sum = bytes, base.hash_pair(sum, told)
    at, offset = at + 8 + size, offset + size
  end
  local ends, zero, last = string.unpack("<c4I4i8", file, at)
  assert.same({ "mcBE", 0, sum, #file }, { ends, zero, last, at + 15 })
  return { meta = decoded, data = table.concat(data), time_ms = time_ms, app = app, cluster = cluster_id }
end

local function number(text, key) return tonumber(text:match('"' .. key .. '":(%d+)')) end

describe("a backup's bytes", function()
  it("are those of the first version, read for good", function()
    local found = by_the_page(GOLDEN)
    assert.equal(5, found.meta.index)
    assert.equal(1795670887215, found.time_ms)
    assert.equal("\x82\xa1a\x01\xa1b\x92\xc3\xa4text", found.data:sub(-13))
    local code, text = verify(GOLDEN, "--json")
    assert.equal(0, code)
    for _, field in ipairs { '"app":"f920868b257a8937"', '"bytes":785', '"checksum":"b9efa5b26229b999"',
      '"cluster":"8fb70d21eb11ecfc"', '"index":5', '"items":3', '"keys":1', '"sessions":1', '"term":1',
      '"members":[{"address":"127.0.0.1:22201","id":"n1","role":"voter"}]', '"session_window":128',
      '"state_hash":"5358e8a748e1dea8"', '"time_ms":1795670887215' } do
      assert.matches(field, text, 1, true)
    end
    code, text = verify(GOLDEN)
    assert.equal(0, code)
    assert.matches("a whole backup, every checksum and hash is right", text)
    assert.matches("index     5, term 1, 2026-11-26 05:28:07 UTC", text, 1, true)
    assert.matches("sessions  1 open, 1 idempotency keys", text)
  end)

  it("of a newer version say which program writes them", function()
    local code, text = verify(GOLDEN:sub(1, 4) .. "\2" .. GOLDEN:sub(6))
    assert.equal(1, code)
    assert.matches("version 2 of a backup; this program %(moonclave [%d.]+%) knows version 1: a newer one wrote it",
      text)
  end)

  it("are damaged where a byte is another, wherever it is", function()
    cluster.run(function()
      with_file(nil, function(path)
        for at = 1, #GOLDEN, 13 do
          if at ~= 5 then
            local byte = string.char(GOLDEN:byte(at) ~ 0x10)
            cluster.write_file(path, GOLDEN:sub(1, at - 1) .. byte .. GOLDEN:sub(at + 1))
            local code, text = moonclave("restore", "--verify", path)
            assert(code == 70, ("byte %d: code %d, %s"):format(at, code, text))
            assert.matches("damaged: at byte %d+: ", text)
          end
        end
      end)
    end)
  end)

  it("are damaged where they end early or late", function()
    for _, size in ipairs { 0, 1, 47, 48, 100, 300, #GOLDEN - 17, #GOLDEN - 1 } do
      local code, text = verify(GOLDEN:sub(1, size))
      assert.equal(70, code)
      assert.matches(size == 0 and "damaged: it is empty" or "damaged: at byte " .. size .. ": it ends in the middle",
        text)
    end
    local code, text = verify(GOLDEN .. "\0")
    assert.equal(70, code)
    assert.matches("there are bytes behind its end", text)
    code, text = verify("-- this is no backup, it is a Lua file that somebody has named by mistake\n")
    assert.equal(70, code)
    assert.matches("at byte 0: this is no backup of moonclave", text)
  end)

  it("whose checksums are right, but not their hashes, are damaged", function()
    -- A head that promises another state: all checksums are made anew, as who damages a file on purpose would.
    local meta = formats.meta_decode(GOLDEN:sub(49, 48 + string.unpack("<I4", GOLDEN, 13)))
    local rest = GOLDEN:sub(49 + string.unpack("<I4", GOLDEN, 13))
    for _, change in ipairs { "state_hash", "system_hash" } do
      meta[change] = meta[change] ~ 1
      local bytes = formats.meta_encode(meta)
      local fixed = GOLDEN:sub(1, 40)
      local checksum = base.hash(bytes, base.hash(fixed))
      local sum = base.hash_pair(checksum, string.unpack("<i8", rest))
      local code, text =
        verify(fixed .. string.pack("<i8", checksum) .. bytes .. rest:sub(1, -9) .. string.pack("<i8", sum))
      assert.equal(70, code)
      assert.matches("its hash is another", text)
      meta[change] = meta[change] ~ 1
    end
  end)
end)

local FAST = { "--election-timeout-ms=400", "--heartbeat-ms=60", "--log-level=info" }

local function flags(...)
  local list = { table.unpack(FAST) }
  for _, flag in ipairs { ... } do list[#list + 1] = flag end
  return list
end

local function address(c, name) return "127.0.0.1:" .. c.nodes[name].port end

local function put(c, name, key, value)
  local answer = c:http(name, "PUT", "/kv/" .. key, value)
  return answer and answer.status == 200
end

local function get(c, name, key)
  local answer = c:http(name, "GET", "/kv/" .. key)
  return answer and answer.status == 200 and answer.body or nil
end

local function field(c, name, key)
  local status = c:status(name)
  return status and status:match('"' .. key .. '":"?([%w]+)')
end

local function follower_of(c, leader)
  for _, name in ipairs(c.names) do if name ~= leader then return name end end
end

local function one_state(c)
  cluster.eventually("one state", function()
    local seen = {}
    for _, name in ipairs(c.names) do
      local hash, chain = field(c, name, "state_hash"), field(c, name, "chain")
      if not hash then return false end
      seen[hash .. chain] = true
    end
    return next(seen) and not next(seen, next(seen))
  end)
end

describe("backup and restore", function()
  it("of a follower while others write: all that was acknowledged before is in it, and comes back elsewhere", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags() }
      c:start()
      local leader = c:leader()
      local follower = follower_of(c, leader)
      local stop, done, acknowledged = false, 0, 0
      for i = 1, 2 do
        cluster.spawn(function()
          while not stop do
            if put(c, c.names[i], ("w%d"):format(acknowledged + 1), "1") then acknowledged = acknowledged + 1 end
          end
          done = done + 1
        end)
      end
      cluster.eventually("some writes", function() return acknowledged >= 20 end)
      local path = c.folder .. "/kv.backup"
      local floor = acknowledged
      local code, text = moonclave("backup", path, "--addr", address(c, follower))
      assert(code == 0, text)
      assert.is_nil(uv.fs_stat(path .. ".partial"))
      local before = acknowledged
      cluster.eventually("writes go on", function() return acknowledged > before + 5 end)
      stop = true
      cluster.eventually("the writers end", function() return done == 2 end)
      by_the_page(cluster.read_file(path))

      -- Over HTTP the same; of one index every node gives the same bytes.
      local answer = c:http(follower, "GET", "/v1/backup")
      assert.equal(200, answer.status)
      local parts = by_the_page(answer.body)
      assert.equal(tostring(parts.meta.index), answer.headers["moonclave-index"])
      assert.matches("^%x+$", answer.headers["moonclave-checksum"])
      local other = c:http(leader, "GET", "/v1/backup?consistency=stale")
      assert.equal(answer.body, other.body)
      assert.equal(400, c:http(leader, "GET", "/v1/backup?consistency=any").status)

      local d <close> = cluster.new { nodes = 1, flags = flags() }
      d:start()
      put(d, "n1", "own", "1")
      code, text = moonclave("restore", path, "--addr", address(d, "n1"))
      assert.equal(2, code)
      assert.matches("replaces: cluster %x+ at index %d+", text)
      assert.matches("not done", text)
      assert.equal("1", get(d, "n1", "own"))
      code, text = moonclave("restore", path, "--addr", address(d, "n1"), "--yes")
      assert(code == 0, text)
      assert.matches("restored at index %d+: %d+ items", text)
      assert.is_nil(get(d, "n1", "own"))
      for i = 1, floor do assert(get(d, "n1", "w" .. i), "w" .. i .. " was acknowledged before") end
    end)
  end)

  it("into the cluster that runs; sessions end, and what is damaged changes nothing", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags() }
      c:start()
      put(c, "n1", "a", "1")
      local path = c.folder .. "/kv.backup"
      assert.equal(0, (moonclave("backup", path, "--addr", address(c, "n2"))))
      put(c, "n1", "a", "2")
      put(c, "n1", "b", "3")
      local session = c:http("n1", "POST", "/v1/sessions").body:match '"session":(%d+)'

      local sound = cluster.read_file(path)
      local damaged = path .. ".damaged"
      cluster.write_file(damaged, sound:sub(1, 600) .. string.char(sound:byte(601) ~ 1) .. sound:sub(602))
      local index = field(c, "n1", "last_index")
      local code, text = moonclave("restore", damaged, "--addr", address(c, "n1"), "--yes")
      assert.equal(70, code)
      assert.matches("damaged: at byte %d+: a block of its data is damaged", text)
      assert.equal(index, field(c, "n1", "last_index"))
      assert.equal("2", get(c, "n1", "a"))

      code, text = moonclave("restore", path, "--addr", address(c, "n3"), "--yes", "--json")
      assert(code == 0, text)
      local at = number(text, "index")
      assert.is_true(at > tonumber(index))
      assert.equal("1", get(c, "n1", "a"))
      assert.is_nil(get(c, "n2", "b"))
      local answer = c:http("n1", "POST", "/v1/command/put", '{"key":"c","value":1}',
        { headers = { ["moonclave-session"] = session, ["moonclave-sequence"] = "1" } })
      assert.equal(409, answer.status)
      assert.matches("session_expired", answer.body)
      assert.is_true(put(c, "n2", "b", "4"))
      one_state(c)
      c:kill("n1", "n2", "n3")
      c:start()
      assert.equal("1", get(c, "n1", "a"))
      assert.equal("4", get(c, "n3", "b"))
      one_state(c)
    end)
  end)

  it("is all or nothing when the leader is killed in the middle, and goes on with the next one", function()
    cluster.run(function()
      local c <close> = cluster.new { flags = flags("--entry-bytes-max=2048", "--snapshot-log-bytes=300000") }
      c:start()
      for i = 1, 200 do put(c, "n1", "k" .. i, ("x"):rep(1800)) end
      local path = c.folder .. "/kv.backup"
      assert.equal(0, (moonclave("backup", path, "--addr", address(c, "n2"))))
      put(c, "n1", "late", "1")
      local function begun()
        return cluster.eventually("a part of it is there", function()
          local staged = tonumber(field(c, follower_of(c, c:leader()), "staged"))
          return staged and staged > 20000
        end)
      end

      -- Its client dies: nothing has changed, snapshots wait, another one is refused until it is given up.
      local process = cluster.process(cluster.program, { "restore", path, "--addr", address(c, "n2"), "--yes" })
      begun()
      cluster.signal(process, "sigkill")
      cluster.wait(process)
      os.remove(process.log)
      assert.equal("1", get(c, "n1", "late"))
      local code, text = moonclave("restore", path, "--addr", address(c, "n1"), "--yes")
      assert.equal(1, code)
      assert.matches("another restore is under way", text)
      code, text = moonclave("backup", c.folder .. "/other", "--addr", address(c, "n1"))
      assert.equal(1, code)
      assert.matches("a backup is being restored.*`moonclave restore %-%-abort`", text)
      assert.is_nil(uv.fs_stat(c.folder .. "/other.partial"))
      code, text = moonclave("snapshot", "--addr", address(c, "n1"))
      assert.equal(1, code)
      assert.matches("a backup is being restored.*`moonclave restore %-%-abort`", text)
      code, text = moonclave("restore", "--abort", "--addr", address(c, "n1"))
      assert.equal(0, code)
      assert.matches("is given up: nothing has changed", text)
      assert.equal(1, (moonclave("restore", "--abort", "--addr", address(c, "n1"))))

      -- The leader dies: whoever asked does not even notice.
      local follower = follower_of(c, c:leader())
      process = cluster.process(cluster.program, { "restore", path, "--addr", address(c, follower), "--yes" })
      begun()
      local leader = c:leader()
      c:kill(leader)
      assert.equal(0, (cluster.wait(process)), cluster.read_file(process.log))
      os.remove(process.log)
      local rest = follower_of(c, leader)
      assert.is_nil(get(c, rest, "late"))
      assert.equal(("x"):rep(1800), get(c, rest, "k200"))
      c:start(leader)
      one_state(c)
      cluster.eventually("a snapshot", function() return tonumber(field(c, leader, "taken") or "0") end)
      assert.equal(("x"):rep(1800), get(c, leader, "k1"))
    end)
  end)

  it("keeps a snapshot for as long as somebody reads it, however many newer ones there are", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = flags("--snapshot-log-bytes=1000", "--trailing-entries=0") }
      c:start()
      for i = 1, 14 do assert.is_true(put(c, "n1", "big" .. i, '"' .. ("y"):rep(900000) .. '"')) end
      local function slow_reader()
        local made = uv.new_tcp "inet"
        uv.recv_buffer_size(made, 65536) -- the system is not to take it all
        cluster.await(function(resume) made:connect("127.0.0.1", c.nodes.n1.http_port, resume) end)
        made:write "GET /v1/backup HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"
        return made
      end
      local socket = slow_reader()
      local chunks, size, ended = {}, 0, false
      local function read()
        socket:read_start(function(_, bytes)
          if not bytes then ended = true return end
          chunks[#chunks + 1] = bytes
          size = size + #bytes
        end)
      end
      read()
      cluster.eventually("it begins", function() return size > 0 end)
      socket:read_stop()
      for i = 1, 3 do -- each of these deletes what nobody needs
        assert.is_true(put(c, "n1", "small", tostring(i)))
        assert.equal(200, c:http("n1", "POST", "/v1/snapshot").status)
      end
      assert.is_false(ended)

      -- Two are as many as there may be at once; one whose client leaves makes room.
      local other, code, text = slow_reader(), nil, nil
      cluster.eventually("a third is refused", function()
        code, text = moonclave("backup", c.folder .. "/third", "--addr", address(c, "n1"))
        return code == 1 and text:find "two backups of this node are being made already"
      end)
      other:close()
      cluster.eventually("room for another", function()
        return moonclave("backup", c.folder .. "/third", "--addr", address(c, "n1")) == 0
      end)
      read()
      cluster.eventually("all of it", function() return ended end)
      socket:close()
      local body = table.concat(chunks):match "\r\n\r\n(.*)$"
      assert.equal(14, select(2, by_the_page(body).data:gsub("big%d+", "")))

      -- What is read is let go of: five times thirteen megabytes do not stay.
      local function resident() -- in kB
        return tonumber(cluster.read_file("/proc/" .. c.nodes.n1.process.pid .. "/status"):match "VmRSS:%s+(%d+)")
      end
      chunks, body = nil, nil
      local held = resident()
      for _ = 1, 5 do
        assert.equal(0, (cluster.execute("/bin/sh", { "-c", '"$0" "$@" >/dev/null', cluster.program, "backup", "-",
          "--addr", address(c, "n1") })))
      end
      assert.is_true(resident() < held + 40000, resident() - held)
    end)
  end)

  it("refuses a folder as the file, and a consistency that there is not, before it asks anybody", function()
    cluster.run(function()
      local folder = cluster.folder()
      local code, text = moonclave("backup", folder, "--addr", "127.0.0.1:1")
      local said = ("moonclave: backup: %s is a folder: name a file, as in %s/kv.backup\n"):format(folder, folder)
      assert.same({ 2, said }, { code, text })
      code, text = moonclave("backup", folder .. "/kv", "--consistency", "foo", "--addr", "127.0.0.1:1")
      assert.same({ 2, "moonclave: backup: --consistency foo: it is linearizable or stale\n" }, { code, text })
      assert.is_nil(uv.fs_scandir_next(uv.fs_scandir(folder)))
      cluster.remove(folder)
    end)
  end)

  it("leaves no half file where it cannot be written", function()
    cluster.run(function()
      local c <close> = cluster.new { nodes = 1, flags = flags() }
      c:start()
      for i = 1, 8 do put(c, "n1", "k" .. i, ("z"):rep(60000)) end
      local path = c.folder .. "/kv.backup"
      cluster.write_file(path, "the one of yesterday")
      local code, text = cluster.execute("/bin/sh", { "-c", 'ulimit -f 100; exec "$0" "$@"', cluster.program, "backup",
        path, "--addr", address(c, "n1") })
      assert.equal(1, code)
      assert.matches("kv.backup.partial cannot be written: .*: no half of it is left there", text)
      assert.is_nil(uv.fs_stat(path .. ".partial"))
      assert.equal("the one of yesterday", cluster.read_file(path))
      code, text = cluster.execute("/bin/sh", { "-c", '"$0" "$@" > /dev/full', cluster.program, "backup", "-",
        "--addr", address(c, "n1") })
      assert.equal(1, code)
      assert.matches("stdout cannot be written: No space left on device", text)
      code, text = moonclave("backup", c.folder .. "/no/such/folder", "--addr", address(c, "n1"))
      assert.equal(74, code)
      assert.matches("No such file or directory", text)
      assert.equal(0, (cluster.execute("/bin/sh", { "-c", '"$0" "$@" > ' .. path, cluster.program, "backup", "-",
        "--addr", address(c, "n1") })))
      assert.equal(0, (moonclave("backup", "--verify", path)))
    end)
  end)
end)

describe("Ctrl-C", function()
  -- Runs the command against a node that answers by `answers[method or step]`; "silence" interrupts the command there,
  -- and any other answer to `at` comes after that. Exit code, what it printed.
  local function interrupted(at, answers, ...)
    local words, code, text, asked = { ... }, nil, nil, {}
    cluster.run(function()
      local nodes <close> = fake_nodes.nodes(1)
      local process
      nodes[1].fault = function(request)
        local params = base.unpack(request.params)
        local name = request.method == "admin/restore" and params[1][1] or request.method
        asked[#asked + 1] = name
        if name == at then
          cluster.signal(process, "sigint")
          cluster.sleep(100)
        end
        local answer = answers[name]
        if answer == nil then return nil end
        return answer == "silence" and { lose = true } or { bytes = wire.rpc_result(request.id, base.pack(answer)) }
      end
      words[#words + 1] = "--addr=" .. nodes[1].address
      process = cluster.process(cluster.program, words)
      local status, signal = cluster.wait(process)
      code, text = signal ~= 0 and signal + 128 or status, cluster.read_file(process.log)
      os.remove(process.log)
    end)
    return code, text, table.concat(asked, " ")
  end

  local function restore(at, changes)
    local answers = { status = {}, begin = { id = 7 }, chunk = { bytes = 1 }, commit = { index = 9 },
      abort = { id = 7 } }
    for name, answer in pairs(changes or {}) do answers[name] = answer end
    local code, text, asked
    with_file(GOLDEN, function(path) code, text, asked = interrupted(at, answers, "restore", path, "--yes") end)
    return code, text, asked
  end

  it("before the switch gives a restore up, which has changed nothing", function()
    local code, text, asked = restore "chunk"
    assert.equal(1, code)
    assert.matches("interrupted: the cluster is as it was", text)
    assert.equal("members status begin chunk abort", asked)
    code, text, asked = restore "begin" -- what is begun is ended, too
    assert.equal(1, code)
    assert.matches("interrupted: the cluster is as it was", text)
    assert.equal("members status begin abort", asked)
  end)

  it("while it is asked to switch takes nothing back: what is done is told", function()
    local code, text, asked = restore "commit"
    assert.equal(0, code, text)
    assert.matches("restored at index 9", text)
    assert.equal("members status begin chunk commit", asked)
  end)

  it("is not needed where less time is given than one attempt takes", function()
    with_file(GOLDEN, function(path)
      local began = uv.hrtime()
      local code = interrupted("nothing", { status = {}, begin = "silence" }, "restore", path, "--yes", "--timeout=1")
      assert.equal(1, code)
      assert.is_true(uv.hrtime() - began < 9e9) -- an attempt may take ten seconds
    end)
  end)

  it("leaves no half backup", function()
    with_file(nil, function(path)
      local answers = { ["backup/open"] = { bytes = 100000 }, ["backup/read"] = "silence" }
      local code = interrupted("backup/read", answers, "backup", path)
      assert.equal(130, code)
      assert.is_nil(uv.fs_stat(path .. ".partial"))
      assert.is_nil(uv.fs_stat(path))
    end)
  end)
end)
