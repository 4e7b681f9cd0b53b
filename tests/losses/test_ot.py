import inspect
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from pkdot import OTDistillLoss, anchor_clouds, cosine_structure, sinkhorn_divergence, topk_anchors
from pkdot.losses import MultiTeacherOTLoss, OTSettings, ot_distill_loss, structure_kl_loss, structure_mse_loss

FILE = json.loads((Path(__file__).parent / "vectors.json").read_text())
ANCHORS: dict[str, Any] = {"transport": "anchors", "select": "shared", "topk": 5}
SETTINGS: list[dict[str, Any]] = [
    {},
    {"topk": 4},
    {"topk": 3, "select": "nearest", "shift": "min"},
    {"topk": 0.5, "select": "shared"},
    ANCHORS,
    {"transport": "anchors", "select": "nearest", "topk": 4},
    {"divergence": "mse", "topk": 4},
    {"divergence": "kl", "topk": 4},
]


def vector_input(name: str) -> Tensor:
    return torch.tensor(FILE["inputs"][name], dtype=torch.float64)


def embeddings(batch: int = 12, *leading: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    """Student and teacher embeddings of unequal width that agree in part."""
    generator = torch.Generator().manual_seed(seed)
    teacher = torch.randn(*leading, batch, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(*leading, batch, 4, generator=generator, dtype=torch.float64)
    return (teacher[..., :4] + noise).requires_grad_(), teacher


def shifted_rows(**select: Any) -> tuple[Tensor, Tensor]:
    return anchor_clouds(vector_input("student"), vector_input("teacher"), 3, shift="min", **select)


def in_index_order() -> tuple[Tensor, Tensor]:
    student, teacher = (cosine_structure(vector_input(name)) for name in ("student", "teacher"))
    columns = topk_anchors(teacher, 3, select="farthest").sort(-1).values
    return (student - student.min()).gather(-1, columns), (teacher - teacher.min()).gather(-1, columns)


@pytest.mark.parametrize(
    ("name", "clouds"),
    [
        ("pkdot_reference_topk3_min", lambda: shifted_rows(select="farthest")),
        ("pkdot_reference_topk3_max", lambda: shifted_rows(select="nearest", exclude_self=False)),
        ("pkdot_reference_topk3_min_indexorder", in_index_order),
        (
            "pkdot_full_rows",
            lambda: [z - z.min() for z in map(cosine_structure, map(vector_input, ("student", "teacher")))],
        ),
        ("sinkhorn_embeddings_p2_blur0.1", lambda: (vector_input("student"), vector_input("teacher"))),
    ],
)
def test_agrees_with_the_published_code(name: str, clouds: Any) -> None:
    # The vectors come from a solver that had not converged, hence the tolerance.
    expected = FILE["vectors"][name]["loss"]
    assert sinkhorn_divergence(*clouds()).item() == pytest.approx(expected, abs=5e-3)


def test_released_settings_are_those_of_the_published_code() -> None:
    loss = OTDistillLoss.released().settings
    assert (loss.topk, loss.select, loss.shift, loss.blur) == (30, "farthest", "min", 0.1)
    assert (loss.transport, loss.divergence, loss.debias) == ("rows", "sinkhorn", True)
    same = OTDistillLoss(topk=3, select="farthest", transport="rows", shift="min", blur=0.1)
    value = same(vector_input("student"), vector_input("teacher"))
    assert value.item() == pytest.approx(FILE["vectors"]["pkdot_reference_topk3_min"]["loss"], abs=5e-3)


def test_default_settings_are_rows_over_stratified_anchors_of_an_eighth_of_the_batch() -> None:
    student, teacher = embeddings(16)
    clouds = anchor_clouds(student, teacher, 2, select="stratified")
    torch.testing.assert_close(OTDistillLoss()(student, teacher), sinkhorn_divergence(*clouds))


def anchors_reference(student: Tensor, teacher: Tensor, columns: Tensor, temperature: float, sweeps: int) -> Tensor:
    """One sample after another, by plain iterations that autograd goes through, the sample itself left out."""
    unit_s, unit_t = (torch.nn.functional.normalize(z, dim=-1) for z in (student, teacher))
    total = torch.zeros((), dtype=torch.float64)
    for i in range(len(student)):
        kept = columns[i][columns[i] != i]
        p_s = (unit_s[kept] @ unit_s[i] / temperature).softmax(-1)
        p_t = (unit_t[kept] @ unit_t[i] / temperature).softmax(-1)
        scaled = (unit_t[kept, None] - unit_t[None, kept]).square().sum(-1) / 2 / 0.04

        def cost(a: Tensor, b: Tensor, scaled: Tensor = scaled) -> Tensor:
            f, g = torch.zeros_like(a), torch.zeros_like(b)
            for _ in range(sweeps):
                f = -torch.logsumexp(b.log() + g - scaled, dim=1)
                g = -torch.logsumexp((a.log() + f)[:, None] - scaled, dim=0)
            return 0.04 * (a @ f + b @ g)

        total = total + cost(p_s, p_t) - (cost(p_s, p_s) + cost(p_t, p_t)) / 2
    return total / len(student)


@pytest.mark.parametrize(
    ("select", "zero"), [("shared", False), ("nearest", False), ("farthest", False), ("farthest", True)]
)
def test_transport_over_anchors_equals_one_problem_a_sample(select: Any, zero: bool) -> None:
    student, teacher = embeddings(6)
    teacher[2] = 0.0 if zero else teacher[2]
    columns = topk_anchors(cosine_structure(teacher), 4, select=select)
    expected = anchors_reference(student, teacher, columns, 0.5, 400)
    settings = {"topk": 4, "select": select, "transport": "anchors", "blur": 0.2, "temperature": 0.5, "tol": 1e-6}
    loss = ot_distill_loss(student, teacher, **settings)
    torch.testing.assert_close(loss, expected, rtol=1e-4, atol=1e-7)
    (gradient,) = torch.autograd.grad(loss, student)
    (wanted,) = torch.autograd.grad(expected, student)
    assert (gradient - wanted).norm() <= 1e-3 * wanted.norm()


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradcheck_of_every_form(settings: dict[str, Any]) -> None:
    student, teacher = embeddings(6)
    smooth = {"blur": 0.5, "temperature": 0.5, "tol": 1e-9} | settings
    assert torch.autograd.gradcheck(lambda z: ot_distill_loss(z, teacher, **smooth), student)


@pytest.mark.parametrize("settings", SETTINGS)
def test_equal_structures_cost_nothing(settings: dict[str, Any]) -> None:
    _, teacher = embeddings()
    turned = (3 * teacher @ torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q).requires_grad_()
    loss = ot_distill_loss(turned, teacher, **settings)
    (gradient,) = torch.autograd.grad(loss, turned)
    assert abs(loss.item()) <= 1e-5
    assert gradient.abs().max() <= 1e-4


@pytest.mark.parametrize("settings", SETTINGS)
def test_permuting_the_batch_changes_nothing(settings: dict[str, Any]) -> None:
    student, teacher = embeddings()
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    exact = {"tol": 1e-6} | settings
    torch.testing.assert_close(
        ot_distill_loss(student[order], teacher[order], **exact),
        ot_distill_loss(student, teacher, **exact),
        rtol=1e-4,
        atol=1e-9,
    )


@pytest.mark.parametrize("settings", SETTINGS)
def test_leading_dimensions_are_averaged(settings: dict[str, Any]) -> None:
    student, teacher = embeddings(8, 2, 3)
    flat = zip(student.flatten(0, 1), teacher.flatten(0, 1), strict=True)
    alone = torch.stack([ot_distill_loss(s, t, **settings) for s, t in flat]).mean()
    torch.testing.assert_close(ot_distill_loss(student, teacher, **settings), alone, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("settings", SETTINGS)
def test_teacher_gets_no_gradient_and_the_student_does(settings: dict[str, Any]) -> None:
    student, teacher = embeddings()
    teacher.requires_grad_()
    ot_distill_loss(student, teacher, **settings).backward()
    assert teacher.grad is None
    assert student.grad is not None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("settings", SETTINGS)
def test_autocast_and_half_inputs_stay_within_a_hundredth(settings: dict[str, Any], dtype: torch.dtype) -> None:
    student, teacher = embeddings(16)
    halves = student.detach().to(dtype).requires_grad_(), teacher.to(dtype)
    expected = ot_distill_loss(halves[0].float(), halves[1].float(), **settings)
    with torch.autocast("cpu", dtype):
        loss = OTDistillLoss(**settings)(*halves)
        loss.backward()
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(expected.item(), rel=1e-2)
    assert halves[0].grad is not None
    assert halves[0].grad.isfinite().all()


def test_half_precision_of_the_inputs_themselves_costs_little() -> None:
    student, teacher = embeddings(32)
    expected = ot_distill_loss(student, teacher)
    for dtype in (torch.float16, torch.bfloat16):
        assert ot_distill_loss(student.to(dtype), teacher.to(dtype)).item() == pytest.approx(expected.item(), rel=1e-2)


def test_topk_is_a_number_or_a_share_and_at_most_all_others() -> None:
    student, teacher = embeddings(12)
    for same in ((3, 0.25), (100, 11), (1.0, 11), (1, 0.01)):
        first, second = (ot_distill_loss(student, teacher, topk=topk) for topk in same)
        assert first.equal(second), same


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("batch", [0, 1])
def test_fewer_than_two_samples_cost_nothing(batch: int, settings: dict[str, Any]) -> None:
    student = torch.ones(batch, 3, requires_grad=True)
    loss = OTDistillLoss(**settings)(student, torch.ones(batch, 5))
    loss.backward()
    assert loss.item() == 0
    assert student.grad is not None
    assert not student.grad.any()


def degenerate() -> dict[str, Tensor]:
    usual = torch.randn(8, 4, generator=torch.Generator().manual_seed(4))
    return {
        "zero": torch.zeros(8, 4),
        "constant": torch.ones(8, 4),
        "duplicates": usual[[0, 0, 1, 1, 2, 2, 2, 2]],
        "one zero row": usual * (torch.arange(8) != 3).unsqueeze(-1),
        "huge": 1e30 * usual,
        "tiny": 1e-30 * usual,
        "one dimension": usual[:, :1],
        "usual": usual,
    }


@pytest.mark.filterwarnings("ignore:Sinkhorn stopped")
@pytest.mark.parametrize("settings", [*SETTINGS, {"topk": 1, "select": "shared", "transport": "anchors"}])
@pytest.mark.parametrize("name", degenerate())
def test_degenerate_embeddings_stay_finite(name: str, settings: dict[str, Any]) -> None:
    for student, teacher in ((degenerate()[name], degenerate()["usual"]), (degenerate()["usual"], degenerate()[name])):
        student = student.clone().requires_grad_()
        loss = ot_distill_loss(student, teacher, **settings)
        loss.backward()
        assert loss.isfinite()
        assert student.grad is not None
        assert student.grad.isfinite().all()


@pytest.mark.parametrize(
    ("student", "teacher", "message"),
    [
        (torch.ones(3), torch.ones(3), r"student has shape \(3,\), teacher \(3,\); expected \(\*, B, d_student\)"),
        (torch.ones(4, 3), torch.ones(5, 3), r"student has shape \(4, 3\), teacher \(5, 3\)"),
        (torch.ones(4, 3), torch.ones(2, 4, 3), r"teacher \(2, 4, 3\)"),
        (torch.full((4, 3), torch.nan), torch.ones(4, 3), "student has NaN or infinity in 4 of 4 rows"),
        (torch.ones(4, 3), torch.eye(4, 3) / 0, "teacher has NaN or infinity in 4 of 4 rows"),
    ],
)
def test_bad_embeddings_say_what_was_expected(student: Tensor, teacher: Tensor, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        OTDistillLoss()(student, teacher)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"topk": 0}, "topk is 0; expected a whole number of at least 1, or a share"),
        ({"topk": 1.5}, "topk is 1.5"),
        ({"topk": 0.0}, "topk is 0.0"),
        ({"topk": True}, "topk is True"),
        ({"select": "random"}, "select is 'random'; expected nearest, farthest"),
        ({"transport": "columns"}, "transport is 'columns'; expected rows or anchors"),
        ({"divergence": "js"}, "divergence is 'js'; expected sinkhorn, mse or kl"),
        ({"shift": "mean"}, "shift is 'mean'; expected none or min"),
        ({"backend": "jax"}, "backend 'jax' is not one of auto, torch"),
        ({"blur": 0.0}, "blur is 0.0; expected a finite number above 0"),
        ({"temperature": -1.0}, "temperature is -1.0"),
        ({"tol": float("nan")}, "tol is nan"),
        ({"blur": "large"}, "blur is 'large'; expected a finite number"),
        ({"debias": "teacher"}, "debias is 'teacher'; expected true or false or student"),
    ],
)
def test_bad_settings_are_refused_when_the_loss_is_made(settings: dict[str, Any], message: str) -> None:
    for make in (OTDistillLoss, MultiTeacherOTLoss, OTSettings):
        with pytest.raises(ValueError, match=message):
            make(**settings)


