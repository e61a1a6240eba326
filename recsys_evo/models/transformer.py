"""Behaviour as tokens: a causal Transformer that is taught to say what comes next.

A history is a 0 and then the codes of what was touched, plus one. Histories stand behind each other
in one stream, which is cut into rows of `length` tokens, so that no place in a batch is empty:

    0 a b c 0 d e 0 f g h i …        ──▶      inputs  0 a b c │ 0 d e 0 │ f g h i
    (each user's history)                     targets a b c · │ d e · f │ g h i …

At every place the network says what comes next, and sees of its row what lies between the last 0
and that place. So neither a neighbour's history, nor padding with 0 on either side, nor the future
can change its answer; after a 0 alone it answers for a user of whom nothing is known.

Self-attention: Vaswani et al. (2017). For recommending: SASRec (Kang & McAuley 2018); that its loss
matters more than its layers: Klenitskiy & Vasilev (2023). Chapter 08 takes it apart.
"""

import keras
import numpy as np
import tensorflow as tf
from keras import layers, ops

from recsys_evo.models.networks import Saved, Trained, a_replica
from recsys_evo.prepare.splits import acts, positive, user_codes

TOKENS = ("item", "category")
OBJECTIVES = ("softmax", "sampled", "bce")
_BLOCK = 128  # places whose logits are in memory at a time while training
_NUMBERS = 2**23  # numbers of an array in memory at a time while answering


