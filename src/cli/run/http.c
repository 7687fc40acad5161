/* Runs for an HTTP service: its executor, and what --select picks from an answer. */
#include "exec/http/http.h"
#include "base/error.h"
#include "base/mem.h"
#include "cli/run/run.h"

enum weir_status http_make(void *ctx, const struct core_pool_options *options,
                           struct uv_loop_s *loop, struct core_executor_host *host,
                           struct core_executor **ret, struct weir_error *err)
{
    static const enum http_version versions[] = {[RUN_HTTP_AUTO] = HTTP_VERSION_AUTO,
                                                 [RUN_HTTP_1_1] = HTTP_VERSION_1_1,
                                                 [RUN_HTTP_2] = HTTP_VERSION_2,
                                                 [RUN_HTTP_2_PRIOR] =
                                                     HTTP_VERSION_2_PRIOR_KNOWLEDGE};
    struct run *r = ctx;
    const struct run_options *o = &r->options;
    const char **headers = mem_calloc(o->http.header_count + 1, sizeof *headers);
    struct http_options h = HTTP_OPTIONS_DEFAULT;
    enum weir_status status;

    if (!headers)
        return error_nomem(err);
    for (size_t i = 0; i < o->http.header_count; i++)
        headers[i] = o->http.headers[i].line;
    if (o->http.method)
        h.method = o->http.method;
    h.headers = headers;
    h.headers_count = o->http.header_count;
    h.connect_timeout_ns = o->http.connect_timeout_ns;
    h.response_max_bytes = o->http.response_max_bytes;
    h.http_version = versions[o->http.http];
    h.proxy = o->http.proxy;
    h.no_proxy = o->http.no_proxy;
    h.cacert = o->http.cacert;
    h.client_cert = o->http.cert;
    h.client_key = o->http.key_file;
    h.insecure = o->http.insecure;
    h.unix_socket = o->http.unix_socket;
    h.max_connections = options->size;
    h.capacity_statuses = o->flow.capacity_statuses;
    h.capacity_statuses_count = o->flow.capacity_status_count;
    if (r->select)
        h.accept = (struct http_accept){run_select_output, r};
    status = http_executor_new(&h, loop, host, ret, err);
    mem_free(headers);
    return status;
}
