-- Real nodes for the specs: starts `moonclave start` processes on free ports of 127.0.0.1 in a folder of their own,
-- talks HTTP to them from coroutines on one libuv loop, and leaves nothing behind: every process is ended by its pid.
--
--   cluster.run(function()
--     local c <close> = cluster.new { nodes = 3 }
--     c:start()
--     local answer = c:http("n1", "PUT", "/kv/a", "1") -- { status, body, headers } or nil, "refused"|"lost"|"timeout"
--   end)
--
-- Nothing here hopes that some time is enough: waits are for a condition, with a limit that only a hang meets.
local uv = require "luv"

local M = {}
local LIMIT_MS = 60000

-- ---- coroutines on the loop ----

-- Runs `body` as a coroutine until it ends, pumping the loop; raises what it raises.
function M.run(body)
  local done, ok, problem = false, nil, nil
  M.spawn(function()
    ok, problem = xpcall(body, debug.traceback)
    done = true
  end)
  while not done do uv.run("once") end
  uv.run("nowait") -- closes what was closed last: at the interpreter's end luv would free that twice
  if not ok then error(problem, 0) end
end

-- Begins another coroutine beside this one.
function M.spawn(body)
  local thread = coroutine.create(body)
  local ok, problem = coroutine.resume(thread)
  if not ok then error(debug.traceback(thread, problem), 0) end
  return thread
end

-- Suspends this coroutine until `begin`'s callback is called; returns what it is given. Only the first call counts.
local function await(begin)
  local thread = coroutine.running()
  local answered, waiting, results = false, false, nil
  begin(function(...)
    if answered then return end
    answered = true
    results = table.pack(...)
    if waiting then
      local ok, problem = coroutine.resume(thread)
      if not ok then error(debug.traceback(thread, problem), 0) end
    end
  end)
  if not answered then
    waiting = true
    coroutine.yield()
  end
  return table.unpack(results, 1, results.n)
end
M.await = await

function M.sleep(ms)
  await(function(resume)
    local timer = uv.new_timer()
    timer:start(ms, 0, function()
      timer:close()
      resume()
    end)
  end)
end

-- Runs the functions side by side and returns when all have ended; raises the first problem.
function M.all(bodies)
  local left, problem = #bodies, nil
  if left == 0 then return end
  await(function(resume)
    for _, body in ipairs(bodies) do
      M.spawn(function()
        local ok, trouble = xpcall(body, debug.traceback)
        if not ok then problem = problem or trouble end
        left = left - 1
        if left == 0 then resume() end
      end)
    end
  end)
  if problem then error(problem, 0) end
end

-- Asks until `condition` answers truthy (which is returned); raises `what` after the limit.
function M.eventually(what, condition, limit_ms)
  local deadline = uv.hrtime() + (limit_ms or LIMIT_MS) * 1000000
  local last
  repeat
    local value, detail = condition()
    if value then return value end
    last = detail
    M.sleep(20)
  until uv.hrtime() > deadline
  error("never happened: " .. what .. (last and " (" .. tostring(last) .. ")" or ""), 2)
end

-- ---- files and ports ----

-- Ports lie below the range from which the system gives connections theirs: there a port that is free now may belong to
-- some connection when the node wants it. Two runs of the specs at once keep apart by the UDP port of the same number,
-- which a cluster holds as long as it lives.
local random = math.random
math.randomseed(uv.hrtime() ~ (uv.os_getpid() << 20))

local function lowest_ephemeral()
  local file = io.open "/proc/sys/net/ipv4/ip_local_port_range"
  local low = file and tonumber(file:read "n") or 32768
  if file then file:close() end
  return math.max(low, 12000)
end

