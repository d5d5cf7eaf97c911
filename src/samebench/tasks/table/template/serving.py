"""The server side; nothing here imports torch."""

from samebench.tasks.table.serving import TableServing

SERVING = TableServing()
