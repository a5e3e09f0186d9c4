/*
 * moonclave.fsm: the fsm VM and bundles for specs. Arguments and replies are Lua values here; they
 * go through msgpack as they do in a node. What a state machine logs is kept until `logged` asks
 * for it.
 */
#include "script/bundle.h"
#include "script/fsm.h"
#include "script/values.h"

#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#define MACHINE "moonclave.fsm.machine"

struct box {
    struct fsm *fsm;
    struct machine machine;
    struct buffer logged;
};

int luaopen_moonclave_fsm(lua_State *L) __attribute__((visibility("default")));

static struct box *to_box(lua_State *L, int at)
{
    return luaL_checkudata(L, at, MACHINE);
}

static void keep_line(void *context, const char *text)
{
    buffer_append_text(context, text);
    buffer_append_byte(context, '\n');
}

/* {name = value}: the settings of that name. */
static void check_settings(lua_State *L, int at, struct settings *settings)
{
    settings_init(settings);
    if (!lua_istable(L, at)) return;
    lua_pushnil(L);
    while (lua_next(L, at)) {
        struct error error;
        if (settings_set(settings, lua_tostring(L, -2), (uint64_t)luaL_checkinteger(L, -1),
                         &error)) {
            luaL_error(L, "%s", error.text);
        }
        lua_pop(L, 1);
    }
}

static struct slice check_slice(lua_State *L, int at)
{
    size_t size;
    const char *text = luaL_checklstring(L, at, &size);
    return slice_of(text, size);
}

static int push_error(lua_State *L, enum error_code code, const struct error *error)
{
    lua_pushstring(L, error_name(code));
    lua_pushstring(L, code ? error->text : NULL);
    return 2;
}

/* Replaces nothing: pushes the value at `at` as bytes. */
static struct slice push_encoded(lua_State *L, int at)
{
    struct buffer bytes = {0};
    value_encode(L, at, &bytes);
    lua_pushlstring(L, (const char *)bytes.data, bytes.size);
    buffer_deinit(&bytes);
    return check_slice(L, -1);
}

/* ---- bundles ---- */

/* bundle(path) or bundle({path = contents}): bytes, or nil, code, text. */
static int make_bundle(lua_State *L)
{
    struct buffer out = {0};
    struct error error;
    enum error_code code = ERROR_OK;
    if (lua_isstring(L, 1)) {
        code = bundle_read(lua_tostring(L, 1), &out, &error);
    } else {
        struct bundle_source files[64];
        size_t count = 0;
        lua_pushnil(L);
        while (lua_next(L, 1)) {
            luaL_argcheck(L, count < 64, 1, "at most 64 files");
            files[count].path = lua_tostring(L, -2);
            files[count++].contents = check_slice(L, -1);
            lua_pop(L, 1);
        }
        bundle_make(files, count, &out);
    }
    if (code) {
        lua_pushnil(L);
        return 1 + push_error(L, code, &error);
    }
    lua_pushlstring(L, (const char *)out.data, out.size);
    buffer_deinit(&out);
    return 1;
}

static int verify(lua_State *L)
{
    struct error error;
    return push_error(L, bundle_verify(check_slice(L, 1), &error), &error);
}

/* files(bundle): {path = contents}, and the hash */
static int files(lua_State *L)
{
    struct slice bundle = check_slice(L, 1), path, contents;
    lua_newtable(L);
    for (size_t i = 0; bundle_each(bundle, i, &path, &contents); i++) {
        lua_pushlstring(L, (const char *)path.data, path.size);
        lua_pushlstring(L, (const char *)contents.data, contents.size);
        lua_rawset(L, -3);
    }
    lua_pushinteger(L, (lua_Integer)bundle_hash(bundle));
    return 2;
}

/* check(bundle, config, settings): code, text */
static int check(lua_State *L)
{
    struct settings settings;
    struct error error;
    lua_settop(L, 3);
    check_settings(L, 3, &settings);
    struct slice config = push_encoded(L, 2);
    return push_error(L, fsm_check(check_slice(L, 1), config, &settings, &error), &error);
}

/* ---- a machine ---- */

