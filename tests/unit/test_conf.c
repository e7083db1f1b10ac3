/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The configuration: the contract sample, every kind of error with its line, print and load again,
 * the man page's table. A case writes a small file and compares the whole of what conf_load() says,
 * so a message that gets worse is seen.
 */
#include "conf.h"

#include <arpa/inet.h>
#include <errno.h>
#include <pwd.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sysexits.h>
#include <unistd.h>

#include <cmocka.h>

#include "util.h"

#define GOOD                                                                                       \
	"node = \"fw1\"; sync = { seal = \"none\"; links = ( { local = \"192.0.2.1\"; peers = [ "  \
	"\"192.0.2.2\" ]; } ); };\n"

static char dir[] = "/tmp/ctsyncd-test-conf-XXXXXX";
static char path[64];

static void write_file(const char *name, const char *text, size_t len)
{
	FILE *f;

	(void)unlink(name); /* it may be read-only from the case before */
	f = fopen(name, "w");
	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, len, f), len);
	assert_int_equal(fclose(f), 0);
}

/* Loads text; returns what was said (to be freed), with the path of the file left out. */
static char *load(const char *text, struct conf *conf, int *ret)
{
	char *said = NULL, *at;
	size_t len;
	FILE *err = open_memstream(&said, &len);

	write_file(path, text, strlen(text));
	*ret = conf_load(conf, path, err);
	assert_int_equal(fclose(err), 0);
	while ((at = strstr(said, path)))
		memmove(at, at + strlen(path), strlen(at + strlen(path)) + 1);
	return said;
}

static void check_error(const char *text, const char *want)
{
	struct conf conf;
	char *said;
	int ret;

	memset(&conf, 0x5a, sizeof(conf));
	said = load(text, &conf, &ret);
	assert_string_equal(said, want);
	assert_int_equal(ret, -EX_CONFIG);
	assert_int_equal(conf.node[0], 0x5a); /* untouched */
	free(said);
}

static void check_good(const char *text, struct conf *conf)
{
	int ret;
	char *said;

	memset(conf, 0, sizeof(*conf));
	said = load(text, conf, &ret);
	assert_string_equal(said, "");
	assert_int_equal(ret, 0);
	free(said);
}

static const char contract[] =
	"node = \"fw1\";\n"
	"standby = \"hot\";                      # or \"cache\"\n"
	"sync = {\n"
	"  seal = \"none\";                      # or key_files = [ \"/etc/ctsyncd/sync.key\" ];\n"
	"  links = ( { interface = \"sync0\"; local = \"192.168.100.1\"; peers = [ "
	"\"192.168.100.2\" ]; port = 3780; } );\n"
	"};\n"
	"control = { socket = \"/run/ctsyncd/ctsyncd.sock\"; };\n";

static void test_contract(void **state)
{
	struct conf c;
	const struct sockaddr_in *in4 = (const void *)&c.links[0].peers[0];
	struct in_addr want;

	(void)state;
	check_good(contract, &c);
	assert_string_equal(c.node, "fw1");
	assert_true(c.hot);
	assert_false(c.sealed);
	assert_int_equal(c.link_count, 1);
	assert_string_equal(c.links[0].interface, "sync0");
	assert_int_equal(c.links[0].peer_count, 1);
	assert_int_equal(in4->sin_family, AF_INET);
	assert_int_equal(in4->sin_port, htons(3780));
	assert_int_equal(inet_pton(AF_INET, "192.168.100.2", &want), 1);
	assert_int_equal(in4->sin_addr.s_addr, want.s_addr);
	assert_int_equal(c.links[0].group.ss_family, 0);
	assert_string_equal(c.socket, "/run/ctsyncd/ctsyncd.sock");
}

