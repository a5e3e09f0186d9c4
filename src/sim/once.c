/*
 * Exactly once, by rules of our own: a second, plainer telling of host/sessions.h, followed along the one history of
 * applied entries. It says of every entry in a session or under a key whether it is to be run, and if not, why; the
 * replicated machine must have done just that, and clients are told nothing else. That all nodes do the same is checked
 * elsewhere (the chain covers the hash of their sessions), so it is followed once, on the first node to get there.
 *
 * Two checks do not need these rules: an operation is applied once (clients.c), and nothing is applied in a session
 * that is closed or has expired.
 */
#include "sim/internal.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "host/sessions.h"

#include <assert.h>
#include <inttypes.h>
#include <string.h>

#define GAP_PARTS 16 /* of a key's time: the most that one gap between entries counts */

static void follow(struct sim_node *node, raft_index index, size_t reply_size);
static void advance(struct sim *sim, uint64_t time_ms);
static void judge_command(struct sim_node *node, raft_index index, const struct once_claim *claim, size_t reply_size);
static enum once_verdict by_session(struct sim *sim, const struct once_claim *claim);
static enum once_verdict by_key(struct sim *sim, const struct once_claim *claim);
static void keep(struct sim *sim, raft_index index, const struct once_claim *claim, size_t reply_size);
static void order(struct sim *sim, raft_index index, const struct once_claim *claim);
static struct once_session *find(struct sim_once *once, uint64_t id);
static struct once_session *find_open(struct sim_once *once, uint64_t id);
static void open_session(struct sim_once *once, uint64_t id);
static void close_session(struct sim_once *once, struct once_session *session);
static void raise_floor(struct sim_once *once, struct once_session *session, uint64_t floor);
static size_t freed_by(const struct once_session *session, uint64_t floor);
static struct once_key *key_of(struct sim *sim, const struct once_claim *claim);
static bool field(struct slice map, const char *key, uint64_t *value);

static const char *const verdicts[ONCE_VERDICTS] = {
#define X(name, text) [ONCE_##name] = text,
    ONCE_TABLE(X)
#undef X
};

uint32_t once_claim(struct sim *sim, const struct raft_entry *entry)
{
    struct sim_once *once = &sim->once;
    bool session = entry->type == RAFT_SESSION;
    if (!session && (entry->type != RAFT_COMMAND || (entry->session == 0 && !(entry->flags & RAFT_ENTRY_KEYED))))
        return 0;
    struct slice body = entry->payload.bytes;
    struct once_claim claim = {
        .type = (uint8_t)entry->type,
        .flags = (uint8_t)entry->flags,
        .session = entry->session,
        .sequence = entry->sequence,
        .body_hash = hash_bytes(body.data, body.size),
    };
    if (session)
        session_body_read(body, &claim.action, &claim.acknowledged);
    else if (body.size >= SIM_ENVELOPE)
        claim.number = get_u64(body.data);
    if (once->claim_count == once->claim_capacity) {
        once->claim_capacity = once->claim_capacity ? once->claim_capacity * 2 : 64;
        once->claims = memory_resize(once->claims, once->claim_capacity, sizeof *once->claims);
    }
    once->claims[once->claim_count++] = claim;
    return (uint32_t)once->claim_count;
}

/* ---- along the history ---- */

/* For the entry that is being followed: it is told itself first, and counts from the next one on. */
static const struct settings *settings_in_force(const struct sim *sim)
{
    return settings_behind(sim, sim->once.index - 1);
}

void once_look(struct sim_node *node)
{
    raft_index applied = host_applied(node->host).index;
    while (node->sim->once.index < applied) follow(node, node->sim->once.index + 1, 0);
}

bool once_run(struct sim_node *node, raft_index index, size_t reply_size)
{
    once_look(node);
    follow(node, index, reply_size);
    return ledger_record(&node->sim->ledger, index)->lawful;
}

/* Whatever the machine did is taken for what happened: one mistake is told once. */
static void follow(struct sim_node *node, raft_index index, size_t reply_size)
{
    struct sim *sim = node->sim;
    raft_term term = ledger_term_of(&sim->ledger, host_raft(node->host), index);
    const struct sim_version *version = ledger_version(&sim->ledger, index, term);
    sim->once.index = index;
    if (!version) return; /* which another check complains of */
    advance(sim, version->time_ms);
    ledger_record(&sim->ledger, index)->lawful = version->type == RAFT_COMMAND;
    if (version->type == RAFT_SETTINGS) settings_follow(sim, index, term);
    deploys_follow(node, index, term, version->type);
    for (size_t i = 0; ledger_record(&sim->ledger, index)->restored && i < sim->once.session_count; i++) {
        if (sim->once.sessions[i].open) close_session(&sim->once, &sim->once.sessions[i]);
    }
    if (version->claim == 0) return;
    const struct once_claim *claim = &sim->once.claims[version->claim - 1];
    if (claim->type == RAFT_SESSION)
        order(sim, index, claim);
    else
        judge_command(node, index, claim, reply_size);
}

