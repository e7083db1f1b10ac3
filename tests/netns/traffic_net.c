/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sockets of traffic, and what its flows say to each other. TCP: an endless stream each way
 * whose every byte is known. UDP and ICMP: numbered datagrams; a PING wants a PONG, a HOLD (ICMP)
 * is an echo request whose answer comes only at the check. The kernel's own ICMP echo is off in the
 * servers' namespace: this program answers.
 */
#include "traffic.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/icmp.h>
#include <linux/icmpv6.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <time.h>
#include <unistd.h>

uint64_t now_ms(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
}

void die(const char *what)
{
	fprintf(stderr, "traffic: %s: %s\n", what, strerror(errno));
	exit(2);
}

bool is_tcp(enum kind kind)
{
	return kind == TCP4 || kind == TCP6 || kind == DNAT4;
}

bool is_v6(enum kind kind)
{
	return kind == TCP6 || kind == UDP6 || kind == ICMP6;
}

static uint8_t stream_byte(uint32_t id, enum side side, uint64_t offset)
{
	uint64_t x = ((uint64_t)id << 33 | (uint64_t)side << 32) + offset * 0x9e3779b97f4a7c15ULL;

	x ^= x >> 29;
	x *= 0xbf58476d1ce4e5b9ULL;
	return (uint8_t)(x >> 56);
}

static void flow_break(struct flow *f, const char *why)
{
	if (!f->broken)
		f->why = why;
	f->broken = true;
}

static void flow_progress(struct flow *f, enum side side)
{
	uint64_t now = now_ms();

	if (f->manner == CHATTY && now - f->end[side].moved_at > f->gap_ms)
		f->gap_ms = now - f->end[side].moved_at;
	f->end[side].moved_at = now;
}

static void flow_alive(struct flow *f)
{
	if (f->step != STEP_ASKED)
		return;
	f->step = STEP_ALIVE;
	f->took_ms = now_ms() - f->asked_at;
}

/* ---- Sockets ---- */

static void enter(const struct traffic *t, enum side side)
{
	if (setns(t->ns[side], CLONE_NEWNET) < 0)
		die("setns");
}

struct sockaddr_in6 address(bool v6, enum side side, unsigned int host, uint16_t port)
{
	struct sockaddr_in6 a = { .sin6_family = AF_INET6, .sin6_port = htons(port) };
	char text[64];

	if (v6)
		snprintf(text, sizeof(text), "fd0%d::%x", side == CLIENT ? 1 : 2, host);
	else
		snprintf(text, sizeof(text), "::ffff:10.%d.0.%u", side == CLIENT ? 1 : 2, host);
	if (inet_pton(AF_INET6, text, &a.sin6_addr) != 1)
		die(text);
	return a;
}

/* The address in the family's own form: ping and raw sockets know nothing of mapped addresses. */
static socklen_t native(const struct sockaddr_in6 *a, bool v6, struct sockaddr_storage *out)
{
	struct sockaddr_in *v4 = (struct sockaddr_in *)out;

	memset(out, 0, sizeof(*out));
	if (v6) {
		memcpy(out, a, sizeof(*a));
		return sizeof(*a);
	}
	v4->sin_family = AF_INET;
	v4->sin_port = a->sin6_port;
	memcpy(&v4->sin_addr, a->sin6_addr.s6_addr + 12, 4);
	return sizeof(*v4);
}

static struct sockaddr_in6 mapped(const struct sockaddr_storage *from)
{
	const struct sockaddr_in *v4 = (const struct sockaddr_in *)from;
	struct sockaddr_in6 a = { .sin6_family = AF_INET6 };

	if (from->ss_family == AF_INET6) {
		memcpy(&a, from, sizeof(a));
		a.sin6_scope_id = 0;
		a.sin6_flowinfo = 0;
		return a;
	}
	a.sin6_port = v4->sin_port;
	memset(a.sin6_addr.s6_addr + 10, 0xff, 2);
	memcpy(a.sin6_addr.s6_addr + 12, &v4->sin_addr, 4);
	return a;
}

static bool same_address(const struct sockaddr_in6 *a, const struct sockaddr_in6 *b)
{
	return a->sin6_port == b->sin6_port && !memcmp(&a->sin6_addr, &b->sin6_addr, 16);
}

