/*
 * What a run opens before it sends its first row, in the order in which it may still refuse: the
 * input is checked whole, the journal must belong to it, the files must be what the journal says;
 * only then is anything changed.
 */
#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "cli/run/run.h"
#include "exec/http/http.h"
#include "loop/loop.h"
#include "store/sqlite/sqlite_store.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* Facts in the journal that say whose it is. */
#define FACT_RUN_ID  "run.id"
#define FACT_OPTIONS "run.options"
#define FACT_DIGEST  "input.digest"
#define FACT_ROWS    "input.rows"

/* Where rows go, as far as that can be said before the first one is read. */
static enum weir_status check_target(struct run *r, struct source_options *s,
                                     struct weir_error *err)
{
    const struct run_options *o = &r->options;
    struct stat st;

    if (o->workdir && (stat(o->workdir, &st) != 0 || !S_ISDIR(st.st_mode)))
        return error_set(err, WEIR_E_INVALID, "--workdir: %s is no directory", o->workdir);
    if (o->kind == RUN_COMMAND)
        return command_setup_input(r, s, err);
    if (o->kind == RUN_WORKER)
        return worker_check(r, err);
    if (o->kind == RUN_HTTP && http_url_check(o->http.url, err) != WEIR_OK)
        return error_prefix(err, "--url");
    return WEIR_OK;
}

enum weir_status setup_input(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    struct source_options s = {
        .lines = {.files = o->inputs.items,
                  .file_count = o->inputs.count,
                  .line_max_bytes = o->max_line_bytes,
                  .stdin_fd = STDIN_FILENO,
                  .stop_fd = r->stop_fd},
        .rows = {.kind = o->kind,
                 .lines = o->lines,
                 .template_expr = o->template_expr,
                 .key_expr = o->key_expr,
                 .url = o->http.url,
                 .method = o->http.method,
                 .session_expr = o->worker.session,
                 .command = o->worker.command},
        .skip_bad = o->skip_bad,
    };
    enum weir_status status = check_target(r, &s, err);

    if (status == WEIR_OK && o->select_expr)
        status = program_new(&(struct program_options){.name = "--select", .expr = o->select_expr},
                             &r->select, err);
    if (status == WEIR_OK)
        status = source_open(&s, &r->source, err);
    if (status != WEIR_OK)
        return status;
    r->report = mem_calloc(1, sizeof *r->report);
    if (!r->report)
        return error_nomem(err);
    return source_check(r->source, r->report, err);
}

static enum weir_status new_run_id(struct run *r, struct weir_error *err)
{
    buf_clear(&r->run_id);
    buf_printf(&r->run_id, "%016" PRIx64 "%016" PRIx64, loop_entropy(), loop_entropy());
    return r->run_id.failed ? error_nomem(err) : WEIR_OK;
}

/* A fact that is there must be `now`; one that is not, or whose run is anew, is set. what: for the message. */
static enum weir_status agree(struct run *r, bool anew, const char *fact, struct slice now,
                              const char *what, struct weir_error *err)
{
    _cleanup_buf_ struct buf before = {0};
    enum weir_status status = anew ? WEIR_E_END : r->store->ops->fact(r->store, fact, &before, err);

    if (status == WEIR_E_END || (status == WEIR_OK && before.len == 0))
        return r->store->ops->set(r->store, fact, now, err);
    if (status != WEIR_OK)
        return status;
    if (slice_equal(buf_slice(&before), now))
        return WEIR_OK;
    return error_set(
        err, WEIR_E_CONFLICT,
        "%s: the input is not the one that this journal was begun with (%s was %.*s, is %.*s); "
        "give it the same input, or start over with --fresh",
        r->options.journal, what, (int)before.len, before.data ? before.data : "", (int)now.len,
        now.data);
}

static enum weir_status same_input(struct run *r, bool anew, struct weir_error *err)
{
    char digest[FINGERPRINT_HEX_BYTES], rows[24];
    enum weir_status status;
    uint64_t count;

    if (!source_rows_known(r->source, &count))
        return WEIR_OK; /* a stream: each row is compared as it comes */
    snprintf(rows, sizeof rows, "%" PRIu64, count);
    fingerprint_hex(r->report->digest, digest);
    status = agree(r, anew, FACT_ROWS, slice_of(rows), "the number of rows", err);
    if (status == WEIR_OK)
        status =
            agree(r, anew, FACT_DIGEST, slice_of(digest), "the fingerprint of its content", err);
    return status;
}

