-- The help: one row for each function and command of the REPL; the app's own commands and queries come from the node.
local M = {}

-- { name, how it is called, one line, more (or nil), examples (or nil) }
M.functions = {
  { "status", "status()", "what a node says of itself: the leader's, or that of `\\use`",
    "role, term, indexes, snapshot, sessions, app: see `moonclave help status`.",
    { "status().term", 'on("n2", status).applied_index' } },
  { "members", "members()", "who is a member, who leads, who lags",
    "match is how far a member's log is known to be durable, lag how many entries it is behind, contact how long " ..
    "ago it was heard; only the leader knows these.", { "members()", "#members()" } },
  { "leader", "leader()", "the id of the server that leads, and its address", nil, { "on(leader(), status)" } },
  { "health", "health()", "every member asked by itself: is it there, ready, how far", nil,
    { "health()", "\\watch 1 health()" } },
  { "add", 'add{ id = "n4", address = "127.0.0.1:5004" }', "a server more",
    "It is to be started with --join, blank. It becomes a learner, and votes once it has caught up; with " ..
    "learner = true it stays a learner. `moonclave start --join` asks for all this by itself.",
    { 'add{ id = "n4", address = "127.0.0.1:5004" }',
      'add{ id = "n4", address = "127.0.0.1:5004", learner = true }' } },
  { "remove", 'remove "n4"', "a server less; asks first", "It stops by itself once it hears of it.",
    { 'remove "n4"' } },
  { "promote", 'promote "n4"', "a learner becomes a voter, once it has caught up", "It waits until the server votes.",
    { 'promote "n4"' } },
  { "demote", 'demote "n4"', "a voter becomes a learner; asks first", nil, { 'demote "n4"' } },
  { "voters", 'voters{ "n1", "n4", "n5" }', "exactly these vote from now on, in one step; asks first",
    "The step is a joint configuration: old and new majorities both decide until it is done.",
    { 'voters{ "n1", "n4", "n5" }' } },
  { "transfer", 'transfer "n2"', "hands leadership over", "Without a name to the server that has the most of the log.",
    { 'transfer "n2"', "transfer()" } },
  { "priority", 'priority("n2", 5)', "which server is preferred as the leader: the higher", nil,
    { 'priority("n2", 5)' } },
  { "snapshot", "snapshot()", "a snapshot of the state on the node that is asked",
    "So that a restart need not read the whole log.", { "snapshot()", 'on("n2", snapshot)', "all(snapshot)" } },
  { "config", "config()", "the settings; config{ NAME = value } changes some; asks first",
    "The cluster's are changed on every node, through the log; a node's own only on the node that leads, or that of " ..
    "`\\use`, until it is restarted.",
    { "config()", "config().settings.command_steps_max", "config{ command_steps_max = 1000000 }",
      'on("n2", function() return config{ trailing_entries = 5000 } end)' } },
  { "events", "events()", "what happens in the cluster, as it happens, until Ctrl-C; events(5) ends after five", nil,
    { "events()", "events(5)" } },
  { "deploy", 'deploy "APP"', "a new version of the app; shows what it changes, and asks",
    "It is tried on a copy of the state first; what the cluster would refuse is not sent. With dry_run that is all. " ..
    "`moonclave help deploy` says more.",
    { 'deploy "examples/kv"', 'deploy("examples/kv", { dry_run = true })' } },
  { "backup", 'backup "FILE"', "the state as one file", "`moonclave backup` says what it does.",
    { 'backup "kv.backup"' } },
  { "on", 'on("n2", status)', "something on one node: a function, or a text that is run",
    "Commands are still decided by the cluster. A query is linearizable unless it says " ..
    "{ consistency = \"stale\" }, which answers from what that node has.",
    { 'on("n2", status)', "on(\"n3\", 'get({ key = \"a\" }, { consistency = \"stale\" })')" } },
  { "all", "all(status)", "the same on every member, by its id", nil,
    { "all(status)", "all 'status().applied_index'" } },
  { "command", "command.NAME{ ... }", "the app's commands, also those whose names mean something else here", nil,
    { 'command.put{ key = "a", value = "1" }' } },
  { "query", "query.NAME{ ... }", "the app's queries, likewise", nil, { 'query.get{ key = "a" }' } },
  { "call", 'call("METHOD", params)', "an RPC method as it is", nil, { 'call("status")' } },
  { "admin", 'admin("ACTION", { ... })', "an action of the leader as it is",
    "src/host/README.md lists the actions.", { 'admin("address", { id = "n2", address = "127.0.0.1:6002" })' } },
  { "inside", 'inside "count(state.items)"', "Lua on the node itself, where its control socket is attached",
    "The node runs it beside its work, for a limited time, over a view of the state that cannot be written. " ..
    "`state` is the root; pairs, #, count(t) and scan(t, { from=, to=, prefix=, limit=, reverse= }) work on its " ..
    "tables; status() and members() are there. Values that are not in the answer's limits are cut.",
    { "\\attach data/n1", "state.items.a", "count(state.items)", "\\detach" } },
  { "sleep", "sleep(SECONDS)", "waits; Ctrl-C ends it", nil, { "sleep(0.5)" } },
  { "json", "json(value)", "a value as JSON text", nil, { "json(status())" } },
  { "show", "show(value)", "a value as it is printed here, as text", nil, { "print(show(members()))" } },
  { "help", 'help "transfer"', "about a function, a command of the app, or a \\command", nil,
    { "help()", 'help "transfer"', 'help "\\\\watch"' } },
}

