-- Entries that a node dies of: it halts before one that was the death of two lives in a row, and such a command can be
-- skipped, alike on every node.
local base = require "moonclave.base"
local deaths = require "host.deaths_support"
local formats = require "moonclave.formats"
local wire = require "moonclave.wire"
local world = require "host.world"
local again, die_twice = deaths.again, deaths.die_twice

-- A cluster that n1 leads, with two commands done.
local function cluster(nodes)
  local w = world.new { nodes = nodes or 3 }
  w:bootstrap()
  w:elect "n1"
  for i = 1, 2 do w.n1:submit("c" .. i) end
  w:settle()
  w:advance(150)
  return w
end

-- n1 proposes what every node dies of, and each dies twice of it. Its index, and the ticket of who asked.
local function poison(w, options)
  local ticket = w.n1:submit("exhaust it", options)
  w:settle()
  w:advance(150)
  w:settle()
  local index = #w.n1.disk.entries
  assert.are.equal("exhaust it", formats.entry_decode(w.n1.disk.entries[index]).payload)
  return index, ticket
end

local function halted(node) return node.host:status().halted_at end

local function same_everywhere(w)
  local index, chain, hash = w.n1.host:applied()
  for _, node in ipairs(w.nodes) do
    assert.is_nil(node.fatal)
    assert.are.same({ index, chain, hash }, { node.host:applied() })
  end
end

local function leader(w)
  for _ = 1, 200 do
    for _, node in ipairs(w.nodes) do
      if node.host and not node.fatal and node.role == "leader" then return node end
    end
    w:advance(100)
  end
  error "nobody leads"
end

