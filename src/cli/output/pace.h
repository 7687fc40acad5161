/*
 * How a throttle runs, and why: the same words in the progress display, the summary and the
 * records.
 *
 *     pace_put_limit(&out, &state);             // "paced at 19.6/s"
 *     pace_put_why(&out, &state, now);          // "the service bore more, 3s ago"
 *     pace_put_changes(&out, "", &state);       // "12 cuts, 31 probes borne, 28 refused, 1 outage"
 *     pace_put_members(&out, &state);           // "mode":"rate","rate_per_s":19.600, ...
 *
 * docs/output.md is the contract of the JSON. Pure; a lack of memory shows in out->failed.
 */
#ifndef CLI_OUTPUT_PACE_H
#define CLI_OUTPUT_PACE_H

#include "base/buf.h"
#include "flow/throttle_state.h"

#include <stdbool.h>

/* What limits: "paced at 19.6/s", "at most 32 in flight", "delay 150ms", "not limited". */
void pace_put_limit(struct buf *out, const struct throttle_state *s);
/* Whether there is a reason that is worth a person's time. */
bool pace_has_why(const struct throttle_state *s);
/* Why, and how long ago; nothing when there is no such reason. */
void pace_put_why(struct buf *out, const struct throttle_state *s, struct instant now);
/* What has been decided, counted, behind `lead`; nothing when nothing worth counting has. */
void pace_put_changes(struct buf *out, const char *lead, const struct throttle_state *s);

/* "mode":..,"rate_per_s":..,"window":..,"delay_ms":..,"reason":..; null for what does not limit. */
void pace_put_members(struct buf *out, const struct throttle_limit *limit);
/* {"borne":31,"capacity_fell":12}: what has not happened is left out. */
void pace_put_reasons(struct buf *out, const struct throttle_state *s);

#endif
