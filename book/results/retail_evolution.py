"""Chapter 10 on Online Retail: drift, satiation and replenishment beyond shuffled time.

A visit is a customer's day with a purchase, told by the categories in the basket. The null
shuffles which basket came when, within each customer: the days of visits stay, the sizes and
contents of baskets, and each customer's habits. A second null takes the calendar out first: from
each basket the mix of what others bought in that week is subtracted, and what is left over is
shuffled. (Gaps between purchases need whole baskets; there the second null shuffles within spans
of 13 weeks.)

What is asked of each category and of each customer, always as «larger than in the shuffles»:

- drift: baskets further apart are less alike (Mantel's test, on the logarithm of the days; pairs
  within a week are left out, which may be one order in two parts);
- satiation: the sooner the next visit comes, the less like the last one it is;
- mode: the days between two purchases of the same have a peak (replenishment).

Alike is what customers' habits do not explain, so that no answer rests on who buys what, or on how
much. Controls, all with the shop's times and sizes of baskets: a log in shuffled order and one of
customers whose tastes stay, in which nothing may be found; and logs in which every customer drifts
as in our world, or every category satiates, or half of the habits are periodic.
"""

from functools import partial
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.stats import false_discovery_control

from recsys_evo.collect import datasets
from recsys_evo.collect.laws import MECHANISMS
from recsys_evo.collect.world import World

MODULES = [
    "recsys_evo.collect.datasets",
    "recsys_evo.collect.events",
    "recsys_evo.collect.frames",
    "recsys_evo.collect.laws",
    "recsys_evo.collect.sources.cards",
    "recsys_evo.collect.sources.retail",
    "recsys_evo.collect.world",
]
SEEDS = [0, 1, 2]  # of the shuffles and of what is planted

SHUFFLES = 299
REGULAR = 8  # visits of the customers who are asked one by one
LEVEL = 0.1  # share of false discoveries among what is found
APART = np.array(
    [1, 3, 7, 14, 28, 56, 91, 182, 273, 373]
)  # days: upper ends of bins
# Bins of the days between two purchases: 1 to 14, 15 to 28, …
FORTNIGHTS = 10
SOON = 7  # days within which two visits may be one order
BLOCK = 91  # days, of the second null for gaps
PERIOD = 28  # days, of the habits that are planted


class Visits(NamedTuple):
    """Customers' days with a purchase, in order of customer and day.

    `user`, `day` (visits,) int; `basket` (visits, categories), 0 or 1; `goods` (visits, items),
    the same for items, sparse.
    """

    user: np.ndarray
    day: np.ndarray
    basket: np.ndarray
    goods: sparse.csr_array


