// SPDX-License-Identifier: GPL-2.0
#include "compare.h"
#include "vfio_env.h"

/* At the end of the program: give the devices back to the drivers that had them. */
static void __attribute__((destructor)) give_back(void)
{
	const char *const aliases[] = { EDU_ALIAS, NVME_ALIAS };
	char address[32];
	size_t i;

	for (i = 0; i < 2; i++)
		if (!pci_find(aliases[i], address, sizeof(address)))
			pci_give_back(address);
}

static int take_edu(struct test_env *env, bool with_nvme)
{
	char text[64];
	int ret;

	env->lacks = "needs QEMU's edu behind an IOMMU";
	ret = pci_find(EDU_ALIAS, env->edu.address, sizeof(env->edu.address));
	if (ret)
		return ret;
	/* an instance that is open would have the unbinding wait */
	mdma_remove_stale();
	ret = pci_take(env->edu.address);
	/* with some IOMMUs there is a group only once a driver has asked for it */
	if (pci_link(env->edu.address, "iommu_group", text, sizeof(text)))
		return -ENODEV;
	env->lacks = NULL;
	if (ret)
		return ret;
	if (pci_find(NVME_ALIAS, env->nvme.address, sizeof(env->nvme.address))) {
		if (!with_nvme)
			return 0;
		env->lacks = "needs QEMU's NVMe controller";
		return -ENODEV;
	}
	return pci_take(env->nvme.address);
}

static int use_soft_devices(struct test_env *env)
{
	if (access(PLATFORM_DEVICES "/" DEVICE_DMA, F_OK)) {
		env->lacks = "needs a kernel with CONFIG_VFIO_MEMFD_TEST";
		return -ENODEV;
	}
	return allow_unsafe_interrupts(&env->unsafe_interrupts);
}

int vfio_env_setup(struct test_env *env, enum way way, size_t pages, int needs)
{
	int ret = env_setup_memory(env, pages);

	env->edu = (struct vdev)VDEV_INIT;
	env->nvme = (struct vdev)VDEV_INIT;
	env->dma = (struct vdev)VDEV_SOFT(DEVICE_DMA);
	env->pin = (struct vdev)VDEV_SOFT(DEVICE_PIN);
	env->space.fd = -1;
	env->side_fd = -1;
	if (!ret && needs & NEED_SOFT)
		ret = use_soft_devices(env);
	if (!ret && needs & NEED_EDU)
		ret = take_edu(env, needs & NEED_NVME);
	return ret ? ret : space_open(&env->space, way);
}

int vfio_env_setup_late(struct test_env *env, enum way way)
{
	int ret = vfio_env_setup(env, way, HUGE_PAGES, NEED_EDU);

	return ret ? ret : env_add_side(env, 2, true);
}

int vfio_env_setup_mapped(struct test_env *env, enum way way)
{
	int ret = vfio_env_setup_late(env, way);

	if (!ret)
		ret = open_edu(env);
	return ret ? ret : map_side(env);
}

void vfio_env_close(struct test_env *env)
{
	vdev_close(&env->edu);
	vdev_close(&env->nvme);
	vdev_close(&env->dma);
	vdev_close(&env->pin);
	close_fd(&env->space.fd);
}

void vfio_env_teardown(struct test_env *env)
{
	vfio_env_close(env);
	if (env->side)
		munmap(env->side, env->side_pages * PAGE);
	close_fd(&env->side_fd);
	unsafe_interrupts_as_before(env->unsafe_interrupts);
	env_teardown(env);
}

bool has_nvme(struct test_env *env)
{
	return env->nvme.address[0];
}

bool is_soft(struct vdev *d)
{
	return !strcmp(d->bus, PLATFORM_DEVICES);
}

int open_edu(struct test_env *env)
{
	int ret = vdev_open(&env->space, &env->edu);

	return ret ? ret : edu_start(&env->edu);
}

