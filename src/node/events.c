/*
 * The ring of events and those who listen: see events.h. A listener is a long poll of msgpack-RPC, answered
 * once there is something or its time is up, or a stream over HTTP.
 */
#include "node/events.h"

#include "base/memory.h"
#include "base/mp.h"
#include "base/uri.h"
#include "http/json.h"
#include "node/web.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>
#include <time.h>

#define READERS_MAX   1024
#define HEARTBEAT_MS  15000 /* a stream that has nothing to say says so */
#define WAIT_MS_MAX   60000
#define MOST          256 /* in one answer */
#define STREAM_SLICE  16  /* written to a stream before it is looked at again */

struct kept {
    uint64_t time_ms;
    enum event_type type;
    struct buffer data;
};

struct events_reader {
    struct events_reader *next, *previous;
    uint64_t after, types, most;
    uint64_t lost;  /* missed, and not told yet */
    bool restarted; /* it had asked about another lifetime: not told yet */
    uint64_t due_ms; /* the end of its wait, or its next heartbeat */
    uint64_t ticket;                   /* of a poll, and whose it is */
    const struct client *client;
    struct web_connection *connection; /* of a stream; null: a poll */
};

struct events {
    struct node *node;
    uint64_t life;
    uint64_t newest; /* number; 0: none yet */
    struct kept *ring; /* the newest, by number modulo */
    size_t ring_size;
    uint64_t counts[EVENT_TYPES];
    struct events_reader *readers;
    size_t reader_count;
    struct events_reader script; /* api.on_event's place: it hears what comes once it is loaded */
    struct later later;
    uv_timer_t timer;
};

static struct events_reader *add(struct events *events, const struct events_ask *ask);
static void serve_later(struct later *later);
static void serve_all(uv_timer_t *timer);
static void serve(struct events *events);
static void tell_script(struct events *events);
static bool serve_poll(struct events *events, struct events_reader *reader, uint64_t now_ms);
static void serve_stream(struct events *events, struct events_reader *reader, uint64_t now_ms);
static const struct kept *take_next(const struct events *events, struct events_reader *reader);
static void write_event(const struct events *events, const struct kept *kept, uint64_t number,
                        struct buffer *out);
static void remove_reader(struct events *events, struct events_reader *reader);
static void arm(struct events *events);
static bool read_number(struct slice text, uint64_t *number);
static bool read_types(struct mp_reader reader, uint64_t *types, struct error *error);
static enum error_code set_types(struct slice list, uint64_t *types, struct error *error);
static void timer_closed(uv_handle_t *timer);

static uint64_t wall_ms(void)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void events_open(struct node *node)
{
    struct events *events = memory_zero(1, sizeof *events);
    events->node = node;
    events->life = wall_ms();
    events->script.types = UINT64_MAX;
    events->later.run = serve_later;
    events->ring_size = node->options->settings.events_max;
    events->ring = memory_zero(events->ring_size, sizeof *events->ring);
    uv_timer_init(&node->loop, &events->timer);
    events->timer.data = events;
    node->events = events;
}

void events_close(struct node *node)
{
    struct events *events = node->events;
    while (events->readers != NULL) remove_reader(events, events->readers);
    node_forget_later(node, &events->later);
    for (size_t i = 0; i < events->ring_size; i++) buffer_deinit(&events->ring[i].data);
    memory_free(events->ring);
    node->events = NULL;
    uv_close((uv_handle_t *)&events->timer, timer_closed);
}

static void timer_closed(uv_handle_t *timer)
{
    memory_free(timer->data);
}

void events_note(struct node *node, enum event_type type, struct slice data)
{
    struct events *events = node->events;
    if (events == NULL) return;
    struct kept *kept = &events->ring[++events->newest % events->ring_size];
    kept->time_ms = wall_ms();
    kept->type = type;
    buffer_clear(&kept->data);
    buffer_append_slice(&kept->data, data);
    events->counts[type]++;
    if (log_as_json) {
        struct buffer json = {0};
        if (json_from_value(data, &json, NULL) == ERROR_OK)
            log_write_event(event_name(type), (const char *)json.data, json.size);
        buffer_deinit(&json);
    }
    bool heard = node->control != NULL && control_hears_events(node->control);
    if (!heard) events->script.after = events->newest;
    if (heard || events->readers != NULL) node_later(node, &events->later);
}

uint64_t events_count(const struct node *node, enum event_type type)
{
    return node->events->counts[type];
}

/* ---- who listens ---- */

