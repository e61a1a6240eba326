import base64
import io
import itertools
import json
from html.parser import HTMLParser

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_rgb

from recsys_evo import plots
from recsys_evo.prepare.quality import MEASURES

PAPER, NIGHT = "#ffffff", "#121212"


@pytest.fixture(autouse=True)
def _house_style():
    with matplotlib.rc_context():
        plots.style()
        yield
    plt.close("all")


def luminance(colour):
    """Relative luminance as WCAG 2 defines it."""
    rgb = np.array(to_rgb(colour))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    return linear @ [0.2126, 0.7152, 0.0722]


def contrast(one, two):
    low, high = sorted((luminance(one), luminance(two)))
    return (high + 0.05) / (low + 0.05)


@pytest.mark.parametrize("page", [PAPER, NIGHT])
def test_colours_show_on_a_light_and_on_a_dark_page(page):
    assert min(contrast(colour, page) for colour in plots.PALETTE) >= 2.99
    assert contrast(plots.GREY, page) > 4.2


def test_neighbouring_lines_differ_without_colour():
    cycle = list(plt.rcParams["axes.prop_cycle"])
    for key in ("color", "linestyle", "marker"):
        assert len({str(look[key]) for look in cycle}) == len(plots.PALETTE)
    first = plots.PALETTE[:4]
    assert min(contrast(*pair) for pair in itertools.pairwise(first)) > 1.5


def test_a_figure_is_transparent_and_has_no_black_in_it(tmp_path):
    fig, ax = plt.subplots()
    ax.plot([1, 2], label="a line")
    ax.set(title="title", xlabel="x", ylabel="y")
    ax.legend()
    fig.savefig(tmp_path / "figure.png", facecolor=fig.get_facecolor())  # as notebooks do
    pixels = plt.imread(tmp_path / "figure.png")
    assert pixels.shape[1] == 7 * 144
    assert (pixels[..., 3] == 0).mean() > 0.5
    seen = pixels[pixels[..., 3] > 0.9]
    assert not (seen[:, :3].max(axis=1) < 0.2).any()


def test_a_behaviour_image_shows_each_channel_with_time_to_the_right():
    image = np.zeros((6, 4, 3))
    image[5, 1] = [2, 30, 9]  # yesterday
    image[0, 3, 0] = 1
    words = {"titles": ("点击", "停留", "金额"), "xlabel": "天", "ylabel": "类别"}
    axes = plots.behaviour_image(image, names=["p", "q", "r", "s"], **words)
    for channel, ax in enumerate(axes):
        (drawn,) = ax.get_images()
        np.testing.assert_array_equal(drawn.get_array(), image[:, :, channel].T)
        assert drawn.get_extent()[:2] == [6.5, 0.5]  # yesterday is day 1, at the right end
        assert ax.get_title("left") == words["titles"][channel]
    assert axes[1].get_xlabel() == "天"
    assert axes[0].get_ylabel() == "类别"
    assert [label.get_text() for label in axes[0].get_yticklabels()] == ["q", "s"]


def test_an_image_without_events_can_be_drawn():
    plots.behaviour_image(np.zeros((64, 64, 3), np.float32), names=range(64))[
        0
    ].figure.canvas.draw()


def test_a_behaviour_image_draws_on_axes_that_are_given():
    axes = plt.subplots(1, 3)[1]
    assert plots.behaviour_image(np.ones((2, 2, 3)), axes) is axes


def test_a_behaviour_image_must_be_one():
    with pytest.raises(ValueError, match=r"`image` must have the shape .*\(2, 64, 64, 3\)"):
        plots.behaviour_image(np.zeros((2, 64, 64, 3)))


def test_interval_bars_put_figures_where_they_belong():
    ax = plots.interval_bars(
        ["one", "two"],
        [0.7, 0.8],
        [0.6, 0.75],
        [0.75, 0.9],
        references={"chance": 0.5, "ceiling": (0.85, 0.88)},
        xlabel="AUC",
        decimals=2,
    )
    points = ax.get_lines()[0]
    np.testing.assert_array_equal(points.get_xydata(), [[0.7, 0], [0.8, 1]])
    bars = ax.collections[0].get_segments()
    np.testing.assert_allclose([bar[:, 0] for bar in bars], [[0.6, 0.75], [0.75, 0.9]])
    assert ax.yaxis_inverted()  # the first row is on top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["one", "two"]
    assert [text.get_text() for text in ax.texts] == ["0.70", "0.80"]
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["chance", "ceiling"]
    assert list(ax.get_lines()[1].get_xdata()) == [0.5, 0.5]
    assert ax.get_xlabel() == "AUC"


def test_interval_bars_want_equal_lengths():
    with pytest.raises(ValueError, match=r"equally long. Received: \[1, 1, 1, 2\]"):
        plots.interval_bars(["one"], [1], [0], [2, 3])


def report(**changes):
    """A table as `prepare.quality` makes it, 0 where nothing else is said."""
    values = dict.fromkeys(MEASURES, 0.0)
    values |= {name.replace("_", " "): value for name, value in changes.items()}
    return pd.DataFrame({"value": values})


