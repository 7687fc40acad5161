/* The progress display: rates, widths, what a frame does to a terminal, and what pipes get. */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "cli/output/progress.h"
#include "cli/output/text.h"

#include <fcntl.h>
#include <math.h>
#include <pty.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

static struct progress_snapshot busy(void)
{
    return (struct progress_snapshot){
        .now = {100 * NS_PER_S},
        .elapsed_ns = 100 * NS_PER_S,
        .phase = PROGRESS_RUNNING,
        .total_known = true,
        .total = 1234567,
        .done = 456789,
        .done_before = 56789,
        .failed = 321,
        .in_flight = 64,
        .waiting = 12,
        .attempts = 500000,
        .refused = 9000,
        .retries = 44,
        .tokens = 987654321,
        .throttle = "aimd",
        .pace = {.mode = THROTTLE_MODE_DELAY,
                 .delay_ns = 150 * NS_PER_MS,
                 .rate_rps = HUGE_VAL,
                 .window = SIZE_MAX},
        .delivered = 456000,
    };
}

/* An adaptive throttle in the middle of its work. */
static struct progress_snapshot paced(void)
{
    struct progress_snapshot s = busy();

    s.throttle = "adaptive";
    throttle_state_init(&s.pace, THROTTLE_MODE_OPEN);
    throttle_state_change(
        &s.pace, (struct instant){97 * NS_PER_S}, THROTTLE_REASON_BORNE,
        &(struct throttle_state){.mode = THROTTLE_MODE_RATE, .rate_rps = 19.6, .window = SIZE_MAX});
    return s;
}

static struct progress_rates rates_of(struct progress_snapshot s)
{
    struct progress_rates r = {0};
    struct progress_snapshot before = s;

    before.now.ns -= 10 * NS_PER_S;
    before.done -= 200;
    before.attempts -= 250;
    before.refused -= 50;
    progress_rates_update(&r, &before);
    progress_rates_update(&r, &s);
    return r;
}

static void a_rate_is_right_from_the_first_sample(void **state)
{
    struct progress_rates r = rates_of(busy());
    struct progress_snapshot s = busy();

    (void)state;
    assert_true(progress_rate(&r) > 19.99 && progress_rate(&r) < 20.01);
    assert_true(progress_refused_share(&r) > 0.199 && progress_refused_share(&r) < 0.201);
    assert_true(progress_mean_rate(&s) == 4000.0);
}

static void a_rate_follows_a_change_within_its_time_constant(void **state)
{
    struct progress_rates r = {0};
    struct progress_snapshot s = {.now = {0}};

    (void)state;
    for (int i = 0; i < 600; i++) { /* a minute of 10 rows/s */
        progress_rates_update(&r, &s);
        s.now.ns += 100 * NS_PER_MS;
        s.done += 1;
    }
    assert_true(progress_rate(&r) > 9.9 && progress_rate(&r) < 10.1);
    for (int i = 0; i < 50; i++) { /* one time constant of nothing */
        progress_rates_update(&r, &s);
        s.now.ns += 100 * NS_PER_MS;
    }
    assert_true(progress_rate(&r) > 3.4 && progress_rate(&r) < 4.1);
}

static void the_same_instant_twice_and_a_step_back_change_nothing(void **state)
{
    struct progress_rates r = rates_of(busy());
    struct progress_rates before = r;
    struct progress_snapshot s = busy();

    (void)state;
    progress_rates_update(&r, &s);
    s.now.ns -= NS_PER_S;
    progress_rates_update(&r, &s);
    assert_memory_equal(&r, &before, sizeof(r));
}

static void the_eta_is_what_is_left_at_the_rate(void **state)
{
    struct progress_snapshot s = busy();
    struct progress_rates r = rates_of(s);
    struct progress_rates none = {0};

    (void)state;
    assert_true(progress_eta(&r, &s) / NS_PER_S == (1234567 - 456789) / 20);
    assert_int_equal(progress_eta(&none, &s), -1);
    s.total_known = false;
    assert_int_equal(progress_eta(&r, &s), -1);
    s.total_known = true;
    s.done = s.total;
    assert_int_equal(progress_eta(&r, &s), 0);
}

