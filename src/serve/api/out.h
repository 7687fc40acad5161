/*
 * What the API says, as JSON: tasks, events, batches, pools and the rest, each by one function.
 *
 *     struct buf out = {0};
 *     out_task(&out, &view, OUT_PAYLOAD | OUT_RESULT);
 *     if (out.failed) ... memory ran out
 *
 * A member that has no value is left out. Times are RFC 3339 with microseconds, durations seconds
 * as numbers. Bytes of tasks (payload, output) that are JSON stand there as they are, but for line
 * breaks between tokens; other text is a string; what is not UTF-8 is base64, in a member whose
 * name ends in _base64. No state.
 */
#ifndef SERVE_API_OUT_H
#define SERVE_API_OUT_H

#include "base/buf.h"
#include "core/ports/registry.h"
#include "serve/api/backend.h"

/* An object that is being written. */
struct out_object {
    struct buf *buf;
    bool any;
};

struct out_object out_begin(struct buf *buf);
void out_end(struct out_object *o);
/* The name and what goes before it; the value is the caller's to write, into o->buf. */
void out_name(struct out_object *o, const char *name);

/* Always written. */
void out_u64(struct out_object *o, const char *name, uint64_t n);
void out_int(struct out_object *o, const char *name, int64_t n);
void out_number(struct out_object *o, const char *name, double n);
void out_bool(struct out_object *o, const char *name, bool b);
void out_text(struct out_object *o, const char *name, struct slice text);
void out_word(struct out_object *o, const char *name, const char *word);
/* Not written when empty, or 0. */
void out_text_if(struct out_object *o, const char *name, struct slice text);
void out_u64_if(struct out_object *o, const char *name, uint64_t n);
void out_time_if(struct out_object *o, const char *name, int64_t unix_ns);
void out_seconds_if(struct out_object *o, const char *name, duration_ns d);
/* JSON, text or base64, as said above. */
void out_bytes(struct out_object *o, const char *name, const char *name_base64, struct slice bytes);

enum {
    OUT_PAYLOAD = 1,
    OUT_RESULT = 2,
    OUT_OPEN = 4 /* more members follow, out_end() is the caller's */
};

/* Returns the object, which is ended unless OUT_OPEN is given. */
struct out_object out_task(struct buf *buf, const struct registry_view *v, unsigned what);
void out_event(struct buf *buf, const struct registry_event *e);
void out_batch(struct buf *buf, const struct registry_batch *b);
/* {"blocked":0,"scheduled":0,...} */
void out_states(struct buf *buf, const uint64_t states[REGISTRY_STATES]);
/* queue: what waits for the pool, by state. */
void out_pool(struct buf *buf, const struct api_pool *p, const uint64_t queue[REGISTRY_STATES]);
void out_worker(struct buf *buf, const struct api_worker *w);
void out_runner(struct buf *buf, const struct api_runner *r);
void out_tenant(struct buf *buf, const struct api_tenant *t);
void out_slots(struct buf *buf, const struct api_slots *s);
void out_dispatcher(struct buf *buf, const struct api_dispatcher *d);
void out_sample(struct buf *buf, const struct registry_sample *s);
/* Of the dispatcher itself, without tasks and pools; the object is left open. */
struct out_object out_status(struct buf *buf, const struct api_status *s);

#endif
