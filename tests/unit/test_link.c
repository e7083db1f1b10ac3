/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Links over loopback: endpoints and their numbers, batches, unknown sources, what is not there.
 * Two nodes are two struct links in this process with 127.0.0.x addresses; engine_recv is replaced
 * by one that notes what arrives. Interfaces that come and go are the netns tests' matter.
 */
#include "link.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/ip.h>
#include <poll.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#define WAIT_MS 2000
#define SEEN_MAX 256

struct engine { /* what arrived */
	unsigned int count;
	unsigned int endpoint[SEEN_MAX];
	size_t len[SEEN_MAX];
	uint8_t first[SEEN_MAX];
};

int engine_recv(struct engine *e, unsigned int endpoint, uint8_t *pkt, size_t len, usec_t now)
{
	assert_true(e->count < SEEN_MAX);
	assert_int_equal(now, 4711);
	e->endpoint[e->count] = endpoint;
	e->len[e->count] = len;
	e->first[e->count++] = pkt[0];
	return 0;
}

static void set_addr(struct sockaddr_storage *a, const char *text, uint16_t port)
{
	struct sockaddr_in *in4 = (void *)a;
	struct sockaddr_in6 *in6 = (void *)a;

	memset(a, 0, sizeof(*a));
	if (inet_pton(AF_INET, text, &in4->sin_addr) == 1) {
		in4->sin_family = AF_INET;
		in4->sin_port = htons(port);
		return;
	}
	assert_int_equal(inet_pton(AF_INET6, text, &in6->sin6_addr), 1);
	in6->sin6_family = AF_INET6;
	in6->sin6_port = htons(port);
}

/* A port that is free on the address now. */
static uint16_t free_port(const char *text)
{
	struct sockaddr_storage a;
	socklen_t len = sizeof(a);
	int fd;

	set_addr(&a, text, 0);
	fd = socket(a.ss_family, SOCK_DGRAM, 0);
	assert_true(fd >= 0);
	assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
	assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
	assert_int_equal(close(fd), 0);
	return ntohs(
		((struct sockaddr_in *)(void *)&a)->sin_port); /* the same place in both families */
}

static struct link_conf link_conf(const char *interface, const char *local, const char *peer,
				  uint16_t port)
{
	struct link_conf c = { .peer_count = 1 };

	(void)snprintf(c.interface, sizeof(c.interface), "%s", interface);
	set_addr(&c.local, local, port);
	set_addr(&c.peers[0], peer, port);
	return c;
}

static struct links *open_links(const struct link_conf *conf, unsigned int count, struct log *log)
{
	struct links *l = NULL;
	const char *text = NULL;
	int err = links_open(&l, conf, count, 1 << 20, log, &text);

	if (err)
		fail_msg("links_open: %s: %s", text, strerror(-err));
	return l;
}

/* Reads until want datagrams came or the time is up. */
static void read_until(struct links *l, struct engine *e, unsigned int want)
{
	int fds[LINK_LINKS_MAX + 1];
	unsigned int n = links_fds(l, fds, LINK_LINKS_MAX + 1);
	struct pollfd p[LINK_LINKS_MAX + 1];

	for (unsigned int i = 0; i < n; i++)
		p[i] = (struct pollfd){ .fd = fds[i], .events = POLLIN };
	while (e->count < want && poll(p, n - 1, WAIT_MS) > 0)
		(void)links_read(l, e, 1000, 4711);
	assert_int_equal(e->count, want);
}

static void put(struct links *l, uint8_t first, size_t len, uint32_t to)
{
	uint8_t *p = links_buffer(l);

	memset(p, first, len);
	links_queue(l, p, len, to);
}

