/*
 * The command executor beyond what every executor promises (tests/contract/test_executor.c), with
 * real programs: what they find, what their ends are called, outputs and inputs of any size, and
 * that nothing of them is left. Each test counts descriptors and children before and after.
 */
#include "base/mem.h"
#include "exec/command/capture.h"
#include "unit/exec/command_test.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

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

static void the_place_is_the_lowest_free_one(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_attempt *second;
    struct stage *s;
    int gate;

    (void)state;
    o.places = 3;
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

/* The first waits for the second, which has a place only when there are more; and then there is one again. */
static void places_may_become_more_and_fewer(void **state)
{
    struct stage *s = stage_open(1);
    char *fifo = testkit_path(s->dir, "fifo");
    struct job reads = shell("cat <fifo"), writes_it = shell("echo x >fifo");

    (void)state;
    assert_int_equal(mkfifo(fifo, 0600), 0);
    reads.dir = writes_it.dir = s->dir;
    begin(s, reads);
    begin(s, writes_it);
    ok(s->ex->ops->resize(s->ex, 2, &err));
    assert_true(latch_wait(&s->reported, 2));
    assert_string_equal(s->attempts[0].answer.output, "x\n");
    ok(s->ex->ops->resize(s->ex, 1, &err));
    for (int i = 0; i < 20; i++) {
        struct job job = shell("mkdir alone && rmdir alone"); /* fails where two are at it */

        job.dir = s->dir;
        begin(s, job);
    }
    assert_true(latch_wait(&s->reported, 22));
    for (size_t i = 2; i < 22; i++)
        assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_OK);
    says(WEIR_E_INVALID, "give 1 to", s->ex->ops->resize(s->ex, COMMAND_PLACES_MAX + 1, &err));
    testkit_free(fifo);
    stage_close(s);
}

/* ---- output ---- */

static struct job writes(char *room, size_t bytes, const char *out, const char *err)
{
    snprintf(room, 256,
             "head -c %zu /dev/zero | tr '\\0' %s & head -c %zu /dev/zero | tr '\\0' %s >&2; wait",
             bytes, out, bytes, err);
    return shell(room);
}

static void assert_filled(const char *bytes, size_t len, char with)
{
    assert_int_equal(bytes[len], '\0');
    assert_true(len == 0 || (bytes[0] == with && memcmp(bytes, bytes + 1, len - 1) == 0));
}

/* Around each size at which something changes: kept in the answer, a pipe's, copied, in a file, whole pages of it. */
static void outputs_of_any_size_come_whole(void **state)
{
    static const size_t sizes[] = {0,
                                   1,
                                   ANSWER_SMALL_BYTES - 1,
                                   ANSWER_SMALL_BYTES,
                                   4095,
                                   65535,
                                   65536,
                                   65537,
                                   MIB - 1,
                                   MIB,
                                   MIB + 1,
                                   2 * MIB,
                                   3 * MIB + 4096};
    struct stage *s = stage_open(2);
    char room[256];

    (void)state;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct core_answer *a = run(s, writes(room, sizes[i], "a", "b"));

        assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
        assert_int_equal(a->output_len, sizes[i]);
        assert_int_equal(a->errput_len, sizes[i]);
        assert_filled(a->output, sizes[i], 'a');
        if (sizes[i] > 0)
            assert_filled(a->errput, sizes[i], 'b');
        assert_true((a->output_free != NULL) == (sizes[i] > MIB));
    }
    stage_close(s);
}

static void three_hundred_mib_on_both_streams_at_once(void **state)
{
    struct stage *s = stage_open(2);
    char room[256];
    struct core_answer *a = run(s, writes(room, 300 * MIB, "a", "b"));
    struct core_answer other;

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(a->output_len, 300 * MIB);
    assert_int_equal(a->errput_len, 300 * MIB);
    assert_filled(a->output, 300 * MIB, 'a');
    assert_filled(a->errput, 300 * MIB, 'b');
    answer_move(&other, a);
    assert_null(a->output);
    assert_filled(other.output, 300 * MIB, 'a');
    answer_clear(&other);
    stage_close(s);
}

