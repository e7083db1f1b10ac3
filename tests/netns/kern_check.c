/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Drives kern.c against this namespace's kernel: every kind of inject, read back by dump and by
 * conntrack(8), conditional operations, errors, filtered events, overrun. t_kern.sh makes the
 * namespace (one interface up, rules that track and a nat chain) and runs this as root and as a
 * user with CAP_NET_ADMIN alone.
 *
 *   kern_check [full]      with full also fills the table to nf_conntrack_max and sends segments
 *                          by hand, as only root may
 */
#include "kern_bed.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define BUFFER_LEN (8U << 20)
#define NO_LIMIT UINT32_MAX
#define FULL_ROUNDS 4
#define NAT_SRC 0x190U
#define NAT_DST 0x1a0U
#define NAT_ANY 0x1b0U
#define NAT_DONE 0x180U

struct inject {
	const char *name;
	uint8_t proto;
	const char *src;
	uint16_t sport;
	const char *dst;
	uint16_t dport;
	const char *reply_src; /* NULL: untranslated */
	uint16_t reply_sport;
	const char *reply_dst;
	uint16_t reply_dport;
	uint32_t nat;     /* status bits that the kernel must show */
	const char *text; /* as conntrack(8) shows it, timeout and use aside */
};

static const struct inject injects[] = {
	{ "tcp", 6, "10.0.0.1", 1001, "10.0.1.1", 80, NULL, 0, NULL, 0, 0,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1001 dport=80 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=80 dport=1001 [ASSURED] mark=7" },
	{ "tcp, SNAT", 6, "10.0.0.1", 1002, "10.0.1.1", 80, "10.0.1.1", 80, "10.0.2.9", 40002,
	  NAT_SRC,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1002 dport=80 "
	  "src=10.0.1.1 dst=10.0.2.9 sport=80 dport=40002 [ASSURED] mark=7" },
	{ "tcp, SNAT of the address", 6, "10.0.0.1", 1003, "10.0.1.1", 80, "10.0.1.1", 80,
	  "10.0.2.9", 1003, NAT_SRC,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1003 dport=80 "
	  "src=10.0.1.1 dst=10.0.2.9 sport=80 dport=1003 [ASSURED] mark=7" },
	{ "tcp, SNAT of the port", 6, "10.0.0.1", 1004, "10.0.1.1", 80, "10.0.1.1", 80, "10.0.0.1",
	  40004, NAT_SRC,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1004 dport=80 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=80 dport=40004 [ASSURED] mark=7" },
	{ "tcp, DNAT", 6, "10.0.0.1", 1005, "10.0.2.9", 81, "10.0.1.1", 80, "10.0.0.1", 1005,
	  NAT_DST,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.2.9 sport=1005 dport=81 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=80 dport=1005 [ASSURED] mark=7" },
	{ "tcp, DNAT of the port", 6, "10.0.0.1", 1006, "10.0.1.1", 82, "10.0.1.1", 8080,
	  "10.0.0.1", 1006, NAT_DST,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1006 dport=82 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=8080 dport=1006 [ASSURED] mark=7" },
	{ "tcp, SNAT and DNAT", 6, "10.0.0.1", 1007, "10.0.2.9", 83, "10.0.1.1", 80, "10.0.2.9",
	  40007, NAT_ANY,
	  "ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.2.9 sport=1007 dport=83 "
	  "src=10.0.1.1 dst=10.0.2.9 sport=80 dport=40007 [ASSURED] mark=7" },
	{ "tcp6", 6, "fd00::1", 1001, "fd01::1", 80, NULL, 0, NULL, 0, 0,
	  "ipv6 10 tcp 6 ESTABLISHED src=fd00::1 dst=fd01::1 sport=1001 dport=80 "
	  "src=fd01::1 dst=fd00::1 sport=80 dport=1001 [ASSURED] mark=7" },
	{ "tcp6, SNAT and DNAT", 6, "fd00::1", 1002, "fd02::9", 81, "fd01::1", 80, "fd02::8", 40002,
	  NAT_ANY,
	  "ipv6 10 tcp 6 ESTABLISHED src=fd00::1 dst=fd02::9 sport=1002 dport=81 "
	  "src=fd01::1 dst=fd02::8 sport=80 dport=40002 [ASSURED] mark=7" },
	{ "udp", 17, "10.0.0.1", 1001, "10.0.1.1", 53, NULL, 0, NULL, 0, 0,
	  "ipv4 2 udp 17 src=10.0.0.1 dst=10.0.1.1 sport=1001 dport=53 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=53 dport=1001 [ASSURED] mark=7" },
	{ "udp, SNAT", 17, "10.0.0.1", 1002, "10.0.1.1", 53, "10.0.1.1", 53, "10.0.2.9", 40002,
	  NAT_SRC,
	  "ipv4 2 udp 17 src=10.0.0.1 dst=10.0.1.1 sport=1002 dport=53 "
	  "src=10.0.1.1 dst=10.0.2.9 sport=53 dport=40002 [ASSURED] mark=7" },
	{ "udp6, DNAT", 17, "fd00::1", 1001, "fd02::9", 53, "fd01::1", 5353, "fd00::1", 1001,
	  NAT_DST,
	  "ipv6 10 udp 17 src=fd00::1 dst=fd02::9 sport=1001 dport=53 "
	  "src=fd01::1 dst=fd00::1 sport=5353 dport=1001 [ASSURED] mark=7" },
	{ "icmp", 1, "10.0.0.1", 77, "10.0.1.1", 0x0800, NULL, 0, NULL, 0, 0,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.1.1 type=8 code=0 id=77 "
	  "src=10.0.1.1 dst=10.0.0.1 type=0 code=0 id=77 [ASSURED] mark=7" },
	{ "icmp, SNAT with the id", 1, "10.0.0.1", 78, "10.0.1.1", 0x0800, "10.0.1.1", 4078,
	  "10.0.2.9", 0, NAT_SRC,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.1.1 type=8 code=0 id=78 "
	  "src=10.0.1.1 dst=10.0.2.9 type=0 code=0 id=4078 [ASSURED] mark=7" },
	{ "icmp, SNAT of the id alone", 1, "10.0.0.1", 79, "10.0.1.1", 0x0800, "10.0.1.1", 4079,
	  "10.0.0.1", 0, NAT_SRC,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.1.1 type=8 code=0 id=79 "
	  "src=10.0.1.1 dst=10.0.0.1 type=0 code=0 id=4079 [ASSURED] mark=7" },
	{ "icmp, DNAT", 1, "10.0.0.1", 80, "10.0.2.9", 0x0800, "10.0.1.1", 80, "10.0.0.1", 0,
	  NAT_DST,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.2.9 type=8 code=0 id=80 "
	  "src=10.0.1.1 dst=10.0.0.1 type=0 code=0 id=80 [ASSURED] mark=7" },
	{ "icmp, SNAT with the id and DNAT", 1, "10.0.0.1", 81, "10.0.2.9", 0x0800, "10.0.1.1",
	  4081, "10.0.2.9", 0, NAT_ANY,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.2.9 type=8 code=0 id=81 "
	  "src=10.0.1.1 dst=10.0.2.9 type=0 code=0 id=4081 [ASSURED] mark=7" },
	{ "icmp timestamp", 1, "10.0.0.1", 82, "10.0.1.1", 0x0d00, NULL, 0, NULL, 0, 0,
	  "ipv4 2 icmp 1 src=10.0.0.1 dst=10.0.1.1 type=13 code=0 id=82 "
	  "src=10.0.1.1 dst=10.0.0.1 type=14 code=0 id=82 [ASSURED] mark=7" },
	{ "icmpv6", 58, "fd00::1", 77, "fd01::1", 0x8000, NULL, 0, NULL, 0, 0,
	  "ipv6 10 icmpv6 58 src=fd00::1 dst=fd01::1 type=128 code=0 id=77 "
	  "src=fd01::1 dst=fd00::1 type=129 code=0 id=77 [ASSURED] mark=7" },
	{ "icmpv6, SNAT with the id", 58, "fd00::1", 78, "fd01::1", 0x8000, "fd01::1", 4078,
	  "fd02::9", 0x8100, NAT_SRC,
	  "ipv6 10 icmpv6 58 src=fd00::1 dst=fd01::1 type=128 code=0 id=78 "
	  "src=fd01::1 dst=fd02::9 type=129 code=0 id=4078 [ASSURED] mark=7" },
	{ "gre", 47, "10.0.0.1", 5, "10.0.1.1", 6, NULL, 0, NULL, 0, 0,
	  "ipv4 2 gre 47 src=10.0.0.1 dst=10.0.1.1 srckey=0x5 dstkey=0x6 "
	  "src=10.0.1.1 dst=10.0.0.1 srckey=0x6 dstkey=0x5 [ASSURED] mark=7" },
	{ "udplite", 136, "10.0.0.1", 5, "10.0.1.1", 6, NULL, 0, NULL, 0, 0,
	  "ipv4 2 udplite 136 src=10.0.0.1 dst=10.0.1.1 sport=5 dport=6 "
	  "src=10.0.1.1 dst=10.0.0.1 sport=6 dport=5 [ASSURED] mark=7" },
	{ "esp, SNAT", 50, "10.0.0.1", 0, "10.0.1.1", 0, "10.0.1.1", 0, "10.0.2.9", 0, NAT_SRC,
	  "ipv4 2 unknown 50 src=10.0.0.1 dst=10.0.1.1 "
	  "src=10.0.1.1 dst=10.0.2.9 [ASSURED] mark=7" },
};

static struct flow make(const struct inject *c)
{
	struct flow f = bed_flow(c->proto, c->src, c->sport, c->dst, c->dport);

	if (c->reply_src != NULL)
		bed_reply(&f, c->reply_src, c->reply_sport, c->reply_dst, c->reply_dport);
	f.mark = 7;
	/* As an owner would have it: bits of its own kernel that must not get in the way here. */
	f.status |= c->nat | NAT_DONE | 0x1;
	return f;
}

static const char *family(const struct flow *f)
{
	return f->key.l3 == 6 ? "ipv6" : "ipv4";
}

/* What kern_format says of f against the kernel's own line. */
static void check_format(const struct inject *c, const struct flow *f)
{
	char want[1024], line[1024], got[1100];
	int n;

	if (!CHECK(bed_line(family(f), c->text, want, sizeof(want)), "%s: line", c->name))
		return;
	n = kern_format(line, sizeof(line), f);
	CHECK(n > 0 && n == (int)strlen(line), "%s: format", c->name);
	(void)snprintf(got, sizeof(got), "%s %s", f->key.l3 == 6 ? "ipv6 10" : "ipv4 2", line);
	CHECK(bed_same_words(want, got), "%s: format: %s | %s", c->name, got, want);
}

static void check_inject(struct kern *k, const struct inject *c)
{
	/* A GRE entry lives only with a fixed timer. */
	const uint32_t want = c->proto == IPPROTO_GRE ? 0x40e : 0xe;
	const struct flow f = make(c), *d;
	struct result *r = bed_apply(k, OP_INJECT, &f, NO_LIMIT);

	if (!CHECK(r->err == 0, "inject %s: %s", c->name, strerror(-r->err)))
		return;
	CHECK(bed_listed(family(&f), c->text), "inject %s: listed", c->name);
	CHECK(bed_dump(k) == 1, "inject %s: dump", c->name);
	d = bed_find(&f);
	if (CHECK(d != NULL, "inject %s: found", c->name)) {
		CHECK(memcmp(&d->reply, &f.reply, sizeof(f.reply)) == 0, "inject %s: reply",
		      c->name);
		CHECK((d->status & ~NAT_DONE) == (want | (c->nat & ~NAT_DONE)),
		      "inject %s: status 0x%x", c->name, d->status);
		CHECK(c->nat == 0 || (d->status & NAT_DONE) == NAT_DONE, "inject %s: nat done",
		      c->name);
		CHECK(d->mark == 7 && d->timeout_s <= 600 && d->timeout_s > 590,
		      "inject %s: values", c->name);
		CHECK(memcmp(&d->tcp, &f.tcp, sizeof(f.tcp)) == 0, "inject %s: tcp", c->name);
		check_format(c, d);
	}
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == -EEXIST, "inject %s: again", c->name);
	CHECK(bed_apply(k, OP_DELETE, &f, NO_LIMIT)->err == 0, "delete %s", c->name);
	CHECK(!bed_listed(family(&f), c->text), "delete %s: gone", c->name);
}

static void test_injects(struct kern *k)
{
	for (size_t i = 0; i < ARRAY_LEN(injects); i++)
		check_inject(k, &injects[i]);
}

/* Two nodes' flows may want one reply tuple. */
static void test_reply_clash(struct kern *k)
{
	struct flow a = bed_flow(6, "10.0.0.1", 1001, "10.0.1.1", 80);
	struct flow b = bed_flow(6, "10.0.0.2", 1001, "10.0.1.1", 80);

	bed_reply(&a, "10.0.1.1", 80, "10.0.2.9", 4000);
	bed_reply(&b, "10.0.1.1", 80, "10.0.2.9", 4000);
	CHECK(bed_apply(k, OP_INJECT, &a, NO_LIMIT)->err == 0, "reply clash: first");
	CHECK(bed_apply(k, OP_INJECT, &b, NO_LIMIT)->err == -EEXIST, "reply clash: second");
	bed_flush();
}

static void test_zones(struct kern *k)
{
	static const char *const text[] = {
		"ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1 dport=2 "
		"src=10.0.1.1 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0 zone=5",
		"ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1 dport=2 zone-orig=5 "
		"src=10.0.1.1 dst=10.0.0.1 sport=2 dport=1 [ASSURED] mark=0",
		"ipv4 2 tcp 6 ESTABLISHED src=10.0.0.1 dst=10.0.1.1 sport=1 dport=2 "
		"src=10.0.1.1 dst=10.0.0.1 sport=2 dport=1 zone-reply=5 [ASSURED] mark=0",
	};
	struct flow f = bed_flow(6, "10.0.0.1", 1, "10.0.1.1", 2);
	struct result *r;

	for (uint8_t dir = 0; dir < 3; dir++) {
		f.key.zone = 5;
		f.key.zone_dir = dir;
		r = bed_apply(k, OP_INJECT, &f, NO_LIMIT);
		CHECK(r->err == 0, "zone dir %u: inject %s", dir, strerror(-r->err));
		CHECK(bed_listed("ipv4", text[dir]), "zone dir %u: listed", dir);
		CHECK(bed_dump(k) == 1 && bed_find(&f) != NULL, "zone dir %u: found by key", dir);
		r = bed_apply(k, OP_GET, &f, NO_LIMIT);
		CHECK(r->err == 0 && r->have && memcmp(&r->got.key, &f.key, sizeof(f.key)) == 0,
		      "zone dir %u: get", dir);
		f.timeout_s = 700;
		CHECK(bed_apply(k, OP_UPDATE, &f, NO_LIMIT)->err == 0, "zone dir %u: update", dir);
		f.timeout_s = 800;
		CHECK(bed_apply(k, OP_REPLACE, &f, UINT32_MAX - 1)->err == 0,
		      "zone dir %u: replace", dir);
		CHECK(bed_apply(k, OP_DELETE, &f, UINT32_MAX - 1)->err == 0, "zone dir %u: delete",
		      dir);
		CHECK(bed_dump(k) == 0, "zone dir %u: gone", dir);
	}
}

static void test_tcp_flags(struct kern *k)
{
	struct flow f = bed_flow(6, "10.0.0.1", 1, "10.0.1.1", 2);
	struct result *r;

	bed_tcp(&f, 3, 9, 0x37);
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "flags: inject");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.tcp.flags[0] == 0x07 && r->got.tcp.flags[1] == 0x07,
	      "window book-keeping stays home");
	CHECK(r->have && r->got.tcp.wscale[0] == 9 && r->got.tcp.wscale[1] == 10,
	      "flags: window scales");
	bed_tcp(&f, 3, 9, 0x08);
	CHECK(bed_apply(k, OP_UPDATE, &f, NO_LIMIT)->err == 0, "flags: update");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.tcp.flags[0] == 0x0f, "an update adds flags, 0x%x",
	      r->got.tcp.flags[0]);
	bed_flush();
	bed_tcp(&f, 2, 9, 0x03);
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "flags: SYN_RECV");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.tcp.flags[0] == 0x0b && r->got.tcp.flags[1] == 0x0b,
	      "SYN_RECV is liberal");
	f.tcp.state = 3;
	CHECK(bed_apply(k, OP_UPDATE, &f, NO_LIMIT)->err == 0, "flags: ESTABLISHED");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.tcp.flags[0] == 0x03 && r->got.tcp.flags[1] == 0x03,
	      "what follows SYN_RECV is not");
	bed_flush();
}

