/*
 * What must hold in the registry in memory, looked at from outside of what makes it so.
 */
#include "store/registry/memory_registry.h"

#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

static const char *check_task(const struct memory_registry *m, const struct memory_task *t)
{
    uint32_t unmet = 0;

    for (uint32_t i = 0; i < t->edge_count; i++) {
        const struct memory_task *on = memory_find(m, t->edges[i].on);

        unmet += !t->edges[i].met;
        if (i > 0 && t->edges[i].on <= t->edges[i - 1].on)
            return "dependencies are out of order";
        if (on && on->state == REGISTRY_DONE && !t->edges[i].met)
            return "a dependency that is done is not met";
    }
    if (unmet != t->blocked_by)
        return "blocked_by is not what is not met";
    if (!rules_ended(t->state) && (t->state == REGISTRY_BLOCKED) != (unmet > 0))
        return "a task waits for nothing, or does not wait";
    if (t->stuck && t->state != REGISTRY_BLOCKED)
        return "one that is stuck is not blocked";
    if (t->cancelling && t->state != REGISTRY_RUNNING)
        return "one that is to be cancelled does not run";
    if (t->end_told && t->state != REGISTRY_RUNNING)
        return "one whose attempt's end is told does not run";
    if (rules_ended(t->state) != (t->ended_ns != 0))
        return "one that has ended has no time, or another one has";
    if (t->state == REGISTRY_READY && t->rank > m->c.rank)
        return "a rank was not given";
    return heap_contains(&t->node) == (t->due_ns != 0) ? NULL : "the heap of times is wrong";
}

static const char *check_line(const struct memory_line *l)
{
    uint64_t ready = 0;
    uint32_t held = 0;

    if (l->gone && !memory_line_is_empty(l))
        return "a line that is gone has tasks";

    for (const struct memory_task *t = l->first; t; t = t->next) {
        if (t->line != l || t->state != REGISTRY_READY || t->prev == t)
            return "a task is in a line that is not its own";
        if (t->next ? t->next->prev != t || t->next->rank <= t->rank : l->last != t)
            return "a line is out of order";
        held += t->rank <= l->passed;
        ready++;
    }
    if (held != l->held)
        return "a line does not know what the engine has of it";
    return ready == l->states[REGISTRY_READY] ? NULL : "a line has lost a task";
}

const char *memory_registry_check(struct core_registry *r)
{
    struct memory_registry *m = memory_self(r);
    const char *wrong = NULL;
    uint64_t held = 0;

    pthread_mutex_lock(&m->lock);
    for (uint64_t i = 0; i < m->c.tasks && !wrong; i++)
        if (m->tasks[i])
            wrong = check_task(m, m->tasks[i]);
    for (uint64_t i = 0; i < m->c.lines && !wrong; i++) {
        if (!m->lines[i])
            continue;
        wrong = check_line(m->lines[i]);
        held += m->lines[i]->held;
    }
    if (!wrong && held != m->held)
        wrong = "the engine has more or less than is counted";
    if (!wrong && (m->undo || m->changed || m->lines_dropped || !heap_is_valid(&m->due)))
        wrong = "something is left of a transaction";
    pthread_mutex_unlock(&m->lock);
    return wrong;
}
