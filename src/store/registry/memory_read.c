/*
 * Readers: each looks at the registry itself, under its lock. A callback gets slices into it; what
 * a call returns by itself is copied into the reader.
 */
#include "store/registry/memory_internal.h"
#include "store/registry/rules.h"

#include "base/error.h"
#include "base/mem.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

struct memory_reader {
    struct registry_reader base; /* first: the port casts */
    struct memory_registry *m;
    struct buf hold;
};

static struct memory_reader *self(struct registry_reader *r)
{
    return (struct memory_reader *)(void *)r;
}

static struct memory_registry *lock(struct registry_reader *r)
{
    struct memory_registry *m = self(r)->m;

    pthread_mutex_lock(&m->lock);
    return m;
}

static void unlock(struct registry_reader *r)
{
    pthread_mutex_unlock(&self(r)->m->lock);
}

/* ---- tasks ---- */

static struct registry_view view_of(const struct memory_task *t, bool payload, bool result)
{
    struct registry_view v = {.id = t->id,
                              .state = t->state,
                              .line = t->line->pub,
                              .key = memory_slice(t->key),
                              .idempotency_key = memory_slice(t->idempotency),
                              .batch = t->batch,
                              .place = t->place,
                              .submitted_ns = t->submitted_ns,
                              .ready_ns = t->rank,
                              .not_before_ns = t->not_before_ns,
                              .deadline_ns = t->deadline_ns,
                              .started_ns = t->first_start_ns,
                              .ended_ns = t->ended_ns,
                              .attempts = t->attempts,
                              .failures = t->failures,
                              .deaths = t->deaths,
                              .max_attempts = t->max_attempts,
                              .capacity_retries = t->capacity_retries,
                              .timeout_ns = t->timeout_ns,
                              .blocked_by = t->blocked_by,
                              .run_after_failure = t->run_after_failure,
                              .stuck = t->stuck,
                              .cancelling = t->cancelling,
                              .pool = memory_slice(t->pool),
                              .outcome = t->outcome,
                              .reason = t->reason,
                              .status = t->status,
                              .message = memory_slice(t->message)};

    if (payload)
        v.payload = memory_slice(t->payload);
    if (result && t->has_result) {
        v.has_result = true;
        v.output = memory_slice(t->output);
        v.errput = memory_slice(t->errput);
    }
    return v;
}

/* The slices of the view, made to point into the reader. */
static bool hold_view(struct memory_reader *r, struct registry_view *v)
{
    struct slice *slices[] = {&v->key,         &v->idempotency_key, &v->pool,
                              &v->message,     &v->payload,         &v->output,
                              &v->errput,      &v->line.pool,       &v->line.skill,
                              &v->line.tenant, &v->line.session,    &v->line.slots};
    size_t at = 0;

    buf_clear(&r->hold);
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++)
        buf_put_slice(&r->hold, *slices[i]);
    if (r->hold.failed)
        return false;
    for (size_t i = 0; i < sizeof(slices) / sizeof(slices[0]); i++) {
        slices[i]->data = buf_slice(&r->hold).data + at;
        at += slices[i]->len;
    }
    return true;
}

static enum weir_status read_task(struct registry_reader *r, uint64_t id, bool with,
                                  struct registry_view *ret, struct weir_error *err)
{
    const struct memory_task *t = memory_find(lock(r), id);
    enum weir_status status = WEIR_OK;
    struct registry_view v;

    if (!t) {
        status = error_set(err, WEIR_E_END, "there is no task %" PRIu64, id);
    } else {
        v = view_of(t, with, with);
        if (hold_view(self(r), &v))
            *ret = v;
        else
            status = error_nomem(err);
    }
    unlock(r);
    return status;
}

static bool is_any(struct slice want, struct slice has)
{
    return want.len == 0 || slice_equal(want, has);
}

static bool task_matches(const struct memory_task *t, const struct registry_filter *f)
{
    const struct registry_line *l = &t->line->pub;

    return (f->states == 0 || (f->states & 1u << t->state)) &&
           (f->batch == 0 || f->batch == t->batch) && (!f->stuck || t->stuck) &&
           is_any(f->pool, l->pool) && is_any(f->skill, l->skill) && is_any(f->tenant, l->tenant) &&
           is_any(f->session, l->session) && is_any(f->key, memory_slice(t->key));
}

/* The next number behind `at`, upwards or downwards within first to last; 0: none. */
static uint64_t step(uint64_t at, bool down, uint64_t first, uint64_t last)
{
    if (first > last)
        return 0;
    if (!down)
        return at < first ? first : at < last ? at + 1 : 0;
    if (at == 0 || at > last)
        return last;
    return at > first ? at - 1 : 0;
}

