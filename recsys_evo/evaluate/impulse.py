"""What exposure, clicks and friends do to later behaviour, recovered from the log by its chance.

A user is shown what he clicked, and clicks what he likes: that the shown come back says little.
But a platform that draws its slates, and writes down how likely each slot was, has run an
experiment every day. Given the past, the slots of a category, each divided by its propensity, are
expected to add up to a constant, whatever the taste. What is left over is pure chance:

    chance = Σ 1 / (slots · items on offer in the category · propensity) - 1      mean 0 given past
             slots shown

It owes nothing to taste, need, season or friends, so what later follows it was caused by it
(Robins et al. 2000 weigh, Mullahy 1997 instruments counts):

    response     reaction to one more exposure, by lag; with `cause` the naive curves beside it
    mechanisms   reinforcement and satiation, taken apart: strengths and what is kept a day
    contagion    does what chance shows to friends reach the user?

All three look at *own visits*, the clicks outside slates, which no platform chose, and at their
rate on the logarithmic scale: an effect of .1 makes visits 10.5 % more frequent. (A rate moves a
little less than the appeal: by 1 - p of it, p the chance of the visit.) Intervals are normal, with
the spread of users' own contributions, so that a user counts as one witness. Chapter 10 uses them.
"""

from typing import NamedTuple

import numpy as np
from scipy import sparse
from scipy.optimize import least_squares
from scipy.special import ndtri
from scipy.stats import chi2

from recsys_evo.collect.events import IMPRESSION
from recsys_evo.evaluate.forecasts import Interval
from recsys_evo.prepare.splits import acts, counted, side_column, summing


class Response(NamedTuple):
    """Change of the log-rate of own visits by one more of the cause: arrays (lags,)."""

    lags: np.ndarray  # days from cause to visit; negative: the visit came first
    effect: np.ndarray
    low: np.ndarray
    high: np.ndarray


def response(log, lags, *, cause="chance", level=0.95):
    """Estimate how own visits to a category answer to one more exposure, `lags` days later.

        effect = Σ visit(t) · chance(t - lag) / Σ visit(t) · chance(t - lag) · shown(t - lag)

    The whole answer: mere exposure, less the satiation by the clicks that it brings, and whatever
    the platform shows next because of it. At negative lags and at 0 it must be 0: a placebo.

    Parameters
    ----------
    log : Log with impressions, clicks and propensities; `log.items` with a category and, where
        items appear later than the log starts, the day `born`.
    lags : ints (lags,), days.
    cause : "chance"; or the naive "shown" and "clicked", which take the slots shown or the clicks
        less the mean of all who came on the day, as if they had been drawn by lot.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    Response.

    Raises
    ------
    ValueError for a log whose propensities do not add up, because of items that had no chance to be
    shown (then nothing is left to chance, and no effect identified), and for wrong arguments.
    """
    if cause not in ("chance", "shown", "clicked"):
        raise ValueError(f'`cause` must be "chance", "shown" or "clicked". Received: {cause!r}')
    lags = np.asarray(lags)
    if lags.ndim != 1 or lags.dtype.kind not in "iu" or not len(lags):
        raise ValueError(f"`lags` must be whole numbers of days. Received: {lags!r}")
    days = _Days(log, chance=cause == "chance")
    dose = days.clicked if cause == "clicked" else days.shown
    if cause != "chance":
        mean = dose.sum(1) / np.maximum(days.came.sum(1), 1)[:, None]  # (days, categories)
    day, user, category, visits = days.visits()
    effect, reach = np.full((2, len(lags)), np.nan)
    for place, lag in enumerate(lags):
        then = day - lag
        rows = np.flatnonzero((then >= 0) & (then < len(days.came)))
        at = then[rows], user[rows], category[rows]
        taken = dose[at].astype(float)
        if cause == "chance":
            luck = days.chance[at]
        else:
            luck = taken - mean[at[0], at[2]] * days.came[at[:2]]
        luck = visits[rows] * luck
        moment, slope = (np.bincount(at[1], luck * x, log.n_users) for x in (1, taken))
        if slope.sum() > 0:
            effect[place] = moment.sum() / slope.sum()
            spread = np.sqrt(((moment - effect[place] * slope) ** 2).sum()) / slope.sum()
            reach[place] = _normal(level) * spread
    return Response(lags, effect, effect - reach, effect + reach)


