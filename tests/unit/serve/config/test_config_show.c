/*
 * Showing a configuration, and comparing two.
 */
#include "base/mem.h"
#include "serve/config/config.h"
#include "serve/config/schema.h"
#include "serve/config/show.h"
#include "support/testkit.h"

#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* Every field, and none with its default. */
static const char full[] =
    "store: /tmp/x.db\n"
    "spill: /tmp/x.spill\n"
    "listen: [\"unix:/tmp/x.sock\", 127.0.0.1:7334]\n"
    "unix_mode: 0600\n"
    "tokens:\n"
    "  - {name: a, role: operate, env: CONFIG_TEST_TOKEN}\n"
    "  - {name: b, role: submit, file: /dev/fd/CONFIG_TEST_FD}\n"
    "policy: fair-share\n"
    "ageing: 0.1\n"
    "max_global_concurrency: 77\n"
    "default_pool: w\n"
    "tenants: [{name: \"\xc3\xa9\", weight: 0.3}]\n"
    "slots: [{name: gpu, count: 3}, {name: dir, paths: [\"/a b\", \"- c\", \"null\"]}]\n"
    "defaults: {max_attempts: 9, timeout: 1500ms, heartbeat_timeout: 1.5us,\n"
    "           backoff: {initial: 3s, factor: 1.1, ceiling: 400s, jitter: 0.25}}\n"
    "quarantine: {deaths: 0}\n"
    "retention: {done: 1h, failed: 2h, events: 3h, events_max: 12}\n"
    "history: false\n"
    "shutdown: {grace: 1s, kill: 0, submits: refuse}\n"
    "check_interval: 61s\n"
    "limits: {request_bytes: 5000, requests_per_second: 2.5, connections: 3}\n"
    "log: {level: debug, file: /tmp/x.log}\n"
    "pools:\n"
    "  - name: c\n"
    "    kind: command\n"
    "    max_concurrency: 5\n"
    "    enabled: false\n"
    "    skills: [x, y]\n"
    "    cpu: 1.5\n"
    "    memory: 3GiB\n"
    "    reserve: {min_priority: -5, share: 12.5%}\n"
    "    burst: {places: 2, seconds: 30s}\n"
    "    follow: {what: memory, target: 512, min: 2, max: 9}\n"
    "    max_attempts: 4\n"
    "    backoff: {initial: 1s, factor: 3, ceiling: 9s, jitter: 1}\n"
    "    timeout: 5s\n"
    "    heartbeat_timeout: 1h\n"
    "    max_capacity_retry: 2h\n"
    "    throttle: aimd\n"
    "    min_dispatch_delay: 1ms\n"
    "    max_dispatch_delay: 2s\n"
    "    recovery_step: 3ms\n"
    "    backoff_multiplier: 1.7\n"
    "    rate: 33.3\n"
    "    requests_per_minute: 1000\n"
    "    breaker: {mode: fail, failures: 6, open: 61s, trials: 4, successes: 5}\n"
    "    cwd: /tmp\n"
    "    wrapper: [nice, -n, \"5\", \"@b\", \"%c\", \":d\", \"a:\", \"-\"]\n"
    "    wrapper_shell: true\n"
    "    env: {A: \"x\\ny\", \"B C\": \"#\", EMPTY: \"\", TILDE: \"~\"}\n"
    "    clear_env: true\n"
    "    command: [sh, -c, \"echo \\\"{}\\\" '{x}'\"]\n"
    "    shell: true\n"
    "    kill_after: 3s\n"
    "    output_max: 1000\n"
    "    capacity_exits: [1, 2]\n"
    "    retry_exits: false\n"
    "  - name: w\n"
    "    kind: process\n"
    "    process: python3 w.py\n"
    "    request: other\n"
    "    max_in_flight: 3\n"
    "    overflow: 2\n"
    "    lazy: true\n"
    "    order: fifo\n"
    "    frame_max: 2KiB\n"
    "    init_timeout: 31s\n"
    "    ping_every: 0\n"
    "    ping_deadline: 6s\n"
    "    ping_recheck: 7s\n"
    "    ping_failures: 8\n"
    "    overflow_idle: 11s\n"
    "    recycle_after: 1000\n"
    "    recycle_age: 1h\n"
    "    recycle_memory: 1GiB\n"
    "    shutdown_grace: 1s\n"
    "    term_grace: 2s\n"
    "    session_idle: 3s\n"
    "    checkout_timeout: 4s\n"
    "    restart: {initial: 2s, factor: 3, ceiling: 40s, jitter: 0.1}\n"
    "    fallback: v\n"
    "  - {name: v, kind: process, process: p}\n"
    "  - name: h\n"
    "    kind: http\n"
    "    throttle: adaptive\n"
    "    waste: 3%\n"
    "    tokens_per_minute: 5\n"
    "    retry_after_max: 3s\n"
    "    url: http://127.0.0.1:1/x?a=b&c=d#e\n"
    "    method: PUT\n"
    "    allow_any_url: true\n"
    "    headers: {X-A: b, X-Key: env:CONFIG_TEST_TOKEN}\n"
    "    connect_timeout: 1s\n"
    "    response_max: 5MB\n"
    "    http_version: \"1.1\"\n"
    "    proxy: \"\"\n"
    "    no_proxy: a,b\n"
    "    cacert: /ca\n"
    "    cert: /cert\n"
    "    key_file: /key\n"
    "    insecure: true\n"
    "    unix_socket: /s\n"
    "    capacity_statuses: [420, 498]\n";

