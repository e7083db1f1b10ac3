/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A flow that kills the daemon would kill it again after each restart, for the peer tells of it and
 * the kernel has it still. So before a flow is worked on its key stands in a small file mapped into
 * memory, beside the control socket in /run; nothing has to be done when the process dies, of
 * whatever: an assertion, a signal, a watchdog, or without any chance to do something. The next run
 * finds the key there, counts, and at the second death sets the flow aside (PROTOCOL.md, R96).
 *
 * The engine writes the key of each record, event and patrol step itself (struct engine_mark); the
 * keys of a batch of kernel operations are written here. Of a batch nobody knows whose operation it
 * was: all get a death, and in the next run each goes alone, until it went well once.
 *
 * The file is of one build: another may do better, so it starts with no deaths. It goes at a
 * reboot, as /run does, and with the operator's rm before a restart.
 */
#include "deaths.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define FILE_MAGIC "ctsdead1"
#define PATH_LEN 160
#define NO_SUSPECT UINT16_MAX

struct key {
	uint8_t len, bytes[FLOW_KEY_MAX];
};

struct death {
	uint32_t work, count; /* count 0: forgotten */
	struct key key;
	char peer[WIRE_NAME_MAX + 1];
};

struct file { /* shared with the next run */
	char magic[8];
	uint64_t build;
	struct engine_mark mark; /* the engine's */
	uint32_t op_count;       /* operations being carried out */
	struct key op[KERN_BATCH_MAX];
	uint32_t list_at; /* where the next death goes */
	struct death list[DEATHS_MAX];
};

struct deaths {
	struct file *f;
	struct engine *e;
	struct log *log;
	unsigned int writes; /* suspects of WORK_WRITE */
	uint16_t suspect[ENGINE_SUSPECTS_MAX], quarantined[ENGINE_QUARANTINE_MAX]; /* in the list */
	unsigned int suspect_count, quarantined_count;
};

static const char *work_text(uint32_t work)
{
	static const char *const text[WORK_COUNT] = {
		[WORK_RECORD] = "a record of a peer",
		[WORK_EVENT] = "an event of the kernel",
		[WORK_PATROL] = "what the kernel should do with it",
		[WORK_WRITE] = "an operation of the kernel",
	};

	return work < WORK_COUNT && text[work] ? text[work] : "?";
}

static void flow_text(const struct key *key, char buf[DEATHS_FLOW_LEN])
{
	struct flow f = { .has = FLOW_HAS_REPLY };

	if (!flow_key_unpack(key->bytes, key->len, &f.key))
		f.key.l3 = 4;
	flow_inverse(&f.key, &f.reply);
	if (kern_format(buf, DEATHS_FLOW_LEN, &f) < 0)
		(void)snprintf(buf, DEATHS_FLOW_LEN, "?");
}

/* ---- The list ---- */

static bool same(const struct death *x, uint32_t work, const struct key *key)
{
	return x->count && x->work == work && x->key.len == key->len &&
	       !memcmp(x->key.bytes, key->bytes, key->len);
}

/* The place of a new death: a free one, else that of an old suspect, else the oldest. */
static struct death *room(struct file *f)
{
	struct death *x = NULL;

	for (unsigned int i = 0; i < DEATHS_MAX; i++) {
		x = &f->list[(f->list_at + i) % DEATHS_MAX];
		if (!x->count)
			break;
	}
	for (unsigned int i = 0; i < DEATHS_MAX && x->count; i++) {
		x = &f->list[(f->list_at + i) % DEATHS_MAX];
		if (x->count < DEATHS_QUARANTINE)
			break;
	}
	f->list_at = (uint32_t)(x - f->list + 1) % DEATHS_MAX;
	return x;
}

static void blame(struct file *f, uint32_t work, const struct key *key, const char *peer)
{
	struct death *x = NULL;

	if (!key->len || flow_key_len(key->bytes, key->len) != key->len)
		return; /* torn: killed while it was written */
	for (unsigned int i = 0; i < DEATHS_MAX && !x; i++)
		if (same(&f->list[i], work, key))
			x = &f->list[i];
	if (!x) {
		x = room(f);
		*x = (struct death){ .work = work, .key = *key };
	}
	x->count++;
	if (peer)
		memcpy(x->peer, peer, sizeof(x->peer));
}

/* What the run before was working on. */
static void blame_all(struct deaths *d)
{
	struct file *f = d->f;
	struct key key = { .len = f->mark.len };
	char flow[DEATHS_FLOW_LEN];

	if (f->mark.work > WORK_NONE && f->mark.work < WORK_WRITE && key.len <= FLOW_KEY_MAX) {
		memcpy(key.bytes, f->mark.key, key.len);
		blame(f, f->mark.work, &key, f->mark.work == WORK_RECORD ? f->mark.peer : NULL);
		flow_text(&key, flow);
		log_warn(d->log, "flow %s: the run before died over it (%s)", flow,
			 work_text(f->mark.work));
	} else if (f->op_count) {
		for (unsigned int i = 0; i < f->op_count && i < KERN_BATCH_MAX; i++)
			blame(f, WORK_WRITE, &f->op[i], NULL);
		log_warn(d->log,
			 "kernel: the run before died over operations of %" PRIu32
			 " flows; each is tried alone now",
			 f->op_count);
	}
	f->mark.work = WORK_NONE;
	f->op_count = 0;
}

