/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The sync links: endpoints, sending, receiving, and opening a link's socket again when its
 * interface comes back.
 *
 * It owns one UDP socket per link and the rtnetlink monitor. An endpoint is a (link, peer address)
 * pair, or (link, group); its index is its place in the configuration, the same for as long as the
 * daemon runs. Addresses stay in here: the engine knows indices.
 *
 * Sending: datagrams are encoded straight into the slots of a batch, and links_flush() hands the
 * batch to the kernel, one sendmmsg per link for all datagrams and endpoints. What a socket does
 * not take is counted and gone: the peer's REPORT asks for it.
 *
 * Receiving: recvmmsg, each link in turn. A datagram whose source is no configured peer is counted
 * and dropped before anything reads it; on a multicast link any source may speak, the seal tells
 * who it is.
 */
#include "link_priv.h"

#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define HEAD_V4 28 /* IP and UDP headers */
#define HEAD_V6 48
#define MTU_DEFAULT 1500
#define MSGS_MAX (LINK_BATCH_MAX * LINK_PEERS_MAX) /* of one link in one flush */

struct link {
	struct link_conf conf;
	struct rtnl_watch watch;
	char name[LINK_NAME_LEN]; /* for people */
	int fd;                   /* -1: not open */
	unsigned int opens;       /* how often fd was opened: a number may come again */
	uint32_t ifindex;         /* of the interface that fd is bound to */
	uint32_t rcvbuf_len;      /* effective, of fd */
	unsigned int endpoint_first, endpoint_count;
	int open_err; /* last one told; 0 = none */
	int send_err;
	bool up_told, told;
	struct link_stats stats;
	uint64_t drops_before; /* of sockets closed since */
};

struct endpoint {
	unsigned int link;
	struct sockaddr_storage addr;
	socklen_t addr_len;
};

struct slot { /* a datagram that waits for links_flush */
	uint32_t to;
	size_t len;
	uint8_t *pkt;
};

struct links {
	struct log *log;
	struct link link[LINK_LINKS_MAX];
	unsigned int count;
	struct endpoint endpoint[ENGINE_ENDPOINTS_MAX];
	unsigned int endpoint_count;
	uint32_t rcvbuf_len; /* as configured */
	int rtnl_fd;
	unsigned int read_next; /* link to read first, so that none starves another */

	struct slot out[LINK_BATCH_MAX];
	unsigned int out_count;
	bool was_full;

	struct mmsghdr send_msg[MSGS_MAX];
	struct iovec send_iov[LINK_BATCH_MAX];
	struct mmsghdr recv_msg[LINK_BATCH_MAX];
	struct iovec recv_iov[LINK_BATCH_MAX];
	struct sockaddr_storage recv_from[LINK_BATCH_MAX];
	uint8_t *buffers; /* LINK_BATCH_MAX to send, as many to receive */
};

/* ---- opening ---- */

static void link_name(struct link *k)
{
	const struct sockaddr_in *in4 = (const void *)&k->conf.local;
	const struct sockaddr_in6 *in6 = (const void *)&k->conf.local;
	const void *addr = k->conf.local.ss_family == AF_INET6 ? (const void *)&in6->sin6_addr
							       : (const void *)&in4->sin_addr;

	if (*k->conf.interface)
		memcpy(k->name, k->conf.interface, sizeof(k->conf.interface));
	else if (!inet_ntop(k->conf.local.ss_family, addr, k->name, sizeof(k->name)))
		k->name[0] = '\0';
}

static void link_close(struct link *k)
{
	if (k->fd < 0)
		return;
	k->drops_before += sock_drops(k->fd);
	(void)close(k->fd);
	k->fd = -1;
}

/* May this go away by itself when the interface or the address comes? */
static bool is_passing(int err)
{
	return err == -ENODEV || err == -EADDRNOTAVAIL || err == -ENXIO || err == -ENETDOWN;
}

/* Opens the socket if interface and address are there. Returns 0, also when they are not there yet,
 * or -errno. */
