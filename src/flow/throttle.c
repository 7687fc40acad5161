/*
 * The kinds of throttle, as a table: a new kind is its functions and one line in `kinds`. The calls
 * at the end only look the verb up.
 */
#include "flow/throttle.h"

#include "base/error.h"

#include <stdint.h>
#include <string.h>

/* What a kind does. An entry that is NULL: it has no part in this. */
struct throttle_verbs {
    const char *name;
    enum weir_status (*check)(const struct throttle_options *o, struct weir_error *err);
    void (*init)(struct throttle *t);
    struct instant (*when)(const struct throttle *t);
    size_t (*window)(const struct throttle *t);
    duration_ns (*delay)(const struct throttle *t);
    void (*sent)(struct throttle *t, struct instant now);
    duration_ns (*refused)(struct throttle *t, struct instant now);
    void (*accepted)(struct throttle *t, struct instant now);
};

static duration_ns none_refused(struct throttle *t, struct instant now)
{
    (void)now;
    return THROTTLE_NONE_WAIT_NS + rng_range(t->jitter, 0, THROTTLE_NONE_WAIT_NS);
}

static enum weir_status by_aimd_check(const struct throttle_options *o, struct weir_error *err)
{
    return aimd_options_check(&o->aimd, err);
}

static void by_aimd_init(struct throttle *t)
{
    aimd_init(&t->aimd, &t->options.aimd);
}

static duration_ns by_aimd_delay(const struct throttle *t)
{
    return aimd_delay(&t->aimd);
}

static duration_ns by_aimd_refused(struct throttle *t, struct instant now)
{
    (void)now;
    return aimd_refused(&t->aimd);
}

static void by_aimd_accepted(struct throttle *t, struct instant now)
{
    (void)now;
    aimd_accepted(&t->aimd);
}

static const struct throttle_verbs kinds[THROTTLE_KINDS] = {
    [THROTTLE_NONE] = {.name = "none", .refused = none_refused},
    [THROTTLE_AIMD] = {.name = "aimd",
                       .check = by_aimd_check,
                       .init = by_aimd_init,
                       .delay = by_aimd_delay,
                       .refused = by_aimd_refused,
                       .accepted = by_aimd_accepted},
};

/* An enum may be signed or not, as the compiler likes; a cast to unsigned covers both ends. */
static bool kind_is_known(enum throttle_kind kind)
{
    return (unsigned)kind < THROTTLE_KINDS;
}

const char *throttle_kind_name(enum throttle_kind kind)
{
    return kind_is_known(kind) ? kinds[kind].name : "unknown";
}

bool throttle_kind_from_name(const char *name, enum throttle_kind *ret)
{
    for (unsigned i = 0; i < THROTTLE_KINDS; i++) {
        if (strcmp(name, kinds[i].name) == 0) {
            *ret = (enum throttle_kind)i;
            return true;
        }
    }
    return false;
}

void throttle_options_init(struct throttle_options *o)
{
    *o = (struct throttle_options){.kind = THROTTLE_AIMD};
    aimd_options_init(&o->aimd);
}

enum weir_status throttle_options_check(const struct throttle_options *o, struct weir_error *err)
{
    if (!kind_is_known(o->kind))
        return error_set(err, WEIR_E_INVALID,
                         "throttle is %d; it must be one of none (%d), aimd (%d)", (int)o->kind,
                         THROTTLE_NONE, THROTTLE_AIMD);
    return kinds[o->kind].check ? kinds[o->kind].check(o, err) : WEIR_OK;
}

void throttle_init(struct throttle *t, const struct throttle_options *o, struct rng *jitter)
{
    *t = (struct throttle){.options = *o, .jitter = jitter};
    if (kinds[o->kind].init)
        kinds[o->kind].init(t);
}

struct instant throttle_when(const struct throttle *t)
{
    const struct throttle_verbs *k = &kinds[t->options.kind];

    return k->when ? k->when(t) : INSTANT_NONE;
}

size_t throttle_window(const struct throttle *t)
{
    const struct throttle_verbs *k = &kinds[t->options.kind];

    return k->window ? k->window(t) : SIZE_MAX;
}

duration_ns throttle_delay(const struct throttle *t)
{
    const struct throttle_verbs *k = &kinds[t->options.kind];

    return k->delay ? k->delay(t) : 0;
}

void throttle_sent(struct throttle *t, struct instant now)
{
    if (kinds[t->options.kind].sent)
        kinds[t->options.kind].sent(t, now);
}

duration_ns throttle_refused(struct throttle *t, struct instant now)
{
    return kinds[t->options.kind].refused(t, now);
}

void throttle_accepted(struct throttle *t, struct instant now)
{
    if (kinds[t->options.kind].accepted)
        kinds[t->options.kind].accepted(t, now);
}
