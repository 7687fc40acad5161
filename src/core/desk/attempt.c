/*
 * An attempt, from the choice to the end of what is written about it.
 *
 *     chosen ─► prepared ─► offered ──no──► pool closed, or task aside
 *                  │           └─yes─► runs: START ──► finished: END ──► written: freed
 *                  └─ bad payload: END at once, with its START in it
 *
 * A task that is to fail without having been tried has one too, which carries its END.
 *
 * The attempt owns what its executor and its ops point to: the dispatcher's row, the answer, the
 * two ops. It is freed when the executor has let go of the row and both ops are written.
 */
#include "core/desk/internal.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

/* One that can only go to a fallback that is full is looked at again after so long. */
#define REFUGE_AGAIN_NS (100 * NS_PER_MS)
/* What waits for a pool with a fallback looks after so long whether that is there again. */
#define FALLBACK_LOOK_NS NS_PER_S

/* Nobody reads the payload any more. */
static void let_go_of_payload(struct attempt *a)
{
    if (a->source)
        window_unref(a->source);
    a->source = NULL;
}

static void free_attempt(struct attempt *a)
{
    struct desk *d = a->desk;

    let_go_of_payload(a);
    heap_remove(&d->silences, &a->silence);
    list_remove(&a->link);
    answer_clear(&a->answer);
    task_clear(&a->core);
    mem_free((void *)a->core.session);
    mem_free(a->text);
    mem_free(a->anew);
    buf_free(&a->late);
    mem_free(a);
    d->attempt_count--;
}

static void free_if_done(struct attempt *a)
{
    if (a->released && a->ended && !a->start_sent && !a->end_sent)
        free_attempt(a);
}

/* Nothing in the dispatcher refers to the row any more. */
static void on_release(struct core_task *t)
{
    struct attempt *a = t->user;

    if (a->prepared && a->pool->options.ops->discard)
        a->pool->options.ops->discard(a->pool->options.ctx, t);
    a->prepared = false;
    a->released = true;
    let_go_of_payload(a);
    /* One that was left behind had its permit until now, unseen by the schedule. */
    if (a->ended && a->pool->place)
        schedule_pool_changed(a->desk->schedule, a->pool->place);
    free_if_done(a);
}

/* ---- making ---- */

static void fill_row(struct attempt *a, const struct registry_line *line, struct instant now)
{
    const struct registry_task *r = a->t->task;
    struct core_task *c = &a->core;

    snprintf(a->key, sizeof a->key, "%llu", (unsigned long long)r->id);
    c->index = a->pool->next_index++;
    c->key = r->key[0] ? r->key : a->key;
    c->user = a;
    c->release = on_release;
    c->payload = r->payload;
    c->payload_len = r->payload_len;
    c->timeout_ns = r->timeout_ns;
    c->attempts_before = r->attempts;
    c->capacity_retries = r->capacity_retries;
    c->spared = r->spared;
    c->worker = r->last_worker;
    if (line->session.len > 0)
        c->session = mem_copy(line->session.data, line->session.len);
    if (r->deadline_ns != 0)
        c->deadline_ns = r->deadline_ns - a->desk->host->wall_ns(a->desk->host, now);
    if (r->deadline_ns != 0 && c->deadline_ns < 1)
        c->deadline_ns = 1; /* just now: 0 would be none */
}

static struct attempt *make(struct desk *d, struct desk_task *t, struct desk_pool *p,
                            const struct registry_line *line, struct instant now)
{
    struct attempt *a = mem_calloc(1, sizeof *a);

    if (!a)
        return NULL;
    a->desk = d;
    a->pool = p;
    a->t = t;
    a->source = t->task;
    a->source->refs++;
    a->task = t->task->id;
    a->line = t->place.line;
    task_init(&a->core);
    answer_init(&a->answer);
    heap_node_init(&a->silence);
    list_init(&a->link);
    a->silent_at = INSTANT_NEVER;
    a->beat_told_at = INSTANT_NONE;
    fill_row(a, line, now);
    a->shown = (struct desk_attempt){.task = t->task,
                                     .line = line,
                                     .token = d->last_token + 1,
                                     .number = t->task->attempts + 1,
                                     .pool = p,
                                     .started_at = now,
                                     .beat_at = INSTANT_NONE,
                                     .progress = -1};
    a->core.token = a->shown.token;
    d->attempt_count++;
    if ((line->session.len > 0 && !a->core.session) ||
        !idmap_put(&d->attempts, a->shown.token, a) ||
        !(d->silences.cap > d->attempt_count || heap_reserve(&d->silences, d->attempt_count * 2))) {
        (void)idmap_remove(&d->attempts, a->shown.token);
        free_attempt(a);
        return NULL;
    }
    return a;
}

