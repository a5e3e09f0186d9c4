/*
 * moonclave.wire: frames and msgpack-RPC, for the specs. A frame is a table with `type` (its name)
 * and its fields by their names in wire.h. Functions that can fail answer nil, the error's code and
 * its text.
 */
#include "wire/wire.h"

#include "base/mp.h"
#include "module/entry_table.h"
#include "module/fields.h"
#include "module/snapshot_table.h"
#include "wire/rpc.h"

#include <string.h>

/* ---- tables to frames ---- */

static unsigned check_type(lua_State *L, int table)
{
    const char *name = field_text(L, table, "type");
    for (unsigned type = 0; type < 256; type++) {
        if (strcmp(wire_type_name(type), name) == 0) return type;
    }
    return (unsigned)luaL_error(L, "no frame type %s", name);
}

static void check_hello(lua_State *L, struct wire_frame *frame)
{
    struct hello *hello = &frame->hello;
    field_copy_text(L, 1, "id", hello->identity.id, sizeof hello->identity.id);
    hello->identity.incarnation = field_u64(L, 1, "incarnation");
    hello->identity.cluster = field_u64(L, 1, "cluster");
    field_copy_text(L, 1, "address", hello->address, sizeof hello->address);
    hello->protocol_min = (uint32_t)field_u64(L, 1, "protocol_min");
    hello->protocol_max = (uint32_t)field_u64(L, 1, "protocol_max");
    hello->format_level = (uint32_t)field_u64(L, 1, "format_level");
    field_copy_text(L, 1, "lua_release", hello->lua_release, sizeof hello->lua_release);
    hello->peers_hash = field_u64(L, 1, "peers_hash");
    hello->joining = field_boolean(L, 1, "joining");
    hello->member_until = field_u64(L, 1, "member_until");
    hello->configuration = field_slice(L, 1, "configuration");
}

static void check_forward(lua_State *L, struct wire_frame *frame)
{
    struct request *request = &frame->forward.request;
    frame->forward.ticket = field_u64(L, 1, "ticket");
    request->kind = (enum request_kind)field_u64(L, 1, "kind");
    request->consistency = (enum consistency)field_u64(L, 1, "consistency");
    request->session = field_u64(L, 1, "session");
    request->sequence = field_u64(L, 1, "sequence");
    request->timeout_ms = (uint32_t)field_u64(L, 1, "timeout_ms");
    request->body = field_slice(L, 1, "body");
}

/* The entries live in a userdata left on the stack. */
static void check_append(lua_State *L, struct raft_append *append)
{
    append->prev_index = field_u64(L, 1, "prev_index");
    append->prev_term = field_u64(L, 1, "prev_term");
    append->commit = field_u64(L, 1, "commit");
    append->round = field_u64(L, 1, "round");
    append->state_index = field_u64(L, 1, "state_index");
    append->state_chain = field_u64(L, 1, "state_chain");
    if (lua_getfield(L, 1, "entries") == LUA_TNIL) return;
    append->entry_count = (size_t)luaL_len(L, -1);
    struct raft_entry *entries = lua_newuserdatauv(L, append->entry_count * sizeof *entries + 1, 0);
    for (size_t i = 0; i < append->entry_count; i++) {
        lua_geti(L, -2, (lua_Integer)i + 1);
        entries[i] = check_entry(L, lua_gettop(L));
        lua_pop(L, 1);
    }
    append->entries = entries;
}

static void check_append_result(lua_State *L, struct raft_append_result *result)
{
    result->success = field_boolean(L, 1, "success");
    result->prev_index = field_u64(L, 1, "prev_index");
    result->match = field_u64(L, 1, "match");
    result->last_index = field_u64(L, 1, "last_index");
    result->conflict_term = field_u64(L, 1, "conflict_term");
    result->conflict_index = field_u64(L, 1, "conflict_index");
    result->round = field_u64(L, 1, "round");
    result->state_index = field_u64(L, 1, "state_index");
    result->state_chain = field_u64(L, 1, "state_chain");
}

