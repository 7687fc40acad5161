/* The life of a worker: the table of moves, and a ring of the last ones. */
#include "core/worker/life.h"

#include <string.h>

static const bool moves[WORKER_STATES][WORKER_STATES] = {
    [WORKER_INITIALIZING] = {[WORKER_READY] = true, [WORKER_TERMINATED] = true},
    [WORKER_READY] = {[WORKER_BUSY] = true, [WORKER_DEGRADED] = true, [WORKER_TERMINATING] = true},
    [WORKER_BUSY] = {[WORKER_READY] = true, [WORKER_DEGRADED] = true, [WORKER_TERMINATING] = true},
    [WORKER_DEGRADED] = {[WORKER_READY] = true, [WORKER_TERMINATING] = true},
    [WORKER_TERMINATING] = {[WORKER_TERMINATED] = true},
};

void life_init(struct worker_life *l, struct instant now)
{
    l->state = WORKER_INITIALIZING;
    l->since = now;
    l->moves = 0;
}

bool life_may_move(enum worker_state from, enum worker_state to)
{
    return (unsigned)from < WORKER_STATES && (unsigned)to < WORKER_STATES && moves[from][to];
}

void life_cut(char *ret, size_t bytes, const char *text)
{
    static const char mark[] = "...";
    size_t len = strnlen(text, bytes);

    if (len < bytes) {
        memcpy(ret, text, len + 1);
        return;
    }
    len = bytes - sizeof mark;
    while (len > 0 && ((unsigned char)text[len] & 0xC0) == 0x80)
        len--;
    memcpy(ret, text, len);
    memcpy(ret + len, mark, sizeof mark);
}

bool life_move(struct worker_life *l, enum worker_state to, const char *reason, const char *detail,
               struct instant now)
{
    struct worker_transition *t = &l->history[l->moves % WORKER_HISTORY];

    if (!life_may_move(l->state, to))
        return false;
    t->from = l->state;
    t->to = to;
    t->at = now;
    t->lasted_ns = instant_diff(now, l->since);
    t->reason = reason;
    /* Each request makes two moves without detail: they touch the first byte only. */
    t->detail[0] = '\0';
    if (detail)
        life_cut(t->detail, sizeof t->detail, detail);
    l->state = to;
    l->since = now;
    l->moves++;
    return true;
}

const struct worker_transition *life_last(const struct worker_life *l, size_t n)
{
    if (n >= WORKER_HISTORY || n >= l->moves)
        return NULL;
    return &l->history[(l->moves - 1 - n) % WORKER_HISTORY];
}

const char *worker_state_name(enum worker_state state)
{
    static const char *const names[WORKER_STATES] = {
        [WORKER_INITIALIZING] = "initializing",
        [WORKER_READY] = "ready",
        [WORKER_BUSY] = "busy",
        [WORKER_DEGRADED] = "degraded",
        [WORKER_TERMINATING] = "terminating",
        [WORKER_TERMINATED] = "terminated",
    };

    return (unsigned)state < WORKER_STATES ? names[state] : "unknown";
}
