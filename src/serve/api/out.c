#include "serve/api/out.h"

#include "base/json.h"
#include "serve/api/text.h"

struct out_object out_begin(struct buf *buf)
{
    buf_putc(buf, '{');
    return (struct out_object){.buf = buf};
}

void out_end(struct out_object *o)
{
    buf_putc(o->buf, '}');
}

/* Names are ours: nothing in them has to be escaped. */
void out_name(struct out_object *o, const char *name)
{
    if (o->any)
        buf_putc(o->buf, ',');
    o->any = true;
    buf_putc(o->buf, '"');
    buf_puts(o->buf, name);
    buf_put(o->buf, "\":", 2);
}

void out_u64(struct out_object *o, const char *name, uint64_t n)
{
    out_name(o, name);
    buf_put_u64(o->buf, n);
}

void out_int(struct out_object *o, const char *name, int64_t n)
{
    out_name(o, name);
    if (n < 0)
        buf_putc(o->buf, '-');
    buf_put_u64(o->buf, n < 0 ? 0 - (uint64_t)n : (uint64_t)n);
}

void out_number(struct out_object *o, const char *name, double n)
{
    out_name(o, name);
    text_put_number(o->buf, n);
}

void out_bool(struct out_object *o, const char *name, bool b)
{
    out_name(o, name);
    buf_puts(o->buf, b ? "true" : "false");
}

void out_text(struct out_object *o, const char *name, struct slice text)
{
    out_name(o, name);
    json_put_string(o->buf, text);
}

void out_word(struct out_object *o, const char *name, const char *word)
{
    out_text(o, name, slice_of(word));
}

void out_text_if(struct out_object *o, const char *name, struct slice text)
{
    if (text.len > 0)
        out_text(o, name, text);
}

void out_u64_if(struct out_object *o, const char *name, uint64_t n)
{
    if (n > 0)
        out_u64(o, name, n);
}

void out_time_if(struct out_object *o, const char *name, int64_t unix_ns)
{
    if (unix_ns <= 0)
        return;
    out_name(o, name);
    text_put_time(o->buf, unix_ns);
}

void out_seconds_if(struct out_object *o, const char *name, duration_ns d)
{
    if (d == 0)
        return;
    out_name(o, name);
    text_put_seconds(o->buf, d);
}

void out_bytes(struct out_object *o, const char *name, const char *name_base64, struct slice bytes)
{
    if (json_check(bytes, NULL)) {
        out_name(o, name);
        json_put_oneline(o->buf, json_trim(bytes));
    } else if (utf8_valid_prefix(bytes) == bytes.len) {
        out_text(o, name, bytes);
    } else {
        out_name(o, name_base64);
        text_put_base64(o->buf, bytes);
    }
}
