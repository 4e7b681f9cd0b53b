"""The problems: pairs of clouds such as the distillation loss meets, made from synthetic embeddings."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

BLUR = 0.1
EPS = BLUR**2
CLASSES, WIDTH = 5, 512
EASY, HARD = 0.6, 0.3
SHAPES = (
    (1, 32, 8),
    (1, 128, 8),
    (1, 128, 30),
    (1, 512, 30),
    (1, 2048, 30),
    (1, 4096, 30),
    (8, 128, 30),
    (64, 128, 30),
)


@dataclass(frozen=True)
class Case:
    """A batch of problems of one size.

    Attributes:
        problems: N, solved in one call.
        points: B, in each of the two clouds.
        dimension: k, coordinates of a point: anchors of a sample.
        mix: how strongly the student's embeddings show the classes; less is earlier in training, and harder.
    """

    problems: int
    points: int
    dimension: int
    mix: float = EASY

    @property
    def name(self) -> str:
        """As it stands in the tables and is given on the command line."""
        return f"{self.problems},{self.points},{self.dimension}"

    @property
    def elements(self) -> int:
        """Entries of one cost matrix, over all problems."""
        return self.problems * self.points**2


def parse_cases(words: list[str], mixes: list[float]) -> list[Case]:
    """``["1,128,30"]`` to cases, each at every mix.

    Raises:
        ValueError: a word is not three whole numbers above 0.
    """
    cases = []
    for word in words:
        try:
            problems, points, dimension = (int(part) for part in word.split(","))
        except ValueError:
            raise ValueError(f"case is {word!r}; expected N,B,k, such as 1,128,30.") from None
        if min(problems, points, dimension) < 1:
            raise ValueError(f"case is {word!r}; expected numbers above 0.")
        cases.append(Case(problems, points, dimension))
    return [replace(case, mix=mix) for case in cases for mix in mixes]


def embeddings(case: Case, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``(N, B, 512)`` of a student and of a teacher, who share classes but not their centroids."""
    generator = torch.Generator().manual_seed(seed)
    classes = torch.randint(CLASSES, (case.problems, case.points), generator=generator)
    centroids = torch.randn(2, CLASSES, WIDTH, generator=generator)
    noise = torch.randn(2, case.problems, case.points, WIDTH, generator=generator)
    return case.mix * centroids[0, classes] + noise[0], centroids[1, classes] + noise[1]


def clouds(case: Case, seed: int = 0) -> tuple[Tensor, Tensor]:
    """``(N, B, k)`` of a student and of a teacher: a sample's similarities to those most similar to it in the teacher.

    The same columns are taken of both, in index order, the sample's own among them.
    """
    student, teacher = (normalize(z, dim=-1) @ normalize(z, dim=-1).mT for z in embeddings(case, seed))
    columns = teacher.topk(min(case.dimension, case.points)).indices.sort(-1).values
    return student.gather(-1, columns), teacher.gather(-1, columns)
