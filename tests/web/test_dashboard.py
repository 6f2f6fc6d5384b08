"""The dashboard in a real browser: what it lists, how it follows, what it says when refused."""

import re
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, WebSocketRoute, expect

from tests.api.service import Service
from tests.web import work
from tests.web.work import Work

METRICS = {
    "class_counts": {"water": 30, "land": 10},
    "gsd_mismatch": True,
    "outputs": {"predictions": "/lake/predictions/run.parquet", "classes": None},
}


@pytest.fixture
def running(service: Service) -> Iterator[Work]:
    """A run that holds the device until the test ends."""
    found = work.begin(service, work.submit(service))
    yield found
    if service.http.get(f"/jobs/{found.job_id}").json()["state"] == "RUNNING":
        found.complete({})


def row_of(page: Page, found: Work) -> Locator:
    return page.locator(f'[data-job="{found.job_id}"]')


def go(page: Page, path: str) -> None:
    page.goto(path)
    expect(page.get_by_test_id("connection")).to_have_text("Live")


def test_a_job_is_listed_and_its_progress_grows_as_tiles_are_committed(
    page: Page, running: Work
) -> None:
    go(page, "/")
    row = row_of(page, running)
    bar = row.get_by_role("progressbar")
    expect(row).to_contain_text("landcover@1 on coast")
    expect(row).to_contain_text("Running")
    expect(bar).to_have_attribute("aria-valuetext", "0 of 4 tiles")
    running.commit_tile(0)
    expect(bar).to_have_attribute("aria-valuetext", "1 of 4 tiles")
    running.commit_tile(1, error="a block cannot be read")
    expect(row).to_contain_text("2 / 4 tiles · 1 failed")
    expect(row).to_contain_text("50%")
    expect(row).to_contain_text("26 km²")
    running.complete({})
    expect(row).to_contain_text("Completed")


def test_the_device_is_marked_as_simulated_and_names_its_holder(page: Page, running: Work) -> None:
    go(page, "/")
    devices = page.get_by_role("region", name="Devices")
    expect(devices).to_contain_text("Simulated GPU")
    expect(devices.get_by_text("simulated", exact=True)).to_be_visible()
    link = devices.get_by_role("link", name=f"run {str(running.lease.run_id)[-8:]}")
    expect(link).to_have_attribute("href", re.compile(re.escape(running.page)))
    running.complete({})
    expect(devices).to_contain_text("held by nobody")


def test_a_refused_submission_shows_the_reason_and_can_be_mended(
    page: Page, service: Service
) -> None:
    go(page, "/")
    form = page.get_by_role("form", name="Submit a job")
    form.get_by_label("coarse").check()
    form.get_by_role("button", name="Submit").click()
    expect(form.get_by_role("alert")).to_contain_text(
        "scene coarse has a pixel size of 60 m; landcover@1 takes 5 to 20 m"
    )
    form.get_by_label("Accept GSD mismatch").check()
    form.get_by_label("Priority").fill("7")
    form.get_by_role("button", name="Submit").click()
    expect(form).to_contain_text("Submitted: landcover@1 on coarse")
    newest = service.http.get("/jobs").json()["items"][0]
    assert newest["params"]["scenes"] == ["coarse"]
    assert newest["params"]["accept_gsd_mismatch"] is True
    assert newest["priority"] == 7
    expect(page.locator(f'[data-job="{newest["id"]}"]')).to_contain_text("Pending")


def test_the_form_says_beforehand_what_a_job_would_do(page: Page) -> None:
    go(page, "/")
    form = page.get_by_role("form", name="Submit a job")
    expect(form.get_by_role("button", name="Submit")).to_be_disabled()
    form.get_by_label("coast").check()
    expect(form).to_contain_text("4 tiles to run")


def test_a_waiting_run_says_why_it_waits(page: Page, service: Service) -> None:
    job_id = work.submit(service)
    go(page, f"/job/?id={job_id}")
    expect(page.get_by_test_id("run")).to_contain_text(
        "waits: it has not been handed to Dagster yet"
    )


def test_a_job_is_cancelled_after_a_question_and_can_then_be_retried(
    page: Page, service: Service
) -> None:
    job_id = work.submit(service)
    go(page, f"/job/?id={job_id}")
    page.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog", name="Cancel this job?")
    page.keyboard.press("Escape")
    expect(dialog).to_be_hidden()
    assert service.http.get(f"/jobs/{job_id}").json()["state"] == "PENDING"
    page.get_by_role("button", name="Cancel job").click()
    dialog.get_by_role("button", name="Cancel job").click()
    expect(dialog).to_be_hidden()
    expect(page.get_by_role("main")).to_contain_text("Cancelled")
    assert service.http.get(f"/jobs/{job_id}").json()["state"] == "CANCELLED"
    page.get_by_role("button", name="Retry job").click()
    page.get_by_role("dialog").get_by_role("button", name="Retry job").click()
    expect(page.get_by_text("1 earlier attempt")).to_be_visible()
    assert service.http.get(f"/jobs/{job_id}").json()["state"] == "PENDING"


