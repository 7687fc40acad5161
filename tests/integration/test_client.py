"""The commands that talk to a daemon: weir submit, task, batch, pool, runner, event, status, report, config, shutdown, completion."""
import fcntl
import http.server
import json
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import termios
import threading
import unittest

from clientkit import CONFIG, Shared
from servekit import Daemon, ServeCase
from weirtest import ROOT, SLOWNESS, WEIR, free_port, wait_until
from workerkit import bad_worker

# run-tests: waits
# run-tests: long
# run-tests: timeout=600
# run-tests: sanitizers


class Submit(Shared):
    def test_a_command_a_line_of_shell_and_json_become_payloads(self):
        path = self.write("payload.json", ' {"shell": "echo file",\n "x": 1.0}\n')
        for args, stdin, payload in (
                (["--", "echo", "a b", "--json"], "", {"argv": ["echo", "a b", "--json"]}),
                (["--shell", "echo 'x' \"y\""], "", {"shell": "echo 'x' \"y\""}),
                (["--payload", '{"shell":"true"}'], "", {"shell": "true"}),
                (["--payload", "@" + path], "", {"shell": "echo file", "x": 1.0}),
                (["--payload", "-"], '{"shell":"echo in"}', {"shell": "echo in"})):
            number = self.submit(*args, stdin=stdin)
            self.assertEqual(self.d.wait_task(number)["payload"], payload)

    def test_every_option_reaches_the_task(self):
        first, second = self.held(), self.held()
        number = self.submit("--shell", "true", "--pool", "spare", "--priority", "-7", "--tenant", "acme", "--session", "s 1",
                             "--after", f"{first},{second}", "--after", first, "--key", 'k "1"',
                             "--not-before", "+2h", "--deadline", "2099-01-31T12:00:00Z", "--timeout", "1m30s",
                             "--attempts", "5", "--cpu", "1.5", "--memory", "512MiB", "--slot", "gpu",
                             "--on-dependency-failure", "run", "--idempotency-key", "idem-all")
        task = self.d.task(number)
        for name, value in {"pool": "spare", "priority": -7, "tenant": "acme", "session": "s 1", "key": 'k "1"',
                            "deadline": "2099-01-31T12:00:00.000000Z", "timeout_s": 90, "max_attempts": 5,
                            "resources": {"cpu": 1.5, "memory": "512MiB", "slots": ["gpu"]}, "blocked_by": 2,
                            "on_dependency_failure": "run", "idempotency_key": "idem-all", "state": "blocked"}.items():
            self.assertEqual(task.get(name), value, name)
        self.assertEqual(sorted(task["after"]), [first, second])
        self.assertEqual(self.d.task(self.held("--skill", "img"))["skill"], "img")

    def test_its_waits_reach_the_task(self):
        def waits(number):
            return [e["duration_s"] for e in self.d.get(f"/v1/tasks/{number}/events")["events"]
                    if e["kind"] == "task.retry_scheduled"]
        number = self.submit("--attempts", "4", "--backoff", "40ms", "--backoff-factor", "3", "--backoff-ceiling", "150ms",
                             "--shell", "exit 1")
        self.assertEqual(self.d.wait_task(number)["attempts"], 4)
        # Half of each is left to chance.
        for wait, most in zip(waits(number), (0.04, 0.12, 0.15), strict=True):
            self.assertTrue(most * 0.499 <= wait <= most * 1.001, waits(number))
        number = self.submit("--backoff", "2h", "--shell", "exit 1")
        wait_until(lambda: self.d.task(number)["state"] == "scheduled", 30, "it to wait")
        self.assertTrue(3600 <= waits(number)[0] <= 7200, waits(number))
        # Alone, a ceiling bounds the pool's waits, the first one too.
        done = self.weir("batch", "submit", "--attempts", "2", "--backoff-ceiling", "4ms", "--open", status=0,
                         stdin='{"shell":"exit 1"}\n')
        number = self.d.api("GET", f"/v1/tasks?batch={int(done.out)}")[1]["tasks"][0]["id"]
        self.assertEqual(self.d.wait_task(number)["attempts"], 2)
        self.assertTrue(0.00199 <= waits(number)[0] <= 0.00401, waits(number))

    def test_what_is_not_there_is_accepted_and_warned_of(self):
        for args, says, why in (
                (["--pool", "nope"], 'there is no pool "nope"', 'no_pool, detail no pool has the name "nope" that it asks for, until the configuration has one'),
                (["--slot", "tpu"], 'there is no slot "tpu"', "unknown_slot, detail it needs a slot that is not configured")):
            done = self.weir("submit", *args, "--shell", "true", status=0)
            self.assertIn(f"warning: {says}; it waits until the configuration has one", done.err)
            number = int(done.out)
            shown = wait_until(lambda: (text := self.weir("task", "show", number).out) and "waits_for" in text and text, 20,
                               "it to wait")
            self.assertRegex(shown, f"(?m)^waits_for +why {why}$")
            self.weir("task", "cancel", number, status=0)
        done = self.weir("submit", "--lines", "-", "--pool", "nope", stdin="1\n2\n", status=0)
        self.assertRegex(done.err, 'accepted 2 tasks\n.*warning: there is no pool "nope"')
        # What is there, or goes to the default pool, is nothing to warn of.
        for args in (["--pool", "sh"], ["--skill", "img"], ["--skill", "unheard"], ["--slot", "gpu"], []):
            self.assertEqual(self.weir("submit", *args, "--shell", "true", status=0).err, "")

    def test_more_than_a_quota_ever_has_is_accepted_and_warned_of(self):
        pools = [{"name": "small", "kind": "command", "cpu": 2, "memory": "1GiB", "skills": ["x"]},
                 {"name": "large", "kind": "command", "cpu": 8, "skills": ["y"]}]
        d = self.daemon({"pools": pools, "default_pool": "small"})
        for args, says in ((["--cpu", "3"], "--cpu 3 is more than the quota of any pool that takes it"),
                           (["--cpu", "8.5", "--pool", "large"], '--cpu 8.5 is more than the quota of pool "large"'),
                           (["--memory", "2GiB"], "--memory 2GiB is more than the quota of any pool that takes it")):
            for command, stdin in ((["submit", "--shell", "true"], ""), (["submit", "--lines", "-"], "1\n"), (["batch", "submit"], "1\n")):
                done = d.weir(*command, *args, "--not-before", "+1h", stdin=stdin, status=0)
                self.assertIn(f"warning: {says}; it waits until the configuration gives more\n", done.err)
        for args in (["--cpu", "2", "--memory", "1GiB"], ["--cpu", "8", "--memory", "1TiB", "--pool", "large"],
                     ["--cpu", "8", "--skill", "y"]):
            self.assertEqual(d.weir("submit", "--shell", "true", "--not-before", "+1h", *args, status=0).err, "")
        number = int(d.weir("submit", "--shell", "true", "--cpu", "3", status=0).out)
        wait_until(lambda: "waits_for" in d.task(number), 20, "it to wait")

    def test_without_a_default_pool(self):
        d = self.daemon({"pools": [{"name": "a", "kind": "command", "skills": ["x"]}, {"name": "b", "kind": "command"}]})
        done = d.weir("submit", "--skill", "y", "--shell", "true", status=0)
        self.assertIn('no pool offers the skill "y"', done.err)
        why = wait_until(lambda: d.task(int(done.out)).get("waits_for"), 20, "it to wait")
        self.assertEqual(why, {"why": "no_pool", "detail": 'no pool offers the skill "y" that it asks for, and there is no default pool'})
        self.assertEqual(d.weir("submit", "--skill", "x", "--wait", "--shell", "true", status=0).err, "")

    def test_the_same_idempotency_key_gives_the_first_task(self):
        first = self.held("--idempotency-key", "idem")
        done = self.weir("submit", "--shell", "true", "--idempotency-key", "idem", status=0)
        self.assertEqual(int(done.out), first)
        self.assertIn(f"task {first} was there already", done.err)
        self.assertEqual(self.weir("submit", "--shell", "true", "--idempotency-key", "idem", "--json").json,
                         {"id": first, "existing": True})

    def test_what_is_wrong_is_said_with_its_place_and_status_2(self):
        for args, says in (
                ([], "what is to be done is missing"),
                (["--shell", "x", "--", "y"], "give one of"),
                (["--payload", "{bad"], "--payload: not JSON: a member's name is missing, at byte 1"),
                (["--payload", "hello"], "a text needs quotes of its own"),
                (["--payload", "@/no/such"], "/no/such cannot be read"),
                (["--shell", "x", "--memory", "lots"], 'resources.memory: "lots" is not a size'),
                (["--shell", "x", "--backoff", "2s", "--backoff-ceiling", "1s"],
                 "backoff: its ceiling is below what it begins with"),
                (["--shell", "x", "--backoff-factor", "0.5"], "--backoff-factor"),
                (["--lines", "-", "--tasks", "--backoff", "1s"], "leave out --tasks"),
                (["--shell", "x", "--after", "1,x"], '--after: "1,x" is no list of tasks'),
                (["--shell", "x", "--priority", "1001"], "--priority"),
                (["--shell", "x", "--not-before", "soon"], "not_before"),
                (["--tasks", "--shell", "x"], "--tasks goes with a file"),
                (["--name", "x", "--shell", "x"], "--name"),
                (["--shell", "x", "--poll", "y"], "did you mean --pool?"),
                (["word"], '"word" is not expected here')):
            self.refused("submit", *args, says=says)

    def test_a_problem_is_told_in_full(self):
        done = self.refused("submit", "--shell", "x", "--after", "999999", says="weir submit: Unprocessable Content: ")
        self.assertIn("999999", done.err)
        done = self.refused("submit", "--shell", "x", "--memory", "lots", "--json", says="Bad Request")
        self.assertEqual(json.loads(done.err)["errors"][0]["where"], "resources.memory")

    def test_wait_prints_the_output_and_exits_by_the_outcome(self):
        done = self.weir("submit", "--wait", "--shell", "echo out; echo err >&2", status=0)
        self.assertEqual((done.out, done.err), ("out\n", "err\n"))
        done = self.weir("submit", "--wait", "--attempts", "1", "--shell", "printf half; exit 3", status=1)
        self.assertEqual(done.out, "half")
        self.assertRegex(done.err, r"^weir submit: task \d+ failed: exit status 3\n$")
        done = self.weir("submit", "--wait", "--json", "--payload", '{"shell":"echo \'{\\"a\\": 1.0}\'"}', status=0)
        self.assertEqual((done.json["state"], done.json["output"]), ("done", {"a": 1.0}))

    def test_bytes_that_are_no_text_come_out_as_they_were(self):
        env = self.d.weir_env()
        done = subprocess.run([WEIR, "submit", "--wait", "--shell", r"printf '\377\000\001abc'"], env=env, capture_output=True,
                              timeout=60 * SLOWNESS)
        self.assertEqual((done.returncode, done.stdout), (0, b"\xff\x00\x01abc"))

    def test_wait_of_one_that_is_cancelled(self):
        flag = self.path("go")
        process = subprocess.Popen([WEIR, "submit", "--wait", "--key", "long-1", "--shell", f"touch {flag}; exec sleep 600"],
                                   env=self.d.weir_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: os.path.exists(flag), 30, "the task to run")
            number = self.d.get("/v1/tasks?key=long-1")["tasks"][0]["id"]
            self.weir("task", "cancel", number, status=0)
            out, err = process.communicate(timeout=30 * SLOWNESS)
        finally:
            process.kill()
            process.wait()
        self.assertEqual(process.returncode, 1)
        self.assertIn(f"task {number} cancelled", err)


