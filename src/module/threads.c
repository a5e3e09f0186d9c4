/*
 * moonclave.threads: the node's two threads around a store (node/disk.h, node/files.h), for the specs.
 *
 *   threads.open{folder=, id=, incarnation=, lossy=seed}  -> threads; without lossy the real disk, by folder
 *   t:append(count, size [, term])  hands over one write of so many entries -> its sequence, the last index, its chain
 *   t:snapshot{kind=, token=, meta=, offset=, max_bytes=, bytes=, up_to=}
 *   t:collect([seconds])  waits for something at most that long -> list of what was reported, in order:
 *     {what="persisted", sequence=, code=}, {what="snapshot", kind=, token=, code=, text=, offset=, bytes=},
 *     {what="failed", code=, text=}
 *   t:counters(), t:durable() (snapshot's index and meta, base's, last index; at open)
 *   t:continue(index, chain)  what the next append continues: an installed snapshot
 *   t:fail(kind, nth), t:calls()  of the lossy disk, which one thread uses at a time: with one job under way, and no
 *     COMPACT
 *   t:stop()  both threads, in order; t:restart()  stops, opens anew; t:close()
 * What fails returns nil, the error's code and its text.
 */
#include "base/memory.h"
#include "module/fields.h"
#include "module/snapshot_table.h"
#include "node/files.h"
#include "raft/entry.h"
#include "store/vfs_lossy.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define TYPE "moonclave.threads"

static const char *const kinds[] = {"begin",   "write",   "finish",  "abort", "read",
                                    "receive", "install", "compact", NULL};
static const char *const faults[] = {"crash", "full", "error", "read_error", NULL};

/* Entries of a write: the disk thread reads them until the write is reported. */
struct held {
    struct held *next;
    struct raft_entry *entries;
    uint8_t *payload;
};

struct threads {
    struct store_options options;
    char *folder, *id;
    char vfs_name[48];
    struct vfs_lossy *vfs;
    struct store *store;
    struct disk *disk;
    struct files *files;
    bool stopped;
    struct held *held;
    uint64_t sequence;
    raft_index last;
    uint64_t chain;
    lua_State *L; /* while it collects: the list is on top */

    pthread_mutex_t mutex;
    pthread_cond_t woken;
    bool awake;
};

static struct threads *check(lua_State *L)
{
    struct threads *t = luaL_checkudata(L, 1, TYPE);
    luaL_argcheck(L, t->store != NULL, 1, "closed");
    return t;
}

static void wake(void *context)
{
    struct threads *t = context;
    pthread_mutex_lock(&t->mutex);
    t->awake = true;
    pthread_cond_signal(&t->woken);
    pthread_mutex_unlock(&t->mutex);
}

/* ---- reports ---- */

static void begin_report(struct threads *t, const char *what, enum error_code code,
                         const struct error *error)
{
    lua_createtable(t->L, 0, 6);
    set_text(t->L, "what", what);
    set_text(t->L, "code", error_name(code));
    if (code != ERROR_OK) set_text(t->L, "text", error->text);
}

static void end_report(struct threads *t)
{
    lua_seti(t->L, -2, luaL_len(t->L, -2) + 1);
}

static void persisted(void *context, uint64_t sequence, enum error_code code,
                      const struct error *error)
{
    struct threads *t = context;
    begin_report(t, "persisted", code, error);
    set_u64(t->L, "sequence", sequence);
    end_report(t);
}

static void bootstrapped(void *context, enum error_code code, const struct error *error)
{
    (void)context, (void)code, (void)error;
}

static void log_read(void *context, uint64_t token, const struct raft_entry *entries, size_t count,
                     enum error_code code, const struct error *error)
{
    (void)context, (void)token, (void)entries, (void)count, (void)code, (void)error;
}

static void failed(void *context, const struct error *error)
{
    begin_report(context, "failed", error->code, error);
    end_report(context);
}

static void done(void *context, const struct host_snapshot_report *report)
{
    struct threads *t = context;
    begin_report(t, "snapshot", report->code, report->error);
    set_text(t->L, "kind", kinds[report->kind]);
    set_u64(t->L, "token", report->token);
    set_u64(t->L, "offset", report->offset);
    set_slice(t->L, "bytes", report->bytes.bytes);
    end_report(t);
    blob_drop(report->bytes.blob);
}

