"""The C code in docs/library.md compiles against the public headers, and runs.

A block with a main() is a program of its own. A block that begins with `static` is put beside the others; any other is
the inside of a function, which is called.

run-tests: waits
"""
import os
import re
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import weirtest

GUIDE = os.path.join(weirtest.ROOT, "docs", "library.md")
PRELUDE = """
#include <stdio.h>
#include <weir/weir.h>
#include <weir/workers.h>
static const struct weir_row rows[] = {{.data = "x", .len = 1}, {.data = "y", .len = 1}, {.key = "named"}};
enum { count = 3 };
static struct weir_engine *engine;
static struct weir_pool *pool;
static struct weir_error err;
"""
MAIN = """
int main(void)
{
    struct weir_pool_options options;
    weir_pool_options_init(&options);
    if (weir_open(NULL, &engine, &err) ||
        weir_pool_open_thread(engine, &options, CALLBACK, NULL, &pool, &err))
        return 1;
BODY
    return weir_close(engine, &err);
}
"""


def blocks():
    with open(GUIDE, encoding="utf-8") as f:
        return re.findall(r"^```c\n(.*?)^```$", f.read(), re.M | re.S)


class LibraryGuide(weirtest.Case):
    def run_program(self, text):
        source = self.write("guide.c", text)
        binary = self.path("guide")
        subprocess.run(["gcc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-o", binary, source,
                        "-I" + os.path.join(weirtest.ROOT, "include"), "-L" + weirtest.BUILD, "-lweir",
                        "-Wl,-rpath," + weirtest.BUILD], check=True, timeout=120)
        return subprocess.run([binary], check=True, timeout=60, stdout=subprocess.PIPE, text=True, cwd=weirtest.ROOT).stdout

    def test_programs_compile_and_run(self):
        programs = [b for b in blocks() if "int main(" in b]
        self.assertEqual([self.run_program(p) for p in programs], ["0: a\n1: b\n", '"A" "C"\n', "done: hello world\n"])

    def test_it_names_every_function_of_tasks(self):
        with open(GUIDE, encoding="utf-8") as f:
            guide = f.read()
        with open(os.path.join(weirtest.ROOT, "include", "weir", "tasks.h"), encoding="utf-8") as f:
            functions = set(re.findall(r"\b(weir_\w+)\s*\(", re.sub(r"/\*.*?\*/", "", f.read(), flags=re.S)))
        self.assertGreaterEqual(len(functions), 15)
        self.assertEqual([name for name in sorted(functions) if name not in guide], [])

    def test_the_program_with_tasks_ends_well_and_again_over_what_it_left(self):
        program = os.path.join(weirtest.BUILD, "examples", "tasks")
        for words in ([], [self.path("tasks.db")], [self.path("tasks.db")]):
            out = subprocess.run([program, *words], check=True, timeout=60, stdout=subprocess.PIPE, text=True).stdout
            self.assertEqual(out, "the order is done: send\n4 tasks are done, with 29 events\n")

    def test_pieces_compile_and_run(self):
        functions = [b for b in blocks() if b.startswith("static")]
        callbacks = [re.match(r"static void (\w+)\(", f).group(1) for f in functions]
        pieces = [b for b in blocks() if not b.startswith("static") and "int main(" not in b]
        self.assertGreaterEqual(len(callbacks), 2)
        self.assertGreaterEqual(len(pieces), 3)
        for callback in callbacks:
            text = PRELUDE + "\n".join("__attribute__((unused)) " + f for f in functions)
            text += MAIN.replace("CALLBACK", callback).replace("BODY", "\n".join("{\n%s}\n" % p for p in pieces))
            out = self.run_program(text)
            self.assertIn("0 ok\n1 ok\nnamed ok\n", out)
            self.assertIn("0 refused, 0 waiting or running; open 0.0/s: the start\n", out)


if __name__ == "__main__":
    unittest.main()
