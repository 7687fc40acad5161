"""weir run -- CMD: a command for each row. Where habits of xargs or GNU parallel are claimed, both are run on the same
input, and their bytes compared."""
# run-tests: waits
# run-tests: long
# run-tests: sanitizers
import contextlib
import glob
import json
import os
import random
import shutil
import signal
import sqlite3
import subprocess
import unittest

from runkit import RunCase, environment
from weirtest import SLOWNESS, WEIR, wait_until

PARALLEL = shutil.which("parallel")
HEAD = b"Seq\tHost\tStarttime\tJobRuntime\tSend\tReceive\tExitval\tSignal\tCommand\n"


class CommandCase(RunCase):
    def setUp(self):
        super().setUp()
        self.write(".parallel/will-cite", "")

    def other(self, *words, data=None):
        """Runs xargs or parallel as weir is run: (status, out)."""
        done = subprocess.run([str(w) for w in words], input=data, cwd=self.dir, env=environment(self.dir),
                              stdin=subprocess.DEVNULL if data is None else None, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, timeout=60 * SLOWNESS, check=False)
        return done.returncode, done.stdout

    def script(self, text, name="script"):
        path = self.write(name, "#!/bin/sh\n" + text)
        os.chmod(path, 0o755)
        return path

    def left(self):
        """Processes that have this test's folder in their command line, but for weir and its guard."""
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    if self.dir.encode() in f.read():
                        found.append(path)
            except OSError:
                pass
        return found


