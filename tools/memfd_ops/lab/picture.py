#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0
"""picture.py <OUTPUT >PICTURE.svg: draw what memfd-ops-show has printed.

From the demo's output it takes the step that runs memfd-ops-show.
"""

import re
import sys
from xml.sax.saxutils import escape

CELL, ROW, LABEL, REST = 9, 22, 150, 330
COLOURS = {"#": "#2e8b57", "+": "#e0a030", ".": "#e4e7eb"}
FILE = re.compile(r"dev \d+:\d+ ino \d+ ")
STRIP = re.compile(r"  (.{22,}?)\|([#+.? ]+)\|(.*)")


def rows(lines):
    """The tool's lines: ("file", text) and ("strip", label, strip, rest)."""
    for line in lines:
        line = line.rstrip("\r\n")
        strip = STRIP.fullmatch(line)
        if FILE.match(line):
            yield "file", line
        elif strip:
            yield "strip", strip[1].strip(), strip[2], strip[3].strip()


def cells(strip, y):
    for run in re.finditer(r"#+|\++|\.+", strip):
        for column in range(run.start(), run.end()):
            yield (f'<rect x="{LABEL + column * CELL}" y="{y - 12}" '
                   f'width="{CELL - 1}" height="15" '
                   f'fill="{COLOURS[strip[column]]}"/>')


def text(x, y, content, extra=""):
    return f'<text x="{x}" y="{y}"{extra}>{escape(content)}</text>'


def draw(lines):
    out, y, columns = [], 10, 0
    for row in rows(lines):
        y += ROW
        if row[0] == "file":
            y += 4
            out.append(text(10, y, row[1], ' font-weight="bold"'))
            continue
        _, label, strip, rest = row
        columns = max(columns, len(strip))
        out.append(text(10, y, label))
        out.extend(cells(strip, y))
        out.append(text(LABEL + columns * CELL + 10, y, rest, ' fill="#57606a"'))
    if not columns:
        sys.exit("picture.py: no output of memfd-ops-show in the input")
    width, height = LABEL + columns * CELL + REST, y + 14
    return "\n".join([
        '<?xml version="1.0" encoding="UTF-8"?>',
        '<!-- SPDX-License-Identifier: GPL-2.0 -->',
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" '
        f'viewBox="0 0 {width} {height}" font-family="monospace" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>', *out, "</svg>"])


if __name__ == "__main__":
    print(draw(sys.stdin))
