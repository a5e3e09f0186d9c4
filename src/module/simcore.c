/*
 * moonclave.simcore: the simulator for lua/moonclave/sim.lua and what is under lua/moonclave/sim/, which is what
 * people require. Times are virtual microseconds, nodes count from 0.
 *
 *   run(options) -> result table, once the run is over
 *   new(options) -> box, to be advanced and, if `manual`, driven by hand
 *   mutants() -> array of { name, bug }; empty in a build without mutants
 *   states() -> the cells of the tables of states: name -> can today's code reach it?
 *   faults(), calms() -> arrays of names: name i is bit i - 1 of the options kinds and calm
 *   bundle(path) -> bytes; or nil, code, text
 *   bundle_of({ path = contents }) -> bytes
 *   files(bundle) -> { path = contents }
 *   names(bundle) -> { commands = array, queries = array }; or nil, code, text: the app's own error
 *   body_text(msgpack) -> a request or reply in a few words
 *   pack(value) -> bytes; unpack(bytes) -> value; json(value) -> text
 *
 * options: seed, nodes, clients, duration_us, steps, mutant, outcome_only, poison, deploys, disk, manual; app (a path),
 * bundle (bytes); next_bundle (bytes: deployed at some moment, and then deployed(time, what) is called);
 * kinds, calm (bits), faults, asks (arrays, ascending): what is left out, or with only_faults, only_asks what is not;
 * trace (true: result.trace has the lines; a path: they go there as they come, and stay when an assert ends the run);
 * record (true: result.record is simrecord.h's JSON); struck(number, kind, time, what). A workload:
 *   next(client, random) -> nil, or kind, name, arguments, consistency, timeout_ms
 *   ended(operation), applied(number, index), state(index, state) -> true or false, why; state_every
 * What these raise, run and advance raise.
 */
#include "http/json.h"
#include "module/sim_box.h"
#include "module/sim_result.h"
#include "module/simcore.h"
#include "script/fsm.h"

/* ---- a box's life ---- */

static struct box *to_box(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, SIM_BOX);
    if (!box->sim) luaL_error(L, "the cluster is closed");
    return box;
}

/* Before and after whatever may call back. */
static struct box *box_enter(lua_State *L)
{
    struct box *box = to_box(L);
    if (box->L) luaL_error(L, "the simulation is running: this cannot be called from its own functions");
    box->L = L;
    return box;
}

static void box_leave(lua_State *L, struct box *box)
{
    box->L = NULL;
    if (!box->failed) return;
    lua_getiuservalue(L, 1, BOX_FAILURE);
    lua_error(L);
}

static int box_new(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    lua_settop(L, 1);
    struct box *box = lua_newuserdatauv(L, sizeof *box, BOX_VALUES);
    memset(box, 0, sizeof *box);
    luaL_setmetatable(L, SIM_BOX);
    lua_insert(L, 1);
    lua_pushvalue(L, 2);
    lua_setiuservalue(L, 1, BOX_OPTIONS);
    box_read_options(L, box);
    box->L = L;
    box->sim = sim_new(&box->options);
    box->L = NULL;
    lua_settop(L, 1);
    return 1;
}

static void box_close(struct box *box, struct sim_result *result)
{
    if (box->sim) sim_finish(box->sim, result);
    box->sim = NULL;
    if (box->file) fclose(box->file);
    box->file = NULL;
    memory_free(box->faults);
    memory_free(box->asks);
    box->faults = box->asks = NULL;
    buffer_deinit(&box->ask);
}

/* advance(until) -> does it go on? */
static int box_advance(lua_State *L)
{
    struct box *box = box_enter(L);
    bool on = sim_advance(box->sim, (uint64_t)luaL_checkinteger(L, 2));
    box_leave(L, box);
    lua_pushboolean(L, on);
    return 1;
}

/* finish() -> result */
static int box_finish(lua_State *L)
{
    struct box *box = box_enter(L);
    struct sim_result result;
    box_close(box, &result);
    box_leave(L, box);
    push_result(L, box->options.seed, &result);
    if (box->lines.size > 0) set_slice(L, "trace", buffer_slice(&box->lines));
    buffer_deinit(&box->lines);
    if (box->options.moment) {
        record_push(L, &box->record, result.nodes);
        lua_setfield(L, -2, "record");
    }
    return 1;
}

