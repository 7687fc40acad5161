/*
 * Any bytes into the option parsers (libFuzzer; corpus/parse). Each takes the whole text or refuses
 * it with a message, keeps to its bounds, and leaves its outputs alone when it refuses.
 */
#include "base/parse.h"

#include <math.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define UNTOUCHED (-4711)

static void require(bool condition)
{
    if (!condition)
        abort();
}

static void refused(enum weir_status status, const struct weir_error *err)
{
    require(status == WEIR_E_INVALID && err->status == status);
    require(err->message[0] != '\0' && strlen(err->message) < WEIR_ERROR_MESSAGE_BYTES);
}

static void whole_numbers(const char *text)
{
    struct weir_error err;
    enum weir_status status;
    int64_t count = UNTOUCHED;
    uint64_t bytes = 4711;

    status = parse_count(text, -1000, 1000000, &count, &err);
    if (status == WEIR_OK)
        require(count >= -1000 && count <= 1000000);
    else
        refused(status, &err);
    require(status == WEIR_OK || count == UNTOUCHED);
    status = parse_count(text, INT64_MIN, INT64_MAX, &count, NULL);
    require(status == WEIR_OK || count == UNTOUCHED);
    status = parse_size(text, &bytes, &err);
    if (status != WEIR_OK) {
        refused(status, &err);
        require(bytes == 4711);
    }
}

static void durations(const char *text)
{
    struct weir_error err;
    enum weir_status status;
    duration_ns ns = UNTOUCHED;
    duration_ns lo = UNTOUCHED;
    duration_ns hi = UNTOUCHED;

    status = parse_duration(text, &ns, &err);
    if (status != WEIR_OK)
        refused(status, &err);
    require(status == WEIR_OK ? ns >= 0 : ns == UNTOUCHED);
    status = parse_duration_range(text, &lo, &hi, &err);
    if (status != WEIR_OK)
        refused(status, &err);
    require(status == WEIR_OK ? lo >= 0 && lo <= hi : lo == UNTOUCHED && hi == UNTOUCHED);
}

static void fractions(const char *text)
{
    struct weir_error err;
    enum weir_status status;
    double x = -1;
    double lo = -1;
    double hi = -1;

    status = parse_number(text, 0, 1000, &x, &err);
    if (status != WEIR_OK)
        refused(status, &err);
    require(status == WEIR_OK ? x >= 0 && x <= 1000 : signbit(x));
    status = parse_range(text, 0, 1000, &lo, &hi, &err);
    if (status != WEIR_OK)
        refused(status, &err);
    require(status == WEIR_OK ? lo >= 0 && lo <= hi && hi <= 1000 : signbit(lo) && signbit(hi));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* Of exactly its size, so that a read beyond its NUL is seen. */
    char *text = malloc(size + 1);

    if (!text)
        return 0;
    if (size > 0)
        memcpy(text, data, size);
    text[size] = '\0';
    whole_numbers(text);
    durations(text);
    fractions(text);
    free(text);
    return 0;
}
