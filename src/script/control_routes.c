/*
 * Matching by trying one route after the other, the most literal first: apps have a dozen, and a
 * dozen comparisons cost less than the handler's first table. See control_routes.h.
 */
#include "script/control_routes.h"

#include "base/memory.h"
#include "base/uri.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

static const char *parse(struct route *route);
static int compare_routes(const void *a, const void *b);
static int compare_paths(const struct route *left, const struct route *right);
static bool path_matches(const struct route *route, struct slice path, struct slice *params);
static bool is_method(const struct route *route, const char *method);

void routes_deinit(struct routes *routes)
{
    for (size_t i = 0; i < routes->count; i++) memory_free(routes->list[i].pattern);
    memory_free(routes->list);
    *routes = (struct routes){0};
}

enum error_code routes_add(struct routes *routes, struct slice pattern, int handler,
                           struct error *error)
{
    if (memchr(pattern.data, '\0', pattern.size))
        return error_set(error, ERROR_SCRIPT, "a route holds a zero byte");
    if (routes->count == routes->capacity) {
        routes->capacity = routes->capacity ? routes->capacity * 2 : 16;
        routes->list = memory_resize(routes->list, routes->capacity, sizeof *routes->list);
    }
    struct route *route = &routes->list[routes->count++];
    *route = (struct route){.pattern = memory_zero(pattern.size + 1, 1), .handler = handler};
    memcpy(route->pattern, pattern.data, pattern.size);
    const char *wrong = parse(route);
    if (!wrong) return ERROR_OK;
    return error_set(error, ERROR_SCRIPT, "the route \"%s\" is malformed: %s", route->pattern,
                     wrong);
}

enum error_code routes_sort(struct routes *routes, struct error *error)
{
    if (routes->count > 1) qsort(routes->list, routes->count, sizeof *routes->list, compare_routes);
    for (size_t i = 1; i < routes->count; i++) {
        const struct route *one = &routes->list[i - 1], *other = &routes->list[i];
        if (slice_equal(one->method, other->method) && compare_paths(one, other) == 0) {
            return error_set(error, ERROR_SCRIPT,
                             "the routes \"%s\" and \"%s\" match the same requests", one->pattern,
                             other->pattern);
        }
    }
    return ERROR_OK;
}

const struct route *routes_match(const struct routes *routes, struct slice method,
                                 struct slice path, struct slice params[ROUTE_SEGMENTS_MAX],
                                 bool *path_known)
{
    bool head = slice_equal(method, slice_text("HEAD"));
    const struct route *get = NULL;
    *path_known = false;
    for (size_t i = 0; i < routes->count; i++) {
        const struct route *route = &routes->list[i];
        if (!path_matches(route, path, params)) continue;
        *path_known = true;
        if (slice_equal(route->method, method)) return route;
        if (head && !get && is_method(route, "GET")) get = route;
    }
    if (get) path_matches(get, path, params);
    return get;
}

/* ---- patterns ---- */

static const char *parse_segment(struct route *route, const char *start, const char *end);
static bool ends_in_rest(const struct route *route);

/* Null, or what is wrong. */
static const char *parse(struct route *route)
{
    const char *at = route->pattern;
    while (*at >= 'A' && *at <= 'Z') at++;
    route->method = slice_of(route->pattern, (size_t)(at - route->pattern));
    if (route->method.size == 0 || *at != ' ')
        return "it begins with a method in capitals and a space: \"GET /path\"";
    while (*at == ' ') at++;
    if (*at != '/') return "its path begins with \"/\"";
    while (*at == '/') {
        const char *start = ++at;
        while (*at && *at != '/') at++;
        const char *wrong = parse_segment(route, start, at);
        if (wrong) return wrong;
    }
    return NULL;
}

