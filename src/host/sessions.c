/* The rules of sessions and keys: see sessions.h. What is due next is always at the head of a list,
 * because all sessions have one timeout and all keys another: expiry costs what it removes. */
#include "host/sessions.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "base/mutant.h"
#include "base/request.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define GAP_PARTS 16 /* of idempotency_timeout_ms: the most that one gap counts */
#define TEXT_MAX  160

static struct session *find(const struct sessions *sessions, uint64_t id);
static void touch(struct sessions *sessions, struct session *session);
static void link_newest(struct sessions *sessions, struct session *session);
static void unlink_session(struct sessions *sessions, struct session *session);
static void close_session(struct sessions *sessions, struct session *session);
static void raise_floor(struct sessions *sessions, struct session *session, uint64_t floor);
static size_t bytes_below(const struct session *session, uint64_t floor);
static void forget_oldest_key(struct sessions *sessions);
static bool refuse(enum error_code *code, struct buffer *reply, enum error_code why,
                   const char *format, ...) __attribute__((format(printf, 4, 5)));
static bool replay(const struct raft_entry *entry, struct slice bytes, enum error_code *code,
                   struct buffer *reply);
static void put(struct sessions *sessions, struct state_table *table, struct state_key key,
                struct state_value value);

void sessions_init(struct sessions *sessions)
{
    memset(sessions, 0, sizeof *sessions);
    sessions->tree = state_new();
    state_begin(sessions->tree);
    struct state_table *root = state_root(sessions->tree);
    sessions->keys = state_make_table(sessions->tree, root, state_key_text("keys"));
    sessions->open = state_make_table(sessions->tree, root, state_key_text("open"));
    state_commit(sessions->tree);
}

void sessions_deinit(struct sessions *sessions)
{
    state_free(sessions->tree);
    memory_free(sessions->slots);
    memory_free(sessions->ring);
    memset(sessions, 0, sizeof *sessions);
}

uint64_t sessions_hash(const struct sessions *sessions)
{
    uint8_t bytes[24];
    put_u64(bytes, state_hash(sessions->tree));
    put_u64(bytes + 8, sessions->clock_ms);
    put_u64(bytes + 16, sessions->age_ms);
    return hash_bytes(bytes, sizeof bytes);
}

/* ---- time ---- */

void sessions_advance(struct sessions *sessions, const struct settings *settings, uint64_t clock_ms)
{
    uint64_t passed = clock_ms > sessions->clock_ms ? clock_ms - sessions->clock_ms : 0;
    uint64_t most = settings->idempotency_timeout_ms / GAP_PARTS;
    sessions->clock_ms += passed;
    sessions->age_ms += passed < most || FAULT(KEYS_BY_CLOCK) ? passed : most;
    while (sessions->oldest != 0) {
        struct session *session = &sessions->slots[sessions->oldest - 1];
        uint64_t idle_ms = sessions->clock_ms - session->active_ms;
        if (idle_ms < settings->session_timeout_ms || FAULT(SESSION_OUTLIVES)) break;
        close_session(sessions, session);
    }
    while (sessions->ring_count > 0) {
        uint64_t kept_ms = sessions->ring[sessions->ring_at].age_ms;
        if (sessions->age_ms - kept_ms < settings->idempotency_timeout_ms) break;
        forget_oldest_key(sessions);
    }
}

void sessions_end_all(struct sessions *sessions)
{
    while (sessions->oldest != 0) close_session(sessions, &sessions->slots[sessions->oldest - 1]);
}

/* ---- commands ---- */

static bool admit_keyed(struct sessions *sessions, const struct settings *settings,
                        const struct raft_entry *entry, enum error_code *code,
                        struct buffer *reply);
static bool admit_in_session(struct sessions *sessions, const struct settings *settings,
                             const struct raft_entry *entry, enum error_code *code,
                             struct buffer *reply);
static void name_of(const struct raft_entry *entry, uint8_t name[KEY_NAME_SIZE]);
static void keep_keyed(struct sessions *sessions, const struct raft_entry *entry,
                       struct slice bytes);
static void keep_in_session(struct sessions *sessions, const struct settings *settings,
                            const struct raft_entry *entry, struct slice bytes);

