/* Checks the http executor's options and puts them on a curl handle (options.h). */
#include "exec/http/options.h"

#include "base/buf.h"
#include "base/error.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#ifndef WEIR_VERSION
#define WEIR_VERSION "unknown"
#endif

static bool is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

/* RFC 9110's token, of which a header's name is made. */
static bool is_token_char(char c)
{
    return is_letter(c) || (c >= '0' && c <= '9') || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

bool http_header_name_is_token(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (!is_token_char(text[i]))
            return false;
    return len > 0;
}

bool http_header_value_is_clean(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];

        if ((c < 0x20 && c != '\t') || c == 0x7f)
            return false;
    }
    return true;
}

enum weir_status http_method_check(const char *method, struct weir_error *err)
{
    size_t len = method ? strlen(method) : 0;

    if (len == 0 || len >= HTTP_METHOD_BYTES)
        return error_set(err, WEIR_E_INVALID, "a method has 1 to %d letters, such as POST",
                         HTTP_METHOD_BYTES - 1);
    for (size_t i = 0; i < len; i++) {
        if (!is_letter(method[i]))
            return error_set(err, WEIR_E_INVALID,
                             "a method consists of letters only, such as POST");
    }
    if (strcmp(method, "CONNECT") == 0)
        return error_set(err, WEIR_E_INVALID, "the method CONNECT is not for requests of rows");
    return WEIR_OK;
}

/* `index` as a person counts. The text is not repeated: what lacks a colon may be a secret. */
static enum weir_status header_check(const char *text, size_t index, struct weir_error *err)
{
    const char *colon = text ? strchr(text, ':') : NULL;
    size_t name_len;

    if (!colon)
        return error_set(err, WEIR_E_INVALID,
                         "header %zu has no colon; write it as \"Name: value\"", index);
    name_len = (size_t)(colon - text);
    if (name_len == 0)
        return error_set(err, WEIR_E_INVALID, "header %zu has no name before its colon", index);
    if (!http_header_name_is_token(text, name_len))
        return error_set(err, WEIR_E_INVALID,
                         "header %zu has a byte before its colon that no header name may have",
                         index);
    if (!http_header_value_is_clean(colon + 1, strlen(colon + 1)))
        return error_set(err, WEIR_E_INVALID,
                         "the value of header %zu (%.*s) has a line break or another control byte;"
                         " if it comes from a file, remove the newline at its end",
                         index, (int)name_len, text);
    if ((name_len == 14 && strncasecmp(text, "Content-Length", 14) == 0) ||
        (name_len == 17 && strncasecmp(text, "Transfer-Encoding", 17) == 0))
        return error_set(err, WEIR_E_INVALID,
                         "header %zu (%.*s) follows from the body; leave it out", index,
                         (int)name_len, text);
    return WEIR_OK;
}

/* NULL when text is no URL; the caller frees with curl_url_cleanup. */
static CURLU *parse_url(const char *text, unsigned flags, bool *ret_nomem)
{
    CURLU *url = curl_url();
    CURLUcode code;

    *ret_nomem = !url;
    if (!url)
        return NULL;
    code = curl_url_set(url, CURLUPART_URL, text, flags);
    if (code == CURLUE_OK)
        return url;
    *ret_nomem = code == CURLUE_OUT_OF_MEMORY;
    curl_url_cleanup(url);
    return NULL;
}

static bool has_part(CURLU *url, CURLUPart part)
{
    char *text = NULL;
    bool has = curl_url_get(url, part, &text, 0) == CURLUE_OK && text && text[0];

    curl_free(text);
    return has;
}

static bool scheme_is_one_of(CURLU *url, const char *const *schemes)
{
    char *scheme = NULL;
    bool found = false;

    if (curl_url_get(url, CURLUPART_SCHEME, &scheme, 0) != CURLUE_OK)
        return false;
    for (; *schemes && !found; schemes++)
        found = strcasecmp(scheme, *schemes) == 0;
    curl_free(scheme);
    return found;
}

enum weir_status http_url_check(const char *text, struct weir_error *err)
{
    static const char *const schemes[] = {"http", "https", NULL};
    enum weir_status status = WEIR_OK;
    bool nomem;
    CURLU *url;

