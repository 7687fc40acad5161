"""What `weir serve` promises when it is killed: nothing that was accepted is lost, nothing is done twice over, and what ran is found.

WEIR_KILLS says how often it is killed (default 12); `make test` has 100.

run-tests: waits
run-tests: long
run-tests: timeout=900
"""
import collections
import http.client
import json
import multiprocessing
import os
import random
import re
import signal
import sqlite3
import struct
import subprocess
import sys
import threading
import time
import unittest

import lifekit
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, VARIANT, WEIR, wait_until

KILLS = int(os.environ.get("WEIR_KILLS", "12"))
SEED = int(os.environ.get("WEIR_SEED", "1"))
# Says that it has begun, holds its task's lock as long as anything of it lives, and says that it has ended.
TASK = """exec 9>>"$LOCKS/$WEIR_TASK"
flock -n 9 || echo "$WEIR_TASK $WEIR_ATTEMPT overlap" >>"$SAID"
echo "$WEIR_TASK $WEIR_ATTEMPT begin" >>"$SAID"
{sleep}
echo "$WEIR_TASK $WEIR_ATTEMPT end" >>"$SAID"
"""

# The same, in a worker.
WORKER = """import fcntl, os, sys, threading
sys.path.insert(0, {sdk!r})
import weir_worker

def say(told, what):
    with open(os.environ["SAID"], "a") as out:
        out.write(f"{{told['WEIR_TASK']}} {{told['WEIR_ATTEMPT']}} {{what}}\\n")

@weir_worker.command("process")
def process(args):
    told = weir_worker.request().env
    with open(os.path.join(os.environ["LOCKS"], told["WEIR_TASK"]), "a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            say(told, "overlap")
        say(told, "begin")
        threading.Event().wait(args["s"])
        say(told, "end")

weir_worker.run()
"""


def spec(key, rng):
    """Most are quick; some last, so that something always runs when the daemon is killed."""
    part = rng.random()
    # In a process of its own: what a command has started is to go with it.
    sleep = "" if part < 0.7 else f"sleep {rng.uniform(0.02, 0.3):.3f}" if part < 0.95 else f"sleep {rng.uniform(0.5, 1):.3f}"
    if rng.random() < 0.15:
        return {"key": key, "idempotency_key": key, "pool": "workers", "payload": {"s": rng.choice([0, 0.05, 0.2])}}
    return {"key": key, "idempotency_key": key, "pool": "sh", "payload": {"shell": TASK.replace("{sleep}", sleep)},
            "priority": rng.choice([0, 0, 5])}


def submit_one(d, keys, rng):
    return {keys[0]: d.submit(spec(keys[0], rng))}


def submit_array(d, keys, rng):
    return dict(zip(keys, d.submit([spec(k, rng) for k in keys])))


def submit_stream(d, keys, rng):
    body = "".join(json.dumps(spec(k, rng)) + "\n" for k in keys)
    status, answer = d.api("POST", "/v1/tasks", body, content_type="application/x-ndjson")
    assert status == 201 and answer["accepted"] == len(keys), (status, answer)
    return {k: None for k in keys}


def submitter(d, number, stop, accepted):
    """A process that submits until it is told to stop, and writes down what was accepted: key and id (0: not told)."""
    rng = random.Random(SEED * 1000 + number)
    with open(accepted, "a", encoding="utf-8", buffering=1) as out:
        for n in range(10 ** 9):
            how, count = rng.choice([(submit_one, 1), (submit_one, 1), (submit_array, 5), (submit_stream, 12)])
            keys = [f"{number}.{n}.{i}" for i in range(count)]
            while not stop.is_set():
                try:
                    for key, task in how(d, keys, rng).items():
                        out.write(f"{key} {task or 0}\n")
                    break
                except (OSError, ValueError, EOFError, AssertionError, http.client.HTTPException) as fault:
                    # Not accepted, or nobody knows: once more with the same keys. What the API itself says is not for us.
                    if isinstance(fault, AssertionError) and " 503 " not in str(fault):
                        raise
                    stop.wait(0.01)
            if stop.wait(0.03 * count):
                return


