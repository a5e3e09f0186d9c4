-- The generator behind `make mutants`, on a small program: without a number its copy does what the program does, with
-- any number it does something else, and it knows what is no guard.
local c = dofile "scripts/mutants/c.lua"

local PROGRAM = [[
#include <assert.h>
#include <stdbool.h>
#include <stdio.h>

static void host_log(const char *text) { (void)text; }

/* if (this) were code */
int f(int a, int b)
{
    assert(a >= -9 && b >= -9);
    bool both = a > 0 && b > 0;
    if (both) host_log("if (a > b) in a text");
    if (a < b || (a == 3 && !both) || b == -3) return (a > b + 2 ? a : a * 10 - b) + both * 1000;
    for (int i = 0; i < a; i++) b += i;
    while (b > 10) {
        b -= 7;
        if (b == 12) break;
    }
    return (b != a ? b : -1) + both * 1000;
}
]]

local MAIN = [[
int main(void)
{
    for (int a = -3; a <= 6; a++)
        for (int b = -3; b <= 30; b++) printf("%d ", f(a, b));
    return 0;
}
]]

local function read(path)
  local file = assert(io.open(path, "rb"))
  local text = file:read "a"
  file:close()
  return text
end

local function write(path, text)
  local file = assert(io.open(path, "wb"))
  file:write(text)
  file:close()
end

local function output(command)
  local pipe = assert(io.popen(command .. " 2>&1"))
  local text = pipe:read "a"
  pipe:close()
  return text
end

describe("the generator of mutants", function()
  local folder = os.tmpname()
  os.remove(folder)
  local text, mutants = c.mutate(PROGRAM, "program.c", 1)
  local function built(name, source, more)
    write(("%s/%s.c"):format(folder, name), source .. MAIN)
    local said = output(("cc -w -I%s -o %s/%s %s/%s.c %s"):format(folder, folder, name, folder, name, more or ""))
    assert.equal("", said)
    return ("%s/%s"):format(folder, name)
  end
  local plain, copy

  setup(function()
    assert(os.execute(("mkdir -p %s/base"):format(folder)))
    write(folder .. "/base/mutant_points.h", read "scripts/mutants/points.h")
    write(folder .. "/base/mutant.h", "enum mutant { MUTANT_NONE };\nextern enum mutant mutant_active;\n")
    local points = read "scripts/mutants/points.c" .. "enum mutant mutant_active;\n"
    write(folder .. "/points.c", ("#define MUTANT_POINTS %d\n"):format(#mutants + 1) .. points)
    plain, copy = built("plain", PROGRAM), built("copy", text, folder .. "/points.c")
  end)
  teardown(function() os.execute("rm -rf " .. folder) end)

  it("changes nothing where no number is given, and something where one is", function()
    local expected = output(plain)
    assert.equal(expected, output(copy))
    for _, m in ipairs(mutants) do
      local ticks = "MOONCLAVE_MUTANTS_TICKS=1000000"
      local changed = output(("MOONCLAVE_MUTANT=%d %s %s"):format(m.number, ticks, copy))
      assert.not_equal(expected, changed, m.kind .. " " .. m.text)
    end
  end)

  it("notes what would have answered otherwise, and ends what goes round in circles", function()
    local path = folder .. "/met"
    output(("MOONCLAVE_MUTANTS_MET=%s %s"):format(path, copy))
    local met = {}
    for number in read(path):gmatch "\n(%d+)" do met[math.tointeger(number)] = true end
    for _, m in ipairs(mutants) do assert.is_true(met[m.number], m.kind .. " " .. m.text) end
    assert.matches("circles", output(("MOONCLAVE_MUTANTS_TICKS=10 %s"):format(copy)))
  end)

  it("takes assertions, what is only logged, and the larger of two for no guards", function()
    local kinds, texts = {}, {}
    for _, m in ipairs(mutants) do
      kinds[m.kind] = (kinds[m.kind] or 0) + 1
      texts[m.kind .. " " .. m.text] = true
    end
    assert.same({ negate = 5, never = 4, remove = 7, invert = 7, bound = 6 }, kinds)
    for _, there in ipairs { "negate a < b || (a == 3 && !both) || b == -3", "remove !both", "bound i < a",
      "never i < a", "bound a > b + 2", "negate b != a" } do
      assert.is_true(texts[there], there)
    end
    for name in pairs(texts) do assert.is_nil(name:find "-9" or name:match "^%a+ both$", name) end
    local most = "int most(int a, int b)\n{\n    if (a > b) b = a;\n    return a > b ? a : b;\n}\n"
    local _, none = c.mutate(most, "most.c", 1)
    for _, m in ipairs(none) do assert.not_equal("bound", m.kind) end
  end)
end)
