"""What all losses have in common: defaults, leading dimensions, and that they see the samples of all processes."""

import inspect
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from pkdot import losses
from pkdot.losses import LOSSES
from pkdot.losses._inputs import anchor_count, labelled_rows
from pkdot.losses.base import declared_by
from pkdot.losses.embedding import connector

FUNCTIONS = {
    name: getattr(losses, f"{'ot_distill' if name == 'ot' else name.replace('-', '_')}_loss")
    for name in LOSSES
    if name not in ("none", "mt-ot", "vid", "crd")
}
SEVERAL: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    **{name: loss for name, loss in FUNCTIONS.items() if name not in ("dkd", "bounded", "imitation", "mad")},
    "mad": lambda s, t: losses.mad_loss(s, t, t.abs().sum(-1)),
    "centroid": losses.centroid_loss,
    "vid": lambda s, t: losses.vid_loss(s, t, torch.arange(1.0, 6.0)),
    "ot, one anchor": lambda s, t: losses.ot_distill_loss(s, t, topk=1, transport="anchors", select="shared"),
    "structure-kl, one anchor": lambda s, t: losses.structure_kl_loss(s, t, topk=1, select="shared"),
    "structure-mse, shifted": lambda s, t: losses.structure_mse_loss(s, t, topk=3, shift="min", select="farthest"),
}
"""Losses that take several batches at once."""


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_module_has_the_defaults_of_its_function(name: str) -> None:
    function, module = inspect.signature(FUNCTIONS[name]).parameters, inspect.signature(LOSSES[name]).parameters
    defaults = {
        word: parameter.default for word, parameter in function.items() if parameter.default is not parameter.empty
    }
    defaults.pop("labelled", None)
    assert {word: module[word].default for word in defaults} == defaults


@pytest.mark.parametrize("name", FUNCTIONS)
def test_a_module_hands_its_settings_to_its_function(name: str) -> None:
    other = {
        **{"topk": 2, "temperature": 0.7, "beta": 0.3, "gamma": 0.9, "alpha": 0.4, "order": 3, "kernels": 3},
        **{"ratio": 3.0, "distance": 2.0, "angle": 1.0, "weight": 0.8, "margin": 0.2, "clamp": True, "per": "row"},
        **{"shift": "min", "select": "nearest", "blur": 0.3, "debias": False, "tol": 1e-5, "backend": "torch"},
    }
    told = {"target": torch.tensor([0, 1, 2, 3, 4, 0]), "labelled": torch.tensor([1, 1, 1, 0, 1, 1]).bool()}
    student, teacher, values = torch.randn(3, 6, 5, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    module = LOSSES[name]
    if name != "dkd":
        told["target"] = values
    told["teacher_prediction"] = teacher
    told = {word: told[word] for word in declared_by(module).needs}
    if name == "mad":
        passed = {"uncertainty": losses.similarity.prediction_entropy(teacher.float())}
    else:
        passed = {word: value for word, value in told.items() if word in inspect.signature(FUNCTIONS[name]).parameters}
    for setting in set(inspect.signature(module).parameters) & set(inspect.signature(FUNCTIONS[name]).parameters):
        if setting in other:
            expected = FUNCTIONS[name](student, teacher, **passed, **{setting: other[setting]})
            torch.testing.assert_close(module(**{setting: other[setting]})(student, teacher, **told), expected)


@pytest.mark.parametrize("name", [name for name in LOSSES if "gather" in inspect.signature(LOSSES[name]).parameters])
def test_samples_of_all_processes_are_compared_unless_told_otherwise(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert inspect.signature(LOSSES[name]).parameters["gather"].default is True
    seen = []
    for room in ("_inputs", "crd", "multi_teacher", "similarity"):
        # Two processes with the same samples, as far as a loss can see.
        monkeypatch.setattr(
            f"pkdot.losses.{room}.gather_with_gradient", lambda z: seen.append(z) or z.repeat(2, *[1] * (z.dim() - 1))
        )
    sizes = {"student_width": 4, "teacher_width": 4, "samples": 6} if name == "crd" else {}
    student, teacher = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    told = {"index": torch.arange(6), "target": None, "labelled": None, "teacher_prediction": teacher}
    told |= {"teachers": None, "errors": None}
    for gather in (False, True):
        module = LOSSES[name](gather=gather, **sizes)
        assert module(student, teacher, **{word: told[word] for word in declared_by(module).needs}).isfinite()
        assert bool(seen) == gather


@pytest.mark.parametrize("name", SEVERAL)
def test_several_batches_cost_the_mean_of_what_each_costs_alone(name: str) -> None:
    generator = torch.Generator().manual_seed(1)
    student, teacher = torch.randn(2, 2, 3, 7, 5, generator=generator, dtype=torch.float64)
    alone = [SEVERAL[name](s, t) for s, t in zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True)]
    torch.testing.assert_close(SEVERAL[name](student, teacher), torch.stack(alone).mean(), rtol=1e-4, atol=1e-7)


def test_connectors_join_any_widths_of_at_least_one() -> None:
    assert isinstance(connector(None, None), torch.nn.Identity)
    for widths in ((1, 4), (4, 1), (1, 1)):
        assert connector(*widths)(torch.ones(2, widths[0])).shape == (2, widths[1])
    for wrong in ((0, 4), (4, 0), (None, 4), (4, None)):
        with pytest.raises(ValueError, match="expected both, of at least 1"):
            connector(*wrong)


def test_a_share_of_the_batch_is_rounded_and_leaves_the_sample_itself_out() -> None:
    counts = [anchor_count(topk, 8) for topk in (1, 7, 8, 100, 1.0, 0.2, 0.24, 0.01)]
    assert counts == [1, 7, 7, 7, 7, 2, 2, 1]
    assert anchor_count(3, 1) == anchor_count(0.5, 2) == 1


def test_long_batches_are_measured_by_their_length() -> None:
    # Lengths above 256 are equal and not the same object.
    assert labelled_rows(None, torch.zeros(300, 2), torch.zeros(300, 2)).sum() == 300
    with pytest.raises(ValueError, match=r"target \(299, 2\)"):
        labelled_rows(None, torch.zeros(299, 2), torch.zeros(300, 2))


def test_uncertainties_have_no_unit() -> None:
    generator = torch.Generator().manual_seed(0)
    student, teacher = torch.randn(2, 3, 6, 4, generator=generator)
    uncertainty = torch.rand(3, 6, generator=generator)
    expected = losses.mad_loss(student, teacher, uncertainty)
    for unit in (torch.tensor(1e-30), torch.tensor(3e38), torch.tensor([[1.0], [1e-20], [1e38]])):
        torch.testing.assert_close(losses.mad_loss(student, teacher, unit * uncertainty), expected)
