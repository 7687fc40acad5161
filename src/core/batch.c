#include "core/batch.h"

#include "base/error.h"

void core_batch_options_init(struct core_batch_options *o)
{
    *o = (struct core_batch_options){.window_rows = BATCH_WINDOW_ROWS};
}

enum weir_status core_batch_options_check(const struct core_batch_options *o,
                                          struct weir_error *err)
{
    if (o->window_rows < 1 || o->window_rows > BATCH_WINDOW_ROWS_MAX)
        return error_set(err, WEIR_E_INVALID, "window is %u rows; it must be 1 to %u",
                         o->window_rows, BATCH_WINDOW_ROWS_MAX);
    if (o->on_failures == FAILURES_STOP_AFTER_SHARE &&
        !(o->failure_share > 0 && o->failure_share <= 1))
        return error_set(err, WEIR_E_INVALID, "failure_share is %g; it must be above 0, to 1",
                         o->failure_share);
    if (o->deadline_ns < 0)
        return error_set(err, WEIR_E_INVALID, "deadline is negative; it must be 0 (none) or more");
    if (o->single && (!o->unordered || o->deadline_ns > 0))
        return error_set(err, WEIR_E_INVALID,
                         "rows that are one attempt each are delivered in any order, and have "
                         "deadlines of their own: set unordered, and no deadline");
    return WEIR_OK;
}
