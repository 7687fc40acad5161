/*
 * See rules.h. First what fields take from elsewhere, so that the checks see what is in force.
 */
#include "serve/config/rules.h"

#include "base/error.h"
#include "base/mem.h"
#include "core/follow.h"
#include "core/pool.h"
#include "core/worker/crew.h"
#include "exec/command/command.h"
#include "flow/throttle.h"
#include "serve/config/schema.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* Of tokens; what a server takes. */
#define SECRET_BYTES_MAX 4096
/* sun_path, with its NUL. */
#define UNIX_PATH_BYTES_MAX 107

#define PATH_BYTES_MAX 320

struct rules {
    struct config *c;
    struct config_reader *r;
    bool nomem;
};

/* "pools[3].name". */
static void wrong(struct rules *s, const char *list, size_t number, const char *field,
                  const char *format, ...) __attribute__((format(printf, 5, 6)));

static void wrong(struct rules *s, const char *list, size_t number, const char *field,
                  const char *format, ...)
{
    char path[PATH_BYTES_MAX], what[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;

    (void)snprintf(path, sizeof path, "%s[%zu]%s%s", list, number,
                   *field && *field != '[' ? "." : "", field);
    va_start(args, format);
    (void)vsnprintf(what, sizeof what, format, args);
    va_end(args);
    config_reader_fault(s->r, path, "%s", what);
}

static void set_text(struct rules *s, char **to, const char *text)
{
    *to = mem_strdup(text);
    if (!*to)
        s->nomem = true;
}

/* ---- secrets ---- */

bool config_names_secret(const char *name)
{
    static const char *const parts[] = {"auth", "key",    "token",   "secret",
                                        "pass", "cookie", "credent", "signature"};

    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        if (strcasestr(name, parts[i]))
            return true;
    }
    return false;
}

static bool is_variable_char(char c)
{
    return isalnum((unsigned char)c) || c == '_';
}

enum weir_status config_secret(const char *value, struct buf *out, struct weir_error *err)
{
    const char *at = strncmp(value, "env:", 4) == 0           ? value
                     : strncmp(value, "Bearer env:", 11) == 0 ? value + 7
                                                              : NULL;
    const char *secret;

    if (!at || !at[4])
        goto as_it_is;
    for (const char *c = at + 4; *c; c++) {
        if (!is_variable_char(*c))
            goto as_it_is;
    }
    secret = getenv(at + 4);
    if (!secret || !*secret)
        return error_set(err, WEIR_E_INVALID, "the environment has no variable %.100s%s", at + 4,
                         secret ? " (it is empty)" : "; export it first");
    buf_put(out, value, (size_t)(at - value));
    buf_puts(out, secret);
    return WEIR_OK;
as_it_is:
    buf_puts(out, value);
    return WEIR_OK;
}

static void wipe(char **text)
{
    if (*text)
        explicit_bzero(*text, strlen(*text));
    *text = mem_free(*text);
}

void rules_forget(struct config *c)
{
    for (size_t i = 0; i < c->tokens.count; i++)
        wipe(&c->tokens.items[i].secret);
    for (size_t i = 0; i < c->pools.count; i++) {
        struct config_pool *p = &c->pools.items[i];

        for (size_t h = 0; h < p->headers.count; h++)
            if (p->headers.items[h].value)
                explicit_bzero(p->headers.items[h].value, strlen(p->headers.items[h].value));
        for (size_t e = 0; e < p->env.count; e++)
            if (p->env.items[e].value)
                explicit_bzero(p->env.items[e].value, strlen(p->env.items[e].value));
    }
}

/* What a file holds, without white space at its end. False: told. */
static bool read_secret_file(struct rules *s, size_t number, const char *path, char *ret)
{
    FILE *file = fopen(path, "re");
    size_t len;

    if (!file) {
        wrong(s, "tokens", number, "file", "%.200s cannot be opened: %s", path, strerror(errno));
        return false;
    }
    len = fread(ret, 1, SECRET_BYTES_MAX + 1, file);
    (void)fclose(file);
    while (len > 0 && isspace((unsigned char)ret[len - 1]))
        len--;
    if (len == 0 || len > SECRET_BYTES_MAX) {
        wrong(s, "tokens", number, "file", "%.200s %s", path,
              len == 0 ? "is empty" : "holds more than a token: 4,096 bytes at most");
        return false;
    }
    ret[len] = '\0';
    return true;
}

