"""How long the server takes for the areas that cost it most (bar: a second)."""

import time

from benchmarks.measurement import Bar, Measurement
from tests.api.areas import COSTLY, submission
from tests.api.furnished import MODEL_NAME
from tests.api.people import client
from tests.api.service import Service, add_scene

ROUNDS = 3


def slowest_area(service: Service, key: str) -> Measurement:
    """The median of the area that takes longest, from the request to its answer.

    The processor time beside it is that of server and client, who share this process.
    """
    headers = {"Content-Type": "application/json"}
    took_s: dict[str, tuple[float, float]] = {}
    with client(service, key) as http:
        scene = add_scene(Service(service.url, service.database, service.scenes, http), "costly")
        for name, (area, status) in COSTLY.items():
            body = submission(area, f"{MODEL_NAME}@1", scene)
            times_s = []
            for _ in range(ROUNDS):
                began_s, worked_s = time.perf_counter(), time.process_time()
                answer = http.post("/jobs/quote", content=body, headers=headers)
                times_s.append((time.perf_counter() - began_s, time.process_time() - worked_s))
                assert answer.status_code == status, answer.text
            took_s[name] = sorted(times_s)[ROUNDS // 2]
    slowest = max(took_s, key=lambda name: took_s[name])
    where = {
        name: {"s": round(one_s, 3), "processor_s": round(worked_s, 3)}
        for name, (one_s, worked_s) in took_s.items()
    }
    return Measurement(
        "slowest hostile area",
        took_s[slowest][0],
        "s",
        Bar(1.0, True),
        conditions={"area": slowest, "rounds": ROUNDS, "areas": where},
    )