local function free_port(claims)
  local below = lowest_ephemeral()
  for _ = 1, 1000 do
    local port = random(10000, below - 1)
    local claim, server = uv.new_udp(), uv.new_tcp()
    local free = claim:bind("127.0.0.1", port) and server:bind("127.0.0.1", port) and server:listen(1, function() end)
    server:close()
    if free and claims then
      claims[#claims + 1] = claim
    else
      claim:close()
    end
    if free then return port end
  end
  error "no free port on 127.0.0.1"
end
M.free_port = free_port

function M.folder()
  return assert(uv.fs_mkdtemp((os.getenv "TMPDIR" or "/tmp") .. "/moonclave-spec-XXXXXX"))
end

function M.remove(path)
  local stat = uv.fs_lstat(path)
  if not stat then return end
  if stat.type == "directory" then
    local scan = uv.fs_scandir(path)
    while scan do
      local name = uv.fs_scandir_next(scan)
      if not name then break end
      M.remove(path .. "/" .. name)
    end
    uv.fs_rmdir(path)
  else
    uv.fs_unlink(path)
  end
end

function M.read_file(path)
  local file = io.open(path, "rb")
  if not file then return "" end
  local text = file:read "a"
  file:close()
  return text
end

function M.write_file(path, text)
  local file = assert(io.open(path, "wb"))
  assert(file:write(text))
  file:close()
end

-- ---- processes ----

M.program = (os.getenv "MOONCLAVE_BUILD" or "build") .. "/moonclave"
if not M.program:match "^/" then M.program = uv.cwd() .. "/" .. M.program end

-- Starts a program with its output into a file. The process: { pid, exited, code, signal, log }.
function M.process(path, arguments, options)
  options = options or {}
  local log = options.log or os.tmpname()
  local file = assert(uv.fs_open(log, "a", 420))
  local process = { log = log }
  local environment
  if os.getenv "LD_PRELOAD" then -- the sanitizers are linked into the program itself: no preload in children
    environment = {}
    for name, value in pairs(uv.os_environ()) do
      if name ~= "LD_PRELOAD" then environment[#environment + 1] = name .. "=" .. value end
    end
  end
  local handle, pid = uv.spawn(path, {
    args = arguments, cwd = options.cwd, env = environment, stdio = { nil, file, file },
  }, function(code, signal)
    process.exited, process.code, process.signal = true, code, signal
    process.handle:close()
    if process.on_exit then process.on_exit() end
  end)
  uv.fs_close(file)
  assert(handle, pid)
  process.handle, process.pid = handle, pid
  return process
end

function M.signal(process, signal)
  if not process.exited then uv.kill(process.pid, signal) end
end

function M.wait(process, limit_ms)
  if process.exited then return process.code, process.signal end
  await(function(resume)
    local timer = uv.new_timer()
    process.on_exit = function()
      if not timer:is_closing() then timer:close() end
      resume()
    end
    timer:start(limit_ms or LIMIT_MS, 0, function()
      timer:close()
      resume()
    end)
  end)
  process.on_exit = nil
  if not process.exited then
    error("process " .. process.pid .. " did not end; its log:\n" .. M.read_file(process.log), 2)
  end
  return process.code, process.signal
end

-- Runs a program to its end: exit code, everything it printed.
function M.execute(path, arguments, options)
  options = options or {}
  local process = M.process(path, arguments, options)
  local code = M.wait(process, options.limit_ms)
  local text = M.read_file(process.log)
  if not options.log then os.remove(process.log) end
  return code, text
end

-- ---- HTTP ----

local client = {}
client.__index = client

-- A keep-alive connection to a port. Not connected until the first request.
function M.client(port)
  return setmetatable({ port = port, buffer = "" }, client)
end

function client:close()
  local socket = self.socket
  self.socket, self.buffer = nil, ""
  if socket and not socket:is_closing() then socket:close() end
end

local function parse_response(text, head_only)
  local head_end = text:find("\r\n\r\n", 1, true)
  if not head_end then return nil end
  local status = tonumber(text:match "^HTTP/1%.[01] (%d%d%d)")
  local headers = {}
  for name, value in text:sub(1, head_end):gmatch "\r\n([^:\r\n]+):%s*([^\r\n]*)" do
    headers[name:lower()] = value
  end
  local length = head_only and 0 or tonumber(headers["content-length"] or 0)
  local body_from = head_end + 4
  if #text < body_from - 1 + length then return nil end
  return { status = status, headers = headers, body = text:sub(body_from, body_from - 1 + length) },
    text:sub(body_from + length)
end

-- One request. Answer: { status, headers, body }; or nil and "refused" (never sent), "lost" (sent, connection broke),
-- "timeout" (sent, no answer within limit_ms).
function client:request(method, path, body, options)
  options = options or {}
  return await(function(resume)
    local timer = uv.new_timer()
    local sent = false
    local function finish(answer, why)
      if not timer:is_closing() then timer:close() end
      if not answer then self:close() end
      resume(answer, why)
    end
    timer:start(options.limit_ms or LIMIT_MS, 0, function() finish(nil, "timeout") end)

    local function on_read(problem, chunk)
      if problem or not chunk then return finish(nil, "lost") end
      self.buffer = self.buffer .. chunk
      local answer, rest = parse_response(self.buffer, method == "HEAD")
      if not answer then return end
      self.buffer = rest
      self.socket:read_stop()
      if answer.headers.connection == "close" then self:close() end
      finish(answer)
    end
    local function send()
      local lines = { method .. " " .. path .. " HTTP/1.1", "host: 127.0.0.1" }
      for name, value in pairs(options.headers or {}) do lines[#lines + 1] = name .. ": " .. value end
      if body then lines[#lines + 1] = "content-length: " .. #body end
      lines[#lines + 1] = "\r\n"
      sent = true
      self.socket:read_start(on_read)
      self.socket:write({ table.concat(lines, "\r\n"), body or "" }, function(problem)
        if problem then finish(nil, "lost") end
      end)
    end
    if self.socket then return send() end
    local socket = uv.new_tcp()
    self.socket = socket
    socket:nodelay(true)
    socket:connect("127.0.0.1", self.port, function(problem)
      if timer:is_closing() then return end
      if problem then return finish(nil, "refused") end
      if not sent then send() end
    end)
  end)
end

-- ---- a cluster ----

local cluster = {}
cluster.__index = cluster
cluster.__close = function(self) self:close() end

-- options: nodes (3), app ("examples/kv"; false: none given), flags (list, for every node).
function M.new(options)
  options = options or {}
  local self = setmetatable({
    folder = M.folder(), nodes = {}, names = {}, flags = options.flags or {}, app = options.app, options = options,
    claims = {},
  }, cluster)
  if self.app == nil then self.app = uv.cwd() .. "/examples/kv" end
  for i = 1, options.nodes or 3 do
    local name = "n" .. i
    self.names[i] = name
    self.nodes[name] = { id = name, port = free_port(self.claims), http_port = free_port(self.claims),
       data = self.folder .. "/" .. name }
  end
  return self
end

function cluster:peers()
  local list = {}
  for _, name in ipairs(self.names) do
    if not self.nodes[name].join then list[#list + 1] = name .. "=127.0.0.1:" .. self.nodes[name].port end
  end
  return table.concat(list, ",")
end

-- One more node, to be launched with --join to the nodes named: it needs no app.
function cluster:join(name, ...)
  local addresses = {}
  for i, member in ipairs { ... } do addresses[i] = "127.0.0.1:" .. self.nodes[member].port end
  if not self.nodes[name] then
    self.names[#self.names + 1] = name
    self.nodes[name] = { id = name, port = free_port(self.claims), http_port = free_port(self.claims),
      data = self.folder .. "/" .. name }
  end
  self.nodes[name].join = table.concat(addresses, ",")
  self:launch(name)
end

function cluster:arguments(name, extra)
  local node = self.nodes[name]
  local arguments = { "start" }
  if not self.options.patient then arguments[2] = "--policy-stable-ms=300" end -- who joins is to vote soon
  if self.app and not node.join then arguments[#arguments + 1] = self.app end
  for _, flag in ipairs {
    "--id=" .. name, "--addr=127.0.0.1:" .. node.port, "--http-port=" .. node.http_port,
    node.join and "--join=" .. node.join or "--peers=" .. self:peers(), "--data=" .. node.data,
  } do
    arguments[#arguments + 1] = flag
  end
  if node.join and self.options.label then arguments[#arguments + 1] = "--label=" .. self.options.label end
  for _, list in ipairs { self.flags, extra or {} } do
    for _, flag in ipairs(list) do arguments[#arguments + 1] = flag end
  end
  return arguments
end

-- Starts the nodes named (all by default), without waiting.
function cluster:launch(...)
  local names = select("#", ...) > 0 and { ... } or self.names
  for _, name in ipairs(names) do
    local node = self.nodes[name]
    assert(not node.process or node.process.exited, name .. " runs already")
    local program, arguments = M.program, self:arguments(name)
    if self.options.wrap then program, arguments = self.options.wrap(self, name, program, arguments) end
    node.process = M.process(program, arguments, { log = self.folder .. "/" .. name .. ".log" })
  end
end

function cluster:ready(name)
  local node = self.nodes[name]
  if node.process.exited then
    error(name .. " has ended with code " .. tostring(node.process.code) .. ":\n" .. self:log(name), 0)
  end
  local answer = self:http(name, "GET", "/readyz", nil, { limit_ms = 2000 })
  return answer and answer.status == 200
end

-- Starts the nodes named (all by default) and waits until each is ready.
function cluster:start(...)
  self:launch(...)
  local names = select("#", ...) > 0 and { ... } or self.names
  for _, name in ipairs(names) do
    M.eventually(name .. " is ready", function() return self:ready(name), self:log(name) end)
  end
  return self
end

-- One request on a connection of its own.
function cluster:http(name, method, path, body, options)
  local connection = M.client(self.nodes[name].http_port)
  local answer, why = connection:request(method, path, body, options)
  connection:close()
  return answer, why
end

function cluster:client(name)
  return M.client(self.nodes[name].http_port)
end

function cluster:kill(...)
  for _, name in ipairs { ... } do M.signal(self.nodes[name].process, "sigkill") end
  for _, name in ipairs { ... } do M.wait(self.nodes[name].process) end
end

function cluster:signal(name, signal)
  M.signal(self.nodes[name].process, signal)
end

function cluster:log(name)
  return M.read_file(self.folder .. "/" .. name .. ".log")
end

-- The value at `path` ("/v1/status") as its JSON text; fields are picked with patterns by the specs.
function cluster:status(name)
  local answer = self:http(name, "GET", "/v1/status", nil, { limit_ms = 5000 })
  return answer and answer.status == 200 and answer.body or nil
end

-- The name of a running node that says it leads; waits until there is one.
function cluster:leader(except)
  return M.eventually("a leader", function()
    for _, name in ipairs(self.names) do
      local node = self.nodes[name]
      if name ~= except and node.process and not node.process.exited and not node.stopped then
        local status = self:status(name)
        if status and status:find('"role":"leader"', 1, true) then return name end
      end
    end
  end)
end

function cluster:close()
  for _, name in ipairs(self.names) do
    local process = self.nodes[name].process
    if process and not process.exited then
      M.signal(process, "sigcont")
      M.signal(process, "sigkill")
      M.wait(process)
    end
  end
  for _, claim in ipairs(self.claims) do claim:close() end
  self.claims = {}
  if not os.getenv "MOONCLAVE_KEEP" then M.remove(self.folder) end
end

return M
