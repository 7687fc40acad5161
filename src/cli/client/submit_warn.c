/*
 * See submit.h: a task may name what is not there yet, or ask for more than a quota has, for a
 * reload may bring it. But mostly it is a slip.
 */
#include "cli/client/submit.h"

#include "base/json.h"
#include "base/parse.h"
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

static bool takes(struct slice pool, const struct submit_options *o)
{
    if (o->pool)
        return json_string_equals(view_member(pool, "name"), slice_of(o->pool));
    return json_kind(view_member(pool, "default")) == JSON_TRUE ||
           (o->skill && offers(pool, o->skill));
}

/* Whether so much may ever be in use there. */
static bool has_room(struct slice pool, const char *quota, double wanted)
{
    double limit;

    return !json_double(view_member(view_member(pool, quota), "limit"), &limit) || wanted <= limit;
}

/* Of the pools in c->body: whether one takes such tasks, and whether one of these has room for so much. */
struct found {
    bool taken, cpu, memory;
};

static struct found look(const struct client *c, const struct submit_options *o)
{
    struct found found = {0};
    struct json_iter it;
    struct slice key, pool;
    uint64_t memory_bytes = 0;

    if (o->memory && parse_size(o->memory, &memory_bytes, NULL) != WEIR_OK)
        memory_bytes = 0;
    json_iter_init(&it, buf_slice(&c->body));
    while (json_iter_next(&it, &key, &pool)) {
        if (!takes(pool, o))
            continue;
        found.taken = true;
        found.cpu = found.cpu || has_room(pool, "cpu", o->cpu);
        found.memory = found.memory || has_room(pool, "memory", (double)memory_bytes);
    }
    return found;
}

static void warn_of_quota(const struct client *c, const struct submit_options *o,
                          const char *option, const char *value)
{
    fprintf(stderr,
            "%s: warning: %s %s is more than the quota of %s%s%s; it waits until the "
            "configuration gives more\n",
            c->name, option, value, o->pool ? "pool \"" : "any pool that takes it",
            o->pool ? o->pool : "", o->pool ? "\"" : "");
}

static void warn_of_pools(struct client *c, const struct submit_options *o, const char *until)
{
    struct found found;
    char cpu[32];

    if (!ask(c, "/v1/pools"))
        return;
    found = look(c, o);
    if (!found.taken && o->pool)
        fprintf(stderr, "%s: warning: there is no pool \"%s\"; %s\n", c->name, o->pool, until);
    else if (!found.taken && o->skill)
        fprintf(stderr, "%s: warning: no pool offers the skill \"%s\"; %s\n", c->name, o->skill,
                until);
    else if (!found.taken && o->wait)
        fprintf(stderr, "%s: warning: there is no default pool, and --pool names none; %s\n",
                c->name, until);
    if (!found.taken)
        return;
    snprintf(cpu, sizeof cpu, "%.9g", o->cpu);
    if (!found.cpu)
        warn_of_quota(c, o, "--cpu", cpu);
    if (!found.memory)
        warn_of_quota(c, o, "--memory", o->memory);
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

    if (o->pool || o->skill || o->wait || o->cpu > 0 || o->memory)
        warn_of_pools(c, o, until);
    if (o->slots.count == 0 || !ask(c, "/v1/slots"))
        return;
    for (size_t i = 0; i < o->slots.count; i++)
        if (!has_slot(c, o->slots.items[i]))
            fprintf(stderr, "%s: warning: there is no slot \"%s\"; %s\n", c->name,
                    o->slots.items[i], until);
}
