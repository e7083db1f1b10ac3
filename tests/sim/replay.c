/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Plays a recording of the flight recorder (`ctsync record FILE`) and says what it finds:
 * - the trace is the recorded one at every step: the engine did what its inputs asked for, so the
 *   cause of whatever went wrong is among them;
 * - it differs from a step on: with these inputs the engine would have done something else, so its
 *   memory was changed from outside, or it is not the pure machine that it should be. Where a later
 *   segment's saved state is at hand, the flows that are not as they should be are named;
 * - the engine aborts: at the step that is printed, as it did in the daemon.
 * For each divergence that was repaired it prints what the repair changed, and for each flow that
 * it names the last inputs that spoke of it.
 */
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "player.h"
#include "recording.h"

#define TOUCHES_MAX 8 /* inputs printed for a flow */

struct segment {
	const struct recording_segment *head;
	const uint8_t *state;
	const struct engine_tape *tape;
};

struct replay {
	const char *path;
	bool verbose;
	uint8_t *file;
	size_t len;
	struct segment seg[RECORDING_SEGMENTS];
	unsigned int count, first; /* segments; the first with a state */
	struct player player;
	struct player_keys keys;
	uint64_t divergences, aborted_at;
};

/* For the handler of a crash alone. */
static volatile uint64_t step_now;

static void crashed(int sig)
{
	char text[128];
	int len = snprintf(text, sizeof(text),
			   "ABORTS: signal %d at step %llu, in the call printed last with -v\n",
			   sig, (unsigned long long)step_now);

	(void)!write(STDOUT_FILENO, text, (size_t)len);
	(void)signal(sig, SIG_DFL);
	(void)raise(sig);
}

static int bad(const struct replay *r, const char *what)
{
	fprintf(stderr, "replay: %s: %s\n", r->path, what);
	return -1;
}

/* ---- The file ---- */

static int load(struct replay *r)
{
	FILE *f = fopen(r->path, "rb");
	struct stat st;
	int err = 0;

	if (!f || fstat(fileno(f), &st) || !S_ISREG(st.st_mode)) {
		err = bad(r, f ? "not a file" : strerror(errno));
	} else {
		r->len = (size_t)st.st_size;
		r->file = aligned_alloc(8, (r->len + 8) & ~(size_t)7);
		if (!r->file || fread(r->file, 1, r->len, f) != r->len)
			err = bad(r, "cannot be read whole");
	}
	if (f)
		(void)fclose(f);
	return err;
}

static int check_end(const struct replay *r)
{
	struct recording_end end;

	if (r->len < sizeof(struct recording_segment) + sizeof(end) ||
	    memcmp(r->file, RECORDING_MAGIC, 8) != 0)
		return bad(r, "not a recording of ctsyncd");
	memcpy(&end, r->file + r->len - sizeof(end), sizeof(end));
	if (r->len % 8 || memcmp(end.magic, RECORDING_END, 8) != 0)
		return bad(r, "cut short: it has no end");
	if (recording_sum(RECORDING_SUM_START, r->file, r->len - sizeof(end)) != end.sum)
		return bad(r, "damaged: its sum is wrong");
	if (!end.segments || end.segments > RECORDING_SEGMENTS)
		return bad(r, "damaged: it has no segment, or too many");
	return (int)end.segments;
}

/* One segment at *at. */
static int take_segment(struct replay *r, size_t *at, size_t end)
{
	struct segment *s = &r->seg[r->count];
	size_t left = end - *at;

	s->head = (const void *)(r->file + *at);
	if (left < sizeof(*s->head) || memcmp(s->head->magic, RECORDING_MAGIC, 8) != 0)
		return bad(r, "damaged: no segment where one should be");
	left -= sizeof(*s->head);
	if (s->head->state_room % 8 || s->head->state_room > left ||
	    left - s->head->state_room < sizeof(*s->tape) ||
	    s->head->state_len > s->head->state_room)
		return bad(r, "damaged: a segment's state does not fit");
	left -= s->head->state_room + sizeof(*s->tape);
	s->state = (const void *)(s->head + 1);
	s->tape = (const void *)(s->state + s->head->state_room);
	if (s->tape->used % 8 || s->tape->used > left)
		return bad(r, "damaged: a segment's tape does not fit");
	if (s->head->build != engine_build())
		return bad(r, "made by another build of ctsyncd: build replay of that version's "
			      "sources, with the same compiler");
	*at = r->len - sizeof(struct recording_end) - (left - s->tape->used) -
	      (r->len - sizeof(struct recording_end) - end);
	r->count++;
	return 0;
}

