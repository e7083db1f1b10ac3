/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Both ends of many flows in one process: what a failover does to real connections.
 *
 *   traffic CLIENT_NETNS SERVER_NETNS [FIRST_PORT]
 *
 * The process makes its client sockets in one network namespace and its server sockets in the other
 * (a socket stays where it was made), so it holds both ends of every flow and can judge them
 * without trusting anybody: every byte of a TCP stream is a function of flow, side and offset and
 * is compared on arrival; every datagram carries its flow, number and filler. Nothing ever
 * reconnects: a flow that broke stays broken.
 *
 * The clients are the addresses 10.1.0.1.. and fd01::1..; all of them use the same few source
 * ports, so that source NAT to one address has to remap ports. The server notes the address and
 * port from which it first saw each flow; a datagram that comes from anywhere else makes the flow
 * "moved", which counts as lost.
 *
 * Of ten flows six are chatty (both sides send now and then, until "chat off"), two are silent
 * until "check" (the client then speaks first), and on two the server speaks first at "check" (for
 * ICMP: it answers only then a request that "hold" sent).
 *
 * Commands on standard input, one a line; each is answered by lines of which the last is "end":
 *   open KIND COUNT    KIND: tcp4 tcp6 udp4 udp6 icmp4 icmp6, or dnat4 (the server side
 * calls 10.2.0.254:8080) chat on|off        start or stop the chatty flows hold               let
 * ICMP requests be sent that are answered at the next check check MS           a round trip on
 * every flow within MS milliseconds, or it is lost gap                longest silence on a chatty
 * flow since the last "gap" or "chat on" bytes              verified payload so far close KIND
 * orderly close of TCP, both sides; forgets the flows quit
 */
#include "traffic.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <unistd.h>

static const char *const kind_names[] = {
	"tcp4", "tcp6", "udp4", "udp6", "icmp4", "icmp6", "dnat4"
};

/* ---- Commands ---- */

static int listen_for(const struct traffic *t, enum kind kind)
{
	enum side side = kind == DNAT4 ? CLIENT : SERVER;
	struct sockaddr_in6 a = address(is_v6(kind), side, 1, SERVER_PORT);
	int fd = socket_in(t, side, is_v6(kind), SOCK_STREAM, 0);

	bind_to(fd, &a, is_v6(kind));
	if (listen(fd, 128) < 0)
		die("listen");
	return fd;
}

static void flow_open(struct traffic *t, enum kind kind, unsigned int i, int listener)
{
	enum side caller = kind == DNAT4 ? SERVER : CLIENT;
	struct flow *f = &t->flows[t->flow_count];
	uint16_t port = (uint16_t)(t->port_base + i / CLIENT_ADDRS);
	struct sockaddr_in6 from = address(is_v6(kind), caller, 1 + i % CLIENT_ADDRS, port);
	struct sockaddr_in6 to =
		address(is_v6(kind), !caller, kind == DNAT4 ? 254 : 1, SERVER_PORT);

	if (kind == DNAT4) /* the published address, on the servers' side of the firewall */
		to = address(false, SERVER, 254, DNAT_PORT);
	*f = (struct flow){ .kind = kind,
			    .id = t->flow_count,
			    .end = { { .fd = -1 }, { .fd = -1 } } };
	f->manner = i % 5 == 3 ? SILENT : i % 5 == 4 ? SERVER_FIRST : CHATTY;
	f->open = true;
	t->flow_count++;
	if (is_tcp(kind))
		tcp_open(t, f, listener, &from, &to);
	else
		dgram_open(t, f, &from, &to);
	f->end[CLIENT].moved_at = f->end[SERVER].moved_at = now_ms();
}

static void cmd_open(struct traffic *t, enum kind kind, unsigned int count)
{
	int listener = is_tcp(kind) ? listen_for(t, kind) : -1;
	unsigned int remapped = 0;

	if (t->flow_count + count > FLOWS_MAX || count > CLIENT_ADDRS * 20000U)
		die("too many flows");
	for (unsigned int i = 0; i < count; i++) {
		flow_open(t, kind, i, listener);
		if (is_tcp(kind) && kind != DNAT4 &&
		    ntohs(t->flows[t->flow_count - 1].seen.sin6_port) !=
			    t->port_base + i / CLIENT_ADDRS)
			remapped++;
	}
	if (listener >= 0)
		close(listener);
	printf("open %s %u remapped %u\n", kind_names[kind], count, remapped);
}

static void gap_reset(struct traffic *t)
{
	for (uint32_t i = 0; i < t->flow_count; i++) {
		struct flow *f = &t->flows[i];

		f->gap_ms = 0;
		f->end[CLIENT].moved_at = f->end[SERVER].moved_at = now_ms();
	}
}

/* The longest silence of the flow so far, the one that may be going on included. */
static uint64_t flow_gap(struct flow *f, bool chat, uint64_t now)
{
	for (int side = CLIENT; chat && side <= SERVER; side++)
		if (now - f->end[side].moved_at > f->gap_ms)
			f->gap_ms = now - f->end[side].moved_at;
	return f->gap_ms;
}

