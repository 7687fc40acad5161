"""weir simulate: what it predicts, and that it takes every option that it has.

run-tests: waits
run-tests: sanitizers
"""
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
import unittest
import xml.etree.ElementTree as xml

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from simkit import predict, simulate  # noqa: E402
from weirtest import ROOT, SLOWNESS, WEIR, Case, wait_until  # noqa: E402

SERVICES = os.path.join(ROOT, "examples", "services")
S1 = os.path.join(SERVICES, "s1.yml")
SVG = "{http://www.w3.org/2000/svg}"
# A service that refuses, fails, tells its budget and costs tokens: there each flow option has something to do.
BUSY = ["--service-rate", "20..60", "--phase", "5s", "--latency", "lognormal:500ms,0.4", "--refusal-latency", "30ms",
        "--fail-rate", "0.1", "--row-tokens", "uniform:50..150", "--rows", "600", "-j", "32"]


class Predictions(Case):
    def test_a_hundred_thousand_rows_of_hours_take_seconds(self):
        began = time.monotonic()
        run = predict("--service", S1, "--rows", 100000, "-j", 64)
        print(f"100,000 rows, {run['duration_seconds'] / 3600:.1f} h of virtual time: "
              f"{time.monotonic() - began:.1f} s", file=sys.stderr)
        self.assertEqual(run["end"], "rows")
        self.assertEqual(run["rows"], 100000)
        self.assertEqual(run["failures"], 0)
        # 5 to 20 requests a second.
        self.assertTrue(100000 / 20 < run["duration_seconds"] < 100000 / 4)

    def test_books_balance(self):
        for throttle in ("aimd", "adaptive", "none"):
            run = predict(*BUSY, "--throttle", throttle, "--price", "2/Mtok,0.5/request")
            self.assertEqual(run["sent"], run["accepted"] + run["refused"])
            self.assertAlmostEqual(run["refused_share"], run["refused"] / run["sent"], places=5)
            self.assertEqual(run["refused_by_status"], {"429": run["refused"]})
            self.assertEqual(sum(run["failures_by_reason"].values()), run["failures"])
            self.assertEqual(sum(run["throttle_changes_by_reason"].values()), run["throttle_changes"])
            self.assertEqual(run["rows"], 600)
            self.assertAlmostEqual(run["cost"], 2 * run["tokens"] / 1e6 + run["accepted"] / 2, places=4)
            self.assertTrue(run["completion_p50_seconds"] <= run["completion_p90_seconds"]
                            <= run["completion_p99_seconds"] <= run["completion_max_seconds"])

    def test_the_oracle_wastes_nothing(self):
        run = predict("--service", S1, "--duration", "300s", "--compare", "oracle")
        self.assertEqual(run["refused"], 0)
        self.assertAlmostEqual(run["goodput"], 1, delta=0.01)

    def test_a_known_service_takes_as_long_as_it_must(self):
        # 1,000 rows at 10 a second, the first at once; then the last answer.
        run = predict("--rate", 10, "--latency", "1s", "--rows", 1000, "-j", 64)
        self.assertAlmostEqual(run["duration_seconds"], 999 / 10 + 1, delta=1)
        # 8 places of 2 s each.
        run = predict("--latency", "2s", "--rows", 80, "--throttle", "none")
        self.assertAlmostEqual(run["duration_seconds"], 80 / 8 * 2, delta=0.01)
        self.assertIsNone(run["goodput"])

    def test_every_service_that_ships_can_be_simulated(self):
        files = sorted(os.listdir(SERVICES))
        self.assertEqual(len(files), 14)
        for name in files:
            run = predict("--service", os.path.join(SERVICES, name), "--duration", "60s", "--throttle", "aimd")
            self.assertEqual(run["end"], "time", name)
            self.assertGreater(run["accepted"], 0, name)


