"""What became of users and items in the closed loop: one figure for each phenomenon.

    evolve ──▶ Evolution ── phenomena(…, first, last) ──▶ {"gini": …, "welfare": …, …}

    of the platform   click, engagement         of the users together   overlap, likeness
    of its items      gini, coverage, newcomers of each user            variety, own_variety,
                                                distance, boredom, coming, welfare

Mechanisms are what the world does by law; phenomena are what comes out of all of them and of the
recommender. Chapter 10 asks which of the former make which of the latter.
"""

import numpy as np

from recsys_evo.collect.laws import CATEGORIES, ITEMS
from recsys_evo.collect.world import FIRST_DAY
from recsys_evo.evaluate import society
from recsys_evo.prepare.splits import acts, counted, within
from recsys_evo.recommend.loop import ATTENTION


def phenomena(evolution, first, last):
    """Return the figures of the days from `first` to before `last`, as a dict of floats.

    - `click`: mean true chance that a shown slot is clicked; `engagement`: expected clicks on the
      feed, a user and day, whether the user came or not.
    - `gini`, `coverage`: of exposures, over the items on offer on the last day; `newcomers`: fair
      share of exposure that items of up to 14 days get (1 is fair).
    - `overlap`: of two users' slates on a day; `likeness`: mean correlation of two users' appeals
      of categories at the end.
    - `variety`, `own_variety`: effective number of categories among a user's clicks on the feed,
      and among the user's own visits.
    - `distance`: of the appeals at the end from those of the core taste, log-odds; `boredom`:
      log-odds by which a shown category that the user clicked on the feed the day before is worth
      less than one last clicked five to seven days before.
    - `coming`: share of the users who come on a day; `welfare`: consumer surplus, a user and day.
    """
    days = slice(first, last)
    items, came = evolution.items[:, days], evolution.came[:, days]
    chance, utility = evolution.chance[:, days], evolution.utility[:, days]
    born = evolution.world.catalogue.born.ravel()
    counts = society.tally(items.ravel()[None], len(born))[0]
    offered = counts[born < last]
    categories = np.where(items >= 0, items // ITEMS, -1)
    clicked = np.where(evolution.clicked[:, days], categories, -1)
    now, core = evolution.appeals(last)
    return {
        "click": float(np.nanmean(chance)),
        "engagement": float(np.nansum(chance) / came.size),
        "gini": float(society.gini(offered)),
        "coverage": float(society.coverage(offered)),
        "newcomers": float(np.nanmean(society.newcomers(items, born, np.arange(first, last)))),
        "overlap": float(np.nanmean(society.overlap(items))),
        "likeness": society.likeness(now),
        "variety": _effective(society.tally(clicked, CATEGORIES)),
        "own_variety": _effective(_own_visits(evolution, first, last)),
        "distance": float(society.distance(now, core).mean()),
        "boredom": _boredom(evolution, first, last),
        "coming": float(came.mean()),
        "welfare": float(society.welfare(utility, ATTENTION).mean()),
    }


def _effective(counts):
    return float(1 / (1 - np.nanmean(society.diversity(counts))))


def _own_visits(evolution, first, last):
    """Clicks (users, 64) that did not come from the feed."""
    events = evolution.log.events
    rows = ((events["action"] == "click") & (events["position"] < 0)).to_numpy()
    rows = rows & within(evolution.log, FIRST_DAY + first, last - first)
    codes = acts(evolution.log, rows, "user", "category")
    return counted((len(evolution.items), CATEGORIES), *codes)


def _boredom(evolution, first, last):
    clicked = np.where(evolution.clicked, evolution.items // ITEMS, -1)
    ago = np.full((len(clicked), CATEGORIES), 1_000)  # days since each was last clicked
    sums, slots = np.zeros(2), np.zeros(2)
    for day in range(max(first - 8, 0), last):
        if day >= first:
            items = evolution.items[:, day]
            lag = np.where(items >= 0, np.take_along_axis(ago, items // ITEMS, axis=1), 0)
            for k, shown in enumerate(((lag >= 5) & (lag <= 7), lag == 1)):
                sums[k] += evolution.utility[:, day][shown].sum(dtype=float)
                slots[k] += shown.sum()
        ago += 1
        user, slot = np.nonzero(clicked[:, day] >= 0)
        ago[user, clicked[user, day, slot]] = 1
    with np.errstate(invalid="ignore"):
        return float(np.subtract(*(sums / slots)))
