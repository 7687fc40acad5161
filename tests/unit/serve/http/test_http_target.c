/*
 * Paths and queries taken apart, and the routes that they belong to.
 */
#include "http_test.h"
#include "serve/http/routes.h"

static void parsed(struct http_target *t, const char *raw)
{
    if (!http_target_parse(t, slice_of(raw)))
        fail_msg("'%s': %s", raw, t->fault);
}

static void refused(const char *raw, const char *why)
{
    struct http_target t;

    assert_false(http_target_parse(&t, slice_of(raw)));
    assert_non_null(strstr(t.fault, why));
    http_target_free(&t);
}

static void a_path_is_cut_before_it_is_decoded(void **state)
{
    struct http_target t;

    (void)state;
    parsed(&t, "/v1/pools/a%2Fb%20c/x+y?limit=10&with=a%2Cb+c&follow&x=");
    assert_int_equal(t.segment_count, 4);
    assert_string_equal(t.segments[2], "a/b c");
    assert_string_equal(t.segments[3], "x+y");
    assert_string_equal(t.path, "/v1/pools/a%2Fb%20c/x+y");
    assert_string_equal(http_target_query(&t, "limit"), "10");
    assert_string_equal(http_target_query(&t, "with"), "a,b c");
    assert_string_equal(http_target_query(&t, "follow"), "");
    assert_string_equal(http_target_query(&t, "x"), "");
    assert_null(http_target_query(&t, "y"));
    http_target_free(&t);
}

static void the_absolute_form_and_the_star_are_understood(void **state)
{
    struct http_target t;

    (void)state;
    parsed(&t, "http://localhost:80/a/b?c=d");
    assert_string_equal(t.path, "/a/b");
    assert_string_equal(http_target_query(&t, "c"), "d");
    http_target_free(&t);
    parsed(&t, "HTTP://localhost");
    assert_string_equal(t.path, "/");
    http_target_free(&t);
    parsed(&t, "*");
    assert_string_equal(t.path, "*");
    assert_int_equal(t.segment_count, 0);
    http_target_free(&t);
}

static void what_is_malformed_is_named_with_its_place(void **state)
{
    (void)state;
    refused("/a/%zz", "% at byte 3");
    refused("/a/%4", "% at byte 3");
    refused("/a%00b", "NUL at byte 2");
    refused("/ok/%ff", "not UTF-8");
    refused("/a?x=%c0%af", "not UTF-8");
    refused("/a?x=1&x=2", "'x' stands there twice");
    refused("a/b", "begin with a slash");
    refused("", "begin with a slash");
    refused("/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "more than 16 segments");
}

static void a_query_has_a_limit(void **state)
{
    struct buf raw = {0};

    (void)state;
    buf_puts(&raw, "/?");
    for (int i = 0; i <= HTTP_QUERY_MAX; i++)
        buf_printf(&raw, "p%d=1&", i);
    refused(raw.data, "more than 32 parameters");
    buf_free(&raw);
}

static const struct http_route routes[] = {
    {.method = "GET", .pattern = "/v1/{kind}/all", .handler = say_hello},
    {.method = "GET", .pattern = "/v1/tasks/{id}", .handler = say_hello, .query = hello_query},
    {.method = "PATCH", .pattern = "/v1/tasks/{id}", .handler = say_hello},
    {.method = "GET", .pattern = "/v1/tasks/all", .handler = say_hello},
    {.method = "POST", .pattern = "/v1/tasks/{id}/x/{other}", .handler = say_hello},
};
#define ROUTES (sizeof routes / sizeof routes[0])

static struct http_match found(struct http_target *t, const char *method, const char *raw)
{
    struct http_match m;

    parsed(t, raw);
    http_routes_find(routes, ROUTES, t, method, &m);
    return m;
}

static void a_text_goes_before_a_parameter(void **state)
{
    struct http_target t;

    (void)state;
    assert_ptr_equal(found(&t, "GET", "/v1/tasks/all").route, &routes[3]);
    http_target_free(&t);
    assert_ptr_equal(found(&t, "GET", "/v1/pools/all").route, &routes[0]);
    assert_string_equal(http_route_param(&routes[0], &t, "kind"), "pools");
    assert_null(http_route_param(&routes[0], &t, "id"));
    http_target_free(&t);
    assert_ptr_equal(found(&t, "POST", "/v1/tasks/7/x/8").route, &routes[4]);
    assert_string_equal(http_route_param(&routes[4], &t, "id"), "7");
    assert_string_equal(http_route_param(&routes[4], &t, "other"), "8");
    http_target_free(&t);
}

static void a_parameter_is_never_empty_and_a_trailing_slash_is_another_path(void **state)
{
    static const char *const absent[] = {"/v1/tasks/", "/v1/tasks//x/1", "/v1/tasks/7/",
                                         "/",          "/v2/tasks/7",    "/v1/tasks"};
    struct http_target t;

    (void)state;
    for (size_t i = 0; i < sizeof absent / sizeof absent[0]; i++) {
        struct http_match m = found(&t, "GET", absent[i]);

        assert_null(m.route);
        assert_string_equal(m.allowed, "");
        http_target_free(&t);
    }
}

static void other_methods_are_named_each_once(void **state)
{
    struct http_target t;
    struct http_match m = found(&t, "DELETE", "/v1/tasks/all");

    (void)state;
    assert_null(m.route);
    assert_string_equal(m.allowed, "GET, HEAD, PATCH, OPTIONS");
    http_target_free(&t);
    assert_ptr_equal(found(&t, "HEAD", "/v1/tasks/7").route, &routes[1]);
    http_target_free(&t);
}

static void an_unknown_query_parameter_is_found(void **state)
{
    struct http_target t;

    (void)state;
    (void)found(&t, "GET", "/v1/tasks/7?who=a&how=b");
    assert_null(http_route_unknown(&routes[1], &t));
    assert_string_equal(http_route_unknown(&routes[2], &t), "who");
    http_target_free(&t);
}

static void a_table_that_contradicts_itself_is_refused(void **state)
{
    struct http_route bad[2] = {routes[1], routes[1]};
    struct weir_error err;

    (void)state;
    assert_int_equal(http_routes_check(routes, ROUTES, &err), WEIR_OK);
    bad[1].pattern = "/v1/tasks/{other}";
    assert_int_equal(http_routes_check(bad, 2, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "the same"));
    bad[1].pattern = "tasks";
    assert_int_equal(http_routes_check(bad, 2, &err), WEIR_E_INVALID);
    bad[1].pattern = "/{a}/{b}/{c}/{d}/{e}";
    assert_int_equal(http_routes_check(bad, 2, &err), WEIR_E_INVALID);
}

static void a_target_without_memory_says_so(void **state)
{
    struct http_target t;

    (void)state;
    mem_fail_at(1);
    assert_false(http_target_parse(&t, SLICE("/a")));
    mem_fail_at(0);
    assert_true(t.nomem);
    http_target_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_path_is_cut_before_it_is_decoded),
        cmocka_unit_test(the_absolute_form_and_the_star_are_understood),
        cmocka_unit_test(what_is_malformed_is_named_with_its_place),
        cmocka_unit_test(a_query_has_a_limit),
        cmocka_unit_test(a_text_goes_before_a_parameter),
        cmocka_unit_test(a_parameter_is_never_empty_and_a_trailing_slash_is_another_path),
        cmocka_unit_test(other_methods_are_named_each_once),
        cmocka_unit_test(an_unknown_query_parameter_is_found),
        cmocka_unit_test(a_table_that_contradicts_itself_is_refused),
        cmocka_unit_test(a_target_without_memory_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
