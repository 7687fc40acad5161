/* The options of weir run: defaults, refusals, secrets, and what a resumed run must share (P9, P10). */
#include "unit/cli/cli_test.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/run_options.h"
#include "cli/run_url.h"

static struct args args;
static struct weir_error err;
static struct run_options o;

static enum weir_status parse(const char *line)
{
    run_options_free(&o);
    args_free(&args);
    args = args_of(line);
    memset(&err, 0, sizeof(err));
    run_options_init(&o);
    return run_options_parse(&o, args.count, args.items, &err);
}

static int forget(void **state)
{
    (void)state;
    run_options_free(&o);
    args_free(&args);
    args.count = 0;
    return 0;
}

static void defaults_are_those_of_the_design(void **state)
{
    (void)state;
    assert_int_equal(parse("run --url http://h/p"), WEIR_OK);
    assert_int_equal(o.flow.jobs, 8);
    assert_int_equal(o.flow.retries, 2);
    assert_int_equal(o.flow.throttle, THROTTLE_ADAPTIVE);
    assert_true(o.flow.waste == 0.02);
    assert_int_equal(o.flow.min_dispatch_delay_ns, 0);
    assert_int_equal(o.flow.max_dispatch_delay_ns, 5000 * NS_PER_MS);
    assert_true(o.flow.backoff_multiplier == 2.0);
    assert_int_equal(o.flow.recovery_step_ns, 50 * NS_PER_MS);
    assert_int_equal(o.flow.max_capacity_retry_ns, 3600 * NS_PER_S);
    assert_int_equal(o.flow.retry_after_max_ns, 120 * NS_PER_S);
    assert_int_equal(o.flow.timeout_ns, 600 * NS_PER_S);
    assert_int_equal(o.flow.halt.verdict, HALT_NONE);
    assert_int_equal(o.progress, PROGRESS_AUTO);
    assert_null(o.output);
    assert_null(o.journal);
    assert_string_equal(o.http.url, "http://h/p");
}

static void choices_have_the_order_of_their_enums(void **state)
{
    static const char *const progress[] = {"auto", "tty", "plain", "json", "none"};
    char line[100];

    (void)state;
    for (int i = 0; i < 5; i++) {
        snprintf(line, sizeof(line), "run --url http://h --progress %s", progress[i]);
        assert_int_equal(parse(line), WEIR_OK);
        assert_int_equal(o.progress, i);
    }
    assert_int_equal(PROGRESS_NONE, 4);
    assert_int_equal(parse("run --url http://h --http 2-prior --throttle none"), WEIR_OK);
    assert_int_equal(o.http.http, RUN_HTTP_2_PRIOR);
    assert_int_equal(o.flow.throttle, THROTTLE_NONE);
    assert_string_equal(throttle_kind_name(o.flow.throttle), "none");
    assert_int_equal(parse("run --url http://h --throttle aimd"), WEIR_OK);
    assert_int_equal(o.flow.throttle, THROTTLE_AIMD);
    assert_string_equal(throttle_kind_name(o.flow.throttle), "aimd");
    assert_int_equal(parse("run --url http://h --throttle adaptive"), WEIR_OK);
    assert_int_equal(o.flow.throttle, THROTTLE_ADAPTIVE);
    assert_string_equal(throttle_kind_name(o.flow.throttle), "adaptive");
}

static void a_throttle_takes_its_own_options(void **state)
{
    (void)state;
    assert_int_equal(parse("run --url http://h --waste 3%"), WEIR_OK);
    assert_true(o.flow.waste == 0.03);
    assert_int_equal(parse("run --url http://h --throttle adaptive --waste 0.1"), WEIR_OK);
    assert_true(o.flow.waste == 0.1);
    assert_int_equal(parse("run --url http://h --recovery-step 20ms --max-dispatch-delay 1s "
                           "--backoff-multiplier 3 --throttle aimd"),
                     WEIR_OK);
    assert_int_equal(o.flow.recovery_step_ns, 20 * NS_PER_MS);
    assert_int_equal(o.flow.max_dispatch_delay_ns, NS_PER_S);
    assert_true(o.flow.backoff_multiplier == 3);
    assert_int_equal(parse("run --url http://h --throttle aimd --min-dispatch-delay 1s "
                           "--recovery-step 0"),
                     WEIR_OK);
    assert_int_equal(o.flow.recovery_step_ns, 0);
    /* the least time between two requests is no throttle's own */
    assert_int_equal(parse("run --url http://h --min-dispatch-delay 6s"), WEIR_OK);
    assert_int_equal(parse("run --url http://h --min-dispatch-delay 6s --throttle none"), WEIR_OK);
}

