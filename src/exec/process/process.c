/*
 * The process executor (process.h): options, making and closing, the executor's operations, and the
 * crew's edge.
 *
 * What the crew wants done is only noted in its edge's functions and done in the executor's own
 * turn: an idle callback of the loop, which runs before the engine's next turn and keeps the loop
 * from sleeping until then. There processes are started, a few at a time, what is to be written is
 * written, and workers that were found broken on the way are told to the crew.
 *
 * Life: process_executor_new -> start... -> close -> the crew's workers end, which takes a few
 * turns of the loop -> the handles are closed -> freed by the last of them.
 */
#include "exec/process/process.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/process/internal.h"
#include "exec/template/argvec.h"
#include "exec/template/shell.h"
#include "loop/loop.h"

#include <assert.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static struct process_executor *of(struct core_executor *ex)
{
    return (struct process_executor *)(void *)ex;
}

static struct process_executor *of_edge(struct crew_edge *e)
{
    return list_entry(e, struct process_executor, edge);
}

struct instant process_now(struct process_executor *x)
{
    return x->host->now(x->host);
}

/* ---- reports ---- */

void process_done(struct process_executor *x, struct core_attempt *a, struct instant now)
{
    a->answer.ended_at = now;
    a->edge = NULL;
    a->next = NULL;
    *x->done_tail = a;
    x->done_tail = &a->next;
}

void process_report(struct process_executor *x)
{
    struct core_attempt *chain = x->done;

    if (!chain)
        return;
    x->done = NULL;
    x->done_tail = &x->done;
    x->host->report(x->host, chain);
}

/* ---- closing ---- */

static void free_texts(char **texts)
{
    for (size_t i = 0; texts && texts[i]; i++)
        mem_free(texts[i]);
    mem_free(texts);
}

/* Everything but what hangs on the loop. Copes with an executor that is half made. */
static void free_executor(struct process_executor *x)
{
    x->base.crew = crew_free(x->base.crew);
    x->guard = child_guard_free(x->guard);
    free_texts((char **)(uintptr_t)x->options.argv);
    free_texts(x->env);
    mem_free((void *)(uintptr_t)x->options.dir);
    mem_free(x->spare);
    mem_free(x);
}

static void free_if_over(struct process_executor *x)
{
    if (x->emptied && x->handles == 0 && list_empty(&x->peers))
        free_executor(x);
}

static void on_own_handle_closed(uv_handle_t *handle)
{
    struct process_executor *x = handle->data;

    x->handles--;
    free_if_over(x);
}

void process_peer_closed(struct peer *p)
{
    struct process_executor *x = p->x;

    peer_free(p);
    free_if_over(x);
}

static void on_later(uv_timer_t *timer);

/* After close() nobody else calls the crew. */
static void drive(struct process_executor *x)
{
    struct instant now = process_now(x), when;

    if (!x->closing || x->emptied)
        return;
    when = crew_run(x->base.crew, now);
    if (crew_is_empty(x->base.crew)) {
        x->emptied = true;
        uv_close((uv_handle_t *)&x->soon, on_own_handle_closed);
        uv_close((uv_handle_t *)&x->later, on_own_handle_closed);
    } else if (!instant_is_never(when)) {
        duration_ns wait = instant_before(now, when) ? instant_diff(when, now) : 0;

        uv_timer_start(&x->later, on_later, (uint64_t)(wait / NS_PER_MS) + 1, 0);
    }
}

static void on_later(uv_timer_t *timer)
{
    drive(timer->data);
}

static void process_close(struct core_executor *base)
{
    struct process_executor *x = of(base);

    x->closing = true;
    crew_shut_down(x->base.crew, false, process_now(x));
    drive(x);
}

/* ---- the executor's own turn ---- */

static void start_some(struct process_executor *x)
{
    for (int i = 0; i < STARTS_PER_TURN && !list_empty(&x->starts); i++)
        peer_start(list_entry(list_pop_front(&x->starts), struct peer, start));
}

static void write_unsent(struct process_executor *x)
{
    struct list *node;

    while ((node = list_pop_front(&x->unsent)))
        talk_write(list_entry(node, struct peer, unsent));
}

struct orphan {
    uint64_t id;
};

static void look_for_orphan(void *ctx, const struct worker *w)
{
    struct orphan *s = ctx;

    if (!w->edge)
        s->id = w->id;
}

/* For some worker there was no memory, not even to note that. */
static void tell_orphans(struct process_executor *x)
{
    x->orphaned = false;
    for (;;) {
        struct orphan s = {0};

        crew_each(x->base.crew, look_for_orphan, &s);
        if (s.id == 0)
            break;
        crew_gone(x->base.crew, crew_find(x->base.crew, s.id), "could not be started",
                  "memory ran out", process_now(x));
    }
}

static void on_soon(uv_idle_t *idle)
{
    struct process_executor *x = idle->data;
    struct list *node;

    if (x->orphaned)
        tell_orphans(x);
    start_some(x);
    write_unsent(x);
    while ((node = list_pop_front(&x->troubled)))
        peer_lost(list_entry(node, struct peer, trouble));
    process_settle(x);
    if (list_empty(&x->starts) && list_empty(&x->unsent) && list_empty(&x->troubled) &&
        !x->orphaned) {
        uv_idle_stop(&x->soon);
        x->soon_is_on = false;
    }
}

