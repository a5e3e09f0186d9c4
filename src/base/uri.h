/* The two encodings that URLs bring: %XX escapes (RFC 3986, section 2.1) and query strings (the
 * WHATWG form encoding). */
#ifndef MOONCLAVE_BASE_URI_H
#define MOONCLAVE_BASE_URI_H

#include "base/buffer.h"
#include "base/error.h"

/* Appends `text` with every %XX decoded, and '+' as a space where `plus`. BAD_REQUEST on a broken
 * escape; `out` is then as before. */
enum error_code uri_percent_decode(struct slice text, bool plus, struct buffer *out);

/* Appends a query string ("a=1&b=2", without the question mark) as a canonical msgpack map of
 * strings: the last of equal names wins, a name without '=' has the value "", empty pieces are
 * skipped. BAD_REQUEST on a broken escape or more than URI_QUERY_MAX names; `out` is then as
 * before. */
#define URI_QUERY_MAX 128
enum error_code uri_query_to_value(struct slice query, struct buffer *out);

#endif
