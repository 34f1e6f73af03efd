/* SPDX-License-Identifier: GPL-2.0 */
/* The names that kvm*.c use until they are adapted. */
#ifndef TEST_UTIL_H
#define TEST_UTIL_H

#include <dirent.h>
#include <glob.h>
#include <sched.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/mount.h>
#include <sys/swap.h>
#include <sys/sysmacros.h>

#include "lib/fail.h"
#include "lib/iova_table.h"
#include "lib/test_env.h"

#define rig test_env
#define LONGEST 150
#define MDMA_PATIENCE MDMA_TIMEOUT
#define mdma_write_file write_file
#define mdma_read_file read_line
#define mdma_close_fd close_fd
#define mdma_mem_free mem_free_kib
#define rig_setup env_setup
#define rig_memory env_setup_memory
#define rig_teardown env_teardown
#define rig_stay_on_one_cpu stay_on_one_cpu
#define rig_map env_map
#define rig_copy env_copy
#define rig_reachable env_reachable
#define rig_differences env_differences
#define rig_thp env_thp
#define rig_swap env_swap
#define rig_no_readahead env_no_readahead
#define rig_keep_followed env_keep_followed

#endif
