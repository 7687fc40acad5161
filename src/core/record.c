#include "core/record.h"

#include "base/mem.h"

int64_t record_wall_ns(struct instant t, int64_t offset_ns)
{
    return instant_is_none(t) || instant_is_never(t) ? 0 : t.ns + offset_ns;
}

struct instant record_instant(int64_t wall_ns, int64_t offset_ns)
{
    return wall_ns ? (struct instant){wall_ns - offset_ns} : INSTANT_NONE;
}

void record_row(const struct core_task *t, int64_t offset_ns, struct store_row *ret)
{
    const struct core_answer *a = &t->answer;

    *ret = (struct store_row){
        .index = t->index,
        .hash_hi = t->hash_hi,
        .hash_lo = t->hash_lo,
        .key = slice_of(t->key),
        .outcome = a->outcome,
        .reason = a->reason,
        .status = a->status,
        .message = slice_of(a->message),
        .request_id = slice_of(a->request_id),
        .has_output = a->output != NULL,
        .output = {a->output ? a->output : "", a->output_len},
        .errput = {a->output && a->errput ? a->errput : "", a->output ? a->errput_len : 0},
        .complete_index = t->complete_index,
        .submit_ns = record_wall_ns(t->submit_at, offset_ns),
        .start_ns = record_wall_ns(t->start_at, offset_ns),
        .complete_ns = record_wall_ns(t->complete_at, offset_ns),
        .attempts = t->attempts,
        .capacity_retries = t->capacity_retries,
        .throttled_ns = t->throttled_ns,
        .generation = t->generation,
    };
}

void record_attempt(const struct core_task *t, int64_t offset_ns, duration_ns wait_ns,
                    struct store_attempt *ret)
{
    const struct core_answer *a = &t->answer;

    *ret = (struct store_attempt){
        .index = t->index,
        .number = t->attempts,
        .generation = t->generation,
        .outcome = a->outcome,
        .reason = a->reason,
        .status = a->status,
        .message = slice_of(a->message),
        .start_ns = record_wall_ns(a->started_at, offset_ns),
        .end_ns = record_wall_ns(a->ended_at, offset_ns),
        .wait_ns = wait_ns,
    };
}

/* NULL for what is empty, and for what memory ran out for; the caller tells them apart. */
static char *copy(struct slice s)
{
    return s.len > 0 ? mem_copy(s.data, s.len) : NULL;
}

static bool restore_answer(const struct store_row *row, struct core_answer *a)
{
    answer_clear(a);
    a->outcome = row->outcome;
    a->reason = row->reason;
    a->status = row->status;
    a->message = copy(row->message);
    a->request_id = copy(row->request_id);
    if (row->has_output) {
        a->output = mem_copy(row->output.data, row->output.len);
        a->output_len = row->output.len;
    }
    if (row->has_output && row->errput.len > 0) {
        a->errput = mem_copy(row->errput.data, row->errput.len);
        a->errput_len = a->errput ? row->errput.len : 0;
        if (!a->errput)
            return false;
    }
    return (a->output || !row->has_output) && (a->message || row->message.len == 0) &&
           (a->request_id || row->request_id.len == 0);
}

bool record_restore(const struct store_row *row, int64_t offset_ns, struct core_task *t)
{
    if (!restore_answer(row, &t->answer)) {
        answer_clear(&t->answer);
        return false;
    }
    t->complete_index = row->complete_index;
    t->submit_at = record_instant(row->submit_ns, offset_ns);
    t->start_at = record_instant(row->start_ns, offset_ns);
    t->complete_at = record_instant(row->complete_ns, offset_ns);
    t->attempts = row->attempts;
    t->capacity_retries = row->capacity_retries;
    t->throttled_ns = row->throttled_ns;
    t->generation = row->generation;
    t->refused = false;
    t->finished_before = true;
    return true;
}
