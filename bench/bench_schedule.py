"""What one decision of the schedule costs, by policy, by how much is queued, and by how many tenants."""
from harness import Bench, Goal, Side

POLICIES = ("fifo", "priority", "skill", "fair-share")
QUEUED = (1_000, 100_000, 1_000_000)
TENANTS = (1, 10_000)
DECISIONS = 1_000_000
NEEDS = (10, 100, 1000)
WITHIN = 3  # times what it costs with the shortest queue


def name_of(policy, queued, tenants):
    return f"{policy}, {queued // 1000:,} k, {tenants:,} tenant{'s' if tenants > 1 else ''}"


def bench(kit):
    program, one = kit.program("schedule_inside"), kit.pin(1)
    cases = [(p, n) for p in POLICIES for n in TENANTS]
    return Bench(
        "one decision of the schedule: an end, a new task, the choice and a start, with its permit",
        shows=["decision_ns"],
        notes=["Four priorities for each tenant, tasks at random, 64 of them running in four pools. With 10,000 tenants and a "
               "thousand tasks most tenants have none.",
               "needs: priority, 100 k, 10,000 tenants, with so many different needs of memory in each pool; what has another "
               "need is looked at for itself, so this is what grows.",
               "What a longer queue costs is memory that is not in a cache: the tasks of a million are 140 MB."],
        sides=[*[Side(name_of(p, q, n), one + [program, p, q, n, DECISIONS], prints=True) for p, n in cases for q in QUEUED],
               *[Side(f"{n:,} needs", one + [program, "priority", 100_000, 10_000, DECISIONS // 10, n], prints=True)
                 for n in NEEDS]],
        goals=[Goal(name_of(p, q, n), "decision_ns", "<=", WITHIN, beside=name_of(p, QUEUED[0], n))
               for p, n in cases for q in QUEUED[1:]])
