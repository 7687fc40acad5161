"""What `weir serve` knows of attempts that run: signs of life, silence, time limits, late results, workers that die of a task.

run-tests: waits
run-tests: timeout=300
"""
import http.server
import os
import re
import sys
import threading
import time
import unittest

import lifekit
from servekit import ServeCase
from weirtest import ROOT, SLOWNESS, wait_until
from workerkit import is_running

SDK = os.path.join(ROOT, "sdk", "python")
PYTHON = [sys.executable, "-S", "-E"]
WORKER = """import os, signal, sys, threading
sys.path.insert(0, {sdk!r})
import weir_worker

@weir_worker.command("process")
def process(args):
    if args.get("die"):
        os.kill(os.getpid(), signal.SIGKILL)
    if args.get("deaf"):
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if args.get("file"):
        open(args["file"], "a").write("x")
    for progress, wait in args.get("beats", []):
        weir_worker.heartbeat(progress, "at %g" % progress)
        threading.Event().wait(wait)
    threading.Event().wait(args.get("s", 0))
    return {{"pid": os.getpid(), "token": weir_worker.request().env.get("WEIR_TOKEN")}}

weir_worker.run()
"""
# To be run by a command: says by HTTP that it is alive.
BEATER = """import http.client, json, os, socket, sys
def beat(token, **more):
    c = http.client.HTTPConnection("weir")
    c.sock = socket.socket(socket.AF_UNIX)
    c.sock.connect(os.environ["WEIR_API"].split(":", 1)[1])
    c.request("POST", "/v1/runners/%s/heartbeat" % os.environ["WEIR_RUNNER"], json.dumps(more),
              {"Content-Type": "application/json", "Authorization": "Bearer " + token})
    return c.getresponse().status
"""


