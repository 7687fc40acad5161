"""`weir top`, in a terminal of its own (tmux), against a daemon of its own.

run-tests: waits
run-tests: timeout=180
"""
import json
import os
import shutil
import subprocess
import unittest

from servekit import ServeCase
from weirtest import ROOT, WEIR, wait_until

POOLS = {"default_pool": "sh", "max_global_concurrency": 8,
         "pools": [{"name": "sh", "kind": "command", "max_concurrency": 2},
                   {"name": "other", "kind": "command", "max_concurrency": 3}]}


class Terminal:
    """A terminal with one program in it, and what is on its screen."""

    def __init__(self, case, command, env, width=110, height=36):
        tmux = shutil.which("tmux")
        case.assertTrue(tmux, "tmux is not there: make deps")
        self.env = {**env, "TERM": "xterm", "LC_ALL": env.get("LC_ALL", "C.UTF-8")}
        self.run = [tmux, "-u", "-S", case.path(f"tmux-{len(os.listdir(case.dir))}.sock"), "-f", "/dev/null"]
        self.call("new-session", "-d", "-x", str(width), "-y", str(height), command)
        case.addCleanup(subprocess.run, [*self.run, "kill-server"], check=False, env=self.env, stderr=subprocess.DEVNULL)

    def call(self, *words):
        return subprocess.run([*self.run, *words], check=True, env=self.env, capture_output=True, timeout=30).stdout

    def text(self):
        done = subprocess.run([*self.run, "capture-pane", "-p"], check=False, env=self.env, capture_output=True, timeout=30)
        return done.stdout.decode()

    def keys(self, *keys):
        self.call("send-keys", *keys)

    def resize(self, width, height):
        self.call("resize-window", "-x", str(width), "-y", str(height))

    def wait(self, *parts, without=(), deadline_s=20):
        seen = []

        def there():
            seen[:] = [self.text()]
            return all(p in seen[0] for p in parts) and not any(p in seen[0] for p in without)
        try:
            wait_until(there, deadline_s, f"{parts} without {without} on the screen")
        except AssertionError as fault:
            raise AssertionError(f"{fault}; it shows:\n{seen[0]}") from None
        return seen[0]


