"""Everything at once: random services, random options, killed and stopped at random moments, and gone on with.

Whatever happened on the way, in the end every row has exactly one result, in order, its own, and what weir says of it is
true (P1, P2, P7). A seed is a whole story; a failure names it, and WEIR_TEST_SEED=N WEIR_TEST_SEEDS=1 tells it again.
run-tests: waits
run-tests: long
run-tests: sanitizers
run-tests: timeout=400
"""
import os
import random
import signal
import subprocess
import unittest

from runkit import RunCase
from weirtest import VARIANT

FIRST = int(os.environ.get("WEIR_TEST_SEED", "1"))
SEEDS = int(os.environ.get("WEIR_TEST_SEEDS", "8" if VARIANT else "24"))


def service_options(rng, seed):
    """Options of `weir mock`: a service with a character."""
    words = ["--seed", seed, "--slow-for", "50ms"]

    def maybe(share, *more):
        if rng.random() < share:
            words.extend(more)

    maybe(0.6, "--latency", rng.choice(["1ms", "uniform:0ms..30ms", "lognormal:10ms,1.0", "exponential:5ms"]))
    maybe(0.4, "--concurrency", rng.choice(["1", "3", "2..9"]), "--phase", "100ms..400ms")
    maybe(0.4, "--rate", rng.choice(["200", "100..800"]), "--burst", rng.choice(["1", "50ms", "200ms"]))
    maybe(0.5, "--refuse-with", "429,503,529")
    maybe(0.3, "--headers", rng.choice(["ratelimit", "none"]))
    maybe(0.3, "--outages", "1s,100ms")
    for fault in ("fail", "reset", "close", "broken", "slow", "permanent"):
        maybe(0.4, f"--{fault}-rate", rng.choice([0.01, 0.05, 0.2]))
    maybe(0.3, "--hang-rate", 0.01)
    return words


def flow_options(rng):
    """Options of `weir run` that may differ from one run to the next."""
    words = ["-j", rng.choice([1, 2, 8, 32, 100]), "--retry-delay", "2ms", "--timeout", "400ms",
             "--progress", rng.choice(["none", "plain", "json"]), "--summary", "sum.json"]
    words += rng.choice([("--throttle", "none"), ("--waste", "10%"),
                         ("--throttle", "aimd", "--max-dispatch-delay", "50ms", "--recovery-step", "5ms")])
    for share, more in ((0.3, ("--retries", rng.choice([0, 1, 8]))),
                        (0.3, ("--window", rng.choice([100, 128, 300]))), (0.3, ("--min-dispatch-delay", "1ms")),
                        (0.3, ("--rate", 1500)), (0.2, ("--rpm", 90000)), (0.2, ("--tpm", 9000000)),
                        (0.3, ("--events", "events.jsonl"))):
        if rng.random() < share:
            words.extend(more)
    return words


def interruption(rng, first):
    """What one run gets on top: options, and the signal that it gets in the end (None: none)."""
    words = []
    if rng.random() < 0.2:
        words += ["--halt", rng.choice(["soon,fail=3", "now,fail=2", "soon,done=40", "now,success=30", "now,fail=20%"])]
    if rng.random() < 0.15:
        words += ["--deadline", "300ms"]
    if rng.random() < 0.15 and not first:
        words += ["--retry-failed"]
    return words, rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGINT, signal.SIGTERM, None])


class TestTorture(RunCase):
    def test_stories_from_seeds_end_well(self):
        for seed in range(FIRST, FIRST + SEEDS):
            with self.subTest(seed=seed):
                self.tell(seed)

    def tell(self, seed):
        self.rng = rng = random.Random(seed)
        self.count = rng.choice([0, 1, 2, 50, 300, 800])
        self.batch = rng.random() < 0.5
        mock = self.mock(*service_options(rng, seed))
        self.base = f"s{seed}-"
        rows = (self.batch_rows(self.count, self.base + "in") if self.batch
                else self.plain_rows(self.count, self.base + "in"))
        self.split = rng.random() < 0.3
        self.meta = rng.random() < 0.4
        self.fixed = ["--url", mock.url, "-o", self.base + "out"]
        self.fixed += ["--errors", self.base + "err"] if self.split else []
        self.fixed += ["--meta"] if self.meta else []
        self.rows, self.from_stdin = rows, rng.random() < 0.25
        for k in range(rng.randrange(6)):
            self.interrupt(*interruption(rng, k == 0))
        done = self.finish(self.go())
        failed = self.check(done)
        if failed and rng.random() < 0.5:
            self.check(self.finish(self.go("--retry-failed")))
        mock.stop()

    def go(self, *more):
        words = [*self.fixed, *flow_options(self.rng), *more]
        if not self.from_stdin:
            return self.start(*words, self.rows)
        with open(self.rows, "rb") as stdin:
            return self.start(*words, stdin=stdin)

    def interrupt(self, words, number):
        process = self.go(*words)
        try:
            process.wait(self.rng.uniform(0, 0.6))
        except subprocess.TimeoutExpired:
            if number:
                process.send_signal(number)
        done = self.finish(process)
        if "--retry-failed" in words and done.status == 2:
            self.assert_says(done, "no journal|no run yet")
            return
        self.assertIn(done.status, (0, 1, 3, 4, -signal.SIGKILL, -signal.SIGINT, -signal.SIGTERM), done.text[-2000:])
        if done.status in (3, 4) and number != signal.SIGKILL:
            self.assertEqual(self.read_json("sum.json")["exit_status"], done.status)

    def check(self, done):
        """Everything is there: how many rows failed."""
        self.assertIn(done.status, (0, 1), done.text[-2000:])
        results = self.read_rows(self.base + "out")
        if self.split:
            results += self.read_rows(self.base + "err")
            results.sort(key=lambda row: int(row["custom_id"][4:]) if self.batch else row["index"])
        self.assert_in_order(results, self.count)
        failed = sum(self.check_row(i, row) for i, row in enumerate(results))
        told = self.read_json("sum.json")["rows"]
        self.assertEqual((told["total"], told["ok"], told["failed"]), (self.count, self.count - failed, failed))
        self.assertEqual(done.status, 1 if failed else 0)
        if self.meta:
            self.assertEqual(len({row["meta"]["complete_index"] for row in results}), self.count)
        return failed

    def check_row(self, i, row):
        """Whether it failed; if not, the answer must be its own."""
        if not self.batch:
            return row["error"] is not None
        if row["error"] is not None or row["response"]["status_code"] != 200:
            return True
        body = row["response"]["body"]
        if isinstance(body, dict):  # a broken body that is no JSON is a text
            self.assertIn(f'question {i}"', body["choices"][0]["message"]["content"])
        return False


if __name__ == "__main__":
    unittest.main()