def canceller(d, stop, asked):
    """A process that cancels some of what runs or waits, and writes down of which it was told so (1), or may not have been (0)."""
    rng = random.Random(SEED)
    with open(asked, "a", encoding="utf-8", buffering=1) as out:
        while not stop.wait(0.05):
            try:
                found = d.get(f"/v1/tasks?state={rng.choice(['running', 'running', 'ready'])}&limit=20")["tasks"]
            except (OSError, ValueError, EOFError, AssertionError, http.client.HTTPException):
                continue
            for t in rng.sample(found, min(2, len(found))):
                out.write(f"{t['id']} 0\n")  # before it is asked: it may be done, and the answer lost
                try:
                    if d.api("POST", f"/v1/tasks/{t['id']}/cancel")[0] == 200:
                        out.write(f"{t['id']} 1\n")
                except (OSError, ValueError, EOFError, http.client.HTTPException):
                    pass


def guard_of(pid):
    """The shell that ends the commands of a daemon that was killed; 0: not found."""
    for name in os.listdir("/proc"):
        if not name.isdigit():
            continue
        try:
            with open(f"/proc/{name}/stat", encoding="ascii", errors="replace") as f:
                parent = int(f.read().rpartition(")")[2].split()[1])
            with open(f"/proc/{name}/environ", "rb") as f:
                bare = not f.read()
        except (OSError, ValueError):
            continue
        if parent == pid and bare:
            return int(name)
    return 0


class Durable(ServeCase):
    def config(self):
        return {"max_global_concurrency": 64, "quarantine": {"deaths": 0},
                "pools": [{"name": "sh", "kind": "command", "max_concurrency": 6},
                          {"name": "workers", "kind": "process", "max_concurrency": 2,
                           "process": [sys.executable, "-S", "-E", self.path("worker.py")]}]}

    def start(self):
        said, locks = self.path("said"), self.path("locks")
        os.mkdir(locks)
        self.write("worker.py", WORKER.format(sdk=os.path.join(ROOT, "sdk", "python")))
        return self.daemon(self.config(), env={"SAID": said, "LOCKS": locks, "TORTURE": self.dir})

    def kill(self, d, rng, with_guard):
        guard = guard_of(d.pid) if with_guard else 0
        if with_guard:
            self.assertGreater(guard, 0, "the guard was not found")
            os.kill(guard, signal.SIGKILL)
        d.kill9()

    def test_nothing_accepted_is_lost_however_often_it_is_killed(self):
        rng = random.Random(SEED)
        d = self.start()
        context = multiprocessing.get_context("fork")
        stop = context.Event()
        files = [self.path(f"accepted{i}") for i in range(3)]
        crowd = [context.Process(target=submitter, args=(d, i, stop, f)) for i, f in enumerate(files)]
        crowd.append(context.Process(target=canceller, args=(d, stop, self.path("asked"))))
        for p in crowd:
            p.start()
        began = time.monotonic()
        try:
            for n in range(KILLS):
                threading.Event().wait(rng.uniform(0.02, 0.6))  # the moment of the kill, not a wait for something
                self.kill(d, rng, n % 4 == 3)
                d.start()
        finally:
            stop.set()
            for p in crowd:
                p.join(60 * SLOWNESS)
                if p.is_alive():
                    p.kill()
        self.assertEqual([p.exitcode for p in crowd], [0, 0, 0, 0])
        wait_until(lambda: lifekit.is_quiet(d), 180, "all tasks to end")
        accepted = {}
        for f in files:
            with open(f, encoding="utf-8") as lines:
                accepted.update((k, int(v)) for k, v in (line.split() for line in lines))
        print(f"{KILLS} kills in {time.monotonic() - began:.0f} s, {len(accepted)} accepted", flush=True)
        self.check(d, accepted)

    def check(self, d, accepted):
        by_key = collections.defaultdict(list)
        for t in lifekit.tasks(d):
            by_key[t["key"]].append(t)
        self.assertGreater(len(accepted), 0)
        for key, task in accepted.items():
            self.assertEqual(len(by_key[key]), 1, f"{key} was accepted, and is there {len(by_key[key])} times")
            if task:
                self.assertEqual(by_key[key][0]["id"], task)
        told = lifekit.events(d)
        lives = lifekit.check_lives(told)
        done = self.check_cancelled([t for its in by_key.values() for t in its], lives)
        for t, its in lives.items():
            self.assertEqual(sum(e["kind"] == "task.done" for e in its), t in done, f"task {t}")
        self.assertTrue(any(e["kind"] == "runner.lost" for e in told), "nothing ran when it was killed: the test shows nothing")
        self.check_said(d, lives, done)
        lifekit.check_counters(d)
        self.assertEqual(d.stop(), 0)
        self.assertEqual(lifekit.processes(self.dir), [])
        with sqlite3.connect(os.path.join(d.dir, "weir.db")) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        db.close()

    def check_cancelled(self, tasks, lives):
        """Whoever was told that a task is cancelled can rely on it, unless it was done just then; all others are done: returns these."""
        asked, told = set(), set()
        with open(self.path("asked"), encoding="utf-8") as lines:
            for task, answer in (line.split() for line in lines):
                (told if answer == "1" else asked).add(int(task))
        for t in tasks:
            its = lives[t["id"]]
            self.assertIn(t["state"], ("done", "cancelled") if t["id"] in asked else ("done",), its)
            if t["id"] in told and t["state"] == "done":
                # It ran, was marked, and its attempt came to its end first.
                self.assertIn({"cancel": True}, [e.get("detail") for e in its if e["kind"] == "task.changed"], its)
        self.assertGreater(len(told), 0, "nothing was cancelled: the test shows nothing")
        return {t["id"] for t in tasks if t["state"] == "done"}

    def story(self, d, task, lives):
        told = [f"{e['at'][11:]} {e['kind']} {e.get('attempt', '')} {e.get('detail', '')}" for e in lives[task]]
        log = [line for line in d.log().splitlines() if f"task {task} " in line or "ready" in line]
        return "\n".join([*told, *log])

    def check_said(self, d, lives, done):
        begins, ends = collections.Counter(), collections.Counter()
        with open(self.path("said"), encoding="utf-8") as lines:
            for line in lines:
                task, _, what = line.split()
                if what == "overlap":
                    self.fail(f"task {task} ran while its attempt before was still alive: {self.story(d, int(task), lives)}")
                (begins if what == "begin" else ends)[int(task)] += 1
        for t, its in ((t, lives[t]) for t in done):
            self.assertGreaterEqual(ends[t], 1, f"task {t} is done, and was never run to its end")
            # What the record calls completed has been; it may have been more often, where a kill came before the record.
            self.assertEqual(sum(e["kind"] == "runner.completed" for e in its), 1, f"task {t}")