void process_soon(struct process_executor *x)
{
    if (x->soon_is_on || x->emptied)
        return;
    uv_idle_start(&x->soon, on_soon);
    x->soon_is_on = true;
}

void process_settle(struct process_executor *x)
{
    process_report(x);
    drive(x);
}

/* ---- the crew's edge ---- */

static void edge_spawn(struct crew_edge *e, struct worker *w)
{
    struct process_executor *x = of_edge(e);
    struct peer *p = peer_new(x, w);

    if (!p)
        x->orphaned = true;
    process_soon(x);
}

static void command(struct peer *p, enum call_kind kind)
{
    /* Without memory it is as if the worker did not answer: its deadline or grace passes. */
    if (p->state == PEER_RUNS)
        talk_command(p, kind);
}

static void edge_ping(struct crew_edge *e, struct worker *w)
{
    (void)e;
    command(w->edge, CALL_PING);
}

/* Its input ends behind the command: also a program that does not know it is told by that. */
static void edge_end(struct crew_edge *e, struct worker *w, enum crew_end how)
{
    struct peer *p = w->edge;

    (void)e;
    if (!p)
        return;
    if (p->state == PEER_TO_START) {
        p->state = PEER_CONDEMNED;
        return;
    }
    switch (how) {
    case CREW_END_SHUTDOWN:
        p->told_to_end = true;
        command(p, CALL_SHUTDOWN);
        break;
    case CREW_END_TERM:
        p->told_to_end = true;
        peer_close_input(p);
        peer_signal(p, SIGTERM);
        break;
    case CREW_END_KILL:
        peer_signal(p, SIGKILL);
        break;
    }
}

