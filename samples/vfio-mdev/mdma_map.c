// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdma: an instance's mappings of memfds
 */
#include <linux/file.h>
#include <linux/iommu.h>
#include <linux/overflow.h>
#include <linux/slab.h>

#include "mdma.h"

/**
 * struct mdma_map - the mapping that one VFIO_MDMA_MAP made
 *
 * @node: in &mdma_dev.maps, [start, last] in IOVAs
 * @im: the mirror
 * @offset: where in the file the mapping starts
 * @flags: VFIO_MDMA_MAP_FLAG_*
 */
struct mdma_map {
	struct interval_tree_node node;
	struct iommu_memfd *im;
	u64 offset;
	u32 flags;
};

static struct mdma_map *to_mdma_map(struct interval_tree_node *node)
{
	return container_of(node, struct mdma_map, node);
}

/* The IOMMU's page sizes that a file's pages can be mapped at */
u64 mdma_pgsizes(struct mdma_dev *md)
{
	return md->pa->domain->pgsize_bitmap & PAGE_MASK;
}

static int mdma_check_range(struct mdma_dev *md, u64 iova, u64 size, u64 *last)
{
	u64 granule = BIT_ULL(__ffs64(mdma_pgsizes(md)));

	if (!size || !IS_ALIGNED(iova | size, granule))
		return -EINVAL;
	if (check_add_overflow(iova, size - 1, last))
		return -EOVERFLOW;
	if (iova < md->start || *last > md->last)
		return -EINVAL;
	return 0;
}

static int mdma_map_file(struct mdma_dev *md, struct file *file,
			 const struct vfio_mdma_map *arg, u64 last)
{
	struct mdma_map *map;
	int prot = 0;

	lockdep_assert_held(&md->map_lock);

	if (arg->flags & VFIO_MDMA_MAP_FLAG_READ)
		prot |= IOMMU_READ;
	if (arg->flags & VFIO_MDMA_MAP_FLAG_WRITE)
		prot |= IOMMU_WRITE;

	map = kzalloc(sizeof(*map), GFP_KERNEL_ACCOUNT);
	if (!map)
		return -ENOMEM;

	map->im = iommu_memfd_map(&md->pa->imd, arg->iova, arg->size, file,
				  arg->offset, prot);
	if (IS_ERR(map->im)) {
		int ret = PTR_ERR(map->im);

		kfree(map);
		return ret;
	}

	map->offset = arg->offset;
	map->flags = arg->flags;
	map->node.start = arg->iova;
	map->node.last = last;
	mutex_lock(&md->maps_lock);
	interval_tree_insert(&map->node, &md->maps);
	mutex_unlock(&md->maps_lock);
	return 0;
}

/* Undo the mappings in [start, last], and return how many bytes they had */
static u64 mdma_unmap_range(struct mdma_dev *md, u64 start, u64 last)
{
	struct interval_tree_node *node;
	u64 size = 0;

	lockdep_assert_held(&md->map_lock);

	while ((node = interval_tree_iter_first(&md->maps, start, last))) {
		mutex_lock(&md->maps_lock);
		interval_tree_remove(node, &md->maps);
		mutex_unlock(&md->maps_lock);
		size += node->last - node->start + 1;
		iommu_memfd_unmap(to_mdma_map(node)->im);
		kfree(to_mdma_map(node));
	}
	return size;
}

/* Does a mapping lie only partly in [start, last]? */
static bool mdma_range_cuts(struct mdma_dev *md, u64 start, u64 last)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&md->map_lock);

	for (node = interval_tree_iter_first(&md->maps, start, last); node;
	     node = interval_tree_iter_next(node, start, last))
		if (node->start < start || node->last > last)
			return true;
	return false;
}

void mdma_unmap_all(struct mdma_dev *md)
{
	mutex_lock(&md->map_lock);
	mdma_unmap_range(md, md->start, md->last);
	mutex_unlock(&md->map_lock);
}

