/*
 * Raft's own types: what the core, the store, the wire and the host share. Plain data; this header is all of `raft`
 * that `store` and `wire` may know, together with entry.h and configuration.h (the bytes).
 *
 * Times are in microseconds on this node's monotonic clock (`_us`), or milliseconds on the replicated one (`time_ms`).
 */
#ifndef MOONCLAVE_RAFT_TYPES_H
#define MOONCLAVE_RAFT_TYPES_H

#include "base/buffer.h"
#include "base/identity.h"

#include <stdbool.h>
#include <stdint.h>

typedef uint64_t raft_term;
typedef uint64_t raft_index; /* the first entry has index 1; 0 is before the log */

struct raft_id {
    char text[ID_MAX + 1]; /* "" : none */
};

bool raft_id_equal(const struct raft_id *a, const struct raft_id *b);
struct raft_id raft_id_of(const char *text); /* asserts id_valid or "" */
bool raft_id_none(const struct raft_id *id);

/* ---- entries ---- */

enum raft_entry_type { /* frozen numbers */
    RAFT_NOOP = 0,
    RAFT_CONFIGURATION = 1, /* payload: raft/configuration.h */
    RAFT_INIT = 2,          /* payload: host/system.h: format level, settings, bundle, config */
    RAFT_DEPLOY = 3,
    RAFT_COMMAND = 4,       /* payload: [name, arguments] */
    RAFT_SESSION = 5,       /* payload: session_body_write (base/request.h); `session`: which one */
    RAFT_SETTINGS = 6,      /* payload: host/system.h: {name: value} of those that change */
    RAFT_SKIP = 7,
    RAFT_RESTORE = 8,       /* payload: host/restore_log.c: a backup on its way in */
};
#define RAFT_ENTRY_TYPES 9

/* Flags of an entry (frozen bits). */
#define RAFT_ENTRY_KEYED 1 /* COMMAND: (session, sequence) is the hash of an idempotency key */

/* A payload: bytes within a blob that keeps them alive. Copying the struct does not take a reference. */
struct raft_payload {
    struct blob *blob; /* null only when bytes.size is 0, or when the bytes are merely borrowed */
    struct slice bytes;
};

struct raft_entry {
    uint8_t type;        /* enum raft_entry_type */
    uint16_t flags;      /* RAFT_ENTRY_* */
    raft_term term;
    raft_index index;
    uint64_t time_ms;    /* the leader's stamp, never less than the one before; but for the first of a leader whose log
                            was empty behind its snapshot, so whoever applies goes by the greatest so far */
    uint64_t seed;       /* stamped */
    uint64_t session;    /* 0: none */
    uint64_t sequence;
    uint64_t chain;      /* hash(previous entry's chain, this): entry.h */
    struct raft_payload payload;
};

void raft_entry_take(const struct raft_entry *entry); /* one more reference to its payload */
void raft_entry_drop(const struct raft_entry *entry);

/* ---- configurations ---- */

enum raft_server_role {  /* frozen numbers */
    RAFT_VOTER = 0,
    RAFT_LEARNER = 1,
    RAFT_LEAVING = 2,    /* in a joint configuration only: among the outgoing, and gone from the next one; until then
                            its addresses and incarnation are needed */
};

struct raft_address {
    char *kind; /* "node": the address of node protocol and RPC; "http" */
    char *host;
    uint16_t port;
};
struct raft_label {
    char *name;
    char *value;
};
struct raft_server {
    struct raft_id id;
    uint64_t incarnation;
    enum raft_server_role role;
    uint32_t priority; /* 0 by default; higher is preferred as leader */
    struct raft_address *addresses;
    size_t address_count;
    struct raft_label *labels; /* ascending by name, bytewise; no name twice */
    size_t label_count;
};

/* Servers sorted by id. `outgoing` holds the voters of the former configuration while two majorities are needed
 * (joint consensus); empty otherwise. Owned: raft_configuration_deinit frees all of it. */
