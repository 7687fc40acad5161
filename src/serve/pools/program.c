/*
 * The program of a pool, out of its configuration: copies, so that a reload may free what it was
 * made of.
 */
#include "base/error.h"
#include "base/mem.h"
#include "serve/pools/internal.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

/* ---- lists of texts ---- */

void texts_add(struct texts *t, const char *text)
{
    buf_put(&t->bytes, text, strlen(text) + 1);
    t->count++;
}

bool texts_end(struct texts *t)
{
    const char *at = t->bytes.data;

    t->items = mem_calloc(t->count + 1, sizeof *t->items);
    if (!t->items || t->bytes.failed)
        return false;
    for (size_t i = 0; i < t->count; i++) {
        t->items[i] = at;
        at += strlen(at) + 1;
    }
    return true;
}

void texts_free(struct texts *t)
{
    /* Headers and variables may be secrets. */
    if (t->bytes.data)
        explicit_bzero(t->bytes.data, t->bytes.len);
    buf_free(&t->bytes);
    mem_free(t->items);
    *t = (struct texts){0};
}

static bool copy_words(struct texts *t, const struct config_words *words)
{
    for (size_t i = 0; i < words->count; i++)
        texts_add(t, words->items[i]);
    return texts_end(t);
}

/* "Name: value" or "NAME=value", variables' values in place. */
static enum weir_status add_pairs(struct texts *t, const struct config_pairs *pairs,
                                  const char *between, struct weir_error *err)
{
    struct buf line = {0};
    enum weir_status status = WEIR_OK;

    for (size_t i = 0; status == WEIR_OK && i < pairs->count; i++) {
        buf_clear(&line);
        buf_puts(&line, pairs->items[i].name);
        buf_puts(&line, between);
        status = config_secret(pairs->items[i].value, &line, err);
        if (status == WEIR_OK && line.failed)
            status = error_nomem(err);
        if (status == WEIR_OK)
            texts_add(t, line.data);
        else
            (void)error_prefix(err, "%s", pairs->items[i].name);
    }
    if (line.data)
        explicit_bzero(line.data, line.cap);
    buf_free(&line);
    return status;
}

/* ---- environment ---- */

static bool names(const struct config_pairs *pairs, const char *name, size_t len)
{
    for (size_t i = 0; i < pairs->count; i++) {
        if (strlen(pairs->items[i].name) == len && strncmp(pairs->items[i].name, name, len) == 0)
            return true;
    }
    return false;
}

/* A name alone takes the variable away (exec/child/child.h). Programs are still looked up in PATH. */
static void clear_environment(struct texts *t, const struct config_pairs *kept)
{
    struct buf name = {0};

    for (char **e = environ; *e; e++) {
        size_t len = strcspn(*e, "=");

        if (names(kept, *e, len) || (len == 4 && strncmp(*e, "PATH", 4) == 0) || len == 0)
            continue;
        buf_clear(&name);
        buf_put(&name, *e, len);
        if (name.failed)
            t->bytes.failed = true;
        else
            texts_add(t, name.data);
    }
    buf_free(&name);
}

static void add_mark(struct texts *t, const char *mark)
{
    struct buf line = {0};

    buf_printf(&line, LEFT_VARIABLE "=%s", mark);
    if (line.failed)
        t->bytes.failed = true;
    else
        texts_add(t, line.data);
    buf_free(&line);
}

static enum weir_status fill_env(struct pool_program *g, const struct config_pool *p,
                                 struct weir_error *err)
{
    enum weir_status status;

    if (p->clear_env)
        clear_environment(&g->env, &p->env);
    else
        for (size_t i = 0; i < g->pools->own.count; i++)
            if (!names(&p->env, g->pools->own.items[i], strlen(g->pools->own.items[i])))
                texts_add(&g->env, g->pools->own.items[i]);
    status = add_pairs(&g->env, &p->env, "=", err);
    if (status != WEIR_OK) {
        (void)error_prefix(err, "env");
        return status;
    }
    if (g->pools->mark)
        add_mark(&g->env, g->pools->mark);
    return texts_end(&g->env) ? WEIR_OK : error_nomem(err);
}

/* ---- kinds ---- */

static enum weir_status fill_command(struct pool_program *g, const struct config_pool *p,
                                     struct weir_error *err)
{
    const struct command_recipe_options o = {
        .argv = g->words.count > 0 ? g->words.items : NULL,
        .shell = p->shell,
        .env = g->env.items,
        .dir = p->cwd,
    };

