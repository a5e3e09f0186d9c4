/*
 * One id, several disks. A node that loses its disk, or was removed and joins again, is another server under the same
 * id: another incarnation, which has promised nothing. What the former one held and promised is kept here, for the
 * cluster may go on counting on it.
 *
 * Its votes are kept apart, too: an id may be seen to vote twice in a term, once by each incarnation, and two leaders
 * cannot come of it. Let A lead a term T by a configuration C that names the former incarnation, and B by a later one
 * that names the new one. Between them lies one that names neither, D, and all three are in B's log; D was committed
 * before the new incarnation was let in (a known id with another incarnation is refused), in a term S < T, for B's log
 * ends before T when it campaigns. So a majority of D had D in its log in term S. D differs from the one before it by
 * one voter (or both halves of a joint configuration decided), so that majority and any one of C's, taken one step at a
 * time, share a server that holds D and voted for A after; so A's log holds D too, and C was not A's configuration.
 * What this rests on is that a vote counts for the incarnation that gave it: the host drops messages of an incarnation
 * that its configuration does not mean (host/members.c), and network.c those of one whose hello was not accepted.
 */
#include "sim/internal.h"

#include "base/memory.h"

void life_begin(struct sim_node *node, uint64_t incarnation)
{
    struct sim *sim = node->sim;
    struct sim_ballots *ballots = &sim->ledger.ballots[node->number];
    node->former = memory_resize(node->former, node->former_count + 1, sizeof *node->former);
    node->former[node->former_count++] = (struct sim_life){node->disk, *ballots};
    *ballots = (struct sim_ballots){0};
    disk_init(sim, &node->disk, incarnation);
}

void lives_deinit(struct sim_node *node)
{
    for (size_t i = 0; i < node->former_count; i++) {
        disk_deinit(&node->former[i].disk);
        memory_free(node->former[i].ballots.items);
    }
    memory_free(node->former);
    node->former = NULL;
    node->former_count = 0;
}

const struct sim_disk *life_disk(const struct sim_node *node, uint64_t incarnation)
{
    if (node->disk.incarnation == incarnation) return &node->disk;
    for (size_t i = 0; i < node->former_count; i++) {
        if (node->former[i].disk.incarnation == incarnation) return &node->former[i].disk;
    }
    return NULL;
}

static raft_index match_of(const struct sim *sim, const struct sim_ballots *ballots,
                           const struct sim_disk *disk, raft_term term)
{
    raft_index once = term < ballots->count ? ballots->items[term].match : 0;
    raft_index now = disk->hard_state.term == term ? ledger_match(&sim->ledger, term, disk) : 0;
    return once > now ? once : now;
}

raft_index life_match(const struct sim_node *node, uint64_t incarnation, raft_term term)
{
    const struct sim *sim = node->sim;
    raft_index longest = 0;
    if (incarnation == 0 || node->disk.incarnation == incarnation)
        longest = match_of(sim, &sim->ledger.ballots[node->number], &node->disk, term);
    for (size_t i = 0; i < node->former_count; i++) {
        const struct sim_life *life = &node->former[i];
        if (incarnation != 0 && life->disk.incarnation != incarnation) continue;
        raft_index match = match_of(sim, &life->ballots, &life->disk, term);
        if (match > longest) longest = match;
    }
    return longest;
}

unsigned life_vote(const struct sim_node *node, uint64_t incarnation, raft_term term)
{
    const struct sim_ballots *ballots = NULL;
    if (node->disk.incarnation == incarnation) ballots = &node->sim->ledger.ballots[node->number];
    for (size_t i = 0; i < node->former_count; i++) {
        if (node->former[i].disk.incarnation == incarnation) ballots = &node->former[i].ballots;
    }
    return ballots && term < ballots->count ? ballots->items[term].durable : 0;
}
