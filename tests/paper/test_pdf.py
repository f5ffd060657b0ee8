import re

import pypdf
import pytest

from driftrates.paper import markup, write_pdf
from driftrates.paper.pdf import width_of
from papers import FIGURES, TABLES, TEXT


@pytest.fixture(scope="module")
def pdf(document, drawings, tmp_path_factory):
    path = tmp_path_factory.mktemp("pdf") / "paper.pdf"
    write_pdf(document, path, template=TEXT / "paper.typ", figures=drawings)
    return path


@pytest.fixture(scope="module")
def words(pdf):
    return re.sub(r"\s+", " ", " ".join(page.extract_text() for page in pypdf.PdfReader(pdf).pages))


def test_the_pdf_holds_every_figure_and_table(pdf, words):
    for kind, names in (("Figure", FIGURES), ("Table", TABLES)):
        assert [n for n in range(1, len(names) + 1) if f"{kind} {n}." not in words] == []
    reader = pypdf.PdfReader(pdf)
    objects = [reader.get_object(i) for i in range(1, reader.trailer["/Size"])]
    drawn = [o for o in objects if isinstance(o, dict) and o.get("/S") == "/Figure" and o.get("/Alt")]
    assert len(drawn) == len(FIGURES)


def test_the_pdf_says_the_computed_numbers(document, results, words):
    assert f"{len(results.claims)} checks of {results.statements()} statements" in words
    assert "0.346" in words
    assert "2 confirmed" not in words
    for section in document.sections:
        assert markup.plain([section.title]) in words


def test_the_pdf_has_pages_numbers_links_and_contents(pdf, document):
    reader = pypdf.PdfReader(pdf)
    width, height = (float(v) / 72 for v in reader.pages[0].mediabox[2:])
    assert (width, height) == pytest.approx((8.27, 11.69), abs=0.01)
    assert {round(float(p.mediabox[2]) / 72, 1) for p in reader.pages} == {8.3, 11.7}, "wide tables lie across"
    assert len(reader.outline) == len(document.sections) + 1, "the sections and the tables"
    assert reader.metadata.title.startswith("What drifting models do")
    links = [a for page in reader.pages for a in page.get("/Annots", []) if a.get_object()["/Subtype"] == "/Link"]
    assert len(links) > len(FIGURES)


def test_equal_documents_give_equal_bytes(document, drawings, pdf, tmp_path):
    write_pdf(document, tmp_path / "again.pdf", template=TEXT / "paper.typ", figures=drawings)
    assert (tmp_path / "again.pdf").read_bytes() == pdf.read_bytes()
    assert b"CreationDate" not in pdf.read_bytes()


def test_a_missing_figure_and_a_faulty_template_are_named(document, drawings, tmp_path):
    with pytest.raises(ValueError, match=FIGURES[0].replace("figure1", r"\w+\.svg")):
        write_pdf(document, tmp_path / "a.pdf", template=TEXT / "paper.typ", figures=tmp_path)
    (tmp_path / "bad.typ").write_text("#nothing()")
    with pytest.raises(ValueError, match=r"bad\.typ.*nothing"):
        write_pdf(document, tmp_path / "a.pdf", template=tmp_path / "bad.typ", figures=drawings)
    assert not list(tmp_path.glob("*.pdf"))


def test_the_width_of_a_drawing_is_read_from_it(tmp_path):
    (tmp_path / "a.svg").write_text('<?xml version="1.0"?><svg height="3pt" width="244.8pt" version="1.1">')
    assert width_of(tmp_path / "a.svg") == 244.8
    (tmp_path / "b.svg").write_text('<svg height="3pt" viewBox="0 0 1 1">')
    with pytest.raises(ValueError, match=r"b\.svg"):
        width_of(tmp_path / "b.svg")
