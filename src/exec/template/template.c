/* See template.h. A word is a chain of pieces; each is literal text or one placeholder. */
#include "exec/template/template.h"

#include "base/error.h"
#include "base/json.h"
#include "base/mem.h"
#include "exec/template/shell.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

/* Digits of a column's number: {999999}. */
#define COLUMN_DIGITS_MAX 6

enum piece_kind {
    PIECE_TEXT,
    PIECE_ROW,    /* {} {.} ... */
    PIECE_COLUMN, /* {2} {-1} */
    PIECE_FIELD,  /* {name} */
    PIECE_NUMBER, /* {#} */
    PIECE_PLACE,  /* {%} */
};

enum piece_cut { CUT_NONE, CUT_EXTENSION, CUT_FOLDER, CUT_TO_FOLDER, CUT_BOTH };

struct piece {
    enum piece_kind kind;
    enum piece_cut cut;
    int column;              /* 1 is the first, -1 the last */
    struct slice source;     /* as it stands in the word */
    struct slice name;       /* of a field */
    enum quotes_place place; /* where it stands in a script */
    bool ends_word;
    bool alone; /* the only piece of its word */
};

struct template
{
    struct template_options options;
    struct piece *pieces;
    size_t count, cap;
    struct quotes quotes; /* of the script so far */
    bool takes_row;       /* a placeholder that any row has */
    bool takes_fields;    /* one that only a JSON object has */
    bool takes_place;
};

/* ---- compiling ---- */

/* What stands behind a name or a number: which part of it. False: no such part. */
static bool find_cut(struct slice text, enum piece_cut *ret)
{
    static const struct {
        const char *text;
        enum piece_cut cut;
    } cuts[] = {{"", CUT_NONE},
                {".", CUT_EXTENSION},
                {"/", CUT_FOLDER},
                {"//", CUT_TO_FOLDER},
                {"/.", CUT_BOTH}};

    for (size_t i = 0; i < sizeof(cuts) / sizeof(cuts[0]); i++) {
        if (slice_equal(text, slice_of(cuts[i].text))) {
            *ret = cuts[i].cut;
            return true;
        }
    }
    return false;
}

static bool find_column(struct slice inside, struct piece *p)
{
    size_t sign = inside.len > 0 && inside.data[0] == '-' ? 1 : 0, at = sign;
    int n = 0;

    while (at < inside.len && at - sign < COLUMN_DIGITS_MAX &&
           isdigit((unsigned char)inside.data[at]))
        n = n * 10 + (inside.data[at++] - '0');
    if (n == 0)
        return false;
    p->kind = PIECE_COLUMN;
    p->column = sign ? -n : n;
    return find_cut((struct slice){inside.data + at, inside.len - at}, &p->cut);
}

static bool is_name_char(char c)
{
    return isalnum((unsigned char)c) || c == '_' || c == '-';
}

/* A name, or names with dots between; what follows is a cut. */
static bool find_field(struct slice inside, struct piece *p)
{
    size_t at = 0;

    if (inside.len == 0 || !(isalpha((unsigned char)inside.data[0]) || inside.data[0] == '_'))
        return false;
    for (;;) {
        while (at < inside.len && is_name_char(inside.data[at]))
            at++;
        if (at + 1 < inside.len && inside.data[at] == '.' && is_name_char(inside.data[at + 1]))
            at++;
        else
            break;
    }
    p->kind = PIECE_FIELD;
    p->name = (struct slice){inside.data, at};
    return find_cut((struct slice){inside.data + at, inside.len - at}, &p->cut);
}

/* The placeholder that begins at `at`, if one does. */
static bool find_placeholder(const struct template *t, const char *at, struct piece *ret)
{
    const char *replace = t->options.replace;
    const char *end;
    struct slice inside;
    struct piece p = {0};

    if (strncmp(at, replace, strlen(replace)) == 0) {
        *ret = (struct piece){.kind = PIECE_ROW, .source = {at, strlen(replace)}};
        return true;
    }
    if (*at != '{')
        return false;
    end = at + 1 + strcspn(at + 1, "{}");
    if (*end != '}')
        return false;
    inside = (struct slice){at + 1, (size_t)(end - at - 1)};
    p.source = (struct slice){at, inside.len + 2};
    if (slice_equal(inside, SLICE("#")))
        p.kind = PIECE_NUMBER;
    else if (slice_equal(inside, SLICE("%")))
        p.kind = PIECE_PLACE;
    else if (inside.len > 0 && find_cut(inside, &p.cut))
        p.kind = PIECE_ROW;
    else if (!find_column(inside, &p) && !find_field(inside, &p))
        return false;
    *ret = p;
    return true;
}

