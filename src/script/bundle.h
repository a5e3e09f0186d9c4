/*
 * The bundle: all Lua files of an app with a manifest hash, as it travels in INIT and DEPLOY.
 *
 * Bytes: canonical msgpack map {"version": 1, "hash": u64, "files": {path: contents}}; paths
 * relative, with '/', sorted; hash = XXH3 of the encoded "files" map. A single .lua file is an app
 * whose fsm.lua it is.
 */
#ifndef MOONCLAVE_SCRIPT_BUNDLE_H
#define MOONCLAVE_SCRIPT_BUNDLE_H

#include "base/buffer.h"
#include "base/error.h"

#define BUNDLE_BYTES_MAX (4 * 1024 * 1024)

/* Reads a folder (its .lua files, one level of subfolders and deeper, not hidden ones, not spec/
 * and sim.lua) or a single file, whose name may lack its .lua. NOT_FOUND, SCRIPT (no fsm.lua), TOO_LARGE, IO, with
 * the path and what to do. */
enum error_code bundle_read(const char *path, struct buffer *out, struct error *error);

/* The bundle of files that are in memory; sorts the list. */
struct bundle_source {
    const char *path;
    struct slice contents;
};
void bundle_make(struct bundle_source *files, size_t count, struct buffer *out);

enum error_code bundle_verify(struct slice bundle,
                              struct error *error); /* well-formed, hash right, has fsm.lua */
bool bundle_file(struct slice bundle, const char *path,
                 struct slice *contents); /* false: not in it */
uint64_t bundle_hash(struct slice bundle);
/* The i-th file's path and contents; false past the end. */
bool bundle_each(struct slice bundle, size_t i, struct slice *path, struct slice *contents);

#endif
