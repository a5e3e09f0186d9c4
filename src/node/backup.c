/*
 * Backups on their way to clients. The host takes a snapshot; its file is pinned, read a piece at a time by
 * the snapshots' thread, whenever the client has room for the next one, and given out as a backup's bytes
 * (store/backup.h). Nothing waits for it: commands go on, the next snapshots too.
 */
#include "node/internal.h"

#include "base/memory.h"
#include "base/mp.h"
#include "raft/snapshot_meta.h"

#include <assert.h>
#include <inttypes.h>

#define PIECE_BYTES (4 * BACKUP_BLOCK) /* of one read */
#define IDLE_MS 60000                  /* one that nobody has read for so long makes room for another */
#define OWN_TOKEN (UINT64_C(1) << 62)  /* the host's have the bit above it, the core's neither */

enum stage { WAITING, READY, READING, OVER };

struct backup {
    struct node *node;
    struct backup *next;
    struct backup_events events;
    void *context;
    struct ticket_list tickets;
    enum stage stage;
    bool pinned;
    raft_index index;
    uint64_t token; /* of the read that is out */
    uint64_t quiet_since_ms;
    struct backup_writer writer;
    struct buffer bytes; /* made, and not given out: the head, at first */
};

static bool has_room(struct node *node);
static void let_go(struct backup *backup);
static bool read_answer(struct slice body, struct backup_head *head);
static void fail(struct backup *backup, enum error_code code, const char *message);
static void read_on(struct backup *backup);

struct backup *backup_begin(struct node *node, enum consistency consistency, uint32_t timeout_ms,
                            const struct backup_events *events, void *context)
{
    if (!has_room(node)) return NULL;
    struct backup *backup = memory_zero(1, sizeof *backup);
    backup->node = node;
    backup->events = *events;
    backup->context = context;
    backup->next = node->backups;
    node->backups = backup;
    struct buffer body = {0};
    mp_write_array(&body, 2);
    mp_write_text(&body, "backup");
    mp_write_map(&body, 0);
    struct request request = {.kind = REQUEST_ADMIN,
                              .consistency = consistency,
                              .timeout_ms = timeout_ms,
                              .body = buffer_slice(&body)};
    host_submit(node->host, tickets_add(node->tickets, TICKET_BACKUP, backup, 0, &backup->tickets), &request);
    buffer_deinit(&body);
    return backup;
}

/* Those that are over do not count: they keep nothing. */
static bool has_room(struct node *node)
{
    uint64_t now_ms = net_turn_ms(node->net);
    size_t count = 0;
    for (struct backup *at = node->backups; at != NULL; at = at->next) {
        if (at->stage == READY && now_ms - at->quiet_since_ms > IDLE_MS) {
            at->stage = OVER;
            let_go(at);
        }
        count += at->stage == WAITING || at->pinned;
    }
    return count < BACKUPS_MAX;
}

static void let_go(struct backup *backup)
{
    if (backup->pinned) files_unpin(backup->node->files, backup->index);
    backup->pinned = false;
}

void backup_end(struct backup *backup)
{
    if (backup == NULL) return;
    struct node *node = backup->node;
    struct backup **at = &node->backups;
    uint64_t number;
    struct ticket ticket;
    while (tickets_take_any(node->tickets, &backup->tickets, &number, &ticket))
        host_cancel(node->host, number);
    while (*at != backup) at = &(*at)->next;
    *at = backup->next;
    let_go(backup);
    buffer_deinit(&backup->bytes);
    memory_free(backup);
}

/* The host's answer, from within the host. The snapshot is the newest: only what is given to its thread from
 * now on can delete it. */
void backup_reply(void *context, const struct reply *reply)
{
    struct backup *backup = context;
    struct backup_head head = {0};
    if (reply->code != ERROR_OK) {
        backup->stage = OVER;
        backup->events.failed(backup->context, reply);
        return;
    }
    bool sound = read_answer(reply->body, &head);
    assert(sound);
    (void)sound;
    backup->index = head.meta.index;
    backup->pinned = true;
    files_pin(backup->node->files, backup->index);
    backup_write_begin(&backup->writer, &head, &backup->bytes);
    backup->stage = READY;
    backup->quiet_since_ms = net_turn_ms(backup->node->net);
    backup->events.ready(backup->context, backup_file_size(&head), &head);
}

static bool read_number(struct slice body, const char *key, uint64_t *number)
{
    struct slice value;
    int64_t integer;
    if (!mp_map_get(body, key, &value) ||
        !mp_read_integer(&(struct mp_reader){value.data, value.data + value.size}, &integer))
        return false;
    *number = (uint64_t)integer;
    return true;
}

static bool read_answer(struct slice body, struct backup_head *head)
{
    struct slice value, meta;
    if (!mp_map_get(body, "meta", &value) ||
        !mp_read_string(&(struct mp_reader){value.data, value.data + value.size}, &meta))
        return false;
    return raft_snapshot_meta_decode(meta, &head->meta, NULL) == ERROR_OK &&
           read_number(body, "app", &head->app_hash) && read_number(body, "cluster", &head->cluster) &&
           read_number(body, "time_ms", &head->time_ms);
}

/* ---- its pieces ---- */

bool backup_is_ready(const struct backup *backup)
{
    return backup->stage == READY;
}

void backup_next(struct backup *backup)
{
    assert(backup->stage == READY);
    backup->stage = READING;
    read_on(backup);
}

/* Of a snapshot without any bytes there is none: the system tree is never empty. */
static void read_on(struct backup *backup)
{
    struct node *node = backup->node;
    backup->token = OWN_TOKEN | ++node->backup_token;
    files_give(node->files, &(struct host_snapshot_job){.kind = HOST_SNAPSHOT_READ,
                                                        .token = backup->token,
                                                        .meta = {.index = backup->index},
                                                        .offset = backup->writer.offset,
                                                        .max_bytes = PIECE_BYTES});
}

bool backups_own(uint64_t token)
{
    return token >> 62 == 1;
}

/* Of one that was ended meanwhile: no news. */
void backups_read(struct node *node, const struct host_snapshot_report *report)
{
    struct backup *backup = node->backups;
    while (backup != NULL && (backup->stage != READING || backup->token != report->token))
        backup = backup->next;
    if (backup == NULL) return;
    if (report->code != ERROR_OK) {
        fail(backup, report->code, report->error->text);
        return;
    }
    backup_write(&backup->writer, report->bytes.bytes, &backup->bytes);
    bool last = backup->writer.offset == backup->writer.size;
    struct buffer piece = backup->bytes;
    backup->bytes = (struct buffer){0};
    backup->stage = last ? OVER : READY;
    backup->quiet_since_ms = net_turn_ms(node->net);
    if (last) let_go(backup);
    backup->events.piece(backup->context, buffer_slice(&piece), last);
    buffer_deinit(&piece);
}

static void fail(struct backup *backup, enum error_code code, const char *message)
{
    struct buffer body = {0};
    reply_write_error(&body, code, message);
    struct reply reply = {code, buffer_slice(&body)};
    backup->stage = OVER;
    let_go(backup);
    backup->events.failed(backup->context, &reply);
    buffer_deinit(&body);
}
