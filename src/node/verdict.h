/*
 * Can the cluster lose a server? What one node knows of that (health.c), or what several have said, put together
 * (`moonclave health`): servers, problems, and the verdict that follows from them.
 */
#ifndef MOONCLAVE_NODE_VERDICT_H
#define MOONCLAVE_NODE_VERDICT_H

#include "base/buffer.h"
#include "base/identity.h"

#define VERDICT_SERVERS_MAX  128
#define VERDICT_PROBLEMS_MAX 64
#define VERDICT_TEXT_MAX     160

enum health {
    HEALTH_OK,          /* a minority of the voters may fail, as many as of this number ever may, and at least one */
    HEALTH_DEGRADED,    /* it serves, and something is to be looked at */
    HEALTH_UNAVAILABLE, /* no leader is known: nothing is written */
};

struct verdict_server {
    char id[ID_MAX + 1];
    char address[ADDRESS_MAX + 1];
    bool votes;
    bool good; /* it is there, keeps up, and can write: it counts towards a majority */
};

struct verdict_problem {
    char code[24];
    char id[ID_MAX + 1]; /* of the server; "": of the cluster */
    char text[VERDICT_TEXT_MAX];
    bool disables; /* that server does not count */
    bool notes;    /* worth knowing, and no reason to call the cluster degraded */
};

struct verdict {
    char id[ID_MAX + 1];     /* of the node that says so */
    char leader[ID_MAX + 1]; /* "": it knows none */
    char leader_address[ADDRESS_MAX + 1];
    char lua[16], version[32];
    uint64_t wall_ms, leaderless_ms;
    bool leads; /* it is the leader's: only the leader knows the others */
    struct verdict_server servers[VERDICT_SERVERS_MAX];
    size_t server_count;
    struct verdict_problem problems[VERDICT_PROBLEMS_MAX];
    size_t problem_count;

    /* What follows: verdict_judge. */
    enum health health;
    unsigned voters, voters_good;
    unsigned survives; /* how many more of the good voters may fail */
    char text[512];    /* one line */
};

struct verdict_server *verdict_server(struct verdict *verdict, const char *id); /* null: none */
/* Past the limit it is left out. `disables`: the server is good no more. */
void verdict_add_problem(struct verdict *verdict, const char *code, const char *id, bool disables, bool notes,
                         const char *format, ...) __attribute__((format(printf, 6, 7)));
void verdict_judge(struct verdict *verdict);
const char *health_name(enum health health); /* "healthy", "degraded", "unavailable" */

/* One msgpack map, and back: false where it is none. What is judged is written and not read. */
void verdict_write(const struct verdict *verdict, struct buffer *out);
bool verdict_read(struct slice value, struct verdict *verdict);

#endif
