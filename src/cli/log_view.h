/* One entry of the log for people, or as a msgpack map for JSON. */
#ifndef MOONCLAVE_CLI_LOG_VIEW_H
#define MOONCLAVE_CLI_LOG_VIEW_H

#include "raft/types.h"

/* Appends what an entry is about, without index, term, type and time: a command's name and arguments as Lua, the
 * servers of a configuration, INIT's settings and the files of its app. `all`: nothing is cut. */
void log_view_text(const struct raft_entry *entry, bool all, struct buffer *out);
/* Appends one map with everything; `all`: the app's files with their contents, else their sizes. */
void log_view_map(const struct raft_entry *entry, bool all, struct buffer *out);

#endif
