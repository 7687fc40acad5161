/* See program.h. */
#include "cli/input/program.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>

#include <jq.h>

/*
 * Put before every expression, on its first line so that line numbers in messages stay right. It
 * takes away what makes no sense for one row, and makes import and include, which must come first,
 * a syntax error.
 */
#define PRELUDE                                                                                    \
    "def input: error(\"input is not there: an expression sees one row\");"                        \
    "def inputs: input;"                                                                           \
    "def halt: error(\"halt would end the run\");"                                                 \
    "def halt_error: error(\"halt would end the run\");"                                           \
    "def halt_error($status): halt_error;"                                                         \
    "def debug: .;"                                                                                \
    "def stderr: .;"                                                                               \
    "def input_filename: null;"                                                                    \
    "def modulemeta: error(\"modules are not there\"); "

/* Bytes of a jq message that are kept. */
#define REASON_BYTES 256

struct path_step {
    char *name; /* NULL: an index */
    size_t name_len;
    size_t index;
};

struct program {
    const char *name;
    bool empty_is_null;
    bool is_path;
    struct path_step steps[PROGRAM_STEPS_MAX];
    size_t step_count;
    jq_state *jq; /* NULL for a path */
    char reason[REASON_BYTES];
};

/* ---- paths ---- */

static bool is_name_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static const char *skip_blanks(const char *at)
{
    while (*at == ' ' || *at == '\t' || *at == '\n' || *at == '\r')
        at++;
    return at;
}

static bool add_step(struct program *p, const char *name, size_t len, size_t index, bool *ret_nomem)
{
    struct path_step *step;

    if (p->step_count == PROGRAM_STEPS_MAX)
        return false;
    step = &p->steps[p->step_count];
    *step = (struct path_step){.name_len = len, .index = index};
    if (name) {
        step->name = mem_copy(name, len);
        if (!step->name) {
            *ret_nomem = true;
            return false;
        }
    }
    p->step_count++;
    return true;
}

/* "[0]" or `["name"]` at *at. */
static bool read_bracket(struct program *p, const char **at, bool *ret_nomem)
{
    const char *c = *at + 1;

    if (*c == '"') {
        const char *begin = ++c;
        while (*c && *c != '"' && *c != '\\')
            c++;
        if (*c != '"' || c[1] != ']') /* escapes and interpolation are jq's business */
            return false;
        *at = c + 2;
        return add_step(p, begin, (size_t)(c - begin), 0, ret_nomem);
    }
    if (is_digit(*c)) {
        size_t index = 0;
        for (; is_digit(*c); c++) {
            index = index * 10 + (size_t)(*c - '0');
            if (index > INT_MAX)
                return false;
        }
        if (*c != ']')
            return false;
        *at = c + 1;
        return add_step(p, NULL, 0, index, ret_nomem);
    }
    return false;
}

/*
 * Whether expr is a plain path; fills in the steps. The grammar is the part of jq's about which
 * there can be no doubt: "." | ("." NAME | "."? "[" INDEX | STRING "]")+, beginning with a dot.
 */
static bool read_path(struct program *p, const char *expr, bool *ret_nomem)
{
    const char *at = skip_blanks(expr);

    if (*at != '.')
        return false;
    if (*skip_blanks(at + 1) == '\0')
        return true;
    while (*at == '.' || *at == '[') {
        if (*at == '.' && is_name_start(at[1])) {
            const char *begin = ++at;
            while (is_name_start(*at) || is_digit(*at))
                at++;
            if (!add_step(p, begin, (size_t)(at - begin), 0, ret_nomem))
                return false;
            continue;
        }
        if (*at == '.' && p->step_count > 0) /* jq 1.6 takes ".[" only at the start */
            return false;
        if (*at == '.')
            at++;
        if (*at != '[' || !read_bracket(p, &at, ret_nomem))
            return false;
    }
    return *skip_blanks(at) == '\0';
}

static const char *kind_name(enum json_kind kind)
{
    switch (kind) {
    case JSON_NULL:
        return "null";
    case JSON_FALSE:
    case JSON_TRUE:
        return "a boolean";
    case JSON_NUMBER:
        return "a number";
    case JSON_STRING:
        return "a string";
    case JSON_ARRAY:
        return "an array";
    case JSON_OBJECT:
        return "an object";
    case JSON_NONE:
        break;
    }
    return "nothing";
}

static bool array_element(struct slice array, size_t index, struct slice *ret)
{
    struct json_iter it;
    struct slice key, value;
    size_t at = 0;

    json_iter_init(&it, array);
    while (json_iter_next(&it, &key, &value)) {
        if (at++ == index) {
            *ret = value;
            return true;
        }
    }
    return false;
}

static enum weir_status follow_path(const struct program *p, struct slice json, struct slice *ret,
                                    struct weir_error *err)
{
    struct slice value = json_trim(json);

