// SPDX-License-Identifier: GPL-2.0
#include "kvm_torture.h"

/*
 * vCPUs: without locks
 */

static void guest_read(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vmm.vcpu[a->vcpu];
	struct view v = view_of(t, a->g, pick_page(a, 0));
	size_t word;
	__s64 ret;

	word = pick(&a->random, 2) ? FIRST_WORD : LAST_WORD;
	ret = vmm_read(vcpu, word_gpa(a->g, v.page, word));
	if (check_outcome(t, &v, vcpu, ret) == OK)
		check_guest_word(t, &v, ret);
	t->counts[READS]++;
}

/* A guest's write is where it belongs, unless the page has changed since. */
static void check_written(struct torture *t, const struct view *v, size_t word,
			  __u32 value)
{
	__u32 found;

	if (v->is_shared)
		found = *(volatile __u32 *)&v->g->shared[v->page * PAGE_WORDS + word];
	else
		found = file_word(t, v->page, word);
	if (!guest_unchanged(t, v) || (!v->is_shared && !page_unchanged(t, v))) {
		t->counts[ROUGH]++;
		return;
	}
	t->counts[EXACT]++;
	if (found != value)
		WRONG(t, "guest wrote %08x to %s page %zu, found %08x", value,
		      v->is_shared ? "shared" : "private", v->page, found);
}

static void guest_write(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vmm.vcpu[a->vcpu];
	struct view v = view_of(t, a->g, pick_page(a, 0));
	__u32 value = word_of(OWN, v.page, ++a->serial);
	__s64 ret;

	ret = vmm_write(vcpu, word_gpa(a->g, v.page, OWN_WORD(a->id)), value);
	if (check_outcome(t, &v, vcpu, ret) == OK)
		check_written(t, &v, OWN_WORD(a->id), value);
	t->counts[WRITES]++;
}

/* Several pages by one op, which ends at the first one that it does not get */
static void guest_touch(struct actor *a)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vmm.vcpu[a->vcpu];
	size_t count = 1 + pick(&a->random, 8), first = pick_page(a, 8), i;
	__u32 addr = word_gpa(a->g, first, TOUCH_WORD(a->id)), end = addr;
	struct view v[8];
	__s64 ret;

	for (i = 0; i < count; i++)
		v[i] = view_of(t, a->g, first + i);
	ret = vmm_touch(vcpu, addr, count, PAGE, word_of(TOUCH, 0, a->id));
	outcome_of(vcpu, ret, &end);
	if (ret < 0)
		count = (end - word_gpa(a->g, first, 0)) / PAGE;
	if (count > 8 || (ret < 0 && count == 8)) {
		WRONG(t, "touch: %lld, exit %u at %08x", ret, vcpu->run->exit_reason, end);
		return;
	}
	for (i = 0; i < count; i++)
		if (!may_end(t, &v[i], OK))
			WRONG(t, "%s touched page %zu, which it has not", a->g->name,
			      v[i].page);
	if (ret < 0)
		check_outcome(t, &v[count], vcpu, ret);
	t->counts[TOUCHES]++;
}

/*
 * vCPUs: with the locks of the region and of the guest
 */

/* The guest stopped at a hole: fill it, and have the guest resume. */
static __s64 fill_and_resume(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	__s64 ret;

	make_pages(a, page, page + 1);
	ret = vmm_vcpu_resume(&a->g->vmm.vcpu[a->vcpu]);
	if (ret < 0)
		WRONG(t, "page %zu was filled, and the guest does not go on: %lld", page,
		      ret);
	t->counts[RESUMED]++;
	return ret;
}

/* Does the guest's access add a page? */
static bool fills(const struct view *v)
{
	return v->in_slot && !v->is_shared && !v->present &&
	       !(v->g->flags & KVM_MEM_MEMFD_KEEP_HOLES);
}