class Store(ServeCase):
    """The store fails for a while, or for good."""

    def small_disk(self, size):
        path = self.path("disk")
        os.mkdir(path)
        if os.geteuid() != 0 or subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path],
                                               capture_output=True).returncode != 0:
            self.skipTest("a small file system cannot be mounted here")
        self.addCleanup(subprocess.run, ["umount", "-l", path])
        return path

    def fill(self, disk):
        """Leaves no room; returns what is to be removed for there to be some."""
        path = os.path.join(disk, "ballast")
        with open(path, "wb", buffering=0) as f:
            for size in (65536, 4096, 1):
                try:
                    while True:
                        f.write(b"x" * size)
                except OSError:
                    pass
        return path

    def gate(self):
        """A command that ends when the test says so: by opening the gate."""
        os.mkfifo(self.path("gate"))
        fd = os.open(self.path("gate"), os.O_RDWR)
        self.addCleanup(os.close, fd)
        return f"echo >>{self.path('begun')}; read x <{self.path('gate')}", fd

    def begun(self, count):
        def have():
            try:
                return os.path.getsize(self.path("begun")) >= count
            except OSError:
                return False
        wait_until(have, 20, f"{count} tasks to begin")

    def on_small_disk(self, spill=None):
        disk = self.small_disk("3m")
        d = self.daemon({"store": os.path.join(disk, "weir.db"), "spill": spill or self.path("spill"),
                         "quarantine": {"deaths": 0},
                         "pools": [{"name": "sh", "kind": "command", "max_concurrency": 4}]})
        return disk, d

    def submit_until_refused(self, d):
        def refused():
            status, answer = d.api("POST", "/v1/tasks", {"not_before": "+9999s", "payload": {"shell": "#" + "x" * 20000}})
            return None if status == 201 else (status, answer)
        status, answer = wait_until(refused, 60, "the store to be full")
        self.assertGreaterEqual(status, 500, answer)
        self.assertIn("no room for it", answer["detail"])
        self.assertIn("free space", answer["detail"])

    def failing(self, d):
        return d.get("/v1/status")["store"]["failing"]

    def test_a_full_store_refuses_what_is_new_and_keeps_what_has_happened(self):
        disk, d = self.on_small_disk()
        shell, gate = self.gate()
        ids = d.submit([{"payload": {"shell": shell}} for _ in range(4)])
        self.begun(4)
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "the starts to be written")
        ballast = self.fill(disk)
        self.submit_until_refused(d)
        os.write(gate, b"\n\n\n\n")
        wait_until(lambda: os.path.getsize(self.path("spill")) > 0, 30, "the spill file")
        self.assertTrue(self.failing(d))
        status = d.get("/v1/status")["store"]
        self.assertIn("no room", status["message"])
        self.assertEqual(d.api("GET", "/healthz")[0], 200)
        os.unlink(ballast)
        for i in ids:
            self.assertEqual(d.wait_task(i)["state"], "done")
        wait_until(lambda: not self.failing(d) and os.path.getsize(self.path("spill")) == 0, 20, "the store to be well again")
        told = lifekit.events(d)
        lives = lifekit.check_lives(told)
        for i in ids:
            self.assertEqual(sum(e["kind"] == "task.done" for e in lives[i]), 1)
        self.assertEqual(d.stop(), 0)

    def test_what_a_full_store_could_not_be_told_is_taken_in_at_the_next_start(self):
        disk, d = self.on_small_disk()
        shell, gate = self.gate()
        i = d.submit({"payload": {"shell": shell}})
        self.begun(1)
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "the start to be written")
        ballast = self.fill(disk)
        self.submit_until_refused(d)
        os.write(gate, b"\n")
        wait_until(lambda: b"runner.completed" in self.read("spill"), 30, "the spill file")
        d.kill9()
        os.unlink(ballast)
        with open(self.path("spill"), "ab") as f:
            f.write(b'{"at_ns":17,"ki')  # a line that was being written
        d.start()
        os.write(gate, b"\n")  # its end was not in the store, so it runs once more
        self.assertEqual(d.wait_task(i)["state"], "done")
        kinds = [e["kind"] for e in lifekit.by_task(lifekit.events(d))[i]]
        self.assertEqual(kinds.count("runner.completed"), 2, kinds)
        self.assertEqual(kinds.count("runner.lost"), 1, kinds)
        self.assertEqual(kinds.count("task.done"), 1, kinds)
        wait_until(lambda: os.path.getsize(self.path("spill")) == 0, 20, "the spill file to be empty")
        self.assertEqual(d.stop(), 0)

    def test_a_stop_says_which_results_a_full_store_did_not_take(self):
        disk, d = self.on_small_disk()
        d.stop()
        d.configure({"store": os.path.join(disk, "weir.db"), "spill": self.path("spill"), "quarantine": {"deaths": 1},
                     "pools": [{"name": "sh", "kind": "command", "max_concurrency": 4}]})
        d.start()
        shell, gate = self.gate()
        ids = d.submit([{"payload": {"shell": shell}} for _ in range(4)])
        self.begun(4)
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "the starts to be written")
        ballast = self.fill(disk)
        self.submit_until_refused(d)
        os.write(gate, b"\n\n\n\n")
        wait_until(lambda: self.read("spill").count(b"runner.completed") == 4, 30, "the spill file")
        self.assertEqual(d.stop(), 1)
        self.assertRegex(d.log(), r"warning: 4 results could not be written: .*no room.*; their tasks will run again")
        self.assertIn("stopped; 0 attempts were ended", d.log())
        self.assertIn("weir serve: stopped without 4 results", d.log())
        os.unlink(ballast)
        d.start()
        os.write(gate, b"\n\n\n\n")
        for i in ids:
            # Nothing died of them: one death would have them quarantined.
            self.assertEqual(d.wait_task(i)["state"], "done")
            self.assertEqual(d.task(i)["deaths"], 0)
        self.assertEqual(d.stop(), 0)

    def read(self, name):
        with open(self.path(name), "rb") as f:
            return f.read()

    def test_a_spill_file_on_the_same_full_disk_keeps_nobody_from_starting(self):
        disk, d = self.on_small_disk(spill=self.path("disk", "spill"))
        shell, gate = self.gate()
        ids = d.submit([{"payload": {"shell": shell}} for _ in range(4)])
        self.begun(4)
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "the starts to be written")
        self.fill(disk)
        self.submit_until_refused(d)
        os.write(gate, b"\n\n")
        wait_until(lambda: re.search(r"(?m)^weir_events_at_risk [1-9]", d.request("GET", "/metrics")[2].decode()), 30,
                   "the metric to say so")
        d.kill9()
        os.unlink(self.path("disk", "ballast"))
        d.start()
        os.write(gate, b"\n\n\n\n")
        for i in ids:
            self.assertEqual(d.wait_task(i)["state"], "done")
        self.assertEqual(d.stop(), 0)

    def test_a_store_that_another_program_has_locked_is_waited_for(self):
        d = self.daemon()
        shell, gate = self.gate()
        i = d.submit({"payload": {"shell": shell}})
        self.begun(1)
        wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "the start to be written")
        other = subprocess.Popen([sys.executable, "-c",
                                  "import sqlite3, sys\n"
                                  f"c = sqlite3.connect({os.path.join(d.dir, 'weir.db')!r}, isolation_level=None)\n"
                                  "c.execute('BEGIN IMMEDIATE'); print('locked', flush=True); sys.stdin.read(); c.close()"],
                                 stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.addCleanup(other.stdout.close)
        self.addCleanup(other.wait)
        self.addCleanup(other.stdin.close)
        self.assertEqual(other.stdout.readline(), b"locked\n")
        os.write(gate, b"\n")
        # Who only looks is not held up.
        self.assertEqual(d.task(i)["state"], "running")
        status, answer = d.api("POST", "/v1/tasks", {"payload": {"shell": "true"}}, timeout_s=60)
        self.assertEqual(status, 503, answer)
        self.assertIn("locked by another program", answer["detail"])
        self.assertTrue(self.failing(d))
        other.stdin.close()
        other.wait(20)
        self.assertEqual(d.wait_task(i)["state"], "done")
        self.assertEqual(d.wait_task(d.submit({"payload": {"shell": "true"}}))["state"], "done")
        lifekit.check_lives(lifekit.events(d))
        self.assertEqual(d.stop(), 0)

    def test_what_is_stored_is_its_owners_alone(self):
        before = os.umask(0o022)
        try:
            d = self.daemon()
        finally:
            os.umask(before)
        d.wait_task(d.submit({"payload": {"shell": "true"}}))
        store = os.path.join(d.dir, "weir.db")
        modes = {name[len("weir.db"):]: os.stat(os.path.join(d.dir, name)).st_mode & 0o777
                 for name in os.listdir(d.dir) if name.startswith("weir.db")}
        self.assertEqual({name: oct(mode) for name, mode in modes.items() if mode & 0o077}, {})
        self.assertLessEqual({"", "-wal", "-shm", "-lock"}, set(modes))
        # One that is there keeps the mode that somebody gave it, and what is made beside it gets that.
        d.stop()
        os.chmod(store, 0o640)
        d.start()
        self.assertEqual([os.stat(store + name).st_mode & 0o777 for name in ("", "-wal")], [0o640, 0o640])

    def test_a_store_that_cannot_be_written_is_said_at_the_start(self):
        d = self.daemon()
        d.stop()
        if os.geteuid() != 0:
            os.chmod(os.path.join(d.dir, "weir.db"), 0o444)
            more = {}
        else:
            os.chmod(d.dir, 0o755)
            os.chmod(d.config_path, 0o644)
            more = {"user": 65534, "group": 65534, "extra_groups": []}
        done = subprocess.run([WEIR, "serve", "-c", d.config_path], capture_output=True, text=True, timeout=60, env=d.env,
                              cwd="/", **more)
        self.assertNotEqual(done.returncode, 0)
        self.assertRegex(done.stderr, "writable|Permission denied|permission")

    def refused(self, d, store):
        """A second daemon on what is the same store by that name."""
        other = self.write("other.yml", f"store: {store}\nlisten: unix:{self.path('s')}\npools: [{{name: sh, kind: command}}]\n")
        done = subprocess.run([WEIR, "serve", "-c", other], capture_output=True, text=True, timeout=60, env=d.env)
        self.assertNotEqual(done.returncode, 0)
        self.assertIn(f"in use by process {d.pid};", done.stderr)

    def test_a_second_daemon_on_the_same_store_is_refused(self):
        d = self.daemon()
        shell, gate = self.gate()
        i = d.submit({"payload": {"shell": shell}})
        self.begun(1)
        store = os.path.join(d.dir, "weir.db")
        self.refused(d, store)
        os.symlink("weir.db", os.path.join(d.dir, "link.db"))
        self.refused(d, os.path.join(d.dir, "link.db"))
        os.symlink(d.dir, self.path("folder"))
        self.refused(d, self.path("folder", "weir.db"))
        os.link(store, os.path.join(d.dir, "other.db"))
        self.refused(d, os.path.join(d.dir, "other.db"))
        os.unlink(store + "-lock")
        self.refused(d, store)
        # They have ended nothing of the first one's.
        os.write(gate, b"\n")
        ended = d.wait_task(i)
        self.assertEqual((ended["state"], ended["attempts"]), ("done", 1))
        self.assertEqual(d.stop(), 0)


CLOCK = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

/* The wall clock, and what stands in the file $CLOCK on top of it. */
int clock_gettime(clockid_t id, struct timespec *t)
{
    static int (*real)(clockid_t, struct timespec *);
    static const long long *off_ns;
    int rc;

    if (!real)
        real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    if (!off_ns && getenv("CLOCK")) {
        int fd = open(getenv("CLOCK"), O_RDONLY | O_CLOEXEC);
        void *m = mmap(NULL, sizeof *off_ns, PROT_READ, MAP_SHARED, fd, 0);

        off_ns = m == MAP_FAILED ? NULL : m;
    }
    rc = real(id, t);
    if (rc == 0 && id == CLOCK_REALTIME && off_ns) {
        long long ns = t->tv_sec * 1000000000LL + t->tv_nsec + *(volatile const long long *)off_ns;

        t->tv_sec = ns / 1000000000LL;
        t->tv_nsec = ns % 1000000000LL;
    }
    return rc;
}
"""


@unittest.skipIf(VARIANT, "the sanitizer wants to be loaded first")
class Clock(ServeCase):
    """Somebody sets the wall clock."""

    def clocked(self, config):
        source, library = self.write("clock.c", CLOCK), self.path("clock.so")
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
        self.write("clock", b"\0" * 8)
        return self.daemon(config, env={"LD_PRELOAD": library, "CLOCK": self.path("clock")})

    def set_clock(self, seconds):
        """Against what it would be."""
        with open(self.path("clock"), "r+b") as f:
            f.write(struct.pack("q", int(seconds * 1e9)))

    def pools(self, **more):
        return {"pools": [{"name": "sh", "kind": "command", "max_concurrency": 2, "max_attempts": 3,
                           "backoff": {"initial": "2s", "jitter": 0}, **more}]}

    def test_the_clock_is_what_the_daemon_goes_by(self):
        d = self.clocked(self.pools())
        i = d.submit({"payload": {"shell": "true"}, "not_before": "+3600s"})
        self.assertEqual(d.task(i)["state"], "scheduled")
        self.set_clock(3700)
        self.assertEqual(d.wait_task(i)["state"], "done")

    def test_a_clock_that_is_set_back_delays_no_retry(self):
        d = self.clocked(self.pools())
        i = d.submit({"payload": {"shell": "[ $WEIR_ATTEMPT = 2 ]"}})
        later = d.submit({"payload": {"shell": "true"}, "not_before": "+5s"})
        d.wait_task(i, "scheduled")
        began = time.monotonic()
        self.set_clock(-3600)
        self.assertEqual(d.wait_task(i, deadline_s=20)["state"], "done")
        self.assertGreater(time.monotonic() - began, 1)
        # What somebody wants at a time of day waits for that time of day.
        self.assertEqual(d.task(later)["state"], "scheduled")
        self.set_clock(10)
        self.assertEqual(d.wait_task(later)["state"], "done")
        self.assert_sane(d)

    def test_a_clock_that_is_set_forward_uses_up_no_patience_with_a_service_that_is_full(self):
        d = self.clocked(self.pools(max_capacity_retry="1h"))
        gate = self.path("room")
        i = d.submit({"payload": {"shell": f"test -e {gate} || exit 75"}})
        wait_until(lambda: d.task(i)["capacity_retries"] >= 1, 30, "it to be refused")
        self.set_clock(7200)
        seen = d.task(i)["capacity_retries"]
        wait_until(lambda: d.task(i)["state"] == "failed" or d.task(i)["capacity_retries"] > seen + 1, 30, "the next refusals")
        self.write("room", "")
        self.assertEqual(d.wait_task(i)["state"], "done")

    def assert_sane(self, d):
        for e in lifekit.events(d):
            self.assertGreaterEqual(e.get("duration_s", 0), 0, e)
            self.assertLess(e.get("duration_s", 0), 10000, e)
        lifekit.check_lives(lifekit.events(d))
        metrics = d.request("GET", "/metrics")[2].decode()
        self.assertIsNone(re.search(r"(?m)^weir_\w+_(sum|count|total|bucket)\S* -", metrics))

    def test_tasks_go_in_the_order_of_their_coming_whatever_the_clock_says(self):
        d = self.clocked({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 1}], "policy": "fifo"})
        said, gate = self.path("said"), self.path("gate")
        os.mkfifo(gate)
        first = d.submit({"payload": {"shell": f"read x <{gate}"}})
        d.wait_task(first, "running")
        ids = []
        for clock in (0, -7200, 600, -60, 0):
            self.set_clock(clock)
            ids += d.submit([{"payload": {"shell": f"echo $WEIR_TASK >>{said}"}} for _ in range(5)])
        with open(gate, "w", encoding="ascii") as f:
            f.write("\n")
        for i in ids:
            self.assertEqual(d.wait_task(i)["state"], "done")
        with open(said, encoding="ascii") as f:
            self.assertEqual([int(line) for line in f], ids)
        self.assert_sane(d)

    def test_a_deadline_is_a_time_of_day(self):
        d = self.clocked({"pools": [{"name": "sh", "kind": "command", "enabled": False}]})
        i = d.submit({"payload": {"shell": "true"}, "deadline": "+600s"})
        self.set_clock(-3600)
        other = d.submit({"payload": {"shell": "true"}, "deadline": "+600s"})
        self.assertEqual(d.task(i)["state"], "ready")
        self.set_clock(700)
        for task in (i, other):
            ended = d.wait_task(task)
            self.assertEqual((ended["state"], ended["reason"]), ("failed", "deadline"))
        self.assert_sane(d)

    def test_a_clock_that_was_set_back_while_it_was_down_loses_nothing(self):
        d = self.clocked(self.pools())
        waits = d.submit({"payload": {"shell": "[ $WEIR_ATTEMPT = 2 ]"}, "backoff": {"initial": "3s"}})
        runs = d.submit({"payload": {"shell": "[ $WEIR_ATTEMPT = 2 ] || sleep 100"}})
        d.wait_task(runs, "running")
        d.wait_task(waits, "scheduled")
        d.kill9()
        self.set_clock(-3600)
        d.start()
        self.assertEqual(d.wait_task(runs)["state"], "done")
        self.assertEqual(d.wait_task(waits)["state"], "done")
        self.assert_sane(d)


if __name__ == "__main__":
    unittest.main()
