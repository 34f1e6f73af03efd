#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# command.sh COMMAND: the user's command, for the shell.

exec sh -c "$1"
