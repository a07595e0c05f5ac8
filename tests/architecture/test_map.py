"""docs/map.md says what the house serves today."""

from pathlib import Path

from onterms.app.catalogue import map_page, served_rooms

MAP = Path(__file__).parents[2] / "docs" / "map.md"


def test_the_map_is_current() -> None:
    assert MAP.read_text() == map_page(), "run: onterms map docs/map.md"


def test_the_map_names_every_served_operation_and_its_room_once() -> None:
    rows = [line.split(" | ") for line in map_page().splitlines() if line.startswith("| `") and "https://" in line]
    assert {name: room.strip("| `") for room, name, _ in rows} == served_rooms()
    assert len(rows) == len(served_rooms())