/* It did not come to anything: the task stays where it is. */
static void unmake(struct attempt *a)
{
    (void)idmap_remove(&a->desk->attempts, a->shown.token);
    if (a->prepared && a->pool->options.ops->discard)
        a->pool->options.ops->discard(a->pool->options.ctx, &a->core);
    free_attempt(a);
}

/* The attempt has its permit, and with it its slots: its payload can be made. */
enum weir_status attempt_prepare(void *ctx, struct core_task *t, const uint32_t numbers[],
                                 struct weir_error *err)
{
    struct attempt *a = t->user;
    struct desk_pool *p = ctx;
    enum weir_status status;

    memcpy(a->shown.slots, numbers, sizeof a->shown.slots);
    if (!p->options.ops->prepare)
        return WEIR_OK;
    status = p->options.ops->prepare(p->options.ctx, &a->shown, t, err);
    a->prepared = status == WEIR_OK;
    a->short_of_memory = status == WEIR_E_NOMEM;
    return status;
}

/* ---- what is written ---- */

static void send(struct attempt *a, struct registry_op *op, struct instant now)
{
    op->user = a;
    a->pool->unwritten++;
    desk_write(a->desk, op, now);
}

static void fill_start(struct attempt *a, struct registry_start *s)
{
    *s = (struct registry_start){.task = a->t->task->id,
                                 .token = a->shown.token,
                                 .attempt = a->shown.number,
                                 .pool = slice_of(a->pool->name),
                                 .runner = a->shown.runner};
    memcpy(s->runner.slots, a->shown.slots, sizeof s->runner.slots);
}

void attempt_send_start(struct attempt *a, struct instant now)
{
    if (a->start_sent || a->start_written || a->ended)
        return;
    a->start_op.kind = REGISTRY_START;
    fill_start(a, &a->start_op.start);
    a->start_sent = true;
    send(a, &a->start_op, now);
}

static void send_end(struct attempt *a, struct instant now)
{
    struct registry_end *e = &a->end_op.end;

    a->end_op.kind = REGISTRY_END;
    if (a->start_sent)
        a->end_op.start_op = &a->start_op;
    else if (!a->start_written && !e->untried) {
        e->started = true;
        fill_start(a, &e->start);
    }
    a->end_sent = true;
    a->desk->unwritten_bytes += answer_bytes(&a->answer);
    send(a, &a->end_op, now);
}

/* ---- counts ---- */

const double desk_time_bounds_s[DESK_TIME_BOUNDS] = {
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,  1,
    2.5,   5,      10,    30,   60,    120,  300, 600,  1800, 3600,
};

static void count_time(struct desk_times *t, int64_t ns)
{
    double s = duration_seconds(ns);
    size_t i = 0;

    while (i < DESK_TIME_BOUNDS && s > desk_time_bounds_s[i])
        i++;
    t->counts[i]++;
    t->sum_s += s;
}

static void add_times(struct desk_times *to, const struct desk_times *from)
{
    for (size_t i = 0; i <= DESK_TIME_BOUNDS; i++)
        to->counts[i] += from->counts[i];
    to->sum_s += from->sum_s;
}

void desk_counts_add(struct desk_counts *to, const struct desk_counts *from)
{
    to->started += from->started;
    for (size_t i = 0; i < sizeof to->outcomes / sizeof *to->outcomes; i++)
        to->outcomes[i] += from->outcomes[i];
    to->done += from->done;
    to->failed += from->failed;
    to->retries += from->retries;
    to->quarantined += from->quarantined;
    to->heartbeats += from->heartbeats;
    add_times(&to->wait, &from->wait);
    add_times(&to->run, &from->run);
    to->before.late_reports += from->before.late_reports;
    to->before.breaker_opened += from->before.breaker_opened;
    to->before.session_hits += from->before.session_hits;
    to->before.session_misses += from->before.session_misses;
    to->before.session_rebinds += from->before.session_rebinds;
    to->before.session_expiries += from->before.session_expiries;
    to->before.workers_lost += from->before.workers_lost;
}

