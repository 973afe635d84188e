"""A small writer that is run under strace: tells what is acknowledged and what fails, and goes on in any case."""

import sys
from pathlib import Path

from builds import Build
from rounds import seeded
from writers import append_and_tell

from eventlog import AppendFailed, EventLogError


def main(directory: str, seed: str, appends: str, broken: str = "") -> None:
    """Append some batches one after the other; opens the log again if that fails."""
    random, log = seeded(seed), None
    segment_bytes = random.choice([400, 2000, 100_000])
    for number in range(int(appends)):
        try:
            log = log or Build(broken or None).open(Path(directory), segment_bytes=segment_bytes)
            append_and_tell(log, "lone", number, random.choice([1, 1, 2, 5]), 1)
        except EventLogError as error:
            what = "append" if isinstance(error, AppendFailed) else "open"
            print(f"!{what}: {error}", flush=True)
    if log is not None:
        log.close()


if __name__ == "__main__":
    main(*sys.argv[1:])
