/*
 * One registry of a kind, and what it says as text. See registrykit.h.
 */
#include "support/registrykit.h"

#include "base/mem.h"
#include "store/registry/memory_registry.h"
#include "store/registry/sqlite_registry.h"
#include "support/testkit.h"

#include <inttypes.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#define ALL UINT32_MAX

static enum weir_status open_memory(const char *path, struct core_registry **ret,
                                    struct weir_error *err)
{
    (void)path;
    return memory_registry_new(ret, err);
}

static enum weir_status open_sqlite(const char *path, struct core_registry **ret,
                                    struct weir_error *err)
{
    /* Nobody cuts the power here, and the disk is slow. */
    const struct sqlite_registry_options o = {.sync = SQLITE_REGISTRY_OFF, .cache_kib = 2048};

    return sqlite_registry_open(path, &o, ret, err);
}

const struct registrykit_kind registrykit_kinds[] = {
    {"memory", open_memory, memory_registry_crash, memory_registry_check, memory_registry_fail_next,
     memory_registry_limit_lines},
    {"sqlite", open_sqlite, NULL, sqlite_registry_check, sqlite_registry_fail_next,
     sqlite_registry_limit_lines},
};

const size_t registrykit_kind_count = sizeof(registrykit_kinds) / sizeof(registrykit_kinds[0]);

/* ---- opening ---- */

static void open_both(struct registrykit *k)
{
    if (!k->r && k->kind->open(k->path, &k->r, &k->err) != WEIR_OK)
        fail_msg("open: %s", k->err.message);
    if (k->r->ops->reader(k->r, &k->reader, &k->err) != WEIR_OK)
        fail_msg("reader: %s", k->err.message);
}

void registrykit_open(struct registrykit *k, const struct registrykit_kind *kind)
{
    *k = (struct registrykit){.kind = kind, .now = REGISTRYKIT_NOW};
    k->dir = testkit_dir_make();
    k->path = testkit_path(k->dir, "tasks.db");
    open_both(k);
}

static void close_both(struct registrykit *k)
{
    if (k->reader)
        k->reader->ops->close(k->reader);
    if (k->r)
        k->r->ops->close(k->r);
    k->reader = NULL;
    k->r = NULL;
}

void registrykit_close(struct registrykit *k)
{
    mem_fail_at(0);
    close_both(k);
    buf_free(&k->text);
    testkit_free(k->path);
    testkit_dir_remove(k->dir);
}

void registrykit_reopen(struct registrykit *k)
{
    if (k->kind->crash) {
        k->kind->crash(k->r);
        return;
    }
    close_both(k);
    open_both(k);
}

/* ---- ops ---- */

static void free_chain(struct registry_task *t)
{
    while (t) {
        struct registry_task *next = t->next;

        mem_free(t);
        t = next;
    }
}

void registrykit_used(struct registry_op *op)
{
    free_chain(op->ret_ready);
    op->ret_ready = NULL;
    op->ret_lines = mem_free(op->ret_lines);
    op->ret_line_count = 0;
    if (op->kind == REGISTRY_TAKE) {
        free_chain(op->take.ret_tasks);
        op->take.ret_tasks = NULL;
    }
    if (op->kind == REGISTRY_PURGE) {
        op->purge.ret_lines_gone = mem_free(op->purge.ret_lines_gone);
        op->purge.ret_lines_gone_count = 0;
    }
}

enum weir_status registrykit_apply(struct registrykit *k, struct registry_op *op)
{
    const char *wrong;

    op->next = NULL;
    op->at_ns = k->now;
    if (k->r->ops->apply(k->r, op, &k->err) != WEIR_OK)
        fail_msg("apply: %s", k->err.message);
    wrong = k->kind->check ? k->kind->check(k->r) : NULL;
    if (wrong)
        fail_msg("op %d: %s", (int)op->kind, wrong);
    k->err = op->err;
    return op->err.status;
}

enum weir_status registrykit_try(struct registrykit *k, struct registry_op op)
{
    enum weir_status status = registrykit_apply(k, &op);

    registrykit_used(&op);
    return status;
}

void registrykit_do(struct registrykit *k, struct registry_op op)
{
    if (registrykit_try(k, op) != WEIR_OK)
        fail_msg("op %d: %s", (int)op.kind, k->err.message);
}

uint64_t registrykit_submit(struct registrykit *k, struct registry_spec spec)
{
    uint64_t id = 0;

    registrykit_do(k, (struct registry_op){.kind = REGISTRY_SUBMIT,
                                           .submit = {.specs = &spec, .count = 1, .ret_ids = &id}});
    assert_true(id > 0);
    return id;
}

