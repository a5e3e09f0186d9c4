# Moonclave. `make help` says what can be made.

# ---- settings: override on the command line ----
BUILD    ?= build
CC       ?= cc
PREFIX   ?= /usr/local
DESTDIR  ?=
BINDIR   ?= $(PREFIX)/bin
LUADIR   ?= $(PREFIX)/share/lua/5.4
LIBDIR   ?= $(PREFIX)/lib/lua/5.4
EXAMPLES ?= $(PREFIX)/share/moonclave/examples
MANDIR   ?= $(PREFIX)/share/man
BASHDIR  ?= $(PREFIX)/share/bash-completion/completions
ZSHDIR   ?= $(PREFIX)/share/zsh/site-functions
UNITDIR  ?= $(PREFIX)/lib/systemd/system
LIST     ?= $(PREFIX)/share/moonclave/installed.list
SANITIZE ?=
MUTANTS  ?=
OPTIMIZE ?= -O2
VERSION  ?= 0.1.0

# ---- what the code needs: found by pkg-config, or in folders that are named here (a rock names them) ----
INCLUDE_DIRS ?=
LIBRARY_DIRS ?=
PKG_CONFIG ?= pkg-config
LUA_PKG    ?= $(shell for p in lua5.4 lua-5.4 lua54 lua; do $(PKG_CONFIG) --exists "$$p" 2>/dev/null && { echo $$p; break; }; done)
PKG_CFLAGS := $(shell $(PKG_CONFIG) --cflags $(LUA_PKG) libuv sqlite3 jansson libxxhash libedit 2>/dev/null)
LUA_LIBS   := $(shell $(PKG_CONFIG) --libs $(LUA_PKG) 2>/dev/null)
EDIT_LIBS  := $(shell $(PKG_CONFIG) --libs libedit 2>/dev/null)
LIBS       := $(shell $(PKG_CONFIG) --libs libuv sqlite3 jansson 2>/dev/null) -lhttp_parser -lm -lpthread

SEARCHED   := $(patsubst %,-isystem %,$(filter-out /usr/include,$(sort $(INCLUDE_DIRS))))
override LDFLAGS += $(patsubst %,-L%,$(filter-out /usr/lib,$(sort $(LIBRARY_DIRS))))

WARNINGS := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes \
            -Wvla -Wformat=2 -Wundef
CFLAGS   ?= -g
override CFLAGS += -std=c11 -D_GNU_SOURCE -Isrc $(PKG_CFLAGS) $(SEARCHED) $(OPTIMIZE) $(WARNINGS) -fPIC -fvisibility=hidden \
            -fno-omit-frame-pointer -DMOONCLAVE_VERSION='"$(VERSION)"'
ifneq ($(SANITIZE),)
override CFLAGS  += -fsanitize=address,undefined -fno-sanitize-recover=undefined
override LDFLAGS += -fsanitize=address,undefined
endif
ifneq ($(MUTANTS),)
override CFLAGS += -DMOONCLAVE_MUTANTS
endif

