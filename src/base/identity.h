/*
 * Who a node is, and what two nodes say to each other first.
 *
 * An incarnation is drawn at random when a data folder is first used. A known id that comes back with another
 * incarnation has lost its disk, and with it what it promised.
 */
#ifndef MOONCLAVE_BASE_IDENTITY_H
#define MOONCLAVE_BASE_IDENTITY_H

#include "base/buffer.h"

#include <stdbool.h>
#include <stdint.h>

#define ID_MAX 64        /* an id is 1 to 64 of letters, digits, - _ . */
#define ADDRESS_MAX 271  /* host:port, brackets around an IPv6 host */
#define FORMAT_LEVEL 1   /* the format level this program writes */
#define PROTOCOL_MIN 1   /* the node protocols this program speaks */
#define PROTOCOL_MAX 1

bool id_valid(const char *id);

struct identity {
    char id[ID_MAX + 1];
    uint64_t incarnation;  /* never 0 */
    uint64_t cluster;      /* hash of the first configuration; 0 while blank */
};

/* The first thing said on every connection between nodes, both ways. Slices are borrowed for the call. */
struct hello {
    struct identity identity;
    char address[ADDRESS_MAX + 1];   /* advertised */
    uint32_t protocol_min, protocol_max;
    uint32_t format_level;
    char lua_release[16];            /* "5.4.4": another minor is refused, another patch is a warning */
    uint64_t peers_hash;             /* hash of the sorted list of addresses it was started with; 0: none given */
    bool joining;                    /* blank, and wants to become a member of the other's cluster */
    uint64_t member_until;           /* the newest configuration in its log that it finds itself in, by its index + 1;
                                        0: in none */
    struct slice configuration;      /* at index 0, encoded (raft/configuration.h); empty while blank */
};

#endif
