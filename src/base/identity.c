/* What may be called a node: identity.h. */
#include "base/identity.h"

static bool id_byte(unsigned char byte);

bool id_valid(const char *id)
{
    size_t size = 0;
    for (; id[size]; size++) {
        if (size == ID_MAX || !id_byte((unsigned char)id[size])) return false;
    }
    return size > 0;
}

/* By hand and not by isalnum: an id must mean the same under every locale. */
static bool id_byte(unsigned char byte)
{
    return (byte >= 'a' && byte <= 'z') || (byte >= 'A' && byte <= 'Z') ||
           (byte >= '0' && byte <= '9') || byte == '-' || byte == '_' || byte == '.';
}