class Same(Case):
    def test_the_same_seed_gives_the_same_bytes(self):
        said = []
        for turn in ("a", "b"):
            plot, events = self.path(turn + ".svg"), self.path(turn + ".jsonl")
            out = simulate(*BUSY, "--plot", plot, "--events", events, "--json").stdout
            with open(plot, "rb") as p, open(events, "rb") as e:
                said.append((out, p.read(), e.read()))
        self.assertEqual(said[0], said[1])
        self.assertGreater(len(said[0][2]), 0)

    def test_a_run_is_the_same_whether_it_is_drawn_or_not(self):
        args = [*BUSY, "--compare", "adaptive,aimd,oracle", "--json"]
        self.assertEqual(simulate(*args).stdout, simulate(*args, "--plot", self.path("x.svg")).stdout)

    def test_many_seeds_on_threads_are_the_single_ones(self):
        together = json.loads(simulate(*BUSY, "--seed", 5, "--seeds", 6, "--compare", "aimd,adaptive",
                                       "--json").stdout)
        for throttle in together["throttles"]:
            self.assertEqual([run["seed"] for run in throttle["runs"]], [5, 6, 7, 8, 9, 10])
            for run in throttle["runs"]:
                self.assertEqual(run, predict(*BUSY, "--seed", run["seed"], "--throttle", throttle["throttle"]))
            durations = sorted(run["duration_seconds"] for run in throttle["runs"])
            self.assertEqual(throttle["min"]["duration_seconds"], durations[0])
            self.assertEqual(throttle["max"]["duration_seconds"], durations[-1])
            self.assertAlmostEqual(throttle["median"]["duration_seconds"], sum(durations[2:4]) / 2, places=5)
        self.assertGreater(durations[-1], durations[0])


class FlowOptions(Case):
    """Each of them changes what comes out, in the direction that it should."""

    def both(self, *options, base=()):
        return predict(*BUSY, *base), predict(*BUSY, *base, *options)

    def test_limits_make_it_slower_and_keep_it_below_them(self):
        for options, per_second in ((["--rate", 8], 8), (["--rpm", 300], 5), (["--tpm", 40000], 40000 / 60 / 100),
                                    (["--min-dispatch-delay", "200ms"], 5)):
            before, after = self.both(*options)
            self.assertGreater(after["duration_seconds"], before["duration_seconds"], options)
            # A minute's budget may be spent at once in its beginning.
            allowance = 60 if options[0] in ("--rpm", "--tpm") else 1
            self.assertLessEqual(after["sent"], per_second * (after["duration_seconds"] + allowance) * 1.1, options)

    def test_jobs_are_the_most_in_flight(self):
        for jobs in (1, 5):
            self.assertEqual(predict(*BUSY, "-j", jobs)["in_flight_peak"], jobs)

    def test_retries(self):
        before, after = self.both("--retries", 0)
        self.assertGreater(after["failures"], 10 * max(1, before["failures"]))
        _, after = self.both("--retry-delay", "20s")
        self.assertGreater(after["completion_max_seconds"], before["completion_max_seconds"])

    def test_timeout_and_deadline(self):
        before, after = self.both("--timeout", "400ms")
        self.assertNotIn("timeout", before["failures_by_reason"])
        self.assertGreater(after["failures_by_reason"]["timeout"], 10)
        _, after = self.both("--deadline", "3s")
        self.assertGreater(after["failures_by_reason"]["deadline"], 100)
        self.assertLessEqual(after["duration_seconds"], 3.01)

    def test_halt(self):
        for how, rows in (("soon,fail=3", 600), ("now,done=20", 600)):
            run = predict(*BUSY, "--retries", 0, "--halt", how)
            self.assertEqual(run["end"], "halted", how)
            self.assertLess(run["rows"], rows, how)
        self.assertEqual(predict(*BUSY, "--halt", "soon,fail=599")["end"], "rows")

    def test_window(self):
        # With one slow row in front, the others that are held cannot go on for long.
        before, after = self.both("--window", 32, base=["--throttle", "aimd", "--latency", "lognormal:500ms,1.5"])
        self.assertGreater(after["duration_seconds"], 1.2 * before["duration_seconds"])

    def test_capacity_status(self):
        refuses = ["--refuse-with", 420]
        before, after = self.both("--capacity-status", 420, base=refuses)
        self.assertGreater(before["failures_by_reason"]["http_status"], 10)
        self.assertLess(after["failures"], 10)

    def test_retry_after_max_and_max_capacity_retry(self):
        told = ["--outage", "2s+30s", "--headers", "retry-after"]
        before, after = self.both("--retry-after-max", "1s", base=told)
        self.assertEqual(before["failures_by_reason"].get("retry_after_too_long", 0), 0)
        self.assertGreater(after["failures"], before["failures"])
        _, after = self.both("--max-capacity-retry", "5s", base=["--outage", "2s+30s"])
        self.assertGreater(after["failures"], 0)

    def test_pauses_that_the_service_asks_for_are_told(self):
        service = ["--service-rate", "10", "--burst", "10", "--latency", "200ms", "-j", "32", "--duration", "100s"]
        run = predict(*service, "--headers", "retry-after")
        self.assertGreater(run["pauses"], 0)
        # One second each and up to a tenth by chance; the last may end after the run.
        self.assertTrue(run["pauses"] <= run["paused_seconds"] <= 1.1 * run["pauses"] + 1, run["paused_seconds"])
        self.assertIn(b"pauses asked for", simulate(*service, "--headers", "retry-after").stdout)
        self.assertEqual(predict(*service)["pauses"], 0)
        self.assertNotIn(b"pauses", simulate(*service).stdout)

    def test_throttles_and_their_own_options(self):
        aimd = predict(*BUSY, "--throttle", "aimd")
        self.assertIn("refused", aimd["throttle_changes_by_reason"])
        for option in (["--backoff-multiplier", 8], ["--recovery-step", "5ms"], ["--max-dispatch-delay", "200ms"]):
            changed = predict(*BUSY, "--throttle", "aimd", *option)
            self.assertNotEqual(changed["duration_seconds"], aimd["duration_seconds"], option)
        little = predict(*BUSY, "--waste", "0.2%", "--rows", 5000)
        much = predict(*BUSY, "--waste", "15%", "--rows", 5000)
        self.assertLess(little["refused_share"], much["refused_share"])
        self.assertEqual(predict(*BUSY, "--throttle", "none")["throttle_changes"], 0)

    def test_clients_share_the_service(self):
        run = predict(*BUSY, "--clients", 4, "--throttle", "aimd", "--fail-rate", 0, "--rows", 200)
        self.assertEqual(run["rows"], 800)
        self.assertTrue(0.25 <= run["fairness"] <= 1)


