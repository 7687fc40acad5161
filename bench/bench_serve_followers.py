"""A daemon at full speed, alone and with a thousand that follow its events and a thousand requests a second for its status."""
import subprocess

from daemon import Daemon
from harness import Bench, BenchError, figures_of, Goal, Side
from kit import end_process

TASKS, FOLLOWERS, ASKS_PER_S = 200_000, 1000, 1000


def bench(kit):
    bulk, load = kit.compile("serve_bulk.c"), kit.compile("serve_load.c")

    def run(daemon):
        side = Side("serve_bulk", [bulk, daemon.socket, TASKS], prints=True)
        return figures_of(side, *kit.launch(side))

    def alone(_):
        with Daemon(kit, pool={"enabled": False}) as daemon:
            return run(daemon)

    def watched(_):
        with Daemon(kit, pool={"enabled": False}) as daemon:
            looking = subprocess.Popen([load, daemon.socket, str(FOLLOWERS), str(ASKS_PER_S)], stdin=subprocess.PIPE,
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)
            try:
                if looking.stderr.readline() != "ready\n":
                    raise BenchError("serve_load does not follow")
                figures = run(daemon)
                output, _ = looking.communicate(timeout=60)
            finally:
                end_process(looking)
            if looking.returncode:
                raise BenchError("serve_load failed")
            figures.update((name, float(value)) for name, value in (line.split() for line in output.splitlines()))
            return figures

    return Bench(
        f"tasks a second, alone and with {FOLLOWERS:,} followers of all events and {ASKS_PER_S:,} status requests a second",
        shows=["ended_per_s", "submitted_per_s", "asked_per_s", "followed_bytes"],
        notes=["Six events of each task. The followers and those who ask share the two processors with the daemon."],
        sides=[Side("alone", call=alone), Side("watched", call=watched)],
        goals=[Goal("watched", "ended_per_s", ">=", 0.9, beside="alone"),
               # Else those who ask would have been starved for it.
               Goal("watched", "asked_per_s", ">=", 0.9 * ASKS_PER_S)])
