"""Weeks drawn from a likelihood: the honest rivals of the behaviour GAN.

A day is drawn in four steps, each given those before it; a *hurdle* is taken or not.

    clicks (0 … most) ──▶ dwell (if there were clicks) ──▶ bought or not ──▶ amount (if bought)
      categorical           log-normal mixture               Bernoulli         log-normal mixture

One class holds three models:

    HurdleWeek(p, memory=False)            the days are independent, given the past
    HurdleWeek(p)                          a day knows the day before and the week so far
    HurdleWeek(p, memory=False, latent=4)  a hidden mood of the week instead: a variational
                                           autoencoder (Kingma & Welling 2014)

Networks speak of a day in *facts*, five numbers of about unit scale: came (0 or 1), log-clicks,
log-dwell a click, bought (0 or 1), log-amount, those behind a hurdle not taken being 0. Hurdle
models of counts: Mullahy (1986). Chapter 06 trains them beside the GAN.
"""

import math

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from recsys_evo.models.networks import Saved, build_optimizer, dense
from recsys_evo.models.weeks import DAYS
from recsys_evo.prepare.images import CHANNELS
from recsys_evo.prepare.splits import positive

FACTS = 5  # numbers that tell a day
NOISE = 6  # standard normals that a day is drawn from
MIXED = 2  # Gaussians in a mixture
_ROWS = 50_000  # weeks drawn at a time


class WeekNetwork(Saved, keras.Model):
    """What all networks that draw weeks share: their scales, and `sample`.

    A subclass has `draw(past, noise)`, which turns scaled pasts (rows, features) and standard
    normals (rows, `noise`) into facts (rows, 7, 5), differentiably.

    Parameters
    ----------
    features : int, columns of the past; the first 7 tell of one day to come each.
    """

    def __init__(self, features, noise, **kwargs):
        super().__init__(**kwargs)
        if features <= DAYS:
            raise ValueError(f"`features` must exceed {DAYS}. Received: features={features}")
        self.features, self.noise = features, noise
        # Scales of the past, and of log-clicks, log-dwell a click and log-amount; see `adapt`.
        fixed = {"trainable": False, "autocast": False, "dtype": "float32"}
        self.centre = self.add_weight((features,), "zeros", name="centre", **fixed)
        self.spread = self.add_weight((features,), "ones", name="spread", **fixed)
        self.level = self.add_weight((3,), "zeros", name="level", **fixed)
        self.unit = self.add_weight((3,), "ones", name="unit", **fixed)

    def adapt(self, past, week):
        """Take the scales from training data: past (users, p), week (users, 7, 3)."""
        logs = _logs(np.asarray(week, np.float64))
        self.centre.assign(past.mean(axis=0))
        self.spread.assign(past.std(axis=0) + 1e-6)
        self.level.assign([x.mean() for x in logs])
        self.unit.assign([x.std() + 1e-6 for x in logs])

    def scaled(self, past):
        """The past (rows, p) in units of its spread, outliers drawn in."""
        return ops.clip((ops.cast(past, "float32") - self.centre) / self.spread, -5, 5)

    def facts(self, week, shift=0.0):
        """Facts (rows, 7, 5) of weeks (rows, 7, 3); `shift` (rows, 7) is added to the clicks."""
        clicks, dwell, amount = (ops.cast(week[..., k], "float32") for k in range(3))
        came, bought = clicks > 0, amount > 0
        each = ops.where(came & (dwell > 0), dwell / ops.maximum(clicks, 1.0), 1.0)
        sizes = ops.where(came, clicks + shift, 1.0), each, ops.where(bought, amount, 1.0)
        size, stay, paid = (
            (ops.log(x) - self.level[k]) / self.unit[k] for k, x in enumerate(sizes)
        )
        came, bought = ops.cast(came, "float32"), ops.cast(bought, "float32")
        return ops.stack([came, size * came, stay * came, bought, paid * bought], axis=-1)

    def weeks(self, facts):
        """Weeks (rows, 7, 3) of facts (rows, 7, 5), clicks rounded to whole ones."""
        came, size, stay, bought, paid = (facts[..., k] for k in range(FACTS))
        back = [ops.exp(x * self.unit[k] + self.level[k]) for k, x in enumerate((size, stay, paid))]
        clicks = ops.where(came > 0.5, ops.maximum(ops.round(back[0]), 1.0), 0.0)
        return ops.stack([clicks, clicks * back[1], ops.where(bought > 0.5, back[2], 0.0)], axis=-1)

    def sample(self, past, n, *, rng):
        """Draw `n` weeks a user.

        Parameters
        ----------
        past : (users, p), not scaled.
        n : int.
        rng : numpy Generator; the same state draws the same weeks.

        Returns
        -------
        float32 (users, n, 7, 3): whole clicks, dwell seconds, amount.
        """
        past = np.repeat(np.asarray(past, np.float32), positive(n=n), axis=0)
        out = np.empty((len(past), DAYS, len(CHANNELS)), np.float32)
        for low in range(0, len(past), _ROWS):
            block = slice(low, low + _ROWS)
            noise = rng.standard_normal((len(out[block]), self.noise), dtype=np.float32)
            out[block] = self._drawn(past[block], noise)
        return out.reshape(-1, n, DAYS, len(CHANNELS))

    @tf.function(reduce_retracing=True)
    def _drawn(self, past, noise):
        return self.weeks(self.draw(self.scaled(past), noise))