/* The clock of sessions is the entries'; what keys' ages are counted by lets no gap count for much. */
static void advance(struct sim *sim, uint64_t time_ms)
{
    struct sim_once *once = &sim->once;
    const struct settings *settings = settings_in_force(sim);
    uint64_t passed = time_ms > once->clock_ms ? time_ms - once->clock_ms : 0;
    uint64_t most = settings->idempotency_timeout_ms / GAP_PARTS;
    if (passed == 0) return;
    once->clock_ms = time_ms;
    once->age_ms += passed < most ? passed : most;
    while (once->first_open < once->session_count && !once->sessions[once->first_open].open) once->first_open++;
    for (size_t i = once->first_open; i < once->session_count; i++) {
        struct once_session *session = &once->sessions[i];
        if (!session->open || time_ms - session->active_ms < settings->session_timeout_ms) continue;
        COVER(sim, sessions_expired);
        close_session(once, session);
    }
    while (once->forgotten_keys < once->kept_key_count) {
        struct once_key *key = &once->keys[once->kept_keys[once->forgotten_keys]];
        if (once->age_ms - key->age_ms < settings->idempotency_timeout_ms) break;
        COVER(sim, keys_forgotten);
        once->key_bytes -= key->kept.cost;
        key->kept = (struct once_kept){0};
        once->forgotten_keys++;
    }
}

static void judge_command(struct sim_node *node, raft_index index, const struct once_claim *claim, size_t reply_size)
{
    struct sim *sim = node->sim;
    struct sim_record *record = ledger_record(&sim->ledger, index);
    struct sim_op *op = clients_find(sim, claim->number);
    if (!op) {
        violate(sim, NULL, "command_asked", "index %" PRIu64 " holds a command nobody asked for", index);
        return;
    }
    bool keyed = claim->flags & RAFT_ENTRY_KEYED, ran = record->applied_term != 0;
    enum once_verdict verdict = keyed ? by_key(sim, claim) : by_session(sim, claim);
    cover_once(sim, keyed, verdict);
    TRACE(sim, node, "index %" PRIu64 ", command %" PRIu64 " %s", index, claim->number, verdicts[verdict]);
    if (op->regular) op->once.verdicts |= 1u << verdict;
    record->lawful = verdict == ONCE_run;
    record->skipped = !ran;
    if (ran && verdict == ONCE_expired) {
        violate(sim, NULL, "session_over", "index %" PRIu64 " applies a command in session %" PRIu64 ", which is over",
                index, claim->session);
    }
    if (ran != (verdict == ONCE_run)) {
        breach(sim, NULL, "once_by_rule", "command %" PRIu64 " is %s at index %" PRIu64 "; by the rules it %s",
               claim->number, ran ? "run" : "not run", index, verdicts[verdict]);
    }
    if (ran) keep(sim, index, claim, reply_size);
}

static enum once_verdict by_session(struct sim *sim, const struct once_claim *claim)
{
    struct sim_once *once = &sim->once;
    const struct settings *settings = settings_in_force(sim);
    struct once_session *session = find_open(once, claim->session);
    if (!session) return ONCE_expired;
    session->active_ms = once->clock_ms;
    uint64_t sequence = claim->sequence;
    const struct once_kept *kept = sequence < session->kept_capacity ? &session->kept[sequence] : NULL;
    if (kept && kept->index > 0) return kept->body_hash == claim->body_hash ? ONCE_again : ONCE_reused;
    if (sequence <= session->floor) return ONCE_forgotten;
    uint64_t highest = sequence > session->highest ? sequence : session->highest;
    uint64_t window = settings->session_window;
    size_t freed = highest > window ? freed_by(session, highest - window) : 0;
    return once->bytes - freed < settings->session_bytes_max ? ONCE_run : ONCE_overloaded;
}

static enum once_verdict by_key(struct sim *sim, const struct once_claim *claim)
{
    const struct sim_once *once = &sim->once;
    const struct settings *settings = settings_in_force(sim);
    const struct once_key *key = key_of(sim, claim);
    if (!key) return ONCE_run;
    if (key->kept.index > 0) return key->kept.body_hash == claim->body_hash ? ONCE_again : ONCE_reused;
    bool room = once->kept_key_count - once->forgotten_keys < settings->idempotency_keys_max &&
                once->key_bytes < settings->idempotency_bytes_max;
    return room ? ONCE_run : ONCE_overloaded;
}

