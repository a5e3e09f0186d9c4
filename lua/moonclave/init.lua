-- The client library: `require "moonclave"`. Connects to a cluster, has commands done once, asks queries, follows the
-- leader. README.md has a first script; moonclave/client/client.lua documents every call.
local channel = require "moonclave.channel"
local client = require "moonclave.client.client"

---@class moonclave
local M = {}

M._VERSION = "moonclave " .. channel.version

M.connect = client.connect

---From now on, calls of this client within coroutines yield on luv's loop instead of blocking.
---@param connected moonclave.client
---@return moonclave.client
function M.luv(connected) return connected:use_luv() end

---Marks a table as a map, so that it is one even when it is empty: an empty table is an array otherwise.
---@generic T: table
---@param table? T
---@return T
M.object = channel.object

return M
