"""From a submit to the start of its attempt in a worker, on a daemon with nothing else to do."""
import os
import shutil
import tempfile

from daemon import Daemon
from harness import Bench, figures_of, Goal, Side

TIMES = 1000


def bench(kit):
    client = kit.compile("serve_latency.c")

    def call(_):
        folder = tempfile.mkdtemp(prefix="latency-", dir=kit.folder)
        fifo = os.path.join(folder, "starts")
        os.mkfifo(fifo)
        end = os.open(fifo, os.O_RDWR)  # so that the worker does not wait for a reader
        try:
            with Daemon(kit, stamps=fifo) as daemon:
                side = Side("weir", [client, daemon.socket, fifo, folder, TIMES], prints=True)
                return figures_of(side, *kit.launch(side))
        finally:
            os.close(end)
            shutil.rmtree(folder, True)

    return Bench(
        f"a task's way from the client to its start in a worker, {TIMES} one after the other, each beside one fdatasync",
        shows=["p50_us", "p99_us", "sync_p50_us", "sync_p99_us", "added_p99_ms"],
        notes=[f"file system: {kit.file_system()}. Before the start the task is durable, and so is that it starts."],
        sides=[Side("weir", call=call)],
        goals=[Goal("weir", "added_p99_ms", "<=", 5)])
