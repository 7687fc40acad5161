/*
 * The end of a run in words and in JSON; docs/output.md is the contract of the JSON.
 */
#include "cli/output/summary.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/output/outfile.h"
#include "cli/output/pace.h"
#include "cli/output/text.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---- counting ---- */

static void count_status(struct summary *s, int status)
{
    if (status == 0)
        return;
    for (size_t i = 0; i < SUMMARY_STATUSES_MAX; i++) {
        if (s->statuses[i].rows == 0)
            s->statuses[i].status = status;
        if (s->statuses[i].status == status) {
            s->statuses[i].rows++;
            return;
        }
    }
    s->statuses_other++;
}

void summary_count(struct summary *s, const struct core_answer *answer)
{
    struct summary_reason *reason;

    if (answer->outcome == WEIR_OUTCOME_OK) {
        s->rows_ok++;
        return;
    }
    s->rows_failed++;
    reason =
        &s->reasons[answer->reason < WEIR_REASON_COUNT ? answer->reason : WEIR_REASON_INTERNAL];
    if (reason->rows++ == 0 && answer->message) {
        size_t len = strlen(answer->message);

        if (len >= sizeof(reason->first))
            len = utf8_valid_prefix((struct slice){answer->message, sizeof(reason->first) - 1});
        memcpy(reason->first, answer->message, len);
        reason->first[len] = '\0';
    }
    count_status(s, answer->status);
}

/* ---- derived ---- */

static uint64_t rows_done(const struct summary *s)
{
    return s->rows_ok + s->rows_failed;
}

static double rate(uint64_t n, duration_ns elapsed)
{
    return elapsed > 0 ? (double)n / duration_seconds(elapsed) : 0;
}

static uint64_t rows_here(const struct summary *s)
{
    return rows_done(s) > s->rows_before ? rows_done(s) - s->rows_before : 0;
}

static double refused_share(const struct summary *s)
{
    return s->batch.attempts > 0 ? (double)s->batch.refused / (double)s->batch.attempts : 0;
}

static duration_ns buffer_wait_mean(const struct summary *s)
{
    return s->batch.delivered > 0 ? s->batch.buffer_wait_sum_ns / (duration_ns)s->batch.delivered
                                  : 0;
}

/* ---- text ---- */

static void put_head(const struct summary *s, struct buf *out)
{
    static const char *const words[] = {"done", "stopped", "halted"};

    buf_printf(out, "weir: %s: ", words[s->end]);
    text_put_count(out, rows_done(s));
    if (s->total_known) {
        buf_puts(out, " of ");
        text_put_count(out, s->rows_total);
    }
    buf_puts(out, " rows, ");
    text_put_count(out, s->rows_ok);
    buf_puts(out, " ok, ");
    text_put_count(out, s->rows_failed);
    buf_puts(out, " failed, in ");
    text_put_duration(out, s->elapsed_ns);
    if (s->rows_before > 0) {
        buf_puts(out, " (");
        text_put_count(out, s->rows_before);
        buf_puts(out, " were done before)");
    }
    buf_putc(out, '\n');
}

/* The rate or window at the end, and between which it was; then what was decided, counted. */
static void put_adaptive(const struct summary *s, struct buf *out)
{
    const struct core_stats *b = &s->batch;

    if (b->throttle.changes == 0) {
        buf_puts(out, "no limit has shown\n");
        return;
    }
    pace_put_limit(out, &b->throttle);
    buf_puts(out, " at the end");
    if (b->rate_max_rps > 0) {
        buf_puts(out, "; rates from ");
        text_put_rate(out, b->rate_min_rps);
        buf_puts(out, " to ");
        text_put_rate(out, b->rate_max_rps);
        buf_puts(out, "/s");
    }
    if (b->window_max > 0) {
        buf_puts(out, "; windows from ");
        text_put_count(out, b->window_min);
        buf_puts(out, " to ");
        text_put_count(out, b->window_max);
    }
    pace_put_changes(out, "\n             ", &b->throttle);
    buf_putc(out, '\n');
}

