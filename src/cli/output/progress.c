/*
 * The other half of progress.h: when something is written, and how it gets onto a terminal.
 *
 * A frame is: up to where the last one began, each line with what was behind it cleared, and below
 * it all cleared. The cursor rests on the line below the display, so that whatever comes next (a
 * prompt, after a kill) stands there.
 */
#include "cli/output/progress.h"

#include "base/error.h"
#include "base/mem.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define TTY_INTERVAL_NS   (125 * NS_PER_MS)
#define PLAIN_INTERVAL_NS (10 * NS_PER_S)
#define JSON_INTERVAL_NS  NS_PER_S

#define LINES_MAX      8
#define WIDTH_DEFAULT  80
#define WIDTH_MAX      400
#define HEIGHT_DEFAULT 24
/* How long a write may wait for room before the rest of it is dropped. */
#define WRITE_WAIT_MS 100

struct progress {
    enum progress_mode mode;
    int fd;
    bool colour;
    struct progress_rates rates;
    bool written; /* something was, at `at` in phase `phase` */
    struct instant at;
    enum progress_phase phase;
    size_t drawn; /* lines of the display that are on the screen, and how wide each is */
    size_t widths[LINES_MAX];
    bool have_last; /* a snapshot, to draw again after a note */
    struct progress_snapshot last;
    struct buf frame, lines;
};

static bool fd_is_dumb(int fd)
{
    const char *term = getenv("TERM");

    return !isatty(fd) || !term || !*term || strcmp(term, "dumb") == 0;
}

enum weir_status progress_new(const struct progress_options *o, struct progress **ret,
                              struct weir_error *err)
{
    struct progress *p = mem_calloc(1, sizeof(*p));
    const char *no_colour = getenv("NO_COLOR");

    if (!p)
        return error_nomem(err);
    p->fd = o->fd;
    p->mode = o->mode;
    if (p->mode == PROGRESS_AUTO)
        p->mode = fd_is_dumb(o->fd) ? PROGRESS_PLAIN : PROGRESS_TTY;
    p->colour = p->mode == PROGRESS_TTY && !fd_is_dumb(o->fd) && !(no_colour && *no_colour);
    *ret = p;
    return WEIR_OK;
}

enum progress_mode progress_mode(const struct progress *p)
{
    return p->mode;
}

static bool has_room(int fd, int wait_ms)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    int rc = poll(&room, 1, wait_ms);

    return rc > 0 && (room.revents & POLLOUT);
}

/* Never waits long: a terminal that is stopped (Ctrl-S) or a pipe that is full must not hold up the
 * run. */
static void write_out(struct progress *p, const struct buf *b)
{
    size_t done = 0;

    if (b->failed)
        return;
    while (done < b->len) {
        ssize_t n;

        if (!has_room(p->fd, done ? WRITE_WAIT_MS : 0))
            return;
        n = write(p->fd, b->data + done, b->len - done);
        if (n > 0)
            done += (size_t)n;
        else if (n == 0 || (errno != EINTR && errno != EAGAIN))
            return;
    }
}

/* ---- terminal ---- */

static void terminal_size(int fd, size_t *ret_width, size_t *ret_height)
{
    struct winsize size;
    bool told = ioctl(fd, TIOCGWINSZ, &size) == 0;

    *ret_width = told && size.ws_col > 0 ? size.ws_col : WIDTH_DEFAULT;
    *ret_height = told && size.ws_row > 0 ? size.ws_row : HEIGHT_DEFAULT;
    if (*ret_width > WIDTH_MAX)
        *ret_width = WIDTH_MAX;
}

/* Lines on the screen that the last frame takes, now that the terminal is that wide: one that has
 * become narrower since has broken the lines anew. */
static size_t rows_drawn(const struct progress *p, size_t width)
{
    size_t rows = 0;

    for (size_t i = 0; i < p->drawn; i++)
        rows += p->widths[i] > width ? (p->widths[i] + width - 1) / width : 1;
    return rows;
}

static void go_to_start(struct progress *p, size_t width, size_t height)
{
    size_t rows = rows_drawn(p, width);

    if (rows >= height)
        rows = height - 1;
    buf_putc(&p->frame, '\r');
    if (rows > 0)
        buf_printf(&p->frame, "\033[%zuA", rows);
}

static size_t visible_width(const char *text, size_t len)
{
    size_t width = 0;

    for (size_t i = 0; i < len; i++) {
        if (text[i] == '\033') {
            while (i < len && text[i] != 'm')
                i++;
        } else {
            width++;
        }
    }
    return width;
}

/* A job in the background does not draw over what is in the foreground. */
static bool in_background(int fd)
{
    pid_t foreground = tcgetpgrp(fd);

    return foreground > 0 && foreground != getpgrp();
}