static void quarantine(struct deaths *d, uint16_t i)
{
	const struct death *x = &d->f->list[i];
	char flow[DEATHS_FLOW_LEN];

	if (!engine_quarantine(d->e, x->key.bytes, x->key.len))
		return;
	d->quarantined[d->quarantined_count++] = i;
	flow_text(&x->key, flow);
	log_err(d->log,
		"flow %s: quarantined, the daemon died %" PRIu32
		" times over it (%s%s%s); it is not replicated here, see QUARANTINE in ctsyncd(8)",
		flow, x->count, work_text(x->work), *x->peer ? ", " : "", x->peer);
}

static void tell_engine(struct deaths *d)
{
	for (uint16_t i = 0; i < DEATHS_MAX; i++) {
		struct death *x = &d->f->list[i];

		if (x->count >= DEATHS_QUARANTINE)
			quarantine(d, i);
		else if (x->count && x->work == WORK_WRITE)
			d->writes++;
		else if (x->count &&
			 engine_suspect(d->e, (enum engine_work)x->work, x->key.bytes, x->key.len))
			d->suspect[d->suspect_count++] = i;
	}
}

void deaths_innocent(struct deaths *d, uint64_t suspect)
{
	if (d && suspect < d->suspect_count)
		d->f->list[d->suspect[suspect]].count = 0;
}

bool deaths_quarantined(const struct deaths *d, uint64_t i, struct deaths_flow *out)
{
	const struct death *x;

	if (!d || i >= d->quarantined_count)
		return false;
	x = &d->f->list[d->quarantined[i]];
	*out = (struct deaths_flow){ .work = work_text(x->work), .deaths = x->count };
	flow_text(&x->key, out->flow);
	memcpy(out->peer, x->peer, sizeof(out->peer));
	return true;
}

/* ---- Kernel operations ---- */

/* The death of a suspect of that operation; NULL: it is none. */
static struct death *suspected(struct deaths *d, const struct key *key)
{
	for (unsigned int i = 0; i < DEATHS_MAX; i++)
		if (d->f->list[i].count < DEATHS_QUARANTINE &&
		    same(&d->f->list[i], WORK_WRITE, key))
			return &d->f->list[i];
	return NULL;
}

size_t deaths_begin(struct deaths *d, const struct engine_op *ops, size_t count)
{
	size_t n;

	if (!d)
		return count;
	for (n = 0; n < count; n++) {
		struct key *key = &d->f->op[n];

		key->len = (uint8_t)flow_key_pack(&ops[n].flow.key, key->bytes);
		if (!d->writes || !suspected(d, key))
			continue;
		n += n == 0; /* alone */
		break;
	}
	__atomic_store_n(&d->f->op_count, (uint32_t)n, __ATOMIC_RELEASE);
	return n;
}

void deaths_end(struct deaths *d)
{
	struct death *x;

	if (!d)
		return;
	x = d->writes && d->f->op_count == 1 ? suspected(d, &d->f->op[0]) : NULL;
	if (x) {
		x->count = 0;
		d->writes--;
	}
	__atomic_store_n(&d->f->op_count, 0, __ATOMIC_RELEASE);
}

/* ---- The file ---- */

static bool sane(const struct file *f)
{
	if (memcmp(f->magic, FILE_MAGIC, sizeof(f->magic)) != 0 || f->build != engine_build() ||
	    f->list_at >= DEATHS_MAX)
		return false;
	for (unsigned int i = 0; i < DEATHS_MAX; i++) {
		const struct death *x = &f->list[i];

		if (x->count && (x->work >= WORK_COUNT || x->key.len > FLOW_KEY_MAX ||
				 flow_key_len(x->key.bytes, x->key.len) != x->key.len ||
				 !memchr(x->peer, '\0', sizeof(x->peer))))
			return false;
	}
	return memchr(f->mark.peer, '\0', sizeof(f->mark.peer)) != NULL;
}

/* Maps the file, made if there is none of the right size. Its room is taken, so that a full /run is
 * an error here, and no SIGBUS later. */
static int map(const char *path, struct file **f)
{
	int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
	struct stat st;
	void *p = MAP_FAILED;
	int err;

	if (fd < 0)
		return -errno;
	err = fstat(fd, &st) ? -errno : S_ISREG(st.st_mode) ? 0 : -EINVAL;
	if (!err && st.st_size != sizeof(struct file) && ftruncate(fd, 0))
		err = -errno;
	if (!err)
		err = -posix_fallocate(fd, 0, sizeof(struct file));
	if (!err)
		p = mmap(NULL, sizeof(struct file), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (!err && p == MAP_FAILED)
		err = -errno;
	(void)close(fd); /* the mapping stays */
	if (!err)
		*f = p;
	return err;
}

int deaths_open(struct deaths **d, const char *socket, struct engine *e, struct log *log)
{
	struct deaths *n = calloc(1, sizeof(*n));
	char path[PATH_LEN];
	int err;

	*d = NULL;
	if (!n)
		return -ENOMEM;
	(void)snprintf(path, sizeof(path), "%s.deaths", socket);
	err = map(path, &n->f);
	if (err) {
		free(n);
		return err;
	}
	n->e = e;
	n->log = log;
	if (!sane(n->f)) {
		memset(n->f, 0, sizeof(*n->f));
		n->f->build = engine_build();
		memcpy(n->f->magic, FILE_MAGIC, sizeof(n->f->magic));
	}
	blame_all(n);
	tell_engine(n);
	engine_mark(e, &n->f->mark);
	*d = n;
	return 0;
}

void deaths_close(struct deaths *d)
{
	if (!d)
		return;
	engine_mark(d->e, NULL);
	(void)munmap(d->f, sizeof(*d->f));
	free(d);
}
