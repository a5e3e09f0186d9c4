/*
 * Closed-loop clients: each connection keeps `depth` requests under way and sends the next one when an answer comes.
 * What failed is tried again a moment later, so that a cluster without a leader is not shouted at.
 */
#include "cli/bench.h"

#include "base/memory.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#define SCRATCH_SIZE (256 * 1024)

struct slot {
    uint64_t sent_ns;
    uint32_t key;
    enum bench_operation operation;
    bool busy;
};

enum state { CLOSED, CONNECTING, OPEN, CLOSING };

struct bench_connection {
    struct bench *bench;
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    enum state state;
    size_t address;           /* the one tried, or in use */
    size_t tries;             /* failed, since it was last open */
    struct buffer input;      /* an answer that is not all there */
    struct buffer output;     /* to be written at the end of this turn */
    struct buffer sending;    /* what the system did not take at once */
    bool writing, dirty;
    struct bench_connection *next_dirty;
    struct mp_scan scan;
    struct slot *slots;
    uint32_t *free_slots;     /* a stack; unused where answers come in order */
    size_t free_count;
    uint32_t first, next;     /* the oldest under way and the next, of a ring; where answers come in order */
    size_t under_way;
    size_t held;              /* failed, to be sent again by the retry timer */
};

static void open_connection(struct bench_connection *connection);
static void connected(uv_connect_t *request, int status);
static void unreachable(struct bench_connection *connection, int status);
static void lost(struct bench_connection *connection, const char *code);
static void closed(uv_handle_t *handle);
static void forget_slots(struct bench_connection *connection, const char *code);
static void fill(struct bench_connection *connection);
static bool next_request(struct bench *bench, enum bench_operation *operation, uint32_t *key);
static void send_request(struct bench_connection *connection, enum bench_operation operation, uint32_t key,
                         uint64_t now_ns);
static void lend_scratch(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer);
static void received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer);
static ptrdiff_t take_answers(struct bench_connection *connection, struct slice bytes);
static bool take_answer(struct bench_connection *connection, struct bench_answer *answer, uint64_t now_ns);
static struct slot *answered_slot(struct bench_connection *connection, uint32_t id);
static void count(struct bench *bench, struct slot *slot, bool failed, const char *code, uint64_t now_ns);
static void not_our_protocol(struct bench_connection *connection);
static void flush(struct bench_connection *connection);
static void written(uv_write_t *request, int status);

void bench_connections_open(struct bench *bench)
{
    bench->scratch = memory_alloc(SCRATCH_SIZE);
    bench->connections = memory_zero(bench->connection_count, sizeof *bench->connections);
    for (size_t i = 0; i < bench->connection_count; i++) {
        struct bench_connection *connection = &bench->connections[i];
        connection->bench = bench;
        connection->address = i % bench->address_count;
        connection->slots = memory_zero(bench->slots, sizeof *connection->slots);
        connection->free_slots = memory_zero(bench->slots, sizeof *connection->free_slots);
        forget_slots(connection, NULL);
        open_connection(connection);
    }
}

void bench_connections_go(struct bench *bench)
{
    for (size_t i = 0; i < bench->connection_count; i++) fill(&bench->connections[i]);
    bench_connections_flush(bench);
}

void bench_connections_flush(struct bench *bench)
{
    while (bench->dirty != NULL) {
        struct bench_connection *connection = bench->dirty;
        bench->dirty = connection->next_dirty;
        connection->dirty = false;
        flush(connection);
    }
}

void bench_connections_retry(struct bench *bench)
{
    for (size_t i = 0; i < bench->connection_count; i++) {
        struct bench_connection *connection = &bench->connections[i];
        connection->held = 0;
        if (connection->state == CLOSED) {
            open_connection(connection);
        } else {
            fill(connection);
        }
    }
    bench_connections_flush(bench);
}

void bench_connections_close(struct bench *bench)
{
    for (size_t i = 0; bench->connections != NULL && i < bench->connection_count; i++) {
        struct bench_connection *connection = &bench->connections[i];
        if (connection->state == CONNECTING || connection->state == OPEN) lost(connection, "no_answer");
    }
}

