"""What `load` costs, in seconds and memory, beside plain pandas on the same files, in one run.

    python benchmarks/bench_loaders.py [--full] [--runs 3]

Invented content in two official formats: MovieLens 32M (all four files; 1, 4 and 16 million
ratings, with --full 32 million too) and Online Retail (csv.gz, half a million rows). Plain pandas
reads the same files, numbers users and items and groups by the same keys, and then stops: it
neither checks, types nor sorts anything, and makes no Log. `load` also takes the checksums of the
files. Its categories for Online Retail, clusters of titles, are no reading; a second row leaves
them out.

Each run is a process of its own, all ways in turn; figures are medians. Memory is the largest that
the process ever held, less what it held after its imports. Growth is the processor's seconds a row
at this size over those at the size before. On a busy machine compare the processor's seconds.
"""

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import sklearn.cluster
import sklearn.decomposition
import sklearn.feature_extraction.text  # noqa: F401 (part of `load`, not of its seconds)

from recsys_evo.collect import datasets
from recsys_evo.collect.sources import retail

FILMS, ROWS_A_USER, ROWS_A_TAG = 87_585, 160, 16
WORDS = np.array(["Kettle", "Night", "Lantern", "Storm", "River", "Paper", "Green", "Glass"])
GENRES = (
    "Action",
    "Comedy",
    "Crime",
    "Drama",
    "Horror",
    "Romance",
    "Thriller",
    "(no genres listed)",
)


# The files