@unittest.skipUnless(PARALLEL, "GNU parallel is not installed")
class TestLikeParallel(CommandCase):
    def both(self, command, *options, rest=(), data=None, status=0):
        """The same script, options and values through parallel and through weir run --shell."""
        theirs = self.other("parallel", "-k", *options, command, *rest, data=data)
        ours = self.weir("--shell", *options, "--", command, *rest, data=data)
        self.assertEqual(ours.out, theirs[1], f"parallel {options} {command} {rest}")
        self.assertEqual(ours.status, status, ours.text)
        return ours.out

    def test_placeholders_stand_for_the_same(self):
        rows = ["a/b.c", ".bashrc", "d/.x", "/e/", "/", "a.b.c", "x y", "", "it's", "$HOME", "a\\b", "*", "{}", "ä.ö",
                "x//y", "//y", "-n"]
        for command in ("printf '%s\\n' {}", "printf '[%s]' {.} {/} {//} {/.}", "printf '%s ' {#} x{}y {1} {1.} {1/}",
                        "printf '%s,' {{}} {0x} {#x}", "printf %s {2}{-1}", "printf '%s\\n' pre", "printf '<%s>' {%}{#}"):
            self.both(command, "-j1", rest=[":::", *rows])
        self.both("printf '%s,' {x} {print $1}", "-j1", rest=[":::", "text"])

    def test_a_command_without_a_placeholder_gets_the_row(self):
        self.both("printf '<%s>'", rest=[":::", "a b", "c"])
        self.both("echo", data=b"a\n  b  \nc \"d\"\n")

    def test_combinations_come_in_the_same_order(self):
        self.write("f1", "a\nb\nc\n")
        self.write("f2", "1\n2\n")
        for rest in ([":::", "a", "b", ":::", "c", "d", ":::", "e"], [":::", "a", "b", "c", ":::+", "d", "e"],
                     [":::", "a", "b", ":::+", "d", "e", ":::", "x", "y"], ["::::", "f1", "f2"],
                     [":::", "x", "y", "::::", "f1"], [":::", "x", "y", "::::+", "f1"], [":::", "x", ":::", "y", "z"]):
            self.both("echo {2}-{1} {} {#}", rest=rest)
        self.both("echo", "-a", "f1", "-a", "f2")
        self.both("echo", "-a", "f1", rest=[":::", "x"])
        self.both("echo", "-a", "f1")

    def test_columns_are_the_same(self):
        rows = b"a,b\n,c\nd,,\ne\n"
        self.both("printf '[%s]' {1} {2} {3} {-1} {}", "--colsep", ",", data=rows)
        self.both("printf '[%s]' {2} {1}", "--colsep", " +", data=b"a   b c\n x y\n")
        self.both("printf '[%s]' {2.} {1/}", "--colsep", "\\t", data=b"p/a\tb.c\n")

    def test_several_rows_at_a_time_and_another_name_for_the_row(self):
        self.both("echo x{} {1} {2}", "-n2", rest=[":::", "a", "b", "c"])
        self.both("echo", "-n3", data=b"a\nb\nc\nd\n")
        self.both("echo ,, {} {.}", "-I", ",,", rest=[":::", "a.b"])

    def test_rows_with_nul_bytes_between(self):
        self.both("printf '<%s>' x{}y", "-0", data=b"a\nb\0\0c\0")

    def test_tagged_lines_are_the_same(self):
        for options in (["--tag"], ["--tagstring", "{#}:{}"], ["--tagstring", "x"]):
            self.both("printf 'a\\n\\n%s' {}", *options, rest=[":::", "p q", "r"])
        self.both("echo", "--tag", rest=[":::", "2", "3", ":::", "4"])

    def test_a_dry_run_prints_the_same_lines(self):
        self.both("echo {} {.} | cat", "--dry-run", rest=[":::", "x y", "q$", "it's", "plain-1.txt", "", "ü"])

    def test_the_job_log_has_the_same_columns(self):
        command, rest = "printf %s {}; exit {}", [":::", "0", "1", "300", "0"]
        self.other("parallel", "-k", "-j1", "--joblog", "theirs", command, *rest)
        self.weir("--shell", "-j1", "--joblog", "ours", "--", command, *rest, status=1)
        self.other("parallel", "-j1", "--joblog", "killed-theirs", "kill -9 $$; echo {}", ":::", "a")
        self.weir("--shell", "-j1", "--joblog", "killed-ours", "--", "kill -9 $$; echo {}", ":::", "a", status=1)

        def masked(name):
            lines = self.read(name).splitlines()
            for line in lines[1:]:
                fields = line.split(b"\t")
                self.assertRegex(fields[2], rb"^[0-9]{10}\.[0-9]{3}$")
                self.assertRegex(fields[3], rb"^ *[0-9]+\.[0-9]{3}$")
                self.assertEqual(len(fields[3]), 10)
            return [line.split(b"\t")[:2] + line.split(b"\t")[4:] for line in lines]

        self.assertEqual(masked("ours"), masked("theirs"))
        self.assertEqual(masked("killed-ours"), masked("killed-theirs"))

    def test_a_job_log_of_the_other_is_gone_on_with(self):
        """Each goes on with what the other has logged, and runs the same rows."""
        rest = [":::", "0", "1", "3", "0", "5"]
        self.other("parallel", "-k", "--joblog", "log", "exit {}", *rest[:4])
        for name in ("a", "b", "c", "d"):
            shutil.copy(self.path("log"), self.path(name))
        for option, ours, theirs in (("--resume", "a", "b"), ("--resume-failed", "c", "d")):
            wanted = self.other("parallel", "-k", "--joblog", theirs, option, "echo {}", *rest)[1]
            done = self.weir("--shell", "--joblog", ours, option, "--", "echo {}", *rest, status=0)
            self.assertEqual(done.out, wanted)
            # And once more there is nothing left for either.
            self.assertEqual(self.other("parallel", "-k", "--joblog", ours, option, "echo {}", *rest)[1], b"")
            self.assertEqual(self.weir("--shell", "--joblog", theirs, option, "--", "echo {}", *rest, status=0).out, b"")

    def test_failures_are_tried_as_often(self):
        self.other("parallel", "--retries", "3", "echo {} >>theirs; exit 1", ":::", "a", "b")
        self.weir("--shell", "--retries", "2", "--retry-delay", "1ms", "--", "echo {} >>ours; exit 1", ":::", "a", "b",
                  status=1)
        self.assertEqual(sorted(self.read("ours")), sorted(self.read("theirs")))

    def test_words_about_halting_mean_the_same(self):
        for when, statuses in (("now,fail=1", [0, 1, 0, 0]), ("soon,fail=2", [1, 0, 1, 0]), ("soon,success=1", [1, 0, 0]),
                               ("never", [1, 1]), ("2", [0, 1, 0]), ("1", [0, 1, 0]), ("-2", [1, 0, 1])):
            for name in ("ours", "theirs"):
                self.write(name, "")
            rest = [":::", *map(str, statuses)]
            self.other("parallel", "-j1", "-k", "--halt", when, "echo {} >>theirs; exit {}", *rest)
            self.weir("--shell", "-j1", "--halt", when, "--", "echo {} >>ours; exit {}", *rest)
            self.assertEqual(self.read("ours"), self.read("theirs"), when)


