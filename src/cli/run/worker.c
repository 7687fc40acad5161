/*
 * Runs with long-lived workers: their pool, the fallback's, and what they write to standard error.
 *
 * Two executors of one kind may stand side by side; what each is made with is in a struct
 * worker_pool. --select is done between an executor and the engine: a host that looks at what comes
 * through and passes it on.
 */
#include "base/error.h"
#include "base/mem.h"
#include "cli/command/find.h"
#include "cli/run/run.h"
#include "core/worker/recovery.h"
#include "exec/process/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* What workers have said and nobody has read; more is dropped, and counted. */
#define SPOOL_BYTES_MAX ((size_t)1 << 20)
/* Why the first workers did not start; one of them is told. */
#define STARTS_BYTES_MAX ((size_t)4096)
/* A pipe that can be written to takes so many bytes without waiting. */
#define WRITE_BYTES 4096
/* Taken from the spool in one look, which may be as fast as they are written: then the main thread has other work. */
#define TAKES_PER_LOOK 16
/* At the end, whoever reads standard error is given so long to take the next lines. */
#define LAST_WAIT_MS 1000

/* ---- what they say ---- */

enum weir_status worker_log_open(struct run *r, struct weir_error *err)
{
    const char *path = r->options.worker.log;
    struct worker_log *log = &r->worker_log;

    if (r->options.kind != RUN_WORKER)
        return WEIR_OK;
    spool_init(&log->spool, SPOOL_BYTES_MAX, r->wake_fd);
    spool_init(&log->starts, STARTS_BYTES_MAX, r->wake_fd);
    log->open = true;
    if (!path)
        return WEIR_OK;
    log->fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0666);
    if (log->fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "--worker-log: %s cannot be opened", path);
    return WEIR_OK;
}

/* On the engine's thread. */
void worker_said(struct run *r, const struct core_event *ev)
{
    struct worker_log *log = &r->worker_log;

    if (!log->open || !ev->detail)
        return;
    buf_clear(&log->line);
    buf_printf(&log->line, "worker %" PRIu64 ": %s\n", ev->worker, ev->detail);
    spool_put(&log->spool, buf_slice(&log->line));
}

static bool has_room(int fd, int wait_ms)
{
    struct pollfd p = {.fd = fd, .events = POLLOUT};

    return poll(&p, 1, wait_ms) > 0 && (p.revents & POLLOUT);
}

/* Lines as long as they are taken; the rest stays for the next time. */
static void pass_on(struct run *r, struct worker_log *log, int wait_ms)
{
    while (log->taken_at < log->taken.len && has_room(STDERR_FILENO, wait_ms)) {
        const char *at = log->taken.data + log->taken_at;
        size_t left = log->taken.len - log->taken_at;
        const char *end = memchr(at, '\n', left);
        size_t len = end ? (size_t)(end - at) + 1 : left;

        if (len > WRITE_BYTES)
            len = WRITE_BYTES;
        run_aside(r, (struct slice){at, len});
        log->taken_at += len;
    }
}

static void write_log(struct worker_log *log)
{
    while (log->taken_at < log->taken.len) {
        ssize_t n = write(log->fd, log->taken.data + log->taken_at, log->taken.len - log->taken_at);

        if (n > 0)
            log->taken_at += (size_t)n;
        else if (n == 0 || errno != EINTR)
            log->taken_at = log->taken.len; /* it is a log: the run does not end for it */
    }
}

/* False: some of what was taken is still to be written. */
static bool write_taken(struct run *r, struct worker_log *log, int wait_ms)
{
    if (log->fd >= 0)
        write_log(log);
    else
        pass_on(r, log, wait_ms);
    return log->taken_at == log->taken.len;
}

static bool take(struct worker_log *log)
{
    log->taken_at = 0;
    return spool_take(&log->spool, &log->taken);
}