static int parse(struct replay *r)
{
	size_t at = 0, end = r->len - sizeof(struct recording_end);
	int segments = check_end(r);

	if (segments < 0)
		return -1;
	for (int i = 0; i < segments; i++)
		if (take_segment(r, &at, end))
			return -1;
	if (at != end)
		return bad(r, "damaged: something stands behind its last segment");
	while (r->first < r->count && !r->seg[r->first].head->state_len)
		r->first++;
	for (unsigned int i = r->first + 1; i < r->count; i++)
		if (!r->seg[i].head->joined && r->seg[i].head->state_len)
			r->first = i; /* what came between was not recorded */
	if (r->first == r->count)
		return bad(r, "no segment has a saved state: recorded too early, or too small a "
			      "record.size_mb");
	return 0;
}

/* ---- Playing ---- */

static int restore(const struct replay *r, const struct segment *s, struct engine **e)
{
	*e = engine_restore(s->state, s->head->state_len);
	return *e ? 0 : bad(r, "damaged: a saved state cannot be restored");
}

static enum player_end play_one(struct replay *r, const struct tape_entry *en)
{
	struct engine *e = r->player.e;
	uint64_t before = e->count.divergences;
	struct player_range range;
	enum player_end end;

	step_now = r->player.step + 1;
	player_range_take(&range, e, en);
	end = player_step(&r->player, en);
	if (end == PLAYER_DONE && e->count.divergences != before && range.mirror) {
		printf("DIVERGENCE at step %" PRIu64 ": a LIST of %s repaired what was covered:\n",
		       r->player.step, range.peer);
		player_range_tell(&range, stdout, &r->keys);
		r->divergences++;
	}
	player_range_free(&range);
	return end;
}

static enum player_end play_segment(struct replay *r, const struct segment *s)
{
	const struct tape_entry *en;
	uint64_t at = 0;
	enum player_end end;

	while ((en = player_next(s->tape, &at))) {
		end = play_one(r, en);
		if (end == PLAYER_DIFFERS && !r->verbose)
			return end;
		if (end != PLAYER_DONE) {
			player_print(stdout, en, r->player.step + 1, r->player.start_at);
			return end;
		}
	}
	if (at != s->tape->used)
		return PLAYER_BROKEN;
	return r->player.trace.hash == s->tape->hash ? PLAYER_DONE : PLAYER_DIFFERS;
}

/* The state that the daemon saved there is compared with the played one. */
static int compare(struct replay *r, const struct segment *s, struct engine *was)
{
	struct engine *is;
	uint64_t count;

	if (restore(r, s, &is))
		return -1;
	count = player_diff(stdout, was, is, &r->keys);
	if (count)
		printf("STATE differs at the start of segment %" PRIu64 ", after step %" PRIu64
		       ": %" PRIu64 " flows (first line: as played; second: as in the daemon)\n",
		       s->head->number, r->player.step, count);
	engine_free(is);
	return count != 0;
}

