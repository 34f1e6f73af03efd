#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
#
# fuzz.sh SECONDS [SEED]: the fuzzer of the kselftests

/lab/keep-vm || exit
/selftests/memfd_fuzz "$@"
status=$?

# shellcheck source=tools/memfd_ops/lab/guest/leaks.sh
. /lab/leaks.sh
exit $status
