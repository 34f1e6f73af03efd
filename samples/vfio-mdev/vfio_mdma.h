/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note */
/*
 * mdma: a mediated DMA engine, the sample of memfd_ops and iommu_memfd
 *
 * An mdma instance is a VFIO device (mdev) that copies memory between IOVAs.
 * User space maps windows of memfds at IOVAs, and the device follows the files:
 * it reaches pages that enter a file, and no longer reaches pages that leave it
 * by fallocate(FALLOC_FL_PUNCH_HOLE), ftruncate() or madvise(MADV_REMOVE) once
 * that call has returned.
 *
 * The ioctls below are for the VFIO device file descriptor. They follow
 * VFIO's argsz/flags rules: argsz is set by the caller to the size of the
 * structure; one that is too small, an unknown flag, or a reserved field that
 * is not zero gives EINVAL. A call that fails has changed nothing.
 *
 * See samples/vfio-mdev/README-mdma.rst.
 */
#ifndef _SAMPLES_VFIO_MDMA_H
#define _SAMPLES_VFIO_MDMA_H

#include <linux/types.h>
#include <linux/vfio.h>

/**
 * struct vfio_mdma_info - properties of an instance
 *
 * @argsz: size of the structure
 * @flags: 0, in and out
 * @iova_start: (out) first IOVA of the instance's window, in bytes
 * @iova_last: (out) last IOVA of the window, included
 * @pgsizes: (out) a bit for each page size that the IOMMU maps at; the lowest
 *	is the granularity of IOVAs, sizes and offsets
 * @max_copy: (out) the longest copy that the engine takes, in bytes
 *
 * Filled by VFIO_MDMA_GET_INFO. No IOVA of the window is reserved.
 *
 * Return: 0, or -1 with errno EINVAL or EFAULT.
 */
struct vfio_mdma_info {
	__u32	argsz;
	__u32	flags;
	__u64	iova_start;
	__u64	iova_last;
	__u64	pgsizes;
	__u64	max_copy;
};

#define VFIO_MDMA_GET_INFO	_IOWR(VFIO_TYPE, VFIO_BASE + 64, struct vfio_mdma_info)

/**
 * struct vfio_mdma_map - map a window of a memfd at an IOVA
 *
 * @argsz: size of the structure
 * @flags: VFIO_MDMA_MAP_FLAG_READ (the device may read), _WRITE (it may
 *	write), or both
 * @fd: a memfd, or another file on tmpfs; may be closed after the call
 * @reserved: 0
 * @offset: in the file, in bytes, a multiple of the lowest page size
 * @iova: likewise, within the instance's window
 * @size: in bytes, likewise, not 0
 *
 * VFIO_MDMA_MAP maps the window [@offset, @offset + @size) of a memfd at @iova.
 * Pages that the file has are mapped when the call returns, and pages that it
 * gains later before the call that brings them returns. The window may extend
 * past the end of the file. Its cost depends on the pages that the file has.
 *
 * Return: 0, or -1 with errno
 *	EINVAL (no access asked for, a misaligned or zero value, a range outside
 *	the instance's window, a file that is not on tmpfs), EOVERFLOW (a range
 *	wraps around), EEXIST (something is mapped there already), EBADF (no
 *	such descriptor), EACCES (the descriptor is not open for reading; or the
 *	device is to write, and it is not open for writing, or the file can only
 *	be appended to), EPERM (the file is sealed against writing, and the
 *	device is to write), ENOMEM (also when the pages exceed the caller's
 *	RLIMIT_MEMLOCK: they count as locked), EINTR, EFAULT, EIO (a page could
 *	not be read back from swap).
 */
struct vfio_mdma_map {
	__u32	argsz;
	__u32	flags;
#define VFIO_MDMA_MAP_FLAG_READ		0x1
#define VFIO_MDMA_MAP_FLAG_WRITE	0x2
	__s32	fd;
	__u32	reserved;
	__u64	offset;
	__u64	iova;
	__u64	size;
};

#define VFIO_MDMA_MAP		_IOW(VFIO_TYPE, VFIO_BASE + 65, struct vfio_mdma_map)

/**
 * struct vfio_mdma_unmap - undo mappings
 *
 * @argsz: size of the structure
 * @flags: VFIO_MDMA_UNMAP_FLAG_ALL undoes everything; @iova and @size are 0
 * @iova: in bytes
 * @size: in bytes; (out) how many were unmapped, 0 if there was nothing
 *
 * VFIO_MDMA_UNMAP undoes all VFIO_MDMA_MAPs that lie in [@iova, @iova + @size).
 * A mapping is undone as a whole: one that lies there in part is refused.
 *
 * Return: 0, or -1 with errno EINVAL (a misaligned or zero value, a range
 * outside the window, a mapping that lies there in part), EOVERFLOW, EINTR
 * (killed), EFAULT. If the structure becomes inaccessible while the call runs,
 * EFAULT may come after the mappings have been undone.
 */
