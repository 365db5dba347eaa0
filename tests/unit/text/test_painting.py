"""Tables on terminals: what gives way on narrow ones, colours where there are any, characters that are not letters."""

import random
from typing import Any

import pytest
from evenshard.cli.output import terminal_look
from evenshard.testing import answers
from evenshard.text.ascii import for_encoding
from evenshard.text.cells import cut, duration, length, printable, shown, value_text
from evenshard.text.layout import BAR_WIDTH_MIN, Room, fit, in_turn, total
from evenshard.text.look import Look
from evenshard.text.paint import paint
from evenshard.text.rows import rows_shown
from evenshard.text.table import Bar, Column, Heat, Lines, Spark, Table, table_of


def test_what_is_cut_fits_and_wide_characters_count_twice() -> None:
    assert [length(text) for text in ("abc", "東京", "é", "")] == [3, 4, 1, 0]
    for text in ("abcdef", "東京都庁", "a東b京", ""):
        for width in range(9):
            assert length(cut(text, width)) <= width
            assert cut(text, 99) == text
    assert cut("東京都庁", 5) == "東京…"


def test_nothing_that_moves_a_cursor_is_printed() -> None:
    assert printable("a\x1b[2J\nb\u202ec\tе́ 👩\u200d💻\u00a0") == "a\\x1b[2J\\nb\\u202ec\\tе́ 👩\u200d💻\u00a0"
    table = table_of(["\x1b"], [["\x07"], [b"x"]])
    assert "\x1b" not in paint([table, Lines(["\r"])])
    assert shown("\x9b") == "\\x9b"


def test_numbers_of_answers_have_thousands_and_values_of_properties_are_as_they_came() -> None:
    values = [None, True, 2026, 1234.5, 0.125, 0.123456, 2.7598, "a", [1, "é"], {"a": None}]
    assert [value_text(value) for value in values] == [
        "(not set)", "true", "2026", "1234.5", "0.125", "0.123456", "2.7598", "a", '[1, "é"]', '{"a": null}',
    ]  # fmt: skip
    assert [shown(value) for value in values[:7]] == [
        "(not set)", "true", "2,026", "1,234.50", "0.125", "0.12346", "2.76",
    ]  # fmt: skip


@pytest.mark.parametrize("letter", ["a", "東", "\x07", "é"])
def test_a_megabyte_in_a_cell_makes_no_wide_table(letter: str) -> None:
    text = letter * 1_000_000
    table = table_of(["x", "y", "z"], [[text, value_text(text), value_text([text])] for _ in range(10)])
    assert max(map(len, paint([table]).splitlines())) < 910


def test_durations_are_in_the_largest_unit_of_which_there_is_one() -> None:
    assert [duration(seconds) for seconds in (None, 0, 0.25, 59, 60, 5400, 90_000)] == [
        "", "0 ms", "250 ms", "59.0 s", "1.0 min", "1.5 h", "1.0 d",
    ]  # fmt: skip


def test_columns_give_way_in_turn() -> None:
    rooms = [
        Room(30, 8, is_text=True),
        Room(10, 10),
        Room(30, 8, is_bar=True),
        Room(9, 9, spare=1),
        Room(9, 9, spare=2),
    ]
    natural = total([room.width for room in rooms])
    assert fit(rooms, None) == fit(rooms, natural) == dict(enumerate(room.width for room in rooms))
    assert fit(rooms, natural - 5)[2] == 25
    assert fit(rooms, natural - 25) == {0: 27, 1: 10, 2: BAR_WIDTH_MIN, 3: 9, 4: 9}
    assert sorted(fit(rooms, natural - 30)) == [0, 1, 2, 3]
    assert fit(rooms, 30) == {0: 8, 1: 10, 2: BAR_WIDTH_MIN}


