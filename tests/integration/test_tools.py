"""The tools that judge the code are judged here: each must refuse what it is there to refuse.

run-tests: parallel
"""
import os
import re
import shutil
import signal
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import weirtest


def run_tool(name, *arguments, **options):
    command = [os.path.join(weirtest.ROOT, "tools", name), *arguments]
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                         timeout=120, **options)
    return run.returncode, run.stdout


class Layers(weirtest.Case):
    def setUp(self):
        super().setUp()
        self.write("include/weir/status.h", "#include <stddef.h>\n")
        self.write("src/base/buf.h", '#include "weir/status.h"\n#include <unistd.h>\n')
        self.write("src/flow/pacer.h", '#include "base/buf.h"\n')
        self.write("src/core/ports/store.h", '#include "flow/pacer.h"\n')
        self.write("src/exec/http/http.c", '#include "core/ports/store.h"\n#include <curl/curl.h>\n#include <uv.h>\n')
        self.write("src/store/sqlite/sqlite.c", '#include "core/ports/store.h"\n#include <sqlite3.h>\n')
        self.write("src/engine/engine.h", '#include "exec/http/http.h"\n')
        self.write("src/exec/http/http.h", "")
        self.write("src/sim/world.h", '#include "core/ports/store.h"\n')
        self.write("src/cli/main.c", '#include "sim/world.h"\n#include "engine/engine.h"\n#include <weir/status.h>\n')

    def breaches(self):
        code, output = run_tool("check-layers", self.dir)
        found = re.findall(r"^(\S+):(\d+): (.*)$", output, re.M)
        self.assertEqual(code, 1 if found else 0, output)
        return found

    def refused(self, path, text):
        """The one breach that the text makes, when it is written to path."""
        self.write(path, text)
        found = self.breaches()
        self.assertEqual([f[0] for f in found], [path], found)
        return found[0][2]

    def test_a_tree_that_keeps_the_rule_passes(self):
        self.assertEqual(self.breaches(), [])

    def test_an_include_that_points_up_is_refused_with_its_line(self):
        self.write("src/base/list.h", '\n\n#include "flow/pacer.h"\n')
        self.assertEqual([(f[0], f[1]) for f in self.breaches()], [("src/base/list.h", "3")])

    def test_every_layer_above_is_refused(self):
        self.assertIn("not below", self.refused("src/core/task.c", '#include "engine/engine.h"\n'))

    def test_peers_do_not_include_each_other(self):
        self.assertIn("not below", self.refused("src/store/memory/m.c", '#include "exec/http/http.h"\n'))

    def test_the_public_face_sees_nothing_inside(self):
        self.assertIn("not below", self.refused("include/weir/engine.h", '#include "base/buf.h"\n'))

    def test_only_the_command_uses_the_simulator(self):
        self.assertIn("not below", self.refused("src/serve/http.c", '#include "sim/world.h"\n'))

    def test_the_simulator_stays_out_of_the_edges(self):
        self.assertIn("not below", self.refused("src/sim/run.c", '#include "exec/http/http.h"\n'))

    def test_an_unresolved_include_is_an_error(self):
        self.assertIn("neither", self.refused("src/core/task.c", '#include "core/no_such.h"\n'))

    def test_an_include_relative_to_its_own_folder_is_refused(self):
        self.assertIn("neither", self.refused("src/exec/http/x.c", '#include "http.h"\n'))

    def test_dots_do_not_lead_around_the_rule(self):
        self.assertIn("leaves", self.refused("src/base/list.h", '#include "base/../flow/pacer.h"\n'))

    def test_pure_rooms_read_no_clock_and_start_no_thread(self):
        for header in ("time.h", "unistd.h", "pthread.h", "uv.h", "curl/curl.h", "sqlite3.h", "sys/time.h"):
            for layer in ("flow", "core"):
                with self.subTest(header=header, layer=layer):
                    self.refused(f"src/{layer}/seeded.c", f"#include <{header}>\n")
                    os.unlink(self.path("src", layer, "seeded.c"))

    def test_a_library_is_known_only_to_its_wrapper(self):
        self.assertIn("sqlite3.h", self.refused("src/engine/e.c", "#include <sqlite3.h>\n"))

    def test_an_include_in_a_comment_is_none(self):
        self.write("src/base/list.h", '/*\n#include "cli/x.h"\n*/\n// #include "cli/x.h"\n')
        self.assertEqual(self.breaches(), [])

    def test_an_include_by_a_macro_is_refused(self):
        self.refused("src/base/list.h", "#define WHERE \"cli/x.h\"\n#include WHERE\n")

    def test_a_file_in_no_layer_is_refused(self):
        self.refused("src/misc/x.c", "")

    def test_an_empty_tree_does_not_pass(self):
        shutil.rmtree(self.path("src"))
        shutil.rmtree(self.path("include"))
        self.assertEqual(run_tool("check-layers", self.dir)[0], 1)


