-- The smallest example: one file, no api. It is served by the generated routes; here its commands alone are tried.
local fsm = require "moonclave.fsm"

describe("the counter example", function()
  it("is a single file of under 20 lines", function()
    local lines = 0
    for _ in io.lines "examples/counter.lua" do lines = lines + 1 end
    assert.truthy(lines < 20)
  end)

  it("counts, each name by itself", function()
    local machine = fsm.new()
    assert.equal("ok", (machine:load(assert(fsm.bundle "examples/counter.lua"), {}, { index = 1, term = 1 })))
    local function add(arguments) return select(2, machine:apply({ index = 2, term = 1 }, "add", arguments)) end
    local function get(name) return select(2, machine:query("get", { name = name })) end
    assert.equal(0, get())
    assert.equal(1, add {})
    assert.equal(3, add { name = "apples", by = 3 })
    assert.equal(0, add { by = -1 })
    assert.equal(3, get "apples")
    assert.equal(0, get())
    assert.equal("command_failed", (machine:apply({ index = 3, term = 1 }, "add", { by = "many" })))
    assert.equal(0, get())
  end)
end)
