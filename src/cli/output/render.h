/*
 * A result as one line of JSON.
 *
 *     struct render_options how = {.meta = true, .wall_ns = wall_of, .wall_ctx = engine};
 *     render_result(&how, RENDER_BATCH, task, &out);      // appends the line, with its newline
 *
 * Batch (the OpenAI Batch output line):
 *     {"id":..,"custom_id":..,"response":{"status_code":..,"request_id":..,"body":..},"error":null}
 * Plain:
 *     {"index":..,"key":..,"status":..,"output":..,"error":{"code":..,"message":..}}
 *     and "stderr":.. behind it where there was any
 *
 * docs/output.md is the contract. What an answer's bytes were is kept: JSON stays verbatim (only
 * line breaks between its tokens go), anything else becomes a JSON string. Without `meta` a line
 * depends on the row and its answer alone, so a resumed run writes the same bytes.
 *
 * Pure; the task is read only. A lack of memory shows in out->failed.
 */
#ifndef CLI_OUTPUT_RENDER_H
#define CLI_OUTPUT_RENDER_H

#include "base/buf.h"
#include "core/task.h"

#include <stdbool.h>
#include <stdint.h>

enum render_kind {
    RENDER_PLAIN,
    RENDER_BATCH,
};

/* "batch_req_" and 24 hex digits, with its NUL. */
#define RENDER_ID_BYTES 35

struct render_options {
    bool meta;
    bool
        command; /* status is an exit code, or minus a signal; an output is JSON only as an object or array */
    bool indexed; /* a batch line names its row's place too: in the errors file there are gaps */
    /* The wall-clock time of an instant (engine_wall_ns); 0 for INSTANT_NONE. Only called with meta. */
    int64_t (*wall_ns)(void *ctx, struct instant t);
    void *wall_ctx;
};

void render_result(const struct render_options *how, enum render_kind kind,
                   const struct core_task *task, struct buf *out);

/* Whether a whole HTTP answer came (so that the batch form has a response). */
bool render_has_response(const struct core_answer *answer);

/* The name of a row's result; a function of its content and its place. */
void render_id(uint64_t hash_hi, uint64_t hash_lo, uint64_t index, char ret[RENDER_ID_BYTES]);

#endif
