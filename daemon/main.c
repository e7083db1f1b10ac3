/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ctsyncd: options, start, reload, stop.
 *
 * The order of the start is a chain of what each step needs: configuration and keys, log, lock
 * (nothing is touched before we know that we are alone), the role that an earlier run left, kernel
 * (subscribed before anything is asked, so that no event falls between), links, engine, then the
 * way out of root, the files of the user that we become (deaths, recorder), and the control socket
 * last: who can connect finds a daemon that works. Whatever
 * fails names the file, device or call and what to do, and exits by sysexits(3). Always in the
 * foreground: service managers want it so.
 */
#include "daemon.h"

#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sysexits.h>
#include <unistd.h>

#include "events.h"
#include "hugepages.h"

#define KERN_LINGER_US 300

static void usage(FILE *out)
{
	(void)fprintf(out, "Usage: ctsyncd [-c FILE] [-t] [-V] [-h]\n"
			   "Keeps the connection-tracking tables of a group of firewalls equal. "
			   "Stays in the foreground.\n"
			   "  -c FILE  configuration, " CONF_PATH_DEFAULT " when not given\n"
			   "  -t       check the configuration and exit: 0 good, 78 not\n"
			   "  -V       print the version\n"
			   "  -h       print this\n"
			   "See ctsyncd(8), ctsyncd.conf(5), ctsync(8).\n");
}

/* ---- configuration ---- */

static int load(const char *path, struct conf *conf, uint8_t keys[ENGINE_KEYS_MAX][32], FILE *err)
{
	int ret = conf_load(conf, path, err);

	if (ret)
		return ret;
	memset(keys, 0, ENGINE_KEYS_MAX * sizeof(keys[0]));
	return conf_keys(conf, keys, err) ? -EX_CONFIG : 0;
}

static int check(const char *path)
{
	struct conf conf;
	uint8_t keys[ENGINE_KEYS_MAX][32];

	if (load(path, &conf, keys, stderr))
		return EX_CONFIG;
	sodium_memzero(keys, sizeof(keys));
	(void)printf("%s: ok\n", path);
	return EX_OK;
}

static void set_keys(struct engine_conf *ec, const struct conf *conf,
		     uint8_t keys[ENGINE_KEYS_MAX][32])
{
	memcpy(ec->key, keys, sizeof(ec->key));
	ec->key_count = (uint8_t)conf->key_count;
}

static void fill_ctl_conf(const struct conf *conf, struct ctl_conf *out)
{
	*out = (struct ctl_conf){ .path = conf->socket,
				  .group = conf->group,
				  .read_all = conf->read_all };
}

/* ---- reload ---- */

/* The new values, without what a file does not say or a reload does not change. */
static void next_engine_conf(const struct daemon *d, const struct conf *conf,
			     uint8_t keys[ENGINE_KEYS_MAX][32], struct engine_conf *out)
{
	const struct engine_conf *old = &d->engine_conf;

	memset(out, 0, sizeof(*out));
	conf_engine(conf, out);
	set_keys(out, conf, keys);
	out->kernel_id = old->kernel_id;
	out->role = old->role;
	out->origin = old->origin;
	out->pages = old->pages;
	out->dgram_max = old->dgram_max;
	out->window_len = old->window_len;
	kern_timeouts(&out->timeouts);
}

/* The filter first: it must let pass what the engine looks for in its dump. */
static int apply_policy(struct daemon *d, const struct policy_conf *policy, FILE *err)
{
	int ret;

	if (!memcmp(policy, &d->conf.policy, sizeof(*policy)))
		return 0;
	ret = kern_policy(d->kern, policy);
	if (!ret && !engine_policy(d->engine, policy, d->now)) {
		ret = -ENOMEM;
		(void)kern_policy(d->kern, &d->conf.policy); /* it stood there before */
	}
	if (ret)
		(void)fprintf(err, "policy: %s\n", strerror(-ret));
	else
		log_info(d->log,
			 "policy: %u rules, %u prefixes; what they newly leave out is withdrawn",
			 policy->rule_count, policy->prefix_count);
	return ret;
}

