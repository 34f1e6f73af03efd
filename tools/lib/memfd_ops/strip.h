/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Strips: pages, or columns of several pages, drawn as one line of characters.
 *
 *	#	all pages of the column
 *	+	a part of them
 *	.	none of them
 *	(blank)	outside the window
 */
#ifndef MEMFD_OPS_STRIP_H
#define MEMFD_OPS_STRIP_H

#include <stdbool.h>
#include <stdio.h>

/* Is the file a terminal, and has the user not asked for plain text? */
bool strip_colour(FILE *out);

/* Print "  label    |strip|", the label in at least @width columns, without a newline. */
void strip_draw(FILE *out, const char *label, int width, const char *strip);

#endif /* MEMFD_OPS_STRIP_H */
