"""`kill -9` of the daemon at random moments, while turns come and the sink fails: nothing is lost, nothing comes twice.

TURNLOG_KILL_ROUNDS sets how often (3 in the normal run), TURNLOG_SEED the moments.
"""

import os
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from turnlog import Recorder
from turnlog.daemon.lock import holder_of, is_locked
from turnlog.daemon.process import send
from turnlog.testing.proxy import HALF, RESET_AFTER, RESET_BEFORE, FaultProxy, status_fault

from ..waiting import until
from .daemons import Service
from .support import DEADLINE_SECONDS, Cli, Receiver, Witness, owed
from .test_crash import end, moments  # noqa: F401 - a fixture

ROUNDS = int(os.environ.get("TURNLOG_KILL_ROUNDS", "3"))
FAULTS = (HALF, RESET_BEFORE, RESET_AFTER, status_fault(500), status_fault(503))
FAULTY = 0.3
"""The share of requests that meet a fault."""


@contextmanager
def talking(cli: Cli, pauses: random.Random) -> Iterator[list[int]]:
    """Record a turn every few milliseconds, in some conversations; how many there are by now."""
    count, over = [0], threading.Event()

    def talk() -> None:
        with Recorder(cli.directory, durability="os") as recorder:
            while not over.wait(pauses.uniform(0.005, 0.03)):
                message = {"role": "user", "content": f"turn {count[0]}"}
                recorder.record(messages=[message], conversation=f"c{count[0] % 5}", turn_id=str(count[0]))
                count[0] += 1

    thread = threading.Thread(target=talk)
    thread.start()
    try:
        yield count
    finally:
        over.set()
        thread.join(DEADLINE_SECONDS)


def kill_while_starting(cli: Cli, seconds: float) -> None:
    """Begin a daemon and kill it so soon, wherever it is."""
    process = cli.start("daemon", "run")
    time.sleep(seconds)  # the moment is the test: there is no condition to wait for
    end(process)


def kill_while_delivering(cli: Cli, service: Service, events: int) -> None:
    """Start the daemon, kill it when it has written so much more, and see that nobody believes it alive."""
    service.start()
    holder = holder_of(cli.directory)
    assert holder is not None
    last = cli.log().last_seq()
    until(lambda: cli.log().last_seq() >= last + events)
    assert send(holder.pid, holder.started, signal.SIGKILL)
    until(lambda: not is_locked(cli.directory))
    assert holder_of(cli.directory) is None
    assert service.status()["state"] == "not running"
    assert cli.ok("daemon", "stop").out == "no daemon runs\n"


def test_a_daemon_that_is_killed_again_and_again_delivers_each_turn_once(
    cli: Cli,
    service: Service,
    receiver: Receiver,
    moments: random.Random,  # noqa: F811
) -> None:
    """It starts again every time without help, and is never taken for one that runs."""
    with FaultProxy(receiver.url) as proxy:
        chance = random.Random(moments.random())
        proxy.rule = lambda *_: chance.choice(FAULTS) if chance.random() < FAULTY else None
        sink = receiver.sink("connections = 2\nturns = 3").replace(receiver.url, proxy.url)
        sync = "base_seconds = 0.01\nmax_attempts = 1000\nprobe_seconds = 0.02\nprobe_max_seconds = 0.1"
        cli.configure(sink, sync=sync)
        witness = Witness(cli.directory)
        with talking(cli, random.Random(moments.random())) as said:
            until(lambda: said[0])
            for number in range(ROUNDS):
                if number % 3 == 2:
                    kill_while_starting(cli, moments.uniform(0.0, 0.6))
                else:
                    kill_while_delivering(cli, service, moments.randint(1, 60))
                witness.look()
        service.start()
        until(lambda: service.sink()["delivered"] == said[0])
        cli.ok("daemon", "stop")
    witness.look()
    assert receiver.messages() == owed(cli)
    assert cli.states() == {"delivered": said[0]}
    assert cli.ok("verify", "--json").object["ok"]
    print(f"killed {ROUNDS} times, {said[0]} turns, {proxy.faulted} requests met a fault")