@pytest.mark.parametrize("backend", ["native", "triton"])
def test_a_backend_that_cannot_solve_what_is_asked_for_is_refused(backend: str) -> None:
    with pytest.raises(ValueError, match=f"backend is '{backend}', which solves transport='rows' only"):
        OTDistillLoss(transport="anchors", backend=backend)
    for divergence in ("mse", "kl"):
        with pytest.raises(ValueError, match=f"divergence '{divergence}' solves no transport problem; expected auto"):
            OTDistillLoss(divergence=divergence, backend=backend)  # type: ignore[arg-type]
    assert OTDistillLoss(backend=backend).settings.backend == backend


def test_torch_solves_problems_over_anchors_and_nobody_those_that_do_not_exist() -> None:
    student, teacher = embeddings()
    over_anchors = {name: OTDistillLoss(transport="anchors", topk=4, backend=name) for name in ("auto", "torch")}
    assert over_anchors["torch"](student, teacher).equal(over_anchors["auto"](student, teacher))
    with pytest.raises(ValueError, match="backend is 'torch', but divergence 'kl'"):
        OTDistillLoss(divergence="kl", backend="torch")


def test_triton_on_a_cpu_is_refused_where_the_problem_is_solved() -> None:
    with pytest.raises(ValueError, match="backend is 'triton'"):
        OTDistillLoss(backend="triton")(*embeddings())


