-- A client of the key-value store (examples/kv): connects, writes, reads.
--   build/moonclave cluster examples/kv                        a cluster to talk to; it prints its addresses
--   LUA_PATH='lua/?.lua;lua/?/init.lua' LUA_CPATH='build/lua/?.so' lua5.4 examples/client.lua 127.0.0.1:5001 ...
local moonclave = require "moonclave"

local addresses = #arg > 0 and { table.unpack(arg) } or { "127.0.0.1:5001", "127.0.0.1:5002", "127.0.0.1:5003" }
local client <close> = assert(moonclave.connect { addresses = addresses, timeout = 5 })

-- A command is done once, whatever happens on the way: connections that break, leaders that die.
local written = assert(client:propose("put", { key = "greeting", value = "hello" }))
print("written at revision " .. written.revision)

-- What can go wrong at run time is nil and an error, with a code for programs and a text for people.
local done, err = client:propose("cas", { key = "greeting", expected = "bye", value = "good evening" })
if not done then print("refused: " .. err.code .. ", it is " .. err.value) end

-- A query reads the newest state; from a node's own, perhaps older one, at less cost.
local item = assert(client:query("get", { key = "greeting" }))
print("read: " .. item.value)
assert(client:query("get", { key = "greeting" }, { consistency = "stale" }))

print("the leader is " .. tostring(client:leader()))
for _, node in ipairs(client:nodes()) do print(("%s at %s: %s"):format(node.id, node.address, node.role)) end
