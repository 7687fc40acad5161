/*
 * What the tests of the process executor share: a world with the executor on a loop, a smallest
 * dispatcher in front of it (mini_dispatcher.h), and this program itself, started again, as its
 * worker (support/worker.h).
 *
 *     struct world *w = world_open(2);              // or world_new(), options, world_start()
 *     struct core_attempt *a = put(w, "echo", "[1]");
 *     await(w, 1);                                  // reports, with a deadline
 *     assert_ok(a, "[1]");
 *     world_close(w);                               // nothing is left behind: descriptors, children
 *
 * For one test file.
 */
#ifndef UNIT_EXEC_PROCESS_TEST_H
#define UNIT_EXEC_PROCESS_TEST_H

#include "base/json.h"
#include "base/mem.h"
#include "exec/process/process.h"
#include "mini_dispatcher.h"
#include "support/testkit.h"
#include "support/worker.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_MS  60000
#define ATTEMPTS_MAX 2048

struct world {
    struct core_executor_host host; /* first: the host is found by it */
    uv_loop_t loop;
    uv_timer_t deadline;
    bool too_late;
    struct mini_dispatcher dispatcher;
    struct core_executor *ex;
    struct crew *crew;
    char *words[8];
    struct process_options options;

    struct core_attempt attempts[ATTEMPTS_MAX];
    struct process_request requests[ATTEMPTS_MAX];
    char *args[ATTEMPTS_MAX];
    int reports[ATTEMPTS_MAX];
    size_t used, reported, report_calls;

    size_t lines, moves; /* events */
    char last_line[PROCESS_LINE_BYTES_MAX + 1];
    size_t longest_line;
    struct buf log;
    size_t fds_before;
};

/* ---- the host ---- */

static void on_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct world *w = (struct world *)host;

    w->report_calls++;
    while (chain) {
        struct core_attempt *a = chain;

        chain = a->next;
        a->next = NULL;
        assert_null(a->edge);
        w->reports[a - w->attempts]++;
        w->reported++;
    }
    /* Reported by a start that the loop makes just before it waits: it must not wait for the next ping first. */
    uv_stop(&w->loop);
}

static struct instant on_now(struct core_executor_host *host)
{
    (void)host;
    return (struct instant){(int64_t)uv_hrtime()};
}

static void on_tell(struct core_executor_host *host, const struct core_event *ev)
{
    struct world *w = (struct world *)host;

    assert_string_equal(ev->pool, "crewed");
    assert_true(ev->worker > 0);
    if (ev->kind == EVENT_WORKER_SAID) {
        w->lines++;
        snprintf(w->last_line, sizeof w->last_line, "%s", ev->detail);
        if (strlen(ev->detail) > w->longest_line)
            w->longest_line = strlen(ev->detail);
    } else if (ev->kind == EVENT_WORKER_TRANSITION) {
        w->moves++;
    }
    if (w->log.len < 100000 && ev->detail)
        buf_printf(&w->log, "%s\n", ev->detail);
}

/* ---- what is left behind ---- */

static size_t count_fds(void)
{
    DIR *dir = opendir("/proc/self/fd");
    size_t n = 0;

    while (readdir(dir))
        n++;
    closedir(dir);
    return n;
}

/* Who they are, and what they do. */
static void tell_children(void)
{
    (void)!system(
        "for p in $(cat /proc/$PPID/task/*/children); do "
        "echo \"child $p: $(tr '\\0' ' ' </proc/$p/cmdline), $(cut -d' ' -f3-9 /proc/$p/stat)\"; "
        "grep -H . /proc/$p/wchan /proc/$p/syscall; done >&2");
}

/* Children, zombies among them. */
static void assert_no_children(void)
{
    siginfo_t info;

    errno = 0;
    memset(&info, 0, sizeof info);
    if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) == 0) {
        tell_children();
        fail_msg("child %d is left%s", (int)info.si_pid, info.si_pid ? "" : " (0: it runs)");
    }
    assert_int_equal(errno, ECHILD);
}

/* ---- the world ---- */

static void on_deadline(uv_timer_t *timer)
{
    struct world *w = timer->data;

    w->too_late = true;
}

/* words: of the worker, see support/worker.c. */
static void set_program(struct world *w, const char *first, const char *second)
{
    w->words[0] = worker_program();
    w->words[1] = (char *)(uintptr_t)WORKER_WORD;
    w->words[2] = (char *)(uintptr_t)first;
    w->words[3] = (char *)(uintptr_t)(first ? second : NULL);
    w->options.argv = w->words;
}

static struct world *world_new(size_t size)
{
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    w->fds_before = count_fds();
    w->host = (struct core_executor_host){.report = on_report, .now = on_now, .tell = on_tell};
    assert_int_equal(uv_loop_init(&w->loop), 0);
    uv_timer_init(&w->loop, &w->deadline);
    w->deadline.data = w;
    uv_timer_start(&w->deadline, on_deadline, DEADLINE_MS, 0);
    mini_dispatcher_open(&w->dispatcher, &w->loop, &w->host);
    process_options_init(&w->options);
    w->options.crew.pool = "crewed";
    w->options.crew.size = size;
    set_program(w, NULL, NULL);
    return w;
}

static bool world_try(struct world *w, struct weir_error *err)
{
    struct core_executor *inner;

    if (process_executor_new(&w->options, &w->loop, &w->dispatcher.inner_host, &inner, err) !=
        WEIR_OK)
        return false;
    mini_dispatcher_join(&w->dispatcher, inner);
    w->ex = &w->dispatcher.base;
    w->crew = inner->crew;
    return true;
}

static void world_start(struct world *w)
{
    struct weir_error err = {0};

    if (!world_try(w, &err))
        fail_msg("%s", err.message);
}

