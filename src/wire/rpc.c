/* msgpack-RPC: finding messages in a stream and writing them. The shapes are in rpc.h. */
#include "wire/rpc.h"

#include "base/request.h"

#define ELEMENTS_MAX (1u << 20) /* one byte of msgpack can become a table slot of 16 in Lua */

static bool could_begin(uint8_t first);
static bool read_message(struct mp_reader *reader, struct rpc_message *message);
static bool read_call(struct mp_reader *reader, struct rpc_message *message);
static bool read_id(struct mp_reader *reader, uint32_t *id);
static void write_response_head(struct buffer *out, uint32_t id);

struct mp_limits rpc_limits(size_t bytes_max)
{
    /* The message itself and its params are two containers around the values. */
    return (struct mp_limits){
        .depth = VALUE_DEPTH_MAX + 2, .elements = ELEMENTS_MAX, .bytes = bytes_max};
}

enum error_code rpc_next(struct rpc_parser *parser, struct slice bytes,
                         const struct mp_limits *limits, struct rpc_message *message, size_t *size,
                         struct error *error)
{
    *size = 0;
    if (bytes.size == 0) return ERROR_OK;
    if (!could_begin(bytes.data[0])) {
        return error_set(error, ERROR_BAD_REQUEST,
                         "rpc: 0x%02x does not begin a msgpack-RPC message", bytes.data[0]);
    }
    enum error_code code = mp_scan(&parser->scan, bytes, limits, size, error);
    if (code == ERROR_OK && *size == 0) return ERROR_OK;
    parser->scan = (struct mp_scan){0};
    if (code) return code;
    struct mp_reader reader = mp_reader_of(slice_of(bytes.data, *size));
    if (!read_message(&reader, message)) {
        *size = 0;
        return error_set(error, ERROR_BAD_REQUEST,
                         "rpc: neither [0, msgid, method, params] nor [1, msgid, error, result] "
                         "nor [2, method, params]");
    }
    return ERROR_OK;
}

void rpc_write_request(struct buffer *out, uint32_t id, const char *method, struct slice params)
{
    mp_write_array(out, 4);
    mp_write_integer(out, RPC_REQUEST);
    mp_write_integer(out, id);
    mp_write_text(out, method);
    mp_write_raw(out, params);
}

void rpc_write_notification(struct buffer *out, const char *method, struct slice params)
{
    mp_write_array(out, 3);
    mp_write_integer(out, RPC_NOTIFICATION);
    mp_write_text(out, method);
    mp_write_raw(out, params);
}

void rpc_write_result(struct buffer *out, uint32_t id, struct slice result)
{
    write_response_head(out, id);
    mp_write_nil(out);
    mp_write_raw(out, result);
}

void rpc_write_error(struct buffer *out, uint32_t id, struct slice error)
{
    write_response_head(out, id);
    mp_write_raw(out, error);
    mp_write_nil(out);
}

void rpc_write_error_code(struct buffer *out, uint32_t id, enum error_code code,
                          const char *message)
{
    write_response_head(out, id);
    reply_write_error(out, code, message);
    mp_write_nil(out);
}

static void write_response_head(struct buffer *out, uint32_t id)
{
    mp_write_array(out, 4);
    mp_write_integer(out, RPC_RESPONSE);
    mp_write_integer(out, id);
}

/* An array of 3 or 4, in its short form: the first byte is also how such a connection was
 * recognised. Refusing the rest at once means that a stranger's garbage is not waited on. */
static bool could_begin(uint8_t first)
{
    return first == 0x93 || first == 0x94;
}

static bool read_message(struct mp_reader *reader, struct rpc_message *message)
{
    uint32_t count;
    int64_t type;
    *message = (struct rpc_message){0};
    if (!mp_read_array(reader, &count) || !mp_read_integer(reader, &type)) return false;
    if (type < RPC_REQUEST || type > RPC_NOTIFICATION) return false;
    message->type = (enum rpc_type)type;
    if (count != (message->type == RPC_NOTIFICATION ? 3 : 4)) return false;
    switch (message->type) {
    case RPC_REQUEST:
        return read_id(reader, &message->id) && read_call(reader, message);
    case RPC_RESPONSE:
        return read_id(reader, &message->id) && mp_skip(reader, &message->error) &&
               mp_skip(reader, &message->result);
    case RPC_NOTIFICATION:
        return read_call(reader, message);
    }
    return false;
}

static bool read_call(struct mp_reader *reader, struct rpc_message *message)
{
    if (!mp_read_string(reader, &message->method)) return false;
    struct mp_reader params = *reader;
    uint32_t count;
    return mp_skip(reader, &message->params) && mp_read_array(&params, &count);
}

static bool read_id(struct mp_reader *reader, uint32_t *id)
{
    uint64_t value;
    if (!mp_read_u64(reader, &value) || value > UINT32_MAX) return false;
    *id = (uint32_t)value;
    return true;
}
