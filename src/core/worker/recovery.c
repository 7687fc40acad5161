/* What to do about a failure: a table by category, and the two rules that raise a severity. */
#include "core/worker/recovery.h"

#include <assert.h>

/* Failures of one task that raise the severity by a step. */
#define RAISED_AFTER 3

static const struct recovery_table table = {{
    [RECOVERY_INITIALIZATION] = {RECOVERY_INITIALIZATION, RECOVERY_CRITICAL, RECOVERY_BREAK_CIRCUIT,
                                 3, true, BACKOFF_EXPONENTIAL, 1 * NS_PER_S},
    [RECOVERY_CONNECTION] = {RECOVERY_CONNECTION, RECOVERY_MAJOR, RECOVERY_RETRY, 5, true,
                             BACKOFF_EXPONENTIAL, 0},
    [RECOVERY_COMMUNICATION] = {RECOVERY_COMMUNICATION, RECOVERY_MAJOR, RECOVERY_RETRY_AT_ONCE, 3,
                                true, BACKOFF_LINEAR, 0},
    [RECOVERY_TIMEOUT] = {RECOVERY_TIMEOUT, RECOVERY_MAJOR, RECOVERY_RETRY, 2, true,
                          BACKOFF_EXPONENTIAL, 3 * NS_PER_S},
    [RECOVERY_RESOURCE] = {RECOVERY_RESOURCE, RECOVERY_CRITICAL, RECOVERY_BREAK_CIRCUIT, 1, false,
                           BACKOFF_LINEAR, 0},
    [RECOVERY_HEALTH_CHECK] = {RECOVERY_HEALTH_CHECK, RECOVERY_MINOR, RECOVERY_RETRY, 3, true,
                               BACKOFF_LINEAR, 5 * NS_PER_S},
    [RECOVERY_SESSION] = {RECOVERY_SESSION, RECOVERY_MINOR, RECOVERY_RETRY_AT_ONCE, 2, false,
                          BACKOFF_LINEAR, 0},
    [RECOVERY_REMOTE_TEMPORARY] = {RECOVERY_REMOTE_TEMPORARY, RECOVERY_MAJOR, RECOVERY_RETRY, 3,
                                   true, BACKOFF_EXPONENTIAL, 1 * NS_PER_S},
    [RECOVERY_REMOTE_EXCEPTION] = {RECOVERY_REMOTE_EXCEPTION, RECOVERY_MAJOR, RECOVERY_FAIL_OVER, 1,
                                   false, BACKOFF_LINEAR, 0},
    [RECOVERY_SYSTEM] = {RECOVERY_SYSTEM, RECOVERY_CRITICAL, RECOVERY_GIVE_UP, 0, false,
                         BACKOFF_LINEAR, 0},
}};

const struct recovery_table *recovery_table(void)
{
    return &table;
}

enum recovery_category recovery_category(const struct core_answer *a)
{
    if (a->reason == WEIR_REASON_INTERNAL)
        return a->retryable ? RECOVERY_RESOURCE : RECOVERY_SYSTEM;
    if (a->reason == WEIR_REASON_CHECKOUT_TIMEOUT)
        return RECOVERY_SESSION;
    if (a->outcome == WEIR_OUTCOME_TIMEOUT)
        return RECOVERY_TIMEOUT;
    if (a->reason == WEIR_REASON_PROTOCOL || a->reason == WEIR_REASON_WORKER_PROTOCOL ||
        a->reason == WEIR_REASON_RESPONSE_TOO_LARGE)
        return RECOVERY_COMMUNICATION;
    if (a->outcome == WEIR_OUTCOME_LOST)
        return RECOVERY_CONNECTION;
    return a->retryable ? RECOVERY_REMOTE_TEMPORARY : RECOVERY_REMOTE_EXCEPTION;
}

