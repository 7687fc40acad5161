/* The command line of weir worker check, also when memory runs out. */
#include "cli/worker/options.h"

#include "../cli_test.h"
#include "base/mem.h"

static enum weir_status read_line(const char *line, struct worker_options *ret,
                                  struct weir_error *err)
{
    static struct args args;
    enum weir_status status;

    /* What was read points into it. */
    args_free(&args);
    args = args_of(line);
    status = worker_options_read(ret, args.count, args.items, err);
    return status;
}

static struct worker_options options_of(const char *line)
{
    struct worker_options o;
    struct weir_error err = {0};

    if (read_line(line, &o, &err) != WEIR_OK)
        fail_msg("%s: %s", line, err.message);
    return o;
}

static void refuse(const char *line, const char *part)
{
    struct worker_options o;
    struct weir_error err = {0};

    assert_int_equal(read_line(line, &o, &err), WEIR_E_INVALID);
    assert_contains(err.message, part);
}

static void the_command_is_taken_apart_into_words(void **state)
{
    struct worker_options o = options_of("check ./w~-m~'my~model'");
    const char *const *argv = argvec_argv(&o.words);

    (void)state;
    assert_string_equal(o.line, "./w -m 'my model'");
    assert_string_equal(argv[0], "./w");
    assert_string_equal(argv[1], "-m");
    assert_string_equal(argv[2], "my model");
    assert_null(argv[3]);
    worker_options_free(&o);
}

static void without_options_the_defaults_hold(void **state)
{
    struct worker_options o = options_of("check w");

    (void)state;
    assert_null(o.command);
    assert_int_equal(o.init_ns, 30 * NS_PER_S);
    assert_int_equal(o.timeout_ns, 10 * NS_PER_S);
    assert_int_equal(o.grace_ns, 5 * NS_PER_S);
    assert_false(o.json);
    worker_options_free(&o);
}

static void args_alone_are_for_the_command_process(void **state)
{
    struct worker_options o = options_of("check --args [1] w");

    (void)state;
    assert_string_equal(o.command, "process");
    assert_string_equal(o.args, "[1]");
    worker_options_free(&o);
    o = options_of("check w --command predict");
    assert_string_equal(o.command, "predict");
    assert_string_equal(o.args, "null");
    worker_options_free(&o);
}

static void what_cannot_be_meant_is_refused(void **state)
{
    (void)state;
    refuse("check", "no command");
    refuse("check a b", "between quotes");
    refuse("check 'a", "CMD: ");
    refuse("check --args { w", "--args: not JSON");
    refuse("check --command= w", "--command: is empty");
    refuse("check --grace 1us w", "--grace");
}

static void help_needs_no_command(void **state)
{
    struct worker_options o = options_of("check --help");
    _cleanup_buf_ struct buf text = {0};

    (void)state;
    assert_true(o.help);
    worker_help_put(&text);
    assert_contains(text.data, "weir worker check [options] 'CMD'");
    assert_contains(text.data, "--init-timeout");
}

static void each_failure_of_memory_is_told(void **state)
{
    bool failed = true;

    (void)state;
    for (unsigned long n = 1; failed; n++) {
        struct worker_options o;
        struct weir_error err = {0};
        enum weir_status status;

        mem_fail_at(n);
        status = read_line("check --args [] ./worker~with~words", &o, &err);
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, failed ? WEIR_E_NOMEM : WEIR_OK);
        if (status == WEIR_OK)
            worker_options_free(&o);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_is_taken_apart_into_words),
        cmocka_unit_test(without_options_the_defaults_hold),
        cmocka_unit_test(args_alone_are_for_the_command_process),
        cmocka_unit_test(what_cannot_be_meant_is_refused),
        cmocka_unit_test(help_needs_no_command),
        cmocka_unit_test(each_failure_of_memory_is_told),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
