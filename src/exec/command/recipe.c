/* See recipe.h. */
#include "exec/command/recipe.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "exec/recipe/payload.h"
#include "exec/template/template.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

struct command_recipe {
    struct argvec words, env;
    const char *const *env_list;
    struct template *line; /* NULL: payloads name their commands */
    char *dir;
};

/* What is gathered before it is laid out in one piece. */
struct draft {
    struct argvec argv, env;
    struct buf dir, input, scratch;
    bool has_input;
};

static void draft_free(struct draft *d)
{
    argvec_free(&d->argv);
    argvec_free(&d->env);
    buf_free(&d->dir);
    buf_free(&d->input);
    buf_free(&d->scratch);
}

/* ---- the recipe ---- */

static enum weir_status compile(struct command_recipe *r, const struct command_recipe_options *o,
                                struct weir_error *err)
{
    struct template_options t = {.shell = o->shell};
    enum weir_status status;

    for (const char *const *word = o->argv; *word; word++)
        argvec_add(&r->words, slice_of(*word));
    t.words = argvec_argv(&r->words);
    t.word_count = r->words.count;
    if (!t.words)
        return error_nomem(err);
    if (t.word_count > 0 && !*t.words[0])
        return error_set(err, WEIR_E_INVALID,
                         "the first word of the command is empty; it names a program");
    status = template_new(&t, &r->line, err);
    if (status == WEIR_OK && template_wants_place(r->line))
        return error_set(err, WEIR_E_INVALID,
                         "{%%} is not known yet when the command line is made; the command has it "
                         "in its environment, as WEIR_SLOT");
    return status;
}

enum weir_status command_recipe_new(const struct command_recipe_options *o,
                                    struct command_recipe **ret, struct weir_error *err)
{
    struct command_recipe *r = mem_calloc(1, sizeof *r);
    enum weir_status status = WEIR_OK;

    if (!r)
        return error_nomem(err);
    for (const char *const *e = o->env; e && *e; e++) {
        if (status == WEIR_OK && (**e == '=' || !**e))
            status = error_set(err, WEIR_E_INVALID,
                               "'%.60s' is no variable of the environment: write NAME=value", *e);
        argvec_add(&r->env, slice_of(*e));
    }
    r->env_list = argvec_argv(&r->env);
    r->dir = o->dir ? mem_strdup(o->dir) : NULL;
    if (status == WEIR_OK && (!r->env_list || (o->dir && !r->dir)))
        status = error_nomem(err);
    if (status == WEIR_OK && o->argv)
        status = compile(r, o, err);
    if (status != WEIR_OK) {
        command_recipe_free(r);
        return status;
    }
    *ret = r;
    return WEIR_OK;
}

struct command_recipe *command_recipe_free(struct command_recipe *r)
{
    if (!r)
        return NULL;
    template_free(r->line);
    argvec_free(&r->words);
    argvec_free(&r->env);
    mem_free(r->dir);
    return mem_free(r);
}

/* ---- of a command line with placeholders ---- */

static enum weir_status fill_in(const struct command_recipe *r, struct slice payload,
                                uint64_t number, struct draft *d, struct weir_error *err)
{
    bool is_json = json_check(payload, NULL);
    struct slice text = is_json ? json_trim(payload) : payload;
    bool is_string = is_json && json_kind(text) == JSON_STRING;
    struct template_row row = {.number = number, .columns = &row.text, .column_count = 1};

    row.text = text;
    if (is_json && json_kind(text) == JSON_OBJECT)
        row.object = text;
    if (is_string) {
        json_unquote(text, &d->scratch);
        row.text = buf_slice(&d->scratch);
    }
    if (d->scratch.failed)
        return error_nomem(err);
    if (row.object.len == 0 && template_wants_fields(r->line))
        return error_set(err, WEIR_E_FORMAT,
                         "the payload is no JSON object, and the pool's command asks for fields of "
                         "it; { name } with spaces is a brace of its own");
    if (!template_takes(r->line, &row)) {
        d->has_input = true;
        buf_put_slice(&d->input, is_string ? row.text : payload);
    } else if (row.text.len > 0 && memchr(row.text.data, '\0', row.text.len)) {
        return error_set(err, WEIR_E_FORMAT,
                         "the payload holds a NUL byte, which no argument of a command can; a "
                         "command line without {} has the payload as its standard input");
    }
    return template_expand(r->line, &row, &d->argv, err);
}

