"""Places as parameters name them."""

from constellation_pipelines.domain.errors import InvalidInput


def box_of(text: str) -> tuple[float, float, float, float]:
    """West, south, east, north of a `bbox`. Raises InvalidInput."""
    west, south, east, north = degrees(text, "bbox", 4)
    if south > north:
        raise InvalidInput("south is above north: write west,south,east,north", field="bbox")
    return west, south, east, north


def degrees(text: str, name: str, count: int) -> list[float]:
    """Numbers of a list such as `lon,lat`. Raises InvalidInput unless they are degrees."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError:
        numbers = []
    limits = [180.0, 90.0] * (count // 2)
    within = all(abs(number) <= limit for number, limit in zip(numbers, limits, strict=False))
    if len(numbers) != count or not within:
        form = {2: "lon,lat", 4: "west,south,east,north"}[count]
        raise InvalidInput(f"{name} must be {form} in degrees", field=name)
    return numbers
