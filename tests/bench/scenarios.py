# SPDX-License-Identifier: GPL-2.0-or-later
"""What is measured, and how. A scenario runs one side once and gives its figures by name: {figure: value}, or
{figure: Void} where the side did not get there. README.md says what each figure means.
"""

import os
import signal
import subprocess
import time

import bed
from bed import Void


def setting(name, default):
    return int(os.environ.get("BENCH_" + name, default))


def figure(figures, name, measure):
    """Notes the value of measure(), or why it is void; the void of one figure does not end a scenario."""
    try:
        figures[name] = measure()
    except Void as why:
        figures[name] = why


def patience(flows):
    return 30 + flows // 10000  # seconds, until a count that does not come is given up


class Meter:
    """CPU of both daemons and bytes on the wire since it was made."""

    def __init__(self, side):
        self.side = side
        self.cpu = {n: bed.cpu(side.pid(n)) for n in bed.NODES}
        self.wire = {n: bed.wire(n) for n in bed.NODES}

    def note(self, figures, events):
        for node, who in (("a", "active"), ("b", "standby")):
            figures["cpu %s, us/event" % who] = (bed.cpu(self.side.pid(node)) - self.cpu[node]) * 1e6 / events
        figures["wire a to b, B/flow"] = (bed.wire("a") - self.wire["a"]) / events
        figures["wire b to a, B/flow"] = (bed.wire("b") - self.wire["b"]) / events


def fill(side, flows, figures):
    """Creates flows on a at full speed until b has them all."""
    meter = Meter(side)
    start = time.monotonic()
    figures["create rate, 1000/s"] = flows / bed.flood("a", "create", flows)[0] / 1000
    bed.wait_for(patience(flows), "b has %d flows" % flows, lambda: side.remote("b") == flows, pause=0.1)
    figures["until b has all, s"] = time.monotonic() - start
    meter.note(figures, flows)


# ---- cache: the standby keeps flows in memory ----


def bulk(side, flows):
    """Seconds from the start of b's daemon until it has all flows of a again."""
    side.stop("b")
    start = time.monotonic()
    side.start("b")
    side.request_bulk("b")
    bed.wait_for(patience(flows), "b has its %d flows again" % flows, lambda: side.remote("b") == flows, pause=0.02)
    return time.monotonic() - start


def commit(side, flows, figures):
    """Seconds that a takeover takes: a is dead, b writes all flows into its empty kernel. The hash table is the machine's:
    a's entries would lengthen the chains that b's go into, as they do not when a is a machine of its own."""
    side.stop("a", signal.SIGKILL)
    bed.kernel_flush("a")
    start, cpu = time.monotonic(), bed.cpu(side.pid("b"))
    side.commit("b")
    took = time.monotonic() - start
    figures["commit, us of cpu/flow"] = (bed.cpu(side.pid("b")) - cpu) * 1e6 / flows
    count = bed.kernel_count("b")
    if count < flows:
        raise Void("%d of %d in the kernel of b" % (count, flows))
    return took


def cache(the_bed, make_side, flows):
    figures = {}
    side = make_side(hot=False, room=flows)
    try:
        side.start_both()
        side.take_role("a")
        before = {n: bed.resident(side.pid(n)) for n in bed.NODES}
        fill(side, flows, figures)
        for node, who in (("a", "active"), ("b", "standby")):
            figures["memory %s, B/flow" % who] = (bed.resident(side.pid(node)) - before[node]) / flows
        figure(figures, "bulk, s", lambda: bulk(side, flows))
        if not isinstance(figures["bulk, s"], Void):
            figure(figures, "commit, s", lambda: commit(side, flows, figures))
            side.stop_both()
            bed.kernel_flush()
            figures["bare insert, s"], cpu = bed.bare_insert(the_bed, flows)
            figures["bare insert, us of cpu/flow"] = cpu * 1e6 / flows
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    for unit in ("s", "us of cpu/flow"):
        ours, bare = figures.get("commit, " + unit), figures.get("bare insert, " + unit)
        if isinstance(ours, float) and isinstance(bare, float):
            figures["commit / bare insert, " + unit.split()[-1]] = ours / bare
    return figures


# ---- hot: the standby's kernel has the flows ----


def percentile(ordered, share):
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


LATE_US = (200, 500, 1000, 5000)  # round trips: an answer that is faster finds no entry (active-active)