/* What the record has of it: an END that was refused has told nothing. */
static void count(struct desk_pool *p, const struct registry_end *e)
{
    struct desk_counts *c = pool_counts(p);

    c->outcomes[e->outcome]++;
    c->done += e->next == REGISTRY_DONE;
    c->failed += e->next == REGISTRY_FAILED;
    c->retries += e->wake_ns != 0 && !e->ret_cancelled;
    c->quarantined += e->quarantined;
    count_time(&c->wait, e->wait_ns);
    count_time(&c->run, e->run_ns);
}

/* ---- written ---- */

void attempt_written(struct desk *d, struct attempt *a, struct registry_op *op, struct instant now)
{
    struct desk_pool *p = a->pool;

    p->unwritten--;
    if (op == &a->start_op) {
        a->start_sent = false;
        a->start_written = true;
        if (op->err.status != WEIR_OK && !a->ended) {
            a->refused = true; /* cancelled, or changed, in the meantime: it is not to run */
            attempt_end(a, WEIR_OUTCOME_CANCELLED, WEIR_REASON_CANCELLED, op->err.message, false,
                        now);
        }
    } else {
        a->end_sent = false;
        d->unwritten_bytes -= answer_bytes(&a->answer);
        if (op->err.status == WEIR_OK && !op->end.untried)
            count(p, &op->end);
        if (a->t && a->t->state == DESK_TASK_ENDING && a->t->attempt == a) {
            window_end(d, a->t);
            if (a->anew)
                window_add(d, a->anew, now);
            a->anew = NULL;
        } else if (a->end_op.end.next == REGISTRY_READY) {
            window_end_written(d, a->task,
                               op->err.status == WEIR_OK && !a->end_op.end.ret_cancelled, now);
        }
        a->t = NULL;
    }
    free_if_done(a);
    pool_release(p, now);
}

/* ---- from the choice to the start ---- */

/* Where its task goes, as was judged. The END is sent next, by which it is still the attempt's. */
static void pass_on(struct attempt *a, duration_ns wait_ns, struct instant now)
{
    const struct registry_end *e = &a->end_op.end;

    if (e->next == REGISTRY_READY) {
        window_again(a->desk, a->t, e->outcome == WEIR_OUTCOME_CAPACITY ? a->pool : NULL,
                     wait_ns > 0 ? instant_add(now, wait_ns) : INSTANT_NONE, now);
        return;
    }
    a->t->state = DESK_TASK_ENDING;
    a->t->attempt = a;
    if (e->next == REGISTRY_SCHEDULED)
        desk_wake_by(a->desk, e->wake_ns);
}

/* The payload is no good for its pool, now and ever. */
static void end_unbegun(struct attempt *a, const struct weir_error *why, struct instant now)
{
    struct desk *d = a->desk;
    struct registry_end *e = &a->end_op.end;
    duration_ns wait_ns;

    (void)idmap_remove(&d->attempts, a->shown.token);
    checkout_over(d, a->t);
    schedule_hold_line(d->schedule, a->line, true);
    schedule_remove(d->schedule, &a->t->place, now);
    d->last_token = a->shown.token;
    a->started_wall_ns = d->host->wall_ns(d->host, now);
    a->answer.outcome = WEIR_OUTCOME_FAILED;
    a->answer.reason = WEIR_REASON_BAD_ROW;
    answer_say(&a->answer, "%s", why->message);
    a->released = a->ended = true;
    a->t->task->attempts++;
    a->pool->counts.started++; /* the record has a start and an end of it, too */
    judge_attempt(a, e, &wait_ns, now);
    pass_on(a, wait_ns, now);
    window_refill(d, a->line, now);
    schedule_hold_line(d->schedule, a->line, false);
    send_end(a, now);
    if (e->next == REGISTRY_READY)
        a->t = NULL; /* it has a life of its own again */
}

