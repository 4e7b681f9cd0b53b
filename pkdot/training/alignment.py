r"""The first stage of MT-PKDOT: one teacher per modality, aligned with the joint teacher.

A trained teacher has one stream per modality. For each stream, an adapter maps it into the space of the joint
embedding, and a head predicts the task from the result. Both are trained on

.. math:: \tfrac12 \sum_m \big(1 - \cos(A_m(z_m), z)\big) + \tfrac12 \sum_m \tfrac1M \mathrm{task}(H_m(A_m(z_m)), y)

with the adapters :math:`A_m`, the heads :math:`H_m`, the streams :math:`z_m` and the joint embedding z (Aslam et al.,
arXiv 2408.09035). In the paper the joint teacher is trained too. Here it does not change: all methods learn from the
same teacher, and its outputs are computed once.
"""

import copy
import logging

import torch
from torch import Tensor, nn

from pkdot.losses.embedding import cosine_loss
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.training.evaluation import Predictions

log = logging.getLogger(__name__)

LEARNING_RATE = 5e-3
BATCH = 128


class TeacherPool(nn.Module):
    """One aligned teacher per modality; the joint teacher is the last.

    Args:
        modalities: names of the teacher's streams.
        width: width of its streams and of its embedding.
        task: what the heads predict.
    """

    def __init__(self, modalities: tuple[str, ...], width: int, task: Task) -> None:
        super().__init__()
        hidden = max(1, width // 2)
        # As published, two linear maps without a nonlinearity between: a projection of half the rank.
        # Lists instead of dicts: "keys" and "a.b" are names of modalities, but not of modules.
        self.adapters = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, width)) for _ in modalities
        )
        self.heads = nn.ModuleList(nn.Linear(width, task.head_size) for _ in modalities)
        self._modalities = modalities
        self._task = task

    def adapted(self, streams: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Compute the aligned embedding ``(B, d)`` and the prediction ``(B, C)`` of each modality."""
        found = {}
        for name, adapter, head in zip(self._modalities, self.adapters, self.heads, strict=True):
            embedding = adapter(streams[name].float())
            found[name] = embedding, head(embedding)
        return found

    def loss(self, known: Output, target: Tensor, labelled: Tensor) -> Tensor:
        """Compute the loss that the alignment minimises."""
        adapted = self.adapted(known.streams)
        aligned = torch.stack([cosine_loss(embedding, known.embedding) for embedding, _ in adapted.values()])
        answered = torch.stack([self._task.task_loss(answer, target, labelled) for _, answer in adapted.values()])
        return aligned.sum() / 2 + answered.mean() / 2

    @torch.no_grad()
    def embeddings(self, known: Output) -> Tensor:
        """Return ``(K, B, d)``: the aligned embeddings of the modalities, then the joint embedding."""
        aligned = [embedding for embedding, _ in self.adapted(known.streams).values()]
        return torch.stack([*aligned, known.embedding.float()])

    @torch.no_grad()
    def errors(self, known: Output, target: Tensor, labelled: Tensor) -> Tensor:
        """Return the task losses ``(K, B)`` of single samples, 0 for unlabelled ones."""
        answers = [answer for _, answer in self.adapted(known.streams).values()] + [known.prediction.float()]
        errors = torch.zeros(len(answers), len(target), device=target.device)
        for teacher, answer in enumerate(answers):
            errors[teacher, labelled] = self._task.sample_losses(answer[labelled], target[labelled])
        return errors


def align(
    train: Predictions, validation: Predictions, task: Task, *, epochs: int, seed: int, device: torch.device
) -> TeacherPool:
    """Train adapters and heads on the outputs of a teacher, and keep those with the smallest validation loss.

    Raises:
        ValueError: the teacher has no streams, or a stream is not as wide as its embedding.
    """
    width = train.embedding.shape[1]
    wrong = [name for name, stream in train.streams.items() if stream.shape != train.embedding.shape]
    if not train.streams or wrong:
        raise ValueError(
            "mt-ot needs a teacher with one stream per modality, as wide as its embedding; got "
            f"{sorted(train.streams)}."
        )
    torch.manual_seed(seed)
    pool = TeacherPool(tuple(train.streams), width, task).to(device)
    optimizer = torch.optim.Adam(pool.parameters(), lr=LEARNING_RATE)
    order = torch.Generator().manual_seed(seed)
    least, best = float("inf"), copy.deepcopy(pool.state_dict())
    for _ in range(epochs):
        for rows in torch.randperm(len(train.ids), generator=order).split(BATCH):  # type: ignore[no-untyped-call]
            optimizer.zero_grad()
            pool.loss(*_part(train, rows, device)).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        with torch.no_grad():
            loss = float(pool.loss(*_part(validation, torch.arange(len(validation.ids)), device)))
        if loss < least:
            least, best = loss, copy.deepcopy(pool.state_dict())
    pool.load_state_dict(best)
    log.info("aligned the teachers of %s with the joint one (validation loss %.4f)", ", ".join(train.streams), least)
    return pool.requires_grad_(False)


def _part(known: Predictions, rows: Tensor, device: torch.device) -> tuple[Output, Tensor, Tensor]:
    streams = {name: stream[rows].to(device) for name, stream in known.streams.items()}
    output = Output(known.embedding[rows].to(device), known.prediction[rows].to(device), streams)
    return output, known.target[rows].to(device), known.labelled[rows].to(device)