def lag(side, rate, burst, count, figures):
    """From the moment that a's kernel made a flow to the moment that b's kernel made it."""
    # Packets are not preempted by daemons, so neither is who stands for them, whatever class a daemon has.
    took = float(bed.run_in("a", "chrt", "-f", "99", bed.PROBE, "pace", str(rate), str(count), str(burst)).split()[-2])
    if count / took < 0.9 * rate:
        raise Void("only %.0f flows/s could be made" % (count / took))
    bed.wait_for(30, "b's kernel has %d flows" % count, lambda: bed.kernel_count("b") >= count)
    made = {n: bed.stamps(n) for n in bed.NODES}
    if set(made["a"]) != set(made["b"]):
        raise Void("b's kernel has %d of %d flows" % (len(set(made["a"]) & set(made["b"])), len(made["a"])))
    lags = sorted((made["b"][key] - at) / 1000 for key, at in made["a"].items())
    for share, name in ((0.5, "p50"), (0.99, "p99")):
        figures["lag %s, %s, us" % (name, pace_name(rate, burst))] = percentile(lags, share)
    for limit in LATE_US if burst == 1 else ():
        late = sum(1 for us in lags if us > limit)
        figures["later than %g ms, %s, %% of flows" % (limit / 1000, pace_name(rate, burst))] = 100 * late / len(lags)


def pace_name(rate, burst):
    return "%d/s" % rate if burst == 1 else "%d/s by %d" % (rate, burst)


def promote(side, flows):
    side.stop("a", signal.SIGKILL)
    start = time.monotonic()
    side.commit("b")
    took = time.monotonic() - start
    if bed.kernel_count("b") < flows:
        raise Void("b's kernel has %d of %d flows" % (bed.kernel_count("b"), flows))
    return took * 1000


def start_hot(make_side, room):
    side = make_side(hot=True, room=room)
    side.start_both()
    side.take_role("a")
    return side


def lags(_, make_side, __):
    figures = {}
    for rate, burst, seconds in ((1000, 1, 5), (10000, 1, 5), (50000, 64, 4)):
        side = None
        try:
            side = start_hot(make_side, rate * seconds)
            lag(side, rate, burst, rate * seconds, figures)
        except Void as why:
            figures["lag p50, %s, us" % pace_name(rate, burst)] = why
        if side:
            side.stop_both()
        bed.kernel_flush()
    return figures


def hot(_, make_side, flows):
    figures = {}
    side = make_side(hot=True, room=flows)
    try:
        side.start_both()
        side.take_role("a")
        fill(side, flows, figures)
        bed.wait_for(patience(flows), "b's kernel has them", lambda: bed.kernel_count("b") >= flows)
        bed.wait_for(patience(flows), "no write waits", lambda: side.settled("b"))
        figure(figures, "promote, ms", lambda: promote(side, flows))
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures


def idle(_, make_side, flows):
    """Share of a core that a hot pair takes while nothing happens."""
    figures = {}
    seconds = setting("IDLE_S", 120)
    side = make_side(hot=True, room=flows)
    try:
        side.start_both()
        side.take_role("a")
        bed.flood("a", "create", flows)
        bed.wait_for(patience(flows), "b's kernel has them", lambda: bed.kernel_count("b") >= flows)
        bed.wait_for(patience(flows), "no write waits", lambda: side.settled("b"))
        before = {n: bed.cpu(side.pid(n)) for n in bed.NODES}
        start = time.monotonic()
        time.sleep(seconds)  # the time itself is what is measured
        took = time.monotonic() - start
        for node, who in (("a", "active"), ("b", "standby")):
            figures["idle %s, %% of a core" % who] = (bed.cpu(side.pid(node)) - before[node]) / took * 100
        if bed.kernel_count("b") < flows:
            raise Void("b's kernel lost %d flows meanwhile" % (flows - bed.kernel_count("b")))
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures


# ---- rejects: what does a datagram cost that is not taken? ----

REJECTS = (  # what it is called, the words for attack.py, the drop that it counts as
    ("a replay", ("replay", "out"), "replay"),
    ("a bad tag", ("forge", "tag"), "auth"),
    ("another key", ("forge", "key"), "key"),
    ("its own words", ("replay", "in"), "self"),
)


def reject(the_bed, side, path, words, drop):
    """CPU of b's daemon for each datagram of a kind, less what it takes when none comes, in us."""
    def step(count):
        before, drops = bed.cpu(side.pid("b")), side.drops("b", drop)
        start = time.monotonic()
        sent = 0
        if count:
            sent = int(bed.run_in("a", bed.ATTACK, words[0], path, words[1], str(count), bed.ADDRESS["a"],
                                  bed.ADDRESS["b"]).split()[1])
            bed.wait_for(10, "b counts %d as %s" % (sent, drop), lambda: side.drops("b", drop) - drops >= sent)
        else:
            time.sleep(2)  # the time itself is what is measured
        return bed.cpu(side.pid("b")) - before, time.monotonic() - start, sent

    quiet, quiet_s, _ = step(0)
    cpu, took, sent = step(setting("REJECTS_TIMES", 40))
    return (cpu - quiet / quiet_s * took) * 1e6 / sent


