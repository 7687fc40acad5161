"""`make demo`'s own part: it shows what it says it shows, in less than two minutes, and leaves nothing behind.

run-tests: waits
run-tests: long
run-tests: timeout=180
"""
import os
import re
import subprocess
import unittest

from runkit import environment
from weirtest import ROOT, WEIR, Case


class TestDemo(Case):
    def test_it_kills_resumes_and_proves_the_result(self):
        env = environment(self.dir, {"WEIR_BIN": WEIR, "TMPDIR": self.dir})
        done = subprocess.run([os.path.join(ROOT, "tools", "demo")], stdin=subprocess.DEVNULL, capture_output=True,
                              check=False, timeout=120, env=env, cwd=self.dir)
        text = done.stdout.decode()
        self.assertEqual(done.returncode, 0, text + done.stderr.decode())
        self.assertIn("Killed.", text)
        self.assertIn("1,319 of 1,319 have exactly one result, in the order of the input", text)
        for name in ("rate borne", "rate offered", "refused", "in flight", "wait for order"):
            self.assertRegex(text, rf"{name} +\d")
        # The same command went on, and did not start over.
        self.assertRegex(done.stderr.decode(), r"\(([4-9]\d\d|1,\d{3}) were done before\)")
        self.assertEqual(os.listdir(self.dir), [])
        self.assertFalse(re.search(r"\033", text), "escape sequences without a terminal")

    def test_it_says_what_is_missing(self):
        env = environment(self.dir, {"WEIR_BIN": self.path("no", "weir"), "TMPDIR": self.dir})
        done = subprocess.run([os.path.join(ROOT, "tools", "demo")], stdin=subprocess.DEVNULL, capture_output=True,
                              check=False, timeout=30, env=env)
        self.assertEqual(done.returncode, 2)
        self.assertIn(b"run make first", done.stderr)


if __name__ == "__main__":
    unittest.main()
