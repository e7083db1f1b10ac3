# SPDX-License-Identifier: GPL-2.0-or-later
"""The two sides that are compared, behind the same few verbs. Both get the same buffers and the same room.

A side runs on both nodes of the bed. cache or hot: whether the standby keeps flows in memory or writes them into its
kernel at once (what conntrackd calls DisableExternalCache).
"""

import json
import os
import re
import signal
import subprocess
import time

import bed

EVENT_BUFFER = 256 << 20  # bytes asked for, kernel events: room for 419,000 of them
SOCKET_BUFFER = 16 << 20  # of the sync link
FLOW = re.compile(r"src=(\S+) .*?sport=(\d+)")  # the first of a line is the original direction


class Side:
    """room: flows to be ready for."""

    def __init__(self, the_bed, hot, room):
        self.bed, self.hot, self.room = the_bed, hot, room
        self.dir = os.path.join(the_bed.tmp, "%s-%d" % (self.name, time.monotonic_ns()))
        self.daemon = {}
        for node in bed.NODES:
            os.makedirs(os.path.join(self.dir, node))
            with open(self.conf(node), "w") as f:
                f.write(self.conf_text(node))

    def path(self, node, name):
        return os.path.join(self.dir, node, name)

    def conf(self, node):
        return self.path(node, self.name.split("-")[0] + ".conf")

    def start(self, node):
        with open(self.path(node, "log"), "a") as log:
            self.daemon[node] = self.bed.start(bed.inside(node, *self.command(node)), stdout=log, stderr=log)

    def start_both(self):
        for node in bed.NODES:
            self.start(node)
        bed.wait_for(10, "%s: both nodes answer and have found each other" % self.name, self.ready)

    def pid(self, node):
        return self.daemon[node].pid  # `ip netns exec` becomes the daemon

    def lives(self, node):
        return self.daemon[node].poll() is None

    def stop(self, node, how=signal.SIGTERM):
        self.bed.stop(self.daemon.pop(node), how)

    def stop_both(self):
        for node in list(self.daemon):
            self.stop(node)

    def client(self, node, *words, check=True):
        return bed.run(*self.client_command(node), *words, check=check)

    def remote_is(self, node, count):
        return self.remote(node) == count


class Ctsyncd(Side):
    name = "ctsyncd"
    sealed = True

    def conf_text(self, node):
        other = [n for n in bed.NODES if n != node][0]
        seal = 'seal = "none";'
        if self.sealed:
            key = os.path.join(self.dir, "key")
            if not os.path.exists(key):
                with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT, 0o600), "wb") as f:
                    f.write(os.urandom(32))
            seal = 'key_files = [ "%s" ];' % key
        return """node = "%s";
standby = "%s";
user = "root";
sync = {
  %s
  socket_buffer = %d;
  links = ( { interface = "sync0"; local = "%s"; peers = [ "%s" ]; port = 3780; } );
};
kernel = { event_buffer = %d; };
control = { socket = "%s"; };
""" % (
            node,
            "hot" if self.hot else "cache",
            seal,
            SOCKET_BUFFER,
            bed.ADDRESS[node],
            bed.ADDRESS[other],
            EVENT_BUFFER,
            self.path(node, "sock"),
        )

    def command(self, node):
        return os.path.join(bed.BUILD, "ctsyncd"), "-c", self.conf(node)

    def client_command(self, node):
        return os.path.join(bed.BUILD, "ctsync"), "-s", self.path(node, "sock")

    def value(self, node, verb):
        text = self.client(node, "--json", verb, check=False)
        return json.loads(text) if text else {}

    def ready(self):
        def up(node):
            peers = self.value(node, "status").get("peers")
            return bool(peers) and peers[0]["state"] == "up"

        return all(up(node) for node in bed.NODES)

    def take_role(self, node):
        self.client(node, "promote")

    def remote(self, node):
        return self.value(node, "status").get("flows", {}).get("remote", -1)

    def settled(self, node):
        """Nothing is on its way into the kernel of this standby."""
        return self.value(node, "status").get("backlog", -1) == 0

    def events(self, node):
        """Kernel events that it has read."""
        stats = self.value(node, "stats")
        return sum(stats["events_" + kind] for kind in ("new", "update", "destroy"))

    def drops(self, node, reason):
        return self.value(node, "stats")["drops"][reason]

    def lost_percent(self, node):
        """Of what the other node sent to this one."""
        peer = self.value(node, "peers")["peers"][0]
        return 100 * peer["lost"] / max(1, peer["expected"])

    def verified_age_ms(self, node):
        """How long ago what it holds was proven equal."""
        return self.value(node, "status")["peers"][0]["verified_age_ms"]

    def keys(self, node):
        return set(":".join(FLOW.search(line).groups()) for line in self.client(node, "flows", "remote").splitlines())

    def commit(self, node):
        self.client(node, "promote")

    def request_bulk(self, node):
        """It asks by itself."""


class CtsyncdUnsealed(Ctsyncd):
    name = "ctsyncd-unsealed"
    sealed = False


class Conntrackd(Side):
    name = "conntrackd"

    def conf_text(self, node):
        other = [n for n in bed.NODES if n != node][0]
        return """Sync {
  Mode FTFW {
    ResendQueueSize 131072
    StartupResync yes
    DisableExternalCache %s
  }
  UDP {
    IPv4_address %s
    IPv4_Destination_Address %s
    Port 3780
    Interface sync0
    SndSocketBuffer %d
    RcvSocketBuffer %d
    Checksum on
  }
  Options {
    TCPWindowTracking on
  }
}
General {
  HashSize %d
  HashLimit %d
  LogFile %s
  LockFile %s
  UNIX { Path %s }
  NetlinkBufferSize %d
  NetlinkBufferSizeMaxGrowth %d
}
""" % (
            "yes" if self.hot else "no",
            bed.ADDRESS[node],
            bed.ADDRESS[other],
            SOCKET_BUFFER,
            SOCKET_BUFFER,
            max(65536, self.room),
            4 * self.room,
            self.path(node, "conntrackd.log"),
            self.path(node, "lock"),
            self.path(node, "sock"),
            EVENT_BUFFER,
            EVENT_BUFFER,
        )

    def command(self, node):
        return "conntrackd", "-C", self.conf(node)

    def client_command(self, node):
        return "conntrackd", "-C", self.conf(node)

    def ready(self):
        # It does not tell whether it has found its peer: when both answer, hellos are exchanged within this second.
        if not all(self.remote(node) >= 0 for node in bed.NODES):
            return False
        time.sleep(1)
        return True

    def take_role(self, node):
        """It has no roles."""

    def remote(self, node):
        """Flows of the peer: in the external cache, or, if hot, in the kernel."""
        text = self.client(node, "-s", check=False)
        found = re.search(r"cache external:\s*current active connections:\s*(\d+)", text)
        if found:
            return int(found.group(1))
        return bed.kernel_count(node) if text and self.hot else -1

    def settled(self, node):
        return True

    def keys(self, node):
        return set(":".join(FLOW.search(line).groups()) for line in self.client(node, "-e").splitlines())

    def commit(self, node):
        self.client(node, "-c")

    def request_bulk(self, node):
        bed.wait_for(10, "conntrackd answers", lambda: self.remote(node) >= 0, pause=0.01)
        self.client(node, "-n")


SIDES = {side.name: side for side in (Ctsyncd, CtsyncdUnsealed, Conntrackd)}


def installed(name):
    if name != "conntrackd":
        return True
    return subprocess.run(("which", "conntrackd"), stdout=subprocess.DEVNULL).returncode == 0
