"""A stage is skipped when it is done, goes on when it was cut off, and gives the same bytes wherever it runs."""

from __future__ import annotations

import dataclasses
import fcntl
import os
import stat
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from hala_release.bundle import Bundle
from hala_release.errors import ConfigError, ContractError, Unfinished
from pipeline import executor, rows, storage
from pipeline.__main__ import STAGES
from pipeline.row_stage import placed
from pipeline.stage import digest, load, run_stage
from tests.stages.toys import MAKE, ROWS, SHARDS, SHOUT, ShoutConfig, ToyConfig

ROOT = Path(__file__).parents[2]


@pytest.fixture
def made(tmp_path: Path) -> Bundle:
    return run_stage(MAKE, ToyConfig(executor=executor.Local(workers=1)), {}, tmp_path)


def texts(bundle: Bundle) -> list[str]:
    return [row["turns"][0]["text"] for shard in rows.shards([bundle]) for row in rows.read_rows(shard)]


def test_a_stage_leaves_a_sealed_bundle_that_tells_how_it_was_made(made: Bundle, tmp_path: Path) -> None:
    shouted = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    shouted.verify(rehash=True)
    manifest = shouted.manifest
    assert manifest.facts.kind == "dataset"
    assert manifest.facts.rows == ROWS * SHARDS
    assert manifest.provenance.stage == "shout"
    assert [one.manifest_sha256 for one in manifest.provenance.inputs] == [made.manifest_sha256]
    assert "datatrove" in manifest.provenance.tools
    assert {entry.path for entry in manifest.files} == {
        *(f"data/train-{rank:05d}-of-{SHARDS:05d}.parquet" for rank in range(SHARDS)),
        "reports/toy.json",
    }
    assert texts(shouted) == texts(made)


def test_the_same_question_finds_the_same_answer(made: Bundle, tmp_path: Path) -> None:
    before = (made.root / "manifest.json").stat().st_mtime_ns
    assert run_stage(MAKE, ToyConfig(executor=executor.Local(workers=2)), {}, tmp_path).root == made.root
    assert (made.root / "manifest.json").stat().st_mtime_ns == before
    other = run_stage(MAKE, ToyConfig(greeting="Good morning"), {}, tmp_path)
    assert other.root != made.root


def test_again_makes_it_anew_with_the_same_bytes(made: Bundle, tmp_path: Path) -> None:
    before = (made.root / "manifest.json").stat().st_mtime_ns
    again = run_stage(MAKE, ToyConfig(), {}, tmp_path, again=True)
    assert again.manifest_sha256 == made.manifest_sha256
    assert (again.root / "manifest.json").stat().st_mtime_ns > before


def test_bytes_do_not_depend_on_where_a_stage_runs(made: Bundle, tmp_path: Path) -> None:
    seen = {
        run_stage(
            SHOUT, ShoutConfig(executor=executor.Local(workers=1)), {"rows": [made]}, tmp_path / "one"
        ).manifest_sha256,
        run_stage(
            SHOUT, ShoutConfig(executor=executor.Local(workers=3)), {"rows": [made]}, tmp_path / "three"
        ).manifest_sha256,
        # In a process of its own: Ray warns here and there, and datatrove waits for ever where a warning is an error.
        in_another_process(made, tmp_path / "ray", "ShoutConfig(executor={'kind': 'ray', 'workers': 2})"),
    }
    assert len(seen) == 1


def in_another_process(made: Bundle, out: Path, config: str) -> str:
    """Run SHOUT in a fresh Python and return the digest of the manifest, or how the process ended."""
    program = textwrap.dedent(f"""
        from pathlib import Path
        from hala_release.bundle import Bundle
        from pipeline.stage import run_stage
        from tests.stages.toys import SHOUT, ShoutConfig
        made = Bundle.open(Path({str(made.root)!r}))
        print(run_stage(SHOUT, {config}, {{"rows": [made]}}, Path({str(out)!r})).manifest_sha256)
    """)
    ended = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, start_new_session=True, capture_output=True, text=True, check=False
    )
    return ended.stdout.strip() or f"{ended.returncode}: {ended.stderr}"


