"""Durable tasks in bulk: submitted, then run by workers that do nothing, through the library and through `weir serve`."""
import os
import shutil

from daemon import against_beanstalkd, against_daemon, newest_postgres, Postgres
from harness import Bench, Goal, Side

TASKS, JOBS, SLOW = 200_000, 20_000, 3000
GROUP, AT_ONCE = 100, 64


def bench(kit):
    library, store = kit.program("tasks_weir"), kit.path("library.db")

    def fresh():
        for end in ("", "-wal", "-shm", "-spill"):
            if os.path.exists(store + end):
                os.unlink(store + end)

    graphile = Side("graphile-worker", prints=True)
    if newest_postgres():
        graphile.command = ["node", kit.npm("tasks_graphile.mjs", "graphile-worker@0.18", "pg@8"), Postgres(kit).url, JOBS]
    else:
        graphile.missing = "PostgreSQL is not installed"
    bulk = [kit.compile("serve_bulk.c"), "SOCKET", TASKS]
    no_beanstalkd = "" if shutil.which("beanstalkd") else "beanstalkd is not installed"
    return Bench(
        "durable tasks of 100 B in bulk: submitted, then run by a no-op",
        shows=["submitted_per_s", "ended_per_s", "syncs_per_s"],
        notes=[f"file system: {kit.file_system()} (BENCH_DIR=... measures on another one).",
               f"library: {GROUP} tasks in a call, {AT_ONCE} threads. HTTP: one upload of NDJSON, two worker processes with 64",
               "requests each. SQLite: a bare table, 100 in a transaction. beanstalkd -b syncs once in 50 ms, with -f0 each write."],
        sides=[
            Side("library", [library, store, TASKS, GROUP, AT_ONCE], prints=True, before=fresh),
            Side("library, 1000 at once", [library, store, TASKS, 10 * GROUP, AT_ONCE], prints=True, before=fresh),
            Side("HTTP", call=against_daemon(kit, bulk, pool={"enabled": False})),
            Side("SQLite", [kit.compile("tasks_sqlite.c", "sqlite3"), kit.folder, TASKS, GROUP], prints=True),
            Side("beanstalkd -b", call=None if no_beanstalkd else against_beanstalkd(kit, [], TASKS, GROUP), missing=no_beanstalkd),
            Side("beanstalkd -b -f0", call=None if no_beanstalkd else against_beanstalkd(kit, ["-f", "0"], SLOW, GROUP),
                 missing=no_beanstalkd),
            graphile,
            Side("fdatasync", [kit.compile("journal_fdatasync.c"), kit.folder], prints=True),
        ],
        goals=[
            Goal("library", "submitted_per_s", ">=", 0.5, beside="SQLite"),
            Goal("library, 1000 at once", "submitted_per_s", "", 0, beside="SQLite"),
            Goal("HTTP", "submitted_per_s", ">=", 0.25, beside="SQLite"),
            Goal("library", "ended_per_s", ">=", 0.4, beside="SQLite"),
            Goal("HTTP", "ended_per_s", ">=", 0.4, beside="SQLite"),
            Goal("HTTP", "ended_per_s", ">=", 1, beside="graphile-worker"),
            Goal("HTTP", "submitted_per_s", "", 0, beside="graphile-worker"),
            Goal("HTTP", "submitted_per_s", "", 0, beside="beanstalkd -b"),
            Goal("HTTP", "ended_per_s", "", 0, beside="beanstalkd -b"),
        ])