static void check_secret(struct rules *s, size_t number, const char *field, const char *secret)
{
    for (const char *c = secret; *c; c++) {
        if ((unsigned char)*c <= 0x20 || (unsigned char)*c >= 0x7f) {
            wrong(s, "tokens", number, field,
                  "the token holds a space, a line break or a character that is not ASCII");
            return;
        }
    }
}

static void find_secret(struct rules *s, size_t number)
{
    struct config_token *t = &s->c->tokens.items[number];
    char text[SECRET_BYTES_MAX + 2];
    const char *value = t->env ? getenv(t->env) : NULL;

    if (t->file) {
        if (read_secret_file(s, number, t->file, text)) {
            set_text(s, &t->secret, text);
            check_secret(s, number, "file", text);
        }
        explicit_bzero(text, sizeof text);
    } else if (t->env && (!value || !*value)) {
        wrong(s, "tokens", number, "env", "the environment has no variable %.100s%s", t->env,
              value ? " (it is empty)" : "; export it first");
    } else if (t->env) {
        set_text(s, &t->secret, value);
        check_secret(s, number, "env", value);
    }
}

static void settle_tokens(struct rules *s)
{
    for (size_t i = 0; i < s->c->tokens.count; i++) {
        const struct config_token *t = &s->c->tokens.items[i];
        int given = !!t->sha256 + !!t->file + !!t->env;

        if (given == 1)
            find_secret(s, i);
        else
            wrong(s, "tokens", i, "", "must have one of sha256, file and env; it has %s",
                  given == 0 ? "none" : "several");
    }
}

/* ---- names ---- */

/* texts: of `count` structs of `size` bytes, the name first. */
static void check_names(struct rules *s, const char *list, const void *items, size_t count,
                        size_t size)
{
    for (size_t i = 1; i < count; i++) {
        const char *name = *(char *const *)((const char *)items + i * size);

        for (size_t j = 0; j < i; j++) {
            if (strcmp(*(char *const *)((const char *)items + j * size), name) != 0)
                continue;
            wrong(s, list, i, "name", "%s[%zu] has the name %s already", list, j, name);
            break;
        }
    }
}

/* As variables they have the same name. */
static bool are_alike(const char *a, const char *b)
{
    for (; *a && *b; a++, b++) {
        bool same = isalnum((unsigned char)*a) && isalnum((unsigned char)*b)
                        ? toupper((unsigned char)*a) == toupper((unsigned char)*b)
                        : !isalnum((unsigned char)*a) && !isalnum((unsigned char)*b);

        if (!same)
            return false;
    }
    return *a == *b;
}

static void check_slots_alike(struct rules *s)
{
    const struct config_slot *slots = s->c->slots.items;

    for (size_t i = 1; i < s->c->slots.count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (!are_alike(slots[i].name, slots[j].name) ||
                strcmp(slots[i].name, slots[j].name) == 0)
                continue;
            wrong(s, "slots", i, "name", "is as a variable (WEIR_SLOT_NAME) the same as %s",
                  slots[j].name);
            break;
        }
    }
}

static const struct config_pool *find_pool(const struct config *c, const char *name)
{
    for (size_t i = 0; i < c->pools.count; i++) {
        if (strcmp(c->pools.items[i].name, name) == 0)
            return &c->pools.items[i];
    }
    return NULL;
}

_Static_assert(offsetof(struct config_token, name) == 0 &&
                   offsetof(struct config_tenant, name) == 0 &&
                   offsetof(struct config_slot, name) == 0 &&
                   offsetof(struct config_pool, name) == 0,
               "check_names() looks at the first member");

