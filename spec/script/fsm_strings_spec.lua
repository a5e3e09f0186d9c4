-- The string functions that are our own, against those of the Lua that runs this spec.
local support = require "script.fsm_support"

-- One machine evaluates expressions on values that it is given.
local machine = support.machine [[
  local function text(...)
    local parts = table.pack(...)
    for i = 1, parts.n do
      local part = parts[i]
      parts[i] = type(part) == "number" and tostring(part) or part == nil and "nil" or part
    end
    return table.concat(parts, "|")
  end
  return { commands = { call = function(_, c)
    local ok, result = pcall(function() return text(string[c.name](table.unpack(c.arguments))) end)
    return { ok, (result:gsub("^fsm.lua:%d+: ", "")) }
  end, gmatch = function(_, c)
    local found = {}
    for a, b in string.gmatch(c.s, c.p) do found[#found + 1] = text(a, b) end
    return found
  end, gsub = function(_, c)
    local by = c.by
    if by == "function" then by = function(a, b) return a ~= "a" and "<" .. text(a, b) .. ">" end end
    return { c.s:gsub(c.p, by, c.n) }
  end } }]]

local function text(...)
  local parts = table.pack(...)
  for i = 1, parts.n do
    local part = parts[i]
    parts[i] = type(part) == "number" and tostring(part) or part == nil and "nil" or part
  end
  return table.concat(parts, "|")
end

local function ours(name, ...)
  local code, reply = machine:apply({ index = 1 }, "call", { name = name, arguments = { ... } })
  assert(code == "ok", reply and reply.message)
  return reply[1], reply[2]
end

local function stock(name, ...)
  local arguments = table.pack(...)
  local ok, result = pcall(function() return text(string[name](table.unpack(arguments, 1, arguments.n))) end)
  return ok, (result:gsub("^%S-:%d+: ", ""))
end

local function same(name, ...)
  local ok, result = stock(name, ...)
  local our_ok, our_result = ours(name, ...)
  if ok ~= our_ok or result ~= our_result then
    error(("%s(%s): %s %s, not %s %s"):format(name, text(...), our_ok, our_result, ok, result), 2)
  end
end

describe("patterns", function()
  it("match as the manual says", function()
    for _, case in ipairs {
      { "hello world", "o w" }, { "hello", "l+" }, { "hello", "xyz" }, { "hello", "" }, { "hello", "h", 2 },
      { "hello", "l", -2 },
      { "hello", "", 6 }, { "hello", "", 7 }, { "a.b", ".", 1, true }, { "a+b", "+", 1, true }, { "key = value",
      "(%w+)%s*=%s*(%w+)" },
      { "THE (quick) fox", "%((%a+)%)" }, { "f(a(b)c)d", "%b()" }, { "THE (quick) fox", "%f[%a]%a+%f[%A]", 5 },
      { "x=1, y=2", "(%w)=(%w), (%w)=(%w)" },
      { "abab", "(a)(b)%1%2" }, { "  trim  ", "^%s*(.-)%s*$" }, { "2024-01-02", "(%d+)-(%d+)-(%d+)" }, { "a]b",
      "[]]" }, { "a^b", "[b^]" },
      { "a-b", "[a-]" }, { "a-b", "[%a-]+" }, { "0x1F", "^0[xX](%x+)$" }, { "aaa", "a-" }, { "aaa", "a-$" },
      { "aaab", "a-b" }, { "ab", "a?b?c?" },
      { "äöü", "[\128-\255]+" }, { "a\0b", "%z" }, { "a\0b", "a\0b" }, { "abc", "()b()" }, { "abc", "[^a]" },
      { "abc", "[^%a]" }, { "a%b", "%%" },
      { "word word", "(%w+) %1" }, { "tab\tnl\n", "%c" }, { "p.u,n", "%p%a%p" }, { "Ab1", "%u%l%d" }, { "x", "%W" },
      { "$5", "$5" }, { "a$", "a$$" },
    } do
      same("find", table.unpack(case))
      if not case[4] then same("match", table.unpack(case)) end
    end
  end)

  it("refuse what is malformed", function()
    for _, pattern in ipairs { "[a", "[^", "%", "[%", "(", ")", "%1", "(%1)", "%b", "%bx", "%f", "%fa", "[]", "()%2",
      ("(a)"):rep(33), ("a?"):rep(250) .. "(" } do
      same("find", "aaa", pattern)
      same("match", "aaa", pattern)
    end
    same("gsub", "x", "x", "%2")
    same("gsub", "x", "x", "%a")
    same("gsub", "x", "x", "%")
  end)

  it("do the same as the stock ones on anything", function()
    math.randomseed(11)
    local items = { "a", "b", ".", "%a", "%d", "%s", "%w", "%W", "[ab]", "[^ab]", "[a-c]", "[%d_]", "(", ")", "()",
      "%1", "^", "$", "%b()", "%f[%a]", "x", "-", "%" }
    local signs = { "", "", "", "*", "+", "-", "?" }
    local letters = { "a", "b", "c", "x", "1", " ", "_", "(", ")", "A", "\0", "\255" }
    for _ = 1, 6000 do
      local pattern, subject = {}, {}
      for i = 1, math.random(0, 6) do pattern[i] = items[math.random(#items)] .. signs[math.random(#signs)] end
      for i = 1, math.random(0, 12) do subject[i] = letters[math.random(#letters)] end
      local p, s = table.concat(pattern), table.concat(subject)
      same("find", s, p, math.random(-5, 8))
      same("match", s, p)
      same("gsub", s, p, "<%0>", math.random(0, 5))
    end
  end)

  it("find all, and replace by functions and tables", function()
    for _, case in ipairs { { "one two", "%a+" }, { "k=v, x=y", "(%w)=(%w)" }, { "abc", "" }, { "abc", "b*" }, { "",
      "x*" }, { "aXbX", "()X" } } do
      local expected = {}
      for a, b in string.gmatch(case[1], case[2]) do expected[#expected + 1] = text(a, b) end
      assert.same(expected, select(2, machine:apply({ index = 1 }, "gmatch", { s = case[1], p = case[2] })))
    end
    local function both(s, p, by, n)
      local stock_by = by
      if by == "function" then stock_by = function(a, b) return a ~= "a" and "<" .. text(a, b) .. ">" end end
      assert.same({ s:gsub(p, stock_by, n) }, select(2, machine:apply({ index = 1 }, "gsub", { s = s, p = p, by = by,
        n = n })))
    end
    both("hello world", "%w+", "function")
    both("a b a", "%w", "function", 2)
    both("$name is $age", "%$(%w+)", { name = "Lua", age = 30 })
    both("abc", "%w", "%0%0")
    both("abc", "^a", "x")
    both("abc def", "(%w)(%w)", "%2%1")
    both("abc", "", "-")
    both("abc", "%w", 7)
  end)
end)

describe("the other string functions", function()
  it("do as the stock ones", function()
    same("rep", "ab", 3)
    same("rep", "ab", 3, ",")
    same("rep", "ab", 0)
    same("rep", "", 5)
    same("rep", "", 3, "-")
    same("rep", "x", -1)
    same("format", "%5d|%-5s|%05.1f|%x|%q|%%|%c|%i|%g", 42, "ab", 3.14159, 255, "a\nb", 65, 7, 1e20)
    same("format", "%s %s %s", 1, 1.5, "x")
    same("format", "%d", "10")
    same("format", "%s")
    same("format", "%y", 1)
    same("format", "%", 1)
    same("upper", "aBc")
    same("byte", "abc", 1, -1)
    same("sub", "hello", 2, -2)
    same("pack", ">i4", 7)
    same("pack", "i4z", 7, "x")
    same("unpack", "<i2", "\1\2")
    same("packsize", "i4i8")
    same("reverse", "abc")
    same("len", "abc")
  end)
end)
