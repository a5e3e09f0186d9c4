-- Cores without a host: effects carried between them by hand, over queues and disks that the spec controls.
--
--   local cluster = Cluster.new { ids = { "a", "b", "c" } }
--   cluster:elect "a"
--   cluster.a:propose "x"        -- what follows waits: writes in a.writes, messages in the queue
--   cluster:settle()             -- ... until disks and network are let go
--
-- Times are the virtual clock's, in microseconds; the election timeout is Cluster.T, a heartbeat Cluster.HEARTBEAT.
-- After every step it is checked that what left was true: votes, requests and acknowledgements are implied by what the
-- disk holds, one leader per term ever, one vote per server and term, and what is committed never changes.
-- Snapshots, taken, on their way and installed, are in raft_snapshots.lua; entries that a disk has no more stay in its
-- list as { gone = true }.
local core = require "moonclave.core"
local formats = require "moonclave.formats"

-- The stories of numbered bugs are told again to builds in which one guard is off (raft/mutants_spec.lua).
core.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "")

local Cluster, Server = {}, {}
Cluster.__index, Server.__index = Cluster, Server

Cluster.T = 1000000
Cluster.HEARTBEAT = 100000
Cluster.TYPE = { noop = 0, configuration = 1, init = 2, command = 4 }

-- ---- logs and configurations ----

