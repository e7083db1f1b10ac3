/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The verbs over a real socket, a real engine and a peer: a second engine whose datagrams are
 * carried by this test. The kernel is the test's: it answers the engine's operations as a test
 * wants, so that refusals, slowness and success can be had at will.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

#include "../../daemon/daemon.h"

#define DEADLINE_S 20.0
#define FLOWS 500
#define REFUSED 20 /* of these the test's kernel refuses so many, if told to */

struct bed {
	struct daemon d;
	struct engine *peer;
	ev_timer tick;
	char dir[64];
	bool apart;   /* no datagram arrives */
	bool stuck;   /* the kernel answers nothing */
	bool refuses; /* the kernel refuses to create the first REFUSED flows */
	unsigned int injects;
};

/* ---- What main.c and note.c give the verbs ---- */

void daemon_stop(struct daemon *d)
{
	d->stopping = true;
}

void notes_drain(struct daemon *d)
{
	struct engine_note note;

	while (engine_note(d->engine, &note))
		continue;
}

/* ---- The bed ---- */

static usec_t clock_now(void)
{
	struct timespec ts;

	assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &ts), 0);
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

static void carry(struct engine *from, struct engine *to, usec_t now)
{
	uint8_t pkt[WIRE_DGRAM_MAX];
	uint32_t bitmap;
	size_t len;

	for (int i = 0; i < 200 && (len = engine_send(from, pkt, &bitmap, now)) > 0; i++)
		(void)engine_recv(to, 0, pkt, len, now); /* a drop would show in what follows */
}

static struct flow flow_of(unsigned int i)
{
	struct flow f = { .has = FLOW_HAS_REPLY | FLOW_HAS_STATUS | FLOW_HAS_TIMEOUT | FLOW_HAS_TCP,
			  .status = 0xe,
			  .timeout_s = 300,
			  .tcp = { .state = 3, .wscale = { 7, 7 }, .flags = { 3, 3 } } };

	f.key.l3 = 4;
	f.key.proto = 6;
	f.key.orig = (struct flow_tuple){ .src = { 10, 0, (uint8_t)(i >> 8), (uint8_t)i },
					  .dst = { 10, 9, 0, 1 },
					  .sport = (uint16_t)(1000 + i),
					  .dport = 80 };
	flow_inverse(&f.key, &f.reply);
	return f;
}

/* The kernel of engine e: every flow that is asked for is there, in its first state. */
static void carry_out(struct bed *bed, struct engine *e, usec_t now)
{
	struct engine_op op;

	while (engine_op(e, &op, now)) {
		struct flow got = flow_of(op.flow.key.orig.sport - 1000U);
		int err = 0;

		if (op.type == OP_DUMP) {
			engine_kern(e, KERN_DUMP_END, NULL, 0, now);
			continue;
		}
		if (op.type == OP_INJECT && e == bed->d.engine) {
			bed->injects++;
			if (bed->refuses && op.flow.key.orig.sport < 1000 + REFUSED)
				err = -ENOMEM;
		}
		engine_result(e, &op, err, op.type == OP_GET ? &got : NULL, now);
	}
}

/* A turn of the loop, as pump.c does it. */
static void on_tick(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct bed *bed = w->data;
	struct daemon *d = &bed->d;

	(void)loop;
	(void)revents;
	d->now = clock_now();
	engine_tick(d->engine, d->now);
	engine_tick(bed->peer, d->now);
	if (!bed->apart) {
		carry(d->engine, bed->peer, d->now);
		carry(bed->peer, d->engine, d->now);
	}
	carry_out(bed, bed->peer, d->now);
	if (!bed->stuck)
		carry_out(bed, d->engine, d->now);
	verbs_after_pump(d);
}

static struct engine *engine_of(const char *node, uint64_t id, usec_t now)
{
	static const uint8_t seed[32] = { 7 };
	struct engine_conf conf;
	struct engine *e;

	engine_conf_default(&conf);
	(void)snprintf(conf.node, sizeof(conf.node), "%s", node);
	conf.kernel_id = id;
	conf.hot = false;
	conf.dgram_max = 1400;
	conf.window_len = 1 << 20;
	e = engine_new(&conf, id, seed, now);
	assert_non_null(e);
	return e;
}

static const struct ctl_ops ops = { .request = verbs_request,
				    .more = verbs_more,
				    .gone = verbs_gone };

