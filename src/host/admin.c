/*
 * What is asked about the cluster itself, at its leader: who is a member, and who leads. The body is [action,
 * arguments]; the table below has the actions, README.md what each takes.
 *
 * A change of membership is an edit of a copy of the effective configuration, handed to the core with the index of
 * what was edited. It is answered when its entry is applied, as a command is. A new server starts as a learner: one
 * that is to vote carries the label WANTS, so that whoever leads by the time it has caught up makes it a voter. Where
 * there is a membership policy (policy.c), it is asked first, and says when those that join by themselves vote.
 */
#include "host/internal.h"

#include "base/mp.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* One request being carried out. Strings are borrowed from the body. */
struct task {
    struct host *host;
    struct waiter *waiter;
    struct slice arguments;
    char id[ID_MAX + 1];
    struct raft_configuration *wanted; /* an edit's copy */
    bool forced;
    bool final; /* UNAVAILABLE is the answer: it is not asked again */
    struct error error;
};

static void carry_out(struct host *host, struct waiter *waiter);
static const char *wrong_argument(struct task *task, bool names_server);
static void run_edit(struct task *task, enum error_code (*edit)(struct task *task));
static void configure(struct task *task, raft_index expected);
static void promote_one(struct host *host);
static bool wants_vote(const struct host *host, const struct raft_server *server);
static bool has_caught_up(const struct host *host, const char *id);
static enum error_code edit_add(struct task *task);
static enum error_code edit_join(struct task *task);
static enum error_code edit_remove(struct task *task);
static enum error_code edit_promote(struct task *task);
static enum error_code edit_demote(struct task *task);
static enum error_code edit_address(struct task *task);
static enum error_code edit_priority(struct task *task);
static enum error_code edit_labels(struct task *task);
static enum error_code edit_set(struct task *task);
static void run_transfer(struct task *task);
static void run_config(struct task *task);
static void run_skip(struct task *task);
static void run_restore(struct task *task);
static void run_deploy(struct task *task);
static enum error_code add_server(struct task *task, uint64_t incarnation, const char *address,
                                  bool by_itself);
static enum error_code ask_policy(struct task *task, bool by_itself, const char **wants);
static enum error_code take_labels(struct task *task);
static const struct raft_server *find_server(const struct task *task, const char *id);
static bool argument(const struct task *task, const char *key, struct slice *value);
static bool argument_text(const struct task *task, const char *key, char *out, size_t size);
static bool read_text(struct mp_reader *reader, char *out, size_t size);
static uint64_t argument_u64(const struct task *task, const char *key, uint64_t otherwise);
static bool argument_true(const struct task *task, const char *key);
static bool read_address(struct task *task, char *out);
static void answer_map(struct host *host, struct waiter *waiter, const char *key, uint64_t number,
                       const char *text);

static const struct {
    const char *name;
    enum error_code (*edit)(struct task *task); /* of a configuration; null: another kind of action */
    void (*run)(struct task *task);
    bool names_server; /* its argument `id` is needed */
} actions[] = {
    {"add", edit_add, NULL, true},           {"join", edit_join, NULL, true},
    {"remove", edit_remove, NULL, true},     {"promote", edit_promote, NULL, true},
    {"demote", edit_demote, NULL, true},     {"address", edit_address, NULL, true},
    {"priority", edit_priority, NULL, true}, {"set", edit_set, NULL, false},
    {"labels", edit_labels, NULL, true},     {"transfer", NULL, run_transfer, false},
    {"config", NULL, run_config, false},     {"skip", NULL, run_skip, false},
    {"restore", NULL, run_restore, false},   {"deploy", NULL, run_deploy, false},
};

/* Once a turn, at whoever leads. */
void admin_turn(struct host *host)
{
    struct waiter_list *asked = &host->waiters.lists[WAITER_ADMIN];
    for (size_t left = asked->count; left > 0 && host_runs(host); left--) {
        struct waiter *waiter = asked->first;
        if (host->role == RAFT_LEADER) {
            carry_out(host, waiter);
        } else {
            waiter_move(&host->waiters, waiter, WAITER_ARRIVED);
        }
    }
    if (host->role == RAFT_LEADER && host->stop.stage == STOP_NONE) promote_one(host);
}

