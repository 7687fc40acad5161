/* See run_queue.h. */
#include "engine/run_queue.h"

void run_queue_add(struct run_queue *q, struct core_run *r)
{
    r->next = NULL;
    if (q->first)
        q->last->next = r;
    else
        q->first = r;
    q->last = r;
}

void run_queue_add_single(struct run_queue *q, struct core_task *t)
{
    t->run.rows = 1;
    t->run.single = true;
    t->run.last = t;
    run_queue_add(q, &t->run);
}

void run_queue_add_row(struct run_queue *q, struct core_task *t)
{
    struct core_run *r = q->last;

    if (q->first && !r->single && r->rows < RUN_ROWS_MAX && t->index == r->last->index + 1) {
        r->last->next = t;
        r->last = t;
        r->rows++;
        return;
    }
    t->run.rows = 1;
    t->run.single = false;
    t->run.last = t;
    run_queue_add(q, &t->run);
}

struct run_queue run_queue_take(struct run_queue *q)
{
    struct run_queue all = *q;

    q->first = NULL;
    return all;
}

void run_queue_join(struct run_queue *q, struct run_queue *behind)
{
    if (!behind->first)
        return;
    if (q->first)
        q->last->next = behind->first;
    else
        q->first = behind->first;
    q->last = behind->last;
    behind->first = NULL;
}

struct core_run *run_queue_take_rows(struct run_queue *q, uint64_t rows)
{
    struct core_run *first = q->first, *last = first;

    for (uint64_t taken = first->rows; last->next && taken + last->next->rows <= rows;) {
        last = last->next;
        taken += last->rows;
    }
    q->first = last->next;
    last->next = NULL;
    return first;
}

struct core_task *run_queue_spread(struct core_run *r)
{
    struct core_task *chain = run_first(r);

    while (r) {
        struct core_run *next = r->next;

        r->last->next = next ? run_first(next) : NULL;
        run_spread(r);
        r = next;
    }
    return chain;
}
