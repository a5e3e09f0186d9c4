/*
 * Streams: bytes in, bytes out, one write call a turn.
 *
 * In: a stream that has no rest reads into the loop's scratch and hands out views of it; only what
 * its owner leaves is copied to a buffer of its own. So thousands of idle connections hold no input
 * memory, and a busy one whose messages come whole never copies. Out: owners append to `output`;
 * stream_flush tries one write at the end of the turn. What the system does not take moves to
 * `flight`, which libuv sends on as it can; meanwhile `output` gathers again.
 */
#include "net/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>

#define KEEP_CAPACITY_MAX (64 * 1024) /* an empty buffer above this is given back */
#define READ_MORE         (64 * 1024)
#define KEEPALIVE_SECONDS 60
#define LINGER_MS         2000
#define FINISH_MS_MAX     30000

static void offer_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *memory);
static void stream_received(uv_stream_t *tcp, ssize_t count, const uv_buf_t *memory);
static void keep_rest(struct net_stream *stream);
static void compact_rest(struct net_stream *stream);
static void stream_fail(struct net_stream *stream, const char *why);
static void all_sent(struct net_stream *stream);
static void linger(uv_shutdown_t *shutdown, int status);
static void linger_ends(uv_timer_t *timer);
static void linger_free(uv_handle_t *timer);
static void write_later(struct net_stream *stream, size_t written);
static void written(uv_write_t *write, int status);
static void tell_drained(struct net_stream *stream);
static void count_write(struct net_stream *stream, size_t size);
static void dirty_remove(struct net_stream *stream);
static void trim(struct buffer *buffer);
static void stream_free(uv_handle_t *handle);

/* A finishing stream has nobody to tell. */
static void ignore_received(void *context)
{
    struct net_stream *stream = context;
    net_stream_consume(stream, net_stream_input(stream).size);
}
static void ignore_closed(void *context, const char *why)
{
    (void)context, (void)why;
}
static const struct net_stream_events finishing_events = {
    .received = ignore_received,
    .closed = ignore_closed,
};

struct net_stream *stream_new(struct net *net)
{
    struct net_stream *stream = memory_zero(1, sizeof *stream);
    stream->net = net;
    stream->moved_ms = net_turn_ms(net);
    int status = uv_tcp_init(net->loop, &stream->tcp);
    assert(status == 0);
    (void)status;
    stream->tcp.data = stream;
    stream->write.data = stream;
    stream->connect.data = stream;
    stream->shutdown.data = stream;
    net->counters.streams++;
    return stream;
}

int stream_begin(struct net_stream *stream)
{
    struct sockaddr_storage address;
    int size = sizeof address;
    int status = uv_tcp_getpeername(&stream->tcp, (struct sockaddr *)&address, &size);
    if (status != 0) return status;
    net_address_name((struct sockaddr *)&address, stream->name, sizeof stream->name);
    uv_tcp_nodelay(&stream->tcp, 1); /* we gather ourselves; Nagle would only delay */
    uv_tcp_keepalive(&stream->tcp, 1, KEEPALIVE_SECONDS);
    stream->reading = true;
    return uv_read_start((uv_stream_t *)&stream->tcp, offer_memory, stream_received);
}

void net_stream_bind(struct net_stream *stream, const struct net_stream_events *events,
                     void *context)
{
    assert(events->received != NULL && events->closed != NULL);
    stream->events = events;
    stream->context = context;
}

/* ---- in ---- */

struct slice net_stream_input(const struct net_stream *stream)
{
    if (stream->fresh.data != NULL) return stream->fresh;
    return slice_of(stream->rest.data + stream->rest_start, stream->rest.size - stream->rest_start);
}

void net_stream_consume(struct net_stream *stream, size_t size)
{
    assert(size <= net_stream_input(stream).size);
    if (stream->fresh.data != NULL) {
        stream->fresh.data += size;
        stream->fresh.size -= size;
    } else if ((stream->rest_start += size) == stream->rest.size) {
        stream->rest_start = 0;
        trim(&stream->rest);
    }
}

void net_stream_pause(struct net_stream *stream)
{
    if (!stream->reading || stream->closing) return;
    stream->reading = false;
    uv_read_stop((uv_stream_t *)&stream->tcp);
}

void net_stream_resume(struct net_stream *stream)
{
    if (stream->reading || stream->ended || stream->closing) return;
    stream->reading = true;
    uv_read_start((uv_stream_t *)&stream->tcp, offer_memory, stream_received);
}

bool net_stream_hung_up(const struct net_stream *stream)
{
    struct pollfd look = {0};
    if (uv_fileno((const uv_handle_t *)&stream->tcp, &look.fd) != 0) return true;
    return poll(&look, 1, 0) == 1 && (look.revents & (POLLHUP | POLLERR | POLLNVAL)) != 0;
}

