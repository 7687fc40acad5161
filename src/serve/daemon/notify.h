/*
 * What systemd wants to know (sd_notify(3)): ready, reloading, stopping, a sign of life. Does
 * nothing where the daemon was not started by it. By libsystemd: the protocol is small, but sockets
 * in the abstract namespace, pid checks and barriers are its business and not ours.
 */
#ifndef SERVE_DAEMON_NOTIFY_H
#define SERVE_DAEMON_NOTIFY_H

#include "base/time.h"

void notify_ready(void);
void notify_reloading(void);
void notify_stopping(void);
/* Keeps a start or stop that takes long from being taken for a hanging one. */
void notify_more_time(duration_ns wait_ns);
void notify_alive(void);
/* How often notify_alive() is wanted, at least; 0: not at all. */
duration_ns notify_watchdog_ns(void);
/* Sockets that were handed over (sd_listen_fds(3)): their number; the first is 3. */
int notify_sockets(void);

#endif
