/*
 * The app's scripts: the machine that runs fsm.lua (the host calls it), the control VM with
 * api.lua, and what passes between that and the node.
 */
#include "base/memory.h"
#include "http/json.h"
#include "node/internal.h"
#include "script/bundle.h"

#include <string.h>

/* What the host answered to a script: given to it once the host has returned. Frees itself. */
struct answer {
    struct later later;
    struct node *node;
    uint64_t number;
    enum error_code code;
    size_t size;
    uint8_t body[];
};

static void submit(void *context, uint64_t number, const struct request *request);
static void respond(void *context, uint64_t exchange, const struct http_response *response);
static void status(void *context, struct buffer *out);
static void members(void *context, struct buffer *out);
static void config(void *context, struct buffer *out);
static enum error_code json_decode(void *context, struct slice json, struct buffer *out,
                                   struct error *error);
static void log_line(void *context, enum log_level level, const char *text);
static void script_says(void *context, const char *text);
static void warn_if_other(struct node *node);
static void give_answer(struct later *later);

void app_open(struct node *node)
{
    const struct control_ports ports = {
        .context = node,
        .submit = submit,
        .respond = respond,
        .status = status,
        .members = members,
        .config = config,
        .json_decode = json_decode,
        .log = log_line,
    };
    node->fsm = fsm_new(&node->options->settings, script_says, NULL);
    node->control = control_new(&ports);
    policy_open(node);
}

void app_close(struct node *node)
{
    control_free(node->control);
    node->control = NULL;
    policy_close(node);
}

void app_load(struct node *node)
{
    struct error error;
    node->load_due = false;
    warn_if_other(node);
    policy_load(node);
    if (control_load(node->control, buffer_slice(&node->bundle), buffer_slice(&node->config),
                     &error) == ERROR_OK) {
        log_write(LOG_LEVEL_INFO, "app", "the app is loaded");
    } else {
        log_write(LOG_LEVEL_ERROR, "app", "%s: its routes are not served%s", error.text,
                  node->loaded ? "; those of the app before it are, until a restart" : "");
    }
    node->loaded = true;
}

static void warn_if_other(struct node *node)
{
    struct buffer local = {0};
    const char *path = node->options->app;
    if (path != NULL && bundle_read(path, &local, NULL) == ERROR_OK &&
        bundle_hash(buffer_slice(&local)) != bundle_hash(buffer_slice(&node->bundle))) {
        log_write(LOG_LEVEL_WARN, "app",
                  "the app in %s differs from the cluster's: the cluster's runs", path);
    }
    buffer_deinit(&local);
}

void app_reply(struct node *node, uint64_t number, const struct reply *reply)
{
    struct answer *answer = memory_alloc(sizeof *answer + reply->body.size);
    answer->later = (struct later){.run = give_answer};
    answer->node = node;
    answer->number = number;
    answer->code = reply->code;
    answer->size = reply->body.size;
    if (answer->size > 0) memcpy(answer->body, reply->body.data, answer->size);
    node_later(node, &answer->later);
}

static void give_answer(struct later *later)
{
    struct answer *answer = (struct answer *)((char *)later - offsetof(struct answer, later));
    const struct reply reply = {answer->code, slice_of(answer->body, answer->size)};
    if (answer->node->control != NULL) control_reply(answer->node->control, answer->number, &reply);
    memory_free(answer);
}

/* ---- the control VM's ports ---- */

static void submit(void *context, uint64_t number, const struct request *request)
{
    struct node *node = context;
    host_submit(node->host, tickets_add(node->tickets, TICKET_CONTROL, NULL, number, NULL),
                request);
}

static void respond(void *context, uint64_t exchange, const struct http_response *response)
{
    web_respond(context, exchange, response);
}

static void status(void *context, struct buffer *out)
{
    status_write(context, out);
}

static void members(void *context, struct buffer *out)
{
    struct node *node = context;
    host_members(node->host, out);
}

static void config(void *context, struct buffer *out)
{
    struct node *node = context;
    host_config(node->host, out);
}

static enum error_code json_decode(void *context, struct slice json, struct buffer *out,
                                   struct error *error)
{
    (void)context;
    return json_to_value(json, out, error);
}

static void log_line(void *context, enum log_level level, const char *text)
{
    (void)context;
    log_write(level, "app", "%s", text);
}

static void script_says(void *context, const char *text)
{
    (void)context;
    log_write(LOG_LEVEL_INFO, "fsm", "%s", text);
}