static void check_pair(const char *interface, const char *a, const char *b, struct log *log)
{
	uint16_t port = free_port(a);
	struct link_conf ca = link_conf(interface, a, b, port),
			 cb = link_conf(interface, b, a, port);
	struct links *la = open_links(&ca, 1, log), *lb = open_links(&cb, 1, log);
	struct engine e = { 0 };
	struct link_stats s;

	for (uint8_t i = 0; i < 100; i++) /* more than one batch */
		put(la, i, 100U + i, ENGINE_TO_ALL);
	links_flush(la);
	read_until(lb, &e, 100);
	for (uint8_t i = 0; i < 100; i++) {
		assert_int_equal(e.endpoint[i], 0);
		assert_int_equal(e.first[i], i); /* in order */
		assert_int_equal(e.len[i], 100U + i);
	}
	assert_int_equal(links_stats(la, &s, 1), 1);
	assert_int_equal(s.sent, 100);
	assert_int_equal(s.bytes_sent, 100 * 100 + 99 * 50);
	assert_int_equal(s.send_errors, 0);
	assert_true(s.up);
	assert_true(s.mtu == 65536 || !*interface); /* 127.0.0.2 is no interface's address */
	assert_int_equal(links_stats(lb, &s, 1), 1);
	assert_int_equal(s.received, 100);
	assert_int_equal(s.bytes_received, 100 * 100 + 99 * 50);
	assert_int_equal(links_dgram_max(la),
			 WIRE_DGRAM_MAX); /* of lo, by its name or by 127.0.0.1 */
	links_close(la);
	links_close(lb);
}

static void test_pairs(void **state)
{
	check_pair("lo", "127.0.0.1", "127.0.0.2", *state);
	check_pair("", "127.0.0.1", "127.0.0.2", *state);
}

/* IPv6 has one loopback address: the node speaks to itself by another port. */
static void test_v6(void **state)
{
	uint16_t port = free_port("::1");
	struct link_conf c = link_conf("lo", "::1", "::1", port);
	struct links *l = open_links(&c, 1, *state);
	struct engine e = { 0 };
	int fds[2], tclass = 0;
	socklen_t len = sizeof(tclass);

	put(l, 7, 1200, ENGINE_TO_ALL);
	links_flush(l);
	read_until(l, &e, 1);
	assert_int_equal(e.len[0], 1200);
	assert_int_equal(links_fds(l, fds, 2), 2);
	assert_int_equal(getsockopt(fds[0], IPPROTO_IPV6, IPV6_TCLASS, &tclass, &len), 0);
	assert_int_equal(tclass, 0xc0);
	links_close(l);
}

static void test_options(void **state)
{
	struct link_conf c = link_conf("lo", "127.0.0.1", "127.0.0.2", free_port("127.0.0.1"));
	struct links *l = open_links(&c, 1, *state);
	int fds[2], v = 0;
	socklen_t len = sizeof(v);
	char dev[IF_NAMESIZE] = "";
	socklen_t dev_len = sizeof(dev);

	assert_int_equal(links_fds(l, fds, 2), 2);
	assert_int_equal(getsockopt(fds[0], IPPROTO_IP, IP_TOS, &v, &len), 0);
	assert_int_equal(v, 0xc0);
	assert_int_equal(getsockopt(fds[0], IPPROTO_IP, IP_MTU_DISCOVER, &v, &len), 0);
	assert_int_equal(v, IP_PMTUDISC_DO);
	assert_int_equal(getsockopt(fds[0], SOL_SOCKET, SO_BINDTODEVICE, dev, &dev_len), 0);
	assert_string_equal(dev, "lo");
	assert_int_equal(getsockopt(fds[0], SOL_SOCKET, SO_RCVBUF, &v, &len), 0);
	assert_true(links_window(l) > 0 && links_window(l) <= (uint32_t)v / 16 * 5);
	links_close(l);
}

static void test_unknown_source(void **state)
{
	uint16_t port = free_port("127.0.0.1");
	struct link_conf ca = link_conf("lo", "127.0.0.1", "127.0.0.2", port);
	struct link_conf cb = link_conf("lo", "127.0.0.2", "127.0.0.1", port);
	struct link_conf cc = link_conf("lo", "127.0.0.3", "127.0.0.1", port); /* a knows it not */
	struct links *a = open_links(&ca, 1, *state), *b = open_links(&cb, 1, *state),
		     *c = open_links(&cc, 1, *state);
	struct engine e = { 0 };
	struct link_stats s;

	put(c, 3, 50, ENGINE_TO_ALL);
	links_flush(c);
	put(b, 2, 50, ENGINE_TO_ALL);
	links_flush(b);
	read_until(a, &e, 1);
	assert_int_equal(e.first[0], 2);
	assert_int_equal(links_stats(a, &s, 1), 1);
	assert_int_equal(s.unknown_source, 1);
	assert_int_equal(s.received, 1);
	links_close(a);
	links_close(b);
	links_close(c);
}

