"""Past and future that cannot leak: cut a log at a day, label what comes after it.

Every cut is made at a midnight, `end`: the past lies before it, the future begins with it.

    time ───────────────┬──────────────▶
         past(log, end) │ future(log, end, days)
                       end

Chapters 01 and 02 make their first split here; every later chapter uses the same two words.
"""

import numpy as np
from scipy import sparse


def midnight(end):
    """Return `end` (a date, text such as "2011-10-01", a timestamp) as datetime64[D].

    Raises ValueError when it is no date, has a time zone or is not a midnight.
    """
    try:
        moment = np.datetime64(end, "s") if getattr(end, "tzinfo", None) is None else None
    except (ValueError, TypeError):
        moment = None
    if moment is None or isinstance(end, (int, np.integer)) or np.isnat(moment):
        raise ValueError(f"`end` must be a date without a time zone. Received: end={end!r}")
    day = moment.astype("datetime64[D]")
    if day != moment:
        raise ValueError(f"`end` must be a midnight. Received: end={end!r}")
    return day


def past(log, end):
    """Return the log of all that happened before `end`.

    ───events───┬─────────▶
    ░░░░░░░░░░░░│
               end         ░ returned
    """
    return log.where(log.events["time"].to_numpy() < midnight(end))


def future(log, end, days):
    """Return the log of the `days` days that begin with `end`.

        ────────────┬───days───┬──▶
                    │░░░░░░░░░░│
                   end                 ░ returned

    Raises ValueError when `days` is not a positive integer.
    """
    return log.where(within(log, end, days))


def touches(log, end, days, *, users=None, categories=64):
    """Label «does user u touch category c in the `days` days from `end`».

        ───what a model may see───┬───days───┬──▶
                                  │  labels  │
                                 end

    Parameters
    ----------
    log : Log, the whole of it; only the rows within the `days` days are looked at.
    end : midnight, see above.
    days : int, length of the window.
    users : array of user codes, the order of the rows; default all of the log's users.
    categories : int, number of columns.

    Returns
    -------
    bool (users, categories). Days that the log does not cover count as days without a touch.

    Raises
    ------
    ValueError for a wrong `days`, `users` or `categories`, and where the log ends at or before
    `end`, so that there is no future in it to take labels from.
    """
    categories = room_for_categories(log, categories)
    chosen = user_codes(log, users)
    label = np.zeros((log.n_users, categories), dtype=bool)
    label[tuple(acts(log, _labelled(log, end, days, log.touch), "user", "category"))] = True
    return label if users is None else label[chosen]


def buys(log, end, days, *, users=None):
    """Label «does user u buy in the `days` days from `end`»; as `touches`, but bool (users,)."""
    chosen = user_codes(log, users)
    label = np.zeros(log.n_users, dtype=bool)
    label[acts(log, _labelled(log, end, days, log.purchase), "user")[0]] = True
    return label[chosen]


def split_users(n_users, shares, *, rng):
    """Share the users out at random, so that no user is on both sides of a comparison.

        users  ░░░░░░░░░░░░░▒▒▒▒▓▓▓▓     shares = (.6, .2, .2)
               (shuffled)

    Parameters
    ----------
    n_users : int, how many users there are; their codes are 0 to n_users - 1.
    shares : positive numbers that sum to 1 or less; what is left over goes to nobody.
    rng : numpy Generator.

    Returns
    -------
    A list of disjoint int32 arrays of user codes, each sorted, one a share.

    Raises
    ------
    ValueError for shares that are not positive or sum to more than 1.
    """
    shares = np.asarray(shares, dtype=float)
    if shares.ndim != 1 or not (shares > 0).all() or not shares.sum() <= 1 + 1e-9:
        raise ValueError(
            f"`shares` must be positive numbers that sum to 1 or less. Received: {shares.tolist()}"
        )
    cuts = np.rint(np.cumsum(shares) * n_users).astype(int)
    shuffled = rng.permutation(n_users).astype(np.int32)
    return [np.sort(part) for part in np.split(shuffled, cuts)[:-1]]


