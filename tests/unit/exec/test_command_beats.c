/*
 * What the command executor makes known of an attempt while it runs: which process it is, and that
 * it is alive; and what goes before its words. With real commands, which wait for the test wherever
 * it has to see something first.
 */
#include "base/mem.h"
#include "exec/child/child.h"
#include "exec/command/heartbeat.h"
#include "unit/exec/command_test.h"

#include <fcntl.h>
#include <sys/stat.h>

#define LOOK_NS (5 * NS_PER_MS)

/* What was told; under the lock but for the latches. */
static struct {
    pthread_mutex_t lock;
    struct latch began, beats;
    struct core_attempt_began last_began;
    double progress;
    uint64_t token;
    char text[CORE_HEARTBEAT_TEXT_MAX + 1];
} told = {.lock = PTHREAD_MUTEX_INITIALIZER};

static void on_began(struct core_executor_host *host, const struct core_attempt_began *b)
{
    (void)host;
    pthread_mutex_lock(&told.lock);
    told.last_began = *b;
    pthread_mutex_unlock(&told.lock);
    latch_add(&told.began, 1);
}

static void on_beat(struct core_executor_host *host, const struct core_heartbeat *b)
{
    (void)host;
    pthread_mutex_lock(&told.lock);
    told.token = b->token;
    told.progress = b->progress;
    memcpy(told.text, b->text.data, b->text.len);
    told.text[b->text.len] = '\0';
    pthread_mutex_unlock(&told.lock);
    latch_add(&told.beats, 1);
}

static struct stage *open_told(struct command_options o)
{
    struct stage *s;

    o.places = o.places ? o.places : 1;
    o.heartbeat_look_ns = LOOK_NS;
    s = stage_open_with(o);
    told.began = told.beats = (struct latch)LATCH_INIT;
    told.text[0] = '\0';
    s->host.began = on_began;
    s->host.beat = on_beat;
    return s;
}

/* As begin(), with an environment and a token of the attempt's own. */
static struct core_attempt *begin_with(struct stage *s, struct job job, const char *const *env,
                                       uint64_t token)
{
    struct core_attempt *a = &s->attempts[s->used];

    s->jobs[s->used] = job;
    *a = (struct core_attempt){.payload = &s->jobs[s->used],
                               .key = "a key",
                               .index = s->used,
                               .number = 1,
                               .token = token,
                               .env = env};
    s->used++;
    s->ex->ops->start(s->ex, a);
    s->ex->ops->kick(s->ex);
    return a;
}

static void assert_told(uint64_t token, double progress, const char *text)
{
    pthread_mutex_lock(&told.lock);
    assert_int_equal(told.token, token);
    assert_true(told.progress >= progress - 1e-9 && told.progress <= progress + 1e-9);
    assert_string_equal(told.text, text);
    pthread_mutex_unlock(&told.lock);
}

/* Until a heartbeat has said that. */
static void await_text(const char *text)
{
    for (;;) {
        uint64_t seen = latch_count(&told.beats);
        bool said;

        pthread_mutex_lock(&told.lock);
        said = strcmp(told.text, text) == 0;
        pthread_mutex_unlock(&told.lock);
        if (said)
            return;
        assert_true(latch_wait(&told.beats, seen + 1));
    }
}

/* A stage with a FIFO "gate" that a command may read, and a heartbeat file's name. */
struct place {
    struct stage *s;
    char *beat, variable[512];
    int gate_fd;
    const char *env[3];
};

static struct place place_open(void)
{
    struct place p = {.s = open_told(COMMAND_OPTIONS_DEFAULT)};

    char *gate = testkit_path(p.s->dir, "gate");

    p.beat = testkit_path(p.s->dir, "beat");
    assert_int_equal(mkfifo(gate, 0600), 0);
    /* Open all the time: what is written waits for whoever reads it. */
    p.gate_fd = open(gate, O_RDWR | O_CLOEXEC);
    assert_true(p.gate_fd >= 0);
    testkit_free(gate);
    snprintf(p.variable, sizeof p.variable, "WEIR_HEARTBEAT=%s", p.beat);
    return p;
}

static void open_gate(const struct place *p)
{
    assert_int_equal(write(p->gate_fd, "x\n", 2), 2);
}

static void place_close(struct place *p)
{
    close(p->gate_fd);
    testkit_free(p->beat);
    stage_close(p->s);
}

static struct core_attempt *place_begin(struct place *p, const char *script)
{
    struct job job = shell(script);

