"""Showing an answer to a person.

What is shown came over the network: control characters, with which it could drive the terminal,
are replaced, and nothing is read as markup.
"""

from __future__ import annotations

import re
import unicodedata

from rich.console import Console
from rich.text import Text

from edgeqa.messages import Answer, Span

# The longest part of a sentence before and after an answer.
_AROUND_CHARS = 160
_SENTENCE_END = re.compile(r"[.!?。！？]\s+|\n\s*\n")


def show_answer(console: Console, answer: Answer, *, context: str | None, total_ms: float) -> None:
    """Print the answers with score and sentence, and who gave them in what time.

    Args:
        console: colours where it is a terminal; elsewhere the answer stands in brackets.
        answer: of one question.
        context: the text that was sent; None if it is stored on the device.
        total_ms: from asking to the answer, as the person waited.
    """
    for span in answer.answers or []:
        line = Text(f"{span.score:6.1%}  ")
        line.append(clean(span.text), style="bold green")
        console.print(line, soft_wrap=True, highlight=False)
        if context is not None:
            console.print(_sentence(context, span, brackets=not console.is_terminal),
                          soft_wrap=True, highlight=False)  # fmt: skip
    if not answer.answers:
        console.print("no answer in the text", highlight=False)
    console.print(Text(_origin(answer, total_ms), style="dim"), soft_wrap=True, highlight=False)


def _sentence(context: str, span: Span, *, brackets: bool) -> Text:
    start, end = span.start, span.end
    ends = [m.end() for m in _SENTENCE_END.finditer(context, max(0, start - _AROUND_CHARS), start)]
    first = ends[-1] if ends else max(0, start - _AROUND_CHARS)
    following = _SENTENCE_END.search(context, end, end + _AROUND_CHARS)
    last = following.start() + 1 if following else min(len(context), end + _AROUND_CHARS)
    text = Text(" " * 8)
    text.append(("" if ends or not first else "…") + clean(context[first:start]), style="dim")
    answer = clean(context[start:end])
    text.append(f"[{answer}]" if brackets else answer, style="bold")
    text.append(clean(context[end:last]), style="dim")
    return text


def _origin(answer: Answer, total_ms: float) -> str:
    parts = [f"device {clean(answer.device)}"]
    if answer.model is not None:
        parts.insert(0, f"{clean(answer.model.name)} {clean(answer.model.version)}")
    if answer.choice is not None:
        parts.insert(1, f"chosen: {clean(answer.choice)}")
    if answer.cached:
        parts.append("kept from before")
    elif answer.inference_ms is not None:
        parts.append(f"inference {answer.inference_ms:.1f} ms")
    parts.append(f"total {total_ms:.1f} ms")
    return "        " + " · ".join(parts)


def clean(text: str) -> str:
    """Text from elsewhere without control characters, for a terminal."""
    return "".join(
        " " if ch in "\n\r\t" else "\ufffd" if unicodedata.category(ch) == "Cc" else ch
        for ch in text
    )