static enum weir_status same_options(struct run *r, bool anew, struct weir_error *err)
{
    _cleanup_buf_ struct buf before = {0}, now = {0}, differences = {0};
    enum weir_status status;

    run_options_fingerprint(&r->options, &now);
    if (now.failed)
        return error_nomem(err);
    status = anew ? WEIR_E_END : r->store->ops->fact(r->store, FACT_OPTIONS, &before, err);
    if (status == WEIR_E_END)
        return r->store->ops->set(r->store, FACT_OPTIONS, buf_slice(&now), err);
    if (status != WEIR_OK)
        return status;
    if (!run_options_conflict(buf_slice(&before), buf_slice(&now), &differences))
        return WEIR_OK;
    while (differences.len > 0 && differences.data[differences.len - 1] == '\n')
        differences.data[--differences.len] = '\0';
    return error_set(
        err, WEIR_E_CONFLICT,
        "%s was begun with other options; use the same ones, or start over with --fresh:\n%s",
        r->options.journal, differences.data ? differences.data : "");
}

/*
 * The run's name is set last: a journal that has one has all the other facts too. What a run left
 * that was refused before its first row, because of a name that could not be opened, say, binds
 * nobody: it is anew.
 */
static enum weir_status own_journal(struct run *r, struct weir_error *err)
{
    _cleanup_buf_ struct buf begun = {0};
    enum weir_status status = r->store->ops->fact(r->store, WRITER_FACT_BEGUN, &begun, err);
    bool anew = status == WEIR_E_END;

    if (status != WEIR_OK && !anew)
        return status;
    if (anew && r->options.retry_failed)
        return error_set(
            err, WEIR_E_CONFLICT,
            "%s holds no run yet: there is nothing whose failed rows could be run again; "
            "leave --retry-failed out",
            r->options.journal);
    status = same_options(r, anew, err);
    if (status == WEIR_OK)
        status = same_input(r, anew, err);
    if (status != WEIR_OK)
        return status;
    if (!anew)
        return r->store->ops->fact(r->store, FACT_RUN_ID, &r->run_id, err);
    status = new_run_id(r, err);
    if (status != WEIR_OK)
        return status;
    return r->store->ops->set(r->store, FACT_RUN_ID, buf_slice(&r->run_id), err);
}

static enum weir_status open_journal(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    enum sqlite_store_mode mode = o->fresh          ? SQLITE_STORE_FRESH
                                  : o->retry_failed ? SQLITE_STORE_MUST_EXIST
                                                    : SQLITE_STORE_CREATE;
    enum weir_status status;

    r->journal_is_new = access(o->journal, F_OK) != 0;
    status = sqlite_store_open(o->journal, mode, &r->store, err);
    if (status == WEIR_E_END)
        return error_set(err, WEIR_E_CONFLICT,
                         "%s: there is no journal, so there are no failed rows to run again; leave "
                         "--retry-failed out",
                         o->journal);
    return status == WEIR_OK ? own_journal(r, err) : status;
}

/* Files that the output must not be written over: the inputs and the journal. */
static enum weir_status open_writer(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    size_t count = 0;
    const char **kept_apart = mem_calloc(o->inputs.count + 1, sizeof *kept_apart);
    struct writer_options w = {.output = o->output,
                               .errors = o->errors,
                               .store = r->store,
                               .retry_failed = o->retry_failed,
                               .overwrite = o->fresh,
                               .raw = run_options_raw(o),
                               .unordered = o->unordered};
    enum weir_status status;

    if (!kept_apart)
        return error_nomem(err);
    for (size_t i = 0; i < o->inputs.count; i++) {
        if (strcmp(o->inputs.items[i], "-") != 0)
            kept_apart[count++] = o->inputs.items[i];
    }
    if (o->journal)
        kept_apart[count++] = o->journal;
    w.not_these = kept_apart;
    w.not_these_count = count;
    status = writer_open(&w, &r->writer, err);
    mem_free(kept_apart);
    return status;
}

/* Refused before a row was sent: a journal that was made for this leaves nothing behind. */
static void drop_new_journal(struct run *r)
{
    _cleanup_buf_ struct buf begun = {0};

    if (!r->store || !r->journal_is_new ||
        r->store->ops->fact(r->store, WRITER_FACT_BEGUN, &begun, NULL) != WEIR_E_END)
        return;
    r->store->ops->close(r->store);
    r->store = NULL;
    (void)unlink(r->options.journal);
}

enum weir_status setup_output(struct run *r, struct weir_error *err)
{
    enum weir_status status = r->options.journal ? open_journal(r, err) : new_run_id(r, err);

