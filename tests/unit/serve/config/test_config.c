/*
 * Reading a configuration: what may stand in it, and how what may not is told.
 */
#include "base/mem.h"
#include "core/follow.h"
#include "flow/throttle.h"
#include "serve/config/config.h"
#include "serve/config/schema.h"
#include "support/testkit.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* A pool that is right, for files that are about something else. */
#define POOL "pools:\n  - name: a\n    kind: command\n"

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

/* All of what is told, line by line. */
static void expect_faults(const char *text, const char *expected)
{
    struct config_faults faults = {0};
    struct buf told = {0};
    struct config *c = NULL;
    struct weir_error err;

    assert_int_equal(config_parse("weir.yml", text, strlen(text), &c, &faults, &err),
                     WEIR_E_INVALID);
    assert_null(c);
    config_faults_put(&faults, &told);
    assert_string_equal(told.data, expected);
    /* The error is the first of them. */
    assert_int_equal(strncmp(told.data, err.message, strlen(err.message)), 0);
    config_faults_free(&faults);
    buf_free(&told);
}

/* ---- what is read ---- */

static void a_file_with_one_pool_has_defaults_for_all_else(void **state)
{
    struct config *c = must_parse(POOL);
    const struct config_pool *p = &c->pools.items[0];

    (void)state;
    assert_string_equal(c->store, "./weir.db");
    assert_string_equal(c->spill, "./weir.db.spill");
    assert_int_equal(c->listen.count, 1);
    assert_string_equal(c->listen.items[0], "unix:./weir.sock");
    assert_int_equal(c->unix_mode, 0660);
    assert_int_equal(c->max_global_concurrency, 10);
    assert_string_equal(c->default_pool, "a");
    assert_int_equal(c->deaths_max, 3);
    assert_int_equal(c->check_interval_ns, 60 * NS_PER_S);
    assert_int_equal(c->shutdown.grace_ns, 300 * NS_PER_S);
    assert_int_equal(c->pools.count, 1);
    assert_int_equal(p->max_concurrency, 1);
    assert_true(p->enabled);
    assert_int_equal(p->max_attempts, 3);
    assert_int_equal(p->backoff.initial_ns, 10 * NS_PER_S);
    assert_int_equal(p->backoff.ceiling_ns, 300 * NS_PER_S);
    assert_true(p->backoff.factor >= 2 && p->backoff.factor <= 2);
    assert_true(p->backoff.jitter >= 0.5 && p->backoff.jitter <= 0.5);
    assert_int_equal(p->heartbeat_timeout_ns, 60 * NS_PER_S);
    assert_int_equal(p->timeout_ns, 0);
    assert_int_equal(p->throttle, THROTTLE_AIMD);
    assert_int_equal(p->breaker.mode, CONFIG_BREAKER_OFF);
    assert_int_equal(p->capacity_exits.count, 1);
    assert_int_equal(p->capacity_exits.items[0], 75);
    assert_int_equal(p->follow.what, FOLLOW_NOTHING);
    config_free(c);
}

static void kinds_of_pools_have_defaults_of_their_own(void **state)
{
    struct config *c = must_parse("pools:\n"
                                  "  - {name: w, kind: process, process: [prog]}\n"
                                  "  - {name: h, kind: http, url: \"http://127.0.0.1/\"}\n");

    (void)state;
    assert_int_equal(c->pools.items[0].timeout_ns, 60 * NS_PER_S);
    assert_int_equal(c->pools.items[0].breaker.mode, CONFIG_BREAKER_ON);
    assert_int_equal(c->pools.items[0].throttle, THROTTLE_AIMD);
    assert_int_equal(c->pools.items[1].timeout_ns, 600 * NS_PER_S);
    assert_int_equal(c->pools.items[1].breaker.mode, CONFIG_BREAKER_OFF);
    assert_int_equal(c->pools.items[1].throttle, THROTTLE_ADAPTIVE);
    assert_true(c->pools.items[1].waste > 0);
    assert_null(c->default_pool); /* there are two */
    config_free(c);
}

