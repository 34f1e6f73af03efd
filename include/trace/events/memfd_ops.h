/* SPDX-License-Identifier: GPL-2.0 */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM memfd_ops

#if !defined(_TRACE_MEMFD_OPS_H) || defined(TRACE_HEADER_MULTI_READ)
#define _TRACE_MEMFD_OPS_H

#include <linux/fs.h>
#include <linux/memfd_ops.h>
#include <linux/memfd_store.h>
#include <linux/tracepoint.h>

TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_PUNCH);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_TRUNCATE);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_UNDO);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_POISON);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_MIGRATE);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_SWAP_OUT);
TRACE_DEFINE_ENUM(MEMFD_INVALIDATE_SPLIT);

/* A consumer, and a range of pages in its window */
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

DEFINE_EVENT(memfd_consumer, memfd_fallocate,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_fallocate_abort,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_populate,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DEFINE_EVENT(memfd_consumer, memfd_missed,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 int error),
	TP_ARGS(mn, start, end, error));

DECLARE_EVENT_CLASS(memfd_invalidation,

	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 enum memfd_invalidate_reason reason),

	TP_ARGS(mn, start, end, reason),

	TP_STRUCT__entry(
		__field(void *,		mn)
		__field(dev_t,		dev)
		__field(unsigned long,	ino)
		__field(pgoff_t,	start)
		__field(pgoff_t,	end)
		__field(unsigned int,	reason)
		__string(name,		mn->ops->name)
	),

	TP_fast_assign(
		__entry->mn = mn;
		__entry->dev = file_inode(mn->file)->i_sb->s_dev;
		__entry->ino = file_inode(mn->file)->i_ino;
		__entry->start = start;
		__entry->end = end;
		__entry->reason = reason;
		__assign_str(name);
	),

	TP_printk("dev %d:%d ino %lx %s %p pages [%lu, %lu) reason %s",
		  MAJOR(__entry->dev), MINOR(__entry->dev), __entry->ino,
		  __get_str(name), __entry->mn, __entry->start, __entry->end,
		  __print_symbolic(__entry->reason,
				   { MEMFD_INVALIDATE_PUNCH,	"punch" },
				   { MEMFD_INVALIDATE_TRUNCATE,	"truncate" },
				   { MEMFD_INVALIDATE_UNDO,	"undo" },
				   { MEMFD_INVALIDATE_POISON,	"poison" },
				   { MEMFD_INVALIDATE_MIGRATE,	"migrate" },
				   { MEMFD_INVALIDATE_SWAP_OUT,	"swap-out" },
				   { MEMFD_INVALIDATE_SPLIT,	"split" }))
);

DEFINE_EVENT(memfd_invalidation, memfd_invalidate_begin,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 enum memfd_invalidate_reason reason),
	TP_ARGS(mn, start, end, reason));

DEFINE_EVENT(memfd_invalidation, memfd_invalidate_end,
	TP_PROTO(struct memfd_falloc_notifier *mn, pgoff_t start, pgoff_t end,
		 enum memfd_invalidate_reason reason),
	TP_ARGS(mn, start, end, reason));

#endif /* _TRACE_MEMFD_OPS_H */

/* This part must be outside protection */
#include <trace/define_trace.h>
