/* The one shape of an error's body: every client in every language finds the same two keys. */
#include "base/request.h"

#include "base/mp.h"

void reply_write_error(struct buffer *out, enum error_code code, const char *message)
{
    mp_write_map(out, 2);
    mp_write_text(out, "code");
    mp_write_text(out, error_name(code));
    mp_write_text(out, "message");
    mp_write_text(out, message ? message : error_help(code));
}