struct raft_configuration {
    raft_index previous; /* index of the configuration before this one: what a compare-and-set names */
    struct raft_server *servers;
    size_t server_count;
    struct raft_id *outgoing;
    size_t outgoing_count;
};

/* ---- what is durable ---- */

struct raft_hard_state {
    raft_term term;
    struct raft_id vote; /* whom this node voted for in `term`; "" for nobody */
};

/* Snapshot meta (formats.md). At index 0 it is the first configuration of a bootstrapped cluster and no data. */
struct raft_snapshot_meta {
    raft_index index;
    raft_term term;
    uint64_t chain;               /* the log's chain at index */
    uint32_t format_level;
    uint64_t system_hash;         /* of the host's system tree at index */
    uint64_t state_hash;          /* of the user's state tree at index */
    uint64_t size;                /* bytes of data; 0 at index 0 */
    raft_index configuration_index;
    struct slice configuration;   /* encoded, as of index; empty in a blank node */
};

/* A run of entries of one term. */
struct raft_term_run {
    raft_index first;
    raft_term term;
};

/* The entry before a log's first: compacted away, but for what the next one is checked against. A log may begin some
 * entries before its snapshot's end (they are kept for slow followers), never behind it. */
struct raft_log_base {
    raft_index index;
    raft_term term;
    uint64_t chain;
};

/* All the core needs to know of what a disk holds, at START. Borrowed by the core for the call. The log covers
 * base.index + 1 ... last_index, without gaps. */
struct raft_durable {
    struct raft_hard_state hard_state;
    struct raft_snapshot_meta snapshot;
    struct raft_log_base base;               /* the log begins behind it */
    raft_index last_index;                   /* never before snapshot.index; base.index for an empty log */
    uint64_t last_chain;                     /* of the entry at last_index; base.chain for an empty log */
    uint64_t last_time_ms;                   /* stamp of the entry at last_index; 0 for an empty log */
    const struct raft_term_run *runs;        /* ascending by first; empty for an empty log */
    size_t run_count;
    const struct raft_entry *configurations; /* every CONFIGURATION entry in the log, ascending, with payload */
    size_t configuration_count;
    const struct raft_entry *skips;          /* every SKIP entry in the log likewise: not the core's business */
    size_t skip_count;
};

/* One write to the disk: all of it becomes durable together or none of it. In this order: the hard state (where
 * given), truncation (remove every entry from truncate_from on; 0: none), the entries (contiguous). Numbers ascend
 * by one; writes are carried out in that order. Borrowed until the completion is reported. */
struct raft_persist {
    uint64_t sequence;
    bool has_hard_state;
    struct raft_hard_state hard_state;
    raft_index truncate_from;
    const struct raft_entry *entries;
    size_t entry_count;
};

/* ---- messages between cores ---- */

/* One row per message: name, number (frozen on the wire), text. */
/* clang-format off */
#define RAFT_MESSAGE_TABLE(X) \
    X(REQUEST_VOTE,  1, "request_vote") \
    X(VOTE,          2, "vote") \
    X(APPEND,        3, "append") \
    X(APPEND_RESULT, 4, "append_result") \
    X(TIMEOUT_NOW,   8, "timeout_now") \
    X(INSTALL_SNAPSHOT, 9,  "install_snapshot") \
    X(SNAPSHOT_RESULT,  10, "snapshot_result") \
    X(READ_INDEX,    11, "read_index") \
    X(READ_INDEX_RESULT, 12, "read_index_result")
/* clang-format on */

enum raft_message_type {
#define X(name, number, text) RAFT_##name = number,
    RAFT_MESSAGE_TABLE(X)
#undef X
};

/* RequestVote (§5.2; pre-vote: Ongaro §9.6). For a pre-vote, message.term is the term the sender would campaign in;
 * nobody's term changes by it. */
struct raft_request_vote {
    bool pre;
    bool transfer; /* a transfer of leadership: exempt from stickiness */
    raft_index last_index;
    raft_term last_term;
};