static void test_defaults(void **state)
{
	struct conf c;

	(void)state;
	check_good(GOOD, &c);
	assert_true(c.hot);
	assert_int_equal(c.heartbeat_ms, 200);
	assert_int_equal(c.dead_ms, 1000);
	assert_int_equal(c.socket_buffer_len, 8 << 20);
	assert_int_equal(c.event_buffer_len, 32 << 20);
	assert_int_equal(c.hold_s, 600);
	assert_int_equal(c.orphan_s, 60);
	assert_int_equal(c.forced_wait_ms, 5000);
	assert_int_equal(c.unclaimed_ms, 60000);
	assert_int_equal(c.flows_max, 8388608);
	assert_int_equal(c.tombstones_max, 262144);
	assert_int_equal(c.record_size_mb, 0);
	assert_int_equal(c.walk_rate, 20000);
	assert_string_equal(c.socket, CTL_SOCKET_DEFAULT);
	assert_string_equal(c.group, "");
	assert_false(c.read_all);
	assert_string_equal(c.log_target, "auto");
	assert_int_equal(c.log_level, LOG_LVL_INFO);
	assert_string_equal(c.user, "ctsyncd");
	assert_string_equal(c.links[0].interface, "");
}

static void test_multicast(void **state)
{
	struct conf c;

	(void)state;
	check_good("node = \"a\"; sync = { seal = \"none\"; links = ( { interface = \"sync0\"; "
		   "local = \"192.0.2.1\";"
		   " group = \"225.0.0.50\"; port = 3781; ttl = 4; } ); };",
		   &c);
	assert_int_equal(c.links[0].group.ss_family, AF_INET);
	assert_int_equal(c.links[0].peer_count, 0);
	assert_int_equal(c.links[0].ttl, 4);
	check_good("node = \"a\"; sync = { seal = \"none\"; links = ( { interface = \"sync0\"; "
		   "local = \"fe80::1\";"
		   " group = \"ff02::50\"; } ); };",
		   &c);
	assert_int_equal(c.links[0].ttl, 1);
}

static const char allowed_top[] =
	"node, standby, active_active, user, policy, sync, kernel, state, control, record, log";

static void test_unknown_keys(void **state)
{
	char want[512];

	(void)state;
	(void)snprintf(want, sizeof(want), ":2: nodes: unknown key; allowed here: %s\n",
		       allowed_top);
	check_error(GOOD "nodes = 3;\n", want);
	check_error(GOOD "\nstate = {\n  hold_s = 20;\n  hold = 3;\n};\n",
		    ":5: state.hold: unknown key; allowed here: hold_s, orphan_s, forced_wait_ms, "
		    "unclaimed_ms, flows_max, "
		    "tombstones_max, scrub_s, walk_rate\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = (\n{ local = \"192.0.2.1\"; "
		    "peers = [ \"192.0.2.2\" ];\n prot = 1; } ); };",
		    ":3: sync.links[0].prot: unknown key; allowed here: interface, local, peers, "
		    "group, ttl, port\n");
	check_error(GOOD "log = { links = { local = 1; }; };\n",
		    ":2: log.links: unknown key; allowed here: target, level\n");
}

static void test_wrong_types(void **state)
{
	(void)state;
	check_error(GOOD "state = 3;\n", ":2: state: wrong type; allowed: a group { ... }\n");
	check_error(GOOD "state = { hold_s = \"600\"; };\n",
		    ":2: state.hold_s: wrong type; allowed: 10 to 86400\n");
	check_error(GOOD "state = { hold_s = 600.5; };\n",
		    ":2: state.hold_s: wrong type; allowed: 10 to 86400\n");
	check_error(GOOD "control = { read_all = 1; };\n",
		    ":2: control.read_all: wrong type; allowed: true or false\n");
	check_error(GOOD "standby = true;\n",
		    ":2: standby: wrong type; allowed: \"hot\" or \"cache\"\n");
	check_error(GOOD "user = 5;\n",
		    ":2: user: wrong type; allowed: a string of 1 to 31 characters\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = { }; };",
		    ":1: sync.links: wrong type; allowed: a list of 1 to 4 groups\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = ( 3 ); };",
		    ":1: sync.links[0]: wrong type; allowed: a group { ... }\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = ( { local = \"192.0.2.1\"; "
		    "peers = \"192.0.2.2\"; } ); };",
		    ":1: sync.links[0].peers: wrong type; allowed: an array of 1 to 3 strings\n"
		    ":1: sync.links[0]: has neither peers nor group; write peers = [ "
		    "\"192.168.100.2\" ];\n");
}

