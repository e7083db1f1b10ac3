/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * UDP sockets on the sync links. Every (link, peer address) pair, or (link, group), is an endpoint
 * with an index that the engine knows; addresses stay here. DSCP CS6, sendmmsg and recvmmsg,
 * interface state and MTU by rtnetlink.
 */
#ifndef CTSYNCD_LINK_H
#define CTSYNCD_LINK_H

#include <net/if.h>
#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "engine.h"
#include "log.h"
#include "util.h"

#define LINK_LINKS_MAX 4
#define LINK_PEERS_MAX 3
#define LINK_BATCH_MAX 32
#define LINK_NAME_LEN (INET6_ADDRSTRLEN + 8)

struct link_conf {                   /* one link */
	char interface[IF_NAMESIZE]; /* may be empty: the routing table decides */
	struct sockaddr_storage local;
	struct sockaddr_storage peers[LINK_PEERS_MAX]; /* unicast */
	unsigned int peer_count;
	struct sockaddr_storage group; /* multicast when ss_family != 0 */
	uint8_t ttl;
};

struct links;

/* Opens a socket per link and the rtnetlink monitor. An interface or address that is not there yet
 * is not an error: it is retried when rtnetlink tells of a change, and said once. Returns 0 or
 * -errno, *err_text (static) names what failed. */
int links_open(struct links **l, const struct link_conf *conf, unsigned int count,
	       uint32_t rcvbuf_len, struct log *log, const char **err_text);
void links_close(struct links *l);

unsigned int links_fds(const struct links *l, int *fds,
		       unsigned int max); /* pollable descriptors, rtnetlink's last */

/* Queues one datagram for the endpoints of bitmap `to`; sends when the batch is full. */
void links_queue(struct links *l, const uint8_t *pkt, size_t len, uint32_t to);
/* A buffer of WIRE_DGRAM_MAX bytes for the next datagram, to be encoded in place and then queued
 * with the same pointer: no copy. */
uint8_t *links_buffer(struct links *l);
/* Sends what is queued. */
void links_flush(struct links *l);
/* Did a socket refuse datagrams since the last call because its buffer was full? They are lost and
 * counted; who sends should pause for a moment. */
bool links_was_full(struct links *l);

/* Reads up to a budget of datagrams from all links and feeds engine_recv. Returns how many. */
int links_read(struct links *l, struct engine *e, unsigned int budget, usec_t now);

/* Handles rtnetlink messages that wait. Returns true if the smallest MTU or a link's state changed.
 */
bool links_read_rtnl(struct links *l);

/* Name of the link that an endpoint of the engine is on: its interface, or its address where the
 * configuration names none. */
const char *links_name(const struct links *l, unsigned int endpoint);

/* The link that an endpoint is on: its index in links_stats; the number of links if there is none.
 */
unsigned int links_of(const struct links *l, unsigned int endpoint);

/* Largest UDP payload that every link carries. */
uint16_t links_dgram_max(const struct links *l);

/* Receive window to announce: what the smallest socket buffer holds safely, bytes. */
uint32_t links_window(const struct links *l);

struct link_stats {
	char name[LINK_NAME_LEN]; /* as in links_name */
	char interface[IF_NAMESIZE];
	bool up;
	uint32_t mtu;
	uint64_t sent, received, bytes_sent, bytes_received, send_errors, unknown_source,
		socket_drops;
};
unsigned int links_stats(const struct links *l, struct link_stats *s, unsigned int max);

#endif
