"""Writes the table of moves into docs/moves.md, between its marks. Usage: .venv/bin/python scripts/draw_moves.py"""

from pathlib import Path

from evenshard.testing.moves_drawn import drawn

BEGIN, END = "<!-- drawn by scripts/draw_moves.py -->", "<!-- end of what is drawn -->"

path = Path(__file__).resolve().parents[1] / "docs" / "moves.md"
text = path.read_text(encoding="utf-8")
before, after = text.index(BEGIN) + len(BEGIN), text.index(END)
path.write_text(f"{text[:before]}\n\n{drawn()}\n\n{text[after:]}", encoding="utf-8")
