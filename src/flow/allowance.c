/* See allowance.h. */
#include "flow/allowance.h"

#include <math.h>

#define BALANCE_START 5.0
/* What a burst of refusals may leave behind, and what a quiet time may save up. */
#define BALANCE_MIN (-10.0)
#define BALANCE_MAX 30.0
/* The price of a refusal is 1 at this balance, and doubles with each PRICE_STEP less. */
#define BALANCE_FAIR 10.0
#define PRICE_STEP   5.0
/* Seconds between rises of the capacity for which it is probed. */
#define RISES_S        45.0
#define INTERVAL_MIN_S 1.0
#define INTERVAL_MAX_S 15.0

void allowance_init(struct allowance *a, double waste)
{
    *a = (struct allowance){.share = waste, .balance = BALANCE_START};
}

void allowance_earn(struct allowance *a)
{
    a->balance = fmin(BALANCE_MAX, a->balance + a->share);
}

void allowance_pay(struct allowance *a)
{
    a->balance = fmax(BALANCE_MIN, a->balance - 1);
}

double allowance_interval_s(const struct allowance *a, double gain_rps)
{
    double price = exp2((BALANCE_FAIR - a->balance) / PRICE_STEP);

    return fmax(INTERVAL_MIN_S, fmin(INTERVAL_MAX_S, sqrt(2 * price * RISES_S / gain_rps)));
}
