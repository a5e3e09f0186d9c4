/*
 * The moments of a simulated run (sim/moment.h) as one compact JSON text, for lua/moonclave/sim/page.lua. Only
 * simcore.c includes it.
 *
 *   {"version":1, "kinds":[...], "types":[...], "nodes":n, "dropped":d, "time":t, "step":s, "strings":[...],
 *    "rows":[[dt, ds, kind, ...], ...]}
 *
 * `kinds` names the moments, `types` the messages, by their numbers. `time` and `step` are where the rows begin; each
 * row says how much later it is than the one before. What follows the kind is below, with the function that writes it;
 * -1 is nobody, "$" a place in `strings`.
 *
 * Only the last moments of a long run are kept: between half of RECORD_ROWS_MAX and all of it. What is kept begins with
 * rows that say how things stood by then.
 */
#ifndef MOONCLAVE_MODULE_SIMRECORD_H
#define MOONCLAVE_MODULE_SIMRECORD_H

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "raft/types.h"
#include "sim/sim.h"

#include <inttypes.h>
#include <lauxlib.h>
#include <lua.h>
#include <string.h>

#define RECORD_ROWS_MAX 200000
#define RECORD_AILMENTS 8 /* more than a node can have at once */

struct record_half { /* a stretch of the run that is kept or dropped as a whole */
    struct buffer rows;
    size_t count;
    size_t preface; /* bytes of the rows that say how things stood */
    uint64_t time, step;
};

struct record {
    struct record_half older, newer;
    size_t half_max;
    uint64_t dropped;
    uint64_t time, step; /* of the last row */
    /* strings, each once */
    struct buffer strings;
    uint32_t *slots; /* by hash: place + 1; 0: free */
    struct record_string {
        uint64_t hash;
        size_t at, size; /* the JSON in `strings` */
    } * known;
    size_t string_count, string_capacity, slot_count;
    /* how things stand */
    struct sim_node_state states[SIM_NODES_MAX];
    struct sim_moment phase, cut, ails[SIM_NODES_MAX][RECORD_AILMENTS]; /* their texts are literals of the simulator */
    bool cut_bits[SIM_NODES_MAX][SIM_NODES_MAX];
};

/* How the fields of each kind are written: n node, p peer, # number, a b c values, h the first value as half a hash,
 * u until_us, t text, y body; M message, S what of a state has changed, R request, C who is cut off from whom. */
static const char *const record_formats[MOMENT_KINDS] = {
    [MOMENT_start] = "n#ab",     [MOMENT_stop] = "n#",       [MOMENT_stopped] = "n#",   [MOMENT_crash] = "n#t",
    [MOMENT_fatal] = "n#t",      [MOMENT_kept] = "nab",      [MOMENT_role] = "n#ap",    [MOMENT_state] = "nS",
    [MOMENT_send] = "np#M",      [MOMENT_receive] = "np#",   [MOMENT_double] = "np#",   [MOMENT_lost] = "np#t",
    [MOMENT_hello] = "npt",      [MOMENT_parted] = "np",     [MOMENT_persist] = "n#abc", [MOMENT_bootstrap] = "n",
    [MOMENT_written] = "n#at",   [MOMENT_reported] = "n#at", [MOMENT_apply] = "n#hy",   [MOMENT_ask] = "n#Ry",
    [MOMENT_reply] = "n#ty",     [MOMENT_settle] = "n#R",    [MOMENT_fault] = "t",      [MOMENT_cut] = "uC",
    [MOMENT_ail] = "nuta",       [MOMENT_well] = "nt",       [MOMENT_phase] = "ta",     [MOMENT_log] = "nat",
    [MOMENT_violation] = "nt",   [MOMENT_snapshot] = "n#t",  [MOMENT_compacted] = "n#", [MOMENT_restored] = "n#h",
};

/* ---- strings ---- */

/* A JSON string that may stand in a script element too: nothing in it ends that. What is not UTF-8 shows as \xNN. */
static void record_json_string(struct buffer *out, struct slice text)
{
    bool whole = utf8_valid(text);
    buffer_append_byte(out, '"');
    for (size_t i = 0; i < text.size; i++) {
        uint8_t byte = text.data[i];
        bool separator = whole && byte == 0xe2 && i + 2 < text.size && text.data[i + 1] == 0x80 &&
                         (text.data[i + 2] & 0xfe) == 0xa8; /* U+2028, U+2029: they end lines in scripts */
        if (separator) {
            buffer_append_format(out, "\\u20%02x", text.data[i + 2] - 0x80);
            i += 2;
        } else if (byte < 0x20 || byte == 0x7f || strchr("\"\\<>&'", byte)) {
            buffer_append_format(out, "\\u%04x", byte);
        } else if (byte >= 0x80 && !whole) {
            buffer_append_format(out, "\\\\x%02x", byte);
        } else {
            buffer_append_byte(out, byte);
        }
    }
    buffer_append_byte(out, '"');
}

