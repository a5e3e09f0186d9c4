-- The cluster as functions of the REPL's environment. They raise what goes wrong: an error of the client library, a
-- table with code and message.
local channel = require "moonclave.channel"
local errors = require "moonclave.client.errors"
local help = require "moonclave.repl.help"
local printer = require "moonclave.repl.printer"

local M = {}

local CHANGE_S = 30.0 -- for what waits for a server to catch up, or to take over
local SILENT_MS = 3000
local ANSWER_S = 0.5  -- for a server that is to be added, to say that it is there
local TURN_S = 0.1    -- between two looks at whether a server votes
local MEMBER_COLUMNS = { "id", "address", "role", "state", "match", "lag", "contact" }
local HEALTH_COLUMNS = { "id", "address", "role", "state", "ready", "term", "applied", "behind" }

local function raise(err) error(errors.of(err), 0) end
local function fail(code, text, ...) raise { code = code, message = text:format(...) } end

local function check_id(name, id)
  if type(id) ~= "string" or id == "" then
    fail("usage", '%s takes a server\'s id, as in %s "n4"', name, name)
  end
  return id
end

-- Rows for the table of members: contact as people read it.
local function member_rows(list)
  local rows = {}
  for i, member in ipairs(list) do
    local row = {}
    for key, value in pairs(member) do row[key] = value end
    local labels = {}
    for name, text in pairs(member.labels or {}) do labels[#labels + 1] = name .. "=" .. text end
    table.sort(labels)
    row.labels = labels[1] and table.concat(labels, ",")
    row.contact = member.contact_ms and ("%d ms"):format(member.contact_ms) or nil
    rows[i] = row
  end
  return rows
end

-- ---- what a change of voters means ----

local NUMBERS = { [0] = "no failure can then be survived", "one failure can then be survived" }

local function survives(voters)
  local most = (voters - 1) // 2
  return NUMBERS[most] or ("%d failures can then be survived"):format(most)
end

local function counted(voters) return ("%d voter%s"):format(voters, voters == 1 and "" or "s") end

-- Those of `list` who do not answer, as the leader has it; nil where no leader has made the list: only it knows.
local function silent_among(list, members)
  local told = false
  for _, member in ipairs(members) do
    told = told or (member.state == "leader" and member.match ~= nil)
  end
  if not told then return nil end
  local ids = {}
  for _, member in ipairs(list) do
    local heard = member.contact_ms and member.contact_ms < SILENT_MS
    if member.state ~= "leader" and not heard then ids[#ids + 1] = member.id end
  end
  return ids
end

-- What these voters can survive, if those who do not answer now never do again.
local function outlook(voters, members)
  local silent = silent_among(voters, members) or {}
  local answer, needed = #voters - #silent, #voters // 2 + 1
  if #silent == 0 then return survives(#voters) end
  local who = ("%s do%s not answer"):format(table.concat(silent, ", "), #silent == 1 and "es" or "")
  if answer < needed then
    return ("%s, and %d of them are needed: the cluster could then decide nothing at all"):format(who, needed)
  end
  return ("%s, so that %s"):format(who, survives(2 * (answer - needed) + 1))
end

-- "removing n2 leaves 2 voters: no failure can then be survived". Raises where there is no such member.
function M.consequence(doing, id, members)
  local remaining, ids, voters, member = {}, {}, 0, nil
  for i, one in ipairs(members) do
    ids[i] = one.id
    if one.id == id then member = one end
    if one.role == "voter" then
      voters = voters + 1
      if one.id ~= id then remaining[#remaining + 1] = one end
    end
  end
  if not member then fail("not_found", "there is no server %s: the members are %s", id, table.concat(ids, ", ")) end
  if member.role ~= "voter" then
    return ("%s %s leaves %s, as there are now: it is a %s"):format(doing, id, counted(voters), member.role)
  end
  if voters == 1 then return ("%s %s leaves no voter: the cluster will refuse"):format(doing, id) end
  local leads = member.state == "leader" and "; it leads, and hands over first" or ""
  return ("%s %s leaves %s: %s%s"):format(doing, id, counted(voters - 1), outlook(remaining, members), leads)
end

-- The same of voters{ ... }.
local function consequence_of_voters(ids, members)
  local by_id, voters = {}, {}
  for _, member in ipairs(members) do by_id[member.id] = member end
  for i, id in ipairs(ids) do
    voters[i] = by_id[check_id("voters", id)] or fail("not_found", "there is no server %s among the members", id)
  end
  return ("from then on exactly %s vote: that is %s: %s"):format(table.concat(ids, ", "), counted(#ids),
    outlook(voters, members))
end

-- ---- health ----

-- What a node says is wrong, with itself or with others, by their ids.
local function add_problems(says, health)
  for _, problem in ipairs(health.problems or {}) do
    local id = problem.id or health.id
    says[id] = says[id] or {}
    if not says[id][problem.code] then
      says[id][problem.code] = true
      table.insert(says[id], problem.text)
    end
  end
end

-- Every member asked by itself: a row for each, and the leader's word on the whole (nil: no leader answers).
function M.health(session, members)
  local rows, says, furthest, note = {}, {}, 0, nil
  for i, member in ipairs(members) do
    local row = { id = member.id, address = member.address, role = member.role, ready = false }
    local options = { address = member.address, timeout = 1.0 }
    local status, err = session.client:call("status", nil, options)
    if status then
      row.state, row.ready, row.term, row.applied = status.role, status.ready, status.term, status.applied_index
      furthest = math.max(furthest, status.applied_index)
      local health = session.client:call("health", nil, options)
      if health then
        add_problems(says, health)
        note = health.leads and health.text or note
      end
    else
      row.state = "gone"
      local reason = err.message:match "%(([^()]*)%)$" or err.message -- "127.0.0.1:5004: Connection refused"
      local at = reason:sub(1, #member.address) == member.address and #member.address + 3 or 1
      says[member.id] = { reason:sub(at) }
    end
    rows[i] = row
  end
  for _, row in ipairs(rows) do
    row.behind = row.applied and furthest - row.applied
    row.says = says[row.id] and table.concat(says[row.id], "; ") or nil
  end
  return rows, note
end

-- ---- settings ----

local CONFIG_COLUMNS = { "name", "value", "default", "scope", "source" }

local function config_rows(answer)
  local rows = {}
  for name, setting in pairs(answer.settings) do
    local source = setting.source == "changed" and setting.index and "index " .. setting.index or setting.source
    rows[#rows + 1] = { name = name, value = setting.value, default = setting.default, scope = setting.scope,
      source = source }
  end
  table.sort(rows, function(a, b)
    if a.scope ~= b.scope then return a.scope < b.scope end
    return a.name < b.name
  end)
  return rows
end

-- "trailing_entries becomes 5000 on n1 alone, until it is restarted". What no node knows is left to the node to refuse.
local function consequence_of_config(changes, answer)
  local lines, names = {}, {}
  for name in pairs(changes) do names[#names + 1] = tostring(name) end
  table.sort(names)
  for i, name in ipairs(names) do
    local setting = answer.settings[name] or {}
    lines[i] = ("%s becomes %s %s"):format(name, printer.lua(changes[name]), setting.scope == "node" and
      ("on %s alone, until it is restarted"):format(answer.id) or "in the whole cluster")
  end
  return table.concat(lines, "\n")
end

-- "05:20:55.717 n2  leader  { term = 3 }"
local function event_line(session, event)
  if session.look.format == "json" or session.look.format == "lua" then return session:render(event) end
  local ms = event.time_ms
  local time = ms and ("%s.%03d"):format(os.date("%H:%M:%S", ms // 1000), ms % 1000) or "-"
  return ("%s %-4s %-14s %s"):format(time, event.node or "-", event.type, printer.lua(event.data, {
    colours = session.look.colours, width = math.huge,
  }))
end

-- ---- the functions ----

local function sleep(seconds)
  local deadline, nothing = channel.clock() + seconds, channel.set()
  while channel.clock() < deadline do nothing:wait(deadline - channel.clock()) end
  nothing:close()
end

-- session: what session.lua documents. Fills `env`.
function M.install(session, env)
  local function members() return session:ask_leader "members" end
  local function leaders_members() return session:ask_leader("members", true) end

  local function admin(action, arguments, seconds)
    local result = session:ask(function(client, options)
      options.timeout = seconds
      return client:admin(action, arguments, options)
    end)
    return result
  end

  local function confirm(what) session:confirm(what) end

  -- A person who adds a server before it runs would wait without knowing what for.
  local function say_what_is_awaited(server)
    if not session.ask_person or type(server.address) ~= "string" then return end
    if session.client:call("status", nil, { address = server.address, timeout = ANSWER_S }) then return end
    local _, address = session.client:leader()
    session:print(("%s does not answer yet. It is waited for, and is started by\n" ..
      "  %s start --join %s --id %s \\\n    --addr %s --data DIR    (an empty one)"):format(server.id,
      session.program_name, address or session.addresses[1], server.id, server.address))
  end

  -- As `moonclave promote` does: it is done once the server votes.
  local function wait_for_vote(id)
    local deadline = channel.clock() + CHANGE_S
    repeat
      for _, member in ipairs(leaders_members()) do
        if member.id == id and member.role == "voter" then return end
      end
      sleep(TURN_S)
    until channel.clock() > deadline
    fail("timeout", "%s has not caught up in time; it votes once it has: members() shows how far it is", id)
  end

  function env.status() return session:ask_leader "status" end

  function env.members()
    local list = members()
    local columns = { table.unpack(MEMBER_COLUMNS) }
    for _, member in ipairs(list) do
      if member.labels and #columns == #MEMBER_COLUMNS then columns[#columns + 1] = "labels" end
    end
    session:hint(list, { rows = member_rows, columns = columns })
    return list
  end

  function env.leader()
    for _, member in ipairs(members()) do
      if member.state == "leader" then return member.id, member.address end
    end
  end

  function env.health()
    local rows, note = M.health(session, session:call "members")
    local remarks = {}
    for _, row in ipairs(rows) do
      if row.says then remarks[#remarks + 1] = ("%s: %s"):format(row.id, row.says) end
    end
    session:hint(rows, { columns = HEALTH_COLUMNS, note = note, remarks = remarks })
    return rows
  end

  function env.add(server)
    if type(server) ~= "table" or type(server.id) ~= "string" then
      fail("usage", 'add takes a server, as in add{ id = "n4", address = "127.0.0.1:5004" }%s', env.command.add and
        "; the app's own is command.add{ ... }" or env.query.add and "; the app's own is query.add{ ... }" or "")
    end
    say_what_is_awaited(server)
    return admin("add", server, CHANGE_S)
  end

  function env.remove(id)
    confirm(M.consequence("removing", check_id("remove", id), leaders_members()))
    return admin("remove", { id = id }, CHANGE_S)
  end

  function env.promote(id)
    local result = admin("promote", { id = check_id("promote", id) }, CHANGE_S)
    wait_for_vote(id)
    return result
  end

  function env.demote(id)
    confirm(M.consequence("demoting", check_id("demote", id), leaders_members()))
    return admin("demote", { id = id }, CHANGE_S)
  end

  function env.voters(ids)
    if type(ids) ~= "table" or #ids == 0 then
      fail("usage", 'voters takes a list of ids, as in voters{ "n1", "n4" }')
    end
    confirm(consequence_of_voters(ids, leaders_members()))
    return admin("set", { voters = ids }, CHANGE_S)
  end

  function env.transfer(id) return admin("transfer", id and { id = check_id("transfer", id) } or nil, CHANGE_S) end

  function env.priority(id, number) return admin("priority", { id = check_id("priority", id), priority = number }) end

  function env.snapshot() return admin("snapshot", nil, CHANGE_S) end

  function env.config(changes)
    if changes == nil then
      local answer = session:call "config"
      session:hint(answer, { rows = config_rows, columns = CONFIG_COLUMNS })
      return answer
    end
    if type(changes) ~= "table" or next(changes) == nil then
      fail("usage", "config takes a table, as in config{ session_timeout_ms = 7200000 }")
    end
    local answer = session:ask_leader "config"
    confirm(consequence_of_config(changes, answer))
    local result, err = session.client:admin("config", changes, { node = answer.id, timeout = CHANGE_S })
    if err then raise(err) end
    return result
  end

  function env.events(count)
    local next_event = session.client:events { node = session.target }
    for _ = 1, count or math.maxinteger do
      local event, err = next_event()
      if not event then session:explain_call(err, "events") end
      session:print(event_line(session, event))
    end
  end

  -- The program shows what would change and asks by itself: it is asked once.
  function env.deploy(app, options)
    if type(app) ~= "string" then fail("usage", 'deploy takes the path of an app, as in deploy "examples/kv"') end
    local dry = type(options) == "table" and options.dry_run
    if not dry and not session.ask_person then confirm("every node runs the app in " .. app .. " from then on") end
    local json = session.look.format == "json" and (dry or session.yes)
    local leader = session:program("deploy", app, dry and "--dry-run" or session.yes and "--yes", json and "--json")
    if not dry then session:ask_app { address = leader, timeout = 2.0 } end
  end

  function env.backup(file)
    if type(file) ~= "string" then fail("usage", 'backup takes the name of a file, as in backup "kv.backup"') end
    session:program("backup", file)
  end

  function env.on(id, what)
    check_id("on", id)
    return session:on(id, what)
  end

  function env.all(what)
    local results = {}
    for _, member in ipairs(session:call "members") do
      local ok, result = session:try(function() return session:on(member.id, what) end)
      results[member.id] = ok and result or (not ok and { error = tostring(result) }) or nil
    end
    return results
  end

  function env.call(method, params) return session:call(method, params) end

  function env.admin(action, arguments) return admin(action, arguments) end

  function env.inside(text) return session:inside(text) end

  env.sleep = sleep

  function env.json(value) return printer.json(value, session.look) end

  function env.show(value) return session:render(value, { colours = false }) end

  function env.help(name)
    if name == nil then return session:print(help.overview(session:app(), session.look.width)) end
    local text = help.topic(tostring(name), session:app(), session.look.width)
    if not text then fail("not_found", 'there is no help about "%s": help() lists what there is', tostring(name)) end
    session:print(text)
  end
end

-- ---- the app's own ----

-- One function for each command and query, in the tables `command` and `query` and, where the name is free, as a
-- global.
function M.install_app(session, env, app)
  local taken = session.taken
  for name in pairs(session.app_names or {}) do
    if not taken[name] then env[name] = nil end
  end
  env.command, env.query, session.app_names = {}, {}, {}
  for _, name in ipairs(app.queries) do
    env.query[name] = function(arguments, options) return session:query(name, arguments, options) end
    session.app_names[name] = true
  end
  for _, name in ipairs(app.commands) do
    env.command[name] = function(arguments, options) return session:command(name, arguments, options) end
    session.app_names[name] = true
  end
  for name in pairs(session.app_names) do
    if not taken[name] then env[name] = env.command[name] or env.query[name] end
  end
end

return M
