/*
 * Filling in a struct weir_error. A message is made aside and copied in whole, so that it may be
 * built from the one that the struct holds already. No state; thread-safe.
 */
#include "base/error.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

/* Copies text in, and cuts it between characters: half a UTF-8 sequence would spoil the JSON that
 * the message may end up in. */
static void message_store(struct weir_error *err, const char *text)
{
    size_t len = strlen(text);

    if (len >= WEIR_ERROR_MESSAGE_BYTES - 1) {
        size_t cut = WEIR_ERROR_MESSAGE_BYTES - 1;

        /* vsnprintf has cut at the same place, so only the end can be a broken character. */
        len = cut;
        while (cut > 0 && ((unsigned char)text[cut - 1] & 0xC0) == 0x80)
            cut--;
        if (cut > 0 && (unsigned char)text[cut - 1] >= 0xC0) {
            unsigned char lead = (unsigned char)text[cut - 1];
            size_t need = lead >= 0xF0 ? 4 : lead >= 0xE0 ? 3 : 2;

            if (len - (cut - 1) < need)
                len = cut - 1;
        }
    }
    memcpy(err->message, text, len);
    err->message[len] = '\0';
}

/* Writes ": " and more behind the n bytes in text, as far as there is room. */
static void append(char text[WEIR_ERROR_MESSAGE_BYTES], size_t n, const char *more)
{
    size_t room = WEIR_ERROR_MESSAGE_BYTES - 1 - n;
    size_t len = strlen(more);

    if (room < 2)
        return;
    memcpy(text + n, ": ", 2);
    if (len > room - 2)
        len = room - 2;
    memcpy(text + n + 2, more, len);
    text[n + 2 + len] = '\0';
}

enum weir_status error_set(struct weir_error *err, enum weir_status status, const char *format, ...)
{
    char text[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;
    int n;

    if (!err)
        return status;
    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    err->status = status;
    message_store(err, n < 0 ? weir_status_name(status) : text);
    return status;
}

enum weir_status error_set_errno(struct weir_error *err, enum weir_status status, int errnum,
                                 const char *format, ...)
{
    char text[WEIR_ERROR_MESSAGE_BYTES];
    char reason[128];
    va_list args;
    int n;

    if (!err)
        return status;
    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(text))
        append(text, (size_t)n, strerror_r(errnum, reason, sizeof(reason)));
    err->status = status;
    message_store(err, n < 0 ? weir_status_name(status) : text);
    return status;
}

enum weir_status error_nomem(struct weir_error *err)
{
    return error_set(err, WEIR_E_NOMEM, "out of memory");
}

enum weir_status error_prefix(struct weir_error *err, const char *format, ...)
{
    char text[WEIR_ERROR_MESSAGE_BYTES];
    va_list args;
    int n;

    /* Whoever passes no error has lost the status too; it must not read as success. */
    if (!err)
        return WEIR_E_INTERNAL;
    va_start(args, format);
    n = vsnprintf(text, sizeof(text), format, args);
    va_end(args);
    if (n >= 0 && (size_t)n < sizeof(text)) {
        append(text, (size_t)n, err->message);
        message_store(err, text);
    }
    return err->status;
}

const char *weir_status_name(enum weir_status status)
{
    switch (status) {
    case WEIR_OK:
        return "ok";
    case WEIR_E_INVALID:
        return "invalid";
    case WEIR_E_NOMEM:
        return "nomem";
    case WEIR_E_IO:
        return "io";
    case WEIR_E_FORMAT:
        return "format";
    case WEIR_E_LIMIT:
        return "limit";
    case WEIR_E_BUSY:
        return "busy";
    case WEIR_E_SHUTDOWN:
        return "shutdown";
    case WEIR_E_CONFLICT:
        return "conflict";
    case WEIR_E_AGAIN:
        return "again";
    case WEIR_E_END:
        return "end";
    case WEIR_E_INTERNAL:
        return "internal";
    }
    return "unknown";
}