static struct config *must_parse(const char *text)
{
    struct config_faults faults = {0};
    struct buf told = {0};
    struct config *c = NULL;
    struct weir_error err;

    if (config_parse("weir.yml", text, strlen(text), &c, &faults, &err) != WEIR_OK) {
        config_faults_put(&faults, &told);
        fail_msg("%s\n%s", err.message, told.data);
    }
    config_faults_free(&faults);
    return c;
}

/* `full`, with a file for the token that is in one. */
static char *full_text(const char *token_path)
{
    const char *at = strstr(full, "/dev/fd/CONFIG_TEST_FD");
    struct buf text = {0};

    assert_non_null(at);
    buf_put(&text, full, (size_t)(at - full));
    buf_puts(&text, token_path);
    buf_puts(&text, at + strlen("/dev/fd/CONFIG_TEST_FD"));
    return buf_steal(&text, NULL);
}

static void expect_key(const struct config_group *g, const char *text)
{
    for (size_t i = 0; i < g->count; i++) {
        char key[100];

        (void)snprintf(key, sizeof key, "%s:", g->fields[i].key);
        if (!strstr(text, key) && strcmp(g->fields[i].key, "sha256") != 0)
            fail_msg("the test's file does not have %s", key);
        if (g->fields[i].group)
            expect_key(g->fields[i].group, text);
    }
}

static void every_field_comes_back_from_what_is_shown(void **state)
{
    char *dir = testkit_dir_make();
    char *path = testkit_path(dir, "token");
    char *text;
    struct config *c, *again;
    struct config_changes changes = {0};
    struct buf shown = {0}, twice = {0};

    (void)state;
    testkit_file_write(path, "secret", 6);
    text = full_text(path);
    expect_key(&config_schema, text);
    c = must_parse(text);
    config_show(c, &shown);
    again = must_parse(shown.data);
    config_show(again, &twice);
    assert_string_equal(shown.data, twice.data);
    assert_int_equal(config_diff(c, again, &changes, NULL), WEIR_OK);
    assert_int_equal(changes.count, 0);
    /* And values are as they were written. */
    assert_int_equal(again->defaults.heartbeat_timeout_ns, 1500);
    assert_int_equal(again->defaults.timeout_ns, 1500 * NS_PER_MS);
    assert_string_equal(again->slots.items[1].paths.items[1], "- c");
    assert_string_equal(again->slots.items[1].paths.items[2], "null");
    assert_string_equal(again->pools.items[0].env.items[0].value, "x\ny");
    assert_string_equal(again->pools.items[0].env.items[3].value, "~");
    assert_string_equal(again->pools.items[0].command.items[2], "echo \"{}\" '{x}'");
    assert_string_equal(again->pools.items[0].wrapper.items[3], "@b");
    assert_string_equal(again->pools.items[0].wrapper.items[6], "a:");
    assert_string_equal(again->pools.items[0].wrapper.items[7], "-");
    assert_true(again->ageing >= 0.1 && again->ageing <= 0.1);
    assert_int_equal(again->pools.items[3].response_max_bytes, 5000000);
    assert_string_equal(again->pools.items[3].proxy, "");
    config_free(c);
    config_free(again);
    config_changes_free(&changes);
    buf_free(&shown);
    buf_free(&twice);
    mem_free(text);
    testkit_free(path);
    testkit_dir_remove(dir);
}

