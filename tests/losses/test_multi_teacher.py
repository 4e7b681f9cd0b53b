import pytest
import torch

from pkdot import OTDistillLoss
from pkdot.losses import MultiTeacherOTLoss, centroid_loss, choose_teacher


def test_the_batch_goes_to_the_teacher_with_the_least_loss_over_labelled_samples() -> None:
    errors = torch.tensor([[0.1, 0.9, 0.2], [0.3, 0.3, 0.3], [0.5, 0.1, 0.9]])
    assert choose_teacher(errors).tolist() == [1, 1, 1]
    assert choose_teacher(errors, torch.tensor([True, False, True])).tolist() == [0, 0, 0]
    assert choose_teacher(errors, torch.tensor([False, False, False])).tolist() == [2, 2, 2]


def test_each_sample_goes_to_its_own_teacher_and_to_the_joint_one_without_a_label() -> None:
    errors = torch.tensor([[0.1, 0.9, 0.2, 0.4], [0.3, 0.1, 0.3, 0.4]])
    assert choose_teacher(errors, choice="sample").tolist() == [0, 1, 0, 1]
    labelled = torch.tensor([False, True, True, True])
    assert choose_teacher(errors, labelled, choice="sample").tolist() == [1, 1, 0, 1]


def test_choice_says_what_it_expected() -> None:
    with pytest.raises(ValueError, match=r"\(K, B\)"):
        choose_teacher(torch.ones(3))
    with pytest.raises(ValueError, match="choice 'mean' is not one of"):
        choose_teacher(torch.ones(2, 3), choice="mean")  # type: ignore[arg-type]


def test_centroid_is_the_distance_of_the_mean_columns() -> None:
    student, teacher = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    means = [(unit @ unit.mT).mean(0) for unit in map(torch.nn.functional.normalize, (student, teacher))]
    torch.testing.assert_close(centroid_loss(student, teacher), (means[0] - means[1]).norm())


@pytest.mark.parametrize("choice", ["batch", "sample"])
def test_the_loss_is_transport_to_the_chosen_rows_and_their_centroid(choice: str) -> None:
    generator = torch.Generator().manual_seed(0)
    student = torch.randn(8, 3, generator=generator, requires_grad=True)
    teachers, errors = torch.randn(3, 8, 5, generator=generator), torch.rand(3, 8, generator=generator)
    module = MultiTeacherOTLoss(choice=choice, centroid=0.5, topk=4)  # type: ignore[arg-type]
    chosen = choose_teacher(errors, choice=choice)  # type: ignore[arg-type]
    best = torch.stack([teachers[k, i] for i, k in enumerate(chosen.tolist())])
    expected = OTDistillLoss(topk=4)(student, best) + 0.5 * centroid_loss(student, best)
    loss = module(student, teachers[-1], teachers=teachers, errors=errors)
    torch.testing.assert_close(loss, expected)
    loss.backward()
    assert student.grad is not None
    assert student.grad.abs().max() > 0


def test_with_one_teacher_it_is_plain_transport_with_a_centroid() -> None:
    student, teacher = torch.randn(2, 40, 4, generator=torch.Generator().manual_seed(0))
    expected = OTDistillLoss.released()(student, teacher) + centroid_loss(student, teacher)
    torch.testing.assert_close(MultiTeacherOTLoss.released()(student, teacher), expected)
