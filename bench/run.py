#!/usr/bin/env python3
"""Runs the benchmarks: weir and what it is compared with, in turn, in the same rounds.

    make bench                          all of them
    make bench BENCH="http rows"        some
    make bench BENCH=http ROUNDS=9      more rounds than five
    bench/run.py --list                 their names

Each bench/bench_NAME.py is one benchmark: a function bench(kit) that builds what it needs and returns a Bench. The
tables go to standard output, everything that was measured to build/bench.json. Exit status: 0 when all was measured
(goals that are missed are a result, and are told as such), 1 when something could not be, 2 for wrong arguments.
"""
import argparse
import datetime
import glob
import importlib
import json
import os
import platform
import signal
import subprocess
import sys
import time

import harness
from kit import BUILD, HERE, Kit, ROOT

ROUNDS_USUAL = 5


def names():
    return sorted(os.path.basename(p)[len("bench_"):-3] for p in glob.glob(os.path.join(HERE, "bench_*.py")))


def parse(argv):
    p = argparse.ArgumentParser(prog="bench", description="Runs weir and what it is compared with, in the same rounds.")
    p.add_argument("names", nargs="*", help="which; default: all")
    p.add_argument("--rounds", type=int, default=ROUNDS_USUAL, help="that count, after a warm-up (default %(default)s)")
    p.add_argument("--json", default=os.path.join(BUILD, "bench.json"), help="where all figures go (default %(default)s)")
    p.add_argument("--list", action="store_true", help="says their names")
    args = p.parse_args(argv)
    unknown = [name for name in args.names if name not in names()]
    if unknown:
        p.error(f"no benchmark is named {', '.join(unknown)}; there are: {', '.join(names())}")
    if args.rounds < 1:
        p.error("--rounds must be 1 or more")
    return args


def machine():
    model = "unknown"
    try:
        with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
            model = next((line.split(":", 1)[1].strip() for line in f if line.startswith("model name")), model)
    except OSError:
        pass
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], capture_output=True, text=True,
                            check=False).stdout.strip()
    return {"processor": model, "processors": os.cpu_count(), "kernel": platform.release(), "commit": commit or "unknown",
            "date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
            "load_before": os.getloadavg()[0]}


def run_one(name, rounds):
    """The result of one benchmark, or what went wrong with it."""
    def tell(text):
        print(f"bench: {name}: {text}", file=sys.stderr, flush=True)

    start = time.monotonic()
    try:
        module = importlib.import_module(f"bench_{name}")
        with Kit(name, tell) as kit:
            result = harness.run(module.bench(kit), rounds, kit.launch, tell)
    except (harness.BenchError, OSError, subprocess.SubprocessError) as e:
        return {"error": str(e)}
    result["took_s"] = round(time.monotonic() - start, 1)
    return result


def write_json(path, report):
    os.makedirs(os.path.dirname(os.path.abspath(path)), exist_ok=True)
    with open(path, "w", encoding="utf-8") as f:
        json.dump(report, f, indent=1)
        f.write("\n")


def main(argv):
    args = parse(argv)
    # Whoever is told to end must end what it started.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    if args.list:
        print("\n".join(names()))
        return 0
    report = {"machine": machine(), "rounds": args.rounds, "benchmarks": {}, "errors": {}}
    if hasattr(os, "sched_setaffinity"):
        # Two processors, on any machine: the figures are about that.
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])
    for name in args.names or names():
        result = run_one(name, args.rounds)
        if "error" in result:
            report["errors"][name] = result["error"]
            print(f"\n{name}: could not be measured: {result['error']}", flush=True)
            continue
        report["benchmarks"][name] = result
        write_json(args.json, report)  # what is measured is kept, whatever comes
        print(harness.render(name, result), flush=True)
    print(harness.render_goals(report["benchmarks"]))
    if report["machine"]["load_before"] > 0.5:
        print(f"The machine was not idle (load {report['machine']['load_before']:.1f} at the start): spreads are wider.")
    for name, error in report["errors"].items():
        print(f"  could not be measured: {name}: {error.splitlines()[0]}")
    write_json(args.json, report)
    missing = any("missing" in side for r in report["benchmarks"].values() for side in r["sides"].values())
    return 1 if report["errors"] or missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
