"""Speed of the measures of a full ranking, beside partial sorting alone and other evaluators.

    python benchmarks/bench_ranking.py [--users 10_000] [--items 10_000] [--seen 50] [--runs 5]

One held-out item a user, items that were seen masked, NDCG@10 and HR@10. The unit is
`np.argpartition` alone over the same blocks of users, with neither masks nor measures: about what
it costs to look for the ten best. Ours only counts what stands above the relevant, and may need
less. ir-measures and ranx are given the ten best of each user, found by `argpartition` on the
masked scores, since they take dictionaries and would need minutes for all; to find them is part of
their time. All must give the same two figures. Seconds of the CPU, the median of the runs; memory
is the peak above the scores, of one more run, as NumPy reports it (PyTorch does not report its
own).

RecBole's collector and evaluator take part where `recbole` can be imported. `make bench` does not
install it: RecBole 1.2.1 needs PyTorch, which on Linux brings gigabytes of CUDA, and Ray up to
2.6.3, which has no build for Python 3.12; and its `Config` sets `np.float_`, which NumPy 2 has
dropped. In an environment of its own, with this repository on PYTHONPATH, the row is measured.
"""

import argparse
import importlib.util
import os
import tempfile
import time
import tracemalloc
import warnings

import numpy as np
from scipy import sparse

from recsys_evo.evaluate.ranking import measures, top

K = 10
BLOCK = 250


def case(n_users, n_items, n_seen, *, rng):
    """Scores float32 of a model that knows a little; one relevant, `n_seen` seen items a user."""
    scores = rng.standard_normal((n_users, n_items), dtype=np.float32)
    items = rng.integers(n_items, size=(n_users, 1 + n_seen))
    scores[np.arange(n_users), items[:, 0]] += 3  # about half are then among the ten best
    users = np.arange(n_users).repeat(n_seen)
    shape = (n_users, n_items)
    relevant = sparse.csr_array((np.ones(n_users, bool), (np.arange(n_users), items[:, 0])), shape)
    known = items[:, 1:].ravel()
    new = known != items[:, :1].repeat(n_seen, axis=1).ravel()
    seen = sparse.csr_array((np.ones(new.sum(), bool), (users[new], known[new])), shape)
    return scores, relevant, seen


def partition(scores):
    for low in range(0, len(scores), BLOCK):
        np.argpartition(scores[low : low + BLOCK], scores.shape[1] - K, axis=1)


def ours(scores, relevant, seen):
    found = measures(scores, relevant, k=K, seen=seen)
    return found["NDCG"].mean(), found["HR"].mean()


def best(scores, seen):
    """The ten best of each user and their scores, as dictionaries."""
    run = {}
    for low in range(0, len(scores), BLOCK):
        block = scores[low : low + BLOCK].copy()
        block[seen[low : low + BLOCK].nonzero()] = -np.inf
        items = np.argpartition(block, block.shape[1] - K, axis=1)[:, -K:]
        values = np.take_along_axis(block, items, axis=1)
        for user, (codes, own) in enumerate(zip(items.tolist(), values.tolist()), low):
            run[str(user)] = {str(code): value for code, value in zip(codes, own)}
    return run


def truth(relevant):
    return {str(user): {str(item): 1} for user, item in zip(*relevant.nonzero())}


def ir_measures(scores, relevant, seen):
    from ir_measures import Success, calc_aggregate, nDCG

    found = calc_aggregate([nDCG @ K, Success @ K], truth(relevant), best(scores, seen))
    return found[nDCG @ K], found[Success @ K]


def ranx(scores, relevant, seen):
    # What it imports makes folders at home otherwise.
    os.environ.setdefault("IR_DATASETS_HOME", os.path.join(tempfile.gettempdir(), "ir_datasets"))
    from ranx import Qrels, Run, evaluate

    warnings.filterwarnings("ignore", "unsafe cast from uint64")  # of 0 and 1, in ranx itself
    names = [f"ndcg@{K}", f"hit_rate@{K}"]
    found = evaluate(Qrels(truth(relevant)), Run(best(scores, seen)), names)
    return found[names[0]], found[names[1]]


def recbole(scores, relevant, seen):
    import torch
    from recbole.evaluator import Collector, Evaluator

    np.float = float  # noqa: NPY001 - its NDCG asks for it
    config = {
        "topk": [K],
        "metrics": ["NDCG", "Hit"],
        "metric_decimal_place": 9,
        "eval_args": {"mode": "full"},
        "device": "cpu",
    }
    collector = Collector(config)
    for low in range(0, len(scores), BLOCK):
        block = torch.from_numpy(scores[low : low + BLOCK].copy())
        known, own = (
            tuple(torch.from_numpy(axis.astype(int)) for axis in each[low : low + BLOCK].nonzero())
            for each in (seen, relevant)
        )
        block[known] = -torch.inf
        collector.eval_batch_collect(block, None, *own)
    found = Evaluator(config).evaluate(collector.get_data_struct())
    return found[f"ndcg@{K}"], found[f"hit@{K}"]


def seconds(runs, call, *given):
    """Median seconds of the CPU and the answer; a first run, in which things load, is left out."""
    call(*given)
    taken = []
    for _ in range(runs):
        begin = time.process_time()
        answer = call(*given)
        taken.append(time.process_time() - begin)
    return np.median(taken), answer


def memory(call, *given):
    """The peak, in MiB, of what is allocated on the way."""
    tracemalloc.start()
    call(*given)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--users", type=int, default=10_000)
    parser.add_argument("--items", type=int, default=10_000)
    parser.add_argument("--seen", type=int, default=50)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    sizes = (options.users, options.items, options.seen)
    scores, relevant, seen = case(*sizes, rng=np.random.default_rng(0))

    least, _ = seconds(options.runs, partition, scores)
    print(f"{'':30s} CPU s   ratio   memory, MiB   NDCG@{K}    HR@{K}")
    print(
        f"  {'argpartition alone':28s} {least:5.2f}   {1:5.2f}   {memory(partition, scores):11.1f}"
    )
    calls = {"measures (six of them)": ours}
    rivals = {"ir-measures": ir_measures, "ranx": ranx, "recbole": recbole}
    calls |= {
        name: call
        for name, call in rivals.items()
        if importlib.util.find_spec(name.replace("-", "_"))
    }
    same = None
    for name, call in calls.items():
        given = (scores, relevant, seen)
        taken, answer = seconds(options.runs, call, *given)
        same = same or answer
        print(
            f"  {name:28s} {taken:5.2f}   {taken / least:5.2f}   {memory(call, *given):11.1f}"
            f"   {answer[0]:.6f}   {answer[1]:.6f}"
        )
        if not np.allclose(answer, same, rtol=0, atol=1e-6):
            raise SystemExit(f"{name} gives other figures: {answer}, and not {same}")
    taken, _ = seconds(options.runs, lambda: top(scores, K, seen=seen))
    print(f"  {'top, the items themselves':28s} {taken:5.2f}   {taken / least:5.2f}")


if __name__ == "__main__":
    main()
