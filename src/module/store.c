/*
 * moonclave.store: the store and its lossy disk, for the specs.
 *
 *   store.open{folder=, id=, incarnation=, disk=, page_size=, checkpoint_pages=, snapshot_block=}
 *                                                                                   -> a store
 *   store.disk(seed)                                                                -> a lossy disk
 *   store.mutant([name])                          a build with mutants: switches that one on
 *   store.now_us()                                a monotonic clock, for measuring
 *   store.inspect(folder)                         what is wrong there: a list of {part=, code=, index=, offset=, text=}
 * What fails returns nil, the error's code and its text.
 */
#include "module/entry_table.h"
#include "module/fields.h"
#include "module/mutants.h"
#include "module/snapshot_table.h"
#include "store/inspect.h"
#include "store/meta.h"
#include "store/snapshot.h"
#include "store/store.h"
#include "store/vfs_lossy.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#define STORE_TYPE "moonclave.store"
#define DISK_TYPE  "moonclave.store.disk"

/* ---- lossy disks ---- */

struct disk_box {
    struct vfs_lossy *disk;
    char name[48];
};

static struct disk_box *check_disk_box(lua_State *L, int argument)
{
    return luaL_checkudata(L, argument, DISK_TYPE);
}

static struct vfs_lossy *check_disk(lua_State *L)
{
    return check_disk_box(L, 1)->disk;
}

static int disk_new(lua_State *L)
{
    static unsigned made;
    struct disk_box *box = lua_newuserdatauv(L, sizeof *box, 0);
    snprintf(box->name, sizeof box->name, "lossy-%p-%u", (void *)box, ++made);
    box->disk = vfs_lossy_new(box->name, (uint64_t)luaL_optinteger(L, 1, 1));
    luaL_setmetatable(L, DISK_TYPE);
    return 1;
}

static int disk_free(lua_State *L)
{
    struct disk_box *box = check_disk_box(L, 1);
    vfs_lossy_free(box->disk);
    box->disk = NULL;
    return 0;
}

/* disk:fail(kind, nth) */
static int disk_fail(lua_State *L)
{
    static const char *const kinds[] = {"crash", "full", "error", "read_error", NULL};
    enum vfs_lossy_fault fault = (enum vfs_lossy_fault)luaL_checkoption(L, 2, NULL, kinds);
    vfs_lossy_fail(check_disk(L), fault, (uint64_t)luaL_checkinteger(L, 3));
    return 0;
}

