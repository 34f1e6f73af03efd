/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM memfd_ops

#if !defined(_TRACE_MEMFD_OPS_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MEMFD_OPS_H

#include <linux/fs.h>
#include <linux/memfd_ops.h>
#include <linux/tracepoint.h>

/* A consumer, and the range of pages [start, end) that this is about */
DECLARE_EVENT_CLASS(memfd_consumer,

	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),

	TP_ARGS(mn, start, end, error),

	TP_STRUCT__entry(
		__field(void *,		mn)
		__field(dev_t,		dev)
		__field(unsigned long,	ino)
		__field(pgoff_t,	start)
		__field(pgoff_t,	end)
		__field(int,		error)
		__string(name,		mn->ops->name)
	),

	TP_fast_assign(
		__entry->mn = mn;
		__entry->dev = file_inode(mn->file)->i_sb->s_dev;
		__entry->ino = file_inode(mn->file)->i_ino;
		__entry->start = start;
		__entry->end = end;
		__entry->error = error;
		__assign_str(name);
	),

	TP_printk("dev %d:%d ino %lx %s %p pages [%lu, %lu) error %d",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino,
		  __get_str(name), __entry->mn, __entry->start, __entry->end,
		  __entry->error)
);

DEFINE_EVENT(memfd_consumer, memfd_register,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_unregister,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_invalidate_begin,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_invalidate_end,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_fallocate,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_fallocate_cancel,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_populate,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

#endif /* _TRACE_MEMFD_OPS_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