static void test_update(struct kern *k)
{
	struct flow f = bed_flow(6, "10.0.0.1", 1, "10.0.1.1", 2), g;
	struct result *r;

	CHECK(bed_apply(k, OP_UPDATE, &f, NO_LIMIT)->err == -ENOENT, "update: absent");
	f.mark = 9;
	f.status = 0x8;
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "update: inject");
	g = f;
	g.status = 0x0e;
	g.mark = 0;
	g.timeout_s = 100;
	bed_tcp(&g, 4, 7, 0x03);
	CHECK(bed_apply(k, OP_UPDATE, &g, NO_LIMIT)->err == 0, "update");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.status == 0x0e && r->got.mark == 0 && r->got.tcp.state == 4,
	      "update: values");
	CHECK(r->have && r->got.timeout_s <= 100 && r->got.timeout_s > 90, "update: timeout %u",
	      r->got.timeout_s);
	g.status = 0x48f; /* lacks two bits that the entry has, adds FIXED_TIMEOUT; EXPECTED can
			     never be set */
	g.mark = 5;
	CHECK(bed_apply(k, OP_UPDATE, &g, NO_LIMIT)->err == 0, "update: fewer status bits");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.status == 0x40e && r->got.mark == 5, "update: bits or in, 0x%x",
	      r->got.status);
	g.mark = 6;
	g.timeout_s = 50;
	CHECK(bed_apply(k, OP_UPDATE, &g, NO_LIMIT)->err == 0, "update: fixed timer");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && r->got.mark == 6 && r->got.timeout_s > 90, "update: fixed timer stays");
	bed_flush();
}