/* Where the piece stands in the script, and how what it gives is quoted there. */
static enum weir_status find_place(struct template *t, struct piece *p, struct weir_error *err)
{
    const char *why;

    if (p->kind == PIECE_TEXT) {
        quotes_read(&t->quotes, p->source);
        return WEIR_OK;
    }
    p->place = quotes_place(&t->quotes, &why);
    quotes_pass(&t->quotes);
    if (p->place != QUOTES_NOWHERE || p->kind == PIECE_NUMBER || p->kind == PIECE_PLACE)
        return WEIR_OK;
    return error_set(
        err, WEIR_E_INVALID,
        "%.*s stands %s, where what is put in cannot be kept from the shell; assign it "
        "to a variable first, as x=%.*s",
        (int)(p->source.len < 62 ? p->source.len : 62), p->source.data, why,
        (int)(p->source.len < 62 ? p->source.len : 62), p->source.data);
}

static enum weir_status add_piece(struct template *t, const struct piece *p, struct weir_error *err)
{
    struct piece piece = *p;

    if (t->options.shell && find_place(t, &piece, err) != WEIR_OK)
        return WEIR_E_INVALID;
    if (t->count == TEMPLATE_PIECES_MAX)
        return error_set(err, WEIR_E_LIMIT,
                         "the command line has more than %d words and placeholders",
                         TEMPLATE_PIECES_MAX);
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 16;
        struct piece *pieces = mem_realloc(t->pieces, cap * sizeof(*pieces));

        if (!pieces)
            return error_nomem(err);
        t->pieces = pieces;
        t->cap = cap;
    }
    t->pieces[t->count++] = piece;
    t->takes_fields |= p->kind == PIECE_FIELD;
    t->takes_place |= p->kind == PIECE_PLACE;
    t->takes_row |= p->kind != PIECE_TEXT && p->kind != PIECE_FIELD;
    return WEIR_OK;
}

static enum weir_status compile_word(struct template *t, const char *word, struct weir_error *err)
{
    size_t first = t->count;
    const char *text = word, *at = word;
    enum weir_status status = WEIR_OK;

    while (status == WEIR_OK && *at) {
        struct piece p;

        /* ${name} is a shell's, here or in what the command starts. */
        if (!find_placeholder(t, at, &p) || (p.kind == PIECE_FIELD && at > word && at[-1] == '$')) {
            at++;
            continue;
        }
        if (at > text)
            status = add_piece(t, &(struct piece){.source = {text, (size_t)(at - text)}}, err);
        if (status == WEIR_OK)
            status = add_piece(t, &p, err);
        at += p.source.len;
        text = at;
    }
    /* An empty word is one too. */
    if (status == WEIR_OK && (at > text || t->count == first))
        status = add_piece(t, &(struct piece){.source = {text, (size_t)(at - text)}}, err);
    if (status != WEIR_OK)
        return status;
    t->pieces[t->count - 1].ends_word = true;
    t->pieces[first].alone = t->count == first + 1;
    quotes_read(&t->quotes,
                SLICE(" ")); /* between words, and before a row that becomes the last one */
    return WEIR_OK;
}

enum weir_status template_new(const struct template_options *o, struct template **ret,
                              struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    struct template *t;

    if (o->word_count == 0)
        return error_set(err, WEIR_E_INVALID, "there is no command");
    if (o->replace && !*o->replace)
        return error_set(err, WEIR_E_INVALID, "what stands for the row is empty; write -I {}");
    t = mem_calloc(1, sizeof(*t));
    if (!t)
        return error_nomem(err);
    t->options = *o;
    if (!o->replace)
        t->options.replace = "{}";
    for (size_t i = 0; status == WEIR_OK && i < o->word_count; i++)
        status = compile_word(t, o->words[i], err);
    if (status != WEIR_OK) {
        template_free(t);
        return status;
    }
    *ret = t;
    return WEIR_OK;
}

struct template *template_free(struct template *t)
{
    if (t)
        mem_free(t->pieces);
    return mem_free(t);
}

bool template_wants_place(const struct template *t)
{
    return t->takes_place;
}

bool template_wants_fields(const struct template *t)
{
    return t->takes_fields;
}

/* ---- parts of a text ---- */

/* File::Basename's dirname, which GNU parallel takes: trailing slashes belong to the name. */
static struct slice folder_of(struct slice text)
{
    size_t len = text.len;