/* Its task fails without having been tried. */
static void end_untried(struct attempt *a, enum weir_outcome outcome, enum weir_reason reason,
                        const char *message, struct instant now)
{
    struct desk *d = a->desk;
    struct registry_end *e = &a->end_op.end;

    (void)idmap_remove(&d->attempts, a->shown.token);
    checkout_over(d, a->t);
    schedule_hold_line(d->schedule, a->line, true);
    schedule_remove(d->schedule, &a->t->place, now);
    a->released = a->ended = true;
    answer_say(&a->answer, "%s", message);
    *e = (struct registry_end){.task = a->t->task->id,
                               .untried = true,
                               .next = REGISTRY_FAILED,
                               .outcome = outcome,
                               .reason = reason,
                               .message = slice_of(a->answer.message)};
    pass_on(a, 0, now);
    window_refill(d, a->line, now);
    schedule_hold_line(d->schedule, a->line, false);
    send_end(a, now);
}

bool attempt_fail_untried(struct desk_task *t, struct desk_pool *p, enum weir_outcome outcome,
                          enum weir_reason reason, const char *message, struct instant now)
{
    struct desk *d = p->desk;
    struct attempt *a = make(d, t, p, d->host->line(d->host, t->task->line), now);

    if (!a)
        return false;
    list_remove(&t->link);
    t->worker = 0;
    end_untried(a, outcome, reason, message, now);
    return true;
}

static void begun(struct attempt *a, struct instant now)
{
    struct desk *d = a->desk;
    struct desk_task *t = a->t;

    checkout_over(d, t);
    schedule_start(d->schedule, &t->place, a->pool->place, now);
    d->last_token = a->shown.token;
    t->state = DESK_TASK_RUNNING;
    t->attempt = a;
    t->task->attempts++;
    a->started_wall_ns = d->host->wall_ns(d->host, now);
    if (t->task->first_start_ns == 0)
        t->task->first_start_ns = a->started_wall_ns;
    if (!t->task->tried) {
        t->task->tried = true;
        t->task->tried_at = now;
        t->task->tried_ns = a->started_wall_ns - t->task->first_start_ns;
        if (t->task->tried_ns < 0)
            t->task->tried_ns = 0;
    }
    a->shown.runner.worker = a->core.worker;
    list_push_back(&d->running, &a->link);
    d->run_count++;
    a->pool->running++;
    a->pool->counts.started++;
    if (!a->pool->options.tells_began)
        attempt_send_start(a, now);
    window_refill(d, a->line, now);
}

/* It needs more than there is; what needs less may go. */
static bool is_its_own(const struct core_offer *o)
{
    return o->result == OFFER_LIMIT && o->block != PERMIT_GLOBAL && o->block != PERMIT_POOL;
}

/* The fallback that its pool has does not take it now. */
static void wait_for_refuge(struct desk_task *t, struct desk_pool *chosen, struct desk_pool *refuge,
                            const struct core_offer *offer, struct instant now)
{
    struct desk *d = chosen->desk;

    /* The others of the pool do not go there: they are not held up. */
    if (t->task->away)
        window_aside_until(d, t, instant_add(now, REFUGE_AGAIN_NS));
    else if (is_its_own(offer) && schedule_bar(d->schedule, &t->place, chosen->place))
        pool_barred(refuge, instant_add(now, REFUGE_AGAIN_NS));
    else
        pool_close(chosen, offer->result == OFFER_GATE && !instant_is_never(offer->when)
                               ? offer->when
                               : INSTANT_NONE);
}

/* What became of an offer that came to nothing. */
static void not_begun(struct attempt *a, struct desk_pool *chosen, const struct core_offer *offer,
                      const struct weir_error *err, struct instant now)
{
    struct desk *d = a->desk;
    struct desk_pool *p = a->pool;
    struct desk_task *t = a->t;
    bool guest = a->guest;

    if (offer->result == OFFER_NEVER) {
        end_unbegun(a, err, now);
        return;
    }
    unmake(a);
    if (offer->result == OFFER_WORKER && offer->worker != 0)
        window_aside_for(d, t, p, offer->worker, now);
    else if (guest)
        wait_for_refuge(t, chosen, p, offer, now);
    else if (offer->result == OFFER_GATE && !instant_is_never(offer->when))
        pool_close(p, p->options.fallback /* may be there sooner */
                          ? instant_min(offer->when, instant_add(now, FALLBACK_LOOK_NS))
                          : offer->when);
    else
        pool_close(p, INSTANT_NONE);
    p->no_worker = offer->result == OFFER_NO_WORKER;
    if (p->no_worker && guest)
        p->guests += t->task->away ? 1 : schedule_pool_ready(d->schedule, chosen->place);
}

