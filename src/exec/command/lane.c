/*
 * A lane's thread (lane.h).
 *
 * A round: take one command that waits, start it, report what has ended, wait for whatever happens,
 * look after pipes, then after processes that have ended, and again. Only one is taken in a round,
 * so that other lanes get theirs; and before what has ended is reported, for a processor has
 * nothing to do just then.
 *
 * The pipes of a command are watched only once it has run for WATCH_AFTER_MS: what a short one
 * writes is there when it has ended, and watching it would wake the lane once more, for the pipes
 * are closed before the process has ended.
 */
#include "exec/command/lane.h"

#include "base/error.h"

#include <assert.h>
#include <errno.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* A command that fills a pipe before that waits for so long, once. */
#define WATCH_AFTER_MS 2
#define EVENTS_AT_ONCE 64
/* What has ended is reported when it is so many, or after so long, while others wait to be started. */
#define REPORT_MAX     16
#define REPORT_WAIT_NS (5 * NS_PER_MS)
/* A wait is no longer than this; what is due later is waited for again. */
#define WAIT_MS_MAX 60000

/* What an event is about: the slot's address, and in its lowest bits which of its descriptors. */
enum source { SOURCE_PROCESS, SOURCE_OUT, SOURCE_ERR, SOURCE_IN };
#define SOURCE_MASK 3U

_Static_assert(_Alignof(struct command_slot) > SOURCE_MASK, "there is room for the source");

static struct instant now_of(const struct lane *lane)
{
    return lane->executor->host->now(lane->executor->host);
}

bool lane_rouse(struct lane *lane)
{
    bool asleep = lane->asleep;

    lane->asleep = false;
    return asleep;
}

void lane_wake(struct lane *lane)
{
    const uint64_t one = 1;

    /* It can only fail when it is full, and then the lane will wake as well. */
    if (write(lane->wake_fd, &one, sizeof one) < 0)
        assert(errno == EAGAIN);
}

/* ---- what is watched ---- */

static bool watch(struct lane *lane, int fd, uint32_t events, struct command_slot *slot,
                  enum source source)
{
    struct epoll_event event = {.events = events};

    event.data.u64 = (uint64_t)(uintptr_t)slot | source;
    return epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

/*
 * Before it is closed, not by closing it: a child that another lane is just starting has a copy of
 * it for a moment, and as long as there is one the kernel goes on telling what happens to it.
 */
static void unwatch(struct lane *lane, int fd)
{
    if (fd >= 0)
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_DEL, fd, NULL);
}

static void read_stream(struct lane *lane, struct command_slot *slot, struct capture *stream)
{
    if (stream->fd >= 0 && !slot_read(slot, stream, lane->scratch)) {
        unwatch(lane, stream->fd);
        capture_close(stream);
    }
}

static void write_input(struct lane *lane, struct command_slot *slot)
{
    if (slot->in_fd >= 0 && !slot_write(slot)) {
        unwatch(lane, slot->in_fd);
        slot_close_input(slot);
    }
}

static void unwatch_all(struct lane *lane, const struct command_slot *slot)
{
    unwatch(lane, slot->child.pidfd);
    if (slot->watched) {
        unwatch(lane, slot->out.fd);
        unwatch(lane, slot->err.fd);
    }
    unwatch(lane, slot->in_fd);
}

/* ---- the life of a command ---- */

/* Hands back the attempts that have ended; their slots are free after that. */
static void report(struct lane *lane)
{
    struct command_executor *ex = lane->executor;
    struct command_slot *slots = lane->ended;
    struct core_attempt *chain = NULL, **tail = &chain;

    if (!slots)
        return;
    lane->ended = NULL;
    lane->ended_tail = &lane->ended;
    lane->ended_count = 0;
    pthread_mutex_lock(&ex->lock);
    while (slots) {
        struct command_slot *slot = slots;

        slots = slot->next;
        slot->attempt->next = NULL;
        *tail = slot->attempt;
        tail = &slot->attempt->next;
        lane->running--;
        command_slot_done(ex, slot);
    }
    pthread_mutex_unlock(&ex->lock);
    ex->host->report(ex->host, chain);
}