int env_add_side(struct test_env *env, size_t pages, bool memfd)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE;
	unsigned char *mem;

	if (memfd) {
		flags = MAP_SHARED;
		env->side_fd = memfd_create("side", MFD_CLOEXEC);
		if (env->side_fd < 0 || ftruncate(env->side_fd, pages * PAGE))
			return -errno;
	}
	mem = mmap(NULL, pages * PAGE, PROT_READ | PROT_WRITE, flags, env->side_fd, 0);
	if (mem == MAP_FAILED)
		return -errno;
	env->side = mem;
	env->side_pages = pages;
	return 0;
}

int map_side(struct test_env *env)
{
	const size_t size = env->side_pages * PAGE;

	if (env->side_fd < 0)
		return space_map_address(&env->space, env->side, SIDE, size);
	return space_map(&env->space, env->side_fd, 0, SIDE, size, DMA_RW);
}

__u64 iova(size_t page)
{
	return BASE + page * PAGE;
}

int map_pages(struct test_env *env, size_t first, size_t pages)
{
	return space_map(&env->space, env->fd, first * PAGE, iova(first), pages * PAGE,
			 DMA_RW);
}

__s64 unmap_pages(struct test_env *env, size_t first, size_t pages)
{
	return space_unmap(&env->space, iova(first), pages * PAGE);
}

bool device_reads(struct test_env *env, __u64 from, const unsigned char *want)
{
	unsigned char *sink = env->side + PAGE;

	memset(sink, 0x5a, PAGE);
	if (edu_dma(&env->edu, from, LEN, false) ||
	    edu_dma(&env->edu, SIDE + PAGE, LEN, true))
		return false;
	return !memcmp(sink, want, LEN);
}

int device_writes(struct test_env *env, __u64 to, unsigned int seed)
{
	fill(env->side, seed);
	return edu_dma(&env->edu, SIDE, LEN, false) || edu_dma(&env->edu, to, LEN, true);
}

bool written(const unsigned char *addr, unsigned int seed)
{
	unsigned char want[PAGE];

	fill(want, seed);
	return !memcmp(addr, want, LEN);
}

bool reached(struct test_env *env, size_t page, unsigned int seed)
{
	fill(at(env, page), seed);
	return device_reads(env, iova(page), at(env, page)) &&
	       !device_writes(env, iova(page), seed + 1) &&
	       written(at(env, page), seed + 1) &&
	       filled(env->side, seed + 1);
}

bool blocked(struct test_env *env, size_t page)
{
	long faults = mdma_iommu_faults();
	size_t had = allocated(env->fd);

	if (device_writes(env, iova(page), 250))
		return false;
	if (!mdma_iommu_faulted(faults)) {
		note("the IOMMU reports no fault");
		return false;
	}
	if (allocated(env->fd) != had || in_core(at(env, page))) {
		note("the file has got a page");
		return false;
	}
	if (grow(env->fd, page, 1) || !all(at(env, page), PAGE, 0)) {
		note("the new page is not zero");
		return false;
	}
	return !punch(env->fd, page, 1);
}

bool table_has(struct test_env *env, struct vdev *d, size_t first, size_t pages, long want)
{
	long got = vdev_reaches(d, iova(first), pages, at(env, first));

	if (got != -ENOENT && got != want)
		note("%s: the table has %ld pages rather than %ld", d->address, got, want);
	return got == -ENOENT || got == want;
}

bool nothing_mapped(struct test_env *env)
{
	return consumers_of(env->fd) <= 0 &&
	       table_has(env, &env->edu, 0, env->pages, 0);
}

bool can_fill_before_attach(struct test_env *env, struct vdev *d)
{
	struct space other = env->space;
	__u32 table;
	int ret;

	if (ioas_alloc(&other, &other.ioas) ||
	    space_map_address(&other, env->side, BASE, PAGE))
		return true;
	ret = space_alloc_table(&other, d, 0, &table);
	if (!ret)
		space_destroy(&other, table);
	space_destroy(&other, other.ioas);
	return ret != -EADDRINUSE;
}
