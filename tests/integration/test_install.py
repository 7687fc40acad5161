"""What `make install` leaves is enough to build and run a program, with the shared library and the static one.

run-tests: waits
"""
import os
import subprocess
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
import weirtest

PROGRAM = """
#include <stdio.h>
#include <weir/status.h>
int main(void)
{
    puts(weir_status_name(WEIR_OK));
    return 0;
}
"""
# Prints what each program of each language must print: the name of WEIR_OK.
EXPECTED = "ok\n"


def run(*command, **options):
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=120, **options)
    if done.returncode != 0:
        raise AssertionError(f"{' '.join(command)} exited with {done.returncode}:\n{done.stdout}")
    return done.stdout


class Install(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        import tempfile
        folder = tempfile.TemporaryDirectory(prefix="weir-install-")
        cls.addClassCleanup(folder.cleanup)
        cls.dest = os.path.join(folder.name, "dest")
        # A PREFIX of its own rather than a DESTDIR alone: so the paths in weir.pc are the real ones.
        cls.prefix = os.path.join(folder.name, "prefix")
        cls.make("install", f"PREFIX={cls.prefix}")
        cls.make("install", f"DESTDIR={cls.dest}")

    @classmethod
    def make(cls, *words):
        return run("make", *words, cwd=weirtest.ROOT, env=weirtest.clean_env())

    def pkg_config(self, *words):
        folder = os.path.join(self.prefix, "lib", "pkgconfig")
        return run("pkg-config", *words, "weir", env=dict(os.environ, PKG_CONFIG_PATH=folder)).split()

    def program(self, name, flags, compiler="gcc"):
        source = os.path.join(self.prefix, name + (".cc" if "++" in compiler else ".c"))
        with open(source, "w") as f:
            f.write(PROGRAM)
        binary = os.path.join(self.prefix, name)
        run(compiler, "-o", binary, source, *self.pkg_config("--cflags"), *flags)
        return binary

    def symbols(self, *words):
        lines = run("nm", *words).split("\n")
        return {line.split()[-1].split("@")[0] for line in lines if len(line.split()) >= 2 and line.split()[-2] in "TDBRVWi"}

    def test_a_program_runs_with_the_shared_library(self):
        binary = self.program("shared", self.pkg_config("--libs"))
        env = dict(os.environ, LD_LIBRARY_PATH=os.path.join(self.prefix, "lib"))
        self.assertEqual(run(binary, env=env), EXPECTED)
        self.assertIn("libweir.so.0", run("readelf", "-d", binary))

    def test_a_program_runs_with_the_static_library_alone(self):
        flags = [f if f != "-lweir" else "-l:libweir.a" for f in self.pkg_config("--static", "--libs")]
        binary = self.program("static", flags)
        self.assertEqual(run(binary), EXPECTED)
        self.assertNotIn("libweir", run("readelf", "-d", binary))

    def test_both_libraries_show_only_weir_names(self):
        lib = os.path.join(self.prefix, "lib")
        for words in (["-g", "--defined-only", os.path.join(lib, "libweir.a")],
                      ["-D", "--defined-only", os.path.join(lib, "libweir.so")]):
            with self.subTest(library=words[-1]):
                names = self.symbols(*words)
                self.assertIn("weir_status_name", names)
                self.assertEqual([n for n in sorted(names) if not n.startswith("weir_")], [])

    def test_both_libraries_offer_the_same(self):
        lib = os.path.join(self.prefix, "lib")
        self.assertEqual(self.symbols("-D", "--defined-only", os.path.join(lib, "libweir.so")),
                         self.symbols("-g", "--defined-only", os.path.join(lib, "libweir.a")))

    def test_all_public_headers_are_there_and_compile_as_c_and_cpp(self):
        installed = sorted(os.listdir(os.path.join(self.prefix, "include", "weir")))
        self.assertEqual(installed, sorted(os.listdir(os.path.join(weirtest.ROOT, "include", "weir"))))
        text = "".join(f"#include <weir/{name}>\n" for name in installed)
        for compiler in (["gcc", "-x", "c", "-std=c99", "-pedantic"], ["clang", "-x", "c++"]):
            run(*compiler, "-Wall", "-Wextra", "-Werror", "-fsyntax-only", *self.pkg_config("--cflags"), "-", input=text)

    def test_destdir_keeps_everything_below_it(self):
        with open(os.path.join(self.dest, "usr/local/lib/pkgconfig/weir.pc")) as f:
            self.assertIn("prefix=/usr/local\n", f.read())
        for link in ("libweir.so", "libweir.so.0"):
            path = os.path.join(self.dest, "usr/local/lib", link)
            self.assertTrue(os.path.islink(path) and os.path.isfile(path), link)

    def test_the_command_says_its_version(self):
        weir = os.path.join(self.prefix, "bin", "weir")
        version = self.pkg_config("--modversion")[0]
        self.assertIn(version, run(weir, "--version"))

    def test_the_scripts_for_completion_are_where_shells_look(self):
        for path, says in (("share/bash-completion/completions/weir", "complete -F _weir weir"),
                           ("share/zsh/site-functions/_weir", "#compdef weir")):
            with open(os.path.join(self.prefix, path)) as f:
                self.assertIn(says, f.read())

    def test_a_worker_runs_with_the_module_for_python(self):
        worker = os.path.join(self.prefix, "double.py")
        with open(worker, "w") as f:
            f.write("import weir_worker\n@weir_worker.command('process')\ndef double(n):\n    return 2 * n\n"
                    "weir_worker.run()\n")
        done = run(os.path.join(self.prefix, "bin", "weir"), "run", "-q", "--worker", f"{sys.executable} {worker}", input="21\n",
                   env=dict(os.environ, PYTHONPATH=os.path.join(self.prefix, "share", "weir", "python")))
        self.assertIn('"output":42', done)

    def test_uninstall_leaves_no_file(self):
        where = os.path.join(self.dest, "..", "again")
        self.make("install", f"DESTDIR={where}")
        self.make("uninstall", f"DESTDIR={where}")
        self.assertEqual([names for _, _, names in os.walk(where) if names], [])


if __name__ == "__main__":
    unittest.main()
