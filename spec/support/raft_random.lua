-- What random runs of cores share: a network that loses, doubles and shuffles, and disks that take their time.
-- Every draw is math.random's, so a run's seed decides all.
local M = {}

function M.chance(percent) return math.random() * 100 < percent end -- also of a fraction of one
local chance = M.chance

-- Delivers some of what waits, in any order; `late` percent of it later, `lost` of the rest never, `twice` of the rest
-- once more.
function M.shuffle_network(c, late, lost, twice)
  local messages = c.messages
  c.messages = {}
  for i = #messages, 2, -1 do
    local j = math.random(i)
    messages[i], messages[j] = messages[j], messages[i]
  end
  for _, message in ipairs(messages) do
    if chance(late) then
      c.messages[#c.messages + 1] = message
    elseif chance(100 - lost) then
      if chance(twice) then c.messages[#c.messages + 1] = message end
      if c[message.to].core then
        local code, text = c[message.to]:receive(message)
        assert(code == "ok", text)
      end
    end
  end
end

-- Some of the writes that wait are done, or (`refused` percent) do not fit; some reads are answered, some entries
-- applied.
function M.disk_work(server, refused)
  if #server.writes > 0 and chance(60) then
    if chance(refused) then
      server:refuse()
    else
      server:persist(math.random(#server.writes))
    end
  end
  while #server.log_reads > 0 and chance(80) do server:answer_log_read() end
  if server.apply_due and chance(70) then
    server.apply_due = false
    server:event { type = "applied", index = server.applied }
  end
end

-- Its timer where that is due; a leader proposes and reads; a connection breaks.
function M.core_work(c, server)
  if server.deadline_us and server.deadline_us <= c.now_us then server:timer() end
  if server:role() == "leader" and chance(30) then
    c.proposed = c.proposed + 1
    server:propose("command " .. c.proposed, "and another")
    server:read(c.proposed)
  end
  if chance(1) then server:unreachable(c.servers[math.random(#c.servers)].id) end
end

-- From the end: where terms are equal, all before is too (§5.3, by the chain). A base and a snapshot's end are entries
-- without a payload; what is compacted has no chain.
function M.logs_match(c)
  for _, one in ipairs(c.servers) do
    for _, other in ipairs(c.servers) do
      local agreed = false
      for index = math.min(#one.disk.log, #other.disk.log), 1, -1 do
        local a, b = one.disk.log[index], other.disk.log[index]
        if a.chain and b.chain then
          if a.term == b.term then agreed = true end
          assert(not agreed or a.chain == b.chain, ("logs of %s and %s differ at %d"):format(one.id, other.id, index))
        end
      end
    end
  end
end

return M
