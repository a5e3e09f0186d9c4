-- A whole app in one process, without a cluster: its api in a control VM, wired to its fsm; requests go to and fro as
-- JSON and bytes, as clients see them. What a real cluster adds is time and failure: `fail_next` plays those.
local base = require "moonclave.base"
local fsm = require "moonclave.fsm"
local http = require "moonclave.http"
local node_of = require "script.control_support"

local M = {}
M.__index = M

function M.new(path, config)
  local app = setmetatable({ index = 1, machine = fsm.new(), node = node_of.new() }, M)
  local bundle = assert(fsm.bundle(path))
  local code, text = app.machine:load(bundle, config or {}, { index = 1, term = 1 })
  assert(code == "ok", text)
  assert(app.node.control:load(bundle, base.pack(config or {})))
  return app
end

-- The next command or query fails with this code instead of being done.
function M:fail_next(code) self.failure = code end

-- Serves what handlers wait for until there is nothing more.
function M:serve()
  while #self.node.waiting > 0 do
    local request = table.remove(self.node.waiting, 1)
    local code, _, bytes
    if self.failure then
      code, bytes = self.failure, base.pack { code = self.failure, message = "as the spec wants it" }
      self.failure = nil
    elseif request.kind == "command" then
      self.index = self.index + 1
      code, _, bytes = self.machine:apply_bytes({ index = self.index, term = 1 }, request.body)
    else
      code, _, bytes = self.machine:query(request.name, request.arguments)
      self.consistency = request.consistency
    end
    self.node.control:reply(request.ticket, code, bytes)
  end
end

-- { status, body }
function M:pair(line, body)
  local status, text = self:request(line, body)
  return { status, text }
end

-- status, body, headers
function M:request(line, body)
  local exchange = assert(self.node:request(line, body), "no route: " .. line)
  self:serve()
  local answer = assert(self.node.answers[exchange], "no answer")
  if answer.kind == "value" then return answer.status, assert(http.json_from_value(answer.body)), answer.headers end
  return answer.status, answer.body, answer.headers
end

function M:close() self.node:close() end

return M