static int link_open(struct links *l, struct link *k, const char **what)
{
	int fd = -ENODEV;

	*what = "find the interface";
	if (k->watch.ifindex || !*k->conf.interface)
		fd = sock_open(&k->conf, k->watch.ifindex, l->rcvbuf_len, what);
	if (fd < 0 && fd != k->open_err)
		log_warn(l->log, "link %s: cannot %s: %s%s", k->name, *what,
			 fd == -ENODEV ? "it is not there" : strerror(-fd),
			 is_passing(fd) ? "; waiting for it" : "");
	if (fd < 0) {
		k->open_err = fd;
		return is_passing(fd) ? 0 : fd;
	}
	k->open_err = 0;
	k->send_err = 0;
	k->fd = fd;
	k->opens++;
	k->ifindex = k->watch.ifindex;
	k->rcvbuf_len = sock_rcvbuf(fd);
	for (unsigned int i = 0; i < k->endpoint_count; i++)
		sock_scope(&l->endpoint[k->endpoint_first + i].addr, k->ifindex);
	return 0;
}

static uint32_t link_mtu(const struct link *k)
{
	return k->watch.mtu ? k->watch.mtu : MTU_DEFAULT;
}

static void tell_state(struct links *l, struct link *k)
{
	/* An address may be usable that no interface carries (127.0.0.2, a local route). */
	bool up = k->fd >= 0 && (k->watch.up || (!k->watch.ifindex && !*k->conf.interface));

	if (k->told && up == k->up_told && k->stats.mtu == k->watch.mtu)
		return;
	if (up)
		log_info(l->log, "link %s: up, MTU %u", k->name, link_mtu(k));
	else if (k->fd >= 0)
		log_warn(l->log, "link %s: down", k->name);
	k->told = true;
	k->up_told = up;
	k->stats.up = up;
	k->stats.mtu = k->watch.mtu;
}

/* Asks for the state of the link's interface and opens or closes the socket accordingly. Returns 0
 * or -errno of the socket. */
static int link_refresh(struct links *l, struct link *k, const char **what)
{
	int err = rtnl_ask(&k->watch);

	if (err)
		log_warn(l->log, "link %s: cannot ask for its state: %s", k->name, strerror(-err));
	/* An interface of the same name that was made anew is another one to the socket. */
	if (k->fd >= 0 && *k->conf.interface && k->watch.ifindex && k->watch.ifindex != k->ifindex)
		link_close(k);
	err = k->fd < 0 ? link_open(l, k, what) : 0;
	tell_state(l, k);
	return err;
}

static void add_endpoint(struct links *l, unsigned int link, const struct sockaddr_storage *addr)
{
	struct endpoint *ep = &l->endpoint[l->endpoint_count++];

	ep->link = link;
	ep->addr = *addr;
	ep->addr_len = sock_addr_len(addr);
	l->link[link].endpoint_count++;
}

static int add_link(struct links *l, const struct link_conf *conf)
{
	struct link *k = &l->link[l->count];

	if (l->endpoint_count + (conf->group.ss_family ? 1 : conf->peer_count) >
	    ENGINE_ENDPOINTS_MAX)
		return -E2BIG;
	k->fd = -1;
	k->conf = *conf;
	k->watch.local = &k->conf.local;
	memcpy(k->watch.interface, conf->interface, sizeof(k->watch.interface));
	memcpy(k->stats.interface, conf->interface, sizeof(k->stats.interface));
	link_name(k);
	k->endpoint_first = l->endpoint_count;
	if (conf->group.ss_family)
		add_endpoint(l, l->count, &conf->group);
	for (unsigned int i = 0; i < conf->peer_count && !conf->group.ss_family; i++)
		add_endpoint(l, l->count, &conf->peers[i]);
	l->count++;
	return 0;
}