def test_an_action_that_comes_too_late_says_so(page: Page, running: Work) -> None:
    page.route_web_socket("**/api/v1/stream*", lambda _: None)  # a page that hears nothing
    page.goto(running.page)
    page.get_by_role("button", name="Cancel job").click()
    dialog = page.get_by_role("dialog")
    running.complete({})
    dialog.get_by_role("button", name="Cancel job").click()
    expect(dialog.get_by_role("alert")).to_contain_text("is already COMPLETED")


def test_a_job_shows_its_classes_outputs_and_gsd_mismatch(page: Page, running: Work) -> None:
    go(page, running.page)
    expect(page.get_by_role("heading", level=1)).to_have_text("landcover@1 on coast")
    expect(page.get_by_text("Known once a run has written its results.")).to_be_visible()
    for number in range(4):
        running.commit_tile(number)
    running.complete(METRICS)
    classes = page.get_by_role("region", name="Classes found")
    expect(classes).to_contain_text("40 chips")
    expect(classes.get_by_role("listitem").first).to_have_text(re.compile("water.*75%", re.DOTALL))
    expect(page.get_by_role("note").first).to_contain_text("GSD mismatch: the pixels of coast")
    run = page.locator(f'[data-run="{running.lease.run_id}"]')
    expect(run).to_contain_text("on SIM-0")
    expect(run.get_by_text("simulated", exact=True)).to_be_visible()
    expect(run).to_contain_text("attempt 1")
    expect(run).to_contain_text("/lake/predictions/run.parquet")
    expect(page.get_by_test_id("tiles-completed")).to_have_text("4")


def test_skipped_tiles_and_the_figures_of_a_regression_are_shown(
    page: Page, running: Work
) -> None:
    go(page, running.page)
    for number in range(3):
        running.commit_tile(number)
    running.commit_tile(3, cloud_fraction=0.8)
    figures = {"min": -1.25, "max": 30.5, "mean": 12.0, "std": 4.0}
    metrics = {"task": "regression", "statistics": figures, "unit": "m", "class_counts": {}}
    running.complete(metrics)
    run = page.locator(f'[data-run="{running.lease.run_id}"]')
    expect(run).to_contain_text("4 / 4 tiles · 1 skipped")
    expect(run).to_contain_text("1 tile skipped, too cloudy")
    expect(run).to_contain_text("values -1.25 to 30.5 m, mean 12 m")
    expect(page.get_by_test_id("tiles-skipped")).to_have_text("1")
    expect(page.get_by_role("region", name="Classes found")).to_have_count(0)
    expect(page.get_by_role("region", name="Request")).to_be_visible()


def test_classes_of_pixels_are_counted_in_pixels(page: Page, running: Work) -> None:
    go(page, running.page)
    running.complete({**METRICS, "task": "semantic-segmentation", "class_counts_unit": "pixel"})
    classes = page.get_by_role("region", name="Classes found")
    expect(classes).to_contain_text("40 pixels")


def test_a_lost_stream_shows_and_resumes_after_the_last_event(page: Page, running: Work) -> None:
    routes: list[WebSocketRoute] = []

    def pass_on(route: WebSocketRoute) -> None:
        routes.append(route)
        route.connect_to_server()

    page.route_web_socket("**/api/v1/stream*", pass_on)
    go(page, "/")
    bar = row_of(page, running).get_by_role("progressbar")
    running.commit_tile(0)
    expect(bar).to_have_attribute("aria-valuetext", "1 of 4 tiles")
    routes[0].close()
    expect(page.get_by_test_id("connection")).to_have_text("Reconnecting")
    running.commit_tile(1)
    expect(page.get_by_test_id("connection")).to_have_text("Live")
    expect(bar).to_have_attribute("aria-valuetext", "2 of 4 tiles")
    assert re.search(r"after=\d+$", routes[-1].url)
    running.commit_tile(2)
    expect(bar).to_have_attribute("aria-valuetext", "3 of 4 tiles")


def test_scenes_are_listed_with_what_is_known_of_them(page: Page) -> None:
    go(page, "/")
    page.get_by_role("link", name="Scenes").click()
    row = page.get_by_role("row", name="coarse")
    for text in (
        "EPSG:32633",
        "1,024 \N{MULTIPLICATION SIGN} 1,024 px",
        "60 m",
        "red",
        "unknown",
        "3,778",
    ):
        expect(row).to_contain_text(text)


def test_an_unknown_job_is_said_to_be_unknown(page: Page) -> None:
    page.goto("/job/?id=not-a-job")
    expect(page.get_by_role("main").get_by_role("alert")).to_contain_text("job_id")
    page.goto("/job/")
    expect(page.get_by_role("main")).to_contain_text("Which job?")
