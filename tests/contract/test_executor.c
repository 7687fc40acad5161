/*
 * What core/ports/executor.h promises, tried on every executor there is: each test runs once for
 * each of them, with a host that only counts. What is asked of an executor is always the same: each
 * start() is followed by exactly one report(), whatever is done to it in between, and after the
 * report nobody looks at the payload any more.
 *
 * A new executor joins by one line in `kinds`: how it is made, and what a payload is that ends at
 * once, or that holds on until it is cancelled or released.
 */
#include "base/mem.h"
#include "exec/command/command.h"
#include "exec/http/http.h"
#include "exec/process/process.h"
#include "exec/thread/thread.h"
#include "support/testkit.h"
#include "support/worker.h"
#include "unit/exec/mini_dispatcher.h"
#include "unit/exec/mini_service.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define PLACES       4
#define ATTEMPTS_MAX 512
#define DEADLINE_MS  60000

enum does { ENDS, HOLDS };

struct stage;

struct kind {
    const char *name;
    bool cancels_within; /* cancel() reports before it returns */
    size_t payload_len;
    void (*open)(struct stage *s);
    void *(*payload)(struct stage *s, enum does does); /* malloc()ed in one piece */
    size_t (*holding)(struct stage *s);                /* how many hold */
    void (*release)(struct stage *s);                  /* what holds now ends by itself */
    void (*close)(struct stage *s);                    /* after the executor's own close() */
};

struct stage {
    struct core_executor_host host; /* first: the host is found by it */
    const struct kind *kind;
    struct core_executor *ex;
    uv_loop_t loop;
    uv_async_t wake;
    uv_timer_t deadline;
    bool too_late;
    struct mini_service service;
    char url[2][64];
    char *dir, *marks, *gate; /* files of commands */
    int gate_fd;
    struct mini_dispatcher dispatcher; /* in front of workers */
    atomic_bool released;
    atomic_size_t holding;

    struct core_attempt attempts[ATTEMPTS_MAX];
    void *payloads[ATTEMPTS_MAX];
    size_t used;

    pthread_mutex_t lock; /* of what follows: reports come from any thread */
    int reports[ATTEMPTS_MAX];
    size_t started, reported;
    struct core_attempt *last;
    int begun
        [ATTEMPTS_MAX]; /* by token, how often it was said to have begun; those beyond are not looked at */
    bool ended[ATTEMPTS_MAX];         /* by token */
    bool begun_late, begun_as_nobody; /* behind its report, or as no process */
};

/* ---- the host ---- */

static void on_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct stage *s = (struct stage *)host;

    pthread_mutex_lock(&s->lock);
    while (chain) {
        struct core_attempt *a = chain;
        size_t i = (size_t)(a - s->attempts);

        chain = a->next;
        a->next = NULL;
        s->reports[i]++;
        s->reported++;
        s->last = a;
        if (a->token < ATTEMPTS_MAX)
            s->ended[a->token] = true;
        /* Who reads it after the report reads freed memory. */
        free(s->payloads[i]);
        s->payloads[i] = NULL;
    }
    pthread_mutex_unlock(&s->lock);
    uv_async_send(&s->wake);
}

static void on_began(struct core_executor_host *host, const struct core_attempt_began *b)
{
    struct stage *s = (struct stage *)host;

    pthread_mutex_lock(&s->lock);
    s->begun_as_nobody |= b->pid <= 1 || b->pid_start == 0 || b->token == 0;
    if (b->token < ATTEMPTS_MAX) {
        s->begun[b->token]++;
        s->begun_late |= s->ended[b->token];
    }
    pthread_mutex_unlock(&s->lock);
}

static struct instant on_now(struct core_executor_host *host)
{
    (void)host;
    return (struct instant){(int64_t)uv_hrtime()};
}

static size_t reported(struct stage *s)
{
    size_t n;

    pthread_mutex_lock(&s->lock);
    n = s->reported;
    pthread_mutex_unlock(&s->lock);
    return n;
}

/* ---- kind: thread ---- */

struct thread_payload {
    enum does does;
    struct stage *stage;
};

