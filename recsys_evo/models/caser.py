"""Caser: convolutions over the last few tokens of a history, and a vector of the user.

    the last tokens, a picture (length, width)
      ├─ horizontal filters, 1 … length tokens high, the width wide ─ their maximum over time
      └─ vertical filters, `length` tokens high, 1 wide: weighted sums of the tokens
                              └─ dense ─ beside the user's vector ─ a logit for each item

The architecture is that of Tang & Wang (2018), down to its loss, the binary cross-entropy of the
next few items against items drawn at random; `loss="softmax"` takes the cross-entropy over all
items instead. Chapter 08 holds it beside the Transformer.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from recsys_evo.models.networks import Saved, Trained, a_replica, dense
from recsys_evo.models.transformer import Histories, total_log_sum
from recsys_evo.prepare.splits import positive, user_codes

LOSSES = ("bce", "softmax")


@keras.saving.register_keras_serializable("recsys_evo")
class CaserNetwork(Saved, keras.Model):
    """(tokens int32 (rows, length), users int32 (rows,)) → hidden (rows, 2 · width + 1).

    Tokens are 1 … vocabulary, and 0 where there is none. The logit of token t is row t of `table`
    times the hidden vector, whose last number is 1. `compile(optimizer)`, then
    `fit((tokens, users), targets)`, targets int32 (rows, n), 0 for none.

    Parameters
    ----------
    vocabulary, users, length : int, what there is.
    width : int, of the vectors of tokens and users.
    horizontal, vertical : int, filters of each height, and vertical filters.
    dropout : float, share of the filters' answers left out in training.
    objective : "bce" or "softmax", see the top of this module.
    negatives : int, items drawn for each target.
    """

    def __init__(
        self,
        vocabulary,
        users,
        *,
        length=5,
        width=50,
        horizontal=16,
        vertical=4,
        dropout=0.5,
        objective="bce",
        negatives=3,
        **options,
    ):
        super().__init__(**options)
        if objective not in LOSSES:
            raise ValueError(f"`objective` must be one of {LOSSES}. Received: {objective!r}")
        self.vocabulary, self.users = positive(vocabulary=vocabulary), positive(users=users)
        self.length, self.width = positive(length=length), positive(width=width)
        self.horizontal, self.vertical = horizontal, vertical
        self.dropout, self.objective, self.negatives = dropout, objective, negatives
        self.of_token = self._vectors("of_token", vocabulary + 1, width)
        self.of_user = self._vectors("of_user", users, width)
        self.table = self._vectors("table", vocabulary + 1, 2 * width + 1)
        heights = range(1, length + 1)
        self.across = [layers.Conv1D(horizontal, n, activation="relu") for n in heights]
        for layer in self.across:
            layer.build((None, length, width))
        self.down = dense(length, vertical, use_bias=False)
        self.drop = layers.Dropout(dropout)
        self.join = dense(vertical * width + horizontal * length, width, "relu")
        self.seeds = keras.random.SeedGenerator()
        self.supports_jit = False
        self.built = True

    def _vectors(self, name, n, width):
        start = keras.initializers.RandomNormal(stddev=width**-0.5)
        return self.add_weight(name=name, shape=(n, width), initializer=start)

    def call(self, inputs, training=False):
        tokens, users = inputs
        there = ops.cast(tokens > 0, self.compute_dtype)[..., None]
        picture = ops.take(self.of_token, tokens, axis=0) * there
        found = [ops.max(layer(picture), axis=1) for layer in self.across]
        sums = self.down(ops.transpose(picture, (0, 2, 1)))
        found.append(ops.reshape(sums, (-1, self.width * self.vertical)))
        joined = self.join(self.drop(ops.concatenate(found, axis=1), training=training))
        user = ops.take(self.of_user, users, axis=0)
        return ops.concatenate([joined, user, ops.ones_like(joined[:, :1])], axis=1)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Nats a target; Keras asks here for what it minimises."""
        hidden = ops.cast(y_pred, "float32")
        real = ops.cast(y > 0, "float32")
        hit = self.match(hidden, y)
        if self.objective == "softmax":
            table = ops.convert_to_tensor(self.table)[1:]
            total = total_log_sum(hidden, table, ops.sum(real, axis=1)) - ops.sum(real * hit)
        else:
            drawn = (ops.shape(y)[0], y.shape[1] * self.negatives)
            drawn = keras.random.randint(drawn, 1, self.vocabulary + 1, seed=self.seeds)
            wrong = ops.softplus(self.match(hidden, drawn))
            wrong = ops.sum(ops.reshape(wrong, (-1, y.shape[1], self.negatives)), axis=2)
            total = ops.sum(real * (ops.softplus(-hit) + wrong))
        return a_replica(total / ops.cast(ops.size(y), "float32"))

    def match(self, hidden, tokens):
        """Logits (rows, n) of tokens (rows, n)."""
        rows = ops.take(ops.convert_to_tensor(self.table), tokens, axis=0)
        return ops.einsum("rd,rnd->rn", hidden, rows)

    @tf.function(reduce_retracing=True)
    def logits(self, tokens, users):
        """Logits float32 (rows, vocabulary) of what follows; column k is token k + 1."""
        hidden = ops.cast(self((tokens, users)), "float32")
        return ops.matmul(hidden, ops.transpose(self.table[1:]))


