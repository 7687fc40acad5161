#include "core/task.h"

#include <assert.h>
#include <string.h>

void task_init(struct core_task *t)
{
    memset(t, 0, sizeof *t);
    answer_init(&t->answer);
    t->submit_at = t->start_at = t->complete_at = t->deliver_at = INSTANT_NONE;
    t->deadline = t->wake_at = t->checkout_until = INSTANT_NEVER;
    t->limit = THROTTLE_LIMIT_NONE;
    list_init(&t->link);
    list_init(&t->in_line);
    heap_node_init(&t->timer);
    heap_node_init(&t->retry);
}

void task_init_again(struct core_task *t)
{
    t->next = NULL;
    t->state = TASK_NEW;
    t->attempts = 0;
    t->in_run = t->given_back = false;
    t->submit_at = t->start_at = t->complete_at = t->deliver_at = INSTANT_NONE;
    t->complete_index = 0;
    t->run.rows = 0;
}

void run_spread(struct core_run *r)
{
    struct core_task *first = run_first(r), *t = first;

    if (r->single)
        return;
    for (uint32_t i = 0; i < r->rows; i++, t = t->next) {
        task_prefetch(t, t->next, 3);
        t->state = TASK_DELIVERED;
        t->in_run = true;
        t->attempts = 1;
        t->submit_at = first->submit_at;
        t->deliver_at = first->deliver_at;
        t->start_at = t->answer.started_at;
        t->complete_at = t->answer.ended_at;
        t->complete_index = first->complete_index + i;
    }
}

void task_clear(struct core_task *t)
{
    answer_clear(&t->answer);
}

#define TO(state) (1u << (state))

/* I6: from each state, those that may follow. */
static const unsigned moves[] = {
    /* COMMITTED: its result is in the store already; FINISHED: it can never run */
    [TASK_NEW] = TO(TASK_READY) | TO(TASK_COMMITTED) | TO(TASK_FINISHED) | TO(TASK_QUEUED),
    [TASK_READY] = TO(TASK_RUNNING) | TO(TASK_FINISHED) | TO(TASK_DROPPED) | TO(TASK_QUEUED),
    /* QUEUED, here and below: it goes on in the fallback pool, where its session is taken */
    [TASK_WAITING] = TO(TASK_READY) | TO(TASK_FINISHED) | TO(TASK_DROPPED) | TO(TASK_QUEUED),
    /* READY: another attempt without a wait */
    [TASK_RUNNING] =
        TO(TASK_WAITING) | TO(TASK_READY) | TO(TASK_FINISHED) | TO(TASK_DROPPED) | TO(TASK_QUEUED),
    [TASK_QUEUED] = TO(TASK_READY) | TO(TASK_FINISHED) | TO(TASK_DROPPED),
    /* DROPPED: the store could not take it */
    [TASK_FINISHED] = TO(TASK_COMMITTED) | TO(TASK_DROPPED),
    [TASK_COMMITTED] = TO(TASK_DELIVERED),
    [TASK_DELIVERED] = 0,
    [TASK_DROPPED] = 0,
};

bool task_may_move(enum task_state from, enum task_state to)
{
    return (size_t)from < sizeof moves / sizeof *moves &&
           (size_t)to < sizeof moves / sizeof *moves && (moves[from] & TO(to)) != 0;
}

void task_move(struct core_task *t, enum task_state to)
{
    assert(task_may_move(t->state, to));
    t->state = to;
}

const char *task_state_name(enum task_state state)
{
    static const char *const names[] = {
        [TASK_NEW] = "new",
        [TASK_READY] = "ready",
        [TASK_WAITING] = "waiting",
        [TASK_RUNNING] = "running",
        [TASK_FINISHED] = "finished",
        [TASK_COMMITTED] = "committed",
        [TASK_DELIVERED] = "delivered",
        [TASK_DROPPED] = "dropped",
        [TASK_QUEUED] = "queued",
    };

    return (size_t)state < sizeof names / sizeof *names ? names[state] : "unknown";
}
