/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * One turn of the loop. Inputs are pushed into the engine by the watchers as they become readable,
 * each with a budget; then, before the loop sleeps, pump() moves what the engine wants out:
 * datagrams, kernel operations, notes. Every output has a budget too, so that no input and no
 * output starves another: what is left over makes the next turn start at once (ev_idle).
 *
 * Order in a turn: clock, inputs, tick, datagrams, kernel operations, datagrams that these made,
 * notes, verbs that wait. Datagrams go first because they are cheap and somebody waits for them;
 * kernel operations stop at a number of batches or at a time.
 *
 * The clock is read once a turn, when the loop wakes (ev_check); the engine sees no other. Only the
 * time budget of kernel operations looks at it again.
 */
#include "daemon.h"

#include <errno.h>
#include <inttypes.h>
#include <malloc.h>
#include <string.h>

#include "events.h"

#define EVENTS_BUDGET 2048 /* kernel events a turn */
#define DGRAMS_IN_BUDGET 512
#define DGRAMS_HEAR_MAX 16384 /* more than the buffer of a socket holds */
#define EVENTS_HEAR_MAX 32768 /* half a second of 60,000 a second */
#define DGRAMS_OUT_BUDGET 128
#define DUMP_BUDGET 4 /* slices of a dump a turn, at most 32 KiB each */
#define OPS_BATCHES 8
#define OPS_BUDGET_US 2000
#define FULL_PAUSE_US 1000 /* after a socket was full */
#define DRAIN_MAX 1024     /* datagrams sent at the end */
#define SLEEP_MAX_S 60.0
#define MINUTE_S 60.0
#define STATUS_S 1.0
#define TURN_SLOW_US 250000   /* worth a line: peers judge us by our heartbeats */
#define READY_PAUSE_US 100000 /* readiness is judged at most so often, and once a STATUS_S */

usec_t daemon_now(void)
{
	struct timespec ts = { 0 };

	(void)clock_gettime(CLOCK_MONOTONIC, &ts); /* cannot fail for this clock */
	return (usec_t)ts.tv_sec * USEC_PER_SEC + (usec_t)ts.tv_nsec / 1000;
}

bool pump_reconf(struct daemon *d, const struct engine_conf *conf)
{
	if (!memcmp(conf, &d->engine_conf, sizeof(*conf)))
		return false;
	d->engine_conf = *conf;
	engine_reconf(d->engine, conf, d->now);
	return true;
}

/* ---- outputs ---- */

/* Returns true when datagrams may be left. */
static bool send_some(struct daemon *d)
{
	unsigned int i;

	if (d->now < d->send_at)
		return false; /* the deadline timer comes back for it */
	for (i = 0; i < DGRAMS_OUT_BUDGET; i++) {
		uint8_t *pkt = links_buffer(d->links);
		uint32_t to;
		size_t len = engine_send(d->engine, pkt, &to, d->now);

		if (!len)
			break;
		links_queue(d->links, pkt, len, to);
	}
	links_flush(d->links);
	if (links_was_full(d->links)) {
		d->send_at = d->now + FULL_PAUSE_US;
		return false;
	}
	return i == DGRAMS_OUT_BUDGET;
}

static void start_dump(struct daemon *d)
{
	int err = kern_dump_start(d->kern);
	struct engine_stats s;

	d->dump_wanted = err == -EBUSY;
	if (err == -EBUSY)
		return;
	if (!err) {
		engine_stats(d->engine, &s, d->now);
		d->overruns_at_dump = s.count.overruns;
		return;
	}
	log_err(d->log, "kernel: cannot read the conntrack table: %s", strerror(-err));
	engine_kern(d->engine, KERN_DUMP_FAIL, NULL, 0, d->now);
}

/* Timers run by the clock of the write. After it the engine has been told a later time than the
 * turn's, and time must not go back. */
static void carry_out(struct daemon *d, const struct engine_op *ops, size_t count)
{
	while (count) {
		size_t n = deaths_begin(d->deaths, ops, count);

		d->now = daemon_now();
		kern_apply(d->kern, d->engine, ops, n, d->now);
		d->now = daemon_now();
		deaths_end(d->deaths);
		ops += n;
		count -= n;
	}
}