class Tasks(Shared):
    def test_a_list_goes_on_over_pages_up_to_its_limit(self):
        answer = self.d.api("POST", "/v1/tasks", "".join(
            '{"payload":1,"tenant":"pages","not_before":"+1h"}\n' for _ in range(2345)), content_type="application/x-ndjson")[1]
        first = answer["ranges"][0][0]
        lines = self.weir("task", "list", "--tenant", "pages", status=0)
        self.assertEqual(len(lines.out.splitlines()), 101)
        self.assertEqual(lines.err, "there are more: --all, or --limit N\n")
        for args, count in ((["--limit", "7"], 7), (["--limit", "1001"], 1001), (["--all"], 2345), (["--limit", "9999"], 2345)):
            done = self.weir("task", "list", "--tenant", "pages", "--json", *args, status=0)
            self.assertEqual([row["id"] for row in done.rows], list(range(first, first + count)))
            self.assertEqual(done.err, "")
        done = self.weir("task", "list", "--tenant", "pages", "--newest", "--limit", "2", "--json", status=0)
        self.assertEqual([row["id"] for row in done.rows], [first + 2344, first + 2343])
        self.assertEqual(len(self.weir("task", "list", "--tenant", "pages", "--all").out.splitlines()), 2346)

    def test_filters(self):
        one = self.held("--pool", "spare", "--tenant", "f 1", "--session", "f&s", "--key", "f=k")
        two = self.held("--skill", "img", "--tenant", "f 1")
        for args, ids in ((["--tenant", "f 1"], [one, two]), (["--tenant", "f 1", "--skill", "img"], [two]),
                          (["--session", "f&s"], [one]), (["--key", "f=k"], [one]), (["--tenant", "f 1", "--pool", "spare"], [one]),
                          (["--tenant", "f 1", "--state", "scheduled,ready"], [one, two]),
                          (["--tenant", "f 1", "--state", "done"], []), (["--tenant", "f 1", "--stuck"], [])):
            done = self.weir("task", "list", "--json", *args, status=0)
            self.assertEqual([row["id"] for row in done.rows], ids, args)
        self.assertEqual(self.weir("task", "list", "--tenant", "none").err, "no tasks\n")
        self.refused("task", "list", "--state", "dnoe", says="dnoe")

    def test_an_empty_filter_is_refused(self):
        self.held()
        for name in ("pool", "skill", "tenant", "session", "key", "state"):
            self.refused("task", "list", f"--{name}", "", says=f"the query parameter {name}: ")
            self.assertEqual(self.d.api("GET", f"/v1/tasks?{name}=")[0], 400)
        self.assertEqual(self.d.api("GET", "/v1/tasks?limit=1&tenant")[0], 400)
        for verb in ("list", "follow"):
            self.refused("event", verb, "--pool", "", says="the query parameter pool: it is empty; leave it out if there is none")
        self.refused("report", "--pool", "", says="the query parameter pool: it is empty")
        self.refused("batch", "submit", "--name", "", stdin="1\n", says="the query parameter name: it is empty")

    def test_a_table_is_for_people(self):
        self.weir("submit", "--wait", "--attempts", "1", "--key", "häß", "--tenant", "table", "--shell", "exit 9", status=1)
        self.held("--tenant", "table", "--priority", "5")
        out = self.weir("task", "list", "--tenant", "table", status=0).out
        head, failed, held = out.splitlines()
        self.assertEqual(head.split(), ["ID", "STATE", "KEY", "POOL", "PRI", "TENANT", "SUBMITTED", "RAN", "TRIES", "REASON",
                                        "MESSAGE"])
        self.assertEqual(failed.index("häß"), head.index("KEY"))
        self.assertRegex(failed, r"^ *\d+  failed +häß +sh +table +(now|\ds ago) +\d+ms +1 +exit_status +exit status 9$")
        self.assertRegex(held, r"^ *\d+  scheduled +5 +table +(now|\ds ago)$")
        self.assertRegex(self.weir("task", "list", "--tenant", "table", "--utc").out, r" \d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ ")

    def test_show(self):
        number = self.submit("--shell", r"printf 'one\ntwo\033[31m'; echo bad >&2")
        self.d.wait_task(number)
        out = self.weir("task", "show", number, status=0).out
        self.assertRegex(out, rf"(?m)^id +{number}$")
        self.assertRegex(out, r"(?m)^state +done$")
        self.assertIn('\npayload:\n  {"shell":', out)
        self.assertIn("\noutput:\n  one\n  two?[31m\n", out)
        self.assertIn("\nerror output:\n  bad\n", out)
        self.assertEqual(self.weir("task", "show", number, "--json").json, self.d.task(number))

    def test_one_of_several_that_is_wrong_does_not_keep_the_others(self):
        number = self.held()
        done = self.weir("task", "show", 999999, number, status=1)
        self.assertIn("weir task show: Not Found: there is no task 999999", done.err)
        self.assertRegex(done.out, rf"^id +{number}\n")
        self.assertEqual(self.weir("task", "cancel", number, "x", status=2).out, f"task {number}: cancelled\n")

    def test_cancel_retry_delete(self):
        number = self.held()
        self.assertEqual(self.weir("task", "cancel", number, status=0).out, f"task {number}: cancelled\n")
        self.refused("task", "priority", number, "3", says="Conflict", status=1)
        self.assertRegex(self.weir("task", "retry", number, status=0).out, rf"^task {number}: (ready|running|done|scheduled)\n$")
        self.weir("task", "cancel", number)
        self.d.wait_task(number)
        self.assertEqual(self.weir("task", "delete", number, status=0).out, f"task {number}: deleted\n")
        self.assertEqual(self.d.api("GET", f"/v1/tasks/{number}")[0], 404)
        self.refused("task", "delete", self.held(), says="Conflict", status=1)

    def test_priority_may_be_negative(self):
        one, two = self.held(), self.held()
        self.assertEqual(self.weir("task", "priority", one, two, "-20", status=0).out,
                         f"task {one}: priority -20\ntask {two}: priority -20\n")
        self.assertEqual(self.d.task(two)["priority"], -20)
        self.refused("task", "priority", one, "much", says="the priority")

    def test_resolve(self):
        first = self.held()
        second = self.submit("--shell", "true", "--after", first)
        self.refused("task", "resolve", second, "somehow", says='"somehow" is not how')
        self.refused("task", "resolve", second, "run", says="can still be done", status=1)
        self.weir("task", "cancel", first, status=0)
        self.assertRegex(self.weir("task", "resolve", second, "run", status=0).out, rf"^task {second}: (ready|running|done)\n$")
        self.assertEqual(self.d.wait_task(second)["state"], "done")

    def test_events(self):
        number = self.submit("--shell", "true")
        self.d.wait_task(number)
        kinds = [e["kind"] for e in self.weir("task", "events", number, "--json", status=0).rows]
        self.assertEqual((kinds[0], kinds[-1]), ("task.submitted", "task.done"))
        self.assertEqual([e["kind"] for e in self.weir("task", "events", number, "--newest", "--limit", "1", "--json").rows],
                         ["task.done"])
        self.assertRegex(self.weir("task", "events", number).out, rf"(?m)^ *\d+  .* task\.done +{number} +1  sh ")

    def test_wait_prints_all_outputs_in_the_order_of_the_words(self):
        slow = self.submit("--shell", "sleep 0.3; echo slow")
        fast = self.submit("--shell", "echo fast")
        bad = self.submit("--attempts", "1", "--shell", "exit 1")
        done = self.weir("task", "wait", slow, fast, status=0)
        self.assertEqual(done.out, "slow\nfast\n")
        done = self.weir("task", "wait", bad, fast, status=1)
        self.assertEqual(done.out, "fast\n")
        self.refused("task", "wait", 999999, says="there is no task 999999", status=1)

    def test_wait_of_a_task_that_failed_before_and_is_retried(self):
        flag = self.path("good")
        number = self.submit("--attempts", "1", "--shell", f"test -e {flag} && echo good")
        self.d.wait_task(number, "failed")
        self.write("good", "")
        self.weir("task", "retry", number, status=0)
        self.assertEqual(self.weir("task", "wait", number, status=0).out, "good\n")

    def test_verbs_have_help_and_the_nearest_name(self):
        self.refused("task", "lst", says='unknown command "lst"; did you mean list?')
        self.refused("task", "xyzzy", says="there is: list, show,")
        self.refused("task", says="Usage: weir task COMMAND")
        self.refused("task", "show", says="something is missing: weir task show [options] TASK...")
        done = self.weir("task", "--help", status=0)
        self.assertIn("  priority ", done.out)
        self.assertEqual(self.weir("help", "task").out, done.out)


