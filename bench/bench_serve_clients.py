"""Durable tasks one by one: many clients, each with one task a request, beside SQLite with one in a transaction."""
from daemon import against_daemon
from harness import Bench, Goal, Side

CLIENTS, TASKS, ROWS = 64, 60_000, 5000


def bench(kit):
    client = kit.compile("serve_clients.c")
    return Bench(
        f"durable tasks of 100 B, one a request, from {CLIENTS} clients",
        shows=["submitted_per_s", "syncs_per_s"],
        notes=[f"file system: {kit.file_system()}. Requests that come together share a transaction and its sync."],
        sides=[
            Side("weir", call=against_daemon(kit, [client, "SOCKET", CLIENTS, TASKS], pool={"enabled": False})),
            Side("weir, 1 client", call=against_daemon(kit, [client, "SOCKET", 1, ROWS], pool={"enabled": False})),
            Side("SQLite", [kit.compile("tasks_sqlite.c", "sqlite3"), kit.folder, ROWS, 1], prints=True),
            Side("fdatasync", [kit.compile("journal_fdatasync.c"), kit.folder], prints=True),
        ],
        goals=[Goal("weir", "submitted_per_s", ">=", 5, beside="SQLite"),
               Goal("weir, 1 client", "submitted_per_s", "", 0, beside="SQLite")])
