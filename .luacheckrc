std = "lua54"
max_line_length = 120
exclude_files = { "build", "build-*" }

-- State machines run in a sandbox: no os, io, coroutine or debug, and a few functions of their own.
stds.fsm = {
  read_globals = {
    "assert", "error", "getmetatable", "ipairs", "log", "math", "next", "pairs", "pcall", "require",
    "select", "setmetatable", "string", "table", "tonumber", "tostring", "type", "utf8", "xpcall",
    "scan", "count", "load", "moonclave",
  },
}
files["examples/**/fsm.lua"] = { std = "fsm" }
files["examples/counter"] = { std = "fsm" }
files["lua/moonclave/new"] = { std = "+fsm+busted" }
files["spec"] = { std = "+busted" }
