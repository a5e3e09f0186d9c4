/*
 * Order: a B+tree of items. Leaves are linked; an inner node's entry i repeats the least item under
 * its child i, so there are no separators of their own to keep alive: after any change below, the
 * entry is read again from the child.
 *
 * A table with few keys is one small leaf that grows by doubling; only a root leaf is ever smaller
 * than NODE_MAX. A full node splits in two halves, or, when the new key goes to its very end, stays
 * full and begins a new one: keys that come in order fill the leaves. Nodes that become a quarter
 * full are merged with a neighbour where both fit.
 */
#include "state/internal.h"

#include "base/memory.h"

#include <assert.h>
#include <string.h>

#define NODE_MAX   32
#define NODE_FIRST 4

static struct state_item **items_of(const struct state_node *node);
static struct state_node **children_of(const struct state_node *node);
static struct state_node *node_new(unsigned height, unsigned capacity);
static struct slice key_bytes(struct state_key key, uint8_t integer[8]);
static struct slice item_bytes(const struct state_item *item);
static uint32_t bound(const struct state_node *node, struct slice key, bool *exact);
static uint32_t bound_by_heads(const struct state_node *node, struct slice key);
static const struct state_node *descend(const struct state_node *node, struct slice key);

/* ---- finding ---- */

/* In the leaf the prefix is not compared: the one candidate is compared whole in the end. */
struct state_item *order_find(const struct state_node *root, struct state_key key)
{
    if (!root) return NULL;
    uint8_t integer[8];
    struct slice bytes = key_bytes(key, integer);
    const struct state_node *leaf = descend(root, bytes);
    if (bytes.size < leaf->prefix) return NULL;
    uint32_t at = bound_by_heads(leaf, bytes);
    if (at == leaf->count) return NULL;
    struct state_item *item = items_of(leaf)[at];
    return slice_equal(item_bytes(item), bytes) ? item : NULL;
}

struct order_place order_seek(const struct state_node *root, const struct state_key *key,
                              bool beyond, bool reverse)
{
    struct order_place nowhere = {NULL, 0};
    const struct state_node *node = root;
    if (!node) return nowhere;
    if (!key) {
        while (node->height > 0) node = children_of(node)[reverse ? node->count - 1 : 0];
        return (struct order_place){node, reverse ? node->count - 1u : 0};
    }
    uint8_t integer[8];
    struct slice bytes = key_bytes(*key, integer);
    node = descend(node, bytes);
    bool exact;
    struct order_place place = {node, bound(node, bytes, &exact)};
    if (exact && !beyond) return place;
    if (reverse) {
        if (place.at > 0) return (struct order_place){node, place.at - 1};
        place.at = 0;
        return order_step(place, true);
    }
    if (exact) return order_step(place, false);
    if (place.at < node->count) return place;
    return node->next ? (struct order_place){node->next, 0} : nowhere;
}

struct order_place order_step(struct order_place place, bool reverse)
{
    const struct state_node *leaf = place.leaf;
    if (!reverse) {
        if (place.at + 1 < leaf->count) return (struct order_place){leaf, place.at + 1};
        return (struct order_place){leaf->next, 0};
    }
    if (place.at > 0) return (struct order_place){leaf, place.at - 1};
    const struct state_node *before = leaf->previous;
    return (struct order_place){before, before ? before->count - 1u : 0};
}

struct state_item *order_item(struct order_place place)
{
    return place.leaf ? items_of(place.leaf)[place.at] : NULL;
}

/* ---- inserting ---- */

static struct state_node *insert_below(struct state_node **at, struct state_item *item);
static struct state_node *add_entry(struct state_node **at, uint32_t i, struct state_item *item,
                                    struct state_node *child);
static void place_entry(struct state_node *node, uint32_t i, struct state_item *item,
                        struct state_node *child);
static void set_item(struct state_node *node, uint32_t i, struct state_item *item);
static struct state_node *grow(struct state_node *node);
static struct state_node *split(struct state_node *node, unsigned keep);
static void set_prefix(struct state_node *node, uint32_t prefix);
static uint32_t longest_prefix(const struct state_node *node);

