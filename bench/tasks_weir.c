/*
 * Durable tasks through the library: submitted in bulk, then run by threads that do nothing, all
 * with events.
 *
 *     tasks_weir FILE TASKS GROUP [THREADS]
 */
#include "weir/tasks.h"

#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static double now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static void check(enum weir_status status, const struct weir_error *err)
{
    if (status == WEIR_OK)
        return;
    fprintf(stderr, "tasks_weir: %s\n", err->message);
    exit(1);
}

static void work(void *ctx, const struct weir_row *row, struct weir_answer *answer)
{
    (void)ctx;
    (void)row;
    weir_answer_ok(answer, NULL, 0);
}

static void submit_all(struct weir_tasks *tasks, size_t count, size_t group)
{
    static char data[100];
    struct weir_task *t = calloc(group, sizeof *t);
    struct weir_error err;

    memset(data, 'x', sizeof data);
    for (size_t i = 0; i < group; i++) {
        weir_task_init(&t[i]);
        t[i].data = data;
        t[i].len = sizeof data;
    }
    for (size_t i = 0; i < count; i += group)
        check(weir_tasks_submit(tasks, t, count - i < group ? count - i : group, NULL, &err), &err);
    free(t);
}

static void wait_all(struct weir_tasks *tasks, size_t count)
{
    struct weir_tasks_stats stats;
    struct weir_error err;
    struct timespec pause = {.tv_nsec = 2000000};

    do {
        nanosleep(&pause, NULL);
        check(weir_tasks_get_stats(tasks, &stats, &err), &err);
    } while (stats.states[WEIR_TASK_DONE] < count);
}

int main(int argc, char **argv)
{
    struct weir_engine *engine;
    struct weir_tasks *tasks;
    struct weir_tasks_options o;
    struct weir_task_pool_options p;
    struct weir_error err = {0};
    size_t count, group;
    double start, submitted, done;

    if (argc < 4) {
        fprintf(stderr, "usage: tasks_weir FILE TASKS GROUP [THREADS]\n");
        return 2;
    }
    count = strtoull(argv[2], NULL, 10);
    group = strtoull(argv[3], NULL, 10);
    weir_tasks_options_init(&o);
    o.path = argv[1];
    check(weir_open(NULL, &engine, &err), &err);
    check(weir_tasks_open(engine, &o, &tasks, &err), &err);
    weir_task_pool_options_init(&p);
    p.pool.size = argc > 4 ? strtoull(argv[4], NULL, 10) : 64;
    p.pool.throttle = WEIR_THROTTLE_NONE;
    check(weir_tasks_pool_thread(tasks, &p, work, NULL, &err), &err);
    start = now_s();
    submit_all(tasks, count, group);
    submitted = now_s();
    check(weir_tasks_start(tasks, &err), &err);
    wait_all(tasks, count);
    done = now_s();
    printf("submitted_per_s %.1f\nended_per_s %.1f\n", (double)count / (submitted - start),
           (double)count / (done - submitted));
    check(weir_tasks_close(tasks, 0, &err), &err);
    check(weir_close(engine, &err), &err);
    return 0;
}
