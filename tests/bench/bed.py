# SPDX-License-Identifier: GPL-2.0-or-later
"""The bed of the benchmark: two namespaces with a link between them, and the meters.

Everything made here has the pid of the benchmark in its name and goes when it ends. The two sysctls of conntrack that
belong to the whole machine are put back, unless somebody else changed them meanwhile.
"""

import glob
import json
import os
import resource
import shutil
import signal
import subprocess
import tempfile
import time

SRC = os.environ.get("CTSYNCD_SRC") or os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
BUILD = os.environ.get("CTSYNCD_BUILD") or os.path.join(SRC, "build")
FLOOD = os.path.join(BUILD, "tests/netns/flood")
ATTACK = os.path.join(SRC, "tests/netns/attack.py")
PROBE = os.path.join(BUILD, "tests/bench/probe")
PREFIX = "ctsyncd-bench"
NODES = ("a", "b")  # a is the active node, b the standby
ADDRESS = {"a": "192.168.100.1", "b": "192.168.100.2"}
MACHINE = "/proc/sys/net/netfilter/"


class Void(Exception):
    """A measurement that does not count, and why."""


def run(*words, check=True):
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if check and done.returncode:
        raise Void("%s: exit status %d: %s" % (" ".join(words), done.returncode, done.stderr.strip()))
    return done.stdout


def ns(node):
    return "%s-%d-%s" % (PREFIX, os.getpid(), node)


def inside(node, *words):
    """The command line that runs words in the namespace of node."""
    return ("ip", "netns", "exec", ns(node)) + words


def run_in(node, *words, check=True):
    return run(*inside(node, *words), check=check)


def wait_for(seconds, what, test, pause=0.05):
    """Looks again and again until test() is true; says how long that took. The deadline decides, not the pause."""
    start = time.monotonic()
    while not test():
        if time.monotonic() - start > seconds:
            raise Void("not within %d s: %s" % (seconds, what))
        time.sleep(pause)
    return time.monotonic() - start


# ---- The network ----


