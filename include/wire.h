/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Datagram layout and its codec (proto/PROTOCOL.md is the specification). All integers are
 * big-endian. Field by field through a bounded cursor with a sticky error, tested once at the end.
 */
#ifndef CTSYNCD_WIRE_H
#define CTSYNCD_WIRE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define WIRE_MAGIC 0xc75dU
#define WIRE_VERSION 1
#define WIRE_HEAD_LEN 28 /* clear header, authenticated */
#define WIRE_TAG_MAX 16  /* AEAD tag; 8 bytes of check when unsealed */
#define WIRE_DGRAM_MAX 9000
#define WIRE_DGRAM_MIN 508 /* payload that every MTU carries */
#define WIRE_NAME_MAX 31
#define WIRE_GAPS_MAX 24   /* gaps in one REPORT */
#define WIRE_BUCKETS 1024  /* digest buckets: the top 10 bits of the key hash */
#define WIRE_TABLES_LEN 32 /* the two hash keys of the tables, in HACK */
#define WIRE_HELLO_LEN 160 /* body of a HELLO, filled up: no answer is longer than its question */

/* Clear header: magic u16, version u8, key id u8 (0 = unsealed), sender u64, epoch u64, counter
 * u64. */
struct wire_head {
	uint8_t version;
	uint8_t key_id;
	uint64_t sender;  /* node id: keyed hash of the node's name */
	uint64_t epoch;   /* one run of the sender */
	uint64_t counter; /* packet counter of this epoch, from 1, never re-used */
};

enum wire_type {
	WIRE_HELLO = 1,
	WIRE_HACK = 2,
	WIRE_DATA = 3,
	WIRE_REPORT = 4,
	WIRE_LIST = 5,
	WIRE_VECTOR = 6,
	WIRE_ASK = 7,
	WIRE_BYE = 8,
	WIRE_AUDIT = 9,
	WIRE_FINDINGS = 10,
};

#define WIRE_CAP_AUDIT 0x1U /* of caps: answers AUDIT */

enum wire_flag {                           /* second byte of every body */
		 WIRE_F_PRIMARY = 1 << 0,  /* the sender's role */
		 WIRE_F_COMPLETE = 1 << 1, /* the sender's first kernel dump has ended (R6) */
		 WIRE_F_DIGEST = 1 << 2,   /* DATA: reaches head and carries the total digest */
		 WIRE_F_LAST = 1 << 3,     /* DATA: last datagram of an answer to a REPORT */
		 WIRE_F_WHOSE = 0xf << 4,  /* with LAST: whose; a bit for each node that it may be,
					      none = of all who hear it */
		 WIRE_F_SETTLED = 1 << 4,  /* HACK: the sender's tables are there to stay */
};

/* The bit of WIRE_F_WHOSE that stands for a node (and for every fourth other). */
static inline uint8_t wire_whose(uint64_t node_id)
{
	return (uint8_t)(0x10U << (node_id & 3));
}

enum wire_record {
	WIRE_REC_FLOW = 1,   /* version, remaining timeout, packed flow */
	WIRE_REC_DEAD = 2,   /* version, packed key: destroyed at its owner */
	WIRE_REC_FORCED = 3, /* like DEAD, but the kernel ended it long before its time (address
				removed, flush) */
	WIRE_REC_RELEASE =
		4, /* version, packed key: the owner gave it up; stop refreshing, delete nothing */
};
#define WIRE_REC_OPTIONAL                                                                          \
	0x80 /* bit of an unknown record type: skip it; without the bit refuse the datagram */

enum wire_error {
	WIRE_ESHORT = 1, /* cut short or overlong */
	WIRE_EMAGIC = 2,
	WIRE_EVERSION = 3,
	WIRE_ETYPE = 4,
	WIRE_EVALUE = 5,   /* a field out of its range */
	WIRE_EUNKNOWN = 6, /* a mandatory record or attribute that this version does not know */
};

/* A bounded cursor. err is sticky: 0 or a WIRE_Ex. */
struct wire_buf {
	uint8_t *p;
	size_t len, at;
	int err;
};

static inline void wire_init(struct wire_buf *b, uint8_t *p, size_t len)
{
	*b = (struct wire_buf){ .p = p, .len = len };
}

static inline size_t wire_left(const struct wire_buf *b)
{
	return b->err ? 0 : b->len - b->at;
}

void wire_put_u8(struct wire_buf *b, uint8_t v);
void wire_put_u16(struct wire_buf *b, uint16_t v);
void wire_put_u32(struct wire_buf *b, uint32_t v);
void wire_put_u64(struct wire_buf *b, uint64_t v);
void wire_put_var(struct wire_buf *b, uint64_t v); /* LEB128, 1 to 10 bytes */
void wire_put_bytes(struct wire_buf *b, const void *p, size_t len);
uint8_t wire_get_u8(struct wire_buf *b);
uint16_t wire_get_u16(struct wire_buf *b);
uint32_t wire_get_u32(struct wire_buf *b);
uint64_t wire_get_u64(struct wire_buf *b);
uint64_t wire_get_var(struct wire_buf *b);                     /* rejects over-long forms */
const uint8_t *wire_get_bytes(struct wire_buf *b, size_t len); /* NULL when cut short */

void wire_put_head(struct wire_buf *b, const struct wire_head *h);
/* Reads magic, version and the rest. Returns 0 or -WIRE_Ex. */
int wire_get_head(struct wire_buf *b, struct wire_head *h);

/* Message bodies follow: u8 type, u8 flags, then the fields in the order of the struct. */
struct wire_hello {
	uint64_t challenge;
	uint64_t kernel_id; /* which kernel and namespace the sender's flows live in (boot id and
			       netns cookie, hashed) */
	uint32_t caps;      /* WIRE_CAP_x; unknown ones are ignored */
	char name[WIRE_NAME_MAX + 1]; /* u8 length, bytes */
};

