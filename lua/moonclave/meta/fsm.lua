---@meta
-- luacheck: ignore 111 112 113 131 212 241
-- What fsm.lua returns, and what it may call besides Lua's own. For editors (LuaLS): never loaded.

---What fsm.lua returns. Commands change the state, through the log and on every node alike; queries read it.
---
---`moonclave deploy` puts another version in the place of one that runs. Where its `version` differs (newer or older),
---`migrate` is called once on every node, in one transaction, with the state and the version that it is of. It returns
---the state, or a table to take its place; what it raises refuses the new version everywhere, and nothing has changed.
---Without a migrate a newer version takes the state as it is, and an older one is refused. It has a budget of its own
---(migrate_steps_max, migrate_memory_max); commands and queries wait meanwhile. `init` is not called. What migrate puts
---into a variable of its module is gone when it has ended: the code is loaded anew behind it.
---@class moonclave.fsm
---@field version? integer                                                      of the code and its state; 0 where none
---@field migrate? fun(state: table, from_version: integer): table             another version's state becomes its own
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
