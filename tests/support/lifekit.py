"""What must hold of the tasks of a dispatcher, whatever has happened to it: looked at through its API.

    told = events(d)                       # all of them, in order
    check_lives(told)                      # each task's are in an order that may be; counts that must agree, do
    tasks(d, state="done")                 # all pages of the list
    processes("/tmp/weir-x")               # what runs with that text in its environment

AssertionError says what does not hold, and of which task.
"""
import collections
import os

from weirtest import wait_until

ENDS = {"task.done", "task.failed", "task.cancelled"}
RUNNER_ENDS = {"runner.completed", "runner.failed", "runner.timeout", "runner.lost", "runner.cancelled", "runner.capacity"}
# What may follow in the events of a task. What may come at any time is not here.
NEXT = {
    None: {"task.submitted"},
    "task.submitted": {"task.ready", "task.failed", "task.cancelled", "task.assigned"},
    "task.ready": {"task.assigned", "task.cancelled", "task.failed", "task.ready"},
    "task.assigned": {"runner.started"},
    "runner.started": RUNNER_ENDS,
    "runner.completed": {"task.done"},
    # (cancelled while that attempt was ending)
    "runner.failed": {"task.retry_scheduled", "task.failed", "task.cancelled"},
    "runner.timeout": {"task.retry_scheduled", "task.failed", "task.cancelled"},
    "runner.lost": {"task.retry_scheduled", "task.failed", "task.ready", "task.quarantined", "task.cancelled"},
    "runner.cancelled": {"task.cancelled", "task.ready"},
    "runner.capacity": {"task.ready", "task.failed", "task.cancelled"},
    "task.quarantined": {"task.failed"},
    "task.retry_scheduled": {"task.ready", "task.failed", "task.cancelled"},
    "task.done": set(),
    # By hand: a retry; and that of a task whose dependencies are not met is told with task.changed only.
    "task.failed": {"task.ready", "task.failed", "task.cancelled"},
    "task.cancelled": {"task.ready", "task.failed", "task.cancelled"},
}
AT_ANY_TIME = {"runner.heartbeat", "runner.late", "task.changed", "task.deleted"}


def pages(d, path, name):
    """All of a list, page after page."""
    found, at = [], None
    while True:
        answer = d.get(path + ("&" if "?" in path else "?") + "limit=1000" + (f"&cursor={at}" if at else ""))
        found += answer[name]
        at = answer["next"]
        if not at or not answer[name]:
            return found


def tasks(d, query=""):
    return pages(d, "/v1/tasks" + (f"?{query}" if query else ""), "tasks")


def events(d, query=""):
    """All events, in order, and with no gap between their numbers (without a filter)."""
    found, after = [], 0
    while True:
        page = d.get(f"/v1/events?limit=1000&after={after}" + (f"&{query}" if query else ""))["events"]
        if not page:
            break
        found += page
        after = page[-1]["seq"]
    numbers = [e["seq"] for e in found]
    assert numbers == sorted(set(numbers)), "events are not in order"
    if not query:
        assert numbers == list(range(1, len(numbers) + 1)), "events are missing"
    return found


def by_task(told):
    found = collections.defaultdict(list)
    for e in told:
        if "task" in e:
            found[e["task"]].append(e)
    return found


def check_life(task, told):
    """One task's events."""
    kinds = [e["kind"] for e in told if e["kind"] not in AT_ANY_TIME]
    before, attempts, cancelled = None, [], False
    for e in told:
        if e["kind"] == "task.changed":  # one that runs and was cancelled runs no more, unless it is tried again by hand
            assert e["detail"].get("cancel") is None or before == "runner.started", f"task {task}: {e} after {before}: {kinds}"
            cancelled = "retry" not in e["detail"] and (cancelled or "cancel" in e["detail"])
        if e["kind"] in AT_ANY_TIME:
            continue
        assert not cancelled or e["kind"] not in ("task.ready", "task.retry_scheduled", "task.assigned"), (
            f"task {task}: {e['kind']} after it was cancelled: {kinds}")
        assert e["kind"] in NEXT[before], f"task {task}: {e['kind']} after {before}: {kinds}"
        before = e["kind"]
        if e["kind"] == "runner.started":
            attempts.append(e["attempt"])
    # Each attempt is told with one start and one end, and numbers are given once, in order.
    assert attempts == list(range(1, len(attempts) + 1)), f"task {task}: attempts {attempts}: {kinds}"
    assert sum(k == "task.done" for k in kinds) <= 1, f"task {task} was done twice: {kinds}"
    assert sum(k in RUNNER_ENDS for k in kinds) + (kinds[-1] in ("task.assigned", "runner.started")) == len(attempts), (
        f"task {task}: starts and ends do not agree: {kinds}")


def check_lives(told):
    lives = by_task(told)
    for task, its in lives.items():
        check_life(task, its)
    return lives


def counts(d):
    return d.get("/v1/status")["tasks"]


def is_quiet(d):
    """Nothing runs and nothing waits."""
    found = counts(d)
    return not any(found.get(s, 0) for s in ("ready", "running", "scheduled", "blocked"))


def listed(d, name):
    """GET /v1/NAME, of those that are no pages."""
    answer = d.get("/v1/" + name)
    return answer[name] if isinstance(answer, dict) else answer


def check_counters(d):
    """Of a dispatcher in which nothing is under way: nothing is counted as if it were."""
    wait_until(lambda: d.get("/v1/status")["store"]["waiting"] == 0, 20, "all to be written")
    status = d.get("/v1/status")
    assert status["running"] == 0, status
    assert not status["store"]["failing"], status
    for p in listed(d, "pools"):
        assert p["running"] == 0, p
        assert not any(p["queue"].get(s, 0) for s in ("ready", "running", "scheduled", "blocked")), p
        for what in ("cpu", "memory"):
            assert p.get(what, {}).get("used", 0) == 0, p
    runners = listed(d, "runners")
    assert not runners, runners
    for s in listed(d, "slots"):
        assert s["taken"] == 0, s


def processes(text):
    """Ids of the processes that have that in their environment, zombies left out."""
    found = []
    for name in os.listdir("/proc"):
        if name.isdigit() and int(name) != os.getpid():
            try:
                with open(f"/proc/{name}/environ", "rb") as f:
                    if text.encode() in f.read():
                        found.append(int(name))
            except OSError:
                pass
    return found