static void what_is_beyond_the_limit_ends_the_command(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_answer *a;
    struct stage *s;

    (void)state;
    o.output_max_bytes = 100000;
    s = stage_open_with(o);
    a = run(s, shell("yes"));
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_RESPONSE_TOO_LARGE, 0,
                 "more than 100000 bytes");
    assert_false(a->retryable);
    assert_int_equal(a->output_len, 100000);
    assert_memory_equal(a->output, "y\ny\n", 4);
    a = run(s, shell("yes >&2 & yes; wait"));
    assert_int_equal(a->reason, WEIR_REASON_RESPONSE_TOO_LARGE);
    assert_int_equal(run(s, shell("head -c 100000 /dev/zero"))->outcome, WEIR_OUTCOME_OK);
    /* Written by something that ended at once, and found when it had ended. */
    assert_int_equal(run(s, shell("head -c 100001 /dev/zero >&2"))->reason,
                     WEIR_REASON_RESPONSE_TOO_LARGE);
    stage_close(s);
}

/* A limit so low that the file is smaller than what an answer has room for itself. */
static void outputs_of_a_few_bytes_may_be_in_a_file_too(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_answer *a;
    struct stage *s;

    (void)state;
    o.spill_bytes = 1;
    s = stage_open_with(o);
    a = run(s, shell("echo some; echo more >&2"));
    assert_ok(a, "some\n");
    assert_string_equal(a->errput, "more\n");
    stage_close(s);
}

/* Full by its very last byte. */
static void a_file_that_has_no_room_for_all_is_an_error_that_says_so(void **state)
{
    const struct capture_limits limits = {
        .bytes_max = 1 << 20, .spill_bytes = 1, .spill_dir = "/tmp"};
    struct rlimit before, low;
    struct core_answer a;
    struct capture c;
    char scratch[CAPTURE_SCRATCH_BYTES] = {0};
    int writer;

    (void)state;
    signal(SIGXFSZ, SIG_IGN);
    getrlimit(RLIMIT_FSIZE, &before);
    low = (struct rlimit){.rlim_cur = 8192, .rlim_max = before.rlim_max};
    answer_init(&a);
    capture_init(&c);
    assert_true(capture_open(&c, &writer));
    assert_int_equal(write(writer, scratch, 8192), 8192);
    close(writer);
    assert_int_equal(capture_read(&c, &limits, scratch), CAPTURE_MORE);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &low), 0);
    assert_false(capture_output(&c, &a));
    assert_int_equal(c.errnum, EFBIG);
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &before), 0);
    assert_true(capture_output(&c, &a));
    assert_int_equal(a.output_len, 8192);
    assert_int_equal(a.output[8192], 0);
    answer_clear(&a);
    capture_free(&c);
    signal(SIGXFSZ, SIG_DFL);
}

static void without_a_folder_for_its_output_it_says_so(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_answer *a;
    struct stage *s;

    (void)state;
    o.spill_dir = "/no/such/folder";
    s = stage_open_with(o);
    a = run(s, shell("head -c 1048576 /dev/zero"));
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    a = run(s, shell("yes"));
    assert_ended(a, WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, 0,
                 "cannot be kept in '/no/such/folder': No such file or directory; set TMPDIR");
    assert_true(a->retryable);
    stage_close(s);
}

/* Nothing more can come, but it has not ended. */
static void one_that_closes_its_output_goes_on(void **state)
{
    struct stage *s = stage_open(1);
    struct job job = holding(s);
    struct core_attempt *a;
    int gate;

    (void)state;
    job.argv[2] =
        (char *)(uintptr_t) "echo before; exec >&- 2>&-; echo x >>marks; read -r x <gate; "
                            "exit 5";
    a = begin(s, job);
    await_marks(s, 1);
    assert_int_equal(latch_count(&s->reported), 0);
    gate = open_gate(s, 1);
    assert_true(latch_wait(&s->reported, 1));
    assert_ended(&a->answer, WEIR_OUTCOME_FAILED, WEIR_REASON_EXIT_STATUS, 5, "exit status 5");
    assert_string_equal(a->answer.output, "before\n");
    close(gate);
    stage_close(s);
}

