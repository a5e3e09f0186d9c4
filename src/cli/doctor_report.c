/* The doctor's report, for people and as JSON: doctor.h. */
#include "cli/doctor.h"

#include "base/mp.h"
#include "http/json.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static void print_finding(const struct store_finding *finding);
static void print_peer(const struct doctor_peer *peer);
static void write_node(const struct doctor *doctor, struct buffer *out);
static void write_findings(const struct doctor *doctor, struct buffer *out);
static void write_peers(const struct doctor *doctor, struct buffer *out);
static void write_lines(struct slice text, struct buffer *out);
static void write_number(struct buffer *out, const char *key, uint64_t value);
static void write_text(struct buffer *out, const char *key, const char *value);

void doctor_print(const struct doctor *doctor)
{
    struct buffer text = {0};
    survey_print(&doctor->survey);
    if (doctor->count == 0) {
        printf("sound: every checksum is right, and every entry continues the one before\n");
    } else {
        printf("\n%s:\n", doctor->damaged ? "damaged" : "found");
        for (size_t i = 0; i < doctor->count; i++) print_finding(&doctor->findings[i]);
        doctor_explain(doctor, &text);
        printf("\nwhat it means:\n");
        for (size_t from = 0, to; from < text.size; from = to + 1) {
            to = from + (size_t)((uint8_t *)memchr(text.data + from, '\n', text.size - from) - (text.data + from));
            printf("  %.*s\n", (int)(to - from), (const char *)text.data + from);
        }
        buffer_deinit(&text);
    }
    if (doctor->peer_count > 0) printf("\nthe others:\n");
    for (size_t i = 0; i < doctor->peer_count; i++) print_peer(&doctor->peers[i]);
    if (doctor->step_count > 0) printf("\nwhat to do:\n");
    for (size_t i = 0; i < doctor->step_count; i++) printf("  %zu. %s\n", i + 1, doctor->steps[i]);
}

static void print_finding(const struct store_finding *finding)
{
    printf("  %s: ", finding->file);
    if (finding->index > 0 && finding->part == STORE_PART_LOG) printf("entry %" PRIu64 ": ", finding->index);
    if (finding->index > 0 && finding->part == STORE_PART_SNAPSHOT) printf("snapshot at %" PRIu64 ": ", finding->index);
    if (finding->offset > 0 || finding->part == STORE_PART_WAL) printf("offset %" PRIu64 ": ", finding->offset);
    printf("%s\n", finding->text);
}

static void print_peer(const struct doctor_peer *peer)
{
    printf("  %s%s%s: ", peer->id, peer->id[0] ? " " : "", peer->address);
    if (!peer->answered)
        printf("no answer: %s\n", peer->error.text);
    else if (!peer->of_this_cluster)
        printf("it belongs to another cluster\n");
    else
        printf("runs, %s, term %" PRIu64 ", log up to %" PRIu64 ", applied %" PRIu64 "\n",
               peer->leads ? "leads" : peer->knows_leader ? "follows" : "knows no leader", peer->term, peer->last_index,
               peer->applied);
}

/* ---- JSON: keys in order ---- */

void doctor_print_json(const struct doctor *doctor)
{
    struct buffer value = {0}, json = {0}, text = {0};
    struct error error;
    doctor_explain(doctor, &text);
    mp_write_map(&value, 7);
    mp_write_text(&value, "findings");
    write_findings(doctor, &value);
    write_text(&value, "folder", doctor->survey.overview->folder);
    mp_write_text(&value, "meaning");
    write_lines(buffer_slice(&text), &value);
    mp_write_text(&value, "node");
    write_node(doctor, &value);
    mp_write_text(&value, "peers");
    write_peers(doctor, &value);
    mp_write_text(&value, "sound");
    mp_write_boolean(&value, !doctor->damaged);
    mp_write_text(&value, "steps");
    mp_write_array(&value, (uint32_t)doctor->step_count);
    for (size_t i = 0; i < doctor->step_count; i++) mp_write_text(&value, doctor->steps[i]);
    if (json_from_value(buffer_slice(&value), &json, &error) == ERROR_OK)
        printf("%.*s\n", (int)json.size, (const char *)json.data);
    buffer_deinit(&value);
    buffer_deinit(&json);
    buffer_deinit(&text);
}

static void write_node(const struct doctor *doctor, struct buffer *out)
{
    const struct survey *survey = &doctor->survey;
    const struct store_overview *overview = survey->overview;
    char cluster[17];
    snprintf(cluster, sizeof cluster, "%016" PRIx64, overview->identity.cluster);
    mp_write_map(out, 10);
    write_text(out, "cluster", overview->has_identity ? cluster : "");
    write_number(out, "first_index", overview->first_index);
    write_text(out, "id", overview->has_identity ? overview->identity.id : "");
    write_number(out, "last_index", survey->last_index);
    write_number(out, "last_term", survey->last_term);
    mp_write_text(out, "members");
    mp_write_array(out, (uint32_t)survey->configuration.server_count);
    for (size_t i = 0; i < survey->configuration.server_count; i++)
        mp_write_text(out, survey->configuration.servers[i].id.text);
    write_number(out, "snapshot_index", overview->has_snapshot ? overview->snapshot.index : 0);
    write_number(out, "snapshot_size", overview->has_snapshot ? overview->snapshot.size : 0);
    write_number(out, "term", overview->has_hard_state ? overview->hard_state.term : 0);
    write_text(out, "voted_for", overview->has_hard_state ? overview->hard_state.vote.text : "");
}

static void write_findings(const struct doctor *doctor, struct buffer *out)
{
    mp_write_array(out, (uint32_t)doctor->count);
    for (size_t i = 0; i < doctor->count; i++) {
        const struct store_finding *finding = &doctor->findings[i];
        mp_write_map(out, 6);
        write_text(out, "code", error_name(finding->code));
        write_text(out, "file", finding->file);
        write_number(out, "index", finding->index);
        write_number(out, "offset", finding->offset);
        write_text(out, "part", store_part_name(finding->part));
        write_text(out, "text", finding->text);
    }
}

static void write_peers(const struct doctor *doctor, struct buffer *out)
{
    mp_write_array(out, (uint32_t)doctor->peer_count);
    for (size_t i = 0; i < doctor->peer_count; i++) {
        const struct doctor_peer *peer = &doctor->peers[i];
        mp_write_map(out, 7);
        write_text(out, "address", peer->address);
        mp_write_text(out, "answered");
        mp_write_boolean(out, peer->answered && peer->of_this_cluster);
        write_number(out, "applied_index", peer->applied);
        write_text(out, "id", peer->id);
        write_number(out, "last_index", peer->last_index);
        mp_write_text(out, "leads");
        mp_write_boolean(out, peer->leads);
        write_number(out, "term", peer->term);
    }
}

/* One text for each line. */
static void write_lines(struct slice text, struct buffer *out)
{
    uint32_t lines = 0;
    for (size_t i = 0; i < text.size; i++) lines += text.data[i] == '\n';
    mp_write_array(out, lines);
    for (size_t from = 0, to = 0; to < text.size; to++) {
        if (text.data[to] != '\n') continue;
        mp_write_string(out, slice_of(text.data + from, to - from));
        from = to + 1;
    }
}

static void write_number(struct buffer *out, const char *key, uint64_t value)
{
    mp_write_text(out, key);
    mp_write_u64(out, value);
}

static void write_text(struct buffer *out, const char *key, const char *value)
{
    mp_write_text(out, key);
    mp_write_text(out, value);
}
