/*
 * The command executor beyond what every executor promises (tests/contract/test_executor.c), with real programs: what
 * they find, what their ends are called, outputs and inputs of any size, and that nothing of them is left. Each test
 * counts descriptors and children before and after.
 */
#include "exec/command/command.h"

#include "base/mem.h"
#include "exec/command/capture.h"
#include "support/testkit.h"
#include "unit/engine/engine_test.h"
#include "unit/exec/child_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/stat.h>
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

static struct stage *stage_open(size_t places)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;

    o.places = places;
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

/* ---- how it ended ---- */

static void exit_0_is_ok_and_its_output_is_the_answer(void **state)
{
    struct stage *s = stage_open(2);
    struct core_answer *a;

    (void)state;
    a = run(s, shell("echo out; echo err >&2"));
    assert_ok(a, "out\n");
    assert_string_equal(a->errput, "err\n");
    assert_int_equal(a->errput_len, 4);
    a = run(s, shell(":"));
    assert_ok(a, "");
    assert_null(a->errput);
    stage_close(s);
}

static void another_exit_status_is_a_failure_that_says_so(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct stage *s = stage_open(1);
    struct core_answer *a;

    (void)state;
    a = run(s, shell("echo partial; echo one >&2; printf 'no such thing\\t\\n\\n' >&2; exit 3"));
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_EXIT_STATUS, 3,
                 "exit status 3: no such thing");
    assert_string_equal(a->output, "partial\n");
    assert_true(a->retryable);
    a = run(s, shell("exit 255"));
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_EXIT_STATUS, 255, "exit status 255");
    assert_string_equal(a->message, "exit status 255");
    stage_close(s);
    o.fail_retryable = false;
    s = stage_open_with(o);
    assert_false(run(s, shell("exit 1"))->retryable);
    assert_false(run(s, shell("kill -9 $$"))->retryable);
    stage_close(s);
}

static void a_signal_is_a_failure_that_names_it(void **state)
{
    struct stage *s = stage_open(1);

    (void)state;
    assert_ended(run(s, shell("kill -9 $$")), WEIR_OUTCOME_FAILED, WEIR_REASON_SIGNALLED, -SIGKILL,
                 "killed by signal 9 (SIGKILL)");
    assert_ended(run(s, shell("kill -USR1 $$")), WEIR_OUTCOME_FAILED, WEIR_REASON_SIGNALLED,
                 -SIGUSR1, "(SIGUSR1)");
    stage_close(s);
}

static void a_capacity_exit_is_capacity(void **state)
{
    static const int exits[] = {7, 255};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct stage *s = stage_open(1);

    (void)state;
    assert_ended(run(s, shell("echo busy >&2; exit 75")), WEIR_OUTCOME_CAPACITY,
                 WEIR_REASON_EXIT_STATUS, 75, "exit status 75: busy");
    stage_close(s);
    o.capacity_exits = exits;
    o.capacity_exits_count = 2;
    s = stage_open_with(o);
    assert_int_equal(run(s, shell("exit 7"))->outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(run(s, shell("exit 255"))->outcome, WEIR_OUTCOME_CAPACITY);
    assert_int_equal(run(s, shell("exit 75"))->outcome, WEIR_OUTCOME_FAILED);
    stage_close(s);
    o.capacity_exits_count = 0; /* none at all */
    s = stage_open_with(o);
    assert_int_equal(run(s, shell("exit 75"))->outcome, WEIR_OUTCOME_FAILED);
    stage_close(s);
}

static void what_cannot_be_run_has_not_started(void **state)
{
    struct stage *s = stage_open(1);
    char *file = testkit_path(s->dir, "tool");
    struct core_answer *a;
    int fd;

    (void)state;
    a = run(s, (struct job){.argv = {(char[]){"weir-no-such-program"}}});
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_START_FAILED, 0,
                 "cannot run 'weir-no-such-program'");
    assert_false(a->retryable);
    testkit_file_write(file, "#!/bin/sh\necho ok\n", 18);
    assert_int_equal(chmod(file, 0755), 0);
    fd = open(file, O_WRONLY | O_CLOEXEC);
    a = run(s, (struct job){.argv = {file}});
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_START_FAILED, 0, "still being written");
    assert_true(a->retryable);
    close(fd);
    assert_ok(run(s, (struct job){.argv = {file}}), "ok\n");
    testkit_free(file);
    stage_close(s);
}

static void a_row_that_cannot_be_prepared_does_not_run(void **state)
{
    struct stage *s = stage_open(1);
    struct core_answer *a;

    (void)state;
    a = run(s, (struct job){.refusal = "there is no field 'name'"});
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_BAD_ROW, 0, "there is no field 'name'");
    assert_false(a->retryable);
    assert_ok(run(s, shell("echo next")), "next\n");
    stage_close(s);
}

/* ---- what it finds ---- */

