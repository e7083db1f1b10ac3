#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Plants one-line bugs in proto/, one at a time, and lets the simulator find them.

    mutants.py [-j JOBS] [-f FIRST] [-m MOST] [NAME...]
    mutants.py -n       only tells which lines are not there any more; needs no build

mutants.txt beside this file lists them. Of each the one file is compiled again, linked before the library, and run over the
seeds 1 to FIRST (the range of make check), then on to MOST, until a seed fails. It is a failure when a mutant survives, when
its line is not found exactly once, or when the simulator without a mutant fails. Runs in a built tree: CTSYNCD_SRC,
CTSYNCD_BUILD, and CC, MUTANT_FLAGS, MUTANT_LIBS as make check-mutants sets them. The last line is "N passed, N failed".
"""

import argparse
import concurrent.futures
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

SRC = os.environ.get("CTSYNCD_SRC", os.path.join(os.path.dirname(os.path.abspath(__file__)), "../.."))
BUILD = os.environ.get("CTSYNCD_BUILD", os.path.join(SRC, "build"))
HANG_S = 3600  # of one run; a seed that never ends is the simulator's own business


class Mutant:
    def __init__(self, name, area, where):
        self.name, self.area = name, area
        self.file, _, self.function = where.partition(":")
        self.old, self.new, self.why = None, None, []


def read_table(path):
    """Blocks of: mutant NAME AREA FILE[:FUNCTION], - the line, + what it becomes (nothing: it goes)."""
    mutants = []
    with open(path, encoding="utf-8") as table:
        for at, line in enumerate(table, 1):
            line = line.rstrip("\n")
            if not line or line.startswith("#"):
                continue
            kind, _, rest = line.partition(" ")
            if kind == "mutant":
                mutants.append(Mutant(*rest.split()))
            elif kind == "-" and mutants:
                mutants[-1].old = rest.strip()
            elif kind == "+" and mutants:
                mutants[-1].new = rest.strip()
            else:
                sys.exit(f"{path}:{at}: what is this?")
    for m in mutants:
        if m.old is None or m.new is None:
            sys.exit(f"{path}: {m.name}: lacks a line")
    return mutants


def body_of(lines, function):
    """First and last line of a function, by the braces in column one."""
    if not function:
        return 0, len(lines)
    for i, line in enumerate(lines):
        if not re.match(r"[a-z].*\b" + re.escape(function) + r"\(", line):
            continue
        head = next(j for j in range(i, len(lines)) if lines[j].endswith((";", "{")))
        if lines[head] == "{":  # else a prototype
            return head, next(j for j in range(head, len(lines)) if lines[j] == "}")
    return 0, 0


def plant(m):
    """The mutated source, or None when the line is not there exactly once."""
    with open(os.path.join(SRC, "proto", m.file), encoding="utf-8") as source:
        lines = source.read().split("\n")
    lo, hi = body_of(lines, m.function)
    hits = [i for i in range(lo, hi) if lines[i].strip() == m.old]
    if len(hits) != 1:
        return None
    lines[hits[0]] = m.new
    return "\n".join(lines)


def run(cmd):
    done = subprocess.run(cmd, cwd=BUILD, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace",
                          timeout=HANG_S, check=False)
    return done.returncode, done.stdout


def compile_and_link(scratch, name, source):
    """Returns (program, None) or (None, what went wrong)."""
    objects = [os.path.join("tests/sim", f) for f in sorted(os.listdir(os.path.join(BUILD, "tests/sim")))
               if f.endswith(".o") and f != "replay.o" and "-" not in f]  # of other programs
    cc, flags = shlex.split(os.environ["CC"]), shlex.split(os.environ["MUTANT_FLAGS"])
    program, extra = os.path.join(scratch, name), []
    if source is not None:
        path = program + ".c"
        with open(path, "w", encoding="utf-8") as out:
            out.write(source)
        status, text = run([*cc, *flags, "-w", "-I" + os.path.join(SRC, "proto"), "-c", path, "-o", program + ".o"])
        if status:
            return None, text
        extra = [program + ".o"]
    status, text = run([*cc, *flags, "-o", program, *objects, *extra, "libctdaemon.a", "libctproto.a",
                        *shlex.split(os.environ["MUTANT_LIBS"])])
    return (None, text) if status else (program, None)


def seed_of(text):
    """(seed, what failed) of the first failure in the simulator's output."""
    hit = re.search(r"^FAIL seed (\d+): (.*)$", text, re.M)
    return (int(hit[1]), hit[2]) if hit else (None, "the simulator died without a word")