void bench_connections_free(struct bench *bench)
{
    for (size_t i = 0; bench->connections != NULL && i < bench->connection_count; i++) {
        struct bench_connection *connection = &bench->connections[i];
        assert(connection->state == CLOSED);
        buffer_deinit(&connection->input);
        buffer_deinit(&connection->output);
        buffer_deinit(&connection->sending);
        memory_free(connection->slots);
        memory_free(connection->free_slots);
    }
    memory_free(bench->connections);
    memory_free(bench->scratch);
}

/* ---- opening and losing ---- */

static void open_connection(struct bench_connection *connection)
{
    struct bench *bench = connection->bench;
    int status = uv_tcp_init(&bench->loop, &connection->tcp);
    assert(status == 0);
    connection->tcp.data = connection;
    connection->connect.data = connection;
    connection->state = CONNECTING;
    status = uv_tcp_connect(&connection->connect, &connection->tcp,
                            (const struct sockaddr *)&bench->addresses[connection->address], connected);
    if (status != 0) unreachable(connection, status);
}

static void connected(uv_connect_t *request, int status)
{
    struct bench_connection *connection = request->data;
    struct bench *bench = connection->bench;
    if (connection->state != CONNECTING) return;
    if (status != 0) {
        unreachable(connection, status);
        return;
    }
    uv_tcp_nodelay(&connection->tcp, 1);
    connection->state = OPEN;
    connection->tries = 0;
    uv_read_start((uv_stream_t *)&connection->tcp, lend_scratch, received);
    if (bench->phase != BENCH_CONNECT) {
        fill(connection);
    } else if (++bench->connected == bench->connection_count) {
        bench_all_connected(bench);
    }
}

static void unreachable(struct bench_connection *connection, int status)
{
    struct bench *bench = connection->bench;
    connection->tries++;
    if (bench->phase == BENCH_CONNECT && connection->tries >= bench->address_count) {
        error_set(&bench->problem, ERROR_UNAVAILABLE, "bench: %s: nobody answers (%s): start the nodes first; --addr "
                  "A,B,C names them%s", bench->address_names[connection->address], uv_strerror(status),
                  bench->options->http ? ", by their HTTP addresses" : "");
        bench_give_up(bench);
    }
    lost(connection, "unreachable");
}

/* What was under way has an unknown outcome. */
static void lost(struct bench_connection *connection, const char *code)
{
    if (connection->state == CLOSING || connection->state == CLOSED) return;
    if (connection->state == OPEN && connection->bench->phase == BENCH_CONNECT) connection->bench->connected--;
    connection->state = CLOSING;
    connection->address = (connection->address + 1) % connection->bench->address_count;
    buffer_clear(&connection->input);
    buffer_clear(&connection->output);
    forget_slots(connection, code);
    uv_close((uv_handle_t *)&connection->tcp, closed);
}

static void closed(uv_handle_t *handle)
{
    struct bench_connection *connection = handle->data;
    connection->state = CLOSED;
    connection->writing = false;
    connection->scan = (struct mp_scan){0};
    struct bench *bench = connection->bench;
    if (bench->phase == BENCH_CONNECT && bench->problem.code == ERROR_OK) open_connection(connection);
}

static void forget_slots(struct bench_connection *connection, const char *code)
{
    struct bench *bench = connection->bench;
    uint64_t now_ns = uv_hrtime();
    connection->free_count = bench->slots;
    for (size_t i = 0; i < bench->slots; i++) {
        struct slot *slot = &connection->slots[i];
        connection->free_slots[i] = (uint32_t)(bench->slots - 1 - i);
        if (!slot->busy) continue;
        slot->busy = false;
        connection->under_way--;
        bench->under_way--;
        count(bench, slot, true, code, now_ns);
    }
    assert(connection->under_way == 0);
    connection->first = connection->next = 0;
    connection->held = 0;
}

/* ---- requests ---- */