static void append_display(struct progress *p, size_t width, size_t height)
{
    const char *at;

    buf_clear(&p->lines);
    /* The last column stays free: some terminals wrap when it is filled. */
    progress_render_tty(&p->rates, &p->last, width > 1 ? width - 1 : 1, p->colour, &p->lines);
    p->drawn = 0;
    for (at = p->lines.data; at && *at && p->drawn < LINES_MAX && p->drawn + 1 < height;) {
        size_t len = strcspn(at, "\n");

        buf_put(&p->frame, at, len);
        buf_puts(&p->frame, "\033[K\n");
        p->widths[p->drawn++] = visible_width(at, len);
        at += len + 1;
    }
    buf_puts(&p->frame, "\033[J");
}

static void draw(struct progress *p, const char *note)
{
    size_t width, height;

    if (in_background(p->fd) && !note)
        return;
    terminal_size(p->fd, &width, &height);
    buf_clear(&p->frame);
    go_to_start(p, width, height);
    if (note) {
        buf_puts(&p->frame, "\033[J");
        buf_puts(&p->frame, note);
        buf_putc(&p->frame, '\n');
    }
    if (p->have_last)
        append_display(p, width, height);
    write_out(p, &p->frame);
}

/* Every byte, however long that takes. */
static void write_all(int fd, struct slice bytes)
{
    while (bytes.len > 0) {
        ssize_t n = write(fd, bytes.data, bytes.len);

        if (n > 0) {
            bytes.data += n;
            bytes.len -= (size_t)n;
        } else if (n < 0 && errno == EAGAIN) {
            (void)has_room(fd, -1);
        } else if (n == 0 || errno != EINTR) {
            return; /* nobody reads it any more */
        }
    }
}

/* ---- calls ---- */

static void emit(struct progress *p, const struct progress_snapshot *s)
{
    p->last = *s;
    p->have_last = true;
    p->written = true;
    p->at = s->now;
    p->phase = s->phase;
    buf_clear(&p->frame);
    switch (p->mode) {
    case PROGRESS_TTY:
        draw(p, NULL);
        break;
    case PROGRESS_PLAIN:
        progress_render_plain(&p->rates, s, &p->frame);
        write_out(p, &p->frame);
        break;
    case PROGRESS_JSON:
        progress_render_json(&p->rates, s, &p->frame);
        write_out(p, &p->frame);
        break;
    case PROGRESS_AUTO:
    case PROGRESS_NONE:
        break;
    }
}

static bool is_due(const struct progress *p, const struct progress_snapshot *s)
{
    duration_ns interval = p->mode == PROGRESS_TTY     ? TTY_INTERVAL_NS
                           : p->mode == PROGRESS_PLAIN ? PLAIN_INTERVAL_NS
                                                       : JSON_INTERVAL_NS;

    return !p->written || s->phase != p->phase || instant_diff(s->now, p->at) >= interval;
}

void progress_update(struct progress *p, const struct progress_snapshot *s)
{
    if (p->mode == PROGRESS_NONE)
        return;
    /* Rates are fed at the display's pace whatever the mode: the same snapshots, the same rates. */
    if (!p->rates.primed || instant_diff(s->now, p->rates.at) >= TTY_INTERVAL_NS)
        progress_rates_update(&p->rates, s);
    if (is_due(p, s))
        emit(p, s);
}

void progress_note(struct progress *p, const char *text)
{
    if (p->mode == PROGRESS_NONE || p->mode == PROGRESS_JSON)
        return;
    if (p->mode == PROGRESS_TTY) {
        draw(p, text);
        return;
    }
    buf_clear(&p->frame);
    buf_puts(&p->frame, text);
    buf_putc(&p->frame, '\n');
    write_out(p, &p->frame);
}

void progress_aside(struct progress *p, struct slice bytes)
{
    size_t width, height;
    bool ended = bytes.len > 0 && bytes.data[bytes.len - 1] == '\n';

    if (p->mode != PROGRESS_TTY || !p->have_last) {
        write_all(p->fd, bytes);
        return;
    }
    terminal_size(p->fd, &width, &height);
    buf_clear(&p->frame);
    go_to_start(p, width, height);
    buf_puts(&p->frame, "\033[J");
    write_all(p->fd, buf_slice(&p->frame));
    write_all(p->fd, bytes);
    if (!ended)
        write_all(p->fd, SLICE("\n"));
    buf_clear(&p->frame);
    p->drawn = 0;
    append_display(p, width, height);
    write_out(p, &p->frame);
}

void progress_finish(struct progress *p, const struct progress_snapshot *s)
{
    if (p->mode == PROGRESS_NONE)
        return;
    progress_rates_update(&p->rates, s);
    emit(p, s);
    p->drawn = 0; /* it stays: what comes next goes below */
    p->have_last = false;
}

struct progress *progress_free(struct progress *p)
{
    if (!p)
        return NULL;
    buf_free(&p->frame);
    buf_free(&p->lines);
    return mem_free(p);
}