static void no_line_is_wider_than_the_terminal(void **state)
{
    struct progress_snapshot shots[7];
    struct buf out = {0};

    (void)state;
    for (int i = 0; i < 7; i++)
        shots[i] = busy();
    shots[1].total_known = false;
    shots[2].held_ns = 75 * NS_PER_S;
    shots[3].phase = PROGRESS_STOPPING;
    shots[4].phase = PROGRESS_CHECKING;
    shots[5] = paced();
    shots[6] = paced();
    shots[6].held_ns = NS_PER_S;
    for (size_t width = 1; width <= 200; width++) {
        for (int i = 0; i < 7; i++) {
            struct progress_rates r = rates_of(shots[i]);

            buf_clear(&out);
            progress_render_tty(&r, &shots[i], width, false, &out);
            assert_false(out.failed);
            assert_null(strchr(out.data, '\033'));
            for (const char *l = out.data; *l; l += strcspn(l, "\n") + 1) {
                if (strcspn(l, "\n") > width)
                    fail_msg("width %zu: %s", width, out.data);
            }
        }
    }
    buf_free(&out);
}

static void what_matters_most_stays_longest(void **state)
{
    static const struct {
        size_t width;
        const char *has, *lacks;
    } cases[] = {
        {20, "rate 20.0/s", "mean"},
        {20, "failed 321", "waiting"},
        {40, "456,789/1,234,567 rows", "elapsed"},
        {80, "eta 10h48m", ""},
        {80, "delay 150ms", ""},
        {120, "[====", ""},
        {200, "tokens 987,654,321", ""},
        {200, "held for order 789", ""},
        {200, "refused 20.0%", ""},
    };
    struct progress_snapshot s = busy();
    struct progress_rates r = rates_of(s);

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        progress_render_tty(&r, &s, cases[i].width, false, &out);
        assert_contains(out.data, cases[i].has);
        if (cases[i].lacks[0])
            assert_lacks(out.data, cases[i].lacks);
        buf_free(&out);
    }
}

static void a_pause_that_the_service_asked_for_is_told(void **state)
{
    struct progress_snapshot s = busy();
    struct progress_rates r = rates_of(s);
    struct buf out = {0};

    (void)state;
    s.held_ns = 75 * NS_PER_S;
    progress_render_tty(&r, &s, 100, false, &out);
    assert_contains(out.data, "the service asks to wait 1m15s");
    buf_clear(&out);
    progress_render_plain(&r, &s, &out);
    assert_contains(out.data, "the service asks to wait 1m15s");
    buf_free(&out);
}

static void frame_of(const struct progress_snapshot *s, size_t width, struct buf *out)
{
    struct progress_rates r = rates_of(*s);

    buf_clear(out);
    progress_render_tty(&r, s, width, false, out);
}

static void how_the_pool_runs_is_told_with_its_reason(void **state)
{
    struct progress_snapshot s = paced();
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    frame_of(&s, 100, &out);
    assert_contains(out.data,
                    "\npaced at 19.6/s  the service bore more, 3.0s ago  throttle adaptive\n");
    frame_of(&s, 48, &out);
    assert_contains(out.data, "\npaced at 19.6/s  the service bore more, 3.0s ago\n");
    frame_of(&s, 30, &out);
    assert_contains(out.data, "\npaced at 19.6/s\n");
    s.held_ns = 4 * NS_PER_S;
    frame_of(&s, 60, &out);
    assert_contains(out.data, "\nthe service asks to wait 4.0s  paced at 19.6/s\n");
    s.held_ns = 0;
    s.pace.mode = THROTTLE_MODE_WINDOW;
    s.pace.window = 32;
    s.pace.reason = THROTTLE_REASON_CONCURRENCY;
    frame_of(&s, 100, &out);
    assert_contains(out.data,
                    "\nat most 32 in flight  refusals go with the number in flight, 3.0s ");
    s.pace.mode = THROTTLE_MODE_OUTAGE;
    s.pace.window = SIZE_MAX;
    s.pace.reason = THROTTLE_REASON_OUTAGE;
    frame_of(&s, 100, &out);
    assert_contains(out.data, "\noutage: probing  nothing gets through, 3.0s ago");
    s.pace.mode = THROTTLE_MODE_RATE;
    s.pace.window = 12;
    frame_of(&s, 100, &out);
    assert_contains(out.data, "\npaced at 19.6/s, at most 12 in flight  ");
    throttle_state_init(&s.pace, THROTTLE_MODE_OPEN);
    frame_of(&s, 100, &out);
    assert_contains(out.data, "\nnot limited  throttle adaptive\n");
}

