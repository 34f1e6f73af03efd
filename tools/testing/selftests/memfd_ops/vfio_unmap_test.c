// SPDX-License-Identifier: GPL-2.0
/*
 * IOMMU_IOAS_UNMAP takes a while for a range with many pages, and the range may have gaps.
 * A mapping that gets IOVAs of a gap from the kernel meanwhile is not part of the unmap.
 */
#include "lib/call.h"
#include "lib/harness.h"
#include "lib/vfio_env.h"

/*
 * The range to unmap: a page of another file, many pages of the file, a gap, and a page
 * of the file again.
 */
#define MANY	8192
#define GAP	16
#define SIZE	((1 + MANY + GAP + 1) * PAGE)
#define GAP_AT	(BASE + (1 + MANY) * PAGE)

/* How many mappings are made while an unmap runs */
#define ENOUGH	5

FIXTURE(unmap)
{
	struct test_env env;
	int other;		/* the file whose page is the first */
};

FIXTURE_VARIANT(unmap)
{
	bool follow;
};

FIXTURE_VARIANT_ADD(unmap, followed) { .follow = true };
FIXTURE_VARIANT_ADD(unmap, by_address) { .follow = false };

FIXTURE_SETUP(unmap)
{
	struct iommu_iova_range gap = {
		.start = GAP_AT,
		.last = GAP_AT + GAP * PAGE - 1,
	};
	struct iommu_ioas_allow_iovas allow = {
		.size = sizeof(allow),
		.num_iovas = 1,
		.allowed_iovas = (uintptr_t)&gap,
	};
	struct test_env *env = &self->env;
	int ret = vfio_env_setup(env, IOMMUFD, MANY, NEED_EDU);

	if (env->lacks)
		SKIP(return, "%s", env->lacks);
	ASSERT_EQ(0, ret);
	ASSERT_EQ(0, env_add_side(env, 1, false));
	ASSERT_EQ(0, open_edu(env));
	allow.ioas_id = env->space.ioas;
	ASSERT_EQ(0, ioctl(env->space.fd, IOMMU_IOAS_ALLOW_IOVAS, &allow));
	ASSERT_EQ(0, grow(env->fd, 0, MANY));
	self->other = memfd_create("other", MFD_CLOEXEC);
	ASSERT_LE(0, self->other);
	ASSERT_EQ(0, ftruncate(self->other, PAGE));
}

FIXTURE_TEARDOWN(unmap)
{
	vfio_env_teardown(&self->env);
	close(self->other);
}

static int map_range(struct test_env *env, int other)
{
	struct space *s = &env->space;
	int ret;

	ret = space_map(s, other, 0, BASE, PAGE, DMA_RW);
	if (!ret)
		ret = space_map(s, env->fd, 0, BASE + PAGE, MANY * PAGE, DMA_RW);
	if (!ret)
		ret = space_map(s, env->fd, 0, BASE + SIZE - PAGE, PAGE, DMA_RW);
	return ret;
}

/* Map a page where the kernel wants. */
static int map_in_gap(struct test_env *env, bool follow, __u64 *iova)
{
	struct iommu_ioas_map_file file = ioas_request(&env->space, env->fd, 0, 0, PAGE,
						       DMA_RW);
	struct iommu_ioas_map map = {
		.size = sizeof(map),
		.flags = ioas_flags(DMA_RW) & ~IOMMU_IOAS_MAP_FIXED_IOVA,
		.ioas_id = env->space.ioas,
		.user_va = (uintptr_t)env->side,
		.length = PAGE,
	};
	int ret;

	file.flags &= ~IOMMU_IOAS_MAP_FIXED_IOVA;
	ret = follow ? ioctl(env->space.fd, IOMMU_IOAS_MAP_FILE, &file) :
		       ioctl(env->space.fd, IOMMU_IOAS_MAP, &map);
	*iova = follow ? file.iova : map.iova;
	return errno_of(ret);
}

static __s64 unmap_range(void *arg)
{
	return space_unmap(arg, BASE, SIZE);
}

TEST_F(unmap, leaves_later_mappings)
{
	struct test_env *env = &self->env;
	int made = 0;
	__u64 iova;

	while (made < ENOUGH) {
		struct call unmap = { unmap_range, &env->space };

		ASSERT_EQ(0, map_range(env, self->other));
		ASSERT_EQ(0, call_begin(&unmap));
		/* the first page has been unmapped: the call is under way */
		while (consumers_of(self->other))
			;
		ASSERT_EQ(0, map_in_gap(env, variant->follow, &iova));
		if (!call_has_ended(&unmap))
			made++;
		EXPECT_EQ(SIZE - GAP * PAGE, call_end(&unmap));
		EXPECT_TRUE(iova >= GAP_AT && iova < GAP_AT + GAP * PAGE);
		ASSERT_EQ(PAGE, space_unmap(&env->space, iova, PAGE));
	}
}

TEST_HARNESS_MAIN
