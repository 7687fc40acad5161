/* Whether a program is there, looked for as it will be when it is started. */
#include "unit/cli/input/folder.h"

#include "cli/command/find.h"

static struct weir_error err;

static void programs_are_found_in_path_or_by_their_path(void **state)
{
    const char *script = folder_text("script", "#!/bin/sh\n");
    const char *plain = folder_text("plain", "x\n");

    (void)state;
    assert_int_equal(chmod(script, 0755), 0);
    assert_int_equal(chmod(plain, 0644), 0);
    assert_int_equal(find_program("sh", NULL, &err), WEIR_OK);
    assert_int_equal(find_program("/bin/sh", "/", &err), WEIR_OK);
    assert_int_equal(find_program("bin/sh", "/", &err), WEIR_OK);
    assert_int_equal(find_program(script, NULL, &err), WEIR_OK);
    assert_int_equal(find_program("./script", folder_path, &err), WEIR_OK);
    setenv("PATH", folder_path, 1);
    assert_int_equal(find_program("script", NULL, &err), WEIR_OK);
    assert_int_equal(find_program("sh", NULL, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, "\"sh\""));
    setenv("PATH", "/nonexistent::/bin", 1);
    assert_int_equal(find_program("sh", NULL, &err), WEIR_OK);
    assert_int_equal(find_program("./nonexistent", NULL, &err), WEIR_E_INVALID);
    assert_int_equal(find_program(folder_path, NULL, &err), WEIR_E_INVALID);
    assert_int_equal(find_program(plain, NULL, &err), WEIR_E_INVALID);
    assert_non_null(strstr(err.message, plain));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(programs_are_found_in_path_or_by_their_path, folder_setup,
                                        folder_teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
