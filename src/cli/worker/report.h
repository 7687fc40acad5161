/*
 * What `weir worker check` says: a line for each check as it is made, or one JSON object at the
 * end.
 *
 *     report_result(&out, &check, &result);      // "ok    start     it starts and answers a ping (0.03 s ...)"
 *     report_end(&out, &counts, &candidate);
 *
 * Pure: appends to a buffer.
 */
#ifndef CLI_WORKER_REPORT_H
#define CLI_WORKER_REPORT_H

#include "base/buf.h"
#include "cli/worker/check.h"

#include <stdbool.h>

struct report {
    bool json;
    size_t counts[CHECK_SKIP + 1]; /* by verdict */
};

void report_begin(struct report *rep, struct buf *out, const struct worker_options *o);
void report_result(struct report *rep, struct buf *out, const struct check *c,
                   const struct check_result *result);
/* With what the worker said on standard error. */
void report_end(struct report *rep, struct buf *out, const struct check_run *r);

#endif
