/*
 * Messages between cores as Lua tables, both ways: one row per message type, one row per field.
 * Every field has its name in raft/types.h.
 */
#ifndef MOONCLAVE_MODULE_MESSAGE_TABLE_H
#define MOONCLAVE_MODULE_MESSAGE_TABLE_H

#include "module/entry_table.h"
#include "module/fields.h"
#include "module/snapshot_table.h"
#include "raft/types.h"

#include <stddef.h>
#include <string.h>

enum field_kind { FIELD_U64, FIELD_BOOLEAN };
struct field_row {
    const char *name;
    enum field_kind kind;
    size_t offset;
};
#define ROW(name, kind, member)                           \
    {                                                     \
        name, kind, offsetof(struct raft_message, member) \
    }

static const struct field_row request_vote_rows[] = {
    ROW("pre", FIELD_BOOLEAN, request_vote.pre),
    ROW("transfer", FIELD_BOOLEAN, request_vote.transfer),
    ROW("last_index", FIELD_U64, request_vote.last_index),
    ROW("last_term", FIELD_U64, request_vote.last_term),
    {NULL, FIELD_U64, 0},
};
static const struct field_row vote_rows[] = {
    ROW("pre", FIELD_BOOLEAN, vote.pre),
    ROW("granted", FIELD_BOOLEAN, vote.granted),
    {NULL, FIELD_U64, 0},
};
static const struct field_row append_rows[] = {
    ROW("prev_index", FIELD_U64, append.prev_index),
    ROW("prev_term", FIELD_U64, append.prev_term),
    ROW("commit", FIELD_U64, append.commit),
    ROW("round", FIELD_U64, append.round),
    ROW("state_index", FIELD_U64, append.state_index),
    ROW("state_chain", FIELD_U64, append.state_chain),
    {NULL, FIELD_U64, 0},
};
static const struct field_row append_result_rows[] = {
    ROW("success", FIELD_BOOLEAN, append_result.success),
    ROW("prev_index", FIELD_U64, append_result.prev_index),
    ROW("match", FIELD_U64, append_result.match),
    ROW("last_index", FIELD_U64, append_result.last_index),
    ROW("conflict_term", FIELD_U64, append_result.conflict_term),
    ROW("conflict_index", FIELD_U64, append_result.conflict_index),
    ROW("round", FIELD_U64, append_result.round),
    ROW("state_index", FIELD_U64, append_result.state_index),
    ROW("state_chain", FIELD_U64, append_result.state_chain),
    {NULL, FIELD_U64, 0},
};

static const struct field_row timeout_now_rows[] = {{NULL, FIELD_U64, 0}};
static const struct field_row read_index_rows[] = {
    ROW("identity", FIELD_U64, read_index.identity),
    ROW("lease", FIELD_BOOLEAN, read_index.lease),
    {NULL, FIELD_U64, 0},
};
static const struct field_row read_index_result_rows[] = {
    ROW("identity", FIELD_U64, read_index_result.identity),
    ROW("success", FIELD_BOOLEAN, read_index_result.success),
    ROW("index", FIELD_U64, read_index_result.index),
    {NULL, FIELD_U64, 0},
};
/* Metas and chunks are no plain fields: snapshot_table.h. */
static const struct field_row no_rows[] = {{NULL, FIELD_U64, 0}};

struct message_row {
    const char *name;
    enum raft_message_type type;
    const struct field_row *fields;
};
static const struct message_row message_rows[] = {
    {"request_vote", RAFT_REQUEST_VOTE, request_vote_rows},
    {"vote", RAFT_VOTE, vote_rows},
    {"append", RAFT_APPEND, append_rows},
    {"append_result", RAFT_APPEND_RESULT, append_result_rows},
    {"timeout_now", RAFT_TIMEOUT_NOW, timeout_now_rows},
    {"read_index", RAFT_READ_INDEX, read_index_rows},
    {"read_index_result", RAFT_READ_INDEX_RESULT, read_index_result_rows},
    {"install_snapshot", RAFT_INSTALL_SNAPSHOT, no_rows},
    {"snapshot_result", RAFT_SNAPSHOT_RESULT, no_rows},
};
#define MESSAGE_ROWS (sizeof message_rows / sizeof *message_rows)

