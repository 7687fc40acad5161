/* See argvec.h. Pointers are made at the end: the bytes move while they grow. */
#include "exec/template/argvec.h"

#include "base/mem.h"

#include <string.h>

void argvec_put(struct argvec *v, struct slice part)
{
    buf_put_slice(&v->bytes, part);
}

void argvec_end(struct argvec *v)
{
    buf_putc(&v->bytes, '\0');
    v->count++;
}

void argvec_add(struct argvec *v, struct slice word)
{
    argvec_put(v, word);
    argvec_end(v);
}

const char *const *argvec_argv(struct argvec *v)
{
    const char *at = v->bytes.data;

    if (v->bytes.failed)
        return NULL;
    if (v->count + 1 > v->cap) {
        size_t cap = 2 * (v->count + 1);
        const char **argv = mem_realloc(v->argv, cap * sizeof(*argv));

        if (!argv)
            return NULL;
        v->argv = argv;
        v->cap = cap;
    }
    for (size_t i = 0; i < v->count; i++) {
        v->argv[i] = at;
        at += strlen(at) + 1;
    }
    v->argv[v->count] = NULL;
    return v->argv;
}

void argvec_clear(struct argvec *v)
{
    buf_clear(&v->bytes);
    v->count = 0;
}

void argvec_free(struct argvec *v)
{
    buf_free(&v->bytes);
    v->argv = mem_free(v->argv);
    v->cap = v->count = 0;
}