static int disk_quota(lua_State *L)
{
    vfs_lossy_quota(check_disk(L), (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

/* disk:power_cut("all"|"some"): which of the unsynced writes are lost */
static int disk_power_cut(lua_State *L)
{
    static const char *const losses[] = {"all", "some", NULL};
    vfs_lossy_power_cut(check_disk(L), (enum vfs_lossy_loss)luaL_checkoption(L, 2, NULL, losses));
    return 0;
}

static int disk_kill(lua_State *L)
{
    vfs_lossy_kill(check_disk(L));
    return 0;
}

/* disk:counts() -> calls, reads, syncs */
static int disk_counts(lua_State *L)
{
    const struct vfs_lossy *disk = check_disk(L);
    lua_pushinteger(L, (lua_Integer)vfs_lossy_calls(disk));
    lua_pushinteger(L, (lua_Integer)vfs_lossy_reads(disk));
    lua_pushinteger(L, (lua_Integer)vfs_lossy_syncs(disk));
    return 3;
}

/* disk:image() -> {name = content} */
static int disk_image(lua_State *L)
{
    const struct vfs_lossy *disk = check_disk(L);
    lua_newtable(L);
    for (size_t i = 0; i < vfs_lossy_file_count(disk); i++) {
        struct slice content;
        const char *name = vfs_lossy_file_name(disk, i);
        if (vfs_lossy_file_read(disk, name, &content)) set_slice(L, name, content);
    }
    return 1;
}

static int disk_write(lua_State *L)
{
    vfs_lossy_file_write(check_disk(L), luaL_checkstring(L, 2), check_slice(L, 3));
    return 0;
}

static int disk_remove(lua_State *L)
{
    lua_pushboolean(L, vfs_lossy_file_remove(check_disk(L), luaL_checkstring(L, 2)));
    return 1;
}

/* disk:restore(image): exactly these files with this content, durably */
static int disk_restore(lua_State *L)
{
    struct vfs_lossy *disk = check_disk(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    while (vfs_lossy_file_count(disk) > 0)
        vfs_lossy_file_remove(disk, vfs_lossy_file_name(disk, 0));
    for (lua_pushnil(L); lua_next(L, 2); lua_pop(L, 1)) {
        vfs_lossy_file_write(disk, luaL_checkstring(L, -2), check_slice(L, -1));
    }
    return 0;
}

/* ---- stores ---- */

struct store_box {
    struct store *store;
};

static struct store *check_store(lua_State *L)
{
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    luaL_argcheck(L, box->store, 1, "the store is closed");
    return box->store;
}

/* The disk becomes the store's user value: it must not be collected first. */
static int store_lua_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct store_options options = {
        .folder = field_text(L, 1, "folder"),
        .id = field_text(L, 1, "id"),
        .incarnation = field_u64(L, 1, "incarnation"),
        .page_size = (uint32_t)field_u64(L, 1, "page_size"),
        .checkpoint_pages = (uint32_t)field_u64(L, 1, "checkpoint_pages"),
        .snapshot_block = (uint32_t)field_u64(L, 1, "snapshot_block"),
    };
    if (options.id[0] == 0) options.id = NULL;
    struct store_box *box = lua_newuserdatauv(L, sizeof *box, 1);
    box->store = NULL;
    luaL_setmetatable(L, STORE_TYPE);
    if (lua_getfield(L, 1, "disk") != LUA_TNIL) options.vfs = check_disk_box(L, -1)->name;
    lua_setiuservalue(L, -2, 1);
    struct error error;
    if (store_open(&options, &box->store, &error)) return push_failure(L, &error);
    return 1;
}

static int store_lua_close(lua_State *L)
{
    struct store_box *box = luaL_checkudata(L, 1, STORE_TYPE);
    store_close(box->store);
    box->store = NULL;
    return 0;
}

static int store_lua_identity(lua_State *L)
{
    const struct identity *identity = store_identity(check_store(L));
    lua_createtable(L, 0, 3);
    set_text(L, "id", identity->id);
    set_u64(L, "incarnation", identity->incarnation);
    set_u64(L, "cluster", identity->cluster);
    return 1;
}

static int store_lua_durable(lua_State *L)
{
    const struct raft_durable *durable = store_durable(check_store(L));
    struct slice first = store_first_configuration(check_store(L));
    lua_createtable(L, 0, 9);
    lua_pushlstring(L, (const char *)first.data, first.size);
    lua_setfield(L, -2, "first_configuration");
    set_u64(L, "term", durable->hard_state.term);
    set_text(L, "vote", durable->hard_state.vote.text);
    set_u64(L, "last_index", durable->last_index);
    set_u64(L, "last_chain", durable->last_chain);
    set_u64(L, "last_time_ms", durable->last_time_ms);
    push_meta(L, &durable->snapshot);
    lua_setfield(L, -2, "snapshot");
    lua_createtable(L, 0, 3);
    set_u64(L, "index", durable->base.index);
    set_u64(L, "term", durable->base.term);
    set_u64(L, "chain", durable->base.chain);
    lua_setfield(L, -2, "base");
    lua_createtable(L, (int)durable->run_count, 0);
    for (size_t i = 0; i < durable->run_count; i++) {
        lua_createtable(L, 0, 2);
        set_u64(L, "first", durable->runs[i].first);
        set_u64(L, "term", durable->runs[i].term);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "runs");
    lua_createtable(L, (int)durable->configuration_count, 0);
    for (size_t i = 0; i < durable->configuration_count; i++) {
        push_entry(L, &durable->configurations[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "configurations");
    return 1;
}

/* store:bootstrap(configuration, cluster) */
static int store_lua_bootstrap(lua_State *L)
{
    struct store *store = check_store(L);
    struct error error;
    if (store_bootstrap(store, check_slice(L, 2), (uint64_t)luaL_checkinteger(L, 3), &error)) {
        return push_failure(L, &error);
    }
    lua_pushboolean(L, true);
    return 1;
}

/* The entries' payloads are the tables' strings. Memory is Lua's, anchored on the stack. */
static void check_write(lua_State *L, int table, struct raft_persist *write)
{
    *write = (struct raft_persist){.truncate_from = field_u64(L, table, "truncate_from")};
    if (lua_getfield(L, table, "hard_state") != LUA_TNIL) {
        int hard_state = lua_gettop(L);
        write->has_hard_state = true;
        write->hard_state.term = field_u64(L, hard_state, "term");
        field_copy_text(L, hard_state, "vote", write->hard_state.vote.text,
                        sizeof write->hard_state.vote.text);
    }
    lua_pop(L, 1);
    if (lua_getfield(L, table, "entries") == LUA_TNIL) return;
    int list = lua_gettop(L);
    write->entry_count = (size_t)luaL_len(L, list);
    struct raft_entry *entries = lua_newuserdatauv(L, write->entry_count * sizeof *entries, 0);
    for (size_t i = 0; i < write->entry_count; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        entries[i] = check_entry(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    write->entries = entries;
}

/* store:persist{{hard_state = {term=, vote=}, truncate_from=, entries = {...}}, ...} */
static int store_lua_persist(lua_State *L)
{
    struct store *store = check_store(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    size_t count = (size_t)luaL_len(L, 2);
    struct raft_persist *writes = lua_newuserdatauv(L, (count + 1) * sizeof *writes, 0);
    const struct raft_persist **list = lua_newuserdatauv(L, (count + 1) * sizeof *list, 0);
    for (size_t i = 0; i < count; i++) {
        luaL_checkstack(L, 8, "too many writes");
        lua_geti(L, 2, (lua_Integer)i + 1);
        check_write(L, lua_gettop(L), &writes[i]);
        writes[i].sequence = i + 1;
        list[i] = &writes[i];
    }
    struct error error;
    if (store_persist(store, list, count, &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

static int store_lua_tidy(lua_State *L)
{
    struct error error;
    if (store_tidy(check_store(L), &error)) return push_failure(L, &error);
    lua_pushboolean(L, true);
    return 1;
}

/* store:read(first, last, max_bytes) -> list of entries */
static int store_lua_read(lua_State *L)
{
    struct store_entries found;
    struct error error;
    uint64_t first = (uint64_t)luaL_checkinteger(L, 2), last = (uint64_t)luaL_checkinteger(L, 3);
    size_t max_bytes = (size_t)luaL_optinteger(L, 4, INT32_MAX);
    if (store_read(check_store(L), first, last, max_bytes, &found, &error))
        return push_failure(L, &error);
    lua_createtable(L, (int)found.count, 0);
    for (size_t i = 0; i < found.count; i++) {
        push_entry(L, &found.entries[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    store_entries_free(&found);
    return 1;
}

static int store_lua_counters(lua_State *L)
{
    struct store_counters counters = store_counters(check_store(L));
    lua_createtable(L, 0, 6);
    set_u64(L, "commits", counters.commits);
    set_u64(L, "writes", counters.writes);
    set_u64(L, "entries", counters.entries);
    set_u64(L, "bytes", counters.bytes);
    set_u64(L, "refusals", counters.refusals);
    set_u64(L, "checkpoints", counters.checkpoints);
    set_u64(L, "trimmed", counters.trimmed);
    return 1;
}

/* ---- snapshots ---- */

static int done(lua_State *L, enum error_code code, const struct error *error)
{
    if (code) return push_failure(L, error);
    lua_pushboolean(L, true);
    return 1;
}

static struct store_snapshots *check_snapshots(lua_State *L)
{
    return store_snapshots(check_store(L));
}

/* store:adopt(meta) */
static int store_lua_adopt(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 2);
    struct error error;
    return done(L, store_adopt(check_store(L), &meta, &error), &error);
}

/* store:install(meta) */
static int store_lua_install(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 2);
    struct error error;
    return done(L, store_install(check_store(L), &meta, &error), &error);
}

/* store:compact(index) */
static int store_lua_compact(lua_State *L)
{
    struct error error;
    uint64_t index = (uint64_t)luaL_checkinteger(L, 2);
    return done(L, store_compact(check_store(L), index, &error), &error);
}

static int store_lua_is_tidy(lua_State *L)
{
    lua_pushboolean(L, store_is_tidy(check_store(L)));
    return 1;
}

/* store:snapshot_begin(meta) */
static int snapshot_begin(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 2);
    struct error error;
    return done(L, store_snapshot_begin(check_snapshots(L), &meta, &error), &error);
}

/* store:snapshot_write(bytes) */
static int snapshot_write(lua_State *L)
{
    struct error error;
    return done(L, store_snapshot_write(check_snapshots(L), check_slice(L, 2), &error), &error);
}

/* store:snapshot_finish(meta) -> the meta with its size */
static int snapshot_finish(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 2);
    struct error error;
    if (store_snapshot_finish(check_snapshots(L), &meta, &error)) return push_failure(L, &error);
    push_meta(L, &meta);
    return 1;
}

static int snapshot_abort(lua_State *L)
{
    store_snapshot_abort(check_snapshots(L));
    return 0;
}

/* store:incoming_begin(meta) -> bytes that are there */
static int incoming_begin(lua_State *L)
{
    struct raft_snapshot_meta meta = check_meta(L, 2);
    struct error error;
    uint64_t have;
    if (store_incoming_begin(check_snapshots(L), &meta, &have, &error))
        return push_failure(L, &error);
    lua_pushinteger(L, (lua_Integer)have);
    return 1;
}

/* store:incoming_write(offset, bytes) -> bytes that are there */
static int incoming_write(lua_State *L)
{
    struct error error;
    uint64_t have, offset = (uint64_t)luaL_checkinteger(L, 2);
    if (store_incoming_write(check_snapshots(L), offset, check_slice(L, 3), &have, &error))
        return push_failure(L, &error);
    lua_pushinteger(L, (lua_Integer)have);
    return 1;
}

static int incoming_finish(lua_State *L)
{
    struct error error;
    return done(L, store_incoming_finish(check_snapshots(L), &error), &error);
}

static int incoming_abort(lua_State *L)
{
    store_incoming_abort(check_snapshots(L));
    return 0;
}

/* store:snapshot_read(index, offset, max_bytes) -> bytes */
static int snapshot_read(lua_State *L)
{
    struct buffer out = {0};
    struct error error;
    raft_index index = (raft_index)luaL_checkinteger(L, 2);
    uint64_t offset = (uint64_t)luaL_checkinteger(L, 3);
    size_t max_bytes = (size_t)luaL_optinteger(L, 4, INT32_MAX);
    if (!store_snapshot_read(check_snapshots(L), index, offset, max_bytes, &out, &error))
        return push_buffer(L, &out);
    buffer_deinit(&out);
    return push_failure(L, &error);
}

/* store:snapshots_forget(from) */
static int snapshots_forget(lua_State *L)
{
    struct error error;
    raft_index from = (raft_index)luaL_checkinteger(L, 2);
    return done(L, store_snapshots_forget(check_snapshots(L), from, &error), &error);
}

/* store:snapshot_discard(index) */
static int snapshot_discard(lua_State *L)
{
    struct error error;
    raft_index index = (raft_index)luaL_checkinteger(L, 2);
    return done(L, store_snapshot_discard(check_snapshots(L), index, &error), &error);
}

static int now_us(lua_State *L)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    lua_pushinteger(L, (lua_Integer)now.tv_sec * 1000000 + now.tv_nsec / 1000);
    return 1;
}

static int switch_mutant(lua_State *L)
{
    return check_mutant(L, 1);
}

/* ---- bytes of meta rows ---- */

/* meta_bytes("identity", {id=, incarnation=, cluster=}), ("hard_state", {term=, vote=}) or
 * ("base", {index=, term=, chain=}) */
static int store_lua_meta_bytes(lua_State *L)
{
    static const char *const kinds[] = {"identity", "hard_state", "base", NULL};
    struct buffer out = {0};
    int kind = luaL_checkoption(L, 1, NULL, kinds);
    if (kind == 2) {
        struct raft_log_base base = {field_u64(L, 2, "index"), field_u64(L, 2, "term"),
                                     field_u64(L, 2, "chain")};
        store_meta_encode_base(&base, &out);
    } else if (kind == 0) {
        struct identity identity = {.incarnation = field_u64(L, 2, "incarnation"),
                                    .cluster = field_u64(L, 2, "cluster")};
        field_copy_text(L, 2, "id", identity.id, sizeof identity.id);
        store_meta_encode_identity(&identity, &out);
    } else {
        struct raft_hard_state hard_state = {.term = field_u64(L, 2, "term")};
        field_copy_text(L, 2, "vote", hard_state.vote.text, sizeof hard_state.vote.text);
        store_meta_encode_hard_state(&hard_state, &out);
    }
    return push_buffer(L, &out);
}

static const luaL_Reg disk_methods[] = {
    {"__gc", disk_free},           {"fail", disk_fail},   {"quota", disk_quota},
    {"power_cut", disk_power_cut}, {"kill", disk_kill},   {"counts", disk_counts},
    {"image", disk_image},         {"write", disk_write}, {"remove", disk_remove},
    {"restore", disk_restore},     {NULL, NULL},
};

static const luaL_Reg store_methods[] = {
    {"__gc", store_lua_close},          {"close", store_lua_close},
    {"identity", store_lua_identity},   {"durable", store_lua_durable},
    {"bootstrap", store_lua_bootstrap}, {"persist", store_lua_persist},
    {"tidy", store_lua_tidy},           {"read", store_lua_read},
    {"counters", store_lua_counters},   {"adopt", store_lua_adopt},
    {"install", store_lua_install},     {"compact", store_lua_compact},
    {"is_tidy", store_lua_is_tidy},     {"snapshot_begin", snapshot_begin},
    {"snapshot_write", snapshot_write}, {"snapshot_finish", snapshot_finish},
    {"snapshot_abort", snapshot_abort}, {"snapshot_read", snapshot_read},
    {"incoming_begin", incoming_begin}, {"incoming_write", incoming_write},
    {"incoming_abort", incoming_abort}, {"incoming_finish", incoming_finish},
    {"snapshots_forget", snapshots_forget}, {"snapshot_discard", snapshot_discard},
    {NULL, NULL},
};

static void push_finding(void *context, const struct store_finding *finding)
{
    lua_State *L = context;
    lua_createtable(L, 0, 5);
    set_text(L, "part", store_part_name(finding->part));
    set_text(L, "code", error_name(finding->code));
    set_u64(L, "index", finding->index);
    set_u64(L, "offset", finding->offset);
    set_text(L, "text", finding->text);
    lua_seti(L, -2, luaL_len(L, -2) + 1);
}

static int inspect(lua_State *L)
{
    struct store_inspection *inspection;
    struct error error;
    const char *folder = luaL_checkstring(L, 1);
    if (store_inspect_open(folder, &inspection, &error)) return push_failure(L, &error);
    lua_newtable(L);
    const struct store_inspector inspector = {.context = L, .found = push_finding};
    store_inspect_check(inspection, &inspector);
    store_inspect_close(inspection);
    return 1;
}

static const luaL_Reg functions[] = {
    {"open", store_lua_open},
    {"disk", disk_new},
    {"inspect", inspect},
    {"meta_bytes", store_lua_meta_bytes},
    {"mutant", switch_mutant},
    {"now_us", now_us},
    {NULL, NULL},
};

static void make_type(lua_State *L, const char *name, const luaL_Reg *type_methods)
{
    luaL_newmetatable(L, name);
    luaL_setfuncs(L, type_methods, 0);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
}

__attribute__((visibility("default"))) int luaopen_moonclave_store(lua_State *L);

int luaopen_moonclave_store(lua_State *L)
{
    make_type(L, DISK_TYPE, disk_methods);
    make_type(L, STORE_TYPE, store_methods);
    luaL_newlib(L, functions);
    return 1;
}