/* Nobody waits for who reads them. */
void worker_log_drain(struct run *r)
{
    struct worker_log *log = &r->worker_log;

    for (int i = 0; log->open && i < TAKES_PER_LOOK; i++)
        if (!write_taken(r, log, 0) || !take(log))
            return;
}

/* Returns how many lines could not be written. */
static uint64_t drain_last(struct run *r, struct worker_log *log)
{
    uint64_t lost = 0;
    bool taken = true;

    while (taken && write_taken(r, log, LAST_WAIT_MS))
        taken = take(log);
    for (; taken; taken = take(log))
        for (size_t i = log->taken_at; i < log->taken.len; i++)
            lost += log->taken.data[i] == '\n';
    return lost + spool_dropped(&log->spool);
}

void worker_log_close(struct run *r)
{
    struct worker_log *log = &r->worker_log;
    char text[100];
    uint64_t lost;

    if (log->open) {
        lost = drain_last(r, log);
        if (lost > 0) {
            (void)snprintf(text, sizeof text,
                           "weir run: %" PRIu64 " lines that workers wrote could not be shown\n",
                           lost);
            run_aside(r, slice_of(text));
        }
        spool_free(&log->spool);
        spool_free(&log->starts);
    }
    if (log->fd >= 0)
        (void)close(log->fd);
    buf_free(&log->line);
    buf_free(&log->taken);
    log->open = false;
    log->fd = -1;
}

/* ---- --select ---- */

static struct core_executor_host *real_host(struct core_executor_host *host)
{
    return ((struct select_host *)host)->to;
}

static void select_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct select_host *h = (struct select_host *)host;

    for (struct core_attempt *a = chain; a; a = a->next) {
        if (a->not_begun || a->answer.outcome != WEIR_OUTCOME_OK ||
            run_select_output(h->run, &a->answer))
            continue;
        a->answer.outcome = WEIR_OUTCOME_FAILED;
        a->answer.retryable = false;
    }
    h->to->report(h->to, chain);
}

static void select_report_runs(struct core_executor_host *host, struct core_run *chain)
{
    real_host(host)->report_runs(real_host(host), chain);
}

static struct instant select_now(struct core_executor_host *host)
{
    return real_host(host)->now(real_host(host));
}

static void select_tell(struct core_executor_host *host, const struct core_event *ev)
{
    real_host(host)->tell(real_host(host), ev);
}

static struct core_executor_host *host_for(struct worker_pool *p, struct core_executor_host *host)
{
    if (!p->run->select)
        return host;
    p->host = (struct select_host){.base = {.report = select_report,
                                            .report_runs = select_report_runs,
                                            .now = select_now,
                                            .tell = select_tell},
                                   .to = host,
                                   .run = p->run};
    return &p->host.base;
}

/* ---- the pool ---- */

static void fill_crew(const struct run_options *o, const char *pool, struct crew_options *c)
{
    const struct run_worker_options *w = &o->worker;

    c->pool = pool;
    c->size = (size_t)o->flow.jobs;
    c->overflow = (size_t)w->overflow;
    c->lazy = w->lazy;
    c->order = w->choose == RUN_CHOOSE_FIFO ? CREW_FIFO : CREW_LIFO;
    c->max_in_flight = (uint32_t)w->max_in_flight;
    c->init_timeout_ns = w->init_timeout_ns;
    c->health.every_ns = w->ping_every_ns;
    c->recycle_requests = (uint64_t)w->recycle_after;
    c->recycle_age_ns = w->recycle_age_ns;
    c->recycle_memory_bytes = w->recycle_memory_bytes;
    c->shutdown_grace_ns = w->grace_ns;
    c->term_grace_ns = w->grace_ns;
    c->affinity.idle_ns = w->session_idle_ns;
    /* A sweep that comes less often would let sessions live for longer than was said. */
    if (c->affinity.sweep_ns > w->session_idle_ns)
        c->affinity.sweep_ns = w->session_idle_ns;
}

