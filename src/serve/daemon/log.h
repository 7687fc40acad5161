/*
 * The daemon's log: a line for a person about what the daemon itself does. What happens to tasks is
 * in the record of events.
 *
 *     daemon_log(l, CONFIG_WARNING, "the store fails: %s", message);
 *
 *     daemon_log_later(l, CONFIG_INFO, "worker %d: %s", n, line);     // never waits
 *
 * "2026-01-31T12:00:00.000Z warning: ..." in a file, which is opened anew by daemon_log_reopen()
 * (log rotation); on standard error without the time where systemd's journal adds its own. What is
 * no text, or steers a terminal, is "?" there. Any thread.
 *
 * daemon_log() waits for whoever reads the log, the engine's thread must not. Its lines go to a
 * thread of the log's own. Of those that are not written yet there are LOG_LATER_BYTES at the most;
 * others are left out, and the log says how many, where they would stand.
 */
#ifndef SERVE_DAEMON_LOG_H
#define SERVE_DAEMON_LOG_H

#include "serve/config/config.h"

#define LOG_LATER_BYTES ((size_t)1 << 20)

struct daemon_log;

/* path NULL: standard error. */
WEIR_MUST_CHECK enum weir_status daemon_log_new(const char *path, enum config_level level,
                                                struct daemon_log **ret, struct weir_error *err);
void daemon_log_level(struct daemon_log *l, enum config_level level);
WEIR_MUST_CHECK enum weir_status daemon_log_reopen(struct daemon_log *l, struct weir_error *err);
void daemon_log(struct daemon_log *l, enum config_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
void daemon_log_later(struct daemon_log *l, enum config_level level, const char *format, ...)
    __attribute__((format(printf, 3, 4)));
/* Writes what is left, if that is taken within a second or so. NULL-safe. */
void daemon_log_free(struct daemon_log *l);

#endif