/* Time that no throttle is to blame for. */
static void put_pauses(const struct summary *s, struct buf *out)
{
    if (s->batch.pauses == 0)
        return;
    buf_puts(out, "  pauses     the service asked for ");
    text_put_count(out, s->batch.pauses);
    buf_puts(out, ", of ");
    text_put_duration(out, s->batch.paused_ns);
    buf_puts(out, " in all\n");
}

static void put_throttle(const struct summary *s, struct buf *out)
{
    buf_printf(out, "  throttle   %s: ", s->throttle);
    if (s->batch.throttle_kind == THROTTLE_ADAPTIVE) {
        put_adaptive(s, out);
        return;
    }
    if (s->batch.throttle_kind == THROTTLE_AIMD) {
        buf_puts(out, "delay ");
        text_put_duration(out, s->batch.dispatch_delay_at_completion_ns);
        buf_puts(out, " at the end, ");
        text_put_duration(out, s->batch.peak_delay_ns);
        buf_puts(out, " at its peak; ");
    }
    buf_puts(out, "refused rows waited ");
    text_put_duration(out, s->batch.total_throttle_time_ns);
    buf_puts(out, " in all\n");
}

static const char *attempts_are(const struct summary *s)
{
    return s->attempts_are ? s->attempts_are : "requests";
}

/* " 3 started": nothing where there were none, but for the first. */
static void put_some(struct buf *out, const char *before, uint64_t n, const char *what)
{
    if (n == 0)
        return;
    buf_puts(out, before);
    text_put_count(out, n);
    buf_printf(out, " %s", what);
}

static void put_workers(const struct summary *s, struct buf *out)
{
    const struct summary_workers *w = &s->workers;

    if (!w->known)
        return;
    buf_puts(out, "  workers    ");
    text_put_count(out, w->started);
    buf_puts(out, " started");
    put_some(out, ", ", w->failed_starts, "could not start");
    put_some(out, ", ", w->lost, "lost");
    put_some(out, ", ", w->killed, "killed");
    put_some(out, ", ", w->replaced, "replaced");
    put_some(out, ", ", w->recycled, "recycled");
    put_some(out, "; the breaker opened ", w->breaker_opened, "times");
    put_some(out, "; ", w->failed_over, "rows went to the fallback");
    buf_putc(out, '\n');
    if (w->session_hits + w->session_misses + w->session_rebinds == 0)
        return;
    buf_puts(out, "  sessions   ");
    text_put_count(out, w->session_misses);
    buf_puts(out, " begun, ");
    text_put_count(out, w->session_hits);
    buf_puts(out, " times found");
    put_some(out, ", ", w->session_rebinds, "begun again after their worker ended");
    put_some(out, ", ", w->session_expiries, "ended by time");
    buf_putc(out, '\n');
}

static void put_flow(const struct summary *s, struct buf *out)
{
    buf_puts(out, "  rate       ");
    text_put_rate(out, rate(rows_here(s), s->elapsed_ns));
    buf_puts(out, " rows/s borne, of ");
    text_put_rate(out, rate(s->batch.attempts, s->elapsed_ns));
    buf_printf(out, " %s/s offered; ", attempts_are(s));
    text_put_share(out, refused_share(s));
    buf_printf(out, " refused\n  %-10s ", attempts_are(s));
    text_put_count(out, s->batch.attempts);
    buf_puts(out, ": ");
    text_put_count(out, s->batch.refused);
    buf_puts(out, " refused, ");
    text_put_count(out, s->batch.retries);
    buf_puts(out, " retries of failures\n  in flight  ");
    text_put_count(out, s->batch.max_concurrent_reached);
    buf_puts(out, " at most (of ");
    text_put_count(out, s->batch.pool_size);
    buf_puts(out, ")\n  order      results waited ");
    text_put_duration(out, buffer_wait_mean(s));
    buf_puts(out, " for their turn on average, ");
    text_put_duration(out, s->batch.buffer_wait_max_ns);
    buf_puts(out, " at most\n");
    if (s->throttle)
        put_throttle(s, out);
    put_pauses(s, out);
    put_workers(s, out);
    if (s->batch.tokens > 0) {
        buf_puts(out, "  tokens     ");
        text_put_count(out, s->batch.tokens);
        buf_putc(out, '\n');
    }
    if (s->batch.unrecorded > 0) {
        buf_puts(out, "  journal    too slow for the records of ");
        text_put_count(out, s->batch.unrecorded);
        buf_puts(out, " attempts, which are missing in it; all results are there\n");
    }
}

