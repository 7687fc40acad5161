/*
 * The window: ready tasks in memory, line by line. The rest of the queue stays in the registry, so
 * that memory does not grow with it.
 *
 * A line that runs low asks for more (TAKE); one that ran dry meanwhile has twice as many the next
 * time. When payloads fill DESK_WINDOW_BYTES, or tasks DESK_WINDOW_TASKS, each line has one task at
 * a time. At most DESK_TAKES_MAX lines are asked for at a time; the others wait in the order in
 * which they ran low, so none waits for longer than all others take once.
 *
 * A task that cannot go for a reason of its own is set aside: until its wait after a refusal is
 * over (with a session, that after a failure too), or until the worker that holds its session has
 * room.
 */
#include "core/desk/internal.h"

#include "base/mem.h"

#include <assert.h>

/* What could not be asked for, or had no place here, is tried again after so long. */
#define AGAIN_NS NS_PER_S
/* Lines that were left out are asked for when there is room for so many: it costs the registry a look at all. */
#define LINES_ROOM (SCHEDULE_LINES_MAX / 16)

/* Room in a heap for so many, doubling, so that growing one by one stays cheap. */
static bool grow(struct heap *h, size_t count)
{
    return count <= h->cap || heap_reserve(h, count < 64 ? 64 : count * 2);
}

static struct schedule_line *line_of(struct desk *d, uint32_t id)
{
    struct schedule_line *l = schedule_find_line(d->schedule, id);
    const struct registry_line *r = l ? NULL : d->host->line(d->host, id);
    struct permit_slots *slots[PERMIT_SLOTS_MAX];
    struct schedule_supply *supply;

    if (l || !r || !slots_resolve(d, r->slots, slots) ||
        schedule_line(d->schedule, r, slots, &l, NULL) != WEIR_OK)
        return l;
    supply = schedule_line_supply(l);
    *supply = (struct schedule_supply){.window = DESK_WINDOW_MIN};
    list_init(&supply->wants);
    return l;
}

/* False: no memory; the task is still the caller's. */
static bool add(struct desk *d, struct registry_task *r, struct instant now)
{
    struct schedule_line *l = line_of(d, r->line);
    struct desk_task *t = l ? mem_calloc(1, sizeof *t) : NULL;
    struct schedule_supply *supply;

    if (!t)
        return false;
    t->place = (struct schedule_task){.id = r->id, .rank = r->rank};
    list_init(&t->place.link);
    list_init(&t->link);
    list_init(&t->stale_link);
    heap_node_init(&t->wait);
    t->task = r;
    r->refs = 1;
    t->state = DESK_TASK_READY;
    t->wake_at = INSTANT_NEVER;
    if (!grow(&d->waits, d->tasks.len + 1) || !idmap_put(&d->tasks, r->id, t)) {
        mem_free(t);
        return false;
    }
    d->window_bytes += r->payload_len;
    supply = schedule_line_supply(l);
    if (r->rank > supply->last_rank)
        supply->last_rank = r->rank;
    schedule_add(d->schedule, l, &t->place, now);
    window_look_aside(d, t, now);
    return true;
}

static struct registry_task *free_chain(struct registry_task *chain)
{
    while (chain) {
        struct registry_task *r = chain;

        chain = r->next;
        mem_free(r);
    }
    return NULL;
}

/* Its wait is over, or does not matter any more. */
static void end_wait(struct desk *d, struct desk_task *t)
{
    heap_remove(&d->waits, &t->wait);
    t->wake_at = INSTANT_NEVER;
    if (t->refused_by)
        t->refused_by->refused--;
    t->refused_by = NULL;
}

bool window_is_aside(const struct desk *d, const struct desk_task *t)
{
    return heap_contains(&t->wait) || !list_empty(&t->link) || t->gone || hold_has(d, t->task);
}

void window_look_aside(struct desk *d, struct desk_task *t, struct instant now)
{
    if (window_is_aside(d, t))
        schedule_set_aside(d->schedule, &t->place);
    else
        schedule_bring_back(d->schedule, &t->place, now);
}

/* What an attempt has told of it that was not written when the registry handed it over. */
static void keep_counts(struct registry_task *to, const struct registry_task *from)
{
    to->attempts = from->attempts;
    to->failures = from->failures;
    to->deaths = from->deaths;
    to->capacity_retries = from->capacity_retries;
    to->first_start_ns = from->first_start_ns;
    to->last_wait_ns = from->last_wait_ns;
}

