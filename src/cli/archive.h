/*
 * A backup looked at without a cluster: fed with its bytes, it checks all of them (the checksums of head,
 * blocks and trailer, that the trees are canonical, their hashes, that the app and the members decode) and
 * knows what is in it. The state is built in memory once.
 */
#ifndef MOONCLAVE_CLI_ARCHIVE_H
#define MOONCLAVE_CLI_ARCHIVE_H

#include "host/system.h"
#include "raft/configuration.h"
#include "state/state.h"
#include "store/backup.h"

enum archive_part { ARCHIVE_SYSTEM, ARCHIVE_SESSIONS, ARCHIVE_STATE, ARCHIVE_ALL };

struct archive {
    struct backup_reader reader;
    enum archive_part part;
    struct state_restore *tree; /* of the part being read */
    uint64_t begun;             /* where in the data that begins */
    struct system system;
    struct system_restored restored;
    struct state *state;
    struct raft_configuration members; /* as of its index */
    uint64_t items;                    /* values in the state that are no tables */
    bool whole;                        /* all of it is there, and right */
};

void archive_init(struct archive *archive);
void archive_deinit(struct archive *archive);

/* Bytes in pieces of any size. CORRUPT: damaged, with where; VERSION: a newer program wrote it. */
enum error_code archive_feed(struct archive *archive, struct slice bytes, struct error *error);
enum error_code archive_end(struct archive *archive, struct error *error); /* no more bytes: is that all? */

/* All of a file: "-" is stdin. On a terminal it says how far that is. The text names the file. NOT_FOUND, IO
 * where it cannot be read. */
enum error_code archive_read_file(struct archive *archive, const char *path, struct error *error);

/* A node's, as it is now (archive_fetch.c). `keep` is given the bytes, each piece once it has been checked; null:
 * nobody wants them. The errors are the node's, the connection's (cli/client.h), CORRUPT, and what `keep` says. */
struct rpc_client;
struct archive_source {
    struct rpc_client *client;
    const char *address;     /* in messages */
    const char *consistency; /* linearizable, stale */
    uint64_t timeout_s;      /* until the node begins */
    const char *what;        /* at the line that says how far it is */
    enum error_code (*keep)(void *context, struct slice bytes, struct error *error);
    void *context;
};
enum error_code archive_fetch(struct archive *archive, const struct archive_source *source, struct error *error);

/* `--verify`: reads it and prints what is in it, or what is wrong. Returns the exit code. */
int archive_verify(const char *path, bool json);

/* What is in a whole one, as lines for people or as one JSON object on stdout. */
void archive_print(const struct archive *archive, const char *path, bool json);

#endif