static int setup(void **state)
{
	struct bed *bed = calloc(1, sizeof(*bed));
	struct daemon *d = &bed->d;
	const char *why = NULL;
	struct ctl_conf conf = { .path = d->conf.socket, .group = "", .read_all = true };

	(void)snprintf(bed->dir, sizeof(bed->dir), "/tmp/test_verbs.XXXXXX");
	assert_non_null(mkdtemp(bed->dir));
	(void)snprintf(d->conf.socket, sizeof(d->conf.socket), "%s/sock", bed->dir);
	(void)snprintf(d->conf.node, sizeof(d->conf.node), "fw1");
	d->log = log_new("stderr", LOG_LVL_ERR);
	d->loop = ev_loop_new(EVFLAG_AUTO);
	d->now = d->started_at = clock_now();
	assert_int_equal(links_open(&d->links, NULL, 0, 1 << 20, d->log, &why), 0);
	d->engine = engine_of("fw1", 11, d->now);
	bed->peer = engine_of("fw2", 22, d->now);
	assert_int_equal(verbs_init(d), 0);
	assert_int_equal(ctl_open(&d->ctl, &conf, &ops, d, d->loop, d->log), 0);
	ev_timer_init(&bed->tick, on_tick, 0.001, 0.005);
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
	engine_free(bed->peer);
	links_close(d->links);
	log_free(d->log);
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

static struct engine_stats stats_of(struct bed *bed)
{
	struct engine_stats s;

	engine_stats(bed->d.engine, &s, bed->d.now);
	return s;
}

/* The peer gets count flows of its own, and they reach us. */
static void peer_flows(struct bed *bed, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++) {
		struct flow f = flow_of(i);

		engine_kern(bed->peer, KERN_NEW, &f, 0, bed->d.now);
	}
	spin_until(bed, stats_of(bed).remote_flows == count && stats_of(bed).complete);
}

static int ask(struct bed *bed, const char *text)
{
	struct sockaddr_un sun = { .sun_family = AF_UNIX };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	assert_return_code(fd, errno);
	memcpy(sun.sun_path, bed->d.conf.socket, strlen(bed->d.conf.socket));
	assert_return_code(connect(fd, (const struct sockaddr *)&sun, sizeof(sun)), errno);
	assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
	return fd;
}

/* The whole reply; the caller frees it. */
static char *collect(struct bed *bed, int fd)
{
	size_t len = 0, size = 1 << 20;
	double end = ev_time() + DEADLINE_S;
	char *buf = malloc(size);

	assert_non_null(buf);
	for (;;) {
		ssize_t n = recv(fd, buf + len, size - len - 1, 0);

		if (n == 0)
			break;
		if (n > 0)
			len += (size_t)n;
		assert_true(n > 0 || errno == EAGAIN);
		assert_true(ev_time() < end && len < size - 1);
		ev_run(bed->d.loop, EVRUN_ONCE);
	}
	(void)close(fd);
	buf[len] = '\0';
	return buf;
}

static void expect_has(const char *reply, const char *want)
{
	if (!strstr(reply, want))
		fail_msg("no '%s' in:\n%s", want, reply);
}

/* Asks; every want (NULL at the end) must be in the reply. */
static void expect(struct bed *bed, const char *request, const char *const *wants)
{
	char *reply = collect(bed, ask(bed, request));

	for (; *wants; wants++)
		expect_has(reply, *wants);
	free(reply);
}

#define ALL(...) ((const char *const[]){ __VA_ARGS__, NULL })

static unsigned int count_of(const char *reply, const char *what)
{
	unsigned int count = 0;

	for (const char *p = reply; (p = strstr(p, what)); p++)
		count++;
	return count;
}

/* ---- Tests ---- */

static void test_status(void **state)
{
	struct bed *bed = *state;

	bed->apart = true;
	expect(bed, "status\n",
	       ALL("v s node fw1\n", "v s role backup\n", "v s standby cache\n",
		   "v b ready false\n", "v s reason ", "v n flows.local 0\n",
		   "v n flows.remote 0\n", " flows.kernel", " flows.max", "v l peers\n",
		   "v n overruns 0\n", "v s seal none\n", "\n. 0\n"));
	bed->apart = false;
	peer_flows(bed, 5);
	bed->d.conf.sealed = bed->d.conf.hot = true;
	bed->d.state_err = -ENOSPC;
	expect(bed, "status\n",
	       ALL("v s standby hot\n", "v n flows.remote 5\n", "v s peers.0.node fw2\n",
		   "v s peers.0.state up\n", "v n peers.0.heard_ms ", "v n peers.0.covered 5\n",
		   "v n peers.0.head 5\n", "v n peers.0.missing 0\n", "v s peers.0.role backup\n",
		   "v s seal sealed\n", "v b role_saved false\n"));
	expect(bed, "peers\n",
	       ALL("v s peers.0.node fw2\n", "v s peers.0.epoch 0000000000000016\n",
		   "v b peers.0.hears_us true\n", "v n peers.0.debt 0\n", "\n. 0\n"));
}

