/*
 * JSON text to msgpack values and back, on jansson: integers stay integers (64 bits), depth is
 * limited, errors carry line and column. Bytes that are not UTF-8 appear as {"$bytes": base64} both
 * ways, and a map's key as "$bytes:base64" (out only); null is absent: in a map its key is left
 * out, at the top it is nil, in an array it is nil.
 */
#ifndef MOONCLAVE_HTTP_JSON_H
#define MOONCLAVE_HTTP_JSON_H

#include "base/buffer.h"
#include "base/error.h"

/* Arrays and objects in one text: a byte of text can cost a hundred of memory, so hostile bodies
 * are stopped here. */
#define JSON_CONTAINERS_MAX 262144

/* Appends one canonical msgpack value. BAD_REQUEST "line 3 column 7: ..." (also integers beyond 64
 * bits, NUL in keys, a key given twice, base64 that is none); `out` is then as before. */
enum error_code json_to_value(struct slice json, struct buffer *out, struct error *error);
/* Appends compact JSON. Map keys that are integers become strings. BAD_REQUEST: bytes that are no
 * value; `out` is then as before. NaN and infinities become null. */
enum error_code json_from_value(struct slice value, struct buffer *out, struct error *error);

#endif
