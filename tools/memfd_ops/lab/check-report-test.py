#!/usr/bin/env python3
# SPDX-License-Identifier: GPL-2.0
#
# check-report-test.py KUNIT: give check-report.py results with a fault in them, and show
# that it misses none. Prints the faults that it misses.

import os
import subprocess
import sys

LAB = os.path.dirname(os.path.abspath(__file__))
WHY = "this IOMMU cannot replace a table that is not empty"

SUITE = ("kunit memfd_ops", 0, "KTAP version 1\n1..1\n    KTAP version 1\n"
         "    # Subtest: memfd_ops\n    1..2\n    ok 1 a\n    ok 2 b\nok 1 memfd_ops\n")
PARAMETERS = ("        KTAP version 1\n        # Subtest: b\n        ok 1 x\n        ok 2 y\n"
              "    ok 2 b\n")


def tap(*lines):
    return "\n".join(("TAP version 13", *lines, ""))


def test(status, *lines, name="rights_test"):
    return f"kselftest {name}", status, tap(*lines)


def kvm(status, text=""):
    return "kselftest kvm/guest_memfd_test", status, text


# The fault, the sections of the output, and the numbers of "passed failed skipped".
CASES = (
    ("", [SUITE, test(0, "1..2", "# x", "ok 1 a", "ok 2 b")], "4 0 0"),
    ("", [SUITE, test(0, "1..2", "ok 1 a", f"ok 2 b # SKIP {WHY}")], "3 0 1"),
    ("", [SUITE, test(4, f"1..0 # SKIP {WHY}")], "2 0 1"),
    ("", [SUITE, kvm(0)], "3 0 0"),
    ("", [(*SUITE[:2], SUITE[2].replace("    ok 2 b\n", PARAMETERS)), kvm(0)], "4 0 0"),
    ("", [SUITE, kvm(4, f"1..0 # SKIP {WHY}\n")], "2 0 1"),
    ("no suite", [test(0, "1..1", "ok 1 a")], "1 1 0"),
    ("no kselftest", [SUITE], "2 1 0"),
    ("a failure", [SUITE, test(1, "1..2", "ok 1 a", "not ok 2 b")], "3 1 0"),
    ("a failure, status 0", [SUITE, test(0, "1..2", "ok 1 a", "not ok 2 b")], "3 1 0"),
    ("a number twice", [SUITE, test(0, "1..3", "ok 1 a", "ok 1 a", "ok 2 b")], "5 2 0"),
    ("one more", [SUITE, test(0, "1..1", "ok 1 a", "ok 2 b")], "3 1 0"),
    ("one more fails", [SUITE, test(0, "1..1", "ok 1 a", "not ok 2 b")], "3 1 0"),
    ("one less", [SUITE, test(0, "1..2", "ok 1 a")], "3 1 0"),
    ("a crash", [SUITE, test(139, "1..2", "ok 1 a")], "3 1 0"),
    ("the guest's end", [SUITE, test(None, "1..1", "ok 1 a")], "3 1 0"),
    ("status", [SUITE, test(1, "1..1", "ok 1 a")], "3 1 0"),
    ("status 4", [SUITE, test(4, "1..1", "ok 1 a")], "3 1 0"),
    ("no case", [SUITE, test(0, "1..0")], "2 1 0"),
    ("no plan", [SUITE, test(0, "ok 1 a")], "2 1 0"),
    ("the plan last", [SUITE, test(0, "ok 1 a", "1..1")], "2 1 0"),
    ("two plans", [SUITE, test(0, "1..1", "1..1", "ok 1 a")], "2 1 0"),
    ("no number", [SUITE, test(0, "1..1", "ok 1 a", "not ok b")], "2 1 0"),
    ("no version", [SUITE, ("kselftest rights_test", 0, "1..1\nok 1 a\n")], "2 1 0"),
    ("no output", [SUITE, ("kselftest rights_test", 0, "")], "2 1 0"),
    ("a skip", [SUITE, test(0, "1..2", "ok 1 a", "ok 2 b # SKIP no /dev/kvm")], "3 1 0"),
    ("no reason", [SUITE, test(0, "1..2", "ok 1 a", "ok 2 b # SKIP")], "3 1 0"),
    ("all skipped", [SUITE, test(4, "1..0 # SKIP no /dev/kvm")], "2 1 0"),
    ("KVM status", [SUITE, kvm(254)], "2 1 0"),
    ("KVM skips", [SUITE, kvm(0, "Skipping tests for vm_type 0x4\n")], "3 1 0"),
    ("KVM TAP", [SUITE, kvm(0, tap("1..2", "ok 1 a"))], "3 1 0"),
    ("half a suite", [(*SUITE[:2], SUITE[2].replace("    ok 2 b\n", "")),
                      test(0, "1..1", "ok 1 a")], "2 1 0"),
    ("a suite fails", [(*SUITE[:2], SUITE[2].replace("\nok", "\nnot ok")),
                       test(0, "1..1", "ok 1 a")], "3 1 0"),
    ("no results", [("kunit memfd_ops", 0, ""), test(0, "1..1", "ok 1 a")], "1 1 0"),
)

for fault, sections, expected in CASES:
    output = ""
    for name, status, text in sections:
        end = f"\nlab: end {status}\n" if status is not None else ""
        output += f"lab: begin {name}\n{text}{end}"
    report = subprocess.run([f"{LAB}/check-report.py", sys.argv[1], f"{LAB}/skips", "virtio"],
                            input=output, text=True, capture_output=True, timeout=60)
    numbers = [word for word in report.stdout.splitlines()[-1:] for word in word.split()[::2]]
    if " ".join(numbers) != expected or report.returncode != (expected.split()[1] != "0"):
        print(f"check-report.py: {fault or 'all is well'}: expected {expected}, got:")
        print(report.stdout, report.stderr)
