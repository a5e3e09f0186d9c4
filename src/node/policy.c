/*
 * The membership policy of this node: the host's port, and the VM that answers. What the host asks is noted and
 * answered at the end of the turn; the script runs for some milliseconds at most (script/policy.h).
 */
#include "base/memory.h"
#include "node/internal.h"
#include "script/policy.h"

#include <string.h>

/* A view to be decided about. Frees itself. */
struct question {
    struct later later;
    struct node *node;
    uint64_t ticket;
    size_t size;
    uint8_t view[];
};

static void decide(struct later *later);
static void script_says(void *context, const char *text);

void policy_open(struct node *node)
{
    node->policy = policy_vm_new(script_says, NULL);
}

void policy_close(struct node *node)
{
    policy_vm_free(node->policy);
    node->policy = NULL;
}

/* With the app. One that does not load fails at every view, until another comes: nothing is changed meanwhile. */
void policy_load(struct node *node)
{
    struct error error;
    if (policy_vm_load(node->policy, buffer_slice(&node->bundle), &error) != ERROR_OK)
        log_write(LOG_LEVEL_ERROR, "policy", "%s: the membership stays as it is", error.text);
}

void policy_ask(struct node *node, uint64_t ticket, struct slice view)
{
    struct question *question = memory_alloc(sizeof *question + view.size);
    question->later = (struct later){.run = decide};
    question->node = node;
    question->ticket = ticket;
    question->size = view.size;
    memcpy(question->view, view.data, view.size);
    node_later(node, &question->later);
}

static void decide(struct later *later)
{
    struct question *question = (struct question *)((char *)later - offsetof(struct question, later));
    struct node *node = question->node;
    struct buffer actions = {0};
    struct error error;
    if (node->policy != NULL) {
        if (node->load_due) app_load(node); /* the app's own policy, which came with this very turn */
        enum error_code code =
            policy_vm_decide(node->policy, slice_of(question->view, question->size), &actions, &error);
        host_policy_decided(node->host, question->ticket, buffer_slice(&actions), code != ERROR_OK ? &error : NULL);
    }
    buffer_deinit(&actions);
    memory_free(question);
}

static void script_says(void *context, const char *text)
{
    (void)context;
    log_write(LOG_LEVEL_INFO, "policy", "%s", text);
}