static int make_buffers(struct links *l)
{
	l->buffers = malloc((size_t)2 * LINK_BATCH_MAX * WIRE_DGRAM_MAX);
	if (!l->buffers)
		return -ENOMEM;
	for (size_t i = 0; i < LINK_BATCH_MAX; i++) {
		l->out[i].pkt = l->buffers + i * WIRE_DGRAM_MAX;
		l->recv_iov[i] = (struct iovec){
			.iov_base = l->buffers + (LINK_BATCH_MAX + i) * WIRE_DGRAM_MAX,
			.iov_len = WIRE_DGRAM_MAX,
		};
		l->recv_msg[i].msg_hdr = (struct msghdr){
			.msg_name = &l->recv_from[i],
			.msg_iov = &l->recv_iov[i],
			.msg_iovlen = 1,
		};
	}
	return 0;
}

static int open_all(struct links *l, const struct link_conf *conf, unsigned int count,
		    const char **err_text)
{
	int err;

	*err_text = "sync.links: too many links or peers";
	if (count > LINK_LINKS_MAX)
		return -E2BIG;
	for (unsigned int i = 0; i < count; i++) {
		err = add_link(l, &conf[i]);
		if (err)
			return err;
	}
	*err_text = "sync.links: out of memory";
	err = make_buffers(l);
	if (err)
		return err;
	*err_text = "sync.links: cannot open the rtnetlink monitor";
	l->rtnl_fd = rtnl_open(); /* before the first look, so that no change falls between */
	if (l->rtnl_fd < 0)
		return l->rtnl_fd;
	for (unsigned int i = 0; i < count; i++) {
		const char *what;

		*err_text = "sync.links: cannot open a link's socket; the line above says which";
		err = link_refresh(l, &l->link[i], &what);
		if (err)
			return err;
	}
	*err_text = NULL;
	return 0;
}

int links_open(struct links **out, const struct link_conf *conf, unsigned int count,
	       uint32_t rcvbuf_len, struct log *log, const char **err_text)
{
	struct links *l = calloc(1, sizeof(*l));
	int err;

	*err_text = "sync.links: out of memory";
	if (!l)
		return -ENOMEM;
	l->log = log;
	l->rcvbuf_len = rcvbuf_len;
	l->rtnl_fd = -1;
	err = open_all(l, conf, count, err_text);
	if (err) {
		links_close(l);
		return err;
	}
	*out = l;
	return 0;
}

void links_close(struct links *l)
{
	if (!l)
		return;
	for (unsigned int i = 0; i < l->count; i++)
		link_close(&l->link[i]);
	if (l->rtnl_fd >= 0)
		(void)close(l->rtnl_fd);
	free(l->buffers);
	free(l);
}

unsigned int links_fds(const struct links *l, int *fds, unsigned int max)
{
	unsigned int n = 0;

	for (unsigned int i = 0; i < l->count; i++) {
		if (l->link[i].fd >= 0 && n < max)
			fds[n++] = l->link[i].fd;
	}
	if (n < max)
		fds[n++] = l->rtnl_fd;
	return n;
}

bool links_read_rtnl(struct links *l)
{
	struct rtnl_watch w[LINK_LINKS_MAX];
	bool changed = false;

	for (unsigned int i = 0; i < l->count; i++)
		w[i] = l->link[i].watch;
	if (!rtnl_read(l->rtnl_fd, w, l->count))
		return false;
	for (unsigned int i = 0; i < l->count; i++) {
		struct link *k = &l->link[i];
		struct link_stats before = k->stats;
		const char *what;
		unsigned int opens = k->opens;

		(void)link_refresh(l, k, &what); /* told there; retried at the next change */
		changed |= opens != k->opens || before.up != k->stats.up ||
			   before.mtu != k->stats.mtu;
	}
	return changed;
}

/* ---- sending ---- */

uint8_t *links_buffer(struct links *l)
{
	if (l->out_count == LINK_BATCH_MAX)
		links_flush(l);
	return l->out[l->out_count].pkt;
}

void links_queue(struct links *l, const uint8_t *pkt, size_t len, uint32_t to)
{
	uint8_t *slot = links_buffer(l);

	if (pkt != slot)
		memcpy(slot, pkt, len);
	l->out[l->out_count].len = len;
	l->out[l->out_count].to = to;
	if (++l->out_count == LINK_BATCH_MAX)
		links_flush(l);
}