static void test_ranges(void **state)
{
	(void)state;
	check_error(GOOD "\n\n\n\n\nstate = { hold_s = 0; };\n",
		    ":7: state.hold_s: 0 is out of range; allowed: 10 to 86400\n");
	check_error(GOOD "state = { hold_s = -1; };\n",
		    ":2: state.hold_s: -1 is out of range; allowed: 10 to 86400\n");
	check_error(GOOD "state = { hold_s = 86401; };\n",
		    ":2: state.hold_s: 86401 is out of range; allowed: 10 to 86400\n");
	check_error(GOOD "kernel = { event_buffer = 99999999999L; };\n",
		    ":2: kernel.event_buffer: 99999999999 is out of range; allowed: 65536 to "
		    "1073741823\n");
	check_error(GOOD "standby = \"warm\";\n",
		    ":2: standby: \"warm\" is not known; allowed: \"hot\" or \"cache\"\n");
	check_error(GOOD "log = { level = \"loud\"; target = \"file\"; };\n",
		    ":2: log.target: \"file\" is not known; allowed: \"auto\", \"stderr\" or "
		    "\"syslog\"\n"
		    ":2: log.level: \"loud\" is not known; allowed: \"err\", \"warn\", \"info\" or "
		    "\"debug\"\n");
	check_error(GOOD "user = \"\";\n", ":2: user: has 0 characters; allowed: 1 to 31\n");
	check_error("node = \"a b\"; sync = { seal = \"none\"; links = ( { local = \"192.0.2.1\"; "
		    "peers = [ \"192.0.2.2\" ]; } ); };",
		    ":1: node: \"a b\"; allowed: letters, digits, dot, dash and underscore\n");
	check_error(GOOD "control = { socket = \"ctl.sock\"; };\n",
		    ":2: control.socket: \"ctl.sock\"; allowed: a path that starts with /\n");
	check_error("node = \"a\";\nsync = { seal = \"none\"; heartbeat_ms = 500; dead_ms = 900;\n"
		    "links = ( { local = \"192.0.2.1\"; peers = [ \"192.0.2.2\" ]; } ); };",
		    ":2: sync.dead_ms: 900 is less than twice sync.heartbeat_ms (500); allowed: "
		    "1000 or more\n");
	check_error("node = \"a\"; sync = { seal = \"maybe\"; links = ( { local = \"192.0.2.1\"; "
		    "peers = [ \"192.0.2.2\" ]; } ); };",
		    ":1: sync.seal: \"maybe\" is not known; allowed: \"none\"\n");
}

static void test_missing(void **state)
{
	(void)state;
	check_error("standby = \"hot\";\n",
		    ": node: missing; write node = \"fw1\"; with this node's own name\n"
		    ": sync.links: missing; write links = ( { interface = \"eth1\"; local = "
		    "\"192.168.100.1\"; "
		    "peers = [ \"192.168.100.2\" ]; } );\n"
		    ": sync: neither key_files nor seal is given; make a key with: "
		    "ctsync keygen /etc/ctsyncd/sync.key, and write key_files = [ "
		    "\"/etc/ctsyncd/sync.key\" ]; or, to go "
		    "without encryption and authentication, seal = \"none\";\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = (\n{ peers = [ \"192.0.2.2\" "
		    "]; } ); };",
		    ":2: sync.links[0].local: missing; write local = \"192.168.100.1\"; with an "
		    "address of this node on the link\n");
	check_error("node = \"a\"; sync = { seal = \"none\";\nkey_files = [ \"/k\" ];\nlinks = ( { "
		    "local = \"192.0.2.1\"; "
		    "peers = [ \"192.0.2.2\" ]; } ); };",
		    ":1: sync.seal: is there together with key_files; allowed: one of them\n");
}

