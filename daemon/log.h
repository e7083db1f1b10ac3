/* SPDX-License-Identifier: GPL-2.0-or-later */
/* Logging for operators: to stderr, with systemd's <n> level prefixes when stderr is the journal;
 * syslog(3) when asked. Repeats of one call site are limited and counted. */
#ifndef CTSYNCD_LOG_H
#define CTSYNCD_LOG_H

#include <stdbool.h>
#include <stdint.h>

enum log_level { LOG_LVL_ERR = 3, LOG_LVL_WARN = 4, LOG_LVL_INFO = 6, LOG_LVL_DEBUG = 7 };

struct log; /* the one object that many modules hold a pointer to */

/* target: "auto" (journal if stderr is it, else stderr), "stderr" or "syslog". NULL when out of
 * memory. */
struct log *log_new(const char *target, enum log_level level);
void log_free(struct log *log);
void log_set_level(struct log *log, enum log_level level);
/* "err" "warn" "info" "debug" -> level, or -EINVAL. */
int log_level_parse(const char *word);
const char *log_level_name(enum log_level level);

void log_msg(struct log *log, enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));
#define log_err(log, ...) log_msg(log, LOG_LVL_ERR, __VA_ARGS__)
#define log_warn(log, ...) log_msg(log, LOG_LVL_WARN, __VA_ARGS__)
#define log_info(log, ...) log_msg(log, LOG_LVL_INFO, __VA_ARGS__)
#define log_debug(log, ...) log_msg(log, LOG_LVL_DEBUG, __VA_ARGS__)

#endif
