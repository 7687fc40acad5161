"""The throttle on the simulated services, beside AIMD, and beside an oracle that knows the capacity."""
import json
import os
import subprocess

from harness import Bench, BenchError, Goal, Side
from kit import ROOT, SIDE_TIMEOUT_S

SERVICES = os.path.join(ROOT, "examples", "services")
THROTTLES = ("adaptive", "aimd", "oracle")
SEEDS = 12  # 0 to 11; constants are to be tuned on others
# The services (their files say what they are): least goodput and most waste, in %.
GOALS = {
    "s1": (93, 2.2), "s1j": (80, 5), "s1l": (87, 5.6), "s2": (95.5, 2.6), "s2u": (98.5, 2.5), "s3": (94, 2.2),
    "s4": (98.5, 5), "s4h": (98.5, 0.5), "s5": (99, None), "s6": (99.5, 3.8), "s6h": (99.5, 0.2), "s7": (98.5, 0.6),
    "s8": (99.5, 2.5), "s9": (93, 6),
}
MORE_GOALS = [
    ("s1", "completion_p99_seconds", "<=", 2), ("s1", "recovery_p50_seconds", "<=", 6),
    ("s1", "refused_after_step_down", "<=", 6), ("s5", "latency_p50_seconds", "<=", 2.1), ("s9", "fairness_60s", ">=", 0.8),
]


class Service:
    """All seeds of all throttles on one service, simulated when the first of them is asked for."""

    def __init__(self, kit, name):
        self.kit, self.name, self.runs = kit, name, None

    def simulate(self):
        self.kit.tell(f"{self.name}, {SEEDS} seeds of {', '.join(THROTTLES)}")
        command = [self.kit.weir, "simulate", "--service", os.path.join(SERVICES, self.name + ".yml"), "--json",
                   "--compare", ",".join(THROTTLES), "--seed", "0", "--seeds", str(SEEDS)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=SIDE_TIMEOUT_S, check=False)
        if done.returncode:
            raise BenchError(f"{' '.join(command)} ended with status {done.returncode}: {done.stderr[-500:].strip()}")
        self.runs = {side["throttle"]: side["runs"] for side in json.loads(done.stdout)["throttles"]}

    def figures(self, throttle, seed):
        if self.runs is None:
            self.simulate()
        run = self.runs[throttle][seed]
        if run["seed"] != seed:
            raise BenchError(f"{self.name}: seed {seed} was asked for and {run['seed']} came")
        figures = {name: value for name, value in run.items() if isinstance(value, (int, float))}
        return dict(figures, goodput_pct=100 * run["goodput"], waste_pct=100 * run["refused_share"])


def goals():
    for name, (goodput, waste) in GOALS.items():
        yield Goal(f"{name} adaptive", "goodput_pct", ">=", goodput)
        if waste is not None:
            yield Goal(f"{name} adaptive", "waste_pct", "<=", waste)
    for name, metric, sense, bound in MORE_GOALS:
        yield Goal(f"{name} adaptive", metric, sense, bound)


def bench(kit):
    services = [Service(kit, name) for name in GOALS]
    return Bench(
        "weir simulate on examples/services, adaptive beside AIMD and an oracle",
        shows=["goodput_pct", "waste_pct", "completion_p99_seconds", "latency_p50_seconds", "recovery_p50_seconds",
               "refused_after_step_down", "fairness_60s"],
        notes=[f"Each round is one seed, 0 to {SEEDS - 1}; the same seed gives the same run on any machine.",
               "AIMD is weir's own, with the same 128 places: rows that wait hold none of them, so it does better on s1 than a "
               "pool of threads that sleep (53 / 62)."],
        sides=[Side(f"{service.name} {throttle}", call=lambda n, s=service, t=throttle: s.figures(t, n - 1))
               for service in services for throttle in THROTTLES],
        goals=list(goals()),
        rounds=SEEDS,
        warm_up=False,
        quiet=True,
        middle="mean")