static void check_message(lua_State *L, struct raft_message *message)
{
    field_copy_text(L, 1, "from", message->from.text, sizeof message->from.text);
    field_copy_text(L, 1, "to", message->to.text, sizeof message->to.text);
    message->term = field_u64(L, 1, "term");
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        message->request_vote.pre = field_boolean(L, 1, "pre");
        message->request_vote.transfer = field_boolean(L, 1, "transfer");
        message->request_vote.last_index = field_u64(L, 1, "last_index");
        message->request_vote.last_term = field_u64(L, 1, "last_term");
        break;
    case RAFT_VOTE:
        message->vote.pre = field_boolean(L, 1, "pre");
        message->vote.granted = field_boolean(L, 1, "granted");
        break;
    case RAFT_APPEND:
        check_append(L, &message->append);
        break;
    case RAFT_APPEND_RESULT:
        check_append_result(L, &message->append_result);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    case RAFT_READ_INDEX:
        message->read_index.identity = field_u64(L, 1, "identity");
        message->read_index.lease = field_boolean(L, 1, "lease");
        break;
    case RAFT_READ_INDEX_RESULT:
        message->read_index_result.identity = field_u64(L, 1, "identity");
        message->read_index_result.success = field_boolean(L, 1, "success");
        message->read_index_result.index = field_u64(L, 1, "index");
        break;
    case RAFT_INSTALL_SNAPSHOT:
        check_install_snapshot(L, 1, &message->install_snapshot);
        break;
    case RAFT_SNAPSHOT_RESULT:
        check_snapshot_result(L, 1, &message->snapshot_result);
        break;
    }
}

/* encode(frame, [bytes before]) -> those bytes and the frame's behind them */
static int encode(lua_State *L)
{
    luaL_checktype(L, 1, LUA_TTABLE);
    struct wire_frame frame = {.type = (enum wire_type)check_type(L, 1)};
    struct buffer out = {0};
    if (!lua_isnoneornil(L, 2)) buffer_append_slice(&out, check_slice(L, 2));
    switch (frame.type) {
    case WIRE_HELLO:
        check_hello(L, &frame);
        break;
    case WIRE_HELLO_REFUSED:
        frame.refused.code = (enum error_code)field_u64(L, 1, "code");
        frame.refused.text = field_slice(L, 1, "text");
        break;
    case WIRE_FORWARD:
        check_forward(L, &frame);
        break;
    case WIRE_FORWARD_REPLY:
        frame.forward_reply.ticket = field_u64(L, 1, "ticket");
        frame.forward_reply.reply.code = (enum error_code)field_u64(L, 1, "code");
        frame.forward_reply.reply.body = field_slice(L, 1, "body");
        break;
    default:
        frame.message.type = (enum raft_message_type)frame.type;
        check_message(L, &frame.message);
        break;
    }
    wire_encode(&frame, &out);
    return push_buffer(L, &out);
}

/* ---- frames to tables ---- */

static void push_hello(lua_State *L, const struct hello *hello)
{
    set_text(L, "id", hello->identity.id);
    set_u64(L, "incarnation", hello->identity.incarnation);
    set_u64(L, "cluster", hello->identity.cluster);
    set_text(L, "address", hello->address);
    set_u64(L, "protocol_min", hello->protocol_min);
    set_u64(L, "protocol_max", hello->protocol_max);
    set_u64(L, "format_level", hello->format_level);
    set_text(L, "lua_release", hello->lua_release);
    set_u64(L, "peers_hash", hello->peers_hash);
    set_boolean(L, "joining", hello->joining);
    set_u64(L, "member_until", hello->member_until);
    set_slice(L, "configuration", hello->configuration);
}

static void push_forward(lua_State *L, const struct wire_frame *frame)
{
    const struct request *request = &frame->forward.request;
    set_u64(L, "ticket", frame->forward.ticket);
    set_u64(L, "kind", request->kind);
    set_u64(L, "consistency", request->consistency);
    set_u64(L, "session", request->session);
    set_u64(L, "sequence", request->sequence);
    set_u64(L, "timeout_ms", request->timeout_ms);
    set_slice(L, "body", request->body);
}

static void push_append(lua_State *L, const struct raft_append *append, const struct blob *blob)
{
    set_u64(L, "prev_index", append->prev_index);
    set_u64(L, "prev_term", append->prev_term);
    set_u64(L, "commit", append->commit);
    set_u64(L, "round", append->round);
    set_u64(L, "state_index", append->state_index);
    set_u64(L, "state_chain", append->state_chain);
    lua_newtable(L);
    for (size_t i = 0; i < append->entry_count; i++) {
        const struct raft_payload *payload = &append->entries[i].payload;
        bool inside = payload->bytes.data >= blob->data &&
                      payload->bytes.data + payload->bytes.size <= blob->data + blob->size;
        if (!inside || payload->blob != (payload->bytes.size ? blob : NULL)) {
            luaL_error(L, "a payload left its blob");
        }
        push_entry(L, &append->entries[i]);
        lua_seti(L, -2, (lua_Integer)i + 1);
    }
    lua_setfield(L, -2, "entries");
}

