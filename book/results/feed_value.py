"""Chapter 13: a feed ranked for clicks against feeds ranked for what people value.

The users of the world (needs off) among friends, and a feed in which one item in four *lures*: it
promises more than it gives. A click follows the promise; dwell, like, comment and share follow the
*worth*, what it was to have read the item; users leave whose visits bring little of worth. Each
platform learns one signal, by the same means, and ranks by what it expects of it.
"""

import numpy as np

from recsys_evo.collect import laws
from recsys_evo.collect.laws import (
    CATALOGUE,
    CATEGORIES,
    FEED,
    ITEMS,
    Stocks,
)
from recsys_evo.collect.world import World, befriend

MODULES = ["recsys_evo.collect.laws", "recsys_evo.collect.world"]
SEEDS = [0, 1, 2, 3, 4, 5, 6, 7]

USERS, WARM_UP, DAYS = 1_000, 14, 84
LURES = np.random.default_rng(13).random(CATEGORIES * ITEMS) < 0.25
# Of the lure: log-odds of a click that it adds, and worth that it takes away.
STRENGTHS = (0.0, 0.5, 1.0, 1.5)
MAIN = 1.0
GLAD = 1.0  # worth from which a read item makes one glad to have come
ATTENTION = (1 + np.arange(FEED)) ** -laws.POSITION
SIGNALS = ("dwell", "like", "comment", "share")
KEPT = 0.97  # share of what was learnt that is kept a day
ITEM, USER = 20, 10  # slots that a prior counts for: of items, of users
EXPLORE = 0.1  # share of slots left to chance
ASKED, NOISE = 0.05, 1.0  # clicks asked about; spread of an answer

PLATFORMS = (
    *("chance", "clicks", "dwell", "likes", "comments"),
    *("weights by hand", "value model", "the truth"),
)
FEW = ("clicks", "likes", "value model", "the truth")
# As `survey` gives them; here a comment or a share counts five likes.
HAND = np.array([0.0, 0.0, 1.0, 5.0, 5.0])


def run(seed):
    """Strength → platform → measure → `mean` and `spread` over users, by week.

    Every history of a seed begins with the same users and the same first weeks.
    """
    figures = {}
    for strength in STRENGTHS:
        figures[str(strength)] = {}
        for platform in PLATFORMS if strength == MAIN else FEW:
            rng = np.random.default_rng(seed)
            lived = live(platform, USERS, DAYS, rng, lure=strength)
            figures[str(strength)][platform] = {
                name: {"mean": week.mean(0), "spread": week.std(0)}
                for name, week in weekly(lived).items()
            }
    return figures


def live(platform, users, days, rng, lure=MAIN):
    """Users and a platform, WARM_UP days by chance and then `days`; arrays (users, days, slots).

    `items` (-1: not there), `clicked`, `worth`, `company` (what the category is worth to friends),
    `reactions` in `signals`; the `weights` of the value model, and `taste` (users, 64) at the end.
    """
    world = World(need=0, churn=3)
    dice, own = rng.spawn(2)  # the world's chance, and the platform's
    hidden, stocks = world.newcomers(users, dice), Stocks(users)
    friends = befriend(hidden.core, dice)
    near = friends / np.maximum(friends.sum(1), 1)[:, None]
    habit = dice.beta(*laws.HABIT, users)
    shape = (users, WARM_UP + days, FEED)
    items, clicked = np.full(shape, -1), np.zeros(shape, bool)
    worth, near_worth = np.full((2, *shape), np.nan, np.float32)
    signals = np.zeros((*shape, len(SIGNALS)), np.float32)
    learner, weights = Learner(users), None
    for day in range(shape[1]):
        world.move_taste(hidden, laws.friends_pull(friends, stocks), dice)
        came = np.flatnonzero(
            dice.random(users) < habit * stocks.engagement
        )
        liking = hidden.taste @ CATALOGUE.vectors.T
        liking += world.known_appeal(day, stocks.tired, 0 * stocks.seen)
        fond = world.known_appeal(
            day, 0, stocks.seen
        ) - world.known_appeal(day, 0, 0)
        value = world.item_value(day).ravel()
        offered = np.isfinite(value)
        appeal = np.repeat(liking[came], ITEMS, axis=1) + value
        gain = appeal - lure * LURES
        odds = (
            appeal + lure * LURES + np.repeat(fond[came], ITEMS, axis=1)
        )
        odds += laws.CLICK
        if day < WARM_UP or platform == "chance":
            scores = None
        elif platform == "the truth":
            scores = np.where(offered, gain, 0) / (1 + np.exp(-odds))
        else:
            scores = learner.scores(came)
        shown = slates(scores, offered, len(came), own)
        chance = 1 / (
            1 + np.exp(-np.take_along_axis(odds, shown, axis=1))
        )
        click = dice.random(shown.shape) < ATTENTION * chance
        got = np.take_along_axis(gain, shown, axis=1)
        company = np.take_along_axis(
            (near @ liking)[came], shown // ITEMS, 1
        )
        given = reactions(got, company, dice) * click[..., None]
        items[came, day], clicked[came, day] = shown, click
        worth[came, day], near_worth[came, day] = got, company
        signals[came, day] = given
        if day == WARM_UP - 1:
            weights = survey(clicked, worth, signals, own)
            if platform == "weights by hand":
                weights = HAND
        if day >= WARM_UP - 1:
            today = (
                slice(0, day + 1)
                if day == WARM_UP - 1
                else slice(day, day + 1)
            )
            learner.learn(
                items[:, today],
                signal(
                    platform,
                    clicked[:, today],
                    signals[:, today],
                    weights,
                ),
            )
        at = np.arange(len(came))[:, None], shown // ITEMS
        seen, read = np.zeros((2, len(came), CATEGORIES), np.float32)
        np.add.at(seen, at, 1)
        np.add.at(read, at, click)
        glad = (click & (got > GLAD)).sum(1)
        stocks.end_day(world, came, read, 0 * read, seen, glad)
    return {
        "items": items,
        "clicked": clicked,
        "worth": worth,
        "company": near_worth,
        "taste": hidden.taste @ CATALOGUE.vectors.T,
        "signals": signals,
        "weights": weights,
    }