static int apply(struct daemon *d, const struct conf *conf, const struct engine_conf *ec, FILE *err)
{
	bool changed = memcmp(&d->conf, conf, sizeof(*conf)) != 0;
	bool control = strcmp(d->conf.group, conf->group) || d->conf.read_all != conf->read_all;
	struct ctl_conf ctl;
	int ret;

	if (control) {
		fill_ctl_conf(conf, &ctl);
		ret = ctl_reconf(d->ctl, &ctl);
		if (ret) {
			(void)fprintf(err, "control.group: \"%s\": %s\n", conf->group,
				      strerror(-ret));
			return ret;
		}
	}
	ret = apply_policy(d, &conf->policy, err);
	if (ret)
		return ret;
	/* Only when the file says something new: `ctsync log` may have set another level meanwhile.
	 */
	if (d->conf.log_level != conf->log_level)
		log_set_level(d->log, conf->log_level);
	d->conf = *conf;
	if (pump_reconf(d, ec) || changed)
		log_info(d->log, "%s: reloaded", d->conf_path);
	else
		log_info(d->log, "%s: reloaded, nothing changed", d->conf_path);
	return 0;
}

int daemon_reload(struct daemon *d, FILE *err)
{
	struct conf next, merged = d->conf;
	struct engine_conf ec;
	uint8_t keys[ENGINE_KEYS_MAX][32];
	char restart[512];
	int ret = load(d->conf_path, &next, keys, err);

	if (ret)
		return ret;
	conf_restart_keys(&d->conf, &next, restart, sizeof(restart));
	conf_copy_live(&merged, &next);
	if (merged.sealed != next.sealed) /* needs a restart: the keys in force stay */
		memcpy(keys, d->engine_conf.key, sizeof(keys));
	next_engine_conf(d, &merged, keys, &ec);
	ret = apply(d, &merged, &ec, err);
	if (!ret && *restart)
		log_warn(d->log,
			 "%s: changed, but needs a restart, the old value stays in force: %s",
			 d->conf_path, restart);
	sodium_memzero(keys, sizeof(keys));
	sodium_memzero(&ec, sizeof(ec));
	return ret;
}

static void log_lines(struct log *log, char *text)
{
	char *line, *rest = text;

	while ((line = strsep(&rest, "\n"))) {
		if (*line)
			log_err(log, "%s", line);
	}
}

/* Runs step with a stream for its complaints and logs them, a line each. */
static int with_errors(struct daemon *d, int (*step)(struct daemon *d, FILE *err))
{
	char *text = NULL;
	size_t len = 0;
	FILE *err = open_memstream(&text, &len);
	int ret;

	if (!err)
		return -ENOMEM;
	ret = step(d, err);
	(void)fclose(err); /* in memory: fails only when it ran out, and then text is cut */
	if (text)
		log_lines(d->log, text);
	free(text);
	return ret;
}

static void on_hup(struct ev_loop *loop, ev_signal *w, int revents)
{
	struct daemon *d = w->data;
	char text[64];

	(void)loop;
	(void)revents;
	(void)snprintf(text, sizeof(text), "RELOADING=1\nMONOTONIC_USEC=%" PRIu64, daemon_now());
	notify_send(&d->notify, text);
	if (with_errors(d, daemon_reload))
		log_err(d->log, "%s: not reloaded, the old configuration stays in force",
			d->conf_path);
	notify_send(&d->notify, "READY=1");
}

/* ---- start ---- */

static int start_log(struct daemon *d)
{
	d->log = log_new(d->conf.log_target, d->conf.log_level);
	if (d->log)
		return EX_OK;
	(void)fprintf(stderr, "ctsyncd: out of memory\n");
	return EX_OSERR;
}

static int start_lock(struct daemon *d)
{
	pid_t holder;
	int err = state_dir(d->conf.socket, d->conf.user);

	if (err) {
		log_err(d->log, "%s: cannot make its directory: %s", d->conf.socket,
			strerror(-err));
		return EX_CANTCREAT;
	}
	err = state_lock(&d->state, d->conf.socket, &holder);
	if (err == -EWOULDBLOCK) {
		log_err(d->log,
			"%s: held by the ctsyncd with pid %ld; give each its own control.socket",
			d->state.lock_path, (long)holder);
		return EX_TEMPFAIL;
	}
	if (err) {
		log_err(d->log, "%s: cannot lock: %s", d->state.lock_path, strerror(-err));
		return EX_CANTCREAT;
	}
	return EX_OK;
}