static void check_all_names(struct rules *s)
{
    struct config *c = s->c;

    check_names(s, "tokens", c->tokens.items, c->tokens.count, sizeof *c->tokens.items);
    check_names(s, "tenants", c->tenants.items, c->tenants.count, sizeof *c->tenants.items);
    check_names(s, "slots", c->slots.items, c->slots.count, sizeof *c->slots.items);
    check_slots_alike(s);
    check_names(s, "pools", c->pools.items, c->pools.count, sizeof *c->pools.items);
    if (c->default_pool && !find_pool(c, c->default_pool))
        config_reader_fault(s->r, "default_pool", "there is no pool %s", c->default_pool);
    if (!c->default_pool && c->pools.count == 1)
        set_text(s, &c->default_pool, c->pools.items[0].name);
    if (c->pools.count == 0)
        config_reader_fault(s->r, "pools", "there is none: no task could ever run");
}

/* ---- the whole file ---- */

/* The first of the folders that systemd names, or NULL. */
static bool folder_of(const char *variable, struct buf *out)
{
    const char *folders = getenv(variable);

    if (!folders || !*folders)
        return false;
    buf_put(out, folders, strcspn(folders, ":"));
    buf_putc(out, '/');
    return true;
}

enum weir_status config_default_listen(struct buf *out)
{
    buf_puts(out, "unix:");
    if (!folder_of("RUNTIME_DIRECTORY", out) && !folder_of("XDG_RUNTIME_DIR", out))
        buf_puts(out, "./");
    buf_puts(out, "weir.sock");
    return out->failed ? WEIR_E_NOMEM : WEIR_OK;
}

static void settle_listen(struct rules *s)
{
    struct config_words *listen = &s->c->listen;
    struct buf text = {0};

    if (listen->count > 0)
        return;
    listen->items = mem_calloc(1, sizeof *listen->items);
    if (!listen->items || config_default_listen(&text) != WEIR_OK) {
        s->nomem = true;
    } else {
        set_text(s, &listen->items[0], text.data);
        listen->count = 1;
    }
    buf_free(&text);
}

static void settle_files(struct rules *s)
{
    struct config *c = s->c;
    struct buf text = {0};

    if (!c->store) {
        if (!folder_of("STATE_DIRECTORY", &text))
            buf_puts(&text, "./");
        buf_puts(&text, "weir.db");
        set_text(s, &c->store, buf_slice(&text).data);
    }
    s->nomem = s->nomem || text.failed;
    buf_clear(&text);
    if (!c->spill && c->store) {
        buf_printf(&text, "%s.spill", c->store);
        set_text(s, &c->spill, buf_slice(&text).data);
    }
    s->nomem = s->nomem || text.failed;
    buf_free(&text);
}

static bool is_loopback(const char *host, size_t len)
{
    static const char *const names[] = {"localhost", "[::1]", "::1"};

    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (strlen(names[i]) == len && strncmp(names[i], host, len) == 0)
            return true;
    }
    return len > 4 && strncmp(host, "127.", 4) == 0 && strspn(host, "0123456789.") >= len;
}

static void check_listen(struct rules *s, size_t number)
{
    const char *text = s->c->listen.items[number];
    const char *colon = strrchr(text, ':');
    size_t digits = colon ? strspn(colon + 1, "0123456789") : 0;
    long port;

    if (strncmp(text, "unix:", 5) == 0) {
        if (!text[5])
            wrong(s, "listen", number, "",
                  "the socket's path is missing; write unix:/run/weir/weir.sock");
        else if (strlen(text + 5) > UNIX_PATH_BYTES_MAX)
            wrong(s, "listen", number, "", "a socket's path has at most %d bytes",
                  UNIX_PATH_BYTES_MAX);
        return;
    }
    port = colon ? strtol(colon + 1, NULL, 10) : 0;
    if (!colon || colon == text || digits == 0 || digits > 5 || colon[1 + digits] || port > 65535) {
        wrong(s, "listen", number, "",
              "\"%.100s\" is no address; write unix:/PATH, or HOST:PORT such as 127.0.0.1:7333",
              text);
        return;
    }
    if (!is_loopback(text, (size_t)(colon - text)) && s->c->tokens.count == 0)
        wrong(
            s, "listen", number, "",
            "%.100s can be reached from other machines, and there are no tokens: whoever connects "
            "could do everything; add tokens, or listen on 127.0.0.1",
            text);
}