static void it_finds_its_row_in_the_environment(void **state)
{
    struct stage *s = stage_open(2);
    const char *script = "echo $WEIR_INDEX $WEIR_KEY $WEIR_ATTEMPT $WEIR_SLOT $PARALLEL_SEQ "
                         "$PARALLEL_JOBSLOT $OWN";
    char *env[] = {(char[]){"OWN=x y"}, (char[]){"WEIR_KEY=mine"}, NULL};
    struct job job = shell(script);

    (void)state;
    assert_ok(run(s, shell(script)), "0 a key 1 1 1 1\n");
    job.env = env;
    assert_ok(run(s, job), "1 mine 1 1 2 1 x y\n");
    stage_close(s);
}

static void file_folder_and_arguments_are_given_as_they_are(void **state)
{
    struct stage *s = stage_open(1);
    struct job job = {.file = "sh",
                      .argv = {(char[]){"my own name"}, (char[]){"-c"},
                               (char[]){"pwd; printf '<%s>' \"$0\" \"$@\""}, (char[]){"zero"},
                               (char[]){"a b"}, (char[]){""}, (char[]){"$x"}}};
    char expected[512];

    (void)state;
    job.dir = s->dir;
    snprintf(expected, sizeof expected, "%s\n<zero><a b><><$x>", s->dir);
    assert_ok(run(s, job), expected);
    stage_close(s);
}

/* Each holds until the gate is opened, and marks that it runs. */
static const char hold[] = "echo x >>marks; read -r x <gate";

static struct job holding(struct stage *s)
{
    struct job job = shell(hold);
    char *gate = testkit_path(s->dir, "gate");

    mkfifo(gate, 0600);
    testkit_free(gate);
    job.dir = s->dir;
    return job;
}

struct marks {
    struct stage *s;
    size_t count;
};

static bool are_marked(void *arg)
{
    const struct marks *m = arg;
    char *path = testkit_path(m->s->dir, "marks");
    size_t len = 0;

    if (access(path, R_OK) == 0)
        testkit_free(testkit_file_read(path, &len));
    testkit_free(path);
    return len / 2 >= m->count;
}

static void await_marks(struct stage *s, size_t count)
{
    struct marks m = {s, count};

    assert_true(testkit_until(are_marked, &m, DEADLINE_MS));
}

/* Lets `count` of them go. */
static int open_gate(struct stage *s, size_t count)
{
    char *path = testkit_path(s->dir, "gate");
    int fd = open(path, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(write(fd, "x\n", 2), 2);
    testkit_free(path);
    return fd;
}

static void one_by_one_the_place_is_the_lowest_free_one(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_attempt *second;
    struct stage *s;
    int gate;

    (void)state;
    o.places = 3;
    o.one_by_one = true;
    s = stage_open_with(o);
    assert_int_equal(s->ex->ops->ahead_per_place, 0);
    begin(s, holding(s));
    second = begin(s, holding(s));
    begin(s, holding(s));
    assert_int_equal(s->places[0], 1);
    assert_int_equal(s->places[1], 2);
    assert_int_equal(s->places[2], 3);
    await_marks(s, 3);
    cancel(s, second);
    assert_true(latch_wait(&s->reported, 1));
    begin(s, shell("echo $WEIR_SLOT"));
    assert_true(latch_wait(&s->reported, 2));
    assert_ok(&s->attempts[3].answer, "2\n");
    assert_int_equal(s->places[3], 2);
    gate = open_gate(s, 2);
    assert_true(latch_wait(&s->reported, 4));
    close(gate);
    run(s, shell(":"));
    assert_int_equal(s->places[4], 1);
    stage_close(s);
}

/* P3 by itself, however many are handed over; and each has a place of its own among those that run. */
static void never_more_run_than_there_are_places(void **state)
{
    struct stage *s = stage_open(3);
    char *log = testkit_path(s->dir, "log"), *text;
    int running[4] = {0}, total = 0;

    (void)state;
    for (int i = 0; i < 60; i++) {
        struct job job = shell("echo + $WEIR_SLOT >>log; echo - $WEIR_SLOT >>log");

        job.dir = s->dir;
        begin(s, job);
    }
    assert_true(latch_wait(&s->reported, 60));
    text = testkit_file_read(log, NULL);
    for (const char *p = text; *p; p += 4) {
        int slot = p[2] - '0';

        assert_true(slot >= 1 && slot <= 3);
        running[slot] += p[0] == '+' ? 1 : -1;
        total += p[0] == '+' ? 1 : -1;
        assert_true(running[slot] == 0 || running[slot] == 1);
        assert_true(total <= 3);
    }
    testkit_free(text);
    testkit_free(log);
    stage_close(s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(exit_0_is_ok_and_its_output_is_the_answer),
        cmocka_unit_test(another_exit_status_is_a_failure_that_says_so),
        cmocka_unit_test(a_signal_is_a_failure_that_names_it),
        cmocka_unit_test(a_capacity_exit_is_capacity),
        cmocka_unit_test(what_cannot_be_run_has_not_started),
        cmocka_unit_test(a_row_that_cannot_be_prepared_does_not_run),
        cmocka_unit_test(it_finds_its_row_in_the_environment),
        cmocka_unit_test(file_folder_and_arguments_are_given_as_they_are),
        cmocka_unit_test(one_by_one_the_place_is_the_lowest_free_one),
        cmocka_unit_test(never_more_run_than_there_are_places),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
