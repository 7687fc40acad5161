/*
 * Runs of commands: what is run for a row, and what is made before the first one is.
 *
 * A row's fields are in the environment of its command as WEIR_ROW_name, never as their bare names:
 * a row must not decide which programs are found (PATH) or what is loaded into them (LD_PRELOAD).
 */
#include "exec/command/command.h"
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/command/find.h"
#include "cli/run/run.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define FIELD_PREFIX "WEIR_ROW_"
/* What of a row's fields goes into the environment: the kernel takes 128 KiB for one variable, and a quarter of the stack
 * for all, arguments included. A field that does not fit is left out; the command can have it as its standard input. */
#define FIELD_BYTES_MAX  ((size_t)64 << 10)
#define FIELDS_BYTES_MAX ((size_t)256 << 10)

/* ---- before the first row ---- */

static enum weir_status compile(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    const struct run_command_options *c = &o->command;
    static const char *const whole[] = {"{}"};
    struct template_options words = {.words = c->words.items,
                                     .word_count = c->words.count,
                                     .replace = c->replace,
                                     .shell = o->shell,
                                     .append = !c->stdin_row};
    struct template_options tag = {.words = &c->tagstring, .word_count = 1};
    enum weir_status status = template_new(&words, &r->words, err);

    if (!c->tagstring)
        tag.words = whole;
    if (status == WEIR_OK && (c->tag || c->tagstring))
        status = template_new(&tag, &r->tag, err);
    return status;
}

/* One word that is a line for a shell, which GNU parallel would ask one for: its first part is a program. */
static enum weir_status refuse_line(const struct run_options *o, struct weir_error *err)
{
    const char *line = o->command.words.items[0];
    size_t len = strcspn(line, " \t\n");
    struct buf first = {0};
    bool found = false;

    if (o->command.words.count > 1 || len == 0 || !line[len])
        return WEIR_OK;
    buf_put(&first, line, len);
    if (!first.failed)
        found = find_program(first.data, o->workdir, NULL) == WEIR_OK;
    buf_free(&first);
    if (!found || find_program(line, o->workdir, NULL) == WEIR_OK)
        return WEIR_OK;
    return error_set(err, WEIR_E_INVALID,
                     "\"%.80s\" is one word, and no program's name; give --shell to have it run by "
                     "a shell, or write its words without quotes around them all",
                     line);
}

/* Unless a row decides which program it is. */
static enum weir_status check_program(const struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    const char *program = o->command.words.items[0];
    enum weir_status status = o->shell ? WEIR_OK : refuse_line(o, err);

    if (status != WEIR_OK || o->shell || strchr(program, '{') ||
        (o->command.replace && strstr(program, o->command.replace)))
        return status;
    return find_program(program, o->workdir, err);
}

enum weir_status command_setup_input(struct run *r, struct source_options *s,
                                     struct weir_error *err)
{
    const struct run_command_options *c = &r->options.command;
    bool combined = c->values.count > 0;
    struct combine_options values = {.words = c->values.items,
                                     .count = c->values.count,
                                     .max_args = (uint64_t)c->max_args,
                                     .nul = c->nul,
                                     .stdin_fd = STDIN_FILENO};
    enum weir_status status = check_program(r, err);

    if (status == WEIR_OK)
        status = compile(r, err);
    if (status == WEIR_OK && combined)
        status = combine_new(&values, &r->combine, err);
    if (status != WEIR_OK)
        return status;
    s->lines.combine = r->combine;
    s->lines.nul = c->nul;
    s->lines.per_row = (uint64_t)c->max_args;
    s->rows.words = r->words;
    s->rows.tag = r->tag;
    s->rows.colsep = c->colsep;
    s->rows.of_parts = combined || c->max_args > 1;
    s->rows.input = c->stdin_row;
    s->rows.input_nul = c->nul;
    return WEIR_OK;
}

/* ---- for each row, on the engine's thread ---- */

static bool may_be_variable(struct slice name)
{
    for (size_t i = 0; i < name.len; i++)
        if (!isalnum((unsigned char)name.data[i]) && name.data[i] != '_')
            return false;
    return name.len > 0;
}

/* One field as WEIR_ROW_name=value; what cannot be a variable, or does not fit, is left out. */
static void put_field(struct argvec *env, struct slice key, struct slice value, struct buf *text)
{
    struct slice name = {key.data + 1, key.len - 2};

    if (!may_be_variable(name) || value.len > FIELD_BYTES_MAX ||
        env->bytes.len + name.len + value.len > FIELDS_BYTES_MAX)
        return;
    buf_clear(text);
    if (json_kind(value) == JSON_STRING)
        json_unquote(value, text);
    else
        json_put_oneline(text, value);
    if (text->failed || memchr(buf_slice(text).data, '\0', text->len))
        return;
    argvec_put(env, SLICE(FIELD_PREFIX));
    argvec_put(env, name);
    argvec_put(env, SLICE("="));
    argvec_put(env, buf_slice(text));
    argvec_end(env);
}

static void put_fields(struct argvec *env, struct slice object)
{
    struct buf text = {0};
    struct json_iter it;
    struct slice key, value;

    json_iter_init(&it, object);
    while (json_iter_next(&it, &key, &value))
        put_field(env, key, value, &text);
    buf_free(&text);
}

