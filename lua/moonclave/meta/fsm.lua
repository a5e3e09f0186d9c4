---@meta
-- luacheck: ignore 111 112 113 131 212 241
-- What fsm.lua returns, and what it may call besides Lua's own. For editors (LuaLS): never loaded.

---What fsm.lua returns. Commands change the state, through the log and on every node alike; queries read it.
---@class moonclave.fsm
---@field version? integer
---@field init? fun(config: table): table                                        the first state
---@field commands? table<string, fun(state: table, arguments: any, ctx: moonclave.context): any, any>
---@field queries? table<string, fun(state: table, arguments: any): any, any>

---The entry that is being applied: the same on every node.
---@class moonclave.context
---@field index integer  its place in the log
---@field term integer
---@field time integer   milliseconds, the leader's clock; never less than before
---@field session integer  0: none
local ctx = {}

---As math.random, seeded by the entry.
---@overload fun(): number
---@param m integer
---@param n? integer
---@return integer
function ctx.random(m, n) end

---@class moonclave.range
---@field from? string|integer    the first key, itself included
---@field to? string|integer
---@field prefix? string
---@field limit? integer
---@field reverse? boolean

---Walks a table of the state in the order of its keys.
---@param table table
---@param range? moonclave.range
---@return fun(): any, any
function scan(table, range) end

---How many keys a table of the state has.
---@param table table
---@return integer
function count(table) end

---Writes to the node's log.
---@param ... any
function log(...) end