int socket_in(const struct traffic *t, enum side side, bool v6, int type, int proto)
{
	int fd, on = 1, size = 4 << 20;

	enter(t, side);
	fd = socket(v6 ? AF_INET6 : AF_INET, type | SOCK_CLOEXEC, proto);
	if (fd < 0)
		die("socket");
	if (type != SOCK_RAW && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0)
		die("SO_REUSEADDR");
	if (type != SOCK_STREAM)
		(void)setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
				 sizeof(size)); /* root's extra */
	return fd;
}

void bind_to(int fd, const struct sockaddr_in6 *a, bool v6)
{
	struct sockaddr_storage ss;
	socklen_t len = native(a, v6, &ss);

	if (bind(fd, (struct sockaddr *)&ss, len) < 0)
		die("bind");
}

static int connect_to(int fd, const struct sockaddr_in6 *a, bool v6)
{
	struct sockaddr_storage ss;
	socklen_t len = native(a, v6, &ss);

	return connect(fd, (struct sockaddr *)&ss, len);
}

void watch(const struct traffic *t, int fd, uint64_t token)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.u64 = token };

	if (fcntl(fd, F_SETFL, O_NONBLOCK) < 0 ||
	    epoll_ctl(t->epoll_fd, EPOLL_CTL_ADD, fd, &ev) < 0)
		die("epoll");
}

/* ---- TCP ---- */

