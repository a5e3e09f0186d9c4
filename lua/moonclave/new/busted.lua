return {
  default = {
    ROOT = { "spec" },
    pattern = "_spec",
    lpath = "?.lua",
    lua = "lua5.4",
  },
}
