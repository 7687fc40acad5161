"""What a benchmark is, how its rounds run, and the arithmetic of its goals.

    bench = Bench("rows a second", sides=[Side("weir", [...], rows=10), Side("other", [...], rows=10)],
                  goals=[Goal("weir", "rows_per_s", ">=", 2, beside="other")], shows=["rows_per_s"])
    result = run(bench, rounds=5, launch=kit.launch, tell=print)
    print(render("name", result))

In each round every side runs once, in turn; the first round is a warm-up and counts for nothing. A goal that compares
two sides is the ratio of their figures in the same round, and is met when the median of these ratios is within its
bound: the machine's speed moves with its neighbours, the ratio of two programs that ran one after the other hardly does.
"""
import dataclasses
import statistics
import typing


class BenchError(Exception):
    """A side could not be built or run; the text is for a person."""


@dataclasses.dataclass
class Side:
    """One program under measurement. Either a command, or `call`: a function of the round that returns figures.

    A command's figures are wall_s, cpu_s (user and system, with the children it waited for) and rss_bytes (peak); with
    `rows` also rows_per_s, us_per_row (wall) and cpu_us_per_row. A command that `prints` adds to them, or replaces
    them, by lines of NAME VALUE.
    """
    name: str
    command: typing.Sequence[str] = ()
    rows: int = 0
    prints: bool = False
    repeat: int = 1         # runs in a round; wall_s is their median
    env: dict = dataclasses.field(default_factory=dict)
    before: typing.Optional[typing.Callable[[], None]] = None  # before each run, not measured
    call: typing.Optional[typing.Callable[[int], dict]] = None
    missing: str = ""       # why it cannot run; its goals are then not measured


@dataclasses.dataclass
class Goal:
    """side's figure, or its ratio to `beside`'s in the same round, must be >= or <= bound; no sense: it is only shown."""
    side: str
    metric: str
    sense: str
    bound: float
    beside: str = ""

    def text(self):
        return f"{self.side} / {self.beside}" if self.beside else self.side

    def met_by(self, value):
        return value >= self.bound if self.sense == ">=" else value <= self.bound


@dataclasses.dataclass
class Bench:
    what: str
    sides: list
    goals: list = dataclasses.field(default_factory=list)
    shows: typing.Sequence[str] = ()  # the metrics in the table; the JSON has all
    beside: str = ""                  # a side: every other one is also shown as a ratio to it, without a goal
    notes: list = dataclasses.field(default_factory=list)
    rounds: int = 0                   # instead of the harness's number, with a note that says why
    warm_up: bool = True
    quiet: bool = False               # its rounds are not told one by one: they are no work
    middle: str = "median"            # or "mean": what is held against a bound, and shown


# How a metric is shown: its heading, and what it is divided by. Others are shown as they are.
UNITS = {
    "rows_per_s": ("rows/s", 1), "syncs_per_s": ("fdatasync/s", 1), "wall_s": ("wall s", 1), "cpu_s": ("CPU s", 1),
    "us_per_row": ("wall us/row", 1), "cpu_us_per_row": ("CPU us/row", 1), "rss_bytes": ("peak MiB", 1 << 20),
    "p50_us": ("p50 us", 1), "p99_us": ("p99 us", 1), "added_p99_ms": ("added p99 ms", 1), "look_up_ns": ("look-up ns", 1),
    "decision_ns": ("decision ns", 1), "submitted_per_s": ("submitted/s", 1), "ended_per_s": ("ended/s", 1), "asked_per_s": ("status/s", 1),
    "sync_p50_us": ("sync p50 us", 1), "sync_p99_us": ("sync p99 us", 1), "ready_again_s": ("ready again s", 1),
    "line_bytes": ("bytes/line", 1),
    "resident_bytes": ("resident MiB", 1 << 20), "again_bytes": ("started again MiB", 1 << 20), "store_bytes": ("store MiB", 1 << 20), "followed_bytes": ("events MiB", 1 << 20),
    "wall_ms": ("wall ms", 1), "cpu_ms": ("CPU ms", 1), "goodput_pct": ("goodput %", 1), "waste_pct": ("waste %", 1),
    "completion_p99_seconds": ("row p99 s", 1), "latency_p50_seconds": ("latency p50 s", 1),
    "recovery_p50_seconds": ("up p50 s", 1), "refused_after_step_down": ("down", 1), "fairness_60s": ("Jain", 1),
}


def spread(values):
    return {"median": statistics.median(values), "mean": statistics.fmean(values), "min": min(values), "max": max(values), "values": list(values)}


def figures_of(side, report, output):
    """All figures of one run of a command: what was measured from outside, and what it printed."""
    figures = dict(report, wall_ms=report["wall_s"] * 1e3, cpu_ms=report["cpu_s"] * 1e3)
    if side.rows:
        figures["rows_per_s"] = side.rows / report["wall_s"]
        figures["us_per_row"] = report["wall_s"] * 1e6 / side.rows
        figures["cpu_us_per_row"] = report["cpu_s"] * 1e6 / side.rows
    for line in output.splitlines():
        try:
            name, value = line.split()
            figures[name] = float(value)
        except ValueError:
            raise BenchError(f"{side.name} printed what is not NAME VALUE: {line!r}") from None
    return figures


