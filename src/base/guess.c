/* See guess.h. */
#include "base/guess.h"

#include <string.h>

/* Levenshtein's, one row at a time. */
size_t guess_distance(const char *a, const char *b)
{
    size_t row[GUESS_NAME_MAX + 1], size = strlen(b);
    for (size_t j = 0; j <= size; j++) row[j] = j;
    for (size_t i = 1; a[i - 1] != 0; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= size; j++) {
            char left = a[i - 1] == '_' ? '-' : a[i - 1], right = b[j - 1] == '_' ? '-' : b[j - 1];
            size_t change = diagonal + (left != right);
            size_t insert = row[j - 1] + 1, drop = row[j] + 1;
            diagonal = row[j];
            row[j] = insert < drop ? insert : drop;
            if (change < row[j]) row[j] = change;
        }
    }
    return row[size];
}

bool guess_is_near(const char *wrong, const char *name, size_t *distance)
{
    size_t size = strlen(wrong);
    if (size == 0 || size > GUESS_NAME_MAX || strlen(name) > GUESS_NAME_MAX) return false;
    *distance = guess_distance(wrong, name);
    if (size >= 3 && strncmp(wrong, name, size) == 0) *distance = 1;
    size_t most = (size + 1) / 3 + 1;
    if (wrong[0] != name[0]) most = size < 6 ? 1 : size / 3; /* the first is seldom the one that is mistyped */
    return *distance <= most && *distance < size;
}
