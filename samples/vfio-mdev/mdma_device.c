// SPDX-License-Identifier: GPL-2.0-only
/*
 * mdma: instances, VFIO devices that copy between IOVAs of their window
 */
#include <linux/eventfd.h>
#include <linux/mdev.h>
#include <linux/module.h>
#include <linux/vfio.h>

#include "mdma.h"

#define MDMA_NUM_REGIONS	1
#define MDMA_NUM_IRQS		1

static struct mdma_dev *to_mdma_dev(struct vfio_device *vdev)
{
	return container_of(vdev, struct mdma_dev, vdev);
}

/*
 * The registers
 */

/* The size of the register at this offset, 0 if there is none */
static size_t mdma_reg_size(loff_t reg)
{
	switch (reg) {
	case VFIO_MDMA_REG_SRC:
	case VFIO_MDMA_REG_DST:
	case VFIO_MDMA_REG_LEN:
	case VFIO_MDMA_REG_DONE:
		return sizeof(u64);
	case VFIO_MDMA_REG_CTRL:
	case VFIO_MDMA_REG_STATUS:
		return sizeof(u32);
	default:
		return 0;
	}
}

static int mdma_reg_write(struct mdma_dev *md, loff_t reg, u64 val)
{
	bool busy = md->regs.status == VFIO_MDMA_STATUS_BUSY;

	lockdep_assert_held(&md->pa->lock);

	switch (reg) {
	case VFIO_MDMA_REG_SRC:
	case VFIO_MDMA_REG_DST:
	case VFIO_MDMA_REG_LEN:
		if (busy)
			return -EBUSY;
		memcpy((void *)&md->regs + reg, &val, sizeof(val));
		return 0;
	case VFIO_MDMA_REG_CTRL:
		if (val & ~(u64)VFIO_MDMA_CTRL_START)
			return -EINVAL;
		if (!val)
			return 0;
		return busy ? -EBUSY : mdma_start(md);
	default:
		return -EINVAL;
	}
}

static ssize_t mdma_read(struct vfio_device *vdev, char __user *buf,
			 size_t count, loff_t *ppos)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	struct mdma_regs regs;

	if (!count || count != mdma_reg_size(*ppos) ||
	    *ppos == VFIO_MDMA_REG_CTRL)
		return -EINVAL;

	spin_lock_irq(&md->pa->lock);
	regs = md->regs;
	spin_unlock_irq(&md->pa->lock);

	if (copy_to_user(buf, (void *)&regs + *ppos, count))
		return -EFAULT;
	*ppos += count;
	return count;
}

static ssize_t mdma_write(struct vfio_device *vdev, const char __user *buf,
			  size_t count, loff_t *ppos)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	union {
		u64 val;
		u32 val32;
	} arg;
	int ret;

	if (!count || count != mdma_reg_size(*ppos))
		return -EINVAL;
	if (copy_from_user(&arg, buf, count))
		return -EFAULT;
	if (count == sizeof(arg.val32))
		arg.val = arg.val32;

	spin_lock_irq(&md->pa->lock);
	ret = mdma_reg_write(md, *ppos, arg.val);
	spin_unlock_irq(&md->pa->lock);
	if (ret)
		return ret;
	*ppos += count;
	return count;
}

/*
 * The ioctls
 */

static int mdma_ioctl_mdma_info(struct mdma_dev *md, void __user *uarg)
{
	struct vfio_mdma_info arg;

	if (copy_from_user(&arg, uarg, sizeof(arg)))
		return -EFAULT;
	if (arg.argsz < sizeof(arg) || arg.flags)
		return -EINVAL;

	arg.iova_start = md->start;
	arg.iova_last = md->last;
	arg.pgsizes = mdma_pgsizes(md);
	arg.max_copy = MDMA_COPY_MAX;
	return copy_to_user(uarg, &arg, sizeof(arg)) ? -EFAULT : 0;
}

static int mdma_ioctl_device_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_device_info, num_irqs);
	struct vfio_device_info info = {};

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz)
		return -EINVAL;

	info.flags = VFIO_DEVICE_FLAGS_RESET;
	info.num_regions = MDMA_NUM_REGIONS;
	info.num_irqs = MDMA_NUM_IRQS;
	return copy_to_user(uarg, &info, min_t(size_t, info.argsz,
					       sizeof(info))) ? -EFAULT : 0;
}

