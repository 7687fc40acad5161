/*
 * The smallest dispatcher that there can be, for tests of an executor whose places are workers: it
 * queues attempts until the crew has a worker for them, and calls the crew in each turn of the
 * loop, as the real one does.
 *
 *     mini_dispatcher_open(&d, &loop, &host);
 *     process_executor_new(&options, &loop, &d.inner_host, &ex, &err);
 *     mini_dispatcher_join(&d, ex);             // from now on &d.base is the executor that is to be used
 *     d.base.ops->start(&d.base, attempt); ...
 *     d.base.ops->close(&d.base);
 *
 * So it is an executor in front of another one: what is given to it by start() is reported to
 * `host` once. An attempt that had not begun is queued again and counted.
 */
#ifndef UNIT_EXEC_MINI_DISPATCHER_H
#define UNIT_EXEC_MINI_DISPATCHER_H

#include "base/list.h"
#include "core/ports/executor.h"
#include "core/worker/crew.h"

#include <assert.h>
#include <uv.h>

struct mini_dispatcher {
    struct core_executor base;
    struct core_executor_host inner_host, *host;
    struct core_executor *inner;
    struct core_attempt *first, **tail; /* queued */
    uv_prepare_t prepare;
    uv_timer_t timer;
    size_t queued, not_begun;
    bool closing;
};

static struct mini_dispatcher *minid_of_host(struct core_executor_host *h)
{
    return list_entry(h, struct mini_dispatcher, inner_host);
}

static void minid_push(struct mini_dispatcher *d, struct core_attempt *a)
{
    a->next = NULL;
    a->edge = NULL;
    *d->tail = a;
    d->tail = &a->next;
    d->queued++;
}

static struct core_attempt *minid_take(struct mini_dispatcher *d, struct core_attempt **at)
{
    struct core_attempt *a = *at;

    *at = a->next;
    if (!*at)
        d->tail = at;
    a->next = NULL;
    d->queued--;
    return a;
}

static void minid_report(struct core_executor_host *h, struct core_attempt *chain)
{
    struct mini_dispatcher *d = minid_of_host(h);

    while (chain) {
        struct core_attempt *a = chain;

        chain = a->next;
        a->next = NULL;
        if (a->not_begun) {
            d->not_begun++;
            a->not_begun = false;
            answer_clear(&a->answer);
            minid_push(d, a);
        } else {
            d->host->report(d->host, a);
        }
    }
}

static struct instant minid_now(struct core_executor_host *h)
{
    struct mini_dispatcher *d = minid_of_host(h);

    return d->host->now(d->host);
}

static void minid_tell(struct core_executor_host *h, const struct core_event *ev)
{
    struct mini_dispatcher *d = minid_of_host(h);

    if (d->host->tell)
        d->host->tell(d->host, ev);
}

static void minid_began(struct core_executor_host *h, const struct core_attempt_began *b)
{
    struct mini_dispatcher *d = minid_of_host(h);

    if (d->host->began)
        d->host->began(d->host, b);
}

static void minid_beat(struct core_executor_host *h, const struct core_heartbeat *b)
{
    struct mini_dispatcher *d = minid_of_host(h);

    if (d->host->beat)
        d->host->beat(d->host, b);
}

static void minid_on_timer(uv_timer_t *timer)
{
    (void)timer; /* the turn follows by itself */
}

/* Tasks of a session go where it is bound; the first that cannot go does not hold up those behind it. */
static void minid_dispatch(struct mini_dispatcher *d, struct instant now)
{
    struct crew *crew = d->inner->crew;
    struct core_attempt **at = &d->first;
    bool started = false;

    while (*at) {
        struct worker *w;
        struct core_attempt *a = *at;

        if (crew_pick(crew, a->session, &w) != CREW_TAKE) {
            if (!a->session)
                break;
            at = &a->next;
            continue;
        }
        minid_take(d, at);
        a->worker = w;
        a->session_lost = crew_give(crew, w, a->session, now);
        d->inner->ops->start(d->inner, a);
        started = true;
    }
    if (started)
        d->inner->ops->kick(d->inner);
}

static void minid_turn(struct mini_dispatcher *d)
{
    struct instant now = d->host->now(d->host), when;

    if (d->closing)
        return;
    minid_dispatch(d, now);
    crew_want(d->inner->crew, d->queued, now);
    when = crew_run(d->inner->crew, now);
    minid_dispatch(d, now);
    if (!instant_is_never(when)) {
        duration_ns wait = instant_before(now, when) ? instant_diff(when, now) : 0;

        uv_timer_start(&d->timer, minid_on_timer, (uint64_t)(wait / NS_PER_MS) + 1, 0);
    }
}

static void minid_on_prepare(uv_prepare_t *prepare)
{
    minid_turn(prepare->data);
}

static void minid_start(struct core_executor *ex, struct core_attempt *a)
{
    minid_push((struct mini_dispatcher *)ex, a);
}

static void minid_kick(struct core_executor *ex)
{
    minid_turn((struct mini_dispatcher *)ex);
}

static void minid_cancel(struct core_executor *ex, struct core_attempt *a)
{
    struct mini_dispatcher *d = (struct mini_dispatcher *)ex;

    for (struct core_attempt **at = &d->first; *at; at = &(*at)->next) {
        if (*at != a)
            continue;
        minid_take(d, at);
        a->answer.started_at = a->answer.ended_at = minid_now(&d->inner_host);
        a->answer.outcome = WEIR_OUTCOME_CANCELLED;
        a->answer.reason = WEIR_REASON_NONE;
        d->host->report(d->host, a);
        return;
    }
    d->inner->ops->cancel(d->inner, a);
}

static void minid_close(struct core_executor *ex)
{
    struct mini_dispatcher *d = (struct mini_dispatcher *)ex;

    d->closing = true;
    uv_close((uv_handle_t *)&d->prepare, NULL);
    uv_close((uv_handle_t *)&d->timer, NULL);
    d->inner->ops->close(d->inner);
}

static void mini_dispatcher_open(struct mini_dispatcher *d, uv_loop_t *loop,
                                 struct core_executor_host *host)
{
    *d = (struct mini_dispatcher){.host = host,
                                  .inner_host = {.report = minid_report,
                                                 .now = minid_now,
                                                 .tell = minid_tell,
                                                 .began = minid_began,
                                                 .beat = minid_beat}};
    d->tail = &d->first;
    uv_prepare_init(loop, &d->prepare);
    uv_timer_init(loop, &d->timer);
    d->prepare.data = d;
}

static void mini_dispatcher_join(struct mini_dispatcher *d, struct core_executor *inner)
{
    static struct core_executor_ops ops = {
        .cancels_at_once = true,
        .start = minid_start,
        .kick = minid_kick,
        .cancel = minid_cancel,
        .close = minid_close,
    };

    ops.kind = inner->ops->kind;
    d->base.ops = &ops;
    d->inner = inner;
    uv_prepare_start(&d->prepare, minid_on_prepare);
}

#endif