static void record_grow_slots(struct record *record)
{
    record->slot_count = record->slot_count ? record->slot_count * 2 : 1024;
    memory_free(record->slots);
    record->slots = memory_zero(record->slot_count, sizeof *record->slots);
    for (size_t i = 0; i < record->string_count; i++) {
        size_t slot = record->known[i].hash & (record->slot_count - 1);
        while (record->slots[slot]) slot = (slot + 1) & (record->slot_count - 1);
        record->slots[slot] = (uint32_t)i + 1;
    }
}

/* Its place among the strings. */
static size_t record_string(struct record *record, struct slice text)
{
    if (record->string_count * 2 >= record->slot_count) record_grow_slots(record);
    size_t at = record->strings.size;
    if (at > 0) buffer_append_byte(&record->strings, ',');
    size_t begin = record->strings.size;
    record_json_string(&record->strings, text);
    size_t size = record->strings.size - begin;
    uint64_t hash = hash_bytes(record->strings.data + begin, size);
    size_t slot = hash & (record->slot_count - 1);
    for (; record->slots[slot]; slot = (slot + 1) & (record->slot_count - 1)) {
        const struct record_string *known = &record->known[record->slots[slot] - 1];
        if (known->hash == hash && known->size == size &&
            memcmp(record->strings.data + known->at, record->strings.data + begin, size) == 0) {
            record->strings.size = at; /* it is there already */
            return record->slots[slot] - 1;
        }
    }
    if (record->string_count == record->string_capacity) {
        record->string_capacity = record->string_capacity ? record->string_capacity * 2 : 256;
        record->known = memory_resize(record->known, record->string_capacity, sizeof *record->known);
    }
    record->known[record->string_count++] = (struct record_string){hash, begin, size};
    record->slots[slot] = (uint32_t)record->string_count;
    return record->string_count - 1;
}

/* ---- fields ---- */

/* Beyond what a double holds a number is written as a string: tokens of reads are. */
static void record_number(struct record *record, uint64_t value)
{
    buffer_append_format(&record->newer.rows, value >> 53 ? ",\"%" PRIu64 "\"" : ",%" PRIu64, value);
}

static void record_place(struct record *record, struct slice text)
{
    if (text.size == 0)
        buffer_append_text(&record->newer.rows, ",-1");
    else
        record_number(record, record_string(record, text));
}

static void record_who(struct record *record, unsigned node)
{
    buffer_append_format(&record->newer.rows, ",%d", node == SIM_NOBODY ? -1 : (int)node);
}

/* The type, 0 for what is forwarded: then its name. Else the term and what the type says; a type that is not known here
 * has no more than its term. */
static void record_message(struct record *record, const struct sim_moment *moment)
{
    const struct raft_message *message = moment->message;
    record_number(record, message ? (uint64_t)message->type : 0);
    if (!message) {
        record_place(record, slice_text(moment->text));
        return;
    }
    uint64_t fields[8] = {message->term};
    size_t count = 1;
    const struct raft_append *append = &message->append;
    const struct raft_append_result *result = &message->append_result;
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        fields[count++] = message->request_vote.pre;
        fields[count++] = message->request_vote.last_index;
        fields[count++] = message->request_vote.last_term;
        break;
    case RAFT_VOTE:
        fields[count++] = message->vote.pre;
        fields[count++] = message->vote.granted;
        break;
    case RAFT_APPEND:
        fields[count++] = append->prev_index;
        fields[count++] = append->prev_term;
        fields[count++] = append->entry_count;
        fields[count++] = append->commit;
        fields[count++] = append->round;
        fields[count++] = append->entry_count ? append->entries[0].term : 0;
        break;
    case RAFT_APPEND_RESULT:
        fields[count++] = result->success;
        fields[count++] = result->prev_index;
        fields[count++] = result->match;
        fields[count++] = result->last_index;
        fields[count++] = result->conflict_index;
        fields[count++] = result->conflict_term;
        fields[count++] = result->round;
        break;
    case RAFT_INSTALL_SNAPSHOT:
        fields[count++] = message->install_snapshot.meta.index;
        fields[count++] = message->install_snapshot.meta.size;
        fields[count++] = message->install_snapshot.attempt;
        fields[count++] = message->install_snapshot.offset;
        fields[count++] = message->install_snapshot.chunk.bytes.size;
        break;
    case RAFT_SNAPSHOT_RESULT:
        fields[count++] = message->snapshot_result.index;
        fields[count++] = message->snapshot_result.status;
        fields[count++] = message->snapshot_result.attempt;
        fields[count++] = message->snapshot_result.offset;
        fields[count++] = message->snapshot_result.match;
        break;
    default:
        break;
    }
    for (size_t i = 0; i < count; i++) record_number(record, fields[i]);
}