def test_a_failed_task_is_told_and_the_same_command_goes_on(made: Bundle, tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    poison.touch()
    config = ShoutConfig(poison=str(poison), executor=executor.Local(workers=1))
    with pytest.raises(Unfinished, match="the poison worked") as told:
        run_stage(SHOUT, config, {"rows": [made]}, tmp_path)
    assert "logs" in told.value.fix
    (work,) = tmp_path.glob("shout/*/work")
    done = {path.name: path.stat().st_mtime_ns for path in (work / "shout" / "completions").iterdir()}
    assert sorted(done) == ["00000", "00001"]
    poison.unlink()
    shouted = run_stage(SHOUT, config, {"rows": [made]}, tmp_path)
    assert {name: (work / "shout" / "completions" / name).stat().st_mtime_ns for name in done} == done, (
        "tasks that were done are not done again"
    )
    reference = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path / "reference")
    assert shouted.manifest_sha256 == reference.manifest_sha256


def test_a_killed_run_goes_on_and_ends_with_the_same_bytes(made: Bundle, tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    poison.touch()
    config = f"ShoutConfig(poison={str(poison)!r}, kill='group', executor={{'kind': 'local', 'workers': 1}})"
    assert in_another_process(made, tmp_path, config).startswith("-9")
    (root,) = tmp_path.glob("shout/*")
    assert not (root / "manifest.json").exists()
    assert not (root / "files/data/train-00002-of-00004.parquet").exists()
    poison.unlink()
    shouted = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    shouted.verify(rehash=True)
    reference = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path / "reference")
    assert shouted.manifest_sha256 == reference.manifest_sha256


def test_a_worker_that_is_killed_is_told_and_does_not_hang_the_command(made: Bundle, tmp_path: Path) -> None:
    poison = tmp_path / "poison"
    poison.touch()
    config = ShoutConfig(poison=str(poison), kill="process", executor=executor.Local(workers=2))
    with pytest.raises(Unfinished, match="was killed") as told:
        run_stage(SHOUT, config, {"rows": [made]}, tmp_path)
    assert "fewer workers" in told.value.fix
    poison.unlink()
    shouted = run_stage(SHOUT, config, {"rows": [made]}, tmp_path)
    reference = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path / "reference")
    assert shouted.manifest_sha256 == reference.manifest_sha256


def test_two_processes_do_not_make_one_result_at_a_time(made: Bundle, tmp_path: Path) -> None:
    root = tmp_path / "shout" / digest(SHOUT, ShoutConfig(), {"rows": [made]})[:16]
    root.mkdir(parents=True)
    with (root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unfinished, match="another process is making"):
            run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    assert run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path).root == root


def test_a_new_version_of_the_code_makes_a_new_result(made: Bundle, tmp_path: Path) -> None:
    newer = dataclasses.replace(SHOUT, version=SHOUT.version + 1)
    assert (
        run_stage(newer, ShoutConfig(), {"rows": [made]}, tmp_path).root
        != run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path).root
    )


def test_jobs_find_the_shards_where_they_look_also_after_a_broken_upload(made: Bundle, tmp_path: Path) -> None:
    where = executor.Jobs.model_construct(kind="jobs", storage=f"file://{tmp_path}/bucket")
    shards = rows.shards([made])
    root = tmp_path / "shout" / "0123"
    broken = f"file://{tmp_path}/bucket/shout/0123/inputs/00001.parquet"
    storage.copy(shards[1], broken)
    with placed(where, shards, root) as (there, place):
        assert [list(rows.read_rows(one)) for one in there] == [list(rows.read_rows(one)) for one in shards]
        with storage.writing(storage.join(place, "files", "data", "result")) as file:
            file.write(b"made there")
    assert (root / "files" / "data" / "result").read_bytes() == b"made there"


