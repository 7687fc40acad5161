/*
 * Looks at everything, and counts all again.
 */
#include "core/schedule/internal.h"

/* Lists are in order, and the line is in its heap exactly when it has something that could run. */
static const char *check_line(const struct schedule *s, const struct schedule_line *l)
{
    const struct list *lists[2] = {&l->ready, &l->aside};
    const struct session *n = l->session;
    size_t count = 0;
    bool could;

    for (int i = 0; i < 2; i++) {
        int64_t rank = INT64_MIN;

        list_foreach (link, lists[i]) {
            const struct schedule_task *t = task_of(link);

            if (t->line != l || t->aside != (i == 1))
                return "a task is in the list of another line or state";
            if (t->rank < rank)
                return "the tasks of a line are not in order";
            rank = t->rank;
            count++;
        }
        if (i == 0 && count > 0 && rank != l->last_rank)
            return "a line does not know the rank of its last task";
    }
    if (count != l->count)
        return "a line's count is not that of its tasks";
    could = !list_empty(&l->ready) && !(n && n->running + n->aside > 0);
    if (could != order_has(&l->item) || (could && l->item.at >= l->queue->lines.len))
        return "a line is not where it must be";
    if (could) {
        const struct order_entry *e = &l->queue->lines.entries[l->item.at];
        struct order_key key = line_key(s, l);

        if (e->item != &l->item || e->key.first != key.first || e->key.second != key.second)
            return "a line's key is not that of its first task";
    }
    return NULL;
}

static const char *check_queue(const struct schedule *s, const struct queue *q)
{
    const struct order_entry *first = order_first(&q->lines);
    struct order_key key, has;

    if (!order_is_valid(&q->lines))
        return "the lines of a queue are not in order";
    if (q->line_count == 0 || q->lines.len > q->line_count || q->lines.cap < q->line_count)
        return "a queue has other lines than it knows of";
    if ((first != NULL) != order_has(&q->item) || (first && q->item.at >= q->kind->queues.len))
        return "a queue is not where it must be";
    if (!first)
        return NULL;
    has = q->kind->queues.entries[q->item.at].key;
    key = is_fair(s) ? tenant_key(q->tenant) : first->key;
    if (has.first != key.first || has.second != key.second)
        return "a queue's key is not that of its tenant or its first line";
    return NULL;
}

static const char *check_kind(const struct schedule *s, const struct kind *k)
{
    bool active = k->active_at != NOT_ACTIVE;

    if (!order_is_valid(&k->queues))
        return "the queues of a kind are not in order";
    if (k->queue_count == 0 || k->queues.cap < k->queue_count)
        return "a kind has other queues than it knows of";
    if (active != (k->queues.len > 0 && !k->blocked))
        return "a kind is active and should not be, or the other way round";
    if (active && (k->active_at >= s->active_len || s->active[k->active_at] != k))
        return "an active kind is not among those";
    if ((k->barred == NULL) != list_empty(&k->barred_link))
        return "a pool is barred from a kind that is not among those, or the other way round";
    if (k->blocked == list_empty(&k->blocked_link))
        return "a blocked kind waits for nothing, or one waits that is not blocked";
    return NULL;
}

/* ---- sums ---- */

/* Lines times tenants up to which each tenant's sums are checked; beyond it, those of all together. */
#define PAIRS_MAX 4000000

struct sums {
    size_t ready, running, aside, behind, lines;
};

static void add_line(struct sums *sums, const struct schedule_line *l)
{
    sums->ready += l->count;
    sums->behind += l->count > 0 ? l->count - 1 : 0;
    sums->running += l->running;
    sums->lines++;
    list_foreach (link, &l->aside)
        sums->aside++;
}

