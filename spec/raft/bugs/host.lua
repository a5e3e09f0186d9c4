-- Bugs whose guard is the host's, for the core knows ids and not disks, and indexes but nobody who waits at one
-- (see all.lua).
local assert = require "luassert"
local world = require "host.world"

return function(bug)
  bug(7, "who waited at an index was answered by another leader's entry (at the host)",
    { "answer_by_index" }, function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w:advance(150)
    w:isolate "n1"
    local lost = w.n1:submit("lost", { timeout_ms = 60000 })
    w:settle()
    w:elect "n2"
    w:heal "n1"
    w:advance(150)
    assert.equal("unavailable", w.n1:answer(lost))
  end)

  bug(26, "a node went on after a write that had failed (at the host)", { "failed_write_ignored" }, function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n1:submit "x"
    w.n1:turn()
    w.n1.host:persisted(w.n1.writes[1].sequence, "io_error", "it clicks")
    assert.equal("io_error", w.n1.fatal and w.n1.fatal.code)
    assert.is_false(w.n1.host:turn())
  end)

  bug(38, "a wiped voter came back under its old id, and voted again (at the host)",
    { "wiped_believed" }, function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n3:crash()
    w.n3:wipe()
    w.n3:start()
    local ok, code = w:connect("n3", "n1")
    assert.same({ nil, "wiped" }, { ok, code })
    assert.is_true(w.n3.host:status().wiped)
    w:settle()
    w:advance(3000)
    assert.same({ "blank", 0 }, { w.n3.host:status().role, w.n3.disk.cluster })
  end)

  bug(39, "nobody was told of a follower that had lost what it acknowledged (at the host)",
    { "forgetting_believed" }, function()
    local w <close> = world.new { nodes = 3 }
    w:bootstrap()
    w:elect "n1"
    w.n1:submit "x"
    w:advance(150)
    w.n2:crash()
    w:lose("n1", "n2")
    local last = #w.n2.disk.entries
    w.n2.disk.entries[last] = nil
    w.n2:start()
    w:connect_all()
    w:advance(500)
    local told = ("^error n2 has lost what it had acknowledged: its log ends at %d, and it had said %d%%.")
      :format(last - 1, last)
    assert.equal(1, w.n1:logged(told))
    local forgot = {}
    for _, peer in ipairs(w.n1.host:status().peers) do forgot[peer.id] = peer.forgot end
    assert.same({ n2 = true, n3 = false }, forgot)
    assert.equal(last, #w.n2.disk.entries) -- it was sent again
  end)
end
