#include "serve/daemon/daemon.h"

#include "base/error.h"
#include "base/mem.h"
#include "loop/loop.h"
#include "serve/daemon/house.h"
#include "serve/daemon/left.h"
#include "serve/daemon/notify.h"

#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* While it stops, systemd is told this often that it still does. */
#define STOP_TELL_NS (5 * NS_PER_S)
/* Whether the store fails is looked at so often while the first event is written. */
#define FIRST_LOOK_NS (100 * NS_PER_MS)
/* Streams of tasks have so long to be answered; what a store does not take by then is not waited for. */
#define STREAMS_END_NS NS_PER_S
/* So has the last event to come to its followers. */
#define LAST_WORDS_NS      NS_PER_S
#define LAST_WORDS_POLL_MS 2

/* ---- signals and wishes ---- */

static enum weir_status open_ears(struct house *h, struct weir_error *err)
{
    sigset_t set;

    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    /* Before any thread is started: all of them inherit it, and the signals come here. */
    if (pthread_sigmask(SIG_BLOCK, &set, NULL) != 0)
        return error_set(err, WEIR_E_INTERNAL, "cannot block signals");
    (void)signal(SIGPIPE, SIG_IGN);
    h->signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    h->wish = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (h->signals < 0 || h->wish < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot make a descriptor for signals");
    return WEIR_OK;
}

/* The next signal; 0: there is none. */
static int take_signal(struct house *h)
{
    struct signalfd_siginfo info;

    return read(h->signals, &info, sizeof info) == (ssize_t)sizeof info ? (int)info.ssi_signo : 0;
}

static bool is_signalled(struct house *h)
{
    return poll(&(struct pollfd){.fd = h->signals, .events = POLLIN}, 1, 0) > 0;
}

/* Until a signal or a wish comes, or until then. */
static void wait_until(struct house *h, struct instant then)
{
    struct pollfd fds[] = {{.fd = h->signals, .events = POLLIN}, {.fd = h->wish, .events = POLLIN}};
    duration_ns left_ns = instant_diff(then, loop_clock());
    uint64_t wishes;

    if (left_ns > 60 * NS_PER_S)
        left_ns = 60 * NS_PER_S;
    if (left_ns > 0)
        (void)poll(fds, 2, (int)((left_ns + NS_PER_MS - 1) / NS_PER_MS));
    while (read(h->wish, &wishes, sizeof wishes) > 0)
        ;
}

/* ---- stopping ---- */

/* Commands that still run; workers are ended with their pools. */
struct survivors {
    struct registry_runner *runners;
    size_t count;
};

static void add_survivor(void *ctx, const struct desk_attempt *a)
{
    struct survivors *s = ctx;
    struct registry_runner *more;

    if (a->runner.worker != 0 || a->runner.pid == 0)
        return;
    more = mem_realloc(s->runners, (s->count + 1) * sizeof *more);
    if (!more)
        return; /* its own kill_after ends it */
    s->runners = more;
    s->runners[s->count++] = a->runner;
}

static void find_survivors(struct desk *d, struct instant now, void *ctx)
{
    (void)now;
    desk_attempts(d, add_survivor, ctx);
}

/* They were told to end, and shutdown.kill is over: whatever their pools' kill_after says. */
static void kill_survivors(struct house *h)
{
    struct survivors s = {0};

    engine_tasks_call(h->tasks, find_survivors, &s);
    for (size_t i = 0; i < s.count; i++)
        (void)left_end(&s.runners[i]);
    mem_free(s.runners);
}

static void *stop_tasks(void *arg)
{
    struct house *h = arg;
    struct instant end_by = {atomic_load(&h->end_by_ns)};
    struct config_shutdown how;

    /* A reload may come from the API at any time. */
    pthread_mutex_lock(&h->config_lock);
    how = h->config->shutdown;
    pthread_mutex_unlock(&h->config_lock);
    engine_tasks_stop(h->tasks, instant_diff(end_by, loop_clock()), how.kill_ns,
                      how.submits == CONFIG_SUBMITS_REFUSE, &h->left);
    kill_survivors(h);
    chores_end(h); /* the main thread does none meanwhile */
    engine_tasks_end_pools(h->tasks);
    atomic_store(&h->stopped, true);
    house_wake(h);
    return NULL;
}

/* A second signal cuts the wait short; so does a wish of the API whose grace ends earlier. Another one changes nothing. */
static void wait_stopped(struct house *h)
{
    duration_ns watchdog_ns = notify_watchdog_ns();
    duration_ns each_ns =
        watchdog_ns > 0 && watchdog_ns < STOP_TELL_NS ? watchdog_ns : STOP_TELL_NS;

    while (!atomic_load(&h->stopped)) {
        int signal;

        notify_alive();
        notify_more_time(3 * each_ns);
        wait_until(h, instant_add(loop_clock(), each_ns));
        while ((signal = take_signal(h)))
            if (signal != SIGHUP) {
                daemon_log(h->log, CONFIG_INFO, "told again to stop: what runs is ended now");
                engine_tasks_end_by(h->tasks, loop_clock());
            }
        if (atomic_exchange(&h->stop_wished, false))
            engine_tasks_end_by(h->tasks, (struct instant){atomic_load(&h->end_by_ns)});
    }
}

/* Those who follow are given the last event too. */
static void tell_followers(struct house *h)
{
    struct instant until = instant_add(loop_clock(), LAST_WORDS_NS);
    struct api *api = atomic_load(&h->api);
    struct sse_stats stats;

    api_event_stats(api, &stats);
    if (stats.followers == 0)
        return;
    while (!atomic_load(&h->last_told) && instant_before(loop_clock(), until))
        (void)poll(NULL, 0, LAST_WORDS_POLL_MS);
    api_flush(api, instant_diff(until, loop_clock()));
}

/* Results that the store did not take. */
static enum weir_status tell_lost(struct house *h, struct weir_error *err)
{
    struct engine_tasks_stats s;

