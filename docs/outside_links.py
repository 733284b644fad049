"""Hook of mkdocs: links that leave docs/ are shown as paths, for the site has no such pages.

On a code host the same links work.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(((?!\w+:|#)[^)\s#]+)(#[^)\s]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, config: Any, **_: Any) -> str:
    root = Path(config["docs_dir"]).resolve()
    folder = (root / page.file.src_uri).parent

    def replaced(link: re.Match[str]) -> str:
        target = (folder / link[2]).resolve()
        if target.is_relative_to(root):
            return link[0]
        return f"{link[1]} (`{target.relative_to(root.parent)}`)"

    return _LINK.sub(replaced, markdown)
