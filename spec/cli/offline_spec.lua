-- The tools for stopped nodes: log, doctor, recover. Folders are made by the real store, and damaged byte by byte.
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local store = require "moonclave.store"
local uv = require "luv"
local cluster = require "support.cluster"

local function run(...)
  return cluster.execute(cluster.program, { ... })
end

-- ---- folders ----

local CLUSTER_OF_THREE = {
  { id = "n1", incarnation = 11, role = "voter", address = "127.0.0.1:1" },
  { id = "n2", incarnation = 12, role = "voter", address = "127.0.0.1:2" },
  { id = "n3", incarnation = 13, role = "voter", address = "127.0.0.1:3" },
}

local function configuration_of(servers, previous)
  local list = {}
  for i, server in ipairs(servers) do
    list[i] = { id = server.id, incarnation = server.incarnation, role = server.role == "learner" and 1 or 0,
      priority = 0, addresses = { { "node", "127.0.0.1", tonumber(server.address:match "%d+$") } },
      labels = base.object {} }
  end
  return base.pack { outgoing = {}, previous = previous or 0, servers = list, version = 1 }
end

local function command(name, arguments) return base.pack { name, arguments } end

-- A folder of n1 with these payloads in its log (commands, or {type=, payload=, term=}), closed.
local function folder_with(where, entries, options)
  options = options or {}
  local s = assert(store.open { folder = where, id = options.id or "n1", incarnation = options.incarnation or 11 })
  local first = configuration_of(CLUSTER_OF_THREE)
  if options.cluster ~= 0 then assert(s:bootstrap(first, options.cluster or 4711)) end
  local chain, list = 0, {}
  for i, given in ipairs(entries) do
    local entry = { type = 4, flags = 0, term = 1, index = i, time_ms = 1700000000000 + i, seed = i, session = 0,
      sequence = 0 }
    if type(given) == "string" then given = { payload = given } end
    for key, value in pairs(given) do entry[key] = value end
    entry.chain = formats.entry_chain(entry, chain)
    chain = entry.chain
    list[i] = entry
  end
  assert(s:persist { { hard_state = { term = options.term or 2, vote = "n2" }, entries = list } })
  if options.kill then return s end
  s:close()
end

local function contents(where)
  local files = {}
  local scan = assert(uv.fs_scandir(where))
  while true do
    local name = uv.fs_scandir_next(scan)
    if not name then break end
    files[name] = cluster.read_file(where .. "/" .. name)
  end
  return files
end