/* limit: what an owner of the entry wrote. Untouched: the kernel's timer ends no later. */
static uint32_t limit_of(uint32_t timeout_s)
{
	return (uint32_t)(bed_now() / USEC_PER_SEC) + timeout_s;
}

static void test_refresh(struct kern *k)
{
	struct flow f = bed_flow(17, "10.0.0.1", 1, "10.0.1.1", 2);
	struct result *r;

	CHECK(bed_apply(k, OP_REFRESH, &f, limit_of(600))->err == -ENOENT, "refresh: absent");
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "refresh: inject");
	f.timeout_s = 900;
	r = bed_apply(k, OP_REFRESH, &f, limit_of(300));
	CHECK(r->err == -EBUSY && r->have && r->got.timeout_s > 590, "refresh: touched");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->got.timeout_s <= 600, "refresh: touched stays");
	CHECK(bed_apply(k, OP_REFRESH, &f, limit_of(600))->err == 0, "refresh: untouched");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->err == 0 && r->got.timeout_s > 890 && r->got.timeout_s <= 900, "refresh: raised");
	f.timeout_s = 60;
	CHECK(bed_apply(k, OP_REFRESH, &f, limit_of(900))->err == 0, "refresh: lower");
	CHECK(bed_apply(k, OP_REFRESH, &f, NO_LIMIT)->err == 0, "refresh: lower, no limit");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->got.timeout_s > 890, "refresh: never lowers");
	bed_flush();
}

