"""The contract of all that answers «touched?» and «bought?», and what is peculiar to each."""

import numpy as np
import pandas as pd
import pytest

from recsys_evo.collect.ceiling import HORIZON
from recsys_evo.collect.events import Log
from recsys_evo.evaluate.forecasts import auc
from recsys_evo.models.classifiers import Boosted, Classic, anything, labels
from recsys_evo.models.cnn import CategoryCNN
from recsys_evo.prepare import hand, splits

END = np.datetime64("2024-03-05")
USERS = 150
TREES = {"max_iter": 20, "min_samples_leaf": 5}
SMALL = {"width": 8, "size": 4, "rate": 0.01, "epochs": 2}
MODELS = {
    "classic": lambda order: Classic(),
    "boosted": lambda order: Boosted(order=order, **TREES),
    "boosted, taste": lambda order: Boosted(order=order, taste=True, **TREES),
    "cnn": lambda order: CategoryCNN(order=order, **SMALL),
    "cnn, taste": lambda order: CategoryCNN(order=order, taste=True, **SMALL),
}
ORDER = np.random.default_rng(5).permutation(64)


def habits(seed):
    """Habits and their log: most days each user touches one category, and buys in it if it is even.

    Returns the log and the category (users,) of each.
    """
    rng = np.random.default_rng(seed)
    own = rng.integers(64, size=USERS)
    user, day = np.nonzero(rng.random((USERS, 64 + HORIZON)) < 0.9)
    time = (END - 64 + day).astype("datetime64[s]") + np.timedelta64(12, "h")
    clicks = pd.DataFrame({"user": user, "item": own[user], "time": time, "action": "click"})
    clicks = clicks.assign(category=own[user], dwell=20.0)
    sales = clicks[clicks["category"] % 2 == 0].assign(action="purchase", amount=10.0, dwell=np.nan)
    sales["time"] += pd.Timedelta(minutes=1)
    tables = (pd.DataFrame({"id": np.arange(n)}) for n in (64, USERS))
    return Log(pd.concat([clicks, sales], ignore_index=True), *tables), own


@pytest.fixture(scope="module")
def learn():
    return habits(0)[0]


@pytest.fixture(scope="module")
def ask():
    return habits(1)


@pytest.fixture(scope="module", params=MODELS)
def fitted(request, learn):
    return MODELS[request.param](ORDER).fit(learn, end=END)


class TestContract:
    def test_it_learns_habits(self, fitted, ask):
        log, own = ask
        found = fitted.predict(log, end=END)
        touched, bought = labels(log, end=END)
        assert found.touch.shape == (USERS, 64)
        assert found.buy.shape == (USERS,)
        for chance in (found.touch, found.buy):
            assert ((chance >= 0) & (chance <= 1)).all()
        assert (found.touch.argmax(axis=1) == own).mean() > 0.95
        assert auc(touched.ravel(), found.touch.ravel()) > 0.99
        assert auc(bought.any(axis=1), found.buy) > 0.9

    def test_users_come_in_the_order_asked(self, fitted, ask):
        users = np.array([7, 3, 3, 149])
        every = fitted.predict(ask[0], end=END)
        some = fitted.predict(ask[0], end=END, users=users)
        np.testing.assert_allclose(some.touch, every.touch[users], rtol=1e-4)
        np.testing.assert_allclose(some.buy, every.buy[users], rtol=1e-4, atol=1e-6)

    def test_the_future_is_not_looked_at(self, fitted, ask):
        every, past = (fitted.predict(log, end=END) for log in (ask[0], splits.past(ask[0], END)))
        np.testing.assert_array_equal(every.touch, past.touch)
        np.testing.assert_array_equal(every.buy, past.buy)

    @pytest.mark.parametrize("name", MODELS)
    def test_no_future_no_fit(self, name, learn):
        with pytest.raises(ValueError, match="`end` must lie before the end of the log"):
            MODELS[name](None).fit(splits.past(learn, END), end=END)


def test_only_the_users_who_teach_are_learnt_from(learn):
    half = np.arange(0, USERS, 2)
    rows = learn.events["user"].isin(half).to_numpy()
    alone = learn.where(rows)
    one, other = (Classic().fit(log, end=END, users=half) for log in (learn, alone))
    for a, b in ((one.touch, other.touch), (one.buy, other.buy)):
        np.testing.assert_array_equal(a[-1].coef_, b[-1].coef_)


def test_labels(ask):
    log, own = ask
    for ahead in (1, HORIZON):
        touched, bought = labels(log, end=END, ahead=ahead, users=[5, 2])
        np.testing.assert_array_equal(touched, splits.touches(log, END, ahead, users=[5, 2]))
        np.testing.assert_array_equal(
            bought.any(axis=1), splits.buys(log, END, ahead, users=[5, 2])
        )
        even = own[[5, 2]] % 2 == 0
        assert not bought[~even].any()


def test_anything_is_the_noisy_or():
    rng = np.random.default_rng(0)
    chance = rng.random((3, 5)) / 3
    drawn = rng.random((100_000, 3, 5)) < chance
    np.testing.assert_allclose(anything(chance), drawn.any(axis=2).mean(axis=0), atol=0.006)


def test_the_taste_of_trees_is_learnt_from_those_who_teach(learn, ask):
    half = np.arange(0, USERS, 2)
    model = Boosted(taste=True, **TREES).fit(learn, end=END, users=half)
    fading = hand.fading_touches(splits.past(learn, END), end=END, users=half)
    np.testing.assert_array_equal(model.basis, hand.taste_basis(fading))
    described = model.describe(ask[0], END, np.array([4]))
    assert described.shape == (1, 64, len(hand.CAREFUL) + 1)
    smooth = hand.fading_touches(ask[0], end=END, users=[4]) @ model.basis.T @ model.basis
    np.testing.assert_allclose(described[..., -1], smooth, rtol=1e-5)
