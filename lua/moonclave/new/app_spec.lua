-- @NAME@ in simulated clusters: `busted` in the app's folder.
local sim = require "moonclave.sim"

describe("@NAME@", function()
  it("counts items, and refuses what it does not have", function()
    local cluster <close> = sim.cluster { app = ".", nodes = 3, seed = 1 }
    assert.same({ name = "apple", count = 3 }, cluster:propose("add", { name = "apple", count = 3 }))
    assert.same({ name = "apple", count = 1 }, cluster:propose("take", { name = "apple", count = 2 }))
    local taken, err = cluster:propose("take", { name = "apple", count = 2 })
    assert.is_nil(taken)
    assert.equal("not_enough", err.code)
    assert.same({ name = "apple", count = 1 }, cluster:query("get", { name = "apple" }))
    assert.equal("bad_request", select(2, cluster:propose("add", { name = "apple", count = "many" })).code)
  end)

  it("lists items in the order of their names, page by page", function()
    local cluster <close> = sim.cluster { app = ".", nodes = 1, seed = 2 }
    for _, name in ipairs { "pear", "apple", "fig" } do cluster:propose("add", { name = name, count = 1 }) end
    local first, second = { name = "apple", count = 1 }, { name = "fig", count = 1 }
    assert.same({ first, second }, cluster:query("list", { limit = 2 }))
    assert.same({ { name = "pear", count = 1 } }, cluster:query("list", { after = "fig" }))
  end)

  it("keeps what it has acknowledged when its leader is lost", function()
    local cluster <close> = sim.cluster { app = ".", nodes = 3, seed = 3 }
    cluster:propose("add", { name = "apple", count = 3 })
    cluster:crash(cluster:leader())
    assert.same({ name = "apple", count = 3 }, cluster:query("get", { name = "apple" }))
    assert.linearizable(cluster:history())
  end)

  it("survives seeds of crashes, partitions, full disks and jumping clocks", function()
    sim.check(".", { seeds = 10 })
  end)
end)
