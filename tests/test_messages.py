import pytest

from driftrates.messages import one_line, short, shown


@pytest.mark.parametrize(
    ("value", "text"),
    [("a", "'a'"), (1.5, "1.5"), ([4, 4], "[4, 4]"), (10**29, str(10**29)), (-(10**30), "a whole number of more than 30 digits")],
)
def test_a_value_is_shown_as_it_is_written(value, text):
    assert shown(value) == text


def test_values_without_end_are_cut():
    endless = []
    endless.append(endless)
    for value in (endless, "x" * 10**6, list(range(10**6)), {i: [i] * 100 for i in range(1000)}, [[10**5000]]):
        assert len(shown(value)) <= 80
    assert short("abcdef", 5) == "ab..."


def test_a_message_is_one_line_of_printable_characters():
    assert one_line(" a\n\tb  c ") == "a b c"
    assert one_line("é\x1b[2J\ud800\x00\ufeff") == "é\\x1b[2J\\ud800\\x00\\ufeff"
