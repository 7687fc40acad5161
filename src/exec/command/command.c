/*
 * The command executor (command.h), as the engine sees it: it says what is to be run, and hands
 * that to the lanes (lane.h), which run and report it.
 */
#include "exec/command/command.h"

#include "base/error.h"
#include "base/mem.h"
#include "exec/command/lane.h"

#include <assert.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>

#define PLACES_PER_WORD 64

/* Enough for a lane to report several at once and never to wait for the next; few enough to be begun within 100 ms. */
#define AHEAD_PER_PLACE 32
#define AHEAD_WORK_NS   (3 * NS_PER_MS)

#define LOOK_NS_DEFAULT NS_PER_S

static const struct command_term terms_default[] = {
    {SIGTERM, 200 * NS_PER_MS},
    {SIGTERM, 100 * NS_PER_MS},
    {SIGTERM, 50 * NS_PER_MS},
    {SIGKILL, 25 * NS_PER_MS},
};

static struct command_executor *of(struct core_executor *ex)
{
    return (struct command_executor *)ex;
}

/* ---- places ---- */

bool command_take_place(struct command_executor *ex, struct command_slot *slot)
{
    uint64_t *words;
    unsigned bit;

    while (ex->taken_from < ex->taken_words && ex->taken[ex->taken_from] == UINT64_MAX)
        ex->taken_from++;
    if (ex->taken_from == ex->taken_words) {
        size_t more = ex->taken_words * 2;

        words = mem_realloc(ex->taken, more * sizeof *words);
        if (!words)
            return false;
        memset(words + ex->taken_words, 0, (more - ex->taken_words) * sizeof *words);
        ex->taken = words;
        ex->taken_words = more;
    }
    words = &ex->taken[ex->taken_from];
    bit = (unsigned)__builtin_ctzll(~*words);
    *words |= UINT64_C(1) << bit;
    slot->place = (unsigned)(ex->taken_from * PLACES_PER_WORD) + bit + 1;
    return true;
}

void command_give_place(struct command_executor *ex, struct command_slot *slot)
{
    size_t word = (slot->place - 1) / PLACES_PER_WORD;
    uint64_t bit = UINT64_C(1) << (slot->place - 1) % PLACES_PER_WORD;

    if (slot->place == 0)
        return;
    assert(ex->taken[word] & bit);
    ex->taken[word] &= ~bit;
    if (word < ex->taken_from)
        ex->taken_from = word;
    slot->place = 0;
}

/* ---- slots ---- */

/* NULL: no memory. */
static struct command_slot *take_slot(struct command_executor *ex, struct core_attempt *attempt)
{
    struct command_slot *slot;
    bool placed = true;

    pthread_mutex_lock(&ex->lock);
    slot = ex->free;
    if (slot)
        ex->free = slot->next;
    pthread_mutex_unlock(&ex->lock);
    if (!slot)
        slot = slot_new(&ex->shared);
    if (!slot)
        return NULL;
    slot->attempt = attempt;
    if (!ex->ahead) {
        pthread_mutex_lock(&ex->lock);
        placed = command_take_place(ex, slot);
        pthread_mutex_unlock(&ex->lock);
    }
    return placed ? slot : slot_free(slot);
}

void command_slot_done(struct command_executor *ex, struct command_slot *slot)
{
    list_remove(&slot->link);
    list_remove(&slot->cancel_link);
    assert(list_empty(&slot->watch_link) && list_empty(&slot->end_link) &&
           list_empty(&slot->beat_link));
    slot->attempt->edge = NULL;
    command_give_place(ex, slot);
    slot_reset(slot);
    slot->next = ex->free;
    ex->free = slot;
}

/* One that no lane has taken. */
static void drop_slot(struct command_executor *ex, struct command_slot *slot)
{
    pthread_mutex_lock(&ex->lock);
    command_slot_done(ex, slot);
    pthread_mutex_unlock(&ex->lock);
}

/* ---- the port ---- */

static void report_unstarted(struct command_executor *ex, struct core_attempt *attempt)
{
    attempt->answer.ended_at = ex->host->now(ex->host);
    attempt->next = NULL;
    ex->host->report(ex->host, attempt);
}

static void fail_nomem(struct core_answer *a)
{
    a->outcome = WEIR_OUTCOME_FAILED;
    a->reason = WEIR_REASON_INTERNAL;
    a->retryable = true;
    answer_say(a, "memory ran out");
}

