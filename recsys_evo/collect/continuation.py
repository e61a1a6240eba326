"""The true world continued: the same users live on, as often as one likes.

    log of a simulation ─────────┬──▶ one future
                                 ├──▶ another future
                                end   …

What the world itself draws is the best that any generator of behaviour could draw. Chapter 06 holds
its generators against it.
"""

from itertools import pairwise

import numpy as np

from .ceiling import _check_count, _check_days, _friendships, _replay
from .world import TOWN, Truth, _Town


def continued(world, simulation, *, end, days, copies=1, rng):
    """Let all users live on from their true state at the start of day `end`, `copies` times.

    The default policy is taken to go on. Futures are independent of each other and of what the
    simulation itself drew after `end`.

    Parameters
    ----------
    world : World, whose laws hold from `end` on.
    simulation : Simulation of `World.simulate`, with impressions.
    end : int, number of the first day to live anew; 0 is the simulation's first.
    days, copies : int, days of a future, and how many futures.
    rng : numpy Generator.

    Returns
    -------
    Iterator of `copies` logs that hold the days from `end` on and nothing before. 1,000 users live
    a week in about 50 ms.

    Raises
    ------
    ValueError for a day that was not simulated, numbers that are not positive, or a log without
    impressions, since what was shown is part of the state.
    """
    if np.ndim(end):
        raise ValueError(f"`end` must be one day's number. Received: end={end!r}")
    _check_days(end, simulation.truth.taste.shape[1] - 1)
    _check_count(days=days, copies=copies)
    log = simulation.log
    friendships = _friendships(log)
    if end and not (log.events["action"] == "impression").any():
        raise ValueError(
            "`simulation` must hold impressions: simulate with impressions=True. Received: none"
        )
    *_, (_, stocks, _) = _replay(world, log, end)
    # Friends lie within a town, so that towns can live one after the other.
    cuts = np.linspace(0, log.n_users, -(-log.n_users // TOWN) + 1).astype(int)

    def town(users, rng):
        town = _Town(world, Truth.blank(len(users), end + days), rng)
        town.hidden = simulation.truth.state(end, users)
        town.truth.habit[:] = simulation.truth.habit[users]
        for name, stock in vars(stocks).items():
            setattr(town.stocks, name, stock[users])
        town.friends = friendships[users][:, users]
        for day in range(end, end + days):
            town.act(day, town.wake(day))
        return town

    def future(rng):
        blocks = [np.arange(*edges) for edges in pairwise(cuts)]
        towns = [town(users, stream) for users, stream in zip(blocks, rng.spawn(len(blocks)))]
        return world._log(towns, [town.table(True) for town in towns])

    return map(future, rng.spawn(copies))
