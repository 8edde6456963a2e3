"""The line that people wait in: first come, first served; but nobody's second question before another's first."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator
from typing import NamedTuple

from limits import EACH, TOGETHER, WAITING, Refused


class Person(NamedTuple):
    """Who asks."""

    session: str
    """A page that is open, or a program."""
    address: str = ""
    """Where from, as the proxy of the Hub tells; empty where there is none."""


class Ticket:
    """A place in the line, then a turn, until it is given back."""

    def __init__(self, who: Person) -> None:
        self.who = who
        self.called = asyncio.Event()


class Line:
    """Hands out `slots` turns at a time."""

    def __init__(self, slots: int) -> None:
        self._free = slots
        self._waiting: list[Ticket] = []
        self._busy: Counter[Person] = Counter()
        self._moved = asyncio.Event()

    def enter(self, who: Person) -> Ticket:
        """Return a place in the line.

        Raises:
            Refused: the line is full, or this person has enough questions in it.
        """
        everybody = [*(ticket.who for ticket in self._waiting), *self._busy.elements()]
        if everybody.count(who) >= EACH or (
            who.address and sum(one.address == who.address for one in everybody) >= TOGETHER
        ):
            raise Refused("each")
        if len(self._waiting) >= WAITING:
            raise Refused("full")
        ticket = Ticket(who)
        self._waiting.append(ticket)
        self._call()
        return ticket

    async def wait(self, ticket: Ticket) -> AsyncGenerator[int]:
        """Yield the place in the line, 1 for the next one, each time it changes; end when the turn has come."""
        told = 0
        while not ticket.called.is_set():
            moved, place = self._moved, self._waiting.index(ticket) + 1
            if place != told:
                told = place
                yield place
            if not ticket.called.is_set():
                await moved.wait()

    def leave(self, ticket: Ticket) -> None:
        """Give a place or a turn back."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        elif ticket.called.is_set():
            self._free += 1
            self._busy -= Counter([ticket.who])
        self._call()

    def _call(self) -> None:
        """Call those whose turn it is: of those who wait, the first with the fewest turns now."""
        while self._free and self._waiting:
            ticket = min(self._waiting, key=lambda waiting: self._busy[waiting.who])
            self._waiting.remove(ticket)
            self._free -= 1
            self._busy[ticket.who] += 1
            ticket.called.set()
        moved, self._moved = self._moved, asyncio.Event()
        moved.set()
