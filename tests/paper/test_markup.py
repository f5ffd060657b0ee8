import pytest

from driftrates.paper import markup


def test_the_markup_of_captions():
    (block,) = markup.read(
        "**Rates (T4.5).** *Above*: N\\ :sup:`-1/2`, D\\ :sub:`N`, ``code``, `h = 1` and\nparticles' model's `here <#figure-x>`__."
    )
    assert block["children"] == [
        {"tag": "strong", "children": ["Rates (T4.5)."]},
        " ",
        {"tag": "emph", "children": ["Above"]},
        ": N",
        {"tag": "super", "children": ["-1/2"]},
        ", D",
        {"tag": "sub", "children": ["N"]},
        ", ",
        {"tag": "code", "children": ["code"]},
        ", ",
        {"tag": "math", "children": ["h = 1"]},
        " and particles' model’s ",
        {"tag": "link", "target": "#figure-x", "children": ["here"]},
        ".",
    ]
    assert markup.plain(block["children"]).startswith("Rates (T4.5). Above: N-1/2, DN")
    assert markup.links(block) == ["#figure-x"]


def test_titles_paragraphs_and_lists():
    blocks = markup.read("A title\n=======\n\nText.\n\n* one\n* `two <#table-t>`__\n")
    assert [b["kind"] for b in blocks] == ["heading", "paragraph", "list"]
    assert blocks[2]["items"][0] == ["one"]
    assert markup.links(blocks[2]) == ["#table-t"]


@pytest.mark.parametrize("text", ["a |r|² without a bar", "**bold", ".. image:: x.png", "Short\n=="])
def test_faulty_markup_names_its_file(text):
    with pytest.raises(ValueError, match=r"caption\.rst"):
        markup.read(text, "caption.rst")