/* ---- of a payload that names the command ---- */

static enum weir_status take_argv(struct slice value, struct draft *d, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct json_iter it;
    struct slice key, word;
    char name[32];

    if (json_kind(value) != JSON_ARRAY)
        return error_set(err, WEIR_E_FORMAT,
                         "\"argv\" of the payload is %s; it must be an array of strings, the "
                         "program first",
                         payload_kind(value));
    json_iter_init(&it, value);
    while (status == WEIR_OK && json_iter_next(&it, &key, &word)) {
        size_t at = d->argv.bytes.len;

        snprintf(name, sizeof name, "argv[%zu]", d->argv.count);
        status = payload_take_string(name, word, false, &d->argv.bytes, err);
        if (status == WEIR_OK && d->argv.count == 0 && d->argv.bytes.len == at)
            status = error_set(err, WEIR_E_FORMAT,
                               "\"argv[0]\" of the payload is empty; it names the program");
        argvec_end(&d->argv);
    }
    if (status == WEIR_OK && d->argv.count == 0)
        return error_set(err, WEIR_E_FORMAT,
                         "\"argv\" of the payload is empty; its first word is the program");
    return status;
}

static enum weir_status take_shell(struct slice value, struct draft *d, struct weir_error *err)
{
    enum weir_status status;

    argvec_add(&d->argv, SLICE("/bin/sh"));
    argvec_add(&d->argv, SLICE("-c"));
    status = payload_take_string("shell", value, false, &d->argv.bytes, err);
    argvec_end(&d->argv);
    return status;
}

/* One variable: NAME=value, or a NAME alone, which takes it away. */
static enum weir_status take_variable(struct slice key, struct slice value, struct draft *d,
                                      struct weir_error *err)
{
    char name[PAYLOAD_NAME_SHOWN_MAX + 8];
    size_t at = d->env.bytes.len, len;
    enum weir_status status;

    snprintf(name, sizeof name, "env.%.*s", payload_shown(key.len - 2), key.data + 1);
    status = payload_take_string(name, key, false, &d->env.bytes, err);
    len = d->env.bytes.len - at;
    if (status == WEIR_OK && (len == 0 || memchr(d->env.bytes.data + at, '=', len)))
        return error_set(
            err, WEIR_E_FORMAT,
            "\"%s\" of the payload is no name of a variable: it is empty, or has =", name);
    if (status == WEIR_OK && json_kind(value) != JSON_NULL) {
        argvec_put(&d->env, SLICE("="));
        status = payload_take_string(name, value, false, &d->env.bytes, err);
    }
    argvec_end(&d->env);
    return status;
}

static enum weir_status take_env(struct slice value, struct draft *d, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct json_iter it;
    struct slice key, text;

    if (json_kind(value) != JSON_OBJECT)
        return error_set(err, WEIR_E_FORMAT,
                         "\"env\" of the payload is %s; it must be an object of names and strings",
                         payload_kind(value));
    json_iter_init(&it, value);
    while (status == WEIR_OK && json_iter_next(&it, &key, &text))
        status = take_variable(key, text, d, err);
    return status;
}

static enum weir_status take_cwd(struct slice value, struct draft *d, struct weir_error *err)
{
    enum weir_status status = payload_take_string("cwd", value, false, &d->dir, err);

    if (status == WEIR_OK && (d->dir.len == 0 || d->dir.data[0] != '/'))
        return error_set(err, WEIR_E_FORMAT,
                         "\"cwd\" of the payload is no absolute path; it must begin with /");
    return status;
}

enum { ARGV, SHELL, STDIN, ENV, CWD, MEMBERS };

static enum weir_status take_command(const struct json_wanted m[MEMBERS], struct draft *d,
                                     struct weir_error *err)
{
    bool argv = m[ARGV].value.len > 0, shell = m[SHELL].value.len > 0;

    if (argv && shell)
        return error_set(err, WEIR_E_FORMAT,
                         "the payload has both \"argv\" and \"shell\"; write one of them");
    if (!argv && !shell)
        return error_set(
            err, WEIR_E_FORMAT,
            "the payload names no command; write {\"argv\":[\"program\",\"word\"]}, or "
            "{\"shell\":\"line\"}");
    return argv ? take_argv(m[ARGV].value, d, err) : take_shell(m[SHELL].value, d, err);
}

