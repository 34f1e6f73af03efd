# SPDX-License-Identifier: GPL-2.0
#
# The project's commands; "make help" lists them. The scripts in tools/memfd_ops/lab/ do
# the work.

LAB := tools/memfd_ops/lab

export ACCEL BASE_CONFIG CHECK CONFIG FILES IOMMU J KDIR MEM QEMU RECORD ROWS SAMPLE SAN SEED T TIMEOUT
# As the user typed it: make would expand a $ in it.
export LAB_CMD := $(value CMD)

help:
	@cat $(LAB)/help.txt

demo picture run shell:
	@$(LAB)/run.sh $@

bench coverage fuzz mutants profile:
	@$(LAB)/$@.sh

check torture:
	@$(LAB)/check.sh $@

lint:
	@$(LAB)/lint.sh

model:
	@$(LAB)/model.sh

regress:
	@$(LAB)/regress.sh

vmm:
	@$(LAB)/vmm.sh

apply:
	@$(LAB)/apply.sh

unapply:
	@$(LAB)/apply.sh -R

series deb:
	@$(LAB)/$@.sh

clean:
	find build -mindepth 1 -maxdepth 1 ! -name linux-6.12 -exec rm -rf {} +

distclean:
	rm -rf build

.PHONY: help bench coverage fuzz mutants profile demo picture run shell check torture lint model \
	regress vmm apply unapply series deb clean distclean
