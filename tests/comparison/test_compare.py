import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pkdot.cli import compare as command
from pkdot.comparison.compare import compare
from pkdot.comparison.config import CompareConfig
from pkdot.comparison.dry_run import dry_run
from pkdot.comparison.grid import run_config
from pkdot.comparison.grid_source import grid_of, read_grid
from pkdot.comparison.machine import jobs_at_a_time, shard
from pkdot.comparison.plan import Plan
from pkdot.comparison.results import scores
from pkdot.comparison.run import Run, aliases, slug
from pkdot.comparison.tuning import choose_factors, compared_runs
from tests.support import write_vectors

CONTROLS = {"none", "all labels", "self-training", "kd from prevalent teacher"}


@pytest.fixture(scope="module")
def vectors(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_vectors(tmp_path_factory.mktemp("data") / "toy")


def config_of(vectors: Path, out: Path, **settings: object) -> CompareConfig:
    return CompareConfig(
        data=(str(vectors),),
        methods=("ot", "kd"),
        epochs=1,
        batch_size=16,
        seeds=2,
        tune_seeds=1,
        tune=(0.5, 8.0),
        out=out,
        jobs=2,
        **settings,  # type: ignore[arg-type]
    )


@pytest.fixture(scope="module")
def finished(vectors: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[CompareConfig, Path]:
    config = config_of(vectors, tmp_path_factory.mktemp("comparison"), labels=(0.4,))
    return config, compare(config, "pkdot-compare --methods ot kd")


def runs_of(config: CompareConfig) -> list[Run]:
    plan = Plan(grid_of(config), config)
    return compared_runs(plan)


def plan_of(folder: Path, grid: str, **settings: object) -> Plan:
    """The plan of a grid file with this text."""
    path = folder / "grid.toml"
    path.write_text(grid)
    config = CompareConfig(grid=path, out=folder / "out", **settings)  # type: ignore[arg-type]
    return Plan(grid_of(config), config)


def results(out: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in out.rglob("result.json")}


def test_a_comparison_ends_with_a_report_of_methods_and_controls(finished: tuple[CompareConfig, Path]) -> None:
    config, report = finished
    text = report.read_text()
    assert "pkdot-compare --methods ot kd" in text
    for name in ("ot", "kd", "teacher", *CONTROLS):
        assert f"| {name} |" in text
    assert {path.suffix for path in config.out.glob("report.*")} >= {".md", ".html"}
    runs = runs_of(config)
    found = scores(runs)
    assert len(found) == 2 * (1 + 6)
    assert {score.regime for score in found} == {"40 % labels"}
    assert all(0 <= score.value <= 1 and score.train_samples > score.test_samples for score in found)


def test_finished_runs_are_not_repeated(finished: tuple[CompareConfig, Path]) -> None:
    config, _ = finished
    before = results(config.out)
    compare(config, "again")
    assert results(config.out) == before


def test_only_the_missing_run_is_trained(finished: tuple[CompareConfig, Path]) -> None:
    config, _ = finished
    before = results(config.out)
    lost = sorted(path for path in before if "/test/" in str(path) and path.parent.parent.name == "ot")[0]
    was = json.loads(lost.read_text())
    lost.unlink()
    compare(config, "again")
    after = results(config.out)
    assert {path for path in after if after[path] != before[path]} == {lost}
    assert json.loads(lost.read_text())["metrics"] == was["metrics"]


def test_weights_are_chosen_on_validation_and_then_frozen(finished: tuple[CompareConfig, Path]) -> None:
    config, report = finished
    (path,) = config.out.rglob("weights.json")
    weights = json.loads(path.read_text())
    (told,) = [line for line in report.read_text().splitlines() if "toy, 40 % labels: " in line]
    assert all(f"{name} x{choice['factor']:g}" in told for name, choice in weights.items())
    assert set(weights) == {"ot", "kd", "self-training", "kd from prevalent teacher"}
    for name, choice in weights.items():
        means = {float(factor): mean for factor, mean in choice["validation"].items()}
        assert means.keys() == set(config.tune)
        assert choice["factor"] == min(means, key=lambda factor: (-means[factor], factor)), name
    frozen = {**weights, "ot": {**weights["ot"], "factor": 3.0}}
    path.write_text(json.dumps(frozen))
    plan = Plan(grid_of(config), config)
    assert choose_factors(plan.block("toy", "40 % labels"))["ot"] == 3.0
    path.write_text(json.dumps(weights))


def test_students_weights_are_deleted_and_teachers_kept(finished: tuple[CompareConfig, Path]) -> None:
    config, _ = finished
    kept = {path.parent.parent.name for path in config.out.rglob("best.safetensors")}
    assert kept == {"teacher-privileged", "teacher-prevalent", "teacher-self"}
    assert not list(config.out.rglob("last.pt"))


def test_a_killed_comparison_is_resumed_without_repeating_runs(vectors: Path, tmp_path: Path) -> None:
    words = ["--data", str(vectors), "--methods", "ot", "--epochs", "2", "--batch-size", "16", "--seeds", "3"]
    words += ["--tune-seeds", "0", "--jobs", "1", "--out", str(tmp_path / "out")]
    code = "import sys; from pkdot.cli.compare import main; sys.exit(main())"
    process = subprocess.Popen([sys.executable, "-c", code, *words], start_new_session=True, cwd=tmp_path)
    deadline = time.monotonic() + 120
    while len(results(tmp_path)) < 4 and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = results(tmp_path)
    assert len(before) >= 4
    assert command.main(words) == 0
    after = results(tmp_path)
    assert {path: after[path] for path in before} == before
    assert len(after) == 3 * 3 + 3 * 4


def test_shards_divide_the_runs_and_keep_students_with_their_teachers(vectors: Path, tmp_path: Path) -> None:
    config = config_of(vectors, tmp_path)
    runs = runs_of(config)
    parts = [shard(runs, replace(config, shard=f"{i}/2")) for i in (1, 2)]
    assert sorted(run.folder for part in parts for run in part) == sorted(run.folder for run in runs)
    assert not {run.cell for run in parts[0]} & {run.cell for run in parts[1]}


def test_jobs_fill_the_cores_unless_a_number_or_cuda_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(6)), raising=False)
    assert jobs_at_a_time(CompareConfig(jobs=3)) == 3
    assert jobs_at_a_time(CompareConfig(device="cpu")) == 6
    assert jobs_at_a_time(CompareConfig(device="cpu", threads=4)) == 1
    assert jobs_at_a_time(CompareConfig(device="cpu", threads=16)) == 1
    assert jobs_at_a_time(CompareConfig(device="cuda:1")) == 1