static int mdma_ioctl_region_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_region_info, offset);
	struct vfio_region_info info;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index != VFIO_MDMA_REGION_INDEX)
		return -EINVAL;

	info.flags = VFIO_REGION_INFO_FLAG_READ | VFIO_REGION_INFO_FLAG_WRITE;
	info.cap_offset = 0;
	info.size = VFIO_MDMA_REGION_SIZE;
	info.offset = 0;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

static int mdma_ioctl_irq_info(void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_irq_info, count);
	struct vfio_irq_info info;

	if (copy_from_user(&info, uarg, minsz))
		return -EFAULT;
	if (info.argsz < minsz || info.index != VFIO_MDMA_IRQ_INDEX)
		return -EINVAL;

	info.flags = VFIO_IRQ_INFO_EVENTFD;
	info.count = 1;
	return copy_to_user(uarg, &info, minsz) ? -EFAULT : 0;
}

/* Takes over the reference on the eventfd; NULL for none */
static void mdma_set_trigger(struct mdma_dev *md, struct eventfd_ctx *trigger)
{
	spin_lock_irq(&md->pa->lock);
	swap(md->trigger, trigger);
	spin_unlock_irq(&md->pa->lock);
	if (trigger)
		eventfd_ctx_put(trigger);
}

static int mdma_set_trigger_fd(struct mdma_dev *md, s32 fd)
{
	struct eventfd_ctx *trigger = NULL;

	if (fd < -1)
		return -EINVAL;
	if (fd >= 0)
		trigger = eventfd_ctx_fdget(fd);
	if (IS_ERR(trigger))
		return PTR_ERR(trigger);
	mdma_set_trigger(md, trigger);
	return 0;
}

/* User space tests its eventfd */
static int mdma_trigger(struct mdma_dev *md, bool fire)
{
	int ret = 0;

	spin_lock_irq(&md->pa->lock);
	if (!md->trigger)
		ret = -EINVAL;
	else if (fire)
		eventfd_signal(md->trigger);
	spin_unlock_irq(&md->pa->lock);
	return ret;
}

static int mdma_ioctl_set_irqs(struct mdma_dev *md, void __user *uarg)
{
	const size_t minsz = offsetofend(struct vfio_irq_set, count);
	struct vfio_irq_set hdr;
	size_t data_size;
	s32 fd;
	u8 fire;
	int ret;

	if (copy_from_user(&hdr, uarg, minsz))
		return -EFAULT;
	ret = vfio_set_irqs_validate_and_prepare(&hdr, MDMA_NUM_IRQS,
						 MDMA_NUM_IRQS, &data_size);
	if (ret)
		return ret;
	if ((hdr.flags & VFIO_IRQ_SET_ACTION_TYPE_MASK) !=
	    VFIO_IRQ_SET_ACTION_TRIGGER)
		return -ENOTTY;

	/* There is one vector: count is 0 or 1 */
	switch (hdr.flags & VFIO_IRQ_SET_DATA_TYPE_MASK) {
	case VFIO_IRQ_SET_DATA_NONE:
		if (hdr.count)
			return mdma_trigger(md, true);
		mdma_set_trigger(md, NULL);
		return 0;
	case VFIO_IRQ_SET_DATA_BOOL:
		if (!hdr.count)
			return -EINVAL;
		if (copy_from_user(&fire, uarg + minsz, sizeof(fire)))
			return -EFAULT;
		return mdma_trigger(md, fire);
	case VFIO_IRQ_SET_DATA_EVENTFD:
		if (!hdr.count)
			return -EINVAL;
		if (copy_from_user(&fd, uarg + minsz, sizeof(fd)))
			return -EFAULT;
		return mdma_set_trigger_fd(md, fd);
	default:
		return -EINVAL;
	}
}

