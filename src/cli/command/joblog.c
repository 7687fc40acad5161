/* See joblog.h. */
#include "cli/command/joblog.h"

#include "base/error.h"
#include "base/mem.h"
#include "base/time.h"

#include <inttypes.h>
#include <string.h>

#define HEAD    "Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"
#define COLUMNS 9

enum { SEQ, HOST, STARTTIME, JOBRUNTIME, SEND, RECEIVE, EXITVAL, SIGNAL, COMMAND };

void joblog_put_head(struct buf *out)
{
    buf_puts(out, HEAD);
}

void joblog_put(struct buf *out, const struct joblog_entry *e)
{
    buf_printf(out, "%" PRIu64 "\t:\t%" PRId64 ".%03d\t%10.3f\t%" PRIu64 "\t%" PRIu64 "\t%d\t%d\t",
               e->seq, e->start_ns / NS_PER_S, (int)(e->start_ns % NS_PER_S / NS_PER_MS),
               duration_seconds(e->run_ns), e->sent_bytes, e->received_bytes, e->exit_code,
               e->signal);
    for (size_t i = 0; i < e->command.len; i++) {
        char c = e->command.data[i];

        buf_putc(out, c == '\n' || c == '\t' ? ' ' : c);
    }
    buf_putc(out, '\n');
}

bool joblog_is_one(struct slice text)
{
    return text.len == 0 ||
           (text.len >= sizeof(HEAD) - 1 && memcmp(text.data, HEAD, sizeof(HEAD) - 1) == 0);
}

/* ---- reading ---- */

/* A whole number, with a sign perhaps. False: it is none. */
static bool read_number(struct slice text, int64_t *ret)
{
    size_t at = text.len > 0 && text.data[0] == '-' ? 1 : 0;
    int64_t n = 0;

    if (at == text.len || text.len > 18)
        return false;
    for (size_t i = at; i < text.len; i++) {
        if (text.data[i] < '0' || text.data[i] > '9')
            return false;
        n = n * 10 + (text.data[i] - '0');
    }
    *ret = at ? -n : n;
    return true;
}

/* A line's columns; the last one holds all that is left. False: there are fewer. */
static bool split(struct slice line, struct slice columns[COLUMNS])
{
    for (int i = 0; i < COLUMNS - 1; i++) {
        const char *tab = line.len > 0 ? memchr(line.data, '\t', line.len) : NULL;

        if (!tab)
            return false;
        columns[i] = (struct slice){line.data, (size_t)(tab - line.data)};
        line.data += columns[i].len + 1;
        line.len -= columns[i].len + 1;
    }
    columns[COLUMNS - 1] = line;
    return true;
}

static bool grow(struct joblog_done *done, uint64_t bytes)
{
    uint8_t *bits;

    if (bytes <= done->bytes)
        return true;
    if (bytes < 2 * done->bytes)
        bytes = 2 * done->bytes;
    bits = mem_realloc(done->bits, bytes);
    if (!bits)
        return false;
    memset(bits + done->bytes, 0, bytes - done->bytes);
    done->bits = bits;
    done->bytes = bytes;
    return true;
}

static bool set(struct joblog_done *done, uint64_t seq, bool on)
{
    uint8_t bit = (uint8_t)(1U << (seq & 7));
    bool was;

    if (!grow(done, seq / 8 + 1))
        return false;
    was = (done->bits[seq / 8] & bit) != 0;
    if (on)
        done->bits[seq / 8] |= bit;
    else
        done->bits[seq / 8] &= (uint8_t)~bit;
    done->rows += (uint64_t)on - (uint64_t)was;
    return true;
}

static enum weir_status broken(uint64_t line, const char *what, struct weir_error *err)
{
    return error_set(err, WEIR_E_FORMAT,
                     "line %" PRIu64 " %s; give the job log of the run to go on with, or another "
                     "name",
                     line, what);
}

static enum weir_status read_line(struct joblog_done *done, struct slice line, uint64_t number,
                                  bool ok_only, struct weir_error *err)
{
    struct slice columns[COLUMNS];
    int64_t seq, exit_code, number_of_signal;

    if (!split(line, columns))
        return broken(number, "has fewer than nine columns with tabs between", err);
    if (!read_number(columns[SEQ], &seq) || seq < 1 || (uint64_t)seq > JOBLOG_SEQ_MAX)
        return broken(number, "has no row's number for its Seq", err);
    if (!read_number(columns[EXITVAL], &exit_code) ||
        !read_number(columns[SIGNAL], &number_of_signal))
        return broken(number, "has no number for its Exitval or Signal", err);
    if (!set(done, (uint64_t)seq, !ok_only || (exit_code == 0 && number_of_signal == 0)))
        return error_nomem(err);
    return WEIR_OK;
}

enum weir_status joblog_done_read(struct joblog_done *ret, struct slice text, bool ok_only,
                                  uint64_t *ret_bytes, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;
    uint64_t number = 0;
    size_t at = 0;

    if (!joblog_is_one(text))
        return error_set(err, WEIR_E_FORMAT,
                         "is no job log (its first line does not name the columns); give another "
                         "name");
    while (status == WEIR_OK && at < text.len) {
        const char *end = memchr(text.data + at, '\n', text.len - at);
        size_t len;

        if (!end)
            break;
        len = (size_t)(end - text.data) - at;
        if (number++ > 0)
            status = read_line(ret, (struct slice){text.data + at, len}, number, ok_only, err);
        at += len + 1;
    }
    if (status == WEIR_OK)
        *ret_bytes = at;
    return status;
}

bool joblog_done_has(const struct joblog_done *done, uint64_t seq)
{
    return seq / 8 < done->bytes && (done->bits[seq / 8] & 1U << (seq & 7)) != 0;
}

void joblog_done_free(struct joblog_done *done)
{
    done->bits = mem_free(done->bits);
    done->bytes = done->rows = 0;
}
