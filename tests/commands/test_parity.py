"""Every operation of the API has a command, for people and with --json."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import typer
import yaml

from api.openapi import COMMITTED
from constellation_pipelines import cli
from tests.api.service import square
from tests.commands.test_nouns import Command, as_json, submitted
from tests.commands.test_nouns import constellation as constellation
from tests.commands.test_nouns import scene as scene
from tests.commands.test_nouns import service as service

COMMANDS = {
    "submit_job": ("jobs", "submit"),
    "list_jobs": ("jobs", "list"),
    "quote_job": ("jobs", "quote"),
    "show_job": ("jobs", "show"),
    "change_job": ("jobs", "priority"),
    "cancel_job": ("jobs", "cancel"),
    "retry_job": ("jobs", "retry"),
    "follow_logs": ("jobs", "logs"),
    "show_run": ("runs", "show"),
    "list_tiles": ("runs", "tiles"),
    "list_gpus": ("gpus",),
    "list_samples": ("samples",),
    "add_scene": ("scenes", "add"),
    "list_scenes": ("scenes", "list"),
    "show_scene": ("scenes", "show"),
    "list_models": ("models", "list"),
    "show_model": ("models", "show"),
    "list_areas": ("areas", "list"),
    "add_area": ("areas", "add"),
    "show_area": ("areas", "show"),
    "remove_area": ("areas", "remove"),
    "show_classes": ("analytics", "classes"),
    "show_series": ("analytics", "series"),
    "list_coverage": ("coverage", "list"),
    "show_coverage": ("coverage", "show"),
    "show_map_tile": ("coverage", "tile"),
    "list_webhooks": ("webhooks", "list"),
    "add_webhook": ("webhooks", "add"),
    "remove_webhook": ("webhooks", "remove"),
    "list_deliveries": ("webhooks", "deliveries"),
    "show_usage": ("usage",),
    "show_leaderboard": ("usage",),
    "show_session": ("whoami",),
    "list_audit": ("audit",),
    "show_about": ("about",),
    "healthz": ("health",),
    "readyz": ("health",),
    "show_metrics": ("metrics",),
}

# A browser keeps a cookie in the place of a key; a command sends its key with each request.
OF_BROWSERS = {"sign_in", "sign_out", "show_sign_in", "begin_login", "end_login"}


def operations() -> set[str]:
    document = yaml.safe_load(COMMITTED.read_text())
    return {
        operation["operationId"]
        for item in document["paths"].values()
        for operation in item.values()
    }


def test_no_operation_is_without_a_command() -> None:
    assert operations() == {*COMMANDS} | OF_BROWSERS


@pytest.mark.parametrize("words", sorted(set(COMMANDS.values())), ids=" ".join)
def test_each_command_exists_and_takes_json(words: tuple[str, ...]) -> None:
    found = typer.main.get_command(cli.make_app())
    for word in words:
        found = found.commands[word]  # type: ignore[attr-defined]
    assert "--json" in {option for one in found.params for option in one.opts}
    assert found.help


def test_a_run_and_its_tiles_are_shown(constellation: Command, scene: str) -> None:
    job = submitted(constellation, scene)
    (run,) = as_json(constellation("jobs", "show", job["id"], "--json"))["runs"]
    shown = as_json(constellation("runs", "show", run["id"], "--json"))
    assert (shown["id"], shown["job_id"]) == (run["id"], job["id"])
    _, out, _ = constellation("runs", "show", run["id"])
    assert scene in out
    collection = as_json(constellation("runs", "tiles", run["id"], "--json"))
    assert collection == {"type": "FeatureCollection", "features": []}
    assert "no tile was written yet" in constellation("runs", "tiles", run["id"])[1]


def test_who_asks_and_what_answers_are_shown(constellation: Command) -> None:
    assert as_json(constellation("whoami", "--json"))["account"] == "local"
    assert "admin" in constellation("whoami")[1]
    assert "version" in as_json(constellation("about", "--json"))
    assert "version" in constellation("about")[1]


def test_health_says_what_is_missing_and_fails(constellation: Command) -> None:
    code, out, err = constellation("health")
    assert code == 1
    assert "postgres  ok" in out
    assert "worker    NOT OK" in out
    assert "would not run" in err
    code, out, _ = constellation("health", "--json")
    assert (code, json.loads(out)["ready"]) == (1, False)


def test_metrics_are_told_as_prometheus_reads_them_or_as_json(constellation: Command) -> None:
    assert "constellation_database_up 1.0" in constellation("metrics")[1]
    found = {one["name"]: one["value"] for one in as_json(constellation("metrics", "--json"))}
    assert found["constellation_database_up"] == 1


def test_a_quote_is_told_in_sentences(constellation: Command, scene: str) -> None:
    options = ("-m", "landcover", "-s", scene, "--priority", "5", "--serial", "--gpus", "2")
    quote = as_json(constellation("jobs", "quote", *options, "--json"))
    assert quote["device_s"]["expected"] is None
    _, out, _ = constellation("jobs", "quote", *options)
    assert "device time  not known (this model has not run" in out
    assert "finished at  not known (no worker is running" in out


def test_jobs_are_listed_by_place_time_and_order(constellation: Command, scene: str) -> None:
    job = submitted(constellation, scene, "--priority", "100")

    def ids(*options: str) -> list[str]:
        return [one["id"] for one in as_json(constellation("jobs", "list", "--json", *options))]

    assert ids("--sort", "priority", "--limit", "1") == [job["id"]]
    assert job["id"] in ids("--near", "15.01,45.1", "--radius-km", "1")
    assert ids("--near", "0,0", "--radius-km", "1") == []
    assert ids("--after", "2126-01-01") == []
    assert job["id"] in ids("--before", "2126-01-01", "--account", "local", "--sort", "newest")
    code, _, err = constellation("jobs", "list", "--sort", "sideways")
    assert code == 1
    assert "sort" in err


def test_webhooks_are_added_listed_and_removed(constellation: Command, scene: str) -> None:
    url = "https://example.org/cli"
    made = as_json(constellation("webhooks", "add", url, "-e", "job.submitted", "--json"))
    submitted(constellation, scene)
    (told,) = as_json(constellation("webhooks", "deliveries", made["id"], "--json"))
    assert told["event_type"] == "job.submitted"
    assert "job.submitted" in constellation("webhooks", "deliveries", made["id"])[1]
    assert made["id"] in constellation("webhooks", "list")[1]
    assert made["secret"] not in constellation("webhooks", "list", "--json")[1]
    assert constellation("webhooks", "remove", made["id"])[1].startswith("removed")
    assert constellation("webhooks", "remove", made["id"])[0] == 1
    code, _, err = constellation("webhooks", "add", "https://127.0.0.1/")
    assert code == 1
    assert "private network" in err


def test_areas_are_kept_shown_used_and_removed(
    constellation: Command, scene: str, tmp_path: Path
) -> None:
    file = tmp_path / "field.geojson"
    file.write_text(json.dumps(square(15.0, 45.0, 15.2, 45.2)))
    made = as_json(constellation("areas", "add", "a field", file, "--json"))
    assert made["id"] in constellation("areas", "add", "a field", file)[1], "the same one"
    assert "a field" in constellation("areas", "list")[1]
    assert made["id"] in {one["id"] for one in as_json(constellation("areas", "list", "--json"))}
    shown = as_json(constellation("areas", "show", "a field", "--json"))
    assert shown["geometry"]["type"] == "MultiPolygon"
    assert "15.0000, 45.0000, 15.2000, 45.2000" in constellation("areas", "show", made["id"])[1]
    job = submitted(constellation, scene, "--area", "a field")
    assert job["params"]["area"] == "a field"
    assert "a field" in constellation("jobs", "show", job["id"])[1]
    options = ("-m", "landcover", "-s", scene, "--area", made["id"])
    assert as_json(constellation("jobs", "quote", *options, "--json"))["tiles_planned"] == 1
    code, _, err = constellation("jobs", "quote", *options, "--aoi", file)
    assert code == 1
    assert "either aoi or area" in err
    assert "removed a field" in constellation("areas", "remove", "a field")[1]
    code, _, err = constellation("areas", "remove", "a field")
    assert code == 1
    assert "there is no area" in err
    assert (
        as_json(constellation("jobs", "show", job["id"], "--json"))["params"]["area"] == "a field"
    )


def complete(words: str, tmp_path: Path) -> str:
    """What the command answers to bash that asks how these words go on."""
    script = (
        "import sys; sys.argv = ['constellation'];"
        "from constellation_pipelines.cli import main; main()"
    )
    asked = {
        "_CONSTELLATION_COMPLETE": "complete_bash",
        "COMP_WORDS": words,
        "COMP_CWORD": str(len(words.split(" ")) - 1),
        "CONSTELLATION_DATA_DIR": str(tmp_path),
    }
    done = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, **asked},
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.stdout


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_shells_get_their_script(
    shell: str, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert cli.run(["completion", shell]) == 0
    script = capsys.readouterr().out
    assert "_CONSTELLATION_COMPLETE" in script
    assert f"complete_{shell}" in script
    assert cli.run(["completion", "csh"]) != 0


def test_commands_and_options_are_completed(tmp_path: Path) -> None:
    assert complete("constellation we", tmp_path).split() == ["webhooks"]
    assert complete("constellation webhooks de", tmp_path).split() == ["deliveries"]
    assert "--radius-km" in complete("constellation jobs list --ra", tmp_path)
