/*
 * Rows through weir's pool of worker processes, linked with what is inside.
 *
 *     workers_inside ECHO rows BYTES ROWS WORKERS DEPTH [PER_S]
 *     workers_inside ECHO kill ROUNDS
 *     workers_inside ECHO sessions COUNT LOOK_UPS
 *     workers_inside ECHO talk COUNT REQUESTS
 *
 * rows: one thread adds, another takes, in order; each row's args are a JSON string of BYTES bytes,
 * and its result must be the same. With PER_S a row is added each so often, and the time from there
 * to its result in hand is told. kill: a worker dies of a request; how long until the next one is
 * served, beside how long the same program takes to start and answer. sessions: finds one of so
 * many bound sessions. talk: what a whole request costs of which each is of one of so many, taken
 * at random, one request at a time.
 */
#include "benchkit.h"

#include "base/list.h"
#include "base/mem.h"
#include "engine/engine.h"
#include "exec/process/process.h"
#include "loop/loop.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

/* More rows than there can be at once, so that their memory can be used again. */
#define ROWS_AT_ONCE    (2 * BATCH_WINDOW_ROWS)
#define LOOKED_AT_BYTES 256
#define DICE            UINT64_C(88172645463325252)

struct row {
    struct core_task task;
    struct process_request request;
    char session[32];
};

struct run {
    char *echo;
    uint64_t bytes, rows, per_s;
    uint64_t sessions, dice; /* sessions: 0, none; dice: of random numbers */
    size_t workers, depth;
    char *args;
    struct row *memory;
    double *added_s, *took_s;
    struct engine *engine;
    struct core_pool *pool;
    struct engine_batch *batch;
};

static enum weir_status make_executor(void *ctx, const struct core_pool_options *o,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct run *r = ctx;
    char json[] = "json", *argv[] = {r->echo, json, NULL};
    struct process_options p;

    (void)o;
    process_options_init(&p);
    p.argv = argv;
    p.crew.pool = "bench";
    p.crew.size = r->workers;
    p.crew.max_in_flight = (uint32_t)r->depth;
    return process_executor_new(&p, loop, host, ret, err);
}

/* What goes wrong with a worker is said; all else is seen by the observer and left. */
static void on_event(struct core_observer *o, const struct core_event *ev)
{
    (void)o;
    if (ev->kind == EVENT_WORKER_SAID)
        fprintf(stderr, "worker %" PRIu64 ": %s\n", ev->worker, ev->detail);
}

static const struct core_observer_ops observer_ops = {.event = on_event};
static struct core_observer observer = {&observer_ops};

static void open_all(struct run *r)
{
    struct core_pool_options pool;
    struct engine_batch_options batch = {.store = NULL};
    struct weir_error err;

    core_pool_options_init(&pool);
    pool.size = r->workers * r->depth;
    pool.max_attempts = 1;
    core_batch_options_init(&batch.core);
    if (engine_new(&(struct engine_options){.seed = 1, .observer = &observer}, &r->engine, &err) !=
            WEIR_OK ||
        engine_add_pool(r->engine, &pool, make_executor, r, &r->pool, &err) != WEIR_OK ||
        engine_open_batch(r->engine, r->pool, &batch, &r->batch, &err) != WEIR_OK)
        bench_die(err.message);
    r->memory = calloc(ROWS_AT_ONCE, sizeof *r->memory);
    r->args = malloc(r->bytes + 1);
    if (!r->memory || !r->args)
        bench_die("no memory");
    memset(r->args, 'x', r->bytes);
    r->args[0] = r->args[r->bytes - 1] = '"';
}

static void close_all(struct run *r)
{
    engine_batch_end(r->batch);
    engine_batch_close(r->batch);
    engine_free(r->engine);
    free(r->memory);
    free(r->args);
}

static void row_release(struct core_task *task)
{
    task_clear(task);
}

static uint64_t roll(uint64_t *dice)
{
    *dice ^= *dice << 13;
    *dice ^= *dice >> 7;
    *dice ^= *dice << 17;
    return *dice;
}

/* The first rows are one of each session, so that all are bound. */
static void name_session(struct run *r, struct row *row, uint64_t i)
{
    if (r->sessions == 0)
        return;
    snprintf(row->session, sizeof row->session, "user-%" PRIu64,
             i < r->sessions ? i : roll(&r->dice) % r->sessions);
    row->task.session = row->session;
}

static void add_row(struct run *r, uint64_t i, const char *command)
{
    struct row *row = &r->memory[i % ROWS_AT_ONCE];
    struct weir_error err;

    task_init(&row->task);
    row->request = (struct process_request){.command = command, .args = {r->args, r->bytes}};
    row->task.index = i;
    row->task.key = "row";
    row->task.payload = &row->request;
    row->task.release = row_release;
    name_session(r, row, i);
    if (engine_batch_add(r->batch, &row->task, true, &err) != WEIR_OK)
        bench_die(err.message);
}