class Mechanisms(NamedTuple):
    """What `mechanisms` finds: Intervals, and how badly the model fits."""

    fondness: Interval  # log-rate gained the day after a first exposure
    bend: Interval  # of the gain: of x exposures it is fondness · x / (1 + bend · x)
    fondness_kept: Interval  # share of an exposure that counts a day later
    tiredness: Interval  # log-rate lost the day after a click
    tiredness_kept: Interval  # share of a click that counts a day later
    misfit: float  # p-value of the test of overidentification: small where the model is wrong


# Days between chance and visit are pooled: effects fade, so the pools grow.
_POOLS = ((1, 1), (2, 2), (3, 4), (5, 8), (9, 16), (17, 32), (33, None))
_WIDE = ((1, 8), (9, 32), (33, None))
_START = np.array([0.1, 0.1, 0.95, 0.2, 0.5])
_LEAST = np.array([-1, 0, 0.9, -1, 0])
_MOST = np.array([1, 1, 0.999, 3, 0.85])  # bend 1: the first exposure gives half of the most


def mechanisms(log, *, level=0.95):
    """Estimate reinforcement and satiation together, from nothing but chance exposures.

    With x the exposures and y the clicks of a user in a category, faded by the days since,

        rate of own visits = what taste, need, week, … make it · exp(a x / (1 + b x) - c y)
        x = Σ shown(t - k) · keeps^(k - 1),   y = Σ clicked(t - k) · keeps'^(k - 1),   k = 1, 2, …

    The right parameters divide the effect out of each visit, and what is left knows nothing of the
    chance of earlier days: its moments with `chance`, pooled over lags, and with chance / (1 +
    exposures so far / 10), which tells first from later exposures, are 0. No model of taste is
    needed, and a later exposure or click that an earlier one brought is accounted for. The two
    mechanisms are told apart because clicks are forgotten faster: exposures are taken to keep .9 a
    day or more, clicks .85 or less. Two-step GMM (Hansen 1982). A click's loss includes that of the
    purchase which it may bring, which also ends the need that it meets.

    Parameters
    ----------
    log : as for `response`.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    Mechanisms. Where the interval of a strength holds 0, nothing can be said of what is kept (or
    bent) of it: those Intervals are NaN.

    Raises
    ------
    ValueError as for `response`, and for a log with fewer users than moments.
    """
    model = _Visits(log)
    found = model.fit(model.fit(_START))  # the second time with the moments' right weights
    weight, moment, slope = model.at(found)
    reach = _normal(level) * np.sqrt(np.diag(np.linalg.pinv(slope.T @ weight @ slope)))
    parts = [Interval.around(*ends) for ends in zip(found, reach)]
    for strength, shape in ((0, (1, 2)), (3, (4,))):
        if parts[strength].low <= 0 <= parts[strength].high:
            for place in shape:
                parts[place] = Interval(np.nan, np.nan, np.nan)
    misfit = chi2.sf(moment @ weight @ moment, len(moment) - len(found))
    return Mechanisms(*parts, float(misfit))


# How long the signal remembers: another number would cost power, but not the truth.
_FRESH, _LASTING = 0.9, 0.96