/* No process is left of it: another may run in its place, and it is reported in its time. */
static void end(struct lane *lane, struct command_slot *slot)
{
    struct command_executor *ex = lane->executor;
    struct instant now = now_of(lane);

    slot->attempt->answer.ended_at = now;
    list_remove(&slot->beat_link);
    heartbeat_remove(&slot->heartbeat);
    pthread_mutex_lock(&ex->lock);
    ex->running--;
    command_give_place(ex, slot);
    pthread_mutex_unlock(&ex->lock);
    /* What did not go well is news. */
    if (slot->attempt->answer.outcome != WEIR_OUTCOME_OK)
        lane->report_at = now;
    else if (!lane->ended)
        lane->report_at = instant_add(now, REPORT_WAIT_NS);
    slot->next = NULL;
    *lane->ended_tail = slot;
    lane->ended_tail = &slot->next;
    lane->ended_count++;
}

static bool watch_new(struct lane *lane, struct command_slot *slot)
{
    return watch(lane, slot->child.pidfd, EPOLLIN, slot, SOURCE_PROCESS) &&
           (slot->in_fd < 0 || watch(lane, slot->in_fd, EPOLLOUT, slot, SOURCE_IN));
}

/* It runs, as whoever wants to know is told; from now on it may say that it is alive. */
static void tell_began(struct lane *lane, struct command_slot *slot, struct instant now)
{
    struct command_executor *ex = lane->executor;
    struct core_attempt_began began = {.token = slot->attempt->token, .pid = slot->child.pid};

    if (ex->host->began) {
        began.pid_start = child_stat(slot->child.pid, CHILD_STAT_START);
        ex->host->began(ex->host, &began);
    }
    if (!slot->heartbeat.path || !ex->host->beat)
        return;
    if (list_empty(&lane->beating))
        lane->look_at = instant_add(now, ex->look_ns);
    list_push_back(&lane->beating, &slot->beat_link);
}

static void launch(struct lane *lane, struct command_slot *slot)
{
    struct core_answer *a = &slot->attempt->answer;

    a->started_at = now_of(lane);
    slot_name_place(slot);
    if (!slot_launch(slot, lane->executor->guard)) {
        end(lane, slot);
        return;
    }
    if (!watch_new(lane, slot)) {
        unwatch_all(lane, slot);
        child_kill(&slot->child, &slot->end);
        a->outcome = WEIR_OUTCOME_FAILED;
        a->reason = WEIR_REASON_INTERNAL;
        a->retryable = true;
        answer_say(a, "memory ran out for watching the command");
        end(lane, slot);
        return;
    }
    slot->watch_at = instant_add(a->started_at, WATCH_AFTER_MS * NS_PER_MS);
    list_push_back(&lane->unwatched, &slot->watch_link);
    tell_began(lane, slot, a->started_at);
}

/* Its process has ended. */
static void finish(struct lane *lane, struct command_slot *slot)
{
    unwatch(lane, slot->child.pidfd);
    if (!slot_reap(slot)) {
        /* Not yet, after all. */
        watch(lane, slot->child.pidfd, EPOLLIN, slot, SOURCE_PROCESS);
        return;
    }
    if (slot->watched) {
        unwatch(lane, slot->out.fd);
        unwatch(lane, slot->err.fd);
    }
    unwatch(lane, slot->in_fd);
    list_remove(&slot->watch_link);
    list_remove(&slot->end_link);
    slot_answer(slot, lane->scratch);
    end(lane, slot);
}

/* ---- time ---- */