static void cmd_gap(struct traffic *t)
{
	for (int kind = 0; kind < KIND_COUNT; kind++) {
		uint64_t longest = 0, now = now_ms();
		unsigned int count = 0;

		for (uint32_t i = 0; i < t->flow_count; i++) {
			struct flow *f = &t->flows[i];

			if (!f->open || f->kind != (enum kind)kind || f->manner != CHATTY)
				continue;
			count++;
			if (flow_gap(f, t->chat, now) > longest)
				longest = f->gap_ms;
		}
		if (count)
			printf("gap %s %llu ms\n", kind_names[kind], (unsigned long long)longest);
	}
	gap_reset(t);
}

static void cmd_hold(struct traffic *t)
{
	for (uint32_t i = 0; i < t->flow_count; i++) {
		struct flow *f = &t->flows[i];

		if (f->open && f->manner == SERVER_FIRST && (f->kind == ICMP4 || f->kind == ICMP6))
			dgram_send(t, f, CLIENT, HOLD, ++f->seq);
	}
}

static void cmd_close(struct traffic *t, enum kind kind)
{
	for (int side = CLIENT; side <= SERVER; side++)
		for (uint32_t i = 0; i < t->flow_count; i++) {
			struct flow *f = &t->flows[i];

			if (f->kind == kind && f->end[side].fd >= 0)
				close(f->end[side].fd);
			if (f->kind == kind) {
				f->end[side].fd = -1;
				f->open = false;
			}
		}
}

static void cmd_check(struct traffic *t, unsigned int ms)
{
	t->check_until = now_ms() + ms;
	for (uint32_t i = 0; i < t->flow_count; i++) {
		struct flow *f = &t->flows[i];

		f->step = STEP_NONE;
		f->target[CLIENT] = f->target[SERVER] = 0;
		if (!f->open)
			continue;
		f->step = STEP_ASKED;
		f->asked_at = now_ms();
		if (is_tcp(f->kind))
			tcp_ask(f);
		else
			dgram_ask(t, f);
	}
}

static void check_report(const struct traffic *t, enum kind kind)
{
	unsigned int count = 0, alive = 0, moved = 0;
	unsigned long long slowest = 0;
	const char *why = NULL;

	for (uint32_t i = 0; i < t->flow_count; i++) {
		struct flow *f = &t->flows[i];

		if (!f->open || f->kind != kind)
			continue;
		count++;
		if (is_tcp(kind) && !f->broken)
			tcp_check_peer(f);
		moved += f->moved;
		if (f->why)
			why = f->why;
		if (f->step == STEP_ALIVE && !f->broken && !f->moved) {
			alive++;
			slowest = f->took_ms > slowest ? f->took_ms : slowest;
		}
	}
	if (count)
		printf("check %s alive %u of %u slowest %llu ms moved %u errors %llu%s%s\n",
		       kind_names[kind], alive, count, slowest, moved,
		       (unsigned long long)t->errors, why ? " why: " : "", why ? why : "");
}

static bool check_over(const struct traffic *t)
{
	if (now_ms() >= t->check_until)
		return true;
	for (uint32_t i = 0; i < t->flow_count; i++)
		if (t->flows[i].step == STEP_ASKED && !t->flows[i].broken && !t->flows[i].moved)
			return false;
	return true;
}

static enum kind kind_of(const char *name)
{
	for (int kind = 0; kind < KIND_COUNT; kind++)
		if (!strcmp(name, kind_names[kind]))
			return (enum kind)kind;
	errno = EINVAL;
	die(name);
	return KIND_COUNT;
}

/* Returns false if the answer comes later (check). */
static bool command(struct traffic *t, const char *line)
{
	char word[16] = "", arg[16] = "";
	unsigned int n = 0;

	if (sscanf(line, "%15s %15s %u", word, arg, &n) < 1)
		return true;
	if (!strcmp(word, "open")) {
		cmd_open(t, kind_of(arg), n);
	} else if (!strcmp(word, "chat")) {
		t->chat = !strcmp(arg, "on");
		gap_reset(t);
	} else if (!strcmp(word, "hold")) {
		cmd_hold(t);
	} else if (!strcmp(word, "check")) {
		cmd_check(t, (unsigned int)strtoul(arg, NULL, 10));
		return false;
	} else if (!strcmp(word, "gap")) {
		cmd_gap(t);
	} else if (!strcmp(word, "bytes")) {
		printf("bytes %llu errors %llu\n", (unsigned long long)t->bytes,
		       (unsigned long long)t->errors);
	} else if (!strcmp(word, "close")) {
		cmd_close(t, kind_of(arg));
	} else if (!strcmp(word, "quit")) {
		exit(0);
	} else {
		errno = EINVAL;
		die(word);
	}
	return true;
}

/* ---- The loop ---- */

static void on_input(struct traffic *t)
{
	ssize_t n = read(STDIN_FILENO, t->line + t->line_len, sizeof(t->line) - 1 - t->line_len);
	char *end;

	if (n <= 0)
		exit(0); /* whoever commanded us is gone */
	t->line_len += (size_t)n;
	t->line[t->line_len] = '\0';
	while ((end = strchr(t->line, '\n'))) {
		*end = '\0';
		if (command(t, t->line))
			printf("end\n");
		fflush(stdout);
		t->line_len -= (size_t)(end + 1 - t->line);
		memmove(t->line, end + 1, t->line_len + 1);
	}
}

