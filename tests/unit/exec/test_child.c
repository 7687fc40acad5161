/*
 * Child processes, with real ones: what a program finds when it starts, how its end is told, and
 * that nothing is left behind, whatever happens to whom. Each test counts descriptors and children
 * before and after.
 */
#include "exec/child/child.h"

#include "base/mem.h"
#include "exec/child/guard.h"
#include "support/testkit.h"
#include "unit/exec/child_test.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define DEADLINE_MS 30000
#define OUTPUT_SIZE 65536
#define SH(text)    ((char *[]){(char[]){"sh"}, (char[]){"-c"}, (char *)(uintptr_t)(text), NULL})

static struct weir_error err;

/* ---- a stage ---- */

struct stage {
    struct child_guard *guard;
    size_t fds;
};

static struct stage *stage_open(void)
{
    struct stage *s = calloc(1, sizeof *s);

    assert_non_null(s);
    s->fds = fds_open();
    if (child_guard_new(&s->guard, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    assert_true(child_guard_is_up(s->guard));
    return s;
}

static void stage_close(struct stage *s)
{
    assert_null(child_guard_free(s->guard));
    assert_int_equal(fds_open(), s->fds);
    assert_no_children();
    free(s);
}

static struct child_options options_of(char *const *argv)
{
    return (struct child_options){.file = argv[0], .argv = argv, .fds = {-1, -1, -1}};
}

static void await_end(struct child *c, struct child_end *end)
{
    assert_true(testkit_fd_wait(c->pidfd, POLLIN, DEADLINE_MS));
    assert_true(child_reap(c, end));
    assert_int_equal(c->pid, 0);
    assert_int_equal(c->pidfd, -1);
}

/* Runs it to its end; its output is static. */
static const char *output_of(struct stage *s, struct child_options *o, struct child_end *end)
{
    static char output[OUTPUT_SIZE];
    struct child c = CHILD_NONE;
    size_t len = 0;
    ssize_t n;
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    o->fds[1] = ends[1];
    if (child_launch(s->guard, o, &c, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    o->fds[1] = -1;
    close(ends[1]);
    while ((n = read(ends[0], output + len, sizeof output - 1 - len)) > 0)
        len += (size_t)n;
    output[len] = '\0';
    close(ends[0]);
    await_end(&c, end);
    return output;
}

static void assert_says(struct stage *s, char *const *argv, const char *expected)
{
    struct child_options o = options_of(argv);
    struct child_end end;

    assert_string_equal(output_of(s, &o, &end), expected);
    assert_int_equal(end.code, 0);
    assert_int_equal(end.signal, 0);
}

static void assert_refused(struct stage *s, const struct child_options *o, enum weir_status status,
                           const char *part)
{
    struct child c = CHILD_NONE;

    assert_int_equal(child_launch(s->guard, o, &c, &err), status);
    if (!strstr(err.message, part))
        fail_msg("'%s' does not say '%s'", err.message, part);
    assert_int_equal(c.pid, 0);
    assert_int_equal(c.pidfd, -1);
}

/* ---- what a program finds ---- */

static void arguments_arrive_as_they_are(void **state)
{
    struct stage *s = stage_open();
    char *argv[] = {(char[]){"printf"},
                    (char[]){"<%s>"},
                    (char[]){"a b"},
                    (char[]){""},
                    (char[]){"$HOME;*"},
                    (char[]){"\n"},
                    NULL};

    (void)state;
    assert_says(s, argv, "<a b><><$HOME;*><\n>");
    stage_close(s);
}

static void the_environment_is_ours_with_changes(void **state)
{
    struct stage *s = stage_open();
    char *argv[] = {(char[]){"env"}, NULL};
    char *changes[] = {(char[]){"WEIR_TEST_B=2"}, (char[]){"WEIR_TEST_C=x=y"},
                       (char[]){"WEIR_TEST_D"}, (char[]){"WEIR_TEST_B=3"}, NULL};
    struct child_options o = options_of(argv);
    struct child_end end;
    const char *output;

    (void)state;
    setenv("WEIR_TEST_A", "1", 1);
    setenv("WEIR_TEST_B", "1", 1);
    setenv("WEIR_TEST_D", "1", 1);
    o.env = changes;
    output = output_of(s, &o, &end);
    assert_non_null(strstr(output, "WEIR_TEST_A=1\n"));
    assert_non_null(strstr(output, "WEIR_TEST_B=3\n"));
    assert_null(strstr(output, "WEIR_TEST_B=1\n"));
    assert_null(strstr(output, "WEIR_TEST_B=2\n"));
    assert_non_null(strstr(output, "WEIR_TEST_C=x=y\n"));
    assert_null(strstr(output, "WEIR_TEST_D"));
    assert_non_null(strstr(output, "PATH="));
    o.env = NULL;
    assert_non_null(strstr(output_of(s, &o, &end), "WEIR_TEST_B=1\n"));
    unsetenv("WEIR_TEST_A");
    unsetenv("WEIR_TEST_B");
    unsetenv("WEIR_TEST_D");
    stage_close(s);
}

#define MANY_VARIABLES 25000

/* Compared each with each they would take several seconds. */
static void many_variables_cost_no_time(void **state)
{
    struct stage *s = stage_open();
    static char texts[MANY_VARIABLES + 1][48], *changes[MANY_VARIABLES + 2];
    char *argv[] = {(char[]){"printenv"}, (char[]){"WEIR_TEST_OF_SO_MANY_VARIABLES_7"}, NULL};
    struct child_options o = options_of(argv);
    struct child_end end;
    struct timespec from, to;

    (void)state;
    for (int i = 0; i < MANY_VARIABLES; i++) {
        snprintf(texts[i], sizeof texts[i], "WEIR_TEST_OF_SO_MANY_VARIABLES_%d=1", i);
        changes[i] = texts[i];
    }
    snprintf(texts[MANY_VARIABLES], sizeof texts[0], "%s=the last", argv[1]);
    changes[MANY_VARIABLES] = texts[MANY_VARIABLES];
    o.env = changes;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &from);
    assert_string_equal(output_of(s, &o, &end), "the last\n");
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &to);
    assert_true((double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) * 1e-9 < 1);
    stage_close(s);
}

/* PATH of what it gets, not of what we have; an empty folder in it is the current one. */
static void a_program_is_looked_up_in_the_path_it_gets(void **state)
{
    struct stage *s = stage_open();
    char *dir = testkit_dir_make(), *file = testkit_path(dir, "weir-test-tool"), path[512];
    char *argv[] = {(char[]){"weir-test-tool"}, (char[]){"word"}, NULL}, *env[] = {path, NULL};
    struct child_options o = options_of(argv);
    struct child_end end;

    (void)state;
    testkit_file_write(file, "#!/bin/sh\necho \"$1\"\n", 20);
    assert_int_equal(chmod(file, 0755), 0);
    assert_refused(s, &o, WEIR_E_INVALID, "cannot run 'weir-test-tool': No such file or directory");
    o.env = env;
    snprintf(path, sizeof path, "PATH=/nowhere:/dev/null/not-even-a-folder:%s:/bin", dir);
    assert_string_equal(output_of(s, &o, &end), "word\n");
    o.dir = dir;
    snprintf(path, sizeof path, "PATH=/nowhere::/bin");
    assert_string_equal(output_of(s, &o, &end), "word\n");
    snprintf(path, sizeof path, "PATH=");
    assert_string_equal(output_of(s, &o, &end), "word\n");
    snprintf(path, sizeof path, "PATH=/nowhere");
    assert_refused(s, &o, WEIR_E_INVALID, "in no folder of PATH");
    testkit_free(file);
    testkit_dir_remove(dir);
    stage_close(s);
}

static void it_runs_in_the_folder_that_is_given(void **state)
{
    struct stage *s = stage_open();
    char *dir = testkit_dir_make(), *file = testkit_path(dir, "here");
    char *argv[] = {(char[]){"./here"}, NULL};
    struct child_options o = options_of(argv);
    struct child_end end;

    (void)state;
    testkit_file_write(file, "#!/bin/sh\npwd\n", 14);
    assert_int_equal(chmod(file, 0755), 0);
    o.dir = dir;
    assert_memory_equal(output_of(s, &o, &end), dir, strlen(dir));
    testkit_free(file);
    testkit_dir_remove(dir);
    stage_close(s);
}

/* As execvp() has it: a file of commands without #! is the shell's. */
static void a_script_without_a_first_line_is_run_by_the_shell(void **state)
{
    struct stage *s = stage_open();
    char *dir = testkit_dir_make(), *file = testkit_path(dir, "script");
    char *argv[] = {file, (char[]){"one"}, (char[]){"t w o"}, NULL};

    (void)state;
    testkit_file_write(file, "echo \"$#:$2\"\n", 13);
    assert_int_equal(chmod(file, 0755), 0);
    assert_says(s, argv, "2:t w o\n");
    testkit_free(file);
    testkit_dir_remove(dir);
    stage_close(s);
}

/* What the program that weir is part of has left open must not be seen, locked or kept alive by a command. */
static void it_has_three_descriptors_and_no_others(void **state)
{
    struct stage *s = stage_open();
    int leaks[] = {open("/dev/null", O_RDONLY), fcntl(0, F_DUPFD, 500)}; /* not close-on-exec */

    (void)state;
    assert_true(leaks[0] > 2 && leaks[1] >= 500);
    /* ls has a fourth one for the folder itself. */
    assert_says(s, SH("ls -1 /proc/self/fd | tr '\\n' ' '"), "0 1 2 3 ");
    assert_says(s, SH("readlink /proc/self/fd/0 /proc/self/fd/2"), "/dev/null\n/dev/null\n");
    close(leaks[0]);
    close(leaks[1]);
    stage_close(s);
}

static void ignore_it(int sig)
{
    (void)sig;
}

static void its_signals_are_at_their_defaults(void **state)
{
    struct stage *s = stage_open();
    sigset_t blocked, before;
    char *argv[] = {(char[]){"grep"}, (char[]){"-E"}, (char[]){"^Sig(Blk|Ign)"},
                    (char[]){"/proc/self/status"}, NULL};

    (void)state;
    signal(SIGPIPE, SIG_IGN);
    signal(SIGUSR2, ignore_it);
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGUSR1);
    sigaddset(&blocked, SIGTERM);
    sigprocmask(SIG_BLOCK, &blocked, &before);
    assert_says(s, argv, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
    /* Ours are as they were. */
    assert_int_equal(sigismember(&before, SIGTERM), 0);
    sigprocmask(SIG_SETMASK, &before, &blocked);
    assert_int_equal(sigismember(&blocked, SIGTERM), 1);
    assert_ptr_equal(signal(SIGPIPE, SIG_DFL), SIG_IGN);
    assert_ptr_equal(signal(SIGUSR2, SIG_DFL), ignore_it);
    stage_close(s);
}

static void it_leads_a_group_of_its_own(void **state)
{
    struct stage *s = stage_open();
    struct child_options o =
        options_of(SH("read -r pid name st parent group rest </proc/$$/stat; echo $pid $group"));
    struct child_end end;
    long pid, group;

    (void)state;
    assert_int_equal(sscanf(output_of(s, &o, &end), "%ld %ld", &pid, &group), 2);
    assert_int_equal(pid, group);
    assert_int_not_equal(pid, getpid());
    stage_close(s);
}

/* In a copy of this process, whose 0 to 2 may be anything: descriptors that stand in each other's way. */
static void descriptors_may_be_given_crosswise(void **state)
{
    int out[2], status;
    char text[16] = "";
    pid_t pid;

    (void)state;
    assert_int_equal(pipe(out), 0);
    pid = fork();
    if (pid == 0) {
        struct child_guard *g;
        struct child c;
        struct child_end end;
        struct child_options o = options_of(SH("cat; echo err >&2"));
        int in[2];

        if (pipe(in) || write(in[1], "in ", 3) != 3 || close(in[1]) ||
            child_guard_new(&g, &err) != WEIR_OK)
            _exit(3);
        dup2(in[0], 1);
        dup2(out[1], 2);
        dup2(out[1], 0);
        o.fds[0] = 1;
        o.fds[1] = 2;
        o.fds[2] = 0;
        if (child_launch(g, &o, &c, &err) != WEIR_OK)
            _exit(4);
        if (!testkit_fd_wait(c.pidfd, POLLIN, DEADLINE_MS) || !child_reap(&c, &end))
            _exit(5);
        child_guard_free(g);
        _exit(end.code);
    }
    close(out[1]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_int_equal(read(out[0], text, sizeof text - 1), 7);
    assert_string_equal(text, "in err\n");
    close(out[0]);
}

/* ---- what cannot be run ---- */

static void what_cannot_be_run_is_told_with_a_remedy(void **state)
{
    struct stage *s = stage_open();
    char *dir = testkit_dir_make(), *file = testkit_path(dir, "plain");
    char *plain[] = {file, NULL}, *folder[] = {dir, NULL};
    struct child_options o;
    char *big;

    (void)state;
    testkit_file_write(file, "x", 1);
    o = options_of((char *[]){(char[]){"weir-no-such-program"}, NULL});
    assert_refused(
        s, &o, WEIR_E_INVALID,
        "cannot run 'weir-no-such-program': No such file or directory; it is in no folder");
    o = options_of((char *[]){(char[]){"/no/such/file"}, NULL});
    assert_refused(s, &o, WEIR_E_INVALID,
                   "cannot run '/no/such/file': No such file or directory; check");
    o = options_of((char *[]){(char[]){""}, NULL});
    assert_refused(s, &o, WEIR_E_INVALID, "cannot run ''");
    o = options_of(plain);
    assert_refused(s, &o, WEIR_E_INVALID,
                   "Permission denied; it must be a file that may be executed");
    o = options_of(folder);
    assert_refused(s, &o, WEIR_E_INVALID, "Permission denied");
    o = options_of((char *[]){(char[]){"true"}, NULL});
    o.dir = "/no/such/folder";
    assert_refused(s, &o, WEIR_E_INVALID,
                   "cannot run 'true' in the folder '/no/such/folder': No such file or directory");
    big = calloc(1, 1 << 20);
    memset(big, 'x', (1 << 20) - 1);
    o = options_of((char *[]){(char[]){"true"}, big, NULL});
    assert_refused(s, &o, WEIR_E_INVALID, "Argument list too long; give it less");
    free(big);
    testkit_free(file);
    testkit_dir_remove(dir);
    stage_close(s);
}

static void a_program_that_is_being_written_may_run_later(void **state)
{
    struct stage *s = stage_open();
    char *dir = testkit_dir_make(), *file = testkit_path(dir, "tool");
    char *argv[] = {file, NULL};
    struct child_options o = options_of(argv);
    struct child_end end;
    int fd;

    (void)state;
    testkit_file_write(file, "#!/bin/sh\necho ok\n", 18);
    assert_int_equal(chmod(file, 0755), 0);
    fd = open(file, O_WRONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    assert_refused(s, &o, WEIR_E_BUSY, "still being written");
    close(fd);
    assert_string_equal(output_of(s, &o, &end), "ok\n");
    testkit_free(file);
    testkit_dir_remove(dir);
    stage_close(s);
}

static void without_descriptors_it_may_run_later(void **state)
{
    struct stage *s = stage_open();
    struct child_options o = options_of((char *[]){(char[]){"true"}, NULL});
    struct rlimit before, none;

    (void)state;
    getrlimit(RLIMIT_NOFILE, &before);
    none = before;
    none.rlim_cur = 3;
    setrlimit(RLIMIT_NOFILE, &none);
    assert_refused(s, &o, WEIR_E_AGAIN, "Too many open files");
    setrlimit(RLIMIT_NOFILE, &before);
    stage_close(s);
}

/* ---- how it ends ---- */

static void its_end_is_told(void **state)
{
    struct stage *s = stage_open();
    struct child_options o;
    struct child_end end;

    (void)state;
    o = options_of(SH("exit 0"));
    output_of(s, &o, &end);
    assert_true(!end.unknown && end.code == 0 && end.signal == 0 && !end.dumped);
    o = options_of(SH("exit 75"));
    output_of(s, &o, &end);
    assert_true(end.code == 75 && end.signal == 0);
    o = options_of(SH("kill -9 $$"));
    output_of(s, &o, &end);
    assert_true(end.code == 0 && end.signal == SIGKILL);
    o = options_of(SH("kill -TERM $$"));
    output_of(s, &o, &end);
    assert_true(end.code == 0 && end.signal == SIGTERM);
    stage_close(s);
}

static void what_it_cost_is_told(void **state)
{
    struct stage *s = stage_open();
    struct child_options o = options_of(SH("i=0; while [ $i -lt 20000 ]; do i=$((i + 1)); done"));
    struct child_end end;

    (void)state;
    output_of(s, &o, &end);
    assert_true(end.user_ns + end.system_ns > 0);
    assert_true(end.user_ns + end.system_ns < 60 * NS_PER_S);
    assert_true(end.rss_bytes > 100000);
    stage_close(s);
}

static void one_that_runs_is_not_reaped(void **state)
{
    struct stage *s = stage_open();
    struct child_options o = options_of(SH("exec sleep 1000"));
    struct child_end end = {.code = 7};
    struct child c;

    (void)state;
    assert_int_equal(child_launch(s->guard, &o, &c, &err), WEIR_OK);
    assert_false(child_reap(&c, &end));
    assert_int_equal(end.code, 7);
    assert_true(c.pid > 0);
    child_kill(&c, &end);
    assert_int_equal(end.signal, SIGKILL);
    assert_int_equal(c.pid, 0);
    stage_close(s);
}

static void launch_tree(struct stage *s, const char *script, size_t n, pid_t *ret_pids,
                        struct child *ret)
{
    struct child_options o = options_of(SH(script));
    int ends[2];

    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    o.fds[1] = ends[1];
    if (child_launch(s->guard, &o, ret, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    close(ends[1]);
    read_pids(ends[0], ret_pids, n);
    close(ends[0]);
}

#define TREE "sleep 1000 & echo $!; sh -c 'trap \"\" TERM HUP; sleep 1000 & echo $!; wait' & wait"

static void what_a_command_leaves_in_its_group_is_killed(void **state)
{
    struct stage *s = stage_open();
    struct child_end end;
    struct child c;
    pid_t pids[4];

    (void)state;
    launch_tree(s, "sleep 1000 & echo $!; (trap '' TERM; sleep 1000) & echo $!; exit 3", 2, pids,
                &c);
    await_end(&c, &end);
    assert_int_equal(end.code, 3);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    stage_close(s);
}

static void a_signal_reaches_the_whole_group(void **state)
{
    struct stage *s = stage_open();
    struct child_end end;
    struct child c;
    pid_t pids[4];

    (void)state;
    launch_tree(s,
                "sleep 1000 & echo $!; sh -c 'sleep 1000 & echo $!; wait' & trap '' INT; wait; "
                "wait; exit 9",
                2, pids, &c);
    child_signal(&c, SIGTERM);
    await_end(&c, &end);
    assert_int_equal(end.signal, SIGTERM);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    child_signal(&c, SIGTERM); /* no child: nothing happens */
    stage_close(s);
}

static void giving_up_kills_the_whole_group(void **state)
{
    struct stage *s = stage_open();
    struct child_end end;
    struct child c;
    pid_t pids[4];

    (void)state;
    launch_tree(s, TREE, 2, pids, &c);
    child_kill(&c, &end);
    assert_int_equal(end.signal, SIGKILL);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
    stage_close(s);
}

/* As a loop leaves its descriptor behind. */
static void giving_up_waits_however_its_descriptor_is_set(void **state)
{
    struct stage *s = stage_open();
    struct child_options o = options_of(SH("trap '' TERM; kill -STOP $$; exec sleep 1000"));

    (void)state;
    for (int i = 0; i < 20; i++) {
        struct child_end end;
        struct child c;

        assert_int_equal(child_launch(s->guard, &o, &c, &err), WEIR_OK);
        assert_int_equal(fcntl(c.pidfd, F_SETFL, O_NONBLOCK), 0);
        child_kill(&c, &end);
        assert_false(end.unknown);
        assert_int_equal(end.signal, SIGKILL);
    }
    stage_close(s);
}

/* Traces it, says so, and holds on to it for a while after its end. */
static int trace(pid_t pid, int tell)
{
    struct pollfd end = {.fd = (int)syscall(SYS_pidfd_open, (long)pid, 0L), .events = POLLIN};
    char traced = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 ? 'y' : 'n';

    if (write(tell, &traced, 1) != 1 || traced == 'n')
        return 1;
    return poll(&end, 1, PIDS_DEADLINE_MS) == 1 ? poll(NULL, 0, 100) : 1;
}

/* A debugger, or a leak checker in the program: it has ended, and cannot be reaped before that has let go of it. */
static void one_that_somebody_traces_is_reaped_when_it_can_be(void **state)
{
    struct stage *s = stage_open();
    struct child_options o = options_of(SH("exec sleep 1000"));
    struct child_end end;
    struct child c;
    int ends[2], status;
    pid_t tracer;
    char traced;

    (void)state;
    assert_int_equal(pipe2(ends, O_CLOEXEC), 0);
    assert_int_equal(child_launch(s->guard, &o, &c, &err), WEIR_OK);
    assert_int_equal(fcntl(c.pidfd, F_SETFL, O_NONBLOCK), 0);
    tracer = fork();
    assert_true(tracer >= 0);
    if (tracer == 0)
        _exit(trace(c.pid, ends[1]));
    assert_int_equal(read(ends[0], &traced, 1), 1);
    child_kill(&c, &end);
    assert_int_equal(waitpid(tracer, &status, 0), tracer);
    close(ends[0]);
    close(ends[1]);
    stage_close(s);
    if (traced == 'n')
        skip(); /* the system lets nobody trace */
    assert_false(end.unknown);
    assert_int_equal(end.signal, SIGKILL);
    assert_no_children();
}

/* The host's doing, not ours; but then its exit status is gone, and nobody else's process may be hit. */
static void a_child_that_the_host_reaped_is_unknown(void **state)
{
    struct stage *s = stage_open();
    struct child_end end;
    struct child_options o = options_of(SH("exit 3"));
    struct child c;
    int status;

    (void)state;
    assert_int_equal(child_launch(s->guard, &o, &c, &err), WEIR_OK);
    assert_int_equal(waitpid(c.pid, &status, 0), c.pid);
    assert_true(child_reap(&c, &end));
    assert_true(end.unknown);
    assert_int_equal(end.code, 0);
    assert_int_equal(c.pid, 0);
    stage_close(s);
}

/* ---- many ---- */

#define THREADS  4
#define LAUNCHES 60

static void *launch_many(void *arg)
{
    struct stage *s = arg;

    for (int i = 0; i < LAUNCHES; i++) {
        char *argv[] = {(char[]){"sh"}, (char[]){"-c"}, (char[]){"exit $0"}, (char[12]){""}, NULL};
        struct child_options o = options_of(argv);
        struct child_end end;
        struct child c;

        snprintf(argv[3], 12, "%d", i);
        if (child_launch(s->guard, &o, &c, NULL) != WEIR_OK)
            return (void *)"not launched";
        if (poll(&(struct pollfd){.fd = c.pidfd, .events = POLLIN}, 1, DEADLINE_MS) != 1)
            return (void *)"did not end";
        if (!child_reap(&c, &end) || end.code != i)
            return (void *)"ended otherwise";
    }
    return NULL;
}

static void several_threads_may_launch_at_once(void **state)
{
    struct stage *s = stage_open();
    pthread_t threads[THREADS];
    void *fault;

    (void)state;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, launch_many, s), 0);
    for (int i = 0; i < THREADS; i++) {
        pthread_join(threads[i], &fault);
        if (fault)
            fail_msg("%s", (const char *)fault);
    }
    assert_true(s->guard->used <= THREADS);
    stage_close(s);
}

static void the_table_grows_and_its_slots_are_used_again(void **state)
{
    struct stage *s = stage_open();
    uint32_t slot;

    (void)state;
    for (uint32_t i = 0; i < 10000; i++) {
        assert_int_equal(guard_take_slot(s->guard, &slot, &err), WEIR_OK);
        assert_int_equal(slot, i);
        guard_line_write(guard_line(s->guard, slot), (pid_t)(i + 2));
    }
    assert_memory_equal(guard_line(s->guard, 0), "         2k\n         3k\n", 24);
    assert_memory_equal(guard_line(s->guard, 9999), "     10001k\n", 12);
    for (uint32_t i = 0; i < 10000; i++)
        guard_give_slot(s->guard, i);
    /* Without its mark a line says nothing. */
    assert_memory_equal(guard_line(s->guard, 0), "         2 \n         3 \n", 24);
    assert_int_equal(guard_take_slot(s->guard, &slot, &err), WEIR_OK);
    assert_true(slot < 10000);
    guard_give_slot(s->guard, slot);
    stage_close(s);
}

static void each_lack_of_memory_is_survived(void **state)
{
    size_t fds = fds_open();
    bool whole = false;

    (void)state;
    for (unsigned long n = 1; !whole; n++) {
        struct child_guard *g = NULL;
        struct child c = CHILD_NONE;
        struct child_options o = options_of(SH("exit 0"));
        struct child_end end;

        mem_fail_at(n);
        if (child_guard_new(&g, &err) != WEIR_OK)
            assert_int_equal(err.status, WEIR_E_NOMEM);
        else if (child_launch(g, &o, &c, &err) != WEIR_OK)
            assert_int_equal(err.status, WEIR_E_NOMEM);
        whole = !mem_has_failed();
        mem_fail_at(0);
        if (c.pid > 0)
            await_end(&c, &end);
        else
            assert_false(whole);
        child_guard_free(g);
        assert_true(n < 50);
    }
    assert_int_equal(fds_open(), fds);
    assert_no_children();
}

/* ---- when weir is killed ---- */

/* Stands for weir: starts trees of processes, tells their numbers, and waits to be killed. */
static pid_t stand_in(int *ret_fd, bool with_guard, size_t trees)
{
    int out[2];
    pid_t pid;

    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct child_guard *g;
        struct child c;
        struct child_options o = options_of(SH("echo $$; " TREE));

        /* A test that ends early leaves nothing. */
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        o.fds[1] = out[1];
        if (child_guard_new(&g, NULL) != WEIR_OK || !child_guard_is_up(g))
            _exit(3);
        dprintf(out[1], "%d\n", g->helper);
        if (!with_guard)
            kill(g->helper, SIGKILL);
        for (size_t i = 0; i < trees; i++)
            if (child_launch(g, &o, &c, NULL) != WEIR_OK)
                _exit(4);
        for (;;)
            pause();
    }
    close(out[1]);
    *ret_fd = out[0];
    return pid;
}

static void reap_stand_in(pid_t pid, int fd)
{
    int status;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGKILL);
    close(fd);
}

static void when_weir_is_killed_whole_trees_are_gone_within_a_second(void **state)
{
    pid_t pids[32], pid;
    bool all_gone;
    int fd;

    (void)state;
    pid = stand_in(&fd, true, 5);
    read_pids(fd, pids, 1 + 5 * 3);
    assert_false(is_gone(pids[0]));
    kill(pids[0], SIGTERM); /* the guard goes on through what is meant for weir */
    kill(pids[0], SIGHUP);
    kill(pids[0], SIGINT);
    for (size_t i = 0; i < 16; i++)
        assert_false(is_gone(pids[i]));
    kill(pid, SIGKILL);
    reap_stand_in(pid, fd);
    all_gone = testkit_until(are_gone, pids, GONE_MS);
    for (size_t i = 0; i < 16 && !all_gone; i++)
        kill(pids[i], SIGKILL);
    assert_true(all_gone);
}

/* Without the guard the parent-death signal still ends the commands themselves. */
static void without_the_guard_the_commands_themselves_are_gone(void **state)
{
    pid_t pids[8], only[3] = {0}, pid;
    int fd;

    (void)state;
    pid = stand_in(&fd, false, 2);
    read_pids(fd, pids, 1 + 2 * 3);
    kill(pid, SIGKILL);
    reap_stand_in(pid, fd);
    /* Which of the numbers are the commands': those that lead their groups. */
    for (size_t i = 1, n = 0; i < 7; i++)
        if (getpgid(pids[i]) == pids[i] || is_gone(pids[i]))
            only[n++ % 2] = pids[i];
    assert_true(testkit_until(are_gone, only, GONE_MS));
    for (size_t i = 1; i < 7; i++)
        kill(pids[i], SIGKILL);
    assert_true(testkit_until(are_gone, pids, DEADLINE_MS));
}

static void the_guard_goes_when_weir_ends_without_a_word(void **state)
{
    pid_t helper[2] = {0}, pid;
    int out[2], status;

    (void)state;
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    pid = fork();
    if (pid == 0) {
        struct child_guard *g;

        if (child_guard_new(&g, NULL) != WEIR_OK)
            _exit(3);
        dprintf(out[1], "%d\n", g->helper);
        _exit(0);
    }
    close(out[1]);
    read_pids(out[0], helper, 1);
    close(out[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(testkit_until(are_gone, helper, GONE_MS));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(arguments_arrive_as_they_are),
        cmocka_unit_test(the_environment_is_ours_with_changes),
        cmocka_unit_test(many_variables_cost_no_time),
        cmocka_unit_test(a_program_is_looked_up_in_the_path_it_gets),
        cmocka_unit_test(it_runs_in_the_folder_that_is_given),
        cmocka_unit_test(a_script_without_a_first_line_is_run_by_the_shell),
        cmocka_unit_test(it_has_three_descriptors_and_no_others),
        cmocka_unit_test(its_signals_are_at_their_defaults),
        cmocka_unit_test(it_leads_a_group_of_its_own),
        cmocka_unit_test(descriptors_may_be_given_crosswise),
        cmocka_unit_test(what_cannot_be_run_is_told_with_a_remedy),
        cmocka_unit_test(a_program_that_is_being_written_may_run_later),
        cmocka_unit_test(without_descriptors_it_may_run_later),
        cmocka_unit_test(its_end_is_told),
        cmocka_unit_test(what_it_cost_is_told),
        cmocka_unit_test(one_that_runs_is_not_reaped),
        cmocka_unit_test(what_a_command_leaves_in_its_group_is_killed),
        cmocka_unit_test(a_signal_reaches_the_whole_group),
        cmocka_unit_test(giving_up_kills_the_whole_group),
        cmocka_unit_test(giving_up_waits_however_its_descriptor_is_set),
        cmocka_unit_test(one_that_somebody_traces_is_reaped_when_it_can_be),
        cmocka_unit_test(a_child_that_the_host_reaped_is_unknown),
        cmocka_unit_test(several_threads_may_launch_at_once),
        cmocka_unit_test(the_table_grows_and_its_slots_are_used_again),
        cmocka_unit_test(each_lack_of_memory_is_survived),
        cmocka_unit_test(when_weir_is_killed_whole_trees_are_gone_within_a_second),
        cmocka_unit_test(without_the_guard_the_commands_themselves_are_gone),
        cmocka_unit_test(the_guard_goes_when_weir_ends_without_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
