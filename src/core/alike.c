#include "core/alike.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

void alike_init(struct alike *a)
{
    memset(a, 0, sizeof *a);
}

void alike_succeeded(struct alike *a)
{
    a->in_row = 0;
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Rows differ in their numbers (sizes, times, ports, lines), and fail the same way nevertheless. */
static void normalise(const char *message, char out[ALIKE_MESSAGE_BYTES])
{
    size_t len = 0;

    while (message && *message && len < ALIKE_MESSAGE_BYTES - 1) {
        if (is_digit(*message)) {
            out[len++] = '#';
            while (is_digit(*message))
                message++;
        } else {
            out[len++] = *message++;
        }
    }
    out[len] = '\0';
}

static bool is_of(const struct alike_kind *k, const struct core_answer *answer, const char *message)
{
    return k->outcome == answer->outcome && k->reason == answer->reason &&
           k->status == answer->status && strcmp(k->message, message) == 0;
}

/* A place for a kind that is not known: a free one, or that of the rarest. */
static size_t make_place(struct alike *a)
{
    size_t rarest = 0;

    if (a->kind_count < ALIKE_KINDS)
        return a->kind_count++;
    for (size_t i = 1; i < ALIKE_KINDS; i++)
        if (a->kinds[i].count < a->kinds[rarest].count)
            rarest = i;
    return rarest;
}

static size_t find(struct alike *a, const struct core_answer *answer)
{
    char message[ALIKE_MESSAGE_BYTES];
    size_t at;

    normalise(answer->message, message);
    for (size_t i = 0; i < a->kind_count; i++)
        if (is_of(&a->kinds[i], answer, message))
            return i;
    at = make_place(a);
    if (at == a->last)
        a->in_row = 0;
    a->kinds[at] = (struct alike_kind){
        .outcome = answer->outcome, .reason = answer->reason, .status = answer->status};
    memcpy(a->kinds[at].message, message, sizeof message);
    return at;
}

const struct alike_kind *alike_failed(struct alike *a, const struct core_answer *answer,
                                      uint64_t index)
{
    size_t at = find(a, answer);
    struct alike_kind *k = &a->kinds[at];

    a->in_row = a->in_row > 0 && a->last == at ? a->in_row + 1 : 1;
    a->last = at;
    if (k->count < ALIKE_FIRST_ROWS)
        k->first[k->count] = index;
    k->count++;
    if (k->tell_at > 0) {
        a->told++;
        if (k->count < k->tell_at)
            return NULL;
    } else if (a->in_row >= ALIKE_IN_A_ROW || k->count >= ALIKE_IN_ALL) {
        a->told += k->count;
    } else {
        return NULL;
    }
    k->tell_at = 2 * k->count;
    return k;
}

const char *alike_describe(const struct alike_kind *k, char *buf, size_t bytes)
{
    size_t shown = k->count < ALIKE_FIRST_ROWS ? (size_t)k->count : ALIKE_FIRST_ROWS;
    int len = snprintf(buf, bytes, "%" PRIu64 " rows have failed alike: %s", k->count,
                       weir_reason_name(k->reason));

    if (k->status && len > 0 && (size_t)len < bytes)
        len += snprintf(buf + len, bytes - (size_t)len, ", status %d", k->status);
    if (k->message[0] && len > 0 && (size_t)len < bytes)
        len += snprintf(buf + len, bytes - (size_t)len, ", \"%s\"", k->message);
    for (size_t i = 0; i < shown && len > 0 && (size_t)len < bytes; i++)
        len += snprintf(buf + len, bytes - (size_t)len, "%s%" PRIu64,
                        i == 0 ? "; the first are rows " : ", ", k->first[i]);
    return buf;
}
