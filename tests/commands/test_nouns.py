"""`constellation scenes|models|jobs|gpus` against a real API."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from constellation_pipelines.cli import run
from constellation_pipelines.commands.scenes import rasters
from constellation_pipelines.domain.ids import new_id
from tests.api.service import MODEL, Service, save_model, serving, square, write_raster
from tests.conftest import PostgresServer, scratch_database


@pytest.fixture(scope="module")
def service(
    postgres: PostgresServer, template: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("commands")
    with (
        scratch_database(postgres, template) as name,
        serving(postgres.url_of(name), None, folder) as running,
    ):
        save_model(running.database)
        yield running


Command = Callable[..., tuple[int, str, str]]


@pytest.fixture
def constellation(
    service: Service, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Command:
    """Run the command; its exit code, what it printed, what it complained of."""
    monkeypatch.setenv("CONSTELLATION_API_URL", service.url)
    monkeypatch.setenv("COLUMNS", "200")

    def call(*arguments: str | Path) -> tuple[int, str, str]:
        code = run([str(argument) for argument in arguments])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return call


def as_json(result: tuple[int, str, str]) -> Any:
    code, out, err = result
    assert code == 0, err
    return json.loads(out)


@pytest.fixture
def scene(service: Service, constellation: Command) -> str:
    """Key of a new scene of one tile."""
    name = f"scene-{new_id().hex[-12:]}"
    path = write_raster(service.scenes / f"{name}.tif", size_px=512)
    (added,) = as_json(constellation("scenes", "add", path, "--json"))
    return str(added["scene"]["key"])


def submitted(constellation: Command, scene: str, *more: str) -> dict[str, Any]:
    result = constellation("jobs", "submit", "-m", MODEL, "-s", scene, "--json", *more)
    return dict(as_json(result))


def end(service: Service, job_id: str, state: str, error: str | None = None) -> None:
    with service.database.transaction() as connection:
        connection.execute(
            "update constellation.runs set state = %s, error = %s, tiles_completed = 1 "
            "where job_id = %s",
            (state, error, job_id),
        )
        connection.execute("select constellation.settle_job(%s)", (job_id,))


# ---- scenes ----


def test_adding_scenes_says_one_line_each_and_fails_when_one_was_refused(
    service: Service, constellation: Command, tmp_path: Path
) -> None:
    good = write_raster(service.scenes / "good.tif", size_px=256)
    outside = write_raster(tmp_path / "outside.tif", size_px=64)
    code, out, err = constellation("scenes", "add", good, outside)
    assert code == 1
    assert "added good: 256 x 256 px, 10 m" in out + err
    assert f"refused {outside}: " in out + err
    assert err.strip().endswith("error: 1 of 2 files were refused")


def test_a_folder_stands_for_its_rasters(service: Service, constellation: Command) -> None:
    folder = service.scenes / "many"
    folder.mkdir()
    for n in range(2):
        write_raster(folder / f"part-{n}.tif", size_px=64)
    (folder / "notes.txt").write_text("no raster")
    added = as_json(constellation("scenes", "add", folder, "--json"))
    assert [result["scene"]["key"] for result in added] == ["part-0", "part-1"]


def test_bands_and_calibration_are_passed_on(service: Service, constellation: Command) -> None:
    path = write_raster(service.scenes / "raw.tif", size_px=64, bands=4, dtype="uint16")
    options = ("--bands", "red,green,blue,nir", "--scale", "0.0001", "--offset", "-0.1")
    (added,) = as_json(constellation("scenes", "add", path, *options, "--key", "mine", "--json"))
    assert added["scene"]["key"] == "mine"
    bands = added["scene"]["bands"]
    assert [band["common_name"] for band in bands] == ["red", "green", "blue", "nir"]
    assert {(band["scale"], band["offset"]) for band in bands} == {(0.0001, -0.1)}


def test_a_quality_mask_is_passed_on(service: Service, constellation: Command) -> None:
    path = write_raster(service.scenes / "hazy.tif", size_px=64)
    mask = write_raster(service.scenes / "haze.tif", size_px=64)
    options = ("--quality", str(mask), "--quality-kind", "scl", "--quality-band", "3")
    (added,) = as_json(constellation("scenes", "add", path, *options, "--json"))
    assert added["scene"]["quality"] == {"kind": "scl", "uri": str(mask), "index": 3}
    _, out, _ = constellation("scenes", "show", "hazy")
    assert "scl, band 3 of" in out


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (("--quality", "m.tif"), "belong together"),
        (("--quality-kind", "scl"), "belong together"),
        (("b.tif", "--quality", "m.tif", "--quality-kind", "scl"), "with one file"),
    ],
)
def test_half_a_quality_mask_is_refused(
    constellation: Command, options: tuple[str, ...], reason: str
) -> None:
    code, _, err = constellation("scenes", "add", "a.tif", *options)
    assert code == 1
    assert reason in err


def test_one_key_cannot_name_two_scenes(constellation: Command) -> None:
    code, _, err = constellation("scenes", "add", "a.tif", "b.tif", "--key", "k")
    assert (code, err) == (1, "error: --key names one scene: give it with one file\n")


def test_scenes_are_listed_and_shown(constellation: Command, scene: str) -> None:
    _, out, _ = constellation("scenes", "list")
    assert scene in out
    assert "red, green, blue" in out
    _, out, _ = constellation("scenes", "show", scene)
    assert "512 x 512" in out
    assert as_json(constellation("scenes", "show", scene, "--json"))["key"] == scene


# ---- models, GPUs ----


def test_models_are_listed_and_shown(constellation: Command) -> None:
    assert MODEL in constellation("models", "list")[1]
    assert "0 water, 1 land" in constellation("models", "show", "landcover")[1]
    (model,) = as_json(constellation("models", "list", "--json"))
    assert model["reference"] == MODEL


def test_gpus_are_listed_with_who_holds_them(
    service: Service, constellation: Command, scene: str
) -> None:
    assert "no GPU was ever seen" in constellation("gpus")[1]
    worker = new_id()
    service.database.execute(
        "insert into constellation.workers (id, host, pid) values (%s, 'h', 1)", (worker,)
    )
    service.database.execute(
        "insert into constellation.gpus (id, uuid, host, idx, name, total_mem_mb, simulated,"
        " worker_id, engine_ready) values (%s, 'S', 'h', 0, 'Simulated', 1, true, %s, true)",
        (new_id(), worker),
    )
    _, out, _ = constellation("gpus")
    assert "SIMULATED" in out
    assert "free" in out
    (gpu,) = as_json(constellation("gpus", "--json"))
    assert gpu["simulated"] is True
    job = as_json(constellation("jobs", "show", submitted(constellation, scene)["id"], "--json"))
    service.database.execute(
        "insert into constellation.leases (fence, gpu_id, worker_id, run_id, account, expires_at)"
        " values (1, %s, %s, %s, 'local', now() + interval '1 min')",
        (gpu["id"], worker, job["runs"][0]["id"]),
    )
    _, out, _ = constellation("gpus")
    assert "busy" in out
    _, holder = out.split("SINCE")
    assert ["h/0", job["id"], "local"] == [word for word in holder.split() if word[0] != "\u2500"][
        :3
    ]
    service.database.execute(
        "update constellation.gpus set health = 'quarantined', health_reason = 'Xid 79: gone'"
    )
    assert "quarantined: Xid 79: gone" in " ".join(constellation("gpus")[1].split())


# ---- jobs ----


def test_clouds_are_skipped_only_where_a_mask_shows_them(
    service: Service, constellation: Command, scene: str
) -> None:
    submit = ("jobs", "submit", "-m", MODEL, "-s", scene, "--max-cloud-fraction")
    code, _, err = constellation(*submit, "0.3")
    assert code == 1
    assert "no quality mask" in err
    assert constellation(*submit, "1.5")[0] == 2
    mask = '{"kind": "scl", "uri": "/scl.tif", "index": 1}'
    service.database.execute("update constellation.scenes set quality = %s", (mask,))
    try:
        job = as_json(constellation(*submit, "0.3", "--json"))
        assert job["params"]["max_cloud_fraction"] == 0.3
        assert "skipped tiles" in constellation("jobs", "show", job["id"])[1]
    finally:
        service.database.execute("update constellation.scenes set quality = null")


def test_a_job_is_quoted_submitted_listed_and_shown(
    constellation: Command, scene: str, tmp_path: Path
) -> None:
    aoi = tmp_path / "area.geojson"
    aoi.write_text(json.dumps(square(14, 44, 16, 46)))
    _, out, _ = constellation("jobs", "quote", "-m", MODEL, "-s", scene, "--aoi", aoi)
    assert f"{MODEL}: 1 tiles to run" in out
    code, out, _ = constellation(
        "jobs", "submit", "-m", MODEL, "-s", scene, "--aoi", aoi, "--name", "a name"
    )
    assert code == 0
    job_id = out.split()[1].rstrip(":")
    assert "1 tiles to run, 0 reused" in out
    _, out, _ = constellation("jobs", "list", "--state", "pending", "--limit", "1")
    assert job_id in out
    assert "a name" in out
    _, out, _ = constellation("jobs", "show", job_id)
    assert scene in out
    assert "0 of 1" in out
    assert as_json(constellation("jobs", "show", job_id, "--json"))["id"] == job_id


def test_a_refused_job_is_one_line_and_exit_code_1(constellation: Command, scene: str) -> None:
    code, out, err = constellation("jobs", "submit", "-m", "no@1", "-s", scene)
    assert (code, out) == (1, "")
    assert err.startswith("error: there is no model 'no@1'")
    assert err.count("\n") == 1


@pytest.mark.parametrize("text", ["", "{", "[1]", "\udc80"])
def test_a_file_that_is_no_area_is_refused(
    constellation: Command, scene: str, tmp_path: Path, text: str
) -> None:
    aoi = tmp_path / "area.geojson"
    aoi.write_bytes(text.encode(errors="surrogateescape"))
    code, _, err = constellation("jobs", "quote", "-m", MODEL, "-s", scene, "--aoi", aoi)
    assert code == 1
    assert str(aoi) in err
    code, _, err = constellation("jobs", "quote", "-m", MODEL, "-s", scene, "--aoi", "/none")
    assert (code, err) == (1, "error: cannot read /none: No such file or directory\n")


def test_a_job_is_cancelled_and_retried(constellation: Command, scene: str) -> None:
    job_id = submitted(constellation, scene)["id"]
    assert constellation("jobs", "cancel", job_id)[1] == f"{job_id} is CANCELLED\n"
    assert constellation("jobs", "retry", job_id)[1] == f"{job_id} is PENDING again\n"
    code, _, err = constellation("jobs", "retry", job_id)
    assert code == 1
    assert "only a failed or cancelled job can be retried" in err


@pytest.mark.parametrize(("state", "code"), [("COMPLETED", 0), ("FAILED", 1), ("CANCELLED", 1)])
def test_watching_ends_with_the_job_and_tells_how_by_the_exit_code(
    service: Service, constellation: Command, scene: str, state: str, code: int
) -> None:
    job_id = submitted(constellation, scene)["id"]

    def later() -> None:
        time.sleep(0.5)
        end(service, job_id, state, "no luck" if state == "FAILED" else None)

    thread = threading.Thread(target=later)
    thread.start()
    found, _, err = constellation("jobs", "watch", job_id)
    thread.join()
    assert found == code
    assert ("error: " in err) == (code == 1)
    assert ("no luck" in err) == (state == "FAILED")


def test_a_job_says_how_it_is_to_be_placed(constellation: Command, scene: str) -> None:
    job = submitted(constellation, scene, "--serial", "--gpus", "2", "--gpu-mem-mb", "8000")
    params = job["params"]
    assert (params["mode"], params["gpu_count"], params["gpu_mem_mb"]) == ("serial", 2, 8000)


def test_a_job_that_is_submitted_again_under_its_key_is_the_same(
    constellation: Command, scene: str
) -> None:
    options = ("--idempotency-key", new_id().hex, "--max-failed-tile-ratio", "0.1")
    job = submitted(constellation, scene, *options)
    assert job["params"]["max_failed_tile_ratio"] == 0.1
    assert submitted(constellation, scene, *options)["id"] == job["id"]
    code, _, err = constellation("jobs", "submit", *options_of(scene), *options[:2])
    assert code == 1
    assert "another request" in err
    for key in ("\u00e9", "a\nb", "x" * 201):
        code, _, err = constellation("jobs", "submit", *options_of(scene), "--idempotency-key", key)
        assert (code, err.count("\n")) == (1, 1)


def options_of(scene: str) -> tuple[str, ...]:
    return "-m", MODEL, "-s", scene


def test_a_job_tells_why_its_runs_wait(constellation: Command, scene: str) -> None:
    job = submitted(constellation, scene)
    _, out, _ = constellation("jobs", "show", job["id"])
    assert "WHY IT WAITS" in out
    assert "it has not been handed to Dagster yet" in out


@pytest.mark.parametrize("value", ["7", "-7"])
def test_the_priority_of_a_job_can_change(constellation: Command, scene: str, value: str) -> None:
    job = submitted(constellation, scene)
    code, out, err = constellation("jobs", "priority", job["id"], value)
    assert (code, out, err) == (0, f"{job['id']} has priority {value}\n", "")
    assert as_json(constellation("jobs", "show", job["id"], "--json"))["priority"] == int(value)


def test_the_priority_of_a_job_that_is_over_cannot(
    service: Service, constellation: Command, scene: str
) -> None:
    job = submitted(constellation, scene)
    end(service, job["id"], "COMPLETED")
    code, _, err = constellation("jobs", "priority", job["id"], "1")
    assert code == 1
    assert err == f"error: job {job['id']} is already COMPLETED: none of its runs waits\n"


# ---- limits ----


@pytest.fixture
def limits(
    service: Service, monkeypatch: pytest.MonkeyPatch, constellation: Command
) -> Iterator[Command]:
    """`constellation limits`, which talks to the database; there are none afterwards."""
    monkeypatch.setenv("CONSTELLATION_DATABASE_URL", service.database.url)
    yield lambda *arguments: constellation("limits", *arguments)
    assert constellation("limits", "--running-runs", "none", "--per-account", "none")[0] == 0
    service.database.execute("delete from constellation.accounts")


def test_there_are_no_limits_at_first(limits: Command) -> None:
    assert as_json(limits("--json")) == {"running_runs": None, "per_account": None, "accounts": {}}
    assert limits()[1].count("no limit") == 2


def test_limits_are_set_and_lifted(limits: Command) -> None:
    set_to = as_json(limits("--running-runs", "8", "--per-account", "2", "--json"))
    assert set_to == {"running_runs": 8, "per_account": 2, "accounts": {}}
    of_ann = as_json(limits("--account", "ann", "--running-runs", "4", "--json"))
    assert of_ann == {"running_runs": 8, "per_account": 2, "accounts": {"ann": 4}}
    assert "account ann" in limits()[1]
    as_json(limits("--account", "ann", "--running-runs", "none", "--json"))
    lifted = as_json(limits("--running-runs", "none", "--json"))
    assert lifted == {"running_runs": None, "per_account": 2, "accounts": {}}


@pytest.mark.parametrize("text", ["0", "-1", "many", "1.5", "", "10000000", "\u0663"])
def test_a_limit_that_is_no_number_is_refused(limits: Command, text: str) -> None:
    code, _, err = limits("--per-account", text)
    assert code == 1
    assert err.startswith(f"error: --per-account is {text!r}; it must be 1 to ")


def test_an_account_without_a_limit_is_refused(limits: Command) -> None:
    code, _, err = limits("--account", "ann")
    assert (code, err) == (
        1,
        "error: --account needs --running-runs N, or none for the limit of each\n",
    )


@pytest.mark.parametrize(
    "job_id", ["5", "../scenes", "' or 1=1", "00000000-0000-0000-0000-000000000000"]
)
def test_an_unknown_job_is_one_clear_line(constellation: Command, job_id: str) -> None:
    for verb in ("show", "cancel", "retry", "watch"):
        code, _, err = constellation("jobs", verb, job_id)
        assert code == 1
        assert err.startswith("error: ")
        assert err.count("\n") == 1


# ---- no API ----


def test_without_a_stack_the_way_to_start_one_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setenv("CONSTELLATION_DATA_DIR", str(tmp_path))
    assert run(["jobs", "list"]) == 1
    expected = "error: no running stack found: start one with `constellation up`\n"
    assert capsys.readouterr().err == expected


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://127.0.0.1:1", "does not answer"),
        ("nonsense", "is not a URL"),
        ("http://[", "is not a URL"),
    ],
)
def test_an_api_that_is_away_is_one_clear_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], url: str, reason: str
) -> None:
    monkeypatch.setenv("CONSTELLATION_API_URL", url)
    assert run(["gpus"]) == 1
    err = capsys.readouterr().err
    assert reason in err
    assert err.count("\n") == 1


def test_urls_stay_as_they_are_and_files_become_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.tif").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "b.tif").touch()
    monkeypatch.chdir(tmp_path)
    places = ["https://a.example/x.tif", "s3://bucket/x.tif", "a.tif", "folder", "missing.tif"]
    assert list(rasters(places)) == [
        "https://a.example/x.tif",
        "s3://bucket/x.tif",
        str(tmp_path / "a.tif"),
        str(tmp_path / "folder" / "b.tif"),
        "missing.tif",
    ]