static enum weir_status read_tasks(struct registry_reader *r, const struct registry_filter *f,
                                   uint64_t after, uint32_t max, registry_task_fn fn, void *ctx,
                                   struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    uint32_t n = 0;

    (void)err;
    for (uint64_t id = after; n < max && (id = step(id, f->newest_first, 1, m->c.tasks)) != 0;) {
        const struct memory_task *t = memory_find(m, id);
        struct registry_view v;

        if (!t || !task_matches(t, f))
            continue;
        v = view_of(t, f->with_payload, f->with_result);
        n++;
        if (!fn(ctx, &v))
            break;
    }
    unlock(r);
    return WEIR_OK;
}

static bool read_one(const struct memory_task *t, registry_task_fn fn, void *ctx)
{
    struct registry_view v;

    if (!t)
        return true;
    v = view_of(t, false, false);
    return fn(ctx, &v);
}

static enum weir_status read_dependencies(struct registry_reader *r, uint64_t id, bool up,
                                          registry_task_fn fn, void *ctx, struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    const struct memory_task *t = memory_find(m, id);
    bool go_on = true;

    for (uint32_t i = 0; t && !up && i < t->edge_count && go_on; i++)
        go_on = read_one(memory_find(m, t->edges[i].on), fn, ctx);
    for (uint32_t i = 0; t && up && i < t->up_count && go_on; i++) {
        const struct memory_task *d = memory_find(m, t->up[i]);

        if (d && memory_edge_find(d, id) < d->edge_count)
            go_on = read_one(d, fn, ctx);
    }
    unlock(r);
    return t ? WEIR_OK : error_set(err, WEIR_E_END, "there is no task %" PRIu64, id);
}

/* ---- events ---- */

static bool event_matches(const struct registry_event *e, const struct registry_event_filter *f)
{
    return (f->task == 0 || f->task == e->task) && (f->worker == 0 || f->worker == e->worker) &&
           (f->kinds == 0 || (f->kinds >> e->kind & 1)) && is_any(f->pool, e->pool);
}

static enum weir_status read_events(struct registry_reader *r,
                                    const struct registry_event_filter *f, uint64_t after,
                                    uint32_t max, registry_event_fn fn, void *ctx,
                                    struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    uint32_t n = 0;

    (void)err;
    for (uint64_t seq = after;
         n < max && (seq = step(seq, f->newest_first, m->c.event_first, m->c.event_last)) != 0;) {
        const struct registry_event *e = &m->events[seq - 1]->e;

        if (!event_matches(e, f))
            continue;
        n++;
        if (!fn(ctx, e))
            break;
    }
    unlock(r);
    return WEIR_OK;
}

/* ---- batches ---- */

static struct registry_batch batch_of(const struct memory_batch *b)
{
    struct registry_batch v = {.id = b->id,
                               .name = memory_slice(b->name),
                               .opened_ns = b->opened_ns,
                               .ended_ns = b->ended_ns,
                               .ended = b->ended};

    for (unsigned s = 0; s < REGISTRY_STATES; s++) {
        v.states[s] = b->states[s];
        v.total += b->states[s];
    }
    return v;
}

static enum weir_status read_batch(struct registry_reader *r, uint64_t id,
                                   struct registry_batch *ret, struct weir_error *err)
{
    const struct memory_batch *b = memory_find_batch(lock(r), id);
    struct buf *hold = &self(r)->hold;
    enum weir_status status = WEIR_OK;

    buf_clear(hold);
    if (!b) {
        status = error_set(err, WEIR_E_END, "there is no batch %" PRIu64, id);
    } else {
        buf_put_slice(hold, memory_slice(b->name));
        if (hold->failed) {
            status = error_nomem(err);
        } else {
            *ret = batch_of(b);
            ret->name = buf_slice(hold);
        }
    }
    unlock(r);
    return status;
}

static enum weir_status read_batches(struct registry_reader *r, uint64_t after, uint32_t max,
                                     registry_batch_fn fn, void *ctx, struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    uint32_t n = 0;

    (void)err;
    for (uint64_t id = after; n < max && (id = step(id, false, 1, m->c.batches)) != 0;) {
        const struct memory_batch *b = memory_find_batch(m, id);
        struct registry_batch v;

        if (!b)
            continue;
        v = batch_of(b);
        n++;
        if (!fn(ctx, &v))
            break;
    }
    unlock(r);
    return WEIR_OK;
}

static enum weir_status read_results(struct registry_reader *r, uint64_t batch, uint64_t from,
                                     uint32_t max, bool with_payload, registry_task_fn fn,
                                     void *ctx, struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    const struct memory_batch *b = memory_find_batch(m, batch);
    uint32_t n = 0;

    for (size_t i = 0; b && i < b->task_count && n < max; i++) {
        const struct memory_task *t = memory_find(m, b->tasks[i]);
        struct registry_view v;

        if (!t || t->place < from)
            continue;
        if (!rules_ended(t->state))
            break;
        v = view_of(t, with_payload, true);
        n++;
        if (!fn(ctx, &v))
            break;
    }
    unlock(r);
    return b ? WEIR_OK : error_set(err, WEIR_E_END, "there is no batch %" PRIu64, batch);
}

