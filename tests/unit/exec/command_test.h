/*
 * The stage of the command executor's tests: an executor with a host that counts reports, the
 * attempts that it is given, and what each of them is to run. stage_close() sees that nothing is
 * left: no descriptor, no child, no file.
 */
#ifndef COMMAND_TEST_H
#define COMMAND_TEST_H

#include "exec/command/command.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"
#include "unit/exec/child_test.h"

#include <unistd.h>

#define ATTEMPTS_MAX 64
#define DEADLINE_MS  (DEADLINE_S * 1000)
#define MIB          ((size_t)1 << 20)

/* What prepare() is to say of an attempt. */
struct job {
    char *argv[8];
    char *const *env;
    const char *file, *dir;
    struct slice input;
    bool has_input;
    const char *refusal; /* the row cannot run */
};

struct stage {
    struct core_executor_host host; /* first */
    struct core_executor *ex;
    struct latch reported;
    struct core_attempt attempts[ATTEMPTS_MAX];
    struct job jobs[ATTEMPTS_MAX];
    unsigned places[ATTEMPTS_MAX]; /* as prepare() was told */
    size_t used;
    size_t fds;
    char *dir;
};

static void on_report(struct core_executor_host *host, struct core_attempt *chain)
{
    struct stage *s = (struct stage *)host;
    uint64_t count = 0;

    for (; chain; chain = chain->next)
        count++;
    latch_add(&s->reported, count);
}

static struct instant on_now(struct core_executor_host *host)
{
    struct timespec ts;

    (void)host;
    clock_gettime(CLOCK_MONOTONIC, &ts);
    return (struct instant){(int64_t)ts.tv_sec * NS_PER_S + ts.tv_nsec};
}

static bool on_prepare(void *ctx, const struct core_attempt *a, unsigned place,
                       struct command_launch *launch, struct core_answer *answer)
{
    struct stage *s = ctx;
    const struct job *job = a->payload;

    s->places[a->index] = place;
    if (job->refusal) {
        answer_say(answer, "%s", job->refusal);
        return false;
    }
    launch->file = job->file;
    launch->argv = job->argv;
    launch->env = job->env;
    launch->dir = job->dir;
    launch->input = job->input;
    launch->has_input = job->has_input;
    return true;
}

static struct stage *stage_open_with(struct command_options o)
{
    struct stage *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->fds = fds_open();
    s->dir = testkit_dir_make();
    s->host = (struct core_executor_host){.report = on_report, .now = on_now};
    s->reported = (struct latch)LATCH_INIT;
    o.prepare = on_prepare;
    o.ctx = s;
    ok(command_executor_new(&o, &s->host, &s->ex, &err));
    return s;
}

static inline struct stage *stage_open(size_t places)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;

    o.places = places;
    o.ahead = true;
    return stage_open_with(o);
}

static void stage_close(struct stage *s)
{
    assert_true(latch_wait(&s->reported, s->used));
    s->ex->ops->close(s->ex);
    assert_int_equal(latch_count(&s->reported), s->used);
    for (size_t i = 0; i < s->used; i++)
        answer_clear(&s->attempts[i].answer);
    assert_int_equal(fds_open(), s->fds);
    assert_no_children();
    testkit_dir_remove(s->dir);
    free(s);
}

static struct core_attempt *begin(struct stage *s, struct job job)
{
    struct core_attempt *a = &s->attempts[s->used];

    assert_true(s->used < ATTEMPTS_MAX);
    s->jobs[s->used] = job;
    *a = (struct core_attempt){
        .payload = &s->jobs[s->used], .key = "a key", .index = s->used, .number = 1};
    s->used++;
    answer_init(&a->answer);
    s->ex->ops->start(s->ex, a);
    s->ex->ops->kick(s->ex);
    return a;
}

static struct job shell(const char *script)
{
    return (struct job){
        .argv = {(char *)(uintptr_t) "sh", (char *)(uintptr_t) "-c", (char *)(uintptr_t)script}};
}

/* Runs it to its end. */
static struct core_answer *run(struct stage *s, struct job job)
{
    struct core_attempt *a = begin(s, job);

    assert_true(latch_wait(&s->reported, s->used));
    assert_false(instant_is_none(a->answer.started_at));
    assert_false(instant_before(a->answer.ended_at, a->answer.started_at));
    return &a->answer;
}

static void cancel(struct stage *s, struct core_attempt *a)
{
    atomic_store(&a->cancelled, true);
    s->ex->ops->cancel(s->ex, a);
}

static void assert_ended(const struct core_answer *a, enum weir_outcome outcome,
                         enum weir_reason reason, int status, const char *message)
{
    assert_string_equal(weir_outcome_name(a->outcome), weir_outcome_name(outcome));
    assert_string_equal(weir_reason_name(a->reason), weir_reason_name(reason));
    assert_int_equal(a->status, status);
    if (!message)
        assert_null(a->message);
    else if (!a->message || !strstr(a->message, message))
        fail_msg("the message \"%s\" does not hold \"%s\"", a->message, message);
}

static void assert_ok(const struct core_answer *a, const char *output)
{
    assert_ended(a, WEIR_OUTCOME_OK, WEIR_REASON_NONE, 0, NULL);
    assert_string_equal(a->output, output);
    assert_int_equal(a->output_len, strlen(output));
}

#endif
