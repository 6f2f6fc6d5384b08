"""What accounts have used, read from leases and tiles themselves: there is no second count."""

from datetime import date

from constellation_pipelines.domain.usage import Usage
from constellation_pipelines.store.database import Connection

OF_ACCOUNT = """
select account, day, model, gpu_s, energy_j, tiles, area_km2
  from constellation.usage(%(first)s, %(last)s) where account = %(account)s
"""

OF_EVERYONE = """
select account, day, model, gpu_s, energy_j, tiles, area_km2
  from constellation.usage(%(first)s, %(last)s, everyone => true)
"""


def of_account(connection: Connection, account: str, first: date, last: date) -> list[Usage]:
    """What an account used from day `first` to day `last` (UTC), by day and model."""
    args = {"account": account, "first": first, "last": last}
    return [Usage(**row) for row in connection.execute(OF_ACCOUNT, args)]


def of_everyone(connection: Connection, first: date, last: date) -> list[Usage]:
    """The same of all accounts; to be shown in sums only."""
    args = {"first": first, "last": last}
    return [Usage(**row) for row in connection.execute(OF_EVERYONE, args)]
