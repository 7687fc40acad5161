"""A worker is killed: how long until the next request is served, beside what its program takes to start by itself.

One worker has work all the time. It is killed at once after an answer or in the middle of a request, as it comes; the time
from the kill to the first answer of the one that took its place is the recovery. The program's own start is from its
start to its answer to a ping, without weir.
"""
import json
import math
import os
import random
import shlex
import signal
import statistics
import struct
import subprocess
import sys
import threading
import time
from datetime import datetime, timezone

from harness import Bench, BenchError, Goal, Side
from kit import ROOT

KILLS, STARTS = 40, 10
ROWS_PER_S = 400
WAIT_S = 30.0
LEAST_S, MOST_S = 0.005, 0.05  # between an answer and the next kill

SLOW = """
import sys
sys.path.insert(0, {sdk!r})
import weir_worker
import decimal, email.parser, http.client, sqlite3, ssl, xml.dom.minidom   # what a program loads before it can work

@weir_worker.command("process")
def process(args):
    return args

weir_worker.run()
"""


def percentile(values, share):
    return sorted(values)[max(0, math.ceil(share * len(values)) - 1)]


def start_ms(words):
    """One start of the program: until it has answered a ping."""
    ping = json.dumps({"id": 1, "command": "ping"}).encode()
    begin = time.monotonic()
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
                          env=dict(os.environ, WEIR_WORKER="1")) as process:
        process.stdin.write(struct.pack(">I", len(ping)) + ping)
        answered = len(process.stdout.read(4)) == 4
        took = time.monotonic() - begin
        process.kill()
    if not answered:
        raise BenchError(f"{words[0]} does not answer a ping")
    return took * 1e3


class Run:
    """A `weir run` with one worker that always has work; its events are read as they come."""

    def __init__(self, kit, number, words):
        self.events_path = kit.path(f"events-{number}")
        self.process = subprocess.Popen(
            [kit.weir, "run", "-q", "-j", "1", "--breaker", "off", "--retries", "9", "--rate", str(ROWS_PER_S), "--throttle",
             "none", "--worker", shlex.join(words), "--events", self.events_path, "-"],
            stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.events, self.killed = None, set()
        threading.Thread(target=self.feed, daemon=True).start()

    def feed(self):
        try:
            while True:
                self.process.stdin.write(b'{"n":1}\n' * 100)
                self.process.stdin.flush()
        except (OSError, ValueError):
            pass  # it has ended, or was told to

    def answers(self):
        """Of each answer as it comes: the worker, and when."""
        end, pause, have = time.monotonic() + WAIT_S, threading.Event(), ""
        while time.monotonic() < end:
            if self.events is None and os.path.exists(self.events_path):
                self.events = open(self.events_path, encoding="utf-8")
            have += self.events.read() if self.events else ""
            while "\n" in have:
                line, have = have.split("\n", 1)
                event = json.loads(line)
                if event["event"] == "attempt.ended" and event["outcome"] == "ok":
                    at = datetime.strptime(event["time"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
                    yield event["worker"], at.timestamp()
                    end = time.monotonic() + WAIT_S
            pause.wait(0.005)
        raise BenchError(f"no answer for {WAIT_S:g} s")

    def worker_pid(self, program):
        with open(f"/proc/{self.process.pid}/task/{self.process.pid}/children", encoding="ascii") as f:
            children = f.read().split()
        for task in os.listdir(f"/proc/{self.process.pid}/task"):
            with open(f"/proc/{self.process.pid}/task/{task}/children", encoding="ascii") as f:
                children += f.read().split()
        for pid in map(int, children):
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                if f.read().startswith(program) and pid not in self.killed:
                    return pid
        return None

    def recoveries_ms(self, program, rng):
        pause, answers, times = threading.Event(), self.answers(), []
        worker, _ = next(answers)
        while len(times) < KILLS:
            pause.wait(rng.uniform(LEAST_S, MOST_S))
            pid = self.worker_pid(program)
            if pid is None:
                raise BenchError("there is no worker to be killed")
            self.killed.add(pid)
            killed_at = time.time()
            os.kill(pid, signal.SIGKILL)
            before = worker
            while worker == before:
                worker, at = next(answers)
            times.append((at - killed_at) * 1e3)
        return times

    def end(self):
        self.process.kill()
        self.process.wait()
        if self.events:
            self.events.close()


def measured(kit, words):
    """A side's function: one round."""
    def call(number):
        starts = [start_ms(words) for _ in range(STARTS)]
        run = Run(kit, f"{os.path.basename(words[-1])}-{number}", words)
        try:
            times = run.recoveries_ms(b"\0".join(word.encode() for word in words), random.Random(number))
        finally:
            run.end()
        own = statistics.median(starts)
        return {"start_p50_ms": own, "recovery_p50_ms": statistics.median(times),
                "recovery_p99_ms": percentile(times, 0.99), "beyond_start_p99_ms": percentile(times, 0.99) - own}
    return call


def bench(kit):
    echo = os.path.join(ROOT, "build", "examples", "workers", "echo")
    slow = kit.write("slow.py", [SLOW.format(sdk=os.path.join(ROOT, "sdk", "python"))])
    missing = "" if os.path.exists(echo) else f"{echo} is not there: `make examples` builds it"
    return Bench(
        f"{KILLS} kills of the only worker, which has {ROWS_PER_S} requests a second, to the next request served",
        shows=["start_p50_ms", "recovery_p50_ms", "recovery_p99_ms", "beyond_start_p99_ms"],
        notes=["The start is the program's own, from its start to its answer to a ping, without weir.",
               "Two rounds: the figures are of single events, whose record is written about once a second."],
        sides=[Side("worker in C", call=measured(kit, [echo]), missing=missing),
               Side("worker in Python", call=measured(kit, [sys.executable, slow]))],
        goals=[Goal("worker in C", "beyond_start_p99_ms", "<=", 500),
               Goal("worker in Python", "beyond_start_p99_ms", "<=", 500)],
        rounds=2, warm_up=False)