enum error_code events_poll(struct node *node, const struct client *client, uint64_t ticket,
                            const struct events_ask *ask, struct error *error)
{
    struct events *events = node->events;
    struct events_reader *reader = add(events, ask);
    if (reader == NULL) return error_set(error, ERROR_OVERLOADED, "%d listen to events already", READERS_MAX);
    reader->ticket = ticket;
    reader->client = client;
    reader->due_ms = net_turn_ms(node->net) + ask->wait_ms;
    node_later(node, &events->later);
    return ERROR_OK;
}

void events_hurry(struct node *node, const struct client *client)
{
    struct events *events = node->events;
    for (struct events_reader *reader = events->readers; reader != NULL; reader = reader->next) {
        if (reader->client == client) reader->due_ms = 0;
    }
    if (events->readers != NULL) node_later(node, &events->later);
}

void events_forget(struct node *node, uint64_t ticket)
{
    struct events *events = node->events;
    struct events_reader *reader = events->readers;
    while (reader != NULL && (reader->connection != NULL || reader->ticket != ticket)) reader = reader->next;
    if (reader != NULL) remove_reader(events, reader);
}

struct events_reader *events_stream(struct node *node, struct web_connection *connection,
                                    const struct events_ask *ask)
{
    struct events *events = node->events;
    struct events_reader *reader = add(events, ask);
    if (reader == NULL) return NULL;
    reader->connection = connection;
    reader->due_ms = net_turn_ms(node->net) + HEARTBEAT_MS;
    node_later(node, &events->later);
    return reader;
}

void events_leave(struct node *node, struct events_reader *reader)
{
    if (reader != NULL) remove_reader(node->events, reader);
}

void events_ready(struct node *node)
{
    node_later(node, &node->events->later);
}

/* A number of another lifetime, or one that this lifetime has not reached, says nothing here: it gets all there is. */
static struct events_reader *add(struct events *events, const struct events_ask *ask)
{
    if (events->reader_count == READERS_MAX) return NULL;
    struct events_reader *reader = memory_zero(1, sizeof *reader);
    bool from_now = ask->after == UINT64_MAX;
    reader->after = from_now ? events->newest : ask->after;
    reader->restarted = reader->after > events->newest || (ask->life != 0 && ask->life != events->life);
    if (reader->restarted) reader->after = 0;
    reader->types = ask->types;
    reader->most = ask->most;
    reader->next = events->readers;
    if (reader->next != NULL) reader->next->previous = reader;
    events->readers = reader;
    events->reader_count++;
    return reader;
}

static void remove_reader(struct events *events, struct events_reader *reader)
{
    if (reader->previous != NULL) {
        reader->previous->next = reader->next;
    } else {
        events->readers = reader->next;
    }
    if (reader->next != NULL) reader->next->previous = reader->previous;
    events->reader_count--;
    memory_free(reader);
}

/* ---- serving them ---- */

static void serve_later(struct later *later)
{
    serve((struct events *)((char *)later - offsetof(struct events, later)));
}

static void serve_all(uv_timer_t *timer)
{
    serve(timer->data);
}

static void serve(struct events *events)
{
    uint64_t now_ms = net_turn_ms(events->node->net);
    struct events_reader *next;
    tell_script(events);
    for (struct events_reader *reader = events->readers; reader != NULL; reader = next) {
        next = reader->next;
        if (reader->connection != NULL) {
            serve_stream(events, reader, now_ms);
        } else if (serve_poll(events, reader, now_ms)) {
            remove_reader(events, reader);
        }
    }
    arm(events);
}

static void tell_script(struct events *events)
{
    struct control *control = events->node->control;
    struct buffer value = {0};
    const struct kept *kept;
    while (control != NULL && control_hears_events(control) &&
           (kept = take_next(events, &events->script)) != NULL) {
        buffer_clear(&value);
        write_event(events, kept, events->script.after, &value);
        control_event(control, buffer_slice(&value));
    }
    buffer_deinit(&value);
}

/* {"events", "life", "lost", "next", "restarted"}. true: it has been answered. */
static bool serve_poll(struct events *events, struct events_reader *reader, uint64_t now_ms)
{
    struct buffer list = {0}, body = {0};
    uint32_t count = 0;
    struct ticket ticket;
    while (count < reader->most) {
        const struct kept *kept = take_next(events, reader);
        if (kept == NULL) break;
        write_event(events, kept, reader->after, &list);
        count++;
    }
    bool answers = count > 0 || reader->lost > 0 || reader->restarted || now_ms >= reader->due_ms;
    if (answers && tickets_take(events->node->tickets, reader->ticket, &ticket)) {
        mp_write_map(&body, 5);
        mp_write_text(&body, "events");
        mp_write_array(&body, count);
        buffer_append_slice(&body, buffer_slice(&list));
        mp_write_text(&body, "life");
        mp_write_u64(&body, events->life);
        mp_write_text(&body, "lost");
        mp_write_u64(&body, reader->lost);
        mp_write_text(&body, "next");
        mp_write_u64(&body, reader->after);
        mp_write_text(&body, "restarted");
        mp_write_boolean(&body, reader->restarted);
        client_reply(ticket.owner, ticket.id, &(struct reply){ERROR_OK, buffer_slice(&body)});
    }
    buffer_deinit(&list);
    buffer_deinit(&body);
    return answers;
}