static void keep(struct sim *sim, raft_index index, const struct once_claim *claim, size_t reply_size)
{
    struct sim_once *once = &sim->once;
    struct once_kept kept = {.index = index, .body_hash = claim->body_hash};
    if (claim->flags & RAFT_ENTRY_KEYED) {
        struct once_key *key = key_of(sim, claim);
        if (!key || key->kept.index > 0) return;
        kept.cost = KEY_COST + reply_size;
        key->kept = kept;
        key->age_ms = once->age_ms;
        once->key_bytes += kept.cost;
        if (once->kept_key_count == once->kept_key_capacity) {
            once->kept_key_capacity = once->kept_key_capacity ? once->kept_key_capacity * 2 : 64;
            once->kept_keys = memory_resize(once->kept_keys, once->kept_key_capacity, sizeof *once->kept_keys);
        }
        once->kept_keys[once->kept_key_count++] = (unsigned)(key - once->keys);
        return;
    }
    struct once_session *session = find_open(once, claim->session);
    uint64_t sequence = claim->sequence;
    if (!session || sequence <= session->floor) return;
    if (sequence >= session->kept_capacity) {
        size_t before = session->kept_capacity;
        session->kept_capacity = sequence + 32;
        session->kept = memory_resize(session->kept, session->kept_capacity, sizeof *session->kept);
        memset(session->kept + before, 0, (session->kept_capacity - before) * sizeof *session->kept);
    }
    kept.cost = REPLY_COST + reply_size;
    session->bytes += kept.cost - session->kept[sequence].cost;
    once->bytes += kept.cost - session->kept[sequence].cost;
    session->kept[sequence] = kept;
    if (sequence > session->highest) session->highest = sequence;
    uint64_t window = settings_in_force(sim)->session_window;
    if (session->highest > window) raise_floor(once, session, session->highest - window);
}

/* A SESSION entry. */
static void order(struct sim *sim, raft_index index, const struct once_claim *claim)
{
    struct sim_once *once = &sim->once;
    const struct settings *settings = settings_in_force(sim);
    if (claim->action == SESSION_OPEN) {
        bool room = once->open_count < settings->sessions_max && once->bytes < settings->session_bytes_max;
        if (room) COVER(sim, sessions_opened);
        if (room) open_session(once, index);
        return;
    }
    struct once_session *session = find_open(once, claim->session);
    if (!session) return;
    if (claim->action == SESSION_CLOSE) {
        COVER(sim, sessions_closed);
        close_session(once, session);
        return;
    }
    session->active_ms = once->clock_ms;
    uint64_t acknowledged = claim->acknowledged;
    raise_floor(once, session, acknowledged < session->highest ? acknowledged : session->highest);
}

/* ---- what clients are told ---- */

void once_judge_session(struct sim_node *node, struct sim_op *op, uint64_t number, const struct reply *reply)
{
    struct sim *sim = node->sim;
    uint64_t id = 0;
    once_look(node);
    if (op->once.action == SESSION_CLOSE) {
        if (find_open(&sim->once, op->once.session)) {
            violate(sim, node, "session_true", "session %" PRIu64 " is said to be closed, and is open",
                    op->once.session);
        }
        return;
    }
    struct once_session *session = field(reply->body, "session", &id) ? find(&sim->once, id) : NULL;
    bool renewed = op->once.action == SESSION_RENEW;
    bool own = session && (renewed ? id == op->once.session : id > op->floor && session->holder == 0);
    if (!own) {
        violate(sim, node, "session_true",
                "request %" PRIu64 " is told of session %" PRIu64 ", which is none, another's, or older than it",
                number, id);
        return;
    }
    if (!renewed) session->holder = number;
}

void once_judge_refusal(struct sim_node *node, const struct sim_op *op, const struct reply *reply)
{
    struct sim *sim = node->sim;
    const struct sim_op *root = &sim->clients.ops[op->first - 1];
    unsigned verdict = reply->code == ERROR_FORGOTTEN ? ONCE_forgotten
                       : reply->code == ERROR_REUSED  ? ONCE_reused
                                                      : ONCE_expired;
    once_look(node);
    const struct once_session *session = find(&sim->once, op->once.session);
    bool told = root->once.verdicts >> verdict & 1;
    if (op->kind == REQUEST_SESSION) told = verdict == ONCE_expired && op->once.session && session && !session->open;
    if (told) return;
    violate(sim, node, "session_true", "a request of operation %" PRIu32 " is told %s, and it is not so", op->first,
            error_name(reply->code));
}

