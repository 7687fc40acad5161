/*
 * What is written to a worker and read from it (docs/worker-protocol.md): messages of JSON, each
 * behind its length in four bytes, the highest first.
 *
 *     size = wire_put_head(&out, &request);                    // then request.args as they are, then WIRE_TAIL
 *     room = wire_reader_room(&reader, &len); ... read there ... wire_reader_filled(&reader, n);
 *     while (wire_reader_next(&reader, &frame) == WIRE_FRAME)
 *         if (!wire_parse(frame, &response, &fault)) ... wire_put_fault(&text, &fault) ...
 *
 * What a worker sends is a response, or a heartbeat of a request that it has in hand.
 *
 * A request's args are never written anew and never looked at: a frame is its head, the args, and
 * one byte behind them, so that args of many MiB can go out from where they are. A response is
 * looked at once, where it was read: what is told of it are slices of the frame. Pure: bytes in,
 * bytes out. A reader has one owner.
 */
#ifndef EXEC_PROCESS_WIRE_H
#define EXEC_PROCESS_WIRE_H

#include "base/buf.h"
#include "base/slice.h"
#include "base/time.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Before each message: its length. */
#define WIRE_LENGTH_BYTES 4
/* What the length can say at most, and so the highest limit on a frame. */
#define WIRE_FRAME_BYTES_MAX UINT32_MAX
/* Behind the args of a request. */
#define WIRE_TAIL SLICE("}")

/* Commands that are weir's own. */
#define WIRE_PING     "ping"
#define WIRE_SHUTDOWN "shutdown"

/* ---- requests ---- */

struct wire_request {
    uint64_t id;
    struct slice command;  /* text */
    struct slice args;     /* JSON that json_check() has passed; empty: null */
    struct slice session;  /* text; empty: none */
    bool session_lost;     /* the worker that held the session's state is gone */
    const char *timestamp; /* as time_format_utc() writes it; NULL: none */
    const char *const
        *env; /* "NAME=value", a NULL at the end: becomes an object; NULL or empty: none */
};

/*
 * Appends what comes before the args: length, and the message up to its member "args", which is the
 * last one. What follows are wire_args(r) and WIRE_TAIL. Returns the frame's size in bytes without
 * those of the length: when that is over the limit, the frame must not be sent. Without memory
 * out->failed is set.
 */
uint64_t wire_put_head(struct buf *out, const struct wire_request *r);
struct slice wire_args(const struct wire_request *r);
/* The whole frame: for those that are short. Returns as wire_put_head() does. */
uint64_t wire_put_request(struct buf *out, const struct wire_request *r);

/* ---- frames that come in ---- */

/* What a reader asks room for at first; it grows with the frame that comes, as fast as that really comes. */
#define WIRE_READ_BYTES (UINT32_C(128) << 10)

struct wire_reader {
    char *data; /* NULL: has no memory at present */
    size_t cap; /* bytes there */
    size_t
        begin;  /* the first byte of the first frame that was not taken yet, its length included */
    size_t end; /* behind the last byte that was read */
    uint64_t frame_max_bytes;
};

enum wire_next {
    WIRE_MORE,  /* no whole frame is there: read more */
    WIRE_FRAME, /* one is */
    WIRE_TOO_LARGE, /* the next one claims to be over the limit: nothing more is to be had from this reader */
};

/* frame_max_bytes: 1 .. WIRE_FRAME_BYTES_MAX, without the length. */
void wire_reader_init(struct wire_reader *r, uint64_t frame_max_bytes);
void wire_reader_free(struct wire_reader *r);
/* Where the next bytes are to be put, and how many at most (at least 1). NULL: no memory. Frames that were given before
 * are gone then. Call it only after WIRE_MORE. */
char *wire_reader_room(struct wire_reader *r, size_t *ret_room);
void wire_reader_filled(struct wire_reader *r, size_t bytes);
/* The next frame, without its length; valid until wire_reader_room(). */
enum wire_next wire_reader_next(struct wire_reader *r, struct slice *ret_frame);
/* What was read of a frame that is not whole, or is refused, its length included. */
struct slice wire_reader_rest(const struct wire_reader *r);
/* The length that the frame in wire_reader_rest() claims; 0: not even that is there. */
uint64_t wire_reader_claim(const struct wire_reader *r);
/* Readers that have nothing in hand can share memory. Takes it from one that has nothing in hand (NULL: it has, or has no
 * memory), and gives it to one that has none. */
