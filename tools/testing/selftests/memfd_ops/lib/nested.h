/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A guest in the guest: a vCPU runs VMRUN, and from then on executes its ops as the
 * nested guest. That has the same memory at the same addresses, by nested page tables
 * which the guest keeps in its low memory, so that KVM shadows them.
 *
 * Functions return 0, or a negative errno.
 */
#ifndef TEST_NESTED_H
#define TEST_NESTED_H

#include "kvm.h"

/*
 * Let vCPU @n have SVM, before its first op. -EOPNOTSUPP if the processor has none, or
 * KVM does not emulate it.
 */
int nested_prepare(struct vmm *vmm, int n);

/* Enter the nested guest. */
int nested_enter(struct vmm *vmm, int n);

#endif /* TEST_NESTED_H */