def leave_last_out(log):
    """Hold out the last touch of each user, in the order of the log.

        user 0  ─t──t─────t──[t]─r─▶      t touch, r return: dropped
        user 1  ────t─[t]──────────▶      [t] test, what is before it train
        user 2  ──────────t────────▶      one touch only: all of it train

    What a user does after the held-out touch goes to neither side, since a return or a slate that
    comes later would give the answer away. Users with one touch, users without any and the unknown
    user are never tested: all of their rows are in train.

    Returns
    -------
    (train, test), two logs. Test holds one row for each tested user.
    """
    user = log.events["user"].to_numpy()
    touch = np.flatnonzero(log.touch & (user >= 0))
    last = touch[np.append(user[touch][1:] != user[touch][:-1], True)] if len(touch) else touch
    last = last[np.bincount(user[touch], minlength=log.n_users)[user[last]] > 1]
    test = np.zeros(len(user), dtype=bool)
    test[last] = True
    held_out_at = np.full(log.n_users + 1, len(user))  # the last entry serves the unknown user, -1
    held_out_at[user[last]] = last
    return log.where(np.arange(len(user)) < held_out_at[user]), log.where(test)


def user_codes(log, users):
    """Return `users` as an int array of codes of `log`, all of them for None.

    Raises ValueError for a code that the log does not have.
    """
    if users is None:
        return np.arange(log.n_users)
    users = np.asarray(users)
    if users.ndim != 1 or (users.size and not np.issubdtype(users.dtype, np.integer)):
        raise ValueError(f"`users` must be an array of user codes. Received: users={users!r}")
    users = users.astype(np.intp)
    unknown = np.flatnonzero((users < 0) | (users >= log.n_users))
    if len(unknown):
        raise ValueError(
            f"`users` must be codes from 0 to {log.n_users - 1}. "
            f"Received: users[{unknown[0]}]={users[unknown[0]]}"
        )
    return users


def positive(**numbers):
    """Return the one number given by name; ValueError unless it is a positive integer."""
    ((name, number),) = numbers.items()
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 1:
        raise ValueError(f"`{name}` must be a positive integer. Received: {name}={number!r}")
    return int(number)


def room_for_categories(log, categories):
    """Return `categories`; ValueError unless the log's categories fit into so many columns."""
    if log.n_categories > positive(categories=categories):
        raise ValueError(
            f"`categories` must be at least the log's number of categories, {log.n_categories}; "
            "fold the rare ones with `group_categories`. "
            f"Received: categories={categories}"
        )
    return categories


def within(log, end, days):
    """Return bool (events,): does the event fall into the `days` days from `end`?"""
    start, time = midnight(end), log.events["time"].to_numpy()
    return (time >= start) & (time < start + positive(days=days))


def acts(log, rows, *names):
    """Return the columns `names` of those `rows`, bool (events,), that are of known users.

    Codes come as int64, so that cells may be numbered by them; "day" is the day of the time.
    """
    rows, found = np.flatnonzero(rows), []
    rows = rows[log.events["user"].to_numpy()[rows] >= 0]
    for name in names:
        values = log.events["time" if name == "day" else name].to_numpy()[rows]
        if name == "day":
            values = values.astype("M8[D]")
        found.append(values.astype(np.int64) if values.dtype.kind == "i" else values)
    return found


def side_column(log, table, name):
    """The column `name` of "items" or "users", an array; ValueError for a log without it."""
    frame = getattr(log, table)
    if name not in frame:
        raise ValueError(
            f"`log.{table}` must have a column '{name}'. Received: {list(frame.columns)}"
        )
    return frame[name].to_numpy()


def counted(shape, *codes, weight=None):
    """Return a table of `shape`: how often the codes name each cell, or the sum of its weights."""
    cells = codes[0]
    for code, size in zip(codes[1:], shape[1:]):
        cells = cells * size + code
    return np.bincount(cells, weight, np.prod(shape, dtype=int)).reshape(shape)


def summing(codes, n):
    """Return the sparse matrix (n, rows) that sums those rows of a table that have one code."""
    return sparse.csr_array((np.ones(len(codes)), (codes, np.arange(len(codes)))), (n, len(codes)))


def _labelled(log, end, days, rows):
    """Those of `rows` within the window, after checking that the log reaches it."""
    if not len(log) or midnight(end) >= log.end:
        raise ValueError(
            "`end` must lie before the end of the log, or every label would be False. "
            f"Received: end={end!r} for a log that ends at {log.end if len(log) else None}"
        )
    return within(log, end, days) & rows
