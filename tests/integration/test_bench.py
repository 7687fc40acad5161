"""The harness of the benchmarks: its rounds, its arithmetic and what it tells, on sides that are made up.

How fast anything is, is not tested here: only that a ratio is taken inside its round, that a missed goal is told as one,
and that the programs of the benchmarks still do what they say.
run-tests: parallel
"""
import json
import os
import shutil
import subprocess
import sys
import unittest

from weirtest import BUILD, Case, ROOT

sys.path.insert(0, os.path.join(ROOT, "bench"))
sys.dont_write_bytecode = True
import harness  # noqa: E402
from harness import Bench, BenchError, Goal, Side  # noqa: E402
from kit import Kit  # noqa: E402


def made_up(name, values):
    """A side whose figure of round n is the n-th value; the 0th is the warm-up's."""
    return Side(name, call=lambda n: {"rows_per_s": values[n]})


def run(bench, rounds):
    told = []
    return harness.run(bench, rounds, None, told.append), told


class TestRounds(unittest.TestCase):
    def test_a_ratio_is_taken_inside_its_round(self):
        # The ratio of the medians would be 3.
        bench = Bench("x", [made_up("a", [9, 20, 100, 30]), made_up("b", [9, 10, 100, 5])],
                      goals=[Goal("a", "rows_per_s", ">=", 2, beside="b")])
        goal = run(bench, 3)[0]["goals"][0]
        self.assertEqual((goal["median"], goal["min"], goal["max"]), (2, 1, 6))
        self.assertEqual(goal["values"], [2, 1, 6])
        self.assertEqual(goal["verdict"], "met")

    def test_the_warm_up_runs_and_does_not_count(self):
        result, told = run(Bench("x", [made_up("a", [1000, 1, 2, 3])]), 3)
        self.assertEqual(result["sides"]["a"]["rows_per_s"]["values"], [1, 2, 3])
        self.assertEqual(told[0], "warm-up, a")
        self.assertEqual(len(told), 4)

    def test_sides_run_in_turn_in_each_round(self):
        _, told = run(Bench("x", [made_up("a", [1, 1, 1]), made_up("b", [1, 1, 1])], warm_up=False), 2)
        self.assertEqual(told, ["round 1 of 2, a", "round 1 of 2, b", "round 2 of 2, a", "round 2 of 2, b"])


class TestGoals(unittest.TestCase):
    def verdict(self, value, sense, bound):
        bench = Bench("x", [made_up("a", [0, value])], goals=[Goal("a", "rows_per_s", sense, bound)])
        return run(bench, 1)[0]["goals"][0]["verdict"]

    def test_the_median_is_held_against_the_bound(self):
        self.assertEqual(self.verdict(2, ">=", 2), "met")
        self.assertEqual(self.verdict(1.99, ">=", 2), "NOT MET")
        self.assertEqual(self.verdict(2, "<=", 2), "met")
        self.assertEqual(self.verdict(2.01, "<=", 2), "NOT MET")
        bench = Bench("x", [made_up("a", [0, 1, 3, 100])], goals=[Goal("a", "rows_per_s", "<=", 3)])
        self.assertEqual(run(bench, 3)[0]["goals"][0]["verdict"], "met")

    def test_a_missed_goal_is_told_in_words(self):
        bench = Bench("x", [made_up("a", [0, 1]), made_up("b", [0, 1])],
                      goals=[Goal("a", "rows_per_s", ">=", 2, beside="b"), Goal("a", "rows_per_s", "<=", 1, beside="b")])
        text = harness.render_goals({"name": run(bench, 1)[0]})
        self.assertIn("1 goals met, 1 not met", text)
        self.assertIn("NOT MET: name: a / b, rows/s: 1, goal >= 2", text)

    def test_a_side_that_is_missing_costs_only_its_own_goals(self):
        bench = Bench("x", [made_up("a", [0, 4]), made_up("b", [0, 2]), Side("c", missing="not installed")],
                      goals=[Goal("a", "rows_per_s", ">=", 2, beside="b"), Goal("a", "rows_per_s", ">=", 2, beside="c")],
                      shows=["rows_per_s"])
        result = run(bench, 1)[0]
        self.assertEqual([g["verdict"] for g in result["goals"]], ["met", "not measured"])
        self.assertIn("not measured: not installed", harness.render("name", result))

    def test_other_sides_are_shown_beside_one_without_a_goal(self):
        bench = Bench("x", [made_up("a", [0, 4]), made_up("b", [0, 2])], shows=["rows_per_s"], beside="b")
        result = run(bench, 1)[0]
        self.assertEqual([(g["what"], g["median"], g.get("verdict")) for g in result["goals"]], [("a / b", 2, None)])
        self.assertIn("0 goals met, 0 not met", harness.render_goals({"name": result}))


class TestFigures(unittest.TestCase):
    report = {"wall_s": 2.0, "cpu_s": 1.0, "rss_bytes": 1024.0}

    def test_rates_and_costs_are_per_row(self):
        figures = harness.figures_of(Side("a", rows=1000), self.report, "")
        self.assertEqual(figures["rows_per_s"], 500)
        self.assertEqual(figures["us_per_row"], 2000)
        self.assertEqual(figures["cpu_us_per_row"], 1000)
        self.assertEqual(figures["wall_ms"], 2000)

    def test_what_a_program_prints_replaces_what_was_derived(self):
        figures = harness.figures_of(Side("a", rows=1000), self.report, "rows_per_s 7.5\nextra 1e3\n")
        self.assertEqual((figures["rows_per_s"], figures["extra"]), (7.5, 1000))

    def test_what_is_no_figure_is_an_error(self):
        with self.assertRaisesRegex(BenchError, "not NAME VALUE: 'all is well'"):
            harness.figures_of(Side("a"), self.report, "all is well\n")


