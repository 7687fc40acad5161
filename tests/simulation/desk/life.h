/*
 * One random life of a dispatcher with durable tasks, from a seed: tasks come, are cancelled,
 * changed, retried; pools come, go, are disabled, get other limits; the store fails, the clock is
 * set, the dispatcher is killed and starts again. A witness looks on. When all that was to happen
 * has happened, what is in the way is taken out of it, and all is let run out.
 *
 *     life_live(&options, &tally, wrong)        // true: every promise held; else `wrong` says which did not
 */
#ifndef SIMULATION_DESK_LIFE_H
#define SIMULATION_DESK_LIFE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define LIFE_WRONG_BYTES 400

struct life_options {
    uint64_t seed;
    uint32_t operations;
    bool loud; /* tells what happens, on standard error */
};

/* Sums over lives, so that a test can see that something has come about at all. */
struct life_tally {
    uint64_t operations, steps, begun, abandoned, strays, kinds[64], folds, write_failures, crashes,
        stops, put_back, pools_gone, clock_set, submitted, existing, refused_submits, cancels_acked,
        cancels_running, edits_done, retries_done, kills, resolved, purges, lines_gone, lines_kept,
        missed, lates_of_lost, broken, kept_waiting;
};

/* *ret_hash: of all that has happened (I7). */
bool life_live(const struct life_options *o, struct life_tally *tally, uint64_t *ret_hash,
               char wrong[LIFE_WRONG_BYTES]);

#endif
