/*
 * `moonclave restore FILE`: a backup into a cluster that runs, through its log (host/restore_log.c). All of
 * the file is checked before anybody is asked for anything. Then it goes out piece by piece; whatever is lost
 * on the way, a leader included, is sent again, to any member that answers: a piece that is there already
 * does no harm.
 */
#include "cli/archive.h"
#include "cli/cli.h"
#include "cli/places.h"
#include "cli/progress.h"
#include "cli/view.h"

#include "base/mp.h"
#include "raft/snapshot_meta.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define ATTEMPT_MS 10000 /* of one request: then it is sent again */
#define PAUSE_MS 200
#define PIECE_BYTES 131072 /* takes some milliseconds to apply; halved where nodes take less in one entry */
#define PIECE_LEAST 512

struct restore_options {
    const char *address;
    uint64_t timeout_s;
    bool json, verify, yes, abort;
};

struct job {
    const char *path;
    struct restore_options options;
    struct archive archive;
    struct places places;
    uint64_t id, nonce, index;
    uint64_t sent; /* bytes that are there */
    size_t piece_most;
    uint64_t heard_ms; /* when something was last answered well */
    unsigned attempts; /* of the request that is being made */
    struct error error;
};

static int restore_run(int argc, char **argv);
static enum error_code restore(struct job *job);
static enum error_code give_up_whatever(struct job *job);
static enum error_code look(struct job *job);
static enum error_code learn_places(struct job *job);
static bool agreed(struct job *job);
static void tell_what_is_replaced(struct job *job, struct slice status);
static enum error_code begin(struct job *job);
static enum error_code send_file(struct job *job);
static enum error_code send_data(struct job *job, struct slice data, uint64_t offset);
static enum error_code commit(struct job *job);
static void give_up(struct job *job);
static enum error_code ask(struct job *job, const struct buffer *body, const char *key, uint64_t *answer);
static enum error_code ask_once(struct job *job, const struct buffer *body, const char *key,
                                uint64_t *answer);
static bool passes(enum error_code code);
static void begin_body(struct buffer *body, const char *step, uint32_t count, uint64_t id);
static void say(const struct job *job);

static volatile sig_atomic_t interrupted;

#define FIELD(name) offsetof(struct restore_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "any node's address (127.0.0.1:5001)"},
    {"abort", FLAG_BOOLEAN, FIELD(abort), 0, 0, NULL,
     "gives up the restore that is under way, whoever began it; no FILE"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "the answer as JSON; needs --yes"},
    {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS",
     "gives up when nothing is answered for so long (60)"},
    {"verify", FLAG_BOOLEAN, FIELD(verify), 0, 0, NULL,
     "only looks at FILE and says what is in it, asks no node"},
    {"yes", FLAG_BOOLEAN, FIELD(yes), 0, 0, NULL, "does not ask whether that is meant"},
};
static const char *const arguments[] = {"FILE"};
static const struct flags flags = {.command = "restore",
                                   .rows = rows,
                                   .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments,
                                   .argument_count = 1};

const struct cli_command restore_command = {
    .name = "restore",
    .summary = "puts a backup in place of what a cluster holds",
    .usage = "FILE [--addr HOST:PORT] [--yes] [flags]",
    .help =
        "Into a cluster that runs, also one just begun, with whatever app: all replicas switch at one index. "
        "Of the\n"
        "backup come the state, the app with its config, and the idempotency keys; members, settings and "
        "the\n"
        "log's indexes stay the cluster's own. Sessions end: a command that is sent again in one is refused\n"
        "(session_expired), not done twice. Until the switch the cluster goes on as it was; whatever fails "
        "before it\n"
        "changes nothing. FILE is checked first. Says what will be replaced, and asks.\n"
        "\n"
        "  moonclave restore kv.backup --addr 127.0.0.1:5001\n"
        "  moonclave restore --verify kv.backup\n"
        "\n"
        "Exit code 70: FILE is damaged.\n",
    .flags = &flags,
    .run = restore_run,
};

static void interrupt(int signal_number)
{
    (void)signal_number;
    interrupted = 1;
}

