/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The copy of a firewall: everything is read in the namespace that is copied, then this process
 * leaves it for a new one and writes it there. Rules go by the tools that wrote them (nft, and
 * iptables in both its forms, whose tables nft lists but cannot read back). Interfaces are empty
 * ones of the same names, for rules that name them. nf_conntrack_max, the hash and a few more
 * belong to the machine and are the same anyhow.
 *
 * It fails closed: a ruleset that could not be copied whole would prove nothing.
 */
#include "scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <spawn.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "util.h"

#define SETTINGS_DIR "/proc/sys/net/netfilter"
#define MANAGED "# Warning: table "

extern char **environ;

/* Who writes a kind of rules down and who reads it back. in_use: what tells that it must be there.
 */
static const struct tool {
	const char *save[4], *load[4];
	const char *in_use;
} tools[] = {
	{ { "nft", "list", "ruleset" }, { "nft", "-f", "-" }, "" },
	{ { "iptables-nft-save" }, { "iptables-nft-restore" }, NULL },
	{ { "ip6tables-nft-save" }, { "ip6tables-nft-restore" }, NULL },
	{ { "iptables-legacy-save" },
	  { "iptables-legacy-restore" },
	  "/proc/self/net/ip_tables_names" },
	{ { "ip6tables-legacy-save" },
	  { "ip6tables-legacy-restore" },
	  "/proc/self/net/ip6_tables_names" },
};

struct setting {
	char name[64], value[64];
};

struct copy {
	char *rules[ARRAY_LEN(tools)]; /* NULL: none */
	struct if_nameindex *links;
	struct setting *settings;
	size_t setting_count;
};

static int failed(const char *what, int err)
{
	(void)fprintf(stderr, "ctsync: rehearse: %s: %s\n", what, strerror(-err));
	return -1;
}

/* Runs words with these descriptors as standard input, output and error. Returns its exit status,
 * or -errno: -ENOENT no such program. */
static int run(const char *const words[4], int in, int out, int errors)
{
	char *argv[5] = { NULL };
	posix_spawn_file_actions_t fa;
	int err, status;
	pid_t pid;

	memcpy(argv, words, 4 * sizeof(*argv)); /* it wants them without const, and leaves them */
	err = posix_spawn_file_actions_init(&fa);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, in, STDIN_FILENO);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, out, STDOUT_FILENO);
	if (err == 0)
		err = posix_spawn_file_actions_adddup2(&fa, errors, STDERR_FILENO);
	if (err == 0)
		err = posix_spawnp(&pid, words[0], &fa, NULL, argv, environ);
	(void)posix_spawn_file_actions_destroy(&fa);
	if (err != 0)
		return -err;
	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return -errno;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

/* All of fd from its start, with a NUL behind it. */
static char *slurp(int fd)
{
	off_t len = lseek(fd, 0, SEEK_END);
	char *text = len < 0 ? NULL : malloc((size_t)len + 1);
	ssize_t n;

	if (!text)
		return NULL;
	n = pread(fd, text, (size_t)len, 0);
	if (n != len) {
		free(text);
		return NULL;
	}
	text[len] = '\0';
	return text;
}

/* What a program prints, and in *said what it has to say of it; *status as run(). Both are NULL
 * when there is no memory, or nothing was run. */
static char *output_of(const char *const words[4], char **said, int *status)
{
	int fd = memfd_create("rules", MFD_CLOEXEC), errors = memfd_create("errors", MFD_CLOEXEC);
	int null = open("/dev/null", O_RDONLY | O_CLOEXEC);
	char *text = NULL;

	*status = -ENOMEM;
	*said = NULL;
	if (fd >= 0 && errors >= 0 && null >= 0) {
		*status = run(words, null, fd, errors);
		text = *status < 0 ? NULL : slurp(fd);
		*said = text ? slurp(errors) : NULL;
		if (*status >= 0 && !*said)
			*status = -ENOMEM;
	}
	if (fd >= 0)
		(void)close(fd); /* memory */
	if (errors >= 0)
		(void)close(errors); /* memory */
	if (null >= 0)
		(void)close(null);
	return text;
}