bool sessions_admit(struct sessions *sessions, const struct settings *settings,
                    const struct raft_entry *entry, enum error_code *code, struct buffer *reply)
{
    if (entry->flags & RAFT_ENTRY_KEYED)
        return admit_keyed(sessions, settings, entry, code, reply);
    if (entry->session == 0) return true;
    return admit_in_session(sessions, settings, entry, code, reply);
}

static bool admit_keyed(struct sessions *sessions, const struct settings *settings,
                        const struct raft_entry *entry, enum error_code *code, struct buffer *reply)
{
    uint8_t name[KEY_NAME_SIZE];
    name_of(entry, name);
    struct state_value value =
        state_get(sessions->keys, state_key_string(slice_of(name, sizeof name)));
    if (value.type == STATE_STRING) return replay(entry, value.string, code, reply);
    if (sessions->ring_count >= settings->idempotency_keys_max) {
        return refuse(code, reply, ERROR_OVERLOADED,
                      "as many idempotency keys as idempotency_keys_max allows are kept: it was "
                      "not done");
    }
    if (sessions->key_bytes >= settings->idempotency_bytes_max) {
        return refuse(code, reply, ERROR_OVERLOADED,
                      "the replies to idempotency keys fill idempotency_bytes_max: it was not "
                      "done");
    }
    return true;
}

static bool admit_in_session(struct sessions *sessions, const struct settings *settings,
                             const struct raft_entry *entry, enum error_code *code,
                             struct buffer *reply)
{
    uint64_t sequence = entry->sequence;
    struct session *session = find(sessions, entry->session);
    if (session == NULL) {
        return refuse(code, reply, ERROR_SESSION_EXPIRED,
                      "session %" PRIu64 " is not open: it has expired or was closed",
                      entry->session);
    }
    touch(sessions, session);
    if (sequence == 0 || sequence > INT64_MAX) {
        return refuse(code, reply, ERROR_BAD_REQUEST,
                      "a sequence in a session is from 1 to 2^63 - 1");
    }
    struct state_value value = state_get(session->replies, state_key_integer((int64_t)sequence));
    if (value.type == STATE_STRING && !FAULT(RETRY_RUN_AGAIN)) return replay(entry, value.string, code, reply);
    if (sequence <= session->floor) {
        return refuse(code, reply, ERROR_FORGOTTEN,
                      "session %" PRIu64 " keeps no replies up to sequence %" PRIu64
                      ": %" PRIu64 " was not done now",
                      entry->session, session->floor, sequence);
    }
    if (sessions->bytes < settings->session_bytes_max) return true;
    uint64_t highest = sequence > session->highest ? sequence : session->highest;
    uint64_t window = settings->session_window;
    size_t freed = highest > window ? bytes_below(session, highest - window) : 0;
    if (sessions->bytes - freed < settings->session_bytes_max) return true;
    return refuse(code, reply, ERROR_OVERLOADED,
                  "the replies kept in sessions fill session_bytes_max: it was not done");
}

/* It was done: the first reply, if this is the same command. */
static bool replay(const struct raft_entry *entry, struct slice bytes, enum error_code *code,
                   struct buffer *reply)
{
    struct kept kept;
    bool valid = kept_read(bytes, &kept);
    assert(valid);
    (void)valid;
    struct slice body = entry->payload.bytes;
    if (kept.body_hash != hash_bytes(body.data, body.size) && !FAULT(BODY_NOT_COMPARED)) {
        return refuse(code, reply, ERROR_REUSED,
                      "this %s was used for another command: it was not done",
                      entry->flags & RAFT_ENTRY_KEYED ? "idempotency key" : "sequence");
    }
    *code = kept.code;
    buffer_append_slice(reply, kept.reply);
    return false;
}

