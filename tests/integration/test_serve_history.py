"""The history of `weir serve` over restarts and crashes, at each of its resolutions.

run-tests: sanitizers
"""
import os
import sqlite3
import time
import unittest

from servekit import ServeCase
from weirtest import wait_until

RESOLUTIONS = (10, 300, 3600)


class History(ServeCase):
    def counts(self, d, pool, what="started"):
        """Of each resolution: the sum, for a test may run over the begin of another time."""
        of = f"&pool={pool}" if pool else ""
        return {r: sum(s[what] for s in d.get(f"/v1/history?resolution={r}{of}")) for r in RESOLUTIONS}

    def test_what_was_begun_is_written_at_the_stop_and_gone_on_with(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 3}]})
        for round_ in (1, 2):
            for task in d.submit([{"payload": {"argv": ["true"]}}] * 3):
                d.wait_task(task)
            d.restart()
            for pool in ("sh", ""):
                self.assertEqual(self.counts(d, pool), {r: 3 * round_ for r in RESOLUTIONS}, pool)
                self.assertEqual(self.counts(d, pool, "finished"), {r: 3 * round_ for r in RESOLUTIONS}, pool)
        # In one hour there is one sample of it, however often it was begun; at most two, when another hour has come.
        self.assertLessEqual(len(d.get("/v1/history?resolution=3600&pool=sh")), 2)

    def test_an_attempt_whose_payload_is_no_good_is_counted_as_one(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 3, "command": ["echo", "{x}"]}]})
        for task in d.submit([{"payload": {"x": 1}}] * 2 + [{"payload": {"y": 1}}] * 3):
            d.wait_task(task)
        d.restart()
        for what, count in (("started", 5), ("finished", 2), ("failed", 3)):
            self.assertEqual(self.counts(d, "sh", what), {r: count for r in RESOLUTIONS}, what)

    def test_after_a_crash_the_coarse_is_made_of_the_fine(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "max_concurrency": 3}]})
        d.kill9()
        # Half an hour ago, in one five minutes: none of them was over.
        begin = (int(time.time()) - 1800) // 300 * 300
        with sqlite3.connect(os.path.join(d.dir, "weir.db")) as db:
            for n in range(4):
                db.execute("INSERT INTO sample (resolution, pool, at, running, lim, utilisation, started, finished, failed)"
                           " VALUES (10, 'sh', ?, ?, 3, 0.5, 7, 6, 1)", ((begin + 10 * n) * 1_000_000_000, n))
        db.close()
        d.start()
        for resolution in (300, 3600):
            sample = wait_until(lambda: [s for s in d.get(f"/v1/history?resolution={resolution}&pool=sh&from=2020-01-01T00:00:00Z")
                                         if s["started"] > 0] or d.restart(), 20, "it to be made")[0]
            self.assertEqual((sample["started"], sample["finished"], sample["failed"]), (28, 24, 4), sample)
            # An hour that still goes on has a second or so of this daemon's, in which nothing ran.
            self.assertLessEqual(sample["running"], 1.5, sample)
            self.assertGreater(sample["running"], 0.5, sample)

    def test_utilisation_is_at_most_one_when_more_run_than_may(self):
        d = self.daemon({"max_global_concurrency": 8, "pools": [
            {"name": "sh", "kind": "command", "max_concurrency": 4}]})
        ids = d.submit([{"payload": {"argv": ["sleep", "600"]}}] * 4)
        wait_until(lambda: d.get("/v1/pools/sh")["running"] == 4, 20, "all to run")
        self.assertEqual((d.get("/v1/pools/sh")["utilisation"], d.get("/v1/status")["utilisation"]), (1, 0.5))
        for path, body in (("/v1/pools/sh", {"max_concurrency": 1}), ("/v1/dispatcher", {"max_global_concurrency": 2})):
            self.assertEqual(d.api("PATCH", path, body)[0], 200)
        pool, status = d.get("/v1/pools/sh"), d.get("/v1/status")
        self.assertEqual((pool["running"], pool["limit"], pool["utilisation"]), (4, 1, 1))
        self.assertEqual((status["running"], status["utilisation"]), (4, 1))
        metrics = d.request("GET", "/metrics")[2].decode()
        self.assertRegex(metrics, r"(?m)^weir_utilisation_ratio 1(\.0)?$")
        self.assertRegex(metrics, r'(?m)^weir_pool_utilisation_ratio\{pool="sh"\} 1(\.0)?$')
        for task in ids:
            self.assertEqual(d.api("POST", f"/v1/tasks/{task}/cancel")[0] // 100, 2)


if __name__ == "__main__":
    unittest.main()
