/* GET /v1/backup: a backup as the body of an answer, as fast as the client takes it. */
#include "node/web.h"

#include "base/memory.h"

#include <inttypes.h>
#include <stdio.h>

struct download {
    struct web_connection *connection;
    struct backup *backup;
    bool begun; /* the head of the answer is out: nothing but the bytes may follow */
};

static void end(struct download *download)
{
    backup_end(download->backup);
    memory_free(download);
}

/* ---- what becomes of the backup ---- */

static void ready(void *context, uint64_t size, const struct backup_head *head)
{
    struct download *download = context;
    char headers[512];
    snprintf(headers, sizeof headers,
             "content-type: application/octet-stream\r\n"
             "content-disposition: attachment; filename=\"backup-%" PRIu64 ".moonclave\"\r\n"
             "moonclave-index: %" PRIu64 "\r\n"
             "moonclave-checksum: %016" PRIx64 "\r\n",
             head->meta.index, head->meta.index, head->checksum);
    download->begun = true;
    web_begin_download(download->connection, headers, size);
}

static void piece(void *context, struct slice bytes, bool last)
{
    struct download *download = context;
    struct web_connection *connection = download->connection;
    if (last) end(download);
    web_give(connection, bytes, last);
}

/* In the middle only the end of the connection tells: fewer bytes than were announced. */
static void failed(void *context, const struct reply *reply)
{
    struct download *download = context;
    struct web_connection *connection = download->connection;
    bool begun = download->begun;
    web_hold(connection, NULL, NULL);
    end(download);
    if (begun)
        web_break(connection);
    else
        web_reply(connection, reply);
}

/* ---- what becomes of the connection ---- */

static void wanted(void *context)
{
    struct download *download = context;
    if (backup_is_ready(download->backup)) backup_next(download->backup);
}

static void gone(void *context)
{
    end(context);
}

void download_begin(struct node *node, struct web_connection *connection, const struct call *call)
{
    static const struct backup_events backup_events = {ready, piece, failed};
    static const struct web_download_events download_events = {wanted, gone};
    struct download *download = memory_zero(1, sizeof *download);
    download->connection = connection;
    download->backup = backup_begin(node, call->consistency, call->timeout_ms, &backup_events, download);
    if (download->backup == NULL) {
        memory_free(download);
        web_fail(connection, ERROR_OVERLOADED, error_http_status(ERROR_OVERLOADED),
                 "two backups of this node are being made already: try again later");
        return;
    }
    web_hold(connection, &download_events, download);
}