class Batches(Shared):
    def test_a_batch_of_lines_and_its_results(self):
        done = self.weir("batch", "submit", "--name", "night & day", "--attempts", "1", status=0,
                         stdin='{"shell":"sleep 0.2; echo one"}\n{"shell":"exit 4"}\n{"shell":"echo three"}\n')
        number = int(done.out)
        self.assertEqual(done.err, "accepted 3 tasks\n")
        done = self.weir("batch", "results", "--follow", number, status=1)
        self.assertEqual([line.split() for line in done.out.splitlines()],
                         [["0", "done", "one"], ["1", "failed", "exit", "status", "4"], ["2", "done", "three"]])
        rows = self.weir("batch", "results", number, "--json", status=0).rows
        self.assertEqual([(row["place"], row["state"]) for row in rows], [(0, "done"), (1, "failed"), (2, "done")])
        self.assertNotIn("payload", rows[0])
        rows = self.weir("batch", "results", number, "--json", "--from", "2", "--payload", status=0).rows
        self.assertEqual([row["payload"] for row in rows], [{"shell": "echo three"}])
        out = self.weir("batch", "show", number, status=0).out
        self.assertRegex(out, r"(?m)^name +night & day$")
        self.assertRegex(out, r"(?m)^tasks +done 2, failed 1$")
        line = [one for one in self.weir("batch", "list", "--all").out.splitlines() if "night & day" in one][0]
        self.assertRegex(line, rf"^ *{number}  night & day +finished .* 3 +2 +1$")
        self.assertIn(number, [row["id"] for row in self.weir("batch", "list", "--json").rows])
        self.assertEqual(self.weir("batch", "retry", number, status=0).out, f"batch {number}: tasks that run again: 1\n")

    def test_an_open_batch_takes_more_until_it_is_ended(self):
        number = int(self.weir("batch", "open", "--name", "o", status=0).out)
        one = self.submit("--batch", number, "--shell", "echo x")
        self.assertRegex(self.weir("submit", "--batch", number, "--lines", "-", stdin='{"shell":"echo y"}\n', status=0).out,
                         r"^\d+\n$")
        self.d.wait_task(one)
        self.assertIn("with so many tasks: 2", self.weir("batch", "end", number, status=0).out)
        self.refused("submit", "--batch", number, "--shell", "x", says="Conflict", status=1)
        done = self.weir("batch", "results", number, "--follow", status=0)
        self.assertEqual([line.split()[-1] for line in done.out.splitlines()], ["x", "y"])

    def test_cancel_and_what_is_still_to_come(self):
        number = int(self.weir("batch", "submit", "--not-before", "+1h", "--open", stdin="1\n2\n", status=0).out)
        done = self.weir("batch", "results", number, status=0)
        self.assertEqual((done.out, done.err),
                         ("", "weir batch results: 2 of 2 are still to come; --follow waits for them\n"))
        self.assertEqual(self.weir("batch", "cancel", number, status=0).out, f"batch {number}: tasks cancelled: 2\n")
        self.assertEqual(self.weir("batch", "results", number, "--json").rows[1]["state"], "cancelled")
        self.refused("batch", "results", 999999, says="there is no batch 999999", status=1)
        self.refused("batch", "results", "x", says='"x" is no number of a batch')
        self.refused("batch", "submit", "/no/such", says="/no/such cannot be read")

    def test_an_open_batch_gets_lines_of_whole_tasks(self):
        done = self.weir("batch", "submit", "--tasks", "--json", stdin='{"payload":{"shell":"true"},"key":"whole"}\n', status=0)
        self.assertEqual(done.json["accepted"], 1)
        self.assertEqual(self.d.get("/v1/tasks?key=whole")["tasks"][0]["batch"], done.json["id"])
        self.refused("batch", "submit", "--tasks", "--pool", "sh", says="--tasks")


