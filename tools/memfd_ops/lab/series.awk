# SPDX-License-Identifier: GPL-2.0
#
# awk -f series.awk SERIES FILES: "PATCH<tab>FILE" for each of FILES (one a line), in
# the order of the series. Fails unless each file belongs to exactly one patch, and each
# pattern to a file. In SERIES, a line is a patch, or with white space before it, one of
# the patterns of that patch.

function complain(message) {
	print series ": " message >"/dev/stderr"
	failed = 1
}

FNR == 1 && FNR == NR { series = FILENAME }

FNR == NR && /^[^#[:space:]]/ { patch = $1 }

FNR == NR && /^[[:space:]]+[^#[:space:]]/ {
	patches[++n] = patch
	patterns[n] = regex = $1
	gsub(/[.+]/, "[&]", regex)
	gsub(/\*/, "[^/]*", regex)
	sub(/\/$/, "/.*", regex)
	regexes[n] = "^" regex "$"
}

FNR == NR { next }

{
	matches = 0
	for (i = 1; i <= n; i++) {
		if ($0 ~ regexes[i]) {
			matches++
			found = i
		}
	}
	if (matches == 1)
		files[found] = files[found] patches[found] "\t" $0 "\n"
	else
		complain(matches " patterns match " $0)
}

END {
	for (i = 1; i <= n; i++) {
		if (!(i in files))
			complain("no file matches " patterns[i])
		printf "%s", files[i]
	}
	exit failed
}
