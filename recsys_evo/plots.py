"""One house style for every figure, and the drawings that more than one chapter uses.

A figure stands on white paper, on a dark page and in a grey print, so the background is
transparent, text is a mid grey that contrasts equally with both, and lines differ in colour,
lightness, dash and marker at once. Every word that is drawn is an argument, for other languages.
"""

import base64
import html
import io
import json

import matplotlib.pyplot as plt
import numpy as np
from cycler import cycler
from matplotlib.colors import FuncNorm

GREY = "#7a7a7a"
# After Okabe & Ito (2008), yellow and black left out: each shows on white and on near-black, and
# neighbours in the list differ in lightness.
PALETTE = ("#0072b2", "#d48200", "#8a4fa0", "#1fa187", "#c8501e", "#4a9bd0")
_DASHES = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1, 1, 1)), (0, (8, 2)), (0, (3, 1, 1, 1, 1, 1)))
_MARKERS = ("o", "s", "^", "D", "v", "P")


def style():
    """Set matplotlib's defaults for the rest of the session; every chapter calls it once.

    A figure 7 inches wide fills the page's 700 pixels, and its text is then 14 pixels high.
    """
    looks = cycler(color=PALETTE, linestyle=_DASHES, marker=_MARKERS)
    looks += cycler(markevery=[0.08] * len(PALETTE))
    plt.rc("figure", figsize=(7, 3.4), dpi=144, facecolor="none")
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", dpi=144, facecolor="none")
    plt.rc("font", size=10)
    plt.rc("text", color=GREY)
    plt.rc("legend", frameon=False, fontsize=9)
    plt.rc("axes", facecolor="none", edgecolor=GREY, prop_cycle=looks, grid=True, axisbelow=True)
    plt.rc("axes", titlecolor=GREY, titlesize=10, titlelocation="left")
    plt.rc("axes", labelcolor=GREY, labelsize=10)
    plt.rc("axes.spines", top=False, right=False)
    plt.rc(("xtick", "ytick"), color=GREY, labelsize=9)
    plt.rc("grid", color=GREY, alpha=0.25, linewidth=0.8)
    plt.rc("lines", linewidth=2, markersize=5)
    plt.rc("image", cmap="cividis", interpolation="nearest")


CHANNELS = ("clicks", "dwell, seconds", "amount")  # titles of an image's panels
AGE = "days before the forecast"


