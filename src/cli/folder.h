/* Folders for commands that make some and remove them again. */
#ifndef MOONCLAVE_CLI_FOLDER_H
#define MOONCLAVE_CLI_FOLDER_H

#include "base/error.h"

/* Makes a fresh folder under $TMPDIR (or /tmp), named after `name`. The path is the caller's (memory_free). */
enum error_code folder_temporary(const char *name, char **path, struct error *error);
/* Makes it unless it is there; not what is above it. */
enum error_code folder_make(const char *path, struct error *error);
/* Removes it and all that is in it; links are not followed. What cannot be removed stays. */
void folder_remove(const char *path);

#endif
