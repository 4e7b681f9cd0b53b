r"""MT-PKDOT's first stage: a teacher for each modality, aligned with the joint one.

A trained teacher has a stream for each modality. An adapter maps the stream into the joint embedding's space and a head
reads the task from it; both are trained on

.. math:: \tfrac12 \sum_m \big(1 - \cos(A_m(z_m), z)\big) + \tfrac12 \sum_m \tfrac1M \mathrm{task}(H_m(A_m(z_m)), y)

(Aslam et al., arXiv 2408.09035). There the joint teacher is trained along; here it stays as it is, so that all methods
learn from the same one, and its answers are computed once.
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
    """One aligned teacher for each modality, and the joint teacher as the last.

    Args:
        modalities: names of the teacher's streams.
        width: of its streams and of its embedding.
        task: what its heads answer.
    """

    def __init__(self, modalities: tuple[str, ...], width: int, task: Task) -> None:
        super().__init__()
        hidden = max(1, width // 2)
        # Two linear maps without a nonlinearity between, as published: a projection of half the rank.
        # Lists, for a modality may have a name that no module can have: "keys", "a.b".
        self.adapters = nn.ModuleList(
            nn.Sequential(nn.Linear(width, hidden), nn.Linear(hidden, width)) for _ in modalities
        )
        self.heads = nn.ModuleList(nn.Linear(width, task.head_size) for _ in modalities)
        self._modalities = modalities
        self._task = task

    def adapted(self, streams: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor]]:
        """Of each modality the aligned embedding ``(B, d)`` and the prediction ``(B, C)``."""
        found = {}
        for name, adapter, head in zip(self._modalities, self.adapters, self.heads, strict=True):
            embedding = adapter(streams[name].float())
            found[name] = embedding, head(embedding)
        return found

    def loss(self, known: Output, target: Tensor, labelled: Tensor) -> Tensor:
        """What the alignment minimises."""
        adapted = self.adapted(known.streams)
        aligned = torch.stack([cosine_loss(embedding, known.embedding) for embedding, _ in adapted.values()])
        answered = torch.stack([self._task.task_loss(answer, target, labelled) for _, answer in adapted.values()])
        return aligned.sum() / 2 + answered.mean() / 2

    @torch.no_grad()
    def embeddings(self, known: Output) -> Tensor:
        """``(K, B, d)``: the modalities' aligned embeddings in their order, then the joint one."""
        aligned = [embedding for embedding, _ in self.adapted(known.streams).values()]
        return torch.stack([*aligned, known.embedding.float()])

    @torch.no_grad()
    def errors(self, known: Output, target: Tensor, labelled: Tensor) -> Tensor:
        """``(K, B)`` task losses sample by sample, 0 where there is no label."""
        answers = [answer for _, answer in self.adapted(known.streams).values()] + [known.prediction.float()]
        errors = torch.zeros(len(answers), len(target), device=target.device)
        for teacher, answer in enumerate(answers):
            errors[teacher, labelled] = self._task.sample_losses(answer[labelled], target[labelled])
        return errors


def align(
    train: Predictions, validation: Predictions, task: Task, *, epochs: int, seed: int, device: torch.device
) -> TeacherPool:
    """Train adapters and heads on a teacher's answers, and keep those that serve the validation split best.

    Raises:
        ValueError: the teacher has no streams to choose from, or one that is not as wide as its embedding.
    """
    width = train.embedding.shape[1]
    wrong = [name for name, stream in train.streams.items() if stream.shape != train.embedding.shape]
    if not train.streams or wrong:
        raise ValueError(
            f"mt-ot needs a teacher with one stream a modality, as wide as its embedding; got {sorted(train.streams)}."
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
