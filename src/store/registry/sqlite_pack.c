/*
 * What is packed in a task's row: what it asks for beside its line (opts), and what has come of its
 * attempts (run). Each is a column that is NULL for most of a task's life or all of it. First a set
 * of bits that says which fields follow, then these, as varints; times as their distance from the
 * submit. A field that is not there is 0.
 *
 * Bits and their order are stored: new ones come at the end.
 */
#include "store/registry/sqlite_inside.h"

#include <string.h>

const unsigned char *varint_get(const unsigned char *at, const unsigned char *end, uint64_t *ret)
{
    uint64_t n = 0;

    for (unsigned shift = 0; at < end && shift < 64; shift += 7) {
        n |= (uint64_t)(*at & 0x7f) << shift;
        if (!(*at++ & 0x80)) {
            *ret = n;
            return at;
        }
    }
    return NULL;
}

/* The values, in the order of their bits; a value that is 0 is left out. */
static size_t pack(const uint64_t *values, unsigned count, unsigned char *to)
{
    unsigned char *at = to;
    uint64_t bits = 0;

    for (unsigned i = 0; i < count; i++)
        bits |= (uint64_t)(values[i] != 0) << i;
    if (!bits)
        return 0;
    at = varint_put(at, bits);
    for (unsigned i = 0; i < count; i++)
        if (values[i])
            at = varint_put(at, values[i]);
    return (size_t)(at - to);
}

static bool unpack(const void *from, size_t len, uint64_t *values, unsigned count)
{
    const unsigned char *at = from, *end = at + len;
    uint64_t bits = 0;

    memset(values, 0, count * sizeof(*values));
    if (len == 0)
        return true;
    at = varint_get(at, end, &bits);
    for (unsigned i = 0; at && i < count; i++)
        if (bits >> i & 1)
            at = varint_get(at, end, &values[i]);
    while (at && at < end && *at == 0)
        at++;
    return at == end && bits >> count == 0;
}

/* A time, as its distance from the submit; one further for the sake of 0, which is none. */
static uint64_t pack_time(int64_t ns, int64_t submitted_ns)
{
    return ns ? zigzag((int64_t)((uint64_t)ns - (uint64_t)submitted_ns)) + 1 : 0;
}

static int64_t unpack_time(uint64_t n, int64_t submitted_ns)
{
    return n ? (int64_t)((uint64_t)unzigzag(n - 1) + (uint64_t)submitted_ns) : 0;
}

#define OPTS_FIELDS 7

size_t opts_pack(const struct task_opts *o, int64_t submitted_ns, unsigned char *to)
{
    uint64_t values[OPTS_FIELDS] = {o->max_attempts,
                                    (uint64_t)o->timeout_ns,
                                    (uint64_t)o->backoff_initial_ns,
                                    (uint64_t)o->backoff_ceiling_ns,
                                    0,
                                    pack_time(o->deadline_ns, submitted_ns),
                                    pack_time(o->not_before_ns, submitted_ns)};

    memcpy(&values[4], &o->backoff_factor, sizeof(values[4]));
    return pack(values, OPTS_FIELDS, to);
}

bool opts_unpack(const void *from, size_t len, int64_t submitted_ns, struct task_opts *ret)
{
    uint64_t values[OPTS_FIELDS];

    if (len == 0) {
        *ret = (struct task_opts){0};
        return true;
    }
    if (!unpack(from, len, values, OPTS_FIELDS))
        return false;
    *ret = (struct task_opts){
        .max_attempts = (uint32_t)values[0],
        .timeout_ns = (int64_t)values[1],
        .backoff_initial_ns = (int64_t)values[2],
        .backoff_ceiling_ns = (int64_t)values[3],
        .deadline_ns = unpack_time(values[5], submitted_ns),
        .not_before_ns = unpack_time(values[6], submitted_ns),
    };
    memcpy(&ret->backoff_factor, &values[4], sizeof(values[4]));
    return true;
}

#define RUN_FIELDS 13

size_t run_pack(const struct task_run *r, int64_t submitted_ns, unsigned char *to)
{
    const uint64_t values[RUN_FIELDS] = {
        r->attempts,
        r->failures,
        r->deaths,
        r->capacity_retries,
        pack_time(r->first_start_ns, submitted_ns),
        pack_time(r->ended_ns, submitted_ns),
        (uint64_t)r->last_wait_ns,
        r->pool,
        r->outcome,
        r->reason,
        zigzag(r->status),
        r->result,
        pack_time(r->wake_ns, submitted_ns),
    };

    size_t len = pack(values, RUN_FIELDS, to);

    if (len < RUN_BYTES_MIN)
        memset(to + len, 0, RUN_BYTES_MIN - len);
    return len < RUN_BYTES_MIN ? RUN_BYTES_MIN : len;
}

bool run_unpack(const void *from, size_t len, int64_t submitted_ns, struct task_run *ret)
{
    uint64_t values[RUN_FIELDS];

    if (len == 0 || *(const unsigned char *)from == 0) {
        *ret = (struct task_run){0};
        return true;
    }
    if (!unpack(from, len, values, RUN_FIELDS))
        return false;
    *ret = (struct task_run){
        .attempts = (uint32_t)values[0],
        .failures = (uint32_t)values[1],
        .deaths = (uint32_t)values[2],
        .capacity_retries = (uint32_t)values[3],
        .first_start_ns = unpack_time(values[4], submitted_ns),
        .ended_ns = unpack_time(values[5], submitted_ns),
        .last_wait_ns = (int64_t)values[6],
        .pool = (uint32_t)values[7],
        .outcome = (uint32_t)values[8],
        .reason = (uint32_t)values[9],
        .status = (int32_t)unzigzag(values[10]),
        .result = (uint32_t)values[11],
        .wake_ns = unpack_time(values[12], submitted_ns),
    };
    return true;
}