uint64_t registrykit_submit_after(struct registrykit *k, struct registry_spec spec,
                                  const uint64_t *ids)
{
    struct registry_after after[16];

    spec.after_count = 0;
    for (; ids[spec.after_count] != 0; spec.after_count++)
        after[spec.after_count] = (struct registry_after){.id = ids[spec.after_count]};
    spec.after = after;
    return registrykit_submit(k, spec);
}

void registrykit_start(struct registrykit *k, uint64_t task, uint64_t token)
{
    uint32_t attempt = registrykit_view(k, task).attempts + 1;

    registrykit_do(
        k, (struct registry_op){
               .kind = REGISTRY_START,
               .start = {.task = task, .token = token, .attempt = attempt, .pool = SLICE("pool")}});
}

struct registry_op registrykit_end_op(uint64_t task, uint64_t token, enum registry_state next)
{
    struct registry_op op = {
        .kind = REGISTRY_END,
        .end = {.task = task, .token = token, .next = next, .pool = SLICE("pool")}};

    if (next == REGISTRY_DONE)
        return op;
    op.end.outcome = next == REGISTRY_CANCELLED ? WEIR_OUTCOME_CANCELLED : WEIR_OUTCOME_FAILED;
    op.end.reason = next == REGISTRY_CANCELLED ? WEIR_REASON_CANCELLED : WEIR_REASON_EXIT_STATUS;
    op.end.counts = next != REGISTRY_CANCELLED;
    return op;
}

void registrykit_end(struct registrykit *k, uint64_t task, uint64_t token, enum registry_state next)
{
    struct registry_op op = registrykit_end_op(task, token, next);

    op.end.attempt = registrykit_view(k, task).attempts;
    registrykit_do(k, op);
}

void registrykit_run(struct registrykit *k, uint64_t task, enum registry_state next)
{
    registrykit_start(k, task, task * 1000);
    registrykit_end(k, task, task * 1000, next);
}

uint64_t registrykit_batch(struct registrykit *k, const char *name)
{
    struct registry_op op = {.kind = REGISTRY_BATCH_OPEN, .batch_open = {.name = slice_of(name)}};

    assert_int_equal(registrykit_apply(k, &op), WEIR_OK);
    return op.batch_open.ret_id;
}

/* ---- looking ---- */

struct registry_view registrykit_view(struct registrykit *k, uint64_t task)
{
    struct registry_view v;

    if (k->reader->ops->task(k->reader, task, true, &v, &k->err) != WEIR_OK)
        fail_msg("task %" PRIu64 ": %s", task, k->err.message);
    return v;
}

enum registry_state registrykit_state(struct registrykit *k, uint64_t task)
{
    return registrykit_view(k, task).state;
}

void registrykit_put_event(struct buf *out, const struct registry_event *e)
{
    buf_puts(out, registry_event_name(e->kind));
    if (e->task)
        buf_printf(out, " %" PRIu64, e->task);
    if (e->attempt)
        buf_printf(out, " a%" PRIu32, e->attempt);
    if (e->pool.len)
        buf_printf(out, " %.*s", (int)e->pool.len, e->pool.data);
    if (e->worker)
        buf_printf(out, " w%" PRIu64, e->worker);
    if (e->slot)
        buf_printf(out, " s%" PRIu32, e->slot);
    if (e->duration_ns)
        buf_printf(out, " %" PRId64 "ns", e->duration_ns);
    if (e->detail.len)
        buf_printf(out, " %.*s", (int)e->detail.len, e->detail.data);
    buf_putc(out, '\n');
}

struct events_seen {
    struct buf *out;
    uint64_t last;
};

static bool see_event(void *ctx, const struct registry_event *e)
{
    struct events_seen *s = ctx;

    assert_int_equal(e->seq, s->last + 1);
    s->last = e->seq;
    registrykit_put_event(s->out, e);
    return true;
}

const char *registrykit_new_events(struct registrykit *k)
{
    struct registry_event_filter any = {0};
    struct events_seen s = {&k->text, k->events_seen};

    buf_clear(&k->text);
    buf_puts(&k->text, "");
    if (k->reader->ops->events(k->reader, &any, k->events_seen, ALL, see_event, &s, &k->err) !=
        WEIR_OK)
        fail_msg("events: %s", k->err.message);
    assert_int_equal(s.last, k->r->ops->last_event(k->r));
    k->events_seen = s.last;
    return buf_slice(&k->text).data;
}

