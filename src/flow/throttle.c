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
    void (*reconfigure)(struct throttle *t);
    struct instant (*when)(struct throttle *t, struct instant now, size_t in_flight, double cost);
    struct throttle_ticket (*sent)(struct throttle *t, struct instant now, size_t in_flight,
                                   double cost);
    duration_ns (*refused)(struct throttle *t, struct instant now,
                           const struct throttle_ticket *ticket,
                           const struct throttle_refusal *refusal);
    void (*accepted)(struct throttle *t, struct instant now, const struct throttle_ticket *ticket);
    void (*answered)(struct throttle *t, struct instant now, const struct throttle_ticket *ticket);
    void (*lost)(struct throttle *t, struct instant now, const struct throttle_ticket *ticket);
};

/* ---- none ---- */

static duration_ns none_refused(struct throttle *t, struct instant now,
                                const struct throttle_ticket *ticket,
                                const struct throttle_refusal *refusal)
{
    (void)now;
    (void)ticket;
    (void)refusal;
    return THROTTLE_NONE_WAIT_NS + rng_range(t->jitter, 0, THROTTLE_NONE_WAIT_NS);
}

/* ---- aimd ---- */

static enum weir_status by_aimd_check(const struct throttle_options *o, struct weir_error *err)
{
    return aimd_options_check(&o->aimd, err);
}

static void by_aimd_init(struct throttle *t)
{
    aimd_init(&t->aimd, &t->options.aimd);
    throttle_state_init(&t->state, THROTTLE_MODE_DELAY);
}

static void by_aimd_reconfigure(struct throttle *t)
{
    t->aimd.options = t->options.aimd;
}

/* The delay may have moved: that is a decision, with its reason. */
static void by_aimd_changed(struct throttle *t, struct instant now, enum throttle_reason reason)
{
    struct throttle_state to = t->state;

    to.delay_ns = aimd_delay(&t->aimd);
    if (to.delay_ns != t->state.delay_ns)
        throttle_state_change(&t->state, now, reason, &to);
}

static duration_ns by_aimd_refused(struct throttle *t, struct instant now,
                                   const struct throttle_ticket *ticket,
                                   const struct throttle_refusal *refusal)
{
    duration_ns delay = aimd_refused(&t->aimd);

    (void)ticket;
    (void)refusal;
    by_aimd_changed(t, now, THROTTLE_REASON_REFUSED);
    return delay;
}

static void by_aimd_accepted(struct throttle *t, struct instant now,
                             const struct throttle_ticket *ticket)
{
    (void)ticket;
    aimd_accepted(&t->aimd);
    by_aimd_changed(t, now, THROTTLE_REASON_ACCEPTED);
}

/* ---- adaptive ---- */

static enum weir_status by_adaptive_check(const struct throttle_options *o, struct weir_error *err)
{
    return adaptive_options_check(&o->adaptive, err);
}

static void by_adaptive_init(struct throttle *t)
{
    adaptive_init(&t->adaptive, &t->options.adaptive, t->jitter);
}

static void by_adaptive_reconfigure(struct throttle *t)
{
    adaptive_reconfigure(&t->adaptive, &t->options.adaptive);
}

static struct instant by_adaptive_when(struct throttle *t, struct instant now, size_t in_flight,
                                       double cost)
{
    return adaptive_when(&t->adaptive, now, in_flight, cost);
}

static struct throttle_ticket by_adaptive_sent(struct throttle *t, struct instant now,
                                               size_t in_flight, double cost)
{
    return adaptive_sent(&t->adaptive, now, in_flight, cost);
}

static duration_ns by_adaptive_refused(struct throttle *t, struct instant now,
                                       const struct throttle_ticket *ticket,
                                       const struct throttle_refusal *refusal)
{
    return adaptive_refused(&t->adaptive, now, ticket, refusal);
}

static void by_adaptive_accepted(struct throttle *t, struct instant now,
                                 const struct throttle_ticket *ticket)
{
    adaptive_accepted(&t->adaptive, now, ticket);
}

static void by_adaptive_answered(struct throttle *t, struct instant now,
                                 const struct throttle_ticket *ticket)
{
    adaptive_answered(&t->adaptive, now, ticket);
}

static void by_adaptive_lost(struct throttle *t, struct instant now,
                             const struct throttle_ticket *ticket)
{
    adaptive_lost(&t->adaptive, now, ticket);
}

/* ---- the table ---- */