static void test_delete(struct kern *k)
{
	struct flow f = bed_flow(17, "10.0.0.1", 1, "10.0.1.1", 2);
	struct result *r;

	CHECK(bed_apply(k, OP_DELETE, &f, limit_of(600))->err == -ENOENT, "delete: absent");
	CHECK(bed_apply(k, OP_DELETE, &f, NO_LIMIT)->err == -ENOENT, "delete by key: absent");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->err == -ENOENT, "get: absent");
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "delete: inject");
	r = bed_apply(k, OP_DELETE, &f, limit_of(300));
	CHECK(r->err == -EBUSY && r->have && memcmp(&r->got.key, &f.key, sizeof(f.key)) == 0,
	      "delete: touched");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->err == 0, "delete: touched stays");
	CHECK(bed_apply(k, OP_DELETE, &f, limit_of(600))->err == 0, "delete: untouched");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->err == -ENOENT, "delete: gone");
}

static void test_replace(struct kern *k)
{
	struct flow f = bed_flow(6, "10.0.0.1", 1, "10.0.1.1", 2);
	struct result *r;
	uint32_t id;

	bed_tcp(&f, 3, 7, 0x0b);
	CHECK(bed_apply(k, OP_REPLACE, &f, limit_of(600))->err == 0, "replace: absent is made");
	id = bed_apply(k, OP_GET, &f, NO_LIMIT)->got.id;
	bed_tcp(&f, 3, 8, 0x03);
	bed_reply(&f, "10.0.1.1", 2, "10.0.2.9", 999);
	r = bed_apply(k, OP_REPLACE, &f, limit_of(300));
	CHECK(r->err == -EBUSY && r->have && r->got.id == id, "replace: touched");
	CHECK(bed_apply(k, OP_REPLACE, &f, limit_of(600))->err == 0, "replace: untouched");
	r = bed_apply(k, OP_GET, &f, NO_LIMIT);
	CHECK(r->have && memcmp(&r->got.reply, &f.reply, sizeof(f.reply)) == 0,
	      "replace: new reply tuple");
	CHECK(r->have && r->got.tcp.flags[0] == 0x03 && r->got.tcp.wscale[0] == 8,
	      "replace: new state");
	f.mark = 3;
	CHECK(bed_apply(k, OP_REPLACE, &f, NO_LIMIT)->err == 0, "replace: no limit");
	CHECK(bed_apply(k, OP_GET, &f, NO_LIMIT)->got.mark == 3, "replace: no limit: new mark");
	bed_flush();
	CHECK(bed_apply(k, OP_REPLACE, &f, NO_LIMIT)->err == 0, "replace: no limit, absent");
	CHECK(bed_dump(k) == 1, "replace: one entry");
	bed_flush();
}

