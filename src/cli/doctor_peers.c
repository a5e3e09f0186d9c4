/* The other members, asked one after the other how they are: doctor.h. */
#include "cli/doctor.h"

#include "base/mp.h"
#include "cli/client.h"
#include "cli/view.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define CONNECT_MS 1500
#define ANSWER_MS  3000

static enum error_code take_list(struct doctor *doctor, const char *list, struct error *error);
static void take_members(struct doctor *doctor);
static void ask(const struct doctor *doctor, struct doctor_peer *peer);
static void read_status(const struct doctor *doctor, struct doctor_peer *peer, struct slice status);
static uint64_t number(struct slice map, const char *key);

enum error_code doctor_ask(struct doctor *doctor, const char *list, struct error *error)
{
    if (list != NULL) {
        enum error_code code = take_list(doctor, list, error);
        if (code != ERROR_OK) return code;
    } else {
        take_members(doctor);
    }
    for (size_t i = 0; i < doctor->peer_count; i++) ask(doctor, &doctor->peers[i]);
    return ERROR_OK;
}

/* A leader that was asked itself; else whom one of them follows. */
const struct doctor_peer *doctor_leader(const struct doctor *doctor)
{
    const struct doctor_peer *follower = NULL;
    for (size_t i = 0; i < doctor->peer_count; i++) {
        const struct doctor_peer *peer = &doctor->peers[i];
        if (!peer->answered || !peer->of_this_cluster) continue;
        if (peer->leads) return peer;
        if (peer->knows_leader) follower = peer;
    }
    return follower;
}

static enum error_code take_list(struct doctor *doctor, const char *list, struct error *error)
{
    while (*list != 0) {
        size_t size = strcspn(list, ",");
        const char *equals = memchr(list, '=', size); /* as in --peers of start */
        const char *address = equals != NULL ? equals + 1 : list;
        int length = (int)(size - (size_t)(address - list));
        if (doctor->peer_count == DOCTOR_PEERS_MAX || length > ADDRESS_MAX)
            return error_set(error, ERROR_USAGE, "doctor: --peers: at most %d addresses HOST:PORT", DOCTOR_PEERS_MAX);
        if (length > 0)
            snprintf(doctor->peers[doctor->peer_count++].address, ADDRESS_MAX + 1, "%.*s", length, address);
        list += size + (list[size] == ',');
    }
    return ERROR_OK;
}

static void take_members(struct doctor *doctor)
{
    const struct survey *survey = &doctor->survey;
    for (size_t i = 0; i < survey->configuration.server_count && doctor->peer_count < DOCTOR_PEERS_MAX; i++) {
        const struct raft_server *server = &survey->configuration.servers[i];
        struct doctor_peer *peer = &doctor->peers[doctor->peer_count];
        if (survey->overview->has_identity && strcmp(server->id.text, survey->overview->identity.id) == 0) continue;
        if (!raft_server_address(server, "node", peer->address)) continue;
        snprintf(peer->id, sizeof peer->id, "%s", server->id.text);
        doctor->peer_count++;
    }
}

static void ask(const struct doctor *doctor, struct doctor_peer *peer)
{
    struct rpc_client *client = NULL;
    struct slice status;
    enum error_code code = rpc_client_open(&client, peer->address, CONNECT_MS, &peer->error);
    if (code == ERROR_OK)
        code = rpc_client_call(client, "status", slice_of(NULL, 0), ANSWER_MS, &status, &peer->error);
    if (code == ERROR_OK) read_status(doctor, peer, status);
    rpc_client_close(client);
}

static void read_status(const struct doctor *doctor, struct doctor_peer *peer, struct slice status)
{
    char text[CELL_MAX], own[17];
    const struct store_overview *overview = doctor->survey.overview;
    snprintf(own, sizeof own, "%016" PRIx64, overview->identity.cluster);
    peer->answered = true;
    view_text(status, "id", text, sizeof text);
    snprintf(peer->id, sizeof peer->id, "%.*s", ID_MAX, text);
    view_text(status, "cluster", text, sizeof text);
    peer->of_this_cluster = !overview->has_identity || strcmp(text, own) == 0;
    peer->leads = strcmp(view_text(status, "role", text, sizeof text), "leader") == 0;
    peer->knows_leader = view_text(status, "leader", text, sizeof text)[0] != 0 &&
                         strcmp(text, overview->has_identity ? overview->identity.id : "") != 0;
    view_text(status, "leader_address", peer->leader_address, sizeof peer->leader_address);
    peer->term = number(status, "term");
    peer->last_index = number(status, "last_index");
    peer->applied = number(status, "applied_index");
}

static uint64_t number(struct slice map, const char *key)
{
    char text[CELL_MAX];
    return strtoull(view_text(map, key, text, sizeof text), NULL, 10);
}
