/* HTTP statuses and libcurl's codes as outcomes: two tables (classify.h). Pure, any thread. */
#include "exec/http/classify.h"

#include <stddef.h>

struct http_verdict http_classify_status(int status, const struct http_status_set *capacity)
{
    if (status >= 200 && status <= 299)
        return (struct http_verdict){WEIR_OUTCOME_OK, WEIR_REASON_NONE, false};
    if (status == 429 || status == 503 || status == 529 ||
        (capacity && http_status_set_has(capacity, status)))
        return (struct http_verdict){WEIR_OUTCOME_CAPACITY, WEIR_REASON_HTTP_STATUS, true};
    if (status == 408 || (status >= 500 && status <= 599))
        return (struct http_verdict){WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, true};
    return (struct http_verdict){WEIR_OUTCOME_FAILED, WEIR_REASON_HTTP_STATUS, false};
}

static struct http_verdict retryable(enum weir_reason reason)
{
    return (struct http_verdict){WEIR_OUTCOME_FAILED, reason, true};
}

static struct http_verdict permanent(enum weir_reason reason)
{
    return (struct http_verdict){WEIR_OUTCOME_FAILED, reason, false};
}

/* What trying again cannot mend: certificates, keys, and how TLS was asked for. */
static bool is_tls_setup(CURLcode code)
{
    switch (code) {
    case CURLE_PEER_FAILED_VERIFICATION:
    case CURLE_SSL_CERTPROBLEM:
    case CURLE_SSL_CACERT_BADFILE:
    case CURLE_SSL_CIPHER:
    case CURLE_SSL_ISSUER_ERROR:
    case CURLE_SSL_CRL_BADFILE:
    case CURLE_SSL_ENGINE_NOTFOUND:
    case CURLE_SSL_ENGINE_SETFAILED:
    case CURLE_SSL_ENGINE_INITFAILED:
    case CURLE_SSL_PINNEDPUBKEYNOTMATCH:
    case CURLE_SSL_INVALIDCERTSTATUS:
    case CURLE_SSL_CLIENTCERT:
    case CURLE_USE_SSL_FAILED:
        return true;
    default:
        return false;
    }
}

struct http_verdict http_classify_transfer(CURLcode code)
{
    if (is_tls_setup(code))
        return permanent(WEIR_REASON_TLS_FAILED);
    switch (code) {
    case CURLE_COULDNT_RESOLVE_HOST:
    case CURLE_COULDNT_RESOLVE_PROXY:
        return retryable(WEIR_REASON_RESOLVE_FAILED);
    case CURLE_COULDNT_CONNECT:
    case CURLE_OPERATION_TIMEDOUT: /* the connect timeout is the only one that curl is given */
    case CURLE_NO_CONNECTION_AVAILABLE:
    case CURLE_PROXY:
        return retryable(WEIR_REASON_CONNECT_FAILED);
    case CURLE_GOT_NOTHING:
    case CURLE_PARTIAL_FILE:
    case CURLE_SEND_ERROR:
    case CURLE_RECV_ERROR:
    case CURLE_HTTP2_STREAM:
    case CURLE_SEND_FAIL_REWIND:
    case CURLE_UNRECOVERABLE_POLL:
        return retryable(WEIR_REASON_CONNECTION_LOST);
    case CURLE_SSL_CONNECT_ERROR:
    case CURLE_SSL_SHUTDOWN_FAILED:
        return retryable(WEIR_REASON_TLS_FAILED);
    case CURLE_UNSUPPORTED_PROTOCOL: /* so curl calls an answer that is no HTTP/1 (HTTP/0.9) */
    case CURLE_WEIRD_SERVER_REPLY:
    case CURLE_HTTP2:
    case CURLE_BAD_CONTENT_ENCODING:
    case CURLE_CHUNK_FAILED:
        return retryable(WEIR_REASON_PROTOCOL);
    case CURLE_FILESIZE_EXCEEDED:
        return permanent(WEIR_REASON_RESPONSE_TOO_LARGE);
    case CURLE_URL_MALFORMAT:
        return permanent(WEIR_REASON_BAD_ROW);
    case CURLE_OUT_OF_MEMORY:
        return retryable(WEIR_REASON_INTERNAL);
    case CURLE_FAILED_INIT:
    case CURLE_NOT_BUILT_IN:
    case CURLE_UNKNOWN_OPTION:
    case CURLE_BAD_FUNCTION_ARGUMENT:
    case CURLE_ABORTED_BY_CALLBACK:
    case CURLE_WRITE_ERROR:
    case CURLE_READ_ERROR:
        return permanent(WEIR_REASON_INTERNAL);
    default:
        return retryable(WEIR_REASON_PROTOCOL);
    }
}

/* IANA's registry of status codes, as of 2024, and 529, which some services use for "overloaded".
 */
static const struct {
    int status;
    const char *text;
} status_texts[] = {
    {100, "Continue"},
    {101, "Switching Protocols"},
    {200, "OK"},
    {201, "Created"},
    {202, "Accepted"},
    {203, "Non-Authoritative Information"},
    {204, "No Content"},
    {205, "Reset Content"},
    {206, "Partial Content"},
    {300, "Multiple Choices"},
    {301, "Moved Permanently"},
    {302, "Found"},
    {303, "See Other"},
    {304, "Not Modified"},
    {305, "Use Proxy"},
    {307, "Temporary Redirect"},
    {308, "Permanent Redirect"},
    {400, "Bad Request"},
    {401, "Unauthorized"},
    {402, "Payment Required"},
    {403, "Forbidden"},
    {404, "Not Found"},
    {405, "Method Not Allowed"},
    {406, "Not Acceptable"},
    {407, "Proxy Authentication Required"},
    {408, "Request Timeout"},
    {409, "Conflict"},
    {410, "Gone"},
    {411, "Length Required"},
    {412, "Precondition Failed"},
    {413, "Content Too Large"},
    {414, "URI Too Long"},
    {415, "Unsupported Media Type"},
    {416, "Range Not Satisfiable"},
    {417, "Expectation Failed"},
    {421, "Misdirected Request"},
    {422, "Unprocessable Content"},
    {423, "Locked"},
    {424, "Failed Dependency"},
    {425, "Too Early"},
    {426, "Upgrade Required"},
    {428, "Precondition Required"},
    {429, "Too Many Requests"},
    {431, "Request Header Fields Too Large"},
    {451, "Unavailable For Legal Reasons"},
    {500, "Internal Server Error"},
    {501, "Not Implemented"},
    {502, "Bad Gateway"},
    {503, "Service Unavailable"},
    {504, "Gateway Timeout"},
    {505, "HTTP Version Not Supported"},
    {507, "Insufficient Storage"},
    {508, "Loop Detected"},
    {511, "Network Authentication Required"},
    {529, "Overloaded"},
};

const char *http_status_text(int status)
{
    for (size_t i = 0; i < sizeof(status_texts) / sizeof(status_texts[0]); i++) {
        if (status_texts[i].status == status)
            return status_texts[i].text;
    }
    return "";
}
