/*
 * A binary min-heap of nodes that know where they are. The child of the node at i is at 2i+1 and
 * 2i+2; each move writes the index back into the node.
 */
#include "base/heap.h"

#include "base/mem.h"

#include <assert.h>
#include <stdint.h>

static void put(struct heap *h, size_t at, struct heap_node *n)
{
    h->nodes[at] = n;
    n->at = at;
}

/* Moves the hole at `at` up to where n belongs, and puts n there. */
static void sift_up(struct heap *h, size_t at, struct heap_node *n)
{
    while (at > 0) {
        size_t parent = (at - 1) / 2;

        if (!h->less(n, h->nodes[parent]))
            break;
        put(h, at, h->nodes[parent]);
        at = parent;
    }
    put(h, at, n);
}

static void sift_down(struct heap *h, size_t at, struct heap_node *n)
{
    for (;;) {
        size_t child = 2 * at + 1;

        if (child >= h->len)
            break;
        if (child + 1 < h->len && h->less(h->nodes[child + 1], h->nodes[child]))
            child++;
        if (!h->less(h->nodes[child], n))
            break;
        put(h, at, h->nodes[child]);
        at = child;
    }
    put(h, at, n);
}

/* n goes to where the hole at `at` is, or above or below it. */
static void settle(struct heap *h, size_t at, struct heap_node *n)
{
    if (at > 0 && h->less(n, h->nodes[(at - 1) / 2]))
        sift_up(h, at, n);
    else
        sift_down(h, at, n);
}

void heap_init(struct heap *h, heap_less_fn less)
{
    *h = (struct heap){.less = less};
}

bool heap_reserve(struct heap *h, size_t count)
{
    struct heap_node **nodes;
    size_t cap;

    if (count <= h->cap)
        return true;
    if (count > SIZE_MAX / 2 / sizeof(struct heap_node *))
        return false;
    /* At least doubled: whoever reserves one more each time pays O(1) for it all the same. */
    cap = h->cap * 2 > count ? h->cap * 2 : count;
    nodes = mem_realloc(h->nodes, cap * sizeof(struct heap_node *));
    if (!nodes)
        return false;
    h->nodes = nodes;
    h->cap = cap;
    return true;
}

void heap_push(struct heap *h, struct heap_node *n)
{
    assert(!heap_contains(n));
    assert(h->len < h->cap);
    h->len++;
    sift_up(h, h->len - 1, n);
}

struct heap_node *heap_first(const struct heap *h)
{
    return h->len > 0 ? h->nodes[0] : NULL;
}

struct heap_node *heap_pop(struct heap *h)
{
    struct heap_node *first = heap_first(h);

    if (first)
        heap_remove(h, first);
    return first;
}

void heap_remove(struct heap *h, struct heap_node *n)
{
    struct heap_node *last;
    size_t at = n->at;

    if (!heap_contains(n))
        return;
    assert(at < h->len && h->nodes[at] == n);
    h->len--;
    last = h->nodes[h->len];
    n->at = HEAP_ABSENT;
    if (last != n)
        settle(h, at, last);
}

void heap_moved(struct heap *h, struct heap_node *n)
{
    assert(n->at < h->len && h->nodes[n->at] == n);
    settle(h, n->at, n);
}

bool heap_is_valid(const struct heap *h)
{
    for (size_t i = 0; i < h->len; i++) {
        if (h->nodes[i]->at != i)
            return false;
        if (i > 0 && h->less(h->nodes[i], h->nodes[(i - 1) / 2]))
            return false;
    }
    return h->len <= h->cap;
}

void heap_free(struct heap *h)
{
    for (size_t i = 0; i < h->len; i++)
        h->nodes[i]->at = HEAP_ABSENT;
    h->nodes = mem_free(h->nodes);
    h->len = 0;
    h->cap = 0;
}
