-- What a store is for: what was persisted is there again, in one file, for one process, for one node.
local store = require "moonclave.store"
local support = require "store.support"

-- A fresh folder of the real file system, removed afterwards.
local function in_fresh_folder(body)
  local folder = os.tmpname()
  os.remove(folder)
  local ok, problem = pcall(body, folder)
  os.execute("rm -rf '" .. folder .. "'")
  if not ok then error(problem, 0) end
end

local function read_file(name)
  local file = assert(io.open(name, "rb"))
  local content = file:read("a")
  file:close()
  return content
end

describe("a store on the real disk", function()
  it("makes its folder, and has everything again after closing", function()
    in_fresh_folder(function(folder)
      local data = folder .. "/a" -- the folder around it is missing too
      local options = {folder = data, id = "n1", incarnation = 99}
      local s = assert(store.open(options))
      assert.are.same({id = "n1", incarnation = 99, cluster = 0}, s:identity())
      local blank = s:durable()
      assert.are.equal(0, blank.term)
      assert.are.equal("", blank.vote)
      assert.are.equal(0, blank.last_index)
      assert.are.same({}, blank.runs)
      assert.are.equal("", blank.snapshot.configuration)
      assert.are.equal("", blank.first_configuration)

      assert(s:bootstrap("the first configuration", 1234))
      assert.are.equal(1234, s:identity().cluster)
      local entries = support.entries(support.blank(), 3, {100, 0, 70000})
      assert(s:persist{{hard_state = {term = 3, vote = "n2"}, entries = entries}})
      s:close()

      options.incarnation = 100
      s = assert(store.open(options))
      assert.are.same({id = "n1", incarnation = 99, cluster = 1234}, s:identity())
      local durable = s:durable()
      assert.are.equal("the first configuration", durable.first_configuration)
      assert.are.equal(3, durable.term)
      assert.are.equal("n2", durable.vote)
      assert.are.equal(3, durable.last_index)
      assert.are.equal(entries[3].chain, durable.last_chain)
      assert.are.equal(entries[3].time_ms, durable.last_time_ms)
      assert.are.same({{first = 1, term = 3}}, durable.runs)
      assert.are.equal("the first configuration", durable.snapshot.configuration)
      assert.are.same(entries, s:read(1, 3))
      s:close()
    end)
  end)

  it("plays the whole story and ends where it should", function()
    in_fresh_folder(function(folder)
      local story = support.story()
      local done, s, _, text = support.play(nil, story, nil, nil, {folder = folder})
      assert.are.equal(#story, done, text)
      s:close()
      s = assert(support.open(nil, {folder = folder}))
      support.assert_one_of(s, "the end", story[#story].state)
      s:close()
    end)
  end)

  it("is one process's: a second open is told so, and a third works once the first is closed", function()
    in_fresh_folder(function(folder)
      local options = {folder = folder, id = "n1", incarnation = 1}
      local s = assert(store.open(options))
      local _, code, text = store.open(options)
      assert.are.equal("unavailable", code)
      assert.is_truthy(text:find(folder, 1, true) and text:find("in use", 1, true))

      local script = folder .. "/second.lua"
      local file = assert(io.open(script, "w"))
      file:write("local store = require 'moonclave.store'\n")
      file:write(string.format("print((select(2, store.open{folder = %q, id = 'n1', incarnation = 1})))\n", folder))
      file:close()
      local process = assert(io.popen("lua5.4 " .. script .. " 2>&1"))
      assert.are.equal("unavailable\n", process:read("a"))
      process:close()

      s:close()
      assert(store.open(options)):close()
    end)
  end)

  it("leaves everything in the database file when it is closed: its WAL may go", function()
    in_fresh_folder(function(folder)
      local options = {folder = folder, id = "n1", incarnation = 1}
      local s = assert(store.open(options))
      local entries = support.entries(support.blank(), 1, {10, 20})
      assert(s:persist{{entries = entries}})
      s:close()
      assert(os.remove(folder .. "/moonclave.db-wal"))
      s = assert(store.open(options))
      assert.are.same(entries, s:read(1, 2))
      s:close()
    end)
  end)

  it("says that a folder cannot be made, in one line", function()
    in_fresh_folder(function(folder)
      local file = assert(io.open(folder, "w"))
      file:close()
      local _, code, text = store.open{folder = folder .. "/n1", id = "n1", incarnation = 1}
      assert.are.equal("io_error", code)
      assert.is_truthy(text:find(folder, 1, true))
      assert.is_nil(text:find("\n", 1, true))
    end)
  end)

  it("is a small file of the kind that the format says", function()
    in_fresh_folder(function(folder)
      local s = assert(store.open{folder = folder, id = "n1", incarnation = 1})
      s:close()
      local header = read_file(folder .. "/moonclave.db"):sub(1, 100)
      assert.are.equal("SQLite format 3\0", header:sub(1, 16))
      assert.are.equal(4096, (string.unpack(">I2", header, 17)))
      assert.are.equal("\2\2", header:sub(19, 20)) -- WAL mode
      assert.are.equal(1, (string.unpack(">I4", header, 61)))
      assert.are.equal("MCLV", header:sub(69, 72))
    end)
  end)
end)

describe("a store refuses", function()
  local function closed_image()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    assert(s:persist{{hard_state = {term = 1, vote = "n1"}}})
    s:close()
    local image = disk:image()
    image[support.WAL] = nil
    return disk, image
  end

  local function patched(image, at, bytes)
    local database = image[support.DATABASE]
    image[support.DATABASE] = database:sub(1, at) .. bytes .. database:sub(at + #bytes + 1)
    return image
  end

  it("the folder of another node, and names both and the folder", function()
    local disk = closed_image()
    local _, code, text = support.open(disk, {id = "n2"})
    assert.are.equal("foreign", code)
    for _, part in ipairs{"'n1'", "'n2'", support.FOLDER} do assert.is_truthy(text:find(part, 1, true), text) end
    assert(support.open(disk)):close()
  end)

  it("a file of a later format, and says which programs are meant", function()
    local disk, image = closed_image()
    disk:restore(patched(image, 60, string.pack(">I4", 2)))
    local _, code, text = support.open(disk)
    assert.are.equal("version", code)
    assert.is_truthy(text:find("format 2", 1, true) and text:find("format 1", 1, true), text)
  end)

  it("a database of another program", function()
    local disk, image = closed_image()
    disk:restore(patched(image, 68, string.pack(">I4", 0x12345678)))
    local _, code, text = support.open(disk)
    assert.are.equal("version", code)
    assert.is_truthy(text:find("0x12345678", 1, true), text)
  end)

  it("a file that is no database", function()
    local disk = support.disk(1)
    disk:write(support.DATABASE, string.rep("not a database\n", 100))
    local _, code, text = support.open(disk)
    assert.are.equal("corrupt", code)
    assert.is_truthy(text:find(support.DATABASE, 1, true), text)
  end)

  it("to make a store for nobody", function()
    local disk = support.disk(1)
    local _, code = store.open{folder = "/nobody", disk = disk}
    assert.are.equal("not_found", code)
    local files = disk:image()
    assert.are.same({}, files)
  end)

  it("entries that do not continue the log, and everything after them", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    local entries = support.entries(support.blank(), 1, {1, 2, 3})
    assert(s:persist{{entries = {entries[1]}}})
    local ok, code, text = s:persist{{entries = {entries[3]}}}
    assert.is_nil(ok)
    assert.are.equal("internal", code)
    assert.is_truthy(text:find("entry 3", 1, true))
    assert.is_nil((s:persist{{entries = {entries[2]}}}))
    s:close()
    s = assert(support.open(disk))
    assert.are.same({entries[1]}, s:read(1, 9))
    s:close()
  end)
end)

describe("a store", function()
  it("carries out many writes in one commit", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    local writes, state = {}, support.blank()
    for term = 1, 50 do
      local write = {hard_state = {term = term, vote = "n1"}, entries = support.entries(state, term, {20, 20})}
      writes[term] = write
      state = support.after(state, {write})
    end
    local _, _, before = disk:counts()
    assert(s:persist(writes))
    local _, _, after = disk:counts()
    assert.is_true(after - before <= 2) -- the WAL; its header too, the first time
    local counters = s:counters()
    assert.are.equal(1, counters.commits)
    assert.are.equal(50, counters.writes)
    assert.are.equal(100, counters.entries)
    assert.are.equal(100 * (72 + 20), counters.bytes)
    disk:power_cut("all")
    s:close()
    s = assert(support.open(disk))
    support.assert_one_of(s, "after one commit", state)
    assert.are.equal(50, #s:durable().runs)
    s:close()
  end)

  it("syncs once for a commit, and not at all for reading", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk, {checkpoint_pages = 1000}))
    local state = support.blank()
    local function syncs()
      local _, _, count = disk:counts()
      return count
    end
    assert(s:persist{{hard_state = {term = 1, vote = ""}}})
    for _ = 1, 20 do
      local before = syncs()
      local write = {entries = support.entries(state, 1, {30})}
      assert(s:persist{write})
      state = support.after(state, {write})
      assert.are.equal(before + 1, syncs())
      assert(s:read(1, 100))
      assert.are.equal(before + 1, syncs())
    end
    s:close()
  end)

  it("takes a write of nothing, first and after a checkpoint", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    assert(s:persist{{}})
    assert(s:persist{})
    local write = {entries = support.entries(support.blank(), 1, {5000})}
    assert(s:persist{write})
    assert(s:tidy())
    assert.are.equal(1, s:counters().checkpoints)
    assert(s:persist{{truncate_from = 2}}) -- there is no entry 2
    disk:power_cut("all")
    s:close()
    s = assert(support.open(disk))
    support.assert_one_of(s, "after nothing", support.after(support.blank(), {write}))
    s:close()
  end)

  it("reads what is asked: at least one entry, at most so many bytes, none that is not there", function()
    local s = assert(support.open(support.disk(1)))
    local entries = support.entries(support.blank(), 1, {28, 28, 28, 28, 428})
    assert(s:persist{{entries = entries}})
    local function indices(...)
      local found = {}
      for i, entry in ipairs(assert(s:read(...))) do found[i] = entry.index end
      return table.concat(found, " ")
    end
    assert.are.equal("1 2 3 4 5", indices(1, 5))
    assert.are.equal("2 3", indices(2, 3))
    assert.are.equal("1 2", indices(1, 5, 299)) -- 100 bytes each
    assert.are.equal("1 2 3", indices(1, 5, 300))
    assert.are.equal("5", indices(5, 5, 1))
    assert.are.equal("4 5", indices(4, 100))
    assert.are.equal("", indices(6, 9))
    assert.are.equal("", indices(0, 3))
    assert.are.equal("", indices(3, 2))
    s:close()
  end)

  it("gives the core every configuration and every run of terms", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    local state = support.blank()
    local function append(term, kind)
      local write = {entries = support.entries(state, term, {50}, kind)}
      assert(s:persist{write})
      state = support.after(state, {write})
    end
    append(1) append(1, 1) append(4) append(4) append(5, 1)
    s:close()
    s = assert(support.open(disk))
    local durable = s:durable()
    assert.are.same({{first = 1, term = 1}, {first = 3, term = 4}, {first = 5, term = 5}}, durable.runs)
    assert.are.same({state.log[2], state.log[5]}, durable.configurations)
    s:close()
  end)

  it("recycles its WAL: a thousand commits leave it short, tidied or not", function()
    for _, tidy in ipairs{true, false} do
      local disk = support.disk(1)
      local s = assert(support.open(disk))
      local state, longest = support.blank(), 0
      for _ = 1, 1000 do
        local write = {entries = support.entries(state, 1, {30})}
        assert(s:persist{write})
        state = support.after(state, {write})
        if tidy then assert(s:tidy()) end
        longest = math.max(longest, #disk:image()[support.WAL])
      end
      assert.is_true(longest < (tidy and 20 or 50) * 536, "the WAL grew to " .. longest)
      assert.is_true(s:counters().checkpoints >= (tidy and 50 or 20))
      s:close()
    end
  end)
end)

describe("a WAL that one great commit has stretched", function()
  it("is cut back when it is filled anew", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    local state = support.blank()
    local function persist(size)
      local write = {entries = support.entries(state, 1, {size})}
      assert(s:persist{write})
      state = support.after(state, {write})
      return #disk:image()[support.WAL]
    end
    assert.is_true(persist(100000) > 100000)
    assert(s:tidy())
    assert.is_true(persist(10) < 30000)
    disk:power_cut("some")
    s:close()
    s = assert(support.open(disk))
    support.assert_one_of(s, "after the cut", state)
    s:close()
  end)
end)

describe("the bytes of the mark and of meta rows", function()
  local function hex(bytes)
    return (bytes:gsub(".", function(byte) return string.format("%02x", byte:byte()) end))
  end

  it("are these for a mark that says nothing yet", function()
    local disk = support.disk(1)
    local s = assert(support.open(disk))
    assert.are.equal("6d634131" .. string.rep("00", 20) .. "4e6169a36ddde064", hex(disk:image()[support.MARK]))
    s:close()
  end)

  it("are these for an identity", function()
    local identity = {id = "n1", incarnation = 0x1122334455667788, cluster = 0x0102030405060708}
    local bytes = store.meta_bytes("identity", identity)
    assert.are.equal("01026e3188776655443322110807060504030201", hex(bytes:sub(1, -9)))
    assert.are.equal("18c44bf840c33918", hex(bytes:sub(-8)))
  end)

  it("are these for a hard state", function()
    local bytes = store.meta_bytes("hard_state", {term = 258, vote = "n2"})
    assert.are.equal("01026e320201000000000000", hex(bytes:sub(1, -9)))
    assert.are.equal("42e5dc6d8ee890b6", hex(bytes:sub(-8)))
  end)
end)