void sessions_keep(struct sessions *sessions, const struct settings *settings,
                   const struct raft_entry *entry, enum error_code code, struct slice reply)
{
    bool keyed = entry->flags & RAFT_ENTRY_KEYED;
    if (!keyed && entry->session == 0) return;
    struct slice body = entry->payload.bytes;
    struct kept kept = {
        .body_hash = hash_bytes(body.data, body.size),
        .age_ms = keyed ? sessions->age_ms : 0,
        .code = code,
        .reply = reply,
    };
    struct buffer bytes = {0};
    kept_write(&kept, &bytes);
    state_begin(sessions->tree);
    if (keyed) {
        keep_keyed(sessions, entry, buffer_slice(&bytes));
    } else {
        keep_in_session(sessions, settings, entry, buffer_slice(&bytes));
    }
    state_commit(sessions->tree);
    buffer_deinit(&bytes);
}

static void keep_keyed(struct sessions *sessions, const struct raft_entry *entry,
                       struct slice bytes)
{
    uint8_t name[KEY_NAME_SIZE];
    name_of(entry, name);
    put(sessions, sessions->keys, state_key_string(slice_of(name, sizeof name)),
        state_string(bytes));
    sessions_attach_key(sessions, name, sessions->age_ms, bytes.size - KEPT_HEAD);
}

static void keep_in_session(struct sessions *sessions, const struct settings *settings,
                            const struct raft_entry *entry, struct slice bytes)
{
    struct session *session = find(sessions, entry->session);
    assert(session != NULL && entry->sequence > session->floor);
    put(sessions, session->replies, state_key_integer((int64_t)entry->sequence),
        state_string(bytes));
    size_t cost = REPLY_COST + bytes.size - KEPT_HEAD;
    session->bytes += cost;
    sessions->bytes += cost;
    if (entry->sequence > session->highest) session->highest = entry->sequence;
    if (session->highest > settings->session_window)
        raise_floor(sessions, session, session->highest - settings->session_window);
}

static void name_of(const struct raft_entry *entry, uint8_t name[KEY_NAME_SIZE])
{
    put_u64(name, entry->session);
    put_u64(name + 8, entry->sequence);
}

/* ---- SESSION entries ---- */

static enum error_code open_session(struct sessions *sessions, const struct settings *settings,
                                    uint64_t index, struct buffer *reply);
static enum error_code renew_session(struct sessions *sessions, const struct settings *settings,
                                     uint64_t id, uint64_t acknowledged, struct buffer *reply);
static void write_session(const struct sessions *sessions, const struct settings *settings,
                          uint64_t id, struct buffer *reply);

enum error_code sessions_apply(struct sessions *sessions, const struct settings *settings,
                               const struct raft_entry *entry, struct buffer *reply)
{
    enum session_action action;
    uint64_t acknowledged;
    if (!session_body_read(entry->payload.bytes, &action, &acknowledged)) return ERROR_VERSION;
    if (action == SESSION_OPEN) return open_session(sessions, settings, entry->index, reply);
    if (action == SESSION_RENEW)
        return renew_session(sessions, settings, entry->session, acknowledged, reply);
    struct session *session = find(sessions, entry->session);
    mp_write_map(reply, 1);
    mp_write_text(reply, "closed");
    mp_write_boolean(reply, session != NULL);
    if (session != NULL) close_session(sessions, session);
    return ERROR_OK;
}

static enum error_code open_session(struct sessions *sessions, const struct settings *settings,
                                    uint64_t index, struct buffer *reply)
{
    enum error_code code;
    if (sessions->count >= settings->sessions_max) {
        refuse(&code, reply, ERROR_OVERLOADED, "as many sessions as sessions_max allows are open");
        return code;
    }
    if (sessions->bytes >= settings->session_bytes_max) {
        refuse(&code, reply, ERROR_OVERLOADED,
               "the replies kept in sessions fill session_bytes_max");
        return code;
    }
    assert(find(sessions, index) == NULL); /* an index is there once */
    state_begin(sessions->tree);
    struct state_table *table =
        state_make_table(sessions->tree, sessions->open, state_key_integer((int64_t)index));
    put(sessions, table, state_key_text("active"), state_integer((int64_t)sessions->clock_ms));
    put(sessions, table, state_key_text("floor"), state_integer(0));
    state_make_table(sessions->tree, table, state_key_text("replies"));
    state_commit(sessions->tree);
    sessions_attach(sessions, index, table)->active_ms = sessions->clock_ms;
    write_session(sessions, settings, index, reply);
    return ERROR_OK;
}