#define LINK(text) "node = \"a\"; sync = { seal = \"none\"; links = ( {\n" text "\n} ); };"

static void test_key_paths(void **state)
{
	(void)state;
	check_error("node = \"a\"; sync = { links = ( { local = \"192.0.2.1\"; peers = [ "
		    "\"192.0.2.2\" ]; } );\n"
		    "key_files = [ \"sync.key\" ]; };",
		    ":2: sync.key_files: \"sync.key\"; allowed: a path that starts with /\n");
	check_error("node = \"a\"; sync = { links = ( { local = \"192.0.2.1\"; peers = [ "
		    "\"192.0.2.2\" ]; } );\n"
		    "key_files = [ \"/k\", \"/k\" ]; };",
		    ":2: sync.key_files: names one file twice\n");
	check_error("node = \"a\"; sync = { links = ( { local = \"192.0.2.1\"; peers = [ "
		    "\"192.0.2.2\" ]; } );\n"
		    "key_files = [ ]; };",
		    ":2: sync.key_files: wrong type; allowed: an array of 1 to 2 strings\n");
}

static void test_links(void **state)
{
	(void)state;
	check_error(LINK("local = \"192.0.2.300\"; peers = [ \"192.0.2.2\" ];"),
		    ":2: sync.links[0].local: \"192.0.2.300\" is no address; allowed: IPv4 or "
		    "IPv6, no name, no %scope\n");
	check_error(LINK("local = \"192.0.2.1\";\npeers = [ \"2001:db8::1\" ];"),
		    ":3: sync.links[0].peers: \"2001:db8::1\" and local are not of one family\n");
	check_error(LINK("local = \"192.0.2.1\"; peers = [ \"192.0.2.1\" ];"),
		    ":2: sync.links[0].peers: \"192.0.2.1\" is the local address\n");
	check_error(LINK("local = \"192.0.2.1\"; peers = [ \"192.0.2.2\", \"192.0.2.2\" ];"),
		    ":2: sync.links[0]: peers: \"192.0.2.2\" is there twice\n");
	check_error(LINK("local = \"192.0.2.1\"; peers = [ \"225.0.0.1\" ];"),
		    ":2: sync.links[0].peers: \"225.0.0.1\" is a multicast address\n");
	check_error(LINK("local = \"192.0.2.1\"; group = \"192.0.2.2\";"),
		    ":2: sync.links[0].group: \"192.0.2.2\" is no multicast address\n");
	check_error(LINK("local = \"0.0.0.0\"; peers = [ \"192.0.2.2\" ];"),
		    ":2: sync.links[0].local: \"0.0.0.0\" names no host\n");
	check_error(LINK("local = \"192.0.2.1\"; peers = [ \"192.0.2.2\" ];\nttl = 2;"),
		    ":3: sync.links[0]: ttl is for a link with group\n");
	check_error(
		LINK("local = \"192.0.2.1\"; peers = [ \"192.0.2.2\" ];\ngroup = \"225.0.0.50\";"),
		":3: sync.links[0]: has both peers and group; allowed: one of them\n");
	check_error(LINK("local = \"fe80::1\"; peers = [ \"fe80::2\" ];"),
		    ":1: sync.links[0]: a link-local address or an IPv6 group needs the interface; "
		    "write interface = \"eth1\";\n");
	check_error("node = \"a\"; sync = { seal = \"none\"; links = ( { local = \"192.0.2.1\"; "
		    "peers = [ \"192.0.2.2\" ]; },\n"
		    "{ local = \"192.0.2.1\"; peers = [ \"192.0.2.3\" ]; } ); };",
		    ":2: sync.links[1]: has interface, local and port of sync.links[0]\n");
	check_error(LINK("interface = \"a-name-that-is-too-long\"; local = \"192.0.2.1\"; peers = "
			 "[ \"192.0.2.2\" ];"),
		    ":2: sync.links[0].interface: has 23 characters; allowed: 0 to 15\n");
}

