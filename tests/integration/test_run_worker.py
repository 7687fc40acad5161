"""weir run --worker: rows through long-lived processes, in the ordinary course of things."""
# run-tests: waits
# run-tests: sanitizers
import glob
import json
import os
import signal
import unittest

from runkit import RunCase
from weirtest import ROOT, wait_until

# What the rows tell it to do; it leaves what it did in files of the test's folder.
WORKER = '''
import os, sys, threading
sys.path.insert(0, {sdk!r})
import weir_worker
HERE = {here!r}
with open(os.path.join(HERE, "started"), "a") as f:
    f.write(str(os.getpid()) + "\\n")
calls = 0
seen = weir_worker.Sessions(list)

def once(name):
    """True the first time, whichever worker asks."""
    try:
        os.close(os.open(os.path.join(HERE, name), os.O_CREAT | os.O_EXCL))
        return True
    except FileExistsError:
        return False

def work(args):
    global calls
    calls += 1
    do = args if isinstance(args, dict) else {{}}
    if "log" in do:
        print(do["log"])
    if "full" in do and once(do["full"]):
        raise weir_worker.Capacity("no room")
    if "again" in do and once(do["again"]):
        raise weir_worker.Retryable("not now")
    if "die" in do and once(do["die"]):
        os._exit(3)
    if "wrong" in do:
        raise ValueError(do["wrong"])
    while "gate" in do and not os.path.exists(do["gate"]):
        threading.Event().wait(0.005)
    history = None
    if "user" in do:
        history = seen.get()
        history.append(do["n"])
    return {{"pid": os.getpid(), "args": args, "calls": calls, "history": history and list(history)}}

weir_worker.register("process", work)
weir_worker.register("other", lambda args: ["other", args])
weir_worker.run(max_in_flight={in_flight})
'''