static void thread_work(void *ctx, struct core_attempt *a)
{
    struct stage *s = ctx;
    const struct thread_payload *p = a->payload;

    if (p->does == HOLDS) {
        atomic_fetch_add(&s->holding, 1);
        while (!atomic_load(&s->released) && !atomic_load(&a->cancelled))
            sched_yield();
        atomic_fetch_sub(&s->holding, 1);
    }
    if (atomic_load(&a->cancelled))
        return;
    a->answer.outcome = WEIR_OUTCOME_OK;
    a->answer.reason = WEIR_REASON_NONE;
}

static void thread_open(struct stage *s)
{
    struct thread_options o = {.threads = PLACES, .work = thread_work, .ctx = s};
    struct weir_error err = {0};

    if (thread_executor_new(&o, &s->host, &s->ex, &err) != WEIR_OK)
        fail_msg("%s", err.message);
}

static void *thread_payload(struct stage *s, enum does does)
{
    struct thread_payload *p = malloc(sizeof *p);

    assert_non_null(p);
    *p = (struct thread_payload){does, s};
    return p;
}

static size_t thread_holding(struct stage *s)
{
    return atomic_load(&s->holding);
}

static void thread_release(struct stage *s)
{
    atomic_store(&s->released, true);
}

static void thread_close(struct stage *s)
{
    (void)s;
}

/* ---- kind: http ---- */

static void http_open(struct stage *s)
{
    struct http_options o = HTTP_OPTIONS_DEFAULT;
    struct weir_error err = {0};

    o.proxy = "";
    o.max_connections = PLACES;
    mini_service_start(&s->service, &s->loop);
    snprintf(s->url[ENDS], sizeof s->url[0], "http://127.0.0.1:%d/ok", s->service.port);
    snprintf(s->url[HOLDS], sizeof s->url[0], "http://127.0.0.1:%d/hold", s->service.port);
    if (http_executor_new(&o, &s->loop, &s->host, &s->ex, &err) != WEIR_OK)
        fail_msg("%s", err.message);
}

static void *http_payload(struct stage *s, enum does does)
{
    struct http_request *r = malloc(sizeof *r);

    assert_non_null(r);
    *r = (struct http_request){.url = s->url[does], .body = {"{}", 2}};
    return r;
}

static size_t http_holding(struct stage *s)
{
    struct mini_connection *c;
    size_t held = 0;

    for (c = s->service.first; c; c = c->next)
        held += c->held != NULL;
    return held;
}

static void http_release(struct stage *s)
{
    mini_service_release(&s->service);
}

static void http_close(struct stage *s)
{
    mini_service_stop(&s->service);
}

/* ---- kind: command ---- */

/* The program's standard input is a pipe; what holds reads it until the end, which is when it is released. */
struct command_payload {
    enum does does;
    struct stage *stage;
};

static bool command_prepare(void *ctx, const struct core_attempt *a, unsigned place,
                            struct command_launch *launch, struct core_answer *answer)
{
    static char ends[] = "true", shell[] = "sh", option[] = "-c",
                script[] = "echo x >>\"$0\"; read -r x <\"$1\"";
    static char *argv[6];
    struct stage *s = ctx;
    const struct command_payload *p = a->payload;

    (void)place;
    (void)answer;
    if (p->does == ENDS)
        memcpy(argv, (char *[]){ends, NULL}, 2 * sizeof *argv);
    else
        memcpy(argv, (char *[]){shell, option, script, s->marks, s->gate, NULL}, sizeof argv);
    launch->argv = argv;
    return true;
}

static void command_open_with(struct stage *s, bool ahead)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct weir_error err = {0};

    s->dir = testkit_dir_make();
    s->marks = testkit_path(s->dir, "marks");
    s->gate = testkit_path(s->dir, "gate");
    testkit_file_write(s->marks, "", 0);
    assert_int_equal(mkfifo(s->gate, 0600), 0);
    o.prepare = command_prepare;
    o.ctx = s;
    o.places = PLACES;
    o.ahead = ahead;
    if (command_executor_new(&o, &s->host, &s->ex, &err) != WEIR_OK)
        fail_msg("%s", err.message);
}