/* The role of an earlier run, and a file that says that there was this one. */
static int start_state(struct daemon *d)
{
	struct engine_conf *ec = &d->engine_conf;
	int err = state_load(&d->state, &ec->role, &ec->origin);

	if (err)
		log_warn(d->log,
			 "%s: cannot read the role of an earlier run: %s; starting as backup",
			 d->state.path, strerror(-err));
	role_save(d, ec->role); /* a full disk is no reason to leave the node without replication */
	return EX_OK;
}

static void warn_kernel(struct daemon *d)
{
	int events = kern_events_sysctl();
	int64_t count, max, buckets;

	if (events != 1 && events >= 0)
		log_warn(d->log,
			 "kernel: net.netfilter.nf_conntrack_events is %d: entries made while "
			 "nobody listens never tell of "
			 "their end; set it to 1",
			 events);
	kern_counts(&count, &max, &buckets);
	if (max > 0 && buckets > 0 && buckets < max / 8)
		log_warn(d->log,
			 "kernel: nf_conntrack_buckets %lld is small for nf_conntrack_max %lld, "
			 "chains get long; set it to "
			 "%lld or more",
			 (long long)buckets, (long long)max, (long long)(max / 4));
}

static int start_kern(struct daemon *d)
{
	struct kern_conf kc = { .event_buffer_len = d->conf.event_buffer_len,
				.linger_us = KERN_LINGER_US,
				.reliable = d->conf.reliable_events,
				.policy = &d->conf.policy };
	const char *text = NULL;
	int err = kern_open(&d->kern, &kc, d->log, &text);

	if (err) {
		log_err(d->log, "kernel: %s: %s", text ? text : "cannot open ctnetlink",
			strerror(-err));
		return err == -EPERM || err == -EACCES ? EX_NOPERM : EX_OSERR;
	}
	warn_kernel(d);
	d->invalid_before = kern_invalid();
	return EX_OK;
}

static int start_links(struct daemon *d)
{
	const char *text = NULL;
	int err = links_open(&d->links, d->conf.links, d->conf.link_count,
			     d->conf.socket_buffer_len, d->log, &text);

	if (!err)
		return EX_OK;
	log_err(d->log, "%s: %s", text ? text : "sync.links", strerror(-err));
	return EX_UNAVAILABLE;
}

static int random_bytes(void *buf, size_t len)
{
	ssize_t n;

	do
		n = getrandom(buf, len, 0);
	while (n < 0 && errno == EINTR);
	return n == (ssize_t)len ? 0 : -EIO; /* up to 256 bytes come whole */
}

static int start_engine(struct daemon *d)
{
	uint8_t seed[32];
	struct engine_conf *ec = &d->engine_conf;

	ec->kernel_id = kern_identity();
	ec->dgram_max = links_dgram_max(d->links);
	ec->window_len = links_window(d->links);
	kern_timeouts(&ec->timeouts);
	ec->pages = d->pages = hugepages_new(); /* NULL: of malloc, then */
	do {
		if (random_bytes(&d->epoch, sizeof(d->epoch)) || random_bytes(seed, sizeof(seed))) {
			log_err(d->log, "random: getrandom failed: %s", strerror(errno));
			return EX_OSERR;
		}
	} while (!d->epoch);
	d->engine = engine_new(ec, d->epoch, seed, d->now);
	sodium_memzero(seed, sizeof(seed));
	if (!d->engine || !engine_policy(d->engine, &d->conf.policy, d->now)) {
		log_err(d->log, "engine: out of memory");
		return EX_OSERR;
	}
	return EX_OK;
}

