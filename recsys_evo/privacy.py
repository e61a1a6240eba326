"""What a log gives away, and the tools that keep it in: noise, clipping, masks and averages.

    what leaves the device        who must be trusted       here
    a randomised answer           nobody                    `randomised`, `shares`
    a masked update               nobody with one user's    `mask`, `unmasked`, `federated_round`
    the events                    whoever trains            `clipped_sum`, `epsilon`

and `attack` measures what is given away in spite of it. Noise comes from NumPy's generators, which
are made for simulations: an attacker who sees enough of their output can foretell the rest. What
guards real people takes its noise and its masks from a cryptographic source, and samples it in
whole numbers, since rounding betrays the value under the noise (Mironov 2012). Chapter 15.
"""

import numpy as np
from scipy.optimize import brentq
from scipy.special import expit
from scipy.stats import norm
from sklearn.metrics import roc_auc_score, roc_curve


def attack(members, others, fpr=0.01):
    """Return (AUC, TPR): how well a score tells who was in the training set.

    The AUC is half for guessing. An attacker who is sure of few people can do harm with an AUC near
    half; so the second figure is the share of members found when at most the share `fpr` of the
    others is accused (Carlini et al. 2022).

    Parameters
    ----------
    members, others : finite (rows,), scores of those who were in the training set, and of those who
        were not; higher says «was in».
    fpr : float between 0 and 1.
    """
    members, others = np.asarray(members, float), np.asarray(others, float)
    if members.ndim != 1 or others.ndim != 1 or not len(members) or not len(others):
        raise ValueError(
            "`members` and `others` must be columns with a score or more. "
            f"Received: shapes {members.shape} and {others.shape}"
        )
    score = np.concatenate([members, others])
    if not np.isfinite(score).all():
        raise ValueError(f"`members` and `others` must be finite. Received: {score}")
    if not 0 <= fpr <= 1:
        raise ValueError(f"`fpr` must lie between 0 and 1. Received: fpr={fpr!r}")
    truth = np.repeat([1, 0], [len(members), len(others)])
    false, true, _ = roc_curve(truth, score, drop_intermediate=False)
    return float(roc_auc_score(truth, score)), float(true[false <= fpr].max())


def bound(fpr, epsilon, delta=0.0):
    """Largest share of members that any attack finds under (ε, δ) (Kairouz et al. 2015)."""
    fpr, grown = np.asarray(fpr, float), np.exp(_epsilon(epsilon))
    return np.minimum(np.minimum(grown * fpr + delta, 1 - (1 - delta - fpr) / grown), 1)


def randomised(answers, n, epsilon, *, rng):
    """Return answers that are true with chance e^ε / (e^ε + n − 1), else another one, any.

    No answer is more than e^ε times as likely under one truth as under another (Warner 1965;
    Kairouz et al. 2014). `answers`: int (users,), codes from 0 to n − 1, n two or more.
    """
    answers = _codes("answers", answers, n)
    true = np.exp(_epsilon(epsilon)) / (np.exp(epsilon) + n - 1)
    lie = rng.random(len(answers)) >= true
    # 1 to n − 1 steps on, around the circle: each of the other answers is as likely.
    return (answers + lie * rng.integers(1, n, len(answers))) % n


def shares(reports, n, epsilon):
    """Estimate the shares of the true answers from what `randomised` reported.

    Returns shares and standard errors, float (n,) each. A share is right on average and may be
    negative; its error is that of users and lies together, from the share of reports.
    """
    reports = _codes("reports", reports, n)
    other = 1 / (np.exp(_epsilon(epsilon)) + n - 1)
    gain = np.expm1(epsilon) * other  # chance of the true answer less that of another one
    seen = np.bincount(reports, minlength=n) / len(reports)
    return (seen - other) / gain, np.sqrt(seen * (1 - seen) / len(reports)) / gain


def clipped_sum(inputs, residuals, *, clip, noise=0.0, rng=None):
    """Sum users' gradients of a linear model, none longer than `clip`: (inputs, outputs), noisy.

    A user's gradient is the outer product of input and residual, so its length is the product of
    their lengths: it is clipped without ever being written down (Goodfellow 2015). The sum moves by
    at most `clip` when a user comes or goes, and the noise is measured against that: this is the
    step of DP-SGD (Abadi et al. 2016).

    Parameters
    ----------
    inputs, residuals : (users, inputs) and (users, outputs).
    clip : float, positive; `numpy.inf` leaves gradients as they are, and allows no noise.
    noise : float, the noise's standard deviation in units of `clip`.
    rng : numpy Generator; needed for noise.
    """
    if not clip > 0 or noise < 0 or (noise and not np.isfinite(clip)):
        raise ValueError(
            "`clip` must be positive, and finite where there is noise; `noise` must not be "
            f"negative. Received: clip={clip!r}, noise={noise!r}"
        )
    length = np.linalg.norm(inputs, axis=1) * np.linalg.norm(residuals, axis=1)
    kept = np.minimum(1, clip / np.maximum(length, np.finfo(float).tiny))
    total = inputs.T @ (residuals * kept[:, None].astype(residuals.dtype))
    if noise:
        total = total + noise * clip * rng.standard_normal(total.shape, dtype=total.dtype)
    return total