static void test_files(void **state)
{
	struct conf conf;
	char *said = NULL;
	size_t len;
	FILE *err = open_memstream(&said, &len);

	(void)state;
	assert_int_equal(conf_load(&conf, "/nonexistent/x.conf", err), -EX_CONFIG);
	assert_int_equal(conf_load(&conf, "/", err), -EX_CONFIG);
	assert_int_equal(fclose(err), 0);
	assert_string_equal(said, "/nonexistent/x.conf: cannot read: No such file or directory\n"
				  "/: cannot read: Is a directory\n");
	free(said);
	check_error("\nnode = = 3;\n", ":2: syntax error\n");
	check_error("node = \"fw1\";\nnode = \"fw2\";\n", ":2: duplicate setting name\n");
}

static void check_round_trip(const char *text)
{
	struct conf a, b;
	char *printed = NULL, restart[256];
	size_t len;
	FILE *out = open_memstream(&printed, &len);

	check_good(text, &a);
	conf_print(&a, out);
	assert_int_equal(fclose(out), 0);
	check_good(printed, &b);
	memset(a.key_at, 0, sizeof(a.key_at)); /* the line differs, the keys do not */
	memset(b.key_at, 0, sizeof(b.key_at));
	assert_memory_equal(&a, &b, sizeof(a));
	conf_restart_keys(&a, &b, restart, sizeof(restart));
	assert_string_equal(restart, "");
	free(printed);
}

static void test_round_trip(void **state)
{
	(void)state;
	check_round_trip(contract);
	check_round_trip(GOOD);
	check_round_trip("node = \"fw-2.a_b\"; standby = \"cache\"; user = \"o\\\"dd\\\\\\x01\"; "
			 "sync = { key_files = [ \"/a\", \"/b\" ];"
			 "heartbeat_ms = 50; dead_ms = 300; socket_buffer = 65536; links = ("
			 "{ interface = \"s0\"; local = \"fe80::1\"; peers = [ \"fe80::2\", "
			 "\"fe80::3\" ]; port = 1; },"
			 "{ interface = \"s1\"; local = \"192.0.2.1\"; group = \"225.0.0.50\"; ttl "
			 "= 255; } ); };"
			 "kernel = { event_buffer = 65536; reliable_events = true; };"
			 "state = { hold_s = 10; orphan_s = 0; forced_wait_ms = 0; unclaimed_ms = "
			 "1000; flows_max = 1024;"
			 " tombstones_max = 1024; scrub_s = 5; walk_rate = 100; };"
			 "control = { socket = \"/x\"; group = \"adm\"; read_all = false; };"
			 "record = { size_mb = 64; };"
			 "log = { target = \"stderr\"; level = \"debug\"; };");
}

#define RULE(keys) GOOD "policy = (\n{ class = \"never\"; " keys " } );\n"

static void test_policy(void **state)
{
	static struct conf a, b;
	char restart[256];

	(void)state;
	check_round_trip(
		GOOD
		"policy = ( { class = \"always\"; source = [ \"10.0.0.0/8\", "
		"\"2001:db8::1\" ]; zone = 0; }, { class = \"assured\"; protocol = "
		"\"tcp\"; port = \"80-443\"; mark = \"0x10/0xf0\"; }, { class = "
		"\"never\"; protocol = \"253\"; destination = [ \"0.0.0.0/0\" ]; "
		"address = [ \"::/0\", \"10.0.0.0/8\" ]; mark = \"7\"; }, { class = \"never\"; "
		"tcp_states = [ \"TIME_WAIT\", \"CLOSE\" ]; port = \"53\"; } );");
	check_good(RULE("zone = 7; address = [ \"10.1.0.0/16\" ];"), &a);
	assert_int_equal(a.policy.rule_count, 1);
	assert_int_equal(a.policy.rule[0].class, POLICY_NEVER);
	assert_true(a.policy.rule[0].has_zone && !a.policy.rule[0].has_proto);
	assert_int_equal(a.policy.rule[0].sides, 1 << POLICY_EITHER);
	assert_int_equal(a.policy.prefix[0].len, 16);
	check_good(GOOD, &b);
	conf_restart_keys(&a, &b, restart, sizeof(restart));
	assert_string_equal(restart, "");
	conf_copy_live(&a, &b);
	assert_int_equal(a.policy.rule_count, 0);
}