/* Commands that have run for a while: their pipes are watched from now on. */
static void watch_pipes(struct lane *lane, struct instant now)
{
    struct list *node;

    while ((node = list_front(&lane->unwatched))) {
        struct command_slot *slot = list_entry(node, struct command_slot, watch_link);

        if (instant_before(now, slot->watch_at))
            return;
        list_remove(node);
        slot->watched = true;
        if (!watch(lane, slot->out.fd, EPOLLIN, slot, SOURCE_OUT) ||
            !watch(lane, slot->err.fd, EPOLLIN, slot, SOURCE_ERR))
            slot_give_up(slot, CAPTURE_NO_MEMORY, 0);
    }
}

static void step_terms(struct lane *lane, struct instant now)
{
    list_foreach (node, &lane->ending) {
        struct command_slot *slot = list_entry(node, struct command_slot, end_link);

        if (!instant_before(now, slot->term_at))
            slot_term(slot, now);
    }
}

/* One look at all files that there are, whenever it is time. */
static void look_for_beats(struct lane *lane, struct instant now)
{
    struct core_executor_host *host = lane->executor->host;
    char room[HEARTBEAT_READ_BYTES];

    if (list_empty(&lane->beating) || instant_before(now, lane->look_at))
        return;
    lane->look_at = instant_add(now, lane->executor->look_ns);
    list_foreach (node, &lane->beating) {
        struct command_slot *slot = list_entry(node, struct command_slot, beat_link);
        struct core_heartbeat beat = {.token = slot->attempt->token};

        if (heartbeat_look(&slot->heartbeat, room, &beat))
            host->beat(host, &beat);
    }
}

static struct instant next_due(struct lane *lane)
{
    struct list *first = list_front(&lane->unwatched);
    struct instant due = lane->ended ? lane->report_at : INSTANT_NEVER;

    if (!list_empty(&lane->beating))
        due = instant_min(due, lane->look_at);
    if (first)
        due = instant_min(due, list_entry(first, struct command_slot, watch_link)->watch_at);
    list_foreach (node, &lane->ending)
        due = instant_min(due, list_entry(node, struct command_slot, end_link)->term_at);
    return due;
}

/* In milliseconds, rounded up; -1: for ever. */
static int time_until(const struct lane *lane, struct instant due)
{
    duration_ns ns;

    if (instant_is_never(due))
        return -1;
    ns = instant_diff(due, now_of(lane));
    if (ns <= 0)
        return 0;
    return ns > WAIT_MS_MAX * NS_PER_MS ? WAIT_MS_MAX : (int)((ns + NS_PER_MS - 1) / NS_PER_MS);
}

/* ---- rounds ---- */

static void look_after_pipe(struct lane *lane, struct command_slot *slot, enum source source)
{
    if (source == SOURCE_OUT)
        read_stream(lane, slot, &slot->out);
    else if (source == SOURCE_ERR)
        read_stream(lane, slot, &slot->err);
    else if (source == SOURCE_IN)
        write_input(lane, slot);
}

/* Waits, and looks after all that has happened. Ends come last, for after them a slot is not to be touched. */
static void wait_and_look(struct lane *lane, int timeout_ms)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(lane->epoll_fd, events, EVENTS_AT_ONCE, timeout_ms);

    for (int i = 0; i < n; i++) {
        uint64_t data = events[i].data.u64;

        if (data & SOURCE_MASK)
            look_after_pipe(lane, (void *)(uintptr_t)(data & ~(uint64_t)SOURCE_MASK),
                            data & SOURCE_MASK);
    }
    for (int i = 0; i < n; i++)
        if (events[i].data.u64 && !(events[i].data.u64 & SOURCE_MASK))
            finish(lane, (void *)(uintptr_t)events[i].data.u64);
}

/* Under the lock: the next command that waits, if there is a place for it. */
static struct command_slot *take_next(struct lane *lane)
{
    struct command_executor *ex = lane->executor;
    struct command_slot *slot;

