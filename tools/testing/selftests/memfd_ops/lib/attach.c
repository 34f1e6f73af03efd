// SPDX-License-Identifier: GPL-2.0
#include "attach.h"
#include "fail.h"

int attach_env_setup(struct test_env *env, enum way way)
{
	int ret;

	ret = vfio_env_setup(env, way, PAGES, NEED_EDU | NEED_NVME | NEED_SOFT);
	if (!ret)
		ret = env_add_side(env, 1, false);
	return ret ? ret : env_open_fail_nth(env);
}

void attach_env_teardown(struct test_env *env)
{
	fail_anything("1");
	vfio_env_teardown(env);
}

int map_halves(struct test_env *env)
{
	const size_t half = PAGES / 2;
	int ret;

	ret = map_pages(env, 0, half);
	return ret ? ret : map_pages(env, half, half);
}

int start(struct vdev *d)
{
	return is_soft(d) ? 0 : edu_start(d);
}

int copies(struct vdev *d, size_t from, size_t to)
{
	unsigned char data[LEN];
	int ret;

	if (is_soft(d)) {
		ret = soft_read(d, iova(from), data, LEN);
		return ret ? ret : soft_write(d, iova(to), data, LEN);
	}
	ret = edu_dma(d, iova(from), LEN, false);
	return ret ? ret : edu_dma(d, iova(to), LEN, true);
}

bool follows(struct test_env *env, struct vdev *d, unsigned int seed)
{
	const size_t to = PAGES - 1;

	fill(at(env, 0), seed);
	if (grow(env->fd, to, 1) || copies(d, 0, to) || memcmp(at(env, 0), at(env, to), LEN)) {
		note("%s does not reach a page of the file", d->address);
		return false;
	}
	mdma_expect_iommu_faults();
	if (punch(env->fd, to, 1) || copies(d, 0, to) != (is_soft(d) ? -EFAULT : 0) ||
	    in_core(at(env, to))) {
		note("%s reaches a page that has left", d->address);
		return false;
	}
	if (grow(env->fd, to, 1) || !all(at(env, to), PAGE, 0) || copies(d, 0, to) ||
	    memcmp(at(env, 0), at(env, to), LEN)) {
		note("%s does not reach a new page", d->address);
		return false;
	}
	return true;
}

bool all_is_there(struct test_env *env, int consumers)
{
	long pages = consumers ? PAGES - 2 : 0;

	return consumers_of(env->fd) == consumers && pinned() == pages &&
	       table_has(env, env->vdev, 0, PAGES, pages);
}

int set_container(struct test_env *env, struct vdev *d)
{
	return ioctl(d->group, VFIO_GROUP_SET_CONTAINER, &env->space.fd) ? -errno : 0;
}

int unset_container(struct vdev *d)
{
	return ioctl(d->group, VFIO_GROUP_UNSET_CONTAINER) ? -errno : 0;
}

static bool holds(bool condition, const char *what, int nth, const char *text)
{
	if (!condition)
		note("%s, allocation %d: %s", what, nth, text);
	return condition;
}

int sweep(struct test_env *env, const char *what, int (*before)(struct test_env *env),
	  int (*act)(struct test_env *env), int want,
	  bool (*fine)(struct test_env *env, int ret))
{
	int nth, left = 0, ret, failed = 0;
	bool ok = true;

	fail_anything("0");
	for (nth = 1; !left && ok; nth++) {
		ok = holds(nth < NEVER, what, nth, "there is no end") &&
		     holds(!before(env), what, nth, "cannot begin") &&
		     holds(fail_nth(env->fail, nth) == nth, what, nth, "cannot fail it");
		if (!ok)
			break;
		ret = act(env);
		left = fail_nth(env->fail, 0);
		if (ret != want) {
			ok = holds(!left, what, nth, "failed for another reason") &&
			     holds(ret == -ENOMEM, what, nth, "failed with another error") &&
			     holds(fine(env, ret), what, nth, "left something behind");
			failed++;
			ret = act(env);
			ok = holds(ret == want, what, nth, "fails once more") && ok;
		}
		ok = holds(left >= 0 && fine(env, ret), what, nth, "wrong afterwards") && ok;
	}
	note("%s: %d of %d failed allocations made it fail", what, failed, nth - 2);
	fail_anything("1");
	return ok ? failed : -EPROTO;
}