local function chain_up(log, entry)
  local before = log[#log]
  entry.index = #log + 1
  entry.time_ms = entry.time_ms or 0
  entry.chain = formats.entry_chain(entry, before and before.chain or 0)
  log[#log + 1] = entry
end

-- A log from its terms: equal terms at equal indexes are equal entries. `special` replaces entries by index.
function Cluster.log(terms, special)
  local log = {}
  for index, term in ipairs(terms) do
    local entry = { type = Cluster.TYPE.command, term = term, payload = ("%d.%d"):format(term, index) }
    for name, value in pairs(special and special[index] or {}) do entry[name] = value end
    chain_up(log, entry)
  end
  return log
end

-- { "a", "b" } or { voters = {}, learners = {}, leaving = {}, outgoing = {} } -> bytes; by id: priorities,
-- incarnations, ports, where they are not the usual ones.
function Cluster.configuration(members)
  local servers = {}
  local function of(table, id, usual) return table and table[id] or usual end
  local function add(ids, role)
    for _, id in ipairs(ids or {}) do
      servers[#servers + 1] = { id = id, incarnation = of(members.incarnations, id, 1), role = role,
        priority = of(members.priorities, id, 0),
        addresses = { { kind = "node", host = "127.0.0.1", port = of(members.ports, id, 5000 + id:byte()) } } }
    end
  end
  add(members.voters or members, 0)
  add(members.learners, 1)
  add(members.leaving, 2)
  table.sort(servers, function(x, y) return x.id < y.id end)
  return formats.configuration_encode { previous = 0, servers = servers, outgoing = members.outgoing }
end

function Cluster.configuration_entry(term, members)
  return { type = Cluster.TYPE.configuration, term = term, payload = Cluster.configuration(members) }
end

function Cluster.terms(log)
  local terms = {}
  for index, entry in ipairs(log) do terms[index] = entry.term end
  return terms
end

-- ---- one server ----

function Server:event(event)
  assert(self.core, self.id .. " is down")
  event.now_us = math.floor(self.cluster.now_us * self.rate)
  local effects, code, text = self.core:step(event)
  self.effects, self.code, self.text = effects, code, text
  self.steps = self.steps + 1
  for _, effect in ipairs(effects) do self["on_" .. effect.type](self, effect) end
  self.cluster:check(self)
  return code, text
end

function Server:on_persist(effect)
  self.writes[#self.writes + 1] = effect
  self.persists = self.persists + 1
end

function Server:on_send(effect) self.cluster:queue(self, effect.message) end

-- The machine applies in the next step it is given; here it is asked to at once.
function Server:on_apply(effect)
  assert(effect.first == self.applied + 1, "APPLY has a gap")
  for index = effect.first, effect.last do
    local entry = self.disk.log[index]
    assert(entry, "applied before it was durable")
    self.cluster:committed(self, entry)
  end
  self.applied = effect.last
  self.apply_due = true
end

function Server:on_read_log(effect) self.log_reads[#self.log_reads + 1] = effect end

function Server:on_transfer_failed(effect) self.transfer_failed = effect.target end
function Server:on_forgot(effect) self.forgotten[#self.forgotten + 1] = effect end

function Server:on_read_ready(effect)
  assert(self.reads[effect.context] == nil, "a read is answered once")
  assert(effect.index >= (self.floors[effect.context] or 0), "a read does not see a write acknowledged before it")
  self.reads[effect.context] = effect.index
end

function Server:on_read_failed(effect)
  assert(self.reads[effect.context] == nil, "a read is answered once")
  self.reads[effect.context] = "failed"
end

function Server:on_role(effect) self.role_told = effect end
function Server:on_configuration(effect) self.configuration_told = effect end
function Server:on_deadline(effect) self.deadline_us = math.ceil(effect.at_us / self.rate) end

function Server:status() return self.core:status() end
function Server:role() return self:status().role end
function Server:timer()
  self.deadline_us = nil
  return self:event { type = "timer" }
end
function Server:receive(message)
  message.to = message.to or self.id
  return self:event { type = "receive", message = message }
end
function Server:read(context, mode, ask)
  self.floors[context] = self.cluster.acknowledged
  return self:event { type = "read", context = context, mode = mode, ask = ask }
end
function Server:transfer(target) return self:event { type = "transfer", target = target or "" } end

-- Asks for a whole new configuration; returns the code, the refusal and the event with the entry's index and term.
-- options: expected (the present one when absent), forced
function Server:configure(members, options)
  options = options or {}
  local event = { type = "configure", forced = options.forced, wanted = Cluster.configuration(members),
    expected = options.expected or self:status().configuration_index }
  local code = self:event(event)
  return code, event.refusal, event
end
function Server:unreachable(peer) return self:event { type = "unreachable", peer = peer } end

-- Proposes one command for each argument; returns the code and the entries as they were assigned.
function Server:propose(...)
  local entries = {}
  for i, payload in ipairs { ... } do
    entries[i] = { type = Cluster.TYPE.command, time_ms = self.cluster.now_us // 1000, payload = payload }
  end
  local code, text = self:event { type = "propose", entries = entries }
  return code, entries, text
end

-- Completes the oldest `count` writes (all of them when absent) with one report.
function Server:persist(count)
  count = count or #self.writes
  if count == 0 then return end
  local last
  for _ = 1, count do
    local write = table.remove(self.writes, 1)
    local disk = self.disk
    if write.term then disk.term, disk.vote = write.term, write.vote end
    if write.truncate_from then
      for index = #disk.log, write.truncate_from, -1 do disk.log[index] = nil end
    end
    for _, entry in ipairs(write.entries) do
      assert(entry.index == #disk.log + 1, ("write of %d at the end of %d"):format(entry.index, #disk.log))
      disk.log[entry.index] = entry
    end
    last = write.sequence
  end
  return self:event { type = "persisted", sequence = last }
end

-- The disk is full: every outstanding write is rolled back.
function Server:refuse()
  local first = assert(self.writes[1], "nothing to refuse").sequence
  self.writes = {}
  return self:event { type = "persist_refused", sequence = first }
end

function Server:answer_log_read(entries)
  local read = assert(table.remove(self.log_reads, 1), "nothing was asked of the disk")
  if not entries then
    local bytes = 0
    entries = {}
    for index = read.first, read.last do
      local entry = self.disk.log[index]
      if entry.gone then break end
      bytes = bytes + 72 + #entry.payload
      if #entries > 0 and bytes > read.max_bytes then break end
      entries[#entries + 1] = entry
    end
  end
  return self:event { type = "log_read", token = read.token, entries = entries }
end

function Server:start()
  local disk, runs, configurations = self.disk, {}, {}
  for index = disk.base.index + 1, #disk.log do
    local entry = disk.log[index]
    if #runs == 0 or runs[#runs].term ~= entry.term then
      runs[#runs + 1] = { first = entry.index, term = entry.term }
    end
    if entry.type == Cluster.TYPE.configuration then configurations[#configurations + 1] = entry end
  end
  local last = disk.log[#disk.log]
  self.settings.id = self.id
  self.core = core.new(self.settings)
  self.writes, self.log_reads, self.reads, self.floors = {}, {}, {}, {}
  self.transfer_failed, self.forgotten = nil, {}
  self.applied, self.deadline_us = disk.snapshot and disk.snapshot.meta.index or 0, nil
  self:begin_snapshots()
  self.cluster.seed = self.cluster.seed + 1
  return self:event { type = "start", seed = self.cluster.seed, incarnation = disk.incarnation or 0, durable = {
    term = disk.term, vote = disk.vote,
    snapshot = disk.snapshot and disk.snapshot.meta or { configuration = disk.configuration }, base = disk.base,
    last_index = #disk.log, last_chain = last and last.chain, last_time_ms = last and last.time_ms,
    runs = runs, configurations = configurations,
  } }
end

-- Everything not written is gone; messages already sent are still on their way.
function Server:crash()
  self.core:close()
  self.core = nil
end

function Server:restart()
  if self.core then self:crash() end
  return self:start()
end

-- ---- the cluster ----

-- ids; run (those that exist as cores: the spec plays the others; all when absent); members (as for configuration;
-- the ids when absent); blank: by id, those that do not know them; settings; disks: by id { term=, vote=, log=,
-- compacted= }
-- (a snapshot of that index is there, and nothing of the log before it); rates: by id, how fast its clock runs
function Cluster.new(options)
  local self = setmetatable({ now_us = 1000000, seed = options.seed or 1, messages = {}, played = {}, ids = {},
    leaders = {}, votes = {}, acknowledged = 0, commit_index = 0, committed_entries = {}, cut_links = {},
    servers = {} }, Cluster)
  local configuration = Cluster.configuration(options.members or options.ids)
  if options.members == false then configuration = "" end
  for _, id in ipairs(options.run or options.ids) do
    local disk = options.disks and options.disks[id] or {}
    local log = disk.log or {}
    local settings = { election_timeout_us = Cluster.T, heartbeat_us = Cluster.HEARTBEAT, tail_bytes_max = 1 << 20 }
    for name, value in pairs(options.settings or {}) do settings[name] = value end
    local server = setmetatable({ id = id, cluster = self, settings = settings, steps = 0, persists = 0,
      rate = options.rates and options.rates[id] or 1,
      disk = { term = disk.term or 0, vote = disk.vote or "", incarnation = disk.incarnation,
        log = table.move(log, 1, #log, 1, {}),
        configuration = options.blank and options.blank[id] and "" or configuration,
        base = { index = 0, term = 0, chain = 0 }, snapshots = {} } }, Server)
    if disk.compacted then server:begin_compacted(disk.compacted) end
    local last = server.disk.log[#server.disk.log]
    if last and server.disk.term < last.term then server.disk.term = last.term end
    self[id], self.servers[#self.servers + 1], self.ids[id] = server, server, true
  end
  for _, server in ipairs(self.servers) do server:start() end
  return self
end

function Cluster:queue(server, message)
  assert(message.from == server.id and message.to ~= "")
  self:check_message(server, message)
  if self.cut_links[message.from .. ">" .. message.to] then return end
  if self.ids[message.to] then
    self.messages[#self.messages + 1] = message
  else
    local box = self.played[message.to] or {}
    box[#box + 1] = message
    self.played[message.to] = box
  end
end

-- What was sent to a server that the spec plays, since it was last asked; of one type, where given.
function Cluster:take(id, type)
  local box, taken, kept = self.played[id] or {}, {}, {}
  for _, message in ipairs(box) do
    local list = (not type or message.type == type) and taken or kept
    list[#list + 1] = message
  end
  self.played[id] = kept
  return taken
end

-- Delivers what is queued now, in order; what it leads to stays queued. filter(message) false: it stays too.
function Cluster:deliver(filter)
  local messages = self.messages
  self.messages = {}
  for _, message in ipairs(messages) do
    if filter and not filter(message) then
      self.messages[#self.messages + 1] = message
    elseif self[message.to].core then
      self[message.to]:receive(message)
    end
  end
end

function Cluster:drop(filter)
  local kept = {}
  for _, message in ipairs(self.messages) do
    if filter and not filter(message) then kept[#kept + 1] = message end
  end
  local dropped = #self.messages - #kept
  self.messages = kept
  return dropped
end

-- Disks, machines and network until all is quiet. Servers with `stuck` set keep their writes waiting.
function Cluster:settle(rounds)
  for _ = 1, rounds or 1000 do
    local busy = #self.messages > 0
    self:deliver()
    for _, server in ipairs(self.servers) do
      if server.core then
        if #server.writes > 0 and not server.stuck then
          busy = true
          if server.full then server:refuse() else server:persist() end
        end
        while server.core and #server.log_reads > 0 do
          busy = true
          server:answer_log_read()
        end
        if server.core and not server.stuck and server:settle_snapshots() then busy = true end
        if server.apply_due then
          server.apply_due = false
          server:event { type = "applied", index = server.applied }
        end
      end
    end
    if not busy then return end
  end
  if not rounds then error "it does not come to rest" end
end

-- Only messages between these servers, and their disks, until all is quiet; what others send waits.
function Cluster:settle_among(ids)
  local among = {}
  for _, id in ipairs(ids) do among[id] = true end
  for _ = 1, 100 do
    self:deliver(function(message) return among[message.from] and among[message.to] end)
    local busy = false
    for _, id in ipairs(ids) do
      local server = self[id]
      if #server.writes > 0 then
        busy = true
        server:persist()
      end
    end
    for _, message in ipairs(self.messages) do busy = busy or (among[message.from] and among[message.to]) end
    if not busy then return end
  end
  error "it does not come to rest"
end

-- Lets time pass, each deadline in its order.
function Cluster:advance(us, settle)
  local until_us = self.now_us + us
  while true do
    local next_one
    for _, server in ipairs(self.servers) do
      local at = server.core and server.deadline_us
      if at and at <= until_us and (not next_one or at < next_one.deadline_us) then next_one = server end
    end
    if not next_one then break end
    self.now_us = math.max(self.now_us, next_one.deadline_us)
    next_one:timer()
    if settle ~= false then self:settle() end
  end
  self.now_us = until_us
end

-- Long enough after anything was heard, this server's timer runs out first.
function Cluster:timeout(id)
  self.now_us = self.now_us + 2 * Cluster.T
  self[id]:timer()
end

function Cluster:elect(id)
  self:timeout(id)
  self:settle()
  assert(self[id]:role() == "leader", id .. " was not elected")
  return self[id]
end

-- The same where the spec plays the peers: they grant whatever is asked of them. The leader's NOOP is left unwritten,
-- what it sends is in the peers' boxes.
function Cluster:crown(id)
  local server = self[id]
  self:timeout(id)
  for _ = 1, 2 do
    server:persist()
    for peer in pairs(self.played) do
      for _, request in ipairs(self:take(peer, "request_vote")) do
        if server:role() ~= "leader" then
          server:receive { type = "vote", from = peer, term = request.term, pre = request.pre, granted = true }
        end
      end
    end
  end
  assert(server:role() == "leader", id .. " was not elected")
  return server
end

-- An append as a played leader sends it: `entries` follow prev_index in `log` (a played leader's whole log).
function Cluster:append(from, to, term, log, prev_index, count, fields)
  local message = { type = "append", from = from, to = to, term = term, prev_index = prev_index,
    prev_term = prev_index > 0 and log[prev_index].term or 0, commit = 0, round = 0, entries = {} }
  for index = prev_index + 1, prev_index + count do message.entries[#message.entries + 1] = log[index] end
  for name, value in pairs(fields or {}) do message[name] = value end
  return self[to]:receive(message)
end

-- A played follower's acknowledgement of everything up to `match`.
function Cluster:ack(from, to, match, fields)
  local message = { type = "append_result", from = from, to = to, term = self[to]:status().term, success = true,
    prev_index = match, match = match, last_index = match, round = 0 }
  for name, value in pairs(fields or {}) do message[name] = value end
  return self[to]:receive(message)
end

function Cluster:leader()
  local found
  for _, server in ipairs(self.servers) do
    if server.core and server:role() == "leader" then
      if not found or server:status().term > found:status().term then found = server end
    end
  end
  return found
end

function Cluster:cut(from, to) self.cut_links[from .. ">" .. to] = true end
function Cluster:isolate(id)
  for other in pairs(self.ids) do
    self:cut(id, other)
    self:cut(other, id)
  end
  self:drop(function(message) return message.from == id or message.to == id end)
end
function Cluster:heal() self.cut_links = {} end

function Cluster:close()
  for _, server in ipairs(self.servers) do
    if server.core then server:crash() end
  end
end

-- ---- what must always hold ----

function Cluster:check(server)
  local status = server.core:status()
  if status.role == "leader" then
    local before = self.leaders[status.term]
    assert(not before or before == server.id, ("two leaders in term %d"):format(status.term))
    if not before then self:check_complete(server) end
    self.leaders[status.term] = server.id
    -- A leader acknowledges what it has committed and applied: whoever asks after that must see it.
    self.acknowledged = math.max(self.acknowledged, server.applied)
  end
  self.commit_index = math.max(self.commit_index, status.commit_index)
  self:check_configuration(server, status)
  assert(status.durable_index <= #server.disk.log, "more is thought durable than was written")
end

-- A new leader holds whatever was committed before: its log was durable when it asked for votes (§5.4).
function Cluster:check_complete(server)
  for index, chain in pairs(self.committed_entries) do
    local entry = server.disk.log[index]
    local in_snapshot = index < server.disk.base.index -- the entry at its end still has its chain
    assert(in_snapshot or entry and entry.chain == chain,
      ("%s leads without committed entry %d"):format(server.id, index))
  end
end

-- At most one configuration is not committed (by anyone's knowledge), ever.
function Cluster:check_configuration(server, status)
  if not self.watch_configurations or status.role ~= "leader" then return end
  local uncommitted = 0
  for index = self.commit_index + 1, status.last_index do
    local entry = server.core:entry(index)
    if entry and entry.type == Cluster.TYPE.configuration then uncommitted = uncommitted + 1 end
  end
  assert(uncommitted <= 1, server.id .. " has two uncommitted configurations")
end

function Cluster:check_message(server, message)
  local disk = server.disk
  if message.type == "vote" and message.granted and not message.pre then
    assert(disk.term > message.term or (disk.term == message.term and disk.vote == message.to),
      "a vote left before it was durable")
    local key = message.from .. " in " .. message.term
    assert(not self.votes[key] or self.votes[key] == message.to, "a second vote of " .. key)
    self.votes[key] = message.to
  elseif message.type == "request_vote" and not message.pre then
    assert(disk.term == message.term and disk.vote == server.id, "a vote request left before its term was durable")
    local last = disk.log[#disk.log]
    assert(message.last_index == #disk.log and message.last_term == (last and last.term or 0),
      "a vote request left before its log was durable")
  elseif message.type == "append_result" then
    assert(disk.term >= message.term, "an answer left before its term was durable")
    if message.success then
      assert(message.match <= #disk.log, "an acknowledgement left before it was durable")
    end
  elseif message.type == "snapshot_result" then
    assert(disk.term >= message.term, "an answer left before its term was durable")
    if message.status == Cluster.INSTALLED then
      assert(message.match <= #disk.log, "a snapshot was said to be here before it was")
    end
  elseif message.type == "append" then
    assert(message.commit <= message.prev_index + #message.entries, "a commit index past what can be verified")
  end
end

function Cluster:committed(server, entry)
  local before = self.committed_entries[entry.index]
  assert(not before or before == entry.chain, ("%s: committed entry %d changed"):format(server.id, entry.index))
  self.committed_entries[entry.index] = entry.chain
end

require "support.raft_snapshots"(Cluster, Server)

return Cluster