static void a_delay_that_moves_with_every_row_has_no_reason(void **state)
{
    struct progress_snapshot s = paced();
    struct progress_rates r = rates_of(s);
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    s.pace.mode = THROTTLE_MODE_DELAY;
    s.pace.delay_ns = 150 * NS_PER_MS;
    s.pace.reason = THROTTLE_REASON_ACCEPTED;
    frame_of(&s, 100, &out);
    assert_contains(out.data, "\ndelay 150ms  throttle");
    buf_clear(&out);
    progress_render_plain(&r, &s, &out);
    assert_contains(out.data, ", delay 150ms, elapsed");
}

static void lines_and_objects_tell_it_too(void **state)
{
    struct progress_snapshot s = paced();
    struct progress_rates r = rates_of(s);
    _cleanup_buf_ struct buf out = {0};

    (void)state;
    progress_render_plain(&r, &s, &out);
    assert_contains(out.data, ", paced at 19.6/s (the service bore more, 3.0s ago), elapsed");
    buf_clear(&out);
    progress_render_json(&r, &s, &out);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_contains(
        out.data, ",\"throttle_state\":{\"mode\":\"rate\",\"rate_per_s\":19.600,\"window\":null,"
                  "\"delay_ms\":0.000,\"reason\":\"borne\",\"changed_s\":3.000,\"changes\":1}}\n");
    throttle_state_init(&s.pace, THROTTLE_MODE_OPEN);
    buf_clear(&out);
    progress_render_json(&r, &s, &out);
    assert_contains(out.data,
                    ",\"throttle_state\":{\"mode\":\"open\",\"rate_per_s\":null,\"window\":null,"
                    "\"delay_ms\":0.000,\"reason\":\"start\",\"changed_s\":null,\"changes\":0}}\n");
}

static void empty_and_finished_runs_have_full_bars(void **state)
{
    struct progress_snapshot s = {.phase = PROGRESS_DONE, .total_known = true};
    struct progress_rates r = {0};
    struct buf out = {0};

    (void)state;
    progress_render_tty(&r, &s, 80, false, &out);
    assert_contains(out.data, "0/0 rows  100%");
    assert_contains(out.data, "==========]");
    buf_clear(&out);
    progress_render_plain(&r, &s, &out);
    assert_string_equal(out.data,
                        "weir: done: 0 of 0 rows (100%), 0 failed, 0 in flight, 0/s (mean "
                        "0/s), refused 0%, elapsed 0ms\n");
    buf_free(&out);
}

static void json_is_one_object_a_line_with_the_documented_names(void **state)
{
    static const char *const names[] = {
        "phase",          "elapsed_s",      "rows_total", "rows_done",  "rows_done_before",
        "rows_failed",    "rows_delivered", "in_flight",  "waiting",    "attempts",
        "refused",        "retries",        "tokens",     "rate_per_s", "rate_mean_per_s",
        "refused_share",  "throttle",       "delay_ms",   "held_ms",    "eta_s",
        "throttle_state",
    };
    struct progress_snapshot s = busy();
    struct progress_rates r = rates_of(s);
    struct buf out = {0};
    struct slice value;

    (void)state;
    progress_render_json(&r, &s, &out);
    assert_true(json_check(buf_slice(&out), NULL));
    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++)
        assert_true(json_member(buf_slice(&out), names[i], &value));
    assert_true(json_member(buf_slice(&out), "delay_ms", &value));
    assert_true(slice_equal(value, SLICE("150.000")));
    s.total_known = false;
    s.throttle = NULL;
    buf_clear(&out);
    progress_render_json(&r, &s, &out);
    assert_true(json_check(buf_slice(&out), NULL));
    assert_true(json_member(buf_slice(&out), "rows_total", &value));
    assert_int_equal(json_kind(value), JSON_NULL);
    buf_free(&out);
}

