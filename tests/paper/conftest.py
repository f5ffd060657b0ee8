import pytest

from driftrates.paper import assemble
from papers import CAPTIONS, FIGURES, TABLES, TEXT, small_results


@pytest.fixture(scope="session")
def results():
    return small_results()


@pytest.fixture(scope="session")
def document(results):
    """The texts and captions of the workflow over these results."""
    return assemble(results, text=TEXT, captions=CAPTIONS, figures=FIGURES, tables=TABLES, settings={"scale": "smoke"})


@pytest.fixture(scope="session")
def drawings(tmp_path_factory):
    """A folder with a drawing in the place of every figure."""
    folder = tmp_path_factory.mktemp("figures")
    for name in FIGURES:
        (folder / f"{name}.svg").write_text(
            '<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg" width="504pt" height="100pt" viewBox="0 0 504 100">\n'
            f'<!-- {name} & "quotes" --><path id="p" d="M 1.23456 2.5 L 500.98765 90.1" stroke="#a33" transform="scale(0.987654)"/></svg>\n'
        )
    return folder
