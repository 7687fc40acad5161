/*
 * The public face (include/weir/workers.h): pools in which a command runs for each row.
 */
#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"
#include "engine/public.h"
#include "exec/command/command.h"
#include "weir/workers.h"

#include <inttypes.h>
#include <string.h>

/* Words of a command line, at most: the system's own limit on their bytes is met long before. */
#define WORDS_MAX 65536

/* What the pool needs as long as it lives, and room for the command line at hand: the engine's thread's. */
struct command_program {
    char **argv, **env;
    char *dir;
    int *exits;
    size_t words;     /* of argv */
    bool names_row;   /* a word has {} */
    bool names_place; /* a word has {%} */
    bool on_stdin;
    struct command_options options;
    struct buf text; /* the words, each with a NUL */
    char **filled;   /* words + 2: one more for the row, and NULL */
};

void weir_command_options_init(struct weir_command_options *options)
{
    if (!options)
        return;
    *options = (struct weir_command_options){.output_max_bytes = UINT64_C(1) << 40};
}

static enum weir_status check(const struct weir_pool_options *pool,
                              const struct weir_command_options *o, struct weir_error *err)
{
    size_t words = 0;

    if (!o->argv || !o->argv[0] || !o->argv[0][0])
        return error_set(
            err, WEIR_E_INVALID,
            "argv names no program; give the words of the command line, NULL at the end");
    while (o->argv[words])
        if (++words > WORDS_MAX)
            return error_set(err, WEIR_E_INVALID,
                             "argv has more than %d words; NULL must be its end", WORDS_MAX);
    if (o->output_max_bytes < 1)
        return error_set(err, WEIR_E_INVALID, "output_max_bytes is 0; it must be 1 or more");
    if (o->capacity_exit_count > 0 && !o->capacity_exits)
        return error_set(err, WEIR_E_INVALID, "capacity_exits is NULL but there are %zu of them",
                         o->capacity_exit_count);
    if (pool->size < 1 || pool->size > COMMAND_PLACES_MAX)
        return error_set(err, WEIR_E_INVALID, "size is %" PRIu64 "; it must be 1 to %d", pool->size,
                         COMMAND_PLACES_MAX);
    return WEIR_OK;
}

/* ---- the command line of a row ---- */

static void put_row(struct buf *out, const struct public_row *r)
{
    buf_put(out, r->row.data, r->row.len);
}

/* A word of the template with the row in it, and a NUL behind it. */
static void put_word(struct command_program *g, const char *word, const struct core_attempt *a,
                     unsigned place)
{
    const char *open;

    while ((open = strchr(word, '{'))) {
        buf_put(&g->text, word, (size_t)(open - word));
        word = open + 1;
        if (*word == '}') {
            put_row(&g->text, a->payload);
            word++;
        } else if (strncmp(word, "#}", 2) == 0) {
            buf_printf(&g->text, "%" PRIu64, a->index + 1);
            word += 2;
        } else if (strncmp(word, "%}", 2) == 0) {
            buf_printf(&g->text, "%u", place);
            word += 2;
        } else {
            buf_putc(&g->text, '{');
        }
    }
    buf_put(&g->text, word, strlen(word) + 1);
}

static bool refuse(struct core_answer *answer, enum weir_reason reason, const char *message)
{
    answer->outcome = WEIR_OUTCOME_FAILED;
    answer->reason = reason;
    answer->retryable = reason == WEIR_REASON_INTERNAL;
    answer_say(answer, "%s", message);
    return false;
}

/* On the engine's thread. */
static bool prepare(void *ctx, const struct core_attempt *a, unsigned place,
                    struct command_launch *launch, struct core_answer *answer)
{
    struct command_program *g = ctx;
    const struct public_row *r = a->payload;
    size_t words = 0;
    char *at;