struct wire_hack {
	uint64_t your_epoch, challenge; /* echoed */
	uint64_t head, dropped; /* dropped = T, the highest version of any tombstone dropped */
	uint64_t kernel_id;     /* 0: what the sender leaves out need not be dead (R42, R98) */
	uint32_t caps;
	char name[WIRE_NAME_MAX + 1];
	uint8_t tables[WIRE_TABLES_LEN]; /* the hash keys of the sender's tables */
};

struct wire_data { /* followed by records */
	uint64_t from, to, head, dropped;
	uint64_t digest; /* 0 without WIRE_F_DIGEST */
	/* fixed length, so that a sender may write it again over itself once `to` is known */
};

struct wire_gap { /* versions (from, to] are missing */
	uint64_t from, to;
};

struct wire_report {
	uint64_t owner, owner_epoch; /* whose stream this speaks of */
	uint64_t covered, maxhead;
	uint32_t window_len; /* bytes that the reporter can take now */
	uint32_t heard_ms;   /* age of the last datagram heard from the owner; UINT32_MAX = never */
	uint8_t gap_count;
	struct wire_gap gaps[WIRE_GAPS_MAX];
	uint64_t sent; /* datagrams sent to the owner in the reporter's epoch, this one included; 0
			  = not told */
	uint16_t dgram_max; /* largest datagram that the reporter can take; 0 = not told */
};

struct wire_list { /* followed by records (flows only, absolute versions counted down from version)
		    */
	uint32_t lo, hi_incl; /* hash range [lo, hi_incl] of the upper 32 bits of the key hash */
	uint64_t version, dropped;
};

struct wire_vector { /* followed by count pairs: u64 digest, u64 version of the bucket's last change
		      */
	uint64_t version, dropped;
	uint16_t first, count;
};

enum wire_ask_kind { WIRE_ASK_LIST = 1, WIRE_ASK_VECTOR = 2 };

struct wire_ask {
	uint64_t owner, owner_epoch;
	uint8_t kind;
	uint32_t lo, hi_incl; /* LIST: hash range; VECTOR: buckets */
};

struct wire_audit {
	uint64_t node, node_epoch; /* who is asked */
	uint64_t ticket;           /* above 0 */
};

#define WIRE_FINDINGS_MAX 8
enum wire_audit_state { WIRE_AUDIT_WAITS = 1, WIRE_AUDIT_RUNS = 2, WIRE_AUDIT_OVER = 3 };

struct wire_findings { /* followed by count findings; of fixed length, as DATA */
	uint64_t asker, asker_epoch, ticket;
	uint8_t state;
	uint64_t entries, by[3], unsettled; /* by kind, from 1 */
	uint8_t count;
};

struct wire_finding {
	uint8_t kind; /* 1 only in the kernel, 2 only in the cache, 3 differs */
	uint32_t differs;
	uint16_t refused;              /* errno */
	char owner[WIRE_NAME_MAX + 1]; /* may be empty */
	const uint8_t *entry, *record; /* packed flows, inside the datagram */
	uint8_t entry_len, record_len; /* 0 = none */
};

void wire_put_hello(struct wire_buf *b, uint8_t flags, const struct wire_hello *m);
void wire_get_hello(struct wire_buf *b, struct wire_hello *m);
void wire_put_hack(struct wire_buf *b, uint8_t flags, const struct wire_hack *m);
void wire_get_hack(struct wire_buf *b, struct wire_hack *m);
void wire_put_data(struct wire_buf *b, uint8_t flags, const struct wire_data *m);
void wire_get_data(struct wire_buf *b, uint8_t flags, struct wire_data *m);
void wire_put_report(struct wire_buf *b, uint8_t flags, const struct wire_report *m);
void wire_get_report(struct wire_buf *b, struct wire_report *m);
void wire_put_list(struct wire_buf *b, uint8_t flags, const struct wire_list *m);
void wire_get_list(struct wire_buf *b, struct wire_list *m);
void wire_put_vector(struct wire_buf *b, uint8_t flags, const struct wire_vector *m);
void wire_get_vector(struct wire_buf *b, struct wire_vector *m);
void wire_put_ask(struct wire_buf *b, uint8_t flags, const struct wire_ask *m);
void wire_get_ask(struct wire_buf *b, struct wire_ask *m);
void wire_put_audit(struct wire_buf *b, uint8_t flags, const struct wire_audit *m);
void wire_get_audit(struct wire_buf *b, struct wire_audit *m);
void wire_put_findings(struct wire_buf *b, uint8_t flags, const struct wire_findings *m);
void wire_get_findings(struct wire_buf *b, struct wire_findings *m);
/* Appends it whole. Returns false, and leaves b as it was, when it does not fit. */
bool wire_put_finding(struct wire_buf *b, const struct wire_finding *x);
void wire_get_finding(struct wire_buf *b, struct wire_finding *x);

/* One record: u8 type, varint length of the rest, varint version delta, [varint timeout seconds,]
 * body. */
struct wire_rec {
	uint8_t type;
	uint64_t delta; /* DATA: version minus the previous record's (first: minus from). LIST: list
			   version minus version */
	uint32_t timeout_s;  /* FLOW only */
	const uint8_t *body; /* packed flow or packed key, inside the datagram */
	size_t body_len;
};

/* Appends r whole. Returns false, and leaves b as it was, when it does not fit. */
bool wire_put_rec(struct wire_buf *b, const struct wire_rec *r);

/* Reads the next record; unknown optional ones are passed over. Returns false at the end or on
 * error (b->err). */
bool wire_get_rec(struct wire_buf *b, struct wire_rec *r);

#endif