/* A field that `show` or libcyaml's schema left out would keep its default. */
static void no_field_of_the_full_file_has_its_default(void **state)
{
    struct config *c, *plain;
    char *text = full_text("/dev/null/x");
    char *cut = strstr(text, "  - {name: b, role: submit");
    struct buf a = {0}, b = {0};
    static const size_t which[] = {0, 1, 3};

    (void)state;
    memset(cut, ' ', (size_t)(strchr(cut, '\n') - cut));
    c = must_parse(text);
    plain = must_parse("pools: [{name: q, kind: command}, {name: r, kind: process, process: q},\n"
                       "  {name: s, kind: process, process: q}, {name: t, kind: http, url: "
                       "\"http://127.0.0.1/\"}]\n");
    for (size_t i = 0; i < 3; i++) {
        const struct config_group *g = &config_pool_schema;

        for (size_t f = 0; f < g->count; f++) {
            const struct config_field *field = &g->fields[f];
            const struct config_pool *pool = &c->pools.items[which[i]];

            /* What all have is in the first one; it has the other throttle. */
            if (i > 0 ? field->only != 1U << pool->kind
                      : field->only && !(field->only & 1U << pool->kind))
                continue;
            if (strcmp(field->key, "kind") == 0 || strcmp(field->key, "waste") == 0 ||
                strcmp(field->key, "throttle") == 0)
                continue;
            buf_clear(&a);
            buf_clear(&b);
            show_field(g, field, pool, 0, false, &a);
            show_field(g, field, &plain->pools.items[which[i]], 0, false, &b);
            if (slice_equal(buf_slice(&a), buf_slice(&b)))
                fail_msg("pools[%zu].%s: %s", which[i], field->key, a.data);
        }
    }
    config_free(c);
    config_free(plain);
    buf_free(&a);
    buf_free(&b);
    mem_free(text);
}

static void secrets_are_not_shown(void **state)
{
    struct config *c =
        must_parse("tokens: [{name: a, role: read, sha256: "
                   "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef}]\n"
                   "pools:\n"
                   "  - {name: h, kind: http, url: \"http://127.0.0.1/\", headers: {Authorization: "
                   "Bearer abc, X-Api-Key: abc,\n"
                   "     Cookie: env:CONFIG_TEST_TOKEN, X-Plain: shown}}\n"
                   "  - {name: c, kind: command, env: {DB_PASSWORD: abc, LANG: C}}\n");
    struct buf shown = {0};

    (void)state;
    config_show(c, &shown);
    assert_null(strstr(shown.data, "abc"));
    assert_non_null(strstr(shown.data, "sha256: \"(hidden)\""));
    assert_non_null(strstr(shown.data, "Authorization: \"(hidden)\""));
    assert_non_null(strstr(shown.data, "Cookie: env:CONFIG_TEST_TOKEN"));
    assert_non_null(strstr(shown.data, "X-Plain: shown"));
    assert_non_null(strstr(shown.data, "LANG: C"));
    assert_null(strstr(shown.data, "test-token")); /* the variable's value */
    config_free(c);
    buf_free(&shown);
}

/* ---- examples ---- */

static void load_example(const char *path)
{
    struct config_faults faults = {0};
    struct buf told = {0};
    struct config *c = NULL;
    struct weir_error err;

    if (config_load(path, &c, &faults, &err) != WEIR_OK) {
        config_faults_put(&faults, &told);
        fail_msg("%s: %s\n%s", path, err.message, told.data ? told.data : "");
    }
    config_free(c);
    config_faults_free(&faults);
}

static void every_example_loads(void **state)
{
    DIR *dir = opendir("examples/serve");
    size_t count = 0;
    struct dirent *entry;
    char path[300];

    (void)state;
    load_example("examples/weir.yml");
    assert_non_null(dir);
    while ((entry = readdir(dir))) {
        size_t len = strlen(entry->d_name);

        if (len < 5 || strcmp(entry->d_name + len - 4, ".yml") != 0)
            continue;
        (void)snprintf(path, sizeof path, "examples/serve/%s", entry->d_name);
        load_example(path);
        count++;
    }
    (void)closedir(dir);
    assert_true(count >= 1);
}

/* Whoever looks for a field finds it there, if only in a comment. */
static void the_large_example_names_every_field(void **state)
{
    char *text = testkit_file_read("examples/weir.yml", NULL);

    (void)state;
    expect_key(&config_schema, text);
    testkit_free(text);
}

/* ---- changes ---- */

