"""The bench itself: what makes a training repeatable, whatever project lies on it."""

import signal
import sys

# One of our commands begins (python -m): until command.run takes over, Ctrl-C ends it without a stack.
if sys.argv[:1] == ["-m"] and signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
