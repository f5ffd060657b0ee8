"""`snakemake verify`: the smallest scale against the stored reference, whatever the configured scale."""

from driftrates import store
from workflows import Workflow


def test_this_machine_computes_the_reference(tmp_path):
    fresh = Workflow.fresh(tmp_path / "workflow")
    assert fresh.run("verify", config=["scale=paper"]) == {"verify"}
    table = store.read_csv(fresh.folder / "results/verification.csv")
    assert (table["verdict"] == "agrees").all() and len(table) > 1000
    assert table["dataset"].nunique() > 100
    assert (table["rtol"] < 1e-6).mean() > 0.5
    assert fresh.plan("verify", config=["scale=paper"]) == set()