/* Those who wait for a transfer: over when another one leads, or when it has failed. */
void admin_transfers(struct host *host)
{
    struct waiter_list *list = &host->waiters.lists[WAITER_TRANSFER];
    bool moved = !raft_id_none(&host->leader) && strcmp(host->leader.text, host->identity.id) != 0;
    while (list->first != NULL && (moved || host->transfer_failed)) {
        if (moved)
            answer_map(host, list->first, "leader", 0, host->leader.text);
        else
            answer_error(host, list->first, ERROR_UNAVAILABLE,
                         "no other server took over in time: the leader is the same");
    }
    host->transfer_failed = false;
}

/* An entry that changes the configuration has been applied: what its waiter is told, the same on every node. */
void admin_applied(const struct raft_entry *entry, struct buffer *reply)
{
    mp_write_map(reply, 1);
    mp_write_text(reply, "index");
    mp_write_u64(reply, entry->index);
}

/* ---- one request ---- */

static void carry_out(struct host *host, struct waiter *waiter)
{
    struct task task = {.host = host, .waiter = waiter};
    struct mp_reader reader = mp_reader_of(waiter->body.bytes);
    struct slice name = {0};
    uint32_t count = 0;
    bool sound = mp_read_array(&reader, &count) && count == 2 && mp_read_string(&reader, &name) &&
                 mp_skip(&reader, &task.arguments);
    for (size_t i = 0; sound && i < sizeof actions / sizeof *actions; i++) {
        if (!slice_equal(name, slice_text(actions[i].name))) continue;
        const char *wrong = wrong_argument(&task, actions[i].names_server);
        if (wrong != NULL) {
            answer_error(host, waiter, ERROR_BAD_REQUEST, wrong);
        } else if (actions[i].edit != NULL) {
            run_edit(&task, actions[i].edit);
        } else {
            actions[i].run(&task);
        }
        return;
    }
    answer_error(host, waiter, sound ? ERROR_NO_SUCH_COMMAND : ERROR_BAD_REQUEST,
                 sound ? "there is no such action" : "an action is [name, arguments]");
}

/* Takes the id. What cannot be read must not pass for what is not given. Null: nothing is wrong. */
static const char *wrong_argument(struct task *task, bool names_server)
{
    static const struct { const char *key; bool number; const char *wrong; } rows[] = {
        {"expected", true, "`expected` is the index of a configuration: a number from 0 on"},
        {"incarnation", true, "`incarnation` is a number from 1 on"},
        {"force", false, "`force` is true or false"},
        {"learner", false, "`learner` is true or false"},
    };
    struct slice value;
    uint64_t number;
    bool is, named = argument_text(task, "id", task->id, sizeof task->id) && id_valid(task->id);
    if (!named && (names_server || argument(task, "id", &value)))
        return "`id` must name a server: 1 to 64 of letters, digits, - _ .";
    for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
        if (!argument(task, rows[i].key, &value)) continue;
        struct mp_reader reader = mp_reader_of(value);
        bool right = rows[i].number ? mp_read_u64(&reader, &number) : mp_read_boolean(&reader, &is);
        if (!right) return rows[i].wrong;
    }
    return NULL;
}

static void run_edit(struct task *task, enum error_code (*edit)(struct task *task))
{
    struct host *host = task->host;
    struct raft_configuration wanted;
    raft_status(host->raft, &host->status);
    raft_index expected = argument_u64(task, "expected", host->status.configuration_index);
    raft_configuration_init(&wanted);
    raft_configuration_copy(&wanted, host->status.configuration);
    task->wanted = &wanted;
    enum error_code code = edit(task);
    if (code == ERROR_OK) {
        configure(task, expected);
    } else if (code == ERROR_UNAVAILABLE && !task->final) {
        waiter_move(&host->waiters, task->waiter, WAITER_ADMIN); /* behind the others: again soon */
        waiter_wake_at(&host->waiters, task->waiter, retry_at(host));
    } else {
        answer_error(host, task->waiter, code, task->error.text);
    }
    raft_configuration_deinit(&wanted);
}

