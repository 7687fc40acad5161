/*
 * How every call of weir says what happened.
 *
 * A function that can fail returns an enum weir_status (0 is success) and takes, as its last
 * parameter, a struct weir_error that it fills with a sentence for a person: what is wrong, where,
 * and what to do. The error may be NULL. Outputs (ret_...) are left untouched when the call fails.
 */
#ifndef WEIR_STATUS_H
#define WEIR_STATUS_H

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define WEIR_API        __attribute__((visibility("default")))
#define WEIR_MUST_CHECK __attribute__((warn_unused_result))
#else
#define WEIR_API
#define WEIR_MUST_CHECK
#endif

enum weir_status {
    WEIR_OK = 0,
    WEIR_E_INVALID,  /* an argument or option is missing or out of its range */
    WEIR_E_NOMEM,    /* memory could not be had; nothing was changed */
    WEIR_E_IO,       /* a read, write or sync failed; the message holds the system's reason */
    WEIR_E_FORMAT,   /* bytes from outside are not what they should be */
    WEIR_E_LIMIT,    /* a named limit was reached; the message names it */
    WEIR_E_BUSY,     /* somebody else holds it */
    WEIR_E_SHUTDOWN, /* the engine or pool is shut down */
    WEIR_E_CONFLICT, /* it belongs to something else: other input, options or version */
    WEIR_E_AGAIN,    /* not now: there is no room, or nothing to take, yet */
    WEIR_E_END,      /* there is nothing more */
    WEIR_E_INTERNAL, /* a defect in weir */
};

/* Bytes of a message, its terminating NUL included; longer ones are cut. */
#define WEIR_ERROR_MESSAGE_BYTES 512

struct weir_error {
    enum weir_status status;
    char message[WEIR_ERROR_MESSAGE_BYTES];
};

/* A short constant name ("invalid", "io", ...); never NULL, for any value. */
WEIR_API const char *weir_status_name(enum weir_status status);

#ifdef __cplusplus
}
#endif

#endif