static long mdma_ioctl(struct vfio_device *vdev, unsigned int cmd,
		       unsigned long arg)
{
	struct mdma_dev *md = to_mdma_dev(vdev);
	void __user *uarg = (void __user *)arg;

	switch (cmd) {
	case VFIO_DEVICE_GET_INFO:
		return mdma_ioctl_device_info(uarg);
	case VFIO_DEVICE_GET_REGION_INFO:
		return mdma_ioctl_region_info(uarg);
	case VFIO_DEVICE_GET_IRQ_INFO:
		return mdma_ioctl_irq_info(uarg);
	case VFIO_DEVICE_SET_IRQS:
		return mdma_ioctl_set_irqs(md, uarg);
	case VFIO_DEVICE_RESET:
		mdma_reset(md);
		return 0;
	case VFIO_MDMA_GET_INFO:
		return mdma_ioctl_mdma_info(md, uarg);
	case VFIO_MDMA_MAP:
		return mdma_ioctl_map(md, uarg);
	case VFIO_MDMA_UNMAP:
		return mdma_ioctl_unmap(md, uarg);
	case VFIO_MDMA_QUERY:
		return mdma_ioctl_query(md, uarg);
	default:
		return -ENOTTY;
	}
}

/* Undo everything that user space has set up, for the next open */
static void mdma_close_device(struct vfio_device *vdev)
{
	struct mdma_dev *md = to_mdma_dev(vdev);

	mdma_reset(md);
	mdma_unmap_all(md);
	mdma_set_trigger(md, NULL);
}

/* The instance is being removed, but VFIO waits until user space closes it */
static void mdma_request(struct vfio_device *vdev, unsigned int count)
{
	if (!count)
		dev_notice(vdev->dev, "in use, waiting for it to be closed\n");
}

static int mdma_init_dev(struct vfio_device *vdev)
{
	struct mdma_dev *md = to_mdma_dev(vdev);

	mutex_init(&md->map_lock);
	mutex_init(&md->maps_lock);
	md->maps = RB_ROOT_CACHED;
	INIT_LIST_HEAD(&md->node);
	return 0;
}

static const struct vfio_device_ops mdma_dev_ops = {
	.name		= "vfio-mdma",
	.init		= mdma_init_dev,
	.bind_iommufd	= vfio_iommufd_emulated_bind,
	.unbind_iommufd	= vfio_iommufd_emulated_unbind,
	.attach_ioas	= vfio_iommufd_emulated_attach_ioas,
	.detach_ioas	= vfio_iommufd_emulated_detach_ioas,
	.close_device	= mdma_close_device,
	.read		= mdma_read,
	.write		= mdma_write,
	.ioctl		= mdma_ioctl,
	.request	= mdma_request,
};

/*
 * The instances
 */

static int mdma_mdev_probe(struct mdev_device *mdev)
{
	struct mdma_parent *pa = container_of(mdev->type->parent,
					      struct mdma_parent, parent);
	struct mdma_dev *md;
	int ret;

	md = vfio_alloc_device(mdma_dev, vdev, &mdev->dev, &mdma_dev_ops);
	if (IS_ERR(md))
		return PTR_ERR(md);

	ret = ida_alloc_max(&pa->window_ids, MDMA_INSTANCES - 1, GFP_KERNEL);
	if (ret < 0)
		goto err_put;
	md->pa = pa;
	md->window = ret;
	md->start = pa->windows[ret];
	md->last = md->start + BIT_ULL(pa->window_shift) - 1;

	ret = vfio_register_emulated_iommu_dev(&md->vdev);
	if (ret)
		goto err_window;
	dev_set_drvdata(&mdev->dev, md);
	return 0;

err_window:
	ida_free(&pa->window_ids, md->window);
err_put:
	vfio_put_device(&md->vdev);
	return ret;
}

static void mdma_mdev_remove(struct mdev_device *mdev)
{
	struct mdma_dev *md = dev_get_drvdata(&mdev->dev);

	vfio_unregister_group_dev(&md->vdev);
	/* The instance is closed, so the window is empty, and free for the next */
	ida_free(&md->pa->window_ids, md->window);
	vfio_put_device(&md->vdev);
}

static ssize_t mdma_show_description(struct mdev_type *mtype, char *buf)
{
	struct mdma_parent *pa = container_of(mtype->parent,
					      struct mdma_parent, parent);

	return sysfs_emit(buf, "copies between IOVAs in a window of %s\n",
			  pa->window_size);
}

struct mdev_driver mdma_mdev_driver = {
	.device_api = "vfio-mdma",
	.max_instances = MDMA_INSTANCES,
	.driver = {
		.name = "mdma_mdev",
		.owner = THIS_MODULE,
		.mod_name = KBUILD_MODNAME,
	},
	.probe = mdma_mdev_probe,
	.remove = mdma_mdev_remove,
	.show_description = mdma_show_description,
};