    g->retry_exits = p->retry_exits;
    g->output_max_bytes = (uint64_t)p->output_max_bytes;
    g->terms[0] = (struct command_term){SIGTERM, p->kill_after_ns};
    g->terms[1] = (struct command_term){SIGKILL, 0};
    return command_recipe_new(&o, &g->command, err);
}

static void fill_crew(struct crew_options *c, const struct config_pool *p)
{
    c->size = (size_t)p->max_concurrency;
    c->overflow = (size_t)p->overflow;
    c->lazy = p->lazy;
    c->order = (enum crew_order)p->order;
    c->max_in_flight = (uint32_t)p->max_in_flight;
    c->init_timeout_ns = p->init_timeout_ns;
    c->health = (struct health_options){
        .every_ns = p->ping_every_ns,
        .deadline_ns = p->ping_deadline_ns,
        .recheck_ns = p->ping_recheck_ns,
        .failures = (uint32_t)p->ping_failures,
    };
    c->overflow_idle_ns = p->overflow_idle_ns;
    c->recycle_requests = (uint64_t)p->recycle_after;
    c->recycle_age_ns = p->recycle_age_ns;
    c->recycle_memory_bytes = (uint64_t)p->recycle_memory_bytes;
    c->shutdown_grace_ns = p->shutdown_grace_ns;
    c->term_grace_ns = p->term_grace_ns;
    c->restart.kind = BACKOFF_EXPONENTIAL;
    c->restart.initial_ns = p->restart.initial_ns;
    c->restart.factor = p->restart.factor;
    c->restart.ceiling_ns = p->restart.ceiling_ns;
    c->restart.jitter = p->restart.jitter;
    c->affinity.idle_ns = p->session_idle_ns;
    /* A sweep that comes less often would let sessions live for longer than was said. */
    if (c->affinity.sweep_ns > c->affinity.idle_ns)
        c->affinity.sweep_ns = c->affinity.idle_ns;
}

static enum weir_status fill_process(struct pool_program *g, const struct config_pool *p,
                                     struct weir_error *err)
{
    g->request = mem_strdup(p->request);
    g->dir = p->cwd ? mem_strdup(p->cwd) : NULL;
    if (!g->request || (p->cwd && !g->dir))
        return error_nomem(err);
    process_options_init(&g->process);
    g->process.argv = (char *const *)(uintptr_t)g->words.items;
    g->process.wrapper = g->wrapper.count > 0 ? g->wrapper.items : NULL;
    g->process.wrapper_shell = p->wrapper_shell;
    g->process.env = (char *const *)(uintptr_t)g->env.items;
    g->process.dir = g->dir;
    g->process.frame_max_bytes = (uint64_t)p->frame_max_bytes;
    fill_crew(&g->process.crew, p);
    g->process.crew.pool = g->name;
    return WEIR_OK;
}

static enum weir_status fill_http(struct pool_program *g, const struct config_pool *p,
                                  struct weir_error *err)
{
    const char *const from[] = {p->method, p->proxy,    p->no_proxy,   p->cacert,
                                p->cert,   p->key_file, p->unix_socket};
    enum weir_status status = add_pairs(&g->headers, &p->headers, ": ", err);

    if (status != WEIR_OK) {
        (void)error_prefix(err, "headers");
        return status;
    }
    if (!texts_end(&g->headers))
        return error_nomem(err);
    for (size_t i = 0; i < sizeof from / sizeof *from; i++) {
        g->texts[i] = from[i] ? mem_strdup(from[i]) : NULL;
        if (from[i] && !g->texts[i])
            return error_nomem(err);
    }
    g->http_options = HTTP_OPTIONS_DEFAULT;
    g->http_options.method = g->texts[0];
    g->http_options.proxy = g->texts[1];
    g->http_options.no_proxy = g->texts[2];
    g->http_options.cacert = g->texts[3];
    g->http_options.client_cert = g->texts[4];
    g->http_options.client_key = g->texts[5];
    g->http_options.unix_socket = g->texts[6];
    g->http_options.headers = g->headers.items;
    g->http_options.headers_count = g->headers.count;
    g->http_options.connect_timeout_ns = p->connect_timeout_ns;
    g->http_options.response_max_bytes = (uint64_t)p->response_max_bytes;
    g->http_options.http_version = (enum http_version)p->http_version;
    g->http_options.insecure = p->insecure;
    g->http_options.max_connections = g->size;
    g->http_options.capacity_statuses = g->capacity;
    g->http_options.capacity_statuses_count = g->capacity_count;
    return http_recipe_new(&(struct http_recipe_options){.url = p->url,
                                                         .allow_any_url = p->allow_any_url,
                                                         .method = p->method,
                                                         .headers = g->headers.items,
                                                         .headers_count = g->headers.count},
                           &g->http, err);
}