/* Gives text to a program; quiet: a failure is no error. Returns 0, its exit status, or -errno. */
static int feed(const char *const words[4], const char *text, bool quiet)
{
	int fd = memfd_create("rules", MFD_CLOEXEC), null = open("/dev/null", O_WRONLY | O_CLOEXEC);
	size_t len = strlen(text);
	int err;

	if (fd < 0 || null < 0)
		err = -errno;
	else if (write(fd, text, len) != (ssize_t)len || lseek(fd, 0, SEEK_SET) < 0)
		err = -ENOMEM;
	else
		err = run(words, fd, STDERR_FILENO, quiet ? null : STDERR_FILENO);
	if (fd >= 0)
		(void)close(fd); /* memory */
	if (null >= 0)
		(void)close(null);
	return err;
}

/* ---- Reading ---- */

/* Takes the table whose head is "table FAMILY NAME {" out of rules. Returns whether it was there.
 */
static bool cut_table(char *rules, const char *head)
{
	size_t len = strlen(head);
	char *at, *end;

	for (at = strstr(rules, head); at; at = strstr(at + len, head)) {
		if (at != rules && at[-1] != '\n')
			continue;
		end = strstr(at, "\n}\n");
		end = end ? end + 3 : at + strlen(at);
		memmove(at, end, strlen(end) + 1);
		return true;
	}
	return false;
}

/* Takes the tables that iptables-nft keeps out of what nft lists: it prints them, but cannot read
 * all of it back. Which they are it says beside the list, or in it (by its version). Those of other
 * families stay. Returns whether there are any. */
static bool cut_managed(char *rules, const char *said)
{
	char family[8], table[64], head[96];
	bool any = false;
	const char *at;

	for (at = strstr(said, MANAGED); at; at = strstr(at + 1, MANAGED)) {
		if ((at != said && at[-1] != '\n') ||
		    sscanf(at, MANAGED "%7s %63s is managed by iptables-nft", family, table) != 2 ||
		    (strcmp(family, "ip") != 0 && strcmp(family, "ip6") != 0))
			continue;
		(void)snprintf(head, sizeof(head), "table %s %s {", family, table);
		any = cut_table(rules, head) || any;
	}
	return any;
}

static bool has_text(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	char c;
	bool any = fd >= 0 && read(fd, &c, 1) == 1;

	if (fd >= 0)
		(void)close(fd); /* was only read */
	return any;
}

static void tell_unread(const struct tool *t, const char *said, int status)
{
	if (status == -ENOENT)
		(void)fprintf(stderr,
			      "ctsync: rehearse: %s is not there, and rules of its kind may be: "
			      "install it (nftables, iptables)\n",
			      t->save[0]);
	else if (status < 0)
		(void)failed(t->save[0], status);
	else
		(void)fprintf(stderr, "%sctsync: rehearse: %s ended with %d\n", said, t->save[0],
			      status);
}

static int read_rules(struct copy *c)
{
	bool managed = false;
	char *said;

	for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
		const struct tool *t = &tools[i];
		bool needed = t->in_use ? !*t->in_use || has_text(t->in_use) : managed;
		int status;

		if (!needed)
			continue;
		c->rules[i] = output_of(t->save, &said, &status);
		if (status == 0 && i == 0)
			managed = cut_managed(c->rules[i], said) ||
				  cut_managed(c->rules[i], c->rules[i]);
		if (status != 0)
			tell_unread(t, said, status);
		free(said);
		if (status != 0)
			return -1;
	}
	return 0;
}

/* One line of a file, its newline cut. False if it cannot be read. */
static bool read_setting(int dir, const char *name, struct setting *s)
{
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return false;
	n = read(fd, s->value, sizeof(s->value) - 1);
	(void)close(fd); /* was only read */
	if (n <= 0 || strlen(name) >= sizeof(s->name))
		return false;
	s->value[n] = '\0';
	s->value[strcspn(s->value, "\n")] = '\0';
	(void)snprintf(s->name, sizeof(s->name), "%s", name);
	return true;
}

static int read_settings(struct copy *c)
{
	DIR *dir = opendir(SETTINGS_DIR);
	struct dirent *d;

	if (!dir)
		return failed(SETTINGS_DIR ": is nf_conntrack loaded?", -errno);
	while ((d = readdir(dir))) {
		struct setting *more =
			reallocarray(c->settings, c->setting_count + 1, sizeof(*more));

		if (!more) {
			(void)closedir(dir);
			return failed("settings", -ENOMEM);
		}
		c->settings = more;
		if (d->d_type == DT_REG &&
		    read_setting(dirfd(dir), d->d_name, &more[c->setting_count]))
			c->setting_count++;
	}
	(void)closedir(dir);
	return 0;
}