static void numbers_read_well(void **state)
{
    struct buf out = {0};

    (void)state;
    text_put_count(&out, 0), buf_putc(&out, ' ');
    text_put_count(&out, 999), buf_putc(&out, ' ');
    text_put_count(&out, 1000), buf_putc(&out, ' ');
    text_put_count(&out, 1020003), buf_putc(&out, ' ');
    text_put_duration(&out, -5), buf_putc(&out, ' ');
    text_put_duration(&out, 12340 * NS_PER_MS), buf_putc(&out, ' ');
    text_put_duration(&out, 3599 * NS_PER_S), buf_putc(&out, ' ');
    text_put_duration(&out, 7500 * NS_PER_S), buf_putc(&out, ' ');
    text_put_duration(&out, 100 * 3600 * NS_PER_S), buf_putc(&out, ' ');
    text_put_share(&out, 0.0001), buf_putc(&out, ' ');
    text_put_share(&out, 0.9999), buf_putc(&out, ' ');
    text_put_share(&out, 0.5), buf_putc(&out, ' ');
    text_put_rate(&out, 0.123), buf_putc(&out, ' ');
    text_put_rate(&out, 1234.4);
    assert_string_equal(out.data, "0 999 1,000 1,020,003 0ms 12.3s 59m59s 2h05m 4d04h <0.1% >99.9% "
                                  "50.0% 0.12 1,234");
    buf_free(&out);
}

/* ---- through a pipe and a terminal ---- */

static size_t read_all(int fd, char *into, size_t size)
{
    size_t len = 0;
    ssize_t n;

    fcntl(fd, F_SETFL, O_NONBLOCK);
    while (len + 1 < size && (n = read(fd, into + len, size - len - 1)) > 0)
        len += (size_t)n;
    into[len] = '\0';
    return len;
}

static int count_of(const char *text, const char *part)
{
    int n = 0;

    for (; (text = strstr(text, part)); text++)
        n++;
    return n;
}

static void run_mode(enum progress_mode mode, int fd, int seconds)
{
    struct progress_options o = {.mode = mode, .fd = fd};
    struct progress_snapshot s = busy();
    struct progress *p;

    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    for (int i = 0; i < seconds * 10; i++) {
        s.now.ns += 100 * NS_PER_MS;
        progress_update(p, &s);
    }
    progress_note(p, "a note");
    s.phase = PROGRESS_DONE;
    progress_finish(p, &s);
    p = progress_free(p);
    assert_null(p);
}

static void a_pipe_gets_lines_now_and_then(void **state)
{
    static char text[65536];
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    run_mode(PROGRESS_AUTO, fds[1], 25);
    read_all(fds[0], text, sizeof(text));
    assert_int_equal(count_of(text, "weir: running"), 3);
    assert_int_equal(count_of(text, "weir: done"), 1);
    assert_int_equal(count_of(text, "a note\n"), 1);
    assert_null(strchr(text, '\033'));

    run_mode(PROGRESS_JSON, fds[1], 10);
    read_all(fds[0], text, sizeof(text));
    assert_int_equal(count_of(text, "\n"), 11);
    assert_lacks(text, "a note");

    run_mode(PROGRESS_NONE, fds[1], 10);
    assert_int_equal(read_all(fds[0], text, sizeof(text)), 0);
    close(fds[0]);
    close(fds[1]);
}

static void a_full_pipe_and_a_closed_one_hold_nothing_up(void **state)
{
    int fds[2];

    (void)state;
    assert_int_equal(pipe(fds), 0);
    run_mode(PROGRESS_JSON, fds[1], 3000); /* more than the pipe takes; nobody reads */
    close(fds[0]);
    signal(SIGPIPE, SIG_IGN);
    run_mode(PROGRESS_JSON, fds[1], 10);
    close(fds[1]);
}

static void open_terminal(int *ret_master, int *ret_slave, unsigned short columns)
{
    struct winsize size = {.ws_row = 24, .ws_col = columns};

    assert_int_equal(openpty(ret_master, ret_slave, NULL, NULL, &size), 0);
    setenv("TERM", "xterm", 1);
    unsetenv("NO_COLOR");
}