    p->env[0] = p->variable;
    job.dir = p->s->dir;
    return begin_with(p->s, job, p->env, 77);
}

/* ---- the environment ---- */

static void the_attempts_environment_is_the_commands(void **state)
{
    static const char *const env[] = {"WEIR_SLOT=from the attempt", "OWN=1", "BOTH=attempt", NULL};
    static char both[] = "BOTH=launch", other[] = "OTHER=2";
    struct stage *s = open_told(COMMAND_OPTIONS_DEFAULT);
    struct job job = shell("echo \"$WEIR_SLOT,$OWN,$BOTH,$OTHER,$WEIR_KEY\"");
    char *const additions[] = {both, other, NULL};

    (void)state;
    job.env = additions;
    begin_with(s, job, env, 1);
    assert_true(latch_wait(&s->reported, 1));
    assert_ok(&s->attempts[0].answer, "from the attempt,1,attempt,2,a key\n");
    /* Nothing of it is left for the next one. */
    begin(s, job);
    assert_true(latch_wait(&s->reported, 2));
    assert_ok(&s->attempts[1].answer, "1,,launch,2,a key\n");
    stage_close(s);
}

/* ---- which process ---- */

static void an_attempt_says_which_process_it_is(void **state)
{
    struct place p = place_open();
    struct core_attempt *a = place_begin(&p, "echo $$; read x <gate");
    struct core_attempt_began b;
    char expected[32];

    (void)state;
    assert_true(latch_wait(&told.began, 1));
    pthread_mutex_lock(&told.lock);
    b = told.last_began;
    pthread_mutex_unlock(&told.lock);
    assert_int_equal(b.token, 77);
    assert_true(b.pid > 1 && b.pid_start > 0);
    /* It runs as that very process still. */
    assert_int_equal(child_stat((pid_t)b.pid, CHILD_STAT_START), b.pid_start);
    snprintf(expected, sizeof expected, "%lld\n", (long long)b.pid);
    open_gate(&p);
    assert_true(latch_wait(&p.s->reported, 1));
    assert_ok(&a->answer, expected);
    place_close(&p);
}

static void what_could_not_be_started_has_not_begun(void **state)
{
    struct stage *s = open_told(COMMAND_OPTIONS_DEFAULT);
    struct job job = {.argv = {(char *)(uintptr_t) "/nowhere/at/all"}};

    (void)state;
    begin_with(s, job, NULL, 5);
    assert_true(latch_wait(&s->reported, 1));
    assert_int_equal(s->attempts[0].answer.reason, WEIR_REASON_START_FAILED);
    assert_int_equal(latch_count(&told.began), 0);
    stage_close(s);
}

static void a_process_that_is_not_there_has_no_start(void **state)
{
    (void)state;
    assert_int_equal(child_stat(INT32_MAX, CHILD_STAT_START), 0);
    assert_true(child_stat(getpid(), CHILD_STAT_START) > 0);
    /* The fourth field is the parent. */
    assert_int_equal(child_stat(getpid(), 4), getppid());
}

/* ---- heartbeats ---- */

static void a_touch_of_its_file_is_a_heartbeat(void **state)
{
    struct place p = place_open();

    (void)state;
    /* It goes on when the test has seen the step before. */
    place_begin(&p,
                "read x <gate; : >beat; read x <gate; echo 0.42 page 3 of 7 >beat; read x <gate;"
                "printf 'only text, no number' >beat; read x <gate");
    assert_true(latch_wait(&told.began, 1));
    assert_int_equal(latch_count(&told.beats), 0);
    open_gate(&p);
    assert_true(latch_wait(&told.beats, 1));
    assert_told(77, -1, "");
    open_gate(&p);
    await_text("page 3 of 7");
    assert_told(77, 0.42, "page 3 of 7");
    open_gate(&p);
    await_text("only text, no number");
    assert_told(77, -1, "only text, no number");
    assert_int_equal(access(p.beat, F_OK), 0);
    open_gate(&p);
    assert_true(latch_wait(&p.s->reported, 1));
    assert_int_equal(access(p.beat, F_OK), -1);
    place_close(&p);
}

static void the_file_goes_with_an_attempt_that_is_cancelled(void **state)
{
    struct place p = place_open();
    struct core_attempt *a = place_begin(&p, "echo 0.5 >beat; read x <gate");

    (void)state;
    assert_true(latch_wait(&told.beats, 1));
    cancel(p.s, a);
    assert_true(latch_wait(&p.s->reported, 1));
    assert_int_equal(access(p.beat, F_OK), -1);
    place_close(&p);
}