static void fill_need(struct desk *d, const struct registry_line *line, struct permit_need *ret)
{
    *ret = (struct permit_need){
        .priority = line->priority, .cpu_milli = line->cpu_milli, .memory_mib = line->memory_mib};
    (void)slots_resolve(d, line->slots, ret->slots); /* they were, when the line was made */
}

/* False: no memory; nothing more in this turn. */
static bool offer(struct desk *d, struct desk_task *t, struct desk_pool *chosen, struct instant now)
{
    const struct registry_line *line = d->host->line(d->host, t->task->line);
    bool broken = pool_is_broken(chosen, now);
    struct desk_pool *refuge = broken || t->task->away ? pool_refuge(chosen, now) : NULL;
    struct desk_pool *p = refuge ? refuge : chosen;
    struct attempt *a = make(d, t, p, line, now);
    struct permit_need need;
    struct core_offer what = {0};
    struct weir_error err = {0};
    enum weir_status status;

    if (!a)
        return false;
    a->guest = refuge != NULL;
    if (broken && !refuge && core_pool_get_options(p->core)->breaker_fails) {
        core_pool_say_broken(p->core, err.message, sizeof err.message, now);
        end_untried(a, WEIR_OUTCOME_FAILED, WEIR_REASON_CIRCUIT_OPEN, err.message, now);
        return true;
    }
    fill_need(d, line, &need);
    status = dispatcher_offer(d->dispatcher, p->batch, &a->core, &need, now, &what, &err);
    if (status != WEIR_OK || a->short_of_memory) {
        unmake(a);
        return false;
    }
    if (what.result == OFFER_STARTED)
        begun(a, now);
    else
        not_begun(a, chosen, &what, &err, now);
    return true;
}

/* Its deadline has passed while it waited: the registry ends it. */
static bool is_late(struct desk *d, struct desk_task *t, struct instant now)
{
    if (t->task->deadline_ns == 0 || d->host->wall_ns(d->host, now) < t->task->deadline_ns)
        return false;
    desk_wake_by(d, t->task->deadline_ns);
    window_drop(d, t, now);
    return true;
}

/*
 * While a service is full, new tasks would be refused one after the other, and come back in waves:
 * they are held back while many wait after a refusal, as rows of batches are (core/choose.c).
 */
static bool is_crowded(struct desk *d, const struct desk_task *t, struct desk_pool *p)
{
    const struct permit_account *a = core_pool_permits(p->core);

    if (t->task->capacity_retries > 0 || p->refused == 0 ||
        a->running + p->refused < a->limit + CROWDING_ROWS_MAX)
        return false;
    /* Until the first of those that wait may go again; what ends well opens it, too. */
    pool_close(p, list_entry(heap_first(&d->waits), struct desk_task, wait)->wake_at);
    return true;
}

/* What lazy and extra workers are started for. */
static void want_workers(struct desk *d)
{
    list_foreach (node, &d->pools) {
        struct desk_pool *p = list_entry(node, struct desk_pool, link);

        if (p->place && core_pool_crew(p->core))
            dispatcher_want_workers(
                p->core, p->no_worker ? schedule_pool_ready(d->schedule, p->place) + p->guests : 0);
        p->no_worker = false;
        p->guests = 0;
    }
}

bool attempts_may_start(const struct desk *d)
{
    return !d->stopped && !d->paused && d->unwritten < DESK_UNWRITTEN_MAX &&
           d->unwritten_bytes < DESK_UNWRITTEN_BYTES_MAX;
}

static void start_all(struct desk *d, struct instant now)
{
    struct schedule_task *s;
    struct schedule_pool *place;

    while (attempts_may_start(d) && schedule_choose(d->schedule, now, &s, &place)) {
        struct desk_task *t = list_entry(s, struct desk_task, place);

        struct desk_pool *p = schedule_pool_owner(place);

        if (!is_late(d, t, now) && !is_crowded(d, t, p) && !offer(d, t, p, now))
            return;
    }
}