static void fill(struct bench_connection *connection)
{
    struct bench *bench = connection->bench;
    enum bench_operation operation;
    uint32_t key;
    if (connection->state != OPEN || connection->under_way + connection->held >= bench->depth) return;
    uint64_t now_ns = uv_hrtime();
    while (connection->under_way + connection->held < bench->depth && next_request(bench, &operation, &key)) {
        send_request(connection, operation, key, now_ns);
    }
}

/* false: there is nothing to send now. */
static bool next_request(struct bench *bench, enum bench_operation *operation, uint32_t *key)
{
    const struct bench_options *options = bench->options;
    *operation = BENCH_PUT;
    switch (bench->phase) {
    case BENCH_CONNECT:
    case BENCH_DRAIN:
        return false;
    case BENCH_FILL:
        if (bench->refill.size > 0) {
            bench->refill.size -= sizeof *key;
            memcpy(key, bench->refill.data + bench->refill.size, sizeof *key);
            return true;
        }
        *key = bench->fill_next;
        if (bench->fill_next == options->keys) return false;
        bench->fill_next++;
        return true;
    case BENCH_WARMUP:
    case BENCH_MEASURE:
        break;
    }
    uint64_t number = random_next(&bench->random);
    *key = (uint32_t)((number >> 32) * options->keys >> 32);
    if ((number & 0xffffffff) * 100 >> 32 < options->reads) *operation = BENCH_GET;
    return true;
}

static void send_request(struct bench_connection *connection, enum bench_operation operation, uint32_t key,
                         uint64_t now_ns)
{
    struct bench *bench = connection->bench;
    uint32_t id = connection->next;
    if (bench->protocol->in_order) {
        connection->next = (uint32_t)((connection->next + 1) % bench->slots);
    } else {
        id = connection->free_slots[--connection->free_count];
    }
    struct slot *slot = &connection->slots[id];
    assert(!slot->busy);
    *slot = (struct slot){.sent_ns = now_ns, .key = key, .operation = operation, .busy = true};
    connection->under_way++;
    bench->under_way++;
    bench_request(&bench->templates[operation], id, key, &connection->output);
    if (connection->dirty) return;
    connection->dirty = true;
    connection->next_dirty = bench->dirty;
    bench->dirty = connection;
}

/* ---- answers ---- */

static void lend_scratch(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    (void)suggested;
    struct bench_connection *connection = handle->data;
    *buffer = uv_buf_init((char *)connection->bench->scratch, SCRATCH_SIZE);
}

static void received(uv_stream_t *stream, ssize_t size, const uv_buf_t *buffer)
{
    struct bench_connection *connection = stream->data;
    if (size < 0) {
        lost(connection, "connection_lost");
        return;
    }
    struct slice bytes = slice_of(buffer->base, (size_t)size);
    if (connection->input.size > 0) {
        buffer_append_slice(&connection->input, bytes);
        bytes = buffer_slice(&connection->input);
    }
    ptrdiff_t taken = take_answers(connection, bytes);
    if (connection->state != OPEN) return; /* an answer led to a write that failed, or was the last */
    if (taken < 0) {
        not_our_protocol(connection);
        return;
    }
    if (connection->input.size > 0) {
        buffer_consume(&connection->input, (size_t)taken);
    } else {
        buffer_append(&connection->input, bytes.data + taken, bytes.size - (size_t)taken);
    }
    fill(connection);
}

/* How many bytes were answers; -1: something is none. */
static ptrdiff_t take_answers(struct bench_connection *connection, struct slice bytes)
{
    const struct bench_protocol *protocol = connection->bench->protocol;
    uint64_t now_ns = uv_hrtime();
    ptrdiff_t taken = 0;
    for (;;) {
        struct bench_answer answer;
        struct slice rest = slice_of(bytes.data + taken, bytes.size - (size_t)taken);
        ptrdiff_t size = protocol->scan(&connection->scan, rest, &answer);
        if (size < 0) return -1;
        if (size == 0) return taken;
        if (!take_answer(connection, &answer, now_ns)) return -1;
        taken += size;
        if (connection->state != OPEN) return taken;
    }
}

