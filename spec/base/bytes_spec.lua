-- Buffers, blobs, hashes, random numbers, ids, log lines, and memory that runs out.
local base = require "moonclave.base"
local hex = require "support.bytes".hex

describe("a buffer", function()
  it("holds what was appended, minus what was consumed", function()
    local buffer = base.buffer()
    assert.same({ "", 0 }, { buffer:bytes() })
    buffer:append "hello"
    buffer:byte(0)
    buffer:format "world"
    assert.equal("hello\0<world>", (buffer:bytes()))
    buffer:consume(6)
    assert.equal("<world>", (buffer:bytes()))
    buffer:consume(0)
    buffer:consume(7)
    assert.equal("", (buffer:bytes()))
  end)

  it("keeps its memory when cleared and gives it back when closed", function()
    local buffer = base.buffer()
    buffer:append(("x"):rep(1000))
    local _, capacity = buffer:bytes()
    assert.is_true(capacity >= 1000)
    buffer:clear()
    assert.same({ "", capacity }, { buffer:bytes() })
    buffer:close()
    assert.same({ "", 0 }, { buffer:bytes() })
    buffer:append "again"
    assert.equal("again", (buffer:bytes()))
  end)

  it("agrees with a string through any order of changes", function()
    local buffer, model = base.buffer(), ""
    local random = base.random(3, 3000, 1000)
    for i = 1, #random - 1, 2 do
      local what, amount = random[i] % 4, random[i + 1]
      if what == 0 then
        local more = (string.char(amount % 256)):rep(amount)
        buffer:append(more)
        model = model .. more
      elseif what == 1 then
        buffer:byte(amount % 256)
        model = model .. string.char(amount % 256)
      elseif what == 2 then
        buffer:format(tostring(amount))
        model = model .. "<" .. amount .. ">"
      else
        local size = math.min(#model, amount * 2)
        buffer:consume(size)
        model = model:sub(size + 1)
      end
      assert.is_true(model == buffer:bytes())
    end
  end)

  it("grows by doubling, so that many small appends are few moves", function()
    local buffer, moves, before = base.buffer(), 0, 0
    for _ = 1, 10000 do
      buffer:byte(1)
      local _, capacity = buffer:bytes()
      if capacity ~= before then moves = moves + 1 end
      before = capacity
    end
    assert.is_true(moves <= 10, moves .. " moves")
  end)
end)

describe("bytes", function()
  it("compare bytewise, the shorter first", function()
    assert.equal(0, base.compare("a", "a"))
    assert.equal(0, base.compare("", ""))
    assert.equal(-1, base.compare("a", "b"))
    assert.equal(-1, base.compare("a", "aa"))
    assert.equal(1, base.compare("b", "aa"))
    assert.equal(1, base.compare("\xff", "a"))
    assert.equal(-1, base.compare("", "\0"))
  end)

  it("in a blob live as long as one reference does", function()
    local first, taken, dropped, last = base.blob("payload", 5)
    assert.equal(first, taken)
    assert.equal(first, dropped)
    assert.equal(first - 1, last)
    assert.equal(select(4, base.blob("", 0)), last)
  end)

  it("hash as XXH3 does everywhere", function()
    assert.equal(0x2d06800538d394c2, base.hash "")
    assert.equal(0x78af5f94892f3950, base.hash "abc")
    assert.equal(base.hash "abc", base.hash("abc", 0))
    assert.are_not.equal(base.hash "abc", base.hash("abc", 1))
    assert.equal(base.hash(string.pack("<i8i8", 1, -2)), base.hash_pair(1, -2))
    assert.are_not.equal(base.hash_pair(1, 2), base.hash_pair(2, 1))
  end)
end)

describe("random numbers", function()
  -- From a second implementation, below: what a seed means is frozen, the simulator's seeds depend on it.
  local function reference(seed, count)
    local function splitmix()
      seed = seed + 0x9e3779b97f4a7c15
      local z = seed
      z = (z ~ (z >> 30)) * 0xbf58476d1ce4e5b9
      z = (z ~ (z >> 27)) * 0x94d049bb133111eb
      return z ~ (z >> 31)
    end
    local function rotate(value, by) return (value << by) | (value >> (64 - by)) end
    local s = { splitmix(), splitmix(), splitmix(), splitmix() }
    local list = {}
    for i = 1, count do
      list[i] = rotate(s[2] * 5, 7) * 9
      local t = s[2] << 17
      s[3] = s[3] ~ s[1]
      s[4] = s[4] ~ s[2]
      s[2] = s[2] ~ s[3]
      s[1] = s[1] ~ s[4]
      s[3] = s[3] ~ t
      s[4] = rotate(s[4], 45)
    end
    return list
  end

  it("are the same for the same seed, everywhere", function()
    for _, seed in ipairs { 0, 1, 42, -1, math.mininteger } do
      assert.same(reference(seed, 50), base.random(seed, 50))
    end
    assert.equal("99ec5f36cb75f2b4", string.format("%016x", base.random(0, 1)[1]))
    assert.are_not.same(base.random(1, 5), base.random(2, 5))
  end)

  it("below a limit stay below it, reach everything, and favour nothing", function()
    for _, limit in ipairs { 1, 2, 3, 7, 1000, math.maxinteger } do
      for _, drawn in ipairs(base.random(9, 500, limit)) do assert.is_true(drawn >= 0 and drawn < limit) end
    end
    local low = 0 -- a limit of 3/4 of 2^64: a bare remainder would draw its lowest third half of the time
    for _, drawn in ipairs(base.random(5, 9000, 3 << 62)) do
      if drawn >= 0 and drawn < 1 << 62 then low = low + 1 end
    end
    assert.is_true(low > 2700 and low < 3300, low .. " of 9000")
    local counts = { 0, 0, 0, 0, 0, 0 }
    for _, drawn in ipairs(base.random(11, 60000, 6)) do counts[drawn + 1] = counts[drawn + 1] + 1 end
    for face, count in ipairs(counts) do assert.is_true(count > 9500 and count < 10500, face .. ": " .. count) end
  end)

  it("in the unit interval never reach 1 and have their middle in the middle", function()
    local sum = 0
    for _, drawn in ipairs(base.random(13, 20000, "unit")) do
      assert.is_true(drawn >= 0 and drawn < 1)
      sum = sum + drawn
    end
    assert.is_true(math.abs(sum / 20000 - 0.5) < 0.01)
  end)
end)

describe("an id", function()
  it("is 1 to 64 of letters, digits, - _ .", function()
    for _, id in ipairs { "n1", "A", "node-1.example_org", ("x"):rep(64), "0", "." } do
      assert.is_true(base.id_valid(id), id)
    end
    for _, id in ipairs { "", ("x"):rep(65), "a b", "a/b", "a:b", "é", "a\n", "[x]", "a\127" } do
      assert.is_false(base.id_valid(id), id)
    end
  end)
end)

describe("a log line", function()
  it("reaches the sink from its level on", function()
    assert.same({ "info raft became leader" }, base.log("info", "info", "raft", "became leader"))
    assert.same({ "error store gone" }, base.log("warn", "error", "store", "gone"))
    assert.same({}, base.log("warn", "info", "raft", "became leader"))
    assert.same({}, base.log("error", "warn", "raft", "careful"))
    assert.same({ "debug x y" }, base.log("debug", "debug", "x", "y"))
  end)

  it("cannot be forged by what a stranger sent", function()
    local line = base.log("info", "info", "net", "refused \"a\n2026-01-01T00:00:00.000Z ERROR fake\"\27[31m\n\n")[1]
    assert.equal("info net refused \"a 2026-01-01T00:00:00.000Z ERROR fake\" [31m", line)
  end)

  it("is cut when it is too long, and says so", function()
    local line = base.log("info", "info", "net", ("x"):rep(10000))[1]
    assert.equal(2047, #line - #"info net ")
    assert.matches("x%.%.%.$", line)
  end)

  local function in_another_process(code)
    local command = string.format("LUA_CPATH=%s lua5.4 -e %s 2>&1; echo \"status $?\"", "'" .. package.cpath .. "'",
      "'local base = require \"moonclave.base\" " .. code .. "'")
    local pipe = assert(io.popen(command))
    local text = pipe:read "a"
    pipe:close()
    return text
  end

  it("goes to stderr with the time in UTC, the level and the room", function()
    local text = in_another_process [[
      base.log_line("info", "raft", "one")
      base.log_line("error", "a-very-long-room", "two")]]
    assert.matches("^%d%d%d%d%-%d%d%-%d%dT%d%d:%d%d:%d%d%.%d%d%dZ INFO  raft   one\n", text)
    assert.matches("Z ERROR a%-very%-long%-room two\n", text)
  end)

  it("says how much memory could not be had before the process ends", function()
    for _, wrap in ipairs { "true", "false" } do
      local text = in_another_process("base.memory_exhaust(" .. wrap .. ")")
      if not text:find "AddressSanitizer" then
        assert.matches("moonclave: out of memory: %d+ bytes could not be had", text)
      end
      assert.is_nil(text:find "status 0")
    end
  end)
end)

describe("hex, which the specs of formats stand on", function()
  it("goes there and back", function()
    local bytes = require "support.bytes"
    assert.equal("00ff10", hex "\0\xff\x10")
    assert.equal("\0\xff\x10", bytes.unhex "00 ff\n10")
    local prefixes, flips = 0, {}
    for _ in bytes.prefixes "abc" do prefixes = prefixes + 1 end
    for _, changed in bytes.flips "ab" do flips[changed] = true end
    local count = 0
    for _ in pairs(flips) do count = count + 1 end
    assert.same({ 3, 16, nil }, { prefixes, count, flips.ab })
  end)
end)