/* A payload must not have weir read or remove a file that it names. */
static void a_commands_own_variable_names_no_file_for_us(void **state)
{
    struct place p = place_open();
    char *const env[] = {p.variable, NULL};
    struct job job = shell("echo 0.5 >beat; echo \"$WEIR_HEARTBEAT\"");

    (void)state;
    job.env = env;
    job.dir = p.s->dir;
    begin_with(p.s, job, NULL, 3);
    assert_true(latch_wait(&p.s->reported, 1));
    assert_int_equal(p.s->attempts[0].answer.outcome, WEIR_OUTCOME_OK);
    assert_int_equal(latch_count(&told.beats), 0);
    assert_int_equal(access(p.beat, F_OK), 0);
    place_close(&p);
}

static void several_attempts_are_told_apart(void **state)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct stage *s;
    char *gate, variables[8][512];
    const char *env[8][2] = {0};
    struct job job = shell("echo 0.$WEIR_INDEX >\"$WEIR_HEARTBEAT\"; read x <gate");

    (void)state;
    o.places = 8;
    s = open_told(o);
    gate = testkit_path(s->dir, "gate");
    assert_int_equal(mkfifo(gate, 0600), 0);
    job.dir = s->dir;
    for (size_t i = 0; i < 8; i++) {
        snprintf(variables[i], sizeof variables[i], "WEIR_HEARTBEAT=%s/beat%zu", s->dir, i);
        env[i][0] = variables[i];
        begin_with(s, job, env[i], 100 + i);
    }
    assert_true(latch_wait(&told.beats, 8));
    for (size_t i = 0; i < 8; i++)
        cancel(s, &s->attempts[i]);
    assert_true(latch_wait(&s->reported, 8));
    testkit_free(gate);
    stage_close(s);
}

static void assert_read(const char *line, double progress, const char *text)
{
    struct core_heartbeat b = {0};

    heartbeat_read(slice_of(line), &b);
    assert_true(b.progress >= progress - 1e-9 && b.progress <= progress + 1e-9);
    assert_int_equal(b.text.len, strlen(text));
    assert_memory_equal(b.text.data, text, strlen(text));
}

static void a_line_is_progress_and_text(void **state)
{
    char longer[600];
    struct core_heartbeat b = {0};

    (void)state;
    assert_read("", -1, "");
    assert_read("0", 0, "");
    assert_read("1", 1, "");
    assert_read("  0.42\t some text ", 0.42, "some text ");
    assert_read("7 of 9", -1, "7 of 9"); /* no share of 1 */
    assert_read("-0.1 back", -1, "-0.1 back");
    assert_read("0x1", -1, "0x1");
    assert_read("nan", -1, "nan");
    assert_read("0.5x", -1, "0.5x");
    memset(longer, 'a', sizeof longer);
    heartbeat_read((struct slice){longer, sizeof longer}, &b);
    assert_int_equal(b.text.len, CORE_HEARTBEAT_TEXT_MAX);
    /* A character is not cut. */
    memcpy(longer + CORE_HEARTBEAT_TEXT_MAX - 1, "\xC3\xA9", 2);
    heartbeat_read((struct slice){longer, sizeof longer}, &b);
    assert_int_equal(b.text.len, CORE_HEARTBEAT_TEXT_MAX - 1);
}

static void only_a_plain_file_is_a_heartbeat(void **state)
{
    char *dir = testkit_dir_make(), *path = testkit_path(dir, "beat"),
         *real = testkit_path(dir, "real");
    char variable[512], room[HEARTBEAT_READ_BYTES];
    const char *env[] = {"A=b", variable, NULL};
    struct heartbeat h;
    struct core_heartbeat b;

    (void)state;
    snprintf(variable, sizeof variable, "WEIR_HEARTBEAT=%s", path);
    heartbeat_init(&h, env);
    assert_false(heartbeat_look(&h, room, &b)); /* not there */
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_false(heartbeat_look(&h, room, &b)); /* and does not wait */
    unlink(path);
    testkit_file_write(real, "0.5\n", 4);
    assert_int_equal(symlink(real, path), 0);
    assert_false(heartbeat_look(&h, room, &b));
    unlink(path);
    testkit_file_write(path, "0.5\n0.6\n", 8);
    assert_true(heartbeat_look(&h, room, &b));
    assert_true(b.progress == 0.5);
    assert_false(heartbeat_look(&h, room, &b)); /* as it was */
    heartbeat_remove(&h);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(real, F_OK), 0);
    heartbeat_init(&h, NULL);
    assert_null(h.path);
    testkit_free(path);
    testkit_free(real);
    testkit_dir_remove(dir);
}

