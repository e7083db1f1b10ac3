/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The stream of events over real sockets: that every line is JSON and says what it should, that a
 * monitor can tell what it missed, and that slow subscribers hurt neither the daemon nor each
 * other. Engines are real; their notes are mostly made by the test, so that each kind is seen.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "../../daemon/daemon.h"
#include "../../daemon/events.h"
#include "../../daemon/jsonl.h"

#define DEADLINE_S 20.0
#define IDLE_MS 3000                           /* less than two EVENTS_ALIVE_MS */
#define NAME "a-node-with-the-longest-name-31" /* WIRE_NAME_MAX */
#define PEERS ENGINE_PEERS_MAX

struct bed {
	struct daemon d;
	struct engine *peers[PEERS];
	ev_timer tick;
	char dir[64];
};

struct reader {
	int fd;
	bool over;
	size_t at, len;
	char buf[1 << 16];
};

void daemon_stop(struct daemon *d)
{
	d->stopping = true;
}

/* ---- The bed ---- */

static usec_t clock_now(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct bed *bed = w->data;

	(void)loop;
	(void)revents;
	bed->d.now = clock_now();
}

static struct engine *engine_of(const char *node, uint64_t id, usec_t now)
{
	static const uint8_t seed[32] = { 7 };
	struct engine_conf conf;
	struct engine *e;

	engine_conf_default(&conf);
	(void)snprintf(conf.node, sizeof(conf.node), "%s", node);
	conf.kernel_id = id;
	conf.dgram_max = 1400;
	conf.window_len = 1 << 20;
	e = engine_new(&conf, id, seed, now);
	assert_non_null(e);
	return e;
}

static int open_ctl(struct bed *bed)
{
	static const struct ctl_ops ops = { .request = verbs_request,
					    .more = verbs_more,
					    .gone = verbs_gone };
	struct ctl_conf conf = {
		.path = bed->d.conf.socket, .group = "", .read_all = true, .idle_ms = IDLE_MS
	};

	return ctl_open(&bed->d.ctl, &conf, &ops, &bed->d, bed->d.loop, bed->d.log);
}

static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	struct daemon *d = &bed->d;

	(void)snprintf(bed->dir, sizeof(bed->dir), "/tmp/test_events.XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	(void)snprintf(d->conf.socket, sizeof(d->conf.socket), "%s/sock", bed->dir);
	(void)snprintf(d->conf.node, sizeof(d->conf.node), NAME);
	(void)snprintf(d->state.path, sizeof(d->state.path), "%s/state", bed->dir);
	d->log = log_new("stderr", LOG_LVL_ERR);
	d->loop = ev_loop_new(EVFLAG_AUTO);
	d->now = d->started_at = clock_now();
	d->engine = engine_of(NAME, 11, d->now);
	assert_int_equal(verbs_init(d), 0);
	assert_int_equal(open_ctl(bed), 0);
	ev_timer_init(&bed->tick, on_tick, 0.001, 0.002);
	bed->tick.data = bed;
	ev_timer_start(d->loop, &bed->tick);
	*state = bed;
	return 0;
}

static int teardown(void **state)
{
	struct bed *bed = *state;
	struct daemon *d = &bed->d;

	ctl_close(d->ctl);
	verbs_fini(d);
	ev_timer_stop(d->loop, &bed->tick);
	ev_loop_destroy(d->loop);
	engine_free(d->engine);
	for (unsigned int i = 0; i < PEERS; i++)
		if (bed->peers[i])
			engine_free(bed->peers[i]);
	log_free(d->log);
	(void)unlink(d->state.path);
	assert_return_code(rmdir(bed->dir), errno);
	free(bed);
	return 0;
}

#define spin_until(bed, condition)                                                                 \
	do {                                                                                       \
		double end_ = ev_time() + DEADLINE_S;                                              \
		while (!(condition)) {                                                             \
			assert_true(ev_time() < end_);                                             \
			ev_run((bed)->d.loop, EVRUN_ONCE);                                         \
		}                                                                                  \
	} while (0)

static struct ctl_stats ctl_of(const struct bed *bed)
{
	struct ctl_stats s;

	ctl_stats(bed->d.ctl, &s);
	return s;
}

/* ---- Subscribers ---- */