static int restore_run(int argc, char **argv)
{
    struct job job = {.options = {.address = "127.0.0.1:5001", .timeout_s = 60}, .piece_most = PIECE_BYTES};
    struct restore_options *options = &job.options;
    if (flags_parse(&flags, argc, argv, options, NULL, &job.path, &job.error) != ERROR_OK)
        return cli_fail_error(&job.error);
    if (options->abort == (job.path != NULL))
        return options->abort ? cli_fail(EXIT_USAGE, "restore: --abort takes no FILE")
                              : cli_fail(EXIT_USAGE, "restore: FILE is missing: %s restore FILE", cli_program());
    if (options->verify && !options->abort) return archive_verify(job.path, options->json);
    if (job.path != NULL && strcmp(job.path, "-") == 0)
        return cli_fail(EXIT_USAGE, "restore: FILE is read twice, so it cannot be stdin");
    archive_init(&job.archive);
    job.heard_ms = cli_clock_ms();
    places_begin(&job.places, options->address);
    enum error_code code = options->abort ? give_up_whatever(&job) : restore(&job);
    places_end(&job.places);
    archive_deinit(&job.archive);
    return code == ERROR_OK ? EXIT_DONE : cli_fail(exit_status_of(code), "restore: %s", job.error.text);
}

static enum error_code restore(struct job *job)
{
    enum error_code code = archive_read_file(&job->archive, job->path, &job->error);
    const struct slice wrong = job->archive.restored.app_error;
    if (code == ERROR_OK && wrong.size > 0) {
        code = error_set(&job->error, ERROR_SCRIPT, "%s: the app in it does not load: %.*s", job->path,
                         (int)wrong.size, (const char *)wrong.data);
    }
    if (code == ERROR_OK) code = look(job);
    if (code != ERROR_OK) return code;
    struct sigaction action = {.sa_handler = interrupt}; /* from here on there is something to give up */
    sigaction(SIGINT, &action, NULL);
    sigaction(SIGTERM, &action, NULL);
    job->heard_ms = cli_clock_ms();
    if ((code = begin(job)) != ERROR_OK) return code;
    code = send_file(job);
    if (code == ERROR_OK) code = commit(job);
    if (code == ERROR_OK)
        say(job);
    else
        give_up(job);
    return code;
}

static enum error_code give_up_whatever(struct job *job)
{
    struct buffer body = {0};
    uint64_t id;
    begin_body(&body, "abort", 2, 0);
    enum error_code code = ask(job, &body, "id", &id);
    buffer_deinit(&body);
    if (code == ERROR_OK)
        printf("the restore that began at index %" PRIu64 " is given up: nothing has changed\n", id);
    return code;
}

/* ---- before anything is changed ---- */

/* Is somebody there, and is it meant? */
static enum error_code look(struct job *job)
{
    enum error_code code = places_connect(&job->places, &job->error);
    if (code == ERROR_OK) code = learn_places(job);
    if (code != ERROR_OK) return code;
    return agreed(job) ? ERROR_OK : job->error.code;
}

static enum error_code learn_places(struct job *job)
{
    struct slice members;
    enum error_code code =
        rpc_client_call(job->places.client, "members", slice_of(NULL, 0), PLACES_CONNECT_MS, &members,
                        &job->error);
    if (code == ERROR_OK) places_learn(&job->places, members);
    return code;
}

static bool agreed(struct job *job)
{
    struct slice status;
    if (rpc_client_call(job->places.client, "status", slice_of(NULL, 0), PLACES_CONNECT_MS, &status, &job->error) !=
        ERROR_OK)
        return false;
    if (!job->options.json) tell_what_is_replaced(job, status);
    if (job->options.yes) return true;
    if (!isatty(STDIN_FILENO) || job->options.json) {
        error_set(&job->error, ERROR_USAGE,
                  "not done: it replaces all that the cluster holds; --yes says that it is meant");
        return false;
    }
    if (cli_go_on()) return true;
    error_set(&job->error, ERROR_USAGE, "not done");
    return false;
}

