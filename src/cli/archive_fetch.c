/* A backup from a node that runs, looked at while it comes in: archive.h. */
#include "cli/archive.h"

#include "cli/client.h"
#include "cli/progress.h"

#include "base/mp.h"

#define PIECE_MS 60000

static enum error_code open_backup(const struct archive_source *source, uint64_t *size, struct error *error);
static enum error_code take_piece(struct archive *archive, const struct archive_source *source, bool *more,
                                  struct error *error);

enum error_code archive_fetch(struct archive *archive, const struct archive_source *source, struct error *error)
{
    struct progress progress;
    struct error why;
    uint64_t size = 0;
    bool more = true;
    enum error_code code = open_backup(source, &size, error);
    if (code != ERROR_OK) return code;
    progress_begin(&progress, source->what, size);
    while (code == ERROR_OK && more) {
        code = take_piece(archive, source, &more, error);
        progress_at(&progress, archive->reader.position);
    }
    progress_end(&progress);
    if (code == ERROR_OK && (code = archive_end(archive, &why)) != ERROR_OK)
        error_set(error, code, "what the node sent is damaged: %.400s", why.text);
    return code;
}

static enum error_code open_backup(const struct archive_source *source, uint64_t *size, struct error *error)
{
    struct buffer params = {0};
    struct slice result, value;
    mp_write_array(&params, 2);
    mp_write_nil(&params);
    mp_write_map(&params, 2);
    mp_write_text(&params, "consistency");
    mp_write_text(&params, source->consistency);
    mp_write_text(&params, "timeout");
    mp_write_u64(&params, source->timeout_s);
    enum error_code code = rpc_client_call(source->client, "backup/open", buffer_slice(&params),
                                           (unsigned)source->timeout_s * 1000 + 2000, &result, error);
    buffer_deinit(&params);
    if (code != ERROR_OK) return code;
    if (mp_map_get(result, "bytes", &value) &&
        mp_read_u64(&(struct mp_reader){value.data, value.data + value.size}, size))
        return ERROR_OK;
    return error_set(error, ERROR_BAD_REQUEST, "%s: it does not say how large its backup is", source->address);
}

static enum error_code take_piece(struct archive *archive, const struct archive_source *source, bool *more,
                                  struct error *error)
{
    struct slice result, bytes;
    struct error why;
    enum error_code code =
        rpc_client_call(source->client, "backup/read", slice_of(NULL, 0), PIECE_MS, &result, error);
    if (code != ERROR_OK) return code;
    struct mp_reader reader = mp_reader_of(result);
    if (!mp_read_string(&reader, &bytes))
        return error_set(error, ERROR_BAD_REQUEST, "the node's answer is no piece of a backup");
    *more = bytes.size > 0;
    if (!*more) return ERROR_OK;
    code = archive_feed(archive, bytes, &why);
    if (code != ERROR_OK) return error_set(error, code, "what the node sent is damaged: %.400s", why.text);
    return source->keep != NULL ? source->keep(source->context, bytes, error) : ERROR_OK;
}