/* ---- counts ---- */

static void put_target(struct buf *out, const struct registry_line *l)
{
    if (l->skill.len > 0)
        buf_puts(out, "skill:");
    buf_put_slice(out, l->skill.len > 0 ? l->skill : l->pool);
}

static int target_compare(struct slice a, struct slice b)
{
    int order = memcmp(a.data, b.data, a.len < b.len ? a.len : b.len);

    return order ? order : a.len < b.len ? -1 : a.len > b.len;
}

static int by_target(const void *a, const void *b)
{
    const struct registry_tally *x = a, *y = b;

    return target_compare(x->target, y->target);
}

static void tell_tallies(struct registry_tally *t, size_t count, registry_tally_fn fn, void *ctx)
{
    qsort(t, count, sizeof(*t), by_target);
    for (size_t i = 0; i < count; i++) {
        struct registry_tally sum = t[i];
        uint64_t all = 0;

        while (i + 1 < count && slice_equal(t[i + 1].target, sum.target)) {
            i++;
            for (unsigned s = 0; s < REGISTRY_STATES; s++)
                sum.states[s] += t[i].states[s];
        }
        for (unsigned s = 0; s < REGISTRY_STATES; s++)
            all += sum.states[s];
        if (all > 0 && !fn(ctx, &sum))
            return;
    }
}

static enum weir_status read_tallies(struct registry_reader *r, registry_tally_fn fn, void *ctx,
                                     struct weir_error *err)
{
    struct memory_registry *m = lock(r);
    struct registry_tally *tallies = mem_calloc(m->c.lines, sizeof(*tallies));
    struct buf *hold = &self(r)->hold;
    enum weir_status status = WEIR_OK;
    size_t at = 0, count = 0;

    buf_clear(hold);
    for (uint64_t i = 0; i < m->c.lines && tallies; i++) {
        size_t from = hold->len;

        if (!m->lines[i] || m->lines[i]->gone)
            continue;
        put_target(hold, &m->lines[i]->pub);
        tallies[count].target.len = hold->len - from;
        memcpy(tallies[count].states, m->lines[i]->states, sizeof(tallies[count].states));
        count++;
    }
    if (!tallies || hold->failed) {
        status = error_nomem(err);
    } else {
        for (size_t i = 0; i < count; i++) {
            tallies[i].target.data = buf_slice(hold).data + at;
            at += tallies[i].target.len;
        }
        tell_tallies(tallies, count, fn, ctx);
    }
    mem_free(tallies);
    unlock(r);
    return status;
}

/* ---- history and facts ---- */

static enum weir_status read_history(struct registry_reader *r, const char *pool,
                                     uint32_t resolution_s, int64_t from_ns, int64_t to_ns,
                                     registry_sample_fn fn, void *ctx, struct weir_error *err)
{
    const struct memory_series *s = lock(r)->c.series;

    (void)err;
    while (s && (s->resolution_s != resolution_s ||
                 !slice_equal(memory_slice(s->pool), slice_of(pool ? pool : ""))))
        s = s->next;
    for (size_t i = 0; s && i < s->count; i++) {
        const struct registry_sample *one = &s->samples[s->first + i];

        if (one->at_ns >= from_ns && one->at_ns < to_ns && !fn(ctx, one))
            break;
    }
    unlock(r);
    return WEIR_OK;
}

static enum weir_status read_fact(struct registry_reader *r, struct slice name, struct buf *out,
                                  struct weir_error *err)
{
    const struct memory_fact *f = lock(r)->c.facts;
    enum weir_status status = WEIR_OK;

    while (f && !slice_equal(memory_slice(f->name), name))
        f = f->next;
    if (!f)
        status = error_set(err, WEIR_E_END, "there is no fact %.*s", (int)name.len, name.data);
    else
        buf_put_slice(out, memory_slice(f->value));
    if (status == WEIR_OK && out->failed)
        status = error_nomem(err);
    unlock(r);
    return status;
}

static void reader_close(struct registry_reader *r)
{
    buf_free(&self(r)->hold);
    mem_free(r);
}

static const struct registry_reader_ops reader_ops = {
    .task = read_task,
    .tasks = read_tasks,
    .dependencies = read_dependencies,
    .events = read_events,
    .batch = read_batch,
    .batches = read_batches,
    .results = read_results,
    .tallies = read_tallies,
    .history = read_history,
    .fact = read_fact,
    .close = reader_close,
};

enum weir_status memory_reader_new(struct memory_registry *m, struct registry_reader **ret,
                                   struct weir_error *err)
{
    struct memory_reader *r = mem_calloc(1, sizeof(*r));

    if (!r)
        return error_nomem(err);
    r->base.ops = &reader_ops;
    r->m = m;
    *ret = &r->base;
    return WEIR_OK;
}
