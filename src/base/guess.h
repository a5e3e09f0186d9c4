/* How far a mistyped name is from the right one: for "did you mean ...?". */
#ifndef MOONCLAVE_BASE_GUESS_H
#define MOONCLAVE_BASE_GUESS_H

#include <stdbool.h>
#include <stddef.h>

#define GUESS_NAME_MAX 64 /* a longer name is not looked at */

/* Characters to change, to put in and to leave out, to make one of the other; `-` and `_` are alike. Both at most
 * GUESS_NAME_MAX long. */
size_t guess_distance(const char *a, const char *b);
/* Is `wrong` so near to `name` that it may be meant? *distance: for comparing with others; a beginning of the name is
 * as near as can be. */
bool guess_is_near(const char *wrong, const char *name, size_t *distance);

#endif
