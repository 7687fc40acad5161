/*
 * Events as they happen, and waiting for a task by them.
 *
 *     follow_events(c, "/v1/events/follow?pool=sh", FOLLOW_FROM_NOW, fn, ctx);   // until fn has had enough
 *     follow_task(c, id);                                                        // c->body: the task, when it has ended
 *
 * A stream that is cut is taken up again behind the last event; only when the daemon stays away for
 * half a minute is that an error.
 */
#ifndef CLI_CLIENT_FOLLOW_H
#define CLI_CLIENT_FOLLOW_H

#include "cli/client/client.h"

#define FOLLOW_FROM_NOW (-1)

/* event: its JSON. False: enough. Must not ask the daemon anything. */
typedef bool (*follow_fn)(void *ctx, struct slice event);

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