def test_quality_puts_each_share_into_the_panel_of_its_measure():
    reports = {
        "shop": report(copies=0.004, dwell_known=np.nan, rows_without_a_user=0.249),
        "films": report(users_in_both_halves=1, rows_without_a_user=0.5),
    }
    shown = {
        "dwell known": ([np.nan, 0], ["unknown", "0"]),
        "users in both halves": ([0, 100], ["0", "100"]),
        "rows without a user": ([24.9, 50], ["25", "50"]),
        "copies": ([0.4, 0], ["<1", "0"]),
    }
    axes = plots.quality(reports)
    for ax, (measure, title) in zip(axes.flat, (plots.HELPS | plots.HARMS).items(), strict=True):
        shares, words = shown.get(measure, ([0, 0], ["0", "0"]))
        np.testing.assert_allclose(ax.get_lines()[0].get_xydata(), np.c_[shares, [0, 1]])
        ends = [path.vertices[:, 0].max() for path in ax.collections[0].get_paths()]
        np.testing.assert_allclose(ends, shares)
        assert [text.get_text() for text in ax.texts] == words
        assert ax.get_title("left") == title
    assert [label.get_text() for label in axes[0, 0].get_yticklabels()] == ["shop", "films"]
    assert axes[0, 0].yaxis_inverted()  # the first log is on top


def test_quality_tells_good_from_bad_without_colour_and_in_any_language():
    words = {"helps": {"dwell known": "停留"}, "harms": {"copies": "重复"},
             "xlabels": ("%,越多越好", "%,越少越好"), "unknown": "未知"}  # fmt: skip
    axes = plots.quality({"商店": report(dwell_known=np.nan)}, **words)
    assert axes.shape == (2, 1)
    assert [ax.get_title("left") for ax in axes.flat] == ["停留", "重复"]
    assert [ax.get_xlabel() for ax in axes.flat] == ["%,越多越好", "%,越少越好"]
    assert axes[0, 0].texts[0].get_text() == "未知"
    assert len({ax.get_lines()[0].get_marker() for ax in axes.flat}) == 2


def test_quality_keeps_figures_within_their_panels():
    axes = plots.quality({"a": report(**dict.fromkeys(MEASURES, 1))})
    axes[0, 0].figure.canvas.draw()
    for ax in axes.flat:
        assert ax.texts[0].get_window_extent().x1 <= ax.get_window_extent().x1
        assert ax.title.get_window_extent().x1 <= ax.figure.bbox.x1


def test_quality_draws_on_axes_that_are_given():
    axes = plt.subplots(2, 3)[1]
    assert plots.quality({"a": report()}, axes) is axes


@pytest.mark.parametrize(
    ("reports", "options", "received"),
    [
        ({}, {}, "0 tables, 3 and 3 measures"),
        ({"a": report()}, {"harms": {"copies": "copies"}}, "1 tables, 3 and 1 measures"),
    ],
)
def test_quality_wants_tables_and_two_full_rows_of_panels(reports, options, received):
    with pytest.raises(ValueError, match=f"`reports` must hold a table.* Received: {received}"):
        plots.quality(reports, **options)


@pytest.mark.parametrize("top", [1, 2, 3, 7, 40, 255, 12_345, 9e6])
def test_steps_of_a_colour_bar_are_few_and_round(top):
    steps = plots._round_steps(top)
    assert steps[0] == 0
    assert 2 <= len(steps) <= 4
    assert steps == sorted(set(steps))
    assert steps[-1] <= top < 2.6 * steps[-1]


class Images(HTMLParser):
    """Attributes of the images and inputs of a piece of HTML."""

    def __init__(self, text):
        super().__init__()
        self.images, self.inputs = [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        if tag in ("img", "input"):
            (self.images if tag == "img" else self.inputs).append(dict(attrs))


def leaves(n):
    figures = [plt.figure(figsize=(1, 1 + k)) for k in range(n)]
    return figures, [f"week {k}" for k in range(n)], [f'"{k}" & more' for k in range(n)]


def test_flipbook_shows_one_leaf_and_holds_all():
    figures, labels, alts = leaves(3)
    page = Images(plots.Flipbook(figures, labels, alts, name="time", first=1)._repr_html_())
    assert ["hidden" in image for image in page.images] == [True, False, True]
    assert [image["alt"] for image in page.images] == alts
    sizes = []
    for image in page.images:
        kind, _, data = image["src"].partition(",")
        assert kind == "data:image/png;base64"
        sizes.append(plt.imread(io.BytesIO(base64.b64decode(data))).shape[0])
    assert sizes == [144, 288, 432]  # each leaf is its own figure
    (slider,) = page.inputs
    assert (slider["max"], slider["value"], slider["aria-valuetext"]) == ("2", "1", "week 1")
    assert json.loads(slider["data-labels"]) == labels
    assert not plt.get_fignums()


def test_flipbook_wants_a_label_and_an_alt_a_figure():
    figures, labels, alts = leaves(2)
    with pytest.raises(ValueError, match="Received: 2 figures, 2 labels, 1 alts"):
        plots.Flipbook(figures, labels, alts[:1], name="time")
    with pytest.raises(ValueError, match="Received: 0 figures"):
        plots.Flipbook([], [], [], name="time")