static void configure(struct task *task, raft_index expected)
{
    static const char *const texts[] = {
        [RAFT_REFUSAL_NONE] = "refused",
        [RAFT_REFUSAL_NOT_LEADER] = NULL,
        [RAFT_REFUSAL_DISK_FULL] = NULL,
        [RAFT_REFUSAL_PENDING] = "another change of membership is under way: try again when it is done",
        [RAFT_REFUSAL_TOO_EARLY] = "the leader is new: try again in a moment",
        [RAFT_REFUSAL_TRANSFER] = "leadership is being handed over: try again when it is done",
        [RAFT_REFUSAL_STALE] = "the configuration is not the expected one any more: look again",
        [RAFT_REFUSAL_MALFORMED] = "the configuration asked for is malformed",
        [RAFT_REFUSAL_NO_VOTERS] = "nobody would be left to vote",
        [RAFT_REFUSAL_NO_CHANGE] = "there is nothing to change",
        [RAFT_REFUSAL_INCARNATION] = "the cluster knows this id with other data: remove it first, then add it",
        [RAFT_REFUSAL_NOT_CAUGHT_UP] = "it has not caught up yet: it becomes a voter when it has, or by force",
    };
    struct host *host = task->host;
    struct raft_configure change = {
        .expected = expected,
        .wanted = task->wanted,
        .forced = task->forced,
        .time_ms = host->ports.wall_ms(host->ports.context),
    };
    struct raft_event event = {.type = RAFT_EVENT_CONFIGURE};
    event.configure = &change;
    enum error_code code = host_step(host, &event);
    if (task->waiter == NULL) return;
    if (code == ERROR_OK) {
        waiter_drop_body(task->waiter);
        waiter_move(&host->waiters, task->waiter, WAITER_PROPOSED);
        waiter_wake_at(&host->waiters, task->waiter, task->waiter->deadline_us); /* it may have waited before */
        task->waiter->number = change.index;
        task->waiter->term = change.term;
        waiter_index_add(&host->waiters, WAITERS_BY_NUMBER, change.index, task->waiter);
    } else if (change.refusal == RAFT_REFUSAL_NO_CHANGE) { /* and nothing is pending */
        answer_map(host, task->waiter, "index", host->status.configuration_index, NULL);
    } else if (change.refusal == RAFT_REFUSAL_TOO_EARLY) {
        park(host, task->waiter, retry_at(host));
    } else {
        answer_error(host, task->waiter, code, texts[change.refusal]);
    }
}

/* ---- the edits ---- */

/* By an operator. Who it is (its incarnation) is said in its own hello: the node must be there, started with --join. */
static enum error_code edit_add(struct task *task)
{
    char address[ADDRESS_MAX + 1];
    if (!read_address(task, address)) return task->error.code;
    const struct raft_server *known = find_server(task, task->id);
    if (known != NULL) {
        return error_set(&task->error, ERROR_CONFLICT, "%s is a member already", task->id);
    }
    uint64_t incarnation = argument_u64(task, "incarnation", 0);
    const struct contact *contact = contact_find(task->host, task->id);
    if (incarnation == 0 && contact != NULL && contact->guest) incarnation = contact->incarnation;
    if (incarnation == 0) {
        contact_expect(task->host, task->id, address);
        return ERROR_UNAVAILABLE; /* asked again until it has answered, or time is up */
    }
    return add_server(task, incarnation, address, false);
}

/* By the node itself. */
static enum error_code edit_join(struct task *task)
{
    char address[ADDRESS_MAX + 1];
    uint64_t incarnation = argument_u64(task, "incarnation", 0);
    if (!read_address(task, address)) return task->error.code;
    if (incarnation == 0) return error_set(&task->error, ERROR_BAD_REQUEST, "it has no incarnation");
    const struct raft_server *known = find_server(task, task->id);
    if (known == NULL) return add_server(task, incarnation, address, true);
    if (known->incarnation != incarnation) {
        return error_set(&task->error, ERROR_WIPED,
                         "the cluster knows another %s: remove it first, then let this one join", task->id);
    }
    return raft_configuration_set_address(task->wanted, task->id, "node", address, &task->error);
}

/* Of an entry that this leader has died of (skip.c). */
static void run_skip(struct task *task)
{
    struct slice value;
    raft_index index = 0;
    bool given = argument(task, "index", &value) &&
                 mp_read_u64(&(struct mp_reader){value.data, value.data + value.size}, &index) && index > 0;
    if (given)
        skip_ask(task->host, task->waiter, index);
    else
        answer_error(task->host, task->waiter, ERROR_BAD_REQUEST, "`index` is that of the entry to skip: from 1 on");
}

