/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TEST_NOTE_H
#define TEST_NOTE_H

/* Print a line of diagnostics, as TAP has them. */
void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...);

/* Note what each thread of a process does, and where in the kernel: one is stuck. */
void note_threads(int pid);

#endif /* TEST_NOTE_H */
