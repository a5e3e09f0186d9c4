-- What the store's specs share: a story of writes, what the disk must hold after each, and a check that it does.
--
-- A step is {name, write} where write is what store:persist takes, or one of the words "tidy", "reopen", {"bootstrap"}.
-- A state is what must be there: term, vote, cluster, and the log as a list of entries.
local store = require "moonclave.store"
local formats = require "moonclave.formats"

local M = {}

M.FOLDER = "/data/n1"
M.DATABASE = M.FOLDER .. "/moonclave.db"
M.WAL = M.FOLDER .. "/moonclave.db-wal"
M.MARK = M.FOLDER .. "/acknowledged"
M.CONFIGURATION_BYTES = string.rep("c", 300)

-- Pages of 512 bytes and a checkpoint at every eighth: the edges come all the time.
function M.open(disk, changes)
  local options = {folder = M.FOLDER, id = "n1", incarnation = 77, disk = disk, page_size = 512, checkpoint_pages = 8}
  for name, value in pairs(changes or {}) do options[name] = value end
  return store.open(options)
end

function M.blank()
  return {term = 0, vote = "", cluster = 0, log = {}}
end

local function copy(state)
  return {term = state.term, vote = state.vote, cluster = state.cluster, log = {table.unpack(state.log)}}
end

-- Entries that continue the state's log: one for each size.
function M.entries(state, term, sizes, kind)
  local entries, chain, index = {}, state.log[#state.log] and state.log[#state.log].chain or 0, #state.log
  for i, size in ipairs(sizes) do
    local entry = {
      type = kind or 4, flags = 0, term = term, index = index + i, time_ms = 1000 + index + i, seed = 5 * index,
      session = 0, sequence = 0, payload = string.rep(string.char(97 + (index + i) % 26), size),
    }
    entry.chain = formats.entry_chain(entry, chain)
    chain = entry.chain
    entries[i] = entry
  end
  return entries
end

-- The state after some writes.
function M.after(state, writes)
  local new = copy(state)
  for _, write in ipairs(writes) do
    if write.hard_state then new.term, new.vote = write.hard_state.term, write.hard_state.vote end
    if write.truncate_from then
      for i = #new.log, write.truncate_from, -1 do new.log[i] = nil end
    end
    for _, entry in ipairs(write.entries or {}) do new.log[#new.log + 1] = entry end
  end
  return new
end

-- Elections, single entries, groups, big entries over many pages, truncations, votes without entries.
function M.story()
  local steps, state = {}, M.blank()
  local function add(step, new)
    steps[#steps + 1] = {step = step, state = new}
    state = new
  end
  local function persist(...)
    local writes = {...}
    add({writes = writes}, M.after(state, writes))
  end
  local bootstrapped = copy(state)
  bootstrapped.cluster = 4711
  add({bootstrap = true}, bootstrapped)
  persist{hard_state = {term = 1, vote = "n1"}}
  persist{entries = M.entries(state, 1, {0})}
  for _ = 1, 4 do
    persist{entries = M.entries(state, 1, {40})}
    add({tidy = true}, state)
  end
  local first = M.entries(state, 1, {700, 10})
  local between = M.after(state, {{entries = first}})
  persist({entries = first}, {hard_state = {term = 2, vote = ""}, entries = M.entries(between, 2, {5}, 1)})
  persist{truncate_from = 6, entries = M.entries(M.after(state, {{truncate_from = 6}}), 2, {60, 60})}
  add({tidy = true}, state)
  persist{hard_state = {term = 3, vote = "n2"}}
  persist{entries = M.entries(state, 3, {3000})}
  add({reopen = true}, state)
  persist{truncate_from = #state.log}
  persist{truncate_from = 2, entries = M.entries(M.after(state, {{truncate_from = 2}}), 3, {20, 30, 40})}
  for _ = 1, 3 do
    persist{entries = M.entries(state, 3, {200})}
    add({tidy = true}, state)
  end
  persist{hard_state = {term = 4, vote = "n3"}, entries = M.entries(state, 3, {9})}
  return steps
end

-- Plays a story on a disk. on_refused(s) decides what happens when a disk is full: true tries the step again.
-- Returns how many steps were acknowledged, the store (null when it does not open) and the error.
function M.play(disk, story, on_refused, from, changes)
  local s, code, text = M.open(disk, changes)
  while not s and code == "disk_full" and on_refused and on_refused() do s, code, text = M.open(disk, changes) end
  if not s then return from and from - 1 or 0, nil, code, text end
  local number = from or 1
  while number <= #story do
    local step, ok = story[number].step, nil
    if step.reopen then
      s:close()
      s, code, text = M.open(disk, changes)
      if not s then
        if not (code == "disk_full" and on_refused and on_refused()) then return number - 1, nil, code, text end
        s, code, text = M.open(disk, changes)
      end
      ok = s ~= nil
    elseif step.tidy then
      ok, code, text = s:tidy()
    elseif step.bootstrap then
      ok, code, text = s:bootstrap(M.CONFIGURATION_BYTES, 4711)
    else
      ok, code, text = s:persist(step.writes)
    end
    if ok then
      number = number + 1
    elseif not (code == "disk_full" and on_refused and on_refused(s)) then
      return number - 1, s, code, text
    end
  end
  return #story, s
end

-- What a store holds, as a state.
function M.found(s)
  local durable = s:durable()
  local entries, code, text = s:read(1, math.maxinteger)
  if not entries then return nil, code, text end
  local state = {term = durable.term, vote = durable.vote, cluster = s:identity().cluster, log = entries}
  if durable.last_index ~= #entries then return nil, "inconsistent", "last_index " .. durable.last_index end
  local last = entries[#entries]
  if durable.last_chain ~= (last and last.chain or 0) then return nil, "inconsistent", "last_chain" end
  if durable.snapshot.configuration ~= (state.cluster ~= 0 and M.CONFIGURATION_BYTES or "") then
    return nil, "inconsistent", "configuration"
  end
  local run = 0
  for i, entry in ipairs(entries) do
    if i == 1 or entry.term ~= entries[i - 1].term then
      run = run + 1
      local r = durable.runs[run]
      if not r or r.first ~= i or r.term ~= entry.term then return nil, "inconsistent", "run " .. run end
    end
  end
  if #durable.runs ~= run then return nil, "inconsistent", "runs" end
  return state
end

-- nil when two states are equal; else what differs.
function M.difference(found, wanted)
  for _, field in ipairs{"term", "vote", "cluster"} do
    if found[field] ~= wanted[field] then
      return string.format("%s is %s, not %s", field, found[field], wanted[field])
    end
  end
  if #found.log ~= #wanted.log then return string.format("%d entries, not %d", #found.log, #wanted.log) end
  for i, entry in ipairs(wanted.log) do
    for name, value in pairs(entry) do
      if found.log[i][name] ~= value then return string.format("entry %d: %s", i, name) end
    end
  end
end

-- Is the state one of those? Asserts, with all differences in the message.
function M.assert_one_of(s, context, ...)
  local found, code, text = M.found(s)
  if not found then error(context .. ": " .. code .. ": " .. text, 2) end
  local differences = {}
  for _, wanted in ipairs{...} do
    local difference = M.difference(found, wanted)
    if not difference then return found end
    differences[#differences + 1] = difference
  end
  error(context .. ": " .. table.concat(differences, "; or "), 2)
end

-- The states that may be there when `done` steps were acknowledged: the last one acknowledged, or the next one.
function M.states(story, done)
  local sure = done > 0 and story[done].state or M.blank()
  return sure, story[done + 1] and story[done + 1].state or sure
end

M.disk = store.disk

return M
