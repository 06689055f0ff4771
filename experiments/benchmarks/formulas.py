"""Scores as their formulas are written, in plain numpy: the yardsticks of scorers.py.

Each takes N x D features x, N labels y (0..C-1, none empty) and N x S logits z, all float64. The papers are named in
the files of src/modelrank/scorers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy import ndarray as Array


def means_of(x: Array, y: Array) -> Array:
    """C x D."""
    return np.stack([x[y == label].mean(0) for label in range(y.max() + 1)])


def log_sum_exp(z: Array) -> Array:
    most = z.max(1)
    return most + np.log(np.exp(z - most[:, None]).sum(1))


def ncc(x: Array, y: Array, z: Array) -> float:
    """mean_i P(y_i | x_i), P(c | x) = softmax over c of -|x - mu_c|^2 / 2 + log(N_c / N)"""
    means = means_of(x, y)
    logits = x @ means.T - (means**2).sum(1) / 2 + np.log(np.bincount(y) / len(y))
    return float(np.exp(logits[np.arange(len(y)), y] - log_sum_exp(logits)).mean())


def knn(x: Array, y: Array, z: Array) -> float:
    """share of samples whose nearest other one is of their class"""
    norms = (x**2).sum(1)
    squares = norms[:, None] + norms - 2 * x @ x.T
    np.fill_diagonal(squares, np.inf)
    return float((y[squares.argmin(1)] == y).mean())


def etran_energy(x: Array, y: Array, z: Array) -> float:
    """mean over the 0.5 % of samples with the lowest value of log sum exp(z_i)"""
    return float(np.sort(log_sum_exp(z))[: max(1, len(z) // 200)].mean())


def leep(x: Array, y: Array, z: Array) -> float:
    """1/N sum_i log sum_s P(y_i | s) theta_i(s), P(y, s) = mean_i [y_i = y] theta_i(s), theta = softmax(z)"""
    theta = np.exp(z - log_sum_exp(z)[:, None])
    joint = np.eye(y.max() + 1)[y].T @ theta / len(y)
    return float(np.log(((joint / joint.sum(0))[y] * theta).sum(1)).mean())


def nce(x: Array, y: Array, z: Array) -> float:
    """sum_{y, s} P(y, s) log P(y | s), s = argmax z"""
    joint = np.zeros((y.max() + 1, z.shape[1]))
    np.add.at(joint, (y, z.argmax(1)), 1 / len(y))
    share = joint / np.maximum(joint.sum(0), 1e-300)
    return float((joint * np.log(np.where(share > 0, share, 1))).sum())


def gbc(x: Array, y: Array, z: Array) -> float:
    """- sum_{c != c'} exp(-D_B(c, c')) of 64 principal components, one variance a class"""
    x = x - x.mean(0)
    x = x @ np.linalg.eigh(x.T @ x)[1][:, -64:]
    means = means_of(x, y)
    variances = np.maximum(means_of((x - means[y]) ** 2, y), 1e-4).mean(1)
    overlap = 0.0
    for i in range(len(means)):
        for j in range(i):
            s = (variances[i] + variances[j]) / 2
            volume = math.log(s) - math.log(variances[i] * variances[j]) / 2
            overlap += 2 * math.exp(-((means[i] - means[j]) ** 2).sum() / s / 8 - volume / 2)
    return -overlap


def hscore(x: Array, y: Array, z: Array) -> float:
    """tr(cov(x)^+ cov(E[x | y]))"""
    between = np.cov(means_of(x, y)[y], rowvar=False)
    return float(np.trace(np.linalg.pinv(np.cov(x, rowvar=False), rcond=1e-15) @ between))


def hscore_shrinkage(x: Array, y: Array, z: Array) -> float:
    """tr(S_a^-1 (1 - a) cov(E[x | y])), S_a = (1 - a) S + a tr(S) / D I, a by Ledoit and Wolf"""
    x = x - x.mean(0)
    n, d = x.shape
    s = x.T @ x / n
    level = np.trace(s) / d * np.eye(d)
    noise = ((x**2).T @ x**2 / n - s**2).sum() / n
    a = min(1.0, noise / ((s - level) ** 2).sum())
    between = np.cov(means_of(x, y)[y], rowvar=False)
    return float((1 - a) * np.trace(np.linalg.inv((1 - a) * s + a * level) @ between))


def lfc(x: Array, y: Array, z: Array) -> float:
    """correlation of x x^T and of +1 (same class), -1 (else), over all N x N entries"""
    kernel, same = x @ x.T, np.where(y[:, None] == y, 1.0, -1.0)
    kernel, same = kernel - kernel.mean(), same - same.mean()
    return float((kernel * same).sum() / np.sqrt((kernel**2).sum() * (same**2).sum()))


def logme(x: Array, y: Array, z: Array) -> float:
    """mean over the classes of the evidence of a Bayesian linear model, after at most 11 updates of alpha and beta"""
    (n, d), evidence = x.shape, []
    u, s, _ = np.linalg.svd(x, full_matrices=False)
    sigma = s**2
    for column in np.eye(y.max() + 1)[y].T:
        x2 = (u.T @ column) ** 2
        alpha, beta = 1.0, 1.0
        for _ in range(11):
            t = alpha / beta
            gamma = (sigma / (sigma + t)).sum()
            m2 = (sigma * x2 / (t + sigma) ** 2).sum() + 1e-5
            res2 = (x2 / (1 + sigma / t) ** 2).sum() + column @ column - x2.sum() + 1e-5
            alpha, beta = gamma / m2, (n - gamma) / res2
            if abs(alpha / beta - t) <= 1e-2 * t:
                break
        fit = n * np.log(beta / (2 * np.pi)) - alpha * m2 - beta * res2
        evidence.append((fit + d * np.log(alpha) - np.log(alpha + beta * sigma).sum()) / (2 * n))
    return float(np.mean(evidence))


def rate(x: Array) -> float:
    """R(X) = log det(I + X^T X / (n eps)) / 2"""
    return float(np.linalg.slogdet(np.eye(x.shape[1]) + x.T @ x / (len(x) * 1e-4))[1] / 2)


def transrate(x: Array, y: Array, z: Array) -> float:
    """R(X) - 1/C sum_c R(X_c), X centred"""
    x = x - x.mean(0)
    return rate(x) - float(np.mean([rate(x[y == label]) for label in range(y.max() + 1)]))


def transrate_normalised(x: Array, y: Array, z: Array) -> float:
    """(R(X) - sum_c N_c / N R(X_c)) / rank(X), rows of X to unit length, centred, to unit length again"""
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    x = x - x.mean(0)
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    of_classes = sum((y == label).mean() * rate(x[y == label]) for label in range(y.max() + 1))
    return float(rate(x) - of_classes) / int(np.linalg.matrix_rank(x))


FORMULAS = {
    "ncc": ncc,
    "etran_lda": ncc,
    "knn": knn,
    "etran_energy": etran_energy,
    "leep": leep,
    "nce": nce,
    "gbc": gbc,
    "hscore": hscore,
    "hscore_shrinkage": hscore_shrinkage,
    "lfc": lfc,
    "logme": logme,
    "transrate": transrate,
    "transrate_normalised": transrate_normalised,
}
