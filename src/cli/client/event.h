/*
 * Lists of events: weir event list, weir task events.
 */
#ifndef CLI_CLIENT_EVENT_H
#define CLI_CLIENT_EVENT_H

#include "cli/client/client.h"

/* path: with its query, without limit and after. */
int event_list(struct client *c, const char *path, int64_t limit, bool all);

#endif