class TestLikeXargs(CommandCase):
    def both(self, ours, theirs, data, status=0):
        done = self.weir(*ours, data=data)
        self.assertEqual(done.out, self.other("xargs", *theirs, data=data)[1])
        self.assertEqual(done.status, status, done.text)

    def test_a_word_for_each_row(self):
        rows = b"a\nb/c\nd.e\n" * 20
        self.both(["-j1", "--", "echo", "x"], ["-n1", "echo", "x"], rows)
        self.both(["-P1", "-n3", "--", "echo"], ["-P1", "-n3", "echo"], rows)
        self.both(["-j1", "-I", "{}", "--", "echo", "x{}y", "{}"], ["-I", "{}", "echo", "x{}y", "{}"], b"a\nb\n\n\nc d\n")
        self.both(["-j1", "-I", "@", "--", "echo", "@{}"], ["-I", "@", "echo", "@{}"], b"a b\n")

    def test_any_bytes_between_nuls(self):
        names = b"a b\0it's\0\"q\"\0\0line\nbreak\0\\\0-n\0\xff\xfe\0"
        self.both(["-j1", "-0", "--", "printf", "<%s>"], ["-0", "-n1", "printf", "<%s>"], names)

    def test_rows_from_a_file(self):
        self.write("rows", "a\nb\n")
        self.both(["-j1", "-a", "rows", "--", "echo"], ["-a", self.path("rows"), "-n1", "echo"], b"")

    def test_nothing_is_run_without_rows(self):
        self.both(["--", "echo", "x"], ["-r", "echo", "x"], b"")
        self.both(["--", "echo", "x"], ["-r", "echo", "x"], b"\n  \n")