@keras.saving.register_keras_serializable("recsys_evo")
class HurdleWeek(WeekNetwork):
    """A network with a likelihood, see the top of this module; `compile(optimizer)` before `fit`.

    Parameters
    ----------
    features : int, columns of the past; the first 7 tell of one day to come each.
    memory : bool, whether a day knows the days of the week before it.
    latent : int, dimensions of the week's hidden mood; 0 for none.
    width : int, units of a hidden layer.
    most : int, clicks a day at most.
    dropout : float, share of the past's hidden units that are dropped in training.
    """

    whole = True  # clicks are whole numbers from the start

    def __init__(self, features, memory=True, latent=0, width=64, most=24, dropout=0.3, **kwargs):
        super().__init__(features, noise=latent + DAYS * NOISE, **kwargs)
        self.memory, self.latent, self.width, self.most = memory, latent, width, most
        self.dropout = dropout
        self.read_past = dense(features - DAYS, width, "swish")
        self.drop = layers.Dropout(dropout)
        known = width + latent + 1 + DAYS + 2 * FACTS * memory
        self.read_day = dense(known, width, "swish")
        self.clicks = dense(width, most + 1, dtype="float32")
        self.dwell = Head(width + 1, 3 * MIXED)
        self.buys = Head(width + 2, 1 + 3 * MIXED)
        if latent:
            self.infer = Head(width + DAYS * FACTS, 2 * latent)
            self.seeds = keras.random.SeedGenerator()
        self.built = True

    def fit(self, past, week, **kwargs):
        """Train on pasts (users, p) and weeks (users, 7, 3); the rest is as for `keras.Model`."""
        self.adapt(past, week)
        build_optimizer(self)
        return super().fit((past, week), **kwargs)

    def call(self, inputs, training=False):
        """Log-likelihood (users,) of (past, week), or a lower bound where the mood is hidden."""
        past, week = inputs
        found = self.log_prob(self.scaled(past), week, training)
        self.add_loss(-ops.mean(found))
        return found

    def log_prob(self, past, week, training=False):
        """Log-likelihood (users,) of weeks (users, 7, 3), given scaled pasts."""
        facts = self.facts(week)
        context, surprise = self.context(past, training), 0.0
        if self.latent:
            both = ops.concatenate([context, ops.reshape(facts, (-1, DAYS * FACTS))], axis=1)
            mean, log_spread = ops.split(self.infer(both), 2, axis=1)
            noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
            context = ops.concatenate([context, mean + ops.exp(log_spread) * noise], axis=1)
            surprise = mean**2 / 2 + ops.expm1(2 * log_spread) / 2 - log_spread
            surprise = ops.sum(surprise, axis=1)
        before = ops.pad(facts[:, :-1], ((0, 0), (1, 0), (0, 0)))
        state = self.state(every_day(context), by_day(past), before, ops.cumsum(before, axis=1))

        clicks = ops.cast(ops.minimum(week[..., 0], self.most), "int32")
        came, size, stay, bought, paid = ops.unstack(facts, axis=-1)
        chance = ops.log_softmax(self.clicks(state))
        found = ops.sum(ops.one_hot(clicks, self.most + 1) * chance, axis=-1)
        found += came * log_density(self.dwell(beside(state, size)), stay)
        buys = self.buys(beside(state, size, stay))
        found -= came * ops.softplus((1 - 2 * bought) * buys[..., 0])
        found += bought * log_density(buys[..., 1:], paid)
        return ops.sum(found, axis=1) - surprise

    def draw(self, past, noise):
        """Facts (rows, 7, 5), day by day.

        Clicks and purchases, which jump, pass on the gradient of their mean.
        """
        mood, noise = noise[:, : self.latent], noise[:, self.latent :]
        noise = ops.reshape(noise, (-1, DAYS, NOISE))
        context = every_day(ops.concatenate([self.context(past), mood], axis=1))
        ahead, before = by_day(past), ops.zeros((ops.shape(past)[0], FACTS))
        so_far, week = before, []
        for day in range(DAYS):
            state = self.state(context[:, day], ahead[:, day], before, so_far)
            before = self.draw_day(state, ops.unstack(noise[:, day], axis=-1))
            so_far = so_far + before
            week.append(before)
        return ops.stack(week, axis=1)

    def draw_day(self, state, noise):
        """Facts (rows, 5) of one day from its state (rows, width) and six normals (rows,)."""
        log_counts = ops.log(ops.arange(1, self.most + 1, dtype="float32"))
        sizes = ops.pad((log_counts - self.level[0]) / self.unit[0], ((1, 0),))
        chance = ops.softmax(self.clicks(state))
        clicks = which(chance, noise[0])
        came = straight_through(ops.cast(clicks > 0, "float32"), 1 - chance[:, 0])
        size = straight_through(ops.take(sizes, clicks), ops.sum(chance * sizes, axis=1))
        stay = draw_mixture(self.dwell(beside(state, size)), noise[1], noise[2])
        buys = self.buys(beside(state, size, stay))
        chance = ops.sigmoid(buys[:, 0])
        bought = came * straight_through(ops.cast(uniform(noise[3]) < chance, "float32"), chance)
        paid = draw_mixture(buys[:, 1:], noise[4], noise[5])
        return ops.stack([came, came * size, came * stay, bought, bought * paid], axis=1)

    def context(self, past, training=False):
        """What the past says of the user (users, width)."""
        read = self.drop(self.read_past(past[:, DAYS:]), training=training)
        return ops.cast(read, "float32")

    def state(self, context, ahead, before, so_far):
        """What is known at the start of a day, digested: (…, width)."""
        known = [context, ahead] + ([before, so_far / DAYS] if self.memory else [])
        return self.read_day(ops.concatenate(known, axis=-1))