/*
 * One that waits here is handed over anew, after a change. It may have been in an attempt meanwhile
 * of which the registry did not know: then its counts stay, and its wait. False: no memory, nothing
 * has changed.
 */
static bool replace(struct desk *d, struct desk_task *t, struct registry_task *r,
                    struct instant now)
{
    struct schedule_line *l = line_of(d, r->line), *before = t->place.line;
    struct schedule_supply *supply;

    if (!l)
        return false;
    if (r->attempts < t->task->attempts)
        keep_counts(r, t->task);
    else
        end_wait(d, t);
    if (r->first_start_ns == t->task->first_start_ns) {
        r->tried = t->task->tried;
        r->tried_at = t->task->tried_at;
        r->tried_ns = t->task->tried_ns;
    }
    r->spared = t->task->spared;
    r->away = t->task->away && r->attempts == t->task->attempts;
    r->last_worker = t->task->last_worker;
    list_remove(&t->link);
    list_remove(&t->stale_link);
    t->stale = t->gone = false;
    t->worker = 0;
    schedule_hold_line(d->schedule, l, true);
    if (l != before)
        schedule_hold_line(d->schedule, before, true);
    schedule_remove(d->schedule, &t->place, now);
    d->window_bytes += r->payload_len;
    d->window_bytes -= t->task->payload_len;
    window_unref(t->task);
    t->task = r;
    r->refs = 1;
    t->place = (struct schedule_task){.id = r->id, .rank = r->rank};
    list_init(&t->place.link);
    supply = schedule_line_supply(l);
    if (r->rank > supply->last_rank)
        supply->last_rank = r->rank;
    schedule_add(d->schedule, l, &t->place, now);
    window_look_aside(d, t, now);
    if (l != before) {
        window_refill(d, before, now);
        schedule_hold_line(d->schedule, before, false);
    }
    schedule_hold_line(d->schedule, l, false);
    return true;
}

/*
 * Handed over while an attempt is here. If that has been refused, the op that did so came before,
 * and this one is what the task is now. Else the op came before the attempt's START: it runs as it
 * was, and its END says what follows. Should it be ready again, that is in the line that it has
 * now.
 */
static void add_beside(struct desk_task *t, struct registry_task *r)
{
    struct attempt *a = t->attempt;

    if (a->refused) {
        mem_free(a->anew);
        a->anew = r;
    } else {
        t->task->line = r->line;
        mem_free(r);
    }
}

void window_add(struct desk *d, struct registry_task *r, struct instant now)
{
    struct desk_task *old = idmap_get(&d->tasks, r->id);

    if (old && old->state != DESK_TASK_READY) {
        add_beside(old, r);
        return;
    }
    if (old ? replace(d, old, r, now) : add(d, r, now))
        return;
    if (old && old->ends == 0) { /* it must not start as it was, nor twice */
        if (r->attempts < old->task->attempts)
            keep_counts(r, old->task);
        window_drop(d, old, now);
    }
    if (!d->host->line(d->host, r->line)) {
        mem_free(r); /* kept until its attempt had ended, and gone from the registry meanwhile */
        return;
    }
    r->next = d->stash;
    d->stash = r;
    /* Where there is no place for its line, it is not tried in each turn. */
    d->stash_at =
        schedule_lines(d->schedule) < SCHEDULE_LINES_MAX ? now : instant_add(now, AGAIN_NS);
}

void window_unstash(struct desk *d, const struct desk_hold *h)
{
    struct registry_task **link = &d->stash;

    while (*link) {
        struct registry_task *r = *link;

        if (hold_covers(h, r)) {
            *link = r->next;
            mem_free(r);
        } else {
            link = &r->next;
        }
    }
}

/* Those for which there was no memory. */
static void unstash(struct desk *d, struct instant now)
{
    struct registry_task *chain = d->stash;

    d->stash = NULL;
    d->stash_at = INSTANT_NEVER;
    desk_ready(d, chain, now);
}

void desk_ready(struct desk *d, struct registry_task *chain, struct instant now)
{
    while (chain) {
        struct registry_task *r = chain;

        chain = r->next;
        r->next = NULL;
        window_add(d, r, now);
    }
}