def behaviour_image(
    image, axes=None, *, names=None, titles=CHANNELS, xlabel=AGE, ylabel="category"
):
    """Draw one user's behaviour image, a panel a channel; time runs to the right.

    Colour grows with log(1 + value), since one purchase would otherwise outshine all clicks; the
    bars below the panels are marked in the channel's own units. Chapters 02 and 04 use it.

    Parameters
    ----------
    image : (days, categories, 3) as `behaviour_images` makes it.
    axes : three Axes to draw on; default a new figure.
    names : str (categories,), of which those of the busiest categories are written.
    titles, xlabel, ylabel : what to write; `titles` name the channels with their units.

    Returns
    -------
    The three Axes.
    """
    image = np.asarray(image)
    if image.ndim != 3 or image.shape[2] != len(titles):
        raise ValueError(
            f"`image` must have the shape (days, categories, {len(titles)}). "
            f"Received: {image.shape}"
        )
    days, categories, _ = image.shape
    if axes is None:
        axes = plt.subplots(1, len(titles), figsize=(7, 3.3), sharey=True)[1]
    edges = (days + 0.5, 0.5, categories - 0.5, -0.5)
    for values, ax, title in zip(image.T, axes, titles, strict=True):
        norm = FuncNorm((np.log1p, np.expm1), vmin=0, vmax=max(values.max(), 1))
        drawn = ax.imshow(values, norm=norm, aspect="auto", extent=edges)
        ax.set(title=title)
        ax.grid(False)
        bar = ax.figure.colorbar(drawn, ax=ax, orientation="horizontal", aspect=14, pad=0.02)
        bar.set_ticks(_round_steps(norm.vmax))
        bar.outline.set_visible(False)
    axes[len(axes) // 2].set_xlabel(xlabel)
    axes[0].set_ylabel(ylabel)
    if names is not None:
        rows = _busiest_apart(image[:, :, 0].sum(axis=0), apart=max(1, categories // 12))
        axes[0].set_yticks(rows, [names[row] for row in rows])
    return axes


def interval_bars(labels, points, lows, highs, *, references=None, xlabel="", decimals=3, ax=None):
    """Draw figures with their intervals, a row each from the top, against reference lines.

    Every comparison of models with ceiling and chance is drawn this way, from chapter 01 on.

    Parameters
    ----------
    labels : str (rows,), the names on the left.
    points, lows, highs : (rows,), the figures and the ends of their intervals.
    references : dict, name → value of an upright line, or (low, high) of a band.
    xlabel : str, what is measured, with its unit.
    decimals : int, digits of the figure written on the right.
    ax : Axes to draw on; default a new figure.

    Returns
    -------
    The Axes.
    """
    points, lows, highs = (np.asarray(x, dtype=float) for x in (points, lows, highs))
    if not len(labels) == len(points) == len(lows) == len(highs):
        raise ValueError(
            "`labels`, `points`, `lows` and `highs` must be equally long. "
            f"Received: {[len(x) for x in (labels, points, lows, highs)]}"
        )
    if ax is None:
        ax = plt.subplots(figsize=(7, 0.9 + 0.32 * len(labels)))[1]
    rows = np.arange(len(labels))
    ax.hlines(rows, lows, highs, color=PALETTE[0], linewidth=2.5)
    ax.plot(points, rows, "o", color=PALETTE[0], markersize=7, markevery=1)
    ax.set(ylim=(len(labels) - 0.5, -0.5), xlabel=xlabel)
    _name_rows(ax, labels)
    ax.spines["left"].set_visible(False)
    beside = ax.get_yaxis_transform()  # x in parts of the axes, y in rows
    for row, point in enumerate(points):
        ax.text(1.01, row, f"{point:.{decimals}f}", transform=beside, va="center", fontsize=9)
    ax.margins(x=0.04)
    for number, (name, value) in enumerate((references or {}).items(), start=1):
        low, high = np.broadcast_to(value, 2)
        look = {"color": PALETTE[number % len(PALETTE)], "label": name}
        if low < high:
            ax.axvspan(low, high, alpha=0.5, linewidth=0, **look)
        else:
            ax.axvline(low, linestyle=_DASHES[number % len(_DASHES)], marker="", **look)
    if references:
        ax.legend(loc="lower left", bbox_to_anchor=(0, 1), ncols=len(references), borderpad=0)
    return ax


# What decides whether a log can show evolution: rows of `prepare.quality`, and a title for each.
HELPS = {
    "users over 30 days": "users who span more\nthan 30 days",
    "users in both halves": "users in both halves\nof the log",
    "dwell known": "events with a dwell",
}
HARMS = {
    "same-second pairs": "neighbouring events\nin the same second",
    "rows without a user": "events without a user",
    "copies": "copies of other events",
}
BETTER = ("%, more is better", "%, less is better")


def quality(reports, axes=None, *, helps=HELPS, harms=HARMS, xlabels=BETTER, unknown="unknown"):
    """Draw how far logs can be trusted, a panel a measure and a row a log.

    What helps is above, with discs; what harms is below, with squares. Chapter 03 uses it.

    Parameters
    ----------
    reports : dict, name of a log → its table from `prepare.quality.quality`.
    axes : array of Axes (2, panels) to draw on; default a new figure.
    helps, harms : dict, measure → title of its panel. A measure is a row of the tables that holds
        a share; there are equally many of both.
    xlabels : what to write below the panels that help, and below those that harm.
    unknown : what to write where a log has nothing to measure.

    Returns
    -------
    The Axes, an array (2, panels).
    """
    if not reports or len(helps) != len(harms):
        raise ValueError(
            "`reports` must hold a table, and `helps` as many measures as `harms`. "
            f"Received: {len(reports)} tables, {len(helps)} and {len(harms)} measures"
        )
    if axes is None:
        size = (7, 1.8 + 0.44 * len(reports))
        axes = plt.subplots(2, len(helps), figsize=size, sharex=True, sharey=True, squeeze=False)[1]
    rows = np.arange(len(reports))
    for number, (line, measures) in enumerate(zip(axes, (helps, harms), strict=True)):
        colour, marker = PALETTE[number], _MARKERS[number]
        for ax, (measure, title) in zip(line, measures.items(), strict=True):
            shares = np.array([100 * table.loc[measure, "value"] for table in reports.values()])
            ax.hlines(rows, 0, shares, color=colour)
            ax.plot(shares, rows, marker, color=colour, markersize=6, markevery=1, clip_on=False)
            for row, share in enumerate(shares):
                words = unknown if np.isnan(share) else "<1" if 0 < share < 1 else f"{share:.0f}"
                at = (np.nan_to_num(share), row)
                ax.annotate(words, at, (7, 0), textcoords="offset points", va="center", fontsize=9)
            ax.set(title=title, xlim=(0, 125), ylim=(len(rows) - 0.5, -0.5), xticks=(0, 50, 100))
            _name_rows(ax, list(reports), pad=7)
        line[len(line) // 2].set_xlabel(xlabels[number])
    return axes


def _name_rows(ax, names, **look):
    ax.set_yticks(range(len(names)), names)
    ax.grid(False, axis="y")
    ax.tick_params(axis="y", length=0, **look)


def _round_steps(top):
    """0 and up to three round numbers of about equal distance in log(1 + value)."""
    steps = [step for e in range(9) for m in (1, 2, 5) if (step := 10.0**e * m) <= top]
    return [0, *steps[:: -max(1, len(steps) // 3)][:3][::-1]]


def _busiest_apart(totals, apart):
    """The busiest categories, so chosen that no two of their rows are nearer than `apart`."""
    rows = []
    for row in np.argsort(-totals, kind="stable"):
        if totals[row] > 0 and all(abs(row - other) >= apart for other in rows):
            rows.append(int(row))
    return sorted(rows)


class Flipbook:
    """Figures in one place and a slider that turns them; needs no kernel, and nothing from outside.

    It shows itself in a notebook and on the built page. Chapter 10 uses it.

    Parameters
    ----------
    figures : matplotlib figures, one a leaf, all of one size; they are closed.
    labels : str, one a leaf, what the slider stands at.
    alts : str, one a leaf, what the leaf shows to who cannot see it.
    name : str, what the slider is called.
    first : int, the leaf that is open; default the last.

    Raises
    ------
    ValueError where there is not one label and one alternative text a figure.
    """

    def __init__(self, figures, labels, alts, *, name, first=-1):
        if not len(figures) == len(labels) == len(alts) > 0:
            raise ValueError(
                "`labels` and `alts` must have one text a figure. "
                f"Received: {len(figures)} figures, {len(labels)} labels, {len(alts)} alts"
            )
        self._leaves = [_png(figure) for figure in figures]
        self._labels, self._alts, self._name = labels, alts, name
        self._first = range(len(figures))[first]

    def __repr__(self):
        return f"Flipbook({self._name}: {', '.join(self._labels)})"

    def _repr_html_(self):
        images = "".join(
            f'<img src="data:image/png;base64,{leaf}" alt="{html.escape(alt)}" '
            f'style="width: 100%"{"" if k == self._first else " hidden"}>'
            for k, (leaf, alt) in enumerate(zip(self._leaves, self._alts))
        )
        labels = html.escape(json.dumps(self._labels))
        turn = (
            "const leaf = +this.value, book = this.closest('.flipbook');"
            "book.querySelectorAll('img').forEach((image, k) => { image.hidden = k !== leaf; });"
            "const label = JSON.parse(this.dataset.labels)[leaf];"
            "this.setAttribute('aria-valuetext', label);"
            "book.querySelector('output').textContent = label;"
        )
        return (
            f'<div class="flipbook">{images}<label>{html.escape(self._name)} '
            f'<input type="range" min="0" max="{len(self._leaves) - 1}" value="{self._first}" '
            f'data-labels="{labels}" aria-valuetext="{html.escape(self._labels[self._first])}" '
            f'oninput="{turn}"></label> <output>{html.escape(self._labels[self._first])}</output>'
            "</div>"
        )


def _png(figure):
    file = io.BytesIO()
    figure.savefig(file, format="png")
    plt.close(figure)
    return base64.b64encode(file.getvalue()).decode()
