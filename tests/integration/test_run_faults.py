"""`weir run` against full disks, damaged journals and bad input (P1, P9, P10).

Bad input costs nothing: exit status 2, a message that names the place and the remedy, and nothing was sent.
run-tests: waits
run-tests: long
run-tests: sanitizers
run-tests: timeout=300
"""
import json
import os
import random
import resource
import shutil
import signal
import sqlite3
import stat
import subprocess
import unittest

from runkit import RunCase, echo
from weirtest import VARIANT, free_port, wait_until

MIB = 1 << 20


class FaultCase(RunCase):
    def setUp(self):
        super().setUp()
        self.echo = self.service(echo)

    def refuse(self, *args, says=(), sent=0, url=None, **more):
        """Runs weir, which must refuse with status 2, say all of `says`, and send nothing."""
        done = self.weir("--url", url or self.echo.url, *args, status=2, **more)
        self.assert_says(done, r"^weir run: ", *says)
        self.assertEqual(len(self.echo.calls), sent)
        return done


class TestBadInput(FaultCase):
    def bad(self, text, *says, options=(), name="in.jsonl"):
        path = self.write(name, text)
        done = self.refuse("-o", "out.jsonl", *options, path, says=says)
        # A run that was refused leaves nothing behind that a corrected one would trip over.
        self.assertFalse(os.path.exists(self.path("out.jsonl")) and self.read("out.jsonl"))
        return done

    def test_broken_json_names_file_and_line(self):
        done = self.bad('{"a":1}\n{"a":\n{"b":2}\n', r"in\.jsonl:2", "JSON")
        self.assert_says(done, "skip-bad")

    def test_every_kind_of_broken_line(self):
        for line in (b"{", b"}", b'{"a":1,}', b"nope", b"[1,2", b'"abc', b"{'a':1}", b'{"a":1} x', b'{"a":01}',
                     b'"\\x"', b"NaN", b"tru", b'{"a" 1}', b'{"a":1}{"b":2}', b"\xff\xfe{\x00}\x00",
                     b"[" * 100000):
            with self.subTest(line=line[:20]):
                self.bad(b'{"ok":1}\n\n' + line + b"\n", r"in\.jsonl:3")

    def test_nul_bytes(self):
        self.bad(b'{"a":1}\n{"a":"x\0y"}\n', r"in\.jsonl:2")
        self.bad(b"{\"a\":1}\n" + b"\0" * 4096 + b"\n", r"in\.jsonl:2")

    def test_invalid_utf_8(self):
        self.bad(b'{"a":1}\n{"a":"caf\xe9"}\n', r"in\.jsonl:2", "UTF-8")
        self.bad(b'{"a":"\xed\xa0\x80"}\n', r"in\.jsonl:1", "UTF-8")

    def test_duplicate_custom_ids_name_both_places(self):
        row = '{"custom_id":"%s","method":"POST","url":"/x","body":{}}\n'
        done = self.bad(row % "a" + row % "b" + "\n" + row % "a", r"in\.jsonl:4", r"in\.jsonl:1", '"a"')
        self.assert_says(done, "key")

    def test_duplicate_keys_across_files(self):
        row = '{"custom_id":"a","method":"POST","url":"/x","body":{}}\n'
        one, two = self.write("one.jsonl", row), self.write("two.jsonl", "{}\n" + row)
        self.refuse("-o", "out.jsonl", one, two, says=(r"two\.jsonl:2", r"one\.jsonl:1"))

    def test_many_faults_are_told_but_not_all_of_them(self):
        done = self.bad("bad\n" * 5000, r"in\.jsonl:1\b", r"5,?000")
        self.assertLess(len(done.err), 20000)

    def test_a_line_over_the_limit(self):
        self.bad('{"a":1}\n{"a":"' + "x" * 2000 + '"}\n', r"in\.jsonl:2", "max-line", options=("--max-line", "1k"))

    def test_a_line_of_a_gigabyte_in_bounded_memory(self):
        path = self.path("huge.jsonl")
        with open(path, "wb") as f:
            f.write(b'{"a":1}\n{"a":"')
            f.truncate(1 << 30)  # sparse: zeros, and no end of the line
        before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        self.refuse("-o", "out.jsonl", path, says=(r"huge\.jsonl:2", "max-line"), deadline_s=60)
        after = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
        if not VARIANT:
            self.assertLess(max(after, before), 150 * 1024, "KiB")

    def test_the_same_gigabyte_skipped(self):
        path = self.path("huge.jsonl")
        with open(path, "wb") as f:
            f.write(b'{"n":0}\n')
            f.truncate(1 << 29)
        with open(path, "ab") as f:
            f.write(b'\n{"n":2}\n')
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--skip-bad", path, status=1)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 3)
        self.assertEqual([row["error"] and row["error"]["code"] for row in rows], [None, "bad_row", None])

    def test_an_empty_file_is_no_error(self):
        for text in ("", "\n\n  \n", "\ufeff"):
            with self.subTest(text=text):
                self.weir("--url", self.echo.url, "-o", "out.jsonl", "--fresh", self.write("in.jsonl", text), status=0)
                self.assertEqual(self.read("out.jsonl"), b"")

    def test_blank_lines_marks_and_line_ends_of_windows(self):
        path = self.write("in.jsonl", b'\xef\xbb\xbf{"n":0}\r\n\r\n   \n{"n":1}\r\n{"n":2}')
        self.weir("--url", self.echo.url, "-o", "out.jsonl", path, status=0)
        self.assertEqual([row["output"]["echo"]["n"] for row in self.read_rows("out.jsonl")], [0, 1, 2])

    def test_a_missing_file_and_a_folder(self):
        self.refuse("-o", "out.jsonl", self.path("nowhere.jsonl"), says=(r"nowhere\.jsonl", "no such file"))
        self.refuse("-o", "out.jsonl", self.dir, says=("directory",))
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_a_file_that_may_not_be_read(self):
        # Root may read everything; a run as nobody may not.
        if os.geteuid() != 0:
            path = self.plain_rows(3)
            os.chmod(path, 0)
            self.refuse("-o", "out.jsonl", path, says=("rows.jsonl", "permission"))
            return
        path = self.plain_rows(3)
        os.chmod(path, 0)
        os.chmod(self.dir, 0o777)
        self.refuse("-o", "out.jsonl", path, says=("rows.jsonl", "permission"), unprivileged=True)

    def test_skip_bad_gives_such_rows_an_error_in_their_place(self):
        text = b'{"n":0}\nnope\n{"n":"\xff"}\n\n{"n":3}\n{"a":\n{"n":5}\n'
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--skip-bad", self.write("in.jsonl", text), status=1)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 6)
        self.assertEqual([row["error"]["code"] if row["error"] else None for row in rows],
                         [None, "bad_row", "bad_row", None, "bad_row", None])
        self.assertRegex(rows[1]["error"]["message"], r"in\.jsonl:2")
        self.assertEqual(len(self.echo.calls), 3)

    def test_skip_bad_with_double_keys(self):
        row = '{"custom_id":"row-%d","method":"POST","url":"/x","body":{}}\n'
        text = row % 0 + row % 0 + row % 2
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--skip-bad", self.write("in.jsonl", text), status=1)
        rows = self.read_rows("out.jsonl")
        self.assertEqual(len(rows), 3)
        self.assertEqual(rows[0]["custom_id"], "row-0")
        self.assertEqual(rows[1]["error"]["code"], "bad_row")
        self.assertEqual(rows[2]["custom_id"], "row-2")

    def test_a_bad_row_on_standard_input_ends_it_after_the_rows_before(self):
        done = self.weir("--url", self.echo.url, data=b'{"n":0}\n{"n":1}\nnope\n{"n":3}\n', status=2)
        self.assert_says(done, "standard input:3")
        self.assert_in_order(done.rows, len(done.rows))
        self.assertLessEqual(len(self.echo.calls), 2)

    def test_rows_that_name_another_host_are_refused(self):
        row = '{"custom_id":"a","method":"POST","url":"http://127.0.0.1:9/x","body":{}}\n'
        self.bad(row, r"in\.jsonl:1", "--url")

    def test_a_password_in_a_rows_address_is_not_repeated(self):
        row = '{"custom_id":"a","method":"POST","url":"http://me:p4ssword@127.0.0.1:9/x","body":{}}\n'
        done = self.bad(row, r"in\.jsonl:1", r"the host 127\.0\.0\.1:9 with a user")
        self.assertNotIn(b"p4ssword", done.err)

    def test_broken_expressions(self):
        rows = self.plain_rows(2)
        for option in ("--template", "--select", "--key"):
            with self.subTest(option=option):
                self.refuse("-o", "out.jsonl", option, ".a |", rows, says=(option,))

    def test_a_template_that_fails_on_a_row_names_the_line(self):
        path = self.write("in.jsonl", '{"n":1}\n{"n":"x"}\n')
        self.refuse("-o", "out.jsonl", "--template", "{n: (.n + 1)}", path, says=(r"in\.jsonl:2", "--template"))