void desk_line_ready(struct desk *d, uint32_t line, struct instant now)
{
    struct schedule_line *l = line_of(d, line);

    if (!l) {
        if (schedule_lines(d->schedule) >= SCHEDULE_LINES_MAX)
            d->left_out = true;
        else
            d->missed |= d->host->line(d->host, line) != NULL;
        return;
    }
    schedule_line_supply(l)->more = true;
    window_refill(d, l, now);
}

/* Those that had no room here. */
static void drop_stashed(struct desk *d, uint32_t line)
{
    struct registry_task **at = &d->stash;

    while (*at) {
        struct registry_task *r = *at;

        if (r->line != line) {
            at = &r->next;
            continue;
        }
        *at = r->next;
        mem_free(r);
    }
}

static bool has_gone(const struct desk_task *t, uint32_t line)
{
    return t->state == DESK_TASK_READY && t->ends == 0 && t->task->line == line;
}

static void drop_ready(struct desk *d, const struct schedule_line *l, uint32_t line,
                       struct instant now)
{
    struct schedule_task *s;
    struct desk_task *t;
    size_t i = 0;

    while ((s = schedule_line_first(l))) {
        t = list_entry(s, struct desk_task, place);
        if (!has_gone(t, line))
            break;
        window_drop(d, t, now);
    }
    /* Some may stand behind one that stays, which is rare. */
    while (schedule_line_count(l) > 1 && (t = idmap_next(&d->tasks, &i)))
        if (has_gone(t, line)) {
            window_drop(d, t, now);
            i--;
        }
}

void desk_line_gone(struct desk *d, uint32_t line, struct instant now)
{
    struct schedule_line *l = schedule_find_line(d->schedule, line);

    drop_stashed(d, line);
    if (!l)
        return;
    schedule_line_gone(d->schedule, l);
    schedule_hold_line(d->schedule, l, true);
    schedule_line_supply(l)->more = false;
    drop_ready(d, l, line, now);
    schedule_hold_line(d->schedule, l, false);
}

size_t desk_lines_gone(const struct desk *d)
{
    return schedule_lines_gone(d->schedule);
}

bool desk_missed_lines(struct desk *d)
{
    bool room = schedule_lines(d->schedule) < SCHEDULE_LINES_MAX - LINES_ROOM;
    bool missed = d->missed || (d->left_out && room);

    d->missed = false;
    d->left_out &= !room;
    return missed;
}

/* ---- more of a line ---- */

/* How many tasks the line may have in memory now: its first one at any rate. */
static size_t window_of(const struct desk *d, const struct schedule_supply *s)
{
    size_t used = schedule_behind(d->schedule) + d->asked_tasks;
    size_t share =
        used < DESK_WINDOW_TASKS ? (DESK_WINDOW_TASKS - used) / schedule_lines(d->schedule) : 0;

    if (d->window_bytes >= DESK_WINDOW_BYTES || share <= 1)
        return 1;
    return s->window < share ? s->window : share;
}

static bool is_low(const struct desk *d, struct schedule_line *l)
{
    const struct schedule_supply *s = schedule_line_supply(l);

    return s->more && !s->asked && schedule_line_count(l) <= window_of(d, s) / 2;
}

/*
 * With so many TAKEs under way there is much to bring; each may have the larger share of what is
 * left of DESK_WINDOW_BYTES.
 */
#define FEW_TAKES       8
#define SHARE_OF_FEW    16
#define SHARE_OF_OTHERS DESK_TAKES_MAX

/*
 * Payloads that one more TAKE may bring; one task comes whatever it has. All together are one and a
 * half of what is left.
 */
static uint64_t bytes_left(const struct desk *d)
{
    uint64_t left = d->window_bytes < DESK_WINDOW_BYTES ? DESK_WINDOW_BYTES - d->window_bytes : 0;

    return left / (d->takes < FEW_TAKES ? SHARE_OF_FEW : SHARE_OF_OTHERS) + 1;
}

/* False: no memory. */
static bool ask(struct desk *d, struct schedule_line *l, struct instant now)
{
    struct schedule_supply *s = schedule_line_supply(l);
    struct registry_op *op = desk_new_op(REGISTRY_TAKE);

    if (!op)
        return false;
    op->take.line = schedule_line_id(l);
    op->take.after_rank = s->last_rank;
    op->take.max = (uint32_t)(window_of(d, s) - schedule_line_count(l));
    op->take.max_bytes = bytes_left(d);
    s->asked = true;
    d->takes++;
    d->asked_tasks += op->take.max;
    desk_write(d, op, now);
    return true;
}