class TestTop(ServeCase):
    def top(self, d, *options, env=None, **size):
        env = d.weir_env({"TZ": "UTC", **(env or {})})
        # A shell stays behind, which says how the terminal was left.
        words = " ".join([WEIR, "top", "--every", "0.2s", *options])
        command = f"cd {self.dir}; {words}; echo ended with $?; stty -a | grep -c ' echo ' >echo; exec cat"
        terminal = Terminal(self, command, env, **size)
        terminal.wait("pools ", "running ")
        return terminal

    def busy(self, d, count=2, **more):
        """Tasks that run until they are ended."""
        return d.submit([{"key": f"job-{i}", "payload": {"argv": ["sleep", "600"]}, **more} for i in range(count)])

    def test_shows_what_runs_waits_and_happens(self):
        d = self.daemon(POOLS)
        ids = self.busy(d, 3)
        t = self.top(d)
        text = t.wait("job-0", "job-1", "job-2", "pid ", "2/2", "task.submitted")
        self.assertRegex(text, r"running 2/8  ready 1 ")
        self.assertRegex(text, rf"(?m)^>? +{ids[2]} job-2 +ready ")
        t.keys("Enter")
        t.wait("sleep", "payload", "record", "runner.started")
        t.keys("q")
        t.wait("pools 2", without=("payload",))

    def test_shows_how_far_an_attempt_is(self):
        sdk = os.path.join(ROOT, "sdk", "python")
        worker = self.write("worker.py", "import sys, threading\n"
                            f"sys.path.insert(0, {sdk!r})\n"
                            "import weir_worker\n"
                            "@weir_worker.command('process')\n"
                            "def process(args):\n"
                            "    while True:\n"
                            "        weir_worker.heartbeat(0.5, 'half of it')\n"
                            "        threading.Event().wait(0.2)\n"
                            "weir_worker.run()\n")
        d = self.daemon({"pools": [{"name": "py", "kind": "process", "process": f"python3 {worker}", "max_concurrency": 1}]})
        d.submit({"key": "long", "payload": 1})
        t = self.top(d)
        t.wait("long", "50%", "half of it", "worker ", "1: 1 busy")

    def test_pauses_a_pool_and_changes_its_limit(self):
        d = self.daemon(POOLS)
        t = self.top(d)
        t.keys("Tab", "Tab")
        t.wait(">sh")
        t.keys("p")
        t.wait("pool sh is paused", "paused")
        self.assertFalse(d.get("/v1/pools/sh")["enabled"])
        t.keys("p")
        wait_until(lambda: d.get("/v1/pools/sh")["enabled"], 10, "the pool to be enabled")
        t.keys("Down")
        t.wait(">other")
        t.keys("+")
        t.wait("pool other may run 4 at once", "0/4")
        self.assertEqual(d.get("/v1/pools/other")["max_concurrency"], 4)
        self.assertEqual(d.get("/v1/pools/sh")["max_concurrency"], 2)

    def test_cancels_the_selected_task_only_after_a_yes(self):
        d = self.daemon(POOLS)
        first, second = self.busy(d, 2)
        t = self.top(d)
        t.wait("job-0", "job-1")
        t.keys("s")
        t.wait("by key")
        t.keys("Down")
        t.keys("c")
        t.wait(f"cancel task {second}? y/n")
        t.keys("n")
        t.wait("nothing is done")
        t.keys("c", "y")
        self.assertEqual(d.wait_task(second)["state"], "cancelled")
        t.wait(f"task {second} is told to end", "running 1/8")
        self.assertEqual(d.task(first)["state"], "running")

    def test_shows_that_an_attempt_is_being_cancelled(self):
        d = self.daemon({"pools": [{"name": "sh", "kind": "command", "kill_after": "600s"}]})
        t = self.top(d)
        task = d.submit({"key": "deaf", "payload": {"argv": ["sh", "-c", f"trap '' TERM; : >{self.path('deaf')}; "
                                                             f"while [ ! -e {self.path('go')} ]; do sleep 0.01; done"]}})
        wait_until(lambda: os.path.exists(self.path("deaf")), 30, "it to be deaf")
        t.wait("deaf", without=("cancelling",))
        t.keys("c", "y")
        t.wait(f"task {task} is told to end", "deaf", "cancelling")
        self.write("go", "")
        self.assertEqual(d.wait_task(task)["state"], "cancelled")

    def test_kills_an_attempt_whose_task_is_tried_again(self):
        d = self.daemon(POOLS)
        (task,) = self.busy(d, 1, backoff={"initial": "0.01s"})
        t = self.top(d)
        t.wait("job-0", "pid ")
        t.keys("K")
        t.wait(f"kill the attempt of task {task}? y/n")
        t.keys("y")
        wait_until(lambda: d.task(task)["attempts"] >= 2, 20, "a second attempt")

    def test_shows_failed_tasks_and_retries_one(self):
        d = self.daemon(POOLS)
        task = d.submit({"key": "broken", "max_attempts": 1, "payload": {"shell": "exit 3"}})
        d.wait_task(task, "failed")
        t = self.top(d)
        t.keys("f")
        t.wait("failed 1", "broken")
        t.keys("r")
        t.wait(f"task {task} is tried again")
        wait_until(lambda: d.task(task)["attempts"] == 2 or
                   len([e for e in d.get(f"/v1/tasks/{task}/events")["events"] if e["kind"] == "runner.started"]) == 2,
                   20, "the retry")

    def test_filters(self):
        d = self.daemon({**POOLS, "pools": [{"name": "sh", "kind": "command", "max_concurrency": 4}]})
        self.busy(d, 4)
        t = self.top(d)
        t.wait("job-0", "job-3")
        t.keys("/")
        t.keys("job-2")
        t.keys("Enter")
        t.wait("job-2", "1 of 4", without=("job-0", "job-3"))
        t.keys("Escape")
        t.wait("job-0", "job-3", without=("1 of 4",))

    def test_follows_the_size_of_the_terminal(self):
        d = self.daemon(POOLS)
        self.busy(d, 2)
        t = self.top(d)
        t.wait("job-0", "events ")
        for width, height, parts, without in ((40, 10, ("[running 2]", "job-0"), ("task.submitted",)),
                                              (300, 100, ("THROTTLE", "task.submitted", "job-0"), ("[running",)),
                                              (80, 24, ("PROGRESS", "job-0"), ("THROTTLE",))):
            t.resize(width, height)
            lines = t.wait(*parts, without=without).splitlines()
            self.assertLessEqual(max(map(len, lines)), width)
            self.assertIn("q quit", lines[-1])

    def test_waits_for_a_daemon_that_went_away(self):
        d = self.daemon(POOLS)
        t = self.top(d)
        d.stop()
        t.wait("no daemon answers at", "trying again")
        d.start()
        d.submit({"key": "after-it", "payload": {"argv": ["sleep", "600"]}})
        t.wait("after-it", without=("trying again",))

    def test_lets_no_key_steer_the_terminal(self):
        d = self.daemon(POOLS)
        task = d.submit({"key": "evil\u202e\u4f60\u597d\u200bend", "max_attempts": 1,
                         "payload": {"shell": "printf 'x\\033]0;owned\\007\\033[2Jy' >&2; exit 1"}})
        d.wait_task(task, "failed")
        t = self.top(d, "--failed")
        t.wait("evil?\u4f60\u597d?end")
        t.keys("Enter")
        # As a printing program would write them: in the payload, and in what came of it.
        t.wait("errput", "x?]0;owned??[2Jy")
        title = t.call("display-message", "-p", "#{pane_title}").decode()
        self.assertNotIn("owned", title)

    def test_leaves_the_terminal_as_it_was(self):
        d = self.daemon(POOLS)
        for how in ("q", "C-c"):
            with self.subTest(how):
                t = self.top(d)
                t.keys(how)
                t.wait("ended with 0", without=("pools 2",))
                wait_until(lambda: os.path.exists(self.path("echo")) and os.path.getsize(self.path("echo")) > 0, 10, "stty")
                with open(self.path("echo"), encoding="ascii") as f:
                    self.assertEqual(f.read(), "1\n", "the terminal does not echo any more")
                os.unlink(self.path("echo"))

    def test_says_what_it_cannot_draw_on(self):
        d = self.daemon(POOLS)
        dumb = Terminal(self, f"TERM=dumb {WEIR} top; echo ended with $?; exec cat", d.weir_env())
        dumb.wait('TERM is "dumb", which cannot be drawn on; weir top --once prints one screen', "ended with 2")
        old = Terminal(self, f"NO_COLOR=1 TERM=vt100 exec {WEIR} top", d.weir_env())
        old.wait("pools 2", "running 0/8")
        done = d.weir("top", status=2)
        self.assertIn("this is no terminal; weir top --once prints one screen", done.err)
        self.assertEqual(done.out, "")

    def test_once_prints_plain_lines(self):
        d = self.daemon(POOLS)
        self.busy(d, 3)
        wait_until(lambda: len(d.get("/v1/runners")) == 2, 10, "two to run")
        done = d.weir("top", "--once", status=0, env={"LC_ALL": "C"})
        self.assertTrue(done.out.isascii())
        self.assertNotIn("\x1b", done.out)
        for part in ("pools 2", "running 2 by run time", "waiting 1", "job-2", "events "):
            self.assertIn(part, done.out)
        answer = json.loads(d.weir("top", "--once", "--json", status=0).out)
        self.assertEqual([r["key"] for r in answer["runners"]], ["job-0", "job-1"])
        self.assertEqual(answer["status"]["running"], 2)
        d.kill9()
        done = d.weir("top", "--once", status=1)
        self.assertIn("no daemon answers at", done.err)

    def test_shows_a_token(self):
        d = self.daemon({**POOLS, "tokens": [{"name": "a", "role": "read", "env": "TOKEN_A"}]}, env={"TOKEN_A": "secret-1"},
                        token="secret-1")
        self.assertIn("pools 2", d.weir("top", "--once", status=0).out)
        done = d.weir("top", "--once", status=1, env={"WEIR_API_TOKEN": ""})
        self.assertIn("WEIR_API_TOKEN", done.err)
        self.assertNotIn("secret-1", done.err + done.out)
        t = self.top(d)
        t.keys("Tab", "Tab")
        t.wait(">sh")
        t.keys("p")
        # A role that may only look.
        t.wait("orbidden")
        self.assertTrue(d.get("/v1/pools/sh")["enabled"])


if __name__ == "__main__":
    unittest.main()