    for (size_t i = 0; i < p->step_count; i++) {
        const struct path_step *step = &p->steps[i];
        enum json_kind kind = json_kind(value);
        bool found = false;

        if (kind == JSON_NULL)
            continue; /* null has null everywhere in it */
        if (step->name) {
            if (kind != JSON_OBJECT)
                return error_set(err, WEIR_E_FORMAT, "%s: .%.80s is asked of %s, not of an object",
                                 p->name, step->name, kind_name(kind));
            found = json_member(value, step->name, &value);
        } else {
            if (kind != JSON_ARRAY)
                return error_set(err, WEIR_E_FORMAT, "%s: [%zu] is asked of %s, not of an array",
                                 p->name, step->index, kind_name(kind));
            found = array_element(value, step->index, &value);
        }
        if (!found)
            value = SLICE("null");
    }
    *ret = value;
    return WEIR_OK;
}

/* ---- jq ---- */

/* Keeps the first line of the first message, without what jq's own command puts around it. */
static void on_jq_message(void *ctx, jv message)
{
    struct program *p = ctx;
    const char *text, *end;
    size_t len;

    if (p->reason[0] == '\0') {
        message = jq_format_error(message);
        if (jv_get_kind(message) == JV_KIND_STRING) {
            text = jv_string_value(message);
            if (strncmp(text, "jq: ", 4) == 0)
                text += 4;
            if (strncmp(text, "error: ", 7) == 0)
                text += 7;
            end = text + strcspn(text, "\n");
            while (end > text && (end[-1] == ':' || end[-1] == ' '))
                end--;
            len = (size_t)(end - text);
            if (len >= sizeof(p->reason))
                len = sizeof(p->reason) - 1;
            memcpy(p->reason, text, len);
            p->reason[len] = '\0';
        }
    }
    jv_free(message);
}

static void on_jq_debug(void *ctx, jv value)
{
    (void)ctx;
    jv_free(value);
}

static bool mentions_modules(const char *expr)
{
    expr = skip_blanks(expr);
    return strncmp(expr, "import ", 7) == 0 || strncmp(expr, "include ", 8) == 0;
}

static enum weir_status compile(struct program *p, const char *expr, struct weir_error *err)
{
    struct buf source = {0};
    int compiled;

    p->jq = jq_init();
    if (!p->jq)
        return error_nomem(err);
    jq_set_error_cb(p->jq, on_jq_message, p);
    jq_set_debug_cb(p->jq, on_jq_debug, NULL);
    /* Unset, these are invalid values, which not every path in jq 1.6 expects. */
    jq_set_attr(p->jq, jv_string("JQ_LIBRARY_PATH"), jv_array());
    jq_set_attr(p->jq, jv_string("JQ_ORIGIN"), jv_string("."));
    jq_set_attr(p->jq, jv_string("PROGRAM_ORIGIN"), jv_string("."));

    buf_puts(&source, PRELUDE);
    buf_puts(&source, expr);
    if (source.failed) {
        buf_free(&source);
        return error_nomem(err);
    }
    compiled = jq_compile(p->jq, source.data);
    buf_free(&source);
    if (!compiled)
        return error_set(err, WEIR_E_INVALID, "%s: the jq expression does not compile: %s%s",
                         p->name, p->reason[0] ? p->reason : "jq gives no reason",
                         mentions_modules(expr) ? " (import and include cannot be used here)" : "");
    return WEIR_OK;
}

/* What jq said when it stopped: consumes `end`, the invalid value that jq_next gave last. False: it
 * came to its end without an error. */
static bool take_jq_error(struct program *p, jv end)
{
    jv message;

    p->reason[0] = '\0';
    if (!jv_invalid_has_msg(jv_copy(end))) {
        jv_free(end);
        return false;
    }
    message = jv_invalid_get_msg(end);
    if (jv_get_kind(message) != JV_KIND_STRING)
        message = jv_dump_string(message, 0);
    (void)snprintf(p->reason, sizeof(p->reason), "%s", jv_string_value(message));
    p->reason[strcspn(p->reason, "\n")] = '\0';
    jv_free(message);
    return true;
}

/* Appends one value of jq's in the given form; consumes it. */
static enum weir_status put_jv(struct program *p, jv value, enum program_form form, struct buf *out,
                               struct weir_error *err)
{
    jv_kind kind = jv_get_kind(value);
    jv text;

    if (form == PROGRAM_TEXT && kind == JV_KIND_STRING) {
        buf_put(out, jv_string_value(value), (size_t)jv_string_length_bytes(jv_copy(value)));
        jv_free(value);
        return WEIR_OK;
    }
    if (form == PROGRAM_TEXT && kind != JV_KIND_NUMBER) {
        const char *name = jv_kind_name(kind);
        jv_free(value);
        return error_set(err, WEIR_E_FORMAT, "%s: gives %s; it must give a string or a number",
                         p->name, name);
    }
    text = jv_dump_string(value, 0);
    buf_put(out, jv_string_value(text), (size_t)jv_string_length_bytes(jv_copy(text)));
    jv_free(text);
    return WEIR_OK;
}

