/* SPDX-License-Identifier: GPL-2.0 */
#ifndef _IOMMU_MEMFD_WATCH_H
#define _IOMMU_MEMFD_WATCH_H

#include <kunit/test.h>
#include <linux/hw_breakpoint.h>

/*
 * Call @handler behind each write to the eight bytes at @addr, on the CPU that writes,
 * until unregister_wide_hw_breakpoint(). QEMU with mttcg does not see atomic instructions.
 */
static inline struct perf_event * __percpu *
watch_writes(struct kunit *test, const void *addr, perf_overflow_handler_t handler,
	     void *context)
{
	struct perf_event * __percpu *event = NULL;
#ifdef CONFIG_HAVE_HW_BREAKPOINT
	struct perf_event_attr attr;

	hw_breakpoint_init(&attr);
	attr.bp_addr = (unsigned long)addr;
	attr.bp_len = HW_BREAKPOINT_LEN_8;
	attr.bp_type = HW_BREAKPOINT_W;
	event = register_wide_hw_breakpoint(&attr, handler, context);
	KUNIT_ASSERT_FALSE(test, IS_ERR((void __force *)event));
#else
	kunit_skip(test, "no breakpoints");
#endif
	return event;
}

#endif /* _IOMMU_MEMFD_WATCH_H */