class Headers(weirtest.Case):
    def test_a_header_that_compiles_alone_passes(self):
        self.write("include/weir/a.h", "#ifndef A\n#define A\n#include <stddef.h>\nsize_t weir_a(void);\n#endif\n")
        code, output = run_tool("check-headers", self.dir)
        self.assertEqual(code, 0, output)

    def test_a_header_that_needs_another_is_refused(self):
        self.write("src/base/a.h", "#ifndef A\n#define A\nsize_t base_a(void);\n#endif\n")
        self.assertEqual(run_tool("check-headers", self.dir)[0], 1)

    def test_a_header_without_a_guard_is_refused(self):
        self.write("src/base/a.h", "struct a { int x; };\n")
        self.assertEqual(run_tool("check-headers", self.dir)[0], 1)

    def test_a_public_header_that_is_no_cpp_is_refused(self):
        self.write("include/weir/a.h", "#ifndef A\n#define A\nint weir_a(int class);\n#endif\n")
        code, output = run_tool("check-headers", self.dir)
        self.assertEqual((code, "C++" in output), (1, True), output)


class Style(weirtest.Case):
    def breaches(self, path, text):
        self.write(path, text)
        code, output = run_tool("check-style", self.dir)
        found = re.findall(r"^(\S+:\d+): (.*)$", output, re.M)
        self.assertEqual(code, 1 if found else 0, output)
        return found

    def function(self, lines):
        return "/* An idea. */\nvoid f(void)\n{\n" + "    g();\n" * lines + "}\n"

    def test_a_function_may_have_70_lines_and_not_71(self):
        self.assertEqual(self.breaches("src/base/a.c", self.function(70)), [])
        self.assertEqual(self.breaches("src/base/a.c", self.function(71))[0][0], "src/base/a.c:3")

    def test_a_file_may_have_1000_lines_and_not_1001(self):
        self.assertEqual(self.breaches("src/base/a.h", "/**/" + "\n" * 1000), [])
        self.assertEqual(len(self.breaches("src/base/a.h", "/**/" + "\n" * 1001)), 1)

    def test_each_seeded_breach_is_refused(self):
        seeded = {
            "tests/unit/a.c": ["usleep(5);", "nanosleep(&t, NULL);"],
            "tests/integration/a.py": ["time.sle" + "ep(1)"],
            "src/flow/a.c": ["now = time(NULL);", "clock_gettime(CLOCK_MONOTONIC, &t);", "x = rand();"],
            "src/engine/a.c": ["p = malloc(5);", "p = strdup(s);", 'printf("x");', 'fprintf(stderr, "x");', "exit(1);",
                               'fd = open(path, O_RDONLY);', "pipe(fds);", "strcpy(a, b);", "n = atoi(s);",
                               "fd = socket(AF_INET,\n    SOCK_STREAM, 0);", "/* TO" + "DO: later */"],
        }
        for path, lines in seeded.items():
            for line in lines:
                with self.subTest(path=path, line=line):
                    self.assertEqual(len(self.breaches(path, "/* An idea. */\n" + line + "\n")), 1)
            os.unlink(self.path(path))

    def test_what_only_looks_alike_passes(self):
        text = ('/* An idea. It may exit(1) or malloc(3). */\nlet_time(x);\np = mem_alloc(3);\ns = "time(NULL)";\n'
                "fd = open(path, O_RDONLY | O_CLOEXEC);\nt->time(x);\nsnprintf(b, 3, s);\n")
        self.assertEqual(self.breaches("src/engine/a.c", text), [])

    def test_an_exception_needs_a_reason(self):
        line = "now = time(NULL); /* check-style: allow clock%s */\n"
        self.assertEqual(self.breaches("src/engine/a.c", "/* Idea. */\n" + line % ", because the standard says so"), [])
        self.assertEqual(len(self.breaches("src/engine/a.c", "/* Idea. */\n" + line % "")), 1)

    def test_a_source_opens_with_its_idea(self):
        self.assertEqual(len(self.breaches("src/base/a.c", "int x;\n")), 1)

    def test_a_source_may_leave_its_idea_to_its_header(self):
        self.write("src/base/a.h", "/* An idea. */\n")
        self.assertEqual(self.breaches("src/base/a.c", "int x;\n"), [])