/* A full batch with every kind of result, answered in order. */
static void test_batch(struct kern *k)
{
	static const int want[4] = { 0, -EEXIST, -ENOENT, 0 };
	struct engine_op ops[KERN_BATCH_MAX] = { 0 };
	bool ok = true;

	for (unsigned int i = 0; i < KERN_BATCH_MAX; i++) {
		ops[i].flow = bed_flow(6, "10.0.0.1", (uint16_t)(2000 + i), "10.0.1.1", 80);
		ops[i].limit_s = i % 4 == 3 ? limit_of(600) : NO_LIMIT;
		ops[i].type = i % 4 < 2 ? OP_INJECT : i % 4 == 2 ? OP_UPDATE : OP_REPLACE;
		if (i % 4 == 1)
			CHECK(bed_apply(k, OP_INJECT, &ops[i].flow, NO_LIMIT)->err == 0,
			      "batch: prepare %u", i);
	}
	bed_engine->result_count = 0;
	kern_apply(k, bed_engine, ops, KERN_BATCH_MAX, bed_now());
	CHECK(bed_engine->result_count == KERN_BATCH_MAX, "batch: %u results",
	      bed_engine->result_count);
	for (unsigned int i = 0; i < KERN_BATCH_MAX; i++)
		ok = ok && bed_engine->result[i].err == want[i % 4] &&
		     bed_engine->result[i].type == ops[i].type;
	CHECK(ok, "batch: results in order");
	CHECK(bed_dump(k) == KERN_BATCH_MAX * 3 / 4, "batch: entries");
	bed_flush();
}