static void a_pool_takes_what_it_does_not_say_from_the_defaults(void **state)
{
    struct config *c = must_parse("defaults: {max_attempts: 7, timeout: 5m, heartbeat_timeout: 0,\n"
                                  "           backoff: {initial: 1s, jitter: 0}}\n"
                                  "pools:\n"
                                  "  - {name: a, kind: command}\n"
                                  "  - {name: b, kind: command, max_attempts: 1, timeout: 0,\n"
                                  "     backoff: {ceiling: 20s}, heartbeat_timeout: 9s}\n");
    const struct config_pool *a = &c->pools.items[0], *b = &c->pools.items[1];

    (void)state;
    assert_int_equal(a->max_attempts, 7);
    assert_int_equal(a->timeout_ns, 300 * NS_PER_S);
    assert_int_equal(a->heartbeat_timeout_ns, 0);
    assert_int_equal(a->backoff.initial_ns, NS_PER_S);
    assert_true(a->backoff.jitter <= 0);
    assert_int_equal(b->max_attempts, 1);
    assert_int_equal(b->timeout_ns, 0);
    assert_int_equal(b->heartbeat_timeout_ns, 9 * NS_PER_S);
    assert_int_equal(b->backoff.initial_ns, NS_PER_S);
    assert_int_equal(b->backoff.ceiling_ns, 20 * NS_PER_S);
    config_free(c);
}

static void of_workers_only_what_is_said_of_trying_again_is_known(void **state)
{
    struct config *c =
        must_parse("pools:\n"
                   "  - {name: a, kind: process, process: p}\n"
                   "  - {name: b, kind: process, process: p, max_attempts: 5}\n"
                   "  - {name: c, kind: process, process: p, backoff: {factor: 3}}\n");
    const struct config_pool *a = &c->pools.items[0], *b = &c->pools.items[1],
                             *third = &c->pools.items[2];

    (void)state;
    assert_int_equal(a->max_attempts, -1);
    assert_int_equal(a->backoff.initial_ns, -1);
    assert_int_equal(b->max_attempts, 5);
    assert_int_equal(b->backoff.initial_ns, -1);
    assert_int_equal(third->max_attempts, -1);
    assert_int_equal(third->backoff.initial_ns, 10 * NS_PER_S);
    assert_int_equal(third->backoff.ceiling_ns, 300 * NS_PER_S);
    assert_true(third->backoff.factor >= 3 && third->backoff.jitter >= 0.5);
    config_free(c);
    c = must_parse("defaults: {max_attempts: 7, backoff: {initial: 1s}}\n"
                   "pools: [{name: a, kind: process, process: p}]\n");
    a = &c->pools.items[0];
    assert_int_equal(a->max_attempts, 7);
    assert_int_equal(a->backoff.initial_ns, NS_PER_S);
    assert_int_equal(a->backoff.ceiling_ns, 300 * NS_PER_S);
    config_free(c);
}

static void a_line_is_taken_apart_and_a_list_is_not(void **state)
{
    struct config *c =
        must_parse("pools:\n"
                   "  - {name: a, kind: command, command: \"nice -n 5 'my tool' {}\"}\n"
                   "  - {name: b, kind: process, process: [my tool, \"x y\"],\n"
                   "     skills: one}\n");

    (void)state;
    assert_int_equal(c->pools.items[0].command.count, 5);
    assert_string_equal(c->pools.items[0].command.items[3], "my tool");
    assert_string_equal(c->pools.items[0].command.items[4], "{}");
    assert_int_equal(c->pools.items[1].process.count, 2);
    assert_string_equal(c->pools.items[1].process.items[0], "my tool");
    assert_int_equal(c->pools.items[1].skills.count, 1);
    config_free(c);
}

static void anchors_may_be_used(void **state)
{
    struct config *c = must_parse("pools:\n"
                                  "  - {name: a, kind: command, env: &e {A: \"1\", B: \"\"}}\n"
                                  "  - {name: b, kind: command, env: *e}\n");

    (void)state;
    assert_int_equal(c->pools.items[1].env.count, 2);
    assert_string_equal(c->pools.items[1].env.items[0].name, "A");
    assert_string_equal(c->pools.items[1].env.items[0].value, "1");
    assert_string_equal(c->pools.items[1].env.items[1].value, "");
    config_free(c);
}

