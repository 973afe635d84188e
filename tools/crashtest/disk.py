"""A disk that forgets, block by block, what was not synced, under writers and machines that die at any call.

Every fourth seed plays with threads, whose order is the system's; with the others a seed says all that happens.
"""

import errno
import sys
import threading
from dataclasses import dataclass, field
from random import Random

from promises import look
from rounds import Round, seeded
from sayings import Id, batch_of, event_of

from eventlog import AppendFailed, EventLog, LogUnavailable
from eventlog.blobs import Blobs
from turnlog.testing.disks import Disk, Killed, Life, MortalFiles, os_error

_SWITCH_SECONDS = 1e-5
"""How long a thread runs before another one may: short, so that they meet everywhere."""


class _SickFiles(MortalFiles):
    """Cannot sync, when `sick`; what was to be synced never reaches the disk then."""

    sick = False

    def sync(self, descriptor: int) -> None:
        """Sync, or lose what was to be synced."""
        if self.sick:
            with self.disk.lock:
                self.disk.drop(descriptor)
            raise os_error(errno.EIO)
        super().sync(descriptor)


@dataclass
class _Process:
    """One handle on the log, and the one life that it has besides the machine's."""

    name: str
    log: EventLog
    files: _SickFiles
    blobs: Blobs
    life: Life
    durable: bool
    number: int = 0
    distrusts: bool = False  # it could not sync, and has not begun a new segment since


@dataclass
class _Promises:
    """What was acknowledged: `handed` to the operating system, and as `durable` up to a seq.

    An append that is durable makes all before it durable, unless a sync has failed since the power was cut last
    (`sick`): then what was only handed over is `doubtful`, for it may never reach the disk, whatever is synced later.
    """

    handed: dict[Id, int] = field(default_factory=dict)
    doubtful: set[Id] = field(default_factory=set)
    sick: bool = False
    durable: int = 0
    blobs: dict[str, bytes] = field(default_factory=dict)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, ids: list[Id], seqs: range, *, durable: bool) -> None:
        """An append returned."""
        with self.lock:
            if durable:
                self.reach(seqs[0] - 1)
                self.durable = max(self.durable, seqs[-1])
            self.handed.update(zip(ids, seqs, strict=True))

    def reach(self, seq: int) -> None:
        """Something durable stands behind the event with this seq."""
        if self.sick:
            self.doubtful |= {identity for identity, other in self.handed.items() if self.durable < other <= seq}
        self.durable = max(self.durable, seq)

    def after_power_cut(self) -> dict[Id, int]:
        """What must be there then."""
        return {
            identity: seq
            for identity, seq in self.handed.items()
            if seq <= self.durable and identity not in self.doubtful
        }


class _Machine:
    """A disk, and the processes that come and go on it."""

    def __init__(self, this: Round) -> None:
        self.round = this
        self.random = this.random
        self.disk = Disk(seeded(self.random.random()), block_bytes=self.random.choice([4096, 4096, 512]))
        self.promises = _Promises()
        self.big = self.random.random() < 0.2  # much is not synced: a power cut may leave a gap far from the end
        self.batches = (1, 40, 250) if self.big else (1, 1, 1, 2, 7, 40)
        self.often_synced = 0.2 if self.big else 0.8
        self.segment_bytes = 1_000_000 if self.big else int(10 ** self.random.uniform(2.5, 5))
        self.threads = this.seed % 4 == 3
        self.power = Life()
        self.scarred = False  # whether the power was cut after a sync had failed
        self._processes = 0

    def switch_on(self) -> None:
        """The machine runs until a call that is drawn."""
        self.power = Life(self._draw_end(), self.random.random())

    def _draw_end(self) -> int:
        return self.random.choice([self.random.randrange(12), self.random.randrange(60), self.random.randrange(250)])

    def start(self, *, immortal: bool = False) -> _Process:
        """Another process. Raises Killed if it, or the machine, dies of it."""
        self._processes += 1
        name, mortal = f"p{self._processes}", not immortal and self.random.random() < 0.4
        life = Life(self._draw_end() if mortal else -1, self.random.random())
        files = self.round.build.files(_SickFiles, self.disk, life, self.power)
        durable = self.random.random() < 0.7
        log = self.round.build.open(
            self.round.directory,
            durability="fsync" if durable else "os",
            segment_bytes=self.segment_bytes,
            files=files,
        )
        return _Process(name, log, files, Blobs(self.round.directory / "blobs", files), life, durable)

    def crash(self) -> None:
        """Everybody dies, perhaps with the power; then what was promised is looked for."""
        self.round.crashes += 1
        power_cut = self.random.random() < 0.7
        self.power.dead = True
        if power_cut:
            self.disk.cut_power(self.random.choice([None, 0.97]) if self.big else None)
        self.check(power_cut=power_cut)

    def check(self, *, power_cut: bool = False, settled: bool = False) -> None:
        """Look for what was promised; from then on all that is there is as good as handed over."""
        promises = self.promises
        promised = promises.after_power_cut() if power_cut else promises.handed
        self.scarred |= power_cut and promises.sick
        how = {"settled": settled, "explained": not self.scarred}
        seen = look(self.round.directory, promised, self.round.broken, **how)
        if seen is not None:
            if promises.sick:  # what nobody acknowledged may be what could not be synced
                promises.doubtful |= seen.own.keys() - promises.handed.keys()
            promises.handed = dict(seen.own)
        if power_cut:
            promises.doubtful, promises.sick = set(), False
        blobs = Blobs(self.round.directory / "blobs")
        for digest, data in promises.blobs.items():
            try:
                found = blobs.get(digest)
            except KeyError:
                self.round.broken.append(f"blob {digest[:12]} was acknowledged and is not there")
                continue
            if found != data:
                self.round.broken.append(f"blob {digest[:12]} is not what was put")


