/*
 * When nothing gets through any more.
 *
 *     if (outage_refused(&o, number, now)) outage_begin(&o, now);   // the 6th refusal in a row: stop
 *     when = outage_when(&o, now);                             // single probes
 *     outage_probe_sent(&o, number, now, verdict_s);
 *     outage_probe_refused(&o, number, now, &rng);             // the next one later
 *     outage_end(&o);                                          // one got through
 *
 * One in a row means: no dispatch between two refused ones that was not refused, by number; so
 * dispatches whose answers are not in yet end a row. And it must have lasted: a fast service that
 * is merely asked for too much refuses six within a millisecond, and the cuts of the rate deal with
 * that. Pure.
 */
#ifndef FLOW_OUTAGE_H
#define FLOW_OUTAGE_H

#include "base/rng.h"
#include "base/time.h"

#include <stdbool.h>
#include <stdint.h>

/* Between two probes, at most, without the jitter. */
#define OUTAGE_INTERVAL_MAX_S 2.5
#define OUTAGE_JITTER         0.2

struct outage {
    uint32_t refused_in_a_row;
    uint64_t last_refused;    /* number of the latest refused dispatch */
    struct instant row_since; /* the first refusal of the row came */
    struct instant began_at;
    double interval_s;
    struct instant probe_at;  /* of the next probe */
    uint64_t probe;           /* number of the one in flight; 0: none is */
    struct instant probe_due; /* no refusal until then: it got through */
};

void outage_init(struct outage *o);
/* A dispatch was refused while no outage runs; numbers as the refusals come in. True: so many in a row,
 * for so long, with nothing taken between, that it is an outage. */
bool outage_refused(struct outage *o, uint64_t number, struct instant now);
void outage_begin(struct outage *o, struct instant now);
/* When the next probe may go. NEVER: not before the verdict on the one in flight (probe_due). */
struct instant outage_when(const struct outage *o, struct instant now);
void outage_probe_sent(struct outage *o, uint64_t number, struct instant now, double verdict_s);
/* A refusal came during the outage; it may be of an older dispatch. */
void outage_probe_refused(struct outage *o, uint64_t number, struct instant now, struct rng *rng);
/* No answer to it will come: the next one goes in its turn. */
void outage_probe_lost(struct outage *o, uint64_t number, struct instant now, struct rng *rng);
void outage_end(struct outage *o);

#endif