def test_slurm_gets_array_jobs_and_the_same_command_seals_what_they_made(
    made: Bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stands in for a cluster: an sbatch that runs the script's array at once, on this machine."""
    programs = {
        "sbatch": """\
            script="${@: -1}"
            last=$(sed -n 's/^#SBATCH --array=0-\\([0-9]*\\).*/\\1/p' "$script")
            for task in $(seq 0 "$last"); do
              SLURM_ARRAY_TASK_ID=$task SLURM_NODELIST=here bash "$script" >>"$SLURM_LOG" 2>&1 || exit 1
            done
            echo "Submitted batch job 7"
        """,
        "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -n ] && shift; shift; done; exec "$@"',
        "scontrol": "echo here",
    }
    for name, text in programs.items():
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text("#!/usr/bin/env bash\n" + textwrap.dedent(text))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("SLURM_LOG", str(tmp_path / "slurm.log"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    where = executor.Slurm(kind="slurm", partition="cpu", time="1:00:00", workers=2, sbatch={"account": "hala"})
    shouted = run_stage(SHOUT, ShoutConfig(executor=where), {"rows": [made]}, tmp_path)
    reference = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path / "reference")
    assert shouted.manifest_sha256 == reference.manifest_sha256
    (script,) = tmp_path.glob("shout/*/work/shout/launch_script.slurm")
    for line in ("--partition=cpu", "--time=1:00:00", "--array=0-3%2", "--account=hala"):
        assert f"#SBATCH {line}\n" in script.read_text()

    # A cluster that is busy: the jobs wait, and nothing is sealed.
    (tmp_path / "bin" / "sbatch").write_text("#!/bin/sh\necho Submitted batch job 8\n")
    with pytest.raises(Unfinished, match="with the scheduler") as told:
        run_stage(SHOUT, ShoutConfig(executor=where), {"rows": [made]}, tmp_path / "busy")
    assert "run the same command again" in told.value.fix
    assert not list(tmp_path.glob("busy/shout/*/manifest.json"))


def written(folder: Path, text: str) -> Path:
    path = folder / "stage.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_jobs_of_the_hub_need_a_storage_that_both_sides_reach(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"line 1: executor\.storage: missing"):
        load(written(tmp_path, "executor: {kind: jobs}"), ToyConfig, {})


def test_every_mistake_of_a_configuration_is_told_with_its_line(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as told:
        load(written(tmp_path, "greting: Hi\nexecutor:\n  kind: local\n  workers: 0\n"), ToyConfig, {})
    assert "line 1: greting: unknown key; did you mean `greeting`?" in str(told.value)
    assert "line 4: executor.workers: " in str(told.value)


def test_the_command_line_wins_over_the_file(tmp_path: Path) -> None:
    config = load(
        written(tmp_path, "greeting: Hi\n"),
        ToyConfig,
        {"greeting": "Bonjour", "executor.workers": 3},
    )
    assert config.greeting == "Bonjour"
    assert config.executor == executor.Local(workers=3)


def test_a_file_that_is_missing_or_no_yaml_is_an_error_with_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path / "none.yaml", ToyConfig, {})
    with pytest.raises(ConfigError, match="not YAML"):
        load(written(tmp_path, "a: [1"), ToyConfig, {})


def test_inputs_that_are_no_rows_are_refused(family: Path, tmp_path: Path) -> None:
    bundles = [Bundle.open(path.parent) for path in sorted(family.parent.rglob("manifest.json"))]
    assert {bundle.manifest.facts.kind for bundle in bundles} == {"dataset", "model"}
    for bundle in bundles:
        with pytest.raises(ContractError, match=r"is a model, not a dataset|does not hold rows"):
            run_stage(SHOUT, ShoutConfig(), {"rows": [bundle]}, tmp_path)


def test_reports_of_earlier_stages_travel_on(made: Bundle, tmp_path: Path) -> None:
    shouted = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    report = shouted.files / "reports" / "toy.json"
    other = run_stage(MAKE, ToyConfig(greeting="Hej"), {}, tmp_path)
    both = run_stage(SHOUT, ShoutConfig(), {"rows": [shouted, other]}, tmp_path)
    assert (both.files / "reports" / "toy.json").read_bytes() != report.read_bytes(), "its own report wins"
    assert both.manifest.facts.rows == 2 * ROWS * SHARDS  # type: ignore[union-attr]


def test_different_reports_of_one_name_travel_side_by_side(made: Bundle, tmp_path: Path) -> None:
    one = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    two = run_stage(SHOUT, ShoutConfig(), {"rows": [made, made]}, tmp_path)
    last = run_stage(
        dataclasses.replace(MAKE, name="mix", takes=SHOUT.takes), ToyConfig(), {"rows": [one, two]}, tmp_path
    )
    reports = {path.name: path.read_bytes() for path in (last.files / "reports").iterdir()}
    assert reports == {
        "toy.json": (one.files / "reports/toy.json").read_bytes(),
        "toy-2.json": (two.files / "reports/toy.json").read_bytes(),
    }


def test_a_row_keeps_its_id_when_the_source_grows_and_gets_another_when_it_changes() -> None:
    turns: list[rows.Turn] = [{"role": "user", "text": "مرحبًا"}]
    assert rows.row_id("toy", 3, turns) == rows.row_id("toy", 3, [*turns])
    assert rows.row_id("toy", 3, turns).startswith("toy-3-")
    changed: list[rows.Turn] = [{"role": "user", "text": "مرحبا"}]
    assert rows.row_id("toy", 3, turns) != rows.row_id("toy", 3, changed)
    assert rows.row_id("toy", 3, turns) != rows.row_id("toy", 4, turns)


def test_files_are_there_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "deep" / "file"
    with pytest.raises(RuntimeError), storage.writing(str(target)) as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.names(str(target.parent)) == []
    with storage.writing(str(target)) as file:
        file.write(b"whole")
    assert storage.names(str(target.parent)) == ["file"]
    with pytest.raises(RuntimeError), storage.writing(f"memory:/{target}") as file:
        file.write(b"half")
        raise RuntimeError
    assert storage.names(f"memory:/{target.parent}") == []


def test_a_storage_may_be_a_url(tmp_path: Path) -> None:
    url = f"file://{tmp_path}/bucket"
    (tmp_path / "bucket").mkdir()
    with storage.writing(storage.join(url, "one")) as file:
        file.write(b"1")
    storage.copy_tree(url, str(tmp_path / "copy"))
    assert (tmp_path / "copy" / "one").read_bytes() == b"1"
    assert storage.names(url) == ["one"]
    assert storage.names(f"file://{tmp_path}/nothing") == []


def test_the_command_prints_where_the_result_lies_and_errors_name_the_way_out(tmp_path: Path) -> None:
    def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "pipeline", *arguments], cwd=ROOT, capture_output=True, text=True, check=False
        )

    asked = run("--help")
    assert asked.returncode == 0
    assert all(stage in asked.stdout for stage in STAGES)
    told = run("filter", str(written(tmp_path, "")))
    assert told.returncode == 2
    assert "fix: give `--from BUNDLE`" in told.stderr
    told = run("filter", str(written(tmp_path, "")), "--from", str(tmp_path))
    assert told.returncode == 3
    assert "is not a bundle" in told.stderr
    for override in ("rules", "rules=[a", "executor.kind.local=1"):
        told = run("filter", str(written(tmp_path, "executor: {kind: local}")), "--set", override)
        assert told.returncode == 2, told.stderr
        assert f"--set {override.partition('=')[0]}" in told.stderr


def test_again_waits_for_nobody_and_takes_nothing_from_a_process_that_is_at_work(made: Bundle, tmp_path: Path) -> None:
    shouted = run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path)
    with (shouted.root / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        with pytest.raises(Unfinished, match="another process is making"):
            run_stage(SHOUT, ShoutConfig(), {"rows": [made]}, tmp_path, again=True)
    shouted.verify(rehash=True)
