import re
from html.parser import HTMLParser

import pytest
from matplotlib.figure import Figure as Drawing

from pushforward.report import Code, Estimate, Facts, Figure, Page, Section, Table, Text, picture, plots
from report.standin import gaussian_data

NASTY = "<script>alert(\"x\")</script> & 'quotes'"
VOID = {"meta", "br", "img", "link"}


class Reader(HTMLParser):
    """Checks that tags close in order, and remembers them."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def read(page: Page) -> Reader:
    reader = Reader()
    reader.feed(page.html())
    assert reader.open == []
    return reader


def nasty_page() -> Page:
    drawn = picture(plots.scatter(gaussian_data(50).values), NASTY, NASTY)
    blocks = (
        Text(NASTY), Code(NASTY), Facts(((NASTY, NASTY, NASTY),)), Table((NASTY, "n"), ((NASTY, 1),), NASTY),
        Figure(NASTY, (drawn, drawn)),
    )  # fmt: skip
    return Page(NASTY, NASTY, (Section(NASTY, blocks), Section(NASTY, ())), NASTY)


def test_every_string_is_escaped_and_every_tag_closed():
    reader = read(nasty_page())
    assert "script" not in [tag for tag, _ in reader.seen]


def test_nothing_comes_from_elsewhere():
    for tag, attributes in read(nasty_page()).seen:
        assert tag not in ("script", "link", "iframe", "object", "form")
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in ("src", "href", "xlink:href", "srcset"):
                assert value is not None
                assert value.startswith(("#", "data:image/png;base64,"))
    assert "@import" not in nasty_page().html()
    assert "default-src 'none'" in nasty_page().html()


def test_links_lead_to_their_sections_and_ids_are_unique():
    reader = read(nasty_page())
    ids = [a["id"] for _, a in reader.seen if "id" in a]
    links = [a["href"] for tag, a in reader.seen if tag == "a"]
    assert len(links) == 2
    assert all(link[1:] in ids for link in links)
    sections = [a["id"] for tag, a in reader.seen if tag == "section"]
    assert len(set(sections)) == 2


def test_drawings_refer_to_their_own_shapes_and_are_reproducible():
    def drawing() -> Drawing:
        return plots.curves({"loss": (range(20), [1.0 + i for i in range(20)])})

    one, two = picture(drawing()).markup, picture(drawing()).markup
    other = picture(plots.trajectories([gaussian_data(20).values] * 2, gaussian_data(20).values)).markup
    assert one == two
    ids = set(re.findall(r'\bid="([^"]+)"', one))
    references = re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', one)
    assert references
    assert all((a or b) in ids for a, b in references)
    assert not ids & set(re.findall(r'\bid="([^"]+)"', other))


def test_the_ink_of_a_drawing_is_the_page_s():
    markup = picture(plots.curves({"loss": (range(5), [1.0, 2.0, 3.0, 2.0, 1.0])}), describe="a & b").markup
    assert plots.INK not in markup
    assert "currentColor" in markup
    assert 'aria-label="a &amp; b"' in markup


def test_a_raster_is_inlined():
    markup = picture(plots.scatter(gaussian_data(50).values), raster=True).markup
    assert markup.startswith('<img alt="" src="data:image/png;base64,iVBOR')


@pytest.mark.parametrize(
    ("cell", "shown"),
    [
        (Estimate(-0.5, 0.01), "−0.500 <small>± 0.010</small>"),
        (1234567, "1,234,567"),
        (0.5, "0.5"),
        ("`a` < b", "<code>a</code> &lt; b"),
    ],
)
def test_cells(cell, shown):
    assert shown in Table(("name", "value"), (("x", cell),)).html()


def test_numbers_stand_right_and_references_are_quiet():
    html = Table(("name", "value"), (("x", 1), ("floor", 2.0)), quiet=(1,)).html()
    assert html.count("class=number") == 3
    assert "<tr class=quiet><th scope=row>floor" in html


def test_saving_replaces_whole_files_and_makes_folders(tmp_path):
    page = nasty_page()
    target = page.save(tmp_path / "deep" / "er" / "page.html")
    assert target.read_text(encoding="utf-8") == page.html()
    page.save(target)
    assert [p.name for p in target.parent.iterdir()] == ["page.html"]


def test_a_failed_save_leaves_the_old_page(tmp_path, monkeypatch):
    target = nasty_page().save(tmp_path / "page.html")
    old = target.read_text(encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.replace", fail)
    with pytest.raises(OSError, match="disk full"):
        Page("new", "", ()).save(target)
    assert target.read_text(encoding="utf-8") == old
    assert [p.name for p in tmp_path.iterdir()] == ["page.html"]
