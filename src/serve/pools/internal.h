/*
 * Inside serve/pools: the program of a pool, which is what its executor and its attempts are made
 * of.
 */
#ifndef SERVE_POOLS_INTERNAL_H
#define SERVE_POOLS_INTERNAL_H

#include "exec/command/command.h"
#include "exec/command/recipe.h"
#include "exec/http/http.h"
#include "exec/http/recipe.h"
#include "exec/process/process.h"
#include "serve/pools/poolset.h"

#include <pthread.h>

/* A list of texts in one piece of memory, with a NULL at the end. */
struct texts {
    struct buf bytes; /* each with its NUL */
    size_t count;
    const char **items; /* after texts_end() */
};

void texts_add(struct texts *t, const char *text);
/* False: no memory. Nothing may be added afterwards. */
bool texts_end(struct texts *t);
void texts_free(struct texts *t);

struct poolset {
    char *run_dir, *api, *mark;
    uint8_t key[32];  /* of attempts' tokens: this process's own */
    struct texts own; /* variables that no attempt gets */
    pthread_mutex_t lock;
    struct config_slot *slots; /* under the lock */
    size_t slot_count;
};

/* What the pool needs as long as it lives. Owned by its desk pool. */
struct pool_program {
    struct poolset *pools;
    char *name;
    enum config_kind kind;
    size_t size;
    /* of the engine's thread, see poolset_configured() */
    size_t configured;
    bool follows, by_hand;
    struct texts words, wrapper, env, skills, headers;
    char *dir;

    struct command_recipe *command;
    bool retry_exits;
    uint64_t output_max_bytes;
    int *capacity; /* exits or statuses */
    size_t capacity_count;
    struct command_term terms[2];
    bool wrapper_shell;

    char *request;
    struct process_options process;

    struct http_recipe *http;
    struct http_options http_options;
    char *texts[8]; /* that http_options points to */
};

enum weir_status pool_program_new(struct poolset *s, const struct config_pool *p,
                                  struct pool_program **ret, struct weir_error *err);
struct pool_program *pool_program_free(struct pool_program *g);

/* engine_executor_fn; ctx: the program. */
enum weir_status pool_program_make(void *ctx, const struct core_pool_options *options,
                                   struct uv_loop_s *loop, struct core_executor_host *host,
                                   struct core_executor **ret, struct weir_error *err);

/* desk_pool_ops; ctx: the program. */
extern const struct desk_pool_ops pool_program_ops;

#endif