static int drop_root(struct daemon *d)
{
	const char *user = d->conf.user;
	int err;

	if (geteuid() != 0)
		return EX_OK;
	err = state_drop(&d->state, user);
	if (err == -ENOENT) {
		log_warn(d->log,
			 "user %s: there is none, staying root; make it (sysusers.d) or set user = "
			 "\"root\"",
			 user);
	} else if (err == -EACCES) {
		log_warn(d->log,
			 "user %s: cannot write beside %s, staying root; give it that directory or "
			 "set user = \"root\"",
			 user, d->conf.socket);
	} else if (err) {
		log_err(d->log, "user %s: cannot become it: %s", user, strerror(-err));
		return EX_NOPERM;
	} else if (geteuid() != 0) {
		log_info(d->log, "user %s: keeps CAP_NET_ADMIN alone", user);
		if (access(d->conf_path, R_OK))
			log_warn(d->log, "%s: user %s cannot read it: a reload will fail",
				 d->conf_path, user);
	}
	return EX_OK;
}

/* Not without the user that the daemon becomes: the files are its own. A machine without room for a
 * recorder is no reason to leave it without replication. */
static int start_recorder(struct daemon *d)
{
	const struct recorder_conf conf = { .socket = d->conf.socket,
					    .node = d->conf.node,
					    .epoch = d->epoch,
					    .size_mb = d->conf.record_size_mb };
	int err = recorder_open(&d->recorder, &conf, d->engine, d->log, d->now);

	if (err)
		log_err(d->log, "record: cannot make %u MiB beside %s: %s; nothing is recorded",
			conf.size_mb, conf.socket, strerror(-err));
	return EX_OK;
}

/* Before any input of the engine. Without it a poison flow would keep us down, but that is no
 * reason to stay down now. */
static int start_deaths(struct daemon *d)
{
	int err = deaths_open(&d->deaths, d->conf.socket, d->engine, d->log);

	if (err)
		log_err(d->log,
			"%s.deaths: cannot be used: %s; a flow that kills the daemon would not be "
			"quarantined",
			d->conf.socket, strerror(-err));
	return EX_OK;
}

static void request(void *arg, struct ctl_client *c, int argc, char **argv)
{
	pump_hear(arg);
	verbs_request(arg, c, argc, argv);
}

static int start_ctl(struct daemon *d)
{
	static const struct ctl_ops ops = { .request = request,
					    .more = verbs_more,
					    .gone = verbs_gone };
	struct ctl_conf conf;
	int err = verbs_init(d);

	fill_ctl_conf(&d->conf, &conf);
	if (!err)
		err = ctl_open(&d->ctl, &conf, &ops, d, d->loop, d->log);
	if (!err)
		return EX_OK;
	log_err(d->log, "%s: cannot open the control socket: %s", d->conf.socket, strerror(-err));
	return EX_CANTCREAT;
}

static int start_loop(struct daemon *d)
{
	d->loop = ev_default_loop(EVFLAG_NOENV);
	if (d->loop)
		return EX_OK;
	log_err(d->log, "loop: libev finds no way to wait for events");
	return EX_OSERR;
}

static int start_notify(struct daemon *d)
{
	int err = notify_init(&d->notify);

	if (err)
		log_warn(d->log, "systemd: NOTIFY_SOCKET cannot be used: %s", strerror(-err));
	return EX_OK;
}

static int start(struct daemon *d)
{
	static int (*const steps[])(struct daemon *) = { start_lock,     start_notify, start_state,
							 start_loop,     start_kern,   start_links,
							 start_engine,   drop_root,    start_deaths,
							 start_recorder, start_ctl };

	d->started_at = d->now = daemon_now();
	d->started_wall = time(NULL);
	for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
		int status = steps[i](d);

		if (status != EX_OK)
			return status;
	}
	return EX_OK;
}

/* ---- run and stop ---- */

void daemon_stop(struct daemon *d)
{
	d->stopping = true;
}

static void on_stop(struct ev_loop *loop, ev_signal *w, int revents)
{
	(void)loop;
	(void)revents;
	daemon_stop(w->data);
}

static void watch_signals(struct daemon *d)
{
	struct daemon_watch *w = &d->watch;

	(void)signal(SIGPIPE, SIG_IGN);
	ev_signal_init(&w->term, on_stop, SIGTERM);
	ev_signal_init(&w->intr, on_stop, SIGINT);
	ev_signal_init(&w->hup, on_hup, SIGHUP);
	w->term.data = w->intr.data = w->hup.data = d;
	ev_signal_start(d->loop, &w->term);
	ev_signal_start(d->loop, &w->intr);
	ev_signal_start(d->loop, &w->hup);
}

