"""What the callers do in a storm. A workload makes the bodies of its threads; each runs until ``world.stop``."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import gc
import importlib.util
import os
import signal
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from random import Random
from typing import Any

from .world import World

Body = Callable[[], None]


@dataclass(frozen=True)
class Workload:
    """``starves`` names the modes that cannot be expected to find a moment in which nobody is inside."""

    name: str
    bodies: Callable[[World, int], list[Body]]
    about: str
    needs: str = ""  # a module
    starves: tuple[str, ...] = ()
    noting: bool = True
    around: Callable[[World, int], Any] = lambda world, seed: contextlib.nullcontext()

    def is_available(self) -> bool:
        return not self.needs or importlib.util.find_spec(self.needs) is not None


WORKLOADS: dict[str, Workload] = {}


def _workload(about: str, **options: Any) -> Callable[[Any], Any]:
    def register(bodies: Any) -> Any:
        name = bodies.__name__.replace("_", "-")
        WORKLOADS[name] = Workload(name, bodies, about, **options)
        return bodies

    return register


def mixed_work(world: World, seed: int) -> None:
    """Calls that compute, sleep and raise, and generators that are driven to their end."""
    chance, module = Random(seed), world.module
    while not world.stop:
        (module.outer if chance.random() < 0.5 else module.drive)(chance.randrange(4))
        if chance.random() < 0.3:
            time.sleep(chance.random() * 0.003)


@_workload("threads that compute, sleep and raise")
def threads(world: World, seed: int) -> list[Body]:
    return [partial(mixed_work, world, seed + n) for n in range(6)]


@_workload("20 threads that are inside almost all of the time", starves=("stop-machine",))
def busy(world: World, seed: int) -> list[Body]:
    def work(number: int) -> None:
        chance = Random(seed + number)
        while not world.stop:
            world.module.slow(lambda: time.sleep(0.002 + chance.random() * 0.004))

    return [partial(work, n) for n in range(20)]


@_workload("generators that are kept, finished, closed, thrown into and abandoned")
def generators(world: World, seed: int) -> list[Body]:
    def work(number: int) -> None:
        chance, module = Random(seed + number), world.module
        kept: list[Any] = []
        while not world.stop:
            kept.append(module.numbers(3, chance.randrange(3)))
            with contextlib.suppress(module.Boom, StopIteration, ValueError):
                for _ in range(chance.randrange(4)):
                    next(kept[-1])
                if chance.random() < 0.5:
                    generator = kept.pop(chance.randrange(len(kept)))
                    how = chance.randrange(3)
                    if how == 0:
                        generator.close()
                    elif how == 1:
                        generator.throw(ValueError)
                    else:
                        list(generator)
            generator = None  # a variable would hold it over the pause
            if chance.random() < 0.3:
                kept.clear()
                time.sleep(chance.random() * 0.003)

    return [partial(work, n) for n in range(4)]


def _loop(world: World, seed: int, tasks: int, pause: float) -> None:
    chance = Random(seed)

    async def worker() -> None:
        while not world.stop:
            await asyncio.sleep(chance.random() * pause)
            job = asyncio.create_task(world.module.task(chance.randrange(4)))
            if chance.random() < 0.1:
                await asyncio.sleep(0)
                job.cancel()
            await asyncio.wait([job])
            if not job.cancelled():
                job.result()
            del job  # one that was cancelled keeps the frames that its exception passed
            if chance.random() < 0.1:  # abandoned: the loop's hook closes it
                stream = world.module.stream(2, 0)
                await anext(stream)
                del stream

    async def main() -> None:
        workers = [asyncio.create_task(worker()) for _ in range(tasks)]
        while not world.stop:
            await asyncio.sleep(0.005)
        for each in workers:
            each.cancel()
        for result in await asyncio.gather(*workers, return_exceptions=True):
            if isinstance(result, Exception):
                raise result

    asyncio.run(main())


@_workload("two event loops with 5 tasks each: awaiting, cancelled, abandoned")
def coroutines(world: World, seed: int) -> list[Body]:
    return [partial(_loop, world, seed + n, 5, 0.005) for n in range(2)]


@_workload("an event loop with 1,000 tasks")
def tasks(world: World, seed: int) -> list[Body]:
    return [partial(_loop, world, seed, 1000, 2.0)]


@_workload("greenlets that are switched out in the middle of functions", needs="greenlet")
def greenlets(world: World, seed: int) -> list[Body]:
    import greenlet

    def schedule(number: int) -> None:
        chance = Random(seed + number)
        hub = greenlet.getcurrent()

        def pause() -> None:
            if chance.random() < 0.5:
                hub.switch()

        def life() -> None:
            for _ in range(3):
                world.module.slow(pause)
                world.module.even(chance.randrange(6), None, pause)
                hub.switch()

        living = []
        while not world.stop:
            living += [greenlet.greenlet(life) for _ in range(5)]
            while living and not world.stop:
                one = chance.choice(living)
                if chance.random() < 0.02 and one:
                    one.throw()  # killed in the middle
                else:
                    one.switch()
                if one.dead:
                    living.remove(one)
                if chance.random() < 0.1:
                    time.sleep(0.0005)
            del one
            time.sleep(chance.random() * 0.003)
        for one in living:
            one.throw()

    return [partial(schedule, n) for n in range(2)]


@_workload("gevent's greenlets, a hub on each of two threads", needs="gevent")
def gevents(world: World, seed: int) -> list[Body]:
    import gevent

    def serve(number: int) -> None:
        chance = Random(seed + number)

        def work() -> None:
            while not world.stop:
                world.module.slow(lambda: gevent.sleep(chance.random() * 0.001))
                gevent.sleep(chance.random() * 0.01)

        gevent.joinall([gevent.spawn(work) for _ in range(3)], raise_error=True)
        gevent.get_hub().destroy()

    return [partial(serve, n) for n in range(2)]


@_workload("mutual recursion, up to 60 deep")
def recursion(world: World, seed: int) -> list[Body]:
    def work(number: int) -> None:
        chance = Random(seed + number)
        while not world.stop:
            world.module.even(chance.randrange(60), None, lambda: time.sleep(chance.random() * 0.0003))
            time.sleep(chance.random() * 0.006)

    return [partial(work, n) for n in range(4)]


@_workload("threads that come and go")
def churn(world: World, seed: int) -> list[Body]:
    def spawn(number: int) -> None:
        chance = Random(seed + number)
        while not world.stop:
            short = [threading.Thread(target=world.module.outer, args=(chance.randrange(4),)) for _ in range(3)]
            for thread in short:
                thread.start()
            for thread in short:
                thread.join()

    return [partial(spawn, n) for n in range(2)] + [partial(mixed_work, world, seed + 2)]


@_workload("finalizers and weakref callbacks, also those that a garbage collection runs")
def finalizers(world: World, seed: int) -> list[Body]:
    class Dying:
        me: Any = None

        def __del__(self) -> None:
            world.module.outer(3)

    def work(number: int) -> None:
        chance = Random(seed + number)
        while not world.stop:
            thing = Dying()
            called = weakref.ref(thing, lambda _: world.module.drive(chance.randrange(4)))
            if chance.random() < 0.3:
                thing.me = thing  # a cycle, for the collector
            del thing
            if chance.random() < 0.1:
                gc.collect(0)
            del called
            time.sleep(chance.random() * 0.002)

    return [partial(work, n) for n in range(4)]


def _interrupt(world: World, seed: int) -> Any:
    """A signal every 2 ms, whose handler calls patched functions on the main thread: the one that loads."""

    @contextlib.contextmanager
    def interrupting() -> Iterator[None]:
        chance = Random(seed)
        before = signal.signal(signal.SIGALRM, lambda *_: world.module.outer(chance.randrange(4)))
        signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.signal(signal.SIGALRM, before)

    return interrupting()


@_workload("signal handlers that strike the loader, beside two threads", around=_interrupt)
def signals(world: World, seed: int) -> list[Body]:
    return [partial(mixed_work, world, seed + n) for n in range(2)]


def _watch(world: World, seed: int) -> Any:
    @contextlib.contextmanager
    def watching() -> Iterator[None]:
        def watch(frame: Any, event: str, argument: Any) -> Any:
            return watch

        threading.settrace(watch)
        threading.setprofile(lambda *_: None)
        try:
            yield
        finally:
            threading.settrace(None)  # type: ignore[arg-type]
            threading.setprofile(None)

    return watching()


@_workload("threads under a trace function and a profile function", around=_watch)
def traced(world: World, seed: int) -> list[Body]:
    return [partial(mixed_work, world, seed + n) for n in range(3)]


@_workload("threads, generators and coroutines together")
def together(world: World, seed: int) -> list[Body]:
    return [*threads(world, seed)[:2], *generators(world, seed + 10)[:2], *coroutines(world, seed + 20)[:1]]


class Struck(Exception):
    pass


@_workload("threads that others strike with exceptions at any instruction", noting=False)
def struck(world: World, seed: int) -> list[Body]:
    victims: set[int] = set()  # who may be struck, once, and is not outside of the block that catches it
    striking = [0]

    def work(number: int, ident: int) -> None:
        chance = Random(seed + number)
        while not world.stop:
            try:
                victims.add(ident)
                while not world.stop:
                    world.module.outer(chance.randrange(4))
                    time.sleep(chance.random() * 0.001)
            except Struck:
                continue

    def survive(number: int) -> None:
        ident = threading.get_ident()
        while not world.stop:
            # The last one, and one that strikes as the loop jumps back, which no handler covers.
            with contextlib.suppress(Struck):
                work(number, ident)
        with contextlib.suppress(Struck):
            victims.discard(ident)
            while striking[0] == ident:
                time.sleep(0.001)

    def strike() -> None:
        while not world.stop:
            for ident in tuple(victims):
                striking[0] = ident
                if ident in victims:
                    victims.discard(ident)
                    ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), ctypes.py_object(Struck))
                striking[0] = 0
            time.sleep(0.002)

    return [partial(survive, n) for n in range(3)] + [strike]


@_workload("children that are forked at any moment, each of which loads and unloads by itself", needs="fcntl")
def forks(world: World, seed: int) -> list[Body]:
    from . import child

    def fork() -> None:
        chance = Random(seed)
        while not world.stop:
            child.fork_one(world)
            time.sleep(0.01 + chance.random() * 0.02)

    return [fork, partial(mixed_work, world, seed + 1), partial(mixed_work, world, seed + 2)]


if not hasattr(os, "fork") or sys.platform == "win32":
    del WORKLOADS["forks"], WORKLOADS["signals"]
