// SPDX-License-Identifier: GPL-2.0
#include "kvm_torture.h"

struct view view_of(struct torture *t, struct torture_guest *g, size_t page)
{
	size_t region = region_of(t, page);
	struct view v = { .g = g, .page = page };

	v.epoch = t->regions[region].epoch;
	v.cut = t->cut;
	v.oldest = t->pages[page].oldest;
	v.stamp = t->pages[page].stamp;
	v.present = t->pages[page].present;
	if (!g)
		return v;
	v.slot_seq = g->slot_seq;
	v.attr_seq = g->attr_seq[region];
	v.in_slot = page - g->first < g->pages;
	v.is_shared = g->is_shared[page];
	return v;
}

bool unchanged(unsigned int then, atomic_uint *now)
{
	return !(then % 2) && *now == then;
}

bool page_unchanged(struct torture *t, const struct view *v)
{
	return unchanged(v->epoch, &t->regions[region_of(t, v->page)].epoch);
}

bool guest_unchanged(struct torture *t, const struct view *v)
{
	return unchanged(v->slot_seq, &v->g->slot_seq) &&
	       unchanged(v->attr_seq, &v->g->attr_seq[region_of(t, v->page)]);
}

bool not_stale(struct torture *t, const struct view *v, __u32 word)
{
	unsigned int newest = t->pages[v->page].serial;

	return !word || (kind_of(word) == STAMP && page_of(word) == v->page &&
			 !before(word, v->oldest) && !before(newest, word));
}

void check_stamp(struct torture *t, const struct view *v, __u32 word, const char *reader)
{
	if (page_unchanged(t, v)) {
		t->counts[EXACT]++;
		if (word != v->stamp)
			WRONG(t, "%s: %08x in page %zu, expected %08x", reader, word,
			      v->page, v->stamp);
	} else {
		t->counts[ROUGH]++;
		if (!not_stale(t, v, word))
			WRONG(t, "%s: %08x in page %zu, whose oldest stamp is %04x", reader,
			      word, v->page, v->oldest & 0xffff);
	}
}

void check_guest_word(struct torture *t, const struct view *v, __u32 word)
{
	const __u32 shared = word_of(SHARED, v->page, 0);

	if (!guest_unchanged(t, v)) {
		t->counts[ROUGH]++;
		if (word != shared && !not_stale(t, v, word))
			WRONG(t, "guest: %08x in page %zu, which is changed", word, v->page);
	} else if (v->is_shared) {
		t->counts[EXACT]++;
		if (word != shared)
			WRONG(t, "guest: %08x in shared page %zu", word, v->page);
	} else {
		check_stamp(t, v, word, "guest");
	}
}

enum op_end outcome_of(struct vmm_vcpu *vcpu, __s64 ret, __u32 *addr)
{
	struct kvm_run *run = vcpu->run;

	if (ret >= 0)
		return OK;
	if (ret == -EFAULT && run->exit_reason == KVM_EXIT_MEMORY_FAULT &&
	    run->memory_fault.size == PAGE) {
		*addr = run->memory_fault.gpa;
		return HOLE;
	}
	if (ret == -EPROTO && run->exit_reason == KVM_EXIT_MMIO) {
		*addr = run->mmio.phys_addr;
		return MMIO;
	}
	return OTHER;
}

/* Private memory, and the memslot has it: is it there? */
static bool may_end_private(struct torture *t, const struct view *v, enum op_end outcome)
{
	bool keeps = v->g->flags & KVM_MEM_MEMFD_KEEP_HOLES;

	if (outcome == HOLE && !keeps)	/* such a hole is filled, but behind the end */
		return !unchanged(v->cut, &t->cut);
	if (outcome == MMIO)
		return false;
	if (!page_unchanged(t, v) || !keeps)
		return true;
	if (v->present)
		return outcome == OK;
	return outcome == HOLE || !is_calm(region_of(t, v->page));
}

bool may_end(struct torture *t, const struct view *v, enum op_end outcome)
{
	if (outcome == OTHER)
		return false;
	if (!guest_unchanged(t, v))
		return true;
	/* a private page without a memslot is for user space as well */
	if (!v->in_slot)
		return outcome == (v->is_shared ? MMIO : HOLE);
	return v->is_shared ? outcome == OK : may_end_private(t, v, outcome);
}

static void count_exit(struct torture *t, const struct view *v, enum op_end outcome,
		       struct vmm_vcpu *vcpu)
{
	if (outcome == MMIO)
		t->counts[MMIO_EXITS]++;
	if (outcome != HOLE)
		return;
	t->counts[HOLE_EXITS]++;
	if (vcpu->run->memory_fault.flags == KVM_MEMORY_EXIT_FLAG_PRIVATE)
		return;
	/* it was shared when the fault began, and private then */
	t->counts[CHANGED_EXITS]++;
	if (guest_unchanged(t, v))
		WRONG(t, "exit for page %zu with flags %llx", v->page,
		      vcpu->run->memory_fault.flags);
}

enum op_end check_outcome(struct torture *t, const struct view *v,
			  struct vmm_vcpu *vcpu, __s64 ret)
{
	__u32 gpa = v->g->gpa + v->page * PAGE, addr = gpa;
	enum op_end outcome = outcome_of(vcpu, ret, &addr);

	if (!may_end(t, v, outcome) || addr / PAGE != gpa / PAGE)
		WRONG(t, "%s, page %zu (%s, %s, %s): %lld, exit %u, at %08x",
		      v->g->name, v->page, v->present ? "present" : "hole",
		      v->in_slot ? "in memslot" : "in none",
		      v->is_shared ? "shared" : "private", ret, vcpu->run->exit_reason,
		      addr);
	count_exit(t, v, outcome, vcpu);
	return outcome;
}
