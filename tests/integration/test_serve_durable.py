"""What `weir serve` promises when it is killed: nothing that was accepted is lost, nothing is done twice over, and what ran is found.

WEIR_KILLS says how often it is killed (default 12); `make test` has 100.

run-tests: timeout=900
"""
import collections
import http.client
import json
import multiprocessing
import os
import random
import signal
import sqlite3
import sys
import threading
import time
import unittest

import lifekit
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, wait_until

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
WORKER = """import fcntl, os, sys, time
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
        time.sleep(args["s"])
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
    assert status == 201 and answer["accepted"] + answer["existing"] == len(keys), (status, answer)
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
        self.assertEqual([p.exitcode for p in crowd], [0, 0, 0])
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
        for its in by_key.values():
            self.assertEqual([t["state"] for t in its], ["done"], its)
        told = lifekit.events(d)
        lives = lifekit.check_lives(told)
        for t, its in lives.items():
            self.assertEqual(sum(e["kind"] == "task.done" for e in its), 1, f"task {t}")
        self.assertTrue(any(e["kind"] == "runner.lost" for e in told), "nothing ran when it was killed: the test shows nothing")
        self.check_said(d, lives)
        lifekit.check_counters(d)
        self.assertEqual(d.stop(), 0)
        self.assertEqual(lifekit.processes(self.dir), [])
        with sqlite3.connect(os.path.join(d.dir, "weir.db")) as db:
            self.assertEqual(db.execute("PRAGMA integrity_check").fetchall(), [("ok",)])
        db.close()

    def story(self, d, task, lives):
        told = [f"{e['at'][11:]} {e['kind']} {e.get('attempt', '')} {e.get('detail', '')}" for e in lives[task]]
        log = [line for line in d.log().splitlines() if f"task {task} " in line or "ready" in line]
        return "\n".join([*told, *log])

    def check_said(self, d, lives):
        begins, ends = collections.Counter(), collections.Counter()
        with open(self.path("said"), encoding="utf-8") as lines:
            for line in lines:
                task, _, what = line.split()
                if what == "overlap":
                    self.fail(f"task {task} ran while its attempt before was still alive: {self.story(d, int(task), lives)}")
                (begins if what == "begin" else ends)[int(task)] += 1
        for t, its in lives.items():
            self.assertGreaterEqual(ends[t], 1, f"task {t} is done, and was never run to its end")
            # What the record calls completed has been; it may have been more often, where a kill came before the record.
            self.assertEqual(sum(e["kind"] == "runner.completed" for e in its), 1, f"task {t}")


if __name__ == "__main__":
    unittest.main()