/* A worker's line as words; with --shell a shell takes it apart, and becomes it. */
static enum weir_status make_words(const struct run *r, const char *line, struct argvec *ret,
                                   struct weir_error *err)
{
    if (!r->options.shell)
        return shell_split(line, ret, err);
    argvec_add(ret, SLICE("/bin/sh"));
    argvec_add(ret, SLICE("-c"));
    argvec_put(ret, SLICE("exec "));
    argvec_add(ret, slice_of(line));
    return ret->bytes.failed ? error_nomem(err) : WEIR_OK;
}

static enum weir_status check_program(const struct run *r, const char *option, const char *line,
                                      struct weir_error *err)
{
    struct argvec words = {0};
    enum weir_status status;

    if (!line || r->options.shell)
        return WEIR_OK;
    status = shell_split(line, &words, err);
    if (status == WEIR_OK && !argvec_argv(&words))
        status = error_nomem(err);
    if (status == WEIR_OK)
        status = find_program(words.argv[0], r->options.workdir, err);
    argvec_free(&words);
    return status == WEIR_OK ? WEIR_OK : error_prefix(err, "%s", option);
}

enum weir_status worker_check(const struct run *r, struct weir_error *err)
{
    const struct run_worker_options *w = &r->options.worker;
    enum weir_status status = check_program(r, "--worker", w->worker, err);

    return status == WEIR_OK ? check_program(r, "--fallback", w->fallback, err) : status;
}

enum weir_status worker_make(void *ctx, const struct core_pool_options *options,
                             struct uv_loop_s *loop, struct core_executor_host *host,
                             struct core_executor **ret, struct weir_error *err)
{
    struct worker_pool *p = ctx;
    struct process_options o;
    enum weir_status status = make_words(p->run, p->line, &p->argv, err);

    if (status != WEIR_OK)
        return status;
    process_options_init(&o);
    o.argv = (char *const *)(uintptr_t)argvec_argv(&p->argv);
    if (!o.argv)
        return error_nomem(err);
    o.dir = p->run->options.workdir;
    o.frame_max_bytes = p->run->options.worker.frame_max_bytes;
    fill_crew(&p->run->options, options->name, &o.crew);
    return process_executor_new(&o, loop, host_for(p, host), ret, err);
}

static void fill_pool(const struct run_options *o, struct core_pool_options *p)
{
    const struct run_worker_options *w = &o->worker;

    /* As many requests as all workers together take. */
    p->size = (size_t)(o->flow.jobs + w->overflow) * (size_t)w->max_in_flight;
    p->recovery = recovery_table();
    p->breaker.on = w->breaker != RUN_BREAKER_OFF;
    p->breaker_fails = w->breaker == RUN_BREAKER_FAIL;
    p->checkout_timeout_ns = w->checkout_timeout_ns;
}

enum weir_status worker_add_pools(struct run *r, struct weir_error *err)
{
    const struct run_worker_options *w = &r->options.worker;
    struct core_pool_options p;
    enum weir_status status;

    flow_options_pool(&r->options.flow, &p);
    fill_pool(&r->options, &p);
    p.name = "workers";
    r->workers = (struct worker_pool){.run = r, .line = w->worker};
    status = engine_add_pool(r->engine, &p, worker_make, &r->workers, &r->pool, err);
    if (status != WEIR_OK)
        return error_prefix(err, "--worker");
    if (!w->fallback)
        return WEIR_OK;
    p.name = "fallback";
    r->fallback = (struct worker_pool){.run = r, .line = w->fallback};
    status = engine_add_pool(r->engine, &p, worker_make, &r->fallback, &r->fallback_pool, err);
    if (status == WEIR_OK)
        status = engine_set_fallback(r->engine, r->pool, r->fallback_pool, err);
    return status == WEIR_OK ? WEIR_OK : error_prefix(err, "--fallback");
}

/* ---- while it runs ---- */