static void a_terminal_is_drawn_on_in_place(void **state)
{
    static char text[65536];
    struct progress_options o = {.mode = PROGRESS_AUTO};
    struct progress_snapshot s = busy();
    struct progress *p;
    int master, slave;

    (void)state;
    open_terminal(&master, &slave, 80);
    o.fd = slave;
    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    assert_int_equal(progress_mode(p), PROGRESS_TTY);
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_lacks(text, "A"); /* the first frame goes up nowhere */
    assert_int_equal(count_of(text, "\033[K\r\n"), 4);

    progress_update(p, &s); /* the same instant: too early */
    assert_int_equal(read_all(master, text, sizeof(text)), 0);

    s.now.ns += NS_PER_S;
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_true(strncmp(text, "\r\033[4A", 5) == 0);
    assert_lacks(text, "\033[2J"); /* never cleared as a whole: that is what flickers */
    assert_lacks(text, "\033[?25l");

    progress_note(p, "hello");
    read_all(master, text, sizeof(text));
    assert_true(strncmp(text, "\r\033[4A\033[Jhello\r\n", 15) == 0);

    progress_finish(p, &s);
    read_all(master, text, sizeof(text));
    assert_int_equal(text[strlen(text) - 1],
                     'J'); /* the cursor rests below, all is cleared there */
    progress_free(p);
    close(master);
    close(slave);
}

static void a_terminal_that_shrinks_is_cleaned_of_its_broken_lines(void **state)
{
    static char text[65536];
    struct progress_options o = {.mode = PROGRESS_TTY};
    struct progress_snapshot s = busy();
    struct winsize narrow = {.ws_row = 24, .ws_col = 30};
    struct progress *p;
    int master, slave;
    int up;

    (void)state;
    open_terminal(&master, &slave, 100);
    o.fd = slave;
    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_int_equal(ioctl(master, TIOCSWINSZ, &narrow), 0);
    s.now.ns += NS_PER_S;
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_int_equal(sscanf(text, "\r\033[%dA", &up), 1);
    assert_true(up > 7); /* lines of 31 to 99 columns take two and more of 30 */
    progress_free(p);
    close(master);
    close(slave);
}

static void a_dumb_terminal_gets_lines_and_no_color_is_honoured(void **state)
{
    static char text[65536];
    struct progress_options o = {.mode = PROGRESS_AUTO};
    struct progress_snapshot s = busy();
    struct progress *p;
    int master, slave;

    (void)state;
    open_terminal(&master, &slave, 80);
    o.fd = slave;
    setenv("TERM", "dumb", 1);
    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    assert_int_equal(progress_mode(p), PROGRESS_PLAIN);
    progress_free(p);

    setenv("TERM", "xterm", 1);
    setenv("NO_COLOR", "1", 1);
    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_lacks(text, "m456");
    assert_lacks(text, "\033[3");
    progress_free(p);
    unsetenv("NO_COLOR");

    assert_int_equal(progress_new(&o, &p, NULL), WEIR_OK);
    progress_update(p, &s);
    read_all(master, text, sizeof(text));
    assert_contains(text, "\033[31mfailed 321\033[0m");
    progress_free(p);
    close(master);
    close(slave);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_rate_is_right_from_the_first_sample),
        cmocka_unit_test(a_rate_follows_a_change_within_its_time_constant),
        cmocka_unit_test(the_same_instant_twice_and_a_step_back_change_nothing),
        cmocka_unit_test(the_eta_is_what_is_left_at_the_rate),
        cmocka_unit_test(no_line_is_wider_than_the_terminal),
        cmocka_unit_test(what_matters_most_stays_longest),
        cmocka_unit_test(a_pause_that_the_service_asked_for_is_told),
        cmocka_unit_test(how_the_pool_runs_is_told_with_its_reason),
        cmocka_unit_test(a_delay_that_moves_with_every_row_has_no_reason),
        cmocka_unit_test(lines_and_objects_tell_it_too),
        cmocka_unit_test(empty_and_finished_runs_have_full_bars),
        cmocka_unit_test(json_is_one_object_a_line_with_the_documented_names),
        cmocka_unit_test(numbers_read_well),
        cmocka_unit_test(a_pipe_gets_lines_now_and_then),
        cmocka_unit_test(a_full_pipe_and_a_closed_one_hold_nothing_up),
        cmocka_unit_test(a_terminal_is_drawn_on_in_place),
        cmocka_unit_test(a_terminal_that_shrinks_is_cleaned_of_its_broken_lines),
        cmocka_unit_test(a_dumb_terminal_gets_lines_and_no_color_is_honoured),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