/* From the segment `from` on. Returns whether all is as recorded. */
static int play(struct replay *r, unsigned int from)
{
	const struct segment *s = &r->seg[from];
	enum player_end end = PLAYER_DONE;
	struct engine *e;
	int wrong = 0;

	if (restore(r, s, &e))
		return -1;
	player_init(&r->player, e, from ? s[-1].tape->hash : RECORDING_SUM_START,
		    s->head->begun_at);
	if (s->tape->used) /* where the trace stood then */
		r->player.trace.hash = ((const struct tape_entry *)(s->tape + 1))->hash;
	else
		r->player.trace.hash = s->tape->hash;
	r->player.out = r->verbose ? stdout : NULL;
	for (unsigned int i = from; i < r->count && end == PLAYER_DONE; i++) {
		if (i > from && r->seg[i].head->state_len && compare(r, &r->seg[i], e))
			wrong = 1;
		end = play_segment(r, &r->seg[i]);
		if (end == PLAYER_DIFFERS)
			printf("TRACE differs from the recorded one from step %" PRIu64 " on\n",
			       r->player.step);
	}
	if (end == PLAYER_BROKEN)
		wrong = bad(r, "damaged: the tape is broken");
	/* Behind a difference the states still tell which flows it is in. */
	for (unsigned int i = from + 1; end == PLAYER_DIFFERS && i < r->count && !wrong; i++)
		if (r->seg[i].head->state_len)
			(void)compare(r, &r->seg[i], e);
	printf("trace %016" PRIx64 ", %" PRIu64 " steps: %s\n", r->player.trace.hash,
	       r->player.step, end == PLAYER_DONE && !wrong ? "as recorded" : "NOT as recorded");
	engine_free(e);
	return wrong < 0 ? -1 : end != PLAYER_DONE || wrong;
}

/* ---- Why ---- */

static void tell_touches(const struct replay *r, const uint8_t *key, size_t keylen)
{
	const struct tape_entry *last[TOUCHES_MAX];
	uint64_t step = 0, steps[TOUCHES_MAX], count = 0;
	char text[320];

	player_flow(text, sizeof(text), key, keylen);
	printf("the last inputs that spoke of %s:\n", text);
	for (unsigned int i = r->first; i < r->count; i++) {
		const struct tape_entry *en;
		uint64_t at = 0;

		while ((en = player_next(r->seg[i].tape, &at))) {
			step++;
			if (!player_touches(en, key, keylen))
				continue;
			last[count % TOUCHES_MAX] = en;
			steps[count++ % TOUCHES_MAX] = step;
		}
	}
	if (!count)
		printf("         none in this recording: nothing that the engine was told changed "
		       "it\n");
	for (uint64_t i = count > TOUCHES_MAX ? count - TOUCHES_MAX : 0; i < count; i++)
		player_print(stdout, last[i % TOUCHES_MAX], steps[i % TOUCHES_MAX],
			     r->seg[r->first].head->begun_at);
}

static void tell_head(const struct replay *r)
{
	const struct recording_segment *h = r->seg[r->first].head;

	printf("%s: node %.63s, epoch %016" PRIx64 ", segments %" PRIu64 " to %" PRIu64
	       ", begun at %" PRIu64 " s since 1970%s\n",
	       r->path, h->node, h->epoch, h->number, r->seg[r->count - 1].head->number,
	       h->begun_wall,
	       r->seg[r->count - 1].head->clean ? ""
						: ", of a run that goes on "
						  "or was killed");
}

static int run(struct replay *r)
{
	int wrong;

	if (load(r) || parse(r))
		return 2;
	tell_head(r);
	(void)fflush(stdout);
	wrong = play(r, r->first);
	for (unsigned int i = 0; i < r->keys.count; i++)
		tell_touches(r, r->keys.key[i], r->keys.len[i]);
	if (wrong > 0)
		printf("with these inputs the engine comes to something else: its memory was "
		       "changed from outside\n");
	return wrong < 0 ? 2 : wrong;
}

int main(int argc, char **argv)
{
	struct replay *r = calloc(1, sizeof(*r));
	int c, rc;

	if (!r)
		return 2;
	while ((c = getopt(argc, argv, "v")) != -1) {
		if (c != 'v')
			argc = 0;
		r->verbose = true;
	}
	if (optind + 1 != argc) {
		fputs("usage: replay [-v] FILE\n"
		      "  -v  every step: what went in and what came out\n"
		      "Exit status: 0 as recorded, 1 not, 2 no recording that can be played.\n",
		      stderr);
		free(r);
		return 2;
	}
	r->path = argv[optind];
	(void)setvbuf(stdout, NULL, _IOLBF, 0); /* what was printed last has to be out by then */
	(void)signal(SIGABRT, crashed);
	(void)signal(SIGSEGV, crashed);
	rc = run(r);
	free(r->file);
	free(r);
	return rc;
}