static void slots_have_as_many_places_as_paths(void **state)
{
    struct config *c =
        must_parse("slots: [{name: dir, paths: [/a, /b]}, {name: gpu, count: 4}]\n" POOL);

    (void)state;
    assert_int_equal(c->slots.items[0].count, 2);
    assert_string_equal(c->slots.items[0].paths.items[1], "/b");
    assert_int_equal(c->slots.items[1].count, 4);
    config_free(c);
}

static void the_folders_of_systemd_are_used(void **state)
{
    struct config *c;

    (void)state;
    assert_int_equal(setenv("STATE_DIRECTORY", "/var/lib/weir:/var/lib/other", 1), 0);
    assert_int_equal(setenv("RUNTIME_DIRECTORY", "/run/weir", 1), 0);
    c = must_parse(POOL);
    assert_string_equal(c->store, "/var/lib/weir/weir.db");
    assert_string_equal(c->listen.items[0], "unix:/run/weir/weir.sock");
    config_free(c);
    (void)unsetenv("STATE_DIRECTORY");
    (void)unsetenv("RUNTIME_DIRECTORY");
}

static void tokens_come_from_files_and_the_environment(void **state)
{
    char *dir = testkit_dir_make();
    char *path = testkit_path(dir, "token");
    char text[1000];
    struct config *c;

    (void)state;
    testkit_file_write(path, "from-file \n\n", 12);
    assert_int_equal(setenv("CONFIG_TEST_TOKEN", "from-env", 1), 0);
    (void)snprintf(text, sizeof text,
                   "tokens:\n  - {name: a, role: read, file: %s}\n"
                   "  - {name: b, role: operate, env: CONFIG_TEST_TOKEN}\n" POOL,
                   path);
    c = must_parse(text);
    assert_string_equal(c->tokens.items[0].secret, "from-file");
    assert_string_equal(c->tokens.items[1].secret, "from-env");
    assert_int_equal(c->tokens.items[1].role, CONFIG_OPERATE);
    config_free(c);
    (void)unsetenv("CONFIG_TEST_TOKEN");
    testkit_free(path);
    testkit_dir_remove(dir);
}

static void values_may_stand_for_a_variable(void **state)
{
    struct buf out = {0};
    struct weir_error err;

    (void)state;
    assert_int_equal(setenv("CONFIG_TEST_KEY", "s3cret", 1), 0);
    assert_int_equal(config_secret("Bearer env:CONFIG_TEST_KEY", &out, &err), WEIR_OK);
    assert_string_equal(out.data, "Bearer s3cret");
    buf_clear(&out);
    assert_int_equal(config_secret("env:CONFIG_TEST_KEY", &out, &err), WEIR_OK);
    assert_string_equal(out.data, "s3cret");
    buf_clear(&out);
    assert_int_equal(config_secret("env:not a name", &out, &err), WEIR_OK);
    assert_string_equal(out.data, "env:not a name");
    (void)unsetenv("CONFIG_TEST_KEY");
    assert_int_equal(config_secret("env:CONFIG_TEST_KEY", &out, &err), WEIR_E_INVALID);
    assert_string_equal(err.message,
                        "the environment has no variable CONFIG_TEST_KEY; export it first");
    buf_free(&out);
}

/* ---- what is refused ---- */

static void an_unknown_field_is_told_with_the_nearest_name(void **state)
{
    (void)state;
    expect_faults(
        "polcy: fifo\n"
        "pools:\n"
        "  - name: a\n"
        "    kind: command\n"
        "  - name: b\n"
        "    kind: command\n"
        "    max_concurency: 3\n"
        "    bananas: 2\n"
        "    max_global_concurrency: 2\n"
        "skills: [a]\n",
        "weir.yml:1: polcy: there is no such field; did you mean policy?\n"
        "weir.yml:7: pools[1].max_concurency: there is no such field; did you mean "
        "max_concurrency?\n"
        "weir.yml:8: pools[1].bananas: there is no such field\n"
        "weir.yml:9: pools[1].max_global_concurrency: there is no such field here; it is one "
        "of the whole file\n"
        "weir.yml:10: skills: there is no such field here; it is one of a pool\n");
}