static void test_policy_errors(void **state)
{
	(void)state;
	check_error(GOOD "policy = 7;\n",
		    ":2: policy: wrong type; allowed: a list of 0 to 64 groups\n");
	check_error(GOOD "policy = ( { zone = 1; } );\n",
		    ":2: policy[0].class: missing; write class = \"never\"; with what becomes of "
		    "the flows that match\n");
	check_error(RULE("protocol = \"ip\";"),
		    ":3: policy[0].protocol: \"ip\"; allowed: tcp, udp, udplite, sctp, dccp, icmp, "
		    "icmpv6, gre, esp, ah, \"0\" to \"255\"\n");
	check_error(
		RULE("protocol = \"icmp\"; port = \"7\";"),
		":3: policy[0].port: \"7\"; allowed: only with protocol tcp, udp, udplite, sctp, "
		"or none\n");
	check_error(RULE("port = \"9-7\";"),
		    ":3: policy[0].port: \"9-7\"; allowed: a port, \"53\", or a range, "
		    "\"6000-6100\", up to 65535\n");
	check_error(RULE("mark = \"0x11/0x10\";"),
		    ":3: policy[0].mark: \"0x11/0x10\"; allowed: a mark within its mask; this one "
		    "never matches\n");
	check_error(
		RULE("source = [ \"10.0.0.1/8\" ];"),
		":3: policy[0].source: \"10.0.0.1/8\"; allowed: no bits behind the length of the "
		"prefix\n");
	check_error(RULE("source = [ \"10.0.0.0/8\" ]; destination = [ \"fd00::/8\" ];"),
		    ":3: policy[0].destination: \"fd00::/8\"; allowed: the family of the rule's "
		    "other addresses; this one never matches\n");
	check_error(RULE("address = [ \"10.0.0.0/33\" ];"),
		    ":3: policy[0].address: \"10.0.0.0/33\"; allowed: a length of 0 to 32\n");
	check_error(RULE("destination = [ \"fw1\" ];"),
		    ":3: policy[0].destination: \"fw1\"; allowed: an address or prefix, "
		    "\"10.0.0.0/8\" or \"2001:db8::/32\"\n");
	check_error(RULE("tcp_states = [ \"NONE\" ];"),
		    ":3: policy[0].tcp_states: \"NONE\"; allowed: SYN_SENT, SYN_RECV, ESTABLISHED, "
		    "FIN_WAIT, CLOSE_WAIT, LAST_ACK, TIME_WAIT, CLOSE, SYN_SENT2\n");
	check_error(RULE("protocol = \"udp\"; tcp_states = [ \"CLOSE\" ];"),
		    ":3: policy[0].tcp_states: \"udp\"; allowed: protocol = \"tcp\", or none\n");
}

static void test_reload(void **state)
{
	struct conf a, b;
	char restart[256];

	(void)state;
	check_good(GOOD, &a);
	check_good("node = \"fw2\"; standby = \"cache\"; sync = { key_files = [ \"/k\" ]; "
		   "heartbeat_ms = 100;"
		   "links = ( { local = \"192.0.2.1\"; peers = [ \"192.0.2.3\" ]; } ); };"
		   "state = { hold_s = 60; }; control = { group = \"adm\"; };",
		   &b);
	conf_restart_keys(&a, &b, restart, sizeof(restart));
	assert_string_equal(restart, "node, standby, sync.seal, sync.links");
	conf_copy_live(&a, &b);
	assert_string_equal(a.node, "fw1");
	assert_int_equal(a.heartbeat_ms, 100);
	assert_int_equal(a.hold_s, 60);
	assert_string_equal(a.group, "adm");
	assert_int_equal(a.key_count, 0); /* sealing is not switched on by a reload */
}