static enum error_code add_server(struct task *task, uint64_t incarnation, const char *address,
                                  bool by_itself)
{
    const char *wants = NULL;
    enum error_code code = raft_configuration_add(task->wanted, task->id, incarnation, address,
                                                  RAFT_LEARNER, &task->error);
    if (code == ERROR_OK) code = take_labels(task);
    if (code == ERROR_OK) code = ask_policy(task, by_itself, &wants);
    if (code == ERROR_OK && wants != NULL)
        code = raft_configuration_set_label(task->wanted, task->id, WANTS, wants, &task->error);
    return code;
}

/* Whether it may come in, and what for. Of those that an operator adds the policy says only the former. */
static enum error_code ask_policy(struct task *task, bool by_itself, const char **wants)
{
    bool votes = true;
    *wants = argument_true(task, "learner") ? NULL : WANTS_VOTER;
    if (!policy_runs(task->host) || (!by_itself && argument_true(task, "force"))) return ERROR_OK;
    enum error_code code =
        policy_admit(task->host, find_server(task, task->id), &votes, &task->final, &task->error);
    if (by_itself && !votes) *wants = WANTS_POLICY;
    return code;
}

static enum error_code edit_remove(struct task *task)
{
    return raft_configuration_remove(task->wanted, task->id, &task->error);
}

/* At once where it has caught up or is forced; else when it has. */
static enum error_code edit_promote(struct task *task)
{
    const struct raft_server *server = find_server(task, task->id);
    if (server == NULL) return error_set(&task->error, ERROR_NOT_FOUND, "there is no server %s", task->id);
    if (server->role == RAFT_VOTER) return ERROR_OK;
    task->forced = argument_true(task, "force");
    if (!task->forced && !has_caught_up(task->host, task->id))
        return raft_configuration_set_label(task->wanted, task->id, WANTS, WANTS_VOTER, &task->error);
    raft_configuration_set_label(task->wanted, task->id, WANTS, NULL, NULL);
    return raft_configuration_set_role(task->wanted, task->id, RAFT_VOTER, &task->error);
}

static enum error_code edit_demote(struct task *task)
{
    enum error_code code = raft_configuration_set_role(task->wanted, task->id, RAFT_LEARNER, &task->error);
    if (code == ERROR_OK) raft_configuration_set_label(task->wanted, task->id, WANTS, NULL, NULL);
    return code;
}

static enum error_code edit_address(struct task *task)
{
    char address[ADDRESS_MAX + 1];
    if (!read_address(task, address)) return task->error.code;
    return raft_configuration_set_address(task->wanted, task->id, "node", address, &task->error);
}

static enum error_code edit_priority(struct task *task)
{
    uint64_t priority = argument_u64(task, "priority", UINT64_MAX);
    if (priority > UINT32_MAX)
        return error_set(&task->error, ERROR_BAD_REQUEST, "`priority` is a number from 0 on");
    return raft_configuration_set_priority(task->wanted, task->id, (uint32_t)priority, &task->error);
}

/* These from now on; one that is null is there no more. */
static enum error_code edit_labels(struct task *task)
{
    struct slice value;
    if (find_server(task, task->id) == NULL)
        return error_set(&task->error, ERROR_NOT_FOUND, "there is no server %s", task->id);
    if (!argument(task, "labels", &value))
        return error_set(&task->error, ERROR_BAD_REQUEST, "`labels` is a map of names to texts, or to null");
    return take_labels(task);
}

