"""Many rows: memory stays flat, the order holds, nothing is lost.

The service is nginx, which answers faster than weir asks. How many rows, by the time there is: WEIR_TEST_ROWS.
run-tests: alone
run-tests: timeout=300
"""
import os
import subprocess
import unittest

from nginxkit import Nginx
from runkit import RunCase, environment
from weirtest import SLOWNESS, VARIANT, WEIR

ROWS = int(os.environ.get("WEIR_TEST_ROWS", "20000" if VARIANT else "300000"))
# Enough that what is bounded has come to its bound: the window of rows, the journal's cache of pages.
FEW = ROWS // 3
CHECKED = 100000 if VARIANT else 1000000


class TestMany(RunCase):
    def setUp(self):
        super().setUp()
        self.nginx = Nginx(self.dir, server="location / { return 200 '{\"ok\":true}'; }", log=False)
        self.addCleanup(self.nginx.stop)

    def peak_kib(self, count, *options, status=0):
        """Runs it over so many rows: the most memory that the process had, in KiB."""
        rows = self.path(f"in-{count}.jsonl")
        if not os.path.exists(rows):
            with open(rows, "w", encoding="ascii") as f:
                f.writelines(f'{{"n":{i}}}\n' for i in range(count))
        with open(self.path("stderr"), "wb") as err:
            process = subprocess.Popen(
                [WEIR, "run", "--url", self.nginx.origin + "/x", "-j", "64", "--throttle", "none", "--progress", "none",
                 *options, rows],
                stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=err, env=environment(self.dir), cwd=self.dir)
        # wait4 tells the usage of this one child.
        _, code, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(code)
        self.assertEqual(process.returncode, status, self.read("stderr")[-2000:])
        return usage.ru_maxrss

    def check_order(self, path, count):
        """Line by line: the file is too large to be held in a test of memory."""
        at = 0
        with open(path, "rb") as f:
            for line in f:
                self.assertTrue(line.startswith(b'{"index":%d,' % at), line[:80])
                at += 1
        self.assertEqual(at, count)

    def test_memory_is_flat_and_the_order_holds(self):
        few = self.peak_kib(FEW, "-o", "few.jsonl")
        self.check_order(self.path("few.jsonl"), FEW)
        many = self.peak_kib(ROWS, "-o", "many.jsonl")
        self.check_order(self.path("many.jsonl"), ROWS)
        told = f"{FEW} rows: {few} KiB, {ROWS} rows: {many} KiB"
        self.assertLess(many, few * 1.1 + 8 * 1024 * SLOWNESS, told)
        self.assertLess(many, 64 * 1024 * SLOWNESS, told)

    def test_a_million_rows_are_checked_in_the_same_memory(self):
        few = self.peak_kib(FEW, "-o", "few.jsonl")
        # The last row is bad, so all of them are read, and none is sent.
        rows = self.path(f"in-{CHECKED}.jsonl")
        with open(rows, "w", encoding="ascii") as f:
            f.writelines(f'{{"custom_id":"row-{i}","method":"POST","url":"/x","body":{{}}}}\n' for i in range(CHECKED))
            f.write("bad\n")
        many = self.peak_kib(CHECKED, "-o", "many.jsonl", status=2)
        self.assertRegex(self.read("stderr").decode(), rf":{CHECKED + 1}\b")
        # Every key is looked up: 8 MiB of them are held at most (twice while they are sorted), then the disk.
        self.assertLess(many, few + 96 * 1024, f"{FEW} rows: {few} KiB, {CHECKED} rows checked: {many} KiB")


if __name__ == "__main__":
    unittest.main()