class Head(layers.Layer):
    """A hidden layer, and figures in full precision."""

    def __init__(self, inputs, outputs, width=32, **kwargs):
        super().__init__(**kwargs)
        self.hidden = dense(inputs, width, "swish")
        self.figures = dense(width, outputs, dtype="float32")
        self.built = True

    def call(self, inputs):
        return self.figures(self.hidden(inputs))


def every_day(context):
    """The user's context (rows, n) on each day (rows, 7, n)."""
    return ops.repeat(context[:, None], DAYS, axis=1)


def by_day(past):
    """What the scaled past says of each day, and which day it is: (rows, 7, 8)."""
    day = ops.broadcast_to(ops.eye(DAYS), (ops.shape(past)[0], DAYS, DAYS))
    return ops.concatenate([past[:, :DAYS, None], day], axis=-1)


def beside(state, *facts):
    """The state (…, n) with the day's facts so far (…,) beside it."""
    facts = [ops.cast(fact, state.dtype)[..., None] for fact in facts]
    return ops.concatenate([state, *facts], axis=-1)


def mixture(parts):
    """Log-weights, means and log-spreads (…, MIXED); no Gaussian may shrink to a point."""
    weight, mean, log_spread = ops.split(parts, 3, axis=-1)
    return ops.log_softmax(weight), mean, ops.clip(log_spread, -4, 2)


def log_density(parts, x):
    """Log-density (…,) at `x` (…,) of a mixture of Gaussians, `parts` (…, 3 · MIXED)."""
    weight, mean, log_spread = mixture(parts)
    z = (x[..., None] - mean) * ops.exp(-log_spread)
    return ops.logsumexp(weight - log_spread - z**2 / 2, axis=-1) - math.log(2 * math.pi) / 2


def draw_mixture(parts, choice, noise):
    """A draw (rows,) of the same mixture, from two standard normals (rows,)."""
    weight, mean, log_spread = mixture(parts)
    chosen = ops.one_hot(which(ops.exp(weight), choice), MIXED)
    return ops.sum(chosen * (mean + ops.exp(log_spread) * noise[:, None]), axis=1)


def which(chance, noise):
    """A column (rows,), drawn by the chances (rows, n) that sum to 1 and a normal (rows,)."""
    edges = ops.cumsum(chance, axis=1)[:, :-1]
    return ops.sum(ops.cast(edges < uniform(noise)[:, None], "int32"), axis=1)


def uniform(noise):
    """A standard normal as a uniform number."""
    return (1 + ops.erf(noise / math.sqrt(2))) / 2


def straight_through(hard, soft):
    """`hard` forwards, the gradient of `soft` backwards (Bengio, Léonard & Courville 2013)."""
    return hard + (soft - ops.stop_gradient(soft))  # in this order, exactly `hard`


def _logs(week):
    """Logarithms of clicks, of dwell a click and of amounts, where there are some."""
    clicks, dwell, amount = (week[..., k] for k in range(3))
    read = (clicks > 0) & (dwell > 0)
    positive = clicks[clicks > 0], (dwell[read] / clicks[read]), amount[amount > 0]
    return [np.log(x) if len(x) else np.zeros(1) for x in positive]
