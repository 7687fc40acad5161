"""Kills at random: of workers under load, of weir itself, and of whole trees of commands (P1, P2, P8).

Nothing is lost, nothing comes twice, and nothing is left: no process, no zombie, no descriptor. The moments are random,
from a seed that a failure tells (WEIR_TEST_SEED sets it).
run-tests: waits
run-tests: long
run-tests: timeout=400
"""
import os
import random
import signal
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "support"))
from faultkit import GONE_S, MIB, FaultCase, command_line, marked, worker_of
from weirtest import BUILD, ROOT, SLOWNESS, VARIANT, wait_until
from workerkit import is_running, pid_state

SEED = int(os.environ.get("WEIR_TEST_SEED", "20264"))
KILLS = 60 if VARIANT else 1000
CRASHES = 5 if VARIANT else 25
# Rows a second: so that the kills are the load, and not the reading of the results.
RATE = 3000 if VARIANT else 12000


def echo_worker():
    """The worker in C of examples/: it starts in a millisecond."""
    for build in (BUILD, os.path.join(ROOT, "build")):
        path = os.path.join(build, "examples", "workers", "echo")
        if os.path.exists(path):
            return path
    raise AssertionError("build/examples/workers/echo is not built; run make examples")


class Feeder(threading.Thread):
    """Feeds plain rows for as long as it is not stopped: fed says how many."""

    def __init__(self, run):
        super().__init__(daemon=True)
        self.run_fed, self.fed, self.halt = run, 0, threading.Event()

    def run(self):
        while not self.halt.is_set():
            self.run_fed.feed(*({"n": i} for i in range(self.fed, self.fed + 500)))
            self.fed += 500

    def stop(self):
        self.halt.set()
        self.join()
        return self.fed


class Torture(FaultCase):
    def calm(self, run, rows, workers):
        """Waits until all that was fed is answered and every worker idles, and says what weir has open then."""
        wait_until(lambda: run.count_results() >= rows or run.poll() is not None, 60, f"{rows} results")
        self.assertIsNone(run.poll(), run.said()[-2000:])
        wait_until(lambda: len(self.workers_of(run)) == workers and not run.zombies(), 40,
                   f"{workers} workers and no zombie")
        found = []
        def settled():
            found.append(run.descriptors())
            return len(found) > 5 and all(one == found[-1] for one in found[-5:])
        wait_until(settled, 10, "open descriptors that stay the same")
        return found[-1]

    def workers_of(self, run):
        return [pid for pid in run.children() if command_line(pid) == self.worker_line and is_running(pid)]

    def kill_some(self, run, kills, rng, least):
        """SIGKILL to workers at random, of which there are at least so many at that moment."""
        killed = set()
        pause = threading.Event()
        def victims():
            found = [pid for pid in self.workers_of(run) if pid not in killed]
            return found if len(found) >= least or run.poll() is not None else None
        while len(killed) < kills:
            found = wait_until(victims, 40, f"{least} workers after {len(killed)} kills")
            self.assertIsNone(run.poll(), run.said()[-2000:])
            pid = rng.choice(found)
            if run.kill_worker(pid):
                killed.add(pid)
            pause.wait(rng.uniform(0, 0.008))
        return killed

    def check_all(self, run, count):
        rows = self.check_order(run, count)
        bad = [row for row in rows if row["error"] or row["output"] != {"n": row["index"]}]
        self.assertEqual(bad, [], f"seed {SEED}")
        return rows


class TestKillsOfWorkers(Torture):
    def test_a_thousand_kills_lose_nothing(self):
        self.worker_line = echo_worker()
        run = self.begin("kills", "-j", 6, "--breaker", "off", "--retries", 10, "--throttle", "none", "--rate", RATE,
                         worker=[echo_worker()], rows=None, events=False)
        run.feed(*({"n": i} for i in range(100)))
        before = self.calm(run, 100, 6)
        feeder = Feeder(run)
        feeder.fed = 100
        feeder.start()
        killed = self.kill_some(run, KILLS, random.Random(SEED), least=3)
        count = feeder.stop()
        after = self.calm(run, count, 6)
        self.assertEqual(after, before, f"descriptors leak; seed {SEED}")
        self.assertFalse([pid for pid in killed if pid_state(pid) == "Z"])
        run = self.run_of("kills", status=0)
        rows = self.check_all(run, count)
        again = sum(row["meta"]["attempts"] - 1 for row in rows)
        self.assertLessEqual(again, len(killed))
        self.assertGreater(again, 0, "no kill hit a worker at work")
        self.assertGreater(count, len(killed) * 3, "there was no load to speak of")
        self.assertLess(run.peak_bytes(), (1000 if VARIANT else 60) * MIB)

    def test_kills_with_many_in_flight(self):
        """Each kill loses up to 16 requests of one worker; each of them is answered once all the same."""
        self.worker_line = echo_worker() + " 16"
        kills = KILLS // 5
        run = self.begin("deep", "-j", 3, "--max-in-flight", 16, "--breaker", "off", "--retries", 10, "--throttle", "none",
                         "--rate", RATE, worker=[echo_worker(), "16"], rows=None, events=False)
        run.feed(*({"n": i} for i in range(100)))
        before = self.calm(run, 100, 3)
        feeder = Feeder(run)
        feeder.fed = 100
        feeder.start()
        killed = self.kill_some(run, kills, random.Random(SEED + 1), least=2)
        count = feeder.stop()
        self.assertEqual(self.calm(run, count, 3), before, f"descriptors leak; seed {SEED + 1}")
        run = self.run_of("deep", status=0)
        rows = self.check_all(run, count)
        self.assertLessEqual(sum(row["meta"]["attempts"] - 1 for row in rows), 16 * len(killed))


