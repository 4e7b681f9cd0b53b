"""The frozen teacher of a student: in eval mode, without gradients. Its answers can be kept."""

from pathlib import Path

import torch

from pkdot.data.batch import Batch
from pkdot.data.loader import Loader
from pkdot.model import Output
from pkdot.tasks import Task
from pkdot.teachers import TEACHERS
from pkdot.training.alignment import TeacherPool, align
from pkdot.training.evaluation import Predictions
from pkdot.training.network import Network
from pkdot.training.run_folder import RunFolder
from pkdot.training.trained import load_trained


class FrozenTeacher:
    """A teacher that answers for batches and does not learn.

    After :meth:`remember` it looks its answers up by sample id; without it, each batch takes a forward pass.

    Args:
        network: the teacher; its model is frozen.
        width: the width of its embedding.
    """

    def __init__(self, network: Network, width: int) -> None:
        network.model.eval().requires_grad_(False)
        self.width = width
        self._network = network
        self._rows: dict[str, int] = {}
        self._known: Predictions | None = None

    @classmethod
    def load(cls, path: Path, device: torch.device) -> "FrozenTeacher":
        """The teacher of a run folder. Raises ``ValueError`` as :func:`~pkdot.training.trained.load_trained` does."""
        trained = load_trained(RunFolder(path), TEACHERS, "teacher")
        return cls(trained.network(device), trained.width)

    def predict(self, loader: Loader) -> Predictions:
        """The teacher's answers for all samples of a loader."""
        return self._network.predict(loader)

    def remember(self, loader: Loader) -> Predictions:
        """Compute the answers for all samples of a loader once and keep them.

        Use it only where a sample is the same in every epoch: without augmentation.
        """
        self._known = self.predict(loader)
        self._rows = {name: row for row, name in enumerate(self._known.ids)}
        return self._known

    def aligned(self, clean: Loader, validation: Loader, task: Task, *, epochs: int, seed: int) -> TeacherPool:
        """Train one aligned teacher for each modality of this teacher (:mod:`pkdot.training.alignment`).

        Args:
            clean: the training split without augmentation.
            validation: the split that selects the best epoch.
            task: what the teachers predict.
            epochs: the number of epochs of the alignment.
            seed: decides its initial weights and the order of the samples.
        """
        known = self._known or self.predict(clean)
        device = self._network.device
        return align(known, self.predict(validation), task, epochs=epochs, seed=seed, device=device)

    @torch.no_grad()
    def __call__(self, batch: Batch) -> Output:
        """The teacher's output for a batch."""
        if self._known is None:
            self._network.model.eval()
            return self._network.run(batch)
        return self._known.output([self._rows[name] for name in batch.ids], self._network.device)