void command_template_row(const struct command_row *row, struct template_row *ret)
{
    *ret = (struct template_row){.text = row->text,
                                 .columns = row->columns,
                                 .column_count = row->column_count,
                                 .object = row->object,
                                 .number = row->row.task.index + 1,
                                 .place = row->place};
}

/* What was built when the row was read was looked at then: here only memory can be short. */
static bool prepare(void *ctx, const struct core_attempt *attempt, unsigned place,
                    struct command_launch *launch, struct core_answer *answer)
{
    struct run *r = ctx;
    struct command_row *row = (struct command_row *)(uintptr_t)attempt->payload;
    struct template_row put;
    struct weir_error err = {0};
    enum weir_status status;

    row->place = place;
    command_template_row(row, &put);
    argvec_clear(&r->argv);
    argvec_clear(&r->env);
    status = template_expand(r->words, &put, &r->argv, &err);
    if (row->object.len > 0)
        put_fields(&r->env, row->object);
    launch->argv = (char *const *)(uintptr_t)argvec_argv(&r->argv);
    launch->env = (char *const *)(uintptr_t)argvec_argv(&r->env);
    launch->dir = r->options.workdir;
    launch->has_input = row->input.data != NULL;
    launch->input = row->input;
    if (status == WEIR_OK && launch->argv && launch->env)
        return true;
    answer->outcome = WEIR_OUTCOME_FAILED;
    answer->reason = status == WEIR_E_FORMAT ? WEIR_REASON_BAD_ROW : WEIR_REASON_INTERNAL;
    answer_say(answer, "%s", status == WEIR_OK ? "memory ran out" : err.message);
    return false;
}

/*
 * What is handed over ahead of its place has begun as far as the engine knows, and does so later:
 * not with --halt, where it may follow a failure, and not where the time of a start is what counts.
 */
static bool may_go_ahead(const struct run *r)
{
    const struct run_options *o = &r->options;
    const struct flow_options *f = &o->flow;

    return !template_wants_place(r->words) && f->halt.verdict == HALT_NONE &&
           o->command.load <= 0 && o->command.memfree_bytes == 0 && f->min_dispatch_delay_ns == 0 &&
           f->rate_per_s <= 0 && f->rpm == 0;
}

enum weir_status command_make(void *ctx, const struct core_pool_options *options,
                              struct uv_loop_s *loop, struct core_executor_host *host,
                              struct core_executor **ret, struct weir_error *err)
{
    struct run *r = ctx;
    const struct run_command_options *c = &r->options.command;
    struct command_options o = COMMAND_OPTIONS_DEFAULT;
    struct command_term terms[TERM_SEQ_MAX];
    int exits[256];

    _Static_assert(TERM_SEQ_MAX <= COMMAND_TERM_STEPS_MAX, "what is taken can be done");
    (void)loop;
    for (size_t i = 0; i < c->term_seq.count; i++)
        terms[i] = (struct command_term){.signal = c->term_seq.steps[i].signal,
                                         .wait_ns = c->term_seq.steps[i].wait_ns};
    for (int code = 1; code < 256; code++)
        if (exit_set_has(&c->capacity_exits, code))
            exits[o.capacity_exits_count++] = code;
    o.prepare = prepare;
    o.ctx = r;
    o.places = options->size;
    o.ahead = may_go_ahead(r);
    o.capacity_exits = exits; /* not NULL: none is none */
    o.terms = terms;
    o.terms_count = c->term_seq.count;
    o.fail_retryable = true;
    o.output_max_bytes = c->output_max_bytes;
    return command_executor_new(&o, host, ret, err);
}

/* ---- as text ---- */

enum weir_status command_put_line(struct run *r, struct argvec *argv, const struct command_row *row,
                                  struct buf *out, struct weir_error *err)
{
    struct template_row put;
    enum weir_status status;

    command_template_row(row, &put);
    if (r->options.shell) {
        status = template_put(r->words, &put, out, err);
    } else {
        argvec_clear(argv);
        status = template_expand(r->words, &put, argv, err);
        if (status == WEIR_OK && !argvec_argv(argv))
            return error_nomem(err);
        if (status == WEIR_OK)
            shell_put_line(out, argvec_argv(argv));
    }
    if (status == WEIR_OK && out->failed)
        return error_nomem(err);
    return status;
}

enum weir_status command_dry_run(struct run *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf out = {0};
    enum weir_status status = WEIR_OK;
    struct run_row *row;

    while ((status = source_next(r->source, &row, err)) == WEIR_OK) {
        struct command_row *c = row_command(row);

        buf_clear(&out);
        if (c)
            status = command_put_line(r, &r->argv, c, &out, err);
        row_free(row);
        if (status != WEIR_OK)
            return status;
        buf_putc(&out, '\n');
        if (c && fwrite(out.data, 1, out.len, stdout) != out.len)
            return error_set(err, WEIR_E_IO, "standard output cannot be written");
    }
    if (status != WEIR_E_END)
        return status;
    return fflush(stdout) == 0 ? WEIR_OK
                               : error_set(err, WEIR_E_IO, "standard output cannot be written");
}
