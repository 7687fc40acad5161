"""How much memory a daemon has with many tasks in its queue, and how soon it is ready again over them."""
import os

from daemon import Daemon
from harness import Bench, figures_of, Goal, Side

MANY = int(os.environ.get("SERVE_MEMORY_TASKS", 10_000_000))
FEW = MANY // 10
SESSIONS = 300_000


def bench(kit):
    client = kit.compile("serve_bulk.c")

    def fill(daemon, tasks, how):
        side = Side("serve_bulk", [client, daemon.socket, tasks, how], prints=True)
        return figures_of(side, *kit.launch(side))

    def with_tasks(tasks, how="only"):
        def call(_):
            # Its folder is that of the store's disk.
            with Daemon(kit, pool={"enabled": False}) as daemon:
                figures = fill(daemon, tasks, how) if tasks else {}
                figures["resident_bytes"] = daemon.rss_bytes()
                figures["store_bytes"] = os.path.getsize(daemon.store)
                daemon.process.kill()
                daemon.process.wait()
                figures["ready_again_s"] = daemon.start()
                figures["again_bytes"] = daemon.rss_bytes()
                return figures
        return call

    def sessions(_):
        # What the store holds of its file is there with one line as well.
        with Daemon(kit, pool={"enabled": False}) as daemon:
            fill(daemon, SESSIONS, "only")
            in_one_line = daemon.rss_bytes()
        figures = with_tasks(SESSIONS, "sessions")(_)
        figures["line_bytes"] = (figures["resident_bytes"] - in_one_line) / SESSIONS
        return figures

    return Bench(
        f"a daemon with {MANY:,} tasks queued, {FEW:,}, and none, and with {SESSIONS:,} of a session each; killed and started again",
        shows=["resident_bytes", "again_bytes", "ready_again_s", "store_bytes", "submitted_per_s", "line_bytes"],
        notes=["SERVE_MEMORY_TASKS=2000000 measures with fewer.",
               "What was written since the start has filled the store's caches, which have a bound; started again they are empty.",
               "Tasks with a session of their own are a line each, of which the first task is in memory: bytes/line is what it costs."],
        rounds=1, warm_up=False,
        sides=[Side("empty", call=with_tasks(0)), Side("few", call=with_tasks(FEW)), Side("many", call=with_tasks(MANY)),
               Side("sessions", call=sessions)],
        goals=[Goal("many", "resident_bytes", "<=", 1.2, beside="few"),
               Goal("many", "resident_bytes", "", 0, beside="empty"),
               Goal("many", "again_bytes", "<=", 1.2, beside="empty"),
               Goal("many", "ready_again_s", "<=", 5)])