def test_settings_are_shown_where_they_differ_from_the_defaults() -> None:
    assert repr(OTDistillLoss()) == "OTDistillLoss()"
    assert repr(OTDistillLoss(topk=8, blur=0.2)) == "OTDistillLoss(topk=8, blur=0.2)"


def test_the_module_and_its_settings_have_the_same_parameters() -> None:
    parameters = dict(inspect.signature(OTDistillLoss).parameters)
    assert parameters.pop("gather").default is True
    assert {name: parameter.default for name, parameter in parameters.items()} == vars(OTSettings())
    for name, parameter in parameters.items():
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY, name
    other = {"topk": 3, "select": "nearest", "transport": "anchors", "divergence": "sinkhorn", "blur": 0.2}
    other |= {"temperature": 0.3, "shift": "min", "debias": False, "tol": 1e-4, "backend": "torch"}
    assert vars(OTDistillLoss(**other).settings) == other


def test_ablations_are_the_structure_losses() -> None:
    student, teacher = embeddings()
    assert ot_distill_loss(student, teacher, divergence="mse", topk=4, select="nearest").equal(
        structure_mse_loss(student, teacher, topk=4, select="nearest")
    )
    assert ot_distill_loss(student, teacher, divergence="kl", topk=4, select="shared", temperature=0.3).equal(
        structure_kl_loss(student, teacher, topk=4, select="shared", temperature=0.3)
    )