class Plot(Case):
    def draw(self, *args):
        path = self.path("x.svg")
        simulate(*args, "--plot", path)
        with open(path, encoding="utf-8") as f:
            text = f.read()
        return text, xml.fromstring(text)

    def names(self, tree):
        return [t.text for t in tree.iter(SVG + "text") if t.get("class") == "name"]

    def test_it_is_valid_and_has_a_panel_for_each_throttle(self):
        text, tree = self.draw("--service", S1, "--duration", "200s", "--compare", "aimd,adaptive,oracle")
        self.assertEqual(tree.tag, SVG + "svg")
        self.assertEqual(self.names(tree), ["aimd", "adaptive", "oracle"])
        self.assertIn("prefers-color-scheme", text)
        self.assertNotRegex(text, r"\bnan\b|\binf\b")
        self.assertNotIn("http", text.replace("http://www.w3.org/2000/svg", ""))

    def test_a_long_run_makes_no_large_file(self):
        text, _ = self.draw("--service", S1, "--duration", "40h", "-j", 8, "--throttle", "aimd")
        self.assertLess(len(text), 150_000)
        self.assertIn("time in hours", text)

    def test_odd_names_do_not_break_it(self):
        odd = self.write("a<b>&\"c\xff.yml".encode("latin-1").decode("utf-8", "surrogateescape"),
                         "rate: 5\nrows: 20\n")
        _, tree = self.draw("--service", odd)
        self.assertIn("a<b>&\"c", tree.find(SVG + "title").text)

    def test_a_file_that_cannot_be_written_is_told_before_anything_runs(self):
        done = simulate("--service", S1, "--plot", self.path("no", "x.svg"), status=1)
        self.assertIn(b"--plot: cannot write", done.stderr)
        self.assertEqual(done.stdout, b"")


class Events(Case):
    def test_they_say_what_the_throttle_decided_and_nothing_else(self):
        path = self.path("events.jsonl")
        run = json.loads(simulate("--service", S1, "--duration", "300s", "--events", path,
                                  "--json").stdout)["throttles"][0]["runs"][0]
        with open(path, encoding="utf-8") as f:
            events = [json.loads(line) for line in f]
        self.assertEqual({e["event"] for e in events} - {"throttle.changed", "pool.held"}, set())
        self.assertEqual(sum(e["event"] == "throttle.changed" for e in events), run["throttle_changes"])
        self.assertTrue(all(e["time"].startswith("2026-01-01T00:0") for e in events))
        self.assertEqual([e["time"] for e in events], sorted(e["time"] for e in events))


