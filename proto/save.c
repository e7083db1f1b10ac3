/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The engine as bytes and back, for the flight recorder: the start of every tape. Memory is written
 * as it lies, without pointers and without keys, so only the same sources built for the same kind
 * of machine can read it: `engine_build` is compared before. That is what makes it short and exact;
 * a format of its own would have to name every field and would be wrong about one of them.
 *
 * To write is a matter of copying: a child made by fork() does it from its copy of the memory, so
 * that the daemon does not wait.
 */
#include <assert.h>
#include <stdlib.h>

#include "blob.h"
#include "build_id.h"
#include "engine_priv.h"

uint64_t engine_build(void)
{
	return (BUILD_ID * 31 + sizeof(struct engine)) * 31 + sizeof(struct rec);
}

/* Takes out what nobody else may have, and what means nothing elsewhere. */
static void hide(struct engine *e)
{
	e->tape = NULL;
	e->mark = NULL;
	e->local = e->strays = NULL;
	e->policy = NULL;
	e->conf.pages = NULL;
	memset(&e->soon, 0, sizeof(e->soon));
	e->audit.suspects = NULL;
	memset(e->conf.key, 0, sizeof(e->conf.key));
	seal_hide(&e->seal);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		e->peers[i].mirror = NULL;
		memset(&e->peers[i].key, 0, sizeof(e->peers[i].key));
	}
}

static void policy_save(const struct policy *p, struct blob *b)
{
	size_t len = 0;
	const void *bytes = p ? policy_bytes(p, &len) : NULL;
	uint64_t room = len;

	blob_put(b, &room, sizeof(room));
	if (len)
		blob_put(b, bytes, len);
}

static struct policy *policy_load(struct blob *b)
{
	struct policy_conf *conf = NULL;
	struct policy *p = NULL;
	uint64_t len;

	blob_get(b, &len, sizeof(len));
	if (b->err || !len)
		return NULL;
	if (blob_has(b, len) && len <= sizeof(*conf))
		conf = calloc(1, sizeof(*conf));
	if (conf) {
		blob_get(b, conf, len);
		p = policy_conf_ok(conf, len) ? policy_new(conf) : NULL;
	}
	b->err |= p == NULL;
	free(conf);
	return p;
}

size_t engine_save(const struct engine *e, uint8_t *buf, size_t len)
{
	struct blob b = { .p = buf, .len = len };

	assert(!e->ops_out && (uintptr_t)buf % 8 == 0);
	blob_put(&b, e, sizeof(*e));
	if (buf && !b.err)
		hide((struct engine *)(void *)buf);
	policy_save(e->policy, &b);
	cache_save(e->local, &b);
	cache_save(e->strays, &b);
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++)
		if (e->peers[i].used)
			cache_save(e->peers[i].mirror, &b);
	if (audit_is_active(e))
		cache_save(e->audit.suspects, &b);
	return b.err ? 0 : b.at;
}

static void load_peers(struct engine *e, struct blob *b)
{
	for (unsigned int i = 0; i < ENGINE_PEERS_MAX; i++) {
		struct peer *p = &e->peers[i];

		p->mirror = NULL;
		if (p->used)
			p->mirror = cache_load(b);
		p->used = p->mirror != NULL;
	}
}

struct engine *engine_restore(const uint8_t *buf, size_t len)
{
	struct engine *e = calloc(1, sizeof(*e));
	struct blob b = { .p = (uint8_t *)(uintptr_t)buf, .len = len };

	if (!e)
		return NULL;
	blob_get(&b, e, sizeof(*e));
	hide(e);
	e->mark = &e->no_mark;
	e->policy = b.err ? NULL : policy_load(&b);
	e->local = b.err ? NULL : cache_load(&b);
	e->strays = b.err ? NULL : cache_load(&b);
	load_peers(e, &b);
	if (!b.err && audit_is_active(e))
		e->audit.suspects = cache_load(&b);
	if (!b.err && b.at == b.len)
		return e;
	engine_free(e);
	return NULL;
}