void registrykit_expect_events(struct registrykit *k, const char *want, const char *file, int line)
{
    const char *got = registrykit_new_events(k);

    if (strcmp(got, want) != 0) {
        print_error("%s:%d: events are\n%sand should be\n%s", file, line, got, want);
        _fail(file, line);
    }
}

const char *registrykit_handed(struct registrykit *k, const struct registry_op *op)
{
    buf_clear(&k->text);
    for (const struct registry_task *t = op->ret_ready; t; t = t->next)
        buf_printf(&k->text, "%s%" PRIu64, k->text.len ? " " : "", t->id);
    for (size_t i = 0; i < op->ret_line_count; i++)
        buf_printf(&k->text, "%sline %" PRIu32, k->text.len ? " " : "", op->ret_lines[i]);
    return buf_slice(&k->text).data;
}

const char *registrykit_take(struct registrykit *k, uint32_t line, int64_t after_rank, uint32_t max)
{
    struct registry_op op = {.kind = REGISTRY_TAKE,
                             .take = {.line = line,
                                      .max = max,
                                      .after_rank = after_rank,
                                      .max_bytes = REGISTRY_PAYLOAD_BYTES_MAX}};

    if (registrykit_apply(k, &op) != WEIR_OK)
        fail_msg("take: %s", op.err.message);
    buf_clear(&k->text);
    for (const struct registry_task *t = op.take.ret_tasks; t; t = t->next) {
        assert_int_equal(t->line, line);
        buf_printf(&k->text, "%s%" PRIu64, k->text.len ? " " : "", t->id);
    }
    if (op.take.ret_more)
        buf_puts(&k->text, k->text.len ? " more" : "more");
    registrykit_used(&op);
    return buf_slice(&k->text).data;
}

/* ---- everything, as text ---- */

static void put_slice(struct buf *out, const char *name, struct slice s)
{
    if (s.len > 0)
        buf_printf(out, " %s=%.*s", name, (int)s.len, s.data);
}

static void put_number(struct buf *out, const char *name, int64_t n)
{
    if (n != 0)
        buf_printf(out, " %s=%" PRId64, name, n);
}

static void put_line(struct buf *out, const struct registry_line *l)
{
    put_number(out, "priority", l->priority);
    put_number(out, "cpu", l->cpu_milli);
    put_number(out, "memory", l->memory_mib);
    put_slice(out, "pool", l->pool);
    put_slice(out, "skill", l->skill);
    put_slice(out, "tenant", l->tenant);
    put_slice(out, "session", l->session);
    put_slice(out, "slots", l->slots);
}

void registrykit_put_view(struct buf *out, const struct registry_view *v)
{
    buf_printf(out, "task %" PRIu64 " %s", v->id, registry_state_name(v->state));
    put_line(out, &v->line);
    put_slice(out, "key", v->key);
    put_slice(out, "idempotency", v->idempotency_key);
    put_number(out, "batch", (int64_t)v->batch);
    put_number(out, "place", (int64_t)v->place);
    put_number(out, "submitted", v->submitted_ns);
    put_number(out, "ready", v->ready_ns);
    put_number(out, "not_before", v->not_before_ns);
    put_number(out, "deadline", v->deadline_ns);
    put_number(out, "started", v->started_ns);
    put_number(out, "ended", v->ended_ns);
    buf_printf(out, " %" PRIu32 "/%" PRIu32 "/%" PRIu32 "/%" PRIu32 "/%" PRIu32, v->attempts,
               v->failures, v->deaths, v->max_attempts, v->capacity_retries);
    put_number(out, "timeout", v->timeout_ns);
    put_number(out, "blocked_by", v->blocked_by);
    buf_puts(out, v->run_after_failure ? " run_after_failure" : "");
    buf_puts(out, v->stuck ? " stuck" : "");
    buf_puts(out, v->cancelling ? " cancelling" : "");
    put_slice(out, "in", v->pool);
    buf_printf(out, " %s/%s/%d", weir_outcome_name(v->outcome), weir_reason_name(v->reason),
               v->status);
    put_slice(out, "message", v->message);
    put_slice(out, "payload", v->payload);
    buf_puts(out, v->has_result ? " result" : "");
    put_slice(out, "output", v->output);
    put_slice(out, "errput", v->errput);
    buf_putc(out, '\n');
}

static bool put_task(void *ctx, const struct registry_view *v)
{
    registrykit_put_view(ctx, v);
    return true;
}

static bool put_id(void *ctx, const struct registry_view *v)
{
    buf_printf(ctx, " %" PRIu64, v->id);
    return true;
}

