/*
 * Numbers for people: 12,345 and 4m38s. Pure.
 */
#ifndef CLI_OUTPUT_TEXT_H
#define CLI_OUTPUT_TEXT_H

#include "base/buf.h"
#include "base/time.h"

#include <stdint.h>

/* "12,345". */
void text_put_count(struct buf *out, uint64_t n);
/* "150ms", "12.3s", "4m38s", "2h05m", "3d04h"; negative ones are "0ms". */
void text_put_duration(struct buf *out, duration_ns d);
/* Three significant digits at most before it gets whole: "0.12", "8.1", "18", "1,234". */
void text_put_rate(struct buf *out, double per_s);
/* "0%", "0.4%", "16.2%", "100%": never 0 or 100 for what is not. */
void text_put_share(struct buf *out, double share);

#endif
