/* SPDX-License-Identifier: GPL-2.0-or-later */
/* What an opened datagram says, as text: every field of it, by the codec alone. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "flow.h"
#include "golden.h"

#define U64 "%016" PRIx64

static void show_tuple(FILE *out, const struct flow_tuple *t, uint8_t l3)
{
	int family = l3 == 4 ? AF_INET : AF_INET6;
	char src[INET6_ADDRSTRLEN], dst[INET6_ADDRSTRLEN];

	(void)inet_ntop(family, t->src, src, sizeof(src));
	(void)inet_ntop(family, t->dst, dst, sizeof(dst));
	fprintf(out, "%s %u > %s %u", src, ntohs(t->sport), dst, ntohs(t->dport));
}

static void show_key(FILE *out, const struct flow_key *k)
{
	fprintf(out, "%sproto %u ", k->expect ? "expectation " : "", k->proto);
	show_tuple(out, &k->orig, k->l3);
	if (k->zone)
		fprintf(out, " zone %u dir %u", k->zone, k->zone_dir);
}

static void show_bytes(FILE *out, const char *name, const uint8_t *p, size_t len)
{
	fprintf(out, "    %s ", name);
	for (size_t i = 0; i < len; i++)
		fprintf(out, "%02x", p[i]);
	fputc('\n', out);
}

static void show_expect(FILE *out, const struct flow *f)
{
	const struct flow_expect *x = &f->ext.expect;

	if (f->has & FLOW_HAS_EXPECT) {
		fprintf(out, "    class %u flags %u mask port %u\n", x->class, x->flags,
			ntohs(x->mask_sport));
		show_bytes(out, "mask", x->mask_src, sizeof(x->mask_src));
	}
	if (f->has & FLOW_HAS_EXPECT_NAT) {
		fprintf(out, "    nat dir %u port %u\n", x->nat_dir, ntohs(x->nat_port));
		show_bytes(out, "nat", x->nat_addr, sizeof(x->nat_addr));
	}
	if (f->has & FLOW_HAS_EXPECT_FN)
		fprintf(out, "    function %s\n", x->fn);
}

static void show_ext(FILE *out, const struct flow *f)
{
	const struct flow_ext *x = &f->ext;

	if (f->has & FLOW_HAS_LABELS)
		show_bytes(out, "labels", x->labels, sizeof(x->labels));
	if (f->has & FLOW_HAS_HELPER)
		fprintf(out, "    helper %s\n", x->helper);
	if (f->has & FLOW_HAS_MASTER) {
		fprintf(out, "    master proto %u ", x->master.proto);
		show_tuple(out, &x->master.orig, f->key.l3);
		fputc('\n', out);
	}
	if (f->has & FLOW_HAS_SEQADJ)
		for (unsigned int i = 0; i < 2; i++)
			fprintf(out, "    sequence %u %u %u\n", x->seqadj[i].pos,
				x->seqadj[i].before, x->seqadj[i].after);
	if (f->has & FLOW_HAS_SCTP)
		fprintf(out, "    sctp state %u tags %08x %08x\n", x->sctp.state, x->sctp.vtag[0],
			x->sctp.vtag[1]);
	if (f->has & FLOW_HAS_SYNPROXY)
		fprintf(out, "    synproxy %08x %08x %08x\n", x->synproxy.isn, x->synproxy.its,
			x->synproxy.tsoff);
	show_expect(out, f);
}

static void show_flow(FILE *out, const uint8_t *body, size_t len)
{
	struct flow f;
	int rc = flow_unpack(body, len, &f);

	if (rc) {
		fprintf(out, "  refused: %s\n", rc == -2 ? "unknown and mandatory" : "malformed");
		return;
	}
	fputs("  ", out);
	show_key(out, &f.key);
	if (!f.key.expect) {
		fprintf(out, " status %04x mark %08x\n    reply ", f.status, f.mark);
		show_tuple(out, &f.reply, f.key.l3);
	}
	fputc('\n', out);
	if (f.has & FLOW_HAS_TCP)
		fprintf(out, "    tcp state %u scale %u %u flags %02x %02x\n", f.tcp.state,
			f.tcp.wscale[0], f.tcp.wscale[1], f.tcp.flags[0], f.tcp.flags[1]);
	show_ext(out, &f);
}

static void show_records(FILE *out, struct wire_buf *b)
{
	static const char *const names[] = { "?", "FLOW", "DEAD", "FORCED", "RELEASE" };
	struct wire_rec r;

	while (wire_get_rec(b, &r)) {
		struct flow_key key;

		fprintf(out, " %s delta %" PRIu64, names[r.type], r.delta);
		if (r.type == WIRE_REC_FLOW) {
			fprintf(out, " timeout %u\n", r.timeout_s);
			show_flow(out, r.body, r.body_len);
			continue;
		}
		fputs("\n  ", out);
		if (flow_key_unpack(r.body, r.body_len, &key) == r.body_len)
			show_key(out, &key);
		else
			fputs("refused: malformed", out);
		fputc('\n', out);
	}
}

static void show_report(FILE *out, struct wire_buf *b)
{
	struct wire_report m;

	wire_get_report(b, &m);
	fprintf(out, "owner " U64 " epoch " U64 " covered %" PRIu64 " maxhead %" PRIu64 "\n",
		m.owner, m.owner_epoch, m.covered, m.maxhead);
	fprintf(out, "window %u heard %u sent %" PRIu64 " datagram %u\n", m.window_len, m.heard_ms,
		m.sent, m.dgram_max);
	for (unsigned int i = 0; i < m.gap_count; i++)
		fprintf(out, " gap %" PRIu64 " %" PRIu64 "\n", m.gaps[i].from, m.gaps[i].to);
}

static void show_hello(FILE *out, struct wire_buf *b)
{
	struct wire_hello m;

	wire_get_hello(b, &m);
	fprintf(out, "challenge " U64 " kernel " U64 " caps %08x name %s\n", m.challenge,
		m.kernel_id, m.caps, m.name);
}

static void show_hack(FILE *out, struct wire_buf *b)
{
	struct wire_hack m;

	wire_get_hack(b, &m);
	fprintf(out, "your epoch " U64 " challenge " U64 " head %" PRIu64 " dropped %" PRIu64 "\n",
		m.your_epoch, m.challenge, m.head, m.dropped);
	fprintf(out, "kernel " U64 " caps %08x name %s\n", m.kernel_id, m.caps, m.name);
	show_bytes(out, "tables", m.tables, sizeof(m.tables));
}

static void show_data(FILE *out, struct wire_buf *b, uint8_t flags)
{
	struct wire_data m;

	wire_get_data(b, flags, &m);
	fprintf(out, "from %" PRIu64 " to %" PRIu64 " head %" PRIu64 " dropped %" PRIu64, m.from,
		m.to, m.head, m.dropped);
	fprintf(out, " digest " U64 "\n", m.digest);
	show_records(out, b);
}

static void show_list(FILE *out, struct wire_buf *b)
{
	struct wire_list m;

	wire_get_list(b, &m);
	fprintf(out, "range %08x %08x version %" PRIu64 " dropped %" PRIu64 "\n", m.lo, m.hi_incl,
		m.version, m.dropped);
	show_records(out, b);
}

static void show_vector(FILE *out, struct wire_buf *b)
{
	struct wire_vector m;

	wire_get_vector(b, &m);
	fprintf(out, "version %" PRIu64 " dropped %" PRIu64 " first %u\n", m.version, m.dropped,
		m.first);
	for (unsigned int i = 0; i < m.count && !b->err; i++) {
		uint64_t digest = wire_get_u64(b);

		fprintf(out, " digest " U64 " last %" PRIu64 "\n", digest, wire_get_u64(b));
	}
}

static void show_ask(FILE *out, struct wire_buf *b)
{
	struct wire_ask m;

	wire_get_ask(b, &m);
	fprintf(out, "owner " U64 " epoch " U64 " kind %u range %08x %08x\n", m.owner,
		m.owner_epoch, m.kind, m.lo, m.hi_incl);
}

static void show_audit(FILE *out, struct wire_buf *b)
{
	struct wire_audit m;

	wire_get_audit(b, &m);
	fprintf(out, "node " U64 " epoch " U64 " ticket %" PRIu64 "\n", m.node, m.node_epoch,
		m.ticket);
}

static void show_finding(FILE *out, struct wire_buf *b)
{
	struct wire_finding x;

	wire_get_finding(b, &x);
	if (b->err)
		return;
	fprintf(out, " kind %u differs %08x errno %u owner '%s'\n", x.kind, x.differs, x.refused,
		x.owner);
	fprintf(out, "  entry of %u\n", x.entry_len);
	if (x.entry_len)
		show_flow(out, x.entry, x.entry_len);
	fprintf(out, "  record of %u\n", x.record_len);
	if (x.record_len)
		show_flow(out, x.record, x.record_len);
}

static void show_findings(FILE *out, struct wire_buf *b)
{
	struct wire_findings m;

	wire_get_findings(b, &m);
	fprintf(out, "asker " U64 " epoch " U64 " ticket %" PRIu64 " state %u\n", m.asker,
		m.asker_epoch, m.ticket, m.state);
	fprintf(out, "entries %" PRIu64 " kinds %" PRIu64 " %" PRIu64 " %" PRIu64, m.entries,
		m.by[0], m.by[1], m.by[2]);
	fprintf(out, " unsettled %" PRIu64 "\n", m.unsettled);
	for (unsigned int i = 0; i < m.count && !b->err; i++)
		show_finding(out, b);
}

static void show_body(FILE *out, struct wire_buf *b)
{
	static const char *const names[] = { "?",      "HELLO", "HACK", "DATA",  "REPORT",  "LIST",
					     "VECTOR", "ASK",   "BYE",  "AUDIT", "FINDINGS" };
	uint8_t type = wire_get_u8(b), flags = wire_get_u8(b);

	fprintf(out, "%s flags %02x\n", type <= WIRE_FINDINGS ? names[type] : "?", flags);
	if (type == WIRE_HELLO)
		show_hello(out, b);
	else if (type == WIRE_HACK)
		show_hack(out, b);
	else if (type == WIRE_DATA)
		show_data(out, b, flags);
	else if (type == WIRE_REPORT)
		show_report(out, b);
	else if (type == WIRE_LIST)
		show_list(out, b);
	else if (type == WIRE_VECTOR)
		show_vector(out, b);
	else if (type == WIRE_ASK)
		show_ask(out, b);
	else if (type == WIRE_AUDIT)
		show_audit(out, b);
	else if (type == WIRE_FINDINGS)
		show_findings(out, b);
	else if (type != WIRE_BYE)
		fprintf(out, "refused: an unknown message, %u\n", type);
	if (b->err)
		fprintf(out, "refused: %s\n",
			b->err == WIRE_EUNKNOWN ? "unknown and mandatory" : "malformed");
}

void show(FILE *out, uint8_t *p, size_t len)
{
	struct wire_head h;
	struct wire_buf b;
	int rc;

	wire_init(&b, p, len);
	rc = wire_get_head(&b, &h);
	if (rc) {
		fprintf(out, "refused: header %d\n", rc);
		return;
	}
	fprintf(out, "version %u sender " U64 " epoch " U64 " counter " U64 "\n", h.version,
		h.sender, h.epoch, h.counter);
	show_body(out, &b);
}