def try_mutant(scratch, m, first, most):
    """(status, seed, text, seconds): status is killed, late (beyond the first range), survived or broken."""
    began = time.monotonic()
    source = plant(m)
    if source is None:
        return "broken", 0, f"{m.file} {m.function}: its line is not there exactly once", 0.0
    program, text = compile_and_link(scratch, m.name, source)
    if not program:
        return "broken", 0, text, 0.0
    for lo, hi in ((1, first), (first + 1, most)):
        status, text = run([program, "-r", f"{lo}-{hi}", "-x"])
        if not status:
            continue
        seed, what = seed_of(text)
        os.unlink(program)
        return "killed" if hi == first else "late", seed or 0, what, time.monotonic() - began
    os.unlink(program)
    return "survived", most, "", time.monotonic() - began


def report(mutants, results, first):
    killed = sorted(seed for status, seed, _, _ in results if status in ("killed", "late"))
    early = sum(1 for r in results if r[0] == "killed")
    areas = {}
    for m, r in zip(mutants, results):
        areas.setdefault(m.area, []).append(r[0] == "killed")
    for area, hits in sorted(areas.items()):
        print(f"{area}: {len(hits)} mutants, {sum(hits)} at the first pass")
    if killed:
        print(f"first pass (seeds 1 to {first}): {early} of {len(mutants)} killed, {100 * early / len(mutants):.0f} %; "
              f"median seed {killed[len(killed) // 2]}, highest {killed[-1]}")


def main():
    args = argparse.ArgumentParser()
    args.add_argument("-j", type=int, default=os.cpu_count())
    args.add_argument("-f", type=int, default=1000)
    args.add_argument("-m", type=int, default=20000)
    args.add_argument("-n", action="store_true")
    args.add_argument("names", nargs="*")
    opt = args.parse_args()
    mutants = read_table(os.path.join(SRC, "tests/sim/mutants.txt"))
    if opt.n:
        gone = [m for m in mutants if plant(m) is None]
        for m in gone:
            print(f"tests/sim/mutants.txt: {m.name}: its line is not in proto/{m.file} {m.function} exactly once")
        return bool(gone)
    if opt.names:
        mutants = [m for m in mutants if m.name in opt.names]
    with tempfile.TemporaryDirectory() as scratch, concurrent.futures.ThreadPoolExecutor(opt.j) as pool:
        program, text = compile_and_link(scratch, "unmutated", None)
        status = 1
        if program:
            status, text = run([program, "-r", f"1-{opt.f}", "-x"])
        if status:
            print("FAIL without a mutant:", text)
            print("0 passed, 1 failed")
            return 1
        futures = [pool.submit(try_mutant, scratch, m, opt.f, opt.m) for m in mutants]
        results = []
        for m, future in zip(mutants, futures):
            status, seed, text, took = future.result()
            results.append((status, seed, text, took))
            word = {"killed": "ok  ", "late": "late"}.get(status, "FAIL")
            print(f"{word} {m.area}/{m.name}: {status}, seed {seed}, {took:.1f} s: {text}", flush=True)
    report(mutants, results, opt.f)
    bad = sum(1 for r in results if r[0] in ("survived", "broken"))
    print(f"{len(results) - bad} passed, {bad} failed")
    return bad != 0


if __name__ == "__main__":
    sys.exit(main())