static enum weir_status run_jq(struct program *p, struct slice json, enum program_form form,
                               struct buf *out, struct weir_error *err)
{
    enum weir_status status;
    jv first, second, input;

    if (json.len > INT_MAX)
        return error_set(err, WEIR_E_LIMIT, "%s: a text of %zu bytes is more than jq can read",
                         p->name, json.len);
    input = jv_parse_sized(json.data, (int)json.len);
    if (!jv_is_valid(input)) {
        (void)take_jq_error(p, input);
        return error_set(err, WEIR_E_FORMAT, "%s: jq cannot read it: %s", p->name, p->reason);
    }
    jq_start(p->jq, input, 0);
    first = jq_next(p->jq);
    if (!jv_is_valid(first)) {
        if (take_jq_error(p, first))
            return error_set(err, WEIR_E_FORMAT, "%s: %s", p->name, p->reason);
        if (jq_halted(p->jq))
            return error_set(err, WEIR_E_FORMAT, "%s: the expression halts", p->name);
        if (!p->empty_is_null)
            return error_set(err, WEIR_E_FORMAT,
                             "%s: gives no value; it must give exactly one (... // null)", p->name);
        first = jv_null();
        return put_jv(p, first, form, out, err);
    }
    second = jq_next(p->jq);
    if (jv_is_valid(second)) {
        jv_free(first);
        jv_free(second);
        return error_set(err, WEIR_E_FORMAT,
                         "%s: gives more than one value; use first(...) or [...]", p->name);
    }
    if (take_jq_error(p, second)) {
        jv_free(first);
        return error_set(err, WEIR_E_FORMAT, "%s: %s", p->name, p->reason);
    }
    status = put_jv(p, first, form, out, err);
    return status;
}

/* ---- both ---- */

static enum weir_status run_path(struct program *p, struct slice json, enum program_form form,
                                 struct buf *out, struct weir_error *err)
{
    enum weir_status status;
    struct slice value;
    enum json_kind kind;

    status = follow_path(p, json, &value, err);
    if (status != WEIR_OK)
        return status;
    kind = json_kind(value);
    if (form == PROGRAM_JSON)
        json_put_oneline(out, value);
    else if (kind == JSON_STRING)
        json_unquote(value, out);
    else if (kind == JSON_NUMBER)
        buf_put_slice(out, value);
    else
        return error_set(err, WEIR_E_FORMAT, "%s: gives %s; it must give a string or a number",
                         p->name, kind_name(kind));
    return WEIR_OK;
}

enum weir_status program_run(struct program *p, struct slice json, enum program_form form,
                             struct buf *out, struct weir_error *err)
{
    size_t before = out->len;
    enum weir_status status;

    if (out->failed)
        return error_nomem(err);
    status = p->is_path ? run_path(p, json, form, out, err) : run_jq(p, json, form, out, err);
    if (status == WEIR_OK && out->failed)
        status = error_nomem(err);
    if (status != WEIR_OK && out->data) {
        out->len = before;
        out->data[before] = '\0';
    }
    return status;
}

enum weir_status program_new(const struct program_options *o, struct program **ret,
                             struct weir_error *err)
{
    struct program *p;
    enum weir_status status = WEIR_OK;
    bool nomem = false;

    assert(o->name && o->expr);
    if (*skip_blanks(o->expr) == '\0')
        return error_set(err, WEIR_E_INVALID,
                         "%s: the jq expression is empty; . stands for the whole", o->name);
    if (strlen(o->expr) > PROGRAM_EXPR_BYTES_MAX)
        return error_set(err, WEIR_E_LIMIT, "%s: the jq expression is longer than %d bytes",
                         o->name, PROGRAM_EXPR_BYTES_MAX);
    p = mem_calloc(1, sizeof(*p));
    if (!p)
        return error_nomem(err);
    p->name = o->name;
    p->empty_is_null = o->empty_is_null;
    p->is_path = read_path(p, o->expr, &nomem);
    if (nomem)
        status = error_nomem(err);
    else if (!p->is_path)
        status = compile(p, o->expr, err);
    if (status != WEIR_OK) {
        program_free(p);
        return status;
    }
    *ret = p;
    return WEIR_OK;
}

bool program_is_path(const struct program *p)
{
    return p->is_path;
}

void program_free(struct program *p)
{
    if (!p)
        return;
    for (size_t i = 0; i < p->step_count; i++)
        mem_free(p->steps[i].name);
    if (p->jq)
        jq_teardown(&p->jq);
    mem_free(p);
}