/* One key several times in a batch: each sees what those before it did. */
static void test_same_key(struct kern *k)
{
	static const enum engine_op_type types[] = { OP_GET,     OP_INJECT, OP_GET,     OP_INJECT,
						     OP_REFRESH, OP_DELETE, OP_REPLACE, OP_GET,
						     OP_DELETE,  OP_GET };
	static const int want[] = { -ENOENT, 0, 0, -EEXIST, 0, 0, 0, 0, 0, -ENOENT };
	struct engine_op ops[ARRAY_LEN(types)] = { 0 };

	for (unsigned int i = 0; i < ARRAY_LEN(types); i++) {
		ops[i].flow = bed_flow(6, "10.0.0.1", 1, "10.0.1.1", 80);
		ops[i].limit_s = limit_of(600);
		ops[i].type = types[i];
	}
	bed_engine->result_count = 0;
	kern_apply(k, bed_engine, ops, ARRAY_LEN(ops), bed_now());
	for (unsigned int i = 0; i < ARRAY_LEN(types); i++)
		CHECK(bed_engine->result[i].err == want[i], "same key: %u: %d", i,
		      bed_engine->result[i].err);
}

/* What no kernel takes is refused with its number, and hurts nobody else in the batch. */
static void test_refusals(struct kern *k)
{
	struct engine_op ops[3] = { 0 };

	for (unsigned int i = 0; i < ARRAY_LEN(ops); i++) {
		ops[i].type = OP_INJECT;
		ops[i].flow = bed_flow(6, "10.0.0.1", (uint16_t)(i + 1), "10.0.1.1", 80);
		ops[i].limit_s = NO_LIMIT;
	}
	ops[0].flow.timeout_s = 0;
	ops[1].flow.tcp.state = 10;
	bed_engine->result_count = 0;
	kern_apply(k, bed_engine, ops, ARRAY_LEN(ops), bed_now());
	CHECK(bed_engine->result[0].err == 0, "no timeout");
	CHECK(bed_engine->result[1].err == -EINVAL, "a TCP state that is none");
	CHECK(bed_engine->result[2].err == 0, "the one behind it");
	CHECK(bed_apply(k, OP_GET, &ops[0].flow, NO_LIMIT)->err == 0,
	      "no timeout: there for a second");
	bed_flush();
}

/* ---- Events ---- */

static void test_own_events(struct kern *k)
{
	struct flow f = bed_flow(17, "10.0.0.1", 1, "10.0.1.1", 2);

	bed_engine->seen_count = 0;
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "own events: inject");
	f.mark = 1;
	CHECK(bed_apply(k, OP_UPDATE, &f, NO_LIMIT)->err == 0, "own events: update");
	CHECK(bed_apply(k, OP_REPLACE, &f, NO_LIMIT)->err == 0, "own events: replace");
	CHECK(bed_apply(k, OP_DELETE, &f, NO_LIMIT)->err == 0, "own events: delete");
	bed_events(k);
	CHECK(bed_engine->seen_count == 0, "own events: %u seen", bed_engine->seen_count);
}