static void what_it_leaves_in_the_background_is_not_waited_for(void **state)
{
    struct stage *s = stage_open(1);
    struct core_answer *a =
        run(s, shell("sleep 1000 & echo $!; (trap '' TERM HUP; exec sleep 1000) & echo $!"));
    pid_t pids[3] = {0};

    (void)state;
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_int_equal(sscanf(a->output, "%d %d", &pids[0], &pids[1]), 2);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    stage_close(s);
}

/* One that has left the group holds the pipes and goes on writing: it is no reason to wait, or to read for ever. */
static void who_has_got_away_holds_nothing_up(void **state)
{
    struct stage *s = stage_open(1);
    struct job job = holding(s);
    struct core_answer *a;
    pid_t pids[2] = {0};

    (void)state;
    job.argv[2] = (char *)(uintptr_t) "setsid sh -c 'echo $$ >&2; echo x >gate; exec yes' & "
                                      "read -r x <gate";
    a = run(s, job);
    assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
    assert_non_null(a->errput);
    pids[0] = (pid_t)strtol(a->errput, NULL, 10);
    assert_true(pids[0] > 1);
    /* Its pipe is closed: the next thing it writes ends it. */
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    stage_close(s);
}

/* ---- input ---- */

static void input_of_any_size_arrives(void **state)
{
    static const size_t sizes[] = {0, 1, 65535, 65536, 65537, 8 * MIB};
    struct stage *s = stage_open(2);
    char *bytes = malloc(8 * MIB);
    struct job job = {.argv = {(char[]){"cat"}}, .has_input = true};

    (void)state;
    for (size_t i = 0; i < 8 * MIB; i++)
        bytes[i] = (char)(i * 31 >> 3);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        struct core_answer *a;

        job.input = (struct slice){bytes, sizes[i]};
        a = run(s, job);
        assert_int_equal(a->outcome, WEIR_OUTCOME_OK);
        assert_int_equal(a->output_len, sizes[i]);
        assert_memory_equal(a->output, bytes, sizes[i]);
    }
    assert_ok(run(s, shell("cat; readlink /proc/self/fd/0")), "/dev/null\n");
    free(bytes);
    stage_close(s);
}

static void one_that_does_not_read_its_input_holds_nobody_up(void **state)
{
    struct stage *s = stage_open(2);
    struct job job = holding(s);
    char *bytes = calloc(1, 64 * MIB);
    int gate;

    (void)state;
    assert_non_null(bytes);
    job.input = (struct slice){bytes, 64 * MIB};
    job.has_input = true;
    begin(s, job);
    await_marks(s, 1);
    for (int i = 0; i < 5; i++) {
        struct core_attempt *a = begin(s, shell("cat; echo other"));

        assert_true(latch_wait(&s->reported, (uint64_t)i + 1));
        assert_ok(&a->answer, "other\n");
    }
    gate = open_gate(s, 1);
    assert_true(latch_wait(&s->reported, 6));
    close(gate);
    assert_ok(&s->attempts[0].answer, "");
    /* And one that ends in the middle of it, with no signal to anybody. */
    job = shell("head -c 100000 | tail -c 1 | tr '\\0' x; exit 4");
    job.input = (struct slice){bytes, 64 * MIB};
    job.has_input = true;
    assert_ended(run(s, job), WEIR_OUTCOME_FAILED, WEIR_REASON_EXIT_STATUS, 4, "exit status 4");
    assert_string_equal(s->attempts[6].answer.output, "x");
    free(bytes);
    stage_close(s);
}

/* ---- ending it ---- */

