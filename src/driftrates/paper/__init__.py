"""The paper: text that asks the results for its numbers, all figures and tables, the ledger; as PDF and as one HTML page.

`results` answers the questions of the text, `markup` reads text and captions, `document` puts the whole together as plain data,
which `pdf`, `page` and `findings` lay out. The text itself stands in the workflow.
"""

from driftrates.paper.document import Document, assemble
from driftrates.paper.findings import write_findings
from driftrates.paper.page import write_html
from driftrates.paper.pdf import write_pdf
from driftrates.paper.results import MISSING, Results

__all__ = ["MISSING", "Document", "Results", "assemble", "write_findings", "write_html", "write_pdf"]