static void test_foreign_events(struct kern *k)
{
	const struct seen *s = bed_engine->seen;

	bed_engine->seen_count = 0;
	CHECK(bed_run("-I -p tcp -s 10.0.0.1 -d 10.0.1.1 --sport 5 --dport 6 -t 9 --state CLOSE") ==
		      0,
	      "-I");
	CHECK(bed_run("-U -p tcp -s 10.0.0.1 -d 10.0.1.1 --sport 5 --dport 6 -m 8") == 0, "-U");
	CHECK(bed_run("-D -p tcp -s 10.0.0.1 -d 10.0.1.1 --sport 5 --dport 6") == 0, "-D");
	bed_events(k);
	if (!CHECK(bed_engine->seen_count == 3, "foreign events: %u seen", bed_engine->seen_count))
		return;
	CHECK(s[0].event == KERN_NEW && s[1].event == KERN_UPDATE && s[2].event == KERN_DESTROY,
	      "foreign: kinds");
	CHECK(s[0].portid != 0 && s[1].portid != 0 && s[2].portid != 0, "foreign: port ids");
	CHECK(s[0].flow.key.orig.sport == htons(5) && s[0].flow.tcp.state == 8, "foreign: values");
	CHECK(s[1].flow.mark == 8 && (s[1].flow.has & FLOW_HAS_MARK) != 0, "foreign: mark");
}

/* A packet of our own over lo; t_kern.sh has rules that track it. */
static void test_organic_events(struct kern *k)
{
	struct sockaddr_in to = { .sin_family = AF_INET,
				  .sin_port = htons(9),
				  .sin_addr.s_addr = htonl(0x7f000001) };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	const struct seen *s = bed_engine->seen;

	bed_engine->seen_count = 0;
	CHECK(fd >= 0 && sendto(fd, "x", 1, 0, (void *)&to, sizeof(to)) == 1, "organic: send");
	(void)close(fd); /* the flow stays */
	bed_events(k);
	CHECK(bed_engine->seen_count >= 1 && s[0].event == KERN_NEW && s[0].portid == 0,
	      "organic: new");
	CHECK(s[0].flow.key.proto == 17 && s[0].flow.key.orig.dport == htons(9), "organic: values");
	CHECK((s[0].flow.has & FLOW_HAS_MARK) == 0 && (s[0].flow.has & FLOW_HAS_ID) != 0,
	      "organic: has");
	bed_flush();
	bed_events(k);
}

static void test_overrun(struct kern *other)
{
	struct kern *k = bed_kern(16384);
	struct kern_stats st;
	struct seen last;

	bed_engine->seen_count = 0;
	bed_flood(other, 0, 2000);
	bed_events(k);
	last = bed_engine->seen[bed_engine->seen_count - 1];
	CHECK(bed_seen(KERN_NEW) > 0 && bed_seen(KERN_NEW) < 2000, "overrun: %u seen",
	      bed_seen(KERN_NEW));
	CHECK(bed_seen(KERN_OVERRUN) == 1 && last.event == KERN_OVERRUN,
	      "overrun: said once, behind the queue");
	bed_engine->seen_count = 0;
	bed_flood(other, 2000, 3);
	bed_events(k);
	CHECK(bed_seen(KERN_NEW) == 3 && bed_seen(KERN_OVERRUN) == 0, "overrun: events come again");
	kern_stats(k, &st);
	CHECK(st.enobufs == 1 && st.parse_errors == 0, "overrun: counted");
	CHECK(bed_dump(k) == 2003, "overrun: the dump has them all");
	bed_flush();
	kern_close(k);
}

/* Said also if the reader's budget ends just where the queue does: no later event may come to wake
 * it. Among these buffers are some that hold exactly one full batch, or two. */
static void test_overrun_at_budget(struct kern *other)
{
	unsigned int exact = 0;

	for (uint32_t len = 18000; len < 45000; len += 600) {
		struct kern *k = bed_kern(len);
		struct pollfd p = { .fd = kern_event_fd(k), .events = POLLIN };

		bed_engine->seen_count = 0;
		bed_flood(other, 0, 200);
		while (poll(&p, 1, 0) > 0)
			(void)kern_read_events(k, bed_engine, 1, bed_now());
		exact += bed_seen(KERN_NEW) % 32 == 0;
		CHECK(bed_seen(KERN_OVERRUN) == 1, "overrun behind %u events: said",
		      bed_seen(KERN_NEW));
		bed_flush();
		kern_close(k);
	}
	CHECK(exact > 0, "overrun: a buffer that ends with a batch");
}

