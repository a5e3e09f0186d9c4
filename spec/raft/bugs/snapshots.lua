-- Bugs of snapshots, and of installing them (see all.lua).
local assert = require "luassert"
local Cluster = require "support.raft_cluster"
local scene = require "support.raft_snapshot_scene"
local INSTALLED = Cluster.INSTALLED
local MEMBERS, log, configuration, snapshot = scene.MEMBERS, scene.log, scene.configuration, scene.snapshot
local follower, applied, leader, ask, want = scene.follower, scene.applied, scene.leader, scene.ask, scene.want
local answer, send_all = scene.answer, scene.send_all

return function(bug)
  bug(9, "keeps nothing of a log that has another term at the snapshot's index", { "conflict_kept" }, function()
    local mine = Cluster.log { 1, 1, 1, 1, 1, 1, 1, 1 }
    local c = follower(mine)
    send_all(c, 2, snapshot)
    c.a:persist()
    c.a:install()
    assert.same({ 5, 2, 5 }, { c.a:status().last_index, c.a:status().last_term, c.a:status().commit_index })
    assert.equal(snapshot.meta.chain, c.a.disk.log[5].chain)
    assert.is_nil(c.a.disk.log[6])
    c:append("b", "a", 2, log, 5, 1)
    c.a:persist()
    assert.equal(log[6].chain, c.a.disk.log[6].chain)
  end)

  bug(9, "keeps all of a log that has the snapshot's last entry, and needs no install", {}, function()
    local c = follower(log)
    c:chunk("b", "a", 2, snapshot, 1)
    c.a:persist()
    local result = answer(c)
    assert.same({ INSTALLED, 5 }, { result.status, result.match })
    assert.same({ 6, 5, 5, 0 }, { c.a:status().last_index, c.a:status().commit_index, c.a.applied,
      #c.a.chunk_writes })
  end)

  bug(10, "has the snapshot's configuration, not one that followed in the replaced log",
    { "configuration_outlives_install" }, function()
    local mine = Cluster.log({ 1, 1, 1, 1, 1, 1, 1 }, { [7] = Cluster.configuration_entry(1, { "a", "b" }) })
    local c = follower(mine)
    assert.equal(7, c.a:status().configuration_index)
    send_all(c, 2, snapshot)
    c.a:persist()
    c.a:install()
    assert.same({ 0, MEMBERS }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    c.a:restart()
    assert.same({ 0, MEMBERS }, { c.a:status().configuration_index, c.a:status().configuration.voters })
  end)

  bug(11, "tells of the snapshot's configuration, though the one it had was of a higher index",
    { "configuration_outlives_install" }, function()
    local mine = Cluster.log({ 1, 1, 1, 1, 1, 1, 1 }, { [6] = Cluster.configuration_entry(1, { "b", "c" }) })
    local c = follower(mine)
    local of_two = Cluster.snapshot_of(log, 5, Cluster.configuration { "a", "c" }, 3)
    send_all(c, 2, of_two)
    c.a:persist()
    c.a:install()
    assert.same({ 3, { "a", "c" } },
      { c.a.configuration_told.index, c.a.configuration_told.configuration.voters })
    c:append("b", "a", 2, Cluster.log({ 1, 1, 1, 2, 2, 2 }), 5, 1)
    assert.equal(3, c.a:status().configuration_index)
  end)

  bug(12, "rolls a configuration back to one that was compacted", { "compacted_configuration" }, function()
    local mine = Cluster.log({ 1, 1, 1, 1, 1 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }),
      [5] = Cluster.configuration_entry(1, { "a", "b", "c", "d" }) })
    local c = follower(mine)
    c:append("b", "a", 1, mine, 4, 0, { commit = 4 })
    applied(c)
    c.a:take_snapshot()
    c.a:compact()
    assert.equal(5, c.a:status().configuration_index)
    local theirs = Cluster.log({ 1, 1, 1, 1, 2 }, { [2] = Cluster.configuration_entry(1, { "a", "b" }) })
    c:append("b", "a", 2, theirs, 4, 1)
    assert.same({ 2, { "a", "b" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
    c.a:persist()
    c.a:restart()
    assert.same({ 2, { "a", "b" } }, { c.a:status().configuration_index, c.a:status().configuration.voters })
  end)

  bug(24, "knows entries that it has compacted, from the very first on", { "compacted_appended" }, function()
    local c = follower(log)
    c:append("b", "a", 2, log, 5, 0, { commit = 5 })
    applied(c)
    c.a:take_snapshot()
    c:take "b"
    for prev_index = 0, 5 do
      assert.equal("ok", (c:append("b", "a", 2, log, prev_index, 6 - prev_index)))
      local result = c:take("b", "append_result")[1]
      assert.same({ true, 6 }, { result.success, result.match })
      assert.equal(0, #c.a.writes)
    end
    assert.equal(6, c.a:status().last_index)
  end)

  bug(25, "acknowledges an append that ends before its snapshot", { "rejected_below_snapshot" }, function()
    local c = follower {}
    send_all(c, 2, snapshot)
    c.a:persist()
    c.a:install()
    c:take "b"
    for prev_index = 0, 4 do
      assert.equal("ok", (c:append("b", "a", 2, log, prev_index, prev_index % 2)))
      local result = c:take("b", "append_result")[1]
      assert.same({ true, 5 }, { result.success, result.match })
    end
  end)

  bug(28, "answers one that is older than what it has committed, and keeps its log",
    { "older_snapshot_installed" }, function()
    local c = follower(log)
    c:append("b", "a", 2, log, 6, 0, { commit = 6 })
    c:take "b"
    local older = Cluster.snapshot_of(Cluster.log { 1, 1, 1 }, 3, configuration)
    c:chunk("b", "a", 2, older, 1)
    local result = answer(c)
    assert.same({ INSTALLED, 6 }, { result.status, result.match })
    c.a:restart()
    c:append("b", "a", 2, log, 6, 0, { commit = 6 })
    applied(c)
    c.a:take_snapshot()
    c:take "b"
    for attempt = 1, 2 do c:chunk("b", "a", 2, snapshot, attempt, 0, attempt == 2 and 5 or 0) end
    assert.same({ 6, 6, 0 }, { c.a:status().last_index, c.a:status().snapshot_index, #c.a.chunk_writes })
  end)

  bug(29, "finds either the old log or the snapshot after a crash around an install", {}, function()
    for _, done in ipairs { false, true } do
      local c = follower(Cluster.log { 1, 1, 1, 1 })
      send_all(c, 2, snapshot)
      c.a:persist()
      if done then c.a:install() end
      c.a:restart()
      assert.equal(done and 5 or 4, c.a:status().last_index)
      c:chunk("b", "a", 2, snapshot, 5)
      if not done then
        c.a:write_chunk() -- all of it is still there
        assert.equal(1, #c.a.installs)
        c.a:install()
      end
      assert.equal(INSTALLED, answer(c).status)
      assert.equal(5, c.a:status().last_index)
    end
  end)

  bug(31, "its transfer ends with its term, and is not alive when it is elected again",
    { "transfer_outlives_term" }, function()
    local c = leader(9)
    want(c, ask(c), 0)
    local read = c.a.chunk_reads[1]
    c.a:receive { type = "append_result", from = "c", term = 2, success = false, prev_index = 0 }
    assert.equal("follower", c.a:role())
    c.a:persist()
    c:crown "a"
    c:take "b"
    assert.same({ "probe", 0, 0 }, { c.a:status().peers.b.progress, c.a:status().peers.b.match,
      c.a:status().peers.b.snapshot_index })
    c.a:event { type = "chunk_read", token = read.token, bytes = "0123456789" }
    assert.equal(0, #c:take("b", "install_snapshot"))
  end)
end