static void settle_slots(struct rules *s)
{
    for (size_t i = 0; i < s->c->slots.count; i++) {
        struct config_slot *slot = &s->c->slots.items[i];
        bool counted = slot->count != CONFIG_UNSET;

        if (slot->paths.count > 0 && counted && slot->count != (int64_t)slot->paths.count)
            wrong(s, "slots", i, "count", "is %lld, but there are %zu paths; leave one of them out",
                  (long long)slot->count, slot->paths.count);
        else if (slot->paths.count == 0 && !counted)
            wrong(s, "slots", i, "", "must have count or paths");
        else if (slot->paths.count > 0)
            slot->count = (int64_t)slot->paths.count;
    }
}

/* ---- pools ---- */

#define TAKE(to, from)                                                                             \
    do {                                                                                           \
        if ((to) < 0)                                                                              \
            (to) = (from);                                                                         \
    } while (0)

static void settle_throttle(struct config_pool *p)
{
    struct throttle_options o;

    throttle_options_init(&o);
    TAKE(p->throttle, p->kind == CONFIG_HTTP ? THROTTLE_ADAPTIVE : THROTTLE_AIMD);
    if (p->throttle == THROTTLE_ADAPTIVE)
        TAKE(p->waste, o.adaptive.waste);
    if (p->throttle != THROTTLE_AIMD)
        return;
    TAKE(p->max_dispatch_delay_ns, o.aimd.max_delay_ns);
    TAKE(p->backoff_multiplier, o.aimd.multiplier);
    TAKE(p->recovery_step_ns, o.aimd.step_ns);
}

const struct config_backoff config_backoff_otherwise = {
    .initial_ns = 10 * NS_PER_S, .ceiling_ns = 300 * NS_PER_S, .factor = 2, .jitter = 0.5};

static void take_backoff(struct config_backoff *to, const struct config_backoff *from)
{
    TAKE(to->initial_ns, from->initial_ns);
    TAKE(to->factor, from->factor);
    TAKE(to->ceiling_ns, from->ceiling_ns);
    TAKE(to->jitter, from->jitter);
}

/* Of workers only what somebody has said: it goes before the recovery table. */
static void settle_again(const struct config_defaults *d, struct config_pool *p)
{
    const struct config_backoff *b = &p->backoff;

    TAKE(p->max_attempts, d->max_attempts);
    take_backoff(&p->backoff, &d->backoff);
    if (p->kind != CONFIG_PROCESS)
        TAKE(p->max_attempts, CONFIG_MAX_ATTEMPTS);
    if (p->kind != CONFIG_PROCESS || b->initial_ns >= 0 || b->factor >= 0 || b->ceiling_ns >= 0 ||
        b->jitter >= 0)
        take_backoff(&p->backoff, &config_backoff_otherwise);
}

static void settle_pool(const struct config *c, struct config_pool *p)
{
    static const duration_ns timeouts[] = {
        [CONFIG_COMMAND] = 0, [CONFIG_PROCESS] = 60 * NS_PER_S, [CONFIG_HTTP] = 600 * NS_PER_S};
    const struct config_defaults *d = &c->defaults;

    settle_again(d, p);
    TAKE(p->timeout_ns, d->timeout_ns);
    TAKE(p->timeout_ns, timeouts[p->kind]);
    TAKE(p->heartbeat_timeout_ns, d->heartbeat_timeout_ns);
    TAKE(p->breaker.mode, p->kind == CONFIG_PROCESS ? CONFIG_BREAKER_ON : CONFIG_BREAKER_OFF);
    if (p->follow.what != FOLLOW_NOTHING)
        TAKE(p->follow.max, p->max_concurrency);
    settle_throttle(p);
}

