/* See columns.h. */
#include "cli/command/columns.h"

#include "base/buf.h"
#include "base/error.h"
#include "base/mem.h"

#include <regex.h>
#include <string.h>

struct columns {
    regex_t regex;
    struct buf text; /* the row with a NUL behind it, which some readers of expressions look for */
};

bool column_list_add(struct column_list *list, struct slice column)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? list->cap * 2 : 8;
        struct slice *items = mem_realloc(list->items, cap * sizeof(*items));

        if (!items)
            return false;
        list->items = items;
        list->cap = cap;
    }
    list->items[list->count++] = column;
    return true;
}

/* \t and \n, which POSIX does not know, as the characters themselves; every other escape stays. */
static void put_regex(struct buf *out, const char *regex)
{
    for (; *regex; regex++) {
        if (regex[0] == '\\' && (regex[1] == 't' || regex[1] == 'n')) {
            buf_putc(out, *++regex == 't' ? '\t' : '\n');
        } else {
            buf_putc(out, *regex);
            if (regex[0] == '\\' && regex[1])
                buf_putc(out, *++regex);
        }
    }
}

enum weir_status columns_new(const char *regex, struct columns **ret, struct weir_error *err)
{
    struct columns *c = mem_calloc(1, sizeof(*c));
    _cleanup_buf_ struct buf text = {0};
    int rc;

    put_regex(&text, regex);
    if (!c || text.failed) {
        mem_free(c);
        return error_nomem(err);
    }
    rc = regcomp(&c->regex, buf_slice(&text).data, REG_EXTENDED);
    if (rc != 0) {
        char why[100];

        regerror(rc, &c->regex, why, sizeof(why));
        mem_free(c);
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\" is no POSIX extended regular expression: %s", regex, why);
    }
    if (regexec(&c->regex, "", 0, NULL, 0) == 0) {
        columns_free(c);
        return error_set(err, WEIR_E_INVALID,
                         "\"%.60s\" matches the empty text, so it parts nothing; write + in place "
                         "of *",
                         regex);
    }
    *ret = c;
    return WEIR_OK;
}

bool columns_split(struct columns *c, struct slice text, struct column_list *ret)
{
    size_t begin = 0;

    ret->count = 0;
    buf_clear(&c->text);
    buf_put_slice(&c->text, text);
    if (c->text.failed)
        return false;
    while (ret->count < COLUMNS_MAX - 1) {
        regmatch_t m = {.rm_so = (regoff_t)begin, .rm_eo = (regoff_t)text.len};

        if (regexec(&c->regex, buf_slice(&c->text).data, 1, &m,
                    REG_STARTEND | (begin > 0 ? REG_NOTBOL : 0)) != 0 ||
            m.rm_eo == m.rm_so)
            break;
        if (!column_list_add(ret, (struct slice){text.data + begin, (size_t)m.rm_so - begin}))
            return false;
        begin = (size_t)m.rm_eo;
    }
    return column_list_add(ret, (struct slice){text.data + begin, text.len - begin});
}

bool columns_split_nul(struct slice text, struct column_list *ret)
{
    ret->count = 0;
    for (;;) {
        const char *nul =
            text.len > 0 && ret->count < COLUMNS_MAX - 1 ? memchr(text.data, '\0', text.len) : NULL;
        size_t len = nul ? (size_t)(nul - text.data) : text.len;

        if (!column_list_add(ret, (struct slice){text.data, len}))
            return false;
        if (!nul)
            return true;
        text = (struct slice){nul + 1, text.len - len - 1};
    }
}

void column_list_free(struct column_list *list)
{
    list->items = mem_free(list->items);
    list->count = list->cap = 0;
}

struct columns *columns_free(struct columns *c)
{
    if (c) {
        regfree(&c->regex);
        buf_free(&c->text);
    }
    return mem_free(c);
}
