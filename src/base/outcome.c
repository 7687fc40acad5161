/*
 * How outcomes and reasons are spelled in the journal, the output, the events and the statistics.
 * The spellings are stable: files that were written stay readable. No state.
 */
#include "weir/outcome.h"

#include <stddef.h>

const char *weir_outcome_name(enum weir_outcome outcome)
{
    switch (outcome) {
    case WEIR_OUTCOME_OK:
        return "ok";
    case WEIR_OUTCOME_CAPACITY:
        return "capacity";
    case WEIR_OUTCOME_FAILED:
        return "failed";
    case WEIR_OUTCOME_TIMEOUT:
        return "timeout";
    case WEIR_OUTCOME_LOST:
        return "lost";
    case WEIR_OUTCOME_CANCELLED:
        return "cancelled";
    }
    return "unknown";
}

static const char *const reason_names[] = {
    [WEIR_REASON_NONE] = "none",
    [WEIR_REASON_HTTP_STATUS] = "http_status",
    [WEIR_REASON_RESOLVE_FAILED] = "resolve_failed",
    [WEIR_REASON_CONNECT_FAILED] = "connect_failed",
    [WEIR_REASON_CONNECTION_LOST] = "connection_lost",
    [WEIR_REASON_TLS_FAILED] = "tls_failed",
    [WEIR_REASON_PROTOCOL] = "protocol",
    [WEIR_REASON_RESPONSE_TOO_LARGE] = "response_too_large",
    [WEIR_REASON_TIMEOUT] = "timeout",
    [WEIR_REASON_DEADLINE] = "deadline",
    [WEIR_REASON_RETRY_TIMEOUT] = "retry_timeout",
    [WEIR_REASON_RETRY_AFTER_TOO_LONG] = "retry_after_too_long",
    [WEIR_REASON_OVER_BUDGET] = "over_budget",
    [WEIR_REASON_SHUTDOWN_REQUESTED] = "shutdown_requested",
    [WEIR_REASON_CALLBACK] = "callback",
    [WEIR_REASON_NO_OUTCOME] = "no_outcome",
    [WEIR_REASON_CALLBACK_LOST] = "callback_lost",
    [WEIR_REASON_EXIT_STATUS] = "exit_status",
    [WEIR_REASON_SIGNALLED] = "signalled",
    [WEIR_REASON_START_FAILED] = "start_failed",
    [WEIR_REASON_BAD_ROW] = "bad_row",
    [WEIR_REASON_SELECT_FAILED] = "select_failed",
    [WEIR_REASON_CIRCUIT_OPEN] = "circuit_open",
    [WEIR_REASON_CHECKOUT_TIMEOUT] = "checkout_timeout",
    [WEIR_REASON_WORKER_ERROR] = "worker_error",
    [WEIR_REASON_WORKER_LOST] = "worker_lost",
    [WEIR_REASON_WORKER_PROTOCOL] = "worker_protocol",
    [WEIR_REASON_CANCELLED] = "cancelled",
    [WEIR_REASON_KILLED] = "killed",
    [WEIR_REASON_NO_HEARTBEAT] = "no_heartbeat",
    [WEIR_REASON_DISPATCHER_LOST] = "dispatcher_lost",
    [WEIR_REASON_QUARANTINED] = "quarantined",
    [WEIR_REASON_DEPENDENCY] = "dependency",
    [WEIR_REASON_INTERNAL] = "internal",
};

_Static_assert(sizeof(reason_names) / sizeof(reason_names[0]) == WEIR_REASON_COUNT,
               "each reason has a name");

const char *weir_reason_name(enum weir_reason reason)
{
    if ((unsigned)reason >= WEIR_REASON_COUNT || !reason_names[reason])
        return "unknown";
    return reason_names[reason];
}
