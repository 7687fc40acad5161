/*
 * What request is made of a task's payload: with the pool's URL, or with all that the payload says;
 * and what is said of a payload, or a pool, that is wrong.
 */
#include "base/buf.h"
#include "base/mem.h"
#include "exec/http/recipe.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define COUNT(table) (sizeof(table) / sizeof((table)[0]))

static const struct http_recipe_options any = {.allow_any_url = true};

static struct http_recipe *recipe_of(struct http_recipe_options o)
{
    struct http_recipe *r;
    struct weir_error err = {0};

    if (http_recipe_new(&o, &r, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    return r;
}

static struct http_request *make(const struct http_recipe *r, const char *payload, const char *key)
{
    struct http_request *q;
    struct weir_error err = {0};
    char *copy = strdup(payload);

    assert_non_null(copy);
    if (http_recipe_make(r, slice_of(copy), key, &q, &err) != WEIR_OK)
        fail_msg("%s", err.message);
    free(copy); /* it outlives the payload */
    return q;
}

static void refuses(const struct http_recipe *r, const char *payload, const char *part)
{
    struct http_request *q = NULL;
    struct weir_error err = {0};

    assert_int_equal(http_recipe_make(r, slice_of(payload), NULL, &q, &err), WEIR_E_FORMAT);
    assert_null(q);
    if (!strstr(err.message, part))
        fail_msg("\"%s\" does not say \"%s\"", err.message, part);
}

static void assert_body(const struct http_request *q, const char *text)
{
    assert_int_equal(q->body.len, strlen(text));
    assert_memory_equal(q->body.data, text, strlen(text));
}

/* ---- of a pool with a URL ---- */

static void a_payload_is_the_body_as_it_is(void **state)
{
    struct http_recipe *r = recipe_of((struct http_recipe_options){.url = "http://h:8080/v1"});
    struct http_request *q = make(r, " {\"a\": 1.0}\n", "key 1");

    (void)state;
    assert_string_equal(q->url, "http://h:8080/v1");
    assert_null(q->method);
    assert_null(q->content_type);
    assert_string_equal(q->idempotency_key, "key 1");
    assert_body(q, " {\"a\": 1.0}\n");
    assert_int_equal(q->headers_count, 0);
    http_recipe_free(r);
    assert_string_equal(q->url, "http://h:8080/v1"); /* it outlives the recipe */
    mem_free(q);
}

static void what_is_no_json_is_sent_as_bytes(void **state)
{
    struct http_recipe *r =
        recipe_of((struct http_recipe_options){.url = "http://h/", .method = "PUT"});
    struct http_request *q = make(r, "a,b\n", NULL);

    (void)state;
    assert_string_equal(q->method, "PUT");
    assert_string_equal(q->content_type, "application/octet-stream");
    assert_null(q->idempotency_key);
    assert_body(q, "a,b\n");
    mem_free(q);
    http_recipe_free(r);
}

static void fields_go_into_the_path_and_the_query(void **state)
{
    struct http_recipe *r = recipe_of((struct http_recipe_options){
        .url = "https://h/v1/{model}/{n}?q={text}&raw={flag}&literal={}", .method = "GET"});
    struct http_request *q =
        make(r, "{\"model\":\"a/b?c#d\",\"n\":1e+5,\"text\":\"\\u00fc &=%\",\"flag\":true}", NULL);

    (void)state;
    assert_string_equal(
        q->url, "https://h/v1/a%2Fb%3Fc%23d/1e%2B5?q=%C3%BC%20%26%3D%25&raw=true&literal={}");
    assert_int_equal(q->body.len, 0); /* of GET */
    mem_free(q);
    refuses(r, "{\"model\":\"a\"}", "no field \"n\"");
    refuses(r, "[1]", "the payload is no JSON object");
    refuses(r, "not json", "the payload is no JSON object");
    refuses(r, "{\"model\":{},\"n\":1,\"text\":\"\",\"flag\":1}", "\"model\" of the payload");
    refuses(r, "{\"model\":null,\"n\":1,\"text\":\"\",\"flag\":1}",
            "it must be a string, a number");
    refuses(r, "{\"model\":\"..\",\"n\":1,\"text\":\"\",\"flag\":1}", "must not be . or ..");
    http_recipe_free(r);
}

static void a_pool_that_cannot_be_is_refused(void **state)
{
    static const struct {
        struct http_recipe_options o;
        const char *part;
    } cases[] = {
        {{.url = NULL}, "allow_any_url: true"},
        {{.url = "h/v1"}, "no scheme"},
        {{.url = "ftp://h/v1"}, "not http or https"},
        {{.url = "http://u:p@h/v1"}, "Authorization header"},
        {{.url = "http://{host}/v1"}, "{host} stands in the URL's host"},
        {{.url = "http://api.{tenant}.example?x=1"}, "{tenant} stands in the URL's host"},
        {{.url = "{url}"}, "{url} stands in the URL's host"},
        {{.url = "http://h/", .method = "GE T"}, "letters only"},
    };

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++) {
        struct weir_error err = {0};
        struct http_recipe *r;

        assert_int_equal(http_recipe_new(&cases[i].o, &r, &err), WEIR_E_INVALID);
        if (!strstr(err.message, cases[i].part))
            fail_msg("\"%s\" does not say \"%s\"", err.message, cases[i].part);
    }
}

/* ---- of a payload that says all ---- */

static void a_payload_says_all(void **state)
{
    struct http_recipe *r = recipe_of(any);
    struct http_request *q =
        make(r,
             "{\"url\":\"https://h/\\u0061?b=c\",\"method\":\"PATCH\",\"body\":{\"x\": 1.0},"
             "\"headers\":{\"Accept\":\"text/csv\",\"X-\\u0041\":\"b: c\"}}",
             "k");

    (void)state;
    assert_string_equal(q->url, "https://h/a?b=c");
    assert_string_equal(q->method, "PATCH");
    assert_body(q, "{\"x\": 1.0}");
    assert_null(q->content_type);
    assert_string_equal(q->idempotency_key, "k");
    assert_int_equal(q->headers_count, 2);
    assert_string_equal(q->headers[0], "Accept: text/csv");
    assert_string_equal(q->headers[1], "X-A: b: c");
    mem_free(q);
    http_recipe_free(r);
}

static void a_body_decides_what_is_not_said(void **state)
{
    struct http_recipe *r = recipe_of(any), *put;
    struct http_request *q = make(r, "{\"url\":\"http://h/\"}", NULL);

    (void)state;
    assert_string_equal(q->method, "GET");
    assert_int_equal(q->body.len, 0);
    mem_free(q);
    q = make(r, "{\"url\":\"http://h/\",\"body\":\"a\\u0000\\n\"}", NULL);
    assert_string_equal(q->method, "POST");
    assert_string_equal(q->content_type, "text/plain; charset=utf-8");
    assert_int_equal(q->body.len, 3);
    assert_memory_equal(q->body.data, "a\0\n", 3);
    mem_free(q);
    q = make(r,
             "{\"body\":\"a,b\",\"headers\":{\"content-type\":\"text/csv\",\"IDEMPOTENCY-key\":"
             "\"mine\"},\"url\":\"http://h/\"}",
             "task's");
    assert_string_equal(q->content_type, "text/csv");
    assert_string_equal(q->idempotency_key, "mine");
    assert_int_equal(q->headers_count, 0);
    mem_free(q);
    put = recipe_of((struct http_recipe_options){.allow_any_url = true, .method = "PUT"});
    q = make(put, "{\"url\":\"http://h/\"}", NULL);
    assert_string_equal(q->method, "PUT");
    mem_free(q);
    http_recipe_free(put);
    http_recipe_free(r);
}

static void what_is_wrong_with_a_payload_is_named(void **state)
{
    static const char *const lines[] = {"Authorization: Bearer secret"};
    static const struct {
        const char *payload, *part;
    } cases[] = {
        {"x", "the payload is not JSON"},
        {"[]", "must be an object"},
        {"{}", "the payload names no URL"},
        {"{\"uri\":\"http://h/\"}", "a field \"uri\", which no request has"},
        {"{\"url\":5}", "\"url\" of the payload is a number; it must be a string"},
        {"{\"url\":\"file:///etc/passwd\"}", "\"url\" of the payload: "},
        {"{\"url\":\"http://u:p@h/\"}", "\"url\" of the payload: "},
        {"{\"url\":\"http://h/\\u0000x\"}", "\"url\" of the payload holds a NUL"},
        {"{\"url\":\"http://h/\",\"method\":\"\"}", "\"method\" of the payload: "},
        {"{\"url\":\"http://h/\",\"method\":\"CONNECT\"}", "\"method\" of the payload: "},
        {"{\"url\":\"http://h/\",\"method\":7}",
         "\"method\" of the payload is a number; it must be a string"},
        {"{\"url\":\"http://h/\",\"headers\":[]}",
         "\"headers\" of the payload is an array; it must be an object"},
        {"{\"url\":\"http://h/\",\"headers\":{\"A\":1}}",
         "\"headers.A\" of the payload is a number; it must be a string"},
        {"{\"url\":\"http://h/\",\"headers\":{\"A:\":\"b\"}}",
         "\"headers.A:\" of the payload is no name"},
        {"{\"url\":\"http://h/\",\"headers\":{\"\":\"b\"}}", "is no name of a header"},
        {"{\"url\":\"http://h/\",\"headers\":{\"A\":\"\"}}",
         "\"headers.A\" of the payload is empty"},
        {"{\"url\":\"http://h/\",\"headers\":{\"A\":\"b\\r\\nC: d\"}}", "line break"},
        {"{\"url\":\"http://h/\",\"headers\":{\"content-length\":\"5\"}}", "follows from the body"},
        {"{\"url\":\"http://h/\",\"headers\":{\"authorization\":\"x\"}}", "is the pool's to set"},
    };
    struct http_recipe *r = recipe_of(
        (struct http_recipe_options){.allow_any_url = true, .headers = lines, .headers_count = 1});

    (void)state;
    for (size_t i = 0; i < COUNT(cases); i++)
        refuses(r, cases[i].payload, cases[i].part);
    http_recipe_free(r);
}

static void headers_without_end_are_refused(void **state)
{
    struct http_recipe *r = recipe_of(any);
    _cleanup_buf_ struct buf payload = {0};

    (void)state;
    buf_puts(&payload, "{\"url\":\"http://h/\",\"headers\":{\"A\":\"b\"");
    for (int i = 0; i < 100; i++)
        buf_printf(&payload, ",\"A%d\":\"b\"", i);
    buf_puts(&payload, "}}");
    refuses(r, payload.data, "more than 100");
    http_recipe_free(r);
}

/* ---- memory ---- */

static bool try_all(const char *url, const char *payload)
{
    static const char *const lines[] = {"X-Pool: 1"};
    struct http_recipe_options o = {
        .url = url, .allow_any_url = true, .method = "PUT", .headers = lines, .headers_count = 1};
    struct http_recipe *r;
    struct http_request *q;
    enum weir_status status = http_recipe_new(&o, &r, NULL);

    if (status == WEIR_OK) {
        status = http_recipe_make(r, slice_of(payload), "key", &q, NULL);
        http_recipe_free(r);
        if (status == WEIR_OK)
            mem_free(q);
    }
    if (status != WEIR_OK)
        assert_int_equal(status, WEIR_E_NOMEM);
    return status == WEIR_OK;
}

static void any_lack_of_memory_is_an_error(void **state)
{
    static const char *const urls[] = {"http://h/{a}", NULL};
    static const char *const payloads[] = {
        "{\"a\":\"b\"}",
        "{\"url\":\"http://h/\",\"method\":\"PUT\",\"headers\":{\"A\":\"b\"},\"body\":\"c\"}"};

    (void)state;
    for (size_t i = 0; i < COUNT(urls); i++) {
        bool failed = true;

        for (uint64_t n = 1; failed; n++) {
            bool made;

            mem_fail_at(n);
            made = try_all(urls[i], payloads[i]);
            failed = mem_has_failed() != 0;
            mem_fail_at(0);
            assert_int_equal(made, !failed);
            assert_true(n < 100);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_payload_is_the_body_as_it_is),
        cmocka_unit_test(what_is_no_json_is_sent_as_bytes),
        cmocka_unit_test(fields_go_into_the_path_and_the_query),
        cmocka_unit_test(a_pool_that_cannot_be_is_refused),
        cmocka_unit_test(a_payload_says_all),
        cmocka_unit_test(a_body_decides_what_is_not_said),
        cmocka_unit_test(what_is_wrong_with_a_payload_is_named),
        cmocka_unit_test(headers_without_end_are_refused),
        cmocka_unit_test(any_lack_of_memory_is_an_error),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