static void a_cancelled_command_is_told_to_end(void **state)
{
    struct stage *s = stage_open(2);
    struct job job = holding(s);
    struct core_attempt *a;

    (void)state;
    job.argv[2] = (char *)(uintptr_t) "trap 'echo told; exit 0' TERM; echo before; echo x >>marks; "
                                      "while :; do read -r x <gate; done";
    a = begin(s, job);
    await_marks(s, 1);
    cancel(s, a);
    assert_true(latch_wait(&s->reported, 1));
    /* It has not done what it was to do, whatever it says. */
    assert_ended(&a->answer, WEIR_OUTCOME_FAILED, WEIR_REASON_SIGNALLED, 0, "told to end");
    assert_string_equal(a->answer.output, "before\ntold\n");
    stage_close(s);
}

static void one_that_ignores_it_is_killed_with_its_whole_tree(void **state)
{
    static const struct command_term terms[] = {{SIGINT, NS_PER_MS}, {SIGTERM, 2 * NS_PER_MS}};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    pid_t pids[3] = {0};
    struct core_attempt *a;
    struct stage *s;
    struct job job;

    (void)state;
    o.terms = terms;
    o.terms_count = 2;
    s = stage_open_with(o);
    job = holding(s);
    job.argv[2] =
        (char *)(uintptr_t) "trap '' INT TERM; sleep 1000 & echo $!; sleep 1000 & echo $!; "
                            "echo x >>marks; wait";
    a = begin(s, job);
    await_marks(s, 1);
    cancel(s, a);
    cancel(s, a); /* once is enough */
    assert_true(latch_wait(&s->reported, 1));
    assert_ended(&a->answer, WEIR_OUTCOME_FAILED, WEIR_REASON_SIGNALLED, -SIGKILL, "(SIGKILL)");
    assert_int_equal(sscanf(a->answer.output, "%d %d", &pids[0], &pids[1]), 2);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    assert_ok(run(s, shell("echo next")), "next\n");
    stage_close(s);
}

/* Told to end, a stopped one would sleep on; and the whole sequence is over in less than half a second. */
static void the_default_sequence_ends_what_is_stopped_or_stubborn(void **state)
{
    struct stage *s = stage_open(2);
    struct job job = holding(s);
    struct core_attempt *stopped, *stubborn;
    struct instant from;

    (void)state;
    job.argv[2] = (char *)(uintptr_t) "echo x >>marks; kill -STOP $$";
    stopped = begin(s, job);
    job.argv[2] =
        (char *)(uintptr_t) "trap '' TERM; echo x >>marks; while :; do read -r x <gate; done";
    stubborn = begin(s, job);
    await_marks(s, 2);
    from = on_now(NULL);
    cancel(s, stopped);
    cancel(s, stubborn);
    assert_true(latch_wait(&s->reported, 2));
    assert_int_equal(stopped->answer.status, -SIGTERM);
    assert_int_equal(stubborn->answer.status, -SIGKILL);
    assert_true(instant_diff(stubborn->answer.ended_at, from) >= 350 * NS_PER_MS);
    stage_close(s);
}

/* So the engine takes back what it has handed over ahead: what has begun is left alone. */
static void one_that_is_only_called_in_goes_on(void **state)
{
    struct stage *s = stage_open(1);
    struct core_attempt *runs = begin(s, holding(s)), *waits;
    int gate;

    (void)state;
    await_marks(s, 1);
    waits = begin(s, shell("echo never"));
    s->ex->ops->cancel(s->ex, runs);
    s->ex->ops->cancel(s->ex, waits);
    assert_int_equal(latch_count(&s->reported), 1);
    assert_int_equal(waits->answer.outcome, WEIR_OUTCOME_CANCELLED);
    gate = open_gate(s, 1);
    assert_true(latch_wait(&s->reported, 2));
    close(gate);
    assert_ok(&runs->answer, "");
    stage_close(s);
}

