/*
 * `moonclave backup FILE`: a node's state as one file, taken while it goes on, and looked at while it comes
 * in. It is FILE.partial until all of it is there, right, and durable; then it gets its name.
 */
#include "cli/archive.h"
#include "cli/cli.h"
#include "cli/client.h"
#include "cli/progress.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define CONNECT_MS 2000

struct backup_options {
    const char *address, *consistency;
    uint64_t timeout_s;
    bool json, verify;
};

/* One being made. */
struct copy {
    const char *path;
    bool standard; /* to stdout */
    char partial[4096];
    int file; /* -1: none is open */
    struct rpc_client *client;
    struct archive archive;
};

static int backup_run(int argc, char **argv);
static enum error_code make(struct copy *copy, const struct backup_options *options, struct error *error);
static enum error_code open_file(struct copy *copy, struct error *error);
static enum error_code write_all(void *context, struct slice bytes, struct error *error);
static enum error_code keep(struct copy *copy, struct error *error);
static enum error_code cannot(const struct copy *copy, const char *path, struct error *error);
static void give_up(struct copy *copy);
static void interrupt(int signal_number);
static void say(const struct copy *copy, bool json);

static const char *volatile half; /* the file that is not whole yet, for a signal to remove */

#define FIELD(name) offsetof(struct backup_options, name)
static const struct flag rows[] = {
    {"addr", FLAG_TEXT, FIELD(address), 0, 0, "HOST:PORT", "the node's address (127.0.0.1:5001)"},
    {"consistency", FLAG_TEXT, FIELD(consistency), 0, 0, "WORD",
     "linearizable: all that was acknowledged before is in it (that); stale: what the node has, whoever "
     "leads"},
    {"json", FLAG_BOOLEAN, FIELD(json), 0, 0, NULL, "what is in it as JSON"},
    {"timeout", FLAG_INTEGER, FIELD(timeout_s), 1, 86400, "SECONDS",
     "how long the node may take to begin (60)"},
    {"verify", FLAG_BOOLEAN, FIELD(verify), 0, 0, NULL, "looks at a FILE that is there, asks no node"},
};
static const char *const arguments[] = {"FILE"};
static const struct flags flags = {.command = "backup",
                                   .rows = rows,
                                   .count = sizeof rows / sizeof *rows,
                                   .arguments = arguments,
                                   .argument_count = 1};

const struct cli_command backup_command = {
    .name = "backup",
    .summary = "writes the cluster's state to a file",
    .usage = "FILE [--addr HOST:PORT] [flags]",
    .help = "Of any node, while it goes on serving: the state, the app, config and settings, the sessions, "
            "as of one\n"
            "index. All of it is checked as it comes in. FILE gets its name once it is whole and durable "
            "(until then it\n"
            "is FILE.partial); `-` is stdout. `moonclave restore` brings it back.\n"
            "\n"
            "  moonclave backup kv.backup --addr 127.0.0.1:5002\n"
            "  moonclave backup - | ssh store 'cat > kv.backup'\n"
            "  moonclave backup --verify kv.backup\n"
            "\n"
            "Exit code 70: damaged.\n",
    .flags = &flags,
    .run = backup_run,
};

static int backup_run(int argc, char **argv)
{
    struct backup_options options = {
        .address = "127.0.0.1:5001", .consistency = "linearizable", .timeout_s = 60};
    const char *path = NULL;
    struct error error;
    if (flags_parse(&flags, argc, argv, &options, NULL, &path, &error) != ERROR_OK)
        return cli_fail_error(&error);
    if (path == NULL) return cli_fail(EXIT_USAGE, "backup: FILE is missing: %s backup FILE", cli_program());
    if (options.verify) return archive_verify(path, options.json);
    if (strcmp(options.consistency, "linearizable") != 0 && strcmp(options.consistency, "stale") != 0)
        return cli_fail(EXIT_USAGE, "backup: --consistency %.64s: it is linearizable or stale", options.consistency);
    struct stat there;
    if (stat(path, &there) == 0 && S_ISDIR(there.st_mode))
        return cli_fail(EXIT_USAGE, "backup: %.300s is a folder: name a file, as in %.300s/kv.backup", path, path);
    struct copy copy = {.path = path, .standard = strcmp(path, "-") == 0, .file = -1};
    if (copy.standard && isatty(STDOUT_FILENO))
        return cli_fail(EXIT_USAGE, "backup: stdout is a terminal: name a FILE, or send it somewhere");
    signal(SIGPIPE, SIG_IGN);
    signal(SIGXFSZ, SIG_IGN); /* a limit of files' sizes is told as an error, as a full disk is */
    signal(SIGINT, interrupt);
    signal(SIGTERM, interrupt);
    archive_init(&copy.archive);
    enum error_code code = make(&copy, &options, &error);
    if (code == ERROR_OK) {
        say(&copy, options.json);
    } else {
        give_up(&copy);
    }
    rpc_client_close(copy.client);
    archive_deinit(&copy.archive);
    return code == ERROR_OK ? EXIT_DONE : cli_fail(exit_status_of(code), "backup: %s", error.text);
}

