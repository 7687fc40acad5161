/*
 * Durable tasks: what was submitted is done, also by the next run of the program when this one is
 * killed.
 *
 *     build/examples/tasks                  # a registry in a temporary file, removed at the end
 *     build/examples/tasks orders.db        # one that stays: kill it, run it again, and see that it goes on
 *
 * Three parts of an order are packed, in any order; it is sent when all of them are. One part fails
 * at first, and is tried again.
 */
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <weir/tasks.h>

static atomic_int tries;

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    if (row->len == 4 && memcmp(row->data, "lamp", 4) == 0 && atomic_fetch_add(&tries, 1) == 0)
        weir_answer_failed(answer, true, 0, "the shelf is empty, for now"); /* tried again */
    else
        weir_answer_ok(answer, row->data, row->len);
}

/* Submits the order. Its number makes sure that it is there once, however often the program was killed here. */
static enum weir_status submit_order(struct weir_tasks *tasks, uint64_t *ret_id,
                                     struct weir_error *err)
{
    static const char *const parts[] = {"chair", "table", "lamp"};
    static const char *const once[] = {"order-1/chair", "order-1/table", "order-1/lamp"};
    struct weir_task pack[3], send;
    uint64_t ids[3];
    enum weir_status status;

    for (size_t i = 0; i < 3; i++) {
        weir_task_init(&pack[i]); /* always first */
        pack[i].data = parts[i];
        pack[i].len = strlen(parts[i]);
        pack[i].idempotency_key = once[i];
    }
    status = weir_tasks_submit(tasks, pack, 3, ids, err); /* all of them or none */
    if (status != WEIR_OK)
        return status;
    weir_task_init(&send);
    send.data = "send";
    send.len = 4;
    send.idempotency_key = "order-1";
    send.after = ids;
    send.after_count = 3;
    return weir_tasks_submit(tasks, &send, 1, ret_id, err);
}

static enum weir_status show(struct weir_tasks *tasks, uint64_t id, struct weir_error *err)
{
    struct weir_task_info info;
    struct weir_tasks_stats stats;
    enum weir_status status = weir_tasks_wait(tasks, id, 60000, &info, err);

    if (status != WEIR_OK)
        return status;
    printf("the order is %s: %s\n", weir_task_state_name(info.state),
           info.output ? (const char *)info.output : "");
    weir_task_info_free(&info);
    status = weir_tasks_get_stats(tasks, &stats, err);
    if (status == WEIR_OK)
        printf("%" PRIu64 " tasks are done, with %" PRIu64 " events\n",
               stats.states[WEIR_TASK_DONE], stats.events);
    return status;
}

static enum weir_status run(struct weir_engine *engine, const char *path, struct weir_error *err)
{
    struct weir_tasks_options options;
    struct weir_task_pool_options pool;
    struct weir_tasks *tasks;
    uint64_t id;
    enum weir_status status;

    weir_tasks_options_init(&options);
    options.path = path;
    status = weir_tasks_open(engine, &options, &tasks, err);
    if (status != WEIR_OK)
        return status;
    weir_task_pool_options_init(&pool);
    pool.pool.size = 4;
    pool.pool.retry_delay_ms = 10;
    status = weir_tasks_pool_thread(tasks, &pool, work, NULL, err);
    if (status == WEIR_OK)
        status = weir_tasks_start(tasks, err); /* what a predecessor left goes on here */
    if (status == WEIR_OK)
        status = submit_order(tasks, &id, err);
    if (status == WEIR_OK)
        status = show(tasks, id, err);
    if (weir_tasks_close(tasks, 1000, status == WEIR_OK ? err : NULL) != WEIR_OK)
        return status == WEIR_OK ? WEIR_E_IO : status;
    return status;
}

int main(int argc, char **argv)
{
    char folder[] = "/tmp/weir-tasks-XXXXXX", made[64];
    const char *path = argc > 1 ? argv[1] : made;
    struct weir_engine *engine = NULL;
    struct weir_error err = {0};
    enum weir_status status;

    if (argc <= 1 && !mkdtemp(folder)) {
        perror(folder);
        return 1;
    }
    snprintf(made, sizeof made, "%s/tasks.db", folder);
    status = weir_open(NULL, &engine, &err);
    if (status == WEIR_OK)
        status = run(engine, path, &err);
    if (status != WEIR_OK)
        fprintf(stderr, "tasks: %s\n", err.message);
    weir_close(engine, NULL);
    if (argc <= 1) {
        unlink(made);
        snprintf(made, sizeof made, "%s/tasks.db-lock", folder);
        unlink(made);
        rmdir(folder);
    }
    return status == WEIR_OK ? 0 : 1;
}