class Pools(Shared):
    CONFIG = {**CONFIG, "pools": CONFIG["pools"] + [
        {"name": "work", "kind": "process", "max_concurrency": 1, "process": bad_worker()},
        {"name": "patient", "kind": "command", "kill_after": "600s"}]}

    def test_list_and_show(self):
        head, *rows = self.weir("pool", "list", status=0).out.splitlines()
        self.assertEqual(head.split()[:6], ["POOL", "KIND", "STATE", "RUNNING", "LIMIT", "USE"])
        self.assertEqual({row.split()[0] for row in rows}, {"sh", "spare", "work", "patient"})
        self.assertEqual([p["name"] for p in self.weir("pool", "list", "--json").rows],
                         [p["name"] for p in self.d.get("/v1/pools")])
        self.assertRegex(self.weir("pool", "show", "sh", status=0).out, r"(?m)^skills +img$")
        self.assertEqual(self.weir("pool", "show", "sh", "--json").json["kind"], "command")
        self.refused("pool", "show", "a/b", says='there is no pool "a/b"', status=1)

    def test_limits(self):
        out = self.weir("pool", "limit", "sh", "9", "--cpu", "4", "--memory", "2GiB", "--reserve", "50:20%", status=0).out
        self.assertEqual(out, "pool sh: enabled, 0 running, limit 9\n")
        pool = self.d.get("/v1/pools/sh")
        self.assertEqual((pool["max_concurrency"], pool["cpu"]["limit"], pool["memory"]["limit"], pool["reserve"]),
                         (9, 4, 2 << 30, {"min_priority": 50, "share": 0.2}))
        self.weir("pool", "limit", "sh", "--burst", "2:5s", "--reserve", "none", "--cpu", "none", status=0)
        pool = self.d.get("/v1/pools/sh")
        self.assertEqual((pool["burst"], pool.get("reserve"), pool["cpu"].get("limit")),
                         ({"places": 2, "seconds": 5}, None, None))
        self.weir("pool", "limit", "sh", "4", "--burst", "none", status=0)
        for args, says in ((["sh"], "which limit?"), (["sh", "0"], "the limit"), (["sh", "--burst", "2"], "PLACES:TIME"),
                           (["sh", "--reserve", "5:2"], "--reserve"), (["sh", "--memory", "much"], "--memory"),
                           (["sh", "--cpu", "x"], "--cpu"), ([], "something is missing")):
            self.refused("pool", "limit", *args, says=says)
        self.refused("pool", "limit", "nope", "2", says="there is no pool", status=1)

    def test_disable_drain_enable(self):
        self.assertIn("spare: disabled", self.weir("pool", "disable", "spare", status=0).out)
        number = self.submit("--pool", "spare", "--shell", "true")
        self.assertEqual(self.d.task(number)["waits_for"]["why"], "pool_disabled")
        self.assertRegex(self.weir("task", "show", number).out, r"(?m)^waits_for +why pool_disabled")
        self.weir("pool", "enable", "spare", status=0)
        self.assertEqual(self.d.wait_task(number)["state"], "done")
        self.assertRegex(self.weir("pool", "drain", "spare", status=0).out, "spare: (draining|disabled)")
        self.weir("pool", "enable", "spare", status=0)
        self.assertIn("spare: enabled", self.weir("pool", "reset-breaker", "spare", status=0).out)

    def test_drain_waits_until_nothing_runs(self):
        go = self.path("go")
        os.mkfifo(go)
        number = self.submit("--pool", "spare", "--shell", f"read x <{go}")
        self.d.wait_task(number, "running")
        done = self.weir("pool", "drain", "spare", "--wait", "--timeout", "50ms", status=3)
        self.assertIn("pool spare: 1 still run", done.err)
        self.assertFalse(self.d.get("/v1/pools/spare")["enabled"])
        waiting = subprocess.Popen([WEIR, "pool", "drain", "spare", "--wait", "--timeout", "60s"], stdout=subprocess.PIPE,
                                   env=self.d.weir_env(), text=True)
        # It has said how it is, so it waits.
        self.assertRegex(waiting.stdout.readline(), "pool spare: draining, 1 running")
        self.assertIsNone(waiting.poll())
        with open(go, "w", encoding="utf-8") as f:
            f.write("\n")
        out = waiting.communicate(timeout=30 * SLOWNESS)[0]
        self.assertEqual((waiting.returncode, out), (0, "pool spare: drained\n"))
        self.assertEqual(self.d.wait_task(number)["state"], "done")
        rows = self.weir("pool", "drain", "spare", "--wait", "--json", status=0).rows
        self.assertEqual(rows[-1]["running"], 0)
        self.weir("pool", "enable", "spare", status=0)
        self.refused("pool", "drain", "spare", "--timeout", "1s", says="--wait")

    def test_workers(self):
        workers = wait_until(lambda: self.weir("pool", "workers", "work", "--json").rows, 30, "a worker")
        self.assertEqual(workers[0]["place"], self.d.get("/v1/pools/work/workers")[0]["place"])
        self.assertRegex(self.weir("pool", "workers", "work", status=0).out, r"^ID +PLACE +STATE ")
        self.assertEqual(self.weir("pool", "workers", "sh").err, "no workers\n")

    def test_runners(self):
        number = self.submit("--key", "r-1", "--shell", "exec sleep 600")
        runner = wait_until(lambda: [r for r in self.weir("runner", "list", "--json").rows if r["task"] == number], 30,
                            "it to run")[0]
        row = [line for line in self.weir("runner", "list", status=0).out.splitlines() if "r-1" in line][0]
        self.assertRegex(row, rf"{runner['id']} +{number} +r-1 +1  sh +\d+ ")
        self.assertIn("is being ended", self.weir("runner", "kill", runner["id"], status=0).out)
        wait_until(lambda: self.d.task(number).get("reason") == "killed", 30, "the attempt to be lost")
        self.weir("task", "cancel", number, status=0)
        self.refused("runner", "kill", "12", says="weir runner kill: Not Found", status=1)

    def test_an_attempt_that_is_being_cancelled_says_so(self):
        number = self.submit("--key", "deaf", "--pool", "patient", "--shell", f"trap '' TERM; : >{self.path('deaf')}; "
                             f"while [ ! -e {self.path('go')} ]; do sleep 0.01; done")
        wait_until(lambda: os.path.exists(self.path("deaf")), 30, "it to be deaf")
        self.assertNotIn("cancelling", self.weir("runner", "list", "--json").rows[0])
        self.weir("task", "cancel", number, status=0)
        self.assertIs(self.weir("runner", "list", "--json").rows[0]["cancelling"], True)
        self.assertIn("is being cancelled", self.weir("runner", "list", status=0).out)
        self.write("go", "")
        self.d.wait_task(number, "cancelled")


