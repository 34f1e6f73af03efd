// SPDX-License-Identifier: GPL-2.0
/* What there is to call, and with which arguments. */
#include <assert.h>
#include <ctype.h>
#include <err.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/syscall.h>

#include "fuzz.h"

#define OF(name, draw, ...)						\
	{ name, draw, .list = (const __u64[]){ __VA_ARGS__ },		\
	  .nr = sizeof((const __u64[]){ __VA_ARGS__ }) / sizeof(__u64) }
#define LIST(name, ...)		OF(name, ONE_OF, __VA_ARGS__)
#define FLAGS(name, ...)	OF(name, FLAGS_OF, __VA_ARGS__)

#define MAP_RW		(DMA_RW | VFIO_DMA_MAP_FLAG_MEMFD)
#define IOAS_RW		(IOMMU_IOAS_MAP_READABLE | IOMMU_IOAS_MAP_WRITEABLE)
#define IOAS_FIXED	(IOAS_RW | IOMMU_IOAS_MAP_FIXED_IOVA)

#define STRING(x)	((uintptr_t)(x))

static const struct value values[] = {
	/* descriptors */
	{ "memfd", FD, KIND(MEMFD) },
	{ "container", FD, KIND(CONTAINER) },
	{ "iommufd", FD, KIND(USER_IOMMU) },
	{ "space", FD, KIND(CONTAINER) | KIND(USER_IOMMU) },
	{ "group", FD, KIND(GROUP) },
	{ "cdev", FD, KIND(CDEV) | KIND(SOFT_CDEV) },
	{ "device", FD, KIND(CDEV) | KIND(SOFT_CDEV) | KIND(DEVICE) | KIND(SOFT_DEVICE) },
	{ "soft", FD, KIND(SOFT_CDEV) | KIND(SOFT_DEVICE) },
	{ "eventfd", FD, KIND(EVENTFD) },
	{ "uffd", FD, KIND(UFFD) },
	{ "mdma", FD, KIND(MDMA) },
	{ "kvm", FD, KIND(KVM) },
	{ "vm", FD, KIND(RAW_VM) | KIND(VM) },
	{ "vcpu", FD, KIND(RAW_VCPU) | KIND(VCPU) },
	{ "shown", FD, KIND(SHOWN) },
	{ "knob", FD, KIND(KNOB) },

	/* places and lengths */
	{ "offset", OFFSET, .tweak = true },
	{ "length", LENGTH, .tweak = true },
	{ "size", SIZE, .tweak = true },
	{ "iova", IOVA, .tweak = true, .far = true },
	{ "other_iova", OTHER_IOVA, .tweak = true, .far = true },
	{ "mdma_iova", MDMA_IOVA, .tweak = true, .far = true },
	{ "dma", DMA, .tweak = true, .far = true },
	{ "area", AREA },
	{ "address", ADDRESS, .tweak = true },
	{ "scratch", SCRATCH },
	{ "memslot", MEMSLOT },
	{ "memslot_size", MEMSLOT_SIZE, .tweak = true },
	{ "gpa", GPA, .tweak = true, .far = true },
	{ "any_gpa", ANY_GPA, .tweak = true, .far = true, .nr = MEMSLOTS + 1 },
	{ "part_gpa", ANY_GPA, .tweak = true, .far = true, .nr = MEMSLOTS },
	LIST("count", 64, 8, PAGE, 3 * PAGE, 16 * PAGE),
	LIST("pages", PAGE, 2 * PAGE),
	LIST("dma_count", 8, 64, PAGE, 2 * PAGE),

	{ "argsz", ARGSZ },
	{ "id", ID },
	{ "reserved", ZERO, .tweak = true },
	/* objects of an iommufd, by the numbers that they have if they come in this order */
	LIST("dev", 2, 3, 4, 5),
	LIST("table", 4, 3, 5, 6),
	LIST("node", 0, 1),

	/* strings */
	LIST("container_path", STRING("/dev/vfio/vfio")),
	LIST("iommufd_path", STRING("/dev/iommu")),
	LIST("show_path", STRING("/sys/kernel/debug/memfd_ops_mapped"),
	     STRING("/sys/kernel/debug/memfd_ops"), STRING("/proc/self/smaps"),
	     STRING("/proc/self/fdinfo/20"), STRING("/proc/self/fdinfo/25")),
	LIST("group_path", STRING(devices[1].group), STRING(devices[2].group)),
	LIST("soft_group_path", STRING(devices[0].group)),
	LIST("cdev_path", STRING(devices[1].cdev), STRING(devices[2].cdev)),
	LIST("soft_cdev_path", STRING(devices[0].cdev)),
	LIST("name", STRING(devices[1].name), STRING(devices[2].name)),
	LIST("soft_name", STRING(devices[0].name)),

	/* flags */
	FLAGS("memfd_flags", MFD_CLOEXEC | MFD_ALLOW_SEALING, MFD_CLOEXEC, 0),
	FLAGS("mode", 0, FALLOC_FL_KEEP_SIZE),
	LIST("prot", PROT_READ | PROT_WRITE, PROT_READ, PROT_NONE),
	LIST("map", MAP_SHARED | MAP_FIXED, MAP_PRIVATE | MAP_FIXED),
	FLAGS("seals", F_SEAL_FUTURE_WRITE, F_SEAL_WRITE, F_SEAL_SHRINK, F_SEAL_GROW),
	LIST("limit", -1ULL, 1024 * PAGE, 64 * PAGE, 0),
	FLAGS("mv_flags", MPOL_MF_MOVE, MPOL_MF_MOVE_ALL),
	LIST("uffd_mode", UFFDIO_REGISTER_MODE_MISSING, UFFDIO_REGISTER_MODE_WP),
	LIST("type1", VFIO_TYPE1v2_IOMMU, VFIO_TYPE1_IOMMU),
	LIST("extension", VFIO_MAP_MEMFD, VFIO_TYPE1v2_IOMMU, VFIO_UNMAP_ALL),
	FLAGS("by_address", DMA_RW, DMA_R, DMA_RW | VFIO_DMA_MAP_FLAG_VADDR),
	FLAGS("by_memfd", MAP_RW, MAP_RW & ~DMA_R, MAP_RW & ~DMA_W),
	FLAGS("may_miss", 0, VFIO_DMA_MAP_MEMFD_MAY_MISS),
	FLAGS("unmap", 0, VFIO_DMA_UNMAP_FLAG_VADDR),
	LIST("unmap_all", VFIO_DMA_UNMAP_FLAG_ALL,
	     VFIO_DMA_UNMAP_FLAG_ALL | VFIO_DMA_UNMAP_FLAG_VADDR),
	FLAGS("dirty", VFIO_IOMMU_DIRTY_PAGES_FLAG_START, VFIO_IOMMU_DIRTY_PAGES_FLAG_STOP),
	FLAGS("ioas_map", IOAS_FIXED, IOAS_RW, IOAS_FIXED & ~IOMMU_IOAS_MAP_WRITEABLE),
	FLAGS("ioas_follow", IOAS_FIXED | IOMMU_IOAS_MAP_FOLLOW, IOAS_RW | IOMMU_IOAS_MAP_FOLLOW,
	      IOAS_FIXED | IOMMU_IOAS_MAP_FOLLOW | IOMMU_IOAS_MAP_MAY_MISS),
	FLAGS("hwpt", IOMMU_HWPT_ALLOC_DIRTY_TRACKING, 0),
	LIST("track", 0, IOMMU_HWPT_DIRTY_TRACKING_ENABLE),
	LIST("option", IOMMU_OPTION_HUGE_PAGES, IOMMU_OPTION_RLIMIT_MODE),
	LIST("op", IOMMU_OPTION_OP_SET, IOMMU_OPTION_OP_GET),
	LIST("ioas_op", IOMMU_VFIO_IOAS_GET, IOMMU_VFIO_IOAS_SET, IOMMU_VFIO_IOAS_CLEAR),
	LIST("bool", 1, 0),
	FLAGS("mdma_prot", MDMA_RW, VFIO_MDMA_MAP_FLAG_READ, VFIO_MDMA_MAP_FLAG_WRITE),
	FLAGS("query", VFIO_MDMA_QUERY_FLAG_PRESENT, 0),
	LIST("register", VFIO_MDMA_REG_SRC, VFIO_MDMA_REG_DST),
	LIST("vm_type", KVM_X86_SW_PROTECTED_VM, KVM_X86_DEFAULT_VM),
	LIST("vcpu_id", 0, 1, 2),
	LIST("cap", KVM_CAP_MEMFD_SLOTS, KVM_CAP_EXIT_HYPERCALL),
	FLAGS("slot_flags", KVM_MEM_LOG_DIRTY_PAGES, 0, KVM_MEM_READONLY),
	FLAGS("private", KVM_MEM_GUEST_MEMFD, KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_KEEP_HOLES,
	      KVM_MEM_GUEST_MEMFD | KVM_MEM_MEMFD_PRIVATE_ONLY),
	FLAGS("attributes", KVM_MEMORY_ATTRIBUTE_PRIVATE, 0),
};

