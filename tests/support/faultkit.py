"""What the tests of workers and commands under faults share: a `weir run` that is watched from outside.

    class TestX(FaultCase):
        @classmethod
        def prepare(cls):                                   # started together, so that their waits overlap
            cls.begin("crash", "-j", 2, worker=bad_worker("crash", "if=" + row_text(3)), rows=20)

        def test_y(self):
            run = self.run_of("crash", status=0)            # waits for its end
            self.check_rows(run, 20)                        # each row one result, in order, with its own bytes
            run.ended(3)                                    # its attempt.ended events

A run has a folder with all that it reads and writes. Everything that descends from it is found by a mark in its
environment, so that nothing can hide in another session or process group.
"""
import itertools
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import tempfile
import unittest
from datetime import datetime, timezone

from runkit import environment
from weirtest import SLOWNESS, VARIANT, WEIR, wait_until
from workerkit import bad_worker, is_running, pid_state

MARK = "WEIR_TEST_MARK"
MIB = 1 << 20
# A process may be seen for so long after it was killed: the kernel takes it apart in its own time.
GONE_S = 1.0
SINGLE_THREADED = {"OPENBLAS_NUM_THREADS": "1"}

CLOSED = "the pool is closed"
# The life of a worker.
MOVES = {("initializing", "ready"), ("initializing", "terminated"), ("ready", "busy"), ("ready", "degraded"),
         ("ready", "terminating"), ("busy", "ready"), ("busy", "degraded"), ("busy", "terminating"), ("degraded", "ready"),
         ("degraded", "terminating"), ("terminating", "terminated")}

numbers = itertools.count(1)


def row_text(n):
    """What a request of the plain row n holds, and no other request does: for bad_worker's if=TEXT."""
    return f'"n": {n}}}'


def marked(mark):
    """Pids of all processes that were started under the mark, and run."""
    wanted, found = f"{MARK}={mark}".encode(), []
    for entry in os.listdir("/proc"):
        if not entry.isdigit():
            continue
        try:
            with open(f"/proc/{entry}/environ", "rb") as f:
                if wanted in f.read().split(b"\0") and is_running(int(entry)):
                    found.append(int(entry))
        except OSError:
            pass
    return found


def command_line(pid):
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as f:
            return f.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return ""


def status_kib(pid, name):
    """A figure of /proc/PID/status in KiB; 0: there is none."""
    try:
        with open(f"/proc/{pid}/status", encoding="utf-8", errors="replace") as f:
            found = re.search(rf"^{name}:\s+(\d+) kB", f.read(), re.M)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def seconds(text):
    """A time of the record, as seconds since the epoch."""
    whole = datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
    return whole.timestamp()


