-- Edges of skipping: what is a SKIP, which ones a node knows of, who may ask for one, and what is said. Most were a
-- guard that nothing else missed (scripts/mutants).
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local support = require "host.snapshot_support"
local world = require "host.world"
local NEVER = support.NEVER

local SKIP = 7

-- Another life of n1, alone, until it leads and nothing is left to do.
local function again(w, changes)
  w.n1:crash()
  w.n1:start(changes)
  for _ = 1, 5 do
    if w.n1.fatal or w.n1.host:is_leader() then break end
    w:advance(3000)
  end
  w:advance(300)
end

-- n1 alone leads, with commands that are done.
local function lone(...)
  local w = world.new { nodes = 1, settings = NEVER }
  w:bootstrap()
  w:elect "n1"
  for _, body in ipairs { ... } do w.n1:submit(body) end
  w:settle()
  return w
end

-- One command more, of which n1 dies twice and halts before it: its index.
local function halts(w, body)
  w.n1:submit(body or "exhaust it")
  w:settle()
  local index = #w.n1.disk.entries
  for _ = 1, 2 do
    assert.equal("internal", w.n1.fatal.code)
    again(w)
  end
  assert.is_nil(w.n1.fatal)
  assert.equal(index, w.n1.host:status().halted_at)
  return index
end