static void locked_read(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	struct torture_guest *g = a->g;
	struct vmm_vcpu *vcpu = &g->vmm.vcpu[a->vcpu];
	enum op_end outcome;
	struct view v;
	__s64 ret;

	pthread_rwlock_rdlock(&g->lock);
	v = view_of(t, g, page);
	if (fills(&v))
		begin_change(t, region_of(t, page));
	ret = vmm_read(vcpu, word_gpa(g, page, FIRST_WORD));
	if (fills(&v)) {
		devices_have(t, page, page + 1);
		end_change(t, region_of(t, page));
		v = view_of(t, g, page);
	}
	outcome = check_outcome(t, &v, vcpu, ret);
	if (outcome == HOLE && v.in_slot && pick(&a->random, 4)) {
		ret = fill_and_resume(a, page);
		v = view_of(t, g, page);
		outcome = OK;
	}
	if (outcome == OK)
		check_guest_word(t, &v, ret);
	pthread_rwlock_unlock(&g->lock);
}

static void write_stamp(struct actor *a, const struct view *v)
{
	struct torture *t = a->t;
	struct vmm_vcpu *vcpu = &a->g->vmm.vcpu[a->vcpu];
	__u32 stamp = new_stamp(t, v->page);

	if (vmm_write(vcpu, word_gpa(a->g, v->page, FIRST_WORD), stamp) ||
	    vmm_write(vcpu, word_gpa(a->g, v->page, LAST_WORD), stamp))
		WRONG(t, "%s cannot write to page %zu: exit %u", a->g->name, v->page,
		      vcpu->run->exit_reason);
	t->pages[v->page].stamp = stamp;
	if (file_word(t, v->page, FIRST_WORD) != stamp ||
	    file_word(t, v->page, LAST_WORD) != stamp)
		WRONG(t, "guest wrote %08x to page %zu, not so in the file", stamp,
		      v->page);
	devices_have(t, v->page, v->page + 1);
}

/* Where the guest has private memory, and a page if it does not fill holes */
static void locked_stamp(struct actor *a, size_t page)
{
	struct torture *t = a->t;
	struct torture_guest *g = a->g;
	struct view v;

	pthread_rwlock_rdlock(&g->lock);
	v = view_of(t, g, page);
	if (v.in_slot && !v.is_shared &&
	    (v.present || !(g->flags & KVM_MEM_MEMFD_KEEP_HOLES))) {
		begin_change(t, region_of(t, page));
		write_stamp(a, &v);
		end_change(t, region_of(t, page));
		t->counts[STAMPS]++;
	}
	pthread_rwlock_unlock(&g->lock);
}

void vcpu_act(struct actor *a)
{
	unsigned int what = pick(&a->random, 100);
	size_t region, first, end;

	if (what < 30) {
		guest_read(a);
	} else if (what < 50) {
		guest_write(a);
	} else if (what < 60) {
		guest_touch(a);
	} else {
		region = lock_some_region(a);
		pick_range(a, region, &first, &end);
		if (what < 75)
			locked_stamp(a, first);
		else if (what < 85)
			make_hole(a, first, end);
		else if (what < 95)
			make_pages(a, first, end);
		locked_read(a, first);
		unlock_region(a->t, region);
	}
}

/*
 * Memslots and attributes
 */

static void breathe(struct actor *a)
{
	const struct timespec pause = { .tv_nsec = pick(&a->random, 10000000) };

	nanosleep(&pause, NULL);
}

/* At least half of the file, at a huge page's place or not */
static void add_random_slot(struct actor *a, struct torture_guest *g)
{
	struct torture *t = a->t;
	size_t first = pick(&a->random, t->env->pages / 2), pages;
	unsigned int cut = t->cut;
	int ret;

	if (t->huge && pick(&a->random, 2))
		first &= ~(HUGE_PAGES - 1);
	pages = t->env->pages / 2 + pick(&a->random, t->env->pages / 2 - first) + 1;
	ret = vmm_set_slot(&g->vmm, SLOT, KVM_MEM_GUEST_MEMFD | g->flags,
			   word_gpa(g, first, 0), pages * PAGE,
			   g->shared + first * PAGE_WORDS, t->env->fd, first * PAGE);
	if (!ret) {
		g->first = first;
		g->pages = pages;
		t->counts[SLOTS_ADDED]++;
	} else if (ret != -EINVAL || unchanged(cut, &t->cut)) {
		/* EINVAL: the file was shorter at that moment */
		WRONG(t, "memslot: %s", strerror(-ret));
	}
}

