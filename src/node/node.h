/*
 * One node: the ports of the host on libuv, and everything assembled around one loop.
 */
#ifndef MOONCLAVE_NODE_NODE_H
#define MOONCLAVE_NODE_NODE_H

#include "base/buffer.h"
#include "base/error.h"
#include "base/settings.h"

#include <stdbool.h>
#include <stddef.h>

/* How a process of Moonclave ends; `moonclave help` lists them. */
enum exit_status {
    EXIT_DONE = 0,
    EXIT_FAILED = 1,    /* it could not be done; the line before says why */
    EXIT_USAGE = 2,     /* the command line is not valid */
    EXIT_INTERNAL = 70, /* stored data is damaged, or an invariant does not hold: the node stopped
                           to keep its promises */
    EXIT_IO = 74,       /* the disk failed: the node stopped at once */
};

enum exit_status exit_status_of(enum error_code code);

struct node_options {
    const char *id;
    const char *address;   /* host:port to listen on, for nodes and RPC clients */
    const char *advertise; /* host:port that others are told */
    const char *const
        *peers; /* host:port of every first member, this one included; null: none given */
    size_t peer_count;
    const char *const *join; /* host:port of members, for a blank node that is to join; null: none */
    size_t join_count;
    struct slice labels; /* with join: one msgpack map; empty: none */
    const char *http;    /* host:port; null: no HTTP */
    const char *data;    /* the data folder */
    const char *app;     /* a folder or a .lua file; null: none here */
    struct slice config; /* the app's: one msgpack value */
    struct settings settings;
    struct setting_sources sources; /* where each comes from */
    bool stop_with_stdin; /* the end of standard input is a request to stop */
};

/* Runs until it is told to stop or has to. Everything it has to say is in the log. */
enum exit_status node_run(const struct node_options *options);

#endif
