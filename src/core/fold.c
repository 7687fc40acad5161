#include "core/fold.h"

static bool is_barrier(const struct registry_op *op)
{
    return op->kind == REGISTRY_CANCEL || op->kind == REGISTRY_EDIT || op->kind == REGISTRY_WAKE;
}

static void mark(struct registry_op *chain, uint64_t *groups)
{
    ++*groups;
    for (struct registry_op *op = chain; op; op = op->next) {
        *groups += is_barrier(op);
        op->group = *groups;
        if (op->kind != REGISTRY_END || !op->start_op || op->start_op->group != *groups ||
            op->start_op->spilled || op->start_op->doubt)
            continue;
        op->start_op->folded = true;
        op->end.started = true;
        op->end.start = op->start_op->start;
    }
}

struct registry_op *fold_starts(struct registry_op **chain, struct registry_op ***ret_tail,
                                uint64_t *groups)
{
    struct registry_op *folded = NULL, **tail = &folded, **link = chain;

    mark(*chain, groups);
    while (*link) {
        struct registry_op *op = *link;

        if (!op->folded) {
            link = &op->next;
            continue;
        }
        *link = op->next;
        op->next = NULL;
        *tail = op;
        tail = &op->next;
    }
    *ret_tail = link;
    return folded;
}

void unfold_starts(struct registry_op **chain)
{
    for (struct registry_op **link = chain; *link; link = &(*link)->next) {
        struct registry_op *op = *link, *start = op->start_op;

        if (op->kind != REGISTRY_END || !start || !start->folded)
            continue;
        op->end.started = false;
        start->folded = false;
        start->next = op;
        *link = start;
        link = &start->next;
    }
}
