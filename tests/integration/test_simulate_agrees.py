"""The simulator and the mock agree: weir run against weir mock, over HTTP in real time, is what weir simulate says of the
same service and the same options.

The code of the dispatcher and of the service is the same; what differs is all between them. Here `network` stands for it:
2 ms on the way, and half a millisecond of chance. Still a request arrives some fractions of a millisecond earlier or later
than in the simulation, and where requests compete for the last free place that decides which of them is refused, so that
two runs drift apart. Therefore a real run is held against the spread of 30 simulated seeds: each figure must lie in
it, give or take 15 %, and a share refused, which may be near to 0, 4 points more. Where the spread is narrow, as with
the limit of concurrency and the quota that is told, that finds a limit that is off by a fifth.
"""
import concurrent.futures
import json
import os
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from runkit import Mock, RunCase  # noqa: E402
from simkit import simulate  # noqa: E402

SEEDS = 30
BETWEEN = ["--latency", "lognormal:150ms,0.2", "--refusal-latency", "20ms", "--network", "2ms,0.5ms"]
# Service, and rows that are some 10 s of work.
SERVICES = {
    "strict rate": (["--rate", "40", *BETWEEN], 300),
    "concurrency": (["--concurrency", "12", *BETWEEN], 500),
    "requests per minute, told": (["--rpm", "2400", "--window", "bucket:2s", "--headers", "all", *BETWEEN], 400),
}
THROTTLES = {"aimd": ["--throttle", "aimd", "--max-dispatch-delay", "400ms"], "adaptive": ["--throttle", "adaptive"]}
FLOW = ["-j", "48"]
# The mock's options that weir run has too.
PREFIXED = {"--rate", "--rpm", "--tpm", "--window"}


class Agreement(RunCase):
    def real(self, service, rows, flow):
        mock = Mock(self.dir, service)
        try:
            source = self.plain_rows(rows, f"rows-{mock.port}.jsonl")
            summary = self.path(f"summary-{mock.port}.json")
            self.weir("--url", mock.origin + "/x", *flow, "-q", "--summary", summary,
                      "-o", self.path(f"out-{mock.port}.jsonl"), source, status=0, deadline_s=120)
            share = mock.stats()["share"]
        finally:
            mock.stop()
        with open(summary, encoding="utf-8") as f:
            seconds = json.load(f)["elapsed_s"]
        return {"duration_seconds": seconds, "goodput": share["accepted_of_offered"],
                "refused_share": share["refused_of_seen"]}

    def simulated(self, service, rows, flow):
        words = ["--service-" + word[2:] if word in PREFIXED else word for word in service]
        out = simulate(*words, *flow, "--rows", rows, "--seeds", SEEDS, "--json").stdout
        return json.loads(out)["throttles"][0]

    def test_a_real_run_lies_in_the_spread_of_the_simulated_ones(self):
        cases = [(name, throttle) for name in SERVICES for throttle in THROTTLES]
        with concurrent.futures.ThreadPoolExecutor(len(cases)) as pool:
            runs = [pool.submit(self.real, *SERVICES[name], FLOW + THROTTLES[throttle]) for name, throttle in cases]
        for (name, throttle), run in zip(cases, runs):
            real, simulated = run.result(), self.simulated(*SERVICES[name], FLOW + THROTTLES[throttle])
            for figure, value in real.items():
                low, middle, high = (simulated[part][figure] for part in ("min", "median", "max"))
                print(f"{name:26} {throttle:9} {figure:17} real {value:7.3f}, simulated {middle:7.3f} "
                      f"({low:.3f} .. {high:.3f})", file=sys.stderr)
                points = 0.04 if figure == "refused_share" else 0
                low, high = low * 0.85 - points, high * 1.15 + points
                with self.subTest(name, throttle=throttle, figure=figure):
                    self.assertTrue(low <= value <= high, f"{value} is not in {low} .. {high}")


if __name__ == "__main__":
    unittest.main()