    while (len > 1 && text.data[len - 1] == '/')
        len--;
    while (len > 0 && text.data[len - 1] != '/')
        len--;
    if (len == 0)
        return SLICE(".");
    while (len > 1 && text.data[len - 1] == '/')
        len--;
    return (struct slice){text.data, len};
}

static struct slice without_folder(struct slice text)
{
    const char *slash = text.len > 0 ? memrchr(text.data, '/', text.len) : NULL;
    size_t skipped = slash ? (size_t)(slash + 1 - text.data) : 0;

    return (struct slice){text.data + skipped, text.len - skipped};
}

static struct slice without_extension(struct slice text)
{
    for (size_t len = text.len; len > 0 && text.data[len - 1] != '/'; len--) {
        if (text.data[len - 1] == '.')
            return (struct slice){text.data, len - 1};
    }
    return text;
}

static struct slice cut(struct slice text, enum piece_cut how)
{
    switch (how) {
    case CUT_NONE:
        break;
    case CUT_EXTENSION:
        return without_extension(text);
    case CUT_FOLDER:
        return without_folder(text);
    case CUT_TO_FOLDER:
        return folder_of(text);
    case CUT_BOTH:
        return without_extension(without_folder(text));
    }
    return text;
}

/* ---- fields ---- */

static bool member(struct slice object, struct slice name, struct slice *ret)
{
    struct json_wanted wanted = {.name = name};

    json_members(object, &wanted, 1);
    *ret = wanted.value;
    return wanted.value.len > 0;
}

/* The field by its whole name, which may hold dots; else member by member. */
static bool find_value(struct slice object, struct slice name, struct slice *ret)
{
    if (member(object, name, ret))
        return true;
    for (;;) {
        const char *dot = memchr(name.data, '.', name.len);
        struct slice first = {name.data, dot ? (size_t)(dot - name.data) : name.len};

        if (json_kind(object) != JSON_OBJECT || !member(object, first, &object))
            return false;
        if (!dot) {
            *ret = object;
            return true;
        }
        name = (struct slice){dot + 1, name.len - first.len - 1};
    }
}

static enum weir_status field_text(const struct piece *p, const struct template_row *row,
                                   struct buf *scratch, struct slice *ret, struct weir_error *err)
{
    struct slice value;

    if (!find_value(row->object, p->name, &value))
        return error_set(err, WEIR_E_FORMAT,
                         "the row has no field \"%.*s\", which the command asks for (%.*s)",
                         (int)(p->name.len < 60 ? p->name.len : 60), p->name.data,
                         (int)(p->source.len < 62 ? p->source.len : 62), p->source.data);
    if (json_kind(value) != JSON_STRING) {
        json_put_oneline(scratch, value);
    } else {
        json_unquote(value, scratch);
    }
    if (scratch->failed)
        return error_nomem(err);
    *ret = buf_slice(scratch);
    if (memchr(ret->data, '\0', ret->len))
        return error_set(err, WEIR_E_FORMAT,
                         "the field \"%.*s\" holds a NUL byte, which no argument can",
                         (int)(p->name.len < 60 ? p->name.len : 60), p->name.data);
    return WEIR_OK;
}

/* ---- filling in ---- */

/* Where the text goes: into words, or into one text. */
struct sink {
    bool quoted;         /* for a shell */
    struct argvec *into; /* NULL: into text */
    struct buf *text;
};

static void put(struct sink *s, struct slice part)
{
    buf_put_slice(s->into ? &s->into->bytes : s->text, part);
}

/* What comes of the row. */
static void put_in(struct sink *s, const struct piece *p, struct slice part)
{
    if (s->quoted)
        shell_quote_at(s->into ? &s->into->bytes : s->text, part, p->place);
    else
        put(s, part);
}

/* All columns: as words of their own where the placeholder stands alone. */
static void put_columns(struct sink *s, const struct piece *p, const struct template_row *row)
{
    for (size_t i = 0; i < row->column_count; i++) {
        if (i > 0) {
            if (s->into && p->alone && !s->quoted)
                argvec_end(s->into);
            else
                put(s, SLICE(" "));
        }
        put_in(s, p, cut(row->columns[i], p->cut));
    }
}

static bool has_column(const struct piece *p, const struct template_row *row)
{
    return (size_t)(p->column > 0 ? p->column : -p->column) <= row->column_count;
}

/* One that the row does not have is nothing at all, not even quotes. */
static void put_column(struct sink *s, const struct piece *p, const struct template_row *row)
{
    size_t at = p->column > 0 ? (size_t)p->column - 1 : row->column_count - (size_t)-p->column;

    if (has_column(p, row))
        put_in(s, p, cut(row->columns[at], p->cut));
}