static int new_machine(lua_State *L)
{
    struct settings settings;
    lua_settop(L, 1);
    check_settings(L, 1, &settings);
    struct box *box = lua_newuserdatauv(L, sizeof *box, 0);
    memset(box, 0, sizeof *box);
    box->fsm = fsm_new(&settings, keep_line, &box->logged);
    fsm_machine(box->fsm, &box->machine);
    luaL_setmetatable(L, MACHINE);
    return 1;
}

static uint64_t entry_field(lua_State *L, int at, const char *name)
{
    lua_getfield(L, at, name);
    uint64_t value = (uint64_t)luaL_optinteger(L, -1, 0);
    lua_pop(L, 1);
    return value;
}

static struct machine_entry check_entry(lua_State *L, int at)
{
    if (!lua_istable(L, at)) return (struct machine_entry){.index = 1, .term = 1};
    return (struct machine_entry){
        .index = entry_field(L, at, "index"),
        .term = entry_field(L, at, "term"),
        .time_ms = entry_field(L, at, "time"),
        .seed = entry_field(L, at, "seed"),
        .session = entry_field(L, at, "session"),
        .sequence = entry_field(L, at, "sequence"),
    };
}

/* machine:load(bundle, config, entry): code, text */
static int machine_load(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_settop(L, 4);
    struct machine_entry entry = check_entry(L, 4);
    struct slice config = push_encoded(L, 3);
    struct error error;
    return push_error(L, box->machine.load(box->fsm, &entry, check_slice(L, 2), config, &error),
                      &error);
}

static int machine_configure(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct settings settings;
    check_settings(L, 2, &settings);
    box->machine.configure(box->fsm, &settings);
    return 0;
}

static int push_reply(lua_State *L, enum error_code code, struct buffer *reply)
{
    struct mp_reader reader = mp_reader_of(buffer_slice(reply));
    lua_pushstring(L, error_name(code));
    if (!value_push(L, &reader) || !mp_at_end(&reader)) {
        return luaL_error(L, "the reply is not one value");
    }
    lua_pushlstring(L, (const char *)reply->data, reply->size);
    buffer_deinit(reply);
    return 3;
}

/* The body of name and arguments at `at`; a string alone is sent as it is. */
static struct slice check_body(lua_State *L, int at)
{
    lua_createtable(L, 2, 0);
    lua_pushvalue(L, at);
    lua_rawseti(L, -2, 1);
    if (!lua_isnoneornil(L, at + 1)) {
        lua_pushvalue(L, at + 1);
        lua_rawseti(L, -2, 2);
    }
    return push_encoded(L, lua_gettop(L));
}

/* machine:apply(entry, name, arguments): code, reply, the reply's bytes. apply_bytes(entry, body)
 * is the same. */
static int machine_apply(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 2);
    lua_settop(L, 4);
    struct slice body = check_body(L, 3);
    struct buffer reply = {0};
    return push_reply(L, box->machine.apply(box->fsm, &entry, body, &reply), &reply);
}

static int machine_apply_bytes(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 2);
    struct buffer reply = {0};
    return push_reply(L, box->machine.apply(box->fsm, &entry, check_slice(L, 3), &reply), &reply);
}

/* machine:query(name, arguments): code, reply, the reply's bytes */
static int machine_query(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_settop(L, 3);
    struct slice body = check_body(L, 2);
    struct buffer reply = {0};
    return push_reply(L, box->machine.query(box->fsm, body, &reply), &reply);
}

/* machine:repeat_apply(entry, count, bodies, query): applies (or asks) in turn without Lua in
 * between, for measuring. */
static int machine_repeat(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 2);
    lua_Integer count = luaL_checkinteger(L, 3);
    lua_Integer bodies = luaL_len(L, 4);
    bool query = lua_toboolean(L, 5);
    struct slice *list = lua_newuserdatauv(L, (size_t)bodies * sizeof *list, 0);
    for (lua_Integer i = 0; i < bodies; i++) {
        lua_rawgeti(L, 4, i + 1);
        list[i] = check_slice(L, -1);
        lua_pop(L, 1);
    }
    struct buffer reply = {0};
    for (lua_Integer i = 0; i < count; i++) {
        buffer_clear(&reply);
        entry.index++;
        enum error_code code = query
                                   ? box->machine.query(box->fsm, list[i % bodies], &reply)
                                   : box->machine.apply(box->fsm, &entry, list[i % bodies], &reply);
        if (code) {
            return luaL_error(L, "%s: %s", error_name(code),
                              lua_pushlstring(L, (char *)reply.data, reply.size));
        }
    }
    buffer_deinit(&reply);
    return 0;
}