/* Pairs of a field's place and its new value. */
static void record_state_change(struct record *record, const struct sim_node_state *is,
                                const struct sim_node_state *was)
{
    const uint64_t fields[][2] = {
        {is->up, was->up},           {is->role, was->role},           {is->term, was->term},
        {is->vote, was->vote},       {is->leader, was->leader},       {is->commit, was->commit},
        {is->applied, was->applied}, {is->last, was->last},           {is->durable, was->durable},
        {is->disk_term, was->disk_term}, {is->disk_last, was->disk_last}, {is->disk_queue, was->disk_queue},
    };
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++) {
        if (fields[i][0] == fields[i][1]) continue;
        record_number(record, i);
        record_number(record, fields[i][0]);
    }
}

/* For each node a number: bit k is set where it does not hear node k. */
static void record_cut(struct record *record, const struct sim_moment *moment)
{
    for (unsigned to = 0; to < SIM_NODES_MAX; to++) {
        uint64_t deaf = 0;
        for (unsigned from = 0; from < SIM_NODES_MAX; from++) deaf |= (uint64_t)moment->cut[from][to] << from;
        record_number(record, deaf);
    }
}

static void record_request(struct record *record, const struct sim_moment_request *request)
{
    record_number(record, request->client);
    record_number(record, (uint64_t)request->kind);
    record_number(record, (uint64_t)request->consistency);
    record_number(record, request->outcome);
    record_number(record, request->invoked_us);
}

static void record_field(struct record *record, const struct sim_moment *moment, char letter)
{
    struct buffer words = {0};
    switch (letter) {
    case 'n':
        record_who(record, moment->node);
        break;
    case 'p':
        record_who(record, moment->peer);
        break;
    case '#':
        record_number(record, moment->number);
        break;
    case 'a':
    case 'b':
    case 'c':
        record_number(record, moment->values[letter - 'a']);
        break;
    case 'h':
        buffer_append_format(&record->newer.rows, ",\"%08x\"", (unsigned)(moment->values[0] >> 32));
        break;
    case 'u':
        record_number(record, moment->until_us);
        break;
    case 't':
        record_place(record, slice_text(moment->text ? moment->text : ""));
        break;
    case 'y':
        sim_body_text(moment->body, &words);
        record_place(record, buffer_slice(&words));
        break;
    case 'M':
        record_message(record, moment);
        break;
    case 'S':
        record_state_change(record, moment->state, moment->before);
        break;
    case 'R':
        record_request(record, moment->request);
        break;
    case 'C':
        record_cut(record, moment);
        break;
    }
    buffer_deinit(&words);
}

static void record_row(struct record *record, const struct sim_moment *moment)
{
    struct buffer *rows = &record->newer.rows;
    if (rows->size > 0) buffer_append_text(rows, ",\n");
    buffer_append_format(rows, "[%" PRIu64 ",%" PRIu64 ",%d", moment->at_us - record->time,
                         moment->step - record->step, (int)moment->kind);
    for (const char *letter = record_formats[moment->kind]; *letter; letter++) record_field(record, moment, *letter);
    buffer_append_byte(rows, ']');
    record->time = moment->at_us;
    record->step = moment->step;
}

/* ---- the row of moments ---- */

/* What stands: the newest moment of the phase, of the cuts, of each node's state and of all it suffers from. */
static void record_remember(struct record *record, const struct sim_moment *moment)
{
    switch (moment->kind) {
    case MOMENT_state:
        record->states[moment->node] = *moment->state;
        break;
    case MOMENT_phase:
        record->phase = *moment;
        break;
    case MOMENT_cut:
        record->cut = *moment;
        memcpy(record->cut_bits, moment->cut, sizeof record->cut_bits);
        break;
    case MOMENT_ail:
    case MOMENT_well:
        for (unsigned i = 0; i < RECORD_AILMENTS; i++) {
            struct sim_moment *slot = &record->ails[moment->node][i];
            if (slot->text && strcmp(slot->text, moment->text) != 0) continue;
            *slot = *moment;
            break;
        }
        break;
    default:
        break;
    }
}

