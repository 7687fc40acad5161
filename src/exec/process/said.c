/*
 * See said.h.
 */
#include "exec/process/said.h"

#include "base/json.h"
#include "base/mem.h"

/* Copies it as a C string. */
static void copy_text(char *to, struct slice bytes)
{
    for (size_t i = 0; i < bytes.len; i++)
        to[i] = bytes.data[i] ? bytes.data[i] : ' ';
    to[bytes.len] = '\0';
}

static bool is_blank(struct slice line)
{
    for (size_t i = 0; i < line.len; i++)
        if (line.data[i] != ' ' && line.data[i] != '\t' && line.data[i] != '\r')
            return false;
    return true;
}

/* Text is cut between characters; what is no text is kept as it is. */
static void keep_last(struct said *s, struct slice line)
{
    size_t cut = sizeof s->last - sizeof "...";
    bool is_cut = line.len > sizeof s->last - 1;

    if (is_blank(line))
        return;
    if (is_cut) {
        line.len = cut;
        if (utf8_valid_prefix(line) >= cut - 3)
            line.len = utf8_valid_prefix(line);
    }
    copy_text(s->last, line);
    if (is_cut)
        memcpy(s->last + line.len, "...", sizeof "...");
}

static void tell_line(struct said *s, struct slice line, said_tell_fn tell, void *ctx)
{
    char text[PROCESS_LINE_BYTES_MAX + 1];

    keep_last(s, line);
    copy_text(text, line);
    tell(ctx, text);
}

/* Without memory for it the beginning of a line is told at once, as a piece. */
static void keep_rest(struct said *s, struct slice rest, said_tell_fn tell, void *ctx)
{
    if (rest.len > 0 && !s->line)
        s->line = mem_alloc(PROCESS_LINE_BYTES_MAX);
    if (rest.len > 0 && !s->line) {
        tell_line(s, rest, tell, ctx);
        return;
    }
    for (size_t i = 0; i < rest.len; i++)
        s->line[s->len++] = rest.data[i];
}

void said_put(struct said *s, struct slice bytes, said_tell_fn tell, void *ctx)
{
    while (bytes.len > 0) {
        size_t room = PROCESS_LINE_BYTES_MAX - s->len;
        size_t seen = bytes.len < room ? bytes.len : room;
        const char *end = memchr(bytes.data, '\n', seen);
        struct slice part = {bytes.data, end ? (size_t)(end - bytes.data) : seen};
        bool full = !end && seen == room;

        if (s->len > 0 || (!end && !full)) {
            keep_rest(s, part, tell, ctx);
            if (end || full)
                said_end(s, tell, ctx);
        } else if (!(s->in_pieces && part.len == 0)) {
            tell_line(s, part, tell, ctx); /* from where it is */
        }
        s->in_pieces = full || (s->in_pieces && !end);
        part.len += end != NULL;
        bytes = (struct slice){bytes.data + part.len, bytes.len - part.len};
    }
}

void said_end(struct said *s, said_tell_fn tell, void *ctx)
{
    struct slice line = {s->line, s->len};

    s->len = 0;
    if (line.len > 0)
        tell_line(s, line, tell, ctx);
}

void said_free(struct said *s)
{
    mem_free(s->line);
    *s = (struct said){0};
}