static void push_append_result(lua_State *L, const struct raft_append_result *result)
{
    set_boolean(L, "success", result->success);
    set_u64(L, "prev_index", result->prev_index);
    set_u64(L, "match", result->match);
    set_u64(L, "last_index", result->last_index);
    set_u64(L, "conflict_term", result->conflict_term);
    set_u64(L, "conflict_index", result->conflict_index);
    set_u64(L, "round", result->round);
    set_u64(L, "state_index", result->state_index);
    set_u64(L, "state_chain", result->state_chain);
}

static void push_message(lua_State *L, const struct raft_message *message, const struct blob *blob)
{
    set_text(L, "from", message->from.text);
    set_text(L, "to", message->to.text);
    set_u64(L, "term", message->term);
    switch (message->type) {
    case RAFT_REQUEST_VOTE:
        set_boolean(L, "pre", message->request_vote.pre);
        set_boolean(L, "transfer", message->request_vote.transfer);
        set_u64(L, "last_index", message->request_vote.last_index);
        set_u64(L, "last_term", message->request_vote.last_term);
        break;
    case RAFT_VOTE:
        set_boolean(L, "pre", message->vote.pre);
        set_boolean(L, "granted", message->vote.granted);
        break;
    case RAFT_APPEND:
        push_append(L, &message->append, blob);
        break;
    case RAFT_APPEND_RESULT:
        push_append_result(L, &message->append_result);
        break;
    case RAFT_TIMEOUT_NOW:
        break;
    case RAFT_READ_INDEX:
        set_u64(L, "identity", message->read_index.identity);
        set_boolean(L, "lease", message->read_index.lease);
        break;
    case RAFT_READ_INDEX_RESULT:
        set_u64(L, "identity", message->read_index_result.identity);
        set_boolean(L, "success", message->read_index_result.success);
        set_u64(L, "index", message->read_index_result.index);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        push_install_snapshot(L, &message->install_snapshot);
        break;
    case RAFT_SNAPSHOT_RESULT:
        push_snapshot_result(L, &message->snapshot_result);
        break;
    }
}

static void push_frame(lua_State *L, const struct wire_frame *frame, const struct blob *blob)
{
    lua_newtable(L);
    set_text(L, "type", wire_type_name(frame->type));
    switch (frame->type) {
    case WIRE_HELLO:
        push_hello(L, &frame->hello);
        break;
    case WIRE_HELLO_REFUSED:
        set_u64(L, "code", frame->refused.code);
        set_slice(L, "text", frame->refused.text);
        break;
    case WIRE_FORWARD:
        push_forward(L, frame);
        break;
    case WIRE_FORWARD_REPLY:
        set_u64(L, "ticket", frame->forward_reply.ticket);
        set_u64(L, "code", frame->forward_reply.reply.code);
        set_slice(L, "body", frame->forward_reply.reply.body);
        break;
    default:
        push_message(L, &frame->message, blob);
        break;
    }
}

/* decode(bytes, [offset in the blob]) -> frame, entries there is room for. The bytes are decoded
 * from a blob of exactly their size (and offset), so that a sanitizer sees a step past either end.
 * After a failure the fourth value is the room. */
static int decode(lua_State *L)
{
    struct slice bytes = check_slice(L, 1);
    size_t offset = (size_t)luaL_optinteger(L, 2, 0);
    struct blob *blob = blob_new_empty(offset + bytes.size);
    memset(blob->data, 0xee, offset);
    memcpy(blob->data + offset, bytes.data, bytes.size);
    struct wire_entries entries = {0};
    struct wire_frame frame;
    struct error error;
    enum error_code code =
        wire_decode(blob, slice_of(blob->data + offset, bytes.size), &entries, &frame, &error);
    int results = 1;
    if (code) {
        results = push_failure(L, &error);
    } else {
        push_frame(L, &frame, blob);
    }
    lua_pushinteger(L, (lua_Integer)entries.capacity);
    wire_entries_deinit(&entries);
    blob_drop(blob);
    return results + 1;
}

/* frame_size(bytes, most) -> size, 0 when more is needed */
static int frame_size(lua_State *L)
{
    struct error error;
    size_t size;
    if (wire_frame_size(check_slice(L, 1), (size_t)luaL_checkinteger(L, 2), &size, &error)) {
        return push_failure(L, &error);
    }
    lua_pushinteger(L, (lua_Integer)size);
    return 1;
}

