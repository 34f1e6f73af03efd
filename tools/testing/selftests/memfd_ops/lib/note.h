/* SPDX-License-Identifier: GPL-2.0 */
#ifndef TEST_NOTE_H
#define TEST_NOTE_H

/* Print a line of diagnostics, as TAP has them. */
void __attribute__((format(printf, 1, 2))) note(const char *fmt, ...);

/* Print what each thread of the process does, and where in the kernel: one is stuck. */
void note_threads(void);

#endif /* TEST_NOTE_H */