CMOCKA = """
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#include <cmocka.h>
static void first(void **state) { (void)state; %s }
static void second(void **state) { (void)state; %s }
int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(first), cmocka_unit_test(second)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
"""
PYTHON = """
import os, unittest
class T(unittest.TestCase):
    def test_one(self):
        %s
    def test_two(self):
        %s
"""


class RunTests(weirtest.Case):
    def cmocka(self, first="", second="", flags=()):
        """A binary of two tests."""
        source = self.write("t.c", CMOCKA % (first, second))
        subprocess.run(["gcc", *flags, "-o", self.path("t"), source, "-lcmocka"], check=True)
        return self.path("t")

    def python(self, first="pass", second="pass"):
        return self.write("test_t.py", PYTHON % (first, second))

    def run_tests(self, *items):
        """(exit code, last line, all output)"""
        code, output = run_tool("run-tests", *items)
        return code, output.rstrip("\n").split("\n")[-1], output

    def expect(self, items, last, code):
        got = self.run_tests(*items)
        self.assertEqual(got[:2], (code, last), got[2])
        return got[2]

    def test_no_tests_is_a_failure(self):
        self.expect([], "0 passed, 0 failed", 1)

    def test_passing_tests_of_all_kinds_are_summed_in_the_last_line(self):
        script = self.write("x.sh", "exit 0\n")
        self.expect([self.cmocka(), self.python(), script, "--command", "true"], "6 passed, 0 failed", 0)

    def test_a_failing_test_is_counted_and_shown(self):
        output = self.expect([self.cmocka("", "assert_int_equal(41, 42);")], "1 passed, 1 failed", 1)
        self.assertIn("0x29 != 0x2a", output)
        self.assertIn("failed: second", output)

    def test_a_skipped_test_is_neither(self):
        self.expect([self.cmocka("skip();")], "1 passed, 0 failed, 1 skipped", 0)
        self.expect([self.python("self.skipTest('x')")], "1 passed, 0 failed, 1 skipped", 0)

    def test_a_crash_that_cmocka_catches_is_a_failure(self):
        self.expect([self.cmocka("", "*(volatile int *)0 = 1;")], "1 passed, 1 failed", 1)

    def test_a_crash_that_nobody_catches_is_a_failure(self):
        self.expect([self.cmocka("", "kill_me();".replace("kill_me()", "fflush(stdout); raise(9)"),
                                 ["-include", "signal.h"])], "1 passed, 1 failed", 1)

    def test_a_binary_that_ends_early_with_success_is_a_failure(self):
        self.expect([self.cmocka("", "fflush(stdout); _exit(0);")], "1 passed, 1 failed", 1)

    def test_a_binary_that_says_nothing_is_a_failure(self):
        self.expect(["/bin/true"], "0 passed, 1 failed", 1)

    def test_a_binary_that_is_not_there_is_a_failure(self):
        self.expect([self.path("none")], "0 passed, 1 failed", 1)

    def test_a_binary_that_hangs_is_stopped_and_is_a_failure(self):
        output = self.expect(["--timeout", "0.5", self.cmocka("", "fflush(stdout); pause();")], "1 passed, 1 failed", 1)
        self.assertIn("ran out of its time", output)

    def test_a_failing_exit_after_passing_tests_is_a_failure(self):
        self.expect([self.cmocka("", "atexit(leave);", ["-include", self.write("leave.h", """
            #include <unistd.h>
            #include <stdio.h>
            static void leave(void) { fflush(stdout); _exit(23); }""")])], "2 passed, 1 failed", 1)

    def test_output_before_a_result_does_not_hide_it(self):
        self.expect([self.cmocka('printf("half a line");', 'fprintf(stderr, "noise");')], "2 passed, 0 failed", 0)

    def test_python_failures_errors_and_broken_files_are_failures(self):
        self.expect([self.python("self.fail('x')", "raise OSError('y')")], "0 passed, 2 failed", 1)
        self.expect([self.write("test_b.py", "import no_such_module\n")], "0 passed, 1 failed", 1)
        self.expect([self.python("pass", "os._exit(0)")], "1 passed, 1 failed", 1)

    def test_a_failing_script_is_a_failure(self):
        output = self.expect([self.write("x.sh", "echo said; exit 3\n")], "0 passed, 1 failed", 1)
        self.assertIn("said", output)
        self.expect(["--command", "false"], "0 passed, 1 failed", 1)

    def test_what_is_left_behind_is_a_failure(self):
        self.expect(["--command", 'touch "$TMPDIR/x"'], "1 passed, 1 failed", 1)
        output = self.expect(["--command", "sleep 300 & exit 0"], "1 passed, 1 failed", 1)
        self.assertIn("left running: sleep", output)

    def script(self, name, marks, text):
        return self.write(name + ".sh", f"# {marks}\ncd {self.dir}\n{text}\n")

    def test_what_waits_runs_beside_what_works_and_what_is_alone_after_both(self):
        # With one job each of the two sees the other only when they run at the same time.
        meet = "touch {0}; for i in $(seq 1000); do [ -e {1} ] && break; sleep 0.01; done; [ -e {1} ] && touch {0}-done"
        items = [self.script("alone", "run-tests: alone", "[ -e a-done ] && [ -e b-done ]"),
                 self.script("works", "run-tests: parallel", meet.format("a", "b")),
                 self.script("waits", "run-tests: waits", meet.format("b", "a"))]
        self.expect(["-j", "1", *items], "3 passed, 0 failed", 0)

    def test_what_is_long_starts_first(self):
        items = [self.script(name, "run-tests: parallel" + more, f"echo {name} >>order")
                 for name, more in (("a", ""), ("b", "\n# run-tests: long"), ("c", ""))]
        self.expect(["-j", "1", *items], "3 passed, 0 failed", 0)
        with open(self.path("order"), encoding="ascii") as f:
            self.assertEqual(f.read().split(), ["b", "a", "c"])

    def test_what_tests_start_takes_signals_although_the_run_ignores_them(self):
        for number in (signal.SIGINT, signal.SIGHUP):
            item = f'python3 -c "import signal; assert signal.getsignal({int(number)}) != signal.SIG_IGN"'
            code, output = run_tool("run-tests", "--command", item,
                                    preexec_fn=lambda n=number: signal.signal(n, signal.SIG_IGN))
            self.assertEqual(code, 0, output)

    def test_a_variant_reaches_the_test(self):
        item = 'test "$WEIR_VARIANT $(basename $WEIR_BUILD) $X" = "address build-address 5"'
        self.expect(["--variant", "address", "--build", "build-address", "--env", "X=5", "--command", item],
                    "1 passed, 0 failed", 0)