class TestBadOptions(FaultCase):
    def test_no_url_and_bad_urls(self):
        rows = self.plain_rows(1)
        self.assert_says(self.weir(rows, status=2), "--url")
        for url in ("", "nonsense", "ftp://127.0.0.1/x", "http://", "http://127.0.0.1:99999/", "http://a b/",
                    "/v1/chat", "http://127.0.0.1:port/"):
            with self.subTest(url=url):
                self.assert_says(self.weir("--url", url, "-o", "out.jsonl", rows, status=2), "--url")

    def test_impossible_values(self):
        rows = self.plain_rows(1)
        for option, value in (("-j", "0"), ("-j", "-1"), ("-j", "many"), ("--rate", "0"), ("--rpm", "0"),
                              ("--tpm", "x"), ("--retries", "-1"), ("--timeout", "fast"), ("--halt", "later"),
                              ("--halt", "soon,fail=0"), ("--halt", "soon,fail=101%"), ("--throttle", "magic"),
                              ("--progress", "loud"), ("--header", "nocolon"), ("--header-env", "A"),
                              ("--header-env", "x-key=NOT_THERE_AT_ALL"), ("--backoff-multiplier", "2"),
                              ("--method", "P OST"), ("--max-line", "0"), ("--waste", "2"), ("--waste", "0.05%"),
                              ("--nonsense", "1"), ("--proxy", "ftp://x"), ("--capacity-status", "9999"),
                              ("--http", "3")):
            with self.subTest(option=option, value=value):
                done = self.refuse("-o", "out.jsonl", option, value, rows)
                self.assert_says(done, option.lstrip("-"))
        for option, value in (("--backoff-multiplier", "1"), ("--max-dispatch-delay", "0"),
                              ("--min-dispatch-delay", "10s"), ("--waste", "2%")):
            with self.subTest(option=option, value=value, throttle="aimd"):
                done = self.refuse("-o", "out.jsonl", "--throttle", "aimd", option, value, rows)
                self.assert_says(done, option.lstrip("-"))
        self.assertFalse(os.path.exists(self.path("out.jsonl")))

    def test_files_that_would_be_written_over(self):
        rows = self.plain_rows(3)
        before = self.read("rows.jsonl")
        for options in (("-o", rows), ("-o", "x.jsonl", "--errors", rows), ("-o", "x.jsonl", "--journal", rows),
                        ("-o", "x.jsonl", "--errors", "x.jsonl"), ("-o", "x.jsonl", "--summary", rows),
                        ("-o", "x.jsonl", "--events", rows), ("-o", "x.jsonl", "--journal", "x.jsonl"),
                        ("-o", "./x.jsonl", "--errors", os.path.join(self.dir, "x.jsonl.weir"))):
            with self.subTest(options=options):
                self.refuse(*options, "--fresh", rows)
                self.assertEqual(self.read("rows.jsonl"), before)

    def test_an_output_that_is_somebody_elses_is_not_replaced(self):
        self.write("out.jsonl", "precious\n")
        self.refuse("-o", "out.jsonl", self.plain_rows(2), says=(r"out\.jsonl", "--fresh"))
        self.assertEqual(self.read("out.jsonl"), b"precious\n")
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--fresh", self.plain_rows(2), status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 2)


    def test_a_run_that_was_refused_does_not_bind_the_corrected_one(self):
        rows = self.plain_rows(3)
        for wrong in (("--select", ".a |"), ("--errors", self.path("no", "folder")), ("--proxy", "ftp://x"),
                      ("--cacert", self.path("nowhere.pem")), ("--events", self.path("no", "folder"))):
            with self.subTest(wrong=wrong):
                self.refuse("-o", "out.jsonl", *wrong, rows)
        self.weir("--url", self.echo.url, "-o", "out.jsonl", "--meta", rows, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 3)


