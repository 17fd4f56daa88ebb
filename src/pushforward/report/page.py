"""A page as a value: sections of blocks, all immutable, turned into ONE self-contained HTML file.

    Page(title, sections)    Section(title, blocks)
    blocks: Text, Code, Table, Facts, Figure

Nothing is loaded from elsewhere and nothing runs: pictures are inlined, the style sheet is in the page, there are no
scripts, and a content policy forbids both. Every string is escaped. The page follows the reader's light or dark
setting and the width of the window, prints, and opens from disk. Equal values give equal bytes.
"""

import base64
import hashlib
import html
import os
import re
from dataclasses import dataclass
from importlib import resources
from io import BytesIO, StringIO
from pathlib import Path

from matplotlib.figure import Figure as Drawing

from pushforward._durable import write_text
from pushforward.report.estimate import Estimate
from pushforward.report.plots import INK

Cell = str | int | float | Estimate


@dataclass(frozen=True, slots=True)
class Text:
    """Paragraphs of plain text, parted by empty lines; `names in backquotes` are set as code."""

    text: str

    def html(self) -> str:
        """This block as HTML."""
        return "".join(f"<p>{_inline(part)}</p>\n" for part in re.split(r"\n\s*\n", self.text.strip()))


@dataclass(frozen=True, slots=True)
class Code:
    """A listing, kept as it is."""

    text: str

    def html(self) -> str:
        """This block as HTML."""
        return f'<pre tabindex="0"><code>{_escape(self.text.strip())}</code></pre>\n'


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells under a header; numbers stand right, an `Estimate` shows its error small.

    Args:
        header: names of the columns.
        rows: as many cells each as the header has.
        caption: one or two sentences beneath.
        quiet: rows (by index) set apart as references, not results.
    """

    header: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    caption: str = ""
    quiet: tuple[int, ...] = ()

    def html(self) -> str:
        """This block as HTML."""
        numeric = [all(_is_number(row[i]) for row in self.rows) for i in range(len(self.header))]
        head = "".join(f"<th scope=col{_right(n)}>{_inline(name)}</th>" for name, n in zip(self.header, numeric))
        body = "".join(self._row(i, numeric) for i in range(len(self.rows)))
        caption = f"<figcaption>{_inline(self.caption)}</figcaption>" if self.caption else ""
        table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
        return f'<figure class=table><div class=scroll tabindex="0">{table}</div>{caption}</figure>\n'

    def _row(self, index: int, numeric: list[bool]) -> str:
        first, *rest = self.rows[index]
        cells = "".join(f"<td{_right(n)}>{_cell(cell)}</td>" for cell, n in zip(rest, numeric[1:]))
        quiet = " class=quiet" if index in self.quiet else ""
        return f"<tr{quiet}><th scope=row{_right(numeric[0])}>{_cell(first)}</th>{cells}</tr>"


@dataclass(frozen=True, slots=True)
class Facts:
    """The few numbers a reader came for, large.

    Args:
        items: (name, value, a short note or "") each.
    """

    items: tuple[tuple[str, Cell, str], ...]

    def html(self) -> str:
        """This block as HTML."""
        each = (
            f"<div><dt>{_inline(name)}</dt><dd>{_cell(value)}</dd><dd class=note>{_inline(note)}</dd></div>"
            for name, value, note in self.items
        )
        return f"<dl class=facts>{''.join(each)}</dl>\n"


@dataclass(frozen=True, slots=True)
class Picture:
    """One drawing, ready for a page; made by `picture`. The markup is trusted, all else is escaped.

    Args:
        markup: an SVG element or an image with inlined data.
        width: its natural width in points.
        title: a few words above it.
        ink: black on nothing, to be turned white where the page is dark.
    """

    markup: str
    width: float
    title: str = ""
    ink: bool = False

    def html(self) -> str:
        """This drawing with its title as HTML."""
        title = f"<h4>{_inline(self.title)}</h4>" if self.title else ""
        kind = "picture" + (" wide" if self.width > 200 else "") + (" ink" if self.ink else "")
        return f'<div class="{kind}" style="--w:{self.width:.0f}px">{title}{self.markup}</div>'


@dataclass(frozen=True, slots=True)
class Figure:
    """Drawings side by side as the window allows, with one caption."""

    caption: str
    pictures: tuple[Picture, ...]

    def html(self) -> str:
        """This block as HTML."""
        drawings = "".join(picture.html() for picture in self.pictures)
        count = len(self.pictures)
        columns = count if count < 5 else 3 if count < 7 else 4
        pictures = f'<div class=pictures style="--n:{columns}">{drawings}</div>'
        return f"<figure>{pictures}<figcaption>{_inline(self.caption)}</figcaption></figure>\n"


Block = Text | Code | Table | Facts | Figure


@dataclass(frozen=True, slots=True)
class Section:
    """A heading and what stands under it."""

    title: str
    blocks: tuple[Block, ...]


@dataclass(frozen=True, slots=True)
class Page:
    """A whole page.

    Args:
        title: its heading, and the window's.
        lead: one or two sentences under the heading.
        sections: in reading order.
        footer: one line at the end.

    >>> "&lt;b&gt;" in Page("A", "x", (Section("One", (Text("<b>"),)),)).html()
    True
    """

    title: str
    lead: str
    sections: tuple[Section, ...]
    footer: str = ""

    def html(self) -> str:
        """The whole file's text."""
        names = _anchors([section.title for section in self.sections])
        links = "".join(f'<li><a href="#{n}">{_escape(s.title)}</a></li>' for n, s in zip(names, self.sections))
        body = "".join(
            f'<section id="{name}"><h2>{_escape(section.title)}</h2>\n{_blocks(section.blocks)}</section>\n'
            for name, section in zip(names, self.sections)
        )
        style = resources.files("pushforward.report").joinpath("page.css").read_text(encoding="utf-8")
        return (
            "<!doctype html>\n<html lang=en>\n<head>\n<meta charset=utf-8>\n"
            "<meta http-equiv=Content-Security-Policy content=\"default-src 'none'; img-src data:; "
            "style-src 'unsafe-inline'\">\n"
            '<meta name=viewport content="width=device-width, initial-scale=1">\n'
            '<meta name=color-scheme content="light dark">\n'
            f"<title>{_escape(self.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
            f"<nav aria-label=Contents><ol>{links}</ol></nav>\n<main>\n"
            f"<header><h1>{_escape(self.title)}</h1>\n<p class=lead>{_inline(self.lead)}</p></header>\n"
            f"{body}<footer>{_inline(self.footer)}</footer>\n</main>\n</body>\n</html>\n"
        )

    def save(self, path: str | os.PathLike[str]) -> Path:
        """Write the page, whole or not at all; missing folders are made."""
        target = Path(path)
        write_text(target, self.html())
        return target