    engine_tasks_get_stats(h->tasks, &s);
    if (s.clerk.results_lost == 0)
        return WEIR_OK;
    daemon_log(h->log, CONFIG_WARNING,
               "%llu results could not be written: %s; their tasks will run again after the next "
               "start",
               (unsigned long long)s.clerk.results_lost, s.clerk.message);
    return error_set(err, WEIR_E_IO,
                     "stopped without %llu results, which the store did not take; their tasks will "
                     "run again",
                     (unsigned long long)s.clerk.results_lost);
}

static enum weir_status stop(struct house *h, struct weir_error *err)
{
    enum weir_status status;
    pthread_t stopper;
    char detail[96];

    daemon_log(h->log, CONFIG_INFO, "stopping: nothing starts any more");
    notify_stopping();
    atomic_store(&h->stopping, true);
    engine_tasks_stop_starts(h->tasks); /* whoever is told so may rely on it */
    backend_stopping(h->backend);
    house_tell(h, REGISTRY_DISPATCHER_STOPPING, NULL);
    if (pthread_create(&stopper, NULL, stop_tasks, h) == 0) {
        wait_stopped(h);
        pthread_join(stopper, NULL);
    } else {
        stop_tasks(h);
    }
    /* Those who still send tasks are told which were accepted. */
    http_server_end_bodies(h->server, STREAMS_END_NS);
    engine_tasks_refuse(h->tasks); /* so that nothing comes behind the last event */
    snprintf(detail, sizeof detail, "{\"left\":%llu}", (unsigned long long)h->left);
    house_tell(h, REGISTRY_DISPATCHER_STOPPED, detail);
    tell_followers(h);
    status = tell_lost(h, err);
    daemon_log(h->log, h->left > 0 ? CONFIG_WARNING : CONFIG_INFO,
               "stopped; %llu attempts were ended, and their tasks are ready again",
               (unsigned long long)h->left);
    return status;
}

/* ---- the life ---- */

static void run(struct house *h)
{
    duration_ns watchdog_ns = notify_watchdog_ns();
    struct instant alive_at = watchdog_ns > 0 ? loop_clock() : INSTANT_NEVER;

    for (;;) {
        struct instant now = loop_clock(), wake;
        int signal;

        while ((signal = take_signal(h))) {
            if (signal != SIGHUP) {
                house_stop_within(h, -1);
                return;
            }
            if (house_reload(h, NULL, NULL) != WEIR_OK)
                continue; /* it has said so in the log */
            api_changed(atomic_load(&h->api));
        }
        if (atomic_exchange(&h->stop_wished, false))
            return;
        /* It asks the engine's thread: an engine that hangs is not told to be alive. */
        wake = chores_run(h, now);
        if (!instant_before(now, alive_at)) {
            notify_alive();
            alive_at = instant_add(now, watchdog_ns);
        }
        wait_until(h, instant_min(wake, alive_at));
    }
}

/*
 * Whoever finds us ready finds that in the record. A store that takes nothing just now is not
 * waited for: whoever asks is told so. False: it does not.
 */
static bool tell_started(struct house *h)
{
    struct engine_tasks_stats stats;

    house_tell(h, REGISTRY_DISPATCHER_STARTED, "{\"version\":\"" WEIR_VERSION "\"}");
    for (;;) {
        engine_tasks_get_stats(h->tasks, &stats);
        if (stats.clerk.failing || stats.clerk.waiting == 0 || is_signalled(h))
            return !stats.clerk.failing;
        wait_until(h, instant_add(loop_clock(), FIRST_LOOK_NS));
    }
}

static enum weir_status start(struct house *h, struct weir_error *err)
{
    enum weir_status status = house_build(h, err);
    bool is_well;