void order_insert(struct state_node **root, struct state_item *item)
{
    if (!*root) *root = node_new(0, NODE_FIRST);
    struct state_node *right = insert_below(root, item);
    if (!right) return;
    struct state_node *left = *root;
    *root = node_new(left->height + 1u, NODE_MAX);
    place_entry(*root, 0, items_of(left)[0], left);
    place_entry(*root, 1, items_of(right)[0], right);
}

/* Down the right edge, without a look at the keys there: a full node stays full, and a new one begins
 * behind it. */
static struct state_node *append_below(struct state_node **at, struct state_item *item)
{
    struct state_node *node = *at;
    if (node->height == 0) return add_entry(at, node->count, item, NULL);
    struct state_node *right = append_below(&children_of(node)[node->count - 1], item);
    return right ? add_entry(at, node->count, items_of(right)[0], right) : NULL;
}

void order_append(struct state_node **root, struct state_item *item)
{
    if (!*root) *root = node_new(0, NODE_FIRST);
    struct state_node *right = append_below(root, item);
    if (!right) return;
    struct state_node *left = *root;
    *root = node_new(left->height + 1u, NODE_MAX);
    place_entry(*root, 0, items_of(left)[0], left);
    place_entry(*root, 1, items_of(right)[0], right);
}

/* Returns the new right half when the node had to split. */
static struct state_node *insert_below(struct state_node **at, struct state_item *item)
{
    struct state_node *node = *at;
    bool exact;
    uint32_t i = bound(node, item_bytes(item), &exact);
    assert(!exact);
    if (node->height == 0) return add_entry(at, i, item, NULL);
    if (i > 0) i--;
    struct state_node *right = insert_below(&children_of(node)[i], item);
    set_item(node, i, items_of(children_of(node)[i])[0]);
    if (!right) return NULL;
    return add_entry(at, i + 1, items_of(right)[0], right);
}

static struct state_node *add_entry(struct state_node **at, uint32_t i, struct state_item *item,
                                    struct state_node *child)
{
    struct state_node *node = *at;
    if (node->count < node->capacity) {
        place_entry(node, i, item, child);
        return NULL;
    }
    if (node->capacity < NODE_MAX) {
        *at = grow(node);
        place_entry(*at, i, item, child);
        return NULL;
    }
    struct state_node *right = split(node, i == node->count ? i : NODE_MAX / 2);
    if (i <= node->count && node->count < NODE_MAX) {
        place_entry(node, i, item, child);
    } else {
        place_entry(right, i - node->count, item, child);
    }
    return right;
}

static void place_entry(struct state_node *node, uint32_t i, struct state_item *item,
                        struct state_node *child)
{
    assert(node->count < node->capacity && i <= node->count);
    size_t behind = node->count - i;
    struct state_item **items = items_of(node);
    memmove(node->heads + i + 1, node->heads + i, behind * sizeof *node->heads);
    memmove(items + i + 1, items + i, behind * sizeof(struct state_item *));
    if (node->height > 0) {
        struct state_node **children = children_of(node);
        memmove(children + i + 1, children + i, behind * sizeof(struct state_node *));
        children[i] = child;
    }
    node->count++;
    items[i] = NULL;
    set_item(node, i, item);
}

static uint64_t head_of(struct slice key, uint32_t prefix);
static uint32_t common_prefix(struct slice a, struct slice b, uint32_t most);

/* A key that does not share the node's prefix shortens it for all. */
static void set_item(struct state_node *node, uint32_t i, struct state_item *item)
{
    struct state_item **items = items_of(node);
    if (items[i] == item) return;
    items[i] = item;
    uint32_t prefix = 0;
    if (node->count > 1) {
        prefix = common_prefix(item_bytes(item), item_bytes(items[i ? 0 : 1]), node->prefix);
    }
    if (prefix < node->prefix) {
        set_prefix(node, prefix);
    } else {
        node->heads[i] = head_of(item_bytes(item), node->prefix);
    }
}

static struct state_node *grow(struct state_node *node)
{
    assert(node->height == 0 && !node->next && !node->previous);
    struct state_node *larger = node_new(0, node->capacity * 2u);
    larger->count = node->count;
    memcpy(items_of(larger), items_of(node), node->count * sizeof(struct state_item *));
    set_prefix(larger, longest_prefix(larger));
    memory_free(node);
    return larger;
}