/* What the engine says and what only the daemon knows; status and ready agree. */
static void test_ready(void **state)
{
	struct bed *bed = *state;
	int64_t count, max, buckets;
	struct ready r;
	char *reply;

	bed->apart = true;
	expect(bed, "ready\n", ALL("v b ready false\n", "v s reason ", "\n. 1\n"));
	bed->apart = false;
	peer_flows(bed, 5);
	bed->d.tracking.probe = KERN_TRACKING_ON;
	kern_counts(&count, &max, &buckets);
	if (count >= 0 && max >= 0 && buckets >= 0) {
		spin_until(bed, (reply = collect(bed, ask(bed, "ready\n"))) &&
					(strstr(reply, "\n. 0\n") || (free(reply), false)));
		expect_has(reply, "v b ready true\nv s reason in sync\n");
		free(reply);
		expect(bed, "status\n", ALL("v b ready true\nv s reason in sync\n"));
	}
	engine_kern(bed->d.engine, KERN_OVERRUN, NULL, 0, bed->d.now);
	reply = collect(bed, ask(bed, "ready\n"));
	expect_has(reply, "v b ready false\n");
	expect_has(reply, "\n. 1\n");
	free(reply);
	expect(bed, "promote\n", ALL("v s role primary\n"));
	expect(bed, "ready\n", ALL("v b ready true\nv s reason primary\n. 0\n"));
	ready_watch(&bed->d);
	r = bed->d.ready;
	assert_true(r.ready);
	assert_string_equal(r.reason, "primary");
}

static void test_events(void **state)
{
	struct bed *bed = *state;
	char buf[CTL_LINE_MAX] = "";
	int fd = ask(bed, "events\n");

	spin_until(bed, recv(fd, buf, sizeof(buf) - 1, 0) > 0);
	expect_has(buf, "l {\"time\":\"");
	expect_has(buf, "\"node\":\"fw1\",\"seq\":");
	expect_has(buf, "\"event\":\"hello\",");
	(void)close(fd);
}

static void test_flows(void **state)
{
	struct bed *bed = *state;
	char *reply;

	peer_flows(bed, FLOWS);
	reply = collect(bed, ask(bed, "flows remote\n"));
	assert_int_equal(count_of(reply, "ESTABLISHED src=10.0."), FLOWS);
	assert_int_equal(count_of(reply, "l tcp "), FLOWS);
	expect_has(reply, "src=10.0.1.17 dst=10.9.0.1 ");
	expect_has(reply, "\n. 0\n");
	free(reply);
	expect(bed, "flows remote --count\n", ALL("v n count 500\n. 0\n"));
	expect(bed, "flows local --count\n", ALL("v n count 0\n. 0\n"));
	reply = collect(bed, ask(bed, "flows local\n"));
	assert_string_equal(reply, ". 0\n");
	free(reply);
	/* a reader that leaves in the middle */
	(void)close(ask(bed, "flows remote\n"));
	expect(bed, "flows local --count\n", ALL("v n count 0\n. 0\n"));
}

static void test_flows_kernel(void **state)
{
	struct bed *bed = *state;

	if (geteuid() != 0)
		skip();
	expect(bed, "flows kernel\n", ALL(". 0\n"));
	expect(bed, "flows kernel --count\n", ALL(". "));
}

static void test_promote(void **state)
{
	struct bed *bed = *state;
	int first, second;
	char *reply;

	peer_flows(bed, FLOWS);
	first = ask(bed, "promote\n");
	second = ask(bed, "promote --strict\n");
	reply = collect(bed, first);
	expect_has(reply, "v s role primary\n");
	expect_has(reply, "v n refused 0\n");
	expect_has(reply, "v n ms ");
	expect_has(reply, "\n. 0\n");
	free(reply);
	reply = collect(bed, second);
	expect_has(reply, "\n. 0\n");
	free(reply);
	assert_int_equal(bed->injects, FLOWS);
	assert_int_equal(stats_of(bed).role, ROLE_PRIMARY);
	expect(bed, "status\n", ALL("v s role primary\n", "v b ready true\n"));
	expect(bed, "demote\n", ALL("v s role backup\n. 0\n"));
	assert_int_equal(stats_of(bed).role, ROLE_BACKUP);
}

/* The number behind "v n <path> " in the reply. */
static unsigned long number_of(const char *reply, const char *path)
{
	char want[64];
	const char *p;

	(void)snprintf(want, sizeof(want), "v n %s ", path);
	p = strstr(reply, want);
	if (!p)
		fail_msg("no %s in:\n%s", path, reply);
	return strtoul(p + strlen(want), NULL, 10);
}

