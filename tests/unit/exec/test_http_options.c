/* Options and URLs of the http executor: clear errors, and never a secret in one (P10). */
#include "exec/http/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

static void assert_refused(struct http_options options, const char *part)
{
    struct weir_error err = {0};

    assert_int_equal(http_options_check(&options, &err), WEIR_E_INVALID);
    assert_int_equal(err.status, WEIR_E_INVALID);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" is not in \"%s\"", part, err.message);
    assert_null(strstr(err.message, "SECRET"));
}

static void assert_header_refused(const char *header, const char *part)
{
    const char *const headers[] = {"Accept: */*", header};

    assert_refused((struct http_options){.headers = headers, .headers_count = 2}, part);
}

static void the_defaults_are_fine(void **state)
{
    struct http_options options = HTTP_OPTIONS_DEFAULT;

    (void)state;
    assert_int_equal(http_options_check(&options, NULL), WEIR_OK);
    assert_int_equal(http_options_check(&(struct http_options){0}, NULL), WEIR_OK);
}

static void a_bad_header_is_refused_without_its_value(void **state)
{
    (void)state;
    assert_header_refused("Authorization Bearer SECRET", "header 2 has no colon");
    assert_header_refused("", "header 2 has no colon");
    assert_header_refused(NULL, "header 2 has no colon");
    assert_header_refused(": SECRET", "header 2 has no name");
    assert_header_refused("Bearer SECRET: x", "header 2 has a byte before its colon");
    assert_header_refused("Na\xc3\xafve: x", "header 2 has a byte before its colon");
    assert_header_refused("Authorization: SECRET\r\nX-Evil: SECRET", "header 2 (Authorization)");
    assert_header_refused("Authorization: SECRET\n", "remove the newline");
    assert_header_refused("Authorization: SECRET\x7f", "control byte");
    assert_header_refused("content-length: 5", "follows from the body");
    assert_header_refused("Transfer-Encoding: chunked", "follows from the body");
}

static void good_headers_are_taken(void **state)
{
    const char *const headers[] = {"Authorization: Bearer x", "X-Empty:", "X-Tab: a\tb",
                                   "X-Utf8: \xc3\xa9", "content-type: text/plain"};
    struct http_options options = {.headers = headers, .headers_count = 5};
    struct curl_slist *list = NULL;

    (void)state;
    assert_int_equal(http_options_check(&options, NULL), WEIR_OK);
    assert_true(http_options_name_header(&options, "Content-Type"));
    assert_false(http_options_name_header(&options, "Content"));
    assert_false(http_options_name_header(&options, "Expect"));
    assert_int_equal(http_options_headers(&options, &list, NULL), WEIR_OK);
    assert_string_equal(list->data, "Authorization: Bearer x");
    curl_slist_free_all(list);
}

static void other_bad_options_are_refused(void **state)
{
    static const int success[] = {429, 200};
    static const int beyond[] = {600};
    char long_path[200];

    (void)state;
    memset(long_path, 'a', sizeof(long_path) - 1);
    long_path[sizeof(long_path) - 1] = '\0';
    assert_refused((struct http_options){.method = ""}, "method");
    assert_refused((struct http_options){.method = "POST /"}, "letters only");
    assert_refused((struct http_options){.method = "ABCDEFGHIJKLMNOPQRST"}, "1 to 16");
    assert_refused((struct http_options){.method = "CONNECT"}, "CONNECT");
    assert_refused(
        (struct http_options){.capacity_statuses = success, .capacity_statuses_count = 2},
        "status 200");
    assert_refused((struct http_options){.capacity_statuses = beyond, .capacity_statuses_count = 1},
                   "300..599");
    assert_refused((struct http_options){.connect_timeout_ns = -1}, "negative");
    assert_refused((struct http_options){.http_version = (enum http_version)9}, "HTTP version");
    assert_refused((struct http_options){.proxy = "ftp://user:SECRET@host"}, "proxy");
    assert_refused((struct http_options){.proxy = "http://user:SECRET@host:99999999"}, "proxy");
    assert_refused((struct http_options){.cacert = "/nonexistent/ca.pem"}, "/nonexistent/ca.pem");
    assert_refused((struct http_options){.client_cert = "/nonexistent/c.pem"},
                   "client certificate");
    assert_refused((struct http_options){.client_key = "/dev/null"}, "client key");
    assert_refused((struct http_options){.unix_socket = long_path}, "107");
    assert_refused((struct http_options){.user_agent = "a\nb"}, "user agent");
}

static void proxies_of_all_kinds_are_taken(void **state)
{
    static const char *const proxies[] = {"", "http://host:3128", "socks5h://u:p@host",
                                          "host:3128"};

    (void)state;
    for (size_t i = 0; i < sizeof(proxies) / sizeof(proxies[0]); i++)
        assert_int_equal(http_options_check(&(struct http_options){.proxy = proxies[i]}, NULL),
                         WEIR_OK);
}

static void urls_are_told_right_from_wrong(void **state)
{
    static const char *const good[] = {"http://host", "https://host/v1/x?y=z", "HTTP://HOST:8080/",
                                       "http://[::1]:80/", "http://127.0.0.1/a%20b"};
    static const struct {
        const char *url;
        const char *part;
    } bad[] = {
        {NULL, "no scheme"},
        {"", "no scheme"},
        {"host/SECRET", "no scheme"},
        {"/v1/chat", "no scheme"},
        {"ftp://host/SECRET", "not http or https"},
        {"file:///etc/passwd", "not http or https"},
        {"http://", ""},
        {"http://host:99999999/SECRET", "malformed"},
        {"http://host/a SECRET", "malformed"},
        {"http://user:SECRET@host/", "Authorization"},
        {"http://SECRET@host/", "Authorization"},
    };
    struct weir_error err;

    (void)state;
    for (size_t i = 0; i < sizeof(good) / sizeof(good[0]); i++)
        assert_int_equal(http_url_check(good[i], &err), WEIR_OK);
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        assert_int_equal(http_url_check(bad[i].url, &err), WEIR_E_INVALID);
        assert_non_null(strstr(err.message, bad[i].part));
        assert_null(strstr(err.message, "SECRET"));
    }
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_defaults_are_fine),
        cmocka_unit_test(a_bad_header_is_refused_without_its_value),
        cmocka_unit_test(good_headers_are_taken),
        cmocka_unit_test(other_bad_options_are_refused),
        cmocka_unit_test(proxies_of_all_kinds_are_taken),
        cmocka_unit_test(urls_are_told_right_from_wrong),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
