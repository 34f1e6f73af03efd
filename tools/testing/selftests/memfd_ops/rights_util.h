/* SPDX-License-Identifier: GPL-2.0 */
#include "test_util.h"
#include "lib/rights.h"