/* ---- Writing ---- */

/* Those of the machine can only be written in its first namespace, and counts nowhere. */
static int write_settings(const struct copy *c)
{
	for (size_t i = 0; i < c->setting_count; i++) {
		const struct setting *s = &c->settings[i];
		char path[sizeof(SETTINGS_DIR) + sizeof(s->name)];
		struct setting now;
		int fd;

		(void)snprintf(path, sizeof(path), SETTINGS_DIR "/%s", s->name);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		if (read_setting(AT_FDCWD, path, &now) && strcmp(now.value, s->value) != 0 &&
		    write(fd, s->value, strlen(s->value)) < 0 && errno != EINVAL &&
		    errno != EPERM) {
			int err = -errno;

			(void)close(fd);
			return failed(path, err);
		}
		(void)close(fd);
	}
	return 0;
}

/* For ip -batch: interfaces of this kind. NULL when out of memory. */
static char *links_text(const struct copy *c, const char *kind)
{
	char *text = NULL;
	size_t len;
	FILE *f = open_memstream(&text, &len);

	if (!f)
		return NULL;
	(void)fprintf(f, "link set lo up\n");
	/* A new namespace has some at once: lo, and those that tunnels bring. */
	for (struct if_nameindex *i = c->links; i->if_index; i++)
		if (if_nametoindex(i->if_name) == 0)
			(void)fprintf(f, "link add name %s type %s\n", i->if_name, kind);
	if (fclose(f) == 0)
		return text;
	free(text);
	return NULL;
}

/* A kernel need not have dummies. */
static int write_links(const struct copy *c)
{
	static const char *const ip[4] = { "ip", "-batch", "-" };
	static const char *const kind[] = { "dummy", "bridge" };
	int err = -ENOMEM;

	for (size_t i = 0; i < ARRAY_LEN(kind); i++) {
		char *text = links_text(c, kind[i]);

		if (text)
			err = feed(ip, text, i + 1 < ARRAY_LEN(kind));
		free(text);
		if (!err)
			return 0;
	}
	(void)fprintf(stderr, "ctsync: rehearse: the interfaces could not be copied\n");
	return -1;
}

static int write_rules(const struct copy *c)
{
	for (size_t i = 0; i < ARRAY_LEN(tools); i++) {
		if (!c->rules[i] || feed(tools[i].load, c->rules[i], false) == 0)
			continue;
		(void)fprintf(stderr,
			      "ctsync: rehearse: %s does not take the rules that %s wrote\n",
			      tools[i].load[0], tools[i].save[0]);
		return -1;
	}
	return 0;
}

static void copy_free(struct copy *c)
{
	for (size_t i = 0; i < ARRAY_LEN(tools); i++)
		free(c->rules[i]);
	if (c->links)
		if_freenameindex(c->links);
	free(c->settings);
}

static bool has_nat_chain(const struct copy *c)
{
	for (size_t i = 0; i < ARRAY_LEN(tools); i++)
		if (c->rules[i] && strstr(c->rules[i], i == 0 ? "type nat hook" : "*nat\n"))
			return true;
	return false;
}

static int join(pid_t pid)
{
	char path[64];
	int fd;

	(void)snprintf(path, sizeof(path), "/proc/%d/ns/net", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || setns(fd, CLONE_NEWNET) < 0) {
		int err = -errno;

		if (fd >= 0)
			(void)close(fd);
		return failed("the daemon's namespace: be root", err);
	}
	(void)close(fd);
	return 0;
}

int scratch_enter(pid_t pid, bool *has_nat)
{
	struct copy c = { .links = NULL };
	int err = join(pid);

	if (!err)
		err = read_rules(&c);
	if (!err && !(c.links = if_nameindex()))
		err = failed("the interfaces", -errno);
	if (!err)
		err = read_settings(&c);
	if (!err && unshare(CLONE_NEWNET) < 0)
		err = failed("a namespace to try it in: be root", -errno);
	if (!err)
		err = write_links(&c);
	if (!err)
		err = write_settings(&c);
	if (!err)
		err = write_rules(&c);
	*has_nat = has_nat_chain(&c);
	copy_free(&c);
	return err;
}
