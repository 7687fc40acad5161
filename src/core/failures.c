/*
 * Many rows of a batch that fail alike (alike.h): one event says so, and the batch's policy decides
 * what follows.
 *
 * A batch that is to be stopped is so at the end of the dispatcher's call, and not in the middle of
 * what it was doing.
 */
#include "core/internal.h"

#include "base/mem.h"

static bool is_to_stop(const struct core_batch *b)
{
    switch (b->options.on_failures) {
    case FAILURES_STOP:
        return b->stats.failed_alike > 0;
    case FAILURES_STOP_AFTER_SHARE:
        return b->stats.failed_alike > 0 &&
               (double)b->stats.failures >= b->options.failure_share * (double)b->stats.finished;
    case FAILURES_GO_ON:
        break;
    }
    return false;
}

static void tell(const struct core_batch *b, const struct alike_kind *k, struct instant now)
{
    char detail[320];

    tell_detail(b, EVENT_FAILURES_ALIKE, alike_describe(k, detail, sizeof detail), now);
}

/* Without memory nothing is counted, and the batch goes on. */
static bool has_counts(struct core_batch *b)
{
    if (!b->alike) {
        b->alike = mem_alloc(sizeof *b->alike);
        if (b->alike)
            alike_init(b->alike);
    }
    return b->alike != NULL;
}

static void stop_when_due(struct core_batch *b)
{
    bool alike = is_to_stop(b);

    if (b->stop_due || b->stopping ||
        (!alike && !(b->options.halts && b->options.halts(b->options.halts_ctx))))
        return;
    b->stats.stopped_alike = alike;
    b->stop_due = true;
    b->dispatcher->stops_due++;
}

void failures_note(struct core_batch *b, const struct core_task *t, struct instant now)
{
    const struct alike_kind *k = NULL;

    if (t->answer.outcome == WEIR_OUTCOME_OK) {
        if (b->alike)
            alike_succeeded(b->alike);
    } else if (t->answer.outcome != WEIR_OUTCOME_CANCELLED && has_counts(b)) {
        k = alike_failed(b->alike, &t->answer, t->index);
        b->stats.failed_alike = b->alike->told;
    }
    if (k)
        tell(b, k, now);
    stop_when_due(b);
}

void failures_stop(struct dispatcher *d, struct instant now)
{
    if (d->stops_due == 0)
        return;
    list_foreach (node, &d->batches) {
        struct core_batch *b = list_entry(node, struct core_batch, link);

        if (!b->stop_due)
            continue;
        b->stop_due = false;
        d->stops_due--;
        if (b->closed)
            continue;
        dispatcher_stop(d, b, false, now);
    }
}