class Bed:
    def __init__(self):
        self.tmp = None
        self.machine = {}
        self.children = []

    def __enter__(self):
        remove_leftovers()
        self.tmp = tempfile.mkdtemp(prefix=PREFIX + ".")
        try:
            self.make()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_):
        for child in self.children:
            child.kill()
            child.wait()
        for node in NODES:
            subprocess.run(("ip", "netns", "del", ns(node)), stderr=subprocess.DEVNULL)
        for name, (was, is_now) in self.machine.items():
            if machine_get(name) == is_now:
                machine_set(name, was)
        if self.tmp and not os.environ.get("KEEP_TMP"):
            shutil.rmtree(self.tmp, ignore_errors=True)

    def make(self):
        for node in NODES:
            run("ip", "netns", "add", ns(node))
        run("ip", "link", "add", "sync0", "netns", ns("a"), "type", "veth", "peer", "name", "sync0", "netns", ns("b"))
        for node in NODES:
            run("ip", "-n", ns(node), "link", "set", "lo", "up")
            run("ip", "-n", ns(node), "addr", "add", ADDRESS[node] + "/24", "dev", "sync0")
            run("ip", "-n", ns(node), "link", "set", "sync0", "up")
            # Every flow has events, also one that is made while nobody listens; and the time it was made.
            run_in(node, "sysctl", "-qw", "net.netfilter.nf_conntrack_events=1", "net.netfilter.nf_conntrack_timestamp=1")

    def room_for(self, flows):
        """Raises the machine's limits so that both tables take so many flows in short chains."""
        for name, least in (("nf_conntrack_buckets", flows), ("nf_conntrack_max", flows + flows // 8)):
            if machine_get(name) < least:
                was = self.machine.get(name, (machine_get(name),))[0]
                machine_set(name, least)
                self.machine[name] = (was, machine_get(name))  # the kernel rounds up

    def start(self, words, **more):
        child = subprocess.Popen(words, **more)
        self.children.append(child)
        return child

    def stop(self, child, how=signal.SIGTERM):
        """Ends a child, by force after 20 s."""
        if child.poll() is None:
            child.send_signal(how)
            try:
                child.wait(20)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()
        if child in self.children:
            self.children.remove(child)


def go_before_others():
    """On a machine that others use: all that is started from here goes before their work, and keeps its class."""
    value = os.environ.get("BENCH_NICE")
    if not value:
        return
    os.nice(int(value))
    try:
        with open("/proc/self/autogroup", "w") as f:  # sessions are weighed against each other first
            f.write(value)
    except OSError:
        pass  # a kernel without it


def remove_leftovers():
    """What a benchmark that was killed left behind."""
    for line in run("ip", "netns", "list").splitlines():
        name = line.split()[0]
        if name.startswith(PREFIX + "-") and not os.path.exists("/proc/" + name.split("-")[2]):
            for pid in run("ip", "netns", "pids", name).split():
                os.kill(int(pid), signal.SIGKILL)
            run("ip", "netns", "del", name)


def machine_get(name):
    with open(MACHINE + name) as f:
        return int(f.read())


def machine_set(name, value):
    with open(MACHINE + name, "w") as f:
        f.write(str(value))


def kernel_count(node):
    return int(run_in(node, "cat", MACHINE + "nf_conntrack_count"))


def kernel_flush(nodes=NODES):
    for node in nodes:
        run_in(node, "conntrack", "-F")
        # Destroyed entries stay in the count until the kernel is done with them.
        wait_for(60, "the table of %s is empty" % node, lambda: kernel_count(node) == 0)


def link_cut(cut):
    """Nothing that arrives over the link is heard. No rule of these looks at conntrack, so none turns tracking on."""
    for node in NODES:
        if cut:
            run_in(node, "nft", "table inet cut { chain in { type filter hook input priority -400; iifname sync0 drop; }; }")
        else:
            run_in(node, "nft", "delete table inet cut")


def link_loss(percent):
    """Of what arrives over the link so much is lost; link_cut(False) ends it."""
    for node in NODES:
        run_in(node, "nft", "table inet cut { chain in { type filter hook input priority -400; iifname sync0 "
               "numgen random mod 100 < %d drop; }; }" % percent)


# ---- Work ----


def flood(node, verb, count, first=0):
    """Creates or deletes flows at full speed; seconds, and seconds of CPU. Whatever the kernel refuses is an error."""
    start, before = time.monotonic(), resource.getrusage(resource.RUSAGE_CHILDREN)
    run_in(node, FLOOD, verb, "-n", str(count), "-b", str(first))
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.monotonic() - start, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def bare_insert(bed, count):
    """What flood() gives for a plain batched inserter on node b, with a listener on but nobody to hear it."""
    listener = bed.start(inside("b", PROBE, "hush"), stdout=subprocess.PIPE)
    listener.stdout.readline()
    try:
        return flood("b", "create", count)
    finally:
        bed.stop(listener)


def stamps(node):
    """{flow: when this kernel created it, ns}"""
    return dict((key, int(at)) for key, at in (line.split() for line in run_in(node, PROBE, "stamps").splitlines()))


# ---- Meters ----


def cpu(pid):
    """Seconds of CPU that all threads of a process used: schedstat counts nanoseconds, other files ticks of 10 ms."""
    total = 0
    for path in glob.glob("/proc/%d/task/*/schedstat" % pid):
        with open(path) as f:
            total += int(f.read().split()[0])
    return total / 1e9


def resident(pid):
    """Bytes resident."""
    with open("/proc/%d/statm" % pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def wire(node):
    """Bytes that node put on the link, Ethernet headers included."""
    return json.loads(run("ip", "-n", ns(node), "-s", "-j", "link", "show", "sync0"))[0]["stats64"]["tx"]["bytes"]


def class_of(pid):
    return ", ".join(line.split(": ")[1] for line in run("chrt", "-p", str(pid)).splitlines())


def listeners():
    """Conntrack event listeners on the whole machine: one anywhere halves the rate at which kernels create flows."""
    spaces, count = set(), 0
    for path in glob.glob("/proc/[0-9]*/ns/net"):
        try:
            space = os.readlink(path)
            if space in spaces:
                continue
            with open(path.replace("ns/net", "net/netlink")) as f:
                rows = [line.split() for line in f][1:]
        except OSError:
            continue  # the process ended
        spaces.add(space)
        count += sum(1 for row in rows if row[1] == "12" and int(row[3], 16) & 7)  # NETLINK_NETFILTER, NEW UPDATE DESTROY
    return count
