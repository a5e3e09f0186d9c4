/* The URL decoding of base/uri.h under its HTTP names. */
#include "http/http.h"

#include "base/uri.h"

enum error_code http_percent_decode(struct slice text, bool plus, struct buffer *out)
{
    return uri_percent_decode(text, plus, out);
}

enum error_code http_query_to_value(struct slice query, struct buffer *out)
{
    return uri_query_to_value(query, out);
}
