"""The errors that the troubleshooting page quotes are those that the program raises."""

from __future__ import annotations

import ast
import re
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
PAGE = REPOSITORY / "docs/troubleshooting.md"


def quoted() -> list[str]:
    """Messages in the first column; settings and names of models are no messages."""
    cells = re.findall(r"^\| (.*?) \|", PAGE.read_text(encoding="utf-8"), flags=re.M)
    quotes = [quote for cell in cells for quote in re.findall(r"`([^`]+)`", cell)]
    return [quote for quote in quotes if " " in quote and not quote.startswith("-")]


def texts_of_the_program() -> str:
    """All string literals; what is formatted into them is a gap."""
    found = []
    for path in (REPOSITORY / "src/openemo").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.JoinedStr):
                parts = [part.value if isinstance(part, ast.Constant) else "\0" for part in node.values]
                found.append("".join(map(str, parts)))
            elif isinstance(node, ast.Constant) and isinstance(node.value, str):
                found.append(node.value)
    return "\n".join(found)


def test_quoted_messages_exist() -> None:
    quotes, texts = quoted(), texts_of_the_program()
    assert len(quotes) > 40
    patterns = {quote: ".*".join(map(re.escape, quote.split("..."))) for quote in quotes}
    assert [quote for quote, pattern in patterns.items() if not re.search(pattern, texts)] == []