    if (status != WEIR_OK)
        return status;
    is_well = tell_started(h);
    engine_tasks_start(h->tasks);
    status = http_server_start(h->server, err);
    if (status != WEIR_OK)
        return status;
    pthread_mutex_lock(&h->config_lock); /* from here on the API may reload it */
    daemon_log(h->log, CONFIG_INFO, "weir %s is %s: %zu pools, store %s", WEIR_VERSION,
               is_well ? "ready" : "up, but its store takes nothing", h->config->pools.count,
               h->config->store);
    pthread_mutex_unlock(&h->config_lock);
    notify_ready();
    return WEIR_OK;
}

static enum weir_status read_config(struct house *h, struct weir_error *err)
{
    struct config_faults faults = {0};
    _cleanup_buf_ struct buf text = {0};
    enum weir_status status = config_load(h->config_path, &h->config, &faults, err);

    if (status == WEIR_E_INVALID) {
        config_faults_put(&faults, &text);
        fputs(text.data ? text.data : "", stderr);
        status =
            error_set(err, status, "the configuration %s is wrong (see above)", h->config_path);
    } else if (status == WEIR_E_IO || status == WEIR_E_LIMIT) {
        /* Nor does it help to start again when it is not there, or is no configuration. */
        status = err->status = WEIR_E_INVALID;
    }
    config_faults_free(&faults);
    return status;
}

enum weir_status daemon_run(const struct daemon_options *o, struct weir_error *err)
{
    struct house h = {.config_path = o->config_path, .signals = -1, .wish = -1};
    enum weir_status status;

    atomic_store(&h.end_by_ns, INSTANT_NEVER.ns);
    pthread_mutex_init(&h.config_lock, NULL);
    status = read_config(&h, err);
    if (status == WEIR_OK)
        status = open_ears(&h, err);
    if (status == WEIR_OK)
        status =
            daemon_log_new(h.config->log.file, (enum config_level)h.config->log.level, &h.log, err);
    if (status == WEIR_OK) {
        status = start(&h, err);
        if (status == WEIR_OK) {
            run(&h);
            status = stop(&h, err);
        }
        house_take_down(&h);
    }
    daemon_log_free(h.log);
    config_free(h.config);
    if (h.signals >= 0)
        close(h.signals);
    if (h.wish >= 0)
        close(h.wish);
    pthread_mutex_destroy(&h.config_lock);
    return status;
}