describe("an entry that a node dies of", function()
  it("is tried twice, and halted before the third time; raft goes on", function()
    local w <close> = cluster(1)
    local index = poison(w)
    assert.are.equal("internal", w.n1.fatal.code)
    assert.are.same({ index, 0 }, { w.n1.page.applying, w.n1.page.count })
    again(w, w.n1)
    w:advance(5000)
    assert.are.equal("internal", w.n1.fatal.code)
    again(w, w.n1)
    w:advance(5000)
    assert.is_nil(w.n1.fatal)
    assert.are.equal(index, halted(w.n1))
    local status = w.n1.host:status()
    assert.are.equal(index - 1, status.applied_index)
    assert.is_true(status.commit_index > index)
    assert.is_false(w.n1.host:ready())
    assert.are.equal(1, w.n1:logged("error entry " .. index .. ", a command, was the death of this node"))
  end)

  it("that it survives is forgotten", function()
    local w <close> = cluster(1)
    poison(w)
    local entry = formats.entry_decode(w.n1.disk.entries[#w.n1.disk.entries])
    w.n1:crash()
    local body = "mended it!"
    entry.payload = body
    entry.chain = formats.entry_chain(entry, formats.entry_decode(w.n1.disk.entries[#w.n1.disk.entries - 1]).chain)
    w.n1.disk.entries[#w.n1.disk.entries] = formats.entry_encode(entry)
    w.n1:start()
    assert.are.equal(1, w.n1.page.count)
    w:elect "n1"
    w:advance(300)
    assert.is_nil(w.n1.fatal)
    assert.are.same({ 0, 0, 0 }, { w.n1.page.applying, w.n1.page.suspect, w.n1.page.count })
  end)

  it("leaves a halted leader that refuses commands at once and answers stale queries", function()
    local w <close> = cluster(1)
    poison(w)
    die_twice(w)
    local command = w.n1:submit "later"
    local stale = w.n1:query("x", { stale = true })
    w:settle()
    assert.are.equal("unavailable", w.n1:answer(command))
    assert.are.equal("ok answer 2 x", w.n1:answer(stale))
  end)

  it("leaves a halted leader that refuses at once whatever needs the newest state: nobody waits there", function()
    local w <close> = cluster(1)
    local index = poison(w)
    die_twice(w)
    w.n1.options.settings = { waiting_max = 2 }
    again(w, w.n1)
    w:elect "n1"
    w:advance(300)
    assert.are.equal(index, halted(w.n1))
    for _ = 1, 3 do
      local query, lease = w.n1:query "x", w.n1:query("x", { lease = true })
      w.n1:turn()
      assert.are.equal("unavailable", w.n1:answer(query))
      assert.are.equal("unavailable", w.n1:answer(lease))
    end
    local backup = w.n1:admin "backup"
    w.n1:turn()
    local code, body = w.n1:told(backup)
    assert.are.equal("unavailable", code)
    assert.is_truthy(body.message:find("has halted before an entry", 1, true), body.message)
    local skip = w.n1:admin("skip", { index = index })
    w:settle()
    assert.are.same({ "ok", { skipped = index } }, { w.n1:told(skip) })
    local query = w.n1:query "x"
    w:settle()
    assert.are.equal("ok answer 2 x", w.n1:answer(query))
  end)

  it("ends the waiting of queries that were under way as the node halted", function()
    local w <close> = cluster(1)
    w.n1:admin "snapshot"
    w:settle()
    local index = poison(w)
    die_twice(w)
    w.n1:crash()
    w.n1:start()
    for _ = 1, 20 do -- it leads, and what it is to apply next is not read yet
      if w.n1.host:is_leader() and w.n1.host:status().app.loaded and #w.n1.log_reads > 0 then break end
      w.now = math.max(w.now, w.n1.timer)
      w.n1.host:timer()
      w.n1:turn()
      w.n1:flush()
      w.n1:work()
      w.n1:turn()
    end
    local query = w.n1:query "x"
    w.n1:turn()
    assert.are.same({ 0, 1 }, { halted(w.n1), w.n1.host:status().waiting })
    w:settle()
    assert.are.equal(index, halted(w.n1))
    assert.are.equal("unavailable", w.n1:answer(query))
  end)

  it("leaves a halted follower that sends queries to the leader, also where it may answer them itself", function()
    local w <close> = cluster()
    w.n1.strong, w.n3.strong = true, true
    w.n2.options.settings = { follower_reads = 1 }
    local index = poison(w)
    die_twice(w)
    w:elect "n1"
    w:advance(300)
    assert.are.same({ 0, index, 0 }, { halted(w.n1), halted(w.n2), halted(w.n3) })
    local before = w.n2:counters().forwards
    local query = w.n2:query "x"
    w:settle()
    assert.are.equal("ok answer 3 x", w.n2:answer(query))
    assert.are.equal(before + 1, w.n2:counters().forwards)
  end)
end)

describe("skipping it", function()
  it("lets every node go on: the command is refused alike, the rest is done", function()
    local w <close> = cluster()
    local index = poison(w)
    die_twice(w)
    local n = leader(w)
    w:advance(300)
    for _, node in ipairs(w.nodes) do assert.are.equal(index, halted(node)) end
    local ticket = n:admin("skip", { index = index })
    w:advance(300)
    assert.are.same({ "ok", { skipped = index } }, { n:told(ticket) })
    local after = n:submit "after"
    w:advance(300)
    assert.are.equal("ok done 3 after", n:answer(after))
    same_everywhere(w)
    for _, node in ipairs(w.nodes) do
      assert.are.equal(0, halted(node))
      assert.are.same({ 0, 0 }, { node.page.suspect, node.page.count })
      assert.are.equal(3, #node.machine.commands)
    end
    local once_more = n:admin("skip", { index = index })
    w:settle()
    assert.are.same({ "ok", { skipped = index } }, { n:told(once_more) })
  end)

  it("is asked of the leader through any node", function()
    local w <close> = cluster()
    local index = poison(w)
    die_twice(w)
    local n = leader(w)
    local other = n == w.n2 and w.n3 or w.n2
    local ticket = other:admin("skip", { index = index })
    w:advance(500)
    assert.are.same({ "ok", { skipped = index } }, { other:told(ticket) })
    same_everywhere(w)
  end)

  it("is refused where the leader has not halted there", function()
    local w <close> = cluster()
    local function refused(arguments)
      local ticket = w.n1:admin("skip", arguments)
      w:settle()
      return w.n1:told(ticket)
    end
    assert.are.equal("bad_request", (refused {}))
    assert.are.equal("bad_request", (refused { index = 0 }))
    assert.are.equal("bad_request", (refused { index = "4" }))
    local code, body = refused { index = 3 }
    assert.are.equal("conflict", code)
    assert.is_truthy(body.message:find("applied up to 4", 1, true), body.message)
    assert.are.equal("conflict", (refused { index = 99 }))
    same_everywhere(w)
  end)

  it("is for commands: a node that dies of the app itself stays halted", function()
    local w <close> = world.new { nodes = 1 }
    w:bootstrap()
    w:elect "n1"
    assert.are.equal(2, formats.entry_decode(w.n1.disk.entries[2]).type)
    again(w, w.n1, { deadly = 2, deaths = 2 })
    w:elect "n1"
    w:advance(300)
    -- The host only counts what it is told of commands and the app: INIT is halted before like them.
    assert.are.equal(2, halted(w.n1))
    local ticket = w.n1:admin("skip", { index = 2 })
    w:settle()
    local code, body = w.n1:told(ticket)
    assert.are.equal("conflict", code)
    assert.is_truthy(body.message:find("a init", 1, true), body.message)
  end)

  it("answers a retry in a session as the first time", function()
    local w <close> = cluster(1)
    local opened = w.n1:submit(base.pack { "open" }, { kind = "session" })
    w:settle()
    local _, session = w.n1:told(opened)
    local index = poison(w, { session = session.session, sequence = 1 })
    die_twice(w)
    w.n1:admin("skip", { index = index })
    w:settle()
    assert.are.equal(0, halted(w.n1))
    local retry = w.n1:submit("exhaust it", { session = session.session, sequence = 1 })
    w:settle()
    local code, body = w.n1:told(retry)
    assert.are.equal("command_failed", code)
    assert.is_truthy(body.message:find("an operator had it skipped", 1, true), body.message)
  end)
end)

-- A SKIP behind everything that is on a stopped node's disk.
local function append_skip(node, index)
  local entries = node.disk.entries
  local last = formats.entry_decode(entries[#entries])
  local skip = { type = 7, index = #entries + 1, term = last.term, time_ms = last.time_ms,
    payload = base.pack { index = index } }
  skip.chain = formats.entry_chain(skip, last.chain)
  entries[#entries + 1] = formats.entry_encode(skip)
end

describe("a node that has SKIP in its log", function()
  -- n1 alone, halted, skipped; its disk then has entry, SKIP and what follows.
  local function skipped()
    local w = cluster(1)
    local index = poison(w)
    die_twice(w)
    w.n1:admin("skip", { index = index })
    w:settle()
    w.n1:submit "after"
    w:settle()
    return w, index
  end

  it("does not try the entry when it replays, however much memory it has", function()
    local w <close>, index = skipped()
    local applied = { w.n1.host:applied() }
    local tried = false
    w.n1.on_apply = function(entry) tried = tried or entry.index == index end
    again(w, w.n1)
    w:advance(5000)
    assert.is_nil(w.n1.fatal)
    assert.is_false(tried)
    assert.are.equal(3, #w.n1.machine.commands)
    assert.is_true(w.n1.host:applied() > applied[1])
  end)

  it("waits with the entry until SKIP is decided, and applies it where SKIP is taken back", function()
    local w <close> = cluster()
    for i = 3, 5 do w.n1:submit("c" .. i) end
    w:settle()
    w:advance(150)
    local index = #w.n1.disk.entries
    -- n3 has one more than the others, a SKIP of the entry before the last, and is away.
    w.n3:crash()
    append_skip(w.n3, index - 1)
    w.n1:crash()
    w.n1:start()
    w:connect("n1", "n2")
    w:elect "n2"
    w.n3:start()
    w:connect("n2", "n3")
    local status = w.n2.host:status()
    w.n3.host:receive(w.n2:identity(), wire.encode { type = "append", from = "n2", to = "n3", term = status.term,
      prev_index = index, prev_term = 1, commit = index, round = 0, entries = {} })
    for _ = 1, 10 do
      w.n3:turn()
      w.n3:flush()
      w.n3:read_log()
    end
    assert.are.same({ index, index - 2 }, { w.n3.host:status().commit_index, w.n3.host:status().applied_index })
    assert.are.equal(0, halted(w.n3))
    w:connect_all()
    w.n2:submit "c6"
    w:advance(1500)
    assert.are.equal("c6", w.n3.machine.commands[6].body)
    same_everywhere(w)
  end)

  it("is behind a node that gets a snapshot which holds it", function()
    local w <close> = world.new { nodes = 3, settings = { trailing_entries = 0 } }
    w:bootstrap()
    w:elect "n1"
    for i = 1, 2 do w.n1:submit("c" .. i) end
    w:settle()
    w.n1.strong, w.n2.strong = true, true
    local index = poison(w)
    again(w, w.n3)
    die_twice(w)
    assert.are.equal(index, halted(w.n3))
    for _, node in ipairs { w.n1, w.n2 } do
      w:lose(node.id, "n3")
      w:lose("n3", node.id)
    end
    w.n1:submit("c3")
    w:advance(1000)
    w.n1:admin "snapshot"
    w:settle()
    w:connect_all()
    w:advance(2000)
    assert.are.equal(w.n1.disk.snapshot.index, w.n3.disk.snapshot.index)
    assert.are.equal(0, halted(w.n3)) -- at once: no entry may follow for a long time
    assert.are.equal(1, w.n3:logged("entry " .. index .. " is in the snapshot that came"))
    same_everywhere(w)
  end)

  it("and has applied the entry stops; its next life goes back and skips", function()
    local w <close> = cluster()
    -- n3 has more memory than the others, and n2 leads.
    w.n3.strong = true
    local index = poison(w)
    for _ = 1, 3 do
      for _, node in ipairs { w.n1, w.n2 } do if node.fatal then again(w, node) end end
      w:advance(100)
    end
    die_twice(w)
    local n = leader(w)
    if n == w.n3 then
      w:elect "n2"
      n = w.n2
    end
    w:advance(1500)
    assert.are.same({ index, index, 0 }, { halted(w.n1), halted(w.n2), halted(w.n3) })
    assert.is_true(w.n3.host:status().applied_index > index)
    local ticket = n:admin("skip", { index = index })
    w:settle()
    w:advance(300)
    assert.are.same({ "ok", { skipped = index } }, { n:told(ticket) })
    assert.are.equal("corrupt", w.n3.fatal.code)
    assert.is_truthy(w.n3.fatal.text:find("the cluster skips entry " .. index, 1, true), w.n3.fatal.text)
    assert.is_truthy(w.n3.fatal.text:find("Start it again", 1, true), w.n3.fatal.text)
    again(w, w.n3)
    w:advance(1500)
    same_everywhere(w)
    assert.are.equal(2, #w.n3.machine.commands)
  end)
end)
