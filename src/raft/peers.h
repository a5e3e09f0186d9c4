/*
 * The other servers of the effective configuration, and how far each has come: what a leader knows
 * of its followers, what a candidate knows of its votes. Volatile: begun afresh with every
 * leadership.
 *
 * A peer is probed (one append at a time, until it is known where the logs agree), replicated to
 * (appends follow each other without waiting, as many as the window holds), or sent a snapshot, when
 * it needs what the log no longer holds.
 */
#ifndef MOONCLAVE_RAFT_PEERS_H
#define MOONCLAVE_RAFT_PEERS_H

#include "raft/types.h"

enum raft_progress { RAFT_PROBE, RAFT_REPLICATE, RAFT_SNAPSHOT };
const char *raft_progress_name(enum raft_progress progress);

/* An append on its way: its last index and what it weighs. */
struct raft_flight {
    raft_index last;
    size_t bytes;
};

/* Catching up in rounds (Ongaro §4.2.1): a round is the replication of what the log held when it
 * began. */
struct raft_catch_up {
    raft_index target; /* of the round under way; 0: none is */
    uint64_t began_us;
    uint64_t moved_us; /* its match has last moved up, or it has begun to lack something */
    uint64_t rounds;   /* done */
    uint64_t round_us; /* how long the last one took */
};

/* A snapshot on its way (transfer.c): meaningful in that progress only. */
struct raft_transfer {
    raft_index index;    /* which */
    uint64_t begun_us;
    uint64_t attempt;    /* the present one: chunks carry it, answers echo it */
    bool offered;        /* nothing else goes out until it is answered, or found lost */
    bool offer_due;      /* at the end of this step */
    bool broken_off;     /* it has failed otherwise than by silence */
    uint64_t acked;      /* bytes that are there */
    uint64_t next;       /* the next byte to be read and sent */
    uint64_t read_token; /* of its outstanding CHUNK_READ; 0: none */
    uint64_t heard_us;   /* the last that was heard of it, or the offer */
    uint64_t patience_us; /* how long silence may last before a new attempt: what answers take, and what they took */
};

struct raft_peer {
    struct raft_id id;
    bool voter;
    bool granted; /* its vote or pre-vote in the present campaign */
    bool departed; /* in the configuration no more, and told so for a while: counts for nothing */
    uint64_t departed_until_us;

    enum raft_progress progress;
    raft_index match; /* durable there, and ours */
    uint64_t match_round; /* the newest heartbeat round when it last moved up */
    bool forgot;    /* it has lost what it acknowledged in this term: counts for nothing (forgot.c) */
    uint64_t forgot_us; /* when that was found out */
    raft_index next;  /* the next entry to send: above match */
    bool paused;    /* probing: an append is out, or nothing is to be sent before it speaks again */
    bool speak;     /* is sent a heartbeat at the end of this step */
    uint64_t round; /* the newest it has echoed */
    uint64_t contact_us;     /* when it last answered in this term; 0: never */
    raft_index commit_sent;  /* the newest commit index it was told */
    uint64_t log_read_token; /* of its outstanding READ_LOG; 0: none */
    uint64_t lease_us;       /* the newest word of ours that it has answered was sent then; 0: none */
    struct raft_catch_up catch_up;

    struct raft_flight *flights; /* a ring, oldest at flight_first; capacity a power of two */
    size_t flight_first, flight_count, flight_capacity;
    size_t flight_bytes;
    struct raft_transfer transfer;
    bool returning; /* a snapshot has arrived, and it needs the log behind it: not to be compacted */
};

struct raft_peer_status;

struct raft_peers {
    struct raft_peer
        *peers; /* in the configuration's order; those that are in it no more come last */
    size_t count;
    uint64_t configuration_changes;  /* as of which this is */
    struct raft_peer_status *status; /* room for what raft_status hands out */
};

void raft_peers_deinit(struct raft_peers *peers);
/* Follows the configuration: those who stay keep their progress, new ones begin as probes at
 * `next`, those who go are kept as departed until `departed_until_us` (0: they are dropped). One who
 * comes back begins anew. */
void raft_peers_follow(struct raft_peers *peers, const struct raft_configuration *configuration,
                       const struct raft_id *self, raft_index next, uint64_t departed_until_us);
void raft_peers_drop_departed(struct raft_peers *peers, uint64_t until_us); /* whose time is over */
struct raft_peer *raft_peers_find(const struct raft_peers *peers,
                                  const struct raft_id *id);      /* null: none */
/* The same of one whose word counts: null for one that forgot, too. */
const struct raft_peer *raft_peers_counted(const struct raft_peers *peers, const struct raft_id *id);
void raft_peers_reset(struct raft_peers *peers, raft_index next); /* a term of leadership begins */

void raft_peer_probe(struct raft_peer *peer, raft_index next);
void raft_peer_replicate(struct raft_peer *peer);
void raft_peer_snapshot(struct raft_peer *peer, raft_index index); /* a transfer begins */
void raft_peer_flight_push(struct raft_peer *peer, struct raft_flight flight);
void raft_peer_flight_landed(struct raft_peer *peer, raft_index match);

#endif