def disk_round(this: Round) -> None:
    """Several lives on one disk: writers append in turn or by threads, die, and the power goes."""
    machine = _Machine(this)
    before, acknowledged = sys.getswitchinterval(), 0
    sys.setswitchinterval(_SWITCH_SECONDS)
    try:
        for _ in range(this.random.randint(3, 6)):
            if this.broken:
                break
            machine.switch_on()
            acknowledged += _live(machine)
            machine.crash()
        if not this.broken:
            acknowledged += _live_well(machine)
    finally:
        sys.setswitchinterval(before)
    this.events = acknowledged


def _live(machine: _Machine) -> int:
    """One life of a machine; returns how many events were acknowledged."""
    before = len(machine.promises.handed)
    processes: list[_Process] = []
    for _ in range(machine.random.randint(1, 3)):
        try:
            processes.append(machine.start())
        except (Killed, LogUnavailable) as end:
            _expected(machine, end)
    if machine.threads and processes:
        _run_threads(machine, processes)
    else:
        for _ in range(machine.random.randint(1, 40)):
            if processes:
                _step_in_turn(machine, processes)
    return len(machine.promises.handed) - before


def _live_well(machine: _Machine) -> int:
    """A last life without faults: the log goes on, and there is nothing to say against it."""
    machine.power = Life()
    before = len(machine.promises.handed)
    process = machine.start(immortal=True)
    for _ in range(3):
        _append(machine, process, machine.random)
    process.log.close()
    machine.check(settled=True)
    return len(machine.promises.handed) - before


def _expected(machine: _Machine, end: BaseException) -> None:
    """A process ends only when it was killed."""
    if not isinstance(end, Killed):
        machine.round.broken.append(f"a process could not go on: {end}")


def _step_in_turn(machine: _Machine, processes: list[_Process]) -> None:
    """One of the processes does something; if it dies of it, another may come."""
    process = machine.random.choice(processes)
    try:
        _do_something(machine, process)
    except AppendFailed as error:
        if not machine.promises.sick:  # else this is the one time that this process is told of it
            machine.round.broken.append(f"an append failed without a cause: {error}")
        process.distrusts = True
    except Killed:
        processes.remove(process)
        if not machine.power.dead:
            machine.round.crashes += 1
            try:
                processes.append(machine.start())
            except Killed:
                return


def _do_something(machine: _Machine, process: _Process) -> None:
    what = machine.random.random()
    if what < 0.8:
        _append(machine, process, machine.random)
    elif what < 0.86:
        _sync(machine, process)
    elif what < 0.9:
        _put_blob(machine, process)
    elif what < 0.94:
        _fail_to_sync(machine, process)
    else:
        process.log.close()
        process.log = machine.round.build.open(
            machine.round.directory,
            durability="fsync" if process.durable else "os",
            segment_bytes=machine.segment_bytes,
            files=process.files,
        )


def _append(machine: _Machine, process: _Process, random: Random, author: str = "") -> None:
    parts, sync = random.choice(machine.batches), random.random() < machine.often_synced
    process.number += 1
    ids = batch_of(author or process.name, process.number, parts)
    seqs = process.log.append_many([event_of(identity) for identity in ids], sync=sync)
    process.distrusts = False
    machine.promises.take(ids, seqs, durable=sync and process.durable)


def _sync(machine: _Machine, process: _Process) -> None:
    reached = max(machine.promises.handed.values(), default=0)
    try:
        process.log.sync()
    except AppendFailed:
        if not process.distrusts:
            raise
        return
    if process.durable:
        machine.promises.reach(reached)


def _put_blob(machine: _Machine, process: _Process) -> None:
    data = b"%d " % machine.random.randrange(20) * machine.random.choice([1, 100, 5000])
    digest = process.blobs.put(data)
    machine.promises.blobs[digest] = data


def _fail_to_sync(machine: _Machine, process: _Process) -> None:
    """What could not be synced is not acknowledged; it may never have reached the disk, whatever is synced later."""
    process.files.sick = machine.promises.sick = True
    try:
        _append(machine, process, machine.random)
    except AppendFailed:
        process.distrusts = True
    finally:
        process.files.sick = False


def _run_threads(machine: _Machine, processes: list[_Process]) -> None:
    """Each process has two threads that append until it dies, or they are done."""

    def work(process: _Process, author: str, seed: float) -> None:
        random = seeded(seed)
        try:
            for _ in range(random.randint(1, 15)):
                _append(machine, process, random, author)
        except Killed:
            pass
        except AppendFailed as error:  # another thread died while it wrote for this one
            if not (process.life.dead or machine.power.dead):
                machine.round.broken.append(f"an append failed without a cause: {error}")

    threads = [
        threading.Thread(target=work, args=(process, f"{process.name}.{number}", machine.random.random()))
        for process in processes
        for number in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
