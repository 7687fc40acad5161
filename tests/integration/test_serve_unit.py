"""The unit for systemd that ships (examples/systemd/weir.service): systemd understands each line of it.

run-tests: waits
"""
import os
import re
import shutil
import subprocess
import unittest

from weirtest import ROOT, WEIR, Case

UNIT = os.path.join(ROOT, "examples", "systemd", "weir.service")


@unittest.skipUnless(shutil.which("systemd-analyze"), "there is no systemd-analyze")
class Unit(Case):
    def verify(self, text):
        # The program where it was built; systemd looks whether it is there. The man page need not be installed.
        text = re.sub(r"(?m)^Documentation=.*\n", "", text.replace("/usr/local/bin/weir", WEIR))
        path = os.path.join(self.dir, "weir.service")
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
        done = subprocess.run(["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, timeout=60,
                              env=dict(os.environ, SYSTEMD_LOG_LEVEL="warning"))
        return done.returncode, done.stdout + done.stderr

    def text(self):
        with open(UNIT, encoding="utf-8") as f:
            return f.read()

    def test_systemd_has_nothing_to_say(self):
        self.assertEqual(self.verify(self.text()), (0, ""))

    def test_a_line_that_is_wrong_would_be_seen(self):
        status, said = self.verify(self.text().replace("WatchdogSec=60s", "WatchdgSec=60s"))
        self.assertIn("WatchdgSec", said, status)

    def test_what_the_daemon_relies_on_is_there(self):
        text = self.text()
        for line in ("Type=notify", "WatchdogSec=", "ExecReload=", "StateDirectory=weir", "RuntimeDirectory=weir",
                     "KillMode=mixed"):
            self.assertRegex(text, rf"(?m)^{re.escape(line)}")
        # Attempts get 300 s and 10 s more (shutdown.grace and .kill); systemd must wait for longer.
        self.assertGreater(int(re.search(r"TimeoutStopSec=(\d+)s", text).group(1)), 310)


if __name__ == "__main__":
    unittest.main()
