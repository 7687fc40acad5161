"""Slips of the pen, and surroundings that are not what one would wish: each gets a clear error before anything is sent
or written over, and a signal always ends a run (P8, P9).

run-tests: waits
"""
import os
import resource
import signal
import subprocess
import unittest

from runkit import RunCase, echo
from weirtest import wait_until

# One alone fills a pipe that nobody reads.
BIG = b'"' + b"x" * 100000 + b'"'


def unread(call):
    return 200, {}, BIG


class TestFiles(RunCase):
    def setUp(self):
        super().setUp()
        self.served = self.service(echo)
        self.rows = self.plain_rows(5)

    def command(self, *more):
        return ("--url", self.served.url, "--progress", "none", *more, self.rows)

    def assert_refused(self, done, *patterns):
        self.assertEqual(done.status, 2, done.text)
        self.assert_says(done, *patterns)
        self.assertEqual(self.served.calls, [])
        self.assertEqual(len(self.read("rows.jsonl").splitlines()), 5, "the input was written over")
        self.assertEqual(sorted(os.listdir(self.dir)), ["rows.jsonl"])

    def test_an_input_is_never_written_over(self):
        for option in ("-o", "--errors", "--summary", "--events"):
            self.assert_refused(self.weir(*self.command(option, "rows.jsonl")), "rows.jsonl.*also an input")
        self.assert_refused(self.weir(*self.command("-o", "out", "--journal", "./rows.jsonl", "--fresh")),
                            "--journal.*also an input")

    def test_a_file_of_values_is_not_written_to_either(self):
        self.write("values", "1\n2\n")
        for words in (["-a", "values", "-a", "values", "--", "echo"], ["--", "echo", "::::", "values", ":::", "x"]):
            for option in ("-o", "--summary", "--events", "--joblog"):
                done = self.weir("--fresh" if option == "-o" else "-q", option, "values", *words, status=2)
                self.assert_says(done, "values.*also an input")
        self.assertEqual(self.read("values"), b"1\n2\n")

    def test_no_file_is_written_twice(self):
        for option in ("--errors", "--summary", "--events", "--journal"):
            self.assert_refused(self.weir(*self.command("-o", "out", option, "./out")), f"{option}.*--output")
        self.assert_refused(self.weir(*self.command("-o", "out", "--summary", "out.weir")), "--summary.*--journal")

    def test_a_missing_folder_is_told_before_a_row_is_sent(self):
        for option in ("-o", "--summary", "--events", "--errors"):
            self.assert_refused(self.weir(*self.command(option, "no/such/file")), "no/such/file cannot be created")

    def test_a_folder_is_no_file(self):
        for option in ("-o", "--summary", "--events"):
            self.assert_refused(self.weir(*self.command(option, os.path.dirname(self.dir))), "is a directory")

    def test_only_the_results_and_the_summary_go_to_standard_output(self):
        for option in ("--errors", "--events"):
            self.assert_refused(self.weir(*self.command(option, "-")), f"{option}: .* - is none")
        done = self.weir(*self.command("-o", "-", "--summary", "-"), status=0)
        self.assertEqual(len(done.rows), 6)

    def test_help_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "wb") as full:
            self.weir("--help", stdout=full, status=1)

    def test_a_device_gets_no_journal(self):
        for _ in range(2):
            self.weir(*self.command("-o", "/dev/null"), status=0)
        self.assertFalse(os.path.exists("/dev/null.weir"))
        done = self.weir(*self.command("-o", "/dev/null", "--journal", "j"), status=2)
        self.assert_says(done, "--journal.*no regular file")

    def test_a_run_that_was_refused_is_no_reason_to_refuse_the_next(self):
        self.write("out", "somebody's\n")
        self.weir(*self.command("-o", "out"), status=2)
        self.assertEqual(sorted(os.listdir(self.dir)), ["out", "rows.jsonl"])
        os.unlink(self.path("out"))
        self.weir(*self.command("-o", "out", "--meta"), status=0)

    def test_two_runs_do_not_write_into_one_file(self):
        gate = self.gate()
        held = self.service(lambda call: (gate.wait(), echo(call))[1])
        first = self.start("--url", held.url, "-o", "out", self.rows)
        wait_until(lambda: held.calls, 10, "the first call")
        done = self.weir(*self.command("-o", "out", "--journal", "another", "--fresh"), status=2)
        self.assert_says(done, "out is being written to by another run")
        gate.open()
        self.finish(first, status=0)
        self.assert_in_order(self.read_rows("out"), 5)

    def test_a_shorter_stream_is_not_taken_for_the_whole_input(self):
        service = self.service(lambda call: (400 if call.json["n"] == 1 else 200, {}, b"{}"))
        rows = b"".join(b'{"n":%d}\n' % n for n in range(20))
        self.weir("--url", service.url, "-o", "out", "--halt", "now,done=20", data=rows, status=1)
        done = self.weir("--url", service.url, "-o", "out", "--retry-failed", data=rows[:80], status=2)
        self.assert_says(done, "fewer rows")
        self.assertNotIn("goes on", done.text)

    def test_events_are_written(self):
        self.weir(*self.command("-o", "out", "--events", "events"), status=0)
        events = [row["event"] for row in self.read_rows("events")]
        self.assertEqual(events.count("task.finished"), 5)