def run(bench, rounds, launch, tell):
    """Runs all rounds; launch(side) runs a side's command and gives (report, output). Returns the result."""
    rounds = bench.rounds or rounds
    sides = [s for s in bench.sides if not s.missing]
    measured = {s.name: [] for s in sides}
    for n in range(0 if bench.warm_up else 1, rounds + 1):
        for side in sides:
            if not bench.quiet:
                tell(f"round {n} of {rounds}, {side.name}" if n else f"warm-up, {side.name}")
            if side.before:
                side.before()
            figures = side.call(n) if side.call else figures_of(side, *launch(side))
            if n:
                measured[side.name].append(figures)
    return judge(bench, measured, rounds)


def judge(bench, measured, rounds):
    """measured: side -> one dict of figures for each round. The result is what goes into the JSON."""
    sides = {}
    for side in bench.sides:
        if side.missing:
            sides[side.name] = {"missing": side.missing}
            continue
        each = measured[side.name]
        names = [m for m in each[0] if all(m in figures for figures in each)]
        sides[side.name] = {m: spread([figures[m] for figures in each]) for m in names}
    wanted = list(bench.goals)
    if bench.beside and bench.shows:
        asked = {(g.side, g.beside, g.metric) for g in wanted}
        wanted += [Goal(s.name, bench.shows[0], "", 0, bench.beside) for s in bench.sides
                   if s.name != bench.beside and (s.name, bench.beside, bench.shows[0]) not in asked]
    return {"what": bench.what, "rounds": rounds, "middle": bench.middle, "notes": list(bench.notes), "shows": list(bench.shows),
            "sides": sides, "goals": [judge_goal(g, measured, bench.middle) for g in wanted]}


def judge_goal(goal, measured, middle):
    row = {"what": goal.text(), "metric": goal.metric, "middle": middle, "goal": f"{goal.sense} {goal.bound:g}" if goal.sense else ""}
    ours, theirs = measured.get(goal.side), measured.get(goal.beside)
    if not ours or (goal.beside and not theirs):
        return dict(row, verdict="not measured")
    values = [figures[goal.metric] for figures in ours]
    if goal.beside:
        values = [value / figures[goal.metric] for value, figures in zip(values, theirs)]
    row.update(spread(values))
    if goal.sense:
        row["verdict"] = "met" if goal.met_by(row[middle]) else "NOT MET"
    return row


# ---- Tables ----

def number(value):
    """Four digits that matter, with k or M for what is large."""
    for limit, unit in ((1e6, " M"), (1e4, " k")):
        if abs(value) >= limit:
            return f"{value / (limit if unit == ' M' else 1e3):.4g}{unit}"
    return f"{value:.4g}"


def spread_text(figures, divisor=1, middle="median"):
    if not figures:
        return "-"
    shown, low, high = (number(figures[k] / divisor) for k in (middle, "min", "max"))
    return shown if low == high else f"{shown} ({low} - {high})"


def table(rows):
    """Rows of texts in columns; the first row is the heading."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    lines = ["  " + "  ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]
    lines.insert(1, "  " + "  ".join("-" * width for width in widths))
    return "\n".join(lines)


def render(name, result):
    """A benchmark's own table: each side's figures, median and in brackets the least and the most."""
    rows = [["side"] + [UNITS.get(m, (m,))[0] for m in result["shows"]]]
    for side, figures in result["sides"].items():
        if "missing" in figures:
            rows.append([side, "not measured: " + figures["missing"]] + [""] * (len(result["shows"]) - 1))
        else:
            rows.append([side] + [spread_text(figures.get(m), UNITS.get(m, (m, 1))[1], result["middle"]) for m in result["shows"]])
    notes = "".join(f"\n  {note}" for note in result["notes"])
    rounds = f"{result['rounds']} round{'s' if result['rounds'] != 1 else ''}, {result['middle']}"
    return f"\n{name}: {result['what']} ({rounds})\n{table(rows)}{notes}"


def goal_cells(name, row):
    divisor = 1 if " / " in row["what"] else UNITS.get(row["metric"], ("", 1))[1]
    goal = row["goal"]
    if goal and divisor != 1:
        sense, bound = goal.split()
        goal = f"{sense} {number(float(bound) / divisor)}"
    return [name, row["what"], UNITS.get(row["metric"], (row["metric"],))[0],
            spread_text(row, divisor, row["middle"]) if "median" in row else "-", goal, row.get("verdict", "")]


def render_goals(results):
    """The last table, of all benchmarks: what was compared, in the same rounds, and whether the goals are met."""
    rows = [["benchmark", "what", "of", "median, or mean (min - max)", "goal", ""]]
    for name, result in results.items():
        rows += [goal_cells(name, row) for row in result["goals"]]
    verdicts = [row.get("verdict") for result in results.values() for row in result["goals"]]
    lines = ["", table(rows), "", f"{verdicts.count('met')} goals met, {verdicts.count('NOT MET')} not met"
             + (f", {verdicts.count('not measured')} not measured" if "not measured" in verdicts else "")]
    for name, result in results.items():
        for row in result["goals"]:
            if row.get("verdict") in ("NOT MET", "not measured"):
                cells = goal_cells(name, row)
                lines.append(f"  {row['verdict']}: {name}: {cells[1]}, {cells[2]}: {cells[3]}, goal {cells[4]}")
    return "\n".join(lines)
