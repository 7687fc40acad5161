/*
 * weir run: pushes rows through an HTTP service, worker processes or commands, as fast as these
 * bear, in order, with nothing lost.
 *
 * This file is the order of things: options, input, journal and files, engine, then wait (progress,
 * signals, --halt), and put the end together. Everything that can be refused is refused before a
 * row is sent.
 */
#include "base/error.h"
#include "cli/commands.h"
#include "cli/run/run.h"
#include "loop/loop.h"

#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

/* Between two looks at the state of the run; progress decides itself when it draws. */
#define LOOK_MS 100
/* Notes of the engine that nobody has seen yet; more are dropped. */
#define NOTES_BYTES_MAX ((size_t)64 << 10)

static void complain(const struct weir_error *err)
{
    const char *prefix = strncmp(err->message, "weir run: ", 10) == 0 ? "" : "weir run: ";

    fprintf(stderr, "%s%s\n", prefix, err->message);
}

/* The faults of the input, one a line, then what to do. */
static void complain_input(const struct run *r, const struct weir_error *err)
{
    if (err->status == WEIR_E_FORMAT && r->report) {
        for (size_t i = 0; i < r->report->fault_count; i++)
            fprintf(stderr, "weir run: %s\n", r->report->faults[i]);
    }
    complain(err);
}

static void ignore_signal(int number)
{
    struct sigaction ignore = {.sa_handler = SIG_IGN};

    sigaction(number, &ignore, NULL);
}

static enum weir_status open_fds(struct run *r, struct weir_error *err)
{
    r->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->begun_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    r->signal_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK | EFD_SEMAPHORE);
    if (r->wake_fd < 0 || r->stop_fd < 0 || r->begun_fd < 0 || r->signal_fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "cannot create an event descriptor");
    spool_init(&r->notes, NOTES_BYTES_MAX, r->wake_fd);
    r->notes_open = true;
    return WEIR_OK;
}

static void close_fd(int fd)
{
    if (fd >= 0)
        close(fd);
}

/* ---- standard error ---- */

void run_aside(struct run *r, struct slice bytes)
{
    pthread_mutex_lock(&r->told_lock);
    progress_aside(r->progress, bytes);
    pthread_mutex_unlock(&r->told_lock);
}

void run_note(struct run *r, const char *text)
{
    if (pthread_mutex_trylock(&r->told_lock) != 0)
        return;
    progress_note(r->progress, text);
    pthread_mutex_unlock(&r->told_lock);
}

void run_note_later(struct run *r, const char *what, const char *detail)
{
    struct buf line = {0};

    if (what)
        buf_printf(&line,
                   "the breaker is %s: ", strcmp(what, "half_open") == 0 ? "half open" : what);
    buf_printf(&line, "%s\n", detail ? detail : "");
    if (!line.failed)
        spool_put(&r->notes, buf_slice(&line));
    buf_free(&line);
}

static void tell_notes(struct run *r)
{
    if (!spool_take(&r->notes, &r->noted))
        return;
    for (char *at = r->noted.data, *end; (end = strchr(at, '\n')); at = end + 1) {
        *end = '\0';
        run_note(r, at);
    }
}

static void update_progress(struct run *r, const struct progress_snapshot *s)
{
    if (pthread_mutex_trylock(&r->told_lock) != 0)
        return;
    progress_update(r->progress, s);
    pthread_mutex_unlock(&r->told_lock);
}

/* ---- the run ---- */

/* Rows that had their result before this run, or that it passes over. */
static uint64_t rows_before(const struct run *r)
{
    return r->before.finished + atomic_load(&r->passed_over);
}

static void take_snapshot(struct run *r, struct progress_snapshot *s)
{
    struct engine_pool_state pool;
    struct core_stats stats;
    uint64_t total;

    engine_batch_stats(r->batch, &stats);
    engine_pool_state(r->engine, r->pool, &pool);
    *s = (struct progress_snapshot){
        .now = engine_now(r->engine),
        .phase = r->phase,
        .done_before = rows_before(r),
        .done = rows_before(r) + atomic_load(&r->watch.ok) + atomic_load(&r->watch.failed),
        .failed = r->before.failed + atomic_load(&r->watch.failed),
        .in_flight = stats.running,
        .waiting = stats.waiting,
        .attempts = stats.attempts,
        .refused = stats.refused,
        .retries = stats.retries,
        .tokens = stats.tokens,
        .throttle = throttle_kind_name(r->options.flow.throttle),
        .pace = stats.throttle,
        .held_ns = pool.held_ns,
        .delivered = r->start.mark.next + atomic_load(&r->rows_delivered),
    };
    s->elapsed_ns = instant_diff(s->now, r->started_at);
    s->total_known = atomic_load(&r->all_fed) || source_rows_known(r->source, &total);
    if (s->total_known)
        s->total =
            atomic_load(&r->all_fed) ? r->start.mark.next + atomic_load(&r->rows_fed) : total;
}