/* False: the answer says why it is not run. */
static bool prepare(struct command_executor *ex, struct command_slot *slot)
{
    struct core_answer *a = &slot->attempt->answer;
    struct command_launch launch = {0};

    if (ex->prepare(ex->ctx, slot->attempt, slot->place, &launch, a)) {
        assert(launch.argv && launch.argv[0]);
        if (slot_lay(slot, &launch))
            return true;
        fail_nomem(a);
        return false;
    }
    if (a->outcome == WEIR_OUTCOME_LOST && a->reason == WEIR_REASON_NO_OUTCOME) {
        a->outcome = WEIR_OUTCOME_FAILED;
        a->reason = WEIR_REASON_BAD_ROW;
    }
    return false;
}

static void command_start(struct core_executor *base, struct core_attempt *attempt)
{
    struct command_executor *ex = of(base);
    struct command_slot *slot;

    attempt->edge = NULL;
    answer_init(&attempt->answer);
    attempt->answer.started_at = ex->host->now(ex->host);
    slot = take_slot(ex, attempt);
    if (!slot) {
        fail_nomem(&attempt->answer);
        report_unstarted(ex, attempt);
        return;
    }
    if (!prepare(ex, slot)) {
        drop_slot(ex, slot);
        report_unstarted(ex, attempt);
        return;
    }
    pthread_mutex_lock(&ex->lock);
    attempt->edge = slot;
    slot->state = SLOT_STAGED;
    list_push_back(&ex->staged, &slot->link);
    pthread_mutex_unlock(&ex->lock);
}

static void command_cancel(struct core_executor *base, struct core_attempt *attempt)
{
    struct command_executor *ex = of(base);
    /* Else it is only called in, and goes on when it has begun. */
    bool is_told = atomic_load_explicit(&attempt->cancelled, memory_order_relaxed);
    struct lane *rouse = NULL;
    struct command_slot *slot;
    bool unstarted = false;

    pthread_mutex_lock(&ex->lock);
    slot = attempt->edge;
    if (slot && slot->state != SLOT_TAKEN) {
        ex->queued -= slot->state == SLOT_QUEUED;
        command_slot_done(ex, slot);
        unstarted = true;
    } else if (slot && is_told && !slot->cancel_asked) {
        slot->cancel_asked = true;
        list_push_back(&slot->lane->cancels, &slot->cancel_link);
        rouse = lane_rouse(slot->lane) ? slot->lane : NULL;
    }
    pthread_mutex_unlock(&ex->lock);
    if (rouse)
        lane_wake(rouse);
    if (unstarted) {
        attempt->answer.outcome = WEIR_OUTCOME_CANCELLED;
        attempt->answer.reason = WEIR_REASON_NONE;
        report_unstarted(ex, attempt);
    }
}

/* Under the lock: of the lanes that are asleep the one that has the least to do; NULL: there is none. */
static struct lane *idlest_lane(struct command_executor *ex)
{
    struct lane *best = NULL;

    for (size_t i = 0; i < ex->lanes_count; i++) {
        struct lane *lane = &ex->lanes[i];

        if (lane->asleep && (!best || lane->running < best->running))
            best = lane;
    }
    return best;
}

/* Lanes that are awake look at the queue by themselves. */
static void command_kick(struct core_executor *base)
{
    struct command_executor *ex = of(base);
    struct lane *roused[LANES_MAX];
    size_t count = 0, room;
    struct list *node;

    pthread_mutex_lock(&ex->lock);
    while ((node = list_pop_front(&ex->staged))) {
        list_entry(node, struct command_slot, link)->state = SLOT_QUEUED;
        list_push_back(&ex->queue, node);
        ex->queued++;
    }
    room = ex->places > ex->running ? ex->places - ex->running : 0;
    while (count < room && count < ex->queued) {
        struct lane *lane = idlest_lane(ex);

        if (!lane)
            break;
        lane_rouse(lane);
        roused[count++] = lane;
    }
    pthread_mutex_unlock(&ex->lock);
    /* Not before: it would wake to a lock that is taken. */
    for (size_t i = 0; i < count; i++)
        lane_wake(roused[i]);
}

static enum weir_status command_resize(struct core_executor *base, size_t size,
                                       struct weir_error *err)
{
    struct command_executor *ex = of(base);