static struct reader *subscribe(struct bed *bed)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	struct reader *r = calloc(1, sizeof(*r));
	unsigned long long requests = ctl_of(bed).requests;

	assert_non_null(r);
	r->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	assert_return_code(r->fd, errno);
	memcpy(sun.sun_path, bed->d.conf.socket, strlen(bed->d.conf.socket));
	assert_return_code(connect(r->fd, (const struct sockaddr *)&sun, sizeof(sun)), errno);
	assert_int_equal(send(r->fd, "events\n", 7, MSG_NOSIGNAL), 7);
	spin_until(bed, ctl_of(bed).requests == requests + 1);
	return r;
}

static void leave(struct reader *r)
{
	(void)close(r->fd);
	free(r);
}

/* The next line if it is there already; NULL if not. */
static const char *line_ready(struct reader *r)
{
	char *newline = memchr(r->buf + r->at, '\n', r->len - r->at);
	const char *line = r->buf + r->at;
	ssize_t n;

	if (newline) {
		*newline = '\0';
		r->at = (size_t)(newline - r->buf) + 1;
		return line;
	}
	memmove(r->buf, r->buf + r->at, r->len - r->at);
	r->len -= r->at;
	r->at = 0;
	n = recv(r->fd, r->buf + r->len, sizeof(r->buf) - r->len, 0);
	if (n > 0) {
		r->len += (size_t)n;
		return line_ready(r);
	}
	r->over = n == 0 || errno == ECONNRESET;
	return NULL;
}

static const char *next_line(struct bed *bed, struct reader *r)
{
	const char *line = NULL;

	spin_until(bed, (line = line_ready(r)) || r->over);
	return line;
}

/* The next event; signs of life are passed over. Checks what all events have. */
static json_t *next_event(struct bed *bed, struct reader *r)
{
	const char *line;
	json_t *event;

	do
		line = next_line(bed, r);
	while (line && line[0] == 'k');
	assert_non_null(line);
	assert_int_equal(strncmp(line, "l {", 3), 0);
	event = json_loads(line + 2, JSON_REJECT_DUPLICATES, NULL);
	if (!event)
		fail_msg("no JSON: %s", line);
	assert_string_equal(json_string_value(json_object_get(event, "node")), NAME);
	assert_true(json_is_integer(json_object_get(event, "seq")));
	assert_int_equal(strlen(json_string_value(json_object_get(event, "time"))),
			 strlen("2025-11-23T12:34:56.789Z"));
	return event;
}

static const char *str_of(const json_t *event, const char *name)
{
	const char *s = json_string_value(json_object_get(event, name));

	return s ? s : "(none)";
}

static json_int_t num_of(const json_t *event, const char *name)
{
	assert_true(json_is_integer(json_object_get(event, name)));
	return json_integer_value(json_object_get(event, name));
}

/* Takes the next event, which must be of that kind. */
static json_t *expect_event(struct bed *bed, struct reader *r, const char *kind)
{
	json_t *event = next_event(bed, r);

	assert_string_equal(str_of(event, "event"), kind);
	return event;
}

static struct reader *greeted(struct bed *bed)
{
	struct reader *r = subscribe(bed);

	json_decref(expect_event(bed, r, "hello"));
	return r;
}

/* ---- Lines ---- */

static void test_jsonl(void **state)
{
	struct jsonl j;

	(void)state;
	jsonl_begin(&j);
	assert_string_equal(jsonl_end(&j), "{}");
	jsonl_begin(&j);
	jsonl_str(&j, "s", "a\"b\\c\n\x7f\xc3\xa9");
	jsonl_num(&j, "n", 18446744073709551615ULL);
	jsonl_bool(&j, "b", true);
	jsonl_null(&j, "z");
	jsonl_open(&j, "o", '{');
	jsonl_close(&j, '}');
	jsonl_open(&j, "l", '[');
	jsonl_num(&j, NULL, 1);
	jsonl_open(&j, NULL, '{');
	jsonl_bool(&j, "x", false);
	jsonl_close(&j, '}');
	jsonl_close(&j, ']');
	assert_string_equal(jsonl_end(&j),
			    "{\"s\":\"a\\\"b\\\\c????\",\"n\":18446744073709551615,\"b\":true,"
			    "\"z\":null,\"o\":{},\"l\":[1,{\"x\":false}]}");
}

