# What is exported as Arrow has no Python names; arrow reaches it by cimport.
from .columns import Columns

def group_rows(columns: Columns) -> tuple[list[str | None], memoryview, memoryview, memoryview]: ...
