-- A world that the spec moves by hand: hosts whose disk, network, clock and machine are Lua tables. Nothing happens by
-- itself: writes wait in node.writes, packets in world.wire, and time stands still.
--
--   local w <close> = world.new { nodes = 3 }
--   w:bootstrap()                  -- hellos all around, first configuration stored, nobody leads yet
--   w:elect "n1"                   -- n1's timer fires until it leads; everything under way is carried out
--   local ticket = w.n1:submit "x" -- a command; w.n1.replies[ticket] is { code =, body = } once it is answered
--   w:settle()                     -- turns, writes and packets until there is nothing left to do
local base = require "moonclave.base"
local formats = require "moonclave.formats"
local files = require "host.world_files"
local host = require "moonclave.host"

host.mutant(os.getenv "MOONCLAVE_GUARD_OFF" or "") -- raft/mutants_spec.lua tells stories to a build without a guard

local World = {}
World.__index = World
local Node = {}
Node.__index = Node

local M = { host = host }

function M.new(options)
  options = options or {}
  local w = setmetatable({
    now = 1000000, wall = 1700000000000, wire = {}, links = {}, nodes = {}, ticket = 0, options = options,
    cut = {},
  }, World)
  w.peers = {}
  for i = 1, options.nodes or 1 do w.peers[i] = "127.0.0.1:" .. 5000 + i end
  for i = 1, options.nodes or 1 do w:add("n" .. i, { address = w.peers[i] }) end
  return w
end

World.__close = function(self)
  for _, node in ipairs(self.nodes) do node:crash() end
end