/* A line that does not fit is none, wherever the limit falls. */
static void test_jsonl_limit(void **state)
{
	char text[JSONL_MAX + 1];
	unsigned int fit = 0;
	struct jsonl j;

	(void)state;
	memset(text, '"', sizeof(text));
	for (size_t len = 0; len < sizeof(text); len++) {
		const char *line;
		json_t *json;

		text[len] = '\0';
		jsonl_begin(&j);
		jsonl_str(&j, "k", text);
		jsonl_num(&j, "n", len);
		line = jsonl_end(&j);
		text[len] = '"';
		if (!line)
			continue;
		fit++;
		assert_true(strlen(line) < JSONL_MAX);
		json = json_loads(line, 0, NULL);
		assert_non_null(json);
		assert_int_equal(num_of(json, "n"), len);
		json_decref(json);
	}
	assert_in_range(fit, JSONL_MAX / 2 - 20, JSONL_MAX / 2);
}

/* ---- Events ---- */

static void carry(struct engine *from, struct engine *to, unsigned int endpoint, usec_t now)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t bitmap;
	size_t len;

	for (int i = 0; i < 200 && (len = engine_send(from, pkt, &bitmap, now)) > 0; i++)
		(void)engine_recv(to, endpoint, pkt, len, now); /* not all is for all */
}

static unsigned int peers_of(struct bed *bed)
{
	struct engine_stats s;

	for (unsigned int i = 0; i < PEERS; i++) {
		engine_tick(bed->peers[i], bed->d.now);
		carry(bed->peers[i], bed->d.engine, i, bed->d.now);
		engine_tick(bed->d.engine, bed->d.now);
		carry(bed->d.engine, bed->peers[i], 0, bed->d.now);
	}
	engine_stats(bed->d.engine, &s, bed->d.now);
	return s.peer_count;
}

static void test_hello(void **state)
{
	struct bed *bed = *state;
	struct reader *r = subscribe(bed);
	json_t *e = expect_event(bed, r, "hello");

	assert_string_equal(str_of(e, "role"), "backup");
	assert_string_equal(str_of(e, "standby"), "cache");
	assert_string_equal(str_of(e, "seal"), "none");
	assert_true(json_is_false(json_object_get(e, "ready")));
	assert_true(strlen(str_of(e, "reason")) > 10);
	assert_int_equal(num_of(e, "local") + num_of(e, "remote"), 0);
	assert_int_equal(num_of(e, "overruns"), 0);
	assert_int_equal(json_array_size(json_object_get(e, "peers")), 0);
	json_decref(e);
	leave(r);
}

/* As many peers as there can be, with the longest names, and room for longer numbers. */
static void test_hello_longest(void **state)
{
	struct bed *bed = *state;
	struct reader *r;
	json_t *e, *peers;
	char name[] = NAME;
	char *line;

	for (unsigned int i = 0; i < PEERS; i++) {
		name[0] = (char)('b' + i);
		bed->peers[i] = engine_of(name, 20 + i, bed->d.now);
	}
	spin_until(bed, peers_of(bed) == PEERS);
	r = subscribe(bed);
	e = expect_event(bed, r, "hello");
	peers = json_object_get(e, "peers");
	assert_int_equal(json_array_size(peers), PEERS);
	for (unsigned int i = 0; i < PEERS; i++) {
		const json_t *p = json_array_get(peers, i);

		assert_string_equal(str_of(p, "node") + 1, name + 1);
		assert_string_equal(str_of(p, "role"), "backup");
		assert_int_equal(num_of(p, "flows"), 0);
		assert_true(json_is_boolean(json_object_get(p, "in_sync")));
	}
	line = json_dumps(e, JSON_COMPACT);
	/* 6 + 2 a peer numbers of 20 digits, the reason */
	assert_in_range(strlen(line), 500, JSONL_MAX - 20 * (6 + 2 * PEERS) - READY_REASON_LEN);
	free(line);
	json_decref(e);
	leave(r);
}

