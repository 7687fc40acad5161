/*
 * Durable tasks through the registry: submitted, then taken, started and ended, with all their
 * events.
 *
 *     registry_inside FOLDER TASKS TASKS_PER_TRANSACTION
 *
 * A task has 100 bytes. First all are submitted, so many in one op, which is one transaction;
 * nobody takes them yet, as in a queue that has grown. Then each transaction takes the next ones
 * and ends those of the one before: done, their START folded in, as the clerk writes it when both
 * have come before either was written.
 */
#include "benchkit.h"

#include "base/mem.h"
#include "store/registry/sqlite_registry.h"

#include <unistd.h>

#define PAYLOAD_BYTES 100

static struct core_registry *registry;

static void apply(struct registry_op *chain)
{
    struct weir_error err;

    if (registry->ops->apply(registry, chain, &err) != WEIR_OK)
        bench_die(err.message);
    for (struct registry_op *op = chain; op; op = op->next) {
        if (op->err.status != WEIR_OK)
            bench_die(op->err.message);
        while (op->ret_ready) {
            struct registry_task *t = op->ret_ready;

            op->ret_ready = t->next;
            mem_free(t);
        }
        op->ret_lines = mem_free(op->ret_lines);
    }
}

static int64_t now_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void submit_all(uint64_t tasks, uint64_t group)
{
    struct registry_spec *specs = calloc(group, sizeof(*specs));
    char payload[PAYLOAD_BYTES];

    if (!specs)
        bench_die("no memory");
    memset(payload, 'x', sizeof(payload));
    for (uint64_t i = 0; i < group; i++)
        specs[i] = (struct registry_spec){.line = {.pool = SLICE("local")},
                                          .payload = {payload, sizeof(payload)}};
    for (uint64_t done = 0; done < tasks; done += group)
        apply(&(struct registry_op){.kind = REGISTRY_SUBMIT,
                                    .at_ns = now_ns(),
                                    .submit = {.specs = specs, .count = group}});
    free(specs);
}

static void make_end(struct registry_op *op, const struct registry_task *t)
{
    int64_t at_ns = now_ns();

    *op = (struct registry_op){.kind = REGISTRY_END, .at_ns = at_ns};
    op->end = (struct registry_end){
        .task = t->id,
        .token = t->id,
        .attempt = 1,
        .started = true,
        .start = {.task = t->id,
                  .token = t->id,
                  .attempt = 1,
                  .pool = SLICE("local"),
                  .runner = {.pid = 1234}},
        .next = REGISTRY_DONE,
        .started_ns = at_ns - 1000000,
        .run_ns = 1000000,
        .wait_ns = at_ns - t->rank,
        .pool = SLICE("local"),
    };
}

/* Returns how many were ended. */
static uint64_t run_all(uint64_t group)
{
    struct registry_op take = {.kind = REGISTRY_TAKE}, *ends = calloc(group, sizeof(*ends));
    int64_t passed = INT64_MIN;
    uint64_t done = 0;

    if (!ends)
        bench_die("no memory");
    for (uint64_t held = 0;;) {
        take.next = held ? &ends[0] : NULL;
        take.at_ns = now_ns();
        take.take = (struct registry_take){
            .line = 1, .max = (uint32_t)group, .after_rank = passed, .max_bytes = UINT64_MAX};
        for (uint64_t i = 0; i < held; i++)
            ends[i].next = i + 1 < held ? &ends[i + 1] : NULL;
        apply(&take);
        done += held;
        held = 0;
        while (take.take.ret_tasks) {
            struct registry_task *t = take.take.ret_tasks;

            make_end(&ends[held++], t);
            passed = t->rank;
            take.take.ret_tasks = t->next;
            mem_free(t);
        }
        if (held == 0)
            break;
    }
    free(ends);
    return done;
}

static void open_it(const char *path)
{
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_FULL};
    struct weir_error err;

    if (sqlite_registry_open(path, &o, &registry, &err) != WEIR_OK)
        bench_die(err.message);
}

int main(int argc, char **argv)
{
    uint64_t tasks = bench_number(argc, argv, 2), group = bench_number(argc, argv, 3);
    char path[4096];
    double start_s;

    snprintf(path, sizeof path, "%s/tasks.weir", bench_text(argc, argv, 1));
    unlink(path);
    open_it(path);
    start_s = bench_now_s();
    submit_all(tasks, group);
    bench_tell("submitted_per_s", (double)tasks / (bench_now_s() - start_s));
    /* What submitting has handed over is not kept here: another engine takes everything anew. */
    registry->ops->close(registry);
    open_it(path);
    start_s = bench_now_s();
    if (run_all(group) != tasks)
        bench_die("tasks are missing");
    bench_tell("ended_per_s", (double)tasks / (bench_now_s() - start_s));
    registry->ops->close(registry);
    unlink(path);
    strncat(path, "-lock", sizeof path - strlen(path) - 1);
    unlink(path);
    return 0;
}