/* It has ended, but others wait, and so it is not told for some milliseconds: nobody who comes after it is to suffer. */
static void a_cancel_between_its_end_and_its_report_hits_nobody(void **state)
{
    struct stage *s = stage_open(1);
    struct job job = holding(s);
    int gate;

    (void)state;
    for (uint64_t round = 1; round <= 10; round++) {
        struct core_attempt *quick = begin(s, shell(":"));

        begin(s, job);
        begin(s, shell("echo last"));
        begin(s, shell("echo last"));
        await_marks(s, round);
        cancel(s, quick);
        gate = open_gate(s, 1);
        assert_true(latch_wait(&s->reported, 4 * round));
        close(gate);
        for (size_t i = s->used - 3; i < s->used; i++)
            assert_int_equal(s->attempts[i].answer.outcome, WEIR_OUTCOME_OK);
    }
    stage_close(s);
}

/* ---- what can be wrong ---- */

static void options_are_checked(void **state)
{
    static const int zero[] = {0}, large[] = {256};
    static const struct command_term none[] = {{0, 0}}, back[] = {{SIGTERM, -1}};
    struct command_term many[COMMAND_TERM_STEPS_MAX + 1];
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_executor_host host = {.report = on_report, .now = on_now};
    struct core_executor *ex = NULL;
    size_t fds = fds_open();

    (void)state;
    says(WEIR_E_INVALID, "missing", command_executor_new(&o, &host, &ex, &err));
    o.prepare = on_prepare;
    o.places = 0;
    says(WEIR_E_INVALID, "give 1 to 1000000", command_executor_new(&o, &host, &ex, &err));
    o.places = 1;
    o.capacity_exits = zero;
    o.capacity_exits_count = 1;
    says(WEIR_E_INVALID, "0 means success", command_executor_new(&o, &host, &ex, &err));
    o.capacity_exits = large;
    says(WEIR_E_INVALID, "256 cannot mean", command_executor_new(&o, &host, &ex, &err));
    o.capacity_exits = NULL;
    o.terms = none;
    o.terms_count = 1;
    says(WEIR_E_INVALID, "step 1 of the term sequence is signal 0",
         command_executor_new(&o, &host, &ex, &err));
    o.terms = back;
    says(WEIR_E_INVALID, "wait of -1 ns", command_executor_new(&o, &host, &ex, &err));
    o.terms = many;
    o.terms_count = COMMAND_TERM_STEPS_MAX + 1;
    says(WEIR_E_INVALID, "17 steps", command_executor_new(&o, &host, &ex, &err));
    assert_null(ex);
    assert_int_equal(fds_open(), fds);
    assert_no_children();
}

static void each_lack_of_memory_is_survived(void **state)
{
    size_t fds = fds_open();
    bool whole = false;

    (void)state;
    for (unsigned long n = 1; !whole; n++) {
        struct command_options o = COMMAND_OPTIONS_DEFAULT;
        struct stage s = {.host = {.report = on_report, .now = on_now}};
        struct job job = shell("cat; head -c 200000 /dev/zero");
        struct core_attempt *a;
        struct weir_error err;

        s.reported = (struct latch)LATCH_INIT;
        o.prepare = on_prepare;
        o.ctx = &s;
        job.input = SLICE("input that is longer than a small output");
        job.has_input = true;
        mem_fail_at(n);
        if (command_executor_new(&o, &s.host, &s.ex, &err) != WEIR_OK) {
            assert_int_equal(err.status, WEIR_E_NOMEM);
            continue;
        }
        a = begin(&s, job);
        assert_true(latch_wait(&s.reported, 1));
        s.ex->ops->close(s.ex);
        whole = !mem_has_failed();
        mem_fail_at(0);
        if (whole)
            assert_int_equal(a->answer.output_len, 200040);
        else if (a->answer.outcome == WEIR_OUTCOME_CAPACITY) /* it has not begun */
            assert_ended(&a->answer, WEIR_OUTCOME_CAPACITY, WEIR_REASON_START_FAILED, 0,
                         "memory ran out");
        else if (a->answer.outcome != WEIR_OUTCOME_OK)
            assert_ended(&a->answer, WEIR_OUTCOME_FAILED, WEIR_REASON_INTERNAL, 0,
                         "memory ran out");
        answer_clear(&a->answer);
        assert_true(n < 100);
    }
    mem_fail_at(0);
    assert_int_equal(fds_open(), fds);
    assert_no_children();
}

