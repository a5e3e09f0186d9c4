---@meta
-- luacheck: ignore 111 112 113 131 212
-- What moonclave.sim adds to busted's assert. For editors (LuaLS): never loaded. The kit's own calls and what a sim.lua
-- returns are annotated where they are: moonclave/sim.lua, moonclave/sim/cluster.lua, moonclave/sim/app.lua.

---@class luassert
local luassert = {}

---Is the history linearizable? By its own model (the app's sim.lua), unless another is given.
---@param history moonclave.model.operation[]  cluster:history()
---@param model? moonclave.model
function luassert.linearizable(history, model) end

return luassert