def write_movielens(folder, n, rng):
    """`n` ratings and what goes with them, as ml-32m has them: by user, then film."""
    folder.mkdir()
    ids = np.sort(rng.choice(np.arange(1, 300_000), FILMS, replace=False))
    word = WORDS[rng.integers(len(WORDS), size=(FILMS, 2))]
    titles = [f'{a} "{b}", The ({1950 + k % 70})' for k, (a, b) in enumerate(word)]
    genres = ["|".join(sorted(set(rng.choice(GENRES[:-1], 2)))) for _ in range(FILMS)]
    films = pd.DataFrame({"movieId": ids, "title": titles, "genres": genres})
    films.to_csv(folder / "movies.csv", index=False)
    films.assign(imdbId=[f"{k:07d}" for k in ids], tmdbId=ids)[
        ["movieId", "imdbId", "tmdbId"]
    ].to_csv(folder / "links.csv", index=False)
    size = rng.multinomial(n, rng.dirichlet(np.full(n // ROWS_A_USER, 0.8)))
    user = np.repeat(np.arange(1, len(size) + 1), size)
    film = ids[np.minimum(rng.pareto(1, n) * 400, FILMS - 1).astype(np.int64)]
    film = film[np.lexsort((film, user))]
    joined = rng.integers(8e8, 1.69e9, len(size))[user - 1]
    second = joined + (rng.exponential(1, n) * 20_000).astype(np.int64)
    stars = rng.integers(1, 11, n) / 2
    ratings = {"userId": user, "movieId": film, "rating": stars, "timestamp": second}
    write(folder / "ratings.csv", ratings)
    some = np.sort(rng.choice(n, n // ROWS_A_TAG, replace=False))
    tag = WORDS[rng.integers(len(WORDS), size=len(some))]
    tags = {"userId": user[some], "movieId": film[some], "tag": tag, "timestamp": second[some]}
    write(folder / "tags.csv", tags)


def write(path, columns):
    pd.DataFrame(columns).to_csv(path, index=False)


def write_retail(folder, n, rng):
    """`n` rows of a shop with 4,000 articles and 4,400 customers, a quarter of them unknown."""
    folder.mkdir()
    article = np.minimum(rng.pareto(1, n) * 200, 3_999).astype(int)
    invoice = np.sort(rng.integers(0, n // 20, n))
    customer = rng.integers(12_000, 16_400, n // 20).astype(float)
    customer[rng.random(len(customer)) < 0.25] = np.nan
    minute = np.sort(rng.integers(0, 365 * 1_440, n // 20)).astype("timedelta64[m]")
    time_ = np.datetime64("2010-12-01", "s") + minute[invoice]
    word = WORDS[rng.integers(len(WORDS), size=(4_000, 3))]
    returned = rng.random(n // 20)[invoice] < 0.02
    columns = {
        "InvoiceNo": np.where(returned, "C", "") + (500_000 + invoice).astype(str).astype(object),
        "StockCode": (20_000 + article).astype(str),
        "Description": np.array([" ".join(w).upper() for w in word])[article],
        "Quantity": rng.geometric(0.1, n) * np.where(returned, -1, 1),
        "InvoiceDate": time_,
        "UnitPrice": rng.lognormal(1, 0.8, 4_000).round(2)[article],
        "CustomerID": customer[invoice],
        "Country": np.where(invoice % 10 == 0, "France", "United Kingdom"),
    }
    write(folder / "shop.csv.gz", columns)


# The ways


def load_movielens(folder):
    return len(datasets.load("movielens-32m", folder))


def plain_movielens(folder):
    ratings, films, links, tags = (
        pd.read_csv(folder / f"{name}.csv") for name in ("ratings", "movies", "links", "tags")
    )
    ratings["user"], _ = pd.factorize(ratings["userId"])
    ratings["item"], _ = pd.factorize(ratings["movieId"])
    ratings["time"] = pd.to_datetime(ratings["timestamp"], unit="s")
    films = films.join(films["genres"].str.get_dummies("|"))
    films = films.merge(links, on="movieId").merge(
        tags.groupby("movieId")["tag"].agg("|".join).reset_index(), on="movieId", how="left"
    )
    return len(ratings)


def load_retail(folder):
    return len(datasets.load("online-retail", folder))


def read_retail(folder):
    retail.categories_from_titles = lambda log, n: log
    return load_retail(folder)


def plain_retail(folder):
    rows = pd.read_csv(folder / "shop.csv.gz", dtype={"InvoiceNo": str, "StockCode": str})
    rows["time"] = pd.to_datetime(rows["InvoiceDate"])
    rows["user"], _ = pd.factorize(rows["CustomerID"])
    rows["item"], _ = pd.factorize(rows["StockCode"])
    rows["amount"] = rows["UnitPrice"] * rows["Quantity"].abs()
    rows.groupby("StockCode")["UnitPrice"].median()
    for key, value in (("StockCode", "Description"), ("CustomerID", "Country")):
        rows[[key, value]].value_counts().reset_index().drop_duplicates(key)
    return len(rows)


WRITE = {"movielens": write_movielens, "retail": write_retail}
WAYS = {
    "movielens": {"load": load_movielens, "plain pandas": plain_movielens},
    "retail": {"load": load_retail, "without categories": read_retail,
               "plain pandas": plain_retail},
}  # fmt: skip


def child(task, *arguments):
    """What a process of its own says, so that nobody's memory counts for another."""
    command = [sys.executable, __file__, "--child", task, *map(str, arguments)]
    return json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def work(task, kind, folder, more):
    """In the child: writes the files, or reads them one way."""
    folder = Path(folder)
    if task == "write":
        WRITE[kind](folder, int(more), np.random.default_rng(0))
        return sum(file.stat().st_size for file in folder.iterdir()) / 1e6
    before = peak()
    begin = time.perf_counter(), time.process_time()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it is not the official build
        rows = WAYS[kind][more](folder)
    clock, processor = time.perf_counter() - begin[0], time.process_time() - begin[1]
    return [rows, clock, processor, peak() - before]


def peak():
    """Megabytes."""
    unit = 1 if sys.platform == "darwin" else 1_024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 1e6


def compare(kind, sizes, runs, folder):
    before = {}
    for n in sizes:
        place = folder / f"{kind}-{n}" / ("ml-32m" if kind == "movielens" else "online_retail")
        place.parent.mkdir()
        size = child("write", kind, place, n)
        taken = {way: [] for way in WAYS[kind]}
        for _ in range(runs):
            for way in taken:
                taken[way].append(child("read", kind, place, way))
        print(f"\n{kind}, {n:,} rows, {size:,.0f} MB of files")
        print(f"{'':20s}  clock s  ratio | processor s  ratio  growth |    MB  MB a million")
        base = np.median(taken["plain pandas"], axis=0)
        for way, figures in taken.items():
            rows, clock, processor, memory = np.median(figures, axis=0)
            assert rows == n, (way, rows)
            growth = f"{processor / n / before[way]:7.2f}" if way in before else " " * 7
            before[way] = processor / n
            print(
                f"{way:20s} {clock:8.2f} {clock / base[1]:6.2f} | {processor:11.2f} "
                f"{processor / base[2]:6.2f} {growth} | {memory:5,.0f} {memory / n * 1e6:13.0f}"
            )
        for file in place.iterdir():
            file.unlink()


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--full", action="store_true", help="32 million ratings as well")
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--child", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        with contextlib.redirect_stdout(sys.stderr):
            answer = work(*options.child)
        print(json.dumps(answer))
        return
    millions = [1, 4, 16] + [32] * options.full
    with tempfile.TemporaryDirectory() as folder:
        compare("movielens", [10**6 * m for m in millions], options.runs, Path(folder))
        compare("retail", [500_000], options.runs, Path(folder))


if __name__ == "__main__":
    main()