static void on_tick(struct traffic *t)
{
	t->tick++;
	for (uint32_t i = 0; i < t->flow_count; i++) {
		struct flow *f = &t->flows[i];
		bool turn = (t->tick + i) % (CHAT_MS / TICK_MS) == 0;
		bool again = t->check_until && f->step == STEP_ASKED &&
			     (t->tick + i) % (RESEND_MS / TICK_MS) == 0;

		if (!f->open || f->broken)
			continue;
		if (t->chat && turn && f->manner == CHATTY && is_tcp(f->kind))
			tcp_chat(f);
		else if (t->chat && turn && f->manner == CHATTY && !again)
			dgram_send(t, f, CLIENT, PING, ++f->seq);
		if (again && !is_tcp(f->kind))
			dgram_ask(t, f);
	}
	if (!t->check_until || !check_over(t))
		return;
	t->check_until = 0;
	for (int kind = 0; kind < KIND_COUNT; kind++)
		check_report(t, (enum kind)kind);
	printf("end\n");
	fflush(stdout);
}

enum special { FD_INPUT = 1, FD_UDP4, FD_UDP6, FD_ICMP4, FD_ICMP6 };
#define TOKEN_SPECIAL (1ULL << 63)

static void on_event(struct traffic *t, uint64_t token)
{
	struct flow *f;
	enum side side = token & 1 ? SERVER : CLIENT;

	if (token & TOKEN_SPECIAL) {
		switch ((enum special)(token & 0xff)) {
		case FD_INPUT:
			on_input(t);
			return;
		case FD_UDP4:
		case FD_UDP6:
			udp_readable(t, t->udp_fd[(token & 0xff) == FD_UDP6], SERVER);
			return;
		case FD_ICMP4:
		case FD_ICMP6:
			icmp_readable(t, t->icmp_fd[(token & 0xff) == FD_ICMP6], SERVER,
				      (token & 0xff) == FD_ICMP6);
			return;
		}
	}
	f = &t->flows[token >> 1];
	if (f->end[side].fd < 0)
		return;
	if (is_tcp(f->kind))
		tcp_readable(t, f, side);
	else if (f->kind == UDP4 || f->kind == UDP6)
		udp_readable(t, f->end[CLIENT].fd, CLIENT);
	else
		icmp_readable(t, f->end[CLIENT].fd, CLIENT, f->kind == ICMP6);
}

static void servers_open(struct traffic *t)
{
	for (int v6 = 0; v6 < 2; v6++) {
		struct sockaddr_in6 a = address(v6, SERVER, 1, SERVER_PORT);

		t->udp_fd[v6] = socket_in(t, SERVER, v6, SOCK_DGRAM, 0);
		bind_to(t->udp_fd[v6], &a, v6);
		watch(t, t->udp_fd[v6], TOKEN_SPECIAL | (v6 ? FD_UDP6 : FD_UDP4));
		t->icmp_fd[v6] =
			socket_in(t, SERVER, v6, SOCK_RAW, v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);
		a.sin6_port = 0;
		bind_to(t->icmp_fd[v6], &a, v6);
		watch(t, t->icmp_fd[v6], TOKEN_SPECIAL | (v6 ? FD_ICMP6 : FD_ICMP4));
	}
}

static int ns_open(const char *name)
{
	char path[256];
	int fd;

	snprintf(path, sizeof(path), "/run/netns/%s", name);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(path);
	return fd;
}

int main(int argc, char **argv)
{
	struct rlimit files;
	struct traffic t = { 0 };
	struct epoll_event ev[256];
	uint64_t next = now_ms();

	if (argc < 3 || argc > 4) {
		fprintf(stderr, "usage: traffic CLIENT_NETNS SERVER_NETNS [FIRST_PORT]\n");
		return 2;
	}
	t.port_base = argc > 3 ? (uint16_t)strtoul(argv[3], NULL, 10) : PORT_BASE;
	if (getrlimit(RLIMIT_NOFILE, &files) < 0)
		die("open files");
	files.rlim_cur = files.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &files) < 0)
		die("open files");
	t.ns[CLIENT] = ns_open(argv[1]);
	t.ns[SERVER] = ns_open(argv[2]);
	t.flows = calloc(FLOWS_MAX, sizeof(*t.flows));
	t.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!t.flows || t.epoll_fd < 0)
		die("start");
	servers_open(&t);
	watch(&t, STDIN_FILENO, TOKEN_SPECIAL | FD_INPUT);
	for (;;) {
		uint64_t now = now_ms();
		int n = epoll_wait(t.epoll_fd, ev, 256, next > now ? (int)(next - now) : 0);

		for (int i = 0; i < n; i++)
			on_event(&t, ev[i].data.u64);
		now = now_ms();
		if (now >= next) {
			on_tick(&t);
			next = now + TICK_MS;
		}
	}
}
