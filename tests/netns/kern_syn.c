/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What active-active rests on (PROTOCOL.md R70, R71): the SYN went through another kernel, and its
 * entry was written here in SYN_SENT. Segments by hand over lo; t_kern.sh drops them behind the
 * tracking, so that no stack answers. It takes CAP_NET_RAW.
 */
#include "kern_bed.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define NO_LIMIT UINT32_MAX
#define CLIENT "127.0.0.1"
#define SERVER "127.0.0.2"
#define PORT 7020 /* the server's; t_kern.sh knows it */
#define LIBERAL 0x0b
#define STRICT 0x03

enum { SYN = 0x02, ACK = 0x10 };
enum { SYN_SENT = 1, SYN_RECV = 2, ESTABLISHED = 3 };

static const uint32_t isn[2] = { 0x10000000, 0x50000000 };

static uint16_t sum(const uint8_t *p, size_t len, uint32_t start)
{
	for (size_t i = 0; i < len; i += 2)
		start += (uint32_t)(p[i] << 8 | p[i + 1]);
	while (start >> 16)
		start = (start & 0xffff) + (start >> 16);
	return (uint16_t)~start;
}

static void put32(uint8_t *p, uint32_t v)
{
	v = htonl(v);
	memcpy(p, &v, sizeof(v));
}

/* A segment of the client (from 0) or the server (1), the first or second that it sends. */
static bool segment(unsigned int from, uint16_t client, uint8_t flags)
{
	static const uint8_t options[8] = { 3, 3, 7, 1, 4, 2, 1, 1 }; /* window scale 7, SACK */
	size_t len = flags & SYN ? 28 : 20;
	struct sockaddr_in a[2] = { { .sin_family = AF_INET }, { .sin_family = AF_INET } };
	uint8_t b[28] = { 0 };
	uint16_t port[2] = { htons(client), htons(PORT) }, check;
	int fd = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_TCP);
	bool sent;

	(void)inet_pton(AF_INET, CLIENT, &a[0].sin_addr);
	(void)inet_pton(AF_INET, SERVER, &a[1].sin_addr);
	memcpy(b, &port[from], 2);
	memcpy(b + 2, &port[!from], 2);
	put32(b + 4, isn[from] + !(flags & SYN));
	put32(b + 8, isn[!from] + 1);
	b[12] = (uint8_t)(len / 4 << 4);
	b[13] = flags;
	b[14] = 0x10; /* a window of 4096 */
	if (flags & SYN)
		memcpy(b + 20, options, sizeof(options));
	check = htons(sum(b, len, 0x7f00 + 1 + 0x7f00 + 2 + IPPROTO_TCP + (uint32_t)len));
	memcpy(b + 16, &check, 2);
	sent = fd >= 0 && bind(fd, (void *)&a[from], sizeof(a[from])) == 0 &&
	       sendto(fd, b, len, 0, (void *)&a[!from], sizeof(a[!from])) == (ssize_t)len;
	if (fd >= 0)
		(void)close(fd);
	return sent;
}

/* The state of the one entry; 0: there is none. */
static unsigned int state(struct kern *k)
{
	return bed_dump(k) == 1 ? bed_engine->seen[0].flow.tcp.state : 0;
}

static struct flow half_open(uint16_t client, uint8_t flags)
{
	struct flow f = bed_flow(IPPROTO_TCP, CLIENT, client, SERVER, PORT);

	bed_tcp(&f, SYN_SENT, 7, flags);
	f.status &= ~0x6U; /* SEEN_REPLY, ASSURED */
	return f;
}

/* The kernel has no entry: it makes none, and nothing tells of the segment. */
static void test_unknown(struct kern *k)
{
	bed_events(k);
	bed_engine->seen_count = 0;
	CHECK(segment(1, 1, SYN | ACK), "a SYN/ACK is sent");
	bed_events(k);
	CHECK(bed_engine->seen_count == 0, "a SYN/ACK without entry: %u events",
	      bed_engine->seen_count);
	CHECK(bed_dump(k) == 0, "a SYN/ACK without entry makes none");
}

/* It makes the entry SYN_RECV, and an event says so, which is not ours. */
static void test_answered(struct kern *k)
{
	struct flow f = half_open(2, LIBERAL);
	const struct seen *s = bed_engine->seen;

	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "SYN_SENT: inject");
	CHECK(state(k) == SYN_SENT && !(s[0].flow.status & 0x2), "SYN_SENT: as written");
	bed_events(k);
	bed_engine->seen_count = 0;
	CHECK(segment(1, 2, SYN | ACK), "SYN_SENT: the answer is sent");
	bed_events(k);
	CHECK(bed_engine->seen_count == 1 && s[0].event == KERN_UPDATE && s[0].portid == 0,
	      "SYN_SENT: the answer raises %u events", bed_engine->seen_count);
	CHECK(s[0].flow.tcp.state == SYN_RECV && (s[0].flow.status & 0x2), "SYN_SENT: SYN_RECV");
	CHECK(state(k) == SYN_RECV, "SYN_SENT: SYN_RECV in the table");
	CHECK(segment(0, 2, ACK) && state(k) == ESTABLISHED, "SYN_SENT: established by an ACK");
	CHECK(s[0].flow.status & 0x4, "SYN_SENT: assured by an ACK");
	bed_flush();
}

/* R71: an entry that is not liberal takes neither the answer nor what follows. */
static void test_strict(struct kern *k)
{
	struct flow f = half_open(3, STRICT);

	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "strict: inject");
	bed_events(k);
	bed_engine->seen_count = 0;
	CHECK(segment(1, 3, SYN | ACK) && segment(0, 3, ACK), "strict: two segments are sent");
	bed_events(k);
	CHECK(bed_engine->seen_count == 0, "strict: %u events", bed_engine->seen_count);
	CHECK(state(k) == SYN_SENT, "strict: it stays SYN_SENT");
	bed_flush();
}

void check_syn(struct kern *k)
{
	test_unknown(k);
	test_answered(k);
	test_strict(k);
	bed_events(k);
}
