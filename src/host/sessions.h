/*
 * Exactly once, in the replicated machine: the sessions of clients and the keys of requests, each with the replies
 * that a retry is answered with. Everything here is a pure function of the entries applied and of the replicated
 * settings; no wall clock, no randomness.
 *
 * A session is opened by a SESSION entry, whose index is its id. A command that carries (session, sequence) is run
 * once: the same sequence again gets the first reply, bytes and code. The replies of the newest `session_window`
 * sequences are kept, so that a client may have that many under way; within them any order will do. An older sequence
 * is refused (FORGOTTEN): there is no telling whether it was done. A session that nobody used for session_timeout_ms
 * of the replicated clock is gone; its id never comes back, so what carries it is refused (SESSION_EXPIRED) for ever.
 * While no entry is applied the clock stands still, and nothing expires.
 *
 * A command with RAFT_ENTRY_KEYED carries in (session, sequence) the 128-bit hash of a key that a client chose. Its
 * reply is kept for at least idempotency_timeout_ms. A key's age is counted apart from the clock: a gap between two
 * entries counts as at most a sixteenth of that time, so that no leader's clock, however far ahead, makes keys be
 * forgotten all at once. A retry may then be late by as much as an idle cluster was idle, never early.
 *
 * Limits (settings sessions_max, session_bytes_max, idempotency_keys_max, idempotency_bytes_max) are looked at before
 * a command is run: at the limit it is refused (OVERLOADED) and not run. So the last reply may go past a limit of
 * bytes by its own size.
 *
 * What is replicated lives in a state tree {keys = {name -> kept reply}, open = {id -> {active, floor, replies}}}:
 * its hash is kept as it changes, its bytes are canonical. Beside it stand what is found again from it: who expires
 * next, and what is in use.
 */
#ifndef MOONCLAVE_HOST_SESSIONS_H
#define MOONCLAVE_HOST_SESSIONS_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/settings.h"
#include "raft/types.h"
#include "state/state.h"

/* What counts against the limits of bytes beside the replies' own. */
#define SESSION_COST 256
#define REPLY_COST   64
#define KEY_COST     128

#define KEY_NAME_SIZE  16
#define SESSIONS_LEVEL 1 /* of the bytes */

struct session {
    uint64_t id; /* 0: a free slot */
    uint64_t active_ms;
    uint64_t floor;   /* nothing up to this sequence is kept, nor run any more */
    uint64_t highest; /* the greatest sequence run; never below floor */
    size_t bytes;
    struct state_table *table, *replies;
    uint32_t previous, next; /* slot + 1, by activity; `next` also chains the free ones */
};

struct key_place {
    uint8_t name[KEY_NAME_SIZE];
    uint64_t age_ms; /* sessions->age_ms when it was kept */
};

struct sessions {
    struct state *tree;
    struct state_table *keys, *open;
    uint64_t clock_ms; /* of the entry before */
    uint64_t age_ms;   /* what keys' ages are counted by */

    struct session *slots; /* a session's table carries its slot + 1 as its tag */
    uint32_t slot_count, slot_capacity, free, oldest, newest;
    size_t count, bytes; /* in use by sessions */

    struct key_place *ring; /* keys, oldest first */
    size_t ring_at, ring_count, ring_capacity;
    size_t key_bytes;
};

void sessions_init(struct sessions *sessions);
void sessions_deinit(struct sessions *sessions);

/* Before an entry with this clock is applied: forgets what is due. */
void sessions_advance(struct sessions *sessions, const struct settings *settings,
                      uint64_t clock_ms);

/* A COMMAND: true: it is to be run, and its reply given to sessions_keep at once. false: it is not,
 * and *code and what is appended to `reply` are the answer. Without session and key always true. */
bool sessions_admit(struct sessions *sessions, const struct settings *settings,
                    const struct raft_entry *entry, enum error_code *code, struct buffer *reply);
void sessions_keep(struct sessions *sessions, const struct settings *settings,
                   const struct raft_entry *entry, enum error_code code, struct slice reply);

/* A SESSION entry: opens, renews, closes (base/request.h). Appends the answer. VERSION: an action
 * of a later program; nothing was done. */
enum error_code sessions_apply(struct sessions *sessions, const struct settings *settings,
                               const struct raft_entry *entry, struct buffer *reply);

/* Every session ends; keys stay. */
void sessions_end_all(struct sessions *sessions);

uint64_t sessions_hash(const struct sessions *sessions); /* of all that is replicated; cheap */

/* The whole as canonical bytes: equal histories, equal bytes. */
void sessions_encode(const struct sessions *sessions, struct buffer *out);
/* The same bytes in steps, while entries go on being applied (state_snapshot_step). The caller's to end. */
struct state_snapshot *sessions_snapshot(struct sessions *sessions);
/* Into a freshly initialised one, which then answers everything as the one encoded does. VERSION; CORRUPT: not what
 * sessions_encode writes, to the byte; it is then fresh again. */
enum error_code sessions_decode(struct sessions *sessions, struct slice bytes, struct error *error);
/* The same, of a freshly initialised one whose tree is what was read (state_restore_finish), and of the hash that was
 * told: the bytes were those written. */
enum error_code sessions_restored(struct sessions *sessions, struct error *error);

/* ---- within: sessions.c for sessions_bytes.c ---- */
struct session *sessions_attach(struct sessions *sessions, uint64_t id, struct state_table *table);
void sessions_attach_key(struct sessions *sessions, const uint8_t *name, uint64_t age_ms,
                         size_t reply_size);

/* A kept reply is a string: the hash of the command's body, the code and, for a key, its age; then the reply. */
#define KEPT_HEAD 18
struct kept {
    uint64_t body_hash, age_ms;
    enum error_code code;
    struct slice reply;
};
void kept_write(const struct kept *kept, struct buffer *out);
bool kept_read(struct slice bytes, struct kept *kept); /* false: it is none */

#endif