def epsilon(noise, *, delta, rate=1.0, steps=1, accountant="pld"):
    """Return ε after `steps` noisy sums over users drawn at random, by Google's `dp_accounting`.

    Two data sets are neighbours if one has a user more. The count is right for batches that are
    drawn anew for each step, each user with the chance `rate` (Poisson sampling).

    Parameters
    ----------
    noise : float, positive, standard deviation of the noise over the clipping length.
    delta : float in (0, 1), the chance left to what ε does not hold for.
    rate : float in (0, 1].
    steps : int, positive.
    accountant : "pld", which counts nearly exactly, or "rdp", a bound by Rényi divergences that
        older figures were computed with (Mironov 2017).
    """
    if not noise > 0 or not 0 < delta < 1 or not 0 < rate <= 1 or not steps >= 1:
        raise ValueError(
            "`noise` must be positive, `delta` in (0, 1), `rate` in (0, 1], `steps` 1 or more. "
            f"Received: noise={noise!r}, delta={delta!r}, rate={rate!r}, steps={steps!r}"
        )
    if accountant not in ("pld", "rdp"):
        raise ValueError(f'`accountant` must be "pld" or "rdp". Received: {accountant!r}')
    import dp_accounting  # a second to import
    from dp_accounting import pld, rdp

    count = pld.PLDAccountant() if accountant == "pld" else rdp.RdpAccountant()
    event = dp_accounting.GaussianDpEvent(noise)
    if rate < 1:
        event = dp_accounting.PoissonSampledDpEvent(rate, event)
    return float(count.compose(event, steps).get_epsilon(delta))


def gaussian(epsilon, delta):
    """Return the least noise, over the reach of one user, at which one Gaussian answer is (ε, δ).

    The closed form of Balle and Wang (2018), solved for the noise: less than the textbook's
    sqrt(2 ln(1.25/δ))/ε, and right for any ε.
    """

    def excess(noise):
        half, slope = 0.5 / noise, _epsilon(epsilon) * noise
        return norm.cdf(half - slope) - np.exp(epsilon + norm.logcdf(-half - slope)) - delta

    return float(brentq(excess, 1e-3, 1e6, xtol=1e-12))


def descend(weights, inputs, answers, *, steps, rate, ridge=0.0, anchor=0.0):
    """Take gradient steps down the mean logistic loss of `inputs @ weights`, on all rows at once.

    Parameters
    ----------
    weights : (inputs, outputs), where to begin.
    inputs, answers : (users, inputs), and 0/1 (users, outputs). The loss of a user is the sum over
        outputs; to the mean, `ridge` / 2 times the squared distance from `anchor` is added.
    steps, rate : int, and the length of a step.
    ridge, anchor : float, and a number or (inputs, outputs).
    """
    for _ in range(steps):
        residuals = expit(inputs @ weights) - answers
        slope = inputs.T @ residuals / len(inputs) + ridge * (weights - anchor)
        weights = weights - rate * slope
    return weights


def federated_round(weights, clients, **options):
    """Return the clients' mean after each has taken its own steps from `weights` (FedAvg).

    With one step it is a step of central gradient descent; with more, clients that differ pull
    apart before they are averaged (McMahan et al. 2017). `clients`: list of (inputs, answers), each
    counted by its number of users; `options`: those of `descend`.
    """
    moved = [descend(weights, *client, **options) for client in clients]
    return np.average(moved, axis=0, weights=[len(inputs) for inputs, _ in clients])


def to_ring(values, scale=2**24):
    """Return numbers as whole steps of 1/`scale` modulo 2⁶⁴, in which sums are exact, uint64."""
    steps = np.rint(np.asarray(values, float) * scale)
    if not (np.abs(steps) < 2**62).all():
        raise ValueError(
            f"`values` must be finite and below 2**62 / scale. Received: {np.max(np.abs(values))}"
        )
    return steps.astype(np.int64).view(np.uint64)


def from_ring(ring, scale=2**24):
    """Return the numbers that `to_ring` took; right for sums that stay below 2⁶³ / `scale`."""
    return np.asarray(ring, np.uint64).view(np.int64) / scale


def mask(client, seeds, size):
    """Return what `client` adds to its vector before it sends it, uint64 (size,) modulo 2⁶⁴.

    All masks together sum to 0 (Bonawitz et al. 2017). `seeds`: int (clients, clients), symmetric,
    the secret that each pair shares; `client` is a row of it.
    """
    seeds = np.asarray(seeds)
    if seeds.ndim != 2 or not np.array_equal(seeds, seeds.T):
        raise ValueError(f"`seeds` must be a symmetric table. Received: shape {seeds.shape}")
    total = np.zeros(size, np.uint64)
    for other in range(len(seeds)):
        if other != client:
            total += _pair(client, other, seeds, size)
    return total


def unmasked(total, missing, seeds):
    """Return the sum of the vectors that came, when the `missing` clients' never did.

    `total` is the sum of what came, uint64. The others give up the secrets that they share with
    who is missing, and no others: what is left of the masks is then known, and taken off.
    """
    present = np.setdiff1d(np.arange(len(seeds)), missing)
    for client in present:
        for other in missing:
            total = total - _pair(client, other, np.asarray(seeds), len(total))
    return total


def _pair(client, other, seeds, size):
    """What two share, with a plus for the one and a minus for the other."""
    stream = np.random.default_rng(seeds[client, other])
    secret = stream.integers(0, 2**64, size, dtype=np.uint64)
    return secret if client < other else ~secret + np.uint64(1)


def _epsilon(epsilon):
    if not 0 < epsilon < 700:  # e^ε is still a number
        raise ValueError(f"`epsilon` must lie between 0 and 700. Received: epsilon={epsilon!r}")
    return epsilon


def _codes(name, codes, n):
    codes = np.asarray(codes)
    if n < 2:
        raise ValueError(f"`n` must be 2 or more. Received: n={n!r}")
    whole = codes.ndim == 1 and codes.dtype.kind in "iu" and len(codes)
    if not whole or codes.min() < 0 or codes.max() >= n:
        raise ValueError(f"`{name}` must be codes in [0, {n}), one or more. Received: {codes!r}")
    return codes