void attempts_start(struct desk *d, struct instant now)
{
    start_all(d, now);
    want_workers(d);
}

/* ---- the end ---- */

void desk_finished(struct desk *d, struct core_task *t)
{
    struct attempt *a = t->user;

    a->next_finished = NULL;
    *d->finished_tail = a;
    d->finished_tail = &a->next_finished;
}

static void tell_late(struct attempt *a, struct instant now)
{
    if (a->late.len > 0 && !a->late.failed)
        desk_record(a->desk,
                    &(struct registry_event){.kind = REGISTRY_RUNNER_LATE,
                                             .task = a->task,
                                             .attempt = a->shown.number,
                                             .worker = a->shown.runner.worker,
                                             .slot = a->shown.slots[0],
                                             .detail = buf_slice(&a->late)},
                    a->pool, now);
    buf_free(&a->late);
}

void desk_late(struct desk *d, const struct core_task *t, const struct core_answer *answer,
               struct instant now)
{
    struct attempt *a = t->user;

    (void)d;
    buf_printf(&a->late, "{\"outcome\":\"%s\"", weir_outcome_name(answer->outcome));
    if (answer->reason != WEIR_REASON_NONE)
        buf_printf(&a->late, ",\"reason\":\"%s\"", weir_reason_name(answer->reason));
    if (answer->message) {
        buf_puts(&a->late, ",\"message\":");
        json_put_string(&a->late, slice_of(answer->message));
    }
    buf_putc(&a->late, '}');
    if (a->ended)
        tell_late(a, now); /* else behind its end, see finish() */
}

static void finish(struct attempt *a, struct instant now)
{
    struct desk *d = a->desk;
    struct registry_end *e = &a->end_op.end;
    uint64_t worker = a->core.worker;
    duration_ns wait_ns = 0;

    dispatcher_give_back(d->dispatcher, &a->core); /* first: it counts the answer's bytes */
    answer_move(&a->answer, &a->core.answer);
    a->t->task->last_worker = worker;
    a->ended = true;
    heap_remove(&d->silences, &a->silence);
    list_remove(&a->link);
    (void)idmap_remove(&d->attempts, a->shown.token);
    d->run_count--;
    a->pool->running--;
    schedule_hold_line(d->schedule, a->line, true);
    judge_attempt(a, e, &wait_ns, now);
    schedule_end(d->schedule, a->line, a->pool->place, e->run_ns, now);
    pass_on(a, wait_ns, now);
    schedule_hold_line(d->schedule, a->line, false);
    window_bring_back(a->pool, worker, now);
    pool_has_room(a->pool);
    send_end(a, now);
    tell_late(a, now);
    if (e->next == REGISTRY_READY)
        a->t = NULL; /* it has a life of its own again */
}

void attempts_judge(struct desk *d, struct instant now)
{
    while (d->finished) {
        struct attempt *a = d->finished;

        d->finished = a->next_finished;
        if (!d->finished)
            d->finished_tail = &d->finished;
        finish(a, now);
    }
}

void attempt_end(struct attempt *a, enum weir_outcome outcome, enum weir_reason reason,
                 const char *why, bool put_back, struct instant now)
{
    if (a->ended || a->by_desk ||
        !dispatcher_end_attempt(a->desk->dispatcher, &a->core, outcome, reason, why, now))
        return;
    a->by_desk = true;
    a->put_back = put_back;
}

/* ---- ended from outside ---- */

static struct attempt *running(struct desk *d, uint64_t task)
{
    struct desk_task *t = idmap_get(&d->tasks, task);

    return t && t->state == DESK_TASK_RUNNING ? t->attempt : NULL;
}

/* It may have just ended by itself, or be ended for another reason: what is cancelled is not tried again. */
static void cancel(struct attempt *a, const char *why, struct instant now)
{
    a->shown.cancelling = true;
    attempt_end(a, WEIR_OUTCOME_CANCELLED, WEIR_REASON_CANCELLED, why, false, now);
}

bool desk_cancel(struct desk *d, uint64_t task, const char *why, struct instant now)
{
    struct attempt *a = running(d, task);

    if (a)
        cancel(a, why, now);
    return a != NULL;
}

