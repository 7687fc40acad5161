/*
 * Events as they happen, and waiting for a task by them; and how a command outlives the daemon.
 *
 *     follow_events(c, "/v1/events/follow?pool=sh", FOLLOW_FROM_NOW, fn, ctx);   // until fn has had enough
 *     follow_task(c, id);                                                        // c->body: the task, when it has ended
 *
 * A stream that is cut is taken up again behind the last event; only when the daemon stays away for
 * half a minute is that an error. That it is gone is told once, on standard error.
 */
#ifndef CLI_CLIENT_FOLLOW_H
#define CLI_CLIENT_FOLLOW_H

#include "cli/client/client.h"

#define FOLLOW_FROM_NOW (-1)

/* event: its JSON. False: enough. Must not ask the daemon anything. */
typedef bool (*follow_fn)(void *ctx, struct slice event);

/* Of one that waits: zeroed at first, and whenever it has got on. */
struct follow_patience {
    int tries;
    bool told;
};

/*
 * A request has ended, though it should not have: in an error (status), with a 503, or too early
 * (WEIR_OK). Waits a little, for the daemon may come back. False: to ask again is no use, for it is
 * another error, there never was a daemon, or it has been away for too long.
 */
bool follow_wait(const struct client *c, struct follow_patience *p, enum weir_status status);
/* GET, again and again while the daemon is away. As client_send(). */
WEIR_MUST_CHECK enum weir_status follow_ask(struct client *c, const char *path,
                                            struct follow_patience *p, struct weir_error *err);

/* after: the number of an event. CLI_OK: fn has had enough. */
int follow_events(struct client *c, const char *path, int64_t after, follow_fn fn, void *ctx);
/* CLI_OK: it has ended, somehow. */
int follow_task(struct client *c, int64_t id);
/*
 * The task in c->body has ended: its output goes to c->out, its error output and what is wrong with
 * it to standard error; with --json all of it to c->out. CLI_OK: it is done.
 */
int follow_tell_result(struct client *c);
/* Whether a state is one that a task ends in. */
bool follow_has_ended(struct slice task);

#endif
