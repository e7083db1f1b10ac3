/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Does this kernel track packets? It does so only while a rule asks for it, per namespace and
 * family, and says so nowhere. So we look: a datagram to ourselves over loopback, and then for its
 * entry, which is deleted again. The entry exists as soon as the datagram is sent; nothing is
 * waited for. No state; sockets of its own, so that neither the engine's dumps nor its writes see
 * any of it (flows over loopback are not the group's).
 *
 * The other question is whether given flows are tracked that ought not to be, the sync links' own:
 * they are asked for by name.
 *
 * A ruleset that leaves loopback untracked looks like none: the caller weighs that.
 *
 * Are translations carried out? The kernel's translation is there once a nat base chain is (nft's,
 * or iptables' table nat), and then marks each entry that begins, translated or not. So our
 * datagram's entry tells. Where loopback is untracked, nf_tables is asked for such a chain; the old
 * iptables shows nothing of itself there.
 */
#include "kern.h"

#include <errno.h>
#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/netfilter.h>
#include <linux/netfilter/nf_tables.h>
#include <linux/netfilter/nfnetlink.h>

#include "kern_msg.h"

#define STATUS_NAT_DONE 0x180u /* IPS_SRC_NAT_DONE, IPS_DST_NAT_DONE */
#define SLICE_LEN 32768
#define SLICES_MAX 64 /* of an answer: thousands of chains */

/* The two ends of a datagram. */
struct ends {
	int from, to;
};

static int open_end(int family, struct sockaddr_storage *ss, socklen_t *len)
{
	struct sockaddr_in *in = (void *)ss;
	struct sockaddr_in6 *in6 = (void *)ss;
	int fd = socket(family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

	memset(ss, 0, sizeof(*ss));
	ss->ss_family = (sa_family_t)family;
	*len = family == AF_INET ? sizeof(*in) : sizeof(*in6);
	if (family == AF_INET)
		in->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
	else
		in6->sin6_addr = in6addr_loopback;
	if (fd >= 0 && bind(fd, (const struct sockaddr *)ss, *len) == 0 &&
	    getsockname(fd, (struct sockaddr *)ss, len) == 0)
		return fd;
	if (fd >= 0)
		(void)close(fd); /* never used */
	return -1;
}

static void put_end(const struct sockaddr_storage *ss, uint8_t addr[16], uint16_t *port)
{
	const struct sockaddr_in *in = (const void *)ss;
	const struct sockaddr_in6 *in6 = (const void *)ss;

	if (ss->ss_family == AF_INET) {
		memcpy(addr, &in->sin_addr, 4);
		*port = in->sin_port;
	} else {
		memcpy(addr, &in6->sin6_addr, 16);
		*port = in6->sin6_port;
	}
}

/* Sends a datagram to ourselves and fills key with what its flow is called. Returns whether it
 * went. The sockets stay open in ends, so that nobody else gets their ports meanwhile. */
static bool send_one(int family, struct ends *ends, struct flow_key *key)
{
	struct sockaddr_storage from, to;
	socklen_t len;

	*ends = (struct ends){ open_end(family, &from, &len), open_end(family, &to, &len) };
	if (ends->from < 0 || ends->to < 0 ||
	    sendto(ends->from, "", 1, 0, (const struct sockaddr *)&to, len) != 1)
		return false;
	*key = (struct flow_key){ .l3 = family == AF_INET ? 4 : 6, .proto = IPPROTO_UDP };
	put_end(&from, key->orig.src, &key->orig.sport);
	put_end(&to, key->orig.dst, &key->orig.dport);
	return true;
}

/* Sends a request and reads its answer, which the kernel gives at once; got: the entry, if that is
 * the answer, may be NULL. Returns 0 or -errno. */
static int ask(struct mnl_socket *nl, const void *msg, size_t len, struct flow *got)
{
	uint8_t buf[KERN_SLOT_LEN] __attribute__((aligned(8)));
	const struct nlmsghdr *h = (const void *)buf;
	const struct nlmsgerr *e;
	ssize_t n;

	if (mnl_socket_sendto(nl, msg, len) < 0)
		return -errno;
	n = recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT);
	if (n < 0)
		return -errno;
	if (!mnl_nlmsg_ok(h, (int)n))
		return -EBADMSG;
	if (h->nlmsg_type != NLMSG_ERROR)
		return got && kern_parse(h, h->nlmsg_len, got) < 0 ? -EBADMSG : 0;
	if (h->nlmsg_len < mnl_nlmsg_size(sizeof(*e)))
		return -EBADMSG;
	e = mnl_nlmsg_get_payload(h);
	return e->error;
}

static struct mnl_socket *open_nl(void)
{
	struct mnl_socket *nl = mnl_socket_open2(NETLINK_NETFILTER, SOCK_CLOEXEC);

	if (!nl || mnl_socket_bind(nl, 0, MNL_SOCKET_AUTOPID) == 0)
		return nl;
	(void)mnl_socket_close(nl); /* nothing is pending */
	return NULL;
}

static enum kern_tracking find_entry(struct mnl_socket *nl, const struct flow_key *key,
				     struct flow *got)
{
	uint8_t msg[KERN_MSG_MAX] __attribute__((aligned(8)));
	size_t len = kern_build_get(msg, sizeof(msg), key, 1);
	int err = ask(nl, msg, len, got);

	return !err ? KERN_TRACKING_ON : err == -ENOENT ? KERN_TRACKING_OFF : KERN_TRACKING_UNKNOWN;
}

/* Is there an entry of key? Deletes it. */
static enum kern_tracking take_entry(const struct flow_key *key, struct flow *got)
{
	struct mnl_socket *nl = open_nl();
	uint8_t msg[KERN_MSG_MAX] __attribute__((aligned(8)));
	enum kern_tracking found;
	size_t len;

	if (!nl)
		return KERN_TRACKING_UNKNOWN;
	found = find_entry(nl, key, got);
	if (found == KERN_TRACKING_ON) {
		len = kern_build_delete(msg, sizeof(msg), key, NULL, 2);
		(void)ask(nl, msg, len, NULL); /* else it goes by itself in half a minute */
	}
	(void)mnl_socket_close(nl); /* nothing is pending */
	return found;
}

enum kern_tracking kern_tracks(const struct flow_key *keys, unsigned int count)
{
	struct mnl_socket *nl = open_nl();
	enum kern_tracking found = KERN_TRACKING_UNKNOWN;

	for (unsigned int i = 0; nl && i < count && found != KERN_TRACKING_ON; i++) {
		enum kern_tracking one = find_entry(nl, &keys[i], NULL);

		if (one != KERN_TRACKING_UNKNOWN)
			found = one;
	}
	if (nl)
		(void)mnl_socket_close(nl); /* nothing is pending */
	return found;
}

/* *nat: is a translation there, unknown if the datagram was not tracked. */
static enum kern_tracking probe(int family, enum kern_tracking *nat)
{
	enum kern_tracking found = KERN_TRACKING_UNKNOWN;
	struct flow got = { .has = 0 };
	struct flow_key key;
	struct ends ends;

	*nat = KERN_TRACKING_UNKNOWN;
	if (send_one(family, &ends, &key))
		found = take_entry(&key, &got);
	if (found == KERN_TRACKING_ON)
		*nat = got.status & STATUS_NAT_DONE ? KERN_TRACKING_ON : KERN_TRACKING_OFF;
	if (ends.from >= 0)
		(void)close(ends.from); /* its one datagram is nobody's loss */
	if (ends.to >= 0)
		(void)close(ends.to);
	return found;
}

/* ---- nf_tables ---- */

static int on_attr(const struct nlattr *attr, void *data)
{
	bool *nat = data;

	if (mnl_attr_get_type(attr) == NFTA_CHAIN_TYPE &&
	    mnl_attr_validate(attr, MNL_TYPE_STRING) == 0)
		*nat = !strncmp(mnl_attr_get_str(attr), "nat", mnl_attr_get_payload_len(attr));
	return MNL_CB_OK;
}

/* A chain. data: whether there is one that translates, for IPv4 and IPv6. */
static int on_chain(const struct nlmsghdr *h, void *data)
{
	const struct nfgenmsg *g = mnl_nlmsg_get_payload(h);
	bool *nat = data, is = false;

	if (mnl_attr_parse(h, sizeof(*g), on_attr, &is) == MNL_CB_ERROR)
		return MNL_CB_ERROR;
	nat[0] |= is && (g->nfgen_family == NFPROTO_IPV4 || g->nfgen_family == NFPROTO_INET);
	nat[1] |= is && (g->nfgen_family == NFPROTO_IPV6 || g->nfgen_family == NFPROTO_INET);
	return MNL_CB_OK;
}

static bool ask_chains(struct mnl_socket *nl)
{
	uint8_t buf[64] __attribute__((aligned(8)));
	struct nlmsghdr *h = mnl_nlmsg_put_header(buf);
	struct nfgenmsg *g;

	h->nlmsg_type = (NFNL_SUBSYS_NFTABLES << 8) | NFT_MSG_GETCHAIN;
	h->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
	h->nlmsg_seq = 1;
	g = mnl_nlmsg_put_extra_header(h, sizeof(*g));
	g->nfgen_family = NFPROTO_UNSPEC;
	g->version = NFNETLINK_V0;
	return mnl_socket_sendto(nl, h, h->nlmsg_len) > 0;
}

/* What is found is there; of what is not found nothing is known. */
static void find_chains(bool nat[2])
{
	uint8_t buf[SLICE_LEN] __attribute__((aligned(8)));
	struct mnl_socket *nl = open_nl();
	int ret = nl && ask_chains(nl) ? MNL_CB_OK : MNL_CB_ERROR;

	for (unsigned int i = 0; i < SLICES_MAX && ret == MNL_CB_OK; i++) {
		ssize_t n = recv(mnl_socket_get_fd(nl), buf, sizeof(buf), MSG_DONTWAIT);

		ret = n < 0 ? MNL_CB_ERROR
			    : mnl_cb_run(buf, (size_t)n, 1, mnl_socket_get_portid(nl), on_chain,
					 nat);
	}
	if (nl)
		(void)mnl_socket_close(nl); /* nothing is pending that matters */
}

void kern_hooks(struct kern_hooks *h)
{
	enum kern_tracking v4 = probe(AF_INET, &h->nat[0]), v6 = probe(AF_INET6, &h->nat[1]);
	bool nat[2] = { false };

	h->tracking = v4 == KERN_TRACKING_ON || v6 == KERN_TRACKING_UNKNOWN ? v4 : v6;
	if (h->nat[0] == KERN_TRACKING_UNKNOWN || h->nat[1] == KERN_TRACKING_UNKNOWN)
		find_chains(nat);
	for (unsigned int i = 0; i < 2; i++)
		if (nat[i])
			h->nat[i] = KERN_TRACKING_ON;
}