static const struct throttle_verbs kinds[THROTTLE_KINDS] = {
    [THROTTLE_NONE] = {.name = "none", .refused = none_refused},
    [THROTTLE_AIMD] = {.name = "aimd",
                       .check = by_aimd_check,
                       .init = by_aimd_init,
                       .reconfigure = by_aimd_reconfigure,
                       .refused = by_aimd_refused,
                       .accepted = by_aimd_accepted},
    [THROTTLE_ADAPTIVE] = {.name = "adaptive",
                           .check = by_adaptive_check,
                           .init = by_adaptive_init,
                           .reconfigure = by_adaptive_reconfigure,
                           .when = by_adaptive_when,
                           .sent = by_adaptive_sent,
                           .refused = by_adaptive_refused,
                           .accepted = by_adaptive_accepted,
                           .answered = by_adaptive_answered,
                           .lost = by_adaptive_lost},
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
    *o = (struct throttle_options){.kind = THROTTLE_ADAPTIVE};
    aimd_options_init(&o->aimd);
    adaptive_options_init(&o->adaptive);
}

enum weir_status throttle_options_check(const struct throttle_options *o, struct weir_error *err)
{
    if (!kind_is_known(o->kind))
        return error_set(err, WEIR_E_INVALID,
                         "throttle is %d; it must be one of none (%d), aimd (%d), adaptive (%d)",
                         (int)o->kind, THROTTLE_NONE, THROTTLE_AIMD, THROTTLE_ADAPTIVE);
    return kinds[o->kind].check ? kinds[o->kind].check(o, err) : WEIR_OK;
}

void throttle_init(struct throttle *t, const struct throttle_options *o, struct rng *jitter)
{
    *t = (struct throttle){.options = *o, .jitter = jitter};
    throttle_state_init(&t->state, THROTTLE_MODE_OPEN);
    if (kinds[o->kind].init)
        kinds[o->kind].init(t);
}

void throttle_reconfigure(struct throttle *t, const struct throttle_options *o)
{
    if (o->kind != t->options.kind) {
        throttle_init(t, o, t->jitter);
        return;
    }
    t->options = *o;
    if (kinds[o->kind].reconfigure)
        kinds[o->kind].reconfigure(t);
}

struct instant throttle_when(struct throttle *t, struct instant now, size_t in_flight, double cost)
{
    const struct throttle_verbs *k = &kinds[t->options.kind];

    return k->when ? k->when(t, now, in_flight, cost) : now;
}

struct throttle_ticket throttle_sent(struct throttle *t, struct instant now, size_t in_flight,
                                     double cost)
{
    const struct throttle_verbs *k = &kinds[t->options.kind];

    return k->sent ? k->sent(t, now, in_flight, cost) : (struct throttle_ticket){.sent_at = now};
}

duration_ns throttle_refused(struct throttle *t, struct instant now,
                             const struct throttle_ticket *ticket,
                             const struct throttle_refusal *refusal)
{
    return kinds[t->options.kind].refused(t, now, ticket, refusal);
}

void throttle_accepted(struct throttle *t, struct instant now, const struct throttle_ticket *ticket)
{
    if (kinds[t->options.kind].accepted)
        kinds[t->options.kind].accepted(t, now, ticket);
}

struct throttle_ticket throttle_sent_many(struct throttle *t, struct instant now, size_t in_flight,
                                          uint32_t count)
{
    return t->options.kind == THROTTLE_ADAPTIVE
               ? adaptive_sent_many(&t->adaptive, now, in_flight, count)
               : (struct throttle_ticket){.sent_at = now};
}

void throttle_accepted_many(struct throttle *t, struct instant now,
                            const struct throttle_ticket *last, uint32_t count)
{
    if (t->options.kind == THROTTLE_ADAPTIVE)
        adaptive_accepted_many(&t->adaptive, now, last, count);
    else if (t->state.delay_ns > 0)
        for (; count > 0; count--)
            throttle_accepted(t, now, last);
}

void throttle_answered(struct throttle *t, struct instant now, const struct throttle_ticket *ticket)
{
    if (kinds[t->options.kind].answered)
        kinds[t->options.kind].answered(t, now, ticket);
}

void throttle_lost(struct throttle *t, struct instant now, const struct throttle_ticket *ticket)
{
    if (kinds[t->options.kind].lost)
        kinds[t->options.kind].lost(t, now, ticket);
}

bool throttle_is_open(const struct throttle *t)
{
    const struct throttle_state *s = throttle_state(t);

    return s->mode == THROTTLE_MODE_OPEN || (s->mode == THROTTLE_MODE_DELAY && s->delay_ns == 0);
}

const struct throttle_state *throttle_state(const struct throttle *t)
{
    return t->options.kind == THROTTLE_ADAPTIVE ? &t->adaptive.state : &t->state;
}
