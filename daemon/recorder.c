/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The flight recorder. What can be replayed is a saved state of the engine and every input since,
 * so the ring is made of segments, each begun by such a state: when the last third of it is full,
 * the oldest third gives way, and there are always one to two thirds of history behind the present.
 *
 * The state is written by a child from its copy of our memory: fork(2) takes a moment whatever the
 * table's size, and the loop goes on while the child copies. Until it is done the segment before,
 * which the new one continues, is what a replay starts from.
 *
 * The segments are files mapped into memory, beside the control socket in /run: memory, not disk,
 * and no page of them is ever waited for. The engine writes its inputs there before it looks at
 * them. So nothing has to be done when the process dies, of whatever: an assertion, a signal, or
 * without any chance to do something. The next run finds the segments and keeps them as
 * SOCKET.crash. Their room is taken when they are made, so that a full /run is an error then, and
 * no SIGBUS later.
 *
 * The ring's size is the configuration's. A state that takes more than three quarters of a third
 * cannot begin a segment: then the recording stands still at its end, and the log says which size
 * would do.
 */
#include "recorder.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "recording.h"

#define FILE_FLAGS (O_CLOEXEC | O_NOFOLLOW)
#define RETRY_US USEC_PER_SEC /* from one failure to begin a segment to the next attempt */

struct part { /* of a copy */
	const void *p;
	size_t len;
};

struct copy { /* of what was there when it was made: tapes grow on */
	struct part parts[3 * RECORDING_SEGMENTS];
	struct engine_tape tapes[RECORDING_SEGMENTS];
	unsigned int segments, count, at;
	size_t pos;
	uint64_t sum;
	struct recording_end end;
};

enum job { JOB_NONE, JOB_STATE, JOB_SAVE };

struct recorder {
	struct engine *e;
	struct log *log;
	char socket[RECORDER_PATH_MAX];
	struct recording_segment *seg[RECORDING_SEGMENTS];
	size_t seg_len;
	struct recording_segment head; /* what is the same in all of them */
	unsigned int active;
	enum job job;
	pid_t child;    /* of the job */
	bool save_due;  /* a divergence is to be saved */
	bool fresh_due; /* first a segment has to begin, so that the state of now is in it */
	bool reading;   /* somebody reads a copy, or waits for it */
	bool copy_ready;
	struct copy copy;
	bool told_large;
	usec_t saved_at, retry_at; /* 0: never */
	uint64_t saved, steps_before, state_len;
	char save_path[RECORDER_PATH_MAX];
};

static struct engine_tape *tape_of(const struct recording_segment *s)
{
	return (void *)((uint8_t *)(uintptr_t)(s + 1) + s->state_room);
}

/* ---- Files ---- */

static void ring_path(const char *socket, unsigned int i, char *buf, size_t len)
{
	(void)snprintf(buf, len, "%s.record.%u", socket, i);
}

/* A new file of that length, mapped; the old one of that name goes. Returns 0 or -errno. */
static int seg_make(struct recorder *r, unsigned int i)
{
	char path[RECORDER_PATH_MAX + 16];
	int fd, err;
	void *p;

	ring_path(r->socket, i, path, sizeof(path));
	if (unlink(path) && errno != ENOENT)
		return -errno;
	fd = open(path, O_RDWR | O_CREAT | O_EXCL | FILE_FLAGS, 0600);
	if (fd < 0)
		return -errno;
	err = -posix_fallocate(fd, 0, (off_t)r->seg_len);
	p = err ? MAP_FAILED : mmap(NULL, r->seg_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!err && p == MAP_FAILED)
		err = -errno;
	(void)close(fd); /* the mapping stays */
	if (err)
		(void)unlink(path);
	else
		r->seg[i] = p;
	return err;
}

static void ring_remove(const char *socket)
{
	char path[RECORDER_PATH_MAX + 16];

	for (unsigned int i = 0; i < RECORDING_SEGMENTS; i++) {
		ring_path(socket, i, path, sizeof(path));
		(void)unlink(path); /* there may be none */
	}
}

/* ---- Copies ---- */

