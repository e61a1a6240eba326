"""The conditional behaviour GAN: a generator of weeks, and the critic that it must please.

    past, noise ──▶ generator ──▶ a week ──┐
    past ──────────────────────────────────┼──▶ critic ──▶ how real
    past, what happened ──▶ the week ──────┘

The critic compares a real and a generated week of the same user (relativistic pairing,
Jolicoeur-Martineau 2019), and its slope is held down at both (the penalties R1 and R2), under which
the game has a stable end (Huang et al. 2024). The generator draws all days at once from a mood of
the week and surprises of each day. Whether a user comes and buys are gates that jump: forwards
they are open or shut, backwards they pass a smooth gradient.

`BehaviourGAN` takes any `hurdle.WeekNetwork`: with a `HurdleWeek`, an adversary stands beside the
likelihood. Chapter 06 holds it against the likelihood alone.
"""

import keras
import tensorflow as tf
from keras import layers, ops

from recsys_evo.models.hurdle import FACTS, WeekNetwork, by_day, every_day, straight_through
from recsys_evo.models.networks import Saved, a_replica, build_optimizer, dense
from recsys_evo.models.weeks import DAYS


def adam(steps, rate=1e-3):
    """The optimiser that worked: no momentum, falling rate, and the mean of the late weights."""
    falling = keras.optimizers.schedules.CosineDecay(rate, steps)
    return keras.optimizers.Adam(falling, beta_1=0, beta_2=0.99, use_ema=True, ema_momentum=0.998)


@keras.saving.register_keras_serializable("recsys_evo")
class WeekGenerator(WeekNetwork):
    """Weeks from noise, without a likelihood.

    Parameters
    ----------
    features : int, columns of the past; the first 7 tell of one day to come each.
    mood, surprise : int, normals that a week and each of its days are drawn from.
    width : int, units of a hidden layer.
    """

    whole = False  # clicks are rounded only when a week is drawn

    def __init__(self, features, mood=8, surprise=8, width=64, **kwargs):
        super().__init__(features, noise=mood + DAYS * surprise, **kwargs)
        self.mood, self.surprise, self.width = mood, surprise, width
        self.read_past = dense(features - DAYS, width, "swish")
        self.first = dense(width + mood + 1 + DAYS + surprise, width, "swish")
        self.second = dense(width, width, "swish")
        self.figures = dense(width, FACTS, dtype="float32")
        # Noise that reaches the facts directly keeps the draws apart from the first step on.
        self.skip = dense(surprise, FACTS, use_bias=False, dtype="float32")
        self.built = True

    def draw(self, past, noise):
        """Facts (rows, 7, 5) from scaled pasts (rows, features) and normals (rows, noise)."""
        mood = noise[:, : self.mood]
        surprise = ops.reshape(noise[:, self.mood :], (-1, DAYS, self.surprise))
        context = ops.cast(self.read_past(past[:, DAYS:]), "float32")
        context = every_day(ops.concatenate([context, mood], axis=1))
        known = ops.concatenate([context, by_day(past), surprise], axis=-1)
        drawn = self.figures(self.second(self.first(known))) + self.skip(surprise)
        came, size, stay, bought, paid = ops.unstack(drawn, axis=-1)
        came = gate(came)
        bought = came * gate(bought)
        return ops.stack([came, came * size, came * stay, bought, bought * paid], axis=-1)


