/*
 * Which options a resumed run must share with the run before; run_options.h has the rule.
 *
 * The names in the JSON are the options' own, sorted, so that a difference can be told as the user
 * would have typed it. Adding an option here makes journals of earlier versions differ in it only
 * if it is given: an absent member and one at its default mean the same.
 */
#include "cli/run_options.h"

#include "base/json.h"
#include "base/mem.h"
#include "cli/run_url.h"

#include <ctype.h>
#include <string.h>
#include <strings.h>

void run_options_show_url(const struct run_options *o, struct buf *out)
{
    if (o->http.url)
        run_url_show(slice_of(o->http.url), out);
}

static void put_name(struct buf *out, const char *name)
{
    buf_puts(out, out->data[out->len - 1] == '{' ? "\"" : ",\"");
    buf_puts(out, name);
    buf_puts(out, "\":");
}

static void put_flag(struct buf *out, const char *name, bool value)
{
    put_name(out, name);
    buf_puts(out, value ? "true" : "false");
}

static void put_text(struct buf *out, const char *name, const char *value)
{
    put_name(out, name);
    if (value)
        json_put_string(out, slice_of(value));
    else
        buf_puts(out, "null");
}

static struct slice header_name(const struct run_header *h)
{
    return (struct slice){h->line, h->name_len};
}

static int compare_names(struct slice a, struct slice b)
{
    size_t len = a.len < b.len ? a.len : b.len;
    int order = strncasecmp(a.data, b.data, len);

    return order ? order : (a.len > b.len) - (a.len < b.len);
}

/* The next name above `last` (all of them when last is NULL): a selection, as there are few. */
static const struct run_header *next_header(const struct run_options *o,
                                            const struct run_header *last)
{
    const struct run_header *best = NULL;

    for (size_t i = 0; i < o->http.header_count; i++) {
        const struct run_header *h = &o->http.headers[i];

        if (last && compare_names(header_name(h), header_name(last)) <= 0)
            continue;
        if (!best || compare_names(header_name(h), header_name(best)) < 0)
            best = h;
    }
    return best;
}

static void put_headers(struct buf *out, const struct run_options *o)
{
    put_name(out, "header");
    buf_putc(out, '[');
    for (const struct run_header *h = next_header(o, NULL), *first = h; h; h = next_header(o, h)) {
        buf_puts(out, h == first ? "\"" : ",\"");
        for (size_t i = 0; i < h->name_len; i++)
            buf_putc(out, (char)tolower((unsigned char)h->line[i]));
        buf_putc(out, '"');
    }
    buf_putc(out, ']');
}

static void put_list(struct buf *out, const char *name, const struct option_list *list)
{
    put_name(out, name);
    buf_putc(out, '[');
    for (size_t i = 0; i < list->count; i++) {
        buf_puts(out, i > 0 ? "," : "");
        json_put_string(out, slice_of(list->items[i]));
    }
    buf_putc(out, ']');
}

/*
 * The members in the order of their names. Those of a kind are there for that kind alone, which is
 * the same as at their defaults in any other.
 */
static void put_command(struct buf *out, const struct run_options *o)
{
    const struct run_command_options *c = &o->command;

    put_list(out, "(the command)", &c->words);
    put_text(out, "colsep", c->colsep);
    put_flag(out, "errors", o->errors != NULL);
    put_flag(out, "json", c->json);
    put_text(out, "key", o->key_expr);
    put_flag(out, "lines", o->lines);
    put_name(out, "max-args");
    buf_put_u64(out, (uint64_t)c->max_args);
    put_flag(out, "meta", o->meta);
    put_flag(out, "null", c->nul);
    put_text(out, "replace", c->replace);
    put_flag(out, "shell", o->shell);
    put_flag(out, "skip-bad", o->skip_bad);
    put_flag(out, "stdin", c->stdin_row);
    put_flag(out, "tag", c->tag);
    put_text(out, "tagstring", c->tagstring);
    put_text(out, "workdir", o->workdir);
}

