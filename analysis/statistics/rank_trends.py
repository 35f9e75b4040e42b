"""Rank tests of a trend of FID, and of its spread, over the size of the teacher."""

from __future__ import annotations

import numpy as np
from scipy import stats

from analysis.records.cells import FloatArray

MAX_RANKED = 5000  # tries; beyond, the asymptotic p of a rank correlation is as good as permuting


def rank_trends(
    x: FloatArray, fid: FloatArray, generator: np.random.Generator, *, shared_seeds: bool, resamples: int = 1999
) -> tuple[float, float]:
    """Two-sided p of a monotone trend of fid (T, n), and of its deviations from each teacher's median, over x (T,).

    Means: Page's test within seeds where teachers share them, else a permutation test of Spearman's correlation over
    all tries. Spread: the same, and a permutation of the deviations themselves must reject too, because ranks alone
    reject in 15% of studies when 30% of the runs collapse.
    """
    deviations = np.abs(fid - np.median(fid, axis=1, keepdims=True))
    if fid.size > MAX_RANKED:
        return _spearman(x, fid), _spearman(x, deviations)
    order = np.argsort(x, kind="stable")
    if shared_seeds:
        means, spreads = _page_p(fid[order].T), _page_p(deviations[order].T)
    else:
        places = stats.rankdata(x)
        means, spreads = (_permuted_p(places, _ranks(part), generator, False, resamples) for part in (fid, deviations))
    return means, max(spreads, _permuted_p(x, deviations, generator, shared_seeds, resamples))


def _page_p(by_seed: FloatArray) -> float:
    """Two-sided p of Page's trend test of by_seed (n, T), columns by ascending x: twice the smaller one-sided p."""
    if len(by_seed) < 2 or by_seed.shape[1] < 3:
        return float("nan")
    ranks = stats.rankdata(by_seed, axis=1)
    one_sided = [stats.page_trend_test(part, ranked=True).pvalue for part in (ranks, ranks[:, ::-1])]
    return float(min(1.0, 2 * min(one_sided)))


def _permuted_p(
    x: FloatArray, values: FloatArray, generator: np.random.Generator, within_seeds: bool, resamples: int
) -> float:
    """Two-sided permutation p of the covariance of values (T, n) with x (T,): with ranks as values, Spearman's."""
    weights = x - x.mean()
    drawn = np.broadcast_to(values, (resamples, *values.shape))
    if within_seeds:
        shuffled = generator.permuted(drawn, axis=1)
    else:
        shuffled = generator.permuted(drawn.reshape(resamples, -1), axis=1).reshape(drawn.shape)
    observed = abs(float(weights @ values.sum(axis=1)))
    extreme = np.abs(np.tensordot(shuffled.sum(axis=2), weights, axes=1)) >= observed * (1 - 1e-9)
    return float((1 + extreme.sum()) / (1 + resamples))


def _ranks(values: FloatArray) -> FloatArray:
    return np.asarray(stats.rankdata(values).reshape(values.shape), dtype=np.float64)


def _spearman(x: FloatArray, values: FloatArray) -> float:
    return float(stats.spearmanr(np.repeat(x, values.shape[1]), values.ravel()).pvalue)