/* An option of another throttle would do nothing: whoever gives it expects something else. */
static void check_throttle(struct rules *s, size_t number)
{
    const struct config_pool *p = &s->c->pools.items[number];
    const struct {
        const char *field;
        bool given;
        int of;
    } fields[] = {
        {"waste", p->waste >= 0, THROTTLE_ADAPTIVE},
        {"max_dispatch_delay", p->max_dispatch_delay_ns >= 0, THROTTLE_AIMD},
        {"backoff_multiplier", p->backoff_multiplier >= 0, THROTTLE_AIMD},
        {"recovery_step", p->recovery_step_ns >= 0, THROTTLE_AIMD},
    };

    for (size_t i = 0; i < sizeof fields / sizeof *fields; i++) {
        if (fields[i].given && fields[i].of != p->throttle)
            wrong(s, "pools", number, fields[i].field, "is of the %s throttle; this pool has %s",
                  throttle_kind_name((enum throttle_kind)fields[i].of),
                  throttle_kind_name((enum throttle_kind)p->throttle));
    }
    if (p->rate > 0 && p->rate < GATE_RATE_MIN)
        wrong(s, "pools", number, "rate", "is %g; it must be 0 (no limit), or %g to %g", p->rate,
              GATE_RATE_MIN, GATE_RATE_MAX);
    if (p->throttle != THROTTLE_AIMD)
        return;
    if (p->min_dispatch_delay_ns > p->max_dispatch_delay_ns)
        wrong(s, "pools", number, "min_dispatch_delay", "is above max_dispatch_delay (%gs)",
              duration_seconds(p->max_dispatch_delay_ns));
    if (!(p->backoff_multiplier > 1))
        wrong(s, "pools", number, "backoff_multiplier", "must be above 1");
    if (p->min_dispatch_delay_ns == 0 && p->recovery_step_ns == 0)
        wrong(s, "pools", number, "recovery_step", "it and min_dispatch_delay cannot both be 0");
}

static void check_limits(struct rules *s, size_t number)
{
    const struct config_pool *p = &s->c->pools.items[number];

    if (p->backoff.ceiling_ns < p->backoff.initial_ns)
        wrong(s, "pools", number, "backoff", "its ceiling (%gs) is below its initial wait (%gs)",
              duration_seconds(p->backoff.ceiling_ns), duration_seconds(p->backoff.initial_ns));
    if ((p->burst.places > 0) != (p->burst.time_ns > 0))
        wrong(s, "pools", number, "burst", "needs places and seconds above 0, both");
    if (p->follow.what == FOLLOW_NOTHING) {
        if (p->follow.target >= 0)
            wrong(s, "pools", number, "follow.target", "nothing is followed; give what");
        return;
    }
    if (p->follow.target < 0)
        wrong(s, "pools", number, "follow", "its target is missing");
    if (p->follow.min > p->follow.max)
        wrong(s, "pools", number, "follow.min", "is %lld, above max (%lld)",
              (long long)p->follow.min, (long long)p->follow.max);
    if (p->follow.what == FOLLOW_QUEUE && p->kind != CONFIG_PROCESS)
        wrong(s, "pools", number, "follow.what",
              "queue is for pools of workers: a command or request costs nothing while none runs");
}

/* So many workers may be asked for. */
static int64_t most_workers(const struct config_pool *p)
{
    int64_t most = p->max_concurrency;

    if (p->follow.what != FOLLOW_NOTHING && p->follow.max > most)
        most = p->follow.max;
    return most + p->overflow;
}

static void check_process(struct rules *s, size_t number)
{
    const struct config_pool *p = &s->c->pools.items[number];
    const struct config_pool *other = p->fallback ? find_pool(s->c, p->fallback) : NULL;

    if (p->process.count == 0)
        wrong(s, "pools", number, "process", "is missing: the worker's program");
    if (most_workers(p) > CREW_WORKERS_MAX)
        wrong(s, "pools", number, "max_concurrency",
              "with overflow and follow there may be %lld workers; a pool has %d at most",
              (long long)most_workers(p), CREW_WORKERS_MAX);
    else if (most_workers(p) * p->max_in_flight > POOL_SIZE_MAX)
        wrong(s, "pools", number, "max_in_flight",
              "%lld for each of %lld workers are more than %d requests at once",
              (long long)p->max_in_flight, (long long)most_workers(p), POOL_SIZE_MAX);
    if (p->restart.ceiling_ns < p->restart.initial_ns)
        wrong(s, "pools", number, "restart", "its ceiling is below its initial wait");
    if (p->fallback && !other)
        wrong(s, "pools", number, "fallback", "there is no pool %s", p->fallback);
    else if (other == p)
        wrong(s, "pools", number, "fallback", "is the pool itself");
    else if (other && other->kind != CONFIG_PROCESS)
        wrong(s, "pools", number, "fallback", "%s has no workers; it must be of kind process too",
              p->fallback);
}