static void offer_memory(uv_handle_t *handle, size_t suggested, uv_buf_t *memory)
{
    (void)suggested;
    struct net_stream *stream = handle->data;
    if (stream->rest.size == 0) {
        *memory = uv_buf_init((char *)stream->net->scratch, NET_SCRATCH_SIZE);
        return;
    }
    compact_rest(stream);
    buffer_reserve(&stream->rest, READ_MORE);
    memory->base = (char *)stream->rest.data + stream->rest.size;
    memory->len = stream->rest.capacity - stream->rest.size;
}

static void stream_received(uv_stream_t *tcp, ssize_t count, const uv_buf_t *memory)
{
    struct net_stream *stream = tcp->data;
    struct net *net = stream->net;
    if (count == 0 || stream->closing) return;
    if (count == UV_EOF && stream->events->ended != NULL) {
        net_stream_pause(stream);
        stream->ended = true;
        stream->events->ended(stream->context);
        return;
    }
    if (count < 0) {
        stream_fail(stream, count == UV_EOF ? "closed by the other side" : uv_strerror((int)count));
        return;
    }
    net->counters.reads++;
    net->counters.read_bytes += (uint64_t)count;
    stream->moved_ms = net_turn_ms(net);
    if (memory->base == (char *)net->scratch) {
        stream->fresh = slice_of(net->scratch, (size_t)count);
    } else {
        stream->rest.size += (size_t)count;
    }
    stream->events->received(stream->context);
    keep_rest(stream);
}

/* What the owner left in the scratch becomes the stream's own. */
static void keep_rest(struct net_stream *stream)
{
    struct slice left = stream->fresh;
    stream->fresh = slice_of(NULL, 0);
    if (left.size > 0 && !stream->closing) buffer_append_slice(&stream->rest, left);
}

static void compact_rest(struct net_stream *stream)
{
    if (stream->rest_start == 0) return;
    buffer_consume(&stream->rest, stream->rest_start);
    stream->rest_start = 0;
}

/* ---- out ---- */

struct buffer *net_stream_output(struct net_stream *stream)
{
    struct net *net = stream->net;
    if (stream->dirty_next == NULL && !stream->closing) {
        if (net->dirty == NULL) {
            net->dirty = stream->dirty_next = stream->dirty_previous = stream;
        } else { /* at the end of the ring: first come, first flushed */
            stream->dirty_next = net->dirty;
            stream->dirty_previous = net->dirty->dirty_previous;
            stream->dirty_previous->dirty_next = stream;
            net->dirty->dirty_previous = stream;
        }
    }
    return &stream->output;
}

void net_stream_want_drained(struct net_stream *stream)
{
    stream->want_drained = true;
}

size_t net_stream_queued(const struct net_stream *stream)
{
    return stream->output.size + stream->flight.size;
}

void stream_flush(struct net_stream *stream)
{
    dirty_remove(stream);
    if (stream->closing || stream->writing) return; /* `written` comes back here */
    if (stream->output.size > 0) {
        uv_buf_t bytes = uv_buf_init((char *)stream->output.data, (unsigned)stream->output.size);
        bytes.len = stream->output.size;
        int count = uv_try_write((uv_stream_t *)&stream->tcp, &bytes, 1);
        if (count < 0 && count != UV_EAGAIN) {
            stream_fail(stream, uv_strerror(count));
            return;
        }
        size_t done = count < 0 ? 0 : (size_t)count;
        count_write(stream, done);
        if (done < stream->output.size) {
            write_later(stream, done);
            return;
        }
        trim(&stream->output);
    }
    if (stream->finishing) {
        all_sent(stream);
    } else {
        tell_drained(stream);
    }
}

static void write_later(struct net_stream *stream, size_t done)
{
    assert(!stream->writing && stream->flight.size == 0);
    buffer_consume(&stream->output, done);
    struct buffer empty = stream->flight;
    stream->flight = stream->output;
    stream->output = empty;
    stream->writing = true;
    uv_buf_t bytes = uv_buf_init((char *)stream->flight.data, 0);
    bytes.len = stream->flight.size;
    int status = uv_write(&stream->write, (uv_stream_t *)&stream->tcp, &bytes, 1, written);
    count_write(stream, 0);
    if (status != 0) stream_fail(stream, uv_strerror(status));
}

static void written(uv_write_t *write, int status)
{
    struct net_stream *stream = write->data;
    stream->writing = false;
    if (stream->closing) return;
    if (status != 0) {
        stream_fail(stream, uv_strerror(status));
        return;
    }
    stream->net->counters.write_bytes += stream->flight.size;
    stream->moved_ms = net_turn_ms(stream->net);
    trim(&stream->flight);
    if (stream->output.size > 0 || stream->finishing) {
        net_stream_output(stream); /* marks it dirty: the rest goes out at the end of this turn */
    } else {
        tell_drained(stream);
    }
}