/* Messages of the batch that go out by link number n. */
static unsigned int gather(struct links *l, unsigned int n)
{
	const struct link *k = &l->link[n];
	unsigned int count = 0;

	for (unsigned int i = 0; i < l->out_count; i++) {
		for (unsigned int j = k->endpoint_first; j < k->endpoint_first + k->endpoint_count;
		     j++) {
			if (!(l->out[i].to & UINT32_C(1) << j))
				continue;
			l->send_msg[count++].msg_hdr = (struct msghdr){
				.msg_name = &l->endpoint[j].addr,
				.msg_namelen = l->endpoint[j].addr_len,
				.msg_iov = &l->send_iov[i],
				.msg_iovlen = 1,
			};
		}
	}
	return count;
}

/* The socket refused the message at hand. Returns how many of the left ones to pass over: 1, or
 * all. */
static unsigned int send_failed(struct links *l, struct link *k, int err, unsigned int left)
{
	bool full = err == EAGAIN || err == EWOULDBLOCK || err == ENOBUFS || err == ENOMEM;

	if (err == EINTR || err == ECONNREFUSED)
		return 0; /* not about this message: an answer to an earlier one */
	/* A full queue is the network's business and counted; anything else is said when it begins.
	 */
	if (!full && err != k->send_err)
		log_warn(l->log, "link %s: cannot send: %s", k->name, strerror(err));
	if (!full)
		k->send_err = err;
	l->was_full |= full;
	k->stats.send_errors += full ? left : 1;
	return full ? left : 1;
}

static void send_link(struct links *l, struct link *k, unsigned int count)
{
	unsigned int at = 0, tries = 0;

	while (at < count) {
		int n = sendmmsg(k->fd, l->send_msg + at, count - at, 0);

		if (n < 0) {
			/* Each try takes a pending error off the socket, so this ends; the limit is
			 * for the unthinkable. */
			if (++tries > 2 * MSGS_MAX)
				return;
			at += send_failed(l, k, errno, count - at);
			continue;
		}
		for (unsigned int i = at; i < at + (unsigned int)n; i++)
			k->stats.bytes_sent += l->send_msg[i].msg_len;
		k->stats.sent += (unsigned int)n;
		k->send_err = 0;
		at += (unsigned int)n;
	}
}

void links_flush(struct links *l)
{
	for (unsigned int i = 0; i < l->out_count; i++)
		l->send_iov[i] =
			(struct iovec){ .iov_base = l->out[i].pkt, .iov_len = l->out[i].len };
	for (unsigned int i = 0; i < l->count && l->out_count; i++) {
		struct link *k = &l->link[i];
		unsigned int count = gather(l, i);

		if (k->fd >= 0)
			send_link(l, k, count);
		else
			k->stats.send_errors += count;
	}
	l->out_count = 0;
}

bool links_was_full(struct links *l)
{
	bool was = l->was_full;

	l->was_full = false;
	return was;
}

/* ---- receiving ---- */

static bool same_host(const struct sockaddr_storage *a, const struct sockaddr_storage *b)
{
	const struct sockaddr_in *a4 = (const void *)a, *b4 = (const void *)b;
	const struct sockaddr_in6 *a6 = (const void *)a, *b6 = (const void *)b;

	if (a->ss_family != b->ss_family)
		return false;
	if (a->ss_family == AF_INET)
		return a4->sin_addr.s_addr == b4->sin_addr.s_addr && a4->sin_port == b4->sin_port;
	return !memcmp(&a6->sin6_addr, &b6->sin6_addr, sizeof(a6->sin6_addr)) &&
	       a6->sin6_port == b6->sin6_port;
}

/* The endpoint that this source is, -1 if it is none of ours. */
static int find_endpoint(const struct links *l, const struct link *k,
			 const struct sockaddr_storage *from)
{
	if (k->conf.group.ss_family)
		return (int)k->endpoint_first;
	for (unsigned int i = k->endpoint_first; i < k->endpoint_first + k->endpoint_count; i++) {
		if (same_host(&l->endpoint[i].addr, from))
			return (int)i;
	}
	return -1;
}

