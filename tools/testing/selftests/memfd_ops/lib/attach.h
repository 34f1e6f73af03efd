/* SPDX-License-Identifier: GPL-2.0 */
/*
 * For tests of devices that join and leave a space in which a memfd is followed: a file
 * of eight pages, mapped as two halves, for edu and for the devices in software.
 */
#ifndef TEST_ATTACH_H
#define TEST_ATTACH_H

#include "vfio_env.h"

#define PAGES	8		/* of the file */
#define NEVER	1000		/* no call has that many allocations */

/* Opens no device. */
int attach_env_setup(struct test_env *env, enum way way);
void attach_env_teardown(struct test_env *env);

int map_halves(struct test_env *env);

/* Let the device do DMA, after it has been opened. */
int start(struct vdev *d);

/* Have the device copy LEN bytes of the file's page @from to its page @to. */
int copies(struct vdev *d, size_t from, size_t to);

/*
 * Does the device follow the file? It copies pages that are there, in each half,
 * and nothing to where there was one, and does again when there is another.
 */
bool follows(struct test_env *env, struct vdev *d, unsigned int seed);

/* As many pages are pinned as the file has there, in however many tables they are. */
bool all_is_there(struct test_env *env, int consumers);

int set_container(struct test_env *env, struct vdev *d);
int unset_container(struct vdev *d);

/*
 * Fail each allocation of @act once, after @before. @act then returns -ENOMEM; without
 * a failure it returns @want. @fine checks what it leaves, by what it returned. Returns
 * how many failures made @act fail; or -EPROTO, after a note, if something is wrong.
 */
int sweep(struct test_env *env, const char *what, int (*before)(struct test_env *env),
	  int (*act)(struct test_env *env), int want,
	  bool (*fine)(struct test_env *env, int ret));

#define SWEEP(before, act, want, fine)	sweep(env, #act, before, act, want, fine)

#endif /* TEST_ATTACH_H */