    if (!text || !strstr(text, "://"))
        return error_set(
            err, WEIR_E_INVALID,
            "the URL has no scheme; write it as http://host/path or https://host/path");
    url = parse_url(text, CURLU_NON_SUPPORT_SCHEME, &nomem);
    if (!url && nomem)
        return error_nomem(err);
    if (!url)
        return error_set(err, WEIR_E_INVALID,
                         "the URL is malformed; write it as http://host/path or https://host/path,"
                         " with spaces as %%20");
    if (!scheme_is_one_of(url, schemes))
        status = error_set(err, WEIR_E_INVALID, "the URL's scheme is not http or https");
    else if (!has_part(url, CURLUPART_HOST))
        status = error_set(err, WEIR_E_INVALID, "the URL names no host");
    else if (has_part(url, CURLUPART_USER) || has_part(url, CURLUPART_PASSWORD))
        status =
            error_set(err, WEIR_E_INVALID,
                      "the URL holds a user name or password, which would be seen where the URL"
                      " is; send an Authorization header instead");
    curl_url_cleanup(url);
    return status;
}

static enum weir_status proxy_check(const char *text, struct weir_error *err)
{
    static const char *const schemes[] = {"http",   "https",   "socks4", "socks4a",
                                          "socks5", "socks5h", NULL};
    bool nomem;
    CURLU *url;
    bool known;

    if (!text || !text[0])
        return WEIR_OK;
    url = parse_url(text, CURLU_NON_SUPPORT_SCHEME | CURLU_GUESS_SCHEME, &nomem);
    if (!url && nomem)
        return error_nomem(err);
    known = url && scheme_is_one_of(url, schemes);
    curl_url_cleanup(url);
    if (!known)
        return error_set(err, WEIR_E_INVALID,
                         "the proxy is no URL with scheme http, https, socks4, socks4a, socks5 or"
                         " socks5h, such as http://host:3128");
    return WEIR_OK;
}

static enum weir_status file_check(const char *path, const char *what, struct weir_error *err)
{
    if (path && access(path, R_OK) != 0)
        return error_set_errno(err, WEIR_E_INVALID, errno, "cannot read the %s %s", what, path);
    return WEIR_OK;
}

static enum weir_status files_check(const struct http_options *o, struct weir_error *err)
{
    enum weir_status status = file_check(o->cacert, "CA certificates", err);

    if (status == WEIR_OK)
        status = file_check(o->client_cert, "client certificate", err);
    if (status == WEIR_OK)
        status = file_check(o->client_key, "client key", err);
    if (status == WEIR_OK && o->client_key && !o->client_cert)
        status = error_set(err, WEIR_E_INVALID,
                           "a client key is of no use without its client certificate");
    if (status == WEIR_OK && o->unix_socket && strlen(o->unix_socket) >= 108)
        status = error_set(err, WEIR_E_INVALID,
                           "the path of the unix socket is longer than the 107 bytes that the"
                           " system allows");
    return status;
}

enum weir_status http_options_check(const struct http_options *o, struct weir_error *err)
{
    enum weir_status status = WEIR_OK;

    if (o->method)
        status = http_method_check(o->method, err);
    for (size_t i = 0; status == WEIR_OK && i < o->headers_count; i++)
        status = header_check(o->headers[i], i + 1, err);
    if (status == WEIR_OK && o->user_agent &&
        !http_header_value_is_clean(o->user_agent, strlen(o->user_agent)))
        status = error_set(err, WEIR_E_INVALID, "the user agent has a control byte");
    for (size_t i = 0; status == WEIR_OK && i < o->capacity_statuses_count; i++) {
        if (o->capacity_statuses[i] < 300 || o->capacity_statuses[i] > 599)
            status = error_set(err, WEIR_E_INVALID,
                               "status %d cannot mean \"full\"; it must be in 300..599",
                               o->capacity_statuses[i]);
    }
    if (status == WEIR_OK && o->connect_timeout_ns < 0)
        status = error_set(err, WEIR_E_INVALID, "the connect timeout is negative");
    if (status == WEIR_OK &&
        (o->http_version < HTTP_VERSION_AUTO || o->http_version > HTTP_VERSION_2_PRIOR_KNOWLEDGE))
        status = error_set(err, WEIR_E_INVALID, "the HTTP version is none of enum http_version");
    if (status == WEIR_OK)
        status = proxy_check(o->proxy, err);
    if (status == WEIR_OK)
        status = files_check(o, err);
    return status;
}

