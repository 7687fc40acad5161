/*
 * A binary min-heap of nodes that live in their elements and know where they are, so that an
 * element can be removed or moved in O(log n) without a search.
 *
 *     heap_init(&timers, timer_less);
 *     if (!heap_reserve(&timers, tasks)) ...       // the only call that allocates
 *     heap_push(&timers, &task->timer);            // cannot fail within what is reserved
 *
 * Ties: `less` must be a strict order; to have a deterministic order among equals (I7), compare a
 * sequence number too.
 */
#ifndef BASE_HEAP_H
#define BASE_HEAP_H

#include <stdbool.h>
#include <stddef.h>

#define HEAP_ABSENT ((size_t)-1)

struct heap_node {
    size_t at; /* index in the heap; HEAP_ABSENT: in none */
};

typedef bool (*heap_less_fn)(const struct heap_node *a, const struct heap_node *b);

struct heap {
    struct heap_node **nodes;
    size_t len;
    size_t cap;
    heap_less_fn less;
};

static inline void heap_node_init(struct heap_node *n)
{
    n->at = HEAP_ABSENT;
}

static inline bool heap_contains(const struct heap_node *n)
{
    return n->at != HEAP_ABSENT;
}

void heap_init(struct heap *h, heap_less_fn less);
/* Makes room for `count` nodes in all. False: no memory, nothing changed. */
bool heap_reserve(struct heap *h, size_t count);
/* The node is in no heap, and there is room for it (asserted). */
void heap_push(struct heap *h, struct heap_node *n);
/* The least node, or NULL. */
struct heap_node *heap_first(const struct heap *h);
struct heap_node *heap_pop(struct heap *h);
/* Harmless on a node that is in no heap. */
void heap_remove(struct heap *h, struct heap_node *n);
/* Puts a node back in order after its key changed. */
void heap_moved(struct heap *h, struct heap_node *n);
/* Checks the order of all nodes; for tests and the simulator. */
bool heap_is_valid(const struct heap *h);
/* Frees the heap's own memory, not the nodes'. */
void heap_free(struct heap *h);

#endif