/* Carries out kernel operations within the budgets. Returns true when some may be left; *any: there
 * were some. */
static bool operate(struct daemon *d, bool *any)
{
	struct engine_op ops[KERN_BATCH_MAX];
	usec_t end = d->now + OPS_BUDGET_US;

	*any = false;
	for (unsigned int batch = 0; batch < OPS_BATCHES; batch++) {
		unsigned int count = 0;

		while (count < KERN_BATCH_MAX && engine_op(d->engine, &ops[count], d->now)) {
			if (ops[count].type == OP_DUMP)
				start_dump(d);
			else
				count++;
		}
		if (!count)
			return false;
		*any = true;
		carry_out(d, ops, count);
		if (batch == 0)
			end = d->now + OPS_BUDGET_US; /* this turn's inputs are not on this bill */
		else if (d->now >= end)
			return true;
	}
	return true;
}

/* Sets the timer to the engine's deadline, or to the end of a pause in sending. */
static void set_deadline(struct daemon *d)
{
	usec_t at = engine_deadline(d->engine);
	ev_tstamp after;

	if (d->send_at > d->now && d->send_at < at)
		at = d->send_at;
	after = at > d->now ? (ev_tstamp)(at - d->now) / (ev_tstamp)USEC_PER_SEC : 0.0;
	d->watch.deadline.repeat = after > SLEEP_MAX_S ? SLEEP_MAX_S : after < 1e-6 ? 1e-6 : after;
	ev_timer_again(d->loop, &d->watch.deadline);
}

/* The kernel counts an entry down after it told of its end. So when the count is read first and
 * then the events until none is left, we know of no more entries than were counted; or some went
 * without a word. While more come than can be read in one go the last figure stands. */
static void watch_ready(struct daemon *d)
{
	int64_t count, max, buckets;
	struct engine_stats s;

	kern_counts(&count, &max, &buckets);
	if (kern_read_events(d->kern, d->engine, EVENTS_BUDGET, d->now) < EVENTS_BUDGET) {
		engine_stats(d->engine, &s, d->now);
		d->missing = count >= 0 && s.in_kernel > (uint64_t)count
				     ? s.in_kernel - (uint64_t)count
				     : 0;
	}
	ready_watch(d);
}

/* An audit waits until what happened before has been told. An idle event socket wakes nobody, so it
 * is read here. */
static void drain(struct daemon *d)
{
	if (engine_wants_drained(d->engine, d->now) &&
	    kern_read_events(d->kern, d->engine, EVENTS_BUDGET, d->now) < EVENTS_BUDGET)
		engine_kern(d->engine, KERN_DRAINED, NULL, 0, d->now);
}

void pump(struct daemon *d)
{
	bool left, any;

	d->turns++;
	drain(d);
	if (d->now >= engine_deadline(d->engine))
		engine_tick(d->engine, d->now);
	left = send_some(d);
	left |= operate(d, &any);
	if (any)
		left |= send_some(d);
	notes_drain(d);
	if (d->ready_due && d->now >= d->ready_at + READY_PAUSE_US)
		watch_ready(d);
	verbs_after_pump(d);
	verify_after_pump(d);
	recorder_turn(d->recorder, d->now);
	set_deadline(d);
	if (left) {
		d->turns_left_over++;
		ev_idle_start(d->loop, &d->watch.again);
	} else {
		ev_idle_stop(d->loop, &d->watch.again);
	}
}

void pump_drain(struct daemon *d)
{
	d->now = daemon_now();
	d->send_at = 0;
	for (unsigned int i = 0; i < DRAIN_MAX / DGRAMS_OUT_BUDGET && send_some(d); i++)
		;
	notes_drain(d);
}

/* ---- inputs ---- */

static void on_check(struct ev_loop *loop, ev_check *w, int revents)
{
	struct daemon *d = w->data;
	usec_t before = d->turn_at;

	(void)loop;
	(void)revents;
	d->now = d->turn_at = daemon_now();
	if (d->now - before >= TURN_SLOW_US)
		pump_hear(d); /* who stood still must not call its peers silent */
}

/* A turn that took long is a fault of ours, of a disk or terminal behind a system call, or of a
 * machine with too little time for us. Whichever, it explains a peer that was called dead. */