static inline struct world *world_open(size_t size)
{
    struct world *w = world_new(size);

    world_start(w);
    return w;
}

static void turn(struct world *w)
{
    if (w->too_late)
        fail_msg("too late: %zu of %zu reported; log:\n%s", w->reported, w->used,
                 w->log.data ? w->log.data : "");
    uv_run(&w->loop, UV_RUN_ONCE);
    if (w->crew)
        assert_null(crew_check(w->crew));
}

static void world_close_handles(struct world *w)
{
    uv_close((uv_handle_t *)&w->deadline, NULL);
    assert_int_equal(uv_run(&w->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&w->loop), 0);
}

static bool is_over(struct world *w)
{
    /* The deadline alone is left. */
    return w->loop.active_handles == 1 && !w->loop.closing_handles;
}

static void world_close(struct world *w)
{
    while (w->reported < w->used)
        turn(w);
    w->crew = NULL; /* it frees itself */
    w->ex->ops->close(w->ex);
    while (!is_over(w))
        turn(w);
    world_close_handles(w);
    for (size_t i = 0; i < w->used; i++) {
        assert_int_equal(w->reports[i], 1);
        answer_clear(&w->attempts[i].answer);
        free(w->args[i]);
    }
    assert_int_equal(count_fds(), w->fds_before);
    assert_no_children();
    buf_free(&w->log);
    free(w);
}

/* args: JSON; stays the caller's. */
static struct core_attempt *put_slice(struct world *w, const char *command, struct slice args)
{
    size_t i = w->used++;
    struct core_attempt *a = &w->attempts[i];

    assert_true(i < ATTEMPTS_MAX);
    w->requests[i] = (struct process_request){.command = command, .args = args};
    a->payload = &w->requests[i];
    a->index = i;
    a->number = 1;
    answer_init(&a->answer);
    w->ex->ops->start(w->ex, a);
    return a;
}

static struct core_attempt *put(struct world *w, const char *command, const char *args)
{
    return put_slice(w, command, slice_of(args));
}

/* A JSON string of so many bytes. */
static struct core_attempt *put_large(struct world *w, const char *command, size_t bytes)
{
    char *text = malloc(bytes);

    assert_non_null(text);
    memset(text, 'x', bytes);
    text[0] = text[bytes - 1] = '"';
    w->args[w->used] = text;
    return put_slice(w, command, (struct slice){text, bytes});
}

static void await(struct world *w, size_t reported)
{
    while (w->reported < reported)
        turn(w);
}

/* A turn that does not wait. */
static void poke(struct world *w)
{
    w->ex->ops->kick(w->ex);
    uv_run(&w->loop, UV_RUN_NOWAIT);
}

/* Until workers have all that was put. */
static inline void give_all(struct world *w)
{
    while (w->dispatcher.queued > 0)
        poke(w);
}

static inline bool is_reported(struct world *w, const struct core_attempt *a)
{
    return w->reports[a - w->attempts] > 0;
}

static void await_lines(struct world *w, size_t lines)
{
    while (w->lines < lines)
        turn(w);
}

static void assert_ok(const struct core_attempt *a, const char *output)
{
    const struct core_answer *n = &a->answer;

    if (n->outcome != WEIR_OUTCOME_OK)
        fail_msg("%s, %s: %s", weir_outcome_name(n->outcome), weir_reason_name(n->reason),
                 n->message ? n->message : "");
    assert_int_equal(n->reason, WEIR_REASON_NONE);
    if (output)
        assert_string_equal(n->output, output);
}

static void assert_has(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("\"%s\" does not say \"%s\"", text ? text : "(nothing)", part);
}

static void assert_ended(const struct core_attempt *a, enum weir_outcome outcome,
                         enum weir_reason reason, const char *says)
{
    const struct core_answer *n = &a->answer;

    assert_string_equal(weir_outcome_name(n->outcome), weir_outcome_name(outcome));
    assert_string_equal(weir_reason_name(n->reason), weir_reason_name(reason));
    assert_has(n->message, says);
}

static struct crew_counts counts(struct world *w)
{
    return crew_counts(w->crew);
}

/* ---- workers and their ends ---- */

static void await_ready(struct world *w, size_t workers)
{
    while (counts(w).ready_once < workers)
        turn(w);
}

/* One worker, which is ready and has so many requests in hand. */
static inline struct world *world_of_one(const char *word, uint32_t max_in_flight)
{
    struct world *w = world_new(1);

    w->options.crew.max_in_flight = max_in_flight;
    set_program(w, word, NULL);
    world_start(w);
    await_ready(w, 1);
    return w;
}

struct pick_one {
    uint64_t skip;
    int64_t pid;
};

static void nth_worker(void *ctx, const struct worker *w)
{
    struct pick_one *p = ctx;

    if (p->skip-- == 0)
        p->pid = w->pid;
}

/* Whoever it hits: starting, idle, busy, or ending already. */
static inline bool kill_any(struct world *w, uint64_t dice)
{
    size_t workers = counts(w).workers;
    struct pick_one p = {.skip = workers ? dice % workers : 0};

    crew_each(w->crew, nth_worker, &p);
    return p.pid > 0 && kill((pid_t)p.pid, SIGKILL) == 0;
}

/* Of the only worker. */
static pid_t pid_of_worker(struct world *w)
{
    struct pick_one pick = {0};

    crew_each(w->crew, nth_worker, &pick);
    assert_true(pick.pid > 0);
    return (pid_t)pick.pid;
}

/* The attempt is not wanted any more: of a stop, and not because its time is up. */
static inline void wind_up(struct world *w, struct core_attempt *a)
{
    a->may_wind_up = true;
    w->ex->ops->cancel(w->ex, a);
}

#endif