@keras.saving.register_keras_serializable("recsys_evo")
class Block(Saved, layers.Layer):
    """Causal self-attention, then a layer for each place alone; both are added to what was there.

    Parameters
    ----------
    heads : int, which must divide the width of the input.
    length : int, the longest row.
    dropout : float, share of numbers left out in training.
    """

    def __init__(self, heads, length, dropout=0.0, **options):
        super().__init__(**options)
        self.heads, self.length, self.dropout = heads, length, dropout

    def build(self, shape):
        width = shape[-1]
        kept = {"dtype": self.dtype_policy}
        self.norms = [layers.LayerNormalization(epsilon=1e-5, **kept) for _ in range(2)]
        self.look = layers.Dense(3 * width, use_bias=False, **kept)  # queries, keys and values
        self.tell = layers.Dense(width, **kept)
        self.widen = layers.Dense(4 * width, activation="gelu", **kept)
        self.narrow = layers.Dense(width, **kept)
        self.drops = [layers.Dropout(self.dropout, **kept) for _ in range(2)]
        for layer in (*self.norms, self.look, self.tell, self.widen):
            layer.build((None, None, width))
        self.narrow.build((None, None, 4 * width))
        self.near = self.add_weight(shape=(self.heads, self.length), initializer="zeros")

    def call(self, x, seen, training=False):
        """x: (rows, places, width); seen: bool (rows, places, places), may i look at j?"""
        x = x + self.drops[0](self.attend(self.norms[0](x), seen), training=training)
        own = self.narrow(self.widen(self.norms[1](x)))
        return x + self.drops[1](own, training=training)

    def attend(self, x, seen):
        """What each place finds in those it may see: a mean of values, heavier where they match."""
        rows, places, width = ops.shape(x)
        parts = ops.reshape(self.look(x), (rows, places, 3, self.heads, width // self.heads))
        query, key, value = ops.unstack(ops.transpose(parts, (2, 0, 3, 1, 4)), axis=0)
        match = ops.matmul(query, ops.swapaxes(key, -1, -2)) * (width // self.heads) ** -0.5
        place = ops.arange(places)
        back = ops.maximum(place[:, None] - place, 0)
        match = match + ops.take(self.near, back, axis=1)
        share = ops.softmax(ops.where(seen[:, None], match, -1e4), axis=-1)
        found = ops.transpose(ops.matmul(share, value), (0, 2, 1, 3))
        return self.tell(ops.reshape(found, (rows, places, width)))


@keras.saving.register_keras_serializable("recsys_evo")
class CausalTransformer(Saved, keras.Model):
    """Tokens int32 (rows, places) → hidden (rows, places, width), a causal Transformer.

    What goes in and what comes out share one table of vectors, `table` (vocabulary + 1, width): the
    logit of token t is its vector times the hidden one. `compile(optimizer)`, then
    `fit(inputs, targets)`, both int32 (rows, places); a target of 0 is not learnt from.

    Parameters
    ----------
    vocabulary : int, tokens 1 … vocabulary; 0 begins a history, and pads.
    length : int, places of a row at most.
    width, blocks, heads : int, size of the network.
    dropout : float, share of numbers left out in training.
    objective : what is minimised. "softmax": the cross-entropy over all tokens. "sampled": the same
        over the target and `negatives` tokens that a batch shares, drawn evenly and weighted so
        that they stand for all. "bce": SASRec's, the target is real and one token a place, drawn
        evenly from those that the row does not have, is not.
    negatives : int, see above.
    """

    def __init__(
        self,
        vocabulary,
        *,
        length=100,
        width=64,
        blocks=2,
        heads=2,
        dropout=0.2,
        objective="softmax",
        negatives=256,
        **options,
    ):
        super().__init__(**options)
        if width % positive(heads=heads):
            raise ValueError(f"`heads` must divide `width`. Received: heads={heads}, width={width}")
        if objective not in OBJECTIVES:
            raise ValueError(f"`objective` must be one of {OBJECTIVES}. Received: {objective!r}")
        self.vocabulary, self.length, self.width = vocabulary, length, width
        self.heads, self.dropout = heads, dropout
        self.objective, self.negatives = objective, negatives
        self.blocks = [Block(heads, length, dropout) for _ in range(blocks)]
        self.drop = layers.Dropout(dropout)
        self.norm = layers.LayerNormalization(epsilon=1e-5)
        self.seeds = keras.random.SeedGenerator()
        self.supports_jit = False  # XLA wins little on a CPU, and takes long to compile

    def get_config(self):
        return super().get_config() | {"blocks": len(self.blocks)}

    def build(self, shape):
        start = keras.initializers.RandomNormal(stddev=0.02)
        self.table = self.add_weight((self.vocabulary + 1, self.width), start, name="table")
        for layer in (*self.blocks, self.norm):
            layer.build((None, None, self.width))

    def call(self, tokens, training=False):
        place = ops.arange(ops.shape(tokens)[1])
        history = ops.cumsum(ops.cast(tokens == 0, "int32"), axis=1)
        seen = (history[:, :, None] == history[:, None]) & (place[:, None] >= place)
        x = ops.take(self.table, tokens, axis=0) * self.width**0.5
        x = self.drop(x, training=training)
        for block in self.blocks:
            x = block(x, seen, training=training)
        return self.norm(x)

    def compute_loss(self, x=None, y=None, y_pred=None, sample_weight=None, training=True):
        """Nats a place; Keras asks here for what it minimises."""
        total = getattr(self, self.objective)(ops.cast(y_pred, "float32"), y)
        return a_replica(total / ops.cast(ops.size(y), "float32"))

    def softmax(self, hidden, targets):
        hidden = ops.reshape(hidden, (-1, self.width))
        targets = ops.reshape(targets, (-1,))
        real = ops.cast(targets > 0, "float32")
        table = ops.convert_to_tensor(self.table)
        hit = ops.sum(hidden * ops.take(table, targets, axis=0), axis=1)
        return total_log_sum(hidden, table[1:], real) - ops.sum(real * hit)

    def sampled(self, hidden, targets):
        drawn = keras.random.randint((self.negatives,), 1, self.vocabulary + 1, seed=self.seeds)
        return self.sampled_from(drawn, hidden, targets)

    def sampled_from(self, drawn, hidden, targets):
        """The loss "sampled" with the tokens `drawn` (negatives,)."""
        table = ops.convert_to_tensor(self.table)
        hit = ops.sum(hidden * ops.take(table, targets, axis=0), axis=-1)
        other = ops.matmul(hidden, ops.transpose(ops.take(table, drawn, axis=0)))
        same = targets[..., None] == drawn
        count = ops.sum(ops.cast(~same, "float32"), axis=-1)
        weight = (self.vocabulary - 1) / ops.maximum(count, 1.0)
        other = ops.where(same, -1e9, other + ops.log(weight)[..., None])
        gap = ops.logaddexp(hit, ops.logsumexp(other, axis=-1)) - hit
        return ops.sum(ops.where(targets > 0, gap, 0.0))

    def bce(self, hidden, targets):
        shape = ops.shape(targets)
        drawn = keras.random.randint(shape, 1, self.vocabulary + 1, seed=self.seeds)
        return self.bce_from(drawn, hidden, targets)

    def bce_from(self, drawn, hidden, targets):
        """The loss "bce" with the tokens `drawn` (rows, places)."""
        table = ops.convert_to_tensor(self.table)
        hit, miss = (ops.sum(hidden * ops.take(table, t, axis=0), -1) for t in (targets, drawn))
        known = ops.any(drawn[:, :, None] == targets[:, None], axis=-1)
        wrong = ops.where(known, 0.0, ops.softplus(miss))
        return ops.sum(ops.where(targets > 0, ops.softplus(-hit) + wrong, 0.0))

    @tf.function(reduce_retracing=True)
    def logits(self, tokens):
        """Logits float32 (rows, vocabulary) of what follows each row; column k is token k + 1."""
        return self._logits(self(tokens)[:, -1])

    @tf.function(reduce_retracing=True)
    def log_loss(self, tokens, targets):
        """Nats float32 (rows, n) that the targets (rows, n) of the last n places of each row cost.

        Under the softmax over all tokens; 0 for a target of 0.
        """
        logits = self._logits(self(tokens)[:, -targets.shape[1] :])
        found = tf.nn.sparse_softmax_cross_entropy_with_logits(
            labels=ops.maximum(targets - 1, 0), logits=logits
        )
        return ops.where(targets > 0, found, 0.0)

    def _logits(self, hidden):
        return ops.matmul(ops.cast(hidden, "float32"), ops.transpose(self.table[1:]))


@tf.custom_gradient
def total_log_sum(hidden, table, weight):
    """Σ weight · log Σ exp(hidden · table): hidden (n, width), table (m, width), weight (n,).

    The gradient is found on the way, block by block, and no more than a block of the logits (n, m)
    is ever in memory. There is none with respect to `weight`.
    """
    count = tf.shape(hidden)[0]

    def step(begin, total, by_table, by_hidden):
        block = slice(begin, begin + _BLOCK)
        logits = tf.matmul(hidden[block], table, transpose_b=True)
        top = tf.reduce_max(logits, axis=1, keepdims=True)
        raised = tf.exp(logits - top)
        size = tf.reduce_sum(raised, axis=1, keepdims=True)
        here = weight[block, None]
        total += tf.reduce_sum(here * (tf.math.log(size) + top))
        chance = raised * (here / size)
        by_table += tf.matmul(chance, hidden[block], transpose_a=True)
        by_hidden = by_hidden.write(begin // _BLOCK, tf.matmul(chance, table))
        return begin + _BLOCK, total, by_table, by_hidden

    blocks = tf.TensorArray("float32", -(-count // _BLOCK), infer_shape=False,
                            element_shape=(None, hidden.shape[1]))  # fmt: skip
    start = (0, tf.zeros(()), tf.zeros_like(table), blocks)
    _, total, by_table, blocks = tf.while_loop(lambda begin, *_: begin < count, step, start)
    by_hidden = blocks.concat()
    return total, lambda slope: (slope * by_hidden, slope * by_table, None)


class Rows(keras.utils.PyDataset):
    """Inputs and targets, (size, length) at a time, of all histories; in a new order each epoch."""

    def __init__(self, histories, length, size, *, rng):
        super().__init__()
        self.histories, self.length, self.size, self.rng = histories, length, size, rng
        self.on_epoch_end()

    def __len__(self):
        return len(self.inputs) // self.size

    def __getitem__(self, number):
        rows = slice(number * self.size, (number + 1) * self.size)
        return self.inputs[rows], self.targets[rows]

    def on_epoch_end(self):
        stream = self.histories.stream(self.rng.permutation(self.histories.n_users))
        batch = self.size * self.length
        stream = np.pad(stream, (0, -(len(stream) - 1) % batch))
        self.inputs = stream[:-1].reshape(-1, self.length)
        self.targets = stream[1:].reshape(-1, self.length)


class Histories:
    """The touches of a log's known users as tokens, code plus one, each user's behind a 0."""

    def __init__(self, log, tokens):
        user, token = acts(log, log.touch, "user", tokens)
        self.n_users = log.n_users
        self.count = np.bincount(user, minlength=log.n_users)
        self.begin = np.cumsum(self.count + 1) - self.count - 1  # where the 0 stands
        self.all = np.zeros(len(user) + log.n_users, np.int32)
        self.all[np.arange(len(user)) + user + 1] = token + 1

    def stream(self, users):
        """The histories of `users` behind each other, and a last 0."""
        size = self.count[users] + 1
        shift = self.begin[users] - (np.cumsum(size) - size)
        return np.append(self.all[np.repeat(shift, size) + np.arange(size.sum())], np.int32(0))

    def last(self, users, length):
        """The last `length` tokens of each of `users`, (users, length), 0 before the first."""
        begin = self.begin[users, None]
        place = begin + self.count[users, None] + 1 - length + np.arange(length)
        return np.where(place >= begin, self.all[np.maximum(place, 0)], 0)


class Transformer(Trained):
    """`CausalTransformer` as a ranker; the contract is that of `models.baselines`.

    Parameters
    ----------
    loss : as `objective` of the network.
    tokens : "item" or "category", what a history is made of.
    patience : int, epochs to wait for a better `check`; see `fit`.
    options : of the training, see `Trained`; of the network: length, width, blocks, heads, dropout,
        negatives.
    """

    def __init__(
        self, *, loss="softmax", tokens="item", epochs=30, size=16, rate=1e-3, patience=5, **options
    ):
        super().__init__(epochs=epochs, size=size, rate=rate, **options)
        if tokens not in TOKENS:
            raise ValueError(f"`tokens` must be one of {TOKENS}. Received: {tokens!r}")
        self.loss, self.tokens, self.patience = loss, tokens, patience

    def fit(self, log, *, check=None):
        """Train on the touches of the log's known users.

        Parameters
        ----------
        check : function of this model, a number that should fall, asked after each epoch: the
            log-loss on other users, or −NDCG on the last item but one. Training ends when it has
            not fallen for `patience` epochs, and the weights of the best epoch are kept.

        `history` holds loss and check of each epoch. Raises ValueError for a log without touches.
        """
        keras.utils.set_random_seed(self.seed)
        self.histories = Histories(log, self.tokens)
        if not self.histories.count.any():
            raise ValueError(f"`log` must have touches of known users. Received: {log!r}")
        vocabulary = log.n_items if self.tokens == "item" else log.n_categories
        self.model = CausalTransformer(vocabulary, objective=self.loss, **self.options)
        self.model.build((None, self.model.length))
        order = np.random.default_rng(self.seed)
        rows = Rows(self.histories, self.model.length, self.size, rng=order)
        watch = []
        if check is not None:
            stop = keras.callbacks.EarlyStopping(
                "check", patience=self.patience, mode="min", restore_best_weights=True
            )

            def ask(epoch, logs):
                logs["check"] = check(self)

            watch = [keras.callbacks.LambdaCallback(on_epoch_end=ask), stop]
        self._train(rows, steps=len(rows), decay=1e-2, shuffle=False, callbacks=watch)
        return self

    def scores(self, users=None, log=None):
        """Logits float32 (users, items or categories) of what each user touches next.

        `log` holds the histories to read; default is the log of `fit`.
        """
        histories = self._histories(log)
        users = user_codes(histories, users)
        model = self.model
        size = max(1, _NUMBERS // (model.length * max(model.heads * model.length, 4 * model.width)))
        parts = np.split(users, range(size, len(users), size))
        found = [model.logits(histories.last(part, model.length)).numpy() for part in parts]
        return np.concatenate(found)

    def log_loss(self, log=None):
        """Nats float32 (touches,) that each touch of a known user costs, in the order of the log.

        A token is foretold from all that came before it in its history, or at least from the
        `length` / 2 tokens before it; the first of a history from nothing.
        """
        histories = self._histories(log)
        stream = histories.stream(np.arange(histories.n_users))
        length = self.model.length
        step = -(-length // 2)
        rows = -(-(len(stream) - 1) // step)
        # A row foretells its last `step` tokens; the rows before the first are empty histories.
        padded = np.zeros(length + rows * step + 1, np.int32)
        padded[length - step : length - step + len(stream)] = stream
        view = np.lib.stride_tricks.sliding_window_view(padded, length + 1)[::step][:rows]
        size = max(1, _NUMBERS // (step * self.model.vocabulary))
        parts = np.split(view, range(size, rows, size))
        cost = [self.model.log_loss(part[:, :-1], part[:, -step:]).numpy() for part in parts]
        return np.concatenate(cost).ravel()[: len(stream) - 1][stream[1:] > 0]

    def _histories(self, log):
        if log is None:
            return self.histories
        histories = Histories(log, self.tokens)
        if histories.all.max(initial=0) > self.model.vocabulary:
            raise ValueError(
                f"`log` must have no other {self.tokens} than the log of `fit`, which had "
                f"{self.model.vocabulary}. Received: code {histories.all.max() - 1}"
            )
        return histories