static enum weir_status read_payload(struct slice payload, struct draft *d, struct weir_error *err)
{
    static const struct payload_form form = {
        .says = "names the command, as {\"argv\":[\"program\",\"word\"]}",
        .nobody = "no command",
        .members = "\"argv\" or \"shell\", and \"stdin\", \"env\", \"cwd\"",
    };
    struct json_wanted m[MEMBERS] = {
        [ARGV] = {.name = SLICE("argv")},   [SHELL] = {.name = SLICE("shell")},
        [STDIN] = {.name = SLICE("stdin")}, [ENV] = {.name = SLICE("env")},
        [CWD] = {.name = SLICE("cwd")},
    };
    enum weir_status status = payload_read(&form, payload, m, MEMBERS, err);

    if (status == WEIR_OK)
        status = take_command(m, d, err);
    d->has_input = m[STDIN].value.len > 0;
    if (status == WEIR_OK && d->has_input)
        status = payload_take_string("stdin", m[STDIN].value, true, &d->input, err);
    if (status == WEIR_OK && m[ENV].value.len > 0)
        status = take_env(m[ENV].value, d, err);
    if (status == WEIR_OK && m[CWD].value.len > 0)
        status = take_cwd(m[CWD].value, d, err);
    return status;
}

/* ---- in one piece ---- */

static char *put_bytes(char *at, const void *bytes, size_t len)
{
    if (len > 0)
        memcpy(at, bytes, len);
    return at + len;
}

/* The words behind `at`, and the list of them; returns what is behind the words. */
static char *put_words(char *at, const struct argvec *words, char **list)
{
    char *end = put_bytes(at, words->bytes.data, words->bytes.len);

    for (size_t i = 0; i < words->count; i++) {
        list[i] = at;
        at += strlen(at) + 1;
    }
    list[words->count] = NULL;
    return end;
}

/* NULL: no memory. */
static struct command_launch *lay_out(const struct command_recipe *r, const struct draft *d)
{
    size_t lists = d->argv.count + d->env.count + 2;
    const char *dir = d->dir.len > 0 ? d->dir.data : r->dir;
    size_t dir_len = d->dir.len > 0 ? d->dir.len : r->dir ? strlen(r->dir) : 0;
    struct command_launch *l;
    char **argv, *at;

    if (d->argv.bytes.failed || d->env.bytes.failed || d->dir.failed || d->input.failed)
        return NULL;
    l = mem_alloc(sizeof *l + lists * sizeof(char *) + d->argv.bytes.len + d->env.bytes.len +
                  dir_len + 1 + d->input.len);
    if (!l)
        return NULL;
    argv = (char **)(l + 1);
    *l = (struct command_launch){.argv = argv, .env = argv + d->argv.count + 1};
    at = put_words((char *)(argv + lists), &d->argv, argv);
    at = put_words(at, &d->env, argv + d->argv.count + 1);
    l->dir = dir ? at : NULL;
    at = put_bytes(at, dir, dir_len);
    *at++ = '\0';
    l->has_input = d->has_input;
    l->input = (struct slice){at, d->input.len};
    put_bytes(at, d->input.data, d->input.len);
    return l;
}

enum weir_status command_recipe_make(const struct command_recipe *r, struct slice payload,
                                     uint64_t number, struct command_launch **ret,
                                     struct weir_error *err)
{
    struct draft d = {0};
    enum weir_status status;
    struct command_launch *l;

    for (const char *const *e = r->env_list; *e; e++)
        argvec_add(&d.env, slice_of(*e));
    status = r->line ? fill_in(r, payload, number, &d, err) : read_payload(payload, &d, err);
    if (status == WEIR_OK && d.argv.count == 0)
        status =
            error_set(err, WEIR_E_FORMAT, "with this payload the command line has no word at all");
    if (status == WEIR_OK) {
        l = lay_out(r, &d);
        if (l)
            *ret = l;
        else
            status = error_nomem(err);
    }
    draft_free(&d);
    return status;
}

bool command_recipe_prepare(void *ctx, const struct core_attempt *attempt, unsigned place,
                            struct command_launch *launch, struct core_answer *answer)
{
    const struct command_launch *made = attempt->payload;

    (void)ctx;
    (void)place;
    (void)answer;
    assert(made && made->argv[0]);
    *launch = *made;
    return true;
}
