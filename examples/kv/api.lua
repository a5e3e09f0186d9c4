-- The store's HTTP routes. A handler is a coroutine: propose and query look like calls, and wait for the cluster.
local cluster = require "moonclave.cluster"
local page = require "page"

local api = { routes = {} }
local routes = api.routes

-- What propose and query return, as a response. The status tells what is certain: 503 was not done, 504 is unknown.
local function answer(result, err)
  if err then return cluster.http_status(err), { error = err } end
  return 200, result
end

local function propose(command, arguments) return answer(cluster.propose(command, arguments)) end

local function failure(code, message) return answer(nil, { code = code, message = message }) end

-- The body as a JSON object; nil and an error where it is none.
local function fields(request)
  local body, err = request:json()
  if body == nil or type(body) == "table" then return body, err end
  return nil, { code = "bad_request", message = "the body is a JSON object" }
end

-- Linearizable, unless the client asks for ?consistency=stale.
local function query(request, name, arguments)
  return cluster.query(name, arguments, { consistency = request.query.consistency })
end

routes["PUT /kv/:key"] = function(request)
  return propose("put", { key = request.params.key, value = request.body })
end

routes["GET /kv/:key"] = function(request)
  local item, err = query(request, "get", { key = request.params.key })
  if err then return answer(nil, err) end
  if not item then return failure("not_found", "there is no such key") end
  return 200, item.value, { ["x-revision"] = item.revision }
end

routes["DELETE /kv/:key"] = function(request)
  return propose("delete", { key = request.params.key })
end

routes["POST /kv/:key/append"] = function(request)
  return propose("append", { key = request.params.key, value = request.body })
end

-- {"expected": "a" or null, "value": "b"}; 409 has the present value.
routes["POST /kv/:key/cas"] = function(request)
  local change, err = fields(request)
  if not change then return answer(nil, err) end
  return propose("cas", { key = request.params.key, expected = change.expected, value = change.value })
end

-- ?prefix=a&limit=10, and &after=LAST_KEY for the next page.
routes["GET /kv"] = function(request)
  local limit = math.tointeger(tonumber(request.query.limit or 100))
  if not limit or limit < 1 then return failure("bad_request", "limit is a whole number from 1") end
  local range = { prefix = request.query.prefix, after = request.query.after, limit = math.min(limit, 1000) }
  return answer(query(request, "list", range))
end

routes["GET /inspect"] = function(request)
  local items, err = query(request, "list", { limit = 1000 })
  if err then return answer(nil, err) end
  return 200, page(items, cluster.status()), { ["content-type"] = "text/html; charset=utf-8" }
end

-- {"id": "n4", "action": "ADD", "address": "127.0.0.1:5004"}, or "REMOVE". To be added, the node must have been
-- started with --join.
routes["POST /config"] = function(request)
  local change, err = fields(request)
  if not change then return answer(nil, err) end
  local action = ({ ADD = "add", REMOVE = "remove" })[change.action]
  if not action then return failure("bad_request", "action is ADD or REMOVE") end
  return answer(cluster.admin(action, { id = change.id, address = change.address }))
end

routes["POST /store"] = function(request)
  local item, err = fields(request)
  if not item then return answer(nil, err) end
  return propose("put", { key = item.key, value = item.value })
end

routes["DELETE /delete"] = function(request)
  local item, err = fields(request)
  if not item then return answer(nil, err) end
  return propose("delete", { key = item.key })
end

return api