static void wait_until(double when_s)
{
    struct timespec t = {.tv_sec = (time_t)when_s,
                         .tv_nsec = (long)((when_s - (double)(time_t)when_s) * 1e9)};

    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

static void *add_rows(void *arg)
{
    struct run *r = arg;
    double start_s = bench_now_s();

    for (uint64_t i = 1; i < r->rows; i++) {
        if (r->per_s)
            wait_until(start_s + (double)i / (double)r->per_s);
        if (r->per_s)
            r->added_s[i] = bench_now_s();
        add_row(r, i, NULL);
    }
    engine_batch_end(r->batch);
    return NULL;
}

/* Of most large results only the beginning and the length are looked at. */
static int is_right(const struct run *r, const struct core_task *t)
{
    size_t looked_at = r->bytes > LOOKED_AT_BYTES && t->index % 64 ? LOOKED_AT_BYTES : r->bytes;

    return t->answer.outcome == WEIR_OUTCOME_OK && t->answer.output_len == r->bytes &&
           memcmp(t->answer.output, r->args, looked_at) == 0 && t->attempts == 1 &&
           t->complete_at.ns >= t->start_at.ns && t->start_at.ns >= t->submit_at.ns;
}

/* Returns the rows that were taken. */
static uint64_t take_some(struct run *r, uint64_t taken)
{
    struct core_task *chain;
    struct weir_error err;
    double now_s;

    if (engine_batch_next(r->batch, -1, &chain, &err) != WEIR_OK)
        bench_die(err.message);
    now_s = r->per_s ? bench_now_s() : 0;
    for (struct core_task *t = chain; t; t = t->next, taken++) {
        if (t->index != taken || !is_right(r, t))
            bench_die(t->answer.message ? t->answer.message : "a result is not as it must be");
        if (r->per_s)
            r->took_s[taken] = now_s - r->added_s[taken];
    }
    engine_batch_give_back(r->batch, chain);
    return taken;
}

static int earlier(const void *a, const void *b)
{
    double d = *(const double *)a - *(const double *)b;

    return d < 0 ? -1 : d > 0;
}

static void tell_percentiles(double *took_s, uint64_t count)
{
    qsort(took_s, count, sizeof *took_s, earlier);
    bench_tell("p50_us", took_s[count / 2] * 1e6);
    bench_tell("p99_us", took_s[count * 99 / 100] * 1e6);
}

static void run_rows(struct run *r)
{
    struct core_stats stats;
    uint64_t taken = 0;
    pthread_t adder;
    double start_s;

    r->rows++; /* the first one waits for the workers to start */
    r->added_s = calloc(r->rows, sizeof *r->added_s);
    r->took_s = calloc(r->rows, sizeof *r->took_s);
    open_all(r);
    add_row(r, 0, NULL);
    while (taken < 1)
        taken = take_some(r, taken);
    start_s = bench_now_s();
    if (pthread_create(&adder, NULL, add_rows, r))
        bench_die("no thread");
    while (taken < r->rows)
        taken = take_some(r, taken);
    bench_tell("rows_per_s", (double)(r->rows - 1) / (bench_now_s() - start_s));
    if (r->per_s)
        tell_percentiles(r->took_s + 1, r->rows - 1);
    pthread_join(adder, NULL);
    engine_batch_stats(r->batch, &stats);
    if (stats.successes != r->rows)
        bench_die("the statistics are not as they must be");
    close_all(r);
    free(r->added_s);
    free(r->took_s);
}

/* ---- a worker that dies ---- */

/* How long the program takes from its start to its first answer, without weir. */
static double start_alone_s(char *echo)
{
    static const char ping[] = "\0\0\0\x2a{\"id\":1,\"command\":\"ping\",\"args\":null}    ";
    char json[] = "json", *argv[] = {echo, json, NULL}, answer[256];
    posix_spawn_file_actions_t actions;
    int to[2], from[2];
    double start_s = bench_now_s(), took_s;
    pid_t pid;

    if (pipe2(to, O_CLOEXEC) || pipe2(from, O_CLOEXEC))
        bench_die("no pipe");
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, to[0], 0);
    posix_spawn_file_actions_adddup2(&actions, from[1], 1);
    if (posix_spawn(&pid, echo, &actions, NULL, argv, environ))
        bench_die("the worker cannot be started");
    if (write(to[1], ping, 4 + 0x2a) < 0 || read(from[0], answer, sizeof answer) <= 0)
        bench_die("the worker does not answer");
    took_s = bench_now_s() - start_s;
    for (int i = 0; i < 2; i++) {
        close(to[i]);
        close(from[i]);
    }
    posix_spawn_file_actions_destroy(&actions);
    waitpid(pid, NULL, 0);
    return took_s;
}

