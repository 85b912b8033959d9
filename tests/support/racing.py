"""Processes, or threads, that begin something at the same moment."""

import gc
import multiprocessing
import os
import threading
from collections.abc import Callable
from typing import Any

from factory.store.base import Store

NUM_RACERS = 8
LONGEST_S = 120.0
"""that a racer may take"""


def race(prepare: Callable[[int], Callable[[], Any]]) -> list[Any]:
    """What `NUM_RACERS` forked processes give, the first to end first.

    Args:
        prepare: called in each process with its number, before all of them begin; what it returns
            is called when they do.
    """
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(NUM_RACERS), context.Queue()

    def run(number: int) -> None:
        gc.disable()  # it would touch, and so copy, all memory that is shared with the parent
        begin = prepare(number)
        barrier.wait()
        results.put(begin())
        results.close()
        results.join_thread()
        os._exit(0)  # tidying up would touch it too

    racers = [context.Process(target=run, args=(number,)) for number in range(NUM_RACERS)]
    for racer in racers:
        racer.start()
    try:
        return [results.get(timeout=LONGEST_S) for _ in racers]
    finally:
        for racer in racers:
            racer.kill()
            racer.join()


def race_in_threads(store: Store) -> None:
    """See that of racing threads exactly one publishes an object."""
    barrier, winners = threading.Barrier(NUM_RACERS), []

    def race(number: int) -> None:
        barrier.wait()
        try:
            store.put_new("index/000000.parquet", bytes([number]) * 50_000)
            winners.append(number)
        except FileExistsError:
            pass

    threads = [threading.Thread(target=race, args=(number,)) for number in range(NUM_RACERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(winners) == 1
    assert store.read("index/000000.parquet") == bytes([winners[0]]) * 50_000
