# SPDX-License-Identifier: GPL-2.0
#
# Counts the results in what guest/tests.sh printed: TAP, whose cases are indented
# by nothing in a kselftest, and by four spaces in a KUnit suite. -v skips=FILE has
# the reasons that a skip may have, as regular expressions; those after "IOMMU=NAME "
# hold with -v iommu=NAME alone. Any other skip is a failure.
# KVM's own selftests print TAP only to be skipped: their exit status is their result.
# Prints the failures, the skips and, last, "PASSED FAILED SKIPPED".

function problem(text) {
	print "FAILED: " name ": " text
	failed++
}

function skip(why) {
	for (i = 0; i < allowed; i++)
		if (why ~ reason[i]) {
			print "skipped: " name ": " why
			skipped++
			return
		}
	problem("skipped, which is not allowed: " why)
}

# Takes the IOMMU's name off the line.
function for_this_iommu() {
	if (!match(line, /^IOMMU=[a-z]+ /))
		return 1
	if (substr(line, 7, RLENGTH - 7) != iommu)
		return 0
	line = substr(line, RLENGTH + 1)
	return 1
}

# The end of a program, or of the guest in the middle of it.
function finish(status) {
	if (planned == "" && name ~ /^kvm\//) {
		if (status != 0)
			problem("ended with status " status)
		else if (failed == failed_before)
			passed++
	} else if (planned == "")
		problem("ended without a plan, with status " status)
	else if (seen < planned)
		problem(seen " results of " planned ", then status " status)
	else if (status != 0 && status != 4 && failed == failed_before)
		problem("every case passed, and yet status " status)
	name = ""
}

BEGIN {
	while ((getline line < skips) > 0)
		if (line != "" && line !~ /^#/ && for_this_iommu())
			reason[allowed++] = line
}

/^lab: begin / {
	if (name)
		finish("unknown")
	kunit = $3 == "kunit"
	name = $0
	sub(/^lab: begin [^ ]+ /, "", name)
	planned = ""
	seen = 0
	failed_before = failed
	programs[$3]++
	next
}

/^lab: end / {
	if (name)
		finish($3)
	next
}

!name || (kunit && !sub(/^    /, "")) {
	next
}

/^1\.\.[0-9]+/ {
	planned = substr($1, 4) + 0
	if (planned == 0 && match($0, /# SKIP */))
		skip(substr($0, RSTART + RLENGTH))
}

/^(not )?ok / {
	seen++
	if (match($0, /# SKIP */))
		skip(substr($0, RSTART + RLENGTH))
	else if ($1 == "not")
		problem($0)
	else
		passed++
}

# What KVM's own selftests say when they leave a part of them out.
/^Skipping tests for / {
	skip($0)
}

END {
	if (name)
		finish("unknown")
	name = "make check"
	if (!programs["kunit"])
		problem("no KUnit suite ran")
	if (!programs["kselftest"])
		problem("no kselftest ran")
	print passed + 0, failed + 0, skipped + 0
}