-- A node that is not started yet. `options` go to host.new.
function World:add(id, options)
  local node = setmetatable({ world = self, id = id, options = options or {}, disk = nil }, Node)
  self.nodes[#self.nodes + 1] = node
  self[id] = node
  node:wipe()
  return node
end

-- ---- one node ----

local incarnations = 100

-- A new, blank disk.
function Node:wipe()
  incarnations = incarnations + 1
  self.disk = { incarnation = incarnations, cluster = 0, configuration = "", term = 0, vote = "", entries = {},
    base = { index = 0, term = 0, chain = 0 }, snapshots = {} }
  self.page = { applying = 0, suspect = 0, count = 0 }
end

-- What the process before left in its page (node/deaths.c).
local function count_deaths(page)
  if page.applying ~= 0 then
    page.count = page.suspect == page.applying and page.count + 1 or 1
    page.suspect, page.applying = page.applying, 0
  end
  return page.suspect, page.count
end

local function machine_of(node)
  local machine = { commands = {}, hash_value = 0 }
  node.machine = machine
  return {
    configure = not node.options.no_configure and function(settings) machine.settings = settings end or nil,
    load = function(entry, bundle, config)
      machine.load_count = (machine.load_count or 0) + 1
      machine.bundle, machine.config, machine.loaded_at = bundle, config, entry
      if node.on_load then return node.on_load() end
      return bundle:match "BROKEN" and "fsm.lua:1: it is broken" or nil
    end,
    apply = function(entry, body)
      local other = node.on_apply and node.on_apply(entry, body)
      machine.commands[#machine.commands + 1] = { entry = entry, body = body }
      machine.hash_value = machine.hash_value * 31 + #body + entry.index
      if body:match "^exhaust" and not node.strong then return "", "internal" end
      if body:match "^reject" then return "rejected " .. body, "rejected" end
      return other or ("done %d %s"):format(#machine.commands, body)
    end,
    query = function(body)
      if node.on_query then node.on_query(body) end
      if body:match "^exhaust" then return "", "internal" end
      return ("answer %d %s"):format(#machine.commands, body)
    end,
    hash = function() return machine.hash_value end,
    snapshot_begin = function() return files.machine_begin(machine) end,
    snapshot_step = function(work) return files.machine_step(machine, work) end,
    snapshot_end = function() machine.writing = nil end,
    restore_begin = function(entry, bundle)
      machine.bundle, machine.loaded_at, machine.commands, machine.hash_value = bundle, entry, {}, 0
      machine.load_count = (machine.load_count or 0) + 1
      machine.reading = ""
      if node.on_load and node.on_load() then return "script_error", node.on_load() end
    end,
    restore_feed = function(bytes) return files.machine_feed(machine, bytes) end,
    restore_finish = function(entry, hash) return files.machine_finish(machine, entry, hash) end,
    upgrade_begin = function(entry, bundle)
      assert(not machine.upgrade, "an upgrade begins before the last one has ended")
      assert(not machine.staged, "an upgrade begins while a state is staged")
      local from = machine.version or 1
      local to = math.tointeger(bundle:match "version (%d+)") or from
      if bundle:match "BROKEN" then return "script_error", "fsm.lua:1: it is broken", from, to end
      machine.upgrade = { bundle = bundle, loaded_at = entry, version = to,
        left = math.tointeger(bundle:match "(%d+) steps") or 1 }
      return nil, nil, from, to
    end,
    upgrade_step = function()
      local upgrade = machine.upgrade
      if node.on_upgrade then node.on_upgrade(upgrade) end
      upgrade.left = upgrade.left - 1
      if upgrade.left > 0 then return true end
      machine.upgrade = nil
      if upgrade.bundle:match "EXHAUST" and not node.strong then return false, "internal", "no memory" end
      if upgrade.bundle:match "RAISES" then return false, "script_error", "migrate: it raises" end
      machine.bundle, machine.loaded_at, machine.version = upgrade.bundle, upgrade.loaded_at, upgrade.version
      machine.hash_value = machine.hash_value * 31 + upgrade.version
      return false
    end,
    upgrade_end = function() machine.upgrade = nil end,
    -- What `node.on_stage` answers, the name of an error and its text, is what feeding or taking ends with.
    stage_begin = function(entry, bundle, settings)
      machine.staged_under = settings
      assert(not machine.staged, "a state is staged before the last one was ended")
      if bundle:match "BROKEN" then return "script_error", "fsm.lua:1: it is broken" end
      machine.staged = { commands = {}, hash_value = 0, reading = "", bundle = bundle, loaded_at = entry }
    end,
    stage_feed = function(bytes)
      local code, text
      if node.on_stage then code, text = node.on_stage "feed" end
      return code and 0 or files.machine_feed(machine.staged, bytes), code, text
    end,
    stage_take = function(entry, bundle, last, hash, settings)
      machine.taken_under = settings
      if node.on_stage and node.on_stage "take" then return node.on_stage "take" end
      local staged = machine.staged
      assert(not machine.writing, "it is taken in the middle of a snapshot")
      assert(staged.bundle == bundle and staged.loaded_at.index == entry.index, "loaded otherwise than tried")
      local code, text = files.machine_finish(staged, last, hash)
      if code then return code, text end
      machine.replaced = #machine.commands
      machine.bundle, machine.loaded_at, machine.commands = bundle, entry, staged.commands
      machine.hash_value, machine.taken_at = staged.hash_value, last
      machine.load_count = (machine.load_count or 0) + 1
    end,
    stage_end = function() machine.staged = nil end,
    stage_sweep = function() -- of what was replaced, a command a turn
      machine.replaced = machine.replaced - 1
      return machine.replaced > 0
    end,
  }
end

local function ports_of(node)
  local world = node.world
  local function packet(kind, to, fields)
    fields.kind, fields.from, fields.to = kind, node.id, to
    fields.identity = node:identity()
    world.wire[#world.wire + 1] = fields
  end
  return {
    now_us = function() return world.now end,
    wall_ms = function() return world.wall end,
    persist = function(write) node.writes[#node.writes + 1] = write end,
    bootstrap = function(configuration, cluster)
      node.writes[#node.writes + 1] = { configuration = configuration, cluster = cluster }
    end,
    log_read = function(token, first, last, max_bytes)
      node.log_reads[#node.log_reads + 1] = { token = token, first = first, last = last, max_bytes = max_bytes }
    end,
    snapshot = function(job) node.jobs[#node.jobs + 1] = job end,
    send = function(to, frame, name) packet("message", to, { frame = frame, name = name }) end,
    forward = function(to, ticket, request) packet("forward", to, { ticket = ticket, request = request }) end,
    forward_reply = function(to, ticket, code, body)
      packet("forward_reply", to, { ticket = ticket, code = code, body = body })
    end,
    peers = function(peers)
      node.peers = peers
      node.peers_told = node.peers_told + 1
      node.says_hello_again = node.peers_told > 1
    end,
    applying = function(index)
      local page = node.page
      if index == 0 and page.applying >= page.suspect then page.suspect, page.count = 0, 0 end
      page.applying = index
    end,
    timer = function(at) node.timer = at end,
    reply = function(ticket, code, body)
      assert(not node.within_submit, "answered from within host_submit")
      assert(node.asked[ticket], "an answer to nobody")
      assert(not node.replies[ticket], "answered twice")
      node.replies[ticket] = { code = code, body = body }
      node.reply_order[#node.reply_order + 1] = ticket
    end,
    role = function(role, term, leader) node.role, node.term, node.leader = role, term, leader end,
    loaded = function(bundle, config) node.loaded[#node.loaded + 1] = { bundle = bundle, config = config } end,
    settings = function(settings) node.settings = settings end,
    -- Only where the world has a policy: it decides in world:settle(), or it is asked for later.
    policy = world.options.policy and function(ticket, view)
      node.views[#node.views + 1] = { ticket = ticket, bytes = view, view = (base.unpack(view)) }
    end or nil,
    stopped = function() node.stopped = node.stopped + 1 end,
    fatal = function(code, text) node.fatal = { code = code, text = text } end,
    log = function(level, text) node.log[#node.log + 1] = level .. " " .. text end,
    event = function(kind, bytes)
      local data, size = base.unpack(bytes)
      assert(size == #bytes, "an event's data is one value")
      node.events[#node.events + 1] = { type = kind, data = data }
    end,
  }
end

-- Begins a process on the node's disk.
function Node:start(overrides)
  assert(not self.host, self.id .. " runs")
  local world, o = self.world, {}
  for k, v in pairs(self.options) do o[k] = v end
  for k, v in pairs(overrides or {}) do o[k] = v end
  local settings = { election_timeout_ms = 1000, heartbeat_ms = 100 }
  for k, v in pairs(world.options.settings or {}) do settings[k] = v end
  for k, v in pairs(o.settings or {}) do settings[k] = v end
  self.writes, self.log_reads, self.replies, self.asked, self.log, self.loaded = {}, {}, {}, {}, {}, {}
  self.jobs = files.open(self.disk)
  self.reply_order, self.events = {}, {}
  self.heard, self.stopped, self.fatal, self.timer, self.views = {}, 0, nil, 0, {}
  self.peers, self.peers_told, self.says_hello_again = {}, 0, false
  self.role, self.term, self.leader = nil, nil, nil
  local deadly, deaths = count_deaths(self.page)
  self.host = host.new {
    id = self.id, deadly = o.deadly or deadly, deaths = o.deaths or deaths,
    incarnation = self.disk.incarnation, cluster = self.disk.cluster,
    first_configuration = self.disk.configuration,
    address = o.address, peers = not o.join and (o.peers or world.peers) or nil, join = o.join,
    labels = o.labels, bundle = o.bundle or "BUNDLE", config = o.config or "\xC0",
    lua_release = o.lua_release or "5.4.4", seed = o.seed or #self.id * 1000 + self.disk.incarnation,
    apply_slice_us = o.apply_slice_us or 0, settings = settings, ports = ports_of(self), machine = machine_of(self),
  }
  local durable = {
    term = self.disk.term, vote = self.disk.vote, configuration = self.disk.configuration,
    entries = table.move(self.disk.entries, self.disk.base.index + 1, #self.disk.entries, 1, {}),
    base = self.disk.base, snapshot = self.disk.snapshot,
  }
  for k, v in pairs(o.durable or {}) do durable[k] = v end
  self.host:start(durable)
  return self
end

-- The process is gone; what was not written is lost. The others notice when they are told (world:lose).
function Node:crash()
  if not self.host then return end
  self.host:close()
  self.host = nil
  for link in pairs(self.world.links) do
    if link:match("^" .. self.id .. "%-") or link:match("%-" .. self.id .. "$") then self.world.links[link] = nil end
  end
end

function Node:identity()
  return { id = self.id, incarnation = self.disk.incarnation, cluster = self.host:hello().cluster }
end

function Node:turn()
  local turns = 0
  while self.host and not self.fatal and self.host:turn() do
    turns = turns + 1
    assert(turns < 10000, "a turn without end")
  end
end

local function carry_out(disk, write)
  if write.configuration then
    disk.configuration, disk.cluster = write.configuration, write.cluster
    return
  end
  if write.term then disk.term, disk.vote = write.term, write.vote end
  if write.truncate_from > 0 then
    for i = #disk.entries, write.truncate_from, -1 do disk.entries[i] = nil end
  end
  for _, bytes in ipairs(write.entries) do
    assert(formats.entry_decode(bytes).index == #disk.entries + 1, "a write that does not follow what is on the disk")
    disk.entries[#disk.entries + 1] = bytes
  end
end

-- Carries out and reports the writes that wait: all of them, or the first `count`.
function Node:flush(count)
  local done = 0
  while #self.writes > 0 and done < (count or math.huge) and not self.fatal do
    local write = table.remove(self.writes, 1)
    carry_out(self.disk, write)
    if write.configuration then
      self.host:bootstrapped()
    else
      self.host:persisted(write.sequence)
    end
    done = done + 1
  end
  return done > 0
end

-- The disk is full: the first write that waits was rolled back, and every later one.
function Node:refuse()
  local write = assert(self.writes[1], "nothing to refuse")
  self.writes = {}
  if write.configuration then
    self.host:bootstrapped("disk_full")
  else
    self.host:persisted(write.sequence, "disk_full")
  end
end

-- Carries out and reports the work on snapshots' files that waits, `most` of it; what is written to the log first.
function Node:work(most)
  local done = 0
  while #self.jobs > 0 and done < (most or math.huge) and not self.fatal do
    local job = table.remove(self.jobs, 1)
    if files.in_log_order[job.kind] then self:flush() end
    local report = files.carry_out(self.disk, job)
    if report then self.host:snapshot_done(report) end
    done = done + 1
  end
  return done > 0
end

-- The policy's answers to the views that wait: options.policy(view, node) gives a list of actions; or bytes; or nil and
-- what is wrong with it; or false: it does not answer.
function Node:decide()
  local views = self.views
  self.views = {}
  for _, asked in ipairs(views) do
    local actions, problem = self.world.options.policy(asked.view, self, asked.bytes)
    if type(actions) == "table" then actions = base.pack(actions) end
    if actions or problem then self.host:policy_decided(asked.ticket, actions or "", problem) end
  end
  return #views > 0
end

-- Answers the log reads that wait, `most` entries each.
function Node:read_log(most)
  local reads = self.log_reads
  self.log_reads = {}
  for _, read in ipairs(reads) do
    local entries = {}
    for i = read.first, math.min(read.last, #self.disk.entries, read.first + (most or math.huge) - 1) do
      if i <= self.disk.base.index then break end
      entries[#entries + 1] = self.disk.entries[i]
    end
    self.host:log_read(read.token, entries)
  end
  return #reads > 0
end

-- A client's request; answers its ticket.
function Node:submit(body, options)
  local world = self.world
  world.ticket = world.ticket + 1
  local request = { body = body, kind = "command" }
  for k, v in pairs(options or {}) do request[k] = v end
  self.asked[world.ticket] = true
  self.within_submit = true
  self.host:submit(world.ticket, request)
  self.within_submit = false
  return world.ticket
end

function Node:query(body, options)
  options = options or {}
  options.kind = "query"
  return self:submit(body, options)
end

-- About the cluster itself: node:admin("add", { id = "n4", address = ... })
function Node:admin(action, arguments, options)
  local o = { kind = "admin", timeout_ms = 60000 }
  for k, v in pairs(options or {}) do o[k] = v end
  return self:submit(base.pack { action, base.object(arguments or {}) }, o)
end

-- What was answered, as a value: code, body.
function Node:told(ticket)
  local reply = self.replies[ticket]
  if not reply then return nil end
  return reply.code, (base.unpack(reply.body))
end

-- What was answered: "ok done 1 x", "timeout"; nil: nothing yet.
function Node:answer(ticket)
  local reply = self.replies[ticket]
  if not reply then return nil end
  return reply.code == "ok" and "ok " .. reply.body or reply.code
end

function Node:logged(pattern)
  local found = 0
  for _, line in ipairs(self.log) do if line:find(pattern) then found = found + 1 end end
  return found
end

-- The events of one type, their data only.
function Node:told_of(kind)
  local found = {}
  for _, event in ipairs(self.events) do if event.type == kind then found[#found + 1] = event.data end end
  return found
end

function Node:counters() return self.host:status().counters end

-- ---- connections ----

local function link_name(a, b) return a < b and a .. "-" .. b or b .. "-" .. a end

-- One hello from a to b. true; or nil, code, text, and a has been told.
function World:hello(a, b, change)
  local from, to = self[a], self[b]
  local said = from.host:hello()
  for k, v in pairs(change or {}) do said[k] = v end
  local ok, code, text = to.host:receive_hello(said)
  if ok then
    to.heard[a] = { id = said.id, incarnation = said.incarnation, cluster = said.cluster }
    return true
  end
  from.host:refused(b, code, text)
  return nil, code, text
end

-- Both say hello. true; or nil, code, text of whoever refused first.
function World:connect(a, b)
  local ok, code, text = self:hello(a, b)
  if ok then ok, code, text = self:hello(b, a) end
  if ok then self.links[link_name(a, b)] = true end
  return ok, code, text
end

function World:connect_all()
  for i, a in ipairs(self.nodes) do
    for j = i + 1, #self.nodes do
      local b = self.nodes[j]
      if a.host and b.host and not self.links[link_name(a.id, b.id)] then self:connect(a.id, b.id) end
    end
  end
end

-- The connection breaks: what is on it is lost, and who lives notices.
function World:lose(a, b)
  self.links[link_name(a, b)] = nil
  for i = #self.wire, 1, -1 do
    local p = self.wire[i]
    if link_name(p.from, p.to) == link_name(a, b) then table.remove(self.wire, i) end
  end
  if self[a].host then self[a].host:peer_lost(b) end
  if self[b].host then self[b].host:peer_lost(a) end
end

-- Nothing gets through to or from a node until it is healed; nobody notices.
function World:isolate(id) self.cut[id] = true end
function World:heal(id) self.cut[id] = nil end

-- ---- moving ----

-- Delivers one packet, or drops it where there is no way.
function World:deliver(p)
  local to = self[p.to]
  if not to or not to.host or to.fatal then return end
  if self.cut[p.from] or self.cut[p.to] or not self.links[link_name(p.from, p.to)] then return end
  local identity = to.heard[p.from]
  if p.kind == "message" then
    assert(to.host:receive(identity, p.frame))
  elseif p.kind == "forward" then
    to.host:forwarded(identity, p.ticket, p.request)
  else
    to.host:forward_reply(identity, p.ticket, p.code, p.body)
  end
end

-- Takes the packets out of the wire that `wanted` answers true for (all without one).
function World:take(wanted)
  local taken, left = {}, {}
  for _, p in ipairs(self.wire) do
    local list = (not wanted or wanted(p)) and taken or left
    list[#list + 1] = p
  end
  self.wire = left
  return taken
end

function World:deliver_all(wanted)
  local packets = self:take(wanted)
  for _, p in ipairs(packets) do self:deliver(p) end
  return #packets > 0
end

local function say_hello_again(self)
  for _, node in ipairs(self.nodes) do
    if node.host and node.says_hello_again then
      node.says_hello_again = false
      for _, other in ipairs(self.nodes) do
        if self.links[link_name(node.id, other.id)] then self:hello(node.id, other.id) end
      end
    end
  end
end

-- Turns, writes, reads and packets until nothing is left; time stands still.
function World:settle()
  for _ = 1, 1000 do
    local moved = false
    for _, node in ipairs(self.nodes) do
      if node.host and not node.fatal then
        node:turn()
        if not node.held then moved = node:flush() or moved end
        moved = node.host and node:read_log() or moved
        moved = node.host and node:decide() or moved
        if not node.held then moved = node.host and node:work() or moved end
        node:turn()
      end
    end
    say_hello_again(self)
    moved = self:deliver_all() or moved
    if not moved then return end
  end
  error("the world does not come to rest", 2)
end

-- Time passes; every timer that is due on the way fires, and the world settles after each.
function World:advance(ms)
  self:settle()
  local until_us = self.now + ms * 1000
  while true do
    local first
    for _, node in ipairs(self.nodes) do
      local live = node.host and not node.fatal and not node.frozen
      if live and node.timer > 0 and node.timer <= until_us and (not first or node.timer < first.timer) then
        first = node
      end
    end
    if not first then break end
    self.now = math.max(self.now, first.timer)
    first.timer = 0
    first.host:timer()
    first:turn()
    self:settle()
  end
  self.now = until_us
end

-- One node's timer fires, alone, until it leads.
function World:elect(id)
  local node = self[id]
  for _ = 1, 50 do
    if node.host:is_leader() then
      self:settle()
      return node
    end
    self.now = math.max(self.now, node.timer)
    node.timer = 0
    node.host:timer()
    node:turn()
    self:settle()
  end
  error(id .. " is not elected", 2)
end

-- All started, connected and members of one cluster.
function World:bootstrap()
  for _, node in ipairs(self.nodes) do if not node.host then node:start() end end
  self:connect_all()
  self:settle()
  for _, node in ipairs(self.nodes) do assert(node.disk.cluster ~= 0, node.id .. " is blank") end
  return self
end

-- A cluster (of three, where options.nodes does not say) that n1 leads, and everybody knows it.
function M.cluster(options)
  options = options or {}
  options.nodes = options.nodes or 3
  local w = M.new(options)
  w:bootstrap()
  w:elect "n1"
  w:advance(150)
  return w
end

-- One node alone, started with these options.
function M.lone(options)
  local w = M.new { nodes = 1 }
  w.n1:start(options)
  w:settle()
  return w
end

-- A lone node restarted over `count` commands that are on its disk only.
function M.restarted(count, body)
  local w = M.lone()
  for i = 1, count do w.n1:submit(body or "c" .. i) end
  w:settle()
  w.n1:crash()
  w.n1:start()
  for _ = 1, 10 do
    w.n1.host:turn()
    if #w.n1.log_reads > 0 then return w end
    w.n1:flush()
  end
  error "the log is not read"
end

return M
