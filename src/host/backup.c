/*
 * A backup is a snapshot for people to carry away: of the node that is asked, whoever leads, taken like any
 * other. A linearizable one waits, before it is taken, until this node has applied everything that was
 * acknowledged when it was asked for: by the same round that a query is read by. What the answer says is all
 * that the file's head needs; its bytes are read from the snapshot's file, by whoever runs this node.
 */
#include "host/internal.h"

#include "base/mp.h"
#include "raft/snapshot_meta.h"

static bool named(const struct waiter *waiter, const char *action);

bool snapshot_is_asked(const struct waiter *waiter)
{
    return named(waiter, "snapshot") || backup_is_asked(waiter);
}

bool backup_is_asked(const struct waiter *waiter)
{
    return named(waiter, "backup");
}

static bool named(const struct waiter *waiter, const char *action)
{
    struct mp_reader reader = mp_reader_of(waiter->body.bytes);
    struct slice name = {0};
    uint32_t count = 0;
    return waiter->kind == REQUEST_ADMIN && !waiter->remote && mp_read_array(&reader, &count) && count == 2 &&
           mp_read_string(&reader, &name) && slice_equal(name, slice_text(action));
}

/* Whoever has no leader to ask waits for one, as a query does. */
void snapshot_route(struct host *host, struct waiter *waiter)
{
    bool confirms = backup_is_asked(waiter) && waiter->consistency != CONSISTENCY_STALE;
    if (!confirms) {
        snapshot_ask(host, waiter);
    } else if (raft_id_none(&host->leader)) {
        park(host, waiter, waiter->deadline_us);
    } else {
        waiter_move(&host->waiters, waiter, WAITER_QUERY);
    }
}

/* There is a newer one: what is told of it. */
void backup_noted(struct host *host, const struct raft_snapshot_meta *meta)
{
    struct buffer *newest = &host->snapshots.newest;
    buffer_clear(newest);
    raft_snapshot_meta_encode(meta, newest);
}

void backup_answer(struct host *host, struct waiter *waiter)
{
    const struct snapshots *snapshots = &host->snapshots;
    struct buffer *body = &host->scratch;
    buffer_clear(body);
    mp_write_map(body, 6);
    mp_write_text(body, "app"); /* hashes as 64-bit integers with a sign: values of ours, for everyone */
    mp_write_integer(body, (int64_t)snapshots->newest_app);
    mp_write_text(body, "cluster");
    mp_write_integer(body, (int64_t)host->identity.cluster);
    mp_write_text(body, "index");
    mp_write_u64(body, snapshots->index);
    mp_write_text(body, "meta");
    mp_write_string(body, buffer_slice(&snapshots->newest));
    mp_write_text(body, "size");
    mp_write_u64(body, snapshots->size);
    mp_write_text(body, "time_ms");
    mp_write_u64(body, snapshots->newest_ms);
    answer(host, waiter, ERROR_OK, buffer_slice(body));
}
