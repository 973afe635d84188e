"""Hypothesis profiles, chosen by the environment variable HYPOTHESIS_PROFILE.

`dev` is quick; `ci` looks further and prints how to repeat what it found; `deterministic` tries the same each time,
and is what a run with CI set takes: there a failure should be the change's, not the day's.
None has a deadline: the tests write files, and a disk may pause.
"""

import os
import signal

from hypothesis import settings

settings.register_profile("dev", max_examples=60, deadline=None)
settings.register_profile("ci", max_examples=200, deadline=None, print_blob=True)
settings.register_profile("deterministic", max_examples=60, deadline=None, derandomize=True)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("deterministic" if os.environ.get("CI") else "dev"))

# A shell that runs the tests in the background has them ignore Ctrl-C, which the programs under test would inherit.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
