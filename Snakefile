configfile: "config.yaml"


report: "workflow/report/workflow.rst"


include: "workflow/rules/common.smk"
include: "workflow/rules/outline.smk"
include: "workflow/rules/simulate.smk"
include: "workflow/rules/kernels.smk"
include: "workflow/rules/fields.smk"
include: "workflow/rules/measure.smk"
include: "workflow/rules/claims.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"


rule all:
    default_target: True
    input:
        data_files(DATA),
        rules.tables.input,
        rules.figures.input,
