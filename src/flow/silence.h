/*
 * How long answers take, and what it means when one has not come.
 *
 *     silence_accepted(&s, seconds);             // or _refused: an answer came so long after its dispatch
 *     silence_sent(&s);                          // a dispatch was made
 *     due = instant_after(sent_at, silence_verdict_s(&s));
 *     if (now is due && silence_speaks(&s)) ...  // a dispatch that was not refused by now was taken
 *
 * Refusals mostly come much sooner than results, so a throttle that waits for results learns late.
 * Both kinds of answer have a mean and a mean deviation, as RFC 6298 keeps them for a round trip; a
 * dispatch without a refusal after the bound of either counts as taken.
 *
 * That holds only while answers come at all. Where everything is lost, nothing is refused either,
 * and silence means nothing: after SILENCE_SENDS_MAX dispatches without any answer it does not
 * speak.
 *
 * Pure; of fixed size; every call is O(1).
 */
#ifndef FLOW_SILENCE_H
#define FLOW_SILENCE_H

#include <stdbool.h>
#include <stdint.h>

#define SILENCE_SENDS_MAX 128

/* The time that one kind of answer takes. */
struct answer_time {
    double mean_s;
    double deviation_s; /* mean absolute deviation */
    uint64_t count;
};

struct silence {
    struct answer_time accepted;
    struct answer_time refused;
    uint32_t sends_unanswered; /* dispatches since the last answer of any kind */
};

void silence_init(struct silence *s);
void silence_accepted(struct silence *s, double took_s);
void silence_refused(struct silence *s, double took_s);
static inline void silence_sent(struct silence *s)
{
    s->sends_unanswered += s->sends_unanswered <= SILENCE_SENDS_MAX;
}
/* Some answer came, whatever it says. */
static inline void silence_broken(struct silence *s)
{
    s->sends_unanswered = 0;
}

/* A dispatch without a refusal after so long was taken. Above 0. */
double silence_verdict_s(const struct silence *s);
bool silence_speaks(const struct silence *s);

#endif