def test_compiled_training_step_equals_the_eager_one() -> None:
    student, teacher = embeddings(8)
    torch.manual_seed(0)
    images, head = student.detach().float(), torch.nn.Linear(4, 4)
    loss = OTDistillLoss(topk=3, tol=1e-6)

    def step(x: Tensor, target: Tensor) -> Tensor:
        embedding = head(x)
        total: Tensor = embedding.square().mean() + loss(embedding, target)
        return total

    expected = torch.autograd.grad(step(images, teacher.float()), head.weight)[0]
    total = torch.compile(step, fullgraph=False, backend="eager")(images, teacher.float())
    torch.testing.assert_close(torch.autograd.grad(total, head.weight)[0], expected)


def test_the_pure_function_compiles_into_one_graph() -> None:
    student, teacher = (z.detach().float() for z in embeddings(8))
    compiled = torch.compile(lambda s, t: ot_distill_loss(s, t, topk=3), fullgraph=True, backend="eager")
    torch.testing.assert_close(compiled(student, teacher), ot_distill_loss(student, teacher, topk=3))


def test_no_grad_gives_the_value_alone() -> None:
    student, teacher = embeddings()
    with torch.no_grad():
        loss = OTDistillLoss()(student, teacher)
        assert not torch.is_grad_enabled()
    assert not loss.requires_grad
    assert loss.equal(OTDistillLoss()(student, teacher).detach())


