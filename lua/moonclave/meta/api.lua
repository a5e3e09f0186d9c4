---@meta
-- luacheck: ignore 111 112 113 131 212 241
-- What api.lua returns, and what its handlers get. For editors (LuaLS): never loaded.

---What api.lua returns. Routes are named "METHOD /path/:parameter/*rest"; the more literal one wins, in whatever order
---they are given. HEAD is served by GET.
---@class moonclave.api
---@field routes? table<string, moonclave.handler>
---@field start? fun(config: table)  called once when loaded, before it serves
---@field stop? fun()                called when a newer version serves, or the node stops
---@field on_event? fun(event: moonclave.event)  called for what happens to this node, once it is loaded. It cannot wait

---Handles one request, as a coroutine of its own. Between two waits (propose, query) it may compute for 50 ms. What it
---raises is answered 500 and logged.
---@alias moonclave.handler fun(request: moonclave.request): integer, any, table<string, string|number|string[]>?

---What has happened to this node: `moonclave help events` lists the types, src/node/README.md what their data has.
---@class moonclave.event
---@field id integer       ascends by one in a node's lifetime
---@field type string      "leader", "configuration", "disk_full" ...
---@field node string      this node's id
---@field time_ms integer  by its wall clock
---@field data table

---@class moonclave.request
---@field method string                  "GET"; "HEAD" where a GET route serves one
---@field path string                    as sent, not decoded
---@field params table<string, string>   percent-decoded: any bytes
---@field query table<string, string>    decoded; the last of equal names
---@field headers table<string, string>  names in lower case; equal names as one list
---@field body string                    any bytes
local request = {}

---The body as JSON. An absent or null value is nil, bytes are {"$bytes": base64}; nil and an error where it is no JSON.
---@return any value
---@return moonclave.error? err
function request:json() end

---@class moonclave.global
moonclave = {}

---Marks a table as a map, so that it is one even when it is empty: an empty table is an array otherwise.
---@generic T: table
---@param table? T
---@return T
function moonclave.object(table) end