static int language(lua_State *L)
{
    static const char *const names[] = {"unknown", "node", "rpc", "tls"};
    lua_pushstring(L, names[wire_language_of((uint8_t)luaL_checkinteger(L, 1))]);
    return 1;
}

static int type_name(lua_State *L)
{
    unsigned type = (unsigned)luaL_checkinteger(L, 1);
    lua_pushstring(L, wire_type_name(type));
    lua_pushboolean(L, wire_is_message(type));
    return 2;
}

/* blobs() -> how many are alive in this module */
static int blobs(lua_State *L)
{
    lua_pushinteger(L, (lua_Integer)blob_count());
    return 1;
}

/* ---- msgpack-RPC ---- */

static void push_rpc(lua_State *L, const struct rpc_message *message)
{
    static const char *const names[] = {"request", "response", "notification"};
    lua_newtable(L);
    set_text(L, "type", names[message->type]);
    set_u64(L, "id", message->id);
    set_slice(L, "method", message->method);
    set_slice(L, "params", message->params);
    set_slice(L, "error", message->error);
    set_slice(L, "result", message->result);
}

/* rpc_parse(bytes, step, most) -> the messages found when the stream comes `step` bytes at a time,
 * how many bytes are left over; after a failure: nil, code, text, the messages before it */
static int rpc_parse(lua_State *L)
{
    struct slice stream = check_slice(L, 1);
    size_t step = (size_t)luaL_checkinteger(L, 2);
    struct mp_limits limits = rpc_limits((size_t)luaL_optinteger(L, 3, 1 << 20));
    struct rpc_parser parser = {0};
    struct buffer received = {0};
    lua_newtable(L);
    for (size_t at = 0; at < stream.size; at += step) {
        buffer_append(&received, stream.data + at,
                      stream.size - at < step ? stream.size - at : step);
        size_t size;
        do {
            struct rpc_message message;
            struct error error;
            if (rpc_next(&parser, buffer_slice(&received), &limits, &message, &size, &error)) {
                buffer_deinit(&received);
                push_failure(L, &error);
                lua_pushvalue(L, -4);
                return 4;
            }
            if (size == 0) break;
            push_rpc(L, &message);
            lua_seti(L, -2, luaL_len(L, -2) + 1);
            buffer_consume(&received, size);
        } while (received.size);
    }
    lua_pushinteger(L, (lua_Integer)received.size);
    buffer_deinit(&received);
    return 2;
}

static int rpc_request(lua_State *L)
{
    struct buffer out = {0};
    rpc_write_request(&out, (uint32_t)luaL_checkinteger(L, 1), luaL_checkstring(L, 2),
                      check_slice(L, 3));
    return push_buffer(L, &out);
}

static int rpc_notification(lua_State *L)
{
    struct buffer out = {0};
    rpc_write_notification(&out, luaL_checkstring(L, 1), check_slice(L, 2));
    return push_buffer(L, &out);
}

static int rpc_result(lua_State *L)
{
    struct buffer out = {0};
    rpc_write_result(&out, (uint32_t)luaL_checkinteger(L, 1), check_slice(L, 2));
    return push_buffer(L, &out);
}

static int rpc_error(lua_State *L)
{
    struct buffer out = {0};
    rpc_write_error(&out, (uint32_t)luaL_checkinteger(L, 1), check_slice(L, 2));
    return push_buffer(L, &out);
}

/* rpc_error_code(id, number, [text]) */
static int rpc_error_code(lua_State *L)
{
    struct buffer out = {0};
    rpc_write_error_code(&out, (uint32_t)luaL_checkinteger(L, 1),
                         (enum error_code)luaL_checkinteger(L, 2), luaL_optstring(L, 3, NULL));
    return push_buffer(L, &out);
}

static const luaL_Reg functions[] = {
    {"encode", encode},
    {"decode", decode},
    {"frame_size", frame_size},
    {"language", language},
    {"type_name", type_name},
    {"blobs", blobs},
    {"rpc_parse", rpc_parse},
    {"rpc_request", rpc_request},
    {"rpc_notification", rpc_notification},
    {"rpc_result", rpc_result},
    {"rpc_error", rpc_error},
    {"rpc_error_code", rpc_error_code},
    {NULL, NULL},
};

__attribute__((visibility("default"))) int luaopen_moonclave_wire(lua_State *L);
int luaopen_moonclave_wire(lua_State *L)
{
    luaL_newlib(L, functions);
    lua_pushliteral(L, WIRE_MAGIC);
    lua_setfield(L, -2, "magic");
    return 1;
}