static void what_is_too_much_does_not_hide_what_contradicts(void **state)
{
    (void)state;
    expect_faults("bananas: 1\n"
                  "default_pool: b\n"
                  "pools:\n"
                  "  - {name: a, kind: command, url: \"http://a/\", shell: true}\n"
                  "  - {name: a, kind: command, name: c}\n",
                  "weir.yml:1: bananas: there is no such field\n"
                  "weir.yml:2: default_pool: there is no pool b\n"
                  "weir.yml:4: pools[0].url: is for kind http; this pool has kind command\n"
                  "weir.yml:4: pools[0].shell: there is no command that a shell could run\n"
                  "weir.yml:5: pools[1].name: stands in line 5 already\n"
                  "weir.yml:5: pools[1].name: pools[0] has the name a already\n");
}

static void a_field_may_stand_once(void **state)
{
    (void)state;
    expect_faults("policy: fifo\n"
                  "pools:\n"
                  "  - name: a\n"
                  "    kind: command\n"
                  "    env: {A: \"1\", B: \"2\", A: \"3\"}\n"
                  "    kind: http\n"
                  "policy: skill\n",
                  "weir.yml:5: pools[0].env.A: stands in line 5 already\n"
                  "weir.yml:6: pools[0].kind: stands in line 4 already\n"
                  "weir.yml:7: policy: stands in line 1 already\n");
}

static void values_of_the_wrong_type_are_told(void **state)
{
    (void)state;
    expect_faults(
        "policy: last\n"
        "ageing: much\n"
        "history: yes\n"
        "unix_mode: rw\n"
        "check_interval: soon\n"
        "store: [a, b]\n"
        "listen: {a: b}\n"
        "tenants: x\n"
        "defaults: 3\n"
        "quarantine:\n"
        "limits: {request_bytes: big, connections: 2.5}\n"
        "default_pool: ~\n" POOL,
        "weir.yml:1: policy: \"last\" is none of fifo|priority|skill|fair-share\n"
        "weir.yml:2: ageing: \"much\" is not a number; write it like 3 or 0.25\n"
        "weir.yml:3: history: must be true or false, not \"yes\"\n"
        "weir.yml:4: unix_mode: \"rw\" is no mode of a file; write it in octal digits, such as "
        "0660\n"
        "weir.yml:5: check_interval: \"soon\" is not a duration; write it like 1.5s, 200ms, 2m or "
        "1h30m\n"
        "weir.yml:6: store: must be one value, not a list\n"
        "weir.yml:7: listen: must be a list of values, not fields\n"
        "weir.yml:8: tenants: must be a list (\"- name: ...\"), not one value\n"
        "weir.yml:9: defaults: must be lines of \"field: value\"\n"
        "weir.yml:10: quarantine: has no value; leave it out, or give its fields\n"
        "weir.yml:11: limits.request_bytes: \"big\" is not a size; write it like 4096, 64KiB, 10MB "
        "or 2GiB\n"
        "weir.yml:11: limits.connections: \"2.5\" is not a whole number; write it like 200, 10k or "
        "2M\n"
        "weir.yml:12: default_pool: has no value; leave it out, or write \"\" for an empty "
        "text\n");
}

static void values_out_of_range_are_told(void **state)
{
    (void)state;
    expect_faults(
        "max_global_concurrency: 0\n"
        "ageing: 1001\n"
        "check_interval: 0\n"
        "pools:\n"
        "  - name: a b\n"
        "    kind: command\n"
        "    capacity_exits: [75, 300]\n"
        "    output_max: 1TB\n"
        "    reserve: {min_priority: 5000, share: 110%}\n"
        "    env: [A=1]\n",
        "weir.yml:1: max_global_concurrency: 0 is out of range; it must be 1 to 1000000\n"
        "weir.yml:2: ageing: 1001 is out of range; it must be 0 to 1000\n"
        "weir.yml:3: check_interval: 0 is out of range; it must be 1s to 3.16224e+07s\n"
        "weir.yml:5: pools[0].name: \"a b\" holds a space, comma, slash or control character, "
        "which no name may\n"
        "weir.yml:7: pools[0].capacity_exits[1]: 300 is out of range; it must be 1 to 255\n"
        "weir.yml:8: pools[0].output_max: 1TB is out of range; it must be 1 to 268435456 "
        "bytes\n"
        "weir.yml:9: pools[0].reserve.min_priority: 5000 is out of range; it must be -1000 to "
        "1000\n"
        "weir.yml:9: pools[0].reserve.share: 110% is out of range; it must be 0% to 100%\n"
        "weir.yml:10: pools[0].env: must be lines of \"NAME: value\", not a list\n");
}