class TestKit(Case):
    def setUp(self):
        super().setUp()
        os.environ["BENCH_DIR"] = self.dir
        self.addCleanup(os.environ.pop, "BENCH_DIR")

    def test_a_command_is_measured_and_its_folder_goes(self):
        with Kit("test") as kit:
            folder = kit.folder
            report, output = kit.launch(Side("sh", ["/bin/sh", "-c", "echo rows 5"], prints=True))
            self.assertEqual(output, "rows 5\n")
            self.assertGreater(report["wall_s"], 0)
            self.assertGreater(report["rss_bytes"], 0)
        self.assertFalse(os.path.exists(folder))

    def test_a_side_that_fails_is_an_error_with_what_it_said(self):
        with Kit("test") as kit, self.assertRaisesRegex(BenchError, "status 3: no such thing"):
            kit.launch(Side("sh", ["/bin/sh", "-c", "echo no such thing >&2; exit 3"]))

    def test_a_repeated_command_runs_so_often(self):
        with Kit("test") as kit:
            kit.launch(Side("sh", ["/bin/sh", "-c", f"echo x >>{self.dir}/count"], repeat=3))
        with open(self.path("count"), encoding="ascii") as f:
            self.assertEqual(f.read(), "x\n" * 3)


class TestCommand(Case):
    def bench(self, *args):
        return subprocess.run([sys.executable, os.path.join(ROOT, "bench", "run.py"), *args], capture_output=True,
                              text=True, timeout=250, check=False, env=dict(os.environ, BENCH_DIR=self.dir, PYTHONDONTWRITEBYTECODE="1"))

    def test_an_unknown_name_is_refused_with_the_list(self):
        done = self.bench("rows", "speed")
        self.assertEqual(done.returncode, 2)
        self.assertIn("no benchmark is named speed; there are: ", done.stderr)
        for name in ("http", "journal", "memory", "one", "rows", "throttle"):
            self.assertIn(name, done.stderr)

    def test_no_rounds_are_refused(self):
        done = self.bench("--rounds", "0", "rows")
        self.assertEqual(done.returncode, 2)
        self.assertIn("--rounds must be 1 or more", done.stderr)

    def test_a_run_prints_its_table_and_writes_json(self):
        folder = self.path("bench")
        os.makedirs(folder)
        for name in ("harness.py", "kit.py", "run.py", "measure.c", "benchkit.h"):
            shutil.copy(os.path.join(ROOT, "bench", name), folder)
        self.write("bench/bench_tiny.py", """
from harness import Bench, Goal, Side
def bench(kit):
    return Bench("two shells", sides=[Side("a", ["/bin/true"], rows=1), Side("b", call=lambda n: {"rows_per_s": 1e-9})],
                 goals=[Goal("a", "rows_per_s", ">=", 2, beside="b"), Goal("b", "rows_per_s", ">=", 2, beside="a")],
                 shows=["rows_per_s"])
""")
        env = dict(os.environ, BENCH_DIR=self.dir, WEIR_BUILD=self.path("build"), PYTHONDONTWRITEBYTECODE="1")
        done = subprocess.run([sys.executable, os.path.join(folder, "run.py"), "--rounds", "2"], capture_output=True,
                              text=True, timeout=60, check=False, env=env)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertIn("1 goals met, 1 not met", done.stdout)
        self.assertIn("NOT MET: tiny: b / a, rows/s", done.stdout)
        with open(self.path("build", "bench.json"), encoding="utf-8") as f:
            report = json.load(f)
        tiny = report["benchmarks"]["tiny"]
        self.assertEqual([goal["verdict"] for goal in tiny["goals"]], ["met", "NOT MET"])
        self.assertEqual(len(tiny["sides"]["a"]["wall_s"]["values"]), 2)
        self.assertEqual(report["errors"], {})


class TestPrograms(Case):
    """Those linked with weir are built with the tests; that they still work with it is theirs to show."""

    def figures(self, *command):
        done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=60, check=False)
        self.assertEqual(done.returncode, 0, done.stderr)
        return dict(line.split() for line in done.stdout.splitlines())

    def program(self, name):
        path = os.path.join(BUILD, "bench", name)
        self.assertTrue(os.path.exists(path), f"{path}: make bench-programs")
        return path

    def test_rows_come_back_in_order(self):
        self.assertIn("rows_per_s", self.figures(self.program("rows_weir"), 5000))

    def test_rows_are_all_in_the_journal(self):
        self.assertIn("rows_per_s", self.figures(self.program("journal_inside"), self.dir, 5000))

    def test_lines_go_through_in_order(self):
        lines = "".join(f"line {i}\n" for i in range(5000))
        figures = self.figures(self.program("memory_weir"), self.write("in", lines), self.path("out"), 64)
        self.assertEqual(float(figures["rows"]), 5000)
        with open(self.path("out"), encoding="ascii") as f:
            self.assertEqual(f.read(), lines)


if __name__ == "__main__":
    unittest.main()
