/*
 * Work that other programs do: a pool of worker processes that stay, and a pool of commands that
 * come and go.
 *
 *     build/examples/processes                       # from the top of the source tree
 *     build/examples/processes python3 my_worker.py  # with a worker of your own
 *
 * The worker reads requests and writes answers in frames (docs/worker-protocol.md). It is started
 * once, and asked as often as there is work. Here it gets a batch of rows, then one call by itself,
 * and at the end the pool says what became of it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <weir/workers.h>

static void said(void *ctx, uint64_t worker, const char *line, size_t len)
{
    (void)ctx;
    fprintf(stderr, "worker %" PRIu64 ": %.*s\n", worker, (int)len, line);
}

static enum weir_status run_batch(struct weir_pool *pool, struct weir_error *err)
{
    static const char *const texts[] = {"\"one\"", "\"two\"", "\"three\"", "\"four\""};
    struct weir_row rows[4] = {0};
    struct weir_results *results;
    enum weir_status status;

    for (size_t i = 0; i < 4; i++) {
        rows[i].data = texts[i];
        rows[i].len = strlen(texts[i]);
        rows[i].session =
            i % 2 == 0 ? "even" : "odd"; /* rows of a session meet the same worker, in order */
    }
    status = weir_run(pool, rows, 4, NULL, &results, err);
    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < results->count; i++)
        printf("%s -> %s %s%s\n", texts[i], weir_outcome_name(results->items[i].outcome),
               (const char *)results->items[i].output, results->items[i].message);
    weir_results_free(results);
    return WEIR_OK;
}

static enum weir_status call_once(struct weir_pool *pool, struct weir_error *err)
{
    static const char args[] = "\"a call by itself\"";
    struct weir_reply *reply;
    enum weir_status status;

    status =
        weir_call(pool, &(struct weir_call){.args = args, .args_len = strlen(args)}, &reply, err);
    if (status != WEIR_OK)
        return status;
    printf("call -> %s %s%s (worker %" PRIu64 ")\n", weir_outcome_name(reply->outcome),
           reply->output, reply->message, reply->worker);
    weir_reply_free(reply);
    return WEIR_OK;
}

static enum weir_status show_workers(struct weir_pool *pool, struct weir_error *err)
{
    struct weir_workers *workers;
    enum weir_status status = weir_pool_workers(pool, &workers, err);

    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < workers->count; i++) {
        const struct weir_worker *w = &workers->items[i];

        printf("worker %" PRIu64 " is %s and %s; %" PRIu64 " answers, %" PRIu64 " sessions\n",
               w->id, w->state, w->health, w->requests, w->sessions);
    }
    weir_workers_free(workers);
    return WEIR_OK;
}

static enum weir_status use_workers(struct weir_engine *engine, const char *const *argv,
                                    struct weir_error *err)
{
    struct weir_process_options process;
    struct weir_pool_options options;
    struct weir_pool *pool;
    enum weir_status status;

    weir_pool_options_init(&options);
    options.size = 2;
    weir_process_options_init(&process);
    process.argv = argv;
    process.said = said;
    status = weir_pool_open_process(engine, &options, &process, &pool, err);
    if (status == WEIR_OK)
        status = run_batch(pool, err);
    if (status == WEIR_OK)
        status = call_once(pool, err);
    return status == WEIR_OK ? show_workers(pool, err) : status;
}

static enum weir_status use_commands(struct weir_engine *engine, struct weir_error *err)
{
    static const char *const argv[] = {"expr", "length", "{}", NULL};
    const struct weir_row rows[] = {{.data = "one", .len = 3}, {.data = "a few words", .len = 11}};
    struct weir_command_options command;
    struct weir_pool_options options;
    struct weir_results *results;
    struct weir_pool *pool;
    enum weir_status status;

    weir_pool_options_init(&options);
    options.size = 2;
    weir_command_options_init(&command);
    command.argv = argv;
    status = weir_pool_open_command(engine, &options, &command, &pool, err);
    if (status == WEIR_OK)
        status = weir_run(pool, rows, 2, NULL, &results, err);
    if (status != WEIR_OK)
        return status;
    for (size_t i = 0; i < results->count; i++)
        printf("expr length '%s' -> %s", (const char *)rows[i].data,
               (const char *)results->items[i].output);
    weir_results_free(results);
    return WEIR_OK;
}

int main(int argc, char **argv)
{
    static const char *const shipped[] = {"sh", "examples/workers/upper.sh", NULL};
    struct weir_engine *engine;
    struct weir_error err;
    enum weir_status status = weir_open(NULL, &engine, &err);

    if (status == WEIR_OK) {
        status = use_workers(engine, argc > 1 ? (const char *const *)argv + 1 : shipped, &err);
        if (status == WEIR_OK)
            status = use_commands(engine, &err);
        weir_close(engine, NULL);
    }
    if (status != WEIR_OK)
        fprintf(stderr, "%s\n", err.message);
    return status == WEIR_OK ? 0 : 1;
}