class TestDisks(FaultCase):
    """A disk that fills up: an error, and everything that was promised is there when there is room again."""

    def tmpfs(self, size):
        """A small file system of its own; None where that is not allowed."""
        folder = self.path("small")
        os.makedirs(folder)
        if os.geteuid() != 0 or subprocess.run(
                ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", folder], check=False,
                stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode != 0:
            return None
        self.addCleanup(subprocess.run, ["umount", "-l", folder], check=False)
        return folder

    def resize(self, folder, size):
        subprocess.run(["mount", "-o", f"remount,size={size}", folder], check=True)

    def big_service(self):
        return self.service(lambda call: (200, {}, json.dumps({"n": call.json["n"], "pad": "x" * 4000})))

    def check_whole(self, path, count):
        with open(path, "rb") as f:
            rows = [json.loads(line) for line in f]
        self.assert_in_order(rows, count)
        self.assertEqual([row["output"]["n"] for row in rows], list(range(count)))

    def test_a_full_disk_under_output_and_journal(self):
        count, folder = 300, self.tmpfs("700k")
        if folder is None:
            self.limited_file_size(os.path.join(self.dir, "out.jsonl"), ())
            return
        service = self.big_service()
        command = ("--url", service.url, "-j", 4, "-o", os.path.join(folder, "out.jsonl"), self.plain_rows(count))
        done = self.weir(*command, status=3)
        self.assert_says(done, r"space|full", r"out\.jsonl")
        sent = len(service.calls)
        self.assertLess(sent, count)
        again = self.weir(*command)  # still full: still an error, and still nothing lost
        self.assertIn(again.status, (2, 3))
        self.resize(folder, "32m")
        self.weir(*command, status=0)
        self.check_whole(os.path.join(folder, "out.jsonl"), count)

    def test_a_full_disk_under_the_output_alone(self):
        count, folder = 300, self.tmpfs("400k")
        if folder is None:
            self.skipTest("no small file system here; the limit on file sizes is tested below")
        service = self.big_service()
        command = ("--url", service.url, "-j", 4, "-o", os.path.join(folder, "out.jsonl"), "--journal",
                   self.path("journal"), self.plain_rows(count))
        done = self.weir(*command, status=3)
        self.assert_says(done, r"out\.jsonl", "space|full")
        self.resize(folder, "32m")
        self.weir(*command, status=0)
        self.check_whole(os.path.join(folder, "out.jsonl"), count)
        # What was finished when the disk was full is in the journal: it was not asked for again.
        self.assertLess(len(service.calls), count + 40)

    def test_a_full_disk_under_the_journal_alone(self):
        count, folder = 200, self.tmpfs("400k")
        if folder is None:
            self.skipTest("no small file system here; the limit on file sizes is tested below")
        service = self.big_service()
        command = ("--url", service.url, "-j", 4, "-o", self.path("out.jsonl"), "--journal",
                   os.path.join(folder, "journal"), self.plain_rows(count))
        done = self.weir(*command)
        self.assertIn(done.status, (0, 3), done.text)
        if done.status == 3:
            self.assert_says(done, "journal", "space|full")
            self.resize(folder, "32m")
            self.weir(*command, status=0)
        self.check_whole(self.path("out.jsonl"), count)

    def limited_file_size(self, output, more):
        service = self.big_service()
        rows = self.plain_rows(200)
        command = ("--url", service.url, "-j", 4, "-o", output, *more, rows)

        def limit():
            resource.setrlimit(resource.RLIMIT_FSIZE, (400 * 1024, 400 * 1024))

        done = self.weir(*command, before=limit)
        self.assertEqual(done.status, 3, done.text)
        self.assert_says(done, "large|limit|space|full|written")
        self.weir(*command, status=0)
        self.check_whole(output, 200)

    def test_a_limit_on_file_sizes(self):
        self.limited_file_size(self.path("out.jsonl"), ())

    def test_dev_full(self):
        done = self.weir("--url", self.echo.url, "-o", "/dev/full", self.plain_rows(20), status=1)
        self.assert_says(done, "/dev/full")
        with open("/dev/full", "wb") as full:
            done = self.weir("--url", self.echo.url, self.plain_rows(20), stdout=full, status=1)
        self.assert_says(done, "standard output")

    def test_a_summary_that_cannot_be_written_is_told(self):
        done = self.weir("--url", self.echo.url, "-o", "out.jsonl", "--summary", "/dev/full", self.plain_rows(3))
        self.assertNotEqual(done.status, 0)
        self.assert_says(done, "/dev/full")
        self.assert_in_order(self.read_rows("out.jsonl"), 3)

    def test_places_where_nothing_can_be_written(self):
        rows = self.plain_rows(3)
        missing = self.path("no", "such", "folder", "out.jsonl")
        for options in (("-o", missing), ("-o", "o", "--errors", missing), ("-o", "o", "--journal", missing),
                        ("-o", "o", "--events", missing), ("-o", "o", "--summary", missing), ("-o", self.dir)):
            with self.subTest(options=options):
                self.refuse(*options, rows, says=(r"such|directory",))

    def test_an_output_that_may_not_be_written(self):
        rows = self.plain_rows(3)
        os.chmod(self.dir, 0o777)
        self.write("out.jsonl", "")
        os.chmod(self.path("out.jsonl"), 0o444)
        self.refuse("-o", "out.jsonl", rows, says=(r"out\.jsonl", "permission"), unprivileged=True)

    def test_a_closed_pipe_on_standard_output(self):
        process = self.start("--url", self.echo.url, "-j", 2, self.plain_rows(5000))
        line = process.stdout.readline()
        self.assertEqual(json.loads(line)["index"], 0)
        process.stdout.close()
        process.stdout = None
        # It broke off, and without a journal it cannot be gone on with: 1 (weir(1), EXIT STATUS).
        done = self.finish(process, status=1, deadline_s=30)
        self.assertLess(len(self.echo.calls), 5000)
        self.assert_says(done, "standard output")

    def test_standard_output_closed_from_the_start(self):
        self.weir("--url", self.echo.url, self.plain_rows(3), before=lambda: os.close(1), status=1)
        # No file that is opened may take the place of standard output and get its bytes.
        self.weir("--url", self.echo.url, "--events", "ev.jsonl", self.plain_rows(3), before=lambda: os.close(1),
                  status=1)
        for event in self.read_rows("ev.jsonl"):
            self.assertIn("event", event)
        self.weir("--url", self.echo.url, "-o", "out.jsonl", self.plain_rows(3),
                  before=lambda: (os.close(0), os.close(1), os.close(2)), status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 3)


class TestJournals(FaultCase):
    def setUp(self):
        super().setUp()
        self.rows = self.plain_rows(60)
        self.command = ("--url", self.echo.url, "-j", 4, "-o", "out.jsonl", self.rows)
        hold = self.gate()

        def reply(call):
            if call.json["n"] >= 30:
                hold.wait()
            return echo(call)

        # A journal from the middle of a run.
        self.echo.reply = reply
        process = self.start(*self.command)
        wait_until(lambda: self.echo.inside == 4 or process.poll() is not None, 20, "requests")
        wait_until(lambda: self.read("out.jsonl").count(b"\n") == 30, 20, "rows in the output")
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.stderr.readline().find(b"top") >= 0, 10, "the stop")
        hold.open()
        self.finish(process, status=3)
        self.echo.reply = echo
        self.sent = len(self.echo.calls)
        self.journal = self.path("out.jsonl.weir")
        self.saved = self.path("saved")
        os.makedirs(self.saved)
        for name in os.listdir(self.dir):
            if name.startswith("out.jsonl"):
                shutil.copy2(self.path(name), self.saved)

    def restore(self):
        for name in os.listdir(self.dir):
            if name.startswith("out.jsonl"):
                os.unlink(self.path(name))
        for name in os.listdir(self.saved):
            shutil.copy2(os.path.join(self.saved, name), self.path(name))

    def check_resumes(self):
        self.restore()
        before = len(self.echo.calls)
        self.weir(*self.command, status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 60)
        self.assertEqual(len(self.echo.calls) - before, 60 - self.sent)

    def refused(self, *says, command=None):
        before = self.read("out.jsonl") if os.path.exists(self.path("out.jsonl")) else None
        done = self.weir(*(command or self.command), status=2)
        self.assert_says(done, r"^weir run: ", *says)
        self.assertEqual(len(self.echo.calls), self.sent)
        after = self.read("out.jsonl") if os.path.exists(self.path("out.jsonl")) else None
        self.assertEqual(after, before, "what was there was changed")
        return done

    def test_it_resumes_when_nothing_is_wrong(self):
        self.check_resumes()

    def test_a_read_only_journal(self):
        os.chmod(self.journal, 0o444)
        os.chmod(self.dir, 0o755)
        if os.geteuid() == 0:
            os.chmod(self.dir, 0o777)
            os.chmod(self.path("out.jsonl"), 0o666)
            done = self.weir(*self.command, status=2, unprivileged=True)
            self.assert_says(done, r"out\.jsonl\.weir")
            self.assertEqual(len(self.echo.calls), self.sent)
        else:
            self.refused(r"out\.jsonl\.weir")

    def test_a_journal_of_another_version(self):
        db = sqlite3.connect(self.journal)
        db.execute("PRAGMA user_version = 4711")
        db.commit()
        db.close()
        self.refused(r"out\.jsonl\.weir", "version", "--fresh|another")
        self.weir(*self.command, "--fresh", status=0)
        self.assert_in_order(self.read_rows("out.jsonl"), 60)

    def test_a_journal_that_is_another_programs_database(self):
        os.unlink(self.journal)
        db = sqlite3.connect(self.journal)
        db.execute("CREATE TABLE precious (x)")
        db.commit()
        db.close()
        before = self.read("out.jsonl.weir")
        self.refused(r"out\.jsonl\.weir")
        self.refused(r"out\.jsonl\.weir", command=(*self.command, "--fresh"))
        self.assertEqual(self.read("out.jsonl.weir"), before)

    def test_garbage_for_a_journal(self):
        rng = random.Random(7)
        for size in (1, 15, 16, 99, 4096, 50000):
            with self.subTest(size=size):
                garbage = bytes(rng.randrange(256) for _ in range(size))
                self.write("out.jsonl.weir", garbage)
                self.refused(r"out\.jsonl\.weir")
                self.assertEqual(self.read("out.jsonl.weir"), garbage)

    def test_a_truncated_journal_of_any_length(self):
        whole = self.read("out.jsonl.weir")
        rng = random.Random(11)
        lengths = {1, 15, 16, 17, 99, 100, 101, 512, 4095, 4096, 4097, len(whole) - 1, len(whole) - 4096,
                   *(rng.randrange(1, len(whole)) for _ in range(12))}
        for length in sorted(lengths):
            with self.subTest(length=length):
                self.restore()
                self.write("out.jsonl.weir", whole[:length])
                self.refused(r"out\.jsonl\.weir", "--fresh|another")
        self.check_resumes()

    def test_an_empty_journal_beside_an_output(self):
        # As after a crash before the first write: nothing was promised yet, but the output is somebody's.
        self.write("out.jsonl.weir", b"")
        self.refused(r"out\.jsonl")

    def test_damaged_pages(self):
        whole = self.read("out.jsonl.weir")
        rng = random.Random(13)
        for _ in range(8):
            self.restore()
            place = rng.randrange(100, len(whole) - 64)
            self.write("out.jsonl.weir", whole[:place] + bytes(rng.randrange(256) for _ in range(64)) +
                       whole[place + 64:])
            done = self.weir(*self.command)
            self.assert_harmless(done)
            if done.status == 0:  # the damage hit what nobody reads
                self.assert_in_order(self.read_rows("out.jsonl"), 60)

    def test_a_journal_that_is_gone(self):
        os.unlink(self.journal)
        self.refused(r"out\.jsonl", "--fresh")
        self.check_resumes()

    def test_an_output_that_is_gone_or_shortened_or_changed(self):
        whole = self.read("out.jsonl")
        for text in (None, b"", whole[:-1], whole[:len(whole) // 2]):
            with self.subTest(length=None if text is None else len(text)):
                self.restore()
                if text is None:
                    os.unlink(self.path("out.jsonl"))
                else:
                    self.write("out.jsonl", text)
                self.refused(r"out\.jsonl", "--fresh")
        self.check_resumes()

    def test_what_stands_behind_the_last_committed_row_is_cut_off(self):
        for torn in (b'{"index":34,"key":"34","sta', b'{"index":34}\n' * 10000):
            with open(self.path("saved", "out.jsonl"), "ab") as f:
                f.write(torn)
            self.check_resumes()

    def test_a_changed_input(self):
        text = self.read("rows.jsonl")
        for changed in (text.replace(b'{"n":3}', b'{"n":300}'), text[8:], b'{"n":-1}\n' + text, text + b'{"n":60}\n',
                        text.replace(b'{"n":59}', b'{"n":590}')):
            with self.subTest(changed=changed[:20]):
                self.write("rows.jsonl", changed)
                self.refused("rows|input", "--fresh")
        self.write("rows.jsonl", text)
        self.check_resumes()

    def test_an_input_under_another_name_is_the_same_input(self):
        os.rename(self.rows, self.path("moved.jsonl"))
        self.command = (*self.command[:-1], self.path("moved.jsonl"))
        self.check_resumes()

    def test_changed_options_that_matter(self):
        other = f"http://127.0.0.1:{free_port()}/v1/other"
        for options, name in ((("--url", other), "url"), (("--method", "PUT"), "method"),
                              (("--template", "{x: .n}"), "template"), (("--select", ".echo"), "select"),
                              (("--meta",), "meta"), (("--key", ".n|tostring"), "key"), (("--skip-bad",), "skip-bad"),
                              (("--errors", "err.jsonl"), "errors")):
            with self.subTest(option=name):
                rest = self.command[2:] if options[0] == "--url" else self.command
                done = self.weir(*options, *rest)
                if name in ("skip-bad", "url"):  # may be judged harmless for these rows
                    self.assertIn(done.status, (0, 1, 2), done.text)
                else:
                    self.assertEqual(done.status, 2, done.text)
                if done.status == 2:
                    self.assert_says(done, name, "--fresh")
                    self.assertEqual(len(self.echo.calls), self.sent)
                else:
                    self.restore()
                    self.sent = len(self.echo.calls)

    def test_fresh_starts_over(self):
        self.weir(*self.command, "--fresh", status=0)
        self.assertEqual(len(self.echo.calls) - self.sent, 60)
        self.assert_in_order(self.read_rows("out.jsonl"), 60)


class TestChangesUnderWay(FaultCase):
    def test_an_input_that_changes_while_it_is_sent(self):
        count = 30000
        gate = self.gate()

        def reply(call):
            gate.wait()
            return 200, {}, "1"

        service = self.service(reply)
        rows = self.plain_rows(count)
        process = self.start("--url", service.url, "-j", 4, "--window", 100, "-o", "out.jsonl", rows)
        wait_until(lambda: service.inside == 4 or process.poll() is not None, 30, "requests")
        with open(rows, "r+b") as f:  # in place, behind what has been read, without another length
            f.seek(-8, os.SEEK_END)
            f.write(b'{"n":777')
            f.seek(200000)
            f.write(b"7")
        # Only a few thousand are needed to come to the place, and each is quick.
        gate.open()
        done = self.finish(process, deadline_s=120)
        self.assertIn(done.status, (2, 3), done.text)
        self.assert_says(done, r"rows\.jsonl", "chang")
        written = self.read_rows("out.jsonl")
        self.assert_in_order(written, len(written))
        self.assertLess(len(written), count)

    def test_an_input_that_is_cut_short_while_it_is_sent(self):
        gate = self.gate()

        def reply(call):
            gate.wait()
            return echo(call)

        service = self.service(reply)
        rows = self.write("rows.jsonl", "".join(f'{{"n":{i},"pad":"{"x" * 2000}"}}\n' for i in range(1000)))
        process = self.start("--url", service.url, "-j", 4, "--window", 50, "-o", "out.jsonl", rows)
        wait_until(lambda: service.inside == 4 or process.poll() is not None, 30, "requests")
        os.truncate(rows, 700000)  # behind what is held in memory
        gate.open()
        done = self.finish(process, deadline_s=120)
        self.assertIn(done.status, (2, 3), done.text)
        self.assert_says(done, r"rows\.jsonl")


class TestServices(FaultCase):
    def test_a_service_that_is_not_there(self):
        url = f"http://127.0.0.1:{free_port()}/x"
        done = self.weir("--url", url, "--retries", 2, "--retry-delay", "10ms", "-o", "out.jsonl", "--meta",
                         self.plain_rows(5), status=1)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, 5)
        for row in rows:
            self.assertEqual(row["error"]["code"], "connect_failed")
            self.assertIsNone(row["status"])
            self.assertEqual(row["meta"]["attempts"], 3)
        self.assert_says(done, "connect")

    def test_a_name_without_an_address(self):
        self.weir("--url", "http://service.invalid/x", "--retries", 0, "-o", "out.jsonl", self.plain_rows(2),
                  status=1)
        self.assertEqual({row["error"]["code"] for row in self.read_rows("out.jsonl")}, {"resolve_failed"})

    def test_a_service_of_every_fault(self):
        count = 400
        mock = self.mock("--fail-rate", "0.1", "--reset-rate", "0.05", "--close-rate", "0.05", "--broken-rate", "0.05",
                         "--slow-rate", "0.05", "--slow-for", "100ms", "--refuse-with", "429,503,529",
                         "--concurrency", 6)
        done = self.weir("--url", mock.url, "-j", 12, "--retries", 30, "--retry-delay", "5ms", "--throttle", "aimd",
                         "--recovery-step", "5ms", "--max-dispatch-delay", "100ms", "-o", "out.jsonl",
                         "--summary", "sum.json", "--progress", "none", self.batch_rows(count))
        self.assertIn(done.status, (0, 1), done.text)
        rows = self.read_rows("out.jsonl")
        self.assert_in_order(rows, count)
        self.assertEqual(done.status, 0, self.read_json("sum.json")["reasons"])

    def test_a_response_over_the_limit(self):
        service = self.service(lambda call: (200, {}, "x" * 5000))
        self.weir("--url", service.url, "--response-limit", "1k", "--retries", 0, "-o", "out.jsonl",
                  self.plain_rows(2), status=1)
        self.assertEqual({row["error"]["code"] for row in self.read_rows("out.jsonl")}, {"response_too_large"})

    def test_a_header_line_that_is_too_long_for_libcurl_is_not_just_memory(self):
        service = self.service(lambda call: (200, {"X-Long": "y" * 150000}, "{}"))
        self.weir("--url", service.url, "--retries", 0, "-o", "out.jsonl", self.plain_rows(1), status=1)
        self.assertRegex(self.read_rows("out.jsonl")[0]["error"]["message"], "headers .*over")


class TestSecrets(FaultCase):
    SECRETS = ("env1ronment", "bear3r", "0nTheLine", "p4ssword", "t0ken")

    def test_they_stand_nowhere(self):
        gate = self.gate()

        def reply(call):
            gate.wait()
            return 400 if call.json["n"] == 1 else 200, {"x-request-id": "r"}, '{"a":1}'

        service = self.service(reply)
        url = service.url + "?api_key=t0ken"
        with open(self.path("err"), "wb") as err:
            process = self.start(
                "--url", url, "--header-env", "x-api-key=KEY", "--bearer-env", "BEARER", "--header",
                "x-secret-token: 0nTheLine", "-o", "out.jsonl", "--errors", "errors.jsonl", "--meta", "--summary",
                "sum.json", "--events", "events.jsonl", "--progress", "plain", self.plain_rows(3), stderr=err,
                env={"KEY": "env1ronment", "BEARER": "bear3r"})
            wait_until(lambda: service.calls or process.poll() is not None, 10, "a request")
        with open(f"/proc/{process.pid}/cmdline", "rb") as f:
            words = f.read()
        with open(f"/proc/{process.pid}/comm", "rb") as f:
            words += f.read()
        live = {name: self.read(name) for name in os.listdir(self.dir) if os.path.isfile(self.path(name))}
        gate.open()
        self.finish(process, status=1)
        headers = service.calls[0].headers
        self.assertEqual(headers["x-api-key"], "env1ronment")
        self.assertEqual(headers["x-secret-token"], "0nTheLine")
        self.assertEqual(headers["Authorization"], "Bearer bear3r")
        # A parameter of the address is the user's own to type; everything else is covered in the process list.
        for secret in self.SECRETS[:3]:
            self.assertNotIn(secret.encode(), words)
        for name in os.listdir(self.dir):
            if os.path.isfile(self.path(name)):
                live[name + " at the end"] = self.read(name)
        self.assertIn("events.jsonl at the end", live)
        self.assertIn("sum.json at the end", live)
        for name, text in live.items():
            for secret in self.SECRETS:
                self.assertNotIn(secret.encode(), text, name)

    def test_a_password_in_the_address_is_sent_and_covered(self):
        gate = self.gate()
        service = self.service(lambda call: (gate.wait(), echo(call))[1])
        url = service.url.replace("//", "//user:p4ssword@")
        process = self.start("--url", url, "-o", "out.jsonl", self.plain_rows(2))
        wait_until(lambda: service.calls or process.poll() is not None, 10, "a request")
        with open(f"/proc/{process.pid}/cmdline", "rb") as f:
            self.assertNotIn(b"p4ssword", f.read())
        gate.open()
        done = self.finish(process, status=0)
        self.assertEqual(service.calls[0].headers["Authorization"], "Basic dXNlcjpwNHNzd29yZA==")
        for text in (done.err, self.read("out.jsonl"), self.read("out.jsonl.weir")):
            self.assertNotIn(b"p4ssword", text)

    def test_they_do_not_stand_in_errors(self):
        url = f"http://user:p4ssword@127.0.0.1:{free_port()}/x?api_key=t0ken"
        done = self.weir("--url", url, "--header-env", "x-api-key=KEY", "--retries", 0, "-o", "out.jsonl",
                         self.plain_rows(2), status=1, env={"KEY": "env1ronment"})
        for text in (done.err, self.read("out.jsonl"), self.read("out.jsonl.weir")):
            for secret in self.SECRETS:
                self.assertNotIn(secret.encode(), text)
        for bad in (("--header", "x-secret 0nTheLine"), ("--header", "x-secret: 0nTheLine\r\nx: y")):
            done = self.weir("--url", url, *bad, self.plain_rows(2), status=2)
            self.assertNotIn("0nTheLine", done.text)

    def test_files_are_as_the_umask_says_and_the_journal_is_the_owners(self):
        self.weir("--url", self.echo.url, "-o", "out.jsonl", self.plain_rows(2), status=0,
                  before=lambda: os.umask(0o077))
        for name in ("out.jsonl", "out.jsonl.weir"):
            self.assertEqual(stat.S_IMODE(os.stat(self.path(name)).st_mode) & 0o077, 0, name)



if __name__ == "__main__":
    unittest.main()