static void command_open(struct stage *s)
{
    command_open_with(s, false);
}

/* Which keeps what has ended for some milliseconds, while others wait. */
static void command_open_ahead(struct stage *s)
{
    command_open_with(s, true);
}

static void *command_payload(struct stage *s, enum does does)
{
    struct command_payload *p = malloc(sizeof *p);

    assert_non_null(p);
    *p = (struct command_payload){does, s};
    return p;
}

/* They wait for somebody who opens the other end. */
static void command_release(struct stage *s)
{
    int fd = open(s->gate, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    for (int i = 0; i < PLACES; i++)
        assert_int_equal(write(fd, "x\n", 2), 2);
    s->gate_fd = fd;
}

static size_t command_holding(struct stage *s)
{
    size_t len;

    testkit_free(testkit_file_read(s->marks, &len));
    return len / 2;
}

static void command_close(struct stage *s)
{
    if (s->gate_fd > 0)
        close(s->gate_fd);
    testkit_free(s->marks);
    testkit_free(s->gate);
    testkit_dir_remove(s->dir);
}

/* ---- kind: process ---- */

struct process_payload {
    struct process_request request;
    char args[];
};

/* What a worker says when it holds. */
static void process_tell(struct core_executor_host *host, const struct core_event *ev)
{
    struct stage *s = (struct stage *)host;

    if (ev->kind == EVENT_WORKER_SAID && strcmp(ev->detail, "holding") == 0)
        atomic_fetch_add(&s->holding, 1);
}

static void process_open(struct stage *s)
{
    char *argv[] = {worker_program(), (char *)(uintptr_t)WORKER_WORD, NULL};
    struct weir_error err = {0};
    struct process_options o;
    struct core_executor *inner;

    s->dir = testkit_dir_make();
    s->gate = testkit_path(s->dir, "gate");
    assert_int_equal(mkfifo(s->gate, 0600), 0);
    s->host.tell = process_tell;
    process_options_init(&o);
    o.argv = argv;
    o.crew.pool = "crewed";
    o.crew.size = PLACES;
    o.crew.restart.initial_ns = 1 * NS_PER_MS;
    o.crew.init_timeout_ns = 2 * NS_PER_S; /* for a ping that there was no memory for */
    o.crew.shutdown_grace_ns = 100 * NS_PER_MS;
    mini_dispatcher_open(&s->dispatcher, &s->loop, &s->host);
    if (process_executor_new(&o, &s->loop, &s->dispatcher.inner_host, &inner, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    mini_dispatcher_join(&s->dispatcher, inner);
    s->ex = &s->dispatcher.base;
}

static void *process_payload(struct stage *s, enum does does)
{
    size_t room = strlen(s->gate) + 3;
    struct process_payload *p = malloc(sizeof *p + room);

    assert_non_null(p);
    snprintf(p->args, room, "\"%s\"", s->gate);
    p->request = (struct process_request){.command = does == ENDS ? "echo" : "hold",
                                          .args = slice_of(p->args)};
    return p;
}

static size_t process_holding(struct stage *s)
{
    return atomic_load(&s->holding);
}

static void process_release(struct stage *s)
{
    s->gate_fd = open(s->gate, O_RDWR | O_CLOEXEC);
    assert_true(s->gate_fd >= 0);
}

static void process_close(struct stage *s)
{
    if (s->gate_fd > 0)
        close(s->gate_fd);
    testkit_free(s->gate);
    testkit_dir_remove(s->dir);
}

static const struct kind kinds[] = {
    {"thread", false, sizeof(struct thread_payload), thread_open, thread_payload, thread_holding,
     thread_release, thread_close},
    {"http", true, sizeof(struct http_request), http_open, http_payload, http_holding, http_release,
     http_close},
    {"command", false, sizeof(struct command_payload), command_open, command_payload,
     command_holding, command_release, command_close},
    {"command", false, sizeof(struct command_payload), command_open_ahead, command_payload,
     command_holding, command_release, command_close},
    {"process", true, sizeof(struct process_payload), process_open, process_payload,
     process_holding, process_release, process_close},
};

/* ---- the stage ---- */

static void on_wake(uv_async_t *wake)
{
    (void)wake;
}

static void on_deadline(uv_timer_t *timer)
{
    struct stage *s = timer->data;

    s->too_late = true;
}

static struct stage *stage_open(void **state)
{
    struct stage *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->kind = *state;
    s->host = (struct core_executor_host){.report = on_report, .now = on_now, .began = on_began};
    pthread_mutex_init(&s->lock, NULL);
    assert_int_equal(uv_loop_init(&s->loop), 0);
    assert_int_equal(uv_async_init(&s->loop, &s->wake, on_wake), 0);
    uv_timer_init(&s->loop, &s->deadline);
    s->deadline.data = s;
    uv_timer_start(&s->deadline, on_deadline, DEADLINE_MS, 0);
    s->kind->open(s);
    assert_string_equal(s->ex->ops->kind, s->kind->name);
    return s;
}

/* Turns the loop until `count` reports have come in all. */
static void await(struct stage *s, size_t count)
{
    while (reported(s) < count) {
        if (s->too_late)
            fail_msg("%s: %zu reports of %zu came", s->kind->name, reported(s), count);
        uv_run(&s->loop, UV_RUN_ONCE);
    }
}

/* Everything was reported once; the executor goes, and leaves nothing on the loop. */
static void stage_close(struct stage *s)
{
    await(s, s->started);
    /* A report too many would come about now. */
    for (int i = 0; i < 20; i++)
        uv_run(&s->loop, UV_RUN_NOWAIT);
    s->ex->ops->close(s->ex);
    s->kind->close(s);
    uv_close((uv_handle_t *)&s->wake, NULL);
    uv_close((uv_handle_t *)&s->deadline, NULL);
    assert_int_equal(uv_run(&s->loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(uv_loop_close(&s->loop), 0);
    assert_int_equal(s->reported, s->started);
    assert_false(s->begun_late || s->begun_as_nobody);
    for (size_t i = 0; i < s->used; i++) {
        assert_int_equal(s->reports[i], 1);
        answer_clear(&s->attempts[i].answer);
    }
    pthread_mutex_destroy(&s->lock);
    free(s);
}

/* As the engine fills one in. */
static struct core_attempt *start_at(struct stage *s, size_t i, enum does does)
{
    struct core_attempt *a = &s->attempts[i];

    s->payloads[i] = s->kind->payload(s, does);
    s->started++;
    *a = (struct core_attempt){.payload = s->payloads[i],
                               .payload_len = s->kind->payload_len,
                               .key = "key",
                               .index = i,
                               .token = s->started,
                               .number = 1};
    answer_init(&a->answer);
    s->ex->ops->start(s->ex, a);
    return a;
}

static struct core_attempt *start(struct stage *s, enum does does)
{
    assert_true(s->used < ATTEMPTS_MAX);
    return start_at(s, s->used++, does);
}

static void kick(struct stage *s)
{
    if (s->ex->ops->kick)
        s->ex->ops->kick(s->ex);
}

/* As the engine does it. */
static void cancel(struct stage *s, struct core_attempt *a)
{
    atomic_store(&a->cancelled, true);
    s->ex->ops->cancel(s->ex, a);
}

/* ---- the tests ---- */

static void what_runs_as_a_process_says_so_once_before_its_report(void **state)
{
    struct stage *s = stage_open(state);
    bool is_process =
        strcmp(s->kind->name, "command") == 0 || strcmp(s->kind->name, "process") == 0;

    for (int i = 0; i < 50; i++)
        start(s, ENDS);
    kick(s);
    await(s, 50);
    for (size_t token = 1; token <= 50; token++)
        assert_int_equal(s->begun[token], is_process ? 1 : 0);
    stage_close(s);
}

static void each_start_is_reported_once_with_its_times(void **state)
{
    struct stage *s = stage_open(state);
    struct instant before = on_now(&s->host), after;

    for (int i = 0; i < 200; i++)
        start(s, ENDS);
    kick(s);
    await(s, 200);
    after = on_now(&s->host);
    for (size_t i = 0; i < 200; i++) {
        const struct core_attempt *a = &s->attempts[i];

        assert_int_equal(a->answer.outcome, WEIR_OUTCOME_OK);
        assert_int_equal(a->answer.reason, WEIR_REASON_NONE);
        assert_true(a->answer.started_at.ns >= before.ns);
        assert_true(a->answer.ended_at.ns >= a->answer.started_at.ns);
        assert_true(after.ns >= a->answer.ended_at.ns);
        assert_int_equal(a->index, i); /* what the engine has set stays */
        assert_int_equal(a->token, i + 1);
    }
    stage_close(s);
}

static void an_attempt_can_be_used_again_after_its_report(void **state)
{
    struct stage *s = stage_open(state);

    s->used = 1;
    for (size_t i = 1; i <= 100; i++) {
        answer_clear(&s->attempts[0].answer);
        start_at(s, 0, ENDS);
        kick(s);
        await(s, i);
        assert_int_equal(s->attempts[0].answer.outcome, WEIR_OUTCOME_OK);
        assert_int_equal(s->reports[0], i);
    }
    s->reports[0] = 1;
    stage_close(s);
}

/* Several at once: as many as there are places hold, and others still end, one after the other. */
static void attempts_run_beside_each_other(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < PLACES - 1; i++)
        start(s, HOLDS);
    kick(s);
    for (size_t i = 1; i <= 20; i++) {
        start(s, ENDS);
        kick(s);
        await(s, i);
    }
    assert_int_equal(reported(s), 20);
    for (int i = 0; i < PLACES - 1; i++)
        cancel(s, &s->attempts[i]);
    stage_close(s);
}

static bool all_hold(void *arg)
{
    struct stage *s = arg;

    uv_run(&s->loop, UV_RUN_NOWAIT);
    return s->kind->holding(s) == PLACES;
}

static void what_holds_ends_when_it_is_released(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < PLACES; i++)
        start(s, HOLDS);
    kick(s);
    assert_true(testkit_until(all_hold, s, DEADLINE_MS));
    assert_int_equal(reported(s), 0);
    s->kind->release(s);
    await(s, PLACES);
    for (size_t i = 0; i < PLACES; i++)
        assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_OK);
    stage_close(s);
}

static void a_cancel_before_it_has_begun_ends_it(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < 10; i++)
        start(s, HOLDS);
    for (int i = 9; i >= 0; i--)
        cancel(s, &s->attempts[i]);
    assert_int_equal(reported(s), 10); /* nothing had to be waited for */
    for (int i = 0; i < 10; i++)
        assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_CANCELLED);
    kick(s);
    start(s, ENDS); /* the executor is none the worse for it */
    kick(s);
    stage_close(s);
}

