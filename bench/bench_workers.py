"""Round trips through long-lived workers: 100 bytes and 64 KiB, one and sixteen in flight, all on one processor."""
import os
import shutil
import subprocess

from harness import Bench, BenchError, Goal, Side

WORKERS = 2
SMALL, LARGE = 100, 65536
ONE, SIXTEEN, BIG = 100_000, 400_000, 15_000  # messages of a run: 100 B one by one, 16 at once, 64 KiB
PACE_PER_S, PACED = 1000, 3000
KILLS, LOOK_UPS, REQUESTS = 100, 1_000_000, 50_000


def erlang(kit, echo, size, count):
    """Compiled where it is run; the port program is the same one."""
    side = Side(f"Erlang port, {name_of(size)}", rows=count, prints=True)
    if not shutil.which("erlc"):
        side.missing = "Erlang is not installed (erlang-base)"
        return side
    source = os.path.join(os.path.dirname(os.path.abspath(__file__)), "workers_port.erl")
    done = subprocess.run(["erlc", "-o", kit.folder, source], capture_output=True, text=True, check=False)
    if done.returncode:
        raise BenchError(f"workers_port.erl does not compile:\n{done.stdout}{done.stderr}")
    side.command = kit.pin(1) + ["erl", "-noshell", "-pa", kit.folder, "-run", "workers_port", "main", echo, size, count]
    return side


def name_of(size):
    return "64 KiB" if size == LARGE else f"{size} B"


def bench(kit):
    echo, loop, weir = kit.compile("worker_echo.c"), kit.compile("workers_loop.c"), kit.program("workers_inside")
    pool = os.path.join(os.path.dirname(os.path.abspath(__file__)), "workers_pool.py")
    one = kit.pin(1)

    def three(label, size, count, depth):
        words = [size, count, WORKERS, depth]
        return [Side(f"weir, {label}", one + [weir, echo, "rows"] + words, rows=count, prints=True),
                Side(f"loop, {label}", one + [loop, echo, "pipe"] + words, rows=count, prints=True),
                Side(f"loop on sockets, {label}", one + [loop, echo, "socketpair"] + words, rows=count, prints=True)]

    def python(size, count):
        return Side(f"Python pool, {name_of(size)}", one + ["python3", pool, size, count], rows=count, prints=True)

    paced = [SMALL, PACED, WORKERS, 1, PACE_PER_S]
    return Bench(
        "round trips through 2 workers in C, all on one processor",
        shows=["rows_per_s", "cpu_us_per_row", "p50_us", "p99_us", "added_p99_ms", "look_up_ns"],
        notes=["weir: from a row that is added to its result in order, in JSON, with events and statistics; one thread adds, "
               "another takes. The loop, Erlang and Python pass frames as they are.",
               "paced: 1,000 rows a second; the times are from adding a row to having its result in hand.",
               "killed: from the request of which a worker dies to the next one served; added is beside what the program "
               "takes from its start to its first answer.",
               "sessions: a look-up alone, at random, where most of what 100,000 cost is waiting for memory; and what a user "
               "sees of it: a request of a session at random, one at a time, with the CPU time that is weir's."],
        sides=[
            *three("100 B", SMALL, ONE, 1), erlang(kit, echo, SMALL, ONE // 4), python(SMALL, ONE // 20),
            *three("16 in flight", SMALL, SIXTEEN, 16),
            *three("64 KiB", LARGE, BIG, 1), erlang(kit, echo, LARGE, BIG // 3), python(LARGE, BIG // 10),
            Side("weir, paced", one + [weir, echo, "rows"] + paced, prints=True),
            Side("loop, paced", one + [loop, echo, "pipe"] + paced, prints=True),
            Side("weir, killed", one + [weir, echo, "kill", KILLS], prints=True),
            Side("10 sessions", one + [weir, echo, "sessions", 10, LOOK_UPS], prints=True),
            Side("100,000 sessions", one + [weir, echo, "sessions", 100_000, LOOK_UPS], prints=True),
            Side("request, 10 sessions", one + [weir, echo, "talk", 10, REQUESTS], prints=True),
            Side("request, 100,000 sessions", one + [weir, echo, "talk", 100_000, REQUESTS], prints=True),
        ],
        goals=[
            Goal("weir, 100 B", "rows_per_s", ">=", 0.5, beside="loop, 100 B"),
            Goal("weir, 100 B", "rows_per_s", "", 0, beside="loop on sockets, 100 B"),
            Goal("weir, 100 B", "rows_per_s", ">=", 1.5, beside="Erlang port, 100 B"),
            Goal("weir, 100 B", "rows_per_s", "", 0, beside="Python pool, 100 B"),
            Goal("weir, 16 in flight", "rows_per_s", ">=", 0.4, beside="loop on sockets, 16 in flight"),
            Goal("weir, 16 in flight", "rows_per_s", "", 0, beside="loop, 16 in flight"),
            Goal("weir, 64 KiB", "rows_per_s", ">=", 0.5, beside="loop, 64 KiB"),
            Goal("weir, 64 KiB", "rows_per_s", ">=", 0.5, beside="loop on sockets, 64 KiB"),
            Goal("weir, 64 KiB", "rows_per_s", "", 0, beside="Erlang port, 64 KiB"),
            Goal("weir, paced", "p99_us", "<=", 1000),
            Goal("weir, killed", "added_p99_ms", "<=", 500),
            Goal("100,000 sessions", "look_up_ns", "", 0, beside="10 sessions"),
            Goal("request, 100,000 sessions", "p50_us", "<=", 1.1, beside="request, 10 sessions"),
            Goal("request, 100,000 sessions", "cpu_us_per_row", "", 0, beside="request, 10 sessions"),
        ])