M.commands = {
  { "all", "\\all [EXPR]", "on every member: this expression, or everything from now on (`\\use` ends that)", nil,
    { "\\all status().applied_index" } },
  { "attach", "\\attach ADDR | PATH", "another cluster; or a node's control socket (its data folder): Lua runs there",
    nil, { "\\attach 127.0.0.1:5001", "\\attach data/n1" } },
  { "detach", "\\detach", "no longer within the node: Lua runs here again" },
  { "format", "\\format table|lua|json", "how results are shown", nil, { "\\format json" } },
  { "help", "\\help", "this" },
  { "history", "\\history [N]", "the last inputs" },
  { "quit", "\\quit", "ends it, as Ctrl-D does" },
  { "time", "\\time", "shows how long things took, or no longer" },
  { "use", "\\use [ID]", "everything goes to this node; without a name to the leader again", nil, { "\\use n2" } },
  { "watch", "\\watch [SECONDS] EXPR", "shows it again and again, until Enter or Ctrl-C", nil,
    { "\\watch 1 members()" } },
}

local function row_of(rows, name)
  for _, row in ipairs(rows) do
    if row[1] == name then return row end
  end
end

local CALLS = 24 -- the column of what is called

-- Words in lines of at most `width`, all but the first behind `margin`.
function M.wrap(text, width, margin)
  local lines, line = {}, nil
  for word in text:gmatch "%S+" do
    local longer = line and line .. " " .. word or word
    if line and (utf8.len(longer) or #longer) > width then
      lines[#lines + 1] = line
      longer = word
    end
    line = longer
  end
  lines[#lines + 1] = line
  return table.concat(lines, "\n" .. (margin or ""))
end

local wrap = M.wrap

-- "  call   text", the text in a column of its own.
local function entry(call, text, width, column)
  local head, margin = "  " .. call, (" "):rep(column)
  local gap = #head < column and margin:sub(#head + 1) or "\n" .. margin
  return head .. gap .. wrap(text, width - column, margin)
end

local function list(lines, rows, width)
  for _, row in ipairs(rows) do lines[#lines + 1] = entry(row[2], row[3], width, CALLS + 3) end
end

-- Everything in short. app: what RPC `app` says, or nil. width: of the screen.
function M.overview(app, width)
  width = width or 100
  local lines = {
    wrap("Lua, and the cluster as functions. An expression needs no `return`; _ is the last result, " ..
      "_1 ... all.", width),
    "",
  }
  list(lines, M.functions, width)
  if app then
    lines[#lines + 1] = "\nThe app's own, each called with one table:"
    for _, kind in ipairs { "commands", "queries" } do
      if #app[kind] > 0 then lines[#lines + 1] = entry(kind .. ":", table.concat(app[kind], ", "), width, 12) end
    end
  end
  lines[#lines + 1] = ""
  list(lines, M.commands, width)
  lines[#lines + 1] = "\n" .. wrap('help "transfer" tells more about one of them. Tab completes, Ctrl-R searches ' ..
    "what was typed, Ctrl-C cancels, Ctrl-D ends it. Input goes on over lines until it is complete; an empty line " ..
    "ends it.", width)
  return table.concat(lines, "\n")
end

local function app_topic(app, name)
  for _, kind in ipairs { "command", "query" } do
    local names = kind == "command" and app.commands or app.queries
    for _, one in ipairs(names) do
      if one == name then
        local arguments = app.arguments and app.arguments[kind] and app.arguments[kind][name] or {}
        local call = #arguments == 0 and name .. "{}"
          or ("%s{ %s = ... }"):format(name, table.concat(arguments, " = ..., "))
        local lines = { ("%s    a %s of the app"):format(call, kind) }
        local about = app.about and app.about[kind] and app.about[kind][name]
        if about and about ~= "" then lines[#lines + 1] = about end
        return table.concat(lines, "\n")
      end
    end
  end
end

-- About one thing; nil where there is none of that name. A command's backslash may be left out.
function M.topic(name, app, width)
  local row = name:sub(1, 1) ~= "\\" and row_of(M.functions, name)
  local own = not row and app and app_topic(app, name)
  if own then return own end
  row = row or row_of(M.commands, (name:gsub("^\\", "")))
  if not row then return nil end
  local lines = { row[2] .. "    " .. row[3] }
  if row[4] then lines[#lines + 1] = wrap(row[4], width or 100) end
  for i, example in ipairs(row[5] or {}) do lines[#lines + 1] = (i == 1 and "\n" or "") .. "  " .. example end
  return table.concat(lines, "\n")
end

function M.topics(app)
  local names = {}
  for _, row in ipairs(M.functions) do names[#names + 1] = row[1] end
  for _, list_of in ipairs { app and app.commands or {}, app and app.queries or {} } do
    for _, name in ipairs(list_of) do names[#names + 1] = name end
  end
  return names
end

function M.command_names()
  local names = {}
  for i, row in ipairs(M.commands) do names[i] = row[1] end
  return names
end

return M
