/*
 * The daemon's log: what a line is, and that lines for later wait for nobody.
 */
#include "serve/daemon/log.h"

#include "base/mem.h"
#include "support/testkit.h"

#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#define DEADLINE_MS 60000

struct bench {
    char *dir, *path;
    struct daemon_log *log;
    int reader; /* of the pipe; -1: the log is a file */
    char *text; /* all that was read */
    size_t len;
};

static void open_bench(struct bench *b, bool pipe)
{
    *b = (struct bench){.dir = testkit_dir_make(), .reader = -1};
    b->path = testkit_path(b->dir, "log");
    if (pipe) {
        assert_int_equal(mkfifo(b->path, 0600), 0);
        b->reader = open(b->path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
        assert_true(b->reader >= 0);
    }
    assert_int_equal(daemon_log_new(b->path, CONFIG_INFO, &b->log, NULL), WEIR_OK);
}

static void close_bench(struct bench *b)
{
    daemon_log_free(b->log);
    if (b->reader >= 0)
        close(b->reader);
    free(b->text);
    testkit_free(b->path);
    testkit_dir_remove(b->dir);
}

/* Reads what has come, until a line has `end` in it. */
static void read_until(struct bench *b, const char *end)
{
    do {
        ssize_t n;

        assert_true(testkit_fd_wait(b->reader, POLLIN, DEADLINE_MS));
        b->text = realloc(b->text, b->len + 65536 + 1);
        assert_non_null(b->text);
        n = read(b->reader, b->text + b->len, 65536);
        assert_true(n > 0);
        b->len += (size_t)n;
        b->text[b->len] = '\0';
    } while (!strstr(b->text, end) || b->text[b->len - 1] != '\n');
}

static void a_line_is_one_line_of_text(void **state)
{
    struct bench b;
    char *text;

    (void)state;
    open_bench(&b, false);
    daemon_log(b.log, CONFIG_WARNING, "a\nb\tc\r%s\xC3\xA4\xC2\x9B\xFFz", "\x1B[2J\x7F");
    daemon_log(b.log, CONFIG_DEBUG, "not at this level");
    daemon_log_later(b.log, CONFIG_DEBUG, "nor this");
    daemon_log_later(b.log, CONFIG_INFO, "later \x1B[2J");
    daemon_log_level(b.log, CONFIG_DEBUG);
    daemon_log_later(b.log, CONFIG_DEBUG, "now %d", 1);
    daemon_log_free(b.log); /* writes what is left */
    b.log = NULL;
    text = testkit_file_read(b.path, NULL);
    assert_non_null(strstr(text, "Z warning: a b c ?[2J?\xC3\xA4???z\n"));
    assert_null(strstr(text, "nor this"));
    assert_null(strstr(text, "not at"));
    assert_non_null(strstr(text, "Z info: later ?[2J\n"));
    assert_non_null(strstr(text, "Z debug: now 1\n"));
    testkit_free(text);
    close_bench(&b);
}

static void a_long_line_of_a_worker_is_whole(void **state)
{
    char line[4097];
    struct bench b;

    (void)state;
    memset(line, 'x', sizeof line - 1);
    line[sizeof line - 1] = '\0';
    open_bench(&b, true);
    daemon_log_later(b.log, CONFIG_INFO, "pool p, worker 1: %s|", line);
    read_until(&b, "|\n");
    assert_int_equal(strspn(strstr(b.text, "1: x") + 3, "x"), 4096);
    close_bench(&b);
}

/* Each line that was sent is there in its order, or among those that were left out where they are missing. */
static uint64_t count_lines(const struct bench *b, uint64_t *ret_dropped)
{
    uint64_t next = 0;

    *ret_dropped = 0;
    for (const char *at = b->text, *end; (end = strchr(at, '\n')); at = end + 1) {
        const char *what = strstr(at, ": ") + 2;
        unsigned long long n;

        if (sscanf(what, "line %llu ", &n) == 1) {
            assert_int_equal(n, next);
            next++;
        } else if (sscanf(what, "lines of workers that were left out here: %llu;", &n) == 1) {
            *ret_dropped += n;
            next += n;
        }
    }
    return next;
}

static void whoever_does_not_read_holds_up_nobody_and_is_told_what_is_missing(void **state)
{
    const uint64_t lines = 3 * LOG_LATER_BYTES / 1000;
    char filler[1000];
    struct bench b;
    uint64_t dropped;

    (void)state;
    memset(filler, '.', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    open_bench(&b, true);
    for (uint64_t i = 0; i < lines; i++)
        daemon_log_later(b.log, CONFIG_INFO, "line %llu %s", (unsigned long long)i, filler);
    /* What the daemon itself has to say finds room. */
    for (int i = 0; i < 20; i++)
        daemon_log(b.log, CONFIG_ERROR, "mine: %s", filler);
    read_until(&b, "were left out here");
    daemon_log_later(b.log, CONFIG_INFO, "line %llu .", (unsigned long long)lines);
    daemon_log_later(b.log, CONFIG_INFO, "the end");
    read_until(&b, "the end");
    assert_int_equal(count_lines(&b, &dropped), lines + 1);
    /* Two buffers are full at the most. */
    assert_in_range(dropped, 1, lines - LOG_LATER_BYTES / 1100);
    close_bench(&b);
}

static void a_log_that_nobody_reads_is_closed_all_the_same(void **state)
{
    char filler[1000];
    struct bench b;

    (void)state;
    memset(filler, '.', sizeof filler - 1);
    filler[sizeof filler - 1] = '\0';
    open_bench(&b, true);
    for (int i = 0; i < 200; i++)
        daemon_log_later(b.log, CONFIG_INFO, "%s", filler);
    close_bench(&b);
}

static void without_memory_lines_are_left_out_and_counted(void **state)
{
    struct bench b;

    (void)state;
    open_bench(&b, true);
    mem_fail_at(1);
    daemon_log_later(b.log, CONFIG_INFO, "line 0 .");
    assert_true(mem_has_failed());
    mem_fail_at(0);
    read_until(&b, "lines of workers that were left out here: 1;");
    close_bench(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_line_is_one_line_of_text),
        cmocka_unit_test(a_long_line_of_a_worker_is_whole),
        cmocka_unit_test(whoever_does_not_read_holds_up_nobody_and_is_told_what_is_missing),
        cmocka_unit_test(a_log_that_nobody_reads_is_closed_all_the_same),
        cmocka_unit_test(without_memory_lines_are_left_out_and_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