class TestRows(CommandCase):
    def test_arguments_are_passed_as_they_are(self):
        """No shell sees them: what a row holds is one argument, whatever it is."""
        rows = ["$(touch evil)", "; touch evil", "`touch evil`", "a'b\"c", "*", "\\n", "--", "-rf", "\t", "x" * 100000]
        done = self.weir("--", "printf", "%s\\0", "{}", ":::", *rows, status=0)
        self.assertEqual(done.out, b"".join(r.encode() + b"\0" for r in rows))
        done = self.weir("--shell", "--", "printf '%s\\0' {}", ":::", *rows, status=0)
        self.assertEqual(done.out, b"".join(r.encode() + b"\0" for r in rows))
        self.assertFalse(os.path.exists(self.path("evil")))

    def test_a_script_takes_rows_as_they_are_in_quotes_too(self):
        rows = ["$(touch evil)", "; touch evil", "`touch evil`", "a'b\"c", "*", "\\n", "--", "'$(touch evil)'", "\"; touch evil; \"",
                "a\nb", "\\'; touch evil", "x  y", "\\"]
        wanted = b"".join(r.encode() + b"\0" for r in rows)
        show = "printf '%s\\0' "
        for script in ('{}', '"{}"', "'{}'", '"$(printf %s {})"', '"$(printf %s "{}")"'):
            done = self.weir("--shell", "--", show + script, ":::", *rows, status=0)
            self.assertEqual(done.out, wanted, script)
        self.assertFalse(os.path.exists(self.path("evil")))
        done = self.weir("--shell", "--", "echo `echo {}`", ":::", *rows, status=2)
        self.assertIn("{} stands in backquotes", done.text)

    def test_a_line_for_a_shell_is_told_from_a_program(self):
        for line in ("echo {}", "echo x | cat"):
            done = self.weir("--", line, ":::", "a", status=2)
            self.assertIn(f'"{line}" is one word', done.text)
            self.assertIn("--shell", done.text)
        self.script("echo $1", "a b")
        self.assertEqual(self.weir("--", "./a b", ":::", "x", status=0).out, b"x\n")
        self.assertEqual(self.weir("--", "./a {}", ":::", "b", status=0).out, b"\n")

    def test_fields_of_a_row_are_arguments_and_variables(self):
        rows = self.write("rows", json.dumps({"file": "a b.txt", "n": 1.5, "in": {"er": [1, 2]}, "no-name": 1}) + "\n")
        done = self.weir(rows, "--", "sh", "-c", 'printf "%s|" "$@" "$WEIR_ROW_file" "$WEIR_ROW_n" "$WEIR_ROW_in"', "x",
                         "{file}", "{file.}", "{in.er}", "{n}", status=0)
        self.assertEqual(done.out, b'a b.txt|a b|[1, 2]|1.5|a b.txt|1.5|{"er": [1, 2]}|')

    def test_a_row_sets_no_variable_of_its_own_choice(self):
        rows = self.write("rows", json.dumps({"PATH": "/nonexistent", "LD_PRELOAD": "x", "A=B": 1, "HOME": "/x"}) + "\n")
        done = self.weir(rows, "--stdin", "--", "env", status=0)
        names = {line.split(b"=")[0] for line in done.out.splitlines()}
        self.assertNotIn(b"LD_PRELOAD", names)
        self.assertIn(b"WEIR_ROW_LD_PRELOAD", names)
        self.assertNotIn(b"PATH=/nonexistent", done.out.splitlines())
        self.assertNotIn(b"A", names)
        self.assertNotIn(b"WEIR_ROW_A", names)

    def test_a_field_too_large_for_the_environment_goes_by_standard_input(self):
        row = json.dumps({"big": "x" * 300000, "small": "s"}) + "\n"
        done = self.weir(self.write("rows", row), "--stdin", "--", "sh", "-c", 'wc -c; echo "$WEIR_ROW_small$WEIR_ROW_big"',
                         status=0)
        self.assertEqual(done.out.split(), [str(len(row)).encode(), b"s"])

    def test_bad_rows_are_told_with_their_place_before_anything_runs(self):
        rows = self.write("rows", '{"a":1}\n{"b":2}\nplain\n{"a":"x\\u0000y"}\n')
        done = self.weir(rows, "--", "touch", "{a}", status=2)
        self.assertIn(f'{rows}:2: the row has no field "a"', done.text)
        self.assertIn(f"{rows}:4: ", done.text)
        self.assertEqual([n for n in os.listdir(self.dir) if n not in ("rows", ".parallel")], [])
        done = self.weir(rows, "--skip-bad", "--json", "-q", "--", "echo", "{a}", status=1)
        self.assertEqual([(r["output"], r["error"] and r["error"]["code"]) for r in done.rows],
                         [("1\n", None), (None, "bad_row"), ("{a} plain\n", None), (None, "bad_row")])
        nul = self.write("nul", b"a\0b\n")
        self.assertIn("--null", self.weir(nul, "--", "echo", status=2).text)

    def test_a_program_that_is_not_there_is_told_once(self):
        done = self.weir("--", "nonexistent-program", ":::", *map(str, range(100)), status=2)
        self.assertEqual(done.text.count("\n"), 1)
        self.assertIn('"nonexistent-program"', done.text)
        # Where a row says which program it is, it is the row that fails.
        done = self.weir("--json", "-q", "--", "{}", ":::", "true", "nonexistent-program", status=1)
        self.assertEqual([r["error"] and r["error"]["code"] for r in done.rows], [None, "start_failed"])

    def test_the_row_goes_to_standard_input(self):
        done = self.weir("--stdin", "--", "cat", data=b"a b\n{}\n", status=0)
        self.assertEqual(done.out, b"a b\n{}\n")
        done = self.weir("--stdin", "-n2", "--", "sed", "s/^/>/", ":::", "a", "b", "c", status=0)
        self.assertEqual(done.out, b">a\n>b\n>c\n")
        # Nobody else reads our standard input.
        done = self.weir("--", "cat", "-", ":::", "/dev/null", data=b"not a row\n", status=0)
        self.assertEqual(done.out, b"")

    def test_a_command_runs_where_it_is_told_to(self):
        os.mkdir(self.path("sub"))
        done = self.weir("--workdir", "sub", "--stdin", "--", "pwd", "-P", ":::", "x", status=0)
        self.assertEqual(done.out.decode().strip(), os.path.realpath(self.path("sub")))
        self.assertIn("--workdir", self.weir("--workdir", "nowhere", "--", "pwd", ":::", "x", status=2).text)

    def test_a_key_is_the_row_or_its_number(self):
        done = self.weir("--json", "-q", "--", "true", ":::", "a b", "x" * 600, "a b", status=0)
        self.assertEqual([r["key"] for r in done.rows], ["a b", "1", "a b"])
        rows = self.write("rows", '{"id":"x"}\n{"id":"x"}\n')
        self.assertIn("was used before", self.weir(rows, "--key", ".id", "--", "true", status=2).text)


