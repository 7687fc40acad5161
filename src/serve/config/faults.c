/*
 * What is wrong with a file: a list, by line, in the order in which things were found where lines
 * are the same.
 */
#include "base/mem.h"
#include "serve/config/reader.h"

#include <string.h>

void config_faults_add(struct config_faults *f, size_t line, const char *where, const char *what)
{
    struct config_fault fault = {line, mem_strdup(where), mem_strdup(what)};
    struct config_fault *items = NULL;
    size_t at = f->count;

    if (f->count < CONFIG_FAULTS_MAX && fault.where && fault.what)
        items = mem_realloc(f->items, (f->count + 1) * sizeof *items);
    if (!items) {
        mem_free(fault.where);
        mem_free(fault.what);
        f->more = true;
        return;
    }
    f->items = items;
    while (at > 0 && items[at - 1].line > line)
        at--;
    memmove(items + at + 1, items + at, (f->count - at) * sizeof *items);
    items[at] = fault;
    f->count++;
}

void config_faults_put(const struct config_faults *f, struct buf *out)
{
    const char *file = f->file ? f->file : "configuration";

    for (size_t i = 0; i < f->count; i++) {
        const struct config_fault *fault = &f->items[i];

        buf_puts(out, file);
        if (fault->line > 0)
            buf_printf(out, ":%zu", fault->line);
        buf_printf(out, ": %s%s%s\n", fault->where, *fault->where ? ": " : "", fault->what);
    }
    if (f->more)
        buf_printf(out, "%s: there is more that is wrong\n", file);
}

void config_faults_free(struct config_faults *f)
{
    for (size_t i = 0; i < f->count; i++) {
        mem_free(f->items[i].where);
        mem_free(f->items[i].what);
    }
    mem_free(f->items);
    mem_free(f->file);
    *f = (struct config_faults){0};
}
