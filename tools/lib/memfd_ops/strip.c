// SPDX-License-Identifier: GPL-2.0
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "strip.h"

bool strip_colour(FILE *out)
{
	const char *no_color = getenv("NO_COLOR");
	struct winsize size;

	/* a line to a log, such as the guest's console, has no size */
	return isatty(fileno(out)) && !(no_color && *no_color) &&
	       !ioctl(fileno(out), TIOCGWINSZ, &size) && size.ws_col;
}

static const char *colour_of(char c)
{
	switch (c) {
	case '#': return "1;32";
	case '+': return "33";
	default: return "2";
	}
}

void strip_draw(FILE *out, const char *label, int width, const char *strip)
{
	bool colour = strip_colour(out);
	const char *run;

	fprintf(out, "  %-*s|", width, label);
	for (; *strip; strip = run) {
		for (run = strip; *run == *strip; run++)
			;
		if (colour && *strip != ' ')
			fprintf(out, "\033[%sm%.*s\033[0m", colour_of(*strip),
				(int)(run - strip), strip);
		else
			fprintf(out, "%.*s", (int)(run - strip), strip);
	}
	fprintf(out, "|");
}
