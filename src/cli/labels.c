/* See labels.h. */
#include "cli/labels.h"

#include "base/mp.h"

#include <string.h>

#define LABELS_MAX 16

enum error_code labels_write(const char *command, const char *text, struct buffer *out, struct error *error)
{
    struct buffer pairs = {0};
    uint32_t count = 0;
    for (const char *at = text; at != NULL && *at != 0;) {
        size_t size = strcspn(at, ",");
        const char *equals = memchr(at, '=', size);
        if (equals == NULL || equals == at || ++count > LABELS_MAX) {
            buffer_deinit(&pairs);
            return error_set(error, ERROR_USAGE,
                             "%s: --label %.64s: labels are NAME=TEXT, at most %d, with commas between them", command,
                             text, LABELS_MAX);
        }
        mp_write_string(&pairs, slice_of(at, (size_t)(equals - at)));
        mp_write_string(&pairs, slice_of(equals + 1, size - (size_t)(equals + 1 - at)));
        at += size + (at[size] == ',');
    }
    mp_write_map(out, count);
    buffer_append_slice(out, buffer_slice(&pairs));
    buffer_deinit(&pairs);
    return ERROR_OK;
}
