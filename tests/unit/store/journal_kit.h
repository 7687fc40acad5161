/*
 * Rows for the tests of the journal, whose every byte follows from their index: so a test that
 * finds one again, after whatever happened, knows what must be in it.
 */
#ifndef TESTS_UNIT_STORE_JOURNAL_KIT_H
#define TESTS_UNIT_STORE_JOURNAL_KIT_H

#include "base/buf.h"
#include "store/sqlite/sqlite_store.h"

#include <string.h>

#define KIT_OUTPUT_BYTES_MAX 6000

/* The bytes that all outputs are parts of. */
static inline const char *kit_bytes(void)
{
    static char bytes[KIT_OUTPUT_BYTES_MAX + 256];

    if (!bytes[0])
        for (size_t i = 0; i < sizeof(bytes); i++)
            bytes[i] = (char)('a' + (i * i + i / 7) % 26);
    return bytes;
}

static inline struct store_row kit_row(uint64_t index)
{
    struct store_row r = {
        .index = index,
        .hash_hi = index * UINT64_C(0x9E3779B97F4A7C15),
        .hash_lo = ~index,
        .key = {kit_bytes() + index % 100, 5 + index % 20},
        .outcome = index % 7 ? WEIR_OUTCOME_OK : WEIR_OUTCOME_FAILED,
        .reason = index % 7 ? WEIR_REASON_NONE : WEIR_REASON_HTTP_STATUS,
        .status = index % 7 ? 200 : 500,
        .has_output = true,
        .output = {kit_bytes() + index % 256, (index * 2654435761u) % KIT_OUTPUT_BYTES_MAX},
        .complete_index = index,
        .attempts = 1 + (uint32_t)(index % 3)};

    return r;
}

static inline enum weir_status kit_put(struct core_store *s, uint64_t first, size_t count,
                                       struct weir_error *err)
{
    struct store_row rows[64];
    struct store_attempt attempt = {.index = first,
                                    .number = 1,
                                    .outcome = WEIR_OUTCOME_CAPACITY,
                                    .reason = WEIR_REASON_HTTP_STATUS,
                                    .status = 429,
                                    .message = SLICE("slow down"),
                                    .start_ns = (int64_t)first};

    for (size_t i = 0; i < count; i++)
        rows[i] = kit_row(first + i);
    return s->ops->put(s, rows, count, &attempt, 1, err);
}

static inline enum weir_status kit_mark(struct core_store *s, uint64_t next, struct weir_error *err)
{
    struct store_mark mark = {next, next * 100, next};
    struct store_place places[18];
    size_t count = next < 18 ? (size_t)next : 18;

    for (size_t i = 0; i < count; i++)
        places[i] = (struct store_place){.index = next - 1 - i, .offset = next - i, .len = 100};
    return s->ops->mark(s, &mark, places, count, err);
}

/* Whether row `index` is there as kit_put() put it; without output when the mark has passed it. */
static inline bool kit_row_is_whole(struct core_store *s, uint64_t index, uint64_t next,
                                    struct buf *hold)
{
    struct store_row want = kit_row(index), got;

    if (s->ops->get(s, index, &got, hold, NULL) != WEIR_OK)
        return false;
    return got.index == index && got.hash_hi == want.hash_hi && got.hash_lo == want.hash_lo &&
           slice_equal(got.key, want.key) && got.outcome == want.outcome &&
           got.status == want.status && got.attempts == want.attempts &&
           got.has_output == (index >= next) &&
           (!got.has_output || slice_equal(got.output, want.output));
}

/* Whether rows 0 to finished - 1 are there and whole, and nothing else is. */
static inline bool kit_is_whole(struct core_store *s, uint64_t finished)
{
    struct store_summary sum;
    struct buf hold = {0};
    bool ok = s->ops->summary(s, &sum, NULL) == WEIR_OK && sum.finished == finished;

    for (uint64_t k = 0; ok && k < finished; k++)
        ok = kit_row_is_whole(s, k, sum.mark.next, &hold);
    buf_free(&hold);
    return ok;
}

#endif