def visits(log):
    log = log.where(log.purchase)
    user, item, category = (
        log.events[name].to_numpy()
        for name in ("user", "item", "category")
    )
    day = (
        log.events["time"].to_numpy().astype("M8[D]") - log.start
    ).astype(int)
    key, row = np.unique(user * 1_000 + day, return_inverse=True)
    basket = np.zeros((len(key), log.n_categories))
    basket[row, category] = 1
    ones = np.ones(len(row))
    goods = sparse.csr_array((ones, (row, item)), (len(key), log.n_items))
    goods.data[:] = 1
    return Visits(key // 1_000, key % 1_000, basket, goods)


def totals(values, group):
    """Sums of the rows of `values` with the same `group`, at each of these rows."""
    sums = np.zeros((group.max() + 1, values.shape[1]))
    np.add.at(sums, group, values)
    return sums[group]


def beyond_habit(seen, calendar):
    """What the customer's usual mix does not explain of each basket (visits, categories).

    With `calendar`, of what the week's mix does not explain. It is divided by the root of the
    basket's size: so a large basket says more than a small one, but is not all.
    """
    rest, size = (
        seen.basket,
        np.maximum(seen.basket.sum(1, keepdims=True), 1),
    )
    if calendar:
        week = seen.day // 7
        _, mine = np.unique(seen.user * 100 + week, return_inverse=True)
        others = totals(rest, week) - totals(rest, mine)
        rest = rest - size * others / np.maximum(
            others.sum(1, keepdims=True), 1
        )
    usual = totals(rest, seen.user) / totals(size, seen.user)
    return ((rest - size * usual) / np.sqrt(size)).astype(np.float32)


class Pairs:
    """All pairs of a customer's visits, `i` before `j`, and what the tests need of them.

    `far`, `wait` (pairs,): log of the days between, less its mean over the customer's pairs that
    lie more than SOON apart, and over those of successive visits; 0 for other pairs.
    """

    def __init__(self, user, day):
        first = np.flatnonzero(np.diff(user, prepend=-1))
        size = np.diff(np.append(first, len(user)))
        self.cuts = np.append(first, len(user))
        self.size, row = np.repeat(size, size), np.arange(len(user))
        self.place = row - np.repeat(first, size)
        after = self.size - 1 - self.place
        self.i = np.repeat(row, after)
        self.j = (
            self.i
            + 1
            + np.arange(len(self.i))
            - np.repeat(np.cumsum(after) - after, after)
        )
        self.who, self.days = user[self.i], day[self.j] - day[self.i]
        self.next = self.j == self.i + 1
        self.bin = np.searchsorted(APART, self.days)
        self.weight = 1 / (self.size[self.i] - 1)
        later = self.days > SOON
        self.far = self._centred(later) * later * self.weight
        self.wait = self._centred(self.next) * self.next
        self.begin = np.repeat(np.cumsum(size**2) - size**2, size)

    def _centred(self, rows):
        apart = np.log(self.days)
        mean = np.bincount(self.who, apart * rows) / np.maximum(
            np.bincount(self.who, rows), 1
        )
        return apart - mean[self.who]

    def products(self, table):
        """Products of any two rows of `table` of a customer, his squares end to end."""
        parts = [table[low:high] for low, high in pairwise(self.cuts)]
        squares = [part @ part.T for part in parts]
        if sparse.issparse(table):
            squares = [square.toarray() for square in squares]
        return np.concatenate(
            [square.ravel() for square in squares]
        ).astype(np.float32)

    def of(self, products, order):
        """The products (pairs,) if `order` says which visit stands in whose place."""
        there = self.place[order]
        return products[
            self.begin[self.i]
            + there[self.i] * self.size[self.i]
            + there[self.j]
        ]

    def matrix(self, values):
        n = len(self.size)
        return sparse.csr_array(
            (values.astype(np.float32), (self.i, self.j)), (n, n)
        )


def shuffled(user, rng, block=0):
    """An order of the visits that changes places within customers (and within blocks of days)."""
    return np.argsort(user * 100 + block + rng.random(len(user)))


def gaps(bought, user, day):
    """Days between two successive purchases of a category by a customer; whose; of what.

    `bought` (categories, visits) bool.
    """
    category, visit = np.divmod(np.flatnonzero(bought), len(user))
    same = (np.diff(category) == 0) & (np.diff(user[visit]) == 0)
    return (
        np.diff(day[visit])[same],
        user[visit[1:]][same],
        category[1:][same],
    )


def histogram(apart, what, n):
    """Number of gaps (n, fortnights) of each customer, or of each category."""
    bins, width = (apart - 1) // 14, FORTNIGHTS
    inside = bins < width
    cells = what[inside] * width + bins[inside]
    return np.bincount(cells, minlength=n * width).reshape(n, width)


def prominence(counts, expected):
    """How far the highest inner bin of gaps (…, fortnights) stands out above both neighbours.

    In standard errors of a count, from what is expected.
    """
    z = (counts - expected) / np.sqrt(np.maximum(expected, 1))
    return (z[..., 1:-1] - np.maximum(z[..., :-2], z[..., 2:])).max(-1)


def judged(found, null):
    """Of figures (n,) and those of shuffles (shuffles, n): what share is found, and what is behind.

    `found` and `opposite`: share whose figure is larger, or smaller, than in the shuffles, with
    LEVEL of false discoveries (Benjamini & Hochberg 1995); `tail`: share in the upper 5%, found or
    not; `not null`: share that cannot be null, at least (Storey 2002); `z` (n,): in spreads of the
    shuffles.
    """
    above, below = (
        (1 + hits.sum(0)) / (1 + len(null))
        for hits in (null >= found - 1e-6, null <= found + 1e-6)
    )
    spread = np.where(null.std(0) > 0, null.std(0), np.inf)
    return {
        "asked": len(found),
        "found": (false_discovery_control(above) <= LEVEL).mean(),
        "opposite": (false_discovery_control(below) <= LEVEL).mean(),
        "tail": (above <= 0.05).mean(),
        "not null": max(0, 1 - 2 * (above > 0.5).mean()),
        "z": ((found - null.mean(0)) / spread).round(2),
    }


def study(seen, rng, shuffles, calendar=False):
    """Question → `judged`, under one of the nulls; and the gaps of all categories together."""
    user, day, still = seen.user, seen.day, np.arange(len(seen.user))
    pairs, n = Pairs(user, day), (user.max() + 1, seen.basket.shape[1])
    asked = (
        np.bincount(user, minlength=n[0]) >= REGULAR,
        seen.basket.sum(0) >= REGULAR,
    )
    table = beyond_habit(seen, calendar)
    alike, bought = (
        pairs.products(table),
        np.ascontiguousarray(seen.basket.T > 0),
    )
    far, wait = pairs.matrix(pairs.far), pairs.matrix(pairs.wait)

    def answers(order, spaced):
        mine, like = table[order], pairs.of(alike, order)
        apart, who, what = gaps(bought[:, spaced], user, day)
        return {
            "drift of customers": np.bincount(
                pairs.who, -like * pairs.far, n[0]
            )[asked[0]],
            "drift of categories": -(mine * (far @ mine)).sum(0)[
                asked[1]
            ],
            "satiation of customers": np.bincount(
                pairs.who, like * pairs.wait, n[0]
            )[asked[0]],
            "satiation of categories": (mine * (wait @ mine)).sum(0)[
                asked[1]
            ],
            "mode of customers": histogram(apart, who, n[0])[asked[0]],
            "mode of categories": histogram(apart, what, n[1])[asked[1]],
        }

    found, null = answers(still, still), []
    for _ in range(shuffles):
        order = shuffled(user, rng)
        spaced = shuffled(user, rng, day // BLOCK) if calendar else order
        null.append(answers(order, spaced))
    answer = {}
    for key, value in found.items():
        drawn = np.array([one[key] for one in null])
        if key.startswith("mode"):
            pooled = value.sum(0), drawn.sum(1)
            expected = drawn.mean(0)
            value, drawn = (
                prominence(counts, expected) for counts in (value, drawn)
            )
        answer[key] = judged(value, drawn)
    return answer | {"gaps": band(*pooled)}


def band(found, null):
    """(found, the null's mean, low, high) of a curve (n,) and those of shuffles (shuffles, n)."""
    return [
        found,
        null.mean(0),
        *np.quantile(null, [0.025, 0.975], axis=0),
    ]


def by_days(seen, rng, shuffles):
    """Likeness of any two visits of a customer, and overlap of two successive ones' items.

    By the days between, in the bins of APART, each as in `band`. Likeness is that of chapter 3:
    the chance that a category drawn from the one and one drawn from the other are the same.
    """
    pairs, still = Pairs(seen.user, seen.day), np.arange(len(seen.user))
    shares = seen.basket / np.maximum(
        seen.basket.sum(1, keepdims=True), 1
    )
    shares, goods = (
        pairs.products(shares),
        pairs.products(unit(seen.goods)),
    )
    curves = {}
    for name, products, weight in (
        ("likeness", shares, pairs.weight),
        ("items again", goods, pairs.next.astype(float)),
    ):
        total = np.bincount(pairs.bin, weight, len(APART))
        values = [
            np.bincount(
                pairs.bin, pairs.of(products, order) * weight, len(APART)
            )
            / total
            for order in [
                still,
                *(shuffled(seen.user, rng) for _ in range(shuffles)),
            ]
        ]
        curves[name] = band(values[0], np.array(values[1:]))
    return curves


def unit(goods):
    """The rows of items (visits, items) at length 1, so that products are cosines."""
    return sparse.csr_array(
        sparse.diags_array(1 / np.sqrt(np.maximum(goods.sum(1), 1)))
        @ goods
    )


def again(seen, rng, draws=1_000):
    """How far the next basket's items overlap with this one's, found ÷ shuffled, by days between.

    (point, low, high), drawing customers: within a week; in the three weeks after; within three
    months; and the second less the first. The null needs no shuffle: any two of a customer's
    baskets are as likely to stand in any two places.
    """
    pairs, n = Pairs(seen.user, seen.day), seen.user.max() + 1
    goods = pairs.products(unit(seen.goods))
    overlap = pairs.of(goods, np.arange(len(seen.user)))
    mean = np.bincount(pairs.who, overlap, n) / np.maximum(
        np.bincount(pairs.who, minlength=n), 1
    )
    sums = []
    for low, high in ((1, 7), (8, 28), (29, 91)):
        rows = pairs.next & (pairs.days >= low) & (pairs.days <= high)
        sums += [
            np.bincount(pairs.who, overlap * rows, n),
            np.bincount(pairs.who, rows, n) * mean,
        ]
    times = np.vstack(
        [np.ones(n), rng.multinomial(n, np.full(n, 1 / n), size=draws)]
    )
    found, expected = (times @ np.array(sums[k::2]).T for k in (0, 1))
    ratio = found / expected
    columns = [*ratio.T, ratio[:, 1] - ratio[:, 0]]
    return [[c[0], *np.quantile(c[1:], [0.025, 0.975])] for c in columns]


# The controls: logs with the shop's times, about which the truth is known.


def in_no_order(seen, rng):
    order = shuffled(seen.user, rng)
    return seen._replace(
        basket=seen.basket[order], goods=seen.goods[order]
    )


def lived(seen, rng, drift):
    """Each customer a user of a world with this law alone; baskets of the shop's sizes."""
    world = World(**dict.fromkeys(MECHANISMS, 0) | {"drift": drift})
    hidden = world.newcomers(seen.user.max() + 1, rng)
    vectors, base = world.catalogue.vectors.T, world.catalogue.base
    basket, nobody = (
        np.zeros_like(seen.basket),
        np.zeros_like(hidden.taste),
    )
    for today in range(seen.day.max() + 1):
        rows = np.flatnonzero(seen.day == today)
        appeal = hidden.taste[seen.user[rows]] @ vectors + base
        appeal += rng.gumbel(
            size=appeal.shape
        )  # the largest: drawn by exp(appeal)
        rank = np.argsort(np.argsort(-appeal, axis=1), axis=1)
        basket[rows] = rank < seen.basket[rows].sum(1, keepdims=True)
        world.move_taste(hidden, nobody, rng)
    return seen._replace(basket=basket)


def satiating(seen, rng):
    """In no order, but for half of what would be bought again within two weeks."""
    seen = in_no_order(seen, rng)
    soon = (np.diff(seen.user, prepend=-1) == 0) & (
        np.diff(seen.day, prepend=-99) <= 14
    )
    back = soon[:, None] & (np.roll(seen.basket, 1, axis=0) > 0)
    gone = back & (rng.random(back.shape) < 0.5)
    return seen._replace(basket=np.where(gone, 0, seen.basket))


def periodic(seen, rng):
    """In no order, but half of the habits, of three purchases or more, come every PERIOD days."""
    seen = in_no_order(seen, rng)
    basket = seen.basket.copy()
    cuts = np.append(
        np.flatnonzero(np.diff(seen.user, prepend=-1)), len(seen.user)
    )
    for low, high in pairwise(cuts):
        day, mine = seen.day[low:high], basket[low:high]
        for category in np.flatnonzero(mine.sum(0) >= 3):
            if rng.random() < 0.5:
                late = (day - rng.integers(PERIOD)) % PERIOD
                off = np.minimum(late, PERIOD - late) + rng.random(
                    len(day)
                )
                chosen = np.argsort(off)[: int(mine[:, category].sum())]
                mine[:, category] = np.isin(np.arange(len(day)), chosen)
    return seen._replace(basket=basket)


CONTROLS = {
    "no order": in_no_order,
    "tastes stay": partial(lived, drift=0),
    "drift planted": partial(lived, drift=1),
    "satiation planted": satiating,
    "period planted": periodic,
}


def run(seed):
    log, _ = datasets.load("online-retail").clean()
    seen, rng = visits(log), np.random.default_rng(seed)
    controls = {
        name: study(make(seen, rng), rng, SHUFFLES)
        for name, make in CONTROLS.items()
    }
    for answer in controls.values():
        del answer["gaps"]
        for one in answer.values():
            del one["z"]
    bought = seen.basket.sum(0)
    return {
        "names": [
            log.category_names[k]
            for k in np.flatnonzero(bought >= REGULAR)
        ],
        "visits": len(seen.user),
        "customers": len(np.unique(seen.user)),
        "shop": {
            "time": study(seen, rng, SHUFFLES),
            "calendar": study(seen, rng, SHUFFLES, calendar=True),
        },
        "by days": by_days(seen, rng, SHUFFLES),
        "again": again(seen, rng),
        "controls": controls,
    }
