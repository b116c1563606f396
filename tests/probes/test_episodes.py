import math
import time
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from torch import Tensor

from uda.errors import UserError
from uda.probes import episodes as module
from uda.probes.episodes import (
    CLASSIFIERS,
    Episodes,
    cosine_logits,
    euclidean_logits,
    evaluate_episodes,
    finetuned_logits,
    logistic_logits,
    nearest_logits,
    refined,
    sample_episodes,
)


def blobs(n: int, classes: int, dim: int = 16, spread: float = 1.0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    labels = torch.arange(n) % classes
    return torch.randn(classes, dim, generator=generator)[labels] + spread * torch.randn(
        n, dim, generator=generator
    ), labels


@settings(max_examples=40)
@given(st.integers(2, 5), st.integers(1, 4), st.integers(1, 6), st.integers(0, 10_000), st.integers(0, 30))
def test_classes_and_images_are_right_and_never_twice(
    ways: int, shots: int, queries: int, seed: int, more: int
) -> None:
    # class c has shots + queries + c · more images, class 90 one too few, and some have no label
    sizes = [shots + queries + i * more for i in range(6)]
    labels = np.concatenate([np.repeat(np.arange(6) * 7, sizes), np.full(shots + queries - 1, 90), [-1] * 9])
    labels = np.random.default_rng(seed).permutation(labels)
    found = sample_episodes(labels, 8, ways, shots, queries, seed)
    assert (found.support.shape, found.query.shape) == ((8, ways, shots), (8, ways, queries))
    rows = torch.cat([found.support, found.query], 2)
    assert np.array_equal(labels[rows.numpy()], found.classes[..., None].expand_as(rows).numpy())
    assert all(len(episode.unique()) == ways * (shots + queries) for episode in rows)
    assert all(len(classes.unique()) == ways for classes in found.classes)
    assert not {-1, 90} & set(found.classes.flatten().tolist())


def test_episodes_depend_on_the_seed_and_their_number_alone() -> None:
    labels = torch.arange(200) % 8
    many, few = sample_episodes(labels, 30, seed=4), sample_episodes(labels.numpy(), 10, seed=4)
    for name in ("classes", "support", "query"):
        assert torch.equal(getattr(many, name)[:10], getattr(few, name))
    assert not torch.equal(sample_episodes(labels, 10, seed=5).support, few.support)
    assert len(few) == 10


def test_every_class_and_image_is_as_likely_as_support_and_as_query() -> None:
    labels = torch.arange(48) % 6  # eight images of each
    found = sample_episodes(labels, 4000, ways=2, shots=1, queries=2, seed=0)
    # each of 6 classes in 4,000·2/6 = 1,333 episodes; an image is support in an eighth of these, query in two
    # standard deviations: √(4000·⅓·⅔) = 30, √(4000/24) = 12.9, √(4000/12) = 18.3
    assert (torch.bincount(found.classes.flatten()) - 4000 / 3).abs().max() < 4.5 * 30
    assert (torch.bincount(found.support.flatten(), minlength=48) - 4000 / 24).abs().max() < 4.5 * 12.9
    assert (torch.bincount(found.query.flatten(), minlength=48) - 4000 / 12).abs().max() < 4.5 * 18.3


def test_logits_by_hand() -> None:
    # Way 0: (1, 0) and (0, 1), prototype (½, ½); way 1: (−1, 0) twice, prototype (−1, 0). Query (0, 2).
    support = torch.tensor([[[[1.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [-1.0, 0.0]]]])
    query = torch.tensor([[[0.0, 2.0]]])
    assert cosine_logits(support, query)[0, 0].tolist() == pytest.approx([math.sqrt(0.5), 0.0])
    assert nearest_logits(support, query)[0, 0].tolist() == pytest.approx([1.0, 0.0])
    # squared distances ¼ + 9/4 = 2.5 and 1 + 4 = 5; the logits differ by 2.5 too
    found = euclidean_logits(support, query)[0, 0]
    assert (found[0] - found[1]).item() == pytest.approx(2.5)


def test_classifiers_differ_where_they_should() -> None:
    # The query (1, 0.1) is nearest to a stray image of way 0, while the prototype of way 1 is closer.
    support = torch.tensor([[[[1.0, 0.1], [-1.0, 0.0], [-1.0, 0.0]], [[1.0, 0.4], [1.0, 0.4], [1.0, 0.4]]]])
    query = torch.tensor([[[1.0, 0.1]]])
    assert nearest_logits(support, query).argmax().item() == 0
    assert cosine_logits(support, query).argmax().item() == 1
    assert euclidean_logits(support, query).argmax().item() == 1
    # Lengths: (3, 0) lies nearer to (4, 1) than to (1, 0), though its direction is the latter's.
    support, query = torch.tensor([[[[1.0, 0.0]], [[4.0, 1.0]]]]), torch.tensor([[[3.0, 0.0]]])
    assert cosine_logits(support, query).argmax().item() == 0
    assert euclidean_logits(support, query).argmax().item() == 1


@pytest.mark.parametrize(("ways", "shots"), [(5, 1), (5, 5), (2, 3)])
@pytest.mark.parametrize("cost", [1.0, 10.0])
def test_logistic_regression_is_scikit_learns(ways: int, shots: int, cost: float) -> None:
    features, labels = blobs(300, 6, dim=40, spread=1.5)
    features = F.normalize(features.double(), dim=1)
    chosen = sample_episodes(labels, 3, ways, shots, 15)
    support, query = features[chosen.support], features[chosen.query].flatten(1, 2)
    found = logistic_logits(support, query, cost).softmax(2)
    for episode in range(3):
        # for two classes scikit-learn has one weight vector w, and ±w/2 here: half the penalty, as at twice its C
        reference = LogisticRegression(C=cost * (2 if ways == 2 else 1), tol=1e-10, max_iter=10_000)
        reference.fit(support[episode].flatten(0, 1), np.arange(ways).repeat(shots))
        assert np.abs(found[episode].numpy() - reference.predict_proba(query[episode])).max() < 1e-4


@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_accuracies_equal_a_loop_over_episodes(classifier: str, monkeypatch: pytest.MonkeyPatch) -> None:
    features, labels = blobs(200, 8, spread=1.5)
    chosen = sample_episodes(labels, 7, 5, 2, 10, seed=3)
    x = features if classifier == "euclidean" else F.normalize(features, dim=1)
    expected = []
    for support, query in zip(chosen.support, chosen.query, strict=True):
        logits = CLASSIFIERS[classifier](x[support][None], x[query].flatten(0, 1)[None])[0]
        expected.append((logits.argmax(1) == torch.arange(5).repeat_interleave(10)).double().mean().item())
    monkeypatch.setattr(module, "_CELLS", 3 * 5 * 12 * 16)  # three episodes at once
    found = evaluate_episodes(features, chosen, classifier)
    assert found.per_episode.tolist() == pytest.approx(expected)
    assert found.mean == pytest.approx(np.mean(expected))
    assert found.ci95 == pytest.approx(1.96 * np.std(expected, ddof=1) / math.sqrt(7))
    assert 0.3 < found.mean < 1


@pytest.mark.parametrize("classifier", sorted(CLASSIFIERS))
def test_separated_classes_are_told_apart_and_noise_is_not(classifier: str) -> None:
    features, labels = blobs(400, 10, dim=32, spread=0.1)
    chosen = sample_episodes(labels, 200)
    assert evaluate_episodes(features, chosen, classifier).mean > 0.99
    noise = evaluate_episodes(torch.randn(400, 32, generator=torch.Generator().manual_seed(1)), chosen, classifier)
    assert noise.mean == pytest.approx(0.2, abs=0.02)


NONE = torch.empty(1, 2, 0, dtype=torch.int64)


def test_accuracy_by_hand() -> None:
    # Support 0 and 1 point along the axes; of way 0's queries 2, 3 one is right, of way 1's queries 4, 5 both are.
    features = torch.tensor([[1.0, 0], [0, 1], [2, 1], [1, 2], [0, 3], [1, 3]])
    one = Episodes(torch.tensor([[0, 1]]), torch.tensor([[[0], [1]]]), torch.tensor([[[2, 3], [4, 5]]]), NONE)
    found = evaluate_episodes(features, one)
    assert (found.per_episode.tolist(), found.mean, found.ci95) == ([0.75], 0.75, None)
    assert found.per_way.tolist() == [[0.5, 1.0]]
    assert found.per_class(one.classes) == {0: 0.5, 1: 1.0}
    # a second episode with everything right: mean 0.875, std √(2·0.125²) = 0.1768, 1.96·0.1768/√2 = 0.245
    two = Episodes(*(torch.cat([value, value]) for value in (one.classes, one.support, one.query, NONE)))
    two.query[1, 0, 1] = 2
    assert evaluate_episodes(features, two).ci95 == pytest.approx(0.245)


def test_unlabelled_images_move_the_prototypes_as_they_are_likely_to_belong() -> None:
    support = torch.tensor([[[[1.0, 0.0]], [[0.0, 1.0]]]])
    # Halfway between both: it belongs to each by one half, so each prototype is (own + ½ · it) / 1.5.
    middle = torch.tensor([[[0.6, 0.6]]])
    found = refined(support, middle)
    assert found.shape == (1, 2, 1, 2)
    assert found[0, :, 0].flatten().tolist() == pytest.approx([1.3 / 1.5, 0.3 / 1.5, 0.3 / 1.5, 1.3 / 1.5])
    # As good as certain: cos 1 against cos 0 with scale 10 leaves e⁻¹⁰ to the other way.
    sure = refined(support, torch.tensor([[[3.0, 0.0]]]))
    assert sure[0, 0, 0].tolist() == pytest.approx([2.0, 0.0], abs=1e-3)
    assert sure[0, 1, 0].tolist() == pytest.approx([0.0, 1.0], abs=1e-3)


def test_semi_supervised_episodes_draw_further_images_of_their_classes() -> None:
    features, labels = blobs(200, 8, spread=0.6)
    episodes = sample_episodes(labels, 100, shots=1, queries=5, unlabelled=7)
    assert episodes.unlabelled.shape == (100, 5, 7)
    rows = torch.cat([episodes.support, episodes.query, episodes.unlabelled], dim=2).flatten(1)
    assert all(len(row.unique()) == 65 for row in rows)
    assert torch.equal(labels[episodes.unlabelled], episodes.classes[..., None].expand(-1, -1, 7))
    plain = replace(episodes, unlabelled=episodes.unlabelled[..., :0])
    assert evaluate_episodes(features, episodes).mean > evaluate_episodes(features, plain).mean


def test_fine_tuning_begins_at_the_prototypes_and_lowers_the_loss() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(3, 4, 2, 6, generator=generator), torch.randn(3, 5, 6, generator=generator)
    assert torch.allclose(finetuned_logits(support, query, steps=0), cosine_logits(support, query), atol=1e-6)
    own = F.normalize(support, dim=3).flatten(1, 2)
    target = torch.arange(4).repeat_interleave(2).repeat(3)
    losses = [
        F.cross_entropy(10 * finetuned_logits(support, own, steps=steps).flatten(0, 1), target)
        for steps in (0, 20, 100)
    ]
    assert losses[0] > losses[1] > losses[2]


def test_a_fine_tuning_step_is_one_of_gradient_descent_on_the_sphere() -> None:
    generator = torch.Generator().manual_seed(0)
    support, query = torch.randn(1, 3, 2, 6, generator=generator), torch.randn(1, 5, 6, generator=generator)
    x, target = F.normalize(support[0].flatten(0, 1), dim=1), torch.arange(3).repeat_interleave(2)
    rows = F.normalize(support[0].mean(1), dim=1).requires_grad_()
    F.cross_entropy(10 * x @ rows.T, target).backward()
    along = rows.grad - (rows.grad * rows).sum(1, keepdim=True) * rows
    wanted = F.normalize(query[0], dim=1) @ F.normalize(rows - 0.05 * along, dim=1).T
    assert torch.allclose(finetuned_logits(support, query, steps=1)[0], wanted, atol=1e-5)


def test_lengths_count_only_without_normalization() -> None:
    features, labels = blobs(200, 8, spread=1.5)
    chosen = sample_episodes(labels, 20, shots=5)
    longer = features * torch.linspace(0.1, 10, 200)[:, None]
    same, other = (evaluate_episodes(longer, chosen, "euclidean", normalize).mean for normalize in (True, False))
    assert same == pytest.approx(evaluate_episodes(features, chosen, "euclidean", normalize=True).mean)
    assert other < same - 0.05
    # As they are is how prototypical networks compare them, and only they do.
    assert other == evaluate_episodes(longer, chosen, "euclidean").mean
    assert evaluate_episodes(longer, chosen, "nearest").mean == evaluate_episodes(features, chosen, "nearest").mean


def test_two_thousand_episodes_take_seconds() -> None:
    features, labels = blobs(12_000, 20, dim=512, spread=3)
    start = time.process_time()
    chosen = sample_episodes(labels, 2000, shots=5)
    for classifier in CLASSIFIERS:
        evaluate_episodes(features, chosen, classifier)
    assert time.process_time() - start < 30  # about 5 s on an idle core for all of them


def test_what_the_user_can_get_wrong() -> None:
    labels = torch.arange(60) % 6  # ten of each
    with pytest.raises(
        UserError, match="5-way episodes of 1 shots and 15 queries need 5 classes with 16 images each, and there are 0"
    ):
        sample_episodes(labels, 3)
    with pytest.raises(UserError, match="need 7 classes with 10 images each, and there are 6; lower ways, shots or"):
        sample_episodes(labels, 3, ways=7, shots=5, queries=5)
    for wrong in ({"n_episodes": 0}, {"n_episodes": 1, "ways": 1}, {"n_episodes": 1, "shots": 0}):
        with pytest.raises(UserError, match="give at least 2 ways and at least 1 of the others"):
            sample_episodes(labels, queries=1, **wrong)
    chosen = sample_episodes(labels, 2, queries=5)
    with pytest.raises(UserError, match="unknown episode classifier 'cosin': did you mean cosine"):
        evaluate_episodes(torch.zeros(60, 3), chosen, "cosin")
    with pytest.raises(UserError, match="not finite"):
        evaluate_episodes(torch.full((60, 3), torch.nan), chosen)