static void tcp_send(struct flow *f, enum side side, size_t len)
{
	struct end *e = &f->end[side];
	uint8_t buf[CHUNK_LEN];
	ssize_t n;

	if (e->fd < 0 || f->broken)
		return;
	for (size_t i = 0; i < len; i++)
		buf[i] = stream_byte(f->id, side, e->tx + i);
	n = send(e->fd, buf, len, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (n > 0)
		e->tx += (uint64_t)n;
	else if (errno != EAGAIN)
		flow_break(f, strerror(errno));
}

static void tcp_step(struct flow *f, enum side side)
{
	enum side first = f->manner == SERVER_FIRST ? SERVER : CLIENT;

	if (f->step != STEP_ASKED || !f->target[side] || f->end[side].rx < f->target[side])
		return;
	if (side == first) {
		flow_alive(f);
		return;
	}
	if (!f->target[first]) {
		tcp_send(f, side, CHUNK_LEN);
		f->target[first] = f->end[side].tx;
	}
}

void tcp_ask(struct flow *f)
{
	enum side first = f->manner == SERVER_FIRST ? SERVER : CLIENT;

	tcp_send(f, first, CHUNK_LEN);
	f->target[!first] = f->end[first].tx;
	f->target[first] = 0;
}

void tcp_readable(struct traffic *t, struct flow *f, enum side side)
{
	struct end *e = &f->end[side];
	uint8_t buf[16384];
	ssize_t n;

	while ((n = recv(e->fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0) {
		for (ssize_t i = 0; i < n; i++) {
			if (buf[i] == stream_byte(f->id, !side, e->rx + (uint64_t)i))
				continue;
			t->errors++;
			flow_break(f, "wrong payload");
			break;
		}
		e->rx += (uint64_t)n;
		t->bytes += (uint64_t)n;
		flow_progress(f, side);
		tcp_step(f, side);
	}
	if (n == 0)
		flow_break(f, "closed by the other side");
	else if (errno != EAGAIN)
		flow_break(f, strerror(errno));
	if (f->broken)
		(void)epoll_ctl(t->epoll_fd, EPOLL_CTL_DEL, e->fd, NULL); /* no more of it */
}

/* Connects and accepts one flow after the other, so that both ends are known by their order. */
void tcp_open(struct traffic *t, struct flow *f, int listener, const struct sockaddr_in6 *from,
	      const struct sockaddr_in6 *to)
{
	enum side caller = f->kind == DNAT4 ? SERVER : CLIENT;
	struct timeval patience = { .tv_sec = 5 };
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	bool v6 = is_v6(f->kind);
	int fd = socket_in(t, caller, v6, SOCK_STREAM, 0), on = 1;

	if (setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience)) < 0 ||
	    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		die("setsockopt");
	bind_to(fd, from, v6);
	if (connect_to(fd, to, v6) < 0)
		die("connect");
	f->end[caller].fd = fd;
	fd = accept4(listener, (struct sockaddr *)&ss, &len, SOCK_CLOEXEC);
	if (fd < 0 || setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) < 0)
		die("accept");
	f->end[!caller].fd = fd;
	f->seen = mapped(&ss);
	watch(t, f->end[CLIENT].fd, (uint64_t)f->id << 1 | CLIENT);
	watch(t, f->end[SERVER].fd, (uint64_t)f->id << 1 | SERVER);
}

void tcp_chat(struct flow *f)
{
	for (int side = CLIENT; side <= SERVER; side++)
		if (f->end[side].tx - f->end[!side].rx < UNREAD_MAX)
			tcp_send(f, side, CHUNK_LEN);
}

/* Has the server's view of the peer changed? For TCP only a bug of this program or a broken kernel
 * could do it. */
void tcp_check_peer(struct flow *f)
{
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct sockaddr_in6 a;

	if (f->kind == DNAT4 || getpeername(f->end[SERVER].fd, (struct sockaddr *)&ss, &len) < 0)
		return;
	a = mapped(&ss);
	if (!same_address(&a, &f->seen))
		f->moved = true;
}

/* ---- Datagrams ---- */

static void dgram_fill(struct dgram *d, const struct flow *f, enum side side, enum message m,
		       uint32_t seq)
{
	*d = (struct dgram){ .magic = htonl(DGRAM_MAGIC), .id = htonl(f->id), .seq = htonl(seq) };
	d->message = (uint8_t)m;
	d->side = (uint8_t)side;
	for (unsigned int i = 0; i < FILLER_LEN; i++)
		d->filler[i] = stream_byte(f->id, side, seq + i);
}

static uint16_t icmp_sum(const void *p, size_t len)
{
	const uint8_t *b = p;
	uint32_t sum = 0;

	for (size_t i = 0; i + 1 < len; i += 2)
		sum += (uint32_t)(b[i] << 8 | b[i + 1]);
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return htons((uint16_t)~sum);
}

/* ICMP from either side; the headers of both families are alike in what is used here. */
static ssize_t icmp_send(const struct traffic *t, struct flow *f, enum side side,
			 const struct dgram *d)
{
	struct {
		struct icmphdr head;
		struct dgram d;
	} p = { .d = *d };
	bool v6 = is_v6(f->kind);
	struct sockaddr_storage ss;
	struct sockaddr_in6 to = f->seen;
	socklen_t len;

	p.head.un.echo.sequence = htons((uint16_t)ntohl(d->seq));
	if (side == CLIENT) {
		p.head.type = v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO;
		return send(f->end[CLIENT].fd, &p, sizeof(p), MSG_DONTWAIT);
	}
	p.head.type = v6 ? ICMPV6_ECHO_REPLY : ICMP_ECHOREPLY;
	p.head.un.echo.id = f->seen.sin6_port; /* where dgram_seen keeps it */
	if (!v6)                               /* for IPv6 the kernel does it */
		p.head.checksum = icmp_sum(&p, sizeof(p));
	to.sin6_port = 0;
	len = native(&to, v6, &ss);
	return sendto(t->icmp_fd[v6], &p, sizeof(p), MSG_DONTWAIT, (struct sockaddr *)&ss, len);
}

void dgram_send(const struct traffic *t, struct flow *f, enum side side, enum message m,
		uint32_t seq)
{
	bool v6 = is_v6(f->kind);
	struct sockaddr_storage ss;
	struct dgram d;
	socklen_t len;

	dgram_fill(&d, f, side, m, seq);
	/* A lost or refused datagram is what this program measures by the lack of an answer: no
	 * error here. */
	if (f->kind == ICMP4 || f->kind == ICMP6) {
		(void)icmp_send(t, f, side, &d);
	} else if (side == CLIENT) {
		(void)send(f->end[CLIENT].fd, &d, sizeof(d), MSG_DONTWAIT | MSG_NOSIGNAL);
	} else if (f->seen.sin6_port) {
		len = native(&f->seen, v6, &ss);
		(void)sendto(t->udp_fd[v6], &d, sizeof(d), MSG_DONTWAIT, (struct sockaddr *)&ss,
			     len);
	}
}

void dgram_ask(const struct traffic *t, struct flow *f)
{
	bool icmp = f->kind == ICMP4 || f->kind == ICMP6;

	if (!f->target[CLIENT])
		f->target[CLIENT] = ++f->seq;
	if (f->manner != SERVER_FIRST)
		dgram_send(t, f, CLIENT, PING, f->seq);
	else if (!icmp)
		dgram_send(t, f, SERVER, PING, f->seq);
	else if (f->held_seq)
		dgram_send(t, f, SERVER, HOLD, f->held_seq);
	else
		dgram_send(t, f, CLIENT, PING, f->seq);
}

/* The server notes where the flow comes from; a later change loses the flow. */
static void dgram_seen(struct flow *f, const struct sockaddr_in6 *from)
{
	if (!f->seen.sin6_family)
		f->seen = *from;
	else if (!same_address(&f->seen, from))
		f->moved = true;
}

static void dgram_take(struct traffic *t, enum side side, const struct dgram *d,
		       const struct sockaddr_in6 *from)
{
	uint32_t id = ntohl(d->id), seq = ntohl(d->seq);
	struct flow *f;
	struct dgram want;

	if (id >= t->flow_count || ntohl(d->magic) != DGRAM_MAGIC) {
		t->errors++;
		return;
	}
	f = &t->flows[id];
	dgram_fill(&want, f, d->side ? SERVER : CLIENT, d->message, seq);
	if (memcmp(&want, d, sizeof(want)) || d->side == side) {
		t->errors++;
		flow_break(f, "wrong payload");
		return;
	}
	t->bytes += sizeof(*d);
	flow_progress(f, side);
	if (side == SERVER)
		dgram_seen(f, from);
	if (d->message == PING)
		dgram_send(t, f, side, PONG, seq);
	else if (d->message == HOLD && side == SERVER)
		f->held_seq = seq;
	else if (d->message == HOLD)
		f->held_seq = 0; /* the late answer came: now an ordinary round trip */
	else if (f->step == STEP_ASKED && f->target[CLIENT] && seq >= f->target[CLIENT])
		flow_alive(f);
	if (d->message == HOLD && side == CLIENT && f->step == STEP_ASKED)
		dgram_send(t, f, CLIENT, PING, f->seq);
}

void udp_readable(struct traffic *t, int fd, enum side side)
{
	struct sockaddr_storage ss;
	struct dgram d;
	socklen_t len = sizeof(ss);
	struct sockaddr_in6 from;
	ssize_t n;

	while ((n = recvfrom(fd, &d, sizeof(d), MSG_DONTWAIT, (struct sockaddr *)&ss, &len)) >= 0) {
		from = mapped(&ss);
		if (n == sizeof(d))
			dgram_take(t, side, &d, &from);
		else
			t->errors++;
		len = sizeof(ss);
	}
}

/* A raw IPv4 socket gives the IP header too; the server sees all ICMP of its namespace and picks
 * requests of ours. */
void icmp_readable(struct traffic *t, int fd, enum side side, bool v6)
{
	uint8_t buf[512];
	struct sockaddr_storage ss;
	socklen_t len = sizeof(ss);
	struct sockaddr_in6 from;
	struct icmphdr head;
	struct dgram d;
	ssize_t n;

	while ((n = recvfrom(fd, buf, sizeof(buf), MSG_DONTWAIT, (struct sockaddr *)&ss, &len)) >=
	       0) {
		size_t skip = side == SERVER && !v6 ? (size_t)(buf[0] & 15) * 4 : 0;

		len = sizeof(ss);
		if ((size_t)n != skip + sizeof(head) + sizeof(d))
			continue;
		memcpy(&head, buf + skip, sizeof(head));
		memcpy(&d, buf + skip + sizeof(head), sizeof(d));
		if (side == SERVER && head.type != (v6 ? ICMPV6_ECHO_REQUEST : ICMP_ECHO))
			continue;
		from = mapped(&ss);
		from.sin6_port = head.un.echo.id;
		dgram_take(t, side, &d, &from);
	}
}

void dgram_open(struct traffic *t, struct flow *f, const struct sockaddr_in6 *from,
		const struct sockaddr_in6 *to)
{
	bool v6 = is_v6(f->kind), udp = f->kind == UDP4 || f->kind == UDP6;
	int fd = socket_in(t, CLIENT, v6, SOCK_DGRAM, udp ? 0 : v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

	bind_to(fd, from, v6);
	if (connect_to(fd, to, v6) < 0)
		die("connect");
	f->end[CLIENT].fd = fd;
	watch(t, fd, (uint64_t)f->id << 1 | CLIENT);
	dgram_send(t, f, CLIENT, PING, ++f->seq);
}