class TestOutput(CommandCase):
    def test_bytes_come_in_the_order_of_the_rows(self):
        """Each row's standard output and error whole, however large, whatever ends first."""
        script = self.script('i=$1; c=$2; n=$((i * 40000)); [ $((i % 2)) = 0 ] && sleep 0.02\n'
                             'head -c $n /dev/zero | tr "\\0" "$c"; head -c $n /dev/zero | tr "\\0" "$c" >&2\n')
        letters = "abcdefghijklmnopqrst"
        done = self.weir("-j", 8, "--", script, "{#}", "{}", ":::", *letters, status=0)
        wanted = b"".join(c.encode() * ((i + 1) * 40000) for i, c in enumerate(letters))
        self.assertEqual(done.out, wanted)
        self.assertEqual(done.err, wanted)

    def test_a_run_says_nothing_unless_something_failed(self):
        self.assertEqual(self.weir("--", "echo", ":::", "a", status=0).err, b"")
        done = self.weir("--", "sh", "-c", "exit $0", ":::", "0", "3", "4", status=1)
        self.assertEqual(done.text, "weir run: 2 of 3 rows failed, the first of them row 2 (3): exit status 3\n")
        self.assertIn("3 of 3 rows", self.weir("--bar", "--", "echo", ":::", "a", "b", "c", status=0).text)
        done = self.weir("--summary", "s.json", "--", "sh", "-c", "exit $0", ":::", "0", "7", status=1)
        self.assertEqual(json.loads(self.read("s.json"))["statuses"], {"7": 1})
        self.assertEqual(done.text.count("\n"), 1)

    def test_lines_of_json_have_exit_codes_and_both_streams(self):
        done = self.weir("--json", "-q", "--", "sh", "-c", 'echo "$0"; echo e >&2; exit "$0"', ":::", "0", "3", status=1)
        self.assertEqual(done.rows, [
            {"index": 0, "key": "0", "status": 0, "output": "0\n", "error": None, "stderr": "e\n"},
            {"index": 1, "key": "3", "status": 3, "output": "3\n", "stderr": "e\n",
             "error": {"code": "exit_status", "message": done.rows[1]["error"]["message"]}}])
        done = self.weir("--json", "-q", "--", "sh", "-c", "kill -9 $$", ":::", "x", status=1)
        self.assertEqual((done.rows[0]["status"], done.rows[0]["error"]["code"]), (-9, "signalled"))
        done = self.weir("--json", "-q", "--", "echo", ":::", '{"a": 1}', "[2]", "3", status=0)
        self.assertEqual([r["output"] for r in done.rows], [{"a": 1}, [2], "3\n"])

    def test_more_output_than_allowed_ends_the_command(self):
        done = self.weir("--output-limit", "10k", "--json", "-q", "--", "sh", "-c",
                         'while echo xxxxxxxxxxxxxxxxxxxxxxxxx; do :; done', ":::", "x", status=1)
        self.assertEqual(done.rows[0]["error"]["code"], "response_too_large")

    def test_output_of_any_size_comes_whole_and_in_order(self):
        mib = 1 << 20
        reading = subprocess.Popen([WEIR, "run", "-j2", "--", "sh", "-c", "head -c 500M /dev/zero | tr '\\0' {}", ":::", "a",
                                    "b"], stdout=subprocess.PIPE)
        sizes = {"a": 0, "b": 0}
        with reading.stdout as output:
            while part := output.read(mib):
                self.assertTrue(not sizes["b"] or b"a" not in part)
                for letter in sizes:
                    sizes[letter] += part.count(letter.encode())
        self.assertEqual(reading.wait(60), 0)
        self.assertEqual(sizes, {"a": 500 * mib, "b": 500 * mib})

    def test_rows_out_of_order_come_as_they_end(self):
        gate = self.path("gate")
        process = self.start("--unordered", "-j2", "--shell", "--",
                             f'if [ {{}} = first ]; then while [ ! -e {gate} ]; do sleep 0.01; done; fi; echo {{}}',
                             ":::", "first", "second", "third")
        self.assertEqual(process.stdout.readline(), b"second\n")
        self.assertEqual(process.stdout.readline(), b"third\n")
        self.write("gate", "")
        self.assertEqual(self.finish(process, 0).out, b"first\n")

    def test_a_file_is_gone_on_with_after_kill_and_failed_rows_are_run_again(self):
        """Raw bytes with -o: what an undisturbed run writes, after any number of kills; then --retry-failed."""
        script = self.script('[ -e "$3" ] || [ $(($1 % 5)) != 3 ] || exit 9\nprintf "<%s:" "$1"\n'
                             'head -c $(($1 * 7 % 90)) /dev/zero | tr "\\0" x\n[ $(($1 % 3)) = 0 ] || echo "$2"\n')
        rows = [str(i) for i in range(300)]
        command = ["--", script, "{}", "a b", self.path("repaired"), ":::", *rows]
        undisturbed = self.weir("-j4", *command, status=1).out
        rng = random.Random(5)
        for _ in range(6):
            process = self.start("-j4", "-o", "out", *command)
            size = rng.randrange(1, len(undisturbed))
            wait_until(lambda: process.poll() is not None or
                       os.path.exists(self.path("out")) and os.path.getsize(self.path("out")) >= size, 30, "some output")
            process.kill()
            process.wait()
        done = self.weir("-j4", "-o", "out", *command, status=1)
        self.assertEqual(self.read("out"), undisturbed)
        self.assertRegex(done.text, "^weir run: 60 of 300 rows failed, (the first of them|in the runs before)")
        done = self.weir("-j4", "-o", "out", *command, status=1)
        self.assertEqual(done.text, "weir run: 60 of 300 rows failed, in the runs before\n")
        self.write("repaired", "")
        self.weir("-j4", "-o", "out", "--retry-failed", *command, status=0)
        self.assertEqual(self.read("out"), self.weir("-j4", *command, status=0).out)
        done = self.weir("-j4", "-o", "out", "--", script, "{}", ":::", *rows, status=2)
        self.assertIn("other options", done.text)
        self.weir("-o", "out", "--fresh", "--", "printf", "%s", ":::", "a", "b", status=0)
        self.assertEqual(self.read("out"), b"ab")


    def test_what_was_written_to_standard_error_survives_a_kill(self):
        """Rows that have ended wait for the first one when weir is killed; the next run has both streams from the journal."""
        gate = self.path("gate")
        command = f"if [ {{}} = 0 ]; then while [ ! -e {gate} ]; do sleep 0.01; done; fi; echo out{{}}; echo err{{}} >&2; echo {{}} >>ran"
        args = ["-j2", "--json", "-q", "-o", "out", "--shell", "--", command, ":::", *map(str, range(5))]
        process = self.start(*args)

        def finished():
            # The run has the journal to itself; a copy says what a crash now would leave.
            for name in ("out.weir", "out.weir-wal"):
                if os.path.exists(self.path(name)):
                    shutil.copy(self.path(name), self.path(name.replace("out", "copy")))
            try:
                with contextlib.closing(sqlite3.connect(self.path("copy.weir"))) as journal:
                    return journal.execute("SELECT count(*) FROM pending").fetchone()[0] == 4
            except sqlite3.DatabaseError:
                return False
            finally:
                for path in glob.glob(self.path("copy.weir*")):
                    os.remove(path)

        wait_until(finished, 20, "four results in the journal")
        process.kill()
        process.wait()
        self.write("gate", "")
        self.weir(*args, status=0)
        rows = [json.loads(line) for line in self.read("out").splitlines()]
        self.assertEqual([(r["output"], r["stderr"]) for r in rows], [(f"out{i}\n", f"err{i}\n") for i in range(5)])
        self.assertEqual(sorted(self.read("ran").split()), [b"0", b"1", b"2", b"3", b"4"])