static const char *parse_segment(struct route *route, const char *start, const char *end)
{
    if (route->segment_count == ROUTE_SEGMENTS_MAX) return "it has more than 16 segments";
    if (ends_in_rest(route)) return "nothing can follow \"*\"";
    struct segment *segment = &route->segments[route->segment_count];
    bool named = *start == ':' || *start == '*';
    segment->kind = *start == ':'   ? SEGMENT_PARAMETER
                    : *start == '*' ? SEGMENT_REST
                                    : SEGMENT_LITERAL;
    segment->text = slice_of(start + named, (size_t)(end - start) - named);
    for (const char *at = start + named; at < end; at++) {
        bool letter = isalpha((unsigned char)*at) || *at == '_' ||
                      (isdigit((unsigned char)*at) && at > start + 1);
        if (named && !letter) return "a parameter's name is made of letters, digits and \"_\"";
        if (!named && strchr(" ?#%", *at))
            return "its path holds none of \"?#%\" and no space; it is compared decoded";
    }
    if (named && segment->text.size == 0) return "a parameter has a name: \":key\", \"*rest\"";
    for (size_t i = 0; named && i < route->segment_count; i++) {
        const struct segment *other = &route->segments[i];
        if (other->kind != SEGMENT_LITERAL && slice_equal(other->text, segment->text)) {
            return "two parameters have the same name";
        }
    }
    route->segment_count++;
    return NULL;
}

static bool ends_in_rest(const struct route *route)
{
    return route->segment_count > 0 &&
           route->segments[route->segment_count - 1].kind == SEGMENT_REST;
}

/* ---- the order ---- */

static int compare_routes(const void *a, const void *b)
{
    const struct route *left = a, *right = b;
    int order = compare_paths(left, right);
    if (order == 0) order = slice_compare(left->method, right->method);
    return order ? order : strcmp(left->pattern, right->pattern);
}

/* 0: they match the same paths, whatever the parameters are called. */
static int compare_paths(const struct route *left, const struct route *right)
{
    for (size_t i = 0; i < left->segment_count && i < right->segment_count; i++) {
        const struct segment *one = &left->segments[i], *other = &right->segments[i];
        if (one->kind != other->kind) return one->kind < other->kind ? -1 : 1;
        int order = one->kind == SEGMENT_LITERAL ? slice_compare(one->text, other->text) : 0;
        if (order) return order;
    }
    return (left->segment_count > right->segment_count) -
           (left->segment_count < right->segment_count);
}

/* ---- matching ---- */

static bool literal_matches(struct slice literal, struct slice piece);

static bool path_matches(const struct route *route, struct slice path, struct slice *params)
{
    const uint8_t *at = path.data, *end = at + path.size;
    for (size_t i = 0; i < route->segment_count; i++) {
        const struct segment *segment = &route->segments[i];
        if (at == end || *at != '/') return false;
        at++;
        if (segment->kind == SEGMENT_REST) {
            *params = slice_of(at, (size_t)(end - at));
            return true;
        }
        const uint8_t *stop = memchr(at, '/', (size_t)(end - at));
        struct slice piece = slice_of(at, (size_t)((stop ? stop : end) - at));
        if (segment->kind == SEGMENT_LITERAL && !literal_matches(segment->text, piece))
            return false;
        if (segment->kind == SEGMENT_PARAMETER) {
            if (piece.size == 0) return false;
            *params++ = piece;
        }
        at = piece.data + piece.size;
    }
    return at == end;
}

/* "/%6bv" is "/kv": RFC 3986, section 6.2.2.2. */
static bool literal_matches(struct slice literal, struct slice piece)
{
    if (slice_equal(literal, piece)) return true;
    if (piece.size == 0 || !memchr(piece.data, '%', piece.size)) return false;
    struct buffer decoded = {0};
    bool matches = uri_percent_decode(piece, false, &decoded) == ERROR_OK &&
                   slice_equal(literal, buffer_slice(&decoded));
    buffer_deinit(&decoded);
    return matches;
}

static bool is_method(const struct route *route, const char *method)
{
    return slice_equal(route->method, slice_text(method));
}
