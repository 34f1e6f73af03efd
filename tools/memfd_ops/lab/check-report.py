#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# check-report.py KUNIT SKIPS IOMMU: count the results in the output of guest/tests.sh,
# which is the standard input, with the KTAP parser in the directory KUNIT. The file SKIPS
# lists why a test may be skipped, as regular expressions; those after "IOMMU=NAME " hold
# with that IOMMU only. Any other skip is a failure.

import io
import re
import sys

sys.dont_write_bytecode = True
sys.path.insert(0, sys.argv[1])
import kunit_parser as ktap  # noqa: E402
from kunit_printer import Printer  # noqa: E402

BEGIN = re.compile(r"^lab: begin (kunit|kselftest) (.*)\n", re.M)
END = re.compile(r"^lab: end (\d+)(?:, (\d+) s)?$", re.M)
SKIP = re.compile(r"^\s*(?:(?:not )?ok .*|1\.\.0 *)# SKIP *(.*)", re.M)
# A version, a plan, results: the parser accepts no plan, and hangs on a late one. KUnit
# prints none for the parameters of a case.
KINDS = ((ktap.KTAP_START, "V"), (ktap.TAP_START, "V"), (ktap.TEST_PLAN, "P"),
         (ktap.TEST_RESULT, "R"), (re.compile(r"\s*(not )?ok\b"), "?"))
COMPLETE = re.compile(r"VPR*(VP?R*)*")

LONGEST = 10  # that many programs are listed with their time

counts = {"passed": 0, "failed": 0, "skipped": 0}
seconds = {}


def problem(name, text):
    counts["failed"] += 1
    print(f"FAILED: {name}: {text}")


def skip(name, reason):
    if not any(re.search(allowed, reason) for allowed in skips):
        return problem(name, f"skipped, which is not allowed: {reason}")
    counts["skipped"] += 1
    print(f"skipped: {name}: {reason}")


def read_skips(path, iommu):
    for line in open(path):
        match = re.match(r"(?:IOMMU=(\w+) )?([^#\n].*)", line)
        if match and match[1] in (None, iommu):
            yield match[2]


def failures(test):
    """The failed tests, without their parents: these fail because of them."""
    return ([name for child in test.subtests for name in failures(child)] or
            [test.name] * (not test.ok_status()))


def parse(name, text):
    """The problems in KTAP; and the number of tests that pass, and are skipped."""
    log = io.StringIO()
    ktap.stdout = Printer(log)
    lines = ktap.extract_tap_lines(text.splitlines())
    main = ktap.parse_test(lines, 0, [], False)
    ktap.parse_diagnostic(lines)
    problems = [f for child in main.subtests for f in failures(child) if f]
    problems += re.findall(r"\[ERROR\] Test: (.*)", log.getvalue())
    if lines:
        problems.append(f"beyond the plan: {lines.peek()}")
    return list(dict.fromkeys(problems)), main.counts.passed, main.counts.skipped


def count(name, text, status):
    kinds = "".join(next((kind for pattern, kind in KINDS if pattern.match(line)), "")
                    for line in text.splitlines())
    reasons = SKIP.findall(text)
    # Linux's own KVM selftests: their exit status is their result, unless they are skipped.
    if name.startswith("kvm/") and kinds in ("", "P"):
        reasons += re.findall("^Skipping tests for .*", text, re.M)
        problems, passed, nr_skipped = [], int(status == "0"), len(reasons)
    elif kinds in ("P", "VP") and reasons:
        problems, passed, nr_skipped = [], 0, 1
    elif not COMPLETE.fullmatch(kinds):
        problems, passed, nr_skipped = ["no results that follow a plan"], 0, len(reasons)
    else:
        problems, passed, nr_skipped = parse(name, text)
    if nr_skipped > len(reasons):
        problems.append("skipped without a reason")
    if status != "0" and not problems and not (status == "4" and reasons):
        problems.append("no test failed")
    for text in problems:
        problem(name, f"{text} (exit status {status})")
    for reason in reasons:
        skip(name, reason)
    counts["passed"] += passed


sys.stdin.reconfigure(errors="replace")
skips = list(read_skips(*sys.argv[2:4]))
output = sys.stdin.read()
parts = BEGIN.split(output)
for kind, name, text in zip(parts[1::3], parts[2::3], parts[3::3]):
    end = END.search(text)
    if end and end[2]:
        seconds[name] = seconds.get(name, 0) + int(end[2])
    count(name.split(" -r ")[0], text[:end.start()] if end else text,
          end[1] if end else "unknown")
for kind, title in (("kunit", "KUnit suite"), ("kselftest", "kselftest")):
    if kind not in parts[1::3]:
        problem("make check", f"no {title} ran")
for text in re.findall("^lab: problem: (.*)", output, re.M):
    problem("make check", text)
for name in sorted(seconds, key=seconds.get, reverse=True)[:LONGEST]:
    print(f"{seconds[name]:6} s  {name}")
print(", ".join(f"{number} {what}" for what, number in counts.items()))
sys.exit(counts["failed"] > 0)
