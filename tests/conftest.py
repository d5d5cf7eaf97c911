"""Every test process holds the CPU level before torch is loaded, as every door of ours does."""

from samebench import determinism

determinism.pin()
