/*
 * The desk made and taken apart, its ops, and its turn.
 */
#include "core/desk/internal.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <string.h>

static bool wait_less(const struct heap_node *x, const struct heap_node *y)
{
    const struct desk_task *a = list_entry(x, struct desk_task, wait);
    const struct desk_task *b = list_entry(y, struct desk_task, wait);

    return a->wake_at.ns != b->wake_at.ns ? a->wake_at.ns < b->wake_at.ns
                                          : a->place.rank < b->place.rank;
}

static bool silence_less(const struct heap_node *x, const struct heap_node *y)
{
    const struct attempt *a = list_entry(x, struct attempt, silence);
    const struct attempt *b = list_entry(y, struct attempt, silence);

    return a->silent_at.ns != b->silent_at.ns ? a->silent_at.ns < b->silent_at.ns
                                              : a->shown.token < b->shown.token;
}

static bool checkout_less(const struct heap_node *x, const struct heap_node *y)
{
    const struct checkout *a = list_entry(x, struct checkout, node);
    const struct checkout *b = list_entry(y, struct checkout, node);

    return a->until.ns != b->until.ns ? a->until.ns < b->until.ns : a->t->place.id < b->t->place.id;
}

enum weir_status desk_new(const struct desk_options *o, struct desk **ret, struct weir_error *err)
{
    struct desk *d = mem_calloc(1, sizeof *d);

    if (!d)
        return error_nomem(err);
    d->schedule = schedule_new(&o->schedule);
    if (!d->schedule) {
        mem_free(d);
        return error_nomem(err);
    }
    d->options = *o;
    d->dispatcher = o->dispatcher;
    d->host = o->host;
    d->last_token = o->first_token;
    rng_seed(&d->rng, o->seed);
    idmap_init(&d->tasks);
    idmap_init(&d->attempts);
    list_init(&d->running);
    list_init(&d->pools);
    list_init(&d->stale);
    for (size_t i = 0; i < DESK_HOLD_LISTS; i++)
        list_init(&d->holds[i]);
    list_init(&d->wants);
    map_init(&d->slots);
    list_init(&d->slot_kinds);
    d->ask_at = INSTANT_NEVER;
    d->stash_at = INSTANT_NEVER;
    heap_init(&d->waits, wait_less);
    heap_init(&d->silences, silence_less);
    heap_init(&d->checkouts, checkout_less);
    d->finished_tail = &d->finished;
    d->unbar_at = INSTANT_NEVER;
    *ret = d;
    return WEIR_OK;
}

void desk_free(struct desk *d)
{
    if (!d)
        return;
    assert(d->run_count == 0 && d->unwritten == 0 && list_empty(&d->pools));
    window_free(d);
    schedule_free(d->schedule);
    desk_slots_free(d);
    heap_free(&d->waits);
    heap_free(&d->silences);
    heap_free(&d->checkouts);
    idmap_free(&d->attempts);
    idmap_free(&d->tasks);
    mem_free(d);
}

/* ---- ops ---- */

struct registry_op *desk_new_op(enum registry_op_kind kind)
{
    struct registry_op *op = mem_calloc(1, sizeof *op);

    if (op)
        op->kind = kind;
    return op;
}

void desk_write(struct desk *d, struct registry_op *op, struct instant now)
{
    op->at_ns = d->host->wall_ns(d->host, now);
    d->unwritten++;
    d->host->write(d->host, op);
}

/*
 * The op's own memory holds what it says: the detail, and behind it the pool's name where that is
 * not the pool's own.
 */
struct told {
    struct registry_op op; /* first */
    struct desk_pool *pool;
    char texts[];
};

static struct slice keep_text(char *at, struct slice text)
{
    if (text.len > 0)
        memcpy(at, text.data, text.len);
    return (struct slice){at, text.len};
}

void desk_record(struct desk *d, const struct registry_event *e, struct desk_pool *p,
                 struct instant now)
{
    struct told *t = d->unwritten < DESK_RECORDS_MAX
                         ? mem_calloc(1, sizeof *t + e->detail.len + e->pool.len + 1)
                         : NULL;

    if (!t) {
        d->dropped++;
        return;
    }
    t->op.kind = REGISTRY_TELL;
    t->op.tell = *e;
    t->op.tell.detail = keep_text(t->texts, e->detail);
    t->op.tell.pool = keep_text(t->texts + e->detail.len, e->pool);
    if (p) {
        t->pool = p;
        t->pool->unwritten++;
        t->op.tell.pool = slice_of(p->name);
    }
    desk_write(d, &t->op, now);
}

void desk_tell(struct desk *d, enum registry_event_kind kind, struct desk_pool *p,
               const char *detail, struct instant now)
{
    desk_record(d, &(struct registry_event){.kind = kind, .detail = slice_of(detail)}, p, now);
}

static void lines_gone(struct desk *d, struct registry_purge *p, struct instant now)
{
    for (size_t i = 0; i < p->ret_lines_gone_count; i++)
        desk_line_gone(d, p->ret_lines_gone[i], now);
    p->ret_lines_gone = mem_free(p->ret_lines_gone);
    p->ret_lines_gone_count = 0;
}