static void run(struct daemon *d)
{
	log_info(d->log, "node %s: started, version %s, %s, standby %s%s", d->conf.node,
		 PACKAGE_VERSION,
		 d->engine_conf.role == ROLE_PRIMARY       ? "primary as before"
		 : d->engine_conf.origin == ORIGIN_RESTART ? "backup as before"
							   : "backup",
		 d->conf.hot ? "hot" : "cache", d->conf.sealed ? "" : ", UNSEALED");
	if (!d->conf.sealed)
		log_warn(
			d->log,
			"sync: seal = \"none\": whoever reaches the link can read and forge flows");
	watch_signals(d);
	d->now = daemon_now();
	pump_start(d);
	notify_send(&d->notify, "READY=1");
	ev_run(d->loop, 0);
	notify_send(&d->notify, "STOPPING=1\nSTATUS=stopping");
	log_info(d->log, "node %s: stopping; flows stay in the kernel", d->conf.node);
	events_stop(d);
	pump_stop(d);
	pump_drain(d); /* changes that the peers can take now */
	engine_cmd(d->engine, CMD_BYE, d->now);
	pump_drain(d);
}

static void cleanup(struct daemon *d)
{
	if (d->ctl)
		ctl_close(d->ctl);
	if (d->verbs)
		verbs_fini(d);
	links_close(d->links);
	if (d->kern)
		kern_close(d->kern);
	recorder_close(d->recorder, true);
	deaths_close(d->deaths);
	if (d->engine)
		engine_free(d->engine);
	hugepages_free(d->pages);
	if (d->loop)
		ev_loop_destroy(d->loop);
	notify_fini(&d->notify);
	state_unlock(&d->state);
	sodium_memzero(&d->engine_conf, sizeof(d->engine_conf));
	log_free(d->log);
}

static int serve(const char *path)
{
	struct daemon d = { .state = { .lock_fd = -1 }, .notify = { .fd = -1 } };
	uint8_t keys[ENGINE_KEYS_MAX][32];
	int status;

	if (!realpath(path, d.conf_path)) /* what cannot be found is told by the load */
		(void)snprintf(d.conf_path, sizeof(d.conf_path), "%s", path);
	if (sodium_init() < 0) {
		(void)fprintf(stderr, "ctsyncd: libsodium cannot start\n");
		return EX_SOFTWARE;
	}
	if (load(path, &d.conf, keys, stderr))
		return EX_CONFIG;
	conf_engine(&d.conf, &d.engine_conf);
	set_keys(&d.engine_conf, &d.conf, keys);
	sodium_memzero(keys, sizeof(keys));
	status = start_log(&d);
	if (status == EX_OK)
		status = start(&d);
	if (status == EX_OK)
		run(&d);
	cleanup(&d);
	return status;
}

int main(int argc, char **argv)
{
	/* For who writes a new key: prints its place in ctsyncd.conf(5). */
	static const struct option long_options[] = {
		{ "print-keys", no_argument, NULL, 'k' },
		{ "help", no_argument, NULL, 'h' },
		{ "version", no_argument, NULL, 'V' },
		{ NULL, 0, NULL, 0 },
	};
	const char *path = CONF_PATH_DEFAULT;
	bool check_only = false;
	int opt;

	while ((opt = getopt_long(argc, argv, "c:tVh", long_options, NULL)) != -1) {
		switch (opt) {
		case 'c':
			path = optarg;
			break;
		case 't':
			check_only = true;
			break;
		case 'V':
			(void)printf("ctsyncd %s\n", PACKAGE_VERSION);
			return EX_OK;
		case 'k':
			conf_print_keys(stdout);
			return EX_OK;
		case 'h':
			usage(stdout);
			return EX_OK;
		default:
			usage(stderr);
			return EX_USAGE;
		}
	}
	if (optind != argc) {
		usage(stderr);
		return EX_USAGE;
	}
	return check_only ? check(path) : serve(path);
}