/* For the worker: is all of [start, end) mapped, and its pages there, for @access? */
bool mdma_is_mapped(struct mdma_dev *md, u64 start, u64 end, u32 access)
{
	struct interval_tree_node *node;
	u64 iova, size;

	mutex_lock(&md->maps_lock);
	while (start < end) {
		node = interval_tree_iter_first(&md->maps, start, start);
		if (!node || !(to_mdma_map(node)->flags & access))
			break;
		iova = start;
		if (!iommu_memfd_next_run(to_mdma_map(node)->im, &iova, &size) ||
		    iova != start)
			break;
		start += size;
	}
	mutex_unlock(&md->maps_lock);
	return start >= end;
}

static int mdma_find(struct mdma_dev *md, struct vfio_mdma_query *arg)
{
	struct interval_tree_node *node;

	lockdep_assert_held(&md->map_lock);

	if (arg->iova > md->last)
		return -ENOENT;
	arg->iova = max(arg->iova, md->start);

	for (node = interval_tree_iter_first(&md->maps, arg->iova, md->last);
	     node; node = interval_tree_iter_next(node, arg->iova, md->last)) {
		struct mdma_map *map = to_mdma_map(node);
		u64 iova = node->start, size = node->last - node->start + 1;

		if (arg->flags & VFIO_MDMA_QUERY_FLAG_PRESENT) {
			iova = max_t(u64, iova, arg->iova);
			if (!iommu_memfd_next_run(map->im, &iova, &size))
				continue;
		}
		arg->prot = map->flags;
		arg->iova = iova;
		arg->size = size;
		arg->offset = map->offset + (iova - node->start);
		return 0;
	}
	return -ENOENT;
}

int mdma_ioctl_map(struct mdma_dev *md, void __user *uarg)
{
	const u32 flags = VFIO_MDMA_MAP_FLAG_READ | VFIO_MDMA_MAP_FLAG_WRITE;
	struct vfio_mdma_map arg;
	struct file *file;
	u64 last;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || !arg.flags || arg.flags & ~flags ||
	    arg.reserved)
		return -EINVAL;
	ret = mdma_check_range(md, arg.iova, arg.size, &last);
	if (ret)
		return ret;

	file = fget(arg.fd);
	if (!file)
		return -EBADF;
	ret = mutex_lock_killable(&md->map_lock);
	if (!ret) {
		ret = mdma_map_file(md, file, &arg, last);
		mutex_unlock(&md->map_lock);
	}
	fput(file);
	return ret;
}

int mdma_ioctl_unmap(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_unmap arg;
	u64 last;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || arg.flags & ~VFIO_MDMA_UNMAP_FLAG_ALL)
		return -EINVAL;

	if (arg.flags & VFIO_MDMA_UNMAP_FLAG_ALL) {
		if (arg.iova || arg.size)
			return -EINVAL;
		arg.iova = md->start;
		last = md->last;
	} else {
		ret = mdma_check_range(md, arg.iova, arg.size, &last);
		if (ret)
			return ret;
	}

	/* If the result cannot be written, fail before anything changes */
	if (copy_to_user(uarg + offsetof(typeof(arg), size), &arg.size,
			 sizeof(arg.size)))
		return -EFAULT;

	ret = mutex_lock_killable(&md->map_lock);
	if (ret)
		return ret;
	if (mdma_range_cuts(md, arg.iova, last))
		ret = -EINVAL;
	else
		arg.size = mdma_unmap_range(md, arg.iova, last);
	mutex_unlock(&md->map_lock);
	if (ret)
		return ret;

	if (copy_to_user(uarg + offsetof(typeof(arg), size), &arg.size,
			 sizeof(arg.size)))
		return -EFAULT;
	return 0;
}

int mdma_ioctl_query(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_query arg;
	int ret;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) ||
	    arg.flags & ~VFIO_MDMA_QUERY_FLAG_PRESENT || arg.reserved)
		return -EINVAL;

	ret = mutex_lock_killable(&md->map_lock);
	if (ret)
		return ret;
	ret = mdma_find(md, &arg);
	mutex_unlock(&md->map_lock);
	if (ret)
		return ret;

	return copy_to_user(uarg, &arg, sizeof(arg)) ? -EFAULT : 0;
}