static void check_key(const char *bytes, size_t len, mode_t mode, int want, const char *want_said)
{
	struct conf conf = { .sealed = true, .key_count = 1 };
	uint8_t keys[ENGINE_KEYS_MAX][32];
	char *said = NULL, *at;
	size_t said_len;
	FILE *err = open_memstream(&said, &said_len);

	write_file(path, bytes, len);
	assert_int_equal(chmod(path, mode), 0);
	(void)snprintf(conf.key_files[0], sizeof(conf.key_files[0]), "%s", path);
	assert_int_equal(conf_keys(&conf, keys, err), want);
	assert_int_equal(fclose(err), 0);
	while ((at = strstr(said, path)))
		memmove(at, at + strlen(path), strlen(at + strlen(path)) + 1);
	if (want)
		assert_int_equal(strncmp(said, "sync.key_files: ", 16), 0);
	assert_string_equal(said + (want ? 16 : 0), want_said);
	if (!want)
		assert_memory_equal(keys[0], "0123456789abcdef0123456789ABCDEF", 32);
	free(said);
}

#define RAW "0123456789abcdef0123456789ABCDEF"
#define HEX "3031323334353637383961626364656630313233343536373839414243444546"
#define ZEROS "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0"
#define MAKE "; make one with: ctsync keygen FILE\n"
#define OTHERS(mode)                                                                               \
	": others may read or change it (mode " mode                                               \
	"); if they did, make one with: ctsync keygen FILE; if not: chmod 0640 \n"
#define NO_KEY " bytes are no key; allowed: 32 bytes or 64 hexadecimal digits" MAKE

static void test_keys(void **state)
{
	struct conf conf = { .sealed = true, .key_count = 1, .key_files = { "/nonexistent/key" } };
	uint8_t keys[ENGINE_KEYS_MAX][32];
	char *said = NULL;
	size_t len;
	FILE *err = open_memstream(&said, &len);

	(void)state;
	check_key(RAW, 32, 0640, 0, "");
	check_key(HEX, 64, 0600, 0, "");
	check_key(HEX "\n", 65, 0600, 0, "");
	check_key(RAW, 32, 0400, 0, "");
	check_key(RAW, 32, 0644, -EPERM, OTHERS("0644"));
	check_key(RAW, 32, 0602, -EPERM, OTHERS("0602"));
	check_key(RAW, 32, 0660, -EPERM, OTHERS("0660"));
	check_key(RAW, 31, 0600, -EINVAL, ": 31" NO_KEY);
	check_key("", 0, 0600, -EINVAL, ": 0" NO_KEY);
	check_key(HEX "0", 65, 0600, -EINVAL, ": 65" NO_KEY);
	check_key("x" HEX, 64, 0600, -EINVAL, ": 64" NO_KEY);
	check_key(ZEROS, 32, 0600, -EINVAL, ": zeros alone are no key" MAKE);
	check_key(HEX HEX, 128, 0600, -EINVAL, ": more than 65" NO_KEY);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(conf_keys(&conf, keys, err), -ENOENT);
	assert_int_equal(fclose(err), 0);
	assert_string_equal(
		said, "sync.key_files: /nonexistent/key: cannot open: No such file or directory; "
		      "make one with: ctsync keygen /nonexistent/key\n");
	free(said);
}

/* A file of another user, whatever its mode, or that another group may read; of the user that the
 * daemon becomes, and of its group, it is good. */