static int body_of(lua_State *L)
{
    lua_settop(L, 2);
    check_body(L, 1);
    return 1;
}

static int machine_hash(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_pushinteger(L, (lua_Integer)box->machine.hash(box->fsm));
    return 1;
}

static int machine_encode(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct buffer out = {0};
    box->machine.encode(box->fsm, &out);
    lua_pushlstring(L, (const char *)out.data, out.size);
    buffer_deinit(&out);
    return 1;
}

/* machine:state(): the whole state as a Lua table */
static int machine_state(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct buffer out = {0};
    box->machine.encode(box->fsm, &out);
    struct mp_reader reader = mp_reader_of(buffer_slice(&out));
    if (!value_push(L, &reader)) return luaL_error(L, "the state cannot be read");
    buffer_deinit(&out);
    return 1;
}

static int machine_names(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct buffer out = {0};
    fsm_names(box->fsm, &out);
    struct mp_reader reader = mp_reader_of(buffer_slice(&out));
    if (!value_push(L, &reader)) return luaL_error(L, "the names cannot be read");
    buffer_deinit(&out);
    return 1;
}

static int machine_has(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_pushboolean(L, fsm_has_command(box->fsm, check_slice(L, 2)));
    lua_pushboolean(L, fsm_has_query(box->fsm, check_slice(L, 2)));
    return 2;
}

static int machine_logged(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_pushlstring(L, (const char *)box->logged.data, box->logged.size);
    buffer_clear(&box->logged);
    return 1;
}

/* machine:fail_allocation(nth): the system refuses the VM memory from that allocation on; 0: not */
static int machine_fail_allocation(lua_State *L)
{
    fsm_fail_allocation(to_box(L, 1)->fsm, (uint64_t)luaL_checkinteger(L, 2));
    return 0;
}

/* machine:snapshot_begin(): the hash. snapshot_step(work): bytes, more. snapshot_end() */
static int machine_snapshot_begin(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_pushinteger(L, (lua_Integer)box->machine.snapshot_begin(box->fsm));
    return 1;
}

static int machine_snapshot_step(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct buffer out = {0};
    bool more = box->machine.snapshot_step(box->fsm, (size_t)luaL_checkinteger(L, 2), &out);
    lua_pushlstring(L, (const char *)out.data, out.size);
    lua_pushboolean(L, more);
    buffer_deinit(&out);
    return 2;
}

static int machine_snapshot_end(lua_State *L)
{
    struct box *box = to_box(L, 1);
    box->machine.snapshot_end(box->fsm);
    return 0;
}

/* machine:restore_begin(bundle, entry): code, text. restore_feed(bytes): code, text or how many
 * belong to it. restore_finish(entry, hash): code, text */
static int machine_restore_begin(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 3);
    struct error error;
    return push_error(L, box->machine.restore_begin(box->fsm, &entry, check_slice(L, 2), &error),
                      &error);
}

static int machine_restore_feed(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct error error;
    size_t used = 0;
    enum error_code code = box->machine.restore_feed(box->fsm, check_slice(L, 2), &used, &error);
    if (code) return push_error(L, code, &error);
    lua_pushstring(L, error_name(code));
    lua_pushinteger(L, (lua_Integer)used);
    return 2;
}

static int machine_restore_finish(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 2);
    uint64_t hash = (uint64_t)luaL_checkinteger(L, 3);
    struct error error;
    return push_error(L, box->machine.restore_finish(box->fsm, &entry, hash, &error), &error);
}

static int push_upgrade(lua_State *L, enum error_code code, const struct error *error,
                        const struct machine_versions *versions)
{
    int count = push_error(L, code, error);
    lua_pushinteger(L, versions->from);
    lua_pushinteger(L, versions->to);
    return count + 2;
}

/* machine:upgrade(bundle, entry) -> "ok", nil, from, to; or a code and its text, from, to */
static int upgrade_whole(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 3);
    struct machine_versions versions;
    struct error error;
    enum error_code code = machine_upgrade(&box->machine, &entry, check_slice(L, 2), &versions, &error);
    return push_upgrade(L, code, &error, &versions);
}