bool http_options_name_header(const struct http_options *o, const char *name)
{
    size_t len = strlen(name);

    for (size_t i = 0; i < o->headers_count; i++) {
        if (strncasecmp(o->headers[i], name, len) == 0 && o->headers[i][len] == ':')
            return true;
    }
    return false;
}

/* curl looks these up for each request (libcurl-env(3)); HTTP_PROXY in capitals it does not know. */
static bool environment_names_proxy(void)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "HTTPS_PROXY", "all_proxy",
                                        "ALL_PROXY"};

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        const char *value = getenv(names[i]);

        if (value && value[0])
            return true;
    }
    return false;
}

/* Whether a request may go through a proxy; which one is curl's to find out. */
static bool may_use_proxy(const struct http_options *o)
{
    return o->proxy ? o->proxy[0] != '\0' : environment_names_proxy();
}

/* gzip is what every service that packs its answers knows, and whatever else one sends, curl unpacks if it can. */
static bool has_zlib(void)
{
    return curl_version_info(CURLVERSION_NOW)->features & CURL_VERSION_LIBZ;
}

static bool append(struct curl_slist **list, const char *line)
{
    struct curl_slist *grown = curl_slist_append(*list, line);

    if (grown)
        *list = grown;
    return grown != NULL;
}

static const char *agent_of(const struct http_options *o)
{
    return o->user_agent ? o->user_agent : "weir/" WEIR_VERSION;
}

static bool append_agent(struct curl_slist **list, const struct http_options *o)
{
    _cleanup_buf_ struct buf line = {0};

    buf_puts(&line, "User-Agent: ");
    buf_puts(&line, agent_of(o));
    return !line.failed && append(list, line.data);
}

enum weir_status http_options_headers(const struct http_options *o, struct curl_slist **ret,
                                      struct weir_error *err)
{
    struct curl_slist *list = NULL;

    for (size_t i = 0; i < o->headers_count; i++) {
        if (!append(&list, o->headers[i]))
            goto nomem;
    }
    /* Lines of ours are put into each request as they are; options of curl are first made into lines each time. */
    if (has_zlib() && !http_options_name_header(o, "Accept-Encoding") &&
        !append(&list, "Accept-Encoding: gzip"))
        goto nomem;
    if (!may_use_proxy(o) && !http_options_name_header(o, "User-Agent") && !append_agent(&list, o))
        goto nomem;
    *ret = list;
    return WEIR_OK;

nomem:
    curl_slist_free_all(list);
    return error_nomem(err);
}

/* Sets one option unless an earlier one failed. */
#define SET(option, value)                                                                         \
    do {                                                                                           \
        if (code == CURLE_OK)                                                                      \
            code = curl_easy_setopt(easy, option, value);                                          \
    } while (0)