@pytest.mark.parametrize("seed", range(5))
def test_columns_that_can_fit_do(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(300):
        rooms = []
        for _ in range(rng.randint(1, 8)):
            kind = rng.choice(["text", "bar", "number"])
            width = rng.randint(1, 60)
            least = rng.randint(1, width) if kind == "number" else 8
            rooms.append(Room(width, least, kind == "bar", kind == "text", rng.choice([0, 0, 1, 2])))
        width_max = rng.randint(1, 200)
        widths = fit(rooms, width_max)
        assert {at for at, room in enumerate(rooms) if not room.spare} <= set(widths)
        assert all(1 <= width <= rooms[at].width for at, width in widths.items())
        needed = total([min(8, room.width) if room.is_bar or room.is_text else room.least
                        for room in rooms if not room.spare])  # fmt: skip
        if needed <= width_max:
            assert total(widths.values()) <= width_max
        lead = rng.randint(1, len(rooms))
        parts = in_turn(rooms, lead, width_max)
        assert sorted(at for part in parts for at in part if at >= lead) == list(range(lead, len(rooms)))
        assert all(set(range(lead)) <= set(part) for part in parts)
        assert all(total(part.values()) <= width_max or len(part) <= lead + 1 for part in parts)


def test_columns_that_do_not_fit_go_below_after_the_first_ones_again() -> None:
    table = Table([Column(), Column("aaaa"), Column("bbbb"), Column("cccc")], [["x", 1, 2, 3]], lead=1)
    assert paint([table], Look(width=14)).splitlines() == ["   aaaa  bbbb", "x     1     2", "", "   cccc", "x     3"]


def test_colours_are_for_bars_headers_shades_and_warnings_and_take_no_room() -> None:
    blocks = [
        Table([Column("name"), Column("n"), Column(), Column(), Column("0", True)],
              [["a", 1, Bar(1.0), Spark([1, 2]), Heat(0.5)], ["b", 2, Bar(None), Spark([0, 0]), Heat(None)]]),
        Lines(["quiet"], "quiet"), Lines(["beware"], "warning"),
    ]  # fmt: skip
    plain, coloured = paint(blocks, Look()), paint(blocks, Look(color=True))
    assert "\x1b" not in plain
    assert "\x1b[36m██████████████████████████████\x1b[0m" in coloured
    assert "\x1b[33mbeware\x1b[0m" in coloured
    assert "\x1b[38;5;16;48;5;111m   50.0 % \x1b[0m" in coloured
    stripped = coloured
    for code in ("1", "2", "33", "36", "38;5;16;48;5;111", "0"):
        stripped = stripped.replace(f"\x1b[{code}m", "")
    assert "\x1b" not in stripped
    assert [line.rstrip() for line in stripped.replace("▒", " ").splitlines()] == [
        line.rstrip() for line in plain.replace("▒", " ").splitlines()
    ]


class Stream:
    def __init__(self, is_terminal: bool) -> None:
        self.is_terminal = is_terminal

    def isatty(self) -> bool:
        return self.is_terminal


@pytest.mark.parametrize(
    ("is_terminal", "environment", "look"),
    [
        (False, {}, Look(None, None, False)),
        (False, {"COLUMNS": "70"}, Look(70, None, False)),
        (True, {"COLUMNS": "70"}, Look(70, None, True)),
        (True, {"COLUMNS": "70", "NO_COLOR": "1"}, Look(70, None, False)),
        (True, {"COLUMNS": "70", "NO_COLOR": ""}, Look(70, None, True)),
        (True, {"COLUMNS": "70", "TERM": "dumb"}, Look(70, None, False)),
    ],
)
def test_a_terminal_has_width_and_colours_and_a_pipe_neither(
    is_terminal: bool, environment: dict[str, str], look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdout", Stream(is_terminal))
    for name in ("COLUMNS", "NO_COLOR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert terminal_look(environment) == look


@pytest.mark.parametrize("kind", sorted(answers.every_kind()))
def test_a_file_gets_everything(kind: str) -> None:
    answer: Any = answers.every_kind()[kind]
    text = paint(answer.blocks())
    assert printable(answers.EVIL) in text or kind in ("segmentation", "funnel", "retention")
    assert "…" not in text


def test_of_many_rows_the_first_and_the_last_are_shown_and_those_of_all() -> None:
    rows = [[str(at)] for at in range(100)]
    table = Table([Column("x")], [*rows, ["overall"]], "caption", ["note"], foot=1)
    assert rows_shown(table, None) == rows_shown(table, 101) == rows_shown(table, 100) == table.rows
    found = rows_shown(table, 8)
    assert found == [["0"], ["1"], ["2"], ["3"], 93, ["97"], ["98"], ["99"], ["overall"]]
    assert paint([table], Look(rows_max=8)).splitlines() == [
        "caption", "x", "0", "1", "2", "3", "… 93 more", "97", "98", "99", "overall", "note",
    ]  # fmt: skip
    many = paint([table] * 9, Look(rows_max=8)).splitlines()
    assert (many.count("note"), many[-1]) == (6, "… 3 more tables")


def test_titles_captions_and_notes_are_safe_to_print_too() -> None:
    assert "\x1b" not in paint([Table([Column("\x1b")], [[Heat(1.0)]], "\x1b", ["\x1b"])], Look(width=9, color=False))


def test_a_terminal_without_block_characters_gets_others_as_wide() -> None:
    for kind, answer in answers.every_kind().items():
        text = paint(answer.blocks())
        assert for_encoding(text, "utf-8") == text
        found = for_encoding(text, "ascii")
        assert len(found) == len(text)
        assert found.isascii() or kind == "segmentation_by"  # a name is what it is
    assert for_encoding("█▌▏ ░▒▓ ▁▄█ ├─└─ …", "latin-1") == "##- .:= _:# |-`- ~"