    if (list_empty(&ex->queue) || ex->running >= ex->places)
        return NULL;
    slot = list_entry(list_front(&ex->queue), struct command_slot, link);
    /* Without memory for a place, one that ends makes room for it. */
    if (slot->place == 0 && !command_take_place(ex, slot))
        return NULL;
    list_remove(&slot->link);
    ex->queued--;
    ex->running++;
    lane->running++;
    slot->state = SLOT_TAKEN;
    slot->lane = lane;
    return slot;
}

struct round {
    struct command_slot *slot; /* to be started; NULL: none */
    bool more;                 /* there is another one, and a place for it */
    bool scarce;               /* soon there will be none: the engine must know what has ended */
    bool go_on;
};

static struct round begin_round(struct lane *lane)
{
    struct command_executor *ex = lane->executor;
    struct round r;
    struct list *node;

    pthread_mutex_lock(&ex->lock);
    while ((node = list_pop_front(&lane->cancels))) {
        struct command_slot *slot = list_entry(node, struct command_slot, cancel_link);

        /* One that has ended by itself meanwhile is about to be reported, and its slot used for another command. */
        if (slot->child.pid > 0)
            list_push_back(&lane->ending, &slot->end_link);
    }
    r.slot = take_next(lane);
    r.more = ex->queued > 0 && ex->running < ex->places;
    r.scarce = ex->queued < ex->places;
    r.go_on = lane->running > 0 || !ex->closing;
    lane->asleep = !r.slot;
    pthread_mutex_unlock(&ex->lock);
    return r;
}

static void *lane_main(void *arg)
{
    struct lane *lane = arg;
    struct round r;

    for (r = begin_round(lane); r.go_on; r = begin_round(lane)) {
        struct instant now = now_of(lane);

        if (r.slot)
            launch(lane, r.slot);
        if (lane->ended_count >= REPORT_MAX || r.scarce || !instant_before(now, lane->report_at))
            report(lane);
        step_terms(lane, now);
        watch_pipes(lane, now);
        look_for_beats(lane, now);
        if (!r.slot || r.more)
            wait_and_look(lane, r.slot ? 0 : time_until(lane, next_due(lane)));
    }
    return NULL;
}

/* ---- beginning and end ---- */

static void close_lane(struct lane *lane)
{
    if (lane->epoll_fd >= 0)
        close(lane->epoll_fd);
    if (lane->wake_fd >= 0)
        close(lane->wake_fd);
    lane->epoll_fd = lane->wake_fd = -1;
}

/*
 * No signal of the host's is handled on a lane; and SIGPIPE, for input that nobody reads, does not
 * come. But SIGCHLD may come: where it is ignored, as it is by default, the kernel drops it at
 * once, whereas one that the child's parent blocks is given to another thread, which wakes up for
 * nothing.
 */
static int start_thread(struct lane *lane)
{
    sigset_t all, before;
    int rc;

    sigfillset(&all);
    sigdelset(&all, SIGCHLD);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&lane->thread, NULL, lane_main, lane);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

enum weir_status lane_start(struct lane *lane, struct command_executor *executor,
                            struct weir_error *err)
{
    /* Edge: it is never read, and each write tells anew. */
    struct epoll_event event = {.events = EPOLLIN | EPOLLET, .data.u64 = 0};
    enum weir_status status = WEIR_OK;
    int rc;

    lane->executor = executor;
    list_init(&lane->cancels);
    list_init(&lane->unwatched);
    list_init(&lane->ending);
    list_init(&lane->beating);
    lane->ended_tail = &lane->ended;
    lane->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    lane->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (lane->epoll_fd < 0 || lane->wake_fd < 0 ||
        epoll_ctl(lane->epoll_fd, EPOLL_CTL_ADD, lane->wake_fd, &event) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "cannot set up a thread for commands");
    rc = status == WEIR_OK ? start_thread(lane) : 0;
    if (rc != 0)
        status = error_set_errno(err, WEIR_E_IO, rc, "cannot start a thread for commands");
    if (status != WEIR_OK)
        close_lane(lane);
    return status;
}

void lane_join(struct lane *lane)
{
    pthread_join(lane->thread, NULL);
    close_lane(lane);
}
