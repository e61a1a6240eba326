"""What a recommender does to the society of its users, and to the items that want to be seen.

    users ⇄ recommender ──▶ who was shown what, who clicked, who came: (users, days, slots)

    of the items     gini, coverage        does the winner take all?
                     newcomers             does the new get a chance?   (by day)
    between users    overlap               does everybody see the same? (by day)
                     likeness              does everybody want the same?
    of each user     diversity             how many-sided is what one clicks?
                     distance              has one become another than one was?
                     retention, welfare    does one stay? is one better off?

Everything here takes arrays; `tally` makes counts of them. Measures of each user go into
`ranking.average`, which gives the interval over users and leaves out NaN. Users who teach the same
recommender are no independent witnesses of it, so a claim about recommenders needs histories under
several seeds (`forecasts.interval`), and so do the measures of items and between users. Chapter 10
uses this module, chapter 09 the measures of items.
"""

import numpy as np


def tally(codes, n):
    """Count codes in each row: `tally(np.where(clicked, items // 16, -1), 64)`.

    Parameters
    ----------
    codes : int (rows, …), from 0 to n - 1; negative ones are not counted.
    n : int, number of codes there are.

    Returns
    -------
    int (rows, n).

    Raises
    ------
    ValueError for codes that are no integers, or `n` and more.
    """
    codes = _codes("codes", codes, n=n)
    rows = len(codes)
    flat = codes.reshape(rows, -1)
    cells = np.arange(rows)[:, None] * n + flat
    return np.bincount(cells[flat >= 0], minlength=rows * n).reshape(rows, n)


def gini(counts):
    """Return the Gini coefficient of exposure: 0 where all get as much, near 1 where one gets all.

        share of all  │      ╱·
        exposures     │   ╱   ·      twice the area between the diagonal and the curve
                      │╱ ....·       of the shares of the least shown items
                      └─────────
                       share of items, the least shown first

    A fair lottery does not give 0: with m exposures an item on average, chance alone gives about
    1 / sqrt(π · m). Compare at equal numbers of exposures.

    Parameters
    ----------
    counts : non-negative (…, items), the whole catalogue, items that were never shown too.

    Returns
    -------
    float (…), at most (items - 1) / items.

    Raises
    ------
    ValueError for counts that are negative or not finite, and where nothing was shown.
    """
    counts = _counts(counts)
    if not (total := counts.sum(axis=-1)).all():
        raise ValueError("`counts` must hold an exposure in every row. Received: a row of zeros")
    n = counts.shape[-1]
    return np.sort(counts, axis=-1) @ np.arange(1 - n, n, 2) / (n * total)


def coverage(counts, at_least=1):
    """Return the share (…) of the catalogue that was shown, or shown `at_least` so often.

    Raises ValueError for `counts` (…, items) that are negative or not finite.
    """
    return (_counts(counts) >= at_least).mean(axis=-1)


def newcomers(items, born, days, *, young=14):
    """Return, for each day, how much of its fair share of exposure the new gets.

        share of new items among the shown  /  share of new items among those on offer

    1 is a fair share, 0 is none. On offer is what is born by that day.

    Parameters
    ----------
    items : int (users, days, slots), what was shown; -1 where nothing was.
    born : int (items,), the day on which each item of the catalogue comes on offer.
    days : int (days,), the number of each day, on the same calendar.
    young : int, days for which an item is new, its first one included.

    Returns
    -------
    float (days,); NaN where nothing was shown or nothing on offer is new.

    Raises
    ------
    ValueError for other shapes, and for an item shown before it was born: the calendars differ.
    """
    born, days = _codes("born", born, 1), _codes("days", days, 1)
    items = _codes("items", items, 3, len(born))
    if len(days) != items.shape[1]:
        raise ValueError(
            f"`days` must number the {items.shape[1]} days of `items`. Received: {len(days)}"
        )
    shown = tally(items.swapaxes(0, 1), len(born))
    age = days[:, None] - born
    offered = age >= 0
    if (early := shown.astype(bool) & ~offered).any():
        day, item = np.argwhere(early)[0]
        raise ValueError(
            "`items` must be shown from the day on which they are born. "
            f"Received: item {item} on day {days[day]}, born on day {born[item]}"
        )
    new = offered & (age < young)
    with np.errstate(invalid="ignore"):
        given = (shown * new).sum(axis=1) / shown.sum(axis=1)
        return given / (new.sum(axis=1) / offered.sum(axis=1))


