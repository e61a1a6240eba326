"""The next week of a user: what the past says about it, and rivals that need no network.

    past ──────────────────┬─ week: 7 days × (clicks, dwell seconds, amount) ─▶
      past_features        │
      (users, p)          end

A generator draws weeks that a user with this past might live. All of them keep one contract:

    generator.fit(past, week)               past (users, p), week (users, 7, 3)
    generator.sample(past, n, rng=rng)      n weeks a user, (users, n, 7, 3)

Chapter 06 holds these rivals and the networks of `hurdle` and `gan` against the true world
continued.
"""

import numpy as np
from sklearn.neighbors import NearestNeighbors

from recsys_evo.prepare.hand import purchase_days
from recsys_evo.prepare.images import CHANNELS, image_blocks
from recsys_evo.prepare.splits import counted, positive, user_codes

DAYS = 7
WINDOWS = (7, 28, 64)  # days before `end`
PAST = (
    *(f"purchases due on day {day}" for day in range(DAYS)),
    *(f"{name} in {window} days" for window in WINDOWS for name in (
        "share of days with a touch", "share of days with a purchase",
        *(f"log {channel}" for channel in CHANNELS),
        "log clicks a day with a touch", "log dwell a touch",
    )),
)  # fmt: skip
_DOUBT = 20  # purchases' worth of trust in a category's mean rate


def weeks(log, *, end, n=1, users=None):
    """Return the `n` weeks that end with `end`, as totals of each day.

    Parameters
    ----------
    log : Log.
    end : midnight after the last week's last day: `past_weeks`' end plus 7 for the week to come.
    n : int, number of weeks.
    users : array of user codes; default all of the log's users.

    Returns
    -------
    float32 (users, n, 7, 3), the oldest week first; channels as in `images.CHANNELS`.

    Raises
    ------
    ValueError for a wrong argument.
    """
    days = DAYS * positive(n=n)
    return _totals(log, end, days, user_codes(log, users)).reshape(-1, n, DAYS, len(CHANNELS))


def past_features(log, *, end, users=None):
    """Describe each user's past by the few figures that tell something of the next week.

    The first 7 columns are about one day to come each, the others (rates and means in three
    windows) about the user.

    *Purchases due*: a user's purchase in a category makes the next one due some days later, after
    how many is counted from all users of the log (see `renewal_rates`). The column is the number
    of purchases expected on that day, summed over the categories that the user has bought from.

    Parameters
    ----------
    log : Log. Nothing at or after `end` is looked at.
    end : midnight, the start of the week to come.
    users : array of user codes, the order of the rows; default all of the log's users.

    Returns
    -------
    float32 (users, 28), the columns of `PAST`. 10,000 users take a second.

    Raises
    ------
    ValueError for a wrong argument.
    """
    chosen = user_codes(log, users)
    columns = [_due(log, end, max(WINDOWS))[chosen]]
    totals = np.maximum(_totals(log, end, max(WINDOWS), chosen), 0)
    for window in WINDOWS:
        recent = totals[:, -window:]
        came, bought = (recent[..., k] > 0 for k in (0, 2))
        summed = recent.sum(axis=1)
        clicks_a_day = np.log1p(recent[..., 0]).sum(axis=1) / np.maximum(came.sum(axis=1), 1)
        dwell_a_touch = np.log1p(summed[:, 1] / np.maximum(summed[:, 0], 1))
        columns += [came.mean(1), bought.mean(1), np.log1p(summed), clicks_a_day, dwell_a_touch]
    return np.column_stack(columns).astype(np.float32)


def renewal_rates(log, *, end, days=64):
    """Count, for each category, how long users wait from one purchase to the next.

    Only purchases in the `days` days before `end` are counted, two of one day as one.

    Returns
    -------
    rates : (categories, days + 7), the chance that a user who last bought k days ago buys again
        today, smoothed over neighbouring k and drawn towards the category's mean rate where few
        are counted.
    user, category, waited : (n,), whose last purchase in which category was how many days before
        `end`; 1 for the day before.
    """
    cell, day = purchase_days(log, end=end, days=days, categories=log.n_categories)
    renewed = np.append(cell[1:] == cell[:-1], False)[: len(cell)]
    waited = np.where(renewed, np.diff(day, append=0), days - day)
    user, category = np.divmod(cell, log.n_categories)

    shape = (log.n_categories, days + DAYS)
    renewals, censored = (
        counted(shape, category[rows], waited[rows]) for rows in (renewed, ~renewed)
    )
    # At risk k days on: those whose wait lasts k days or more, seen through to its end or not.
    lasting = np.cumsum((renewals + censored)[:, ::-1], axis=1)[:, ::-1]
    at_risk = lasting - censored
    at_risk[:, 0] = 0  # the day of the purchase itself
    rate = renewals.sum(1, keepdims=True) / np.maximum(at_risk.sum(1, keepdims=True), 1)
    rates = (_smooth(renewals) + _DOUBT * rate) / (_smooth(at_risk) + _DOUBT)
    return rates, user[~renewed], category[~renewed], waited[~renewed]


def _due(log, end, days):
    """Purchases due (users, 7) on each day from `end` on."""
    rates, user, category, waited = renewal_rates(log, end=end, days=days)
    due = [np.bincount(user, rates[category, waited + day], log.n_users) for day in range(DAYS)]
    return np.stack(due, axis=1)


def _smooth(counts):
    """A mean over neighbouring columns with weights ¼, ½, ¼."""
    wide = np.pad(counts, ((0, 0), (1, 1)))
    return (wide[:, :-2] + 2 * wide[:, 1:-1] + wide[:, 2:]) / 4


def _totals(log, end, days, users):
    """Totals over categories (users, days, 3)."""
    totals = np.empty((len(users), days, len(CHANNELS)), np.float32)
    window = {"end": end, "days": days, "categories": max(log.n_categories, 1)}
    for block, image in image_blocks(log, users, **window):
        totals[block] = image.sum(axis=2)
    return totals


class OwnWeeks:
    """The rival that repeats: one of the user's own past weeks.

    Its past is not `past_features` but `weeks(log, end=end, n=…)`; with n = 1 it copies the last
    week.
    """

    def fit(self, past, week):
        """Nothing to learn."""
        return self

    def sample(self, past, n, *, rng):
        """Draw `n` of the past weeks (users, m, 7, 3) a user, with replacement."""
        pick = rng.integers(past.shape[1], size=(len(past), positive(n=n)))
        return past[np.arange(len(past))[:, None], pick]


class Neighbours:
    """The rival that borrows: the week of a training user with a similar past.

    One of the `k` nearest, each column of the past scaled by its spread in training. The larger
    `k`, the less personal and the more varied the draws.
    """

    def __init__(self, k=32):
        self.k = positive(k=k)

    def fit(self, past, week):
        """Remember the weeks (users, 7, 3) of training users with this `past` (users, p)."""
        self.centre, self.spread = past.mean(axis=0), past.std(axis=0) + 1e-6
        self.index = NearestNeighbors(n_neighbors=self.k, algorithm="brute")
        self.index.fit((past - self.centre) / self.spread)
        self.week = week
        return self

    def sample(self, past, n, *, rng):
        """Draw `n` weeks a user, with replacement."""
        near = self.index.kneighbors((past - self.centre) / self.spread, return_distance=False)
        pick = rng.integers(self.k, size=(len(past), positive(n=n)))
        return self.week[np.take_along_axis(near, pick, axis=1)]
