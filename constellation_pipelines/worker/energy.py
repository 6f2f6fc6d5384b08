"""The energy that leases take, by the counters of their devices."""

from collections.abc import Iterable


class EnergyMeter:
    """Shares each device's energy out among the leases on it, from one reading to the next.

    A device whose driver does not tell has no readings; its leases have no energy, rather than 0.
    """

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._taken: dict[tuple[int, str], float] = {}

    def read(self, device_uuid: str, energy_j: float | None, fences: Iterable[int]) -> None:
        """A device's counter stands at `energy_j`; these leases were on it since the last reading.

        A counter that went back - the driver was loaded anew - counts from there.
        """
        if energy_j is None:
            self._last.pop(device_uuid, None)
            return
        before = self._last.get(device_uuid)
        self._last[device_uuid] = energy_j
        holders = list(fences)
        if before is None or energy_j < before:
            before = energy_j
        for fence in holders:
            place = (fence, device_uuid)
            self._taken[place] = self._taken.get(place, 0.0) + (energy_j - before) / len(holders)

    def take(self, fence: int) -> dict[str, float]:
        """What a lease that has ended took, by device; empty where no device told."""
        places = [place for place in self._taken if place[0] == fence]
        return {device: self._taken.pop((fence, device)) for _, device in places}