/* The client has what was answered up to `acknowledged`, and will not ask for it again. */
static enum error_code renew_session(struct sessions *sessions, const struct settings *settings,
                                     uint64_t id, uint64_t acknowledged, struct buffer *reply)
{
    enum error_code code;
    struct session *session = find(sessions, id);
    if (session == NULL) {
        refuse(&code, reply, ERROR_SESSION_EXPIRED,
               "session %" PRIu64 " is not open: it has expired or was closed", id);
        return code;
    }
    touch(sessions, session);
    if (acknowledged > session->highest || FAULT(RENEWAL_FORGETS)) acknowledged = session->highest;
    if (acknowledged > session->floor) {
        state_begin(sessions->tree);
        raise_floor(sessions, session, acknowledged);
        state_commit(sessions->tree);
    }
    write_session(sessions, settings, id, reply);
    return ERROR_OK;
}

static void write_session(const struct sessions *sessions, const struct settings *settings,
                          uint64_t id, struct buffer *reply)
{
    mp_write_map(reply, 4);
    mp_write_text(reply, "expires_ms");
    mp_write_u64(reply, sessions->clock_ms + settings->session_timeout_ms);
    mp_write_text(reply, "session");
    mp_write_u64(reply, id);
    mp_write_text(reply, "timeout_ms");
    mp_write_u64(reply, settings->session_timeout_ms);
    mp_write_text(reply, "window");
    mp_write_u64(reply, settings->session_window);
}

/* ---- one session ---- */

static struct session *find(const struct sessions *sessions, uint64_t id)
{
    const struct state_table *table =
        state_get_table(sessions->open, state_key_integer((int64_t)id));
    return table != NULL ? &sessions->slots[state_table_tag(table) - 1] : NULL;
}

/* To the end of the list: whoever was used last expires last. */
static void touch(struct sessions *sessions, struct session *session)
{
    if (session->active_ms == sessions->clock_ms) return;
    unlink_session(sessions, session);
    session->active_ms = sessions->clock_ms;
    link_newest(sessions, session);
    state_begin(sessions->tree);
    put(sessions, session->table, state_key_text("active"),
        state_integer((int64_t)session->active_ms));
    state_commit(sessions->tree);
}

/* Takes a slot for a session whose table stands in the tree. Floor and replies are read from there;
 * active_ms is the caller's, who keeps the order: each is as new as the newest. */
struct session *sessions_attach(struct sessions *sessions, uint64_t id, struct state_table *table)
{
    uint32_t slot = sessions->free;
    if (slot != 0) {
        sessions->free = sessions->slots[slot - 1].next;
    } else {
        if (sessions->slot_count == sessions->slot_capacity) {
            sessions->slot_capacity =
                sessions->slot_capacity == 0 ? 16 : sessions->slot_capacity * 2;
            sessions->slots =
                memory_resize(sessions->slots, sessions->slot_capacity, sizeof *sessions->slots);
        }
        slot = ++sessions->slot_count;
    }
    struct session *session = &sessions->slots[slot - 1];
    *session = (struct session){.id = id, .table = table};
    session->replies = state_get_table(table, state_key_text("replies"));
    session->floor = (uint64_t)state_get(table, state_key_text("floor")).integer;
    session->highest = session->floor;
    session->bytes = SESSION_COST + bytes_below(session, INT64_MAX);
    struct state_cursor cursor;
    struct state_key last;
    struct state_value value;
    state_scan(&cursor, session->replies, &(struct state_range){.reverse = true});
    if (state_scan_next(&cursor, &last, &value)) session->highest = (uint64_t)last.integer;
    state_table_set_tag(table, slot);
    link_newest(sessions, session);
    sessions->count++;
    sessions->bytes += session->bytes;
    return session;
}

static void link_newest(struct sessions *sessions, struct session *session)
{
    uint32_t slot = state_table_tag(session->table);
    session->previous = sessions->newest;
    session->next = 0;
    if (sessions->newest != 0) {
        sessions->slots[sessions->newest - 1].next = slot;
    } else {
        sessions->oldest = slot;
    }
    sessions->newest = slot;
}

