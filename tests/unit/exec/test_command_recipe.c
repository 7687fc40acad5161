/*
 * What command is made of a task's payload: of the pool's own command line, or of a payload that
 * names one; and what is said of a payload that is wrong.
 */
#include "base/mem.h"
#include "exec/command/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

static struct command_recipe *recipe_of(struct command_recipe_options o)
{
    struct command_recipe *r;
    struct weir_error err = {0};

    if (command_recipe_new(&o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return r;
}

static struct command_launch *make_slice(const struct command_recipe *r, struct slice payload)
{
    struct command_launch *l;
    struct weir_error err = {0};
    char *copy = malloc(payload.len + 1);

    /* It must outlive the payload. */
    assert_non_null(copy);
    if (payload.len > 0)
        memcpy(copy, payload.data, payload.len);
    if (command_recipe_make(r, (struct slice){copy, payload.len}, 12, &l, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    free(copy);
    return l;
}

static struct command_launch *make(const struct command_recipe *r, const char *payload)
{
    return make_slice(r, slice_of(payload));
}

static void refuses(const struct command_recipe *r, struct slice payload, const char *part)
{
    struct command_launch *l = NULL;
    struct weir_error err = {0};

    assert_int_equal(command_recipe_make(r, payload, 1, &l, &err), WEIR_E_FORMAT);
    assert_null(l);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

/* words: with | between. */
static void assert_words(char *const *list, const char *words)
{
    char joined[1024] = "";

    for (size_t i = 0; list[i]; i++) {
        strcat(joined, i > 0 ? "|" : "");
        strcat(joined, list[i]);
    }
    assert_string_equal(joined, words);
}

static void assert_input(const struct command_launch *l, const char *text)
{
    assert_true(l->has_input);
    assert_int_equal(l->input.len, strlen(text));
    assert_memory_equal(l->input.data, text, strlen(text));
}

/* ---- the pool's own command line ---- */

static void placeholders_are_filled_in(void **state)
{
    static const char *const argv[] = {
        "resize", "--to={width}x{height}", "{name}", "{}", "#{#}", "{inner}", NULL};
    struct command_recipe *r = recipe_of((struct command_recipe_options){.argv = argv});
    const char *payload =
        "{\"width\": 640, \"height\":4.80, \"name\":\"it's \\u00fc\",\"inner\":[1, 2]}";
    struct command_launch *l = make(r, payload);
    char expected[256];

    (void)state;
    snprintf(expected, sizeof expected, "resize|--to=640x4.80|it's \xC3\xBC|%s|#12|[1, 2]",
             payload);
    assert_words(l->argv, expected);
    assert_false(l->has_input);
    assert_null(l->dir);
    assert_null(l->env[0]);
    mem_free(l);
    command_recipe_free(r);
}

static void a_payload_that_is_a_string_is_put_in_as_its_text(void **state)
{
    static const char *const argv[] = {"echo", "<{}>", NULL};
    struct command_recipe *r = recipe_of((struct command_recipe_options){.argv = argv});
    struct command_launch *l = make(r, " \"two\\nlines\" ");

    (void)state;
    assert_words(l->argv, "echo|<two\nlines>");
    mem_free(l);
    l = make(r, "not JSON {");
    assert_words(l->argv, "echo|<not JSON {>");
    mem_free(l);
    l = make(r, "");
    assert_words(l->argv, "echo|<>");
    mem_free(l);
    command_recipe_free(r);
}

static void a_payload_that_nothing_takes_is_standard_input(void **state)
{
    static const char *const argv[] = {"jq", ".a", NULL}, *const own[] = {"awk", "{ print }", NULL};
    struct command_recipe *r = recipe_of((struct command_recipe_options){.argv = argv});
    struct command_launch *l = make(r, " {\"a\": 1.0}\n");

    (void)state;
    assert_words(l->argv, "jq|.a");
    assert_input(l, " {\"a\": 1.0}\n"); /* byte for byte */
    mem_free(l);
    l = make_slice(r, SLICE("a\0b"));
    assert_int_equal(l->input.len, 3);
    mem_free(l);
    l = make(r, " \"two\\nlines\"");
    assert_input(l, "two\nlines"); /* of a string its text */
    mem_free(l);
    command_recipe_free(r);
    /* Braces with more than a name in them are the command's own. */
    r = recipe_of((struct command_recipe_options){.argv = own});
    l = make(r, "some lines");
    assert_words(l->argv, "awk|{ print }");
    assert_input(l, "some lines");
    mem_free(l);
    command_recipe_free(r);
}

static void fields_are_asked_of_nothing_but_an_object(void **state)
{
    static const char *const plain[] = {"echo", "{name}", NULL},
                             *const both[] = {"echo", "{}", "{name.in}", NULL},
                             *const line[] = {"echo {name} | wc", NULL},
                             *const shells[] = {"echo ${name}", NULL};
    const struct command_recipe_options o[] = {
        {.argv = plain}, {.argv = both}, {.argv = line, .shell = true}};
    struct command_recipe *r;
    struct command_launch *l;

    (void)state;
    for (size_t i = 0; i < sizeof o / sizeof *o; i++) {
        r = recipe_of(o[i]);
        refuses(r, SLICE("\"text\""), "the payload is no JSON object");
        refuses(r, SLICE("[1]"), "the payload is no JSON object");
        refuses(r, SLICE("not json"), "asks for fields of it");
        refuses(r, SLICE(""), "the payload is no JSON object");
        refuses(r, SLICE("{\"a\":1}"), "no field \"name");
        command_recipe_free(r);
    }
    r = recipe_of((struct command_recipe_options){.argv = shells, .shell = true});
    l = make(r, "text");
    assert_string_equal(l->argv[2], "echo ${name}");
    mem_free(l);
    command_recipe_free(r);
}

static void what_goes_into_a_script_is_quoted(void **state)
{
    static const char *const argv[] = {"printf %s {name} | wc -c", NULL};
    struct command_recipe *r =
        recipe_of((struct command_recipe_options){.argv = argv, .shell = true});
    struct command_launch *l = make(r, "{\"name\":\"$(rm -rf /); '\"}");

    (void)state;
    assert_string_equal(l->argv[0], "/bin/sh");
    assert_string_equal(l->argv[1], "-c");
    assert_non_null(strstr(l->argv[2], "printf %s '$(rm -rf /); '"));
    mem_free(l);
    command_recipe_free(r);
}

static void what_no_argument_can_hold_is_refused(void **state)
{
    static const char *const argv[] = {"echo", "{}", NULL}, *const first[] = {"{2}", NULL};
    struct command_recipe *r = recipe_of((struct command_recipe_options){.argv = argv});

    (void)state;
    refuses(r, SLICE("a\0b"), "holds a NUL byte");
    refuses(r, SLICE("\"a\\u0000b\""), "standard input");
    command_recipe_free(r);
    r = recipe_of((struct command_recipe_options){.argv = first});
    refuses(r, SLICE("x"), "no word at all");
    command_recipe_free(r);
}

static void a_pool_sets_folder_and_environment(void **state)
{
    static const char *const argv[] = {"env", NULL}, *const env[] = {"A=1", "B=x=y", NULL};
    struct command_recipe *r =
        recipe_of((struct command_recipe_options){.argv = argv, .env = env, .dir = "/var/spool"});
    struct command_launch *l = make(r, "null");

    (void)state;
    assert_words(l->env, "A=1|B=x=y");
    assert_string_equal(l->dir, "/var/spool");
    command_recipe_free(r);
    assert_words(l->argv, "env"); /* it outlives the recipe */
    mem_free(l);
}

/* ---- a payload that names the command ---- */

static void a_payload_names_its_command(void **state)
{
    static const char *const env[] = {"POOL=1", NULL};
    struct command_recipe *r =
        recipe_of((struct command_recipe_options){.env = env, .dir = "/pool"});
    struct command_launch *l =
        make(r, "{\"argv\":[\"prog\",\"\",\"{}\",\"\\u00fc\"],\"stdin\":\"a\\u0000b\\n\","
                "\"env\":{\"K\":\"v=w\",\"GONE\":null,\"\\u0045\":\"\"},\"cwd\":\"/dir\"}");

    (void)state;
    assert_words(l->argv, "prog||{}|\xC3\xBC"); /* as it is */
    assert_words(l->env, "POOL=1|K=v=w|GONE|E=");
    assert_string_equal(l->dir, "/dir");
    assert_true(l->has_input);
    assert_int_equal(l->input.len, 4);
    assert_memory_equal(l->input.data, "a\0b\n", 4);
    mem_free(l);
    l = make(r, " {\"shell\":\"echo $HOME | wc\"} ");
    assert_words(l->argv, "/bin/sh|-c|echo $HOME | wc");
    assert_string_equal(l->dir, "/pool");
    assert_false(l->has_input);
    mem_free(l);
    command_recipe_free(r);
}

static void what_is_wrong_with_a_payload_is_named(void **state)
{
    static const struct {
        const char *payload, *part;
    } cases[] = {
        {"", "the payload is not JSON"},
        {"{\"argv\":[\"a\"]", "the payload is not JSON"},
        {"\"ls\"", "the payload is a string; it must be an object"},
        {"[\"ls\"]", "the payload is an array"},
        {"{}", "names no command"},
        {"{\"stdin\":\"x\"}", "names no command"},
        {"{\"argv\":[\"a\"],\"shell\":\"b\"}", "both \"argv\" and \"shell\""},
        {"{\"argv\":\"ls\"}", "\"argv\" of the payload is a string; it must be an array"},
        {"{\"argv\":[]}", "\"argv\" of the payload is empty"},
        {"{\"argv\":[\"\"]}", "\"argv[0]\" of the payload is empty"},
        {"{\"argv\":[\"head\",\"-n\",5]}",
         "\"argv[2]\" of the payload is a number; it must be a string"},
        {"{\"argv\":[\"a\\u0000b\"]}", "\"argv[0]\" of the payload holds a NUL"},
        {"{\"shell\":[\"a\"]}", "\"shell\" of the payload is an array"},
        {"{\"shell\":\"a\",\"stdin\":{}}", "\"stdin\" of the payload is an object"},
        {"{\"shell\":\"a\",\"env\":[\"K=v\"]}", "\"env\" of the payload is an array"},
        {"{\"shell\":\"a\",\"env\":{\"K\":1}}", "\"env.K\" of the payload is a number"},
        {"{\"shell\":\"a\",\"env\":{\"A=B\":\"c\"}}",
         "\"env.A=B\" of the payload is no name of a variable"},
        {"{\"shell\":\"a\",\"env\":{\"\":\"c\"}}", "is no name of a variable"},
        {"{\"shell\":\"a\",\"env\":{\"K\":\"\\u0000\"}}", "\"env.K\" of the payload holds a NUL"},
        {"{\"shell\":\"a\",\"cwd\":\"here\"}", "\"cwd\" of the payload is no absolute path"},
        {"{\"shell\":\"a\",\"cwd\":\"\"}", "\"cwd\" of the payload is no absolute path"},
        {"{\"shell\":\"a\",\"cwd\":7}", "\"cwd\" of the payload is a number"},
        {"{\"args\":[\"a\"]}", "a field \"args\", which no command has"},
    };
    struct command_recipe *r = recipe_of((struct command_recipe_options){0});

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        refuses(r, slice_of(cases[i].payload), cases[i].part);
    command_recipe_free(r);
}

static void a_recipe_that_cannot_be_is_refused(void **state)
{
    static const char *const none[] = {NULL}, *const empty[] = {"", NULL},
                             *const place[] = {"echo", "{%}", NULL},
                             *const bad_env[] = {"=x", NULL};
    static const struct {
        struct command_recipe_options o;
        const char *part;
    } cases[] = {
        {{.argv = none}, "there is no command"},
        {{.argv = empty}, "the first word of the command is empty"},
        {{.argv = place}, "WEIR_SLOT"},
        {{.env = bad_env}, "write NAME=value"},
    };

    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct weir_error err = {0};
        struct command_recipe *r;

        assert_int_equal(command_recipe_new(&cases[i].o, &r, &err), WEIR_E_INVALID);
        if (!strstr(err.message, cases[i].part))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].part);
    }
}

static void an_attempt_runs_what_was_made(void **state)
{
    struct command_recipe *r = recipe_of((struct command_recipe_options){0});
    struct command_launch *l = make(r, "{\"argv\":[\"x\"],\"stdin\":\"y\"}"), got = {0};
    struct core_attempt a = {.payload = l};

    (void)state;
    assert_true(command_recipe_prepare(NULL, &a, 3, &got, &a.answer));
    assert_memory_equal(&got, l, sizeof got);
    mem_free(l);
    command_recipe_free(r);
}

/* ---- memory ---- */

static bool try_all(const char *const *argv, const char *payload)
{
    static const char *const env[] = {"A=b", NULL};
    struct command_recipe_options o = {.argv = argv, .env = env, .dir = "/x"};
    struct command_recipe *r;
    struct command_launch *l;
    enum weir_status status = command_recipe_new(&o, &r, NULL);

    if (status != WEIR_OK) {
        assert_int_equal(status, WEIR_E_NOMEM);
        return false;
    }
    status = command_recipe_make(r, slice_of(payload), 1, &l, NULL);
    command_recipe_free(r);
    if (status != WEIR_OK) {
        assert_int_equal(status, WEIR_E_NOMEM);
        return false;
    }
    mem_free(l);
    return true;
}

static void any_lack_of_memory_is_an_error(void **state)
{
    static const char *const argv[] = {"echo", "{name}", "{}", NULL};
    static const char *const payloads[] = {
        "{\"name\":\"x\"}",
        "{\"argv\":[\"a\",\"b\"],\"stdin\":\"c\",\"env\":{\"K\":\"v\"},\"cwd\":\"/d\"}"};

    (void)state;
    for (int i = 0; i < 2; i++) {
        bool failed = true;

        for (uint64_t n = 1; failed; n++) {
            bool made;

            mem_fail_at(n);
            made = try_all(i == 0 ? argv : NULL, payloads[i]);
            failed = mem_has_failed() != 0;
            mem_fail_at(0);
            assert_int_equal(made, !failed);
            assert_true(n < 100);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(placeholders_are_filled_in),
        cmocka_unit_test(a_payload_that_is_a_string_is_put_in_as_its_text),
        cmocka_unit_test(a_payload_that_nothing_takes_is_standard_input),
        cmocka_unit_test(fields_are_asked_of_nothing_but_an_object),
        cmocka_unit_test(what_goes_into_a_script_is_quoted),
        cmocka_unit_test(what_no_argument_can_hold_is_refused),
        cmocka_unit_test(a_pool_sets_folder_and_environment),
        cmocka_unit_test(a_payload_names_its_command),
        cmocka_unit_test(what_is_wrong_with_a_payload_is_named),
        cmocka_unit_test(a_recipe_that_cannot_be_is_refused),
        cmocka_unit_test(an_attempt_runs_what_was_made),
        cmocka_unit_test(any_lack_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