static bool copy_numbers(struct pool_program *g, const struct config_numbers *n)
{
    g->capacity = mem_calloc(n->count + 1, sizeof *g->capacity);
    if (!g->capacity)
        return false;
    for (size_t i = 0; i < n->count; i++)
        g->capacity[i] = (int)n->items[i];
    g->capacity_count = n->count;
    return true;
}

static bool copy_common(struct pool_program *g, const struct config_pool *p)
{
    g->name = mem_strdup(p->name);
    return g->name && copy_words(&g->skills, &p->skills) && copy_words(&g->wrapper, &p->wrapper) &&
           copy_words(&g->words, p->kind == CONFIG_PROCESS ? &p->process : &p->command) &&
           copy_numbers(g, p->kind == CONFIG_HTTP ? &p->capacity_statuses : &p->capacity_exits);
}

enum weir_status pool_program_new(struct poolset *s, const struct config_pool *p,
                                  struct pool_program **ret, struct weir_error *err)
{
    struct pool_program *g = mem_calloc(1, sizeof *g);
    enum weir_status status;

    if (!g)
        return error_nomem(err);
    g->pools = s;
    g->kind = (enum config_kind)p->kind;
    g->size = (size_t)p->max_concurrency;
    g->wrapper_shell = p->wrapper_shell;
    poolset_set_configured(g, p);
    status = copy_common(g, p) ? fill_env(g, p, err) : error_nomem(err);
    if (status == WEIR_OK) {
        status = g->kind == CONFIG_COMMAND   ? fill_command(g, p, err)
                 : g->kind == CONFIG_PROCESS ? fill_process(g, p, err)
                                             : fill_http(g, p, err);
    }
    if (status == WEIR_OK)
        *ret = g;
    else
        pool_program_free(g);
    return status;
}

struct pool_program *pool_program_free(struct pool_program *g)
{
    if (!g)
        return NULL;
    command_recipe_free(g->command);
    http_recipe_free(g->http);
    texts_free(&g->words);
    texts_free(&g->wrapper);
    texts_free(&g->env);
    texts_free(&g->skills);
    texts_free(&g->headers);
    for (size_t i = 0; i < sizeof g->texts / sizeof *g->texts; i++)
        mem_free(g->texts[i]);
    mem_free(g->capacity);
    mem_free(g->request);
    mem_free(g->dir);
    mem_free(g->name);
    return mem_free(g);
}

/* ---- executors ---- */

static enum weir_status make_command(struct pool_program *g, size_t size,
                                     struct core_executor_host *host, struct core_executor **ret,
                                     struct weir_error *err)
{
    struct command_options o = COMMAND_OPTIONS_DEFAULT;

    o.prepare = command_recipe_prepare;
    o.places = size;
    o.capacity_exits = g->capacity;
    o.capacity_exits_count = g->capacity_count;
    o.terms = g->terms;
    o.terms_count = sizeof g->terms / sizeof *g->terms;
    o.fail_retryable = g->retry_exits;
    o.output_max_bytes = g->output_max_bytes;
    o.wrapper = g->wrapper.count > 0 ? g->wrapper.items : NULL;
    o.wrapper_shell = g->wrapper_shell;
    return command_executor_new(&o, host, ret, err);
}

enum weir_status pool_program_make(void *ctx, const struct core_pool_options *options,
                                   struct uv_loop_s *loop, struct core_executor_host *host,
                                   struct core_executor **ret, struct weir_error *err)
{
    struct pool_program *g = ctx;

    switch (g->kind) {
    case CONFIG_COMMAND:
        return make_command(g, options->size, host, ret, err);
    case CONFIG_PROCESS:
        return process_executor_new(&g->process, loop, host, ret, err);
    case CONFIG_HTTP:
        break;
    }
    return http_executor_new(&g->http_options, loop, host, ret, err);
}