static void an_output_has_a_journal_beside_it(void **state)
{
    (void)state;
    assert_int_equal(parse("run --url http://h -o out/results.jsonl rows.jsonl"), WEIR_OK);
    assert_string_equal(o.journal, "out/results.jsonl.weir");
    assert_int_equal(o.inputs.count, 1);
    assert_int_equal(parse("run --url http://h -o r --journal /tmp/j"), WEIR_OK);
    assert_string_equal(o.journal, "/tmp/j");
    assert_int_equal(parse("run --url http://h -o -"), WEIR_OK);
    assert_null(o.output);
    assert_null(o.journal);
}

static void what_cannot_be_is_refused_with_the_option_and_the_remedy(void **state)
{
    static const struct {
        const char *line, *part;
    } cases[] = {
        {"run", "weir run: where rows go is missing: give --url"},
        {"run --url ftp://h", "weir run: --url: must begin with http"},
        {"run --url http://", "weir run: --url: has no host"},
        {"run --url http://:80/", "weir run: --url: has no host"},
        {"run --url http://h:99999/", "weir run: --url: what follows the host is no port"},
        {"run --url http://h:8a", "weir run: --url: what follows the host is no port"},
        {"run --url http://[::1/", "weir run: --url: what follows the host is no port"},
        {"run --url http://h/a~b", "weir run: --url: holds a space"},
        {"run --url http://h/a#b", "weir run: --url: holds a #"},
        {"run --url http://h --jobs 0", "weir run: --jobs: "},
        {"run --url http://h --rate 0", "weir run: --rate: "},
        {"run --url http://h --tpm 0", "weir run: --tpm: "},
        {"run --url http://h --throttle aimd --backoff-multiplier 1",
         "--backoff-multiplier: must be above 1"},
        {"run --url http://h --backoff-multiplier 3",
         "--backoff-multiplier: is an option of the aimd throttle; give --throttle aimd too"},
        {"run --url http://h --recovery-step 0", "--recovery-step: is an option of the aimd"},
        {"run --url http://h --throttle none --max-dispatch-delay 1s",
         "--max-dispatch-delay: is an option of the aimd throttle"},
        {"run --url http://h --throttle aimd --waste 2%",
         "--waste: is an option of the adaptive throttle; give --throttle adaptive too"},
        {"run --url http://h --waste 2", "--waste: 2 is out of range; it must be 0.1% to 20%"},
        {"run --url http://h --waste much", "--waste: \"much\" is not a share"},
        {"run --url http://h --backoff-multiplier nan", "--backoff-multiplier: "},
        {"run --url http://h --throttle aimd --recovery-step 0", "cannot both be 0"},
        {"run --url http://h --throttle aimd --min-dispatch-delay 6", "above --max-dispatch-delay"},
        {"run --url http://h --window 4", "--window: "},
        {"run --url http://h --halt sometimes", "--halt: "},
        {"run --url http://h --capacity-status 42", "--capacity-status: "},
        {"run --url http://h --capacity-status 420,", "--capacity-status: "},
        {"run --url http://h --capacity-status 200", "--capacity-status: "},
        {"run --url http://h --method G3T", "--method: "},
        {"run --url http://h --key-file k", "--key-file: needs --cert"},
        {"run --url http://h --journal j", "--journal: needs -o"},
        {"run --url http://h --retry-failed", "--retry-failed: needs the -o"},
        {"run --url http://h -o a --errors a", "--errors: is the same file"},
        {"run --url http://h -o a --fresh --retry-failed", "give one of them"},
        {"run --url http://h --header novalue", "--header: a colon is missing"},
        {"run --url http://h --header a~b:c", "--header: "},
        {"run --url http://h --header :c", "--header: "},
        {"run --url http://h --header-env a", "--header-env: a = is missing"},
        {"run --url http://h --header-env a=WEIR_TEST_ABSENT", "WEIR_TEST_ABSENT; export it"},
        {"run --url http://h --header-env a=WEIR_TEST_EMPTY", "WEIR_TEST_EMPTY is empty"},
        {"run --url http://h --bearer-env WEIR_TEST_BROKEN", "line break"},
        {"run --url http://h --timeuot 3", "did you mean --timeout?"},
    };

    (void)state;
    setenv("WEIR_TEST_EMPTY", "", 1);
    setenv("WEIR_TEST_BROKEN", "sekrit\nX: y", 1);
    unsetenv("WEIR_TEST_ABSENT");
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse(cases[i].line) != WEIR_E_INVALID)
            fail_msg("not refused: %s", cases[i].line);
        assert_contains(err.message, cases[i].part);
        assert_contains(err.message, "weir run: ");
        assert_lacks(err.message, "sekrit");
    }
}

