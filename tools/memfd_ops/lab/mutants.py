#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""mutants.py TREE: check the patches in mutants/ without building them.

Each must have a complete head, name tests that there are, and apply to exactly one place
of the patched TREE. At least three break each invariant. Prints the faults, and with
-v how many break each invariant.
"""
import collections
import pathlib
import re
import sys

MUTANTS = pathlib.Path(__file__).parent / "mutants"
INVARIANTS = [f"I{number}" for number in range(1, 13)]
# A promise of an interface, beyond the invariants
NO_INVARIANT = "none"
SELFTESTS = "tools/testing/selftests/memfd_ops"
KUNIT_TESTS = ("mm/memfd_ops/tests", "drivers/iommu/memfd/tests")


def known_tests(tree):
    """The programs of our kselftests, and our KUnit suites"""
    programs = {path.stem for path in (tree / SELFTESTS).glob("*_test.c")}
    for directory in KUNIT_TESTS:
        for path in (tree / directory).glob("*.c"):
            programs.update(re.findall(r'\.name\s*=\s*"(\w+)",\n\s*\.(?:init|test_cases)',
                                       path.read_text()))
    return programs


def hunks(diff):
    """(path, old lines) for each hunk"""
    path, old = None, None
    for line in diff.splitlines(keepends=True):
        if line.startswith("--- a/"):
            path = line[6:].strip()
        elif line.startswith("@@"):
            old = []
            yield path, old
        elif old is not None and line[0] in " -":
            old.append(line[1:])
        elif old is not None and line[0] != "+":
            old = None


def problems(name, text, tree, tests):
    """The faults of a mutant"""
    head, _, diff = text.partition("\n---\n")
    fields = dict(re.findall(r"^(\w+): (.*)$", head, re.M))
    invariant = fields.get("Invariant")
    if invariant not in INVARIANTS and invariant != NO_INVARIANT:
        yield f"Invariant: {invariant}"
    if not fields.get("Tests"):
        yield "no Tests"
    for test in fields.get("Tests", "").split():
        if test.split(".")[0] not in tests:
            yield f"there is no test {test}"
    found = list(hunks(diff))
    if not found:
        yield "no hunk"
    for path, old in found:
        count = (tree / path).read_text().count("".join(old))
        if count != 1:
            yield f"a hunk applies to {count} places of {path}"


def main(tree, verbose):
    """Check them all; the exit status"""
    tests = known_tests(tree)
    counts = collections.Counter()
    failed = False
    for patch in sorted(MUTANTS.glob("*.patch")):
        text = patch.read_text()
        counts.update(re.findall(r"^Invariant: (\w+)$", text, re.M))
        for problem in problems(patch.stem, text, tree, tests):
            print(f"{patch.name}: {problem}")
            failed = True
    for invariant in INVARIANTS:
        if counts[invariant] < 3:
            print(f"{invariant}: {counts[invariant]} mutants, fewer than three")
            failed = True
    if verbose:
        for invariant in INVARIANTS + [NO_INVARIANT]:
            print(f"{invariant:<5} {counts[invariant]:>3}")
        print(f"all   {sum(counts.values()):>3}")
    return failed


if __name__ == "__main__":
    sys.exit(main(pathlib.Path(sys.argv[1]), "-v" in sys.argv[2:]))