static void test_key_owner(void **state)
{
	struct conf conf = { .sealed = true, .key_count = 1, .user = "nobody" };
	uint8_t keys[ENGINE_KEYS_MAX][32];
	char *said = NULL;
	size_t len;
	FILE *err = open_memstream(&said, &len);
	const struct passwd *pw = getpwnam(conf.user);

	(void)state;
	if (geteuid() != 0 || !pw)
		skip();
	write_file(path, RAW, 32);
	(void)snprintf(conf.key_files[0], sizeof(conf.key_files[0]), "%s", path);
	assert_int_equal(chmod(path, 0400), 0);
	assert_int_equal(chown(path, pw->pw_uid, (gid_t)-1), 0);
	assert_int_equal(conf_keys(&conf, keys, err), 0);
	assert_int_equal(chown(path, pw->pw_uid - 1, (gid_t)-1), 0);
	assert_int_equal(conf_keys(&conf, keys, err), -EPERM);
	assert_int_equal(chown(path, 0, pw->pw_gid), 0);
	assert_int_equal(chmod(path, 0640), 0);
	assert_int_equal(conf_keys(&conf, keys, err), 0);
	assert_int_equal(chown(path, 0, pw->pw_gid - 1), 0);
	assert_int_equal(conf_keys(&conf, keys, err), -EPERM);
	assert_int_equal(chmod(path, 0600), 0);
	assert_int_equal(conf_keys(&conf, keys, err), 0);
	assert_int_equal(chown(path, 0, 0), 0);
	assert_int_equal(fclose(err), 0);
	assert_non_null(strstr(said, ", who may change it; allowed: root or the daemon's user"));
	assert_non_null(strstr(said, "may read it; allowed: the group of the daemon's user"));
	free(said);
}

/* ---- what the tree ships ---- */

static char *slurp_source(const char *name)
{
	const char *src = getenv("CTSYNCD_SRC");
	char file[512];
	char *buf = calloc(1, 65536);
	FILE *f;

	(void)snprintf(file, sizeof(file), "%s/%s", src ? src : ".", name);
	f = fopen(file, "r");
	if (!f)
		fail_msg("%s: %s (is CTSYNCD_SRC set?)", file, strerror(errno));
	assert_non_null(buf);
	assert_true(fread(buf, 1, 65535, f) > 0);
	(void)fclose(f);
	return buf;
}

static void test_sample(void **state)
{
	struct conf c;
	char *text = slurp_source("conf/ctsyncd.conf");

	(void)state;
	check_good(text, &c);
	assert_true(c.sealed);
	free(text);
}

static void test_man_page(void **state)
{
	char *page = slurp_source("conf/ctsyncd.conf.5"), *keys = NULL;
	size_t len;
	FILE *out = open_memstream(&keys, &len);

	(void)state;
	conf_print_keys(out);
	assert_int_equal(fclose(out), 0);
	if (!strstr(page, keys))
		fail_msg("conf/ctsyncd.conf.5 does not hold the table of `ctsyncd --print-keys`");
	free(keys);
	free(page);
}

static int setup(void **state)
{
	(void)state;
	if (!mkdtemp(dir))
		return -1;
	(void)snprintf(path, sizeof(path), "%s/c", dir);
	return 0;
}

static int teardown(void **state)
{
	(void)state;
	(void)unlink(path);
	return rmdir(dir);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_contract),    cmocka_unit_test(test_defaults),
		cmocka_unit_test(test_multicast),   cmocka_unit_test(test_unknown_keys),
		cmocka_unit_test(test_wrong_types), cmocka_unit_test(test_ranges),
		cmocka_unit_test(test_missing),     cmocka_unit_test(test_key_paths),
		cmocka_unit_test(test_links),       cmocka_unit_test(test_files),
		cmocka_unit_test(test_round_trip),  cmocka_unit_test(test_reload),
		cmocka_unit_test(test_keys),        cmocka_unit_test(test_key_owner),
		cmocka_unit_test(test_policy),      cmocka_unit_test(test_policy_errors),
		cmocka_unit_test(test_sample),      cmocka_unit_test(test_man_page),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