static enum recovery_severity severity_of(const struct recovery_rule *r,
                                          const struct recovery_case *c)
{
    if (c->all_workers || r->severity == RECOVERY_CRITICAL)
        return RECOVERY_CRITICAL;
    return c->attempt >= RAISED_AFTER ? r->severity + 1 : r->severity;
}

static duration_ns wait_of(const struct recovery_rule *r, const struct recovery_case *c,
                           struct rng *rng)
{
    const struct backoff_options backoff = {
        .kind = r->backoff,
        .initial_ns = RECOVERY_BACKOFF_BASE_NS,
        .factor = 2,
        .ceiling_ns = RECOVERY_BACKOFF_CEILING_NS,
    };
    duration_ns wait;

    if (r->strategy == RECOVERY_FAIL_OVER)
        return r->first_ns;
    if (c->backoff)
        return backoff_wait(c->backoff, c->attempt, c->last_wait_ns, rng);
    if (!r->backs_off || c->attempt < 2)
        return r->first_ns;
    wait = backoff_wait(&backoff, c->attempt - 1, c->last_wait_ns, rng);
    return wait > r->first_ns ? wait : r->first_ns;
}

/* By the rule, or what was said in its place. */
static bool is_retried(const struct recovery_rule *r, const struct recovery_case *c)
{
    bool retries = r->strategy == RECOVERY_RETRY || r->strategy == RECOVERY_RETRY_AT_ONCE;

    return retries && c->max_attempts > 0 ? c->attempt < c->max_attempts : c->attempt <= r->retries;
}

struct recovery_decision recovery_decide(const struct recovery_table *t,
                                         enum recovery_category category,
                                         const struct recovery_case *c, struct rng *rng)
{
    const struct recovery_rule *r = &t->rules[category];
    struct recovery_decision d = {
        .strategy = r->strategy,
        .severity = severity_of(r, c),
        .again = is_retried(r, c),
    };

    assert(c->attempt >= 1);
    if (r->strategy == RECOVERY_FAIL_OVER) {
        d.again = c->has_fallback;
        if (!d.again)
            d.strategy = RECOVERY_GIVE_UP;
    } else if (d.severity == RECOVERY_CRITICAL && c->all_workers &&
               (r->strategy == RECOVERY_RETRY || r->strategy == RECOVERY_RETRY_AT_ONCE)) {
        d.strategy = RECOVERY_BREAK_CIRCUIT;
    }
    d.break_circuit = d.strategy == RECOVERY_BREAK_CIRCUIT;
    if (d.again)
        d.wait_ns = wait_of(r, c, rng);
    return d;
}

const char *recovery_category_name(enum recovery_category category)
{
    static const char *const names[RECOVERY_CATEGORIES] = {
        [RECOVERY_INITIALIZATION] = "initialization",
        [RECOVERY_CONNECTION] = "connection",
        [RECOVERY_COMMUNICATION] = "communication",
        [RECOVERY_TIMEOUT] = "timeout",
        [RECOVERY_RESOURCE] = "resource",
        [RECOVERY_HEALTH_CHECK] = "health_check",
        [RECOVERY_SESSION] = "session",
        [RECOVERY_REMOTE_TEMPORARY] = "remote_temporary",
        [RECOVERY_REMOTE_EXCEPTION] = "remote_exception",
        [RECOVERY_SYSTEM] = "system",
    };

    return (unsigned)category < RECOVERY_CATEGORIES ? names[category] : "unknown";
}

const char *recovery_severity_name(enum recovery_severity severity)
{
    static const char *const names[] = {"minor", "major", "critical"};

    return (unsigned)severity <= RECOVERY_CRITICAL ? names[severity] : "unknown";
}

const char *recovery_strategy_name(enum recovery_strategy strategy)
{
    static const char *const names[] = {"retry", "retry_at_once", "fail_over", "break_circuit",
                                        "give_up"};

    return (unsigned)strategy <= RECOVERY_GIVE_UP ? names[strategy] : "unknown";
}
