-- The node as the control VM sees it, played by a spec: requests are collected, replies given when the spec says so.
local base = require "moonclave.base"
local control = require "moonclave.control"

local M = {}
M.__index = M

function M.bundle(files)
  return base.pack { version = 1, hash = 0, files = base.object(files) }
end

-- A control VM that serves `api` (the text of api.lua, or a table of files). Nothing is loaded without one.
function M.new(api, config)
  local node = setmetatable({ waiting = {}, answers = {}, lines = {}, exchange = 0 }, M)
  node.control = control.new {
    submit = function(ticket, request)
      local body = base.unpack(request.body)
      request.name, request.arguments, request.ticket = body[1], body[2], ticket
      table.insert(node.waiting, request)
    end,
    respond = function(exchange, response)
      assert(node.answers[exchange] == nil, "answered twice")
      if response.kind == "value" then response.value = base.unpack(response.body) end
      for _, header in ipairs(response.headers) do response.headers[header.name] = header.value end
      node.answers[exchange] = response
    end,
    status = function() return base.pack { role = "leader", term = 7 } end,
    members = function() return base.pack { { id = "n1" }, { id = "n2" } } end,
    log = function(level, text) table.insert(node.lines, level .. ": " .. text) end,
  }
  if api then assert(node:load(api, config)) end
  return node
end

-- true; or nil, code, text
function M:load(api, config)
  local files = type(api) == "table" and api or { ["api.lua"] = api }
  files["fsm.lua"] = files["fsm.lua"] or "return {}"
  return self.control:load(M.bundle(files), base.pack(config))
end

-- Begins a request: "GET /path?query". Returns its number, or nil and whether the path is known.
function M:request(line, body, headers)
  local method, path, query = line:match "^(%S+) ([^?]*)%??(.*)$"
  local list = {}
  for name, value in pairs(headers or {}) do list[#list + 1] = { name = name, value = value } end
  self.exchange = self.exchange + 1
  local served, path_known = self.control:serve(self.exchange,
    { method = method, path = path, query = query, body = body or "", headers = list })
  if not served then return nil, path_known end
  return self.exchange
end

-- The answer to a request that waits for nothing.
function M:answer(line, body, headers)
  local exchange = assert(self:request(line, body, headers), "no route")
  return assert(self.answers[exchange], "not answered yet")
end

-- Replies to the request that has waited longest.
function M:reply(value, code)
  local request = assert(table.remove(self.waiting, 1), "nothing waits")
  self.control:reply(request.ticket, code or "ok", base.pack(value))
  return request
end

function M:logged(text)
  for _, line in ipairs(self.lines) do
    if line:find(text, 1, true) then return line end
  end
end

function M:close() self.control:close() end

return M