/* Without callbacks: box->L is null. */
static int box_gc(lua_State *L)
{
    struct box *box = luaL_checkudata(L, 1, SIM_BOX);
    box_close(box, NULL);
    buffer_deinit(&box->lines);
    record_free(&box->record);
    return 0;
}

/* In steps of virtual time, so that what a callback raises ends it soon. */
static int run(lua_State *L)
{
    box_new(L);
    struct box *box = box_enter(L);
    while (!box->failed && sim_advance(box->sim, sim_now_us(box->sim) + 1000000)) {}
    box_leave(L, box);
    return box_finish(L);
}

/* ---- by hand ---- */

static unsigned check_node(lua_State *L, const struct box *box, int at)
{
    lua_Integer node = luaL_checkinteger(L, at);
    luaL_argcheck(L, node >= 0 && node < (lua_Integer)sim_nodes(box->sim), at, "there is no such node");
    return (unsigned)node;
}

static uint64_t check_us(lua_State *L, int at)
{
    lua_Integer us = luaL_checkinteger(L, at);
    luaL_argcheck(L, us >= 0, at, "a time is not negative");
    return (uint64_t)us;
}

static int box_now(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)sim_now_us(to_box(L)->sim));
    return 1;
}

static int box_nodes(lua_State *L)
{
    lua_pushinteger(L, sim_nodes(to_box(L)->sim));
    return 1;
}

static int box_so_far(lua_State *L)
{
    struct box *box = to_box(L);
    push_result(L, box->options.seed, sim_so_far(box->sim));
    return 1;
}

/* violated() -> has an invariant failed? Cheap. */
static int box_violated(lua_State *L)
{
    lua_pushboolean(L, !sim_so_far(to_box(L)->sim)->ok);
    return 1;
}