static CURLcode set_protocol(const struct http_options *o, CURL *easy)
{
    CURLcode code = CURLE_OK;

    SET(CURLOPT_PROTOCOLS_STR, "http,https");
    SET(CURLOPT_FOLLOWLOCATION, 0L);
    SET(CURLOPT_NOSIGNAL, 1L);
    SET(CURLOPT_NOPROGRESS, 1L);
    /* Otherwise to cancel a transfer waits for its resolver thread, and the whole engine with it.
     */
    SET(CURLOPT_QUICK_EXIT, 1L);
    SET(CURLOPT_ACCEPT_ENCODING, "");
    SET(CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
    SET(CURLOPT_MAXFILESIZE_LARGE,
        (curl_off_t)(o->response_max_bytes && o->response_max_bytes < INT64_MAX
                         ? o->response_max_bytes
                         : HTTP_RESPONSE_BYTES_DEFAULT));
    return code;
}

static long curl_version_of(enum http_version version, bool tls)
{
    switch (version) {
    case HTTP_VERSION_AUTO:
        return tls ? CURL_HTTP_VERSION_2TLS : CURL_HTTP_VERSION_1_1;
    case HTTP_VERSION_1_1:
        return CURL_HTTP_VERSION_1_1;
    case HTTP_VERSION_2:
        return CURL_HTTP_VERSION_2_0;
    case HTTP_VERSION_2_PRIOR_KNOWLEDGE:
        return CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE;
    }
    return CURL_HTTP_VERSION_1_1;
}

CURLcode http_options_set_version(enum http_version version, bool tls, CURL *easy)
{
    long curls = curl_version_of(version, tls);
    /* libcurl 7.88 breaks such a connection when it uses it a second time (the curl command too:
     * "Error in the HTTP2 framing layer"): each request gets one of its own. */
    bool fresh = curls == CURL_HTTP_VERSION_2_PRIOR_KNOWLEDGE && !tls &&
                 curl_version_info(CURLVERSION_NOW)->version_num < 0x080000;
    CURLcode code = CURLE_OK;

    SET(CURLOPT_FRESH_CONNECT, fresh ? 1L : 0L);
    SET(CURLOPT_FORBID_REUSE, fresh ? 1L : 0L);
    SET(CURLOPT_HTTP_VERSION, curls);
    SET(CURLOPT_PIPEWAIT, curls == CURL_HTTP_VERSION_1_1 ? 0L : 1L);
    return code;
}

static CURLcode set_proxy(const struct http_options *o, CURL *easy)
{
    CURLcode code = CURLE_OK;

    if (!may_use_proxy(o)) {
        /* Both said, so that curl looks nowhere else. */
        SET(CURLOPT_PROXY, "");
        SET(CURLOPT_NOPROXY, "");
        return code;
    }
    SET(CURLOPT_USERAGENT, agent_of(o)); /* for the proxy too, when it is asked for a tunnel */
    if (o->proxy)
        SET(CURLOPT_PROXY, o->proxy);
    if (o->no_proxy)
        SET(CURLOPT_NOPROXY, o->no_proxy);
    return code;
}

static CURLcode set_connection(const struct http_options *o, CURL *easy)
{
    duration_ns timeout_ns =
        o->connect_timeout_ns ? o->connect_timeout_ns : HTTP_CONNECT_TIMEOUT_DEFAULT;
    int64_t timeout_ms = timeout_ns / NS_PER_MS;
    CURLcode code = CURLE_OK;

    if (timeout_ms < 1)
        timeout_ms = 1;
    if (timeout_ms > INT32_MAX) /* curl's own largest, 24 days */
        timeout_ms = INT32_MAX;
    SET(CURLOPT_CONNECTTIMEOUT_MS, (long)timeout_ms);
    SET(CURLOPT_TCP_KEEPALIVE, o->no_tcp_keepalive ? 0L : 1L);
    if (code == CURLE_OK)
        code = set_proxy(o, easy);
    if (o->unix_socket)
        SET(CURLOPT_UNIX_SOCKET_PATH, o->unix_socket);
    if (o->cacert)
        SET(CURLOPT_CAINFO, o->cacert);
    if (o->client_cert)
        SET(CURLOPT_SSLCERT, o->client_cert);
    if (o->client_key)
        SET(CURLOPT_SSLKEY, o->client_key);
    if (o->insecure) {
        SET(CURLOPT_SSL_VERIFYPEER, 0L);
        SET(CURLOPT_SSL_VERIFYHOST, 0L);
    }
    return code;
}

enum weir_status http_options_set(const struct http_options *o, CURL *easy, struct weir_error *err)
{
    CURLcode code = set_protocol(o, easy);

    if (code == CURLE_OK)
        code = set_connection(o, easy);
    if (code == CURLE_OUT_OF_MEMORY)
        return error_nomem(err);
    if (code != CURLE_OK)
        return error_set(err, WEIR_E_INVALID, "this libcurl does not take an option: %s",
                         curl_easy_strerror(code));
    return WEIR_OK;
}