class Telling(Case):
    def test_the_table_has_a_column_for_each_throttle(self):
        text = simulate("--service", S1, "--rows", 200, "--compare", "aimd,none", "--seeds", 3).stdout.decode()
        self.assertRegex(text, r"^s1.yml: 200 rows, 128 in flight, 3 seeds: the median")
        self.assertRegex(text, r"(?m)^ +aimd +none$")
        self.assertRegex(text, r"(?m)^  duration +\S+.*\(.* \.\. .*\).*\(.* \.\. .*\)$")

    def test_json_names_are_documented(self):
        with open(os.path.join(ROOT, "docs", "simulate.md"), encoding="utf-8") as f:
            section = f.read().split("\n## JSON\n")[1].split("\n## ")[0]
        prefixes = {"completion_p90_seconds", "completion_p99_seconds", "completion_max_seconds",
                    "ordering_p99_seconds", "ordering_max_seconds"}  # written as "..._p90_..."
        whole = json.loads(simulate(*BUSY, "--json").stdout)
        names = set(whole) | set(whole["throttles"][0]) | set(whole["throttles"][0]["runs"][0])
        for name in names - prefixes:
            self.assertRegex(section, rf"[`\"]{name}[`\"]")

    def test_errors_name_the_place_and_exit_2(self):
        wrong = self.write("wrong.yml", "rate: 5\nlatncy: 1s\n")
        for args, says in (([], "--service is missing"),
                           (["--service", wrong, "--rows", "5"], "wrong.yml:2: there is no key \"latncy\"; did you mean"),
                           (["--service", S1, "--rate", "5..20"], "--service-rate")):
            done = simulate(*args, status=2)
            self.assertIn(says, done.stderr.decode())
            self.assertRegex(done.stderr.decode(), r"\Aweir simulate: [^\n]*\n\Z")
            self.assertEqual(done.stdout, b"")

    def test_no_file_is_written_over_another(self):
        with open(S1, encoding="ascii") as s1:
            text = s1.read()
        service = self.write("service.yml", text)
        link = self.path("link.svg")
        os.symlink(service, link)
        for args in (["--plot", service], ["--events", service], ["--plot", link],
                     ["--plot", self.path("both"), "--events", self.path("both")],
                     ["--plot", "-"], ["--events", "-"]):
            done = simulate("--service", service, "--rows", 50, *args, status=2)
            self.assertIn(b"give another name" if args[-1] != "-" else b"a file of its own", done.stderr)
            with open(service, encoding="ascii") as s:
                self.assertEqual(s.read(), text)
        self.assertFalse(os.path.exists(self.path("both")))
        # Devices can be both.
        simulate("--service", service, "--rows", 50, "--plot", "/dev/null", "--events", "/dev/null")

    def test_output_that_cannot_be_written_is_a_failure(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([WEIR, "simulate", "--service", S1, "--rows", "5"], stdout=full,
                                  stderr=subprocess.PIPE, timeout=30 * SLOWNESS)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"standard output", done.stderr)


class Interrupted(Case):
    ENDLESS = ["--service", S1, "--rows", "1000000000", "--seeds", "2", "--compare", "adaptive,oracle"]

    def test_ctrl_c_ends_it_with_status_3(self):
        plot = self.path("x.svg")
        process = subprocess.Popen([WEIR, "simulate", *self.ENDLESS, "--plot", plot], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        self.addCleanup(process.kill)
        wait_until(lambda: os.path.exists(plot), what="the run to begin")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=20 * SLOWNESS)
        self.assertEqual(process.returncode, 3)
        self.assertEqual(out, b"")
        self.assertIn(b"stopped", err)
        self.assertFalse(os.path.exists(plot))

    def test_a_terminal_sees_progress(self):
        master, slave = pty.openpty()
        process = subprocess.Popen([WEIR, "simulate", *self.ENDLESS], stdout=subprocess.PIPE, stderr=slave)
        os.close(slave)
        self.addCleanup(os.close, master)
        self.addCleanup(process.kill)
        seen = b""
        end = time.monotonic() + 20 * SLOWNESS
        while not re.search(rb"0 of 4 runs, [1-9][0-9,]* rows", seen):
            self.assertLess(time.monotonic(), end, seen)
            if select.select([master], [], [], 1)[0]:
                seen += os.read(master, 4096)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=20 * SLOWNESS)
        self.assertEqual(process.returncode, 3)


if __name__ == "__main__":
    unittest.main()