class TestFlow(CommandCase):
    def test_places_are_used_once_at_a_time_and_no_more_than_allowed(self):
        script = self.script('mkdir place-$1 || exit 1\nfor i in 1 2 3; do ls -d place-* | wc -l; done\nrmdir place-$1\n')
        done = self.weir("-j3", "--", script, "{%}", ":::", *map(str, range(60)), status=0)
        counts = {int(n) for n in done.out.split()}
        self.assertLessEqual(max(counts), 3)

    def test_what_is_full_is_tried_again_without_using_up_tries(self):
        script = self.script('echo x >>"count-$1"\n[ $(wc -l <"count-$1") -gt 3 ] || exit $2\necho done $1\n')
        done = self.weir("--", script, "{}", "75", ":::", "a", "b", status=0)
        self.assertEqual(done.out, b"done a\ndone b\n")
        done = self.weir("--capacity-exit", "99,100", "--", script, "{}", "100", ":::", "c", status=0)
        done = self.weir("--capacity-exit", "none", "--json", "-q", "--", script, "{}", "75", ":::", "d", status=1)
        self.assertEqual(done.rows[0]["status"], 75)

    def test_a_time_limit_ends_the_whole_tree(self):
        marker = self.path("tree")
        done = self.weir("--timeout", "300ms", "--json", "-q", "--", "sh", "-c",
                         f"trap '' TERM; sh -c 'sleep 1000; : {marker}' & sleep 1000; : {marker}", ":::", "x", status=1)
        self.assertEqual(done.rows[0]["error"]["code"], "timeout")
        wait_until(lambda: not self.left(), 10, "the end of all that was started")

    def test_the_signals_are_those_of_the_term_sequence(self):
        script = self.script('trap "echo usr1; exit 7" USR1\ntrap "echo int" INT\necho begun\nwhile :; do sleep 0.01; done\n')
        done = self.weir("--timeout", "400ms", "--term-seq", "INT,200,USR1,5000", "--json", "-q", "--", script,
                         ":::", "x", status=1)
        self.assertEqual(done.rows[0]["output"], "begun\nint\nusr1\n")

    def test_starts_are_apart(self):
        done = self.weir("-j4", "--delay", "30ms", "--", "date", "+%s%N", ":::", "-u", "-u", "-u", "-u",
                         status=0)
        times = [int(t) / 1e9 for t in done.out.split()]
        self.assertEqual(len(times), 4)
        self.assertGreaterEqual(times[-1] - times[0], 0.05)

    def test_nothing_starts_while_the_machine_is_too_busy(self):
        for option in (["--memfree", "100T"], ["--load", "0.000001"]):
            process = self.start(*option, "--bar", "--", "touch", "begun", ":::", "x", stderr=subprocess.PIPE)
            told = b""
            while b"nothing starts" not in told:
                line = process.stderr.readline()
                self.assertTrue(line, told)
                told += line
            process.send_signal(signal.SIGINT)
            self.finish(process, 3)
            self.assertFalse(os.path.exists(self.path("begun")))
        self.weir("--memfree", "1k", "--load", "100000%", "--", "touch", "begun", ":::", "x", status=0)

    def test_a_stop_lets_what_runs_finish_and_a_second_one_ends_it(self):
        gate = self.path("gate")
        for signals in (1, 2):
            command = f": >begun; while [ ! -e {gate} ]; do sleep 0.01; done; echo finished {{}}"
            process = self.start("-j1", "--bar", "--shell", "--", command, ":::", "a", "b")
            wait_until(lambda: os.path.exists(self.path("begun")), 20, "the first command")
            process.send_signal(signal.SIGTERM)
            # Two signals that come at once are one.
            line = b""
            while not line.startswith(b"stopping:"):
                line = process.stderr.readline()
                self.assertTrue(line)
            if signals == 2:
                process.send_signal(signal.SIGTERM)
            else:
                self.write("gate", "")
            done = self.finish(process, 3)
            self.assertEqual(done.out, b"finished a\n" if signals == 1 else b"")
            wait_until(lambda: not self.left(), 10, "the end of all that was started")
            for name in ("begun", "gate"):
                if os.path.exists(self.path(name)):
                    os.remove(self.path(name))

    def test_a_killed_weir_leaves_no_command_behind(self):
        marker = self.path("marker")
        process = self.start("-j3", "--", "sh", "-c", f"sleep 1000 & : >{marker}-$0; wait; : {marker}", ":::", "a", "b", "c")
        wait_until(lambda: len(glob.glob(marker + "-*")) == 3, 20, "three commands")
        process.kill()
        process.wait()
        wait_until(lambda: not self.left(), 10, "the end of all that was started")

    def test_a_share_of_the_median_ends_what_is_much_slower(self):
        rows = ["0.1"] * 40 + ["1000"] + ["0.1"] * 3
        done = self.weir("-j2", "--timeout", "3000%", "--json", "-q", "--", "sleep", ":::", *rows, status=1)
        self.assertEqual([r["index"] for r in done.rows if r["error"]], [40])
        self.assertEqual(done.rows[40]["error"]["code"], "timeout")