def contagion(log, *, cause="chance", strangers=None, level=0.95):
    """Estimate how own visits answer to what friends were shown by chance.

    A friend's chance exposures, weighted by the share of the category in his past clicks, are the
    chance part of what he will click. Averaged over friends, spread over like categories (those
    that the same users visit, by the log) and remembered for some weeks, they are the signal. The
    estimate is that of the whole way from the friends' slates to the user's visits, so that no
    weak instrument spoils it (an intention to treat). Friends are alike, but luck is not.

    Parameters
    ----------
    log : as for `response`, with a column `friends` of user codes in `log.users`.
    cause : "chance"; or the naive "clicked", the friends' share of clicks less the crowd's, which
        is confounded by the likeness of friends.
    strangers : numpy Generator to give each user the friends of another one out of the same circle
        of acquaintance: a placebo. Default: the friends themselves.
    level : float, share of logs whose interval is to hold the truth.

    Returns
    -------
    Interval of the change of the log-rate by one standard deviation of the signal. With r half its
    length at .95, an effect of 1.4 r would be found four times out of five, and a smaller one, e,
    by (1.4 r / e)² times as many users.

    Raises
    ------
    ValueError as for `response`, and for a log without friends.
    """
    if cause not in ("chance", "clicked"):
        raise ValueError(f'`cause` must be "chance" or "clicked". Received: {cause!r}')
    hears = _friends(log, strangers)
    days = _Days(log, chance=cause == "chance")
    like, told = _likeness(days.own), hears.T.tocsr()
    shape = days.own.shape[1:]
    rate = days.own.sum(0, dtype=np.float32)
    if cause == "clicked":
        rate = np.broadcast_to(rate.mean(0), shape)  # a user's own mean would hide the likeness
    clicked, luck, signal, once = (np.zeros(shape, np.float32) for _ in range(4))
    expected, twice, moment = np.zeros(shape, np.float32), 0.0, np.zeros(log.n_users)
    for shown, touched, own, came in zip(
        days.chance if cause == "chance" else days.shown, days.clicked, days.own, days.came
    ):
        number = np.maximum(clicked.sum(1, keepdims=True), 1)
        signal *= _LASTING
        signal += (luck if cause == "chance" else clicked) / number
        speaks = signal @ like
        speaks -= speaks.mean(0)
        level_of_day = rate * came[:, None]
        level_of_day *= own.sum(0) / np.maximum(level_of_day.sum(0), 1e-9)
        # Summed by who speaks, not by who hears: chance befalls each user apart.
        moment += (speaks * (told @ (own - level_of_day))).sum(1)
        heard = hears @ speaks
        expected += level_of_day
        once += level_of_day * heard
        twice += (level_of_day * heard**2).sum(dtype=float)
        if cause == "chance":
            luck *= _FRESH
            luck += shown * (0.1 + clicked) / (0.1 * shape[1] + clicked.sum(1, keepdims=True))
        clicked *= _FRESH
        clicked += touched
    slope = twice
    if cause == "chance":  # a user's own mean takes a part of the effect away
        slope -= (once**2 / np.maximum(expected, 1e-9)).sum(dtype=float)
    scale = np.sqrt(twice / expected.sum(dtype=float)) / slope
    point, reach = moment.sum() * scale, _normal(level) * np.sqrt((moment**2).sum()) * scale
    return Interval.around(point, reach)


class _Days:
    """A log, dense: `shown`, `clicked`, `own` counts and `chance` (days, users, categories)."""

    def __init__(self, log, chance=True):
        shown = (log.events["action"].cat.codes == IMPRESSION).to_numpy()
        if not shown.any():
            raise ValueError("`log` must hold impressions. Received: none")
        shape = ((log.end - log.start).astype(int), log.n_users, log.n_categories)
        click = log.touch & ~log.purchase
        own = click & (log.events["slate"] < 0).to_numpy()
        self.shown, self.clicked, self.own = np.zeros((3, *shape), np.uint16)
        # What was shown comes last: its cells and propensities are wanted below.
        for counts, rows in ((self.own, own), (self.clicked, click), (self.shown, shown)):
            day, *at, propensity = acts(log, rows, "day", "user", "category", "propensity")
            at = ((day - log.start).astype(int), *at)
            np.add.at(counts, at, 1)
        slots = self.shown.sum(2)  # (days, users)
        self.came = slots > 0
        if not chance:
            return
        if not (propensity > 0).all():
            raise ValueError("`log` must hold the propensity of each impression. Received: NaN")
        offers = _offers(log, shape[0])
        self.chance = np.zeros(shape, np.float32)
        offered = np.maximum(offers[at[0], at[2]], 1)
        np.add.at(self.chance, at, 1 / (slots[at[:2]] * offered * propensity))
        expected = self.came[:, :, None] & (offers > 0)[:, None]
        mean = self.chance.sum(dtype=float) / expected.sum()
        if abs(mean - 1) > 0.05:
            raise ValueError(
                "`log` must give each item on offer a chance to be shown: slots divided by their "
                f"propensities must average 1. Received: {mean:.3f}"
            )
        self.chance -= expected

    def visits(self):
        """Own visits, in order of days: day, user, category and number, (rows,) each."""
        at = np.nonzero(self.own)
        return *at, self.own[at].astype(float)


def _offers(log, n_days):
    """Items on offer (days, categories)."""
    category = side_column(log, "items", "category")
    born = np.zeros(log.n_items, int)
    if "born" in log.items:
        born = (log.items["born"].to_numpy().astype("M8[D]") - log.start).astype(int)
    known = born < n_days
    new = counted((n_days, log.n_categories), np.maximum(born, 0)[known], category[known])
    return new.cumsum(0)


