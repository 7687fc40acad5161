#include "core/task.h"

#include <string.h>

void task_init(struct core_task *t)
{
    memset(t, 0, sizeof *t);
    answer_init(&t->answer);
    t->submit_at = t->start_at = t->complete_at = t->deliver_at = INSTANT_NONE;
    t->deadline = t->wake_at = INSTANT_NEVER;
    list_init(&t->link);
    heap_node_init(&t->timer);
    heap_node_init(&t->retry);
}

void task_clear(struct core_task *t)
{
    answer_clear(&t->answer);
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
    };

    return (size_t)state < sizeof names / sizeof *names ? names[state] : "unknown";
}