/* What a member holds gives the same bytes and hash again once it is read into a fresh one, as by a snapshot. */
void once_check_end(struct sim_node *node)
{
    const struct sessions *held = host_sessions(node->host);
    struct sessions again;
    struct buffer bytes = {0}, more = {0};
    struct error error = {.text = ""};
    sessions_init(&again);
    sessions_encode(held, &bytes);
    bool sound = sessions_decode(&again, buffer_slice(&bytes), &error) == ERROR_OK;
    sessions_encode(&again, &more);
    if (!sound || !slice_equal(buffer_slice(&bytes), buffer_slice(&more)) ||
        sessions_hash(held) != sessions_hash(&again) || held->count != again.count || held->bytes != again.bytes ||
        held->key_bytes != again.key_bytes) {
        violate(node->sim, node, "sessions_sound", "its sessions, read back from their bytes, are others: %s",
                error.text);
    }
    const struct sim_once *once = &node->sim->once;
    if (once->index == host_applied(node->host).index &&
        (held->count != once->open_count || held->bytes != once->bytes || held->key_bytes != once->key_bytes)) {
        breach(node->sim, node, "once_by_rule",
               "holds %zu sessions of %zu bytes and keys of %zu; by the rules %zu, %zu and %zu", held->count,
               held->bytes, held->key_bytes, once->open_count, once->bytes, once->key_bytes);
    }
    sessions_deinit(&again);
    buffer_deinit(&bytes);
    buffer_deinit(&more);
}

/* ---- sessions and keys ---- */

static struct once_session *find(struct sim_once *once, uint64_t id)
{
    size_t low = 0, high = once->session_count;
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (once->sessions[middle].id < id)
            low = middle + 1;
        else
            high = middle;
    }
    return low < once->session_count && once->sessions[low].id == id ? &once->sessions[low] : NULL;
}

static struct once_session *find_open(struct sim_once *once, uint64_t id)
{
    struct once_session *session = find(once, id);
    return session && session->open ? session : NULL;
}

static void open_session(struct sim_once *once, uint64_t id)
{
    if (once->session_count == once->session_capacity) {
        once->session_capacity = once->session_capacity ? once->session_capacity * 2 : 16;
        once->sessions = memory_resize(once->sessions, once->session_capacity, sizeof *once->sessions);
    }
    once->sessions[once->session_count++] =
        (struct once_session){.id = id, .open = true, .active_ms = once->clock_ms, .bytes = SESSION_COST};
    once->bytes += SESSION_COST;
    once->open_count++;
}

static void close_session(struct sim_once *once, struct once_session *session)
{
    session->open = false;
    once->bytes -= session->bytes;
    once->open_count--;
    memory_free(session->kept);
    session->kept = NULL;
    session->kept_capacity = 0;
}

static void raise_floor(struct sim_once *once, struct once_session *session, uint64_t floor)
{
    if (floor <= session->floor) return;
    size_t freed = freed_by(session, floor);
    session->bytes -= freed;
    once->bytes -= freed;
    for (uint64_t i = session->floor + 1; i <= floor && i < session->kept_capacity; i++)
        session->kept[i] = (struct once_kept){0};
    session->floor = floor;
}

static size_t freed_by(const struct once_session *session, uint64_t floor)
{
    size_t bytes = 0;
    for (uint64_t i = session->floor + 1; i <= floor && i < session->kept_capacity; i++) bytes += session->kept[i].cost;
    return bytes;
}

unsigned once_new_key(struct sim *sim)
{
    struct sim_once *once = &sim->once;
    if (once->key_count == once->key_capacity) {
        once->key_capacity = once->key_capacity ? once->key_capacity * 2 : 64;
        once->keys = memory_resize(once->keys, once->key_capacity, sizeof *once->keys);
    }
    uint8_t text[8];
    struct request request = {0};
    put_u64(text, once->key_count);
    request_key(&request, slice_of(text, sizeof text), 0, NULL);
    once->keys[once->key_count] = (struct once_key){.hash = {request.session, request.sequence}};
    return (unsigned)once->key_count++;
}

/* The one that its operation was asked under; null: it is not that. */
static struct once_key *key_of(struct sim *sim, const struct once_claim *claim)
{
    const struct sim_op *op = clients_find(sim, claim->number);
    struct once_key *key = op->kind == REQUEST_KEYED ? &sim->once.keys[op->once.place] : NULL;
    if (key && key->hash[0] == claim->session && key->hash[1] == claim->sequence) return key;
    violate(sim, NULL, "command_asked", "command %" PRIu64 " comes under a key that it was not asked under",
            claim->number);
    return NULL;
}

void once_deinit(struct sim *sim)
{
    struct sim_once *once = &sim->once;
    for (size_t i = 0; i < once->session_count; i++) memory_free(once->sessions[i].kept);
    memory_free(once->sessions);
    memory_free(once->claims);
    memory_free(once->keys);
    memory_free(once->kept_keys);
    *once = (struct sim_once){0};
}

static bool field(struct slice map, const char *key, uint64_t *value)
{
    struct slice found;
    if (!mp_map_get(map, key, &found)) return false;
    struct mp_reader reader = mp_reader_of(found);
    return mp_read_u64(&reader, value);
}