static void run_kill(struct run *r, uint64_t rounds)
{
    double *alone_s = calloc(rounds, sizeof *alone_s), *took_s = calloc(rounds, sizeof *took_s);
    double sum_s = 0;

    r->rows = 3 * rounds;
    open_all(r);
    for (uint64_t i = 0; i < rounds; i++) {
        struct core_task *chain;
        struct weir_error err;
        int64_t died_ns = 0;

        alone_s[i] = start_alone_s(r->echo);
        /* One that works, so that the next death is not taken for a program that cannot run. */
        add_row(r, 3 * i, NULL);
        add_row(r, 3 * i + 1, "die");
        add_row(r, 3 * i + 2, NULL);
        for (uint64_t seen = 0; seen < 3;) {
            if (engine_batch_next(r->batch, -1, &chain, &err) != WEIR_OK)
                bench_die(err.message);
            for (struct core_task *t = chain; t; t = t->next, seen++) {
                if ((t->answer.outcome == WEIR_OUTCOME_LOST) != (seen == 1))
                    bench_die("an outcome is not as it must be");
                if (seen == 1)
                    died_ns = t->start_at.ns; /* it dies when it has read it */
                else
                    took_s[i] = (double)(t->complete_at.ns - died_ns) * 1e-9;
            }
            engine_batch_give_back(r->batch, chain);
        }
        sum_s += alone_s[i];
    }
    tell_percentiles(took_s, rounds);
    bench_tell("start_us", sum_s / (double)rounds * 1e6);
    bench_tell("added_p99_ms", (took_s[rounds * 99 / 100] - sum_s / (double)rounds) * 1e3);
    close_all(r);
    free(alone_s);
    free(took_s);
}

/* ---- sessions ---- */

static void run_sessions(uint64_t count, uint64_t look_ups)
{
    struct worker *w = calloc(1, sizeof *w);
    struct affinity_options o;
    struct affinity *a;
    struct weir_error err;
    struct instant now = loop_clock();
    uint64_t dice = DICE;
    char name[32];
    double start_s;

    affinity_options_init(&o);
    if (!w || affinity_new(&o, now, &a, &err) != WEIR_OK)
        bench_die("no memory");
    list_init(&w->session_list);
    for (uint64_t i = 0; i < count; i++) {
        int len = snprintf(name, sizeof name, "user-%" PRIu64, i);
        struct session *s = affinity_find(a, name, (size_t)len, now);

        affinity_bind(a, s, w, now);
        affinity_leave(a, s, now);
    }
    start_s = bench_now_s();
    for (uint64_t i = 0; i < look_ups; i++) {
        struct session *s;
        int len;

        len = snprintf(name, sizeof name, "user-%" PRIu64, roll(&dice) % count);
        s = affinity_find(a, name, (size_t)len, now);
        if (!s || s->worker != w)
            bench_die("a session is not bound as it must be");
        affinity_use(a, s, true, now);
        affinity_leave(a, s, now);
    }
    bench_tell("look_up_ns", (bench_now_s() - start_s) / (double)look_ups * 1e9);
    affinity_drop_worker(a, w, now);
    affinity_free(a);
    free(w);
}

static void *bind_all(void *arg)
{
    struct run *r = arg;

    for (uint64_t i = 0; i < r->sessions; i++)
        add_row(r, i, NULL);
    return NULL;
}

static double cpu_now_s(void)
{
    struct timespec t;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec * 1e-9;
}

static void run_talk(struct run *r, uint64_t requests)
{
    double *took_s = calloc(requests, sizeof *took_s), start_s, cpu_s;
    uint64_t taken = 0;
    pthread_t binder;

    open_all(r);
    if (!took_s || pthread_create(&binder, NULL, bind_all, r))
        bench_die("no thread, or no memory");
    while (taken < r->sessions)
        taken = take_some(r, taken);
    pthread_join(binder, NULL);
    cpu_s = cpu_now_s();
    for (uint64_t i = 0; i < requests; i++) {
        start_s = bench_now_s();
        add_row(r, taken, NULL);
        taken = take_some(r, taken);
        took_s[i] = bench_now_s() - start_s;
    }
    /* Of weir alone: its workers are other processes. */
    bench_tell("cpu_us_per_row", (cpu_now_s() - cpu_s) / (double)requests * 1e6);
    tell_percentiles(took_s, requests);
    close_all(r);
    free(took_s);
}

int main(int argc, char **argv)
{
    struct run r = {.echo = (char *)(uintptr_t)bench_text(argc, argv, 1),
                    .bytes = 10,
                    .workers = 1,
                    .depth = 1};
    const char *what = bench_text(argc, argv, 2);

    if (strcmp(what, "kill") == 0) {
        run_kill(&r, bench_number(argc, argv, 3));
    } else if (strcmp(what, "sessions") == 0) {
        run_sessions(bench_number(argc, argv, 3), bench_number(argc, argv, 4));
    } else if (strcmp(what, "talk") == 0) {
        r.workers = 2;
        r.dice = DICE;
        r.sessions = bench_number(argc, argv, 3);
        run_talk(&r, bench_number(argc, argv, 4));
    } else {
        r.bytes = bench_number(argc, argv, 3);
        r.rows = bench_number(argc, argv, 4);
        r.workers = bench_number(argc, argv, 5);
        r.depth = bench_number(argc, argv, 6);
        r.per_s = argc > 7 ? bench_number(argc, argv, 7) : 0;
        run_rows(&r);
    }
    return 0;
}
