"""The throttle on a real nginx whose limit moves between 20 and 5 requests a second, beside AIMD."""
import json
import os
import random
import subprocess
import threading
import time

from harness import Bench, BenchError, Goal, Side
from kit import end_process

FAST_RPS, SLOW_RPS, PHASE_S, PHASES = 20, 5, 30.0, 4
ROWS, IN_FLIGHT, PLAYS = 6_000, 64, 3
# As calls of a large model: the answers take this long, the refusals nothing.
LATENCY = "lognormal:1.2s,0.2"
# A run that is told to stop lets what is in flight end.
STOP_S = 30
LOG = "calls"


def zone(rate_rps):
    return f"limit_req_zone $server_port zone=limit:1m rate={rate_rps}r/s;" \
           "log_format calls escape=json '{\"status\":$status,\"time\":$msec,\"took\":$request_time}';"


class Play:
    """One run of weir against an nginx of its own, with its limit moved by reload at known times."""

    def __init__(self, kit, throttle, seed):
        self.kit, self.throttle, self.seed = kit, throttle, seed
        self.figures, self.error = None, None
        self.thread = threading.Thread(target=self.run)

    def run(self):
        try:
            self.figures = self.play()
        except (BenchError, OSError, ValueError, subprocess.SubprocessError) as e:
            self.error = str(e)

    def mock(self):
        """What stands behind nginx: answers everything, and takes its time."""
        port_file = self.kit.path(f"port-{self.throttle}-{self.seed}")
        mock = subprocess.Popen([self.kit.weir, "mock", "--latency", LATENCY, "--seed", str(self.seed + 1),
                                 "--port-file", port_file],
                                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, start_new_session=True)
        self.kit.stack.callback(end_process, mock)
        end = time.monotonic() + 10
        while not os.path.exists(port_file) or not open(port_file, encoding="ascii").read().strip():
            if time.monotonic() > end or mock.poll() is not None:
                raise BenchError("weir mock does not start")
            time.sleep(0.02)
        return open(port_file, encoding="ascii").read().strip()

    def server(self, rate_rps):
        # A burst of one second's worth, as such limits are set; what is beyond is refused at once.
        return f"limit_req zone=limit burst={rate_rps} nodelay; limit_req_status 429;" \
               f"location / {{ proxy_pass http://127.0.0.1:{self.inner}; }}"

    def play(self):
        self.inner = self.mock()
        nginx = self.kit.nginx(self.server(FAST_RPS), http=zone(FAST_RPS), log=LOG)
        out = self.kit.path(f"out-{self.throttle}-{self.seed}")
        start = time.time()
        weir = subprocess.Popen(
            [self.kit.weir, "run", "-q", "--url", nginx.origin + "/v1", "-j", str(IN_FLIGHT), "--throttle", self.throttle,
             "--seed", str(self.seed + 1), "-o", out, self.kit.path("rows.jsonl")],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
        self.kit.stack.callback(end_process, weir)
        changes = []
        for phase in range(PHASES):
            rate_rps = SLOW_RPS if phase % 2 else FAST_RPS
            if phase:
                nginx.http = zone(rate_rps)
                nginx.reload(self.server(rate_rps))
            changes.append((time.time(), rate_rps))
            self.wait_until(start + (phase + 1) * PHASE_S, weir)
        end = time.time()
        weir.terminate()
        weir.wait(STOP_S)
        return self.count(nginx.log, changes, end)

    @staticmethod
    def wait_until(moment, process):
        while time.time() < moment:
            if process.poll() is not None:
                raise BenchError(f"weir run ended early, with status {process.returncode}")
            time.sleep(min(0.2, max(0.001, moment - time.time())))

    @staticmethod
    def count(log, changes, end):
        """From nginx's own log; a request belongs to the moment at which it came."""
        ends = [moment for moment, _ in changes[1:]] + [end]
        # The bucket is full at the start: that burst is capacity too.
        capacity = FAST_RPS + sum(rate * (until - since) for (since, rate), until in zip(changes, ends))
        accepted = refused = 0
        with open(log, encoding="ascii") as f:
            for line in f:
                call = json.loads(line)
                if call["time"] - call["took"] > end:
                    continue
                accepted += call["status"] == 200
                refused += call["status"] == 429
        if not accepted:
            raise BenchError("nginx accepted nothing")
        return {"goodput_pct": 100 * accepted / capacity, "waste_pct": 100 * refused / (accepted + refused),
                "accepted": accepted, "refused": refused}


class Stage:
    """All plays run at the same time: they mostly wait. Each needs a few percent of a processor."""

    def __init__(self, kit, throttles):
        self.plays = {(t, n): Play(kit, t, n) for t in throttles for n in range(1, PLAYS + 1)}
        self.started = False

    def figures(self, throttle, n):
        if not self.started:
            self.started = True
            for play in self.plays.values():
                play.thread.start()
            for play in self.plays.values():
                play.thread.join()
        play = self.plays[throttle, n]
        if play.error:
            raise BenchError(f"{throttle}, play {n}: {play.error}")
        return play.figures


def bench(kit):
    rng = random.Random(1)
    kit.write("rows.jsonl", (json.dumps({"n": i, "x": rng.random()}) + "\n" for i in range(ROWS)))
    text = subprocess.run([kit.weir, "run", "--help"], capture_output=True, text=True, check=True).stdout
    throttles = [t for t in ("adaptive", "aimd") if t in text]
    stage = Stage(kit, throttles)
    sides = [Side(t, call=lambda n, t=t: stage.figures(t, n)) for t in throttles]
    if "adaptive" not in throttles:
        sides.append(Side("adaptive", missing="this weir has no adaptive throttle"))
    return Bench(
        f"nginx limit_req, {FAST_RPS} and {SLOW_RPS} requests/s by turns, {PHASE_S:g} s each, burst of a second, {LATENCY}",
        shows=["goodput_pct", "waste_pct", "accepted", "refused"],
        notes=["Each round is one run of two minutes; the rounds run at the same time, each with services of its own."],
        sides=sides,
        rounds=PLAYS,
        warm_up=False,
        # Shown, not judged: the goals are those of the simulated services.
        goals=[Goal("adaptive", metric, "", 0, beside="aimd") for metric in ("goodput_pct", "waste_pct")])