static void what_must_be_there_and_is_not_is_told(void **state)
{
    (void)state;
    expect_faults("tokens:\n"
                  "  - name: t\n"
                  "pools:\n"
                  "  - max_concurrency: 2\n"
                  "  - name: b\n"
                  "    kind: http\n"
                  "    reserve: {share: 0.5}\n"
                  "    follow:\n"
                  "      min: 2\n",
                  "weir.yml:2: tokens[0].role: is missing\n"
                  "weir.yml:4: pools[0].name: is missing\n"
                  "weir.yml:4: pools[0].kind: is missing\n"
                  "weir.yml:7: pools[1].reserve.min_priority: is missing\n"
                  "weir.yml:8: pools[1].follow.what: is missing\n");
}

static void a_field_of_another_kind_of_pool_is_told(void **state)
{
    (void)state;
    expect_faults(
        "pools:\n"
        "  - name: a\n"
        "    kind: command\n"
        "    url: http://127.0.0.1/\n"
        "    lazy: true\n"
        "  - name: b\n"
        "    kind: http\n"
        "    url: http://a/\n"
        "    cwd: /tmp\n",
        "weir.yml:4: pools[0].url: is for kind http; this pool has kind command\n"
        "weir.yml:5: pools[0].lazy: is for kind process; this pool has kind command\n"
        "weir.yml:9: pools[1].cwd: is for kind command or process; this pool has kind http\n");
}

static void names_must_be_there_and_be_one_of_a_kind(void **state)
{
    (void)state;
    expect_faults(
        "default_pool: c\n"
        "slots:\n"
        "  - {name: x, count: 2}\n"
        "  - {name: x, count: 3}\n"
        "pools:\n"
        "  - {name: a, kind: process, process: p, fallback: nobody}\n"
        "  - {name: b, kind: process, process: p, fallback: b}\n"
        "  - {name: d, kind: process, process: p, fallback: e}\n"
        "  - {name: e, kind: command}\n"
        "  - name: a\n"
        "    kind: command\n",
        "weir.yml:1: default_pool: there is no pool c\n"
        "weir.yml:4: slots[1].name: slots[0] has the name x already\n"
        "weir.yml:6: pools[0].fallback: there is no pool nobody\n"
        "weir.yml:7: pools[1].fallback: is the pool itself\n"
        "weir.yml:8: pools[2].fallback: e has no workers; it must be of kind process too\n"
        "weir.yml:10: pools[4].name: pools[0] has the name a already\n");
}

static void what_contradicts_is_told(void **state)
{
    (void)state;
    expect_faults(
        "slots:\n"
        "  - {name: x, count: 3, paths: [/a]}\n"
        "  - {name: y}\n"
        "defaults: {backoff: {initial: 10m}}\n"
        "pools:\n"
        "  - name: a\n"
        "    kind: command\n"
        "    waste: 5%\n"
        "    backoff: {initial: 2s, ceiling: 1s}\n"
        "    burst: {places: 3, seconds: 0}\n"
        "    follow: {what: queue, target: 2}\n"
        "  - name: b\n"
        "    kind: process\n"
        "    process: p\n"
        "    backoff: {ceiling: 20m}\n"
        "    max_concurrency: 4096\n"
        "    overflow: 1\n"
        "    follow: {what: load, min: 9, max: 5}\n"
        "  - name: c\n"
        "    kind: http\n"
        "    backoff: {ceiling: 20m}\n"
        "    url: http://127.0.0.1/\n"
        "    max_dispatch_delay: 1s\n"
        "    headers: {\"a b\": c, Idempotency-Key: x, X: env:CONFIG_TEST_NONE}\n"
        "  - name: d\n"
        "    kind: process\n"
        "    backoff: {ceiling: 20m}\n"
        "    follow: {what: nothing, target: 3}\n",
        "weir.yml:2: slots[0].count: is 3, but there are 1 paths; leave one of them out\n"
        "weir.yml:3: slots[1]: must have count or paths\n"
        "weir.yml:4: defaults.backoff: its ceiling (300s) is below its initial wait (600s)\n"
        "weir.yml:8: pools[0].waste: is of the adaptive throttle; this pool has aimd\n"
        "weir.yml:9: pools[0].backoff: its ceiling (1s) is below its initial wait (2s)\n"
        "weir.yml:10: pools[0].burst: needs places and seconds above 0, both\n"
        "weir.yml:11: pools[0].follow.what: queue is for pools of workers: a command or "
        "request costs nothing while none runs\n"
        "weir.yml:16: pools[1].max_concurrency: with overflow and follow there may be 4097 "
        "workers; a pool has 4096 at most\n"
        "weir.yml:18: pools[1].follow: its target is missing\n"
        "weir.yml:18: pools[1].follow.min: is 9, above max (5)\n"
        "weir.yml:23: pools[2].max_dispatch_delay: is of the aimd throttle; this pool has "
        "adaptive\n"
        "weir.yml:24: pools[2].headers.a b: no header has such a name\n"
        "weir.yml:24: pools[2].headers.Idempotency-Key: is each task's own: with one for all, "
        "a service would take them for one\n"
        "weir.yml:24: pools[2].headers.X: the environment has no variable CONFIG_TEST_NONE; "
        "export it first\n"
        "weir.yml:25: pools[3].process: is missing: the worker's program\n"
        "weir.yml:28: pools[3].follow.target: nothing is followed; give what\n");
}