static void take(struct links *l, struct link *k, unsigned int i, struct engine *e, usec_t now)
{
	size_t len = l->recv_msg[i].msg_len;
	int endpoint = find_endpoint(l, k, &l->recv_from[i]);

	if (endpoint < 0) {
		k->stats.unknown_source++;
		return;
	}
	k->stats.received++;
	k->stats.bytes_received += len;
	/* The engine counts what it refuses; a datagram cut short by our buffer fails its
	 * authentication. */
	(void)engine_recv(e, (unsigned int)endpoint, l->recv_iov[i].iov_base, len, now);
}

/* Reads one batch of at most max from link k. Returns how many. */
static unsigned int read_batch(struct links *l, struct link *k, unsigned int max, struct engine *e,
			       usec_t now)
{
	int n;

	for (unsigned int i = 0; i < max; i++)
		l->recv_msg[i].msg_hdr.msg_namelen = sizeof(l->recv_from[i]);
	n = recvmmsg(k->fd, l->recv_msg, max, MSG_DONTWAIT, NULL);
	for (int i = 0; i < n; i++)
		take(l, k, (unsigned int)i, e, now);
	return n > 0 ? (unsigned int)n : 0; /* errors: nothing there, or that of an earlier send */
}

int links_read(struct links *l, struct engine *e, unsigned int budget, usec_t now)
{
	unsigned int total = 0, empty = 0;

	while (total < budget && empty < l->count) {
		struct link *k = &l->link[l->read_next++ % l->count];
		unsigned int max = budget - total < LINK_BATCH_MAX ? budget - total
								   : LINK_BATCH_MAX;
		unsigned int n = k->fd >= 0 ? read_batch(l, k, max, e, now) : 0;

		/* Short of a full batch it was empty; if it is not any more, the loop is back soon.
		 */
		empty = n == max ? 0 : empty + 1;
		total += n;
	}
	return (int)total;
}

/* ---- what is known ---- */

unsigned int links_of(const struct links *l, unsigned int endpoint)
{
	return endpoint < l->endpoint_count ? l->endpoint[endpoint].link : l->count;
}

const char *links_name(const struct links *l, unsigned int endpoint)
{
	return l && endpoint < l->endpoint_count ? l->link[l->endpoint[endpoint].link].name : "?";
}

uint16_t links_dgram_max(const struct links *l)
{
	uint32_t min = WIRE_DGRAM_MAX;

	for (unsigned int i = 0; i < l->count; i++) {
		const struct link *k = &l->link[i];
		uint32_t head = k->conf.local.ss_family == AF_INET6 ? HEAD_V6 : HEAD_V4;
		uint32_t mtu = link_mtu(k);

		if (mtu < head + WIRE_DGRAM_MIN)
			return WIRE_DGRAM_MIN;
		if (mtu - head < min)
			min = mtu - head;
	}
	return (uint16_t)min;
}

uint32_t links_window(const struct links *l)
{
	/* The kernel counts a datagram of 1500 bytes as 2304 (the sk_buff and its data): 5/8 of the
	 * buffer is payload. Half of that is promised, for smaller datagrams and for what is under
	 * way already. */
	uint32_t min = 2 * (l->rcvbuf_len / 16) * 5;

	for (unsigned int i = 0; i < l->count; i++) {
		const struct link *k = &l->link[i];

		if (k->fd >= 0 && k->rcvbuf_len / 16 * 5 < min)
			min = k->rcvbuf_len / 16 * 5;
	}
	return min;
}

unsigned int links_stats(const struct links *l, struct link_stats *s, unsigned int max)
{
	unsigned int n = l->count < max ? l->count : max;

	for (unsigned int i = 0; i < n; i++) {
		s[i] = l->link[i].stats;
		memcpy(s[i].name, l->link[i].name, sizeof(s[i].name));
		s[i].socket_drops = l->link[i].drops_before;
		if (l->link[i].fd >= 0)
			s[i].socket_drops += sock_drops(l->link[i].fd);
	}
	return n;
}
