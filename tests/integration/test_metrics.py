"""The metrics of `weir serve`: what promtool says to them, that they agree with the record, and that the board, the alerts and
docs/operating.md speak of those that there are.

run-tests: waits
run-tests: timeout=300
"""
import collections
import json
import os
import re
import shutil
import signal
import subprocess
import time
import unittest

import yaml

try:
    from prometheus_client.openmetrics import parser as theirs
except ImportError:
    theirs = None

from servekit import ServeCase
from weirtest import ROOT, WEIR, wait_until
from workerkit import bad_worker

PROMTOOL = shutil.which("promtool")
BOARD = os.path.join(ROOT, "examples/grafana/weir.json")
ALERTS = os.path.join(ROOT, "examples/prometheus/alerts.yml")
PROMETHEUS = os.path.join(ROOT, "examples/prometheus/prometheus.yml")
OPERATING = os.path.join(ROOT, "docs/operating.md")
UPPER = os.path.join(ROOT, "examples/workers/upper.sh")
NAME = re.compile(r"\bweir_[a-z_]+\b")
SAMPLE = re.compile(r'([a-zA-Z_:][a-zA-Z0-9_:]*)(?:\{((?:[a-z_]+="(?:\\.|[^"\\])*",?)*)\})? (\S+)$')
CONFIG = {
    "max_global_concurrency": 8, "default_pool": "sh",
    "pools": [
        {"name": "sh", "kind": "command", "max_concurrency": 6, "max_attempts": 2, "skills": ["odd\"name\\"],
         "capacity_exits": [75], "kill_after": "1s", "cpu": 4, "memory": "1GiB",
         "backoff": {"initial": "10ms", "ceiling": "20ms"}},
        {"name": "upper", "kind": "process", "process": [UPPER], "max_concurrency": 2, "max_attempts": 1},
        {"name": "service", "kind": "http", "allow_any_url": True, "max_concurrency": 2, "max_attempts": 1,
         "breaker": {"mode": "on", "failures": 3, "open": "60s"}}]}
OUTCOME_OF = {"runner.completed": "ok", "runner.failed": "failed", "runner.timeout": "timeout", "runner.lost": "lost",
              "runner.cancelled": "cancelled", "runner.capacity": "capacity"}


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def parse(text):
    """{(name, labels): value}, and {family: type}; AssertionError at the first line that is not what the format says."""
    values, types, family = {}, {}, None
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, family, kind = line.split(" ")
            assert family not in types, f"{family} twice"
            types[family] = kind
        elif line.startswith("# HELP "):
            assert len(line.split(" ", 3)) == 4, line
        elif line != "# EOF":
            match = SAMPLE.fullmatch(line)
            assert match, f"not a sample: {line}"
            name, labels, value = match.groups()
            assert name.startswith(family), f"{name} stands among the values of {family}"
            key = (name, tuple(sorted(re.findall(r'([a-z_]+)="((?:\\.|[^"\\])*)"', labels or ""))))
            assert key not in values, f"{line} twice"
            values[key] = float(value)
    return values, types


def total(values, name, **labels):
    return sum(v for (n, have), v in values.items() if n == name and set(labels.items()) <= set(have))


def family_of(name, types):
    """What a name in an expression belongs to."""
    base = re.sub(r"_(bucket|sum|count)$", "", name)
    return name if name in types else base if types.get(base) == "histogram" else None