class TestJobLog(CommandCase):
    def test_a_log_is_replaced_only_by_another_run_and_nothing_else_is_touched(self):
        precious = self.write("precious", "my thesis\n")
        self.assertIn("no job log", self.weir("--joblog", precious, "--", "echo", ":::", "a", status=2).text)
        self.assertIn("no job log", self.weir("--joblog", precious, "--resume", "--", "echo", ":::", "a", status=2).text)
        self.assertEqual(self.read("precious"), b"my thesis\n")
        for _ in range(2):
            self.weir("--joblog", "log", "--", "echo", ":::", "a", "b", status=0)
            self.assertEqual(len(self.read("log").splitlines()), 3)
        self.assertTrue(self.read("log").startswith(HEAD))

    def test_a_line_cut_off_by_a_crash_is_run_again(self):
        self.weir("--joblog", "log", "-j1", "--", "echo", ":::", "a", "b", "c", status=0)
        whole = self.read("log")
        self.write("log", whole[:-4])
        done = self.weir("--joblog", "log", "--resume", "--", "echo", ":::", "a", "b", "c", status=0)
        self.assertEqual(done.out, b"c\n")
        self.assertEqual(len(self.read("log").splitlines()), 4)

    def test_rows_are_logged_as_they_end_and_after_a_kill_the_rest_is_run(self):
        gate = self.path("gate")
        command = f"if [ {{}} = slow ]; then while [ ! -e {gate} ]; do sleep 0.01; done; fi; echo {{}} >>ran"
        rest = [":::", "slow", "b", "c", "d"]
        process = self.start("-j2", "--joblog", "log", "--shell", "--", command, *rest)
        wait_until(lambda: os.path.exists(self.path("log")) and len(self.read("log").splitlines()) == 4, 20, "three lines")
        process.kill()
        process.wait()
        self.write("gate", "")
        self.weir("-j2", "--joblog", "log", "--resume", "--shell", "--", command, *rest, status=0)
        self.assertEqual(sorted(self.read("ran").split()), [b"b", b"c", b"d", b"slow"])

    def test_what_did_not_run_to_its_end_is_no_success(self):
        self.weir("--joblog", "log", "--timeout", "100ms", "-j2", "--", "sleep", ":::", "1000", status=1)
        self.weir("--joblog", "log2", "-j2", "--", "{}", ":::", "nonexistent-program", status=1)
        self.assertEqual(self.read("log").splitlines()[1].split(b"\t")[6:8][0], b"-1")
        self.assertEqual(self.read("log2").splitlines()[1].split(b"\t")[6:8], [b"127", b"0"])

    def test_two_runs_do_not_share_a_log(self):
        gate = self.path("gate")
        process = self.start("--joblog", "log", "--shell", "--", f": >begun; while [ ! -e {gate} ]; do sleep 0.01; done; echo",
                             ":::", "x")
        wait_until(lambda: os.path.exists(self.path("begun")), 20, "the first run")
        self.assertIn("another run", self.weir("--joblog", "log", "--", "echo", ":::", "a", status=2).text)
        self.write("gate", "")
        self.finish(process, 0)

    def test_a_log_that_cannot_be_written_is_an_error(self):
        done = self.weir("--joblog", "/dev/full", "--", "true", ":::", "a")
        self.assertEqual(done.status, 1)
        self.assertIn("--joblog: /dev/full", done.text)


if __name__ == "__main__":
    unittest.main()