class Watching(Shared):
    def test_status(self):
        out = self.weir("status", status=0).out
        self.assertRegex(out, r"^weir \d\S+ running for \S+, policy priority; 0 of 10 running \(0%\)\ntasks: ")
        self.assertRegex(out, r"(?m)^sh +command +enabled +0 +4 +0%")
        self.assertEqual(self.weir("status", "--json").json["state"], "running")

    def test_events(self):
        number = self.submit("--shell", "true")
        self.d.wait_task(number)
        rows = self.weir("event", "list", "--task", number, "--kind", "task.submitted,task.done", "--json", status=0).rows
        self.assertEqual([(e["kind"], e["task"]) for e in rows], [("task.submitted", number), ("task.done", number)])
        after = self.weir("event", "list", "--task", number, "--after", rows[0]["seq"], "--limit", "1", "--json").rows
        self.assertGreater(after[0]["seq"], rows[0]["seq"])
        self.assertEqual(self.weir("event", "list", "--newest", "--limit", "1", "--json").rows[0]["seq"],
                         self.d.get("/v1/status")["last_event"])
        self.assertRegex(self.weir("event", "list", "--pool", "sh", "--limit", "1").out, r"^SEQ +AT +KIND ")

    def follow(self, *args):
        process = subprocess.Popen([WEIR, "event", "follow", *args], env=self.d.weir_env(), stdout=subprocess.PIPE, text=True)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)
        self.addCleanup(process.stdout.close)
        return process

    def test_follow_prints_each_as_it_happens(self):
        last = self.d.get("/v1/status")["last_event"]
        process = self.follow("--json", "--after", str(last), "--kind", "task.done")
        ids = [self.submit("--shell", "true") for _ in range(3)]
        left = set(ids)
        while left:  # those of other tests may end now, too
            event = json.loads(process.stdout.readline())
            self.assertEqual(event["kind"], "task.done")
            left.discard(event["task"])
        process.send_signal(signal.SIGINT)
        self.assertEqual(process.wait(30), -signal.SIGINT)

    def test_follow_for_people_and_from_the_first_event_on(self):
        process = self.follow("--after", "0")
        self.assertRegex(process.stdout.readline(), r"^\d\d:\d\d:\d\d  dispatcher\.started +version ")

    def test_follow_ends_when_nobody_reads(self):
        process = self.follow("--after", "0", "--json")
        process.stdout.readline()
        process.stdout.close()
        for _ in range(2):
            self.submit("--shell", "true")
        wait_until(lambda: process.poll() is not None, 30, "it to end")

    def test_report(self):
        self.submit("--shell", "sleep 0.2")
        wait_until(lambda: self.d.get("/v1/history"), 30, "a sample")
        out = self.weir("report", status=0).out
        self.assertRegex(out, r"^all pools: \S+ running on average, \S+ at most, \d+% in use; ")
        self.assertIn("┤", out)
        self.assertRegex(out, r"(?m)^FROM +RUNNING +LIMIT +USE +STARTED +FINISHED +FAILED")
        samples = self.weir("report", "--json", "--resolution", "10s", status=0).rows
        self.assertEqual(samples[0]["at"], self.d.get("/v1/history")[0]["at"])
        self.assertRegex(self.weir("report", "--pool", "sh", "--samples", "--utc").out, r"(?m)^\d{4}-\d\d-\d\dT\d\d:\d\d:\d0Z  ")
        self.assertIn("no samples", self.weir("report", "--from", "2001-01-01T00:00:00Z", "--to", "2001-01-02T00:00:00Z").err)
        self.refused("report", "--resolution", "7s", says="--resolution")
        for args in ([], ["--json"]):
            self.refused("report", "--pool", "nope", *args, says="there is no pool", status=1)

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([WEIR, "status"], env=self.d.weir_env(), stdout=full, stderr=subprocess.PIPE, text=True,
                                  timeout=60)
        self.assertEqual((done.returncode, done.stderr), (1, "weir status: standard output: No space left on device\n"))

    # ---- a terminal ----

    def on_terminal(self, columns, *args, **env):
        """What it writes on a terminal of that width."""
        ours, theirs = pty.openpty()
        try:
            fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
            process = subprocess.Popen([WEIR, *args], env={**self.d.weir_env(), "TERM": "xterm", **env}, stdout=theirs,
                                       stderr=subprocess.PIPE)
            out = b""
            while process.poll() is None or select.select([ours], [], [], 0)[0]:
                if select.select([ours], [], [], 0.01)[0]:
                    out += os.read(ours, 65536)
            process.stderr.close()
        finally:
            os.close(ours)
            os.close(theirs)
        return out.decode().replace("\r\n", "\n")

    def test_on_a_terminal_there_are_colours_and_nothing_is_wider(self):
        key = "ü" * 100
        self.weir("submit", "--wait", "--attempts", "1", "--tenant", "tty", "--key", key, "--shell", "exit 1", status=1)
        out = self.on_terminal(70, "task", "list", "--tenant", "tty")
        self.assertIn("\033[31mfailed\033[0m", out)
        plain = re.sub(r"\033\[\d+m", "", out)
        self.assertEqual([line for line in plain.splitlines() if len(line) > 70], [])
        self.assertIn("…", plain)
        self.assertNotIn("\033", self.on_terminal(70, "task", "list", "--tenant", "tty", NO_COLOR="1"))
        self.assertEqual([line for line in self.on_terminal(20, "status", NO_COLOR="1").split("\n\n")[1].splitlines()
                          if len(line) > 20], [])
        out = self.weir("task", "list", "--tenant", "tty").out
        self.assertIn(key, out)
        self.assertNotIn("\033", out)