def chances(worth, company):
    """Of a read item: mean log-dwell, and the chances of like, comment and share, by worth.

    `company`: what the item's category is worth to friends, on average.
    """
    dwell = laws.READ + 0.25 * np.clip(worth, -2, 4)
    like = 1 / (1 + np.exp(3.0 - 1.0 * worth))
    comment = 1 / (1 + np.exp(4.0 - 1.2 * np.abs(worth - 1)))
    share = 1 / (1 + np.exp(4.5 - 0.5 * worth - 1.0 * company))
    return dwell, like, comment, share


def reactions(worth, company, rng):
    """What users do after reading, (…, 4): seconds, and 0 or 1 for like, comment and share."""
    dwell, *rest = chances(worth, company)
    seconds = np.exp(
        dwell + laws.VARIED * rng.standard_normal(worth.shape)
    )
    seconds = np.minimum(seconds, laws.LONGEST)
    acts = [rng.random(worth.shape) < chance for chance in rest]
    return np.stack([seconds, *acts], axis=-1).astype(np.float32)


def features(signals):
    """The columns of the value model, for clicks: 1, log-dwell, like, comment, share."""
    log_dwell = np.log(np.maximum(signals[..., :1], 1))
    one = np.ones_like(log_dwell)
    return np.concatenate([one, log_dwell, signals[..., 1:]], axis=-1)


def survey(clicked, worth, signals, rng):
    """Weights (5,) of the value model: a regression of answers on what was done with the item."""
    asked = clicked & (rng.random(clicked.shape) < ASKED)
    answers = worth[asked] + NOISE * rng.standard_normal(asked.sum())
    return np.linalg.lstsq(features(signals[asked]), answers, rcond=None)[
        0
    ]


def signal(platform, clicked, signals, weights):
    """What the platform counts as success, a slot (users, days, slots): 0 without a click."""
    if platform in ("value model", "weights by hand"):
        return clicked * (features(signals) @ weights)
    columns = {"dwell": 0, "likes": 1, "comments": 2}
    return (
        signals[..., columns[platform]]
        if platform in columns
        else clicked.astype(float)
    )


class Learner:
    """The signal to be expected of a slot: a mean, what the item adds, what the category adds.

    Both additions are shrunk towards 0, and the older counts less. A slot further down counts for
    as much less as it is looked at.
    """

    def __init__(self, users):
        self.of_item = np.zeros((2, CATEGORIES * ITEMS))
        self.of_user = np.zeros((2, users * CATEGORIES))

    def learn(self, items, signal):
        looked = np.broadcast_to(ATTENTION, items.shape)[items >= 0]
        user = np.nonzero(items >= 0)[0]
        signal, items = signal[items >= 0], items[items >= 0]
        for table, code in (
            (self.of_item, items),
            (self.of_user, user * CATEGORIES + items // ITEMS),
        ):
            table *= KEPT
            table += [
                np.bincount(code, part, minlength=table.shape[1])
                for part in (looked, signal)
            ]

    def scores(self, users):
        mean = self.of_item[1].sum() / self.of_item[0].sum()
        slots, total = self.of_item
        item = (total - mean * slots) / (slots + ITEM)
        slots, total = self.of_user.reshape(2, -1, CATEGORIES)[:, users]
        mine = (total - mean * slots) / (slots + USER)
        return item + np.repeat(mine, ITEMS, axis=1)


def slates(scores, offered, n, rng):
    """Ten items each (n, 10): the best on offer, with EXPLORE of the slots left to chance."""
    lots = rng.choice(np.flatnonzero(offered), (n, FEED))
    if scores is None:
        return lots
    scores = np.where(offered, scores, -np.inf)
    best = np.argpartition(-scores, FEED, axis=1)[:, :FEED]
    order = np.argsort(-np.take_along_axis(scores, best, axis=1), axis=1)
    best = np.take_along_axis(best, order, axis=1)
    return np.where(rng.random(best.shape) < EXPLORE, lots, best)


def weekly(lived):
    """Measures of each user and week (users, weeks), the first the last week before the platform.

    `coming`: days on which the user came. A week: `clicks`, `dwell` (minutes), `likes`, `value`
    (the summed worth of what was read), `regret` (items read that were worth less than nothing).
    """
    clicked, worth = lived["clicked"], np.nan_to_num(lived["worth"])
    per_day = {
        "coming": lived["items"][..., 0] >= 0,
        "clicks": clicked.sum(2),
        "dwell": lived["signals"][..., 0].sum(2) / 60,
        "likes": lived["signals"][..., 1].sum(2),
        "comments": lived["signals"][..., 2].sum(2),
        "value": (clicked * worth).sum(2),
        "regret": (clicked & (worth < 0)).sum(2),
        "lures": (LURES[lived["items"]] & (lived["items"] >= 0)).sum(2)
        / FEED,
    }
    first = WARM_UP - 7
    return {
        name: days[:, first:]
        .reshape(len(days), -1, 7)
        .sum(2)
        .astype(float)
        for name, days in per_day.items()
    }