/* A slice at a time, and no more than the connection takes: the rest stays in the ring. */
static void serve_stream(struct events *events, struct events_reader *reader, uint64_t now_ms)
{
    struct buffer value = {0}, json = {0};
    const struct kept *kept = NULL;
    struct buffer *out;
    int slice = STREAM_SLICE;
    while ((out = web_stream_output(reader->connection)) != NULL && slice-- > 0 &&
           (kept = take_next(events, reader)) != NULL) {
        if (reader->lost > 0 || reader->restarted) {
            buffer_append_format(out, "event: lost\ndata: {\"lost\":%" PRIu64 ",\"restarted\":%s}\n\n",
                                 reader->lost, reader->restarted ? "true" : "false");
            reader->lost = 0;
            reader->restarted = false;
        }
        buffer_clear(&value);
        buffer_clear(&json);
        write_event(events, kept, reader->after, &value);
        if (json_from_value(buffer_slice(&value), &json, NULL) != ERROR_OK) continue;
        buffer_append_format(out, "id: %" PRIu64 ".%" PRIu64 "\nevent: %s\ndata: ", events->life,
                             reader->after, event_name(kept->type));
        buffer_append_slice(out, buffer_slice(&json));
        buffer_append_text(out, "\n\n");
        reader->due_ms = now_ms + HEARTBEAT_MS;
    }
    if (out != NULL && kept != NULL) node_later(events->node, &events->later);
    if (out != NULL && now_ms >= reader->due_ms) buffer_append_text(out, ":\n\n");
    if (now_ms >= reader->due_ms) reader->due_ms = now_ms + HEARTBEAT_MS;
    buffer_deinit(&value);
    buffer_deinit(&json);
}

/* The next one it wants; `after` is that one's number then, or the newest there is. Null: there is none. What it has
 * missed is counted whatever its type: nobody knows any more what that was. */
static const struct kept *take_next(const struct events *events, struct events_reader *reader)
{
    uint64_t oldest = events->newest > events->ring_size ? events->newest - events->ring_size + 1 : 1;
    if (reader->after + 1 < oldest) {
        reader->lost += oldest - 1 - reader->after;
        reader->after = oldest - 1;
    }
    while (reader->after < events->newest) {
        const struct kept *kept = &events->ring[++reader->after % events->ring_size];
        if (reader->types & UINT64_C(1) << kept->type) return kept;
    }
    return NULL;
}

/* {"data", "id", "node", "time_ms", "type"} */
static void write_event(const struct events *events, const struct kept *kept, uint64_t number,
                        struct buffer *out)
{
    mp_write_map(out, 5);
    mp_write_text(out, "data");
    mp_write_raw(out, buffer_slice(&kept->data));
    mp_write_text(out, "id");
    mp_write_u64(out, number);
    mp_write_text(out, "node");
    mp_write_text(out, events->node->options->id);
    mp_write_text(out, "time_ms");
    mp_write_u64(out, kept->time_ms);
    mp_write_text(out, "type");
    mp_write_text(out, event_name(kept->type));
}

/* For the first heartbeat or end of a wait. */
static void arm(struct events *events)
{
    uint64_t first_ms = UINT64_MAX, now_ms = net_turn_ms(events->node->net);
    for (struct events_reader *reader = events->readers; reader != NULL; reader = reader->next) {
        if (reader->due_ms < first_ms) first_ms = reader->due_ms;
    }
    if (first_ms == UINT64_MAX) {
        uv_timer_stop(&events->timer);
    } else {
        uv_timer_start(&events->timer, serve_all, first_ms > now_ms ? first_ms - now_ms : 1, 0);
    }
}

/* ---- what is asked for ---- */

