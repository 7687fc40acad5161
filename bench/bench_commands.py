"""20,000 x /bin/true, 2 in flight, in order, output captured."""
import shutil
import subprocess

from harness import Bench, Goal, Side

ROWS, XARGS_ROWS, PARALLEL_ROWS, AT_ONCE = 20_000, 5_000, 1_000, 2
PROGRAM = "/bin/true"


def numbers(kit, rows):
    return kit.write(f"rows-{rows}", (f"{i}\n" for i in range(rows)))


def runs_commands(weir):
    done = subprocess.run([weir, "run", "--help"], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    return "--joblog" in done.stdout


def bench(kit):
    inside = [kit.program("commands_inside"), ROWS, AT_ONCE, PROGRAM]
    weir = [kit.weir, "run", "-q", "-j", AT_ONCE]
    command = [numbers(kit, ROWS), "--", PROGRAM]
    no_command = "" if runs_commands(kit.weir) else "weir run does not run commands yet"
    no_parallel = "" if shutil.which("parallel") else "GNU parallel is not installed"
    return Bench(
        f"{ROWS} x {PROGRAM}, {AT_ONCE} in flight",
        shows=["rows_per_s", "cpu_us_per_row", "rss_bytes"],
        notes=["The limit captures nothing and keeps no order; weir captures both streams of each command, delivers in order "
               "and kills what a command leaves.",
               f"xargs runs {XARGS_ROWS}, GNU parallel {PARALLEL_ROWS}."],
        sides=[
            Side("vfork, 2 threads (limit)", [kit.compile("spawn_limit.c"), ROWS, AT_ONCE, PROGRAM], rows=ROWS, prints=True),
            Side("weir, inside", inside, rows=ROWS, prints=True),
            Side("weir, inside, journal", inside + [kit.path("inside.weir")], rows=ROWS, prints=True),
            Side("weir run", weir + command, rows=ROWS, missing=no_command),
            Side("weir run -o", weir + ["--fresh", "-o", "out.jsonl"] + command, rows=ROWS, missing=no_command),
            Side("xargs -P2 -n1", ["xargs", "-a", numbers(kit, XARGS_ROWS), f"-P{AT_ONCE}", "-n1", PROGRAM], rows=XARGS_ROWS),
            Side("parallel -j2 -k --joblog", ["parallel", "-a", numbers(kit, PARALLEL_ROWS), f"-j{AT_ONCE}", "-k", "--joblog",
                                              "joblog", PROGRAM], rows=PARALLEL_ROWS, missing=no_parallel),
        ],
        goals=[
            Goal("weir, inside", "rows_per_s", ">=", 0.85, beside="vfork, 2 threads (limit)"),
            Goal("weir, inside, journal", "rows_per_s", ">=", 0.75, beside="vfork, 2 threads (limit)"),
            Goal("weir run", "rows_per_s", ">=", 0.85, beside="vfork, 2 threads (limit)"),
            Goal("weir run -o", "rows_per_s", ">=", 0.75, beside="vfork, 2 threads (limit)"),
            Goal("weir run", "rows_per_s", ">=", 1.5, beside="xargs -P2 -n1"),
            Goal("weir, inside", "rows_per_s", ">=", 1.5, beside="xargs -P2 -n1"),
            Goal("weir, inside", "cpu_us_per_row", "", 0, beside="vfork, 2 threads (limit)"),
        ],
        beside="vfork, 2 threads (limit)")