/* Starts that failed, of a program that has never worked, are enough to say that it will not. */
#define FAILED_STARTS_MAX 5
#define LOOK_NS           (500 * NS_PER_MS)

/* The pool's program has failed at its first starts, and was never ready. */
static bool has_never_worked(struct run *r, struct core_pool *pool, struct worker_pool *p)
{
    struct engine_workers w;
    bool never;

    if (!pool || p->worked || engine_pool_workers(r->engine, pool, &w, NULL) != WEIR_OK)
        return false;
    p->worked = w.counts.ready_once > 0;
    never = !p->worked && w.counts.failed_starts >= FAILED_STARTS_MAX;
    engine_workers_free(&w);
    return never;
}

/*
 * A pool waits for its breaker, for it may have worked for days. Whoever runs a command whose
 * program was never seen to work waits for nothing: the option that names it, once that is clear,
 * else NULL. Rows of a pool that has a fallback do not wait.
 */
const char *worker_never_starts(struct run *r)
{
    struct instant now;

    if (r->options.kind != RUN_WORKER)
        return NULL;
    now = engine_now(r->engine);
    if (!instant_is_none(r->worker_look_at) && instant_diff(now, r->worker_look_at) < LOOK_NS)
        return NULL;
    r->worker_look_at = now;
    if (has_never_worked(r, r->fallback_pool, &r->fallback))
        return "--fallback";
    if (!r->fallback_pool && has_never_worked(r, r->pool, &r->workers))
        return "--worker";
    return NULL;
}

/* On the engine's thread. */
void worker_moved(struct run *r, const struct core_event *ev)
{
    const struct worker_transition *t = ev->transition;
    const char *what = ev->more ? ev->more : t->detail;
    struct worker_log *log = &r->worker_log;

    if (!log->open || t->from != WORKER_INITIALIZING || t->to != WORKER_TERMINATED)
        return;
    buf_clear(&log->line);
    buf_printf(&log->line, "%s %s%s%s\n", ev->pool, t->reason, what[0] ? ": " : "", what);
    spool_put(&log->starts, buf_slice(&log->line));
}

void worker_describe_hopeless(struct run *r, struct buf *why)
{
    struct slice pool =
        slice_of(strcmp(r->worker_hopeless, "--worker") == 0 ? "workers " : "fallback ");
    const char *log = r->options.worker.log;
    struct buf taken = {0};
    struct slice last = {0};

    if (spool_take(&r->worker_log.starts, &taken)) {
        for (const char *at = taken.data, *end; (end = strchr(at, '\n')); at = end + 1) {
            if (strncmp(at, pool.data, pool.len) == 0)
                last = (struct slice){at + pool.len, (size_t)(end - at) - pool.len};
        }
    }
    buf_printf(why, "no worker of %s has started", r->worker_hopeless);
    if (last.len > 0)
        buf_printf(why, " (%.*s)", (int)last.len, last.data);
    buf_printf(why, "; what the program wrote to standard error stands %s%s: correct %s",
               log ? "in " : "above", log ? log : "", r->worker_hopeless);
    buf_free(&taken);
}

/* ---- the end ---- */

/* What became of the workers, for the summary. */
void worker_count(struct run *r, struct core_pool *pool, struct summary_workers *s)
{
    struct engine_workers w;

    if (!pool || engine_pool_workers(r->engine, pool, &w, NULL) != WEIR_OK)
        return;
    s->known = true;
    s->started += w.counts.started;
    s->failed_starts += w.counts.failed_starts;
    s->lost += w.counts.lost;
    s->killed += w.counts.killed;
    s->replaced += w.counts.replaced;
    s->recycled += w.counts.recycled;
    s->session_hits += w.sessions.hits;
    s->session_misses += w.sessions.misses;
    s->session_rebinds += w.sessions.rebinds;
    s->session_expiries += w.sessions.expiries;
    engine_workers_free(&w);
}