/* Its second figure is the resident set in pages. */
static uint64_t edge_memory(struct crew_edge *e, struct worker *w)
{
    char path[64], text[128];
    unsigned long long pages = 0;
    ssize_t n;
    int fd;

    (void)e;
    snprintf(path, sizeof path, "/proc/%lld/statm", (long long)w->pid);
    fd = w->pid > 0 ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    if (fd < 0)
        return 0;
    n = read(fd, text, sizeof text - 1);
    close(fd);
    if (n <= 0)
        return 0;
    text[n] = '\0';
    if (strchr(text, ' '))
        pages = strtoull(strchr(text, ' '), NULL, 10);
    return (uint64_t)pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

static void edge_forget(struct crew_edge *e, struct worker *w)
{
    struct peer *p = w->edge;

    (void)e;
    if (p)
        p->worker = NULL;
}

static void crew_told(struct crew_host *h, const struct core_event *ev)
{
    struct process_executor *x = list_entry(h, struct process_executor, crew_host);

    if (x->host->tell)
        x->host->tell(x->host, ev);
}

/* ---- the executor's operations ---- */

static void process_start(struct core_executor *base, struct core_attempt *a)
{
    struct process_executor *x = of(base);
    struct peer *p = a->worker->edge;

    assert(p && a->payload);
    answer_init(&a->answer);
    a->not_begun = false;
    a->answer.started_at = process_now(x);
    if (talk_put(p, a))
        return;
    /* It was never sent; the worker has nothing to do with it. */
    crew_answered(x->base.crew, a->worker, a->session, CREW_ANSWER_UNSENT, a->answer.started_at);
    process_done(x, a, a->answer.started_at);
    process_report(x);
}

static void process_kick(struct core_executor *base)
{
    write_unsent(of(base));
}

static void process_cancel(struct core_executor *base, struct core_attempt *a)
{
    struct process_executor *x = of(base);

    if (!a->edge)
        return; /* reported already */
    talk_cancel(a->worker->edge, a);
    process_settle(x);
}

struct process_counters process_executor_counters(const struct core_executor *ex)
{
    return ((const struct process_executor *)(const void *)ex)->counters;
}

static const struct core_executor_ops process_ops = {
    .kind = "process",
    .cancels_at_once = true,
    .start = process_start,
    .cancel = process_cancel,
    .kick = process_kick,
    .close = process_close,
};

/* ---- making ---- */

void process_options_init(struct process_options *o)
{
    *o = (struct process_options){.frame_max_bytes = PROCESS_FRAME_BYTES_DEFAULT};
    crew_options_init(&o->crew);
}

static enum weir_status check(const struct process_options *o, struct weir_error *err)
{
    if (!o->argv || !o->argv[0] || !o->argv[0][0])
        return error_set(err, WEIR_E_INVALID, "no program is named for the workers");
    if (o->frame_max_bytes < PROCESS_FRAME_BYTES_MIN || o->frame_max_bytes > WIRE_FRAME_BYTES_MAX)
        return error_set(err, WEIR_E_INVALID,
                         "the limit on frames is %llu bytes; it must be from %d to %llu",
                         (unsigned long long)o->frame_max_bytes, PROCESS_FRAME_BYTES_MIN,
                         (unsigned long long)WIRE_FRAME_BYTES_MAX);
    if (o->wrapper && o->wrapper[0] && !o->wrapper[0][0])
        return error_set(err, WEIR_E_INVALID,
                         "the wrapper's first word is empty; it names a program, such as ssh");
    for (char *const *e = o->env; e && *e; e++)
        if (**e == '=' || !**e)
            return error_set(err, WEIR_E_INVALID,
                             "'%s' is no variable of the environment: write NAME=value", *e);
    return crew_options_check(&o->crew, err);
}

/* A copy with room for `extra` more, all NULL. NULL: no memory. */
static char **copy_texts(char *const *texts, size_t extra, size_t *ret_count)
{
    size_t count = 0;
    char **copy;

    while (texts && texts[count])
        count++;
    copy = mem_calloc(count + extra + 1, sizeof *copy);
    for (size_t i = 0; copy && i < count; i++) {
        copy[i] = mem_strdup(texts[i]);
        if (!copy[i]) {
            free_texts(copy);
            return NULL;
        }
    }
    *ret_count = count;
    return copy;
}

/* The wrapper's words, if there are any, and those of the worker. NULL: no memory. */
static char **copy_argv(const struct process_options *o)
{
    struct argvec all = {0};
    const char *const *list;
    char **copy = NULL;
    bool quotes = o->wrapper_shell && o->wrapper && o->wrapper[0];
    size_t count;

    for (const char *const *word = o->wrapper; word && *word; word++)
        argvec_add(&all, slice_of(*word));
    for (char *const *word = o->argv; *word; word++) {
        if (quotes)
            shell_quote(&all.bytes, slice_of(*word));
        else
            argvec_put(&all, slice_of(*word));
        argvec_end(&all);
    }
    list = argvec_argv(&all);
    if (list)
        copy = copy_texts((char *const *)(uintptr_t)list, 0, &count);
    argvec_free(&all);
    return copy;
}

static bool copy_options(struct process_executor *x, const struct process_options *o)
{
    char **argv = copy_argv(o);

    x->options = *o;
    x->options.argv = argv;
    x->options.env = NULL;
    x->options.wrapper = NULL; /* is in argv now */
    x->options.dir = o->dir ? mem_strdup(o->dir) : NULL;
    x->env = copy_texts(o->env, PEER_ENV_COUNT, &x->env_count);
    return argv && x->env && (x->options.dir || !o->dir);
}

static void set_up_ports(struct process_executor *x)
{
    x->base.ops = &process_ops;
    x->edge = (struct crew_edge){.spawn = edge_spawn,
                                 .ping = edge_ping,
                                 .end = edge_end,
                                 .memory = edge_memory,
                                 .forget = edge_forget};
    x->crew_host.tell = crew_told;
    x->done_tail = &x->done;
    x->stamp_ms = INT64_MIN;
    list_init(&x->peers);
    list_init(&x->starts);
    list_init(&x->unsent);
    list_init(&x->troubled);
}

/* A worker may close its input at any time; writing to it must be an error then, and no signal to this thread. Children do
 * not inherit that. */
static void block_sigpipe(void)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &set, NULL);
}

/*
 * Results of many KiB are allocated and freed all the time. glibc gives the memory of each back to
 * the system, and has it back page by page, until it has once seen a block freed that is larger.
 */
#define LARGE_RESULT_BYTES ((size_t)4 << 20)

static void expect_large_results(void)
{
    mem_free(mem_alloc(LARGE_RESULT_BYTES));
}

static void start_handles(struct process_executor *x)
{
    uv_idle_init(x->loop, &x->soon); /* neither can fail */
    uv_timer_init(x->loop, &x->later);
    x->soon.data = x;
    x->later.data = x;
    x->handles = 2;
}

enum weir_status process_executor_new(const struct process_options *o, uv_loop_t *loop,
                                      struct core_executor_host *host, struct core_executor **ret,
                                      struct weir_error *err)
{
    struct process_executor *x;
    enum weir_status status = check(o, err);

    if (status != WEIR_OK)
        return status;
    x = mem_calloc(1, sizeof *x);
    if (!x)
        return error_nomem(err);
    set_up_ports(x);
    x->host = host;
    x->loop = loop;
    x->large_pipes = o->crew.size + o->crew.overflow <= PIPE_WORKERS_MAX;
    status = copy_options(x, o) ? WEIR_OK : error_nomem(err);
    /* Sessions are named by rows: whoever writes these must not know which names collide. */
    if (x->options.crew.affinity.seed == 0)
        x->options.crew.affinity.seed = loop_entropy();
    if (status == WEIR_OK)
        status = child_guard_new(&x->guard, err);
    if (status == WEIR_OK)
        status =
            crew_new(&x->options.crew, &x->edge, &x->crew_host, process_now(x), &x->base.crew, err);
    if (status != WEIR_OK) {
        free_executor(x);
        return status;
    }
    block_sigpipe();
    expect_large_results();
    start_handles(x);
    *ret = &x->base;
    return WEIR_OK;
}
