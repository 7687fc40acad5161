/*
 * Problem documents (RFC 9457), told in full.
 *
 *     weir submit: Bad Request: [3].resources.memory: "lots" is not a size; write it as 512MiB or 2GiB
 *
 * With --json the document itself, on standard error.
 */
#ifndef CLI_CLIENT_PROBLEM_H
#define CLI_CLIENT_PROBLEM_H

#include "cli/client/client.h"

/* c->body is one, or whatever else came with c->status. Returns what to exit with: CLI_USAGE when what was asked is wrong
 * (400, 413, 422), else CLI_FAILED. */
int problem_tell(const struct client *c);
/* One of our own about a stream that we have cut off, with members as the daemon's have them: detail, line, accepted, ranges,
 * batch, batch_open. */
void problem_tell_cut(const struct client *c, struct slice problem);
/* "1-1000, 1003, 1007-2000" of [[1,1000],[1003,1003],[1007,2000]]. */
void problem_put_ranges(struct buf *out, struct slice ranges);

#endif