struct vfio_mdma_unmap {
	__u32	argsz;
	__u32	flags;
#define VFIO_MDMA_UNMAP_FLAG_ALL	0x1
	__u64	iova;
	__u64	size;
};

#define VFIO_MDMA_UNMAP		_IOWR(VFIO_TYPE, VFIO_BASE + 66, struct vfio_mdma_unmap)

/**
 * struct vfio_mdma_query - find a mapping, or mapped pages
 *
 * @argsz: size of the structure
 * @flags: 0 or VFIO_MDMA_QUERY_FLAG_PRESENT
 * @prot: (out) the VFIO_MDMA_MAP_FLAG_READ and _WRITE of the mapping
 * @reserved: 0
 * @iova: where to start; (out) the start of the mapping found, or with
 *	VFIO_MDMA_QUERY_FLAG_PRESENT the start of the run, if that is behind the
 *	@iova given
 * @size: (out) its length from there
 * @offset: (out) the place in the file that @iova leads to
 *
 * VFIO_MDMA_QUERY finds the first mapping, or with VFIO_MDMA_QUERY_FLAG_PRESENT
 * the first run of pages that the device can reach now, that ends after @iova.
 *
 * Return: 0, or -1 with errno ENOENT (nothing from @iova on), EINVAL, EFAULT.
 */
struct vfio_mdma_query {
	__u32	argsz;
	__u32	flags;
#define VFIO_MDMA_QUERY_FLAG_PRESENT	0x1
	__u32	prot;
	__u32	reserved;
	__u64	iova;
	__u64	size;
	__u64	offset;
};

#define VFIO_MDMA_QUERY		_IOWR(VFIO_TYPE, VFIO_BASE + 67, struct vfio_mdma_query)

/*
 * The one region of the device, VFIO_MDMA_REGION_INDEX, is a file of registers
 * that read() and write() reach at the region's offset, each as a whole and
 * aligned to its size; anything else gives EINVAL. Numbers are in the host's
 * byte order. The comments name the errno of a value that a register refuses.
 */
#define VFIO_MDMA_REGION_INDEX	0
#define VFIO_MDMA_REGION_SIZE	0x28

#define VFIO_MDMA_REG_SRC	0x00	/* u64, rw: IOVA to copy from */
#define VFIO_MDMA_REG_DST	0x08	/* u64, rw: IOVA to copy to */
#define VFIO_MDMA_REG_LEN	0x10	/* u64, rw: bytes */
#define VFIO_MDMA_REG_CTRL	0x18	/* u32, wo: see below */
#define VFIO_MDMA_REG_STATUS	0x1c	/* u32, ro: see below */
#define VFIO_MDMA_REG_DONE	0x20	/* u64, ro: copies ended */

/*
 * CTRL: writing VFIO_MDMA_CTRL_START queues the copy. EBUSY while one is
 * queued or runs; EINVAL for a length of 0 or above max_copy, for ranges that
 * wrap or overlap each other, and for unknown bits; ERANGE if an end lies
 * outside the instance's window. SRC, DST and LEN cannot be written meanwhile
 * (EBUSY).
 *
 * VFIO_DEVICE_RESET ends a copy without a result, and makes all registers 0.
 * Mappings and the eventfd stay.
 */
#define VFIO_MDMA_CTRL_START	0x1

/*
 * STATUS. BUSY from START until the copy has ended, which the eventfd of
 * VFIO_MDMA_IRQ_INDEX signals. Then either DONE, or FAULT: an IOVA of the copy was
 * not mapped for that access, or was unmapped meanwhile; an unspecified part of
 * the copy may have been done. ERROR: the engine did not answer; the copy's
 * result is unknown, and further copies end the same way.
 */
#define VFIO_MDMA_STATUS_IDLE	0
#define VFIO_MDMA_STATUS_BUSY	1
#define VFIO_MDMA_STATUS_DONE	2
#define VFIO_MDMA_STATUS_FAULT	3
#define VFIO_MDMA_STATUS_ERROR	4

/* The one interrupt, an eventfd: a copy has ended */
#define VFIO_MDMA_IRQ_INDEX	0

#endif /* _SAMPLES_VFIO_MDMA_H */
