/*
 * Tasks on their way to the daemon: what `weir submit` and `weir batch submit` share.
 *
 * submit_task.c makes the JSON of a task of the options, and reads an array of them; submit_lines.c
 * streams a file of payloads or tasks; submit_warn.c looks whether what they name is there.
 */
#ifndef CLI_CLIENT_SUBMIT_H
#define CLI_CLIENT_SUBMIT_H

#include "base/time.h"
#include "cli/client/client.h"

struct submit_options {
    struct client_common c;
    /* of every task */
    const char *pool, *skill, *tenant, *session, *not_before, *deadline, *memory;
    int64_t priority, attempts;
    int on_dependency_failure;
    duration_ns timeout_ns, backoff_initial_ns, backoff_ceiling_ns;
    double cpu, backoff_factor;
    struct option_list after, slots;
    /* of one task */
    const char *payload, *shell, *key, *idempotency_key;
    const char *name; /* of the batch */
    /* where to, and what then */
    const char *lines;
    int64_t batch;
    bool tasks, wait, open;
};

/* What every task may have, for the tables of both. */
#define SUBMIT_SPECS_COUNT 17
extern const struct option_spec submit_specs[SUBMIT_SPECS_COUNT];

void submit_options_free(struct submit_options *o);
/* Appends the members of a task that the options say, each with a comma before it. */
WEIR_MUST_CHECK enum weir_status submit_put_members(const struct submit_options *o, struct buf *out,
                                                    struct weir_error *err);
/* Appends a whole task, with its payload. */
WEIR_MUST_CHECK enum weir_status submit_put_task(const struct submit_options *o, struct buf *out,
                                                 struct weir_error *err);
/* Appends the JSON array of tasks in a file ("-": standard input), as it is. */
WEIR_MUST_CHECK enum weir_status submit_read_array(const char *file, struct buf *out,
                                                   struct weir_error *err);
/* The name of the option that only one task can have, and that is given; NULL: none is. */
const char *submit_single_option(const struct submit_options *o);
/* Whether an option that every task has is given. */
bool submit_any_member(const struct submit_options *o);

/*
 * Streams the file (NULL or "-": standard input) to the path as NDJSON, says what is wrong, and
 * leaves the answer in c->body. Of a regular file with a line that is wrong nothing is sent; of a
 * pipe what came before it, and that is told. Standard error has the progress, when it is a
 * terminal.
 */
int submit_stream(struct client *c, const struct submit_options *o, const char *file,
                  const char *path);
/* After it is accepted: on standard error, whether a pool, skill or slot of the options is not there, or a quota has never so
 * much. c->body is lost. */
void submit_warn(struct client *c, const struct submit_options *o);
/* "accepted 2,000 tasks" on standard error. */
void submit_tell_accepted(const struct client *c);
/* The same of an answer that does not count them. */
void submit_tell_count(uint64_t accepted);

#endif
