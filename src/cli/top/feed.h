/*
 * What `weir top` gets from the daemon: all its lists, one answer after the other, and the requests
 * that keys make.
 *
 *     top_fetch(&client, &want, &answers);                     // once, here and now
 *
 *     top_feed_open(&feed, &client, 1000, &err);               // or over and over, on a thread of its own
 *     poll(top_feed_fd(feed)) ... top_feed_take(feed, &answers);
 *     top_feed_want(feed, &want); top_feed_send(feed, &action);
 *     top_feed_close(feed);
 *
 * A daemon that does not answer holds up the thread, not the screen. The client belongs to the
 * thread while the feed is open. When nothing answers, the answers keep what they had, and say so
 * in `trouble`; the next round tries again.
 */
#ifndef CLI_TOP_FEED_H
#define CLI_TOP_FEED_H

#include "cli/client/client.h"
#include "cli/top/ui.h"

struct top_want {
    bool failed;     /* what failed in the place of what waits */
    uint64_t detail; /* a task; 0: none */
};

struct top_answers {
    struct buf lists[TOP_LISTS];
    struct buf task, record;
    struct top_want of; /* what was wanted when they came */
    char trouble[TOP_MESSAGE_BYTES];
    char message[TOP_MESSAGE_BYTES]; /* what became of a request; "": none has ended */
    bool is_bad;
    unsigned rounds; /* so many answers of all the lists came so far */
};

struct top_feed;

/* False: nothing, or something else, has answered; a->trouble says what. */
bool top_fetch(struct client *c, const struct top_want *want, struct top_answers *a);
void top_answers_free(struct top_answers *a);

WEIR_MUST_CHECK enum weir_status top_feed_open(struct top_feed **ret, struct client *c,
                                               int every_ms, struct weir_error *err);
/* Readable when there is something to take. */
int top_feed_fd(const struct top_feed *f);
/* Swaps what has come into *a. False: nothing has. */
bool top_feed_take(struct top_feed *f, struct top_answers *a);
void top_feed_want(struct top_feed *f, const struct top_want *want);
/* Takes what is in the action. False: too many wait; then it is still the caller's. */
bool top_feed_send(struct top_feed *f, struct top_action *action);
void top_feed_close(struct top_feed *f);

#endif