/* A new half begins with how things stand, told again at the time of the last row. */
static void record_turn_over(struct record *record)
{
    buffer_deinit(&record->older.rows);
    record->dropped += record->older.count;
    record->older = record->newer;
    record->newer = (struct record_half){.time = record->time, .step = record->step};
    struct sim_moment again[2 + SIM_NODES_MAX * (1 + RECORD_AILMENTS)];
    static const struct sim_node_state nothing;
    size_t count = 0;
    if (record->phase.text) again[count++] = record->phase;
    for (unsigned n = 0; n < SIM_NODES_MAX; n++) {
        again[count++] = (struct sim_moment){
            .kind = MOMENT_state, .node = n, .state = &record->states[n], .before = &nothing};
        for (unsigned i = 0; i < RECORD_AILMENTS; i++) {
            const struct sim_moment *ail = &record->ails[n][i];
            if (ail->text && ail->kind == MOMENT_ail && ail->values[0] == 0) again[count++] = *ail;
        }
    }
    if (record->cut.cut) again[count++] = record->cut;
    for (size_t i = 0; i < count; i++) {
        again[i].at_us = record->time;
        again[i].step = record->step;
        if (again[i].cut) again[i].cut = (const bool(*)[SIM_NODES_MAX])record->cut_bits;
        if (again[i].kind == MOMENT_state && memcmp(again[i].state, &nothing, sizeof nothing) == 0) continue;
        record_row(record, &again[i]);
    }
    record->newer.preface = record->newer.rows.size;
}

static void record_moment(void *context, const struct sim_moment *moment)
{
    struct record *record = context;
    if (record->newer.count >= record->half_max) record_turn_over(record);
    record_row(record, moment);
    record->newer.count++;
    record_remember(record, moment);
}

/* ---- the whole ---- */

static void record_write_head(const struct record *record, const struct record_half *first, unsigned nodes,
                              struct buffer *out)
{
    static const char *const types[] = {
#define X(name, number, text) [number] = text,
        RAFT_MESSAGE_TABLE(X)
#undef X
    };
    buffer_append_format(out, "{\"version\":1,\"nodes\":%u,\"dropped\":%" PRIu64, nodes, record->dropped);
    buffer_append_format(out, ",\"time\":%" PRIu64 ",\"step\":%" PRIu64, first->time, first->step);
    buffer_append_text(out, ",\n\"kinds\":[");
    for (unsigned i = 0; i < MOMENT_KINDS; i++)
        buffer_append_format(out, "%s[\"%s\",\"%s\"]", i ? "," : "", sim_moment_name((enum sim_moment_kind)i),
                             record_formats[i]);
    buffer_append_text(out, "],\n\"types\":[\"forwarded\"");
    for (size_t i = 1; i < sizeof types / sizeof types[0]; i++)
        buffer_append_format(out, ",\"%s\"", types[i] ? types[i] : "");
    buffer_append_text(out, "],\n\"strings\":[");
    buffer_append_slice(out, buffer_slice(&record->strings));
    buffer_append_text(out, "],\n\"rows\":[\n");
}

static void record_free(struct record *record)
{
    buffer_deinit(&record->older.rows);
    buffer_deinit(&record->newer.rows);
    buffer_deinit(&record->strings);
    memory_free(record->known);
    memory_free(record->slots);
    *record = (struct record){0};
}

/* The record as a string on the stack; what it took is freed. */
static void record_push(lua_State *L, struct record *record, unsigned nodes)
{
    const struct record_half *first = record->older.count ? &record->older : &record->newer;
    struct buffer out = {0};
    record_write_head(record, first, nodes, &out);
    buffer_append_slice(&out, buffer_slice(&first->rows));
    if (first != &record->newer) {
        const struct record_half *newer = &record->newer;
        buffer_append(&out, newer->rows.data + newer->preface, newer->rows.size - newer->preface);
    }
    buffer_append_text(&out, "\n]}\n");
    lua_pushlstring(L, (const char *)out.data, out.size);
    buffer_deinit(&out);
    record_free(record);
}

/* record = true in the table of options: all moments go into `record`. record_rows: fewer than RECORD_ROWS_MAX, for
 * specs. */
static void record_open(lua_State *L, int table, struct sim_options *options, struct record *record)
{
    lua_getfield(L, table, "record");
    lua_getfield(L, table, "record_rows");
    lua_Integer rows = luaL_optinteger(L, -1, RECORD_ROWS_MAX);
    if (rows < 2 || rows > RECORD_ROWS_MAX) luaL_error(L, "record_rows: 2 to %d", RECORD_ROWS_MAX);
    record->half_max = (size_t)rows / 2;
    if (lua_toboolean(L, -2)) {
        options->moment = record_moment;
        options->moment_context = record;
    }
    lua_pop(L, 2);
}

/* body_text(msgpack) -> a request or reply in a few words, as records have them */
static int record_body_text(lua_State *L)
{
    size_t size;
    const char *bytes = luaL_checklstring(L, 1, &size);
    struct buffer words = {0};
    sim_body_text(slice_of(bytes, size), &words);
    lua_pushlstring(L, words.size ? (const char *)words.data : "", words.size);
    buffer_deinit(&words);
    return 1;
}

#endif
