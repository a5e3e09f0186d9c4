-- Snapshots for the cores of raft_cluster.lua. A machine's state is its index and the chain there, drawn out to some
-- bytes, so that every server's snapshot of an index has the same, and a wrong one is seen when it is installed.
--
--   server:take_snapshot()      at what is applied; complete, synced, and told to the core
--   server.chunk_reads, .chunk_writes, .installs, .compactions     effects that wait
--   server:answer_chunk_read([bytes]), :write_chunk(), :fail_chunk(), :install(), :fail_install(), :compact()
return function(Cluster, Server)
  Cluster.WANTED, Cluster.INSTALLED, Cluster.REFUSED = 0, 1, 2

  function Cluster.snapshot_bytes(index, chain)
    local text = ("%d:%016x;"):format(index, chain)
    return text .. text:rep(index % 3)
  end

  -- As another server would have taken it of a log; configuration: bytes.
  function Cluster.snapshot_of(log, index, configuration, configuration_index)
    local bytes = Cluster.snapshot_bytes(index, log[index].chain)
    return { bytes = bytes, meta = { index = index, term = log[index].term, chain = log[index].chain, format_level = 1,
      system_hash = 0, state_hash = log[index].chain, size = #bytes, configuration_index = configuration_index or 0,
      configuration = configuration } }
  end

  -- A chunk as a played leader sends it; without a size an offer.
  function Cluster:chunk(from, to, term, snapshot, attempt, offset, size)
    return self[to]:receive { type = "install_snapshot", from = from, to = to, term = term, meta = snapshot.meta,
      attempt = attempt, offset = offset or 0,
      chunk = snapshot.bytes:sub((offset or 0) + 1, (offset or 0) + (size or 0)) }
  end

  -- A disk whose log up to `index` is in a snapshot.
  function Server:begin_compacted(index)
    local disk, configuration, at = self.disk, self.disk.configuration, 0
    for i = 1, index do
      if disk.log[i].type == Cluster.TYPE.configuration then configuration, at = disk.log[i].payload, i end
    end
    disk.snapshot = Cluster.snapshot_of(disk.log, index, configuration, at)
    disk.snapshots[index] = disk.snapshot
    self:forget_log(index)
  end

  function Server:forget_log(up_to)
    local disk, last = self.disk, self.disk.log[up_to]
    for index = disk.base.index + 1, up_to do disk.log[index] = { gone = true, index = index, term = 0 } end
    disk.log[up_to].term, disk.log[up_to].chain = last.term, last.chain
    disk.base = { index = up_to, term = last.term, chain = last.chain }
  end

  function Server:begin_snapshots()
    self.chunk_reads, self.chunk_writes, self.installs, self.compactions = {}, {}, {}, {}
    for index in pairs(self.disk.snapshots) do -- orphans
      if index ~= self.applied then self.disk.snapshots[index] = nil end
    end
  end

  function Server:on_chunk_read(effect) self.chunk_reads[#self.chunk_reads + 1] = effect end
  function Server:on_chunk_write(effect) self.chunk_writes[#self.chunk_writes + 1] = effect end
  function Server:on_compact(effect) self.compactions[#self.compactions + 1] = effect end

  function Server:on_snapshot_install(effect)
    assert(#self.installs == 0, "one install at a time")
    assert(#self.writes == 0, "an install before the writes it follows")
    self.installs[1] = effect
  end

  function Server:take_snapshot()
    local index = self.applied
    local meta = self.core:prepare(index)
    local entry = self.disk.log[index]
    assert(meta.term == entry.term and (meta.chain == 0 or meta.chain == entry.chain))
    meta.chain, meta.format_level, meta.state_hash = entry.chain, 1, entry.chain
    local bytes = Cluster.snapshot_bytes(index, entry.chain)
    meta.size = #bytes
    local snapshot = { meta = meta, bytes = bytes }
    self.disk.snapshots[index], self.disk.snapshot = snapshot, snapshot
    self:event { type = "snapshot_taken", snapshot = meta }
    return snapshot
  end

  function Server:answer_chunk_read(bytes)
    local read = assert(table.remove(self.chunk_reads, 1), "no chunk was asked for")
    local snapshot = self.disk.snapshots[read.snapshot.index]
    for _, peer in pairs(self:status().peers) do
      local on_its_way = peer.snapshot_index == read.snapshot.index
      assert(snapshot or not on_its_way, "a snapshot was forgotten while it was on its way")
    end
    bytes = bytes or snapshot and snapshot.bytes:sub(read.offset + 1, read.offset + read.max_bytes) or ""
    return self:event { type = "chunk_read", token = read.token, bytes = bytes }
  end

  local function same(a, b)
    for name, value in pairs(a) do
      if b[name] ~= value then return false end
    end
    return true
  end

  -- What is there of it is kept across restarts: disk.incoming.
  function Server:write_chunk()
    local write = assert(table.remove(self.chunk_writes, 1), "no chunk was to be written")
    local disk = self.disk
    local known = disk.incoming and same(disk.incoming.meta, write.snapshot)
    if write.bytes == "" and not known then
      disk.incoming, known = { meta = write.snapshot, bytes = "" }, true
    end
    if known and write.offset == #disk.incoming.bytes then disk.incoming.bytes = disk.incoming.bytes .. write.bytes end
    return self:event { type = "chunk_written", token = write.token, offset = known and #disk.incoming.bytes or 0 }
  end

  function Server:fail_chunk()
    return self:event { type = "snapshot_failed", token = table.remove(self.chunk_writes, 1).token }
  end

  function Server:install()
    local install = assert(table.remove(self.installs, 1), "nothing was to be installed")
    local disk, meta = self.disk, install.snapshot
    assert(disk.incoming.bytes == Cluster.snapshot_bytes(meta.index, meta.chain), "another snapshot than was taken")
    local committed = self.cluster.committed_entries[meta.index]
    assert(not committed or committed == meta.chain, "a snapshot of what was not committed")
    disk.snapshot = disk.incoming
    disk.snapshots[meta.index], disk.incoming = disk.snapshot, nil
    disk.log, disk.base = {}, { index = meta.index, term = meta.term, chain = meta.chain }
    for index = 1, meta.index do disk.log[index] = { gone = true, index = index, term = 0, payload = "" } end
    disk.log[meta.index].term, disk.log[meta.index].chain = meta.term, meta.chain
    self.applied, self.apply_due = meta.index, false
    return self:event { type = "snapshot_installed", token = install.token }
  end

  function Server:fail_install()
    return self:event { type = "snapshot_failed", token = table.remove(self.installs, 1).token }
  end

  function Server:compact()
    local compact = assert(table.remove(self.compactions, 1), "nothing was to be compacted")
    local disk = self.disk
    if compact.up_to > disk.base.index then self:forget_log(compact.up_to) end
    for index in pairs(disk.snapshots) do
      if index < compact.snapshot_from then disk.snapshots[index] = nil end
    end
  end

  -- Everything that waits, once. false: nothing did.
  function Server:settle_snapshots()
    local busy = #self.chunk_reads + #self.chunk_writes + #self.installs + #self.compactions > 0
    while #self.compactions > 0 do self:compact() end
    if #self.chunk_reads > 0 then self:answer_chunk_read() end
    if #self.chunk_writes > 0 then self:write_chunk() end
    if #self.installs > 0 then self:install() end
    return busy
  end
end