size_t desk_cancel_batch(struct desk *d, uint64_t batch, const char *why, struct instant now)
{
    size_t count = 0;

    list_foreach_safe (node, &d->running) {
        struct attempt *a = list_entry(node, struct attempt, link);

        if (a->t->task->batch != batch)
            continue;
        cancel(a, why, now);
        count++;
    }
    return count;
}

bool desk_kill(struct desk *d, uint64_t token, const char *why, struct instant now)
{
    struct attempt *a = idmap_get(&d->attempts, token);

    if (a)
        attempt_end(a, WEIR_OUTCOME_LOST, WEIR_REASON_KILLED, why, false, now);
    return a != NULL;
}

void desk_end_running(struct desk *d, struct instant now)
{
    list_foreach_safe (node, &d->running)
        attempt_end(list_entry(node, struct attempt, link), WEIR_OUTCOME_CANCELLED,
                    WEIR_REASON_SHUTDOWN_REQUESTED, "the dispatcher is stopping", true, now);
}

size_t desk_running(const struct desk *d)
{
    return d->run_count;
}

/* ---- signs of life ---- */

void desk_began(struct desk *d, const struct core_attempt_began *b, struct instant now)
{
    struct attempt *a = idmap_get(&d->attempts, b->token);

    if (!a)
        return;
    a->shown.runner.pid = b->pid;
    a->shown.runner.pid_start = b->pid_start;
    attempt_send_start(a, now);
}

static void tell_beat(struct attempt *a, struct instant now)
{
    struct buf detail = {0};

    if (!instant_is_none(a->beat_told_at) &&
        instant_before(now, instant_add(a->beat_told_at, DESK_HEARTBEAT_EVENT_NS)))
        return;
    a->beat_told_at = now;
    if (a->shown.progress >= 0)
        buf_printf(&detail, "{\"progress\":%.4g", a->shown.progress);
    if (a->text) {
        buf_puts(&detail, detail.len > 0 ? ",\"text\":" : "{\"text\":");
        json_put_string(&detail, slice_of(a->text));
    }
    if (detail.len > 0)
        buf_putc(&detail, '}');
    if (!detail.failed)
        desk_record(a->desk,
                    &(struct registry_event){.kind = REGISTRY_RUNNER_HEARTBEAT,
                                             .task = a->t->task->id,
                                             .attempt = a->shown.number,
                                             .worker = a->shown.runner.worker,
                                             .slot = a->shown.slots[0],
                                             .detail = buf_slice(&detail)},
                    a->pool, now);
    buf_free(&detail);
}

bool desk_beat(struct desk *d, const struct core_heartbeat *b, struct instant now)
{
    struct attempt *a = idmap_get(&d->attempts, b->token);

    if (!a || a->by_desk)
        return false;
    a->shown.beat_at = now;
    a->pool->counts.heartbeats++;
    if (b->progress >= 0)
        a->shown.progress = b->progress < 1 ? b->progress : 1;
    if (b->text.len > 0) {
        char *text = mem_copy(b->text.data, b->text.len);

        if (text) {
            mem_free(a->text);
            a->shown.progress_text = a->text = text;
        }
    }
    if (a->pool->options.heartbeat_timeout_ns > 0) {
        a->silent_at = instant_add(now, a->pool->options.heartbeat_timeout_ns);
        if (heap_contains(&a->silence))
            heap_moved(&d->silences, &a->silence);
        else
            heap_push(&d->silences, &a->silence);
    }
    tell_beat(a, now);
    return true;
}

struct instant attempts_watch(struct desk *d, struct instant now)
{
    struct heap_node *n;

    while ((n = heap_first(&d->silences))) {
        struct attempt *a = list_entry(n, struct attempt, silence);
        char why[96];

        if (instant_before(now, a->silent_at))
            return a->silent_at;
        heap_remove(&d->silences, n);
        snprintf(why, sizeof why, "no heartbeat for %.3g s",
                 instant_seconds(now, a->shown.beat_at));
        attempt_end(a, WEIR_OUTCOME_LOST, WEIR_REASON_NO_HEARTBEAT, why, false, now);
    }
    return INSTANT_NEVER;
}
