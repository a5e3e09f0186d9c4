/* Labels as people type them: NAME=TEXT, with commas between them. */
#ifndef MOONCLAVE_CLI_LABELS_H
#define MOONCLAVE_CLI_LABELS_H

#include "base/buffer.h"
#include "base/error.h"

/* Appends one msgpack map; of a null or empty text an empty one. USAGE, naming `command` and its flag --label: it is
 * none of labels; nothing is appended then. */
enum error_code labels_write(const char *command, const char *text, struct buffer *out, struct error *error);

#endif
