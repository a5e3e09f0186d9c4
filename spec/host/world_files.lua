-- The part of world.lua that has snapshots: a node's files, and the machine's bytes.
--   node.disk.snapshots[index] = { meta, bytes }   complete ones; disk.snapshot is the meta that the node starts from
--   node.disk.incoming = { meta, bytes }           one that comes in, as far as it came
-- Entries up to disk.base.index are still in disk.entries, and nobody reads them.
local base = require "moonclave.base"
local formats = require "moonclave.formats"

local M = { in_log_order = { finish = true, install = true, compact = true } }

-- A process begins: what no pointer names is gone. Answers the empty list of jobs.
function M.open(disk)
  local index = disk.snapshot and disk.snapshot.index
  for other in pairs(disk.snapshots) do if other ~= index then disk.snapshots[other] = nil end end
  disk.taking = nil
  return {}
end

local function same(a, b) return formats.meta_encode(a) == formats.meta_encode(b) end

local kinds = {}

function kinds.begin(disk, job)
  disk.taking = { meta = job.meta, bytes = "" }
  return {}
end

function kinds.write(disk, job)
  disk.taking.bytes = disk.taking.bytes .. job.bytes
  return {}
end

function kinds.finish(disk, job)
  local whole = { meta = job.meta, bytes = disk.taking.bytes }
  whole.meta.size = #whole.bytes
  disk.snapshots[job.meta.index], disk.snapshot, disk.taking = whole, whole.meta, nil
  return { offset = #whole.bytes }
end

function kinds.abort(disk) disk.taking = nil end

function kinds.read(disk, job)
  local found = disk.snapshots[job.meta.index]
  if not found then return { code = "unavailable" } end
  return { bytes = found.bytes:sub(job.offset + 1, job.offset + job.max_bytes) }
end

function kinds.receive(disk, job)
  local incoming = disk.incoming
  if not incoming or not same(incoming.meta, job.meta) then
    incoming = { meta = job.meta, bytes = "" }
    disk.incoming = incoming
  end
  if job.offset == #incoming.bytes then incoming.bytes = incoming.bytes .. job.bytes end
  return { offset = #incoming.bytes }
end

function kinds.install(disk, job)
  local meta = job.meta
  assert(disk.incoming and same(disk.incoming.meta, meta) and #disk.incoming.bytes == meta.size, "not all there")
  disk.snapshots[meta.index], disk.snapshot, disk.incoming = disk.incoming, meta, nil
  disk.base = { index = meta.index, term = meta.term, chain = meta.chain }
  for i = #disk.entries, meta.index + 1, -1 do disk.entries[i] = nil end
  for i = #disk.entries + 1, meta.index do disk.entries[i] = "" end
  return {}
end

function kinds.compact(disk, job)
  if job.up_to > disk.base.index then
    assert(job.up_to <= disk.snapshot.index, "the log is cut past its snapshot")
    local last = formats.entry_decode(disk.entries[job.up_to])
    disk.base = { index = job.up_to, term = last.term, chain = last.chain }
  end
  for index in pairs(disk.snapshots) do
    if index < job.meta.index then disk.snapshots[index] = nil end
  end
end

-- Answers the report, where the kind has one.
function M.carry_out(disk, job)
  local report = kinds[job.kind](disk, job)
  if not report then return nil end
  report.kind, report.token = job.kind, job.token
  return report
end

-- ---- the machine: how many bytes follow, its hash and each command's body ----

local function encode(machine)
  local parts = { string.pack("<i8", machine.hash_value) }
  for _, command in ipairs(machine.commands) do parts[#parts + 1] = string.pack("<s4", command.body) end
  return string.pack("<s4", table.concat(parts))
end

function M.machine_begin(machine)
  assert(not machine.writing, "a snapshot begins before the last one was ended")
  machine.writing = encode(machine)
  return base.hash(machine.writing)
end

function M.machine_step(machine, work)
  local piece = machine.writing:sub(1, work)
  machine.writing = machine.writing:sub(work + 1)
  return piece, #machine.writing > 0
end

function M.machine_feed(machine, bytes)
  local before = #machine.reading
  local all = machine.reading .. bytes
  local whole = #all >= 4 and 4 + string.unpack("<I4", all) or math.huge
  machine.reading = all:sub(1, math.min(#all, whole))
  return #machine.reading - before
end

function M.machine_finish(machine, entry, hash)
  local ok, inner = pcall(string.unpack, "<s4", machine.reading)
  if not ok then return "corrupt", "it ends in the middle" end
  if #inner < 8 then return "corrupt", "it is too short" end
  machine.hash_value, machine.restored_at = string.unpack("<i8", inner), entry
  local at = 9
  while at <= #inner do
    local whole, body, next = pcall(string.unpack, "<s4", inner, at)
    if not whole then return "corrupt", "a command is cut short" end
    machine.commands[#machine.commands + 1], at = { body = body }, next
  end
  if base.hash(machine.reading) ~= hash then return "corrupt", "its hash is another" end
end

return M
