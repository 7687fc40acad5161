#include "serve/daemon/notify.h"

#include "loop/loop.h"

#include <systemd/sd-daemon.h>

void notify_ready(void)
{
    (void)sd_notify(0, "READY=1");
}

void notify_reloading(void)
{
    (void)sd_notifyf(0, "RELOADING=1\nMONOTONIC_USEC=%lld",
                     (long long)(loop_clock().ns / NS_PER_US));
}

void notify_stopping(void)
{
    (void)sd_notify(0, "STOPPING=1");
}

void notify_more_time(duration_ns wait_ns)
{
    (void)sd_notifyf(0, "EXTEND_TIMEOUT_USEC=%lld", (long long)(wait_ns / NS_PER_US));
}

void notify_alive(void)
{
    (void)sd_notify(0, "WATCHDOG=1");
}

duration_ns notify_watchdog_ns(void)
{
    uint64_t every_us = 0;

    return sd_watchdog_enabled(0, &every_us) > 0 ? (duration_ns)every_us * NS_PER_US / 3 : 0;
}

int notify_sockets(void)
{
    int n = sd_listen_fds(0);

    return n > 0 ? n : 0;
}