    if (status == WEIR_OK)
        status = open_writer(r, err);
    if (status == WEIR_OK)
        status = joblog_open(r, err);
    if (status == WEIR_OK)
        status = writer_start(r->writer, &r->start, err);
    if (status == WEIR_OK && r->store)
        status = r->store->ops->summary(r->store, &r->before, err);
    if (status != WEIR_OK)
        drop_new_journal(r);
    return status;
}

/* --select: the answer's output becomes what the expression picks from it. On the engine's thread. */
bool run_select_output(void *ctx, struct core_answer *a)
{
    struct run *r = ctx;
    struct slice body = {a->output ? a->output : "", a->output_len};
    struct weir_error err;
    size_t len;
    char *picked;

    buf_clear(&r->selected);
    if (!json_check(body, NULL)) {
        answer_say(a, "--select: the answer is not JSON");
        a->reason = WEIR_REASON_SELECT_FAILED;
        return false;
    }
    if (program_run(r->select, body, PROGRAM_JSON, &r->selected, &err) != WEIR_OK) {
        answer_say(a, "%s", err.message);
        a->reason = WEIR_REASON_SELECT_FAILED;
        return false;
    }
    len = r->selected.len;
    picked = mem_copy(r->selected.data, len);
    if (!picked) {
        a->outcome = WEIR_OUTCOME_FAILED;
        a->reason = WEIR_REASON_INTERNAL;
        answer_say(a, "memory ran out");
        return false;
    }
    answer_take_output(a, picked, len);
    return true;
}

enum weir_status setup_engine(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    struct engine_options e = {.seed = (uint64_t)o->seed, .observer = &r->watch.base};
    struct core_pool_options p;
    enum weir_status status = WEIR_OK;

    if (o->events) /* not before the signals are taken: it starts a thread */
        status = eventlog_open(&(struct eventlog_options){.path = o->events}, &r->events, err);
    if (status != WEIR_OK)
        return status;
    watch_init(&r->watch, &o->flow.halt, r->events ? eventlog_observer(r->events) : NULL,
               r->wake_fd, r->begun_fd);
    r->watch.run = r;
    status = engine_new(&e, &r->engine, err);
    if (status != WEIR_OK)
        return status;
    if (o->kind == RUN_WORKER)
        return WEIR_OK; /* they start at once: not before all that can be refused has been looked at */
    flow_options_pool(&o->flow, &p);
    p.name = o->kind == RUN_HTTP ? "http" : "command";
    return engine_add_pool(r->engine, &p, o->kind == RUN_HTTP ? http_make : command_make, r,
                           &r->pool, err);
}

enum weir_status setup_batch(struct run *r, struct weir_error *err)
{
    const struct run_options *o = &r->options;
    struct engine_batch_options b = {.store = r->store};
    enum weir_status status = worker_log_open(r, err);

    if (status == WEIR_OK && o->kind == RUN_WORKER)
        status = worker_add_pools(r, err);
    if (status != WEIR_OK)
        return status;

    core_batch_options_init(&b.core);
    if (o->flow.window_rows > 0)
        b.core.window_rows = (uint32_t)o->flow.window_rows;
    b.core.first_index = r->start.mark.next;
    b.core.first_complete_index = r->before.complete_index;
    b.core.deadline_ns = o->flow.deadline_ns;
    b.core.unordered = o->unordered;
    if (o->flow.halt.verdict != HALT_NONE) {
        b.core.halts = watch_halts;
        b.core.halts_ctx = &r->watch;
    }
    if (o->worker.stop_on_same_failure) {
        b.core.on_failures =
            o->worker.same_failure_share > 0 ? FAILURES_STOP_AFTER_SHARE : FAILURES_STOP;
        b.core.failure_share = o->worker.same_failure_share;
    }
    return engine_open_batch(r->engine, r->pool, &b, &r->batch, err);
}

void setup_close(struct run *r)
{
    engine_batch_close(r->batch);
    engine_free(r->engine);
    program_free(r->select);
    buf_free(&r->selected);
    writer_free(r->writer);
    if (r->store)
        r->store->ops->close(r->store);
    source_close(r->source);
    combine_free(r->combine);
    template_free(r->words);
    template_free(r->tag);
    argvec_free(&r->argv);
    argvec_free(&r->env);
    argvec_free(&r->workers.argv);
    argvec_free(&r->fallback.argv);
    mem_free(r->report);
    buf_free(&r->run_id);
}