/* A message may come from a service; on a terminal it must not do more than be read. */
static void put_harmless(struct buf *out, const char *text)
{
    for (; *text; text++)
        buf_putc(out, (unsigned char)*text < 0x20 || *text == 0x7f ? ' ' : *text);
}

static void put_failures(const struct summary *s, struct buf *out)
{
    const char *lead = "  failed     ";

    for (int i = 0; i < WEIR_REASON_COUNT; i++) {
        const struct summary_reason *reason = &s->reasons[i];

        if (reason->rows == 0)
            continue;
        buf_puts(out, lead);
        lead = "             ";
        text_put_count(out, reason->rows);
        buf_printf(out, " %s", weir_reason_name((enum weir_reason)i));
        if (reason->first[0]) {
            buf_puts(out, reason->rows > 1 ? ", the first: " : ": ");
            put_harmless(out, reason->first);
        }
        buf_putc(out, '\n');
    }
}

void summary_render_text(const struct summary *s, struct buf *out)
{
    put_head(s, out);
    if (s->batch.attempts > 0)
        put_flow(s, out);
    put_failures(s, out);
    if (s->output)
        buf_printf(out, "  results    %s\n", s->output);
    if (s->errors && s->rows_failed > 0)
        buf_printf(out, "  errors     %s\n", s->errors);
    if (s->why)
        buf_printf(out, "  %-10s %s\n", s->end == SUMMARY_HALTED ? "halted" : "stopped", s->why);
    if (s->resume)
        buf_printf(out, "  go on      %s\n", s->resume);
}

/* ---- JSON ---- */

/* The name of a member, and the comma before it where it is not the first of its object. */
static void put_name(struct buf *out, const char *name)
{
    if (out->len > 0 && out->data[out->len - 1] != '{')
        buf_putc(out, ',');
    buf_printf(out, "\"%s\":", name);
}

static void put_text(struct buf *out, const char *name, const char *text)
{
    put_name(out, name);
    if (text)
        json_put_string(out, slice_of(text));
    else
        buf_puts(out, "null");
}

static void put_count(struct buf *out, const char *name, uint64_t n)
{
    put_name(out, name);
    buf_printf(out, "%" PRIu64, n);
}

static void put_ms(struct buf *out, const char *name, duration_ns d)
{
    put_name(out, name);
    buf_printf(out, "%.3f", duration_ms(d));
}

static void put_pool(struct buf *out, const struct core_stats *b)
{
    buf_puts(out, ",\"pool_config\":{");
    put_count(out, "pool_size", b->pool_size);
    buf_printf(out, ",\"max_capacity_retry_seconds\":%.3f",
               duration_seconds(b->max_capacity_retry_ns));
    put_ms(out, "dispatch_delay_at_completion_ms", b->dispatch_delay_at_completion_ns);
    buf_puts(out, "},\"pool_stats\":{");
    put_count(out, "capacity_retries", b->capacity_retries);
    put_count(out, "successes", b->successes);
    put_count(out, "failures", b->failures);
    put_ms(out, "peak_delay_ms", b->peak_delay_ns);
    put_ms(out, "current_delay_ms", b->current_delay_ns);
    put_ms(out, "total_throttle_time_ms", b->total_throttle_time_ns);
    put_count(out, "max_concurrent_reached", b->max_concurrent_reached);
    buf_putc(out, '}');
}