def test_leaving_one_subject_out_makes_a_fold_for_each_subject(vectors: Path, tmp_path: Path) -> None:
    config = config_of(vectors, tmp_path, folds="loso")
    runs = runs_of(config)
    assert len({run.cell.fold for run in runs}) == 12
    assert len(runs) == 12 * 2 * (3 + 5)
    told = dry_run(config)
    assert f"test: toy / all labels: {len(runs)} runs, 0 of them done" in told.splitlines()
    assert not list(tmp_path.iterdir())


def test_each_seed_has_its_own_split_for_all_entries(vectors: Path, tmp_path: Path) -> None:
    config = config_of(vectors, tmp_path)
    runs = runs_of(config)
    assert {(run.cell.seed, run.config.data.split_seed, run.config.run.seed) for run in runs} == {(0, 0, 0), (1, 1, 1)}


def test_each_fold_has_its_own_seed_for_all_entries(vectors: Path, tmp_path: Path) -> None:
    config = replace(config_of(vectors, tmp_path), folds=3)
    found: dict[tuple[int, int], set[tuple[int | None, int, int]]] = {}
    for run in runs_of(config):
        data = run.config.data
        found.setdefault((data.fold, run.cell.seed), set()).add((data.label_seed, data.split_seed, run.config.run.seed))
    assert all(len(seeds) == 1 for seeds in found.values())
    assert {seeds.pop() for seeds in found.values()} == {(seed, 0, seed) for seed in range(6)}


