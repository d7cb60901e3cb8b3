"""A storm: clients order payments and lose the answers, while what serves them dies again and again."""

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field

import psutil

from tests.faults.clients import Client
from tests.faults.model import Attempt, Order
from tests.server import Server

CLIENTS = 8
ACCOUNTS = 4
# However slow the machine is.
LEAST_ORDERS = 40
# How often an order is sent before its client leaves it to the calm.
PATIENCE = 8


@dataclass(slots=True, kw_only=True)
class Storm:
    """Clients on *paths* of a server, *faults* that their requests bring along, and *acts* from outside.

    `rage` lasts for some seconds, and at least for two rounds of all acts and for some orders; `calm` insists on every
    order.
    """

    server: Server
    paths: Sequence[str]
    acts: Sequence[Callable[[], None]]
    faults: Sequence[str] = ()
    seed: int = 0
    orders: dict[str, tuple[Order, str]] = field(default_factory=dict)
    attempts: list[Attempt] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def rage(self, seconds: float) -> None:
        """Let it storm."""
        over = threading.Event()
        errands = self._errands()
        lock = threading.Lock()

        def order_on(dice: random.Random) -> None:
            client = self._client(dice)
            while not over.is_set():
                with lock:
                    order, path = next(errands)
                self._insist_in_storm(client, order, path)

        with ThreadPoolExecutor(CLIENTS) as executor:
            futures = [executor.submit(order_on, random.Random(f"{self.seed} {n}")) for n in range(CLIENTS)]
            try:
                self._break_things(time.monotonic() + seconds)
            finally:
                over.set()
        for future in futures:
            future.result()

    def calm(self, patience: float) -> None:
        """Send every order again, until it is acknowledged or that many seconds are over."""

        def insist(errand: tuple[Order, str]) -> None:
            order, path = errand
            client = self._client(random.Random(order.name))
            deadline = time.monotonic() + patience
            while True:
                attempt = client.send(order, path)
                self.attempts.append(attempt)
                if attempt.acknowledges or time.monotonic() > deadline:
                    return

        with ThreadPoolExecutor(CLIENTS) as executor:
            for _ in executor.map(insist, self.orders.values()):
                pass

    def __str__(self) -> str:
        lost = sum(attempt.status is None for attempt in self.attempts)
        broke = ", ".join(f"{name} {number}" for name, number in sorted(self.counts.items()))
        return f"{len(self.orders)} orders, {len(self.attempts)} requests, {lost} answers lost; {broke}"

    def _client(self, dice: random.Random) -> Client:
        return Client(address=(self.server.host, self.server.port), dice=dice)

    def _errands(self) -> Iterator[tuple[Order, str]]:
        """Yield orders, some of them for several clients at once; two users have the same keys."""
        dice = random.Random(self.seed)
        for number in itertools.count():
            payer, payee = dice.sample(range(1, ACCOUNTS + 1), 2)
            order = Order(
                user=("ann", "bob")[number % 2],
                key=f"key-{number // 2}",
                payer=payer,
                payee=payee,
                amount=dice.randrange(1, 60),
            )
            errand = order, dice.choice(self.paths)
            self.orders[order.name] = errand
            yield from itertools.repeat(errand, dice.choice((1, 1, 2, 3)))

    def _insist_in_storm(self, client: Client, order: Order, path: str) -> None:
        dice = client.dice
        for _ in range(PATIENCE):
            fault = ""
            if self.faults and dice.random() < 0.15:
                fault = dice.choice(self.faults)
                self.counts[fault] += 1
                fault = f"{dice.choice(('before', 'after'))} {fault}"
            attempt = client.send(order, path, fault=fault, lossy=dice.random() < 0.25)
            self.attempts.append(attempt)
            if attempt.acknowledges:
                # Done; and yet some send it once more, or another payment under the same key.
                if dice.random() < 0.2:
                    self.attempts.append(client.send(order, path, altered=dice.random() < 0.5))
                return

    def _break_things(self, end: float) -> None:
        dice = random.Random(f"{self.seed} acts")
        rounds = 0
        while time.monotonic() < end or rounds < 2 or len(self.orders) < LEAST_ORDERS:
            for act in dice.sample(self.acts, len(self.acts)):
                time.sleep(dice.uniform(0.05, 0.5))  # The storm's pace; no test waits for what happens meanwhile.
                act()
                self.counts[act.__name__] += 1
            rounds += 1


def worker_killer(server: Server, seed: int) -> Callable[[], None]:
    """Return an act that ends one of the server's processes with SIGKILL."""
    dice = random.Random(f"{seed} workers")

    def kill_worker() -> None:
        with suppress(IndexError, psutil.NoSuchProcess):  # It is dead already.
            server.kill_worker(dice.choice(sorted(server.worker_pids)))

    return kill_worker