static bool take_answer(struct bench_connection *connection, struct bench_answer *answer, uint64_t now_ns)
{
    struct slot *slot = answered_slot(connection, answer->id);
    if (slot == NULL) return false;
    if (answer->empty && slot->operation == BENCH_GET) { /* every key was written before */
        answer->failed = true;
        snprintf(answer->code, sizeof answer->code, "not_found");
    }
    slot->busy = false;
    connection->under_way--;
    connection->bench->under_way--;
    if (answer->failed) connection->held++;
    count(connection->bench, slot, answer->failed, answer->code, now_ns);
    return true;
}

/* null: nothing under way has that id. */
static struct slot *answered_slot(struct bench_connection *connection, uint32_t id)
{
    struct bench *bench = connection->bench;
    if (bench->protocol->in_order) id = connection->first;
    if (id >= bench->slots || !connection->slots[id].busy) return NULL;
    if (bench->protocol->in_order) {
        connection->first = (uint32_t)((id + 1) % bench->slots);
    } else {
        connection->free_slots[connection->free_count++] = id;
    }
    return &connection->slots[id];
}

static void count(struct bench *bench, struct slot *slot, bool failed, const char *code, uint64_t now_ns)
{
    struct bench_figures *figures = &bench->figures[slot->operation];
    bool measuring = bench->phase == BENCH_MEASURE;
    if (bench->phase == BENCH_FILL) {
        if (failed) {
            buffer_append(&bench->refill, &slot->key, sizeof slot->key);
            snprintf(bench->refill_code, sizeof bench->refill_code, "%s", code);
        } else if (++bench->filled == bench->options->keys) {
            bench_all_filled(bench);
        }
        return;
    }
    if (measuring || bench->phase == BENCH_DRAIN) {
        if (failed) {
            figures->failed++;
            bench_count_error(&bench->errors, code);
        } else {
            figures->succeeded += measuring;
            bench_sample(figures, now_ns - slot->sent_ns);
        }
    }
    if (bench->phase == BENCH_DRAIN && bench->under_way == 0) bench_all_answered(bench);
}

static void not_our_protocol(struct bench_connection *connection)
{
    struct bench *bench = connection->bench;
    if (bench->problem.code == ERROR_OK) {
        error_set(&bench->problem, ERROR_BAD_REQUEST, "bench: %s: what answers there does not speak %s: %s",
                  bench->address_names[connection->address], bench->options->http ? "HTTP/1.1" : "msgpack-RPC",
                  bench->options->http ? "--http needs the nodes' HTTP addresses" : "HTTP addresses need --http");
    }
    bench_give_up(bench);
    lost(connection, "connection_lost");
}

/* ---- writing ---- */

static void flush(struct bench_connection *connection)
{
    if (connection->state != OPEN || connection->writing || connection->output.size == 0) return;
    uv_buf_t bytes = uv_buf_init((char *)connection->output.data, (unsigned)connection->output.size);
    int status = uv_try_write((uv_stream_t *)&connection->tcp, &bytes, 1);
    if (status < 0 && status != UV_EAGAIN) {
        lost(connection, "connection_lost");
        return;
    }
    size_t sent = status > 0 ? (size_t)status : 0;
    if (sent == connection->output.size) {
        buffer_clear(&connection->output);
        return;
    }
    struct buffer empty = connection->sending;
    connection->sending = connection->output;
    connection->output = empty;
    buffer_clear(&connection->output);
    bytes = uv_buf_init((char *)connection->sending.data + sent, (unsigned)(connection->sending.size - sent));
    connection->write.data = connection;
    connection->writing = true;
    status = uv_write(&connection->write, (uv_stream_t *)&connection->tcp, &bytes, 1, written);
    if (status != 0) lost(connection, "connection_lost");
}

static void written(uv_write_t *request, int status)
{
    struct bench_connection *connection = request->data;
    connection->writing = false;
    if (status != 0) {
        lost(connection, "connection_lost");
    } else {
        flush(connection);
    }
}
