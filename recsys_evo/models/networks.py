"""What the networks of this folder share: how they are saved, how layers and optimisers start."""

import inspect

from keras import layers


class Saved:
    """A layer or network that is saved with the arguments it was made of.

    It keeps each of them as an attribute of the same name.
    """

    def get_config(self):
        made = inspect.getfullargspec(type(self).__init__)
        names = [*made.args[1:], *made.kwonlyargs]
        return super().get_config() | {name: getattr(self, name) for name in names}


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
