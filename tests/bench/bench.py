#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""ctsyncd and conntrackd on the same work, in turns: `make bench`, or this program as root. See README.md.

usage: bench.py [cache] [lags] [hot] [partition] [verified] [rejects] [idle] [scale]      (all of them when none is named)
"""

import os
import shutil
import signal
import statistics
import subprocess
import sys

import bed
import scenarios
import sides
from bed import Void
from scenarios import setting

SMALL = 100000

# Figure, scenario: what design asks for. Upper limits; ours / theirs, or ours alone.
BUDGETS = {
    "cpu active, us/event": ("ratio", 0.5),
    "cpu standby, us/event": ("ratio", 0.2),
    "memory active, B/flow": ("value", 160),
    "memory standby, B/flow": ("value", 160),
    "wire a to b, B/flow": ("value", 40),
    "lag p50, 1000/s, us": ("ratio", 1.0),
    "lag p99, 1000/s, us": ("ratio", 1.0),
    "lag p50, 50000/s by 64, us": ("ratio", 0.5),
    "lag p99, 50000/s by 64, us": ("ratio", 0.5),
    "commit / bare insert, s": ("value", 1.2),
    "commit / bare insert, cpu/flow": ("value", 1.2),
    "promote, ms": ("value", 20),
    "bulk, s": ("ratio", 1.0),
    "agrees after healing, s": ("value", 5),
    "missing 5 s after": ("value", 0),
    "stale 5 s after": ("value", 0),
    "verified age, worst, ms": ("value", 2000),
    **{"cpu of %s, us" % name: ("value", 10) for name, _, _ in scenarios.REJECTS},
    "idle active, % of a core": ("value", 3),
    "idle standby, % of a core": ("value", 3),
}
HOT_BUDGETS_LEFT_OUT = ("cpu active, us/event", "cpu standby, us/event")  # asked for in cache mode


def plan(names):
    """[(scenario, flows, sides)]: sides take turns in each."""
    both = os.environ.get("BENCH_SIDES", "ctsyncd ctsyncd-unsealed conntrackd").split()
    ours = [name for name in both if name == "ctsyncd"]
    sizes = [int(n) for n in os.environ.get("BENCH_FLOWS", "%d 1000000" % SMALL).split()]
    rows = [("cache", n, both) for n in sizes] + [("lags", 0, both)] + [("hot", n, both) for n in sizes]
    rows += [("partition", setting("PARTITION", 300000), both), ("verified", 0, ours), ("rejects", 0, ours), ("idle", max(sizes), ours)]
    rows += [("scale", n, both) for n in (SMALL, setting("SCALE", 4000000))]
    known = {row[0] for row in rows}
    for name in names:
        if name not in known:
            sys.exit(__doc__)
    return [row for row in rows if row[2] and (not names or row[0] in names)]


def show(value):
    if isinstance(value, Void):
        return "void (%s)" % value
    return "%.0f" % value if abs(value) >= 1000 or value == int(value) else "%.3g" % value


def print_setup(the_bed, names):
    print("machine: %s, %d cores, load %s, %d conntrack listeners of others" % (
        os.uname().release, os.cpu_count(), "%.1f" % os.getloadavg()[0], bed.listeners()))
    for name in names:
        for hot in (False, True):
            side = sides.SIDES[name](the_bed, hot=hot, room=SMALL)
            if not hot:
                side.start_both()
                print("\n%s: scheduling: %s. Configuration of the active node:" % (name, bed.class_of(side.pid("a"))))
                print(side.conf_text("a").rstrip())
                side.stop_both()
            else:
                lines = [line for line in side.conf_text("a").splitlines() if line not in before]
                print("hot: " + " ".join(line.strip() for line in lines if "sock" not in line and "/" not in line))
            before = side.conf_text("a").splitlines()
    sys.stdout.flush()


def measure(the_bed, row, results):
    scenario, flows, names = row
    the_bed.room_for(max(flows * (2 if scenario == "partition" else 1), 500000 if scenario == "verified" else 200000))
    for turn in range(1 if scenario in ("verified", "idle") else setting("RUNS", 3)):
        for name in names:
            def make_side(**how):
                return sides.SIDES[name](the_bed, **how)

            listeners = bed.listeners()
            figures = getattr(scenarios, scenario)(the_bed, make_side, flows)
            print("run %d, %s, %s, %d flows, load %.1f, other listeners %d:" % (
                turn + 1, name, scenario, flows, os.getloadavg()[0], listeners), end=" ")
            print("; ".join("%s: %s" % (key, show(value)) for key, value in figures.items()), flush=True)
            for key, value in figures.items():
                results.setdefault((scenario, flows, key), {}).setdefault(name, []).append(value)


def median(values):
    """Of the runs that count; a figure of which no run counts is void."""
    good = [v for v in values or () if not isinstance(v, Void)]
    if good:
        return statistics.median(good)
    return values[0] if values else None


def verdict(scenario, key, ours, theirs):
    kind, limit = BUDGETS.get(key, (None, None))
    if kind is None or (scenario == "hot" and key in HOT_BUDGETS_LEFT_OUT):
        return ""
    if not isinstance(ours, (int, float)):
        return "VOID"
    if kind == "ratio" and not isinstance(theirs, (int, float)):
        return "nothing to compare with"
    value = ours if kind == "value" else ours / theirs
    return "%s (at most %g%s)" % ("ok" if value <= limit else "MISSED", limit, " x" if kind == "ratio" else "")


def print_table(results):
    head = "%-9s %8s  %-28s %14s %14s %14s %7s  %s"
    print("\n" + head % ("scenario", "flows", "median of", "ctsyncd", "unsealed", "conntrackd", "ratio", "budget"))
    for (scenario, flows, key), by_side in results.items():
        ours, unsealed, theirs = (median(by_side.get(n)) for n in ("ctsyncd", "ctsyncd-unsealed", "conntrackd"))
        numbers = isinstance(ours, (int, float)) and isinstance(theirs, (int, float)) and theirs > 0
        cells = ["-" if v is None else "void" if isinstance(v, Void) else show(v) for v in (ours, unsealed, theirs)]
        print(head % (scenario, flows or "", key, *cells, "%.2f" % (ours / theirs) if numbers else "",
                      verdict(scenario, key, ours, theirs)))
    print_growth(results)


def print_growth(results):
    for who in ("active", "standby"):
        costs = {flows: median(by_side.get("ctsyncd")) for (scenario, flows, key), by_side in results.items()
                 if scenario == "scale" and key == "cpu %s, us/event" % who}
        if len(costs) == 2 and all(isinstance(cost, float) for cost in costs.values()):
            ratio = costs[max(costs)] / costs[min(costs)]
            print("cost per event, %s, %d flows against %d: %.2f x, %s (at most 1.3 x)" % (
                who, max(costs), min(costs), ratio, "ok" if ratio <= 1.3 else "MISSED"))


def main():
    if os.geteuid() != 0:
        sys.exit("bench: makes network namespaces and raises sysctls: root is needed")
    if shutil.which("modprobe"):
        subprocess.run(("modprobe", "-a", "nf_conntrack", "nf_conntrack_netlink"), stderr=subprocess.DEVNULL)  # fails if built in
    rows = plan(sys.argv[1:])
    for name in {name for row in rows for name in row[2] if not sides.installed(name)}:
        sys.exit("bench: %s is not installed; BENCH_SIDES leaves it out" % name)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    bed.go_before_others()
    results = {}
    with bed.Bed() as the_bed:
        print_setup(the_bed, sorted({name for row in rows for name in row[2]}))
        try:
            for row in rows:
                measure(the_bed, row, results)
        finally:
            print_table(results)


if __name__ == "__main__":
    main()
