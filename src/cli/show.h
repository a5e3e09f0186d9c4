/*
 * Values for people to read: one msgpack value as a Lua expression on one line, keys in order.
 */
#ifndef MOONCLAVE_CLI_SHOW_H
#define MOONCLAVE_CLI_SHOW_H

#include "base/buffer.h"

/* Appends it. Strings longer than `text_max` bytes are cut, with the count of what is left out; so are lists and tables
 * behind `items_max` elements; 0: no limit. Bytes that are no value are said to be that. */
void show_value(struct slice value, size_t text_max, size_t items_max, struct buffer *out);

/* May it stand in Lua as it is, as in `t.name`? */
bool show_is_name(struct slice text);

/* A replicated time in milliseconds as "2026-11-26 04:55:06.123" (UTC), into out[24]; returns out. */
const char *show_time(uint64_t time_ms, char *out);

#endif
