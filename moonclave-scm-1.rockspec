rockspec_format = "3.0"
package = "moonclave"
version = "scm-1"
-- The checkout that this file lies in; a release has an archive instead (scripts/release).
source = {
  url = "git+file://.",
}
description = {
  summary = "A scriptable consensus host: a Lua module becomes a replicated, linearizable service",
  detailed = [[
Moonclave runs the Raft protocol and SQLite persistence on libuv, and loads the replicated state machine and the API for
clients from Lua scripts. The rock installs the program `moonclave`, which finds its modules wherever the tree is, and
for Lua programs `moonclave.sim`: whole clusters on a virtual clock, network and disk, to test a state machine with.]],
  license = "unspecified",
  labels = { "raft", "consensus", "replication", "distributed", "testing" },
}
supported_platforms = { "linux" }
dependencies = {
  "lua >= 5.4, < 5.5",
}
external_dependencies = {
  UV = { header = "uv.h", library = "uv" },
  SQLITE = { header = "sqlite3.h", library = "sqlite3" },
  MSGPACK = { header = "msgpack.h" },
  HTTP_PARSER = { header = "http_parser.h", library = "http_parser" },
  JANSSON = { header = "jansson.h", library = "jansson" },
  XXHASH = { header = "xxhash.h" },
  LIBEDIT = { header = "histedit.h", library = "edit" },
}
build = {
  type = "make",
  build_target = "program",
  build_variables = {
    CFLAGS = "$(CFLAGS)",
    INCLUDE_DIRS = "$(LUA_INCDIR) $(UV_INCDIR) $(SQLITE_INCDIR) $(MSGPACK_INCDIR) $(HTTP_PARSER_INCDIR) "
      .. "$(JANSSON_INCDIR) $(XXHASH_INCDIR) $(LIBEDIT_INCDIR)",
    LIBRARY_DIRS = "$(UV_LIBDIR) $(SQLITE_LIBDIR) $(HTTP_PARSER_LIBDIR) $(JANSSON_LIBDIR) $(LIBEDIT_LIBDIR)",
  },
  -- Manual pages, completion and the unit are for systems: `moonclave help --man` and `--completion` print them.
  install_variables = {
    BINDIR = "$(BINDIR)",
    LUADIR = "$(LUADIR)",
    LIBDIR = "$(LIBDIR)",
    EXAMPLES = "$(PREFIX)/examples",
    MANDIR = "",
    BASHDIR = "",
    ZSHDIR = "",
    UNITDIR = "",
    LIST = "",
  },
}
test = {
  type = "command",
  command = "make && busted --lua=lua5.4",
}
