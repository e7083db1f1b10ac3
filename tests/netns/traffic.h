/* SPDX-License-Identifier: GPL-2.0-or-later */
/* traffic: what its two files share. traffic.c holds the commands and the loop, traffic_net.c the
 * sockets and what goes over them. */
#ifndef CTSYNCD_TESTS_TRAFFIC_H
#define CTSYNCD_TESTS_TRAFFIC_H

#include <netinet/in.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#define FLOWS_MAX 20000
#define CLIENT_ADDRS 25
#define PORT_BASE 20000
#define SERVER_PORT 5000
#define DNAT_PORT 8080
#define CHAT_MS 100
#define TICK_MS 10
#define CHUNK_LEN 200
/* A chatty side stops at so many bytes that the other has not read yet. */
#define UNREAD_MAX 16384
#define RESEND_MS 50 /* a datagram of a check is sent again until it is answered */
#define FILLER_LEN 48
#define DGRAM_MAGIC 0x74726166

enum kind { TCP4, TCP6, UDP4, UDP6, ICMP4, ICMP6, DNAT4, KIND_COUNT };
enum manner { CHATTY, SILENT, SERVER_FIRST };
enum side { CLIENT, SERVER };
enum step { STEP_NONE, STEP_ASKED, STEP_ALIVE };
enum message { PING = 1, PONG, HOLD };

struct end {
	int fd; /* datagram servers share the socket of struct traffic */
	uint64_t tx, rx;
	uint64_t moved_at; /* last progress, ms */
};

struct flow {
	enum kind kind;
	enum manner manner;
	uint32_t id;
	bool open, broken, moved;
	const char *why;
	struct end end[2];
	struct sockaddr_in6 seen; /* the client as the server sees it; IPv4 mapped */
	uint32_t seq;             /* datagrams: last number sent; ICMP: 16 bits of it */
	uint32_t held_seq;        /* ICMP: the request that waits for its answer */
	enum step step;
	uint64_t target[2]; /* check: TCP offset to reach, datagram number to see, by side */
	uint64_t asked_at, took_ms, gap_ms;
};

struct dgram {
	uint32_t magic, id, seq;
	uint8_t message, side, pad[2];
	uint8_t filler[FILLER_LEN];
} __attribute__((packed));

struct traffic {
	int ns[2], epoll_fd;
	int udp_fd[2], icmp_fd[2]; /* the server's, by family */
	struct flow *flows;
	uint32_t flow_count;
	bool chat;
	uint16_t port_base; /* first source port of the clients */
	uint64_t tick, check_until;
	uint64_t bytes, errors;
	char line[256];
	size_t line_len;
};

/* Monotonic clock. */
uint64_t now_ms(void);
/* Says what failed and why (errno), and ends the program with 2. */
void die(const char *what);
bool is_tcp(enum kind kind);
bool is_v6(enum kind kind);
/* An address of the test network: host of the client or server side. IPv4 comes mapped. */
struct sockaddr_in6 address(bool v6, enum side side, unsigned int host, uint16_t port);
/* A socket in the namespace of side. */
int socket_in(const struct traffic *t, enum side side, bool v6, int type, int proto);
void bind_to(int fd, const struct sockaddr_in6 *a, bool v6);
/* Makes fd non-blocking and waits for input on it; token comes back with the event. */
void watch(const struct traffic *t, int fd, uint64_t token);
/* Starts the round trip of a check. */
void tcp_ask(struct flow *f);
void tcp_readable(struct traffic *t, struct flow *f, enum side side);
/* Connects and accepts one flow, so that both ends are known by their order. */
void tcp_open(struct traffic *t, struct flow *f, int listener, const struct sockaddr_in6 *from,
	      const struct sockaddr_in6 *to);
/* Both sides send a little. */
void tcp_chat(struct flow *f);
/* Has the server's view of the peer changed? */
void tcp_check_peer(struct flow *f);
void dgram_send(const struct traffic *t, struct flow *f, enum side side, enum message m,
		uint32_t seq);
/* Starts the round trip of a check, or repeats it. */
void dgram_ask(const struct traffic *t, struct flow *f);
void udp_readable(struct traffic *t, int fd, enum side side);
void icmp_readable(struct traffic *t, int fd, enum side side, bool v6);
/* Opens the client of a UDP or ICMP flow and sends its first datagram. */
void dgram_open(struct traffic *t, struct flow *f, const struct sockaddr_in6 *from,
		const struct sockaddr_in6 *to);

#endif
