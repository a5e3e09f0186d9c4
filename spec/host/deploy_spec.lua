-- Another version of the app, at one index on all nodes: done everywhere or refused everywhere, whatever happens.
local base = require "moonclave.base"
local deaths = require "host.deaths_support"
local formats = require "moonclave.formats"
local support = require "host.snapshot_support"
local world = require "host.world"

local FIRST = "THE APP"

local function hash_of(bundle) return ("%016x"):format(base.hash(bundle)) end

local function cluster(nodes, options)
  local w = world.new { nodes = nodes or 3, settings = options and options.settings or support.NEVER }
  for _, node in ipairs(w.nodes) do node.options.bundle = options and options.bundle or FIRST end
  w:bootstrap()
  w:elect "n1"
  w:settle()
  return w
end

-- What whoever deploys is told: code, body.
local function deploy(w, node, bundle, replaces)
  local ticket = node:admin("deploy", { bundle = bundle, replaces = replaces })
  w:settle()
  w:advance(300)
  return node:told(ticket)
end

local function app(node) return node.host:status().app end

local function same_everywhere(w)
  local first = w.n1.host:status()
  for _, node in ipairs(w.nodes) do
    local status = node.host:status()
    assert.is_nil(node.fatal)
    assert.same({ first.applied_index, first.chain, first.state_hash, first.app },
      { status.applied_index, status.chain, status.state_hash, status.app })
  end
end

local function write(w, node, text)
  local ticket = node:submit(text)
  w:settle()
  w:advance(150)
  return node:answer(ticket)
end