    if (size > COMMAND_PLACES_MAX)
        return error_set(err, WEIR_E_INVALID, "%zu commands at once; give 1 to %d", size,
                         COMMAND_PLACES_MAX);
    pthread_mutex_lock(&ex->lock);
    ex->places = size;
    pthread_mutex_unlock(&ex->lock);
    command_kick(base);
    return WEIR_OK;
}

/* Copes with an executor that is half made. */
static void release(struct command_executor *ex)
{
    pthread_mutex_lock(&ex->lock);
    ex->closing = true;
    pthread_mutex_unlock(&ex->lock);
    for (size_t i = 0; i < ex->lanes_count; i++)
        lane_wake(&ex->lanes[i]);
    for (size_t i = 0; i < ex->lanes_count; i++)
        lane_join(&ex->lanes[i]);
    assert(list_empty(&ex->staged) && list_empty(&ex->queue));
    child_guard_free(ex->guard);
    while (ex->free) {
        struct command_slot *slot = ex->free;

        ex->free = slot->next;
        slot_free(slot);
    }
    pthread_mutex_destroy(&ex->lock);
    mem_free(ex->lanes);
    mem_free(ex->taken);
    mem_free(ex->spill_dir);
    for (size_t i = 0; i < ex->shared.wrapper_count; i++)
        mem_free(ex->shared.wrapper[i]);
    mem_free(ex->shared.wrapper);
    mem_free(ex);
}

static void command_close(struct core_executor *base)
{
    release(of(base));
}

static const struct core_executor_ops command_ops_ahead = {
    .kind = "command",
    .cancels_at_once = true,
    .ahead_per_place = AHEAD_PER_PLACE,
    .ahead_work_ns = AHEAD_WORK_NS,
    .start = command_start,
    .cancel = command_cancel,
    .resize = command_resize,
    .kick = command_kick,
    .close = command_close,
};

static const struct core_executor_ops command_ops = {
    .kind = "command",
    .cancels_at_once = true,
    .start = command_start,
    .cancel = command_cancel,
    .resize = command_resize,
    .kick = command_kick,
    .close = command_close,
};

/* ---- options ---- */

static enum weir_status set_exits(struct slot_shared *s, const struct command_options *o,
                                  struct weir_error *err)
{
    static const int exits_default[] = {COMMAND_CAPACITY_EXIT_DEFAULT};
    const int *exits = o->capacity_exits ? o->capacity_exits : exits_default;
    size_t count = o->capacity_exits ? o->capacity_exits_count : 1;

    for (size_t i = 0; i < count; i++) {
        if (exits[i] < 1 || exits[i] > 255)
            return error_set(err, WEIR_E_INVALID,
                             "%d cannot mean \"full\": an exit status is 0 to 255, and 0 means "
                             "success; give 1 to 255",
                             exits[i]);
        s->capacity[exits[i]] = true;
    }
    return WEIR_OK;
}

static enum weir_status set_terms(struct slot_shared *s, const struct command_options *o,
                                  struct weir_error *err)
{
    const struct command_term *terms = o->terms ? o->terms : terms_default;
    size_t count = o->terms ? o->terms_count : sizeof terms_default / sizeof *terms_default;

    if (count > COMMAND_TERM_STEPS_MAX)
        return error_set(err, WEIR_E_INVALID, "a term sequence has %zu steps; %d are the most",
                         count, COMMAND_TERM_STEPS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (terms[i].signal < 1 || terms[i].signal > SIGRTMAX || terms[i].wait_ns < 0)
            return error_set(err, WEIR_E_INVALID,
                             "step %zu of the term sequence is signal %d with a wait of %lld ns; "
                             "give a signal of 1 to %d and a wait of 0 or more",
                             i + 1, terms[i].signal, (long long)terms[i].wait_ns, SIGRTMAX);
        s->terms[i] = terms[i];
    }
    s->terms_count = count;
    return WEIR_OK;
}

static enum weir_status set_limits(struct command_executor *ex, const struct command_options *o,
                                   struct weir_error *err)
{
    const char *dir = o->spill_dir;

