/*
 * Permits: the right to run one attempt. All counts of what runs live here and nowhere else (I1).
 *
 * A permit counts against every limit at once (its pool's and the global one); it is taken once and returned
 * once, by the slot that holds it. Pure.
 */
#ifndef CORE_PERMITS_H
#define CORE_PERMITS_H

#include <stdbool.h>
#include <stddef.h>

#define PERMITS_UNLIMITED ((size_t)-1)

/* All pools together. */
struct permits {
    size_t limit;
    size_t running;
};

/* One pool's share; `all` is where it counts too. */
struct permit_account {
    struct permits *all;
    size_t limit;
    size_t running;
    size_t peak;
};

void permits_init(struct permits *all, size_t limit);
void permit_account_init(struct permit_account *a, struct permits *all, size_t limit);
/* Whether one could be taken. */
bool permit_available(const struct permit_account *a);
/* Takes one. False: some limit is reached; nothing was taken. */
bool permit_take(struct permit_account *a);
/* Returns one that was taken (asserted). */
void permit_return(struct permit_account *a);

#endif