static void copy_add(struct copy *c, const struct recording_segment *s)
{
	struct engine_tape *t = &c->tapes[c->segments++];

	*t = *tape_of(s);
	c->parts[c->count++] = (struct part){ s, sizeof(*s) + s->state_room };
	c->parts[c->count++] = (struct part){ NULL, sizeof(*t) }; /* t: c may move */
	c->parts[c->count++] = (struct part){ tape_of(s) + 1, t->used };
}

/* All that can be replayed: the unbroken run of segments up to the last, from the first one on that
 * has a state. segs in order, oldest first. */
static bool copy_make(struct copy *c, struct recording_segment *const *segs, unsigned int count)
{
	unsigned int first = count ? count - 1 : 0, i;

	*c = (struct copy){ .sum = RECORDING_SUM_START };
	while (first > 0 && segs[first]->joined)
		first--;
	while (first < count && !segs[first]->state_len)
		first++;
	for (i = first; i < count; i++)
		copy_add(c, segs[i]);
	memcpy(c->end.magic, RECORDING_END, sizeof(c->end.magic));
	c->end.segments = c->segments;
	return c->segments != 0;
}

/* The segments of the ring, oldest first. */
static unsigned int ring_order(const struct recorder *r, struct recording_segment **segs)
{
	unsigned int count = 0;

	for (unsigned int k = 1; k <= RECORDING_SEGMENTS; k++) {
		struct recording_segment *s = r->seg[(r->active + k) % RECORDING_SEGMENTS];

		if (s->number)
			segs[count++] = s;
	}
	return count;
}

/* Its next bytes, a multiple of 8; behind the segments comes the end. 0: that is all. */
static size_t copy_next(struct copy *c, const void **p, size_t max)
{
	const struct part *part;
	size_t len;

	while (c->at < c->count && !c->parts[c->at].len)
		c->at++;
	if (c->at == c->count) {
		c->end.sum = c->sum;
		c->at++;
		*p = &c->end;
		return sizeof(c->end);
	}
	if (c->at > c->count)
		return 0;
	part = &c->parts[c->at];
	len = part->len - c->pos;
	if (len > max)
		len = max & ~(size_t)7;
	*p = (const uint8_t *)(part->p ? part->p : &c->tapes[c->at / 3]) + c->pos;
	c->sum = recording_sum(c->sum, *p, len);
	c->pos += len;
	if (c->pos == part->len) {
		c->at++;
		c->pos = 0;
	}
	return len;
}

