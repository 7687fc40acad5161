/*
 * --halt: when is enough enough? A small machine that counts finished rows.
 *
 *     halt_parse("soon,fail=10%", &rule, &err);
 *     halt_init(&h, &rule);
 *     switch (halt_finished(&h, ok)) { case HALT_SOON: ...stop starting; case HALT_NOW: ...and cancel }
 *
 * WHEN,WHY=N | WHEN,WHY=N% | never, with WHEN soon or now and WHY fail, success or done (as GNU
 * parallel spells them). A percentage is of the rows finished so far, and holds only when at least
 * HALT_PERCENT_ROWS_MIN rows of that kind have finished, as in GNU parallel: one failure among the
 * first two rows is not "50 % fail".
 *
 * The verdict never goes back. Pure; one owner.
 */
#ifndef CLI_OUTPUT_HALT_H
#define CLI_OUTPUT_HALT_H

#include "base/buf.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stdint.h>

#define HALT_PERCENT_ROWS_MIN 3

enum halt_verdict {
    HALT_NONE = 0,
    HALT_SOON, /* start nothing more, let what runs finish */
    HALT_NOW,  /* start nothing more, cancel what runs */
};

enum halt_why { HALT_ON_FAIL, HALT_ON_SUCCESS, HALT_ON_DONE };

struct halt_rule {
    enum halt_verdict verdict; /* HALT_NONE: never */
    enum halt_why why;
    uint64_t count; /* >= 1; 0: percent counts */
    double percent; /* > 0, <= 100 */
};

struct halt {
    struct halt_rule rule;
    uint64_t ok, failed;
    bool reached;
};

WEIR_MUST_CHECK enum weir_status halt_parse(const char *text, struct halt_rule *ret,
                                            struct weir_error *err);
void halt_init(struct halt *h, const struct halt_rule *rule);
/* A row has finished; what follows. Also for each row that finished before a resume, if it is to
 * count. */
enum halt_verdict halt_finished(struct halt *h, bool ok);
enum halt_verdict halt_verdict(const struct halt *h);
/* "3 rows failed (--halt soon,fail=3)": why it stopped; for the summary. */
void halt_describe(const struct halt *h, struct buf *out);

#endif