static void tell_drained(struct net_stream *stream)
{
    if (!stream->want_drained) return;
    stream->want_drained = false;
    if (stream->events->drained != NULL) stream->events->drained(stream->context);
}

static void count_write(struct net_stream *stream, size_t size)
{
    struct net_counters *counters = &stream->net->counters;
    counters->writes++;
    counters->write_bytes += size;
    if (size > 0) stream->moved_ms = net_turn_ms(stream->net);
    if (stream->written_turn != counters->turns) stream->written_in_turn = 0;
    stream->written_turn = counters->turns;
    if (++stream->written_in_turn > counters->writes_per_turn_max) {
        counters->writes_per_turn_max = stream->written_in_turn;
    }
}

/* ---- what it is, and its end ---- */

uint64_t net_stream_moved_ms(const struct net_stream *stream)
{
    return stream->moved_ms;
}

const char *net_stream_name(const struct net_stream *stream)
{
    return stream->name;
}

void net_stream_give_up_after(struct net_stream *stream, unsigned ms)
{
#ifdef TCP_USER_TIMEOUT
    uv_os_fd_t descriptor;
    if (uv_fileno((uv_handle_t *)&stream->tcp, &descriptor) != 0) return;
    setsockopt(descriptor, IPPROTO_TCP, TCP_USER_TIMEOUT, &ms, sizeof ms);
#else
    (void)stream, (void)ms; /* the backoff and the peer's own connection still find it, later */
#endif
}

void net_stream_close(struct net_stream *stream)
{
    if (stream == NULL || stream->closing) return;
    stream->closing = true;
    dirty_remove(stream);
    if (stream->linger != NULL) uv_close((uv_handle_t *)stream->linger, linger_free);
    uv_close((uv_handle_t *)&stream->tcp, stream_free);
}

void net_stream_finish(struct net_stream *stream)
{
    if (stream->closing || stream->finishing) return;
    stream->finishing = true;
    net_stream_bind(stream, &finishing_events, stream);
    net_stream_consume(stream, net_stream_input(stream).size);
    net_stream_give_up_after(stream, FINISH_MS_MAX);
    net_stream_resume(stream);
    net_stream_output(stream);
}

/*
 * Closing a socket that still receives makes the system send a reset, and a reset can overtake the
 * last answer in the other side's buffers: a client that is still sending its too large request
 * would never read why it was refused. So we say that we are done, and read a little longer.
 */
static void all_sent(struct net_stream *stream)
{
    if (stream->ended || stream->lingering) {
        net_stream_close(stream);
        return;
    }
    stream->lingering = true;
    if (uv_shutdown(&stream->shutdown, (uv_stream_t *)&stream->tcp, linger) != 0)
        net_stream_close(stream);
}

static void linger(uv_shutdown_t *shutdown, int status)
{
    struct net_stream *stream = shutdown->data;
    if (stream->closing) return;
    if (status != 0) {
        net_stream_close(stream);
        return;
    }
    stream->linger = memory_alloc(sizeof *stream->linger);
    uv_timer_init(stream->net->loop, stream->linger);
    stream->linger->data = stream;
    uv_timer_start(stream->linger, linger_ends, LINGER_MS, 0);
}

static void linger_ends(uv_timer_t *timer)
{
    net_stream_close(timer->data);
}

static void linger_free(uv_handle_t *timer)
{
    memory_free(timer);
}

static void stream_fail(struct net_stream *stream, const char *why)
{
    assert(!stream->closing);
    const struct net_stream_events *events = stream->events;
    net_stream_close(stream);
    events->closed(stream->context, why);
}

static void dirty_remove(struct net_stream *stream)
{
    struct net *net = stream->net;
    if (stream->dirty_next == NULL) return;
    if (stream->dirty_next == stream) {
        net->dirty = NULL;
    } else {
        stream->dirty_next->dirty_previous = stream->dirty_previous;
        stream->dirty_previous->dirty_next = stream->dirty_next;
        if (net->dirty == stream) net->dirty = stream->dirty_next;
    }
    stream->dirty_next = stream->dirty_previous = NULL;
}

static void trim(struct buffer *buffer)
{
    if (buffer->capacity > KEEP_CAPACITY_MAX) {
        buffer_deinit(buffer);
    } else {
        buffer_clear(buffer);
    }
}

static void stream_free(uv_handle_t *handle)
{
    struct net_stream *stream = handle->data;
    stream->net->counters.streams--;
    buffer_deinit(&stream->rest);
    buffer_deinit(&stream->output);
    buffer_deinit(&stream->flight);
    memory_free(stream);
}