class Run:
    """A `weir run` with a folder of its own. rows: a number of plain rows, a list of values, a path, or None: its standard
    input is fed by feed(), until end_input(). fed: so many plain rows are fed at once."""

    def __init__(self, folder, name, *options, worker=None, command=None, rows=None, env=None, events=True, meta=True,
                 output=False, fed=0):
        self.name, self.folder = name, os.path.join(folder, name)
        os.makedirs(self.folder, exist_ok=True)
        self.mark = f"{os.getpid()}-{next(numbers)}"
        self.status = None
        self.peak_kib = 0
        words = [WEIR, "run", "--progress", "none", *map(str, options)]
        if worker is not None:
            words += ["--worker", worker if isinstance(worker, str) else shlex.join(worker)]
        if events:
            words += ["--events", self.path("events")]
        if meta:
            words += ["--meta"]
        if output:
            words += ["-o", self.path("out")]
        words += ["--summary", self.path("summary")]
        words += self._input(rows)
        if command is not None:
            words += ["--", *map(str, command)]
        self.words = words
        self.env = {MARK: self.mark, "PYTHONDONTWRITEBYTECODE": "1", **SINGLE_THREADED, **(env or {})}
        self._rows, self._output = rows, output
        self.start()
        if fed:
            self.feed(*({"n": i} for i in range(fed)))

    def _input(self, rows):
        if rows is None:
            return ["-"]
        if isinstance(rows, int):
            rows = [{"n": i} for i in range(rows)]
        if isinstance(rows, str):
            return [rows]
        with open(self.path("rows"), "w", encoding="utf-8") as f:
            f.writelines(json.dumps(row, separators=(",", ":")) + "\n" for row in rows)
        return [self.path("rows")]

    def start(self):
        """Starts it; once more after a kill, to go on."""
        self.status = None
        fed = self._rows is None
        with open(self.path("err"), "ab") as err, open(self.path("spill" if self._output else "out"), "ab") as out:
            self.process = subprocess.Popen(
                self.words, cwd=self.folder, env=environment(self.folder, self.env), stdout=out, stderr=err,
                stdin=subprocess.PIPE if fed else subprocess.DEVNULL)
        self.pid = self.process.pid

    def path(self, name):
        return os.path.join(self.folder, name)

    # Standard input.

    def feed(self, *rows):
        for row in rows:
            self.process.stdin.write(json.dumps(row, separators=(",", ":")).encode() + b"\n")
        self.process.stdin.flush()

    def count_results(self):
        with open(self.path("out"), "rb") as f:
            return sum(piece.count(b"\n") for piece in iter(lambda: f.read(1 << 20), b""))

    def wait_results(self, count, deadline_s=60):
        wait_until(lambda: self.poll() is not None or self.count_results() >= count, deadline_s,
                   f"{count} results of {self.name}")
        if self.count_results() < count:
            raise AssertionError(f"{self.name} ended with {self.count_results()} of {count} results: {self.said()[-2000:]}")

    def wait_workers(self, count, deadline_s=30):
        """Until so many lives have answered their first ping."""
        wait_until(lambda: len({line[0] for line in self.log("ping")}) >= count or self.poll() is not None, deadline_s,
                   f"{count} workers of {self.name}, which are {self.log('start')}")

    def end_input(self):
        self.process.stdin.close()

    # The end.

    def poll(self):
        if self.status is None:
            self.peak_kib = max(self.peak_kib, status_kib(self.pid, "VmHWM"))
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = self.process.returncode = os.waitstatus_to_exitcode(status)
        return self.status

    def finish(self, deadline_s=60):
        """Waits for its end: its exit status."""
        if self.process.stdin and not self.process.stdin.closed:
            self.end_input()
        try:
            wait_until(lambda: self.poll() is not None, deadline_s, f"the end of {self.name}")
        except AssertionError as error:
            raise AssertionError(f"{error}; it said: {self.said()[-1500:]}; its processes: "
                                 f"{[command_line(p) for p in self.members()]}") from None
        return self.status

    def kill(self):
        """SIGKILL to weir itself."""
        self.process.kill()
        wait_until(lambda: self.poll() is not None, 10, "the end of a killed weir")

    def clear(self):
        """Whatever happened before: nothing of it runs afterwards."""
        if self.poll() is None:
            self.process.kill()
            self.finish(10)
        if self.process.stdin:
            try:
                self.process.stdin.close()
            except OSError:
                pass
        for pid in marked(self.mark):
            try:
                os.kill(pid, signal.SIGKILL)
            except OSError:
                pass

    # What it says.

    def text(self, name):
        try:
            with open(self.path(name), encoding="utf-8", errors="replace") as f:
                return f.read()
        except FileNotFoundError:
            return ""

    def said(self):
        return self.text("err")

    def results(self):
        return [json.loads(line) for line in whole_lines(self.text("out"))]

    def summary(self):
        return json.loads(self.text("summary"))

    def events(self, *names, **members):
        """Events of these names that have these members."""
        found = [json.loads(line) for line in whole_lines(self.text("events"))]
        return [e for e in found if (not names or e["event"] in names) and
                all(e.get(name) == value for name, value in members.items())]

    def ended(self, index):
        return self.events("attempt.ended", index=index)

    def moves(self, **members):
        """Transitions of workers."""
        return self.events("worker.transition", **members)

    def wait_event(self, what, *names, deadline_s=30, **members):
        """The events, once there are any."""
        def seen():
            return self.events(*names, **members) or (self.poll() is not None and "ended")
        found = wait_until(seen, deadline_s, f"{what} of {self.name}")
        if found == "ended":
            found = self.events(*names, **members)
            if not found:
                raise AssertionError(f"{self.name} ended without {what}: {self.said()[-1500:]}")
        return found

    def log(self, *words):
        """What bad_worker's log=PATH("log") has: [pid, word, ...], those with one of these words."""
        lines = [line.split() for line in whole_lines(self.text("log"))]
        return [[int(line[0])] + line[1:] for line in lines if not words or line[1] in words]

    # What it is, from outside.

    def members(self):
        """All processes that descend from it."""
        return [pid for pid in marked(self.mark) if pid != self.pid]

    def children(self):
        """Its own children, those that wait to be reaped too."""
        found = []
        for task in os.listdir(f"/proc/{self.pid}/task"):
            with open(f"/proc/{self.pid}/task/{task}/children", encoding="ascii") as f:
                found += map(int, f.read().split())
        return found

    def workers(self):
        return [pid for pid in self.children() if "bad_worker" in command_line(pid) and is_running(pid)]

    def kill_worker(self, pid):
        """SIGKILL to a child of weir, and to nobody else who may have its number by now: whether it was sent."""
        try:
            fd = os.pidfd_open(pid)
        except OSError:
            return False
        try:
            if pid not in self.children():
                return False
            signal.pidfd_send_signal(fd, signal.SIGKILL)
            return True
        except OSError:
            return False
        finally:
            os.close(fd)

    def zombies(self):
        return [pid for pid in self.children() if pid_state(pid) == "Z"]

    def descriptors(self):
        """What its open descriptors are, sorted."""
        found = []
        for fd in os.listdir(f"/proc/{self.pid}/fd"):
            try:
                found.append(re.sub(r"\d+", "N", os.readlink(f"/proc/{self.pid}/fd/{fd}")))
            except OSError:
                pass
        return sorted(found)

    def peak_bytes(self):
        """The most memory that it had, as seen when it was looked at last. The kernel's figure at its end would count what
        the new process began as, which is a copy of this program."""
        if not self.peak_kib:
            raise AssertionError(f"{self.name} had ended before anybody looked at its memory")
        return self.peak_kib * 1024