class TestWorkers(RunCase):
    def setUp(self):
        super().setUp()
        self.program = self.make_worker()

    def make_worker(self, name="worker.py", in_flight=1):
        sdk = os.path.join(ROOT, "sdk", "python")
        path = self.write(name, WORKER.format(sdk=sdk, here=self.dir, in_flight=in_flight))
        return f"python3 {path}"

    def rows(self, *rows, name="rows.jsonl"):
        return self.write(name, "".join(json.dumps(r) + "\n" for r in rows))

    def started(self):
        return self.read("started").split() if os.path.exists(self.path("started")) else []

    def left(self):
        found = []
        for path in glob.glob("/proc/[0-9]*/cmdline"):
            try:
                with open(path, "rb") as f:
                    if self.path("worker").encode() in f.read():
                        found.append(path)
            except OSError:
                pass
        return found

    def run_worker(self, *args, status=0, **more):
        done = self.weir("--worker", self.program, *args, status=status, **more)
        wait_until(lambda: not self.left(), 10, "the end of all workers")
        return done

    def test_rows_are_arguments_and_results_come_in_order(self):
        rows = [{"n": 1.0}, [1, 2], "text", None, 12345678901234567890, {"custom_id": "c"}] + [{"n": i} for i in range(200)]
        done = self.run_worker("-j3", self.rows(*rows))
        self.assertEqual([r["output"]["args"] for r in done.rows], rows)
        self.assertEqual([r["index"] for r in done.rows], list(range(len(rows))))
        self.assertEqual([r["key"] for r in done.rows][4:7], ["4", "c", "6"])
        self.assertIn("workers    3 started\n", done.text)

    def test_the_request_is_made_of_the_row_and_the_output_picked_from_the_answer(self):
        rows = self.write("rows.txt", "one\ntwo\n")
        done = self.run_worker("-j1", "-q", "--lines", "--template", "{text: .}", "--select", ".[1].text", "--command",
                               "other", rows)
        self.assertEqual([r["output"] for r in done.rows], ["one", "two"])
        done = self.run_worker("-j1", "-q", "--lines", "--select", ".[9].a.b | error", "--command", "other", rows, status=1)
        self.assertEqual({r["error"]["code"] for r in done.rows}, {"select_failed"})

    def test_a_session_stays_with_its_worker_and_in_order(self):
        rows = [{"user": f"u{i % 7}", "n": i} for i in range(210)] + [{"n": 0}]
        done = self.run_worker("-j3", "--session", ".user?", self.rows(*rows))
        homes = {}
        for row, result in zip(rows, done.rows):
            if "user" in row:
                homes.setdefault(row["user"], set()).add(result["output"]["pid"])
                self.assertEqual(result["output"]["history"], [n for n in range(row["n"] + 1) if n % 7 == row["n"] % 7])
        self.assertEqual({len(pids) for pids in homes.values()}, {1})
        self.assertIn("sessions   7 begun, 203 times found", done.text)

    def test_what_a_worker_reports_is_done(self):
        rows = self.rows({"full": "a"}, {"again": "b"}, {"wrong": "no such thing"}, {"n": 1})
        done = self.run_worker("-j1", "--summary", "s.json", "--meta", rows, status=1)
        errors = [r["error"] for r in done.rows]
        self.assertEqual([e and e["code"] for e in errors], [None, None, "worker_error", None])
        self.assertIn("no such thing", errors[2]["message"])
        self.assertEqual([(r["meta"]["attempts"], r["meta"]["capacity_retries"]) for r in done.rows[:2]], [(2, 1), (2, 0)])
        summary = json.loads(self.read("s.json"))
        self.assertEqual(summary["attempts"]["refused"], 1)
        self.assertEqual(summary["workers"]["started"], 1)
        self.assertEqual(summary["throttle"], "aimd")

    def test_a_worker_that_dies_is_replaced_and_its_row_tried_again(self):
        rows = self.rows({"die": "x"}, *[{"n": i} for i in range(20)])
        done = self.run_worker("-j2", "--summary", "s.json", rows)
        self.assertEqual(len(done.rows), 21)
        workers = json.loads(self.read("s.json"))["workers"]
        self.assertEqual((workers["lost"], workers["replaced"]), (1, 1))
        self.assertEqual(workers["started"], 3)

    def test_what_workers_write_is_told_apart(self):
        rows = self.rows({"log": "hello"}, {"log": "again"})
        done = self.run_worker("-j1", "-q", rows)
        self.assertEqual(done.err, b"worker 1: hello\nworker 1: again\n")
        done = self.run_worker("-j1", "-q", "--worker-log", "log", rows)
        self.assertEqual(done.err, b"")
        self.run_worker("-j1", "-q", "--worker-log", "log", rows)
        self.assertEqual(self.read("log"), b"worker 1: hello\nworker 1: again\n" * 2)

    def test_workers_are_replaced_after_so_many_requests(self):
        done = self.run_worker("-j1", "--recycle-after", "10", "--summary", "s.json", self.rows(*range(35)))
        self.assertEqual([r["output"]["calls"] for r in done.rows], [i % 10 + 1 for i in range(35)])
        self.assertEqual(json.loads(self.read("s.json"))["workers"]["recycled"], 3)

    def test_lazy_workers_start_when_there_is_work(self):
        self.run_worker("-j4", "--lazy", "-q", self.rows())
        self.assertEqual(self.started(), [])
        self.run_worker("-j4", "--lazy", "-q", self.rows(1))
        self.assertEqual(len(self.started()), 1)

    def test_more_workers_come_while_there_is_work_for_them(self):
        gate = self.path("gate")
        rows = self.rows(*[{"gate": gate, "log": "begun"}] * 3)
        process = self.start("--worker", self.program, "-j1", "--overflow", "2", "-q", rows)
        self.assertEqual(sorted(process.stderr.readline() for _ in range(3)),
                         [f"worker {n}: begun\n".encode() for n in (1, 2, 3)])
        self.write("gate", "")
        done = self.finish(process, 0)
        self.assertEqual(len({r["output"]["pid"] for r in done.rows}), 3)

    def test_a_worker_that_says_so_gets_several_requests_at_once(self):
        gate = self.path("gate")
        self.program = self.make_worker(in_flight=8)
        # The last row opens the gate that all others wait for: it must be there at the same time.
        rows = self.rows(*[{"gate": gate, "log": str(i)} for i in range(7)])
        process = self.start("--worker", self.program, "-j1", "--max-in-flight", "8", "-q", rows)
        told = b""
        while told.count(b"\n") < 7:
            told += process.stderr.readline()
        self.write("gate", "")
        done = self.finish(process, 0)
        self.assertEqual(len({r["output"]["pid"] for r in done.rows}), 1)

    def test_a_request_that_takes_too_long_ends_its_worker(self):
        rows = self.rows({"gate": "/nonexistent/gate"}, {"n": 1})
        done = self.run_worker("-j1", "--timeout", "500ms", "--retries", "0", "--summary", "s.json", rows, status=1)
        self.assertEqual([r["error"] and r["error"]["code"] for r in done.rows], ["timeout", None])
        self.assertEqual(json.loads(self.read("s.json"))["workers"]["killed"], 1)

    def test_rows_that_fail_for_good_go_to_the_fallback(self):
        fallback = self.write("worker-fallback.py", WORKER.format(sdk=os.path.join(ROOT, "sdk", "python"), here=self.dir,
                                                                  in_flight=1).replace('if "wrong" in do', 'if False'))
        rows = self.rows({"n": 0}, {"wrong": "x"}, {"n": 1})
        done = self.run_worker("-j1", "--fallback", f"python3 {fallback}", "--summary", "s.json", rows)
        self.assertNotEqual(done.rows[1]["output"]["pid"], done.rows[0]["output"]["pid"])
        self.assertEqual(done.rows[0]["output"]["pid"], done.rows[2]["output"]["pid"])
        self.assertEqual(json.loads(self.read("s.json"))["workers"]["failed_over"], 1)

    def test_many_rows_that_fail_alike_may_stop_the_run(self):
        rows = self.rows(*[{"wrong": "the same"}] * 200)
        done = self.run_worker("-j1", "-q", "--retries", "0", "--on-same-failure", "stop", rows, status=4)
        self.assertIn("--on-same-failure", done.text)
        self.assertLess(len(done.rows), 200)
        self.run_worker("-j1", "-q", "--retries", "0", rows, status=1)

    def test_a_program_that_never_works_ends_the_run(self):
        broken = self.write("worker-broken.py", "x =\n")
        self.program = f"python3 {broken}"
        done = self.run_worker("-j4", "--progress", "none", self.rows(1, 2, 3), status=2)
        self.assertIn("SyntaxError", done.text)
        self.assertIn("no worker of --worker has started (its process has ended: exited with status 1; its last words: SyntaxError: invalid syntax)", done.text)
        self.program = "sh -c 'exit 7'"
        done = self.run_worker("-j4", "-q", "--worker-log", "log", self.rows(1), status=2)
        self.assertIn("exited with status 7); what the program wrote to standard error stands in log", done.text)
        self.program = "nonexistent-program x"
        done = self.run_worker(self.rows(1), status=2)
        self.assertIn('--worker: there is no program "nonexistent-program"', done.text)

    def test_a_fallback_that_never_works_ends_the_run(self):
        """Rows that are to go to it would wait for ever."""
        rows = self.rows({"n": 0}, {"wrong": "x"}, {"n": 1})
        done = self.run_worker("-j4", "-q", "--fallback", "sh -c 'exit 7'", rows, status=2)
        self.assertIn("no worker of --fallback has started (its process has ended: exited with status 7)", done.text)

    def test_a_line_for_a_shell_is_run_by_one(self):
        self.program = f"env GREETING='a b' {self.program}"
        self.run_worker("-j1", "-q", self.rows(1))
        self.program = "$CHOSEN"
        self.run_worker("-j1", "-q", "--shell", self.rows(1), env={"CHOSEN": self.make_worker()})

    def test_a_killed_run_is_gone_on_with_and_each_row_has_one_result(self):
        rows = [{"n": i} for i in range(400)]
        name = self.rows(*rows)
        gate = self.path("gate")
        self.rows(*[*rows[:100], {"gate": gate}, *rows[101:]])
        process = self.start("--worker", self.program, "-j3", "-o", "out", name)
        wait_until(lambda: os.path.exists(self.path("out")) and self.read("out").count(b"\n") == 100, 30, "100 results")
        process.kill()
        process.wait()
        wait_until(lambda: not self.left(), 10, "the end of all workers")
        self.write("gate", "")
        self.run_worker("-j3", "-q", "-o", "out", name)
        self.assertEqual([json.loads(line)["index"] for line in self.read("out").splitlines()], list(range(400)))
        other = self.weir("--worker", self.program + " x", "-j3", "-q", "-o", "out", name, status=2)
        self.assertIn("--worker: was", other.text)

    def test_a_stop_lets_what_runs_finish(self):
        gate = self.path("gate")
        process = self.start("--worker", self.program, "-j1", "--progress", "plain",
                             self.rows({"gate": gate, "log": "begun"}, {"n": 1}))
        self.assertIn(b"worker 1: begun\n", iter(process.stderr.readline, b""))
        process.send_signal(signal.SIGINT)
        self.assertTrue(any(b"stopping:" in line for line in iter(process.stderr.readline, b"")))
        self.write("gate", "")
        done = self.finish(process, 3)
        self.assertEqual(len(done.rows), 1)
        wait_until(lambda: not self.left(), 10, "the end of all workers")


if __name__ == "__main__":
    unittest.main()