static struct state_node *split(struct state_node *node, unsigned keep)
{
    struct state_node *right = node_new(node->height, NODE_MAX);
    size_t moved = node->count - keep;
    memcpy(items_of(right), items_of(node) + keep, moved * sizeof(struct state_item *));
    if (node->height > 0) {
        memcpy(children_of(right), children_of(node) + keep, moved * sizeof(struct state_node *));
    } else {
        right->next = node->next;
        right->previous = node;
        if (node->next) node->next->previous = right;
        node->next = right;
    }
    right->count = (uint16_t)moved;
    node->count = (uint16_t)keep;
    set_prefix(right, longest_prefix(right));
    set_prefix(node, longest_prefix(node));
    return right;
}

static void set_prefix(struct state_node *node, uint32_t prefix)
{
    node->prefix = prefix;
    struct state_item **items = items_of(node);
    for (uint32_t i = 0; i < node->count; i++) {
        node->heads[i] = head_of(item_bytes(items[i]), prefix);
    }
}

/* The keys are in order: what first and last share, all share. */
static uint32_t longest_prefix(const struct state_node *node)
{
    if (node->count < 2) return 0;
    struct state_item **items = items_of(node);
    return common_prefix(item_bytes(items[0]), item_bytes(items[node->count - 1]), UINT32_MAX);
}

static uint32_t common_prefix(struct slice a, struct slice b, uint32_t most)
{
    size_t limit = a.size < b.size ? a.size : b.size;
    if (limit > most) limit = most;
    uint32_t same = 0;
    while (same < limit && a.data[same] == b.data[same]) same++;
    return same;
}

/* ---- removing ---- */

static struct state_item *remove_below(struct state_node *node, struct slice key);
static void remove_entry(struct state_node *node, uint32_t i);
static void merge_if_small(struct state_node *node, uint32_t i);
static void free_child(struct state_node *node, uint32_t i);

struct state_item *order_remove(struct state_node **root, struct state_key key)
{
    uint8_t integer[8];
    struct state_item *item = remove_below(*root, key_bytes(key, integer));
    while ((*root)->height > 0 && (*root)->count == 1) {
        struct state_node *only = children_of(*root)[0];
        memory_free(*root);
        *root = only;
    }
    if ((*root)->count == 0) {
        memory_free(*root);
        *root = NULL;
    }
    return item;
}

static struct state_item *remove_below(struct state_node *node, struct slice key)
{
    bool exact;
    uint32_t i = bound(node, key, &exact);
    if (node->height == 0) {
        assert(exact);
        struct state_item *item = items_of(node)[i];
        remove_entry(node, i);
        return item;
    }
    if (!exact) i--;
    struct state_node *child = children_of(node)[i];
    struct state_item *item = remove_below(child, key);
    if (child->count == 0) {
        free_child(node, i);
    } else {
        set_item(node, i, items_of(child)[0]);
        merge_if_small(node, i);
    }
    return item;
}

static void remove_entry(struct state_node *node, uint32_t i)
{
    size_t behind = node->count - i - 1u;
    struct state_item **items = items_of(node);
    memmove(node->heads + i, node->heads + i + 1, behind * sizeof *node->heads);
    memmove(items + i, items + i + 1, behind * sizeof(struct state_item *));
    if (node->height > 0) {
        struct state_node **children = children_of(node);
        memmove(children + i, children + i + 1, behind * sizeof(struct state_node *));
    }
    node->count--;
    if (node->count < 2) set_prefix(node, 0);
}

static void merge_if_small(struct state_node *node, uint32_t i)
{
    struct state_node **children = children_of(node);
    if (children[i]->count > NODE_MAX / 4 || node->count < 2) return;
    if (i == 0) i = 1;
    struct state_node *left = children[i - 1], *right = children[i];
    if (left->count + right->count > NODE_MAX * 3 / 4) return;
    memcpy(items_of(left) + left->count, items_of(right),
           right->count * sizeof(struct state_item *));
    if (left->height > 0) {
        memcpy(children_of(left) + left->count, children_of(right),
               right->count * sizeof(struct state_node *));
    }
    left->count = (uint16_t)(left->count + right->count);
    set_prefix(left, longest_prefix(left));
    free_child(node, i);
}

static void free_child(struct state_node *node, uint32_t i)
{
    struct state_node *child = children_of(node)[i];
    if (child->next) child->next->previous = child->previous;
    if (child->previous) child->previous->next = child->next;
    memory_free(child);
    remove_entry(node, i);
}