static void a_cancel_while_it_runs_ends_it_early(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < PLACES; i++)
        start(s, HOLDS);
    kick(s);
    assert_true(testkit_until(all_hold, s, DEADLINE_MS));
    for (int i = 0; i < PLACES; i++)
        cancel(s, &s->attempts[i]);
    if (s->kind->cancels_within)
        assert_int_equal(reported(s), PLACES);
    await(s, PLACES);
    for (int i = 0; i < PLACES; i++)
        assert_int_not_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_OK);
    stage_close(s);
}

/* More than there are places: the ones in the middle go, the others still have their turn. */
static void a_cancel_in_the_queue_leaves_the_others_alone(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < PLACES; i++)
        start(s, HOLDS);
    kick(s);
    for (int i = 0; i < 30; i++)
        start(s, ENDS);
    for (int i = 0; i < 30; i += 3)
        cancel(s, &s->attempts[PLACES + i]);
    kick(s);
    for (int i = 0; i < PLACES; i++)
        cancel(s, &s->attempts[i]);
    await(s, s->started);
    for (int i = 0; i < 30; i++)
        if (i % 3 != 0)
            assert_int_equal(s->attempts[PLACES + i].answer.outcome, WEIR_OUTCOME_OK);
    stage_close(s);
}

static void cancelling_twice_is_cancelling_once(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < 8; i++) {
        start(s, HOLDS);
        if (i % 2)
            kick(s);
    }
    for (int twice = 0; twice < 2; twice++)
        for (int i = 0; i < 8; i++)
            cancel(s, &s->attempts[i]);
    kick(s);
    stage_close(s);
}

