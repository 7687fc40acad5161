#include "base/nearest.h"

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

/* Longer words are no slips of the finger. */
#define NEAREST_BYTES_MAX 40

static size_t min3(size_t a, size_t b, size_t c)
{
    size_t m = a < b ? a : b;

    return m < c ? m : c;
}

/* Edit distance, a swap of two neighbours being one step (optimal string alignment). */
static size_t distance(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t rows[3][NEAREST_BYTES_MAX + 1];
    size_t *before = rows[0], *last = rows[1], *now = rows[2];

    assert(a_len <= NEAREST_BYTES_MAX && b_len <= NEAREST_BYTES_MAX);
    for (size_t j = 0; j <= b_len; j++)
        last[j] = j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t *spare;

        now[0] = i;
        for (size_t j = 1; j <= b_len; j++) {
            now[j] =
                min3(last[j] + 1, now[j - 1] + 1, last[j - 1] + (a[i - 1] == b[j - 1] ? 0 : 1));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] &&
                before[j - 2] + 1 < now[j])
                now[j] = before[j - 2] + 1;
        }
        spare = before;
        before = last;
        last = now;
        now = spare;
    }
    return last[b_len];
}

const char *nearest_name(const char *word, const char *const *names)
{
    size_t len = strlen(word);
    size_t best_distance = SIZE_MAX;
    const char *best = NULL;

    if (len == 0 || len > NEAREST_BYTES_MAX)
        return NULL;
    for (; *names; names++) {
        size_t name_len = strlen(*names);
        size_t d;

        if (name_len > NEAREST_BYTES_MAX)
            continue;
        /* An abbreviation is nearer than any other mistake. */
        d = len >= 2 && strncmp(*names, word, len) == 0 ? 0 : distance(word, len, *names, name_len);
        if (d < best_distance) {
            best_distance = d;
            best = *names;
        }
    }
    return best_distance <= (len < 3 ? 1 : 1 + len / 4) ? best : NULL;
}