/* What the cluster holds, by the last snapshot of the node that is asked: a backup of it is about as large. */
static void tell_what_is_replaced(struct job *job, struct slice status)
{
    char cluster[CELL_MAX], index[CELL_MAX], hash[CELL_MAX] = "", size[CELL_MAX] = "", bytes[16], mine[20];
    const struct backup_head *head = &job->archive.reader.head;
    struct slice part;
    view_text(status, "cluster", cluster, sizeof cluster);
    view_text(status, "applied_index", index, sizeof index);
    if (mp_map_get(status, "app", &part)) view_text(part, "hash", hash, sizeof hash);
    if (mp_map_get(status, "snapshot", &part)) view_text(part, "size", size, sizeof size);
    uint64_t held = strtoull(size, NULL, 10);
    bool no_app = strspn(hash, "0") == strlen(hash);
    fprintf(stderr, "replaces: cluster %s at index %s, app %s%s%s\n", cluster, index, no_app ? "none" : hash,
            held > 0 ? ", last snapshot " : "", held > 0 ? progress_bytes(held, bytes) : "");
    snprintf(mine, sizeof mine, "%016" PRIx64, job->archive.system.app_hash);
    fprintf(stderr, "with:     cluster %016" PRIx64 " at index %" PRIu64 ", app %s%s, %" PRIu64 " items, %s\n",
            head->cluster, head->meta.index, mine, strcmp(mine, hash) == 0 ? " (the same)" : "",
            job->archive.items, progress_bytes(head->meta.size, bytes));
}

/* ---- the steps ---- */

static enum error_code begin(struct job *job)
{
    struct buffer body = {0}, meta = {0};
    const struct backup_head *head = &job->archive.reader.head;
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    job->nonce = ((uint64_t)now.tv_sec << 30 ^ (uint64_t)now.tv_nsec ^ (uint64_t)getpid() << 40) >> 1;
    raft_snapshot_meta_encode(&head->meta, &meta);
    begin_body(&body, "begin", 4, job->nonce);
    mp_write_u64(&body, head->cluster);
    mp_write_string(&body, buffer_slice(&meta));
    enum error_code code = ask(job, &body, "id", &job->id);
    buffer_deinit(&meta);
    buffer_deinit(&body);
    return code;
}

/* The file once more: what has changed in it meanwhile is found as damage, at the latest by the cluster. */
static enum error_code send_file(struct job *job)
{
    struct backup_reader reader;
    struct progress progress;
    struct buffer bytes = {0};
    struct error why;
    FILE *file = fopen(job->path, "rb");
    if (file == NULL) return error_set(&job->error, ERROR_IO, "%.300s: %s", job->path, strerror(errno));
    backup_reader_init(&reader);
    progress_begin(&progress, "restore", job->archive.reader.head.meta.size);
    buffer_reserve(&bytes, PIECE_BYTES);
    enum error_code code = ERROR_OK;
    struct buffer gathered = {0};
    size_t size;
    while (code == ERROR_OK && (size = fread(bytes.data, 1, PIECE_BYTES, file)) > 0) {
        struct slice left = slice_of(bytes.data, size);
        while (code == ERROR_OK && left.size > 0) {
            struct slice data;
            size_t used;
            code = backup_reader_feed(&reader, left, &used, &data, &why);
            if (code != ERROR_OK)
                error_set(&job->error, code, "%.100s: damaged meanwhile: %.350s", job->path, why.text);
            left = slice_of(left.data + used, left.size - used);
            buffer_append_slice(&gathered, data);
            bool whole = reader.offset == reader.head.meta.size;
            if (code != ERROR_OK || gathered.size == 0 || (gathered.size < PIECE_BYTES && !whole)) continue;
            code = send_data(job, buffer_slice(&gathered), reader.offset - gathered.size);
            buffer_clear(&gathered);
            progress_at(&progress, job->sent);
        }
    }
    progress_end(&progress);
    buffer_deinit(&gathered);
    buffer_deinit(&bytes);
    backup_reader_deinit(&reader);
    fclose(file);
    return code;
}

/* In smaller pieces, for good, where a node takes no entry as large as that. */
static enum error_code send_data(struct job *job, struct slice data, uint64_t offset)
{
    enum error_code code = ERROR_OK;
    while (code == ERROR_OK && data.size > 0) {
        size_t size = data.size < job->piece_most ? data.size : job->piece_most;
        struct buffer body = {0};
        begin_body(&body, "chunk", 4, job->id);
        mp_write_u64(&body, offset);
        mp_write_string(&body, slice_of(data.data, size));
        code = ask(job, &body, "bytes", &job->sent);
        buffer_deinit(&body);
        if (code == ERROR_TOO_LARGE && job->piece_most > PIECE_LEAST) {
            job->piece_most /= 2;
            code = ERROR_OK;
            continue;
        }
        offset += size;
        data = slice_of(data.data + size, data.size - size);
    }
    return code;
}

