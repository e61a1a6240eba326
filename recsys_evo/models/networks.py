"""What the networks of this folder share: how they are saved, and how they are trained."""

import inspect

import keras
import tensorflow as tf
from keras import layers


class Saved:
    """A layer or network that is saved with the arguments it was made of.

    It keeps each of them as an attribute of the same name.
    """

    def get_config(self):
        made = inspect.getfullargspec(type(self).__init__)
        names = [*made.args[1:], *made.kwonlyargs]
        return super().get_config() | {name: getattr(self, name) for name in names}


class Trained:
    """What is fitted by way of a network, `model`, and how long and how fast that one is trained.

    Parameters
    ----------
    epochs, size, rate : passes, rows a batch, and the rate of AdamW, which falls along a cosine.
    seed : int, of Keras and of the order of rows; verbose : 1 shows a bar.
    options : of the network.

    After `fit`: `history`, the loss of each epoch.
    """

    def __init__(self, *, epochs, size, rate, seed=0, verbose=0, **options):
        self.epochs, self.size, self.rate = epochs, size, rate
        self.seed, self.verbose, self.options = seed, verbose, options

    def _train(self, *data, steps, decay, loss=None, loss_weights=None, **options):
        falling = keras.optimizers.schedules.CosineDecay(self.rate, self.epochs * steps)
        optimizer = keras.optimizers.AdamW(falling, weight_decay=decay)
        self.model.compile(optimizer, loss, loss_weights=loss_weights, jit_compile=False)
        build_optimizer(self.model)
        options |= {"epochs": self.epochs, "verbose": self.verbose}
        self.history = self.model.fit(*data, **options).history


def a_replica(loss):
    """A replica's part of the loss: replicas add up their gradients."""
    return loss / tf.distribute.get_strategy().num_replicas_in_sync


def dense(inputs, units, activation=None, **kwargs):
    """A dense layer that has its weights from the start."""
    layer = layers.Dense(units, activation, **kwargs)
    layer.build((None, inputs))
    return layer


def build_optimizer(model):
    """Make its variables now: made within the first step, they would have it traced twice."""
    if not model.optimizer.built:
        with model.distribute_strategy.scope():
            model.optimizer.build(model.trainable_variables)