def picture(drawing: Drawing, title: str = "", describe: str = "", raster: bool = False, ink: bool = False) -> Picture:
    """A matplotlib figure as a picture for a page.

    Args:
        drawing: the figure; our ink in it takes the page's own.
        title: a few words above it.
        describe: what a reader who cannot see it should be told; the title if empty.
        raster: inline a PNG instead of an SVG, for drawings of very many shapes.
        ink: whether it is black on nothing, as `plots.images(ink=True)` draws.
    """
    label = html.escape(describe or title, quote=True)
    width = float(drawing.get_figwidth()) * 72
    if raster:
        pixels = BytesIO()
        drawing.savefig(pixels, format="png", dpi=200, transparent=True)
        data = base64.b64encode(pixels.getvalue()).decode("ascii")
        return Picture(f'<img alt="{label}" src="data:image/png;base64,{data}">', width, title, ink)
    text = StringIO()
    drawing.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return Picture(_inline_svg(text.getvalue(), label), width, title, ink)


def _inline_svg(text: str, label: str) -> str:
    """An SVG file as an element: no prologue, no metadata, our ink as `currentColor`, ids unique and reproducible."""
    text = re.sub(r"<metadata>.*?</metadata>\s*", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = text.replace(INK, "currentColor")
    opening = re.match(r'<svg[^>]*?viewBox="([^"]*)"[^>]*>', text, flags=re.DOTALL)
    assert opening is not None
    links = 'xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink"'
    text = f'<svg {links} viewBox="{opening[1]}" role="img" aria-label="{label}">' + text[opening.end() :]
    # matplotlib's ids are random: number them, then prefix what the numbered text itself hashes to
    numbers = {name: str(i) for i, name in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', text)))}
    text = _renamed(text, numbers)
    key = hashlib.blake2b(text.encode(), digest_size=4).hexdigest()
    return _renamed(text, {number: f"p{key}-{number}" for number in numbers.values()})


def _renamed(text: str, names: dict[str, str]) -> str:
    """The SVG with its ids, and what refers to them, renamed."""
    pattern = r'(\bid="|href="#|url\(#)([^")]+)'
    return re.sub(pattern, lambda found: found[1] + names.get(found[2], found[2]), text)


def _blocks(blocks: tuple[Block, ...]) -> str:
    return "".join(block.html() for block in blocks)


def _anchors(titles: list[str]) -> list[str]:
    names: list[str] = []
    for title in titles:
        name = base = re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-") or "section"
        count = 2
        while name in names:
            name, count = f"{base}-{count}", count + 1
        names.append(name)
    return names


def _cell(cell: Cell) -> str:
    if isinstance(cell, Estimate):
        value, error = cell.parts()
        small = f" <small>± {error}</small>" if error else ""
        return value.replace("-", "−") + small
    if isinstance(cell, bool | str):
        return _inline(str(cell))
    return (f"{cell:,}" if isinstance(cell, int) else f"{cell:.3g}").replace("-", "−")


def _is_number(cell: Cell) -> bool:
    return not isinstance(cell, str) or re.fullmatch(r"[-−]?[\d.,]*\s?%?", cell) is not None


def _right(numeric: bool) -> str:
    return " class=number" if numeric else ""


def _escape(text: str) -> str:
    return html.escape(text, quote=True)


def _inline(text: str) -> str:
    return re.sub(r"`([^`\n]+)`", r"<code>\1</code>", _escape(text))