/* The answer. A granted pre-vote carries the asked-for term as message.term; a refusal the answerer's own term. */
struct raft_vote {
    bool pre;
    bool granted;
};

/* AppendEntries (§5.3); without entries a heartbeat. */
struct raft_append {
    raft_index prev_index;
    raft_term prev_term;
    raft_index commit;   /* never past what this message lets the receiver verify */
    uint64_t round;      /* the newest heartbeat round: echoed, it confirms leadership for reads (§6.4) */
    uint64_t state_index;/* newest index with a state chain, for divergence detection; 0: none */
    uint64_t state_chain;
    const struct raft_entry *entries; /* with sealed chains; payload references belong to the holder of the message */
    size_t entry_count;
};

/* The answer. success: every entry up to `match` is the leader's and durable here. Else a conflict hint: the receiver
 * lacks prev_index, or has another term there. */
struct raft_append_result {
    bool success;
    raft_index prev_index;     /* of the append answered: tells stray answers from fresh ones */
    raft_index match;
    raft_index last_index;     /* of the answerer's log */
    raft_term conflict_term;   /* a failure's hint: its term at conflict_index - 1, the last that may agree */
    raft_index conflict_index; /* from here on its log is not the leader's */
    uint64_t round;            /* echo */
    uint64_t state_index, state_chain; /* the answerer's, as above */
};

/* TimeoutNow (Ongaro §3.10) has no fields of its own: the sender, who leads message.term, asks the receiver to campaign
 * at once. */

/* A follower asks for an index to read at (Ongaro §6.4). */
struct raft_read_index {
    uint64_t identity; /* of this request: drawn at random, never used twice */
    bool lease;        /* the leader may answer by its lease, where it has one */
};

/* The answer. success: the state at `index` or later answers linearizably whatever was asked before the request left.
 * Else the answerer does not lead. */
struct raft_read_index_result {
    uint64_t identity; /* echo */
    bool success;
    raft_index index;
};

/* InstallSnapshot (§7): one chunk of a snapshot's bytes. Without bytes it is an offer: the receiver says from which
 * offset on it wants them. Chunks follow the answer, in order; whatever is lost is found by a new attempt, with a new
 * offer. */
struct raft_install_snapshot {
    struct raft_snapshot_meta meta; /* which snapshot; the same in every chunk. Borrowed as an append's entries are */
    uint64_t attempt;               /* ascends within the sender's term; the answer echoes it */
    uint64_t offset;                /* of the chunk within the snapshot's bytes */
    struct raft_payload chunk;
    uint64_t checksum;              /* raft_chunk_checksum of the above, from the sender's disk to the receiver's */
    bool last;                      /* the chunk ends the snapshot */
};

enum raft_snapshot_status { /* frozen numbers */
    RAFT_SNAPSHOT_WANTED = 0,    /* the bytes from `offset` on */
    RAFT_SNAPSHOT_INSTALLED = 1, /* what the snapshot covers is here and durable, up to `match` */
    RAFT_SNAPSHOT_REFUSED = 2,   /* not now (a full disk), or an old term */
};

struct raft_snapshot_result {
    raft_index index;           /* of the snapshot answered */
    raft_term term;
    uint64_t attempt;           /* echo */
    enum raft_snapshot_status status;
    uint64_t offset;            /* WANTED: everything before it has been written there */
    raft_index match;           /* INSTALLED: as in an append's result */
};

struct raft_message {
    enum raft_message_type type;
    struct raft_id from, to;
    raft_term term;
    union {
        struct raft_request_vote request_vote;
        struct raft_vote vote;
        struct raft_append append;
        struct raft_append_result append_result;
        struct raft_read_index read_index;
        struct raft_read_index_result read_index_result;
        struct raft_install_snapshot install_snapshot;
        struct raft_snapshot_result snapshot_result;
    };
};

#endif
