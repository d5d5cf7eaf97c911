"""Every test process holds the CPU level before torch is loaded, as every door of ours does."""

import signal

from samebench import determinism

determinism.pin()
signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored, and so it would be by what the tests start
