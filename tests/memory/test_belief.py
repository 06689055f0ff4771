"""The incremental posterior against one that is written down directly, and what curves and intervals must do."""

from dataclasses import replace

import numpy as np
import pytest

from modelrank.memory import belief as module
from modelrank.memory.belief import Belief, Result


def some(n=5, seed=0, **changes):
    rng = np.random.default_rng(seed)
    loadings = rng.standard_normal((n, 3)) / 2
    numbers = {"location": 0.7, "location_sd": 0.1, "log_scale": np.log(0.05), "log_scale_sd": 0.5}
    return Belief(rng.standard_normal(n), loadings, rng.uniform(0.05, 0.2, n), **(numbers | changes))


def directly(belief, results):
    """Mean and variance of all accuracies, and the weight of each scale, by one joint normal distribution a scale."""
    steps = np.linspace(-2.5, 2.5, module.SCALES)
    means, variances, logs = [], [], []
    for step in steps:
        s2 = np.exp(2 * (belief.log_scale + step * belief.log_scale_sd))
        n, k = len(belief.mean), len(results)
        joint = np.zeros((n + k, n + k))
        models = [*range(n), *(r.model for r in results)]
        left = [*([0.0] * n), *(1 / r.share - 1 for r in results)]
        for i in range(n + k):
            for j in range(n + k):
                walk = min(left[i], left[j])
                z = belief.loadings[models[i]] @ belief.loadings[models[j]] + walk * module.TO_GAIN**2
                if models[i] == models[j]:
                    z += belief.own[models[i]] + walk * module.CURVE_NOISE**2
                joint[i, j] = s2 * z + belief.location_sd**2
        prior = belief.location + np.sqrt(s2) * belief.mean[models]
        among = joint[n:, n:] + np.diag([max(r.noise**2, module.JITTER) for r in results])
        for i, one in enumerate(results):
            for j, other in enumerate(results):
                alike = module.SAME_MODEL if one.model == other.model else module.SAME_IMAGES
                among[i, j] += one.noise * other.noise * alike * (i != j)
        surprise = np.array([r.value for r in results]) - prior[n:]
        gain = joint[:n, n:] @ np.linalg.inv(among)
        means.append(prior[:n] + gain @ surprise)
        variances.append(np.diag(joint[:n, :n] - gain @ joint[n:, :n]))
        logs.append(-0.5 * (step**2 + surprise @ np.linalg.solve(among, surprise) + np.linalg.slogdet(among)[1]))
    weight = np.exp(np.array(logs) - max(logs))
    return np.array(means), np.array(variances), weight / weight.sum()


def test_results_one_by_one_are_the_joint_distribution():
    belief = some()
    results = [
        Result(0, 0.7),
        Result(1, 0.5, 0.1),
        Result(1, 0.6, 0.5),
        Result(3, 0.55, 0.1),
        Result(3, 0.72),
        Result(2, 0.8),
    ]
    results += [
        Result(4, 0.6, 0.1),
        Result(4, 0.62, 0.2, 0.03),
        Result(2, 0.75, 1.0, 0.02),
        Result(4, 0.61, 0.3, 0.04),
        Result(4, 0.65, 0.5),
    ]  # more than the arrays begin with
    posterior = belief.given(results)
    means, variances, weight = directly(belief, results)
    np.testing.assert_allclose(posterior.means, means, rtol=1e-5)
    np.testing.assert_allclose(posterior.variances, variances, atol=1e-8)
    np.testing.assert_allclose(posterior.weight, weight, rtol=1e-4)


def test_what_was_trained_to_the_end_is_known():
    posterior = some().given([Result(2, 0.81)])
    assert posterior.mean[2] == pytest.approx(0.81, abs=1e-4)
    assert posterior.sd[2] < 1e-3
    low, high = posterior.interval(0.8)
    assert high[2] - low[2] < 1e-3 < high[0] - low[0]


