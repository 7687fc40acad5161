#include "cli/top/text.h"

#include "base/utf8.h"

#include <wchar.h>

/* What a base character may carry on its back: text that piles up more of them wants to draw over its neighbours. */
#define MARKS_MAX 2

/* One character as it is shown: `bytes` of the text, in `columns`; len 0: a "?" stands for it. */
struct shown {
    size_t bytes, len, columns;
};

static uint32_t decode(const unsigned char *p, size_t len)
{
    if (len == 1)
        return p[0];
    if (len == 2)
        return (uint32_t)(p[0] & 0x1F) << 6 | (p[1] & 0x3F);
    if (len == 3)
        return (uint32_t)(p[0] & 0x0F) << 12 | (uint32_t)(p[1] & 0x3F) << 6 | (p[2] & 0x3F);
    return (uint32_t)(p[0] & 0x07) << 18 | (uint32_t)(p[1] & 0x3F) << 12 |
           (uint32_t)(p[2] & 0x3F) << 6 | (p[3] & 0x3F);
}

/* Marks of direction, joiners and other signs that are not seen but change what is; and what a text cannot hold. */
static bool is_unseen(uint32_t code)
{
    return code < 0x20 || (code >= 0x7F && code < 0xA0) || code == 0xAD || code == 0x061C ||
           code == 0x180E || (code >= 0x200B && code <= 0x200F) ||
           (code >= 0x2028 && code <= 0x202E) || (code >= 0x2060 && code <= 0x206F) ||
           code == 0xFEFF || (code >= 0xFFF0 && code <= 0xFFFB) ||
           (code >= 0xE000 && code <= 0xF8FF) || code >= 0xE0000;
}

static struct shown next_shown(struct slice text, size_t at, size_t marks, bool utf8)
{
    const unsigned char *p = (const unsigned char *)text.data + at;
    size_t len = utf8_sequence(p, text.len - at);
    uint32_t code = len > 0 ? decode(p, len) : 0;
    int columns;

    if (len == 0)
        return (struct shown){1, 0, 1};
    if (is_unseen(code) || (!utf8 && len > 1))
        return (struct shown){len, 0, 1};
    columns = len == 1 ? 1 : wcwidth((wchar_t)code);
    if (columns < 0 || (columns == 0 && (at == 0 || marks >= MARKS_MAX)))
        return (struct shown){len, 0, 1};
    return (struct shown){len, len, (size_t)columns};
}

/* Bytes of the text that take at most `width` columns, and how many those are. */
static size_t measure(struct slice text, size_t width, bool utf8, size_t *ret_columns)
{
    size_t at = 0, columns = 0, marks = 0;

    while (at < text.len) {
        struct shown s = next_shown(text, at, marks, utf8);

        if (columns + s.columns > width)
            break;
        marks = s.columns == 0 ? marks + 1 : 0;
        columns += s.columns;
        at += s.bytes;
    }
    *ret_columns = columns;
    return at;
}

static void put_shown(struct buf *out, struct slice text, size_t end, bool utf8)
{
    size_t marks = 0;

    for (size_t at = 0; at < end;) {
        struct shown s = next_shown(text, at, marks, utf8);

        if (s.len > 0)
            buf_put(out, text.data + at, s.len);
        else
            buf_putc(out, '?');
        marks = s.columns == 0 ? marks + 1 : 0;
        at += s.bytes;
    }
}

size_t top_put_text(struct buf *out, struct slice text, size_t width, bool utf8)
{
    size_t columns, end = measure(text, width, utf8, &columns);

    if (end == text.len || width == 0) {
        put_shown(out, text, width == 0 ? 0 : end, utf8);
        return width == 0 ? 0 : columns;
    }
    end = measure(text, width - 1, utf8, &columns);
    put_shown(out, text, end, utf8);
    buf_puts(out, utf8 ? "…" : "~");
    return columns + 1;
}

size_t top_fit(struct slice text, size_t width, bool utf8)
{
    size_t columns, end = measure(text, width, utf8, &columns);

    if (end == 0 && text.len > 0)
        end = next_shown(text, 0, 0, utf8).bytes;
    return end;
}

void top_pad(struct buf *out, size_t columns)
{
    while (columns-- > 0)
        buf_putc(out, ' ');
}

void top_put_duration(struct buf *out, double seconds)
{
    long s = seconds < 0 ? 0 : seconds > 1e9 ? 1000000000 : (long)seconds;

    if (seconds < 10)
        buf_printf(out, "%ld.%lds", s, seconds < 0 ? 0 : (long)(seconds * 10) % 10);
    else if (s < 60)
        buf_printf(out, "%lds", s);
    else if (s < 3600)
        buf_printf(out, "%ldm%02lds", s / 60, s % 60);
    else if (s < 86400)
        buf_printf(out, "%ldh%02ldm", s / 3600, s / 60 % 60);
    else
        buf_printf(out, "%ldd%02ldh", s / 86400, s / 3600 % 24);
}

void top_put_bar(struct buf *out, double share, size_t width, bool utf8)
{
    size_t room = width > 3 ? width - 2 : 1;
    size_t full = !(share > 0) ? 0 : share >= 1 ? room : (size_t)(share * (double)room + 0.5);

    buf_putc(out, '[');
    for (size_t i = 0; i < room; i++)
        buf_puts(out, i < full ? utf8 ? "█" : "#" : utf8 ? "·" : ".");
    buf_putc(out, ']');
}
