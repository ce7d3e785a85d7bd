"""The pane vector: what each of its cells counts, and how rows become cells.

`layout` puts the blocks of a model together; `features`, `scores` and `delays` hold one kind of cell each; `vector` is the numbers
and their bytes; `windows` relates windows to pane steps.
"""
