#include "store/check.h"

#include "base/error.h"

#include <inttypes.h>

static bool outcome_is_known(enum weir_outcome o)
{
    return (unsigned)o <= (unsigned)WEIR_OUTCOME_CANCELLED;
}

static bool reason_is_known(enum weir_reason r)
{
    return (unsigned)r < (unsigned)WEIR_REASON_COUNT;
}

enum weir_status store_check_put(const struct store_row *rows, size_t row_count,
                                 const struct store_attempt *attempts, size_t attempt_count,
                                 struct weir_error *err)
{
    for (size_t i = 0; i < row_count; i++) {
        const struct store_row *r = &rows[i];

        if (r->index > STORE_NUMBER_MAX || r->complete_index > STORE_NUMBER_MAX)
            return error_set(err, WEIR_E_INVALID, "row %" PRIu64 ": a number is above %" PRIu64,
                             r->index, STORE_NUMBER_MAX);
        if (!outcome_is_known(r->outcome) || !reason_is_known(r->reason))
            return error_set(err, WEIR_E_INVALID, "row %" PRIu64 ": no such outcome or reason",
                             r->index);
    }
    for (size_t i = 0; i < attempt_count; i++) {
        const struct store_attempt *a = &attempts[i];

        if (a->index > STORE_NUMBER_MAX)
            return error_set(err, WEIR_E_INVALID,
                             "an attempt of row %" PRIu64 ": a number is above %" PRIu64, a->index,
                             STORE_NUMBER_MAX);
        if (!outcome_is_known(a->outcome) || !reason_is_known(a->reason))
            return error_set(err, WEIR_E_INVALID,
                             "an attempt of row %" PRIu64 ": no such outcome or reason", a->index);
    }
    return WEIR_OK;
}

enum weir_status store_check_mark(const struct store_mark *mark, uint64_t now,
                                  const struct store_place *places, size_t place_count,
                                  struct weir_error *err)
{
    if (mark->next < now)
        return error_set(err, WEIR_E_INVALID,
                         "the mark cannot go back from row %" PRIu64 " to row %" PRIu64, now,
                         mark->next);
    if (mark->next > STORE_NUMBER_MAX || mark->output_bytes > STORE_NUMBER_MAX ||
        mark->errors_bytes > STORE_NUMBER_MAX)
        return error_set(err, WEIR_E_INVALID, "a number of the mark is above %" PRIu64,
                         STORE_NUMBER_MAX);
    for (size_t i = 0; i < place_count; i++) {
        const struct store_place *p = &places[i];

        if (p->index >= mark->next)
            return error_set(err, WEIR_E_INVALID,
                             "the place of row %" PRIu64 " comes with a mark at row %" PRIu64,
                             p->index, mark->next);
        if (p->offset > STORE_NUMBER_MAX || p->len > STORE_NUMBER_MAX)
            return error_set(err, WEIR_E_INVALID,
                             "the place of row %" PRIu64 ": a number is above %" PRIu64, p->index,
                             STORE_NUMBER_MAX);
    }
    return WEIR_OK;
}
