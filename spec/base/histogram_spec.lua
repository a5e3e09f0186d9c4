-- Durations in exponential buckets, and the names of events.
local base = require "moonclave.base"

describe("a histogram", function()
  it("counts each duration in the first bucket that holds it, its bound included", function()
    local bounds = base.histogram({}).bounds
    assert.equal(22, #bounds)
    assert.same({ 64, 128, -1 }, { bounds[1], bounds[2], bounds[22] })
    for i = 2, 21 do assert.equal(2 * bounds[i - 1], bounds[i]) end
    for i = 1, 21 do
      local h = base.histogram { bounds[i], bounds[i] + 1, bounds[i] - 1 }
      assert.equal(i == 1 and 2 or 2, h.counts[i], "at " .. bounds[i])
      assert.equal(1, h.counts[i + 1])
      assert.same({ 3, 3 * bounds[i], bounds[i] + 1 }, { h.count, h.sum, h.max })
    end
    local ends = base.histogram { 0, 1, 1 << 62 }
    assert.same({ 2, 1 }, { ends.counts[1], ends.counts[22] })
  end)

  it("bounds its quantiles from above, and by the longest", function()
    local list = {}
    for i = 1, 1000 do list[i] = i end
    local h = base.histogram(list)
    assert.same({ 512, 1000 }, { h.median, h.p999 })
    assert.same({ 0, 0 }, { base.histogram({}).median, base.histogram({}).max })
    assert.equal(7, base.histogram({ 7 }).median)
  end)
end)

describe("a histogram of the last seconds", function()
  it("has what is of this turn of five seconds and of the one before", function()
    local s = 1000000
    local list = { { 4 * s, 70 }, { 7 * s, 200 }, { 9 * s, 200 }, { 12 * s, 100 } }
    for _, row in ipairs { { 12, 3 }, { 14, 3 }, { 15, 1 }, { 19, 1 }, { 20, 0 }, { 22, 0 }, { 1000, 0 } } do
      assert.equal(row[2], base.histogram_recent(list, row[1] * s).count, row[1])
    end
    assert.same({ 1, 100 }, { base.histogram_recent(list, 16 * s).count, base.histogram_recent(list, 16 * s).max })
    assert.same({ count = 0, max = 0, median = 0, p99 = 0 }, base.histogram_recent({}, 3 * s))
  end)

  it("guesses within a bucket, and never beyond the longest", function()
    local list = {}
    for i = 1, 1000 do list[i] = { 0, 1000 + i } end -- 1001 to 2000 us, of which 1025 to 2000 are in one bucket
    local h = base.histogram_recent(list, 0)
    assert.is_true(math.abs(h.median - 1500) < 15, h.median)
    assert.is_true(math.abs(h.p99 - 1990) < 15, h.p99)
    assert.equal(7, base.histogram_recent({ { 0, 7 } }, 0).p99 + 1) -- of one: 990 of a thousand of the way
    local far = base.histogram_recent({ { 0, 1 << 40 }, { 0, 1 << 40 } }, 0)
    assert.is_true(far.p99 <= 1 << 40 and far.median > 1 << 25)
  end)
end)

describe("the types of events", function()
  it("are selected by a list of names; none selects all", function()
    local all = base.event_types ""
    assert.is_true(#all >= 17)
    assert.same({ "ready", "disk_full" }, base.event_types "disk_full,ready")
    assert.same({ "ready" }, base.event_types "ready,")
    for _, list in ipairs { "nothing", "ready,,leader", ",", "Ready", "ready " } do
      local found, wrong = base.event_types(list)
      assert.is_nil(found, list)
      assert.is_string(wrong)
    end
    assert.equal("nothing", select(2, base.event_types "ready,nothing,leader"))
  end)
end)