/* Exactly these voters, of the servers there are: several at once, by joint consensus. */
static enum error_code edit_set(struct task *task)
{
    struct slice list = {0};
    uint32_t count = 0; /* of what is no list, too */
    argument(task, "voters", &list);
    struct mp_reader reader = mp_reader_of(list);
    mp_read_array(&reader, &count);
    if (count == 0) return error_set(&task->error, ERROR_BAD_REQUEST, "`voters` is a list of ids");
    for (size_t i = 0; i < task->wanted->server_count; i++)
        task->wanted->servers[i].role = RAFT_LEAVING; /* until it is named below */
    for (uint32_t i = 0; i < count; i++) {
        char text[ID_MAX + 1];
        if (!read_text(&reader, text, sizeof text))
            return error_set(&task->error, ERROR_BAD_REQUEST, "`voters` is a list of ids");
        if (raft_configuration_set_role(task->wanted, text, RAFT_VOTER, NULL) != ERROR_OK) {
            return error_set(&task->error, ERROR_NOT_FOUND,
                             "there is no server %s: it joins as a learner first", text);
        }
        raft_configuration_set_label(task->wanted, text, WANTS, NULL, NULL);
    }
    for (size_t i = task->wanted->server_count; i > 0; i--) { /* learners stay, other voters go */
        struct raft_server *server = &task->wanted->servers[i - 1];
        if (server->role != RAFT_LEAVING) continue;
        const struct raft_server *before =
            raft_configuration_find(task->host->status.configuration, &server->id);
        if (before->role == RAFT_LEARNER)
            server->role = RAFT_LEARNER;
        else
            raft_configuration_remove(task->wanted, server->id.text, NULL);
    }
    task->forced = argument_true(task, "force");
    return ERROR_OK;
}

/* A learner that is to vote and has caught up; one at a time. */
static void promote_one(struct host *host)
{
    if (host->learner_count == 0) return;
    raft_status(host->raft, &host->status);
    if (host->status.configuration_pending || !raft_id_none(&host->status.transfer_target)) return;
    for (size_t i = 0; i < host->status.configuration->server_count; i++) {
        const struct raft_server *server = &host->status.configuration->servers[i];
        const char *id = server->id.text;
        if (!wants_vote(host, server) || !has_caught_up(host, id)) continue;
        host_log(host, LOG_LEVEL_INFO, "%s has caught up: it becomes a voter", id);
        struct task task = {.host = host};
        struct raft_configuration wanted;
        raft_configuration_init(&wanted);
        raft_configuration_copy(&wanted, host->status.configuration);
        raft_configuration_set_label(&wanted, id, WANTS, NULL, NULL);
        raft_configuration_set_role(&wanted, id, RAFT_VOTER, NULL);
        task.wanted = &wanted;
        configure(&task, host->status.configuration_index);
        raft_configuration_deinit(&wanted);
        return;
    }
}

/* Whoever waits for a policy where there is none (any more) has waited enough. */
static bool wants_vote(const struct host *host, const struct raft_server *server)
{
    const char *wants = server_wants(server);
    return server->role == RAFT_LEARNER &&
           (strcmp(wants, WANTS_VOTER) == 0 || (strcmp(wants, WANTS_POLICY) == 0 && !policy_runs(host)));
}

const char *server_wants(const struct raft_server *server)
{
    for (size_t i = 0; i < server->label_count; i++) {
        if (strcmp(server->labels[i].name, WANTS) == 0) return server->labels[i].value;
    }
    return "";
}

/* As host->status has it. */
static bool has_caught_up(const struct host *host, const char *id)
{
    for (size_t i = 0; i < host->status.peer_count; i++) {
        if (strcmp(host->status.peers[i].id.text, id) == 0) return host->status.peers[i].caught_up;
    }
    return false;
}

/* ---- leadership ---- */

static void run_transfer(struct task *task)
{
    struct host *host = task->host;
    struct raft_event event = {.type = RAFT_EVENT_TRANSFER};
    event.target = raft_id_of(task->id); /* "": whoever is fit */
    if (strcmp(task->id, host->identity.id) == 0) {
        answer_map(host, task->waiter, "leader", 0, host->identity.id);
        return;
    }
    enum error_code code = host_step(host, &event);
    if (code == ERROR_OK) {
        waiter_move(&host->waiters, task->waiter, WAITER_TRANSFER);
    } else if (code == ERROR_NOT_FOUND) {
        answer_error(host, task->waiter, code, "only a voter can lead, and this is the id of none");
    } else {
        answer_error(host, task->waiter, code, "nobody is fit to take over now, or a transfer is under way");
    }
}

/* ---- settings ---- */

static void run_config(struct task *task)
{
    settings_propose(task->host, task->waiter, task->arguments);
}

static void run_restore(struct task *task)
{
    restore_propose(task->host, task->waiter, task->arguments);
}

