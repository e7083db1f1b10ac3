/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * What /proc/sys tells of conntrack in this namespace, and which kernel and namespace this is. No
 * state. Everything here may be missing (another kernel, a module not loaded yet) and then keeps
 * its default or says unknown.
 */
#include "kern.h"

#include <fcntl.h>
#include <linux/netfilter/nf_conntrack_sctp.h>
#include <linux/netfilter/nf_conntrack_tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71 /* Linux 5.14 */
#endif

#define SYSCTL_DIR "/proc/sys/net/netfilter/"

/* Reads a small file as text. Returns its length, -1 if it cannot be read. */
static ssize_t read_text(const char *path, char *buf, size_t len)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -1;
	n = read(fd, buf, len - 1);
	(void)close(fd); /* opened for reading: nothing can be lost */
	if (n >= 0)
		buf[n] = '\0';
	return n;
}

/* One sysctl of net.netfilter, -1 unknown. */
static int64_t read_sysctl(const char *name)
{
	char path[128], text[32], *end;
	long long v;

	(void)snprintf(path, sizeof(path), SYSCTL_DIR "%s", name);
	if (read_text(path, text, sizeof(text)) <= 0)
		return -1;
	v = strtoll(text, &end, 10);
	return end == text || v < 0 ? -1 : v;
}

static void read_timeout(const char *name, uint32_t *out)
{
	int64_t v = read_sysctl(name);

	if (v >= 0 && v <= UINT32_MAX)
		*out = (uint32_t)v;
}

static void sctp_timeouts(struct flow_timeouts *t)
{
	static const struct {
		const char *name;
		uint8_t state;
	} sctp[] = {
		{ "nf_conntrack_sctp_timeout_closed", SCTP_CONNTRACK_NONE },
		{ "nf_conntrack_sctp_timeout_closed", SCTP_CONNTRACK_CLOSED },
		{ "nf_conntrack_sctp_timeout_cookie_wait", SCTP_CONNTRACK_COOKIE_WAIT },
		{ "nf_conntrack_sctp_timeout_cookie_echoed", SCTP_CONNTRACK_COOKIE_ECHOED },
		{ "nf_conntrack_sctp_timeout_established", SCTP_CONNTRACK_ESTABLISHED },
		{ "nf_conntrack_sctp_timeout_shutdown_sent", SCTP_CONNTRACK_SHUTDOWN_SENT },
		{ "nf_conntrack_sctp_timeout_shutdown_recd", SCTP_CONNTRACK_SHUTDOWN_RECD },
		{ "nf_conntrack_sctp_timeout_shutdown_ack_sent", SCTP_CONNTRACK_SHUTDOWN_ACK_SENT },
		{ "nf_conntrack_sctp_timeout_heartbeat_sent", SCTP_CONNTRACK_HEARTBEAT_SENT },
	};

	for (size_t i = 0; i < ARRAY_LEN(sctp); i++)
		read_timeout(sctp[i].name, &t->sctp[sctp[i].state]);
}

void kern_timeouts(struct flow_timeouts *t)
{
	flow_timeouts_default(t);
	read_timeout("nf_conntrack_tcp_timeout_syn_sent", &t->tcp[TCP_CONNTRACK_SYN_SENT]);
	read_timeout("nf_conntrack_tcp_timeout_syn_recv", &t->tcp[TCP_CONNTRACK_SYN_RECV]);
	read_timeout("nf_conntrack_tcp_timeout_established", &t->tcp[TCP_CONNTRACK_ESTABLISHED]);
	read_timeout("nf_conntrack_tcp_timeout_fin_wait", &t->tcp[TCP_CONNTRACK_FIN_WAIT]);
	read_timeout("nf_conntrack_tcp_timeout_close_wait", &t->tcp[TCP_CONNTRACK_CLOSE_WAIT]);
	read_timeout("nf_conntrack_tcp_timeout_last_ack", &t->tcp[TCP_CONNTRACK_LAST_ACK]);
	read_timeout("nf_conntrack_tcp_timeout_time_wait", &t->tcp[TCP_CONNTRACK_TIME_WAIT]);
	read_timeout("nf_conntrack_tcp_timeout_close", &t->tcp[TCP_CONNTRACK_CLOSE]);
	read_timeout("nf_conntrack_udp_timeout", &t->udp);
	read_timeout("nf_conntrack_udp_timeout_stream", &t->udp_stream);
	read_timeout("nf_conntrack_gre_timeout", &t->gre);
	read_timeout("nf_conntrack_gre_timeout_stream", &t->gre_stream);
	read_timeout("nf_conntrack_icmp_timeout", &t->icmp);
	read_timeout("nf_conntrack_icmpv6_timeout", &t->icmpv6);
	read_timeout("nf_conntrack_generic_timeout", &t->generic);
	sctp_timeouts(t);
}

void kern_counts(int64_t *count, int64_t *max, int64_t *buckets)
{
	*count = read_sysctl("nf_conntrack_count");
	*max = read_sysctl("nf_conntrack_max");
	*buckets = read_sysctl("nf_conntrack_buckets");
}

int kern_events_sysctl(void)
{
	return (int)read_sysctl("nf_conntrack_events");
}

/* FNV-1a: the two inputs are unique already, they only have to share one number. */
static uint64_t mix(uint64_t hash, const void *data, size_t len)
{
	const uint8_t *p = data;

	for (size_t i = 0; i < len; i++)
		hash = (hash ^ p[i]) * 0x100000001b3ULL;
	return hash;
}

/* The namespace's cookie, unique until reboot; kernels without it give the inode, which may come
 * again. */
static uint64_t netns_cookie(void)
{
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	uint64_t cookie = 0;
	socklen_t len = sizeof(cookie);
	struct stat st;

	if (fd >= 0) {
		if (getsockopt(fd, SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &len) < 0)
			cookie = 0;
		(void)close(fd); /* nothing was sent */
	}
	if (cookie == 0 && stat("/proc/self/ns/net", &st) == 0)
		cookie = st.st_ino;
	return cookie;
}

uint64_t kern_identity(void)
{
	uint64_t hash = 0xcbf29ce484222325ULL, cookie = netns_cookie();
	char boot_id[64];
	ssize_t n = read_text("/proc/sys/kernel/random/boot_id", boot_id, sizeof(boot_id));

	if (n > 0)
		hash = mix(hash, boot_id, (size_t)n);
	hash = mix(hash, &cookie, sizeof(cookie));
	return hash != 0 ? hash : 1;
}