static void note_turn(struct daemon *d)
{
	usec_t took = daemon_now() - d->turn_at;

	if (took > d->turn_max_us)
		d->turn_max_us = took;
	if (took >= TURN_SLOW_US)
		log_warn(d->log, "loop: a turn took %" PRIu64 " ms; peers may have missed us",
			 (uint64_t)(took / USEC_PER_MS));
}

static void on_prepare(struct ev_loop *loop, ev_prepare *w, int revents)
{
	struct daemon *d = w->data;

	(void)revents;
	pump(d);
	note_turn(d);
	if (d->stopping)
		ev_break(loop, EVBREAK_ALL);
}

/* Both do nothing: that the loop woke is enough. */
static void on_again(struct ev_loop *loop, ev_idle *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static void on_deadline(struct ev_loop *loop, ev_timer *w, int revents)
{
	(void)loop;
	(void)w;
	(void)revents;
}

static void on_kern_events(struct ev_loop *loop, ev_io *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	/* What is left keeps the descriptor readable: the next turn reads on. */
	(void)kern_read_events(d->kern, d->engine, EVENTS_BUDGET, d->now);
}

static void on_kern_dump(struct ev_loop *loop, ev_io *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	for (unsigned int i = 0; i < DUMP_BUDGET; i++) {
		if (kern_read_dump(d->kern, d->engine, d->now) <= 0)
			break;
	}
	if (d->dump_wanted && !kern_dump_running(d->kern))
		start_dump(d);
}

static void on_link(struct ev_loop *loop, ev_io *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	(void)links_read(d->links, d->engine, DGRAMS_IN_BUDGET, d->now);
}

void pump_hear(struct daemon *d)
{
	for (unsigned int n = 0; n < DGRAMS_HEAR_MAX; n += DGRAMS_IN_BUDGET)
		if (links_read(d->links, d->engine, DGRAMS_IN_BUDGET, d->now) < DGRAMS_IN_BUDGET)
			break;
	for (unsigned int n = 0; n < EVENTS_HEAR_MAX; n += EVENTS_BUDGET) /* a flood never ends */
		if (kern_read_events(d->kern, d->engine, EVENTS_BUDGET, d->now) < EVENTS_BUDGET)
			break;
}

static void watch_links(struct daemon *d);

static void on_rtnl(struct ev_loop *loop, ev_io *w, int revents)
{
	struct daemon *d = w->data;
	struct engine_conf conf = d->engine_conf;
	struct link_stats before[LINK_LINKS_MAX], after[LINK_LINKS_MAX];
	unsigned int count = links_stats(d->links, before, LINK_LINKS_MAX);

	(void)loop;
	(void)revents;
	if (!links_read_rtnl(d->links))
		return;
	(void)links_stats(d->links, after, LINK_LINKS_MAX); /* as many as before */
	for (unsigned int i = 0; i < count; i++)
		if (before[i].up != after[i].up || before[i].mtu != after[i].mtu)
			events_link(d, &after[i]);
	watch_links(d);
	conf.dgram_max = links_dgram_max(d->links);
	conf.window_len = links_window(d->links);
	(void)pump_reconf(d, &conf);
}

/* Watches the sockets that are open now: they come and go with their interfaces. */
static void watch_links(struct daemon *d)
{
	struct daemon_watch *w = &d->watch;
	int fds[LINK_LINKS_MAX + 1];
	unsigned int n = links_fds(d->links, fds, LINK_LINKS_MAX + 1);

	for (unsigned int i = 0; i <= LINK_LINKS_MAX; i++)
		ev_io_stop(d->loop, &w->link[i]);
	for (unsigned int i = 0; i < n; i++) {
		ev_io_init(&w->link[i], i == n - 1 ? on_rtnl : on_link, fds[i], EV_READ);
		ev_set_priority(&w->link[i], 1); /* heard before anything is judged */
		w->link[i].data = d;
		ev_io_start(d->loop, &w->link[i]);
	}
	w->link_count = n - 1;
}

/* ---- timers ---- */

static void on_minute(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct daemon *d = w->data;
	struct engine_conf conf = d->engine_conf;

	(void)loop;
	(void)revents;
	kern_timeouts(&conf.timeouts);
	(void)pump_reconf(d, &conf);
	(void)malloc_trim(0); /* what flows that have gone left behind, the system gets back */
}

static void save_again(struct daemon *d)
{
	struct engine_stats s;

	engine_stats(d->engine, &s, d->now);
	role_save(d, s.role);
}

static void on_status(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct daemon *d = w->data;
	char line[sizeof(d->status)], text[sizeof(line) + 8];

	(void)loop;
	(void)revents;
	watch_ready(d);
	notrack_watch(d);
	if (d->state_err)
		save_again(d);
	if (!notify_wanted(&d->notify))
		return;
	status_line(d, line, sizeof(line));
	if (!strcmp(line, d->status))
		return;
	memcpy(d->status, line, sizeof(line));
	(void)snprintf(text, sizeof(text), "STATUS=%s", line);
	notify_send(&d->notify, text);
}

/* A timer of the loop that does the work: a loop that hangs sends nothing. */
static void on_watchdog(struct ev_loop *loop, ev_timer *w, int revents)
{
	struct daemon *d = w->data;

	(void)loop;
	(void)revents;
	notify_send(&d->notify, "WATCHDOG=1");
}

static void start_timers(struct daemon *d)
{
	struct daemon_watch *w = &d->watch;
	ev_tstamp watchdog = (ev_tstamp)d->notify.watchdog_us / (ev_tstamp)USEC_PER_SEC / 3;

	ev_timer_init(&w->deadline, on_deadline, 0., 0.); /* set_deadline */
	ev_timer_init(&w->minute, on_minute, MINUTE_S, MINUTE_S);
	ev_timer_init(&w->status, on_status, 0., STATUS_S);
	ev_timer_init(&w->watchdog, on_watchdog, 0., watchdog);
	w->deadline.data = w->minute.data = w->status.data = w->watchdog.data = d;
	ev_timer_start(d->loop, &w->minute);
	ev_timer_start(d->loop, &w->status);
	if (d->notify.watchdog_us)
		ev_timer_start(d->loop, &w->watchdog);
}

void pump_start(struct daemon *d)
{
	struct daemon_watch *w = &d->watch;

	d->turn_at = d->now;
	ev_io_init(&w->kern_events, on_kern_events, kern_event_fd(d->kern), EV_READ);
	ev_io_init(&w->kern_dump, on_kern_dump, kern_dump_fd(d->kern), EV_READ);
	ev_check_init(&w->check, on_check);
	ev_prepare_init(&w->prepare, on_prepare);
	ev_idle_init(&w->again, on_again);
	w->kern_events.data = w->kern_dump.data = w->check.data = w->prepare.data = w->again.data =
		d;
	ev_set_priority(&w->check, EV_MAXPRI);   /* the clock, before anybody uses it */
	ev_set_priority(&w->prepare, EV_MINPRI); /* after all that prepares */
	ev_set_priority(&w->again,
			EV_MAXPRI); /* idle watchers of lower priority would wait for quiet */
	for (unsigned int i = 0; i <= LINK_LINKS_MAX; i++)
		ev_io_init(&w->link[i], on_link, -1, EV_READ);

	ev_io_start(d->loop, &w->kern_events);
	ev_io_start(d->loop, &w->kern_dump);
	ev_check_start(d->loop, &w->check);
	ev_prepare_start(d->loop, &w->prepare);
	start_timers(d);
	watch_links(d);
}

void pump_stop(struct daemon *d)
{
	struct daemon_watch *w = &d->watch;

	ev_io_stop(d->loop, &w->kern_events);
	ev_io_stop(d->loop, &w->kern_dump);
	for (unsigned int i = 0; i <= LINK_LINKS_MAX; i++)
		ev_io_stop(d->loop, &w->link[i]);
	ev_check_stop(d->loop, &w->check);
	ev_prepare_stop(d->loop, &w->prepare);
	ev_idle_stop(d->loop, &w->again);
	ev_timer_stop(d->loop, &w->deadline);
	ev_timer_stop(d->loop, &w->minute);
	ev_timer_stop(d->loop, &w->status);
	ev_timer_stop(d->loop, &w->watchdog);
}
