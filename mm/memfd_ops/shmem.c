// SPDX-License-Identifier: GPL-2.0
/*
 * memfd_ops: shmem as a backing store
 *
 * Memfds, and other files on tmpfs. mm/shmem.c calls memfd_ops where pages come
 * and go; this is what memfd_ops needs from shmem.
 */
#define pr_fmt(fmt) "memfd_ops: " fmt

#include <linux/fcntl.h>
#include <linux/fs.h>
#include <linux/init.h>
#include <linux/mempolicy.h>
#include <linux/migrate.h>
#include <linux/mm.h>
#include <linux/mm_inline.h>
#include <linux/pagemap.h>
#include <linux/pagevec.h>
#include <linux/sched/mm.h>
#include <linux/shmem_fs.h>
#include <linux/swap.h>

#include "../internal.h"
#include "internal.h"

static struct memfd_consumers **shmem_consumers(struct address_space *mapping)
{
	return shmem_mapping(mapping) ? &SHMEM_I(mapping->host)->consumers : NULL;
}

static int shmem_claim_write(struct inode *inode)
{
	/* seals are added with i_rwsem held for writing */
	lockdep_assert_held(&inode->i_rwsem);
	/* as mmap() does: a file that can only be appended to is not written elsewhere */
	if (IS_APPEND(inode))
		return memfd_refuse(-EACCES, "the file can only be appended to");
	if (SHMEM_I(inode)->seals & (F_SEAL_WRITE | F_SEAL_FUTURE_WRITE))
		return memfd_refuse(-EPERM, "the file is sealed against writing");
	/* from here on F_SEAL_WRITE is refused, as with a writable mmap() */
	return mapping_map_writable(inode->i_mapping);
}

static void shmem_release_write(struct inode *inode)
{
	mapping_unmap_writable(inode->i_mapping);
}

/*
 * The folio of page @index, locked and referenced, if that takes no waiting: the
 * work of shmem_get_folio() in less than half the time.
 */
static struct folio *shmem_lock_ready(struct inode *inode, pgoff_t index)
{
	struct address_space *mapping = inode->i_mapping;
	struct folio *folio;

	if (index >= DIV_ROUND_UP(i_size_read(inode), PAGE_SIZE))
		return NULL;
	rcu_read_lock();
	folio = xa_load(&mapping->i_pages, index);
	if (xa_is_value(folio) || (folio && !folio_try_get(folio)))
		folio = NULL;
	rcu_read_unlock();
	if (!folio)
		return NULL;
	if (folio_trylock(folio)) {
		if (memfd_folio_is_at(folio, mapping, index) &&
		    folio_test_uptodate(folio))
			return folio;
		folio_unlock(folio);
	}
	folio_put(folio);
	return NULL;
}

static int shmem_store_get_folio(struct inode *inode, pgoff_t index,
				 unsigned int flags, struct folio **foliop)
{
	int error;

	*foliop = shmem_lock_ready(inode, index);
	if (*foliop)
		return 0;
	error = shmem_get_folio(inode, index, 0, foliop,
				flags & MEMFD_PFN_FILL ? SGP_CACHE : SGP_NOALLOC);
	/* shmem's errno for a page past the end of the file */
	return error == -EINVAL ? -ENOENT : error;
}

/* Move the folios of @fbatch to a list for migrate_pages() */
static int shmem_isolate(struct folio_batch *fbatch, struct list_head *folios)
{
	struct folio *folio;
	bool drained = false;
	unsigned int i;
	int error = 0;

	for (i = 0; i < folio_batch_count(fbatch); i++) {
		folio = fbatch->folios[i];
		if (!folio_test_lru(folio) && !drained) {
			lru_add_drain_all();
			drained = true;
		}
		if (folio_isolate_lru(folio)) {
			list_add_tail(&folio->lru, folios);
			node_stat_mod_folio(folio, NR_ISOLATED_ANON +
					    folio_is_file_lru(folio),
					    folio_nr_pages(folio));
		} else {
			error = -EBUSY;
		}
		folio_put(folio);
	}
	folio_batch_reinit(fbatch);
	return error;
}

/* By the policy of the file, or else on the same node */
static struct folio *shmem_alloc_longterm(struct folio *src, unsigned long inode)
{
	struct shmem_inode_info *info = SHMEM_I((struct inode *)inode);
	struct migration_target_control mtc = {
		.nid = NUMA_NO_NODE,
		.gfp_mask = GFP_USER | __GFP_NOWARN,
		.reason = MR_LONGTERM_PIN,
	};
	unsigned int order = folio_order(src);
	pgoff_t index = src->index;
	struct mempolicy *policy;
	struct folio *folio;

	policy = mpol_shared_policy_lookup(&info->policy, index);
	if (!policy)
		return alloc_migration_target(src, (unsigned long)&mtc);
	folio = folio_alloc_mpol(order ? GFP_TRANSHUGE : mtc.gfp_mask, order,
				 policy, info->vfs_inode.i_ino + (index >> order),
				 folio_nid(src));
	mpol_cond_put(policy);
	return folio;
}

/* As pinning by an address does it */
static int shmem_migrate_longterm(struct inode *inode, struct folio_batch *fbatch)
{
	unsigned int saved;
	LIST_HEAD(folios);
	int error;

	error = shmem_isolate(fbatch, &folios);
	if (list_empty(&folios))
		return error;
	saved = memalloc_pin_save();
	if (migrate_pages(&folios, shmem_alloc_longterm, NULL,
			  (unsigned long)inode, MIGRATE_SYNC, MR_LONGTERM_PIN,
			  NULL)) {
		putback_movable_pages(&folios);
		error = -EBUSY;
	}
	memalloc_pin_restore(saved);
	return error;
}

static const struct memfd_store_ops shmem_store_ops = {
	.name			= "shmem",
	.consumers		= shmem_consumers,
	.claim_write		= shmem_claim_write,
	.release_write		= shmem_release_write,
	.get_folio		= shmem_store_get_folio,
	.migrate_longterm	= shmem_migrate_longterm,
	.drop_folio		= filemap_remove_folio,
};

static int __init shmem_store_init(void)
{
	return memfd_register_store(&shmem_store_ops);
}
core_initcall(shmem_store_init);