#define OLD                                                                                        \
    "store: /a\npolicy: fifo\nlisten: 127.0.0.1:1\nlog: {level: info}\n"                           \
    "pools:\n"                                                                                     \
    "  - {name: a, kind: command, max_concurrency: 2, skills: [x]}\n"                              \
    "  - {name: b, kind: command}\n"                                                               \
    "  - {name: c, kind: http, url: \"http://127.0.0.1/\"}\n"

static void expect_changes(const char *old, const char *now, const char *expected)
{
    struct config *a = must_parse(old), *b = must_parse(now);
    struct config_changes changes = {0};
    struct buf told = {0};

    assert_int_equal(config_diff(a, b, &changes, NULL), WEIR_OK);
    config_changes_put(&changes, &told);
    assert_string_equal(buf_slice(&told).data, expected);
    config_free(a);
    config_free(b);
    config_changes_free(&changes);
    buf_free(&told);
}

static void the_same_file_changes_nothing(void **state)
{
    (void)state;
    expect_changes(OLD, OLD, "");
}

static void each_change_is_told_with_what_it_takes(void **state)
{
    (void)state;
    expect_changes(
        OLD,
        "store: /b\npolicy: skill\nlisten: 127.0.0.1:2\nmax_global_concurrency: 3\n"
        "log: {level: debug, file: /tmp/x}\nlimits: {connections: 7}\n"
        "slots: [{name: s, count: 1}]\ntenants: [{name: t, weight: 2}]\n"
        "retention: {done: 1h}\nquarantine: {deaths: 9}\n"
        "pools:\n"
        "  - {name: d, kind: command}\n"
        "  - {name: c, kind: http, url: \"http://127.0.0.1/x\", cpu: 3}\n"
        "  - {name: a, kind: command, max_concurrency: 3, skills: [x, y], enabled: false}\n",
        "store: changed in the file, and needs a restart\n"
        "spill: changed in the file, and needs a restart\n"
        "listen: changed in the file, and needs a restart\n"
        "policy: changed\n"
        "max_global_concurrency: changed\n"
        "tenants: changed\n"
        "slots: changed\n"
        "pool a: max_concurrency, enabled, skills: changed while it runs\n"
        "pool b: removed; what runs there ends first\n"
        "pool c: cpu, url: replaced; what runs there ends in the old one\n"
        "pool d: added\n"
        "quarantine: changed\n"
        "retention: changed\n"
        "limits.connections: changed in the file, and needs a restart\n"
        "log.level: changed\n"
        "log.file: changed in the file, and needs a restart\n");
}

static void a_default_changes_the_pools_that_take_it(void **state)
{
    (void)state;
    expect_changes("pools: [{name: a, kind: command}, {name: b, kind: command, max_attempts: 2}]\n",
                   "defaults: {max_attempts: 5}\n"
                   "pools: [{name: a, kind: command}, {name: b, kind: command, max_attempts: 2}]\n",
                   "pool a: max_attempts: changed while it runs\n");
}

static void what_nobody_said_of_trying_workers_again_is_not_shown(void **state)
{
    static const char unsaid[] = "pools: [{name: w, kind: process, process: p}]\n";
    static const char said[] = "pools: [{name: w, kind: process, process: p, max_attempts: 3,\n"
                               "         backoff: {initial: 1s}}]\n";
    struct config *c = must_parse(unsaid);
    struct buf shown = {0};

    (void)state;
    config_show(c, &shown);
    assert_null(strstr(shown.data, "max_attempts:"));
    assert_null(strstr(shown.data, " backoff:"));
    config_free(c);
    buf_clear(&shown);
    c = must_parse(said);
    config_show(c, &shown);
    assert_non_null(strstr(shown.data, "    max_attempts: 3\n"));
    assert_non_null(strstr(shown.data, "      jitter: 0.5\n"));
    config_free(c);
    buf_free(&shown);
    expect_changes(unsaid, said, "pool w: max_attempts, backoff: changed while it runs\n");
    expect_changes(said, unsaid, "pool w: max_attempts, backoff: changed while it runs\n");
}