def overlap(items):
    """Return, for each day, how alike the slates of two users are: 1 the same, 0 nothing in common.

    It is the chance that the item in a slot of one user was shown, in whatever slot, to another
    user who came on that day: the mean over all pairs of users. An item that stands twice in a
    slate is two slots of its own user and one item to the others. Where all slates are full and
    hold no item twice, it is the mean share of items in common; by chance alone, two slates of k
    items out of m have k / m in common.

    Parameters
    ----------
    items : int (users, days, slots), what was shown; -1 where nothing was. A user without any did
        not come.

    Returns
    -------
    float (days,); NaN where fewer than two users came. By counts, without a loop over pairs.

    Raises
    ------
    ValueError for another shape and codes that are no integers.

    Source: a measure of homogenisation in the manner of Chaney, Stewart and Engelhardt (2018).
    """
    items = _codes("items", items, 3)
    alike = np.full(items.shape[1], np.nan)
    for day in range(len(alike)):
        slates = np.sort(items[:, day], axis=1)  # the same item stands side by side
        slates = slates[(slates >= 0).any(axis=1)]
        if len(slates) < 2:
            continue
        filled = slates >= 0
        first = np.diff(slates, axis=1, prepend=-1) > 0
        others = np.bincount(slates[first & filled]) - 1  # beside the user in whose slate it stands
        met = np.where(filled, others[slates], 0).sum(axis=1) / filled.sum(axis=1)
        alike[day] = met.mean() / (len(slates) - 1)
    return alike


def likeness(appeals):
    """Return the mean correlation of two users' appeals of categories: 1 if all are of one mind.

    Parameters
    ----------
    appeals : (users, categories), at least two users; each user's must differ between categories.

    Returns
    -------
    float, over all pairs of different users; by sums, without a loop over pairs.
    """
    unit = np.asarray(appeals, dtype=float)
    unit = unit - unit.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    n = len(unit)
    return float(((unit.sum(axis=0) ** 2).sum() - n) / (n * (n - 1)))


def diversity(counts):
    """Return the chance that two of a user's clicks, or exposures, are in different categories.

        1 − sum over categories of  c · (c − 1) / (n · (n − 1))       c of n clicks are in it

    It is Simpson's index, by pairs of different clicks. If clicks are independent, it is unbiased
    for any number of them, so that users with few and with many can be averaged and compared.
    Entropy has no unbiased estimate (Paninski 2003): from few clicks it comes out too small, so
    that a recommender which merely gains clicks would seem to gain variety. Whoever chooses among m
    categories alike has 1 − 1/m; so 1 / (1 − mean) is an effective number of categories (Jost
    2006). Clicks of one day resemble each other, for the need of the day: compare over equal spans.

    Parameters
    ----------
    counts : whole numbers (users, categories).

    Returns
    -------
    float (users,), NaN for users with fewer than two.

    Raises
    ------
    ValueError for counts that are negative or not whole.

    Source: Simpson (1949).
    """
    counts = _counts(counts)
    if (counts != np.floor(counts)).any():
        raise ValueError(
            f"`counts` must be whole numbers. Received: {counts[counts != np.floor(counts)][0]}"
        )
    n = counts.sum(axis=-1)
    with np.errstate(invalid="ignore"):  # no pair: 0 / 0
        return 1 - (counts * (counts - 1)).sum(axis=-1) / (n * (n - 1))