class Critic(layers.Layer):
    """How real is a week, for this past? In full precision, since its slope is derived again."""

    def __init__(self, features, width=128, **kwargs):
        super().__init__(dtype="float32", **kwargs)
        full = {"activation": "swish", "dtype": "float32"}
        self.day = dense(FACTS + 1 + DAYS + features - DAYS, width // 2, **full)
        self.gist = dense(width // 2, width // 4, **full)
        self.first = dense(DAYS * FACTS + FACTS + features + width // 4, width, **full)
        self.second = dense(width, width, **full)
        self.verdict = dense(width, 1, use_bias=False, dtype="float32")  # only gaps count
        self.built = True

    def call(self, facts, past):
        """Verdicts (rows,) on facts (rows, 7, 5), given scaled pasts (rows, features)."""
        days = ops.concatenate([facts, by_day(past), every_day(past[:, DAYS:])], axis=-1)
        gist = ops.sum(self.gist(self.day(days)), axis=1)
        flat = ops.reshape(facts, (-1, DAYS * FACTS))
        known = ops.concatenate([flat, ops.sum(facts, axis=1), past, gist], axis=1)
        return self.verdict(self.second(self.first(known)))[:, 0]


@keras.saving.register_keras_serializable("recsys_evo")
class BehaviourGAN(Saved, keras.Model):
    """A generator against a critic: `compile(adam(steps))`, `fit`, `sample`.

    Parameters
    ----------
    generator : WeekNetwork, which is trained in place.
    adversary : float, weight of the game in the generator's loss.
    likelihood : float, weight of its negative log-likelihood, where it has one.
    penalty : float, γ of R1 and R2.
    """

    def __init__(self, generator, adversary=1.0, likelihood=0.0, penalty=0.05, **kwargs):
        super().__init__(**kwargs)
        self.generator, self.critic = generator, Critic(generator.features)
        self.adversary, self.likelihood, self.penalty = adversary, likelihood, penalty
        self.seeds = keras.random.SeedGenerator()
        self.built = True

    def get_config(self):
        generator = keras.saving.serialize_keras_object(self.generator)
        return super().get_config() | {"generator": generator}

    @classmethod
    def from_config(cls, config):
        generator = keras.saving.deserialize_keras_object(config.pop("generator"))
        return cls(generator, **config)

    def fit(self, past, week, **kwargs):
        """Train on pasts (users, p) and weeks (users, 7, 3); the rest is as for `keras.Model`."""
        self.generator.adapt(past, week)
        build_optimizer(self)
        return super().fit((past, week), **kwargs)

    def call(self, inputs):
        """The critic's verdicts (users,) on (past, week): larger is more real."""
        past, week = inputs
        return self.critic(self.generator.facts(week), self.generator.scaled(past))

    def sample(self, past, n, *, rng):
        """Draw `n` weeks a user (users, n, 7, 3); see `WeekNetwork.sample`."""
        return self.generator.sample(past, n, rng=rng)

    def train_step(self, data):
        past, week = keras.utils.unpack_x_y_sample_weight(data)[0]
        past = self.generator.scaled(past)
        rows = tf.shape(week)[0]
        # Spread evenly around the whole number, or the critic would tell real clicks by it.
        shift = 0.5 * (not self.generator.whole)
        shift = keras.random.uniform((rows, DAYS), -shift, shift, seed=self.seeds)
        real = self.generator.facts(week, shift)
        noise = keras.random.normal((rows, self.generator.noise), seed=self.seeds)
        rows = ops.cast(rows, "float32")

        with tf.GradientTape() as drawing:
            fake = self.generator.draw(past, noise)
            targets = [fake]
            if self.likelihood:
                found = self.generator.log_prob(past, week, training=True)
                targets.append(-self.likelihood * ops.mean(found))
        with tf.GradientTape() as judging:
            with tf.GradientTape() as slope:
                slope.watch([real, fake])
                verdicts = self.critic(real, past), self.critic(fake, past)
                total = ops.sum(verdicts[0]) + ops.sum(verdicts[1])
            slopes = slope.gradient(total, [real, fake])
            steep = sum(ops.sum(x**2) for x in slopes) / rows  # R1 and R2 together
            ahead = verdicts[0] - verdicts[1]
            critic = ops.mean(ops.softplus(-ahead)) + self.penalty / 2 * steep
            scaled = self.optimizer.scale_loss(a_replica(critic))

        # The generator's loss is softplus(ahead); the critic's slope takes it back to the facts.
        pull = -self.adversary / rows * ops.sigmoid(ahead)[:, None, None] * slopes[1]
        pulls = [pull, ops.ones(())][: len(targets)]
        pulls = [self.optimizer.scale_loss(a_replica(x)) for x in pulls]
        players = (self.generator.trainable_variables, self.critic.trainable_variables)
        gradients = drawing.gradient(targets, players[0], output_gradients=pulls)
        gradients += judging.gradient(scaled, players[1])
        self.optimizer.apply(gradients, [*players[0], *players[1]])
        generator = self.adversary * ops.mean(ops.softplus(ahead)) + sum(targets[1:])
        return {"critic": critic, "generator": generator, "slope": steep}


def gate(logit):
    """1 where `logit` is positive and 0 elsewhere, with the gradient of a steep sigmoid."""
    return straight_through(ops.cast(logit > 0, "float32"), ops.sigmoid(1.7 * logit))