static enum error_code make(struct copy *copy, const struct backup_options *options, struct error *error)
{
    enum error_code code = rpc_client_open(&copy->client, options->address, CONNECT_MS, error);
    if (code == ERROR_OK)
        code = open_file(copy, error); /* before anything is asked for: it may not be possible */
    const struct archive_source source = {.client = copy->client,
                                          .address = options->address,
                                          .consistency = options->consistency,
                                          .timeout_s = options->timeout_s,
                                          .what = "backup",
                                          .keep = write_all,
                                          .context = copy};
    if (code == ERROR_OK) code = archive_fetch(&copy->archive, &source, error);
    if (code == ERROR_OK) code = keep(copy, error);
    return code;
}

/* ---- the file ---- */

static enum error_code open_file(struct copy *copy, struct error *error)
{
    if (copy->standard) {
        copy->file = STDOUT_FILENO;
        return ERROR_OK;
    }
    int size = snprintf(copy->partial, sizeof copy->partial, "%s.partial", copy->path);
    if (size >= (int)sizeof copy->partial) {
        copy->partial[0] = 0;
        return error_set(error, ERROR_USAGE, "the name of the file is too long");
    }
    copy->file = open(copy->partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (copy->file >= 0) half = copy->partial;
    if (copy->file >= 0) return ERROR_OK;
    enum error_code code = cannot(copy, copy->partial, error);
    copy->partial[0] = 0;
    return code;
}

static enum error_code write_all(void *context, struct slice bytes, struct error *error)
{
    struct copy *copy = context;
    while (bytes.size > 0) {
        ssize_t size = write(copy->file, bytes.data, bytes.size);
        if (size < 0 && errno != EINTR) return cannot(copy, copy->standard ? "stdout" : copy->partial, error);
        if (size > 0) bytes = slice_of(bytes.data + size, bytes.size - (size_t)size);
    }
    return ERROR_OK;
}

/* Durable first, then named, and the name durable too. */
static enum error_code keep(struct copy *copy, struct error *error)
{
    if (copy->standard) return ERROR_OK;
    char folder[4096];
    int status = fsync(copy->file);
    if (close(copy->file) != 0) status = -1;
    copy->file = -1;
    if (status != 0) return cannot(copy, copy->partial, error);
    half = NULL;
    if (rename(copy->partial, copy->path) != 0) return cannot(copy, copy->path, error);
    copy->partial[0] = 0;
    snprintf(folder, sizeof folder, "%s", copy->path);
    int handle = open(dirname(folder), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (handle < 0) return ERROR_OK; /* one that may be written and not read */
    status = fsync(handle);
    int reason = errno;
    close(handle);
    errno = reason;
    return status == 0 || reason == EINVAL ? ERROR_OK : cannot(copy, copy->path, error);
}

static enum error_code cannot(const struct copy *copy, const char *path, struct error *error)
{
    bool full = errno == ENOSPC || errno == EDQUOT || errno == EFBIG;
    (void)copy;
    return error_set(error, full ? ERROR_DISK_FULL : ERROR_IO, "%.300s cannot be written: %s%s", path,
                     strerror(errno),
                     full ? ": no half of it is left there; make room, or name another place" : "");
}

/* As it would have ended anyway, but for the half file. */
static void interrupt(int signal_number)
{
    const char *path = half;
    if (path != NULL) unlink(path);
    signal(signal_number, SIG_DFL);
    raise(signal_number);
}

static void give_up(struct copy *copy)
{
    half = NULL;
    if (copy->file >= 0 && !copy->standard) close(copy->file);
    if (copy->partial[0] != 0) unlink(copy->partial);
}

/* What is in it goes to stderr where stdout is the file. */
static void say(const struct copy *copy, bool json)
{
    char bytes[16];
    const struct raft_snapshot_meta *meta = &copy->archive.reader.head.meta;
    if (json && !copy->standard) {
        archive_print(&copy->archive, copy->path, true);
        return;
    }
    fprintf(copy->standard ? stderr : stdout, "%s: index %" PRIu64 ", %" PRIu64 " items, %s\n",
            copy->standard ? "backup" : copy->path, meta->index, copy->archive.items,
            progress_bytes(copy->archive.reader.position, bytes));
}
