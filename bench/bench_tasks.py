"""Durable tasks: submitted, then taken, started and ended with all their events, each on the disk before it counts."""
from harness import Bench, Goal, Side

TASKS, SMALL, LARGE = 200_000, 100, 1000


def bench(kit):
    weir, sqlite = kit.program("registry_inside"), kit.compile("tasks_sqlite.c", "sqlite3")
    memory = kit.memory_folder()
    missing = "" if memory else "no room in /dev/shm"
    return Bench(
        "durable tasks of 100 B in the registry, synchronous=FULL",
        shows=["submitted_per_s", "ended_per_s", "syncs_per_s", "cpu_us_per_row"],
        notes=[f"file system: {kit.file_system()} (BENCH_DIR=... measures on another one).",
               "weir writes six events of each task besides; SQLite has a table, an index, and nothing else.",
               "In memory nothing waits for a disk: what is left is the cost of the software alone."],
        sides=[
            Side("weir", [weir, kit.folder, TASKS, SMALL], rows=TASKS, prints=True),
            Side("SQLite", [sqlite, kit.folder, TASKS, SMALL], rows=TASKS, prints=True),
            Side("weir, 1000 at once", [weir, kit.folder, TASKS, LARGE], rows=TASKS, prints=True),
            Side("fdatasync", [kit.compile("journal_fdatasync.c"), kit.folder], prints=True),
            Side("weir, in memory", [weir, memory, TASKS, SMALL], rows=TASKS, prints=True, missing=missing),
            Side("SQLite, in memory", [sqlite, memory, TASKS, SMALL], rows=TASKS, prints=True, missing=missing),
        ],
        goals=[
            Goal("weir", "submitted_per_s", ">=", 0.5, beside="SQLite"),
            Goal("weir", "ended_per_s", ">=", 0.4, beside="SQLite"),
            Goal("weir, 1000 at once", "submitted_per_s", "", 0, beside="SQLite"),
            Goal("weir, 1000 at once", "ended_per_s", "", 0, beside="SQLite"),
            Goal("weir, in memory", "submitted_per_s", "", 0, beside="SQLite, in memory"),
            Goal("weir, in memory", "ended_per_s", "", 0, beside="SQLite, in memory"),
        ])
