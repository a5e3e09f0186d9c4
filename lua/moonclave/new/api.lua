-- @NAME@: what clients see over HTTP.
-- A handler is a coroutine: propose and query look like calls, and wait for the cluster. Without this file every
-- command and query is served all the same: POST /v1/command/add, GET /v1/query/get.
local cluster = require "moonclave.cluster"

local api = { routes = {} }
local routes = api.routes

-- What propose and query return, as a response. The status tells what is certain: 503 was not done, 504 is unknown.
local function answer(result, err)
  if err then return cluster.http_status(err), { error = err } end
  return 200, result
end

-- {"count": 3}, of the item that the path names
local function change(command)
  return function(request)
    local body, err = request:json()
    if err then return answer(nil, err) end
    local count = type(body) == "table" and body.count or nil
    return answer(cluster.propose(command, { name = request.params.name, count = count }))
  end
end

routes["POST /items/:name/add"] = change "add"
routes["POST /items/:name/take"] = change "take"

-- Linearizable, unless the client asks for ?consistency=stale.
routes["GET /items/:name"] = function(request)
  return answer(cluster.query("get", { name = request.params.name }, { consistency = request.query.consistency }))
end

-- ?limit=10, and &after=LAST_NAME for the next page.
routes["GET /items"] = function(request)
  local limit = math.tointeger(tonumber(request.query.limit or 100))
  if not limit or limit < 1 then
    return answer(nil, { code = "bad_request", message = "limit is a whole number from 1" })
  end
  local range = { after = request.query.after, limit = math.min(limit, 1000) }
  return answer(cluster.query("list", range, { consistency = request.query.consistency }))
end

return api
