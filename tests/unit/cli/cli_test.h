/*
 * What the tests of src/cli share: cmocka with what it needs before it, and argument vectors that
 * may be written to, as a real argv may.
 */
#ifndef CLI_TEST_H
#define CLI_TEST_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"

struct args {
    int count;
    char *items[64];
};

/* "run --url http://h" at spaces; '~' stands for a space within an argument. */
static inline struct args args_of(const char *line)
{
    struct args a = {0};
    char *copy = strdup(line);

    for (char *word = strtok(copy, " "); word; word = strtok(NULL, " ")) {
        a.items[a.count] = strdup(word);
        for (char *c = a.items[a.count]; *c; c++)
            *c = *c == '~' ? ' ' : *c;
        a.count++;
    }
    free(copy);
    return a;
}

static inline void args_free(struct args *a)
{
    for (int i = 0; i < a->count; i++)
        free(a->items[i]);
}

static inline void assert_contains(const char *text, const char *part)
{
    if (!text || !strstr(text, part))
        fail_msg("\"%s\" is not in: %s", part, text ? text : "(nothing)");
}

static inline void assert_lacks(const char *text, const char *part)
{
    if (text && strstr(text, part))
        fail_msg("\"%s\" is in: %s", part, text);
}

#endif