@pytest.mark.parametrize(("teacher", "folders"), [("concat", 1), ("cross-attention", 2)])
def test_equal_runs_are_trained_once(vectors: Path, tmp_path: Path, teacher: str, folders: int) -> None:
    grid = f'sets.toy = {{ data.source = "{vectors}", model.teacher = "{teacher}" }}\nentries.ot = {{}}\n'
    plan = plan_of(tmp_path, grid, seeds=1, tune_seeds=0)
    runs = plan.block("toy", "all labels").testing({})
    for names in ({"self-training", "kd from prevalent teacher"}, {"self teacher", "prevalent teacher"}):
        same = [run for run in runs if run.entry in names]
        assert len(same) == 2
        assert len({run.folder for run in same}) == folders
    assert {run.teacher for run in runs} - {None} <= {run.folder.resolve() for run in runs if run.is_teacher}
    assert len(shard(runs, plan.config)) == len({run.folder for run in runs}) == len(runs) - 2 * (2 - folders)
    assert aliases(runs) == ({("self-training", "kd from prevalent teacher"): ["toy"]} if folders == 1 else {})


def test_methods_that_do_not_fit_the_task_are_left_out_with_a_reason(tmp_path: Path) -> None:
    data = write_vectors(tmp_path / "value", task="regression")
    config = replace(config_of(data, tmp_path / "out"), methods=("kd", "ccc"))
    plan = Plan(grid_of(config), config)
    assert plan.block("value", "all labels").entries == ["none", "self-training", "kd from prevalent teacher", "ccc"]
    assert "compares class logits" in plan.left_out["value", "kd"]
    methods = {run.entry: run.config.distill.method for run in runs_of(config) if not run.is_teacher}  # type: ignore[union-attr]
    assert methods["self-training"] == "mse"


