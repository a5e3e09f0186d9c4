/*
 * Two versions of an app beside each other: which files are new, gone or changed, by how many lines, and which commands
 * and queries come and go.
 *
 * Lines are counted by Myers's greedy algorithm ("An O(ND) Difference Algorithm and Its Variations", 1986, section 4),
 * of which only the distance is wanted: a shortest way from one text to the other of `distance` steps, each a line
 * taken or given, says both counts, for their difference is known. Texts that are far apart are not searched for long:
 * then all between the first and the last line that differ counts as replaced.
 */
#include "cli/deploy.h"

#include "base/hash.h"
#include "base/memory.h"
#include "base/mp.h"
#include "script/bundle.h"

#include <string.h>

#define DISTANCE_MOST 4000

struct lines {
    uint64_t *hashes;
    size_t count;
};

static struct lines split(struct slice text);
static size_t distance(const struct lines *a, const struct lines *b);
static bool has_name(struct slice names, struct slice name);

/* ---- files ---- */

bool deploy_files_next(struct deploy_files *at, struct slice before, struct slice after, struct deploy_file *file)
{
    for (;;) {
        struct slice old_path, old_text, new_path, new_text;
        bool old = bundle_each(before, at->before, &old_path, &old_text);
        bool new = bundle_each(after, at->after, &new_path, &new_text);
        if (!old && !new) return false;
        int which = !old ? 1 : !new ? -1 : slice_compare(old_path, new_path);
        if (which <= 0) at->before++;
        if (which >= 0) at->after++;
        if (which == 0 && slice_equal(old_text, new_text)) continue;
        *file = (struct deploy_file){
            .kind = which < 0 ? DEPLOY_REMOVED : which > 0 ? DEPLOY_ADDED : DEPLOY_CHANGED,
            .path = which <= 0 ? old_path : new_path,
        };
        deploy_lines(which <= 0 ? old_text : (struct slice){0}, which >= 0 ? new_text : (struct slice){0},
                     &file->lines_added, &file->lines_removed);
        return true;
    }
}

/* ---- lines ---- */

void deploy_lines(struct slice before, struct slice after, size_t *added, size_t *removed)
{
    struct lines old = split(before), new = split(after);
    struct lines a = old, b = new;
    while (a.count > 0 && b.count > 0 && a.hashes[0] == b.hashes[0]) {
        a = (struct lines){a.hashes + 1, a.count - 1};
        b = (struct lines){b.hashes + 1, b.count - 1};
    }
    while (a.count > 0 && b.count > 0 && a.hashes[a.count - 1] == b.hashes[b.count - 1]) {
        a.count--;
        b.count--;
    }
    size_t steps = distance(&a, &b);
    *removed = (steps + a.count - b.count) / 2; /* steps = added + removed, and added - removed is known */
    *added = steps - *removed;
    memory_free(old.hashes);
    memory_free(new.hashes);
}

/* Lines as their hashes. One that the text ends in the middle of is another than the whole one. */
static struct lines split(struct slice text)
{
    struct lines lines = {0};
    size_t count = 1;
    for (size_t i = 0; i < text.size; i++) count += text.data[i] == '\n';
    lines.hashes = memory_zero(count, sizeof *lines.hashes);
    while (text.size > 0) {
        const uint8_t *end = memchr(text.data, '\n', text.size);
        size_t size = end != NULL ? (size_t)(end - text.data) + 1 : text.size;
        lines.hashes[lines.count++] = hash_bytes(text.data, size);
        text = slice_of(text.data + size, text.size - size);
    }
    return lines;
}

/* reach[k]: how far in `a` one comes on the diagonal k (lines of a less lines of b) in so many steps. */
static size_t distance(const struct lines *a, const struct lines *b)
{
    size_t all = a->count + b->count;
    size_t most = all < DISTANCE_MOST ? all : DISTANCE_MOST;
    ptrdiff_t *reach = memory_zero(2 * most + 3, sizeof *reach);
    ptrdiff_t *middle = reach + most + 1;
    ptrdiff_t a_count = (ptrdiff_t)a->count, b_count = (ptrdiff_t)b->count;
    size_t found = all;
    for (ptrdiff_t steps = 0; found == all && steps <= (ptrdiff_t)most; steps++) {
        for (ptrdiff_t k = -steps; k <= steps; k += 2) {
            bool down = k == -steps || (k != steps && middle[k - 1] < middle[k + 1]);
            ptrdiff_t x = down ? middle[k + 1] : middle[k - 1] + 1;
            while (x < a_count && x - k < b_count && x - k >= 0 && a->hashes[x] == b->hashes[x - k]) x++;
            middle[k] = x;
            if (x < a_count || x - k < b_count) continue;
            found = (size_t)steps;
            break;
        }
    }
    memory_free(reach);
    return found;
}

/* ---- names ---- */

void deploy_names_missing(struct slice of, struct slice without, struct buffer *out)
{
    struct mp_reader reader = mp_reader_of(of);
    struct buffer list = {0};
    struct slice name;
    uint32_t count = 0, missing = 0;
    if (of.size > 0) mp_read_array(&reader, &count);
    for (; count > 0 && mp_read_string(&reader, &name); count--) {
        if (has_name(without, name)) continue;
        mp_write_string(&list, name);
        missing++;
    }
    mp_write_array(out, missing);
    buffer_append_slice(out, buffer_slice(&list));
    buffer_deinit(&list);
}

static bool has_name(struct slice names, struct slice name)
{
    struct mp_reader reader = mp_reader_of(names);
    struct slice one;
    uint32_t count = 0;
    if (names.size > 0) mp_read_array(&reader, &count);
    for (; count > 0 && mp_read_string(&reader, &one); count--) {
        if (slice_equal(one, name)) return true;
    }
    return false;
}
