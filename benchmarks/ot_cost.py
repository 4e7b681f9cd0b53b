"""What the OT term adds to a student's training step: R3D-18, batch 128, clips of 10 frames of 112 x 112.

    python -m benchmarks.ot_cost --write benchmarks/results/ot_cost.md

The step (forward and backward of the encoder, without the optimiser) is measured on a few clips and scaled to 128,
because 128 clips take minutes and several GB on a small machine. R3D-18's work is proportional to the number of clips.
A larger batch may be somewhat more efficient per clip; the table gives two sizes to show how much. The OT term is
measured at its full size, embeddings 128 x 512, forward and backward. Times are CPU seconds of one thread, so that
other work on the machine has little influence.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import torch

from pkdot.data.batch import Modality
from pkdot.encoders import build_encoder
from pkdot.losses import LOSSES, OTDistillLoss

BATCH, WIDTH = 128, 512


def encoder_step(clips: int) -> Callable[[], None]:
    encoder = build_encoder("r3d-18", Modality("video", (3, 10, 112, 112)), WIDTH).train()
    video = torch.rand(clips, 3, 10, 112, 112)

    def step() -> None:
        encoder.zero_grad()
        encoder(video).square().mean().backward()

    return step


def loss_step(loss: torch.nn.Module, agreement: float) -> Callable[[], None]:
    """Embeddings of two classes; ``agreement`` says how much the student's agree with the teacher's."""
    generator = torch.Generator().manual_seed(0)
    classes = torch.arange(BATCH) % 2
    centres = torch.randn(2, WIDTH, generator=generator)
    teacher = centres[classes] + torch.randn(BATCH, WIDTH, generator=generator)
    own = torch.randn(BATCH, WIDTH, generator=generator)
    student = (agreement * teacher + (1 - agreement) * own).requires_grad_()

    def step() -> None:
        student.grad = None
        loss(student, teacher).backward()

    return step


def medians(steps: dict[str, Callable[[], None]], rounds: int) -> dict[str, float]:
    """Median CPU seconds of each step: one step of each in turn, after a round that does not count."""
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(rounds + 1):
        for name, step in steps.items():
            start = time.process_time()
            step()
            seconds[name].append(time.process_time() - start)
    return {name: statistics.median(values[1:]) for name, values in seconds.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)

    losses: dict[str, torch.nn.Module] = {
        "ot, default (rows, stratified, k = 16)": OTDistillLoss(),
        "ot, rows, stratified, k = 30": OTDistillLoss(topk=30),
        "ot, released (rows, 30 farthest, shift)": OTDistillLoss.released(),
        "ot, anchors, shared, k = 16": OTDistillLoss(topk=16, select="shared", transport="anchors"),
        "ot, anchors, shared, k = 30": OTDistillLoss(topk=30, select="shared", transport="anchors"),
        "structure-kl": LOSSES["structure-kl"](),
        "structure-mse": LOSSES["structure-mse"](),
    }
    clips = (2, 4)
    steps = {f"{n} clips": encoder_step(n) for n in clips}
    for name, loss in losses.items():
        steps |= {f"{name}|{agreement}": loss_step(loss, agreement) for agreement in (0.1, 0.5)}
    seconds = medians(steps, arguments.rounds)
    whole = {n: seconds[f"{n} clips"] * BATCH / n for n in clips}

    lines = [
        "# What the OT term adds to a step of R3D-18 at batch 128",
        "",
        f"`python -m benchmarks.ot_cost --rounds {arguments.rounds}`; torch {torch.__version__}, "
        f"Python {platform.python_version()}, {platform.machine()}, {os.cpu_count()} cores shared with other work "
        f"(load {os.getloadavg()[0]:.1f}). CPU seconds of one thread, medians, interleaved.",
        "",
        "Encoder, forward and backward, 10 frames of 112 x 112, scaled in proportion to 128 clips (128 were not run):",
        "",
        "| measured | s | s per 128 clips |",
        "|---|---|---|",
        *(f"| {n} clips | {seconds[f'{n} clips']:.2f} | {whole[n]:.1f} |" for n in clips),
        "",
        "Losses, forward and backward, embeddings 128 x 512; share of the shorter step above. A student early in "
        "training agrees with its teacher by 0.1, later by 0.5:",
        "",
        "| loss | ms, early | ms, later | share of the step, worse of both |",
        "|---|---|---|---|",
    ]
    for name in losses:
        early, later = seconds[f"{name}|0.1"], seconds[f"{name}|0.5"]
        share = max(early, later) / min(whole.values())
        lines.append(f"| {name} | {1000 * early:.1f} | {1000 * later:.1f} | {share:.3%} |")
    table = "\n".join(lines) + "\n"
    print(table)
    if arguments.write:
        arguments.write.parent.mkdir(parents=True, exist_ok=True)
        arguments.write.write_text(table, encoding="utf-8")


if __name__ == "__main__":
    main()