/* 3,000 events in a burst all arrive, in full batches. */
static void test_burst(struct kern *other)
{
	struct kern *k = bed_kern(BUFFER_LEN);
	struct kern_stats st;

	bed_engine->seen_count = 0;
	bed_flood(other, 0, 3000);
	bed_events(k);
	kern_stats(k, &st);
	CHECK(bed_seen(KERN_NEW) == 3000 && st.enobufs == 0, "burst: %u seen", bed_seen(KERN_NEW));
	CHECK(st.batch_full >= 3000 / 32 - 1 && st.messages == 3000, "burst: batches");
	CHECK(st.event_buffer_len >= 2ULL * BUFFER_LEN, "buffer %llu",
	      (unsigned long long)st.event_buffer_len);
	CHECK(kern_dump_start(k) == 0 && kern_dump_start(k) == -EBUSY, "one dump at a time");
	bed_flush();
	kern_close(k);
}

/* ---- The rest ---- */

static void test_system(void)
{
	int64_t count, max, buckets;
	struct flow_timeouts t, def;
	uint64_t id = kern_identity();
	int status = -1;
	pid_t pid;

	flow_timeouts_default(&def);
	kern_timeouts(&t);
	CHECK(t.tcp[3] == 4321, "established timeout is %u", t.tcp[3]); /* set by t_kern.sh */
	CHECK(t.udp == def.udp && t.tcp[1] == def.tcp[1] && t.icmp == def.icmp, "default timeouts");
	kern_counts(&count, &max, &buckets);
	CHECK(count >= 0 && max > 0 && buckets > 0, "counts");
	CHECK(kern_events_sysctl() == 1, "events sysctl"); /* set by t_kern.sh */
	CHECK(id != 0 && id == kern_identity(), "identity is stable");
	pid = fork();
	if (pid == 0)
		_exit(unshare(CLONE_NEWUSER | CLONE_NEWNET) != 0 ? 77 : kern_identity() == id);
	CHECK(pid > 0 && waitpid(pid, &status, 0) == pid && WIFEXITED(status), "identity: child");
	CHECK(WEXITSTATUS(status) == 0, "another namespace is another kernel (%d)",
	      WEXITSTATUS(status));
}

struct full {
	int64_t max;
	unsigned int failed;
	int err, dumped;
};

static struct full fill(struct kern *k, const struct flow *one_more)
{
	struct full r = { 0 };
	int64_t count, buckets;

	kern_counts(&count, &r.max, &buckets);
	if (r.max > FULL_MAX)
		return r;
	bed_engine->failed_count = 0;
	bed_flood(k, 0, (uint32_t)(r.max - count));
	r.failed = bed_engine->failed_count;
	r.err = bed_apply(k, OP_INJECT, one_more, NO_LIMIT)->err;
	r.dumped = bed_dump(k);
	bed_flush();
	return r;
}

/* Fills this namespace to the limit. Limit and hash size are global: when somebody else on the
 * machine moves them in the middle the figures say nothing, so a round that does not add up is done
 * again. */
static void test_full(struct kern *k)
{
	struct flow f = bed_flow(17, "10.0.0.1", 1, "10.0.1.1", 2);
	struct full r = { 0 };

	bed_engine->keep = false;
	for (int i = 0; i < FULL_ROUNDS && (i == 0 || r.failed != 0 || r.err != -ENOMEM); i++)
		r = fill(k, &f);
	bed_engine->keep = true;
	if (r.max > FULL_MAX) {
		printf("left out: nf_conntrack_max is %lld, filling that takes too long\n",
		       (long long)r.max);
		return;
	}
	CHECK(r.failed == 0, "full: %u failed before", r.failed);
	CHECK(r.err == -ENOMEM, "full: %d", r.err);
	CHECK(r.dumped == r.max, "full: dump of %d", r.dumped);
	CHECK(bed_apply(k, OP_INJECT, &f, NO_LIMIT)->err == 0, "full: room again");
	bed_flush();
}

int main(int argc, char **argv)
{
	struct kern *k;

	bed_open();
	bed_flush();
	k = bed_kern(BUFFER_LEN);
	CHECK(bed_dump(k) == 0, "empty table");
	check_table(k, argc > 1 && strcmp(argv[1], "full") == 0);
	test_injects(k);
	test_reply_clash(k);
	test_zones(k);
	test_tcp_flags(k);
	test_update(k);
	test_refresh(k);
	test_delete(k);
	test_replace(k);
	test_batch(k);
	test_same_key(k);
	test_refusals(k);
	check_attrs(k);
	bed_events(k);
	test_own_events(k);
	test_foreign_events(k);
	test_organic_events(k);
	test_overrun(k);
	test_overrun_at_budget(k);
	test_burst(k);
	test_system();
	if (argc > 1 && strcmp(argv[1], "full") == 0) {
		check_syn(k);
		test_full(k);
	}
	kern_close(k);
	return bed_close();
}