    if (!dir)
        dir = getenv("TMPDIR");
    if (!dir || !*dir)
        dir = "/tmp";
    ex->spill_dir = mem_strdup(dir);
    if (!ex->spill_dir)
        return error_nomem(err);
    ex->shared.limits = (struct capture_limits){
        .bytes_max = o->output_max_bytes ? o->output_max_bytes : UINT64_MAX,
        .spill_bytes = o->spill_bytes ? o->spill_bytes : COMMAND_SPILL_BYTES_DEFAULT,
        .spill_dir = ex->spill_dir,
    };
    return WEIR_OK;
}

/* What is copied counts at once, so that release() copes with half of it. */
static enum weir_status set_wrapper(struct slot_shared *s, const struct command_options *o,
                                    struct weir_error *err)
{
    size_t count = 0;

    while (o->wrapper && o->wrapper[count])
        count++;
    s->wrapper_shell = o->wrapper_shell;
    if (count == 0)
        return WEIR_OK;
    if (!*o->wrapper[0])
        return error_set(err, WEIR_E_INVALID,
                         "the wrapper's first word is empty; it names a program, such as ssh");
    s->wrapper = mem_calloc(count + 1, sizeof *s->wrapper);
    if (!s->wrapper)
        return error_nomem(err);
    for (; s->wrapper_count < count; s->wrapper_count++) {
        s->wrapper[s->wrapper_count] = mem_strdup(o->wrapper[s->wrapper_count]);
        if (!s->wrapper[s->wrapper_count])
            return error_nomem(err);
    }
    return WEIR_OK;
}

static size_t processors(void)
{
    cpu_set_t set;
    int n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : LANES_MAX;

    return n < 1 ? 1 : (size_t)n;
}

static enum weir_status start_lanes(struct command_executor *ex, size_t places,
                                    struct weir_error *err)
{
    size_t count = processors();
    enum weir_status status = WEIR_OK;

    if (count > LANES_MAX)
        count = LANES_MAX;
    if (count > places)
        count = places;
    ex->lanes = mem_calloc(count, sizeof *ex->lanes);
    if (!ex->lanes)
        return error_nomem(err);
    while (ex->lanes_count < count && status == WEIR_OK) {
        status = lane_start(&ex->lanes[ex->lanes_count], ex, err);
        if (status == WEIR_OK)
            ex->lanes_count++;
    }
    /* With one of them all can be done. */
    return ex->lanes_count > 0 ? WEIR_OK : status;
}

enum weir_status command_executor_new(const struct command_options *o,
                                      struct core_executor_host *host, struct core_executor **ret,
                                      struct weir_error *err)
{
    struct command_executor *ex;
    enum weir_status status;

    if (!o || !o->prepare || !host || !ret)
        return error_set(err, WEIR_E_INVALID, "an argument of command_executor_new is missing");
    if (o->places < 1 || o->places > COMMAND_PLACES_MAX)
        return error_set(err, WEIR_E_INVALID, "%zu commands at once; give 1 to %d", o->places,
                         COMMAND_PLACES_MAX);
    ex = mem_calloc(1, sizeof *ex);
    if (!ex)
        return error_nomem(err);
    ex->base.ops = o->ahead ? &command_ops_ahead : &command_ops;
    ex->places = o->places;
    ex->ahead = o->ahead;
    ex->look_ns = o->heartbeat_look_ns > 0 ? o->heartbeat_look_ns : LOOK_NS_DEFAULT;
    ex->host = host;
    ex->prepare = o->prepare;
    ex->ctx = o->ctx;
    ex->shared.fail_retryable = o->fail_retryable;
    list_init(&ex->staged);
    list_init(&ex->queue);
    pthread_mutex_init(&ex->lock, NULL);
    ex->taken_words = 1;
    ex->taken = mem_calloc(1, sizeof *ex->taken);
    status = ex->taken ? set_exits(&ex->shared, o, err) : error_nomem(err);
    if (status == WEIR_OK)
        status = set_terms(&ex->shared, o, err);
    if (status == WEIR_OK)
        status = set_limits(ex, o, err);
    if (status == WEIR_OK)
        status = set_wrapper(&ex->shared, o, err);
    if (status == WEIR_OK)
        status = child_guard_new(&ex->guard, err);
    if (status == WEIR_OK)
        status = start_lanes(ex, o->places, err);
    if (status != WEIR_OK) {
        release(ex);
        return status;
    }
    *ret = &ex->base;
    return WEIR_OK;
}