static bool put_event(void *ctx, const struct registry_event *e)
{
    buf_printf(ctx, "%" PRIu64 " %" PRId64 " ", e->seq, e->at_ns);
    registrykit_put_event(ctx, e);
    return true;
}

static void put_states(struct buf *out, const uint64_t states[REGISTRY_STATES])
{
    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        buf_printf(out, " %" PRIu64, states[s]);
    buf_putc(out, '\n');
}

static bool put_batch(void *ctx, const struct registry_batch *b)
{
    buf_printf(ctx, "batch %" PRIu64 " %.*s %" PRId64 " %" PRId64 " %d %" PRIu64 ":", b->id,
               (int)b->name.len, b->name.data, b->opened_ns, b->ended_ns, b->ended, b->total);
    put_states(ctx, b->states);
    return true;
}

static bool put_tally(void *ctx, const struct registry_tally *t)
{
    uint64_t all = 0;

    for (unsigned s = 0; s < REGISTRY_STATES; s++)
        all += t->states[s];
    if (all == 0)
        return true;
    buf_printf(ctx, "tally '%.*s':", (int)t->target.len, t->target.data);
    put_states(ctx, t->states);
    return true;
}

static bool put_ready_line(void *ctx, const struct registry_line *l)
{
    buf_puts(ctx, "line");
    put_line(ctx, l);
    buf_putc(ctx, '\n');
    return true;
}

struct ids {
    uint64_t ids[4096];
    size_t count;
};

static bool put_in_ids(void *ctx, const struct registry_view *v)
{
    struct ids *i = ctx;

    assert_true(i->count < sizeof(i->ids) / sizeof(i->ids[0]));
    i->ids[i->count++] = v->id;
    return true;
}

static void put_edges(struct registrykit *k, struct buf *out)
{
    const struct registry_reader_ops *ops = k->reader->ops;
    struct registry_filter all = {0};
    static struct ids ids;

    ids.count = 0;
    assert_int_equal(ops->tasks(k->reader, &all, 0, ALL, put_in_ids, &ids, &k->err), WEIR_OK);
    for (size_t i = 0; i < ids.count; i++) {
        buf_printf(out, "edges %" PRIu64 " after", ids.ids[i]);
        assert_int_equal(ops->dependencies(k->reader, ids.ids[i], false, put_id, out, &k->err),
                         WEIR_OK);
        buf_puts(out, " before");
        assert_int_equal(ops->dependencies(k->reader, ids.ids[i], true, put_id, out, &k->err),
                         WEIR_OK);
        buf_putc(out, '\n');
    }
}

void registrykit_put_all(struct registrykit *k, struct buf *out)
{
    const struct registry_reader_ops *ops = k->reader->ops;
    struct registry_filter all = {.with_payload = true, .with_result = true};
    struct registry_event_filter any = {0};

    assert_int_equal(ops->tasks(k->reader, &all, 0, ALL, put_task, out, &k->err), WEIR_OK);
    put_edges(k, out);
    assert_int_equal(ops->batches(k->reader, 0, ALL, put_batch, out, &k->err), WEIR_OK);
    assert_int_equal(ops->tallies(k->reader, put_tally, out, &k->err), WEIR_OK);
    assert_int_equal(k->r->ops->lines(k->r, put_ready_line, out, &k->err), WEIR_OK);
    assert_int_equal(ops->events(k->reader, &any, 0, ALL, put_event, out, &k->err), WEIR_OK);
}

/* ---- running ---- */

static int setup(void **state)
{
    struct registrykit *k = test_calloc(1, sizeof(*k));

    registrykit_open(k, *state);
    *state = k;
    return 0;
}

static int teardown(void **state)
{
    struct registrykit *k = *state;

    registrykit_close(k);
    test_free(k);
    return 0;
}

int registrykit_main(const struct registrykit_test *tests, size_t count)
{
    static struct CMUnitTest all[256];
    static char names[256][128];
    size_t n = 0;

    assert_true(count * registrykit_kind_count <= 256);
    for (size_t kind = 0; kind < registrykit_kind_count; kind++)
        for (size_t i = 0; i < count; i++, n++) {
            snprintf(names[n], sizeof(names[n]), "%s: %s", registrykit_kinds[kind].name,
                     tests[i].name);
            all[n] = (struct CMUnitTest){names[n], tests[i].run, setup, teardown,
                                         (void *)(uintptr_t)&registrykit_kinds[kind]};
        }
    return _cmocka_run_group_tests("registry", all, n, NULL, NULL);
}
