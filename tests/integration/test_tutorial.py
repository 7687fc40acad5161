"""docs/tutorial.md does what it says: its files are written and its commands run, in order, in an empty folder.

A block ```KIND NAME is a file; a block ```sh is run, each by the same shell, after the ones before it. `# -> TEXT` behind a
command: TEXT is in what that command prints. The lines of the README are run, too.

run-tests: waits
run-tests: timeout=180
"""
import os
import re
import shutil
import subprocess
import unittest

from runkit import environment
from weirtest import ROOT, SLOWNESS, WEIR, Case

GUIDE = os.path.join(ROOT, "docs", "tutorial.md")


def blocks():
    """(kind, name, text) of each fenced block, in order."""
    with open(GUIDE, encoding="utf-8") as f:
        return re.findall(r"^```(\w+) ?(\S*)\n(.*?)^```$", f.read(), re.M | re.S)


def script(text, number):
    """The block with marks between what its expectations speak of; and the expectations, by mark."""
    lines, expected = [], []
    for line in text.splitlines():
        if line.startswith("# -> "):
            if lines and lines[-1].startswith("echo '==="):
                expected[-1][1].append(line[5:])
                continue
            lines.append(f"echo '=== {number}.{len(expected)}'")
            expected.append((f"=== {number}.{len(expected)}", [line[5:]]))
        else:
            lines.append(line)
    return "\n".join(lines), expected


class Tutorial(Case):
    def end_daemon(self):
        """Whatever became of the test: all that the shell has started is of its process group."""
        try:
            os.killpg(self.shell.pid, 9)
        except ProcessLookupError:
            pass
        self.shell.wait()

    def run_script(self, text, folder):
        """All that bash says of it; it must end well."""
        bin_dir = self.path("bin")
        os.makedirs(bin_dir, exist_ok=True)
        os.symlink(WEIR, os.path.join(bin_dir, "weir"))
        env = environment(self.dir, {"PATH": bin_dir + ":" + os.environ["PATH"]})
        for name in ("WEIR_API", "WEIR_API_TOKEN", "XDG_RUNTIME_DIR", "RUNTIME_DIRECTORY", "STATE_DIRECTORY"):
            env.pop(name, None)
        self.shell = subprocess.Popen(["bash", "-c", "set -e\n" + text], cwd=folder, env=env, stdin=subprocess.DEVNULL,
                                      stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True)
        self.addCleanup(self.end_daemon)
        try:
            out, _ = self.shell.communicate(timeout=45 * SLOWNESS)
        except subprocess.TimeoutExpired:
            os.killpg(self.shell.pid, 9)
            out, _ = self.shell.communicate()
            self.fail(f"it does not end; so far:\n{out}")
        self.assertEqual(self.shell.returncode, 0, out)
        return out

    def test_the_ten_lines_of_the_readme(self):
        with open(os.path.join(ROOT, "README.md"), encoding="utf-8") as f:
            section = f.read().split("\n## The dispatcher\n")[1].split("\n## ")[0]
        lines = [line[4:] for line in section.splitlines() if line.startswith("    ")]
        self.assertEqual(lines[-1], "weir top")
        # What a person does with a little time between: the daemon has to be there.
        ready = "until weir status >/dev/null 2>&1; do sleep 0.1; done"
        at = lines.index("export WEIR_API=unix:weir.sock") + 1
        out = self.run_script("\n".join([*lines[:at], ready, *lines[at:-1], "weir top --once", "weir shutdown --wait"]), self.dir)
        self.assertIn("\nand that is all\n", out)
        self.assertIn("done 2", out)

    def test_every_command_runs_and_says_what_it_should(self):
        folder = self.path("t")
        os.mkdir(folder)
        shutil.copy(os.path.join(ROOT, "sdk", "python", "weir_worker.py"), folder)
        text, expected = "", []
        for number, (kind, name, block) in enumerate(blocks()):
            if name:
                with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
                    f.write(block)
            else:
                self.assertEqual(kind, "sh")
                commands, marks = script(block, number)
                text += commands + "\n"
                expected += marks
        self.assertGreater(len(expected), 20)
        out = self.run_script(text, folder)
        rest = out
        for mark, parts in expected:
            said, found, rest = rest.partition(mark + "\n")
            self.assertTrue(found, f"{mark} is missing in:\n{out}")
            for part in parts:
                self.assertIn(part, said, f"before {mark} in:\n{out}")


if __name__ == "__main__":
    unittest.main()