static int collect(lua_State *L)
{
    struct threads *t = check(L);
    double seconds = luaL_optnumber(L, 2, 0);
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    int64_t ns = until.tv_nsec + (int64_t)(seconds * 1e9);
    until.tv_sec += ns / 1000000000;
    until.tv_nsec = ns % 1000000000;
    pthread_mutex_lock(&t->mutex);
    while (!t->awake && seconds > 0) {
        if (pthread_cond_timedwait(&t->woken, &t->mutex, &until) != 0) break;
    }
    t->awake = false;
    pthread_mutex_unlock(&t->mutex);
    lua_newtable(L);
    t->L = L;
    files_gather(t->files);
    disk_collect(t->disk);
    files_report(t->files);
    return 1;
}

/* ---- work ---- */

/* Each payload is `size` times a letter that goes by the index. */
static int append(lua_State *L)
{
    struct threads *t = check(L);
    size_t count = (size_t)luaL_checkinteger(L, 2), size = (size_t)luaL_checkinteger(L, 3);
    struct held *held = memory_zero(1, sizeof *held);
    held->entries = memory_zero(count, sizeof *held->entries);
    held->payload = memory_alloc(count * size);
    for (size_t i = 0; i < count; i++) {
        struct raft_entry *entry = &held->entries[i];
        uint8_t *payload = held->payload + i * size;
        *entry = (struct raft_entry){.type = RAFT_COMMAND, .index = ++t->last};
        entry->term = (raft_term)luaL_optinteger(L, 4, 1);
        memset(payload, 'a' + (int)(t->last % 26), size);
        entry->payload.bytes = slice_of(payload, size);
        t->chain = entry->chain = raft_entry_chain(entry, t->chain);
    }
    held->next = t->held;
    t->held = held;
    struct raft_persist write = {
        .sequence = ++t->sequence, .entries = held->entries, .entry_count = count};
    disk_persist(t->disk, &write);
    lua_pushinteger(L, (lua_Integer)t->sequence);
    lua_pushinteger(L, (lua_Integer)t->last);
    lua_pushinteger(L, (lua_Integer)t->chain);
    return 3;
}

static int snapshot(lua_State *L)
{
    struct threads *t = check(L);
    luaL_checktype(L, 2, LUA_TTABLE);
    struct host_snapshot_job job = {.token = field_u64(L, 2, "token")};
    lua_getfield(L, 2, "kind");
    job.kind = (enum host_snapshot_kind)luaL_checkoption(L, -1, NULL, kinds);
    if (lua_getfield(L, 2, "meta") != LUA_TNIL) job.meta = check_meta(L, lua_gettop(L));
    job.offset = field_u64(L, 2, "offset");
    job.max_bytes = (size_t)field_u64(L, 2, "max_bytes");
    job.up_to = field_u64(L, 2, "up_to");
    struct slice bytes = field_slice(L, 2, "bytes");
    if (bytes.size > 0) job.bytes.blob = blob_new(bytes.data, bytes.size);
    if (bytes.size > 0) job.bytes.bytes = slice_of(job.bytes.blob->data, bytes.size);
    files_give(t->files, &job);
    blob_drop(job.bytes.blob);
    return 0;
}

static int counters(lua_State *L)
{
    struct threads *t = check(L);
    struct files_counters files = files_counters(t->files);
    struct disk_counters disk = disk_counters(t->disk);
    lua_createtable(L, 0, 8);
    set_u64(L, "taken", files.taken);
    set_u64(L, "installed", files.installed);
    set_u64(L, "refusals", files.refusals);
    set_u64(L, "written_bytes", files.written_bytes);
    set_u64(L, "read_bytes", files.read_bytes);
    set_u64(L, "waiting", files.waiting);
    set_u64(L, "trimmed", disk.store.trimmed);
    set_u64(L, "blobs", blob_count());
    return 1;
}

static int fail(lua_State *L)
{
    struct threads *t = check(L);
    luaL_argcheck(L, t->vfs != NULL, 1, "not a lossy disk");
    vfs_lossy_fail(t->vfs, (enum vfs_lossy_fault)luaL_checkoption(L, 2, NULL, faults),
                   (uint64_t)luaL_checkinteger(L, 3));
    return 0;
}

static int calls(lua_State *L)
{
    struct threads *t = check(L);
    luaL_argcheck(L, t->vfs != NULL, 1, "not a lossy disk");
    lua_pushinteger(L, (lua_Integer)vfs_lossy_calls(t->vfs));
    return 1;
}