static void secrets_come_from_the_environment_and_are_not_in_argv(void **state)
{
    (void)state;
    setenv("WEIR_TEST_KEY", "sk-1", 1);
    assert_int_equal(parse("run --url http://h --header-env x-api-key=WEIR_TEST_KEY --bearer-env "
                           "WEIR_TEST_KEY --header Accept:~text/plain --header X-Empty:"),
                     WEIR_OK);
    assert_int_equal(o.http.header_count, 4);
    assert_string_equal(o.http.headers[0].line, "x-api-key: sk-1");
    assert_int_equal(o.http.headers[0].name_len, strlen("x-api-key"));
    assert_string_equal(o.http.headers[1].line, "Authorization: Bearer sk-1");
    assert_string_equal(o.http.headers[2].line, "Accept: text/plain");
    assert_string_equal(o.http.headers[3].line, "X-Empty:");
    for (int i = 0; i < args.count; i++)
        assert_lacks(args.items[i], "sk-1");
}

static void a_secret_given_as_an_argument_is_covered_in_argv(void **state)
{
    (void)state;
    assert_int_equal(
        parse("run --url http://us%40er:sekrit@h:8080/p?x=1 --proxy http://a:sekrit@p:1 "
              "--header X-Api-Key:~sekrit --header Accept:~text/x"),
        WEIR_OK);
    for (int i = 0; i < args.count; i++)
        assert_lacks(args.items[i], "sekrit");
    assert_contains(args.items[2], "@h:8080/p?x=1");
    assert_string_equal(args.items[8], "Accept: text/x");
    assert_string_equal(o.http.url, "http://h:8080/p?x=1");
    assert_string_equal(o.http.proxy, "http://a:sekrit@p:1");
    assert_int_equal(o.http.header_count, 3);
    assert_string_equal(o.http.headers[0].line, "X-Api-Key: sekrit");
    /* base64("us@er:sekrit") */
    assert_string_equal(o.http.headers[2].line, "Authorization: Basic dXNAZXI6c2Vrcml0");
}

static void a_user_in_the_url_and_an_authorization_header_are_one_too_many(void **state)
{
    (void)state;
    assert_int_equal(parse("run --url http://u:sekrit@h --header authorization:x"), WEIR_E_INVALID);
    assert_lacks(err.message, "sekrit");
}

static void base64_pads_and_a_user_alone_has_an_empty_password(void **state)
{
    static const struct {
        const char *user, *basic;
    } cases[] = {
        {"a:b", "YTpi"}, {"a:bc", "YTpiYw=="}, {"a:bcd", "YTpiY2Q="},
        {"ab", "YWI6"},  {"a", "YTo="},        {"%41:%zz%4", "QTolenolNA=="},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        run_url_basic(slice_of(cases[i].user), &out);
        assert_string_equal(out.data, cases[i].basic);
        buf_free(&out);
    }
}

