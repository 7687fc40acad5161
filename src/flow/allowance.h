/*
 * What may be spent on refusals.
 *
 *     allowance_earn(&a);                        // for each success
 *     allowance_pay(&a);                         // for each refusal
 *     wait = allowance_interval_s(&a, gain_rps); // until the next probe for more capacity
 *
 * A service that only says no has to be asked now and then whether it bears more, and asking costs
 * refusals. Each success earns the share `waste` of one, so refused over sent tends to that share.
 * Whoever has little left pays a higher price, and so asks less often; who can win much asks more
 * often.
 *
 * The interval is that of an inventory ordered at a price (the square root of Harris, 1913):
 * probing each T seconds costs price/T, and finding a gain g after a rise that comes once in D
 * seconds half an interval late costs g * T / (2 * D).
 *
 * Pure.
 */
#ifndef FLOW_ALLOWANCE_H
#define FLOW_ALLOWANCE_H

struct allowance {
    double share;   /* earned by a success, of a refusal */
    double balance; /* refusals */
};

void allowance_init(struct allowance *a, double waste);
void allowance_earn(struct allowance *a);
void allowance_pay(struct allowance *a);
/* gain_rps > 0. */
double allowance_interval_s(const struct allowance *a, double gain_rps);

#endif
