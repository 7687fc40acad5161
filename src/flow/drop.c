/* See drop.h. */
#include "flow/drop.h"

#include <math.h>
#include <string.h>

/* One cut goes no deeper, and no shallower. */
#define SHARE_MIN 0.5
#define SHARE_MAX 0.95

void drop_init(struct drop *d)
{
    *d = (struct drop){0};
}

static void insert(struct drop *d, uint64_t number)
{
    uint32_t at = d->count;

    if (d->count == DROP_KEPT) {
        memmove(&d->refused[0], &d->refused[1], (DROP_KEPT - 1) * sizeof d->refused[0]);
        at = --d->count;
    }
    while (at > 0 && d->refused[at - 1] > number) {
        d->refused[at] = d->refused[at - 1];
        at--;
    }
    d->refused[at] = number;
    d->count++;
}

/* The highest that the sum reaches; *ret_since: index of the refusal from which it has not been 0 any more. */
static double sum_up(const struct drop *d, uint32_t *ret_since)
{
    double sum = 0;
    double most = 0;
    uint32_t since = 0;

    for (uint32_t i = 0; i < d->count; i++) {
        if (i > 0)
            sum -= DROP_ALLOWED * (double)(d->refused[i] - d->refused[i - 1] - 1);
        if (sum <= 0) {
            sum = 0;
            since = i;
        }
        sum += 1;
        if (sum > most)
            *ret_since = since;
        most = fmax(most, sum);
    }
    return most;
}

bool drop_refused(struct drop *d, uint64_t number)
{
    uint32_t since = 0;

    insert(d, number);
    return sum_up(d, &since) >= DROP_LIMIT;
}

uint64_t drop_between(const struct drop *d, uint64_t number)
{
    uint64_t last = d->before;

    for (uint32_t i = 0; i < d->count && d->refused[i] < number; i++)
        last = d->refused[i];
    return number > last + 1 ? number - last - 1 : 0;
}

double drop_share(const struct drop *d)
{
    uint32_t since = 0;
    double refused;
    double sent;

    if (d->count == 0)
        return SHARE_MAX;
    (void)sum_up(d, &since);
    refused = (double)(d->count - since);
    sent = (double)(d->refused[d->count - 1] - d->refused[since] + 1);
    return fmax(SHARE_MIN, fmin(SHARE_MAX, 1 - refused / sent));
}

void drop_reset(struct drop *d)
{
    if (d->count > 0 && d->refused[d->count - 1] > d->before)
        d->before = d->refused[d->count - 1];
    d->count = 0;
}
