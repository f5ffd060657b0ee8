from _stage import run

from driftrates import store
from driftrates.pipeline import verification

# The newest instruction set first: its numbers are the reference, the others tell how far rounding carries.
INSTRUCTION_SETS = ((), ("avx512",), ("avx512", "avx", "fma"))


def main(snakemake):
    runs = [verification.compute_all(snakemake.params.jobs, processes=snakemake.threads, without=without) for without in INSTRUCTION_SETS]
    store.write_csv(verification.reference(runs), snakemake.output[0])


run(main, snakemake)  # noqa: F821