def test_a_failed_run_is_reported_and_the_others_are_trained(
    vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    grid = tmp_path / "grid.toml"
    grid.write_text(
        f"""
        [sets.toy]
        data = {{ source = "{vectors}" }}
        optim = {{ epochs = 1, batch_size = 16 }}
        [entries.ot]
        distill = {{ method = "ot" }}
        [entries.wild]
        distill = {{ method = "mse", weight = 1e8 }}
        optim = {{ lr = 900.0, clip = 1e9 }}
        """
    )
    code = command.main(["--grid", str(grid), "--seeds", "1", "--tune-seeds", "0", "--out", str(tmp_path / "out")])
    told = capsys.readouterr().err
    assert code == 1
    assert "1 runs failed" in told
    assert "diverged" in told
    assert len(results(tmp_path)) == 3 + 4


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[sets.a", "not valid TOML"),
        ("[set.a]\n", "Did you mean 'sets'"),
        ("[sets.a]\n", "expected at least one table \\[entries.NAME\\]"),
        ("[sets.a.dta]\nx = 1\n[entries.ot]\n", "Did you mean 'data'"),
        ("[sets.a.data]\nsorce = 'x'\n[entries.ot]\n", "Did you mean 'source'"),
        ("[sets.a]\n[entries.ot]\nteacher = 'other'\n", "entries.ot.teacher"),
        ("[sets.a]\n[entries.ot]\n[regimes.few.sets.b]\n", "'b' is not one of a"),
        ("[sets]\na = 3\n[entries.ot]\n", "expected a table"),
        ("[sets.a]\nseeds = 0\n[entries.ot]\n", "sets.a.seeds: expected a number, 1 or more, got 0"),
        ("[sets.a]\nseeds = true\n[entries.ot]\n", "sets.a.seeds: expected a number, 1 or more, got True"),
        ("[sets.a]\n[entries.ot]\n[regimes.few]\ndata.folds = 5\n", "regimes.few.data: folds decides who is tested"),
        ("[sets.a]\n[entries.ot]\n[regimes.few.sets.a]\ndata.source = 'b'\n", "source decides who is tested"),
        ("[sets.a]\n[entries.ot]\n[regimes.few.teacher]\ndata.val = 0.2\n", "regimes.few.teacher.data: val decides"),
        ("[sets.a]\n[entries.ot]\ndata.protocol = 'released'\n", "entries.ot.data: protocol decides"),
        ("[sets.a]\n[entries.ot]\n[regimes.few]\nonly-entries = ['kd']\n", "only-entries: 'kd' is not one of"),
        ("[sets.a]\n[entries.ot]\n[regimes.few]\nonly-sets = 'a'\n", "expected a list of names"),
        ("[sets.a]\n[entries.ot]\n[regimes.few]\nonly-sets = [3]\n", "expected a list of names"),
    ],
)
def test_a_grid_file_that_cannot_be_read_is_named(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        read_grid(path)


def test_settings_of_regime_and_entry_win_over_those_of_the_set(tmp_path: Path) -> None:
    path = tmp_path / "grid.toml"
    path.write_text(
        """
        [sets.a]
        data = { source = "x", labels = 0.5 }
        optim = { epochs = 3 }
        [regimes.few]
        data = { labels = 0.2 }
        sets.a.data = { labels = 0.1 }
        teacher.data = { labels = 1.0 }
        [entries.released]
        distill = { method = "ot", topk = 30, settings = ["shift=min"], weight = 0.6 }
        """
    )
    grid = read_grid(path)
    entry = grid.entries["released"]
    config = run_config(grid.sets["a"], *grid.regimes["few"].on("a"), entry.settings)
    assert (config.data.labels, config.optim.epochs, config.distill.topk) == (0.1, 3, 30)
    assert config.distill.settings == ("shift=min",)
    assert not entry.tuned
    assert grid.regimes["few"].teacher == {"data": {"labels": 1.0}}


def test_a_regime_may_be_for_some_sets_and_entries_only(vectors: Path, tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        f"""
        [sets.a.data]
        source = "{vectors}"
        [sets.b.data]
        source = "{vectors}"
        [regimes.all]
        [regimes.noise]
        data = {{ label_noise = 0.4 }}
        only-sets = ["b"]
        only-entries = ["ot"]
        [entries]
        ot.distill.method = "ot"
        kd.distill.method = "kd"
        sp = {{ only-sets = ["b"], distill.method = "sp" }}
        """,
        seeds=1,
    )
    assert [(block.data, block.regime) for block in plan.blocks] == [("a", "all"), ("b", "all"), ("b", "noise")]
    assert set(plan.block("a", "all").entries) == CONTROLS - {"all labels"} | {"ot", "kd"}
    assert set(plan.block("b", "all").entries) == CONTROLS - {"all labels"} | {"ot", "kd", "sp"}
    assert set(plan.block("b", "noise").entries) == CONTROLS | {"ot"}


def test_a_set_may_have_its_own_number_of_seeds(vectors: Path, tmp_path: Path) -> None:
    plan = plan_of(
        tmp_path,
        f"""
        [sets.a.data]
        source = "{vectors}"
        [sets.b]
        seeds = 3
        data.source = "{vectors}"
        [entries.ot]
        """,
        seeds=2,
        first_seed=5,
    )
    seeds = {name: {run.cell.seed for run in plan.block(name, "all labels").testing({})} for name in ("a", "b")}
    assert seeds == {"a": {5, 6}, "b": {5, 6, 7}}


def test_names_become_folders() -> None:
    assert slug("KL, ot's columns") == "kl-ot-s-columns"
    assert slug("ot+0.5*kd") == "ot-0.5-kd"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--shard", "3/2"], "expected i/N"),
        (["--methods", "ott"], "Did you mean 'ot'"),
        (["--methods", "ot", "ot"], "named twice"),
        (["--tune"], "tune"),
        (["--labels", "0"], "labels 0.0 is outside"),
        (["--seeds", "0"], "seeds 0 is outside"),
        (["--sede", "1"], "sede"),
        (["--cluster-options", "x"], "expected name=value"),
        (["--grid", "nowhere.toml"], "nowhere.toml: cannot be read"),
        (["--stage", "test"], "--stage tune first"),
        (["--stage", "report"], "no run to report"),
    ],
)
def test_bad_flags_end_with_one_line(
    words: list[str], message: str, vectors: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main(["--data", str(vectors), "--out", str(tmp_path / "out"), *words]) == 2
    told = capsys.readouterr().err.strip().splitlines()
    assert message in told[-1]
    assert not (tmp_path / "out").exists()


def test_the_stages_run_as_an_array_of_jobs(vectors: Path, tmp_path: Path) -> None:
    pytest.importorskip("submitit")
    config = replace(config_of(vectors, tmp_path), methods=("ot",), seeds=1, cluster="local", array=1, tune=(1.0,))
    report = compare(config, "pkdot-compare --cluster local")
    assert "| ot |" in report.read_text()