def whole_lines(text):
    """A last line that is still being written is none yet."""
    return [line for line in text[:text.rfind("\n") + 1].split("\n") if line]


class FaultCase(unittest.TestCase):
    """prepare() starts runs of the class; run_of(name) waits for one."""

    maxDiff = 4000

    runs = None

    @classmethod
    def prepare(cls):
        pass

    @classmethod
    def open_runs(cls):
        cls.runs = {}
        cls.folder = tempfile.mkdtemp(prefix="weir-")
        cls.prepare()

    @classmethod
    def close_runs(cls):
        for run in (cls.runs or {}).values():
            run.clear()
        if cls.runs is not None:
            shutil.rmtree(cls.folder, True)
        cls.runs = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.addClassCleanup(cls.close_runs)
        if cls.runs is None:
            cls.open_runs()

    @classmethod
    def begin(cls, name, *options, **more):
        """A Run; {folder} in an option or a word of its worker is its folder."""
        folder = os.path.join(cls.folder, name)

        def place(words):
            return [str(word).replace("{folder}", folder) for word in words]

        if more.get("worker") is not None and not isinstance(more["worker"], str):
            more["worker"] = place(more["worker"])
        run = Run(cls.folder, name, *place(options), **more)
        cls.runs[name] = run
        return run

    def run_of(self, name, status=None, deadline_s=60, rows=None, workers=None):
        """rows, workers: its input does not end before there are so many results, and so many workers have been ready."""
        run = self.runs[name]
        if rows is not None:
            run.wait_results(rows)
        if workers is not None:
            run.wait_workers(workers)
        run.finish(deadline_s)
        if status is not None:
            self.assertEqual(run.status, status, f"{name} said: {run.said()[-2000:]}")
        self.check_nothing_left(run)
        self.check_record(run)
        return run

    def check_record(self, run):
        """What the events say holds together, whatever the run was about (P3, P7, I4, I6)."""
        events = run.events()
        if not events or run.events("log.dropped"):
            return
        state, since, given, flight = {}, {}, {}, {}
        for event in events:
            name, worker = event["event"], (event.get("pool"), event.get("worker"))
            if name == "worker.transition":
                move = event["from"], event["to"]
                self.assertIn(move, MOVES, event)
                self.assertEqual(state.get(worker, "initializing"), event["from"], event)
                if worker in since:
                    self.assertAlmostEqual(seconds(event["time"]) - since[worker], event["lasted_ms"] / 1000, delta=0.003)
                state[worker], since[worker] = event["to"], seconds(event["time"])
                self.assertTrue(event["reason"], event)
            elif name == "attempt.started" and event.get("worker"):
                row = event["batch"], event["index"]
                self.assertEqual(state[worker], "busy", event)
                self.assertNotIn(row, given, "a row runs twice at the same time")
                given[row] = worker
                flight[worker] = flight.get(worker, 0) + 1
            elif name in ("attempt.ended", "attempt.taken_back") and event.get("worker"):
                self.assertEqual(given.pop((event["batch"], event["index"])), worker, event)
                flight[worker] -= 1
        self.assertEqual(given, {}, "attempts that never ended")
        if state:
            self.assertEqual(set(state.values()), {"terminated"})
            # The summary is made up before the last workers end; one may still begin to be replaced meanwhile.
            started = run.summary()["workers"]["started"]
            self.assertIn(len(state) - started, range(0, 1 + len({w["worker"] for w in run.moves(reason=CLOSED)})))

    def check_nothing_left(self, run):
        """A run that has ended has no process any more."""
        wait_until(lambda: not marked(run.mark), GONE_S,
                   f"the end of {[command_line(p) for p in marked(run.mark)]}")
        if VARIANT:
            self.assertNotRegex(run.said(), r"Sanitizer|runtime error")

    def check_order(self, run, count):
        """Every row exactly one result, in order."""
        rows = run.results()
        self.assertEqual([row["index"] for row in rows], list(range(count)), run.said()[-1000:])
        return rows

    def check_rows(self, run, count, failed=()):
        """... and all but `failed` were answered with what they had sent."""
        rows = self.check_order(run, count)
        self.assertEqual([row["index"] for row in rows if row["error"]], sorted(failed),
                         [row["error"] for row in rows if row["error"]][:3])
        for row in rows:
            if not row["error"]:
                self.assertEqual(row["output"], {"n": row["index"]})
        # The record agrees with the results (P7).
        finished = run.events("task.finished")
        if finished:
            self.assertEqual(sorted(e["index"] for e in finished), list(range(count)))
        return rows

    def gap(self, before, after):
        """Seconds between two events."""
        return seconds(after["time"]) - seconds(before["time"])

    def born(self, move):
        """The time, as of gap(), at which the state began that a transition ended."""
        return seconds(move["time"]) - move["lasted_ms"] / 1000

    def assert_took(self, gap_s, least_s, slack_s=3):
        """A wait that weir made: never shorter; longer only by what a busy machine costs."""
        self.assertGreaterEqual(gap_s, least_s - 0.01)
        self.assertLessEqual(gap_s, least_s + slack_s * SLOWNESS)


def open_early(*cases):
    """For a module's setUpModule(): starts the runs of these classes before all others, so that their waits overlap."""
    for case in cases:
        unittest.addModuleCleanup(case.close_runs)
        case.open_runs()


def worker_of(*faults):
    """bad_worker, logging to {folder}/log."""
    return bad_worker(*faults, "log={folder}/log")


def first_call(*faults):
    """... and one call alone, of all workers, gets the fault."""
    return worker_of(*faults, "first={folder}/first")


def first_life(*faults):
    """... whose first life alone has the faults."""
    return worker_of(*faults, "once={folder}/once")