static void test_promote_refused(void **state)
{
	struct bed *bed = *state;
	char *reply;

	peer_flows(bed, FLOWS);
	bed->refuses = true;
	reply = collect(bed, ask(bed, "promote\n"));
	expect_has(reply, "v s role primary\n");
	assert_int_equal(number_of(reply, "committed"), FLOWS - REFUSED);
	/* every refusal counts, and the engine may try a flow twice */
	assert_in_range(number_of(reply, "refused"), REFUSED, 2 * REFUSED);
	assert_int_equal(number_of(reply, "refused_by.ENOMEM"), number_of(reply, "refused"));
	expect_has(reply, "\n. 0\n");
	free(reply);
	expect(bed, "promote --strict\n",
	       ALL("v s role primary\n", "v n refused ", "e the kernel refused ", "\n. 1\n"));
}

static void test_commit(void **state)
{
	struct bed *bed = *state;

	peer_flows(bed, FLOWS);
	expect(bed, "commit\n",
	       ALL("v s role backup\n", "v n committed 500\n", "v n existed 0\n", "\n. 0\n"));
	expect(bed, "commit\n", ALL("v n committed 0\n", "v n existed 500\n"));
}

/* A kernel that is slow: progress at least once a second, the others are served, leavers do no
 * harm. */
static void test_waiting(void **state)
{
	struct bed *bed = *state;
	int stays, leaves;
	char *reply;
	double start;

	peer_flows(bed, FLOWS);
	bed->stuck = true;
	stays = ask(bed, "promote\n");
	leaves = ask(bed, "promote\n");
	spin_until(bed, stats_of(bed).commit.serial == 2);
	expect(bed, "status\n", ALL("v s role primary\n"));
	(void)close(leaves);
	start = ev_time();
	spin_until(bed, ev_time() > start + 2.5);
	bed->stuck = false;
	reply = collect(bed, stays);
	assert_in_range(count_of(reply, "p 0 500\n"), 2, 25);
	expect_has(reply, "v n committed 500\n");
	expect_has(reply, "\n. 0\n");
	free(reply);
}

static void test_demoted_meanwhile(void **state)
{
	struct bed *bed = *state;
	char *reply;
	int fd;

	peer_flows(bed, FLOWS);
	bed->stuck = true;
	fd = ask(bed, "promote\n");
	spin_until(bed, stats_of(bed).role == ROLE_PRIMARY);
	expect(bed, "demote\n", ALL(". 0\n"));
	bed->stuck = false;
	reply = collect(bed, fd);
	expect_has(reply, "e this node was demoted");
	expect_has(reply, "\n. 1\n");
	free(reply);
}

static void test_small_verbs(void **state)
{
	struct bed *bed = *state;

	peer_flows(bed, 5);
	expect(bed, "resync\n", ALL(". 0\n"));
	expect(bed, "flush local\n", ALL(". 0\n"));
	expect(bed, "flush remote\n", ALL(". 0\n"));
	spin_until(bed, stats_of(bed).remote_flows == 5); /* learnt anew */
	expect(bed, "log warn\n", ALL(". 0\n"));
	expect(bed, "config\n", ALL("l node = \"fw1\";\n", "\n. 0\n"));
	assert_false(bed->d.stopping);
	expect(bed, "shutdown\n", ALL(". 0\n"));
	assert_true(bed->d.stopping);
}

static void test_stats(void **state)
{
	struct kern_conf kern_conf = { .event_buffer_len = 1 << 20 };
	struct bed *bed = *state;
	const char *why;

	if (geteuid() != 0)
		skip();
	peer_flows(bed, 5);
	assert_int_equal(kern_open(&bed->d.kern, &kern_conf, bed->d.log, &why), 0);
	expect(bed, "stats\n",
	       ALL("v s epoch 000000000000000b\n", "v n flows.remote 5\n",
		   "v n records_applied 5\n", "v n drops.short 0\n", "v n kernel.messages ",
		   "v l links\n", "v n control.requests 1\n", "v n memory.resident ",
		   "v n process.turns ", "\n. 0\n"));
	kern_close(bed->d.kern);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
	const struct CMUnitTest tests[] = {
		TEST(test_status),          TEST(test_ready),
		TEST(test_events),          TEST(test_flows),
		TEST(test_flows_kernel),    TEST(test_promote),
		TEST(test_promote_refused), TEST(test_commit),
		TEST(test_waiting),         TEST(test_demoted_meanwhile),
		TEST(test_small_verbs),     TEST(test_stats),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