/* machine:upgrade_begin(bundle, entry): as upgrade */
static int machine_upgrade_begin(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 3);
    struct machine_versions versions;
    struct error error;
    enum error_code code = box->machine.upgrade_begin(box->fsm, &entry, check_slice(L, 2), &versions, &error);
    return push_upgrade(L, code, &error, &versions);
}

/* machine:upgrade_step(work) -> "ok", more; or a code and its text */
static int machine_upgrade_step(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct error error;
    bool more = false;
    enum error_code code = box->machine.upgrade_step(box->fsm, (uint64_t)luaL_checkinteger(L, 2), &more, &error);
    if (code) return push_error(L, code, &error);
    lua_pushstring(L, error_name(code));
    lua_pushboolean(L, more);
    return 2;
}

static int machine_upgrade_end(lua_State *L)
{
    struct box *box = to_box(L, 1);
    box->machine.upgrade_end(box->fsm);
    return 0;
}

/* machine:stage_begin(bundle, entry), stage_feed(bytes), stage_take(bundle, entry, last, hash): as those of
 * restoring. stage_end() */
static int machine_stage_begin(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 3);
    struct settings settings;
    struct error error;
    settings_init(&settings);
    return push_error(L, box->machine.stage_begin(box->fsm, &settings, &entry, check_slice(L, 2), &error), &error);
}

static int machine_stage_feed(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct error error;
    size_t used = 0;
    enum error_code code = box->machine.stage_feed(box->fsm, check_slice(L, 2), &used, &error);
    if (code) return push_error(L, code, &error);
    lua_pushstring(L, error_name(code));
    lua_pushinteger(L, (lua_Integer)used);
    return 2;
}

static int machine_stage_take(lua_State *L)
{
    struct box *box = to_box(L, 1);
    struct machine_entry entry = check_entry(L, 3), last = check_entry(L, 4);
    uint64_t hash = (uint64_t)luaL_checkinteger(L, 5);
    struct settings settings;
    struct error error;
    settings_init(&settings);
    return push_error(L,
                      box->machine.stage_take(box->fsm, &settings, &entry, check_slice(L, 2), &last, hash, &error),
                      &error);
}

/* machine:stage_sweep() -> more? */
static int machine_stage_sweep(lua_State *L)
{
    struct box *box = to_box(L, 1);
    lua_pushboolean(L, box->machine.stage_sweep(box->fsm));
    return 1;
}

static int machine_stage_end(lua_State *L)
{
    struct box *box = to_box(L, 1);
    box->machine.stage_end(box->fsm);
    return 0;
}

static int machine_gc(lua_State *L)
{
    struct box *box = to_box(L, 1);
    fsm_free(box->fsm);
    box->fsm = NULL;
    buffer_deinit(&box->logged);
    return 0;
}

int luaopen_moonclave_fsm(lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"load", machine_load},
        {"configure", machine_configure},
        {"apply", machine_apply},
        {"apply_bytes", machine_apply_bytes},
        {"query", machine_query},
        {"repeat_apply", machine_repeat},
        {"hash", machine_hash},
        {"encode", machine_encode},
        {"state", machine_state},
        {"names", machine_names},
        {"has", machine_has},
        {"logged", machine_logged},
        {"fail_allocation", machine_fail_allocation},
        {"snapshot_begin", machine_snapshot_begin},
        {"snapshot_step", machine_snapshot_step},
        {"snapshot_end", machine_snapshot_end},
        {"restore_begin", machine_restore_begin},
        {"restore_feed", machine_restore_feed},
        {"restore_finish", machine_restore_finish},
        {"upgrade", upgrade_whole},
        {"upgrade_begin", machine_upgrade_begin},
        {"upgrade_step", machine_upgrade_step},
        {"upgrade_end", machine_upgrade_end},
        {"stage_begin", machine_stage_begin},
        {"stage_feed", machine_stage_feed},
        {"stage_take", machine_stage_take},
        {"stage_end", machine_stage_end},
        {"stage_sweep", machine_stage_sweep},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"new", new_machine}, {"bundle", make_bundle}, {"verify", verify}, {"files", files},
        {"check", check},     {"body", body_of},       {NULL, NULL},
    };
    luaL_newmetatable(L, MACHINE);
    lua_pushcfunction(L, machine_gc);
    lua_setfield(L, -2, "__gc");
    lua_newtable(L);
    luaL_setfuncs(L, methods, 0);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    return 1;
}
