/*
 * From findings to what they mean and what to do: doctor.h. The one rule behind all of it: a node that has lost a part
 * of what it promised may not vote with the rest. It is removed and joins again, blank; the others give it everything.
 */
#include "cli/doctor.h"

#include "cli/cli.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void explain_cluster(const struct doctor *doctor, struct buffer *out);
static void step(struct doctor *doctor, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void rejoin(struct doctor *doctor, const char *address);
static const char *own_id(const struct doctor *doctor);

/* What is lost with each part. */
static const struct {
    enum store_part part;
    const char *meaning;
} meanings[] = {
    {STORE_PART_WAL, "the newest votes and entries, which this node has acknowledged, are lost in this folder"},
    {STORE_PART_DATABASE, "rows of the database may be lost, votes and entries among them"},
    {STORE_PART_IDENTITY, "who this node is cannot be told for certain"},
    {STORE_PART_HARD_STATE, "its term and vote are lost: it could vote twice in one term"},
    {STORE_PART_SNAPSHOT_META, "which snapshot it starts from is lost"},
    {STORE_PART_BASE, "where its log begins is lost"},
    {STORE_PART_FIRST, "which cluster it belongs to is lost"},
    {STORE_PART_LOG, "entries that it has acknowledged are lost in this folder"},
    {STORE_PART_SNAPSHOT, "the state that the log before the snapshot had led to is lost in this folder"},
    {STORE_PART_MARK, "nothing is lost: this second witness of what the WAL holds is made anew at the next start"},
};

void doctor_explain(const struct doctor *doctor, struct buffer *out)
{
    for (size_t i = 0; i < sizeof meanings / sizeof *meanings; i++) {
        bool found = false;
        for (size_t j = 0; j < doctor->count; j++)
            found = found || (doctor->findings[j].part == meanings[i].part &&
                              doctor->findings[j].code != ERROR_VERSION);
        if (found) buffer_append_format(out, "%s\n", meanings[i].meaning);
    }
    if (doctor->newer)
        buffer_append_text(out, "a later release wrote a part of it, or it is damaged: this program cannot tell\n");
    if (!doctor->damaged) return;
    if (doctor->survey.overview->has_identity)
        buffer_append_format(out, "%s may not vote any more: it does not start on this folder\n", own_id(doctor));
    else
        buffer_append_text(out, "whose folder this is cannot be read in it: no node starts on it, and the one whose "
                                "it is may not vote any more\n");
    explain_cluster(doctor, out);
}

/* Whoever was elected without this node has every entry that a majority had acknowledged. */
static void explain_cluster(const struct doctor *doctor, struct buffer *out)
{
    const struct doctor_peer *leader = doctor_leader(doctor);
    size_t answered = 0;
    for (size_t i = 0; i < doctor->peer_count; i++)
        answered += doctor->peers[i].answered && doctor->peers[i].of_this_cluster;
    if (leader != NULL) {
        buffer_append_text(out, "the others have a leader: everything that was acknowledged to clients is with it, "
                                "nothing of it is lost\n");
    } else if (survey_voters(&doctor->survey) == 1 && doctor->peer_count == 0) {
        buffer_append_text(out, "it is the only voter: what is lost here is lost, but for a backup\n");
    } else if (answered > 0) {
        buffer_append_text(out, "nobody leads now: nothing that was acknowledged is lost once a majority of the "
                                "members is up again without this one\n");
    } else {
        buffer_append_text(out, "no other member has answered: nothing that was acknowledged is lost while a "
                                "majority of the members is sound without this one\n");
    }
}

void doctor_advise(struct doctor *doctor)
{
    const struct doctor_peer *leader = doctor_leader(doctor);
    doctor->step_count = 0;
    if (!doctor->damaged) return;
    if (doctor->newer) step(doctor, "if a later release of Moonclave wrote this folder: use that one, and stop here");
    if (leader != NULL) {
        rejoin(doctor, leader->address);
        return;
    }
    if (survey_voters(&doctor->survey) == 1 && doctor->peer_count == 0) {
        step(doctor, "mv %s %s.damaged", doctor->survey.overview->folder, doctor->survey.overview->folder);
        step(doctor, "start it blank, as a new cluster, and bring back the newest backup");
        return;
    }
    const char *address = doctor->peer_count > 0 ? doctor->peers[0].address : "HOST:PORT";
    step(doctor, "start the other members, until `%s status --addr %s` names a leader", cli_program(), address);
    step(doctor, "once there is one, run `%s doctor %s` again: it names the commands that bring this node back",
         cli_program(), doctor->survey.overview->folder);
    step(doctor, "if so many are lost for good that nobody can lead: run `%s doctor` on each folder that is left, "
                 "and `%s recover` on the sound one whose last entry has the highest (term, index)",
         cli_program(), cli_program());
}

static void rejoin(struct doctor *doctor, const char *address)
{
    const struct survey *survey = &doctor->survey;
    const char *folder = survey->overview->folder, *id = own_id(doctor);
    const struct raft_server *self = survey_self(survey);
    char own[ADDRESS_MAX + 1] = "HOST:PORT";
    if (self != NULL) raft_server_address(self, "node", own);
    step(doctor, "%s remove %s --yes --addr %s", cli_program(), id, address);
    step(doctor, "mv %s %s.damaged", folder, folder);
    step(doctor, "%s start --join %s --id %s --addr %s --data %s   (and its other flags, without --peers)",
         cli_program(), address, id, own, folder);
    step(doctor, "%s members --addr %s   (until %s is a voter again)", cli_program(), address, id);
}

static const char *own_id(const struct doctor *doctor)
{
    return doctor->survey.overview->has_identity ? doctor->survey.overview->identity.id : "ID";
}

static void step(struct doctor *doctor, const char *format, ...)
{
    va_list arguments;
    if (doctor->step_count == DOCTOR_STEPS_MAX) return;
    va_start(arguments, format);
    vsnprintf(doctor->steps[doctor->step_count++], DOCTOR_TEXT, format, arguments);
    va_end(arguments);
}
