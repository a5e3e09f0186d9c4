/* The table of events as functions. */
#include "base/event.h"

#include <string.h>

static const struct {
    const char *name, *help;
} rows[EVENT_TYPES] = {
#define X(name, text, help) [EVENT_##name] = {text, help},
    EVENT_TABLE(X)
#undef X
};

const char *event_name(enum event_type type)
{
    return rows[type].name;
}

const char *event_help(enum event_type type)
{
    return rows[type].help;
}

bool event_types_of(struct slice list, uint64_t *types, struct slice *wrong)
{
    *types = list.size == 0 ? UINT64_MAX : 0;
    while (list.size > 0) {
        const uint8_t *comma = memchr(list.data, ',', list.size);
        size_t size = comma != NULL ? (size_t)(comma - list.data) : list.size;
        size_t taken = comma != NULL ? size + 1 : size;
        int type = 0;
        *wrong = slice_of(list.data, size);
        while (type < EVENT_TYPES && !slice_equal(*wrong, slice_text(rows[type].name))) type++;
        if (type == EVENT_TYPES) return false;
        *types |= UINT64_C(1) << type;
        list = slice_of(list.data + taken, list.size - taken);
    }
    return true;
}