def test_training_on_the_loss_brings_the_structures_together() -> None:
    student, teacher = embeddings(16)
    z = student.detach().clone().requires_grad_()
    optimiser = torch.optim.Adam([z], lr=0.05)
    before = (cosine_structure(z) - cosine_structure(teacher)).square().mean().item()
    for _ in range(60):
        optimiser.zero_grad()
        ot_distill_loss(z, teacher, topk=15, select="shared").backward()
        optimiser.step()
    assert (cosine_structure(z) - cosine_structure(teacher)).square().mean().item() < 0.5 * before


@pytest.mark.filterwarnings("ignore:Sinkhorn stopped")
@given(
    batch=st.integers(2, 10),
    topk=st.one_of(st.integers(1, 12), st.floats(0.05, 1)),
    select=st.sampled_from(["nearest", "farthest", "stratified", "shared"]),
    transport=st.sampled_from(["rows", "anchors"]),
    shift=st.sampled_from(["none", "min"]),
    seed=st.integers(0, 10_000),
)
def test_any_setting_gives_a_finite_nonnegative_loss(
    batch: int, topk: int | float, select: Any, transport: Any, shift: Any, seed: int
) -> None:
    student, teacher = embeddings(batch, seed=seed)
    loss = ot_distill_loss(student, teacher, topk=topk, select=select, transport=transport, shift=shift)
    (gradient,) = torch.autograd.grad(loss, student)
    assert loss >= -1e-4
    assert gradient.isfinite().all()


@pytest.mark.parametrize("settings", [{}, {"select": "farthest", "shift": "min"}])
def test_without_the_teachers_self_term_the_gradient_is_the_same(settings: dict[str, str]) -> None:
    student, teacher = torch.randn(2, 24, 6, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    student.requires_grad_()
    values = [ot_distill_loss(student, teacher, tol=1e-8, debias=debias, **settings) for debias in (True, "student")]  # type: ignore[arg-type]
    gradients = [torch.autograd.grad(value, student)[0] for value in values]
    torch.testing.assert_close(gradients[1], gradients[0])
    assert values[1] != values[0]
    with pytest.raises(ValueError, match="debias is 'both'"):
        ot_distill_loss(student, teacher, debias="both")  # type: ignore[arg-type]