enum error_code events_read_params(struct slice params, struct events_ask *ask, struct error *error)
{
    struct mp_reader reader = mp_reader_of(params);
    struct slice map, value;
    uint32_t count = 0;
    *ask = (struct events_ask){.after = UINT64_MAX, .types = UINT64_MAX, .most = MOST};
    if (!mp_read_array(&reader, &count) || count > 2)
        return error_set(error, ERROR_BAD_REQUEST, "params are [] or [{after, life, types, wait_ms, max}]");
    if (count == 0 || !mp_skip(&reader, &map)) return ERROR_OK;
    const struct {
        const char *key;
        uint64_t *number;
        uint64_t most;
    } rows[] = {
        {"after", &ask->after, INT64_MAX},
        {"life", &ask->life, INT64_MAX},
        {"max", &ask->most, MOST},
        {"wait_ms", &ask->wait_ms, WAIT_MS_MAX},
    };
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!mp_map_get(map, rows[i].key, &value)) continue;
        struct mp_reader at = mp_reader_of(value);
        if (!mp_read_u64(&at, rows[i].number))
            return error_set(error, ERROR_BAD_REQUEST, "`%s` is a whole number from 0 on", rows[i].key);
        if (*rows[i].number > rows[i].most) *rows[i].number = rows[i].most;
    }
    if (ask->most == 0) ask->most = 1;
    if (mp_map_get(map, "types", &value) && !read_types(mp_reader_of(value), &ask->types, error))
        return ERROR_BAD_REQUEST;
    return ERROR_OK;
}

/* A text with commas, or a list of texts. */
static bool read_types(struct mp_reader reader, uint64_t *types, struct error *error)
{
    struct mp_item item;
    if (mp_read(&reader, &item) && item.type == MP_STRING)
        return set_types(item.string, types, error) == ERROR_OK;
    if (item.type != MP_ARRAY) {
        error_set(error, ERROR_BAD_REQUEST, "`types` is a list of names");
        return false;
    }
    uint32_t count = item.count;
    if (count > 0) *types = 0;
    for (uint32_t i = 0; i < count; i++) {
        struct slice name;
        uint64_t one = 0;
        if (!mp_read_string(&reader, &name) || name.size == 0) {
            error_set(error, ERROR_BAD_REQUEST, "`types` is a list of names");
            return false;
        }
        if (set_types(name, &one, error) != ERROR_OK) return false;
        *types |= one;
    }
    return true;
}

static enum error_code set_types(struct slice list, uint64_t *types, struct error *error)
{
    struct slice wrong;
    if (event_types_of(list, types, &wrong)) return ERROR_OK;
    return error_set(error, ERROR_BAD_REQUEST, "there is no type of event \"%.*s\"",
                     (int)(wrong.size < 64 ? wrong.size : 64), (const char *)wrong.data);
}

enum error_code events_read_query(struct slice query, struct slice last_id, struct events_ask *ask,
                                  struct error *error)
{
    struct buffer map = {0};
    struct slice value = {0};
    *ask = (struct events_ask){.after = UINT64_MAX, .types = UINT64_MAX, .most = MOST};
    enum error_code code = uri_query_to_value(query, &map);
    if (code != ERROR_OK) error_set(error, code, "the query string is malformed");
    struct mp_reader reader = mp_reader_of(buffer_slice(&map));
    uint32_t count = 0;
    if (code == ERROR_OK && !mp_read_map(&reader, &count)) count = 0;
    for (uint32_t i = 0; code == ERROR_OK && i < count; i++) {
        struct slice key;
        if (!mp_read_string(&reader, &key) || !mp_read_string(&reader, &value)) break;
        if (slice_equal(key, slice_text("types"))) {
            code = set_types(value, &ask->types, error);
        } else if (!slice_equal(key, slice_text("after")) || !read_number(value, &ask->after)) {
            code = error_set(error, ERROR_BAD_REQUEST, "an event stream takes ?types=A,B and ?after=NUMBER");
        }
    }
    buffer_deinit(&map);
    const uint8_t *dot = last_id.size > 0 ? memchr(last_id.data, '.', last_id.size) : NULL;
    if (code != ERROR_OK || last_id.size == 0) return code;
    size_t life = dot != NULL ? (size_t)(dot - last_id.data) : 0;
    bool sound = dot != NULL && read_number(slice_of(last_id.data, life), &ask->life) &&
                 read_number(slice_of(dot + 1, last_id.size - life - 1), &ask->after);
    return sound ? ERROR_OK
                 : error_set(error, ERROR_BAD_REQUEST, "Last-Event-ID is the id of an event of this stream");
}

static bool read_number(struct slice text, uint64_t *number)
{
    *number = 0;
    for (size_t i = 0; i < text.size; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') return false;
        *number = *number * 10 + (uint64_t)(text.data[i] - '0');
    }
    return text.size > 0 && text.size <= 18;
}