static void stop_starting(struct run *r, bool cancel)
{
    r->phase = cancel ? PROGRESS_CANCELLING : PROGRESS_STOPPING;
    run_signal_fd(r->stop_fd);
    engine_batch_stop(r->batch, cancel);
}

/* Told once it is so: who reads the note may rely on it, and a terminal that is stopped holds up no stop. */
static void on_signal(struct run *r)
{
    uint64_t one;

    while (read(r->signal_fd, &one, sizeof one) == (ssize_t)sizeof one) {
        r->signals++;
        if (r->signals == 1) {
            stop_starting(r, false);
            run_note(r,
                     "stopping: nothing more is started, what runs finishes; once more cancels it");
        } else if (r->signals == 2) {
            stop_starting(r, true);
            run_note(r, "cancelling what runs; once more ends at once");
        }
    }
}

static void on_wake(struct run *r)
{
    enum halt_verdict verdict = (enum halt_verdict)atomic_load(&r->watch.verdict);
    uint64_t count;

    while (read(r->wake_fd, &count, sizeof count) == (ssize_t)sizeof count)
        ;
    if (verdict == HALT_NONE || verdict == r->halted)
        return;
    r->halted = verdict;
    stop_starting(r, verdict == HALT_NOW);
}

/* Waits for the deliverer's end, telling how it goes. */
static void attend(struct run *r)
{
    struct pollfd fds[] = {{.fd = r->signal_fd, .events = POLLIN},
                           {.fd = r->wake_fd, .events = POLLIN}};
    struct progress_snapshot s;

    while (!atomic_load(&r->deliverer_done)) {
        take_snapshot(r, &s);
        update_progress(r, &s);
        hold_look(r);
        joblog_drain(r);
        worker_log_drain(r);
        tell_notes(r);
        if (!r->worker_hopeless && (r->worker_hopeless = worker_never_starts(r)))
            stop_starting(r, true);
        if (poll(fds, 2, LOOK_MS) <= 0)
            continue;
        if (fds[0].revents)
            on_signal(r);
        if (fds[1].revents)
            on_wake(r);
    }
}

static enum weir_status run_threads(struct run *r, struct weir_error *err)
{
    int rc = pthread_create(&r->deliverer, NULL, deliver_main, r);

    if (rc == 0) {
        rc = pthread_create(&r->feeder, NULL, feed_main, r);
        if (rc != 0) {
            engine_batch_stop(r->batch, true);
            pthread_join(r->deliverer, NULL);
        }
    }
    if (rc != 0)
        return error_set_errno(err, WEIR_E_NOMEM, rc, "cannot start a thread");
    signals_admit();
    attend(r);
    /* Where the batch was stopped, the source may still wait for input. */
    run_signal_fd(r->stop_fd);
    pthread_join(r->deliverer, NULL);
    pthread_join(r->feeder, NULL);
    return WEIR_OK;
}

/* Every row of the input has its line. */
static bool is_complete(const struct run *r)
{
    return atomic_load(&r->all_fed) && r->delivered.status == WEIR_OK &&
           atomic_load(&r->rows_delivered) == atomic_load(&r->rows_fed);
}

static bool stopped_alike(struct run *r)
{
    struct core_stats stats;

    engine_batch_stats(r->batch, &stats);
    return stats.stopped_alike;
}

/* Why the run ended early, and with what status. why is NULL when it did not. */
static int judge_end(struct run *r, struct buf *why, enum summary_end *ret_end)
{
    bool fed_badly =
        r->fed.status != WEIR_OK && r->fed.status != WEIR_E_END && r->fed.status != WEIR_E_SHUTDOWN;

    *ret_end = SUMMARY_COMPLETE;
    if (r->delivered.status != WEIR_OK) {
        *ret_end = SUMMARY_STOPPED;
        buf_puts(why, r->delivered.err.message);
        return r->store ? CLI_STOPPED : CLI_FAILED;
    }
    if (fed_badly) {
        *ret_end = SUMMARY_STOPPED;
        buf_puts(why, r->fed.err.message);
        return CLI_USAGE;
    }
    if (is_complete(r))
        return r->before.failed + atomic_load(&r->watch.failed) > 0 ? CLI_FAILED : CLI_OK;
    if (stopped_alike(r)) {
        *ret_end = SUMMARY_HALTED;
        buf_puts(why, "many rows failed the same way (--on-same-failure)");
        return CLI_HALTED;
    }
    if (r->halted != HALT_NONE) {
        *ret_end = SUMMARY_HALTED;
        halt_describe(&r->watch.halt, why);
        return CLI_HALTED;
    }
    *ret_end = SUMMARY_STOPPED;
    if (r->worker_hopeless) {
        worker_describe_hopeless(r, why);
        return CLI_USAGE;
    }
    buf_puts(why, r->signals > 0 ? "stopped by a signal" : "stopped");
    return CLI_STOPPED;
}