-- An entry behind everything that is on the disk of a node that is down.
local function append(node, payload)
  local entries = node.disk.entries
  local last = formats.entry_decode(entries[#entries])
  local entry = { type = SKIP, index = #entries + 1, term = last.term, time_ms = last.time_ms, payload = payload }
  entry.chain = formats.entry_chain(entry, last.chain)
  entries[#entries + 1] = formats.entry_encode(entry)
  return entry.index
end

local function bodies(node)
  local list = {}
  for i, command in ipairs(node.machine.commands) do list[i] = command.body end
  return table.concat(list, " ")
end

-- What a node was told of this: code, message.
local function told(w, node, index)
  local ticket = node:admin("skip", { index = index })
  w:settle()
  local code, body = node:told(ticket)
  return code, body and body.message
end

describe("a SKIP in the log", function()
  it("is one map with one index, of an entry before it; another is a newer program's", function()
    local own = 6
    for i, payload in ipairs {
      base.pack { index = 4 } .. "x", base.pack { index = 4, other = 1 }, base.pack { index = "4" },
      base.pack { index = -1 }, base.pack(base.object {}), base.pack { other = 4 }, base.pack { 4 }, "", "\xc1",
      base.pack { index = { 4 } }, base.pack { index = own }, base.pack { index = own + 1 },
    } do
      local w <close> = lone("c1", "c2", "c3")
      w.n1:crash()
      assert.equal(own, append(w.n1, payload))
      again(w)
      assert.equal("version", w.n1.fatal and w.n1.fatal.code, "no " .. i)
      assert.matches("entry 6 is a skip that this program does not know", w.n1.fatal.text, 1, true)
      assert.equal("c1 c2 c3", bodies(w.n1))
    end
  end)

  it("is known with all the others, however many there are", function()
    local w <close> = lone("c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8", "c9", "c10", "c11")
    w.n1:crash()
    local first = #w.n1.disk.entries - 10
    for i = 0, 9 do append(w.n1, base.pack { index = first + i }) end
    again(w)
    assert.is_nil(w.n1.fatal)
    assert.equal("c11", bodies(w.n1))
    w.n1:submit "c12"
    w:settle()
    assert.equal("c11 c12", bodies(w.n1))
  end)

  it("that is none of a command's is no SKIP, whatever the command says", function()
    local w <close> = lone("c1", base.pack { index = 3 })
    w.n1:submit(base.pack { index = 3 })
    w:settle()
    local before = bodies(w.n1)
    again(w)
    assert.equal(before, bodies(w.n1))
    assert.equal(3, #w.n1.machine.commands)
  end)

  it("lets a node pass that never halted, and has nothing to say of it", function()
    local w <close> = lone("c1", "c2")
    local index = halts(w)
    assert.equal("ok", (told(w, w.n1, index)))
    assert.equal(1, w.n1:logged("entry " .. index .. " is skipped: this node applies again"))
    again(w, { deadly = index, deaths = 2 })
    assert.is_nil(w.n1.fatal)
    assert.equal(0, w.n1.host:status().halted_at)
    assert.equal(0, w.n1:logged "applies again")
    assert.equal("c1 c2", bodies(w.n1))
  end)
end)

describe("a SKIP that was on its way to the disk", function()
  -- n1 of three has halted before `index` and leads; the others have more memory.
  local function three()
    local w = world.new { nodes = 3, settings = NEVER }
    w:bootstrap()
    w:elect "n1"
    w.n1:submit "c1"
    w:settle()
    w.n2.strong, w.n3.strong = true, true
    w.n1:submit "exhaust it"
    w:settle()
    local index = #w.n1.disk.entries
    for _ = 1, 2 do
      assert.equal("internal", w.n1.fatal.code)
      w.n1:crash()
      w:lose("n1", "n2")
      w:lose("n1", "n3")
      w.n1:start()
      w:connect_all()
      w:advance(3000)
    end
    assert.equal(index, w.n1.host:status().halted_at)
    w:elect "n1"
    w:advance(300)
    return w, index
  end

  it("and had no room there is none: the entry that comes in its place counts", function()
    local w <close>, index = three()
    w:isolate "n1"
    w.n1:admin("skip", { index = index })
    w.n1:turn()
    assert.equal(SKIP, formats.entry_decode(w.n1.writes[1].entries[1]).type)
    w.n1:refuse()
    w.n1:turn()
    w:elect "n2"
    w.n2:submit "c2"
    w:settle()
    w:heal "n1"
    w:advance(3000)
    assert.is_nil(w.n1.fatal)
    assert.equal(w.n2.host:status().last_index, w.n1.host:status().last_index)
    local ticket = w.n2:admin("transfer", { id = "n1" })
    w:advance(300)
    assert.equal("ok", (w.n2:told(ticket)))
    -- It would say that it is being skipped already, if it had kept the first.
    ticket = w.n1:admin("skip", { index = index })
    w.n1:turn()
    assert.is_nil(w.n1:told(ticket))
  end)
end)

describe("an entry that former lives died of", function()
  it("is forgotten by one that starts from a snapshot with it: no entry may follow for a long time", function()
    local w <close> = world.cluster { settings = NEVER }
    w.n1:submit "c1"
    w.n1:submit "c2"
    w:settle()
    w.n1:admin "snapshot"
    w:settle()
    local index = w.n1.disk.snapshot.index
    for _, node in ipairs(w.nodes) do node:crash() end
    for _, deadly in ipairs { index + 1, index, index - 1 } do
      w.n1.page = { applying = 0, suspect = deadly, count = 2 }
      w.n1:start()
      w:settle()
      assert.equal("c1 c2", bodies(w.n1))
      assert.is_false(w.n1.host:is_leader())
      assert.same(deadly > index and { deadly, 2 } or { 0, 0 }, { w.n1.page.suspect, w.n1.page.count })
      w.n1:crash()
    end
  end)
end)

describe("asking for a SKIP", function()
  it("is refused while one is under way, and answered alike when it is done", function()
    local w <close> = lone("c1")
    local index = halts(w)
    local first = w.n1:admin("skip", { index = index })
    w.n1:turn()
    local second = w.n1:admin("skip", { index = index })
    w.n1:turn()
    w:settle()
    assert.same({ "ok", { skipped = index } }, { w.n1:told(first) })
    local code, body = w.n1:told(second)
    assert.equal("conflict", code)
    assert.matches("it is being skipped already", body.message, 1, true)
    local third = w.n1:admin("skip", { index = index })
    w:settle()
    assert.same({ w.n1:told(first) }, { w.n1:told(third) })
  end)

  it("of a second entry is none of the first", function()
    local w <close> = lone("c1")
    local first = halts(w)
    assert.equal("ok", (told(w, w.n1, first)))
    local second = halts(w, "exhaust it again")
    assert.is_true(second > first)
    assert.equal("ok", (told(w, w.n1, second)))
    assert.equal(0, w.n1.host:status().halted_at)
    w.n1:submit "c2"
    w:settle()
    again(w)
    assert.equal("c1 c2", bodies(w.n1))
  end)

  it("of another entry than the one before which the leader has halted is refused", function()
    local w <close> = lone("c1", "c2")
    local index = halts(w)
    for _, other in ipairs { index - 1, index + 1, 1 } do
      local code, message = told(w, w.n1, other)
      assert.equal("conflict", code)
      assert.matches("has applied up to " .. index - 1 .. ", and has halted there", message, 1, true)
    end
    assert.equal(index, w.n1.host:status().halted_at)
    assert.equal("ok", (told(w, w.n1, index)))
    local code, message = told(w, w.n1, index - 1)
    assert.equal("conflict", code)
    assert.matches("and goes on", message, 1, true)
    assert.is_nil(w.n1.fatal)
  end)

  it("of a leader that has not come there yet is refused", function()
    local w <close> = lone("c1", "c2")
    local index = halts(w)
    w.n1:crash()
    w.n1:start()
    local ticket
    for _ = 1, 10 do -- what is to be applied is not read yet
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w.n1:turn()
      w.n1:flush()
      w.n1:turn()
      if w.n1.host:is_leader() and #w.n1.log_reads > 0 then break end
    end
    assert.equal(0, w.n1.host:status().halted_at)
    ticket = w.n1:admin("skip", { index = index })
    w.n1:turn()
    local code, body = w.n1:told(ticket)
    assert.equal("conflict", code)
    assert.matches("has applied up to 0 and goes on", body.message, 1, true)
    w:settle()
    assert.equal(index, w.n1.host:status().halted_at)
    assert.equal("ok", (told(w, w.n1, index)))
  end)
end)

describe("a node that has applied what the cluster skips", function()
  -- n1 has applied `index` and `more` commands after it, and has a snapshot of it all.
  local function ahead(more)
    local w = lone("c1")
    w.n1.strong = true
    w.n1:submit "exhaust it"
    w:settle()
    local index = #w.n1.disk.entries
    for i = 1, more do w.n1:submit("m" .. i) end
    w:settle()
    w.n1:admin "snapshot"
    w:settle()
    return w, index
  end

  it("has nothing to go back to where its snapshot holds it", function()
    for more = 0, 2 do
      local w <close>, index = ahead(more)
      assert.equal(index + more, w.n1.disk.snapshot.index)
      w.n1:crash()
      append(w.n1, base.pack { index = index })
      again(w)
      assert.equal("corrupt", w.n1.fatal.code)
      assert.matches("the cluster skips entry " .. index .. " (entry " .. index + more + 1 .. " says so)",
        w.n1.fatal.text, 1, true)
      assert.matches("remove this node, move its data folder away", w.n1.fatal.text, 1, true)
    end
  end)
end)