def test_the_error_of_a_value_is_taken_out_by_what_the_others_say():
    """Beside models that are known: their number k + 1 is the one that was looked at, with an error."""
    results = [Result(0, 0.7), Result(1, 0.62, 0.3, 0.02), Result(2, 0.74, 1.0, 0.02), Result(2, 0.6, 0.5, 0.02)]
    posterior = some().given(results)
    assert posterior.true_values[0] == pytest.approx(0.7, abs=1e-6)
    assert posterior.true_values[2] == pytest.approx(posterior.mean[2], abs=1e-9), "the end is the model's accuracy"
    exact = some(log_scale_sd=1e-9)
    seen = Result(1, 0.62, 0.3, 0.02)
    grid = np.linspace(0.3, 0.9, 6001)  # of its value without the error, by Bayes' rule on the exact belief
    known = [exact.given([Result(0, 0.7), seen._replace(value=float(value), noise=0.0)]) for value in grid[::40]]
    logs = np.array([one.log_weight[module.SCALES // 2] for one in known]) - 0.5 * ((grid[::40] - 0.62) / 0.02) ** 2
    weight = np.exp(logs - logs.max())
    expected = float(weight @ grid[::40] / weight.sum())
    assert exact.given([Result(0, 0.7), seen]).true_values[1] == pytest.approx(expected, abs=2e-4)


def test_the_later_look_at_a_training_says_all_that_the_earlier_one_did_of_its_model():
    late = some(log_scale_sd=1e-9).given([Result(1, 0.6, 0.5)])
    both = some(log_scale_sd=1e-9).given([Result(1, 0.3, 0.1), Result(1, 0.6, 0.5)])
    np.testing.assert_allclose(both.mean, late.mean, atol=1e-6)


def test_a_look_is_worth_the_more_the_later_it_is():
    sds = [some().given([Result(1, 0.6, share), Result(2, 0.6, share)]).sd[1] for share in (0.05, 0.3, 1.0)]
    assert sds[0] > sds[1] > sds[2]


def test_a_quick_look_at_all_says_which_is_better_not_how_good():
    belief = some(log_scale_sd=0.3)
    flat = replace(belief, mean=np.zeros(5), loadings=np.zeros((5, 1)), own=np.ones(5))
    posterior = flat.given([Result(i, value, 0.2) for i, value in enumerate([0.2, 0.25, 0.3, 0.35, 0.4])])
    assert np.all(np.diff(posterior.mean) > 0)
    assert posterior.mean.mean() > 0.45, "what all have yet to gain is not held against them"


def test_intervals_are_quantiles_of_the_samples_stretched_where_a_model_is_not_at_its_end(monkeypatch):
    known = some().given([Result(0, 0.75), Result(1, 0.6, 0.5)])
    stretched = np.subtract(*known.interval(0.8)[::-1])
    monkeypatch.setattr(module, "STRETCH", {0: 1.0})
    plain = np.subtract(*known.interval(0.8)[::-1])
    assert stretched[0] == plain[0]
    np.testing.assert_allclose(stretched[1:] / plain[1:], 1.02)
    posterior = some().given(
        [Result(0, 0.75), Result(1, 0.6), Result(2, 0.5, 0.2), Result(2, 0.6, 0.4), Result(3, 0.7, 1, 0.02)]
    )
    samples = posterior.samples(40_000, np.random.default_rng(0))
    low, high = posterior.interval(0.8)
    np.testing.assert_allclose(np.quantile(samples, 0.1, axis=0), low, atol=3e-3)
    np.testing.assert_allclose(np.quantile(samples, 0.9, axis=0), high, atol=3e-3)
    assert posterior.improvement(0.75) == pytest.approx(np.maximum(samples - 0.75, 0).mean(0), abs=2e-3)


def test_the_chance_that_nothing_is_better_grows_with_the_draws_that_say_so_and_is_never_certain():
    drawn = np.zeros((400, 3))
    best = np.linspace(-1, 1, 400)
    chances = [module.chance_nothing_better(drawn, best + shift, 0.01) for shift in (-2, -0.5, 0.0, 0.5, 2)]
    assert chances == sorted(chances)
    assert 0 < chances[0] < 0.1
    assert 0.98 < chances[-1] < 1
    assert module.chance_nothing_better(drawn, 0.5, 0.01) == chances[-1]