class Leases(ServeCase):
    def leases(self, more=None, **pool):
        """One pool of commands and one of workers."""
        self.write("worker.py", WORKER.format(sdk=SDK))
        self.write("beater.py", BEATER)
        common = {"max_attempts": 2, "backoff": {"initial": "50ms", "jitter": 0}, **pool}
        return self.daemon({"default_pool": "sh", "pools": [
            {"name": "sh", "kind": "command", "max_concurrency": 4, "kill_after": "500ms", **common},
            {"name": "workers", "kind": "process", "process": [*PYTHON, self.path("worker.py")], "max_concurrency": 2,
             "term_grace": "500ms", "shutdown_grace": "500ms", "restart": {"initial": "50ms"}, "breaker": {"mode": "off"},
             **common}], **(more or {})})

    def kinds(self, d, task):
        return [e["kind"] for e in lifekit.events(d, f"task={task}")]

    def ended(self, d, task, state="done", **more):
        t = d.wait_task(task, **more)
        self.assertEqual(t["state"], state, t)
        lifekit.check_life(task, lifekit.by_task(lifekit.events(d))[task])
        return t

    def runner(self, d, task, what=lambda r: True):
        return wait_until(lambda: next((r for r in lifekit.listed(d, "runners") if r["task"] == task and what(r)), None), 20,
                          f"a runner of task {task}")

    # ---- signs of life ----

    def test_a_file_that_is_touched_keeps_a_command_alive(self):
        d = self.leases(heartbeat_timeout="2500ms")
        task = d.submit({"payload": {"shell": "for i in 1 2 3 4 5 6 7 8; do echo \"0.$i step $i\" >\"$WEIR_HEARTBEAT\"; sleep 0.5; "
                                              "done; echo $WEIR_HEARTBEAT"}})
        r = self.runner(d, task, lambda r: r.get("progress"))
        self.assertRegex(r["text"], r"^step \d$")
        self.assertGreater(r["progress"], 0)
        self.assertIn("heartbeat_at", r)
        t = self.ended(d, task)
        self.assertEqual(t["attempts"], 1)
        self.assertIn("runner.heartbeat", self.kinds(d, task))
        self.assertFalse(os.path.exists(t["output"].strip()))

    def test_silence_after_the_first_sign_of_life_is_lost_and_tried_again(self):
        d = self.leases(heartbeat_timeout="1500ms")
        pid = self.path("pid")
        task = d.submit({"payload": {"shell": f"[ $WEIR_ATTEMPT = 2 ] && exit 0; touch \"$WEIR_HEARTBEAT\"; sleep 1000 & "
                                              f"echo $! >{pid}; wait"}})
        t = self.ended(d, task)
        self.assertEqual((t["attempts"], t["failures"], t["deaths"]), (2, 1, 0))
        lost = next(e for e in lifekit.events(d, f"task={task}") if e["kind"] == "runner.lost")
        self.assertEqual(lost["detail"]["reason"], "no_heartbeat")
        self.assertIn("no heartbeat for", lost["detail"]["message"])
        self.assertGreater(lost["duration_s"], 1.4)
        with open(pid, encoding="ascii") as f:
            self.assertFalse(is_running(int(f.read())), "what the command had started still runs")

    def test_who_has_never_given_a_sign_of_life_is_not_missed(self):
        d = self.leases(heartbeat_timeout="500ms")
        silent = [d.submit({"payload": {"shell": "sleep 2"}}),
                  d.submit({"pool": "workers", "payload": {"s": 2}})]
        for task in silent:
            self.assertEqual(self.ended(d, task)["attempts"], 1)

    def test_a_workers_message_keeps_it_alive_and_its_silence_does_not(self):
        d = self.leases(heartbeat_timeout="1s")
        good = d.submit({"pool": "workers", "payload": {"beats": [[0.25, 0.6], [0.5, 0.6], [0.75, 0.6]]}})
        r = self.runner(d, good, lambda r: r.get("progress", 0) >= 0.25)
        self.assertRegex(r["text"], "^at 0")
        self.assertEqual(self.ended(d, good)["attempts"], 1)
        bad = d.submit({"pool": "workers", "max_attempts": 2, "payload": {"beats": [[0.5, 60]]}})
        t = self.ended(d, bad, "failed")
        self.assertEqual((t["attempts"], t["outcome"], t["reason"]), (2, "lost", "no_heartbeat"))
        # Its worker was ended, and the pool goes on.
        self.ended(d, d.submit({"pool": "workers", "payload": {}}))

    def test_a_sign_of_life_by_http_needs_the_attempts_own_token(self):
        d = self.leases(heartbeat_timeout="1500ms")
        command = [sys.executable, "-c", "import sys, threading\n"
                   f"exec(open({self.path('beater.py')!r}).read())\n"
                   "said = [beat('wrong', progress=0.9), beat(os.environ['WEIR_TOKEN'][:-1] + '!', progress=0.9)]\n"
                   "for i in range(6):\n"
                   "    said.append(beat(os.environ['WEIR_TOKEN'], progress=i / 10, text='by http'))\n"
                   "    threading.Event().wait(0.5)\n"
                   "print(said)"]
        task = d.submit({"payload": {"argv": command}})
        r = self.runner(d, task, lambda r: r.get("text") == "by http")
        self.assertLess(r["progress"], 0.9)
        t = self.ended(d, task)
        refused, taken = t["output"][:2], t["output"][2:]
        self.assertTrue(all(s in (401, 403) for s in refused), refused)
        self.assertTrue(all(200 <= s < 300 for s in taken), taken)
        self.assertEqual(t["attempts"], 1)
        # Of an attempt that is over, it is good for nothing.
        self.assertEqual(d.api("POST", f"/v1/runners/{r['id']}/heartbeat", {}, headers={
            "Authorization": "Bearer x"})[0] // 100, 4)

    # ---- time limits ----

    def test_a_time_limit_ends_a_command_with_all_that_it_has_started(self):
        d = self.leases(max_attempts=1)
        pid = self.path("pid")
        task = d.submit({"timeout": "700ms", "payload": {"shell": f"trap '' TERM; sleep 1000 & echo $! >{pid}; "
                                                         "while :; do sleep 1; done"}})
        began = time.monotonic()
        t = self.ended(d, task, "failed")
        self.assertEqual((t["outcome"], t["reason"]), ("timeout", "timeout"))
        self.assertLess(time.monotonic() - began, 6 * SLOWNESS)
        with open(pid, encoding="ascii") as f:
            self.assertFalse(is_running(int(f.read())), "what the command had started still runs")
        self.assertEqual(lifekit.processes(f"WEIR_HEARTBEAT={d.dir}"), [])

    def test_a_time_limit_ends_a_workers_request_and_the_worker(self):
        d = self.leases(max_attempts=1)
        first = self.ended(d, d.submit({"pool": "workers", "payload": {}}))["output"]["pid"]
        task = d.submit({"pool": "workers", "timeout": "700ms", "payload": {"deaf": True, "s": 60}})
        t = self.ended(d, task, "failed")
        self.assertEqual((t["outcome"], t["reason"]), ("timeout", "timeout"))
        self.assertTrue(first)
        self.ended(d, d.submit({"pool": "workers", "payload": {}}))
        lifekit.check_counters(d)

    def test_a_time_limit_ends_a_request(self):
        release = threading.Event()

        class Slow(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                release.wait(60)

            def log_message(self, *args):
                pass
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Slow)
        server.daemon_threads = True
        self.addCleanup(server.server_close)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(server.shutdown)
        self.addCleanup(release.set)
        d = self.daemon({"pools": [{"name": "service", "kind": "http", "max_attempts": 1,
                                    "url": f"http://127.0.0.1:{server.server_port}/"}]})
        task = d.submit({"timeout": "700ms", "payload": {"a": 1}})
        t = self.ended(d, task, "failed")
        self.assertEqual((t["outcome"], t["reason"]), ("timeout", "timeout"))
        lifekit.check_counters(d)

    # ---- what comes late ----

    def late(self, d):
        return int(sum(float(n) for n in re.findall(r"(?m)^weir_late_reports_total\S* (\S+)",
                                                    d.request("GET", "/metrics")[2].decode())))

    def test_what_a_command_says_after_its_attempt_was_given_up_is_ignored(self):
        d = self.leases()
        # It sees that it is to end, takes its time, and ends well.
        task = d.submit({"payload": {"shell": f"trap 'sleep 0.2; echo late; exit 0' TERM; touch {self.path('on')}; "
                                              "while :; do sleep 0.05; done"}})
        wait_until(lambda: os.path.exists(self.path("on")), 20, "the command")
        self.assertEqual(d.api("POST", f"/v1/tasks/{task}/cancel")[0] // 100, 2)
        t = self.ended(d, task, "cancelled")
        self.assertEqual([k for k in self.kinds(d, task) if k in lifekit.ENDS], ["task.cancelled"])
        # How a command ends that was told to is no result of its own, and no event; it is counted.
        self.assertEqual((t["attempts"], t.get("outcome"), self.late(d)), (1, "cancelled", 1))
        self.assertNotIn("runner.late", self.kinds(d, task))

    def test_what_a_lost_attempt_says_late_is_recorded_behind_its_end_and_ignored(self):
        d = self.leases(heartbeat_timeout="1s", max_attempts=1)
        scripts = {"trap 'echo late; exit 0' TERM": ("signalled", "exit status 0"),
                   "trap 'echo no >&2; exit 7' TERM": ("exit_status", "exit status 7: no"),
                   "": ("signalled", "SIGTERM")}
        tasks = {d.submit({"payload": {"shell": f'{script or ":"}; touch "$WEIR_HEARTBEAT"; while :; do sleep 0.05; done'}}): said
                 for script, said in scripts.items()}
        # A worker of that kind has nothing to say: it is killed, or answers when nobody listens.
        silent = d.submit({"pool": "workers", "payload": {"beats": [[0.5, 60]]}})
        for task, (reason, message) in tasks.items():
            t = self.ended(d, task, "failed")
            self.assertEqual((t["attempts"], t["outcome"], t["reason"], t.get("output", "")), (1, "lost", "no_heartbeat", ""))
            late = wait_until(lambda n=task: next((e for e in lifekit.events(d, f"task={n}") if e["kind"] == "runner.late"), None),
                              20, "what it says late")
            self.assertEqual((late["attempt"], late["pool"], late["detail"]["outcome"], late["detail"]["reason"]),
                             (1, "sh", "failed", reason))
            self.assertIn(message, late["detail"]["message"])
            kinds = self.kinds(d, task)
            self.assertGreater(kinds.index("runner.late"), kinds.index("runner.lost"))
            self.assertEqual(kinds.count("runner.late"), 1)
            self.assertEqual(d.task(task)["outcome"], "lost")
        self.ended(d, silent, "failed")
        self.assertNotIn("runner.late", self.kinds(d, silent))
        self.assertGreaterEqual(self.late(d), len(tasks))
        lifekit.check_counters(d)

    def test_an_attempt_that_is_killed_by_hand_is_tried_again(self):
        d = self.leases()
        task = d.submit({"payload": {"shell": "[ $WEIR_ATTEMPT = 2 ] || sleep 1000"}})
        r = self.runner(d, task)
        self.assertEqual(d.api("POST", f"/v1/runners/{r['id']}/kill")[0] // 100, 2)
        t = self.ended(d, task)
        self.assertEqual((t["attempts"], t["deaths"]), (2, 0))
        self.assertEqual(d.api("POST", f"/v1/runners/{r['id']}/kill")[0], 404)

    # ---- tasks that kill their workers ----

    def test_a_task_that_kills_its_workers_is_quarantined_and_the_others_go_on(self):
        d = self.leases({"quarantine": {"deaths": 3}}, max_attempts=10)
        poison = d.submit({"pool": "workers", "payload": {"die": True}})
        others = d.submit([{"pool": "workers", "payload": {"s": 0.05}} for _ in range(20)])
        t = self.ended(d, poison, "failed")
        self.assertEqual((t["reason"], t["deaths"], t["failures"], t["attempts"]), ("quarantined", 3, 0, 3))
        kinds = self.kinds(d, poison)
        self.assertEqual((kinds.count("task.quarantined"), kinds[-1]), (1, "task.failed"))
        for task in others:
            self.ended(d, task)
        lifekit.check_counters(d)

    def test_a_dispatcher_that_dies_with_a_task_again_and_again_gives_it_up(self):
        d = self.leases({"quarantine": {"deaths": 2}})
        task = d.submit({"payload": {"shell": "sleep 1000"}})
        for _ in range(2):
            d.wait_task(task, "running")
            wait_until(lambda: self.runner(d, task).get("pid") and d.get("/v1/status")["store"]["waiting"] == 0, 20, "its start")
            d.kill9()
            d.start()
        t = self.ended(d, task, "failed")
        self.assertEqual((t["reason"], t["deaths"], t["failures"]), ("quarantined", 2, 0))

    def test_files_of_a_predecessors_heartbeats_are_removed(self):
        d = self.leases()
        task = d.submit({"payload": {"shell": "touch \"$WEIR_HEARTBEAT\"; [ $WEIR_ATTEMPT = 2 ] || sleep 1000"}})
        beats = os.path.join(d.dir, "weir.db.run")
        wait_until(lambda: any(n.startswith("beat.") for n in os.listdir(beats)), 20, "the first heartbeat")
        # It may run before its start is durable; without that, the next one would be its first again.
        wait_until(lambda: "runner.started" in self.kinds(d, task), 20, "its start to be durable")
        d.kill9()
        self.assertNotEqual(os.listdir(beats), [])
        d.start()
        self.ended(d, task)
        wait_until(lambda: os.listdir(beats) == [], 10, "the files to be gone")


if __name__ == "__main__":
    unittest.main()