static enum weir_status put_field(struct sink *s, const struct piece *p,
                                  const struct template_row *row, struct weir_error *err)
{
    struct buf scratch = {0};
    struct slice text;
    enum weir_status status = WEIR_OK;

    if (row->object.len == 0) {
        put(s, p->source);
    } else {
        status = field_text(p, row, &scratch, &text, err);
        if (status == WEIR_OK)
            put_in(s, p, cut(text, p->cut));
    }
    buf_free(&scratch);
    return status;
}

static enum weir_status put_piece(struct sink *s, const struct piece *p,
                                  const struct template_row *row, struct weir_error *err)
{
    char digits[DECIMAL_BYTES];

    switch (p->kind) {
    case PIECE_TEXT:
        put(s, p->source);
        break;
    case PIECE_ROW:
        put_columns(s, p, row);
        break;
    case PIECE_COLUMN:
        put_column(s, p, row);
        break;
    case PIECE_FIELD:
        return put_field(s, p, row, err);
    case PIECE_NUMBER:
        put(s, decimal_of(row->number, digits));
        break;
    case PIECE_PLACE:
        put(s, row->place > 0 ? decimal_of(row->place, digits) : p->source);
        break;
    }
    return WEIR_OK;
}

bool template_takes(const struct template *t, const struct template_row *row)
{
    return t->takes_row || (t->takes_fields && row->object.len > 0);
}

static bool appends(const struct template *t, const struct template_row *row)
{
    return t->options.append && !template_takes(t, row);
}

/* A word of a column alone that the row does not have is left out, as a shell leaves out what is empty. */
static bool is_nothing(const struct piece *p, const struct template_row *row)
{
    return p->kind == PIECE_COLUMN && p->alone && !has_column(p, row);
}

/* All words; `words`: each ends, else there are spaces between. */
static enum weir_status put_words(const struct template *t, const struct template_row *row,
                                  struct sink *s, bool words, struct weir_error *err)
{
    struct piece whole = {.kind = PIECE_ROW, .alone = true, .ends_word = true};
    enum weir_status status = WEIR_OK;
    const char *why;

    for (size_t i = 0; i < t->count && status == WEIR_OK; i++) {
        if (words && is_nothing(&t->pieces[i], row))
            continue;
        status = put_piece(s, &t->pieces[i], row, err);
        if (words && t->pieces[i].ends_word)
            argvec_end(s->into);
        else if (t->pieces[i].ends_word && i + 1 < t->count)
            put(s, SLICE(" "));
    }
    if (status != WEIR_OK || !appends(t, row))
        return status;
    if (t->options.shell) {
        whole.place = quotes_place(&t->quotes, &why);
        if (whole.place != QUOTES_NONE)
            return error_set(err, WEIR_E_FORMAT,
                             "the row would be appended %s; write {} where it belongs",
                             why ? why : "in quotes");
    }
    if (!words)
        put(s, SLICE(" "));
    status = put_piece(s, &whole, row, err);
    if (words)
        argvec_end(s->into);
    return status;
}

enum weir_status template_expand(const struct template *t, const struct template_row *row,
                                 struct argvec *ret, struct weir_error *err)
{
    struct sink s = {.quoted = t->options.shell, .into = ret};
    enum weir_status status;

    if (t->options.shell) {
        argvec_add(ret, SLICE("/bin/sh"));
        argvec_add(ret, SLICE("-c"));
    }
    status = put_words(t, row, &s, !t->options.shell, err);
    if (t->options.shell)
        argvec_end(ret);
    if (status == WEIR_OK && ret->bytes.failed)
        return error_nomem(err);
    return status;
}

enum weir_status template_put(const struct template *t, const struct template_row *row,
                              struct buf *out, struct weir_error *err)
{
    struct sink s = {.quoted = t->options.shell, .text = out};
    enum weir_status status = put_words(t, row, &s, false, err);

    if (status == WEIR_OK && out->failed)
        return error_nomem(err);
    return status;
}

enum weir_status template_check(const struct template *t, const struct template_row *row,
                                struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (row->object.len == 0)
        return WEIR_OK;
    for (size_t i = 0; i < t->count && status == WEIR_OK; i++) {
        struct buf scratch = {0};
        struct slice text;

        if (t->pieces[i].kind == PIECE_FIELD)
            status = field_text(&t->pieces[i], row, &scratch, &text, err);
        buf_free(&scratch);
    }
    return status;
}