describe("a deploy", function()
  it("puts the new app in the old one's place at its index, on all nodes", function()
    local w <close> = cluster()
    assert.equal("ok done 1 a", write(w, w.n1, "a"))
    local code, body = deploy(w, w.n1, "version 2", hash_of(FIRST))
    local index = #w.n1.disk.entries
    assert.same({ "ok", { from = 1, hash = hash_of "version 2", index = index, to = 2 } }, { code, body })
    for _, node in ipairs(w.nodes) do
      assert.same({ hash = hash_of "version 2", loaded = true, version = index }, app(node))
      assert.same({ "version 2", index }, { node.machine.bundle, node.machine.loaded_at.index })
      assert.same({ FIRST, "version 2" }, { node.loaded[1].bundle, node.loaded[2].bundle })
      assert.equal(node.loaded[1].config, node.loaded[2].config)
    end
    assert.equal("ok done 2 b", write(w, w.n2, "b"))
    same_everywhere(w)
  end)

  it("is asked of any node, and needs to say nothing of what it follows", function()
    local w <close> = cluster()
    assert.equal("ok", (deploy(w, w.n3, "version 2")))
    assert.equal("ok", (deploy(w, w.n2, "version 3")))
    for _, node in ipairs(w.nodes) do assert.equal("version 3", node.machine.bundle) end
    same_everywhere(w)
  end)

  it("is written as the page says", function()
    local w <close> = cluster(1)
    deploy(w, w.n1, "version 2", "0123456789abcdef")
    deploy(w, w.n1, "version 2", "f123456789abcdef")
    deploy(w, w.n1, "version 2")
    local list = {}
    for _, bytes in ipairs(w.n1.disk.entries) do
      local entry = formats.entry_decode(bytes)
      if entry.type == 3 then list[#list + 1] = entry.payload end
    end
    assert.same({
      "\x82\xA6bundle\xA9version 2\xA8replaces\xCF\x01\x23\x45\x67\x89\xAB\xCD\xEF",
      "\x82\xA6bundle\xA9version 2\xA8replaces\xD3\xF1\x23\x45\x67\x89\xAB\xCD\xEF",
      "\x82\xA6bundle\xA9version 2\xA8replaces\xC0",
    }, list)
  end)

  it("that is sent again does nothing and is told what the first was", function()
    local w <close> = cluster()
    local _, body = deploy(w, w.n1, "version 2", hash_of(FIRST))
    local hash = w.n1.host:status().state_hash
    write(w, w.n1, "a")
    assert.same({ "ok", { hash = hash_of "version 2", index = body.index } },
      { deploy(w, w.n1, "version 2", hash_of(FIRST)) })
    assert.same({ "ok", { hash = hash_of "version 2", index = body.index } }, { deploy(w, w.n1, "version 2") })
    assert.equal(2, #w.n1.loaded)
    assert.not_equal(hash, w.n1.host:status().state_hash) -- by "a"
    same_everywhere(w)
  end)

  it("follows only the app that it was made for", function()
    local w <close> = cluster()
    deploy(w, w.n1, "version 2", hash_of(FIRST))
    local before = w.n1.host:status()
    local code, body = deploy(w, w.n2, "version 3", hash_of(FIRST))
    assert.equal("conflict", code)
    assert.is_truthy(body.message:find(hash_of(FIRST), 1, true), body.message)
    assert.is_truthy(body.message:find(hash_of "version 2", 1, true), body.message)
    assert.same(before.app, app(w.n1))
    assert.equal(before.state_hash, w.n1.host:status().state_hash)
    assert.equal(2, #w.n2.loaded)
    same_everywhere(w)
  end)

  it("that does not load or migrate is refused, and all is as before", function()
    local w <close> = cluster()
    local before = w.n1.host:status()
    local code, body = deploy(w, w.n1, "BROKEN version 2")
    assert.equal("script_error", code)
    assert.equal("the app is refused, nothing has changed: fsm.lua:1: it is broken", body.message)
    for _, node in ipairs(w.nodes) do
      assert.same(before.app, app(node))
      assert.equal(1, #node.loaded)
      assert.equal(FIRST, node.machine.bundle)
      assert.equal(1, node:logged "the app %x+ is refused at index %d+, nothing has changed: fsm.lua:1: it is broken$")
    end
    assert.equal("ok done 1 a", write(w, w.n1, "a"))
    same_everywhere(w)
    assert.equal("ok", (deploy(w, w.n1, "version 2", hash_of(FIRST))))
  end)

  it("that cannot be read is refused before it is in the log", function()
    local w <close> = cluster(1)
    local count = #w.n1.disk.entries
    for _, arguments in ipairs {
      {}, { bundle = 3 }, { bundle = "" }, { bundle = { "x" } }, { replaces = "0123456789abcdef" },
      { bundle = "version 2", replaces = "0123" }, { bundle = "version 2", replaces = 5 },
      { bundle = "version 2", replaces = { 1, 2 } }, { bundle = "version 2", replaces = "0123456789abcdeF" },
      { bundle = "version 2", replaces = "0123456789abcdefa" }, { bundle = "version 2", replaces = "0123456789abcdeg" },
    } do
      local ticket = w.n1:admin("deploy", arguments)
      w:settle()
      local code, body = w.n1:told(ticket)
      assert.equal("bad_request", code)
      assert.is_truthy(body.message:find("16 hexadecimal digits", 1, true), body.message)
    end
    assert.equal(count, #w.n1.disk.entries)
    assert.equal("ok", (deploy(w, w.n1, "version 2", base.null)))
  end)

  it("that is too large for an entry says so", function()
    local w <close> = cluster(1)
    assert.equal("too_large", (deploy(w, w.n1, ("x"):rep(2097153))))
  end)

  it("mends an app that did not load, by its init and with the cluster's config", function()
    local w <close> = cluster(3, { bundle = "BROKEN" })
    assert.is_false(app(w.n1).loaded)
    assert.equal("script_error", (write(w, w.n1, "a"):match "^%S+"))
    local code, body = deploy(w, w.n1, "BROKEN too", hash_of "BROKEN")
    assert.equal("script_error", code, body)
    assert.is_truthy(app(w.n2).error)
    assert.equal("script_error", (deploy(w, w.n1, "BROKEN"))) -- the same again is no success
    assert.equal("ok", (deploy(w, w.n1, "version 1", hash_of "BROKEN")))
    for _, node in ipairs(w.nodes) do
      assert.is_nil(app(node).error)
      assert.is_true(app(node).loaded)
      assert.equal(4, node.machine.load_count)
      assert.equal(node.loaded[1].config, node.machine.config)
    end
    assert.equal("ok done 1 a", write(w, w.n1, "a"))
    same_everywhere(w)
  end)

  it("waits for an app: there is none to follow before the first", function()
    local w <close> = world.new { nodes = 1 }
    w.n1.options.bundle = ""
    w:bootstrap()
    w:elect "n1"
    w:settle()
    local code, body = deploy(w, w.n1, "version 2")
    assert.equal("conflict", code)
    assert.is_truthy(body.message:find("no app yet", 1, true), body.message)
    assert.is_false(app(w.n1).loaded)
  end)

  it("is refused while a backup is being restored", function()
    local w <close> = cluster(1)
    w.n1:admin "snapshot"
    w:settle()
    local found = w.n1.disk.snapshots[w.n1.disk.snapshot.index]
    local ticket = w.n1:submit(base.pack { "restore",
      { "begin", 7, w.n1.disk.cluster, formats.meta_encode(found.meta) } }, { kind = "admin" })
    w:settle()
    local _, begun = w.n1:told(ticket)
    local code, body = deploy(w, w.n1, "version 2")
    assert.equal("conflict", code)
    assert.is_truthy(body.message:find("restore --abort", 1, true), body.message)
    w.n1:submit(base.pack { "restore", { "abort", begun.id } }, { kind = "admin" })
    w:settle()
    assert.equal("ok", (deploy(w, w.n1, "version 2")))
  end)
end)

describe("what was deployed", function()
  it("is replayed from the log", function()
    local w <close> = cluster()
    write(w, w.n1, "a")
    deploy(w, w.n1, "version 2")
    write(w, w.n1, "b")
    local index, chain, hash = w.n1.host:applied()
    w.n2:crash()
    w.n2:start()
    w:connect_all()
    w:advance(500)
    assert.same({ index, chain, hash }, { w.n2.host:applied() })
    assert.equal("version 2", w.n2.machine.bundle)
    same_everywhere(w)
  end)

  it("is in a snapshot, with its own stamps, for whoever restarts or lags", function()
    local w <close> = cluster(3, { settings = { trailing_entries = 0 } })
    write(w, w.n1, "a")
    w.n3:crash()
    local _, body = deploy(w, w.n1, "version 2", hash_of(FIRST))
    local stamps = w.n1.machine.loaded_at
    write(w, w.n1, "b")
    for _, node in ipairs { w.n1, w.n2 } do node:admin "snapshot" end
    w:settle()
    write(w, w.n1, "c")
    w.n2:crash()
    for _, node in ipairs { w.n2, w.n3 } do
      node:start()
      w:connect_all()
      w:advance(1500)
      assert.same({ hash = hash_of "version 2", loaded = true, version = body.index }, app(node))
      assert.same({ "version 2", stamps }, { node.machine.bundle, node.machine.loaded_at })
      assert.equal("version 2", node.loaded[#node.loaded].bundle)
    end
    assert.same({ hash = hash_of "version 2", index = body.index }, select(2, deploy(w, w.n1, "version 2")))
    write(w, w.n1, "d")
    same_everywhere(w)
  end)

  it("that mended an app is in a snapshot without its error", function()
    local w <close> = cluster(1, { bundle = "BROKEN" })
    deploy(w, w.n1, "version 1")
    w.n1:admin "snapshot"
    w:settle()
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:advance(500)
    assert.same({ nil, true }, { app(w.n1).error, app(w.n1).loaded })
    assert.equal("ok done 1 a", write(w, w.n1, "a"))
  end)
end)

describe("a deploy that a node dies of", function()
  it("can be skipped: the app stays the old one everywhere", function()
    local w <close> = cluster()
    local before = app(w.n1)
    w.n1:admin("deploy", { bundle = "EXHAUST version 2" })
    w:settle()
    w:advance(150)
    local index = #w.n1.disk.entries
    deaths.die_twice(w)
    local leader
    for _, node in ipairs(w.nodes) do
      assert.equal(index, node.host:status().halted_at)
      if node.role == "leader" then leader = node end
    end
    local ticket = leader:admin("skip", { index = index })
    w:advance(300)
    assert.same({ "ok", { skipped = index } }, { leader:told(ticket) })
    w:advance(300)
    for _, node in ipairs(w.nodes) do
      assert.same(before, app(node))
      assert.equal(0, node.host:status().halted_at)
    end
    same_everywhere(w)
    assert.equal("ok", (deploy(w, leader, "version 2", hash_of(FIRST))))
    same_everywhere(w)
  end)

  it("and survives with more memory is done", function()
    local w <close> = cluster(1)
    w.n1:admin("deploy", { bundle = "EXHAUST version 2" })
    w:settle()
    assert.equal("internal", w.n1.fatal.code)
    w.n1.strong = true
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:advance(500)
    assert.equal("EXHAUST version 2", w.n1.machine.bundle)
    assert.same({ 0, 0 }, { w.n1.page.applying, w.n1.page.count })
  end)
end)

describe("a deploy that takes many turns", function()
  local BUNDLE = "version 2 in 50 steps"

  -- A node's machine counts the slices it does, of so many microseconds.
  local function counted(node, us)
    local steps = 0
    node.on_upgrade = function()
      steps = steps + 1
      node.world.now = node.world.now + us
    end
    return function() return steps end
  end

  -- One turn of each node, what it writes and sends, and no time.
  local function once(w)
    for _, node in ipairs(w.nodes) do
      if node.host then
        node.host:turn()
        node:flush()
      end
    end
    w:deliver_all()
  end

  -- The node is in the middle of it: k slices are done.
  local function halfway(w, node, k, us)
    local ticket = w.n1:admin("deploy", { bundle = BUNDLE, replaces = hash_of(FIRST) })
    local steps = counted(node, us or 0)
    for _ = 1, 1000 do
      if steps() >= k then return ticket, steps end
      once(w)
      w.now = w.now + 1000
      for _, other in ipairs(w.nodes) do
        if other.host and (other.timer or 0) > 0 and w.now >= other.timer then other.host:timer() end
      end
    end
    error "it does not begin"
  end

  it("holds back what is behind it and every query; Raft goes on", function()
    local w <close> = cluster()
    write(w, w.n1, "a")
    local before = w.n1.host:status()
    local ticket, steps = halfway(w, w.n1, 3)
    local status = w.n1.host:status()
    assert.same({ before.applied_index, before.state_hash, before.app },
      { status.applied_index, status.state_hash, status.app })
    assert.equal(1, w.n1:logged("^info goes over to the app %x+ at index %d+ %(its version 2, before 1%): " ..
      "commands and queries wait"))
    local command, stale, query = w.n1:submit "b", w.n1:query("x", { stale = true }), w.n1:query "y"
    for _ = 1, 10 do once(w) end
    assert.equal(13, steps()) -- one slice a turn: there is no clock for more
    assert.same({}, { w.n1.replies[ticket], w.n1.replies[command], w.n1.replies[stale], w.n1.replies[query] })
    status = w.n1.host:status()
    assert.is_true(status.commit_index > before.commit_index + 1)
    assert.equal(before.applied_index, status.applied_index)
    w:settle()
    w:advance(300)
    assert.equal(50, steps())
    assert.equal("ok", (w.n1:told(ticket)))
    assert.equal("ok done 2 b", w.n1:answer(command))
    assert.equal("ok answer 2 x", w.n1:answer(stale))
    assert.equal("ok answer 2 y", w.n1:answer(query))
    same_everywhere(w)
  end)

  it("goes by the clock where turns are limited by it", function()
    local w <close> = world.new { nodes = 1, settings = support.NEVER }
    w.n1.options.bundle, w.n1.options.apply_slice_us = FIRST, 500
    w:bootstrap()
    w:elect "n1"
    w:settle()
    local ticket, steps = halfway(w, w.n1, 1, 100)
    local done = steps()
    w.n1.host:turn()
    assert.equal(done + 5, steps())
    w:settle()
    assert.equal("ok", (w.n1:told(ticket)))
  end)

  it("is told in the status", function()
    local w <close> = cluster(1)
    halfway(w, w.n1, 2)
    local status = w.n1.host:status()
    assert.equal(status.applied_index + 1, status.deploying_at)
    w:settle()
    assert.equal(0, w.n1.host:status().deploying_at)
  end)

  it("that took very many is kept by a snapshot, so that no start does it again", function()
    local w <close> = cluster(1)
    for steps = 499, 500 do
      assert.equal("ok", (deploy(w, w.n1, ("version %d in %d steps"):format(steps, steps))))
      local taken = w.n1.disk.snapshot
      assert.equal(steps == 500 and app(w.n1).version or nil, taken and taken.index)
    end
    assert.equal("script_error", (deploy(w, w.n1, "RAISES version 9 in 600 steps"))) -- refused, it would be tried again
    assert.equal(2, w.n1.host:status().snapshot.taken)
    w.n1:crash()
    local upgrades = counted(w.n1, 0)
    w.n1:start()
    w:elect "n1"
    w:settle()
    assert.equal(0, upgrades())
    assert.equal("version 500 in 500 steps", w.n1.machine.bundle)
    assert.equal(0, w.n1.host:status().snapshot.taken) -- no other one follows
  end)

  it("begins again in the next life", function()
    local w <close> = cluster()
    local _, steps = halfway(w, w.n1, 10)
    w.n1:crash()
    w.n1:start()
    w:connect_all()
    w:advance(4000)
    assert.is_true(steps() >= 60)
    for _, node in ipairs(w.nodes) do assert.equal("version 2 in 50 steps", node.machine.bundle) end
    same_everywhere(w)
  end)

  it("is nobody's death when the node is stopped in the middle, and is given up", function()
    local w <close> = cluster(1)
    halfway(w, w.n1, 10)
    w.n1.host:stop()
    w:settle()
    w:advance(20000)
    assert.equal(1, w.n1.stopped)
    assert.is_nil(w.n1.machine.upgrade)
    assert.same({ 0, 0 }, { w.n1.page.applying, w.n1.page.count })
  end)

  it("may be refused at its end, and nothing has changed", function()
    local w <close> = cluster()
    local before = w.n1.host:status()
    local code, body = deploy(w, w.n1, "RAISES version 2 in 20 steps")
    assert.equal("script_error", code)
    assert.equal("the app is refused, nothing has changed: migrate: it raises", body.message)
    assert.same({ before.app, before.state_hash }, { app(w.n1), w.n1.host:status().state_hash })
    assert.equal("ok done 1 a", write(w, w.n1, "a"))
    same_everywhere(w)
  end)

  it("holds a snapshot up that is being written, and none begins", function()
    local w <close> = cluster(1)
    for i = 1, 40 do w.n1:submit(("put %d "):format(i) .. ("x"):rep(9000)) end
    w:settle()
    local asked = w.n1:admin "snapshot"
    w.n1.host:turn()
    assert.is_truthy(w.n1.machine.writing)
    local ticket = halfway(w, w.n1, 2)
    local writing, size = w.n1.machine.writing, #w.n1.jobs
    for _ = 1, 10 do once(w) end
    assert.is_truthy(writing)
    assert.same({ writing, size }, { w.n1.machine.writing, #w.n1.jobs })
    w:settle()
    assert.same({ "ok", "ok" }, { (w.n1:told(ticket)), (w.n1:told(asked)) })
    local index = w.n1.disk.snapshot.index
    assert.is_true(index < app(w.n1).version) -- it is of before
    w.n1:crash()
    w.n1:start()
    w:elect "n1"
    w:settle()
    assert.equal("version 2 in 50 steps", w.n1.machine.bundle)
  end)

  it("is given up for a snapshot that the leader sends", function()
    local w <close> = cluster(3, { settings = { trailing_entries = 0 } })
    write(w, w.n1, "a")
    local _, steps = halfway(w, w.n3, 5)
    -- n3 hears nothing and gets no further; the others go on, and their logs begin behind it.
    for _, node in ipairs { w.n1, w.n2 } do
      w:lose(node.id, "n3")
      w:lose("n3", node.id)
    end
    local begun = w.n3.machine.upgrade
    w.n3.machine.upgrade.left = 1 << 40
    w.n3.turn = function(node) node.host:turn() end
    w:advance(500)
    write(w, w.n1, "b")
    for _, node in ipairs { w.n1, w.n2 } do node:admin "snapshot" end
    w:settle()
    assert.is_true(steps() > 5)
    assert.equal(begun, w.n3.machine.upgrade)
    w:connect_all()
    w:advance(3000)
    assert.is_nil(w.n3.machine.upgrade)
    w.n3.turn = nil
    write(w, w.n1, "c")
    same_everywhere(w)
    assert.equal(BUNDLE, w.n3.machine.bundle)
    assert.is_true(w.n3.disk.snapshot.index > app(w.n3).version)
  end)

  it("is given up where an operator has it skipped", function()
    local w <close> = cluster()
    local _, steps = halfway(w, w.n3, 5)
    local index = w.n3.host:status().applied_index + 1
    for _, node in ipairs(w.nodes) do
      if node ~= w.n3 then node:crash() end
      w:lose(node.id, "n3")
    end
    -- n1 and n2 have died of it twice.
    for _, node in ipairs { w.n1, w.n2 } do node:start { deadly = index, deaths = 2 } end
    w:connect("n1", "n2")
    w.n3.machine.upgrade.left = 1 << 40
    w.n3.turn = function(node) node.host:turn() end
    w:advance(5000)
    local leader = w.n1.role == "leader" and w.n1 or w.n2
    assert.equal(index, leader.host:status().halted_at)
    local ticket = leader:admin("skip", { index = index })
    w:advance(300)
    assert.equal("ok", (leader:told(ticket)))
    local done = steps()
    w:connect_all()
    w:advance(3000)
    assert.is_nil(w.n3.machine.upgrade)
    assert.is_true(steps() >= done)
    w.n3.turn = nil
    assert.equal("ok done 1 a", write(w, leader, "a"))
    same_everywhere(w)
    assert.equal(FIRST, w.n3.machine.bundle)
  end)
end)