class TestLimits(RunCase):
    @staticmethod
    def files(soft, hard):
        return lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

    def test_a_soft_limit_on_files_is_raised(self):
        mock = self.mock("--latency", "200ms")
        self.weir("--url", mock.origin + "/echo", "-j", 200, "-o", "out", self.plain_rows(200), status=0,
                  before=self.files(64, 4096))

    def test_a_soft_limit_on_files_is_raised_for_outputs_that_go_into_files_too(self):
        jobs = 50
        # All have written both of their outputs before the first one ends.
        script = ("head -c 1100000 /dev/zero; head -c 1100000 /dev/zero >&2; echo {} >>marks; "
                  f"until [ $(wc -l <marks) -ge {jobs} ]; do sleep 0.02; done")
        self.weir("--shell", "-j", jobs, "--timeout", "60s", "--", script, ":::", *range(jobs), status=0,
                  before=self.files(64, 4096))

    def test_too_few_files_for_the_jobs_is_told_at_once(self):
        service = self.service(echo)
        done = self.weir("--url", service.url, "-j", 200, "-o", "out", self.plain_rows(5), status=2,
                         before=self.files(64, 64))
        self.assert_says(done, "--jobs 200 .*64.*ulimit -n")
        self.assertEqual(service.calls, [])


class TestSignals(RunCase):
    @staticmethod
    def ignoring(number):
        return lambda: signal.signal(number, signal.SIG_IGN)

    def test_a_signal_that_the_caller_ignores_does_not_stop_the_run(self):
        """nohup weir run ..."""
        for number in (signal.SIGHUP, signal.SIGINT):
            gate = self.gate()
            service = self.service(lambda call, g=gate: (g.wait(), echo(call))[1])
            process = self.start("--url", service.url, "-o", f"out-{number}", self.plain_rows(20),
                                 before=self.ignoring(number))
            wait_until(lambda s=service: s.calls, 10, "the first call")
            process.send_signal(number)
            gate.open()
            self.finish(process, status=0)

    def test_no_thread_of_the_run_takes_a_signal_for_itself(self):
        gate = self.gate()
        service = self.service(lambda call: (gate.wait(), echo(call))[1])
        process = self.start("--url", service.url, "-o", "out", "--events", "events", self.plain_rows(20))
        wait_until(lambda: service.calls, 10, "the first call")
        masks = set()
        for thread in set(os.listdir(f"/proc/{process.pid}/task")) - {str(process.pid)}:
            with open(f"/proc/{process.pid}/task/{thread}/status", encoding="ascii") as f:
                blocked = next(int(line.split()[1], 16) for line in f if line.startswith("SigBlk"))
            masks.add(all(blocked & 1 << (n - 1) for n in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)))
        self.assertEqual(masks, {True})
        process.send_signal(signal.SIGINT)
        gate.open()
        self.finish(process, status=3)

    def test_the_third_ctrl_c_ends_an_expression_that_does_not(self):
        service = self.service(echo)
        process = self.start("--url", service.url, "--select", "def f: f; f", "-o", "out", self.plain_rows(5))
        wait_until(lambda: service.calls, 10, "the first call")
        pending = {"come": 0}

        def ended():
            # Signals that come together are one: each is sent when the one before was taken.
            if pending["come"] < 3 and self.takes_signals(process):
                process.send_signal(signal.SIGINT)
                pending["come"] += 1
            return process.poll() is not None

        wait_until(ended, 10, "its end")
        self.assertEqual(process.returncode, -signal.SIGINT)

    @staticmethod
    def takes_signals(process):
        """The main thread has SIGINT open, and none of them waits."""
        with open(f"/proc/{process.pid}/status", encoding="ascii") as f:
            sets = dict(line.split() for line in f if line.startswith(("SigBlk", "ShdPnd")))
        return not (int(sets["SigBlk:"], 16) | int(sets["ShdPnd:"], 16)) & 1 << (signal.SIGINT - 1)

    def test_ctrl_c_ends_the_wait_for_a_reader(self):
        os.mkfifo(self.path("pipe"))
        service = self.service(echo)
        process = self.start("--url", service.url, "-o", "out", "--errors", "pipe", self.plain_rows(5))
        # The output is opened just before the errors file is.
        wait_until(lambda: os.path.exists(self.path("out")) and self.sleeps(process), 10, "the opening of the FIFO")
        process.send_signal(signal.SIGINT)
        self.assertEqual(self.finish(process, deadline_s=10).status, -signal.SIGINT)
        self.assertEqual(service.calls, [])

    @staticmethod
    def sleeps(process):
        with open(f"/proc/{process.pid}/stat", encoding="ascii") as f:
            return f.read().rsplit(")", 1)[1].split()[0] == "S"

    def test_the_third_ctrl_c_ends_a_run_whose_reader_sleeps(self):
        service = self.service(unread)
        process = self.start("--url", service.url, "--progress", "json", self.plain_rows(500), stdout=subprocess.PIPE)
        for phase in (b'"stopping"', b'"cancelling"'):
            wait_until(lambda: len(service.calls) > 7, 10, "calls")
            process.send_signal(signal.SIGINT)
            while phase not in process.stderr.readline():
                self.assertIsNone(process.poll())
        process.send_signal(signal.SIGINT)
        process.wait(10)
        self.assertEqual(process.returncode, -signal.SIGINT)


if __name__ == "__main__":
    unittest.main()