static void count_workers(struct run *r, struct summary_workers *s)
{
    struct core_stats stats;

    worker_count(r, r->pool, s);
    worker_count(r, r->fallback_pool, s);
    engine_pool_stats(r->engine, r->pool, &stats);
    s->breaker_opened = stats.breaker_opened;
    s->failed_over = stats.failed_over;
}

static void fill_summary(struct run *r, struct summary *s)
{
    const struct run_options *o = &r->options;

    s->rows_before = rows_before(r);
    s->rows_ok = rows_before(r) - r->before.failed + atomic_load(&r->watch.ok);
    s->rows_failed = r->before.failed + atomic_load(&r->watch.failed);
    s->total_known = atomic_load(&r->all_fed) || source_rows_known(r->source, &s->rows_total);
    if (atomic_load(&r->all_fed))
        s->rows_total = r->start.mark.next + atomic_load(&r->rows_fed);
    s->elapsed_ns = instant_diff(engine_now(r->engine), r->started_at);
    s->started_ns = r->started_ns;
    engine_batch_stats(r->batch, &s->batch);
    s->throttle = throttle_kind_name(o->flow.throttle);
    s->attempts_are = o->kind == RUN_COMMAND ? "commands" : "requests";
    if (o->kind == RUN_WORKER)
        count_workers(r, &s->workers);
    s->output = o->output;
    s->errors = o->errors;
    s->journal = o->journal;
    s->resume = r->store && (s->exit_status == CLI_STOPPED || s->exit_status == CLI_HALTED)
                    ? "the same command goes on from here"
                    : NULL;
}

/* Whoever runs commands and takes their bytes expects no more than these, unless he asks. */
static bool is_silent(const struct run_options *o)
{
    return o->quiet || (run_options_raw(o) && !o->command.bar && o->progress == PROGRESS_AUTO);
}

/* A person reads the summary. A program that reads objects finds the figures in the last of them. */
static bool tells_people(const struct run *r)
{
    return !is_silent(&r->options) && r->options.progress != PROGRESS_JSON;
}

/* The one line of a run that is silent otherwise: what xargs tells by its exit status alone. */
static void tell_failures(const struct run *r)
{
    const struct first_failure *f = &r->first_failure;
    const struct summary *s = &r->summary;

    if (s->rows_failed == 0 || !run_options_raw(&r->options) || tells_people(r))
        return;
    if (!f->any) {
        fprintf(stderr, "weir run: %" PRIu64 " of %" PRIu64 " rows failed, in the runs before\n",
                s->rows_failed, s->rows_ok + s->rows_failed);
        return;
    }
    fprintf(stderr,
            "weir run: %" PRIu64 " of %" PRIu64 " rows failed, the first of them row %" PRIu64
            " (%s): %s\n",
            s->rows_failed, s->rows_ok + s->rows_failed, f->index + 1, f->key, f->message);
}

static int tell_summary(struct run *r, int exit_status)
{
    _cleanup_buf_ struct buf out = {0};
    struct weir_error err;

    if (tells_people(r)) {
        summary_render_text(&r->summary, &out);
        fwrite(buf_slice(&out).data, 1, out.len, stderr);
        buf_clear(&out);
    }
    if (!r->options.summary)
        return exit_status;
    summary_render_json(&r->summary, &out);
    if (out.failed || summary_write(r->options.summary, buf_slice(&out), &err) != WEIR_OK) {
        if (out.failed)
            error_nomem(&err);
        complain(&err);
        return exit_status == CLI_OK ? CLI_FAILED : exit_status;
    }
    return exit_status;
}

static int end_run(struct run *r)
{
    _cleanup_buf_ struct buf why = {0};
    struct progress_snapshot s;
    int exit_status;

    if (r->delivered.status == WEIR_OK)
        r->delivered.status = writer_finish(r->writer, is_complete(r), &r->delivered.err);
    exit_status = judge_end(r, &why, &r->summary.end);
    r->phase = PROGRESS_DONE;
    tell_notes(r);
    take_snapshot(r, &s);
    progress_finish(r->progress, &s);
    r->summary.why = why.len > 0 ? why.data : NULL;
    r->summary.exit_status = exit_status;
    fill_summary(r, &r->summary);
    if (!tells_people(r) && r->summary.why)
        fprintf(stderr, "weir run: %s\n", r->summary.why);
    tell_failures(r);
    return tell_summary(r, exit_status);
}

