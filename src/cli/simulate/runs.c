/*
 * See runs.h. Threads take the next run from a counter; the calling thread waits at a pipe for the
 * byte that each run leaves, and wakes up now and then to show how far they are.
 */
#include "cli/simulate/runs.h"

#include "base/error.h"
#include "base/mem.h"
#include "cli/output/text.h"
#include "cli/simulate/job.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

#define PROGRESS_MS 200

/* Set by a signal handler, which is handed nothing; once, and never taken back. */
static atomic_bool stop_asked;

void runs_stop(void)
{
    atomic_store_explicit(&stop_asked, true, memory_order_relaxed);
}

enum weir_status runs_make(const struct simulate_options *o, struct runs *ret,
                           struct weir_error *err)
{
    size_t seeds = (size_t)o->seeds;

    *ret = (struct runs){
        .options = o, .sides = o->side_count, .seeds = seeds, .told_fd = -1, .status = WEIR_OK};
    ret->results = mem_calloc(ret->sides * seeds, sizeof *ret->results);
    if (o->plot)
        ret->series = mem_calloc(ret->sides, sizeof *ret->series);
    if (!ret->results || (o->plot && !ret->series)) {
        runs_free(ret);
        return error_nomem(err);
    }
    return WEIR_OK;
}

void runs_free(struct runs *r)
{
    r->results = mem_free(r->results);
    r->series = mem_free(r->series);
}

/* Seeds in the outer turn: the first results of all sides come first. */
static enum weir_status do_one(struct runs *r, size_t number, struct weir_error *err)
{
    const struct simulate_options *o = r->options;
    size_t side = number % r->sides, seed = number / r->sides;
    bool oracle = o->sides[side] == SIMULATE_ORACLE;
    struct job *j = mem_calloc(1, sizeof *j);
    enum weir_status status;

    if (!j)
        return error_nomem(err);
    j->study = o->study;
    j->study.seed = (uint64_t)o->seed + seed;
    if (!oracle)
        j->study.pool.gate.throttle.kind = (enum throttle_kind)o->sides[side];
    j->halt = o->flow.halt;
    j->series = r->series && seed == 0 ? &r->series[side] : NULL;
    j->events = number == 0 ? r->events : NULL;
    j->stop = &stop_asked;
    j->rows = &r->rows;
    status = job_run(j, oracle, &r->results[side * r->seeds + seed], err);
    mem_free(j);
    return status;
}

static void *work(void *ctx)
{
    struct runs *r = ctx;
    size_t all = r->sides * r->seeds, number;

    while ((number = atomic_fetch_add(&r->next, 1)) < all) {
        struct weir_error err = {0};
        enum weir_status status = WEIR_OK;

        if (!atomic_load(&stop_asked) && !atomic_load(&r->failed))
            status = do_one(r, number, &err);
        if (status != WEIR_OK && !atomic_exchange(&r->failed, true)) {
            r->err = err;
            r->status = status;
        }
        /* The pipe holds a byte for each of all runs. */
        while (write(r->told_fd, "", 1) < 0 && errno == EINTR)
            continue;
    }
    return NULL;
}

static void show(struct runs *r, size_t done)
{
    struct buf line = {0};

    buf_printf(&line, "\r\033[Kweir simulate: %zu of %zu runs, ", done, r->sides * r->seeds);
    text_put_count(&line, atomic_load_explicit(&r->rows, memory_order_relaxed));
    buf_puts(&line, " rows");
    if (!line.failed)
        (void)!write(STDERR_FILENO, line.data, line.len);
    buf_free(&line);
}

/* Until a byte has come for each run. */
static void wait_for_all(struct runs *r, int fd)
{
    bool shows = !r->options->quiet && isatty(STDERR_FILENO);
    size_t all = r->sides * r->seeds, done = 0;
    bool shown = false;

    while (done < all) {
        struct pollfd p = {.fd = fd, .events = POLLIN};
        int ready = poll(&p, 1, shows ? PROGRESS_MS : -1);
        char bytes[64];
        ssize_t n = ready > 0 ? read(fd, bytes, sizeof bytes) : 0;

        if (n > 0)
            done += (size_t)n;
        if (shows && (ready == 0 || shown) && done < all) {
            show(r, done);
            shown = true;
        }
    }
    if (shown)
        (void)!write(STDERR_FILENO, "\r\033[K", 4);
}

static size_t thread_count(const struct runs *r)
{
    long processors = sysconf(_SC_NPROCESSORS_ONLN);
    size_t most = processors < 1 ? 1 : (size_t)processors;

    if (most > RUNS_THREADS_MAX)
        most = RUNS_THREADS_MAX;
    return r->sides * r->seeds < most ? r->sides * r->seeds : most;
}

enum weir_status runs_do(struct runs *r, struct core_observer *events, struct weir_error *err)
{
    pthread_t threads[RUNS_THREADS_MAX];
    size_t wanted = thread_count(r), started = 0;
    int ends[2];
    int errnum = 0;

    r->events = events;
    if (pipe2(ends, O_CLOEXEC) != 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make a pipe");
    r->told_fd = ends[1];
    while (started < wanted && errnum == 0) {
        errnum = pthread_create(&threads[started], NULL, work, r);
        if (errnum == 0)
            started++;
    }
    /* One thread does it as well, only later. */
    if (started > 0)
        wait_for_all(r, ends[0]);
    for (size_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    close(ends[0]);
    close(ends[1]);
    r->told_fd = -1;
    if (started == 0)
        return error_set_errno(err, WEIR_E_IO, errnum, "cannot start a thread");
    r->stopped = atomic_load(&stop_asked);
    if (atomic_load(&r->failed)) {
        if (err)
            *err = r->err;
        return r->status;
    }
    return WEIR_OK;
}