class _Visits:
    """Own visits of a log, with the chance before each of them."""

    def __init__(self, log):
        days = _Days(log)
        self.day, self.user, self.category, self.number = days.visits()
        self.shown, self.clicked, self.n_users = days.shown, days.clicked, log.n_users
        n_moments = len(_POOLS) + len(_WIDE)
        if log.n_users <= n_moments:
            raise ValueError(
                f"`log` must have more than {n_moments} users. Received: {log.n_users}"
            )
        pooled = self._pools(days.chance, _POOLS)
        so_far = np.zeros(days.chance.shape[1:], np.float32)
        for luck, shown in zip(days.chance, days.shown):
            luck /= 1 + so_far / 10  # what is known before the draw
            so_far += shown
        self.chance = np.hstack([pooled, self._pools(days.chance, _WIDE)])
        self._last = None

    def _pools(self, chance, pools):
        """Sums (rows, pools) of the chance that lies so many days before."""
        total = np.zeros((len(chance) + 1, *chance.shape[1:]), np.float32)
        np.cumsum(chance, axis=0, out=total[1:])

        def before(lag):  # all that lies `lag` days back or more
            then = 0 if lag is None else np.maximum(self.day - lag + 1, 0)
            return total[then, self.user, self.category]

        return np.stack([before(a) - before(None if b is None else b + 1) for a, b in pools], 1)

    def fit(self, start):
        """Parameters with the least moments, weighed as those at `start` call for."""
        whiten = np.linalg.cholesky(self.at(start)[0]).T
        return least_squares(
            lambda p: whiten @ self.moments(p)[0].sum(0),
            start,
            jac=lambda p: whiten @ self.moments(p)[1],
            bounds=(_LEAST, _MOST),
            x_scale="jac",
            xtol=1e-4,
        ).x

    def at(self, parameters):
        """Weight (moments, moments), moments, and slope (moments, 5) of the whole log."""
        per_user, slope = self.moments(parameters)
        return np.linalg.inv(per_user.T @ per_user), per_user.sum(0), slope

    def faded(self, counts, kept):
        """Σ counts(t - k) kept^(k - 1) before each visit, and its derivative by `kept`."""
        stock, slope = np.zeros((2, *counts.shape[1:]), np.float32)
        sums = np.zeros((2, len(self.day)))
        cuts = np.searchsorted(self.day, np.arange(len(counts) + 1))
        for today, first, last in zip(counts, cuts[:-1], cuts[1:]):
            rows = slice(first, last)
            at = self.user[rows], self.category[rows]
            sums[0, rows], sums[1, rows] = stock[at], slope[at]
            slope *= np.float32(kept)
            slope += stock
            stock *= np.float32(kept)
            stock += today
        return sums

    def moments(self, parameters):
        """Moments of each user (users, moments) and the slope of their sum (moments, 5)."""
        if not np.array_equal(parameters, self._last):  # both are asked for, one after the other
            self._last, self._moments = np.copy(parameters), self._moments_at(*parameters)
        return self._moments

    def _moments_at(self, fond, bend, keeps, tired, forgets):
        seen, seen_slope = self.faded(self.shown, keeps)
        done, done_slope = self.faded(self.clicked, forgets)
        bent = 1 + bend * seen
        left = self.number * np.exp(tired * done - fond * seen / bent)
        slope = np.stack(
            [-seen / bent, fond * (seen / bent) ** 2, -fond * seen_slope / bent**2,
             done, tired * done_slope]
        )  # fmt: skip
        each = self.chance * left[:, None]
        return summing(self.user, self.n_users) @ each, each.T @ slope.T


def _friends(log, strangers):
    """Weights (users, users): each user's friends, or a stranger's, count 1 together."""
    friends = side_column(log, "users", "friends")
    number = np.array([len(f) for f in friends])
    weight = np.repeat(1 / np.maximum(number, 1), number).astype(np.float32)
    pairs = np.repeat(np.arange(len(friends)), number), np.concatenate(friends).astype(int)
    hears = sparse.csr_array((weight, pairs), (log.n_users,) * 2)
    if strangers is None:
        return hears
    _, circle = sparse.csgraph.connected_components(hears, directed=False)
    order = np.lexsort((strangers.random(len(circle)), circle))
    place = np.empty_like(order)
    place[np.argsort(circle, kind="stable")] = order
    return hears[place][:, place]


def _likeness(own):
    """Log of how much oftener the same user visits both of two categories, (64, 64), centred.

    On even and on odd days, so that no visit is compared with itself.
    """
    even, odd = own[::2].sum(0, dtype=float), own[1::2].sum(0, dtype=float)
    both, apart = even.T @ odd, np.outer(even.sum(0), odd.sum(0)) / len(even)
    like = np.log((both + both.T + 2) / (apart + apart.T + 2))
    like -= like.mean(0)
    return (like - like.mean(1)[:, None]).astype(np.float32)


def _normal(level):
    if not 0 < level < 1:
        raise ValueError(f"`level` must lie between 0 and 1. Received: {level!r}")
    return ndtri((1 + level) / 2)