static void run_deploy(struct task *task)
{
    deploy_propose(task->host, task->waiter, task->arguments);
}

/* ---- arguments ---- */

static const struct raft_server *find_server(const struct task *task, const char *id)
{
    struct raft_id wanted = raft_id_of(id);
    return raft_configuration_find(task->wanted, &wanted);
}

/* What is null is not given. */
static bool argument(const struct task *task, const char *key, struct slice *value)
{
    struct mp_item item = {.type = MP_NIL};
    if (!mp_map_get(task->arguments, key, value)) return false;
    struct mp_reader reader = mp_reader_of(*value);
    mp_read(&reader, &item);
    return item.type != MP_NIL;
}

static bool argument_text(const struct task *task, const char *key, char *out, size_t size)
{
    struct slice value;
    if (!argument(task, key, &value)) return false;
    struct mp_reader reader = mp_reader_of(value);
    return read_text(&reader, out, size);
}

/* A text as C has it: of less than `size` bytes, none of them zero. */
static bool read_text(struct mp_reader *reader, char *out, size_t size)
{
    struct slice text = {0};
    if (!mp_read_string(reader, &text) || text.size >= size) return false;
    memcpy(out, text.data, text.size);
    out[text.size] = 0;
    return strlen(out) == text.size;
}

static uint64_t argument_u64(const struct task *task, const char *key, uint64_t otherwise)
{
    struct slice value;
    uint64_t number;
    if (!argument(task, key, &value)) return otherwise;
    struct mp_reader reader = mp_reader_of(value);
    return mp_read_u64(&reader, &number) ? number : otherwise;
}

static bool argument_true(const struct task *task, const char *key)
{
    struct slice value = {0};
    bool is = false;
    argument(task, key, &value);
    struct mp_reader reader = mp_reader_of(value);
    mp_read_boolean(&reader, &is);
    return is;
}

static bool read_address(struct task *task, char *out)
{
    char host[ADDRESS_MAX + 1];
    uint16_t port = 0;
    if (argument_text(task, "address", out, ADDRESS_MAX + 1) && raft_address_split(out, host, &port) &&
        port != 0)
        return true;
    error_set(&task->error, ERROR_BAD_REQUEST, "`address` is where other nodes reach it: host:port");
    return false;
}

static bool skip_nil(struct mp_reader *reader)
{
    struct mp_reader ahead = *reader;
    struct mp_item item;
    bool nil = mp_read(&ahead, &item) && item.type == MP_NIL;
    if (nil) *reader = ahead;
    return nil;
}

static enum error_code take_labels(struct task *task)
{
    struct slice map;
    uint32_t count = 0;
    if (!argument(task, "labels", &map)) return ERROR_OK;
    struct mp_reader reader = mp_reader_of(map);
    bool sound = mp_read_map(&reader, &count);
    for (uint32_t i = 0; i < count; i++) {
        char name[128], value[128];
        sound = read_text(&reader, name, sizeof name);
        bool none = sound && skip_nil(&reader);
        if (sound && !none) sound = read_text(&reader, value, sizeof value);
        if (!sound) break;
        if (strncmp(name, HOST_OWN_LABELS, strlen(HOST_OWN_LABELS)) == 0)
            return error_set(&task->error, ERROR_BAD_REQUEST,
                             "labels that begin with " HOST_OWN_LABELS " are not yours");
        enum error_code code =
            raft_configuration_set_label(task->wanted, task->id, name, none ? NULL : value, &task->error);
        if (code != ERROR_OK) return code;
    }
    if (sound) return ERROR_OK;
    return error_set(&task->error, ERROR_BAD_REQUEST,
                     "`labels` is a map of names to texts, each shorter than 128 bytes");
}

/* {key: number}, or {key: text} where there is one. */
static void answer_map(struct host *host, struct waiter *waiter, const char *key, uint64_t number,
                       const char *text)
{
    buffer_clear(&host->scratch);
    mp_write_map(&host->scratch, 1);
    mp_write_text(&host->scratch, key);
    if (text != NULL)
        mp_write_text(&host->scratch, text);
    else
        mp_write_u64(&host->scratch, number);
    answer(host, waiter, ERROR_OK, buffer_slice(&host->scratch));
}