class TestKillsOfWeir(Torture):
    def check_gone(self, run):
        wait_until(lambda: not marked(run.mark), GONE_S,
                   f"the end of {[command_line(p) for p in marked(run.mark)]}, whose weir was killed; seed {SEED}")

    def test_kills_of_weir_and_its_workers_lose_nothing(self):
        rng, count = random.Random(SEED + 2), 4000
        self.worker_line = echo_worker()
        run = self.begin("crash", "-j", 4, "--breaker", "off", "--retries", 10, "--throttle", "none", "--rate", 1000,
                         worker=[echo_worker()], rows=count, events=False, output=True)
        crashes, pause = 0, threading.Event()
        while run.poll() is None and crashes < CRASHES:
            # Workers are killed as well, up to the moment of the crash.
            for _ in range(rng.randrange(6)):
                pause.wait(rng.uniform(0, 0.03) * SLOWNESS)
                for pid in self.workers_of(run)[:1] if run.poll() is None else []:
                    run.kill_worker(pid)
            if run.poll() is not None:
                break
            run.kill()
            crashes += 1
            self.check_gone(run)
            rows = run.results()
            self.assertEqual([row["index"] for row in rows], list(range(len(rows))), f"seed {SEED + 2}")
            run.start()
        self.assertGreater(crashes, CRASHES // 3, "it was hardly ever killed in the middle")
        run = self.run_of("crash", status=0)
        self.check_all(run, count)

    def test_workers_that_will_not_end_and_their_children_go_with_weir(self):
        run = self.begin("stubborn", "-j", 3,
                         worker=worker_of("leave-child", "ignore-term", "ignore-shutdown", "ignore-eof"))
        wait_until(lambda: len(run.log("ping")) == 3, 20, "workers")
        pids = [line[0] for line in run.log("start")] + [int(line[2]) for line in run.log("fork")]
        self.assertEqual(len(pids), 6)
        run.kill()
        self.check_gone(run)
        wait_until(lambda: not [pid for pid in pids if is_running(pid)], GONE_S, "the end of all six")

    def test_a_kill_while_workers_start(self):
        rng, pause = random.Random(SEED + 3), threading.Event()
        for number in range(3 if VARIANT else 8):
            run = self.begin(f"start-{number}", "-j", 6, worker=worker_of("leave-child", "ignore-eof"))
            pause.wait(rng.uniform(0, 0.12) * SLOWNESS)
            run.kill()
            self.check_gone(run)


class TestTreesOfCommands(Torture):
    """Everything that a command has started ends with it."""

    TREE = "sleep 1000 & sleep 1000"
    STUBBORN = "trap '' TERM HUP INT; sh -c 'trap \"\" TERM; sleep 1000; sleep 1000' & sleep 1000; sleep 1000"

    def sleepers(self, run):
        return [pid for pid in run.members() if command_line(pid) == "sleep 1000"]

    def begin_tree(self, name, script, *options, rows=4, **more):
        return self.begin(name, "-j", rows, *options, command=["sh", "-c", script], rows=rows, meta=False, **more)

    def gone(self, run):
        wait_until(lambda: not marked(run.mark), GONE_S,
                   f"the end of {[command_line(p) for p in marked(run.mark)]}; seed {SEED}")

    def test_killed_with_weir(self):
        for number, script in enumerate((self.TREE, self.STUBBORN)):
            run = self.begin_tree(f"tree-{number}", script)
            wait_until(lambda: len(self.sleepers(run)) >= 8, 20, "sleepers")
            run.kill()
            self.gone(run)

    def test_killed_with_weir_at_any_moment(self):
        rng, pause = random.Random(SEED + 4), threading.Event()
        for number in range(4 if VARIANT else 12):
            run = self.begin_tree(f"any-{number}", self.TREE, rows=6)
            pause.wait(rng.uniform(0, 0.1) * SLOWNESS)
            run.kill()
            self.gone(run)

    def test_killed_with_weir_while_many_short_commands_run(self):
        rng, pause = random.Random(SEED + 5), threading.Event()
        for number in range(3 if VARIANT else 6):
            run = self.begin(f"short-{number}", "-j", 4, command=["sh", "-c", "sleep 0.01 & /bin/true; wait"], rows=100000,
                             meta=False, events=False)
            pause.wait(rng.uniform(0.1, 0.4) * SLOWNESS)
            self.assertIsNone(run.poll(), run.said())
            run.kill()
            self.gone(run)

    def test_ended_by_a_timeout(self):
        runs = [self.begin_tree(f"timeout-{n}", script, "--timeout", "500ms", "--json")
                for n, script in enumerate((self.TREE, self.STUBBORN))]
        for run in runs:
            self.run_of(run.name, status=1, deadline_s=20)
            rows = self.check_order(run, 4)
            self.assertEqual([row["error"]["code"] for row in rows], ["timeout"] * 4)

    def test_the_tree_of_a_timeout_ends_while_the_run_goes_on(self):
        run = self.begin("limited", "-j", 2, "--timeout", "1s", "--json", meta=False,
                         command=["sh", "-c", 'if [ "$1" = 0 ]; then sleep 1000 & sleep 1000; fi', "x"],
                         rows=self.lines("0\n" + "1\n" * 4000))
        wait_until(lambda: run.events("task.finished", index=0), 20, "the timeout")
        wait_until(lambda: not self.sleepers(run), GONE_S + 1, "the end of the tree")
        self.assertIsNone(run.poll(), "it had nothing left to do when the tree ended")
        self.run_of("limited", status=1)
        self.check_order(run, 4001)

    def lines(self, text):
        path = os.path.join(self.folder, f"lines-{abs(hash(text))}")
        with open(path, "w", encoding="ascii") as f:
            f.write(text)
        return path

    def test_ended_by_two_signals(self):
        run = self.begin_tree("stop", self.STUBBORN, "--progress", "plain")
        wait_until(lambda: len(self.sleepers(run)) >= 8, 20, "sleepers")
        run.process.send_signal(signal.SIGINT)
        wait_until(lambda: "top" in run.said(), 10, "the first word of stopping")
        self.assertIsNone(run.poll(), "it did not wait for what runs")
        run.process.send_signal(signal.SIGINT)
        self.run_of("stop", status=3, deadline_s=15)

    def test_ended_by_halt(self):
        script = 'if [ "$1" = 0 ]; then exit 7; fi; sleep 1000 & sleep 1000'
        run = self.begin("halt", "-j", 4, "--halt", "now,fail=1", command=["sh", "-c", script, "x"],
                         rows=self.lines("1\n1\n1\n0\n"), meta=False)
        self.run_of("halt", deadline_s=20)
        self.assertNotEqual(run.status, 0)

    def test_what_a_command_leaves_behind_when_it_ends_is_ended(self):
        run = self.begin("leaves", "-j", 2, "--json", command=["sh", "-c", "sleep 1000 >/dev/null 2>&1 & echo $1", "x"],
                         rows=self.lines("a\nb\nc\nd\n"), meta=False)
        self.run_of("leaves", status=0, deadline_s=20)
        self.check_order(run, 4)

    def test_descriptors_and_zombies_of_a_thousand_commands(self):
        count = 200 if VARIANT else 1000
        run = self.begin("many", "-j", 4, "--json", command=["sh", "-c", "sleep 0 & echo $1; exit $(($1 % 3))", "x"],
                         meta=False, events=False)
        def feed(first, last):
            run.process.stdin.write("".join(f"{i}\n" for i in range(first, last)).encode())
            run.process.stdin.flush()
            wait_until(lambda: run.count_results() >= last or run.poll() is not None, 60, f"{last} results")
            self.assertIsNone(run.poll(), run.said())
            wait_until(lambda: not run.zombies(), 10, "the end of zombies")
            return run.descriptors()
        before = feed(0, 20)
        after = feed(20, count)
        self.assertEqual(after, before)
        self.run_of("many", status=1)
        rows = self.check_order(run, count)
        self.assertEqual([bool(row["error"]) for row in rows], [i % 3 != 0 for i in range(count)])


if __name__ == "__main__":
    unittest.main()
