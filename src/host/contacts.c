/*
 * Contacts: nodes outside the effective configuration that this one has to speak with all the same. A blank node that
 * asks to join (a guest) is answered over a connection of ours; a node that joined knows its cluster's first members
 * only, and learns from their hellos where the present ones are; a server that the others have added may call before
 * the entry that says so has arrived here, even under the id of one that was removed since; one that was removed has to
 * be told. Whoever is silent for long is forgotten.
 */
#include "host/internal.h"

#include <string.h>

static struct contact *place_for(struct host *host, const char *id);

struct contact *contact_find(struct host *host, const char *id)
{
    for (size_t i = 0; i < host->contact_count; i++) {
        if (strcmp(host->contacts[i].id.text, id) == 0) return &host->contacts[i];
    }
    return NULL;
}

/* The hello of somebody who is not a member as far as is known here, and who may speak. One that is blank itself keeps
 * them in mind: the first configuration, once it is stored, may mean others by those ids, and they will not say hello
 * again. */
void contact_note(struct host *host, const struct hello *hello)
{
    struct contact *contact = contact_find(host, hello->identity.id);
    bool same = contact != NULL && contact->incarnation == hello->identity.incarnation &&
                strcmp(contact->address, hello->address) == 0;
    if (contact == NULL) contact = place_for(host, hello->identity.id);
    contact->incarnation = hello->identity.incarnation;
    contact->guest = hello->joining;
    contact->until_us = host_now(host) + CONTACT_US;
    memcpy(contact->address, hello->address, sizeof contact->address);
    if (!same && host->identity.cluster != 0) members_tell(host); /* while blank it is dialled as a candidate */
}

/* Where all places are taken, whoever has been silent longest goes. */
static struct contact *place_for(struct host *host, const char *id)
{
    struct contact *place = &host->contacts[0];
    if (host->contact_count < CONTACTS_MAX) {
        place = &host->contacts[host->contact_count++];
    } else {
        for (size_t i = 1; i < CONTACTS_MAX; i++) {
            if (host->contacts[i].until_us < place->until_us) place = &host->contacts[i];
        }
    }
    *place = (struct contact){.id = raft_id_of(id)};
    return place;
}

/* Somebody that an operator wants to add: it is called at that address, and its hello says who it is. */
void contact_expect(struct host *host, const char *id, const char *address)
{
    struct contact *contact = contact_find(host, id);
    if (contact != NULL && strcmp(contact->address, address) == 0) return;
    struct hello hello = {.joining = true};
    memcpy(hello.identity.id, id, strlen(id) + 1);
    memcpy(hello.address, address, strlen(address) + 1);
    contact_note(host, &hello);
}

/* A server that is no member any more: the leader still has to tell it so. A contact under the id of a member is its
 * successor (contacts_prune), and stays. */
void contact_keep(struct host *host, const struct member *left)
{
    if (left->address[0] == 0 || strcmp(left->id.text, host->identity.id) == 0) return;
    if (contact_find(host, left->id.text) != NULL) return;
    struct contact *contact = place_for(host, left->id.text);
    contact->incarnation = left->incarnation;
    contact->guest = left->guest;
    contact->until_us = host->now_us + CONTACT_US / 10;
    memcpy(contact->address, left->address, sizeof contact->address);
}

void contact_heard(struct host *host, const char *id)
{
    if (host->contact_count == 0) return;
    struct contact *contact = contact_find(host, id);
    if (contact != NULL) contact->until_us = host_now(host) + CONTACT_US;
}

/* Those who have become members (under an id that was only expected: whoever it is) go, and those who were silent for
 * long; true: somebody went. */
bool contacts_prune(struct host *host)
{
    size_t kept = 0, before = host->contact_count;
    for (size_t i = 0; i < before; i++) {
        struct contact *contact = &host->contacts[i];
        const struct member *member = member_find(host, contact->id.text);
        bool goes = contact->until_us <= host->now_us ||
                    (member != NULL && (contact->incarnation == 0 ||
                                        contact->incarnation == member->incarnation));
        if (!goes) host->contacts[kept++] = *contact;
    }
    host->contact_count = kept;
    return kept < before;
}

bool contact_may_ask(struct host *host, const struct identity *from, const struct request *request)
{
    const struct contact *contact = contact_find(host, from->id);
    const struct member *member = member_find(host, from->id);
    bool known = (contact != NULL && contact->guest && contact->incarnation == from->incarnation) ||
                 (member != NULL && member->incarnation == from->incarnation);
    return known && from->cluster == 0 && request->kind == REQUEST_ADMIN;
}
