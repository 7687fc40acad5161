/*
 * Tasks as they are submitted: JSON in, registry_spec out.
 *
 *     struct arena arena = {0};
 *     struct body_in in = {.arena = &arena, .now_ns = now_ns};
 *     struct tasks_in tasks;
 *     if (tasks_in_array(&in, NULL, array, &tasks)) ... tasks.specs, tasks.count
 *
 * The specs point into the text and into the arena. What is stored as the payload is the JSON text
 * of its value, byte for byte; of "payload_base64" the bytes.
 *
 * Tasks of one array may depend on each other by name, before or behind. Whether ids that they
 * depend on are there, and whether a cycle arises, is the registry's to say.
 */
#ifndef SERVE_API_TASK_IN_H
#define SERVE_API_TASK_IN_H

#include "core/ports/registry.h"
#include "serve/api/fields.h"

#define TASK_ATTEMPTS_MAX       1000000
#define TASK_CPU_MAX            1000000.0 /* processors */
#define TASK_SECONDS_MAX        1e9       /* of timeouts and waits: 31 years */
#define TASK_BACKOFF_FACTOR_MAX 1000.0

struct tasks_in {
    struct registry_spec *specs;
    size_t count;
};

/* A task that stands alone: its siblings' names mean nothing. The value has passed json_check(). */
bool task_in_one(struct body_in *in, const struct where *at, struct slice value,
                 struct registry_spec *ret);
/* An array of 1 to REGISTRY_SUBMIT_MAX tasks. False: in->faults. */
bool tasks_in_array(struct body_in *in, const struct where *at, struct slice array,
                    struct tasks_in *ret);
/* Ids of an array that a task is to depend on, for PATCH: no names. */
bool task_in_after(struct body_in *in, const struct where *at, struct slice array,
                   const struct registry_after **ret, uint32_t *ret_count);

#endif