def rejects(the_bed, make_side, _):
    figures = {}
    side = make_side(hot=False, room=100000)
    try:
        side.start_both()
        side.take_role("a")
        path = side.path("a", "heard")
        ears = the_bed.start(bed.inside("a", bed.ATTACK, "record", "sync0", path, "4"), stdout=subprocess.DEVNULL)
        time.sleep(0.5)  # it listens by then, or there is too little to send again, which is found out
        bed.flood("a", "create", 20000)
        ears.wait()
        for name, words, drop in REJECTS:
            figure(figures, "cpu of %s, us" % name, lambda w=words, d=drop: reject(the_bed, side, path, w, d))
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures


# ---- verified: how old is the proof of equality? ----


def churn(node, rate, seconds, turn):
    """rate events a second: a third creates, a third deletes what the turn before created, a third changes cold flows."""
    count = rate // 3 * seconds
    pace = ("-n", str(count), "-r", str(rate // 3))
    yield bed.inside(node, bed.FLOOD, "create", *pace, "-b", str((turn + 1) * count))
    yield bed.inside(node, bed.FLOOD, "update", *pace, "-b", "0", "-m", str(turn))
    if turn > 1:
        yield bed.inside(node, bed.FLOOD, "delete", *pace, "-b", str(turn * count))


def verified_ages(the_bed, side, rate, seconds, turn):
    """Looks at the age, by the standby, all the while. Returns the ages in ms, and events a second of the active node."""
    ages, before = [], side.events("a")
    start = time.monotonic()
    floods = [the_bed.start(words, stdout=subprocess.DEVNULL) for words in churn("a", rate, seconds, turn)]
    while any(f.poll() is None for f in floods):
        ages.append(side.verified_age_ms("b"))
        time.sleep(0.02)
    took = time.monotonic() - start
    events = side.events("a") - before
    for flood in floods:
        the_bed.stop(flood)
    return ages, events / took


def verified(the_bed, make_side, _):
    figures = {}
    rate, seconds = setting("VERIFIED_RATE", 60000), 5
    cold = rate // 3 * seconds
    side = make_side(hot=False, room=4 * cold)
    try:
        side.start_both()
        side.take_role("a")
        fill(side, 2 * cold, {})
        bed.link_loss(setting("VERIFIED_LOSS", 1))
        ages, rates = [], []
        try:
            for turn in range(1, setting("VERIFIED_TURNS", 6) + 1):
                got = verified_ages(the_bed, side, rate, seconds, turn)
                if turn > 1:  # the first has nothing to delete
                    ages += got[0]
                    rates.append(got[1])
        finally:
            bed.link_cut(False)
        if min(rates) < 0.9 * rate:
            raise Void("only %.0f events/s could be made" % min(rates))
        ages.sort()
        figures["events, 1000/s"] = sum(rates) / len(rates) / 1000
        figures["datagrams lost, %"] = side.lost_percent("b")
        for share, name in ((0.5, "p50"), (0.99, "p99"), (1, "worst")):
            figures["verified age, %s, ms" % name] = float(percentile(ages, share))
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures


# ---- partition ----


def partition(_, make_side, flows):
    """flows there, cut, as many created and those deleted at full speed, 10 s in all, healed: how wrong is b after 5 s,
    and when does it agree?"""
    figures = {}
    side = make_side(hot=False, room=2 * flows)
    try:
        side.start_both()
        side.take_role("a")
        fill(side, flows, {})
        bed.link_cut(True)
        try:
            start = time.monotonic()
            bed.flood("a", "create", flows, first=flows)
            bed.flood("a", "delete", flows)
            time.sleep(max(0.0, 10 - (time.monotonic() - start)))  # the rest of the 10 s
        finally:
            bed.link_cut(False)
        healed = time.monotonic()
        want = set(bed.stamps("a"))
        try:
            bed.wait_for(5, "equal counts", lambda: side.remote("b") == len(want))
            figures["agrees after healing, s"] = time.monotonic() - healed
        except Void as why:
            figures["agrees after healing, s"] = why
        time.sleep(max(0.0, 5 - (time.monotonic() - healed)))  # what is judged is the state after 5 s
        have = side.keys("b")
        figures["missing 5 s after"] = float(len(want - have))
        figures["stale 5 s after"] = float(len(have - want))
        if want != have:
            figure(figures, "agrees after healing, s", lambda: healed_late(side, want, healed))
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures


def healed_late(side, want, healed):
    bed.wait_for(setting("PARTITION_S", 30), "the same flows on both", lambda: side.keys("b") == want, pause=2)
    return time.monotonic() - healed


# ---- scale ----


def scale(_, make_side, flows):
    """Cost of an event while a table grows to flows; compare with the same figure of a small table."""
    figures = {}
    side = make_side(hot=False, room=flows)
    try:
        side.start_both()
        side.take_role("a")
        before = {n: bed.resident(side.pid(n)) for n in bed.NODES}
        fill(side, flows, figures)
        for node, who in (("a", "active"), ("b", "standby")):
            figures["memory %s, B/flow" % who] = (bed.resident(side.pid(node)) - before[node]) / flows
    except Void as why:
        figures["scenario"] = why
    side.stop_both()
    bed.kernel_flush()
    return figures