char *wire_reader_take(struct wire_reader *r, size_t *ret_cap);
void wire_reader_give(struct wire_reader *r, char *data, size_t cap);

/* ---- responses ---- */

/* With `heartbeat` it is none, and only the members that are said to be of one have a meaning. */
struct wire_response {
    uint64_t id;       /* of the request; of a heartbeat too */
    bool heartbeat;    /* the worker is alive, and works on the request */
    double progress;   /* of a heartbeat: 0 to 1; negative: not told, or not to be understood */
    struct slice text; /* of a heartbeat: a JSON string with its quotes; empty: none */
    struct slice
        told; /* of a heartbeat: the object as it came, for who is to say what is wrong with it */
    bool success;
    struct slice result; /* JSON, with success; empty: absent, which is null */
    /* without success: */
    struct slice error;         /* JSON, as it is; empty: absent */
    struct slice type, message; /* JSON strings, with their quotes; empty: not told */
    bool retryable;             /* false when not told */
    bool capacity;              /* false when not told */
    duration_ns
        retry_after_ns; /* -1: not told. From seconds, whole or not, of 0 or more; cut to WIRE_WAIT_NS_MAX */
};

#define WIRE_WAIT_NS_MAX (INT64_C(366) * 24 * 3600 * NS_PER_S)

enum wire_fault_kind {
    WIRE_SOUND,
    WIRE_FAULT_LENGTH, /* a frame over the limit */
    WIRE_FAULT_JSON,   /* what it holds is not JSON */
    WIRE_FAULT_OBJECT, /* it is JSON, but no object */
    WIRE_FAULT_ID,     /* no `id`, or it is no whole number from 1 on */
    WIRE_FAULT_HEARTBEAT, /* it is no object, or has no `id`, or one that is no whole number from 1 on */
    WIRE_FAULT_SUCCESS, /* neither `success` nor `error`, or `success` is neither true nor false */
    WIRE_FAULT_UNKNOWN_ID, /* no request of that id was sent, or it was answered before */
    WIRE_FAULT_CUT,        /* the output ended inside a frame */
};

struct wire_fault {
    enum wire_fault_kind kind;
    struct slice bytes; /* the first ones of what is wrong, as they came */
    uint64_t
        number; /* LENGTH, CUT: bytes that the frame claims (CUT: 0, not even the length was whole); UNKNOWN_ID: the id */
    uint64_t limit;   /* LENGTH: the limit; CUT: bytes that there were, without the length */
    size_t offset;    /* JSON: where it goes wrong, */
    const char *what; /* and how: constant text */
};

/* Appends a heartbeat's text as one line, cut to what such a text may have. */
void wire_put_heartbeat_text(struct buf *out, const struct wire_response *r);
/* False: *ret_fault says why. Either may be filled in partly. */
bool wire_parse(struct slice frame, struct wire_response *ret, struct wire_fault *ret_fault);
/* The fault of a reader that said WIRE_TOO_LARGE; and of one whose input has ended: false when no frame was cut short. */
void wire_reader_fault(const struct wire_reader *r, struct wire_fault *ret);
bool wire_reader_cut(const struct wire_reader *r, struct wire_fault *ret);

/* How many of the first bytes a message shows. */
#define WIRE_SHOWN_BYTES 64
/* Bytes of an error's text that are passed on; more are cut, between characters. */
#define WIRE_ERROR_BYTES_MAX 2000

/* Appends a sentence for a person, without a subject: what is wrong, the first bytes, and what to do about it. */
void wire_put_fault(struct buf *out, const struct wire_fault *f);
/* Appends the first bytes in quotes, all of them printable: "Loading model...\n". */
void wire_put_shown(struct buf *out, struct slice bytes);
/* Appends the error that a response without success tells, as text: "TYPE: message". */
void wire_put_error(struct buf *out, const struct wire_response *r);
/* How many requests at once a worker takes, as the result of its answer to a ping says: {"max_in_flight": 16}; 0: it does
 * not say, or it makes no sense. */
uint32_t wire_max_in_flight(const struct wire_response *r);

#endif
