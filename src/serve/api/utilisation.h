/*
 * How busy what may run is. More may run than the limit says: it was lowered under what runs, or a
 * burst is over. That is as busy as can be.
 */
#ifndef SERVE_API_UTILISATION_H
#define SERVE_API_UTILISATION_H

/* Attempts that run for those that may (0: no limit): 0 to 1. */
static inline double utilisation_of(double running, double limit)
{
    if (limit <= 0)
        return 0;
    return running < limit ? running / limit : 1;
}

#endif