static int write_all(int fd, const uint8_t *p, size_t len)
{
	while (len) {
		ssize_t n = write(fd, p, len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -ENOSPC;
		p += n;
		len -= (size_t)n;
	}
	return 0;
}

/* Writes a copy to path, whole or not at all. Returns 0 or -errno. */
static int copy_save(struct copy *c, const char *path)
{
	char tmp[RECORDER_PATH_MAX + 16];
	const void *p;
	size_t len;
	int fd, err = 0;

	(void)snprintf(tmp, sizeof(tmp), "%s.new", path);
	(void)unlink(tmp); /* of a run that was killed in between */
	fd = open(tmp, O_WRONLY | O_CREAT | O_EXCL | FILE_FLAGS, 0600);
	if (fd < 0)
		return -errno;
	while (!err && (len = copy_next(c, &p, 1u << 20)) > 0)
		err = write_all(fd, p, len);
	if (close(fd) && !err)
		err = -errno;
	if (!err && rename(tmp, path))
		err = -errno;
	if (err)
		(void)unlink(tmp);
	return err;
}

/* ---- Children ---- */

/* Returns 0 in the child, which has nothing of ours but memory; its pid, or -errno. */
static pid_t child_start(void)
{
	sigset_t all, old;
	pid_t pid;

	(void)sigfillset(&all);
	(void)sigprocmask(SIG_SETMASK, &all, &old); /* no handler of ours runs there */
	pid = fork();
	if (pid) {
		int err = -errno;

		(void)sigprocmask(SIG_SETMASK, &old, NULL);
		return pid < 0 ? err : pid;
	}
	(void)prctl(PR_SET_PDEATHSIG, SIGKILL);
	(void)close_range(3, ~0u, 0); /* the lock above all: it would outlive us with the child */
	(void)!nice(10);
	return 0;
}

static void child_state(struct recorder *r, struct recording_segment *s)
{
	size_t len = engine_save(r->e, (uint8_t *)(s + 1), s->state_room);

	__atomic_store_n(&s->state_len, len, __ATOMIC_RELEASE);
	_exit(len ? 0 : 1);
}

/* ---- The ring ---- */

static void tell_large(struct recorder *r, size_t need)
{
	size_t mb = RECORDING_SEGMENTS * (need * 4 / 3 + (1u << 20)) >> 20;

	if (!r->told_large)
		log_warn(r->log,
			 "record: the state takes %zu MiB, too much for record.size_mb; recording "
			 "ends when the present segment is full, set %zu or more",
			 (need >> 20) + 1, mb + 1);
	r->told_large = true;
}

/* The segment i begins now, with the engine's state. Returns whether it could. */
static bool seg_begin(struct recorder *r, unsigned int i, usec_t now)
{
	struct recording_segment *s = r->seg[i];
	struct engine_tape *last = r->head.number ? tape_of(r->seg[r->active]) : NULL, *t;
	size_t room = (engine_save(r->e, NULL, 0) + 7) & ~(size_t)7;

	if (room > r->seg_len / 4 * 3) {
		tell_large(r, room);
		return false;
	}
	r->told_large = false;
	r->head.number++;
	*s = r->head;
	s->begun_at = now;
	s->begun_wall = (uint64_t)time(NULL);
	s->state_room = room;
	s->joined = last && !last->full;
	t = tape_of(s);
	*t = (struct engine_tape){ .hash = last ? last->hash : RECORDING_SUM_START };
	t->size = (r->seg_len - sizeof(*s) - room - sizeof(*t)) & ~(uint64_t)7;
	r->steps_before += last ? last->steps : 0;
	r->active = i;
	r->state_len = room;
	engine_record(r->e, t);
	r->child = child_start();
	if (r->child == 0)
		child_state(r, s);
	if (r->child > 0)
		r->job = JOB_STATE;
	else
		log_warn(r->log, "record: no process to save the state: %s",
			 strerror((int)-r->child));
	return true;
}

/* Has the job's child ended? The loop may have reaped it before us. */
static bool job_over(struct recorder *r)
{
	int status;

	if (waitpid(r->child, &status, WNOHANG) == 0)
		return false;
	if (r->job == JOB_SAVE) {
		struct stat st;

		if (stat(r->save_path, &st) == 0 && st.st_size > 0) {
			log_warn(r->log, "record: what led to the divergence is in %s",
				 r->save_path);
			r->saved++;
		} else {
			log_warn(r->log, "record: %s could not be written", r->save_path);
		}
	} else if (!r->seg[r->active]->state_len) {
		log_warn(r->log, "record: the engine's state could not be saved");
	}
	r->job = JOB_NONE;
	return true;
}

/* ---- Saving a divergence ---- */

/* The name that is free, or the oldest. */
static void save_name(struct recorder *r)
{
	time_t oldest = 0;

	r->save_path[0] = '\0';
	for (unsigned int i = 1; i <= RECORDER_SAVED_MAX; i++) {
		char path[RECORDER_PATH_MAX];
		struct stat st;
		int n = snprintf(path, sizeof(path), "%s.divergence.%u", r->socket, i);

		if (n < 0 || (size_t)n >= sizeof(path))
			return;
		if (lstat(path, &st))
			st.st_mtime = 0;
		if (r->save_path[0] && st.st_mtime >= oldest)
			continue;
		memcpy(r->save_path, path, sizeof(path));
		oldest = st.st_mtime;
	}
}

static void save_begin(struct recorder *r)
{
	struct recording_segment *segs[RECORDING_SEGMENTS];
	struct copy c;

	r->save_due = false;
	if (!copy_make(&c, segs, ring_order(r, segs)))
		return;
	save_name(r);
	(void)unlink(r->save_path); /* the oldest gives way */
	r->child = child_start();
	if (r->child == 0)
		_exit(copy_save(&c, r->save_path) ? 1 : 0);
	if (r->child > 0)
		r->job = JOB_SAVE;
}

void recorder_diverged(struct recorder *r, usec_t now)
{
	if (!r || r->save_due || (r->saved_at && now < r->saved_at + RECORDER_PAUSE_US))
		return;
	r->saved_at = now;
	r->save_due = true;
	r->fresh_due = true;
}

/* ---- Doors ---- */

static bool nearly_full(const struct recorder *r)
{
	const struct engine_tape *t = tape_of(r->seg[r->active]);

	return t->full || t->size - t->used < t->size / 8;
}

static void copy_begin(struct recorder *r)
{
	struct recording_segment *segs[RECORDING_SEGMENTS];

	(void)copy_make(&r->copy, segs, ring_order(r, segs));
	r->copy_ready = true;
}

void recorder_turn(struct recorder *r, usec_t now)
{
	if (!r || (r->job != JOB_NONE && !job_over(r)))
		return;
	/* A segment that is being read is not written over. */
	if ((r->fresh_due || nearly_full(r)) && !r->copy_ready && now >= r->retry_at) {
		r->fresh_due = false;
		if (!seg_begin(r, (r->active + 1) % RECORDING_SEGMENTS, now))
			r->retry_at = now + RETRY_US;
		if (r->job != JOB_NONE)
			return;
	}
	if (now < r->retry_at) /* no new segment can begin, as was found a moment ago */
		r->fresh_due = false;
	if (r->fresh_due && !r->copy_ready)
		return;
	if (r->save_due)
		save_begin(r);
	else if (r->reading && !r->copy_ready)
		copy_begin(r);
}

int recorder_copy_begin(struct recorder *r)
{
	if (!r)
		return -ENOENT;
	if (r->reading)
		return -EBUSY;
	r->reading = true;
	r->fresh_due = true;
	return 0;
}

int recorder_copy_read(struct recorder *r, uint8_t *buf, size_t len)
{
	const void *p;
	size_t n;

	if (!r->copy_ready)
		return -EAGAIN;
	if (!r->copy.segments)
		return -ENODATA;
	n = copy_next(&r->copy, &p, len);
	if (n)
		memcpy(buf, p, n);
	return (int)n;
}

void recorder_copy_end(struct recorder *r)
{
	if (!r)
		return;
	r->reading = false;
	r->copy_ready = false;
}

void recorder_stats(const struct recorder *r, struct recorder_stats *s)
{
	struct recording_segment *segs[RECORDING_SEGMENTS];
	const struct engine_tape *t;
	struct copy c;

	*s = (struct recorder_stats){ .on = r != NULL };
	if (!r)
		return;
	t = tape_of(r->seg[r->active]);
	(void)copy_make(&c, segs, ring_order(r, segs));
	s->stopped = t->full == 1;
	s->segments = c.segments;
	s->steps = r->steps_before + t->steps;
	s->state_len = r->state_len;
	s->saved = r->saved;
}

/* ---- What an earlier run left ---- */

struct old {
	struct recording_segment *seg[RECORDING_SEGMENTS];
	size_t len[RECORDING_SEGMENTS];
	unsigned int count;
};

/* Is it whole as far as its lengths go? */
static bool seg_sane(const struct recording_segment *s, size_t len)
{
	const size_t least = sizeof(*s) + sizeof(struct engine_tape);

	if (len < least || memcmp(s->magic, RECORDING_MAGIC, sizeof(s->magic)) != 0 || !s->number)
		return false;
	if (s->state_room % 8 || s->state_room > len - least || s->state_len > s->state_room)
		return false;
	return tape_of(s)->used % 8 == 0 && tape_of(s)->used <= len - least - s->state_room;
}

static void old_take(struct old *o, const char *path)
{
	int fd = open(path, O_RDONLY | FILE_FLAGS | O_NONBLOCK);
	struct stat st;
	void *p = MAP_FAILED;

	if (fd < 0)
		return;
	if (!fstat(fd, &st) && S_ISREG(st.st_mode) && st.st_size > 0)
		p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	(void)close(fd);
	if (p == MAP_FAILED)
		return;
	if (!seg_sane(p, (size_t)st.st_size)) {
		(void)munmap(p, (size_t)st.st_size);
		return;
	}
	o->seg[o->count] = p;
	o->len[o->count++] = (size_t)st.st_size;
}

static int by_number(const void *a, const void *b)
{
	const struct recording_segment *const *x = a, *const *y = b;

	return (*x)->number < (*y)->number ? -1 : (*x)->number > (*y)->number;
}

static void old_keep(const struct recorder_conf *conf, struct log *log)
{
	char path[RECORDER_PATH_MAX + 16];
	struct recording_segment *sorted[RECORDING_SEGMENTS];
	struct old o = { .count = 0 };
	struct copy c;
	bool clean = false;
	int err;

	for (unsigned int i = 0; i < RECORDING_SEGMENTS; i++) {
		ring_path(conf->socket, i, path, sizeof(path));
		old_take(&o, path);
	}
	for (unsigned int i = 0; i < o.count; i++)
		clean |= o.seg[i]->clean != 0 || o.seg[i]->epoch != o.seg[0]->epoch;
	memcpy(sorted, o.seg, sizeof(sorted));
	qsort(sorted, o.count, sizeof(sorted[0]), by_number);
	(void)snprintf(path, sizeof(path), "%s.crash", conf->socket);
	if (!clean && copy_make(&c, sorted, o.count)) {
		err = copy_save(&c, path);
		if (err)
			log_warn(log, "record: %s: cannot be written: %s", path, strerror(-err));
		else
			log_warn(log,
				 "record: the run before this one did not end by its own will; "
				 "what it did is in %s",
				 path);
	}
	for (unsigned int i = 0; i < o.count; i++)
		(void)munmap(o.seg[i], o.len[i]);
}

static void fill_head(struct recording_segment *h, const struct recorder_conf *conf)
{
	*h = (struct recording_segment){ .build = engine_build(), .epoch = conf->epoch };
	memcpy(h->magic, RECORDING_MAGIC, sizeof(h->magic));
	(void)snprintf(h->node, sizeof(h->node), "%s", conf->node);
}

static void free_all(struct recorder *r)
{
	for (unsigned int i = 0; i < RECORDING_SEGMENTS; i++)
		if (r->seg[i])
			(void)munmap(r->seg[i], r->seg_len);
	free(r);
}

int recorder_open(struct recorder **r, const struct recorder_conf *conf, struct engine *e,
		  struct log *log, usec_t now)
{
	struct recorder *n;
	int err = 0;

	*r = NULL;
	old_keep(conf, log);
	ring_remove(conf->socket);
	if (!conf->size_mb)
		return 0;
	n = calloc(1, sizeof(*n));
	if (!n)
		return -ENOMEM;
	n->e = e;
	n->log = log;
	n->seg_len = (size_t)max_u64(conf->size_mb, RECORDER_MB_MIN) << 20;
	n->seg_len = n->seg_len / RECORDING_SEGMENTS & ~(size_t)4095;
	(void)snprintf(n->socket, sizeof(n->socket), "%s", conf->socket);
	fill_head(&n->head, conf);
	for (unsigned int i = 0; i < RECORDING_SEGMENTS && !err; i++)
		err = seg_make(n, i);
	if (err) {
		free_all(n);
		ring_remove(conf->socket);
		return err;
	}
	(void)seg_begin(n, 0, now);
	*r = n;
	return 0;
}

void recorder_close(struct recorder *r, bool clean)
{
	if (!r)
		return;
	engine_record(r->e, NULL);
	if (r->job != JOB_NONE)
		(void)waitpid(r->child, NULL, 0); /* a moment; what it writes is worth it */
	for (unsigned int i = 0; i < RECORDING_SEGMENTS; i++)
		r->seg[i]->clean = clean;
	if (clean)
		ring_remove(r->socket);
	free_all(r);
}
