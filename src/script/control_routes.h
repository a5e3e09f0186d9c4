/*
 * The routes of an api.lua: "GET /kv/:key", "PUT /files/:owner/:name". Where several match, the
 * earlier literal segment wins, then the parameter, then the rest: the order in which they were
 * written never matters. A last segment that begins with an asterisk stands for all that is left of
 * the path.
 */
#ifndef MOONCLAVE_SCRIPT_CONTROL_ROUTES_H
#define MOONCLAVE_SCRIPT_CONTROL_ROUTES_H

#include "base/buffer.h"
#include "base/error.h"

#define ROUTE_SEGMENTS_MAX 16

enum segment_kind { SEGMENT_LITERAL, SEGMENT_PARAMETER, SEGMENT_REST };

struct segment {
    enum segment_kind kind;
    struct slice text; /* the literal, or the parameter's name; within the route's pattern */
};

struct route {
    char *pattern; /* "GET /kv/:key", owned */
    struct slice method;
    struct segment segments[ROUTE_SEGMENTS_MAX];
    size_t segment_count;
    int handler; /* the owner's number for it */
};

struct routes {
    struct route *list;
    size_t count, capacity;
};

void routes_deinit(struct routes *routes);
/* SCRIPT with the reason: malformed. Copies the pattern. */
enum error_code routes_add(struct routes *routes, struct slice pattern, int handler,
                           struct error *error);
/* Puts them in the order of matching. SCRIPT: two routes match the same requests. */
enum error_code routes_sort(struct routes *routes, struct error *error);

/* The route for a request, null if none; HEAD is served by GET where it has no route of its own.
 * params[i] is what the i-th parameter (or rest) of the route stands for, not decoded. *path_known:
 * some route has this path. */
const struct route *routes_match(const struct routes *routes, struct slice method,
                                 struct slice path, struct slice params[ROUTE_SEGMENTS_MAX],
                                 bool *path_known);

#endif
