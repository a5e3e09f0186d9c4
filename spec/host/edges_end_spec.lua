-- Edges of the end: what a node does, and does no more, once it stops or has given up. Each was a guard that nothing
-- else missed (scripts/mutants).
local formats = require "moonclave.formats"
local wire = require "moonclave.wire"
local world = require "host.world"
local cluster, lone, restarted = world.cluster, world.lone, world.restarted

describe("a node that has given up", function()
  it("answers nobody, is not ready, and leaves its core alone", function()
    local w <close> = cluster()
    assert.is_true(w.n1.host:ready())
    w.n1:submit "x"
    w.n1:turn()
    w.n1.host:persisted(w.n1.writes[1].sequence, "io_error", "it clicks")
    local steps = w.n1:counters().steps
    local t = w.n1:submit "y"
    w.n1.host:turn()
    w.n1.host:peer_lost "n2"
    assert.same({ nil, false, steps }, { w.n1:answer(t), w.n1.host:ready(), w.n1:counters().steps })
  end)

  it("has done so for a configuration that a newer program wrote", function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    local newer, count = w.n1.disk.configuration:gsub("version\1", "version\2")
    assert.equal(1, count)
    local entry = { type = 1, flags = 0, term = 1, index = 1, time_ms = 1, seed = 0, session = 0, sequence = 0,
      payload = newer }
    entry.chain = formats.entry_chain(entry, 0)
    w.n1.host:receive(w.n2:identity(), wire.encode { type = "append", from = "n2", to = "n1", term = 1, prev_index = 0,
      prev_term = 0, commit = 0, round = 0, state_index = 0, state_chain = 0, entries = { entry } })
    assert.equal("version", w.n1.fatal and w.n1.fatal.code)
  end)

  it("has every door closed", function()
    local w <close> = cluster()
    w.n1:submit "x"
    w.n1:turn()
    local packet = w:take(function(p) return p.kind == "message" and p.to == "n2" end)[1]
    local sequence, h, n2 = w.n1.writes[1].sequence, w.n1.host, w.n2:identity()
    h:persisted(sequence, "io_error", "it clicks")
    local steps = w.n1:counters().steps
    h:persisted(sequence)
    h:bootstrapped()
    h:log_read(1, {})
    h:timer()
    h:refused("n2", "wiped", "")
    h:receive(n2, packet.frame)
    h:forwarded(n2, 1, { kind = "command", body = "x" })
    h:forward_reply(n2, 1, "ok", "")
    h:peer_lost "n2"
    h:cancel(1)
    h:stop()
    h:turn()
    local ok, code = h:receive_hello(w.n2.host:hello())
    assert.same({ nil, "unavailable" }, { ok, code })
    assert.same({ steps, 0, "io_error" }, { w.n1:counters().steps, w.n1.stopped, w.n1.fatal.code })
    -- One that gives up as it starts has them closed as well.
    local v <close> = world.new { nodes = 1 }
    v.n1:start { peers = {} }
    assert.equal("usage", v.n1.fatal.code)
    v.n1.host:start { entries = {}, configuration = "" }
    assert.is_false(v.n1.host:turn())
  end)

  it("sets no timer any more", function()
    local w <close> = cluster()
    w.n1:submit "x"
    w.n1:turn()
    w.n1.timer = "untouched"
    w.n1.host:persisted(w.n1.writes[1].sequence, "io_error", "it clicks")
    w.n1.host:turn()
    assert.same({ "io_error", "untouched" }, { w.n1.fatal.code, w.n1.timer })
  end)
end)

describe("a node that stops", function()
  it("has only the time it was given at first, however often it is told", function()
    local w <close> = world.new { nodes = 3, settings = { stop_timeout_ms = 1000 } }
    w:bootstrap()
    w:elect "n1"
    w:isolate "n1"
    w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    for _ = 1, 4 do
      w.n1.host:stop()
      w.n1:turn()
      w.now = w.now + 250000
    end
    w.n1:turn()
    assert.equal(1, w.n1.stopped)
    assert.equal(0, w.n1.timer)
  end)

  it("does not tell its core of a full disk any more, nor of a log that was read", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:stop()
    w.now = w.now + 600000
    w.n1:turn() -- its core is left alone, a write is out
    local steps = w.n1:counters().steps
    assert.equal(0, w.n1.stopped)
    w.n1:refuse()
    w.n1.host:log_read(1, {})
    assert.same({ steps, nil }, { w.n1:counters().steps, w.n1.fatal })
  end)

  it("leads no more once its core is left alone, and is gone for whoever asks", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    w.n1:submit("x", { timeout_ms = 60000 })
    w.n1:turn()
    w.n1.host:stop()
    w.now = w.now + 600000
    w.n1:turn()
    assert.same({ false, 0 }, { w.n1.host:is_leader(), w.n1.stopped })
    w.n1.host:peer_lost "n2"
    w.now = w.now + 600000
    w.n1:turn()
    assert.equal(1, w.n1.stopped)
    local late = w.n1:submit "late"
    w.n1:turn()
    assert.is_nil(w.n1:answer(late))
  end)

  it("says so to whoever asks, whatever is asked, and to those whose query is being confirmed", function()
    local w <close> = cluster { settings = { stop_timeout_ms = 1000 } }
    w:isolate "n1"
    local q = w.n1:query("q", { timeout_ms = 60000 })
    w.n1:turn()
    assert.is_false(w.n1.host:status().stopping)
    w.n1.host:stop()
    assert.is_true(w.n1.host:status().stopping)
    local large = w.n1:submit(("x"):rep(20000000))
    w.n1:turn()
    assert.equal("shutting_down", w.n1:answer(large))
    assert.is_nil(w.n1:answer(q))
    w.now = w.now + 600000
    w.n1:turn()
    assert.equal("shutting_down", w.n1:answer(q))
  end)

  it("brings no app into the cluster any more", function()
    local w <close> = world.new { nodes = 1 }
    w.n1:start()
    for _ = 1, 10 do -- until it has applied the first entry of its term
      w.n1.host:turn()
      if w.n1.host:applied() == 1 then break end
      w.n1:flush()
    end
    assert.equal(1, w.n1.host:applied())
    w.n1.host:stop()
    w.n1.host:turn()
    assert.same({ 0, 1 }, { #w.n1.writes, w.n1.host:status().last_index })
  end)

  it("waits for the log that it is reading", function()
    local w <close> = restarted(20)
    w.n1.host:stop()
    w.n1.host:turn()
    assert.equal(0, w.n1.stopped)
    w.n1:read_log()
    w.n1.host:turn()
    assert.equal(1, w.n1.stopped)
  end)

  it("applies no more once its core is left alone", function()
    local w <close> = lone { apply_slice_us = 10, settings = { stop_timeout_ms = 1000 } }
    w.n1.on_apply = function() w.now = w.now + 10 end
    for i = 1, 5 do w.n1:submit("c" .. i) end
    w.n1.host:turn()
    w.n1:flush()
    w.n1:submit "its write keeps the node from being done"
    w.n1.host:turn()
    w.n1.host:stop()
    w.now = w.now + 600000
    w.n1.host:turn()
    local applied = #w.n1.machine.commands
    assert(applied < 5)
    w.n1.host:turn()
    assert.same({ applied, 0 }, { #w.n1.machine.commands, w.n1.stopped })
  end)
end)
