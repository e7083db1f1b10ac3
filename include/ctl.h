/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The control socket's contract between daemon and CLI: a unix stream socket, one request per
 * connection.
 *
 * Request: one line of at most CTL_REQUEST_MAX bytes, newline included: the verb and its words,
 * separated by single spaces.
 *
 * Reply: lines, each with a one-letter tag and a space, until the closing line:
 *
 *   v <type> <path> <value>  a value (see below)
 *   l <text>                 a line for standard output as it is (flows, config)
 *   p <done> <total>         progress
 *   e <text>                 a line for standard error
 *   k                        nothing yet, but the daemon lives
 *   . <exit status>          the end: 0 done, 1 no or failed, 2 a request not understood
 *
 * Types: n number, s string, b true or false; z unknown (JSON null) and l an empty list, both
 * without a value. Path: parts joined by dots, items of a list by number and in order:
 * peers.0.node. The CLI rebuilds the tree for JSON or renders it as text.
 */
#ifndef CTSYNCD_CTL_H
#define CTSYNCD_CTL_H

#define CTL_SOCKET_DEFAULT "/run/ctsyncd/ctsyncd.sock"
#define CTL_REQUEST_MAX 256
#define CTL_LINE_MAX 2048

enum ctl_exit {
	CTL_EXIT_DONE = 0,
	CTL_EXIT_FAILED = 1,
	CTL_EXIT_USAGE = 2,
	CTL_EXIT_NO_DAEMON = 3
};

/* X(name, changes something, words after it, help) */
#define CTL_VERBS(X)                                                                               \
	X(status, 0, "", "role, readiness, flows, peers")                                          \
	X(ready, 0, "", "exit 0 if this node could take over now, else 1 and why")                 \
	X(stats, 0, "", "every counter")                                                           \
	X(peers, 0, "", "each peer's state and replication figures")                               \
	X(flows, 0, "local|remote|kernel [--count]", "flows in conntrack -L format")               \
	X(expect, 0, "local|remote|kernel", "expectations in conntrack -L expect format")          \
	X(events, 0, "", "what happens from now on, a line of JSON each, without end")             \
	X(promote, 1, "[--strict]",                                                                \
	  "take the primary role; returns when every flow is in the kernel")                       \
	X(demote, 1, "", "give the role up; removes nothing")                                      \
	X(commit, 1, "", "write the remote half into the kernel, role unchanged")                  \
	X(rehearse, 0, "",                                                                         \
	  "would this kernel take every flow that a promote writes? Tried beside it, as root")     \
	X(policy, 0, "test", "what would another policy cost? By two looks at the table")          \
	X(verify, 1, "[--kernel]",                                                                 \
	  "compute every digest anew and compare with the peers: exit 0 if equal")                 \
	X(resync, 1, "", "fetch every peer's flows again")                                         \
	X(flush, 1, "local|remote", "forget a half of the cache and learn it anew")                \
	X(record, 1, "", "write what the flight recorder has into a file that does not exist yet") \
	X(config, 0, "", "print the configuration in force")                                       \
	X(log, 1, "err|warn|info|debug", "set the log level")                                      \
	X(shutdown, 1, "", "stop the daemon; flows stay in the kernel")

#endif