static void another_secret_in_the_same_place_is_a_change(void **state)
{
    static const char text[] = "tokens: [{name: a, role: read, env: CONFIG_TEST_TOKEN}]\n"
                               "pools: [{name: a, kind: command}]\n";
    struct config *a = must_parse(text), *b;
    struct config_changes changes = {0};

    (void)state;
    assert_int_equal(setenv("CONFIG_TEST_TOKEN", "another", 1), 0);
    b = must_parse(text);
    assert_int_equal(setenv("CONFIG_TEST_TOKEN", "test-token", 1), 0);
    assert_int_equal(config_diff(a, b, &changes, NULL), WEIR_OK);
    assert_int_equal(changes.count, 1);
    assert_true(config_changes_has(&changes, CONFIG_APPLY, "tokens"));
    config_free(a);
    config_free(b);
    config_changes_free(&changes);
}

static void what_is_kept_is_as_it_was_and_the_rest_as_it_is_to_be(void **state)
{
    static const char wanted[] =
        "store: /b\npolicy: priority\nlisten: [127.0.0.1:2, 127.0.0.1:3]\n"
        "log: {level: debug, file: /l}\nlimits: {connections: 7}\ndefault_pool: y\n"
        "pools:\n"
        "  - {name: y, kind: command}\n"
        "  - {name: a, kind: command, max_concurrency: 9, env: {V: w}}\n"
        "  - {name: z, kind: http, allow_any_url: true}\n"
        "  - {name: b, kind: command, max_concurrency: 4}\n";
    struct config *first = must_parse(OLD), *old = must_parse(OLD), *now = must_parse(wanted);
    struct config_changes changes = {0};
    struct buf told = {0};

    (void)state;
    assert_int_equal(config_keep_room(old, now, NULL), WEIR_OK);
    config_keep_restarts(now, old);
    config_keep_field(now, old, "default_pool");
    config_keep_pool(now, old, "a");
    config_keep_pool(now, old, "y"); /* the first; the last but one */
    config_keep_pool(now, old, "z");
    assert_int_equal(config_diff(first, now, &changes, NULL), WEIR_OK);
    config_changes_put(&changes, &told);
    assert_string_equal(told.data, "policy: changed\n"
                                   "pool b: max_concurrency: changed while it runs\n"
                                   "pool c: removed; what runs there ends first\n"
                                   "log.level: changed\n");
    assert_int_equal(now->pools.count, 2);
    config_keep_pool(now, old, "c");
    assert_int_equal(now->pools.count, 3);
    assert_string_equal(now->pools.items[2].name, "c");
    assert_int_equal(old->pools.count, 4);
    config_keep_pool(now, old, "nobody");
    /* What was not taken goes with the old one. */
    assert_int_equal(old->pools.count, 4);
    buf_free(&told);
    config_changes_free(&changes);
    config_free(first);
    config_free(old);
    config_free(now);
}

static void each_allocation_of_a_diff_may_fail(void **state)
{
    struct config *a = must_parse(OLD);
    struct config *b = must_parse(
        "pools: [{name: a, kind: http, allow_any_url: true}, {name: z, kind: command}]\n");
    unsigned long n = 0;
    bool failed;

    (void)state;
    do {
        struct config_changes changes = {0};
        enum weir_status status;

        mem_fail_at(++n);
        status = config_diff(a, b, &changes, NULL);
        failed = mem_has_failed();
        mem_fail_at(0);
        assert_int_equal(status, failed ? WEIR_E_NOMEM : WEIR_OK);
        config_changes_free(&changes);
    } while (failed);
    assert_true(n > 10);
    config_free(a);
    config_free(b);
}

static int prepare_environment(void **state)
{
    (void)state;
    (void)unsetenv("STATE_DIRECTORY");
    (void)unsetenv("RUNTIME_DIRECTORY");
    (void)unsetenv("XDG_RUNTIME_DIR");
    return setenv("CONFIG_TEST_TOKEN", "test-token", 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_field_comes_back_from_what_is_shown),
        cmocka_unit_test(no_field_of_the_full_file_has_its_default),
        cmocka_unit_test(secrets_are_not_shown),
        cmocka_unit_test(every_example_loads),
        cmocka_unit_test(the_large_example_names_every_field),
        cmocka_unit_test(the_same_file_changes_nothing),
        cmocka_unit_test(each_change_is_told_with_what_it_takes),
        cmocka_unit_test(a_default_changes_the_pools_that_take_it),
        cmocka_unit_test(what_nobody_said_of_trying_workers_again_is_not_shown),
        cmocka_unit_test(another_secret_in_the_same_place_is_a_change),
        cmocka_unit_test(what_is_kept_is_as_it_was_and_the_rest_as_it_is_to_be),
        cmocka_unit_test(each_allocation_of_a_diff_may_fail),
    };

    return cmocka_run_group_tests(tests, prepare_environment, NULL);
}