/* It is expected no more, unless it has been asked for again. */
static void end_wanting(struct desk *d, struct schedule_line *l)
{
    const struct schedule_supply *s = schedule_line_supply(l);

    if (!s->asked && list_empty(&s->wants))
        schedule_expect_line(d->schedule, l, false);
    schedule_hold_line(d->schedule, l, false);
}

/* Those whose turn it is. */
static void ask_next(struct desk *d, struct instant now)
{
    struct list *node;

    d->ask_at = INSTANT_NEVER;
    while (!d->stopped && d->takes < DESK_TAKES_MAX && (node = list_front(&d->wants))) {
        struct schedule_supply *s = list_entry(node, struct schedule_supply, wants);
        struct schedule_line *l = schedule_supply_line(s);
        bool low = is_low(d, l);

        if (low && !ask(d, l, now)) {
            d->ask_at = instant_add(now, AGAIN_NS);
            return;
        }
        list_remove(node);
        if (!low)
            end_wanting(d, l); /* tasks of it were handed over meanwhile */
    }
}

void window_refill(struct desk *d, struct schedule_line *l, struct instant now)
{
    struct schedule_supply *s = schedule_line_supply(l);

    if (d->stopped || !list_empty(&s->wants) || !is_low(d, l))
        return;
    schedule_hold_line(d->schedule, l, true);
    schedule_expect_line(d->schedule, l, true);
    list_push_back(&d->wants, &s->wants);
    ask_next(d, now);
}

void window_taken(struct desk *d, struct registry_op *op, struct instant now)
{
    struct schedule_line *l = schedule_find_line(d->schedule, op->take.line);
    struct schedule_supply *s;
    bool dry;

    assert(l && d->takes > 0); /* it is held */
    d->takes--;
    d->asked_tasks -= op->take.max;
    s = schedule_line_supply(l);
    dry = schedule_line_count(l) == 0;
    s->asked = false;
    if (op->err.status == WEIR_OK) {
        s->more = op->take.ret_more;
        if (dry && s->more && s->window < DESK_WINDOW_MAX)
            s->window *= 2;
        desk_ready(d, op->take.ret_tasks, now);
        op->take.ret_tasks = NULL;
        window_refill(d, l, now);
    }
    end_wanting(d, l);
    ask_next(d, now);
}

/* ---- aside ---- */

void window_bring_back_one(struct desk *d, struct desk_task *t, struct instant now)
{
    end_wait(d, t);
    list_remove(&t->link);
    t->worker = 0;
    window_look_aside(d, t, now);
}

void window_aside_for(struct desk *d, struct desk_task *t, struct desk_pool *p, uint64_t worker,
                      struct instant now)
{
    checkout_starts(d, t, p, worker, now);
    t->worker = worker;
    list_push_back(&p->busy, &t->link);
    schedule_set_aside(d->schedule, &t->place);
}

void window_bring_back(struct desk_pool *p, uint64_t worker, struct instant now)
{
    list_foreach_safe (node, &p->busy) {
        struct desk_task *t = list_entry(node, struct desk_task, link);

        if (worker != 0 && t->worker != worker)
            continue;
        window_bring_back_one(p->desk, t, now);
        if (worker != 0)
            return; /* it has room for one */
    }
}

void window_leave_pool(struct desk_pool *p, struct instant now)
{
    struct desk_task *t;
    size_t i = 0;

    window_bring_back(p, 0, now);
    checkout_leave_pool(p);
    while (p->refused > 0 && (t = idmap_next(&p->desk->tasks, &i)))
        if (t->refused_by == p) {
            t->refused_by = NULL;
            p->refused--;
        }
}

void window_aside_until(struct desk *d, struct desk_task *t, struct instant until)
{
    t->wake_at = until;
    heap_push(&d->waits, &t->wait);
    schedule_set_aside(d->schedule, &t->place);
}

void window_again(struct desk *d, struct desk_task *t, struct desk_pool *p, struct instant until,
                  struct instant now)
{
    struct schedule_line *l = line_of(d, t->task->line);