class Examples(unittest.TestCase):
    """What needs no daemon."""

    def board(self):
        return json.loads(read(BOARD))

    def test_the_board_is_sound(self):
        board = self.board()
        panels = board["panels"]
        self.assertEqual(len({p["id"] for p in panels}), len(panels))
        self.assertIn("datasource", [v["type"] for v in board["templating"]["list"]])
        variables = {v["name"] for v in board["templating"]["list"]}
        taken = set()
        for panel in panels:
            at = panel["gridPos"]
            self.assertLessEqual(at["x"] + at["w"], 24, panel["title"])
            for cell in ((x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])):
                self.assertNotIn(cell, taken, panel["title"])
                taken.add(cell)
            if panel["type"] == "row":
                continue
            self.assertEqual(panel["datasource"], {"type": "prometheus", "uid": "${datasource}"})
            self.assertTrue(panel["title"] and panel["targets"])
            for target in panel["targets"]:
                used = set(re.findall(r"\$(\w+)", target["expr"])) - {"__rate_interval"}
                self.assertLessEqual(used, variables, target["expr"])

    @unittest.skipUnless(PROMTOOL, "prometheus is not installed")
    def test_promtool_reads_every_expression(self):
        rules = [{"record": f"panel:{i}", "expr": re.sub(r"\$\w+", ".*", t["expr"].replace("$__rate_interval", "5m"))}
                 for i, t in enumerate(t for p in self.board()["panels"] for t in p.get("targets", []))]
        self.assertGreater(len(rules), 50)
        self.promtool("check", "rules", stdin=yaml.safe_dump({"groups": [{"name": "board", "rules": rules}]}))
        self.promtool("check", "rules", ALERTS)
        self.promtool("check", "config", PROMETHEUS)

    def promtool(self, *args, stdin=None):
        if stdin is not None:
            args = (*args, "/dev/stdin")
        done = subprocess.run([PROMTOOL, *args], input=stdin, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return done

    @unittest.skipUnless(PROMTOOL, "prometheus is not installed")
    def test_alerts_fire_when_they_should_and_not_before(self):
        self.promtool("test", "rules", os.path.join(ROOT, "tests/support/alerts_test.yml"))

    def test_every_alert_says_what_to_do(self):
        text = read(OPERATING)
        alerts = [r for g in yaml.safe_load(read(ALERTS))["groups"] for r in g["rules"]]
        for alert in alerts:
            self.assertIn(alert["labels"]["severity"], ("page", "ticket"))
            self.assertGreater(len(alert["annotations"]["description"]), 40, alert["alert"])
            self.assertIn(f"| `{alert['alert']}` |", text, "docs/operating.md")
        self.assertEqual(set(re.findall(r"^\| `(Weir\w+)` \|", text, re.M)), {a["alert"] for a in alerts})


    def test_the_manual_names_every_reason_to_wait(self):
        def source(path):
            return read(os.path.join(ROOT, path))
        names = source("src/core/permits.c").split("const char *permit_block_name")[1].split("};")[0]
        words = set(re.findall(r'\[PERMIT_(?!FREE)\w+\]\s*=\s*"(\w+)"', names))
        words |= set(re.findall(r'\[SCHEDULE_(?!LIMIT)\w+\]\s*=\s*\{"(\w+)"', source("src/serve/daemon/views.c")))
        for line in re.findall(r"ret->why = ([^;]*);", source("src/serve/api/tasks.c")):
            words |= set(re.findall(r'"(\w+)"', line))
        self.assertGreater(len(words), 12)
        table = read(OPERATING).split("| why | do |")[1].split("\n\n")[0]
        cells = [line.split("|")[1] for line in table.splitlines() if "|" in line]
        self.assertEqual(set(re.findall(r"`([a-z_]+)`", "\n".join(cells))), words)

    def test_commands_that_are_named_are_there(self):
        texts = read(OPERATING) + "".join(r["annotations"]["description"] for g in yaml.safe_load(read(ALERTS))["groups"]
                                          for r in g["rules"])
        found = set(re.findall(r"(?:`|^    )weir ([a-z]+(?: [a-z-]+)?)([^`#\n]*)", texts, re.M))
        self.assertGreater(len(found), 20)
        helps = {}
        for words, rest in sorted(found):
            args = words.split()
            if args[0] == "version" or (len(args) > 1 and args[0] in ("serve", "status", "report", "shutdown")):
                args = args[:1]
            if tuple(args) not in helps:
                done = subprocess.run([WEIR, *args, "--help"], capture_output=True, text=True, timeout=20)
                self.assertEqual(done.returncode, 0, f"weir {words}: {done.stderr}")
                helps[tuple(args)] = done.stdout
            for option in re.findall(r"--[a-z-]+", rest):
                self.assertIn(option, helps[tuple(args)], f"weir {words}{rest}")


@unittest.skipUnless(PROMTOOL, "prometheus is not installed")
class Metrics(ServeCase):
    def metrics(self, d, accept="text/plain"):
        status, headers, body = d.request("GET", "/metrics", headers={"Accept": accept})
        self.assertEqual(status, 200, body)
        return headers["Content-Type"], body.decode()

    def load(self, d):
        """One or more of every way in which an attempt and a task can end."""
        ids = []
        shell = [("true", 20, {}), ("exit 1", 4, {}), ("exit 75", 1, {"deadline": "+1s"}),
                 ("sleep 600", 2, {"timeout": "200ms", "max_attempts": 1}), ("kill -9 $$", 1, {})]
        for script, count, more in shell:
            ids += d.submit([{"payload": {"shell": script}, "resources": {"cpu": 0.5, "memory": "1MiB"}, **more}] * count)
        ids += d.submit([{"pool": "upper", "session": f"s{i % 2}", "payload": {"text": "a"}} for i in range(10)])
        ids += d.submit([{"pool": "service", "payload": {"url": "http://127.0.0.1:1/"}}] * 3)
        fails_first = d.submit({"payload": {"shell": f"mkdir {self.path('once')}"}})
        first = d.submit({"payload": {"shell": "exit 3"}, "max_attempts": 1})
        ids += [fails_first, first, d.submit({"payload": {"shell": "true"}, "after": [first]})]
        running = d.submit({"payload": {"shell": "exec sleep 600"}})
        d.wait_task(running, "running")
        d.api("POST", f"/v1/tasks/{running}/cancel")
        waiting = d.submit({"payload": {"shell": "true"}, "not_before": "+1h"})
        d.api("POST", f"/v1/tasks/{waiting}/cancel")
        for task in [*ids, running, waiting]:
            d.wait_task(task, deadline_s=60)

    def events(self, d):
        found, after = [], 0
        while True:
            page = d.get(f"/v1/events?limit=1000&after={after}")
            found += page["events"]
            if page["next"] is None:
                return found
            after = page["next"]

    def test_counters_agree_with_the_record(self):
        d = self.daemon(CONFIG)
        before = time.time()
        self.load(d)
        d.submit({"skill": "odd\"name\\", "payload": {"shell": "true"}, "not_before": "+1h"})
        values, types = parse(self.metrics(d)[1])
        kinds = collections.Counter((e["kind"], e.get("pool")) for e in self.events(d))
        count = collections.Counter(e["kind"] for e in self.events(d))
        for kind, outcome in OUTCOME_OF.items():
            for pool in ("sh", "upper", "service"):
                self.assertEqual(total(values, "weir_attempts_total", outcome=outcome, pool=pool), kinds[(kind, pool)],
                                 (kind, pool, count))
        for kind in ("runner.completed", "runner.failed", "runner.timeout", "runner.cancelled", "runner.capacity"):
            self.assertGreater(count[kind], 0, "the load has none of these")
        self.assertEqual(total(values, "weir_attempts_started_total"), count["task.assigned"])
        self.assertEqual(total(values, "weir_wait_seconds_count"), count["task.assigned"])
        self.assertEqual(total(values, "weir_run_seconds_count"), sum(count[k] for k in OUTCOME_OF))
        self.assertEqual(total(values, "weir_tasks_ended_total", state="done"), count["task.done"])
        by_attempt = [e for e in self.events(d) if e["kind"] == "task.failed" and e.get("attempt")]
        self.assertEqual(total(values, "weir_tasks_ended_total", state="failed"), len(by_attempt))
        self.assertEqual(total(values, "weir_task_retries_total"), len([e for e in self.events(d)
                         if e["kind"] == "task.retry_scheduled"]))
        self.assertEqual(total(values, "weir_capacity_retries_total"), count["runner.capacity"])
        self.assertEqual(total(values, "weir_breaker_opened_total"), count["breaker.opened"])
        self.assertEqual(total(values, "weir_breaker_state", pool="service", state="open"), 1)
        self.assertEqual(total(values, "weir_session_misses_total") + total(values, "weir_session_hits_total"), 10)
        self.assertEqual(total(values, "weir_workers", pool="upper"), 2)
        status = d.get("/v1/status")
        for state, n in status["tasks"].items():
            self.assertEqual(total(values, "weir_tasks", state=state), n, state)
        self.assertEqual(total(values, "weir_tasks", state="scheduled", skill='odd\\"name\\\\'), 1)
        self.assertEqual(total(values, "weir_events_written_total"), status["last_event"])
        self.assertEqual(total(values, "weir_running"), 0)
        # A time of today, to the second at least.
        started = max(e["at"] for e in self.events(d) if e["kind"] == "task.assigned")
        self.assertAlmostEqual(total(values, "weir_last_start_timestamp_seconds"), seconds(started), delta=1)
        self.assertLess(abs(total(values, "weir_start_timestamp_seconds") - before), 30)
        self.assertEqual(types["weir_wait_seconds"], "histogram")

    def test_names_that_nobody_configured_have_one_value_together(self):
        d = self.daemon(CONFIG)
        d.submit([{"pool": f"p{n}", "payload": 1} for n in range(50)] + [{"skill": f"s{n}", "payload": 1} for n in range(50)]
                 + [{"skill": "sh", "payload": 1}, {"pool": "odd\"name\\", "payload": 1}, {"pool": "other", "payload": 1}])
        later = {"payload": {"shell": "true"}, "not_before": "+1h"}
        d.submit([{"skill": "odd\"name\\", **later}, {"pool": "sh", **later}, later])
        for accept in ("text/plain", "application/openmetrics-text"):
            values, _ = parse(self.metrics(d, accept)[1])
            tasks = {labels: value for (name, labels), value in values.items() if name == "weir_tasks" and value}
            # Those of a skill that nobody offers are the default pool's, and may have failed by now.
            others = {labels: tasks.pop(labels) for labels in list(tasks) if ("other", "true") in labels}
            self.assertEqual({labels[:3] for labels in others}, {(("other", "true"), ("pool", ""), ("skill", ""))})
            self.assertEqual(sum(others.values()), 103)
            self.assertEqual(tasks, {(("pool", pool), ("skill", skill), ("state", "scheduled")): 1
                                     for pool, skill in (("", ""), ("sh", ""), ("", 'odd\\"name\\\\'))})
            self.assertLess(sum(name == "weir_tasks" for name, _ in values), 40)

    def wait_sessions(self, d, **counts):
        """Until the metrics and the API have these of the pool w."""
        names = {"bound": "weir_sessions_bound", **{n: f"weir_session_{n}_total" for n in
                                                    ("hits", "misses", "rebinds", "expiries")}}
        seen = []

        def is_so():
            values, _ = parse(self.metrics(d)[1])
            seen[:] = [d.get("/v1/pools/w")["sessions"], {n: total(values, m, pool="w") for n, m in names.items()}]
            return seen == [counts, counts]
        try:
            wait_until(is_so, 30, "these sessions")
        except AssertionError as fault:
            raise AssertionError(f"{fault}: {seen}, not {counts}") from None

    def test_sessions_that_end_and_begin_anew_are_counted(self):
        def config(idle, n=0):
            return {"pools": [{"name": "w", "kind": "process", "process": bad_worker(), "max_concurrency": 1,
                               "restart": {"initial": "10ms", "ceiling": "20ms"}, "session_idle": idle,
                               "env": {"N": str(n)}}]}

        def run(*names):
            for session in names:
                d.wait_task(d.submit({"payload": 1, "session": session}), "done", deadline_s=60)
        d = self.daemon(config("1h"))
        run("a", "a", "b", "a")
        os.kill(d.get("/v1/pools/w/workers")[0]["pid"], signal.SIGKILL)
        self.wait_sessions(d, bound=0, hits=2, misses=2, rebinds=0, expiries=0)
        run("a", "b", "a")
        self.wait_sessions(d, bound=2, hits=3, misses=2, rebinds=2, expiries=0)
        # They go on counting in the pool that replaces it, which begins without a session.
        for n, idle in enumerate(("1h", "50ms")):
            d.configure(config(idle, n + 1))
            self.assertEqual(d.api("POST", "/v1/config/reload", {})[0], 200)
            self.wait_sessions(d, bound=0, hits=3, misses=2, rebinds=2, expiries=0)
        run("c")
        self.wait_sessions(d, bound=0, hits=3, misses=3, rebinds=2, expiries=1)
        run("c")
        self.wait_sessions(d, bound=0, hits=3, misses=3, rebinds=3, expiries=2)

    def test_promtool_has_nothing_to_say_under_load(self):
        d = self.daemon(CONFIG)
        ids = d.submit([{"payload": {"shell": "true"}}] * 300)
        seen = []
        wait_until(lambda: seen.append(self.metrics(d)[1]) or d.task(ids[-1])["state"] == "done", 60, "the load")
        self.assertGreater(len(seen), 2)
        for text in (seen[0], seen[len(seen) // 2], seen[-1]):
            done = subprocess.run([PROMTOOL, "check", "metrics"], input=text, capture_output=True, text=True, timeout=60)
            self.assertEqual((done.returncode, done.stdout, done.stderr), (0, "", ""))
        # Counters never go back.
        _, types = parse(seen[0])
        for old, new in zip(seen, seen[1:]):
            old, new = parse(old)[0], parse(new)[0]
            for key, value in old.items():
                if key[0].endswith(("_total", "_count", "_sum", "_bucket")):
                    self.assertGreaterEqual(new[key], value, key)

    def test_lag_is_seen_by_whoever_looks(self):
        d = self.daemon(CONFIG)
        def lag():
            d.get("/v1/status")  # the web page looks, too
            return total(parse(self.metrics(d)[1])[0], "weir_loop_lag_seconds")
        # Nothing is due but what may come at any time.
        d.wait_task(d.submit({"payload": {"shell": "true"}}))
        end = time.monotonic() + 4
        d.signal(signal.SIGSTOP)
        wait_until(lambda: time.monotonic() > end, 10, "four seconds")
        d.signal(signal.SIGCONT)
        wait_until(lambda: lag() > 1, 20, "the lag")
        for _ in range(3):
            self.assertGreater(lag(), 1)

    def test_openmetrics(self):
        d = self.daemon(CONFIG)
        d.wait_task(d.submit({"payload": {"shell": "true"}}))
        kind, text = self.metrics(d, "application/openmetrics-text; version=1.0.0")
        self.assertTrue(kind.startswith("application/openmetrics-text; version=1.0.0"), kind)
        self.assertTrue(text.endswith("\n# EOF\n"))
        self.assertEqual(text.count("# EOF"), 1)
        values, types = parse(text)
        if theirs:  # python3-prometheus-client: the reference's own reader
            self.assertEqual({f.name for f in theirs.text_string_to_metric_families(text)}, set(types))
        plain, plain_types = parse(self.metrics(d)[1])
        self.assertEqual(set(values), set(plain))
        for family, kind in types.items():
            self.assertFalse(family.endswith("_total"), family)
            self.assertEqual(plain_types[family + "_total" if kind == "counter" else family], kind)
        for (name, labels), _ in values.items():
            if name.endswith("_bucket"):
                self.assertIn("le", dict(labels))

    def test_board_alerts_and_manual_speak_of_what_there_is(self):
        d = self.daemon(CONFIG)
        _, types = parse(self.metrics(d)[1])
        for path in (BOARD, ALERTS, OPERATING):
            named = {name for name in NAME.findall(read(path)) if not name.endswith("_")}
            self.assertEqual([n for n in sorted(named) if not family_of(n, types)], [], path)
            self.assertGreater(len(named), 5, path)
        in_table = re.findall(r"^\| `(weir_[a-z_]+)", read(OPERATING), re.M)
        self.assertEqual(len(in_table), len(set(in_table)))
        self.assertEqual(set(in_table), set(types))
        on_board = {family_of(n, types) for n in NAME.findall(read(BOARD))}
        self.assertEqual(sorted(set(types) - on_board), [])


def seconds(iso):
    import datetime
    return datetime.datetime.fromisoformat(iso.replace("Z", "+00:00")).timestamp()


if __name__ == "__main__":
    unittest.main()
