"""The documentation as text: its commands, its links and what they can point at."""

from __future__ import annotations

import re
import shlex
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]

_FENCE = re.compile(r"^(\s*)(```+|~~~+)(.*)$")
_INLINE = re.compile(r"(?<!`)`([^`]+)`(?!`)")
_LINK = re.compile(r"!?\[(?:[^\]\[]|\[[^\]]*\])*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_HEADING = re.compile(r"^#{1,6}\s+(.*?)\s*#*$")
_ANCHOR = re.compile(r"<a\s+(?:name|id)=\"([^\"]+)\"")
# A program before `edgeqa` on a line that hands its arguments on.
_RUNNERS = {"sudo", "nice", "time", "exec", "env", "timeout", "watch", "sh", "-c", "&&", "||", "|"}
_ASSIGNMENT = re.compile(r"^[A-Z_][A-Z0-9_]*=")
_ENDS = {"|", "||", "&&", ";", "&", ">", ">>", "<", "2>", "2>&1", "<<<", ")", "#"}


@dataclass(frozen=True, slots=True)
class Page:
    """A Markdown file."""

    path: Path

    @property
    def name(self) -> str:
        """From the repository's root."""
        return str(self.path.relative_to(ROOT))

    @property
    def lines(self) -> list[str]:
        """Its text."""
        return self.path.read_text(encoding="utf-8").splitlines()

    def blocks(self) -> Iterator[tuple[int, str]]:
        """Code blocks: the number of the first line, and the text."""
        inside: str | None = None
        begun, block = 0, list[str]()
        for number, line in enumerate(self.lines, 1):
            fence = _FENCE.match(line)
            if fence and inside is None:
                inside, begun, block = fence[2], number + 1, []
            elif fence and inside is not None and fence[2].startswith(inside):
                yield begun, "\n".join(block)
                inside = None
            elif inside is not None:
                block.append(line)

    def prose(self) -> Iterator[tuple[int, str]]:
        """Lines outside of code blocks."""
        inside: str | None = None
        for number, line in enumerate(self.lines, 1):
            fence = _FENCE.match(line)
            if fence and inside is None:
                inside = fence[2]
            elif fence and inside is not None and fence[2].startswith(inside):
                inside = None
            elif inside is None:
                yield number, line

    def anchors(self) -> set[str]:
        """What `#…` can name, as GitHub makes it of headings."""
        seen: Counter[str] = Counter()
        found: set[str] = set()
        for _, line in self.prose():
            found |= set(_ANCHOR.findall(line))
            heading = _HEADING.match(line)
            if heading is None:
                continue
            slug = _slug(heading[1])
            found.add(f"{slug}-{seen[slug]}" if seen[slug] else slug)
            seen[slug] += 1
        return found

    def links(self) -> Iterator[tuple[int, str]]:
        """Targets of links and pictures."""
        for number, line in self.prose():
            for target in _LINK.findall(_INLINE.sub("`code`", line)):
                yield number, target

    def commands(self) -> Iterator[tuple[int, list[str]]]:
        """Words of each `edgeqa …`, from behind `edgeqa` to the end of the command."""
        for begun, block in self.blocks():
            joined = re.sub(r"\\\n\s*", " ", block)
            for line in joined.splitlines():
                words = _command_in(line)
                if words:
                    yield begun, words
        text = [line for _, line in self.prose()]
        # Code in prose may be broken over two lines.
        for code in _INLINE.findall("\n".join(text)):
            words = _command_in(code.replace("\n", " "), whole=True)
            if words:
                yield 0, words


def pages(*patterns: str) -> list[Page]:
    """Files of the repository that match."""
    return [Page(path) for pattern in patterns for path in sorted(ROOT.glob(pattern))]


def _slug(heading: str) -> str:
    text = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).replace("`", "")
    kept = "".join(c for c in text.lower() if c.isalnum() or c in " -_")
    return kept.strip().replace(" ", "-")


def _command_in(line: str, *, whole: bool = False) -> list[str] | None:
    """The words behind `edgeqa`, where the line is such a command."""
    text = line.strip().removeprefix("$ ").removeprefix("# ")
    if "edgeqa" not in text:
        return None
    try:
        words = shlex.split(text, comments=True)
    except ValueError:
        words = text.split()
    before = 0
    for word in words:
        if word == "edgeqa" or word.endswith("/bin/edgeqa"):
            break
        if whole or not (_ASSIGNMENT.match(word) or word in _RUNNERS or before):
            return None
        before += word in {"timeout", "watch", "sh", "env", "sudo"}
    else:
        return None
    rest = words[words.index(word) + 1 :]
    end = next((n for n, one in enumerate(rest) if one in _ENDS or one.startswith("$(")), len(rest))
    return rest[:end]
