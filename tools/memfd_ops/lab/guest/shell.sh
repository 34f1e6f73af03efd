#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# shell.sh TERM [ROWS COLUMNS]: an interactive shell, for a terminal of that type and
# size. Ctrl-C reaches the guest.

export TERM="$1" PS1='guest:\w# '
stty sane
[ $# -lt 3 ] || stty rows "$2" cols "$3"
exec sh