static const struct {
	struct engine_note note;
	const char *event, *members; /* of the line, in order, as it writes them */
} notes[] = {
	{ { NOTE_ROLE, "", ROLE_PRIMARY, 0 }, "role", "\"role\":\"primary\",\"saved\":true" },
	{ { NOTE_PEER_UP, "fw2", 1, 0 }, "peer-up", "\"peer\":\"fw2\",\"new_run\":true" },
	{ { NOTE_PEER_DOWN, "fw2", 620, 0 }, "peer-down", "\"peer\":\"fw2\",\"heard_ms\":620" },
	{ { NOTE_PEER_DOWN, "fw2", 6, 1 }, "peer-one-way", "\"peer\":\"fw2\",\"heard_ms\":6" },
	{ { NOTE_PEER_BYE, "fw2", 0, 0 }, "peer-bye", "\"peer\":\"fw2\"" },
	{ { NOTE_LINK_DOWN, "fw2", 1, 999 },
	  "link-down",
	  "\"peer\":\"fw2\",\"link\":\"?\",\"silent_ms\":999" },
	{ { NOTE_LINK_UP, "fw2", 1, 5 },
	  "link-up",
	  "\"peer\":\"fw2\",\"link\":\"?\",\"silent_ms\":5" },
	{ { NOTE_FORGOTTEN, "fw3", 0, 0 }, "peer-forgotten", "\"peer\":\"fw3\"" },
	{ { NOTE_RESYNC, "fw2", 99, 0 }, "resync", "\"peer\":\"fw2\",\"missing\":99" },
	{ { NOTE_SYNCED, "fw2", 100, 0 }, "synced", "\"peer\":\"fw2\",\"version\":100" },
	{ { NOTE_DEBT, "fw2", 7, 0 }, "debt", "\"peer\":\"fw2\",\"version\":7" },
	{ { NOTE_DEBT_PAID, "fw2", 0, 0 }, "debt-paid", "\"peer\":\"fw2\"" },
	{ { NOTE_DIVERGENCE, "fw2", 3, 2 },
	  "divergence",
	  "\"peer\":\"fw2\",\"bucket\":3,\"repaired\":2" },
	{ { NOTE_FLIP, "fw2", 3, 0 }, "flip", "\"peer\":\"fw2\",\"bucket\":3,\"doubtful\":0" },
	{ { NOTE_FLIP, "", 1023, 900 }, "flip", "\"bucket\":1023,\"doubtful\":900" },
	{ { NOTE_OVERRUN, "", 4, 0 }, "overrun", "\"overruns\":4" },
	{ { NOTE_DUMP_END, "", 50, 1 }, "reread", "\"entries\":50,\"gone\":1" },
	{ { NOTE_REFUSED, "", ENOMEM, 5 },
	  "refused",
	  "\"errno\":12,\"error\":\"ENOMEM\",\"count\":5" },
	{ { NOTE_REFUSED, "", 9999, 5 }, "refused", "\"errno\":9999,\"error\":\"?\",\"count\":5" },
	{ { NOTE_COMMIT_DONE, "", 0, 0 },
	  "commit",
	  "\"verb\":\"commit\",\"total\":0,\"committed\":0,\"existed\":0,\"refused\":0,"
	  "\"refused_by\":{},\"ms\":0" },
	{ { NOTE_OUTCOME, "", 0, 0 },
	  "outcome",
	  "\"taken\":0,\"alive\":0,\"ended\":0,\"refused\":0,\"refused_by\":{},\"invalid\":0,"
	  "\"ms\":0" },
	{ { NOTE_LIMIT, "", DROP_PEERS, 0 }, "limit", "\"limit\":\"peers\"" },
	{ { NOTE_LIMIT, "fw2", 0, 0 }, "limit", "\"peer\":\"fw2\",\"limit\":\"flows\"" },
	{ { NOTE_NAME_CLASH, "fw2", 0, 0 }, "name-clash", "\"peer\":\"fw2\"" },
	{ { NOTE_TABLES, "fw2", 0, 0 }, "other-tables", "\"peer\":\"fw2\",\"taken\":0" },
	{ { NOTE_TABLES, "fw2", 1, 0 }, "other-tables", "\"peer\":\"fw2\",\"taken\":1" },
	{ { NOTE_QUARANTINED, "fw2", 0, 1 }, "quarantined", "\"peer\":\"fw2\"" },
	{ { NOTE_INNOCENT, "", 2, 0 }, "innocent", "\"suspect\":2" },
	{ { 31, "", 1, 2 }, "note", "\"arg0\":1,\"arg1\":2" },
	{ { NOTE_MUTE, "", 12, 0 }, "mute", "\"entries\":12" },
};

