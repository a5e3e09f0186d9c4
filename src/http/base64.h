/* Base64 as RFC 4648, section 4, has it: the standard alphabet, with padding, and nothing else. */
#ifndef MOONCLAVE_HTTP_BASE64_H
#define MOONCLAVE_HTTP_BASE64_H

#include "base/buffer.h"

void base64_encode(struct slice bytes, struct buffer *out); /* appends */
bool base64_decode(const char *text, size_t size,
                   struct buffer *out); /* appends; false, with nothing appended */

#endif