/* ask(node, kind, name, arguments, consistency, timeout_ms) -> number, or nil: the node is down */
static int box_ask(lua_State *L)
{
    struct box *box = box_enter(L);
    box->L = NULL; /* asking calls nothing back, and may raise */
    unsigned node = check_node(L, box, 2);
    struct sim_ask ask = {0};
    box_check_ask(L, 3, &box->ask, &ask);
    uint64_t number = sim_ask(box->sim, node, &ask);
    if (number == 0) return 0;
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

/* crash, stop, start (node) */
#define NODE_METHOD(name)                                  \
    static int box_##name(lua_State *L)                    \
    {                                                      \
        struct box *box = to_box(L);                       \
        unsigned node = check_node(L, box, 2);             \
        box_enter(L);                                      \
        sim_##name(box->sim, node);                        \
        box_leave(L, box);                                 \
        return 0;                                          \
    }
NODE_METHOD(crash)
NODE_METHOD(stop)
NODE_METHOD(start)
NODE_METHOD(disk_fail)

/* snapshot(node) -> number, or nil: the node is down */
static int box_snapshot(lua_State *L)
{
    struct box *box = to_box(L);
    uint64_t number = sim_snapshot(box->sim, check_node(L, box, 2));
    if (number == 0) return 0;
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

/* snapshot_done(number) -> nil, or code, index, size */
static int box_snapshot_done(lua_State *L)
{
    enum error_code code;
    uint64_t index, size;
    if (!sim_snapshot_done(to_box(L)->sim, (uint64_t)luaL_checkinteger(L, 2), &code, &index, &size)) return 0;
    lua_pushstring(L, error_name(code));
    lua_pushinteger(L, (lua_Integer)index);
    lua_pushinteger(L, (lua_Integer)size);
    return 3;
}

/* deploy(node, bundle) -> number, or nil: the node is down */
static int box_deploy(lua_State *L)
{
    struct box *box = to_box(L);
    uint64_t number = sim_deploy(box->sim, check_node(L, box, 2), check_slice(L, 3), NULL);
    if (number == 0) return 0;
    lua_pushinteger(L, (lua_Integer)number);
    return 1;
}

/* deploy_done(number) -> nil, or code, and the reply's body where there is one */
static int box_deploy_done(lua_State *L)
{
    enum error_code code;
    struct slice body;
    if (!sim_deploy_done(to_box(L)->sim, (uint64_t)luaL_checkinteger(L, 2), &code, &body)) return 0;
    lua_pushstring(L, error_name(code));
    struct mp_reader reader = mp_reader_of(body);
    if (body.size == 0 || !value_push(L, &reader)) lua_pushnil(L);
    return 2;
}

/* pause, disk_full, disk_slow, disk_stall (node, length) */
#define LENGTH_METHOD(name)                                            \
    static int box_##name(lua_State *L)                                \
    {                                                                  \
        struct box *box = to_box(L);                                   \
        sim_##name(box->sim, check_node(L, box, 2), check_us(L, 3));   \
        return 0;                                                      \
    }
LENGTH_METHOD(pause)
LENGTH_METHOD(disk_full)
LENGTH_METHOD(disk_slow)
LENGTH_METHOD(disk_stall)

/* cut, mend (from, to): one way */
#define PAIR_METHOD(name)                                                     \
    static int box_##name(lua_State *L)                                       \
    {                                                                         \
        struct box *box = to_box(L);                                          \
        sim_##name(box->sim, check_node(L, box, 2), check_node(L, box, 3));   \
        return 0;                                                             \
    }
PAIR_METHOD(cut)
PAIR_METHOD(mend)

static int box_mend_all(lua_State *L)
{
    sim_mend_all(to_box(L)->sim);
    return 0;
}

static int box_clock_jump(lua_State *L)
{
    struct box *box = to_box(L);
    sim_clock_jump(box->sim, check_node(L, box, 2), luaL_checkinteger(L, 3));
    return 0;
}

static int box_loss(lua_State *L)
{
    lua_Integer permille = luaL_checkinteger(L, 2);
    luaL_argcheck(L, permille >= 0 && permille <= 1000, 2, "a share of a thousand");
    sim_loss(to_box(L)->sim, (unsigned)permille);
    return 0;
}

static int box_up(lua_State *L)
{
    struct box *box = to_box(L);
    lua_pushboolean(L, sim_up(box->sim, check_node(L, box, 2)));
    return 1;
}

/* leader() -> node, or nil */
static int box_leader(lua_State *L)
{
    int leader = sim_leader(to_box(L)->sim);
    if (leader < 0) return 0;
    lua_pushinteger(L, leader);
    return 1;
}

static int box_settled(lua_State *L)
{
    lua_pushboolean(L, sim_settled(to_box(L)->sim));
    return 1;
}

/* status, state (node) -> value, or nil: the node is down */
#define LOOK_METHOD(name, look)                                                    \
    static int name(lua_State *L)                                                  \
    {                                                                              \
        struct box *box = to_box(L);                                               \
        struct buffer out = {0};                                                   \
        if (!look(box->sim, check_node(L, box, 2), &out)) return 0;                \
        push_buffer(L, &out);                                                      \
        struct mp_reader reader = mp_reader_of(check_slice(L, -1));                \
        if (!value_push(L, &reader)) return luaL_error(L, #name " gives no value"); \
        return 1;                                                                  \
    }
LOOK_METHOD(box_status, sim_status)
LOOK_METHOD(box_state_of, sim_state)

/* ---- names, apps and values ---- */

static int mutants(lua_State *L)
{
    lua_newtable(L);
    const char *name, *bug;
    for (unsigned i = 0; (name = sim_mutant_name(i, &bug)) != NULL; i++) {
        lua_newtable(L);
        set_text(L, "name", name);
        set_text(L, "bug", bug);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int states(lua_State *L)
{
    char name[96];
    bool expected;
    lua_newtable(L);
    for (unsigned cell = 0; sim_cell_name(cell, name, sizeof name, &expected); cell++) set_boolean(L, name, expected);
    return 1;
}

static int push_names(lua_State *L, const char *(*name_of)(unsigned i))
{
    const char *name;
    lua_newtable(L);
    for (unsigned i = 0; (name = name_of(i)) != NULL; i++) {
        lua_pushstring(L, name);
        lua_rawseti(L, -2, (lua_Integer)i + 1);
    }
    return 1;
}

static int faults(lua_State *L)
{
    return push_names(L, sim_fault_name);
}

static int calms(lua_State *L)
{
    return push_names(L, sim_calm_name);
}

static int bundle(lua_State *L)
{
    struct buffer out = {0};
    struct error error;
    if (bundle_read(luaL_checkstring(L, 1), &out, &error) == ERROR_OK) return push_buffer(L, &out);
    buffer_deinit(&out);
    return push_failure(L, &error);
}

/* {path = contents} -> bytes; what is wrong with them their loading tells */
static int bundle_of(lua_State *L)
{
    struct bundle_source list[64];
    struct buffer out = {0};
    size_t count = 0;
    luaL_checktype(L, 1, LUA_TTABLE);
    for (lua_pushnil(L); lua_next(L, 1); lua_pop(L, 1)) {
        luaL_argcheck(L, count < 64, 1, "at most 64 files");
        luaL_argcheck(L, lua_type(L, -2) == LUA_TSTRING && lua_type(L, -1) == LUA_TSTRING, 1,
                      "files are texts by their paths");
        list[count].path = lua_tostring(L, -2);
        list[count++].contents = check_slice(L, -1);
    }
    bundle_make(list, count, &out);
    return push_buffer(L, &out);
}

static int files(lua_State *L)
{
    struct slice bytes = check_slice(L, 1), path, contents;
    lua_newtable(L);
    for (size_t i = 0; bundle_each(bytes, i, &path, &contents); i++) {
        push_slice(L, path);
        push_slice(L, contents);
        lua_rawset(L, -3);
    }
    return 1;
}

/* Loads the app as a node would, without a config: what is wrong with it shows here. */
static int names(lua_State *L)
{
    static const uint8_t no_config[] = {0x80};
    const struct machine_entry entry = {.index = 1, .term = 1};
    struct settings settings;
    struct machine machine;
    struct error error;
    struct buffer out = {0};
    struct slice bytes = check_slice(L, 1);
    settings_init(&settings);
    struct fsm *fsm = fsm_new(&settings, NULL, NULL);
    fsm_machine(fsm, &machine);
    enum error_code code =
        machine.load(machine.context, &entry, bytes, slice_of(no_config, sizeof no_config), &error);
    if (code == ERROR_OK) fsm_names(fsm, &out);
    fsm_free(fsm);
    if (code != ERROR_OK) return push_failure(L, &error);
    push_buffer(L, &out);
    struct mp_reader reader = mp_reader_of(check_slice(L, -1));
    return value_push(L, &reader) ? 1 : 0;
}

static int pack(lua_State *L)
{
    struct buffer out = {0};
    lua_settop(L, 1);
    value_encode(L, 1, &out);
    return push_buffer(L, &out);
}

static int unpack(lua_State *L)
{
    struct mp_reader reader = mp_reader_of(check_slice(L, 1));
    if (!value_push(L, &reader)) return luaL_error(L, "these bytes are no value");
    return 1;
}

static int json(lua_State *L)
{
    struct buffer value = {0}, text = {0};
    struct error error;
    lua_settop(L, 1);
    value_encode(L, 1, &value);
    enum error_code code = json_from_value(buffer_slice(&value), &text, &error);
    buffer_deinit(&value);
    if (code != ERROR_OK) return luaL_error(L, "%s", error.text);
    return push_buffer(L, &text);
}

__attribute__((visibility("default"))) int luaopen_moonclave_simcore(struct lua_State *L)
{
    static const luaL_Reg methods[] = {
        {"advance", box_advance}, {"finish", box_finish}, {"now", box_now}, {"nodes", box_nodes},
        {"so_far", box_so_far}, {"violated", box_violated}, {"ask", box_ask}, {"crash", box_crash},
        {"stop", box_stop}, {"start", box_start}, {"disk_fail", box_disk_fail}, {"pause", box_pause},
        {"snapshot", box_snapshot}, {"snapshot_done", box_snapshot_done},
        {"deploy", box_deploy}, {"deploy_done", box_deploy_done},
        {"disk_full", box_disk_full}, {"disk_slow", box_disk_slow},
        {"disk_stall", box_disk_stall}, {"cut", box_cut}, {"mend", box_mend},
        {"mend_all", box_mend_all}, {"clock_jump", box_clock_jump}, {"loss", box_loss}, {"up", box_up},
        {"leader", box_leader}, {"settled", box_settled}, {"status", box_status}, {"state", box_state_of},
        {NULL, NULL},
    };
    static const luaL_Reg functions[] = {
        {"run", run}, {"new", box_new}, {"mutants", mutants}, {"states", states}, {"faults", faults}, {"calms", calms},
        {"bundle", bundle}, {"bundle_of", bundle_of},
        {"files", files}, {"names", names}, {"pack", pack}, {"unpack", unpack},
        {"json", json}, {"body_text", record_body_text}, {NULL, NULL},
    };
    luaL_newmetatable(L, SIM_BOX);
    lua_pushcfunction(L, box_gc);
    lua_setfield(L, -2, "__gc");
    luaL_newlib(L, methods);
    lua_setfield(L, -2, "__index");
    lua_pop(L, 1);
    luaL_newlib(L, functions);
    value_push_object_function(L);
    lua_setfield(L, -2, "object");
    return 1;
}