static void put_worker(struct buf *out, const struct run_options *o)
{
    const struct run_worker_options *w = &o->worker;

    put_text(out, "command", w->command ? w->command : "process");
    put_flag(out, "errors", o->errors != NULL);
    put_text(out, "fallback", w->fallback);
    put_text(out, "key", o->key_expr);
    put_flag(out, "lines", o->lines);
    put_flag(out, "meta", o->meta);
    put_text(out, "select", o->select_expr);
    put_text(out, "session", w->session);
    put_flag(out, "shell", o->shell);
    put_flag(out, "skip-bad", o->skip_bad);
    put_text(out, "template", o->template_expr);
    put_text(out, "workdir", o->workdir);
    put_text(out, "worker", w->worker);
}

static void put_http(struct buf *out, const struct run_options *o)
{
    struct buf url = {0};

    put_flag(out, "errors", o->errors != NULL);
    put_headers(out, o);
    put_text(out, "key", o->key_expr);
    put_flag(out, "lines", o->lines);
    put_flag(out, "meta", o->meta);
    put_text(out, "method", o->http.method ? o->http.method : "POST");
    put_text(out, "select", o->select_expr);
    put_flag(out, "skip-bad", o->skip_bad);
    put_text(out, "template", o->template_expr);
    run_options_show_url(o, &url);
    put_name(out, "url");
    json_put_string(out, buf_slice(&url));
    out->failed = out->failed || url.failed;
    buf_free(&url);
}

void run_options_fingerprint(const struct run_options *o, struct buf *out)
{
    buf_putc(out, '{');
    if (out->failed)
        return;
    if (o->kind == RUN_COMMAND)
        put_command(out, o);
    else if (o->kind == RUN_WORKER)
        put_worker(out, o);
    else
        put_http(out, o);
    buf_putc(out, '}');
}

static bool is_default(struct slice value)
{
    return value.len == 0 || json_kind(value) == JSON_NULL || json_kind(value) == JSON_FALSE;
}

static void put_value(struct buf *out, struct slice value)
{
    if (is_default(value))
        buf_puts(out, "not given");
    else if (json_kind(value) == JSON_TRUE)
        buf_puts(out, "given");
    else if (json_kind(value) == JSON_STRING)
        json_unquote(value, out);
    else
        json_put_oneline(out, value);
}

static void put_difference(struct buf *out, struct slice key, struct slice before, struct slice now)
{
    if (key.len < 2 || key.data[1] != '(') /* the command has no option's name */
        buf_puts(out, "--");
    json_unquote(key, out);
    buf_puts(out, ": was ");
    put_value(out, before);
    buf_puts(out, ", is now ");
    put_value(out, now);
    buf_putc(out, '\n');
}

/* The member named by a quoted key; empty when absent. */
static struct slice member(struct slice object, struct slice key)
{
    struct json_iter it;
    struct slice k, v;

    json_iter_init(&it, object);
    while (json_iter_next(&it, &k, &v)) {
        if (slice_equal(k, key))
            return v;
    }
    return (struct slice){"", 0};
}

bool run_options_conflict(struct slice before, struct slice now, struct buf *out)
{
    struct json_iter it;
    struct slice key, value;
    bool differ = false;

    if (slice_equal(before, now))
        return false;
    if (!json_check(before, NULL) || json_kind(json_trim(before)) != JSON_OBJECT) {
        buf_puts(out, "the journal's record of the options cannot be read\n");
        return true;
    }
    before = json_trim(before);
    json_iter_init(&it, now);
    while (json_iter_next(&it, &key, &value)) {
        struct slice old = member(before, key);

        if (slice_equal(old, value) || (is_default(old) && is_default(value)))
            continue;
        put_difference(out, key, old, value);
        differ = true;
    }
    json_iter_init(&it, before);
    while (json_iter_next(&it, &key, &value)) {
        if (member(now, key).len > 0 || is_default(value))
            continue;
        put_difference(out, key, value, (struct slice){"", 0});
        differ = true;
    }
    return differ;
}