/* The display goes back over its own lines. Results that the terminal shows between them would be drawn over. */
static bool shows_results(const struct run_options *o)
{
    struct stat out, terminal;

    if (!o->output)
        return isatty(STDOUT_FILENO);
    return stat(o->output, &out) == 0 && S_ISCHR(out.st_mode) &&
           fstat(STDERR_FILENO, &terminal) == 0 &&
           (out.st_rdev == terminal.st_rdev || out.st_rdev == makedev(5, 0)); /* /dev/tty */
}

static enum weir_status start_progress(struct run *r, struct weir_error *err)
{
    struct progress_options o = {.mode = (enum progress_mode)r->options.progress,
                                 .fd = STDERR_FILENO};

    if (is_silent(&r->options))
        o.mode = PROGRESS_NONE;
    else if (o.mode == PROGRESS_AUTO && shows_results(&r->options))
        o.mode = PROGRESS_PLAIN;
    return progress_new(&o, &r->progress, err);
}

static int go(struct run *r)
{
    struct weir_error err = {0};
    enum weir_status status = files_check(&r->options, &err);

    if (status == WEIR_OK)
        status = files_raise_limit(&r->options, &err);
    if (status == WEIR_OK)
        status = open_fds(r, &err);
    if (status == WEIR_OK)
        status = setup_input(r, &err);
    if (status != WEIR_OK) {
        complain_input(r, &err);
        return CLI_USAGE;
    }
    if (r->options.command.dry_run) {
        status = command_dry_run(r, &err);
        if (status != WEIR_OK)
            complain(&err);
        return status == WEIR_OK ? CLI_OK : status == WEIR_E_FORMAT ? CLI_USAGE : CLI_FAILED;
    }
    /* Before any thread is started, so that none has them. */
    signals_block();
    status = setup_engine(r, &err);
    if (status == WEIR_OK) {
        /* Opening a FIFO waits for its reader, and nothing has been sent yet. */
        signals_admit();
        status = setup_output(r, &err);
        signals_block();
    }
    if (status == WEIR_OK)
        status = signals_take(r->signal_fd, &err);
    if (status == WEIR_OK)
        status = start_progress(r, &err); /* before workers may say something */
    if (status == WEIR_OK)
        status = setup_batch(r, &err);
    if (status != WEIR_OK) {
        complain(&err);
        return CLI_USAGE;
    }
    r->started_at = engine_now(r->engine);
    r->started_ns = loop_wall_clock_ns();
    r->phase = PROGRESS_RUNNING;
    hold_look(r); /* before the first row */
    status = run_threads(r, &err);
    if (status != WEIR_OK) {
        complain(&err);
        return CLI_FAILED;
    }
    return end_run(r);
}

int cmd_run(int argc, char **argv)
{
    struct run r = {.wake_fd = -1,
                    .stop_fd = -1,
                    .begun_fd = -1,
                    .signal_fd = -1,
                    .joblog = {.fd = -1},
                    .worker_log = {.fd = -1},
                    .held_look_at = INSTANT_NONE,
                    .worker_look_at = INSTANT_NONE,
                    .told_lock = PTHREAD_MUTEX_INITIALIZER};
    struct weir_error err;
    int exit_status;

    ignore_signal(SIGPIPE);
    ignore_signal(SIGXFSZ);
    run_options_init(&r.options);
    if (run_options_parse(&r.options, argc, argv, &err) != WEIR_OK) {
        complain(&err);
        run_options_free(&r.options);
        return CLI_USAGE;
    }
    if (r.options.help) {
        _cleanup_buf_ struct buf help = {0};

        run_options_help(&help);
        run_options_free(&r.options);
        if (!help.failed && fwrite(buf_slice(&help).data, 1, help.len, stdout) == help.len &&
            fflush(stdout) == 0)
            return CLI_OK;
        fprintf(stderr, "weir run: standard output cannot be written\n");
        return CLI_FAILED;
    }
    exit_status = go(&r);
    setup_close(&r);
    /* Nothing is said any more: the engine has ended. */
    worker_log_close(&r);
    if (joblog_close(&r, &err) != WEIR_OK) {
        complain(&err);
        exit_status = exit_status == CLI_OK ? CLI_FAILED : exit_status;
    }
    if (eventlog_close(r.events, &err) != WEIR_OK) {
        complain(&err);
        exit_status = exit_status == CLI_OK ? CLI_FAILED : exit_status;
    }
    progress_free(r.progress);
    if (r.notes_open)
        spool_free(&r.notes);
    buf_free(&r.noted);
    close_fd(r.wake_fd);
    close_fd(r.stop_fd);
    close_fd(r.begun_fd);
    close_fd(r.signal_fd);
    run_options_free(&r.options);
    return exit_status;
}