static enum error_code commit(struct job *job)
{
    struct buffer body = {0};
    begin_body(&body, "commit", 2, job->id);
    enum error_code code = ask(job, &body, "index", &job->index);
    bool asked = job->attempts > 0;
    buffer_deinit(&body);
    if (asked && (code == ERROR_TIMEOUT || code == ERROR_UNAVAILABLE)) {
        char text[ERROR_TEXT_MAX];
        snprintf(text, sizeof text,
                 "%.300s; whether the cluster has switched is not known: look at `%s status`",
                 interrupted ? "interrupted" : job->error.text, cli_program());
        error_set(&job->error, code, "%s", text);
    }
    return code;
}

/* Once, and quietly: if this does not reach anybody either, the cluster gives it up by itself. */
static void give_up(struct job *job)
{
    struct buffer body = {0};
    struct error why = job->error;
    uint64_t id;
    begin_body(&body, "abort", 2, job->id);
    if (places_connect(&job->places, &job->error) == ERROR_OK) ask_once(job, &body, "id", &id);
    buffer_deinit(&body);
    job->error = why;
}

/* ---- one request ---- */

static void begin_body(struct buffer *body, const char *step, uint32_t count, uint64_t id)
{
    mp_write_array(body, 2);
    mp_write_array(body, count);
    mp_write_text(body, step);
    mp_write_u64(body, id);
}

/* Until it is answered for good: by whoever answers. An answer counts, whatever has interrupted it: what is done is. */
static enum error_code ask(struct job *job, const struct buffer *body, const char *key, uint64_t *answer)
{
    for (job->attempts = 0;;) {
        if (interrupted)
            return error_set(&job->error, ERROR_UNAVAILABLE, "interrupted: the cluster is as it was");
        enum error_code code = places_connect(&job->places, &job->error);
        if (code == ERROR_OK) {
            job->attempts++;
            code = ask_once(job, body, key, answer);
        }
        if (code == ERROR_OK) job->heard_ms = cli_clock_ms();
        if (!passes(code) || cli_clock_ms() - job->heard_ms > job->options.timeout_s * 1000) return code;
        nanosleep(&(struct timespec){.tv_nsec = PAUSE_MS * 1000000L}, NULL);
    }
}

static enum error_code ask_once(struct job *job, const struct buffer *body, const char *key, uint64_t *answer)
{
    struct buffer params = {0};
    struct slice result, value;
    struct error why;
    uint64_t most_ms = job->options.timeout_s * 1000;
    unsigned attempt_ms = most_ms < ATTEMPT_MS ? (unsigned)most_ms : ATTEMPT_MS;
    buffer_append_slice(&params, buffer_slice(body));
    mp_write_map(&params, 1);
    mp_write_text(&params, "timeout");
    mp_write_float(&params, (double)attempt_ms / 1000);
    enum error_code code = places_call(&job->places, "admin/restore", buffer_slice(&params),
                                       attempt_ms + PLACES_CONNECT_MS, &result, &why);
    buffer_deinit(&params);
    bool told = code == ERROR_OK && mp_map_get(result, key, &value) &&
                mp_read_u64(&(struct mp_reader){value.data, value.data + value.size}, answer);
    if (code == ERROR_OK && !told)
        code = error_set(&why, ERROR_BAD_REQUEST,
                         "the answer is not understood: is that node of another version?");
    if (code == ERROR_OK) return code;
    job->error = why;
    return code;
}

/* What another attempt may change. */
static bool passes(enum error_code code)
{
    switch (code) {
    case ERROR_TIMEOUT:
    case ERROR_UNAVAILABLE:
    case ERROR_SHUTTING_DOWN:
    case ERROR_NOT_LEADER:
    case ERROR_OVERLOADED:
    case ERROR_DISK_FULL:
        return true;
    default:
        return false;
    }
}

static void say(const struct job *job)
{
    const struct raft_snapshot_meta *meta = &job->archive.reader.head.meta;
    if (job->options.json) {
        printf("{\"from_index\":%" PRIu64 ",\"index\":%" PRIu64 ",\"items\":%" PRIu64 "}\n", meta->index,
               job->index, job->archive.items);
        return;
    }
    printf("restored at index %" PRIu64 ": %" PRIu64 " items, as of index %" PRIu64 " of the backup\n",
           job->index, job->archive.items, meta->index);
}