/* As deep as the tree is high. */
void order_free(struct state_node *root, void (*each)(struct state_item *item))
{
    if (!root) return;
    for (uint32_t i = 0; i < root->count; i++) {
        if (root->height > 0) {
            order_free(children_of(root)[i], each);
        } else if (each) {
            each(items_of(root)[i]);
        }
    }
    memory_free(root);
}

/* ---- within a node ---- */

static struct state_item **items_of(const struct state_node *node)
{
    return (struct state_item **)(void *)(node->heads + node->capacity);
}

static struct state_node **children_of(const struct state_node *node)
{
    return (struct state_node **)(void *)(items_of(node) + node->capacity);
}

static struct state_node *node_new(unsigned height, unsigned capacity)
{
    size_t entry = sizeof(uint64_t) + sizeof(struct state_item *);
    if (height > 0) entry += sizeof(struct state_node *);
    struct state_node *node = memory_alloc(sizeof *node + capacity * entry);
    *node = (struct state_node){.capacity = (uint16_t)capacity, .height = (uint16_t)height};
    return node;
}

static struct slice key_bytes(struct state_key key, uint8_t integer[8])
{
    if (key.is_string) return key.string;
    integer_key_write(integer, key.integer);
    return slice_of(integer, 8);
}

static struct slice item_bytes(const struct state_item *item)
{
    return slice_of(item->key, item->size);
}

/* Highest byte first, so that heads compare as the bytes do; zeros behind a short key. */
static uint64_t head_of(struct slice key, uint32_t prefix)
{
    uint64_t head = 0;
    if (key.size >= prefix + 8u) {
        memcpy(&head, key.data + prefix, 8);
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
        head = __builtin_bswap64(head);
#endif
        return head;
    }
    for (size_t i = prefix; i < key.size; i++) {
        head |= (uint64_t)key.data[i] << (56 - 8 * (i - prefix));
    }
    return head;
}

/* Below 0: the key comes before all that share the node's prefix; above 0: behind them; 0: it
 * shares the prefix. */
static int compare_prefix(const struct state_node *node, struct slice key)
{
    if (node->prefix == 0) return 0;
    size_t shared = key.size < node->prefix ? key.size : node->prefix;
    int order = shared ? memcmp(key.data, items_of(node)[0]->key, shared) : 0;
    return order ? order : -(key.size < node->prefix);
}

/* The first entry at or above the key. */
static uint32_t bound(const struct state_node *node, struct slice key, bool *exact)
{
    *exact = false;
    int order = compare_prefix(node, key);
    if (order != 0) return order < 0 ? 0 : node->count;
    uint32_t at = bound_by_heads(node, key);
    *exact = at < node->count && slice_equal(item_bytes(items_of(node)[at]), key);
    return at;
}

/* The same for a key known to share the prefix. Only keys with equal heads are looked at
 * themselves. */
static uint32_t bound_by_heads(const struct state_node *node, struct slice key)
{
    uint64_t head = head_of(key, node->prefix);
    uint32_t low = 0, high = node->count;
    while (low < high) {
        uint32_t middle = (low + high) / 2;
        uint64_t there = node->heads[middle];
        bool below = there < head;
        if (there == head) below = slice_compare(item_bytes(items_of(node)[middle]), key) < 0;
        if (below) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return low;
}

/* To the leaf where the key is, if it is anywhere: always into the last child whose least item is
 * not above the key. Items are only looked at where their heads do not decide. */
static const struct state_node *descend(const struct state_node *node, struct slice key)
{
    while (node->height > 0) {
        uint32_t low = 0, high = node->count;
        int order = compare_prefix(node, key);
        uint64_t head = order == 0 ? head_of(key, node->prefix) : 0;
        if (order < 0) high = 0;
        if (order > 0) low = high;
        while (low < high) {
            uint32_t middle = (low + high) / 2;
            uint64_t there = node->heads[middle];
            bool above = there > head;
            if (there == head) above = slice_compare(item_bytes(items_of(node)[middle]), key) > 0;
            if (above) {
                high = middle;
            } else {
                low = middle + 1;
            }
        }
        node = children_of(node)[low ? low - 1 : 0];
    }
    return node;
}