/* The engine may not have read the report yet when it cancels. */
static void a_cancel_after_the_report_changes_nothing(void **state)
{
    struct stage *s = stage_open(state);

    for (int i = 0; i < 8; i++)
        start(s, ENDS);
    kick(s);
    await(s, 8);
    for (int i = 0; i < 8; i++) {
        cancel(s, &s->attempts[i]);
        assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_OK);
    }
    stage_close(s);
}

/* Each at another moment of its life; whatever it becomes, it is reported once. */
static void a_cancel_may_come_at_any_moment(void **state)
{
    struct stage *s = stage_open(state);
    unsigned dice = 12345;

    for (int i = 0; i < 400; i++) {
        enum does does = i % 5 ? ENDS : HOLDS;
        struct core_attempt *a = start(s, does);

        dice = dice * 1103515245 + 12345;
        if (dice >> 16 & 1)
            kick(s);
        if (dice >> 17 & 1)
            for (unsigned turns = dice >> 20 & 15; turns > 0; turns--) {
                sched_yield();
                uv_run(&s->loop, UV_RUN_NOWAIT);
            }
        if (does == HOLDS || dice >> 18 & 1)
            cancel(s, a);
        if (i >= PLACES)
            await(s, (size_t)(i - PLACES) / 2);
    }
    kick(s);
    stage_close(s);
}

