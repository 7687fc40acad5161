/*
 * See submit.h: a task may name what is not there yet, for a reload may bring it. But mostly it is
 * a slip.
 */
#include "cli/client/submit.h"

#include "base/json.h"
#include "cli/client/request.h"
#include "cli/client/view.h"

#include <stdio.h>
#include <string.h>

/* What cannot be asked is not warned of: the task is accepted, and that is what counts. */
static bool ask(struct client *c, const char *path)
{
    struct client_request r = {.method = "GET", .path = path};

    return client_send(c, &r, NULL) == WEIR_OK && c->status == 200 &&
           json_kind(buf_slice(&c->body)) == JSON_ARRAY;
}

static bool offers(struct slice pool, const char *skill)
{
    struct json_iter it;
    struct slice key, one;

    json_iter_init(&it, view_member(pool, "skills"));
    while (json_iter_next(&it, &key, &one))
        if (json_string_equals(one, slice_of(skill)))
            return true;
    return false;
}

/* Whether one of the pools in c->body takes such tasks. */
static bool is_taken(const struct client *c, const struct submit_options *o)
{
    struct json_iter it;
    struct slice key, pool;

    json_iter_init(&it, buf_slice(&c->body));
    while (json_iter_next(&it, &key, &pool)) {
        if (o->pool ? json_string_equals(view_member(pool, "name"), slice_of(o->pool))
                    : json_kind(view_member(pool, "default")) == JSON_TRUE ||
                          (o->skill && offers(pool, o->skill)))
            return true;
    }
    return false;
}

static bool has_slot(const struct client *c, const char *name)
{
    struct json_iter it;
    struct slice key, slot;
    int64_t count;

    json_iter_init(&it, buf_slice(&c->body));
    while (json_iter_next(&it, &key, &slot))
        if (json_string_equals(view_member(slot, "name"), slice_of(name)))
            return json_int64(view_member(slot, "count"), &count) && count > 0;
    return false;
}

void submit_warn(struct client *c, const struct submit_options *o)
{
    static const char until[] = "it waits until the configuration has one";

    if ((o->pool || o->skill || o->wait) && ask(c, "/v1/pools") && !is_taken(c, o)) {
        if (o->pool)
            fprintf(stderr, "%s: warning: there is no pool \"%s\"; %s\n", c->name, o->pool, until);
        else if (o->skill)
            fprintf(stderr, "%s: warning: no pool offers the skill \"%s\"; %s\n", c->name, o->skill,
                    until);
        else
            fprintf(stderr, "%s: warning: there is no default pool, and --pool names none; %s\n",
                    c->name, until);
    }
    if (o->slots.count == 0 || !ask(c, "/v1/slots"))
        return;
    for (size_t i = 0; i < o->slots.count; i++)
        if (!has_slot(c, o->slots.items[i]))
            fprintf(stderr, "%s: warning: there is no slot \"%s\"; %s\n", c->name,
                    o->slots.items[i], until);
}