static void unlink_session(struct sessions *sessions, struct session *session)
{
    if (session->previous != 0) {
        sessions->slots[session->previous - 1].next = session->next;
    } else {
        sessions->oldest = session->next;
    }
    if (session->next != 0) {
        sessions->slots[session->next - 1].previous = session->previous;
    } else {
        sessions->newest = session->previous;
    }
}

static void close_session(struct sessions *sessions, struct session *session)
{
    uint32_t slot = state_table_tag(session->table);
    unlink_session(sessions, session);
    sessions->count--;
    sessions->bytes -= session->bytes;
    state_begin(sessions->tree);
    put(sessions, sessions->open, state_key_integer((int64_t)session->id), state_nil());
    state_commit(sessions->tree);
    *session = (struct session){.next = sessions->free};
    sessions->free = slot;
}

/* Within a transaction. */
static void raise_floor(struct sessions *sessions, struct session *session, uint64_t floor)
{
    if (floor <= session->floor) return;
    size_t freed = bytes_below(session, floor);
    session->bytes -= freed;
    sessions->bytes -= freed;
    if (!FAULT(FLOOR_NOT_KEPT)) session->floor = floor;
    put(sessions, session->table, state_key_text("floor"), state_integer((int64_t)floor));
    struct state_key last = state_key_integer((int64_t)floor), key;
    struct state_cursor cursor;
    struct state_value value;
    state_scan(&cursor, session->replies, &(struct state_range){.to = &last});
    while (state_scan_next(&cursor, &key, &value))
        put(sessions, session->replies, key, state_nil());
}

/* What the replies up to and with `floor` count. */
static size_t bytes_below(const struct session *session, uint64_t floor)
{
    struct state_key last = state_key_integer((int64_t)floor), key;
    struct state_cursor cursor;
    struct state_value value;
    size_t bytes = 0;
    state_scan(&cursor, session->replies, &(struct state_range){.to = &last});
    while (state_scan_next(&cursor, &key, &value))
        bytes += REPLY_COST + value.string.size - KEPT_HEAD;
    return bytes;
}

/* ---- keys: in the order they came, which is the order they go ---- */

void sessions_attach_key(struct sessions *sessions, const uint8_t *name, uint64_t age_ms,
                         size_t reply_size)
{
    if (sessions->ring_count == sessions->ring_capacity) {
        size_t capacity = sessions->ring_capacity == 0 ? 64 : sessions->ring_capacity * 2;
        struct key_place *ring = memory_zero(capacity, sizeof *ring);
        for (size_t i = 0; i < sessions->ring_count; i++)
            ring[i] = sessions->ring[(sessions->ring_at + i) % sessions->ring_capacity];
        memory_free(sessions->ring);
        sessions->ring = ring;
        sessions->ring_at = 0;
        sessions->ring_capacity = capacity;
    }
    size_t at = (sessions->ring_at + sessions->ring_count++) % sessions->ring_capacity;
    memcpy(sessions->ring[at].name, name, KEY_NAME_SIZE);
    sessions->ring[at].age_ms = age_ms;
    sessions->key_bytes += KEY_COST + reply_size;
}

static void forget_oldest_key(struct sessions *sessions)
{
    struct state_key key =
        state_key_string(slice_of(sessions->ring[sessions->ring_at].name, KEY_NAME_SIZE));
    struct state_value value = state_get(sessions->keys, key);
    assert(value.type == STATE_STRING);
    sessions->key_bytes -= KEY_COST + value.string.size - KEPT_HEAD;
    state_begin(sessions->tree);
    put(sessions, sessions->keys, key, state_nil());
    state_commit(sessions->tree);
    sessions->ring_at = (sessions->ring_at + 1) % sessions->ring_capacity;
    sessions->ring_count--;
}

/* Answers an error whose text is the same on every node. */
static bool refuse(enum error_code *code, struct buffer *reply, enum error_code why,
                   const char *format, ...)
{
    char text[TEXT_MAX];
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(text, sizeof text, format, arguments);
    va_end(arguments);
    *code = why;
    reply_write_error(reply, why, text);
    return false;
}

static void put(struct sessions *sessions, struct state_table *table, struct state_key key,
                struct state_value value)
{
    bool fits = state_put(sessions->tree, table, key, value);
    assert(fits); /* four levels deep */
    (void)fits;
}