static void without_descriptors_it_may_run_later(void **state)
{
    struct stage *s = stage_open(1);
    struct rlimit before, none;
    struct core_answer *a;

    (void)state;
    assert_ok(run(s, shell("echo once")), "once\n");
    getrlimit(RLIMIT_NOFILE, &before);
    for (rlim_t more = 0; more < 5; more++) {
        none = before;
        none.rlim_cur = s->fds + more; /* the folder of descriptors itself was counted too */
        setrlimit(RLIMIT_NOFILE, &none);
        a = run(s, shell("echo again"));
        setrlimit(RLIMIT_NOFILE, &before);
        if (a->outcome == WEIR_OUTCOME_OK)
            continue;
        assert_ended(a, WEIR_OUTCOME_CAPACITY, WEIR_REASON_START_FAILED, 0, "Too many open files");
    }
    assert_ok(run(s, shell("echo once")), "once\n");
    stage_close(s);
}

/* ---- when weir is killed ---- */

static void when_weir_is_killed_nothing_is_left_after_a_second(void **state)
{
    pid_t pids[13], pid;
    int out[2], status;
    bool all_gone;

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct stage *s;
        char script[256];

        prctl(PR_SET_PDEATHSIG, SIGKILL);
        snprintf(
            script, sizeof script,
            "{ echo $$; sleep 1000 & echo $!; sh -c 'trap \"\" TERM; echo $$; sleep 1000' & wait; "
            "} >/proc/%d/fd/%d",
            (int)getpid(), out[1]);
        s = stage_open(4);
        testkit_dir_remove(s->dir); /* this process will not */
        for (int i = 0; i < 4; i++)
            begin(s, shell(script));
        for (;;)
            pause();
    }
    close(out[1]);
    read_pids(out[0], pids, 12);
    kill(pid, SIGKILL);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    all_gone = testkit_until(are_gone, pids, GONE_MS);
    for (size_t i = 0; i < 12 && !all_gone; i++)
        kill(pids[i], SIGKILL);
    assert_true(all_gone);
    close(out[0]);
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
        cmocka_unit_test(the_place_is_the_lowest_free_one),
        cmocka_unit_test(never_more_run_than_there_are_places),
        cmocka_unit_test(places_may_become_more_and_fewer),
        cmocka_unit_test(outputs_of_any_size_come_whole),
        cmocka_unit_test(three_hundred_mib_on_both_streams_at_once),
        cmocka_unit_test(what_is_beyond_the_limit_ends_the_command),
        cmocka_unit_test(outputs_of_a_few_bytes_may_be_in_a_file_too),
        cmocka_unit_test(a_file_that_has_no_room_for_all_is_an_error_that_says_so),
        cmocka_unit_test(without_a_folder_for_its_output_it_says_so),
        cmocka_unit_test(one_that_closes_its_output_goes_on),
        cmocka_unit_test(what_it_leaves_in_the_background_is_not_waited_for),
        cmocka_unit_test(who_has_got_away_holds_nothing_up),
        cmocka_unit_test(input_of_any_size_arrives),
        cmocka_unit_test(one_that_does_not_read_its_input_holds_nobody_up),
        cmocka_unit_test(a_cancelled_command_is_told_to_end),
        cmocka_unit_test(one_that_ignores_it_is_killed_with_its_whole_tree),
        cmocka_unit_test(the_default_sequence_ends_what_is_stopped_or_stubborn),
        cmocka_unit_test(one_that_is_only_called_in_goes_on),
        cmocka_unit_test(a_cancel_between_its_end_and_its_report_hits_nobody),
        cmocka_unit_test(options_are_checked),
        cmocka_unit_test(each_lack_of_memory_is_survived),
        cmocka_unit_test(without_descriptors_it_may_run_later),
        cmocka_unit_test(when_weir_is_killed_nothing_is_left_after_a_second),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