void set_shared(struct torture *t, struct torture_guest *g, size_t first, size_t end,
		bool shared)
{
	size_t region, i;
	int ret;

	for (region = region_of(t, first); region <= region_of(t, end - 1); region++)
		g->attr_seq[region]++;
	ret = vmm_set_private(&g->vmm, word_gpa(g, first, 0), (end - first) * PAGE, !shared);
	if (ret)
		WRONG(t, "attributes: %s", strerror(-ret));
	for (i = first; i < end; i++)
		g->is_shared[i] = shared;
	for (region = region_of(t, first); region <= region_of(t, end - 1); region++)
		g->attr_seq[region]++;
}

void change_slot(struct actor *a, struct torture_guest *g)
{
	struct torture *t = a->t;
	int ret;

	pthread_rwlock_wrlock(&g->lock);
	g->slot_seq++;
	if (g->pages) {
		/* see OPEN_REGION */
		set_shared(t, g, (OPEN_REGION + 1) * t->region_pages, t->env->pages, false);
		ret = vmm_delete_slot(&g->vmm, SLOT);
		if (ret)
			WRONG(t, "delete memslot: %s", strerror(-ret));
		g->pages = 0;
		t->counts[SLOTS_DELETED]++;
	} else {
		add_random_slot(a, g);
	}
	g->slot_seq++;
	pthread_rwlock_unlock(&g->lock);
}

/* A VM that lives for a moment */
static void passing_vm(struct actor *a)
{
	struct torture *t = a->t;
	struct torture_guest g = {
		.name = "a passing guest",
		.gpa = GPA,
		.flags = KVM_MEM_MEMFD_KEEP_HOLES,
	};
	size_t half = t->env->pages / 2;
	struct view v;
	int ret, i;
	__s64 word;

	ret = vmm_create_for_memfds(&g.vmm, 1);
	if (ret) {
		WRONG(t, "VM: %s", strerror(-ret));
		return;
	}
	g.pages = half;		/* no truncation gets there */
	ret = vmm_set_slot(&g.vmm, SLOT, KVM_MEM_GUEST_MEMFD | g.flags, GPA, half * PAGE,
			   t->guests[0].shared, t->env->fd, 0);
	if (!ret)
		ret = vmm_set_private(&g.vmm, GPA, half * PAGE, true);
	if (ret)
		WRONG(t, "memslot of a VM: %s", strerror(-ret));
	for (i = 0; i < 16 && !ret; i++) {
		v = view_of(t, &g, pick(&a->random, half));
		word = vmm_read(&g.vmm.vcpu[0], word_gpa(&g, v.page, FIRST_WORD));
		if (check_outcome(t, &v, &g.vmm.vcpu[0], word) == OK)
			check_guest_word(t, &v, word);
	}
	vmm_destroy(&g.vmm);
	t->counts[VMS]++;
}

void slot_act(struct actor *a)
{
	struct torture_guest *g = &a->t->guests[pick(&a->random, GUESTS)];

	/* mostly there is a memslot */
	if (!pick(&a->random, 10))
		passing_vm(a);
	else if (!g->pages || !pick(&a->random, 4))
		change_slot(a, g);
	breathe(a);
}

void attribute_act(struct actor *a)
{
	struct torture *t = a->t;
	struct torture_guest *g = &t->guests[pick(&a->random, GUESTS)];
	size_t region = OPEN_REGION + 1 + pick(&a->random, REGIONS - OPEN_REGION - 1);
	size_t first, end;

	pick_range(a, region, &first, &end);
	pthread_rwlock_wrlock(&g->lock);
	if (first >= g->first && end <= g->first + g->pages) {
		set_shared(t, g, first, end, !pick(&a->random, 4));
		t->counts[ATTRIBUTES]++;
	}
	pthread_rwlock_unlock(&g->lock);
	breathe(a);
}
