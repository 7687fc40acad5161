/*
 * How an attempt or a row ended, and why. These words are the ones of the journal, the output, the
 * events and the statistics; weir_outcome_name() and weir_reason_name() give their spelling there.
 */
#ifndef WEIR_OUTCOME_H
#define WEIR_OUTCOME_H

#include <weir/status.h>

#ifdef __cplusplus
extern "C" {
#endif

enum weir_outcome {
    WEIR_OUTCOME_OK = 0,
    WEIR_OUTCOME_CAPACITY,  /* the service was full: never counts as a failure of the row (P4) */
    WEIR_OUTCOME_FAILED,    /* retryable or permanent */
    WEIR_OUTCOME_TIMEOUT,   /* no answer in time, or the deadline passed */
    WEIR_OUTCOME_LOST,      /* whoever did the work went away without an answer */
    WEIR_OUTCOME_CANCELLED, /* shutdown, or the caller said so */
};

/* Why. The stored spelling (weir_reason_name) is stable; numbers are not. */
enum weir_reason {
    WEIR_REASON_NONE = 0,
    WEIR_REASON_HTTP_STATUS,    /* the service answered with a status that is not success */
    WEIR_REASON_RESOLVE_FAILED, /* the host name has no address */
    WEIR_REASON_CONNECT_FAILED, /* refused, unreachable, or no connection within the connect timeout
                                 */
    WEIR_REASON_CONNECTION_LOST,      /* reset or closed before the whole answer was there */
    WEIR_REASON_TLS_FAILED,           /* handshake or certificate */
    WEIR_REASON_PROTOCOL,             /* the answer is not HTTP, or is broken in its framing */
    WEIR_REASON_RESPONSE_TOO_LARGE,   /* over the response size limit */
    WEIR_REASON_TIMEOUT,              /* no answer within the attempt's timeout */
    WEIR_REASON_DEADLINE,             /* the row's or the batch's deadline passed */
    WEIR_REASON_RETRY_TIMEOUT,        /* capacity only, for longer than max_capacity_retry */
    WEIR_REASON_RETRY_AFTER_TOO_LONG, /* the service asked for a wait above the ceiling */
    WEIR_REASON_OVER_BUDGET,          /* the row alone is larger than a whole budget */
    WEIR_REASON_SHUTDOWN_REQUESTED,   /* the engine or pool was shut down */
    WEIR_REASON_CALLBACK,             /* the callback said that the row failed */
    WEIR_REASON_NO_OUTCOME,           /* the executor ended an attempt without saying how */
    WEIR_REASON_CALLBACK_LOST,        /* the callback's thread ended under it */
    WEIR_REASON_EXIT_STATUS,          /* the command ended with an exit status that is not 0 */
    WEIR_REASON_SIGNALLED,            /* a signal ended the command */
    WEIR_REASON_START_FAILED,         /* the program could not be run */
    WEIR_REASON_BAD_ROW,              /* the row could not be read or built (--skip-bad) */
    WEIR_REASON_SELECT_FAILED,        /* --select could not pick an output from the answer */
    WEIR_REASON_CIRCUIT_OPEN,         /* the pool's breaker is open, and the pool fails rows then */
    WEIR_REASON_CHECKOUT_TIMEOUT,     /* the worker it needs was held by others for too long */
    WEIR_REASON_WORKER_ERROR,         /* the worker said that the request failed */
    WEIR_REASON_WORKER_LOST,          /* the worker's process ended before it had answered */
    WEIR_REASON_WORKER_PROTOCOL,      /* the worker wrote what is not the protocol */
    WEIR_REASON_CANCELLED,            /* somebody cancelled the task */
    WEIR_REASON_KILLED,               /* somebody ended the attempt */
    WEIR_REASON_NO_HEARTBEAT,         /* its signs of life have stopped */
    WEIR_REASON_DISPATCHER_LOST,      /* the dispatcher ended while it ran */
    WEIR_REASON_QUARANTINED,          /* too many workers died of the task */
    WEIR_REASON_DEPENDENCY,           /* a task that it depends on has failed */
    WEIR_REASON_INTERNAL,             /* memory ran out, or a defect; the message says which */
    WEIR_REASON_COUNT
};

/* "ok", "capacity", "failed", "timeout", "lost", "cancelled"; "unknown" for any other value. */
WEIR_API const char *weir_outcome_name(enum weir_outcome outcome);

/* "none", "http_status", "retry_timeout", ...; "unknown" for any other value. */
WEIR_API const char *weir_reason_name(enum weir_reason reason);

#ifdef __cplusplus
}
#endif

#endif