static int continue_behind(lua_State *L)
{
    struct threads *t = check(L);
    t->last = (raft_index)luaL_checkinteger(L, 2);
    t->chain = (uint64_t)luaL_checkinteger(L, 3);
    return 0;
}

static int durable(lua_State *L)
{
    const struct raft_durable *found = store_durable(check(L)->store);
    lua_createtable(L, 0, 3);
    push_meta(L, &found->snapshot);
    lua_setfield(L, -2, "snapshot");
    set_u64(L, "base", found->base.index);
    set_u64(L, "last_index", found->last_index);
    return 1;
}

/* ---- lives ---- */

static int start(lua_State *L, struct threads *t)
{
    const struct disk_events disk_events = {t, persisted, bootstrapped, log_read, failed};
    const struct files_events files_events = {t, done, failed};
    struct error error;
    if (store_open(&t->options, &t->store, &error)) return push_failure(L, &error);
    t->sequence = 0;
    t->last = store_durable(t->store)->last_index;
    t->chain = store_durable(t->store)->last_chain;
    t->stopped = false;
    t->disk = disk_start(t->store, &disk_events, wake, t);
    t->files = files_start(t->store, t->disk, &files_events, wake, t);
    lua_pushvalue(L, 1);
    return 1;
}

static void stop(struct threads *t)
{
    if (t->stopped || t->store == NULL) return;
    files_stop(t->files);
    disk_stop(t->disk);
    t->stopped = true;
}

static void shut(struct threads *t)
{
    if (t->store == NULL) return;
    stop(t);
    files_free(t->files);
    disk_free(t->disk);
    store_close(t->store);
    t->store = NULL;
    while (t->held != NULL) {
        struct held *held = t->held;
        t->held = held->next;
        memory_free(held->entries);
        memory_free(held->payload);
        memory_free(held);
    }
}

static int threads_stop(lua_State *L)
{
    stop(check(L));
    return 0;
}

static int threads_restart(lua_State *L)
{
    struct threads *t = check(L);
    shut(t);
    if (t->vfs != NULL) vfs_lossy_kill(t->vfs);
    lua_settop(L, 1);
    return start(L, t);
}

static int threads_close(lua_State *L)
{
    struct threads *t = luaL_checkudata(L, 1, TYPE);
    shut(t);
    vfs_lossy_free(t->vfs);
    memory_free(t->folder);
    memory_free(t->id);
    t->vfs = NULL;
    t->folder = t->id = NULL;
    return 0;
}

static int threads_open(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct threads *t = lua_newuserdatauv(L, sizeof *t, 0);
    memset(t, 0, sizeof *t);
    pthread_mutex_init(&t->mutex, NULL);
    pthread_cond_init(&t->woken, NULL);
    luaL_setmetatable(L, TYPE);
    t->folder = memory_copy_text(field_text(L, 1, "folder"));
    t->id = memory_copy_text(field_text(L, 1, "id"));
    t->options = (struct store_options){
        .folder = t->folder, .id = t->id, .incarnation = field_u64(L, 1, "incarnation")};
    uint64_t lossy = field_u64(L, 1, "lossy");
    if (lossy != 0) {
        snprintf(t->vfs_name, sizeof t->vfs_name, "threads-%p", (void *)t);
        t->vfs = vfs_lossy_new(t->vfs_name, lossy);
        t->options.vfs = t->vfs_name;
    }
    lua_replace(L, 1);
    lua_settop(L, 1);
    return start(L, t);
}

static const luaL_Reg methods[] = {
    {"append", append},         {"snapshot", snapshot},       {"collect", collect},
    {"counters", counters},     {"durable", durable},         {"fail", fail},
    {"calls", calls},           {"continue", continue_behind}, {"stop", threads_stop},
    {"restart", threads_restart}, {"close", threads_close},   {"__gc", threads_close},
    {"__close", threads_close}, {NULL, NULL},
};

int luaopen_moonclave_threads(lua_State *L);
__attribute__((visibility("default"))) int luaopen_moonclave_threads(lua_State *L)
{
    luaL_newmetatable(L, TYPE);
    lua_pushvalue(L, -1);
    lua_setfield(L, -2, "__index");
    luaL_setfuncs(L, methods, 0);
    lua_pop(L, 1);
    lua_createtable(L, 0, 1);
    lua_pushcfunction(L, threads_open);
    lua_setfield(L, -2, "open");
    return 1;
}
