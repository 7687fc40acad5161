/*
 * How busy the machine is: what --load and --memfree ask, a few times a second.
 *
 *     machine_load(&load);  machine_free_bytes(&bytes);         // false: the system does not say
 *
 * The load is the system's average over the last minute; free is what a program could still have
 * without swapping (MemAvailable). The readers of their texts are apart, so that they can be
 * tested. Any thread.
 */
#ifndef CLI_COMMAND_MACHINE_H
#define CLI_COMMAND_MACHINE_H

#include "base/slice.h"

#include <stdbool.h>
#include <stdint.h>

bool machine_load(double *ret);
bool machine_free_bytes(uint64_t *ret);
/* Processors that this process may run on; at least 1. */
long machine_processors(void);

/* Of /proc/loadavg: "0.30 0.21 0.08 1/123 456". */
bool machine_read_load(struct slice text, double *ret);
/* Of /proc/meminfo. */
bool machine_read_free(struct slice text, uint64_t *ret);

#endif