/* ---- wrappers ---- */

static void a_wrapper_stands_before_the_commands_words(void **state)
{
    static const char *const wrapper[] = {
        "sh", "-c", "printf 'wrapped: %s %s\\n' \"$0\" \"$1\"; exec \"$@\"", "w", NULL};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct stage *s;
    struct job job = {.argv = {(char *)(uintptr_t) "printf", (char *)(uintptr_t) "%s\\n",
                               (char *)(uintptr_t) "it's $HOME"}};

    (void)state;
    o.wrapper = wrapper;
    s = open_told(o);
    assert_ok(run(s, job), "wrapped: w printf\nit's $HOME\n");
    /* A file of its own takes the place of its first word. */
    job.file = "/bin/echo";
    assert_ok(run(s, job), "wrapped: w /bin/echo\n%s\\n it's $HOME\n");
    stage_close(s);
}

/* As ssh does, which puts spaces between the words and gives them to a shell on the other side. */
static void words_are_quoted_for_a_wrapper_that_has_a_shell(void **state)
{
    static const char *const wrapper[] = {"sh", "-c", "eval \"$*\"", "ssh", NULL};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct stage *s;
    struct job job = {.argv = {(char *)(uintptr_t) "printf", (char *)(uintptr_t) "%s|",
                               (char *)(uintptr_t) "$(echo no) 'x'", (char *)(uintptr_t) ""}};

    (void)state;
    o.wrapper = wrapper;
    o.wrapper_shell = true;
    s = open_told(o);
    assert_ok(run(s, job), "$(echo no) 'x'||");
    stage_close(s);
}

static void a_wrapper_without_a_program_is_refused(void **state)
{
    static const char *const wrapper[] = {"", NULL};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_executor_host host = {.report = on_report, .now = on_now};
    struct core_executor *ex;

    (void)state;
    o.prepare = on_prepare;
    o.wrapper = wrapper;
    says(WEIR_E_INVALID, "the wrapper's first word is empty",
         command_executor_new(&o, &host, &ex, &err));
}

static void without_memory_for_the_wrapper_nothing_is_made(void **state)
{
    static const char *const wrapper[] = {"env", "-i", NULL};
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct core_executor_host host = {.report = on_report, .now = on_now};
    struct core_executor *ex;
    size_t fds = fds_open();
    bool failed = true;

    (void)state;
    o.prepare = on_prepare;
    o.wrapper = wrapper;
    for (uint64_t n = 1; failed; n++) {
        enum weir_status status;

        mem_fail_at(n);
        status = command_executor_new(&o, &host, &ex, NULL);
        failed = mem_has_failed() != 0;
        mem_fail_at(0);
        if (failed)
            assert_int_equal(status, WEIR_E_NOMEM);
        else
            assert_int_equal(status, WEIR_OK);
        assert_true(n < 100);
    }
    ex->ops->close(ex);
    assert_int_equal(fds_open(), fds);
    assert_no_children();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_attempts_environment_is_the_commands),
        cmocka_unit_test(an_attempt_says_which_process_it_is),
        cmocka_unit_test(what_could_not_be_started_has_not_begun),
        cmocka_unit_test(a_process_that_is_not_there_has_no_start),
        cmocka_unit_test(a_touch_of_its_file_is_a_heartbeat),
        cmocka_unit_test(the_file_goes_with_an_attempt_that_is_cancelled),
        cmocka_unit_test(a_commands_own_variable_names_no_file_for_us),
        cmocka_unit_test(several_attempts_are_told_apart),
        cmocka_unit_test(a_line_is_progress_and_text),
        cmocka_unit_test(only_a_plain_file_is_a_heartbeat),
        cmocka_unit_test(a_wrapper_stands_before_the_commands_words),
        cmocka_unit_test(words_are_quoted_for_a_wrapper_that_has_a_shell),
        cmocka_unit_test(a_wrapper_without_a_program_is_refused),
        cmocka_unit_test(without_memory_for_the_wrapper_nothing_is_made),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