/* Two links with three peers each: the bitmap picks endpoints by their place in the configuration.
 */
static void test_endpoints(void **state)
{
	uint16_t port = free_port("127.0.1.1");
	struct link_conf ca[2] = { link_conf("lo", "127.0.1.1", "127.0.1.2", port),
				   link_conf("lo", "127.0.2.1", "127.0.2.2", port) };
	struct link_conf cb[2] = { link_conf("lo", "127.0.1.3", "127.0.1.1", port),
				   link_conf("lo", "127.0.2.3", "127.0.2.1", port) };
	struct links *a, *b;
	struct engine eb = { 0 }, ea = { 0 };

	for (unsigned int i = 0; i < 2; i++) {
		ca[i].peer_count = 2;
		set_addr(&ca[i].peers[1], i ? "127.0.2.3" : "127.0.1.3", port);
	}
	a = open_links(ca, 2, *state);
	b = open_links(cb, 2, *state);
	put(a, 1, 20, 1U << 0); /* nobody is there */
	put(a, 2, 20, 1U << 1);
	put(a, 3, 20, 1U << 3);
	links_flush(a);
	read_until(b, &eb, 2);
	assert_int_equal(eb.first[0] + eb.first[1], 5);
	for (unsigned int i = 0; i < 2; i++)
		assert_int_equal(eb.endpoint[i], eb.first[i] - 2U); /* the link it came by */
	put(b, 9, 20, 1U << 1);
	links_flush(b);
	read_until(a, &ea, 1);
	assert_int_equal(ea.endpoint[0], 3);
	links_close(a);
	links_close(b);
}

/* A port at which nobody listens answers by ICMP; the link goes on. */
static void test_refused(void **state)
{
	struct link_conf c = link_conf("lo", "127.0.0.1", "127.0.0.9", free_port("127.0.0.1"));
	struct links *l = open_links(&c, 1, *state);
	struct link_stats s;

	for (uint8_t i = 0; i < 3; i++) {
		put(l, i, 64, ENGINE_TO_ALL);
		links_flush(l);
	}
	assert_int_equal(links_stats(l, &s, 1), 1);
	assert_int_equal(s.sent, 3);
	assert_int_equal(s.send_errors, 0);
	links_close(l);
}

static void test_not_there(void **state)
{
	struct link_conf c[2] = { link_conf("ctsync-none", "127.0.0.1", "127.0.0.2", 3780),
				  link_conf("", "203.0.113.77", "127.0.0.2", 3780) };
	struct links *l = open_links(c, 2, *state);
	struct link_stats s[2];
	int fds[3];

	assert_int_equal(links_fds(l, fds, 3), 1); /* the monitor alone */
	put(l, 1, 20, ENGINE_TO_ALL);
	links_flush(l);
	assert_int_equal(links_stats(l, s, 2), 2);
	for (unsigned int i = 0; i < 2; i++) {
		assert_false(s[i].up);
		assert_int_equal(s[i].send_errors, 1);
	}
	assert_int_equal(links_dgram_max(l), 1472);
	links_close(l);
}

static void test_in_use(void **state)
{
	uint16_t port = free_port("127.0.0.1");
	struct link_conf c = link_conf("lo", "127.0.0.1", "127.0.0.2", port);
	struct links *l = open_links(&c, 1, *state), *other = NULL;
	const char *text = NULL;

	assert_int_equal(links_open(&other, &c, 1, 1 << 20, *state, &text), -EADDRINUSE);
	assert_non_null(text);
	links_close(l);
}

static int setup(void **state)
{
	*state = log_new("stderr", LOG_LVL_ERR);
	return *state ? 0 : -1;
}

static int teardown(void **state)
{
	log_free(*state);
	return 0;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_pairs),     cmocka_unit_test(test_v6),
		cmocka_unit_test(test_options),   cmocka_unit_test(test_unknown_source),
		cmocka_unit_test(test_endpoints), cmocka_unit_test(test_refused),
		cmocka_unit_test(test_not_there), cmocka_unit_test(test_in_use),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
