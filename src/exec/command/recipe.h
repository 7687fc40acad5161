/*
 * How a pool of commands makes a command of a task's payload, where the payload is bytes that came
 * over the network.
 *
 *     command_recipe_new(&(struct command_recipe_options){.argv = argv}, &recipe, &err);
 *     status = command_recipe_make(recipe, payload, number, &launch, &err);     // WEIR_E_FORMAT: the task is wrong
 *     ... attempt->payload = launch; command_options.prepare = command_recipe_prepare ...
 *     mem_free(launch);                                                         // when its attempt is reported
 *
 * A pool with a command line of its own (argv) has its placeholders filled in
 * (exec/template/template.h): {} is the whole payload, {name} a field of a payload that is a JSON
 * object, strings without their quotes, all else as it stands; where one is asked for, every other
 * payload is wrong, for the command would run with {name} itself. A payload that is a JSON string is
 * put in as its text. A payload that no placeholder takes is the command's standard input: the text
 * of a string, everything else byte for byte.
 *
 * Without one the payload is a JSON object that names the command:
 *
 *     {"argv": ["prog", "arg"], "stdin": "text", "env": {"NAME": "value", "GONE": null}, "cwd": "/folder"}
 *     {"shell": "pipeline | of programs"}                                       // for /bin/sh; the rest as above
 *
 * Owner: options are copied. A recipe does not change: threads may share it. What it makes is one
 * piece of memory and refers to nothing, so that it outlives payload and recipe.
 */
#ifndef EXEC_COMMAND_RECIPE_H
#define EXEC_COMMAND_RECIPE_H

#include "exec/command/command.h"

struct command_recipe;

struct command_recipe_options {
    const char *const
        *argv;  /* with placeholders, and a NULL at the end; NULL: payloads name their commands */
    bool shell; /* these words are a script for /bin/sh; what is put in is quoted for it */
    const char *const *env; /* of each command, "NAME=value"; a payload's replaces it. NULL: none */
    const char *dir;        /* of each command; a payload's replaces it. NULL: this process's */
};

/* WEIR_E_INVALID: there is no word, or a placeholder that cannot be filled in; the message names it. WEIR_E_NOMEM. */
WEIR_MUST_CHECK enum weir_status command_recipe_new(const struct command_recipe_options *o,
                                                    struct command_recipe **ret,
                                                    struct weir_error *err);
struct command_recipe *command_recipe_free(struct command_recipe *r);
/*
 * number: the task's, for {#}. WEIR_E_FORMAT: the payload is wrong; the message names the field and
 * the remedy. WEIR_E_NOMEM.
 */
WEIR_MUST_CHECK enum weir_status command_recipe_make(const struct command_recipe *r,
                                                     struct slice payload, uint64_t number,
                                                     struct command_launch **ret,
                                                     struct weir_error *err);
/* As command_options.prepare, for attempts whose payload was made so. ctx is not used. */
bool command_recipe_prepare(void *ctx, const struct core_attempt *attempt, unsigned place,
                            struct command_launch *launch, struct core_answer *answer);

#endif
