"""The closed loop of users and recommender against a plain loop over its users, and its growth.

    python benchmarks/bench_loop.py [--runs 3] [--largest 100_000]

2,000 users, a warm-up of 7 days and 20 rounds, in which every policy learns anew each round. The
plain loop lives through the same rounds user by user (`bench_world.Person`), with the same policies
written for one user at a time: uniformly random slots, and factors found by alternating least
squares, a user's or an item's normal equations at a time. With factors most of our time goes to the
learning, which is a library's compiled loop over users. Growth in users and in rounds is measured
with random slots and with factors.

On a busy machine compare the processor's seconds. One thread.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import time

os.environ |= dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")

import numpy as np
from bench_world import Person, Today

from recsys_evo.collect import laws
from recsys_evo.collect.laws import FEED, ITEMS
from recsys_evo.collect.world import World, befriend
from recsys_evo.models.baselines import ALS
from recsys_evo.recommend.bandits import Thompson
from recsys_evo.recommend.loop import evolve
from recsys_evo.recommend.policies import Greedy, Random

USERS, WARM_UP, ROUNDS = 2_000, 7, 20
FACTORS, ITERATIONS, PENALTY = 16, 5, 0.01
N_ITEMS = laws.CATEGORIES * ITEMS


def policies():
    return {
        "random": Random(),
        "factors": Greedy(ALS(factors=FACTORS, iterations=ITERATIONS, regularisation=PENALTY)),
        "Thompson": Thompson(),
    }


class PlainRandom:
    """Uniform slots for one user."""

    def __init__(self, n_users, rng):
        self.rng = rng

    def learn(self, touched):
        pass

    def slate(self, user, offered):
        return self.rng.choice(offered, FEED), np.full(FEED, 1 / len(offered))


class PlainFactors:
    """Alternating least squares, one row's normal equations at a time, and the ten best."""

    def __init__(self, n_users, rng):
        self.rng = rng
        self.users = rng.normal(0, 0.01, (n_users, FACTORS))
        self.items = rng.normal(0, 0.01, (N_ITEMS, FACTORS))

    def learn(self, touched):
        takers = [[] for _ in range(N_ITEMS)]
        for user, items in enumerate(touched):
            for item in items:
                takers[item].append(user)
        for _ in range(ITERATIONS):
            for mine, other, rows in (
                (self.users, self.items, touched),
                (self.items, self.users, takers),
            ):
                gram = other.T @ other + PENALTY * np.eye(FACTORS)
                for row, partners in enumerate(rows):
                    chosen = other[list(partners)]
                    mine[row] = np.linalg.solve(gram + chosen.T @ chosen, 2 * chosen.sum(0))

    def slate(self, user, offered):
        scores = self.items[offered] @ self.users[user]
        best = np.argpartition(scores, -FEED)[-FEED:]
        return offered[best[np.argsort(-scores[best])]], np.ones(FEED)


def loop(policy, n_users, rng):
    """Rounds lived a user and a day at a time; returns the clicks on the feed a day and user."""
    people = [Person(number, rng) for number in range(n_users)]
    friends = befriend(np.array([p.core for p in people]), rng)
    friends = [friends.indices[a:b] for a, b in zip(friends.indptr[:-1], friends.indptr[1:])]
    policy, touched = policy(n_users, rng), [set() for _ in range(n_users)]
    liked = 0
    for day in range(WARM_UP + ROUNDS):
        today, rows = Today(day), []
        offered = np.concatenate([ITEMS * c + items for c, items in enumerate(today.offers)])
        if day >= WARM_UP:
            policy.learn(touched)
        means = [p.liked / p.weight if p.weight > 1e-6 else None for p in people]
        for person in people:
            heard = [means[f] for f in friends[person.number] if means[f] is not None]
            person.night(day, sum(heard) / len(heard) if heard else np.zeros(laws.DIMENSIONS))
            comes = rng.random() < person.habit * person.engagement
            slate = policy.slate(person.number, offered) if day >= WARM_UP else None
            done = person.visit(today, rows, slate) if comes else None
            person.fade()
            if comes:
                person.evening(day, *done)
                liked += done[-1] * (day >= WARM_UP)
        for row in rows:
            if row[4]:  # not an impression
                touched[row[0]].add(int(row[1]))
    return liked / n_users / ROUNDS


def measure(name, users, rounds):
    """Clock and processor seconds, clicks on the feed a user and day, and peak GiB of one run."""
    command = [sys.executable, __file__, "--one", name, str(users), str(rounds)]
    run = subprocess.run(command, check=True, capture_output=True, text=True)
    return [float(figure) for figure in run.stdout.split()[-4:]]


def one(name, users, rounds):
    policy = policies()[name]
    evolve(World(), policy, users=50, rounds=2, warm_up=WARM_UP, rng=np.random.default_rng(1))
    begin = time.perf_counter(), time.process_time()
    lived = evolve(
        World(), policy, users=users, rounds=rounds, warm_up=WARM_UP, rng=np.random.default_rng(0)
    )
    taken = time.perf_counter() - begin[0], time.process_time() - begin[1]
    clicks = lived.clicked[:, lived.start :].sum() / users / rounds
    print(*taken, clicks, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--largest", type=int, default=100_000)
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        name, users, rounds = options.one
        one(name, int(users), int(rounds))
        return

    print(f"{USERS:,} users, {ROUNDS} rounds, median of {options.runs}")
    print(f"{'':10s}   clock  processor  plain loop  times   clicks a user and day: ours, plain")
    for name, plain in (("random", PlainRandom), ("factors", PlainFactors), ("Thompson", None)):
        runs = [measure(name, USERS, ROUNDS) for _ in range(options.runs)]
        clock, processor, clicks, _ = map(statistics.median, zip(*runs))
        line = f"{name:10s}{clock:8.2f}{processor:11.2f}"
        if plain:
            begin = time.process_time()
            other = loop(plain, USERS, np.random.default_rng(0))
            slow = time.process_time() - begin
            line += f"{slow:12.0f}{slow / processor:7.0f}{clicks:13.2f} and {other:.2f}"
        print(line, flush=True)

    print("\nGrowth, seconds of the processor; µs a user and round")
    for name in ("random", "factors"):
        sizes = [(USERS, ROUNDS), (USERS, 4 * ROUNDS), (10_000, ROUNDS), (options.largest, ROUNDS)]
        for users, rounds in sizes:
            _, taken, _, peak = measure(name, users, rounds)
            cost = 1e6 * taken / users / (rounds + WARM_UP)
            print(
                f"{name:10s}{users:9,} users {rounds:3d} rounds {taken:8.1f}{cost:7.0f} µs  "
                f"{peak:.2f} GiB",
                flush=True,
            )


if __name__ == "__main__":
    main()
