#include "cli/client/verbs.h"

#include "base/json.h"
#include "base/parse.h"
#include "cli/client/request.h"
#include "cli/commands.h"

bool verbs_id(const struct client *c, const char *word, const char *what, int64_t *ret)
{
    if (parse_count(word, 1, INT64_MAX, ret, NULL) == WEIR_OK)
        return true;
    client_usage(c, "\"%.100s\" is no number of a %s", word, what);
    return false;
}

bool verbs_put_json(struct client *c)
{
    if (!c->o->json)
        return false;
    if (c->body.len > 0) {
        json_put_oneline(&c->out, buf_slice(&c->body));
        buf_putc(&c->out, '\n');
    }
    return true;
}

static int one(struct client *c, const struct verbs_each *e, const char *word, bool *told)
{
    _cleanup_buf_ struct buf path = {0};
    int64_t id;
    int result;

    if (e->numbers && !verbs_id(c, word, e->what, &id))
        return CLI_USAGE;
    buf_printf(&path, "/v1/%s/", e->kind);
    client_put_escaped(&path, word);
    if (e->action)
        buf_printf(&path, "/%s", e->action);
    result = client_ask(c, e->method, path.failed ? NULL : path.data, e->body);
    if (result == CLI_OK && !verbs_put_json(c)) {
        buf_puts(&c->out, *told && e->apart ? "\n" : "");
        e->tell(c, word);
        *told = true;
    }
    return result;
}

int verbs_each(struct client *c, const struct verbs_each *e)
{
    size_t end = e->count > 0 ? e->first + e->count : c->o->words.count;
    bool told = false;
    int result = CLI_OK;

    for (size_t i = e->first; i < end; i++) {
        int this = one(c, e, c->o->words.items[i], &told);

        if (result == CLI_OK)
            result = this;
        if (!client_flush(c))
            return CLI_FAILED;
    }
    return result;
}

void verbs_put_body(struct buf *out, const char *name, const char *json)
{
    buf_puts(out, out->len > 0 ? "," : "{");
    json_put_string(out, slice_of(name));
    buf_putc(out, ':');
    buf_puts(out, json);
}

void verbs_end_body(struct buf *out)
{
    buf_puts(out, out->len > 0 ? "}" : "{}");
}