    if (!l) /* no memory for another one than it ran in, which is held */
        l = t->place.line;
    t->state = DESK_TASK_READY;
    t->attempt = NULL;
    t->ends++;
    schedule_add(d->schedule, l, &t->place, now);
    window_look_aside(d, t, now);
    if (!instant_before(now, until))
        return;
    t->refused_by = p;
    if (p)
        p->refused++;
    window_aside_until(d, t, until);
}

/* A worker may have gone without a word to those that wait for it: they are looked at again now and then. */
static void look_at_busy(struct desk *d, struct instant now)
{
    if (instant_before(now, d->look_at))
        return;
    d->look_at = instant_add(now, NS_PER_S);
    list_foreach (node, &d->pools)
        window_bring_back(list_entry(node, struct desk_pool, link), 0, now);
}

static bool any_is_busy(const struct desk *d)
{
    list_foreach (node, &d->pools)
        if (!list_empty(&list_entry(node, struct desk_pool, link)->busy))
            return true;
    return false;
}

/* What was not handed over anew is not ready any more. */
static void drop_stale(struct desk *d, struct instant now)
{
    struct list *node;

    while ((node = list_front(&d->stale)))
        window_drop(d, list_entry(node, struct desk_task, stale_link), now);
}

struct instant window_run(struct desk *d, struct instant now)
{
    struct instant wake;
    struct heap_node *n;

    drop_stale(d, now);
    if (!instant_before(now, d->stash_at))
        unstash(d, now);
    wake = d->stash ? instant_max(d->stash_at, instant_add(now, AGAIN_NS)) : INSTANT_NEVER;
    while ((n = heap_first(&d->waits))) {
        struct desk_task *t = list_entry(n, struct desk_task, wait);

        if (instant_before(now, t->wake_at)) {
            wake = instant_min(wake, t->wake_at);
            break;
        }
        window_bring_back_one(d, t, now);
    }
    if (!instant_before(now, d->ask_at))
        ask_next(d, now);
    wake = instant_min(wake, d->ask_at);
    look_at_busy(d, now);
    if (any_is_busy(d))
        wake = instant_min(wake, d->look_at);
    return wake;
}

/* ---- out ---- */

void window_unref(struct registry_task *r)
{
    if (--r->refs == 0)
        mem_free(r);
}

static void leave_window(struct desk *d, struct desk_task *t)
{
    d->window_bytes -= t->task->payload_len;
    window_unref(t->task);
    mem_free(t);
}

void window_drop(struct desk *d, struct desk_task *t, struct instant now)
{
    struct schedule_line *l = t->place.line;

    assert(t->state == DESK_TASK_READY);
    end_wait(d, t);
    checkout_over(d, t);
    list_remove(&t->link);
    list_remove(&t->stale_link);
    (void)idmap_remove(&d->tasks, t->place.id);
    schedule_hold_line(d->schedule, l, true);
    schedule_remove(d->schedule, &t->place, now);
    leave_window(d, t);
    window_refill(d, l, now);
    schedule_hold_line(d->schedule, l, false);
}

void window_end(struct desk *d, struct desk_task *t)
{
    (void)idmap_remove(&d->tasks, t->place.id);
    leave_window(d, t);
}

/* ---- doubts ---- */

void window_doubt(struct desk *d, struct desk_task *t)
{
    if (t->ends > 0) {
        t->gone = true;
        schedule_set_aside(d->schedule, &t->place);
    } else if (!t->stale) {
        t->stale = true;
        list_push_back(&d->stale, &t->stale_link);
    }
}

void window_end_written(struct desk *d, uint64_t task, bool ok, struct instant now)
{
    struct desk_task *t = idmap_get(&d->tasks, task);

    if (!t || t->ends == 0)
        return;
    t->ends--;
    if (t->ends > 0 || t->state != DESK_TASK_READY)
        return;
    if (!ok) {
        window_drop(d, t, now);
    } else if (t->gone) {
        t->gone = false;
        window_look_aside(d, t, now);
    }
}

void window_free(struct desk *d)
{
    size_t i = 0;
    struct desk_task *t;

    while ((t = idmap_next(&d->tasks, &i))) {
        assert(t->state == DESK_TASK_READY);
        heap_remove(&d->waits, &t->wait);
        checkout_over(d, t);
        list_remove(&t->link);
        schedule_remove(d->schedule, &t->place, INSTANT_NONE);
        leave_window(d, t);
    }
    d->stash = free_chain(d->stash);
}
