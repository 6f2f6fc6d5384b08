"""What schemathesis did, read from its report: which links it walked, and what it was answered."""

import json
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# These lead a browser to an identity provider and back; tests/api/test_login.py has one.
AT_PROVIDERS = {"begin_login", "end_login"}
Walk = tuple[str, str, str]  # operation, status of its answer, operation that the link leads to


@dataclass(frozen=True)
class Walks:
    """Answers by operation and status, and how often each link led to an answer that is no refusal.

    `links` has those of the document; `inferred` those that schemathesis adds by its own guess.
    """

    answers: Counter[tuple[str, int]]
    links: Counter[Walk]
    inferred: Counter[str]

    @property
    def cases(self) -> int:
        return sum(self.answers.values())

    def never(self, document: dict[str, Any]) -> list[Walk]:
        """Links of the document that were not walked."""
        return sorted(set(declared(document)) - set(self.links))

    def never_taken(self, document: dict[str, Any]) -> list[str]:
        """Operations that refused every request, but for those that need an identity provider."""
        taken = {label for label, status in self.answers if status < 400}
        asked = {label for name, label in labels(document).items() if name not in AT_PROVIDERS}
        return sorted(asked - taken)


def together(parts: list[Walks]) -> Walks:
    """What several runs did."""
    whole = Walks(Counter(), Counter(), Counter())
    for part in parts:
        whole.answers.update(part.answers)
        whole.links.update(part.links)
        whole.inferred.update(part.inferred)
    return whole


def labels(document: dict[str, Any]) -> dict[str, str]:
    """The operations of a document: how schemathesis names them, by their ids."""
    return {
        operation["operationId"]: f"{method.upper()} {path}"
        for path, item in document["paths"].items()
        for method, operation in item.items()
    }


def declared(document: dict[str, Any]) -> list[Walk]:
    """The links of a document."""
    return [
        (operation["operationId"], status, name)
        for item in document["paths"].values()
        for operation in item.values()
        for status, answer in operation["responses"].items()
        for name in answer.get("links", {})
    ]


def read(report: Path, document: dict[str, Any]) -> Walks:
    """Read a report of newline-delimited JSON."""
    found = Walks(Counter(), Counter(), Counter())
    named = {label: name for name, label in labels(document).items()}
    known = set(declared(document))
    for line in report.read_text().splitlines():
        finished = json.loads(line).get("ScenarioFinished")
        if finished:
            count(found, finished["recorder"], named, known)
    return found


def count(found: Walks, recorder: dict[str, Any], named: dict[str, str], known: set[Walk]) -> None:
    """Add the requests of one scenario."""
    for case_id, interaction in recorder.get("interactions", {}).items():
        answer, case = interaction.get("response"), recorder["cases"].get(case_id)
        if answer is None or case is None:
            continue
        status, transition = answer["status_code"], case.get("transition")
        found.answers[label_of(case["value"]), status] += 1
        if status >= 400 or not transition or not case["is_transition_applied"]:
            continue
        source, target = recorder["cases"][transition["parent_id"]], case["value"]
        before = recorder["interactions"][transition["parent_id"]]["response"]["status_code"]
        walk = (named[label_of(source["value"])], str(before), named[label_of(target)])
        if walk in known and not transition["is_inferred"]:
            found.links[walk] += 1
        else:
            found.inferred[transition["id"]] += 1


def label_of(case: dict[str, Any]) -> str:
    """The operation of a request, as schemathesis names it."""
    return f"{case['method'].upper()} {case['path']}"
