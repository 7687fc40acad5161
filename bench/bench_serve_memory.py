"""How much memory a daemon has with many tasks in its queue, and how soon it is ready again over them."""
import os

from daemon import Daemon
from harness import Bench, figures_of, Goal, Side

MANY = int(os.environ.get("SERVE_MEMORY_TASKS", 10_000_000))
FEW = MANY // 10


def bench(kit):
    client = kit.compile("serve_bulk.c")

    def with_tasks(tasks):
        def call(_):
            # Its folder is that of the store's disk.
            with Daemon(kit, pool={"enabled": False}) as daemon:
                figures = {"empty_bytes": daemon.rss_bytes()}
                if tasks:
                    side = Side("serve_bulk", [client, daemon.socket, tasks, "only"], prints=True)
                    figures.update(figures_of(side, *kit.launch(side)))
                figures["resident_bytes"] = daemon.rss_bytes()
                figures["store_bytes"] = os.path.getsize(daemon.store)
                daemon.process.kill()
                daemon.process.wait()
                figures["ready_again_s"] = daemon.start()
                figures["again_bytes"] = daemon.rss_bytes()
                return figures
        return call

    return Bench(
        f"a daemon with {MANY:,} tasks queued, {FEW:,}, and none; killed and started again",
        shows=["resident_bytes", "again_bytes", "ready_again_s", "store_bytes", "submitted_per_s"],
        notes=["SERVE_MEMORY_TASKS=2000000 measures with fewer."],
        rounds=1, warm_up=False,
        sides=[Side("empty", call=with_tasks(0)), Side("few", call=with_tasks(FEW)), Side("many", call=with_tasks(MANY))],
        goals=[Goal("many", "resident_bytes", "<=", 1.2, beside="few"),
               Goal("many", "resident_bytes", "", 0, beside="empty"),
               Goal("many", "ready_again_s", "<=", 5)])
