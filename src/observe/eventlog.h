/*
 * An observer that writes each event as one line of JSON to a file (`weir run --events FILE`).
 *
 *     eventlog_open(&(struct eventlog_options){.path = "events.jsonl"}, &log, &err);
 *     options.observer = eventlog_observer(log);
 *     ... the engine runs, and is freed ...
 *     if (eventlog_close(log, &err)) ... err.message says how many events are missing, and why
 *
 *     {"time":"2026-01-31T12:00:00.000Z","event":"task.finished","pool":"http","batch":1,"index":7,"key":"row-7",
 *      "attempt":2,"outcome":"failed","reason":"http_status","status":400,"message":"Bad Request"}
 *
 * Members that an event does not have are left out. `wait_ms` and `detail` come with the events
 * that have them.
 *
 * The engine's thread only formats and appends to a buffer; a thread of the log's own writes it, at
 * the latest EVENTLOG_FLUSH_NS after an event. So a slow or full disk never holds up the run. What
 * could not be written yet is kept and tried again, up to EVENTLOG_BUFFER_BYTES; beyond that events
 * are left out and counted. The file says so itself ({"event":"log.dropped","count":N}, in their
 * place) when it can be written again, and never ends in half a line when it can be cut.
 *
 * No secrets: neither headers nor outputs are in an event, and whatever looks like a URL in a
 * message is replaced.
 */
#ifndef OBSERVE_EVENTLOG_H
#define OBSERVE_EVENTLOG_H

#include "base/time.h"
#include "core/ports/observer.h"
#include "weir/status.h"

#include <stddef.h>
#include <stdint.h>

#define EVENTLOG_FLUSH_NS     NS_PER_S
#define EVENTLOG_BUFFER_BYTES ((size_t)16 << 20)
/* What workers write to their standard error may take so much of that, one part of: */
#define EVENTLOG_SAID_PARTS 4

struct eventlog;

struct eventlog_options {
    const char *path;       /* created when it is not there; lines are added at its end */
    int64_t wall_offset_ns; /* wall clock minus the engine's clock; 0: taken from both clocks now */
    size_t buffer_bytes;    /* 0: EVENTLOG_BUFFER_BYTES */
};

/* WEIR_E_IO: the file cannot be opened for writing. */
WEIR_MUST_CHECK enum weir_status eventlog_open(const struct eventlog_options *o,
                                               struct eventlog **ret, struct weir_error *err);
struct core_observer *eventlog_observer(struct eventlog *log);
/*
 * Writes what is left, closes the file and frees the log; no event may come any more. WEIR_E_IO:
 * some events are not in the file; the message says how many and why. NULL: WEIR_OK.
 */
enum weir_status eventlog_close(struct eventlog *log, struct weir_error *err);

#endif
