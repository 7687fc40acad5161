/*
 * --load and --memfree: nothing starts while the machine is too busy. Looked at by the main thread,
 * once a second; what runs goes on.
 */
#include "cli/command/machine.h"
#include "cli/run/run.h"

#include <stdio.h>

#define LOOK_NS NS_PER_S

/* Why nothing may start now, in words; false: it may. What the system does not tell holds up nothing. */
static bool too_busy(const struct run_command_options *c, char *why, size_t why_bytes)
{
    double load;
    uint64_t free_bytes;

    if (c->load > 0 && machine_load(&load) && load > c->load) {
        (void)snprintf(why, why_bytes, "the load is %.2f, above the %.2f of --load", load, c->load);
        return true;
    }
    if (c->memfree_bytes > 0 && machine_free_bytes(&free_bytes) && free_bytes < c->memfree_bytes) {
        (void)snprintf(why, why_bytes, "%.0f MiB are free, less than the %.0f MiB of --memfree",
                       (double)free_bytes / 1048576, (double)c->memfree_bytes / 1048576);
        return true;
    }
    return false;
}

void hold_look(struct run *r)
{
    const struct run_command_options *c = &r->options.command;
    struct instant now;
    char why[160], note[200];
    bool busy;

    if (c->load <= 0 && c->memfree_bytes == 0)
        return;
    now = engine_now(r->engine);
    if (!instant_is_none(r->held_look_at) && instant_diff(now, r->held_look_at) < LOOK_NS)
        return;
    r->held_look_at = now;
    busy = too_busy(c, why, sizeof why);
    if (busy == r->held)
        return;
    r->held = busy;
    engine_pool_hold(r->engine, r->pool, busy);
    (void)snprintf(note, sizeof note, busy ? "nothing starts: %s" : "rows start again%.0s", why);
    run_note(r, note);
}