static void a_kick_without_a_start_does_nothing(void **state)
{
    struct stage *s = stage_open(state);

    kick(s);
    kick(s);
    start(s, ENDS);
    kick(s);
    await(s, 1);
    kick(s);
    stage_close(s);
}

static void an_executor_that_never_worked_can_be_closed(void **state)
{
    stage_close(stage_open(state));
}

/* Whatever allocation fails, each attempt is reported; it may have failed, but it is not lost. */
static void without_memory_each_start_is_still_reported(void **state)
{
    for (unsigned long n = 1; n <= 25; n++) {
        struct stage *s = stage_open(state);

        mem_fail_at(n);
        for (int i = 0; i < 6; i++)
            start(s, ENDS);
        kick(s);
        await(s, 6);
        mem_fail_at(0);
        for (int i = 0; i < 6; i++)
            if (s->attempts[i].answer.outcome != WEIR_OUTCOME_OK)
                assert_int_not_equal(s->attempts[i].answer.reason, WEIR_REASON_NONE);
        stage_close(s);
    }
}

#define EACH(test)                                                                                 \
    {#test "[thread]", test, NULL, NULL, (void *)(uintptr_t)&kinds[0]},                            \
        {#test "[http]", test, NULL, NULL, (void *)(uintptr_t)&kinds[1]},                          \
        {#test "[command]", test, NULL, NULL, (void *)(uintptr_t)&kinds[2]},                       \
        {#test "[command, ahead]", test, NULL, NULL, (void *)(uintptr_t)&kinds[3]},                \
    {                                                                                              \
#test "[process]", test, NULL, NULL, (void *)(uintptr_t)&kinds[4]                          \
    }

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        EACH(each_start_is_reported_once_with_its_times),
        EACH(what_runs_as_a_process_says_so_once_before_its_report),
        EACH(an_attempt_can_be_used_again_after_its_report),
        EACH(attempts_run_beside_each_other),
        EACH(what_holds_ends_when_it_is_released),
        EACH(a_cancel_before_it_has_begun_ends_it),
        EACH(a_cancel_while_it_runs_ends_it_early),
        EACH(a_cancel_in_the_queue_leaves_the_others_alone),
        EACH(cancelling_twice_is_cancelling_once),
        EACH(a_cancel_after_the_report_changes_nothing),
        EACH(a_cancel_may_come_at_any_moment),
        EACH(a_kick_without_a_start_does_nothing),
        EACH(an_executor_that_never_worked_can_be_closed),
        EACH(without_memory_each_start_is_still_reported),
    };

    if (worker_is_meant(argc, argv))
        return worker_main(argc, argv);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