#define TEXT(x)		#x
#define NUMBER(x)	TEXT(x)

#define SYS(name, call, args, makes, weight)				\
	{ name, SYSCALL, SYS_ ## call, 0, NULL, args, makes, weight }
#define OPEN(path, makes)	SYS("open " #path, openat, "-100 " #path " 2 0 0 0", makes, 2)
#define MADVISE(advice, weight)						\
	{ #advice, SYSCALL, SYS_madvise, 0, NULL,			\
	  "address length " NUMBER(advice) " 0 0 0", NO_KIND, weight }
#define CTL_NAMED(name, request, type, on, args, weight)		\
	{ name, IOCTL, request, sizeof(type), on, args, NO_KIND, weight }
#define CTL(request, type, on, args, weight)				\
	CTL_NAMED(#request, request, type, on, args, weight)
#define VALUE(name, request, on, args, makes, weight)			\
	{ name, IOCTL_VALUE, request, 0, on, args, makes, weight }
#define DO(name, act, weight)						\
	{ name, SPECIAL, 0, 0, NULL, "", NO_KIND, weight, act }

struct unmap_dirty {
	struct vfio_iommu_type1_dma_unmap unmap;
	struct vfio_bitmap bitmap;
};

struct dirty_get {
	struct vfio_iommu_type1_dirty_bitmap dirty;
	struct vfio_iommu_type1_dirty_bitmap_get get;
};

/* In the order of a program: each round begins with all of them, one after the other. */
struct call calls[] = {
	SYS("memfd_create", memfd_create, "@48 memfd_flags 0 0 0 0 0x7a7a7566", MEMFD, 2),
	SYS("ftruncate", ftruncate, "memfd size 0 0 0 0", NO_KIND, 8),
	SYS("mmap", mmap, "area size prot map memfd 0", NO_KIND, 10),
	SYS("fallocate", fallocate, "memfd mode offset length 0 0", NO_KIND, 16),
	SYS("pwrite", pwrite64, "memfd scratch count offset 0 0", NO_KIND, 10),
	SYS("pwrite of a mapping", pwrite64, "memfd address count offset 0 0", NO_KIND, 6),
	SYS("pread", pread64, "memfd scratch count offset 0 0", NO_KIND, 2),
	SYS("pread to a mapping", pread64, "memfd address count offset 0 0", NO_KIND, 8),
	SYS("dup", dup, "memfd 0 0 0 0 0", MEMFD, 1),
	MADVISE(MADV_HUGEPAGE, 2),
	MADVISE(MADV_POPULATE_WRITE, 6),
	MADVISE(MADV_POPULATE_READ, 4),
	SYS("eventfd", eventfd2, "0 0 0 0 0 0", EVENTFD, 1),
	SYS("prlimit", prlimit64, "0 8 @48 0 0 0 limit limit", NO_KIND, 3),

	/* a container */
	OPEN(container_path, CONTAINER),
	OPEN(group_path, GROUP),
	OPEN(soft_group_path, GROUP),
	CTL(VFIO_GROUP_SET_CONTAINER, int, "group", "space:4", 12),
	VALUE("VFIO_SET_IOMMU", VFIO_SET_IOMMU, "container", "type1", NO_KIND, 8),
	VALUE("VFIO_CHECK_EXTENSION", VFIO_CHECK_EXTENSION, "space", "extension", NO_KIND, 2),
	VALUE("VFIO_GROUP_GET_DEVICE_FD soft", VFIO_GROUP_GET_DEVICE_FD, "group", "soft_name",
	      SOFT_DEVICE, 10),
	VALUE("VFIO_GROUP_GET_DEVICE_FD", VFIO_GROUP_GET_DEVICE_FD, "group", "name", DEVICE, 10),
	CTL(VFIO_IOMMU_MAP_DMA, struct vfio_iommu_type1_dma_map, "container",
	    "argsz:4 by_address:4 address iova length", 6),
	CTL_NAMED("VFIO_IOMMU_MAP_DMA of a memfd", VFIO_IOMMU_MAP_DMA, struct type1_map,
		  "container", "argsz:4 by_memfd:4 0 iova length memfd:4 may_miss:4 offset", 16),
	CTL_NAMED("VFIO_IOMMU_DIRTY_PAGES", VFIO_IOMMU_DIRTY_PAGES,
		  struct vfio_iommu_type1_dirty_bitmap, "container", "argsz:4 dirty:4", 4),
	CTL_NAMED("VFIO_IOMMU_DIRTY_PAGES, a bitmap", VFIO_IOMMU_DIRTY_PAGES, struct dirty_get,
		  "container", "argsz:4 4:4 iova length 4096 4096 scratch", 6),
	CTL(VFIO_IOMMU_FILL_MEMFD, struct vfio_iommu_type1_fill_memfd, "container",
	    "argsz:4 0:4 iova length 0 0:4 reserved:4", 6),
	CTL_NAMED("VFIO_IOMMU_FILL_MEMFD, an eventfd", VFIO_IOMMU_FILL_MEMFD,
		  struct vfio_iommu_type1_fill_memfd, "container",
		  "argsz:4 1:4 iova length 0 eventfd:4 reserved:4", 4),

	/* an iommufd */
	OPEN(iommufd_path, USER_IOMMU),
	CTL(IOMMU_IOAS_ALLOC, struct iommu_ioas_alloc, "iommufd", "argsz:4 reserved:4 0:4", 4),
	OPEN(soft_cdev_path, SOFT_CDEV),
	CTL(VFIO_DEVICE_BIND_IOMMUFD, struct vfio_device_bind_iommufd, "cdev",
	    "argsz:4 reserved:4 iommufd:4 0:4", 8),
	CTL(VFIO_DEVICE_ATTACH_IOMMUFD_PT, struct vfio_device_attach_iommufd_pt, "cdev",
	    "argsz:4 reserved:4 id:4", 12),
	CTL(IOMMU_IOAS_MAP, struct iommu_ioas_map, "iommufd",
	    "argsz:4 ioas_map:4 id:4 reserved:4 address length iova", 6),
	CTL(IOMMU_IOAS_MAP_FILE, struct iommu_ioas_map_file, "iommufd",
	    "argsz:4 ioas_follow:4 id:4 memfd:4 offset length iova", 32),
	CTL(IOMMU_IOAS_COPY, struct iommu_ioas_copy, "iommufd",
	    "argsz:4 ioas_map:4 id:4 id:4 length other_iova iova", 12),
	CTL_NAMED("IOMMU_IOAS_FILL", IOMMU_IOAS_FILL, struct iommu_ioas_fill, "iommufd",
		  "argsz:4 0:4 id:4 0:4 iova length 0", 10),
	CTL_NAMED("IOMMU_IOAS_FILL, an eventfd", IOMMU_IOAS_FILL, struct iommu_ioas_fill,
		  "iommufd", "argsz:4 1:4 id:4 eventfd:4 iova length 0", 6),
	CTL(IOMMU_HWPT_ALLOC, struct iommu_hwpt_alloc, "iommufd",
	    "argsz:4 hwpt:4 dev:4 id:4 0:4 0:4 0:4 0:4 0 0:4 0:4", 16),
	CTL(IOMMU_HWPT_SET_DIRTY_TRACKING, struct iommu_hwpt_set_dirty_tracking, "iommufd",
	    "argsz:4 track:4 table:4 reserved:4", 8),
	OPEN(cdev_path, CDEV),
	CTL(IOMMU_OPTION, struct iommu_option, "iommufd",
	    "argsz:4 option:4 op:2 0:2 id:4 bool", 2),
	CTL(IOMMU_VFIO_IOAS, struct iommu_vfio_ioas, "iommufd", "argsz:4 id:4 ioas_op:2 0:2", 3),

	/* accesses of devices, and the sample */
	SYS("DMA read", pread64, "device scratch dma_count dma 0 0", NO_KIND, 6),
	SYS("DMA write", pwrite64, "soft scratch dma_count dma 0 0", NO_KIND, 6),
	CTL(VFIO_MDMA_MAP, struct vfio_mdma_map, "mdma",
	    "argsz:4 mdma_prot:4 memfd:4 reserved:4 offset mdma_iova length", 10),
	CTL(VFIO_MDMA_QUERY, struct vfio_mdma_query, "mdma",
	    "argsz:4 query:4 0:4 reserved:4 mdma_iova 0 0", 3),
	SYS("mdma, an address", pwrite64, "mdma @48 8 register 0 0 mdma_iova", NO_KIND, 4),
	SYS("mdma, a length", pwrite64, "mdma @48 8 0x10 0 0 64", NO_KIND, 1),
	SYS("mdma, start", pwrite64, "mdma @48 4 0x18 0 0 1", NO_KIND, 1),

	/* VMs */
	VALUE("KVM_CREATE_VM", KVM_CREATE_VM, "kvm", "vm_type", RAW_VM, 1),
	VALUE("KVM_CREATE_VCPU", KVM_CREATE_VCPU, "vm", "vcpu_id", RAW_VCPU, 2),
	VALUE("KVM_CHECK_EXTENSION", KVM_CHECK_EXTENSION, "vm", "cap", NO_KIND, 2),
	CTL(KVM_ENABLE_CAP, struct kvm_enable_cap, "vm",
	    "cap:4 reserved:4 reserved 0:88", 6),
	CTL(KVM_SET_USER_MEMORY_REGION, struct kvm_userspace_memory_region, "vm",
	    "memslot:4 slot_flags:4 gpa memslot_size address", 8),
	CTL(KVM_SET_USER_MEMORY_REGION2, struct kvm_userspace_memory_region2, "vm",
	    "memslot:4 private:4 gpa memslot_size address offset memfd:4 0:4 0:112", 20),
	CTL(KVM_SET_MEMORY_ATTRIBUTES, struct kvm_memory_attributes, "vm",
	    "part_gpa length attributes reserved", 10),
	CTL(KVM_PRE_FAULT_MEMORY, struct kvm_pre_fault_memory, "vcpu",
	    "any_gpa length reserved 0:40", 6),
	CTL(KVM_GET_DIRTY_LOG, struct kvm_dirty_log, "vm", "memslot:4 0:4 scratch", 4),
	DO("KVM_RUN", act_guest, 30),

	/* pages leave, and move */
	SYS("punch a hole", fallocate, "memfd 3 offset length 0 0", NO_KIND, 20),
	MADVISE(MADV_REMOVE, 8),
	MADVISE(MADV_DONTNEED, 3),
	MADVISE(MADV_PAGEOUT, 6),
	MADVISE(MADV_COLLAPSE, 4),
	SYS("move_pages", move_pages, "0 2 @48 @64 @72 mv_flags address area node:4 node:4 0",
	    NO_KIND, 6),
	DO("split huge pages", act_split, 6),
	SYS("compact memory, drop caches", pwrite64, "knob @48 1 0 0 0 0x31", NO_KIND, 1),
	OPEN(show_path, SHOWN),
	SYS("read debugfs and fdinfo", pread64, "shown scratch 65536 0 0 0", NO_KIND, 4),
	SYS("userfaultfd", userfaultfd, "0x80800 0 0 0 0 0", UFFD, 1),
	/* faults get SIGBUS: nothing waits in userfaultfd */
	CTL(UFFDIO_API, struct uffdio_api, "uffd", "0xaa 0x80 0", 2),
	CTL(UFFDIO_REGISTER, struct uffdio_register, "uffd", "area size uffd_mode 0", 4),
	CTL(UFFDIO_COPY, struct uffdio_copy, "uffd", "address scratch pages 0 0", 8),
	CTL(UFFDIO_ZEROPAGE, struct uffdio_zeropage, "uffd", "address pages 0 0", 8),
	CTL(UFFDIO_UNREGISTER, struct uffdio_range, "uffd", "area length", 3),

	/* mappings leave */
	CTL(VFIO_IOMMU_UNMAP_DMA, struct vfio_iommu_type1_dma_unmap, "container",
	    "argsz:4 unmap:4 iova length", 12),
	CTL_NAMED("VFIO_IOMMU_UNMAP_DMA, all", VFIO_IOMMU_UNMAP_DMA,
		  struct vfio_iommu_type1_dma_unmap, "container", "argsz:4 unmap_all:4 0 0", 1),
	CTL_NAMED("VFIO_IOMMU_UNMAP_DMA, a bitmap", VFIO_IOMMU_UNMAP_DMA, struct unmap_dirty,
		  "container", "argsz:4 1:4 iova length 4096 4096 scratch", 4),
	CTL(IOMMU_IOAS_UNMAP, struct iommu_ioas_unmap, "iommufd",
	    "argsz:4 id:4 iova length", 20),
	CTL_NAMED("IOMMU_IOAS_UNMAP, all", IOMMU_IOAS_UNMAP, struct iommu_ioas_unmap, "iommufd",
		  "argsz:4 id:4 0 -1", 2),
	CTL(VFIO_MDMA_UNMAP, struct vfio_mdma_unmap, "mdma",
	    "argsz:4 reserved:4 mdma_iova length", 6),
	SYS("munmap", munmap, "area length 0 0 0 0", NO_KIND, 1),
	SYS("mprotect", mprotect, "address length prot 0 0 0", NO_KIND, 2),
	CTL(VFIO_DEVICE_DETACH_IOMMUFD_PT, struct vfio_device_detach_iommufd_pt, "cdev",
	    "argsz:4 reserved:4", 5),
	CTL(IOMMU_DESTROY, struct iommu_destroy, "iommufd", "argsz:4 id:4", 4),
	VALUE("VFIO_GROUP_UNSET_CONTAINER", VFIO_GROUP_UNSET_CONTAINER, "group", "0",
	      NO_KIND, 4),
	SYS("F_ADD_SEALS", fcntl, "memfd 1033 seals 0 0 0", NO_KIND, 3),
	DO("close", act_close, 3),
	DO("fork", act_fork, 2),
};

const int nr_calls = sizeof(calls) / sizeof(calls[0]);
static_assert(sizeof(calls) / sizeof(calls[0]) <= MAX_CALLS, "too many calls");

int weights;

static const struct value *value_of(const struct call *c, const char *name)
{
	size_t i;

	for (i = 0; i < sizeof(values) / sizeof(values[0]); i++)
		if (!strcmp(values[i].name, name))
			return &values[i];
	errx(1, "%s: no value is called %s", c->name, name);
}

static void parse_field(struct call *c, const char *token, size_t at, size_t size)
{
	struct field *f = &c->fields[c->nr_fields++];

	*f = (struct field){ .at = at, .size = size, .inside = *token == '@' };
	if (f->inside || *token == '-' || isdigit(*token)) {
		f->constant = strtoull(token + f->inside, NULL, 0);
		return;
	}
	f->value = value_of(c, token);
	c->ranged |= f->value->draw == IOVA || f->value->draw == MDMA_IOVA;
	c->maps |= f->value->draw == ADDRESS || f->value->kinds & KIND(MEMFD);
}

static void parse_call(struct call *c)
{
	const char *s = c->args;
	size_t at = 0, size;
	char token[32];
	int len;

	while (sscanf(s, " %31[^: ]%n", token, &len) == 1) {
		s += len;
		size = *s == ':' ? strtoul(s + 1, (char **)&s, 10) : sizeof(__u64);
		parse_field(c, token, at, size);
		at += size;
	}
	if (c->size && at != c->size)
		errx(1, "%s: the description has %zu bytes, not %zu", c->name, at, c->size);
	if (c->on)
		c->descriptor = value_of(c, c->on);
	weights += c->weight;
}

void parse_calls(void)
{
	int i;

	for (i = 0; i < nr_calls; i++)
		parse_call(&calls[i]);
}
