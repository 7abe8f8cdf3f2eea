"""What every test of the project starts from."""

import signal

# A shell that starts the tests in the background lets them ignore Ctrl-C, and all programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)
