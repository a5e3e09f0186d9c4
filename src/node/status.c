/*
 * What a node says about itself: the host's status map with the node's own keys merged in at their
 * sorted places, so that the result is one canonical value.
 */
#include "base/mp.h"
#include "node/internal.h"

#include <string.h>

struct own_key {
    const char *key;
    void (*write)(struct node *node, struct buffer *out);
};

static void write_counters(struct node *node, struct buffer *out);
static void write_http(struct node *node, struct buffer *out);
static void write_process(struct node *node, struct buffer *out);
static void write_uptime(struct node *node, struct buffer *out);

/* Sorted. */
static const struct own_key own_keys[] = {
    {"http", write_http},
    {"node_counters", write_counters},
    {"process", write_process},
    {"uptime_ms", write_uptime},
};
#define OWN_KEYS (sizeof own_keys / sizeof *own_keys)

void status_write(struct node *node, struct buffer *out)
{
    struct buffer host = {0}, pairs = {0};
    host_status(node->host, &host);
    struct mp_reader reader = mp_reader_of(buffer_slice(&host));
    uint32_t count = 0, written = 0;
    size_t own = 0;
    mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count; i++) {
        struct slice key, value;
        if (!mp_read_string(&reader, &key) || !mp_skip(&reader, &value)) break;
        for (; own < OWN_KEYS && slice_compare(slice_text(own_keys[own].key), key) < 0;
             own++, written++) {
            mp_write_text(&pairs, own_keys[own].key);
            own_keys[own].write(node, &pairs);
        }
        mp_write_string(&pairs, key);
        mp_write_raw(&pairs, value);
        written++;
    }
    for (; own < OWN_KEYS; own++, written++) {
        mp_write_text(&pairs, own_keys[own].key);
        own_keys[own].write(node, &pairs);
    }
    mp_write_map(out, written);
    buffer_append_slice(out, buffer_slice(&pairs));
    buffer_deinit(&pairs);
    buffer_deinit(&host);
}

/* For specs and people who tune: what one turn, one commit and one write call carry. Sorted keys.
 */
static void write_counters(struct node *node, struct buffer *out)
{
    struct net_counters net = net_counters(node->net);
    struct disk_counters disk = disk_counters(node->disk);
    struct files_counters files = files_counters(node->files);
    const struct {
        const char *key;
        uint64_t value;
    } rows[] = {
        {"accepts_failed", net.accepts_failed},
        {"clients", node->clients},
        {"disk_batches", disk.batches},
        {"disk_bytes", disk.store.bytes},
        {"disk_checkpoints", disk.store.checkpoints},
        {"disk_commits", disk.store.commits},
        {"disk_entries", disk.store.entries},
        {"disk_entries_per_commit_max", disk.entries_max},
        {"disk_refusals", disk.store.refusals},
        {"disk_rows_trimmed", disk.store.trimmed},
        {"disk_writes", disk.store.writes},
        {"net_read_bytes", net.read_bytes},
        {"net_reads", net.reads},
        {"net_streams", net.streams},
        {"net_turns", net.turns},
        {"net_write_bytes", net.write_bytes},
        {"net_writes", net.writes},
        {"snapshot_jobs", files.waiting},
        {"snapshot_read_bytes", files.read_bytes},
        {"snapshot_refusals", files.refusals},
        {"snapshot_written_bytes", files.written_bytes},
        {"snapshots_installed", files.installed},
        {"snapshots_taken", files.taken},
        {"tickets", tickets_count(node->tickets)},
        {"turn_us_max", net.turn_us_max},
        {"writes_per_turn_max", net.writes_per_turn_max},
    };
    size_t count = sizeof rows / sizeof *rows;
    mp_write_map(out, (uint32_t)count);
    for (size_t i = 0; i < count; i++) {
        mp_write_text(out, rows[i].key);
        mp_write_u64(out, rows[i].value);
    }
}

static void write_http(struct node *node, struct buffer *out)
{
    if (node->options->http == NULL) {
        mp_write_nil(out);
    } else {
        mp_write_text(out, node->options->http);
    }
}

static void write_process(struct node *node, struct buffer *out)
{
    (void)node;
    uv_rusage_t usage;
    size_t resident = 0;
    uv_getrusage(&usage);
    uv_resident_set_memory(&resident);
    uint64_t cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000 +
                      (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    mp_write_map(out, 3);
    mp_write_text(out, "cpu_us");
    mp_write_u64(out, cpu_us);
    mp_write_text(out, "pid");
    mp_write_u64(out, (uint64_t)uv_os_getpid());
    mp_write_text(out, "resident_bytes");
    mp_write_u64(out, resident);
}

static void write_uptime(struct node *node, struct buffer *out)
{
    mp_write_u64(out, uv_now(&node->loop) - node->started_ms);
}
