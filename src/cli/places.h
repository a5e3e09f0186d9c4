/*
 * A cluster's members, asked in turn: for what may be sent again, to any of them, until one has answered.
 */
#ifndef MOONCLAVE_CLI_PLACES_H
#define MOONCLAVE_CLI_PLACES_H

#include "cli/client.h"
#include "raft/types.h"

#define PLACES_MAX        16
#define PLACES_CONNECT_MS 2000

struct places {
    struct rpc_client *client; /* null: nobody is connected */
    char list[PLACES_MAX][ADDRESS_MAX + 1];
    size_t count, at; /* at: who is asked, or is next */
};

void places_begin(struct places *places, const char *address); /* of the first, the only one so far */
void places_end(struct places *places);
void places_learn(struct places *places, struct slice members); /* as the RPC method `members` answers */

/* With one of them, if none is connected. UNAVAILABLE: nobody answers, with the reason of the last. */
enum error_code places_connect(struct places *places, struct error *error);
/* As rpc_client_call, with the one that is connected. Where another may know more (it is lost, too slow, or stops) the
 * next one is next. */
enum error_code places_call(struct places *places, const char *method, struct slice params, unsigned timeout_ms,
                            struct slice *result, struct error *error);

#endif
