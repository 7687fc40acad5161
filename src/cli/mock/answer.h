/*
 * What `weir mock` answers: the texts, without the socket.
 *
 *     mock_reply_make(&call, &reply)         // POST /v1/chat/completions, or an echo of the rest
 *     mock_error_put(&out, 429, "...")       // a refusal's or a failure's body
 *     mock_stats_put(&out, &stats, ...)      // GET /stats
 *
 * An answer follows from method, path and body alone: the same request always gets the same bytes,
 * so that two runs over the same input can be compared byte for byte. No state, no clock, no I/O.
 */
#ifndef CLI_MOCK_ANSWER_H
#define CLI_MOCK_ANSWER_H

#include "base/buf.h"
#include "base/slice.h"
#include "cli/mock/keys.h"
#include "sim/service.h"

#include <stdbool.h>
#include <stdint.h>

struct mock_call {
    const char *method;
    const char *path;
    struct slice body;
};

struct mock_reply {
    struct buf body;
    bool malformed; /* status 400: what a chat completion needs is not there */
    int64_t tokens; /* of the prompt and of the answer: what usage says, and what it costs */
};

struct mock_counters {
    uint64_t too_large;
    uint64_t malformed;
    struct mock_keys keys;
};

#define MOCK_REQUEST_ID_BYTES 24

/* Hash of path and body; no header has part in it. */
uint64_t mock_identity(const struct mock_call *call);
/* "req_" and 16 hexadecimal digits. */
void mock_request_id(uint64_t identity, char ret[MOCK_REQUEST_ID_BYTES]);
/* ret->body is the caller's to free, also on failure (false: no memory). */
bool mock_reply_make(const struct mock_call *call, struct mock_reply *ret);
/* {"error": {"type": ..., "code": status, "message": ...}} */
void mock_error_put(struct buf *out, int status, const char *message);
/* A sentence for the body of a refusal. */
const char *mock_refusal_message(enum sim_limit limit);
void mock_stats_put(struct buf *out, const struct sim_stats *stats,
                    const struct mock_counters *counters);

#define MOCK_DURATION_BYTES 32

/* As x-ratelimit-reset-* write it: "850ms", "1.5s", "6m0s"; rounded up to the millisecond. */
void mock_duration_text(duration_ns d, char ret[MOCK_DURATION_BYTES]);

#endif
