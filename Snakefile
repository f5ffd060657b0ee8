report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/outline.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/kernels.smk"
include: "workflow/rules/fields.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/benchmarks.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/paper.smk"
include: "workflow/rules/cluster.smk"
include: "workflow/rules/verify.smk"
include: "workflow/rules/documentation.smk"


rule all:
    default_target: True
    input:
        data_files(DATA),
        rules.tables.input,
        rules.figures.input,
        rules.paper.output,