static void a_url_is_shown_without_its_secrets(void **state)
{
    static const struct {
        const char *url, *shown;
    } cases[] = {
        {"http://h/p", "http://h/p"},
        {"http://u:p@h/p?a=b", "http://h/p?a=b"},
        {"http://u:p@x@h/p", "http://h/p"},
        {"http://h/p?api_key=abc&v=1", "http://h/p?api_key=***&v=1"},
        {"http://h/p?v=1&Token=abc", "http://h/p?v=1&Token=***"},
        {"http://h?sig=1", "http://h?sig=***"},
        {"http://h/a@b", "http://h/a@b"},
        {"http://h/?e=a@b", "http://h/?e=a@b"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        struct buf out = {0};

        run_url_show(slice_of(cases[i].url), &out);
        assert_string_equal(out.data, cases[i].shown);
        buf_free(&out);
    }
}

static void fingerprint_of(const char *line, struct buf *out)
{
    assert_int_equal(parse(line), WEIR_OK);
    buf_clear(out);
    run_options_fingerprint(&o, out);
    assert_true(json_check(buf_slice(out), NULL));
}

static void the_fingerprint_holds_what_matters_and_no_secret(void **state)
{
    struct buf out = {0};

    (void)state;
    fingerprint_of("run --url http://u:sekrit@h/p?key=sekrit --header X-Api-Key:sekrit --header "
                   "Accept:text/x --template {a:.b} -j 64 --rpm 5",
                   &out);
    assert_string_equal(out.data,
                        "{\"errors\":false,\"header\":[\"accept\",\"authorization\",\"x-api-key\"],"
                        "\"key\":null,\"lines\":false,\"meta\":false,\"method\":\"POST\","
                        "\"select\":null,\"skip-bad\":false,\"template\":\"{a:.b}\","
                        "\"url\":\"http://h/p?key=***\"}");
    buf_free(&out);
}

static void changed_options_are_told_apart_with_both_values(void **state)
{
    struct buf a = {0}, b = {0}, told = {0};

    (void)state;
    fingerprint_of("run --url http://h/p -j 4 --key .id --header B:1 --header A:2", &a);
    fingerprint_of("run --url http://h/p -j 9 --retries 7 --key .id --header a:5 --header b:6", &b);
    assert_false(run_options_conflict(buf_slice(&a), buf_slice(&b), &told));
    assert_int_equal(told.len, 0);

    fingerprint_of("run --url http://h/q --method GET --meta --header C:1", &b);
    assert_true(run_options_conflict(buf_slice(&a), buf_slice(&b), &told));
    assert_contains(told.data, "--url: was http://h/p, is now http://h/q\n");
    assert_contains(told.data, "--method: was POST, is now GET\n");
    assert_contains(told.data, "--meta: was not given, is now given\n");
    assert_contains(told.data, "--key: was .id, is now not given\n");
    assert_contains(told.data, "--header: was [\"a\",\"b\"], is now [\"c\"]\n");

    buf_clear(&told);
    assert_true(run_options_conflict(SLICE("garbage"), buf_slice(&b), &told));
    buf_clear(&told);
    assert_true(run_options_conflict(SLICE("{\"later\":5}"), SLICE("{}"), &told));
    assert_string_equal(told.data, "--later: was 5, is now not given\n");
    buf_clear(&told);
    assert_false(run_options_conflict(SLICE("{\"later\":null}"), SLICE("{}"), &told));
    buf_free(&a);
    buf_free(&b);
    buf_free(&told);
}

static void what_is_given_says_which_kind_of_run_it_is(void **state)
{
    (void)state;
    assert_int_equal(parse("run --url http://h"), WEIR_OK);
    assert_int_equal(o.kind, RUN_HTTP);
    assert_false(run_options_raw(&o));
    assert_int_equal(parse("run --worker python3~w.py rows.jsonl"), WEIR_OK);
    assert_int_equal(o.kind, RUN_WORKER);
    assert_int_equal(o.flow.timeout_ns, 60 * NS_PER_S);
    assert_int_equal(o.flow.throttle, THROTTLE_AIMD);
    assert_int_equal(o.flow.retries, 2);
    assert_int_equal(parse("run -j4 rows.txt -- gzip -k {} --best"), WEIR_OK);
    assert_int_equal(o.kind, RUN_COMMAND);
    assert_true(run_options_raw(&o));
    assert_int_equal(o.flow.timeout_ns, 0);
    assert_int_equal(o.flow.retries, 0);
    assert_int_equal(o.flow.jobs, 4);
    assert_int_equal(o.command.words.count, 4);
    assert_string_equal(o.command.words.items[3], "--best");
    assert_string_equal(o.inputs.items[0], "rows.txt");
    assert_int_equal(parse("run --json -- true"), WEIR_OK);
    assert_false(run_options_raw(&o));
    assert_true(o.flow.jobs >= 1);
    assert_int_equal(parse("run -P3 --retries 1 --timeout 200% --throttle none -- true"), WEIR_OK);
    assert_int_equal(o.flow.jobs, 3);
    assert_int_equal(o.flow.retries, 1);
    assert_true(o.flow.timeout_share == 2.0);
    assert_int_equal(o.flow.throttle, THROTTLE_NONE);
}

static void rows_of_a_command_come_from_one_place(void **state)
{
    (void)state;
    assert_int_equal(parse("run -- echo {} ::: a b :::+ c d"), WEIR_OK);
    assert_int_equal(o.command.words.count, 2);
    assert_int_equal(o.command.values.count, 6);
    assert_int_equal(o.inputs.count, 0);
    /* One file is read as it is needed; several are combined. */
    assert_int_equal(parse("run -a f -- echo"), WEIR_OK);
    assert_int_equal(o.inputs.count, 1);
    assert_int_equal(o.command.values.count, 0);
    assert_int_equal(parse("run -- echo :::: f"), WEIR_OK);
    assert_int_equal(o.inputs.count, 1);
    assert_int_equal(parse("run -a f -a g -- echo ::: x"), WEIR_OK);
    assert_int_equal(o.inputs.count, 0);
    assert_int_equal(o.command.values.count, 6);
    assert_string_equal(o.command.values.items[0], "::::");
    assert_string_equal(o.command.values.items[1], "f");
    assert_string_equal(o.command.values.items[5], "x");
}

static void what_a_kind_cannot_be_is_refused(void **state)
{
    static const struct {
        const char *line, *told;
    } cases[] = {
        {"run --url http://h --worker w", "--url and --worker are both given"},
        {"run --worker w -- true", "--worker and -- CMD are both given"},
        {"run --url http://h -- rows.jsonl", "./-name"},
        {"run --", "where rows go is missing"},
        {"run --method GET -- true", "--method: is of runs with --url, and this one has -- CMD"},
        {"run --tpm 5 --worker w", "--tpm: is of runs with --url"},
        {"run --json --url http://h", "--json: is of runs with -- CMD"},
        {"run --lazy -- true", "--lazy: is of runs with --worker"},
        {"run --template . -- true", "--template: is of runs with --url or --worker"},
        {"run --shell --url http://h", "--shell: is of runs with --worker or -- CMD"},
        {"run -- ::: a", "no command before :::"},
        {"run echo x ::: a", "weir run [options] -- echo ... ::: ..."},
        {"run rows -- echo ::: a", "rows come from rows and from :::"},
        {"run rows -a f -- echo", "--arg-file"},
        {"run --json --tag -- true", "--tag"},
        {"run --errors e -- true", "--errors"},
        {"run --meta -- true", "--meta"},
        {"run --resume -- true", "--joblog"},
        {"run --resume-failed --joblog j -o out -- true", "leave it out"},
        {"run --unordered -o out -- true", "--unordered"},
        {"run --unordered -k -- true", "contradict"},
        {"run --colsep , -n2 -- true", "--colsep"},
        {"run --term-seq TERM,x -- true", "--term-seq"},
        {"run --capacity-exit 0 -- true", "--capacity-exit"},
        {"run --load 0 -- true", "--load"},
        {"run --output-limit 449MiB -o out -- true", "--output-limit"},
        {"run --output-limit 449MiB --json -- true", "--output-limit"},
        {"run --output-limit 1025GiB -- true", "--output-limit"},
        {"run --worker w --frame-limit 901MiB", "--frame-limit"},
        {"run --timeout 50% -- true", "--timeout"},
        {"run --worker 'a", "--worker: a single quote"},
        {"run --worker ~", "--worker: it is empty"},
        {"run --worker w --fallback \"a", "--fallback: a double quote"},
        {"run --worker w -j 4000 --overflow 97", "more than 4096 workers"},
        {"run --worker w -j 1000 --max-in-flight 1024", "more than 1000000 requests at once"},
        {"run --worker w --on-same-failure stop=0%", "--on-same-failure"},
        {"run --worker w --on-same-failure maybe", "stop=10%"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
        if (parse(cases[i].line) != WEIR_E_INVALID)
            fail_msg("taken: %s", cases[i].line);
        assert_contains(err.message, "weir run: ");
        assert_contains(err.message, cases[i].told);
    }
}

static void the_fingerprint_of_a_command_is_the_command(void **state)
{
    struct buf a = {0}, b = {0}, told = {0};

    (void)state;
    assert_int_equal(parse("run -o out -j4 --shell -- echo {} ::: a"), WEIR_OK);
    run_options_fingerprint(&o, &a);
    assert_true(json_check(buf_slice(&a), NULL));
    assert_int_equal(parse("run -o out -j9 --bar --timeout 3 --shell -- echo {} ::: b"), WEIR_OK);
    run_options_fingerprint(&o, &b);
    assert_string_equal(a.data, b.data);
    buf_clear(&b);
    assert_int_equal(parse("run -o out -- echo {} ::: a"), WEIR_OK);
    run_options_fingerprint(&o, &b);
    assert_true(run_options_conflict(buf_slice(&a), buf_slice(&b), &told));
    assert_string_equal(told.data, "--shell: was given, is now not given\n");
    buf_clear(&told);
    buf_clear(&b);
    assert_int_equal(parse("run -o out --worker w --command c"), WEIR_OK);
    run_options_fingerprint(&o, &b);
    assert_true(run_options_conflict(buf_slice(&a), buf_slice(&b), &told));
    assert_contains(told.data, "(the command): was [\"echo\",\"{}\"], is now not given\n");
    assert_contains(told.data, "--worker: was not given, is now w\n");
    buf_free(&a);
    buf_free(&b);
    buf_free(&told);
}

static void help_is_given_without_a_url(void **state)
{
    struct buf out = {0};

    (void)state;
    assert_int_equal(parse("run --help"), WEIR_OK);
    assert_true(o.help);
    run_options_help(&out);
    assert_contains(out.data, "--header-env NAME=VAR");
    assert_contains(out.data, "Exit status: 0");
    buf_free(&out);
}

static void a_lack_of_memory_is_told_and_leaks_nothing(void **state)
{
    unsigned long n = 0;
    enum weir_status status;

    (void)state;
    setenv("WEIR_TEST_KEY", "sk-1", 1);
    do {
        run_options_free(&o);
        args_free(&args);
        args =
            args_of("run --url http://u:p@h -o out --header-env a=WEIR_TEST_KEY --proxy http://p "
                    "--capacity-status 420,421 a b c");
        run_options_init(&o);
        mem_fail_at(++n);
        status = run_options_parse(&o, args.count, args.items, &err);
        assert_true(status == WEIR_OK || status == WEIR_E_NOMEM);
    } while (mem_has_failed());
    mem_fail_at(0);
    assert_int_equal(status, WEIR_OK);
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(defaults_are_those_of_the_design, forget),
        cmocka_unit_test_teardown(choices_have_the_order_of_their_enums, forget),
        cmocka_unit_test_teardown(a_throttle_takes_its_own_options, forget),
        cmocka_unit_test_teardown(an_output_has_a_journal_beside_it, forget),
        cmocka_unit_test_teardown(what_cannot_be_is_refused_with_the_option_and_the_remedy, forget),
        cmocka_unit_test_teardown(secrets_come_from_the_environment_and_are_not_in_argv, forget),
        cmocka_unit_test_teardown(a_secret_given_as_an_argument_is_covered_in_argv, forget),
        cmocka_unit_test_teardown(a_user_in_the_url_and_an_authorization_header_are_one_too_many,
                                  forget),
        cmocka_unit_test(base64_pads_and_a_user_alone_has_an_empty_password),
        cmocka_unit_test(a_url_is_shown_without_its_secrets),
        cmocka_unit_test_teardown(the_fingerprint_holds_what_matters_and_no_secret, forget),
        cmocka_unit_test_teardown(changed_options_are_told_apart_with_both_values, forget),
        cmocka_unit_test_teardown(what_is_given_says_which_kind_of_run_it_is, forget),
        cmocka_unit_test_teardown(rows_of_a_command_come_from_one_place, forget),
        cmocka_unit_test_teardown(what_a_kind_cannot_be_is_refused, forget),
        cmocka_unit_test_teardown(the_fingerprint_of_a_command_is_the_command, forget),
        cmocka_unit_test_teardown(help_is_given_without_a_url, forget),
        cmocka_unit_test_teardown(a_lack_of_memory_is_told_and_leaks_nothing, forget),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