/* Every note of the engine is told. */
static void test_notes(void **state)
{
	struct bed *bed = *state;
	struct reader *r = greeted(bed);
	unsigned int seen = 0;
	char want[512];

	for (size_t i = 0; i < ARRAY_LEN(notes); i++) {
		const char *line;

		seen |= 1U << notes[i].note.type;
		events_note(&bed->d, &notes[i].note);
		do
			line = next_line(bed, r);
		while (line && line[0] == 'k');
		assert_non_null(line);
		(void)snprintf(want, sizeof(want), ",\"event\":\"%s\",%s}", notes[i].event,
			       notes[i].members);
		if (strlen(line) < strlen(want) ||
		    strcmp(line + strlen(line) - strlen(want), want) != 0)
			fail_msg("'%s' instead of '%s'", line, want);
	}
	/* NOTE_MUTE is the last kind: all were told, and one that nobody knows */
	assert_int_equal(seen, ((2U << NOTE_MUTE) - 1) | 1U << 31);
	leave(r);
}

/* A dump is news after lost events, or when it found something. */
static void test_reread(void **state)
{
	struct engine_note n = { .type = NOTE_DUMP_END, .arg0 = 9 };
	struct bed *bed = *state;
	struct reader *r = greeted(bed);
	json_t *e;

	events_note(&bed->d, &n); /* no news */
	bed->d.overruns_at_dump = 1;
	events_note(&bed->d, &n);
	bed->d.overruns_over = 1;
	events_note(&bed->d, &n); /* no news */
	n.arg1 = 3;
	events_note(&bed->d, &n);
	e = expect_event(bed, r, "reread");
	assert_int_equal(num_of(e, "gone"), 0);
	json_decref(e);
	e = expect_event(bed, r, "reread");
	assert_int_equal(num_of(e, "gone"), 3);
	json_decref(e);
	leave(r);
}

/* The engine's own notes arrive, by notes_drain, with readiness behind them. */
static void test_promote(void **state)
{
	struct bed *bed = *state;
	struct daemon *d = &bed->d;
	struct reader *r = greeted(bed);
	json_int_t seq;
	json_t *e;

	engine_cmd(d->engine, CMD_PROMOTE, d->now);
	notes_drain(d);
	assert_true(d->ready_due);
	ready_watch(d);
	assert_false(d->ready_due);
	ready_watch(d); /* nothing new */
	e = expect_event(bed, r, "role");
	assert_string_equal(str_of(e, "role"), "primary");
	seq = num_of(e, "seq");
	json_decref(e);
	e = expect_event(bed, r, "ready");
	assert_true(json_is_true(json_object_get(e, "ready")));
	assert_string_equal(str_of(e, "reason"), "primary");
	assert_int_equal(num_of(e, "seq"), seq + 1);
	json_decref(e);
	engine_cmd(d->engine, CMD_DEMOTE, d->now);
	notes_drain(d);
	ready_watch(d);
	json_decref(expect_event(bed, r, "role"));
	e = expect_event(bed, r, "ready");
	assert_true(json_is_false(json_object_get(e, "ready")));
	assert_int_equal(num_of(e, "seq"), seq + 3);
	json_decref(e);
	leave(r);
}

/* ---- Subscribers that are slow, silent, many ---- */

#define FLOOD 20000 /* events: some MB, more than a socket and a buffer hold */

/* Reads until the event numbered last; checks that what is not there was told as missed. Returns
 * how many were missed. */
static json_int_t read_up_to(struct bed *bed, struct reader *r, json_int_t first, json_int_t last)
{
	json_int_t missed = 0, want = first;

	while (want <= last) {
		json_t *e = next_event(bed, r);

		if (strcmp(str_of(e, "event"), "missed") == 0) {
			missed += num_of(e, "count");
			want += num_of(e, "count");
		} else {
			assert_int_equal(num_of(e, "seq"), want);
			want++;
		}
		json_decref(e);
	}
	assert_int_equal(want, last + 1);
	return missed;
}