# ---- what there is ----
CORE_DIRS    := base raft state wire store http script host sim
PROGRAM_DIRS := net node cli
CORE_SRC     := $(foreach d,$(CORE_DIRS),$(wildcard src/$(d)/*.c))
# The modules that a command of the program needs (`sim`, `check`, `repl`) are linked into it.
LINKED_SRC   := $(addprefix src/module/,channel.c control.c editor.c fsm.c policyvm.c simcore.c workers.c)
PROGRAM_SRC  := $(CORE_SRC) $(LINKED_SRC) $(foreach d,$(PROGRAM_DIRS),$(wildcard src/$(d)/*.c)) src/main.c
MODULE_SRC   := $(wildcard src/module/*.c)
CORE_OBJ     := $(CORE_SRC:src/%.c=$(BUILD)/%.o)
PROGRAM_OBJ  := $(PROGRAM_SRC:src/%.c=$(BUILD)/%.o)
MODULES      := $(MODULE_SRC:src/module/%.c=$(BUILD)/lua/moonclave/%.so)
ARCHIVE      := $(BUILD)/libmoonclave.a
# Modules in C that the Lua library requires are installed; the others are for our own specs.
LUA_REQUIRES := $(shell grep -rhoE --include='*.lua' "[\"']moonclave\.[a-z_]+[\"']" lua | tr -d \"\' | sort -u)
USER_MODULES := $(filter $(LUA_REQUIRES:moonclave.%=$(BUILD)/lua/moonclave/%.so),$(MODULES))

.PHONY: all modules test asan mutants bench bench-client bench-failover bench-level bench-snapshots soak lint clean help install uninstall program
all: $(BUILD)/moonclave modules

modules: $(MODULES)

# What is installed, and no more: what a rock is made of.
.PHONY: program
program: $(BUILD)/moonclave $(USER_MODULES)

$(BUILD)/moonclave: $(PROGRAM_OBJ)
	$(CC) $(LDFLAGS) -o $@ $(PROGRAM_OBJ) $(LUA_LIBS) $(LIBS) $(EDIT_LIBS) -ldl

# The modules find Lua in the interpreter that loads them: they are never linked with liblua.
$(BUILD)/lua/moonclave/%.so: $(BUILD)/module/%.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -o $@ $< $(ARCHIVE) $(LIBS)

# The node's threads, for their spec: all of the node that a module may know.
$(BUILD)/lua/moonclave/threads.so: $(BUILD)/module/threads.o $(BUILD)/node/disk.o $(BUILD)/node/files.o $(ARCHIVE)
	@mkdir -p $(@D)
	$(CC) $(LDFLAGS) -shared -o $@ $(BUILD)/module/threads.o $(BUILD)/node/disk.o $(BUILD)/node/files.o $(ARCHIVE) $(LIBS)

# Only the line editor knows libedit.
$(BUILD)/lua/moonclave/editor.so: LIBS += $(EDIT_LIBS)

$(ARCHIVE): $(CORE_OBJ)
	@rm -f $@
	ar rcs $@ $(CORE_OBJ)

$(BUILD)/%.o: src/%.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

-include $(CORE_OBJ:.o=.d) $(PROGRAM_OBJ:.o=.d) $(MODULE_SRC:src/%.c=$(BUILD)/%.d)

clean:
	rm -rf $(BUILD)

# ---- for people ----
test:
	./scripts/test

# Every spec under AddressSanitizer and UndefinedBehaviorSanitizer.
asan:
	BUILD=$(BUILD)-asan SANITIZE=1 ./scripts/test

# Every guard of src/raft and src/host switched off in turn: something must notice (scripts/mutants/README.md).
# MUTANTS_OPTIONS='--named', '--only raft/vote', '--survivors' ...
mutants:
	lua5.4 scripts/mutants/run.lua --build $(BUILD)/generated $(MUTANTS_OPTIONS)

bench: all
	./scripts/bench

# BENCH='...': words for the script.
bench-client bench-failover bench-level bench-snapshots: all
	LUA_PATH='./lua/?.lua;./lua/?/init.lua;./spec/?.lua;;' LUA_CPATH='./$(BUILD)/lua/?.so;;' MOONCLAVE_BUILD=$(BUILD) lua5.4 scripts/$@.lua $(BENCH)

# Simulated clusters for so long: make soak MINUTES=60
MINUTES ?= 10
soak: all
	BUILD=$(BUILD) ./scripts/soak $(MINUTES)

lint:
	luacheck --quiet lua spec examples
	cppcheck --quiet --std=c11 --enable=warning,portability --inline-suppr -Isrc \
	    --suppress=missingIncludeSystem --error-exitcode=1 src

# scripts/packaging/install knows what goes where; a folder that is set to nothing gets nothing.
PUT = BUILD='$(BUILD)' DESTDIR='$(DESTDIR)' BINDIR='$(BINDIR)' LUADIR='$(LUADIR)' \
      LIBDIR='$(LIBDIR)' EXAMPLES='$(EXAMPLES)' MANDIR='$(MANDIR)' BASHDIR='$(BASHDIR)' ZSHDIR='$(ZSHDIR)' \
      UNITDIR='$(UNITDIR)' LIST='$(LIST)' MODULES='$(notdir $(USER_MODULES))' ./scripts/packaging/install

install: program
	@$(PUT) put

uninstall:
	@$(PUT) remove

help:
	@echo 'make            the program ($(BUILD)/moonclave) and the Lua modules'
	@echo 'make test       builds and runs every spec (scripts/test)'
	@echo 'make asan       the same under AddressSanitizer and UndefinedBehaviorSanitizer'
	@echo 'make mutants    switches every guard of src/raft and src/host off in turn: some seed or spec must notice'
	@echo 'make bench      a local three-node cluster under the load generator (scripts/bench)'
	@echo 'make bench-failover, bench-snapshots, bench-level  writes while leaders go; what snapshots cost; what levels off'
	@echo 'make bench-client  what the client library costs, beside the load generator'
	@echo 'make soak       simulated clusters for MINUTES=$(MINUTES), on the model and on the store itself'
	@echo 'make lint       luacheck and cppcheck'
	@echo 'make install    PREFIX=$(PREFIX) DESTDIR=$(DESTDIR); make uninstall takes away what it put there'
	@echo 'make clean      removes $(BUILD)'
	@echo 'Settings: BUILD=dir CC=clang OPTIMIZE=-O3 SANITIZE=1 MUTANTS=1'