class Daemons(ServeCase):
    def test_waiting_goes_on_over_the_end_and_the_start_of_the_daemon(self):
        d = self.daemon(CONFIG)
        started, flag = os.path.join(self.dir, "started"), os.path.join(self.dir, "go")
        process = subprocess.Popen([WEIR, "submit", "--wait", "--shell",
                                    f"touch {started}; while ! test -e {flag}; do sleep 0.05; done; echo at last"],
                                   env=d.weir_env(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        try:
            wait_until(lambda: os.path.exists(started), 30, "the task to run")
            wait_until(lambda: "weir_event_followers 1" in d.api("GET", "/metrics")[1], 30, "it to wait")
            d.kill9()
            d.start()
            self.write("go", "")
            out, err = process.communicate(timeout=60 * SLOWNESS)
        finally:
            process.kill()
            process.wait()
        self.assertEqual((process.returncode, out), (0, "at last\n"), err)

    def outlives(self, end):
        """Each command that waits goes on over an end and a start of the daemon, and says once that it waits."""
        d = self.daemon({**CONFIG, "pools": CONFIG["pools"] + [{"name": "later", "kind": "command", "enabled": False}]})
        later = ["--pool", "later", "--shell"]
        number = int(d.weir("submit", *later, "echo waited", status=0).out)
        batch = int(d.weir("batch", "submit", "--tasks", status=0, stdin='{"payload":{"shell":"echo one"}}\n'
                           '{"payload":{"shell":"echo two"},"pool":"later"}\n').out)
        commands = {"submit": ["submit", "--wait", *later, "echo submitted"], "task": ["task", "wait", str(number)],
                    "batch": ["batch", "results", "--follow", str(batch)],
                    "event": ["event", "follow", "--after", "0", "--kind", "task.done"]}
        processes = {}

        def told(name, stream):
            with open(self.path(f"{name}.{stream}"), encoding="utf-8") as f:
                return f.read()
        try:
            for name, words in commands.items():
                with open(self.path(name + ".out"), "wb") as out, open(self.path(name + ".err"), "wb") as err:
                    processes[name] = subprocess.Popen([WEIR, *words], env=d.weir_env(), stdout=out, stderr=err)
            wait_until(lambda: "weir_event_followers 3" in d.api("GET", "/metrics")[1] and "one" in told("batch", "out")
                       and "task.done" in told("event", "out"), 30, "all of them to wait")
            end(d)
            for name in commands:
                wait_until(lambda name=name: told(name, "err"), 30, f"{name} to say so")
            d.start()
            d.weir("pool", "enable", "later", status=0)
            for name in ("submit", "task", "batch"):
                self.assertEqual(processes[name].wait(60 * SLOWNESS), 0, told(name, "err"))
            wait_until(lambda: told("event", "out").count("task.done") == 4, 30, "the events")
            processes["event"].send_signal(signal.SIGINT)
        finally:
            for process in processes.values():
                process.kill()
                process.wait()
        self.assertEqual((told("submit", "out"), told("task", "out")), ("submitted\n", "waited\n"))
        self.assertEqual([line.split() for line in told("batch", "out").splitlines()], [["0", "done", "one"], ["1", "done", "two"]])
        for name, words in commands.items():
            command = "weir submit" if name == "submit" else "weir " + " ".join(words[:2])
            self.assertEqual(told(name, "err"), f"{command}: the daemon is gone; waiting for it\n")

    def test_what_waits_outlives_a_stop(self):
        self.outlives(lambda d: self.assertEqual(d.stop(), 0))

    def test_what_waits_outlives_a_crash(self):
        self.outlives(Daemon.kill9)

    def test_nobody_answers(self):
        d = self.daemon(CONFIG, start=False)
        done = d.weir("status", status=1)
        self.assertEqual(done.err, f"weir status: no daemon answers at {d.address}: is `weir serve` running? "
                                   "(--api says where)\n")
        done = d.weir("submit", "--shell", "x", "--api", f"http://127.0.0.1:{free_port()}", status=1)
        self.assertIn("no daemon answers at http://127.0.0.1:", done.err)
        for api, says in (("bla", 'is not an address; write it as unix:PATH or http://HOST:PORT'),
                          ("unix:", "needs a path"), ("unix:/" + "x" * 200, "a socket's path has at most"),
                          ("http://user:sekrit@h:1", "goes into --token-file")):
            done = d.weir("status", "--api", api, status=2)
            self.assertIn(says, done.err)
            self.assertNotIn("sekrit", done.err)

    def test_who_answers_is_no_daemon(self):
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                status = 500 if "config" in self.path else 200
                self.send_response(status)
                self.end_headers()
                self.wfile.write(b"hello")

            def log_message(self, *args):
                pass
        server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            d = self.daemon(CONFIG, start=False)
            api = f"http://127.0.0.1:{server.server_port}"
            self.assertIn("is no daemon of weir's", d.weir("status", "--api", api, status=1).err)
            self.assertIn("answers with status 500", d.weir("config", "show", "--api", api, status=1).err)
        finally:
            server.shutdown()
            thread.join()
            server.server_close()

    def test_the_default_is_the_daemons_own(self):
        runtime = os.path.join(self.dir, "run")
        os.mkdir(runtime)
        d = self.daemon("pools: [{name: sh, kind: command, max_concurrency: 1}]\n"
                        f"listen: ['unix:{runtime}/weir.sock']\nstore: '{self.dir}/weir.db'\n", start=False)
        d.socket = f"{runtime}/weir.sock"
        d.start()
        env = {"XDG_RUNTIME_DIR": runtime, "WEIR_API": ""}
        self.assertEqual(d.weir("status", "--json", env=env, status=0).json["state"], "running")

    def test_a_command_in_another_folder_reaches_the_daemon_of_a_relative_socket(self):
        d = self.daemon(start=False)
        d.configure({"listen": ["unix:./weir.sock"],
                     "pools": [{"name": "sh", "kind": "command", "cwd": "/", "env": {"WEIR": WEIR}}], "default_pool": "sh"})
        d.start()
        done = d.weir("submit", "--wait", "--attempts", "1", "--shell", 'pwd; "$WEIR" status --json', status=0)
        folder, status = done.out.splitlines()
        self.assertEqual((folder, json.loads(status)["state"]), ("/", "running"))

    def test_tokens(self):
        port = free_port()
        secret = "sekrit-0123456789abcdef"
        path = self.write("token", secret + "\n")
        reader = self.write("reader", "reader-0123456789abcdef\n")
        d = self.daemon(start=False)
        d.configure({**CONFIG, "listen": [d.address, f"127.0.0.1:{port}"],
                     "tokens": [{"name": "all", "role": "operate", "file": path},
                                {"name": "looks", "role": "read", "file": reader}]})
        d.start()
        done = d.weir("status", status=1)
        self.assertIn("Unauthorized", done.err)
        self.assertIn("; give a token with --token-file or WEIR_API_TOKEN", done.err)
        for args, env in ((["--token-file", path], None), ([], {"WEIR_API_TOKEN": secret}),
                          (["--api", f"http://127.0.0.1:{port}", "--token-file", path], None)):
            done = d.weir("status", *args, env=env, status=0)
            self.assertIn("running", done.out)
        done = d.weir("submit", "--shell", "x", "--token-file", reader, status=1)
        self.assertIn("Forbidden", done.err)
        done = d.weir("config", "show", "--token-file", path, status=0)
        for args, env, says, status in (
                (["--api", "http://192.0.2.1:1"], {"WEIR_API_TOKEN": secret}, "for everybody to read", 2),
                ([], {"WEIR_API_TOKEN": secret + "\nX: y"}, "one word", 2), ([], {"WEIR_API_TOKEN": secret + "x"}, "Unauthorized", 1),
                (["--token-file", "/no/such"], None, "/no/such cannot be read", 2),
                (["--token-file", os.devnull], None, "there is no token in it", 2)):
            done = d.weir("status", *args, env=env, status=status)
            self.assertIn(says, done.err)
            self.assertNotIn("sekrit", done.out + done.err)

    def test_a_token_goes_in_clear_to_this_machine_alone(self):
        d = self.daemon(start=False)
        port = free_port()
        secret = {"WEIR_API_TOKEN": "sekrit-0123456789abcdef"}
        for host in ("localhost.example.invalid", "localhostess.invalid", "127.example.invalid", "127.0.0.1.example.invalid",
                     "127.0.0.256", "127.1", "128.0.0.1", "[::1].example.invalid", "[::2]", "[::1", "[", "1.2.3.4"):
            done = d.weir("status", "--api", f"http://{host}:{port}", env=secret, status=2)
            self.assertIn("for everybody to read", done.err, host)
        for host in ("localhost", "LOCALHOST", "127.0.0.1", "127.255.255.254", "[::1]"):
            for rest in ("", "/"):
                done = d.weir("status", "--api", f"http://{host}:{port}{rest}", env=secret, status=1)
                self.assertIn("no daemon answers", done.err, host)
        done = d.weir("status", "--api", "http://localhost.example.invalid", status=1)
        self.assertIn("no daemon answers", done.err)  # no token, no harm

    def test_config(self):
        d = self.daemon({**CONFIG, "log": {"level": "info"}})
        self.assertRegex(d.weir("config", "show", status=0).out, r"(?m)^  - name: sh\n")
        self.assertIn("config", d.weir("config", "show", "--json").json)
        self.assertEqual(d.weir("config", "check", d.config_path, env={"WEIR_API": "unix:/nowhere"}, status=0).out,
                         f"{d.config_path} is good: 2 pools\n")
        one = self.write("one.yml", "pools: [{name: sh, kind: command}]\n")
        for args in (["config", "check", one], ["serve", "--check", "-c", one]):
            self.assertEqual(d.weir(*args, status=0).out, f"{one} is good: 1 pool\n")
        bad = self.write("bad.yml", "pools:\n  - {name: x, kind: command, max_concurency: 3}\n")
        done = d.weir("config", "check", bad, status=2)
        self.assertIn(f"{bad}:2: pools[0].max_concurency: there is no such field; did you mean max_concurrency?", done.err)
        for path, says in ((self.path("nofile"), f"cannot open {self.path('nofile')}: No such file"), (self.dir, "directory"),
                           (self.write("large.yml", "#" * (20 << 20)), "is larger than")):
            for args in (["config", "check", path], ["serve", "--check", "-c", path], ["serve", "-c", path]):
                self.assertIn(says, d.weir(*args, status=2).err)
        self.assertEqual(d.weir("config", "reload", status=0).out, "nothing has changed\n")
        d.configure({**CONFIG, "policy": "skill"})
        self.assertIn("policy", d.weir("config", "reload", status=0).out)
        self.assertEqual(d.get("/v1/status")["policy"], "skill")
        d.configure({**CONFIG, "polcy": "priority"})
        self.assertIn("polcy", d.weir("config", "reload", status=2).err)

    def test_shutdown(self):
        d = self.daemon(CONFIG)
        d.submit({"payload": {"shell": "exec sleep 600"}})
        wait_until(lambda: d.get("/v1/status")["running"] == 1, 30, "it to run")
        self.assertIn("give one of them", d.weir("shutdown", "--now", "--grace", "3s", status=2).err)
        self.assertEqual(d.weir("shutdown", "--grace", "50ms", "--wait", status=0).out, "stopping\nstopped\n")
        self.assertEqual(d.wait_end(), 0)


class Completion(Shared):
    def bash(self, *words):
        """What bash offers for the last of the words."""
        script = ". <(\"$WEIR\" completion bash); COMP_WORDS=(\"$@\"); COMP_CWORD=$(($# - 1)); _weir; " \
                 "printf '%s\\n' \"${COMPREPLY[@]}\""
        done = subprocess.run(["bash", "--norc", "-c", script, "bash", WEIR, *words], capture_output=True, text=True,
                              env={**self.d.weir_env(), "WEIR": WEIR}, timeout=60 * SLOWNESS)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return done.stdout.split()

    def test_bash(self):
        self.assertEqual(self.bash("ta"), ["task"])
        self.assertIn("serve", self.bash(""))
        self.assertEqual(self.bash("task", "re"), ["retry", "resolve"])
        self.assertEqual(self.bash("worker", "ch"), ["check"])
        self.assertEqual(self.bash("help", "sim"), ["simulate"])
        self.assertEqual(self.bash("task", "list", "--sk"), ["--skill"])
        self.assertEqual(self.bash("submit", "--pool", "s"), ["sh", "spare"])
        self.assertEqual(self.bash("submit", "--pool", "=", "sp"), ["spare"])
        self.assertEqual(self.bash("submit", "--on-dependency-failure", ""), ["fail", "run"])
        self.assertEqual(self.bash("pool", "show", "sp"), ["spare"])
        number = self.held()
        self.assertIn(str(number), self.bash("task", "show", ""))
        self.assertIn("--template", self.bash("run", "--t"))
        self.assertIn("--config", self.bash("serve", "--c"))
        self.assertEqual(self.bash("task", "list", "--limit", ""), [])
        path = self.write("some file.jsonl", "")
        self.assertIn(os.path.basename(path).split()[0], " ".join(self.bash("submit", "--lines", self.dir + "/so")))

    def test_bash_offers_every_option_of_every_verb(self):
        for command, verb in all_verbs():
            offered = re.findall(r"^ +(?:-., )?--([a-z-]+)", self.weir(command, *verb, "--help").out, re.M)
            self.assertEqual(sorted(self.bash(command, *verb, "--")), sorted("--" + name for name in offered), (command, verb))

    @unittest.skipUnless(shutil.which("zsh"), "there is no zsh")
    def test_zsh(self):
        folder = os.path.join(self.dir, "functions")
        os.mkdir(folder)
        with open(os.path.join(folder, "_weir"), "w", encoding="utf-8") as f:
            f.write(self.weir("completion", "zsh", status=0).out)
        held = str(self.held())
        for typed, expected in (("ta", "task"), ("task resol", "task resolve"), ("submit --poo", "submit --pool"),
                                ("pool show spa", "pool show spare"), ("submit --pool=spa", "submit --pool=spare"),
                                ("submit --on-dependency-failure f", "submit --on-dependency-failure fail"),
                                ("help simu", "help simulate"), ("run --templ", "run --template"),
                                ("task cancel " + held, "task cancel " + held)):
            self.assertEqual(self.zsh(folder, typed), "weir " + expected)

    def zsh(self, folder, typed):
        """The line that zsh makes of what was typed, and a tab."""
        script = os.path.join(self.dir, "complete.zsh")
        with open(script, "w", encoding="utf-8") as f:
            f.write("""
zmodload zsh/zpty
zpty z zsh -f -i
r() { zpty -w z "$1"; }
r "PS1= RPS1= ; fpath=($1 \\$fpath); autoload -Uz compinit; compinit -D -u; path=($2 \\$path)"
r "show() { print -r -- \\$L\\"<\\$BUFFER>>\\"; exit }; L='<'; zle -N show; bindkey '^X' show; print READY"
zpty -m z '*READY*READY*' >/dev/null 2>&1
zpty -w -n z "weir $3"$'\\t'
zpty -w -n z $'\\x18'
local out all=
while zpty -r z out; do all+=$out; [[ $all == *'<<'*'>>'* ]] && break; done
print -r -- ${${all##*<<}%%>>*}
""")
        env = {**self.d.weir_env(), "TERM": "dumb", "HOME": self.dir, "ZDOTDIR": self.dir}
        done = subprocess.run(["zsh", "-f", script, folder, os.path.dirname(WEIR), typed], capture_output=True, text=True,
                              env=env, timeout=60 * SLOWNESS)
        return done.stdout.strip()

    def test_names_that_are_asked_for(self):
        self.assertEqual(self.weir("completion", "names", "pools", status=0).out, "sh\nspare\n")
        self.refused("completion", "names", "birds", says='"birds" is none of pools')
        self.assertEqual(self.weir("completion", "names", "pools", env={"WEIR_API": "unix:/nowhere"}, status=1).out, "")


COMMANDS = ("submit", "task", "batch", "pool", "runner", "event", "status", "top", "report", "config", "shutdown", "completion")


def all_verbs():
    """("task", ["list"]), ..., ("status", "top", [])."""
    for command in COMMANDS:
        out = subprocess.run([WEIR, command, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
        if out.startswith(f"Usage: weir {command} COMMAND"):
            for verb in re.findall(r"(?m)^  ([a-z-]+) ", out):
                yield command, [verb]
        else:
            yield command, []


class ManPage(ServeCase):
    COMMON = ["api", "token-file", "json", "utc", "help"]

    def documented(self, text):
        return [name.replace("\\", "") for name in re.findall(r"^(?:\\fB\\-.\\fR, )?\\fB\\-\\-([a-z\\-]+)\\fR", text, re.M)]

    def offered(self, *words):
        out = subprocess.run([WEIR, *words, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
        return re.findall(r"^ +(?:-., )?--([a-z-]+)", out, re.M)

    def test_the_man_page_has_every_option_and_no_other(self):
        with open(os.path.join(ROOT, "docs", "weir.1"), encoding="utf-8") as f:
            page = f.read()
        common = re.search(r'\.SS "What all of them take"\n(.*?)\n\.S[SH] ', page, re.S)[1]
        self.assertEqual(self.documented(common), self.COMMON)
        for command, verb in all_verbs():
            name = " ".join(["weir", command, *verb])
            section = re.search(rf'\.SS "{name}"\n(.*?)\n\.S[SH] ', page, re.S)
            self.assertIsNotNone(section, name)
            own = [o for o in self.offered(command, *verb) if o not in self.COMMON]
            self.assertEqual(self.documented(section[1]), own, name)
        serve = re.search(r'\.SH "WEIR SERVE"\n(.*?)\n\.SH ', page, re.S)[1]
        self.assertEqual(self.documented(serve), self.offered("serve"))

    def test_no_help_has_holes(self):
        for command, verb in [("serve", []), *all_verbs()]:
            out = subprocess.run([WEIR, command, *verb, "--help"], capture_output=True, text=True, timeout=30, check=True).stdout
            self.assertNotIn("null", out)
            self.assertEqual([line for line in out.splitlines() if len(line) > 100], [])


if __name__ == "__main__":
    unittest.main()