/* A rate, or null where there was none. */
static void put_rate(struct buf *out, const char *name, double per_s)
{
    if (per_s > 0)
        buf_printf(out, ",\"%s\":%.3f", name, per_s);
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void put_window(struct buf *out, const char *name, size_t window)
{
    if (window > 0)
        put_count(out, name, window);
    else
        buf_printf(out, ",\"%s\":null", name);
}

static void put_throttle_state(struct buf *out, const struct core_stats *b)
{
    struct throttle_limit limit = throttle_limit_of(&b->throttle);

    buf_puts(out, ",\"throttle_state\":{");
    pace_put_members(out, &limit);
    put_rate(out, "rate_min_per_s", b->rate_min_rps);
    put_rate(out, "rate_max_per_s", b->rate_max_rps);
    put_window(out, "window_min", b->window_min);
    put_window(out, "window_max", b->window_max);
    put_count(out, "changes", b->throttle.changes);
    buf_puts(out, ",\"by_reason\":");
    pace_put_reasons(out, &b->throttle);
    put_count(out, "pauses", b->pauses);
    buf_printf(out, ",\"paused_ms\":%.3f}", duration_ms(b->paused_ns));
}

static void put_rows(struct buf *out, const struct summary *s)
{
    buf_puts(out, ",\"rows\":{\"total\":");
    if (s->total_known)
        buf_printf(out, "%" PRIu64, s->rows_total);
    else
        buf_puts(out, "null");
    put_count(out, "ok", s->rows_ok);
    put_count(out, "failed", s->rows_failed);
    put_count(out, "done_before", s->rows_before);
    buf_puts(out, "},\"attempts\":{");
    put_count(out, "sent", s->batch.attempts);
    put_count(out, "refused", s->batch.refused);
    put_count(out, "retries", s->batch.retries);
    put_count(out, "late_reports", s->batch.late_reports);
    put_count(out, "unrecorded", s->batch.unrecorded);
    buf_printf(out,
               "},\"rates\":{\"rows_per_s\":%.3f,\"attempts_per_s\":%.3f,\"refused_share\":%.4f}",
               rate(rows_here(s), s->elapsed_ns), rate(s->batch.attempts, s->elapsed_ns),
               refused_share(s));
    buf_puts(out, ",\"order\":{");
    put_ms(out, "buffer_wait_mean_ms", buffer_wait_mean(s));
    put_ms(out, "buffer_wait_max_ms", s->batch.buffer_wait_max_ns);
    buf_puts(out, "}");
    put_count(out, "tokens", s->batch.tokens);
}

static void put_reasons(struct buf *out, const struct summary *s)
{
    const char *comma = "";

    buf_puts(out, ",\"reasons\":{");
    for (int i = 0; i < WEIR_REASON_COUNT; i++) {
        const struct summary_reason *reason = &s->reasons[i];

        if (reason->rows == 0)
            continue;
        buf_printf(out, "%s\"%s\":{", comma, weir_reason_name((enum weir_reason)i));
        put_count(out, "rows", reason->rows);
        put_text(out, "first", reason->first[0] ? reason->first : NULL);
        buf_putc(out, '}');
        comma = ",";
    }
    buf_puts(out, "},\"statuses\":{");
    comma = "";
    for (size_t i = 0; i < SUMMARY_STATUSES_MAX && s->statuses[i].rows > 0; i++) {
        buf_printf(out, "%s\"%d\":%" PRIu64, comma, s->statuses[i].status, s->statuses[i].rows);
        comma = ",";
    }
    if (s->statuses_other > 0)
        buf_printf(out, "%s\"other\":%" PRIu64, comma, s->statuses_other);
    buf_putc(out, '}');
}

static void put_workers_json(struct buf *out, const struct summary_workers *w)
{
    const struct {
        const char *name;
        uint64_t n;
    } counts[] = {{"started", w->started},
                  {"failed_starts", w->failed_starts},
                  {"lost", w->lost},
                  {"killed", w->killed},
                  {"replaced", w->replaced},
                  {"recycled", w->recycled},
                  {"breaker_opened", w->breaker_opened},
                  {"failed_over", w->failed_over},
                  {"session_hits", w->session_hits},
                  {"session_misses", w->session_misses},
                  {"session_rebinds", w->session_rebinds},
                  {"session_expiries", w->session_expiries}};

    if (!w->known)
        return;
    buf_puts(out, ",\"workers\":{");
    for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
        put_count(out, counts[i].name, counts[i].n);
    buf_putc(out, '}');
}

void summary_render_json(const struct summary *s, struct buf *out)
{
    static const char *const ends[] = {"complete", "stopped", "halted"};
    char started[TIME_UTC_BYTES];

    time_format_utc(s->started_ns, started);
    buf_printf(out, "{\"weir\":\"%s\",\"end\":\"%s\"", WEIR_VERSION, ends[s->end]);
    put_text(out, "why", s->why);
    put_text(out, "resume", s->resume);
    buf_printf(out, ",\"exit_status\":%d,\"started\":\"%s\",\"elapsed_s\":%.3f", s->exit_status,
               started, duration_seconds(s->elapsed_ns));
    put_text(out, "throttle", s->throttle);
    put_rows(out, s);
    put_pool(out, &s->batch);
    put_reasons(out, s);
    buf_puts(out, ",\"files\":{");
    put_text(out, "output", s->output);
    put_text(out, "errors", s->errors);
    put_text(out, "journal", s->journal);
    buf_putc(out, '}');
    put_throttle_state(out, &s->batch);
    put_workers_json(out, &s->workers);
    buf_puts(out, "}\n");
}

/* ---- the file ---- */

static enum weir_status write_fd(int fd, const char *path, struct slice text,
                                 struct weir_error *err)
{
    while (text.len > 0) {
        ssize_t n = write(fd, text.data, text.len);

        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set_errno(err, WEIR_E_IO, n < 0 ? errno : ENOSPC,
                                   "%s cannot be written; make room or name another file", path);
        text.data += n;
        text.len -= (size_t)n;
    }
    return WEIR_OK;
}

static enum weir_status write_through(const char *path, struct slice json, struct weir_error *err)
{
    bool standard = strcmp(path, "-") == 0;
    int fd = standard ? STDOUT_FILENO : open(path, O_WRONLY | O_CLOEXEC | O_NOCTTY);
    enum weir_status status;

    if (fd < 0)
        return error_set_errno(err, WEIR_E_IO, errno, "%s cannot be opened for writing", path);
    status = write_fd(fd, standard ? "standard output" : path, json, err);
    if (!standard && close(fd) != 0 && status == WEIR_OK)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be written", path);
    return status;
}

/* The name holds the process id, so that two runs do not write into each other's. */
static enum weir_status write_beside(const char *path, struct slice json, struct weir_error *err)
{
    struct buf temporary = {0};
    enum weir_status status;
    int fd;

    buf_printf(&temporary, "%s.tmp-%ld", path, (long)getpid());
    if (temporary.failed) {
        buf_free(&temporary);
        return error_nomem(err);
    }
    fd = open(temporary.data, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (fd < 0) {
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be created", path);
        buf_free(&temporary);
        return status;
    }
    status = write_fd(fd, path, json, err);
    if (status == WEIR_OK && fsync(fd) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be written", path);
    if (close(fd) != 0 && status == WEIR_OK)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be written", path);
    if (status == WEIR_OK && rename(temporary.data, path) != 0)
        status = error_set_errno(err, WEIR_E_IO, errno, "%s cannot be replaced", path);
    if (status != WEIR_OK)
        (void)unlink(temporary.data);
    else
        status = outfile_sync_folder(path, err);
    buf_free(&temporary);
    return status;
}

enum weir_status summary_write(const char *path, struct slice json, struct weir_error *err)
{
    struct stat st;

    if (strcmp(path, "-") == 0 || (lstat(path, &st) == 0 && !S_ISREG(st.st_mode)))
        return write_through(path, json, err);
    return write_beside(path, json, err);
}