/* Of the lines of a tenant and a target; NULL: any. */
static struct sums sum(const struct schedule *s, const struct tenant *t,
                       const struct target *target)
{
    struct sums sums = {0};

    for (struct map_node *n = map_begin(&s->lines); n; n = map_after(&s->lines, n)) {
        const struct schedule_line *l = map_entry(n, struct schedule_line, node);

        if ((!t || l->queue->tenant == t) && (!target || l->queue->kind->target == target))
            add_line(&sums, l);
    }
    return sums;
}

static const char *check_tenants(const struct schedule *s)
{
    bool each = s->lines.count * s->tenants.count <= PAIRS_MAX;
    struct sums all = sum(s, NULL, NULL), told = {0};

    if (all.behind != s->behind)
        return "tasks behind the first of their line are counted wrongly";

    for (struct map_node *n = map_begin(&s->tenants); n; n = map_after(&s->tenants, n)) {
        const struct tenant *t = map_entry(n, struct tenant, node);
        struct sums sums = {.ready = t->ready, .running = t->running, .lines = t->lines};

        if (each)
            sums = sum(s, t, NULL);
        if (sums.ready != t->ready || sums.running != t->running || sums.lines != t->lines)
            return "a tenant's counts are not those of its lines";
        if (!(t->had >= 0) || !(t->charged > -1e-6) || (t->running == 0 && t->charged != 0))
            return "what a tenant has had is not what it can have had";
        told.ready += t->ready;
        told.running += t->running;
        told.lines += t->lines;
    }
    if (all.ready != told.ready || all.running != told.running || all.lines != told.lines)
        return "the tenants' counts are not those of all lines";
    return NULL;
}

static const char *check_sessions(const struct schedule *s)
{
    for (struct map_node *n = map_begin(&s->sessions); n; n = map_after(&s->sessions, n)) {
        const struct session *each = map_entry(n, struct session, node);
        struct sums sums = {0};

        list_foreach (link, &each->lines)
            add_line(&sums, list_entry(link, struct schedule_line, session_link));
        if (sums.running != each->running || sums.aside != each->aside || sums.lines == 0)
            return "a session's counts are not those of its lines";
    }
    return NULL;
}

static const char *check_targets(const struct schedule *s)
{
    bool each = s->lines.count * s->targets.count <= PAIRS_MAX;

    for (struct map_node *n = map_begin(&s->targets); n; n = map_after(&s->targets, n)) {
        const struct target *t = map_entry(n, struct target, node);

        if (each && sum(s, NULL, t).ready != t->ready)
            return "a target's count is not that of its lines";
        if ((t->by == TARGET_SKILL && t->count == 0) == list_empty(&t->unoffered))
            return "a skill that is not offered is not among those, or an offered one is";
    }
    return NULL;
}

const char *schedule_check(const struct schedule *s)
{
    const char *wrong = NULL;
    struct map_node *n;

    for (n = map_begin(&s->lines); n && !wrong; n = map_after(&s->lines, n))
        wrong = check_line(s, map_entry(n, struct schedule_line, node));
    for (n = map_begin(&s->queues); n && !wrong; n = map_after(&s->queues, n))
        wrong = check_queue(s, map_entry(n, struct queue, node));
    for (n = map_begin(&s->kinds); n && !wrong; n = map_after(&s->kinds, n))
        wrong = check_kind(s, map_entry(n, struct kind, node));
    if (!wrong)
        wrong = check_tenants(s);
    if (!wrong)
        wrong = check_sessions(s);
    return wrong ? wrong : check_targets(s);
}

const char *schedule_check_waiting(const struct schedule *s)
{
    for (struct map_node *n = map_begin(&s->kinds); n; n = map_after(&s->kinds, n)) {
        const struct kind *k = map_entry(n, struct kind, node);
        enum permit_block block;
        uint32_t count;
        struct schedule_pool *const *pools = target_pools(s, k->target, &count);

        for (uint32_t i = 0; k->blocked && i < count; i++) {
            if (pools[i] != k->barred && pool_takes(pools[i], &k->need, &block))
                return "a kind is taken for blocked, and could run";
        }
    }
    return NULL;
}
