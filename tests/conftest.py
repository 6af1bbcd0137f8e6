"""For all tests: signals mean what they mean at a terminal, whoever runs the tests."""

import signal

# A shell ignores SIGINT for what it starts with "&", nohup ignores SIGHUP, and both are inherited.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
