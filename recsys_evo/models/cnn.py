"""Convolutional networks on behaviour images: the article's, as written, and one that works.

    article      image ─ conv 3×3 ─ pool ─ conv 3×3 ─ pool ─ all cells to one vector ─ one answer
    ours         image ─ conv days × neighbours ─ conv days ─ a vector a category ─ an answer a
                                                              category

The difference that matters most is in the last column: an image has 64 answers, not one. All
categories share one set of filters, so each user teaches 64 times, and a filter that has learnt
what a journey looks like in one category knows it in all. Chapter 05 takes both apart.
"""

import keras
import numpy as np
from keras import layers, ops

from recsys_evo.collect.ceiling import HORIZON, Forecast
from recsys_evo.models.classifiers import anything, labels
from recsys_evo.models.networks import Saved, Trained
from recsys_evo.prepare import hand, splits
from recsys_evo.prepare.images import behaviour_images, places


def article_extractor(input_shape=(64, 64, 3)):
    """The article's feature extractor (its 5.2.1), layer by layer: image → 128 features."""
    return keras.Sequential(
        [
            keras.Input(input_shape),
            layers.Conv2D(32, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Conv2D(64, (3, 3), activation="relu"),
            layers.MaxPooling2D((2, 2)),
            layers.Flatten(),
            layers.Dense(128, activation="relu"),
        ]
    )


def article_predictor(extractor):
    """The article's predictor (its 5.2.2) on an extractor, whose weights it shares and trains."""
    image = keras.Input(extractor.input_shape[1:])
    latent = layers.Dense(128, activation="relu")(extractor(image))
    return keras.Model(image, layers.Dense(1, activation="sigmoid")(latent))


@keras.saving.register_keras_serializable("recsys_evo")
class Logarithm(Saved, layers.Layer):
    """log(1 + x) of clicks, dwell and amount, each divided by a typical size of it.

    Networks need inputs of about equal size (chapter 04); inside the model nobody can forget it.
    """

    def __init__(self, typical=(0.7, 4.0, 3.0), **options):
        super().__init__(**options)
        self.typical = tuple(typical)

    def call(self, image):
        return ops.log1p(image) / ops.cast(self.typical, self.compute_dtype)


@keras.saving.register_keras_serializable("recsys_evo")
class PerCategory(Saved, layers.Layer):
    """A learnt vector of `units` numbers for each category, the same for all users.

    Returns (users, categories, units); the input lends only its number of users.
    """

    def __init__(self, categories, units, **options):
        super().__init__(**options)
        self.categories, self.units = categories, units

    def build(self, input_shape):
        start = keras.initializers.RandomNormal(stddev=0.3)
        self.table = self.add_weight(shape=(self.categories, self.units), initializer=start)

    def call(self, image):
        shape = (ops.shape(image)[0], self.categories, self.units)
        return ops.broadcast_to(self.table[None], shape)


@keras.saving.register_keras_serializable("recsys_evo")
class Taste(Saved, layers.Layer):
    """The low-rank taste of an image's user: (users, categories, 1); see `hand.taste_basis`.

    `basis` (rank, categories), in the order of the image's categories, is not trained.
    """

    def __init__(self, rank, half_life=16, **options):
        super().__init__(**options)
        self.rank, self.half_life = rank, half_life

    def build(self, input_shape):
        _, days, categories, _ = input_shape
        self.basis = self.add_weight(shape=(self.rank, categories), trainable=False, name="basis")
        age = np.arange(days, 0, -1) - 0.5
        self.fading = (0.5 ** (age / self.half_life)).astype("float32")

    def call(self, image):
        weight = ops.cast(self.fading, self.compute_dtype)[None, :, None]
        counts = ops.log1p(ops.sum(image[..., 0] * weight, axis=1))
        basis = ops.cast(self.basis, self.compute_dtype)
        return ops.matmul(ops.matmul(counts, ops.transpose(basis)), basis)[..., None]


def category_cnn(*, days=64, categories=64, recent=16, reach=3, basis=None, width=32, dropout=0.1):
    """Build the network that answers for each category: touched? and bought?

    Three views of the image are joined for each category:

    - *journeys*: the last `recent` days, `reach` neighbours to each side;
    - *habits*: all days of the category alone;
    - *the user*: all days, summed over categories.

    Parameters
    ----------
    days, categories : size of the image.
    recent, reach : int, see above; `reach=0` sees no neighbour.
    basis : (rank, categories), in the image's order, to see the user's taste, too (`Taste`).
    width : int, filters of a convolution.
    dropout : float, share of numbers left out in training.

    Returns
    -------
    keras.Model from images (users, days, categories, 3), raw, to a dict of chances "touch" and
    "buy", both (users, categories). It is not compiled.
    """
    image = keras.Input((days, categories, 3))
    cells = Logarithm()(image)

    same = {"padding": "same", "activation": "relu"}

    def conv(cells, filters, size, stride=1):
        return layers.Conv2D(filters, size, strides=(stride, 1), **same)(cells)

    def a_category(cells, units):
        vector = layers.Reshape((categories, -1))(layers.Permute((2, 1, 3))(cells))
        return layers.Dense(units)(layers.Dropout(dropout)(vector))

    last = layers.Cropping2D(((days - recent, 0), (0, 0)), name="recent")(cells)
    journeys = conv(last, width, (3, 2 * reach + 1))
    journeys = a_category(conv(journeys, width, (3, 1), stride=2), 2 * width)
    habits = a_category(conv(cells, width // 2, (7, 1), stride=4), width)
    window = a_category(layers.Conv2D(8, (days, 1))(cells), 8)
    user = ops.mean(cells, axis=2)
    user = layers.Conv1D(8, 7, strides=4, **same)(user)
    user = layers.Dense(16, activation="relu")(layers.Flatten()(user))
    views = [journeys, habits, window, layers.RepeatVector(categories)(user)]
    if basis is not None:
        taste = Taste(len(basis))
        views.append(taste(image))
        taste.basis.assign(basis)

    # Categories differ: each opens and closes the numbers of the views by gates of its own.
    known = PerCategory(categories, 8)(image)
    views = layers.Dense(2 * width)(layers.Concatenate()([*views, known]))
    views = layers.Multiply()([views, layers.Dense(2 * width, activation="sigmoid")(known)])
    views = layers.Add()([views, layers.Dense(2 * width)(known)])
    views = layers.Dropout(dropout)(layers.Activation("relu")(views))
    views = layers.Dense(width, activation="relu")(views)
    seldom = keras.initializers.Constant(-2.5)  # log-odds to start from
    chances = {}
    for name in ("touch", "buy"):
        chance = layers.Dense(1, "sigmoid", bias_initializer=seldom, dtype="float32")(views)
        chances[name] = layers.Reshape((categories,), name=name, dtype="float32")(chance)
    return keras.Model(image, chances)


class Batches(keras.utils.PyDataset):
    """Images, and what happened in the `ahead` days, of `size` users at a time: no more in memory.

    `order` as for `behaviour_images`; the answers have the image's order. With `rng` the users
    come in a new order in each epoch.
    """

    def __init__(
        self, log, *, end, ahead=HORIZON, users=None, order=None, size=16, answers=True, rng=None
    ):
        super().__init__()
        self.past, self.end, self.order = splits.past(log, end), end, order
        self.users, self.size, self.rng = splits.user_codes(log, users), size, rng
        self.rows = np.arange(len(self.users))
        self.answers = None
        if answers:
            order = slice(None) if order is None else order
            touch, buy = (y[:, order] for y in labels(log, end=end, ahead=ahead, users=self.users))
            self.answers = {"touch": touch, "buy": buy}
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.rows) // self.size)

    def __getitem__(self, number):
        rows = self.rows[number * self.size : (number + 1) * self.size]
        chosen = {"users": self.users[rows], "order": self.order}
        image = behaviour_images(self.past, end=self.end, threads=1, **chosen)
        if self.answers is None:
            return (image,)
        return image, {name: y[rows].astype("float32") for name, y in self.answers.items()}

    def on_epoch_end(self):
        if self.rng is not None:
            self.rng.shuffle(self.rows)


class CategoryCNN(Trained):
    """`category_cnn`, fitted and asked like the classifiers of `models.classifiers`.

    `order` as for `behaviour_images`; `taste` adds the low-rank taste, learnt from the users who
    teach; `epochs`, `size` (users a batch), `rate` and some `options` are of the training, see
    `Trained`; the other `options` go to `category_cnn`.
    """

    def __init__(
        self, *, order=None, taste=False, ahead=HORIZON, epochs=3, size=16, rate=3e-3, **options
    ):
        super().__init__(epochs=epochs, size=size, rate=rate, **options)
        self.order, self.taste, self.ahead = order, taste, ahead

    def fit(self, log, *, end, users=None):
        """Build the network and train it on `users` (default all); see `PairClassifier.fit`."""
        keras.utils.set_random_seed(self.seed)
        basis = None
        if self.taste:
            fading = hand.fading_touches(splits.past(log, end), end=end, users=users)
            basis = hand.taste_basis(fading)[:, slice(None) if self.order is None else self.order]
        self.model = category_cnn(basis=basis, **self.options)
        options = {"ahead": self.ahead, "size": self.size, "order": self.order}
        rng = np.random.default_rng(self.seed)
        batches = Batches(log, end=end, users=users, rng=rng, **options)
        loss = dict.fromkeys(("touch", "buy"), "binary_crossentropy")
        weights = {"touch": 1.0, "buy": 2.0}  # purchases are seldom, and say little each
        self._train(batches, steps=len(batches), decay=2e-3, loss=loss, loss_weights=weights)
        return self

    def predict(self, log, *, end, users=None):
        """Return the `Forecast` of `users`, categories in code order; see `PairClassifier`."""
        batches = Batches(log, end=end, users=users, order=self.order, size=250, answers=False)
        found = self.model.predict(batches, verbose=0)
        n = found["touch"].shape[1]
        column = slice(None) if self.order is None else places(self.order, n)
        touch, buy = (found[name][:, column] for name in ("touch", "buy"))
        return Forecast(touch, anything(buy))
