import math

import pytest
import torch

from tests.ssl import small
from tests.ssl.assigning import assign, continues_exactly
from uda.clock import Clock
from uda.nn.encoder import TimmEncoder
from uda.ssl.placebo import placebo
from uda.ssl.views import to_float
from uda.ssl.visual_words import VisualWords

START = Clock(0, 12, 1, 16, 32)


def make(encoder: TimmEncoder, kind: type[VisualWords] = VisualWords, words: int = 6) -> VisualWords:
    torch.manual_seed(1)
    return kind(encoder, small.info(32), words=words)


def test_words_are_the_nearest_of_the_vocabulary_and_bags_their_shares() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    images = to_float(small.batch(5).images)
    encoder.eval()
    with torch.no_grad():
        local = encoder.map(images).flatten(2).transpose(1, 2)  # (5, 16, 128)
    # a vocabulary of six of the first image's places: these are their own words
    objective.vocabulary.copy_(local[0, :6])
    bags = objective.bags(images)
    counts = torch.zeros(5, 6)
    for image in range(5):
        for place in local[image]:
            counts[image, (place - local[0, :6]).square().sum(1).argmin()] += 1
    assert torch.allclose(bags, counts / 16)
    assert (bags[0] >= 1 / 16).all()


def test_the_vocabulary_is_made_of_a_copy_of_the_encoder_which_then_stays() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter.add_(0.01)
    rows = objective.head.weight.detach().clone()
    restarted = assign(objective, encoder, batch, START)
    assert [id(p) for p in restarted] == [id(objective.head.weight)]
    assert not torch.equal(objective.head.weight, rows)
    copied = objective.teacher.module.state_dict()
    assert all(torch.equal(value, copied[name]) for name, value in encoder.state_dict().items())
    before = objective.bags(to_float(batch.images))
    assert (before.sum(0) > 0).all()  # every word occurs in the images it was made of
    small.step(objective, encoder, batch, small.optimizer_of(objective, encoder))
    assert torch.equal(objective.bags(to_float(batch.images)), before)


def test_the_teachers_words_do_not_depend_on_the_batch_in_training_mode() -> None:
    objective = make(small.encoder()).train()
    assign(objective, small.encoder(), small.batch(32), START)
    images = to_float(small.batch(32).images)
    assert torch.equal(objective.bags(images)[:3], objective.bags(images[:3]))
    assert objective.training
    assert not objective.teacher.module.training


def test_the_teacher_sees_the_clean_image_and_the_student_another() -> None:
    objective, batch = make(small.encoder()), small.batch()
    views = objective.views(batch, small.CLOCK)
    assert views.teacher is not None
    assert torch.equal(views.teacher, objective.info.augment(batch, small.CLOCK))
    assert torch.equal(views.images, small.random_view(batch, small.CLOCK, "a"))


def test_the_loss_by_hand() -> None:
    encoder = small.encoder()
    objective = make(encoder)
    assign(objective, encoder, small.batch(32), START)
    views = objective.views(small.batch(4), small.CLOCK)
    assert views.teacher is not None
    objective.head.weight.data.copy_(objective.head.weight[:1].expand(6, -1).clone())
    found = objective.loss(torch.randn(4, encoder.dim), views)
    # all words equally likely: −Σ bag · log ⅙ = log 6 whatever the bag
    assert found.value.item() == pytest.approx(math.log(6), rel=1e-5)
    assert found.chance == pytest.approx(math.log(6))


def test_there_are_never_more_words_than_the_local_features_can_give() -> None:
    # 32 images of 4 × 4 places: 512 ÷ 16
    assert make(small.encoder(), words=1000).words == 32


def test_the_sample_takes_some_places_of_some_images(monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder, words=2)
    images = to_float(batch.images)
    with torch.no_grad():
        local = objective._local_features(images)
    monkeypatch.setattr("uda.ssl.visual_words._SAMPLES", 64)
    sample = objective._sample(lambda: iter(images.split(5)), START)
    assert sample.shape == (64, 128)  # two places of each
    for image in range(32):
        for row in sample[2 * image : 2 * image + 2]:
            assert (row - local[image]).abs().amax(1).min() < 1e-5
    monkeypatch.setattr("uda.ssl.visual_words._SAMPLES", 1)  # 16 for each word: 32, one place of each image
    assert objective._sample(lambda: iter(images.split(5)), START).shape == (32, 128)


def test_due_at_the_beginning_of_every_round() -> None:
    objective = make(small.encoder())
    assert [step for step in range(12) if objective.assign_due(Clock(step, 12))] == [0, 3, 6, 9]


def test_the_encoder_learns_the_bags() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    objective = make(encoder)
    assign(objective, encoder, batch, START)
    first, last = small.falls_on_fixed_batch(objective, encoder, batch)
    assert small.gradient_reaches(encoder)
    assert last < first - 0.2


def test_a_restored_copy_continues_exactly() -> None:
    clocks = [Clock(step, 8, 1, 32, 32) for step in range(6)]
    assert continues_exactly(VisualWords, small.batch(32), clocks, words=6)


def test_the_placebo_predicts_the_bags_of_other_images() -> None:
    encoder, batch = small.encoder(), small.batch(32)
    right, wrong = (make(encoder, kind) for kind in (VisualWords, placebo(VisualWords)))
    assign(right, encoder, batch, START)
    views, other = right.views(batch, START), wrong.views(batch, START)
    features = encoder(views.images)
    assert right.loss(features, views).value.item() != right.loss(features, other).value.item()
