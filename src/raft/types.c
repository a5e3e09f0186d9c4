/* The few functions of types.h: ids are plain values, payloads are counted. */
#include "raft/types.h"

#include <assert.h>
#include <string.h>

bool raft_id_equal(const struct raft_id *a, const struct raft_id *b)
{
    return strcmp(a->text, b->text) == 0;
}

/* The bytes behind the text are zero too, so that ids may be hashed and compared as memory. */
struct raft_id raft_id_of(const char *text)
{
    assert(*text == 0 || id_valid(text));
    struct raft_id id = {{0}};
    memcpy(id.text, text, strlen(text));
    return id;
}

bool raft_id_none(const struct raft_id *id)
{
    return id->text[0] == 0;
}

void raft_entry_take(const struct raft_entry *entry)
{
    blob_take(entry->payload.blob);
}

void raft_entry_drop(const struct raft_entry *entry)
{
    blob_drop(entry->payload.blob);
}