void desk_made_ready(struct desk *d, struct registry_op *op, struct instant now)
{
    struct registry_task *chain = op->ret_ready;
    uint32_t *lines = op->ret_lines;

    op->ret_ready = NULL;
    op->ret_lines = NULL;
    desk_ready(d, chain, now);
    for (size_t i = 0; i < op->ret_line_count; i++)
        desk_line_ready(d, lines[i], now);
    op->ret_line_count = 0;
    mem_free(lines);
    if (op->ret_due_ns != 0)
        desk_wake_by(d, op->ret_due_ns);
    if (op->kind == REGISTRY_PURGE)
        lines_gone(d, &op->purge, now);
}

static void woken(struct desk *d, const struct registry_op *op, struct instant now)
{
    d->waking = false;
    if (op->err.status != WEIR_OK)
        d->wake_wall_ns = d->host->wall_ns(d->host, now) + NS_PER_S;
    else if (op->wake.ret_count >= op->wake.max)
        d->wake_wall_ns = op->at_ns;
    else if (op->wake.ret_next_ns != 0)
        desk_wake_by(d, op->wake.ret_next_ns);
}

void desk_written(struct desk *d, struct registry_op *op, struct instant now)
{
    assert(d->unwritten > 0);
    d->unwritten--;
    desk_made_ready(d, op, now);
    switch (op->kind) {
    case REGISTRY_START:
    case REGISTRY_END:
        attempt_written(d, op->user, op, now);
        return;
    case REGISTRY_TAKE:
        window_taken(d, op, now);
        break;
    case REGISTRY_WAKE:
        woken(d, op, now);
        break;
    case REGISTRY_TELL: {
        struct desk_pool *p = ((struct told *)(void *)op)->pool;

        if (p) {
            p->unwritten--;
            pool_release(p, now);
        }
        break;
    }
    default:
        assert(false); /* an op that the desk does not write */
    }
    mem_free(op);
}

uint64_t desk_dropped(const struct desk *d)
{
    return d->dropped;
}

size_t desk_unwritten(const struct desk *d)
{
    return d->unwritten;
}

/* ---- the turn ---- */

void desk_wake_by(struct desk *d, int64_t wall_ns)
{
    if (d->wake_wall_ns == 0 || wall_ns < d->wake_wall_ns)
        d->wake_wall_ns = wall_ns;
}

/* Has the registry make ready what is due; returns when to look again. */
static struct instant wake_registry(struct desk *d, struct instant now)
{
    int64_t wall_ns = d->host->wall_ns(d->host, now);
    struct registry_op *op;

    if (d->waking || d->wake_wall_ns == 0 || d->stopped)
        return INSTANT_NEVER;
    if (wall_ns < d->wake_wall_ns) {
        int64_t wait_ns = d->wake_wall_ns - wall_ns;

        return instant_add(now, wait_ns < DESK_LOOK_NS ? wait_ns : DESK_LOOK_NS);
    }
    op = desk_new_op(REGISTRY_WAKE);
    if (!op)
        return instant_add(now, NS_PER_S);
    op->wake.max = DESK_WAKE_TASKS;
    d->waking = true;
    d->wake_wall_ns = 0;
    desk_write(d, op, now);
    return INSTANT_NEVER;
}

static void tell_unoffered(struct desk *d, struct instant now)
{
    const char *skill;

    while ((skill = schedule_take_unoffered(d->schedule))) {
        struct buf detail = {0};

        buf_puts(&detail, "{\"skill\":");
        json_put_string(&detail, slice_of(skill));
        buf_putc(&detail, '}');
        if (!detail.failed)
            desk_tell(d, REGISTRY_SKILL_UNOFFERED, NULL, detail.data, now);
        buf_free(&detail);
    }
}

struct instant desk_run(struct desk *d, struct instant now)
{
    struct instant wake;

    attempts_judge(d, now);
    wake = attempts_watch(d, now);
    wake = instant_min(wake, window_run(d, now));
    wake = instant_min(wake, wake_registry(d, now));
    pools_open(d, now);
    checkouts_run(d, now);
    attempts_start(d, now);
    wake = instant_min(wake, checkouts_wake(d));
    tell_unoffered(d, now);
    return instant_min(wake, pools_wake(d));
}

bool desk_is_due(const struct desk *d)
{
    return d->finished != NULL;
}

void desk_pause(struct desk *d, bool paused)
{
    d->paused = paused;
}

void desk_stop(struct desk *d)
{
    d->stopped = true;
}

void desk_set_schedule(struct desk *d, const struct schedule_options *o, struct instant now)
{
    (void)now;
    d->options.schedule = *o;
    schedule_set_policy(d->schedule, o);
}

bool desk_set_weight(struct desk *d, struct slice tenant, double weight)
{
    return schedule_set_weight(d->schedule, tenant, weight);
}

void desk_set_deaths_max(struct desk *d, uint32_t deaths_max)
{
    d->options.deaths_max = deaths_max;
}