class Caser(Trained):
    """`CaserNetwork` as a ranker; the contract is that of `models.baselines`.

    Parameters
    ----------
    loss : "bce" or "softmax".
    ahead : int, how many of the next items are targets of a place in a history.
    decay : float, weight decay of AdamW.
    options : of the training, see `Trained`, where a row is a place; of the network: length, width,
        horizontal, vertical, dropout, negatives.
    """

    def __init__(
        self, *, loss="bce", ahead=3, epochs=20, size=512, rate=1e-3, decay=1e-2, **options
    ):
        super().__init__(epochs=epochs, size=size, rate=rate, **options)
        self.loss, self.ahead, self.decay = loss, positive(ahead=ahead), decay

    def fit(self, log):
        """Train on the touches of the log's known users. ValueError for fewer than two of one."""
        keras.utils.set_random_seed(self.seed)
        self.histories = Histories(log, "item")
        self.model = CaserNetwork(log.n_items, log.n_users, objective=self.loss, **self.options)
        inputs, targets = self.places()
        if not len(targets):
            raise ValueError(f"`log` must have a user with two touches. Received: {log!r}")
        steps = -(-len(targets) // self.size)
        self._train(inputs, targets, steps=steps, decay=self.decay, batch_size=self.size)
        return self

    def places(self):
        """((tokens (n, length), users (n,)), targets (n, ahead)): each place with one after it."""
        histories, length = self.histories, self.model.length
        user = np.repeat(np.arange(histories.n_users, dtype=np.int32), histories.count + 1)
        # Zeros on both sides, as many as a window may reach.
        padded = np.pad(histories.all, (length, self.ahead))
        owner = np.pad(user, (length, self.ahead), constant_values=-1)
        wide = np.lib.stride_tricks.sliding_window_view
        tokens, owners = (wide(x, length + self.ahead) for x in (padded, owner))
        # The first target stands at column `length`; there must be a token before and at it.
        kept = (tokens[:, length - 1] > 0) & (tokens[:, length] > 0)
        tokens, owners = tokens[kept], owners[kept]
        mine = owners[:, length]
        tokens = np.where(owners == mine[:, None], tokens, 0)
        return (tokens[:, :length], mine), tokens[:, length:]

    def scores(self, users=None):
        """Logits float32 (users, items) of what each user touches next."""
        users = user_codes(self.histories, users).astype(np.int32)
        tokens = self.histories.last(users, self.model.length)
        return self.model.logits(tokens, users).numpy()