    if (!g->on_stdin && r->row.len > 0 && memchr(r->row.data, '\0', r->row.len))
        return refuse(
            answer, WEIR_REASON_BAD_ROW,
            "the row's data has a NUL byte, which no word of a command line can hold; give "
            "it on standard input (on_stdin)");
    buf_clear(&g->text);
    for (; words < g->words; words++)
        put_word(g, g->argv[words], a, place);
    if (!g->names_row && !g->on_stdin) {
        put_row(&g->text, r);
        buf_putc(&g->text, '\0');
        words++;
    }
    if (g->text.failed)
        return refuse(answer, WEIR_REASON_INTERNAL, "memory ran out");
    at = g->text.data;
    for (size_t i = 0; i < words; i++) {
        g->filled[i] = at;
        at += strlen(at) + 1;
    }
    g->filled[words] = NULL;
    launch->argv = g->filled;
    launch->env = g->env;
    launch->dir = g->dir;
    launch->has_input = g->on_stdin;
    launch->input = (struct slice){r->row.data, r->row.len};
    return true;
}

/* ---- opening ---- */

static void forget(struct weir_pool *p)
{
    struct command_program *g = p->program;

    mem_free(g->argv);
    mem_free(g->env);
    mem_free(g->dir);
    mem_free(g->exits);
    mem_free(g->filled);
    buf_free(&g->text);
    mem_free(g);
}

static bool copy_program(struct command_program *g, const struct weir_command_options *o)
{
    g->argv = public_words_copy(o->argv);
    g->env = public_words_copy(o->env);
    g->dir = o->dir ? mem_strdup(o->dir) : NULL;
    g->exits = mem_calloc(o->capacity_exit_count + 1, sizeof *g->exits);
    for (; o->argv[g->words]; g->words++) {
        g->names_row = strstr(o->argv[g->words], "{}") || g->names_row;
        g->names_place = strstr(o->argv[g->words], "{%}") || g->names_place;
    }
    g->filled = mem_calloc(g->words + 2, sizeof *g->filled);
    g->on_stdin = o->on_stdin;
    if (!g->argv || (o->env && !g->env) || (o->dir && !g->dir) || !g->exits || !g->filled)
        return false;
    if (o->capacity_exit_count > 0)
        memcpy(g->exits, o->capacity_exits, o->capacity_exit_count * sizeof *g->exits);
    return true;
}

static struct weir_pool *make_pool(const struct weir_pool_options *pool,
                                   const struct weir_command_options *o)
{
    struct weir_pool *p = mem_calloc(1, sizeof *p);
    struct command_program *g;

    if (!p)
        return NULL;
    g = p->program = mem_calloc(1, sizeof *g);
    if (!g) {
        mem_free(p);
        return NULL;
    }
    p->forget = forget;
    if (!copy_program(g, o)) {
        public_free_pool(p);
        return NULL;
    }
    g->options = COMMAND_OPTIONS_DEFAULT;
    g->options.prepare = prepare;
    g->options.ctx = g;
    g->options.places = (size_t)pool->size;
    g->options.ahead = !g->names_place;
    g->options.capacity_exits = o->capacity_exits ? g->exits : NULL;
    g->options.capacity_exits_count = o->capacity_exit_count;
    g->options.fail_retryable = o->retry_exits;
    g->options.output_max_bytes = o->output_max_bytes;
    return p;
}

static enum weir_status make_executor(void *ctx, const struct core_pool_options *options,
                                      struct uv_loop_s *loop, struct core_executor_host *host,
                                      struct core_executor **ret, struct weir_error *err)
{
    struct command_program *g = ((struct weir_pool *)ctx)->program;

    (void)options;
    (void)loop;
    return command_executor_new(&g->options, host, ret, err);
}

enum weir_status weir_pool_open_command(struct weir_engine *engine,
                                        const struct weir_pool_options *options,
                                        const struct weir_command_options *command,
                                        struct weir_pool **ret, struct weir_error *err)
{
    struct core_pool_options o;
    struct weir_pool *p;
    enum weir_status status;

    if (!engine || !options || !command || !ret)
        return public_null(err, !engine    ? "engine"
                                : !options ? "options"
                                : !command ? "command"
                                           : "ret");
    status = public_pool_options(options, &o, err);
    if (status == WEIR_OK)
        status = check(options, command, err);
    if (status != WEIR_OK)
        return status;
    if (!o.name)
        o.name = "command";
    p = make_pool(options, command);
    return p ? public_add_pool(engine, p, &o, make_executor, ret, err) : error_nomem(err);
}