static void slots_must_not_share_a_variable(void **state)
{
    (void)state;
    expect_faults(
        "slots:\n"
        "  - {name: path, count: 1}\n"
        "  - {name: Path-x, count: 1}\n"
        "  - {name: pathology, count: 1}\n"
        "  - {name: a b, count: 1}\n" POOL,
        "weir.yml:2: slots[0].name: \"path\": as a variable it would be one of a path; take "
        "another name\n"
        "weir.yml:3: slots[1].name: \"Path-x\": as a variable it would be one of a path; take "
        "another name\n"
        "weir.yml:5: slots[3].name: \"a b\" holds a space, comma, slash or control character, "
        "which no name may\n");
    expect_faults("slots:\n"
                  "  - {name: a-b, count: 1}\n"
                  "  - {name: a_bc, count: 1}\n"
                  "  - {name: A.B, count: 1}\n" POOL,
                  "weir.yml:4: slots[2].name: is as a variable (WEIR_SLOT_NAME) the same as a-b\n");
}

static void where_requests_go_must_be_said_or_left_to_tasks(void **state)
{
    (void)state;
    expect_faults(
        "pools:\n  - {name: h, kind: http}\n  - {name: i, kind: http, url: \"ftp://x/\"}\n",
        "weir.yml:3: pools[1].url: the URL's scheme is not http or https\n");
    expect_faults(
        "pools:\n  - {name: h, kind: http}\n",
        "weir.yml:2: pools[0].url: is missing; or, if whoever submits a task may say where it "
        "goes, allow_any_url\n");
    config_free(must_parse("pools: [{name: h, kind: http, allow_any_url: true}]\n"));
}

static void an_open_door_needs_tokens(void **state)
{
    struct config *c;

    (void)state;
    expect_faults(
        "listen:\n"
        "  - 127.0.0.1:7333\n"
        "  - 0.0.0.0:7333\n"
        "  - \"[::1]:7333\"\n"
        "  - nonsense\n"
        "  - 127.0.0.1:99999\n"
        "  - \"unix:\"\n"
        "  - 127.example.com:80\n" POOL,
        "weir.yml:3: listen[1]: 0.0.0.0:7333 can be reached from other machines, and there are "
        "no tokens: whoever connects could do everything; add tokens, or listen on "
        "127.0.0.1\n"
        "weir.yml:5: listen[3]: \"nonsense\" is no address; write unix:/PATH, or HOST:PORT such "
        "as 127.0.0.1:7333\n"
        "weir.yml:6: listen[4]: \"127.0.0.1:99999\" is no address; write unix:/PATH, or "
        "HOST:PORT such as 127.0.0.1:7333\n"
        "weir.yml:7: listen[5]: the socket's path is missing; write unix:/run/weir/weir.sock\n"
        "weir.yml:8: listen[6]: 127.example.com:80 can be reached from other machines, and "
        "there are no tokens: whoever connects could do everything; add tokens, or listen on "
        "127.0.0.1\n");
    assert_int_equal(setenv("CONFIG_TEST_TOKEN", "x", 1), 0);
    c = must_parse("listen: 0.0.0.0:7333\n"
                   "tokens: [{name: a, role: read, env: CONFIG_TEST_TOKEN}]\n" POOL);
    config_free(c);
    (void)unsetenv("CONFIG_TEST_TOKEN");
}

