# SPDX-License-Identifier: GPL-2.0
#
# awk -f races.awk FUNCTIONS LOG: print the first line, with its number, of each of KCSAN's
# reports in a kernel log where one of the three innermost functions on either side is in
# the list FUNCTIONS.

FNR == NR {
	ours[$1] = 1
	next
}

{
	sub(/^\[ *[0-9.]+\] /, "")
}

# With DEBUG_VM_PGFLAGS, all tests of a folio's flags look for a bit in a word that the LRU's
# lists have for a pointer, in which that bit is never set.
/BUG: KCSAN: data-race/ {
	report = / const_folio_flags \/ lru_/ ? "" : FNR ":" $0
	mine = 0
}

/^(read|write|.*\(marked\)).* to 0x.* by (task|interrupt)/ {
	depth = 0
}

/^ [^ ]+\+0x[0-9a-f]+\/0x/ {
	name = $1
	# foo.constprop.0+0x10/0x20 is foo
	sub(/[.+].*/, "", name)
	if (report && depth++ < 3 && name in ours)
		mine = 1
}

/Reported by Kernel Concurrency Sanitizer/ {
	if (report && mine)
		print report
	report = ""
}