-- One bit at an offset; or in each place where a text stands: a page that was split has left copies in free room.
local function flip(path, what)
  local bytes = cluster.read_file(path)
  local places = { what }
  if type(what) == "string" then
    local found = bytes:find(what, 1, true)
    places = {}
    while found do
      places[#places + 1] = found - 1
      found = bytes:find(what, found + 1, true)
    end
  end
  assert(#places > 0, "not in " .. path)
  for _, at in ipairs(places) do
    bytes = bytes:sub(1, at) .. string.char(bytes:byte(at + 1) ~ 1) .. bytes:sub(at + 2)
  end
  cluster.write_file(path, bytes)
end

local function commands(count)
  local list = { { type = 0, payload = "" } }
  for i = 1, count do list[i + 1] = command("put", { key = "k" .. i, value = ("v%03d"):format(i) }) end
  return list
end

-- A folder with that many commands, closed. Made once by the store, which syncs, and then copied.
local made = {}
local function folder_of(where, count)
  if not made[count] then
    folder_with(where, commands(count))
    made[count] = contents(where)
    return
  end
  assert(uv.fs_mkdir(where, 493))
  for name, bytes in pairs(made[count]) do cluster.write_file(where .. "/" .. name, bytes) end
end

-- Runs `body` with the path of a folder that is gone afterwards.
local function with_folder(body)
  return function()
    cluster.run(function()
      local top = cluster.folder()
      local ok, problem = xpcall(body, debug.traceback, top .. "/n1", top)
      cluster.remove(top)
      if not ok then error(problem, 0) end
    end)
  end
end

-- ---- log ----

describe("moonclave log", function()
  it("prints an entry a line, commands as Lua, and changes nothing", with_folder(function(folder)
    local entries = commands(2)
    entries[4] = { type = 1, payload = configuration_of({ CLUSTER_OF_THREE[1], CLUSTER_OF_THREE[2] }, 0), term = 2 }
    entries[5] = { type = 5, payload = base.pack { "open" }, term = 2 }
    entries[6] = { payload = command("odd", { 1, 2.0, "a\n\"\0", { ["no name"] = true, ["end"] = "x" } }), session = 5,
      sequence = 3, term = 2 }
    entries[7] = { payload = "\xc1 no value", term = 3 }
    folder_with(folder, entries)
    local before = contents(folder)
    local code, text = run("log", folder)
    assert.are.equal(0, code, text)
    assert.are.same(before, contents(folder))
    local lines = {}
    for line in text:gmatch "[^\n]+" do lines[#lines + 1] = line end
    assert.are.equal("-- node n1, cluster 0000000000001267: entries 1 to 7", lines[1])
    assert.are.equal('2  t1  2023-11-14 22:13:20.002  command        put { key = "k1", value = "v001" }', lines[3])
    assert.are.equal("4  t2  2023-11-14 22:13:20.004  configuration  n1 voter 127.0.0.1:1, n2 voter 127.0.0.1:2",
      lines[5])
    assert.are.equal('5  t2  2023-11-14 22:13:20.005  session        { "open" }', lines[6])
    assert.are.equal([[6  t2  2023-11-14 22:13:20.006  command        odd { 1, 2.0, "a\n\"\x00", { ["end"] = "x", ]] ..
      [[["no name"] = true } }  (session 5 #3)]], lines[7])
    assert.are.equal("7  t3  2023-11-14 22:13:20.007  command        (10 bytes that are no value)", lines[8])
    assert.are.equal(8, #lines)
  end))

  it("picks by range, count, type, term and text", with_folder(function(folder)
    local entries = commands(40)
    for i = 30, 41 do entries[i] = { payload = entries[i], term = 2 } end
    folder_with(folder, entries)
    local function indexes(...)
      local code, text = run("log", folder, ...)
      assert.are.equal(0, code, text)
      local list = {}
      for index in text:gmatch "\n *(%d+)  t" do list[#list + 1] = tonumber(index) end
      return list
    end
    assert.are.equal(41, #indexes())
    assert.are.same({ 1, 2, 3 }, indexes("--first", "3"))
    assert.are.same({ 40, 41 }, indexes("--last=2"))
    assert.are.same({ 10, 11 }, indexes("--from=10", "--to=11"))
    assert.are.same({ 28, 29 }, indexes("--term=1", "--last=2"))
    assert.are.same({ 1 }, indexes "--type=noop")
    assert.are.same({ 8 }, indexes("--grep", '"v007"'))
    assert.are.same({ 4, 5 }, indexes("--grep", "v00", "--from=4", "--first=2"))
    assert.are.same({ 9, 10 }, indexes("--grep", "v00", "--last=2"))
    assert.are.same({}, indexes("--term=9"))
  end))

  it("cuts long values short, unless all is wanted; JSON is whole", with_folder(function(folder)
    local long, list = ("x"):rep(100), {}
    for i = 1, 20 do list[i] = i end
    folder_with(folder, { command("put", { value = long }), command("put", list) })
    local _, text = run("log", folder)
    assert.is_truthy(text:find(("x"):rep(60) .. '"... (100 bytes) }', 1, true), text)
    assert.is_truthy(text:find("12, ... 8 more }", 1, true), text)
    _, text = run("log", folder, "--all")
    assert.is_truthy(text:find('"' .. long .. '" }', 1, true) and text:find("19, 20 }", 1, true), text)
    _, text = run("log", folder, "--json", "--first=1")
    assert.is_truthy(text:find('"payload":{"arguments":{"value":"' .. long .. '"},"command":"put"}', 1, true), text)
  end))

  it("says which entry is damaged, prints the others, and ends with 70", with_folder(function(folder)
    folder_of(folder, 9)
    os.remove(folder .. "/moonclave.db-wal")
    flip(folder .. "/moonclave.db", "v005")
    local code, text = run("log", folder)
    assert.are.equal(70, code)
    assert.is_truthy(text:find("\n 6  damaged: entry 6: its checksum does not match\n", 1, true), text)
    assert.is_truthy(text:find("v004", 1, true) and text:find("v006", 1, true), text)
    assert.is_truthy(text:find("1 of these entries are damaged: see `" .. cluster.program .. " doctor", 1, true), text)
    code, text = run("log", folder, "--json", "--from=6", "--to=6")
    assert.are.equal(70, code)
    assert.is_truthy(text:find('{"damaged":"entry 6: its checksum does not match","index":6}', 1, true), text)
  end))

  it("refuses a folder that is in use, one that is none, and nonsense", with_folder(function(folder, top)
    local s = folder_with(folder, commands(1), { kill = true })
    local code, text = run("log", folder)
    assert.are.equal(1, code)
    assert.is_truthy(text:find("a node is running on this folder", 1, true), text)
    s:close()
    assert.are.equal(0, (run("log", folder)))
    for _, mistake in ipairs {
      { 1, "there is no node's data here", top .. "/none" }, { 1, "there is no node's data here", top },
      { 2, "DATA is missing" }, { 2, "--type spam: the types are noop", folder, "--type=spam" },
      { 2, "exclude each other", folder, "--first=1", "--last=1" }, { 2, "it must be 1 to", folder, "--first=0" },
    } do
      code, text = run("log", table.unpack(mistake, 3))
      assert.are.equal(mistake[1], code, text)
      assert.is_truthy(text:find(mistake[2], 1, true), text)
    end
  end))
end)

-- ---- doctor ----

local function doctor(folder, ...)
  local code, text = run("doctor", folder, "--json", "--alone", ...)
  local json = {}
  json.sound = text:find('"sound":true', 1, true) ~= nil
  json.text = text
  json.findings = {}
  for finding in text:match('"findings":%[(.-)%],"folder"'):gmatch "{(.-)}" do
    json.findings[#json.findings + 1] = {
      part = finding:match '"part":"([^"]+)"', file = finding:match '"file":"[^"]-/([^"/]+)"',
      index = tonumber(finding:match '"index":(%d+)'), offset = tonumber(finding:match '"offset":(%d+)'),
    }
  end
  return code, json
end

describe("moonclave doctor", function()
  it("finds a sound folder sound, and changes nothing", with_folder(function(folder)
    folder_of(folder, 50)
    local before = contents(folder)
    local code, text = run("doctor", folder)
    assert.are.equal(0, code, text)
    assert.is_truthy(text:find("sound: every checksum is right", 1, true), text)
    assert.is_truthy(text:find("log: entries 1 to 51, the last of term 1", 1, true), text)
    assert.is_truthy(text:find("n1 127.0.0.1:1, n2 127.0.0.1:2, n3 127.0.0.1:3", 1, true), text)
    assert.are.same(before, contents(folder))
  end))

  it("refuses a folder that is in use, and says where it cannot look", with_folder(function(folder, top)
    local s = folder_with(folder, commands(1), { kill = true })
    assert.are.equal(1, (run("doctor", folder)))
    s:close()
    assert.are.equal(1, (run("doctor", top .. "/none")))
    assert.are.equal(2, (run "doctor"))
  end))

  -- Root may everything, but for what is taken from it.
  local function humble(...)
    if uv.getuid() ~= 0 then return run(...) end
    return cluster.execute("setpriv", { "--bounding-set=-all", "--inh-caps=-all", cluster.program, ... })
  end

  it("says that it may not, where it may not: as the others do", with_folder(function(folder, top)
    folder_of(folder, 1)
    local file = top .. "/file"
    cluster.write_file(file, "")
    for _, path in ipairs { folder .. "/moonclave.db", folder .. "/acknowledged", folder } do
      local mode = uv.fs_stat(path).mode & 511
      assert(uv.fs_chmod(path, 0))
      for _, words in ipairs { { "doctor" }, { "log" }, { "recover", "--yes" }, { "start", "--id=n1" } } do
        local arguments = words[1] == "start" and { "start", "--id=n1", "--addr=127.0.0.1:1", "--data=" .. folder } or
          { words[1], folder, words[2] }
        local code, text = humble(table.unpack(arguments))
        assert.are.equal(words[1] == "doctor" and 1 or 74, code, text)
        assert.is_truthy(text:find(path .. ": may not be read and written: Permission denied", 1, true), text)
      end
      assert(uv.fs_chmod(path, mode))
    end
    local code, text = run("doctor", file)
    assert.are.equal(1, code)
    assert.is_truthy(text:find("this is a file: a data folder is wanted", 1, true), text)
    assert.are.equal(0, (run("doctor", folder)))
  end))

  -- What is damaged; how; the parts it is found in, and where.
  local function rows(folder) return folder .. "/moonclave.db" end
  local damages = {
    { "an entry", function(f) flip(rows(f), "v017") end, { "log", index = 18 } },
    { "who it is", function(f) flip(rows(f), "\1\2n1") end, { "identity" } },
    { "its vote", function(f) flip(rows(f), "\1\2n2") end, { "hard_state" } },
    { "the database's header", function(f) flip(rows(f), 70) end, { "database" } },
    { "a page of the tree", function(f) flip(rows(f), 4096) end, { "database" } },
    { "the whole database", function(f) cluster.write_file(rows(f), "") end, { "database" }, keeps_wal = true },
    { "the database, gone", function(f) os.remove(rows(f)) end, { "database" }, keeps_wal = true },
    { "the mark", function(f) flip(f .. "/acknowledged", 9) end, { "mark" }, sound = true },
  }
  for _, damage in ipairs(damages) do
    it("finds " .. damage[1], with_folder(function(folder)
      folder_of(folder, 50)
      if not damage.keeps_wal then os.remove(folder .. "/moonclave.db-wal") end
      damage[2](folder)
      local before = contents(folder)
      local code, found = doctor(folder)
      assert.are.same(before, contents(folder))
      assert.are.equal(damage.sound and 0 or 70, code, found.text)
      assert.are.equal(damage.sound or false, found.sound)
      local parts = {}
      for _, finding in ipairs(found.findings) do parts[finding.part] = finding end
      local expected = damage[3]
      assert(parts[expected[1]], found.text)
      if expected[1] == "identity" then
        local _, text = run("doctor", folder)
        assert.is_truthy(text:find("whose folder this is cannot be read in it: no node starts on it", 1, true), text)
        assert.is_nil(text:find "ID may not vote")
      end
      if expected.index then assert.are.equal(expected.index, parts[expected[1]].index, found.text) end
      -- A node says the same: it starts on what is sound, and on nothing else.
      local s, why = store.open { folder = folder, id = "n1", incarnation = 11 }
      if s then s:close() end
      assert.are.equal(damage.sound or false, s ~= nil, tostring(why))
    end))
  end

  it("finds a damaged WAL, and sees the database as of its last checkpoint", with_folder(function(folder)
    folder_of(folder, 50)
    local s = assert(store.open { folder = folder, id = "n1", incarnation = 11 })
    for i = 1, 3 do assert(s:persist { { hard_state = { term = 4 + i, vote = "n3" } } }) end
    cluster.write_file(folder .. "/copy", cluster.read_file(folder .. "/moonclave.db-wal"))
    cluster.write_file(folder .. "/mark", cluster.read_file(folder .. "/acknowledged"))
    s:close()
    os.rename(folder .. "/copy", folder .. "/moonclave.db-wal") -- as a killed process leaves it
    os.rename(folder .. "/mark", folder .. "/acknowledged")
    flip(folder .. "/moonclave.db-wal", 32 + 100)
    local code, found = doctor(folder)
    assert.are.equal(70, code)
    assert.are.same({ { part = "wal", file = "moonclave.db-wal", index = 0, offset = 32 } }, found.findings)
    assert.is_truthy(found.text:find('"last_index":51', 1, true), found.text)
    assert.is_truthy(found.text:find("the newest votes and entries", 1, true), found.text)
    assert.are.equal("corrupt", (select(2, store.open { folder = folder, id = "n1", incarnation = 11 })))
  end))

  -- n1's folder with a snapshot of these bytes at entry 3.
  local function with_snapshot(folder, bytes)
    folder_of(folder, 9)
    local s = assert(store.open { folder = folder, id = "n1", incarnation = 11, snapshot_block = 64 })
    local entry = assert(s:read(3, 3))[1]
    local meta = { index = 3, term = entry.term, chain = entry.chain, format_level = 1, system_hash = 7,
      state_hash = 8, size = 0, configuration_index = 0, configuration = configuration_of(CLUSTER_OF_THREE) }
    assert(s:snapshot_begin(meta))
    assert(s:snapshot_write(bytes))
    assert(s:adopt((assert(s:snapshot_finish(meta)))))
    s:close()
  end

  it("looks into the snapshot: its file, its blocks, its trees", with_folder(function(folder)
    with_snapshot(folder, ("junk"):rep(100))
    local code, found = doctor(folder)
    assert.are.equal(70, code)
    assert.are.equal("snapshot", found.findings[1].part)
    assert.is_truthy(found.text:find("the system's tree: ", 1, true), found.text)
    assert.are.equal(70, (run("recover", folder, "--yes"))) -- a node would not start from it

    local snapshot = folder .. "/snapshot-0"
    local whole = cluster.read_file(snapshot)
    flip(snapshot, #whole - 100)
    code, found = doctor(folder)
    assert.are.equal(70, code)
    assert.are.equal("snapshot-0", found.findings[1].file)
    assert.is_true(found.findings[1].offset > 0)
    assert.is_truthy(found.text:find("a block's checksum does not match", 1, true), found.text)

    for _, damage in ipairs { function() os.remove(snapshot) end, function() flip(snapshot, 30) end,
      function() cluster.write_file(snapshot, whole:sub(1, -2)) end } do
      cluster.write_file(snapshot, whole)
      damage()
      local before = contents(folder)
      code, found = doctor(folder)
      assert.are.equal(70, code)
      assert.is_truthy(found.text:find("missing or cut short", 1, true), found.text)
      assert.are.same(before, contents(folder))
    end
  end))

  it("finds each of several, and counts those it does not list", with_folder(function(folder)
    folder_of(folder, 60)
    os.remove(folder .. "/moonclave.db-wal")
    for i = 20, 39 do flip(rows(folder), ("v%03d"):format(i)) end
    local code, found = doctor(folder)
    assert.are.equal(70, code)
    assert.are.equal(21, found.findings[1].index)
    assert.are.equal(28, found.findings[8].index)
    assert.is_truthy(found.text:find("12 more entries are damaged", 1, true), found.text)
  end))
end)

-- ---- recover ----

describe("moonclave recover", function()
  local function recover(...)
    local code, text = run("recover", ...)
    return code, text
  end

  it("makes a survivor the only member, with all of its log, and keeps the files as they were",
    with_folder(function(folder)
      folder_with(folder, commands(20), { term = 7 })
      local before = contents(folder)
      local code, text = recover(folder, "--yes")
      assert.are.equal(0, code, text)
      assert.is_truthy(text:find("up to entry 21 of term 1", 1, true), text)
      assert.is_truthy(text:find("lost  what only n2 and n3 had acknowledged", 1, true), text)
      assert.is_truthy(text:find("moonclave start --id n1 --addr 127.0.0.1:1 --data " .. folder, 1, true), text)
      before.lock = nil
      assert.are.same(before, contents(folder .. ".before-recovery"))

      local s = assert(store.open { folder = folder, id = "n1", incarnation = 99 })
      local durable, identity = s:durable(), s:identity()
      assert.are.equal(11, identity.incarnation)
      assert.are_not.equal(4711, identity.cluster)
      assert.are.same({ 8, "", 22 }, { durable.term, durable.vote, durable.last_index })
      local entries = assert(s:read(22, 22))
      assert.are.same({ 1, 8 }, { entries[1].type, entries[1].term })
      local servers = base.unpack(entries[1].payload).servers
      assert.are.same({ "n1", 11, 0 }, { servers[1].id, servers[1].incarnation, servers[1].role })
      assert.are.equal(1, #servers)
      s:close()
      assert.are.equal(0, (run("doctor", folder)))
      -- There is nothing to recover any more.
      code, text = recover(folder, "--yes")
      assert.are.equal(1, code)
      assert.is_truthy(text:find("n1 is the only voter", 1, true), text)
    end))

  it("says where the folder as it was is, where it could not write", with_folder(function(folder)
    folder_with(folder, commands(3), { term = 7 })
    local before = contents(folder)
    local code, text = cluster.execute("/bin/sh", { "-c", 'ulimit -f 28; exec "$0" "$@"', -- enough for the copy
      cluster.program, "recover", folder, "--yes" })
    assert.are.equal(74, code, text)
    assert.is_truthy(text:find("cannot be committed: ", 1, true), text)
    assert.is_truthy(text:find("; the folder as it was is in " .. folder .. ".before-recovery\n", 1, true), text)
    before.lock = nil
    assert.are.same(before, contents(folder .. ".before-recovery"))
    assert.are.equal(0, (recover(folder, "--yes"))) -- with room
  end))

  it("takes no half copy of one that was interrupted for the files as they were", with_folder(function(folder)
    folder_of(folder, 3)
    local before, partial = contents(folder), folder .. ".before-recovery.partial"
    assert(uv.fs_mkdir(partial, 448))
    cluster.write_file(partial .. "/moonclave.db", "half")
    assert(uv.fs_mkdir(folder .. ".before-recovery", 448))
    cluster.write_file(folder .. ".before-recovery/moonclave.db", "an older one")
    local code, text = recover(folder, "--yes")
    assert.are.equal(0, code, text)
    assert.is_truthy(text:find("mv " .. folder .. ".before-recovery-2 " .. folder, 1, true), text)
    before.lock = nil
    assert.are.same(before, contents(folder .. ".before-recovery-2"))
    assert.are.equal("an older one", cluster.read_file(folder .. ".before-recovery/moonclave.db"))
    assert.is_nil(uv.fs_stat(partial))
    assert.are.equal(uv.fs_stat(folder).mode, uv.fs_stat(folder .. ".before-recovery-2").mode)
  end))

  it("gives each recovery another cluster", with_folder(function(folder, top)
    local clusters = {}
    for i = 1, 2 do
      local one = top .. "/copy" .. i
      folder_of(one, 1)
      assert.are.equal(0, (recover(one, "--yes")))
      local s = assert(store.open { folder = one, id = "n1", incarnation = 11 })
      clusters[i] = s:identity().cluster
      s:close()
    end
    assert.are_not.equal(clusters[1], clusters[2])
    assert.is_nil(uv.fs_stat(folder))
  end))

  it("changes nothing unless it is meant", with_folder(function(folder)
    folder_of(folder, 3)
    local before = contents(folder)
    for _, flags in ipairs { {}, { "--id=n2", "--yes" } } do -- its input ends at once; another node was meant
      local code, text = recover(folder, table.unpack(flags))
      assert.are.equal(2, code, text)
      assert.are.same(before, contents(folder))
    end
    assert.is_nil(uv.fs_stat(folder .. ".before-recovery"))
  end))

  it("compares survivors: the one with the later last entry is to be recovered", with_folder(function(folder, top)
    folder_of(folder, 9)
    local longer = commands(4)
    longer[5] = { payload = longer[5], term = 2 }
    folder_with(top .. "/n2", longer, { id = "n2", incarnation = 12 })
    folder_with(top .. "/other", commands(1), { id = "n2", incarnation = 12, cluster = 5 })
    local code, text = recover(folder, "--yes", "--compare", top .. "/n2")
    assert.are.equal(1, code)
    assert.is_truthy(text:find("has more: its last entry is 5 of term 2, here it is 10 of term 1", 1, true), text)
    code, text = recover(folder, "--yes", "--compare", top .. "/other")
    assert.are.equal(1, code)
    assert.is_truthy(text:find("another cluster", 1, true), text)
    code, text = recover(top .. "/n2", "--yes", "--compare", folder)
    assert.are.equal(0, code, text)
    assert.is_truthy(text:find("not later than n2", 1, true), text)
  end))

  it("refuses what has no say: blank, removed or damaged ones", with_folder(function(folder, top)
    folder_with(top .. "/blank", {}, { cluster = 0 })
    folder_with(top .. "/removed", { { type = 1, payload = configuration_of({ CLUSTER_OF_THREE[2] }, 0) } })
    folder_of(folder, 9)
    os.remove(folder .. "/moonclave.db-wal")
    flip(folder .. "/moonclave.db", "v003")
    for _, row in ipairs { { 1, "never a member", top .. "/blank" }, { 1, "it was removed", top .. "/removed" },
      { 70, "moonclave doctor", folder } } do
      local before = contents(row[3])
      local code, text = recover(row[3], "--yes")
      assert.are.equal(row[1], code, text)
      assert.is_truthy(text:find(row[2], 1, true), text)
      assert.are.same(before, contents(row[3]))
    end
    local s = folder_with(top .. "/used", commands(1), { kill = true })
    assert.are.equal(1, (recover(top .. "/used", "--yes")))
    s:close()
  end))
end)
