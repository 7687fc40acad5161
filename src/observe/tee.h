/*
 * An observer that passes each event on to several others, in the order in which they were added.
 *
 *     struct tee tee;
 *     tee_init(&tee);
 *     tee_add(&tee, log);
 *     tee_add(&tee, progress);
 *     options.observer = &tee.base;
 *
 * Whoever makes it owns it; it owns none of the others. Observers are added before the engine
 * starts; after that all happens on the engine's thread.
 */
#ifndef OBSERVE_TEE_H
#define OBSERVE_TEE_H

#include "core/ports/observer.h"
#include "weir/status.h"

#include <stdbool.h>
#include <stddef.h>

#define TEE_OBSERVERS_MAX 8

struct tee {
    struct core_observer base;
    struct core_observer *to[TEE_OBSERVERS_MAX];
    size_t count;
};

void tee_init(struct tee *t);
/* NULL is passed over: that observer is not wanted. False: there are TEE_OBSERVERS_MAX already. */
WEIR_MUST_CHECK bool tee_add(struct tee *t, struct core_observer *o);

#endif
