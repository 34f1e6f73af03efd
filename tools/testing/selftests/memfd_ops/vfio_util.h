/* SPDX-License-Identifier: GPL-2.0 */
#include "test_util.h"
#include "lib/edu.h"
#include "lib/soft_device.h"
#include <memfd_ops/vfio.h>
