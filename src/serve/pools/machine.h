/*
 * What the limits of pools may follow (core/follow.h), read from /proc.
 *
 *     machine_read(&m);
 *     follow_step(&f, now, &(struct follow_reading){machine_reading(&m, f.options.what), running, queued});
 */
#ifndef SERVE_POOLS_MACHINE_H
#define SERVE_POOLS_MACHINE_H

#include "core/follow.h"

struct machine {
    double
        load; /* of the last minute, for each processor that this process may use; negative: not known */
    double available_mib; /* memory that can be had without swapping; negative: not known */
};

void machine_read(struct machine *ret);
/* The same from texts, for tests; NULL: not known. */
void machine_parse(const char *loadavg, const char *meminfo, unsigned processors,
                   struct machine *ret);
double machine_reading(const struct machine *m, enum follow_what what);

#endif