static void check_pairs(struct rules *s, size_t number, const char *field,
                        const struct config_pairs *pairs, bool header)
{
    static const char token[] = "!#$%&'*+-.^_`|~0123456789"
                                "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

    for (size_t i = 0; i < pairs->count; i++) {
        const struct config_pair *pair = &pairs->items[i];
        struct buf value = {0};
        struct weir_error err;
        char path[PATH_BYTES_MAX];

        (void)snprintf(path, sizeof path, "%s.%.250s", field, pair->name);
        if (header ? strspn(pair->name, token) != strlen(pair->name) : !!strchr(pair->name, '='))
            wrong(s, "pools", number, path, "no %s has such a name",
                  header ? "header" : "variable");
        if (config_secret(pair->value, &value, &err) != WEIR_OK)
            wrong(s, "pools", number, path, "%s", err.message);
        else if (header && strpbrk(buf_slice(&value).data, "\r\n"))
            wrong(s, "pools", number, path, "there is a line break in it");
        if (header && strcasecmp(pair->name, "Idempotency-Key") == 0)
            wrong(s, "pools", number, path,
                  "is each task's own: with one for all, a service would take them for one");
        if (value.data)
            explicit_bzero(value.data, value.len);
        s->nomem = s->nomem || value.failed;
        buf_free(&value);
    }
}

static void check_pool(struct rules *s, size_t number)
{
    const struct config_pool *p = &s->c->pools.items[number];

    check_throttle(s, number);
    check_limits(s, number);
    switch ((enum config_kind)p->kind) {
    case CONFIG_COMMAND:
        if (p->shell && p->command.count == 0)
            wrong(s, "pools", number, "shell", "there is no command that a shell could run");
        if (p->max_concurrency > COMMAND_PLACES_MAX)
            wrong(s, "pools", number, "max_concurrency", "must be %d at most", COMMAND_PLACES_MAX);
        break;
    case CONFIG_PROCESS:
        check_process(s, number);
        break;
    case CONFIG_HTTP:
        check_pairs(s, number, "headers", &p->headers, true);
        if (!p->url && !p->allow_any_url)
            wrong(s, "pools", number, "url",
                  "is missing; or, if whoever submits a task may say where it goes, allow_any_url");
        if (p->key_file && !p->cert)
            wrong(s, "pools", number, "key_file", "is of no use without cert");
        break;
    }
    check_pairs(s, number, "env", &p->env, false);
}

static void check_defaults(const struct config *c, struct config_reader *r)
{
    struct config_backoff b = c->defaults.backoff;

    take_backoff(&b, &config_backoff_otherwise);
    if (b.ceiling_ns < b.initial_ns)
        config_reader_fault(r, "defaults.backoff",
                            "its ceiling (%gs) is below its initial wait (%gs)",
                            duration_seconds(b.ceiling_ns), duration_seconds(b.initial_ns));
}

enum weir_status rules_settle(struct config *c, struct config_reader *r, struct weir_error *err)
{
    struct rules s = {.c = c, .r = r};

    settle_listen(&s);
    settle_files(&s);
    settle_tokens(&s);
    settle_slots(&s);
    if (s.nomem)
        return error_nomem(err);
    check_all_names(&s);
    for (size_t i = 0; i < c->listen.count; i++)
        check_listen(&s, i);
    check_defaults(c, r);
    for (size_t i = 0; i < c->pools.count; i++) {
        settle_pool(c, &c->pools.items[i]);
        check_pool(&s, i);
    }
    return s.nomem ? error_nomem(err) : WEIR_OK;
}