static void test_slow(void **state)
{
	static const struct engine_note n = { NOTE_RESYNC, "fw2", 1, 0 };
	struct bed *bed = *state;
	struct reader *slow = subscribe(bed), *quick;
	json_t *e = expect_event(bed, slow, "hello");
	json_int_t first = num_of(e, "seq") + 1, quick_next = first;

	json_decref(e);
	quick = greeted(bed);
	for (unsigned int i = 0; i < FLOOD; i++) {
		events_note(&bed->d, &n);
		if (i % 100 != 99)
			continue;
		assert_int_equal(read_up_to(bed, quick, quick_next, first + i), 0);
		quick_next = first + i + 1;
	}
	/* it wakes up before it is cut off, and learns what it missed with no new event */
	assert_in_range(read_up_to(bed, slow, first, first + FLOOD - 1), FLOOD / 10, FLOOD - 100);
	assert_int_equal(ctl_of(bed).dropped + ctl_of(bed).timeouts, 0);
	events_note(&bed->d, &n);
	assert_int_equal(read_up_to(bed, slow, first + FLOOD, first + FLOOD), 0);
	leave(slow);
	leave(quick);
}

static void test_never_reads(void **state)
{
	static const struct engine_note n = { NOTE_RESYNC, "fw2", 1, 0 };
	struct bed *bed = *state;
	struct reader *dead = subscribe(bed), *good = greeted(bed);

	for (unsigned int i = 0; i < FLOOD; i++)
		events_note(&bed->d, &n);
	spin_until(bed, line_ready(good) == NULL && ctl_of(bed).timeouts == 1);
	assert_int_equal(ctl_of(bed).clients, 1);
	leave(dead);
	leave(good);
	spin_until(bed, ctl_of(bed).clients == 0);
	events_note(&bed->d, &n); /* to nobody */
}

static void test_many(void **state)
{
	static const struct engine_note n = { NOTE_PEER_BYE, "fw2", 0, 0 };
	struct reader *r[EVENTS_CLIENTS_MAX], *one_more;
	struct bed *bed = *state;

	for (unsigned int i = 0; i < ARRAY_LEN(r); i++)
		r[i] = greeted(bed);
	one_more = subscribe(bed);
	assert_string_equal(next_line(bed, one_more),
			    "e events: 32 clients listen already, which is the limit");
	assert_string_equal(next_line(bed, one_more), ". 1");
	leave(one_more);
	leave(r[0]);
	spin_until(bed, ctl_of(bed).clients == EVENTS_CLIENTS_MAX - 1);
	r[0] = greeted(bed);
	events_note(&bed->d, &n);
	for (unsigned int i = 0; i < ARRAY_LEN(r); i++) {
		json_decref(expect_event(bed, r[i], "peer-bye"));
		leave(r[i]);
	}
	spin_until(bed, ctl_of(bed).clients == 0);
}

/* Nothing happens for longer than the idle time: signs of life, and nobody is cut off. */
static void test_alive(void **state)
{
	struct bed *bed = *state;
	struct reader *r = greeted(bed);
	double start = ev_time();

	assert_string_equal(next_line(bed, r), "k ");
	assert_string_equal(next_line(bed, r), "k ");
	assert_true(ev_time() - start > IDLE_MS / 1000.);
	assert_int_equal(ctl_of(bed).timeouts, 0);
	leave(r);
}

static void test_stop(void **state)
{
	struct bed *bed = *state;
	struct reader *r = greeted(bed);

	events_stop(&bed->d);
	ctl_close(bed->d.ctl);
	json_decref(expect_event(bed, r, "stop"));
	assert_string_equal(next_line(bed, r), "e the daemon stops");
	assert_string_equal(next_line(bed, r), ". 1");
	assert_null(next_line(bed, r));
	leave(r);
	assert_int_equal(open_ctl(bed), 0); /* for teardown */
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_jsonl),
		cmocka_unit_test(test_jsonl_limit),
		TEST(test_hello),
		TEST(test_hello_longest),
		TEST(test_notes),
		TEST(test_reread),
		TEST(test_promote),
		TEST(test_slow),
		TEST(test_never_reads),
		TEST(test_many),
		TEST(test_alive),
		TEST(test_stop),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
