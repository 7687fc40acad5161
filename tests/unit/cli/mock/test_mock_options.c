/* The command line of weir mock. */
#include "cli/mock/mock.h"

#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define WORDS_MAX 8

/* Words separated by blanks, after "mock". */
static enum weir_status read_line(const char *line, struct mock_options *ret,
                                  struct weir_error *err)
{
    static char text[256];
    char *argv[WORDS_MAX + 1] = {(char[]){"mock"}, NULL};
    int argc = 1;

    strncpy(text, line, sizeof text - 1);
    for (char *at = text; *at && argc < WORDS_MAX; argc++) {
        argv[argc] = at;
        at += strcspn(at, " ");
        if (*at)
            *at++ = '\0';
    }
    return mock_options_read(argc, argv, ret, err);
}

static struct mock_options options_of(const char *line)
{
    struct mock_options o;
    struct weir_error err = {0};

    if (read_line(line, &o, &err) != WEIR_OK)
        fail_msg("%s: %s", line, err.message);
    return o;
}

static void both_ways_of_writing_a_value_are_understood(void **state)
{
    struct mock_options o = options_of("--rate 5..20 --duration=2s --deterministic --rpm=500");

    (void)state;
    assert_true(o.script.rate_rps.hi == 20);
    assert_int_equal(o.duration_ns, 2 * NS_PER_S);
    assert_true(o.script.deterministic);
    assert_int_equal(o.script.requests_per_minute, 500);
    assert_int_equal(o.body_bytes_max, 16 << 20);
    assert_null(o.port_file);
    assert_string_equal(options_of("--port-file a=b").port_file, "a=b");
    assert_int_equal(options_of("--body-limit 64k").body_bytes_max, 65536);
}

static void only_loopback_is_listened_on(void **state)
{
    static const char *const refused[] = {
        "--listen 0.0.0.0:80",
        "--listen 10.0.0.1:80",
        "--listen [::]:80",
        "--listen example.com:80",
        "--listen :80",
        "--listen 127.0.0.1:65536",
        "--listen 127.0.0.1:",
        "--listen",
        "--listen 127.0.0.1:-1",
        "--listen [2001:db8::1]:1",
        "--listen 127.0.0.1:http",
    };
    struct mock_options o = options_of("");

    (void)state;
    assert_int_equal(ntohl(o.address.v4.sin_addr.s_addr), INADDR_LOOPBACK);
    assert_int_equal(o.address.v4.sin_port, 0);
    o = options_of("--listen 127.1.2.3:8080");
    assert_int_equal(ntohl(o.address.v4.sin_addr.s_addr), 0x7f010203);
    assert_int_equal(ntohs(o.address.v4.sin_port), 8080);
    assert_int_equal(ntohs(options_of("--listen 99").address.v4.sin_port), 99);
    assert_int_equal(options_of("--listen localhost:1").address.any.sa_family, AF_INET);
    o = options_of("--listen [::1]:443");
    assert_int_equal(o.address.any.sa_family, AF_INET6);
    assert_int_equal(ntohs(o.address.v6.sin6_port), 443);
    for (size_t i = 0; i < sizeof refused / sizeof *refused; i++) {
        struct weir_error err = {0};

        if (read_line(refused[i], &o, &err) == WEIR_OK)
            fail_msg("%s was taken", refused[i]);
        assert_non_null(strstr(err.message, "--listen"));
    }
}

static void what_is_wrong_is_named(void **state)
{
    static const char *const lines[][2] = {
        {"--speed 5", "--speed"},
        {"--rats 5", "did you mean --rate?"},
        {"--port-fil x", "did you mean --port-file?"},
        {"speed", "\"speed\""},
        {"--", "\"--\""},
        {"--rate", "--rate"},
        {"--rate=", "--rate"},
        {"--deterministic=yes", "takes no value"},
        {"--help=yes", "takes no value"},
        {"--duration 0s", "--duration"},
        {"--body-limit 2GiB", "--body-limit"},
        {"--port-file=", "--port-file"},
        {"--fail-rate 0.6 --hang-rate 0.6", "1.2"},
        {"--queue 5", "--servers"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof lines / sizeof *lines; i++) {
        struct mock_options o;
        struct weir_error err = {0};

        if (read_line(lines[i][0], &o, &err) == WEIR_OK)
            fail_msg("%s was taken", lines[i][0]);
        if (!strstr(err.message, lines[i][1]))
            fail_msg("%s: \"%s\" does not say %s", lines[i][0], err.message, lines[i][1]);
    }
}

static void the_help_names_every_option_in_80_columns(void **state)
{
    struct buf help = {0};
    size_t column = 0;

    (void)state;
    assert_true(options_of("--help --no-such").help);
    assert_true(options_of("-h").help);
    mock_help_put(&help);
    for (size_t i = 0; i < sim_option_count(); i++) {
        char name[64];

        snprintf(name, sizeof name, "\n  --%s ", sim_option_at(i)->name);
        assert_non_null(strstr(help.data, name));
    }
    assert_non_null(strstr(help.data, "--listen"));
    for (size_t i = 0; i < help.len; i++) {
        column = help.data[i] == '\n' ? 0 : column + 1;
        assert_true(column <= 80);
    }
    buf_free(&help);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(both_ways_of_writing_a_value_are_understood),
        cmocka_unit_test(only_loopback_is_listened_on),
        cmocka_unit_test(what_is_wrong_is_named),
        cmocka_unit_test(the_help_names_every_option_in_80_columns),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