static inline void check_id(lua_State *L, int table, const char *name, struct raft_id *id)
{
    field_copy_text(L, table, name, id->text, sizeof id->text);
}

/* The entries of the field, in a userdata left on the stack; their payloads are the tables'. */
static inline struct raft_entry *check_entries(lua_State *L, int table, const char *name,
                                               size_t *count)
{
    *count = 0;
    if (lua_getfield(L, table, name) == LUA_TNIL) return NULL;
    int list = lua_gettop(L);
    *count = (size_t)luaL_len(L, list);
    struct raft_entry *entries = lua_newuserdatauv(L, *count * sizeof *entries + 1, 0);
    for (size_t i = 0; i < *count; i++) {
        lua_geti(L, list, (lua_Integer)i + 1);
        entries[i] = check_entry(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    return entries;
}

static inline void push_entries(lua_State *L, const struct raft_entry *entries, size_t count)
{
    lua_createtable(L, (int)count, 0);
    for (size_t i = 0; i < count; i++) {
        push_entry(L, &entries[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "entries");
}

static inline const struct message_row *find_message_row(const char *name)
{
    for (size_t i = 0; i < MESSAGE_ROWS; i++) {
        if (strcmp(message_rows[i].name, name) == 0) return &message_rows[i];
    }
    return NULL;
}

/* In a userdata left on the stack. */
static inline const struct raft_message *check_message(lua_State *L, int event)
{
    lua_getfield(L, event, "message");
    int table = lua_gettop(L);
    luaL_checktype(L, table, LUA_TTABLE);
    const char *name = field_text(L, table, "type");
    const struct message_row *row = find_message_row(name);
    if (!row) {
        luaL_error(L, "no message type %s", name);
        return NULL;
    }
    struct raft_message *message = lua_newuserdatauv(L, sizeof *message, 0);
    memset(message, 0, sizeof *message);
    message->type = row->type;
    check_id(L, table, "from", &message->from);
    check_id(L, table, "to", &message->to);
    message->term = field_u64(L, table, "term");
    for (const struct field_row *field = row->fields; field->name; field++) {
        char *at = (char *)message + field->offset;
        if (field->kind == FIELD_U64) {
            *(uint64_t *)(void *)at = field_u64(L, table, field->name);
        } else {
            *(bool *)at = field_boolean(L, table, field->name);
        }
    }
    if (message->type == RAFT_APPEND) {
        message->append.entries = check_entries(L, table, "entries", &message->append.entry_count);
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        check_install_snapshot(L, table, &message->install_snapshot);
    } else if (message->type == RAFT_SNAPSHOT_RESULT) {
        check_snapshot_result(L, table, &message->snapshot_result);
    }
    return message;
}

static inline void push_message(lua_State *L, const struct raft_message *message)
{
    size_t row = 0;
    while (message_rows[row].type != message->type) row++;
    lua_createtable(L, 0, 12);
    set_text(L, "type", message_rows[row].name);
    set_text(L, "from", message->from.text);
    set_text(L, "to", message->to.text);
    set_u64(L, "term", message->term);
    for (const struct field_row *field = message_rows[row].fields; field->name; field++) {
        const char *at = (const char *)message + field->offset;
        if (field->kind == FIELD_U64) {
            set_u64(L, field->name, *(const uint64_t *)(const void *)at);
        } else {
            set_boolean(L, field->name, *(const bool *)at);
        }
    }
    if (message->type == RAFT_APPEND) {
        push_entries(L, message->append.entries, message->append.entry_count);
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        push_install_snapshot(L, &message->install_snapshot);
    } else if (message->type == RAFT_SNAPSHOT_RESULT) {
        push_snapshot_result(L, &message->snapshot_result);
    }
}

#endif
