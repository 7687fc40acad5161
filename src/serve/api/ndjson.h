/*
 * Tasks as a stream: one JSON object a line, gathered into groups that are submitted one by one.
 *
 *     ndjson_init(&n, &options);
 *     while (pos < len) {
 *         status = ndjson_feed(&n, data + pos, len - pos, &taken, &group);
 *         pos += taken;
 *         if (group) ... submit group->specs; ndjson_group_free(group) when they are
 *         if (status) ... n.line, n.in.faults
 *     }
 *     status = ndjson_end(&n, &group);
 *
 * A group has what its specs point to: the bytes of its lines, which are copied once, and an arena
 * for the rest. Lines are read when their group is full, so that its bytes stay where they are.
 * Empty lines are passed over.
 *
 * One owner; not thread-safe. Groups may go to other threads.
 */
#ifndef SERVE_API_NDJSON_H
#define SERVE_API_NDJSON_H

#include "serve/api/task_in.h"

#define NDJSON_GROUP_TASKS 1000
#define NDJSON_GROUP_BYTES ((size_t)1 << 20)
/* A payload of the largest size in base64, and what stands around it. */
#define NDJSON_LINE_BYTES_MAX ((size_t)REGISTRY_PAYLOAD_BYTES_MAX / 3 * 4 + NDJSON_GROUP_BYTES)

struct ndjson_group {
    struct ndjson_group *next; /* the owner's */
    struct registry_op op;     /* the same */
    void *user;                /* the same */
    struct arena arena;
    struct buf text;
    size_t lines; /* complete ones in text, empty ones too */
    uint64_t first_line, last_line;
    struct registry_spec *specs;
    size_t count;
    uint64_t *ids;     /* count of them, for ret_ids */
    bool *existing;    /* the same, for ret_existing */
    uint64_t *line_of; /* the same: its line, from 1 */
};

/* NULL-safe. */
void ndjson_group_free(struct ndjson_group *g);

struct ndjson_options {
    uint64_t batch; /* of all tasks; 0: none */
    uint64_t place; /* of the first, in the batch */
};

struct ndjson {
    struct ndjson_options options;
    struct body_in in; /* now_ns is the caller's to set; faults: of the line that is wrong */
    struct ndjson_group *open; /* NULL: nothing has come since the last group */
    uint64_t line;             /* read so far; after a fault, the wrong one, from 1 */
    uint64_t tasks;            /* in all groups so far */
};

void ndjson_init(struct ndjson *n, const struct ndjson_options *o);
void ndjson_free(struct ndjson *n);

/*
 * Takes bytes up to the end of a group, at most; *ret_taken of len. *ret_group: the group that has
 * become full, or NULL. WEIR_E_FORMAT: line n->line is wrong (n->in.faults); *ret_group has the
 * tasks before it, or is NULL. WEIR_E_NOMEM: the same. After a failure nothing more may be fed.
 */
WEIR_MUST_CHECK enum weir_status ndjson_feed(struct ndjson *n, const char *data, size_t len,
                                             size_t *ret_taken, struct ndjson_group **ret_group);
/* The lines that are complete, now, as a group, or NULL; for when nobody is busy with another one. */
WEIR_MUST_CHECK enum weir_status ndjson_flush(struct ndjson *n, struct ndjson_group **ret_group);
/* No more bytes come: what is left, or NULL. The last line needs no line break. */
WEIR_MUST_CHECK enum weir_status ndjson_end(struct ndjson *n, struct ndjson_group **ret_group);

#endif