static void tokens_that_cannot_be_had_are_told_without_them(void **state)
{
    (void)state;
    expect_faults(
        "tokens:\n"
        "  - {name: a, role: read}\n"
        "  - {name: b, role: read, file: /nonexistent/token}\n"
        "  - {name: c, role: read, env: CONFIG_TEST_NONE}\n"
        "  - {name: d, role: read, env: A, file: b}\n"
        "pools: []\n",
        "weir.yml:2: tokens[0]: must have one of sha256, file and env; it has none\n"
        "weir.yml:3: tokens[1].file: /nonexistent/token cannot be opened: No such file or "
        "directory\n"
        "weir.yml:4: tokens[2].env: the environment has no variable CONFIG_TEST_NONE; export "
        "it first\n"
        "weir.yml:5: tokens[3]: must have one of sha256, file and env; it has several\n"
        "weir.yml:6: pools: there is none: no task could ever run\n");
    expect_faults(
        "tokens: [{name: a, role: read, sha256: my-secret}]\n" POOL,
        "weir.yml:1: tokens[0].sha256: must be 64 hexadecimal digits: printf %s \"$TOKEN\" | "
        "sha256sum\n");
}

static void what_is_no_yaml_is_told(void **state)
{
    (void)state;
    expect_faults(
        "pools:\n  - name: [a\n",
        "weir.yml:3: it is not YAML: did not find expected ',' or ']', while parsing a flow "
        "sequence\n");
    expect_faults("", "weir.yml: pools: there is none: no task could ever run\n");
    expect_faults("- a\n- b\n", "weir.yml:1: must be lines of \"field: value\"\n");
    expect_faults(POOL "---\npools: []\n",
                  "weir.yml:5: there is a second document; a configuration is one\n");
    expect_faults("store: \"a\\0b\"\n" POOL, "weir.yml:1: store: there is a NUL character in it\n");
    expect_faults("? [a]\n: b\n" POOL, "weir.yml:1: must be one value, not a list\n");
}

static void a_file_that_grows_by_its_anchors_is_refused(void **state)
{
    struct buf text = {0};
    struct config_faults faults = {0};
    struct config *c = NULL;
    struct weir_error err;

    (void)state;
    buf_puts(&text, "pools:\n  - &p {name: a, kind: command, command: &w [x");
    for (int i = 0; i < 1000; i++)
        buf_puts(&text, ", x");
    buf_puts(&text, "]}\n");
    for (int i = 0; i < 1000; i++)
        buf_puts(&text, "  - *p\n");
    assert_int_equal(config_parse("w", text.data, text.len, &c, &faults, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "more than 100000 values"));
    assert_int_equal(faults.count, 1);
    config_faults_free(&faults);
    buf_free(&text);
}

static void no_more_than_a_hundred_faults_are_told(void **state)
{
    struct buf text = {0}, told = {0};
    struct config_faults faults = {0};
    struct config *c = NULL;

    (void)state;
    for (int i = 0; i < 150; i++)
        buf_printf(&text, "zzz%d: 1\n", i);
    assert_int_equal(config_parse("w", text.data, text.len, &c, &faults, NULL), WEIR_E_INVALID);
    assert_int_equal(faults.count, CONFIG_FAULTS_MAX);
    assert_true(faults.more);
    config_faults_put(&faults, &told);
    assert_non_null(strstr(told.data, "w: there is more that is wrong\n"));
    config_faults_free(&faults);
    buf_free(&text);
    buf_free(&told);
}