def distance(now, core):
    """Return how far the present appeal of categories lies from that of the core taste.

    The root of the mean square over categories, after each side's own mean is taken off: what lifts
    all categories alike changes no choice among them. Tastes wander without any recommender, so
    compare with users whose recommender is neutral.

    Parameters
    ----------
    now, core : (users, …, categories), log-odds.

    Returns
    -------
    float (users, …), log-odds.

    Raises
    ------
    ValueError for shapes that differ.
    """
    now, core = np.asarray(now), np.asarray(core)
    if now.shape != core.shape or not now.ndim:
        raise ValueError(
            "`now` and `core` must have one shape, (users, …, categories). "
            f"Received: {now.shape} and {core.shape}"
        )
    return (now - core).std(axis=-1)  # which takes off the mean


def retention(came, *, window=7):
    """Return who of the users of the first window still comes, window by window.

    Its `numpy.nanmean` over users is the curve of retention, which begins at 1 and ends with the
    share that stayed.

    Parameters
    ----------
    came : bool (users, days).
    window : int, days; a divisor of the number of days.

    Returns
    -------
    float (users, windows): 1 where the user came at least once in the window, 0 where not. NaN for
    users who did not come in the first window, of whom nobody could be kept.

    Raises
    ------
    ValueError for another shape, values that are not bool, and a window that does not divide.
    """
    came = np.asarray(came)
    if came.ndim != 2 or came.dtype != bool:
        raise ValueError(
            f"`came` must be bool (users, days). Received: {came.dtype}, shape {came.shape}"
        )
    n_users, n_days = came.shape
    if not isinstance(window, (int, np.integer)) or window < 1 or n_days % window:
        raise ValueError(
            f"`window` must divide the number of days, {n_days}. Received: window={window!r}"
        )
    kept = came.reshape(n_users, n_days // window, window).any(axis=2).astype(float)
    kept[kept[:, 0] == 0] = np.nan
    return kept


def welfare(utility, attention):
    """Return the consumer surplus of each slate: what it is worth to its user that it is there.

        sum over slots of  attention · ln(1 + e^utility)

    A user who looks at a slot clicks if the item is worth more than to pass it by; the worth of
    both has a part of the moment besides (logit). That the item is there gains ln(1 + e^u) on
    average, whose derivative by u is the chance of a click. Days on which a user does not come are
    worth 0, so that a recommender that drives users away loses by it. By which utility it counts is
    for the caller to say: chapter 10 leaves out what mere exposure has added.

    Parameters
    ----------
    utility : (users, days, slots), log-odds of a click on an item that is looked at; NaN where
        nothing was shown.
    attention : (slots,), the chance that a slot is looked at, between 0 and 1.

    Returns
    -------
    float (users, days), in the units of utility; its mean over days is one figure a user.

    Raises
    ------
    ValueError for other shapes and an attention outside of [0, 1].

    Source: Small and Rosen (1981), here a choice between one item and none in each slot.
    """
    utility, attention = np.asarray(utility), np.asarray(attention, dtype=float)
    if utility.ndim != 3 or attention.shape != utility.shape[2:]:
        raise ValueError(
            "`utility` must be (users, days, slots), and `attention` (slots,). "
            f"Received: {utility.shape} and {attention.shape}"
        )
    if not ((attention >= 0) & (attention <= 1)).all():
        raise ValueError(
            "`attention` must lie between 0 and 1. "
            f"Received: {attention.min()} to {attention.max()}"
        )
    return np.logaddexp(0, np.where(np.isnan(utility), -np.inf, utility)) @ attention


def _codes(name, codes, ndim=None, n=np.inf):
    codes = np.asarray(codes)
    if codes.dtype.kind not in "iu" or not codes.ndim or ndim not in (None, codes.ndim):
        rule = "integers" if ndim is None else f"integers in {ndim} dimensions"
        raise ValueError(f"`{name}` must be {rule}. Received: {codes.dtype}, shape {codes.shape}")
    if codes.max(initial=-1) >= n:
        raise ValueError(f"`{name}` must be codes less than {n}. Received: {codes.max()}")
    return codes


def _counts(counts):
    counts = np.asarray(counts, dtype=float)
    if not counts.ndim or not (np.isfinite(counts) & (counts >= 0)).all():
        raise ValueError(
            "`counts` must be an array of finite numbers, none negative. "
            f"Received: shape {counts.shape}, least {counts.min(initial=np.inf)}"
        )
    return counts