class InstallDeps(weirtest.Case):
    def dpkg(self, missing):
        """A PATH on which dpkg-query knows every package but the missing one, and apt-get is not there."""
        self.write("bin/dpkg-query", f'#!/bin/sh\nfor p; do :; done\n[ "$p" = "{missing}" ] && exit 1\nprintf "installed "\n')
        for tool in ("sh", "id", "env", "mktemp", "rm", "tail"):
            os.symlink(shutil.which(tool), self.path("bin", tool))
        os.chmod(self.path("bin/dpkg-query"), 0o755)
        return dict(os.environ, PATH=self.path("bin"))

    def test_nothing_is_done_when_all_is_there(self):
        self.assertEqual(run_tool("install-deps", "build", "test", env=self.dpkg("none")), (0, ""))

    def test_the_missing_package_is_named(self):
        code, output = run_tool("install-deps", "--list", "build", env=self.dpkg("libuv1-dev"))
        self.assertEqual((code, output.strip()), (1, "missing: libuv1-dev"))

    def test_packages_of_the_tests_are_not_needed_to_build(self):
        self.assertEqual(run_tool("install-deps", "build", env=self.dpkg("libcmocka-dev")), (0, ""))

    def test_a_failing_installation_says_what_to_do(self):
        code, output = run_tool("install-deps", "build", env=self.dpkg("gcc"))
        self.assertEqual(code, 1)
        self.assertRegex(output, r"apt-get install --no-install-recommends gcc")


if __name__ == "__main__":
    unittest.main()