static void files_that_cannot_be_read_are_told(void **state)
{
    char *dir = testkit_dir_make();
    char *path = testkit_path(dir, "large.yml");
    char *large = calloc(1, CONFIG_FILE_BYTES_MAX + 1);
    struct config *c = NULL;
    struct weir_error err;

    (void)state;
    assert_non_null(large);
    memset(large, '#', CONFIG_FILE_BYTES_MAX + 1);
    testkit_file_write(path, large, CONFIG_FILE_BYTES_MAX + 1);
    assert_int_equal(config_load(path, &c, NULL, &err), WEIR_E_LIMIT);
    assert_int_equal(config_load(dir, &c, NULL, &err), WEIR_E_IO);
    assert_int_equal(config_load("/nonexistent/weir.yml", &c, NULL, &err), WEIR_E_IO);
    assert_non_null(strstr(err.message, "/nonexistent/weir.yml"));
    assert_null(c);
    free(large);
    testkit_free(path);
    testkit_dir_remove(dir);
}

/* ---- memory ---- */

static void each_allocation_may_fail(void **state)
{
    static const char text[] =
        "listen: [\"unix:/run/w\", 127.0.0.1:1]\n"
        "tokens: [{name: a, role: read, env: CONFIG_TEST_TOKEN}]\n"
        "slots: [{name: d, paths: [/a, /b]}]\n"
        "pools: [{name: a, kind: command, command: 'a b {}', env: {A: b}}]\n";
    unsigned long n = 0;
    bool failed;

    (void)state;
    assert_int_equal(setenv("CONFIG_TEST_TOKEN", "x", 1), 0);
    do {
        struct config_faults faults = {0};
        struct config *c = NULL;
        enum weir_status status;

        mem_fail_at(++n);
        status = config_parse("w", text, sizeof text - 1, &c, &faults, NULL);
        failed = mem_has_failed();
        mem_fail_at(0);
        if (failed)
            assert_true(status == WEIR_E_NOMEM || status == WEIR_E_INVALID);
        else
            assert_int_equal(status, WEIR_OK);
        assert_int_equal(status == WEIR_OK, c != NULL);
        config_free(c);
        config_faults_free(&faults);
    } while (failed);
    assert_true(n > 50);
    (void)unsetenv("CONFIG_TEST_TOKEN");
}

static int clean_environment(void **state)
{
    (void)state;
    (void)unsetenv("STATE_DIRECTORY");
    (void)unsetenv("RUNTIME_DIRECTORY");
    (void)unsetenv("XDG_RUNTIME_DIR");
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_file_with_one_pool_has_defaults_for_all_else),
        cmocka_unit_test(kinds_of_pools_have_defaults_of_their_own),
        cmocka_unit_test(a_pool_takes_what_it_does_not_say_from_the_defaults),
        cmocka_unit_test(of_workers_only_what_is_said_of_trying_again_is_known),
        cmocka_unit_test(a_line_is_taken_apart_and_a_list_is_not),
        cmocka_unit_test(anchors_may_be_used),
        cmocka_unit_test(slots_have_as_many_places_as_paths),
        cmocka_unit_test(the_folders_of_systemd_are_used),
        cmocka_unit_test(tokens_come_from_files_and_the_environment),
        cmocka_unit_test(values_may_stand_for_a_variable),
        cmocka_unit_test(an_unknown_field_is_told_with_the_nearest_name),
        cmocka_unit_test(what_is_too_much_does_not_hide_what_contradicts),
        cmocka_unit_test(a_field_may_stand_once),
        cmocka_unit_test(values_of_the_wrong_type_are_told),
        cmocka_unit_test(values_out_of_range_are_told),
        cmocka_unit_test(what_must_be_there_and_is_not_is_told),
        cmocka_unit_test(a_field_of_another_kind_of_pool_is_told),
        cmocka_unit_test(names_must_be_there_and_be_one_of_a_kind),
        cmocka_unit_test(what_contradicts_is_told),
        cmocka_unit_test(slots_must_not_share_a_variable),
        cmocka_unit_test(where_requests_go_must_be_said_or_left_to_tasks),
        cmocka_unit_test(an_open_door_needs_tokens),
        cmocka_unit_test(tokens_that_cannot_be_had_are_told_without_them),
        cmocka_unit_test(what_is_no_yaml_is_told),
        cmocka_unit_test(a_file_that_grows_by_its_anchors_is_refused),
        cmocka_unit_test(no_more_than_a_hundred_faults_are_told),
        cmocka_unit_test(files_that_cannot_be_read_are_told),
        cmocka_unit_test(each_allocation_may_fail),
    };

    return cmocka_run_group_tests(tests, clean_environment, NULL);
}
